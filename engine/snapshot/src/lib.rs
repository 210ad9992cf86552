//! Snapshots in ZooKeeper's format, and everything that is done with them: writing one while the tree goes on changing,
//! loading one, restoring a database from snapshot and log, removing what is no longer needed.
//!
//! What always holds: a snapshot that we write shows the tree at exactly one zxid, and bears its name only when it is whole
//! and durable; of several snapshots the newest whole one is used; nothing is removed that the kept snapshots need.
//! Kept out: when to take one, and who does it. The caller slices the work ([`SnapshotJob::step`]) and decides on threads.
#![forbid(unsafe_code)]

pub mod compression;
pub mod epochs;
pub mod format;

mod install;
mod job;
mod load;
mod purge;
mod restore;
mod stream;
mod writer;

pub use compression::{Compression, Encoder};
pub use install::{install, remove_logs};
pub use job::{SnapshotJob, Written, give_name};
pub use load::{LoadError, Loaded, Why, load};
pub use purge::{PurgeError, Removed, purge};
pub use restore::{
    DigestMismatch, DirError, Rejected, RestoreError, RestoreOptions, Restored, prepare_directories, restore,
};
pub use stream::StreamLoader;
pub use writer::{SnapshotWriter, Source};
