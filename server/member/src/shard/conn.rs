//! One client connection.
//!
//! ```text
//!            four-letter word
//!   Fresh ───────────────────────▶ Leaving ──┐
//!     │ ConnectRequest               ▲       │ last answer
//!     ▼                              │       ▼
//!   Connecting ──session──▶ Ready ───┴───▶ closing ──▶ (output sent) closed
//!        └── no such session: zeros ─────────▲
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use pipeline::Pulse;
use proto::{Id, Millis, Op, SessionId, Xid};

use crate::stats::ConnStats;
use crate::word::Word;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nothing complete has come.
    Fresh,
    /// A session is being opened or re-attached; nothing is read meanwhile.
    Connecting,
    /// Requests flow.
    Ready,
    /// The last request was taken (a four-letter word, a closeSession, an unknown operation); what follows it is not looked at,
    /// and its answer ends the connection.
    Leaving,
}

/// A request that cannot be answered yet, in the order in which answers must go out.
pub(super) enum Queued {
    /// At the sequencer; the commit stream brings the answer.
    Waiting {
        xid: Xid,
        op: Op,
        since: Millis,
        /// Size of what the sequencer holds for it.
        bytes: usize,
        /// The path that a sync's answer repeats.
        echo: Option<Box<str>>,
    },
    /// A read behind a write of the same session, with the identities that the connection had when it came.
    Read { xid: Xid, op: i32, body: Box<[u8]>, ids: Arc<[Id]>, since: Millis },
}

impl Queued {
    /// What it holds of the request.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Queued::Waiting { bytes, .. } => *bytes,
            Queued::Read { body, .. } => body.len(),
        }
    }
}

/// See the module's page.
pub(super) struct Conn {
    pub(super) peer: SocketAddr,
    /// The driver's name for the socket.
    pub(super) link: u64,
    pub(super) state: State,
    /// Close once the output is sent. Nothing is read or answered any more, and the queue is empty.
    pub(super) closing: bool,
    /// Close now: the client does not even take what is left to send.
    pub(super) abort: bool,
    /// Bytes that came but are no complete frame, or may not be looked at yet.
    pub(super) input: Vec<u8>,
    /// Bytes to send.
    pub(super) output: Vec<u8>,
    /// Memory of what the driver has taken and not yet sent, and since when.
    pub(super) sending: usize,
    pub(super) sending_since: Millis,
    /// What of this connection is counted in the shard's unread bytes.
    pub(super) counted: usize,
    /// Stop reading the socket?
    pub(super) paused: bool,
    /// It waits for others to read their answers.
    pub(super) starved: bool,
    pub(super) dirty: bool,
    pub(super) ids: Arc<[Id]>,
    pub(super) session: SessionId,
    pub(super) pulse: Option<Arc<Pulse>>,
    pub(super) timeout_ms: i32,
    /// As in the connect request; the answer mirrors its presence.
    pub(super) read_only: Option<bool>,
    pub(super) queue: VecDeque<Queued>,
    /// What the queue's requests hold, all together.
    pub(super) queued_bytes: usize,
    /// Monotonic time of the last packet, or of the accept.
    pub(super) heard: Millis,
    pub(super) word: Option<Word>,
    pub(super) stats: ConnStats,
}

const _: () = assert!(size_of::<Conn>() <= 400, "an idle connection is small: there may be a hundred thousand");

/// Input and output buffers beyond this are given back when they are empty, so that idle connections stay small.
const IDLE_BYTES_MAX: usize = 4 << 10;

impl Conn {
    /// Will bytes that come now ever be looked at?
    pub(super) fn wants_input(&self) -> bool {
        !self.closing && self.state != State::Leaving
    }

    /// The memory of what the client has not taken yet.
    pub(super) fn unread(&self) -> usize {
        self.sending + if self.output.is_empty() { 0 } else { self.output.capacity() }
    }

    /// Keeps what `used` bytes of `input` leave.
    pub(super) fn keep_input(&mut self, mut input: Vec<u8>, used: usize) {
        if used == input.len() && input.capacity() > IDLE_BYTES_MAX {
            return;
        }
        input.drain(..used);
        self.input = input;
    }

    /// May the next frame be looked at?
    pub(super) fn accepts_frames(&self) -> bool {
        !self.closing && matches!(self.state, State::Fresh | State::Ready)
    }
}
