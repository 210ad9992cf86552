//! What the allocator keeps for later, given back to the system when it was much and a quiet moment has come.
//!
//! By itself the allocator gives pages back only while it looks for others, which a server with little to do never makes it do.
//! Kept out: deciding when; that needs to know what the memory was used for.

unsafe extern "C" {
    /// Of mimalloc, which is this program's allocator: frees what this thread keeps. Walks all its pages, some milliseconds
    /// for a gigabyte.
    fn mi_collect(force: bool);
}

/// Gives this thread's free pages back.
pub fn give_back() {
    // SAFETY: it may be called by any thread at any time, and touches free memory only.
    unsafe { mi_collect(true) };
}
