//! What echoing a message costs the thread of a reactor, for both backends: `cargo run --release -p uring --example echo`.
//!
//! Per line: server CPU per message of 100 bytes (user and system, of the reactor's thread alone), and messages per second with a client
//! that shares the machine. Expected on a 2-core virtual machine: about 9 µs for a lone message, 0.6 µs at 16 pipelined.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a measurement reads clocks and starts threads"
)]

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use uring::{Event, Kind, Options, Reactor, Wait};

const BYTES: usize = 100;

fn main() {
    println!("{:<10} {:>5} {:>6} {:>10} {:>12}", "backend", "conns", "piped", "us/message", "messages/s");
    for (conns, pipelined, rounds) in [(50, 16, 2000), (50, 1, 2000), (1, 16, 20_000), (1, 1, 20_000)] {
        for kind in [Kind::Uring, Kind::Epoll] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
            let address = listener.local_addr().expect("an address");
            let server = thread::spawn(move || serve(kind, listener, conns));
            let before = Instant::now();
            let clients = (0..conns).map(|_| TcpStream::connect(address).expect("connected")).collect();
            talk(clients, pipelined, rounds);
            let time = before.elapsed();
            let (name, cpu) = server.join().expect("the server is content");
            let messages = (conns * pipelined * rounds) as f64;
            println!(
                "{name:<10} {conns:>5} {pipelined:>6} {:>10.2} {:>12.0}",
                cpu.as_secs_f64() * 1e6 / messages,
                messages / time.as_secs_f64()
            );
        }
    }
}

/// One request per connection at a time, of `pipelined` messages, all connections at once.
fn talk(mut clients: Vec<TcpStream>, pipelined: usize, rounds: usize) {
    let mut bytes = vec![1; BYTES * pipelined];
    for client in &clients {
        client.set_nodelay(true).expect("set");
    }
    for _ in 0..rounds {
        for client in &mut clients {
            client.write_all(&bytes).expect("written");
        }
        for client in &mut clients {
            client.read_exact(&mut bytes).expect("read");
        }
    }
}

/// Echoes until `conns` clients have come and gone; returns the CPU that took.
fn serve(kind: Kind, listener: TcpListener, conns: usize) -> (String, Duration) {
    let mut reactor = Reactor::open(kind, &Options::default()).expect("opened");
    reactor.listen(listener);
    let mut outgoing = HashMap::new();
    let (mut accepted, mut filled, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    let mut closed = 0;
    let before = cpu();
    while closed < conns {
        let told = reactor.turn(Wait::Forever, |event| match event {
            Event::Accepted { stream, .. } => accepted.push(stream),
            Event::Received { conn, bytes } => {
                let buffer: &mut Vec<u8> = outgoing.entry(conn).or_insert_with(|| idle.pop().unwrap_or_default());
                if buffer.is_empty() {
                    filled.push(conn);
                }
                buffer.extend_from_slice(bytes);
            }
            Event::Sent { buffer, .. } => idle.push(buffer),
            Event::Closed { .. } => closed += 1,
            _ => {}
        });
        told.expect("turned");
        for stream in accepted.drain(..) {
            reactor.adopt(stream);
        }
        for conn in filled.drain(..) {
            // The clients wait for all answers, so no send is under way when bytes come.
            reactor.send(conn, outgoing.remove(&conn).unwrap_or_default());
        }
    }
    (format!("{:.8}", reactor.backend().to_string()), cpu() - before)
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
