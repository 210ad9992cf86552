//! The transaction log: ZooKeeper's files, written in groups that end on a 4 KiB boundary and are never written twice.
//!
//! - [`format`]: the bytes: file header, record, group trailer (docs/decisions/0003-group-trailer.md).
//! - [`Log`]: group commit as a state machine. It encodes, lays out and accounts; somebody else writes. The caller's
//!   contract: after each call drain [`Log::next_write`] and [`Log::next_work`] until both answer `None`; answer each
//!   write with [`Log::written`] and each work with [`Log::work_done`]; end the process on the first [`LogFailed`].
//! - [`segment`]: what the background does for the log: preparing, naming and retiring files.
//! - [`recover()`]: reading back, telling a torn tail from damage. [`truncate()`]: cutting history that others do not share.
//! - [`BlockingLog`]: a log with its writer in one, for callers without a ring.
//!
//! What always holds: appended ≥ issued ≥ durable; a zxid becomes durable after every zxid before it; no block of a file
//! is written twice; no file is opened for appending that an earlier process wrote.
#![forbid(unsafe_code)]

pub mod format;
pub mod names;
pub mod segment;

mod blocking;
mod group;
mod history;
mod log;
mod mark;
mod recover;
mod scan;
mod truncate;

pub use blocking::BlockingLog;
pub use history::read_history;
pub use log::{AppendError, Log, LogFailed, LogOptions, LogWrite, WriteToken};
pub use mark::{MARK_EVERY_MS, MARK_FILE, Mark, read_mark, write_epoch_mark, write_mark};
pub use recover::{Cut, Damage, Gap, ReadOptions, Record, RecoverError, Recovered, Why, decode, recover};
pub use segment::{Done, SegmentId, Work, perform};
pub use truncate::{TruncateError, Truncated, truncate};
