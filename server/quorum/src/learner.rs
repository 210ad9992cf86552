//! A follower or an observer, from the connection to its leader to the day that the link ends (peer-protocol.md §6, §9).
//!
//! ```text
//!   Connecting ─▶ Greeted ─▶ Promised ─┬─ DIFF, TRUNC ──────────▶ Syncing ─▶ Settling ─▶ Settled ─▶ Live
//!    (FOLLOWERINFO) (LEADERINFO,       └─ SNAP ─▶ Snapshot ──────▶   │  NEWLEADER  │ durable, │ UPTODATE
//!                    ACKEPOCH)                                       │             │ epoch,   │
//!                                                                    │             │ ACK      │
//! ```
//!
//! What always holds: nothing is acknowledged before it is durable, and the history not before the epoch is written either. Nothing is
//! final here before the leader has said UPTODATE; until then another leader may still take it back. What the leader's history
//! contains is logged as it comes; what is only proposed while it comes is held, and logged after UPTODATE. The history has no
//! holes: a proposal that does not fit ends the link. Kept out: who leads, and what happens after the link has ended.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use pipeline::Now;
use proto::{Millis, SessionId, Sid, Zxid};
use tracing::{info, warn};

use crate::effect::{Effect, HostPort, LinkId, Port, Ticket};
use crate::observers::{Ask, Observers};
use crate::packet::{self, Broken, LearnerInfo, PROTOCOL, Packet, follows, kind};
use crate::peer::{PeerReport, PeerSettings, Zab};
use crate::reconfig;
use crate::replica::{Forwarded, Refused, Replica, Role};
use crate::view::QuorumView;

/// So often the leader's port is tried, and before it those of all observer masters.
const TRIES_MAX: u32 = 5;

/// So many bytes of proposals may be held before UPTODATE.
const HELD_BYTES_MAX: usize = 1 << 30;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Connecting,
    Greeted,
    Promised,
    Snapshot,
    Syncing,
    Settling,
    Settled,
    Live,
}

/// How a configuration came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// As a proposal.
    Proposed,
    /// With NEWLEADER: what was proposed by an earlier leader and is not in this one's history will never be final.
    InHistory,
}

/// Why the learner gives up this leader.
enum Why {
    /// The leader broke the protocol, or sent what cannot be taken.
    Leader(Broken),
    /// The own disk refuses: the process must end.
    Disk(String),
}

impl From<Broken> for Why {
    fn from(broken: Broken) -> Why {
        Why::Leader(broken)
    }
}

impl From<Refused> for Why {
    fn from(refused: Refused) -> Why {
        match refused {
            Refused::Malformed(text) => Why::Leader(Broken::Other(text)),
            Refused::Disk(error) => Why::Disk(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Why {
    fn from(error: std::io::Error) -> Why {
        Why::Disk(format!("the epoch cannot be written: {error}"))
    }
}

/// Where the leader's history can be had: at the leader, or for observers at a follower.
struct Source {
    sid: Sid,
    port: Port,
    addresses: Vec<HostPort>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.port == Port::Observers { "observer master" } else { "leader" };
        write!(f, "{what} {}", self.sid)
    }
}

/// See the module's page.
pub(crate) struct Learner {
    settings: Arc<PeerSettings>,
    view: Arc<QuorumView>,
    leader: Sid,
    /// Where it learns or tries to, in this order: observer masters, round by round, and at last the leader.
    sources: Vec<Source>,
    source: usize,
    observer: bool,
    /// Only a snapshot helps: an earlier attempt to go back to what the leader has failed.
    want_snapshot: bool,
    stage: Stage,
    ticket: Option<Ticket>,
    next_try: Option<Millis>,
    /// Of the leader, or rounds of its observer masters, that came to nothing.
    tries: u32,
    connect_until: Millis,
    link: Option<LinkId>,
    heard: Millis,
    inbox: Vec<u8>,
    out: Vec<u8>,
    epoch: i64,
    /// The snapshot that was taken over. What is said to lie behind it may lie in it.
    snapshot: Option<Zxid>,
    /// Proposals that came before they could be logged, in order, and how many of them are final.
    held: VecDeque<(Zxid, Vec<u8>)>,
    held_final: usize,
    held_bytes: usize,
    /// The last transaction that the leader sent, or the end of the own history before it sent any.
    last: Zxid,
    /// The end of the leader's history as it was taken over.
    history_end: Zxid,
    /// Logged, and not yet final, in order.
    pending: VecDeque<Zxid>,
    /// Final by this member's own vote, and the leader has not said so yet, in order.
    cast: VecDeque<Zxid>,
    /// Up to here this member's own copy is all that a quorum still needs.
    casting: Zxid,
    /// Logged, and not yet acknowledged, in order.
    unacked: VecDeque<Zxid>,
    /// Final, and not yet said so to the replica.
    commit: Option<Zxid>,
    /// A configuration that the leader proposed, or that came with its history.
    seen: Option<(Arc<QuorumView>, Seen)>,
    /// It is in force with UPTODATE.
    with_history: Option<Arc<QuorumView>>,
    /// The newest one that a transaction of the history before NEWLEADER makes.
    in_history: Option<Arc<QuorumView>>,
    /// Proposed with this transaction, and not final.
    proposed_view: Option<(Zxid, Arc<QuorumView>)>,
    /// Final, and who leads in it, if that was said.
    activated: Option<(Arc<QuorumView>, Option<Sid>)>,
    /// Who waits for the leader's answers to syncs: own clients, or an observer on this link.
    syncs: VecDeque<Option<LinkId>>,
    /// Observers that wait for the leader's word on a session, and own clients, in the order of the questions.
    asked: VecDeque<(SessionId, i32, Option<LinkId>)>,
    /// As follower that serves observers.
    observers: Option<Observers>,
    /// This epoch is entered when everything up to here is durable.
    entering: Option<(i64, Zxid)>,
    /// The leader has sent what nobody expects, and that was said.
    strange: bool,
    synced_by: [u64; 3],
    effects: Vec<Effect>,
    over: Option<String>,
    failed: Option<String>,
}

impl Learner {
    /// Begins to connect to the leader, or as an observer to one of its followers; `turn` says which of those is the first.
    pub(crate) fn new(
        settings: Arc<PeerSettings>,
        view: Arc<QuorumView>,
        leader: Sid,
        turn: u64,
        want_snapshot: bool,
        ticket: Ticket,
        now: Now,
    ) -> Learner {
        let limit = match settings.connect_to_learner_master_limit {
            0 => settings.init_limit,
            limit => limit,
        };
        let observer = view.member(settings.id).is_some() && !view.is_voter(settings.id);
        let mut learner = Learner {
            leader,
            sources: sources(&settings, &view, leader, observer, turn),
            source: 0,
            view,
            observer,
            want_snapshot,
            stage: Stage::Connecting,
            ticket: None,
            next_try: None,
            tries: 0,
            connect_until: now.mono.plus(limit * settings.tick_ms),
            link: None,
            heard: now.mono,
            inbox: Vec::new(),
            out: Vec::new(),
            epoch: 0,
            snapshot: None,
            held: VecDeque::new(),
            held_final: 0,
            held_bytes: 0,
            last: Zxid::ZERO,
            history_end: Zxid::ZERO,
            pending: VecDeque::new(),
            cast: VecDeque::new(),
            casting: Zxid::ZERO,
            unacked: VecDeque::new(),
            commit: None,
            seen: None,
            with_history: None,
            in_history: None,
            proposed_view: None,
            activated: None,
            syncs: VecDeque::new(),
            asked: VecDeque::new(),
            observers: None,
            entering: None,
            strange: false,
            synced_by: [0; 3],
            effects: Vec::new(),
            over: None,
            failed: None,
            settings,
        };
        if learner.sources.is_empty() {
            learner.over = Some(format!("no address of {leader} is known"));
        } else {
            learner.connect(ticket, now);
        }
        learner
    }

    /// Where it learns or tries to.
    fn source(&self) -> &Source {
        &self.sources[self.source]
    }

    /// The member whose link this is.
    pub(crate) fn master(&self) -> Option<Sid> {
        self.sources.get(self.source).map(|source| source.sid)
    }

    pub(crate) fn zab(&self) -> Zab {
        match self.stage {
            Stage::Connecting | Stage::Greeted => Zab::Discovery,
            Stage::Live => Zab::Broadcast,
            _ => Zab::Synchronization,
        }
    }

    pub(crate) fn serving(&self) -> bool {
        self.stage == Stage::Live
    }

    pub(crate) fn observer(&self) -> bool {
        self.observer
    }

    pub(crate) fn leader(&self) -> Sid {
        self.leader
    }

    /// The leader's epoch; 0 before it has said it.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(crate) fn want_snapshot(&self) -> bool {
        self.want_snapshot
    }

    pub(crate) fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    pub(crate) fn owns(&self, link: LinkId) -> bool {
        self.link == Some(link)
    }

    /// Leaves the leader, and with it all observers.
    pub(crate) fn end(mut self) -> Vec<Effect> {
        if let Some(observers) = self.observers.take() {
            self.effects.extend(observers.end());
        }
        if let Some(link) = self.link.take() {
            if !self.out.is_empty() {
                self.effects.push(Effect::Send { link, bytes: std::mem::take(&mut self.out) });
            }
            self.effects.push(Effect::Close(link));
        }
        if let Some(ticket) = self.ticket.take() {
            self.effects.push(Effect::Forget(ticket));
        }
        self.effects
    }

    /// Moves what is to be done into `all`, what is sent in one piece.
    pub(crate) fn flush(&mut self, all: &mut Vec<Effect>) {
        all.append(&mut self.effects);
        if let Some(observers) = &mut self.observers {
            observers.flush(all);
        }
        if let Some(link) = self.link.filter(|_| !self.out.is_empty()) {
            all.push(Effect::Send { link, bytes: std::mem::take(&mut self.out) });
        }
    }

    // --- the link

    fn connect(&mut self, ticket: Ticket, now: Now) {
        self.ticket = Some(ticket);
        self.next_try = None;
        let remaining_ms = self.connect_until.since(now.mono).max(1);
        let Source { sid, port, addresses } = &self.sources[self.source];
        // There are others.
        let is_one_of_many = *port == Port::Observers;
        let patience_ms = if is_one_of_many {
            self.settings.elector.connect_timeout_ms
        } else {
            self.settings.sync_limit * self.settings.tick_ms
        };
        self.effects.push(Effect::Connect {
            ticket,
            peer: *sid,
            port: *port,
            addresses: addresses.clone(),
            timeout_ms: remaining_ms.min(patience_ms),
        });
    }

    /// True if the ticket is this learner's.
    pub(crate) fn connected(&mut self, ticket: Ticket, link: LinkId, replica: &impl Replica, now: Now) -> bool {
        if self.ticket != Some(ticket) {
            return false;
        }
        self.ticket = None;
        self.link = Some(link);
        self.heard = now.mono;
        self.stage = Stage::Greeted;
        let (sid, config_version) = (self.settings.id, self.view.version());
        let info = LearnerInfo { sid, protocol: PROTOCOL, config_version, own: true };
        let kind = if self.observer { kind::OBSERVERINFO } else { kind::FOLLOWERINFO };
        packet::put(&mut self.out, kind, Zxid(replica.accepted_epoch() << 32), Some(&info.encode()));
        true
    }

    pub(crate) fn connect_failed(&mut self, ticket: Ticket, why: &str, now: Now) {
        if self.ticket != Some(ticket) {
            return;
        }
        self.ticket = None;
        let leader = self.sources.len() - 1;
        let later = Some(now.mono.plus(self.settings.connect_retry_ms));
        if now.mono >= self.connect_until {
            self.over = Some(format!("{} cannot be reached: {why}", self.source()));
        } else if self.source + 1 < leader {
            self.source += 1;
            self.next_try = Some(now.mono);
        } else {
            self.tries += 1;
            match (self.tries < TRIES_MAX, self.source == leader) {
                (true, true) => self.next_try = later,
                (true, false) => (self.source, self.next_try) = (0, later),
                (false, true) => self.over = Some(format!("{} cannot be reached: {why}", self.source())),
                (false, false) => {
                    info!("no follower serves observers: learning from leader {}", self.leader);
                    (self.source, self.tries, self.next_try) = (leader, 0, Some(now.mono));
                }
            }
        }
    }

    pub(crate) fn closed(&mut self, link: LinkId) {
        if self.link == Some(link) {
            self.link = None;
            self.over = Some(format!("{} closed the link", self.source()));
        }
    }

    /// How long the leader may be silent.
    fn patience_ms(&self) -> i64 {
        let limit = if self.stage >= Stage::Settled { self.settings.sync_limit } else { self.settings.init_limit };
        limit * self.settings.tick_ms
    }

    pub(crate) fn tick(&mut self, new_ticket: impl FnOnce() -> Ticket, now: Now) {
        if self.over.is_some() || self.failed.is_some() {
            return;
        }
        if self.stage == Stage::Connecting {
            if now.mono >= self.connect_until {
                self.over = Some(format!("{} was not reached in time", self.source()));
            } else if self.next_try.is_some_and(|at| now.mono >= at) {
                self.connect(new_ticket(), now);
            }
        } else if now.mono.since(self.heard) >= self.patience_ms() {
            self.over = Some(format!("nothing was heard of {} for {} ms", self.source(), self.patience_ms()));
        } else if let Some(observers) = &mut self.observers {
            observers.tick(now);
        }
    }

    pub(crate) fn next_deadline(&self) -> Millis {
        if self.stage == Stage::Connecting {
            self.next_try.unwrap_or(self.connect_until).min(self.connect_until)
        } else {
            let late = self.heard.plus(self.patience_ms());
            self.observers.as_ref().map_or(late, |observers| observers.next_deadline().min(late))
        }
    }

    // --- what comes from observers

    /// Observers may learn from this follower.
    pub(crate) fn serves_observers(&self) -> bool {
        self.observers.is_some()
    }

    /// Somebody connected to the port for observers. False if it should be closed.
    pub(crate) fn observer_accepted(&mut self, link: LinkId, now: Now) {
        match &mut self.observers {
            Some(observers) => observers.accepted(link, now),
            None => self.effects.push(Effect::Close(link)),
        }
    }

    pub(crate) fn observer_received(&mut self, link: LinkId, bytes: &[u8], replica: &mut impl Replica, now: Now) {
        let Some(observers) = &mut self.observers else { return };
        observers.received(link, bytes, replica, now);
        for ask in observers.take_asks() {
            match ask {
                Ask::Request(request) => self.forward(&request),
                Ask::Sync(link) => self.ask_sync(Some(link)),
                Ask::Revalidate(link, session, timeout_ms) => self.ask_session(session, timeout_ms, Some(link)),
            }
        }
    }

    pub(crate) fn observer_closed(&mut self, link: LinkId) {
        if let Some(observers) = &mut self.observers {
            observers.closed(link);
        }
    }

    pub(crate) fn observer_drained(&mut self, link: LinkId, unsent_bytes: usize, now: Now) {
        if let Some(observers) = &mut self.observers {
            observers.drained(link, unsent_bytes, now);
        }
    }

    /// This configuration is in force.
    pub(crate) fn has_view(&mut self, view: Arc<QuorumView>) {
        self.view = view.clone();
        if let Some(observers) = &mut self.observers {
            observers.has_view(view);
        }
    }

    // --- what comes from the leader

    pub(crate) fn received(&mut self, bytes: &[u8], replica: &mut impl Replica, now: Now) {
        if self.over.is_some() || self.failed.is_some() {
            return;
        }
        self.heard = now.mono;
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.extend_from_slice(bytes);
        let mut read = 0;
        let end = loop {
            match self.take(&inbox[read..], replica, now) {
                Ok(Some(size)) => read += size,
                Ok(None) => break Ok(()),
                Err(why) => break Err(why),
            }
        };
        self.flush_commit(replica, now);
        match end {
            Ok(()) => {
                inbox.drain(..read);
                self.inbox = inbox;
            }
            Err(Why::Leader(broken)) => {
                warn!("{} is left: {broken}", self.source());
                self.over = Some(broken.to_string());
            }
            Err(Why::Disk(why)) => self.failed = Some(why),
        }
    }

    /// One packet, or a piece of a snapshot: how many bytes were used. `None`: more must come first.
    fn take(&mut self, bytes: &[u8], replica: &mut impl Replica, now: Now) -> Result<Option<usize>, Why> {
        if self.stage == Stage::Snapshot {
            if bytes.is_empty() {
                return Ok(None);
            }
            let Some(size) = replica.snapshot_received(bytes)? else { return Ok(Some(bytes.len())) };
            self.stage = Stage::Syncing;
            info!("the snapshot of {} at {} has come", self.source(), self.last);
            return Ok(Some(size));
        }
        let Some((packet, size)) = Packet::take(bytes, self.settings.packet_bytes_max)? else { return Ok(None) };
        self.packet(&packet, replica, now)?;
        Ok(Some(size))
    }

    fn packet(&mut self, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Result<(), Why> {
        let moment = match self.stage {
            Stage::Connecting => "no link was there",
            Stage::Greeted => match packet.kind {
                kind::LEADERINFO => return self.new_epoch(packet, replica),
                kind::NEWLEADER => {
                    let text = "it speaks a protocol older than ZooKeeper 3.4's";
                    return Err(Broken::Other(text.to_owned()).into());
                }
                _ => "the epoch was expected",
            },
            Stage::Promised => match packet.kind {
                kind::DIFF | kind::TRUNC | kind::SNAP => return self.begin_sync(packet, replica),
                kind::PING => return Ok(()),
                _ => "DIFF, TRUNC or SNAP was expected",
            },
            Stage::Snapshot => "a snapshot was expected",
            Stage::Syncing | Stage::Settling | Stage::Settled => match packet.kind {
                kind::PROPOSAL => return self.hold(packet),
                kind::COMMIT | kind::COMMITANDACTIVATE => return self.held_is_final(packet.zxid, replica, now),
                kind::INFORM | kind::INFORMANDACTIVATE if self.observer => {
                    self.hold(packet)?;
                    return self.held_is_final(packet.zxid, replica, now);
                }
                kind::PING => return Ok(()),
                kind::NEWLEADER if self.stage == Stage::Syncing => return self.history_ends(packet, replica),
                kind::UPTODATE if self.stage == Stage::Settled => return self.go_live(replica, now),
                _ => "the leader's history was expected",
            },
            Stage::Live => return self.live_packet(packet, replica, now),
        };
        Err(Broken::Moment { kind: packet.kind, moment }.into())
    }

    /// LEADERINFO.
    fn new_epoch(&mut self, packet: &Packet<'_>, replica: &mut impl Replica) -> Result<(), Why> {
        let epoch = packet.zxid.0 >> 32;
        let accepted = replica.accepted_epoch();
        // Nobody counts on what an observer has promised, and whoever it was promised to may never have led: only what the observer has
        // taken from a leader binds it.
        let bound = if self.observer { replica.current_epoch() } else { accepted };
        if epoch < bound {
            let text = format!("its epoch {epoch} is below {bound}, which was promised to another leader");
            return Err(Broken::Other(text).into());
        }
        // A promise given before is not given twice: −1 keeps the leader from counting it.
        let current = if epoch > accepted {
            replica.set_accepted_epoch(epoch)?;
            replica.current_epoch() as i32
        } else {
            -1
        };
        self.epoch = epoch;
        let zxid = if self.want_snapshot { Zxid::ZERO } else { replica.last_logged() };
        packet::put(&mut self.out, kind::ACKEPOCH, zxid, Some(&current.to_be_bytes()));
        self.stage = Stage::Promised;
        Ok(())
    }

    /// DIFF, TRUNC or SNAP.
    fn begin_sync(&mut self, packet: &Packet<'_>, replica: &mut impl Replica) -> Result<(), Why> {
        let zxid = packet.zxid;
        if self.want_snapshot && packet.kind != kind::SNAP {
            let text = "only its snapshot would help, and it sends none; the data directory may have to be emptied";
            return Err(Broken::Other(text.to_owned()).into());
        }
        if packet.kind != kind::DIFF {
            self.not_behind_what_is_final(zxid, replica)?;
        }
        match packet.kind {
            kind::DIFF => {
                self.last = replica.last_logged();
                self.synced_by[1] += 1;
                self.stage = Stage::Syncing;
            }
            kind::TRUNC => {
                info!("going back from {} to {zxid}, as {} has it", replica.last_logged(), self.source());
                if !replica.truncate(zxid)? {
                    self.want_snapshot = true;
                    let text = format!("the history cannot go back to {zxid}; a snapshot is asked for");
                    return Err(Broken::Other(text).into());
                }
                self.last = zxid;
                self.synced_by[2] += 1;
                self.stage = Stage::Syncing;
            }
            _ => {
                self.not_after_its_epoch(zxid)?;
                replica.begin_snapshot(zxid)?;
                self.snapshot = Some(zxid);
                self.last = zxid;
                self.want_snapshot = false;
                self.synced_by[0] += 1;
                self.stage = Stage::Snapshot;
            }
        }
        Ok(())
    }

    /// PROPOSAL, or the transaction of an INFORM, before UPTODATE.
    fn hold(&mut self, packet: &Packet<'_>) -> Result<(), Why> {
        let txn = if packet.kind == kind::INFORMANDACTIVATE { packet.txn_and_leader()?.0 } else { packet.txn()? };
        if self.is_in_snapshot(packet.zxid) {
            return Ok(());
        }
        self.fits(packet.zxid)?;
        self.held_bytes += txn.len();
        if self.held_bytes > HELD_BYTES_MAX {
            return Err(Broken::Other(format!("{} bytes came before UPTODATE", self.held_bytes)).into());
        }
        self.held.push_back((packet.zxid, txn.to_vec()));
        Ok(())
    }

    /// COMMIT before UPTODATE: what is final before NEWLEADER belongs to the leader's history, and is logged at once.
    fn held_is_final(&mut self, zxid: Zxid, replica: &mut impl Replica, now: Now) -> Result<(), Why> {
        if self.is_in_snapshot(zxid) {
            return Ok(());
        }
        let expected = self.held.get(self.held_final).map(|(zxid, _)| *zxid);
        if expected != Some(zxid) {
            return Err(Broken::Commit { got: zxid, expected }.into());
        }
        if self.stage == Stage::Syncing {
            if let Some((zxid, txn)) = self.held.pop_front() {
                self.held_bytes -= txn.len();
                self.in_history = reconfig::view_of(&txn).map(Arc::new).or(self.in_history.take());
                if self.snapshot.is_some() {
                    replica.snapshot_txn(zxid, &txn)?;
                } else {
                    replica.propose(zxid, &txn, now)?;
                }
            }
        } else {
            self.held_final += 1;
        }
        Ok(())
    }

    /// A snapshot of Java's contains what was committed while it was made, and what is sent behind it may be part of it.
    fn is_in_snapshot(&self, zxid: Zxid) -> bool {
        self.snapshot.is_some_and(|snapshot| zxid <= snapshot)
    }

    /// What an observer has of an epoch is final, as whoever sent it knew. A master that would cut it back has not heard of that yet; Java's
    /// do not wait until they have.
    fn not_behind_what_is_final(&self, zxid: Zxid, replica: &impl Replica) -> Result<(), Why> {
        let last = replica.last_logged();
        if self.observer && zxid < last && i64::from(last.epoch()) == self.epoch {
            return Err(Broken::Other(format!("it is at {zxid}, and {last} is final")).into());
        }
        Ok(())
    }

    /// A leader's history has nothing of epochs after its own. Whoever took such a thing would have it behind all that later leaders
    /// have, and could not begin again: its log would be of an epoch that it has never promised.
    fn not_after_its_epoch(&self, zxid: Zxid) -> Result<(), Why> {
        if i64::from(zxid.epoch()) > self.entering.map_or(self.epoch, |(epoch, _)| epoch) {
            return Err(Broken::Other(format!("{zxid} is of an epoch after its own, {}", self.epoch)).into());
        }
        Ok(())
    }

    fn fits(&mut self, zxid: Zxid) -> Result<(), Why> {
        if !follows(self.last, zxid) {
            return Err(Broken::Gap { got: zxid, last: self.last }.into());
        }
        self.not_after_its_epoch(zxid)?;
        self.last = zxid;
        Ok(())
    }

    /// A configuration that the leader proposed, once.
    pub(crate) fn take_seen(&mut self) -> Option<(Arc<QuorumView>, Seen)> {
        self.seen.take()
    }

    /// A configuration that became final, once, and who leads in it, if that was said.
    pub(crate) fn take_activated(&mut self) -> Option<(Arc<QuorumView>, Option<Sid>)> {
        self.activated.take()
    }

    /// A transaction was logged: is it a reconfiguration?
    fn note(&mut self, zxid: Zxid, txn: &[u8]) {
        if let Some(view) = reconfig::view_of(txn).map(Arc::new) {
            self.seen = Some((view.clone(), Seen::Proposed));
            self.proposed_view = Some((zxid, view));
        }
    }

    /// COMMITANDACTIVATE or INFORMANDACTIVATE.
    fn activate(&mut self, zxid: Zxid, designated: Sid) {
        if let Some((_, view)) = self.proposed_view.take_if(|(at, _)| *at == zxid) {
            self.activated = Some((view, Some(designated)));
        }
    }

    /// NEWLEADER.
    fn history_ends(&mut self, packet: &Packet<'_>, replica: &mut impl Replica) -> Result<(), Why> {
        let told = packet.data.filter(|data| !data.is_empty()).and_then(reconfig::view_of_text).map(Arc::new);
        // What became final while the leader began to send may be newer than what NEWLEADER tells.
        if let Some(view) = told.into_iter().chain(self.in_history.take()).max_by_key(|view| view.version()) {
            self.seen = Some((view.clone(), Seen::InHistory));
            self.with_history = Some(view);
        }
        if packet.zxid != Zxid(self.epoch << 32) {
            return Err(Broken::Other(format!("NEWLEADER {} in epoch {}", packet.zxid, self.epoch)).into());
        }
        if let Some(zxid) = self.snapshot {
            // Not before: until here an end of the link leaves everything as it was.
            replica.finish_snapshot()?;
            info!("the snapshot of {} at {zxid}, and what follows it, is taken over", self.source());
        }
        self.history_end = replica.last_logged();
        self.stage = Stage::Settling;
        self.settle(replica)
    }

    /// Acknowledges the history as soon as all of it is durable.
    fn settle(&mut self, replica: &mut impl Replica) -> Result<(), Why> {
        if self.stage != Stage::Settling || replica.durable() < self.history_end {
            return Ok(());
        }
        // Also where it is in that epoch already: what it has taken now has another end.
        replica.set_current_epoch(self.epoch)?;
        packet::put(&mut self.out, kind::ACK, Zxid(self.epoch << 32), None);
        self.stage = Stage::Settled;
        Ok(())
    }

    /// The next epoch, while this one goes on.
    fn promise_next(&mut self, packet: &Packet<'_>, replica: &mut impl Replica) -> Result<(), Why> {
        let epoch = packet.zxid.0 >> 32;
        if epoch != self.epoch + 1 {
            return Err(Broken::Other(format!("epoch {epoch} was to follow {}", self.epoch)).into());
        }
        // What was promised to somebody else is not promised again.
        if epoch > replica.accepted_epoch() {
            replica.set_accepted_epoch(epoch)?;
            packet::put(&mut self.out, kind::NEXT_EPOCH, packet.zxid, None);
        }
        Ok(())
    }

    /// The present epoch is complete.
    fn epoch_ends(&mut self, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Result<(), Why> {
        let epoch = packet.zxid.0 >> 32;
        if epoch != self.epoch + 1 || replica.accepted_epoch() != epoch {
            let accepted = replica.accepted_epoch();
            let text = format!("epoch {epoch} was to be entered behind {}, with {accepted} promised", self.epoch);
            return Err(Broken::Other(text).into());
        }
        self.entering = Some((epoch, replica.last_logged()));
        // Observers hear of the end of this epoch first.
        self.flush_final(None, replica, now);
        if let Some(observers) = &mut self.observers {
            observers.enter(epoch);
        }
        self.enter(replica)
    }

    /// Enters the next epoch as soon as all of this one is durable.
    fn enter(&mut self, replica: &mut impl Replica) -> Result<(), Why> {
        let Some((epoch, _)) = self.entering.take_if(|(_, end)| replica.durable() >= *end) else { return Ok(()) };
        replica.set_current_epoch(epoch)?;
        self.epoch = epoch;
        packet::put(&mut self.out, kind::ENTER_EPOCH, Zxid(epoch << 32), None);
        info!("leader {} leads epoch {epoch} from here on", self.leader);
        Ok(())
    }

    /// UPTODATE.
    fn go_live(&mut self, replica: &mut impl Replica, now: Now) -> Result<(), Why> {
        packet::put(&mut self.out, kind::ACK, Zxid(self.epoch << 32), None);
        replica.commit(self.history_end, now);
        self.stage = Stage::Live;
        replica.serve(if self.observer { Role::Observer } else { Role::Follower }, now);
        let doing = if self.observer { "observing" } else { "following" };
        info!("{doing} {} in epoch {}", self.source(), self.epoch);
        if !self.observer && self.settings.observer_master_port.is_some() {
            let (settings, view) = (self.settings.clone(), self.view.clone());
            self.observers = Some(Observers::new(settings, view, self.epoch, self.history_end, now));
        }
        for (index, (zxid, txn)) in std::mem::take(&mut self.held).into_iter().enumerate() {
            self.log(zxid, &txn, replica, now)?;
            if index < self.held_final {
                self.is_final(zxid)?;
            }
        }
        (self.held_final, self.held_bytes) = (0, 0);
        // Java's leaders also tell one that they have only proposed: its transaction is not in the history then.
        let in_history = |view: &Arc<QuorumView>| {
            let zxid = Zxid(view.version());
            zxid.counter() == 0 || zxid <= self.history_end
        };
        if let Some(view) = self.with_history.take().filter(in_history) {
            self.activated = Some((view, None));
        }
        // It became final while this member took over the history.
        let commit = self.commit.unwrap_or_default();
        if let Some((_, view)) = self.proposed_view.take_if(|(zxid, _)| *zxid <= commit) {
            self.activated = Some((view, None));
        }
        Ok(())
    }

    fn log(&mut self, zxid: Zxid, txn: &[u8], replica: &mut impl Replica, now: Now) -> Result<(), Why> {
        replica.propose(zxid, txn, now)?;
        self.note(zxid, txn);
        self.pending.push_back(zxid);
        if !self.observer {
            self.unacked.push_back(zxid);
        }
        Ok(())
    }

    fn is_final(&mut self, zxid: Zxid) -> Result<(), Why> {
        if self.cast.pop_front_if(|cast| *cast == zxid).is_some() {
            return Ok(());
        }
        let expected = self.cast.front().or(self.pending.front()).copied();
        if expected != Some(zxid) {
            return Err(Broken::Commit { got: zxid, expected }.into());
        }
        self.pending.pop_front();
        self.commit = Some(zxid);
        Ok(())
    }

    /// With this member's own copy, durable up to `durable`, a quorum has what the leader left to its vote. A reconfiguration never is.
    /// While the leader owes the answer to a sync, its own word is waited for: what a client asked for behind the sync must not be
    /// answered before it.
    fn vote(&mut self, durable: Zxid) {
        if !self.syncs.is_empty() {
            return;
        }
        let until = self.proposed_view.as_ref().map_or(Zxid(i64::MAX), |(zxid, _)| Zxid(zxid.0 - 1));
        let until = until.min(self.casting).min(durable);
        while let Some(zxid) = self.pending.pop_front_if(|pending| *pending <= until) {
            self.cast.push_back(zxid);
            self.commit = Some(zxid);
        }
    }

    /// Tells the replica and observers what is final, once for many.
    fn flush_commit(&mut self, replica: &mut impl Replica, now: Now) {
        self.flush_final(None, replica, now);
    }

    /// `activates`: the last of it is a configuration, in which this member leads.
    fn flush_final(&mut self, activates: Option<Sid>, replica: &mut impl Replica, now: Now) {
        let Some(zxid) = self.commit.take() else { return };
        if let Some(observers) = &mut self.observers {
            observers.inform(zxid, activates, replica, now);
        }
        replica.commit(zxid, now);
    }

    fn live_packet(&mut self, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Result<(), Why> {
        match packet.kind {
            kind::PROPOSAL | kind::COMMIT | kind::COMMITANDACTIVATE if self.observer => {
                self.ignore(packet.kind);
            }
            kind::PROPOSAL => {
                let txn = packet.txn()?;
                self.fits(packet.zxid)?;
                self.log(packet.zxid, txn, replica, now)?;
            }
            kind::COMMIT => self.is_final(packet.zxid)?,
            kind::CASTING if !self.observer => {
                if packet.zxid > self.last {
                    let text = format!("it leaves {} to this member's vote, and has sent {}", packet.zxid, self.last);
                    return Err(Broken::Other(text).into());
                }
                self.casting = self.casting.max(packet.zxid);
                self.vote(replica.durable());
            }
            kind::NEXT_EPOCH => self.promise_next(packet, replica)?,
            kind::ENTER_EPOCH => self.epoch_ends(packet, replica, now)?,
            kind::COMMITANDACTIVATE => {
                let designated = packet.designated()?;
                self.flush_commit(replica, now);
                self.is_final(packet.zxid)?;
                self.flush_final(Some(designated), replica, now);
                self.activate(packet.zxid, designated);
            }
            kind::INFORM | kind::INFORMANDACTIVATE if self.observer => {
                let activates = packet.kind == kind::INFORMANDACTIVATE;
                let (txn, designated) = if activates { packet.txn_and_leader()? } else { (packet.txn()?, self.leader) };
                self.fits(packet.zxid)?;
                self.log(packet.zxid, txn, replica, now)?;
                self.is_final(packet.zxid)?;
                if activates {
                    self.flush_commit(replica, now);
                    self.activate(packet.zxid, designated);
                }
            }
            kind::PING => {
                let mut touched = replica.take_touched();
                touched.extend(self.observers.iter_mut().flat_map(Observers::take_touched));
                packet::put_touched(&mut self.out, packet.zxid, &touched);
            }
            kind::REVALIDATE => {
                let (session, valid) = packet.answered_session()?;
                self.flush_commit(replica, now);
                let first = self.asked.iter().position(|(asked, ..)| *asked == session);
                match (first.and_then(|first| self.asked.remove(first)), &mut self.observers) {
                    (Some((_, timeout_ms, Some(link))), Some(observers)) => {
                        observers.revalidated(link, session, timeout_ms, valid);
                    }
                    _ => replica.revalidated(session, valid, now),
                }
            }
            kind::SYNC => {
                self.flush_commit(replica, now);
                match (self.syncs.pop_front(), &mut self.observers) {
                    (None, _) => self.ignore(packet.kind),
                    (Some(Some(link)), Some(observers)) => observers.synced(link),
                    (Some(_), _) => replica.synced(),
                }
                self.vote(replica.durable());
            }
            kind::NEWLEADER | kind::DIFF | kind::TRUNC | kind::SNAP | kind::INFORM | kind::INFORMANDACTIVATE => {
                return Err(Broken::Moment { kind: packet.kind, moment: "transactions were expected" }.into());
            }
            other => self.ignore(other),
        }
        Ok(())
    }

    /// Of a packet that nobody expects; says so once.
    fn ignore(&mut self, kind: i32) {
        if !std::mem::replace(&mut self.strange, true) {
            warn!("{} sent a packet of type {kind}, which nobody expects; such are ignored", self.source());
        }
    }

    // --- what this member does

    /// The own log is durable up to `zxid`.
    pub(crate) fn durable(&mut self, zxid: Zxid, replica: &mut impl Replica, now: Now) {
        if self.over.is_some() || self.failed.is_some() {
            return;
        }
        // The epochs first: what is acknowledged was taken in them.
        match self.settle(replica).and_then(|()| self.enter(replica)) {
            Ok(()) => {}
            Err(Why::Leader(broken)) => self.over = Some(broken.to_string()),
            Err(Why::Disk(why)) => self.failed = Some(why),
        }
        while let Some(acked) = self.unacked.pop_front_if(|unacked| *unacked <= zxid) {
            packet::put(&mut self.out, kind::ACK, acked, None);
        }
        self.vote(zxid);
        self.flush_commit(replica, now);
    }

    pub(crate) fn forward(&mut self, request: &Forwarded) {
        if self.stage == Stage::Live {
            packet::put_request(&mut self.out, request);
        }
    }

    pub(crate) fn sync(&mut self) {
        self.ask_sync(None);
    }

    fn ask_sync(&mut self, from: Option<LinkId>) {
        if self.stage == Stage::Live {
            self.syncs.push_back(from);
            packet::put_request(
                &mut self.out,
                &Forwarded {
                    session: SessionId::NONE,
                    xid: proto::Xid(0),
                    op: proto::Op::Sync,
                    ids: Vec::new(),
                    body: vec![0, 0, 0, 1, b'/'],
                },
            );
        }
    }

    pub(crate) fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        self.ask_session(session, timeout_ms, None);
    }

    fn ask_session(&mut self, session: SessionId, timeout_ms: i32, from: Option<LinkId>) {
        if self.stage == Stage::Live {
            self.asked.push_back((session, timeout_ms, from));
            packet::put_asked_session(&mut self.out, session, timeout_ms);
        }
    }

    pub(crate) fn report(&self, report: &mut PeerReport) {
        report.pending_syncs = self.syncs.len();
        report.master = self.master();
        if let Some(observers) = &self.observers {
            observers.report(report);
        }
        [report.snap_syncs, report.diff_syncs, report.trunc_syncs] = self.synced_by;
    }
}

/// Where the leader's history can be had. Nowhere, if the leader is in no configuration that this member knows.
fn sources(settings: &PeerSettings, view: &QuorumView, leader: Sid, observer: bool, turn: u64) -> Vec<Source> {
    let Some(member) = view.member(leader) else { return Vec::new() };
    let port = settings.observer_master_port.filter(|_| observer);
    let mut sources: Vec<Source> = Vec::new();
    if let Some(number) = port {
        // The leader serves observers at the port at which it serves everybody.
        let followers = view.members().iter().filter(|(sid, _)| view.is_voter(**sid) && **sid != leader);
        let masters = followers.map(|(&sid, member)| {
            let places = member.quorum().into_iter().map(|place| HostPort { port: number, ..place });
            Source { sid, port: Port::Observers, addresses: places.collect() }
        });
        sources.extend(masters);
    }
    if !sources.is_empty() {
        let first = turn % sources.len() as u64;
        sources.rotate_left(first as usize);
    }
    sources.push(Source { sid: leader, port: Port::Quorum, addresses: member.quorum() });
    sources
}

#[cfg(test)]
mod tests;
