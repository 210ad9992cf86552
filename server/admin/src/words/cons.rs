//! `cons`: one line for each connection, and an empty line.

use std::fmt::Write;

use member::report::ConnReport;

use crate::Facts;
use crate::java::Peer;

pub(super) fn text(facts: &Facts) -> String {
    let mut out = String::new();
    for conn in &facts.connections {
        line(&mut out, conn, Detail::Long);
    }
    out.push('\n');
    out
}

/// How much a line tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// As in `stat`.
    Short,
    /// As in `cons`; a connection without a session has the short line there too.
    Long,
}

/// The line of a connection.
pub(super) fn line(out: &mut String, conn: &ConnReport, detail: Detail) {
    let stats = &conn.stats;
    _ = write!(out, " {}[{:x}]", Peer(conn.peer), conn.interest);
    _ = write!(out, "(queued={},recved={},sent={}", conn.queued, stats.received, stats.sent);
    if let (Detail::Long, Some(session)) = (detail, conn.session) {
        _ = write!(out, ",sid={session},lop={}", stats.last_op);
        _ = write!(out, ",est={},to={}", stats.established.0, conn.timeout_ms);
        if stats.last_cxid >= 0 {
            _ = write!(out, ",lcxid={:#x}", stats.last_cxid);
        }
        _ = write!(out, ",lzxid={},lresp={}", stats.last_zxid, stats.last_response.0);
        _ = write!(out, ",llat={},minlat={}", stats.last_latency, stats.latency_min.max(0));
        // The average of one connection is a whole number, cut off.
        let average = stats.latency_sum.checked_div(stats.latency_count).unwrap_or(0);
        _ = write!(out, ",avglat={average},maxlat={}", stats.latency_max);
    }
    out.push_str(")\n");
}
