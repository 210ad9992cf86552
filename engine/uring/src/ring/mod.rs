//! The io_uring backend: one ring per thread, driven only by that thread.
//!
//! ```text
//!   request ──▶ backlog ──▶ submission queue ──enter──▶ kernel ──▶ completion queue ──▶ reaped ──▶ sink
//!               (no call)      (in order)                                (only queues)
//! ```
//!
//! An operation is named by its kind and the place of what it works on (connection, listener, write). A place is not freed while an operation
//! on it is under way, so the name of a completion is never stale, and what the kernel borrows stays owned by the place. A
//! connection is received from by one shot at a time, re-armed at the start of a turn: not re-arming is the whole back-pressure.
//! Kept out: polled rings (IOPOLL, SQPOLL), which are ruinous where there are few cores.

mod buffers;

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
    sync::Arc,
    time::{Duration, Instant},
};

use aligned::AlignedBuf;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use self::buffers::Buffers;
use crate::{
    Cause, ConnId, Event, ListenerId, Options, Wait, Waker,
    alertness::Alertness,
    slab::{Key, Slab},
    socket,
};

/// Wait for readiness first, instead of trying: for sockets known to be empty. (`IORING_RECVSEND_POLL_FIRST`, linux/io_uring.h.)
const POLL_FIRST: u16 = 1;

/// `IORING_ENTER_GETEVENTS` and `IORING_ENTER_EXT_ARG` of linux/io_uring.h.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;

pub(crate) struct Ring {
    /// Before everything that the kernel may borrow, so that it is closed first.
    ring: IoUring,
    buffers: Buffers,
    /// Receives the value of the waker's eventfd.
    wakes: Box<u64>,
    waker: Waker,
    waking: bool,
    /// Entries that await room in the submission queue.
    backlog: VecDeque<squeue::Entry>,
    /// Operations that the kernel has, or finds in the submission queue.
    under_way: usize,
    reaped: VecDeque<Completion>,
    /// What is to be told at the end of the next turn.
    ready: VecDeque<Event<'static>>,
    alertness: Alertness,
    conns: Slab<Conn>,
    /// Connections to receive from, as of the next turn.
    to_receive: Vec<Key>,
    listeners: Slab<Listener>,
    /// Whether some listener is neither armed nor removed.
    to_accept: bool,
    accept_rest: Duration,
    writes: Slab<Write>,
}

/// open ──▶ ending (no more receives) ──▶ removed, as soon as neither a receive nor a send is under way
struct Conn {
    stream: OwnedFd,
    paused: bool,
    /// In `to_receive`.
    listed: bool,
    receiving: bool,
    /// The last receive left bytes behind, so the next need not wait for any.
    more_expected: bool,
    sending: Option<Sending>,
    ending: Option<Cause>,
}

struct Sending {
    bytes: Vec<u8>,
    sent: usize,
}

struct Listener {
    socket: OwnedFd,
    armed: bool,
    stopping: bool,
    /// Accepting failed, which was told, and has not succeeded since.
    failing: bool,
    rests_until: Option<Instant>,
}

struct Write {
    token: u64,
    file: Arc<File>,
    offset: u64,
    buffer: AlignedBuf,
    written: usize,
    sync: bool,
}

struct Completion {
    name: u64,
    result: i32,
    flags: u32,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Op {
    Wake,
    Accept,
    Receive,
    Send,
    Write,
    Cancel,
}

const OPS: [Op; 6] = [Op::Wake, Op::Accept, Op::Receive, Op::Send, Op::Write, Op::Cancel];

const fn name(op: Op, index: u32) -> u64 {
    (op as u64) << 32 | index as u64
}

impl Ring {
    pub(crate) fn open(options: &Options, waker: Waker) -> io::Result<Ring> {
        let ring = build(options)?;
        let buffers = Buffers::register(&ring.submitter(), options.buffers, options.buffer_bytes)?;
        Ok(Ring {
            ring,
            buffers,
            wakes: Box::new(0),
            waker,
            waking: false,
            backlog: VecDeque::new(),
            under_way: 0,
            reaped: VecDeque::new(),
            ready: VecDeque::new(),
            alertness: Alertness::new(options.alert),
            conns: Slab::new(),
            to_receive: Vec::new(),
            listeners: Slab::new(),
            to_accept: false,
            accept_rest: options.accept_rest,
            writes: Slab::new(),
        })
    }

    pub(crate) fn listen(&mut self, socket: OwnedFd) -> ListenerId {
        // If that fails, so does accepting, which is told.
        socket::set_blocking(&socket, true).ok();
        self.to_accept = true;
        ListenerId(self.listeners.insert(Listener {
            socket,
            armed: false,
            stopping: false,
            failing: false,
            rests_until: None,
        }))
    }

    pub(crate) fn stop_listening(&mut self, listener: ListenerId) {
        let Some(place) = self.listeners.get_mut(listener.0) else { return };
        if !place.armed {
            self.listeners.remove(listener.0);
        } else if !place.stopping {
            place.stopping = true;
            self.cancel(Op::Accept, listener.0.index);
        }
    }

    pub(crate) fn adopt(&mut self, stream: OwnedFd) -> ConnId {
        let prepared = socket::prepare_stream(&stream, true);
        let key = self.conns.insert(Conn {
            stream,
            paused: false,
            listed: true,
            receiving: false,
            more_expected: true,
            sending: None,
            ending: prepared.err().map(Cause::Error),
        });
        self.to_receive.push(key);
        self.settle(key);
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
        self.send_rest(conn.0);
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        self.end(conn.0, Cause::Local);
    }

    pub(crate) fn abort(&mut self, conn: ConnId) {
        if let Some(place) = self.conns.get_mut(conn.0) {
            // A send that waits for the client to read fails by this.
            socket::cut(&place.stream);
            self.end(conn.0, Cause::Local);
        }
    }

    pub(crate) fn write_durable(&mut self, token: u64, file: Arc<File>, offset: u64, buffer: AlignedBuf, sync: bool) {
        let key = self.writes.insert(Write { token, file, offset, buffer, written: 0, sync });
        self.write_rest(key.index);
    }

    pub(crate) fn submit(&mut self) -> io::Result<()> {
        self.arm();
        self.enter(Some(Duration::ZERO))
    }

    pub(crate) fn turn(&mut self, wait: Wait, mut sink: impl FnMut(Event<'_>)) -> io::Result<usize> {
        self.arm();
        let patience = self.patience(wait);
        if matches!(wait, Wait::Alert(_)) && patience != Some(Duration::ZERO) {
            self.rest(patience)?;
        } else {
            self.enter(patience)?;
        }
        self.reap();
        let mut told = 0;
        let mut tell = |event: Event<'_>| {
            told += 1;
            sink(event);
        };
        while let Some(completion) = self.reaped.pop_front() {
            self.complete(&completion, &mut tell);
        }
        while let Some(event) = self.ready.pop_front() {
            tell(event);
        }
        Ok(told)
    }

    // ---- before the kernel ----

    /// Asks for what is always asked for: wakes, clients, and bytes of the connections that are not paused.
    fn arm(&mut self) {
        if !self.waking {
            self.waking = true;
            let fd = types::Fd(self.waker.as_fd().as_raw_fd());
            let read = opcode::Read::new(fd, ptr::from_mut(&mut *self.wakes).cast(), 8).build();
            self.push(read.user_data(name(Op::Wake, 0)));
        }
        if self.to_accept {
            self.arm_listeners();
        }
        for key in std::mem::take(&mut self.to_receive) {
            let Some(place) = self.conns.get_mut(key) else { continue };
            place.listed = false;
            if place.paused || place.ending.is_some() {
                continue;
            }
            debug_assert!(!place.receiving, "one receive at a time");
            place.receiving = true;
            // The length 0 means: as much as the buffer takes.
            let receive = opcode::Recv::new(types::Fd(place.stream.as_raw_fd()), ptr::null_mut(), 0)
                .buf_group(buffers::GROUP)
                .ioprio(if place.more_expected { 0 } else { POLL_FIRST })
                .build()
                .flags(squeue::Flags::BUFFER_SELECT);
            self.push(receive.user_data(name(Op::Receive, key.index)));
        }
    }

    fn arm_listeners(&mut self) {
        self.to_accept = false;
        let mut accepts = Vec::new();
        for (key, place) in self.listeners.iter_mut().filter(|(_, place)| !place.armed) {
            if place.rests_until.is_some_and(|until| Instant::now() < until) {
                self.to_accept = true;
                continue;
            }
            place.rests_until = None;
            place.armed = true;
            let accept =
                opcode::AcceptMulti::new(types::Fd(place.socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
            accepts.push(accept.user_data(name(Op::Accept, key.index)));
        }
        for accept in accepts {
            self.push(accept);
        }
    }

    /// How long to wait: `None` is for ever.
    fn patience(&mut self, wait: Wait) -> Option<Duration> {
        if wait == Wait::No || !self.ready.is_empty() || !self.reaped.is_empty() {
            return Some(Duration::ZERO);
        }
        let mut patience = wait.longest();
        if self.to_accept {
            for until in self.listeners.iter_mut().filter_map(|(_, place)| place.rests_until) {
                let rest = until.saturating_duration_since(Instant::now());
                patience = Some(patience.map_or(rest, |time| time.min(rest)));
            }
        }
        patience
    }

    /// Waits, awake for the first moment if that has paid.
    fn rest(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let (began, alertness) = (Instant::now(), self.alertness);
        let found = alertness.finds(began, || {
            self.enter(Some(Duration::ZERO))?;
            Ok(!self.ring.completion().is_empty())
        })?;
        if !found {
            self.enter(patience)?;
        }
        self.alertness.waited(began.elapsed());
        Ok(())
    }

    fn push(&mut self, entry: squeue::Entry) {
        self.backlog.push_back(entry);
    }

    /// Moves the backlog into the submission queue, as far as there is room.
    fn fill(&mut self) {
        let mut queue = self.ring.submission();
        while !queue.is_full()
            && let Some(entry) = self.backlog.pop_front()
        {
            // SAFETY: every entry names memory and descriptors that are owned by a place in a slab, or by the ring itself, and stay
            // there unmoved until the completion is reaped (see the head of this module, and `drop`).
            unsafe { queue.push(&entry) }.expect("a queue that is not full takes an entry");
            self.under_way += 1;
        }
    }

    /// Submits everything, and waits for a completion.
    fn enter(&mut self, patience: Option<Duration>) -> io::Result<()> {
        loop {
            self.fill();
            let more = !self.backlog.is_empty();
            let queue = self.ring.submission();
            let (submissions, kernel_waits) = (queue.len(), queue.taskrun() || queue.cq_overflow());
            drop(queue);
            let waits = !more && patience != Some(Duration::ZERO) && self.ring.completion().is_empty();
            if !waits && submissions == 0 && !kernel_waits {
                return Ok(());
            }
            let time = patience.filter(|_| waits).map(types::Timespec::from);
            let mut arguments = types::SubmitArgs::new();
            if let Some(time) = &time {
                arguments = arguments.timespec(time);
            }
            // SAFETY: the flags say that the argument is a `SubmitArgs`, which is what it is; it and its timespec outlive the call. The
            // entries are sound by `fill`.
            let entered = unsafe {
                self.ring.submitter().enter(
                    u32::try_from(submissions).expect("a queue is shorter than that"),
                    u32::from(waits),
                    ENTER_GETEVENTS | ENTER_EXT_ARG,
                    Some(&arguments),
                )
            };
            match entered.map_err(|error| (error.raw_os_error(), error)) {
                Ok(_) if more => {}
                // Timed out, or a signal came: the caller decides what next.
                Ok(_) | Err((Some(libc::ETIME | libc::EINTR), _)) => return Ok(()),
                // The completions need room, or the kernel memory: both come by reaping, and by turning again.
                Err((Some(libc::EBUSY | libc::EAGAIN), _)) => {
                    self.reap();
                    return Ok(());
                }
                Err((_, error)) => return Err(error),
            }
        }
    }

    // ---- after the kernel ----

    fn reap(&mut self) {
        let mut finished = 0;
        for entry in self.ring.completion() {
            finished += usize::from(!cqueue::more(entry.flags()));
            self.reaped.push_back(Completion { name: entry.user_data(), result: entry.result(), flags: entry.flags() });
        }
        self.under_way -= finished;
    }

    fn complete(&mut self, completion: &Completion, tell: &mut impl FnMut(Event<'_>)) {
        // The lower half is the place, the upper the operation.
        let (index, op) = (completion.name as u32, OPS[(completion.name >> 32) as usize]);
        let result = if completion.result < 0 {
            Err(io::Error::from_raw_os_error(-completion.result))
        } else {
            Ok(completion.result as usize)
        };
        match op {
            Op::Wake => {
                self.waking = false;
                if result.is_ok() {
                    tell(Event::Woken);
                }
            }
            Op::Accept => self.accepted(index, result, cqueue::more(completion.flags), tell),
            Op::Receive => self.received(index, result, completion.flags, tell),
            Op::Send => self.sent(index, result, tell),
            Op::Write => self.wrote(index, result, tell),
            // What was cancelled says so itself, or was faster.
            Op::Cancel => {}
        }
    }

    fn accepted(&mut self, index: u32, result: io::Result<usize>, more: bool, tell: &mut impl FnMut(Event<'_>)) {
        let stream = result.map(|fd| {
            // SAFETY: a successful accept yields a new descriptor that nobody else owns.
            unsafe { OwnedFd::from_raw_fd(fd as i32) }
        });
        let (key, place) = self.listeners.at(index).expect("a listener stays while it accepts");
        let listener = ListenerId(key);
        if !more {
            place.armed = false;
            self.to_accept = true;
        }
        if place.stopping {
            if !more {
                self.listeners.remove(key);
            }
            return;
        }
        match stream {
            Ok(stream) => {
                place.failing = false;
                // A client without an address is gone again.
                if let Some(peer) = socket::peer(&stream) {
                    tell(Event::Accepted { listener, stream, peer });
                }
            }
            Err(error) if socket::concerns_one_client(&error) => {}
            Err(error) => {
                place.rests_until = Some(Instant::now() + self.accept_rest);
                if !std::mem::replace(&mut place.failing, true) {
                    tell(Event::AcceptFailed { listener, error });
                }
            }
        }
    }

    fn received(&mut self, index: u32, result: io::Result<usize>, flags: u32, tell: &mut impl FnMut(Event<'_>)) {
        let (key, place) = self.conns.at(index).expect("a connection stays while it is received from");
        place.receiving = false;
        place.more_expected = cqueue::sock_nonempty(flags);
        let buffer = cqueue::buffer_select(flags);
        match result {
            Ok(0) => self.end(key, Cause::Peer),
            Ok(len) => {
                let buffer = buffer.expect("received bytes are in a buffer of the ring");
                if place.ending.is_none() {
                    tell(Event::Received { conn: ConnId(key), bytes: self.buffers.bytes(buffer, len) });
                }
                self.receive_again(key);
            }
            Err(error) => match error.raw_os_error() {
                // No buffer was free: they are all given back by the end of this turn.
                Some(libc::ENOBUFS) => {
                    place.more_expected = true;
                    self.receive_again(key);
                }
                Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED) => self.receive_again(key),
                _ => self.end(key, Cause::Error(error)),
            },
        }
        if let Some(buffer) = buffer {
            self.buffers.give(buffer);
        }
        self.settle(key);
    }

    fn sent(&mut self, index: u32, result: io::Result<usize>, tell: &mut impl FnMut(Event<'_>)) {
        let (key, place) = self.conns.at(index).expect("a connection stays while it is sent to");
        let sending = place.sending.as_mut().expect("a send is kept until it ends");
        match result {
            Ok(sent) => {
                sending.sent += sent;
                if sending.sent < sending.bytes.len() {
                    self.send_rest(key);
                    return;
                }
                let mut buffer = std::mem::take(&mut sending.bytes);
                buffer.clear();
                place.sending = None;
                tell(Event::Sent { conn: ConnId(key), buffer });
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {
                self.send_rest(key);
                return;
            }
            Err(error) => {
                place.sending = None;
                self.end(key, Cause::Error(error));
            }
        }
        self.settle(key);
    }

    fn wrote(&mut self, index: u32, result: io::Result<usize>, tell: &mut impl FnMut(Event<'_>)) {
        let (key, place) = self.writes.at(index).expect("a write is kept until it ends");
        let result = match result {
            Ok(written) => match crate::durable::advance(&place.file, place.written, written, place.buffer.len()) {
                Ok(written) => {
                    place.written = written;
                    Ok(written)
                }
                Err(error) => Err(error),
            },
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(place.written),
            Err(error) => Err(error),
        };
        if result.as_ref().is_ok_and(|&written| written < place.buffer.len()) {
            self.write_rest(index);
            return;
        }
        if let Some(write) = self.writes.remove(key) {
            tell(Event::Written { token: write.token, result, buffer: write.buffer });
        }
    }

    // ---- both ----

    /// Lists a connection to be received from in the next turn, unless it is already, or that would be wrong.
    fn receive_again(&mut self, key: Key) {
        if let Some(place) = self.conns.get_mut(key)
            && !(place.listed || place.receiving || place.paused || place.ending.is_some())
        {
            place.listed = true;
            self.to_receive.push(key);
        }
    }

    fn send_rest(&mut self, key: Key) {
        let Some(place) = self.conns.get_mut(key) else { return };
        let Some(sending) = &place.sending else { return };
        let rest = &sending.bytes[sending.sent..];
        let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        // WAITALL: the kernel goes on by itself after a part was sent.
        let send = opcode::Send::new(types::Fd(place.stream.as_raw_fd()), rest.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.push(send.user_data(name(Op::Send, key.index)));
    }

    fn write_rest(&mut self, index: u32) {
        let (_, place) = self.writes.at(index).expect("a write is kept until it ends");
        let rest = &place.buffer[place.written..];
        let len = u32::try_from(rest.len()).unwrap_or(1 << 30);
        let write = opcode::Write::new(types::Fd(place.file.as_raw_fd()), rest.as_ptr(), len)
            .offset(place.offset + place.written as u64)
            .rw_flags(if place.sync { libc::RWF_DSYNC } else { 0 })
            .build();
        self.push(write.user_data(name(Op::Write, index)));
    }

    fn cancel(&mut self, op: Op, index: u32) {
        // It takes effect when it is submitted, and submissions keep their order: it cannot hit a later operation on this place.
        self.push(opcode::AsyncCancel::new(name(op, index)).build().user_data(name(Op::Cancel, 0)));
    }

    /// Starts the end of a connection; the first cause stands.
    fn end(&mut self, key: Key, cause: Cause) {
        let Some(place) = self.conns.get_mut(key) else { return };
        if place.ending.is_some() {
            return;
        }
        if matches!(cause, Cause::Error(_)) {
            // What the other direction waits for will not come.
            socket::cut(&place.stream);
        }
        place.ending = Some(cause);
        if place.receiving {
            self.cancel(Op::Receive, key.index);
        }
        self.settle(key);
    }

    /// Removes a connection that is ending as soon as nothing is under way on it.
    fn settle(&mut self, key: Key) {
        if let Some(place) = self.conns.get_mut(key)
            && !place.receiving
            && place.sending.is_none()
            && let Some(cause) = place.ending.take()
            && let Some(conn) = self.conns.remove(key)
        {
            socket::finish(conn.stream);
            self.ready.push_back(Event::Closed { conn: ConnId(key), cause });
        }
    }
}

impl Drop for Ring {
    /// Ends what is under way and waits until the kernel has let go of every buffer. Writes to files are not cut short.
    fn drop(&mut self) {
        self.cancel(Op::Wake, 0);
        let armed: Vec<u32> = self.listeners.iter_mut().filter(|(_, it)| it.armed).map(|(key, _)| key.index).collect();
        for index in armed {
            self.cancel(Op::Accept, index);
        }
        let receiving: Vec<u32> =
            self.conns.iter_mut().filter(|(_, it)| it.receiving).map(|(key, _)| key.index).collect();
        for index in receiving {
            self.cancel(Op::Receive, index);
        }
        for (_, place) in self.conns.iter_mut() {
            // Sends fail by this.
            socket::cut(&place.stream);
        }
        loop {
            self.reap();
            for completion in std::mem::take(&mut self.reaped) {
                if matches!(OPS[(completion.name >> 32) as usize], Op::Accept) && completion.result >= 0 {
                    // SAFETY: a successful accept yields a new descriptor that nobody else owns.
                    drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
                }
            }
            if self.under_way == 0 && self.backlog.is_empty() {
                return;
            }
            if let Err(error) = self.enter(None) {
                // The kernel still writes to memory that is about to be freed, and does not say when it stops.
                eprintln!("io_uring cannot be drained, so its memory cannot be freed: {error}");
                std::process::abort();
            }
        }
    }
}

/// The ring with all that this kernel knows of: newer flags save interrupts of our own thread.
fn build(options: &Options) -> io::Result<IoUring> {
    let mut refusal = None;
    for flags in [
        // Linux 6.1, 5.19, any.
        |builder: &mut io_uring::Builder| {
            builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
        },
        |builder: &mut io_uring::Builder| {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        },
        |_: &mut io_uring::Builder| {},
    ] {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(options.completions.max(options.entries)).setup_submit_all();
        flags(&mut builder);
        match builder.build(options.entries) {
            Ok(ring) => return Ok(ring),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refusal.expect("the loop ends by a ring or an error"))
}
