//! `mntr`: names and numbers for dashboards, one `zk_<name>`, tab, value on each line (metrics.md).
//!
//! A name is here if something counts it: a zero says "never", not "unknown". What only a leader counts, only a leader shows, and
//! begins anew with each leadership. The order within gauges, counters and
//! summaries is that of 3.9.5, whose own comes from hash maps.

use std::fmt::{Display, Write};

use member::report::QuorumReport;
use quorum::peer::Phase;

use crate::java::average;
use crate::{Facts, Role};

pub(super) fn text(facts: &Facts) -> String {
    let (totals, levels) = (&facts.totals, &facts.levels);
    let mut lines = Lines(String::new());
    lines.put("version", &facts.server.version);
    lines.put("server_state", facts.role.name());
    let quorum = facts.quorum.as_ref();
    if let Some(quorum) = quorum {
        if facts.role != Role::ReadOnly {
            lines.put("peer_state", peer_state(quorum));
        }
        if let (Role::Observer, Some(master)) = (facts.role, quorum.figures.master) {
            lines.put("observer_master_id", master);
        }
    }
    let led = quorum.map(|quorum| &quorum.figures).filter(|_| facts.role == Role::Leader);

    // Gauges.
    lines.put("ephemerals_count", levels.ephemerals);
    lines.put("num_alive_connections", totals.connections);
    lines.put("avg_latency", average(totals.latency_sum, totals.latency_count));
    lines.put_if("min_proposal_size", led.map(|led| led.min_proposal_size));
    lines.put("outstanding_requests", totals.outstanding);
    lines.put("znode_count", levels.znodes);
    lines.put("global_sessions", levels.sessions);
    lines.put("last_client_response_size", or_minus_one(totals.response_last));
    lines.put("packets_sent", totals.sent);
    lines.put("packets_received", totals.received);
    lines.put_if("max_proposal_size", led.map(|led| led.max_proposal_size));
    lines.put("max_client_response_size", or_minus_one(totals.response_max));
    lines.put_if("synced_followers", led.map(|led| led.synced_followers));
    lines.put("watch_count", totals.watches);
    lines.put_if("synced_non_voting_followers", led.map(|led| led.synced_non_voting_followers));
    let serves_observers = |quorum: &&QuorumReport| facts.role == Role::Leader || quorum.figures.serves_observers;
    lines.put_if("synced_observers", quorum.filter(serves_observers).map(|quorum| quorum.figures.synced_observers));
    lines.put("auth_failed_count", totals.auth_failed);
    lines.put("min_latency", totals.latency_min.unwrap_or(0));
    lines.put("max_file_descriptor_count", or_minus_one(facts.descriptors.max));
    lines.put("approximate_data_size", levels.data_bytes);
    lines.put("open_file_descriptor_count", or_minus_one(facts.descriptors.open));
    lines.put_if("last_proposal_size", led.map(|led| led.last_proposal_size));
    lines.put_if("pending_syncs", led.map(|led| led.pending_syncs));
    lines.put_if("leader_uptime", led.map(|led| led.leader_uptime_ms));
    lines.put("local_sessions", levels.local_sessions);
    lines.put("uptime", facts.now_mono.since(facts.server.started));
    lines.put("max_latency", totals.latency_max);
    lines.put_if("learners", led.map(|led| led.learners.len()));
    lines.put("min_client_response_size", or_minus_one(totals.response_min));
    lines.put_if("quorum_size", quorum.map(|quorum| quorum.figures.quorum_size));

    // Counters.
    lines.put("sessionless_connections_expired", totals.sessionless_expired);
    lines.put("bytes_received_count", totals.received_bytes);
    lines.put_if("diff_count", led.map(|led| led.diff_syncs));
    lines.put_if("commit_count", led.map(|led| led.commits));
    lines.put_if("proposal_count", led.map(|led| led.proposals));
    lines.put("digest_mismatches_count", levels.digest_mismatches);
    lines.put("connection_request_count", totals.connection_requests);
    lines.put_if("snap_count", led.map(|led| led.snap_syncs));

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

    /// A line that only some servers have.
    fn put_if(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }
}

/// The role as Java says it of a peer, and how far it has come in it.
fn peer_state(quorum: &QuorumReport) -> String {
    let role = match quorum.state.phase {
        Phase::Looking => "looking",
        Phase::Leading => "leading",
        Phase::Following => "following",
        Phase::Observing => "observing",
    };
    format!("{role} - {}", quorum.state.zab.name())
}

fn or_minus_one(value: Option<u64>) -> i128 {
    value.map_or(-1, i128::from)
}
