//! What travels between the net shards and the sequencer.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use proto::acl::Id;
use proto::stat::Stat;
use proto::{Code, Millis, Op, SessionId, Sid, Xid, Zxid};
use smallvec::SmallVec;
use tree::{Change, Reader};

/// Changes of one transaction, in the order in which their watches fire.
pub type Changes = SmallVec<[Change; 1]>;

/// One connection: the shard that owns it, its place there, and a number that tells it from earlier users of that place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ConnRef {
    /// Which shard.
    pub shard: u16,
    /// Place within the shard.
    pub index: u32,
    /// Use count of that place.
    pub generation: u32,
}

/// Who speaks for a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// A connection of this server.
    Conn(ConnRef),
    /// A learner, one of whose connections it is.
    Learner(Sid),
}

impl Origin {
    /// The connection, if it is one of this server.
    pub fn conn(self) -> Option<ConnRef> {
        match self {
            Origin::Conn(conn) => Some(conn),
            Origin::Learner(_) => None,
        }
    }
}

/// When a session was last heard of. The shard that holds the session's connection stores, the expiry wheel loads; both
/// relaxed, because a touch that is seen late only delays an expiry by one look.
#[derive(Debug, Default)]
pub struct Pulse(AtomicI64);

impl Pulse {
    /// A pulse that beat at `now` (monotonic clock).
    pub fn new(now: Millis) -> Pulse {
        Pulse(AtomicI64::new(now.0))
    }

    /// Something was heard.
    pub fn beat(&self, now: Millis) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// When something was last heard.
    pub fn last_heard(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}

/// A write as a shard hands it in. The frame is decoded by the sequencer, once, in place: one allocation per request.
#[derive(Debug)]
pub struct WriteRequest {
    /// Who waits for the answer. A learner finds it in the transaction.
    pub from: Origin,
    /// On whose behalf.
    pub session: SessionId,
    /// The client's number.
    pub xid: Xid,
    /// What is asked.
    pub op: Op,
    /// The connection's identities when the request was read.
    pub ids: Arc<[Id]>,
    /// The request record, without its header.
    pub body: Box<[u8]>,
}

/// From a shard to the sequencer.
#[derive(Debug)]
pub enum ToSequencer {
    /// A write.
    Write(WriteRequest),
    /// A client wants a new session.
    Open {
        /// Who waits.
        conn: ConnRef,
        /// Negotiated timeout.
        timeout_ms: i32,
    },
    /// A client with the right password wants its session back.
    Attach {
        /// Who waits.
        conn: ConnRef,
        /// The session.
        session: SessionId,
        /// Timeout that this connection negotiated.
        timeout_ms: i32,
    },
    /// Answer when all that was prepared before is committed.
    Sync {
        /// Who waits.
        conn: ConnRef,
        /// The client's number.
        xid: Xid,
    },
    /// The session's ephemerals whose paths begin with `prefix`; needs the writer's index.
    Ephemerals {
        /// Who waits.
        conn: ConnRef,
        /// Whose ephemerals.
        session: SessionId,
        /// The client's number.
        xid: Xid,
        /// Plain string prefix; empty means all.
        prefix: String,
    },
}

/// From the sequencer to every shard, in order.
#[derive(Debug)]
pub enum Item {
    /// A transaction is final: advance to its zxid, fire watches, answer.
    Commit(Commit),
    /// An answer that is no transaction, to be given when everything before it has been seen.
    Answer(Answer),
    /// Close this connection without an answer: its session was taken over or moved.
    Close(ConnRef),
    /// Who is served from here on. Whoever was served differently before loses the connection.
    Serve(Clients),
    /// The tree was replaced by another one, at this zxid. Nobody is served at the moment.
    Tree(Readers),
}

/// The clients that get sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clients {
    /// No client at all.
    Nobody,
    /// Those that are content to read what may be old, with sessions that only this server knows.
    Readers,
    /// Every client.
    All,
}

/// Readers of a new tree, one for each shard, which takes its own.
#[derive(Debug)]
pub struct Readers(Mutex<Vec<Option<Reader>>>);

impl Readers {
    /// In the order of the shards.
    pub fn new(readers: impl IntoIterator<Item = Reader>) -> Readers {
        Readers(Mutex::new(readers.into_iter().map(Some).collect()))
    }

    /// The reader of this shard; each only once.
    pub fn take(&self, shard: u16) -> Option<Reader> {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.get_mut(usize::from(shard)).and_then(Option::take)
    }
}

/// A final transaction, as the shards need it.
#[derive(Debug)]
pub struct Commit {
    /// Its zxid; readers may see it from here on.
    pub zxid: Zxid,
    /// What changed in the tree, in trigger order.
    pub changes: Changes,
    /// The connection of the session that ended with this transaction, if it had one: it closes.
    pub closing: Option<ConnRef>,
    /// Who waits for it.
    pub answer: Option<Answer>,
}

/// What a client hears.
#[derive(Debug)]
pub struct Answer {
    /// Which connection.
    pub conn: ConnRef,
    /// The request's number.
    pub xid: Xid,
    /// For the reply header.
    pub zxid: Zxid,
    /// Success or why not.
    pub code: Code,
    /// What follows the header, if `code` is OK.
    pub body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    None,
    /// create
    Path(Box<str>),
    /// create2, createContainer, createTTL
    PathStat(Box<str>, Stat),
    /// setData, setACL
    Stat(Stat),
    /// reconfig
    Data(Box<[u8]>, Stat),
    /// getEphemerals
    Strings(Vec<String>),
    /// multi
    Multi(Vec<MemberResult>),
    /// A session was opened or re-attached; `None`: it does not exist.
    Session(Option<OpenedSession>),
}

/// A session as its connection gets it.
#[derive(Debug)]
pub struct OpenedSession {
    /// The session.
    pub session: SessionId,
    /// Negotiated timeout.
    pub timeout_ms: i32,
    /// Beats with each request.
    pub pulse: Arc<Pulse>,
}

/// The result of one member of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberResult {
    /// create
    Path(Box<str>),
    /// create2, createContainer, createTTL
    PathStat(Box<str>, Stat),
    /// delete
    Deleted,
    /// check
    Checked,
    /// setData
    Stat(Stat),
    /// This member failed, or another did (then the earlier ones carry OK).
    Error(Code),
}
