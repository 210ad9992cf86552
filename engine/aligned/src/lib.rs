//! A growable byte buffer whose memory starts on a page boundary and ends on one: what O_DIRECT asks for.
//!
//! It is a crate of its own because the log (which decides, and forbids unsafe code) fills such buffers and the ring
//! (which acts) hands them to the kernel. What always holds: the memory is a whole number of pages of [`PAGE`] bytes,
//! every byte of it is initialised, and moving the buffer does not move the memory. Kept out: files, offsets, and any
//! knowledge of what the bytes mean.

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
    slice,
};

/// Bytes in a page: the alignment of a buffer's start and of its capacity.
pub const PAGE: usize = 4096;

/// A growable byte buffer aligned to [`PAGE`]. It is used like a `Vec<u8>`, and derefs to its bytes.
#[derive(Clone, Default)]
pub struct AlignedBuf {
    pages: Vec<Page>,
    len: usize,
}

impl AlignedBuf {
    /// An empty buffer that has no memory yet.
    pub const fn new() -> AlignedBuf {
        AlignedBuf { pages: Vec::new(), len: 0 }
    }

    /// An empty buffer with room for at least `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> AlignedBuf {
        let mut buffer = AlignedBuf::new();
        buffer.reserve(bytes);
        buffer
    }

    /// A buffer of `len` zero bytes.
    pub fn zeroed(len: usize) -> AlignedBuf {
        AlignedBuf { pages: vec![Page::ZERO; len.div_ceil(PAGE)], len }
    }

    /// Bytes in use.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in use.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit without a new allocation: a multiple of [`PAGE`].
    pub const fn capacity(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory()[..self.len]
    }

    /// The bytes in use, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.memory_mut()[..len]
    }

    /// Forgets the bytes and keeps the memory.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Keeps the first `len` bytes; no effect when there are fewer.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes room for `more` bytes beyond those in use.
    ///
    /// Growth is at least by half of what there was, so that appending stays linear.
    pub fn reserve(&mut self, more: usize) {
        let needed = self.len.checked_add(more).expect("a buffer is smaller than the address space");
        if needed > self.capacity() {
            let pages = needed.div_ceil(PAGE).max(self.pages.len() + self.pages.len() / 2);
            self.pages.resize(pages, Page::ZERO);
        }
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let start = self.len;
        self.len += bytes.len();
        self.as_mut_slice()[start..].copy_from_slice(bytes);
    }

    /// Makes the buffer `len` bytes long: cut, or extended by zeros.
    pub fn resize(&mut self, len: usize) {
        if len > self.len {
            self.reserve(len - self.len);
            let start = self.len;
            self.memory_mut()[start..len].fill(0);
        }
        self.len = len;
    }

    /// Appends zeros until the length is a multiple of [`PAGE`]; returns how many.
    pub fn pad_to_page(&mut self) -> usize {
        let padding = self.len.next_multiple_of(PAGE) - self.len;
        self.resize(self.len + padding);
        padding
    }

    fn memory(&self) -> &[u8] {
        // SAFETY: the vector owns `capacity()` bytes in one piece, all initialised (a `Page` is an array of bytes
        // without padding), and they stay borrowed with `self`; for an empty vector the pointer is dangling but aligned.
        unsafe { slice::from_raw_parts(self.pages.as_ptr().cast(), self.capacity()) }
    }

    fn memory_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `memory`; `self` is borrowed mutably, so nobody else sees the bytes, and any byte is valid.
        unsafe { slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), self.capacity()) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for AlignedBuf {
    fn from(bytes: &[u8]) -> AlignedBuf {
        let mut buffer = AlignedBuf::new();
        buffer.extend_from_slice(bytes);
        buffer
    }
}

impl PartialEq for AlignedBuf {
    fn eq(&self, other: &AlignedBuf) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for AlignedBuf {}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} of {} bytes)", self.len, self.capacity())
    }
}

/// Writing appends, and never fails.
impl io::Write for AlignedBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

impl Page {
    const ZERO: Page = Page([0; PAGE]);
}

const _: () = assert!(size_of::<Page>() == PAGE && align_of::<Page>() == PAGE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_bytes_are_kept_and_the_memory_stays_aligned() {
        let mut buffer = AlignedBuf::new();
        let mut expected = Vec::new();
        for round in 0..200_u8 {
            let piece = vec![round; usize::from(round) * 3];
            buffer.extend_from_slice(&piece);
            expected.extend_from_slice(&piece);
            assert_eq!(buffer.as_slice(), expected);
            assert!(buffer.as_ptr().addr().is_multiple_of(PAGE));
            assert!(buffer.capacity().is_multiple_of(PAGE) && buffer.capacity() >= buffer.len());
        }
    }

    #[test]
    fn resizing_over_old_bytes_shows_zeros() {
        let mut buffer = AlignedBuf::from(&[7_u8; 5000][..]);
        buffer.clear();
        buffer.resize(6000);
        assert!(buffer.iter().all(|&byte| byte == 0));
        buffer.truncate(10);
        buffer[9] = 1;
        buffer.resize(20);
        assert_eq!(buffer[9..12], [1, 0, 0]);
    }

    #[test]
    fn padding_reaches_the_page_boundary_and_no_further() {
        let mut buffer = AlignedBuf::from(&[1_u8; 1][..]);
        assert_eq!(buffer.pad_to_page(), PAGE - 1);
        assert_eq!(buffer.len(), PAGE);
        assert_eq!(buffer.pad_to_page(), 0);
        assert_eq!(AlignedBuf::new().pad_to_page(), 0);
    }

    #[test]
    fn moving_the_buffer_leaves_the_memory_in_place() {
        let buffer = AlignedBuf::zeroed(1);
        let before = buffer.as_ptr();
        let moved = Box::new(buffer);
        assert_eq!(before, moved.as_ptr());
        assert_eq!(moved.capacity(), PAGE);
    }

    #[test]
    fn an_empty_buffer_has_no_memory_and_works() {
        let mut buffer = AlignedBuf::default();
        assert!(buffer.is_empty() && buffer.as_slice().is_empty() && buffer.as_mut_slice().is_empty());
        assert_eq!(buffer.capacity(), 0);
        assert_eq!(format!("{buffer:?}"), "AlignedBuf(0 of 0 bytes)");
    }
}
