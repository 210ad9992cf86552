//! A million children under one parent, beside a thousand parents with a thousand children each.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use client::Request;
use proto::Op;

use super::shuffled;
use crate::Args;
use crate::pipe::Pipe;
use crate::probe::Probe;
use crate::report::Report;
use crate::server::{Launch, Server, mb};

const WINDOW: u64 = 1_000;
/// Time for a create in the last tenth against the first tenth, and flat against deep: no more than that, on a busy machine.
const SLOWER_MAX: f64 = 6.0;

pub fn run(args: &Args, report: &mut Report) -> io::Result<()> {
    let count = args.scaled(1_000_000, 20_000);
    let side = (count as f64).sqrt() as u64;
    let flat = move |number: u64| format!("/p/n{number:07}");
    let deep = move |number: u64| format!("/q/d{:04}/n{:04}", number / side, number % side);
    // A snapshot in between would be measured as well.
    let server = Launch::new(args).set("snapCount", 1_000_000_000).start()?;
    let mut pipe = Pipe::open(server.addr, 40_000)?;
    let mut out = Vec::new();
    super::put_create(&mut out, proto::Xid(0), "/p", b"");
    super::put_create(&mut out, proto::Xid(0), "/q", b"");
    io::Write::write_all(&mut pipe.stream, &out)?;
    pipe.reply()?;
    pipe.reply()?;
    pipe.run(
        count.div_ceil(side),
        WINDOW,
        |number, xid, out| super::put_create(out, xid, &format!("/q/d{number:04}"), b""),
        |_, _| (),
    )?;

    let before = server.resident();
    let one = shape(report, &server, &mut pipe, "one parent", count, &flat)?;
    let wide = server.resident();
    report.figure("memory for each child", super::each(wide, before, count));
    lists(args, report, &server, count)?;
    let gone = remove(report, &server, &mut pipe, "one parent", count, &flat)?;
    report.figure("resident when all are deleted", mb(server.resident()));
    let many = shape(report, &server, &mut pipe, "many parents", count, &deep)?;
    let peak = server.resident();
    report.figure("resident with as many again", mb(peak));
    report.check(
        "memory is used again",
        args.java.is_some() || peak < wide + wide / 4 + 20_000_000,
        format!("{} then {}", mb(wide), mb(peak)),
    );
    let gone_many = remove(report, &server, &mut pipe, "many parents", count, &deep)?;
    report.figure(
        "one parent against many: creates, deletes",
        format!("{:.2}, {:.2} times the CPU", one / many, gone / gone_many),
    );
    report.check("a wide parent is no quadratic cost", one / many < SLOWER_MAX && gone / gone_many < SLOWER_MAX, "");
    Ok(())
}

/// Creates all; server CPU in us for each.
fn shape(
    report: &mut Report,
    server: &Server,
    pipe: &mut Pipe,
    name: &str,
    count: u64,
    path: &dyn Fn(u64) -> String,
) -> io::Result<f64> {
    let probe = Probe::start(server.addr, false);
    let (cpu, began) = (server.cpu(), Instant::now());
    let tenth = count / 10;
    let mut tenths = Vec::new();
    for part in 0..10 {
        let cpu = server.cpu();
        // Neither ascending nor descending: sorted input may be a special case.
        let make = |number: u64, xid, out: &mut Vec<u8>| {
            super::put_create(out, xid, &path(shuffled(count, part * tenth + number)), b"")
        };
        let size = if part == 9 { count - 9 * tenth } else { tenth };
        pipe.run(size, WINDOW, make, |_, _| ())?;
        tenths.push((server.cpu() - cpu).as_secs_f64());
    }
    let (cpu, took) = (server.cpu() - cpu, began.elapsed());
    let us = cpu.as_secs_f64() * 1e6 / count as f64;
    report.figure(
        format!("{count} children of {name} created"),
        format!("{:.2} s, {us:.2} us of CPU each, resident {}", took.as_secs_f64(), mb(server.resident())),
    );
    let ratio = tenths[9] / tenths[0].max(0.01);
    report.check(
        "the last tenth costs about what the first did",
        ratio < SLOWER_MAX || tenths[9] < 0.1,
        format!("{ratio:.2} times"),
    );
    probe.judge(report, &format!("creating under {name}"));
    Ok(us)
}

fn remove(
    report: &mut Report,
    server: &Server,
    pipe: &mut Pipe,
    name: &str,
    count: u64,
    path: &dyn Fn(u64) -> String,
) -> io::Result<f64> {
    let probe = Probe::start(server.addr, false);
    let (cpu, began) = (server.cpu(), Instant::now());
    let make =
        |number: u64, xid, out: &mut Vec<u8>| Request::Delete(&path(shuffled(count, number)), -1).put_frame(out, xid);
    pipe.run(count, WINDOW, make, |_, _| ())?;
    let (cpu, took) = (server.cpu() - cpu, began.elapsed());
    let us = cpu.as_secs_f64() * 1e6 / count as f64;
    report.figure(
        format!("{count} children of {name} deleted"),
        format!("{:.2} s, {us:.2} us of CPU each", took.as_secs_f64()),
    );
    probe.judge(report, &format!("deleting under {name}"));
    Ok(us)
}

fn lists(args: &Args, report: &mut Report, server: &Server, count: u64) -> io::Result<()> {
    let probe = Probe::start(server.addr, true);
    thread::sleep(Duration::from_millis(300));
    let mut pipe = Pipe::open(server.addr, 40_000)?;
    let rounds = 5;
    let (cpu, began) = (server.cpu(), Instant::now());
    let (mut bytes, mut right) = (0, true);
    for _ in 0..rounds {
        let body = pipe.call(&Request::GetChildren2("/p", false))?;
        bytes = body.len();
        let Ok(client::Response::Children(mut names, stat)) =
            client::Response::decode(Op::GetChildren2.as_i32(), &body)
        else {
            return Err(io::Error::other("not a list of children"));
        };
        names.sort_unstable();
        right &= names.len() as u64 == count && i64::from(stat.num_children) == count as i64;
        right &= names.iter().enumerate().all(|(number, name)| *name == format!("n{number:07}"));
    }
    report.figure(
        "a list",
        format!(
            "{}, {:.1} ms of server CPU, {:.0} ms for the client",
            mb(bytes as u64),
            (server.cpu() - cpu).as_secs_f64() * 1e3 / rounds as f64,
            began.elapsed().as_secs_f64() * 1e3 / rounds as f64
        ),
    );
    report.check("every child is listed once", right, count);
    probe.judge(report, "one lists");

    let readers = 20u64;
    let probe = Probe::start(server.addr, true);
    let before = server.resident();
    server.forget_peak();
    let began = Instant::now();
    let addr = server.addr;
    let all: io::Result<()> = thread::scope(|scope| {
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                scope.spawn(move || -> io::Result<()> {
                    let mut pipe = Pipe::open(addr, 40_000)?;
                    for _ in 0..3 {
                        if pipe.call(&Request::GetChildren("/p", false))?.len() < count as usize * 12 {
                            return Err(io::Error::other("a short list"));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a reader does not panic"))
    });
    report.figure(
        format!("{readers} clients list three times at once"),
        format!("{:.2} s", began.elapsed().as_secs_f64()),
    );
    report.check("all got the list", all.is_ok(), format!("{all:?}"));
    let held = server.peak().saturating_sub(before);
    // One list for each on its way, in a buffer that grew by doubling, and one that is being made.
    let allowed = (readers + 2) * bytes as u64 * 2 + 50_000_000;
    report.check(
        "what they are being sent is bounded",
        args.java.is_some() || held < allowed,
        format!("{}, {} allowed", mb(held), mb(allowed)),
    );
    probe.judge(report, "twenty list");
    Ok(())
}
