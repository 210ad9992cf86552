//! What writer and readers have in common, and what becomes of it all when the last of them goes.

use std::ptr::NonNull;
use std::sync::Mutex;

use crate::epochs::Committed;
use crate::index::Index;
use crate::node::Node;
use crate::view::OwnerRules;
use crate::writer::Remains;

/// Held by the writer and by every reader.
pub struct Shared {
    pub(crate) index: Index<Node>,
    pub(crate) hash_key: (u64, u64),
    pub(crate) rules: OwnerRules,
    pub(crate) committed: Committed,
    /// What the writer left when it went: memory that readers may still look at.
    pub(crate) remains: Mutex<Option<Remains>>,
}

// SAFETY: nodes, versions and names are reached through atomics only, are not changed once they are visible to readers, and
// are freed by the one writer, or here when nobody is left.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Must be told the node's path.
    pub(crate) fn hash(&self, path: &str) -> u64 {
        crate::hash::hash(self.hash_key, path.as_bytes())
    }

    /// The node of a path, whether or not the znode exists at present.
    ///
    /// # Safety
    /// The caller is the writer.
    pub(crate) unsafe fn node(&self, hash: u64, path: &str) -> Option<NonNull<Node>> {
        // SAFETY: the writer frees nothing meanwhile.
        NonNull::new(unsafe { self.index.find(hash, |node| crate::reader::is_at(node, path)) })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let remains = self.remains.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(remains) = remains {
            // SAFETY: neither writer nor reader is left.
            unsafe { remains.free(&self.index) };
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("committed", &self.committed).finish_non_exhaustive()
    }
}
