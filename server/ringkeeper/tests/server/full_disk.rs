//! The log's disk is full. Nothing may be acknowledged that is not written, reading goes on, the log says what is wrong,
//! and once there is space everything goes on by itself, without a restart.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use client::{Error, Request};
use rustix::process::Signal;

use crate::harness::{Launch, directory, files, until};

/// A file system of a few megabytes, unmounted at the end.
pub struct Mounted(pub PathBuf);

impl Mounted {
    /// `None` where this user may not mount.
    pub fn of_mib(dir: &Path, mib: u32) -> Option<Mounted> {
        fs::create_dir_all(dir).expect("created");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(dir).output();
        match mount {
            Ok(output) if output.status.success() => Some(Mounted(dir.to_owned())),
            Ok(output) => {
                eprintln!("not told: cannot mount: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                eprintln!("not told: cannot mount: {error}");
                None
            }
        }
    }

    /// False where even this is not allowed.
    pub fn remount_read_only(&self) -> bool {
        let mount = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).output();
        mount.is_ok_and(|output| output.status.success())
    }

    /// Takes all space that is left; removing the file gives it back.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).expect("created");
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Segments as small as they can be.
fn launch(dir: &Path, log: &Mounted) -> Launch {
    Launch::on(&dir.join("data"))
        .set("dataLogDir", log.0.to_str().expect("text"))
        .set("jute.maxbuffer", "65536")
        .set("jute.maxbuffer.extrasize", "65536")
}

#[test]
fn on_a_full_disk_writes_wait_reads_go_on_and_all_goes_on_when_there_is_space() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let Some(log) = Mounted::of_mib(&dir.path().join("log"), 12) else { return };
        let launch = launch(dir.path(), &log).set("ringkeeper.backend", backend);
        let server = launch.start();
        let mut writer = server.session();
        writer.create("/n", b"before", 0).expect("created");
        until("the next segment is ready", || {
            files(&log.0, "ringkeeper-prepared").len() + files(&log.0, "log.").len() >= 2
        });
        let mut reader = server.session();
        let filler = log.fill();
        // More than the two segments hold that are there.
        const WRITES: usize = 120;
        for _ in 0..WRITES {
            writer.submit(&Request::SetData("/n", Some(&[7; 60_000]), -1));
        }
        writer.submit(&Request::GetData("/n", false));
        writer.flush().expect("sent");
        server.log.wait_for("writes wait until there is space");

        // Others read, and ask how the server is.
        for _ in 0..50 {
            reader.get("/n", false).expect("reading goes on");
            reader.ping().expect("and so do sessions");
        }
        assert_eq!(server.word("ruok"), "imok");
        assert!(server.metric("outstanding_requests") > 0);
        let version = reader.exists("/n", false).expect("read").expect("there").version;
        assert!(version < WRITES as i32, "nothing is acknowledged that has no place on the disk");
        // A new write waits as well, and waiting is no work.
        let before = server.cpu_ms();
        reader.set_deadline(Duration::from_millis(1500));
        assert!(matches!(reader.create("/waits", b"", 0), Err(Error::Deadline)));
        let used = server.cpu_ms() - before;
        assert!(used < 400, "{used} ms of 1500 while nothing can be done");

        fs::remove_file(&filler).expect("removed");
        writer.set_deadline(crate::harness::DEADLINE);
        let answers = writer.answers().expect("all are answered");
        assert_eq!(answers.len(), WRITES + 1);
        assert!(answers.iter().all(|answer| answer.reply.err == 0));
        server.log.wait_for("writes go on");
        let mut later = server.session();
        until("what waited is done", || later.exists("/waits", false).expect("read").is_some());
        server.kill();
        let again = launch.start();
        let version = again.session().exists("/n", false).expect("read").expect("there").version;
        assert_eq!(version, WRITES as i32);
    }
}

/// Clients go on sending while nothing can be written. What waits is bounded in bytes, not only in requests.
#[test]
fn what_waits_for_a_full_disk_is_bounded() {
    let dir = directory();
    let Some(log) = Mounted::of_mib(&dir.path().join("log"), 12) else { return };
    let server = Launch::on(&dir.path().join("data")).set("dataLogDir", log.0.to_str().expect("text")).start();
    let mut writer = server.session();
    writer.create("/n", b"before", 0).expect("created");
    let before = crate::crowds::resident_kb(&server);
    let filler = log.fill();
    // 720 MB, if they were all taken.
    let mut requests = Vec::new();
    let data = vec![7; 900_000];
    for xid in 0..800 {
        Request::SetData("/n", Some(&data), -1).put_frame(&mut requests, proto::Xid(1000 + xid));
    }
    let mut stream = writer.stream().try_clone().expect("cloned");
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("set");
    assert!(stream.write_all(&requests).is_err(), "the server took 720 MB");
    let grown = crate::crowds::resident_kb(&server).saturating_sub(before);
    assert!(grown < 200_000, "{grown} kB wait");
    server.log.wait_for("writes wait until there is space");
    drop(filler);
}

/// Clients that get no session give up and come again, for as long as the disk is full. Each time asks for one session more,
/// and all of them would have to be made, and would have to expire, once there is space.
#[test]
fn clients_that_come_again_and_again_do_not_pile_up() {
    let dir = directory();
    let Some(log) = Mounted::of_mib(&dir.path().join("log"), 12) else { return };
    let server = launch(dir.path(), &log).set("ringkeeper.shards", "1").set("maxClientCnxns", "0").start();
    let mut writer = server.session();
    writer.create("/n", b"before", 0).expect("created");
    let filler = log.fill();
    for _ in 0..120 {
        writer.submit(&Request::SetData("/n", Some(&[7; 60_000]), -1));
    }
    writer.flush().expect("sent");
    server.log.wait_for("writes wait until there is space");
    let request = proto::connect::ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: proto::Zxid::ZERO,
        timeout_ms: 10_000,
        session: proto::SessionId::NONE,
        password: vec![0; 16],
        read_only: None,
    };
    let mut frame = Vec::new();
    client::wire::put_connect(&mut frame, &request);
    let (mut waiting, mut refused) = (0, 0);
    while refused < 20 {
        // The next one comes when this one was looked at.
        let mut stream = std::net::TcpStream::connect(server.addr).expect("connected");
        stream.write_all(&frame).expect("sent");
        if waiting < 8050 {
            waiting += 1;
            continue;
        }
        stream.set_read_timeout(Some(Duration::from_millis(40))).expect("set");
        match std::io::Read::read(&mut stream, &mut [0; 64]) {
            Ok(0) => refused += 1,
            _ => waiting += 1,
        }
        assert!(waiting < 8400, "more and more sessions are asked for");
    }
    fs::remove_file(filler).expect("removed");
    assert_eq!(writer.answers().expect("answered").len(), 120);
    server.session().set("/n", b"after", -1).expect("served");
}

/// Stopping must not need the space that is missing.
#[test]
fn a_server_on_a_full_disk_can_be_stopped_and_keeps_what_it_acknowledged() {
    let dir = directory();
    let Some(log) = Mounted::of_mib(&dir.path().join("log"), 12) else { return };
    let launch = launch(dir.path(), &log);
    let mut server = launch.start();
    let mut writer = server.session();
    writer.create("/n", b"before", 0).expect("created");
    let filler = log.fill();
    for _ in 0..120 {
        writer.submit(&Request::SetData("/n", Some(&[7; 60_000]), -1));
    }
    writer.flush().expect("sent");
    server.log.wait_for("writes wait until there is space");
    let mut acknowledged = 0;
    writer.set_deadline(Duration::from_millis(300));
    while let Ok(client::Received::Answer(answer)) = writer.receive() {
        assert_eq!(answer.reply.err, 0);
        acknowledged += 1;
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    fs::remove_file(filler).expect("removed");
    let again = launch.start();
    let version = again.session().exists("/n", false).expect("read").expect("there").version;
    assert!(version >= acknowledged, "{acknowledged} acknowledged, {version} kept");
}

/// A log directory without space for even one segment: the server starts and serves what it has.
#[test]
fn a_server_starts_on_a_full_disk_and_takes_writes_once_there_is_space() {
    let dir = directory();
    let Some(log) = Mounted::of_mib(&dir.path().join("log"), 12) else { return };
    let launch = launch(dir.path(), &log);
    let server = launch.start();
    server.session().create("/n", b"kept", 0).expect("created");
    server.stop();
    for prepared in files(&log.0, "ringkeeper-prepared") {
        fs::remove_file(prepared).expect("removed");
    }
    let filler = log.fill();
    let server = launch.start();
    server.log.wait_for("writes wait until there is space");
    assert!(server.word("srvr").contains("Mode: standalone"));
    fs::remove_file(filler).expect("removed");
    let mut session = server.session();
    assert_eq!(session.get("/n", false).expect("read").0.as_deref(), Some(&b"kept"[..]));
    session.set("/n", b"changed", 0).expect("set");
}

/// A snapshot that has no space costs nothing but itself.
#[test]
fn a_snapshot_without_space_leaves_the_server_and_the_log_unharmed() {
    let dir = directory();
    let Some(data) = Mounted::of_mib(&dir.path().join("small"), 1) else { return };
    let log = dir.path().join("log");
    let launch = Launch::on(&data.0).set("dataLogDir", log.to_str().expect("text")).set("snapCount", "20");
    let server = launch.start();
    let filler = data.fill();
    let mut session = server.session();
    session.create("/n", &[7; 50_000], 0).expect("created");
    for _ in 0..60 {
        session.set("/n", &[8; 50_000], -1).expect("set");
    }
    server.log.wait_for("cannot write snapshot");
    assert!(files(&data.0, "snapshot").len() == 1, "nothing half-written is left");
    fs::remove_file(filler).expect("removed");
    until("a later snapshot succeeds", || {
        session.set("/n", &[9; 50_000], -1).expect("set");
        server.log.count("Snapshotting:") > 0
    });
    server.kill();
    let again = launch.start();
    assert!(again.session().get("/n", false).expect("read").0 == Some(vec![9; 50_000]));
}
