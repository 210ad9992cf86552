//! `mntr`: names and numbers for dashboards, one `zk_<name>`, tab, value on each line (metrics.md).
//!
//! A name is here if something counts it: a zero says "never", not "unknown". The order within gauges, counters and
//! summaries is that of 3.9.5, whose own comes from hash maps.

use std::fmt::{Display, Write};

use crate::Facts;
use crate::java::average;

pub(super) fn text(facts: &Facts) -> String {
    let (totals, levels) = (&facts.totals, &facts.levels);
    let mut lines = Lines(String::new());
    lines.put("version", &facts.server.version);
    lines.put("server_state", facts.role.name());

    // Gauges.
    lines.put("ephemerals_count", levels.ephemerals);
    lines.put("num_alive_connections", totals.connections);
    lines.put("avg_latency", average(totals.latency_sum, totals.latency_count));
    lines.put("outstanding_requests", totals.outstanding);
    lines.put("znode_count", levels.znodes);
    lines.put("global_sessions", levels.sessions);
    lines.put("last_client_response_size", or_minus_one(totals.response_last));
    lines.put("packets_sent", totals.sent);
    lines.put("packets_received", totals.received);
    lines.put("max_client_response_size", or_minus_one(totals.response_max));
    lines.put("watch_count", totals.watches);
    lines.put("auth_failed_count", totals.auth_failed);
    lines.put("min_latency", totals.latency_min.unwrap_or(0));
    lines.put("max_file_descriptor_count", or_minus_one(facts.descriptors.max));
    lines.put("approximate_data_size", levels.data_bytes);
    lines.put("open_file_descriptor_count", or_minus_one(facts.descriptors.open));
    lines.put("uptime", facts.now_mono.since(facts.server.started));
    lines.put("max_latency", totals.latency_max);
    lines.put("min_client_response_size", or_minus_one(totals.response_min));

    // Counters.
    lines.put("sessionless_connections_expired", totals.sessionless_expired);
    lines.put("bytes_received_count", totals.received_bytes);
    lines.put("digest_mismatches_count", levels.digest_mismatches);
    lines.put("connection_request_count", totals.connection_requests);

    // Summaries, as far as they are known.
    if facts.server.force_sync {
        // A log write ends when its bytes are on disk, so it is what Java calls a sync.
        let (sum_ms, max_ms) = (levels.log_write_us / 1000, levels.log_write_us_max / 1000);
        lines.put("avg_fsynctime", average(sum_ms, levels.log_writes));
        lines.put("max_fsynctime", max_ms);
        lines.put("cnt_fsynctime", levels.log_writes);
        lines.put("sum_fsynctime", sum_ms);
    }
    lines.put("cnt_snapshottime", levels.snapshots);
    lines.0
}

struct Lines(String);

impl Lines {
    fn put(&mut self, name: &str, value: impl Display) {
        _ = writeln!(self.0, "zk_{name}\t{value}");
    }
}

fn or_minus_one(value: Option<u64>) -> i128 {
    value.map_or(-1, i128::from)
}
