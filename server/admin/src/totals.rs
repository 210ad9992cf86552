//! Counters of all shards as one set of numbers, read once for each answer.
//!
//! The shards count on while they are read: an answer may show a packet that its latency does not count yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use member::{Gauges, ShardStats};
use proto::Zxid;

/// The shards' counters taken together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Open connections.
    pub connections: u64,
    /// Requests waiting for an answer.
    pub outstanding: u64,
    /// Watches of both tables.
    pub watches: u64,
    /// Requests whose latency was taken.
    pub latency_count: u64,
    /// Sum of latencies, ms.
    pub latency_sum: u64,
    /// The smallest latency, ms; `None` before the first.
    pub latency_min: Option<u64>,
    /// The largest latency, ms; 0 before the first.
    pub latency_max: u64,
    /// Failed authentications.
    pub auth_failed: u64,
    /// Bytes of an answer that is its shard's last. Which of several shards answered last is not known: the first that
    /// has answered at all is taken.
    pub response_last: Option<u64>,
    /// Bytes of the smallest answer.
    pub response_min: Option<u64>,
    /// Bytes of the largest answer.
    pub response_max: Option<u64>,
    /// Connection requests.
    pub connection_requests: u64,
    /// Connections closed because no session came in time.
    pub sessionless_expired: u64,
}

impl Totals {
    /// Reads the counters of all shards.
    pub fn of(shards: &[Arc<ShardStats>]) -> Totals {
        let sum = |counter: fn(&ShardStats) -> &AtomicU64| shards.iter().map(|s| counter(s).load(Relaxed)).sum();
        let known = |gauge: fn(&ShardStats) -> &AtomicI64| {
            shards.iter().filter_map(move |shard| u64::try_from(gauge(shard).load(Relaxed)).ok())
        };
        Totals {
            received: sum(|s| &s.received),
            sent: sum(|s| &s.sent),
            received_bytes: sum(|s| &s.received_bytes),
            connections: sum(|s| &s.connections),
            outstanding: sum(|s| &s.outstanding),
            watches: sum(|s| &s.watches),
            latency_count: sum(|s| &s.latency_count),
            latency_sum: sum(|s| &s.latency_sum),
            latency_min: known(|s| &s.latency_min).min(),
            latency_max: known(|s| &s.latency_max).max().unwrap_or(0),
            auth_failed: sum(|s| &s.auth_failed),
            response_last: known(|s| &s.response_last).next(),
            response_min: known(|s| &s.response_min).min(),
            response_max: known(|s| &s.response_max).max(),
            connection_requests: sum(|s| &s.connection_requests),
            sessionless_expired: sum(|s| &s.sessionless_expired),
        }
    }
}

/// The write stage's gauges, read once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Levels {
    /// Znodes as ZooKeeper counts them (`/` twice).
    pub znodes: u64,
    /// Ephemeral znodes.
    pub ephemerals: u64,
    /// Bytes of paths and data.
    pub data_bytes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Sessions that only this member knows.
    pub local_sessions: u64,
    /// The last final zxid.
    pub zxid: Zxid,
    /// Log writes.
    pub log_writes: u64,
    /// Sum of their durations, µs.
    pub log_write_us: u64,
    /// The longest, µs.
    pub log_write_us_max: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Digest mismatches found while replaying.
    pub digest_mismatches: u64,
}

impl Levels {
    /// Reads the gauges.
    pub fn of(gauges: &Gauges) -> Levels {
        Levels {
            znodes: gauges.znodes.load(Relaxed),
            ephemerals: gauges.ephemerals.load(Relaxed),
            data_bytes: gauges.data_bytes.load(Relaxed),
            sessions: gauges.sessions.load(Relaxed),
            local_sessions: gauges.local_sessions.load(Relaxed),
            zxid: Zxid(gauges.zxid.load(Relaxed)),
            log_writes: gauges.log_writes.load(Relaxed),
            log_write_us: gauges.log_write_us.load(Relaxed),
            log_write_us_max: gauges.log_write_us_max.load(Relaxed),
            snapshots: gauges.snapshots.load(Relaxed),
            digest_mismatches: gauges.digest_mismatches.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_has_answered_nothing_lowers_no_minimum() {
        let (busy, idle) = (Arc::new(ShardStats::new()), Arc::new(ShardStats::new()));
        let nothing = Totals::of(&[Arc::clone(&idle)]);
        assert_eq!([nothing.latency_min, nothing.response_last, nothing.response_min, nothing.response_max], [None; 4]);
        assert_eq!(nothing.latency_max, 0);
        busy.latency_min.store(3, Relaxed);
        busy.latency_max.store(8, Relaxed);
        busy.response_last.store(20, Relaxed);
        busy.response_min.store(16, Relaxed);
        busy.response_max.store(92, Relaxed);
        let both = Totals::of(&[idle, busy]);
        assert_eq!((both.latency_min, both.latency_max), (Some(3), 8));
        assert_eq!([both.response_last, both.response_min, both.response_max], [Some(20), Some(16), Some(92)]);
    }

    #[test]
    fn counters_of_all_shards_add_up() {
        let shards = [1, 10, 100].map(|n| {
            let stats = ShardStats::new();
            stats.received.store(n, Relaxed);
            stats.connections.store(2 * n, Relaxed);
            Arc::new(stats)
        });
        let totals = Totals::of(&shards);
        assert_eq!((totals.received, totals.connections), (111, 222));
    }
}
