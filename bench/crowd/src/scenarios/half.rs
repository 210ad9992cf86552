//! Connections that never become one: nothing sent, half a length, half a request, a session that falls silent.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::Args;
use crate::pipe::{Pipe, connect_frame, knock};
use crate::probe::Probe;
use crate::report::Report;
use crate::server::{Launch, mb};

const SESSIONLESS_MS: u64 = 3_000;
const SESSION_MS: u64 = 4_000;
const TICK_MS: u64 = 2_000;

pub fn run(args: &Args, report: &mut Report) -> io::Result<()> {
    let count = args.scaled(1_000, 50);
    let mut server = Launch::new(args).set("nio.sessionlessCnxnTimeout", SESSIONLESS_MS).start()?;
    let probe = Probe::start(server.addr, true);
    thread::sleep(Duration::from_millis(200));
    let before = server.resident();
    let whole = connect_frame(SESSION_MS as i32);
    let mut large = 900_000i32.to_be_bytes().to_vec();
    large.resize(400_000, 1);
    let kinds: [(&str, &[u8], u64); 6] = [
        ("that send nothing", b"", count),
        ("that send half a length", &whole[..2], count),
        ("that send half a request", &whole[..20], count),
        ("that send half a four-letter word", b"ru", count),
        // Memory for what was sent, not for what was announced.
        ("that announce 900 KB and send four bytes", &large[..4], count),
        ("that send 400 of 900 KB", &large, count / 10),
    ];
    let began = Instant::now();
    let mut crowds: Vec<(&str, Vec<TcpStream>)> = Vec::new();
    for (what, bytes, count) in kinds {
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut stream = knock(server.addr, None, true)?;
            stream.write_all(bytes)?;
            streams.push(stream);
        }
        crowds.push((what, streams));
    }
    report.figure("resident before, with all", format!("{}, {}", mb(before), mb(server.resident())));
    for (what, streams) in crowds {
        let (count, mut closed) = (streams.len(), 0);
        let until = began + Duration::from_millis(SESSIONLESS_MS + 3_000);
        for mut stream in streams {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left))?;
            closed += usize::from(match stream.read(&mut [0; 64]) {
                Ok(0) => true,
                Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
                Ok(_) => false,
            });
        }
        let rule = format!("connections {what} are closed in {SESSIONLESS_MS} ms and a little");
        report.check(
            rule,
            closed == count,
            format!("{closed} of {count} after {:.1} s", began.elapsed().as_secs_f64()),
        );
    }

    // Sessions of clients that stop.
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(Pipe::open(server.addr, SESSION_MS as i32)?);
    }
    let began = Instant::now();
    let (mut closed, mut worst) = (0, Duration::ZERO);
    for mut pipe in silent {
        pipe.stream.set_read_timeout(Some(Duration::from_millis(SESSION_MS + 2 * TICK_MS + 3_000)))?;
        closed += u64::from(pipe.reply().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof));
        worst = worst.max(began.elapsed());
    }
    report.check(
        format!("sessions of {SESSION_MS} ms that fall silent end"),
        closed == count,
        format!("{closed} of {count}, the last after {:.1} s", worst.as_secs_f64()),
    );
    report.check(
        "not later than a timeout and two ticks",
        worst < Duration::from_millis(SESSION_MS + 2 * TICK_MS + 500),
        format!("{worst:?}"),
    );
    probe.judge(report, "half-open connections");
    report.check("the server lives", server.lives(), "");
    Ok(())
}
