//! What threads say to each other apart from requests and the commit stream.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use clients::Question;
use quorum::effect::{Inquiry, Port, Ticket};
use wal::segment::Done;

use crate::background::OpenSegment;

/// To one of the threads of the hot path.
pub enum Letter {
    /// A connection for the shard.
    Adopt(OwnedFd, SocketAddr),
    /// Contribute to this report.
    Asked(Arc<Question>),
    /// All have contributed: answer the client.
    Answered(Arc<Question>),
    /// Reset the counters that `srst` resets.
    ResetStats,
    /// Reset the counters that `crst` resets.
    ResetConnections,
    /// The background did something for the log.
    SegmentDone(Done, Option<OpenSegment>),
    /// The background wrote a snapshot.
    SnapshotDone,
    /// An attempt to connect to another member has ended.
    PeerConnected(Ticket, Result<OwnedFd, String>),
    /// The oracle was asked, and this is its answer.
    OracleSays(Inquiry, bool),
    /// Clients are accepted here from now on, at this address; or nowhere for now.
    ClientPort(Option<(TcpListener, SocketAddr)>),
    /// Other members are accepted on this port here from now on; with none of them, nowhere for now.
    PeerPort(Port, Vec<TcpListener>),
    /// Stop accepting, finish, end.
    ShutDown,
}
