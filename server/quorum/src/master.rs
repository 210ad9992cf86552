//! The learners of one master, which is a leader or a follower that serves observers: who they are, how each is brought up to date, and
//! what is kept ready for its link (peer-protocol.md §6, §7).
//!
//! ```text
//!   learner   Greeting ─▶ Joining ─▶ Promising ─▶ Promised ─▶ Syncing ─▶ Synced ─▶ Live
//!              (hello)    (LEADERINFO) (ACKEPOCH)   (plan, NEWLEADER) (ACK)  (UPTODATE)
//! ```
//!
//! What always holds: what is sent to a learner is in order, whether it goes out at once or waits behind the history that the
//! learner is getting; a learner that breaks the protocol loses its link and nothing else happens. Kept out: what is final, and
//! what becomes of what a learner asks for. Those are the master's ([`Master`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pipeline::Now;
use proto::{Millis, Sid, Zxid};
use tracing::{info, warn};

use crate::effect::{Effect, LinkId};
use crate::packet::{self, Broken, LearnerInfo, PROTOCOL, Packet, kind};
use crate::peer::{LearnerReport, PeerSettings};
use crate::replica::{Payload, Replica, SnapshotStream};
use crate::sync::{self, Plan, Rules};
use crate::view::QuorumView;

/// Whether the learner's link is kept, or what ends it.
pub(crate) type Kept = Result<(), Broken>;

/// A history on its way to a learner fills a link up to here; more follows as it drains.
pub(crate) const WINDOW_BYTES: usize = 1 << 20;

/// How much of a snapshot is asked for at once.
const SNAPSHOT_PIECE_BYTES: usize = 256 << 10;

/// How far a learner has come. See the module's page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
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

/// One learner, as its master sees it.
pub(crate) struct Learner {
    pub(crate) sid: Sid,
    pub(crate) stage: Stage,
    pub(crate) observer: bool,
    pub(crate) voter: bool,
    /// It is one of ours, and can be told when its vote decides, and what the next epoch is.
    pub(crate) own: bool,
    /// The epoch that it has promised while it followed in the one before.
    pub(crate) promised_next: Option<i64>,
    /// The epoch that it has entered so.
    pub(crate) entered: Option<i64>,
    /// Its promise counts: it had not given it before.
    pub(crate) promise_counts: bool,
    /// The end of its history: when it came, and then as it was told to make it.
    pub(crate) history_end: Zxid,
    inbox: Vec<u8>,
    pub(crate) out: Vec<u8>,
    /// Handed over to the world, and not yet gone.
    unsent_bytes: usize,
    feed: Option<Feed>,
    /// COMMITs that came between NEWLEADER and UPTODATE. A learner of 3.8.0 breaks off when it meets one there whose proposal came before
    /// NEWLEADER, and its log suffers; behind UPTODATE every version takes them.
    held_commits: Vec<u8>,
    /// The last word of it, or the last progress of what is sent to it.
    heard: Millis,
    /// Everything up to here was sent.
    pub(crate) sent: Zxid,
    /// Everything up to here is durable there.
    pub(crate) acked: Zxid,
    /// The proposal that it must acknowledge within the sync limit, and when that began.
    pub(crate) watched: Option<(Zxid, Millis)>,
    /// It has sent what nobody expects, and that was said.
    strange: bool,
}

impl Learner {
    fn new(now: Now) -> Learner {
        Learner {
            sid: Sid(0),
            stage: Stage::Greeting,
            observer: false,
            voter: false,
            own: false,
            promised_next: None,
            entered: None,
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
        }
    }

    /// Where the next packet goes.
    pub(crate) fn lane(&mut self) -> &mut Vec<u8> {
        match &mut self.feed {
            Some(feed) => &mut feed.tail,
            None => &mut self.out,
        }
    }

    /// Where the next COMMIT goes.
    fn commit_lane(&mut self) -> &mut Vec<u8> {
        if self.feed.is_none() && self.stage < Stage::Live { &mut self.held_commits } else { self.lane() }
    }

    /// Bytes that are kept ready for it here, apart from the history that it is getting.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out.len()
            + self.held_commits.len()
            + self.unsent_bytes
            + self.feed.as_ref().map_or(0, |feed| feed.tail.len())
    }

    /// An observer may have more of the master's epoch than the master knows to be final, if another master told it. What it has was final
    /// already, so that this master will know it too: until then the observer waits, and does not go back behind what its clients have seen.
    pub(crate) fn is_ahead_of(&self, final_to: Zxid) -> bool {
        let end = self.history_end;
        self.observer && end > final_to && end.epoch() == final_to.epoch() && end.counter() != 0
    }

    /// LEADERINFO.
    pub(crate) fn put_leader_info(&mut self, epoch: i64, now: Now) {
        packet::put(&mut self.out, kind::LEADERINFO, Zxid(epoch << 32), Some(&PROTOCOL.to_be_bytes()));
        self.stage = Stage::Promising;
        self.heard = now.mono;
    }

    /// ACKEPOCH: its current epoch, or −1 if it has given this promise before.
    pub(crate) fn promised(packet: &Packet<'_>) -> Result<i64, Broken> {
        let data: [u8; 4] = packet.need_data()?.try_into().map_err(|_| proto::JuteError::Short)?;
        Ok(i64::from(i32::from_be_bytes(data)))
    }

    /// An ACK while it takes over the history: the history's own, unless it is one of what was sent behind.
    pub(crate) fn took_over(&mut self, packet: &Packet<'_>, epoch: i64) -> Kept {
        let wanted = Zxid(epoch << 32);
        if self.feed.is_some() {
            return Err(Broken::Moment { kind: kind::ACK, moment: "the history was still on its way" });
        }
        if packet.zxid.counter() != 0 && packet.zxid <= self.sent {
            // ZooKeeper before 3.9.2 logs the history as it does proposals, and 3.8 what was proposed behind it as well. Its log's
            // thread acknowledges each of them, and may be first.
            self.acked = self.acked.max(packet.zxid);
            return Ok(());
        }
        if packet.zxid != wanted {
            return Err(Broken::Other(format!("{} is acknowledged where {wanted} was to be", packet.zxid)));
        }
        self.stage = Stage::Synced;
        self.acked = self.acked.max(self.history_end);
        Ok(())
    }

    /// UPTODATE. From here on the learner answers pings.
    pub(crate) fn go_live(&mut self, now: Now) {
        packet::put(self.lane(), kind::UPTODATE, Zxid(-1), None);
        let mut commits = std::mem::take(&mut self.held_commits);
        self.lane().append(&mut commits);
        self.stage = Stage::Live;
        self.heard = now.mono;
        self.watched = (!self.observer && self.sent > self.acked).then_some((self.sent, now.mono));
    }

    /// A transaction is final; `activates`: it is a configuration, in which this member leads.
    pub(crate) fn put_final(&mut self, zxid: Zxid, payload: &Payload, activates: Option<Sid>) {
        match (self.observer, activates) {
            (false, None) => packet::put(self.commit_lane(), kind::COMMIT, zxid, None),
            (false, Some(leader)) => {
                packet::put(self.commit_lane(), kind::COMMITANDACTIVATE, zxid, Some(&leader.0.to_be_bytes()));
            }
            (true, None) => packet::put(self.lane(), kind::INFORM, zxid, Some(payload)),
            (true, Some(leader)) => {
                let mut data = leader.0.to_be_bytes().to_vec();
                data.extend_from_slice(payload);
                packet::put(self.lane(), kind::INFORMANDACTIVATE, zxid, Some(&data));
            }
        }
    }

    /// Of a packet that nobody expects; says so once.
    pub(crate) fn ignore(&mut self, kind: i32) {
        if !std::mem::replace(&mut self.strange, true) {
            warn!("learner {} sent a packet of type {kind}, which nobody expects; such are ignored", self.sid);
        }
    }
}

/// All learners of one master. See the module's page.
pub(crate) struct Learners {
    settings: Arc<PeerSettings>,
    /// The end of the history with which the master began to lead.
    began_with: Zxid,
    by_link: BTreeMap<LinkId, Learner>,
    by_sid: BTreeMap<Sid, LinkId>,
    /// The last id given to an observer that has none.
    anonymous: i64,
    next_ping: Millis,
    /// Histories sent as snapshots, as differences, and with a truncation.
    synced_by: [u64; 3],
    effects: Vec<Effect>,
}

impl Learners {
    pub(crate) fn new(settings: Arc<PeerSettings>, began_with: Zxid, now: Now) -> Learners {
        Learners {
            next_ping: now.mono.plus(settings.tick_ms / 2),
            settings,
            began_with,
            by_link: BTreeMap::new(),
            by_sid: BTreeMap::new(),
            anonymous: 0,
            synced_by: [0; 3],
            effects: Vec::new(),
        }
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Learner> {
        self.by_link.get(&link)
    }

    pub(crate) fn get_mut(&mut self, link: LinkId) -> Option<&mut Learner> {
        self.by_link.get_mut(&link)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Learner> {
        self.by_link.values()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Learner> {
        self.by_link.values_mut()
    }

    /// Those for whom this holds.
    pub(crate) fn links(&self, holds: impl Fn(&Learner) -> bool) -> Vec<LinkId> {
        self.by_link.iter().filter(|(_, learner)| holds(learner)).map(|(&link, _)| link).collect()
    }

    pub(crate) fn link_of(&self, sid: Sid) -> Option<LinkId> {
        self.by_sid.get(&sid).copied()
    }

    pub(crate) fn next_ping(&self) -> Millis {
        self.next_ping
    }

    pub(crate) fn accepted(&mut self, link: LinkId, now: Now) {
        self.by_link.insert(link, Learner::new(now));
    }

    /// Moves what is to be done into `all`, what is sent on one link in one piece.
    pub(crate) fn flush(&mut self, all: &mut Vec<Effect>) {
        all.append(&mut self.effects);
        for (&link, learner) in &mut self.by_link {
            if !learner.out.is_empty() {
                learner.unsent_bytes += learner.out.len();
                all.push(Effect::Send { link, bytes: std::mem::take(&mut learner.out) });
            }
        }
    }

    /// Leaves all of them. What was decided holds, and may be news: a configuration in which somebody else leads.
    pub(crate) fn end(mut self) -> Vec<Effect> {
        for link in self.links(|_| true) {
            self.hang_up(link, true);
        }
        self.effects
    }

    pub(crate) fn drained(&mut self, link: LinkId, unsent_bytes: usize, now: Now) {
        let Some(learner) = self.by_link.get_mut(&link) else { return };
        if unsent_bytes < learner.unsent_bytes && learner.stage == Stage::Syncing {
            learner.heard = now.mono;
        }
        learner.unsent_bytes = unsent_bytes;
    }

    /// Pings everybody.
    pub(crate) fn ping(&mut self, zxid: Zxid, now: Now) {
        self.next_ping = now.mono.plus(self.settings.tick_ms / 2);
        for learner in self.by_link.values_mut() {
            if learner.stage >= Stage::Syncing && learner.feed.is_none() {
                packet::put(&mut learner.out, kind::PING, zxid, None);
            }
        }
    }

    /// FOLLOWERINFO or OBSERVERINFO: who it is, and the epoch that it has promised. `config_version` is the master's.
    pub(crate) fn introduced(
        &mut self,
        packet: &Packet<'_>,
        config_version: i64,
    ) -> Result<(LearnerInfo, i64), Broken> {
        let info = LearnerInfo::decode(packet.data)?;
        let Some(mut info) = info.filter(|info| info.protocol >= PROTOCOL) else {
            let protocol = info.map_or(1, |info| info.protocol);
            return Err(Broken::Other(format!("it speaks protocol {protocol:#x}, older than ZooKeeper 3.4's")));
        };
        // Observers without a myid say −1 or the greatest number; each gets a number of its own.
        if info.sid.0 < 0 || info.sid.0 == i64::MAX {
            self.anonymous -= 1;
            info.sid = Sid(self.anonymous);
        }
        if info.sid == self.settings.id {
            return Err(Broken::Other(format!("it calls itself {}, as this member is called", info.sid)));
        }
        if info.config_version > config_version {
            let text = format!("its configuration {:x} is newer than {config_version:x}", info.config_version);
            return Err(Broken::Other(text));
        }
        let accepted = packet.zxid.0 >> 32;
        if accepted >= i64::from(i32::MAX) {
            return Err(Broken::Other(format!("it has promised epoch {accepted}, after which there is none")));
        }
        Ok((info, accepted))
    }

    /// This link is that learner's from now on; the one that it had before, if it had one.
    pub(crate) fn seat(&mut self, link: LinkId, info: &LearnerInfo, observer: bool, voter: bool) -> Option<LinkId> {
        let learner = self.by_link.get_mut(&link)?;
        learner.sid = info.sid;
        learner.observer = observer;
        learner.voter = voter;
        learner.own = info.own;
        learner.stage = Stage::Joining;
        let old = self.by_sid.insert(info.sid, link)?;
        info!("learner {} has connected again", info.sid);
        Some(old)
    }

    // --- bringing a learner up to date

    /// Begins to send a learner what it lacks up to `bound`. Behind that comes what is put into its lane from now on. False: there are
    /// too many others, and nothing was begun.
    pub(crate) fn synchronise(&mut self, link: LinkId, bound: Zxid, replica: &mut impl Replica, now: Now) -> bool {
        let Some(learner) = self.by_link.get(&link) else { return true };
        let peer = learner.history_end;
        let rules = Rules {
            force_snapshot: self.settings.force_snapshot_sync,
            size_factor: self.settings.snapshot_size_factor,
            alone_from: self.settings.elector.oracle.then_some(self.began_with),
        };
        let plan = sync::plan(replica, peer, bound, &rules);
        let snapshot = matches!(plan, Plan::Snap);
        if learner.observer && !self.has_room_for(snapshot) {
            info!("observer {} is sent away: too many are being brought up to date", learner.sid);
            return false;
        }
        let Some(learner) = self.by_link.get_mut(&link) else { return true };
        let mut feed = Feed { stream: None, txns: VecDeque::new(), tail: Vec::new(), snapshot };
        let [snaps, diffs, truncs] = &mut self.synced_by;
        match plan {
            Plan::Diff { to, txns } => {
                info!("learner {} at {peer} gets a difference of {} to {to}", learner.sid, txns.len());
                packet::put(&mut learner.out, kind::DIFF, to, None);
                feed.txns = txns.into();
                *diffs += 1;
            }
            Plan::Trunc { to, txns } => {
                info!("learner {} at {peer} is cut to {to}, and gets {}", learner.sid, txns.len());
                packet::put(&mut learner.out, kind::TRUNC, to, None);
                feed.txns = txns.into();
                *truncs += 1;
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
                *snaps += 1;
            }
        }
        (learner.sent, learner.history_end) = (bound, bound);
        learner.feed = Some(feed);
        learner.acked = Zxid::ZERO;
        learner.heard = now.mono;
        learner.stage = Stage::Syncing;
        true
    }

    /// Whether one more observer may be brought up to date. Voters always are, and count.
    fn has_room_for(&self, snapshot: bool) -> bool {
        let same = |learner: &&Learner| {
            learner.stage == Stage::Syncing && learner.feed.as_ref().is_some_and(|feed| feed.snapshot == snapshot)
        };
        let max = if snapshot { self.settings.snap_syncs_max } else { self.settings.diff_syncs_max };
        self.by_link.values().filter(same).count() < max
    }

    /// Goes on with the history that a learner is getting, as far as there is room on its link. It ends with NEWLEADER of this epoch,
    /// and the configuration that belongs to the history.
    pub(crate) fn feed(&mut self, link: LinkId, epoch: i64, config: &QuorumView) {
        let Some(learner) = self.by_link.get_mut(&link) else { return };
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
            packet::put(&mut learner.out, kind::NEWLEADER, Zxid(epoch << 32), Some(config.to_text().as_bytes()));
            learner.feed = None;
            return;
        }
    }

    // --- learners that go

    /// Who has been silent, or behind, for too long, and why that is to be ended.
    fn late(&self, now: Now) -> Vec<(LinkId, &'static str)> {
        let sync_ms = self.settings.sync_limit * self.settings.tick_ms;
        let init_ms = self.settings.init_limit * self.settings.tick_ms;
        let why = |learner: &Learner| {
            let silent_ms = now.mono.since(learner.heard);
            match learner.stage {
                Stage::Greeting | Stage::Promising | Stage::Promised | Stage::Syncing if silent_ms > init_ms => {
                    Some("it took too long to join")
                }
                Stage::Live if silent_ms > sync_ms => Some("nothing was heard of it for syncLimit"),
                Stage::Live if learner.watched.is_some_and(|(_, since)| now.mono.since(since) > sync_ms) => {
                    Some("it did not acknowledge a proposal within syncLimit")
                }
                _ if learner.waiting_bytes() > self.settings.unsent_bytes_max => {
                    Some("too much waits to be sent to it")
                }
                _ => None,
            }
        };
        self.by_link.iter().filter_map(|(&link, learner)| Some((link, why(learner)?))).collect()
    }

    /// Closes a link from this side; with its last bytes if they may matter to the learner.
    fn hang_up(&mut self, link: LinkId, flush: bool) {
        if let Some(learner) = self.by_link.get_mut(&link).filter(|learner| flush && !learner.out.is_empty()) {
            let bytes = std::mem::take(&mut learner.out);
            self.effects.push(Effect::Send { link, bytes });
        }
        self.effects.push(Effect::Close(link));
    }

    /// A learner is gone. `None` if nobody knew who it was, or it has connected again.
    fn forget(&mut self, link: LinkId) -> Option<Learner> {
        let learner = self.by_link.remove(&link)?;
        if self.by_sid.get(&learner.sid) != Some(&link) {
            return None;
        }
        self.by_sid.remove(&learner.sid);
        Some(learner)
    }

    // --- for operators

    /// Every learner that has said who it is.
    pub(crate) fn reports(&self) -> Vec<LearnerReport> {
        let known = self.by_link.values().filter(|learner| learner.stage > Stage::Greeting);
        let report = |learner: &Learner| LearnerReport {
            sid: learner.sid,
            voter: learner.voter,
            observer: learner.observer,
            synced: learner.stage >= Stage::Synced,
            acked: learner.acked,
            unsent_bytes: learner.waiting_bytes(),
        };
        known.map(report).collect()
    }

    /// Histories sent as snapshots, as differences, and with a truncation.
    pub(crate) fn synced_by(&self) -> [u64; 3] {
        self.synced_by
    }
}

/// What leaders and observer masters do alike with what comes from a learner. What they do differently is in the methods without a body.
pub(crate) trait Master {
    fn learners(&mut self) -> &mut Learners;

    /// Nothing is taken from learners any more.
    fn is_over(&self) -> bool;

    /// FOLLOWERINFO or OBSERVERINFO.
    fn greeted(&mut self, link: LinkId, packet: &Packet<'_>, now: Now) -> Kept;

    /// ACKEPOCH.
    fn promised(&mut self, link: LinkId, packet: &Packet<'_>) -> Kept;

    /// An ACK while it takes over the history.
    fn took_over(&mut self, link: LinkId, packet: &Packet<'_>, now: Now) -> Kept;

    /// From one who has been told that the leader serves.
    fn live_packet(&mut self, link: LinkId, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Kept;

    /// It is gone.
    fn has_left(&mut self, _learner: &Learner) {}

    /// Takes the packets that have come on a link as a whole.
    fn take_packets(&mut self, link: LinkId, bytes: &[u8], replica: &mut impl Replica, now: Now) {
        let data_max = self.learners().settings.packet_bytes_max;
        let Some(learner) = self.learners().get_mut(link) else { return };
        learner.inbox.extend_from_slice(bytes);
        learner.heard = now.mono;
        let inbox = std::mem::take(&mut learner.inbox);
        let mut read = 0;
        while !self.is_over() && self.learners().get(link).is_some() {
            let taken = match Packet::take(&inbox[read..], data_max) {
                Ok(None) => break,
                Ok(Some((packet, size))) => self.packet(link, &packet, replica, now).map(|()| size),
                Err(broken) => Err(broken),
            };
            match taken {
                Ok(size) => read += size,
                Err(broken) => {
                    let sid = self.learners().get(link).map_or(Sid(0), |learner| learner.sid);
                    warn!("learner {sid} is sent away: {broken}");
                    self.drop_learner(link, true);
                }
            }
        }
        if let Some(learner) = self.learners().get_mut(link) {
            learner.inbox = inbox;
            learner.inbox.drain(..read);
        }
    }

    fn packet(&mut self, link: LinkId, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Kept {
        let Some(learner) = self.learners().get_mut(link) else { return Ok(()) };
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

    /// The link was closed from the other side.
    fn lost(&mut self, link: LinkId) {
        if let Some(learner) = self.learners().get(link) {
            info!("learner {} is gone", learner.sid);
            self.forget_learner(link);
        }
    }

    /// Sends away whoever has been silent, or behind, for too long.
    fn give_up_the_silent(&mut self, now: Now) {
        for (link, why) in self.learners().late(now) {
            self.give_up(link, why);
        }
    }

    /// Sends a learner away, without what waits for it.
    fn give_up(&mut self, link: LinkId, why: &str) {
        let sid = self.learners().get(link).map_or(Sid(0), |learner| learner.sid);
        warn!("learner {sid} is given up: {why}");
        self.drop_learner(link, false);
    }

    /// Ends a link from this side; with its last bytes if they may matter to the learner.
    fn drop_learner(&mut self, link: LinkId, flush: bool) {
        self.learners().hang_up(link, flush);
        self.forget_learner(link);
    }

    fn forget_learner(&mut self, link: LinkId) {
        if let Some(learner) = self.learners().forget(link) {
            self.has_left(&learner);
        }
    }
}
