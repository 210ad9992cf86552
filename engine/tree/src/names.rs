//! The names of a znode's children: a persistent B+tree whose leaves hold the names as jute writes them, sorted.
//!
//! Nodes are immutable. An insertion or removal copies the leaf and the inner nodes above it and reports what it made and
//! what that replaces, so that the caller can free exactly the one or the other. A getChildren reply is the leaves, copied.
//!
//! Always true: a leaf is at most [`LEAF_BYTES`] unless a name alone is longer; no leaf and no inner node is empty; the
//! empty tree is null; all leaves are at the same depth.

use std::marker::PhantomData;
use std::ptr::NonNull;

use smallvec::SmallVec;

use crate::memory::Memory;

/// Largest payload of a leaf, its header included: 1 KiB.
pub const LEAF_BYTES: usize = 1024 - size_of::<Head>();
/// Most children of an inner node.
pub const FANOUT: usize = 64;

/// Start of a node; leaf bytes or child pointers follow.
#[repr(C)]
#[derive(Debug)]
pub struct Head {
    /// Zero for a leaf.
    height: u16,
    /// Children of an inner node; not used in a leaf.
    entries: u16,
    /// Bytes that follow.
    bytes: u32,
}

type Link = *mut Head;
type Links = SmallVec<[Link; FANOUT + 1]>;

/// What an edit made and replaced.
#[derive(Debug, Default)]
pub struct Edit {
    /// Nodes of the new tree that the old one lacks.
    pub made: SmallVec<[NonNull<Head>; 8]>,
    /// Nodes of the old tree that the new one lacks.
    pub replaced: SmallVec<[NonNull<Head>; 8]>,
    scratch: Vec<u8>,
}

/// # Safety
/// `node` is alive for `'a`, and a leaf.
unsafe fn leaf<'a>(node: Link) -> &'a [u8] {
    // SAFETY: a leaf's header is followed by as many bytes as it says.
    unsafe { std::slice::from_raw_parts(node.add(1).cast::<u8>(), (*node).bytes as usize) }
}

/// # Safety
/// `node` is alive for `'a`, and an inner node.
unsafe fn links<'a>(node: Link) -> &'a [Link] {
    // SAFETY: an inner node's header is followed by as many pointers as it has entries.
    unsafe { std::slice::from_raw_parts(node.add(1).cast::<Link>(), usize::from((*node).entries)) }
}

/// # Safety
/// `node` is alive.
unsafe fn height(node: Link) -> u16 {
    // SAFETY: by the contract.
    unsafe { (*node).height }
}

/// # Safety
/// `node` and the nodes below it are alive for `'a`.
unsafe fn first_name<'a>(mut node: Link) -> &'a [u8] {
    // SAFETY: no node is empty, so there is a first leaf with a first name.
    unsafe {
        while height(node) > 0 {
            node = links(node)[0];
        }
        name_at(leaf(node), 0)
    }
}

fn name_at(leaf: &[u8], at: usize) -> &[u8] {
    let length = u32::from_be_bytes([leaf[at], leaf[at + 1], leaf[at + 2], leaf[at + 3]]) as usize;
    &leaf[at + 4..at + 4 + length]
}

/// Where in a leaf `name` is, or where it would be inserted.
fn search(leaf: &[u8], name: &[u8]) -> Result<usize, usize> {
    let mut at = 0;
    while at < leaf.len() {
        let here = name_at(leaf, at);
        match here.cmp(name) {
            std::cmp::Ordering::Less => at += 4 + here.len(),
            std::cmp::Ordering::Equal => return Ok(at),
            std::cmp::Ordering::Greater => break,
        }
    }
    Err(at)
}

/// The builder of nodes: the memory and the edit in hand.
struct Maker<'m> {
    memory: &'m mut Memory,
    edit: &'m mut Edit,
}

impl Maker<'_> {
    fn leaf(&mut self, bytes: &[u8]) -> Link {
        let head = Head { height: 0, entries: 0, bytes: bytes.len() as u32 };
        let node = self.memory.take(size_of::<Head>() + bytes.len()).cast::<Head>();
        // SAFETY: the cell is fresh and has room for the header and the bytes.
        unsafe {
            node.write(head);
            node.add(1).cast::<u8>().copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        self.edit.made.push(node);
        node.as_ptr()
    }

    fn inner(&mut self, height: u16, links: &[Link]) -> Link {
        debug_assert!(!links.is_empty() && links.len() <= FANOUT);
        let bytes = size_of_val(links);
        let node = self.memory.take(size_of::<Head>() + bytes).cast::<Head>();
        // SAFETY: the cell is fresh and has room for the header and the pointers.
        unsafe {
            node.write(Head { height, entries: links.len() as u16, bytes: bytes as u32 });
            node.add(1).cast::<Link>().copy_from_nonoverlapping(NonNull::from(links).cast(), links.len());
        }
        self.edit.made.push(node);
        node.as_ptr()
    }

    /// Frees a node that this very edit made.
    ///
    /// # Safety
    /// Nothing points to it.
    unsafe fn unmake(&mut self, node: Link) {
        let made = &mut self.edit.made;
        let at = made.iter().rposition(|n| n.as_ptr() == node).expect("the edit made this node");
        let node = made.swap_remove(at);
        // SAFETY: made from this memory; nobody knows it.
        unsafe { free(self.memory, node) };
    }

    fn replaced(&mut self, node: Link) {
        self.edit.replaced.push(NonNull::new(node).expect("nodes are not null"));
    }

    /// # Safety
    /// `node`'s tree is alive.
    unsafe fn insert(&mut self, node: Link, name: &[u8]) -> (Link, Option<Link>) {
        // SAFETY: alive by the contract.
        if unsafe { height(node) } == 0 {
            // SAFETY: a live leaf.
            return self.insert_into_leaf(node, unsafe { leaf(node) }, name);
        }
        // SAFETY: a live inner node, whose nodes below are alive.
        let (height, children) = unsafe { (height(node), links(node)) };
        // SAFETY: as above.
        let at = children.partition_point(|child| unsafe { first_name(*child) } <= name).saturating_sub(1);
        // SAFETY: as above.
        let (left, right) = unsafe { self.insert(children[at], name) };
        let mut all = Links::from_slice(children);
        all[at] = left;
        if let Some(right) = right {
            all.insert(at + 1, right);
        }
        self.replaced(node);
        if all.len() <= FANOUT {
            return (self.inner(height, &all), None);
        }
        // Names that come in order leave full nodes behind.
        let middle = if at + 2 == all.len() { FANOUT } else { all.len() / 2 };
        (self.inner(height, &all[..middle]), Some(self.inner(height, &all[middle..])))
    }

    fn insert_into_leaf(&mut self, node: Link, old: &[u8], name: &[u8]) -> (Link, Option<Link>) {
        let at = match search(old, name) {
            // The name is there already.
            Ok(_) => return (node, None),
            Err(at) => at,
        };
        let fits = old.len() + 4 + name.len() <= LEAF_BYTES;
        let mut bytes = std::mem::take(&mut self.edit.scratch);
        bytes.clear();
        let keep_old = !fits && (at == 0 || at == old.len());
        if !keep_old {
            bytes.extend_from_slice(&old[..at]);
        }
        bytes.extend_from_slice(&(name.len() as u32).to_be_bytes());
        bytes.extend_from_slice(name);
        if !keep_old {
            bytes.extend_from_slice(&old[at..]);
        }
        let result = if keep_old {
            let new = self.leaf(&bytes);
            if at == 0 { (new, Some(node)) } else { (node, Some(new)) }
        } else {
            self.replaced(node);
            if fits {
                (self.leaf(&bytes), None)
            } else {
                let mut middle = 0;
                while middle == 0 || middle < bytes.len() / 2 {
                    let next = middle + 4 + name_at(&bytes, middle).len();
                    if next == bytes.len() {
                        break;
                    }
                    middle = next;
                }
                (self.leaf(&bytes[..middle]), Some(self.leaf(&bytes[middle..])))
            }
        };
        self.edit.scratch = bytes;
        result
    }

    /// # Safety
    /// `node`'s tree is alive and has the name.
    unsafe fn remove(&mut self, node: Link, name: &[u8]) -> Option<Link> {
        // SAFETY: alive by the contract.
        unsafe {
            if height(node) == 0 {
                let old = leaf(node);
                let Ok(at) = search(old, name) else { return Some(node) };
                self.replaced(node);
                let end = at + 4 + name.len();
                if old.len() == end - at {
                    return None;
                }
                let mut bytes = std::mem::take(&mut self.edit.scratch);
                bytes.clear();
                bytes.extend_from_slice(&old[..at]);
                bytes.extend_from_slice(&old[end..]);
                let new = self.leaf(&bytes);
                self.edit.scratch = bytes;
                return Some(new);
            }
            let children = links(node);
            let at = children.partition_point(|child| first_name(*child) <= name).saturating_sub(1);
            let below = self.remove(children[at], name);
            if below == Some(children[at]) {
                return Some(node);
            }
            self.replaced(node);
            let mut all = Links::from_slice(children);
            match below {
                None => {
                    all.remove(at);
                    if all.is_empty() {
                        return None;
                    }
                }
                Some(child) => {
                    all[at] = child;
                    self.merge(&mut all, at);
                }
            }
            Some(self.inner(height(node), &all))
        }
    }

    /// Joins the new child at `at` with a neighbour, if it has become small and they fit together well.
    ///
    /// # Safety
    /// All are alive, and the child at `at` was made by this edit.
    unsafe fn merge(&mut self, all: &mut Links, at: usize) {
        // SAFETY: alive by the contract.
        unsafe {
            let size = |node: Link| (*node).bytes as usize;
            let full = if height(all[at]) == 0 { LEAF_BYTES } else { FANOUT * size_of::<Link>() };
            if size(all[at]) >= full / 4 {
                return;
            }
            let fits = |other: Option<&Link>| other.is_some_and(|other| size(*other) + size(all[at]) <= full * 3 / 4);
            let left = if at > 0 && fits(all.get(at - 1)) {
                at - 1
            } else if fits(all.get(at + 1)) {
                at
            } else {
                return;
            };
            let (a, b) = (all[left], all[left + 1]);
            let joined = if height(a) == 0 {
                let mut bytes = std::mem::take(&mut self.edit.scratch);
                bytes.clear();
                bytes.extend_from_slice(leaf(a));
                bytes.extend_from_slice(leaf(b));
                let joined = self.leaf(&bytes);
                self.edit.scratch = bytes;
                joined
            } else {
                let mut both = Links::from_slice(links(a));
                both.extend_from_slice(links(b));
                self.inner(height(a), &both)
            };
            let (new, neighbour) = if left == at { (a, b) } else { (b, a) };
            self.unmake(new);
            self.replaced(neighbour);
            all[left] = joined;
            all.remove(left + 1);
        }
    }
}

/// The tree at `root` with `name` in it.
///
/// # Safety
/// The tree is alive and made from `memory`. Until the caller has disposed of what `edit` says, both trees must stay.
pub unsafe fn insert(memory: &mut Memory, edit: &mut Edit, root: Link, name: &[u8]) -> Link {
    let mut maker = Maker { memory, edit };
    if root.is_null() {
        let mut bytes = Vec::with_capacity(4 + name.len());
        bytes.extend_from_slice(&(name.len() as u32).to_be_bytes());
        bytes.extend_from_slice(name);
        return maker.leaf(&bytes);
    }
    // SAFETY: alive by the contract.
    match unsafe { maker.insert(root, name) } {
        (root, None) => root,
        // SAFETY: just made, or alive.
        (left, Some(right)) => maker.inner(unsafe { height(left) } + 1, &[left, right]),
    }
}

/// The tree at `root` without `name`.
///
/// # Safety
/// As for [`insert`].
pub unsafe fn remove(memory: &mut Memory, edit: &mut Edit, root: Link, name: &[u8]) -> Link {
    if root.is_null() {
        return root;
    }
    let mut maker = Maker { memory, edit };
    // SAFETY: alive by the contract; a root that is passed over is in no tree any more.
    unsafe {
        let Some(mut new) = maker.remove(root, name) else { return std::ptr::null_mut() };
        while new != root && height(new) > 0 && links(new).len() == 1 {
            let only = links(new)[0];
            if maker.edit.made.iter().any(|made| made.as_ptr() == new) {
                maker.unmake(new);
            } else {
                maker.replaced(new);
            }
            new = only;
        }
        new
    }
}

/// A tree of names that come in ascending order, each once.
pub fn build<'n>(memory: &mut Memory, names: impl Iterator<Item = &'n [u8]>) -> Link {
    let mut edit = Edit::default();
    let mut maker = Maker { memory, edit: &mut edit };
    let mut level: Vec<Link> = Vec::new();
    let mut bytes = Vec::with_capacity(LEAF_BYTES);
    for name in names {
        if !bytes.is_empty() && bytes.len() + 4 + name.len() > LEAF_BYTES {
            level.push(maker.leaf(&bytes));
            maker.edit.made.clear();
            bytes.clear();
        }
        bytes.extend_from_slice(&(name.len() as u32).to_be_bytes());
        bytes.extend_from_slice(name);
    }
    if !bytes.is_empty() {
        level.push(maker.leaf(&bytes));
    }
    let mut height = 0;
    while level.len() > 1 {
        height += 1;
        level = level.chunks(FANOUT).map(|links| maker.inner(height, links)).collect();
        maker.edit.made.clear();
    }
    level.first().copied().unwrap_or(std::ptr::null_mut())
}

/// Frees one node.
///
/// # Safety
/// It was made from `memory`, and nobody will look at it again.
pub unsafe fn free(memory: &mut Memory, node: NonNull<Head>) {
    // SAFETY: by the contract.
    unsafe {
        let size = size_of::<Head>() + node.as_ref().bytes as usize;
        memory.give(node.cast(), size);
    }
}

/// Frees a whole tree.
///
/// # Safety
/// As for [`free`], for every node of it.
pub unsafe fn free_all(memory: &mut Memory, root: Link) {
    let Some(node) = NonNull::new(root) else { return };
    // SAFETY: by the contract.
    unsafe {
        if height(root) > 0 {
            for child in links(root) {
                free_all(memory, *child);
            }
        }
        free(memory, node);
    }
}

/// Appends all names as jute writes them.
///
/// # Safety
/// The tree is alive.
pub unsafe fn put(root: Link, out: &mut Vec<u8>) {
    if root.is_null() {
        return;
    }
    // SAFETY: alive by the contract.
    unsafe {
        if height(root) == 0 {
            out.extend_from_slice(leaf(root));
        } else {
            for child in links(root) {
                put(*child, out);
            }
        }
    }
}

/// Names in order. The tree outlives `'t` by the promise given to [`Names::new`].
#[derive(Debug, Clone)]
pub struct Names<'t> {
    above: SmallVec<[(*const Link, *const Link); 4]>,
    leaf: &'t [u8],
    _tree: PhantomData<&'t Head>,
}

impl<'t> Names<'t> {
    /// All names of the tree at `root`.
    ///
    /// # Safety
    /// The tree is alive for `'t`.
    pub unsafe fn new(root: *mut Head) -> Names<'t> {
        let mut names = Names { above: SmallVec::new(), leaf: &[], _tree: PhantomData };
        if !root.is_null() {
            // SAFETY: by the contract.
            unsafe { names.descend(root) };
        }
        names
    }

    /// # Safety
    /// `node` is alive for `'t`.
    unsafe fn descend(&mut self, mut node: Link) {
        // SAFETY: by the contract.
        unsafe {
            while height(node) > 0 {
                let range = links(node).as_ptr_range();
                self.above.push((range.start.add(1), range.end));
                node = *range.start;
            }
            self.leaf = leaf(node);
        }
    }
}

impl<'t> Iterator for Names<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        while self.leaf.is_empty() {
            let (next, end) = self.above.last_mut()?;
            if *next == *end {
                self.above.pop();
                continue;
            }
            // SAFETY: `next` is before the end of a live node's pointers.
            unsafe {
                let node = **next;
                *next = next.add(1);
                self.descend(node);
            }
        }
        let name = name_at(self.leaf, 0);
        self.leaf = &self.leaf[4 + name.len()..];
        // SAFETY: names come from `&str`s, split at slashes.
        Some(unsafe { std::str::from_utf8_unchecked(name) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ptr;

    use super::*;

    /// Frees what the edit says is no longer needed.
    fn settle(memory: &mut Memory, edit: Edit, keep_new: bool) {
        for node in if keep_new { edit.replaced } else { edit.made } {
            // SAFETY: the test keeps only the other of the two trees.
            unsafe { free(memory, node) };
        }
    }

    fn cells(root: Link) -> usize {
        if root.is_null() {
            return 0;
        }
        // SAFETY: the tree is alive.
        unsafe { 1 + if height(root) > 0 { links(root).iter().map(|child| cells(*child)).sum() } else { 0 } }
    }

    /// The invariants of the door sign.
    fn check(root: Link) {
        // SAFETY: the tree is alive.
        unsafe {
            if root.is_null() {
                return;
            }
            if height(root) == 0 {
                assert!(!leaf(root).is_empty());
                assert!(leaf(root).len() <= LEAF_BYTES || names_in(leaf(root)) < 4);
            } else {
                assert!(!links(root).is_empty() && links(root).len() <= FANOUT);
                for child in links(root) {
                    assert_eq!(height(*child) + 1, height(root));
                    check(*child);
                }
            }
        }
    }

    fn names_in(leaf: &[u8]) -> usize {
        let (mut at, mut count) = (0, 0);
        while at < leaf.len() {
            at += 4 + name_at(leaf, at).len();
            count += 1;
        }
        count
    }

    fn all(root: Link) -> Vec<String> {
        // SAFETY: the tree is alive.
        unsafe { Names::new(root) }.map(str::to_owned).collect()
    }

    #[test]
    fn names_stay_sorted_and_every_node_is_accounted_for() {
        let mut memory = Memory::default();
        for order in 0..4u64 {
            let mut root: Link = ptr::null_mut();
            let mut model = BTreeSet::new();
            let mut state = 1u64;
            let mut random = |n: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(order * 2 + 1);
                (state >> 33) % n
            };
            let (total, rounds) = if cfg!(miri) { (60, 200) } else { (6_000, 16_000) };
            for round in 0..rounds {
                let growing = round < rounds / 2;
                let number = match order {
                    0 => round % total,
                    1 => (rounds - round) % total,
                    _ => random(total),
                };
                let width = if order == 3 && number % 50 == 0 { 1500 } else { 10 + (number % 40) as usize };
                let name = format!("{number:0width$}");
                let insert = random(10) < if growing { 8 } else { 2 };
                let mut edit = Edit::default();
                // SAFETY: the tree is alive; the edit is settled at once.
                let new = unsafe {
                    if insert {
                        super::insert(&mut memory, &mut edit, root, name.as_bytes())
                    } else {
                        super::remove(&mut memory, &mut edit, root, name.as_bytes())
                    }
                };
                let keep_new = random(5) > 0;
                settle(&mut memory, edit, keep_new);
                if keep_new {
                    root = new;
                    if insert {
                        model.insert(name);
                    } else {
                        model.remove(&name);
                    }
                }
                assert_eq!(memory.cells(), cells(root), "order {order} round {round}");
                if round % 100 == 0 {
                    check(root);
                    assert!(all(root).iter().eq(&model));
                }
            }
            let expected: Vec<_> = model.iter().map(|name| name.as_bytes()).collect();
            let built = build(&mut memory, expected.iter().copied());
            check(built);
            assert_eq!(all(built), all(root));
            // SAFETY: nobody looks at them any more.
            unsafe {
                free_all(&mut memory, built);
                free_all(&mut memory, root);
            }
            assert_eq!((memory.cells(), memory.bytes()), (0, 0));
        }
    }
}
