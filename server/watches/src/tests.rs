//! Stories of single watches, then random histories against two naive tables written from client-protocol.md §14 alone.

use std::collections::BTreeSet;

use super::*;
use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use proptest::prelude::*;

type Event = (u32, EventType, String);

fn table(watches: &[(u32, &str, Watch)]) -> Watches<u32> {
    let mut table = Watches::new(1);
    for (watcher, path, watch) in watches {
        table.add(*watcher, path, *watch);
    }
    table
}

fn fire(table: &mut Watches<u32>, change: Change, path: &str) -> Vec<Event> {
    let mut events = Vec::new();
    table.trigger(change, path, |watcher, event, path| events.push((watcher, event, path.to_owned())));
    events
}

fn event(watcher: u32, event: EventType, path: &str) -> Event {
    (watcher, event, path.to_owned())
}

#[test]
fn a_data_watch_fires_once() {
    let mut table = table(&[(1, "/a", Watch::Data), (1, "/a", Watch::Data)]);
    assert_eq!(table.count(), 1);
    assert_eq!(fire(&mut table, Change::DataChanged, "/a"), [event(1, NodeDataChanged, "/a")]);
    assert_eq!(fire(&mut table, Change::DataChanged, "/a"), []);
    assert!(table.is_empty());
}

#[test]
fn creation_tells_the_path_first_and_then_the_parent() {
    let mut table = table(&[(1, "/", Watch::Child), (1, "/a", Watch::Data), (2, "/", Watch::Child)]);
    assert_eq!(
        fire(&mut table, Change::Created, "/a"),
        [event(1, NodeCreated, "/a"), event(1, NodeChildrenChanged, "/"), event(2, NodeChildrenChanged, "/")]
    );
}

#[test]
fn a_deletion_is_told_once_to_whoever_watches_data_and_children() {
    let mut table =
        table(&[(1, "/a", Watch::Data), (1, "/a", Watch::Child), (2, "/a", Watch::Child), (1, "/", Watch::Child)]);
    assert_eq!(
        fire(&mut table, Change::Deleted, "/a"),
        [event(1, NodeDeleted, "/a"), event(2, NodeDeleted, "/a"), event(1, NodeChildrenChanged, "/")]
    );
    assert!(table.is_empty(), "a suppressed one-shot watch is spent all the same");
}

#[test]
fn a_persistent_watch_stays_and_hears_of_children() {
    let mut table = table(&[(1, "/a", Watch::Persistent)]);
    for _ in 0..2 {
        assert_eq!(fire(&mut table, Change::Created, "/a/b"), [event(1, NodeChildrenChanged, "/a")]);
        assert_eq!(fire(&mut table, Change::DataChanged, "/a"), [event(1, NodeDataChanged, "/a")]);
        assert_eq!(fire(&mut table, Change::DataChanged, "/a/b"), []);
        assert_eq!(fire(&mut table, Change::Deleted, "/a"), [event(1, NodeDeleted, "/a")]);
    }
    assert_eq!(table.count(), 2, "one per table");
}

#[test]
fn a_recursive_watch_hears_of_everything_below_but_never_of_child_lists() {
    let mut table = table(&[(1, "/a", Watch::Recursive), (1, "/", Watch::Recursive), (2, "/a/b/c", Watch::Data)]);
    assert_eq!(
        fire(&mut table, Change::Created, "/a/b/c"),
        [event(1, NodeCreated, "/a/b/c"), event(2, NodeCreated, "/a/b/c")],
        "once, with the path that changed"
    );
    assert_eq!(fire(&mut table, Change::Deleted, "/ab"), [event(1, NodeDeleted, "/ab")], "from the root");
    assert!(table.remove(1, "/", WatcherType::Recursive));
    assert_eq!(fire(&mut table, Change::Deleted, "/ab"), [], "a prefix of a name is not an ancestor");
    assert_eq!(fire(&mut table, Change::DataChanged, "/a"), [event(1, NodeDataChanged, "/a")]);
}

#[test]
fn kinds_on_one_path_live_side_by_side() {
    let mut table = table(&[(1, "/a", Watch::Data), (1, "/a", Watch::Persistent), (1, "/a", Watch::Recursive)]);
    assert_eq!(fire(&mut table, Change::DataChanged, "/a").len(), 1);
    assert!(!table.check(1, "/a", WatcherType::Data));
    assert!(table.check(1, "/a", WatcherType::Persistent));
    assert!(table.remove(1, "/a", WatcherType::Persistent));
    assert!(!table.remove(1, "/a", WatcherType::Persistent));
    assert!(!table.check(1, "/a", WatcherType::Children));
    assert!(table.check(1, "/a", WatcherType::Any));
    assert!(!table.check(2, "/a", WatcherType::Any));
    assert!(!table.check(1, "/", WatcherType::Any), "only the exact path counts");
    assert!(table.remove(1, "/a", WatcherType::Any));
    assert!(table.is_empty());
}

#[test]
fn the_data_table_is_listed_in_order() {
    let table = table(&[
        (2, "/b", Watch::Data),
        (1, "/b", Watch::Persistent),
        (3, "/a", Watch::Child),
        (2, "/a", Watch::Recursive),
    ]);
    assert_eq!(table.summary(|_| ()), Summary { watchers: 2, paths: 2, watches: 3 });
    assert_eq!(table.by_path().into_iter().collect::<Vec<_>>(), [("/a", vec![2]), ("/b", vec![1, 2])]);
    assert_eq!(table.by_watcher().into_iter().collect::<Vec<_>>(), [(1, vec!["/b"]), (2, vec!["/a", "/b"])]);
    assert_eq!(table.count(), 5);
}

#[test]
fn numbers_of_the_wire() {
    assert_eq!([-1, 0, 1, 2].map(Watch::from_add_mode), [None, Some(Watch::Persistent), Some(Watch::Recursive), None]);
    assert_eq!(WatcherType::from_i32(0), None);
    assert_eq!(WatcherType::from_i32(5), Some(WatcherType::Recursive));
    assert_eq!(WatcherType::from_i32(6), None);
}

/// A random history of a real `DataTree` of ZooKeeper 3.9.5, with the events that four watchers got (watcher:type:path), the
/// answers to its questions, and the watch count after each line.
#[test]
fn the_table_does_what_java_3_9_5_did() {
    let mut table = Watches::new(3);
    for (at, line) in include_str!("java-3.9.5.txt").lines().enumerate() {
        let (line, count) = line.rsplit_once(" = ").unwrap();
        let (step, expected) = line.split_once(" -> ").unwrap_or((line, ""));
        let words: Vec<&str> = step.split(' ').collect();
        let number = |text: &str| text.parse::<u32>().unwrap();
        let kind = |text: &str| WatcherType::from_i32(text.parse().unwrap()).unwrap();
        let mut events = Vec::new();
        match words[..] {
            ["add", watcher, path, watch] => {
                let watch = match watch {
                    "data" => Watch::Data,
                    "child" => Watch::Child,
                    "persistent" => Watch::Persistent,
                    "recursive" => Watch::Recursive,
                    other => panic!("{other}"),
                };
                table.add(number(watcher), path, watch);
            }
            ["created", path] => events = fire_sorted(&mut table, Change::Created, path),
            ["deleted", path] => events = fire_sorted(&mut table, Change::Deleted, path),
            ["changed", path] => events = fire_sorted(&mut table, Change::DataChanged, path),
            ["remove", watcher, path, number_of_kind, answer] => {
                let removed = table.remove(number(watcher), path, kind(number_of_kind));
                assert_eq!(removed.to_string(), answer, "line {}", at + 1);
            }
            ["check", watcher, path, number_of_kind, answer] => {
                let found = table.check(number(watcher), path, kind(number_of_kind));
                assert_eq!(found.to_string(), answer, "line {}", at + 1);
            }
            ["gone", watcher] => table.remove_all(number(watcher)),
            _ => panic!("{line}"),
        }
        let expected = expected.split(' ').filter(|text| !text.is_empty()).map(|text| {
            let mut parts = text.splitn(3, ':');
            let watcher = number(parts.next().unwrap());
            let kind = match parts.next().unwrap() {
                "1" => NodeCreated,
                "2" => NodeDeleted,
                "3" => NodeDataChanged,
                "4" => NodeChildrenChanged,
                other => panic!("{other}"),
            };
            event(watcher, kind, parts.next().unwrap())
        });
        assert_eq!(events, sorted(expected.collect()), "line {}: {line}", at + 1);
        assert_eq!(table.count().to_string(), count, "line {}: {line}", at + 1);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

/// Two tables as §14.2 has them: path → watcher → modes.
#[derive(Default, Debug)]
struct Model {
    data: BTreeMap<String, BTreeMap<u32, BTreeSet<Mode>>>,
    child: BTreeMap<String, BTreeMap<u32, BTreeSet<Mode>>>,
}

type Table = BTreeMap<String, BTreeMap<u32, BTreeSet<Mode>>>;

fn put(table: &mut Table, path: &str, watcher: u32, mode: Mode) {
    table.entry(path.to_owned()).or_default().entry(watcher).or_default().insert(mode);
}

fn take(table: &mut Table, path: &str, watcher: u32, modes: &[Mode]) -> bool {
    let Some(set) = table.get_mut(path).and_then(|watchers| watchers.get_mut(&watcher)) else { return false };
    let before = set.len();
    set.retain(|mode| !modes.contains(mode));
    let found = set.len() < before;
    if set.is_empty() {
        table.get_mut(path).unwrap().remove(&watcher);
    }
    found
}

fn has(table: &Table, path: &str, watcher: u32, modes: &[Mode]) -> bool {
    let set = table.get(path).and_then(|watchers| watchers.get(&watcher));
    set.is_some_and(|set| modes.iter().any(|mode| set.contains(mode)))
}

/// One trigger in one table: selected watchers in order; standard modes at the path itself are gone afterwards.
fn resolve(table: &mut Table, path: &str) -> BTreeSet<u32> {
    let mut selected = BTreeSet::new();
    for (watched, watchers) in table.iter_mut() {
        let below = path.strip_prefix(watched.as_str()).is_some_and(|rest| watched == "/" || rest.starts_with('/'));
        if watched == path {
            selected.extend(watchers.keys());
            watchers.values_mut().for_each(|modes| _ = modes.remove(&Mode::Standard));
            watchers.retain(|_, modes| !modes.is_empty());
        } else if below {
            selected.extend(watchers.iter().filter(|(_, modes)| modes.contains(&Mode::Recursive)).map(|(w, _)| *w));
        }
    }
    selected
}

impl Model {
    fn add(&mut self, watcher: u32, path: &str, watch: Watch) {
        match watch {
            Watch::Data => put(&mut self.data, path, watcher, Mode::Standard),
            Watch::Child => put(&mut self.child, path, watcher, Mode::Standard),
            Watch::Persistent => {
                put(&mut self.data, path, watcher, Mode::Persistent);
                put(&mut self.child, path, watcher, Mode::Persistent);
            }
            Watch::Recursive => put(&mut self.data, path, watcher, Mode::Recursive),
        }
    }

    fn trigger(&mut self, change: Change, path: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let mut tell =
            |watchers: BTreeSet<u32>, kind, path: &str| events.extend(watchers.iter().map(|w| event(*w, kind, path)));
        let parent = match path.rsplit_once('/').unwrap().0 {
            "" => "/",
            parent => parent,
        };
        match change {
            Change::DataChanged => tell(resolve(&mut self.data, path), NodeDataChanged, path),
            Change::Created => {
                tell(resolve(&mut self.data, path), NodeCreated, path);
                tell(resolve(&mut self.child, parent), NodeChildrenChanged, parent);
            }
            Change::Deleted => {
                let told = resolve(&mut self.data, path);
                let more = &resolve(&mut self.child, path) - &told;
                tell(told, NodeDeleted, path);
                tell(more, NodeDeleted, path);
                tell(resolve(&mut self.child, parent), NodeChildrenChanged, parent);
            }
        }
        events
    }

    fn remove(&mut self, watcher: u32, path: &str, kind: WatcherType) -> bool {
        use Mode::{Persistent, Recursive, Standard};
        match kind {
            WatcherType::Children => take(&mut self.child, path, watcher, &[Standard]),
            WatcherType::Data => take(&mut self.data, path, watcher, &[Standard]),
            WatcherType::Any => {
                let all = [Standard, Persistent, Recursive];
                take(&mut self.data, path, watcher, &all) | take(&mut self.child, path, watcher, &all)
            }
            WatcherType::Persistent => {
                take(&mut self.child, path, watcher, &[Persistent]);
                take(&mut self.data, path, watcher, &[Persistent])
            }
            WatcherType::Recursive => take(&mut self.data, path, watcher, &[Recursive]),
        }
    }

    fn check(&self, watcher: u32, path: &str, kind: WatcherType) -> bool {
        use Mode::{Persistent, Recursive, Standard};
        match kind {
            WatcherType::Children => has(&self.child, path, watcher, &[Standard]),
            WatcherType::Data => has(&self.data, path, watcher, &[Standard]),
            WatcherType::Any => {
                let all = [Standard, Persistent, Recursive];
                has(&self.data, path, watcher, &all) || has(&self.child, path, watcher, &all)
            }
            WatcherType::Persistent => has(&self.data, path, watcher, &[Persistent]),
            WatcherType::Recursive => has(&self.data, path, watcher, &[Recursive]),
        }
    }

    fn remove_all(&mut self, watcher: u32) {
        for table in [&mut self.data, &mut self.child] {
            table.values_mut().for_each(|watchers| _ = watchers.remove(&watcher));
        }
    }

    fn count(&self) -> usize {
        [&self.data, &self.child].iter().map(|table| table.values().map(BTreeMap::len).sum::<usize>()).sum()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, usize, Watch),
    Trigger(Change, usize),
    Remove(u32, usize, WatcherType),
    Check(u32, usize, WatcherType),
    RemoveAll(u32),
}

const PATHS: [&str; 9] = ["/", "/a", "/a/b", "/a/b/c", "/a/bc", "/ab", "/b", "/b/a", "/a/b/c/d"];

fn step() -> impl Strategy<Value = Step> {
    // More watchers than a small set holds, but mostly a few.
    let watcher = || prop_oneof![4 => 0..4u32, 1 => 0..80u32];
    let path = || 0..PATHS.len();
    let watch = prop_oneof![Just(Watch::Data), Just(Watch::Child), Just(Watch::Persistent), Just(Watch::Recursive)];
    let change = prop_oneof![Just(Change::Created), Just(Change::Deleted), Just(Change::DataChanged)];
    let kind = || (1..6i32).prop_map(|n| WatcherType::from_i32(n).unwrap());
    prop_oneof![
        8 => (watcher(), path(), watch).prop_map(|(w, p, k)| Step::Add(w, p, k)),
        4 => (change, 1..PATHS.len()).prop_map(|(c, p)| Step::Trigger(c, p)),
        2 => (watcher(), path(), kind()).prop_map(|(w, p, k)| Step::Remove(w, p, k)),
        2 => (watcher(), path(), kind()).prop_map(|(w, p, k)| Step::Check(w, p, k)),
        1 => watcher().prop_map(Step::RemoveAll),
    ]
}

proptest! {
    #[test]
    fn the_table_is_that_of_the_naive_model(steps in prop::collection::vec(step(), 1..400)) {
        let mut model = Model::default();
        let mut table = Watches::new(7);
        for step in steps {
            match step {
                Step::Add(watcher, path, watch) => {
                    model.add(watcher, PATHS[path], watch);
                    table.add(watcher, PATHS[path], watch);
                }
                Step::Trigger(change, path) => {
                    prop_assert_eq!(fire_sorted(&mut table, change, PATHS[path]), sorted(model.trigger(change, PATHS[path])));
                }
                Step::Remove(watcher, path, kind) => {
                    prop_assert_eq!(table.remove(watcher, PATHS[path], kind), model.remove(watcher, PATHS[path], kind));
                }
                Step::Check(watcher, path, kind) => {
                    prop_assert_eq!(table.check(watcher, PATHS[path], kind), model.check(watcher, PATHS[path], kind));
                }
                Step::RemoveAll(watcher) => {
                    model.remove_all(watcher);
                    table.remove_all(watcher);
                }
            }
            prop_assert_eq!(table.count(), model.count());
            check_invariants(&table);
        }
        let data: BTreeMap<&str, Vec<u32>> =
            model.data.iter().filter(|(_, w)| !w.is_empty()).map(|(p, w)| (p.as_str(), w.keys().copied().collect())).collect();
        prop_assert_eq!(table.by_path(), data);
    }
}

/// What one watcher sees must be in the model's order; how watchers are interleaved within one event is free.
fn sorted(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|(watcher, _, _)| *watcher);
    events
}

fn fire_sorted(table: &mut Watches<u32>, change: Change, path: &str) -> Vec<Event> {
    sorted(fire(table, change, path))
}

#[allow(clippy::disallowed_methods, clippy::iter_over_hash_type, reason = "only sets are compared")]
fn check_invariants(table: &Watches<u32>) {
    let mut pairs = BTreeSet::new();
    for (path, number) in &table.index {
        let entry = table.entry(*number);
        assert_eq!(&entry.path, path);
        let count = |bits: u8| entry.watchers.iter().filter(|(_, modes)| modes & bits != 0).count() as u32;
        assert_eq!((entry.data, entry.child), (count(modes::DATA), count(modes::CHILD)));
        assert!(entry.watchers.iter().all(|(_, modes)| modes != 0));
        pairs.extend(entry.watchers.iter().map(|(watcher, _)| (watcher, *number)));
    }
    assert_eq!(table.index.len() + table.free.len(), table.entries.len());
    let known: BTreeSet<_> = table.watchers.iter().flat_map(|(w, numbers)| numbers.iter().map(|n| (*w, *n))).collect();
    assert_eq!(pairs, known);
    let of = |bits: u8| {
        table.entries.iter().flatten().flat_map(|e| e.watchers.iter()).filter(|(_, m)| m & bits != 0).count()
    };
    assert_eq!(table.recursive_count, of(modes::RECURSIVE));
}

/// A client with a million watches that left kept everybody on its shard waiting for seconds.
#[test]
fn a_watcher_with_many_paths_leaves_at_once_and_is_forgotten_in_slices() {
    let mut table: Watches<u32> = Watches::new(1);
    let paths: Vec<String> = (0..3500).map(|number| format!("/p/{number:04}")).collect();
    for path in &paths {
        table.add(1, path, Watch::Data);
        table.add(2, path, Watch::Persistent);
    }
    table.add(1, "/p", Watch::Recursive);
    table.remove_all(1);
    assert_eq!(table.summary(|_| ()), Summary { watchers: 1, paths: 3500, watches: 3500 });
    assert_eq!(table.by_watcher().into_keys().collect::<Vec<_>>(), [2]);
    // Events find the one that stays; what the other one spends meanwhile is not counted twice.
    let mut heard = Vec::new();
    for path in paths.iter().step_by(7) {
        table.trigger(Change::DataChanged, path, |watcher, _, _| heard.push(watcher));
    }
    assert_eq!(heard, vec![2; 500]);
    // A number that became free may be another path's before it is swept.
    table.remove_all(2);
    table.add(3, "/new", Watch::Data);
    let mut rounds = 0;
    while table.sweep(1000) {
        rounds += 1;
        assert_eq!(table.summary(|_| ()), Summary { watchers: 1, paths: 1, watches: 1 });
    }
    assert!((6..=8).contains(&rounds), "{rounds}");
    assert_eq!(table.count(), 1);
    assert!(table.check(3, "/new", WatcherType::Any));
    table.remove_all(3);
    assert!(table.is_empty());
}
