//! One member of the ensemble: it looks for a leader, then leads, follows or observes, and looks again when that ends.
//!
//! ```text
//!            ┌──────────────────────── the role ends ───────────────────────┐
//!            ▼                                                              │
//!         Looking ── the election names this member ──▶ Leading ────────────┤
//!            │ ───── it names another, and this one votes ──▶ Following ────┤
//!            └ ───── it names another, and this one does not ▶ Observing ───┘
//! ```
//!
//! The caller's contract: after each call, carry out [`Peer::effects`], and end the process when [`Peer::failed`] says so. Every
//! call is cheap; those that hand in bytes or time may call into the replica, which may wait for a disk where its page says so.
//!
//! What always holds: one role at a time; nothing of an earlier role's links reaches a later role; a vote is cast only for a
//! history that is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::Now;
use proto::request::Reconfig;
use proto::{Code, Millis, SessionId, Sid, Zxid};
use tracing::{info, warn};

use crate::effect::{Effect, HostPort, Inquiry, LinkId, Port, Ticket};
pub use crate::elector::ElectorSettings;
use crate::elector::{Elector, ServerState, Vote};
pub use crate::leader::HandOver;
use crate::leader::Leader;
use crate::learner::{Learner, Seen};
use crate::reconfig;
use crate::replica::{Forwarded, Payload, Replica};
use crate::view::{MemberRole, QuorumView};

/// A learner that comes before this member leads may say no more than so many bytes until then.
const EARLY_BYTES_MAX: usize = 64 << 10;

/// So long a learner waits for a member that follows: by then it leads, or does not mean to.
const EARLY_FOLLOWING_MS: i64 = 200;

/// So many links of learners may wait for this member to lead.
const EARLY_LINKS_MAX: usize = 1024;

/// A log that is not idle when a vote is due is looked at this often, besides whenever it has become durable.
const SETTLE_POLL_MS: i64 = 20;

/// After a second attempt in a row that came to nothing, a member waits this long before it looks again, and then longer and longer.
const FRUITLESS_MS: i64 = 20;

/// The longest such wait.
const FRUITLESS_MAX_MS: i64 = 1000;

/// Who was handed leadership, and is not there after so long, is not voted for any more where an oracle lets this member lead.
const SUCCESSOR_MS: i64 = 1000;

/// What one member's configuration says about its part in the ensemble.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// This member. Whether it votes is the view's to say.
    pub id: Sid,
    /// The unit of the limits below.
    pub tick_ms: i64,
    /// `initLimit`: ticks until a learner has joined and synchronised.
    pub init_limit: i64,
    /// `syncLimit`: ticks without a word before a peer is given up.
    pub sync_limit: i64,
    /// `connectToLearnerMasterLimit`: ticks for a learner's connecting; 0 takes `init_limit`.
    pub connect_to_learner_master_limit: i64,
    /// `leaderConnectDelayDuringRetryMs`.
    pub connect_retry_ms: i64,
    /// A packet with more data ends its link (`jute.maxbuffer` and what records may be larger).
    pub packet_bytes_max: usize,
    /// `snapshotSizeFactor`: a learner that would need more bytes of log than this part of the newest snapshot file gets a snapshot. Below 0:
    /// the log files are not read for learners.
    pub snapshot_size_factor: f64,
    /// `forceSnapshotSync`: every learner gets a snapshot.
    pub force_snapshot_sync: bool,
    /// `leader.maxConcurrentSnapSyncs`: an observer that needs a snapshot while so many are under way is sent away.
    pub snap_syncs_max: usize,
    /// `leader.maxConcurrentDiffSyncs`: the same without a snapshot.
    pub diff_syncs_max: usize,
    /// `observer.election.DelayMs`: an observer waits up to so long before it looks for a leader again.
    pub observer_election_delay_ms: i64,
    /// So many bytes may wait for one learner before it is given up.
    pub unsent_bytes_max: usize,
    /// When a leader's epoch has used up the zxids to this counter, it makes way for the next epoch.
    pub rollover_counter: u32,
    /// `reconfigEnabled`: configurations of peers are taken over.
    pub reconfig_enabled: bool,
    /// `standaloneEnabled=false`: one server alone may be an ensemble.
    pub lone_voter_allowed: bool,
    /// `observerMasterPort`: as follower this member serves observers at it, as observer it learns from those who do.
    pub observer_master_port: Option<u16>,
    /// `observerMaster.sizeLimit`: so many bytes may wait here for one observer, besides the history that it is getting.
    pub observer_master_bytes_max: usize,
    /// The election's.
    pub elector: ElectorSettings,
}

impl PeerSettings {
    /// ZooKeeper's defaults for member `id`, with a tick of two seconds, ten ticks to join and five to stay.
    pub fn new(id: Sid) -> PeerSettings {
        PeerSettings {
            id,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            connect_to_learner_master_limit: 0,
            connect_retry_ms: 100,
            packet_bytes_max: 0xFFFFF + 1024 * 1024,
            snapshot_size_factor: 0.33,
            force_snapshot_sync: false,
            snap_syncs_max: 10,
            diff_syncs_max: 100,
            observer_election_delay_ms: 200,
            unsent_bytes_max: 512 << 20,
            rollover_counter: 0xFFFF_0000,
            reconfig_enabled: false,
            lone_voter_allowed: false,
            observer_master_port: None,
            observer_master_bytes_max: 32 << 20,
            elector: ElectorSettings::new(id),
        }
    }
}

/// What a member is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It looks for a leader.
    Looking,
    /// It leads, or is about to.
    Leading,
    /// It follows, or is about to, and votes.
    Following,
    /// It learns without voting.
    Observing,
}

impl Phase {
    /// As Java says it in `srvr`'s "Mode" and mntr's `zk_server_state`, once it serves.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Looking => "looking",
            Phase::Leading => "leader",
            Phase::Following => "follower",
            Phase::Observing => "observer",
        }
    }
}

/// How far a member's part in the protocol has come (`ZabState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zab {
    /// Who leads is open.
    Election,
    /// A new epoch is agreed on.
    Discovery,
    /// The leader's history is taken over.
    Synchronization,
    /// Transactions are made.
    Broadcast,
}

impl Zab {
    /// As mntr's `zk_peer_state` says it behind the role.
    pub fn name(self) -> &'static str {
        match self {
            Zab::Election => "election",
            Zab::Discovery => "discovery",
            Zab::Synchronization => "synchronization",
            Zab::Broadcast => "broadcast",
        }
    }
}

/// What a member is, at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerState {
    /// Its role.
    pub phase: Phase,
    /// How far it has come in that role.
    pub zab: Zab,
    /// Clients may be served.
    pub serving: bool,
    /// Whom it leads or follows; itself if it leads.
    pub leader: Option<Sid>,
    /// That leader's epoch, once it is known; before, the epoch of the last one.
    pub epoch: i64,
}

/// What a leader knows of one learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LearnerReport {
    /// Its id; negative for an observer that has none.
    pub sid: Sid,
    /// It votes.
    pub voter: bool,
    /// It came as an observer.
    pub observer: bool,
    /// It has the leader's history.
    pub synced: bool,
    /// It has acknowledged everything up to here.
    pub acked: Zxid,
    /// Bytes that wait for it here.
    pub unsent_bytes: usize,
}

/// Figures of a member's part in the ensemble, for mntr, srvr and the admin server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerReport {
    /// Voters of the view.
    pub quorum_size: usize,
    /// As learner: whom it learns from, which for an observer need not be the leader.
    pub master: Option<Sid>,
    /// As follower: observers may learn from it.
    pub serves_observers: bool,
    /// As leader, or as follower that serves observers: every learner that has said who it is.
    pub learners: Vec<LearnerReport>,
    /// As leader: learners that came as followers, non-voting ones included.
    pub followers: usize,
    /// As leader: of these, who votes and has the history.
    pub synced_followers: usize,
    /// As leader: of these, who does not vote and has the history.
    pub synced_non_voting_followers: usize,
    /// Of these learners, observers.
    pub observers: usize,
    /// Of these learners, observers that have the history.
    pub synced_observers: usize,
    /// Syncs of learners (as leader) or own syncs (as learner) that wait for their answer.
    pub pending_syncs: usize,
    /// As leader: proposals that are not committed.
    pub outstanding_proposals: usize,
    /// As leader: proposals of this leadership.
    pub proposals: u64,
    /// As leader: transactions committed in this leadership.
    pub commits: u64,
    /// As leader: bytes of the last proposal, −1 before the first.
    pub last_proposal_size: i64,
    /// As leader: bytes of the smallest proposal, −1 before the first.
    pub min_proposal_size: i64,
    /// As leader: bytes of the largest proposal, −1 before the first.
    pub max_proposal_size: i64,
    /// As leader: milliseconds since it began to serve.
    pub leader_uptime_ms: i64,
    /// Milliseconds that the last election took until a leader was named.
    pub election_ms: i64,
    /// How this learner was brought up to date last, or how many of each kind this leader has sent.
    pub snap_syncs: u64,
    /// See above.
    pub diff_syncs: u64,
    /// See above.
    pub trunc_syncs: u64,
}

/// A link of a learner that waits for this member to lead.
struct Early {
    since: Millis,
    bytes: Vec<u8>,
}

enum Part {
    /// `asked`: the election has begun. Before, `not_before` must have come and the log be idle, which is looked at again at `poll_at`.
    Looking {
        asked: bool,
        since: Millis,
        not_before: Millis,
        poll_at: Millis,
        /// A reconfiguration named the next leader: no election is needed.
        appointed: Option<Vote>,
    },
    Leading(Box<Leader>),
    Learning(Box<Learner>),
}

/// See the module's page.
pub struct Peer {
    settings: Arc<PeerSettings>,
    view: Arc<QuorumView>,
    /// A newer configuration that was proposed, and of which it is not known that it is final.
    last_seen: Option<Arc<QuorumView>>,
    /// The newest configuration in the history with which this process began, for as long as its own has no version.
    recalled: Option<Arc<QuorumView>>,
    elector: Elector,
    part: Part,
    begun: bool,
    vote: Option<Vote>,
    /// The role has been told to the elector as one that serves.
    told: bool,
    /// Learners that came before this member leads.
    early: BTreeMap<LinkId, Early>,
    /// Where observers are accepted.
    listening: Vec<HostPort>,
    /// Odd: even ones are the elector's.
    next_ticket: u64,
    /// Roles in a row that ended before clients could be served.
    fruitless: u32,
    /// How often a role ended; spreads the observers' returns.
    ended: u64,
    want_snapshot: bool,
    election_ms: i64,
    /// Who is to lead next, by a reconfiguration.
    next_leader: Option<Sid>,
    /// Whom this member votes for in the next election, because it has handed over leadership.
    favoured: Option<Sid>,
    /// How many questions the oracle was asked, and which is without an answer.
    questions: u64,
    asked: Option<Inquiry>,
    failed: Option<String>,
    effects: Vec<Effect>,
}

impl Peer {
    /// A member of this ensemble that has not begun.
    pub fn new(settings: PeerSettings, view: QuorumView, now: Millis) -> Peer {
        let view = Arc::new(view);
        Peer {
            elector: Elector::new(settings.elector.clone(), view.clone(), now),
            settings: Arc::new(settings),
            view,
            last_seen: None,
            recalled: None,
            part: Part::Looking { asked: false, since: now, not_before: now, poll_at: now, appointed: None },
            begun: false,
            vote: None,
            told: false,
            early: BTreeMap::new(),
            listening: Vec::new(),
            next_ticket: 1,
            fruitless: 0,
            ended: 0,
            want_snapshot: false,
            election_ms: 0,
            next_leader: None,
            favoured: None,
            questions: 0,
            asked: None,
            failed: None,
            effects: Vec::new(),
        }
    }

    /// A newer configuration was seen before this process began, and it was not known to be final.
    pub fn seen(&mut self, view: QuorumView) {
        if self.settings.reconfig_enabled && view.version() > self.view.version() {
            self.last_seen = Some(Arc::new(view));
            self.elector.set_view(self.view.clone(), self.last_seen.clone());
        }
    }

    /// The newest configuration in the own history before this process began: it was proposed, whether or not this member noted that, and may
    /// be final. Where the own one has no version an operator has written it anew, perhaps for another ensemble's data: then it counts from
    /// when others tell of one with a version, which is older.
    pub fn recall(&mut self, view: QuorumView) {
        if self.view.version() > 0 {
            self.seen(view);
        } else {
            self.recalled = Some(Arc::new(view));
        }
    }

    /// Begins to look for a leader.
    pub fn start(&mut self, replica: &mut impl Replica, now: Now) {
        self.begun = true;
        self.part =
            Part::Looking { asked: false, since: now.mono, not_before: now.mono, poll_at: now.mono, appointed: None };
        if let Err(why) = check_epochs(replica) {
            self.failed = Some(why);
            return;
        }
        self.turn(replica, now);
    }

    /// Somebody connected to one of this member's ports.
    pub fn accepted(&mut self, port: Port, link: LinkId, replica: &mut impl Replica, now: Now) {
        match (port, &mut self.part) {
            (Port::Election, _) => self.elector.accepted(link, now.mono),
            (Port::Quorum, Part::Leading(leader)) => leader.accepted(link, now),
            // Who follows may be told in a moment that it is to lead: by a reconfiguration, of which others have heard already.
            (Port::Quorum, Part::Looking { .. } | Part::Learning(_)) if self.early.len() < EARLY_LINKS_MAX => {
                self.early.insert(link, Early { since: now.mono, bytes: Vec::new() });
            }
            (Port::Observers, Part::Learning(learner)) => learner.observer_accepted(link, now),
            // It is not this member that leads, or serves observers.
            (Port::Quorum | Port::Observers, _) => self.effects.push(Effect::Close(link)),
        }
        self.turn(replica, now);
    }

    /// The attempt has become this link.
    pub fn connected(&mut self, ticket: Ticket, link: LinkId, replica: &mut impl Replica, now: Now) {
        if self.elector.owns_ticket(ticket) {
            self.elector.connected(ticket, link, now.mono);
        } else {
            let wanted = match &mut self.part {
                Part::Learning(learner) => learner.connected(ticket, link, replica, now),
                _ => false,
            };
            if !wanted {
                self.effects.push(Effect::Close(link));
            }
        }
        self.turn(replica, now);
    }

    /// The attempt has failed.
    pub fn connect_failed(&mut self, ticket: Ticket, why: &str, replica: &mut impl Replica, now: Now) {
        if self.elector.owns_ticket(ticket) {
            self.elector.connect_failed(ticket, now.mono);
        } else if let Part::Learning(learner) = &mut self.part {
            learner.connect_failed(ticket, why, now);
        }
        self.turn(replica, now);
    }

    /// Bytes came on a link.
    pub fn received(&mut self, link: LinkId, bytes: &[u8], replica: &mut impl Replica, now: Now) {
        if self.elector.owns(link) {
            self.elector.received(link, bytes, now.mono);
        } else if let Some(early) = self.early.get_mut(&link) {
            early.bytes.extend_from_slice(bytes);
            if early.bytes.len() > EARLY_BYTES_MAX {
                warn!("a learner that came before this member leads said too much; its link is closed");
                self.early.remove(&link);
                self.effects.push(Effect::Close(link));
            }
        } else {
            match &mut self.part {
                Part::Leading(leader) => leader.received(link, bytes, replica, now),
                Part::Learning(learner) if learner.owns(link) => learner.received(bytes, replica, now),
                Part::Learning(learner) => learner.observer_received(link, bytes, replica, now),
                Part::Looking { .. } => {}
            }
        }
        self.turn(replica, now);
    }

    /// The other side ended this link, or it broke.
    pub fn closed(&mut self, link: LinkId, replica: &mut impl Replica, now: Now) {
        if self.elector.owns(link) {
            self.elector.closed(link, now.mono);
        } else if self.early.remove(&link).is_none() {
            match &mut self.part {
                Part::Leading(leader) => leader.closed(link, replica, now),
                Part::Learning(learner) if learner.owns(link) => learner.closed(link),
                Part::Learning(learner) => learner.observer_closed(link),
                Part::Looking { .. } => {}
            }
        }
        self.turn(replica, now);
    }

    /// Of what was sent on this link, so many bytes have not left yet. Reported when that number falls.
    pub fn drained(&mut self, link: LinkId, unsent_bytes: usize, replica: &mut impl Replica, now: Now) {
        if self.elector.owns(link) {
            self.elector.drained(link, unsent_bytes);
        } else {
            match &mut self.part {
                Part::Leading(leader) => leader.drained(link, unsent_bytes, now),
                Part::Learning(learner) => learner.observer_drained(link, unsent_bytes, now),
                Part::Looking { .. } => {}
            }
        }
        self.turn(replica, now);
    }

    /// Time has passed.
    pub fn tick(&mut self, replica: &mut impl Replica, now: Now) {
        self.elector.tick(now.mono);
        let next_ticket = &mut self.next_ticket;
        match &mut self.part {
            Part::Leading(leader) => leader.tick(replica, now),
            Part::Learning(learner) => learner.tick(|| take_ticket(next_ticket), now),
            Part::Looking { .. } => {}
        }
        let (limit_ms, effects) = (self.early_ms(), &mut self.effects);
        self.early.retain(|&link, early| {
            let waits = now.mono.since(early.since) < limit_ms;
            if !waits {
                effects.push(Effect::Close(link));
            }
            waits
        });
        self.turn(replica, now);
    }

    /// How long a learner that comes before this member leads may wait for that.
    fn early_ms(&self) -> i64 {
        let limit_ms = self.settings.init_limit * self.settings.tick_ms;
        if matches!(self.part, Part::Learning(_)) { EARLY_FOLLOWING_MS.min(limit_ms) } else { limit_ms }
    }

    /// When [`Peer::tick`] must be called at the latest, on the monotonic clock.
    pub fn next_deadline(&self) -> Millis {
        let own = match &self.part {
            Part::Looking { asked: false, not_before, poll_at, .. } => Some(*not_before.max(poll_at)),
            Part::Looking { .. } => None,
            Part::Leading(leader) => Some(leader.next_deadline()),
            Part::Learning(learner) => Some(learner.next_deadline()),
        };
        let limit_ms = self.early_ms();
        let early = self.early.values().map(|early| early.since.plus(limit_ms)).min();
        [own, early, self.elector.next_deadline()].into_iter().flatten().min().unwrap_or(Millis(i64::MAX))
    }

    /// What the world must do since the last call, in order. What is sent on one link comes in one piece.
    pub fn effects(&mut self) -> Vec<Effect> {
        let mut all = std::mem::take(&mut self.effects);
        all.extend(self.elector.effects());
        match &mut self.part {
            Part::Looking { .. } => {}
            Part::Leading(leader) => leader.flush(&mut all),
            Part::Learning(learner) => learner.flush(&mut all),
        }
        let wonders = self.asked.is_none()
            && match &mut self.part {
                Part::Looking { .. } => self.elector.takes_question(),
                Part::Leading(leader) => leader.takes_question(),
                Part::Learning(_) => false,
            };
        if wonders {
            self.questions += 1;
            let question = Inquiry(self.questions);
            self.asked = Some(question);
            all.push(Effect::AskOracle(question));
        }
        all
    }

    /// The oracle has answered.
    pub fn oracle_says(&mut self, question: Inquiry, yes: bool, replica: &mut impl Replica, now: Now) {
        if self.asked != Some(question) {
            return;
        }
        self.asked = None;
        match &mut self.part {
            Part::Looking { since, .. } => {
                if yes && now.mono.since(*since) >= SUCCESSOR_MS && self.favoured.take().is_some() {
                    // Leadership was handed over to nobody.
                    self.elector.favour(None);
                    self.elector.look(replica.last_logged(), replica.current_epoch(), now.mono);
                }
                self.elector.oracle_says(yes, now.mono);
            }
            Part::Leading(leader) => leader.oracle_says(yes, replica, now),
            Part::Learning(_) => {}
        }
        self.turn(replica, now);
    }

    /// As leader: the sequencer made this transaction. It is in the log's open group and not yet durable.
    pub fn proposed(&mut self, zxid: Zxid, payload: &Payload, now: Now) {
        if let Part::Leading(leader) = &mut self.part {
            leader.proposed(zxid, payload, now);
        }
    }

    /// The own log is durable up to here.
    pub fn durable(&mut self, zxid: Zxid, replica: &mut impl Replica, now: Now) {
        match &mut self.part {
            Part::Looking { .. } => {}
            Part::Leading(leader) => leader.durable(zxid, replica, now),
            Part::Learning(learner) => learner.durable(zxid, replica, now),
        }
        self.turn(replica, now);
    }

    /// As learner: a write of an own client, for the leader.
    pub fn forward(&mut self, request: Forwarded) {
        if let Part::Learning(learner) = &mut self.part {
            learner.forward(&request);
        }
    }

    /// As learner: an own client asks for a sync. Answered by [`Replica::synced`], in the order of calls.
    pub fn sync(&mut self) {
        if let Part::Learning(learner) = &mut self.part {
            learner.sync();
        }
    }

    /// As learner: an own client comes back to a session. Answered by [`Replica::revalidated`].
    pub fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        if let Part::Learning(learner) = &mut self.part {
            learner.revalidate(session, timeout_ms);
        }
    }

    /// As leader: what `from` asked to be synchronised with ends at `behind`.
    pub fn sync_reached(&mut self, from: Sid, behind: Zxid) {
        if let Part::Leading(leader) = &mut self.part {
            leader.sync_reached(from, behind);
        }
    }

    /// An operator wants another voter to lead, before this member goes down. Leadership goes to the voter that will win the next election, once
    /// it has acknowledged everything. Nothing should be proposed until then: see [`Peer::holds_writes`]. What this member does then is
    /// told by [`Peer::tick`], which is due at once.
    pub fn hand_over(&mut self, now: Now) -> HandOver {
        match &mut self.part {
            Part::Leading(leader) => leader.hand_over(now),
            _ => HandOver::NotLeading(self.leader()),
        }
    }

    /// As leader: new transactions had better wait, for the end of this leadership or for the next epoch.
    pub fn holds_writes(&self) -> bool {
        matches!(&self.part, Part::Leading(leader) if leader.holds_writes())
    }

    /// What this member is.
    pub fn state(&self) -> PeerState {
        let epoch = self.vote.map_or(0, |vote| vote.peer_epoch);
        match &self.part {
            Part::Looking { .. } => {
                PeerState { phase: Phase::Looking, zab: Zab::Election, serving: false, leader: None, epoch }
            }
            Part::Leading(leader) => PeerState {
                phase: Phase::Leading,
                zab: leader.zab(),
                serving: leader.serving(),
                leader: Some(self.settings.id),
                epoch: leader.epoch(),
            },
            Part::Learning(learner) => PeerState {
                phase: if learner.observer() { Phase::Observing } else { Phase::Following },
                zab: learner.zab(),
                serving: learner.serving(),
                leader: Some(learner.leader()),
                epoch: if learner.epoch() == 0 { epoch } else { learner.epoch() },
            },
        }
    }

    /// Whom this member leads or follows.
    pub fn leader(&self) -> Option<Sid> {
        self.state().leader
    }

    /// The committed configuration.
    pub fn view(&self) -> &QuorumView {
        &self.view
    }

    /// Forgets how large proposals were (`srst`).
    pub fn reset_proposal_sizes(&mut self) {
        if let Part::Leading(leader) = &mut self.part {
            leader.reset_proposal_sizes();
        }
    }

    /// As leader: the text of the configuration that is asked for, if it may follow the present one as transaction `zxid`; else what the
    /// client hears. Whether the client may ask is not looked at here.
    pub fn plan_reconfig(&self, asked: &Reconfig<'_>, zxid: Zxid) -> Result<String, Code> {
        let Part::Leading(leader) = &self.part else { return Err(Code::Unimplemented) };
        if leader.pending().is_some() {
            return Err(Code::ReconfigInProgress);
        }
        let voters_min = if self.settings.lone_voter_allowed { 1 } else { 2 };
        let next = reconfig::next_view(&self.view, asked, zxid, voters_min)?;
        if !leader.has_quorum_of(&next) {
            return Err(Code::NewConfigNoQuorum);
        }
        Ok(next.to_text())
    }

    /// Figures for operators.
    pub fn report(&self, now: Now) -> PeerReport {
        let mut report = PeerReport {
            quorum_size: self.view.voters().len(),
            election_ms: self.election_ms,
            last_proposal_size: -1,
            min_proposal_size: -1,
            max_proposal_size: -1,
            ..PeerReport::default()
        };
        match &self.part {
            Part::Looking { .. } => {}
            Part::Leading(leader) => leader.report(now, &mut report),
            Part::Learning(learner) => learner.report(&mut report),
        }
        report
    }

    /// Why the process must end, if it must: the disk refuses, or what it holds contradicts itself.
    pub fn failed(&self) -> Option<String> {
        self.failed.clone()
    }

    // --- from role to role

    /// Takes the steps that have become possible.
    fn turn(&mut self, replica: &mut impl Replica, now: Now) {
        while self.begun && self.failed.is_none() && self.step(replica, now) {}
        self.listen();
    }

    /// The port for observers is open while this member follows and serves.
    fn listen(&mut self) {
        let serves = matches!(&self.part, Part::Learning(learner) if learner.serves_observers());
        let Some(port) = self.settings.observer_master_port.filter(|_| serves || !self.listening.is_empty()) else {
            return;
        };
        // Who is removed goes on following, and serving where it did.
        let places = match self.view.member(self.settings.id).filter(|_| serves) {
            Some(member) => member.quorum().into_iter().map(|place| HostPort { port, ..place }).collect(),
            None if serves => return,
            None => Vec::new(),
        };
        if places != self.listening {
            self.listening.clone_from(&places);
            self.effects.push(Effect::Listen(places));
        }
    }

    fn step(&mut self, replica: &mut impl Replica, now: Now) -> bool {
        match &mut self.part {
            Part::Looking { asked: false, not_before, poll_at, appointed, .. } => {
                if now.mono < *not_before {
                    return false;
                }
                // A vote speaks of a history that is durable.
                if !replica.is_settled() {
                    *poll_at = now.mono.plus(SETTLE_POLL_MS);
                    return false;
                }
                if let Some(vote) = appointed.take() {
                    self.elected(vote, replica, now);
                    return true;
                }
                self.recall_seen(replica);
                self.elector.favour(self.favoured);
                self.elector.look(replica.last_logged(), replica.current_epoch(), now.mono);
                if let Part::Looking { asked, .. } = &mut self.part {
                    *asked = true;
                }
                true
            }
            Part::Looking { since, .. } => {
                if let Some(view) = self.elector.newer_view().filter(|_| self.settings.reconfig_enabled) {
                    info!(
                        "configuration {:x} is learned from a peer: {}",
                        view.version(),
                        reconfig::names(view.members())
                    );
                    self.install(Arc::new(view), replica);
                    self.elector.look(replica.last_logged(), replica.current_epoch(), now.mono);
                    return true;
                }
                let Some(vote) = self.elector.outcome() else { return false };
                self.election_ms = now.mono.since(*since);
                self.elected(vote, replica, now);
                true
            }
            Part::Leading(leader) => {
                if let Some(why) = leader.failed() {
                    self.failed = Some(why.to_owned());
                    return false;
                }
                if let Some((view, designated)) = leader.take_activated() {
                    self.install(view, replica);
                    self.next_leader = (designated != self.settings.id).then_some(designated);
                    return true;
                }
                if let Some(why) = leader.over() {
                    info!("no longer leading: {why}");
                    self.look_again(replica, now);
                    return true;
                }
                if self.elector.deserted() && !leader.serving() {
                    info!("those who elected this member look for another leader");
                    self.look_again(replica, now);
                    return true;
                }
                let serving = leader.serving().then_some((ServerState::Leading, leader.epoch()));
                if let Some(pending) =
                    leader.pending().filter(|pending| self.last_seen.as_ref() != Some(pending)).cloned()
                {
                    self.see(pending, Seen::Proposed, replica);
                }
                self.tell(serving)
            }
            Part::Learning(learner) => {
                if let Some(why) = learner.failed() {
                    self.failed = Some(why.to_owned());
                    return false;
                }
                if let Some((view, how)) = learner.take_seen() {
                    self.see(view, how, replica);
                    return true;
                }
                if let Some((view, designated)) = learner.take_activated() {
                    let leader = learner.leader();
                    let observed = learner.observer();
                    self.install(view, replica);
                    let moves = designated.is_some_and(|sid| sid != leader)
                        || self.view.member(leader).is_some_and(|_| !self.view.is_voter(leader));
                    let role = reconfig::role(&self.view, self.settings.id);
                    // Who is removed goes on following without a vote, as Java's servers do; who was nobody and votes now follows already.
                    let other_part = role.is_some_and(|role| (role == MemberRole::Observer) != observed);
                    if moves || other_part {
                        info!("no longer learning: the new configuration has another part for this member");
                        self.next_leader = designated;
                        self.look_again(replica, now);
                    }
                    return true;
                }
                if let Some(why) = learner.over() {
                    info!("no longer learning: {why}");
                    self.want_snapshot = learner.want_snapshot();
                    self.look_again(replica, now);
                    return true;
                }
                if self.elector.deserted() && !learner.serving() {
                    info!("the elected leader does not lead");
                    self.look_again(replica, now);
                    return true;
                }
                let state = if learner.observer() { ServerState::Observing } else { ServerState::Following };
                let serving = learner.serving().then_some((state, learner.epoch()));
                self.tell(serving)
            }
        }
    }

    /// The election named a leader.
    fn elected(&mut self, vote: Vote, replica: &mut impl Replica, now: Now) {
        self.vote = Some(vote);
        self.told = false;
        // If that came to nothing, it does not a second time.
        self.favoured = None;
        // The history is the leader's from now on.
        self.recalled = None;
        let early = std::mem::take(&mut self.early);
        if vote.leader == self.settings.id {
            info!("elected to lead from {}", replica.last_logged());
            self.elector.settle(ServerState::Leading, vote);
            // Its version is its transaction, which must be in the history that this leader begins with.
            let missing = |seen: &QuorumView| {
                let zxid = Zxid(seen.version());
                zxid.counter() != 0 && zxid > replica.last_logged()
            };
            if self.last_seen.as_deref().is_some_and(missing) {
                self.forget_seen(replica);
            }
            let last_seen = self.last_seen.clone().filter(|_| self.settings.reconfig_enabled);
            let mut leader = Leader::new(self.settings.clone(), self.view.clone(), last_seen, replica, now);
            self.asked = None;
            if self.elector.is_alone() {
                leader.elected_alone();
            }
            for (link, early) in early {
                leader.accepted(link, now);
                leader.received(link, &early.bytes, replica, now);
            }
            self.part = Part::Leading(Box::new(leader));
            return;
        }
        self.effects.extend(early.into_keys().map(Effect::Close));
        let ticket = take_ticket(&mut self.next_ticket);
        // Observers spread over the followers, and whoever comes back tries another one first; chance is not at hand here.
        let turn = (self.settings.id.0 as u64).wrapping_add(self.ended);
        let learner =
            Learner::new(self.settings.clone(), self.view.clone(), vote.leader, turn, self.want_snapshot, ticket, now);
        let state = if learner.observer() { ServerState::Observing } else { ServerState::Following };
        info!("{} was elected", vote.leader);
        self.elector.settle(state, vote);
        self.part = Part::Learning(Box::new(learner));
    }

    /// Once a role serves, votes are told with its epoch, so that those who come late see the same of everybody.
    fn tell(&mut self, serving: Option<(ServerState, i64)>) -> bool {
        let (Some((state, epoch)), Some(vote)) = (serving, self.vote) else { return false };
        if self.told && vote.peer_epoch == epoch {
            return false;
        }
        let vote = Vote { peer_epoch: epoch, ..vote };
        self.told = true;
        self.fruitless = 0;
        self.vote = Some(vote);
        self.elector.settle(state, vote);
        true
    }

    /// A configuration was proposed: elections need its servers as well from now on.
    fn see(&mut self, view: Arc<QuorumView>, how: Seen, replica: &mut impl Replica) {
        if !self.settings.reconfig_enabled {
            return;
        }
        if view.version() <= self.view.version() {
            if how == Seen::InHistory && self.last_seen.is_some() {
                self.forget_seen(replica);
            }
            return;
        }
        replica.saw_view(&view);
        self.last_seen = Some(view);
        self.elector.set_view(self.view.clone(), self.last_seen.clone());
    }

    /// A configuration that was proposed is one whose transaction the own history has behind the one in force: whatever this member
    /// noted of it elsewhere may be lost.
    fn recall_seen(&mut self, replica: &mut impl Replica) {
        let version = self.view.version();
        let newer = replica.history().txns.iter().rev().take_while(|(zxid, _)| zxid.0 > version);
        let found = newer.filter_map(|(_, payload)| reconfig::view_of(payload)).next();
        if let Some(view) =
            found.filter(|view| self.last_seen.as_ref().map(|seen| seen.version()) != Some(view.version()))
        {
            self.see(Arc::new(view), Seen::Proposed, replica);
        }
    }

    /// The configuration that was proposed will never be final.
    fn forget_seen(&mut self, replica: &mut impl Replica) {
        self.last_seen = None;
        // Nothing newer than this is to be found after a restart.
        replica.saw_view(&self.view);
        self.elector.set_view(self.view.clone(), None);
    }

    /// A configuration is final.
    fn install(&mut self, view: Arc<QuorumView>, replica: &mut impl Replica) {
        if !self.settings.reconfig_enabled || view.version() <= self.view.version() {
            return;
        }
        self.last_seen = self.last_seen.take().filter(|seen| seen.version() > view.version());
        self.view = view;
        self.elector.set_view(self.view.clone(), self.last_seen.clone());
        if let Part::Learning(learner) = &mut self.part {
            learner.has_view(self.view.clone());
        }
        replica.activated(&self.view);
        if let Some(recalled) = self.recalled.take().filter(|recalled| recalled.version() > self.view.version()) {
            replica.shows(&recalled);
            self.see(recalled, Seen::Proposed, replica);
        }
    }

    fn look_again(&mut self, replica: &mut impl Replica, now: Now) {
        let served = self.told;
        let observer = matches!(&self.part, Part::Learning(learner) if learner.observer());
        let looking =
            Part::Looking { asked: false, since: now.mono, not_before: now.mono, poll_at: now.mono, appointed: None };
        match std::mem::replace(&mut self.part, looking) {
            Part::Looking { .. } => {}
            Part::Leading(leader) => {
                self.favoured = leader.successor();
                self.effects.extend(leader.end());
            }
            Part::Learning(learner) => self.effects.extend(learner.end()),
        }
        self.elector.unsettle();
        self.asked = None;
        replica.stop_serving(now);
        self.ended += 1;
        let mut wait_ms = 0;
        if !served {
            self.fruitless += 1;
            if self.fruitless > 1 {
                wait_ms = (FRUITLESS_MS << self.fruitless.min(10)).min(FRUITLESS_MAX_MS);
            }
        }
        if observer {
            // Observers come back one after another; chance is not at hand here, and not needed.
            let spread = (self.settings.id.0 as u64).wrapping_mul(7919).wrapping_add(self.ended.wrapping_mul(104_729));
            wait_ms += (spread % (self.settings.observer_election_delay_ms.max(0) as u64 + 1)) as i64;
        }
        let appointed = self.next_leader.take().filter(|sid| self.view.is_voter(*sid));
        let appointed =
            appointed.zip(self.vote).map(|(leader, vote)| Vote { leader, zxid: replica.last_logged(), ..vote });
        let not_before = now.mono.plus(wait_ms);
        self.part = Part::Looking { asked: false, since: now.mono, not_before, poll_at: now.mono, appointed };
    }
}

fn take_ticket(next: &mut u64) -> Ticket {
    *next += 2;
    Ticket(*next - 2)
}

/// What the epochs must be to the log when a member begins (peer-protocol.md §13).
fn check_epochs(replica: &mut impl Replica) -> Result<(), String> {
    let logged = i64::from(replica.last_logged().epoch());
    // The log is a prefix of the history of that epoch's leader: what was lost is only the note of it.
    if replica.current_epoch() < logged {
        let written = replica.set_current_epoch(logged);
        written.map_err(|error| format!("currentEpoch cannot be written: {error}"))?;
    }
    let (accepted, current) = (replica.accepted_epoch(), replica.current_epoch());
    if accepted < current {
        return Err(format!(
            "acceptedEpoch {accepted:#x} is below currentEpoch {current:#x}: one of the files is wrong"
        ));
    }
    Ok(())
}
