//! What lies in memory: the node with its path, its versions, and its child lists.
//!
//! Layouts are private to this room; outside, fields are read through the functions here. Versions and child lists are
//! immutable once pushed. Only the writer makes and frees them.

use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::slice;

use crate::acl;
use crate::chain::{Chain, Link};
use crate::memory::Memory;
use crate::names;
use crate::sync::AtomicPtr;

/// Data up to this many bytes lies in the version itself; longer data is shared between versions.
pub const INLINE_BYTES: usize = 512;

/// A znode's place: found by path, it stays while the path exists at some zxid that a reader may be at.
#[repr(C)]
#[derive(Debug)]
pub struct Node {
    /// Versions of data and stat.
    pub versions: Chain<Version>,
    /// Versions of the child list; empty if there never was a child.
    pub children: Chain<Children>,
    path_bytes: u32,
    /// Taken out of the index? The writer's own note.
    pub unlinked: std::cell::Cell<bool>,
}

impl Node {
    /// A node without versions.
    pub fn make(memory: &mut Memory, path: &str) -> NonNull<Node> {
        let node = memory.take(size_of::<Node>() + path.len()).cast::<Node>();
        let path_bytes = u32::try_from(path.len()).expect("paths are shorter than 4 GiB");
        // SAFETY: the cell is fresh and has room for the node and its path.
        unsafe {
            node.write(Node {
                versions: Chain::new(),
                children: Chain::new(),
                path_bytes,
                unlinked: std::cell::Cell::new(false),
            });
            node.add(1).cast::<u8>().copy_from_nonoverlapping(NonNull::from(path).cast(), path.len());
        }
        node
    }

    /// The path of a node.
    ///
    /// # Safety
    /// The node is alive for `'a`.
    pub unsafe fn path<'a>(node: NonNull<Node>) -> &'a str {
        // SAFETY: written by `make` from a `&str` of this length.
        unsafe {
            let bytes = slice::from_raw_parts(node.add(1).cast::<u8>().as_ptr(), node.as_ref().path_bytes as usize);
            std::str::from_utf8_unchecked(bytes)
        }
    }

    /// Frees the node itself, not its versions.
    ///
    /// # Safety
    /// Made from `memory`; nobody will look at it again.
    pub unsafe fn free(memory: &mut Memory, node: NonNull<Node>) {
        // SAFETY: by the contract.
        unsafe {
            let size = size_of::<Node>() + node.as_ref().path_bytes as usize;
            ptr::drop_in_place(node.as_ptr());
            memory.give(node.cast(), size);
        }
    }
}

/// What a version of a node says, its data apart.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub owner: i64,
    pub acl: NonNull<acl::Entry>,
    pub version: i32,
    pub aversion: i32,
    /// CRC-32 of path and data, from which the digest goes on.
    pub crc: u32,
}

/// A version of a node. Its origin follows, unless `size` says that it is plain; then its data, or a pointer to it. A
/// tombstone has neither facts nor data.
#[repr(C)]
#[derive(Debug)]
pub struct Version {
    prev: AtomicPtr<Version>,
    stamp: i64,
    mzxid: i64,
    mtime: i64,
    acl: NonNull<acl::Entry>,
    version: i32,
    crc: u32,
    /// Bytes of data, or one of the two values below; the top bit says that there is an origin.
    size: u32,
}

/// What a znode has besides. Most do not need it: they are as they were created, and nobody's.
#[repr(C)]
#[derive(Clone, Copy)]
struct Origin {
    czxid: i64,
    ctime: i64,
    owner: i64,
    aversion: i32,
}

/// Data of a plain version begins right behind the last field, in what would be padding: four bytes make the difference of a
/// size class for a typical znode.
const PLAIN_BYTES: usize = offset_of!(Version, size) + size_of::<u32>();

#[cfg(not(loom))]
const _: () = assert!(PLAIN_BYTES == 52 && size_of::<Version>() == 56, "a million znodes feel every word");

const WITH_ORIGIN: u32 = 1 << 31;
const NULL: u32 = WITH_ORIGIN - 1;
const TOMBSTONE: u32 = WITH_ORIGIN - 2;

/// Data too long to lie in a version.
#[repr(C)]
struct Blob {
    /// Versions that share it. Touched by the writer alone.
    refs: std::cell::Cell<usize>,
    bytes: usize,
}

impl Link for Version {
    fn stamp(&self) -> i64 {
        self.stamp
    }

    fn prev(&self) -> &AtomicPtr<Version> {
        &self.prev
    }
}

/// Data for a new version.
#[derive(Clone, Copy)]
pub enum Data<'d> {
    /// These bytes, or null.
    New(Option<&'d [u8]>),
    /// What that version has.
    Same(NonNull<Version>),
}

impl Version {
    /// A live version.
    ///
    /// # Safety
    /// A version given as data is alive and not a tombstone.
    pub unsafe fn make(memory: &mut Memory, stamp: i64, facts: Facts, data: Data<'_>) -> NonNull<Version> {
        let (bytes, shared) = match data {
            Data::New(bytes) => (bytes, None),
            // SAFETY: by the contract.
            Data::Same(version) => unsafe { (Version::data(version), Version::blob(version)) },
        };
        let size = bytes.map_or(NULL, |bytes| u32::try_from(bytes.len()).expect("data is shorter than 2 GiB"));
        assert!(size == NULL || size < TOMBSTONE, "data is shorter than 2 GiB");
        let plain = (facts.czxid, facts.ctime, facts.owner, facts.aversion) == (facts.mzxid, facts.mtime, 0, 0);
        let size = if plain { size } else { size | WITH_ORIGIN };
        let version = memory.take(Version::cell_bytes(size)).cast::<Version>();
        // SAFETY: the cell is fresh and has room for what `size` promises.
        unsafe {
            version.write(Version::header(stamp, &facts, size));
            if !plain {
                let origin =
                    Origin { czxid: facts.czxid, ctime: facts.ctime, owner: facts.owner, aversion: facts.aversion };
                version.add(1).cast::<Origin>().write(origin);
            }
            let tail = Version::tail(version);
            match bytes {
                None => {}
                Some(bytes) if bytes.len() <= INLINE_BYTES => {
                    tail.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
                }
                Some(bytes) => {
                    let blob = shared.unwrap_or_else(|| Blob::make(memory, bytes));
                    blob.as_ref().refs.set(blob.as_ref().refs.get() + 1);
                    tail.cast::<NonNull<Blob>>().write_unaligned(blob);
                }
            }
        }
        version
    }

    /// "There is no such znode from here on".
    pub fn tombstone(memory: &mut Memory, stamp: i64) -> NonNull<Version> {
        let version = memory.take(Version::cell_bytes(TOMBSTONE)).cast::<Version>();
        let facts = Facts {
            czxid: 0,
            mzxid: 0,
            ctime: 0,
            mtime: 0,
            owner: 0,
            acl: NonNull::dangling(),
            version: 0,
            aversion: 0,
            crc: 0,
        };
        // SAFETY: the cell is fresh and large enough.
        unsafe { version.write(Version::header(stamp, &facts, TOMBSTONE)) };
        version
    }

    fn header(stamp: i64, facts: &Facts, size: u32) -> Version {
        Version {
            prev: AtomicPtr::new(ptr::null_mut()),
            stamp,
            mzxid: facts.mzxid,
            mtime: facts.mtime,
            acl: facts.acl,
            version: facts.version,
            crc: facts.crc,
            size,
        }
    }

    /// Where its data, or the pointer to it, lies.
    ///
    /// # Safety
    /// The version is alive.
    unsafe fn tail(version: NonNull<Version>) -> NonNull<u8> {
        // SAFETY: laid out by `make`.
        unsafe {
            if version.as_ref().size & WITH_ORIGIN == 0 {
                version.cast::<u8>().add(PLAIN_BYTES)
            } else {
                version.add(1).cast::<Origin>().add(1).cast()
            }
        }
    }

    fn cell_bytes(size: u32) -> usize {
        let before = if size & WITH_ORIGIN == 0 { PLAIN_BYTES } else { size_of::<Version>() + size_of::<Origin>() };
        let data = match size & !WITH_ORIGIN {
            NULL | TOMBSTONE => 0,
            size if size as usize <= INLINE_BYTES => size as usize,
            _ => size_of::<NonNull<Blob>>(),
        };
        (before + data).max(size_of::<Version>())
    }

    /// Is it a live version, no tombstone?
    pub fn is_live(&self) -> bool {
        self.size != TOMBSTONE
    }

    /// What it says.
    ///
    /// # Safety
    /// The version is alive.
    pub unsafe fn facts(version: NonNull<Version>) -> Facts {
        // SAFETY: by the contract; the origin is there if the size says so.
        let (this, origin) = unsafe { (version.as_ref(), Version::origin(version)) };
        Facts {
            czxid: origin.czxid,
            mzxid: this.mzxid,
            ctime: origin.ctime,
            mtime: this.mtime,
            owner: origin.owner,
            acl: this.acl,
            version: this.version,
            aversion: origin.aversion,
            crc: this.crc,
        }
    }

    /// # Safety
    /// The version is alive.
    unsafe fn origin(version: NonNull<Version>) -> Origin {
        // SAFETY: laid out by `make`.
        unsafe {
            let this = version.as_ref();
            if this.size & WITH_ORIGIN == 0 {
                Origin { czxid: this.mzxid, ctime: this.mtime, owner: 0, aversion: 0 }
            } else {
                version.add(1).cast::<Origin>().read()
            }
        }
    }

    /// Its ACL.
    pub fn acl(&self) -> NonNull<acl::Entry> {
        self.acl
    }

    /// Bytes of its data; zero for null.
    pub fn data_bytes(&self) -> usize {
        let size = self.size & !WITH_ORIGIN;
        if size >= TOMBSTONE { 0 } else { size as usize }
    }

    /// # Safety
    /// The version is alive.
    unsafe fn blob(version: NonNull<Version>) -> Option<NonNull<Blob>> {
        // SAFETY: written by `make`.
        unsafe {
            (version.as_ref().data_bytes() > INLINE_BYTES)
                .then(|| Version::tail(version).cast::<NonNull<Blob>>().read_unaligned())
        }
    }

    /// Its data, or null.
    ///
    /// # Safety
    /// The version is alive for `'a`.
    pub unsafe fn data<'a>(version: NonNull<Version>) -> Option<&'a [u8]> {
        // SAFETY: written by `make`, this many bytes.
        unsafe {
            let size = version.as_ref().size & !WITH_ORIGIN;
            if size >= TOMBSTONE {
                return None;
            }
            let start = match Version::blob(version) {
                None => Version::tail(version),
                Some(blob) => blob.add(1).cast::<u8>(),
            };
            Some(slice::from_raw_parts(start.as_ptr(), size as usize))
        }
    }

    /// Frees it and gives up its share in data and ACL.
    ///
    /// # Safety
    /// Made from `memory`, with an ACL reference of `acls`; nobody will look at it again.
    pub unsafe fn free(memory: &mut Memory, acls: &mut acl::Table, version: NonNull<Version>) {
        // SAFETY: by the contract.
        unsafe {
            let this = version.as_ref();
            if this.is_live() {
                acls.release(this.acl);
            }
            if let Some(blob) = Version::blob(version) {
                let refs = blob.as_ref().refs.get() - 1;
                blob.as_ref().refs.set(refs);
                if refs == 0 {
                    let bytes = size_of::<Blob>() + blob.as_ref().bytes;
                    memory.give(blob.cast(), bytes);
                }
            }
            let size = Version::cell_bytes(this.size);
            ptr::drop_in_place(version.as_ptr());
            memory.give(version.cast(), size);
        }
    }
}

impl Blob {
    fn make(memory: &mut Memory, bytes: &[u8]) -> NonNull<Blob> {
        let blob = memory.take(size_of::<Blob>() + bytes.len()).cast::<Blob>();
        // SAFETY: the cell is fresh and has room for the header and the bytes.
        unsafe {
            blob.write(Blob { refs: std::cell::Cell::new(0), bytes: bytes.len() });
            blob.add(1).cast::<u8>().copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        blob
    }
}

/// What a version of a child list says.
#[derive(Clone, Copy, Debug)]
pub struct ChildFacts {
    /// Transaction that last changed the list.
    pub pzxid: i64,
    /// Children ever created.
    pub cversion: i32,
    /// Children there are.
    pub count: u32,
    /// Their names.
    pub names: *mut names::Head,
}

/// A version of a child list.
#[repr(C)]
#[derive(Debug)]
pub struct Children {
    prev: AtomicPtr<Children>,
    stamp: i64,
    facts: ChildFacts,
}

impl Link for Children {
    fn stamp(&self) -> i64 {
        self.stamp
    }

    fn prev(&self) -> &AtomicPtr<Children> {
        &self.prev
    }
}

impl Children {
    /// A version of a child list.
    pub fn make(memory: &mut Memory, stamp: i64, facts: ChildFacts) -> NonNull<Children> {
        let children = memory.take(size_of::<Children>()).cast::<Children>();
        // SAFETY: the cell is fresh and large enough.
        unsafe { children.write(Children { prev: AtomicPtr::new(ptr::null_mut()), stamp, facts }) };
        children
    }

    /// What it says.
    pub fn facts(&self) -> &ChildFacts {
        &self.facts
    }

    /// Frees it, not its names.
    ///
    /// # Safety
    /// Made from `memory`; nobody will look at it again.
    pub unsafe fn free(memory: &mut Memory, children: NonNull<Children>) {
        // SAFETY: by the contract.
        unsafe {
            ptr::drop_in_place(children.as_ptr());
            memory.give(children.cast(), size_of::<Children>());
        }
    }
}
