//! Models of the lock-free cells, checked in every interleaving:
//! `RUSTFLAGS="--cfg loom" cargo test -p tree --release --test loom`.
//!
//! "Freed" is a flag in a model's cell, so that a reader that touches freed memory fails an assertion instead of crashing.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use loom::thread;
use tree::cells::{Chain, Committed, Index, IndexWriter, Link, Roster, Sizes, Slot, cut};

/// A version that knows whether it was freed.
struct Version {
    stamp: i64,
    prev: AtomicPtr<Version>,
    /// Written before publication, so that loom sees a reader that comes too early.
    payload: loom::cell::UnsafeCell<i64>,
    freed: AtomicBool,
}

impl Link for Version {
    fn stamp(&self) -> i64 {
        assert!(!self.freed.load(Ordering::Relaxed), "a freed version is not looked at");
        self.stamp
    }

    fn prev(&self) -> &AtomicPtr<Version> {
        &self.prev
    }
}

/// The writer's side: makes versions and keeps them until the end of the model.
struct Maker(Vec<*mut Version>);

impl Maker {
    fn make(&mut self, stamp: i64) -> *mut Version {
        let version = Box::into_raw(Box::new(Version {
            stamp,
            prev: AtomicPtr::new(std::ptr::null_mut()),
            payload: loom::cell::UnsafeCell::new(0),
            freed: AtomicBool::new(false),
        }));
        // SAFETY: nobody else knows it yet.
        unsafe { (*version).payload.with_mut(|payload| *payload = stamp * 10) };
        self.0.push(version);
        version
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        for version in &self.0 {
            // SAFETY: made by `make`; the model's threads are done.
            drop(unsafe { Box::from_raw(*version) });
        }
    }
}

/// What the version at `visible` says, as a reader reads it.
fn read(chain: &Chain<Version>, visible: i64) -> Option<i64> {
    // SAFETY: what the models are about.
    unsafe {
        let version = chain.at(visible).as_ref()?;
        let payload = version.payload.with(|payload| *payload);
        assert!(!version.freed.load(Ordering::Relaxed), "a version in use is not freed");
        Some(payload)
    }
}

fn free(version: *mut Version) {
    // SAFETY: kept by the maker.
    let version = unsafe { &*version };
    // As real freeing writes to the memory.
    // SAFETY: loom checks that nobody reads meanwhile.
    unsafe { version.payload.with_mut(|payload| *payload = -1) };
    version.freed.store(true, Ordering::Relaxed);
}

#[test]
fn a_reader_sees_the_version_of_its_zxid_while_newer_ones_are_pushed_and_popped() {
    loom::model(|| {
        let chain = Arc::new(Chain::<Version>::new());
        let mut maker = Maker(Vec::new());
        // SAFETY: this thread is the only writer.
        unsafe { chain.push(maker.make(1)) };
        let reader = {
            let chain = chain.clone();
            thread::spawn(move || {
                assert_eq!(read(&chain, 1), Some(10));
                assert_eq!(read(&chain, 1), Some(10));
                assert_eq!(read(&chain, 0), None);
            })
        };
        // SAFETY: as above.
        unsafe {
            chain.push(maker.make(2));
            chain.push(maker.make(2));
            chain.pop();
            chain.push(maker.make(3));
        }
        reader.join().unwrap();
    });
}

#[test]
fn what_was_superseded_is_freed_only_after_every_reader_has_moved_on() {
    loom::model(|| {
        let chain = Arc::new(Chain::<Version>::new());
        let committed = Arc::new(Committed::new(1));
        let mut roster = Roster::default();
        let mut maker = Maker(Vec::new());
        // SAFETY: this thread is the only writer.
        unsafe { chain.push(maker.make(1)) };
        let slot = roster.join(1);
        let reader = {
            let (chain, committed, slot) = (chain.clone(), committed.clone(), slot.clone());
            thread::spawn(move || {
                assert_eq!(read(&chain, 1), Some(10));
                let to = committed.get();
                slot.advance(to);
                assert_eq!(read(&chain, to), Some(to * 10));
                slot.leave();
            })
        };
        let newer = maker.make(2);
        // SAFETY: as above.
        unsafe { chain.push(newer) };
        committed.publish(2);
        let mut cut_off = false;
        for _ in 0..2 {
            if !cut_off && roster.floor(2) >= 2 {
                // SAFETY: every reader has reached the version's stamp.
                free(unsafe { cut(newer) });
                cut_off = true;
            }
        }
        reader.join().unwrap();
        if !cut_off {
            assert_eq!(roster.floor(2), 2, "a reader that left holds nothing back");
        }
    });
}

#[test]
fn what_was_undone_is_freed_only_after_every_reader_has_passed_what_was_then_committed() {
    loom::model(|| {
        let chain = Arc::new(Chain::<Version>::new());
        let committed = Arc::new(Committed::new(1));
        let mut roster = Roster::default();
        let mut maker = Maker(Vec::new());
        // SAFETY: this thread is the only writer.
        unsafe { chain.push(maker.make(1)) };
        let slot = roster.join(1);
        let reader = {
            let (chain, committed, slot) = (chain.clone(), committed.clone(), slot.clone());
            thread::spawn(move || {
                assert_eq!(read(&chain, 1), Some(10));
                let to = committed.get();
                slot.advance(to);
                assert_eq!(read(&chain, to), Some(to * 10));
            })
        };
        // SAFETY: as above.
        let undone = unsafe {
            chain.push(maker.make(2));
            let undone = chain.pop();
            chain.push(maker.make(2));
            undone
        };
        committed.publish(2);
        // The first zxid not committed when it was taken out is 2.
        if roster.floor(2) >= 2 {
            free(undone);
        }
        reader.join().unwrap();
        drop(slot);
    });
}

/// A node of the index: its hash, its visible life, and whether it was freed.
struct Node {
    hash: u64,
    freed: AtomicBool,
    payload: loom::cell::UnsafeCell<u64>,
}

fn node(hash: u64) -> *mut Node {
    Box::into_raw(Box::new(Node { hash, freed: AtomicBool::new(false), payload: loom::cell::UnsafeCell::new(hash) }))
}

fn find(index: &Index<Node>, hash: u64) -> *mut Node {
    // SAFETY: the models free nothing while readers run, except as their names say.
    unsafe {
        index.find(hash, |node| {
            let node = &*node;
            assert!(!node.freed.load(Ordering::Relaxed), "a freed node is not looked at");
            node.payload.with(|payload| *payload) == hash
        })
    }
}

fn hash_of(node: *mut Node) -> u64 {
    // SAFETY: nodes live until the end of a model.
    unsafe { (*node).hash }
}

/// Hashes whose top bits differ, so that segments split, with few slots between their homes.
const HASHES: [u64; 4] = [0x0000_0000_0000_1000, 0x8000_0000_0000_1000, 0x4000_0000_0000_1001, 0xC000_0000_0000_2000];

#[test]
fn a_reader_finds_what_it_may_see_while_segments_grow_split_and_the_directory_doubles() {
    loom::model(|| {
        let (index, mut writer) = IndexWriter::new(Sizes { slots_min: 2, slots_max: 3 });
        let index = Arc::new(index);
        let mut nodes = vec![node(HASHES[0])];
        // SAFETY: this is the writer; nodes are alive.
        unsafe { writer.insert(&index, HASHES[0], nodes[0], hash_of) };
        let reader = {
            let index = index.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    assert!(!find(&index, HASHES[0]).is_null(), "what was there stays");
                }
                let _ = find(&index, HASHES[1]);
            })
        };
        for hash in &HASHES[1..] {
            nodes.push(node(*hash));
            // SAFETY: as above.
            unsafe { writer.insert(&index, *hash, *nodes.last().unwrap(), hash_of) };
        }
        reader.join().unwrap();
        let replaced: Vec<_> = writer.take_replaced().collect();
        assert!(replaced.len() > 2, "segments were replaced, and the directory");
        for (hash, node) in HASHES.into_iter().zip(nodes.iter().copied()) {
            assert_eq!(find(&index, hash), node);
        }
        // SAFETY: no reader is left.
        unsafe {
            replaced.into_iter().for_each(|replaced| replaced.free());
            nodes.into_iter().for_each(|node| drop(Box::from_raw(node)));
        }
    });
}

#[test]
fn an_entry_behind_a_removed_one_stays_findable_and_the_removed_node_is_freed_after_the_reader_moved() {
    loom::model(|| {
        let (index, mut writer) = IndexWriter::new(Sizes { slots_min: 8, slots_max: 8 });
        let index = Arc::new(index);
        let committed = Arc::new(Committed::new(1));
        let mut roster = Roster::default();
        let (first, second) = (node(0x1000), node(0x1_0000_1000));
        // SAFETY: this is the writer; nodes are alive.
        unsafe {
            writer.insert(&index, hash_of(first), first, hash_of);
            writer.insert(&index, hash_of(second), second, hash_of);
        }
        let slot: Arc<Slot> = roster.join(1);
        let reader = {
            let (index, committed, slot) = (index.clone(), committed.clone(), slot.clone());
            thread::spawn(move || {
                assert!(!find(&index, 0x1_0000_1000).is_null());
                slot.advance(committed.get());
                assert!(!find(&index, 0x1_0000_1000).is_null());
                // Perhaps it is there already; then all of it is.
                let _ = find(&index, 0x2_0000_1000);
            })
        };
        writer.remove(&index, 0x1000, first);
        committed.publish(2);
        let third = node(0x2_0000_1000);
        // SAFETY: as above.
        unsafe { writer.insert(&index, hash_of(third), third, hash_of) };
        if roster.floor(2) >= 2 {
            // SAFETY: loom checks that nobody reads meanwhile.
            unsafe {
                (*first).payload.with_mut(|payload| *payload = 0);
                (*first).freed.store(true, Ordering::Relaxed);
            }
        }
        reader.join().unwrap();
        assert!(find(&index, 0x1000).is_null());
        // SAFETY: no reader is left.
        unsafe {
            drop(Box::from_raw(first));
            drop(Box::from_raw(second));
            drop(Box::from_raw(third));
        }
    });
}
