//! What a client watches on its connection, and which events it is owed for that.
//!
//! It does what client-protocol.md §14 says a server does, from the ledger's sequence of changes and nothing else: for each transaction that
//! the client has been answered up to, the exact events, in their order. Events must be these: none missed, none invented, each ahead
//! of the first answer that shows its change. A connection begins with what setWatches makes of what was watched before: events that
//! follow from the state at the answer's zxid, and watches.
//! Kept out: whether answers themselves are true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proto::path::parent;
use proto::{Acl, Zxid};
use tree::model::Event;

use crate::ledger::{Entry, Held, Ledger, hex, hold};
use crate::rights::Rights;
use crate::wire::Ask;

/// Event types.
const CREATED: i32 = 1;
const DELETED: i32 = 2;
const DATA_CHANGED: i32 = 3;
const CHILDREN_CHANGED: i32 = 4;

/// No such watch.
const NO_WATCHER: i32 = -121;

const INVARIANT: &str = "WatchesInOrder";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// Set on a znode, or where one could be.
    Data,
    /// On the children.
    Child,
}

/// An event: zxid, type, path.
type Told = (i64, i32, String);

/// See the module's page.
#[derive(Default)]
pub struct Watching {
    /// Watches that fire once, by [`Kind`] and path. True: there was no znode.
    standard: [BTreeMap<String, bool>; 2],
    /// Of addWatch.
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
    /// Everything up to here is in `owed`, or was told.
    looked: i64,
    owed: VecDeque<Told>,
    /// What came since the connection began, while it waits for the answer to setWatches.
    caught_up: Option<Vec<Told>>,
    /// Events of persistent and recursive watches that came.
    pub lasting_events: u64,
}

impl Watching {
    /// A new session: nothing is watched.
    pub fn forget(&mut self) {
        self.standard.iter_mut().for_each(BTreeMap::clear);
        self.persistent.clear();
        self.recursive.clear();
        self.apart();
    }

    /// The connection is over, and with it what the server knew of this.
    pub fn apart(&mut self) {
        self.owed.clear();
        self.caught_up = None;
    }

    /// How much is watched.
    pub fn count(&self) -> usize {
        self.standard.iter().map(BTreeMap::len).sum::<usize>() + self.lasting()
    }

    /// How many watches do not end with their first event.
    pub fn lasting(&self) -> usize {
        self.persistent.len() + self.recursive.len()
    }

    /// Some path with a lasting watch.
    pub fn lasting_path(&self, at: u64) -> Option<&str> {
        self.persistent.iter().chain(&self.recursive).nth(at as usize).map(String::as_str)
    }

    /// A connection of the session begins. What it must say first, if anything.
    pub fn again(&mut self, last_zxid: i64) -> Option<Ask> {
        self.apart();
        self.looked = last_zxid;
        if self.count() == 0 {
            return None;
        }
        let list = |kind: Kind, absent: bool| -> Vec<String> {
            let of = self.standard[kind as usize].iter().filter(|(_, a)| **a == absent);
            of.map(|(path, _)| path.clone()).collect()
        };
        let lists = [list(Kind::Data, false), list(Kind::Data, true), list(Kind::Child, false)];
        self.caught_up = Some(Vec::new());
        let lasting = [&self.persistent, &self.recursive].map(|set| set.iter().cloned().collect());
        Some(Ask::SetWatches(last_zxid, lists, lasting))
    }

    /// setWatches was answered at `zxid`: what had changed then was told, the rest is watched. Nothing is owed for what happened to
    /// persistent watches meanwhile.
    pub fn set_again(&mut self, me: &str, ask: &Ask, zxid: i64, ledger: &Ledger) -> Held {
        let (Ask::SetWatches(since, lists, _), Some(told)) = (ask, self.caught_up.take()) else { return Ok(()) };
        let state = ledger.model.at(Zxid(zxid));
        let [data, exists, children] = lists;
        let mut expected = Vec::new();
        let kinds = [(Kind::Data, false, data), (Kind::Data, true, exists), (Kind::Child, false, children)];
        for (kind, absent, paths) in kinds {
            for path in paths {
                let stat = state.znodes.get(path.as_str()).map(|znode| znode.stat);
                let event = match (stat, kind) {
                    (None, _) if absent => continue,
                    (Some(_), _) if absent => CREATED,
                    (None, _) => DELETED,
                    (Some(stat), Kind::Data) if stat.mzxid.0 > *since => DATA_CHANGED,
                    (Some(stat), Kind::Child) if stat.pzxid.0 > *since => CHILDREN_CHANGED,
                    _ => continue,
                };
                self.standard[kind as usize].remove(path);
                expected.push((-1, event, path.clone()));
            }
        }
        self.looked = zxid;
        hold(told == expected, INVARIANT, || {
            format!("{me}: {ask:?} is answered at {} behind {told:?}; {expected:?} follow", hex(zxid))
        })
    }

    /// An answer to anything at `zxid`: whatever watches tell of up to there, they have told.
    pub fn answered(&mut self, me: &str, zxid: i64, ledger: &Ledger, rights: &Rights) -> Held {
        if self.caught_up.is_some() {
            return Ok(());
        }
        hold(zxid >= self.looked, INVARIANT, || {
            format!("{me}: an answer at {} behind one, or an event, at {}", hex(zxid), hex(self.looked))
        })?;
        self.look(zxid, ledger, rights);
        hold(self.owed.is_empty(), INVARIANT, || {
            format!("{me}: an answer at {} came before the events {:x?}", hex(zxid), self.owed)
        })
    }

    /// An event came.
    pub fn event(&mut self, me: &str, told: Told, ledger: &Ledger, rights: &Rights) -> Held {
        if let Some(caught_up) = &mut self.caught_up {
            caught_up.push(told);
            return Ok(());
        }
        self.look(told.0, ledger, rights);
        let expected = self.owed.pop_front();
        let wakes = |path: &str| self.persistent.contains(path) || up(path).any(|at| self.recursive.contains(at));
        self.lasting_events += u64::from(wakes(&told.2));
        hold(expected.as_ref() == Some(&told), INVARIANT, || {
            format!("{me}: event {told:x?}, where {expected:x?} is due, behind {}", hex(self.looked))
        })
    }

    fn look(&mut self, to: i64, ledger: &Ledger, rights: &Rights) {
        if self.count() > 0 {
            for entry in ledger.between(self.looked, to) {
                self.happened(entry, rights);
            }
        }
        self.looked = self.looked.max(to);
    }

    fn happened(&mut self, entry: &Entry, rights: &Rights) {
        let zxid = entry.header.zxid.0;
        for (event, path, acl, parent_acl) in &entry.effect.happenings {
            let (data, child) = ([Kind::Data].as_slice(), [Kind::Child].as_slice());
            match event {
                Event::DataChanged => self.fire(data, (zxid, DATA_CHANGED, path), acl, rights),
                Event::Created => {
                    self.fire(data, (zxid, CREATED, path), acl, rights);
                    self.fire(child, (zxid, CHILDREN_CHANGED, parent(path)), parent_acl, rights);
                }
                Event::Deleted => {
                    self.fire(&[Kind::Data, Kind::Child], (zxid, DELETED, path), acl, rights);
                    self.fire(child, (zxid, CHILDREN_CHANGED, parent(path)), parent_acl, rights);
                }
            }
        }
    }

    /// One event at most, whatever is set there. Without the right to read it is not told, and spent nevertheless.
    fn fire(&mut self, kinds: &[Kind], (zxid, event, path): (i64, i32, &str), acl: &[Acl], rights: &Rights) {
        let mut fires = self.persistent.contains(path);
        for kind in kinds {
            fires |= self.standard[*kind as usize].remove(path).is_some();
            fires |= *kind == Kind::Data && up(path).any(|at| self.recursive.contains(at));
        }
        if fires && rights.may_read(acl) {
            self.owed.push_back((zxid, event, path.to_owned()));
        }
    }

    /// A request was answered at the zxid that [`Watching::answered`] was told last: what is watched from there on, and whether the server agrees
    /// on what is.
    pub fn arm(&mut self, me: &str, ask: &Ask, err: i32) -> Held {
        match ask {
            Ask::Get(path, true) if err == 0 => _ = self.of(Kind::Data).entry(path.clone()).or_insert(false),
            Ask::Exists(path, true) if err == 0 || err == -101 => {
                self.of(Kind::Data).entry(path.clone()).or_insert(err != 0);
            }
            Ask::Children(path, true) if err == 0 => _ = self.of(Kind::Child).entry(path.clone()).or_insert(false),
            Ask::AddWatch(path, mode) => {
                hold(err == 0, INVARIANT, || format!("{me}: {ask:?} is answered {err}"))?;
                let set = if *mode == 0 { &mut self.persistent } else { &mut self.recursive };
                set.insert(path.clone());
            }
            Ask::CheckWatches(path, kind) | Ask::RemoveWatches(path, kind) => {
                let expected = if self.has(path, *kind) { 0 } else { NO_WATCHER };
                hold(err == expected, INVARIANT, || format!("{me}: {ask:?} is answered {err} and not {expected}"))?;
                if err == 0 && matches!(ask, Ask::RemoveWatches(..)) {
                    self.remove(path, *kind);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn of(&mut self, kind: Kind) -> &mut BTreeMap<String, bool> {
        &mut self.standard[kind as usize]
    }

    /// §14.6; the number is the type of watcher.
    fn has(&self, path: &str, kind: i32) -> bool {
        let standard = |kind: Kind| self.standard[kind as usize].contains_key(path);
        match kind {
            1 => standard(Kind::Child),
            2 => standard(Kind::Data),
            4 => self.persistent.contains(path),
            5 => self.recursive.contains(path),
            _ => (1..=5).filter(|kind| *kind != 3).any(|kind| self.has(path, kind)),
        }
    }

    fn remove(&mut self, path: &str, kind: i32) {
        match kind {
            1 => _ = self.of(Kind::Child).remove(path),
            2 => _ = self.of(Kind::Data).remove(path),
            4 => _ = self.persistent.remove(path),
            5 => _ = self.recursive.remove(path),
            _ => [1, 2, 4, 5].into_iter().for_each(|kind| self.remove(path, kind)),
        }
    }
}

/// A path and all above it.
fn up(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |at| (*at != "/").then(|| parent(at)))
}
