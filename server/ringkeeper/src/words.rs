//! Four-letter words: gathers what the admin crate needs to answer one.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use admin::{
    Bytes, Descriptors, EnsembleFacts, Facts, HostFacts, Levels, Memory, Role, ServerFacts, Totals, Version, Whitelist,
};
use clients::Gathered;
use config::{Config, Words as Listed};
use member::word::Word;
use member::{Gauges, ShardStats};
use pipeline::Clients;
use proto::Millis;
use quorum::peer::PeerState;

use crate::clock;
use crate::letter::Letter;
use crate::server::Directories;

/// What stays the same while the server runs, and where the counters are.
pub struct Statics {
    /// The configuration.
    pub config: Config,
    /// The client port as bound.
    pub port: u16,
    /// The directories.
    pub dirs: Directories,
    /// Counters of the shards.
    pub stats: Vec<Arc<ShardStats>>,
    /// Gauges of the write stage.
    pub gauges: Arc<Gauges>,
}

/// Answers words.
pub struct Words {
    server: Mutex<Arc<ServerFacts>>,
    /// It is a member of an ensemble.
    member: bool,
    whitelist: Whitelist,
    trace_mask: AtomicI64,
    /// Of a member of an ensemble, as its place in [`ROLES`].
    role: AtomicU8,
    dirs: Directories,
    stats: Vec<Arc<ShardStats>>,
    gauges: Arc<Gauges>,
}

/// What a member can be for its clients.
const ROLES: [Role; 5] = [Role::NotServing, Role::Leader, Role::Follower, Role::Observer, Role::ReadOnly];

impl Words {
    /// For a server that serves from now on, or that looks for its ensemble.
    pub fn new(statics: Statics) -> Words {
        let Statics { config, port, dirs, stats, gauges } = statics;
        let listed: Vec<String> = match &config.words {
            Listed::All => vec!["*".to_owned()],
            Listed::Listed(words) => words.iter().cloned().collect(),
        };
        let built = env!("BUILT_SECONDS").parse::<i64>().unwrap_or_default();
        let server = ServerFacts {
            version: Version { ringkeeper: env!("CARGO_PKG_VERSION").to_owned(), built: Millis(built * 1000) },
            started: clock::now().mono,
            client_port: port,
            data_dir: absolute(&dirs.data),
            data_log_dir: absolute(&dirs.log),
            tick_ms: i64::from(config.tick_time_ms),
            connections_per_address_max: config.limits.connections_per_address_max,
            session_timeout_min_ms: i64::from(config.sessions.timeout_min_ms),
            session_timeout_max_ms: i64::from(config.sessions.timeout_max_ms),
            backlog: config.listen.backlog,
            sessionless_timeout_ms: i64::from(config.listen.sessionless_timeout_ms),
            force_sync: config.log.force_sync,
            host: host_facts(),
            ensemble: config.ensemble.as_ref().map(|ensemble| EnsembleFacts {
                id: ensemble.id,
                init_limit_ticks: ensemble.init_limit_ticks,
                sync_limit_ticks: ensemble.sync_limit_ticks,
            }),
        };
        Words {
            member: server.ensemble.is_some(),
            server: Mutex::new(Arc::new(server)),
            whitelist: Whitelist::new(listed, config.read_only_mode),
            trace_mask: AtomicI64::new(admin::TRACE_MASK),
            role: AtomicU8::new(0),
            dirs,
            stats,
            gauges,
        }
    }

    /// Clients are accepted at another port from now on.
    pub fn set_client_port(&self, port: u16) {
        let mut server = self.server.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Arc::make_mut(&mut server).client_port = port;
    }

    /// The refusal of a word that is not listed.
    pub fn refusal(&self, word: Word) -> Option<String> {
        self.whitelist.refusal(word.name)
    }

    /// What a member of an ensemble is from now on, as its write stage sees it.
    pub fn set_role(&self, state: &PeerState, clients: Clients) {
        let role = Role::of(state, clients);
        let place = ROLES.iter().position(|known| *known == role).unwrap_or(0);
        self.role.store(place as u8, Relaxed);
    }

    fn role(&self) -> Role {
        match self.member {
            false => Role::Standalone,
            true => ROLES[usize::from(self.role.load(Relaxed)) % ROLES.len()],
        }
    }

    /// Must the other threads be asked? Not while nothing is served: there is nothing to say then, and the write stage may be busy
    /// with the data of its leader.
    pub fn needs_all_threads(&self, word: Word) -> bool {
        let needs = admin::needs(word);
        let of_member = needs.quorum && self.member;
        let any = needs.connections || needs.watches || needs.watch_counts || needs.writes || of_member;
        any && self.role() != Role::NotServing || needs.hand_over && self.member
    }

    /// Does what a word changes here; the answer is a letter for every thread, if they must do something.
    pub fn effect(&self, word: Word) -> Option<fn() -> Letter> {
        match admin::effect(word, self.role()) {
            admin::Effect::None => None,
            admin::Effect::ResetConnections => Some(|| Letter::ResetConnections),
            admin::Effect::ResetServer => Some(|| Letter::ResetStats),
            admin::Effect::SetTraceMask(mask) => {
                self.trace_mask.store(mask, Relaxed);
                None
            }
        }
    }

    /// The text of a word.
    pub fn answer(&self, word: Word, gathered: Gathered) -> String {
        let now = clock::now();
        let server = Arc::clone(&self.server.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        let mut facts = match gathered.write.quorum.clone() {
            Some(quorum) => Facts::of_member(server, quorum, now.mono, now.wall),
            None => Facts::new(server, self.role(), now.mono, now.wall),
        };
        facts.trace_mask = self.trace_mask.load(Relaxed);
        facts.totals = Totals::of(&self.stats);
        facts.levels = Levels::of(&self.gauges);
        facts.connections = gathered.connections.into_iter().flat_map(|(_, connections)| connections).collect();
        facts.watches = gathered.watches.into_iter().map(|(_, watches)| watches).collect();
        facts.watch_counts = gathered.watch_counts;
        facts.writes = gathered.write;
        let needs = admin::needs(word);
        if needs.bytes {
            facts.bytes = Bytes { data_dir: bytes_in(&self.dirs.data), data_log_dir: bytes_in(&self.dirs.log) };
        }
        if needs.process {
            facts.descriptors = descriptors();
            facts.memory = memory();
        }
        admin::answer(word, &facts)
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = dir.read_dir() else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).filter(|meta| meta.is_file()).map(|meta| meta.len()).sum()
}

fn descriptors() -> Descriptors {
    let open = Path::new("/proc/self/fd").read_dir().ok().map(|entries| entries.count() as u64);
    Descriptors { open, max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current }
}

/// The line `name: <n> kB` of a file below /proc, in bytes.
fn proc_bytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb * 1024)
}

fn memory() -> Memory {
    Memory {
        free: proc_bytes("/proc/meminfo", "MemAvailable"),
        max: proc_bytes("/proc/meminfo", "MemTotal"),
        total: proc_bytes("/proc/self/status", "VmRSS"),
    }
}

fn host_facts() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_str().ok().map(str::to_owned);
    HostFacts {
        host_name: text(uname.nodename()),
        temp_dir: Some(std::env::temp_dir().display().to_string()),
        os_name: text(uname.sysname()),
        os_arch: Some(std::env::consts::ARCH.to_owned()),
        os_version: text(uname.release()),
        user_name: std::env::var("USER").ok(),
        user_home: std::env::var("HOME").ok(),
        user_dir: std::env::current_dir().ok().map(|dir| dir.display().to_string()),
    }
}
