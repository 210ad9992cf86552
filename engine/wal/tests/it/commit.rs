//! Group commit: what goes into a write, when it is durable, and when a new file starts.

use std::{io, path::Path};

use host::{Disk, MemoryDisk};
use proto::{Millis, Zxid};
use wal::{AppendError, Done, Log, LogOptions, LogWrite, Work, perform};

use crate::kit::*;

/// A log with its first segment ready and named work drained.
fn ready(disk: &MemoryDisk, options: LogOptions) -> Log {
    let mut log = Log::new(options, Zxid::ZERO, Vec::new());
    work(disk, &mut log);
    log
}

fn work(disk: &MemoryDisk, log: &mut Log) {
    while let Some(work) = log.next_work(NOW) {
        log.work_done(perform(disk, Path::new(DIR), &work)).unwrap();
    }
}

fn append(log: &mut Log, zxids: impl IntoIterator<Item = i64>) {
    for zxid in zxids {
        log.append(&header(zxid), &txn(zxid, 100), None).unwrap();
    }
}

fn complete(log: &mut Log, write: LogWrite) -> Option<Zxid> {
    let bytes = write.buffer.len();
    log.written(write.token, Ok(bytes), write.buffer).unwrap()
}

#[test]
fn a_group_is_whatever_arrived_while_the_last_was_in_flight() {
    let disk = disk();
    let mut log = ready(&disk, options());
    append(&mut log, [1]);
    let first = log.next_write().unwrap();
    append(&mut log, [2, 3, 4]);
    assert!(log.next_write().is_none(), "one write at a time");
    work(&disk, &mut log);
    assert_eq!(complete(&mut log, first), Some(Zxid(1)));
    let second = log.next_write().unwrap();
    assert_eq!((second.offset, second.final_zxid, second.buffer.len()), (4096, Zxid(4), 4096));
    assert_eq!(complete(&mut log, second), Some(Zxid(4)));
    assert!(log.is_idle());
}

#[test]
fn a_group_is_acknowledged_only_when_its_file_has_its_name() {
    let disk = disk();
    let mut log = ready(&disk, options());
    append(&mut log, [1]);
    let first = log.next_write().unwrap();
    assert_eq!(complete(&mut log, first), None);
    let naming = log.next_work(NOW).unwrap();
    assert!(matches!(&naming, Work::Name { to, .. } if to == "log.1"), "{naming:?}");
    assert_eq!(log.work_done(perform(&disk, Path::new(DIR), &naming)).unwrap(), Some(Zxid(1)));
}

#[test]
fn of_two_groups_in_flight_the_second_waits_for_the_first() {
    let disk = disk();
    let mut log = ready(&disk, LogOptions { groups_in_flight_max: 2, ..options() });
    append(&mut log, [1]);
    let first = log.next_write().unwrap();
    work(&disk, &mut log);
    append(&mut log, [2]);
    let second = log.next_write().unwrap();
    append(&mut log, [3]);
    assert!(log.next_write().is_none());
    assert_eq!(complete(&mut log, second), None);
    assert_eq!(complete(&mut log, first), Some(Zxid(2)));
}

#[test]
fn groups_are_capped_and_a_larger_record_goes_alone() {
    let disk = disk();
    let mut log = ready(&disk, options());
    for zxid in 1..=3 {
        log.append(&header(zxid), &txn(zxid, 3000), None).unwrap();
    }
    log.append(&header(4), &txn(4, 12_000), None).unwrap();
    let mut finals = Vec::new();
    while let Some(write) = log.next_write() {
        work(&disk, &mut log);
        finals.push(write.final_zxid.0);
        complete(&mut log, write);
    }
    assert_eq!(finals, [2, 3, 4]);
}

#[test]
fn no_block_is_written_twice_and_files_follow_each_other() {
    let disk = disk();
    // With a limit, even a high one, segments do not grow.
    let options = LogOptions { file_bytes_max: Some(1 << 30), ..options() };
    let mut log = open(&disk, options, read(&disk, 1).unwrap().1);
    write(&mut log, 1, &[500; 60]);
    assert_eq!(log_names(&disk).len(), 4, "15 groups of 4 KiB and one of more fill 64 KiB: {:?}", log_names(&disk));
    let (zxids, report) = read(&disk, 1).unwrap();
    assert_eq!(zxids, (1..=60).collect::<Vec<_>>());
    assert!(report.cuts.is_empty(), "{report:?}");
}

#[test]
fn rolling_starts_a_new_file_with_the_next_transaction() {
    let disk = disk();
    let mut log = open(&disk, options(), read(&disk, 1).unwrap().1);
    log.log().roll();
    write(&mut log, 1, &[10]);
    log.append(&header(2), &txn(2, 10), Some(2)).unwrap();
    log.log().roll();
    log.log().roll();
    write(&mut log, 3, &[10, 10]);
    assert_eq!(log_names(&disk), ["log.1", "log.3"]);
    assert_eq!(disk.stat(&Path::new(DIR).join("log.1")).unwrap().bytes, 2 * 4096);
    assert_eq!(read(&disk, 1).unwrap().0, [1, 2, 3, 4]);
}

#[test]
fn a_file_beyond_the_size_limit_is_not_continued() {
    let disk = disk();
    let options = LogOptions { file_bytes_max: Some(8192), ..options() };
    let mut log = open(&disk, options, read(&disk, 1).unwrap().1);
    write(&mut log, 1, &[10; 7]);
    assert_eq!(log_names(&disk), ["log.1", "log.4", "log.7"]);
}

#[test]
fn a_transaction_that_padding_would_make_unreadable_is_refused_and_the_largest_allowed_one_is_read_back() {
    let disk = disk();
    let mut log = open(&disk, options(), read(&disk, 1).unwrap().1);
    let max = log.log().payload_bytes_max();
    // Header 32, path 4 + 2, data length 4, version 4, digest 12.
    let around = 32 + 6 + 4 + 4 + 12;
    let error = log.append(&header(1), &txn(1, max - around + 1), Some(1)).unwrap_err();
    assert_eq!(error, AppendError::TooLarge { bytes: max + 1, max });
    for less in 0..120 {
        let zxid = less as i64 + 1;
        let around = around + format!("/{zxid}").len() - 2;
        write(&mut log, zxid, &[max - around - less]);
    }
    assert_eq!(read(&disk, 1).unwrap().0.len(), 120);
}

#[test]
fn a_failing_or_short_write_ends_the_log() {
    for result in [Err(io::ErrorKind::StorageFull.into()), Ok(512)] {
        let disk = disk();
        let mut log = ready(&disk, options());
        append(&mut log, [1]);
        let write = log.next_write().unwrap();
        work(&disk, &mut log);
        let failed = log.written(write.token, result, write.buffer).unwrap_err();
        assert_eq!((failed.what, &*failed.file, failed.offset), ("write", "log.1", 0));
        assert_eq!(log.durable(), Zxid::ZERO);
        assert!(!log.can_accept(1) && log.next_write().is_none() && log.next_work(NOW).is_none());
    }
}

#[test]
fn an_existing_file_of_the_same_name_is_never_overwritten() {
    let disk = disk();
    drop(disk.create(&Path::new(DIR).join("log.1")).unwrap());
    let mut log = ready(&disk, options());
    append(&mut log, [1]);
    let first = log.next_write().unwrap();
    assert_eq!(complete(&mut log, first), None);
    let naming = log.next_work(NOW).unwrap();
    let failed = log.work_done(perform(&disk, Path::new(DIR), &naming)).unwrap_err();
    assert_eq!(failed.source.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_full_disk_sheds_writes_before_a_segment_is_full_and_recovers_by_itself() {
    let disk = disk();
    disk.set_capacity(Some(100 << 10));
    let mut log = open(&disk, options(), read(&disk, 1).unwrap().1);
    let mut zxid = 1;
    let mut now = 0;
    while log.log().can_accept(1000) {
        write(&mut log, zxid, &[900]);
        zxid += 1;
    }
    assert_eq!(log.log().durable(), Zxid(zxid - 1), "everything taken is durable");
    assert_eq!(log.log().starved().unwrap().kind(), io::ErrorKind::StorageFull);
    assert!(zxid > 10);
    assert_eq!(log.append(&header(zxid), &txn(zxid, 1000), None), Err(AppendError::Full));

    disk.set_capacity(None);
    log.commit(Millis(now)).unwrap();
    now = log.log().next_time().unwrap().0;
    assert_eq!(now, 1000);
    log.commit(Millis(now)).unwrap();
    assert!(log.log().can_accept(1000) && log.log().starved().is_none());
    write(&mut log, zxid, &[900; 20]);
    assert_eq!(read(&disk, 1).unwrap().0.len() as i64, zxid + 19);
}

#[test]
fn prepared_segments_are_used_again_if_untouched_and_made_anew_if_not() {
    let disk = disk();
    let mut log = open(&disk, options(), read(&disk, 1).unwrap().1);
    write(&mut log, 1, &[10]);
    drop(log);
    let prepared: Vec<String> = read(&disk, 1).unwrap().1.leftovers;
    assert_eq!(prepared.len(), 1);
    let path = Path::new(DIR).join(&prepared[0]);
    let salt = |disk: &MemoryDisk, name: &str| disk.read(&Path::new(DIR).join(name)).unwrap()[8..16].to_vec();
    let before = salt(&disk, &prepared[0]);

    let again = disk.killed();
    let mut log = open(&again, LogOptions { seed: 1, ..options() }, read(&again, 1).unwrap().1);
    write(&mut log, 2, &[10]);
    assert_eq!(salt(&again, "log.2"), before);

    disk.edit(&path, |bytes| bytes[40_000] = 1);
    let mut log = open(&disk, LogOptions { seed: 1, ..options() }, read(&disk, 1).unwrap().1);
    write(&mut log, 2, &[10]);
    assert_ne!(salt(&disk, "log.2"), before);
    assert_eq!(read(&disk, 1).unwrap().0, [1, 2]);
}

#[test]
fn records_wait_for_a_segment_and_are_written_when_it_is_there() {
    let disk = disk();
    let mut log = Log::new(options(), Zxid::ZERO, Vec::new());
    append(&mut log, 1..=5);
    assert!(log.next_write().is_none());
    let preparing = log.next_work(NOW).unwrap();
    assert!(log.next_work(NOW).is_none(), "one at a time");
    let done = perform(&disk, Path::new(DIR), &preparing);
    assert!(matches!(done, Done::Prepared { direct: true, .. }));
    log.work_done(done).unwrap();
    assert_eq!(log.next_write().unwrap().final_zxid, Zxid(5));
}

#[test]
fn pending_bytes_are_bounded() {
    let mut log = Log::new(LogOptions::default(), Zxid::ZERO, Vec::new());
    let mut zxid = 0;
    while log.can_accept(1 << 20) {
        zxid += 1;
        log.append(&header(zxid), &txn(zxid, 1 << 20), None).unwrap();
    }
    assert_eq!(zxid, 8);
    assert_eq!(log.append(&header(zxid + 1), &txn(zxid + 1, 1 << 20), None), Err(AppendError::Full));
}

/// Found by a crowd on a server with `jute.maxbuffer` of 64 MB: each small transaction had a group of its own.
#[test]
fn a_large_record_limit_does_not_keep_small_records_from_sharing_a_group() {
    let options = LogOptions { payload_bytes_max: 128 << 20, ..LogOptions::default() };
    let mut log = Log::new(options, Zxid::ZERO, Vec::new());
    for zxid in 1..=100 {
        assert!(log.can_accept(log.payload_bytes_max()), "any record may come next");
        log.append(&header(zxid), &txn(zxid, 100), None).unwrap();
    }
}

/// Sizes of the segments that are asked for while a 4 KiB group is written every `pace_ms`.
fn sizes_asked_for(
    log: &mut Log,
    disk: &MemoryDisk,
    zxids: std::ops::Range<i64>,
    now: &mut Millis,
    pace_ms: i64,
) -> Vec<u64> {
    let mut sizes = Vec::new();
    for zxid in zxids {
        append(log, [zxid]);
        while let Some(write) = log.next_write() {
            complete(log, write);
        }
        while let Some(work) = log.next_work(*now) {
            if let Work::Prepare { bytes, .. } = work {
                sizes.push(bytes);
            }
            log.work_done(perform(disk, Path::new(DIR), &work)).unwrap();
        }
        *now = now.plus(pace_ms);
    }
    sizes
}

#[test]
fn segments_are_larger_while_they_are_used_up_quickly() {
    let (mut now, first, second) = (NOW, disk(), disk());
    let mut log = ready(&first, options());
    let usual = options().segment_bytes;
    // A segment takes 16 groups, a larger one 32 or 64: used up within 0.2, 0.3 and 0.7 seconds.
    let sizes = sizes_asked_for(&mut log, &first, 1..300, &mut now, 10);
    assert!(sizes.iter().all(|size| [usual, 2 * usual, 4 * usual].contains(size)), "{sizes:?}");
    assert_eq!(sizes.last(), Some(&(4 * usual)), "{sizes:?}");
    let sizes = sizes_asked_for(&mut log, &first, 300..700, &mut now, 500);
    assert_eq!(sizes.last(), Some(&usual), "{sizes:?}");
    // Who limits the size of files gets no larger ones.
    let limited = LogOptions { file_bytes_max: Some(1 << 30), ..options() };
    let mut log = ready(&second, limited);
    let sizes = sizes_asked_for(&mut log, &second, 1..100, &mut now, 1);
    assert!(!sizes.is_empty() && sizes.iter().all(|size| *size == usual), "{sizes:?}");
}
