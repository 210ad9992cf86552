//! Net shards: the sockets of a shard's connections, driven by the reactor of the thread that the shard was placed on.
//!
//! Thin on purpose: events of the ring become calls of [`member::Shard`], and what the shard leaves behind becomes sends,
//! closes and pauses. Whatever a client may notice is decided in the shard.

mod accept;
mod driver;
mod mailbox;

pub use accept::{Acceptor, Bound, ListenError, Options, bind};
pub use driver::Driver;
pub use mailbox::{Gathered, Mailbox, Question};
