//! Where order is made.
//!
//! Shards hand in requests ([`message::ToSequencer`]); the [`Sequencer`] gives each write a zxid, checks it against the newest
//! state of the tree (which already contains every write prepared before it), applies it there, and appends one transaction
//! to the log. What clients and watches must hear of it waits in the commit stream until the transaction is committed
//! ([`Sequencer::committed`]); then it goes to every shard in zxid order.
//!
//! The caller's contract: after each call that may prepare transactions, let the log write; when the log (or the quorum)
//! says that a zxid is final, call `committed` and pass the items on to all shards before any of them may answer.
//!
//! What always holds: every write that reaches the sequencer produces exactly one transaction, errors included; apply is a
//! function of tree and transaction; nothing here reads a clock. What is absent: sockets, threads, session timers.
#![forbid(unsafe_code)]

pub mod guard;
pub mod message;
mod prepare;
mod replicate;
pub mod sequencer;
pub mod session_table;

pub use guard::Guard;
pub use message::{
    Answer, Body, Clients, Commit, ConnRef, Item, MemberResult, Origin, Pulse, Readers, ToSequencer, WriteRequest,
};
pub use replicate::Waiting;
pub use sequencer::{Now, Sequencer, Settings, TxnSink};
pub use session_table::SessionTable;
