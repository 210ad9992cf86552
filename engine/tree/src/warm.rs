//! Fetching ahead: a lookup waits for memory four times, one after the other; many lookups can wait together.

use std::ptr::NonNull;

use smallvec::SmallVec;

use crate::shared::Shared;

/// As many as the processor keeps in flight.
const BATCH: usize = 16;

/// Brings the index slots, nodes and newest versions of these paths into the cache.
///
/// # Safety
/// No garbage made before this call, or while it runs, is freed while it runs.
pub unsafe fn warm<'p>(shared: &Shared, paths: impl Iterator<Item = &'p str>) {
    let mut paths = paths.peekable();
    while paths.peek().is_some() {
        // SAFETY: what the index leads to is alive by the contract.
        unsafe {
            let mut hashes: SmallVec<[(u64, &str); BATCH]> = SmallVec::new();
            for path in paths.by_ref().take(BATCH) {
                let hash = shared.hash(path);
                hashes.push((hash, path));
                fetch(shared.index.first_slot(hash));
            }
            for (hash, _) in &hashes {
                // Not compared yet, which would wait: the tag nearly always names the right one.
                shared.index.find(*hash, |node| {
                    fetch(node);
                    true
                });
            }
            for (hash, path) in &hashes {
                if let Some(node) = shared.node(*hash, path).map(NonNull::as_ptr) {
                    fetch((*node).versions.newest());
                    fetch((*node).children.newest());
                }
            }
        }
    }
}

fn fetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
        _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>().wrapping_add(64));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
