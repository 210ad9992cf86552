//! Connections to other members, with real sockets. Nothing here waits for a clock except attempts that have to time out.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use peers::{Connector, Options};
use quorum::effect::{HostPort, Port, Ticket};
use socket2::{Domain, SockAddr, Socket, Type};

type End = (Ticket, Result<OwnedFd, String>);

/// Longer than any attempt here that is meant to succeed.
const LONG_MS: i64 = 60_000;
/// For attempts that cannot succeed.
const SHORT_MS: i64 = 150;

struct World {
    connector: Connector,
    ends: Receiver<End>,
}

fn no_names(host: &str) -> io::Result<Vec<IpAddr>> {
    panic!("{host} is asked for")
}

fn world(resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> World {
    world_with(Options::default(), resolve)
}

fn world_with(options: Options, resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> World {
    let (sender, ends) = channel::<End>();
    let sender = Mutex::new(sender);
    let done = move |ticket, outcome| _ = sender.lock().unwrap().send((ticket, outcome));
    World { connector: Connector::start_with(options, resolve, done).unwrap(), ends }
}

impl World {
    fn connect(&self, ticket: u64, places: &[(&str, u16)], timeout_ms: i64) {
        self.connector.connect(Ticket(ticket), Port::Election, places_of(places), timeout_ms);
    }

    fn next(&self) -> (u64, Result<TcpStream, String>) {
        let (ticket, outcome) = self.ends.recv_timeout(Duration::from_secs(50)).expect("an attempt ends");
        (ticket.0, outcome.map(TcpStream::from))
    }

    fn next_error(&self, ticket: u64) -> String {
        let (ended, outcome) = self.next();
        assert_eq!(ended, ticket);
        outcome.expect_err("it must fail")
    }
}

fn places_of(places: &[(&str, u16)]) -> Vec<HostPort> {
    places.iter().map(|(host, port)| HostPort { host: (*host).to_owned(), port: *port }).collect()
}

fn listener(host: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind((host, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that is ours and refuses.
fn refusing(host: &str) -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::new(host.parse().unwrap(), 0))).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// A port that does not answer: its queue of connections is full, so that the kernel drops what comes.
fn silent(host: &str) -> (Vec<Socket>, u16) {
    let (listening, port) = refusing(host);
    listening.listen(0).unwrap();
    let address = SockAddr::from(SocketAddr::new(host.parse().unwrap(), port));
    let mut sockets = vec![listening];
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let answered = socket.connect_timeout(&address, Duration::from_millis(50)).is_ok();
        sockets.push(socket);
        if !answered {
            return (sockets, port);
        }
    }
}

#[test]
fn a_connection_is_handed_over_ready_for_use() {
    for (keep_alive, port_kind, expected) in [
        (false, Port::Election, false),
        (true, Port::Election, true),
        // Java's option is one of elections.
        (true, Port::Quorum, false),
    ] {
        let world = world_with(Options { keep_alive }, no_names);
        let (listener, port) = listener("127.0.0.41");
        world.connector.connect(Ticket(2), port_kind, places_of(&[("127.0.0.41", port)]), LONG_MS);
        let (ticket, stream) = world.next();
        let stream = stream.unwrap();
        assert_eq!(ticket, 2);
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
        let socket = Socket::from(stream);
        assert!(!socket.nonblocking().unwrap());
        assert_eq!(socket.keepalive().unwrap(), expected);
    }
}

#[test]
fn a_refusal_is_told_with_its_place_and_address() {
    let world = world(|_| Ok(vec![[127, 0, 0, 42].into()]));
    let (_holder, port) = refusing("127.0.0.42");
    world.connect(1, &[("127.0.0.42", port)], LONG_MS);
    assert_eq!(world.next_error(1), format!("127.0.0.42:{port}: Connection refused (os error 111)"));
    world.connect(2, &[("zk2", port)], LONG_MS);
    assert_eq!(world.next_error(2), format!("zk2:{port} (127.0.0.42): Connection refused (os error 111)"));
    world.connect(3, &[], LONG_MS);
    assert_eq!(world.next_error(3), "there is no address to connect to");
}

#[test]
fn a_name_that_does_not_resolve_is_told() {
    let world = world(|host| match host {
        "empty" => Ok(Vec::new()),
        _ => Err(io::Error::other("no such host is known")),
    });
    world.connect(1, &[("nobody", 3888)], LONG_MS);
    assert_eq!(world.next_error(1), "nobody:3888 does not resolve: no such host is known");
    world.connect(2, &[("empty", 3888)], LONG_MS);
    assert_eq!(world.next_error(2), "empty:3888 does not resolve: it has no address");
}

#[test]
fn the_system_resolves_names_too() {
    let (sender, ends) = channel::<End>();
    let sender = Mutex::new(sender);
    let done = move |ticket, outcome| _ = sender.lock().unwrap().send((ticket, outcome));
    let world = World { connector: Connector::start(Options::default(), done).unwrap(), ends };
    let (_listener, port) = listener("127.0.0.1");
    world.connect(1, &[("localhost", port)], LONG_MS);
    assert!(world.next().1.is_ok());
}

/// The story: the resolver hangs for one name, as it does when a name server is down. Whoever waits for that name must fail in time, and
/// nobody else may notice.
#[test]
fn a_name_that_hangs_delays_nobody_else() {
    let (release, hold) = channel::<()>();
    let hold = Mutex::new(hold);
    let world = world(move |host| {
        if host == "hangs" {
            let _ = hold.lock().unwrap().recv();
        }
        Ok(vec![[127, 0, 0, 43].into()])
    });
    let (_listener, port) = listener("127.0.0.43");
    world.connect(1, &[("hangs", port)], LONG_MS);
    world.connect(2, &[("hangs", port)], SHORT_MS);
    world.connect(3, &[("works", port)], LONG_MS);
    world.connect(4, &[("127.0.0.43", port)], LONG_MS);
    // A place that hangs does not hold up another place of the same attempt.
    world.connect(5, &[("hangs", port), ("127.0.0.43", port)], LONG_MS);
    let mut early: Vec<u64> =
        (0..3).map(|_| world.next()).map(|(ticket, outcome)| outcome.map(|_| ticket).unwrap()).collect();
    early.sort_unstable();
    assert_eq!(early, [3, 4, 5]);
    assert_eq!(world.next_error(2), format!("hangs:{port} has not been resolved (after {SHORT_MS} ms)"));
    release.send(()).unwrap();
    assert!(matches!(world.next(), (1, Ok(_))));
}

#[test]
fn names_beyond_the_bound_wait_for_their_turn_and_fail_in_time() {
    let (release, hold) = channel::<()>();
    let hold = Mutex::new(hold);
    let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let world = world(move |_| {
        let now = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
        seen.1.fetch_max(now, Ordering::SeqCst);
        let _ = hold.lock().unwrap().recv();
        seen.0.fetch_sub(1, Ordering::SeqCst);
        Ok(vec![[127, 0, 0, 44].into()])
    });
    let (_listener, port) = listener("127.0.0.44");
    let names: Vec<String> = (0..100).map(|number| format!("name{number}")).collect();
    for (ticket, name) in names.iter().enumerate() {
        // The last ones may wait; of those before them every second gives up.
        let timeout_ms = if ticket % 2 == 0 { LONG_MS } else { SHORT_MS };
        world.connect(ticket as u64, &[(name, port)], timeout_ms);
    }
    for _ in 0..50 {
        assert!(world.next().1.is_err());
    }
    for _ in 0..100 {
        let _ = release.send(());
    }
    let mut reached: Vec<u64> =
        (0..50).map(|_| world.next()).map(|(ticket, outcome)| outcome.map(|_| ticket).unwrap()).collect();
    reached.sort_unstable();
    assert_eq!(reached, (0..100).step_by(2).collect::<Vec<u64>>());
    assert!(most.1.load(Ordering::SeqCst) <= 32, "{most:?}");
}

#[test]
fn a_host_that_does_not_answer_delays_nobody_and_fails_in_time() {
    let world = world(|_| Ok(vec![[127, 0, 0, 45].into(), [127, 0, 0, 46].into()]));
    let (_queue, port) = silent("127.0.0.45");
    let (_listener, open) = listener("127.0.0.46");
    world.connect(1, &[("127.0.0.45", port)], SHORT_MS);
    world.connect(2, &[("127.0.0.45", port), ("127.0.0.46", open)], LONG_MS);
    let started = Instant::now();
    assert!(matches!(world.next(), (2, Ok(_))));
    assert_eq!(world.next_error(1), format!("127.0.0.45:{port}: no answer (after {SHORT_MS} ms)"));
    assert!(started.elapsed() < Duration::from_secs(40));
    // Of a name's addresses the one that answers is used.
    let other = TcpListener::bind(("127.0.0.46", port)).unwrap();
    world.connect(3, &[("both", port)], LONG_MS);
    let (ticket, stream) = world.next();
    assert_eq!(ticket, 3);
    assert_eq!(stream.unwrap().peer_addr().unwrap(), other.local_addr().unwrap());
}

#[test]
fn every_reason_is_told_when_all_addresses_fail() {
    let world = world(no_names);
    let (_holder, refused) = refusing("127.0.0.47");
    let (_queue, unanswered) = silent("127.0.0.48");
    world.connect(1, &[("127.0.0.47", refused), ("127.0.0.48", unanswered)], SHORT_MS);
    assert_eq!(
        world.next_error(1),
        format!(
            "127.0.0.47:{refused}: Connection refused (os error 111); 127.0.0.48:{unanswered}: no answer (after {SHORT_MS} ms)"
        )
    );
}

#[test]
fn names_are_resolved_anew_for_each_attempt() {
    let last = Arc::new(AtomicU16::new(50));
    let current = Arc::clone(&last);
    let world = world(move |_| Ok(vec![[127, 0, 0, current.load(Ordering::SeqCst) as u8].into()]));
    let (_holder, port) = refusing("127.0.0.50");
    let _listener = TcpListener::bind(("127.0.0.51", port)).unwrap();
    world.connect(1, &[("moves", port)], LONG_MS);
    assert!(world.next_error(1).contains("127.0.0.50"));
    last.store(51, Ordering::SeqCst);
    world.connect(2, &[("moves", port)], LONG_MS);
    assert_eq!(world.next().1.unwrap().peer_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 51]));
}

#[test]
fn nothing_is_heard_of_an_attempt_that_was_forgotten() {
    let world = world(no_names);
    let (_queue, port) = silent("127.0.0.52");
    let (listener, open) = listener("127.0.0.53");
    world.connect(1, &[("127.0.0.52", port)], SHORT_MS);
    world.connector.forget(Ticket(1));
    world.connector.forget(Ticket(77));
    // It would end before this one.
    world.connect(2, &[("127.0.0.52", port)], 2 * SHORT_MS);
    world.next_error(2);
    // A ticket may be used again.
    world.connect(1, &[("127.0.0.53", open)], LONG_MS);
    assert!(matches!(world.next(), (1, Ok(_))));
    assert!(listener.accept().is_ok());
}

#[test]
fn dropping_the_connector_does_not_wait_for_anything() {
    let (release, hold): (Sender<()>, _) = channel();
    let hold = Mutex::new(hold);
    let world = world(move |_| {
        let _ = hold.lock().unwrap().recv();
        Ok(Vec::new())
    });
    let (_queue, port) = silent("127.0.0.54");
    world.connect(1, &[("hangs", port)], LONG_MS);
    world.connect(2, &[("127.0.0.54", port)], LONG_MS);
    let World { connector, ends } = world;
    drop(connector);
    assert!(ends.recv().is_err(), "nobody is left who could tell an end");
    drop(release);
}
