//! Who waits for a change of which path: the watch table of one shard (client-protocol.md §14).
//!
//! ZooKeeper has a table of data watches and one of child watches. Here both are one table of paths, in which each watcher
//! has a set of [`modes`]; every path is stored once, and a watcher remembers the numbers of its paths. Always true: a
//! watcher is in a path's set exactly if the path is in the watcher's, no set of modes is empty, and the counts are exact.
//! A watcher with very many paths leaves at once, but its paths are forgotten little by little ([`Watches::sweep`]): until then
//! it is in their sets and in [`Watches::count`], and nothing else shows it.
//! Events come out in the order of the watchers, never in hash order.
//! Not here: the ACL of the node (the sink decides what is delivered; a one-shot watch is spent either way), the state of
//! the tree, and the wire.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::{FixedState, SeedableRandomState};
use proto::path::parent;
use proto::reply::EventType;

mod catch_up;
mod kinds;
mod set;

pub use catch_up::{CatchUp, catch_up};
pub use kinds::{Change, Watch, WatcherType};
use set::Set;

/// The bits of a watcher's modes at one path.
mod modes {
    pub(crate) const DATA_STANDARD: u8 = 1;
    pub(crate) const DATA_PERSISTENT: u8 = 2;
    pub(crate) const RECURSIVE: u8 = 4;
    pub(crate) const CHILD_STANDARD: u8 = 8;
    pub(crate) const CHILD_PERSISTENT: u8 = 16;
    /// The data table.
    pub(crate) const DATA: u8 = DATA_STANDARD | DATA_PERSISTENT | RECURSIVE;
    /// The child table.
    pub(crate) const CHILD: u8 = CHILD_STANDARD | CHILD_PERSISTENT;
    /// What a trigger spends.
    pub(crate) const STANDARD: u8 = DATA_STANDARD | CHILD_STANDARD;
}

type PathNumber = u32;

/// So many paths of a watcher that leaves are forgotten without delay.
const FORGOTTEN_AT_ONCE: usize = 1000;

#[derive(Debug)]
struct Entry<W> {
    path: Arc<str>,
    watchers: Set<W>,
    /// How many of them have a mode in the data table, and in the child table.
    data: u32,
    child: u32,
}

/// Watches in the data table, as the four-letter word `wchs` sums them up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Watchers with at least one data watch.
    pub watchers: usize,
    /// Paths with at least one data watch.
    pub paths: usize,
    /// Pairs of both.
    pub watches: usize,
}

/// The watches of one shard's connections; `W` names a connection. See the crate's page.
#[derive(Debug)]
pub struct Watches<W> {
    index: HashMap<Arc<str>, PathNumber, SeedableRandomState>,
    entries: Vec<Option<Entry<W>>>,
    free: Vec<PathNumber>,
    watchers: HashMap<W, HashSet<PathNumber, FixedState>, FixedState>,
    /// Watchers that left, with the paths that still have them, in descending order.
    leaving: VecDeque<(W, Vec<PathNumber>)>,
    data_count: usize,
    child_count: usize,
    recursive_count: usize,
    /// Reused by triggers.
    selected: Vec<W>,
}

impl<W: Copy + Ord + Hash> Watches<W> {
    /// An empty table. Clients choose the paths, so `seed` should be random to them; it has no observable effect.
    pub fn new(seed: u64) -> Watches<W> {
        Watches {
            index: HashMap::with_hasher(SeedableRandomState::with_seed(seed, SharedSeed::global_fixed())),
            entries: Vec::new(),
            free: Vec::new(),
            watchers: HashMap::default(),
            leaving: VecDeque::new(),
            data_count: 0,
            child_count: 0,
            recursive_count: 0,
            selected: Vec::new(),
        }
    }

    /// Registers a watch. Several kinds on one path live side by side; the same kind twice is one watch.
    pub fn add(&mut self, watcher: W, path: &str, watch: Watch) {
        let added = watch.modes();
        let number = self.number_of(path);
        let entry = self.entries[number as usize].as_mut().expect("an indexed path has an entry");
        let before = entry.watchers.get(watcher);
        let after = before | added;
        if before == after {
            return;
        }
        entry.watchers.put(watcher, after);
        if before == 0 {
            self.watchers.entry(watcher).or_default().insert(number);
        }
        self.recount(number, before, after);
    }

    /// Fires what a change of `path` fires (§14.3): calls `sink` with the watcher, the event and the event's path, in the
    /// order in which each watcher must see them. Standard watches that were looked at are spent.
    pub fn trigger(&mut self, change: Change, path: &str, mut sink: impl FnMut(W, EventType, &str)) {
        if self.index.is_empty() {
            return;
        }
        match change {
            Change::Created => {
                self.fire(path, EventType::NodeCreated, modes::DATA, &mut sink);
                self.fire(parent(path), EventType::NodeChildrenChanged, modes::CHILD, &mut sink);
            }
            Change::Deleted => {
                // Whoever is in both tables of the path hears of it once, as if the child table were asked after the data
                // table and passed over those already told.
                self.fire(path, EventType::NodeDeleted, modes::DATA | modes::CHILD, &mut sink);
                self.fire(parent(path), EventType::NodeChildrenChanged, modes::CHILD, &mut sink);
            }
            Change::DataChanged => self.fire(path, EventType::NodeDataChanged, modes::DATA, &mut sink),
        }
    }

    /// Does the watcher have such a watch on exactly this path (checkWatches, §14.6)?
    pub fn check(&self, watcher: W, path: &str, kind: WatcherType) -> bool {
        self.index.get(path).is_some_and(|number| self.entry(*number).watchers.get(watcher) & kind.looks_at() != 0)
    }

    /// Removes such watches on exactly this path (removeWatches, §14.6); false if there were none.
    pub fn remove(&mut self, watcher: W, path: &str, kind: WatcherType) -> bool {
        let Some(&number) = self.index.get(path) else { return false };
        let before = self.entry(number).watchers.get(watcher);
        if before & kind.looks_at() == 0 {
            return false;
        }
        self.replace(number, watcher, before, before & !kind.removes());
        self.drop_if_unwatched(number);
        true
    }

    /// The connection is gone, and will not come again under this name: removes all its watches. If these are very many, call
    /// [`Watches::sweep`] until nothing is left of them.
    pub fn remove_all(&mut self, watcher: W) {
        let Some(numbers) = self.watchers.remove(&watcher) else { return };
        let mut numbers: Vec<PathNumber> = numbers.into_iter().collect();
        // Any order leaves the same watches, and this one leaves the same free numbers as well.
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        if numbers.len() <= FORGOTTEN_AT_ONCE {
            self.forget(watcher, numbers);
        } else {
            self.leaving.push_back((watcher, numbers));
        }
    }

    /// Forgets up to `paths` paths of watchers that left; true if more are to be forgotten.
    pub fn sweep(&mut self, paths: usize) -> bool {
        if let Some((watcher, mut numbers)) = self.leaving.pop_front() {
            let some = numbers.split_off(numbers.len().saturating_sub(paths));
            if !numbers.is_empty() {
                self.leaving.push_front((watcher, numbers));
            }
            self.forget(watcher, some);
        }
        !self.leaving.is_empty()
    }

    /// Takes the watcher out of these paths' sets.
    fn forget(&mut self, watcher: W, numbers: Vec<PathNumber>) {
        for number in numbers.into_iter().rev() {
            // A path may have forgotten the watcher by itself when a watch was spent, and its number may be another's by now.
            let Some(entry) = self.entries[number as usize].as_mut() else { continue };
            let before = entry.watchers.get(watcher);
            if before != 0 {
                entry.watchers.remove(watcher);
                self.recount(number, before, 0);
                self.drop_if_unwatched(number);
            }
        }
    }

    /// Pairs of watcher and path, counted per table: the metric watch_count.
    pub fn count(&self) -> usize {
        self.data_count + self.child_count
    }

    /// Is nothing watched?
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Sums up the data table, for `wchs`. `path` is told a hash of each path that counts, the same in every table.
    pub fn summary(&self, mut path: impl FnMut(u64)) -> Summary {
        let mut summary = Summary::default();
        let mut watchers: Vec<W> = Vec::new();
        let hasher = FixedState::default();
        for entry in self.entries.iter().flatten().filter(|entry| entry.data > 0) {
            let before = summary.watches;
            for watcher in entry.watchers.iter().filter_map(data_watcher).filter(|watcher| self.stays(watcher)) {
                summary.watches += 1;
                // Most paths of a large table have the watcher of the path before.
                if watchers.last() != Some(&watcher) {
                    watchers.push(watcher);
                }
            }
            if summary.watches > before {
                summary.paths += 1;
                path(hasher.hash_one(&*entry.path));
            }
        }
        watchers.sort_unstable();
        watchers.dedup();
        summary.watchers = watchers.len();
        summary
    }

    /// Has it not left?
    fn stays(&self, watcher: &W) -> bool {
        self.leaving.is_empty() || self.watchers.contains_key(watcher)
    }

    /// The data table by path, for `wchp`: paths and watchers in order.
    pub fn by_path(&self) -> BTreeMap<&str, Vec<W>> {
        let mut paths: BTreeMap<&str, Vec<W>> = BTreeMap::new();
        for entry in self.entries.iter().flatten().filter(|entry| entry.data > 0) {
            let watchers = entry.watchers.iter().filter_map(data_watcher).filter(|watcher| self.stays(watcher));
            let watchers: Vec<W> = watchers.collect();
            if !watchers.is_empty() {
                paths.insert(&entry.path, watchers);
            }
        }
        paths
    }

    /// The data table by watcher, for `wchc`: watchers and paths in order.
    pub fn by_watcher(&self) -> BTreeMap<W, Vec<&str>> {
        let mut watchers: BTreeMap<W, Vec<&str>> = BTreeMap::new();
        for (path, set) in self.by_path() {
            for watcher in set {
                watchers.entry(watcher).or_default().push(path);
            }
        }
        watchers
    }

    /// One trigger: at the path itself everybody with a mode in `tables`, at its ancestors those with recursive watches
    /// (which are data watches). Each at most once.
    fn fire(&mut self, path: &str, event: EventType, tables: u8, sink: &mut impl FnMut(W, EventType, &str)) {
        let mut selected = std::mem::take(&mut self.selected);
        if let Some(&number) = self.index.get(path) {
            self.select(number, tables, &mut selected);
        }
        if self.recursive_count > 0 && tables & modes::DATA != 0 && path != "/" {
            let at_path = selected.len();
            let mut ancestor = path;
            while ancestor != "/" {
                ancestor = parent(ancestor);
                let Some(number) = self.index.get(ancestor) else { continue };
                let watchers = self.entry(*number).watchers.iter();
                selected
                    .extend(watchers.filter(|(_, modes)| modes & modes::RECURSIVE != 0).map(|(watcher, _)| watcher));
            }
            if selected.len() > at_path {
                selected.sort_unstable();
                selected.dedup();
            }
        }
        for watcher in selected.drain(..) {
            if self.stays(&watcher) {
                sink(watcher, event, path);
            }
        }
        self.selected = selected;
    }

    /// Selects the watchers of a path that have a mode in `tables`, and spends their standard watches there.
    fn select(&mut self, number: PathNumber, tables: u8, selected: &mut Vec<W>) {
        let entry = self.entries[number as usize].as_mut().expect("an indexed path has an entry");
        if (tables & modes::DATA == 0 || entry.data == 0) && (tables & modes::CHILD == 0 || entry.child == 0) {
            return;
        }
        let spent = tables & modes::STANDARD;
        let mut spends = false;
        for (watcher, modes) in entry.watchers.iter().filter(|(_, modes)| modes & tables != 0) {
            selected.push(watcher);
            spends |= modes & spent != 0;
        }
        if !spends {
            return;
        }
        for &watcher in selected.iter() {
            let before = self.entry(number).watchers.get(watcher);
            if before & spent != 0 {
                self.replace(number, watcher, before, before & !spent);
            }
        }
        self.drop_if_unwatched(number);
    }

    fn entry(&self, number: PathNumber) -> &Entry<W> {
        self.entries[number as usize].as_ref().expect("a number in use has an entry")
    }

    fn number_of(&mut self, path: &str) -> PathNumber {
        if let Some(&number) = self.index.get(path) {
            return number;
        }
        let path: Arc<str> = path.into();
        let entry = Entry { path: Arc::clone(&path), watchers: Set::default(), data: 0, child: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = Some(entry);
                number
            }
            None => {
                self.entries.push(Some(entry));
                PathNumber::try_from(self.entries.len() - 1).expect("memory ends before four thousand million paths")
            }
        };
        self.index.insert(path, number);
        number
    }

    /// Sets a watcher's modes at a path; with none left, the two forget each other.
    fn replace(&mut self, number: PathNumber, watcher: W, before: u8, after: u8) {
        let entry = self.entries[number as usize].as_mut().expect("a number in use has an entry");
        if after != 0 {
            entry.watchers.put(watcher, after);
        } else {
            entry.watchers.remove(watcher);
            // Whoever left is not known any more.
            if let Some(numbers) = self.watchers.get_mut(&watcher) {
                numbers.remove(&number);
                // A connection that watches again and again keeps its small set; a set that was large is given back.
                if numbers.is_empty() && numbers.capacity() > 64 {
                    numbers.shrink_to_fit();
                }
            }
        }
        self.recount(number, before, after);
    }

    fn recount(&mut self, number: PathNumber, before: u8, after: u8) {
        fn shift(count: &mut usize, bits: u8, before: u8, after: u8) -> i32 {
            match (before & bits != 0, after & bits != 0) {
                (false, true) => {
                    *count += 1;
                    1
                }
                (true, false) => {
                    *count -= 1;
                    -1
                }
                _ => 0,
            }
        }
        let entry = self.entries[number as usize].as_mut().expect("a number in use has an entry");
        entry.data = entry.data.wrapping_add_signed(shift(&mut self.data_count, modes::DATA, before, after));
        entry.child = entry.child.wrapping_add_signed(shift(&mut self.child_count, modes::CHILD, before, after));
        shift(&mut self.recursive_count, modes::RECURSIVE, before, after);
    }

    fn drop_if_unwatched(&mut self, number: PathNumber) {
        let entry = self.entry(number);
        if entry.data == 0 && entry.child == 0 {
            let entry = self.entries[number as usize].take().expect("a number in use has an entry");
            self.index.remove(&entry.path);
            self.free.push(number);
        }
    }
}

/// The watcher of an item, if it has a mode in the data table.
fn data_watcher<W>((watcher, modes): (W, u8)) -> Option<W> {
    (modes & modes::DATA != 0).then_some(watcher)
}

#[cfg(test)]
mod tests;
