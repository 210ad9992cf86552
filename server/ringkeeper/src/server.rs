//! From a configuration to a running server, and its orderly end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{fmt, io, process, thread};

use auth::Auth;
use clients::{Acceptor, Driver, Mailbox};
use config::{Config, ExitStatus, Host};
use disk::{RealDisk, SystemEntropy};
use host::{Disk, Entropy};
use member::shard::Parts as ShardParts;
use member::write_stage::{Parts as WriteParts, Rules};
use member::{Gauges, Inlet, Limits, Shard, ShardSettings, ShardStats, WriteSettings, WriteStage, stream};
use pipeline::session_table::{Session, SessionTable};
use pipeline::{Sequencer, Settings as SequencerSettings};
use queue::Bell;
use sessions::{Ids, Tracker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use uring::{Kind, Options as ReactorOptions, Reactor, Waker};
use wal::{Log, LogOptions};

use crate::background::{self, Background};
use crate::clock;
use crate::ensemble;
use crate::letter::Letter;
use crate::oracle::Oracle;
use crate::placement::{Placement, Thread};
use crate::ports::{self, Ports};
use crate::snapshots;
use crate::words::{Statics, Words};
use crate::worker::{Listening, Parts, Threads, Worker, Writing};

/// Requests that a shard's ring to the write stage holds.
const INLET_CAPACITY: usize = 4096;
/// Connections that may wait to be accepted, unless configured. Java's 50 loses bursts (java-faults.md).
const BACKLOG: i32 = 4096;

/// Descriptors that clients do not get: those of the log, the snapshots, the threads, and a reserve.
const DESCRIPTORS_KEPT: usize = 64;
/// So many connections need no remark.
const DESCRIPTORS_PLENTY: usize = 1000;

/// How often, and at which distance, a client port in use is tried again.
const PORT_TRIES: u64 = 60;
const PORT_RETRY_MS: u64 = 50;

/// Why the server did not start, or ended.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit status.
    pub status: ExitStatus,
    what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Failure {
    pub fn new(status: ExitStatus, what: impl fmt::Display) -> Failure {
        Failure { status, what: what.to_string() }
    }
}

/// Runs a server, alone or as a member of an ensemble, until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Failure> {
    let auth = Arc::new(
        Auth::new(config.auth.settings()).map_err(|error| Failure::new(ExitStatus::InvalidInvocation, error))?,
    );
    let client_options = clients::Options {
        address: address(&config)?,
        backlog: config.listen.backlog.map_or(BACKLOG, |backlog| backlog as i32),
        keep_alive: config.listen.tcp_keep_alive,
    };
    let bound = take_port(&client_options)?;

    let ports = config.ensemble.as_ref().map(ensemble::take_ports).transpose()?;
    let dirs = Directories::open(&config)?;
    let restore_options = snapshots::restore_options(&config);
    let restored = snapshots::restore(&config, &dirs, restore_options)?;
    let last = restored.last.unwrap_or_default();
    let replayed = restored.log.count;
    if !config.log.force_sync {
        tracing::warn!("forceSync=no: answers do not wait for the disk, a power failure WILL lose acknowledged writes");
    }

    let cores = allowed_cores();
    let placement = Placement::choose(&cores, config.machine.shards);
    tracing::info!("placement for {} core(s): {placement}", cores.len());

    let now = clock::now();
    let mut tracker = Tracker::new(sessions::Settings {
        tick_ms: config.tick_time_ms as i32,
        timeout_min_ms: config.sessions.timeout_min_ms as i32,
        timeout_max_ms: config.sessions.timeout_max_ms as i32,
    });
    let mut table = SessionTable::default();
    for (id, timeout_ms) in &restored.sessions {
        tracker.open(*id, *timeout_ms, now.mono);
        table.insert(*id, Session { timeout_ms: *timeout_ms, owner: None });
    }
    let length_max =
        (config.limits.packet_bytes_max as usize).saturating_add(config.limits.packet_extra_bytes as usize);
    let mut sequencer = Sequencer::new(
        restored.tree,
        table,
        Rules(Arc::clone(&auth)),
        SequencerSettings {
            extended_types: config.nodes.extended_types,
            enforce_quota: config.nodes.enforce_quota,
            reconfig_enabled: config.nodes.reconfig,
            digest: config.digests,
            close_session_txn: config.close_session_lists_ephemerals,
            length_max,
            record_bytes_max: length_max,
            unknown_session: match config.ensemble {
                Some(_) => proto::Code::SessionExpired,
                None => proto::Code::UnknownSession,
            },
        },
        last,
    );

    let shard_count = placement.shards();
    let (sender, receivers) = stream::stream(shard_count);
    let gauges = Arc::new(Gauges::default());
    gauges.digest_mismatches.store(restored.mismatches, Relaxed);
    let outstanding = Arc::new(AtomicUsize::new(0));
    let stats: Vec<Arc<ShardStats>> = (0..shard_count).map(|_| Arc::new(ShardStats::new())).collect();
    let limits = Limits::new(connections_max(&config), config.limits.connections_per_address_max as usize);
    let acceptor = Acceptor::new(limits, config.listen.tcp_keep_alive);
    let (mut drivers, mut inlets) = (Vec::new(), Vec::new());
    for (shard, receiver) in receivers.into_iter().enumerate() {
        let (producer, consumer) = queue::channel(INLET_CAPACITY);
        inlets.push(consumer);
        let shard = Shard::new(ShardParts {
            id: shard as u16,
            tree: sequencer.tree().reader(),
            stream: receiver,
            inlet: Inlet::new(producer),
            serving: config.ensemble.is_none(),
            auth: Arc::clone(&auth),
            settings: shard_settings(&config, length_max),
            stats: Arc::clone(&stats[shard]),
            outstanding_all: Arc::clone(&outstanding),
            seed: SystemEntropy.next_u64(),
        });
        drivers.push(Some(Driver::new(shard, acceptor.clone())));
    }

    let wakers: Vec<Waker> = placement
        .threads
        .iter()
        .map(|_| Waker::new())
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::new(ExitStatus::UnexpectedError, format!("cannot make an eventfd: {error}")))?;
    let mailboxes: Vec<_> = wakers.iter().map(|waker| Arc::new(Mailbox::<Letter>::new(waker.clone()))).collect();
    let bells = wakers.iter().cloned().map(|waker| Bell::new(move || waker.wake())).collect();
    let write_thread =
        placement.threads.iter().position(|thread| thread.writes).expect("a placement has a write stage");
    let mut shard_threads = vec![0; shard_count];
    for (at, thread) in placement.threads.iter().enumerate() {
        if let Some(shard) = thread.shard {
            shard_threads[usize::from(shard)] = at;
        }
    }
    let threads = Arc::new(Threads {
        mailboxes: mailboxes.clone(),
        bells,
        shard_threads,
        write_thread,
        shards_ended: AtomicUsize::new(0),
    });

    let background = Background::start(
        background::Options {
            log_dir: dirs.log.clone(),
            snapshots: snapshots::Options::new(&config, &dirs, Arc::clone(&gauges)),
            purge_every: config.purge.interval_ms.map(Duration::from_millis),
        },
        Arc::clone(&mailboxes[write_thread]),
    )
    .map_err(|error| Failure::new(ExitStatus::UnexpectedError, format!("cannot start a thread: {error}")))?;

    let log = Log::new(
        LogOptions {
            segment_bytes: config.log.segment_kib * 1024,
            payload_bytes_max: length_max,
            sync: config.log.force_sync,
            file_bytes_max: config.log.size_limit_kib.map(|kib| kib * 1024),
            seed: SystemEntropy.next_u64(),
            ..LogOptions::default()
        },
        last,
        restored.log.leftovers,
    );
    let ensemble_parts = config
        .ensemble
        .as_ref()
        .map(|ensemble| ensemble::parts(&config, ensemble, &dirs, restore_options, last, now.mono))
        .transpose()?;
    let mut stage = WriteStage::new(
        WriteParts {
            sequencer,
            tracker,
            ids: Ids::new(config.ensemble.as_ref().map_or(SERVER_ID, |ensemble| ensemble.id.0 as u8), now.mono),
            log,
            inlets,
            stream: sender,
            settings: write_settings(&config),
            gauges: Arc::clone(&gauges),
            entropy: SystemEntropy.next_u64(),
            replayed,
            ensemble: ensemble_parts,
        },
        now,
    );
    stage.start(now);
    let slow_sync = Duration::from_millis(config.log.sync_warning_ms);
    let views = config.ensemble.as_ref().and_then(ensemble::view_files);
    let peers = match (&config.ensemble, ports) {
        (Some(ensemble), Some(ports)) => {
            Some((ensemble::connector(ensemble, Arc::clone(&mailboxes[write_thread]))?, ports))
        }
        _ => None,
    };
    let no_thread =
        |error: std::io::Error| Failure::new(ExitStatus::UnexpectedError, format!("cannot start a thread: {error}"));
    let oracle = config.ensemble.as_ref().and_then(|ensemble| ensemble.oracle.clone());
    let oracle = oracle.map(|path| Oracle::start(path, Arc::clone(&mailboxes[write_thread])));
    let oracle = oracle.transpose().map_err(no_thread)?;
    let last_gauges = Arc::clone(&gauges);
    let listener = bound.listen().map_err(|error| Failure::new(ExitStatus::UnexpectedError, error))?;
    let local = listener.local_addr().map_err(|error| Failure::new(ExitStatus::UnexpectedError, error))?;
    let accepting = placement.threads.iter().position(|thread| thread.shard == Some(0)).unwrap_or(write_thread);
    let held = ports::Held {
        client: local,
        options: client_options,
        clients: Arc::clone(&mailboxes[accepting]),
        peers: Arc::clone(&mailboxes[write_thread]),
    };
    let ports = config.ensemble.as_ref().map(|ensemble| Ports::start(ensemble, held)).transpose().map_err(no_thread)?;
    let gauges_of_writes = Arc::clone(&gauges);
    let mut writing =
        Some(Writing { stage, peers, oracle, views, ports, background, gauges: gauges_of_writes, slow_sync });
    let words =
        Arc::new(Words::new(Statics { config: config.clone(), port: local.port(), dirs: dirs.clone(), stats, gauges }));
    let mut listening = Some(Listening { listener, acceptor });

    let (opened, opening) = mpsc::channel();
    let mut running = Vec::new();
    for (index, thread) in placement.threads.iter().copied().enumerate() {
        let parts = Parts {
            index,
            shard: thread
                .shard
                .map(|shard| (shard, drivers[usize::from(shard)].take().expect("a shard is placed on one thread"))),
            writing: if thread.writes { writing.take() } else { None },
            listening: if thread.shard == Some(0) { listening.take() } else { None },
            threads: Arc::clone(&threads),
            words: Arc::clone(&words),
        };
        running.push(start_thread(thread, parts, wakers[index].clone(), &config, opened.clone())?);
    }
    say_backend(&opening, running.len())?;
    // Before anybody is told that the server serves, so that whoever waited for that may stop it.
    let signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Failure::new(ExitStatus::UnexpectedError, format!("cannot handle signals: {error}")))?;
    let data = config.data_dir.display();
    match &config.ensemble {
        None => tracing::info!("serving clients on {local}, data in {data}, zxid {last}"),
        Some(ensemble) => tracing::info!(
            "server {} of an ensemble of {}, for clients on {local} once there is a leader, data in {data}, zxid {last}",
            ensemble.id,
            ensemble.view.members().len()
        ),
    }

    wait_for_signal(signals, &mailboxes);
    for thread in running {
        if thread.join().is_err() {
            return Err(Failure::new(ExitStatus::UnexpectedError, "a thread panicked"));
        }
    }
    if config.log.force_sync {
        // So that damage to the very end of the log is found, however quiet it was before. A try: the log itself is complete.
        let _ = wal::write_mark(&RealDisk, &dirs.log, proto::Zxid(last_gauges.durable.load(Relaxed)));
    }
    tracing::info!("stopped");
    drop(dirs);
    Ok(())
}

/// myid of a standalone server, as in ZooKeeper.
const SERVER_ID: u8 = 1;

/// The two `version-2` directories, locked.
#[derive(Clone)]
pub struct Directories {
    /// `<dataDir>/version-2`
    pub data: PathBuf,
    /// `<dataLogDir>/version-2`
    pub log: PathBuf,
    /// Held as long as the server runs.
    _locks: Arc<Vec<Box<dyn Send + Sync>>>,
}

impl Directories {
    fn open(config: &Config) -> Result<Directories, Failure> {
        let data = config.data_dir.join("version-2");
        let mut log = config.data_log_dir.join("version-2");
        // One directory under two names is one: to lock it twice, or to look for misplaced files, would refuse it.
        if is_same(&config.data_dir, &config.data_log_dir) {
            log.clone_from(&data);
        }
        snapshot::prepare_directories(&RealDisk, &data, &log, config.create_directories)
            .map_err(|error| Failure::new(ExitStatus::UnableToAccessDataDir, error))?;
        if is_same(&data, &log) {
            log.clone_from(&data);
        }
        // Before anything is promised: without this the server would come up and never write.
        for dir in [&data, &log] {
            rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).map_err(|error| {
                let error = io::Error::from(error);
                let what = format!("cannot write in {}: {error}{}", dir.display(), host::disk::advice(&error));
                Failure::new(ExitStatus::UnableToAccessDataDir, what)
            })?;
        }
        let mut locks = vec![lock(&data)?];
        if log != data {
            locks.push(lock(&log)?);
        }
        Ok(Directories { data, log, _locks: Arc::new(locks) })
    }
}

/// Are the two, by whatever name, the same directory? Those that are not there yet are not.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn lock(dir: &Path) -> Result<Box<dyn Send + Sync>, Failure> {
    RealDisk.lock(dir).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::WouldBlock => {
                format!("{} is in use by another server process; two must never share it", dir.display())
            }
            _ => {
                let file = dir.join(host::LOCK_FILE);
                format!("cannot lock {}: {error}{}", file.display(), host::disk::advice(&error))
            }
        };
        Failure::new(ExitStatus::UnableToAccessDataDir, what)
    })
}

/// Takes the client port. A server that was killed a moment ago may still hold it, because the kernel lets go of a ring's
/// sockets only after the process has gone; so a port in use is tried again for a while.
fn take_port(options: &clients::Options) -> Result<clients::Bound, Failure> {
    let mut tries = 0;
    loop {
        match clients::bind(options) {
            Ok(bound) => return Ok(bound),
            Err(error) if error.source.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES => {
                if tries == 0 {
                    tracing::info!("{error}; trying again for {} s", PORT_TRIES * PORT_RETRY_MS / 1000);
                }
                tries += 1;
                thread::sleep(Duration::from_millis(PORT_RETRY_MS));
            }
            Err(error) => return Err(Failure::new(ExitStatus::UnexpectedError, error)),
        }
    }
}

fn address(config: &Config) -> Result<SocketAddr, Failure> {
    resolve(&config.listen.host, config.listen.port).map_err(|why| {
        let what = format!("clientPortAddress={} does not resolve: {why}", config.listen.host);
        Failure::new(ExitStatus::InvalidInvocation, what)
    })
}

/// Where to listen for clients; the text says why nowhere.
pub fn resolve(host: &Host, port: u16) -> Result<SocketAddr, String> {
    match host {
        // The IPv6 wildcard takes both families; without IPv6 on the machine, the IPv4 one.
        Host::Any if std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() => {
            Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        }
        Host::Any => Ok(SocketAddr::from((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))),
        Host::Ip(ip) => Ok(SocketAddr::from((*ip, port))),
        Host::Name(name) => (name.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| error.to_string())
            .and_then(|mut addresses| addresses.next().ok_or_else(|| "it has no address".to_owned())),
    }
}

fn shard_settings(config: &Config, length_max: usize) -> ShardSettings {
    ShardSettings {
        frame_bytes_max: config.limits.packet_bytes_max as usize,
        length_max,
        session_timeout_min_ms: config.sessions.timeout_min_ms as i32,
        session_timeout_max_ms: config.sessions.timeout_max_ms as i32,
        outstanding_max: config.limits.requests_outstanding_max as usize,
        sessionless_timeout_ms: i64::from(config.listen.sessionless_timeout_ms),
        unread_bytes_max: ShardSettings::UNREAD_BYTES_MAX,
    }
}

fn write_settings(config: &Config) -> WriteSettings {
    WriteSettings {
        flush_delay_ms: config.log.flush_delay_ms as i64,
        batch_records_max: i64::from(config.log.batch_records_max),
        snap_count: u64::from(config.snapshots.every_transactions),
        snap_bytes: config.snapshots.every_log_kib.map_or(0, |kib| kib * 1024),
        container_check_ms: i64::from(config.reaper.check_interval_ms),
        container_per_minute: config.reaper.per_minute_max,
        container_never_used_ms: config.reaper.never_used_ms.map_or(0, |ms| ms as i64),
    }
}

/// `maxCnxns`, or as many as leave descriptors to the log and the snapshots: a server whose clients hold them all could not
/// begin the next log file, and all would wait for it.
fn connections_max(config: &Config) -> usize {
    let configured = Some(config.limits.connections_max as usize).filter(|max| *max > 0);
    let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current else {
        return configured.unwrap_or(0);
    };
    // At this time the threads have not opened theirs yet.
    let room =
        (limit as usize).saturating_sub(DESCRIPTORS_KEPT + 3 * config.machine.shards.map_or(0, usize::from)).max(1);
    match configured {
        Some(max) if max <= room => max,
        _ => {
            if room < DESCRIPTORS_PLENTY || configured.is_some() {
                tracing::warn!("at most {room} connections, because at most {limit} files may be open (ulimit -n)");
            }
            room
        }
    }
}

/// Cores on which this process may run.
fn allowed_cores() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
        Err(_) => Vec::new(),
    }
}

type Running = thread::JoinHandle<()>;

/// Starts a thread of the hot path. It says in `opened` which backend it runs on, or why on none.
fn start_thread(
    thread: Thread,
    parts: Parts,
    waker: Waker,
    config: &Config,
    opened: mpsc::Sender<io::Result<String>>,
) -> Result<Running, Failure> {
    let name = match (thread.shard, thread.writes) {
        (Some(shard), false) => format!("shard-{shard}"),
        (Some(shard), true) => format!("shard-{shard}+log"),
        (None, _) => "log".to_owned(),
    };
    let kind = match config.machine.backend {
        config::Backend::Auto => Kind::Auto,
        config::Backend::Uring => Kind::Uring,
        config::Backend::Epoll => Kind::Epoll,
    };
    let alert = Duration::from_micros(config.machine.stay_awake_us.into());
    let body = move || {
        if let Some(core) = thread.core {
            let mut set = rustix::thread::CpuSet::new();
            set.set(core);
            if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
                tracing::warn!(core, %error, "cannot pin a thread");
            }
        }
        let reactor = match Reactor::open_with(kind, &ReactorOptions { alert, ..ReactorOptions::default() }, waker) {
            Ok(reactor) => reactor,
            Err(error) => {
                // The main thread ends the process; if it has gone, there is nobody to tell.
                let _ = opened.send(Err(error));
                return;
            }
        };
        let _ = opened.send(Ok(reactor.backend().to_string()));
        drop(opened);
        if let Err(error) = Worker::new(parts, reactor).run() {
            // The other threads would go on waiting for this one.
            tracing::error!("a reactor failed: {error}; ending");
            process::exit(i32::from(ExitStatus::UnexpectedError as u8));
        }
    };
    thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| Failure::new(ExitStatus::UnexpectedError, format!("cannot start a thread: {error}")))
}

/// Waits until every thread has its reactor, and says once which kind it is.
fn say_backend(opening: &mpsc::Receiver<io::Result<String>>, threads: usize) -> Result<(), Failure> {
    let mut backends = BTreeSet::new();
    for _ in 0..threads {
        let answer = opening.recv().expect("a thread says whether it has a reactor");
        let backend = answer.map_err(|error| {
            let what = format!("the system refuses what threads wait with: {error}; see ringkeeper.backend");
            Failure::new(ExitStatus::UnexpectedError, what)
        })?;
        backends.insert(backend);
    }
    backends.iter().for_each(|backend| tracing::info!("sockets and log run on {backend}"));
    Ok(())
}

/// The first signal asks for an orderly end, a second one ends at once.
fn wait_for_signal(mut signals: Signals, mailboxes: &[Arc<Mailbox<Letter>>]) {
    let signal = signals.forever().next();
    tracing::info!(signal, "stopping: no new connections, finishing what was accepted");
    mailboxes.iter().for_each(|mailbox| mailbox.send(Letter::ShutDown));
    let built = thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            tracing::warn!(signal, "ending at once");
            process::exit(i32::from(ExitStatus::UnexpectedError as u8));
        }
    });
    if let Err(error) = built {
        tracing::warn!(%error, "a second signal will not be heard");
    }
}
