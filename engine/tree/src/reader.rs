//! The reading side: lookups and walks at a reader's own zxid, without locks and without bookkeeping per request.

use std::ptr::NonNull;
use std::sync::Arc;

use proto::Zxid;

use crate::epochs::Slot;
use crate::hash::hash;
use crate::names::Names;
use crate::node::Node;
use crate::shared::Shared;
use crate::view::NodeView;

/// Reads the tree at one zxid, until it advances to a later one. One per shard or snapshot; may live on any thread.
#[derive(Debug)]
pub struct Reader {
    visible: i64,
    shared: Arc<Shared>,
    slot: crate::sync::Arc<Slot>,
}

// SAFETY: a reader only loads from the shared structures, which writer and readers keep in order by atomics; see `epochs`.
unsafe impl Send for Reader {}
// SAFETY: as above; `&Reader` gives nothing but loads.
unsafe impl Sync for Reader {}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, slot: crate::sync::Arc<Slot>, visible: i64) -> Reader {
        Reader { visible, shared, slot }
    }

    /// The zxid at which this reader sees the tree.
    pub fn zxid(&self) -> Zxid {
        Zxid(self.visible)
    }

    /// Moves on to `zxid`; an earlier one than now changes nothing.
    ///
    /// # Panics
    /// If `zxid` is not committed.
    pub fn advance(&mut self, zxid: Zxid) {
        assert!(zxid.0 <= self.shared.committed.get(), "a reader never goes beyond what is committed");
        if zxid.0 > self.visible {
            self.visible = zxid.0;
            self.slot.advance(zxid.0);
        }
    }

    /// The znode at `path`.
    pub fn get(&self, path: &str) -> Option<NodeView<'_>> {
        let hash = hash(self.shared.hash_key, path.as_bytes());
        // SAFETY: garbage is freed only after this reader has advanced past its making, for which it must be borrowed mutably.
        unsafe {
            let node = self.shared.index.find(hash, |node| is_at(node, path));
            NodeView::at(NonNull::new(node)?, self.visible, self.shared.rules)
        }
    }

    /// Is the tree so large that lookups mostly wait for memory, and [`Reader::warm`] is worth its hashing? From some 30,000 znodes.
    pub fn outgrows_caches(&self) -> bool {
        const SEGMENTS: usize = 128;
        // SAFETY: garbage is freed only after this reader has advanced past its making.
        unsafe { self.shared.index.segments() >= SEGMENTS }
    }

    /// Brings what [`Reader::get`] of these paths will look at into the cache, all at once instead of one wait after the other.
    /// Worth it from two paths on, for some dozens.
    pub fn warm<'p>(&self, paths: impl Iterator<Item = &'p str>) {
        // SAFETY: garbage is freed only after this reader has advanced past its making.
        unsafe { crate::warm::warm(&self.shared, paths) };
    }

    /// How many znodes there are below `path`; `None` if there is no such znode.
    pub fn count_descendants(&self, path: &str) -> Option<usize> {
        let mut count = 0;
        self.walk(path, |_, _| count += 1).then(|| count - 1)
    }

    /// Visits `path` and all below it, parents before their children, siblings in order. False if there is no such znode.
    pub fn walk<'r>(&'r self, path: &str, mut visit: impl FnMut(&str, NodeView<'r>)) -> bool {
        let Some(start) = self.get(path) else { return false };
        visit(path, start);
        let mut steps = Steps::new(path);
        steps.enter(start);
        while let Some(path) = steps.next_path() {
            // A child list never names a znode that is not there.
            if let Some(view) = self.get(path) {
                visit(path, view);
                steps.enter(view);
            }
        }
        true
    }

    /// Turns the reader into a walk over `path` and all below it, to be taken a step at a time.
    pub fn into_walk(self, path: &str) -> Walk {
        Walk { steps: Steps::new(path), started: false, reader: self }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.slot.leave();
    }
}

/// # Safety
/// The node is alive.
pub(crate) unsafe fn is_at(node: *mut Node, path: &str) -> bool {
    // SAFETY: by the contract; entries of the index are not null.
    unsafe { Node::path(NonNull::new_unchecked(node)) == path }
}

/// The way of a preorder walk: the path so far and, for each znode on it, the children still to visit.
#[derive(Debug)]
struct Steps<'r> {
    path: String,
    /// With the length of the parent's path.
    levels: Vec<(usize, Names<'r>)>,
}

impl<'r> Steps<'r> {
    fn new(path: &str) -> Steps<'r> {
        Steps { path: path.into(), levels: Vec::new() }
    }

    /// The view is of the znode at the present path.
    fn enter(&mut self, view: NodeView<'r>) {
        if view.has_children() {
            let length = if self.path == "/" { 0 } else { self.path.len() };
            self.levels.push((length, view.children()));
        }
    }

    fn next_path(&mut self) -> Option<&str> {
        loop {
            let (length, names) = self.levels.last_mut()?;
            let Some(name) = names.next() else {
                self.levels.pop();
                continue;
            };
            self.path.truncate(*length);
            self.path.push('/');
            self.path.push_str(name);
            return Some(&self.path);
        }
    }
}

/// A walk in preorder that owns its reader, so that it can stop and go on at any time, on any thread.
#[derive(Debug)]
pub struct Walk {
    /// Borrows from `reader`, which does not advance while it is in here.
    steps: Steps<'static>,
    started: bool,
    reader: Reader,
}

// SAFETY: the steps only point at what the reader keeps alive, which any thread may read.
unsafe impl Send for Walk {}

impl Walk {
    /// The next znode: parents before their children, siblings in order.
    #[expect(clippy::should_implement_trait, reason = "the item borrows from the walk")]
    pub fn next(&mut self) -> Option<(&str, NodeView<'_>)> {
        loop {
            let path = if self.started { self.steps.next_path()? } else { &self.steps.path };
            self.started = true;
            // SAFETY: the reader does not advance and is not dropped before the steps: what it sees stays.
            let reader = unsafe { &*std::ptr::from_ref(&self.reader) };
            if let Some(view) = reader.get(path) {
                self.steps.enter(view);
                return Some((&self.steps.path, view));
            }
        }
    }

    /// The zxid of the walk.
    pub fn zxid(&self) -> Zxid {
        self.reader.zxid()
    }

    /// Ends the walk.
    pub fn into_reader(self) -> Reader {
        self.reader
    }
}
