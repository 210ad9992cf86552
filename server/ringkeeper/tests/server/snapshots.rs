//! Snapshots while clients write, what purging keeps, and that a server starts from whatever is left.

use std::fs;
use std::path::Path;

use client::Session;

use crate::harness::{Launch, Server, directory, files, until};

fn fill(session: &mut Session, from: usize, to: usize) {
    for number in from..to {
        session.create(&format!("/n{number:04}"), format!("data {number}").as_bytes(), 0).expect("created");
    }
}

fn check(server: &Server, count: usize) {
    let mut session = server.session();
    for number in 0..count {
        let (data, _) = session.get(&format!("/n{number:04}"), false).expect("there");
        assert_eq!(data, Some(format!("data {number}").into_bytes()));
    }
    assert_eq!(session.children("/", false).expect("read").0.len(), count + 1);
}

#[test]
fn a_snapshot_is_taken_every_few_transactions_and_each_is_enough() {
    let dir = directory();
    let (data, log) = (dir.path().join("data"), dir.path().join("log"));
    let launch = Launch::on(&data).set("dataLogDir", log.to_str().expect("text")).set("snapCount", "40");
    let server = launch.start();
    let mut session = server.session();
    fill(&mut session, 0, 150);
    until("there are several snapshots", || {
        session.set("/n0000", b"data 0", -1).expect("set");
        files(&data, "snapshot.").len() >= 4
    });
    // The log behind the last of them begins with the next transaction.
    session.set("/n0000", b"data 0", -1).expect("set");
    server.kill();
    let logs = files(&log, "log.").len();
    assert!(logs >= 4 && files(&data, "log.").is_empty() && files(&log, "snapshot.").is_empty());
    // From each of them: the newer ones are taken away one after the other.
    let snapshots = files(&data, "snapshot.");
    for newest in snapshots.iter().skip(1).rev().take(3) {
        let server = launch.clone().set("snapCount", "100000").start();
        check(&server, 150);
        server.kill();
        fs::remove_file(newest).expect("removed");
    }
    check(&launch.start(), 150);
}

/// Compressed snapshots bear their method in the name; a server reads any of them, whatever it writes itself.
#[test]
fn snapshots_may_be_compressed_and_the_method_may_change() {
    let dir = directory();
    let mut made = 0;
    for method in ["gz", "snappy", ""] {
        let ending = if method.is_empty() { String::new() } else { format!(".{method}") };
        let mut launch = Launch::on(dir.path()).set("snapCount", "10");
        if !method.is_empty() {
            launch = launch.set("snapshot.compression.method", method);
        }
        let server = launch.start();
        check(&server, made);
        let before = files(dir.path(), "snapshot.").len();
        let mut session = server.session();
        fill(&mut session, made, made + 30);
        made += 30;
        until("there is a snapshot", || files(dir.path(), "snapshot.").len() > before);
        server.stop();
        let newest = files(dir.path(), "snapshot.").pop().expect("one");
        let name = newest.file_name().expect("a name").to_string_lossy().into_owned();
        let bare = name.trim_start_matches("snapshot.");
        assert_eq!(bare.find('.').map_or("", |at| &bare[at..]), ending, "{name}");
        let beginning = fs::read(&newest).expect("read");
        let wanted: &[u8] = match method {
            "gz" => &[0x1f, 0x8b],
            "snappy" => b"\x82SNAPPY\0",
            _ => b"ZKSN",
        };
        assert!(beginning.starts_with(wanted), "{name}");
    }
    check(&Launch::on(dir.path()).start(), made);
}

/// The tree is walked while it changes: the snapshot shows one moment, and writers do not wait for it.
#[test]
fn snapshots_taken_under_load_are_whole() {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("snapCount", "300");
    let server = launch.start();
    fill(&mut server.session(), 0, 100);
    // While one is written none is begun, so on a slow disk they are few.
    until("there are several snapshots", || {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| super::backends::burst(&server, 600));
            }
        });
        server.log.count("Snapshotting:") >= 3
    });
    server.kill();
    // Only what is behind the newest snapshot comes from the log; a torn or mixed tree would show in the digests.
    let again = launch.start();
    assert!(!again.log.so_far().contains("digest"), "{}", again.log.so_far());
    let mut session = again.session();
    for name in session.children("/", false).expect("read").0 {
        if name.starts_with("burst") {
            assert_eq!(session.exists(&format!("/{name}"), false).expect("read").expect("there").version, 600);
        }
    }
}

fn total(dir: &Path) -> (usize, usize) {
    (files(dir, "snapshot.").len(), files(dir, "log.").len())
}

#[test]
fn purging_keeps_three_snapshots_and_the_logs_that_they_need() {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("snapCount", "20");
    let server = launch.start();
    fill(&mut server.session(), 0, 150);
    // While one is written none is begun, so on a busy machine there are fewer.
    let mut session = server.session();
    until("there are many snapshots", || {
        session.set("/n0000", b"data 0", -1).expect("set");
        files(dir.path(), "snapshot.").len() >= 7
    });
    server.kill();
    let before = total(dir.path());

    // Without an interval nothing is purged.
    let quiet = Launch::on(dir.path());
    let server = quiet.start();
    check(&server, 150);
    server.kill();
    assert_eq!(total(dir.path()).0, before.0);

    // With one, at the start already.
    let purging = quiet.set("autopurge.purgeInterval", "1").set("autopurge.snapRetainCount", "3");
    let server = purging.start();
    server.log.wait_for("Removing file:");
    until("three snapshots are left", || files(dir.path(), "snapshot.").len() == 3);
    check(&server, 150);
    fill(&mut server.session(), 150, 160);
    server.kill();
    assert!(total(dir.path()).1 < before.1);

    // Each of the three is enough with what was kept.
    for _ in 0..2 {
        let server = Launch::on(dir.path()).start();
        check(&server, 160);
        server.kill();
        fs::remove_file(files(dir.path(), "snapshot.").pop().expect("one")).expect("removed");
    }
    check(&Launch::on(dir.path()).start(), 160);
}

/// Each snapshot used to begin the interval anew, so that a busy server never purged.
#[test]
fn purging_is_not_put_off_by_snapshots_that_come_more_often() {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("snapCount", "2").set("autopurge.purgeInterval", "400ms");
    let server = launch.set("autopurge.snapRetainCount", "3").start();
    let mut session = server.session();
    session.create("/n", b"", 0).expect("created");
    until("old snapshots are gone although new ones keep coming", || {
        for _ in 0..20 {
            session.set("/n", b"again", -1).expect("set");
        }
        server.log.count("Removing file:") > 0
    });
    assert!(server.log.count("Snapshotting:") > 3);
}

/// Small files may be wanted for shipping them elsewhere.
#[test]
fn log_files_are_rolled_by_size() {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("txnLogSizeLimitInKb", "40");
    let server = launch.start();
    fill(&mut server.session(), 0, 60);
    server.kill();
    let logs = files(dir.path(), "log.");
    assert!(logs.len() >= 4, "{logs:?}");
    check(&launch.start(), 60);
}

/// Few but large transactions make a log long as well.
#[test]
fn a_snapshot_is_taken_when_the_log_has_grown() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("snapSizeLimitInKb", "500").start();
    let mut session = server.session();
    session.create("/n", b"", 0).expect("created");
    for _ in 0..12 {
        session.set("/n", &[7; 100_000], -1).expect("set");
    }
    server.log.wait_for("Snapshotting:");
}
