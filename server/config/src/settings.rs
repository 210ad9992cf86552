//! The configuration of a server as typed values: what the rest of the server reads.
//!
//! Units end the names. Where ZooKeeper writes −1 or 0 for "none", there is an `Option` here, except in the
//! per-address and total connection limits, where 0 is the word that operators know.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use proto::Sid;
use quorum::peer::{ElectorSettings, PeerSettings};
use quorum::view::{MemberAddress, QuorumView};

/// Everything that an operator can decide about a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where snapshots and `myid` live (`dataDir`); `version-2` is below it.
    pub data_dir: PathBuf,
    /// Where transaction logs live (`dataLogDir`); equal to `data_dir` unless set.
    pub data_log_dir: PathBuf,
    /// Whether missing directories are created (`datadir.autocreate`).
    pub create_directories: bool,
    /// Whether a member without data counts as empty rather than unknown (`db.autocreate`).
    pub create_database: bool,
    /// The unit of ZooKeeper's times (`tickTime`).
    pub tick_time_ms: u32,
    /// The address for clients, and what is done to their sockets.
    pub listen: Listen,
    /// Session time-outs.
    pub sessions: Sessions,
    /// What clients may use up.
    pub limits: Limits,
    /// The transaction log.
    pub log: Log,
    /// Snapshots and when to take them.
    pub snapshots: Snapshots,
    /// Removal of old snapshots and logs.
    pub purge: Purge,
    /// Which kinds of nodes and rules exist.
    pub nodes: Nodes,
    /// The reaper of container and TTL nodes.
    pub reaper: Reaper,
    /// Who is who, and who may enter.
    pub auth: Auth,
    /// The four-letter words that are answered.
    pub words: Words,
    /// Whether a server cut off from its ensemble answers reads (`readonlymode.enabled`).
    pub read_only_mode: bool,
    /// Whether tree digests are kept and logged (`digest.enabled`).
    pub digests: bool,
    /// Whether closeSession transactions list the ephemerals that they delete (`closeSessionTxn.enabled`).
    pub close_session_lists_ephemerals: bool,
    /// How the server uses this machine; Ringkeeper's own settings.
    pub machine: Machine,
    /// The ensemble that this server is a member of; `None` for a standalone server.
    pub ensemble: Option<Ensemble>,
}

impl Config {
    /// The configuration of a server that was told nothing: 127.0.0.1:2181, `./data`, a tick of 2000 ms.
    pub fn defaults() -> Config {
        Config {
            data_dir: PathBuf::from("./data"),
            data_log_dir: PathBuf::from("./data"),
            create_directories: true,
            create_database: true,
            tick_time_ms: 2000,
            listen: Listen {
                host: Host::Ip(IpAddr::from([127, 0, 0, 1])),
                port: 2181,
                backlog: None,
                tcp_keep_alive: false,
                sessionless_timeout_ms: 10_000,
            },
            sessions: Sessions { timeout_min_ms: 4000, timeout_max_ms: 40_000 },
            limits: Limits {
                connections_per_address_max: 60,
                connections_max: 0,
                requests_outstanding_max: 1000,
                packet_bytes_max: 0xf_ffff,
                packet_extra_bytes: 0xf_ffff,
            },
            log: Log {
                segment_kib: 65_536,
                size_limit_kib: None,
                force_sync: true,
                sync_warning_ms: 1000,
                batch_records_max: 1000,
                flush_delay_ms: 0,
            },
            snapshots: Snapshots {
                every_transactions: 100_000,
                every_log_kib: Some(4_194_304),
                compression: Compression::None,
                trust_empty: false,
                last_processed_zxid: true,
            },
            purge: Purge { retain_count: 3, interval_ms: None },
            nodes: Nodes { extended_types: false, emulate_353_ttl: false, enforce_quota: false, reconfig: false },
            reaper: Reaper { check_interval_ms: 60_000, per_minute_max: 10_000, never_used_ms: None },
            auth: Auth {
                skip_acl: false,
                digest_enabled: true,
                digest_algorithm: "SHA1".to_owned(),
                super_digest: None,
                ensemble_scheme: false,
                ensemble_names: Vec::new(),
                enforced_schemes: None,
            },
            words: Words::Listed(BTreeSet::new()),
            read_only_mode: false,
            digests: true,
            close_session_lists_ephemerals: true,
            machine: Machine { backend: Backend::Auto, shards: None, stay_awake_us: 200 },
            ensemble: None,
        }
    }
}

/// The address for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address (`clientPortAddress`); every address unless set in a file.
    pub host: Host,
    /// The port (`clientPort`); 0 lets the system choose one.
    pub port: u16,
    /// How many connections may wait to be accepted (`clientPortListenBacklog`); `None` leaves it to the server.
    pub backlog: Option<u32>,
    /// Whether client sockets have SO_KEEPALIVE (`clientTcpKeepAlive`).
    pub tcp_keep_alive: bool,
    /// How long a connection may stay without a session (`nio.sessionlessCnxnTimeout`).
    pub sessionless_timeout_ms: u32,
}

/// An address to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Every address of the machine, both families.
    Any,
    /// This address.
    Ip(IpAddr),
    /// Whatever this name resolves to; the binder resolves it.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Any => f.write_str("0.0.0.0"),
            Host::Ip(address) => write!(f, "{address}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// Session time-outs: what a client asks for is moved between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// `minSessionTimeout`; twice the tick unless set. Never more than the other.
    pub timeout_min_ms: u32,
    /// `maxSessionTimeout`; twenty ticks unless set.
    pub timeout_max_ms: u32,
}

/// What clients may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections from one address (`maxClientCnxns`); 0 is no limit.
    pub connections_per_address_max: u32,
    /// Connections in all (`maxCnxns`); 0 is no limit.
    pub connections_max: u32,
    /// Requests accepted and not yet answered, over all connections (`globalOutstandingLimit`).
    pub requests_outstanding_max: u32,
    /// The longest packet and buffer from a client (`jute.maxbuffer`).
    pub packet_bytes_max: u32,
    /// By how much records between servers and on disk may exceed it (`jute.maxbuffer.extrasize`).
    pub packet_extra_bytes: u32,
}

/// The transaction log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Space prepared at a time (`preAllocSize`).
    pub segment_kib: u64,
    /// The size after which the log goes on in a new file (`txnLogSizeLimitInKb`).
    pub size_limit_kib: Option<u64>,
    /// Whether an answer waits until its write is on disk (`forceSync`). Without it, a power failure loses answers.
    pub force_sync: bool,
    /// A sync that takes longer is warned about (`fsync.warningthresholdms`).
    pub sync_warning_ms: u64,
    /// Records in one sync at most (`maxBatchSize`).
    pub batch_records_max: u32,
    /// How long a batch waits for company (`flushDelay`); 0 is not at all.
    pub flush_delay_ms: u64,
}

/// Snapshots and when to take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// Transactions between snapshots, about (`snapCount`); at least 2.
    pub every_transactions: u32,
    /// Log volume between snapshots, about (`snapSizeLimitInKb`).
    pub every_log_kib: Option<u64>,
    /// How they are written (`snapshot.compression.method`). All kinds are read.
    pub compression: Compression,
    /// Whether logs without any snapshot are believed (`snapshot.trust.empty`).
    pub trust_empty: bool,
    /// Whether the zxid of the snapshot is written into it (`serializeLastProcessedZxid.enabled`).
    pub last_processed_zxid: bool,
}

/// The compression of snapshot files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `snapshot.<zxid>`.
    None,
    /// `snapshot.<zxid>.gz`.
    Gzip,
    /// `snapshot.<zxid>.snappy`.
    Snappy,
}

/// Removal of old snapshots and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Snapshots that are kept (`autopurge.snapRetainCount`); at least 3.
    pub retain_count: u32,
    /// The time between two purges (`autopurge.purgeInterval`); `None` is never.
    pub interval_ms: Option<u64>,
}

/// Which kinds of nodes and rules exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// Whether TTL nodes can be created (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// Whether ephemeral owners are read as ZooKeeper 3.5.3 wrote TTLs (`emulate353TTLNodes`).
    pub emulate_353_ttl: bool,
    /// Whether quotas refuse writes (`enforceQuota`).
    pub enforce_quota: bool,
    /// Whether the operation reconfig is switched on (`reconfigEnabled`); a standalone server refuses it either way, with
    /// different errors.
    pub reconfig: bool,
}

/// The reaper of container and TTL nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaper {
    /// The time between two searches (`znode.container.checkIntervalMs`).
    pub check_interval_ms: u32,
    /// Deletions in a minute at most (`znode.container.maxPerMinute`).
    pub per_minute_max: u32,
    /// After which time a container that never had a child goes (`znode.container.maxNeverUsedIntervalMs`).
    pub never_used_ms: Option<u64>,
}

/// Who is who, and who may enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Whether ACLs are not checked at all (`skipACL`).
    pub skip_acl: bool,
    /// Whether the `digest` scheme exists (`DigestAuthenticationProvider.enabled`).
    pub digest_enabled: bool,
    /// The hash of the `digest` scheme (`DigestAuthenticationProvider.digestAlg`), by a name that [`auth`] knows.
    pub digest_algorithm: String,
    /// The digest identity that is the super user (`DigestAuthenticationProvider.superDigest`), as `user:base64`.
    pub super_digest: Option<Secret>,
    /// Whether the `ensemble` scheme exists: an `authProvider.*` names Java's provider of it.
    pub ensemble_scheme: bool,
    /// The names that the `ensemble` scheme accepts (`ensembleAuthName`); empty if not set: every name.
    pub ensemble_names: Vec<String>,
    /// The schemes by one of which a connection must have authenticated before its requests are served
    /// (`enforce.auth.enabled`, `enforce.auth.schemes`); never empty.
    pub enforced_schemes: Option<Vec<String>>,
}

impl Auth {
    /// The same as the crate that authenticates takes it.
    pub fn settings(&self) -> auth::Settings {
        auth::Settings {
            skip_acl: self.skip_acl,
            digest_enabled: self.digest_enabled,
            digest_alg: self.digest_algorithm.clone(),
            super_digest: self.super_digest.as_ref().map(|digest| digest.0.clone()),
            ensemble: self.ensemble_scheme,
            ensemble_names: Some(self.ensemble_names.join(",")).filter(|names| !names.is_empty()),
            enforce: self.enforced_schemes.is_some(),
            enforce_schemes: self.enforced_schemes.clone().unwrap_or_default(),
            ..auth::Settings::default()
        }
    }
}

/// A text that is not shown when its holder is printed for debugging.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The four-letter words that are answered (`4lw.commands.whitelist`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// All of ZooKeeper's, and not `hand`, which changes who leads.
    All,
    /// These, and the ones that are always answered.
    Listed(BTreeSet<String>),
}

impl Config {
    /// Whether a four-letter word is answered: a listed one, `srvr` always, `isro` in read-only mode.
    pub fn answers_word(&self, word: &str) -> bool {
        let listed = match &self.words {
            Words::All => word != crate::honoured::HAND,
            Words::Listed(words) => words.contains(word),
        };
        listed || word == "srvr" || (word == "isro" && self.read_only_mode)
    }
}

/// How the server uses this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How it talks to the kernel (`ringkeeper.backend`).
    pub backend: Backend,
    /// The number of network shards (`ringkeeper.shards`); `None` leaves it to the server.
    pub shards: Option<u16>,
    /// How long, in microseconds, a member of an ensemble stays awake for the next step of a write (`ringkeeper.stayAwake`); 0: not at all.
    pub stay_awake_us: u32,
}

/// How the server talks to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring where the kernel allows it, epoll elsewhere.
    Auto,
    /// io_uring, or do not start.
    Uring,
    /// epoll.
    Epoll,
}

/// What a member of an ensemble knows about it before it meets the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// Which member this is (`myid`). Always one of the view's.
    pub id: Sid,
    /// Who belongs to it (`server.N`, `group.N`, `weight.N`). Its version is 0, or in the name of the dynamic file.
    pub view: QuorumView,
    /// The main file, which a reconfiguration rewrites; `None` if there was none.
    pub static_file: Option<PathBuf>,
    /// Whether one participant alone would be a standalone server (`standaloneEnabled`).
    pub standalone_enabled: bool,
    /// The file that the view was read from, if not from the main one (`dynamicConfigFile`).
    pub dynamic_file: Option<PathBuf>,
    /// For a learner to connect and to be brought up to date (`initLimit`); with the tick less than 2³¹ ms.
    pub init_limit_ticks: u32,
    /// How far a learner's answers may lag behind (`syncLimit`); with the tick less than 2³¹ ms.
    pub sync_limit_ticks: u32,
    /// For a learner to connect (`connectToLearnerMasterLimit`); as `initLimit` unless set.
    pub connect_limit_ticks: u32,
    /// Between two tries of a learner to connect (`leaderConnectDelayDuringRetryMs`).
    pub connect_retry_ms: u32,
    /// Whether the leader has clients of its own (`leaderServes`).
    pub leader_serves: bool,
    /// Says whether this member may do without the other of two voters (`oraclePath`): a file that begins with 1 if so.
    pub oracle: Option<PathBuf>,
    /// Sessions that only one member knows.
    pub local_sessions: LocalSessions,
    /// Elections.
    pub election: Election,
    /// Sockets between members.
    pub wires: Wires,
    /// What is sent to learners that are behind.
    pub catch_up: CatchUp,
    /// Followers that serve observers.
    pub observer_master: ObserverMaster,
}

/// Followers that serve observers, and observers that learn from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverMaster {
    /// At which port, the same at every member (`observerMasterPort`); `None`: observers learn from the leader.
    pub port: Option<u16>,
    /// What may wait for one observer (`observerMaster.sizeLimit`).
    pub bytes_max: u32,
}

/// Sessions that only the member knows to which their client is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalSessions {
    /// Whether new sessions are such (`localSessionsEnabled`).
    pub enabled: bool,
    /// Whether one becomes the ensemble's when it wants ephemerals (`localSessionsUpgradingEnabled`).
    pub upgrading: bool,
}

impl Ensemble {
    /// What the view says of this member.
    pub fn member(&self) -> &MemberAddress {
        self.view.member(self.id).expect("the id is one of the view's, or the configuration is refused")
    }
}

impl Config {
    /// What the configuration says about this server's part in its ensemble, as the crate that plays it takes it.
    pub fn peer_settings(&self) -> Option<PeerSettings> {
        let ensemble = self.ensemble.as_ref()?;
        let election = ensemble.election;
        let defaults = PeerSettings::new(ensemble.id);
        Some(PeerSettings {
            tick_ms: i64::from(self.tick_time_ms),
            init_limit: i64::from(ensemble.init_limit_ticks),
            sync_limit: i64::from(ensemble.sync_limit_ticks),
            connect_to_learner_master_limit: i64::from(ensemble.connect_limit_ticks),
            connect_retry_ms: i64::from(ensemble.connect_retry_ms),
            packet_bytes_max: (self.limits.packet_bytes_max as usize)
                .saturating_add(self.limits.packet_extra_bytes as usize),
            snapshot_size_factor: ensemble.catch_up.log_factor.unwrap_or(-1.0),
            force_snapshot_sync: ensemble.catch_up.always_snapshot,
            snap_syncs_max: ensemble.catch_up.snapshots_max as usize,
            diff_syncs_max: ensemble.catch_up.diffs_max as usize,
            observer_election_delay_ms: i64::from(election.observer_delay_ms),
            reconfig_enabled: self.nodes.reconfig,
            lone_voter_allowed: !ensemble.standalone_enabled,
            observer_master_port: ensemble.observer_master.port,
            observer_master_bytes_max: ensemble.observer_master.bytes_max as usize,
            elector: ElectorSettings {
                oracle: ensemble.oracle.is_some(),
                notification_min_ms: i64::from(election.notification_min_ms),
                notification_max_ms: i64::from(election.notification_max_ms),
                connect_timeout_ms: i64::from(election.connect_timeout_ms),
                handshake_timeout_ms: i64::from(election.handshake_timeout_ms),
                ..defaults.elector
            },
            ..defaults
        })
    }
}

/// Elections, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Election {
    /// To connect to another member (`cnxTimeout`).
    pub connect_timeout_ms: u32,
    /// For the first message on a new connection (`quorumCnxnTimeoutMs`); syncLimit ticks unless set.
    pub handshake_timeout_ms: u32,
    /// The first wait for votes (`fastleader.minNotificationInterval`). It doubles.
    pub notification_min_ms: u32,
    /// The longest wait (`fastleader.maxNotificationInterval`). Not less than the first.
    pub notification_max_ms: u32,
    /// How long an observer waits at most before it looks for a leader again (`observer.election.DelayMs`).
    pub observer_delay_ms: u32,
}

/// Sockets between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wires {
    /// Listen on every address of the machine, not only on those of the member's own line (`quorumListenOnAllIPs`).
    pub on_all_addresses: bool,
    /// How often it is tried to take the ports, a second apart (`electionPortBindRetry`); `None`: until it succeeds.
    pub bind_tries: Option<u32>,
    /// Whether sockets for elections have SO_KEEPALIVE (`tcpKeepAlive`).
    pub tcp_keep_alive: bool,
}

/// What is sent to learners that are behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CatchUp {
    /// Transactions that are kept in memory for them (`commitLogCount`); at least 500.
    pub transactions: u32,
    /// A learner gets transactions from the log files rather than a snapshot while they have at most this share of the newest snapshot's
    /// bytes (`snapshotSizeFactor`); at most 1. `None`: a snapshot.
    pub log_factor: Option<f64>,
    /// Every learner gets a snapshot, whatever it has (`forceSnapshotSync`).
    pub always_snapshot: bool,
    /// Snapshots that are sent at a time to learners of which the ensemble is not in need (`leader.maxConcurrentSnapSyncs`).
    pub snapshots_max: u32,
    /// Sets of transactions that are sent at a time to such (`leader.maxConcurrentDiffSyncs`).
    pub diffs_max: u32,
}
