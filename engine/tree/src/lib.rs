//! The znode tree: one writer, many readers, each reader at a zxid of its own.
//!
//! Every mutable cell is a chain of immutable versions stamped with the zxid that made them. The [`Writer`] applies
//! transactions ahead of their commitment; a [`Reader`] sees exactly the state after the transaction that it has advanced to,
//! without locks. The zxid is the epoch of reclamation: what a transaction superseded is freed once every reader has
//! reached it.
//!
//! The caller's contract: [`Writer::apply`] in the order of zxids, [`Writer::commit`] when a zxid can no longer be taken back,
//! then [`Reader::advance`] at each reader, in whatever thread it lives. Apply is a function of tree and transaction: no clock,
//! no randomness (the key of the path hash comes in with [`Options`]), and no observable hash order.
//!
//! Kept out: sessions and their timeouts, watches, permission checks, the log. Unsafe code is confined to cells and
//! their freeing; the API is safe by types: a [`NodeView`] borrows its reader, which must be borrowed mutably to advance.

mod acl;
mod apply;
mod chain;
mod digest;
mod epochs;
mod garbage;
mod hash;
mod index;
mod loader;
mod memory;
pub mod model;
mod names;
mod node;
mod quota;
mod reader;
mod shared;
mod sync;
mod view;
mod warm;
mod writer;

/// The lock-free cells by themselves, for their models.
#[cfg(loom)]
#[doc(hidden)]
pub mod cells {
    pub use crate::chain::{Chain, Link, cut};
    pub use crate::epochs::{Committed, Roster, Slot};
    pub use crate::index::{Index, IndexWriter, Replaced, Sizes};
}

pub use acl::{AclRef, OPEN_ID};
pub use apply::{Applied, Change, ChangeKind, Outcome};
pub use loader::{LoadError, Loader};
pub use names::Names;
pub use quota::{Limits, Quota, Usage};
pub use reader::{Reader, Walk};
pub use view::{NodeView, OwnerRules};
pub use writer::{Metrics, Options, Savepoint, Writer};
