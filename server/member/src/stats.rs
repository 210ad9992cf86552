//! Counters that every shard keeps for itself and anybody may read: what `srvr`, `stat` and `mntr` show.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use proto::{Millis, Zxid};

/// One shard's counters. Written by the shard alone; readers may see them a moment late.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardStats {
    /// Packets received.
    pub received: AtomicU64,
    /// Packets sent, notifications included.
    pub sent: AtomicU64,
    /// Bytes received.
    pub received_bytes: AtomicU64,
    /// Open connections.
    pub connections: AtomicU64,
    /// Requests waiting for an answer.
    pub outstanding: AtomicU64,
    /// Watches of both tables.
    pub watches: AtomicU64,
    /// Requests whose latency was taken.
    pub latency_count: AtomicU64,
    /// Sum of latencies, ms.
    pub latency_sum: AtomicU64,
    /// Smallest latency, ms; −1 before the first.
    pub latency_min: AtomicI64,
    /// Largest latency, ms.
    pub latency_max: AtomicI64,
    /// Sessions refused or unauthenticated connections closed by a failed authentication.
    pub auth_failed: AtomicU64,
    /// Bytes of the last, the smallest and the largest answer; −1 before the first.
    pub response_last: AtomicI64,
    /// See `response_last`.
    pub response_min: AtomicI64,
    /// See `response_last`.
    pub response_max: AtomicI64,
    /// Connection requests seen.
    pub connection_requests: AtomicU64,
    /// Connections closed because no session came in time.
    pub sessionless_expired: AtomicU64,
}

fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed) + by, Relaxed);
}

impl ShardStats {
    /// Fresh counters.
    pub fn new() -> ShardStats {
        let stats = ShardStats::default();
        stats.reset();
        stats
    }

    /// What `srst` resets: all that counts events, as seen in 3.9.5. What is there now (connections, requests, watches) stays.
    pub fn reset(&self) {
        for counter in [
            &self.received,
            &self.sent,
            &self.received_bytes,
            &self.latency_count,
            &self.latency_sum,
            &self.connection_requests,
            &self.sessionless_expired,
        ] {
            counter.store(0, Relaxed);
        }
        for gauge in [&self.latency_min, &self.response_last, &self.response_min, &self.response_max] {
            gauge.store(-1, Relaxed);
        }
        self.latency_max.store(0, Relaxed);
    }

    pub(crate) fn packet_received(&self, bytes: usize) {
        add(&self.received, 1);
        add(&self.received_bytes, bytes as u64);
    }

    pub(crate) fn packet_sent(&self, bytes: usize) {
        add(&self.sent, 1);
        let bytes = bytes as i64;
        self.response_last.store(bytes, Relaxed);
        if bytes > self.response_max.load(Relaxed) {
            self.response_max.store(bytes, Relaxed);
        }
        let min = self.response_min.load(Relaxed);
        if min < 0 || bytes < min {
            self.response_min.store(bytes, Relaxed);
        }
    }

    pub(crate) fn latency(&self, ms: i64) {
        add(&self.latency_count, 1);
        add(&self.latency_sum, ms.max(0) as u64);
        if ms > self.latency_max.load(Relaxed) {
            self.latency_max.store(ms, Relaxed);
        }
        let min = self.latency_min.load(Relaxed);
        if min < 0 || ms < min {
            self.latency_min.store(ms, Relaxed);
        }
    }

    pub(crate) fn bump(counter: &AtomicU64) {
        add(counter, 1);
    }
}

/// What the write stage lets everybody know.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Znodes as ZooKeeper counts them (`/` twice).
    pub znodes: AtomicU64,
    /// Ephemeral znodes.
    pub ephemerals: AtomicU64,
    /// Bytes of paths and data.
    pub data_bytes: AtomicU64,
    /// Sessions.
    pub sessions: AtomicU64,
    /// Sessions that only this member knows.
    pub local_sessions: AtomicU64,
    /// The last final zxid.
    pub zxid: AtomicI64,
    /// The last transaction that the log holds for good.
    pub durable: AtomicI64,
    /// Slow syncs of the log.
    pub fsync_slow: AtomicU64,
    /// Log writes, and the sum of their durations in µs.
    pub log_writes: AtomicU64,
    /// See `log_writes`.
    pub log_write_us: AtomicU64,
    /// The longest, µs.
    pub log_write_us_max: AtomicU64,
    /// Snapshots written.
    pub snapshots: AtomicU64,
    /// Digest mismatches found while replaying.
    pub digest_mismatches: AtomicU64,
}

/// What one connection has done: a line of `cons` and `stat`.
#[derive(Debug, Clone)]
pub struct ConnStats {
    /// When it was accepted (wall clock).
    pub established: Millis,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// ZooKeeper's abbreviation of the last operation.
    pub last_op: &'static str,
    /// Its xid; −1 before the first request.
    pub last_cxid: i64,
    /// The zxid of the last answer.
    pub last_zxid: Zxid,
    /// When the last answer went out (wall clock).
    pub last_response: Millis,
    /// Latency of the last request, ms.
    pub last_latency: i64,
    /// Smallest latency; −1 before the first.
    pub latency_min: i64,
    /// Largest latency.
    pub latency_max: i64,
    /// Sum of latencies.
    pub latency_sum: i64,
    /// Requests measured.
    pub latency_count: i64,
}

impl ConnStats {
    /// For a connection accepted at `now` (wall clock).
    pub fn new(now: Millis) -> ConnStats {
        ConnStats {
            established: now,
            received: 0,
            sent: 0,
            last_op: "NA",
            last_cxid: -1,
            last_zxid: Zxid(-1),
            last_response: Millis(0),
            last_latency: 0,
            latency_min: -1,
            latency_max: 0,
            latency_sum: 0,
            latency_count: 0,
        }
    }

    /// What `crst` resets.
    pub fn reset(&mut self) {
        *self = ConnStats::new(self.established);
    }

    pub(crate) fn answered(&mut self, op: &'static str, cxid: i64, zxid: Zxid, latency: i64, now: Millis) {
        self.last_op = op;
        if cxid >= 0 {
            self.last_cxid = cxid;
        }
        self.last_zxid = zxid;
        self.last_response = now;
        self.last_latency = latency;
        self.latency_sum += latency;
        self.latency_count += 1;
        self.latency_max = self.latency_max.max(latency);
        self.latency_min = if self.latency_min < 0 { latency } else { self.latency_min.min(latency) };
    }
}
