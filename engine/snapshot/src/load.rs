//! Loading a snapshot: bytes to tree, sessions, and what the sections at the end say (disk-formats.md §5 and §6).
//!
//! Which sections exist is told by how many bytes are left behind the first seal, not by settings; seals are checked; a
//! compressed file is recognised by its first bytes.

use std::{collections::BTreeMap, io};

use proto::{
    Decode, JuteError, Reader, SessionId, Zxid,
    acl::{ACL_BYTES_MIN, Acl},
    stat::StatPersisted,
};
use simd_adler32::Adler32;

use crate::{
    compression,
    format::{DIGEST_SECTION_BYTES, MAGIC, SEAL_BYTES, ZXID_SECTION_BYTES},
};

/// A snapshot in memory.
#[derive(Debug)]
pub struct Loaded {
    /// The tree. Of a fuzzy snapshot of Java's it is the state at no zxid, until the log is replayed.
    pub tree: tree::Writer,
    /// Sessions and their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
    /// What the tree's digest is at a zxid, if the writer knew.
    pub digest: Option<SnapshotDigest>,
    /// The last zxid when the writer ended, if it says.
    pub last_zxid: Option<Zxid>,
    /// Znodes read.
    pub nodes: u64,
}

/// The digest section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotDigest {
    /// When the tree had it.
    pub zxid: Zxid,
    /// How it was computed.
    pub version: i32,
    /// The digest.
    pub tree: u64,
}

/// Why a snapshot is not usable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("offset {offset}: {why}")]
pub struct LoadError {
    /// Where, in uncompressed bytes.
    pub offset: u64,
    /// What is wrong.
    pub why: Why,
}

/// See [`LoadError`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// It does not start with `ZKSN`.
    #[error("this is not a snapshot")]
    Magic,
    /// A field is cut short or makes no sense.
    #[error("{0}")]
    Field(#[from] JuteError),
    /// A seal does not fit what is before it.
    #[error("the checksum is {found:#x}, the content's is {computed:#x}")]
    Checksum {
        /// As stored.
        found: i64,
        /// As it should be.
        computed: u32,
    },
    /// A seal does not end in `/`.
    #[error("a checksum is not followed by /")]
    Seal,
    /// The bytes behind the first seal are no known sections.
    #[error("{0} bytes behind the first checksum are neither a digest nor a zxid")]
    Sections(usize),
    /// The znodes are not a tree.
    #[error("{0}")]
    Tree(#[from] tree::LoadError),
    /// It ends before the zxid in its name.
    #[error("it shows the state at zxid {0}, which is before its name: snapshots were swapped or renamed")]
    Misnamed(Zxid),
    /// The compressed stream is damaged.
    #[error("{0}")]
    Compression(String),
}

/// Loads a snapshot from the bytes of its file. `zxid` is the one in its name.
pub fn load(file: &[u8], zxid: Zxid, options: tree::Options) -> Result<Loaded, LoadError> {
    let bytes = compression::expand(file)
        .map_err(|error: io::Error| LoadError { offset: 0, why: Why::Compression(error.to_string()) })?;
    let mut input = Input { bytes: &bytes, reader: Reader::new(&bytes), sum: Adler32::new(), summed: 0 };
    read(&mut input, zxid, options).map_err(|why| LoadError { offset: input.position() as u64, why })
}

struct Input<'a> {
    bytes: &'a [u8],
    reader: Reader<'a>,
    sum: Adler32,
    summed: usize,
}

impl Input<'_> {
    fn position(&self) -> usize {
        self.bytes.len() - self.reader.rest().len()
    }

    fn check_seal(&mut self) -> Result<(), Why> {
        let position = self.position();
        self.sum.write(&self.bytes[self.summed..position]);
        self.summed = position;
        let computed = self.sum.finish();
        let found = self.reader.long()?;
        if found != i64::from(computed) {
            return Err(Why::Checksum { found, computed });
        }
        if self.reader.string()? != "/" {
            return Err(Why::Seal);
        }
        Ok(())
    }
}

fn read(input: &mut Input<'_>, zxid: Zxid, options: tree::Options) -> Result<Loaded, Why> {
    if !input.bytes.starts_with(&MAGIC) {
        return Err(Why::Magic);
    }
    let r = &mut input.reader;
    // Magic, version and dbid: the last two are not checked by anybody.
    r.int()?;
    r.int()?;
    r.long()?;

    let mut sessions = BTreeMap::new();
    for _ in 0..r.count(12)?.unwrap_or(0) {
        sessions.insert(SessionId(r.long()?), r.int()?);
    }
    let mut loader = tree::Writer::restore(options);
    for _ in 0..r.count(12)?.unwrap_or(0) {
        let id = r.long()?;
        let acl: Vec<Acl> = r.vector(ACL_BYTES_MIN)?.unwrap_or_default();
        loader.acl(id, acl);
    }
    let mut nodes = 0;
    loop {
        let path = r.string()?;
        if path == "/" {
            break;
        }
        let data = r.buffer()?;
        let acl = r.long()?;
        loader.node(&path, data, acl, StatPersisted::decode(r)?)?;
        nodes += 1;
    }
    input.check_seal()?;

    let (mut digest, mut last_zxid) = (None, None);
    let left = input.reader.rest().len();
    if left != 0 && left != ZXID_SECTION_BYTES {
        digest = Some(read_digest(input, left)?);
    }
    match input.reader.rest().len() {
        0 => {}
        ZXID_SECTION_BYTES => {
            last_zxid = Some(Zxid(input.reader.long()?));
            input.check_seal()?;
        }
        _ => return Err(Why::Sections(left)),
    }
    // Java may get beyond its name while it writes, and never stays behind it.
    if let Some(last) = last_zxid.filter(|last| *last < zxid) {
        return Err(Why::Misnamed(last));
    }
    let tree = loader.finish(zxid)?;
    // A digest of zxid 0 was not known to its writer.
    let digest = digest.filter(|digest| digest.zxid > Zxid::ZERO);
    Ok(Loaded { tree, sessions, digest, last_zxid, nodes })
}

fn read_digest(input: &mut Input<'_>, left: usize) -> Result<SnapshotDigest, Why> {
    let r = &mut input.reader;
    let (zxid, version) = (Zxid(r.long()?), r.int()?);
    let known = [DIGEST_SECTION_BYTES, DIGEST_SECTION_BYTES + ZXID_SECTION_BYTES].contains(&left);
    let tree = if known && version >= 2 {
        r.long()? as u64
    } else if version < 2 {
        // The oldest writers: hexadecimal text.
        u64::from_str_radix(&r.string()?, 16).map_err(|_| Why::Sections(left))?
    } else {
        return Err(Why::Sections(left));
    };
    if r.rest().len() < SEAL_BYTES {
        return Err(Why::Sections(left));
    }
    input.check_seal()?;
    Ok(SnapshotDigest { zxid, version, tree })
}
