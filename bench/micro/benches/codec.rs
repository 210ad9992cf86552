//! Requests in, replies and transactions out and back, one record at a time: 46-character paths, 100 bytes of data, the open ACL.
//!
//! Predicted: a path with a flag or a version 15 ns, setData 20 ns, create with its ACL 80 ns; a reply with data and stat 40 ns, an event
//! 25 ns; a transaction out 30 ns, with an ACL 60 ns, and back 25 ns, with an ACL 100 ns; multis ten times as much as their ten members.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use micro::CpuTime;
use proto::jute::{put_bool, put_buffer, put_int, put_long, put_string, put_strings, put_vector};
use proto::reply::{EventType, begin_frame, end_frame, put_header, put_header_frame, put_notification};
use proto::request::{Create, PathVersion, PathWatch, RequestHeader, SetAcl, SetData, SetWatches};
use proto::txn::{decode_digest, decode_txn, put_digest};
use proto::{Acl, Code, Decode, Encode, Millis, Op, Reader, SessionId, Stat, Txn, TxnHeader, Xid, Zxid, multi};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PATH: &str = "/bench/parent-0000000001/a-child-number-000001";
const DATA: [u8; 100] = [b'x'; 100];
const MEMBERS: usize = 10;

fn request(op: Op, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_int(&mut bytes, 7);
    put_int(&mut bytes, op.as_i32());
    body(&mut bytes);
    bytes
}

fn put_set(out: &mut Vec<u8>) {
    put_string(out, PATH);
    put_buffer(out, Some(&DATA));
    put_int(out, -1);
}

fn requests(c: &mut Criterion<CpuTime>) {
    let path_watch = request(Op::GetData, |out| {
        put_string(out, PATH);
        put_bool(out, false);
    });
    let delete = request(Op::Delete, |out| {
        put_string(out, PATH);
        put_int(out, -1);
    });
    let set = request(Op::SetData, put_set);
    let create = request(Op::Create, |out| {
        put_string(out, PATH);
        put_buffer(out, Some(&DATA));
        put_vector(out, &[Acl::open()]);
        put_int(out, 0);
    });
    let set_acl = request(Op::SetAcl, |out| {
        put_string(out, PATH);
        put_vector(out, &[Acl::open()]);
        put_int(out, -1);
    });
    let set_watches = request(Op::SetWatches, |out| {
        put_long(out, 7);
        for _ in 0..3 {
            put_strings(out, &[PATH; 10]);
        }
    });
    let members = request(Op::Multi, |out| {
        for _ in 0..MEMBERS {
            multi::put_member_header(out, Op::SetData, Code::Ok);
            put_set(out);
        }
        multi::put_end(out);
    });

    let mut group = c.benchmark_group("decode-request");
    group.sample_size(15).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
    /// Reads the header, and then what `$body` reads from the rest.
    macro_rules! decode {
        ($name:literal, $bytes:expr, $body:expr) => {
            group.bench_function($name, |b| {
                b.iter(|| {
                    let mut r = Reader::new(black_box($bytes));
                    let header = RequestHeader::decode(&mut r).expect("a header");
                    let body = $body(&mut r).expect("a body");
                    black_box((header.xid, &body));
                });
            });
        };
    }
    decode!("getData", &path_watch, PathWatch::decode);
    decode!("delete", &delete, PathVersion::decode);
    decode!("setData", &set, SetData::decode);
    decode!("create", &create, |r| Create::decode(Op::Create, r));
    decode!("setACL", &set_acl, SetAcl::decode);
    decode!("setWatches of 30", &set_watches, |r| SetWatches::decode(Op::SetWatches, r));
    decode!("multi of 10 setData", &members, multi::decode_members);
    group.finish();
}

fn replies(c: &mut Criterion<CpuTime>) {
    let stat = Stat { czxid: Zxid(1), mzxid: Zxid(2), ctime: Millis(3), data_length: 100, ..Stat::default() };
    let mut out = Vec::with_capacity(1 << 16);
    let mut group = c.benchmark_group("encode-reply");
    group.sample_size(15).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
    macro_rules! encode {
        ($name:literal, $body:expr) => {
            group.bench_function($name, |b| {
                b.iter(|| {
                    out.clear();
                    $body(&mut out);
                    black_box(&mut out);
                });
            });
        };
    }
    encode!("header alone", |out: &mut Vec<u8>| put_header_frame(out, Xid(7), Zxid(8), Code::NoNode));
    encode!("stat", |out: &mut Vec<u8>| {
        let start = begin_frame(out);
        put_header(out, Xid(7), Zxid(8), Code::Ok);
        stat.encode(out);
        end_frame(out, start);
    });
    encode!("data and stat", |out: &mut Vec<u8>| {
        let start = begin_frame(out);
        put_header(out, Xid(7), Zxid(8), Code::Ok);
        put_buffer(out, Some(&DATA));
        stat.encode(out);
        end_frame(out, start);
    });
    encode!("event", |out: &mut Vec<u8>| put_notification(out, Zxid(8), EventType::NodeDataChanged, PATH));
    group.finish();
}

fn transactions(c: &mut Criterion<CpuTime>) {
    let acl = || Cow::Owned(vec![Acl::open()]);
    let data = || Some(Cow::Borrowed(&DATA[..]));
    let set = || Txn::SetData { path: PATH.into(), data: data(), version: 7 };
    let all = [
        ("setData", Op::SetData, set()),
        (
            "create",
            Op::Create,
            Txn::Create { path: PATH.into(), data: data(), acl: acl(), ephemeral: false, parent_cversion: 7 },
        ),
        (
            "createTTL",
            Op::CreateTtl,
            Txn::CreateTtl { path: PATH.into(), data: data(), acl: acl(), parent_cversion: 7, ttl: 9 },
        ),
        (
            "createContainer",
            Op::CreateContainer,
            Txn::CreateContainer { path: PATH.into(), data: data(), acl: acl(), parent_cversion: 7 },
        ),
        ("delete", Op::Delete, Txn::Delete { path: PATH.into() }),
        ("setACL", Op::SetAcl, Txn::SetAcl { path: PATH.into(), acl: acl(), version: 7 }),
        ("createSession", Op::CreateSession, Txn::CreateSession { timeout_ms: 30_000 }),
        ("closeSession of 10", Op::CloseSession, Txn::CloseSession { paths: Some(vec![PATH.into(); 10]) }),
        ("error", Op::Error, Txn::error(Code::NoNode)),
        ("multi of 10 setData", Op::Multi, Txn::Multi { members: vec![(Op::SetData, set()); MEMBERS] }),
    ];
    for (name, op, txn) in &all {
        let header = TxnHeader { session: SessionId(1), cxid: Xid(2), zxid: Zxid(3), time: Millis(4), op: *op };
        let mut bytes = Vec::with_capacity(4096);
        let put = |bytes: &mut Vec<u8>| {
            bytes.clear();
            black_box(&header).encode(bytes);
            black_box(txn).encode(bytes);
            put_digest(bytes, 5);
        };
        put(&mut bytes);
        let encoded = bytes.clone();
        let mut group = c.benchmark_group("transaction");
        group.sample_size(15).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400));
        group.bench_function(format!("encode {name}"), |b| b.iter(|| put(black_box(&mut bytes))));
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| {
                let mut r = Reader::new(black_box(&encoded));
                let header = TxnHeader::decode(&mut r).expect("a header");
                let txn = decode_txn(header.op, &mut r).expect("a body");
                black_box((&txn, decode_digest(&mut r)));
            });
        });
        group.finish();
    }
}

criterion_group!(
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = requests, replies, transactions
);
criterion_main!(benches);
