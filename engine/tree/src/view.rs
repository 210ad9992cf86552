//! A znode as it is at one zxid.

use std::marker::PhantomData;
use std::ptr::NonNull;

use proto::stat::{Owner, StatPersisted};
use proto::{Acl, Millis, Stat, Zxid};

use crate::acl::{self, AclRef};
use crate::names::{self, Names};
use crate::node::{ChildFacts, Facts, Node, Version};

/// How owner fields are read: `extendedTypesEnabled` and `emulate353TTLNodes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnerRules {
    /// TTL znodes are known.
    pub extended_types: bool,
    /// So are those of 3.5.3.
    pub emulate_353: bool,
}

impl OwnerRules {
    /// What an owner field says under these rules.
    pub fn decode(self, raw: i64) -> Owner {
        Owner::decode(raw, self.extended_types, self.emulate_353)
    }
}

/// A znode at the zxid of the reader, or in the writer's newest state. It borrows the one or the other, so that nothing it
/// shows can move or go away while it is held.
#[derive(Clone, Copy)]
pub struct NodeView<'r> {
    node: NonNull<Node>,
    version: NonNull<Version>,
    visible: i64,
    rules: OwnerRules,
    borrow: PhantomData<&'r ()>,
}

impl<'r> NodeView<'r> {
    /// The node at `visible`, if it exists there.
    ///
    /// # Safety
    /// For `'r`, the node and what is visible of it at `visible` stay alive.
    pub(crate) unsafe fn at(node: NonNull<Node>, visible: i64, rules: OwnerRules) -> Option<NodeView<'r>> {
        // SAFETY: by the contract.
        let version = NonNull::new(unsafe { node.as_ref().versions.at(visible) }.cast_mut())?;
        // SAFETY: by the contract.
        let live = unsafe { version.as_ref() }.is_live();
        live.then_some(NodeView { node, version, visible, rules, borrow: PhantomData })
    }

    fn version(&self) -> &'r Version {
        // SAFETY: alive by the promise given to `at`.
        unsafe { self.version.as_ref() }
    }

    fn facts(&self) -> Facts {
        // SAFETY: alive by the promise given to `at`.
        unsafe { Version::facts(self.version) }
    }

    fn children_at(&self) -> ChildFacts {
        // SAFETY: alive by the promise given to `at`.
        let children = unsafe { self.node.as_ref().children.at(self.visible).as_ref() };
        match children {
            Some(children) => *children.facts(),
            None => ChildFacts { pzxid: self.facts().czxid, cversion: 0, count: 0, names: std::ptr::null_mut() },
        }
    }

    fn acl_entry(&self) -> &'r acl::Entry {
        // SAFETY: a live version holds its ACL.
        unsafe { self.version().acl().as_ref() }
    }

    /// Its path.
    pub fn path(&self) -> &'r str {
        // SAFETY: alive by the promise given to `at`.
        unsafe { Node::path(self.node) }
    }

    /// Its data; null is `None`.
    pub fn data(&self) -> Option<&'r [u8]> {
        // SAFETY: alive by the promise given to `at`.
        unsafe { Version::data(self.version) }
    }

    /// Bytes of its data; zero for null.
    pub fn data_bytes(&self) -> usize {
        self.version().data_bytes()
    }

    /// Its stat as clients see it.
    pub fn stat(&self) -> Stat {
        let (facts, children) = (self.facts(), self.children_at());
        Stat {
            czxid: Zxid(facts.czxid),
            mzxid: Zxid(facts.mzxid),
            ctime: Millis(facts.ctime),
            mtime: Millis(facts.mtime),
            version: facts.version,
            // Creations plus deletions (client-protocol.md §12).
            cversion: children.cversion.wrapping_mul(2).wrapping_sub(children.count as i32),
            aversion: facts.aversion,
            ephemeral_owner: self.owner().visible(),
            data_length: self.data_bytes() as i32,
            num_children: children.count as i32,
            pzxid: Zxid(children.pzxid),
        }
    }

    /// Its stat as snapshots and digests keep it.
    pub fn persisted(&self) -> StatPersisted {
        let (facts, children) = (self.facts(), self.children_at());
        StatPersisted {
            czxid: Zxid(facts.czxid),
            mzxid: Zxid(facts.mzxid),
            ctime: Millis(facts.ctime),
            mtime: Millis(facts.mtime),
            version: facts.version,
            cversion: children.cversion,
            aversion: facts.aversion,
            owner: facts.owner,
            pzxid: Zxid(children.pzxid),
        }
    }

    /// Whom it belongs to.
    pub fn owner(&self) -> Owner {
        self.rules.decode(self.facts().owner)
    }

    /// Count of its data changes: what a conditional write compares.
    pub fn data_version(&self) -> i32 {
        self.facts().version
    }

    /// Count of its ACL changes.
    pub fn acl_version(&self) -> i32 {
        self.facts().aversion
    }

    /// Its parent-side count of creations: what sequential names and a create's `parent_cversion` come from.
    pub fn cversion_raw(&self) -> i32 {
        self.children_at().cversion
    }

    /// Its ACL.
    pub fn acl(&self) -> &'r [Acl] {
        &self.acl_entry().acl
    }

    /// Its ACL, to keep.
    pub fn acl_ref(&self) -> AclRef {
        self.acl_entry().acl.clone()
    }

    /// The id of its ACL in snapshots; −1 for `world:anyone` with all permissions.
    pub fn acl_id(&self) -> i64 {
        self.acl_entry().id
    }

    /// How many children it has.
    pub fn child_count(&self) -> usize {
        self.children_at().count as usize
    }

    /// Has it children?
    pub fn has_children(&self) -> bool {
        self.children_at().count > 0
    }

    /// Appends the names of its children as a jute vector of strings, sorted.
    pub fn put_children(&self, out: &mut Vec<u8>) {
        let children = self.children_at();
        out.extend_from_slice(&children.count.to_be_bytes());
        // SAFETY: the visible child list is alive by the promise given to `at`.
        unsafe { names::put(children.names, out) };
    }

    /// The names of its children, sorted.
    pub fn children(&self) -> Names<'r> {
        // SAFETY: the visible child list is alive by the promise given to `at`.
        unsafe { Names::new(self.children_at().names) }
    }

    /// What the writer makes the next version from.
    pub(crate) fn parts(&self) -> (NonNull<Node>, NonNull<Version>) {
        (self.node, self.version)
    }

    pub(crate) fn child_facts(&self) -> ChildFacts {
        self.children_at()
    }
}

impl std::fmt::Debug for NodeView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeView").field("path", &self.path()).field("stat", &self.persisted()).finish_non_exhaustive()
    }
}
