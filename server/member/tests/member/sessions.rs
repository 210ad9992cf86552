//! Sessions: opening, negotiating, coming back, moving, ending.

use std::sync::atomic::Ordering::Relaxed;

use proto::connect::session_password;
use proto::{Op, SessionId};

use crate::wire::*;
use crate::world::{START_MS, World};

#[test]
fn a_new_session_gets_an_id_its_password_and_a_clamped_timeout() {
    let mut w = World::with_shards(2);
    for (wanted, given) in [(10_000, 10_000), (1, 4_000), (-5, 4_000), (1_000_000, 40_000)] {
        let c = w.socket(1, "10.1.2.3");
        w.hello(c, &Hello { timeout_ms: wanted, ..Hello::default() });
        let welcome = w.client(c).welcome.clone().unwrap();
        assert_eq!(welcome.timeout_ms, given);
        assert_eq!(welcome.session >> 56, 1, "the server's id is the top byte");
        assert_eq!(welcome.password, session_password(SessionId(welcome.session)));
        assert_eq!(welcome.read_only, Some(false));
    }
    let logged = w.logged();
    assert_eq!(logged.len(), 4, "each is a transaction");
    assert!(logged.iter().all(|entry| entry.2 == 0 && entry.3 == -10));
}

#[test]
fn a_client_without_the_read_only_byte_is_answered_without_it() {
    let mut w = World::new();
    let c = w.socket(0, "127.0.0.1");
    w.hello(c, &Hello { read_only: None, ..Hello::default() });
    let welcome = w.client(c).welcome.clone().unwrap();
    assert_eq!(welcome.read_only, None);
    assert_ne!(welcome.session, 0);
    assert_eq!(w.err(c, &create("/a", "")), 0);
    // A refusal has the same shape.
    let c = w.socket(0, "127.0.0.1");
    w.hello(c, &Hello { read_only: None, session: 99, ..Hello::default() });
    let refusal = Welcome { timeout_ms: 0, session: 0, password: vec![0; 16], read_only: None };
    assert_eq!(w.client(c).welcome, Some(refusal));
    assert!(w.client(c).closed);
}

/// Requests that a client pipelines behind its connect request wait until the session is there.
#[test]
fn requests_behind_the_connect_request_wait_for_the_session() {
    let mut w = World::new();
    let c = w.socket(0, "127.0.0.1");
    let mut bytes = Hello::default().frame();
    bytes.extend(w.frames_of(c, &[create("/p", "x"), get("/p", false)]));
    w.send(c, &bytes);
    assert!(w.client(c).paused, "the socket is not read meanwhile");
    w.settle();
    assert!(!w.client(c).paused);
    let replies = w.replies(c);
    assert_eq!(replies[1].data(), "x");
}

#[test]
fn a_client_ahead_of_the_server_is_turned_away_without_a_word() {
    let mut w = World::new();
    let zxid = w.zxid();
    for (seen, closed) in [(zxid, false), (zxid + 1, true), (i64::MAX, true)] {
        let c = w.socket(0, "127.0.0.1");
        w.hello(c, &Hello { zxid: seen, ..Hello::default() });
        assert_eq!(w.client(c).closed, closed);
        assert_eq!(w.client(c).welcome.is_none(), closed);
        if !closed {
            break;
        }
    }
    let c = w.socket(0, "127.0.0.1");
    w.hello(c, &Hello { zxid: w.zxid() + 1, ..Hello::default() });
    assert!(w.client(c).closed && w.client(c).welcome.is_none());
}

/// What a session has seen on one shard, another shard has seen when the session comes back there.
#[test]
fn a_session_that_comes_back_on_another_shard_is_not_behind_itself() {
    let mut w = World::with_shards(3);
    let a = w.open(0);
    w.ask(a, &create("/n", "1"));
    w.prepare();
    w.make_durable();
    w.pump(0);
    assert_eq!(w.replies(a).len(), 1);
    w.hang_up(a);
    let again = w.reattach(a, 2);
    assert_eq!(w.client(again).welcome.as_ref().map(|welcome| welcome.session), Some(w.session(a)));
    assert_eq!(w.call(again, &get("/n", false)).data(), "1");
}

#[test]
fn an_unknown_session_or_a_wrong_password_is_refused_with_zeros() {
    let mut w = World::new();
    let a = w.open(0);
    let refusal = Welcome { timeout_ms: 0, session: 0, password: vec![0; 16], read_only: Some(false) };
    let session = w.session(a);
    let unknown = session + 1;
    let table = [
        (session, vec![7; 16]),
        (session, vec![]),
        (unknown, session_password(SessionId(unknown)).to_vec()),
        (0x0100_0000, vec![0; 16]),
    ];
    for (session, password) in table {
        let c = w.socket(0, "127.0.0.1");
        w.hello(c, &Hello { session, password, ..Hello::default() });
        assert_eq!(w.client(c).welcome, Some(refusal.clone()));
        assert!(w.client(c).closed);
    }
    assert!(!w.client(a).closed, "the owner of the session is not disturbed");
    assert_eq!(w.err(a, &create("/still", "")), 0);
}

/// A session moves to another shard while its old connection is open and has requests under way. The old one is closed without
/// an answer to what came too late; what it had sent before the move is done; the new one works; nothing waits for anything.
#[test]
fn a_session_that_comes_back_evicts_its_old_connection_on_another_shard() {
    for (from, to) in [(0, 1), (1, 0), (0, 0)] {
        let mut w = World::with_shards(2);
        let a = w.open(from);
        w.call(a, &create_flags("/e", 1));
        w.burst(a, &[create("/before", ""), get("/before", false), create("/before2", "")]);
        w.prepare();
        let session = w.session(a);
        let b = w.socket(to, "127.0.0.1");
        let password = session_password(SessionId(session)).to_vec();
        w.send(b, &Hello { session, password, ..Hello::default() }.frame());
        w.prepare();
        // Behind the move: these come from a connection that no longer speaks for the session.
        w.burst(
            a,
            &[create("/late", ""), path_only(Op::Sync, "/"), get("/late", false), set("/before", "late", -1), close()],
        );
        w.settle();
        assert!(w.client(a).closed);
        let errors: Vec<i32> = w.replies(a).iter().map(|reply| reply.err).collect();
        assert_eq!(errors, [0, 0, 0], "what came before the move is answered, the rest is not");
        assert!(!w.client(b).closed);
        assert_eq!(w.session(b), session);
        assert_eq!(w.call(b, &exists("/e", false)).stat().ephemeral_owner.0, session);
        assert_eq!(w.err(b, &exists("/late", false)), -101);
        assert_eq!(w.call(b, &get("/before", false)).data(), "");
        w.assert_quiet();
    }
}

/// closeSession deletes the session's ephemerals, which others see as events, is answered, and ends the connection; whatever was
/// pipelined behind it is neither done nor answered.
#[test]
fn close_session_deletes_ephemerals_is_answered_and_is_the_last_word() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(a, &create("/p", ""));
    for path in ["/p/2", "/p/1", "/p/3"] {
        w.call(a, &create_flags(path, 1));
        w.call(b, &exists(path, true));
    }
    let session = w.session(a);
    let before = w.zxid();
    let mut bytes = w.frames_of(a, &[set("/p", "last", -1), close()]);
    bytes.extend(frame(77, &create("/after", "")));
    bytes.extend(frame(78, &exists("/", false)));
    w.send(a, &bytes);
    w.send(a, &frame(79, &create("/after", "")));
    assert!(w.client(a).paused);
    w.settle();
    let replies = w.replies(a);
    assert_eq!(
        replies.iter().map(|r| (r.zxid, r.err, r.body.len())).collect::<Vec<_>>(),
        [(before + 1, 0, 68), (before + 2, 0, 0)]
    );
    assert!(w.client(a).closed);
    assert_eq!(
        w.events(b),
        [(2, "/p/1".to_owned()), (2, "/p/2".to_owned()), (2, "/p/3".to_owned())],
        "in order of paths"
    );
    assert!(w.call(b, &children("/p", false)).strings().is_empty());
    assert_eq!(w.err(b, &exists("/after", false)), -101);
    // It cannot be had back.
    let again = w.reattach(a, 1);
    assert_eq!(w.session(again), 0);
    assert_eq!(w.gauges.sessions.load(Relaxed), 1);
    assert!(session != 0);
    w.assert_quiet();
}

/// A session that creates an ephemeral and closes in one burst: the close sees the pending create.
#[test]
fn close_session_takes_ephemerals_along_that_are_not_durable_yet() {
    let mut w = World::new();
    let (a, b) = (w.open(0), w.open(0));
    w.burst(a, &[create_flags("/e1", 1), create_flags("/e2", 1), delete("/e1", -1), close()]);
    w.settle();
    assert_eq!(w.replies(a).iter().map(|r| r.err).collect::<Vec<_>>(), [0; 4]);
    assert_eq!(w.err(b, &exists("/e2", false)), -101);
    assert_eq!(w.gauges.ephemerals.load(Relaxed), 0);
}

/// A session lives as long as it is heard of, and at most a tick longer than its timeout after that.
#[test]
fn a_silent_session_expires_and_its_connection_closes() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(a, &create_flags("/e", 1));
    w.call(b, &exists("/e", true));
    w.pass_pinging(30_000, &[a, b]);
    assert!(!w.client(a).closed && !w.client(b).closed);
    w.take(b);
    w.pass_pinging(9_000, &[b]);
    assert!(!w.client(a).closed, "not before its timeout");
    w.pass_pinging(3_000, &[b]);
    assert!(w.client(a).closed, "and not much later");
    assert!(!w.client(b).closed);
    assert_eq!(w.events(b), [(2, "/e".to_owned())]);
    assert_eq!(w.err(b, &exists("/e", false)), -101);
    let last = *w.logged().last().unwrap();
    assert_eq!((last.1, last.2, last.3), (w.session(a), 0, -11), "a closeSession with cxid 0");
    let again = w.reattach(a, 0);
    assert_eq!(w.session(again), 0, "it is refused");
}

/// A disconnect does not end a session: it can be had back until it expires, with a timeout negotiated anew.
#[test]
fn a_session_outlives_its_connection() {
    let mut w = World::new();
    let a = w.open(0);
    w.call(a, &create_flags("/e", 1));
    w.call(a, &exists("/e", true));
    w.hang_up(a);
    w.pass(8_000);
    let b = w.reattach(a, 0);
    assert_eq!(w.session(b), w.session(a));
    assert_eq!(w.call(b, &path_only(Op::GetEphemerals, "")).strings(), ["/e"]);
    assert_eq!(w.err(b, &check_watches("/e", 3)), -121, "watches are the connection's");
    w.hang_up(b);
    w.pass(13_000);
    let c = w.reattach(b, 0);
    assert_eq!(w.session(c), 0);
    assert_eq!(w.gauges.ephemerals.load(Relaxed), 0);
}

/// The client hangs up while its session is being opened, and while requests are under way: nothing is left waiting.
#[test]
fn a_client_that_leaves_early_leaves_nothing_behind() {
    let mut w = World::with_shards(2);
    let a = w.socket(1, "127.0.0.1");
    w.send(a, &Hello::default().frame());
    w.prepare();
    w.hang_up(a);
    // Its place is taken by somebody else before the answer comes.
    let b = w.socket(1, "127.0.0.1");
    w.settle();
    assert!(w.client(b).welcome.is_none());
    assert_eq!(w.gauges.sessions.load(Relaxed), 1, "the session is there, until it expires");
    let c = w.open(0);
    w.burst(c, &[create("/1", ""), get("/1", false), path_only(Op::Sync, ""), create("/2", "")]);
    w.prepare();
    w.hang_up(c);
    assert_eq!(w.outstanding_all.load(Relaxed), 0, "nobody waits any more");
    let d = w.socket(0, "127.0.0.1");
    w.hello(d, &Hello::default());
    assert_eq!(w.err(d, &exists("/2", false)), 0, "but it was done");
    w.assert_quiet();
}

/// Two connections want the same session before either has it: the later one gets it, the other is closed.
#[test]
fn the_last_to_come_back_has_the_session() {
    let mut w = World::with_shards(2);
    let a = w.open(0);
    let session = w.session(a);
    let hello = Hello { session, password: session_password(SessionId(session)).to_vec(), ..Hello::default() };
    let (b, c) = (w.socket(0, "127.0.0.1"), w.socket(0, "127.0.0.1"));
    w.send(b, &hello.frame());
    w.send(c, &hello.frame());
    w.settle();
    assert!(w.client(a).closed && w.client(b).closed && !w.client(c).closed);
    assert_eq!(w.err(c, &create("/c", "")), 0);
    w.hang_up(c);
    assert!(w.mono >= START_MS);
}

/// A session that is open on disk at the start keeps its ephemerals and may be had back; ephemerals of one that is not are deleted
/// by a transaction before anybody asks.
#[test]
fn orphaned_ephemerals_are_deleted_at_the_start() {
    let (kept, gone) = (SessionId(0x1_0000), SessionId(0x2_0000));
    let mut loader = tree::Writer::restore(tree::Options::new((1, 2)));
    let zero = proto::stat::StatPersisted::default();
    let of = |owner| proto::stat::StatPersisted { owner, ..zero };
    let nodes = [("/", zero), ("/zookeeper", zero), ("/k", of(kept.0)), ("/g1", of(gone.0)), ("/g2", of(gone.0))];
    for (path, stat) in nodes {
        loader.node(path, Some(b""), tree::OPEN_ID, stat).unwrap();
    }
    let writer = loader.finish(proto::Zxid(50)).unwrap();
    let mut w = World::with(|o| o.restored = Some((writer, vec![(kept, 10_000)])));
    assert_eq!(w.logged(), [(51, gone.0, 0, -11)]);
    let c = w.socket(0, "127.0.0.1");
    let password = session_password(kept).to_vec();
    w.hello(c, &Hello { zxid: 50, session: kept.0, password, ..Hello::default() });
    assert_eq!(w.session(c), kept.0);
    assert_eq!(w.call(c, &children("/", false)).strings(), ["k", "zookeeper"]);
    assert_eq!(w.call(c, &path_only(Op::GetEphemerals, "/")).strings(), ["/k"]);
}

/// So many orphans that the log has no room for all of them at once: the rest follow when it has.
#[test]
fn more_orphans_than_the_log_holds_at_once_are_all_deleted() {
    let mut loader = tree::Writer::restore(tree::Options::new((1, 2)));
    let zero = proto::stat::StatPersisted::default();
    loader.node("/", Some(b""), tree::OPEN_ID, zero).unwrap();
    let name = "n".repeat(1000);
    for session in 1..=10 {
        for n in 0..1000 {
            let stat = proto::stat::StatPersisted { owner: session, ..zero };
            loader.node(&format!("/{name}-{session}-{n}"), Some(b""), tree::OPEN_ID, stat).unwrap();
        }
    }
    let writer = loader.finish(proto::Zxid(50)).unwrap();
    let w = World::with(|o| o.restored = Some((writer, Vec::new())));
    assert_eq!(w.gauges.ephemerals.load(Relaxed), 0);
    assert_eq!(w.zxid(), 60);
}

/// The list of a closeSession may be larger than the log takes; then it is left out, and whoever replays deletes all the same.
#[test]
fn a_session_with_more_ephemerals_than_a_record_holds_can_be_closed() {
    let mut w = World::with(|o| {
        o.log.payload_bytes_max = 32 << 10;
        o.sequencer.record_bytes_max = 32 << 10;
    });
    let a = w.open(0);
    let name = "n".repeat(990);
    // Just below the limit of the record, and above what the log takes.
    for n in 0..32 {
        assert_eq!(w.err(a, &create_flags(&format!("/{name}{n:02}"), 1)), 0);
    }
    assert_eq!(w.err(a, &close()), 0);
    assert_eq!(w.gauges.ephemerals.load(Relaxed), 0);
    let b = w.open(0);
    assert_eq!(w.call(b, &children("/", false)).strings(), ["zookeeper"]);
    assert_eq!(w.logged().len() as i64, w.zxid());
}
