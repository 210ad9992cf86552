//! Cutting the log behind a zxid: what a learner does with history that the leader does not share (TRUNC;
//! disk-formats.md §11).
//!
//! Later files go first, newest first, each removal made durable before the next, so that a crash in between leaves a
//! log that is merely longer than asked for, never one with a hole.

use std::{
    io,
    path::{Path, PathBuf},
};

use host::Disk;
use proto::Zxid;

use crate::{MARK_FILE, ReadOptions, names, scan::scan};

/// What was cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Truncated {
    /// The last zxid that is left in the log.
    pub last: Zxid,
    /// Does the log hold exactly the zxid that was asked for?
    pub exact: bool,
    /// Files that were removed, newest first.
    pub removed: Vec<PathBuf>,
}

/// Why nothing, or not everything, was cut.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// The disk refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// No log reaches back to the zxid.
    #[error("no transaction log holds zxid {0} or anything before it")]
    NoLog(Zxid),
}

/// Removes every transaction after `to`. The log must not be in use; the database is to be loaded again afterwards.
pub fn truncate(disk: &dyn Disk, dir: &Path, to: Zxid, options: ReadOptions) -> Result<Truncated, TruncateError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TruncateError::Io { path, source }
    };
    let names = disk.list(dir).map_err(io(dir))?;
    let mut files = names::needed(names::logs(&names), to);
    if files.first().is_none_or(|(first, _)| *first > to) {
        return Err(TruncateError::NoLog(to));
    }
    // It speaks of what is about to go.
    let mark = dir.join(MARK_FILE);
    match disk.remove(&mark) {
        Ok(()) => disk.sync_dir(dir).map_err(io(dir))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(&mark)(error)),
    }
    let (_, name) = files.remove(0);
    let mut removed = Vec::new();
    for (_, later) in files.into_iter().rev() {
        let path = dir.join(later);
        disk.remove(&path).map_err(io(&path))?;
        disk.sync_dir(dir).map_err(io(dir))?;
        removed.push(path);
    }
    let path = dir.join(name);
    let bytes = disk.read(&path).map_err(io(&path))?;
    let scan = scan(&bytes, options.payload_bytes_max);
    drop(bytes);
    let kept = scan.records.iter().take_while(|record| record.zxid <= to).last();
    let Some(kept) = kept else { return Err(TruncateError::NoLog(to)) };
    disk.truncate(&path, kept.end as u64).map_err(io(&path))?;
    Ok(Truncated { last: kept.zxid, exact: kept.zxid == to, removed })
}
