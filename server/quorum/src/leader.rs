//! A leader and all its learners, from the first who connects to the day that the quorum is gone (peer-protocol.md §6, §7, §9).
//!
//! ```text
//!   leader    Discovery ──▶ Promise ──▶ Handover ──▶ Broadcast
//!             a quorum is   it accepts  it has the    transactions
//!             connected     the epoch   history
//! ```
//!
//! What always holds: the accepted epoch is durable before a learner hears of it; the current epoch is durable before a learner gets
//! the history; nothing is final in an epoch before a quorum has the whole history, and no transaction before a quorum has it
//! durably. Acknowledgements are cumulative: of each learner one watermark is kept, and a new link begins without any. Kept out: who is
//! elected, what transactions are, and what every master does with its learners ([`crate::master`]).

mod alone;
mod hand_over;
mod rollover;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use pipeline::Now;
use proto::{Millis, Op, Sid, Zxid};
use tracing::{debug, info};

use self::alone::Oracle;
pub use self::hand_over::HandOver;
use self::hand_over::Handing;
use self::rollover::Rolling;
use crate::effect::{Effect, LinkId};
use crate::master::{Kept, Learner, Learners, Master, Stage};
use crate::packet::{self, Broken, Packet, follows, kind};
use crate::peer::{LearnerReport, PeerReport, PeerSettings, Zab};
use crate::reconfig;
use crate::replica::{Payload, Replica};
use crate::view::{QuorumView, Verifier};

/// How far the leadership has come. See the module's page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Discovery,
    Promise,
    Handover,
    Broadcast,
}

/// A proposal that is not final.
struct Outstanding {
    zxid: Zxid,
    payload: Payload,
}

/// Syncs that one learner asked for and that the replica has not answered.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// On a link that is gone: nobody waits for the answer.
    stale: u32,
    /// On the link that there is.
    current: u32,
}

/// What a leadership counts.
#[derive(Default)]
struct Figures {
    proposals: u64,
    commits: u64,
    last_bytes: Option<usize>,
    min_bytes: Option<usize>,
    max_bytes: Option<usize>,
    served_since: Option<Millis>,
}

/// See the module's page.
pub(crate) struct Leader {
    settings: Arc<PeerSettings>,
    /// The final configuration.
    view: Arc<QuorumView>,
    /// The one that shall follow, from this transaction on. Until it is final, nothing is without a quorum of both.
    pending: Option<(Zxid, Arc<QuorumView>)>,
    /// It became final, and this member leads in it.
    activated: Option<(Arc<QuorumView>, Sid)>,
    phase: Phase,
    /// Until when the phase may last, unless it is the last.
    phase_until: Millis,
    epoch: i64,
    /// Of this leader when it began: no learner may be ahead of it.
    began_with: (i64, Zxid),
    learners: Learners,
    proposed: Zxid,
    own_acked: Zxid,
    committed: Zxid,
    outstanding: VecDeque<Outstanding>,
    /// Up to where each voter was told that its vote decides, on whatever link.
    casting: BTreeMap<Sid, Zxid>,
    /// Up to where a vote is known to have decided.
    decided: Zxid,
    /// Syncs to be answered when this is committed, in order.
    syncs: VecDeque<(Zxid, LinkId)>,
    asked: BTreeMap<Sid, Asked>,
    /// The epoch's zxids are used up.
    rolling_over: bool,
    oracle: Oracle,
    rolling: Option<Rolling>,
    /// This epoch was entered without an election.
    rolled: bool,
    handing: Option<Handing>,
    /// Who is to lead when this is over.
    successor: Option<Sid>,
    figures: Figures,
    /// Why it is over.
    over: Option<String>,
    /// Why the process must end.
    failed: Option<String>,
    /// Room for marks, used again and again.
    marks: Vec<Zxid>,
}

impl Leader {
    /// Leadership begins: nobody is connected yet.
    pub(crate) fn new(
        settings: Arc<PeerSettings>,
        view: Arc<QuorumView>,
        last_seen: Option<Arc<QuorumView>>,
        replica: &mut impl Replica,
        now: Now,
    ) -> Leader {
        let began_with = (replica.current_epoch(), replica.last_logged());
        let phase_until = now.mono.plus(settings.init_limit * settings.tick_ms);
        let mut leader = Leader {
            learners: Learners::new(settings.clone(), began_with.1, now),
            settings,
            view,
            // It was proposed in an earlier epoch: this one must not begin without a quorum of it.
            pending: last_seen.map(|view| (Zxid::ZERO, view)),
            activated: None,
            phase: Phase::Discovery,
            phase_until,
            epoch: replica.accepted_epoch(),
            began_with,
            proposed: Zxid::ZERO,
            own_acked: Zxid::ZERO,
            committed: Zxid::ZERO,
            outstanding: VecDeque::new(),
            casting: BTreeMap::new(),
            decided: Zxid::ZERO,
            syncs: VecDeque::new(),
            asked: BTreeMap::new(),
            rolling_over: false,
            oracle: Oracle::default(),
            rolling: None,
            rolled: false,
            handing: None,
            successor: None,
            figures: Figures::default(),
            over: None,
            failed: None,
            marks: Vec::new(),
        };
        leader.advance(replica, now);
        leader
    }

    pub(crate) fn zab(&self) -> Zab {
        match self.phase {
            Phase::Discovery | Phase::Promise => Zab::Discovery,
            Phase::Handover => Zab::Synchronization,
            Phase::Broadcast => Zab::Broadcast,
        }
    }

    pub(crate) fn serving(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    /// A configuration that became final, once, and who leads in it.
    pub(crate) fn take_activated(&mut self) -> Option<(Arc<QuorumView>, Sid)> {
        self.activated.take()
    }

    /// The configuration that is proposed and not final.
    pub(crate) fn pending(&self) -> Option<&Arc<QuorumView>> {
        self.pending.as_ref().map(|(_, view)| view)
    }

    /// Whether enough of that configuration's voters follow already.
    pub(crate) fn has_quorum_of(&self, view: &QuorumView) -> bool {
        let live = self.learners.values().filter(|learner| learner.stage == Stage::Live && !learner.observer);
        let mut followers: BTreeSet<Sid> = live.map(|learner| learner.sid).collect();
        followers.insert(self.settings.id);
        view.verifier().is_quorum(&followers) || self.is_granted(view)
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(crate) fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Leaves all learners.
    pub(crate) fn end(self) -> Vec<Effect> {
        self.learners.end()
    }

    /// Moves what is to be done into `all`, what is sent on one link in one piece.
    pub(crate) fn flush(&mut self, all: &mut Vec<Effect>) {
        self.learners.flush(all);
    }

    pub(crate) fn accepted(&mut self, link: LinkId, now: Now) {
        self.learners.accepted(link, now);
    }

    pub(crate) fn received(&mut self, link: LinkId, bytes: &[u8], replica: &mut impl Replica, now: Now) {
        self.take_packets(link, bytes, replica, now);
        self.advance(replica, now);
    }

    pub(crate) fn closed(&mut self, link: LinkId, replica: &mut impl Replica, now: Now) {
        self.lost(link);
        self.advance(replica, now);
    }

    pub(crate) fn drained(&mut self, link: LinkId, unsent_bytes: usize, now: Now) {
        self.learners.drained(link, unsent_bytes, now);
        self.feed(link);
    }

    pub(crate) fn tick(&mut self, replica: &mut impl Replica, now: Now) {
        if self.phase != Phase::Broadcast && now.mono >= self.phase_until {
            let wanted = match self.phase {
                Phase::Discovery => "connect",
                Phase::Promise => "promise the epoch",
                _ => "take over the history",
            };
            self.over = Some(format!("a quorum did not {wanted} within initLimit"));
            return;
        }
        if now.mono >= self.learners.next_ping() {
            self.give_up_the_silent(now);
            self.consult(true);
            self.learners.ping(self.proposed, now);
        }
        self.advance(replica, now);
    }

    pub(crate) fn next_deadline(&self) -> Millis {
        let next_ping = self.learners.next_ping();
        let look_at = self.handing.map_or(next_ping, |handing| handing.look_at.min(next_ping));
        if self.phase == Phase::Broadcast { look_at } else { next_ping.min(self.phase_until) }
    }

    /// The sequencer made a transaction.
    pub(crate) fn proposed(&mut self, zxid: Zxid, payload: &Payload, now: Now) {
        if self.phase != Phase::Broadcast || self.over.is_some() {
            return;
        }
        assert!(follows(self.proposed, zxid), "a leader's transactions have no holes: {zxid} behind {}", self.proposed);
        assert!(!self.is_entering(), "{zxid} comes behind the end of its epoch");
        self.proposed = zxid;
        if let Some(view) = reconfig::view_of(payload) {
            info!("configuration {:x} is proposed: {}", view.version(), reconfig::names(view.members()));
            self.pending = Some((zxid, Arc::new(view)));
        }
        self.outstanding.push_back(Outstanding { zxid, payload: payload.clone() });
        for learner in self.learners.values_mut() {
            if learner.stage < Stage::Syncing || learner.observer {
                continue;
            }
            packet::put(learner.lane(), kind::PROPOSAL, zxid, Some(payload));
            learner.sent = zxid;
            if learner.stage == Stage::Live && learner.watched.is_none() {
                learner.watched = Some((zxid, now.mono));
            }
        }
        let figures = &mut self.figures;
        // As Java counts: the transaction with its header and its digest, without what the packet adds.
        let bytes = payload.len();
        figures.proposals += 1;
        figures.last_bytes = Some(bytes);
        figures.min_bytes = Some(figures.min_bytes.map_or(bytes, |min| min.min(bytes)));
        figures.max_bytes = Some(figures.max_bytes.map_or(bytes, |max| max.max(bytes)));
        if zxid.counter() >= self.settings.rollover_counter {
            self.rolling_over = true;
        }
    }

    /// The own log is durable up to `zxid`.
    pub(crate) fn durable(&mut self, zxid: Zxid, replica: &mut impl Replica, now: Now) {
        if self.phase == Phase::Broadcast {
            self.own_acked = self.own_acked.max(zxid.min(self.proposed));
        }
        self.advance(replica, now);
    }

    /// The replica has come to a sync that `from` asked for.
    pub(crate) fn sync_reached(&mut self, from: Sid, behind: Zxid) {
        let asked = self.asked.entry(from).or_default();
        if asked.stale > 0 {
            asked.stale -= 1;
            return;
        }
        asked.current = asked.current.saturating_sub(1);
        let Some(link) = self.learners.link_of(from) else { return };
        self.syncs.push_back((behind, link));
        self.answer_syncs();
    }

    pub(crate) fn reset_proposal_sizes(&mut self) {
        (self.figures.last_bytes, self.figures.min_bytes, self.figures.max_bytes) = (None, None, None);
    }

    pub(crate) fn report(&self, now: Now, report: &mut PeerReport) {
        let size = |bytes: Option<usize>| bytes.map_or(-1, |bytes| bytes as i64);
        report.learners = self.learners.reports();
        let count = |wanted: &dyn Fn(&LearnerReport) -> bool| report.learners.iter().filter(|l| wanted(l)).count();
        report.followers = count(&|l| !l.observer);
        report.synced_followers = count(&|l| l.synced && l.voter && !l.observer);
        report.synced_non_voting_followers = count(&|l| l.synced && !l.voter && !l.observer);
        report.observers = count(&|l| l.observer);
        report.synced_observers = count(&|l| l.synced && l.observer);
        report.pending_syncs = self.syncs.len();
        report.outstanding_proposals = self.outstanding.len();
        report.proposals = self.figures.proposals;
        report.commits = self.figures.commits;
        report.last_proposal_size = size(self.figures.last_bytes);
        report.min_proposal_size = size(self.figures.min_bytes);
        report.max_proposal_size = size(self.figures.max_bytes);
        report.leader_uptime_ms = self.figures.served_since.map_or(0, |since| now.mono.since(since));
        [report.snap_syncs, report.diff_syncs, report.trunc_syncs] = self.learners.synced_by();
    }

    // --- the way up

    /// Everything that may have become possible.
    fn advance(&mut self, replica: &mut impl Replica, now: Now) {
        if self.over.is_some() || self.failed.is_some() {
            return;
        }
        if let Err(error) = self.climb(replica, now) {
            self.failed = Some(format!("the epoch cannot be written: {error}"));
            return;
        }
        // Before anybody is brought up to date: what it took for final by its own vote is then final here.
        self.commit_what_a_quorum_has(replica, now);
        if self.phase > Phase::Promise {
            // A follower that knows it by its own vote may have told an observer what is not known to be final here.
            let known = if self.serving() { self.committed } else { Zxid::MAX };
            let waits = |learner: &Learner| learner.stage == Stage::Promised && !learner.is_ahead_of(known);
            let waiting = self.learners.links(waits);
            for link in waiting {
                self.synchronise(link, replica, now);
            }
        }
        self.leave_to_votes();
        self.consult(false);
        if let Some(why) = self.quorum_is_gone()
            && !self.awaits_oracle()
        {
            self.over = Some(why.to_owned());
            return;
        }
        if let Some(handing) = self.handing {
            self.go_on_handing_over(handing, now);
        }
        if self.rolling_over
            && self.over.is_none()
            && let Err(error) = self.roll_over(replica, now)
        {
            self.failed = Some(format!("the epoch cannot be written: {error}"));
        }
    }

    fn climb(&mut self, replica: &mut impl Replica, now: Now) -> std::io::Result<()> {
        let limit_ms = self.settings.init_limit * self.settings.tick_ms;
        if self.phase == Phase::Discovery && self.is_quorum(|learner| learner.stage >= Stage::Joining) {
            // `epoch` is the greatest that anybody has promised so far.
            self.epoch = self.epoch.max(replica.accepted_epoch()) + 1;
            if self.views().any(|view| self.is_alone_in(view)) {
                self.epoch = self.epoch_alone(self.epoch, now);
            }
            replica.set_accepted_epoch(self.epoch)?;
            if self.settings.reconfig_enabled && self.view.version() == 0 && self.pending.is_none() {
                // The first leader of an ensemble gives its configuration a version, by which later ones are told apart.
                let view = (*self.view).clone().with_version(self.epoch << 32);
                self.pending = Some((Zxid::ZERO, Arc::new(view)));
            }
            self.phase = Phase::Promise;
            self.phase_until = now.mono.plus(limit_ms);
            for learner in self.learners.values_mut().filter(|learner| learner.stage == Stage::Joining) {
                learner.put_leader_info(self.epoch, now);
            }
        }
        if self.phase == Phase::Promise
            && self.is_quorum(|learner| learner.stage >= Stage::Promised && learner.promise_counts)
        {
            replica.set_current_epoch(self.epoch)?;
            self.phase = Phase::Handover;
            self.phase_until = now.mono.plus(limit_ms);
        }
        if self.phase == Phase::Handover
            && replica.durable() >= replica.last_logged()
            && self.is_quorum(|learner| learner.stage >= Stage::Synced)
        {
            replica.lead(self.epoch, now);
            let first = Zxid(self.epoch << 32);
            (self.proposed, self.own_acked, self.committed) = (first, first, first);
            self.phase = Phase::Broadcast;
            self.figures.served_since = Some(now.mono);
            info!("leading epoch {} from {}", self.epoch, self.began_with.1);
            for learner in self.learners.values_mut().filter(|learner| learner.stage == Stage::Synced) {
                learner.go_live(now);
            }
            if let Some((_, view)) = self.pending.take() {
                // It may be the one that takes this leader's vote away.
                let designated = self.designate(&view);
                self.activate(view, designated);
            }
        }
        Ok(())
    }

    /// Whether this leader and the voters among the learners that qualify are a quorum.
    fn is_quorum(&self, qualifies: impl Fn(&Learner) -> bool) -> bool {
        // Who came as an observer may be a voter of the configuration that is to follow: its promise and its copy of the history are as good.
        let learners = self.learners.values().filter(|learner| qualifies(learner));
        let mut acks: BTreeSet<Sid> = learners.map(|learner| learner.sid).collect();
        acks.insert(self.settings.id);
        // Only voters count, of each configuration its own.
        self.views().all(|view| view.verifier().is_quorum(&acks) || self.is_granted(view))
    }

    /// The configurations of which everything needs a quorum.
    fn views(&self) -> impl Iterator<Item = &Arc<QuorumView>> {
        std::iter::once(&self.view).chain(self.pending())
    }

    /// From here on this configuration alone is asked.
    fn activate(&mut self, view: Arc<QuorumView>, designated: Sid) {
        info!("configuration {:x} is in force: {}", view.version(), reconfig::names(view.members()));
        for learner in self.learners.values_mut() {
            learner.voter = !learner.observer && view.is_voter(learner.sid);
        }
        self.view = view.clone();
        self.activated = Some((view, designated));
        if designated != self.settings.id {
            self.over = Some(format!("the new configuration has server {designated} lead"));
        }
    }

    /// Who leads in a configuration that becomes final: this member if it can, else the voter that has most of what was proposed.
    fn designate(&self, next: &QuorumView) -> Sid {
        let own = self.settings.id;
        if next.is_voter(own) && reconfig::same_place(&self.view, next, own) {
            return own;
        }
        let able = self.learners.values().filter(|learner| learner.stage == Stage::Live && next.is_voter(learner.sid));
        able.max_by_key(|learner| (learner.acked, learner.sid)).map_or(own, |learner| learner.sid)
    }

    /// Whether those who are needed have gone.
    fn quorum_is_gone(&self) -> Option<&'static str> {
        match self.phase {
            // Those who do not come are waited for; see `forget_learner` for those who go.
            Phase::Discovery => None,
            Phase::Promise | Phase::Handover => (!self.is_quorum(|learner| learner.stage >= Stage::Joining))
                .then_some("too many voters left before the epoch began"),
            Phase::Broadcast => (!self.is_quorum(|learner| !learner.observer && learner.stage >= Stage::Syncing))
                .then_some("a quorum does not follow any more"),
        }
    }

    // --- bringing a learner up to date

    fn synchronise(&mut self, link: LinkId, replica: &mut impl Replica, now: Now) {
        let serving = self.serving();
        // Until a quorum has it, the whole history is what the new epoch begins with.
        let bound = if serving { self.committed } else { replica.last_logged() };
        if !self.learners.synchronise(link, bound, replica, now) {
            self.drop_learner(link, true);
            return;
        }
        if let Some(learner) = self.learners.get_mut(link).filter(|learner| serving && !learner.observer) {
            for proposal in &self.outstanding {
                packet::put(learner.lane(), kind::PROPOSAL, proposal.zxid, Some(&proposal.payload));
                learner.sent = proposal.zxid;
            }
        }
        self.feed(link);
    }

    /// Goes on with the history that a learner is getting.
    fn feed(&mut self, link: LinkId) {
        // Whoever takes over the history takes the configuration for final with UPTODATE. One that was proposed since comes as a proposal;
        // Java's leaders tell it here too, and a learner that comes then has it in force before it is final.
        let config = self.pending().filter(|_| !self.serving()).unwrap_or(&self.view).clone();
        self.learners.feed(link, self.epoch, &config);
    }

    // --- broadcast

    fn commit_what_a_quorum_has(&mut self, replica: &mut impl Replica, now: Now) {
        if self.phase != Phase::Broadcast || self.outstanding.is_empty() {
            return;
        }
        let mut reached = self.quorum_mark(&self.view.clone());
        let pending = self.pending.clone();
        if let Some((zxid, next)) = &pending {
            // What was proposed before it does not need the next configuration's quorum. Behind it nothing is final before it is in force.
            let joint = if self.quorum_mark(next) >= *zxid { *zxid } else { Zxid(zxid.0 - 1) };
            reached = reached.min(joint);
        }
        reached = reached.max(self.decided);
        if reached <= self.committed {
            return;
        }
        let reconfigured = pending.filter(|(zxid, _)| *zxid == reached);
        let designated = reconfigured.as_ref().map(|(_, next)| self.designate(next));
        while let Some(proposal) = self.outstanding.pop_front_if(|proposal| proposal.zxid <= reached) {
            self.figures.commits += 1;
            let activates = designated.filter(|_| proposal.zxid == reached);
            for learner in self.learners.values_mut().filter(|learner| learner.stage >= Stage::Syncing) {
                learner.put_final(proposal.zxid, &proposal.payload, activates);
            }
            // Ahead of the commits that follow: the learner's client may have asked for those behind its sync.
            self.committed = proposal.zxid;
            self.answer_syncs();
        }
        self.committed = reached;
        replica.commit(reached, now);
        self.answer_syncs();
        if let (Some((_, next)), Some(designated)) = (reconfigured, designated) {
            self.pending = None;
            self.activate(next, designated);
            if self.over.is_none() {
                self.commit_what_a_quorum_has(replica, now);
            }
        }
    }

    /// Where this leader and one follower are a quorum, the follower is told what is durable here: with its own copy it is decided, and the
    /// follower need not wait until this leader has heard of that and said so. Other followers' copies would not do: one that connects
    /// again may have to go back. What is proposed from a reconfiguration on is left to nobody.
    fn leave_to_votes(&mut self) {
        if self.phase != Phase::Broadcast || self.outstanding.is_empty() || self.over.is_some() {
            return;
        }
        let end = self.pending.as_ref().map_or(Zxid::MAX, |(zxid, _)| Zxid(zxid.0 - 1));
        let (own, here) = (self.settings.id, self.own_acked.min(end));
        for learner in self.learners.values_mut() {
            let mark = here.min(learner.sent);
            let casting = self.casting.entry(learner.sid).or_default();
            let news = mark > learner.acked.max(*casting).max(self.committed);
            let can = learner.own && learner.voter && learner.stage == Stage::Live;
            if news && can && self.view.verifier().is_quorum(&BTreeSet::from([own, learner.sid])) {
                *casting = mark;
                packet::put(&mut learner.out, kind::CASTING, mark, None);
            }
        }
    }

    /// Up to where a quorum of this configuration has everything durably.
    fn quorum_mark(&mut self, view: &QuorumView) -> Zxid {
        if let Some(granted) = self.granted_mark(view) {
            return granted;
        }
        let marks = &mut self.marks;
        marks.clear();
        if view.is_voter(self.settings.id) {
            marks.push(self.own_acked);
        }
        let counts =
            |learner: &Learner| !learner.observer && learner.stage == Stage::Live && view.is_voter(learner.sid);
        marks.extend(self.learners.values().filter(|learner| counts(learner)).map(|learner| learner.acked));
        marks.sort_unstable_by(|a, b| b.cmp(a));
        if let Verifier::Majority { voters } = view.verifier() {
            return marks.get(voters.len() / 2).copied().unwrap_or(Zxid::ZERO);
        }
        for &mark in marks.iter() {
            let voters = self.learners.values().filter(|learner| counts(learner) && learner.acked >= mark);
            let mut acks: BTreeSet<Sid> = voters.map(|learner| learner.sid).collect();
            if self.own_acked >= mark {
                acks.insert(self.settings.id);
            }
            if view.verifier().is_quorum(&acks) {
                return mark;
            }
        }
        Zxid::ZERO
    }

    fn answer_syncs(&mut self) {
        while let Some((_, link)) = self.syncs.pop_front_if(|(behind, _)| *behind <= self.committed) {
            if let Some(learner) = self.learners.get_mut(link) {
                packet::put(learner.lane(), kind::SYNC, Zxid::ZERO, None);
            }
        }
    }
}

impl Master for Leader {
    fn learners(&mut self) -> &mut Learners {
        &mut self.learners
    }

    fn is_over(&self) -> bool {
        self.over.is_some() || self.failed.is_some()
    }

    fn greeted(&mut self, link: LinkId, packet: &Packet<'_>, now: Now) -> Kept {
        let (info, accepted) = self.learners.introduced(packet, self.view.version())?;
        let observer = packet.kind == kind::OBSERVERINFO;
        let voter = !observer && self.view.is_voter(info.sid);
        // One that promised the next epoch, and comes again before it begins, is to wait for it.
        let newest = self.rolling.map_or(self.epoch, |rolling| rolling.epoch);
        if self.phase > Phase::Discovery && accepted > newest && voter {
            // It would never join this epoch. A new one, agreed on with it, is above what it has promised.
            self.over = Some(format!("voter {} has promised epoch {accepted}, above {}", info.sid, self.epoch));
            return Ok(());
        }
        if let Some(old) = self.learners.seat(link, &info, observer, voter) {
            self.drop_learner(old, true);
        }
        let asked = self.asked.entry(info.sid).or_default();
        asked.stale += std::mem::take(&mut asked.current);
        if self.phase == Phase::Discovery {
            self.epoch = self.epoch.max(accepted);
        } else if let Some(learner) = self.learners.get_mut(link).filter(|_| self.rolling.is_none()) {
            learner.put_leader_info(self.epoch, now);
        }
        Ok(())
    }

    fn promised(&mut self, link: LinkId, packet: &Packet<'_>) -> Kept {
        let Some(learner) = self.learners.get_mut(link) else { return Ok(()) };
        let current = Learner::promised(packet)?;
        if self.phase == Phase::Promise && current != -1 && (current, packet.zxid) > self.began_with {
            let (epoch, zxid) = self.began_with;
            let text = format!("its history ({current:#x}, {}) is ahead of ({epoch:#x}, {zxid})", packet.zxid);
            return Err(Broken::Other(text));
        }
        learner.stage = Stage::Promised;
        learner.promise_counts = current != -1;
        learner.history_end = packet.zxid;
        if let Some(casting) = self.casting.get(&learner.sid) {
            // It comes again, and its history is durable. What it took for final by its own vote, nobody may take back.
            self.decided = self.decided.max(packet.zxid.min(*casting));
        }
        Ok(())
    }

    fn took_over(&mut self, link: LinkId, packet: &Packet<'_>, now: Now) -> Kept {
        let serving = self.serving();
        let Some(learner) = self.learners.get_mut(link) else { return Ok(()) };
        learner.took_over(packet, self.epoch)?;
        if serving && learner.stage == Stage::Synced {
            learner.go_live(now);
        }
        Ok(())
    }

    fn live_packet(&mut self, link: LinkId, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Kept {
        let Some(learner) = self.learners.get_mut(link) else { return Ok(()) };
        match packet.kind {
            kind::ACK => {
                // With counter 0 it acknowledges the history once more; observers acknowledge nothing that counts.
                if packet.zxid.counter() == 0 || learner.observer {
                    return Ok(());
                }
                if packet.zxid > learner.sent {
                    let text = format!("{} is acknowledged, and only {} was proposed", packet.zxid, learner.sent);
                    return Err(Broken::Other(text));
                }
                learner.acked = learner.acked.max(packet.zxid);
                if learner.watched.is_some_and(|(zxid, _)| zxid <= learner.acked) {
                    learner.watched = (learner.sent > learner.acked).then_some((learner.sent, now.mono));
                }
            }
            kind::PING => {
                for (session, timeout_ms) in packet.touched()? {
                    replica.touch(session, timeout_ms, now);
                }
            }
            kind::NEXT_EPOCH => learner.promised_next = Some(packet.zxid.0 >> 32),
            kind::ENTER_EPOCH => {
                learner.entered = Some(packet.zxid.0 >> 32);
                if learner.entered == Some(self.epoch) {
                    // It comes late: a quorum had entered without it.
                    learner.acked = learner.acked.max(Zxid(self.epoch << 32));
                }
            }
            kind::REVALIDATE => {
                let (session, timeout_ms) = packet.asked_session()?;
                let valid = replica.revalidate(learner.sid, session, timeout_ms, now);
                packet::put_answered_session(learner.lane(), session, valid);
            }
            kind::REQUEST => {
                let request = packet.forwarded()?;
                let sid = learner.sid;
                if request.op == Op::Sync {
                    self.asked.entry(sid).or_default().current += 1;
                    replica.sync_forwarded(sid);
                } else {
                    replica.forwarded(sid, request, now);
                }
            }
            other => learner.ignore(other),
        }
        Ok(())
    }

    fn has_left(&mut self, learner: &Learner) {
        let alone = !self.learners.values().any(|other| other.voter && other.stage > Stage::Greeting);
        if self.phase == Phase::Discovery && learner.voter && alone {
            debug!("the last voter left during discovery");
            self.over = Some("every voter left before an epoch was agreed on".to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
