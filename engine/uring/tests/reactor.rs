//! Stories about real sockets and files, each told to both backends.
//!
//! A test drives `turn` until what it expects has been told, and fails after a deadline that no working machine needs. When the
//! kernel refuses io_uring, its half of the stories prints that and passes.
#![allow(clippy::disallowed_methods, reason = "the clients in these stories live in threads")]

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use uring::{AlignedBuf, Backend, Cause, ConnId, Event, Kind, ListenerId, Options, Reactor, Wait, Waker};

macro_rules! on_both_backends {
    ($($story:ident)*) => {
        mod io_uring { $(#[test] fn $story() { super::tell(super::Kind::Uring, super::$story); })* }
        mod epoll { $(#[test] fn $story() { super::tell(super::Kind::Epoll, super::$story); })* }
    };
}

on_both_backends! {
    thousands_of_pipelined_messages_are_echoed_in_order
    a_paused_connection_is_not_received_from_until_resumed
    a_client_that_is_not_received_from_is_slowed_down
    a_big_send_reaches_a_slow_reader_whole
    closing_during_a_send_delivers_it_first
    aborting_does_not_wait_for_a_client_that_does_not_read
    a_closing_connection_that_is_stuck_can_be_aborted
    a_client_that_half_closes_still_gets_the_send_on_its_way
    a_reset_by_the_client_closes_the_connection_with_the_error
    a_reset_during_a_send_closes_the_connection_once
    bytes_before_the_end_of_the_stream_are_told_before_it
    a_storm_of_clients_is_accepted_completely
    nobody_is_accepted_after_listening_stopped
    a_wake_ends_the_sleep_also_if_it_came_before
    durable_writes_reach_the_file_and_give_their_buffers_back
    a_write_that_fails_says_so_and_gives_its_buffer_back
    dropping_lets_go_of_everything_that_is_under_way
    calls_with_the_id_of_a_closed_connection_do_nothing
    more_talkers_than_receive_buffers_are_all_heard
    more_sends_than_queue_entries_are_all_sent
    an_empty_send_is_told_as_sent
    a_second_send_is_refused_while_one_is_under_way
    turning_without_waiting_returns_at_once
    who_stays_awake_hears_what_comes_and_sleeps_behind_the_moment
}

fn thousands_of_pipelined_messages_are_echoed_in_order(mut world: World) {
    const MESSAGES: u32 = 20_000;
    let (mut client, conn) = world.connect();
    let mut reading = client.try_clone().expect("a second handle");
    let writer = thread::spawn(move || {
        for n in 0..MESSAGES {
            let mut message = n.to_le_bytes().to_vec();
            message.resize(4 + n as usize % 150, n as u8);
            client.write_all(&message).expect("written");
        }
    });
    let reader = thread::spawn(move || {
        let mut message = Vec::new();
        for n in 0..MESSAGES {
            message.resize(4 + n as usize % 150, 0);
            reading.read_exact(&mut message).expect("read");
            assert_eq!(message[..4], n.to_le_bytes());
            assert!(message[4..].iter().all(|&byte| byte == n as u8));
        }
        // Only now, as an end of the stream would close the connection before echoes that are not being sent yet.
        reading.shutdown(Shutdown::Write).expect("half closed");
    });
    // Like a server: one send under way, the next gathers meanwhile, and the client waits when that grows.
    let (mut next, mut sending) = (Vec::new(), false);
    let cause = loop {
        for told in world.turn() {
            match told {
                Told::Received(from, bytes) if from == conn => next.extend_from_slice(&bytes),
                Told::Sent(to, buffer) if to == conn => {
                    assert!(buffer.is_empty() && buffer.capacity() > 0);
                    sending = false;
                }
                Told::Closed(_, cause) => world.closed = Some(cause),
                other => panic!("unexpected: {other:?}"),
            }
        }
        if let Some(cause) = world.closed.take() {
            break cause;
        }
        if !sending && !next.is_empty() {
            world.reactor.send(conn, std::mem::take(&mut next));
            sending = true;
        }
        if next.len() > 100_000 {
            world.reactor.pause(conn);
        } else if !(sending && next.len() > 50_000) {
            world.reactor.resume(conn);
        }
    };
    assert!(matches!(cause, Cause::Peer), "{cause:?}");
    writer.join().expect("the writer is content");
    reader.join().expect("the reader is content");
}

fn a_paused_connection_is_not_received_from_until_resumed(mut world: World) {
    let (mut client, conn) = world.connect();
    world.reactor.pause(conn);
    client.write_all(b"hello").expect("written");
    for _ in 0..10 {
        assert!(world.turn_now().is_empty());
    }
    world.reactor.resume(conn);
    assert_eq!(world.receive(conn, 5), b"hello");
    // Pausing right after bytes were told: nothing more is told.
    world.reactor.pause(conn);
    client.write_all(b"world").expect("written");
    for _ in 0..10 {
        assert!(world.turn_now().is_empty());
    }
    world.reactor.resume(conn);
    world.reactor.resume(conn);
    assert_eq!(world.receive(conn, 5), b"world");
}

fn a_client_that_is_not_received_from_is_slowed_down(mut world: World) {
    let (mut client, conn) = world.connect();
    world.reactor.pause(conn);
    client.set_nonblocking(true).expect("set");
    let mut written = 0;
    loop {
        world.turn_now();
        match client.write(&[7; 65536]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(written < 1 << 30, "a client fills the socket buffers and no more");
    }
    world.reactor.resume(conn);
    assert_eq!(world.receive(conn, written).len(), written);
}

fn a_big_send_reaches_a_slow_reader_whole(mut world: World) {
    let (mut client, conn) = world.connect();
    let content = pattern(24 << 20);
    world.reactor.send(conn, content.clone());
    let reader = thread::spawn(move || {
        let mut received = vec![0; content.len()];
        for piece in received.chunks_mut(100_003) {
            client.read_exact(piece).expect("read");
            thread::yield_now();
        }
        assert!(received == content);
        client
    });
    let buffer = world.until(|told| if let Told::Sent(_, buffer) = told { Some(buffer) } else { None });
    assert!(buffer.is_empty() && buffer.capacity() >= 24 << 20);
    reader.join().expect("the reader is content");
}

fn closing_during_a_send_delivers_it_first(mut world: World) {
    let (mut client, conn) = world.connect();
    let content = pattern(12 << 20);
    world.reactor.send(conn, content.clone());
    world.turn_now();
    world.reactor.close(conn);
    world.reactor.close(conn);
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        client.read_to_end(&mut received).expect("read");
        assert!(received == content);
    });
    assert!(world.sent_before_closed(conn));
    world.closed_as(conn, |cause| matches!(cause, Cause::Local));
    reader.join().expect("the reader is content");
    assert!(world.turn_now().is_empty(), "closed once");
}

fn aborting_does_not_wait_for_a_client_that_does_not_read(mut world: World) {
    let (_client, conn) = world.connect();
    world.reactor.send(conn, vec![1; 64 << 20]);
    world.turn_now();
    world.reactor.abort(conn);
    world.closed_as(conn, |cause| matches!(cause, Cause::Local));
    assert!(world.turn_now().is_empty(), "closed once");
}

fn a_closing_connection_that_is_stuck_can_be_aborted(mut world: World) {
    let (_client, conn) = world.connect();
    world.reactor.send(conn, vec![1; 64 << 20]);
    world.reactor.close(conn);
    for _ in 0..10 {
        assert!(world.turn_now().is_empty());
    }
    world.reactor.abort(conn);
    world.closed_as(conn, |cause| matches!(cause, Cause::Local));
}

fn a_client_that_half_closes_still_gets_the_send_on_its_way(mut world: World) {
    let (mut client, conn) = world.connect();
    client.write_all(b"?").expect("written");
    client.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(world.receive(conn, 1), b"?");
    let content = pattern(12 << 20);
    world.reactor.send(conn, content.clone());
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        client.read_to_end(&mut received).expect("read");
        assert!(received == content);
    });
    assert!(world.sent_before_closed(conn));
    world.closed_as(conn, |cause| matches!(cause, Cause::Peer));
    reader.join().expect("the reader is content");
}

fn a_reset_by_the_client_closes_the_connection_with_the_error(mut world: World) {
    let (client, conn) = world.connect();
    reset(client);
    world.closed_as(
        conn,
        |cause| matches!(cause, Cause::Error(error) if error.kind() == io::ErrorKind::ConnectionReset),
    );
    assert!(world.turn_now().is_empty(), "closed once");
}

fn a_reset_during_a_send_closes_the_connection_once(mut world: World) {
    let (client, conn) = world.connect();
    world.reactor.send(conn, vec![1; 64 << 20]);
    world.turn_now();
    reset(client);
    world.closed_as(conn, |cause| matches!(cause, Cause::Error(_)));
    for _ in 0..10 {
        assert!(world.turn_now().is_empty(), "closed once");
    }
}

fn bytes_before_the_end_of_the_stream_are_told_before_it(mut world: World) {
    let content = pattern(300_000);
    let (mut client, conn) = world.connect();
    let sent = content.clone();
    let writer = thread::spawn(move || client.write_all(&sent).expect("written"));
    assert!(world.receive(conn, content.len()) == content);
    world.closed_as(conn, |cause| matches!(cause, Cause::Peer));
    writer.join().expect("the writer is content");
}

fn a_storm_of_clients_is_accepted_completely(mut world: World) {
    const CLIENTS: usize = 300;
    let (listener, address) = world.listen();
    let storm = thread::spawn(move || {
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            let mut client = TcpStream::connect(address).expect("connected");
            client.write_all(&(n as u32).to_le_bytes()).expect("written");
            clients.push(client);
        }
        clients
    });
    let mut talked = HashMap::new();
    let mut peers = HashMap::new();
    while talked.len() < CLIENTS || talked.values().any(|bytes: &Vec<u8>| bytes.len() < 4) {
        for told in world.turn() {
            match told {
                Told::Accepted(on, stream, peer) => {
                    assert_eq!(on, listener);
                    let conn = world.reactor.adopt(stream);
                    assert!(peers.insert(peer, conn).is_none() && talked.insert(conn, Vec::new()).is_none());
                }
                Told::Received(conn, bytes) => talked.get_mut(&conn).expect("adopted").extend(bytes),
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
    let clients = storm.join().expect("the storm is content");
    for (n, client) in clients.iter().enumerate() {
        let conn = peers[&client.local_addr().expect("an address")];
        assert_eq!(talked[&conn], (n as u32).to_le_bytes());
    }
    drop(clients);
    for _ in 0..CLIENTS {
        world.until(|told| matches!(told, Told::Closed(_, Cause::Peer)).then_some(()));
    }
}

fn nobody_is_accepted_after_listening_stopped(mut world: World) {
    let (listener, address) = world.listen();
    let _client = TcpStream::connect(address).expect("connected");
    world.until(|told| matches!(told, Told::Accepted(..)).then_some(()));
    world.reactor.stop_listening(listener);
    world.reactor.stop_listening(listener);
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect(address).is_ok() {
        assert!(world.turn_now().is_empty());
        assert!(Instant::now() < deadline, "the listening socket is closed");
    }
}

fn a_wake_ends_the_sleep_also_if_it_came_before(mut world: World) {
    let waker = world.reactor.waker();
    waker.wake();
    waker.wake();
    assert!(matches!(world.turn()[..], [Told::Woken]));
    assert!(world.turn_now().is_empty(), "two wakes before a turn are one");
    for _ in 0..100 {
        let waker = waker.clone();
        let other = thread::spawn(move || waker.wake());
        world.until(|told| matches!(told, Told::Woken).then_some(()));
        other.join().expect("woken");
    }
    let early = Waker::new().expect("a waker");
    early.wake();
    world.reactor = Reactor::open_with(world.kind, &Options::default(), early).expect("opened before");
    assert!(matches!(world.turn()[..], [Told::Woken]));
}

fn durable_writes_reach_the_file_and_give_their_buffers_back(mut world: World) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = directory.path().join("log");
    std::fs::write(&path, vec![0; 1 << 20]).expect("zeros");
    // O_DIRECT is refused by tmpfs and some overlays.
    let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&path);
    let file = Arc::new(direct.or_else(|_| OpenOptions::new().write(true).open(&path)).expect("opened"));
    const WRITES: usize = 40;
    let mut written = [false; WRITES];
    for n in 0..WRITES {
        let mut buffer = AlignedBuf::from(&vec![n as u8 + 1; 5000][..]);
        buffer.pad_to_page();
        world.reactor.write_durable(n as u64, file.clone(), n as u64 * 8192, buffer, n % 2 == 0);
        if n % 2 == 1 {
            for _ in 0..2 {
                let (token, result, buffer) = world.written();
                assert_eq!(result.expect("written"), 8192);
                assert_eq!((buffer.len(), buffer[0]), (8192, token as u8 + 1));
                assert!(!std::mem::replace(&mut written[token as usize], true), "told once");
            }
        }
    }
    let content = std::fs::read(&path).expect("read");
    for n in 0..WRITES {
        assert!(content[n * 8192..][..5000].iter().all(|&byte| byte == n as u8 + 1));
        assert!(content[n * 8192 + 5000..][..8192 - 5000].iter().all(|&byte| byte == 0));
    }
    assert_eq!(Arc::strong_count(&file), 1);
}

fn a_write_that_fails_says_so_and_gives_its_buffer_back(mut world: World) {
    let full = Arc::new(OpenOptions::new().write(true).open("/dev/full").expect("opened"));
    world.reactor.write_durable(1, full, 0, AlignedBuf::zeroed(4096), false);
    let (token, result, buffer) = world.written();
    assert_eq!((token, result.expect_err("full").raw_os_error(), buffer.len()), (1, Some(libc::ENOSPC), 4096));
    let readable = Arc::new(File::open("/dev/null").expect("opened"));
    world.reactor.write_durable(2, readable, 0, AlignedBuf::zeroed(4096), true);
    let (token, result, _) = world.written();
    assert_eq!((token, result.expect_err("not writable").raw_os_error()), (2, Some(libc::EBADF)));
}

fn dropping_lets_go_of_everything_that_is_under_way(mut world: World) {
    let (_listener, address) = world.listen();
    let _in_the_backlog = TcpStream::connect(address).expect("connected");
    let (mut stuck_client, stuck) = world.connect();
    let (mut quiet_client, _quiet) = world.connect();
    let file = tempfile::tempfile().expect("a file");
    let content = pattern(8 << 20);
    world.reactor.send(stuck, vec![1; 64 << 20]);
    let file = Arc::new(file);
    world.reactor.write_durable(1, file.clone(), 0, AlignedBuf::from(&content[..]), true);
    world.reactor.submit().expect("submitted");
    let (_, other) = world.connect();
    world.reactor.send(other, vec![2; 1000]);
    drop(world);
    let file = Arc::into_inner(file).expect("the reactor has let go of the file");
    let mut received = vec![0; content.len()];
    file.read_exact_at(&mut received, 0).expect("a write is waited for");
    assert!(received == content);
    let mut rest = Vec::new();
    assert!(matches!(quiet_client.read_to_end(&mut rest), Ok(0)));
    // Whatever was under way to the other, it ends.
    stuck_client.read_to_end(&mut rest).ok();
    assert!(rest.len() < 64 << 20);
}

fn calls_with_the_id_of_a_closed_connection_do_nothing(mut world: World) {
    let (_client, old) = world.connect();
    world.reactor.close(old);
    world.closed_as(old, |cause| matches!(cause, Cause::Local));
    let (mut client, new) = world.connect();
    assert_ne!(old, new);
    world.reactor.send(old, b"for nobody".to_vec());
    world.reactor.pause(old);
    world.reactor.resume(old);
    world.reactor.close(old);
    world.reactor.abort(old);
    client.write_all(b"still here").expect("written");
    assert_eq!(world.receive(new, 10), b"still here");
}

fn more_talkers_than_receive_buffers_are_all_heard(mut world: World) {
    world.reopen(&Options { buffers: 2, buffer_bytes: 64, ..Options::default() });
    let content = pattern(5000);
    let mut talkers: Vec<_> = (0..40).map(|_| world.connect()).collect();
    for (client, _) in &mut talkers {
        client.write_all(&content).expect("written");
    }
    let mut heard: HashMap<ConnId, Vec<u8>> = HashMap::new();
    while heard.len() < 40 || heard.values().any(|bytes| bytes.len() < content.len()) {
        for told in world.turn() {
            match told {
                Told::Received(conn, bytes) => {
                    assert!(bytes.len() <= 64);
                    heard.entry(conn).or_default().extend(bytes);
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
    assert!(talkers.iter().all(|(_, conn)| heard[conn] == content));
}

fn more_sends_than_queue_entries_are_all_sent(mut world: World) {
    world.reopen(&Options { entries: 4, completions: 8, ..Options::default() });
    let mut clients: Vec<_> = (0..100).map(|_| world.connect()).collect();
    for (n, (_, conn)) in clients.iter().enumerate() {
        world.reactor.send(*conn, vec![n as u8; 100]);
    }
    for _ in 0..clients.len() {
        world.until(|told| matches!(told, Told::Sent(..)).then_some(()));
    }
    for (n, (client, _)) in clients.iter_mut().enumerate() {
        let mut bytes = [0; 100];
        client.read_exact(&mut bytes).expect("read");
        assert_eq!(bytes, [n as u8; 100]);
    }
}

fn an_empty_send_is_told_as_sent(mut world: World) {
    let (_client, conn) = world.connect();
    world.reactor.send(conn, Vec::new());
    world.until(|told| matches!(told, Told::Sent(to, _) if to == conn).then_some(()));
}

fn a_second_send_is_refused_while_one_is_under_way(mut world: World) {
    let (_client, conn) = world.connect();
    world.reactor.send(conn, vec![1; 64 << 20]);
    let second = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.reactor.send(conn, vec![1])));
    assert!(second.is_err());
}

fn turning_without_waiting_returns_at_once(mut world: World) {
    let (_client, _conn) = world.connect();
    for _ in 0..1000 {
        assert!(world.turn_now().is_empty());
    }
    let before = Instant::now();
    assert_eq!(world.reactor.turn(Wait::AtMost(Duration::from_millis(5)), |_| {}).expect("turned"), 0);
    assert!(before.elapsed() >= Duration::from_millis(4));
}

fn who_stays_awake_hears_what_comes_and_sleeps_behind_the_moment(mut world: World) {
    world.reopen(&Options { alert: Duration::from_millis(1), ..Options::default() });
    let waker = world.reactor.waker();
    for _ in 0..20 {
        waker.wake();
        assert!(matches!(world.turn_for(Wait::Alert(DEADLINE))[..], [Told::Woken]));
    }
    for _ in 0..100 {
        let waker = waker.clone();
        let other = thread::spawn(move || waker.wake());
        assert!(matches!(world.turn_for(Wait::Alert(DEADLINE))[..], [Told::Woken]));
        other.join().expect("woken");
    }
    let before = Instant::now();
    assert!(world.turn_for(Wait::Alert(Duration::from_millis(5))).is_empty());
    assert!(before.elapsed() >= Duration::from_millis(4));
}

#[test]
fn the_automatic_choice_says_what_it_chose_and_why() {
    let reactor = Reactor::open(Kind::Auto, &Options::default()).expect("one of the two opens");
    match (reactor.backend(), Reactor::open(Kind::Uring, &Options::default())) {
        (Backend::Uring, Ok(_)) => assert_eq!(reactor.backend().to_string(), "io_uring"),
        (Backend::Epoll { refused: Some(error) }, Err(again)) => assert_eq!(error.kind(), again.kind()),
        (chosen, _) => panic!("unexpected: {chosen}"),
    }
    let forced = Reactor::open(Kind::Epoll, &Options::default()).expect("epoll opens");
    assert_eq!(forced.backend().to_string(), "epoll");
}

/// A container's seccomp profile commonly answers io_uring with an error. Nothing may fail because of that.
#[test]
fn where_io_uring_is_forbidden_the_automatic_choice_falls_back_and_files_are_still_written() {
    // The filter holds for one thread and those that it starts.
    let contained = thread::spawn(|| {
        forbid_io_uring();
        let refused = Reactor::open(Kind::Uring, &Options::default()).expect_err("forbidden");
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        let reactor = Reactor::open(Kind::Auto, &Options::default()).expect("falls back");
        assert!(matches!(reactor.backend(), Backend::Epoll { refused: Some(_) }));
        assert!(reactor.backend().to_string().starts_with("epoll, since io_uring is refused: "));
        a_storm_of_clients_is_accepted_completely(World::of(reactor, Kind::Auto));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("snapshot");
        let content = pattern(3 << 20);
        uring::files::with_file_writer(&path, true, |writer| writer.write_all(&content)).expect("written");
        assert!(std::fs::read(&path).expect("read") == content);
    });
    contained.join().expect("the contained thread is content");
}

/// Descriptors run out while clients wait to be accepted. A careless loop spins, or gives the listener up. The limit holds for a
/// whole process, so the story is told in one of its own.
#[test]
fn running_out_of_descriptors_neither_spins_nor_ends_accepting() {
    const CHILD: &str = "RINGKEEPER_TEST_OUT_OF_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let output = std::process::Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "running_out_of_descriptors_neither_spins_nor_ends_accepting", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    for kind in [Kind::Uring, Kind::Epoll] {
        tell(kind, |mut world| {
            world.reopen(&Options { accept_rest: Duration::from_millis(10), ..Options::default() });
            let (listener, address) = world.listen();
            let _client = TcpStream::connect(address).expect("connected");
            // Before the first turn: a ring remembers the limit of the moment in which accepting was asked for.
            let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            let low = rustix::process::Rlimit { current: Some(3), maximum: before.maximum };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, low).expect("lowered");
            let (mut failures, mut turns) = (0, 0);
            let end = Instant::now() + Duration::from_millis(100);
            while Instant::now() < end {
                turns += 1;
                for told in world.turn_at_most(end.saturating_duration_since(Instant::now())) {
                    match told {
                        Told::AcceptFailed(on, error) => {
                            assert_eq!((on, error.raw_os_error()), (listener, Some(libc::EMFILE)));
                            failures += 1;
                        }
                        other => panic!("unexpected: {other:?}"),
                    }
                }
            }
            rustix::process::setrlimit(rustix::process::Resource::Nofile, before).expect("raised");
            assert_eq!(failures, 1, "told once");
            assert!(turns < 60, "{turns} turns in ten rests");
            world.until(|told| matches!(told, Told::Accepted(..)).then_some(()));
        });
    }
}

// ---- what the stories stand on ----

/// No working machine takes so long.
const DEADLINE: Duration = Duration::from_secs(60);

fn tell(kind: Kind, story: impl FnOnce(World)) {
    match Reactor::open(kind, &Options::default()) {
        Ok(reactor) => story(World::of(reactor, kind)),
        Err(error) if kind == Kind::Uring => eprintln!("not tested here, as io_uring is refused: {error}"),
        Err(error) => panic!("epoll is refused: {error}"),
    }
}

struct World {
    reactor: Reactor,
    kind: Kind,
    closed: Option<Cause>,
    /// Told, but not asked for yet.
    later: Vec<Told>,
}

/// An event that has outlived its turn.
#[derive(Debug)]
enum Told {
    Accepted(ListenerId, OwnedFd, SocketAddr),
    AcceptFailed(ListenerId, io::Error),
    Received(ConnId, Vec<u8>),
    Sent(ConnId, Vec<u8>),
    Closed(ConnId, Cause),
    Written(u64, io::Result<usize>, AlignedBuf),
    Woken,
}

impl World {
    fn of(reactor: Reactor, kind: Kind) -> World {
        World { reactor, kind, closed: None, later: Vec::new() }
    }

    fn reopen(&mut self, options: &Options) {
        self.reactor = Reactor::open(self.kind, options).expect("opened before");
    }

    fn connect(&mut self) -> (TcpStream, ConnId) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        client.set_read_timeout(Some(DEADLINE)).expect("set");
        client.set_nodelay(true).expect("set");
        let (server, _) = listener.accept().expect("accepted");
        (client, self.reactor.adopt(server))
    }

    fn listen(&mut self) -> (ListenerId, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        (self.reactor.listen(listener), address)
    }

    /// One turn that waits until something is told.
    fn turn(&mut self) -> Vec<Told> {
        if !self.later.is_empty() {
            return std::mem::take(&mut self.later);
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            let told = self.turn_at_most(deadline.saturating_duration_since(Instant::now()));
            if !told.is_empty() {
                return told;
            }
            assert!(Instant::now() < deadline, "nothing happens any more");
        }
    }

    fn turn_now(&mut self) -> Vec<Told> {
        let mut told = std::mem::take(&mut self.later);
        told.extend(self.turn_for(Wait::No));
        told
    }

    fn turn_at_most(&mut self, time: Duration) -> Vec<Told> {
        self.turn_for(Wait::AtMost(time))
    }

    fn turn_for(&mut self, wait: Wait) -> Vec<Told> {
        let mut told = Vec::new();
        let count = self
            .reactor
            .turn(wait, |event| {
                told.push(match event {
                    Event::Accepted { listener, stream, peer } => Told::Accepted(listener, stream, peer),
                    Event::AcceptFailed { listener, error } => Told::AcceptFailed(listener, error),
                    Event::Received { conn, bytes } => Told::Received(conn, bytes.to_vec()),
                    Event::Sent { conn, buffer } => Told::Sent(conn, buffer),
                    Event::Closed { conn, cause } => Told::Closed(conn, cause),
                    Event::Written { token, result, buffer } => Told::Written(token, result, buffer),
                    Event::Woken => Told::Woken,
                });
            })
            .expect("turned");
        assert_eq!(count, told.len());
        told
    }

    /// Turns until `wanted` takes an event; nothing else may be told before.
    fn until<R>(&mut self, wanted: impl Fn(Told) -> Option<R>) -> R {
        let mut told = self.turn().into_iter();
        let first = told.next().expect("a turn that waits tells something");
        self.later = told.collect();
        let description = format!("{first:.0?}");
        wanted(first).unwrap_or_else(|| panic!("unexpected: {}", &description[..description.len().min(200)]))
    }

    fn receive(&mut self, conn: ConnId, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < len {
            all.extend(self.until(|told| match told {
                Told::Received(from, bytes) if from == conn => Some(bytes),
                _ => None,
            }));
        }
        assert_eq!(all.len(), len);
        all
    }

    fn written(&mut self) -> (u64, io::Result<usize>, AlignedBuf) {
        self.until(|told| match told {
            Told::Written(token, result, buffer) => Some((token, result, buffer)),
            _ => None,
        })
    }

    fn sent_before_closed(&mut self, conn: ConnId) -> bool {
        self.until(|told| matches!(told, Told::Sent(to, _) if to == conn).then_some(true))
    }

    fn closed_as(&mut self, conn: ConnId, expected: impl Fn(&Cause) -> bool) {
        let cause = self.until(|told| match told {
            Told::Closed(which, cause) if which == conn => Some(cause),
            _ => None,
        });
        assert!(expected(&cause), "{cause:?}");
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

/// Closes a socket in the way that sends a reset.
fn reset(client: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("set");
    assert!(client.as_raw_fd() >= 0);
}

/// From now on `io_uring_setup` fails in this thread, with the error that container profiles choose.
fn forbid_io_uring() {
    // seccomp(2), bpf(4): load the number of the system call; if it is that one answer EPERM, else allow.
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes plain numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the kernel copies the program, which outlives the call, as does the filter that it points to.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}
