//! The tree at a million znodes: 46-character paths, 100 bytes of data, a thousand znodes to a parent.
//!
//! Predicted on the test machine: get ≤ 250 ns, setData with digest ≤ 700 ns, create 1.2 µs, ≤ 300 B resident per znode, 1–2.5 ns per
//! child of getChildren, 1 µs per insertion among 100 000 children, restoring a million ≤ 1 s.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use micro::{CpuTime, cpu_now};
use proto::stat::StatPersisted;
use proto::{Acl, Millis, Op, SessionId, Txn, TxnHeader, Xid, Zxid};
use tree::{Options, Writer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARENTS: u64 = 1000;
const ZNODES: u64 = 1_000_000;

fn path(n: u64) -> String {
    format!("/bench/parent-{:010}/a-child-number-{:06}", n % PARENTS, n / PARENTS)
}

fn header(zxid: i64, op: Op) -> TxnHeader {
    TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(zxid), time: Millis(1_700_000_000_000), op }
}

fn create(path: &str) -> Txn<'_> {
    let (data, acl) = (Some(Cow::Borrowed(&[b'x'; 100][..])), Cow::Owned(vec![Acl::open()]));
    Txn::Create { path: path.into(), data, acl, ephemeral: false, parent_cversion: -1 }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// Applies and commits one after the other, as a standalone server does.
struct Feed {
    writer: Writer,
    zxid: i64,
}

impl Feed {
    fn apply(&mut self, op: Op, txn: &Txn<'_>) {
        self.zxid += 1;
        black_box(self.writer.apply(&header(self.zxid, op), txn));
        self.writer.commit(Zxid(self.zxid));
    }
}

fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

fn tree(c: &mut Criterion<CpuTime>) {
    assert_eq!(path(0).len(), 46);
    let before = resident_bytes();
    let mut feed = Feed { writer: Writer::new(Options::new((0x1234_5678, 0x9ABC_DEF0))), zxid: 0 };
    feed.apply(Op::Create, &create("/bench"));
    for n in 0..PARENTS {
        feed.apply(Op::Create, &create(proto::path::parent(&path(n))));
    }
    let start = cpu_now();
    for n in 0..ZNODES {
        feed.apply(Op::Create, &create(&path(n)));
    }
    let each = (cpu_now() - start).as_nanos() as u64 / ZNODES;
    feed.writer.reclaim(usize::MAX);
    let resident = (resident_bytes() - before) as u64 / ZNODES;
    let metrics = feed.writer.metrics();
    eprintln!("growing to {ZNODES} znodes: {each} ns per create; {resident} B resident per znode; {metrics:?}");

    let mut reader = feed.writer.reader();
    let paths: Vec<String> = (0..1 << 16).map(|n| path(scattered(n) % ZNODES)).collect();
    let mut at = 0;
    let mut next = || {
        at = (at + 1) % paths.len();
        paths[at].as_str()
    };
    let mut group = c.benchmark_group("tree-1M");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1500));
    group.bench_function("path only, to subtract", |b| b.iter(|| black_box(next().len())));
    group.bench_function("get with stat", |b| {
        b.iter(|| {
            let path = next();
            let view = reader.get(path).expect("it exists");
            black_box((view.data().map(|data| data[0]), view.stat()));
        });
    });
    group.bench_function("get with stat, 32 times after warming", |b| {
        b.iter(|| {
            let batch: [&str; 32] = std::array::from_fn(|_| next());
            reader.warm(batch.iter().copied());
            for path in batch {
                let view = reader.get(path).expect("it exists");
                black_box((view.data().map(|data| data[0]), view.stat()));
            }
        });
    });
    group.bench_function("setData", |b| {
        b.iter(|| {
            let path = next();
            let data = Some(Cow::Borrowed(&[b'y'; 100][..]));
            feed.apply(Op::SetData, &Txn::SetData { path: path.into(), data, version: 1 });
            if feed.zxid % 64 == 0 {
                reader.advance(Zxid(feed.zxid));
            }
        });
    });
    let mut fresh = ZNODES;
    group.bench_function("create", |b| {
        b.iter(|| {
            fresh += 1;
            feed.apply(Op::Create, &create(&path(fresh)));
            if feed.zxid % 64 == 0 {
                reader.advance(Zxid(feed.zxid));
            }
        });
    });
    feed.apply(Op::Create, &create("/wide"));
    for n in 0..100_000u64 {
        feed.apply(Op::Create, &create(&format!("/wide/node-{:016}", scattered(n * 2))));
    }
    reader.advance(Zxid(feed.zxid));
    let mut out = Vec::new();
    group.bench_function("getChildren of 100k", |b| {
        b.iter(|| {
            out.clear();
            reader.get("/wide").expect("it exists").put_children(&mut out);
            black_box(out.len());
        });
    });
    let mut odd = 1;
    group.bench_function("create among 100k", |b| {
        b.iter(|| {
            odd += 2;
            feed.apply(Op::Create, &create(&format!("/wide/node-{:016}", scattered(odd))));
            if feed.zxid % 64 == 0 {
                reader.advance(Zxid(feed.zxid));
            }
        });
    });
    group.finish();
    drop(reader);
    drop(feed);

    let start = cpu_now();
    let mut loader = Writer::restore(Options::new((1, 2)));
    let stat = StatPersisted::default();
    loader.node("", None, -1, stat).expect("the root");
    loader.node("/bench", None, -1, stat).expect("the parent came");
    for parent in 0..PARENTS {
        loader.node(proto::path::parent(&path(parent)), None, -1, stat).expect("the parent came");
        for child in 0..ZNODES / PARENTS {
            loader.node(&path(child * PARENTS + parent), Some(&[b'x'; 100]), -1, stat).expect("the parent came");
        }
    }
    let writer = loader.finish(Zxid(1)).expect("a tree");
    eprintln!("restoring {} znodes: {:?}", writer.node_count(), cpu_now() - start);
}

criterion_group!(name = benches; config = Criterion::default().with_measurement(CpuTime); targets = tree);
criterion_main!(benches);
