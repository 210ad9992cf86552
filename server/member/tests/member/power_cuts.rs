//! Power cuts under the whole member: shards, write stage, log, the preparing, naming and cutting of its files, snapshots, purging.
//!
//! Several sessions on two shards send random writes, while everything that the real server does on threads of its own goes on in
//! random order: log writes are under way, segments are prepared and named, snapshots are written a slice at a time, old files are
//! purged. The disk keeps a journal. Afterwards it shows what a power cut at any moment of it may leave: any sectors of what was not
//! synced, any names of what no directory sync has made durable. Each such image must open by itself, and:
//!
//! - every transaction of which any client had heard, by its answer, a later read, or an event, is there;
//! - what is there is a prefix of what was logged, nothing of a transaction without the rest: znodes, ACLs, stats and sessions are
//!   those that the tree's reference model has at that zxid;
//! - opening it again finds the same, and so does opening it after another power cut while it was being opened;
//! - the member goes on from it, and what it acknowledges then survives the next cut.
//!
//! Each life goes on from an image of the one before, or from what a killed process has left in the kernel's memory. `MEMBER_CUTS` says how many images, `MEMBER_CUT_SEED` where the dice begin.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;

use host::faulty::Fault;
use host::memory::Names;
use host::{Disk, Entropy, FaultyDisk, MemoryDisk, SeededEntropy};
use proto::{Op, SessionId, Txn, Zxid};
use snapshot::{Compression, RestoreOptions, Restored, SnapshotJob, Source};
use tree::model::Model;
use wal::Work;

use crate::wire::*;
use crate::world::{Before, C, DIR, World};

const SNAPS: &str = "/data";
const PAYLOAD_MAX: usize = 32 << 10;

fn tree_options() -> tree::Options {
    let rules = tree::OwnerRules { extended_types: true, ..tree::OwnerRules::default() };
    tree::Options { rules, ..tree::Options::new((3, 5)) }
}

fn restore(disk: &dyn Disk) -> Result<Restored, String> {
    let (snaps, logs) = (Path::new(SNAPS), Path::new(DIR));
    snapshot::prepare_directories(disk, snaps, logs, true).map_err(|error| error.to_string())?;
    let mut options = RestoreOptions::new(tree_options());
    options.read.payload_bytes_max = PAYLOAD_MAX;
    snapshot::restore(disk, snaps, logs, options).map_err(|error| error.to_string())
}

/// Znodes and sessions as text, so that any difference shows.
fn describe(restored: &mut Restored) -> String {
    let mut text = String::new();
    for (session, timeout) in &restored.sessions {
        writeln!(text, "session {session} {timeout}").unwrap();
    }
    let mut znodes = BTreeMap::new();
    restored.tree.reader().walk("/", |path, view| {
        znodes.insert(path.to_owned(), format!("{:?} {:?} {:?}", view.data(), view.acl(), view.persisted()));
    });
    znodes.iter().for_each(|(path, znode)| writeln!(text, "{path} {znode}").unwrap());
    text
}

/// What was logged, and what the reference model makes of it.
struct History {
    payloads: BTreeMap<i64, Vec<u8>>,
    model: Model,
    sessions: BTreeMap<SessionId, i32>,
    /// By zxid; the first is that of an empty database.
    states: Vec<String>,
    /// zxid at which each session was opened.
    opened: BTreeMap<i64, i64>,
    /// The last zxid that a client has heard of and that a cut may not take.
    heard: i64,
}

impl History {
    fn new() -> History {
        let mut history = History {
            payloads: BTreeMap::new(),
            model: Model::new(true, false),
            sessions: BTreeMap::new(),
            states: Vec::new(),
            opened: BTreeMap::new(),
            heard: 0,
        };
        history.states.push(history.state());
        history
    }

    fn last(&self) -> i64 {
        self.states.len() as i64 - 1
    }

    fn state(&self) -> String {
        let mut text = String::new();
        for (session, timeout) in &self.sessions {
            writeln!(text, "session {session} {timeout}").unwrap();
        }
        for (path, znode) in &self.model.now().znodes {
            writeln!(text, "{path} {:?} {:?} {:?}", znode.data.as_deref(), &*znode.acl, znode.stat).unwrap();
        }
        text
    }

    fn push(&mut self, payload: Vec<u8>) {
        let record = wal::decode(&payload).unwrap();
        let header = &record.header;
        assert_eq!(header.zxid.0, self.last() + 1, "the log has no gaps");
        match &record.txn {
            Txn::CreateSession { timeout_ms } => {
                self.opened.insert(header.session.0, header.zxid.0);
                self.sessions.insert(header.session, *timeout_ms);
            }
            Txn::CloseSession { .. } => _ = self.sessions.remove(&header.session),
            _ => {}
        }
        self.model.apply(header, &record.txn);
        self.states.push(self.state());
        self.payloads.insert(header.zxid.0, payload);
    }

    /// Learns what lies in the log, all that is in flight included.
    fn learn(&mut self, disk: &MemoryDisk) {
        let mut new = Vec::new();
        let options = wal::ReadOptions { payload_bytes_max: PAYLOAD_MAX };
        wal::recover(&disk.killed(), Path::new(DIR), Zxid(self.last() + 1), options, |record| {
            new.push(record.payload.to_vec());
        })
        .unwrap();
        new.into_iter().for_each(|payload| self.push(payload));
    }

    /// The history as a cut has left it.
    fn cut_to(&self, last: i64) -> History {
        let mut history = History::new();
        self.payloads.values().take(last as usize).for_each(|payload| history.push(payload.clone()));
        history.heard = last;
        history
    }
}

/// What came of a life.
struct Life {
    disk: MemoryDisk,
    /// From this moment of the disk on, this zxid must survive.
    heard: Vec<(usize, i64)>,
    /// Welcomed at a moment.
    welcomed: Vec<(usize, i64)>,
    snapshots: usize,
    purged: usize,
    /// The log failed, and the process ended.
    ended: bool,
}

impl Life {
    fn must_survive(&self, moment: usize, history: &History) -> i64 {
        let heard = self.heard.iter().rev().find(|(at, _)| *at <= moment).map_or(0, |(_, zxid)| *zxid);
        let welcomed = self.welcomed.iter().take_while(|(at, _)| *at <= moment);
        welcomed.map(|(_, session)| history.opened[session]).max().unwrap_or(0).max(heard)
    }
}

/// A member on this disk.
fn member(memory: &MemoryDisk, io: &Arc<dyn Disk>) -> Result<World, String> {
    let restored = restore(&**io)?;
    Ok(World::with(|o| {
        o.shards = 2;
        o.shard.length_max = PAYLOAD_MAX;
        o.sequencer.length_max = PAYLOAD_MAX;
        o.sequencer.record_bytes_max = PAYLOAD_MAX;
        o.write.snap_count = 12;
        o.write.container_check_ms = 4_000;
        o.log.payload_bytes_max = PAYLOAD_MAX;
        o.log.group_bytes_max = 8 << 10;
        o.log.segment_bytes = 0;
        o.log.seed = restored.last.unwrap().0 as u64;
        o.before = Some(Before {
            memory: memory.clone(),
            io: Arc::clone(io),
            leftovers: restored.log.leftovers,
            replayed: restored.log.count,
            deferred: true,
        });
        o.restored = Some((restored.tree, restored.sessions.into_iter().collect()));
    }))
}

fn request(dice: &SeededEntropy) -> Req {
    let path = || -> String {
        let depth = 1 + dice.below(2);
        (0..depth).map(|_| format!("/{}", ["a", "b", "c", "d"][dice.below(4) as usize])).collect()
    };
    let data = || "x".repeat(dice.below(if dice.below(12) == 0 { 9_000 } else { 300 }) as usize);
    match dice.below(16) {
        0..=4 => create(&path(), &data()),
        5 => create_flags(&path(), 1),
        6 => create_flags(&format!("{}-", path()), 3),
        7 => create_ttl(&path(), 5, 3_000),
        8 => create_as(Op::CreateContainer, &path(), Some(b"c"), &open_acl(), 4),
        9 | 10 => delete(&path(), -1),
        11 => set_acl(&path(), &acl(31, "ip", "127.0.0.1"), -1),
        12 => multi(&[create(&path(), &data()), set(&path(), &data(), -1), delete(&path(), -1)]),
        13 => exists(&path(), true),
        _ => set(&path(), &data(), -1),
    }
}

/// Lives for so many steps. Answers `None` if the process could not even start.
fn live(memory: &MemoryDisk, io: &Arc<dyn Disk>, seed: u64, steps: usize, history: &mut History) -> Option<Life> {
    let dice = SeededEntropy::new(seed);
    let mut life = Life {
        disk: memory.clone(),
        heard: vec![(0, history.heard)],
        welcomed: Vec::new(),
        snapshots: 0,
        purged: 0,
        ended: false,
    };
    let mut w = member(memory, io).ok()?;
    if dice.below(2) == 0 {
        purge(memory, io, history, &mut life);
    }
    let mut clients: Vec<C> = Vec::new();
    let mut welcomed = 0;
    let mut job: Option<SnapshotJob> = None;
    for _ in 0..steps {
        match dice.below(30) {
            0 if clients.len() < 5 => {
                let c = w.socket(clients.len() % 2, "127.0.0.1");
                w.send(c, &Hello { timeout_ms: 4_000 + dice.below(8_000) as i32, ..Hello::default() }.frame());
                clients.push(c);
            }
            0..=9 if !clients.is_empty() => {
                let c = clients[dice.below(clients.len() as u64) as usize];
                if w.client(c).welcome.is_some() && !w.client(c).closed {
                    let request = if dice.below(60) == 0 { close() } else { request(&dice) };
                    w.ask(c, &request);
                }
            }
            10..=13 => _ = w.prepare(),
            14..=17 => _ = w.make_durable(),
            18..=21 => {
                // Two threads: each does its own in order, and one may be far ahead of the other.
                let names = dice.below(2) == 0;
                let next = w.works.iter().position(|work| matches!(work, Work::Name { .. }) == names);
                if let Some(next) = next {
                    w.do_work(next);
                }
            }
            22..=24 => w.pump(dice.below(2) as usize),
            25 | 26 => {
                if job.is_none() && !w.snapshots.is_empty() {
                    let (point, reader) = w.snapshots.remove(0);
                    let source = Source {
                        reader,
                        acls: point.acls,
                        sessions: point.sessions,
                        digest: Some(point.digest),
                        last_zxid: true,
                    };
                    let compression = [Compression::None, Compression::Gz, Compression::Snappy][dice.below(3) as usize];
                    job = SnapshotJob::start(&**io, Path::new(SNAPS), compression, source).ok();
                    if job.is_none() {
                        w.stage.snapshot_done();
                    }
                }
            }
            27 | 28 => {
                if let Some(mut now) = job.take() {
                    match now.step(1 + dice.below(2_000) as usize) {
                        Ok(false) => job = Some(now),
                        Ok(true) => {
                            life.snapshots += usize::from(now.finish(&**io).is_ok());
                            w.stage.snapshot_done();
                        }
                        Err(_) => {
                            now.abandon(&**io);
                            w.stage.snapshot_done();
                        }
                    }
                } else if dice.below(3) == 0 {
                    purge(memory, io, history, &mut life);
                }
            }
            _ => {
                w.mono += dice.below(1_500) as i64;
                for c in clients.clone() {
                    if dice.below(4) > 0 && w.client(c).welcome.is_some() {
                        w.ask(c, &ping());
                    }
                }
            }
        }
        if w.failed.is_some() {
            life.ended = true;
            break;
        }
        let now = memory.moments();
        let heard = clients.iter().map(|c| w.client(*c).last_zxid).max().unwrap_or(0);
        if heard > life.heard.last().unwrap().1 {
            life.heard.push((now, heard));
        }
        for c in &clients[welcomed..] {
            if w.session(*c) == 0 {
                break;
            }
            life.welcomed.push((now, w.session(*c)));
            welcomed += 1;
        }
    }
    history.learn(memory);
    Some(life)
}

fn purge(memory: &MemoryDisk, io: &Arc<dyn Disk>, history: &mut History, life: &mut Life) {
    // What it removes is not to be learnt any more.
    history.learn(memory);
    let removed = snapshot::purge(&**io, Path::new(SNAPS), Path::new(DIR), 3);
    life.purged += removed.map_or(0, |removed| removed.len());
}

/// Opens what a cut has left, and judges it.
fn judge(image: &MemoryDisk, at_least: i64, history: &History, what: &str) -> i64 {
    let mut restored = restore(image).unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = restored.last.unwrap().0;
    assert!(last >= at_least, "{what}: {at_least:#x} was acknowledged, {last:#x} is there");
    assert!(last <= history.last(), "{what}: {last:#x} was never logged");
    assert_eq!(restored.mismatches, 0, "{what}");
    let found = describe(&mut restored);
    assert_eq!(found, history.states[last as usize], "{what}: at {last:#x}");
    assert!(restored.log.gaps.is_empty() && restored.log.regressions.is_empty(), "{what}: {:?}", restored.log);

    let mut again = restore(image).unwrap();
    assert_eq!(again.last, restored.last, "{what}");
    assert!(again.log.cuts.is_empty(), "{what}: nothing is left to be cut: {:?}", again.log.cuts);
    assert_eq!(describe(&mut again), found, "{what}");
    last
}

/// The member goes on from an image; what it says then survives the next cut.
fn goes_on(image: &MemoryDisk, last: i64, what: &str) {
    let io: Arc<dyn Disk> = Arc::new(image.clone());
    let mut w = member(image, &io).unwrap();
    w.settle();
    let c = w.open(0);
    assert_eq!(w.err(c, &create("/after", "the cut")), 0, "{what}");
    let zxid = w.client(c).last_zxid;
    assert!(zxid > last, "{what}");
    let next = image.crash(image.moments(), &mut || false);
    let restored = restore(&next).unwrap_or_else(|error| panic!("{what}, then cut again: {error}"));
    assert_eq!(restored.last.unwrap().0, zxid, "{what}");
    assert!(restored.tree.node("/after").is_some(), "{what}");
}

/// A process is killed when its first snapshot has its name, which is not durable yet. The next one finds the snapshot, and writes
/// transactions behind it; then the power fails. The logs would be left without a snapshot, and no server would start on them.
#[test]
fn a_snapshot_that_a_killed_process_has_left_is_made_durable_before_anything_rests_on_it() {
    let first = MemoryDisk::new();
    restore(&first).unwrap();
    for moment in 0..=first.moments() {
        let disk = first.killed_at(moment);
        goes_on(&disk, 0, &format!("killed at {moment}"));
    }
}

struct Dice(SeededEntropy);

impl Dice {
    /// One of the things that a cut may do at a moment.
    fn image(&self, disk: &MemoryDisk, moment: usize) -> MemoryDisk {
        let names = if self.0.below(2) == 0 { Names::InOrder } else { Names::Any };
        match self.0.below(6) {
            0 => disk.cut(moment, names, &mut || false),
            1 => disk.cut(moment, names, &mut || true),
            2 => disk.cut(moment, names, &mut || self.0.below(8) == 0),
            3 => disk.cut(moment, names, &mut || self.0.below(8) != 0),
            _ => disk.cut(moment, names, &mut || self.0.below(2) == 0),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "how much to do is said from outside")]
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn whatever_a_power_cut_leaves_opens_with_all_that_anybody_was_told() {
    let seed = number("MEMBER_CUT_SEED", 1);
    let wanted = number("MEMBER_CUTS", 2_000);
    println!("MEMBER_CUT_SEED={seed} MEMBER_CUTS={wanted}");
    let dice = Dice(SeededEntropy::new(seed));
    let (mut images, mut lives, mut snapshots, mut purged, mut lost, mut txns) = (0, 0, 0, 0, 0, 0);
    while images < wanted {
        // A directory, and the lives that were led on it.
        let mut disk = MemoryDisk::new();
        let mut history = History::new();
        for generation in 0..4 {
            let seed = dice.0.next_u64();
            let io: Arc<dyn Disk> = Arc::new(disk.clone());
            let began = disk.moments();
            let life = live(&disk, &io, seed, 700, &mut history).unwrap();
            lives += 1;
            txns += history.last() - history.heard;
            snapshots += life.snapshots;
            purged += life.purged;
            let (first, end) = (began as u64, life.disk.moments() as u64);
            for n in 0..60 {
                let moment = (first + dice.0.below(end - first + 1)) as usize;
                let what = format!("life {lives}, generation {generation}, seed {seed}, cut {n} at {moment}");
                let image = dice.image(&life.disk, moment);
                let at_least = life.must_survive(moment, &history);
                let start = image.moments();
                let last = judge(&image, at_least, &history, &what);
                images += 1;
                lost += usize::from(last < history.last());
                if n % 4 == 0 {
                    // The power goes again while the server starts.
                    let opening = start + dice.0.below((image.moments() - start) as u64 + 1) as usize;
                    let twice = dice.image(&image, opening);
                    judge(&twice, at_least, &history, &format!("{what}, and again at {opening}"));
                    goes_on(&twice, at_least, &what);
                }
            }
            if dice.0.below(3) == 0 {
                // The process is killed, not the machine: nothing is lost, but much of it is still in memory only.
                let moment = (first + dice.0.below(end - first + 1)) as usize;
                let at_least = life.must_survive(moment, &history);
                disk = life.disk.killed_at(moment);
                // To look at a copy changes nothing.
                let last = restore(&disk.killed()).unwrap().last.unwrap().0;
                history = history.cut_to(last);
                history.heard = at_least;
                continue;
            }
            let moment = (first + dice.0.below(end - first + 1).max((end - first) / 2)) as usize;
            let image = dice.image(&life.disk, moment);
            let at_least = life.must_survive(moment, &history);
            let last = judge(&image, at_least, &history, "the cut behind which life goes on");
            history = history.cut_to(last);
            disk = image;
        }
    }
    println!(
        "{images} images of {lives} lives with {txns} transactions, {lost} shorter than the log; {snapshots} snapshots, {purged} files purged"
    );
    if wanted >= 1_000 {
        assert!(snapshots > 50 && purged > 20 && lost > 100, "{snapshots} {purged} {lost}");
    }
}

/// Every call to the disk fails once, in every way that a disk has. Whatever becomes of the process, what it said is kept.
#[test]
fn an_error_of_any_call_under_a_member_loses_nothing_that_anybody_was_told() {
    let kinds = [
        Fault::Error(io::ErrorKind::Other),
        Fault::Error(io::ErrorKind::StorageFull),
        Fault::Error(io::ErrorKind::Interrupted),
        Fault::Short(700, io::ErrorKind::StorageFull),
        Fault::Short(4_500, io::ErrorKind::Other),
    ];
    let seed = number("MEMBER_CUT_SEED", 1);
    let step = number("MEMBER_FAULT_STEP", 3);
    let dice = Dice(SeededEntropy::new(seed));
    let (mut ended, mut refused, mut lived) = (0, 0, 0);
    for fault in kinds {
        let mut index = dice.0.below(step);
        loop {
            let disk = MemoryDisk::new();
            // One whole life before, so that there is something to lose.
            let mut history = History::new();
            let io: Arc<dyn Disk> = Arc::new(disk.clone());
            live(&disk, &io, seed, 150, &mut history).unwrap();
            history.heard = restore(&disk).unwrap().last.unwrap().0;

            let faulty = Arc::new(FaultyDisk::failing_at(disk.clone(), index, fault));
            let io: Arc<dyn Disk> = faulty.clone();
            let life = live(&disk, &io, seed + 1, 400, &mut history);
            let what = format!("call {index}, {fault:?}");
            match &life {
                None => refused += 1,
                Some(life) if life.ended => ended += 1,
                Some(_) => lived += 1,
            }
            let heard = life.as_ref().map_or(history.heard, |life| life.must_survive(usize::MAX, &history));
            judge(&disk.killed(), heard, &history, &what);
            judge(&disk.crash(disk.moments(), &mut || false), heard, &history, &what);
            judge(&dice.image(&disk, disk.moments()), heard, &history, &what);
            if index > faulty.calls() {
                break;
            }
            index += step;
        }
    }
    println!("{refused} starts refused, {ended} processes ended, {lived} went on");
    assert!(refused > 5 && ended > 20 && lived > 20, "{refused} {ended} {lived}");
}
