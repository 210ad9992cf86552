//! A leader without the other of two voters, by the word of an oracle (docs/decisions/0029-an-oracle-for-two.md).
//!
//! What always holds: the oracle counts only while no other voter follows; an answer counts only for what was durable when it was asked, so
//! that nothing is final by a word that was given before; an epoch that began by a quorum is not taken over alone before it serves,
//! and one that begins alone has a number that the other voter would not take. Kept out: where the oracle is, and how it is read.

use std::collections::BTreeSet;

use pipeline::Now;
use proto::{Sid, Zxid};
use tracing::{info, warn};

use super::{Leader, Learner, Phase, Stage};
use crate::replica::Replica;
use crate::view::QuorumView;

/// Epochs that begin alone are seconds since the beginning of 2020.
const CLOCK_BEGAN_S: i64 = 1_577_836_800;

/// A clock that is behind 2054 is not believed: epochs must not come to their end.
const CLOCK_EPOCH_MAX: i64 = 1 << 30;

/// A question under way.
struct Asked {
    /// What was durable here when it was asked.
    durable: Zxid,
    /// Pings since. An oracle that does not answer between two of them says no.
    pings: u8,
}

/// What is known of the oracle's opinion. All of it is of the time since the other voter left.
#[derive(Default)]
pub(super) struct Oracle {
    wanted: bool,
    asked: Option<Asked>,
    said: Option<bool>,
    /// Up to here this leader's copy is enough.
    granted: Zxid,
    /// The epoch began without the other voter.
    epoch_alone: bool,
}

impl Leader {
    /// The election was decided by the oracle: nobody else need be expected.
    pub(crate) fn elected_alone(&mut self) {
        self.oracle.wanted = self.settings.elector.oracle;
    }

    /// Whether the oracle is to be asked, once for each question.
    pub(crate) fn takes_question(&mut self) -> bool {
        let ask = self.oracle.wanted && self.oracle.asked.is_none() && self.over.is_none();
        if ask {
            self.oracle.wanted = false;
            self.oracle.asked = Some(Asked { durable: self.own_acked, pings: 0 });
        }
        ask
    }

    /// The oracle's answer to the last question.
    pub(crate) fn oracle_says(&mut self, yes: bool, replica: &mut impl Replica, now: Now) {
        let Some(asked) = self.oracle.asked.take() else { return };
        if !self.views().any(|view| self.is_alone_in(view)) {
            // The other voter has come meanwhile.
            return;
        }
        self.learn(yes);
        if yes {
            self.oracle.granted = self.oracle.granted.max(asked.durable);
        }
        self.advance(replica, now);
    }

    fn learn(&mut self, yes: bool) {
        if self.oracle.said.replace(yes) != Some(yes) {
            let text = if yes { "may do" } else { "must not do" };
            info!("the oracle says that this leader {text} without the other voter");
        }
    }

    /// Whether the other voter is missing, so that the oracle is asked for its word.
    pub(super) fn is_alone_in(&self, view: &QuorumView) -> bool {
        // Who is on its way is waited for, unless clients would wait with it.
        let least = if self.phase == Phase::Broadcast { Stage::Live } else { Stage::Joining };
        let follows = |learner: &Learner| !learner.observer && learner.stage >= least && view.is_voter(learner.sid);
        self.settings.elector.oracle && view.is_one_of_two(self.settings.id) && !self.learners.values().any(follows)
    }

    /// Whether the oracle's word stands for the other voter's.
    pub(super) fn is_granted(&self, view: &QuorumView) -> bool {
        let begun_so = matches!(self.phase, Phase::Discovery | Phase::Broadcast) || self.oracle.epoch_alone;
        begun_so && self.oracle.said == Some(true) && self.is_alone_in(view)
    }

    /// Up to where the own copy is enough in this configuration, if it is the oracle who says so.
    pub(super) fn granted_mark(&self, view: &QuorumView) -> Option<Zxid> {
        self.is_alone_in(view).then_some(self.oracle.granted)
    }

    /// Whether the oracle may still say that nobody is missing.
    pub(super) fn awaits_oracle(&mut self) -> bool {
        let begun_so = self.phase == Phase::Broadcast || self.oracle.epoch_alone;
        let waits = begun_so && self.oracle.said.is_none() && {
            let followers = self.followers();
            self.views().all(|view| view.verifier().is_quorum(&followers) || self.is_alone_in(view))
        };
        self.oracle.wanted |= waits && self.oracle.asked.is_none();
        waits
    }

    /// The next epoch, if it begins without the other voter. It is behind all that this member knows, one that the other voter would not take
    /// alone, and the clock's: of two that the oracle preferred one after the other, without their knowing of each other, the later has the
    /// later epoch, and no two transactions have the same number.
    pub(super) fn epoch_alone(&mut self, next: i64, now: Now) -> i64 {
        self.oracle.epoch_alone = true;
        let clock = now.wall.0 / 1000 - CLOCK_BEGAN_S;
        let next = if clock < CLOCK_EPOCH_MAX { next.max(clock) } else { next };
        let first = self.view.voters().first() == Some(&self.settings.id);
        next + (next & 1 ^ i64::from(first))
    }

    /// Notes whether the oracle is to be asked. To be called when anything has changed, and at each ping.
    pub(super) fn consult(&mut self, ping: bool) {
        if !self.settings.elector.oracle {
            return;
        }
        if !self.views().any(|view| self.is_alone_in(view)) {
            self.oracle.wanted = false;
            self.oracle.said = None;
            return;
        }
        // After a no there is no hurry.
        let waits = self.phase == Phase::Broadcast
            && self.oracle.said != Some(false)
            && self.oracle.granted < self.own_acked
            && self.outstanding.front().is_some_and(|proposal| proposal.zxid <= self.own_acked);
        self.oracle.wanted |= waits || ping;
        let Some(asked) = self.oracle.asked.as_mut().filter(|_| ping) else { return };
        asked.pings = asked.pings.saturating_add(1);
        if asked.pings == 2 {
            warn!("the oracle does not answer: that is a no");
            self.learn(false);
        }
    }

    /// This member and who follows it.
    fn followers(&self) -> BTreeSet<Sid> {
        let follows = |learner: &&Learner| !learner.observer && learner.stage >= Stage::Syncing;
        let mut followers: BTreeSet<Sid> = self.learners.values().filter(follows).map(|learner| learner.sid).collect();
        followers.insert(self.settings.id);
        followers
    }
}
