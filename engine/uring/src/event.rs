//! What a turn waits for and what it tells: the whole vocabulary between a reactor and its thread.
//!
//! Kept out: how any of it comes about, which differs between the backends, while these words do not.

use std::{fmt, io, net::SocketAddr, os::fd::OwnedFd, time::Duration};

use aligned::AlignedBuf;

use crate::slab::Key;

/// A connection of one reactor. It is never reused: a call with the id of a closed connection does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId(pub(crate) Key);

/// A listening socket of one reactor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) Key);

impl ConnId {
    /// The connection's place in its reactor: small, and free for another one after this one's `Closed`.
    pub fn slot(self) -> usize {
        self.0.index as usize
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn {}.{}", self.0.index, self.0.generation)
    }
}

impl fmt::Debug for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {}.{}", self.0.index, self.0.generation)
    }
}

/// How long a turn may sleep when nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// At most so long.
    AtMost(Duration),
    /// At most so long, and awake for the first moment of it if that has paid ([`crate::Options::alert`]).
    Alert(Duration),
    /// Until there is an event.
    Forever,
}

impl Wait {
    /// `None` is for ever.
    pub(crate) fn longest(self) -> Option<Duration> {
        match self {
            Wait::No => Some(Duration::ZERO),
            Wait::AtMost(time) | Wait::Alert(time) => Some(time),
            Wait::Forever => None,
        }
    }
}

/// Something that happened, as told to the sink of a turn.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client connected. The stream may be adopted by this reactor, or sent to the one of another thread.
    Accepted {
        /// Where it came in.
        listener: ListenerId,
        /// The connected socket.
        stream: OwnedFd,
        /// The client's address.
        peer: SocketAddr,
    },
    /// Accepting fails (too many open files, no memory). It is told once; the listener tries again by itself after a while.
    AcceptFailed {
        /// Where.
        listener: ListenerId,
        /// Why.
        error: io::Error,
    },
    /// Bytes came. They are gone after the sink returns.
    Received {
        /// From whom.
        conn: ConnId,
        /// At least one byte, and at most a receive buffer.
        bytes: &'a [u8],
    },
    /// All bytes of a send were handed to the kernel; the next may follow.
    Sent {
        /// To whom.
        conn: ConnId,
        /// The buffer of the send, empty, to be filled again.
        buffer: Vec<u8>,
    },
    /// The connection is gone; nothing of it follows.
    Closed {
        /// Which.
        conn: ConnId,
        /// Who ended it.
        cause: Cause,
    },
    /// A durable write ended.
    Written {
        /// As given to the write.
        token: u64,
        /// The length of the buffer, all of it written (and synced, if that was asked for), or why not.
        result: io::Result<usize>,
        /// The buffer as it was given.
        buffer: AlignedBuf,
    },
    /// Another thread called [`Waker::wake`](crate::Waker::wake), at least once since the last of these.
    Woken,
}

/// Who ended a connection.
#[derive(Debug)]
pub enum Cause {
    /// The client closed its side, or both. What was not being sent yet is not sent any more: pause a client that is owed an answer
    /// computed elsewhere, if it shall get it although it has said its last word.
    Peer,
    /// The reactor was told to close or abort it.
    Local,
    /// The network did, or the client by a reset.
    Error(io::Error),
}
