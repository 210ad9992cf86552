//! `srvr`: the server in nine lines, a leader and a read-only server in ten. It is always answered, so every monitoring tool can rely on it.

use std::fmt::Write;

use crate::java::average;
use crate::{Facts, Role};

pub(super) fn text(facts: &Facts) -> String {
    let mut out = version_line(facts);
    out.push_str(&body(facts));
    out
}

/// What `srvr` and `stat` begin with.
pub(super) fn version_line(facts: &Facts) -> String {
    let mut out = format!("Zookeeper version: {}\n", facts.server.version);
    if facts.role == Role::ReadOnly {
        out.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    out
}

/// What `srvr` and `stat` end with.
pub(super) fn body(facts: &Facts) -> String {
    let (totals, levels) = (&facts.totals, &facts.levels);
    let (min, max) = (totals.latency_min.unwrap_or(0), totals.latency_max);
    let mut out = String::new();
    _ = writeln!(out, "Latency min/avg/max: {min}/{}/{max}", average(totals.latency_sum, totals.latency_count));
    _ = writeln!(out, "Received: {}", totals.received);
    _ = writeln!(out, "Sent: {}", totals.sent);
    _ = writeln!(out, "Connections: {}", totals.connections);
    _ = writeln!(out, "Outstanding: {}", totals.outstanding);
    _ = writeln!(out, "Zxid: {}", levels.zxid);
    _ = writeln!(out, "Mode: {}", facts.role.name());
    _ = writeln!(out, "Node count: {}", levels.znodes);
    if let (Role::Leader, Some(quorum)) = (facts.role, &facts.quorum) {
        let report = &quorum.figures;
        let (last, min, max) = (report.last_proposal_size, report.min_proposal_size, report.max_proposal_size);
        _ = writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}");
    }
    out
}
