//! A cell whose value is a chain of immutable versions, newest first, each stamped with the zxid that made it.
//!
//! One writer pushes and pops; readers walk from the head to the first version that is not later than their zxid. Always
//! true: stamps never grow along `prev`, and a version's fields do not change once it is pushed, except that the writer
//! clears `prev` when it frees the older version. Freeing is not decided here; see `epochs`.

use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

/// A version in a chain.
pub trait Link: Sized {
    /// The zxid from which on this version is the cell's value.
    fn stamp(&self) -> i64;
    /// The version before it.
    fn prev(&self) -> &AtomicPtr<Self>;
}

/// The cell.
#[derive(Debug)]
pub struct Chain<V> {
    head: AtomicPtr<V>,
}

impl<V: Link> Chain<V> {
    /// A cell without any version.
    pub fn new() -> Chain<V> {
        Chain { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The newest version, or null.
    pub fn newest(&self) -> *mut V {
        self.head.load(Ordering::Acquire)
    }

    /// The version at `visible`, or null if the cell had none yet.
    ///
    /// # Safety
    /// No version whose successor is later than `visible` may have been freed, and none may be freed while the result is in use.
    pub unsafe fn at(&self, visible: i64) -> *const V {
        let mut version = self.newest().cast_const();
        // SAFETY: by the contract every version met before the first that is not later than `visible` is alive: its
        // successor is later than `visible`, or it is the head.
        while let Some(link) = unsafe { version.as_ref() } {
            if link.stamp() <= visible {
                break;
            }
            version = link.prev().load(Ordering::Acquire);
        }
        version
    }

    /// Makes `version` the newest.
    ///
    /// # Safety
    /// The caller is the only writer; `version` is alive, in no chain, and its stamp is not before the head's.
    pub unsafe fn push(&self, version: *mut V) {
        let head = self.newest();
        // SAFETY: `version` is alive and not yet shared; the head is alive because it is the head.
        unsafe {
            debug_assert!(head.is_null() || (*head).stamp() <= (*version).stamp(), "stamps never grow along prev");
            (*version).prev().store(head, Ordering::Relaxed);
        }
        // Release: whoever sees the pointer sees the version's fields.
        self.head.store(version, Ordering::Release);
    }

    /// Takes the newest version out. Readers may still be walking over it.
    ///
    /// # Safety
    /// The caller is the only writer, and the chain is not empty.
    pub unsafe fn pop(&self) -> *mut V {
        let head = self.newest();
        // SAFETY: the head is alive.
        let prev = unsafe { (*head).prev().load(Ordering::Relaxed) };
        self.head.store(prev, Ordering::Release);
        head
    }
}

impl<V: Link> Default for Chain<V> {
    fn default() -> Self {
        Chain::new()
    }
}

/// Cuts what lies below `version` off and returns it, null if nothing does.
///
/// # Safety
/// The caller is the only writer, `version` is alive, and no reader is at a zxid before its stamp.
pub unsafe fn cut<V: Link>(version: *mut V) -> *mut V {
    // SAFETY: alive by the contract.
    let link = unsafe { &*version };
    let prev = link.prev().load(Ordering::Relaxed);
    link.prev().store(ptr::null_mut(), Ordering::Relaxed);
    prev
}
