//! A leader and all its learners, from the first who connects to the day that the quorum is gone (peer-protocol.md §6, §7, §9).
//!
//! ```text
//!   leader    Discovery ──▶ Promise ──▶ Handover ──▶ Broadcast
//!             a quorum is   it accepts  it has the    transactions
//!             connected     the epoch   history
//!
//!   learner   Greeting ─▶ Joining ─▶ Promising ─▶ Promised ─▶ Syncing ─▶ Synced ─▶ Live
//!              (hello)    (LEADERINFO) (ACKEPOCH)   (plan, NEWLEADER) (ACK)  (UPTODATE)
//! ```
//!
//! What always holds: the accepted epoch is durable before a learner hears of it; the current epoch is durable before a learner gets
//! the history; nothing is final in an epoch before a quorum has the whole history, and no transaction before a quorum has it
//! durably. Acknowledgements are cumulative: of each learner one watermark is kept, and a new link begins without any. A learner that
//! breaks the protocol loses its link and nothing else happens. Kept out: who is elected, and what transactions are.

mod alone;
mod hand_over;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use pipeline::Now;
use proto::{Millis, Op, Sid, Zxid};
use tracing::{debug, info, warn};

use self::alone::Oracle;
pub use self::hand_over::HandOver;
use self::hand_over::Handing;
use crate::effect::{Effect, LinkId};
use crate::packet::{self, Broken, LearnerInfo, PROTOCOL, Packet, follows, kind};
use crate::peer::{LearnerReport, PeerReport, PeerSettings, Zab};
use crate::reconfig;
use crate::replica::{Payload, Replica, SnapshotStream};
use crate::sync::{self, Plan, Rules};
use crate::view::{QuorumView, Verifier};

/// Whether the learner's link is kept, or what ends it.
type Kept = Result<(), Broken>;

/// A history on its way to a learner fills a link up to here; more follows as it drains.
const WINDOW_BYTES: usize = 1 << 20;

/// How much of a snapshot is asked for at once.
const SNAPSHOT_PIECE_BYTES: usize = 256 << 10;

/// When an epoch's zxids are used up, a leader waits for a moment without proposals before it makes way, but not longer than so many
/// transactions. What remains behind them is more than one turn of the sequencer can use.
const ROLLOVER_GRACE: u32 = 0x8000;

/// How far the leadership has come. See the module's page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Discovery,
    Promise,
    Handover,
    Broadcast,
}

/// How far a learner has come. See the module's page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    /// It has not said who it is.
    Greeting,
    /// It waits for the epoch.
    Joining,
    /// It has heard the epoch.
    Promising,
    /// It has promised it, and waits for the history.
    Promised,
    /// The history is on its way.
    Syncing,
    /// It has the history durably.
    Synced,
    /// It has been told that the leader serves.
    Live,
}

/// A history on its way, and what must come behind it.
struct Feed {
    stream: Option<Box<dyn SnapshotStream>>,
    txns: VecDeque<(Zxid, Payload)>,
    /// Packets that were made meanwhile.
    tail: Vec<u8>,
    snapshot: bool,
}

struct Learner {
    sid: Sid,
    stage: Stage,
    observer: bool,
    voter: bool,
    /// It is one of ours, and can be told when its vote decides.
    own: bool,
    /// Its promise counts: it had not given it before.
    promise_counts: bool,
    /// The end of its history: when it came, and then as it was told to make it.
    history_end: Zxid,
    inbox: Vec<u8>,
    out: Vec<u8>,
    /// Handed over to the world, and not yet gone.
    unsent_bytes: usize,
    feed: Option<Feed>,
    /// COMMITs that came between NEWLEADER and UPTODATE. A learner of 3.8.0 breaks off when it meets one there whose proposal came before
    /// NEWLEADER, and its log suffers; behind UPTODATE every version takes them.
    held_commits: Vec<u8>,
    /// The last word of it, or the last progress of what is sent to it.
    heard: Millis,
    /// Everything up to here was sent.
    sent: Zxid,
    /// Everything up to here is durable there.
    acked: Zxid,
    /// The proposal that it must acknowledge within the sync limit, and when that began.
    watched: Option<(Zxid, Millis)>,
    /// It has sent what nobody expects, and that was said.
    strange: bool,
}

impl Learner {
    /// Where the next packet goes.
    fn lane(&mut self) -> &mut Vec<u8> {
        match &mut self.feed {
            Some(feed) => &mut feed.tail,
            None => &mut self.out,
        }
    }

    /// Where the next COMMIT goes.
    fn commit_lane(&mut self) -> &mut Vec<u8> {
        if self.feed.is_none() && self.stage < Stage::Live { &mut self.held_commits } else { self.lane() }
    }

    fn waiting_bytes(&self) -> usize {
        self.out.len()
            + self.held_commits.len()
            + self.unsent_bytes
            + self.feed.as_ref().map_or(0, |feed| feed.tail.len())
    }
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
    snap_syncs: u64,
    diff_syncs: u64,
    trunc_syncs: u64,
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
    next_ping: Millis,
    epoch: i64,
    /// Of this leader when it began: no learner may be ahead of it.
    began_with: (i64, Zxid),
    learners: BTreeMap<LinkId, Learner>,
    by_sid: BTreeMap<Sid, LinkId>,
    /// The last id given to an observer that has none.
    anonymous: i64,
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
    rolling_over: bool,
    oracle: Oracle,
    handing: Option<Handing>,
    /// Who is to lead when this is over.
    successor: Option<Sid>,
    figures: Figures,
    effects: Vec<Effect>,
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
        let next_ping = now.mono.plus(settings.tick_ms / 2);
        let mut leader = Leader {
            settings,
            view,
            // It was proposed in an earlier epoch: this one must not begin without a quorum of it.
            pending: last_seen.map(|view| (Zxid::ZERO, view)),
            activated: None,
            phase: Phase::Discovery,
            phase_until,
            next_ping,
            epoch: replica.accepted_epoch(),
            began_with,
            learners: BTreeMap::new(),
            by_sid: BTreeMap::new(),
            anonymous: 0,
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
            handing: None,
            successor: None,
            figures: Figures::default(),
            effects: Vec::new(),
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
    pub(crate) fn end(mut self) -> Vec<Effect> {
        let links: Vec<LinkId> = self.learners.keys().copied().collect();
        for link in links {
            // What was decided holds, and may be news: a configuration in which somebody else leads.
            self.drop_learner(link, true);
        }
        self.effects
    }

    /// Moves what is to be done into `all`, what is sent on one link in one piece.
    pub(crate) fn flush(&mut self, all: &mut Vec<Effect>) {
        all.append(&mut self.effects);
        for (&link, learner) in &mut self.learners {
            if !learner.out.is_empty() {
                learner.unsent_bytes += learner.out.len();
                all.push(Effect::Send { link, bytes: std::mem::take(&mut learner.out) });
            }
        }
    }

    pub(crate) fn accepted(&mut self, link: LinkId, now: Now) {
        let learner = Learner {
            sid: Sid(0),
            stage: Stage::Greeting,
            observer: false,
            voter: false,
            own: false,
            promise_counts: false,
            history_end: Zxid::ZERO,
            inbox: Vec::new(),
            out: Vec::new(),
            unsent_bytes: 0,
            feed: None,
            held_commits: Vec::new(),
            heard: now.mono,
            sent: Zxid::ZERO,
            acked: Zxid::ZERO,
            watched: None,
            strange: false,
        };
        self.learners.insert(link, learner);
    }

    pub(crate) fn received(&mut self, link: LinkId, bytes: &[u8], replica: &mut impl Replica, now: Now) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.inbox.extend_from_slice(bytes);
        learner.heard = now.mono;
        let inbox = std::mem::take(&mut learner.inbox);
        let mut read = 0;
        while self.over.is_none() && self.failed.is_none() && self.learners.contains_key(&link) {
            let taken = match Packet::take(&inbox[read..], self.settings.packet_bytes_max) {
                Ok(None) => break,
                Ok(Some((packet, size))) => self.packet(link, &packet, replica, now).map(|()| size),
                Err(broken) => Err(broken),
            };
            match taken {
                Ok(size) => read += size,
                Err(broken) => {
                    let sid = self.learners.get(&link).map_or(Sid(0), |learner| learner.sid);
                    warn!("learner {sid} is sent away: {broken}");
                    self.drop_learner(link, true);
                }
            }
        }
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.inbox = inbox;
            learner.inbox.drain(..read);
        }
        self.advance(replica, now);
    }

    pub(crate) fn closed(&mut self, link: LinkId, replica: &mut impl Replica, now: Now) {
        let Some(learner) = self.learners.get(&link) else { return };
        info!("learner {} is gone", learner.sid);
        self.forget_learner(link);
        self.advance(replica, now);
    }

    pub(crate) fn drained(&mut self, link: LinkId, unsent_bytes: usize, now: Now) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        if unsent_bytes < learner.unsent_bytes && learner.stage == Stage::Syncing {
            learner.heard = now.mono;
        }
        learner.unsent_bytes = unsent_bytes;
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
        if now.mono >= self.next_ping {
            self.next_ping = now.mono.plus(self.settings.tick_ms / 2);
            self.give_up_the_silent(now);
            self.consult(true);
            let zxid = self.proposed;
            for learner in self.learners.values_mut() {
                if learner.stage >= Stage::Syncing && learner.feed.is_none() {
                    packet::put(&mut learner.out, kind::PING, zxid, None);
                }
            }
        }
        self.advance(replica, now);
    }

    pub(crate) fn next_deadline(&self) -> Millis {
        let look_at = self.handing.map_or(self.next_ping, |handing| handing.look_at.min(self.next_ping));
        if self.phase == Phase::Broadcast { look_at } else { self.next_ping.min(self.phase_until) }
    }

    /// The sequencer made a transaction.
    pub(crate) fn proposed(&mut self, zxid: Zxid, payload: &Payload, now: Now) {
        if self.phase != Phase::Broadcast || self.over.is_some() {
            return;
        }
        assert!(follows(self.proposed, zxid), "a leader's transactions have no holes: {zxid} behind {}", self.proposed);
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
        let Some(&link) = self.by_sid.get(&from) else { return };
        self.syncs.push_back((behind, link));
        self.answer_syncs();
    }

    pub(crate) fn reset_proposal_sizes(&mut self) {
        (self.figures.last_bytes, self.figures.min_bytes, self.figures.max_bytes) = (None, None, None);
    }

    pub(crate) fn report(&self, now: Now, report: &mut PeerReport) {
        let size = |bytes: Option<usize>| bytes.map_or(-1, |bytes| bytes as i64);
        report.learners = (self.learners.values())
            .filter(|learner| learner.stage > Stage::Greeting)
            .map(|learner| LearnerReport {
                sid: learner.sid,
                voter: learner.voter,
                observer: learner.observer,
                synced: learner.stage >= Stage::Synced,
                acked: learner.acked,
                unsent_bytes: learner.waiting_bytes(),
            })
            .collect();
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
        report.snap_syncs = self.figures.snap_syncs;
        report.diff_syncs = self.figures.diff_syncs;
        report.trunc_syncs = self.figures.trunc_syncs;
    }

    // --- packets

    fn packet(&mut self, link: LinkId, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Kept {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        let moment = match learner.stage {
            Stage::Greeting => match packet.kind {
                kind::FOLLOWERINFO | kind::OBSERVERINFO => return self.greeted(link, packet, now),
                _ => "the learner had not said who it is",
            },
            Stage::Joining => "the learner had to wait for an epoch",
            Stage::Promising => match packet.kind {
                kind::ACKEPOCH => return self.promised(link, packet),
                _ => "the learner's promise was expected",
            },
            Stage::Promised => "the learner had to wait for the history",
            Stage::Syncing => match packet.kind {
                kind::ACK => return self.took_over(link, packet, now),
                // Java's learners are silent until then; what others say meanwhile only shows that they live.
                kind::PING => return Ok(()),
                _ => "the learner had to take over the history",
            },
            Stage::Synced if packet.kind == kind::ACK || packet.kind == kind::PING => return Ok(()),
            Stage::Synced => "the leader did not serve yet",
            Stage::Live => return self.live_packet(link, packet, replica, now),
        };
        Err(Broken::Moment { kind: packet.kind, moment })
    }

    fn live_packet(&mut self, link: LinkId, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Kept {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
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
            other => {
                if !std::mem::replace(&mut learner.strange, true) {
                    warn!(
                        "learner {} sent a packet of type {other}, which nobody expects; such are ignored",
                        learner.sid
                    );
                }
            }
        }
        Ok(())
    }

    /// FOLLOWERINFO or OBSERVERINFO.
    fn greeted(&mut self, link: LinkId, packet: &Packet<'_>, now: Now) -> Kept {
        let observer = packet.kind == kind::OBSERVERINFO;
        let info = LearnerInfo::decode(packet.data)?;
        let Some(info) = info.filter(|info| info.protocol >= PROTOCOL) else {
            let protocol = info.map_or(1, |info| info.protocol);
            return Err(Broken::Other(format!("it speaks protocol {protocol:#x}, older than ZooKeeper 3.4's")));
        };
        // Observers without a myid say −1 or the greatest number; each gets a number of its own.
        let sid = if info.sid.0 < 0 || info.sid.0 == i64::MAX {
            self.anonymous -= 1;
            Sid(self.anonymous)
        } else {
            info.sid
        };
        if sid == self.settings.id {
            return Err(Broken::Other(format!("it calls itself {sid}, as this member is called")));
        }
        if info.config_version > self.view.version() {
            let text = format!("its configuration {:x} is newer than {:x}", info.config_version, self.view.version());
            return Err(Broken::Other(text));
        }
        let accepted = packet.zxid.0 >> 32;
        if accepted >= i64::from(i32::MAX) {
            return Err(Broken::Other(format!("it has promised epoch {accepted}, after which there is none")));
        }
        let voter = !observer && self.view.is_voter(sid);
        if self.phase > Phase::Discovery && accepted > self.epoch && voter {
            // It would never join this epoch. A new one, agreed on with it, is above what it has promised.
            self.over = Some(format!("voter {sid} has promised epoch {accepted}, above {}", self.epoch));
            return Ok(());
        }
        if let Some(old) = self.by_sid.insert(sid, link) {
            info!("learner {sid} has connected again");
            self.drop_learner(old, true);
        }
        let asked = self.asked.entry(sid).or_default();
        asked.stale += std::mem::take(&mut asked.current);
        let epoch = self.epoch;
        let phase = self.phase;
        if phase == Phase::Discovery {
            self.epoch = self.epoch.max(accepted);
        }
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.sid = sid;
        learner.observer = observer;
        learner.voter = voter;
        learner.own = info.own;
        learner.stage = Stage::Joining;
        if phase > Phase::Discovery {
            put_leader_info(learner, epoch, now);
        }
        Ok(())
    }

    /// ACKEPOCH.
    fn promised(&mut self, link: LinkId, packet: &Packet<'_>) -> Kept {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        let data: [u8; 4] = packet.need_data()?.try_into().map_err(|_| proto::JuteError::Short)?;
        let current = i64::from(i32::from_be_bytes(data));
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

    /// The ACK of NEWLEADER.
    fn took_over(&mut self, link: LinkId, packet: &Packet<'_>, now: Now) -> Kept {
        let wanted = Zxid(self.epoch << 32);
        let serving = self.serving();
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        if learner.feed.is_some() {
            return Err(Broken::Moment { kind: kind::ACK, moment: "the history was still on its way" });
        }
        if packet.zxid != wanted && packet.zxid > learner.history_end && packet.zxid <= learner.sent {
            // ZooKeeper 3.8 logs what was proposed behind the history at once, and its acknowledgements of that may come first.
            learner.acked = learner.acked.max(packet.zxid);
            return Ok(());
        }
        if packet.zxid != wanted {
            return Err(Broken::Other(format!("{} is acknowledged where {wanted} was to be", packet.zxid)));
        }
        learner.stage = Stage::Synced;
        learner.acked = learner.acked.max(learner.history_end);
        if serving {
            go_live(learner, now);
        }
        Ok(())
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
            let waiting = self.learners.iter().filter(|(_, learner)| learner.stage == Stage::Promised);
            let waiting: Vec<LinkId> = waiting.map(|(&link, _)| link).collect();
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
        if self.rolling_over && self.over.is_none() {
            let last = self.settings.rollover_counter.saturating_add(ROLLOVER_GRACE);
            if self.outstanding.is_empty() || self.proposed.counter() >= last {
                self.over = Some(format!("epoch {} has used up its zxids", self.epoch));
            }
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
                put_leader_info(learner, self.epoch, now);
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
            if let Some((_, view)) = self.pending.take() {
                self.activate(view, self.settings.id);
            }
            self.figures.served_since = Some(now.mono);
            info!("leading epoch {} from {}", self.epoch, self.began_with.1);
            for learner in self.learners.values_mut().filter(|learner| learner.stage == Stage::Synced) {
                go_live(learner, now);
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
        let Some(learner) = self.learners.get(&link) else { return };
        let (peer, observer) = (learner.history_end, learner.observer);
        let serving = self.serving();
        // Until a quorum has it, the whole history is what the new epoch begins with.
        let bound = if serving { self.committed } else { replica.last_logged() };
        let rules = Rules {
            force_snapshot: self.settings.force_snapshot_sync,
            size_factor: self.settings.snapshot_size_factor,
            alone_from: self.settings.elector.oracle.then_some(self.began_with.1),
        };
        let plan = sync::plan(replica, peer, bound, &rules);
        let snapshot = matches!(plan, Plan::Snap);
        if observer && !self.has_room_for(snapshot) {
            info!("observer {} is sent away: too many are being brought up to date", learner.sid);
            self.drop_learner(link, true);
            return;
        }
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let mut feed = Feed { stream: None, txns: VecDeque::new(), tail: Vec::new(), snapshot };
        let figures = &mut self.figures;
        match plan {
            Plan::Diff { to, txns } => {
                info!("learner {} at {peer} gets a difference of {} to {to}", learner.sid, txns.len());
                packet::put(&mut learner.out, kind::DIFF, to, None);
                feed.txns = txns.into();
                figures.diff_syncs += 1;
            }
            Plan::Trunc { to, txns } => {
                info!("learner {} at {peer} is cut to {to}, and gets {}", learner.sid, txns.len());
                packet::put(&mut learner.out, kind::TRUNC, to, None);
                feed.txns = txns.into();
                figures.trunc_syncs += 1;
            }
            Plan::Snap => {
                let stream = replica.snapshot_stream();
                let from = stream.zxid();
                info!("learner {} at {peer} gets a snapshot at {from}", learner.sid);
                packet::put(&mut learner.out, kind::SNAP, from, None);
                let txns = &replica.history().txns;
                let start = txns.partition_point(|(zxid, _)| *zxid <= from);
                let end = txns.partition_point(|(zxid, _)| *zxid <= bound).max(start);
                feed.txns = txns.range(start..end).cloned().collect();
                feed.stream = Some(stream);
                figures.snap_syncs += 1;
            }
        }
        (learner.sent, learner.history_end) = (bound, bound);
        if serving && !observer {
            for proposal in &self.outstanding {
                packet::put(&mut feed.tail, kind::PROPOSAL, proposal.zxid, Some(&proposal.payload));
                learner.sent = proposal.zxid;
            }
        }
        learner.feed = Some(feed);
        learner.acked = Zxid::ZERO;
        learner.heard = now.mono;
        learner.stage = Stage::Syncing;
        self.feed(link);
    }

    /// Whether one more observer may be brought up to date. Voters always are, and count.
    fn has_room_for(&self, snapshot: bool) -> bool {
        let same = |learner: &&Learner| {
            learner.stage == Stage::Syncing && learner.feed.as_ref().is_some_and(|feed| feed.snapshot == snapshot)
        };
        let max = if snapshot { self.settings.snap_syncs_max } else { self.settings.diff_syncs_max };
        self.learners.values().filter(same).count() < max
    }

    /// Goes on with the history that a learner is getting, as far as there is room on its link.
    fn feed(&mut self, link: LinkId) {
        let new_leader = Zxid(self.epoch << 32);
        // Whoever takes over the history takes the configuration for final with UPTODATE. One that was proposed since comes as a proposal;
        // Java's leaders tell it here too, and a learner that comes then has it in force before it is final.
        let config = self.pending().filter(|_| !self.serving()).unwrap_or(&self.view).to_text();
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let Some(feed) = &mut learner.feed else { return };
        while learner.out.len() + learner.unsent_bytes < WINDOW_BYTES {
            if let Some(stream) = &mut feed.stream {
                if stream.fill(&mut learner.out, SNAPSHOT_PIECE_BYTES) {
                    feed.stream = None;
                }
                continue;
            }
            if let Some((zxid, payload)) = feed.txns.pop_front() {
                packet::put(&mut learner.out, kind::PROPOSAL, zxid, Some(&payload));
                packet::put(&mut learner.out, kind::COMMIT, zxid, None);
                continue;
            }
            learner.out.append(&mut feed.tail);
            packet::put(&mut learner.out, kind::NEWLEADER, new_leader, Some(config.as_bytes()));
            learner.feed = None;
            return;
        }
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
            for learner in self.learners.values_mut() {
                if learner.stage < Stage::Syncing {
                    continue;
                }
                let activates = designated.filter(|_| proposal.zxid == reached);
                if let Some(designated) = activates {
                    let mut data = designated.0.to_be_bytes().to_vec();
                    let kind = if learner.observer { kind::INFORMANDACTIVATE } else { kind::COMMITANDACTIVATE };
                    if learner.observer {
                        data.extend_from_slice(&proposal.payload);
                    }
                    let lane = if learner.observer { learner.lane() } else { learner.commit_lane() };
                    packet::put(lane, kind, proposal.zxid, Some(&data));
                } else if learner.observer {
                    packet::put(learner.lane(), kind::INFORM, proposal.zxid, Some(&proposal.payload));
                } else {
                    packet::put(learner.commit_lane(), kind::COMMIT, proposal.zxid, None);
                }
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
            if let Some(learner) = self.learners.get_mut(&link) {
                packet::put(learner.lane(), kind::SYNC, Zxid::ZERO, None);
            }
        }
    }

    // --- learners that go

    /// Sends away whoever has been silent, or behind, for too long.
    fn give_up_the_silent(&mut self, now: Now) {
        let sync_ms = self.settings.sync_limit * self.settings.tick_ms;
        let init_ms = self.settings.init_limit * self.settings.tick_ms;
        let mut late: Vec<(LinkId, &'static str)> = Vec::new();
        for (&link, learner) in &self.learners {
            let silent_ms = now.mono.since(learner.heard);
            let why = match learner.stage {
                Stage::Greeting | Stage::Promising | Stage::Syncing if silent_ms > init_ms => {
                    "it took too long to join"
                }
                Stage::Live if silent_ms > sync_ms => "nothing was heard of it for syncLimit",
                Stage::Live if learner.watched.is_some_and(|(_, since)| now.mono.since(since) > sync_ms) => {
                    "it did not acknowledge a proposal within syncLimit"
                }
                _ if learner.waiting_bytes() > self.settings.unsent_bytes_max => "too much waits to be sent to it",
                _ => continue,
            };
            late.push((link, why));
        }
        for (link, why) in late {
            let sid = self.learners.get(&link).map_or(Sid(0), |learner| learner.sid);
            warn!("learner {sid} is given up: {why}");
            self.drop_learner(link, false);
        }
    }

    /// Ends a link from this side; with its last bytes if they may matter to the learner.
    fn drop_learner(&mut self, link: LinkId, flush: bool) {
        if let Some(learner) = self.learners.get_mut(&link).filter(|learner| flush && !learner.out.is_empty()) {
            let bytes = std::mem::take(&mut learner.out);
            self.effects.push(Effect::Send { link, bytes });
        }
        self.effects.push(Effect::Close(link));
        self.forget_learner(link);
    }

    fn forget_learner(&mut self, link: LinkId) {
        let Some(learner) = self.learners.remove(&link) else { return };
        if self.by_sid.get(&learner.sid) != Some(&link) {
            // It never said who it is, or has connected again.
            return;
        }
        self.by_sid.remove(&learner.sid);
        let alone = !self.learners.values().any(|other| other.voter && other.stage > Stage::Greeting);
        if self.phase == Phase::Discovery && learner.voter && alone {
            debug!("the last voter left during discovery");
            self.over = Some("every voter left before an epoch was agreed on".to_owned());
        }
    }
}

fn put_leader_info(learner: &mut Learner, epoch: i64, now: Now) {
    packet::put(&mut learner.out, kind::LEADERINFO, Zxid(epoch << 32), Some(&PROTOCOL.to_be_bytes()));
    learner.stage = Stage::Promising;
    learner.heard = now.mono;
}

/// UPTODATE. From here on the learner answers pings.
fn go_live(learner: &mut Learner, now: Now) {
    packet::put(learner.lane(), kind::UPTODATE, Zxid(-1), None);
    let mut commits = std::mem::take(&mut learner.held_commits);
    learner.lane().append(&mut commits);
    learner.stage = Stage::Live;
    learner.heard = now.mono;
    learner.watched = (!learner.observer && learner.sent > learner.acked).then_some((learner.sent, now.mono));
}

#[cfg(test)]
mod tests;
