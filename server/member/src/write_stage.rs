//! The write stage: sequencer, session clock and log on one thread, and the sending end of the commit stream.
//!
//! ```text
//!   shards' inlets ─▶ sequencer ─▶ log ─▶ (effect: write) ─▶ durable ─▶ commit stream ─▶ shards
//!        session clock ──▲  ▲── reaper of containers and TTL znodes
//! ```
//!
//! On a standalone server durable is committed. Nothing is published before. As a member of an ensemble it is led by a
//! [`quorum::Peer`]; see [`crate::ensemble`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use auth::Auth;
use pipeline::message::OpenedSession;
use pipeline::sequencer::SnapshotPoint;
use pipeline::{Body, Guard, Now, Origin, Sequencer, ToSequencer, TxnSink};
use proto::acl::RawAcl;
use proto::stat::Owner;
use proto::txn::put_digest;
use proto::{Acl, Code, Encode, Id, Millis, SessionId, Txn, TxnHeader, Xid, Zxid};
use queue::Consumer;
use quorum::replica::Payload;
use quorum::view::QuorumView;
use sessions::{Ids, Tracker};
use wal::{AppendError, Log, LogWrite, SegmentId};

use crate::ensemble::{Ensemble, Mode};
use crate::own_sessions;
use crate::report::{QuorumReport, WriteReport};
use crate::settings::WriteSettings;
use crate::stats::Gauges;
use crate::stream::Sender;

/// Requests taken from one inlet before the next gets its turn: small, so that shards share fairly and reads on the same
/// thread do not wait long.
const REQUESTS_PER_TURN: usize = 64;
/// Transactions that may be prepared but not durable; beyond, requests wait in their inlets.
const IN_FLIGHT_MAX: i64 = 65_536;

/// Snapshots come no faster than at so many transactions a millisecond: with a `snapCount` of 100,000 every two seconds. Each begins
/// a new log file, for which answers wait some milliseconds, and to replay two seconds takes less than that.
const SNAPSHOT_TXNS_PER_MS: i64 = 50;
/// Requests whose memory is fetched together.
const WARM_TOGETHER: usize = 16;
/// Below so many znodes the tree is in the caches anyway.
const WARM_ZNODES_MIN: usize = 32_768;

/// The path of a write, which all but a multi begin with. A hint: checked by nobody.
fn path_of(body: &[u8]) -> Option<&str> {
    let (length, rest) = body.split_first_chunk()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    str::from_utf8(rest.get(..length)?).ok()
}

/// The access rules as the sequencer asks for them.
pub struct Rules(pub Arc<Auth>);

impl Guard for Rules {
    fn allows(&self, acl: &[Acl], wanted: i32, ids: &[Id]) -> bool {
        self.0.allows(acl, wanted, ids)
    }

    fn fix_up(&self, acl: Option<&[RawAcl]>, ids: &[Id], bytes_max: usize) -> Result<Vec<Acl>, Code> {
        self.0.fix_up(acl, ids, bytes_max)
    }
}

pub(crate) struct Sink<'l> {
    log: &'l mut Log,
    /// In an ensemble the same bytes go to the peers.
    captured: Option<&'l mut Vec<(Zxid, Payload)>>,
}

impl<'l> Sink<'l> {
    pub(crate) fn new(log: &'l mut Log, ensemble: &'l mut Option<Box<Ensemble>>) -> Sink<'l> {
        Sink { log, captured: ensemble.as_deref_mut().map(|ensemble| &mut ensemble.captured) }
    }
}

impl TxnSink for Sink<'_> {
    fn append(&mut self, header: &TxnHeader, txn: &Txn<'_>, digest: Option<u64>) -> bool {
        let appended = match &mut self.captured {
            None => self.log.append(header, txn, digest),
            Some(captured) => {
                let mut payload = Vec::with_capacity(256);
                header.encode(&mut payload);
                txn.encode(&mut payload);
                if let Some(digest) = digest {
                    put_digest(&mut payload, digest);
                }
                let appended = self.log.append_payload(header.zxid, &payload);
                if appended.is_ok() {
                    captured.push((header.zxid, payload.into()));
                }
                appended
            }
        };
        match appended {
            Ok(()) => true,
            Err(AppendError::TooLarge { .. }) => false,
            Err(AppendError::Full) => unreachable!("the log is asked for room before a request is taken"),
        }
    }
}

/// What the world must do for the write stage.
pub enum Effect {
    /// Something was published that this shard should look at now: wake its thread.
    WakeShard(u16),
    /// Write a snapshot of `tree`, which is pinned at the point's zxid; then call [`WriteStage::snapshot_done`].
    Snapshot(SnapshotPoint, tree::Reader),
    /// For the links to other members.
    Peer(quorum::effect::Effect),
    /// A configuration of the ensemble was proposed, or is final: to be kept in the configuration's files.
    View {
        /// The configuration.
        view: Arc<QuorumView>,
        /// Is it final?
        is_final: bool,
    },
    /// The log does not use this file any more.
    CloseSegment(SegmentId),
}

/// See the module's page.
pub struct WriteStage {
    pub(crate) sequencer: Sequencer<Rules>,
    pub(crate) tracker: Tracker,
    pub(crate) ids: Ids,
    pub(crate) log: Log,
    pub(crate) inlets: Vec<Consumer<ToSequencer>>,
    stream: Sender,
    settings: WriteSettings,
    pub(crate) gauges: Arc<Gauges>,
    entropy: u64,
    pub(crate) snapshots: SnapshotClock,
    reaper: Reaper,
    /// Sessions that expired, or ended before a crash: their closeSession waits for room in the log.
    pub(crate) ended: VecDeque<SessionId>,
    /// A request that waits for room in the log, behind the transaction that it brought about.
    pub(crate) parked: Option<ToSequencer>,
    /// `None` on a standalone server.
    pub(crate) ensemble: Option<Box<Ensemble>>,
    /// Effects that come up where there is no list at hand.
    pub(crate) ens_effects: Vec<Effect>,
    /// The time of the call under way.
    pub(crate) now: Now,
    /// Since when the next group waits, with a `flushDelay`.
    group_since: Option<Millis>,
}

/// When the next snapshot is due (disk-formats.md §7).
pub(crate) struct SnapshotClock {
    pub(crate) txns: u64,
    bytes_at_last: u64,
    txns_due: u64,
    bytes_due: u64,
    /// A snapshot waits for its zxid to be final, or is being written.
    pub(crate) waiting: Option<SnapshotPoint>,
    busy: bool,
    writing: bool,
    /// The last round, and when the last snapshot became due.
    now: Millis,
    last: Option<Millis>,
}

/// Deletes empty containers and expired TTL znodes (client-protocol.md §12).
struct Reaper {
    next_look: Millis,
    candidates: VecDeque<String>,
    next_reap: Millis,
}

/// Parts that a write stage is made of.
pub struct Parts {
    /// With the recovered tree and sessions.
    pub sequencer: Sequencer<Rules>,
    /// Knows the recovered sessions.
    pub tracker: Tracker,
    /// Makes session ids.
    pub ids: Ids,
    /// Continues behind the recovered transactions.
    pub log: Log,
    /// From the shards.
    pub inlets: Vec<Consumer<ToSequencer>>,
    /// To the shards.
    pub stream: Sender,
    /// Switches.
    pub settings: WriteSettings,
    /// What everybody may read.
    pub gauges: Arc<Gauges>,
    /// Seed of the snapshot schedule.
    pub entropy: u64,
    /// Transactions that lie in the log behind the last snapshot.
    pub replayed: u64,
    /// For a member of an ensemble.
    pub ensemble: Option<crate::ensemble::Parts>,
}

impl WriteStage {
    /// A write stage; call [`WriteStage::start`] next.
    pub fn new(parts: Parts, now: Now) -> WriteStage {
        let (last, bounds) = (parts.sequencer.prepared(), parts.tracker.settings());
        let mut stage = WriteStage {
            sequencer: parts.sequencer,
            tracker: parts.tracker,
            ids: parts.ids,
            log: parts.log,
            inlets: parts.inlets,
            stream: parts.stream,
            snapshots: SnapshotClock {
                txns: 0,
                bytes_at_last: 0,
                txns_due: 0,
                bytes_due: 0,
                waiting: None,
                busy: false,
                writing: false,
                now: now.mono,
                last: None,
            },
            reaper: Reaper {
                next_look: now.mono.plus(parts.settings.container_check_ms),
                candidates: VecDeque::new(),
                next_reap: now.mono,
            },
            settings: parts.settings,
            gauges: parts.gauges,
            entropy: parts.entropy,
            ended: VecDeque::new(),
            parked: None,
            ensemble: parts.ensemble.map(|parts| Box::new(Ensemble::new(parts, last, bounds))),
            ens_effects: Vec::new(),
            now,
            group_since: None,
        };
        stage.log.hold(stage.ensemble.is_some());
        stage.recall_config();
        stage.schedule_snapshot();
        stage.snapshots.txns = parts.replayed;
        stage
    }

    /// Ends what a crash left over: ephemerals whose session is gone are deleted by a transaction. Those for which the log has
    /// no room yet follow in [`WriteStage::step`].
    pub fn start(&mut self, now: Now) {
        if self.ensemble.is_some() {
            self.with_peer(|peer, stage| peer.start(stage, now));
        } else {
            self.close_orphans();
            self.close_ended(now);
        }
        self.tell_gauges();
    }

    /// Ephemerals whose session is gone are to be deleted.
    pub(crate) fn close_orphans(&mut self) {
        let sessions: Vec<SessionId> = self.sequencer.tree().sessions_with_ephemerals().collect();
        let orphaned = sessions.into_iter().filter(|id| self.sequencer.sessions().get(*id).is_none());
        for session in orphaned {
            tracing::info!(%session, "deleting ephemerals of a session that no longer exists");
            self.ended.push_back(session);
        }
    }

    /// Takes requests and runs what is due. True if it should be called again at once.
    pub fn step(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        self.snapshots.now = now.mono;
        self.now = now;
        self.ensemble_step(now);
        let more = self.take_requests(now);
        if self.orders() {
            self.expire_sessions(now);
            self.reap(now);
        }
        self.hand_on(now);
        self.peer_effects(effects);
        self.publish(effects);
        more
    }

    /// When [`WriteStage::step`] must be called at the latest, requests apart.
    pub fn next_deadline(&self) -> Millis {
        if self.stream.is_backed_up() {
            // No event tells that a shard made room again.
            return Millis(0);
        }
        let peer = self.ensemble.as_deref().map(|ensemble| ensemble.peer().next_deadline());
        // The ensemble's sessions are the leader's to expire; nobody else is to be woken for them.
        let expiry = self.tracker.next_expiry().filter(|_| self.orders());
        let own = self.ensemble.as_deref().and_then(|ensemble| ensemble.own.next_expiry());
        let reap = if !self.orders() {
            Millis(i64::MAX)
        } else if self.reaper.candidates.is_empty() {
            self.reaper.next_look
        } else {
            self.reaper.next_reap
        };
        let group = self.group_since.map(|since| since.plus(self.settings.flush_delay_ms));
        [expiry, own, group, self.log.next_time(), peer, self.read_only_deadline()]
            .into_iter()
            .flatten()
            .fold(reap, Millis::min)
    }

    /// The next write of the log, if one should be issued now. With a `flushDelay` a group waits for company first.
    pub fn next_write(&mut self, now: Now) -> Option<LogWrite> {
        if self.settings.flush_delay_ms > 0 && self.log.appended() > self.log.issued() {
            let since = *self.group_since.get_or_insert(now.mono);
            let waiting = self.log.appended().0 - self.log.issued().0;
            if now.mono.since(since) < self.settings.flush_delay_ms && waiting < self.settings.batch_records_max {
                return None;
            }
        }
        self.group_since = None;
        self.log.next_write()
    }

    /// The log, whose effects the caller carries out.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// All transactions up to `zxid` are durable.
    pub fn durable(&mut self, zxid: Zxid, effects: &mut Vec<Effect>) {
        if self.ensemble.is_some() {
            let now = self.now;
            self.hand_on(now);
            self.with_peer(|peer, stage| peer.durable(zxid, stage, now));
            self.peer_effects(effects);
            self.publish(effects);
        } else {
            self.release(zxid, Vec::new(), effects);
        }
    }

    /// Everything up to `zxid` is final: the shards hear of it.
    fn release(&mut self, zxid: Zxid, mut items: Vec<pipeline::Item>, effects: &mut Vec<Effect>) {
        self.sequencer.committed(zxid, &mut items);
        // Before the shards hear of it: a snapshot pins its zxid while nothing can have passed it.
        self.snapshot_if_due(effects);
        self.stream.publish(items, |shard| effects.push(Effect::WakeShard(shard)));
        self.tell_gauges();
    }

    /// The snapshot was written, or could not be.
    pub fn snapshot_done(&mut self) {
        self.snapshots.busy = false;
        self.snapshots.writing = false;
    }

    /// Is there work that no event will announce?
    pub fn has_requests(&self) -> bool {
        let waiting = self.parked.is_some() || self.inlets.iter().any(|inlet| !inlet.is_empty());
        waiting && (self.accepts() || !self.orders())
    }

    /// Does a shard lag so far behind that the stream is held up? No requests are taken meanwhile.
    pub fn is_backed_up(&self) -> bool {
        self.stream.is_backed_up()
    }

    /// Transactions that are not durable, or items that are not published: a shutdown waits for them.
    pub fn is_busy(&self) -> bool {
        let decided = self.mode() != Some(Mode::Looking);
        decided && self.sequencer.in_flight() > 0
            || self.stream.is_backed_up()
            || self.parked.is_some()
            || self.inlets.iter().any(|inlet| !inlet.is_empty())
    }

    /// For `dump` and `hash`.
    pub fn report(&mut self) -> WriteReport {
        let sessions = self.sequencer.sessions();
        let buckets = if self.orders() {
            own_sessions::buckets(&self.tracker, |id| sessions.get(id).map(|session| session.timeout_ms))
        } else {
            vec![(0, sessions.settled())]
        };
        let local = self.ensemble.as_deref().and_then(Ensemble::local_buckets);
        let digests = self.sequencer.digests().map(|at| (at.zxid.0, at.digest)).collect();
        let tree = self.sequencer.tree();
        let ephemerals = tree
            .sessions_with_ephemerals()
            .map(|id| (id, tree.ephemerals_of(id).map(str::to_owned).collect()))
            .collect();
        WriteReport { buckets, local, ephemerals, digests, quorum: None, handed: None }
    }

    /// For the words that show this member's part in its ensemble; `None` on a standalone server.
    pub fn quorum_report(&self, now: Now) -> Option<QuorumReport> {
        let peer = self.peer()?;
        let clients = self.clients();
        Some(QuorumReport { state: peer.state(), clients, figures: peer.report(now), view: peer.view().clone() })
    }

    /// `srst`, as far as it is this stage's.
    pub fn reset_stats(&mut self) {
        self.with_peer(|peer, _| peer.reset_proposal_sizes());
    }

    pub(crate) fn accepts(&self) -> bool {
        !self.stream.is_backed_up()
            && self.sequencer.in_flight() < IN_FLIGHT_MAX
            && !self.holds_writes()
            && self.log.can_accept(self.log.payload_bytes_max())
    }

    fn take_requests(&mut self, now: Now) -> bool {
        let mut more = false;
        if self.accepts()
            && let Some(message) = self.parked.take()
        {
            self.handle(message, now);
        }
        for at in 0..self.inlets.len() {
            for taken in 0..REQUESTS_PER_TURN {
                // A learner's log takes what its leader says; a member without a leader takes nothing, and throws it away.
                if self.orders() && !self.accepts() || self.stream.is_backed_up() {
                    return false;
                }
                if taken % WARM_TOGETHER == 0 {
                    self.warm(at);
                }
                let Some(message) = self.inlets[at].pop() else { break };
                self.handle(message, now);
            }
            more |= !self.inlets[at].is_empty();
        }
        more
    }

    /// Fetches what the next requests of an inlet will look at, for all together: a large tree does not fit the caches.
    fn warm(&mut self, at: usize) {
        let tree = self.sequencer.tree();
        if tree.node_count() >= WARM_ZNODES_MIN && self.inlets[at].len() > 1 {
            tree.warm(self.inlets[at].peek(WARM_TOGETHER).filter_map(|message| match message {
                ToSequencer::Write(request) => path_of(&request.body),
                _ => None,
            }));
        }
    }

    fn handle(&mut self, message: ToSequencer, now: Now) {
        match self.mode() {
            Some(Mode::Looking) => return self.serve_reader(message, now),
            Some(Mode::Learning) => return self.forward(message, now),
            Some(Mode::Leading) | None => {}
        }
        let Some(message) = self.serve_locally(message, now) else { return };
        let mut log = Sink::new(&mut self.log, &mut self.ensemble);
        match message {
            ToSequencer::Write(request) => {
                self.snapshots.txns += 1;
                let closes = request.op == proto::Op::CloseSession;
                if request.op == proto::Op::Reconfig {
                    self.plan_reconfig(&request.body, now);
                }
                let mut log = Sink::new(&mut self.log, &mut self.ensemble);
                self.sequencer.write(&request, now, &mut log);
                if closes && self.sequencer.sessions().get(request.session).is_none() {
                    self.tracker.close(request.session);
                }
            }
            ToSequencer::Open { conn, timeout_ms } => {
                self.snapshots.txns += 1;
                let sequencer = &mut self.sequencer;
                let id = self.ids.next(|id| sequencer.sessions().get(id).is_some());
                let pulse = self.tracker.open(id, timeout_ms, now.mono);
                sequencer.open_session(id, Origin::Conn(conn), timeout_ms, pulse, now, &mut log);
            }
            ToSequencer::Attach { conn, session, timeout_ms } => {
                match self.tracker.reattach(session, timeout_ms, now.mono) {
                    Some(pulse) => {
                        self.sequencer.attach_session(OpenedSession { session, timeout_ms, pulse }, conn);
                    }
                    None => self.sequencer.answer(conn, Xid(0), Body::Session(None)),
                }
            }
            ToSequencer::Sync { conn, xid } => self.sequencer.answer(conn, xid, Body::None),
            ToSequencer::Ephemerals { conn, session, xid, prefix } => {
                let paths = self.sequencer.ephemerals(session, &prefix);
                self.sequencer.answer(conn, xid, Body::Strings(paths));
            }
        }
    }

    fn expire_sessions(&mut self, now: Now) {
        if self.tracker.next_expiry().is_some_and(|due| due <= now.mono) {
            for session in self.tracker.expire(now.mono) {
                tracing::info!(%session, "session expired");
                self.ended.push_back(session);
            }
        }
        self.close_ended(now);
    }

    fn close_ended(&mut self, now: Now) {
        while self.accepts()
            && let Some(session) = self.ended.pop_front()
        {
            self.tracker.close(session);
            // Its client may have closed it while it waited here.
            let exists = self.sequencer.sessions().get(session).is_some()
                || self.sequencer.tree().ephemerals_of(session).next().is_some();
            if exists {
                self.snapshots.txns += 1;
                let mut sink = Sink::new(&mut self.log, &mut self.ensemble);
                self.sequencer.close_session(session, None, now, &mut sink);
            }
        }
    }

    fn reap(&mut self, now: Now) {
        if now.mono >= self.reaper.next_look && self.reaper.candidates.is_empty() {
            self.reaper.next_look = now.mono.plus(self.settings.container_check_ms);
            self.reaper.next_reap = now.mono;
            self.reaper.candidates = self.reap_candidates(now.wall).into();
        }
        while now.mono >= self.reaper.next_reap && self.accepts() {
            let Some(path) = self.reaper.candidates.pop_front() else { return };
            self.reaper.next_reap = now.mono.plus(60_000 / i64::from(self.settings.container_per_minute.max(1)));
            tracing::debug!(path, "deleting an empty container or expired TTL znode");
            self.snapshots.txns += 1;
            let mut sink = Sink::new(&mut self.log, &mut self.ensemble);
            self.sequencer.reap(&path, now, &mut sink);
        }
    }

    fn reap_candidates(&mut self, wall: Millis) -> Vec<String> {
        let never_used_ms = self.settings.container_never_used_ms;
        let tree = self.sequencer.tree();
        let mut paths: Vec<String> = tree.containers().chain(tree.ttl_nodes()).map(str::to_owned).collect();
        paths.retain(|path| {
            let Some(node) = tree.node(path).filter(|node| node.child_count() == 0) else { return false };
            let stat = node.persisted();
            match node.owner() {
                Owner::Container if stat.cversion == 0 => never_used_ms > 0 && wall.since(stat.ctime) > never_used_ms,
                Owner::Container => true,
                Owner::Ttl(ttl) => wall.since(stat.mtime) > ttl,
                _ => false,
            }
        });
        paths
    }

    /// Releases what needs no new durability: answers that stand behind transactions which are final already.
    fn publish(&mut self, effects: &mut Vec<Effect>) {
        let committed = self.sequencer.committed_zxid();
        effects.append(&mut self.ens_effects);
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return self.release(committed, Vec::new(), effects) };
        let (items, final_to) = (ensemble.take_out(), ensemble.final_to(self.log.durable()));
        self.release(final_to.max(committed), items, effects);
        let committed = self.sequencer.committed_zxid();
        if let Some(ensemble) = self.ensemble.as_deref_mut() {
            ensemble.trim(committed);
        }
    }

    fn random(&mut self) -> u64 {
        // SplitMix64; the schedule needs spreading, not secrecy.
        self.entropy = self.entropy.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.entropy;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn schedule_snapshot(&mut self) {
        let half = (self.settings.snap_count / 2).max(1);
        self.snapshots.txns_due = half + self.random() % half;
        let half = self.settings.snap_bytes / 2;
        self.snapshots.bytes_due = if half == 0 { u64::MAX } else { half + self.random() % half };
        self.snapshots.txns = 0;
        self.snapshots.bytes_at_last = self.log.written_bytes();
    }

    fn snapshot_if_due(&mut self, effects: &mut Vec<Effect>) {
        let bytes = self.log.written_bytes() - self.snapshots.bytes_at_last;
        let due = self.snapshots.txns > self.snapshots.txns_due || bytes > self.snapshots.bytes_due;
        let pause_ms = self.settings.snap_count as i64 / SNAPSHOT_TXNS_PER_MS;
        let rested = self.snapshots.last.is_none_or(|last| self.snapshots.now.since(last) >= pause_ms);
        // Without a leader it is not known what is final.
        let decided = self.mode() != Some(Mode::Looking);
        if due && rested && decided && !self.snapshots.busy {
            self.snapshots.last = Some(self.snapshots.now);
            self.snapshots.waiting = Some(self.sequencer.snapshot_point());
            self.snapshots.busy = true;
            self.log.roll();
            self.schedule_snapshot();
        }
        let committed = self.sequencer.committed_zxid();
        if self.snapshots.waiting.is_none() && !self.snapshots.writing {
            self.snapshots.busy = false;
        }
        if let Some(point) = self.snapshots.waiting.take_if(|point| point.zxid <= committed) {
            self.snapshots.writing = true;
            let tree = self.sequencer.tree().pin(point.zxid);
            let tree = tree.expect("no shard has been told of a later zxid, so nothing of this one is freed");
            effects.push(Effect::Snapshot(point, tree));
        }
    }

    fn tell_gauges(&mut self) {
        let tree = self.sequencer.tree();
        self.gauges.znodes.store(tree.node_count() as u64, Relaxed);
        self.gauges.ephemerals.store(tree.ephemeral_count() as u64, Relaxed);
        self.gauges.data_bytes.store(tree.approximate_data_size() as u64, Relaxed);
        self.gauges.sessions.store(self.sequencer.sessions().len() as u64, Relaxed);
        if let Some(ensemble) = self.ensemble.as_deref() {
            self.gauges.local_sessions.store(ensemble.own.count() as u64, Relaxed);
        }
        self.gauges.zxid.store(self.sequencer.committed_zxid().0, Relaxed);
        self.gauges.durable.store(self.log.durable().0, Relaxed);
    }
}
