//! Where is the znode of this path? A hash index with one writer, lock-free for readers, that never stops to rehash.
//!
//! The upper bits of a hash choose an entry of the directory, which leads to a segment of slots; the low 16 bits (the tag)
//! choose where probing begins and are kept in the upper 16 bits of the slot's pointer, so that a probe looks at a node
//! only if it is very likely the right one. A segment that fills up is replaced by a larger one or by two; the directory is
//! replaced by one of twice the size. What was replaced is frozen, and goes to the writer's garbage.
//!
//! Always true: an entry stays in its slot while it is in a segment; a segment's place in the directory never comes to hold
//! less than before, entries taken out excepted. So a reader that holds an old segment still finds every node that it may see.

use std::{mem, ptr};

use crate::sync::{AtomicPtr, Ordering};

const TAG_SHIFT: u32 = 48;
const LOW: usize = (1 << TAG_SHIFT) - 1;
/// Address of a slot whose entry was taken out: probing goes on.
const REMOVED: usize = 1;

/// Sizes of segments, in slots.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The smallest segment.
    pub slots_min: usize,
    /// A segment that would need more is split.
    pub slots_max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        // A split looks at some 430 nodes: about 20 µs.
        Sizes { slots_min: 64, slots_max: 512 }
    }
}

type Slot<N> = AtomicPtr<N>;

#[derive(Debug)]
struct Directory<N> {
    bits: u32,
    /// Each a segment's first slot; the segment's size is in the upper 16 bits.
    segments: Box<[AtomicPtr<Slot<N>>]>,
}

impl<N> Directory<N> {
    fn position(&self, hash: u64) -> usize {
        if self.bits == 0 { 0 } else { (hash >> (64 - self.bits)) as usize }
    }
}

/// The shared part.
#[derive(Debug)]
pub struct Index<N> {
    directory: AtomicPtr<Directory<N>>,
}

fn tagged<T>(pointer: *mut T, tag: usize) -> *mut T {
    debug_assert!(pointer.addr() & !LOW == 0, "user addresses have 48 bits");
    pointer.map_addr(|addr| addr | tag << TAG_SHIFT)
}

fn untagged<T>(pointer: *mut T) -> *mut T {
    pointer.map_addr(|addr| addr & LOW)
}

fn tag_of<T>(pointer: *mut T) -> usize {
    pointer.addr() >> TAG_SHIFT
}

fn home(tag: usize, size: usize) -> usize {
    (tag * size) >> 16
}

/// Makes a segment of `size` empty slots and returns its tagged pointer.
fn segment<N>(size: usize) -> *mut Slot<N> {
    let slots: Box<[Slot<N>]> = (0..size).map(|_| Slot::new(ptr::null_mut())).collect();
    tagged(Box::into_raw(slots).cast::<Slot<N>>(), size)
}

/// # Safety
/// `segment` is a live segment's tagged pointer.
unsafe fn slots<'a, N>(segment: *mut Slot<N>) -> &'a [Slot<N>] {
    // SAFETY: the pointer came from a boxed slice of as many slots as its tag says.
    unsafe { std::slice::from_raw_parts(untagged(segment), tag_of(segment)) }
}

impl<N> Index<N> {
    /// The entry of this hash for which `is_it` holds, or null.
    ///
    /// # Safety
    /// No garbage made since the caller's last quiescent point is freed while this runs; `is_it` gets live entries only then.
    pub unsafe fn find(&self, hash: u64, mut is_it: impl FnMut(*mut N) -> bool) -> *mut N {
        let tag = (hash & 0xFFFF) as usize;
        // SAFETY: directory and segment are alive by the contract.
        let slots = unsafe {
            let directory = &*self.directory.load(Ordering::Acquire);
            slots(directory.segments[directory.position(hash)].load(Ordering::Acquire))
        };
        let mut at = home(tag, slots.len());
        for _ in 0..slots.len() {
            let entry = slots[at].load(Ordering::Acquire);
            if entry.is_null() {
                break;
            }
            if tag_of(entry) == tag && untagged(entry).addr() != REMOVED && is_it(untagged(entry)) {
                return untagged(entry);
            }
            at = if at + 1 == slots.len() { 0 } else { at + 1 };
        }
        ptr::null_mut()
    }
}

impl<N> Index<N> {
    /// How many segments the directory can name; each holds some hundreds of entries.
    ///
    /// # Safety
    /// As for [`Index::find`].
    pub unsafe fn segments(&self) -> usize {
        // SAFETY: the directory is alive by the contract.
        unsafe { &*self.directory.load(Ordering::Acquire) }.segments.len()
    }

    /// Where probing for this hash begins.
    ///
    /// # Safety
    /// As for [`Index::find`], for as long as the result is used.
    pub unsafe fn first_slot(&self, hash: u64) -> *const AtomicPtr<N> {
        // SAFETY: directory and segment are alive by the contract.
        let slots = unsafe {
            let directory = &*self.directory.load(Ordering::Acquire);
            slots(directory.segments[directory.position(hash)].load(Ordering::Acquire))
        };
        &slots[home((hash & 0xFFFF) as usize, slots.len())]
    }
}

impl<N> Drop for Index<N> {
    fn drop(&mut self) {
        // SAFETY: nobody else is left; the directory and each of its segments came from boxes and are freed once: a segment
        // that has several places has them side by side.
        unsafe {
            let directory = Box::from_raw(self.directory.load(Ordering::Relaxed));
            let mut last = ptr::null_mut();
            for segment in &directory.segments {
                let segment = segment.load(Ordering::Relaxed);
                if segment != last {
                    Replaced(What::Segment(segment)).free();
                    last = segment;
                }
            }
        }
    }
}

/// Something that only readers from before may still look at.
#[derive(Debug)]
pub struct Replaced<N>(What<N>);

#[derive(Debug)]
enum What<N> {
    Segment(*mut Slot<N>),
    Directory(*mut Directory<N>),
}

impl<N> Replaced<N> {
    /// Frees it.
    ///
    /// # Safety
    /// When no reader can hold it.
    pub unsafe fn free(self) {
        match self.0 {
            What::Segment(segment) => {
                let slots = ptr::slice_from_raw_parts_mut(untagged(segment), tag_of(segment));
                // SAFETY: made by `segment` from a box of this many slots, and consumed here.
                drop(unsafe { Box::from_raw(slots) });
            }
            // SAFETY: made from a box by `grow_directory`, and consumed here.
            What::Directory(directory) => drop(unsafe { Box::from_raw(directory) }),
        }
    }
}

/// What the writer knows of the segment at a place of the directory.
#[derive(Clone, Copy, Debug, Default)]
struct Meta {
    /// How many hash bits the segment's entries have in common.
    bits: u32,
    /// Slots that are not empty. True at the segment's first place only, like `live`.
    used: usize,
    /// Slots that hold an entry.
    live: usize,
}

/// The writer's part. There is one for an [`Index`].
#[derive(Debug)]
pub struct IndexWriter<N> {
    sizes: Sizes,
    bits: u32,
    metas: Vec<Meta>,
    replaced: Vec<Replaced<N>>,
}

impl<N> IndexWriter<N> {
    /// An empty index and its writer.
    pub fn new(sizes: Sizes) -> (Index<N>, IndexWriter<N>) {
        let first = segment::<N>(sizes.slots_min);
        let directory = Directory { bits: 0, segments: Box::new([AtomicPtr::new(first)]) };
        let index = Index { directory: AtomicPtr::new(Box::into_raw(Box::new(directory))) };
        (index, IndexWriter { sizes, bits: 0, metas: vec![Meta::default()], replaced: Vec::new() })
    }

    /// What insertions have replaced since last asked.
    pub fn take_replaced(&mut self) -> impl Iterator<Item = Replaced<N>> {
        self.replaced.drain(..)
    }

    /// Have insertions replaced nothing since last asked?
    pub fn nothing_replaced(&self) -> bool {
        self.replaced.is_empty()
    }

    fn directory<'a>(&self, index: &'a Index<N>) -> &'a Directory<N> {
        // SAFETY: only the writer replaces the directory, so the current one is alive as long as the writer does nothing.
        unsafe { &*index.directory.load(Ordering::Relaxed) }
    }

    /// The first of the places in the directory that lead to the segment of `hash`.
    fn place(&self, hash: u64) -> usize {
        if self.bits == 0 {
            return 0;
        }
        let position = (hash >> (64 - self.bits)) as usize;
        let shared = self.bits - self.metas[position].bits;
        position >> shared << shared
    }

    /// Adds an entry that is not in the index. `hash_of` gives the hash of any entry.
    ///
    /// # Safety
    /// This is `index`'s own writer, and all entries are alive.
    pub unsafe fn insert(&mut self, index: &Index<N>, hash: u64, entry: *mut N, hash_of: impl Fn(*mut N) -> u64) {
        loop {
            let place = self.place(hash);
            let segment = self.directory(index).segments[place].load(Ordering::Relaxed);
            let size = tag_of(segment);
            let meta = self.metas[place];
            // Fuller than 7/8, misses would probe long.
            if (meta.used + 1) * 8 <= size * 7 {
                // SAFETY: the segment is the current one.
                let fresh = put(unsafe { slots(segment) }, tagged(entry, (hash & 0xFFFF) as usize));
                self.metas[place].used += usize::from(fresh);
                self.metas[place].live += 1;
                return;
            }
            // SAFETY: as above.
            unsafe { self.make_room(index, place, hash, &hash_of) };
        }
    }

    /// Replaces the segment at `place` by one with room, or by two.
    ///
    /// # Safety
    /// As for `insert`.
    unsafe fn make_room(&mut self, index: &Index<N>, place: usize, hash: u64, hash_of: &impl Fn(*mut N) -> u64) {
        let meta = self.metas[place];
        let old = self.directory(index).segments[place].load(Ordering::Relaxed);
        // SAFETY: the segment is the current one.
        let entries = unsafe { slots(old) }
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|entry| !entry.is_null() && untagged(*entry).addr() != REMOVED);
        // Two thirds full after this.
        let size = (meta.live * 3 / 2 + 2).max(self.sizes.slots_min);
        if size <= self.sizes.slots_max || meta.bits >= 40 {
            let grown = segment(size);
            for entry in entries {
                // SAFETY: nobody else sees the new segment yet.
                put(unsafe { slots(grown) }, entry);
            }
            self.replace(index, place, meta.bits, grown, Meta { used: meta.live, ..meta });
        } else {
            if meta.bits == self.bits {
                self.grow_directory(index);
            }
            let place = self.place(hash);
            let bits = meta.bits + 1;
            let size = (meta.live * 3 / 4 + 2).max(self.sizes.slots_min);
            let halves = [segment(size), segment(size)];
            let mut lives = [0; 2];
            for entry in entries {
                let half = (hash_of(untagged(entry)) >> (64 - bits) & 1) as usize;
                if (lives[half] + 1) * 8 > size * 7 {
                    // A lopsided split: give up the halves, and let the segment grow beyond its usual size instead.
                    // SAFETY: the halves were never shared.
                    unsafe { halves.into_iter().for_each(|half| Replaced(What::Segment(half)).free()) };
                    // SAFETY: as for this call.
                    return unsafe { self.grow_beyond(index, place, old) };
                }
                lives[half] += 1;
                // SAFETY: nobody else sees the new segments yet.
                put(unsafe { slots(halves[half]) }, entry);
            }
            let other = place + (1 << (self.bits - bits));
            for (half, place) in [place, other].into_iter().enumerate() {
                let meta = Meta { bits, used: lives[half], live: lives[half] };
                self.replace(index, place, bits, halves[half], meta);
            }
        }
        self.replaced.push(Replaced(What::Segment(old)));
    }

    /// # Safety
    /// As for `insert`.
    unsafe fn grow_beyond(&mut self, index: &Index<N>, place: usize, old: *mut Slot<N>) {
        let meta = self.metas[place];
        let size = meta.live * 3 / 2 + 2;
        assert!(size <= 0xFFFF, "a secret hash key keeps segments even");
        let grown = segment(size);
        // SAFETY: the old segment is the current one, the new one is not shared yet.
        unsafe {
            for slot in slots(old) {
                let entry = slot.load(Ordering::Relaxed);
                if !entry.is_null() && untagged(entry).addr() != REMOVED {
                    put(slots(grown), entry);
                }
            }
        }
        self.replace(index, place, meta.bits, grown, Meta { used: meta.live, ..meta });
        self.replaced.push(Replaced(What::Segment(old)));
    }

    /// Publishes `segment` at all its places.
    fn replace(&mut self, index: &Index<N>, place: usize, bits: u32, segment: *mut Slot<N>, meta: Meta) {
        let places = 1 << (self.bits - bits);
        let directory = self.directory(index);
        for at in place..place + places {
            self.metas[at] = meta;
            directory.segments[at].store(segment, Ordering::Release);
        }
    }

    fn grow_directory(&mut self, index: &Index<N>) {
        let old = self.directory(index);
        let segments = old.segments.iter().flat_map(|segment| {
            let segment = segment.load(Ordering::Relaxed);
            [AtomicPtr::new(segment), AtomicPtr::new(segment)]
        });
        let new = Directory { bits: old.bits + 1, segments: segments.collect() };
        self.bits = new.bits;
        self.metas = self.metas.iter().flat_map(|meta| [*meta, *meta]).collect();
        let old = index.directory.load(Ordering::Relaxed);
        index.directory.store(Box::into_raw(Box::new(new)), Ordering::Release);
        self.replaced.push(Replaced(What::Directory(old)));
    }

    /// Takes an entry out, if it is there.
    pub fn remove(&mut self, index: &Index<N>, hash: u64, entry: *mut N) {
        let place = self.place(hash);
        // SAFETY: the segment is the current one.
        let slots = unsafe { slots(self.directory(index).segments[place].load(Ordering::Relaxed)) };
        let tag = (hash & 0xFFFF) as usize;
        let mut at = home(tag, slots.len());
        for _ in 0..slots.len() {
            let here = slots[at].load(Ordering::Relaxed);
            if here.is_null() {
                return;
            }
            let next = if at + 1 == slots.len() { 0 } else { at + 1 };
            if here == tagged(entry, tag) {
                self.metas[place].live -= 1;
                // Nothing lies behind an empty slot, so this one need not bridge to it.
                if slots[next].load(Ordering::Relaxed).is_null() {
                    slots[at].store(ptr::null_mut(), Ordering::Release);
                    self.metas[place].used -= 1;
                } else {
                    slots[at].store(ptr::without_provenance_mut(REMOVED), Ordering::Release);
                }
                return;
            }
            at = next;
        }
    }

    /// All entries, in no meaningful order.
    pub fn for_each(&self, index: &Index<N>, mut visit: impl FnMut(*mut N)) {
        let mut last = ptr::null_mut();
        for segment in &self.directory(index).segments {
            let segment = segment.load(Ordering::Relaxed);
            if mem::replace(&mut last, segment) == segment {
                continue;
            }
            // SAFETY: the segment is the current one.
            for slot in unsafe { slots(segment) } {
                let entry = slot.load(Ordering::Relaxed);
                if !entry.is_null() && untagged(entry).addr() != REMOVED {
                    visit(untagged(entry));
                }
            }
        }
    }

    /// Bytes of slots and directory.
    pub fn bytes(&self, index: &Index<N>) -> usize {
        let directory = self.directory(index);
        let mut last = ptr::null_mut();
        let mut slots = directory.segments.len();
        for segment in &directory.segments {
            let segment = segment.load(Ordering::Relaxed);
            if mem::replace(&mut last, segment) != segment {
                slots += tag_of(segment);
            }
        }
        slots * mem::size_of::<usize>() + self.metas.len() * mem::size_of::<Meta>()
    }
}

/// Puts a tagged entry into the first slot that is free for it; was that slot empty?
fn put<N>(slots: &[Slot<N>], entry: *mut N) -> bool {
    let mut at = home(tag_of(entry), slots.len());
    loop {
        let here = slots[at].load(Ordering::Relaxed);
        if here.is_null() || untagged(here).addr() == REMOVED {
            slots[at].store(entry, Ordering::Release);
            return here.is_null();
        }
        at = if at + 1 == slots.len() { 0 } else { at + 1 };
    }
}
