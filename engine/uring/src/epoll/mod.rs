//! The epoll backend, for machines that refuse io_uring: the same requests, the same events, a system call each.
//!
//! Connections are watched edge-triggered, once and for all, and remember what they are ready for, so that pausing and resuming cost nothing.
//! A turn: try the sends, poll (which only marks what is ready), then one receive per ready connection, as a ring would have it.
//! Kept out: blocking. Log writes are the helper thread's.

mod helper;

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use aligned::AlignedBuf;
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    io::Errno,
    net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send},
};

use self::helper::{Helper, Job};
use crate::{
    Cause, ConnId, Event, ListenerId, Options, Wait, Waker,
    alertness::Alertness,
    slab::{Key, Slab},
    socket,
};

/// Clients accepted per listener and turn, so that a storm of them does not starve the others.
const ACCEPTS_PER_TURN: usize = 64;

/// Events per poll; those left over come with the next.
const EVENTS_PER_POLL: usize = 256;

pub(crate) struct Epoll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    waker: Waker,
    /// Where all receives go, one after the other.
    scratch: Box<[u8]>,
    ready: VecDeque<Event<'static>>,
    alertness: Alertness,
    conns: Slab<Conn>,
    /// Connections with bytes to be received.
    to_receive: Vec<Key>,
    /// Connections with bytes to be sent, and room for them.
    to_send: Vec<Key>,
    listeners: Slab<Listener>,
    accept_rest: Duration,
    helper: Option<Helper>,
    helper_bell: Waker,
    woken: bool,
}

/// open ──▶ ending (no more receives) ──▶ removed, as soon as no send is under way
struct Conn {
    stream: OwnedFd,
    paused: bool,
    /// In `to_receive`.
    listed: bool,
    readable: bool,
    writable: bool,
    /// The client has ended its side: only a receive of nothing says that all was received.
    hung_up: bool,
    sending: Option<Sending>,
    ending: Option<Cause>,
}

struct Sending {
    bytes: Vec<u8>,
    sent: usize,
}

struct Listener {
    socket: OwnedFd,
    readable: bool,
    /// Accepting failed, which was told, and has not succeeded since.
    failing: bool,
    rests_until: Option<Instant>,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Source {
    Waker,
    Helper,
    Listener,
    Conn,
}

const SOURCES: [Source; 4] = [Source::Waker, Source::Helper, Source::Listener, Source::Conn];

fn name(source: Source, index: u32) -> EventData {
    EventData::new_u64((source as u64) << 32 | u64::from(index))
}

impl Epoll {
    pub(crate) fn open(options: &Options, waker: Waker) -> io::Result<Epoll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let helper_bell = Waker::new()?;
        epoll::add(&epoll, &waker, name(Source::Waker, 0), EventFlags::IN)?;
        epoll::add(&epoll, &helper_bell, name(Source::Helper, 0), EventFlags::IN)?;
        Ok(Epoll {
            epoll,
            events: Vec::with_capacity(EVENTS_PER_POLL),
            waker,
            scratch: vec![0; options.buffer_bytes.max(1) as usize].into_boxed_slice(),
            ready: VecDeque::new(),
            alertness: Alertness::new(options.alert),
            conns: Slab::new(),
            to_receive: Vec::new(),
            to_send: Vec::new(),
            listeners: Slab::new(),
            accept_rest: options.accept_rest,
            helper: None,
            helper_bell,
            woken: false,
        })
    }

    pub(crate) fn listen(&mut self, socket: OwnedFd) -> ListenerId {
        let prepared = socket::set_blocking(&socket, false);
        let key = self.listeners.insert(Listener { socket, readable: true, failing: false, rests_until: None });
        let listener = ListenerId(key);
        let place = self.listeners.get_mut(key).expect("just inserted");
        let watched = prepared.and_then(|()| {
            let flags = EventFlags::IN | EventFlags::ET;
            Ok(epoll::add(&self.epoll, &place.socket, name(Source::Listener, key.index), flags)?)
        });
        if let Err(error) = watched {
            self.ready.push_back(Event::AcceptFailed { listener, error });
        }
        listener
    }

    pub(crate) fn stop_listening(&mut self, listener: ListenerId) {
        if let Some(place) = self.listeners.remove(listener.0) {
            // Fails only if it could not be added; closing it would do as well, unless the descriptor was duplicated.
            epoll::delete(&self.epoll, &place.socket).ok();
        }
    }

    pub(crate) fn adopt(&mut self, stream: OwnedFd) -> ConnId {
        let prepared = socket::prepare_stream(&stream, false);
        let key = self.conns.insert(Conn {
            stream,
            paused: false,
            listed: false,
            // Adding it to the epoll tells what it is ready for.
            readable: false,
            writable: true,
            hung_up: false,
            sending: None,
            ending: None,
        });
        let place = self.conns.get_mut(key).expect("just inserted");
        let watched = prepared.and_then(|()| {
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            Ok(epoll::add(&self.epoll, &place.stream, name(Source::Conn, key.index), flags)?)
        });
        if let Err(error) = watched {
            self.end(key, Cause::Error(error));
        }
        ConnId(key)
    }

    pub(crate) fn pause(&mut self, conn: ConnId) {
        if let Some(place) = self.conns.get_mut(conn.0) {
            place.paused = true;
        }
    }

    pub(crate) fn resume(&mut self, conn: ConnId) {
        if let Some(place) = self.conns.get_mut(conn.0) {
            place.paused = false;
            self.receive_again(conn.0);
        }
    }

    pub(crate) fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let Some(place) = self.conns.get_mut(conn.0) else { return };
        assert!(place.sending.is_none(), "one send at a time: {conn:?} has one under way");
        if place.ending.is_some() {
            return;
        }
        if bytes.is_empty() {
            self.ready.push_back(Event::Sent { conn, buffer: bytes });
            return;
        }
        place.sending = Some(Sending { bytes, sent: 0 });
        if place.writable {
            self.to_send.push(conn.0);
        }
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        self.end(conn.0, Cause::Local);
    }

    pub(crate) fn abort(&mut self, conn: ConnId) {
        if let Some(place) = self.conns.get_mut(conn.0) {
            place.sending = None;
            self.end(conn.0, Cause::Local);
            // It may have been ending before, waiting for that send.
            self.settle(conn.0);
        }
    }

    pub(crate) fn write_durable(&mut self, token: u64, file: Arc<File>, offset: u64, buffer: AlignedBuf, sync: bool) {
        if self.helper.is_none() {
            match Helper::start(self.helper_bell.clone()) {
                Ok(helper) => self.helper = Some(helper),
                Err(error) => {
                    self.ready.push_back(Event::Written { token, result: Err(error), buffer });
                    return;
                }
            }
        }
        if let Some(helper) = &self.helper {
            helper.give(Job { token, file, offset, buffer, sync });
        }
    }

    pub(crate) fn submit(&mut self) -> io::Result<()> {
        self.send_all();
        Ok(())
    }

    pub(crate) fn turn(&mut self, wait: Wait, mut sink: impl FnMut(Event<'_>)) -> io::Result<usize> {
        self.send_all();
        let patience = self.patience(wait);
        if matches!(wait, Wait::Alert(_)) && patience != Some(Duration::ZERO) {
            self.rest(patience)?;
        } else {
            self.poll(patience)?;
        }
        self.send_all();
        let mut told = 0;
        let mut tell = |event: Event<'_>| {
            told += 1;
            sink(event);
        };
        if std::mem::take(&mut self.woken) {
            tell(Event::Woken);
        }
        while let Some(event) = self.ready.pop_front() {
            tell(event);
        }
        if let Some(helper) = &self.helper {
            while let Some(done) = helper.done() {
                tell(Event::Written { token: done.token, result: done.result, buffer: done.buffer });
            }
        }
        self.accept_all(&mut tell);
        self.receive_all(&mut tell);
        while let Some(event) = self.ready.pop_front() {
            tell(event);
        }
        Ok(told)
    }

    /// How long to wait: `None` is for ever.
    fn patience(&mut self, wait: Wait) -> Option<Duration> {
        if wait == Wait::No || !self.ready.is_empty() || !self.to_receive.is_empty() {
            return Some(Duration::ZERO);
        }
        let mut patience = wait.longest();
        for (_, place) in self.listeners.iter_mut().filter(|(_, place)| place.readable) {
            let rest = match place.rests_until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::ZERO,
            };
            patience = Some(patience.map_or(rest, |time| time.min(rest)));
        }
        patience
    }

    /// Waits, awake for the first moment if that has paid.
    fn rest(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let (began, alertness) = (Instant::now(), self.alertness);
        let found = alertness.finds(began, || {
            self.poll(Some(Duration::ZERO))?;
            Ok(!self.events.is_empty())
        })?;
        if !found {
            self.poll(patience)?;
        }
        self.alertness.waited(began.elapsed());
        Ok(())
    }

    /// Marks what is ready for what, and does nothing about it.
    fn poll(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let timeout = patience.map(|time| Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for position in 0..self.events.len() {
            let event = self.events[position];
            // By value, as the event is packed.
            let (flags, data) = (event.flags, event.data.u64());
            let index = data as u32;
            match SOURCES[(data >> 32) as usize] {
                Source::Waker => {
                    self.waker.clear();
                    self.woken = true;
                }
                Source::Helper => self.helper_bell.clear(),
                Source::Listener => {
                    if let Some((_, place)) = self.listeners.at(index) {
                        place.readable = true;
                    }
                }
                Source::Conn => self.mark(index, flags),
            }
        }
        Ok(())
    }

    fn mark(&mut self, index: u32, flags: EventFlags) {
        let Some((key, place)) = self.conns.at(index) else { return };
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            place.readable = true;
            place.hung_up |= broken || flags.contains(EventFlags::RDHUP);
        }
        if (broken || flags.contains(EventFlags::OUT)) && !place.writable {
            place.writable = true;
            if place.sending.is_some() {
                self.to_send.push(key);
            }
        }
        self.receive_again(key);
    }

    fn send_all(&mut self) {
        for key in std::mem::take(&mut self.to_send) {
            self.send_rest(key);
        }
    }

    fn send_rest(&mut self, key: Key) {
        let Some(place) = self.conns.get_mut(key) else { return };
        let Some(sending) = &mut place.sending else { return };
        while sending.sent < sending.bytes.len() {
            match send(&place.stream, &sending.bytes[sending.sent..], SendFlags::NOSIGNAL) {
                Ok(sent) => sending.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    place.writable = false;
                    return;
                }
                Err(error) => {
                    place.sending = None;
                    self.end(key, Cause::Error(error.into()));
                    // It may have been ending before, waiting for this send.
                    self.settle(key);
                    return;
                }
            }
        }
        let mut buffer = std::mem::take(&mut sending.bytes);
        buffer.clear();
        place.sending = None;
        self.ready.push_back(Event::Sent { conn: ConnId(key), buffer });
        self.settle(key);
    }

    fn accept_all(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        for (key, place) in self.listeners.iter_mut().filter(|(_, place)| place.readable) {
            if place.rests_until.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            place.rests_until = None;
            let listener = ListenerId(key);
            for _ in 0..ACCEPTS_PER_TURN {
                match accept_with(&place.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                    Ok(stream) => {
                        place.failing = false;
                        // A client without an address is gone again.
                        if let Some(peer) = socket::peer(&stream) {
                            tell(Event::Accepted { listener, stream, peer });
                        }
                    }
                    Err(Errno::AGAIN) => {
                        place.readable = false;
                        break;
                    }
                    Err(error) => {
                        let error = io::Error::from(error);
                        if !socket::concerns_one_client(&error) {
                            place.rests_until = Some(Instant::now() + self.accept_rest);
                            if !std::mem::replace(&mut place.failing, true) {
                                tell(Event::AcceptFailed { listener, error });
                            }
                            break;
                        }
                    }
                }
            }
        }
    }

    fn receive_all(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        for key in std::mem::take(&mut self.to_receive) {
            let Some(place) = self.conns.get_mut(key) else { continue };
            place.listed = false;
            if place.paused || place.ending.is_some() {
                continue;
            }
            match recv(&place.stream, &mut self.scratch[..], RecvFlags::empty()) {
                Ok((0, _)) => self.end(key, Cause::Peer),
                Ok((len, _)) => {
                    // A receive that leaves room has emptied the socket (epoll(7)); what comes later is an edge again. Only the end
                    // of the stream has had its edge, and still has to be received.
                    place.readable = len == self.scratch.len() || place.hung_up;
                    tell(Event::Received { conn: ConnId(key), bytes: &self.scratch[..len] });
                }
                Err(Errno::AGAIN) => place.readable = false,
                Err(Errno::INTR) => {}
                Err(error) => self.end(key, Cause::Error(error.into())),
            }
            self.receive_again(key);
        }
    }

    /// Lists a connection to be received from in the next turn, unless it is already, or that would be wrong.
    fn receive_again(&mut self, key: Key) {
        if let Some(place) = self.conns.get_mut(key)
            && place.readable
            && !(place.listed || place.paused || place.ending.is_some())
        {
            place.listed = true;
            self.to_receive.push(key);
        }
    }

    /// Starts the end of a connection; the first cause stands.
    fn end(&mut self, key: Key, cause: Cause) {
        let Some(place) = self.conns.get_mut(key) else { return };
        if place.ending.is_none() {
            if matches!(cause, Cause::Error(_)) {
                // What the other direction waits for will not come.
                place.sending = None;
            }
            place.ending = Some(cause);
            self.settle(key);
        }
    }

    /// Removes a connection that is ending as soon as no send is under way on it.
    fn settle(&mut self, key: Key) {
        if let Some(place) = self.conns.get_mut(key)
            && place.sending.is_none()
            && let Some(cause) = place.ending.take()
            && let Some(conn) = self.conns.remove(key)
        {
            // Closing it would do as well, unless the descriptor was duplicated.
            epoll::delete(&self.epoll, &conn.stream).ok();
            socket::finish(conn.stream);
            self.ready.push_back(Event::Closed { conn: ConnId(key), cause });
        }
    }
}
