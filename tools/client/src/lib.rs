//! A small ZooKeeper client for tests, tools and load.
//!
//! Two layers. [`wire`] turns requests into frames and frames into answers, and does no I/O: load generators use it on sockets
//! of their own. [`Session`] is a blocking connection with a deadline on every wait, which can pipeline, and shows replies
//! and events exactly in the order in which the server sent them. Not here: reconnecting, pinging in the background, chroot
//! and the re-registration of watches; a test that wants these says so step by step.
//!
//! And what whoever starts servers needs besides: a [`free_port`], and the [`four_letter`] words.
//!
//! Requests are made by hand from the contract (client-protocol.md), not with the server's decoders, so that the two judge
//! each other.
#![forbid(unsafe_code)]

mod four_letter;
mod ports;
mod session;
pub mod wire;

pub use four_letter::four_letter;
pub use ports::free_port;
pub use session::{Answer, Error, Options, Received, Session};
pub use wire::{Event, Frame, MultiOp, MultiResult, Reply, Request, Response};
