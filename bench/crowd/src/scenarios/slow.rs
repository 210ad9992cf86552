//! Clients that ask for much and read nothing: memory is bounded, they lose their connections, the others are served.

use std::io;
use std::io::Write;
use std::thread;
use std::time::Duration;

use client::Request;
use proto::Xid;

use crate::Args;
use crate::pipe::{Pipe, connect_frame, knock};
use crate::probe::Probe;
use crate::report::Report;
use crate::server::{Launch, mb, until};

const NODE_BYTES: usize = 900_000;
const TIMEOUT_MS: i32 = 4_000;
const SESSIONLESS_MS: u64 = 5_000;
/// All unread answers and events together, in the memory of a server with two shards: twice 256 MiB, and room for buffers that grow.
const HELD_MAX: u64 = 1_000_000_000;

pub fn run(args: &Args, report: &mut Report) -> io::Result<()> {
    answers(args, report)?;
    events(args, report)
}

/// Pipelined gets of a large node.
fn answers(args: &Args, report: &mut Report) -> io::Result<()> {
    let count = args.scaled(2_000, 300);
    let mut server = Launch::new(args).set("nio.sessionlessCnxnTimeout", SESSIONLESS_MS).start()?;
    let mut first = Pipe::open(server.addr, 40_000)?;
    let mut out = Vec::new();
    super::put_create(&mut out, Xid(1), "/large", &vec![7; NODE_BYTES]);
    super::put_create(&mut out, Xid(2), "/small", b"");
    first.stream.write_all(&out)?;
    first.reply()?;
    first.reply()?;
    let probe = Probe::start(server.addr, true);
    thread::sleep(Duration::from_millis(300));
    let before = server.resident();
    server.forget_peak();
    let mut flood = connect_frame(TIMEOUT_MS);
    for xid in 1..=500 {
        Request::GetData("/large", false).put_frame(&mut flood, Xid(xid));
    }
    let mut greedy = Vec::new();
    for _ in 0..count {
        let mut stream = knock(server.addr, None, true)?;
        stream.set_nonblocking(true)?;
        // What does not fit is not needed.
        let _ = stream.write(&flood);
        greedy.push(stream);
    }
    thread::sleep(Duration::from_millis(1_500));
    let held = server.peak().saturating_sub(before);
    report.figure("clients that do not read", count);
    report.figure("answers that they asked for", mb(count * 500 * NODE_BYTES as u64));
    report.figure("resident before, at most", format!("{}, {}", mb(before), mb(server.peak())));
    report.figure("for each", mb(held / count));
    report.check(
        "what they do not read is bounded",
        args.java.is_some() || held <= HELD_MAX,
        format!("{}, {} allowed", mb(held), mb(HELD_MAX)),
    );
    // Its own session's timeout, and once more the time that is allowed without any.
    let limit = Duration::from_millis(TIMEOUT_MS as u64 * 2 + SESSIONLESS_MS * 2 + 4_000);
    let gone = until(limit, || server.metric("num_alive_connections").is_ok_and(|alive| alive <= 4));
    let alive = server.metric("num_alive_connections").unwrap_or(-1);
    report.check(
        "they lost their connections",
        gone.is_some(),
        format!("after {gone:?}, {alive} alive, at most {limit:?}"),
    );
    let after = until(Duration::from_secs(5), || server.resident() < before + 150_000_000);
    report.figure("resident afterwards", mb(server.resident()));
    report.check("the memory came back", args.java.is_some() || after.is_some(), mb(server.resident()));
    drop(greedy);
    report.figure("longest log write", format!("{} ms", server.metric("max_fsynctime").unwrap_or(-1)));
    probe.judge(report, "answers that nobody reads");
    report.check("the server lives", server.lives(), "");

    // Whoever takes its answers late, but takes them, keeps its session.
    let mut late = Pipe::open(server.addr, TIMEOUT_MS)?;
    for _ in 0..4 {
        late.submit(&Request::GetData("/large", false))?;
    }
    for _ in 0..12 {
        thread::sleep(Duration::from_millis(TIMEOUT_MS as u64 / 4));
        late.submit(&Request::Ping)?;
    }
    let mut answers = 0;
    while answers < 16 && late.reply().is_ok() {
        answers += 1;
    }
    report.check(
        "a client that reads late and pings keeps its session",
        answers == 16,
        format!("{answers} of 16 answers"),
    );
    Ok(())
}

/// Persistent watches of clients that do not take their events.
fn events(args: &Args, report: &mut Report) -> io::Result<()> {
    let count = args.scaled(1_000, 100);
    let changes = args.scaled(20_000, 4_000);
    let mut server = Launch::new(args).set("nio.sessionlessCnxnTimeout", SESSIONLESS_MS).start()?;
    let mut writer = Pipe::open(server.addr, 40_000)?;
    let name = format!("/{}", "w".repeat(900));
    let mut out = Vec::new();
    super::put_create(&mut out, Xid(1), &name, b"");
    writer.stream.write_all(&out)?;
    writer.reply()?;
    let mut watchers = Vec::new();
    for _ in 0..count {
        let mut pipe = Pipe::open(server.addr, 40_000)?;
        pipe.call(&Request::AddWatch(&name, 0))?;
        watchers.push(pipe);
    }
    let probe = Probe::start(server.addr, false);
    thread::sleep(Duration::from_millis(300));
    let before = server.resident();
    server.forget_peak();
    writer.run(changes, 200, |_, xid, out| Request::SetData(&name, Some(b""), -1).put_frame(out, xid), |_, _| ())?;
    let held = server.peak().saturating_sub(before);
    report.figure("watchers that do not read", count);
    report.figure("events for them", format!("{}, {}", count * changes, mb(count * changes * 930)));
    report.figure("resident before, at most", format!("{}, {}", mb(before), mb(server.peak())));
    report.check(
        "events that nobody reads are bounded",
        args.java.is_some() || held <= HELD_MAX,
        format!("{}, {} allowed", mb(held), mb(HELD_MAX)),
    );
    report.figure("connections left", server.metric("num_alive_connections").unwrap_or(-1));
    report.figure("lines about it", server.said("not read"));
    probe.judge(report, "events that nobody reads");
    report.check("the server lives", server.lives(), "");
    Ok(())
}
