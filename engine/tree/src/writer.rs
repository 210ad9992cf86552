//! The writing side: what can be asked of the newest state, and how changes are undone, committed and their remains freed.
//!
//! Watermarks, always: freed ≤ floor (what every reader has reached) ≤ committed ≤ tip (what is applied). Changes beyond
//! `committed` are in the undo list, each with what it takes to go back; committing turns the list's front into garbage.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use proto::stat::Owner;
use proto::{SessionId, Zxid};

use crate::acl::{self, AclRef};
use crate::digest;
use crate::epochs::{Committed, Roster};
use crate::garbage::Garbage;
pub(crate) use crate::garbage::Remains;
use crate::index::{IndexWriter, Sizes};
use crate::memory::Memory;
use crate::names;
use crate::node::{Children, Node, Version};
use crate::quota::{self, Limits, Quota, Track, Usage};
use crate::reader::Reader;
use crate::shared::Shared;
use crate::view::{NodeView, OwnerRules};

/// What a tree must know from the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Secret of this process, under which paths are hashed. Never observable.
    pub hash_key: (u64, u64),
    /// `extendedTypesEnabled`, `emulate353TTLNodes`.
    pub rules: OwnerRules,
    /// `digest.enabled`: keep the tree's digest. Without, it is zero.
    pub digest: bool,
}

impl Options {
    /// ZooKeeper's defaults, under this key.
    pub fn new(hash_key: (u64, u64)) -> Options {
        Options { hash_key, rules: OwnerRules::default(), digest: true }
    }
}

/// How to take one step back.
#[derive(Debug)]
pub enum Undo {
    /// A version was pushed.
    Version(NonNull<Node>, NonNull<Version>),
    /// A child list was pushed.
    Children(NonNull<Node>, NonNull<Children>),
    /// A new child list has this node of names.
    NamesMade(NonNull<names::Head>),
    /// A new child list lacks this node of names.
    NamesReplaced(NonNull<names::Head>),
}

/// Where in the undo list a zxid begins.
#[derive(Debug)]
struct Mark {
    stamp: i64,
    undo_at: u64,
    digest: u64,
    tip: i64,
}

/// A moment that [`Writer::undo_to`] can return to, until the next commit.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    undo_at: u64,
    marks: u64,
    digest: u64,
    tip: i64,
}

/// Figures about memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Metrics {
    /// Bytes of all cells and of the index.
    pub bytes: usize,
    /// Cells in use.
    pub cells: usize,
    /// Items that wait for readers to pass.
    pub garbage: usize,
    /// Changes that could still be undone.
    pub undo: usize,
    /// Distinct ACLs, the open one excepted.
    pub acls: usize,
    /// Readers and pins.
    pub readers: usize,
}

/// The one that changes the tree.
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    /// Taken only by `drop`.
    remains: Option<Remains>,
    pub(crate) with_digest: bool,
    roster: Roster,
    floor: i64,
    /// The highest threshold of what has been freed: no reader may start before it.
    freed: i64,
    committed: i64,
    pub(crate) tip: i64,
    undo_base: u64,
    marks: VecDeque<Mark>,
    marks_base: u64,
    applied_since_look: u32,
    pub(crate) digest: u64,
    nodes: usize,
    data_size: i64,
    ephemerals: BTreeMap<SessionId, BTreeSet<Box<str>>>,
    ephemeral_count: usize,
    containers: BTreeSet<Box<str>>,
    ttls: BTreeSet<Box<str>>,
    pub(crate) quotas: quota::Paths,
}

// SAFETY: the pointers in the undo list and the marks lead to cells that only the writer changes or frees.
unsafe impl Send for Writer {}

impl Writer {
    /// A tree without any znode, not even `/`.
    pub(crate) fn empty(options: Options) -> Writer {
        let (index, index_writer) = IndexWriter::new(Sizes::default());
        let shared = Shared {
            index,
            hash_key: options.hash_key,
            rules: options.rules,
            committed: Committed::new(0),
            remains: Mutex::new(None),
        };
        let remains = Remains {
            memory: Memory::default(),
            acls: acl::Table::new(),
            index: index_writer,
            undo: VecDeque::new(),
            garbage: VecDeque::new(),
        };
        Writer {
            shared: Arc::new(shared),
            remains: Some(remains),
            with_digest: options.digest,
            roster: Roster::default(),
            floor: 0,
            freed: 0,
            committed: 0,
            tip: 0,
            undo_base: 0,
            marks: VecDeque::new(),
            marks_base: 0,
            applied_since_look: 0,
            digest: 0,
            nodes: 0,
            data_size: 0,
            ephemerals: BTreeMap::new(),
            ephemeral_count: 0,
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            quotas: quota::Paths::default(),
        }
    }

    pub(crate) fn own(&mut self) -> &mut Remains {
        self.remains.as_mut().expect("only dropping takes it")
    }

    fn own_ref(&self) -> &Remains {
        self.remains.as_ref().expect("only dropping takes it")
    }

    /// A reader at the committed zxid.
    pub fn reader(&mut self) -> Reader {
        let slot = self.roster.join(self.committed);
        Reader::new(self.shared.clone(), slot, self.committed)
    }

    /// A reader at `zxid`, if that is committed and nothing of it has been freed. A reader that never advances holds back
    /// all garbage from its zxid on; dropping it lets go.
    pub fn pin(&mut self, zxid: Zxid) -> Option<Reader> {
        if zxid.0 > self.committed || zxid.0 < self.freed {
            return None;
        }
        self.floor = self.floor.min(zxid.0);
        let slot = self.roster.join(zxid.0);
        Some(Reader::new(self.shared.clone(), slot, zxid.0))
    }

    /// The znode at `path` in the newest state, whether committed or not.
    pub fn node(&self, path: &str) -> Option<NodeView<'_>> {
        self.look(path)
    }

    /// The same without the borrow: for use within one apply, during which nothing is freed.
    pub(crate) fn look<'v>(&self, path: &str) -> Option<NodeView<'v>> {
        // SAFETY: this is the writer; callers hold the view no longer than until the next freeing.
        unsafe {
            let node = self.shared.node(self.shared.hash(path), path)?;
            NodeView::at(node, i64::MAX, self.shared.rules)
        }
    }

    /// The last transaction applied.
    pub fn tip(&self) -> Zxid {
        Zxid(self.tip)
    }

    /// The last transaction committed.
    pub fn committed(&self) -> Zxid {
        Zxid(self.committed)
    }

    /// The digest of the newest state (disk-formats.md §8).
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many znodes there are as ZooKeeper counts them: the root twice.
    pub fn node_count(&self) -> usize {
        self.nodes + 1
    }

    /// ZooKeeper's approximate data size: for each znode the length of its path in UTF-16 units and of its data.
    pub fn approximate_data_size(&self) -> i64 {
        self.data_size
    }

    /// The ephemerals of a session, sorted.
    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = &str> {
        self.ephemerals.get(&session).into_iter().flatten().map(|path| &**path)
    }

    /// The sessions that own ephemerals, in the order of their ids.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = SessionId> {
        self.ephemerals.keys().copied()
    }

    /// How many ephemerals there are.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// The paths of all containers, sorted.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|path| &**path)
    }

    /// The paths of all TTL znodes, sorted.
    pub fn ttl_nodes(&self) -> impl Iterator<Item = &str> {
        self.ttls.iter().map(|path| &**path)
    }

    /// The deepest quota on `path` or above it.
    pub fn quota_for(&self, path: &str) -> Option<Quota<'_>> {
        let path = self.quotas.deepest(path)?;
        let text = |name| {
            let view = self.node(&format!("{}{path}/{name}", quota::QUOTA))?;
            view.data()
        };
        let limits = text(quota::LIMITS_NAME).map(Limits::parse).unwrap_or_default();
        let usage = text(quota::STATS_NAME).map(Track::parse).map(|t| Usage { count: t.count, bytes: t.bytes });
        Some(Quota { path, limits, usage: usage.unwrap_or_default() })
    }

    /// The paths that have a quota, sorted.
    pub fn quota_paths(&self) -> impl Iterator<Item = &str> {
        self.quotas.iter()
    }

    /// All ACLs but the open one that any version names, with their ids: at least those of every znode that any reader sees.
    pub fn acls(&self) -> Vec<(i64, AclRef)> {
        self.own_ref().acls.all()
    }

    /// Figures about memory. Walks the index's directory.
    pub fn metrics(&self) -> Metrics {
        let own = self.own_ref();
        Metrics {
            bytes: own.memory.bytes() + own.index.bytes(&self.shared.index),
            cells: own.memory.cells(),
            garbage: own.garbage.len(),
            undo: own.undo.len(),
            acls: own.acls.len(),
            readers: self.roster.len(),
        }
    }

    /// Remembers this moment.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            undo_at: self.undo_base + self.own_ref().undo.len() as u64,
            marks: self.marks_base + self.marks.len() as u64,
            digest: self.digest,
            tip: self.tip,
        }
    }

    /// Takes back all that was applied since `savepoint`.
    ///
    /// # Panics
    /// If any of it has been committed.
    pub fn undo_to(&mut self, savepoint: Savepoint) {
        assert!(savepoint.undo_at >= self.undo_base, "what is committed is not undone");
        while self.undo_base + self.own_ref().undo.len() as u64 > savepoint.undo_at {
            self.undo_one();
        }
        while self.marks_base + self.marks.len() as u64 > savepoint.marks {
            self.marks.pop_back();
        }
        self.digest = savepoint.digest;
        self.tip = savepoint.tip.max(self.committed);
    }

    /// Takes back all transactions after `to`.
    ///
    /// # Panics
    /// If any of them has been committed.
    pub fn rollback(&mut self, to: Zxid) {
        assert!(to.0 >= self.committed, "what is committed is not rolled back");
        while let Some(mark) = self.marks.pop_back_if(|mark| mark.stamp > to.0) {
            while self.undo_base + self.own_ref().undo.len() as u64 > mark.undo_at {
                self.undo_one();
            }
            self.digest = mark.digest;
            self.tip = mark.tip.max(self.committed);
        }
    }

    fn undo_one(&mut self) {
        let next = self.committed + 1;
        let Some(step) = self.own().undo.pop_back() else { return };
        // SAFETY: a step in the list is about live cells: what it pushed is the newest, because steps are undone backwards.
        unsafe {
            match step {
                Undo::Version(node, version) => {
                    node.as_ref().versions.pop();
                    let before = NonNull::new(node.as_ref().versions.newest());
                    let weigh = |version: NonNull<Version>| {
                        let bytes = version.as_ref().data_bytes();
                        version.as_ref().is_live().then(|| (Version::facts(version).owner, bytes))
                    };
                    let (from, to) = (weigh(version), before.and_then(weigh));
                    self.account(Node::path(node), from, to);
                    self.own().retire(next, Garbage::Version(version));
                    if to.is_none() {
                        self.own().retire(next, Garbage::Check(node));
                    }
                }
                Undo::Children(node, children) => {
                    node.as_ref().children.pop();
                    self.own().retire(next, Garbage::Children(children));
                }
                Undo::NamesMade(names) => self.own().retire(next, Garbage::Names(names)),
                Undo::NamesReplaced(_) => {}
            }
        }
    }

    /// Lets readers advance to `zxid`, and gives up the power to undo it and what came before.
    pub fn commit(&mut self, zxid: Zxid) {
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.stamp <= zxid.0) {
            self.marks_base += 1;
            let end = self.marks.front().map_or(u64::MAX, |mark| mark.undo_at);
            // Late transactions of a replay have the stamp of the tip, where readers may already be.
            let threshold = mark.stamp.max(self.committed + 1);
            let own = self.remains.as_mut().expect("only dropping takes it");
            while self.undo_base < end
                && let Some(step) = own.undo.pop_front()
            {
                self.undo_base += 1;
                // SAFETY: what the undo list names is alive.
                let item = unsafe {
                    match step {
                        Undo::Version(node, version) if has_below(version) => Garbage::Below(node, version),
                        Undo::Children(_, children) if has_below(children) => Garbage::BelowChildren(children),
                        Undo::NamesReplaced(names) => Garbage::Names(names),
                        _ => continue,
                    }
                };
                own.retire(threshold, item);
            }
        }
        if zxid.0 > self.committed {
            self.committed = zxid.0;
            self.tip = self.tip.max(zxid.0);
            self.shared.committed.publish(zxid.0);
        }
    }

    /// Frees up to `budget` items that all readers have passed; returns how many.
    pub fn reclaim(&mut self, budget: usize) -> usize {
        self.floor = self.roster.floor(self.committed);
        self.free_some(budget)
    }

    fn free_some(&mut self, budget: usize) -> usize {
        let own = self.remains.as_mut().expect("only dropping takes it");
        for done in 0..budget {
            let Some((threshold, item)) = own.garbage.pop_front_if(|(threshold, _)| *threshold <= self.floor) else {
                return done;
            };
            self.freed = self.freed.max(threshold);
            // SAFETY: every reader has reached the floor; items are disposed of in their order.
            unsafe { own.dispose(&self.shared, self.committed + 1, item) };
        }
        budget
    }

    /// A little freeing on the way, so that garbage does not pile up where nobody calls [`Writer::reclaim`].
    pub(crate) fn reclaim_on_the_way(&mut self) {
        // Looking at the readers' cache lines costs more than freeing; a budget above what one apply leaves catches up.
        self.applied_since_look += 1;
        if self.applied_since_look >= 16 && !self.own_ref().garbage.is_empty() {
            self.applied_since_look = 0;
            self.floor = self.roster.floor(self.committed);
        }
        self.free_some(16);
    }

    /// Opens the transaction of `zxid` and returns the stamp of its versions.
    pub(crate) fn begin(&mut self, zxid: i64) -> i64 {
        // A replay may bring a transaction that is older than the tip: it changes the newest state.
        let stamp = zxid.max(self.tip);
        if self.marks.back().is_none_or(|mark| mark.stamp != stamp) {
            let undo_at = self.undo_base + self.own_ref().undo.len() as u64;
            self.marks.push_back(Mark { stamp, undo_at, digest: self.digest, tip: self.tip });
        }
        self.tip = stamp;
        stamp
    }

    /// Brings the side indexes from one state of a znode, owner and bytes of data, to another.
    pub(crate) fn account(&mut self, path: &str, from: Option<(i64, usize)>, to: Option<(i64, usize)>) {
        self.data_size += to.map_or(0, |(_, bytes)| bytes as i64) - from.map_or(0, |(_, bytes)| bytes as i64);
        if from.is_some() != to.is_some() {
            let length = if path.is_ascii() { path.len() } else { path.encode_utf16().count() };
            let quota = quota::subject(path, quota::LIMITS_NAME).filter(|subject| !subject.is_empty());
            if to.is_some() {
                self.nodes += 1;
                self.data_size += length as i64;
                if let Some(subject) = quota {
                    self.quotas.add(subject);
                }
            } else {
                self.nodes -= 1;
                self.data_size -= length as i64;
                if let Some(subject) = quota {
                    self.quotas.remove(subject);
                }
            }
        }
        let (from, to) = (from.map_or(0, |(owner, _)| owner), to.map_or(0, |(owner, _)| owner));
        if from == to {
            return;
        }
        match self.shared.rules.decode(from) {
            Owner::Persistent => {}
            Owner::Session(session) => {
                if let Some(paths) = self.ephemerals.get_mut(&session) {
                    self.ephemeral_count -= usize::from(paths.remove(path));
                    if paths.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            Owner::Container => drop(self.containers.remove(path)),
            Owner::Ttl(_) => drop(self.ttls.remove(path)),
        }
        match self.shared.rules.decode(to) {
            Owner::Persistent => {}
            Owner::Session(session) => {
                self.ephemeral_count += usize::from(self.ephemerals.entry(session).or_default().insert(path.into()));
            }
            Owner::Container => drop(self.containers.insert(path.into())),
            Owner::Ttl(_) => drop(self.ttls.insert(path.into())),
        }
    }

    /// Brings what reading or changing these znodes will look at into the cache, all at once instead of one wait after the other.
    pub fn warm<'p>(&self, paths: impl Iterator<Item = &'p str>) {
        // SAFETY: this is the writer.
        unsafe { crate::warm::warm(&self.shared, paths) };
    }

    /// A znode's share in the digest.
    pub(crate) fn share(&self, view: NodeView<'_>) -> u64 {
        if !self.with_digest || digest::is_excluded(view.path()) {
            return 0;
        }
        // SAFETY: a view's version is alive.
        let crc = unsafe { Version::facts(view.parts().1) }.crc;
        digest::with_stat(crc, &view.persisted())
    }
}

/// # Safety
/// The version is alive.
unsafe fn has_below<V: crate::chain::Link>(version: NonNull<V>) -> bool {
    // SAFETY: by the contract.
    !unsafe { version.as_ref() }.prev().load(crate::sync::Ordering::Relaxed).is_null()
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Readers may still be looking; the last one frees.
        *self.shared.remains.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = self.remains.take();
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("tip", &self.tip()).field("committed", &self.committed()).finish_non_exhaustive()
    }
}
