//! Many clients, greedy clients and rude clients: what is bounded, and that the others go on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use client::{Error, Request, Response, Session};

use crate::harness::{DEADLINE, Launch, Server, directory, patient, until};

#[test]
fn two_hundred_connections_at_once_are_all_served() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let server = Launch::on(dir.path()).set("maxClientCnxns", "0").set("ringkeeper.backend", backend).start();
        let addr = server.addr;
        // All knock before anybody is looked at, so that they pass the backlog together.
        let mut sockets: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(addr).expect("connected")).collect();
        let threads: Vec<_> =
            (0..100).map(|_| std::thread::spawn(move || Session::connect(addr, &patient()))).collect();
        let mut sessions: Vec<Session> =
            threads.into_iter().map(|thread| thread.join().expect("content").expect("served")).collect();
        for (number, session) in sessions.iter_mut().enumerate() {
            session.submit(&Request::Create {
                op: proto::Op::Create,
                path: &format!("/c{number}"),
                data: None,
                acl: &client::wire::open_acl(),
                flags: 1,
            });
            session.flush().expect("sent");
        }
        for session in &mut sessions {
            assert_eq!(session.answers().expect("answered")[0].reply.err, 0);
        }
        for socket in &mut sockets {
            socket.write_all(b"ruok").expect("sent");
            let mut text = String::new();
            socket.read_to_string(&mut text).expect("answered");
            assert_eq!(text, "imok");
        }
        assert_eq!(server.metric("ephemerals_count"), 100);
        drop(sessions);
    }
}

/// Whoever is refused sees a closed connection; whoever is in stays; a place that becomes free can be taken.
fn storm(limit: &str) {
    let dir = directory();
    let mut launch = Launch::on(dir.path()).set("maxClientCnxns", "0");
    launch = launch.set(limit, "10");
    let server = launch.start();
    let addr = server.addr;
    let connect = move || Session::connect(addr, &patient());
    let threads: Vec<_> = (0..60).map(|_| std::thread::spawn(connect)).collect();
    let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("content")).collect();
    let mut served: Vec<Session> = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(session) => served.push(session),
            Err(Error::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(served.len(), 10);
    // Each was refused; not each is said.
    let said = server.log.count(&format!("{limit} is reached"));
    assert!((1..=50).contains(&said), "{}", server.log.so_far());
    for session in &mut served {
        session.ping().expect("undisturbed");
    }
    served.pop().expect("ten").close().expect("closed");
    let mut next = None;
    until("the free place can be taken", || {
        next = connect().ok();
        next.is_some()
    });
    assert!(matches!(connect(), Err(Error::Closed)));
}

#[test]
fn connections_of_one_address_are_limited() {
    storm("maxClientCnxns");
}

#[test]
fn connections_in_all_are_limited() {
    storm("maxCnxns");
}

/// Clients must not get the descriptors that the log needs: all would wait for a log file that cannot be opened.
#[test]
fn a_crowd_leaves_descriptors_to_the_log() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let launch = Launch::on(dir.path()).set("maxClientCnxns", "0").set("txnLogSizeLimitInKb", "20");
        let server = launch.set("ringkeeper.backend", backend).confined(few_descriptors).start();
        server.log.wait_for("because at most 120 files may be open");
        let mut session = server.session();
        session.create("/a", b"", 0).expect("created");
        let sockets: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(server.addr).expect("connected")).collect();
        server.log.wait_for("too many connections");
        // Several log files are begun.
        for version in 0..50 {
            session.set("/a", b"x", version).expect("served");
        }
        assert!(crate::harness::files(dir.path(), "log.").len() > 5);
        assert_eq!(server.log.count("cannot prepare a log segment"), 0, "{}", server.log.so_far());
        let before = server.cpu_ms();
        assert_eq!(session.next_event(std::time::Duration::from_secs(1)).expect("connected"), None);
        let used = server.cpu_ms() - before;
        assert!(used < 300, "{backend}: {used} ms of 1 s while nobody can be accepted");
        drop(sockets);
        until("there is room again", || Session::connect(server.addr, &patient()).is_ok());
    }
}

fn few_descriptors() {
    let few = rustix::process::Rlimit { current: Some(120), maximum: Some(120) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).expect("lowered");
}

#[test]
fn a_connection_that_asks_for_no_session_is_closed_after_a_while() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("nio.sessionlessCnxnTimeout", "300").start();
    let mut mute = TcpStream::connect(server.addr).expect("connected");
    let mut stammering = TcpStream::connect(server.addr).expect("connected");
    stammering.write_all(&[0, 0]).expect("sent");
    let mut session = server.session();
    for socket in [&mut mute, &mut stammering] {
        socket.set_read_timeout(Some(DEADLINE)).expect("set");
        assert_eq!(socket.read(&mut [0; 8]).expect("closed, not reset"), 0);
    }
    session.ping().expect("sessions are not meant");
}

#[test]
fn a_packet_beyond_jute_maxbuffer_closes_its_connection_and_is_said() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("jute.maxbuffer", "20000").start();
    let mut session = server.session();
    session.create("/fits", &[1; 19_000], 0).expect("created");
    let too_large = session.create("/too-large", &[1; 20_001], 0);
    assert!(matches!(too_large, Err(Error::Closed)), "{too_large:?}");
    server.log.wait_for("packet length out of bounds");
    let mut other = server.session();
    assert!(other.exists("/too-large", false).expect("served").is_none());
    // A negative length is no better.
    other.submit_bytes(&(-5i32).to_be_bytes());
    other.flush().expect("sent");
    assert!(other.wait_closed(DEADLINE).expect("closed"));
}

/// The limit holds back readers of sockets; it never drops, reorders or refuses anything.
#[test]
fn a_small_global_outstanding_limit_slows_deep_pipelines_and_answers_all() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let server =
            Launch::on(dir.path()).set("globalOutstandingLimit", "5").set("ringkeeper.backend", backend).start();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| super::backends::burst(&server, 700));
            }
        });
        assert_eq!(server.metric("outstanding_requests"), 0);
    }
}

/// Resident memory of the server.
pub fn resident_kb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A gigabyte of answers for a client that does not read: the server must not hold it in memory, nor let others wait.
#[test]
fn a_client_that_asks_much_and_reads_nothing_costs_little() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let server = Launch::on(dir.path()).set("ringkeeper.backend", backend).start();
        let mut greedy = server.session();
        greedy.create("/large", &vec![7; 100_000], 0).expect("created");
        let before = resident_kb(&server);
        for _ in 0..10_000 {
            greedy.submit(&Request::GetData("/large", false));
        }
        greedy.flush().expect("the requests fit the buffers between");
        let mut other = server.session();
        for _ in 0..200 {
            other.set("/large", &[8; 100_000], -1).expect("served");
            other.get("/large", false).expect("served");
        }
        let grown = resident_kb(&server).saturating_sub(before);
        assert!(grown < 60_000, "{backend}: {grown} kB for one client that does not read");
        // And it gets all of it when it begins to.
        let mut count = 0;
        while greedy.outstanding() > 0 {
            let client::Received::Answer(answer) = greedy.receive().expect("answered") else { panic!("an answer") };
            let Some(Response::Data(Some(data), _)) = answer.response else { panic!("data") };
            assert_eq!(data.len(), 100_000);
            count += 1;
        }
        assert_eq!(count, 10_000);
    }
}

/// `echo ruok | nc` closes its half at once.
#[test]
fn a_client_that_closes_its_half_behind_a_word_gets_its_answer() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let server = Launch::on(dir.path()).set("ringkeeper.backend", backend).start();
        for (word, expected) in
            [("ruok", "imok"), ("srvr\n", "Zookeeper version: "), ("mntr\r\n", "zk_version"), ("cons", " /127.0.0.1:")]
        {
            let mut socket = TcpStream::connect(server.addr).expect("connected");
            socket.write_all(word.as_bytes()).expect("sent");
            socket.shutdown(Shutdown::Write).expect("half closed");
            socket.set_read_timeout(Some(DEADLINE)).expect("set");
            let mut text = String::new();
            socket.read_to_string(&mut text).expect("answered");
            assert!(text.starts_with(expected), "{backend}: {word:?}: {text:?}");
        }
    }
}
