//! The sequencer of a learner: transactions that a leader has ordered are applied to the tree's future as they come, and become
//! final, or are taken back, by the leader's word.

use proto::{Code, Op, Txn, TxnHeader, Xid, Zxid};
use tree::{Applied, Writer};

use crate::guard::Guard;
use crate::message::{Answer, Body, Changes, Commit, ConnRef, Item, MemberResult, Origin};
use crate::sequencer::Sequencer;
use crate::session_table::{Session, SessionTable};

/// Who waits on this server for a transaction of the leader's.
#[derive(Debug)]
pub struct Waiting {
    /// The connection.
    pub conn: ConnRef,
    /// Its number for the request.
    pub xid: Xid,
    /// The answer, where it is not the transaction's: a session that was opened, or what this server refused itself.
    pub answer: Option<(Code, Body)>,
}

impl<G: Guard> Sequencer<G> {
    /// Applies the next transaction of the leader's history. `digest` is what the leader says the tree's digest is after it. True
    /// unless the tree's own is another one.
    pub fn replicate(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<u64>,
        waiting: Option<Waiting>,
    ) -> bool {
        let zxid = header.zxid;
        let applied = self.tree.apply(header, txn);
        let mut closing = None;
        match txn {
            Txn::CreateSession { timeout_ms } => {
                let owner = waiting.as_ref().map(|waiting| Origin::Conn(waiting.conn));
                self.sessions.open(zxid, header.session, Session { timeout_ms: *timeout_ms, owner });
            }
            Txn::CloseSession { .. } => {
                let session = self.sessions.close(zxid, header.session);
                closing = session.and_then(|session| session.owner).and_then(Origin::conn);
            }
            _ => {}
        }
        self.prepared = zxid;
        let own = self.has_digests().then(|| self.tree.digest());
        self.remember_digest(zxid, own);
        let mut changes = Changes::default();
        let answer = waiting.map(|waiting| {
            let (code, body) = waiting.answer.unwrap_or_else(|| answer(header.op, txn, &applied));
            Answer { conn: waiting.conn, xid: waiting.xid, zxid, code, body }
        });
        changes.extend(applied.changes);
        // A connection that speaks for a session that has moved is not answered (client-protocol.md §9).
        let moved = answer.as_ref().filter(|answer| answer.code == Code::SessionMoved).map(|answer| answer.conn);
        let answer = answer.filter(|_| moved.is_none());
        self.push(Item::Commit(Commit { zxid, changes, closing: closing.or(moved), answer }));
        own.is_none() || digest.is_none() || own == digest
    }

    /// An answer that the leader gave a learner behind everything up to `zxid`, and ahead of what is not final then: a later
    /// request of the same connection may have been proposed already.
    pub fn answer_behind(&mut self, zxid: Zxid, conn: ConnRef, xid: Xid, body: Body) {
        let same = |item: &Item| matches!(item, Item::Answer(answer) if answer.conn == conn);
        let answered = self.pending.iter().rposition(|(_, item)| same(item)).map_or(0, |at| at + 1);
        let at = self.pending.partition_point(|(behind, _)| *behind <= zxid).max(answered);
        let zxid = at.checked_sub(1).map_or(zxid, |before| self.pending[before].0.max(zxid));
        self.pending.insert(at, (zxid, Item::Answer(Answer { conn, xid, zxid, code: Code::Ok, body })));
    }

    /// An epoch begins: `zxid` is its first, which names no transaction. Everything before it is final.
    pub fn begin_epoch(&mut self, zxid: Zxid, out: &mut Vec<Item>) {
        assert!(zxid > self.prepared, "epochs grow: {zxid} <= {}", self.prepared);
        self.committed(self.prepared, out);
        self.prepared = zxid;
        self.push(Item::Commit(Commit { zxid, changes: Changes::default(), closing: None, answer: None }));
        self.committed(zxid, out);
    }

    /// Takes back every transaction after `to`.
    ///
    /// # Panics
    /// If one of them is final.
    pub fn rollback(&mut self, to: Zxid) {
        assert!(to >= self.committed, "what is final is not taken back");
        self.tree.rollback(to);
        self.sessions.rollback(to);
        self.forget_digests(to);
        while let Some((_, item)) = self.pending.pop_back_if(|(behind, _)| *behind > to) {
            self.in_flight -= i64::from(matches!(item, Item::Commit(_)));
        }
        self.prepared = to;
    }

    /// Goes on with another tree and other sessions, everything up to `last` being final. What was not final is forgotten.
    pub fn replace(&mut self, tree: Writer, sessions: SessionTable, last: Zxid) {
        self.tree = tree;
        self.sessions = sessions;
        self.pending.clear();
        self.in_flight = 0;
        self.prepared = last;
        self.committed = last;
        self.forget_digests(Zxid::ZERO);
    }

    /// Nobody speaks for any session any more.
    pub fn forget_owners(&mut self) {
        self.sessions.forget_owners();
    }

    /// Sets the configuration's znode to what this server knows, which no transaction says: at a start, or when a leader's history brought it.
    pub fn show_config(&mut self, text: &str, version: Zxid, time: proto::Millis) {
        let (session, cxid) = (proto::SessionId::NONE, Xid(0));
        let header = TxnHeader { session, cxid, zxid: version.min(self.tree.tip()), time, op: Op::Reconfig };
        let data = Some(text.as_bytes().into());
        self.tree.apply(&header, &Txn::SetData { path: "/zookeeper/config".into(), data, version: -1 });
        if self.prepared == self.committed {
            self.tree.commit(self.committed);
        }
    }

    /// A session belongs to a learner from now on; the connection that had it here is closed.
    pub fn move_session(&mut self, session: proto::SessionId, to: Origin) {
        let owner = self.sessions.get_mut(session).map(|session| &mut session.owner);
        if let Some(old) = owner.and_then(|owner| owner.replace(to)).and_then(Origin::conn) {
            self.push(Item::Close(old));
        }
    }
}

/// What the client of a transaction hears, from the transaction alone.
fn answer(op: Op, txn: &Txn<'_>, applied: &Applied) -> (Code, Body) {
    if let Txn::Error { err } = txn {
        return (Code::from_i32(*err).unwrap_or(Code::RuntimeInconsistency), Body::None);
    }
    if let Txn::Multi { members } = txn {
        let failed = txn.is_error();
        let results = members.iter().zip(applied.outcomes.iter()).map(|((op, member), outcome)| match member {
            _ if failed => MemberResult::Error(Code::from_i32(outcome.err).unwrap_or(Code::RuntimeInconsistency)),
            member => result(*op, member, outcome.stat),
        });
        return (Code::Ok, Body::Multi(results.collect()));
    }
    let outcome = applied.outcomes.first();
    if let (Op::Reconfig, Txn::SetData { data: Some(data), .. }) = (op, txn)
        && let Some(stat) = outcome.and_then(|outcome| outcome.stat)
    {
        return (Code::Ok, Body::Data(data.as_ref().into(), stat));
    }
    match result(op, txn, outcome.and_then(|outcome| outcome.stat)) {
        MemberResult::Path(path) => (Code::Ok, Body::Path(path)),
        MemberResult::PathStat(path, stat) => (Code::Ok, Body::PathStat(path, stat)),
        MemberResult::Stat(stat) => (Code::Ok, Body::Stat(stat)),
        MemberResult::Deleted | MemberResult::Checked => (Code::Ok, Body::None),
        MemberResult::Error(code) => (code, Body::None),
    }
}

fn result(op: Op, txn: &Txn<'_>, stat: Option<proto::Stat>) -> MemberResult {
    let missing = MemberResult::Error(Code::RuntimeInconsistency);
    match txn {
        Txn::Create { path, .. } if op == Op::Create => MemberResult::Path(path.as_ref().into()),
        Txn::Create { path, .. } | Txn::CreateContainer { path, .. } | Txn::CreateTtl { path, .. } => {
            stat.map_or(missing, |stat| MemberResult::PathStat(path.as_ref().into(), stat))
        }
        Txn::SetData { .. } | Txn::SetAcl { .. } => stat.map_or(missing, MemberResult::Stat),
        Txn::Check { .. } => MemberResult::Checked,
        _ => MemberResult::Deleted,
    }
}
