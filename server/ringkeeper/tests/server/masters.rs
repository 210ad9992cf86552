//! Followers that serve observers, as their operator meets them.

use std::net::TcpListener;

use client::Request;

use crate::ensembles::{leads, member, mode, ports, start};
use crate::harness::{Server, directory, until};

/// The story: one follower's port is taken, which it says, so that the observer learns from the other one; it writes and reads through
/// it. The port becomes free, and the follower takes it. The other one is killed, and the observer learns from the first.
#[test]
fn an_observer_learns_from_the_followers_that_serve_one_after_another() {
    let dir = directory();
    let ports = ports(9);
    let place = |id: usize| format!("server.{id}=127.0.0.{id}:{}:{}", ports[2 * id - 2], ports[2 * id - 1]);
    let port = ports[8];
    let lines = (1..=4).map(place).collect::<Vec<_>>().join("\n");
    let lines = format!("{lines}:observer\nobserverMasterPort={port}\n");
    let taken = TcpListener::bind(("127.0.0.1", port)).expect("bound");
    let launch = |id: &str| member(dir.path(), id, &lines);
    let mut pair = vec![start(&launch("2")), start(&launch("3"))];
    until("one leads", || pair.iter().any(leads) && pair.iter().all(|server| mode(server).is_some()));
    let leader = pair.remove(pair.iter().position(leads).expect("one leads"));
    let (first, second) = (start(&launch("1")), pair.remove(0));
    first.log.wait_for(&format!(
        "cannot listen on the port for observers 127.0.0.1:{port} of server 1: another process listens there; observers \
         cannot learn here"
    ));

    let observer = start(&launch("4").set("peerType", "observer"));
    // What listens there does not serve it.
    drop(taken.accept().expect("it tries"));
    let serves = |master: &Server| {
        until("it observes", || mode(&observer).as_deref() == Some("observer"));
        until("it is counted", || master.metric("synced_observers") == 1);
        observer.metric("observer_master_id").to_string() == master.setting("serverId")
    };
    assert!(serves(&second));
    assert_eq!((leader.metric("synced_observers"), leader.metric("learners")), (0, 2));
    let mut session = observer.session();
    session.create("/kept", b"through a follower", 0).expect("created");
    let mut elsewhere = leader.session();
    elsewhere.set("/kept", b"by the leader", -1).expect("set");
    session.ask(&Request::Sync("/")).expect("synchronised");
    assert_eq!(session.get("/kept", false).expect("read").0.as_deref(), Some(&b"by the leader"[..]));

    drop(taken);
    first.log.wait_for(&format!("observers may learn here, at 127.0.0.1:{port}"));
    second.kill();
    assert!(serves(&first));
    let mut session = observer.session();
    assert_eq!(session.get("/kept", false).expect("read").0.as_deref(), Some(&b"by the leader"[..]));
    session.create("/more", b"", 0).expect("created");
    for server in [observer, first, leader] {
        server.stop();
    }
}
