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
            proposed_view: None,
            activated: None,
            syncs: VecDeque::new(),
            asked: VecDeque::new(),
            observers: None,
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
        let info = LearnerInfo { sid, protocol: PROTOCOL, config_version, own: !self.observer };
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

    /// A leader's history has nothing of epochs after its own. Whoever took such a thing would have it behind all that later leaders
    /// have, and could not begin again: its log would be of an epoch that it has never promised.
    fn not_after_its_epoch(&self, zxid: Zxid) -> Result<(), Why> {
        if i64::from(zxid.epoch()) > self.epoch {
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
        if let Some(view) = packet.data.filter(|data| !data.is_empty()).and_then(reconfig::view_of_text).map(Arc::new) {
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
        if replica.current_epoch() != self.epoch {
            replica.set_current_epoch(self.epoch)?;
        }
        packet::put(&mut self.out, kind::ACK, Zxid(self.epoch << 32), None);
        self.stage = Stage::Settled;
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
        match self.settle(replica) {
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
mod tests {
    use super::*;
    use crate::memory::{Memory, Told, snapshot_bytes, txn};
    use crate::script::{at, packet, sent};

    const LINK: LinkId = LinkId(5);

    /// Member 1, or the observer 4, of an ensemble that 3 leads.
    struct Scene {
        learner: Learner,
        replica: Memory,
    }

    fn zxid(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(epoch, counter)
    }

    fn scene_of(id: i64, replica: Memory) -> Scene {
        let view = "server.1=h1:1:2\nserver.2=h2:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2:observer\nversion=0";
        let settings = PeerSettings { tick_ms: 100, init_limit: 10, sync_limit: 5, ..PeerSettings::new(Sid(id)) };
        let view = QuorumView::parse(view).unwrap();
        let mut learner = Learner::new(Arc::new(settings), Arc::new(view), Sid(3), 0, false, Ticket(1), at(0));
        assert!(learner.connected(Ticket(1), LINK, &replica, at(0)));
        let mut all = Vec::new();
        learner.flush(&mut all);
        Scene { learner, replica }
    }

    /// Its history is this, and it has promised epoch 7.
    fn joined(id: i64, zxids: &[Zxid]) -> Scene {
        let mut scene = scene_of(id, Memory::with(zxids));
        let last = zxids.last().copied().unwrap_or_default();
        assert_eq!(
            scene.hears(kind::LEADERINFO, zxid(7, 0), Some(&PROTOCOL.to_be_bytes())),
            [format!("ACKEPOCH {last}")]
        );
        scene.replica.told.clear();
        scene
    }

    fn live(id: i64, zxids: &[Zxid]) -> Scene {
        let mut scene = joined(id, zxids);
        scene.hears(kind::DIFF, zxid(1, 1), None);
        assert_eq!(scene.hears(kind::NEWLEADER, zxid(7, 0), None), ["ACK 0x700000000"]);
        assert_eq!(scene.hears(kind::UPTODATE, Zxid(-1), None), ["ACK 0x700000000"]);
        scene.replica.told.clear();
        scene
    }

    impl Scene {
        /// The leader says something; what goes back is told.
        fn hears(&mut self, kind: i32, zxid: Zxid, data: Option<&[u8]>) -> Vec<String> {
            self.raw(&packet(kind, zxid, data))
        }

        fn raw(&mut self, bytes: &[u8]) -> Vec<String> {
            self.learner.received(bytes, &mut self.replica, at(0));
            self.answers()
        }

        fn answers(&mut self) -> Vec<String> {
            let mut all = Vec::new();
            self.learner.flush(&mut all);
            sent(&all, LINK)
        }

        fn proposal(&mut self, zxid: Zxid) -> Vec<String> {
            self.hears(kind::PROPOSAL, zxid, Some(&txn(zxid, 1)))
        }

        fn disk_is_done(&mut self) -> Vec<String> {
            self.replica.sync_log();
            self.learner.durable(self.replica.durable(), &mut self.replica, at(0));
            self.answers()
        }

        fn why(&self) -> String {
            self.learner.over().unwrap_or_default().to_owned()
        }
    }

    #[test]
    fn a_history_from_after_the_leaders_epoch_is_not_taken() {
        let after = zxid(8, 1);
        let mut scene = joined(1, &[zxid(1, 1)]);
        assert_eq!(scene.hears(kind::SNAP, after, None), [""; 0]);
        assert!(scene.why().contains("of an epoch after its own, 7"), "{}", scene.why());
        assert_eq!(scene.replica.told, []);
        let mut scene = joined(1, &[zxid(1, 1)]);
        scene.hears(kind::DIFF, zxid(1, 1), None);
        scene.proposal(after);
        assert!(scene.why().contains("of an epoch after its own, 7"), "{}", scene.why());
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.proposal(after);
        assert!(scene.why().contains("of an epoch after its own, 7"), "{}", scene.why());
        assert_eq!(scene.replica.told, []);
    }

    #[test]
    fn a_leader_that_goes_on_sending_what_nobody_expects_is_told_of_once() {
        crate::lines::keeping(|| {
            let mut scene = live(1, &[zxid(1, 1)]);
            crate::lines::take();
            for kind in [kind::SYNC, 20, -1, kind::SYNC, 20] {
                assert_eq!(scene.hears(kind, Zxid(-1), None), [""; 0]);
            }
            assert_eq!(crate::lines::take().len(), 1);
            scene.proposal(zxid(7, 1));
            assert_eq!(scene.disk_is_done(), ["ACK 0x700000001"]);
        });
    }

    #[test]
    fn rule_1_the_history_is_acknowledged_when_it_is_durable_and_the_epoch_written() {
        let mut scene = joined(1, &[zxid(1, 1)]);
        scene.hears(kind::DIFF, zxid(1, 2), None);
        scene.proposal(zxid(1, 2));
        scene.hears(kind::COMMIT, zxid(1, 2), None);
        assert_eq!(scene.hears(kind::NEWLEADER, zxid(7, 0), Some(b"version=0")), [""; 0]);
        assert_eq!(scene.replica.current, 1);
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
        assert_eq!(scene.replica.told, [Told::Propose(zxid(1, 2)), Told::CurrentEpoch(7)]);
    }

    #[test]
    fn rule_1_each_proposal_is_acknowledged_when_it_is_durable_one_by_one_in_order() {
        let mut scene = live(1, &[zxid(1, 1)]);
        assert_eq!(scene.proposal(zxid(7, 1)), [""; 0]);
        assert_eq!(scene.proposal(zxid(7, 2)), [""; 0]);
        scene.replica.durable_len -= 0;
        scene.learner.durable(scene.replica.durable(), &mut scene.replica, at(0));
        assert_eq!(scene.answers(), [""; 0]);
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000001", "ACK 0x700000002"]);
        assert_eq!(scene.replica.final_to, zxid(1, 1));
        assert_eq!(scene.hears(kind::COMMIT, zxid(7, 1), None), [""; 0]);
        assert_eq!(scene.replica.final_to, zxid(7, 1));
    }

    #[test]
    fn rule_2_nothing_is_final_before_uptodate_and_what_is_only_proposed_is_held() {
        let mut scene = joined(1, &[zxid(1, 1)]);
        scene.hears(kind::DIFF, zxid(1, 2), None);
        scene.proposal(zxid(1, 2));
        scene.hears(kind::COMMIT, zxid(1, 2), None);
        // Proposed in the new epoch while the history was on its way, and one more behind NEWLEADER; one of them is committed.
        scene.proposal(zxid(7, 1));
        scene.hears(kind::NEWLEADER, zxid(7, 0), None);
        scene.proposal(zxid(7, 2));
        scene.hears(kind::COMMIT, zxid(7, 1), None);
        assert_eq!(scene.hears(kind::PING, zxid(7, 2), None), [""; 0], "Java's leaders expect no answer yet");
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
        assert_eq!(scene.replica.told, [Told::Propose(zxid(1, 2)), Told::CurrentEpoch(7)]);
        assert_eq!(scene.hears(kind::UPTODATE, Zxid(-1), None), ["ACK 0x700000000"]);
        let told = [
            Told::Commit(zxid(1, 2)),
            Told::Serve(Role::Follower),
            Told::Propose(zxid(7, 1)),
            Told::Propose(zxid(7, 2)),
            Told::Commit(zxid(7, 1)),
        ];
        assert_eq!(scene.replica.told[2..], told);
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000001", "ACK 0x700000002"]);
    }

    #[test]
    fn rule_5_a_proposal_that_does_not_fit_ends_the_link() {
        for wrong in [zxid(7, 2), zxid(8, 2), zxid(1, 1), zxid(6, 1)] {
            let mut scene = live(1, &[zxid(1, 1)]);
            scene.proposal(zxid(7, 1));
            if wrong == zxid(7, 2) {
                scene.proposal(zxid(7, 3));
            } else {
                scene.proposal(wrong);
            }
            assert!(scene.why().contains("was proposed behind"), "{wrong}: {}", scene.why());
            assert_eq!(scene.replica.log.len(), 2);
        }
        let mut scene = joined(1, &[zxid(1, 1)]);
        scene.hears(kind::DIFF, zxid(1, 3), None);
        scene.proposal(zxid(1, 3));
        assert!(scene.why().contains("was proposed behind"), "{}", scene.why());
    }

    #[test]
    fn rule_5_a_commit_of_something_else_ends_the_link() {
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.proposal(zxid(7, 1));
        scene.proposal(zxid(7, 2));
        scene.hears(kind::COMMIT, zxid(7, 2), None);
        assert!(scene.why().contains("is said to be final"), "{}", scene.why());
        assert_eq!(scene.replica.final_to, zxid(1, 1));
        let mut scene = joined(1, &[zxid(1, 1)]);
        scene.hears(kind::DIFF, zxid(1, 3), None);
        scene.proposal(zxid(1, 2));
        scene.hears(kind::COMMIT, zxid(1, 3), None);
        assert!(scene.why().contains("is said to be final"), "{}", scene.why());
    }

    #[test]
    fn rule_6_what_is_not_final_stays_when_the_leader_is_left() {
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.proposal(zxid(7, 1));
        scene.learner.closed(LINK);
        assert!(scene.learner.over().is_some());
        assert_eq!(scene.replica.last_logged(), zxid(7, 1));
    }

    #[test]
    fn a_snapshot_of_javas_may_contain_what_follows_it() {
        let mut scene = joined(1, &[zxid(1, 1)]);
        let txns: Vec<_> = (1..=4).map(|counter| (zxid(6, counter), txn(zxid(6, counter), 1))).collect();
        let mut bytes = packet(kind::SNAP, zxid(6, 4), None);
        bytes.extend_from_slice(&snapshot_bytes(txns.iter()));
        for counter in 3..=5 {
            bytes.extend(packet(kind::PROPOSAL, zxid(6, counter), Some(&txn(zxid(6, counter), 1))));
            bytes.extend(packet(kind::COMMIT, zxid(6, counter), None));
        }
        bytes.extend(packet(kind::NEWLEADER, zxid(7, 0), None));
        // Streams have no pieces: byte by byte is as good as any.
        let mut answers = Vec::new();
        for byte in bytes {
            answers.extend(scene.raw(&[byte]));
        }
        assert_eq!(scene.why(), "");
        answers.extend(scene.disk_is_done());
        assert_eq!(answers, ["ACK 0x700000000"]);
        let told = [
            Told::BeginSnapshot(zxid(6, 4)),
            Told::SnapshotTxn(zxid(6, 5)),
            Told::FinishSnapshot,
            Told::CurrentEpoch(7),
        ];
        assert_eq!(scene.replica.told, told);
    }

    #[test]
    fn a_history_that_cannot_go_back_asks_the_next_time_for_a_snapshot() {
        let mut scene = joined(1, &[zxid(1, 1), zxid(1, 2)]);
        scene.replica.cannot_truncate = true;
        scene.hears(kind::TRUNC, zxid(1, 1), None);
        assert!(scene.learner.over().is_some() && scene.learner.want_snapshot());
        assert_eq!(scene.replica.log.len(), 2);
        let view = QuorumView::parse("server.1=h1:1:2\nserver.3=h3:1:2\nversion=0").unwrap();
        let settings = Arc::new(PeerSettings::new(Sid(1)));
        let mut again =
            Scene { learner: Learner::new(settings, Arc::new(view), Sid(3), 0, true, Ticket(3), at(0)), ..scene };
        again.learner.connected(Ticket(3), LINK, &again.replica, at(0));
        again.answers();
        assert_eq!(again.hears(kind::LEADERINFO, zxid(8, 0), Some(&PROTOCOL.to_be_bytes())), ["ACKEPOCH 0x0"]);
        again.hears(kind::DIFF, zxid(1, 1), None);
        assert!(again.why().contains("only its snapshot"), "{}", again.why());
    }

    #[test]
    fn a_truncation_is_followed_by_the_leaders_own() {
        let mut scene = joined(1, &[zxid(1, 1), zxid(1, 2), zxid(1, 3)]);
        scene.hears(kind::TRUNC, zxid(1, 2), None);
        scene.proposal(zxid(3, 1));
        scene.hears(kind::COMMIT, zxid(3, 1), None);
        scene.hears(kind::NEWLEADER, zxid(7, 0), None);
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
        let zxids: Vec<Zxid> = scene.replica.log.iter().map(|(zxid, _)| *zxid).collect();
        assert_eq!(zxids, [zxid(1, 1), zxid(1, 2), zxid(3, 1)]);
    }

    #[test]
    fn an_epoch_promised_before_is_acknowledged_without_a_promise_and_an_earlier_one_refused() {
        let mut scene = scene_of(1, Memory::with(&[zxid(7, 1)]));
        let bytes = packet(kind::LEADERINFO, zxid(7, 0), Some(&PROTOCOL.to_be_bytes()));
        scene.learner.received(&bytes, &mut scene.replica, at(0));
        let mut all = Vec::new();
        scene.learner.flush(&mut all);
        let mut promise = Vec::new();
        packet::put(&mut promise, kind::ACKEPOCH, zxid(7, 1), Some(&(-1i32).to_be_bytes()));
        assert_eq!(all, [Effect::Send { link: LINK, bytes: promise }]);
        assert_eq!(scene.replica.told, []);
        let mut scene = scene_of(1, Memory::with(&[zxid(7, 1)]));
        scene.hears(kind::LEADERINFO, zxid(6, 0), Some(&PROTOCOL.to_be_bytes()));
        assert!(scene.why().contains("below 7"), "{}", scene.why());
    }

    #[test]
    fn a_promise_to_who_never_led_does_not_keep_an_observer_from_the_leader_that_there_is() {
        let epoch = |led: u32| packet(kind::LEADERINFO, zxid(led, 0), Some(&PROTOCOL.to_be_bytes()));
        for (sid, led, why) in [(4, 7, ""), (4, 6, "below 7"), (1, 7, "below 9")] {
            let mut scene = scene_of(sid, Memory::with(&[zxid(7, 1)]));
            scene.replica.accepted = 9;
            scene.learner.received(&epoch(led), &mut scene.replica, at(0));
            assert!(scene.why().contains(why) && scene.why().is_empty() == why.is_empty(), "{}", scene.why());
        }
    }

    #[test]
    fn a_leader_of_before_3_4_is_refused_with_a_clear_word() {
        let mut scene = scene_of(1, Memory::with(&[zxid(1, 1)]));
        scene.hears(kind::NEWLEADER, zxid(7, 0), None);
        assert!(scene.why().contains("older than ZooKeeper 3.4"), "{}", scene.why());
    }

    #[test]
    fn an_observer_takes_what_it_is_informed_of_and_acknowledges_only_the_history() {
        let mut scene = joined(4, &[zxid(1, 1)]);
        scene.hears(kind::DIFF, zxid(1, 2), None);
        scene.proposal(zxid(1, 2));
        scene.hears(kind::COMMIT, zxid(1, 2), None);
        scene.hears(kind::NEWLEADER, zxid(7, 0), None);
        scene.hears(kind::INFORM, zxid(7, 1), Some(&txn(zxid(7, 1), 1)));
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
        scene.hears(kind::UPTODATE, Zxid(-1), None);
        assert_eq!(scene.replica.final_to, zxid(7, 1));
        let mut activating = 3i64.to_be_bytes().to_vec();
        activating.extend_from_slice(&txn(zxid(7, 2), 1));
        scene.hears(kind::INFORMANDACTIVATE, zxid(7, 2), Some(&activating));
        assert_eq!(scene.replica.final_to, zxid(7, 2));
        assert_eq!(scene.disk_is_done(), [""; 0]);
        assert_eq!(scene.why(), "");
        assert_eq!(scene.replica.role, Some(Role::Observer));
    }

    #[test]
    fn a_reconfiguration_is_final_as_any_transaction() {
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.proposal(zxid(7, 1));
        scene.hears(kind::COMMITANDACTIVATE, zxid(7, 1), Some(&3i64.to_be_bytes()));
        assert_eq!(scene.replica.final_to, zxid(7, 1));
    }

    #[test]
    fn rule_5_what_is_left_to_this_members_vote_is_final_once_it_is_durable_here_and_committed_once() {
        let mut scene = live(1, &[zxid(1, 1)]);
        for counter in 1..=3 {
            scene.proposal(zxid(7, counter));
        }
        assert_eq!(scene.hears(kind::CASTING, zxid(7, 2), None), [""; 0]);
        assert_eq!(scene.replica.final_to, zxid(1, 1), "not before it is durable");
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000001", "ACK 0x700000002", "ACK 0x700000003"]);
        assert_eq!(scene.replica.final_to, zxid(7, 2), "and no more than that");
        scene.hears(kind::COMMIT, zxid(7, 1), None);
        scene.hears(kind::COMMIT, zxid(7, 2), None);
        assert_eq!(scene.replica.told.iter().filter(|told| matches!(told, Told::Commit(_))).count(), 1);
        // What is durable already is decided at once.
        scene.hears(kind::CASTING, zxid(7, 3), None);
        assert_eq!(scene.replica.final_to, zxid(7, 3));
        assert_eq!(scene.why(), "");
        // A client's sync came first, and its answer is to come first too.
        scene.learner.sync();
        scene.proposal(zxid(7, 4));
        scene.hears(kind::CASTING, zxid(7, 4), None);
        scene.disk_is_done();
        assert_eq!(scene.replica.final_to, zxid(7, 3));
        scene.hears(kind::SYNC, Zxid(0), None);
        assert_eq!(scene.replica.told[scene.replica.told.len() - 2..], [Told::Synced, Told::Commit(zxid(7, 4))]);
        scene.hears(kind::COMMIT, zxid(7, 2), None);
        assert!(
            scene.why().contains("0x700000002"),
            "a COMMIT out of order ends the link all the same: {}",
            scene.why()
        );
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.proposal(zxid(7, 1));
        scene.hears(kind::CASTING, zxid(7, 2), None);
        assert!(scene.why().contains("to this member's vote"), "{}", scene.why());
    }

    #[test]
    fn pings_are_answered_with_the_sessions_that_were_heard_of() {
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.replica.touched = vec![(SessionId(9), 4000)];
        scene.learner.received(&packet(kind::PING, zxid(7, 0), None), &mut scene.replica, at(0));
        let mut all = Vec::new();
        scene.learner.flush(&mut all);
        let mut answer = Vec::new();
        packet::put_touched(&mut answer, zxid(7, 0), &[(SessionId(9), 4000)]);
        assert_eq!(all, [Effect::Send { link: LINK, bytes: answer }]);
    }

    #[test]
    fn answers_to_syncs_and_revalidations_come_behind_what_was_final_before() {
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.learner.sync();
        scene.learner.revalidate(SessionId(9), 4000);
        assert_eq!(scene.answers(), ["REQUEST -1", "REVALIDATE -1"]);
        scene.proposal(zxid(7, 1));
        let mut bytes = packet(kind::COMMIT, zxid(7, 1), None);
        bytes.extend(packet(kind::SYNC, Zxid(0), None));
        packet::put_answered_session(&mut bytes, SessionId(9), true);
        scene.raw(&bytes);
        let told = [Told::Commit(zxid(7, 1)), Told::Synced, Told::Revalidated(SessionId(9), true)];
        assert_eq!(scene.replica.told[1..], told);
        scene.hears(kind::SYNC, Zxid(0), None);
        assert_eq!(scene.replica.told.len(), 4, "nobody asked for that one");
    }

    #[test]
    fn a_leader_is_tried_five_times_and_then_given_up() {
        let view = QuorumView::parse("server.1=h1:1:2\nserver.3=h3:7:8\nversion=0").unwrap();
        let settings = PeerSettings { tick_ms: 100, init_limit: 10, ..PeerSettings::new(Sid(1)) };
        let mut learner = Learner::new(Arc::new(settings), Arc::new(view), Sid(3), 0, false, Ticket(1), at(0));
        let mut tries = 0;
        let mut ticket = 1;
        let mut ms = 0;
        while learner.over().is_none() {
            let mut all = Vec::new();
            learner.flush(&mut all);
            for effect in all {
                let Effect::Connect { peer: Sid(3), port: Port::Quorum, addresses, .. } = effect else { panic!() };
                assert_eq!(addresses, [HostPort { host: "h3".to_owned(), port: 7 }]);
                tries += 1;
                learner.connect_failed(Ticket(ticket), "refused", at(ms));
            }
            ms += 10;
            learner.tick(
                || {
                    ticket += 2;
                    Ticket(ticket)
                },
                at(ms),
            );
        }
        assert_eq!((tries, ms), (5, 410));
    }

    #[test]
    fn a_silent_leader_is_left_after_the_limit_of_the_moment() {
        let mut scene = joined(1, &[zxid(1, 1)]);
        scene.learner.tick(|| Ticket(3), at(999));
        assert_eq!(scene.why(), "");
        scene.learner.tick(|| Ticket(3), at(1000));
        assert!(scene.why().contains("nothing was heard"), "{}", scene.why());
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.learner.tick(|| Ticket(3), at(500));
        assert!(scene.why().contains("nothing was heard"), "{}", scene.why());
    }

    #[test]
    fn a_disk_that_refuses_ends_the_process_and_not_the_link() {
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.replica.broken_disk = true;
        scene.proposal(zxid(7, 1));
        assert_eq!(scene.learner.failed(), Some("the disk refuses"));
    }

    #[test]
    fn what_is_no_packet_ends_the_link() {
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.raw(&[0x7F; 40]);
        assert!(scene.why().contains("bytes of data"), "{}", scene.why());
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.hears(kind::PROPOSAL, zxid(7, 1), Some(&txn(zxid(7, 2), 1)));
        assert!(scene.why().contains("carries transaction"), "{}", scene.why());
    }

    #[test]
    fn nothing_that_a_leader_says_makes_a_learner_panic() {
        let likely = [kind::PROPOSAL, kind::PROPOSAL, kind::COMMIT, kind::COMMIT, kind::PING, kind::INFORM];
        let mut served = 0;
        for seed in 0..3000 {
            let mut noise = crate::script::Noise::new(seed);
            let zxids: Vec<Zxid> = (1..=1 + noise.below(4) as u32).map(|counter| zxid(1, counter)).collect();
            let mut scene = joined([1, 4][noise.below(2) as usize], &zxids);
            let to = zxid(1, 1 + noise.below(4) as u32);
            match noise.below(5) {
                0 => scene.raw(&noise.packet(&likely)),
                1 => scene.hears(kind::TRUNC, to, None),
                2 => {
                    let txns = [(to, txn(to, 1))];
                    scene.raw(&[packet(kind::SNAP, to, None), snapshot_bytes(txns.iter())].concat())
                }
                _ => scene.hears(kind::DIFF, to, None),
            };
            for _ in 0..60 {
                // What would fit, more often than chance has it.
                let last = scene.learner.last;
                match noise.below(8) {
                    0 => scene.hears(kind::NEWLEADER, zxid(7, 0), None),
                    1 => scene.hears(kind::UPTODATE, Zxid(-1), None),
                    2 | 3 => scene.proposal(last.next()),
                    4 => scene.proposal(zxid(7, 1)),
                    5 => scene.disk_is_done(),
                    6 => {
                        let oldest = scene.learner.pending.front().copied();
                        let held = scene.learner.held.get(scene.learner.held_final).map(|(zxid, _)| *zxid);
                        scene.hears(kind::COMMIT, oldest.or(held).unwrap_or(last), None)
                    }
                    _ => scene.raw(&noise.packet(&likely)),
                };
                if scene.learner.over().is_some() {
                    break;
                }
                served += usize::from(scene.learner.serving());
                assert!(scene.replica.final_to <= scene.replica.last_logged());
            }
        }
        assert!(served > 100, "the noise is too loud: served only {served} times");
    }
}
