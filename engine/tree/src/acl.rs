//! Interned ACLs: each distinct list is kept once, with the id that snapshots give it.
//!
//! Entries live as long as a version names them; the writer alone counts. What clients of the tree hold is an [`AclRef`],
//! which keeps the list itself alive for as long as they like.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock};

use proto::jute::put_vector;
use proto::{Acl, perms};

/// The id of `world:anyone` with all permissions; it is in no snapshot's map.
pub const OPEN_ID: i64 = -1;

static OPEN: LazyLock<[Acl; 1]> = LazyLock::new(|| [Acl::open()]);

/// A znode's ACL, cheap to clone and independent of the tree's life.
#[derive(Clone, PartialEq, Eq)]
pub struct AclRef(Option<Arc<[Acl]>>);

impl AclRef {
    /// `world:anyone` with all permissions.
    pub const OPEN: AclRef = AclRef(None);

    /// A list of its own, not interned.
    pub fn new(acl: &[Acl]) -> AclRef {
        if is_open(acl) { AclRef::OPEN } else { AclRef(Some(acl.into())) }
    }

    /// Is it `world:anyone` with all permissions?
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }
}

impl Deref for AclRef {
    type Target = [Acl];

    fn deref(&self) -> &[Acl] {
        match &self.0 {
            Some(acl) => acl,
            None => &*OPEN,
        }
    }
}

impl fmt::Debug for AclRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn is_open(acl: &[Acl]) -> bool {
    matches!(acl, [one] if one.perms == perms::ALL && one.id.scheme == "world" && one.id.id == "anyone")
}

/// An interned ACL.
#[derive(Debug)]
pub struct Entry {
    /// As in snapshots.
    pub id: i64,
    /// The list.
    pub acl: AclRef,
    /// Does it stand for an id that its snapshot did not define?
    unknown: bool,
    /// Versions that name it. Touched by the writer alone.
    refs: Cell<usize>,
}

/// The writer's table of them.
#[derive(Debug)]
pub struct Table {
    by_bytes: BTreeMap<Box<[u8]>, NonNull<Entry>>,
    open: NonNull<Entry>,
    id_last: i64,
    scratch: Vec<u8>,
}

impl Table {
    /// Only the open ACL.
    pub fn new() -> Table {
        let open = Entry { id: OPEN_ID, acl: AclRef::OPEN, unknown: false, refs: Cell::new(1) };
        Table { by_bytes: BTreeMap::new(), open: leak(open), id_last: 0, scratch: Vec::new() }
    }

    /// The entry of `acl`, with one reference for the caller's use.
    pub fn intern(&mut self, acl: &[Acl]) -> NonNull<Entry> {
        self.intern_as(acl, None)
    }

    /// The same, preferring `id` if the list is new and the id is free to give: the caller says so.
    pub fn intern_as(&mut self, acl: &[Acl], id: Option<i64>) -> NonNull<Entry> {
        let entry = if is_open(acl) {
            self.open
        } else {
            self.scratch.clear();
            put_vector(&mut self.scratch, acl);
            match self.by_bytes.get(self.scratch.as_slice()) {
                Some(entry) => *entry,
                None => {
                    let id = id.unwrap_or(self.id_last + 1);
                    self.id_last = self.id_last.max(id);
                    let entry = leak(Entry { id, acl: AclRef(Some(acl.into())), unknown: false, refs: Cell::new(0) });
                    self.by_bytes.insert(self.scratch.as_slice().into(), entry);
                    entry
                }
            }
        };
        // SAFETY: entries in the table are alive.
        self.hold(unsafe { entry.as_ref() });
        entry
    }

    /// Never gives ids up to this one.
    pub fn skip_ids(&mut self, id: i64) {
        self.id_last = self.id_last.max(id);
    }

    /// Counts one more reference.
    pub fn hold(&self, entry: &Entry) {
        entry.refs.set(entry.refs.get() + 1);
    }

    /// Counts one less, and frees the entry with the last.
    ///
    /// # Safety
    /// The caller gives up a reference that it holds; no reader can hold a version that names the entry if this is the last.
    pub unsafe fn release(&mut self, entry: NonNull<Entry>) {
        // SAFETY: a held entry is alive.
        let e = unsafe { entry.as_ref() };
        e.refs.set(e.refs.get() - 1);
        if e.refs.get() == 0 {
            if e.unknown {
                self.by_bytes.remove(unknown_key(e.id).as_slice());
            } else {
                self.scratch.clear();
                put_vector(&mut self.scratch, &e.acl);
                self.by_bytes.remove(self.scratch.as_slice());
            }
            // SAFETY: leaked by this table, and nobody names it any more.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
        }
    }

    /// An entry of its own, for a snapshot's znode that names an id which the snapshot does not define: nobody has any
    /// permission.
    pub fn unknown(&mut self, id: i64) -> NonNull<Entry> {
        self.skip_ids(id);
        let nobody = Acl { perms: 0, ..Acl::open() };
        let entry = leak(Entry { id, acl: AclRef(Some([nobody].into())), unknown: true, refs: Cell::new(1) });
        self.by_bytes.insert(unknown_key(id).into(), entry);
        entry
    }

    /// All entries but the open one, by id.
    pub fn all(&self) -> Vec<(i64, AclRef)> {
        // SAFETY: entries in the table are alive.
        let mut all: Vec<_> =
            self.by_bytes.values().map(|e| unsafe { (e.as_ref().id, e.as_ref().acl.clone()) }).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    /// How many distinct ACLs there are, the open one excepted.
    pub fn len(&self) -> usize {
        self.by_bytes.len()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // Some are left only if a load was given up.
        for entry in self.by_bytes.values().chain([&self.open]) {
            // SAFETY: leaked by this table, each once; no version is left.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
        }
    }
}

/// No encoded list begins like this: its count would be negative.
fn unknown_key(id: i64) -> [u8; 9] {
    let mut key = [0xFF; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn leak(entry: Entry) -> NonNull<Entry> {
    NonNull::from(Box::leak(Box::new(entry)))
}
