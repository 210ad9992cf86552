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

use proto::{Millis, SessionId, Sid, Zxid};

use crate::effect::{Effect, LinkId, Port, Ticket};
pub use crate::elector::ElectorSettings;
use crate::replica::{Forwarded, Payload, Replica};
use crate::view::QuorumView;
use pipeline::Now;

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
    /// As leader: every learner that has said who it is.
    pub learners: Vec<LearnerReport>,
    /// As leader: learners that came as followers, non-voting ones included.
    pub followers: usize,
    /// As leader: of these, who votes and has the history.
    pub synced_followers: usize,
    /// As leader: of these, who does not vote and has the history.
    pub synced_non_voting_followers: usize,
    /// As leader: observers.
    pub observers: usize,
    /// As leader: observers that have the history.
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

/// See the module's page.
pub struct Peer {
    settings: PeerSettings,
    view: QuorumView,
    failed: Option<String>,
    effects: Vec<Effect>,
}

impl Peer {
    /// A member of this ensemble that has not begun.
    pub fn new(settings: PeerSettings, view: QuorumView, _now: Millis) -> Peer {
        Peer { settings, view, failed: None, effects: Vec::new() }
    }

    /// Begins to look for a leader.
    pub fn start(&mut self, _replica: &mut impl Replica, _now: Now) {}

    /// Somebody connected to one of this member's ports.
    pub fn accepted(&mut self, _port: Port, link: LinkId, _replica: &mut impl Replica, _now: Now) {
        self.effects.push(Effect::Close(link));
    }

    /// The attempt has become this link.
    pub fn connected(&mut self, _ticket: Ticket, link: LinkId, _replica: &mut impl Replica, _now: Now) {
        self.effects.push(Effect::Close(link));
    }

    /// The attempt has failed.
    pub fn connect_failed(&mut self, _ticket: Ticket, _why: &str, _replica: &mut impl Replica, _now: Now) {}

    /// Bytes came on a link.
    pub fn received(&mut self, _link: LinkId, _bytes: &[u8], _replica: &mut impl Replica, _now: Now) {}

    /// The other side ended this link, or it broke.
    pub fn closed(&mut self, _link: LinkId, _replica: &mut impl Replica, _now: Now) {}

    /// Of what was sent on this link, so many bytes have not left yet. Reported when that number falls.
    pub fn drained(&mut self, _link: LinkId, _unsent_bytes: usize, _replica: &mut impl Replica, _now: Now) {}

    /// Time has passed.
    pub fn tick(&mut self, _replica: &mut impl Replica, _now: Now) {}

    /// When [`Peer::tick`] must be called at the latest, on the monotonic clock.
    pub fn next_deadline(&self) -> Millis {
        Millis(self.settings.tick_ms)
    }

    /// What the world must do since the last call, in order. What is sent on one link comes in one piece.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// As leader: the sequencer made this transaction. It is in the log's open group and not yet durable.
    pub fn proposed(&mut self, _zxid: Zxid, _payload: &Payload, _now: Now) {}

    /// The own log is durable up to here.
    pub fn durable(&mut self, _zxid: Zxid, _replica: &mut impl Replica, _now: Now) {}

    /// As learner: a write of an own client, for the leader.
    pub fn forward(&mut self, _request: Forwarded) {}

    /// As learner: an own client asks for a sync. Answered by [`Replica::synced`], in the order of calls.
    pub fn sync(&mut self) {}

    /// As learner: an own client comes back to a session. Answered by [`Replica::revalidated`].
    pub fn revalidate(&mut self, _session: SessionId, _timeout_ms: i32) {}

    /// As leader: what `from` asked to be synchronised with ends at `behind`.
    pub fn sync_reached(&mut self, _from: Sid, _behind: Zxid) {}

    /// What this member is.
    pub fn state(&self) -> PeerState {
        PeerState { phase: Phase::Looking, zab: Zab::Election, serving: false, leader: None, epoch: 0 }
    }

    /// Whom this member leads or follows.
    pub fn leader(&self) -> Option<Sid> {
        self.state().leader
    }

    /// The committed configuration.
    pub fn view(&self) -> &QuorumView {
        &self.view
    }

    /// Figures for operators.
    pub fn report(&self, _now: Now) -> PeerReport {
        PeerReport { quorum_size: self.view.voters().len(), ..PeerReport::default() }
    }

    /// Why the process must end, if it must: the disk refuses, or what it holds contradicts itself.
    pub fn failed(&self) -> Option<String> {
        self.failed.clone()
    }
}
