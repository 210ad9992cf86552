//! `conf`: the configuration in force.

use std::fmt::Write;

use quorum::effect::HostPort;
use quorum::view::QuorumView;

use crate::{EnsembleFacts, Facts, Role};

pub(super) fn text(facts: &Facts) -> String {
    let server = &facts.server;
    let mut out = String::new();
    _ = writeln!(out, "clientPort={}", server.client_port);
    // There is no TLS port.
    out.push_str("secureClientPort=-1\n");
    _ = writeln!(out, "dataDir={}", server.data_dir);
    _ = writeln!(out, "dataDirSize={}", facts.bytes.data_dir);
    _ = writeln!(out, "dataLogDir={}", server.data_log_dir);
    _ = writeln!(out, "dataLogSize={}", facts.bytes.data_log_dir);
    _ = writeln!(out, "tickTime={}", server.tick_ms);
    _ = writeln!(out, "maxClientCnxns={}", server.connections_per_address_max);
    _ = writeln!(out, "minSessionTimeout={}", server.session_timeout_min_ms);
    _ = writeln!(out, "maxSessionTimeout={}", server.session_timeout_max_ms);
    _ = writeln!(out, "clientPortListenBacklog={}", server.backlog.map_or(-1, i64::from));
    // A standalone server has no number.
    _ = writeln!(out, "serverId={}", server.ensemble.map_or(0, |ensemble| ensemble.id.0));
    if let (Some(ensemble), Some(quorum)) = (server.ensemble, &facts.quorum) {
        limits_and_ports(&mut out, ensemble, &quorum.view);
        // Without a leader nobody says what the ensemble is now.
        if facts.role != Role::ReadOnly {
            // It ends without a line's end, as the text of the configuration does.
            _ = write!(out, "membership: \n{}", quorum.view);
        }
    }
    out
}

/// What a member of an ensemble adds.
fn limits_and_ports(out: &mut String, ensemble: EnsembleFacts, view: &QuorumView) {
    let ports = |places: Vec<HostPort>| {
        let ports: Vec<String> = places.iter().map(|place| place.port.to_string()).collect();
        ports.join("|")
    };
    _ = writeln!(out, "initLimit={}", ensemble.init_limit_ticks);
    _ = writeln!(out, "syncLimit={}", ensemble.sync_limit_ticks);
    out.push_str("electionAlg=3\n");
    // A member that the ensemble has given up keeps serving for a while and has no ports in its configuration.
    let member = view.member(ensemble.id);
    _ = writeln!(out, "electionPort={}", member.map_or_else(String::new, |member| ports(member.election())));
    _ = writeln!(out, "quorumPort={}", member.map_or_else(String::new, |member| ports(member.quorum())));
    _ = writeln!(out, "peerType={}", u8::from(!view.is_voter(ensemble.id)));
}
