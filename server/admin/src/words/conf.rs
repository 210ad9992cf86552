//! `conf`: the configuration in force.

use std::fmt::Write;

use crate::Facts;

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
    out.push_str("serverId=0\n");
    out
}
