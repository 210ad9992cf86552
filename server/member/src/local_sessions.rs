//! Local sessions (client-protocol.md §18): with `localSessionsEnabled`, every new session is one that only the member knows to which
//! its client is connected.
//!
//! ```text
//!   Open ──────────▶ own ────── ephemeral wanted ──────▶ createSession, then the request: the ensemble's
//!   closeSession, expiry, another role ──▶ gone          or refused, without localSessionsUpgradingEnabled
//! ```
//!
//! What always holds: a session is this member's own, or on its way to the ensemble, or the ensemble's. Everything that it asks for goes
//! through the write stage in its order, whatever the session is at that moment, so nothing overtakes its upgrade. Kept out: reads, which
//! the shard answers, and which are the same for every session.

use std::collections::VecDeque;

use pipeline::{Answer, Body, ConnRef, Item, Now, Origin, ToSequencer, WriteRequest};
use proto::{Code, Op, SessionId, Xid};
use quorum::replica::Forwarded;

use crate::ensemble::{Mode, Ordered};
use crate::own_sessions::Taken;
use crate::write_stage::{Sink, WriteStage};

/// What a member does with new sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LocalSessions {
    /// All are the ensemble's.
    #[default]
    Off,
    /// They are local, and have no ephemerals: `localSessionsEnabled`.
    On,
    /// They are local until they want ephemerals: `localSessionsUpgradingEnabled` as well.
    Upgraded,
}

/// A session of a learner on its way to the ensemble.
pub(crate) struct Upgrading {
    session: Taken,
    /// Connections that want to take it up meanwhile.
    waiting: VecDeque<(ConnRef, i32)>,
}

impl WriteStage {
    /// A new session of this member's own.
    pub(crate) fn open_own(&mut self, conn: ConnRef, timeout_ms: i32, now: Now) {
        let (sequencer, own) = (&self.sequencer, &self.ensemble.as_deref().map(|ensemble| &ensemble.own));
        let taken = |id| sequencer.sessions().get(id).is_some() || own.is_some_and(|own| own.conn(id).is_some());
        let session = self.ids.next(taken);
        let opened = self.ens().own.open(session, conn, timeout_ms, now.mono);
        self.answer_own(conn, Xid(0), Body::Session(Some(opened)));
    }

    /// A client takes up a session of this member's own. False if it is none.
    pub(crate) fn attach_own(&mut self, conn: ConnRef, session: SessionId, timeout_ms: i32, now: Now) -> bool {
        let Some((opened, before)) = self.ens().own.attach(session, conn, timeout_ms, now.mono) else { return false };
        self.ens().out.extend(before.map(Item::Close));
        self.answer_own(conn, Xid(0), Body::Session(Some(opened)));
        true
    }

    /// At once, for a client that waits for nothing else.
    pub(crate) fn answer_own(&mut self, conn: ConnRef, xid: Xid, body: Body) {
        let zxid = self.sequencer.committed_zxid();
        self.ens().out.push(Item::Answer(Answer { conn, xid, zxid, code: Code::Ok, body }));
    }

    /// Sessions of this member's own that were not heard of for too long are forgotten. Nothing is left of them.
    pub(crate) fn expire_own(&mut self, now: Now) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        for (session, conn) in ensemble.own.expire(now.mono) {
            tracing::info!(%session, "session of this member alone expired");
            ensemble.out.push(Item::Close(conn));
        }
    }

    /// Does what concerns a local session, with a leader. What concerns others, or is more than local, comes back.
    pub(crate) fn serve_locally(&mut self, message: ToSequencer, now: Now) -> Option<ToSequencer> {
        if self.ensemble.as_deref().is_none_or(|ensemble| ensemble.local_sessions == LocalSessions::Off) {
            return Some(message);
        }
        match message {
            ToSequencer::Open { conn, timeout_ms } => self.open_own(conn, timeout_ms, now),
            ToSequencer::Attach { conn, session, timeout_ms } => {
                if let Some(upgrading) = self.ens().upgrading.get_mut(&session) {
                    // Until it has come back, the leader may not know of the session.
                    upgrading.waiting.push_back((conn, timeout_ms));
                } else if !self.attach_own(conn, session, timeout_ms, now) {
                    return Some(message);
                }
            }
            ToSequencer::Write(request) => return self.write_locally(request, now),
            ToSequencer::Sync { .. } | ToSequencer::Ephemerals { .. } => return Some(message),
        }
        None
    }

    fn write_locally(&mut self, request: WriteRequest, now: Now) -> Option<ToSequencer> {
        let Origin::Conn(conn) = request.from else { return Some(ToSequencer::Write(request)) };
        let session = request.session;
        let Some(owner) = self.ens().own.conn(session) else {
            if self.is_the_ensembles(session) {
                return Some(ToSequencer::Write(request));
            }
            // It has expired, and its connection is about to be closed.
            self.ens().out.push(Item::Close(conn));
            return None;
        };
        if owner != conn {
            self.ens().out.push(Item::Close(conn));
            return None;
        }
        if request.op == Op::CloseSession {
            self.close_own(session, conn, request.xid);
            return None;
        }
        let upgrades = self.ens().local_sessions == LocalSessions::Upgraded;
        if upgrades && self.sequencer.asks_for_ephemeral(&request) {
            self.upgrade(session, now);
            if self.orders() && !self.accepts() {
                self.parked = Some(ToSequencer::Write(request));
                return None;
            }
            return Some(ToSequencer::Write(request));
        }
        if self.orders() {
            self.snapshots.txns += 1;
            if request.op == Op::Reconfig {
                self.plan_reconfig(&request.body, now);
            }
            let mut sink = Sink::new(&mut self.log, &mut self.ensemble);
            self.sequencer.write_locally(&request, Code::EphemeralOnLocalSession, now, &mut sink);
        } else {
            // The leader does not know why, and refuses for another reason. Of a multi the client hears the leader's, as in Java.
            let refused = request.op != Op::Multi && self.sequencer.asks_for_ephemeral(&request);
            self.forward_write(request, refused.then_some(Code::EphemeralOnLocalSession));
        }
        None
    }

    /// Is this a session of the ensemble that has its connection here, or on its way to be one?
    fn is_the_ensembles(&self, session: SessionId) -> bool {
        let Some(ensemble) = self.ensemble.as_deref() else { return true };
        match ensemble.mode {
            Mode::Learning => ensemble.attached.contains_key(&session) || ensemble.upgrading.contains_key(&session),
            Mode::Leading | Mode::Looking => self.sequencer.sessions().get(session).is_some(),
        }
    }

    /// Its client closes a session of this member's own. The answer comes behind those to all that it asked for before.
    fn close_own(&mut self, session: SessionId, conn: ConnRef, xid: Xid) {
        let learns = self.mode() == Some(Mode::Learning);
        let ensemble = self.ens();
        ensemble.own.take(session);
        let waits = ensemble.claims.contains_key(&session) || ensemble.syncs.iter().any(|(asking, ..)| *asking == conn);
        if learns && waits {
            ensemble.syncs.push_back((conn, xid, Ordered::Close));
            self.with_peer(|peer, _| peer.sync());
        } else {
            self.sequencer.farewell(conn, xid);
        }
    }

    /// Makes a session of this member's own the ensemble's: by a transaction here, or by asking the leader for one.
    fn upgrade(&mut self, session: SessionId, now: Now) {
        let Some(own) = self.ens().own.take(session) else { return };
        tracing::debug!(%session, "local session becomes the ensemble's");
        if self.orders() {
            self.snapshots.txns += 1;
            self.tracker.adopt(session, own.timeout_ms, own.pulse, now.mono);
            let mut sink = Sink::new(&mut self.log, &mut self.ensemble);
            self.sequencer.upgrade_session(session, own.conn, own.timeout_ms, now, &mut sink);
        } else {
            let forwarded = creation(session, own.timeout_ms);
            self.ens().upgrading.insert(session, Upgrading { session: own, waiting: VecDeque::new() });
            self.with_peer(|peer, _| peer.forward(forwarded));
        }
    }

    /// The createSession of an upgrade, if it was one, has come back to the learner that asked for it.
    pub(crate) fn upgraded(&mut self, session: SessionId, now: Now) {
        let ensemble = self.ens();
        let Some(Upgrading { session: Taken { conn, timeout_ms, pulse }, waiting }) =
            ensemble.upgrading.remove(&session)
        else {
            return;
        };
        ensemble.attach(session, timeout_ms, pulse, now);
        ensemble.released |= !waiting.is_empty();
        let attach = |(conn, timeout_ms)| ToSequencer::Attach { conn, session, timeout_ms };
        ensemble.held.extend(waiting.into_iter().map(attach));
        self.sequencer.move_session(session, Origin::Conn(conn));
    }

    /// Of a learner's session that no transaction made: it may be a local session there. If it has this server's number and is not known,
    /// it has ended.
    pub(crate) fn may_be_local(&self, session: SessionId) -> bool {
        self.ensemble.as_deref().is_some_and(|ensemble| ensemble.local_sessions != LocalSessions::Off)
            && self.sequencer.sessions().get(session).is_none()
            && !self.ids.made(session)
    }
}

/// The request of a learner for a session of the ensemble with this id.
pub(crate) fn creation(session: SessionId, timeout_ms: i32) -> Forwarded {
    let body = timeout_ms.to_be_bytes().to_vec();
    Forwarded { session, xid: Xid(0), op: Op::CreateSession, ids: Vec::new(), body }
}
