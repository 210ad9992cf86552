//! Who is where: the committed zxid, and each reader's visible zxid on a cache line of its own.
//!
//! The zxid is the epoch of reclamation. A reader's visible zxid never exceeds the committed one and only moves when the
//! reader holds no pointer into the tree. Hence: something taken out of every shared structure while `c` was committed may be
//! freed once every reader is beyond `c`, because to get there a reader must have moved after the taking out.

use crate::sync::{Arc, AtomicI64, Ordering};

/// Where one reader is.
#[derive(Debug)]
#[repr(align(128))]
pub struct Slot {
    visible: AtomicI64,
}

/// A slot that no longer holds anything back.
const GONE: i64 = i64::MAX;

impl Slot {
    /// Says that the reader is at `zxid` and holds no pointer from before.
    pub fn advance(&self, zxid: i64) {
        // Release: the writer that sees this sees all the reader's earlier reads as done.
        self.visible.store(zxid, Ordering::Release);
    }

    /// Says that the reader is no more.
    pub fn leave(&self) {
        self.visible.store(GONE, Ordering::Release);
    }
}

/// The committed zxid, shared by all.
#[derive(Debug)]
#[repr(align(128))]
pub struct Committed {
    zxid: AtomicI64,
}

impl Committed {
    /// Starting at `zxid`.
    pub fn new(zxid: i64) -> Committed {
        Committed { zxid: AtomicI64::new(zxid) }
    }

    /// Lets readers advance to `zxid`. Only the writer calls this.
    pub fn publish(&self, zxid: i64) {
        self.zxid.store(zxid, Ordering::Release);
    }

    /// How far readers may advance.
    pub fn get(&self) -> i64 {
        self.zxid.load(Ordering::Acquire)
    }
}

/// The writer's list of readers.
#[derive(Debug, Default)]
pub struct Roster {
    slots: Vec<Arc<Slot>>,
}

impl Roster {
    /// Registers a reader at `zxid`.
    pub fn join(&mut self, zxid: i64) -> Arc<Slot> {
        let slot = Arc::new(Slot { visible: AtomicI64::new(zxid) });
        self.slots.push(slot.clone());
        slot
    }

    /// The zxid that every reader has reached; `committed` if there is none. Forgets readers that left.
    pub fn floor(&mut self, committed: i64) -> i64 {
        let mut floor = committed;
        self.slots.retain(|slot| {
            let visible = slot.visible.load(Ordering::Acquire);
            floor = floor.min(visible);
            visible != GONE
        });
        floor
    }

    /// How many readers there were when last looked.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}
