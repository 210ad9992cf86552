//! The end of a server: asked for politely, asked for twice, and with clients in the middle of their work.

use std::thread;

use client::{Error, Received, Request, Response, Session};
use rustix::process::Signal;

use crate::harness::{Launch, Server, directory, until};

#[test]
fn sigterm_closes_idle_clients_and_ends_well() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let mut server = Launch::on(dir.path()).set("ringkeeper.backend", backend).start();
        let mut sessions: Vec<Session> = (0..5).map(|_| server.session()).collect();
        let silent = std::net::TcpStream::connect(server.addr).expect("connected");
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
        let said = server.log.all();
        assert!(said.contains("stopping") && said.ends_with("stopped"), "{said}");
        assert!(!said.contains("in time"), "{said}");
        for session in &mut sessions {
            assert!(session.wait_closed(crate::harness::DEADLINE).expect("closed"));
        }
        drop(silent);
    }
}

#[test]
fn sigint_is_as_good_as_sigterm() {
    let dir = directory();
    let mut server = Launch::on(dir.path()).start();
    server.session().create("/a", b"", 0).expect("created");
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(0));
}

/// What one busy client knows: the version that the last acknowledgement named.
fn write_until_closed(mut session: Session, path: &str) -> i32 {
    session.create(path, b"", 0).expect("created");
    let mut acknowledged = 0;
    loop {
        while session.outstanding() < 200 {
            session.submit(&Request::SetData(path, Some(b"x"), -1));
        }
        match session.receive() {
            Ok(Received::Answer(answer)) => match answer.response {
                Some(Response::Stat(stat)) => acknowledged = stat.version,
                other => panic!("{other:?}"),
            },
            Ok(Received::Event(event)) => panic!("{event:?}"),
            Err(Error::Closed) => return acknowledged,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Clients that never stop asking must not keep the server from ending, and nothing that it acknowledged is lost.
#[test]
fn sigterm_with_busy_clients_ends_well_and_keeps_every_acknowledged_write() {
    for (backend, shards) in [("uring", "2"), ("epoll", "1")] {
        let dir = directory();
        let launch = Launch::on(dir.path()).set("ringkeeper.backend", backend).set("ringkeeper.shards", shards);
        let mut server = launch.start();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let session = server.session();
                thread::spawn(move || write_until_closed(session, &format!("/w{writer}")))
            })
            .collect();
        let mut observer = server.session();
        until("all are busy", || {
            (0..4).all(|writer| {
                let stat = observer.exists(&format!("/w{writer}"), false).expect("served");
                stat.is_some_and(|stat| stat.version > 300)
            })
        });
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
        assert!(!server.log.all().contains("in time"), "{}", server.log.all());
        let acknowledged: Vec<i32> = writers.into_iter().map(|writer| writer.join().expect("content")).collect();
        let again = launch.start();
        let mut session = again.session();
        for (writer, acknowledged) in acknowledged.into_iter().enumerate() {
            let version = session.exists(&format!("/w{writer}"), false).expect("served").expect("there").version;
            assert!(version >= acknowledged, "writer {writer}: {acknowledged} acknowledged, {version} kept");
        }
    }
}

/// A client that asked for more than the kernel's buffers of both ends hold, and reads nothing.
fn stuck_client(server: &Server) -> Session {
    let mut session = server.session();
    session.create("/large", &vec![7; 900_000], 0).expect("created");
    for _ in 0..60 {
        session.submit(&Request::GetData("/large", false));
    }
    session.flush().expect("sent");
    // Each question is a turn of every thread; so many without any progress, and the buffers are full.
    let sid = format!("sid=0x{:x}", session.id().0);
    let (mut last, mut same) = (String::new(), 0);
    until("the client's answers are stuck", || {
        let cons = server.word("cons");
        let line = cons.lines().find(|line| line.contains(&sid)).expect("its connection");
        let sent = line.split("sent=").nth(1).and_then(|rest| rest.split(',').next()).expect("a count");
        same = if sent == last { same + 1 } else { 0 };
        last = sent.to_owned();
        assert!(last.parse::<u32>().expect("a number") < 60, "the kernel's buffers are larger than thought");
        same >= 40
    });
    session
}

/// A client that does not take its answers holds up an orderly end for a while; the operator need not wait.
#[test]
fn a_second_signal_ends_at_once() {
    let dir = directory();
    let mut server = Launch::on(dir.path()).start();
    let _stuck = stuck_client(&server);
    server.signal(Signal::TERM);
    server.log.wait_for("stopping");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.log.all().contains("ending at once"));
}

/// Answers that nobody takes are given up after a few seconds.
#[test]
fn a_client_that_does_not_read_cannot_keep_the_server_from_ending() {
    let dir = directory();
    let mut server = Launch::on(dir.path()).start();
    let _stuck = stuck_client(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log.all().contains("in time"), "{}", server.log.all());
}

/// Whoever read the log has gone: `| tee` was killed, or the disk with the log is full. Clients must not notice.
#[test]
fn a_server_to_whose_log_nobody_listens_goes_on() {
    let dir = directory();
    let launch = Launch::on(dir.path());
    let first = launch.start();
    let addr = first.addr;
    first.stop();
    let mut server = launch.start_unheard(addr);
    let mut session = server.session();
    session.create("/a", b"", 0).expect("served");
    // Each of these is worth a line.
    for _ in 0..3 {
        let mut rude = server.session();
        rude.submit_bytes(&(-5i32).to_be_bytes());
        rude.flush().expect("sent");
        assert!(rude.wait_closed(crate::harness::DEADLINE).expect("closed"));
    }
    session.set("/a", b"b", 0).expect("still served");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// Nothing to do means no work: a server that spins takes the core away from others.
#[test]
fn an_idle_server_uses_no_processor() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let server = Launch::on(dir.path()).set("ringkeeper.backend", backend).set("ringkeeper.shards", "3").start();
        let mut sessions: Vec<Session> = (0..20).map(|_| server.session()).collect();
        sessions[0].create("/a", b"", 0).expect("created");
        let before = server.cpu_ms();
        let nothing = sessions[0].next_event(std::time::Duration::from_secs(2)).expect("connected");
        assert_eq!(nothing, None);
        let used = server.cpu_ms() - before;
        assert!(used < 200, "{backend}: {used} ms of 2 s");
    }
}

/// Power failures come when they want: several in a row, under load, on the same directory and the same port.
#[test]
fn kill_9_under_load_loses_nothing_and_gives_the_port_back() {
    let dir = directory();
    let mut launch = Launch::on(dir.path()).set("snapCount", "500");
    let mut kept = [0; 3];
    for round in 0..3 {
        let server = launch.start();
        launch = launch.at(server.addr);
        let mut observer = server.session();
        for (writer, kept) in kept.iter().enumerate() {
            for earlier in 0..round {
                let path = format!("/w{writer}-{earlier}");
                let version = observer.exists(&path, false).expect("served").expect("there").version;
                assert!(earlier + 1 < round || version >= *kept, "{path}: {kept} acknowledged, {version} kept");
            }
        }
        let acknowledged = thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let session = server.session();
                    scope.spawn(move || write_until_closed(session, &format!("/w{writer}-{round}")))
                })
                .collect();
            until("all are busy", || {
                (0..3).all(|writer| {
                    let stat = observer.exists(&format!("/w{writer}-{round}"), false).expect("served");
                    stat.is_some_and(|stat| stat.version > 400)
                })
            });
            server.kill();
            writers.into_iter().map(|writer| writer.join().expect("content")).collect::<Vec<i32>>()
        });
        kept.copy_from_slice(&acknowledged);
    }
}
