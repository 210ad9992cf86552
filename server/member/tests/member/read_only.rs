//! A member without a leader: whom it serves, with what, and until when.

use member::Mode;
use member::ensemble::Parts;
use proto::connect::session_password;
use proto::stat::StatPersisted;
use proto::{Code, Millis, Op, SessionId};

use crate::ensemble::{THREE, parts};
use crate::wire::*;
use crate::world::{START_MS, World};

/// A session of the ensemble, from before.
const KNOWN: SessionId = SessionId(0x2_0000);

/// A session of the ensemble of which this member was never told.
const MADE_SINCE: SessionId = SessionId(0x2_0001);

/// One member of three that finds none of the others, with a znode, and a session of thirty seconds.
fn lone_member(read_only_after_ms: Option<i64>) -> World {
    let mut loader = tree::Writer::restore(tree::Options::new((1, 2)));
    for path in ["/", "/zookeeper", "/zookeeper/config", "/kept"] {
        loader.node(path, Some(b"old"), tree::OPEN_ID, StatPersisted::default()).unwrap();
    }
    let writer = loader.finish(proto::Zxid(50)).unwrap();
    World::with(|o| {
        o.restored = Some((writer, vec![(KNOWN, 30_000)]));
        o.ensemble = Some(Parts { read_only_after_ms, ..parts(THREE) });
    })
}

/// What it shows readers, having gone by a configuration with version 0x100000001 and with one of version 0x100000002 in its history.
fn shown_config(reconfig_enabled: bool, own_version: &str) -> String {
    let mut loader = tree::Writer::restore(tree::Options::new((1, 2)));
    for path in ["/", "/zookeeper", "/zookeeper/config"] {
        let data = format!("{THREE}server.4=d:2888:3888:observer\nversion=100000002");
        loader.node(path, Some(data.as_bytes()), tree::OPEN_ID, StatPersisted::default()).unwrap();
    }
    let writer = loader.finish(proto::Zxid(0x1_0000_0002)).unwrap();
    let mut w = World::with(|o| {
        o.restored = Some((writer, Vec::new()));
        let own = parts(&format!("{THREE}{own_version}"));
        o.ensemble = Some(Parts { read_only_after_ms: Some(0), reconfig_enabled, ..own });
    });
    w.pass(1);
    let c = w.socket(0, "127.0.0.1");
    w.hello(c, &reader());
    w.call(c, &get("/zookeeper/config", false)).data()
}

/// Found by the simulator's seed 2392: it was overwritten at the start, and shown again when another write was final.
#[test]
fn a_newer_configuration_in_the_own_history_is_shown_as_the_history_is() {
    let is_newer = |shown: &str| shown.ends_with("version=100000002") && shown.contains("server.4=");
    assert!(is_newer(&shown_config(true, "version=100000001")));
    for (enabled, own) in [(false, "version=100000001"), (true, "")] {
        let shown = shown_config(enabled, own);
        assert!(!is_newer(&shown) && shown.contains("server.3="), "{shown}");
    }
}

fn reader() -> Hello {
    Hello { read_only: Some(true), ..Hello::default() }
}

/// Two seconds on, virtually.
fn read_only_member() -> World {
    let mut w = lone_member(Some(2_000));
    w.pass(2_000);
    assert!(w.stage.is_read_only());
    w
}

/// Who says this is gone without an answer?
fn is_sent_away(w: &mut World, hello: &Hello) -> bool {
    let c = w.socket(0, "127.0.0.1");
    w.hello(c, hello);
    let client = w.client(c);
    client.closed && client.welcome.is_none()
}

#[test]
fn readers_are_served_once_no_leader_was_found_for_two_seconds() {
    let mut w = lone_member(Some(2_000));
    assert!(w.stage.next_deadline() <= Millis(START_MS + 2_000), "nobody else would call it");
    w.pass(1_999);
    assert!(is_sent_away(&mut w, &reader()));
    w.pass(1);
    assert!(w.stage.is_read_only());
    assert_eq!(w.stage.mode(), Some(Mode::Looking));

    let c = w.socket(0, "127.0.0.1");
    w.hello(c, &reader());
    let welcome = w.client(c).welcome.clone().unwrap();
    assert_eq!((welcome.read_only, welcome.timeout_ms), (Some(true), 10_000));
    assert_eq!(welcome.password, session_password(SessionId(welcome.session)));
    assert_eq!(w.call(c, &get("/kept", true)).data(), "old");
    assert_eq!(w.err(c, &exists("/none", false)), Code::NoNode.as_i32());
    assert_eq!(w.call(c, &path_only(Op::GetEphemerals, "/")).strings(), [""; 0]);
    assert_eq!(w.err(c, &ping()), 0);
    assert_eq!(w.err(c, &close()), 0);
    assert!(w.client(c).closed);
    assert!(w.logged().is_empty(), "no session of a reader is a transaction");
}

#[test]
fn who_wants_more_than_to_read_is_sent_away() {
    let mut w = read_only_member();
    assert!(is_sent_away(&mut w, &Hello::default()));
    assert!(is_sent_away(&mut w, &Hello { read_only: None, ..Hello::default() }));
    // Its client has seen more than there is to read here.
    assert!(is_sent_away(&mut w, &Hello { zxid: 51, ..reader() }));
    // It may live on elsewhere, with a leader.
    for session in [KNOWN, MADE_SINCE] {
        let password = session_password(session).to_vec();
        assert!(is_sent_away(&mut w, &Hello { session: session.0, password, ..reader() }), "{session}");
    }
}

#[test]
fn everything_that_needs_a_leader_is_refused_and_the_session_goes_on() {
    let mut w = read_only_member();
    let c = w.socket(0, "127.0.0.1");
    w.hello(c, &reader());
    let refused = [
        create("/a", ""),
        create_as(Op::Create2, "/a", None, &open_acl(), 0),
        create_as(Op::CreateContainer, "/a", None, &open_acl(), 4),
        create_ttl("/a", 5, 1_000),
        delete("/kept", -1),
        delete_container("/kept"),
        set("/kept", "new", -1),
        set_acl("/kept", &open_acl(), -1),
        multi(&[check("/kept", -1)]),
        path_only(Op::Sync, "/"),
        raw(Op::Reconfig.as_i32(), b"not looked at"),
    ];
    for request in &refused {
        let reply = w.call(c, request);
        assert_eq!((reply.err, reply.zxid, reply.body.len()), (Code::NotReadOnly.as_i32(), 50, 0), "{request:?}");
    }
    assert_eq!(w.call(c, &get("/kept", false)).data(), "old");
    assert!(w.logged().is_empty());
}

#[test]
fn a_readers_session_can_be_taken_up_again_until_it_expires() {
    let mut w = read_only_member();
    let first = w.socket(0, "127.0.0.1");
    w.hello(first, &reader());
    let (session, password) = (w.session(first), session_password(SessionId(w.session(first))).to_vec());
    let again = Hello { session, password, ..reader() };
    let second = w.socket(0, "127.0.0.1");
    w.hello(second, &again);
    assert_eq!(w.session(second), session);
    assert!(w.client(first).closed, "a session has one connection");
    assert_eq!(w.call(second, &get("/kept", false)).data(), "old");

    let refusal = Welcome { timeout_ms: 0, session: 0, password: vec![0; 16], read_only: Some(true) };
    let other = w.socket(0, "127.0.0.1");
    w.hello(other, &Hello { password: vec![1; 16], ..again.clone() });
    assert_eq!(w.client(other).welcome, Some(refusal.clone()), "a wrong password");
    assert!(!w.client(second).closed);

    let report = w.stage.report();
    let shown: Vec<_> = report.local.unwrap().into_iter().flat_map(|(_, sessions)| sessions).collect();
    assert_eq!(shown, [(SessionId(session), 10_000)]);
    assert_eq!(report.buckets, [(0, vec![(KNOWN, 30_000)])]);

    w.pass(20_000);
    let late = w.socket(0, "127.0.0.1");
    w.hello(late, &again);
    assert_eq!(w.client(late).welcome, Some(refusal));
    assert!(w.client(second).closed);
    assert!(w.logged().is_empty());
}

#[test]
fn nobody_is_served_without_a_leader_unless_it_is_allowed() {
    let mut w = lone_member(None);
    w.pass(60_000);
    assert!(!w.stage.is_read_only());
    assert!(is_sent_away(&mut w, &reader()));
}

/// The ends of the sessions that were there before are the next leader's business: a clock that waits for them would not let the
/// thread sleep.
#[test]
fn a_member_without_a_leader_sleeps_although_sessions_from_before_are_past_their_time() {
    for read_only_after_ms in [None, Some(2_000)] {
        let mut w = lone_member(read_only_after_ms);
        w.pass(3_000_000);
        assert!(w.stage.next_deadline() > Millis(w.mono), "{:?}", w.stage.next_deadline());
    }
}
