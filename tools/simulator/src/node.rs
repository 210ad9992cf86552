//! One member in one piece: the product's shards and write stage, on a disk in memory, with the host loop around them that the binary
//! has in its threads.
//!
//! It reaches nobody by itself. Each call answers what is to be done outside, in order ([`Act`]), so that whoever carries it out can
//! end the member between any two of them. A killed member is dropped; what it leaves is its disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use auth::Auth;
use host::{Call, Disk, Fault, FaultyDisk, MemoryDisk, Mode, WriteFile};
use member::shard::Parts as ShardParts;
use member::write_stage::{Parts as WriteParts, Rules};
use member::{
    Effect, Gauges, Inlet, Key, LocalSessions, Shard, ShardSettings, ShardStats, WriteSettings, WriteStage, stream,
};
use pipeline::session_table::{Session, SessionTable};
use pipeline::{Now, Sequencer, Settings};
use proto::{Sid, Zxid};
use quorum::effect::{Effect as PeerEffect, LinkId, Port as PeerPort, Ticket};
use quorum::peer::{HandOver, Peer, PeerSettings, PeerState};
use quorum::replica::Replica;
use quorum::view::QuorumView;
use sessions::{Ids, Tracker};
use snapshot::{Compression, RestoreOptions, SnapshotJob, Source};
use wal::segment::{Done, SegmentId, Work};
use wal::{Log, LogOptions, LogWrite, format};

use crate::agenda::{MS, Micros};
use crate::dice::Dice;
use crate::java;
use crate::network::{End, Port};
use crate::rights;

/// Where the log is.
pub const LOGS: &str = "/log";
/// Where snapshots and epochs are.
pub const SNAPS: &str = "/data";
/// The largest payload.
pub const PAYLOAD_MAX: usize = 32 << 10;

/// What happens to a node later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Wake {
    /// The write stage looks at what is there.
    Stage,
    /// A shard looks at the commit stream.
    Shard(u16),
    /// The oldest write of the log ends.
    Written,
    /// The thread that names files ends a piece of work.
    Name,
    /// The thread that prepares files ends a piece of work.
    Background,
    /// A slice of a snapshot.
    Snapshot,
    /// The shards look at the clock.
    Tick,
    /// Of what Java's habits keep back, something is due.
    Habits,
}

/// What the world does for a node.
#[derive(Debug)]
pub enum Act {
    /// Bytes for a client or a peer.
    Send(End, Vec<u8>),
    /// Close behind what was sent.
    Close(End),
    /// Wake the node up.
    Wake(Micros, Wake),
    /// Connect to a member, by its number from zero, and report it under this ticket.
    Connect(u64, usize, Port, Micros),
    /// Keep the text of a configuration for the next start: one that is final, or one that was proposed.
    Keep(QuorumView, bool),
}

/// What a disk does next.
#[derive(Clone, Default)]
pub struct DiskFaults(Arc<Mutex<DiskPlan>>);

/// See [`DiskFaults`].
#[derive(Default)]
pub struct DiskPlan {
    /// The next call of this kind fails so (`write`, `sync`, …; empty: any call).
    pub next: Option<(&'static str, Fault)>,
    /// Faults that struck.
    pub struck: u64,
}

impl DiskFaults {
    /// Arms a fault, or disarms it.
    pub fn set(&self, next: Option<(&'static str, Fault)>) {
        self.plan().next = next;
    }

    /// How many struck.
    pub fn struck(&self) -> u64 {
        self.plan().struck
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, DiskPlan> {
        self.0.lock().expect("no panic under this lock")
    }

    fn ask(&self, call: &Call) -> Option<Fault> {
        let mut plan = self.plan();
        let (what, fault) = plan.next?;
        if !what.is_empty() && call.what != what {
            return None;
        }
        plan.next = None;
        plan.struck += 1;
        Some(fault)
    }
}

/// How a node is set up; the same in all its lives.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its `myid`.
    pub sid: i64,
    /// Net shards.
    pub shards: usize,
    /// `tickTime`
    pub tick_ms: i64,
    /// `snapCount`
    pub snap_count: u64,
    /// A group of the log takes so long, at least and at most.
    pub write_delay: (Micros, Micros),
    /// The ensemble, as its configuration says it; empty: it stands alone.
    pub view: String,
    /// The configuration that was proposed, if it is newer.
    pub proposed: Option<String>,
    /// `reconfigEnabled`, and that there is an operator.
    pub reconfig: bool,
    /// `commitLogCount`
    pub history_max: usize,
    /// `initLimit`
    pub init_limit: i64,
    /// `syncLimit`
    pub sync_limit: i64,
    /// `forceSnapshotSync`
    pub force_snapshot_sync: bool,
    /// `leaderServes`
    pub leader_serves: bool,
    /// `readonlymode.enabled`
    pub read_only_mode: bool,
    /// `localSessionsEnabled`, `localSessionsUpgradingEnabled`
    pub local_sessions: LocalSessions,
    /// It has Java's habits.
    pub java: bool,
    /// Behind so many transactions of an epoch the next begins.
    pub rollover_counter: u32,
}

/// A record that went to the log.
pub struct Logged {
    /// Its zxid.
    pub zxid: Zxid,
    /// Header, record, digest; without padding.
    pub payload: Arc<[u8]>,
}

/// How the end of a member's history has moved.
pub enum Moved {
    /// Everything behind this zxid was taken back.
    Truncated(Zxid),
    /// What is before this zxid is as somebody else has it, or as it was before.
    Rebased(Zxid),
    /// A transaction more.
    Logged(Logged),
}

/// What a step has shown.
#[derive(Default)]
pub struct SeenNow {
    /// How its history moved, in order; of a member of an ensemble.
    pub moved: Vec<Moved>,
    /// What it is, of a member of an ensemble.
    pub state: Option<PeerState>,
    /// Epochs: accepted and current.
    pub epochs: (i64, i64),
    /// Records that went to the log, in order.
    pub logged: Vec<Logged>,
    /// The disk has everything up to here.
    pub durable: Option<Zxid>,
    /// Clients may see everything up to here.
    pub shown: Option<Zxid>,
    /// Some time has passed: its trees are to be looked at as a whole.
    pub ticked: bool,
    /// What Java's habits have changed.
    pub java: java::Done,
}

/// See the module's page.
pub struct Node {
    settings: NodeSettings,
    stage: WriteStage,
    shards: Vec<Shard>,
    io: Arc<dyn Disk>,
    files: BTreeMap<SegmentId, Box<dyn WriteFile>>,
    writes: VecDeque<(LogWrite, io::Result<()>)>,
    names: VecDeque<Work>,
    works: VecDeque<Work>,
    snapshots: VecDeque<Source>,
    job: Option<SnapshotJob>,
    purge_due: bool,
    effects: Vec<Effect>,
    acts: Vec<Act>,
    /// It was told to stop: it hears no client any more.
    stopping: bool,
    /// Wakes that are on the agenda, for when.
    awaited: BTreeMap<Wake, Micros>,
    conns: BTreeMap<End, (u16, Key)>,
    dice: Dice,
    now: Now,
    at: Micros,
    /// Why the process has ended.
    failed: Option<String>,
    seen: SeenNow,
    gauges: Arc<Gauges>,
    last: Zxid,
    began_from: Zxid,
    /// Groups that are on the disk in files whose name is not durable yet.
    unnamed: BTreeMap<SegmentId, Option<Zxid>>,
    forgotten: BTreeSet<u64>,
    /// Of Java's.
    habits: Option<java::Habits>,
    /// The history as it was seen last, and its end.
    known: VecDeque<(Zxid, Arc<[u8]>)>,
    known_last: Zxid,
}

fn sequencer_settings(reconfig_enabled: bool) -> Settings {
    Settings {
        extended_types: true,
        enforce_quota: true,
        reconfig_enabled,
        digest: true,
        close_session_txn: true,
        length_max: PAYLOAD_MAX,
        record_bytes_max: PAYLOAD_MAX,
        unknown_session: proto::Code::SessionExpired,
    }
}

fn tree_options() -> tree::Options {
    let rules = tree::OwnerRules { extended_types: true, ..tree::OwnerRules::default() };
    tree::Options { rules, ..tree::Options::new((3, 5)) }
}

/// What a start finds on the disk.
pub fn restore(disk: &dyn Disk) -> Result<snapshot::Restored, String> {
    let (snaps, logs) = (Path::new(SNAPS), Path::new(LOGS));
    snapshot::prepare_directories(disk, snaps, logs, true).map_err(|error| error.to_string())?;
    snapshot::restore(disk, snaps, logs, restore_options()).map_err(|error| error.to_string())
}

fn ensemble(
    settings: &NodeSettings,
    io: &Arc<dyn Disk>,
    last: Zxid,
    now: Now,
) -> Result<member::ensemble::Parts, String> {
    let view = QuorumView::parse(&settings.view)?;
    let epochs = snapshot::epochs::load(&**io, Path::new(SNAPS), last).map_err(|error| error.to_string())?;
    let mut peer = PeerSettings::new(Sid(settings.sid));
    peer.tick_ms = settings.tick_ms;
    peer.init_limit = settings.init_limit;
    peer.sync_limit = settings.sync_limit;
    peer.packet_bytes_max = 2 * PAYLOAD_MAX;
    peer.force_snapshot_sync = settings.force_snapshot_sync;
    peer.reconfig_enabled = settings.reconfig;
    peer.rollover_counter = settings.rollover_counter;
    peer.elector.connect_timeout_ms = 1_000;
    peer.elector.handshake_timeout_ms = settings.sync_limit * settings.tick_ms;
    let mut peer = Peer::new(peer, view, now.mono);
    if let Some(proposed) = &settings.proposed {
        peer.seen(QuorumView::parse(proposed)?);
    }
    Ok(member::ensemble::Parts {
        peer,
        epochs,
        store: member::ensemble::Store {
            disk: Arc::clone(io),
            data_dir: SNAPS.into(),
            log_dir: LOGS.into(),
            options: restore_options(),
        },
        leader_serves: settings.leader_serves,
        read_only_after_ms: settings.read_only_mode.then_some(2 * settings.tick_ms),
        local_sessions: settings.local_sessions,
        reconfig_enabled: settings.reconfig,
        history_max: settings.history_max,
    })
}

fn restore_options() -> RestoreOptions {
    let mut options = RestoreOptions::new(tree_options());
    options.read.payload_bytes_max = PAYLOAD_MAX;
    options
}

impl Node {
    /// The process starts on what the disk holds. `now` is this machine's clock.
    pub fn start(
        settings: &NodeSettings,
        disk: &MemoryDisk,
        faults: &DiskFaults,
        seed: u64,
        now: Now,
        at: Micros,
    ) -> Result<Node, String> {
        let plan = faults.clone();
        let io: Arc<dyn Disk> = Arc::new(FaultyDisk::new(disk.clone(), move |call| plan.ask(call)));
        let restored = restore(&*io)?;
        let name =
            restored.snapshot.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let began_from = name.and_then(|name| snapshot::format::parse(&name)).unwrap_or_default();
        let dice = Dice::new(seed, 0x0DE);
        let auth = Arc::new(
            Auth::new(auth::Settings {
                super_digest: settings.reconfig.then(rights::super_digest),
                ..auth::Settings::default()
            })
            .map_err(|error| format!("{error:?}"))?,
        );
        let timeouts = (2 * settings.tick_ms as i32, 20 * settings.tick_ms as i32);
        let mut tracker = Tracker::new(sessions::Settings {
            tick_ms: settings.tick_ms as i32,
            timeout_min_ms: timeouts.0,
            timeout_max_ms: timeouts.1,
        });
        let mut table = SessionTable::default();
        for (id, timeout_ms) in restored.sessions {
            tracker.open(id, timeout_ms, now.mono);
            table.insert(id, Session { timeout_ms, owner: None });
        }
        let last = restored.tree.committed();
        let mut sequencer =
            Sequencer::new(restored.tree, table, Rules(Arc::clone(&auth)), sequencer_settings(settings.reconfig), last);
        let (sender, receivers) = stream::stream(settings.shards);
        let outstanding_all = Arc::new(AtomicUsize::new(0));
        let (mut shards, mut inlets) = (Vec::new(), Vec::new());
        for (id, receiver) in receivers.into_iter().enumerate() {
            let (producer, consumer) = queue::channel(4096);
            inlets.push(consumer);
            shards.push(Shard::new(ShardParts {
                id: id as u16,
                tree: sequencer.tree().reader(),
                stream: receiver,
                inlet: Inlet::new(producer),
                serving: settings.view.is_empty(),
                auth: Arc::clone(&auth),
                settings: ShardSettings {
                    frame_bytes_max: PAYLOAD_MAX / 2,
                    length_max: PAYLOAD_MAX,
                    session_timeout_min_ms: timeouts.0,
                    session_timeout_max_ms: timeouts.1,
                    outstanding_max: 1000,
                    sessionless_timeout_ms: 10_000,
                    unread_bytes_max: ShardSettings::UNREAD_BYTES_MAX,
                },
                stats: Arc::new(ShardStats::new()),
                outstanding_all: Arc::clone(&outstanding_all),
                seed: dice.any(),
            }));
        }
        let log_options = LogOptions {
            segment_bytes: 0,
            payload_bytes_max: PAYLOAD_MAX,
            group_bytes_max: 8 << 10,
            seed: dice.any(),
            ..LogOptions::default()
        };
        let ensemble = match settings.view.is_empty() {
            true => None,
            false => Some(ensemble(settings, &io, last, now)?),
        };
        let log = Log::new(log_options, last, restored.log.leftovers);
        let gauges = Arc::new(Gauges::default());
        let parts = WriteParts {
            sequencer,
            tracker,
            ids: Ids::new(settings.sid as u8, now.wall),
            log,
            inlets,
            stream: sender,
            settings: WriteSettings {
                flush_delay_ms: 0,
                batch_records_max: 1000,
                snap_count: settings.snap_count,
                snap_bytes: 0,
                container_check_ms: 4_000,
                container_per_minute: 10_000,
                container_never_used_ms: 0,
            },
            gauges: Arc::clone(&gauges),
            entropy: dice.any(),
            replayed: restored.log.count,
            ensemble,
        };
        let mut stage = WriteStage::new(parts, now);
        stage.start(now);
        let mut node = Node {
            settings: settings.clone(),
            stage,
            shards,
            io,
            files: BTreeMap::new(),
            writes: VecDeque::new(),
            names: VecDeque::new(),
            works: VecDeque::new(),
            snapshots: VecDeque::new(),
            job: None,
            purge_due: false,
            effects: Vec::new(),
            acts: Vec::new(),
            stopping: false,
            awaited: BTreeMap::new(),
            conns: BTreeMap::new(),
            dice,
            now,
            at,
            failed: None,
            seen: SeenNow { shown: Some(last), ..SeenNow::default() },
            gauges,
            last,
            began_from,
            unnamed: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            habits: settings.java.then(|| java::Habits::new(Dice::new(seed, 0x1A7A))),
            known: VecDeque::new(),
            known_last: last,
        };
        node.after();
        node.later(1, Wake::Stage);
        node.later(250 * MS, Wake::Tick);
        Ok(node)
    }

    /// Why the process has ended, if it has.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// What is to be done outside, in order.
    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// The clock of this machine.
    pub fn set_now(&mut self, now: Now, at: Micros) {
        self.now = now;
        self.at = at;
    }

    fn later(&mut self, after: Micros, wake: Wake) {
        let due = self.at + after;
        if self.awaited.get(&wake).is_none_or(|at| *at > due) {
            self.awaited.insert(wake, due);
            self.acts.push(Act::Wake(after, wake));
        }
    }

    fn soon(&mut self, wake: Wake) {
        let after = 1 + self.dice.below(if self.dice.once_in(20) { 2_000 } else { 30 });
        self.later(after, wake);
    }

    /// Something is due. An earlier one of the same kind may have done its work.
    pub fn wake(&mut self, wake: Wake) {
        if self.awaited.get(&wake).is_some_and(|at| *at <= self.at) {
            self.awaited.remove(&wake);
        } else {
            return;
        }
        match wake {
            Wake::Stage => while self.stage.step(self.now, &mut self.effects) {},
            Wake::Shard(shard) => self.shards[usize::from(shard)].catch_up(self.now),
            Wake::Written => self.written(),
            Wake::Name => self.work(true),
            Wake::Background => self.work(false),
            Wake::Snapshot => self.snapshot(),
            // Behind every step they are asked.
            Wake::Habits => {}
            Wake::Tick => {
                self.seen.ticked = true;
                for shard in &mut self.shards {
                    shard.catch_up(self.now);
                    shard.tick(self.now);
                }
                self.later(250 * MS, Wake::Tick);
            }
        }
        self.after();
    }

    /// A client connected.
    pub fn client_connected(&mut self, end: End) {
        if self.stopping {
            return self.acts.push(Act::Close(end));
        }
        let shard = (end.connection() % self.shards.len() as u64) as u16;
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);
        let key = self.shards[usize::from(shard)].connected(end.0, peer, self.now);
        self.conns.insert(end, (shard, key));
        self.after();
    }

    /// Bytes came from a client.
    pub fn client_received(&mut self, end: End, bytes: &[u8]) {
        if let Some((shard, key)) = self.conns.get(&end).copied().filter(|_| !self.stopping) {
            self.shards[usize::from(shard)].received(key, bytes, self.now);
            self.after();
        }
    }

    /// A client's connection is over.
    pub fn client_closed(&mut self, end: End) {
        if let Some((shard, key)) = self.conns.remove(&end) {
            self.shards[usize::from(shard)].disconnected(key);
            self.after();
        }
    }

    /// An operator wants another member to lead.
    pub fn hand_over(&mut self) -> Option<HandOver> {
        if self.habits.is_some() {
            // Java's have no word for it.
            return None;
        }
        let outcome = self.stage.hand_over(self.now);
        self.peer_called();
        outcome
    }

    /// It is to stop in order, as at SIGTERM: it answers what it has taken, and takes nothing more.
    pub fn stop_reading(&mut self) {
        self.stopping = true;
    }

    /// Has it answered everything? Then its clients' connections are closed, and it may end.
    pub fn may_end(&mut self) -> bool {
        let done = !self.stage.is_busy() && self.shards.iter().all(|shard| shard.outstanding() == 0);
        if done {
            self.shards.iter_mut().for_each(Shard::shut_down);
        }
        self.after();
        done
    }

    fn peer_effect(&mut self, effect: PeerEffect) {
        let act = match effect {
            PeerEffect::Connect { ticket, port, addresses, timeout_ms, .. } => {
                let host = addresses.first().map_or("", |address| &address.host);
                let number = host.trim_start_matches('n').parse::<usize>().unwrap_or(1) - 1;
                let port = if port == PeerPort::Election { Port::Election } else { Port::Quorum };
                Act::Connect(ticket.0, number, port, timeout_ms.max(1) as Micros * MS)
            }
            PeerEffect::Forget(ticket) => {
                self.forgotten.insert(ticket.0);
                return;
            }
            PeerEffect::Send { link, bytes } => {
                let end = End(link.0);
                let said = match &mut self.habits {
                    Some(habits) => habits.says(end, bytes, &self.stage, self.at),
                    None => bytes,
                };
                return self.send(end, said);
            }
            PeerEffect::Close(link) => {
                let end = End(link.0);
                let rest = self.habits.as_mut().map(|habits| habits.closed(end));
                self.send(end, rest.unwrap_or_default());
                Act::Close(end)
            }
            // No simulated member has an observerMasterPort.
            PeerEffect::Listen(_) => return,
            PeerEffect::AskOracle(_) => unreachable!("simulated ensembles have no oracle"),
        };
        self.acts.push(act);
    }

    fn send(&mut self, end: End, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.acts.push(Act::Send(end, bytes));
        }
    }

    /// What Java's habits have kept back.
    fn look_at_habits(&mut self) {
        let Some(habits) = &mut self.habits else { return };
        let (said, due) = habits.look(&mut self.stage, self.at);
        said.into_iter().for_each(|(end, bytes)| self.send(end, bytes));
        if let Some(due) = due {
            self.later(due.saturating_sub(self.at).max(1), Wake::Habits);
        }
    }

    /// A peer connected.
    pub fn peer_accepted(&mut self, port: Port, end: End) {
        let port = if port == Port::Election { PeerPort::Election } else { PeerPort::Quorum };
        if let Some(habits) = self.habits.as_mut().filter(|_| port == PeerPort::Quorum) {
            habits.accepted(end);
        }
        self.stage.peer_accepted(port, LinkId(end.0), self.now);
        self.peer_called();
    }

    /// A connection was made.
    pub fn peer_connected(&mut self, ticket: u64, end: End) {
        if self.forgotten.remove(&ticket) {
            self.acts.push(Act::Close(end));
            return;
        }
        // Tickets of the quorum port are odd.
        if let Some(habits) = self.habits.as_mut().filter(|_| ticket % 2 == 1) {
            habits.connected(end);
        }
        self.stage.peer_connected(Ticket(ticket), LinkId(end.0), self.now);
        self.peer_called();
    }

    /// A connection could not be made.
    pub fn peer_connect_failed(&mut self, ticket: u64) {
        if !self.forgotten.remove(&ticket) {
            self.stage.peer_connect_failed(Ticket(ticket), "nobody is there", self.now);
            self.peer_called();
        }
    }

    /// Bytes came from a peer.
    pub fn peer_received(&mut self, end: End, bytes: &[u8]) {
        match &mut self.habits {
            Some(habits) => {
                let heard = habits.hears(end, bytes, &mut self.stage);
                self.stage.peer_received(LinkId(end.0), &heard, self.now);
            }
            None => self.stage.peer_received(LinkId(end.0), bytes, self.now),
        }
        self.peer_called();
    }

    /// A peer's connection is over.
    pub fn peer_closed(&mut self, end: End) {
        if let Some(habits) = &mut self.habits {
            habits.closed(end);
        }
        self.stage.peer_closed(LinkId(end.0), self.now);
        self.peer_called();
    }

    /// Something of what was sent to a peer has left.
    pub fn peer_drained(&mut self, end: End, unsent: usize) {
        self.stage.peer_drained(LinkId(end.0), unsent, self.now);
        self.peer_called();
    }

    /// What the thread of the write stage does behind a call: one round.
    fn peer_called(&mut self) {
        while self.stage.step(self.now, &mut self.effects) {}
        self.after();
    }

    fn written(&mut self) {
        let Some((write, mut result)) = self.writes.pop_front() else { return };
        if result.is_ok() && write.sync {
            let file = self.files.get_mut(&write.segment).expect("a segment is open while it is written");
            result = file.sync();
        }
        if result.is_ok() {
            match self.unnamed.get_mut(&write.segment) {
                Some(waiting) => *waiting = Some(write.final_zxid),
                None => self.seen.durable = Some(write.final_zxid),
            }
        }
        let result = result.map(|()| write.buffer.len());
        let answer = self.stage.log().written(write.token, result, write.buffer);
        self.told(answer);
    }

    fn told(&mut self, answer: Result<Option<Zxid>, wal::LogFailed>) {
        match answer {
            Ok(Some(zxid)) => WriteStage::durable(&mut self.stage, zxid, &mut self.effects),
            Ok(None) => {}
            Err(failed) => self.failed = Some(failed.to_string()),
        }
    }

    fn work(&mut self, naming: bool) {
        let works = if naming { &mut self.names } else { &mut self.works };
        let Some(work) = works.pop_front() else { return };
        let dir = Path::new(LOGS);
        let mut done = wal::perform(&*self.io, dir, &work);
        match (&work, &done) {
            (Work::Prepare { segment, name, .. }, Done::Prepared { .. }) => {
                match self.io.open(&dir.join(name), Mode::Direct) {
                    Ok(file) => {
                        self.files.insert(*segment, file);
                        self.unnamed.insert(*segment, None);
                    }
                    Err(error) => done = Done::PrepareFailed { segment: *segment, error },
                }
            }
            (Work::Retire { segment, .. }, _) => _ = self.files.remove(segment),
            (Work::Name { segment, .. }, Done::Named { result: Ok(()), .. }) => {
                self.seen.durable = self.unnamed.remove(segment).flatten().or(self.seen.durable);
            }
            _ => {}
        }
        let answer = self.stage.log().work_done(done);
        self.told(answer);
        let (left, wake) = if naming { (self.names.len(), Wake::Name) } else { (self.works.len(), Wake::Background) };
        if left > 0 {
            let after = self.work_delay();
            self.later(after, wake);
        }
    }

    fn work_delay(&self) -> Micros {
        self.dice.between(200, 3_000)
    }

    fn snapshot(&mut self) {
        match self.job.take() {
            None => {
                let Some(source) = self.snapshots.pop_front() else { return };
                // What the codecs do is not what is looked for here, and they take their time.
                let compression = match self.dice.below(60) {
                    0 => Compression::Gz,
                    1..5 => Compression::Snappy,
                    _ => Compression::None,
                };
                match SnapshotJob::start(&*self.io, Path::new(SNAPS), compression, source) {
                    Ok(job) => self.job = Some(job),
                    Err(_) => self.stage.snapshot_done(),
                }
            }
            Some(mut job) => match job.step(1 + self.dice.below(4_000) as usize) {
                Ok(false) => self.job = Some(job),
                Ok(true) => {
                    // An error costs the snapshot, and nothing else.
                    self.purge_due = job.finish(&*self.io).is_ok();
                    self.stage.snapshot_done();
                }
                Err(_) => {
                    job.abandon(&*self.io);
                    self.stage.snapshot_done();
                }
            },
        }
        if self.job.is_some() || !self.snapshots.is_empty() {
            let after = self.dice.between(200, 4_000);
            self.later(after, Wake::Snapshot);
        } else if std::mem::take(&mut self.purge_due) {
            _ = snapshot::purge(&*self.io, Path::new(SNAPS), Path::new(LOGS), 3);
        }
    }

    /// What the host loop does behind each event.
    fn after(&mut self) {
        for shard in 0..self.shards.len() {
            self.serve(shard);
        }
        self.issue();
        let mut views = Vec::new();
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::WakeShard(shard) => self.soon(Wake::Shard(shard)),
                Effect::Snapshot(point, reader) => {
                    let (acls, sessions, digest) = (point.acls, point.sessions, Some(point.digest));
                    self.snapshots.push_back(Source { reader, acls, sessions, digest, last_zxid: true });
                    let after = self.work_delay();
                    self.later(after, Wake::Snapshot);
                }
                Effect::CloseSegment(segment) => {
                    self.files.remove(&segment);
                    self.unnamed.remove(&segment);
                }
                // Others are told first, as in the product.
                Effect::View { view, is_final } => views.push(Act::Keep((*view).clone(), is_final)),
                Effect::Peer(effect) => self.peer_effect(effect),
            }
        }
        self.look_at_habits();
        self.acts.append(&mut views);
        if let Some(why) = self.stage.peer_failed() {
            self.failed.get_or_insert(why);
        }
        if self.stage.has_requests() {
            self.soon(Wake::Stage);
        }
        let deadline = self.stage.next_deadline();
        let after = (deadline.since(self.now.mono).max(1) as Micros) * MS;
        self.later(after, Wake::Stage);
    }

    fn issue(&mut self) {
        while self.failed.is_none() {
            while let Some(work) = self.stage.log().next_work(self.now.mono) {
                let naming = matches!(work, Work::Name { .. });
                let (works, wake) =
                    if naming { (&mut self.names, Wake::Name) } else { (&mut self.works, Wake::Background) };
                works.push_back(work);
                let after = self.work_delay();
                self.later(after, wake);
            }
            let Some(write) = self.stage.next_write(self.now) else { break };
            let file = self.files.get_mut(&write.segment).expect("a segment is open before it is written");
            let result = file.write_at(write.offset, &write.buffer);
            self.look_at(&write);
            self.writes.push_back((write, result));
            let (least, most) = self.settings.write_delay;
            let after = self.dice.between(least, most);
            self.later(after, Wake::Written);
        }
    }

    fn serve(&mut self, shard: usize) {
        self.shards[shard].flush();
        loop {
            let dirty = self.shards[shard].take_dirty();
            if dirty.is_empty() {
                return;
            }
            for key in dirty {
                let Some(io) = self.shards[shard].io(key) else { continue };
                let end = End(io.link);
                if io.output_bytes > 0 {
                    let output = self.shards[shard].take_output(key, Vec::new(), self.now);
                    self.acts.push(Act::Send(end, output));
                    if !io.closing && !io.abort {
                        self.shards[shard].sent(key, self.now);
                    }
                }
                if io.abort || io.closing {
                    self.acts.push(Act::Close(end));
                    self.conns.remove(&end);
                    self.shards[shard].disconnected(key);
                }
            }
            self.shards[shard].flush();
        }
    }

    /// The trees that its shards read.
    pub fn trees(&self) -> impl Iterator<Item = &tree::Reader> {
        self.shards.iter().map(Shard::tree)
    }

    /// The end of the log that it started on.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// The end of the snapshot that it started from.
    pub fn began_from(&self) -> Zxid {
        self.began_from
    }

    /// Its disk is as slow as this from now on.
    pub fn set_write_delay(&mut self, delay: (Micros, Micros)) {
        self.settings.write_delay = delay;
    }

    /// What the last step has shown.
    pub fn take_seen(&mut self) -> SeenNow {
        let mut seen = std::mem::take(&mut self.seen);
        seen.java = self.habits.as_mut().map(java::Habits::take_done).unwrap_or_default();
        let committed = Zxid(self.gauges.zxid.load(Relaxed));
        match self.stage.peer().map(Peer::state) {
            None => seen.shown = Some(committed),
            Some(state) => {
                seen.state = Some(state);
                seen.shown = state.serving.then_some(committed);
                seen.epochs = (self.stage.accepted_epoch(), self.stage.current_epoch());
                self.reconcile(&mut seen.moved);
            }
        }
        seen
    }

    /// Compares the history with what it was.
    fn reconcile(&mut self, moved: &mut Vec<Moved>) {
        let history = self.stage.history();
        let end = |txns: &VecDeque<(Zxid, Arc<[u8]>)>| txns.back().map(|(zxid, _)| *zxid);
        let unmoved = history.last == self.known_last
            && match (history.txns.back(), self.known.back()) {
                (Some((_, a)), Some((_, b))) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
        if unmoved {
            return;
        }
        let known =
            |zxid: Zxid| self.known.binary_search_by_key(&zxid, |(zxid, _)| *zxid).ok().map(|at| &self.known[at].1);
        let same = |(zxid, payload): &(Zxid, Arc<[u8]>)| known(*zxid).is_some_and(|k| Arc::ptr_eq(k, payload));
        let common = history.txns.iter().rposition(same);
        let from = match common {
            Some(at) => {
                let zxid = history.txns[at].0;
                if end(&self.known) > Some(zxid) {
                    moved.push(Moved::Truncated(zxid));
                }
                at + 1
            }
            None => {
                let first = history.txns.front().map_or(history.last.next(), |(zxid, _)| *zxid);
                moved.push(Moved::Rebased(first));
                0
            }
        };
        match common {
            Some(at) => while self.known.pop_back_if(|(zxid, _)| *zxid > history.txns[at].0).is_some() {},
            None => self.known.clear(),
        }
        for (zxid, payload) in history.txns.iter().skip(from) {
            moved.push(Moved::Logged(Logged { zxid: *zxid, payload: Arc::clone(payload) }));
            self.known.push_back((*zxid, Arc::clone(payload)));
        }
        while self.known.len() > history.txns.len() {
            self.known.pop_front();
        }
        self.known_last = history.last;
    }

    /// Election and ZAB, to be asked.
    pub fn peer(&self) -> Option<&Peer> {
        self.stage.peer()
    }

    /// Ends of the log: logged, durable, final.
    pub fn marks(&self) -> (i64, i64, i64) {
        (self.stage.last_logged().0, Replica::durable(&self.stage).0, self.stage.committed().0)
    }

    /// The records of a group, as the format says.
    fn look_at(&mut self, write: &LogWrite) {
        let bytes = &write.buffer[..];
        let number = |at: usize| bytes[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let trailer = bytes.len() - 1 - format::TRAILER_BYTES;
        let last_length = number(trailer + 28);
        let mut at = if bytes.starts_with(&format::MAGIC) { format::HEADER_BYTES } else { 0 };
        while at + format::RECORD_HEAD_BYTES < bytes.len() {
            let length = number(at + 8);
            let start = at + format::RECORD_HEAD_BYTES;
            let is_last = start + length + 1 == bytes.len();
            let payload = &bytes[start..start + if is_last { last_length } else { length }];
            let zxid = format::payload_zxid(payload).expect("a payload has a zxid");
            self.seen.logged.push(Logged { zxid, payload: payload.into() });
            at = start + length + 1;
        }
    }
}
