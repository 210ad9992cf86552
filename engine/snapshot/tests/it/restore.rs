//! Restoring: snapshot plus log, fallbacks, the rules for directories without snapshots, power cuts.

use std::{io, path::Path};

use host::{Disk, FaultyDisk, MemoryDisk, faulty::Fault};
use proto::{Op, SessionId, Txn, Zxid};
use snapshot::{Compression, DirError, RestoreError, prepare_directories, restore};

use crate::kit::*;

fn snap(name: &str) -> std::path::PathBuf {
    Path::new(SNAPS).join(name)
}

fn put(disk: &MemoryDisk, path: &Path, bytes: &[u8]) {
    disk.create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_database_is_the_same_after_every_restart() {
    for seed in 0..5 {
        println!("seed {seed}");
        let disk = disk();
        for round in 0..6 {
            let mut world = World::open(&disk, seed * 100 + round);
            world.run(60);
            if round % 2 == 1 {
                world.snapshot([Compression::None, Compression::Gz, Compression::Snappy][round as usize / 2]);
                world.run(20);
            }
            assert_eq!(reopened(&disk.killed()), world.dump());
            assert_eq!(reopened(&disk), world.dump());
        }
    }
}

#[test]
fn power_cuts_keep_a_prefix_and_the_log_stays_in_step_with_the_snapshots() {
    let disk = disk();
    let mut world = World::open(&disk, 9);
    let mut states = vec![(disk.moments(), world.dump())];
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        world.run(3);
        states.push((disk.moments(), world.dump()));
        acknowledged.push(disk.moments());
        if round % 6 == 5 {
            world.snapshot(Compression::None);
        }
    }
    let seed = 77;
    println!("seed {seed}");
    let random = host::SeededEntropy::new(seed);
    for moment in states[0].0..=disk.moments() {
        let image = disk.crash(moment, &mut || random.below(2) == 0);
        let mut restored = reopen(&image).unwrap_or_else(|error| panic!("moment {moment}: {error}"));
        assert_eq!(restored.mismatches, 0);
        let at_least = states.iter().rev().find(|(at, _)| *at <= moment).unwrap();
        let last = format!("zxid {} ", restored.last.unwrap());
        if let Some((_, state)) = states.iter().find(|(_, state)| state.starts_with(&last)) {
            assert_eq!(dump(&mut restored.tree, &restored.sessions), *state);
        }
        let zxid = |text: &str| {
            i64::from_str_radix(text.strip_prefix("zxid 0x").unwrap().split(' ').next().unwrap(), 16).unwrap()
        };
        assert!(restored.last.unwrap().0 >= zxid(&at_least.1), "moment {moment}");
    }
}

#[test]
fn a_damaged_newest_snapshot_is_passed_over_for_an_older_one_and_its_logs() {
    let disk = disk();
    let mut world = World::open(&disk, 4);
    world.run(50);
    let first = world.snapshot(Compression::None);
    world.run(50);
    let second = world.snapshot(Compression::Gz);
    world.run(10);
    let before = world.dump();
    disk.edit(&second.path, |bytes| bytes[100] ^= 1);
    disk.edit(&first.path, |bytes| bytes.truncate(bytes.len() - 1));
    let mut restored = reopen(&disk).unwrap();
    assert_eq!(restored.snapshot, Some(snap("snapshot.0")));
    let rejected: Vec<String> = restored.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(rejected.len(), 2);
    assert!(rejected[0].starts_with("/data/version-2/snapshot.64.gz: offset 0: "), "{rejected:?}");
    assert_eq!(rejected[1], "/data/version-2/snapshot.32: incomplete");
    assert_eq!(dump(&mut restored.tree, &restored.sessions), before);
}

#[test]
fn falling_back_to_a_snapshot_whose_logs_are_gone_is_refused() {
    let disk = disk();
    let mut world = World::open(&disk, 4);
    world.run(50);
    let second = world.snapshot(Compression::None);
    world.run(10);
    drop(world);
    disk.edit(&second.path, |bytes| bytes[100] ^= 1);
    disk.remove(&Path::new(LOGS).join("log.1")).unwrap();
    assert!(matches!(reopen(&disk), Err(RestoreError::Log(wal::RecoverError::Missing { .. }))));
}

#[test]
fn without_any_usable_snapshot_there_is_no_database() {
    let disk = disk();
    World::open(&disk, 1).run(5);
    disk.edit(&snap("snapshot.0"), |bytes| bytes[20] ^= 1);
    let error = reopen(&disk).unwrap_err();
    assert!(
        error.to_string().starts_with("none of 1 snapshots can be used: /data/version-2/snapshot.0: offset "),
        "{error}"
    );
}

#[test]
fn logs_without_a_snapshot_are_believed_only_when_told() {
    let disk = disk();
    let mut world = World::open(&disk, 1);
    world.run(30);
    let before = world.dump();
    disk.remove(&snap("snapshot.0")).unwrap();
    let error = reopen(&disk).unwrap_err();
    assert!(error.to_string().starts_with("No snapshot found, but there are log entries. Something is broken!"));
    let trusting = snapshot::RestoreOptions { trust_empty: true, ..options() };
    let mut restored = restore(&disk, Path::new(SNAPS), Path::new(LOGS), trusting).unwrap();
    assert_eq!(dump(&mut restored.tree, &restored.sessions), before);
    assert_eq!(restored.snapshot, None);
}

#[test]
fn an_empty_directory_becomes_a_database_if_allowed_or_marked() {
    let strict = snapshot::RestoreOptions { db_autocreate: false, ..options() };
    let open = |disk: &MemoryDisk, options| restore(disk, Path::new(SNAPS), Path::new(LOGS), options).unwrap();

    let empty = disk();
    let restored = open(&empty, options());
    assert_eq!((restored.last, restored.snapshot), (Some(Zxid(0)), Some(snap("snapshot.0"))));

    let empty = disk();
    assert_eq!(open(&empty, strict).last, None);
    assert!(empty.list(Path::new(SNAPS)).unwrap().is_empty());
    put(&empty, Path::new("/logs/initialize"), b"");
    let restored = open(&empty, strict);
    assert_eq!((restored.last, restored.initialized), (Some(Zxid(0)), true));
    assert!(empty.stat(Path::new("/logs/initialize")).is_err());
    assert_eq!(open(&empty, strict).last, Some(Zxid(0)));
}

#[test]
fn a_first_snapshot_that_was_never_finished_is_no_snapshot() {
    let empty = disk();
    put(&empty, &snap("snapshot.0"), b"ZKSN\0\0");
    put(&empty, &snap("ringkeeper-snapshot.tmp"), b"ZKSN\0\0");
    assert_eq!(reopen(&empty).unwrap().last, Some(Zxid(0)));
    assert_eq!(empty.list(Path::new(SNAPS)).unwrap(), ["snapshot.0"]);
}

#[test]
fn directories_that_are_mixed_up_or_missing_are_refused() {
    let disk = disk();
    let (snaps, logs) = (Path::new(SNAPS), Path::new(LOGS));
    put(&disk, &logs.join("snapshot.5"), b"");
    assert!(matches!(prepare_directories(&disk, snaps, logs, true), Err(DirError::SnapshotsAmongLogs)));
    prepare_directories(&disk, logs, logs, true).unwrap();
    disk.remove(&logs.join("snapshot.5")).unwrap();
    put(&disk, &snaps.join("log.5"), b"");
    assert!(matches!(prepare_directories(&disk, snaps, logs, true), Err(DirError::LogsAmongSnapshots)));
    let absent = Path::new("/absent/version-2");
    assert!(matches!(prepare_directories(&disk, absent, absent, false), Err(DirError::Missing(_))));
    prepare_directories(&disk, absent, absent, true).unwrap();
}

#[test]
fn a_digest_that_does_not_fit_is_counted() {
    let disk = disk();
    let mut world = World::open(&disk, 1);
    world.run(5);
    let create = |path: &'static str| Txn::Create {
        path: path.into(),
        data: None,
        acl: vec![proto::Acl::open()].into(),
        ephemeral: false,
        parent_cversion: 9,
    };
    let header = |zxid| proto::TxnHeader {
        session: SessionId(1),
        cxid: proto::Xid(1),
        zxid: Zxid(zxid),
        time: NOW,
        op: Op::Create,
    };
    world.log.append(&header(6), &create("/x"), Some(1)).unwrap();
    world.log.append(&header(7), &create("/y"), Some(2)).unwrap();
    world.log.append(&header(8), &create("/z"), None).unwrap();
    world.log.commit(NOW).unwrap();
    let restored = reopen(&disk).unwrap();
    assert_eq!((restored.mismatches, restored.last), (2, Some(Zxid(8))));
    let first = restored.first_mismatch.unwrap();
    assert_eq!((first.zxid, first.expected), (Zxid(6), 1));
}

#[test]
fn ephemerals_of_unknown_sessions_are_named() {
    let disk = disk();
    let mut world = World::open(&disk, 1);
    let acl = vec![proto::Acl::open()];
    let eph = Txn::Create { path: "/e".into(), data: None, acl: acl.into(), ephemeral: true, parent_cversion: 1 };
    world.write(Zxid(1), Op::Create, SessionId(5), &eph);
    world.log.commit(NOW).unwrap();
    assert_eq!(reopen(&disk).unwrap().orphans(), [SessionId(5)]);
}

#[test]
fn an_error_of_any_call_is_reported_and_a_second_try_succeeds() {
    let mut index = 0;
    loop {
        let disk = disk();
        let mut world = World::open(&disk, 6);
        world.run(20);
        world.snapshot(Compression::None);
        world.run(5);
        let before = world.dump();
        let faulty = FaultyDisk::failing_at(disk.clone(), index, Fault::Error(io::ErrorKind::Other));
        let failed = reopen(&faulty).is_err();
        assert_eq!(reopened(&disk), before, "call {index}");
        if !failed {
            break;
        }
        index += 1;
    }
    assert!(index > 5, "{index}");
}
