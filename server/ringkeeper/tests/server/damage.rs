//! One of each kind of damage, told to the real server: what it says, with which status it ends, and that it never serves less
//! than it acknowledged. Every byte and every file is `engine/snapshot/tests/it/damage.rs`'s business; the table of both is
//! docs/operations/damage.md.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Launch, directory, files, until};

const NODES: usize = 60;

/// A directory with a few snapshots and logs, all of it acknowledged, and the server stopped.
fn database() -> TempDir {
    let dir = directory();
    let server = Launch::on(dir.path()).set("snapCount", "16").start();
    let mut session = server.session();
    for number in 0..NODES - 1 {
        session.create(&format!("/n{number}"), b"data", 0).expect("created");
    }
    until("there are snapshots", || files(dir.path(), "snapshot.").len() >= 3);
    drop(session);
    server.stop();
    // A log behind the newest snapshot.
    let server = launch(dir.path()).start();
    server.session().create("/last", b"data", 0).expect("created");
    server.stop();
    assert!(files(dir.path(), "log.").len() >= 2);
    dir
}

fn launch(dir: &Path) -> Launch {
    // No further snapshots.
    Launch::on(dir).set("snapCount", "100000")
}

fn is_whole(dir: &Path) {
    let server = launch(dir).start();
    assert_eq!(server.session().children("/", false).expect("read").0.len(), NODES + 1);
    // Not killed: what this session has left in the log is to be guarded as well.
    server.stop();
}

fn newest(dir: &Path, beginning: &str) -> PathBuf {
    files(dir, beginning).pop().expect("one")
}

fn mark(dir: &Path) -> PathBuf {
    dir.join("version-2").join("ringkeeper.durable")
}

/// Does this to the newest file that begins so; the server must end with 3 and say this and the file. With the file restored it serves.
#[track_caller]
fn refused(dir: &Path, beginning: &str, said: &[&str], damage: impl FnOnce(&Path)) {
    let file = newest(dir, beginning);
    let copy = dir.join("copy");
    fs::copy(&file, &copy).expect("copied");
    damage(&file);
    let ended = launch(dir).end();
    ended.check(3, said);
    ended.check(3, &[&dir.join("version-2").display().to_string()]);
    if file.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        fs::remove_dir(&file).expect("removed");
    } else {
        let _ = fs::remove_file(&file);
    }
    fs::rename(&copy, &file).expect("restored");
    is_whole(dir);
}

#[test]
fn what_becomes_of_the_newest_log_is_found() {
    let dir = database();
    let dir = dir.path();
    let lost = ["end at zxid 0x", "ringkeeper.durable", "was durable", "Restore the newest log from a backup"];
    refused(dir, "log.", &lost, |log| fs::remove_file(log).expect("deleted"));
    refused(dir, "log.", &lost, |log| fs::write(log, "").expect("emptied"));
    refused(dir, "log.", &lost, |log| {
        // Within its first block.
        fs::OpenOptions::new().write(true).open(log).expect("opened").set_len(2000).expect("cut");
    });
    // Its last written block, behind which nothing was ever written.
    refused(dir, "log.", &lost, |log| {
        let mut bytes = fs::read(log).expect("read");
        let last = bytes.iter().rposition(|byte| *byte != 0).expect("something");
        bytes[last - 20] ^= 1;
        fs::write(log, bytes).expect("damaged");
    });
    refused(dir, "log.", &["is not a transaction log", "Move it away"], |log| {
        fs::write(log, "something else entirely, and long enough").expect("overwritten");
    });
    refused(dir, "log.", &["Is a directory", "A file is expected here"], |log| {
        fs::remove_file(log).expect("deleted");
        fs::create_dir(log).expect("made");
    });
    refused(dir, "log.", &["Too many levels of symbolic links", "A file is expected here"], |log| {
        fs::remove_file(log).expect("deleted");
        symlink(log, log).expect("linked");
    });
}

#[test]
fn logs_and_snapshots_that_have_changed_places_are_found() {
    let dir = database();
    let dir = dir.path();
    let swap = |a: &Path, b: &Path| {
        let third = dir.join("third");
        fs::rename(a, &third).expect("renamed");
        fs::rename(b, a).expect("renamed");
        fs::rename(&third, b).expect("renamed");
    };
    let logs = files(dir, "log.");
    let (a, b) = (&logs[logs.len() - 2], &logs[logs.len() - 1]);
    swap(a, b);
    launch(dir)
        .end()
        .check(3, &["begins with zxid 0x", "which is not its name", "Give each log the name of its first zxid"]);
    swap(a, b);
    is_whole(dir);
    // The newest snapshot's place is taken by an older one: an older snapshot and the log do as well.
    let snapshots = files(dir, "snapshot.");
    let (a, b) = (&snapshots[snapshots.len() - 2], &snapshots[snapshots.len() - 1]);
    swap(a, b);
    let server = launch(dir).start();
    server.log.wait_for("which is before its name: snapshots were swapped or renamed");
    assert_eq!(server.session().children("/", false).expect("read").0.len(), NODES + 1);
}

#[test]
fn what_becomes_of_the_newest_snapshot_costs_nothing_while_the_logs_are_there() {
    let dir = database();
    let dir = dir.path();
    let snapshot = newest(dir, "snapshot.");
    let good = fs::read(&snapshot).expect("read");
    for damage in ["flipped", "cut", "emptied", "overwritten", "deleted"] {
        match damage {
            "flipped" => {
                let mut bytes = good.clone();
                bytes[good.len() / 2] ^= 1;
                fs::write(&snapshot, bytes).expect("written");
            }
            "cut" => fs::write(&snapshot, &good[..good.len() - 1]).expect("written"),
            "emptied" => fs::write(&snapshot, "").expect("written"),
            "overwritten" => fs::write(&snapshot, "not a snapshot").expect("written"),
            _ => fs::remove_file(&snapshot).expect("deleted"),
        }
        let server = launch(dir).start();
        assert_eq!(server.session().children("/", false).expect("read").0.len(), NODES + 1, "{damage}");
        if damage != "deleted" {
            assert!(server.log.wait_for("snapshot passed over").contains(snapshot.to_str().expect("text")), "{damage}");
        }
        server.kill();
    }
    // Without the logs behind the older one that would be a loss: it is refused.
    fs::write(&snapshot, &good[..good.len() - 1]).expect("written");
    let logs = files(dir, "log.");
    for log in &logs {
        fs::rename(log, dir.join(log.file_name().expect("a name"))).expect("moved away");
    }
    launch(dir).end().check(3, &["was durable", "estore"]);
    fs::remove_file(mark(dir)).expect("removed");
    launch(dir).end().check(3, &[snapshot.to_str().expect("text"), "was durable, but an older snapshot", "Restore it"]);
    for log in &logs {
        fs::rename(dir.join(log.file_name().expect("a name")), log).expect("moved back");
    }
    is_whole(dir);
}

#[test]
fn what_is_not_a_file_in_the_place_of_a_snapshot_is_refused() {
    let dir = database();
    let dir = dir.path();
    refused(dir, "snapshot.", &["Is a directory", "A file is expected here"], |snapshot| {
        fs::remove_file(snapshot).expect("deleted");
        fs::create_dir(snapshot).expect("made");
    });
    refused(dir, "snapshot.", &["Too many levels of symbolic links"], |snapshot| {
        fs::remove_file(snapshot).expect("deleted");
        symlink(snapshot, snapshot).expect("linked");
    });
}

#[test]
fn damage_to_what_only_helps_is_said_and_costs_nothing() {
    let dir = database();
    let dir = dir.path();
    fs::write(mark(dir), "nothing").expect("written");
    let server = launch(dir).start();
    server.log.wait_for("ringkeeper.durable is damaged and not believed");
    server.stop();
    is_whole(dir);
    for prepared in files(dir, "ringkeeper-prepared") {
        fs::write(prepared, "nothing").expect("written");
    }
    fs::write(dir.join("version-2/ringkeeper.lock"), "1234, a process of long ago").expect("written");
    fs::write(dir.join("version-2/ringkeeper-snapshot.tmp"), "half a snapshot").expect("written");
    is_whole(dir);
    // What Java keeps beside them is none of ours.
    fs::write(dir.join("version-2/currentEpoch"), "nonsense").expect("written");
    is_whole(dir);
}

/// "It said that the directory is in use, so I removed the lock file."
#[test]
fn deleting_the_lock_of_a_running_server_lets_nobody_in() {
    let dir = directory();
    let server = Launch::on(dir.path()).start();
    fs::remove_file(dir.path().join("version-2/ringkeeper.lock")).expect("removed");
    Launch::on(dir.path()).end().check(3, &["is in use by another server process"]);
    server.session().create("/undisturbed", b"", 0).expect("created");
    server.kill();
    Launch::on(dir.path()).start().stop();
}

/// Files that the server's user may not read or write. Root may everything, so root's tests start the server as nobody.
#[test]
fn files_of_somebody_else_are_named() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if !rustix::process::geteuid().is_root() {
        eprintln!("not told: only root can give files away");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory that nobody may enter");
    let program = dir.path().join("ringkeeper");
    fs::copy(env!("CARGO_BIN_EXE_ringkeeper"), &program).expect("copied");
    let original = database();
    let data = dir.path().join("data");
    let copied = Command::new("cp").arg("-r").arg(original.path()).arg(&data).status();
    assert!(copied.expect("cp").success());
    let all = |owner: &str| {
        let changed = Command::new("chown").args(["-R", owner]).arg(dir.path()).status();
        assert!(changed.expect("chown").success());
    };
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let run = || {
        // A server that starts after all is ended.
        let mut command = Command::new("timeout");
        command.args(["40", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.args(["0"]).arg(&data).args(["--set", "clientPortAddress=127.0.0.1", "--set", "preAllocSize=1024"]);
        command
    };
    let ends = |what: &str, said: &str| {
        let output = run().output().expect("timeout and setpriv are there");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{what}: {stderr}");
        assert!(stderr.contains("Permission denied") && stderr.contains(said), "{what}: {stderr}");
    };
    all("65534:65534");
    let closed = |path: &Path, mode: u32, what: &str| {
        let before = fs::metadata(path).expect("there");
        std::os::unix::fs::chown(path, Some(0), Some(0)).expect("given to root");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("closed");
        ends(what, path.to_str().expect("text"));
        fs::set_permissions(path, fs::Permissions::from_mode(before.mode())).expect("opened");
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("given back");
    };
    closed(&newest(&data, "log."), 0o600, "a log of root's");
    closed(&newest(&data, "snapshot."), 0o600, "a snapshot of root's");
    closed(&mark(&data), 0o600, "a mark of root's");
    closed(&data.join("version-2/ringkeeper.lock"), 0o600, "a lock of root's");
    closed(&data.join("version-2"), 0o700, "a directory of root's");
    closed(&data.join("version-2"), 0o755, "a directory that only root may write");
}

/// Purging frees the space that is missing.
#[test]
fn on_a_full_disk_old_files_are_purged_and_writes_go_on() {
    let dir = directory();
    let Some(small) = crate::full_disk::Mounted::of_mib(&dir.path().join("small"), 16) else { return };
    let launch = Launch::on(&small.0)
        .set("jute.maxbuffer", "65536")
        .set("jute.maxbuffer.extrasize", "65536")
        .set("snapCount", "8");
    let server = launch.start();
    let mut session = server.session();
    session.create("/n", &[7; 60_000], 0).expect("created");
    for number in 0..20 {
        session.create(&format!("/n{number}"), &[7; 30_000], 0).expect("created");
    }
    let filler = small.0.join("filler");
    // All but three go, with their logs: more than the segment that is missing, whatever the moments of the snapshots were.
    until("there are several snapshots", || {
        session.set("/n", b"before", -1).expect("set");
        files(&small.0, "snapshot.").len() >= 8
    });
    let mut file = fs::File::create(&filler).expect("created");
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    server.kill();
    for prepared in files(&small.0, "ringkeeper-prepared") {
        fs::remove_file(prepared).expect("removed");
    }
    let mut file = fs::OpenOptions::new().append(true).open(&filler).expect("opened");
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    let server = launch.set("autopurge.purgeInterval", "1").set("autopurge.snapRetainCount", "3").start();
    server.log.wait_for("Removing file:");
    server.session().set("/n", b"after", -1).expect("served");
}
