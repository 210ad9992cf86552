//! Directories that cannot be used, are used already, or hold what a crash or a bad disk left.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::full_disk::Mounted;
use crate::harness::{Launch, Server, directory, files};

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = directory();
    let file = dir.path().join("a-file");
    fs::write(&file, "not a directory").expect("written");
    let below = file.join("data");
    Launch::on(&below).end().check(3, &[&below.display().to_string(), "Not a directory"]);
    Launch::on(&file).end().check(3, &[&file.display().to_string(), "Not a directory"]);
    let absent = dir.path().join("absent");
    let ended = Launch::on(&absent).set("datadir.autocreate", "false").end();
    ended.check(3, &[&absent.display().to_string()]);
    assert!(!absent.exists());
    // Nobody, root included, can create anything there.
    Launch::on(Path::new("/proc/ringkeeper-data")).end().check(3, &["/proc/ringkeeper-data"]);
    let ended = Launch::on(&dir.path().join("fine")).set("dataLogDir", "/proc/ringkeeper-log").end();
    ended.check(3, &["/proc/ringkeeper-log"]);
}

#[test]
fn a_directory_without_permission_is_named() {
    if rustix::process::geteuid().is_root() {
        eprintln!("not told: root may write everywhere");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let dir = directory();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).expect("created");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("closed");
    let ended = Launch::on(&closed).end();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("opened for its removal");
    ended.check(3, &[&closed.display().to_string(), "Permission denied"]);
}

#[test]
fn two_servers_never_share_a_directory() {
    let dir = directory();
    let (data, log) = (dir.path().join("data"), dir.path().join("log"));
    let server = Launch::on(&data).set("dataLogDir", log.to_str().expect("text")).start();
    Launch::on(&data).end().check(3, &["data/version-2 is in use by another server process"]);
    let other = dir.path().join("other");
    let ended = Launch::on(&other).set("dataLogDir", log.to_str().expect("text")).end();
    ended.check(3, &["log/version-2 is in use by another server process"]);
    server.session().create("/undisturbed", b"", 0).expect("created");
    server.kill();
    // Whoever is dead holds nothing.
    Launch::on(&data).set("dataLogDir", log.to_str().expect("text")).start().stop();
}

/// One directory under two names is still one, and not in use by somebody else.
#[test]
fn the_two_directories_may_be_one_under_two_names() {
    let dir = directory();
    let (data, other) = (dir.path().join("data"), dir.path().join("other-name"));
    fs::create_dir(&data).expect("created");
    std::os::unix::fs::symlink(&data, &other).expect("linked");
    for name in [other.clone(), data.join("../data/"), data.join(".")] {
        let launch = Launch::on(&data).set("dataLogDir", name.to_str().expect("text"));
        let server = launch.start();
        server.session().create("/n-", b"", 2).expect("created");
        Launch::on(&other).end().check(3, &["is in use by another server process"]);
        server.stop();
    }
    assert_eq!(count(&Launch::on(&data).start()), 3);
}

#[test]
fn a_read_only_file_system_is_named() {
    let dir = directory();
    let Some(mounted) = Mounted::of_mib(&dir.path().join("small"), 12) else { return };
    Launch::on(&mounted.0).start().stop();
    if !mounted.remount_read_only() {
        return;
    }
    Launch::on(&mounted.0).end().check(3, &[&mounted.0.display().to_string(), "Read-only file system"]);
    let log = mounted.0.join("log");
    let ended = Launch::on(&dir.path().join("data")).set("dataLogDir", log.to_str().expect("text")).end();
    ended.check(3, &[&log.display().to_string(), "Read-only file system"]);
}

/// A server that wrote these many transactions, each alone in its block of the log, and was killed. Answers its log file.
fn killed_after(dir: &Path, transactions: usize) -> PathBuf {
    let server = Launch::on(dir).start();
    let mut session = server.session();
    for number in 0..transactions {
        session.create(&format!("/n{number}"), b"data", 0).expect("created");
    }
    server.kill();
    let logs = files(dir, "log.");
    assert_eq!(logs.len(), 1, "{logs:?}");
    // On a slow machine a second has passed, and the mark tells a torn tail from a damaged one.
    let _ = fs::remove_file(dir.join("version-2/ringkeeper.durable"));
    logs[0].clone()
}

fn count(server: &Server) -> usize {
    server.session().children("/", false).expect("read").0.len() - 1
}

const BLOCK: u64 = 4096;

fn flip(file: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("written");
}

/// Acknowledged transactions are gone, and later ones prove that they were there. To start would be to lose them silently.
#[test]
fn a_log_damaged_in_the_middle_is_refused_with_file_offset_zxid_and_what_to_do() {
    let dir = directory();
    let log = killed_after(dir.path(), 10);
    let before = fs::read(&log).expect("read");
    flip(&log, 3 * BLOCK + 60);
    let ended = Launch::on(dir.path()).end();
    ended.check(
        3,
        &[
            &log.display().to_string(),
            &format!("is damaged at offset {}", 3 * BLOCK),
            "zxid 0x",
            "Nothing was changed",
            "Restore this file from a backup",
        ],
    );
    let mut after = fs::read(&log).expect("read");
    after[3 * BLOCK as usize + 60] ^= 0x10;
    assert!(before == after, "a server that refuses leaves everything as it is");
    // And once repaired, it starts.
    flip(&log, 3 * BLOCK + 60);
    assert_eq!(count(&Launch::on(dir.path()).start()), 10);
}

/// Whatever was in flight when the power failed was not acknowledged, and may be cut off.
#[test]
fn a_torn_tail_is_cut_off_and_said() {
    let dir = directory();
    let log = killed_after(dir.path(), 10);
    // One block is the session, ten are nodes: the last one begins at 10 × 4 KiB.
    flip(&log, 10 * BLOCK + 60);
    let server = Launch::on(dir.path()).start();
    let said = server.log.wait_for("nothing in there was acknowledged");
    assert!(said.contains(&format!("cut at offset {}", 10 * BLOCK)), "{said}");
    assert_eq!(count(&server), 9);
    server.session().create("/n9", b"again", 0).expect("created");
    server.kill();
    let again = Launch::on(dir.path()).start();
    assert_eq!(count(&again), 10);
    assert_eq!(again.log.count("nothing in there was acknowledged"), 0, "{}", again.log.so_far());
}

/// A directory whose snapshots were lost looks like one that was never used; believing it would lose everything before the log.
#[test]
fn logs_without_a_snapshot_are_refused_unless_trusted() {
    let dir = directory();
    killed_after(dir.path(), 3);
    for snapshot in files(dir.path(), "snapshot.") {
        fs::remove_file(snapshot).expect("removed");
    }
    Launch::on(dir.path()).end().check(3, &["snapshot", "snapshot.trust.empty"]);
    let trusting = Launch::on(dir.path()).set("snapshot.trust.empty", "true").start();
    assert_eq!(count(&trusting), 3);
    trusting.stop();
}

#[test]
fn an_empty_directory_may_be_declared_a_lost_database() {
    let dir = directory();
    let careful = Launch::on(dir.path()).set("db.autocreate", "false");
    careful.end().check(3, &["db.autocreate=false", "initialize"]);
    fs::write(dir.path().join("initialize"), "").expect("written");
    let server = careful.start();
    server.session().create("/a", b"", 0).expect("created");
    server.stop();
    assert!(!dir.path().join("initialize").exists(), "the permission is used up");
    assert_eq!(count(&careful.start()), 1);
}

/// An older snapshot and the log replace a newest one that is damaged.
#[test]
fn a_damaged_newest_snapshot_is_passed_over_and_said() {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("snapCount", "10");
    let server = launch.start();
    let mut session = server.session();
    for number in 0..60 {
        session.create(&format!("/n{number}"), b"data", 0).expect("created");
    }
    crate::harness::until("there are three snapshots", || files(dir.path(), "snapshot.").len() >= 3);
    server.stop();
    let snapshots = files(dir.path(), "snapshot.");
    flip(snapshots.last().expect("one"), 40);
    let again = launch.start();
    again.log.wait_for("snapshot passed over");
    assert_eq!(count(&again), 60);
}
