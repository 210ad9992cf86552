//! The epoch files: Java's text, the rules at start, power cuts at every moment, and a disk that refuses.

use std::{
    io::{self, Write},
    path::Path,
};

use host::memory::Names;
use host::{Disk, Entropy, Fault, FaultyDisk, MemoryDisk, SeededEntropy};
use proto::Zxid;
use snapshot::epochs::{ACCEPTED, CURRENT, EpochError, Epochs, load, set_accepted, set_current};

const DIR: &str = "/data/version-2";

fn empty() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn put(disk: &MemoryDisk, name: &str, text: &[u8]) {
    let mut file = disk.create(&Path::new(DIR).join(name)).unwrap();
    file.write_all(text).unwrap();
    file.flush().unwrap();
}

/// A directory with these files, as if an operator had put them there.
fn with(accepted: Option<&str>, current: Option<&str>) -> MemoryDisk {
    let disk = empty();
    for (name, text) in [(ACCEPTED, accepted), (CURRENT, current)] {
        if let Some(text) = text {
            put(&disk, name, text.as_bytes());
        }
    }
    disk
}

fn text(disk: &dyn Disk, name: &str) -> Option<String> {
    let bytes = disk.read(&Path::new(DIR).join(name)).ok()?;
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

fn load_from(disk: &dyn Disk, last: Zxid) -> Result<Epochs, EpochError> {
    load(disk, Path::new(DIR), last)
}

#[test]
fn files_hold_a_decimal_number_without_a_line_end() {
    let disk = empty();
    set_accepted(&disk, Path::new(DIR), 12).unwrap();
    set_current(&disk, Path::new(DIR), 11).unwrap();
    assert_eq!(text(&disk, ACCEPTED).as_deref(), Some("12"));
    assert_eq!(text(&disk, CURRENT).as_deref(), Some("11"));
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), [ACCEPTED, CURRENT]);
    assert_eq!(load_from(&disk, Zxid::new(11, 7)).unwrap(), Epochs { accepted: 12, current: 11 });
}

#[test]
fn what_stands_behind_the_first_line_is_ignored() {
    let disk = with(Some("7\n"), Some("6\r\nsomething else"));
    assert_eq!(load_from(&disk, Zxid::new(6, 1)).unwrap(), Epochs { accepted: 7, current: 6 });
}

#[test]
fn missing_files_are_the_epoch_of_the_last_transaction_and_are_written() {
    let cases = [
        (None, None, Epochs { accepted: 3, current: 3 }),
        (Some("5"), None, Epochs { accepted: 5, current: 3 }),
        (None, Some("3"), Epochs { accepted: 3, current: 3 }),
    ];
    for (accepted, current, expected) in cases {
        let disk = with(accepted, current);
        assert_eq!(load_from(&disk, Zxid::new(3, 9)).unwrap(), expected);
        assert_eq!(text(&disk, ACCEPTED), Some(expected.accepted.to_string()));
        assert_eq!(text(&disk, CURRENT), Some(expected.current.to_string()));
    }
    // A server that was alone until now, and one without anything.
    assert_eq!(load_from(&empty(), Zxid(0x17)).unwrap(), Epochs { accepted: 0, current: 0 });
    let disk = empty();
    assert_eq!(load_from(&disk, Zxid(-1)).unwrap(), Epochs { accepted: -1, current: -1 });
    assert_eq!(load_from(&disk, Zxid(-1)).unwrap(), Epochs { accepted: -1, current: -1 });
}

#[test]
fn current_epoch_behind_the_log_is_brought_up_to_it() {
    for leftover in [false, true] {
        let disk = with(Some("8"), Some("6"));
        if leftover {
            put(&disk, "currentEpoch.tmp", b"8");
        }
        assert_eq!(load_from(&disk, Zxid::new(8, 0x10)).unwrap(), Epochs { accepted: 8, current: 8 });
        assert_eq!(text(&disk, CURRENT).as_deref(), Some("8"));
    }
}

#[test]
fn accepted_epoch_before_the_current_one_is_an_error_and_nothing_is_changed() {
    for (accepted, current, last) in [
        (Some("4"), Some("5"), Zxid::new(4, 1)),
        // The log proves the fifth epoch, and nothing may be in a log that was not accepted first.
        (Some("4"), Some("4"), Zxid::new(5, 1)),
        (Some("4"), None, Zxid::new(5, 1)),
        (None, Some("5"), Zxid::new(4, 1)),
    ] {
        let disk = with(accepted, current);
        let error = load_from(&disk, last).unwrap_err();
        assert!(matches!(error, EpochError::Contradiction { accepted: 4, current: 5, .. }), "{error}");
        assert_eq!(text(&disk, ACCEPTED).as_deref(), accepted);
        assert_eq!(text(&disk, CURRENT).as_deref(), current);
    }
}

#[test]
fn a_file_without_a_number_is_an_error_that_names_it() {
    let long = "1".repeat(5000);
    for bad in ["", "\n5", " 5", "5 ", "five", "0x5", "-", "+", "--1", "-2", "2147483648", "\0\0\0\0", &long] {
        for name in [ACCEPTED, CURRENT] {
            let disk = with(Some("5"), Some("5"));
            put(&disk, name, bad.as_bytes());
            let error = load_from(&disk, Zxid::new(5, 1)).unwrap_err();
            assert!(matches!(error, EpochError::Malformed { .. }), "{bad:?}: {error}");
            let message = error.to_string();
            assert!(message.starts_with(&format!("{DIR}/{name}: the first line is \"")), "{message}");
            assert!(message.len() < 400, "{message}");
            assert_eq!(text(&disk, name).as_deref(), Some(bad), "left as it was");
        }
    }
}

/// The story: a follower goes through many epochs, first promising each and then taking it, as ZAB does. At every moment the power
/// may be cut; each write in doubt may be kept or lost. What comes back is never less than what was promised before that, and
/// never something that was not being written.
#[test]
fn a_power_cut_at_any_moment_leaves_the_old_number_or_the_new_one() {
    let seed = 20;
    println!("seed {seed}");
    let chance = SeededEntropy::new(seed);
    let mut coin = move || {
        let mut byte = [0];
        chance.fill(&mut byte);
        byte[0] & 1 == 1
    };
    let disk = empty();
    // The moment from which on these numbers are certain.
    let mut certain = vec![(disk.moments(), Epochs { accepted: 0, current: 0 })];
    let mut now = load_from(&disk, Zxid::ZERO).unwrap();
    for epoch in [1, 2, 9, 10, 100] {
        set_accepted(&disk, Path::new(DIR), epoch).unwrap();
        now.accepted = epoch;
        certain.push((disk.moments(), now));
        set_current(&disk, Path::new(DIR), epoch).unwrap();
        now.current = epoch;
        certain.push((disk.moments(), now));
    }
    let start = certain[0].0;
    let mut checked = 0;
    for moment in start..=disk.moments() {
        let at_least =
            certain.iter().rev().find(|(since, _)| *since <= moment).expect("the first holds from the start").1;
        let at_most = certain.iter().find(|(since, _)| *since >= moment).expect("the last holds to the end").1;
        for rule in [Names::InOrder, Names::Any] {
            for _ in 0..16 {
                let after = disk.cut(moment, rule, &mut coin);
                let epochs = load_from(&after, Zxid::ZERO).unwrap_or_else(|error| panic!("moment {moment}: {error}"));
                for (found, least, most) in [
                    (epochs.accepted, at_least.accepted, at_most.accepted),
                    (epochs.current, at_least.current, at_most.current),
                ] {
                    assert!(
                        found == least || found == most,
                        "moment {moment}: {epochs:?}, not {at_least:?} or {at_most:?}"
                    );
                }
                // What was read is durable: a second cut takes nothing of it back.
                let again = after.cut(after.moments(), rule, &mut || false);
                assert_eq!(load_from(&again, Zxid::ZERO).unwrap(), epochs, "moment {moment}");
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}

/// A process is killed between the rename and the sync of the directory; its successor reads the new number and answers with it;
/// then the power goes.
#[test]
fn a_number_that_a_killed_process_left_is_durable_once_it_was_read() {
    let disk = with(Some("3"), Some("3"));
    load_from(&disk, Zxid::new(3, 1)).unwrap();
    set_accepted(&disk, Path::new(DIR), 4).unwrap();
    for moment in 0..=disk.moments() {
        let next = disk.killed_at(moment);
        let Ok(read) = load_from(&next, Zxid::new(3, 1)) else { continue };
        let after = next.cut(next.moments(), Names::InOrder, &mut || false);
        assert_eq!(load_from(&after, Zxid::new(3, 1)).unwrap(), read, "killed at {moment}");
    }
}

#[test]
fn every_refusal_of_the_disk_is_an_error_and_a_second_start_goes_well() {
    let mut refused = 0;
    for index in 0.. {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied] {
            let inner = with(Some("8"), Some("6"));
            let disk = FaultyDisk::failing_at(inner.clone(), index, Fault::Error(kind));
            let outcome = load_from(&disk, Zxid::new(8, 1));
            if disk.calls() <= index {
                assert_eq!(outcome.unwrap(), Epochs { accepted: 8, current: 8 });
                assert!(refused > 6, "{refused}");
                return;
            }
            let error = outcome.expect_err("a refused call is not passed over");
            assert!(matches!(error, EpochError::Io { .. }), "{error}");
            assert!(error.to_string().starts_with(DIR), "{error}");
            refused += 1;
            assert_eq!(load_from(&inner, Zxid::new(8, 1)).unwrap(), Epochs { accepted: 8, current: 8 });
        }
    }
}
