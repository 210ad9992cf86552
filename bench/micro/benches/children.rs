//! Child lists of 10, 1,000 and 1,000,000 names: create and delete among them, and a listing.
//!
//! Predicted: a create or delete 0.7 µs among 10, 1 µs among 1,000, 2.5 µs among a million (cold memory); 1–2.5 ns per name listed.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use micro::{CpuTime, cpu_now};
use proto::{Acl, Millis, Op, SessionId, Txn, TxnHeader, Xid, Zxid};
use tree::{Options, Writer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Applies and commits one after the other, as a standalone server does.
struct Feed {
    writer: Writer,
    zxid: i64,
}

impl Feed {
    fn apply(&mut self, op: Op, txn: &Txn<'_>) {
        self.zxid += 1;
        let header = TxnHeader {
            session: SessionId(1),
            cxid: Xid(0),
            zxid: Zxid(self.zxid),
            time: Millis(1_700_000_000_000),
            op,
        };
        black_box(self.writer.apply(&header, txn));
        self.writer.commit(Zxid(self.zxid));
    }

    fn create(&mut self, path: &str) {
        let acl = Cow::Owned(vec![Acl::open()]);
        self.apply(
            Op::Create,
            &Txn::Create { path: path.into(), data: None, acl, ephemeral: false, parent_cversion: -1 },
        );
    }

    fn delete(&mut self, path: &str) {
        self.apply(Op::Delete, &Txn::Delete { path: path.into() });
    }
}

/// Scattered over the whole list, even numbers and odd ones apart.
fn path(n: u64) -> String {
    format!("/wide/node-{:016}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20)
}

/// Time of creating, or of deleting, `iterations` children, a few at a time, so that the list keeps its length.
fn time(feed: &mut Feed, length: u64, iterations: u64, creating: bool) -> Duration {
    let at_a_time = (length / 2).clamp(1, 64);
    let mut spent = Duration::ZERO;
    let mut done = 0;
    while done < iterations {
        let count = at_a_time.min(iterations - done);
        let paths: Vec<String> = (0..count).map(|n| path(((feed.zxid as u64 + n) % length) * 2 + 1)).collect();
        let begun = cpu_now();
        paths.iter().for_each(|path| feed.create(path));
        let between = cpu_now();
        paths.iter().for_each(|path| feed.delete(path));
        spent += if creating { between - begun } else { cpu_now() - between };
        done += count;
    }
    spent
}

fn children(c: &mut Criterion<CpuTime>) {
    for length in [10, 1000, 1_000_000] {
        let mut feed = Feed { writer: Writer::new(Options::new((0x1234_5678, 0x9ABC_DEF0))), zxid: 0 };
        feed.create("/wide");
        for n in 0..length {
            feed.create(&path(n * 2));
        }
        feed.writer.reclaim(usize::MAX);
        let mut group = c.benchmark_group(format!("children-{length}"));
        group.sample_size(15).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
        group.bench_function("create", |b| b.iter_custom(|count| time(&mut feed, length, count, true)));
        group.bench_function("delete", |b| b.iter_custom(|count| time(&mut feed, length, count, false)));
        let reader = feed.writer.reader();
        let mut out = Vec::new();
        group.bench_function("list", |b| {
            b.iter(|| {
                out.clear();
                reader.get("/wide").expect("it exists").put_children(&mut out);
                black_box(out.len());
            });
        });
        group.finish();
    }
}

criterion_group!(name = benches; config = Criterion::default().with_measurement(CpuTime); targets = children);
criterion_main!(benches);
