//! The mark: a small file beside the logs that says up to which zxid everything was durable a moment ago.
//!
//! A log cannot tell that its own end is gone: a newest file that was deleted, emptied, or replaced by an older copy looks
//! like one that was never written further. The mark can. It is written in the background, at most once a second, and after
//! what it speaks of; so it is always true, and never in the way of an answer. What was acknowledged in the last second is
//! not in it.
//!
//! Besides, a member of an ensemble writes it before it enters an epoch ([`write_epoch_mark`]). In elections the later epoch wins: a member
//! that is in it, and has lost the end of what it entered it with, would lead those that have all of it, and take it from them.
//!
//! Each of the two writers has two slots and writes them in turn, each within a sector, so that a write that is cut short leaves the other
//! one, and that neither writer undoes what the other has said:
//!
//! | bytes | content |
//! |---|---|
//! | 0, 4096: once a second; 8192, 12288: at epochs | `RKMARK01` |
//! | +8 | zxid |
//! | +16 | CRC-32 of the 16 bytes before |

use std::{io, path::Path};

use host::{Disk, Mode};
use proto::Zxid;

/// Its name in the log directory. ZooKeeper ignores it.
pub const MARK_FILE: &str = "ringkeeper.durable";
/// The mark is renewed after so many milliseconds.
pub const MARK_EVERY_MS: i64 = 1000;

const MAGIC: [u8; 8] = *b"RKMARK01";
const SLOT_BYTES: usize = 20;
/// Where the slots of each writer are.
const IN_BACKGROUND: [usize; 2] = [0, 4096];
const AT_EPOCHS: [usize; 2] = [8192, 12288];

/// What a mark file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// There is none.
    Absent,
    /// Neither slot can be read.
    Unreadable,
    /// Everything up to here was durable.
    At(Zxid),
}

/// Reads the mark of a log directory.
pub fn read_mark(disk: &dyn Disk, dir: &Path) -> io::Result<Mark> {
    match disk.read(&dir.join(MARK_FILE)) {
        Ok(bytes) => {
            Ok(newest(&bytes, &[IN_BACKGROUND, AT_EPOCHS].concat())
                .map_or(Mark::Unreadable, |(_, zxid)| Mark::At(zxid)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Mark::Absent),
        Err(error) => Err(error),
    }
}

/// Says that everything up to `durable` is durable; it must be. The mark is durable when this returns.
pub fn write_mark(disk: &dyn Disk, dir: &Path, durable: Zxid) -> io::Result<()> {
    write(disk, dir, durable, IN_BACKGROUND)
}

/// As [`write_mark`], by a member that is about to enter an epoch; a mark may be under way in the background.
pub fn write_epoch_mark(disk: &dyn Disk, dir: &Path, durable: Zxid) -> io::Result<()> {
    write(disk, dir, durable, AT_EPOCHS)
}

fn write(disk: &dyn Disk, dir: &Path, durable: Zxid, mine: [usize; 2]) -> io::Result<()> {
    let path = dir.join(MARK_FILE);
    let before = match disk.read(&path) {
        Ok(bytes) => newest(&bytes, &mine).map(|(slot, _)| slot),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            drop(disk.create(&path)?);
            disk.sync_dir(dir)?;
            None
        }
        Err(error) => return Err(error),
    };
    let slot = if before == Some(mine[0]) { mine[1] } else { mine[0] };
    let mut file = disk.open(&path, Mode::Buffered)?;
    file.write_at(slot as u64, &encode(durable))?;
    file.sync()
}

fn encode(durable: Zxid) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&durable.0.to_be_bytes());
    let sum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The one of these slots that says most, and what it says.
fn newest(file: &[u8], slots: &[usize]) -> Option<(usize, Zxid)> {
    let read = |slot: usize| {
        let bytes = file.get(slot..)?.first_chunk::<SLOT_BYTES>()?;
        let zxid = Zxid(i64::from_be_bytes(*bytes[8..].first_chunk::<8>()?));
        (encode(zxid) == *bytes).then_some((slot, zxid))
    };
    slots.iter().copied().filter_map(read).max_by_key(|(_, zxid)| *zxid)
}

#[cfg(test)]
mod tests {
    use host::MemoryDisk;

    use super::*;

    const DIR: &str = "/log";

    fn disk() -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new(DIR)).unwrap();
        disk
    }

    fn read(disk: &MemoryDisk) -> Mark {
        read_mark(disk, Path::new(DIR)).unwrap()
    }

    #[test]
    fn a_mark_is_read_back_and_the_last_one_counts() {
        let disk = disk();
        assert_eq!(read(&disk), Mark::Absent);
        for zxid in [1, 5, 0x1_0000_0000] {
            write_mark(&disk, Path::new(DIR), Zxid(zxid)).unwrap();
            assert_eq!(read(&disk), Mark::At(Zxid(zxid)));
        }
    }

    #[test]
    fn a_mark_that_is_cut_short_leaves_the_one_before() {
        cut_short(write_mark);
        cut_short(write_epoch_mark);
    }

    fn cut_short(write: fn(&dyn Disk, &Path, Zxid) -> io::Result<()>) {
        let disk = disk();
        let mut last = 0;
        for zxid in 1..=4 {
            let from = disk.moments();
            write(&disk, Path::new(DIR), Zxid(zxid)).unwrap();
            for moment in from..disk.moments() {
                for kept in [false, true] {
                    match read(&disk.crash(moment, &mut || kept)) {
                        Mark::At(found) => assert!(found.0 == last || found.0 == zxid),
                        other => assert_eq!(last, 0, "{other:?}"),
                    }
                }
            }
            assert_eq!(read(&disk.crash(disk.moments(), &mut || false)), Mark::At(Zxid(zxid)));
            last = zxid;
        }
    }

    #[test]
    fn an_epochs_mark_outlasts_earlier_ones_of_the_background() {
        let disk = disk();
        write_mark(&disk, Path::new(DIR), Zxid(6)).unwrap();
        write_epoch_mark(&disk, Path::new(DIR), Zxid(9)).unwrap();
        for zxid in [7, 8] {
            write_mark(&disk, Path::new(DIR), Zxid(zxid)).unwrap();
            assert_eq!(read(&disk), Mark::At(Zxid(9)));
        }
        write_mark(&disk, Path::new(DIR), Zxid(10)).unwrap();
        assert_eq!(read(&disk), Mark::At(Zxid(10)));
    }

    #[test]
    fn any_wrong_byte_of_a_slot_makes_it_no_mark() {
        for slot in IN_BACKGROUND {
            for byte in 0..SLOT_BYTES {
                let disk = disk();
                write_mark(&disk, Path::new(DIR), Zxid(6)).unwrap();
                write_mark(&disk, Path::new(DIR), Zxid(7)).unwrap();
                disk.edit(&Path::new(DIR).join(MARK_FILE), |bytes| bytes[slot + byte] ^= 4);
                assert_eq!(read(&disk), Mark::At(Zxid(if slot == 0 { 7 } else { 6 })));
                disk.edit(&Path::new(DIR).join(MARK_FILE), |bytes| bytes[4096 - slot + byte] ^= 4);
                assert_eq!(read(&disk), Mark::Unreadable);
            }
        }
    }
}
