//! Ten thousand connections with sessions that do nothing but ping: what one costs, that none is lost, that all memory can be
//! used again.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use client::Request;

use super::each;
use crate::Args;
use crate::pipe::Pipe;
use crate::probe::Probe;
use crate::report::Report;
use crate::server::{Launch, Server, mb, until};

const WAVE: usize = 250;
const TIMEOUT_MS: i32 = 30_000;
/// What each connection reads once, so that buffers grow.
const READ_BYTES: usize = 50_000;
/// An idle connection may cost so much in the server, its session and the allocator's rounding included.
const BYTES_MAX: u64 = 6_000;

pub fn run(args: &Args, report: &mut Report) -> io::Result<()> {
    let count = args.scaled(10_000, 1_000);
    let server = Launch::new(args).start()?;
    let mut first = Pipe::open(server.addr, TIMEOUT_MS)?;
    let mut out = Vec::new();
    super::put_create(&mut out, proto::Xid(1), "/read", &vec![7; READ_BYTES]);
    io::Write::write_all(&mut first.stream, &out)?;
    first.reply()?;
    // The server's own buffers are warm before anything is compared.
    drop(crowd(&server, WAVE as u64)?);
    thread::sleep(Duration::from_millis(500));

    let probe = Probe::start(server.addr, true);
    let (before, files) = (server.resident(), server.open_files());
    let (cpu, began) = (server.cpu(), Instant::now());
    let mut pipes = crowd(&server, count)?;
    let took = began.elapsed();
    let opened = server.resident();
    report.figure("connections with sessions", count);
    report.figure("opened", format!("{:.2} s, {:.0} a second", took.as_secs_f64(), count as f64 / took.as_secs_f64()));
    report.figure("server CPU for it", format!("{:.2} s", (server.cpu() - cpu).as_secs_f64()));
    report.figure("resident before, after", format!("{}, {}", mb(before), mb(opened)));
    report.figure("memory for each connection", each(opened, before, count));
    report.figure("descriptors before, after", format!("{files}, {}", server.open_files()));

    all(&mut pipes, &Request::Ping)?;
    report.figure("memory for each after a ping", each(server.resident(), before, count));
    all(&mut pipes, &Request::GetData("/read", false))?;
    let read = server.resident();
    report.figure(format!("memory for each after a read of {READ_BYTES} B"), each(read, before, count));
    let allowed = before + count * BYTES_MAX + 40_000_000;
    report.check(
        "an idle connection is small, also after it read much",
        args.java.is_some() || read <= allowed,
        format!("{} resident, {} allowed", mb(read), mb(allowed)),
    );
    probe.judge(report, "opening and reading");

    let probe = Probe::start(server.addr, true);
    thread::sleep(Duration::from_millis(300));
    let (cpu, began) = (server.cpu(), Instant::now());
    let rounds = if args.scale >= 0.5 { 5 } else { 1 };
    for _ in 0..rounds {
        thread::sleep(Duration::from_secs(if args.scale >= 0.5 { 10 } else { 3 }));
        all(&mut pipes, &Request::Ping)?;
    }
    let (cpu, took) = (server.cpu() - cpu, began.elapsed());
    report.figure("pings answered", rounds * count);
    report.figure(
        "server CPU with pings and probes",
        format!("{:.1} % of a core", 100.0 * cpu.as_secs_f64() / took.as_secs_f64()),
    );
    probe.judge(report, "pings");
    let (cpu, began) = (server.cpu(), Instant::now());
    thread::sleep(Duration::from_secs(5));
    let idle = 100.0 * (server.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    report.figure("server CPU while all are silent", format!("{idle:.1} % of a core"));
    let alive = server.metric("num_alive_connections")?;
    // The one that asks counts as well.
    report.check("none was lost", (count as i64 + 1..=count as i64 + 2).contains(&alive), format!("{alive} alive"));

    // Half of them say goodbye, half just close.
    let began = Instant::now();
    let leaving = pipes.len() / 2;
    for wave in pipes[..leaving].chunks_mut(WAVE) {
        for pipe in wave.iter_mut() {
            pipe.submit(&Request::CloseSession)?;
        }
        for pipe in wave {
            pipe.reply()?;
        }
    }
    drop(pipes);
    let gone = until(Duration::from_secs(30), || server.metric("num_alive_connections").is_ok_and(|alive| alive <= 2));
    report.check("all are gone", gone.is_some(), format!("{:.2} s", began.elapsed().as_secs_f64()));
    thread::sleep(Duration::from_secs(1));
    report.figure("resident when all are gone", mb(server.resident()));
    report.figure("descriptors when all are gone", server.open_files());
    report.check("no descriptor is left", server.open_files() <= files + 4, server.open_files());
    let mut again = crowd(&server, count)?;
    all(&mut again, &Request::GetData("/read", false))?;
    let second = server.resident();
    report.figure("resident with as many again", mb(second));
    // Half of the first crowd's sessions still wait to expire.
    let allowed = read + count * 1_000 + 20_000_000;
    report.check(
        "memory is used again",
        args.java.is_some() || second <= allowed,
        format!("{}, first time {}", mb(second), mb(read)),
    );
    Ok(())
}

fn crowd(server: &Server, count: u64) -> io::Result<Vec<Pipe>> {
    let mut pipes = Vec::with_capacity(count as usize);
    while (pipes.len() as u64) < count {
        let wave = (count as usize - pipes.len()).min(WAVE);
        let from = pipes.len();
        for _ in 0..wave {
            pipes.push(Pipe::ask(server.addr, None, TIMEOUT_MS)?);
        }
        for pipe in &mut pipes[from..] {
            pipe.greet()?;
        }
    }
    Ok(pipes)
}

fn all(pipes: &mut [Pipe], request: &Request<'_>) -> io::Result<()> {
    for wave in pipes.chunks_mut(WAVE) {
        for pipe in wave.iter_mut() {
            pipe.submit(request)?;
        }
        for pipe in wave {
            let (reply, _) = pipe.reply()?;
            if reply.err != 0 {
                return Err(io::Error::other(format!("{reply:?}")));
            }
        }
    }
    Ok(())
}
