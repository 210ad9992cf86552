//! Files written by Java (tests/data/java-3.8/README.md) are read to the same tree, which its own digests confirm.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use disk::RealDisk;
use host::{Disk, MemoryDisk};
use proto::{Acl, SessionId, Zxid, stat::Owner};
use snapshot::{RestoreError, restore};

use crate::kit::*;

/// The captured files, on a disk that may be changed.
fn captured(snapshots: &[&str]) -> MemoryDisk {
    captured_of("java-3.8", snapshots)
}

fn data_of(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(version)
}

fn captured_of(version: &str, snapshots: &[&str]) -> MemoryDisk {
    let data = data_of(version);
    let disk = disk();
    for name in RealDisk.list(&data).unwrap() {
        let dir = if name.starts_with("log.") { LOGS } else { SNAPS };
        if name.starts_with("log.") || snapshots.contains(&&*name) {
            let bytes = RealDisk.read(&data.join(&name)).unwrap();
            disk.create(&Path::new(dir).join(&name)).unwrap().write_all(&bytes).unwrap();
        }
    }
    disk
}

#[test]
fn every_snapshot_with_the_logs_behind_it_gives_the_same_database_and_javas_digests() {
    let mut dumps = Vec::new();
    for name in ["snapshot.0", "snapshot.51", "snapshot.76"] {
        let disk = captured(&[name]);
        let mut restored = reopen(&disk).unwrap();
        assert_eq!(restored.snapshot.clone().unwrap().file_name().unwrap(), name);
        assert_eq!((restored.mismatches, restored.first_mismatch), (0, None), "{name}");
        assert!(restored.log.cuts.is_empty() && restored.log.gaps.is_empty(), "{:?}", restored.log);
        dumps.push(dump(&mut restored.tree, &restored.sessions));
    }
    // A snapshot of Java's is fuzzy: ids of ACLs apart, the result is not.
    assert_eq!(dumps[0], dumps[1]);
    assert_eq!(dumps[0], dumps[2]);
    assert!(dumps[0].contains("/uni-äöü-日本"));
}

#[test]
fn kinds_of_znodes_sessions_and_acls_are_as_java_had_them() {
    let restored = reopen(&captured(&["snapshot.76"])).unwrap();
    let tree = &restored.tree;
    let owner = |path: &str| tree.node(path).unwrap().owner();
    assert_eq!(owner("/cont"), Owner::Container);
    assert_eq!(owner("/ttl"), Owner::Ttl(100_000_000));
    let Owner::Session(session) = owner("/e0") else { panic!("an ephemeral") };
    assert!(restored.sessions.contains_key(&session));
    assert!(tree.node("/f0").is_none(), "its session was closed");
    assert!(tree.node("/bad").is_none() && tree.node("/m").is_some());
    assert_eq!(tree.node("/m").unwrap().data(), Some(&b"3"[..]));
    assert_eq!(tree.node("/a/acl").unwrap().acl()[0].id.scheme, "digest");
    assert_eq!(tree.node("/empty").unwrap().acl().len(), 2);
    assert_eq!(tree.node("/big").unwrap().data_bytes(), 20_000);
    assert!(restored.orphans().is_empty());
    assert!(restored.sessions.values().any(|timeout| *timeout == 25_000), "{:?}", restored.sessions);
}

#[test]
fn our_log_goes_on_where_javas_ends() {
    let disk = captured(&["snapshot.51"]);
    let mut world = World::open(&disk, 3);
    world.run(50);
    assert_eq!(reopened(&disk), world.dump());
    let logs = disk.list(Path::new(LOGS)).unwrap();
    assert!(logs.contains(&wal::names::log_name(Zxid(world.tree.tip().0 - 49))), "{logs:?}");
}

#[test]
fn logs_of_javas_alone_are_refused_without_trust_and_believed_with_it() {
    let disk = captured(&[]);
    assert!(matches!(reopen(&disk), Err(RestoreError::LogsWithoutSnapshot(_))));
    let trusting = snapshot::RestoreOptions { trust_empty: true, ..options() };
    let mut restored = restore(&disk, Path::new(SNAPS), Path::new(LOGS), trusting).unwrap();
    let whole = reopened(&captured(&["snapshot.0"]));
    assert_eq!(dump(&mut restored.tree, &restored.sessions), whole);
    let _: &BTreeMap<SessionId, i32> = &restored.sessions;
}

fn fields(what: &str, acl: &[Acl]) -> String {
    let entries: Vec<_> = acl.iter().map(|a| format!("\t{}:{}:{}", a.perms, a.id.scheme, a.id.id)).collect();
    format!("{what}{}", entries.concat())
}

/// Replayed from 3.9.5's log, digest by digest, the database is the one that 3.9.5's own classes found in the same files, to the
/// last field: child versions, versions and zxids of parents, sequential names, owners, expanded ACLs, quotas.
#[test]
fn a_log_of_3_9_5_gives_the_database_that_its_own_classes_find() {
    let mut restored = reopen(&captured_of("java-3.9.5", &["snapshot.0"])).unwrap();
    assert_eq!((restored.mismatches, restored.first_mismatch), (0, None));
    let tree = &mut restored.tree;
    let mut lines =
        vec![format!("zxid\t{:x}", tree.tip().0), format!("digest\t{}", tree.digest()), "mismatches\t[]".to_owned()];
    for (session, timeout) in &restored.sessions {
        lines.push(format!("session\t{:x}\t{timeout}", session.0));
    }
    let list = |what: &str, paths: Vec<&str>| format!("{what}\t{}", paths.join("\t"));
    lines.push(list("containers", tree.containers().collect::<BTreeSet<_>>().into_iter().collect()));
    lines.push(list("ttls", tree.ttl_nodes().collect::<BTreeSet<_>>().into_iter().collect()));
    let mut acls = BTreeSet::new();
    tree.reader().walk("/", |path, view| {
        let s = view.stat();
        let owner = view.persisted().owner;
        let numbers = [
            s.czxid.0,
            s.mzxid.0,
            s.ctime.0,
            s.mtime.0,
            s.version.into(),
            s.cversion.into(),
            s.aversion.into(),
            s.ephemeral_owner.0,
            s.data_length.into(),
            s.num_children.into(),
            s.pzxid.0,
            owner,
        ];
        let numbers: String = numbers.iter().map(|n: &i64| format!("\t{n}")).collect();
        lines.push(fields(&format!("node\t{path}{numbers}"), view.acl()));
        acls.insert(fields("acl", view.acl()));
    });
    lines.extend(acls);
    lines.sort();
    let found = RealDisk.read(&data_of("java-3.9.5").join("found.txt")).unwrap();
    let found = String::from_utf8(found.to_vec()).unwrap();
    let mut found: Vec<_> = found.lines().collect();
    found.sort_unstable();
    assert_eq!(lines.join("\n"), found.join("\n"));
}
