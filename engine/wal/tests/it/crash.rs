//! Power cuts: every moment of a run, several ways each. What was acknowledged is there, what is there is a prefix of what
//! was appended, and the log goes on.

use std::path::Path;

use host::{Disk, Entropy, FaultyDisk, MemoryDisk, SeededEntropy, faulty::Fault};
use proto::Zxid;
use wal::LogOptions;

use crate::kit::*;

/// Moments of the disk's journal at which a zxid had been acknowledged.
type Acknowledged = Vec<(usize, i64)>;

fn run(disk: &MemoryDisk, options: LogOptions, sizes: &[(usize, usize)]) -> Acknowledged {
    let mut log = open(disk, options, read(disk, 1).unwrap().1);
    let mut zxid = log.log().durable().0;
    let mut acknowledged = Vec::new();
    for (records, bytes) in sizes {
        for _ in 0..*records {
            zxid += 1;
            log.append(&header(zxid), &txn(zxid, *bytes), Some(zxid as u64)).unwrap();
        }
        let durable = log.commit(NOW).unwrap().0;
        acknowledged.push((disk.moments(), durable));
    }
    acknowledged
}

fn check(disk: &MemoryDisk, acknowledged: i64, what: &str) -> i64 {
    let (zxids, report) = read(disk, 1).unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = zxids.last().copied().unwrap_or(0);
    assert_eq!(zxids, (1..=last).collect::<Vec<_>>(), "{what}");
    assert!(last >= acknowledged, "{what}: {acknowledged} was acknowledged, {last} is there");
    // Reading again finds the same, and nothing to repair.
    let (again, second) = read(disk, 1).unwrap();
    assert_eq!((again, second.cuts.len()), (zxids, 0), "{what}");
    drop(report);
    last
}

#[test]
fn every_crash_image_opens_with_all_that_was_acknowledged() {
    let seed = 0x5EED;
    println!("seed {seed:#x}");
    let entropy = SeededEntropy::new(seed);
    let disk = disk();
    let sizes: Vec<(usize, usize)> =
        (0..30).map(|_| (1 + entropy.below(6) as usize, entropy.below(3000) as usize)).collect();
    let acknowledged = run(&disk, options(), &sizes);
    let start = 2; // The directory exists.
    let mut images = 0;
    for moment in start..=disk.moments() {
        let known = acknowledged.iter().rev().find(|(at, _)| *at <= moment).map_or(0, |(_, zxid)| *zxid);
        for way in 0..6 {
            let image = match way {
                0 => disk.crash(moment, &mut || false),
                1 => disk.crash(moment, &mut || true),
                _ => disk.crash(moment, &mut || entropy.next_u64() & 1 == 0),
            };
            let what = format!("moment {moment}, way {way}");
            let last = check(&image, known, &what);
            images += 1;
            if way == 3 {
                // Life goes on, and a second cut is survived as well.
                let more = run(&image, options(), &[(2, 100), (1, 3000)]);
                let cut = image.crash(image.moments(), &mut || entropy.next_u64() & 1 == 0);
                check(&cut, more.last().unwrap().1, &what);
                assert_eq!(more.last().unwrap().1, last + 3);
            }
        }
    }
    assert!(images > 300, "{images}");
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let disk = disk();
    run(&disk, options(), &[(1, 100), (3, 2000)]);
    let path = Path::new(DIR).join("log.1");
    let whole = disk.read(&path).unwrap().to_vec();
    for torn in 4096..12288 {
        let image = disk.killed();
        image.edit(&path, |bytes| bytes[torn..].fill(0));
        let last = check(&image, 1, &format!("zeros from {torn}"));
        assert!(last < 4 || whole[torn..].iter().all(|byte| *byte == 0));
        let image = disk.killed();
        image.edit(&path, |bytes| bytes[4096..torn].fill(0));
        let untouched = whole[4096..torn].iter().all(|byte| *byte == 0);
        assert_eq!(check(&image, 1, &format!("zeros up to {torn}")) == 4, untouched);
        let image = disk.killed();
        image.edit(&path, |bytes| bytes.truncate(torn));
        check(&image, 1, &format!("cut at {torn}"));
    }
}

#[test]
fn of_two_groups_in_flight_the_second_alone_is_not_taken_for_damage() {
    let disk = disk();
    let options = LogOptions { groups_in_flight_max: 2, ..options() };
    let mut log = open(&disk, options, read(&disk, 1).unwrap().1);
    write(&mut log, 1, &[10]);
    let segment = disk.open(&Path::new(DIR).join("log.1"), host::Mode::Direct);
    log.append(&header(2), &txn(2, 10), Some(2)).unwrap();
    let first = log.log().next_write().unwrap();
    log.append(&header(3), &txn(3, 10), Some(3)).unwrap();
    let second = log.log().next_write().unwrap();
    assert!(first.offset < second.offset);
    segment.unwrap().write_durable_at(second.offset, &second.buffer).unwrap();
    assert_eq!(read(&disk, 1).unwrap().0, [1]);
    let (zxids, report) = read(&disk, 1).unwrap();
    assert_eq!((zxids, report.cuts.len(), report.last), (vec![1], 0, Zxid(1)));
}

#[test]
fn an_error_of_any_call_while_writing_loses_nothing_that_was_acknowledged() {
    for fault in [Fault::Error(std::io::ErrorKind::Other), Fault::Short(700, std::io::ErrorKind::StorageFull)] {
        let mut index = 0;
        loop {
            let disk = disk();
            let faulty = FaultyDisk::failing_at(disk.clone(), index, fault);
            let report = read(&disk, 1).unwrap().1;
            let mut log = wal::BlockingLog::new(
                std::sync::Arc::new(faulty),
                Path::new(DIR),
                options(),
                report.last,
                report.leftovers,
            );
            let mut acknowledged = 0;
            let mut failed = false;
            for zxid in 1..=40 {
                if !log.log().can_accept(3000) {
                    break;
                }
                log.append(&header(zxid), &txn(zxid, 2500), Some(zxid as u64)).unwrap();
                match log.commit(NOW) {
                    Ok(durable) => acknowledged = durable.0,
                    Err(_) => {
                        failed = true;
                        break;
                    }
                }
            }
            check(&disk.crash(disk.moments(), &mut || false), acknowledged, &format!("call {index}, {fault:?}"));
            check(&disk.killed(), acknowledged, &format!("call {index}, {fault:?}"));
            if !failed && acknowledged == 40 && index > 60 {
                break;
            }
            index += 1;
        }
        assert!(index > 50, "{index}");
    }
}

#[test]
fn an_error_of_any_call_while_recovering_changes_nothing_that_counts() {
    let mut index = 0;
    loop {
        let disk = disk();
        run(&disk, options(), &[(1, 100), (2, 2000), (1, 50)]);
        disk.edit(&Path::new(DIR).join("log.1"), |bytes| bytes[4096 * 4 - 1] = 0);
        let faulty = FaultyDisk::failing_at(disk.clone(), index, Fault::Error(std::io::ErrorKind::Other));
        let first = read(&faulty, 1);
        check(&disk, 3, &format!("call {index}"));
        if first.is_ok() {
            break;
        }
        index += 1;
    }
    assert!(index >= 5, "{index}");
}

/// All ways to lose a beginning, or one piece, of what is in doubt at a moment.
fn images(disk: &MemoryDisk, moment: usize) -> Vec<(String, MemoryDisk)> {
    let mut images = Vec::new();
    for at in 0..40 {
        let mut asked = 0;
        let lost = disk.crash(moment, &mut || {
            asked += 1;
            asked > at
        });
        images.push((format!("the first {at} lost"), lost));
        let mut asked = 0;
        let one = disk.crash(moment, &mut || {
            asked += 1;
            asked != at
        });
        images.push((format!("number {at} lost"), one));
    }
    images
}

#[test]
fn the_header_of_a_file_survives_when_its_first_write_is_torn() {
    for prepared_before in [false, true] {
        let disk = disk();
        if prepared_before {
            // An earlier process made the file and was killed before it had synced it.
            let path = Path::new(DIR).join("ringkeeper-prepared.0");
            let mut file = disk.create(&path).unwrap();
            file.fill_zeros(64 << 10).unwrap();
            file.write_at(0, &wal::format::file_header(wal::format::dbid(3))).unwrap();
        }
        // The name is given while the write is still under way: the worst order of the two.
        let mut log = wal::Log::new(options(), Zxid::ZERO, read(&disk, 1).unwrap().1.leftovers);
        let prepare = log.next_work(NOW).unwrap();
        log.work_done(wal::perform(&disk, Path::new(DIR), &prepare)).unwrap();
        for zxid in 1..=3 {
            log.append(&header(zxid), &txn(zxid, 1000), Some(zxid as u64)).unwrap();
        }
        let write = log.next_write().unwrap();
        let mut works = Vec::new();
        while let Some(work) = log.next_work(NOW) {
            works.push(work);
        }
        let name = works.iter().find(|work| matches!(work, wal::Work::Name { .. })).unwrap();
        wal::perform(&disk, Path::new(DIR), name);
        let moment = disk.moments();
        let mut file = disk.open(&Path::new(DIR).join("log.1"), host::Mode::Direct).unwrap();
        file.write_durable_at(write.offset, &write.buffer).unwrap();
        for (way, image) in images(&disk, moment) {
            check(&image, 0, &format!("{way}, prepared before: {prepared_before}"));
        }
        for (way, image) in images(&disk, moment + 1) {
            check(&image, 3, &format!("{way}, written, prepared before: {prepared_before}"));
        }
    }
}

#[test]
fn what_was_truncated_does_not_come_back() {
    let disk = disk();
    run(&disk, options(), &[(4, 100)]);
    let mut log = open(&disk, options(), read(&disk, 1).unwrap().1);
    write(&mut log, 5, &[10, 10]);
    log.log().roll();
    write(&mut log, 7, &[10]);
    let start = disk.moments();
    wal::truncate(&disk, Path::new(DIR), Zxid(2), wal::ReadOptions::default()).unwrap();
    for moment in start..=disk.moments() {
        for (way, image) in images(&disk, moment) {
            let last = check(&image, 2, &format!("moment {moment}, {way}"));
            assert!(last == 2 || moment < disk.moments(), "{way}: {last}");
        }
    }
}
