//! A configuration while it is being put together: what cannot be decided before every source has spoken is kept apart
//! from the finished values.

use std::path::PathBuf;

use crate::{Config, Host};

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
