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
use std::sync::Arc;

use pipeline::Now;
use proto::{Millis, SessionId, Sid, Zxid};
use tracing::{info, warn};

use crate::effect::{Effect, HostPort, LinkId, Port, Ticket};
use crate::packet::{self, Broken, LearnerInfo, PROTOCOL, Packet, follows, kind};
use crate::peer::{PeerReport, PeerSettings, Zab};
use crate::replica::{Forwarded, Refused, Replica, Role};
use crate::view::QuorumView;

/// So often the leader's port is tried.
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

/// See the module's page.
pub(crate) struct Learner {
    settings: Arc<PeerSettings>,
    leader: Sid,
    addresses: Vec<HostPort>,
    observer: bool,
    config_version: i64,
    /// Only a snapshot helps: an earlier attempt to go back to what the leader has failed.
    want_snapshot: bool,
    stage: Stage,
    ticket: Option<Ticket>,
    next_try: Option<Millis>,
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
    /// Logged, and not yet acknowledged, in order.
    unacked: VecDeque<Zxid>,
    /// Final, and not yet said so to the replica.
    commit: Option<Zxid>,
    pending_syncs: usize,
    synced_by: [u64; 3],
    effects: Vec<Effect>,
    over: Option<String>,
    failed: Option<String>,
}

impl Learner {
    /// Begins to connect to the leader.
    pub(crate) fn new(
        settings: Arc<PeerSettings>,
        view: &QuorumView,
        leader: Sid,
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
            addresses: view.member(leader).map(|member| member.quorum()).unwrap_or_default(),
            observer,
            config_version: view.version(),
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
            unacked: VecDeque::new(),
            commit: None,
            pending_syncs: 0,
            synced_by: [0; 3],
            effects: Vec::new(),
            over: None,
            failed: None,
            settings,
        };
        if learner.addresses.is_empty() {
            learner.over = Some(format!("no address of {leader} is known"));
        } else {
            learner.connect(ticket, now);
        }
        learner
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

    /// Leaves the leader.
    pub(crate) fn end(mut self) -> Vec<Effect> {
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
        if let Some(link) = self.link.filter(|_| !self.out.is_empty()) {
            all.push(Effect::Send { link, bytes: std::mem::take(&mut self.out) });
        }
    }

    // --- the link

    fn connect(&mut self, ticket: Ticket, now: Now) {
        self.tries += 1;
        self.ticket = Some(ticket);
        self.next_try = None;
        let remaining_ms = self.connect_until.since(now.mono).max(1);
        self.effects.push(Effect::Connect {
            ticket,
            peer: self.leader,
            port: Port::Quorum,
            addresses: self.addresses.clone(),
            timeout_ms: remaining_ms.min(self.settings.sync_limit * self.settings.tick_ms),
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
        let info =
            LearnerInfo { sid: self.settings.id, protocol: PROTOCOL, config_version: self.config_version }.encode();
        let kind = if self.observer { kind::OBSERVERINFO } else { kind::FOLLOWERINFO };
        packet::put(&mut self.out, kind, Zxid(replica.accepted_epoch() << 32), Some(&info));
        true
    }

    pub(crate) fn connect_failed(&mut self, ticket: Ticket, why: &str, now: Now) {
        if self.ticket != Some(ticket) {
            return;
        }
        self.ticket = None;
        if self.tries >= TRIES_MAX || now.mono >= self.connect_until {
            self.over = Some(format!("leader {} cannot be reached: {why}", self.leader));
        } else {
            self.next_try = Some(now.mono.plus(self.settings.connect_retry_ms));
        }
    }

    pub(crate) fn closed(&mut self, link: LinkId) {
        if self.link == Some(link) {
            self.link = None;
            self.over = Some(format!("leader {} closed the link", self.leader));
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
                self.over = Some(format!("leader {} was not reached in time", self.leader));
            } else if self.next_try.is_some_and(|at| now.mono >= at) {
                self.connect(new_ticket(), now);
            }
        } else if now.mono.since(self.heard) >= self.patience_ms() {
            self.over = Some(format!("nothing was heard of leader {} for {} ms", self.leader, self.patience_ms()));
        }
    }

    pub(crate) fn next_deadline(&self) -> Millis {
        if self.stage == Stage::Connecting {
            self.next_try.unwrap_or(self.connect_until).min(self.connect_until)
        } else {
            self.heard.plus(self.patience_ms())
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
                warn!("leader {} is left: {broken}", self.leader);
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
            replica.finish_snapshot()?;
            self.stage = Stage::Syncing;
            info!("the snapshot of leader {} at {} is taken over", self.leader, self.last);
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
        if epoch < accepted {
            let text = format!("its epoch {epoch} is below {accepted}, which was promised to another leader");
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
                info!("going back from {} to {zxid}, as leader {} has it", replica.last_logged(), self.leader);
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
                replica.propose(zxid, &txn, now)?;
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

    fn fits(&mut self, zxid: Zxid) -> Result<(), Why> {
        if !follows(self.last, zxid) {
            return Err(Broken::Gap { got: zxid, last: self.last }.into());
        }
        self.last = zxid;
        Ok(())
    }

    /// NEWLEADER.
    fn history_ends(&mut self, packet: &Packet<'_>, replica: &mut impl Replica) -> Result<(), Why> {
        if packet.zxid != Zxid(self.epoch << 32) {
            return Err(Broken::Other(format!("NEWLEADER {} in epoch {}", packet.zxid, self.epoch)).into());
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
        info!(
            "{} leader {} in epoch {}",
            if self.observer { "observing" } else { "following" },
            self.leader,
            self.epoch
        );
        for (index, (zxid, txn)) in std::mem::take(&mut self.held).into_iter().enumerate() {
            self.log(zxid, &txn, replica, now)?;
            if index < self.held_final {
                self.is_final(zxid)?;
            }
        }
        (self.held_final, self.held_bytes) = (0, 0);
        Ok(())
    }

    fn log(&mut self, zxid: Zxid, txn: &[u8], replica: &mut impl Replica, now: Now) -> Result<(), Why> {
        replica.propose(zxid, txn, now)?;
        self.pending.push_back(zxid);
        if !self.observer {
            self.unacked.push_back(zxid);
        }
        Ok(())
    }

    fn is_final(&mut self, zxid: Zxid) -> Result<(), Why> {
        let expected = self.pending.front().copied();
        if expected != Some(zxid) {
            return Err(Broken::Commit { got: zxid, expected }.into());
        }
        self.pending.pop_front();
        self.commit = Some(zxid);
        Ok(())
    }

    /// Tells the replica what is final, once for many.
    fn flush_commit(&mut self, replica: &mut impl Replica, now: Now) {
        if let Some(zxid) = self.commit.take() {
            replica.commit(zxid, now);
        }
    }

    fn live_packet(&mut self, packet: &Packet<'_>, replica: &mut impl Replica, now: Now) -> Result<(), Why> {
        match packet.kind {
            kind::PROPOSAL | kind::COMMIT | kind::COMMITANDACTIVATE if self.observer => {
                warn!("leader {} sent an observer a packet of type {}; ignored", self.leader, packet.kind);
            }
            kind::PROPOSAL => {
                let txn = packet.txn()?;
                self.fits(packet.zxid)?;
                self.log(packet.zxid, txn, replica, now)?;
            }
            kind::COMMIT | kind::COMMITANDACTIVATE => self.is_final(packet.zxid)?,
            kind::INFORM | kind::INFORMANDACTIVATE if self.observer => {
                let activates = packet.kind == kind::INFORMANDACTIVATE;
                let txn = if activates { packet.txn_and_leader()?.0 } else { packet.txn()? };
                self.fits(packet.zxid)?;
                self.log(packet.zxid, txn, replica, now)?;
                self.is_final(packet.zxid)?;
            }
            kind::PING => {
                let touched = replica.take_touched();
                packet::put_touched(&mut self.out, packet.zxid, &touched);
            }
            kind::REVALIDATE => {
                let (session, valid) = packet.answered_session()?;
                self.flush_commit(replica, now);
                replica.revalidated(session, valid, now);
            }
            kind::SYNC => {
                self.flush_commit(replica, now);
                if self.pending_syncs > 0 {
                    self.pending_syncs -= 1;
                    replica.synced();
                } else {
                    warn!("leader {} answered a sync that nobody asked for; ignored", self.leader);
                }
            }
            kind::NEWLEADER | kind::DIFF | kind::TRUNC | kind::SNAP | kind::INFORM | kind::INFORMANDACTIVATE => {
                return Err(Broken::Moment { kind: packet.kind, moment: "transactions were expected" }.into());
            }
            other => warn!("leader {} sent a packet of type {other}, which nobody expects; ignored", self.leader),
        }
        Ok(())
    }

    // --- what this member does

    /// The own log is durable up to `zxid`.
    pub(crate) fn durable(&mut self, zxid: Zxid, replica: &mut impl Replica) {
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
    }

    pub(crate) fn forward(&mut self, request: &Forwarded) {
        if self.stage == Stage::Live {
            packet::put_request(&mut self.out, request);
        }
    }

    pub(crate) fn sync(&mut self) {
        if self.stage == Stage::Live {
            self.pending_syncs += 1;
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
        if self.stage == Stage::Live {
            packet::put_asked_session(&mut self.out, session, timeout_ms);
        }
    }

    pub(crate) fn report(&self, report: &mut PeerReport) {
        report.pending_syncs = self.pending_syncs;
        [report.snap_syncs, report.diff_syncs, report.trunc_syncs] = self.synced_by;
    }
}
