//! One type for two backends, chosen once when a thread starts.
//!
//! Kept out: any behaviour; each call goes straight to the backend.

use std::{fmt, fs::File, io, net::TcpListener, os::fd::OwnedFd, sync::Arc, time::Duration};

use aligned::AlignedBuf;

use crate::{ConnId, Event, ListenerId, Wait, Waker, epoll::Epoll, ring::Ring};

/// Sizes of a reactor.
#[derive(Clone, Debug)]
pub struct Options {
    /// Submission queue entries; more requests than that in one turn cost one more system call. A power of two.
    pub entries: u32,
    /// Completion queue entries; should exceed the connections that may be busy at once. A power of two.
    pub completions: u32,
    /// Receive buffers shared by all connections; rounded up to a power of two, at most 32768.
    pub buffers: u16,
    /// Bytes of one receive buffer: the most that one [`Event::Received`] carries.
    pub buffer_bytes: u32,
    /// How long a listener rests after accepting failed for want of descriptors or memory.
    pub accept_rest: Duration,
    /// How long [`crate::Wait::Alert`] stays awake; nothing: it sleeps at once.
    pub alert: Duration,
}

impl Default for Options {
    /// 256 submissions, 4096 completions, 256 receive buffers of 16 KiB, a rest of 50 ms, awake for 200 µs.
    fn default() -> Options {
        Options {
            entries: 256,
            completions: 4096,
            buffers: 256,
            buffer_bytes: 16 * 1024,
            accept_rest: Duration::from_millis(50),
            alert: Duration::from_micros(200),
        }
    }
}

/// Which backend is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// io_uring, or epoll when that is refused.
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// Which backend a reactor runs on. Its display is fit for the log.
#[derive(Debug)]
pub enum Backend {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll {
        /// What the kernel said to io_uring, if that was tried.
        refused: Option<io::Error>,
    },
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Uring => write!(f, "io_uring"),
            Backend::Epoll { refused: None } => write!(f, "epoll"),
            Backend::Epoll { refused: Some(error) } => write!(f, "epoll, since io_uring is refused: {error}"),
        }
    }
}

/// The sockets, log writes and wake-ups of one thread. It stays on the thread that opened it.
///
/// Between two turns the owner says what is to be done; a turn submits it, waits, and tells what has happened.
/// Dropping it closes all its connections and returns only when the kernel has let go of every buffer.
pub struct Reactor {
    inner: Inner,
    backend: Backend,
    waker: Waker,
}

enum Inner {
    Ring(Box<Ring>),
    Epoll(Box<Epoll>),
}

macro_rules! either {
    ($self:ident, $backend:ident => $call:expr) => {
        match &mut $self.inner {
            Inner::Ring($backend) => $call,
            Inner::Epoll($backend) => $call,
        }
    };
}

impl Reactor {
    /// Opens a reactor with a waker of its own.
    ///
    /// # Errors
    /// When the kernel refuses the backend (with [`Kind::Auto`]: both).
    pub fn open(kind: Kind, options: &Options) -> io::Result<Reactor> {
        Reactor::open_with(kind, options, Waker::new()?)
    }

    /// Opens a reactor that listens to `waker`, which other threads may hold, and may have used, already.
    ///
    /// # Errors
    /// As [`Reactor::open`].
    pub fn open_with(kind: Kind, options: &Options, waker: Waker) -> io::Result<Reactor> {
        let refused = if kind == Kind::Epoll {
            None
        } else {
            match Ring::open(options, waker.clone()) {
                Ok(ring) => {
                    return Ok(Reactor { inner: Inner::Ring(Box::new(ring)), backend: Backend::Uring, waker });
                }
                Err(error) if kind == Kind::Uring => return Err(error),
                Err(error) => Some(error),
            }
        };
        let epoll = Epoll::open(options, waker.clone())?;
        Ok(Reactor { inner: Inner::Epoll(Box::new(epoll)), backend: Backend::Epoll { refused }, waker })
    }

    /// Which backend it runs on, and why.
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// What wakes this reactor from other threads.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Accepts clients from now on: [`Event::Accepted`] each.
    pub fn listen(&mut self, listener: TcpListener) -> ListenerId {
        either!(self, backend => backend.listen(listener.into()))
    }

    /// Accepts no more and closes the listening socket. Clients that were accepted but not told yet are closed.
    pub fn stop_listening(&mut self, listener: ListenerId) {
        either!(self, backend => backend.stop_listening(listener));
    }

    /// Takes a connected stream over and starts receiving. Small sends leave at once from now on (`TCP_NODELAY`).
    pub fn adopt(&mut self, stream: impl Into<OwnedFd>) -> ConnId {
        either!(self, backend => backend.adopt(stream.into()))
    }

    /// Receives no more from a connection until it is resumed; the client is slowed down by TCP.
    ///
    /// If nothing was received from it since it was last resumed, one receive is still on its way, and may still be told.
    /// While paused, the end of the connection by the client goes unnoticed.
    pub fn pause(&mut self, conn: ConnId) {
        either!(self, backend => backend.pause(conn));
    }

    /// Receives again.
    pub fn resume(&mut self, conn: ConnId) {
        either!(self, backend => backend.resume(conn));
    }

    /// Sends `bytes`, all of them; [`Event::Sent`] gives the buffer back. Nothing happens if the connection is closed or closing.
    ///
    /// # Panics
    /// If a send of this connection is still on its way: there is at most one.
    pub fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        either!(self, backend => backend.send(conn, bytes));
    }

    /// Closes a connection after the send on its way, if any. [`Event::Closed`] follows, and nothing is received before.
    ///
    /// A client that does not read can hold that up for as long as it lives; see [`Reactor::abort`].
    pub fn close(&mut self, conn: ConnId) {
        either!(self, backend => backend.close(conn));
    }

    /// Closes a connection now, whatever is on its way. [`Event::Closed`] follows.
    pub fn abort(&mut self, conn: ConnId) {
        either!(self, backend => backend.abort(conn));
    }

    /// Writes all of `buffer` at `offset`, and if `sync` makes it durable as part of the same write (`RWF_DSYNC`).
    ///
    /// [`Event::Written`] follows with `token`. A file opened with O_DIRECT needs lengths and offsets in whole blocks. Writes may
    /// end in another order than they were asked for.
    pub fn write_durable(&mut self, token: u64, file: Arc<File>, offset: u64, buffer: AlignedBuf, sync: bool) {
        either!(self, backend => backend.write_durable(token, file, offset, buffer, sync));
    }

    /// Starts what was asked for since the last turn, without waiting or telling anything.
    ///
    /// Turns do that by themselves. It is for a thread that has more to compute before its next turn.
    ///
    /// # Errors
    /// As [`Reactor::turn`].
    pub fn submit(&mut self) -> io::Result<()> {
        either!(self, backend => backend.submit())
    }

    /// Starts what was asked for, waits for something to happen, and tells `sink` all that has. Returns how many events.
    ///
    /// It may return 0 before the wait is over.
    ///
    /// # Errors
    /// When the kernel refuses to run the ring or poll at all. The reactor is of no use then.
    pub fn turn(&mut self, wait: Wait, sink: impl FnMut(Event<'_>)) -> io::Result<usize> {
        either!(self, backend => backend.turn(wait, sink))
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reactor on {}", self.backend)
    }
}
