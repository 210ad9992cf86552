//! The engine against a small server of its own, which answers every request with an empty success.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use client::wire::next_frame;
use proto::connect::ConnectResponse;
use proto::reply::{begin_frame, end_frame, put_header_frame};
use proto::{Code, SessionId, Xid, Zxid};

use super::*;
use crate::args::Op;

/// Serves connections for ever; each holds its answers back until `hold` requests have come, and then answers at once.
fn server(hold: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || serve(stream, hold));
        }
    });
    address
}

fn serve(mut stream: TcpStream, hold: usize) {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    let (mut requests, mut established) = (0, false);
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        input.extend_from_slice(&chunk[..count]);
        let mut taken = 0;
        while let Some((payload, size)) = next_frame(&input[taken..]).unwrap() {
            taken += size;
            if !established {
                established = true;
                let start = begin_frame(&mut out);
                let response =
                    ConnectResponse { timeout_ms: 40_000, session: SessionId(1), password: [1; 16], read_only: None };
                response.encode(&mut out);
                end_frame(&mut out, start);
                if stream.write_all(&out).is_err() {
                    return;
                }
                out.clear();
                continue;
            }
            requests += 1;
            let xid = Xid(i32::from_be_bytes(payload[..4].try_into().unwrap()));
            put_header_frame(&mut out, xid, Zxid(1), Code::Ok);
        }
        input.drain(..taken);
        if requests >= hold {
            if stream.write_all(&out).is_err() {
                return;
            }
            out.clear();
        }
    }
}

fn plan(address: SocketAddr) -> Plan {
    Plan {
        address,
        connections: 1,
        outstanding: 1000,
        op: Op::Mix,
        read_percent: 50,
        size: 10,
        keys: 10,
        prefix: "/load".to_owned(),
        rate: None,
        warm_up: Duration::ZERO,
        measure: Duration::from_millis(500),
        count: None,
        pid: Some(std::process::id()),
        threads: 1,
        keep_samples: false,
    }
}

#[test]
fn an_open_loop_charges_a_stall_to_every_request_that_was_due_meanwhile() {
    // A request a millisecond, and nothing is answered before the hundredth has come. A loop that waited for answers would
    // see one slow request; here a hundred were slow, the first by about 99 ms.
    let plan = Plan { rate: Some(1000.0), ..plan(server(100)) };
    let report = run(&plan).unwrap();
    assert_eq!(report.latencies.len(), 500, "every request that was due is measured");
    assert!(report.latencies.max() > 95_000_000, "{}", report.latencies.max());
    let slow = report.latencies.iter_recorded().filter(|step| step.value_iterated_to() > 40_000_000);
    assert!(slow.map(|step| step.count_at_value()).sum::<u64>() >= 50);
    assert_eq!((report.errors, report.unanswered), (0, 0));
}

#[test]
fn requests_that_find_no_room_wait_and_none_is_forgotten() {
    // At 20 per ms with one outstanding, most requests wait for the answers to others.
    let plan = Plan { rate: Some(20_000.0), outstanding: 1, ..plan(server(0)) };
    let report = run(&plan).unwrap();
    assert_eq!(report.latencies.len() + report.unanswered, 10_000);
    assert_eq!(report.errors, 0);
}

#[test]
fn a_closed_loop_ends_after_the_count() {
    let plan = Plan { connections: 3, outstanding: 4, threads: 2, count: Some(1000), ..plan(server(0)) };
    let report = run(&Plan { measure: Duration::from_secs(60), ..plan }).unwrap();
    assert!((1000..1012).contains(&report.completed), "{}", report.completed);
    assert!(report.seconds < 60.0);
    assert!(report.server_cpu.is_some());
    let json = report.json();
    assert!(json.contains("\"op\":\"mix\"") && json.contains("\"p999\":"), "{json}");
}

#[test]
fn a_run_ends_when_it_is_told_to_and_keeps_samples_if_wanted() {
    let seen = AtomicU64::new(0);
    let plan = Plan { rate: Some(1000.0), keep_samples: true, ..plan(server(0)) };
    let stop = || seen.fetch_add(1, Ordering::Relaxed) == 10;
    let report = run_until(&Plan { measure: Duration::from_secs(60), ..plan }, stop).unwrap();
    assert!(report.seconds < 60.0, "{}", report.seconds);
    assert_eq!(report.samples.len() as u64, report.latencies.len());
    assert!(report.samples.iter().all(|(due_ns, _)| *due_ns as f64 <= report.seconds * 1e9));
}

#[test]
fn churn_deletes_what_it_created_on_the_same_connection() {
    let plan = Plan { op: Op::Churn, ..plan("127.0.0.1:1".parse().unwrap()) };
    let mut workload = Workload::new(&plan, 0, "label");
    let paths: Vec<(i32, String)> = [(7, 1), (7, 2), (8, 1)]
        .into_iter()
        .map(|(connection, xid)| {
            let mut out = Vec::new();
            workload.put_next(&mut out, connection, Xid(xid));
            let number = |at: usize| i32::from_be_bytes(out[at..at + 4].try_into().unwrap());
            (number(8), String::from_utf8(out[16..16 + number(12) as usize].to_vec()).unwrap())
        })
        .collect();
    let path = |connection| format!("/load/label-0-{connection}-1");
    assert_eq!(paths, [(1, path(7)), (2, path(7)), (1, path(8))]);
}
