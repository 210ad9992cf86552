//! The next epoch without an election, when an epoch's zxids are used up and all learners are ours
//! (docs/decisions/0032-an-epoch-may-follow-without-an-election.md).
//!
//! ```text
//!   Offered ──────────▶ Draining ───────────────▶ Entering ───────────▶ the next epoch
//!   a quorum promises   nothing new is proposed,   a quorum has written
//!   (acceptedEpoch)     what was is final          currentEpoch
//! ```
//!
//! What always holds is what holds in an election's aftermath: the epoch is accepted durably before anybody hears of it; a quorum has
//! promised it before anybody enters it; whoever enters it has the whole history of the epoch before durably, and nothing is proposed in
//! it before a quorum has entered. Whatever comes between ends the leadership, and the next election decides. Kept out: holding requests
//! back, which is the replica's.

use pipeline::Now;
use proto::Zxid;
use tracing::info;

use super::{Leader, Stage};
use crate::packet::{self, kind};
use crate::replica::Replica;

/// When an epoch's zxids are used up, a leader goes on for so many transactions at most until the next epoch is agreed on, or a moment
/// without proposals has come in which it can make way. What remains behind them is more than one turn of the sequencer can use.
const GRACE: u32 = 0x8000;

/// How far the next epoch has come. See the module's page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Step {
    Offered,
    Draining,
    Entering,
}

/// The next epoch is being agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rolling {
    pub(super) epoch: i64,
    step: Step,
}

impl Leader {
    /// New transactions had better wait: what there is of them must be final first.
    pub(super) fn is_draining(&self) -> bool {
        self.rolling.is_some_and(|rolling| rolling.step > Step::Offered)
    }

    /// The next epoch is being entered: the one before is complete, and gets nothing more.
    pub(super) fn is_entering(&self) -> bool {
        self.rolling.is_some_and(|rolling| rolling.step == Step::Entering)
    }

    /// Takes the steps to the next epoch that have become possible.
    pub(super) fn roll_over(&mut self, replica: &mut impl Replica, now: Now) -> std::io::Result<()> {
        let Some(rolling) = self.rolling else { return self.offer_next_epoch(replica) };
        let epoch = rolling.epoch;
        let reached = Some(epoch);
        match rolling.step {
            Step::Offered => {
                if self.pending.is_none() && self.is_quorum(|learner| learner.promised_next >= reached) {
                    self.rolling = Some(Rolling { step: Step::Draining, ..rolling });
                    return self.roll_over(replica, now);
                }
                self.end_at_last_zxid();
            }
            Step::Draining => {
                if self.outstanding.is_empty() && replica.durable() >= replica.last_logged() {
                    replica.set_current_epoch(epoch)?;
                    self.tell_all(kind::ENTER_EPOCH, epoch);
                    self.rolling = Some(Rolling { step: Step::Entering, ..rolling });
                    return self.roll_over(replica, now);
                }
            }
            Step::Entering => {
                if self.is_quorum(|learner| learner.entered >= reached) {
                    self.enter(replica, now, epoch);
                }
            }
        }
        Ok(())
    }

    /// Agrees on the next epoch with learners that know how; else makes way for an election as soon as nobody waits for an answer.
    fn offer_next_epoch(&mut self, replica: &mut impl Replica) -> std::io::Result<()> {
        let joined = || self.learners.values().filter(|learner| learner.stage > Stage::Joining);
        if joined().any(|learner| !learner.own) || self.epoch >= i64::from(i32::MAX) - 1 {
            if self.outstanding.is_empty() {
                self.over = Some(format!("epoch {} has used up its zxids", self.epoch));
            }
        } else if self.pending.is_none() && self.handing.is_none() && joined().all(|l| l.stage == Stage::Live) {
            let epoch = self.epoch + 1;
            replica.set_accepted_epoch(epoch)?;
            info!("epoch {} has used up its zxids; {epoch} is to follow", self.epoch);
            self.tell_all(kind::NEXT_EPOCH, epoch);
            self.rolling = Some(Rolling { epoch, step: Step::Offered });
        }
        self.end_at_last_zxid();
        Ok(())
    }

    fn end_at_last_zxid(&mut self) {
        let last = self.settings.rollover_counter.saturating_add(GRACE);
        if self.over.is_none() && self.proposed.counter() >= last {
            self.over = Some(format!("epoch {} has used up its zxids, and the next was not agreed on", self.epoch));
        }
    }

    fn tell_all(&mut self, kind: i32, epoch: i64) {
        for learner in self.learners.values_mut().filter(|learner| learner.stage == Stage::Live) {
            packet::put(learner.lane(), kind, Zxid(epoch << 32), None);
        }
    }

    /// A quorum has entered the next epoch: its first transaction may be made.
    fn enter(&mut self, replica: &mut impl Replica, now: Now, epoch: i64) {
        self.rolling = None;
        self.rolling_over = false;
        self.rolled = true;
        self.epoch = epoch;
        replica.next_epoch(epoch);
        let first = Zxid(epoch << 32);
        (self.proposed, self.own_acked, self.committed) = (first, first, first);
        info!("leading epoch {epoch}");
        for learner in self.learners.values_mut() {
            if learner.entered == Some(epoch) {
                learner.acked = learner.acked.max(first);
            }
            if learner.stage == Stage::Joining {
                learner.put_leader_info(epoch, now);
            }
        }
    }
}
