//! Writing a snapshot: a walk over the tree at one zxid, turned into ZooKeeper's bytes, a slice at a time.
//!
//! ```text
//! header · sessions · ACLs · znodes · "/" · seal [· digest · seal] [· last zxid · seal]
//! ```
//!
//! A seal holds Adler-32 of everything before it, earlier seals included. The digest section is always written when the
//! zxid section is: Java reads the latter only behind the former.

use std::io::{self, Write};

use proto::{
    Encode, SessionId, Zxid,
    jute::{put_buffer, put_int, put_long, put_string, put_vector},
    txn::DIGEST_VERSION,
};
use simd_adler32::Adler32;
use tree::{AclRef, Reader, Walk, Writer as Tree};

use crate::format::{DBID, MAGIC, VERSION};
use crate::stream::SIGNATURE;

/// Bytes collected before they are handed on.
const CHUNK_BYTES: usize = 128 << 10;

/// What a snapshot shows.
#[derive(Debug)]
pub struct Source {
    /// The tree at one zxid.
    pub reader: Reader,
    /// At least the ACLs of that tree, with their ids.
    pub acls: Vec<(i64, AclRef)>,
    /// Sessions with their timeouts in milliseconds, in the order in which they are written.
    pub sessions: Vec<(SessionId, i32)>,
    /// The tree's digest at that zxid; `None` with `digest.enabled=false`.
    pub digest: Option<u64>,
    /// `serializeLastProcessedZxid.enabled`: write the zxid section (3.9 and later).
    pub last_zxid: bool,
}

impl Source {
    /// The tree as it is now. All that is applied must be committed, because the digest is that of the newest state.
    ///
    /// # Panics
    /// If something is applied and not committed.
    pub fn of(tree: &mut Tree, sessions: Vec<(SessionId, i32)>) -> Source {
        assert_eq!(tree.tip(), tree.committed(), "a snapshot shows what is committed");
        Source { digest: Some(tree.digest()), acls: tree.acls(), reader: tree.reader(), sessions, last_zxid: true }
    }
}

/// Writes one snapshot into anything.
pub struct SnapshotWriter<W> {
    out: W,
    sum: Adler32,
    chunk: Vec<u8>,
    walk: Walk,
    digest: Option<u64>,
    last_zxid: bool,
    /// For a learner: no header, no seals.
    bare: bool,
    bytes: u64,
    nodes: u64,
    done: bool,
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins: header, sessions and ACLs are ready to be written.
    pub fn new(out: W, source: Source) -> SnapshotWriter<W> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES * 2);
        chunk.extend_from_slice(&MAGIC);
        put_int(&mut chunk, VERSION);
        put_long(&mut chunk, DBID);
        SnapshotWriter::begin(out, source, chunk, false)
    }

    /// The same for a learner (peer-protocol.md §8); digest and last zxid have no place there.
    pub fn bare(out: W, source: Source) -> SnapshotWriter<W> {
        SnapshotWriter::begin(out, source, Vec::new(), true)
    }

    fn begin(out: W, source: Source, mut chunk: Vec<u8>, bare: bool) -> SnapshotWriter<W> {
        put_int(&mut chunk, source.sessions.len() as i32);
        for (session, timeout) in &source.sessions {
            put_long(&mut chunk, session.0);
            put_int(&mut chunk, *timeout);
        }
        put_int(&mut chunk, source.acls.len() as i32);
        for (id, acl) in &source.acls {
            put_long(&mut chunk, *id);
            put_vector(&mut chunk, acl);
        }
        SnapshotWriter {
            out,
            sum: Adler32::new(),
            chunk,
            walk: source.reader.into_walk("/"),
            digest: source.digest,
            last_zxid: source.last_zxid,
            bare,
            bytes: 0,
            nodes: 0,
            done: false,
        }
    }

    /// Where the bytes go.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// The zxid of the snapshot.
    pub fn zxid(&self) -> Zxid {
        self.walk.zxid()
    }

    /// Uncompressed bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.chunk.len() as u64
    }

    /// Znodes so far.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// Writes about `budget` bytes more; true when everything is written.
    pub fn step(&mut self, budget: usize) -> io::Result<bool> {
        let until = self.bytes().saturating_add(budget as u64);
        while !self.done && self.bytes() < until {
            match self.walk.next() {
                Some((path, view)) => {
                    self.nodes += 1;
                    put_string(&mut self.chunk, if path == "/" { "" } else { path });
                    put_buffer(&mut self.chunk, view.data());
                    put_long(&mut self.chunk, view.acl_id());
                    view.persisted().encode(&mut self.chunk);
                }
                None => self.end()?,
            }
            if self.chunk.len() >= CHUNK_BYTES {
                self.hand_on()?;
            }
        }
        if self.done {
            self.hand_on()?;
        }
        Ok(self.done)
    }

    /// Ends the writing and gives back the reader.
    ///
    /// # Panics
    /// If [`SnapshotWriter::step`] has not said that everything is written.
    pub fn finish(self) -> (W, Reader) {
        assert!(self.done, "a snapshot is written to its end");
        (self.out, self.walk.into_reader())
    }

    fn end(&mut self) -> io::Result<()> {
        put_string(&mut self.chunk, "/");
        if self.bare {
            put_string(&mut self.chunk, SIGNATURE);
            self.done = true;
            return Ok(());
        }
        self.seal()?;
        let zxid = self.walk.zxid();
        if self.digest.is_some() || self.last_zxid {
            // Without a digest an empty section: no zxid, so that nobody compares it.
            put_long(&mut self.chunk, self.digest.map_or(0, |_| zxid.0));
            put_int(&mut self.chunk, DIGEST_VERSION);
            put_long(&mut self.chunk, self.digest.unwrap_or(0) as i64);
            self.seal()?;
        }
        if self.last_zxid {
            put_long(&mut self.chunk, zxid.0);
            self.seal()?;
        }
        self.done = true;
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        self.hand_on()?;
        put_long(&mut self.chunk, i64::from(self.sum.finish()));
        put_string(&mut self.chunk, "/");
        Ok(())
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.sum.write(&self.chunk);
        self.out.write_all(&self.chunk)?;
        self.bytes += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }
}
