//! The receive buffers of a ring, lent to the kernel, which picks one when bytes are there to be put into it.
//!
//! So connections that wait cost no buffer. A buffer is the kernel's from [`Buffers::give`] until a completion names it, then ours until
//! it is given again. Kept out: connections.

use std::{
    io, ptr,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{Submitter, types::BufRingEntry};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The only group of buffers in a ring of ours.
pub(super) const GROUP: u16 = 0;

pub(super) struct Buffers {
    /// The ring of descriptors that the kernel takes buffers from.
    entries: Mapping,
    /// The buffers themselves, one after the other.
    memory: Mapping,
    /// A power of two.
    count: u16,
    bytes: u32,
    tail: u16,
}

impl Buffers {
    /// Allocates the buffers and lends them all to the kernel.
    pub(super) fn register(submitter: &Submitter<'_>, count: u16, bytes: u32) -> io::Result<Buffers> {
        let count = count.clamp(1, 1 << 15).next_power_of_two();
        let bytes = bytes.max(1);
        let mut buffers = Buffers {
            entries: Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: Mapping::new(usize::from(count) * bytes as usize)?,
            count,
            bytes,
            tail: 0,
        };
        // SAFETY: the mapping is page-aligned and holds `count` zeroed entries. It stays mapped until the ring, the only user, is
        // closed: `Ring` declares its ring before its buffers, and fields are dropped in that order.
        unsafe { submitter.register_buf_ring_with_flags(buffers.entries.start.addr() as u64, count, GROUP, 0)? };
        for buffer in 0..count {
            buffers.give(buffer);
        }
        Ok(buffers)
    }

    /// The first `len` bytes of a buffer that a completion has named.
    pub(super) fn bytes(&self, buffer: u16, len: usize) -> &[u8] {
        assert!(buffer < self.count && len <= self.bytes as usize, "the kernel fills a buffer that it was given");
        // SAFETY: inside the mapping (just asserted), initialised (mapped as zeros), and ours until it is given back, which
        // takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start(buffer), len) }
    }

    /// Lends a buffer (again).
    pub(super) fn give(&mut self, buffer: u16) {
        assert!(buffer < self.count, "only buffers of the pool are lent");
        let base: *mut BufRingEntry = self.entries.start.cast();
        let start = self.start(buffer).addr() as u64;
        // SAFETY: the index is below `count`, so the entry is inside the mapping. The kernel does not read it before the tail is moved,
        // as there are as many places as buffers. Only address, length and number are written: the fourth field of the first
        // entry is the tail.
        unsafe {
            let entry = &mut *base.add(usize::from(self.tail & (self.count - 1)));
            entry.set_addr(start);
            entry.set_len(self.bytes);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, inside the mapping and aligned for `u16`; the kernel only reads it.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) }.store(self.tail, Ordering::Release);
    }

    fn start(&self, buffer: u16) -> *mut u8 {
        self.memory.start.wrapping_add(usize::from(buffer) * self.bytes as usize)
    }
}

/// Zeroed, page-aligned memory that the kernel may share.
struct Mapping {
    start: *mut u8,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Mapping> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)? };
        Ok(Mapping { start: start.cast(), bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; nobody holds a pointer into it any more (see `register`).
        let unmapped = unsafe { munmap(self.start.cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped: {unmapped:?}");
    }
}
