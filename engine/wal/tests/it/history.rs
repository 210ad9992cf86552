//! The log while it is in use: read back for a learner, and cut for a leader.

use std::path::Path;

use proto::Zxid;
use wal::{ReadOptions, Recovered, read_history, truncate};

use crate::kit::*;

const LIMITS: ReadOptions = ReadOptions { payload_bytes_max: 16 << 10 };

fn history(disk: &host::MemoryDisk, from: i64, before: i64, bytes_max: u64) -> Option<Vec<i64>> {
    let txns = read_history(disk, Path::new(DIR), Zxid(from), Zxid(before), bytes_max, LIMITS).unwrap()?;
    for (zxid, payload) in &txns {
        let record = wal::decode(payload).unwrap();
        assert_eq!((record.header.zxid, record.digest.unwrap().tree), (*zxid, zxid.0 as u64));
    }
    Some(txns.iter().map(|(zxid, _)| zxid.0).collect())
}

#[test]
fn a_lagging_learner_gets_its_last_transaction_and_all_that_follow() {
    let disk = disk();
    let mut log = open(&disk, options(), Recovered { last: Zxid(4), ..Recovered::default() });
    // Zxid 8 is missing: no transaction has the number.
    write(&mut log, 5, &[100, 5000, 100]);
    write(&mut log, 9, &[12_000, 12_000, 12_000, 12_000, 12_000, 100]);
    assert!(log_names(&disk).len() > 1);
    assert_eq!(history(&disk, 6, 10, u64::MAX).unwrap(), [6, 7, 9]);
    assert_eq!(history(&disk, 8, 12, u64::MAX).unwrap(), [7, 9, 10, 11], "the last that is not newer");
    assert_eq!(history(&disk, 5, 100, u64::MAX).unwrap(), [5, 6, 7, 9, 10, 11, 12, 13, 14]);
    assert_eq!(history(&disk, 14, 100, u64::MAX).unwrap(), [14]);
    assert_eq!(history(&disk, 4, 100, u64::MAX), None, "no file reaches back so far");
    assert_eq!(history(&disk, 5, 100, 20_000), None, "too much");
    assert_eq!(history(&disk, 6, 8, 20_000).unwrap(), [6, 7]);
}

#[test]
fn a_log_that_was_cut_goes_on_behind_the_cut() {
    let disk = disk();
    let mut log = open(&disk, options(), Recovered::default());
    write(&mut log, 1, &[100; 9]);
    log.log().hold(true);
    assert!(log.log().is_quiet());
    assert!(truncate(&disk, Path::new(DIR), Zxid(6), LIMITS).unwrap().exact);
    assert_eq!(log.log().restart_after(Zxid(6)).len(), 1);
    assert_eq!((log.log().appended(), log.log().durable()), (Zxid(6), Zxid(6)));
    log.log().hold(false);
    write(&mut log, 7, &[200; 3]);
    let (zxids, report) = read(&disk, 1).unwrap();
    assert_eq!(zxids, (1..=9).collect::<Vec<_>>());
    assert!(report.cuts.iter().all(|cut| cut.why.is_none()) && report.gaps.is_empty(), "{report:?}");
}

#[test]
fn a_log_that_is_held_renews_no_mark_and_is_quiet_without_it() {
    let disk = disk();
    let mut log = open(&disk, options(), Recovered::default());
    write(&mut log, 1, &[100]);
    let later = NOW.plus(wal::MARK_EVERY_MS);
    log.log().hold(true);
    assert_eq!((log.log().next_work(later), log.log().next_time()), (None, None));
    log.log().hold(false);
    let mark = log.log().next_work(later).unwrap();
    assert!(matches!(mark, wal::Work::Mark { durable: Zxid(1) }), "{mark:?}");
    assert!(!log.log().is_quiet(), "it is under way");
    let done = wal::perform(&disk, Path::new(DIR), &mark);
    log.log().work_done(done).unwrap();
    assert!(log.log().is_quiet());
}
