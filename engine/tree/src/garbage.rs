//! What the writer has taken out of the shared structures, and when it may be freed.
//!
//! An item waits for every reader to reach its threshold. Thresholds never fall along the queue, so it is freed from the
//! front. For something superseded by a transaction the threshold is that transaction; for something merely taken out it is
//! the first zxid that is not yet committed at that moment (`epochs` says why).

use std::collections::VecDeque;
use std::ptr::NonNull;

use crate::acl;
use crate::chain::{Link, cut};
use crate::index::{Index, IndexWriter, Replaced};
use crate::memory::Memory;
use crate::names;
use crate::node::{Children, Node, Version};
use crate::shared::Shared;
use crate::sync::Ordering;
use crate::writer::Undo;

/// Something to dispose of.
#[derive(Debug)]
pub enum Garbage {
    /// What lies below this version of the node.
    Below(NonNull<Node>, NonNull<Version>),
    /// What lies below this version of a child list, its names excepted.
    BelowChildren(NonNull<Children>),
    /// A version that was undone.
    Version(NonNull<Version>),
    /// A version of a child list that was undone, its names excepted.
    Children(NonNull<Children>),
    /// A node of a tree of names.
    Names(NonNull<names::Head>),
    /// A node that may have died by an undoing: look again.
    Check(NonNull<Node>),
    /// A node that is out of the index, with all that hangs on it.
    Node(NonNull<Node>),
    /// A part of the index.
    Index(Replaced<Node>),
}

/// The writer's memory and garbage: what must outlive it while readers remain.
#[derive(Debug)]
pub struct Remains {
    pub memory: Memory,
    pub acls: acl::Table,
    pub index: IndexWriter<Node>,
    pub undo: VecDeque<Undo>,
    pub garbage: VecDeque<(i64, Garbage)>,
}

// SAFETY: the pointers lead to cells that only the holder of this frees or changes.
unsafe impl Send for Remains {}

impl Remains {
    /// Queues an item.
    pub fn retire(&mut self, threshold: i64, item: Garbage) {
        debug_assert!(self.garbage.back().is_none_or(|(last, _)| *last <= threshold), "thresholds never fall");
        self.garbage.push_back((threshold, item));
    }

    /// Disposes of an item. `next` is the first zxid not yet committed.
    ///
    /// # Safety
    /// Every reader has reached the item's threshold, and the items before it are disposed of.
    pub unsafe fn dispose(&mut self, shared: &Shared, next: i64, item: Garbage) {
        // SAFETY: by the contract nobody but the writer can still look at the item; it is in the queue once.
        unsafe {
            match item {
                Garbage::Below(node, version) => {
                    if let Some(old) = NonNull::new(cut(version.as_ptr())) {
                        Version::free(&mut self.memory, &mut self.acls, old);
                    }
                    self.unlink_if_dead(shared, next, node);
                }
                Garbage::BelowChildren(children) => {
                    if let Some(old) = NonNull::new(cut(children.as_ptr())) {
                        Children::free(&mut self.memory, old);
                    }
                }
                Garbage::Version(version) => Version::free(&mut self.memory, &mut self.acls, version),
                Garbage::Children(children) => Children::free(&mut self.memory, children),
                Garbage::Names(names) => names::free(&mut self.memory, names),
                Garbage::Check(node) => self.unlink_if_dead(shared, next, node),
                Garbage::Node(node) => self.free_node(node),
                Garbage::Index(replaced) => replaced.free(),
            }
        }
    }

    /// Takes a node out of the index if nothing is left of it but the word that it is gone.
    ///
    /// # Safety
    /// The node is alive.
    unsafe fn unlink_if_dead(&mut self, shared: &Shared, next: i64, node: NonNull<Node>) {
        // SAFETY: by the contract; the newest version of a node that is alive is alive.
        let (this, newest) = unsafe { (node.as_ref(), node.as_ref().versions.newest().as_ref()) };
        let dead = match newest {
            None => true,
            Some(newest) => !newest.is_live() && newest.prev().load(Ordering::Relaxed).is_null(),
        };
        if dead && !this.unlinked.replace(true) {
            // SAFETY: alive.
            let hash = shared.hash(unsafe { Node::path(node) });
            self.index.remove(&shared.index, hash, node.as_ptr());
            self.retire(next, Garbage::Node(node));
        }
    }

    /// Frees a node with its chains, and the names of its newest child list.
    ///
    /// # Safety
    /// Nobody will look at it again.
    unsafe fn free_node(&mut self, node: NonNull<Node>) {
        // SAFETY: by the contract; what is still linked is alive, because freeing cuts.
        unsafe {
            let mut version = node.as_ref().versions.newest();
            while let Some(this) = NonNull::new(version) {
                version = this.as_ref().prev().load(Ordering::Relaxed);
                Version::free(&mut self.memory, &mut self.acls, this);
            }
            let mut children = node.as_ref().children.newest();
            if let Some(newest) = children.as_ref() {
                names::free_all(&mut self.memory, newest.facts().names);
            }
            while let Some(this) = NonNull::new(children) {
                children = this.as_ref().prev().load(Ordering::Relaxed);
                Children::free(&mut self.memory, this);
            }
            Node::free(&mut self.memory, node);
        }
    }

    /// Frees everything. Returns the cells that were lost on the way, which is none.
    ///
    /// # Safety
    /// Neither writer nor reader is left.
    pub unsafe fn free(mut self, index: &Index<Node>) {
        let mut nodes = Vec::new();
        self.index.for_each(index, |node| nodes.extend(NonNull::new(node)));
        // What lies below a version is still linked to it, and goes with its node; names that a later tree replaced do not.
        // SAFETY: nobody is left to look at anything; each cell is reached once.
        unsafe {
            for item in std::mem::take(&mut self.undo) {
                if let Undo::NamesReplaced(names) = item {
                    names::free(&mut self.memory, names);
                }
            }
            for (_, item) in std::mem::take(&mut self.garbage) {
                match item {
                    Garbage::Below(..) | Garbage::BelowChildren(_) | Garbage::Check(_) => {}
                    Garbage::Version(version) => Version::free(&mut self.memory, &mut self.acls, version),
                    Garbage::Children(children) => Children::free(&mut self.memory, children),
                    Garbage::Names(names) => names::free(&mut self.memory, names),
                    Garbage::Node(node) => self.free_node(node),
                    Garbage::Index(replaced) => replaced.free(),
                }
            }
            for replaced in self.index.take_replaced().collect::<Vec<_>>() {
                replaced.free();
            }
            for node in nodes {
                self.free_node(node);
            }
        }
        debug_assert_eq!((self.memory.cells(), self.memory.bytes()), (0, 0), "every cell is freed once");
    }
}
