//! The two epochs that a member of an ensemble remembers: the files `acceptedEpoch` and `currentEpoch` beside the snapshots
//! (disk-formats.md §9, peer-protocol.md §13).
//!
//! ```text
//! epoch of the last logged zxid  ≤  current  ≤  accepted
//! ```
//!
//! Both are promises to other members, so what always holds is that a file shows either its old number or its new one,
//! whole, and that a number which was given out is durable: also one that a killed process left behind, whose name nobody
//! had made durable yet. Kept out: when an epoch begins, and what the process does about an error. Java ends with status 1 for
//! each of them.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use host::Disk;
use proto::Zxid;

/// The file of [`Epochs::accepted`].
pub const ACCEPTED: &str = "acceptedEpoch";
/// The file of [`Epochs::current`].
pub const CURRENT: &str = "currentEpoch";
/// What Java writes for a server that has no data and may not vote (`db.autocreate=false`): the epoch of zxid −1.
const EPOCH_MIN: i64 = -1;
/// An epoch is the high half of a zxid, which is not negative.
const EPOCH_MAX: i64 = i32::MAX as i64;

/// What a member has promised and what it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epochs {
    /// No leader of an earlier epoch is joined any more.
    pub accepted: i64,
    /// The epoch of the last leader whose whole initial history was taken.
    pub current: i64,
}

/// Why a member cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The disk refuses.
    #[error("{}: {source}{}", path.display(), host::disk::advice(source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// No number is in the file.
    #[error(
        "{}: the first line is {found:?}; expected the number of an epoch. The file holds a promise to the other members and \
         must not be guessed: restore it, or move this server's version-2 directories away and let it copy the data from the \
         others", path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its first line, or the beginning of it.
        found: String,
    },
    /// One of the files is not of this server, or of another time.
    #[error(
        "{}: the accepted epoch, {accepted}, is less than the current epoch, {current}: one of the files acceptedEpoch and \
         currentEpoch is from a backup or from another server. Restore the right one, or move this server's version-2 \
         directories away and let it copy the data from the others", dir.display()
    )]
    Contradiction {
        /// Where the files are.
        dir: PathBuf,
        /// `acceptedEpoch`.
        accepted: i64,
        /// `currentEpoch`, or the epoch of the log if that is later.
        current: i64,
    },
}

/// Reads both epochs from `dir`, where the snapshots are, and makes sure that they are durable. `last` is the last transaction of
/// the log; −1 for a server without data.
///
/// A missing file is the epoch of `last`, and is written. A current epoch before that of `last` is brought up to it: the
/// transactions were taken from that epoch's leader, and only the last step of following it is missing. (Java does so
/// only if an interrupted write of the file shows, and otherwise does not start.)
pub fn load(disk: &dyn Disk, dir: &Path, last: Zxid) -> Result<Epochs, EpochError> {
    let failed = |name: &str| {
        let path = if name.is_empty() { dir.to_path_buf() } else { dir.join(name) };
        move |source| EpochError::Io { path, source }
    };
    let of_log = last.0 >> 32;
    let accepted = read(disk, dir, ACCEPTED)?;
    let current = read(disk, dir, CURRENT)?;
    let epochs = Epochs { accepted: accepted.unwrap_or(of_log), current: current.unwrap_or(of_log).max(of_log) };
    // Before anything is written: what contradicts itself is left for its operator as it was.
    if epochs.accepted < epochs.current {
        return Err(EpochError::Contradiction {
            dir: dir.to_path_buf(),
            accepted: epochs.accepted,
            current: epochs.current,
        });
    }
    if accepted.is_none() {
        set_accepted(disk, dir, epochs.accepted).map_err(failed(ACCEPTED))?;
    }
    if current != Some(epochs.current) {
        set_current(disk, dir, epochs.current).map_err(failed(CURRENT))?;
    }
    if accepted.is_some() || current == Some(epochs.current) {
        disk.sync_dir(dir).map_err(failed(""))?;
    }
    Ok(epochs)
}

/// Replaces the accepted epoch. Durable when it returns; after an error either number may be there, and the process must end.
pub fn set_accepted(disk: &dyn Disk, dir: &Path, epoch: i64) -> io::Result<()> {
    write(disk, dir, ACCEPTED, epoch)
}

/// Replaces the current epoch, as [`set_accepted`] does the other.
pub fn set_current(disk: &dyn Disk, dir: &Path, epoch: i64) -> io::Result<()> {
    write(disk, dir, CURRENT, epoch)
}

/// The number in a file, its content made durable; `None` if there is no such file.
fn read(disk: &dyn Disk, dir: &Path, name: &str) -> Result<Option<i64>, EpochError> {
    let path = dir.join(name);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(EpochError::Io { path, source }),
    };
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    match number(line) {
        Some(epoch) => match disk.sync_file(&path) {
            Ok(()) => Ok(Some(epoch)),
            Err(source) => Err(EpochError::Io { path, source }),
        },
        None => {
            let found = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
            Err(EpochError::Malformed { path, found })
        }
    }
}

/// As Java's `Long.parseLong` reads it, within what an epoch can be.
fn number(line: &[u8]) -> Option<i64> {
    let digits = line.strip_prefix(b"-").or(line.strip_prefix(b"+")).unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let epoch: i64 = std::str::from_utf8(line).ok()?.parse().ok()?;
    (EPOCH_MIN..=EPOCH_MAX).contains(&epoch).then_some(epoch)
}

fn write(disk: &dyn Disk, dir: &Path, name: &str, epoch: i64) -> io::Result<()> {
    assert!((EPOCH_MIN..=EPOCH_MAX).contains(&epoch), "an epoch is the high half of a zxid: {epoch}");
    // Java's name for it, so that either server overwrites what the other left behind.
    let temporary = dir.join(format!("{name}.tmp"));
    let mut file = disk.create(&temporary)?;
    file.write_all(epoch.to_string().as_bytes())?;
    file.flush()?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, &dir.join(name))?;
    disk.sync_dir(dir)
}
