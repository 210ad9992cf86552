//! What operators ask of a member: plain values that the four-letter words and the admin endpoint print.

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use pipeline::Clients;
use proto::{Millis, SessionId};
pub use quorum::peer::HandOver;
use quorum::peer::{PeerReport, PeerState};
use quorum::view::QuorumView;

pub use crate::own_sessions::Buckets;
use crate::stats::ConnStats;

/// A line of `cons` or `stat`.
#[derive(Clone, Debug)]
pub struct ConnReport {
    /// The client's address.
    pub peer: SocketAddr,
    /// Selector interest as Java shows it: 1 reading, 4 writing.
    pub interest: u8,
    /// Requests waiting.
    pub queued: usize,
    /// The session, if there is one.
    pub session: Option<SessionId>,
    /// Negotiated timeout.
    pub timeout_ms: i32,
    /// Monotonic time of the last packet, or of the accept.
    pub heard: Millis,
    /// Counters.
    pub stats: ConnStats,
}

/// The data-watch table of a shard.
#[derive(Clone, Debug, Default)]
pub struct WatchReport {
    /// Sessions by watched path.
    pub by_path: BTreeMap<String, Vec<SessionId>>,
}

/// The data-watch table of a shard in numbers.
#[derive(Clone, Debug, Default)]
pub struct WatchCounts {
    /// Connections with a data watch.
    pub watchers: usize,
    /// Pairs of connection and path.
    pub watches: usize,
    /// A hash of each watched path: another shard may have the same paths.
    pub path_hashes: Vec<u64>,
}

/// What `dump` and `hash` show of the write stage.
#[derive(Clone, Debug, Default)]
pub struct WriteReport {
    /// Expiry buckets: when (monotonic ms, to be shown as wall clock), and the sessions with their timeouts. A member that does not lead,
    /// and so decides about no end, has all its ensemble's sessions in one.
    pub buckets: Buckets,
    /// The sessions that only this member knows, in their buckets, where there may be such.
    pub local: Option<Buckets>,
    /// Ephemerals by session.
    pub ephemerals: Vec<(SessionId, Vec<String>)>,
    /// Digest history: zxid and digest.
    pub digests: Vec<(i64, u64)>,
    /// Of a member of an ensemble, for the words that show its part in it.
    pub quorum: Option<QuorumReport>,
    /// Of a member of an ensemble that was asked to hand over leadership.
    pub handed: Option<HandOver>,
}

/// A member's part in its ensemble at one moment.
#[derive(Clone, Debug)]
pub struct QuorumReport {
    /// What it is.
    pub state: PeerState,
    /// Whom it serves.
    pub clients: Clients,
    /// Its figures.
    pub figures: PeerReport,
    /// The committed configuration.
    pub view: QuorumView,
}
