//! One ensemble member: its stages as plain structs with bounded queues at their borders, placed by someone else.
//!
//! - [`Shard`]: the connections of one net shard. Bytes come in, requests are answered from the tree or handed to the write
//!   stage, the commit stream is consumed, bytes go out.
//! - [`WriteStage`]: sequencer, session clock and log, in that order, on one thread.
//!
//! The caller's contract for a shard: hand in each event as it comes ([`Shard::connected`], [`Shard::received`],
//! [`Shard::catch_up`], [`Shard::tick`]), then [`Shard::flush`], then serve every connection that
//! [`Shard::take_dirty`] names. For the write stage: [`WriteStage::step`] until it reports nothing done, carry out its effects,
//! report their ends.
//!
//! What is absent: sockets, files, clocks, threads. The same structs run in the product and under a simulator.
#![forbid(unsafe_code)]

pub mod ensemble;
pub mod limits;
mod local_sessions;
mod own_sessions;
pub mod report;
pub mod seldom;
pub mod settings;
pub mod shard;
pub mod stats;
pub mod stream;
pub mod word;
pub mod write_stage;

pub use ensemble::Mode;
pub use limits::Limits;
pub use local_sessions::LocalSessions;
pub use seldom::Seldom;
pub use settings::{ShardSettings, WriteSettings};
pub use shard::{Inlet, Io, Key, Shard};
pub use stats::{ConnStats, Gauges, ShardStats};
pub use write_stage::{Effect, WriteStage};
