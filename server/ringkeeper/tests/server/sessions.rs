//! Sessions across crashes and silence, and what two clients see of each other.

use std::time::Duration;

use client::{Error, Options, Request, Session};

use crate::harness::{DEADLINE, Launch, directory, patient, until};

/// Short ticks, so that sessions of a second are allowed and expire soon.
fn quick(dir: &std::path::Path) -> Launch {
    Launch::on(dir).set("tickTime", "100").set("maxSessionTimeout", "60000")
}

/// The server dies and comes back in time: clients go on with their sessions, as if only the connection had failed.
#[test]
fn sessions_and_their_ephemerals_survive_a_crash_if_the_client_comes_back() {
    let dir = directory();
    let launch = quick(dir.path());
    let server = launch.start();
    let mut mine = server.session_of(60_000);
    mine.create("/mine", b"", 1).expect("created");
    let mut gone = server.session_of(1_000);
    gone.create("/gone", b"", 1).expect("created");
    server.kill();

    let server = launch.clone().at(server_address(&mine)).start();
    let mut back =
        Session::connect(server.addr, &Options { deadline: DEADLINE, ..mine.reattach() }).expect("the same session");
    assert_eq!((back.id(), back.info().password), (mine.id(), mine.info().password));
    assert!(back.exists("/mine", false).expect("read").is_some());
    until("the ephemeral of the other one is gone", || back.exists("/gone", false).expect("read").is_none());
    assert!(back.exists("/mine", false).expect("read").is_some());
    let refused = Session::connect(server.addr, &Options { deadline: DEADLINE, ..gone.reattach() });
    assert!(matches!(refused, Err(Error::Refused)), "{refused:?}");
    back.close().expect("closed");
    assert!(server.session().exists("/mine", false).expect("read").is_none());
}

fn server_address(session: &Session) -> std::net::SocketAddr {
    session.stream().peer_addr().expect("connected once")
}

#[test]
fn a_wrong_password_gets_no_session_and_disturbs_nobody() {
    let dir = directory();
    let server = Launch::on(dir.path()).start();
    let mut owner = server.session();
    owner.create("/owned", b"", 1).expect("created");
    let thief = Options { session: Some((owner.id(), [7; 16])), ..patient() };
    assert!(matches!(Session::connect(server.addr, &thief), Err(Error::Refused)));
    owner.ping().expect("still connected");
    server.log.wait_for("wrong session password");
}

/// A session that moves to a new connection leaves the old one closed.
#[test]
fn a_session_has_one_connection() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("ringkeeper.shards", "2").start();
    let mut first = server.session();
    let mut second = Session::connect(server.addr, &Options { deadline: DEADLINE, ..first.reattach() }).expect("moved");
    assert!(first.wait_closed(DEADLINE).expect("closed"));
    second.create("/a", b"", 1).expect("served");
    let mut third = Session::connect(server.addr, &Options { deadline: DEADLINE, ..second.reattach() }).expect("moved");
    assert!(second.wait_closed(DEADLINE).expect("closed"));
    assert!(third.exists("/a", false).expect("read").is_some());
}

#[test]
fn a_silent_session_expires_and_its_connection_is_closed() {
    let dir = directory();
    let server = quick(dir.path()).start();
    let mut silent = server.session_of(600);
    silent.create("/silent", b"", 1).expect("created");
    let mut watching = server.session_of(60_000);
    watching.exists("/silent", true).expect("read").expect("there");
    let event = watching.next_event(DEADLINE).expect("connected").expect("an event");
    assert_eq!((event.kind, event.path.as_str()), (2, "/silent"));
    assert!(silent.wait_closed(DEADLINE).expect("closed"));
    server.log.wait_for("session expired");
    let refused = Session::connect(server.addr, &Options { deadline: DEADLINE, ..silent.reattach() });
    assert!(matches!(refused, Err(Error::Refused)), "{refused:?}");
}

#[test]
fn pings_keep_a_session_and_its_timeout_is_within_the_limits() {
    let dir = directory();
    let server = quick(dir.path()).start();
    assert_eq!(server.session_of(1).info().timeout_ms, 200);
    assert_eq!(server.session_of(1_000_000).info().timeout_ms, 60_000);
    let mut pinging = server.session_of(1_500);
    let mut silent = server.session_of(1_500);
    silent.create("/silent", b"", 1).expect("created");
    pinging.create("/pinging", b"", 1).expect("created");
    // Alive for longer than the other one could stay silent.
    until("the silent one has expired", || {
        pinging.ping().expect("alive");
        pinging.exists("/silent", false).expect("alive").is_none()
    });
    assert!(pinging.exists("/pinging", false).expect("alive").is_some());
}

/// A client tells another one, by some other way, that its write was acknowledged. The other one must see it, on whichever
/// shard it is: Java promises this on one server, and programs rely on it without knowing.
#[test]
fn what_is_acknowledged_to_one_is_seen_by_all_at_once() {
    for (backend, shards) in [("uring", "2"), ("epoll", "3")] {
        let dir = directory();
        let server = Launch::on(dir.path()).set("ringkeeper.backend", backend).set("ringkeeper.shards", shards).start();
        let mut sessions: Vec<Session> = (0..3).map(|_| server.session()).collect();
        sessions[0].create("/seen", b"", 0).expect("created");
        for round in 0..1500i32 {
            let writer = round as usize % 3;
            sessions[writer].set("/seen", &round.to_be_bytes(), round).expect("set");
            for reader in [(writer + 1) % 3, (writer + 2) % 3] {
                let (data, stat) = sessions[reader].get("/seen", false).expect("read");
                assert_eq!(data.as_deref(), Some(&round.to_be_bytes()[..]), "{backend}, round {round}");
                assert_eq!(stat.version, round + 1);
            }
        }
    }
}

/// Closing while requests are under way answers them first.
#[test]
fn a_session_that_closes_behind_a_pipeline_gets_all_its_answers() {
    let dir = directory();
    let server = Launch::on(dir.path()).start();
    let mut session = server.session();
    session.create("/p", b"", 0).expect("created");
    for _ in 0..300 {
        session.submit(&Request::SetData("/p", Some(b"x"), -1));
    }
    session.submit(&Request::CloseSession);
    let answers = session.answers().expect("answered");
    assert!(answers.iter().all(|answer| answer.reply.err == 0) && answers.len() == 301);
    assert!(session.wait_closed(Duration::from_secs(30)).expect("closed"));
    assert_eq!(server.session().exists("/p", false).expect("read").expect("there").version, 300);
}
