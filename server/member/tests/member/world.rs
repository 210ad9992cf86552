//! A whole member in one thread: shards, write stage, log on an in-memory disk, under a clock that a test sets.
//!
//! Nothing moves by itself. A test sends bytes, lets the write stage prepare ([`World::prepare`]), makes what was written durable
//! ([`World::make_durable`]) and lets each shard look at the commit stream ([`World::pump`]), in any order it likes;
//! [`World::settle`] does all of it until nothing is left. Every connection is watched for what must always hold: answers come
//! exactly once and in order, their zxids never fall, and an event of zxid z precedes every answer that has seen z.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use auth::Auth;
use host::{Disk, MemoryDisk, Mode, WriteFile};
use member::shard::Parts as ShardParts;
use member::word::Word;
use member::write_stage::{Parts as WriteParts, Rules};
use member::{Effect, Gauges, Inlet, Key, Shard, ShardSettings, ShardStats, WriteSettings, WriteStage, stream};
use pipeline::sequencer::SnapshotPoint;
use pipeline::session_table::{Session, SessionTable};
use pipeline::{Now, Sequencer, Settings};
use proto::connect::session_password;
use proto::{Millis, SessionId, Zxid};
use sessions::{Ids, Tracker};
use tree::Writer;
use wal::segment::{Done, SegmentId, Work};
use wal::{Log, LogFailed, LogOptions, LogWrite};

use crate::wire::{self, Event, Frame, Hello, Reply, Req, Welcome};

/// When virtual time begins: monotonic, and what the wall clock is ahead of it.
pub const START_MS: i64 = 1_000_000;
pub const WALL_AHEAD_MS: i64 = 1_700_000_000_000;
pub const DIR: &str = "/log";

/// A disk that was there before, and what recovery says about its log.
pub struct Before {
    pub memory: MemoryDisk,
    /// The way to it, which may be faulty.
    pub io: Arc<dyn Disk>,
    pub leftovers: Vec<String>,
    pub replayed: u64,
    /// Work for the background waits in [`World::works`] until a test does it.
    pub deferred: bool,
}

/// How a world is made.
pub struct Options {
    pub shards: usize,
    pub shard: ShardSettings,
    pub write: WriteSettings,
    pub sequencer: Settings,
    pub auth: auth::Settings,
    pub rules: tree::OwnerRules,
    pub inlet_capacity: usize,
    /// Transactions applied before the start, as recovery would.
    pub restored: Option<(Writer, Vec<(SessionId, i32)>)>,
    pub log: LogOptions,
    pub before: Option<Before>,
    /// What makes it a member of an ensemble. Nobody answers its calls.
    pub ensemble: Option<member::ensemble::Parts>,
}

impl Default for Options {
    fn default() -> Options {
        let length_max = 2 * 0xF_FFFF;
        Options {
            shards: 1,
            shard: ShardSettings {
                frame_bytes_max: 0xF_FFFF,
                length_max,
                session_timeout_min_ms: 4_000,
                session_timeout_max_ms: 40_000,
                outstanding_max: 1000,
                sessionless_timeout_ms: 10_000,
                unread_bytes_max: ShardSettings::UNREAD_BYTES_MAX,
            },
            write: WriteSettings {
                flush_delay_ms: 0,
                batch_records_max: 1000,
                snap_count: 100_000,
                snap_bytes: 0,
                container_check_ms: 60_000,
                container_per_minute: 10_000,
                container_never_used_ms: 0,
            },
            sequencer: Settings {
                extended_types: true,
                enforce_quota: true,
                reconfig_enabled: false,
                digest: true,
                close_session_txn: true,
                length_max,
                record_bytes_max: length_max,
                unknown_session: proto::Code::UnknownSession,
            },
            auth: auth::Settings::default(),
            rules: tree::OwnerRules { extended_types: true, ..tree::OwnerRules::default() },
            inlet_capacity: 4096,
            restored: None,
            log: LogOptions { payload_bytes_max: length_max, segment_bytes: 4 << 20, ..LogOptions::default() },
            before: None,
            ensemble: None,
        }
    }
}

/// A connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct C(pub usize);

/// A client's end of a connection.
#[derive(Default)]
pub struct Client {
    pub shard: usize,
    key: Option<Key>,
    pub welcome: Option<Welcome>,
    pub frames: Vec<Frame>,
    pub text: Vec<u8>,
    pub word: Option<Word>,
    pub closed: bool,
    pub aborted: bool,
    pub paused: bool,
    /// Does not read: one send is on its way and does not end.
    pub deaf: bool,
    sending: bool,
    undecoded: Vec<u8>,
    expected: VecDeque<i32>,
    next_xid: i32,
    pub last_zxid: i64,
    raw: bool,
    /// What comes after the welcome is split into frames and not looked at.
    pub opaque: bool,
}

/// See the module's page.
pub struct World {
    pub shards: Vec<Shard>,
    pub stage: WriteStage,
    pub clients: Vec<Client>,
    pub mono: i64,
    /// What the wall clock is ahead of the monotonic one.
    pub wall_ahead: i64,
    pub snapshots: Vec<(SnapshotPoint, tree::Reader)>,
    pub disk: MemoryDisk,
    io: Arc<dyn Disk>,
    /// Work for the background that is not done yet, where it is deferred.
    pub works: VecDeque<Work>,
    deferred: bool,
    /// Why the process has ended.
    pub failed: Option<LogFailed>,
    pub stats: Vec<Arc<ShardStats>>,
    pub gauges: Arc<Gauges>,
    pub outstanding_all: Arc<AtomicUsize>,
    pub log_options: LogOptions,
    first_zxid: i64,
    files: BTreeMap<SegmentId, Box<dyn WriteFile>>,
    /// Under way: any part of them may be on the disk.
    pub writes: VecDeque<LogWrite>,
    results: VecDeque<io::Result<()>>,
    effects: Vec<Effect>,
}

impl World {
    pub fn new() -> World {
        World::with(|_| {})
    }

    pub fn with_shards(shards: usize) -> World {
        World::with(|options| options.shards = shards)
    }

    pub fn with(change: impl FnOnce(&mut Options)) -> World {
        let mut o = Options::default();
        change(&mut o);
        let now = Now { wall: Millis(START_MS + WALL_AHEAD_MS), mono: Millis(START_MS) };
        let auth = Arc::new(Auth::new(o.auth).unwrap());
        let mut tracker = Tracker::new(sessions::Settings {
            tick_ms: 2000,
            timeout_min_ms: o.shard.session_timeout_min_ms,
            timeout_max_ms: o.shard.session_timeout_max_ms,
        });
        let tree_options = tree::Options { rules: o.rules, ..tree::Options::new((7, 11)) };
        let (writer, open) = o.restored.unwrap_or_else(|| (Writer::new(tree_options), Vec::new()));
        let mut table = SessionTable::default();
        for (id, timeout_ms) in open {
            tracker.open(id, timeout_ms, now.mono);
            table.insert(id, Session { timeout_ms, owner: None });
        }
        let last = writer.committed();
        let mut sequencer = Sequencer::new(writer, table, Rules(Arc::clone(&auth)), o.sequencer, last);
        let (sender, receivers) = stream::stream(o.shards);
        let gauges = Arc::new(Gauges::default());
        let outstanding_all = Arc::new(AtomicUsize::new(0));
        let (mut shards, mut inlets, mut stats) = (Vec::new(), Vec::new(), Vec::new());
        for (id, receiver) in receivers.into_iter().enumerate() {
            let (producer, consumer) = queue::channel(o.inlet_capacity);
            inlets.push(consumer);
            stats.push(Arc::new(ShardStats::new()));
            shards.push(Shard::new(ShardParts {
                id: id as u16,
                tree: sequencer.tree().reader(),
                stream: receiver,
                inlet: Inlet::new(producer),
                serving: o.ensemble.is_none(),
                auth: Arc::clone(&auth),
                settings: o.shard.clone(),
                stats: Arc::clone(&stats[id]),
                outstanding_all: Arc::clone(&outstanding_all),
                seed: 5,
            }));
        }
        let before = o.before.unwrap_or_else(|| {
            let memory = MemoryDisk::new();
            memory.create_dir_all(Path::new(DIR)).unwrap();
            let io = Arc::new(memory.clone());
            Before { memory, io, leftovers: Vec::new(), replayed: 0, deferred: false }
        });
        let log = Log::new(o.log.clone(), last, before.leftovers);
        let parts = WriteParts {
            sequencer,
            tracker,
            ids: Ids::new(1, now.mono),
            log,
            inlets,
            stream: sender,
            settings: o.write,
            gauges: Arc::clone(&gauges),
            entropy: 3,
            replayed: before.replayed,
            ensemble: o.ensemble,
        };
        let mut stage = WriteStage::new(parts, now);
        stage.start(now);
        let mut world = World {
            shards,
            stage,
            clients: Vec::new(),
            mono: START_MS,
            wall_ahead: WALL_AHEAD_MS,
            snapshots: Vec::new(),
            disk: before.memory,
            io: before.io,
            works: VecDeque::new(),
            deferred: before.deferred,
            failed: None,
            stats,
            gauges,
            outstanding_all,
            log_options: o.log,
            first_zxid: last.0 + 1,
            files: BTreeMap::new(),
            writes: VecDeque::new(),
            results: VecDeque::new(),
            effects: Vec::new(),
        };
        if !world.deferred {
            world.settle();
        }
        world
    }

    /// The last final zxid.
    pub fn zxid(&self) -> i64 {
        self.gauges.zxid.load(Relaxed)
    }

    pub fn now(&self) -> Now {
        Now { wall: Millis(self.mono + self.wall_ahead), mono: Millis(self.mono) }
    }

    // --- the write stage ---

    /// The write stage takes what is there; a write of the log is issued if none is under way. True if anything happened.
    pub fn prepare(&mut self) -> bool {
        let now = self.now();
        let had = self.stage.has_requests();
        while self.stage.step(now, &mut self.effects) {}
        self.issue();
        had | self.take_effects()
    }

    fn issue(&mut self) {
        let now = self.now();
        while self.failed.is_none() {
            while let Some(work) = self.stage.log().next_work(now.mono) {
                self.works.push_back(work);
            }
            if !self.deferred && self.do_work(0) {
                continue;
            }
            let Some(write) = self.stage.next_write(now) else { break };
            // It is on its way now; durable it is when it ends.
            let file = self.files.get_mut(&write.segment).unwrap();
            self.results.push_back(file.write_at(write.offset, &write.buffer));
            self.writes.push_back(write);
        }
    }

    /// Does the piece of work with this number in [`World::works`]. False if there is none.
    pub fn do_work(&mut self, number: usize) -> bool {
        let Some(work) = self.works.remove(number) else { return false };
        let done = self.perform(&work);
        let answer = self.stage.log().work_done(done);
        self.told(answer);
        true
    }

    fn told(&mut self, answer: Result<Option<Zxid>, LogFailed>) {
        match answer {
            Ok(Some(zxid)) => self.stage.durable(zxid, &mut self.effects),
            Ok(None) => {}
            Err(failed) => self.failed = Some(failed),
        }
    }

    fn perform(&mut self, work: &Work) -> Done {
        let dir = Path::new(DIR);
        let done = wal::perform(&*self.io, dir, work);
        match (work, &done) {
            (Work::Prepare { segment, name, .. }, Done::Prepared { .. }) => {
                match self.io.open(&dir.join(name), Mode::Direct) {
                    Ok(file) => _ = self.files.insert(*segment, file),
                    Err(error) => return Done::PrepareFailed { segment: *segment, error },
                }
            }
            (Work::Retire { segment, .. }, _) => _ = self.files.remove(segment),
            _ => {}
        }
        done
    }

    /// The oldest write under way ends. False if there is none.
    pub fn make_durable(&mut self) -> bool {
        let Some(write) = self.writes.pop_front() else { return false };
        let mut result = self.results.pop_front().unwrap();
        if result.is_ok() && write.sync {
            result = self.files.get_mut(&write.segment).unwrap().sync();
        }
        let result = result.map(|()| write.buffer.len());
        let answer = self.stage.log().written(write.token, result, write.buffer);
        self.told(answer);
        self.issue();
        self.take_effects();
        true
    }

    fn take_effects(&mut self) -> bool {
        let mut any = false;
        for effect in std::mem::take(&mut self.effects) {
            any = true;
            if let Effect::Snapshot(point, tree) = effect {
                self.snapshots.push((point, tree));
            }
        }
        any
    }

    /// Every transaction in the log, as recovery reads it.
    pub fn replay(&self, each: impl FnMut(wal::Record<'_>)) {
        let options = wal::ReadOptions { payload_bytes_max: self.log_options.payload_bytes_max };
        let disk = self.disk.killed();
        wal::recover(&disk, Path::new(DIR), Zxid(self.first_zxid), options, each).unwrap();
    }

    /// Of every transaction in the log: zxid, session, cxid, type.
    pub fn logged(&self) -> Vec<(i64, i64, i32, i32)> {
        let mut all = Vec::new();
        self.replay(|record| {
            let h = record.header;
            all.push((h.zxid.0, h.session.0, h.cxid.0, h.op.as_i32()));
        });
        all
    }

    // --- shards ---

    /// The shard consumes what is released, and its connections are served.
    pub fn pump(&mut self, shard: usize) {
        let now = self.now();
        self.shards[shard].catch_up(now);
        self.shards[shard].flush();
        self.serve(shard);
    }

    pub fn pump_all(&mut self) {
        (0..self.shards.len()).for_each(|shard| self.pump(shard));
    }

    /// Until nothing moves any more.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut moved = self.prepare() | self.do_work(0);
            moved |= self.make_durable();
            moved |= self.shards.iter().any(Shard::is_behind);
            self.pump_all();
            // Requests may stay where they are for want of room in the log.
            if self.failed.is_some()
                || !moved && (!self.stage.has_requests() || !self.stage.log().can_accept(1)) && self.writes.is_empty()
            {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Time passes, and everybody looks at the clock.
    pub fn pass(&mut self, ms: i64) {
        self.mono += ms;
        let now = self.now();
        for shard in &mut self.shards {
            shard.tick(now);
        }
        self.settle();
    }

    /// As [`World::pass`], while these connections ping.
    pub fn pass_pinging(&mut self, ms: i64, alive: &[C]) {
        for _ in 0..ms / 1000 {
            alive.iter().for_each(|c| _ = self.ask(*c, &wire::ping()));
            self.pass(1000);
        }
        self.pass(ms % 1000);
    }

    /// Does for the connections of a shard what its driver would do.
    pub fn serve(&mut self, shard: usize) {
        let now = self.now();
        loop {
            let dirty = self.shards[shard].take_dirty();
            if dirty.is_empty() {
                return;
            }
            for key in dirty {
                let Some(io) = self.shards[shard].io(key) else { continue };
                let client = &mut self.clients[io.link as usize];
                assert_eq!(client.key, Some(key));
                client.paused = io.paused;
                if let Some(word) = io.word {
                    client.word = Some(word);
                }
                let mut sent = false;
                let mut left = io.output_bytes > 0;
                if left && !client.sending {
                    left = false;
                    client.absorb(&self.shards[shard].take_output(key, Vec::new(), now));
                    client.sending = client.deaf;
                    sent = !client.deaf;
                }
                let close = io.closing && !left && !client.sending;
                if io.abort || close {
                    client.aborted = io.abort;
                    client.closed = true;
                    self.shards[shard].disconnected(key);
                } else if sent {
                    self.shards[shard].sent(key, now);
                }
            }
            self.shards[shard].flush();
        }
    }

    // --- clients ---

    /// A socket, without a word said.
    pub fn socket(&mut self, shard: usize, address: &str) -> C {
        let c = C(self.clients.len());
        let peer = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 40_000);
        let now = self.now();
        let key = self.shards[shard].connected(c.0 as u64, peer, now);
        self.clients.push(Client { shard, key: Some(key), next_xid: 1, ..Client::default() });
        c
    }

    pub fn key(&self, c: C) -> Key {
        self.clients[c.0].key.unwrap()
    }

    pub fn client(&mut self, c: C) -> &mut Client {
        &mut self.clients[c.0]
    }

    /// Bytes reach the server.
    pub fn send(&mut self, c: C, bytes: &[u8]) {
        let Client { shard, key, closed, .. } = self.clients[c.0];
        if closed {
            return;
        }
        let now = self.now();
        self.shards[shard].received(key.unwrap(), bytes, now);
        self.shards[shard].flush();
        self.serve(shard);
    }

    /// The client is gone.
    pub fn hang_up(&mut self, c: C) {
        let Client { shard, key, closed, .. } = self.clients[c.0];
        if !closed {
            self.clients[c.0].closed = true;
            self.shards[shard].disconnected(key.unwrap());
            self.shards[shard].flush();
        }
    }

    /// The client reads again, all that is there.
    pub fn read_again(&mut self, c: C) {
        let Client { shard, key, closed, .. } = self.clients[c.0];
        self.clients[c.0].deaf = false;
        self.clients[c.0].sending = false;
        if !closed {
            let now = self.now();
            self.shards[shard].sent(key.unwrap(), now);
            self.shards[shard].flush();
            self.serve(shard);
        }
    }

    /// A connection with a new session.
    pub fn open(&mut self, shard: usize) -> C {
        let c = self.socket(shard, "127.0.0.1");
        self.hello(c, &Hello::default());
        assert!(self.clients[c.0].welcome.as_ref().is_some_and(|welcome| welcome.session != 0), "a session");
        c
    }

    pub fn hello(&mut self, c: C, hello: &Hello) {
        self.send(c, &hello.frame());
        self.settle();
    }

    pub fn session(&self, c: C) -> i64 {
        self.clients[c.0].welcome.as_ref().map_or(0, |welcome| welcome.session)
    }

    /// A new connection for the session of `c`.
    pub fn reattach(&mut self, c: C, shard: usize) -> C {
        let session = self.session(c);
        let zxid = self.clients[c.0].last_zxid;
        let again = self.socket(shard, "127.0.0.1");
        let password = session_password(SessionId(session)).to_vec();
        self.hello(again, &Hello { zxid, session, password, ..Hello::default() });
        again
    }

    /// The frames of requests, to be sent as the test likes; their answers are expected.
    pub fn frames_of(&mut self, c: C, requests: &[Req]) -> Vec<u8> {
        let client = &mut self.clients[c.0];
        let mut bytes = Vec::new();
        for request in requests {
            let xid = match request.op {
                11 => -2,
                100 => -4,
                101 | 105 => -8,
                _ => {
                    client.next_xid += 1;
                    client.next_xid - 1
                }
            };
            client.expected.push_back(xid);
            bytes.extend(wire::frame(xid, request));
        }
        bytes
    }

    /// Sends a request; answers its xid.
    pub fn ask(&mut self, c: C, request: &Req) -> i32 {
        self.burst(c, std::slice::from_ref(request));
        self.clients[c.0].next_xid - 1
    }

    /// Sends several at once, in one chunk.
    pub fn burst(&mut self, c: C, requests: &[Req]) {
        let bytes = self.frames_of(c, requests);
        self.send(c, &bytes);
    }

    /// Sends a request, lets the world settle, and answers the reply.
    pub fn call(&mut self, c: C, request: &Req) -> Reply {
        self.ask(c, request);
        self.settle();
        let frames = self.take(c);
        let reply = frames.into_iter().rev().find_map(|frame| if let Frame::Reply(r) = frame { Some(r) } else { None });
        reply.unwrap_or_else(|| panic!("no answer to {request:?}"))
    }

    /// As [`World::call`]; only the error.
    pub fn err(&mut self, c: C, request: &Req) -> i32 {
        self.call(c, request).err
    }

    /// What came since the last look.
    pub fn take(&mut self, c: C) -> Vec<Frame> {
        std::mem::take(&mut self.clients[c.0].frames)
    }

    pub fn replies(&mut self, c: C) -> Vec<Reply> {
        self.take(c).into_iter().filter_map(|f| if let Frame::Reply(reply) = f { Some(reply) } else { None }).collect()
    }

    /// Events that came since the last look: type and path.
    pub fn events(&mut self, c: C) -> Vec<(i32, String)> {
        let events = self.take(c).into_iter().filter_map(|f| if let Frame::Event(e) = f { Some(e) } else { None });
        events.map(|Event { kind, path, .. }| (kind, path)).collect()
    }

    /// Answers that are still owed.
    pub fn owed(&self, c: C) -> usize {
        self.clients[c.0].expected.len()
    }

    /// Nobody waits for anything, and every counter says so.
    pub fn assert_quiet(&self) {
        assert_eq!(self.outstanding_all.load(Relaxed), 0, "outstanding in all");
        assert!(self.shards.iter().all(|shard| shard.outstanding() == 0), "outstanding in each");
        assert!(!self.stage.is_busy());
    }

    /// Later answers of this connection are compared with no expectation.
    pub fn expect_anything(&mut self, c: C) {
        self.clients[c.0].raw = true;
    }
}

impl Client {
    fn absorb(&mut self, bytes: &[u8]) {
        if self.word.is_some() {
            self.text.extend_from_slice(bytes);
            return;
        }
        self.undecoded.extend_from_slice(bytes);
        while let Some((length, rest)) = self.undecoded.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length) as usize;
            let Some(body) = rest.get(..length) else { return };
            let body = body.to_vec();
            self.undecoded.drain(..4 + length);
            if self.welcome.is_none() && !self.raw {
                self.welcome = Some(Welcome::decode(&body));
                continue;
            }
            if self.opaque {
                continue;
            }
            let frame = Frame::decode(&body);
            self.judge(&frame);
            self.frames.push(frame);
        }
    }

    /// What must hold for every connection.
    fn judge(&mut self, frame: &Frame) {
        match frame {
            Frame::Event(event) if event.zxid >= 0 => {
                assert!(event.zxid > self.last_zxid, "an event after an answer that has seen it: {event:?}");
            }
            Frame::Event(_) => {}
            Frame::Reply(reply) => {
                if reply.xid == -4 {
                    // Answered ahead of what is under way.
                    let at = self.expected.iter().position(|xid| *xid == -4).expect("an auth packet was sent");
                    self.expected.remove(at);
                } else if !self.raw {
                    assert_eq!(self.expected.pop_front(), Some(reply.xid), "answers come once, in order");
                }
                if reply.zxid > 0 {
                    assert!(reply.zxid >= self.last_zxid, "zxids never fall");
                    self.last_zxid = reply.zxid;
                }
            }
        }
    }
}
