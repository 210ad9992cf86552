//! Memory of the tree's cells: allocated and freed by the writer alone, counted to the byte. Debug builds overwrite what is
//! freed.
//!
//! The process's allocator does the work. Lists of cells by size, cut from chunks of our own, were tried: no faster beside
//! mimalloc, and a quarter more memory, because child lists leave cells of every size behind as they grow.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Cells are aligned to this.
pub const ALIGN: usize = 8;

/// Gives and takes cells.
#[derive(Debug, Default)]
pub struct Memory {
    bytes: usize,
    cells: usize,
}

impl Memory {
    /// A cell of `size` bytes, not initialised.
    pub fn take(&mut self, size: usize) -> NonNull<u8> {
        let layout = layout(size);
        self.bytes += layout.size();
        self.cells += 1;
        // SAFETY: the size is not zero.
        NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
    }

    /// Frees a cell.
    ///
    /// # Safety
    /// `cell` came from `take(size)` of this memory and is not used again.
    pub unsafe fn give(&mut self, cell: NonNull<u8>, size: usize) {
        let layout = layout(size);
        self.bytes -= layout.size();
        self.cells -= 1;
        // SAFETY: by the contract.
        unsafe {
            if cfg!(debug_assertions) {
                cell.write_bytes(0xDD, layout.size());
            }
            dealloc(cell.as_ptr(), layout);
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Cells in use.
    pub fn cells(&self) -> usize {
        self.cells
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size.max(ALIGN).next_multiple_of(ALIGN), ALIGN)
        .expect("cells are smaller than half the address space")
}
