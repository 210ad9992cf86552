//! What makes one server a member of an ensemble: fast leader election, and ZAB as leader, follower and observer.
//!
//! Everything here is a state machine over bytes and time: links are numbers that somebody else connects to sockets
//! ([`effect::Effect`]), and the log, the tree and the sessions are reached through one trait ([`replica::Replica`]). The wire
//! is ZooKeeper's (peer-protocol.md), so that the other members may be Java's.
//!
//! What always holds: nothing is acknowledged before the replica says that it is durable; what a peer sends is decoded with every
//! length checked, and a peer that breaks the protocol loses its link and disturbs nobody else. What is absent: sockets,
//! clocks, threads, name resolution, files.
#![forbid(unsafe_code)]

pub mod effect;
pub mod election;
pub mod elector;
mod leader;
mod learner;
mod master;
pub mod notification;
mod observers;
pub mod packet;
pub mod peer;
pub mod reconfig;
pub mod replica;
pub mod sync;
pub mod view;

pub use peer::Peer;

#[cfg(test)]
mod java;
// The replica of the tests under tests/ serves those beside the code as well; it calls this crate by its name.
#[cfg(test)]
extern crate self as quorum;
#[cfg(test)]
#[path = "../tests/ensembles/lines.rs"]
mod lines;
#[cfg(test)]
#[path = "../tests/ensembles/memory.rs"]
mod memory;
#[cfg(test)]
mod script;
