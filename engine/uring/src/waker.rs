//! How another thread ends a reactor's sleep: an eventfd, written by anyone, read by the reactor alone.
//!
//! A wake that comes while the reactor is busy is remembered by the kernel and ends the next sleep at once; several count as one.
//! Kept out: when a wake is worth its system call; see `queue::Bell`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::{read, retry_on_intr, write},
};

/// Wakes one reactor, from any thread. Clones wake the same one.
#[derive(Clone, Debug)]
pub struct Waker {
    eventfd: Arc<OwnedFd>,
}

impl Waker {
    /// A waker that no reactor listens to yet; see [`Reactor::open_with`](crate::Reactor::open_with).
    ///
    /// # Errors
    /// When the process or machine has too many open files.
    pub fn new() -> io::Result<Waker> {
        // Blocking, since a ring would not wait on a non-blocking one; nobody blocks on it, as only a readable one is read.
        Ok(Waker { eventfd: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?) })
    }

    /// Makes the reactor tell [`Event::Woken`](crate::Event::Woken) and end its sleep. Costs a system call.
    pub fn wake(&self) {
        let written = retry_on_intr(|| write(&*self.eventfd, &1_u64.to_ne_bytes()));
        debug_assert!(written.is_ok(), "an eventfd takes an increment of one: {written:?}");
    }

    /// Takes back all wakes so far. Only to be called when the eventfd is readable.
    pub(crate) fn clear(&self) {
        let cleared = retry_on_intr(|| read(&*self.eventfd, &mut [0_u8; 8]));
        debug_assert!(cleared.is_ok(), "a readable eventfd is read: {cleared:?}");
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
