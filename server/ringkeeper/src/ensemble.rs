//! From the configuration of an ensemble to the parts of one member: its promises, its ports, the way to the others.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use clients::Mailbox;
use config::{Config, Ensemble, ExitStatus};
use disk::RealDisk;
use member::LocalSessions;
use member::ensemble::{Parts, Store};
use peers::Connector;
use proto::{Millis, Zxid};
use quorum::effect::{Port, Ticket};
use quorum::peer::{Peer, PeerSettings};
use snapshot::epochs;

use crate::letter::Letter;
use crate::server::{Directories, Failure};
use crate::views::ViewFiles;

/// For the snapshot of a znode with as much data as clients may set, and its transaction.
const PACKET_EXTRA_BYTES: usize = 1 << 20;

/// So long, and at least a tick, a member looks for a leader before it serves readers without one.
const READ_ONLY_AFTER_MS: i64 = 2_000;

/// Takes the two ports at which other members call.
pub fn take_ports(ensemble: &Ensemble) -> Result<Vec<(Port, TcpListener)>, Failure> {
    let bound = peers::bind(ensemble.id, ensemble.member(), &ensemble.wires)
        .map_err(|error| Failure::new(ExitStatus::UnableToBindQuorumPort, error))?;
    let election = bound.election.into_iter().map(|listener| (Port::Election, listener));
    let quorum = bound.quorum.into_iter().map(|listener| (Port::Quorum, listener));
    Ok(election.chain(quorum).collect())
}

/// Where changes of the ensemble are kept.
pub fn view_files(ensemble: &Ensemble) -> Option<ViewFiles> {
    ensemble.static_file.clone().map(|static_file| ViewFiles { static_file, id: ensemble.id })
}

/// Connections to the others; their ends go to the write stage.
pub fn connector(ensemble: &Ensemble, write_stage: Arc<Mailbox<Letter>>) -> Result<Connector, Failure> {
    let options = peers::Options { keep_alive: ensemble.wires.tcp_keep_alive };
    let done = move |ticket: Ticket, result: Result<OwnedFd, String>| {
        write_stage.send(Letter::PeerConnected(ticket, result));
    };
    Connector::start(options, done)
        .map_err(|error| Failure::new(ExitStatus::UnexpectedError, format!("cannot start a thread: {error}")))
}

/// What makes the write stage a member. `last` is the end of the restored history.
pub fn parts(
    config: &Config,
    ensemble: &Ensemble,
    dirs: &Directories,
    options: snapshot::RestoreOptions,
    last: Zxid,
    now: Millis,
) -> Result<Parts, Failure> {
    let disk = RealDisk;
    let epochs = epochs::load(&disk, Path::new(&dirs.data), last)
        .map_err(|error| Failure::new(ExitStatus::UnexpectedError, error))?;
    let settings = config.peer_settings().map(|settings| PeerSettings {
        packet_bytes_max: settings.packet_bytes_max.saturating_add(PACKET_EXTRA_BYTES),
        ..settings
    });
    let settings = settings.expect("the configuration is that of an ensemble");
    let mut peer = Peer::new(settings, ensemble.view.clone(), now);
    let proposed = view_files(ensemble).filter(|_| config.nodes.reconfig).and_then(|files| files.proposed());
    if let Some(view) = proposed {
        peer.seen(view);
    }
    Ok(Parts {
        peer,
        epochs,
        store: Store { disk: Arc::new(disk), data_dir: dirs.data.clone(), log_dir: dirs.log.clone(), options },
        leader_serves: ensemble.leader_serves,
        read_only_after_ms: config.read_only_mode.then(|| READ_ONLY_AFTER_MS.max(i64::from(config.tick_time_ms))),
        local_sessions: match ensemble.local_sessions {
            config::LocalSessions { enabled: false, .. } => LocalSessions::Off,
            config::LocalSessions { upgrading: false, .. } => LocalSessions::On,
            config::LocalSessions { .. } => LocalSessions::Upgraded,
        },
        reconfig_enabled: config.nodes.reconfig,
        history_max: ensemble.catch_up.transactions as usize,
    })
}
