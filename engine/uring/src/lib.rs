//! The only room with rings in it: sockets, log writes and wake-ups of one thread, and whole files for the control thread.
//!
//! A thread that serves clients or writes the log owns a [`Reactor`] and lives in its [`Reactor::turn`]: the caller's requests
//! since the last turn are submitted, the thread waits, and what completed comes back as [`Event`]s, handed to the caller's
//! sink one after the other. Two backends stand behind the one type: io_uring ([`Kind::Uring`]), and epoll with a helper thread for log
//! writes ([`Kind::Epoll`]) for machines that refuse io_uring. They behave alike; the same tests run over both.
//!
//! What always holds:
//! * Reaping only queues; the sink runs afterwards, from one place, never inside a submission.
//! * Whatever the kernel borrows (buffers, descriptors) belongs to the operation until its completion is reaped, also when the
//!   connection has gone meanwhile, and also when the reactor is dropped.
//! * Every adopted connection ends in exactly one [`Event::Closed`]; every durable write in exactly one [`Event::Written`].
//!
//! Kept out: what the bytes mean, when to write, retry or give up. That is decided elsewhere; this crate acts.

pub mod files;

mod alertness;
mod durable;
mod epoll;
mod event;
mod reactor;
mod ring;
mod slab;
mod socket;
mod waker;

pub use aligned::AlignedBuf;
pub use event::{Cause, ConnId, Event, ListenerId, Wait};
pub use reactor::{Backend, Kind, Options, Reactor};
pub use waker::Waker;
