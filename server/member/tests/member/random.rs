//! Random histories, judged twice.
//!
//! Several sessions on three shards send random requests in random chunks, while the write stage prepares, groups become durable
//! and shards look at the stream in random order, some connections hang up, and limits are tight. Afterwards:
//!
//! - The log says in which order the writes came, and each answer says at which zxid it was given. The same requests are sent to a
//!   second world with one shard in exactly that order, one at a time, each settled before the next. Every connection must have
//!   received the same frames in both: answers, zxids, bodies and events, in the same order.
//! - The log is applied to the tree's reference model. The digest of each transaction must be the model's, and every read must show
//!   what the model holds at the zxid of its answer.
//!
//! All along, each connection is judged by the world: answers once and in order, zxids never falling, events before answers.
//! `MEMBER_SEED=n` runs one seed.

use std::collections::BTreeMap;

use host::SeededEntropy;
use proto::stat::Owner;
use proto::{Acl, Id, Op, Stat, Zxid};
use tree::model::Model;

use crate::wire::*;
use crate::world::{C, World};

const SESSIONS: usize = 6;
const STEPS: u64 = 700;

struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, n: u64) -> u64 {
        self.0.below(n)
    }

    fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    fn path(&self) -> String {
        let depth = 1 + self.below(3);
        let path: String = (0..depth).map(|_| format!("/{}", self.of(&["a", "b", "c"]))).collect();
        if self.one_in(40) {
            self.of(&["/".to_owned(), "/zookeeper".into(), "/a/".into(), "nope".into(), "/a//b".into()])
        } else {
            path
        }
    }

    fn version(&self) -> i32 {
        if self.one_in(3) { self.below(4) as i32 } else { -1 }
    }

    fn acl(&self) -> Vec<Acl> {
        match self.below(12) {
            0 => acl(1, "world", "anyone"),
            1 => acl(31, "auth", ""),
            2 => acl(31, "ip", "127.0.0.1"),
            3 => acl(31, "ip", "10.0.0.0/8"),
            4 => Vec::new(),
            5 => vec![Acl { perms: 17, id: Id::new("world", "anyone") }, Acl { perms: 14, id: Id::new("auth", "") }],
            _ => open_acl(),
        }
    }

    fn create(&self) -> Req {
        let data = "d".repeat(self.below(20) as usize);
        let data = if self.one_in(10) { None } else { Some(data.as_bytes()) };
        let flags = if self.one_in(2) { 0 } else { self.below(8) as i32 };
        match self.below(8) {
            0 => create_ttl(&self.path(), 5 + self.below(2) as i32, 1 + self.below(3) as i64 * 100_000),
            1 => create_as(Op::CreateContainer, &self.path(), data, &self.acl(), 4),
            2 | 3 => create_as(Op::Create2, &self.path(), data, &self.acl(), flags),
            _ => create_as(Op::Create, &self.path(), data, &self.acl(), flags),
        }
    }

    fn member(&self) -> Req {
        match self.below(6) {
            0 => create_as(Op::Create, &self.path(), Some(b"m"), &open_acl(), self.below(5) as i32),
            1 => create_as(Op::Create2, &self.path(), Some(b"m"), &open_acl(), 0),
            2 => delete(&self.path(), self.version()),
            3 => set(&self.path(), "multi", self.version()),
            4 => check(&self.path(), self.version()),
            _ => set(&self.path(), "", -1),
        }
    }

    fn request(&self) -> Req {
        let path = self.path();
        let watch = self.one_in(3);
        let request = match self.below(40) {
            0..=7 => self.create(),
            8..=10 => delete(&path, self.version()),
            11..=14 => set(&path, &"s".repeat(self.below(30) as usize), self.version()),
            15 => set_acl(&path, &self.acl(), self.version()),
            16..=17 => multi(&(0..self.below(5)).map(|_| self.member()).collect::<Vec<_>>()),
            18..=21 => get(&path, watch),
            22..=24 => exists(&path, watch),
            25..=26 => children(&path, watch),
            27 => children2(&path, watch),
            28 => path_only(Op::GetAcl, &path),
            29 => path_only(Op::GetAllChildrenNumber, &path),
            30 => path_only(Op::GetEphemerals, self.of(&["", "/", "/a", "/b/", "/nope"])),
            31 => path_only(Op::Sync, &path),
            32 => multi_as(Op::MultiRead, &[get(&path, true), children(&self.path(), false)]),
            33 => add_watch(&path, self.below(3) as i32),
            34 => remove_watches(&path, 1 + self.below(5) as i32),
            35 => check_watches(&path, 1 + self.below(5) as i32),
            36 => {
                let lists: Vec<Vec<String>> =
                    (0..5).map(|_| (0..self.below(3)).map(|_| self.path()).collect()).collect();
                let lists: Vec<Vec<&str>> =
                    lists.iter().map(|list| list.iter().map(String::as_str).collect()).collect();
                let lists: Vec<&[&str]> = lists.iter().map(Vec::as_slice).collect();
                set_watches(self.below(100) as i64, if watch { &lists } else { &lists[..3] })
            }
            37 => who_am_i(),
            38 => ping(),
            _ => delete_container(&path),
        };
        if self.one_in(60) { raw(request.op, &request.body[..request.body.len() / 2]) } else { request }
    }
}

/// A session in the judged world: what it asked, and what became of it.
struct Asker {
    c: C,
    asked: Vec<Req>,
    /// Bytes on their way to the server.
    pipe: Vec<u8>,
    gone: bool,
}

fn furnish(w: &mut World, shards: usize) -> Vec<C> {
    let mut all = Vec::new();
    for n in 0..SESSIONS {
        let c = w.socket(n % shards, if n % 2 == 0 { "127.0.0.1" } else { "10.0.0.7" });
        w.hello(c, &Hello::default());
        if n % 3 != 0 {
            w.call(c, &auth("digest", &format!("user{}:p", n % 3)));
        }
        w.take(c);
        all.push(c);
    }
    all
}

/// How often each kind of thing happened: op and error, or event type.
type Tally = BTreeMap<(&'static str, i32, i32), usize>;

fn run(seed: u64, tally: &mut Tally) {
    let dice = Dice(SeededEntropy::new(seed));
    let tight = dice.one_in(2);
    let mut w = World::with(|o| {
        o.shards = 3;
        o.shard.outstanding_max = if tight { 5 } else { 1000 };
        o.inlet_capacity = if tight { 4 } else { 64 };
    });
    let mut askers: Vec<Asker> =
        furnish(&mut w, 3).into_iter().map(|c| Asker { c, asked: Vec::new(), pipe: Vec::new(), gone: false }).collect();
    let snapshots_from = w.zxid();
    for _ in 0..STEPS {
        match dice.below(10) {
            0..=4 => {
                let asker = &mut askers[dice.below(SESSIONS as u64) as usize];
                if asker.gone {
                    continue;
                }
                let mut burst: Vec<Req> = (0..1 + dice.below(6)).map(|_| dice.request()).collect();
                if dice.one_in(150) {
                    burst.push(close());
                }
                let bytes = w.frames_of(asker.c, &burst);
                asker.pipe.extend(bytes);
                asker.asked.extend(burst);
                // Any part of what is on its way arrives.
                let arrives =
                    if dice.one_in(2) { asker.pipe.len() } else { dice.below(asker.pipe.len() as u64) as usize };
                let bytes: Vec<u8> = asker.pipe.drain(..arrives).collect();
                w.send(asker.c, &bytes);
                if dice.one_in(200) {
                    w.hang_up(asker.c);
                    asker.gone = true;
                }
            }
            5 | 6 => _ = w.prepare(),
            7 => _ = w.make_durable(),
            _ => w.pump(dice.below(3) as usize),
        }
    }
    for asker in &mut askers {
        let bytes = std::mem::take(&mut asker.pipe);
        w.send(asker.c, &bytes);
    }
    w.settle();
    w.assert_quiet();

    let mut model = Model::new(true, false);
    let mut written = BTreeMap::new();
    w.replay(|record| {
        model.apply(&record.header, &record.txn);
        let digest = record.digest.expect("digests are on").tree;
        assert_eq!(digest, model.now().digest(), "the digest at {}", record.header.zxid);
        written.insert((record.header.session.0, record.header.cxid.0), record.header.zxid.0);
    });
    assert_eq!(model.tip().0, w.zxid());
    assert!(w.zxid() > snapshots_from + 20, "something was written");

    // When each request took effect.
    let mut schedule = Vec::new();
    let mut frames = Vec::new();
    for (at, asker) in askers.iter().enumerate() {
        let session = w.session(asker.c);
        let got = w.take(asker.c);
        let replies: Vec<&Reply> =
            got.iter().filter_map(|f| if let Frame::Reply(r) = f { Some(r) } else { None }).collect();
        let mut xid = 0;
        for (n, request) in asker.asked.iter().enumerate() {
            if !matches!(request.op, 11 | 101 | 105) {
                xid += 1;
            }
            let is_write = matches!(request.op, 1 | 2 | 5 | 7 | 14 | 15 | 19 | 20 | 21 | -11);
            let answered = replies.get(n).map(|reply| reply.zxid);
            let logged = is_write.then(|| written.get(&(session, xid)).copied()).flatten();
            if is_write && answered.is_some() {
                assert_eq!(answered, logged, "an answered write is in the log, under its zxid");
            }
            if let Some(zxid) = answered.or(logged) {
                schedule.push((zxid, !is_write, at, n));
            }
            if let Some(reply) = replies.get(n) {
                *tally.entry(("reply", request.op, reply.err)).or_default() += 1;
                judge(&model, request, reply);
            }
        }
        if !w.client(asker.c).closed {
            assert_eq!(replies.len(), asker.asked.len(), "everything is answered");
        }
        for frame in &got {
            if let Frame::Event(event) = frame {
                *tally.entry(("event", event.kind, i32::from(event.zxid < 0))).or_default() += 1;
            }
        }
        frames.push(got);
    }
    schedule.sort_unstable();

    let mut lockstep = World::new();
    let twins = furnish(&mut lockstep, 1);
    for (zxid, is_read, at, n) in schedule {
        lockstep.ask(twins[at], &askers[at].asked[n]);
        lockstep.settle();
        assert_eq!(lockstep.zxid(), zxid, "{is_read} {:?}", askers[at].asked[n]);
    }
    for (at, got) in frames.iter().enumerate() {
        let twin = lockstep.take(twins[at]);
        let len = if w.client(askers[at].c).closed { got.len().min(twin.len()) } else { twin.len() };
        assert_eq!(got.len(), got.len().max(len));
        for (n, (a, b)) in got.iter().zip(&twin).enumerate() {
            assert_eq!(a, b, "frame {n} of session {at}");
        }
        assert_eq!(got.len(), len, "frames of session {at}");
    }
}

/// Does a read show what the model holds at the zxid of its answer?
fn judge(model: &Model, request: &Req, reply: &Reply) {
    let Some(op) = Op::from_i32(request.op) else { return };
    if !matches!(op, Op::GetData | Op::Exists | Op::GetChildren | Op::GetChildren2 | Op::GetAllChildrenNumber) {
        return;
    }
    let mut r = proto::Reader::new(&request.body);
    let Ok(path) = r.string() else { return };
    let state = model.at(Zxid(reply.zxid));
    let stat = || -> Stat {
        let owner = state.znodes.get(&*path).map_or(Owner::Persistent, |znode| model.owner(znode));
        state.stat(&path, owner).unwrap()
    };
    let there = state.znodes.contains_key(&*path);
    match reply.err {
        -5 => {}
        -101 => assert!(!there, "{path} at {}", reply.zxid),
        -102 => assert!(there, "{path} at {}", reply.zxid),
        0 => {
            assert!(there, "{path} at {}", reply.zxid);
            let names = || state.children(&path).iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            match op {
                Op::Exists => assert_eq!(reply.stat(), stat()),
                Op::GetData => {
                    let data = state.znodes[&*path].data.as_deref().unwrap_or(b"(null)");
                    assert_eq!(reply.data_stat(), (String::from_utf8_lossy(data).into_owned(), stat()));
                }
                Op::GetChildren => assert_eq!(reply.strings(), names()),
                Op::GetChildren2 => assert_eq!(reply.children_stat(), (names(), stat())),
                _ => assert_eq!(reply.int() as usize, state.below(&path).count()),
            }
        }
        other => panic!("a read answered {other}"),
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "which seed to run is said from outside")]
fn a_random_history_is_the_one_that_its_zxids_tell() {
    let seeds = match std::env::var("MEMBER_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..40).collect(),
    };
    let mut tally = Tally::new();
    let all = seeds.len() > 1;
    for seed in seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut tally)));
        if let Err(panic) = outcome {
            eprintln!("MEMBER_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    if all {
        // The dice are worth something only if everything interesting happens.
        let often = |what, op, err| assert!(tally.get(&(what, op, err)) >= Some(&10), "{what} {op} {err}: {tally:#?}");
        for (op, err) in
            [(1, 0), (1, -101), (1, -102), (1, -108), (1, -110), (1, -114), (2, 0), (2, -103), (2, -111), (5, 0)]
        {
            often("reply", op, err);
        }
        for (op, err) in
            [(5, -102), (5, -103), (7, 0), (14, 0), (14, -5), (15, 0), (19, 0), (20, 0), (21, 0), (4, 0), (4, -102)]
        {
            often("reply", op, err);
        }
        for (op, err) in
            [(9, 0), (17, 0), (17, -121), (18, 0), (22, 0), (101, 0), (105, 0), (103, 0), (104, 0), (106, 0), (-11, 0)]
        {
            often("reply", op, err);
        }
        for (kind, caught_up) in [(1, 0), (2, 0), (3, 0), (4, 0), (1, 1), (2, 1), (3, 1), (4, 1)] {
            often("event", kind, caught_up);
        }
    }
}
