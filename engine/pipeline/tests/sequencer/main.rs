//! The sequencer by itself: what it appends, what it releases and when, and what it does when the log refuses.
//! The semantics of each operation are tested where clients can be heard, in the member's stories.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use pipeline::message::OpenedSession;
use pipeline::{
    Answer, Body, Commit, ConnRef, Guard, Item, Now, Origin, Pulse, Sequencer, SessionTable, Settings, TxnSink,
    WriteRequest,
};
use proto::acl::RawAcl;
use proto::jute::{put_buffer, put_int, put_string, put_vector};
use proto::{Acl, Code, Encode, Id, Millis, Op, SessionId, Txn, TxnHeader, Xid, Zxid};

struct Open;

impl Guard for Open {
    fn allows(&self, _: &[Acl], _: i32, _: &[Id]) -> bool {
        true
    }

    fn fix_up(&self, acl: Option<&[RawAcl]>, _: &[Id], _: usize) -> Result<Vec<Acl>, Code> {
        acl.filter(|acl| !acl.is_empty()).map(|_| vec![Acl::open()]).ok_or(Code::InvalidAcl)
    }
}

/// A log that remembers types and digests, and refuses what is longer than it likes.
struct Shelf {
    taken: Vec<(Zxid, Op, Option<u64>)>,
    bytes_max: usize,
}

impl TxnSink for Shelf {
    fn append(&mut self, header: &TxnHeader, txn: &Txn<'_>, digest: Option<u64>) -> bool {
        let mut bytes = Vec::new();
        txn.encode(&mut bytes);
        let fits = bytes.len() <= self.bytes_max;
        if fits {
            self.taken.push((header.zxid, header.op, digest));
        }
        fits
    }
}

const S: SessionId = SessionId(7);
const HERE: ConnRef = ConnRef { shard: 0, index: 1, generation: 1 };
const ELSEWHERE: ConnRef = ConnRef { shard: 1, index: 1, generation: 1 };
const NOW: Now = Now { wall: Millis(5), mono: Millis(6) };

struct Kit {
    sequencer: Sequencer<Open>,
    log: Shelf,
}

impl Kit {
    fn new() -> Kit {
        let tree = tree::Writer::new(tree::Options::new((1, 2)));
        let settings = Settings {
            extended_types: true,
            enforce_quota: false,
            digest: true,
            close_session_txn: true,
            reconfig_enabled: false,
            length_max: 1 << 20,
            record_bytes_max: 1 << 20,
            unknown_session: Code::UnknownSession,
        };
        let sequencer = Sequencer::new(tree, SessionTable::default(), Open, settings, Zxid::ZERO);
        let mut kit = Kit { sequencer, log: Shelf { taken: Vec::new(), bytes_max: 1 << 20 } };
        kit.sequencer.open_session(S, Origin::Conn(HERE), 4000, Arc::new(Pulse::default()), NOW, &mut kit.log);
        kit
    }

    fn write(&mut self, conn: ConnRef, op: Op, body: Vec<u8>) {
        let ids: Arc<[Id]> = Vec::new().into();
        let request = WriteRequest { from: Origin::Conn(conn), session: S, xid: Xid(9), op, ids, body: body.into() };
        self.sequencer.write(&request, NOW, &mut self.log);
    }

    fn create(&mut self, path: &str, data: &[u8], flags: i32) {
        let mut body = Vec::new();
        put_string(&mut body, path);
        put_buffer(&mut body, Some(data));
        put_vector(&mut body, &[Acl::open()]);
        put_int(&mut body, flags);
        self.write(HERE, Op::Create, body);
    }

    /// What is released when `zxid` is final, in short.
    fn committed(&mut self, zxid: i64) -> Vec<String> {
        let mut items = Vec::new();
        self.sequencer.committed(Zxid(zxid), &mut items);
        items.iter().map(short).collect()
    }
}

fn short(item: &Item) -> String {
    let answer = |answer: &Answer| match &answer.body {
        Body::Path(path) => format!("{:?} {path}", answer.code),
        Body::Strings(strings) => strings.join(","),
        Body::Session(opened) => format!("session {}", opened.is_some()),
        _ => format!("{:?}", answer.code),
    };
    match item {
        Item::Commit(Commit { zxid, changes, answer: waits, closing }) => {
            let closing = closing.map(|conn| format!(" closing {}", conn.shard)).unwrap_or_default();
            format!("{} {} changes{closing}: {}", zxid.0, changes.len(), waits.as_ref().map(answer).unwrap_or_default())
        }
        Item::Answer(waits) => format!("at {}: {}", waits.zxid.0, answer(waits)),
        Item::Close(conn) => format!("close {}", conn.shard),
        Item::Serve(_) | Item::Tree(_) => unreachable!("only members of an ensemble say so"),
    }
}

#[test]
fn items_are_released_in_order_and_only_when_what_precedes_them_is_final() {
    let mut kit = Kit::new();
    kit.create("/a", b"", 0);
    kit.sequencer.answer(HERE, Xid(2), Body::Strings(vec!["first".into()]));
    kit.create("/a", b"", 0);
    kit.sequencer.answer(HERE, Xid(4), Body::Strings(vec!["second".into()]));
    assert_eq!((kit.sequencer.prepared(), kit.sequencer.in_flight()), (Zxid(3), 3));
    assert!(kit.committed(0).is_empty());
    assert_eq!(kit.committed(2), ["1 0 changes: session true", "2 1 changes: Ok /a", "at 2: first"]);
    assert!(kit.committed(2).is_empty(), "once");
    assert_eq!(kit.committed(3), ["3 0 changes: NodeExists", "at 3: second"]);
    kit.sequencer.answer(HERE, Xid(5), Body::None);
    assert_eq!(kit.committed(3), ["at 3: Ok"], "nothing is under way");
    let ops: Vec<Op> = kit.log.taken.iter().map(|taken| taken.1).collect();
    assert_eq!(ops, [Op::CreateSession, Op::Create, Op::Error]);
}

#[test]
#[should_panic(expected = "only what was prepared can be committed")]
fn nothing_is_final_that_was_not_prepared() {
    Kit::new().committed(2);
}

#[test]
fn what_the_log_refuses_fails_and_is_taken_back() {
    let mut kit = Kit::new();
    kit.log.bytes_max = 100;
    let digest = kit.sequencer.tree().digest();
    kit.create("/long", &[b'x'; 100], 0);
    assert!(kit.sequencer.tree().node("/long").is_none());
    assert_eq!(kit.sequencer.tree().digest(), digest);
    kit.create("/short", b"", 0);
    assert_eq!(kit.committed(3)[1..], ["2 0 changes: MarshallingError", "3 1 changes: Ok /short"]);
    assert_eq!(kit.log.taken[1], (Zxid(2), Op::Error, Some(digest)));
}

#[test]
fn a_session_whose_list_the_log_refuses_is_closed_without_it() {
    let mut kit = Kit::new();
    for n in 0..10 {
        kit.create(&format!("/ephemeral-{n}"), b"", 1);
    }
    kit.log.bytes_max = 60;
    kit.sequencer.close_session(S, None, NOW, &mut kit.log);
    assert_eq!(kit.sequencer.tree().ephemeral_count(), 0);
    assert_eq!(kit.committed(12).last().unwrap(), "12 10 changes closing 0: ");
    assert_eq!(kit.log.taken.last().map(|taken| (taken.0, taken.1)), Some((Zxid(12), Op::CloseSession)));
    assert!(kit.sequencer.sessions().is_empty());
}

#[test]
fn a_connection_that_lost_its_session_is_closed_and_writes_nothing() {
    let mut kit = Kit::new();
    let opened = || OpenedSession { session: S, timeout_ms: 4000, pulse: Arc::new(Pulse::default()) };
    kit.sequencer.attach_session(opened(), ELSEWHERE);
    kit.create("/late", b"", 0);
    kit.write(HERE, Op::CloseSession, Vec::new());
    // Coming back on the same connection again evicts nobody.
    kit.sequencer.attach_session(opened(), ELSEWHERE);
    let expected =
        ["1 0 changes: session true", "close 0", "at 1: session true", "close 0", "close 0", "at 1: session true"];
    assert_eq!(kit.committed(1), expected);
    assert_eq!(kit.log.taken.len(), 1);
    assert_eq!(kit.sequencer.sessions().len(), 1, "the session goes on");
}

#[test]
fn the_digest_history_has_every_128th() {
    let mut kit = Kit::new();
    for n in 0..300 {
        kit.create(&format!("/n{n}"), b"", 0);
    }
    let kept: Vec<i64> = kit.sequencer.digests().map(|at| at.zxid.0).collect();
    assert_eq!(kept, [128, 256]);
    let logged = kit.log.taken[127].2;
    assert_eq!(kit.sequencer.digests().next().map(|at| at.digest), logged);
}

#[test]
fn a_snapshot_point_is_between_two_transactions() {
    let mut kit = Kit::new();
    kit.create("/a", b"", 0);
    let point = kit.sequencer.snapshot_point();
    assert_eq!((point.zxid, point.digest), (Zxid(2), kit.sequencer.tree().digest()));
    assert_eq!(point.sessions, [(S, 4000)]);
}

/// The reaper's deletions are checked again when their turn comes; one that may not be done is no transaction.
#[test]
fn only_what_may_be_reaped_is_reaped() {
    let mut kit = Kit::new();
    kit.create("/p", b"", 0);
    kit.create("/p/k", b"", 0);
    kit.create("/e", b"", 1);
    for path in ["/p", "/e", "/none", "/zookeeper/quota", "nope"] {
        kit.sequencer.reap(path, NOW, &mut kit.log);
    }
    assert_eq!(kit.sequencer.prepared(), Zxid(4));
    kit.sequencer.reap("/p/k", NOW, &mut kit.log);
    assert_eq!(kit.committed(5).last().unwrap(), "5 1 changes: ");
}

/// A learner beside the leader of these tests: the same transactions, from outside.
struct Learner(Sequencer<Open>);

impl Learner {
    fn new() -> Learner {
        Learner(Kit::new().sequencer)
    }

    fn take(&mut self, zxid: i64, op: Op, txn: &Txn<'_>, waiting: Option<pipeline::Waiting>) {
        let header = TxnHeader { session: S, cxid: Xid(9), zxid: Zxid(zxid), time: NOW.wall, op };
        assert!(self.0.replicate(&header, txn, None, waiting));
    }

    fn create(&mut self, zxid: i64, path: &str, waiting: Option<pipeline::Waiting>) {
        let (acl, data) = (vec![Acl::open()].into(), Some(b"".as_slice().into()));
        let txn = Txn::Create { path: path.into(), data, acl, ephemeral: false, parent_cversion: 1 };
        self.take(zxid, Op::Create, &txn, waiting);
    }

    fn committed(&mut self, zxid: i64) -> Vec<String> {
        let mut items = Vec::new();
        self.0.committed(Zxid(zxid), &mut items);
        items.iter().map(short).collect()
    }
}

fn waits() -> Option<pipeline::Waiting> {
    Some(pipeline::Waiting { conn: HERE, xid: Xid(9), answer: None })
}

#[test]
fn a_learner_answers_from_the_leaders_transactions_when_they_are_final() {
    let mut learner = Learner::new();
    learner.create(2, "/a", waits());
    learner.take(3, Op::Error, &Txn::error(Code::NodeExists), waits());
    learner.take(4, Op::Error, &Txn::error(Code::SessionMoved), waits());
    learner.create(5, "/b", None);
    assert_eq!(learner.committed(2), ["1 0 changes: session true", "2 1 changes: Ok /a"]);
    assert_eq!(learner.committed(4), ["3 0 changes: NodeExists", "4 0 changes closing 0: "]);
    assert_eq!(learner.committed(5), ["5 1 changes: "]);
}

#[test]
fn what_another_leader_does_not_have_is_taken_back_with_its_sessions() {
    let mut learner = Learner::new();
    learner.create(2, "/a", None);
    learner.committed(2);
    let digest = learner.0.tree().digest();
    learner.create(3, "/b", waits());
    let other = SessionId(8);
    let header = TxnHeader { session: other, cxid: Xid(0), zxid: Zxid(4), time: NOW.wall, op: Op::CreateSession };
    learner.0.replicate(&header, &Txn::CreateSession { timeout_ms: 5000 }, None, None);
    learner.take(5, Op::CloseSession, &Txn::CloseSession { paths: Some(Vec::new()) }, None);
    assert_eq!(learner.0.sessions().settled(), [(S, 4000)], "as of what is final");
    assert!(learner.0.sessions().get(S).is_none() && learner.0.sessions().get(other).is_some());
    assert_eq!(learner.0.in_flight(), 3);
    learner.0.rollback(Zxid(2));
    assert_eq!((learner.0.tree().digest(), learner.0.in_flight()), (digest, 0));
    assert!(learner.0.sessions().get(S).is_some() && learner.0.sessions().get(other).is_none());
    let next = Zxid::new(1, 1);
    learner.create(next.0, "/c", waits());
    assert_eq!(learner.committed(next.0), [format!("{} 1 changes: Ok /c", next.0)]);
}

#[test]
fn an_epoch_begins_behind_what_is_final_and_shows() {
    let mut learner = Learner::new();
    learner.create(2, "/a", None);
    let mut items = Vec::new();
    let first = Zxid::new(3, 0);
    learner.0.begin_epoch(first, &mut items);
    let items: Vec<String> = items.iter().map(short).collect();
    assert_eq!(items, ["1 0 changes: session true".into(), "2 1 changes: ".into(), format!("{} 0 changes: ", first.0)]);
    assert_eq!((learner.0.prepared(), learner.0.committed_zxid(), learner.0.tree().committed()), (first, first, first));
}
