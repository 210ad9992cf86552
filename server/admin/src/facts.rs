//! What the words are told. Plain values: whoever answers a word gathers them, nobody here goes and looks.

use std::sync::Arc;

use member::report::{Clients, ConnReport, QuorumReport, WatchCounts, WatchReport, WriteReport};
use proto::{Millis, Sid};
use quorum::peer::{PeerState, Phase};

use crate::totals::{Levels, Totals};
use crate::version::Version;

/// The trace mask of a server that `stmk` has not spoken to, as ZooKeeper prints it.
pub const TRACE_MASK: i64 = 306;

/// All that a word may show. What [`crate::needs`] does not name for a word may be left empty for it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What does not change while the server runs.
    pub server: Arc<ServerFacts>,
    /// Whether there is a service, and which.
    pub role: Role,
    /// Of a member of an ensemble: its part in it.
    pub quorum: Option<QuorumReport>,
    /// Now on the monotonic clock that the reports use.
    pub now_mono: Millis,
    /// Now on the wall clock.
    pub now_wall: Millis,
    /// The mask of `gtmk`. It is kept and shown and has no further effect; see [`crate::Effect::SetTraceMask`].
    pub trace_mask: i64,
    /// The shards' counters.
    pub totals: Totals,
    /// The write stage's gauges.
    pub levels: Levels,
    /// Every connection, in the order in which it is to be shown.
    pub connections: Vec<ConnReport>,
    /// Data watches, one report for each shard.
    pub watches: Vec<WatchReport>,
    /// How many there are, one report for each shard.
    pub watch_counts: Vec<WatchCounts>,
    /// Sessions, ephemerals, digests.
    pub writes: WriteReport,
    /// How much the directories hold.
    pub bytes: Bytes,
    /// File descriptors of the process.
    pub descriptors: Descriptors,
    /// Memory, for `envi`.
    pub memory: Memory,
}

impl Facts {
    /// Facts of a server without clients, about which nothing has been gathered yet.
    pub fn new(server: Arc<ServerFacts>, role: Role, now_mono: Millis, now_wall: Millis) -> Facts {
        Facts {
            server,
            role,
            quorum: None,
            now_mono,
            now_wall,
            trace_mask: TRACE_MASK,
            totals: Totals::default(),
            levels: Levels::default(),
            connections: Vec::new(),
            watches: Vec::new(),
            watch_counts: Vec::new(),
            writes: WriteReport::default(),
            bytes: Bytes::default(),
            descriptors: Descriptors::default(),
            memory: Memory::default(),
        }
    }

    /// The same for a member of an ensemble. Its role is that of its state.
    pub fn of_member(server: Arc<ServerFacts>, quorum: QuorumReport, now_mono: Millis, now_wall: Millis) -> Facts {
        let role = Role::of(&quorum.state, quorum.clients);
        Facts { quorum: Some(quorum), ..Facts::new(server, role, now_mono, now_wall) }
    }
}

/// What does not change about a member's part in its ensemble.
#[derive(Clone, Copy, Debug)]
pub struct EnsembleFacts {
    /// `myid`
    pub id: Sid,
    /// `initLimit`
    pub init_limit_ticks: u32,
    /// `syncLimit`
    pub sync_limit_ticks: u32,
}

/// What the server does for clients at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Starting or stopping, or without a quorum; most words then say that nothing is served.
    NotServing,
    /// No member of an ensemble.
    Standalone,
    /// It makes the order for its ensemble.
    Leader,
    /// It follows a leader, and votes.
    Follower,
    /// It learns from a leader without voting.
    Observer,
    /// It has no leader, and serves readers what it had last.
    ReadOnly,
}

impl Role {
    /// What a member of an ensemble is for clients.
    pub fn of(state: &PeerState, clients: Clients) -> Role {
        match state.phase {
            _ if clients == Clients::Readers => Role::ReadOnly,
            _ if clients == Clients::Nobody || !state.serving => Role::NotServing,
            Phase::Looking => Role::NotServing,
            Phase::Leading => Role::Leader,
            Phase::Following => Role::Follower,
            Phase::Observing => Role::Observer,
        }
    }

    /// As `Mode:` and `zk_server_state` show it.
    pub fn name(self) -> &'static str {
        match self {
            Role::NotServing => "null",
            Role::Standalone => "standalone",
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Observer => "observer",
            Role::ReadOnly => "read-only",
        }
    }
}

/// What does not change while a server runs.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// Who we are.
    pub version: Version,
    /// When the service began, on the monotonic clock.
    pub started: Millis,
    /// The port that clients reach.
    pub client_port: u16,
    /// The directory of the snapshots, `version-2` included.
    pub data_dir: String,
    /// The directory of the log, `version-2` included.
    pub data_log_dir: String,
    /// `tickTime`
    pub tick_ms: i64,
    /// `maxClientCnxns`; 0 is no limit.
    pub connections_per_address_max: u32,
    /// `minSessionTimeout`
    pub session_timeout_min_ms: i64,
    /// `maxSessionTimeout`
    pub session_timeout_max_ms: i64,
    /// `clientPortListenBacklog`, if set.
    pub backlog: Option<u32>,
    /// `nio.sessionlessCnxnTimeout`: also the grain in which `dump` shows when connections expire.
    pub sessionless_timeout_ms: i64,
    /// `forceSync`: whether a log write ends when it is on disk. If not, no time of syncs is shown.
    pub force_sync: bool,
    /// The machine and the user.
    pub host: HostFacts,
    /// Of a member of an ensemble.
    pub ensemble: Option<EnsembleFacts>,
}

/// What `envi` shows of machine and user; what is not known is shown as `<NA>`, as in ZooKeeper.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// The canonical name of the machine.
    pub host_name: Option<String>,
    /// The directory for temporary files.
    pub temp_dir: Option<String>,
    /// The system's name, `Linux`.
    pub os_name: Option<String>,
    /// The architecture as Rust names it (`std::env::consts::ARCH`); shown as Java names it.
    pub os_arch: Option<String>,
    /// The kernel's release.
    pub os_version: Option<String>,
    /// The user's name.
    pub user_name: Option<String>,
    /// The user's home directory.
    pub user_home: Option<String>,
    /// The working directory.
    pub user_dir: Option<String>,
}

/// How much the directories hold, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bytes {
    /// Files in `data_dir`.
    pub data_dir: u64,
    /// Files in `data_log_dir`.
    pub data_log_dir: u64,
}

/// File descriptors; `None` is shown as −1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Descriptors {
    /// Open ones.
    pub open: Option<u64>,
    /// As many as there may be.
    pub max: Option<u64>,
}

/// Memory in bytes, under Java's three headings; `None` is shown as `<NA>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// What the machine could still give.
    pub free: Option<u64>,
    /// The most that this process may have.
    pub max: Option<u64>,
    /// What this process has.
    pub total: Option<u64>,
}
