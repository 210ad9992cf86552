//! A configuration while it is being put together: what cannot be decided before every source has spoken is kept apart
//! from the finished values.

use std::path::PathBuf;

use quorum::view::MemberRole;

use crate::{CatchUp, Config, Election, Host, LocalSessions, ObserverMaster, Wires};

/// The values so far.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Values that do not depend on others.
    pub config: Config,
    /// `dataDir`.
    pub data_dir: Option<PathBuf>,
    /// `dataLogDir`.
    pub data_log_dir: Option<PathBuf>,
    /// `clientPort`.
    pub client_port: Option<u16>,
    /// `clientPortAddress`.
    pub client_host: Option<Host>,
    /// `minSessionTimeout`.
    pub timeout_min_ms: Option<u32>,
    /// `maxSessionTimeout`.
    pub timeout_max_ms: Option<u32>,
    /// `jute.maxbuffer.extrasize`.
    pub packet_extra_bytes: Option<u32>,
    /// `enforce.auth.enabled`.
    pub enforce_auth: bool,
    /// `enforce.auth.schemes`.
    pub enforced_schemes: Vec<String>,
    /// `standaloneEnabled`.
    pub standalone_enabled: bool,
    /// `dynamicConfigFile`.
    pub dynamic_file: Option<PathBuf>,
    /// `initLimit`.
    pub init_limit_ticks: Option<u32>,
    /// `syncLimit`.
    pub sync_limit_ticks: Option<u32>,
    /// `connectToLearnerMasterLimit`.
    pub connect_limit_ticks: Option<u32>,
    /// `leaderConnectDelayDuringRetryMs`.
    pub connect_retry_ms: u32,
    /// `peerType`.
    pub role: Option<MemberRole>,
    /// `quorumCnxnTimeoutMs`.
    pub handshake_timeout_ms: Option<u32>,
    /// `multiAddress.enabled`.
    pub several_addresses: bool,
    /// `leaderServes`.
    pub leader_serves: bool,
    /// `oraclePath`.
    pub oracle: Option<PathBuf>,
    /// `localSessionsEnabled`, `localSessionsUpgradingEnabled`.
    pub local_sessions: LocalSessions,
    /// Elections; the time for handshakes is not decided yet.
    pub election: Election,
    /// Sockets between members.
    pub wires: Wires,
    /// What is sent to learners that are behind.
    pub catch_up: CatchUp,
    pub observer_master: ObserverMaster,
}

impl Draft {
    /// A draft in which nobody has said anything: a file or bare arguments have to name a directory and a port.
    pub fn of_installation() -> Draft {
        let mut config = Config::defaults();
        config.tick_time_ms = 3000;
        Draft {
            config,
            data_dir: None,
            data_log_dir: None,
            client_port: None,
            client_host: None,
            timeout_min_ms: None,
            timeout_max_ms: None,
            packet_extra_bytes: None,
            enforce_auth: false,
            enforced_schemes: Vec::new(),
            standalone_enabled: true,
            dynamic_file: None,
            init_limit_ticks: None,
            sync_limit_ticks: None,
            connect_limit_ticks: None,
            role: None,
            handshake_timeout_ms: None,
            several_addresses: false,
            leader_serves: true,
            oracle: None,
            local_sessions: LocalSessions::default(),
            election: Election {
                connect_timeout_ms: 5000,
                handshake_timeout_ms: 0,
                notification_min_ms: 200,
                notification_max_ms: 60_000,
                observer_delay_ms: 200,
            },
            connect_retry_ms: 100,
            wires: Wires { on_all_addresses: false, bind_tries: Some(3), tcp_keep_alive: false },
            catch_up: CatchUp {
                transactions: 500,
                log_factor: Some(0.33),
                always_snapshot: false,
                snapshots_max: 10,
                diffs_max: 100,
            },
            observer_master: ObserverMaster { port: None, bytes_max: 32 << 20 },
        }
    }

    /// A draft for a server that was started without a file: directory, port and address have defaults.
    pub fn embedded() -> Draft {
        let config = Config::defaults();
        Draft {
            data_dir: Some(config.data_dir.clone()),
            client_port: Some(config.listen.port),
            client_host: Some(config.listen.host.clone()),
            config,
            ..Draft::of_installation()
        }
    }
}
