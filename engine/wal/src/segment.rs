//! What the background does for the log: making zero-filled files ahead of use, giving them their name on first use, and
//! cutting them to size when they are full, and renewing the mark. None of it is on the path of a write, except that the first group of a file
//! is acknowledged only when the file has its name.
//!
//! A prepared segment holds the file header and zeros, all of it written and synced, so that overwriting it changes no
//! metadata, and a crash between naming and the first write leaves an empty log that ZooKeeper can open.

use std::{
    io::{self, Write as _},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use aligned::AlignedBuf;
use host::{Disk, Mode};
use proto::Zxid;

use crate::{
    format::{self, BLOCK, HEADER_BYTES},
    names,
};

/// A segment within one run of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct SegmentId(pub u64);

/// Something for the background to do, by [`perform`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Make a zero-filled file of this name.
    Prepare {
        /// The segment that it will be.
        segment: SegmentId,
        /// Name while it is prepared.
        name: String,
        /// Length of a new file.
        bytes: u64,
        /// A usable file of the same name is taken as it is if it is at least this long.
        bytes_min: u64,
        /// The salt of a new file.
        salt: u32,
    },
    /// Give a prepared file its name as a log.
    Name {
        /// The segment.
        segment: SegmentId,
        /// Name while it was prepared.
        from: String,
        /// `log.<hex>`.
        to: String,
    },
    /// The segment is full and everything in it durable: close it, and cut it to its length.
    Retire {
        /// The segment.
        segment: SegmentId,
        /// `log.<hex>`.
        name: String,
        /// The length of its content.
        bytes: u64,
    },
    /// Renew the mark ([`crate::write_mark`]).
    Mark {
        /// Everything up to here is durable.
        durable: Zxid,
    },
}

/// What came of a [`Work`].
#[derive(Debug)]
pub enum Done {
    /// The file is there: open it (its path is the directory and the name in the work) before telling the log.
    Prepared {
        /// The segment.
        segment: SegmentId,
        /// Its length.
        bytes: u64,
        /// Its dbid.
        dbid: u64,
        /// Did the file system allow direct writes?
        direct: bool,
    },
    /// There was no room, or an error; the log asks again later.
    PrepareFailed {
        /// The segment.
        segment: SegmentId,
        /// Why.
        error: io::Error,
    },
    /// The file has its name, durably; or not, and then the log has failed.
    Named {
        /// The segment.
        segment: SegmentId,
        /// The answer.
        result: io::Result<()>,
    },
    /// The file is cut to its length; an error costs only space.
    Retired {
        /// The segment.
        segment: SegmentId,
        /// The answer.
        result: io::Result<()>,
    },
    /// The mark is renewed; an error costs only that the end of the log is guarded less well.
    Marked {
        /// The answer.
        result: io::Result<()>,
    },
}

/// Does the work in `dir`. Blocks; belongs on the background thread.
pub fn perform(disk: &dyn Disk, dir: &Path, work: &Work) -> Done {
    match work {
        Work::Prepare { segment, name, bytes, bytes_min, salt } => {
            let path = dir.join(name);
            let prepared = match reuse(disk, &path, *bytes_min..=*bytes) {
                Some(reused) => reused,
                None => prepare(disk, &path, *bytes, *salt),
            };
            match prepared {
                Ok((bytes, dbid, direct)) => Done::Prepared { segment: *segment, bytes, dbid, direct },
                Err(error) => {
                    // Half a file only makes the lack of space worse.
                    let _ = disk.remove(&path);
                    Done::PrepareFailed { segment: *segment, error }
                }
            }
        }
        Work::Name { segment, from, to } => {
            let result = disk.rename_new(&dir.join(from), &dir.join(to)).and_then(|()| disk.sync_dir(dir));
            Done::Named { segment: *segment, result }
        }
        Work::Retire { segment, name, bytes } => {
            Done::Retired { segment: *segment, result: disk.truncate(&dir.join(name), *bytes) }
        }
        Work::Mark { durable } => Done::Marked { result: crate::write_mark(disk, dir, *durable) },
    }
}

type Prepared = (u64, u64, bool);

fn prepare(disk: &dyn Disk, path: &Path, bytes: u64, salt: u32) -> io::Result<Prepared> {
    let dbid = format::dbid(salt);
    disk.create(path)?.flush()?;
    let mut file = disk.open(path, Mode::Direct)?;
    file.fill_zeros(bytes)?;
    let mut head = AlignedBuf::zeroed(BLOCK);
    head[..HEADER_BYTES].copy_from_slice(&format::file_header(dbid));
    file.write_at(0, &head)?;
    file.sync()?;
    Ok((bytes, dbid, file.is_direct()))
}

/// A segment that an earlier process prepared and never wrote to, checked to the last byte.
fn reuse(disk: &dyn Disk, path: &Path, lengths: RangeInclusive<u64>) -> Option<io::Result<Prepared>> {
    let content = disk.read(path).ok()?;
    let length = content.len() as u64;
    let dbid = format::read_file_header(&content).filter(|dbid| format::is_ours(*dbid))?;
    let whole = length.is_multiple_of(BLOCK as u64) && lengths.contains(&length);
    if !whole || !is_zero(&content[HEADER_BYTES..]) {
        return None;
    }
    drop(content);
    // It may never have been synced: the earlier process may have died between filling and syncing.
    let again = disk.sync_file(path).and_then(|()| disk.open(path, Mode::Direct));
    Some(again.map(|file| (length, dbid, file.is_direct())))
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks_exact(64);
    chunks.by_ref().all(|chunk| chunk == [0; 64]) && chunks.remainder().iter().all(|byte| *byte == 0)
}

/// The name of a log file that starts with `first`, in `dir`.
pub fn log_path(dir: &Path, first: Zxid) -> PathBuf {
    dir.join(names::log_name(first))
}
