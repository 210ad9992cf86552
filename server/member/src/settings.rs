//! What a member must know of its configuration, as plain values.

/// Settings of a shard; names and defaults are ZooKeeper's.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// `jute.maxbuffer`: the largest frame.
    pub frame_bytes_max: usize,
    /// `jute.maxbuffer` plus extra size: the largest string or buffer within.
    pub length_max: usize,
    /// `minSessionTimeout`
    pub session_timeout_min_ms: i32,
    /// `maxSessionTimeout`
    pub session_timeout_max_ms: i32,
    /// `globalOutstandingLimit`
    pub outstanding_max: usize,
    /// `nio.sessionlessCnxnTimeout`
    pub sessionless_timeout_ms: i64,
    /// Output of all connections together that clients have not taken, bytes. Beyond it, whoever has some is not read, and
    /// whoever has taken none for long loses its connection. Beyond twice that nobody is read, and that goes faster.
    pub unread_bytes_max: usize,
}

impl ShardSettings {
    /// What a shard of the product holds.
    pub const UNREAD_BYTES_MAX: usize = 128 << 20;
}

/// Settings of the write stage.
#[derive(Clone, Debug)]
pub struct WriteSettings {
    /// `flushDelay`; 0 = a group is written as soon as the last one is.
    pub flush_delay_ms: i64,
    /// `maxBatchSize`: so many records do not wait for `flushDelay`.
    pub batch_records_max: i64,
    /// `snapCount`
    pub snap_count: u64,
    /// `snapSizeLimitInKb`, in bytes; 0 = off.
    pub snap_bytes: u64,
    /// `znode.container.checkIntervalMs`
    pub container_check_ms: i64,
    /// `znode.container.maxPerMinute`
    pub container_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`; 0 = never.
    pub container_never_used_ms: i64,
}
