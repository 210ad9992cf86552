//! From transactions to the bytes of one write: 1, 16 and 256 sets of 100 bytes are encoded, checked and closed into a group. No disk.
//!
//! Predicted: 0.6 µs for a lone record, whose group is 4 KiB of padding and checksum; 2.5 µs for 16; 35 µs for 256.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use micro::CpuTime;
use proto::{Millis, Op, SessionId, Txn, TxnHeader, Xid, Zxid};
use wal::{Done, Log, LogOptions, Work, format};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A log whose writes succeed at once, and whose files exist as soon as they are wanted.
struct Paper {
    log: Log,
    zxid: i64,
}

impl Paper {
    fn do_work(&mut self) {
        while let Some(work) = self.log.next_work(Millis(0)) {
            let done = match work {
                Work::Prepare { segment, bytes, salt, .. } => {
                    Done::Prepared { segment, bytes, dbid: format::dbid(salt), direct: true }
                }
                Work::Name { segment, .. } => Done::Named { segment, result: Ok(()) },
                Work::Retire { segment, .. } => Done::Retired { segment, result: Ok(()) },
                Work::Mark { .. } => Done::Marked { result: Ok(()) },
            };
            self.log.work_done(done).expect("nothing fails on paper");
        }
    }

    fn group(&mut self, records: u64) {
        for _ in 0..records {
            self.zxid += 1;
            let header = TxnHeader {
                session: SessionId(1),
                cxid: Xid(2),
                zxid: Zxid(self.zxid),
                time: Millis(1_700_000_000_000),
                op: Op::SetData,
            };
            let path = Cow::Borrowed("/bench/parent-0000000001/a-child-number-000001");
            let txn = Txn::SetData { path, data: Some(Cow::Borrowed(&[b'x'; 100])), version: 7 };
            self.log.append(&header, &txn, Some(9)).expect("there is room");
        }
        while let Some(write) = self.log.next_write() {
            let bytes = black_box(write.buffer.as_slice()).len();
            self.log.written(write.token, Ok(bytes), write.buffer).expect("nothing fails on paper");
        }
        self.do_work();
        assert_eq!(self.log.durable(), Zxid(self.zxid), "everything was written");
    }
}

fn group(c: &mut Criterion<CpuTime>) {
    let mut paper = Paper { log: Log::new(LogOptions::default(), Zxid::ZERO, Vec::new()), zxid: 0 };
    paper.do_work();
    paper.group(1);
    let mut group = c.benchmark_group("log-group");
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
    for records in [1, 16, 256] {
        group.throughput(Throughput::Elements(records));
        group.bench_function(format!("{records} records"), |b| b.iter(|| paper.group(records)));
    }
    group.finish();
}

criterion_group!(name = benches; config = Criterion::default().with_measurement(CpuTime); targets = group);
criterion_main!(benches);
