//! From the configuration of an ensemble to the parts of one member: its promises, its ports, the way to the others.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use clients::Mailbox;
use config::{Config, Ensemble, ExitStatus};
use disk::RealDisk;
use member::ensemble::{Parts, Store};
use peers::Connector;
use proto::{Millis, Zxid};
use quorum::effect::{Port, Ticket};
use quorum::elector::ElectorSettings;
use quorum::peer::{Peer, PeerSettings};
use snapshot::epochs;

use crate::letter::Letter;
use crate::server::{Directories, Failure};

/// For the snapshot of a znode with as much data as clients may set, and its transaction.
const PACKET_EXTRA_BYTES: usize = 1 << 20;

/// Takes the two ports at which other members call.
pub fn take_ports(ensemble: &Ensemble) -> Result<Vec<(Port, TcpListener)>, Failure> {
    let bound = peers::bind(ensemble.id, ensemble.member(), &ensemble.wires)
        .map_err(|error| Failure::new(ExitStatus::UnableToBindQuorumPort, error))?;
    let election = bound.election.into_iter().map(|listener| (Port::Election, listener));
    let quorum = bound.quorum.into_iter().map(|listener| (Port::Quorum, listener));
    Ok(election.chain(quorum).collect())
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
    let limits = &config.limits;
    let packet_bytes_max = limits.packet_bytes_max as usize + limits.packet_extra_bytes as usize + PACKET_EXTRA_BYTES;
    let settings = PeerSettings {
        tick_ms: i64::from(config.tick_time_ms),
        init_limit: i64::from(ensemble.init_limit_ticks),
        sync_limit: i64::from(ensemble.sync_limit_ticks),
        connect_to_learner_master_limit: i64::from(ensemble.connect_limit_ticks),
        packet_bytes_max,
        snapshot_size_factor: ensemble.catch_up.log_factor.unwrap_or(-1.0),
        snap_syncs_max: ensemble.catch_up.snapshots_max as usize,
        diff_syncs_max: ensemble.catch_up.diffs_max as usize,
        observer_election_delay_ms: i64::from(ensemble.election.observer_delay_ms),
        elector: ElectorSettings {
            notification_min_ms: i64::from(ensemble.election.notification_min_ms),
            notification_max_ms: i64::from(ensemble.election.notification_max_ms),
            connect_timeout_ms: i64::from(ensemble.election.connect_timeout_ms),
            handshake_timeout_ms: i64::from(ensemble.election.handshake_timeout_ms),
            ..ElectorSettings::new(ensemble.id)
        },
        ..PeerSettings::new(ensemble.id)
    };
    Ok(Parts {
        peer: Peer::new(settings, ensemble.view.clone(), now),
        epochs,
        store: Store { disk: Arc::new(disk), data_dir: dirs.data.clone(), log_dir: dirs.log.clone(), options },
        leader_serves: ensemble.leader_serves,
        history_max: ensemble.catch_up.transactions as usize,
    })
}
