//! Sessions that only one member knows: what they cost, what they may do, and how they become the ensemble's.

use std::sync::atomic::Ordering::Relaxed;

use member::ensemble::Parts;
use member::{LocalSessions, Mode};
use proto::connect::session_password;
use proto::{Code, Encode, Op, SessionId, Sid, Txn, TxnHeader, Xid, Zxid};
use quorum::replica::{Forwarded, Replica, Role};

use crate::ensemble::{THREE, parts};
use crate::wire::*;
use crate::world::{C, World};

const EPHEMERAL: i32 = 1;

/// Alone in its ensemble, it leads.
fn leader(local_sessions: LocalSessions) -> World {
    let mut w = World::with(|o| {
        o.shards = 2;
        o.sequencer.unknown_session = Code::SessionExpired;
        o.ensemble = Some(Parts { local_sessions, ..parts("server.1=a:2888:3888\n") });
    });
    (0..10).for_each(|_| w.pass(100));
    assert_eq!(w.stage.mode(), Some(Mode::Leading), "{:?}", w.stage.peer_failed());
    w
}

/// One of three that learns; the test speaks for its leader, and nobody hears what it asks.
pub struct Learner {
    pub world: World,
    last: Zxid,
}

impl Learner {
    pub fn new(local_sessions: LocalSessions) -> Learner {
        let mut world = World::with(|o| o.ensemble = Some(Parts { local_sessions, ..parts(THREE) }));
        let now = world.now();
        world.stage.serve(Role::Follower, now);
        world.settle();
        Learner { world, last: Zxid(0) }
    }

    /// The leader makes a transaction.
    pub fn proposed(&mut self, session: i64, cxid: i32, op: Op, txn: &Txn<'_>) {
        self.last = self.last.next();
        let now = self.world.now();
        let header = TxnHeader { session: SessionId(session), cxid: Xid(cxid), zxid: self.last, time: now.wall, op };
        let mut payload = Vec::new();
        header.encode(&mut payload);
        txn.encode(&mut payload);
        self.world.stage.propose(self.last, &payload, now).unwrap();
    }

    pub fn committed(&mut self) {
        let now = self.world.now();
        self.world.stage.commit(self.last, now);
        self.world.settle();
    }

    /// Both, for a znode.
    pub fn created(&mut self, session: i64, cxid: i32, path: &str, ephemeral: bool) {
        let txn = Txn::Create { path: path.into(), data: None, acl: open_acl().into(), ephemeral, parent_cversion: 1 };
        self.proposed(session, cxid, Op::Create, &txn);
        self.committed();
    }
}

/// Sessions of the member alone, and of its ensemble, as the words count them.
fn counts(w: &mut World) -> (u64, u64) {
    w.settle();
    (w.gauges.local_sessions.load(Relaxed), w.gauges.sessions.load(Relaxed))
}

fn is_refused(w: &mut World, c: C) -> bool {
    w.client(c).welcome.as_ref().is_some_and(|welcome| welcome.session == 0) && w.client(c).closed
}

#[test]
fn five_thousand_sessions_come_and_go_without_a_byte_in_the_log() {
    let mut w = leader(LocalSessions::Upgraded);
    let clients: Vec<C> = (0..5_000).map(|n| w.open(n % 2)).collect();
    assert_eq!(counts(&mut w), (5_000, 0));
    let written = w.stage.log().written_bytes();
    for c in &clients[..2_500] {
        assert_eq!(w.call(*c, &exists("/", false)).err, 0);
        assert_eq!(w.err(*c, &close()), 0);
        assert!(w.client(*c).closed);
    }
    clients[2_500..].iter().for_each(|c| w.hang_up(*c));
    w.pass(20_000);
    assert_eq!(counts(&mut w), (0, 0));
    assert_eq!((w.logged(), w.stage.log().written_bytes()), (Vec::new(), written));
    w.assert_quiet();
}

#[test]
fn a_local_session_writes_and_only_its_writes_are_transactions() {
    let mut w = leader(LocalSessions::On);
    let c = w.open(0);
    let session = w.session(c);
    assert_eq!(session >> 56, 1);
    assert_eq!(w.client(c).welcome.as_ref().unwrap().password, session_password(SessionId(session)));
    assert_eq!(w.err(c, &create("/a", "x")), 0);
    assert_eq!(w.call(c, &get("/a", true)).data(), "x");
    assert_eq!(w.err(c, &set("/a", "y", 0)), 0);
    assert_eq!(w.err(c, &path_only(Op::Sync, "/")), 0);
    assert_eq!(w.call(c, &path_only(Op::GetEphemerals, "/")).strings(), [""; 0]);
    // What a client asked for before its end is answered before it.
    let expected = [w.ask(c, &set("/a", "z", 1)), w.ask(c, &get("/a", false)), w.ask(c, &close())];
    w.settle();
    let replies = w.replies(c);
    let xids: Vec<i32> = replies[replies.len() - 3..].iter().map(|reply| reply.xid).collect();
    assert_eq!(xids, expected);
    assert!(w.client(c).closed && replies.iter().all(|reply| reply.err == 0));
    let ops: Vec<i32> = w.logged().iter().map(|entry| entry.3).collect();
    assert_eq!(ops, [Op::Create, Op::SetData, Op::SetData].map(Op::as_i32));
    let again = w.reattach(c, 0);
    assert!(is_refused(&mut w, again), "it has ended");
    w.assert_quiet();
}

#[test]
fn without_upgrades_a_local_session_has_no_ephemerals() {
    let mut w = leader(LocalSessions::On);
    let c = w.open(0);
    let refused = Code::EphemeralOnLocalSession.as_i32();
    assert_eq!(w.err(c, &create_flags("/a", EPHEMERAL)), refused);
    assert_eq!(w.err(c, &create_as(Op::Create2, "/none/a", None, &open_acl(), 3)), refused, "asked before the path");
    assert_eq!(w.err(c, &create_flags("/a", 9)), Code::BadArguments.as_i32(), "there is no such mode");
    let reply = w.call(c, &multi(&[create("/b", ""), create_flags("/c", EPHEMERAL), create("/d", "")]));
    let codes = [Code::Ok, Code::EphemeralOnLocalSession, Code::RuntimeInconsistency];
    assert_eq!(reply.members(), codes.map(|code| Member::Error(code.as_i32())));
    assert_eq!(w.err(c, &create_as(Op::CreateContainer, "/container", None, &open_acl(), 4)), 0);
    assert_eq!(w.err(c, &exists("/b", false)), Code::NoNode.as_i32());
    assert_eq!(counts(&mut w), (1, 0));
    let logged = w.logged();
    assert_eq!(logged.len(), 5, "as in Java, what was refused is a transaction too: {logged:?}");
    assert!(logged.iter().all(|entry| entry.3 != Op::CreateSession.as_i32()));
}

#[test]
fn a_session_that_wants_an_ephemeral_becomes_the_ensembles_first() {
    let mut w = leader(LocalSessions::Upgraded);
    let c = w.open(0);
    let session = w.session(c);
    w.burst(c, &[create("/a", ""), create_flags("/a/e", EPHEMERAL), set("/a", "x", 0), get("/a", false)]);
    w.settle();
    let replies = w.replies(c);
    assert_eq!(replies.iter().map(|reply| reply.err).collect::<Vec<_>>(), [0; 4]);
    let ops = [Op::Create, Op::CreateSession, Op::Create, Op::SetData].map(Op::as_i32);
    let logged = w.logged();
    assert_eq!(logged.iter().map(|entry| entry.3).collect::<Vec<_>>(), ops);
    assert!(logged.iter().all(|entry| entry.1 == session));
    assert_eq!(logged[1].2, 0, "no request of the client's");
    assert_eq!(counts(&mut w), (0, 1));
    assert_eq!(w.call(c, &exists("/a/e", false)).stat().ephemeral_owner, SessionId(session));

    // It lives by its pulse, is the ensemble's to be taken up again, and its end is a transaction.
    w.pass_pinging(30_000, &[c]);
    let again = w.reattach(c, 1);
    assert_eq!(w.session(again), session);
    assert!(w.client(c).closed);
    assert_eq!(w.err(again, &create_flags("/a/f", EPHEMERAL)), 0);
    w.hang_up(again);
    w.pass(20_000);
    let other = w.open(0);
    assert_eq!(w.call(other, &children("/a", false)).strings(), [""; 0]);
    assert_eq!(w.logged().last().unwrap().3, Op::CloseSession.as_i32());
    assert_eq!(counts(&mut w), (1, 0));
}

#[test]
fn a_multi_with_an_ephemeral_brings_an_upgrade_and_one_without_does_not() {
    let mut w = leader(LocalSessions::Upgraded);
    let c = w.open(0);
    assert_eq!(w.call(c, &multi(&[create("/a", ""), set("/a", "x", 0)])).members().len(), 2);
    assert_eq!(counts(&mut w), (1, 0));
    let ephemeral = create_as(Op::Create2, "/a/e", None, &open_acl(), EPHEMERAL);
    // A multi that fails does so after the upgrade, as in Java.
    assert_eq!(w.call(c, &multi(&[check("/a", 7), ephemeral])).members()[0], Member::Error(Code::BadVersion.as_i32()));
    assert_eq!(counts(&mut w), (0, 1));
    let ops: Vec<i32> = w.logged().iter().map(|entry| entry.3).collect();
    assert_eq!(ops, [Op::Multi, Op::CreateSession, Op::Multi].map(Op::as_i32));
}

#[test]
fn a_local_session_can_be_taken_up_again_until_it_expires() {
    let mut w = leader(LocalSessions::On);
    let first = w.open(0);
    let second = w.reattach(first, 1);
    assert_eq!(w.session(second), w.session(first));
    assert!(w.client(first).closed, "a session has one connection");
    assert_eq!(w.err(second, &create("/a", "")), 0);
    let stranger = w.socket(0, "127.0.0.1");
    let session = w.session(second);
    w.hello(stranger, &Hello { session, password: vec![1; 16], ..Hello::default() });
    assert!(is_refused(&mut w, stranger) && !w.client(second).closed, "a wrong password");

    w.pass_pinging(30_000, &[second]);
    assert_eq!(w.err(second, &set("/a", "x", 0)), 0);
    let report = w.stage.report();
    let shown: Vec<_> = report.local.unwrap().into_iter().flat_map(|(_, sessions)| sessions).collect();
    assert_eq!((shown, report.buckets), (vec![(SessionId(session), 10_000)], Vec::new()));
    w.pass(20_000);
    assert!(w.client(second).closed, "it was not heard of");
    let late = w.reattach(second, 0);
    assert!(is_refused(&mut w, late));
    assert_eq!(w.logged().len(), 2);
}

/// What the old connection had sent when the session was taken up again is not done.
#[test]
fn requests_of_a_connection_that_lost_its_local_session_close_it() {
    let mut w = leader(LocalSessions::On);
    let old = w.open(1);
    let session = w.session(old);
    let new = w.socket(0, "127.0.0.1");
    let password = session_password(SessionId(session)).to_vec();
    w.ask(old, &create("/late", ""));
    // What comes from shard 0 is looked at first.
    w.send(new, &Hello { session, password, ..Hello::default() }.frame());
    w.settle();
    assert_eq!(w.session(new), session);
    assert!(w.client(old).closed);
    assert_eq!(w.err(new, &exists("/late", false)), Code::NoNode.as_i32());
}

#[test]
fn a_leader_takes_writes_of_sessions_that_may_be_local_to_a_learner() {
    let theirs = SessionId(0x0200_0000_0000_0001);
    let ours = SessionId(0x0100_0000_0000_0001);
    let request = |session, xid, op, request: &Req| Forwarded {
        session,
        xid: Xid(xid),
        op,
        ids: Vec::new(),
        body: frame(xid, request)[12..].to_vec(),
    };
    let outcomes = |local_sessions| {
        let mut w = leader(local_sessions);
        let now = w.now();
        for (xid, session) in [(1, theirs), (2, ours)] {
            w.stage.forwarded(Sid(2), request(session, xid, Op::Create, &create(&format!("/{xid}"), "")), now);
        }
        let ephemeral = create_flags("/e", EPHEMERAL);
        w.stage.forwarded(Sid(2), request(theirs, 3, Op::Create, &ephemeral), now);
        // An upgrade is a session like any other.
        let timeout_ms = 10_000i32.to_be_bytes().to_vec();
        let create_session = Forwarded { body: timeout_ms, ..request(theirs, 0, Op::CreateSession, &ping()) };
        w.stage.forwarded(Sid(2), create_session, now);
        w.stage.forwarded(Sid(2), request(theirs, 4, Op::Create, &ephemeral), now);
        w.settle();
        assert_eq!(counts(&mut w), (0, 1));
        let mut outcomes = Vec::new();
        w.replay(|record| outcomes.push(if let Txn::Error { err } = record.txn { err } else { 0 }));
        outcomes
    };
    let expired = Code::SessionExpired.as_i32();
    assert_eq!(outcomes(LocalSessions::On), [0, expired, expired, 0, 0]);
    assert_eq!(outcomes(LocalSessions::Off), [expired, expired, expired, 0, 0]);
}

#[test]
fn a_session_that_is_local_to_the_leader_is_nobody_elses() {
    let mut w = leader(LocalSessions::Upgraded);
    let c = w.open(0);
    let (session, now) = (SessionId(w.session(c)), w.now());
    assert!(!w.stage.revalidate(Sid(2), session, 10_000, now));
    assert_eq!(w.err(c, &create_flags("/e", EPHEMERAL)), 0);
    assert!(w.stage.revalidate(Sid(2), session, 10_000, now));
    w.settle();
    assert!(w.client(c).closed, "it has moved");
}

#[test]
fn a_learners_session_is_upgraded_by_the_leader_and_nothing_overtakes_that() {
    let mut l = Learner::new(LocalSessions::Upgraded);
    let c = l.world.open(0);
    let session = l.world.session(c);
    assert_eq!(counts(&mut l.world), (1, 0));
    let create_xid = l.world.ask(c, &create_flags("/e", EPHEMERAL));
    l.world.ask(c, &exists("/e", false));
    assert_eq!(counts(&mut l.world), (0, 0), "on its way");

    // Its client comes back meanwhile, and waits for the outcome.
    let again = l.world.reattach(c, 0);
    assert!(l.world.client(again).welcome.is_none() && !l.world.client(again).closed);
    l.proposed(session, 0, Op::CreateSession, &Txn::CreateSession { timeout_ms: 10_000 });
    l.committed();
    assert_eq!(counts(&mut l.world), (0, 1));
    l.created(session, create_xid, "/e", true);
    let replies = l.world.replies(c);
    assert_eq!(replies.iter().map(|reply| reply.err).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(replies[1].stat().ephemeral_owner, SessionId(session));

    // The leader is told that it is alive, and is asked before it is taken up.
    assert_eq!(l.world.stage.take_touched(), [(SessionId(session), 10_000)]);
    assert!(l.world.client(again).welcome.is_none());
    let now = l.world.now();
    l.world.stage.revalidated(SessionId(session), true, now);
    l.world.settle();
    assert_eq!(l.world.session(again), session);
    assert!(l.world.client(c).closed);
}

#[test]
fn what_a_learner_refuses_is_in_its_place_among_the_answers() {
    let mut l = Learner::new(LocalSessions::On);
    let c = l.world.open(0);
    let session = l.world.session(c);
    let first = l.world.ask(c, &create("/a", ""));
    let second = l.world.ask(c, &create_flags("/e", EPHEMERAL));
    l.world.ask(c, &exists("/a", false));
    l.world.settle();
    assert!(l.world.replies(c).is_empty());
    l.created(session, first, "/a", false);
    l.proposed(session, second, Op::Error, &Txn::error(Code::SessionExpired));
    l.committed();
    let errs: Vec<i32> = l.world.replies(c).iter().map(|reply| reply.err).collect();
    assert_eq!(errs, [0, Code::EphemeralOnLocalSession.as_i32(), 0]);
    assert!(l.world.stage.take_touched().is_empty(), "the leader does not know the session");
    assert_eq!(counts(&mut l.world), (1, 0));
}

#[test]
fn a_learners_local_session_ends_behind_all_that_it_asked_for() {
    let mut l = Learner::new(LocalSessions::On);
    let c = l.world.open(0);
    let session = l.world.session(c);
    let first = l.world.ask(c, &create("/a", ""));
    l.world.ask(c, &close());
    l.world.settle();
    assert_eq!(counts(&mut l.world), (0, 0));
    assert!(l.world.replies(c).is_empty() && !l.world.client(c).closed);
    l.created(session, first, "/a", false);
    assert_eq!(l.world.replies(c).len(), 1);
    // The leader's word that it has sent everything.
    l.world.stage.synced();
    l.world.settle();
    assert_eq!(l.world.replies(c).len(), 1);
    assert!(l.world.client(c).closed);

    // With nothing under way it needs no leader.
    let c = l.world.open(0);
    assert_eq!(l.world.err(c, &close()), 0);
    assert!(l.world.client(c).closed);
}

#[test]
fn local_sessions_end_with_the_members_role() {
    let mut l = Learner::new(LocalSessions::Upgraded);
    let (kept, upgrading) = (l.world.open(0), l.world.open(0));
    l.world.ask(upgrading, &create_flags("/e", EPHEMERAL));
    let now = l.world.now();
    l.world.stage.stop_serving(now);
    l.world.settle();
    assert!(l.world.client(kept).closed && l.world.client(upgrading).closed);
    l.world.stage.serve(Role::Follower, now);
    l.world.settle();
    for c in [kept, upgrading] {
        let again = l.world.reattach(c, 0);
        assert!(l.world.client(again).welcome.is_none(), "the leader is asked");
        let session = SessionId(l.world.session(c));
        l.world.stage.revalidated(session, false, now);
        l.world.settle();
        assert!(is_refused(&mut l.world, again));
    }
    assert_eq!(counts(&mut l.world), (0, 0));
}

/// A leader whose log has ten large transactions to write, the last of them with so many bytes.
fn nearly_full(last_bytes: usize) -> World {
    let mut w = leader(LocalSessions::Upgraded);
    let c = w.open(1);
    assert_eq!(w.err(c, &create("/a", "")), 0);
    for bytes in [1_000_000; 9].into_iter().chain([last_bytes]) {
        w.ask(c, &set("/a", &"x".repeat(bytes), -1));
    }
    while w.prepare() {}
    assert_eq!(w.stage.log().appended().counter(), 11);
    w
}

/// The log has room for the createSession, and no more: the request that brought it about waits, and so does what comes behind it.
#[test]
fn a_request_that_finds_no_room_behind_its_sessions_upgrade_waits_for_it() {
    let (mut fits, mut fills) = (0, 1_000_000);
    while fills - fits > 1 {
        let bytes = (fits + fills) / 2;
        if nearly_full(bytes).stage.log().can_accept(1) { fits = bytes } else { fills = bytes }
    }
    let mut w = nearly_full(fits);
    let c = w.socket(0, "127.0.0.1");
    w.send(c, &Hello::default().frame());
    while w.prepare() {}
    w.pump_all();
    let xids =
        [create_flags("/e", EPHEMERAL), set("/a", "y", -1), exists("/e", false)].map(|request| w.ask(c, &request));
    w.prepare();
    assert_eq!(w.stage.log().appended().counter(), 12, "the createSession alone");
    assert!(w.stage.is_busy());
    w.settle();
    let replies = w.replies(c);
    assert_eq!(replies.iter().map(|reply| (reply.xid, reply.err)).collect::<Vec<_>>(), xids.map(|xid| (xid, 0)));
    let ops: Vec<i32> = w.logged().iter().map(|entry| entry.3).collect();
    assert_eq!(ops[11..], [Op::CreateSession, Op::Create, Op::SetData].map(Op::as_i32));
    w.assert_quiet();
}
