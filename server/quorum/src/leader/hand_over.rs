//! Leadership is given to another voter on command (docs/decisions/0025-leadership-is-handed-over-by-a-vote.md).
//!
//! What always holds: leadership ends only when the successor has acknowledged everything and all of it is final; it takes a second at most,
//! one way or the other. Kept out: the vote for the successor, which is the peer's, and holding requests back, which is the replica's.

use pipeline::Now;
use proto::{Millis, Sid};
use tracing::{info, warn};

use super::Leader;
use crate::master::{Learner, Stage};

/// Leadership goes to the voter that wins the next election, which is the one with the greatest id if all have the same history. So long
/// all are waited for; then only for the one that is left to be the best.
const HAND_OVER_PATIENCE_MS: i64 = 200;

/// Writes wait for the end of a hand-over, and not longer than this. If nobody has everything by then, leadership stays.
const HAND_OVER_MAX_MS: i64 = 1_000;

/// What became of the wish that a member hand over leadership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOver {
    /// Leadership goes to this voter as soon as it has everything.
    To(Sid),
    /// That is so already.
    UnderWay(Sid),
    /// This member does not lead; whom it follows, if anybody.
    NotLeading(Option<Sid>),
    /// No other voter has this leader's history.
    NobodySynchronised,
    /// Who votes, or the epoch, is being changed. Ask again.
    Reconfiguring,
}

/// Leadership is being handed over.
#[derive(Clone, Copy)]
pub(super) struct Handing {
    to: Sid,
    since: Millis,
    /// When it is to be looked at again, whatever comes.
    pub(super) look_at: Millis,
}

impl Leader {
    /// Leadership is to be somebody else's. Until that is so, or has failed, nothing should be proposed.
    pub(crate) fn hand_over(&mut self, now: Now) -> HandOver {
        if let Some(handing) = self.handing {
            return HandOver::UnderWay(handing.to);
        }
        if self.pending.is_some() || self.rolling.is_some() {
            return HandOver::Reconfiguring;
        }
        // Who lags at this moment will have everything when requests wait.
        let best = self.successors().map(|(_, sid)| sid).max();
        let Some(to) = best.filter(|_| self.serving() && self.over.is_none()) else {
            return HandOver::NobodySynchronised;
        };
        info!("leadership is to go to server {to}: writes wait until it has everything");
        self.handing = Some(Handing { to, since: now.mono, look_at: now.mono });
        HandOver::To(to)
    }

    pub(crate) fn holds_writes(&self) -> bool {
        self.handing.is_some() || self.is_draining()
    }

    /// Who is to lead when this leadership is over, and has everything that this leader has.
    pub(crate) fn successor(&self) -> Option<Sid> {
        self.successor
    }

    /// Voters that may lead next, and whether they have everything.
    fn successors(&self) -> impl Iterator<Item = (bool, Sid)> {
        let able = |learner: &&Learner| {
            learner.stage == Stage::Live && learner.voter && self.view.verifier().weight(learner.sid) != 0
        };
        let begun = self.proposed.counter() == 0 && !self.rolled;
        self.learners.values().filter(able).map(move |learner| (begun || learner.acked >= self.proposed, learner.sid))
    }

    /// Gives way to the successor if it has everything and nobody better is to be expected.
    pub(super) fn go_on_handing_over(&mut self, handing: Handing, now: Now) {
        let waited_ms = now.mono.since(handing.since);
        if self.outstanding.is_empty() {
            let all = self.successors().all(|(whole, _)| whole);
            if let Some((true, to)) = self.successors().max().filter(|_| all || waited_ms >= HAND_OVER_PATIENCE_MS) {
                self.successor = Some(to);
                self.over = Some(format!("leadership goes to server {to}"));
                return;
            }
        }
        let next_ms = if waited_ms < HAND_OVER_PATIENCE_MS { HAND_OVER_PATIENCE_MS } else { HAND_OVER_MAX_MS };
        let look_at = handing.since.plus(next_ms);
        self.handing = (waited_ms < HAND_OVER_MAX_MS).then_some(Handing { look_at, ..handing });
        if self.handing.is_none() {
            warn!("leadership stays: no voter has acknowledged everything within {HAND_OVER_MAX_MS} ms");
        }
    }
}
