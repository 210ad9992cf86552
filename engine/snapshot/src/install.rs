//! Putting another state in the place of what a member has: the snapshot of a leader, with everything of the own history that the
//! leader does not share gone.
//!
//! A restart begins either from what was there before or from the snapshot, and never from a mixture: the snapshot first gets a name
//! that says that it is to be installed; then what would be replayed over it, or be taken for newer, goes; then it gets its name. A
//! restore that finds it half done does the rest.

use std::io;
use std::path::Path;

use host::Disk;
use proto::Zxid;

use crate::compression::{Compression, Encoder};
use crate::format;
use crate::writer::{SnapshotWriter, Source};

/// Before the name of a snapshot that is to be installed.
const INSTALLING: &str = "ringkeeper-installing.";

/// Writes the snapshot and installs it. Blocks. The log must not be in use; it goes on behind the snapshot, in a new file.
pub fn install(
    disk: &dyn Disk,
    snap_dir: &Path,
    log_dir: &Path,
    compression: Compression,
    source: Source,
) -> io::Result<()> {
    let temporary = snap_dir.join(format::RECEIVED);
    let zxid = source.reader.zxid();
    let name = format::name(zxid, compression);
    let mut writer = SnapshotWriter::new(Encoder::new(disk.create(&temporary)?, compression), source);
    writer.step(usize::MAX)?;
    let (encoder, _reader) = writer.finish();
    encoder.finish()?.sync()?;
    disk.rename(&temporary, &snap_dir.join(format!("{INSTALLING}{name}")))?;
    disk.sync_dir(snap_dir)?;
    complete(disk, snap_dir, log_dir, &name, zxid)
}

/// Completes what a process did not live to complete.
pub(crate) fn complete_all(disk: &dyn Disk, snap_dir: &Path, log_dir: &Path) -> io::Result<()> {
    for file in disk.list(snap_dir)? {
        let Some(name) = file.strip_prefix(INSTALLING) else { continue };
        if let Some(zxid) = format::parse(name) {
            complete(disk, snap_dir, log_dir, name, zxid)?;
        }
    }
    Ok(())
}

fn complete(disk: &dyn Disk, snap_dir: &Path, log_dir: &Path, name: &str, zxid: Zxid) -> io::Result<()> {
    for (_, newer) in format::newest_first(&disk.list(snap_dir)?).into_iter().filter(|(at, _)| *at > zxid) {
        disk.remove(&snap_dir.join(newer))?;
        disk.sync_dir(snap_dir)?;
    }
    // All of it: what is older does not lead up to the snapshot, though nothing in it says so, and would be read as history later.
    remove_logs(disk, log_dir)?;
    disk.rename(&snap_dir.join(format!("{INSTALLING}{name}")), &snap_dir.join(name))?;
    disk.sync_dir(snap_dir)
}

/// Removes every log file, newest first, and the mark that speaks of them.
pub fn remove_logs(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.remove(&dir.join(wal::MARK_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => disk.sync_dir(dir)?,
    }
    for (_, name) in wal::names::logs(&disk.list(dir)?).into_iter().rev() {
        disk.remove(&dir.join(name))?;
        disk.sync_dir(dir)?;
    }
    Ok(())
}
