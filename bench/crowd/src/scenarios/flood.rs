//! Thousands of connects a second from one address, and more connections than files may be open.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::Args;
use crate::pipe::knock;
use crate::probe::Probe;
use crate::report::Report;
use crate::server::{Launch, mb, until};

/// `maxClientCnxns`' default.
const PER_ADDRESS: usize = 60;
/// Lines that a server may say in a second about something that clients cause.
const LINES_A_SECOND: usize = 20;

pub fn run(args: &Args, report: &mut Report) -> io::Result<()> {
    addresses(args, report)?;
    descriptors(args, report)
}

fn addresses(args: &Args, report: &mut Report) -> io::Result<()> {
    let mut server = Launch::new(args).set("maxClientCnxns", PER_ADDRESS).start()?;
    let addr = server.addr;
    let probe = Probe::start(addr, true);
    thread::sleep(Duration::from_millis(200));
    let (before, lines, cpu) = (server.resident(), server.lines(), server.cpu());
    let stop = AtomicBool::new(false);
    let (knocked, refused, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let length = Duration::from_millis(args.scaled(15_000, 3_000));
    let began = Instant::now();
    // What stays open is counted by address: two of them, neither is the probe's.
    let kept: Vec<Vec<TcpStream>> = thread::scope(|scope| {
        let flooders: Vec<_> = (0..2)
            .map(|number| {
                let (stop, knocked, refused, failed) = (&stop, &knocked, &refused, &failed);
                scope.spawn(move || flood(addr, Ipv4Addr::new(127, 0, 0, 2 + number), stop, [knocked, refused, failed]))
            })
            .collect();
        thread::sleep(length);
        stop.store(true, Relaxed);
        flooders.into_iter().map(|thread| thread.join().expect("a flooder does not panic")).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let (knocked, refused) = (knocked.load(Relaxed), refused.load(Relaxed));
    report.figure(
        "connects",
        format!(
            "{knocked}, {:.0} a second, {refused} closed, {} failed",
            knocked as f64 / seconds,
            failed.load(Relaxed)
        ),
    );
    report.figure("server CPU", format!("{:.1} us each", (server.cpu() - cpu).as_secs_f64() * 1e6 / knocked as f64));
    report.figure("resident before, after", format!("{}, {}", mb(before), mb(server.resident())));
    let kept: Vec<usize> = kept.iter().map(|streams| streams.len()).collect();
    report.check(
        format!("no more than {PER_ADDRESS} stay from one address"),
        kept.iter().all(|kept| *kept <= PER_ADDRESS),
        format!("{kept:?}"),
    );
    let said = server.lines() - lines;
    report.check(
        "the log is not flooded",
        args.java.is_some() || said as f64 <= LINES_A_SECOND as f64 * (seconds + 1.0),
        format!("{said} lines in {seconds:.0} s"),
    );
    report.check("and says what is the matter", server.said("maxClientCnxns") > 0, server.said("maxClientCnxns"));
    probe.judge(report, "a flood from other addresses");
    report.check("the server lives", server.lives(), "");
    Ok(())
}

/// Knocks as fast as it can; keeps what stays open. Counters: knocked, closed by the server, failed.
fn flood(addr: SocketAddr, source: Ipv4Addr, stop: &AtomicBool, counters: [&AtomicU64; 3]) -> Vec<TcpStream> {
    let mut kept: Vec<TcpStream> = Vec::new();
    let mut fresh: Vec<TcpStream> = Vec::new();
    while !stop.load(Relaxed) {
        match knock(addr, Some(source), true) {
            Ok(stream) => {
                counters[0].fetch_add(1, Relaxed);
                fresh.push(stream);
            }
            Err(_) => _ = counters[2].fetch_add(1, Relaxed),
        }
        if fresh.len() >= 200 {
            thread::sleep(Duration::from_millis(5));
            sort(&mut fresh, &mut kept, counters[1]);
            // Some of these were only not closed yet.
            if kept.len() > 500 {
                thread::sleep(Duration::from_millis(50));
                fresh.append(&mut kept);
                sort(&mut fresh, &mut kept, counters[1]);
            }
        }
    }
    thread::sleep(Duration::from_millis(300));
    sort(&mut fresh, &mut kept, counters[1]);
    // Some were closed since, because they never asked for a session.
    let mut old = std::mem::take(&mut kept);
    sort(&mut old, &mut kept, counters[1]);
    kept
}

fn sort(fresh: &mut Vec<TcpStream>, kept: &mut Vec<TcpStream>, refused: &AtomicU64) {
    for mut stream in fresh.drain(..) {
        let _ = stream.set_nonblocking(true);
        match stream.read(&mut [0; 1]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => kept.push(stream),
            _ => _ = refused.fetch_add(1, Relaxed),
        }
    }
}

/// Few files may be open.
fn descriptors(args: &Args, report: &mut Report) -> io::Result<()> {
    const LIMIT: u32 = 200;
    let mut server =
        Launch::new(args).descriptors(LIMIT).set("txnLogSizeLimitInKb", 64).set("preAllocSize", 2_048).start()?;
    let probe = Probe::start(server.addr, false);
    thread::sleep(Duration::from_millis(300));
    let lines = server.lines();
    let cpu = server.cpu();
    let began = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..2_000 {
        streams.push(knock(server.addr, None, true)?);
    }
    let length = Duration::from_millis(args.scaled(8_000, 3_000));
    // They keep coming.
    let mut came = streams.len();
    while began.elapsed() < length {
        drop(streams.split_off(streams.len() - 100));
        for _ in 0..100 {
            streams.push(knock(server.addr, None, true)?);
            came += 1;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    report.figure(format!("connects to a server with {LIMIT} descriptors"), came);
    report.figure("open files", server.open_files());
    report.figure("server CPU", format!("{:.1} % of a core", 100.0 * (server.cpu() - cpu).as_secs_f64() / seconds));
    let said = server.lines() - lines;
    report.check(
        "the log is not flooded",
        args.java.is_some() || said as f64 <= LINES_A_SECOND as f64 * (seconds + 1.0),
        format!("{said} lines in {seconds:.0} s"),
    );
    let about = server.said("maxCnxns") + server.said("cannot accept");
    report.check("and says what is the matter", args.java.is_some() || about > 0, about);
    report.figure("log files begun meanwhile", server.files("log.").0);
    report.check(
        "the log always got its files",
        server.said("cannot prepare a log segment") == 0,
        server.said("cannot prepare a log segment"),
    );
    probe.judge(report, "no descriptor is left");
    drop(streams);
    let back = until(Duration::from_secs(10), || crate::pipe::Pipe::open(server.addr, 4_000).is_ok());
    report.check("when they leave, others get in", back.is_some(), format!("{back:?}"));
    report.check("the server lives", server.lives(), "");
    Ok(())
}
