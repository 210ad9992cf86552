//! Thousands of nodes of a megabyte: memory for each, a snapshot of them while serving, a hundred readers at once, a restart.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use client::Request;

use crate::Args;
use crate::pipe::Pipe;
use crate::probe::Probe;
use crate::report::Report;
use crate::server::{Launch, mb, until};

const NODE_BYTES: usize = 1_000_000;
const READERS: usize = 100;

fn path(number: u64) -> String {
    format!("/large{number:06}")
}

fn launch(args: &Args, count: u64) -> Launch<'_> {
    // One snapshot after half of the creates at the earliest, and one when all nodes have been replaced.
    Launch::new(args).set("snapCount", count.max(4)).set("snapSizeLimitInKb", 1 << 30).set("jute.maxbuffer", 4 << 20)
}

pub fn run(args: &Args, report: &mut Report) -> io::Result<()> {
    let count = args.scaled(3_000, 100);
    let mut server = launch(args, count).start()?;
    let mut data = vec![7; NODE_BYTES];
    let mut pipe = Pipe::open(server.addr, 40_000)?;
    let probe = Probe::start(server.addr, true);
    thread::sleep(Duration::from_millis(200));
    let before = server.resident();
    let began = Instant::now();
    pipe.run(count, 16, |number, xid, out| super::put_create(out, xid, &path(number), &data), |_, _| ())?;
    let took = began.elapsed();
    let filled = server.resident();
    let payload = count * NODE_BYTES as u64;
    report.figure("nodes of 1 MB", count);
    report.figure(
        "created",
        format!("{:.2} s, {:.0} MB/s", took.as_secs_f64(), payload as f64 / 1e6 / took.as_secs_f64()),
    );
    report.figure("resident before, after", format!("{}, {}", mb(before), mb(filled)));
    report.figure("memory for each", super::each(filled, before, count));
    // The log's and the connection's buffers come on top.
    let allowed = before + payload + payload / 10 + 200_000_000;
    report.check(
        "memory is the nodes and a tenth",
        args.java.is_some() || server.peak() <= allowed,
        format!("at most {}, {} allowed", mb(server.peak()), mb(allowed)),
    );
    probe.judge(report, "creating");

    let probe = Probe::start(server.addr, true);
    server.forget_peak();
    data.fill(8);
    let began = Instant::now();
    pipe.run(
        count,
        16,
        |number, xid, out| Request::SetData(&path(number), Some(&data), -1).put_frame(out, xid),
        |_, _| (),
    )?;
    report.figure("all replaced", format!("{:.2} s", began.elapsed().as_secs_f64()));
    let snapshot = until(Duration::from_secs(120), || server.files("snapshot.").1 as f64 > payload as f64 * 0.9);
    let (snapshots, bytes) = server.files("snapshot.");
    report.figure("snapshots", format!("{snapshots}, {}", mb(bytes)));
    report.check("a snapshot was written meanwhile", snapshot.is_some(), snapshots);
    report.figure("resident at most", mb(server.peak()));
    // While a snapshot is written the versions that it shows are kept: at worst each node has two.
    let twice = allowed + payload;
    report.check(
        "replaced data is given up",
        args.java.is_some() || server.peak() <= twice,
        format!("at most {}, {} allowed", mb(server.peak()), mb(twice)),
    );
    probe.judge(report, "replacing and a snapshot");

    thread::sleep(Duration::from_secs(2));
    report.figure("resident when it is quiet", mb(server.resident()));
    let probe = Probe::start(server.addr, true);
    let before = server.resident();
    server.forget_peak();
    let addr = server.addr;
    let began = Instant::now();
    let each = args.scaled(50, 10);
    let read: io::Result<()> = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS as u64)
            .map(|reader| {
                scope.spawn(move || -> io::Result<()> {
                    let mut pipe = Pipe::open(addr, 40_000)?;
                    let get = |number: u64, xid, out: &mut Vec<u8>| {
                        Request::GetData(&path((reader * 31 + number * 7) % count), false).put_frame(out, xid);
                    };
                    let mut wrong = 0;
                    pipe.run(each, 4, get, |_, body| {
                        wrong += usize::from(body.len() < NODE_BYTES || body[4..NODE_BYTES].iter().any(|b| *b != 8));
                    })?;
                    if wrong == 0 { Ok(()) } else { Err(io::Error::other(format!("{wrong} wrong answers"))) }
                })
            })
            .collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("a reader does not panic"))
    });
    let took = began.elapsed().as_secs_f64();
    report.check(format!("{READERS} readers at once get what was written"), read.is_ok(), format!("{read:?}"));
    report.figure("read", format!("{:.0} MB/s", (READERS as u64 * each) as f64 * 1.0 / took));
    let held = server.peak().saturating_sub(before);
    let allowed = READERS as u64 * 4_500_000 + 50_000_000;
    report.check(
        "what they are being sent is bounded",
        args.java.is_some() || held <= allowed,
        format!("{}, {} allowed", mb(held), mb(allowed)),
    );
    probe.judge(report, "a hundred readers");
    report.check("the server lives", server.lives(), "");

    let dir = server.stop()?;
    let server = launch(args, count).start_in(dir)?;
    report.figure(
        "restarted",
        format!(
            "{:.2} s, resident {}, at most {}",
            server.started_in.as_secs_f64(),
            mb(server.resident()),
            mb(server.peak())
        ),
    );
    let nodes = server.metric("znode_count")?;
    // The root, the reserved nodes and the probe's.
    report.check("all nodes are back", nodes >= count as i64 && nodes < count as i64 + 20, nodes);
    let mut pipe = Pipe::open(server.addr, 40_000)?;
    let body = pipe.call(&Request::GetData(&path(count - 1), false))?;
    report.check("as they were last", body[4..NODE_BYTES].iter().all(|byte| *byte == 8), "");
    Ok(())
}
