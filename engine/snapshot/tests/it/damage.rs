//! Damage to the files of a database that was whole and quiet: every kind, to every file.
//!
//! Whatever happens to one file, a start either brings back everything that was acknowledged, or refuses, says which file it is
//! about, and leaves the directories as they are. `DAMAGE_STEP=1` looks at every byte; by default at every 97th.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use host::{Disk, MemoryDisk};
use snapshot::Compression;
use wal::MARK_FILE;

use crate::kit::*;

/// Three snapshots, the logs behind each, a prepared segment, and a mark.
struct Database {
    disk: MemoryDisk,
    whole: String,
    files: Vec<PathBuf>,
    /// The newest log, and the mark, as they once were.
    older: BTreeMap<PathBuf, Vec<u8>>,
}

fn log_file(name: &str) -> PathBuf {
    Path::new(LOGS).join(name)
}

fn database(compression: Compression) -> Database {
    let disk = disk();
    let mut world = World::open(&disk, 21);
    world.run(40);
    world.snapshot(compression);
    world.run(40);
    world.snapshot(compression);
    let mut older = BTreeMap::new();
    for round in 0..6 {
        world.run(5);
        wal::write_mark(&disk, Path::new(LOGS), world.tree.tip()).unwrap();
        if round == 3 {
            for path in [log_file("log.51"), log_file(MARK_FILE)] {
                let mut bytes = disk.read(&path).unwrap().to_vec();
                bytes.truncate(64 << 10);
                older.insert(path, bytes);
            }
        }
    }
    let whole = world.dump();
    // Without most of the space that is prepared and not used, copies are cheap.
    let disk = disk.killed();
    let names = disk.list(Path::new(LOGS)).unwrap();
    for name in names.iter().filter(|name| *name == "log.51" || name.starts_with(wal::names::PREPARED_PREFIX)) {
        disk.truncate(&log_file(name), 64 << 10).unwrap();
    }
    let disk = disk.killed();
    let mut files = Vec::new();
    for dir in [SNAPS, LOGS] {
        files.extend(disk.list(Path::new(dir)).unwrap().into_iter().map(|name| Path::new(dir).join(name)));
    }
    assert_eq!(files.len(), 3 + 3 + 2, "{files:?}");
    Database { disk, whole, files, older }
}

fn content(disk: &MemoryDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for dir in [SNAPS, LOGS] {
        for name in disk.list(Path::new(dir)).unwrap() {
            let path = Path::new(dir).join(name);
            all.insert(path.clone(), disk.read(&path).unwrap().to_vec());
        }
    }
    all
}

#[derive(PartialEq, Eq, Debug, Clone, Copy)]
enum Outcome {
    Whole,
    Refused,
}

impl Database {
    /// Damages a copy and opens it.
    #[track_caller]
    fn judge(&self, what: &str, path: &Path, damage: impl FnOnce(&MemoryDisk)) -> Outcome {
        let disk = self.disk.killed();
        damage(&disk);
        let before = content(&disk);
        let what = format!("{what} {}", path.display());
        match reopen(&disk) {
            Ok(mut restored) => {
                assert_eq!(restored.first_mismatch, None, "{what}");
                assert!(dump(&mut restored.tree, &restored.sessions) == self.whole, "{what}: served, and not whole");
                // And so it is the next time.
                assert!(reopened(&disk) == self.whole, "{what}: not whole the second time");
                Outcome::Whole
            }
            Err(error) => {
                let said = error.to_string();
                let name = path.file_name().unwrap().to_str().unwrap();
                let about = before.keys().any(|path| said.contains(path.to_str().unwrap()))
                    || said.contains(&format!("{LOGS} end at"))
                    || said.contains("none of");
                assert!(about || said.contains(name), "{what}: which file? {said}");
                assert!(said.contains("estore") || said.contains("ove "), "{what}: what to do? {said}");
                assert!(content(&disk) == before, "{what}: refused, and changed something");
                Outcome::Refused
            }
        }
    }
}

fn is_log(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("log.")
}

#[allow(clippy::disallowed_methods, reason = "how much to do is said from outside")]
fn step() -> usize {
    std::env::var("DAMAGE_STEP").map_or(97, |text| text.parse().unwrap())
}

fn each(story: impl Fn(&Database)) {
    for compression in [Compression::None, Compression::Gz, Compression::Snappy] {
        story(&database(compression));
    }
}

#[test]
fn a_wrong_byte_anywhere_is_found_or_harmless() {
    each(|database| {
        for path in &database.files {
            let bytes = database.disk.read(path).unwrap().len();
            // Behind the last group of a log, and in a prepared segment, there are only zeros, which nobody wrote.
            let bytes = if is_log(path) { bytes.min(13 * 4096) } else { bytes.min(60_000) };
            let mut refused = 0;
            for at in (0..bytes).step_by(step()).chain(0..40.min(bytes)).chain(bytes - 80.min(bytes)..bytes) {
                let outcome = database.judge(&format!("byte {at} of"), path, |disk| {
                    disk.edit(path, |bytes| bytes[at] ^= 1 << (at % 8));
                });
                refused += usize::from(outcome == Outcome::Refused);
            }
            let needed = [log_file("log.51")].contains(path);
            assert_eq!(refused > 0, needed, "{}: {refused} refused", path.display());
        }
    });
}

#[test]
fn a_file_cut_anywhere_is_found_or_harmless() {
    each(|database| {
        for path in &database.files {
            let bytes = database.disk.read(path).unwrap().len();
            for length in (0..bytes).step_by(step() * 5).chain([0, 1, 15, 16, 17]).chain(bytes - 40.min(bytes)..bytes) {
                let length = length.min(bytes);
                database.judge(&format!("only {length} bytes of"), path, |disk| {
                    disk.edit(path, |bytes| bytes.truncate(length));
                });
            }
        }
    });
}

#[test]
fn a_block_of_zeros_or_of_ones_is_found_or_harmless() {
    each(|database| {
        for path in &database.files {
            let bytes = database.disk.read(path).unwrap().len();
            for from in (0..bytes.min(60_000)).step_by((step() * 40).max(512) / 512 * 512) {
                for fill in [0, 0xFF] {
                    for length in [512, 4096, usize::MAX / 2] {
                        let to = bytes.min(from + length);
                        database.judge(&format!("{fill:#x} from {from} to {to} in"), path, |disk| {
                            disk.edit(path, |bytes| bytes[from..to].fill(fill));
                        });
                    }
                }
            }
        }
    });
}

#[test]
fn a_deleted_or_emptied_file_is_missed_where_it_is_needed() {
    each(|database| {
        for path in &database.files {
            let needed = *path == log_file("log.51");
            let deleted = database.judge("deleted:", path, |disk| disk.remove(path).unwrap());
            assert_eq!(deleted == Outcome::Refused, needed, "{}", path.display());
            let emptied = database.judge("emptied:", path, |disk| disk.edit(path, Vec::clear));
            assert_eq!(emptied == Outcome::Refused, needed, "{}", path.display());
        }
    });
}

#[test]
fn an_older_copy_of_the_newest_log_is_not_taken_for_it() {
    each(|database| {
        let (log, mark) = (log_file("log.51"), log_file(MARK_FILE));
        let older = |disk: &MemoryDisk, path: &Path| disk.edit(path, |bytes| *bytes = database.older[path].clone());
        assert_eq!(database.judge("older:", &log, |disk| older(disk, &log)), Outcome::Refused);
        assert_eq!(database.judge("older:", &mark, |disk| older(disk, &mark)), Outcome::Whole);
        // Both together are what the directory once was; nothing can tell.
        let disk = database.disk.killed();
        older(&disk, &log);
        older(&disk, &mark);
        assert!(reopen(&disk).unwrap().last.unwrap().0 < 0x51 + 29);
    });
}

#[test]
fn two_files_that_have_changed_places_are_found_or_harmless() {
    each(|database| {
        let mut refused = 0;
        for a in &database.files {
            for b in database.files.iter().filter(|b| *b > a) {
                let what = format!("swapped with {}:", b.display());
                let outcome = database.judge(&what, a, |disk| {
                    let (first, second) = (disk.read(a).unwrap().to_vec(), disk.read(b).unwrap().to_vec());
                    disk.edit(a, |bytes| *bytes = second);
                    disk.edit(b, |bytes| *bytes = first);
                });
                refused += usize::from(outcome == Outcome::Refused);
                // A copy of one in the place of the other.
                let what = format!("overwritten with {}:", b.display());
                database.judge(&what, a, |disk| {
                    let second = disk.read(b).unwrap().to_vec();
                    disk.edit(a, |bytes| *bytes = second);
                });
                let what = format!("overwritten with {}:", a.display());
                database.judge(&what, b, |disk| {
                    let first = disk.read(a).unwrap().to_vec();
                    disk.edit(b, |bytes| *bytes = first);
                });
            }
        }
        assert!(refused > 3, "{refused}");
    });
}

/// An older snapshot may stand for a newer one only with every transaction between.
#[test]
fn the_fallback_to_an_older_snapshot_never_loses_what_the_newer_one_showed() {
    each(|database| {
        let newest = database.files.iter().rfind(|path| path.starts_with(SNAPS)).unwrap();
        let spoil = |disk: &MemoryDisk| {
            disk.edit(newest, |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            })
        };
        assert_eq!(database.judge("spoilt:", newest, spoil), Outcome::Whole);
        for log in ["log.1", "log.29", "log.51"] {
            let path = log_file(log);
            let needed = log != "log.1";
            let outcome = database.judge("with a spoilt snapshot, deleted:", &path, |disk| {
                spoil(disk);
                disk.remove(&path).unwrap();
            });
            assert_eq!(outcome == Outcome::Refused, needed, "{log}");
            if log == "log.51" {
                // Without the mark nothing knows of what came behind the newest snapshot.
                continue;
            }
            let outcome = database.judge("with a spoilt snapshot and without the mark, deleted:", &path, |disk| {
                spoil(disk);
                disk.remove(&path).unwrap();
                disk.edit(&log_file(MARK_FILE), Vec::clear);
                if log == "log.29" {
                    // The snapshot alone tells that there was more.
                    disk.remove(&log_file("log.51")).unwrap();
                }
            });
            assert_eq!(outcome == Outcome::Refused, needed, "{log}");
        }
    });
}
