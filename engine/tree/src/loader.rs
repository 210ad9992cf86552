//! Building a tree from a snapshot: znodes in any order that has parents before their children, then everything that
//! follows from them, in bulk.

use std::collections::BTreeMap;
use std::ptr::NonNull;

use proto::stat::StatPersisted;
use proto::{Acl, Id, Zxid, perms};

use crate::acl::{self, OPEN_ID};
use crate::apply::place;
use crate::digest;
use crate::names;
use crate::node::{ChildFacts, Children, Data, Facts, Node};
use crate::view::NodeView;
use crate::writer::{Options, Writer};

/// Why a snapshot's znodes are not a tree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// Not absolute, or with an empty name.
    #[error("{0:?} is not a path")]
    Path(String),
    /// The parent has not come before.
    #[error("{0} comes before its parent")]
    NoParent(String),
    /// The znode has come before.
    #[error("{0} comes twice")]
    Twice(String),
    /// There was no root.
    #[error("there is no root")]
    NoRoot,
}

/// Takes the parts of a snapshot.
#[derive(Debug)]
pub struct Loader {
    writer: Writer,
    /// By the ids of the snapshot; each holds a reference of the loader's.
    acls: BTreeMap<i64, NonNull<acl::Entry>>,
    /// Parents in the order of their first children.
    families: Vec<(NonNull<Node>, Vec<NonNull<Node>>)>,
    family_of: BTreeMap<NonNull<Node>, usize>,
    /// Siblings often come together.
    last: Option<(NonNull<Node>, usize)>,
}

// SAFETY: its pointers lead to what its writer owns, and nobody reads the tree before it is finished; so it moves as a writer does.
unsafe impl Send for Loader {}

/// Stamp of what is loaded: visible to everyone.
const STAMP: i64 = 0;

impl Writer {
    /// A new tree as ZooKeeper begins (client-protocol.md §17): `/`, `/zookeeper`, `/zookeeper/quota`, `/zookeeper/config`.
    pub fn new(options: Options) -> Writer {
        let mut loader = Writer::restore(options);
        loader.acl(1, vec![Acl { perms: perms::READ, id: Id::new("world", "anyone") }]);
        let zero = StatPersisted::default();
        let parts = [
            ("/", OPEN_ID, zero),
            ("/zookeeper", OPEN_ID, zero),
            ("/zookeeper/quota", OPEN_ID, zero),
            ("/zookeeper/config", 1, StatPersisted { aversion: -1, ..zero }),
        ];
        for (path, acl, stat) in parts {
            loader.node(path, Some(b""), acl, stat).expect("parents come first");
        }
        loader.finish(Zxid::ZERO).expect("there is a root")
    }

    /// A tree to be filled from a snapshot.
    pub fn restore(options: Options) -> Loader {
        Loader {
            writer: Writer::empty(options),
            acls: BTreeMap::new(),
            families: Vec::new(),
            family_of: BTreeMap::new(),
            last: None,
        }
    }
}

impl Loader {
    /// An ACL under the id by which znodes name it.
    pub fn acl(&mut self, id: i64, acl: Vec<Acl>) {
        let own = self.writer.own();
        let entry = own.acls.intern_as(&acl, Some(id));
        own.acls.skip_ids(id);
        if let Some(before) = self.acls.insert(id, entry) {
            // SAFETY: the loader's own reference.
            unsafe { own.acls.release(before) };
        }
    }

    /// A znode; the root as `""` or `/`. A znode with an ACL id that is not defined gives nobody any permission, until a replayed
    /// transaction sets its ACL (the map of a fuzzy snapshot may lack the newest).
    pub fn node(&mut self, path: &str, data: Option<&[u8]>, acl_id: i64, stat: StatPersisted) -> Result<(), LoadError> {
        let path = if path.is_empty() { "/" } else { path };
        let parent = if path == "/" {
            None
        } else {
            let (parent_path, _) = place(path).ok_or_else(|| LoadError::Path(path.into()))?;
            Some(self.family(parent_path).ok_or_else(|| LoadError::NoParent(path.into()))?)
        };
        let hash = self.writer.shared.hash(path);
        // SAFETY: this is the writer.
        if unsafe { self.writer.shared.node(hash, path) }.is_some() {
            return Err(LoadError::Twice(path.into()));
        }
        let crc =
            if self.writer.with_digest && !digest::is_excluded(path) { digest::path_and_data(path, data) } else { 0 };
        let shared = self.writer.shared.clone();
        let own = self.writer.own();
        let acl = match self.acls.get(&acl_id) {
            Some(entry) => *entry,
            None if acl_id == OPEN_ID => own.acls.intern(&[Acl::open()]),
            None => {
                let entry = own.acls.unknown(acl_id);
                self.acls.insert(acl_id, entry);
                entry
            }
        };
        if acl_id != OPEN_ID || self.acls.contains_key(&acl_id) {
            // SAFETY: the loader holds it.
            own.acls.hold(unsafe { acl.as_ref() });
        }
        let node = Node::make(&mut own.memory, path);
        // SAFETY: entries are alive and not null; this is the index's writer.
        unsafe {
            let hash_of = |node| shared.hash(Node::path(NonNull::new_unchecked(node)));
            own.index.insert(&shared.index, hash, node.as_ptr(), hash_of);
        }
        // Nobody reads yet.
        // SAFETY: as nobody reads, nobody holds what was replaced.
        own.index.take_replaced().for_each(|replaced| unsafe { replaced.free() });
        let facts = Facts {
            czxid: stat.czxid.0,
            mzxid: stat.mzxid.0,
            ctime: stat.ctime.0,
            mtime: stat.mtime.0,
            owner: stat.owner,
            acl,
            version: stat.version,
            aversion: stat.aversion,
            crc,
        };
        self.writer.push_version(STAMP, node, facts, Data::New(data));
        if stat.cversion != 0 || stat.pzxid != stat.czxid {
            let (pzxid, cversion) = (stat.pzxid.0, stat.cversion);
            self.writer.push_children(
                STAMP,
                node,
                ChildFacts { pzxid, cversion, count: 0, names: std::ptr::null_mut() },
            );
        }
        self.writer.own().undo.clear();
        if let Some(family) = parent {
            self.families[family].1.push(node);
        }
        Ok(())
    }

    fn family(&mut self, parent_path: &str) -> Option<usize> {
        if let Some((node, family)) = self.last {
            // SAFETY: loaded nodes stay.
            let path = unsafe { Node::path(node) };
            if path == parent_path {
                return Some(family);
            }
        }
        let node = self.writer.look(parent_path)?.parts().0;
        let family = *self.family_of.entry(node).or_insert_with(|| {
            self.families.push((node, Vec::new()));
            self.families.len() - 1
        });
        self.last = Some((node, family));
        Some(family)
    }

    /// Completes the tree, as it is at `zxid`: child lists, quota usage, digest.
    pub fn finish(mut self, zxid: Zxid) -> Result<Writer, LoadError> {
        let writer = &mut self.writer;
        let own = writer.own();
        for entry in std::mem::take(&mut self.acls).into_values() {
            // SAFETY: the loader's own reference.
            unsafe { own.acls.release(entry) };
        }
        for (parent, mut children) in self.families {
            let prefix = children.first().map_or(0, |child| {
                // SAFETY: loaded nodes stay.
                let path = unsafe { Node::path(*child) };
                path.rfind('/').map_or(0, |slash| slash + 1)
            });
            // SAFETY: loaded nodes stay.
            let name = |child: &NonNull<Node>| &unsafe { Node::path(*child) }.as_bytes()[prefix..];
            if !children.is_sorted_by(|a, b| name(a) < name(b)) {
                children.sort_unstable_by(|a, b| name(a).cmp(name(b)));
            }
            let own = writer.own();
            let names = names::build(&mut own.memory, children.iter().map(name));
            // SAFETY: nobody reads yet.
            unsafe {
                let view = NodeView::at(parent, i64::MAX, writer.shared.rules).expect("loaded znodes exist");
                let facts = ChildFacts { names, count: children.len() as u32, ..view.child_facts() };
                let own = writer.own();
                if !parent.as_ref().children.newest().is_null() {
                    let before = NonNull::new_unchecked(parent.as_ref().children.pop());
                    Children::free(&mut own.memory, before);
                }
                writer.push_children(STAMP, parent, facts);
            }
        }
        writer.own().undo.clear();
        if writer.look("/").is_none() {
            return Err(LoadError::NoRoot);
        }
        let quotas: Vec<String> = writer.quotas.iter().map(str::to_owned).collect();
        for subject in &quotas {
            let stamp = writer.begin(STAMP);
            writer.recompute_usage(stamp, subject);
        }
        writer.commit(Zxid::ZERO);
        writer.commit(zxid);
        writer.reclaim(usize::MAX);
        writer.digest = writer.total_digest();
        Ok(self.writer)
    }
}

impl Writer {
    /// The digest from scratch.
    pub(crate) fn total_digest(&mut self) -> u64 {
        let mut nodes = Vec::new();
        let shared = self.shared.clone();
        self.own().index.for_each(&shared.index, |node| nodes.extend(NonNull::new(node)));
        let mut digest = 0u64;
        for node in nodes {
            // SAFETY: nodes in the index are alive.
            if let Some(view) = unsafe { NodeView::at(node, i64::MAX, shared.rules) } {
                digest = digest.wrapping_add(self.share(view));
            }
        }
        digest
    }
}
