//! A follower as the master of observers: they learn from it what is final, and ask its leader through it (peer-protocol.md §11).
//!
//! ```text
//!   leader ── COMMIT ──▶ follower ── INFORM ──▶ observers
//!   leader ◀── REQUEST, SYNC, REVALIDATE, sessions heard of ── follower ◀── the same ── observers
//! ```
//!
//! What always holds: an observer hears of nothing before this follower knows it to be final, and of all of it, in order. Its epoch is
//! the follower's, which a quorum has agreed on: nobody's promise is waited for. Kept out: the link to the leader, on which what
//! observers ask for goes on ([`Ask`]), and whose place in the line an answer of the leader's has.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::Now;
use proto::{Millis, Op, SessionId, Sid, Zxid};
use tracing::info;

use crate::effect::{Effect, LinkId};
use crate::master::{Kept, Learner, Learners, Master, Stage, WINDOW_BYTES};
use crate::packet::{self, Broken, Packet, kind};
use crate::peer::{PeerReport, PeerSettings};
use crate::replica::{Forwarded, Replica};
use crate::view::QuorumView;

/// What an observer wants of the leader.
pub(crate) enum Ask {
    /// A request of one of its clients. The answer is a transaction.
    Request(Forwarded),
    /// To be told when everything is final that the leader had made by then.
    Sync(LinkId),
    /// Whether a session exists, whose client is the observer's now.
    Revalidate(LinkId, SessionId, i32),
}

/// See the module's page.
pub(crate) struct Observers {
    settings: Arc<PeerSettings>,
    /// The configuration in force here.
    view: Arc<QuorumView>,
    epoch: i64,
    learners: Learners,
    /// Everything up to here is final, and every observer has been told that is up to date.
    final_to: Zxid,
    asks: Vec<Ask>,
    /// Sessions that observers have heard of, with their timeouts, and that the leader has not been told of.
    touched: BTreeMap<SessionId, i32>,
}

impl Observers {
    /// Nobody is connected yet. What this follower has taken over from the leader of `epoch`, up to `history_end`, is final.
    pub(crate) fn new(
        settings: Arc<PeerSettings>,
        view: Arc<QuorumView>,
        epoch: i64,
        history_end: Zxid,
        now: Now,
    ) -> Observers {
        Observers {
            // It has not led: no epoch begins with what it has.
            learners: Learners::new(settings.clone(), Zxid(-1), now),
            settings,
            view,
            epoch,
            final_to: Zxid(epoch << 32).max(history_end),
            asks: Vec::new(),
            touched: BTreeMap::new(),
        }
    }

    /// A configuration is in force.
    pub(crate) fn has_view(&mut self, view: Arc<QuorumView>) {
        self.view = view;
    }

    pub(crate) fn accepted(&mut self, link: LinkId, now: Now) {
        self.learners.accepted(link, now);
    }

    /// What observers ask for with it is in [`Observers::take_asks`].
    pub(crate) fn received(&mut self, link: LinkId, bytes: &[u8], replica: &mut impl Replica, now: Now) {
        self.take_packets(link, bytes, replica, now);
        self.advance(replica, now);
    }

    pub(crate) fn closed(&mut self, link: LinkId) {
        self.lost(link);
    }

    pub(crate) fn drained(&mut self, link: LinkId, unsent_bytes: usize, now: Now) {
        self.learners.drained(link, unsent_bytes, now);
        self.learners.feed(link, self.epoch, &self.view);
    }

    pub(crate) fn tick(&mut self, now: Now) {
        if now.mono >= self.learners.next_ping() {
            self.give_up_the_silent(now);
            self.learners.ping(self.final_to, now);
        }
    }

    pub(crate) fn next_deadline(&self) -> Millis {
        self.learners.next_ping()
    }

    /// The next epoch begins behind what has been said to be final. Those that know how to enter it go along, the others come again.
    pub(crate) fn enter(&mut self, epoch: i64) {
        let stays = |learner: &Learner| learner.own && learner.stage == Stage::Live;
        for link in self.learners.links(|learner| learner.stage > Stage::Greeting && !stays(learner)) {
            self.drop_learner(link, true);
        }
        let zxid = Zxid(epoch << 32);
        for learner in self.learners.values_mut().filter(|learner| stays(learner)) {
            packet::put(learner.lane(), kind::NEXT_EPOCH, zxid, None);
            packet::put(learner.lane(), kind::ENTER_EPOCH, zxid, None);
        }
        self.epoch = epoch;
        self.final_to = self.final_to.max(zxid);
    }

    /// Leaves all observers.
    pub(crate) fn end(self) -> Vec<Effect> {
        self.learners.end()
    }

    /// Moves what is to be done into `all`, what is sent on one link in one piece.
    pub(crate) fn flush(&mut self, all: &mut Vec<Effect>) {
        self.learners.flush(all);
    }

    /// What observers have asked for since the last call, in order.
    pub(crate) fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// The sessions that observers have heard of since the last call.
    pub(crate) fn take_touched(&mut self) -> impl Iterator<Item = (SessionId, i32)> + use<> {
        std::mem::take(&mut self.touched).into_iter()
    }

    /// Everything up to `to` is final; `activates`: the last of it is a configuration, in which this member leads. Must be called
    /// before the replica hears of it, which keeps in its history at least what it does not know to be final.
    pub(crate) fn inform(&mut self, to: Zxid, activates: Option<Sid>, replica: &mut impl Replica, now: Now) {
        let informed = self.learners.links(|learner| learner.stage >= Stage::Syncing);
        if !informed.is_empty() {
            let txns = &replica.history().txns;
            let start = txns.partition_point(|(zxid, _)| *zxid <= self.final_to);
            for (zxid, payload) in txns.range(start..).take_while(|(zxid, _)| *zxid <= to) {
                for learner in self.learners.values_mut().filter(|learner| learner.stage >= Stage::Syncing) {
                    learner.put_final(*zxid, payload, activates.filter(|_| *zxid == to));
                }
            }
        }
        self.final_to = self.final_to.max(to);
        // The history that an observer is getting fills its link by itself.
        let bytes_max = self.settings.observer_master_bytes_max.saturating_add(2 * WINDOW_BYTES);
        for link in self.learners.links(|learner| learner.waiting_bytes() > bytes_max) {
            self.give_up(link, "it lags further behind than observerMaster.sizeLimit allows");
        }
        self.advance(replica, now);
    }

    /// The leader has answered an observer's sync. What was final before it has been told.
    pub(crate) fn synced(&mut self, link: LinkId) {
        if let Some(learner) = self.learners.get_mut(link) {
            packet::put(learner.lane(), kind::SYNC, Zxid::ZERO, None);
        }
    }

    /// The leader has answered an observer's question for a session.
    pub(crate) fn revalidated(&mut self, link: LinkId, session: SessionId, timeout_ms: i32, valid: bool) {
        if valid {
            self.touched.insert(session, timeout_ms);
        }
        if let Some(learner) = self.learners.get_mut(link) {
            packet::put_answered_session(learner.lane(), session, valid);
        }
    }

    pub(crate) fn report(&self, report: &mut PeerReport) {
        report.learners = self.learners.reports();
        report.observers = report.learners.len();
        report.synced_observers = report.learners.iter().filter(|learner| learner.synced).count();
        report.serves_observers = true;
    }

    /// Brings up to date whoever waits for it.
    fn advance(&mut self, replica: &mut impl Replica, now: Now) {
        let (epoch, final_to) = (self.epoch, self.final_to);
        let waits = |learner: &Learner| learner.stage == Stage::Promised && !learner.is_ahead_of(final_to);
        let waiting = self.learners.links(waits);
        for link in waiting {
            if self.learners.synchronise(link, final_to, replica, now) {
                self.learners.feed(link, epoch, &self.view);
            } else {
                self.drop_learner(link, true);
            }
        }
    }
}

impl Master for Observers {
    fn learners(&mut self) -> &mut Learners {
        &mut self.learners
    }

    fn is_over(&self) -> bool {
        false
    }

    fn greeted(&mut self, link: LinkId, packet: &Packet<'_>, now: Now) -> Kept {
        if packet.kind != kind::OBSERVERINFO {
            let text = "it wants to follow, and this member serves observers; followers connect to the leader";
            return Err(Broken::Other(text.to_owned()));
        }
        let (info, _) = self.learners.introduced(packet, self.view.version())?;
        if let Some(old) = self.learners.seat(link, &info, true, false) {
            self.drop_learner(old, true);
        }
        if let Some(learner) = self.learners.get_mut(link) {
            info!("observer {} learns here", info.sid);
            learner.put_leader_info(self.epoch, now);
        }
        Ok(())
    }

    fn promised(&mut self, link: LinkId, packet: &Packet<'_>) -> Kept {
        let Some(learner) = self.learners.get_mut(link) else { return Ok(()) };
        Learner::promised(packet)?;
        learner.stage = Stage::Promised;
        learner.history_end = packet.zxid;
        Ok(())
    }

    fn took_over(&mut self, link: LinkId, packet: &Packet<'_>, now: Now) -> Kept {
        let Some(learner) = self.learners.get_mut(link) else { return Ok(()) };
        learner.took_over(packet, self.epoch)?;
        if learner.stage == Stage::Synced {
            learner.go_live(now);
        }
        Ok(())
    }

    fn live_packet(&mut self, link: LinkId, packet: &Packet<'_>, _replica: &mut impl Replica, _now: Now) -> Kept {
        match packet.kind {
            // The history's, once more.
            kind::ACK if packet.zxid.counter() == 0 => {}
            kind::NEXT_EPOCH | kind::ENTER_EPOCH => {}
            kind::ACK => {
                return Err(Broken::Other(format!("{} is acknowledged, and observers have no vote", packet.zxid)));
            }
            kind::PING => self.touched.extend(packet.touched()?),
            kind::REVALIDATE => {
                let (session, timeout_ms) = packet.asked_session()?;
                self.asks.push(Ask::Revalidate(link, session, timeout_ms));
            }
            kind::REQUEST => {
                let request = packet.forwarded()?;
                self.asks.push(if request.op == Op::Sync { Ask::Sync(link) } else { Ask::Request(request) });
            }
            other => {
                if let Some(learner) = self.learners.get_mut(link) {
                    learner.ignore(other);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
