//! Reading back: each reading rule, torn tails, damage, several files, truncation.

use std::path::Path;

use host::{Disk, MemoryDisk};
use proto::Zxid;
use wal::{ReadOptions, RecoverError, truncate};

use crate::kit::*;

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}

/// A file as Java writes it: no trailers, records back to back, zeros behind.
fn java_log(disk: &MemoryDisk, first: i64, count: i64, zeros: usize) -> Vec<usize> {
    use proto::{Encode, txn::put_digest};
    let mut bytes = wal::format::file_header(0).to_vec();
    let mut offsets = Vec::new();
    for zxid in first..first + count {
        let mut payload = Vec::new();
        header(zxid).encode(&mut payload);
        txn(zxid, 50).encode(&mut payload);
        put_digest(&mut payload, zxid as u64);
        offsets.push(bytes.len());
        bytes.extend_from_slice(&wal::format::checksum(&payload).to_be_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes.push(wal::format::EOR);
    }
    offsets.push(bytes.len());
    bytes.resize(bytes.len() + zeros, 0);
    put(disk, &format!("log.{first:x}"), &bytes);
    offsets
}

fn put(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let mut file = disk.create(&path(name)).unwrap();
    file.write_all(bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
}

fn ours(count: usize) -> MemoryDisk {
    let disk = disk();
    let mut log = open(&disk, options(), read(&disk, 1).unwrap().1);
    write(&mut log, 1, &vec![100; count]);
    disk
}

fn damage(result: Result<(Vec<i64>, wal::Recovered), RecoverError>) -> wal::Damage {
    match result {
        Err(RecoverError::Damaged(damage)) => *damage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn javas_files_are_read_to_their_zeros_or_their_end() {
    for zeros in [0, 5, 5000] {
        let disk = disk();
        java_log(&disk, 1, 10, zeros);
        let (zxids, report) = read(&disk, 4).unwrap();
        assert_eq!(zxids, [4, 5, 6, 7, 8, 9, 10]);
        assert!(report.cuts.is_empty());
    }
}

#[test]
fn a_record_that_ends_early_is_cut_from_javas_file_at_every_length() {
    let disk = disk();
    let offsets = java_log(&disk, 1, 3, 0);
    let whole = disk.read(&path("log.1")).unwrap().to_vec();
    for length in offsets[2]..whole.len() {
        put(&disk, "log.1", &whole[..length]);
        let (zxids, report) = read(&disk, 1).unwrap();
        assert_eq!(zxids, [1, 2], "{length}");
        // Zeros are no tail: the checksum's upper half is zero.
        let tail = whole[offsets[2]..length].iter().any(|byte| *byte != 0);
        assert_eq!(report.cuts.len(), usize::from(tail), "{length}");
        let left = if tail { offsets[2] } else { length };
        assert_eq!(disk.stat(&path("log.1")).unwrap().bytes, left as u64, "{length}");
        // Then with the zeros of preallocation behind it.
        put(&disk, "log.1", &[&whole[..length], &[0; 9000]].concat());
        assert_eq!(read(&disk, 1).unwrap().0, [1, 2], "{length}");
    }
}

#[test]
fn a_wrong_byte_in_javas_file_is_a_torn_tail_at_the_end_and_damage_before_it() {
    let disk = disk();
    let offsets = java_log(&disk, 1, 4, 100);
    for at in 0..4 {
        java_log(&disk, 1, 4, 100);
        // 12 bytes of record head, 32 of header: a byte of the path.
        disk.edit(&path("log.1"), |bytes| bytes[offsets[at] + 12 + 32 + 5] ^= 1);
        if at == 3 {
            assert_eq!(read(&disk, 1).unwrap().0, [1, 2, 3]);
        } else {
            let damage = damage(read(&disk, 1));
            assert_eq!((damage.offset, damage.after), (offsets[at] as u64, Zxid(at as i64)));
            assert_eq!(damage.witness.1, offsets[at + 1] as u64);
        }
    }
}

#[test]
fn a_wrong_length_in_the_middle_of_javas_file_is_damage_too() {
    for value in [[0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFE], [0, 0, 0, 200], [0x7F, 0, 0, 0]] {
        let disk = disk();
        let offsets = java_log(&disk, 1, 4, 100);
        disk.edit(&path("log.1"), |bytes| bytes[offsets[1] + 8..offsets[1] + 12].copy_from_slice(&value));
        assert_eq!(damage(read(&disk, 1)).offset, offsets[1] as u64);
    }
}

#[test]
fn a_torn_older_file_of_javas_is_cut_if_the_next_goes_on_where_it_ends() {
    let disk = disk();
    let offsets = java_log(&disk, 1, 3, 0);
    disk.truncate(&path("log.1"), offsets[3] as u64 - 4).unwrap();
    java_log(&disk, 3, 2, 100);
    assert_eq!(read(&disk, 1).unwrap().0, [1, 2, 3, 4]);
}

#[test]
fn a_torn_older_file_is_damage_if_the_next_starts_later() {
    let disk = disk();
    let offsets = java_log(&disk, 1, 3, 0);
    disk.truncate(&path("log.1"), offsets[3] as u64 - 4).unwrap();
    java_log(&disk, 4, 2, 100);
    let damage = damage(read(&disk, 1));
    assert_eq!((damage.after, damage.durable), (Zxid(2), Zxid(3)));
}

#[test]
fn gaps_and_regressions_are_reported_and_read_over() {
    let disk = disk();
    java_log(&disk, 1, 2, 10);
    java_log(&disk, 5, 2, 10);
    let (zxids, report) = read(&disk, 1).unwrap();
    assert_eq!(zxids, [1, 2, 5, 6]);
    assert_eq!(report.gaps, [wal::Gap { after: Zxid(2), next: Zxid(5) }]);

    java_log(&disk, 2, 3, 10);
    let (zxids, report) = read(&disk, 1).unwrap();
    assert_eq!(zxids, [1, 2, 2, 3, 4, 5, 6]);
    assert_eq!(report.regressions, [wal::Gap { after: Zxid(2), next: Zxid(2) }]);
    assert!(report.gaps.is_empty());
}

#[test]
fn an_empty_or_headless_log_is_removed_and_does_not_stand_in_the_way() {
    for content in [&b""[..], b"ZKLG", &wal::format::file_header(0), &[0; 4096]] {
        let disk = disk();
        java_log(&disk, 1, 2, 10);
        put(&disk, "log.3", content);
        let (zxids, report) = read(&disk, 1).unwrap();
        assert_eq!(zxids, [1, 2]);
        assert!(report.cuts[0].removed);
        let mut log = open(&disk, options(), report);
        write(&mut log, 3, &[10]);
        assert_eq!(read(&disk, 1).unwrap().0, [1, 2, 3]);
    }
}

#[test]
fn a_file_that_is_no_log_is_refused() {
    let disk = disk();
    java_log(&disk, 1, 2, 10);
    put(&disk, "log.3", b"something else entirely");
    assert!(matches!(read(&disk, 1), Err(RecoverError::NotALog { .. })));
}

#[test]
fn a_damaged_header_with_records_behind_it_is_damage() {
    let disk = ours(5);
    disk.edit(&path("log.1"), |bytes| bytes[0] = 0);
    assert_eq!(damage(read(&disk, 1)).offset, 0);
}

#[test]
fn any_wrong_byte_of_an_acknowledged_group_with_a_group_behind_it_is_refused() {
    let groups = 4;
    let disk = ours(groups);
    let mut refused = 0;
    // Version and dbid say nothing about what the records hold: reading goes on without them.
    for at in (0..(groups - 1) * 4096).filter(|at| !(4..16).contains(at)) {
        let copy = disk.killed();
        copy.edit(&path("log.1"), |bytes| bytes[at] ^= 1 << (at % 8));
        match read(&copy, 1) {
            Err(RecoverError::Damaged(damage)) => {
                assert!(damage.after.0 as usize <= at / 4096, "{at}: {damage}");
                refused += 1;
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(copy.read(&path("log.1")).unwrap().len(), disk.read(&path("log.1")).unwrap().len());
    }
    assert_eq!(refused, (groups - 1) * 4096 - 12);
}

#[test]
fn a_lost_block_with_groups_behind_it_is_refused() {
    let disk = ours(4);
    disk.edit(&path("log.1"), |bytes| bytes[4096..8192].fill(0));
    let damage = damage(read(&disk, 1));
    assert_eq!((damage.offset, damage.after, damage.durable, damage.why), (4096, Zxid(1), Zxid(3), None));
    assert_eq!(
        damage.to_string(),
        "the transaction log /log/log.1 is damaged at offset 4096, behind zxid 0x1: transactions are missing; \
         /log/log.1 at offset 12288 shows that zxid 0x3 was durable. Nothing was changed. Restore this file from a \
         backup or from a copy of the directory; or, in an ensemble, move this server's version-2 directories away and let \
         it copy the data from the others; or, to go on without the transactions from zxid 0x2 on, move this file and all \
         later ones away, keep the file's first 4096 bytes, and remove ringkeeper.durable"
    );
}

#[test]
fn damage_at_the_end_of_a_file_is_known_from_the_next_file() {
    let disk = ours(3);
    let report = read(&disk, 1).unwrap().1;
    let mut log = open(&disk, options(), report);
    write(&mut log, 4, &[10, 10]);
    drop(log);
    disk.edit(&path("log.1"), |bytes| bytes[2 * 4096 + 100] ^= 1);
    let damage = damage(read(&disk, 1));
    assert_eq!((damage.offset, damage.after, damage.durable), (8192, Zxid(2), Zxid(3)));
    assert_eq!(damage.witness.0, path("log.4"));
}

#[test]
fn transactions_that_no_file_holds_any_more_are_missed() {
    let disk = ours(3);
    let report = read(&disk, 1).unwrap().1;
    let mut log = open(&disk, options(), report);
    write(&mut log, 4, &[10, 10]);
    disk.remove(&path("log.1")).unwrap();
    assert!(matches!(read(&disk, 1), Err(RecoverError::Missing { after: Zxid(0), durable: Zxid(3), .. })));
    assert_eq!(read(&disk, 4).unwrap().0, [4, 5], "a snapshot at 3 needs only the second file");
}

#[test]
fn an_overwritten_group_that_was_moved_from_elsewhere_is_not_taken_for_another() {
    let disk = ours(4);
    disk.edit(&path("log.1"), |bytes| bytes.copy_within(4096..8192, 8192));
    // Zxid 2 stands where zxid 3 was; its record is whole, but its group is not at its place.
    match read(&disk, 1) {
        Err(RecoverError::Damaged(damage)) => assert_eq!((damage.offset, damage.after), (8192, Zxid(2))),
        other => panic!("{other:?}"),
    }
    // At the end nothing proves that it was acknowledged; it is not taken for what it is not.
    let disk = ours(4);
    disk.edit(&path("log.1"), |bytes| bytes.copy_within(4096..8192, 12288));
    let (zxids, report) = read(&disk, 1).unwrap();
    assert_eq!((zxids, report.cuts[0].offset), (vec![1, 2, 3], 12288));
    assert!(report.regressions.is_empty());
}

#[test]
fn a_group_whose_own_checksum_is_wrong_is_found_although_its_records_are_whole() {
    let disk = ours(3);
    disk.edit(&path("log.1"), |bytes| {
        // The last byte of the CRC, and the record's checksum made to fit again.
        bytes[8190] ^= 1;
        let sum = wal::format::checksum(&bytes[4096 + 12..8191]);
        bytes[4096..4104].copy_from_slice(&sum.to_be_bytes());
    });
    let damage = damage(read(&disk, 1));
    assert_eq!((damage.offset, damage.after, damage.durable), (4096, Zxid(1), Zxid(2)));
    assert_eq!(damage.why.unwrap().to_string(), "a group's checksum is wrong");
}

#[test]
fn a_log_that_bears_the_name_of_another_is_refused() {
    let disk = ours(3);
    let report = read(&disk, 1).unwrap().1;
    let mut log = open(&disk, options(), report);
    write(&mut log, 4, &[10, 10]);
    drop(log);
    let bytes = disk.read(&path("log.4")).unwrap().to_vec();
    disk.rename(&path("log.1"), &path("log.4")).unwrap();
    put(&disk, "log.1", &bytes);
    // With a snapshot at 3 only the file called log.4 would be read, and 4 and 5 be missed.
    for from in [1, 4] {
        match read(&disk, from) {
            Err(error @ RecoverError::Misnamed { .. }) => assert!(error.to_string().contains("(this one: log.")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_mark_tells_when_the_end_of_the_log_is_gone() {
    let disk = ours(3);
    let dir = Path::new(DIR);
    wal::write_mark(&disk, dir, Zxid(3)).unwrap();
    assert_eq!(read(&disk, 1).unwrap().0, [1, 2, 3]);
    disk.edit(&path("log.1"), |bytes| bytes[2 * 4096 + 100] ^= 1);
    let before = disk.read(&path("log.1")).unwrap().to_vec();
    match read(&disk, 1) {
        Err(error @ RecoverError::EndLost { last: Zxid(2), durable: Zxid(3), .. }) => {
            assert!(error.to_string().contains("without the transactions from zxid 0x3 on, remove ringkeeper.durable"));
        }
        other => panic!("{other:?}"),
    }
    assert!(before == *disk.read(&path("log.1")).unwrap(), "refused, nothing is cut");
    // Whoever decides to go on without it removes the mark; TRUNC does so itself.
    disk.remove(&path(wal::MARK_FILE)).unwrap();
    assert_eq!(read(&disk, 1).unwrap().0, [1, 2]);
    wal::write_mark(&disk, dir, Zxid(2)).unwrap();
    truncate(&disk, dir, Zxid(1), ReadOptions::default()).unwrap();
    assert_eq!(read(&disk, 1).unwrap().0, [1]);
}

#[test]
fn a_mark_is_asked_for_once_a_second_and_only_of_what_is_durable() {
    let disk = disk();
    let mut log = open(&disk, options(), read(&disk, 1).unwrap().1);
    let mark = || wal::read_mark(&disk, Path::new(DIR)).unwrap();
    log.append(&header(1), &txn(1, 10), Some(1)).unwrap();
    log.commit(proto::Millis(5_000)).unwrap();
    assert_eq!(mark(), wal::Mark::Absent, "not at once");
    let due = log.log().next_time().unwrap();
    assert_eq!(due.0, 5_000 + wal::MARK_EVERY_MS);
    log.append(&header(2), &txn(2, 10), Some(2)).unwrap();
    log.commit(due).unwrap();
    assert_eq!(mark(), wal::Mark::At(Zxid(1)), "what was durable when it was asked for");
    assert_eq!(log.log().next_time(), Some(due.plus(wal::MARK_EVERY_MS)));
    log.commit(due.plus(wal::MARK_EVERY_MS)).unwrap();
    assert_eq!((mark(), log.log().next_time()), (wal::Mark::At(Zxid(2)), None));

    let unsafe_disk = crate::kit::disk();
    let mut log = open(&unsafe_disk, wal::LogOptions { sync: false, ..options() }, read(&unsafe_disk, 1).unwrap().1);
    write(&mut log, 1, &[10]);
    assert_eq!(log.log().next_time(), None, "without forceSync nothing is known to be durable");
}

#[test]
fn truncating_keeps_the_zxid_and_removes_what_is_later() {
    let disk = disk();
    let mut log = open(&disk, options(), read(&disk, 1).unwrap().1);
    for zxid in 1..=6 {
        log.append(&header(zxid), &txn(zxid, 10), Some(zxid as u64)).unwrap();
    }
    log.commit(NOW).unwrap();
    log.log().roll();
    write(&mut log, 7, &[10, 10]);
    let done = truncate(&disk, Path::new(DIR), Zxid(3), ReadOptions::default()).unwrap();
    assert_eq!((done.last, done.exact, done.removed), (Zxid(3), true, vec![path("log.7")]));
    let (zxids, report) = read(&disk, 1).unwrap();
    assert_eq!(zxids, [1, 2, 3]);
    assert!(report.cuts.is_empty());
    let mut log = open(&disk, options(), report);
    write(&mut log, 4, &[10]);
    assert_eq!(read(&disk, 1).unwrap().0, [1, 2, 3, 4]);

    assert!(truncate(&disk, Path::new(DIR), Zxid(0), ReadOptions::default()).is_err());
}

/// Changes a file in one of the ways disks and people do.
fn spoil(random: &host::SeededEntropy, bytes: &mut Vec<u8>) -> (usize, usize) {
    let at = random.below(bytes.len() as u64) as usize;
    let length = 1 + random.below(6000) as usize;
    let end = (at + length).min(bytes.len());
    match random.below(6) {
        0 => bytes[at..end].fill(0),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => {
            let from = random.below((bytes.len() - (end - at)) as u64 + 1) as usize;
            bytes.copy_within(from..from + (end - at), at);
        }
        3 => bytes[at..end].iter_mut().for_each(|byte| *byte = random.below(256) as u8),
        4 => {
            let block = at / 4096 * 4096;
            let end = (block + 4096).min(bytes.len());
            bytes[block..end].fill(0xFF);
            return (block, end);
        }
        _ => {
            bytes.truncate(at);
            return (at, usize::MAX);
        }
    }
    (at, end)
}

#[test]
fn whatever_happens_to_a_file_nothing_acknowledged_is_lost_in_silence() {
    let seed = 0xD15C;
    println!("seed {seed:#x}");
    let random = host::SeededEntropy::new(seed);
    let count = 12;
    let disk = ours(count);
    let whole = disk.read(&path("log.1")).unwrap().to_vec();
    let (mut refused, mut cut, mut harmless) = (0, 0, 0);
    for round in 0..4000 {
        let copy = disk.killed();
        let mut bytes = whole.clone();
        // Near the records more often than in the zeros behind them.
        bytes.truncate(if random.below(4) == 0 { bytes.len() } else { (count + 1) * 4096 });
        let (from, to) = spoil(&random, &mut bytes);
        copy.edit(&path("log.1"), |content| *content = bytes);
        match read(&copy, 1) {
            Err(RecoverError::Damaged(_) | RecoverError::NotALog { .. }) => refused += 1,
            Err(other) => panic!("round {round}, {from}..{to}: {other}"),
            Ok((zxids, _)) => {
                assert_eq!(zxids, (1..=zxids.len() as i64).collect::<Vec<_>>(), "round {round}, {from}..{to}");
                if zxids.len() == count {
                    harmless += 1;
                } else {
                    // Only what could as well have been a write cut short: everything behind is gone too.
                    cut += 1;
                    let last_group = (count - 1) * 4096;
                    assert!(to > last_group, "round {round}, {from}..{to}: {} transactions", zxids.len());
                }
            }
        }
    }
    assert!(refused > 500 && cut > 100 && harmless > 100, "{refused} {cut} {harmless}");
}

#[test]
fn whatever_happens_to_a_file_of_javas_what_is_read_is_a_prefix() {
    let seed = 0x7A7A;
    println!("seed {seed:#x}");
    let random = host::SeededEntropy::new(seed);
    let disk = disk();
    java_log(&disk, 1, 60, 3000);
    let whole = disk.read(&path("log.1")).unwrap().to_vec();
    let mut refused = 0;
    for round in 0..4000 {
        let copy = disk.killed();
        let mut bytes = whole.clone();
        spoil(&random, &mut bytes);
        copy.edit(&path("log.1"), |content| *content = bytes);
        match read(&copy, 1) {
            Err(_) => refused += 1,
            Ok((zxids, report)) => {
                // A piece that was copied onto another is made of whole records now and then.
                let expected: Vec<i64> = (1..=zxids.len() as i64).collect();
                assert!(
                    zxids == expected || !report.regressions.is_empty() || !report.gaps.is_empty(),
                    "round {round}"
                );
            }
        }
    }
    assert!(refused > 300, "{refused}");
}

/// Found by fuzzing: sums of zxids overflowed.
#[test]
fn the_greatest_and_the_least_number_are_zxids_like_others() {
    for first in [i64::MAX, i64::MIN] {
        for from in [Zxid::MAX, Zxid(i64::MIN), Zxid::MAX.next()] {
            let disk = disk();
            let mut payload = Vec::new();
            proto::Encode::encode(&header(first), &mut payload);
            proto::Encode::encode(&txn(1, 50), &mut payload);
            let mut bytes = wal::format::file_header(0).to_vec();
            bytes.extend_from_slice(&wal::format::checksum(&payload).to_be_bytes());
            bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&payload);
            bytes.push(wal::format::EOR);
            // The least has no name that anybody could read; in a file of another name it is out of place.
            let name = if first > 0 { wal::names::log_name(Zxid(first)) } else { "log.1".to_owned() };
            put(&disk, &name, &bytes);
            let result = wal::recover(&disk, Path::new(DIR), from, ReadOptions::default(), |_| {});
            let fits = if first > 0 { result.is_ok() } else { matches!(result, Err(RecoverError::Misnamed { .. })) };
            assert!(fits, "{result:?}");
        }
    }
}

/// Whoever stores megabytes that look like heads of records, or like trailers of groups that began long ago, cannot keep
/// a restart busy. Each look-alike used to be taken at its word, and everything that it spoke of was summed: these files
/// took minutes.
#[test]
fn data_that_looks_like_records_and_trailers_does_not_hold_up_a_restart() {
    let mut javas = wal::format::file_header(0).to_vec();
    while javas.len() < 6 << 20 {
        javas.extend_from_slice(&[0, 0, 0, 0, 0x42, 0x42, 0x42, 0x42, 0, 0x0F, 0, 0x42]);
    }
    let mut ours = wal::format::file_header(wal::format::dbid(7)).to_vec();
    ours.resize(64 << 20, 1);
    for end in (4096..=ours.len()).step_by(4096) {
        ours[end - 37..end - 29].copy_from_slice(b"RKGROUP1");
        ours[end - 29..end].fill(0);
        ours[end - 1] = wal::format::EOR;
    }
    for bytes in [javas, ours] {
        let disk = disk();
        put(&disk, "log.1", &bytes);
        let (read, report) = read(&disk, 1).unwrap();
        assert_eq!((read.len(), report.cuts.len(), report.cuts[0].removed), (0, 1, true));
    }
}
