//! A million watches: of one client, of a thousand clients, and recursive ones: memory, delivery, removal, and what wchs says.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use client::Request;

use super::shuffled;
use crate::Args;
use crate::pipe::Pipe;
use crate::probe::Probe;
use crate::report::Report;
use crate::server::{Launch, Server, mb, until};

const WINDOW: u64 = 1_000;
/// An exists or data watch may cost so much.
const BYTES_MAX: u64 = 400;

pub fn run(args: &Args, report: &mut Report) -> io::Result<()> {
    let count = args.scaled(1_000_000, 20_000);
    let side = (count as f64).sqrt() as u64;
    let count = side * side;
    let path = move |number: u64| format!("/w/d{:04}/n{:04}", number / side, number % side);
    let mut server = Launch::new(args).set("snapCount", 1_000_000_000).start()?;
    let mut writer = Pipe::open(server.addr, 40_000)?;
    writer.run(1, 1, |_, xid, out| super::put_create(out, xid, "/w", b""), |_, _| ())?;
    writer.run(
        side,
        WINDOW,
        |number, xid, out| super::put_create(out, xid, &format!("/w/d{number:04}"), b""),
        |_, _| (),
    )?;
    writer.run(count, WINDOW, |number, xid, out| super::put_create(out, xid, &path(number), b""), |_, _| ())?;
    report.figure("nodes", count);

    // One client.
    let before = server.resident();
    let mut one = Pipe::open(server.addr, 40_000)?;
    let probe = Probe::start(server.addr, false);
    watch(
        report,
        &server,
        "watches of one client",
        count,
        |number, xid, out| Request::Exists(&path(number), true).put_frame(out, xid),
        &mut one,
    )?;
    let with = server.resident();
    report.figure("resident before, after", format!("{}, {}", mb(before), mb(with)));
    report.figure("memory for each watch", super::each(with, before, count));
    report.check(
        "a watch is small",
        args.java.is_some() || with.saturating_sub(before) < count * BYTES_MAX + 30_000_000,
        super::each(with, before, count),
    );
    probe.judge(report, "a million watches are set");
    let probe = Probe::start(server.addr, false);
    let began = Instant::now();
    let text = server.word("wchs")?;
    report.figure("wchs takes", format!("{:.0} ms", began.elapsed().as_secs_f64() * 1e3));
    is(report, &text, 1, count, count);
    let began = Instant::now();
    server.word("stat")?;
    server.word("mntr")?;
    report.figure("stat and mntr take", format!("{:.0} ms", began.elapsed().as_secs_f64() * 1e3));
    probe.judge(report, "four-letter words");

    let probe = Probe::start(server.addr, false);
    let cpu = server.cpu();
    let began = Instant::now();
    // The watcher reads while the writer writes.
    let heard: io::Result<()> = thread::scope(|scope| {
        let reader = scope.spawn(|| one.wait_events(count));
        let set = |number: u64, xid, out: &mut Vec<u8>| {
            Request::SetData(&path(shuffled(count, number)), Some(b"x"), -1).put_frame(out, xid)
        };
        writer.run(count, WINDOW, set, |_, _| ())?;
        reader.join().expect("the watcher does not panic")
    });
    let us = (server.cpu() - cpu).as_secs_f64() * 1e6 / count as f64;
    report.figure("all fired by a set", format!("{:.2} s, {us:.2} us of CPU each", began.elapsed().as_secs_f64()));
    report.check(
        "every watch fired once",
        heard.is_ok() && one.events == count,
        format!("{} events, {heard:?}", one.events),
    );
    is(report, &server.word("wchs")?, 0, 0, 0);
    probe.judge(report, "a million watches fire");
    report.figure("resident when all have fired", mb(server.resident()));

    // Again, and then the session closes.
    watch(
        report,
        &server,
        "watches of one client, again",
        count,
        |number, xid, out| Request::Exists(&path(number), true).put_frame(out, xid),
        &mut one,
    )?;
    let twice = server.resident();
    close(report, &server, vec![one], "the session with a million watches")?;
    let mut one = Pipe::open(server.addr, 40_000)?;
    watch(
        report,
        &server,
        "watches of another client",
        count,
        |number, xid, out| Request::Exists(&path(number), true).put_frame(out, xid),
        &mut one,
    )?;
    let thrice = server.resident();
    // It may be served by another shard, whose table grows while the first one keeps its place for later.
    let allowed = twice + with.saturating_sub(before) + 10_000_000;
    report.check(
        "memory is used again",
        args.java.is_some() || thrice < allowed,
        format!("{} then {}, {} allowed", mb(twice), mb(thrice), mb(allowed)),
    );
    drop(one);

    // A thousand clients.
    let mut many = Vec::new();
    for _ in 0..side {
        many.push(Pipe::open(server.addr, 40_000)?);
    }
    let before = server.resident();
    let probe = Probe::start(server.addr, true);
    let began = Instant::now();
    for (client, pipe) in many.iter_mut().enumerate() {
        // Each path has several watchers: neighbours overlap by half.
        let first = client as u64 * side / 2;
        pipe.run(
            side,
            WINDOW,
            |number, xid, out| Request::GetData(&path(first + number), true).put_frame(out, xid),
            |_, _| (),
        )?;
    }
    report.figure(
        format!("{side} clients with {side} watches each"),
        format!("{:.2} s, {} each", began.elapsed().as_secs_f64(), super::each(server.resident(), before, count)),
    );
    is(report, &server.word("wchs")?, side, (side - 1) * side / 2 + side, count);
    probe.judge(report, "a thousand clients watch");
    let half = many.split_off(many.len() / 2);
    let left = many.len() as u64;
    close(report, &server, half, "half of the clients with their watches")?;
    let text = server.word("wchs")?;
    report.check(
        "the others' watches are left",
        text.trim_end().ends_with(&format!("Total watches:{}", left * side)),
        text.trim().replace('\n', ", "),
    );
    close(report, &server, many, "the other half")?;

    // Recursive watches: one client on every path, and a thousand clients on the root of all.
    let mut one = Pipe::open(server.addr, 40_000)?;
    let before = server.resident();
    watch(
        report,
        &server,
        "recursive watches of one client",
        count,
        |number, xid, out| Request::AddWatch(&path(number), 1).put_frame(out, xid),
        &mut one,
    )?;
    report.figure("memory for each", super::each(server.resident(), before, count));
    let some = count.min(50_000);
    let cpu = server.cpu();
    let heard: io::Result<()> = thread::scope(|scope| {
        let reader = scope.spawn(|| one.wait_events(some));
        let set = |number: u64, xid, out: &mut Vec<u8>| {
            Request::SetData(&path(shuffled(count, number)), Some(b"x"), -1).put_frame(out, xid)
        };
        writer.run(some, WINDOW, set, |_, _| ())?;
        reader.join().expect("the watcher does not panic")
    });
    report.figure(
        "fired",
        format!("{some}, {:.2} us of CPU each", (server.cpu() - cpu).as_secs_f64() * 1e6 / some as f64),
    );
    report.check("every recursive watch fired", heard.is_ok(), format!("{heard:?}"));
    let mut many = Vec::new();
    for _ in 0..side {
        let mut pipe = Pipe::open(server.addr, 40_000)?;
        pipe.call(&Request::AddWatch("/w", 1))?;
        many.push(pipe);
    }
    let probe = Probe::start(server.addr, false);
    let began = Instant::now();
    for number in 0..100 {
        writer.call(&Request::SetData(&path(number), Some(b"y"), -1))?;
    }
    let mut heard = 0;
    for pipe in &mut many {
        pipe.wait_events(100)?;
        heard += pipe.events;
    }
    report.figure(
        format!("{side} recursive watchers of one root hear of 100 changes"),
        format!("{:.0} ms", began.elapsed().as_secs_f64() * 1e3),
    );
    report.check("each heard of each", heard == side * 100, heard);
    probe.judge(report, "fan-out");
    close(report, &server, vec![one], "the session with a million recursive watches")?;
    report.check("the server lives", server.lives(), "");
    Ok(())
}

fn watch(
    report: &mut Report,
    server: &Server,
    what: &str,
    count: u64,
    make: impl FnMut(u64, proto::Xid, &mut Vec<u8>),
    pipe: &mut Pipe,
) -> io::Result<()> {
    let (cpu, began) = (server.cpu(), Instant::now());
    pipe.run(count, WINDOW, make, |_, _| ())?;
    let us = (server.cpu() - cpu).as_secs_f64() * 1e6 / count as f64;
    report.figure(format!("{count} {what}"), format!("{:.2} s, {us:.2} us of CPU each", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Closes the sessions and waits until the connections are gone.
fn close(report: &mut Report, server: &Server, pipes: Vec<Pipe>, what: &str) -> io::Result<()> {
    let probe = Probe::start(server.addr, false);
    thread::sleep(Duration::from_millis(200));
    let alive = server.metric("num_alive_connections")?;
    let (count, cpu, began) = (pipes.len() as i64, server.cpu(), Instant::now());
    for mut pipe in pipes {
        pipe.submit(&Request::CloseSession)?;
        pipe.reply()?;
    }
    let gone =
        until(Duration::from_secs(20), || server.metric("num_alive_connections").is_ok_and(|now| now <= alive - count));
    report.check(
        format!("{what} is gone quickly"),
        gone.is_some_and(|_| began.elapsed() < Duration::from_secs(10)),
        format!(
            "{:.0} ms, {:.0} ms of CPU",
            began.elapsed().as_secs_f64() * 1e3,
            (server.cpu() - cpu).as_secs_f64() * 1e3
        ),
    );
    probe.judge(report, &format!("closing {what}"));
    Ok(())
}

fn is(report: &mut Report, text: &str, connections: u64, paths: u64, watches: u64) {
    let wanted = format!("{connections} connections watching {paths} paths\nTotal watches:{watches}");
    report.check("wchs is right", text.trim_end() == wanted, text.trim_end().replace('\n', ", "));
}
