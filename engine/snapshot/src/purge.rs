//! Removing snapshots and logs that the newest snapshots do not need (disk-formats.md §12).

use std::{
    io,
    path::{Path, PathBuf},
};

use host::Disk;
use proto::{Millis, Zxid};

use crate::format;

/// Fewer snapshots are never kept (`autopurge.snapRetainCount`).
pub const KEEP_MIN: usize = 3;

/// A file that is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removed {
    /// Where it was.
    pub path: PathBuf,
    /// When it was last changed.
    pub modified: Millis,
}

impl Removed {
    /// ZooKeeper's line about it; `date` is [`Removed::modified`] as people read it.
    pub fn line(&self, date: &str) -> String {
        format!("Removing file: {date}\t{}", self.path.display())
    }
}

/// The disk refuses.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct PurgeError {
    /// The file or directory.
    pub path: PathBuf,
    /// The answer.
    pub source: io::Error,
}

/// Keeps the `keep` newest snapshots that look whole (three at least) and the logs that the oldest of them needs.
/// Without any such snapshot nothing is removed.
pub fn purge(disk: &dyn Disk, snap_dir: &Path, log_dir: &Path, keep: usize) -> Result<Vec<Removed>, PurgeError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| PurgeError { path, source }
    };
    let snap_names = disk.list(snap_dir).map_err(failed(snap_dir))?;
    let log_names = disk.list(log_dir).map_err(failed(log_dir))?;

    let mut kept = 0;
    let mut oldest_kept = None;
    for (zxid, name) in format::newest_first(&snap_names) {
        if kept == keep.max(KEEP_MIN) {
            break;
        }
        let path = snap_dir.join(&name);
        if format::read_whole(disk, &path).map_err(failed(&path))?.is_some() {
            kept += 1;
            oldest_kept = Some(zxid);
        }
    }
    let Some(oldest_kept) = oldest_kept else { return Ok(Vec::new()) };

    let needed: Vec<Zxid> =
        wal::names::needed(wal::names::logs(&log_names), oldest_kept).into_iter().map(|(first, _)| first).collect();
    let snapshots = format::newest_first(&snap_names).into_iter().rev();
    let snapshots = snapshots.filter(|(zxid, _)| *zxid < oldest_kept).map(|(_, name)| snap_dir.join(name));
    let logs = wal::names::logs(&log_names).into_iter();
    let logs = logs.filter(|(first, _)| *first < oldest_kept && !needed.contains(first));
    let logs = logs.map(|(_, name)| log_dir.join(name));

    // Snapshots first, oldest first: no snapshot outlives the logs behind it.
    let going: Vec<PathBuf> = snapshots.chain(logs).collect();
    if !going.is_empty() {
        // A process that was killed may have left a name that only the kernel knows: what goes may be what it stands for.
        disk.sync_dir(snap_dir).map_err(failed(snap_dir))?;
    }
    let mut removed = Vec::new();
    for path in going {
        let modified = disk.stat(&path).map_err(failed(&path))?.modified;
        disk.remove(&path).map_err(failed(&path))?;
        removed.push(Removed { path, modified });
    }
    Ok(removed)
}
