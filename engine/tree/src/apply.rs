//! What each transaction does to the tree (client-protocol.md §12, §16), tolerant as replay over a fuzzy snapshot needs
//! (disk-formats.md §11).
//!
//! Apply cannot fail: what does not fit the tree has no effect, or the small one that the table of §11 names, and says so in its
//! [`Outcome`]. Checks of versions, permissions and limits were made by whoever prepared the transaction.

use std::ptr::NonNull;
use std::sync::Arc;

use proto::path::split;
use proto::stat::Owner;
use proto::{Acl, Code, Op, Stat, Txn, TxnHeader};
use smallvec::{SmallVec, smallvec};

use crate::acl::{self, AclRef};
use crate::digest;
use crate::garbage::Garbage;
use crate::names::{self, Edit};
use crate::node::{ChildFacts, Children, Data, Facts, Node, Version};
use crate::quota::{self, Track, Usage};
use crate::view::NodeView;
use crate::writer::{Undo, Writer};

/// What a transaction changed and what its reply needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Changes in the order in which their watches fire.
    pub changes: SmallVec<[Change; 1]>,
    /// One per member of a multi, else exactly one.
    pub outcomes: SmallVec<[Outcome; 1]>,
}

/// How one operation went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Zero, or why nothing (or nearly nothing) was done: a code of [`Code`], or what an error transaction of an old log says.
    pub err: i32,
    /// The znode after a create, setData or setACL.
    pub stat: Option<Stat>,
}

impl Outcome {
    fn ok() -> Outcome {
        Outcome { err: 0, stat: None }
    }

    fn error(code: Code) -> Outcome {
        Outcome { err: code.as_i32(), stat: None }
    }
}

/// A change that watches see. Changes of child lists follow from creations and deletions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To which znode.
    pub path: Arc<str>,
    /// Its ACL; after a deletion, its last.
    pub acl: AclRef,
    /// Its parent's ACL. For changed data, where no event concerns the parent, its own again.
    pub parent_acl: AclRef,
}

/// See [`Change`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// The znode was created.
    Created,
    /// The znode was deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
}

type Changes = SmallVec<[Change; 1]>;

/// Where a new znode belongs: its parent and its name there. `None` for what no server calls a path: joined again, parent and
/// name would be another one, and whoever walks the tree would not find the znode that the parent lists.
pub(crate) fn place(path: &str) -> Option<(&str, &str)> {
    split(path).filter(|(_, name)| !name.is_empty() && !path.starts_with("//"))
}

/// A create of any kind.
struct Create<'t> {
    op: Op,
    path: &'t str,
    data: Option<&'t [u8]>,
    acl: &'t [Acl],
    owner: i64,
    parent_cversion: i32,
}

impl Writer {
    /// Applies a transaction to the newest state. Several calls with the same zxid are one transaction: so a multi can be
    /// prepared member by member.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Applied {
        let stamp = self.begin(header.zxid.0);
        let mut changes = Changes::new();
        let outcomes = match txn {
            Txn::Multi { members } if txn.is_error() => members
                .iter()
                .map(|(_, member)| match member {
                    Txn::Error { err } => Outcome { err: *err, stat: None },
                    _ => Outcome::ok(),
                })
                .collect(),
            Txn::Multi { members } => {
                members.iter().map(|(op, member)| self.apply_one(stamp, header, *op, member, &mut changes)).collect()
            }
            txn => smallvec![self.apply_one(stamp, header, header.op, txn, &mut changes)],
        };
        let own = self.own();
        if !own.index.nothing_replaced() {
            let next = self.committed().0 + 1;
            let own = self.own();
            for replaced in own.index.take_replaced().collect::<Vec<_>>() {
                own.retire(next, Garbage::Index(replaced));
            }
        }
        self.reclaim_on_the_way();
        Applied { changes, outcomes }
    }

    fn apply_one(&mut self, stamp: i64, header: &TxnHeader, op: Op, txn: &Txn<'_>, changes: &mut Changes) -> Outcome {
        match txn {
            Txn::Create { path, data, acl, ephemeral, parent_cversion } => {
                let owner = if *ephemeral { header.session.0 } else { 0 };
                let (data, parent_cversion) = (data.as_deref(), *parent_cversion);
                self.create(stamp, header, &Create { op, path, data, acl, owner, parent_cversion }, changes)
            }
            Txn::CreateContainer { path, data, acl, parent_cversion } => {
                let (owner, data, parent_cversion) = (Owner::Container.encode(), data.as_deref(), *parent_cversion);
                self.create(stamp, header, &Create { op, path, data, acl, owner, parent_cversion }, changes)
            }
            Txn::CreateTtl { path, data, acl, parent_cversion, ttl } => {
                let (owner, data, parent_cversion) = (Owner::Ttl(*ttl).encode(), data.as_deref(), *parent_cversion);
                self.create(stamp, header, &Create { op, path, data, acl, owner, parent_cversion }, changes)
            }
            Txn::Delete { path } => self.delete(stamp, header.zxid.0, path, changes),
            Txn::SetData { path, data, version } => {
                self.set_data(stamp, header, path, data.as_deref(), *version, changes)
            }
            Txn::SetAcl { path, acl, version } => self.set_acl(stamp, path, acl, *version),
            Txn::CloseSession { paths } => {
                for path in paths.iter().flatten() {
                    self.delete(stamp, header.zxid.0, path, changes);
                }
                let left: Vec<Box<str>> = self.ephemerals_of(header.session).map(Box::from).collect();
                for path in left {
                    self.delete(stamp, header.zxid.0, &path, changes);
                }
                Outcome::ok()
            }
            Txn::Error { err } => Outcome { err: *err, stat: None },
            Txn::Check { .. } | Txn::CreateSession { .. } => Outcome::ok(),
            // Decoding refuses it.
            Txn::Multi { .. } => Outcome::error(Code::MarshallingError),
        }
    }

    fn create(&mut self, stamp: i64, header: &TxnHeader, create: &Create<'_>, changes: &mut Changes) -> Outcome {
        let path = create.path;
        let zxid = header.zxid.0;
        if path == "/" {
            return Outcome::error(Code::NodeExists);
        }
        let Some((parent_path, name)) = place(path) else { return Outcome::error(Code::NoNode) };
        let Some(parent) = self.look(parent_path) else { return Outcome::error(Code::NoNode) };
        let hash = self.shared.hash(path);
        // SAFETY: this is the writer.
        let cell = unsafe { self.shared.node(hash, path) };
        // SAFETY: nothing is freed before this apply is over.
        let existing = cell.and_then(|cell| unsafe { NodeView::at(cell, i64::MAX, self.shared.rules) });
        if let Some(existing) = existing {
            self.replace_acl(stamp, existing, create.acl, None);
            if create.op == Op::Create {
                self.raise_cversion(stamp, parent, create.parent_cversion, zxid, None);
            }
            return Outcome::error(Code::NodeExists);
        }

        let crc = self.crc(path, create.data);
        let acl = self.own().acls.intern(create.acl);
        let facts = Facts {
            czxid: zxid,
            mzxid: zxid,
            ctime: header.time.0,
            mtime: header.time.0,
            owner: create.owner,
            acl,
            version: 0,
            aversion: 0,
            crc,
        };
        let parent_acl = parent.acl_ref();
        self.raise_cversion(stamp, parent, create.parent_cversion, zxid, Some(name));
        let node = match cell {
            Some(node) => node,
            None => {
                let shared = self.shared.clone();
                let own = self.own();
                let node = Node::make(&mut own.memory, path);
                let hash_of = |node| {
                    // SAFETY: entries of the index are alive and not null.
                    shared.hash(unsafe { Node::path(NonNull::new_unchecked(node)) })
                };
                // SAFETY: this is the index's writer; its entries are alive.
                unsafe { own.index.insert(&shared.index, hash, node.as_ptr(), hash_of) };
                node
            }
        };
        let view = self.push_version(stamp, node, facts, Data::New(create.data));
        // SAFETY: the node is alive.
        if !unsafe { node.as_ref() }.children.newest().is_null() {
            // An earlier znode of this path had children.
            let facts = ChildFacts { pzxid: zxid, cversion: 0, count: 0, names: std::ptr::null_mut() };
            self.push_children(stamp, node, facts);
        }
        self.digest = self.digest.wrapping_add(self.share(view));
        let stat = view.stat();
        let acl = view.acl_ref();
        if let Some(subject) = quota::subject(path, quota::STATS_NAME) {
            self.recompute_usage(stamp, subject);
        }
        self.count_usage(stamp, path, 1, create.data.map_or(0, <[u8]>::len) as i64);
        changes.push(Change { kind: ChangeKind::Created, path: path.into(), acl, parent_acl });
        Outcome { err: 0, stat: Some(stat) }
    }

    fn delete(&mut self, stamp: i64, zxid: i64, path: &str, changes: &mut Changes) -> Outcome {
        let Some((parent_path, _)) = split(path).filter(|_| path != "/") else { return Outcome::error(Code::NoNode) };
        if self.look(parent_path).is_none() {
            return Outcome::error(Code::NoNode);
        }
        // Only over a fuzzy snapshot can a znode with children be deleted: they were created later and will be again.
        let mut below = Vec::new();
        if let Some(view) = self.look(path).filter(NodeView::has_children) {
            below.extend(view.children().map(|name| format!("{path}/{name}")));
            let mut at = 0;
            while at < below.len() {
                if let Some(view) = self.look(&below[at]) {
                    let children: Vec<_> = view.children().map(|name| format!("{}/{name}", below[at])).collect();
                    below.extend(children);
                }
                at += 1;
            }
        }
        for path in below.iter().rev() {
            self.delete_childless(stamp, zxid, path, changes);
        }
        self.delete_childless(stamp, zxid, path, changes)
    }

    /// Deletes a znode whose parent exists.
    fn delete_childless(&mut self, stamp: i64, zxid: i64, path: &str, changes: &mut Changes) -> Outcome {
        let Some((parent_path, name)) = split(path) else { return Outcome::error(Code::NoNode) };
        let Some(parent) = self.look(parent_path) else { return Outcome::error(Code::NoNode) };
        let view = self.look(path);
        let old = parent.child_facts();
        let mut new = ChildFacts { pzxid: old.pzxid.max(zxid), ..old };
        let parent_acl = parent.acl_ref();
        let parent_share = self.share(parent);
        if view.is_some() {
            let own = self.own();
            let mut edit = Edit::default();
            // SAFETY: the newest list is alive, and nothing of it is freed before what the edit says is dealt with.
            new.names = unsafe { names::remove(&mut own.memory, &mut edit, old.names, name.as_bytes()) };
            new.count -= 1;
            self.log_edit(edit);
        }
        if view.is_some() || new.pzxid != old.pzxid {
            self.push_children(stamp, parent.parts().0, new);
            self.digest = self.digest.wrapping_sub(parent_share).wrapping_add(self.share(parent));
        }
        let Some(view) = view else { return Outcome::error(Code::NoNode) };
        self.digest = self.digest.wrapping_sub(self.share(view));
        let (node, version) = view.parts();
        let bytes = view.data_bytes();
        let acl = view.acl_ref();
        // SAFETY: the newest version is alive.
        let owner = unsafe { Version::facts(version) }.owner;
        let own = self.own();
        let tombstone = Version::tombstone(&mut own.memory, stamp);
        // SAFETY: this is the writer; the version is fresh.
        unsafe { node.as_ref().versions.push(tombstone.as_ptr()) };
        own.undo.push_back(Undo::Version(node, tombstone));
        self.account(path, Some((owner, bytes)), None);
        self.count_usage(stamp, path, -1, -(bytes as i64));
        changes.push(Change { kind: ChangeKind::Deleted, path: path.into(), acl, parent_acl });
        Outcome::ok()
    }

    fn set_data(
        &mut self,
        stamp: i64,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        changes: &mut Changes,
    ) -> Outcome {
        let Some(old) = self.look(path) else { return Outcome::error(Code::NoNode) };
        let (node, old_version) = old.parts();
        let share = self.share(old);
        let crc = self.crc(path, data);
        // SAFETY: the newest version is alive.
        let old_facts = unsafe { Version::facts(old_version) };
        let facts = Facts { mzxid: header.zxid.0, mtime: header.time.0, version, crc, ..old_facts };
        self.hold(facts.acl);
        let new = self.push_version(stamp, node, facts, Data::New(data));
        self.digest = self.digest.wrapping_sub(share).wrapping_add(self.share(new));
        let (stat, acl) = (new.stat(), new.acl_ref());
        self.count_usage(stamp, path, 0, new.data_bytes() as i64 - old.data_bytes() as i64);
        changes.push(Change { kind: ChangeKind::DataChanged, path: path.into(), parent_acl: acl.clone(), acl });
        Outcome { err: 0, stat: Some(stat) }
    }

    fn set_acl(&mut self, stamp: i64, path: &str, acl: &[Acl], version: i32) -> Outcome {
        let Some(old) = self.look(path) else { return Outcome::error(Code::NoNode) };
        let share = self.share(old);
        let new = self.replace_acl(stamp, old, acl, Some(version));
        self.digest = self.digest.wrapping_sub(share).wrapping_add(self.share(new));
        Outcome { err: 0, stat: Some(new.stat()) }
    }

    /// Gives a znode another ACL and perhaps another aversion.
    fn replace_acl<'v>(&mut self, stamp: i64, old: NodeView<'v>, acl: &[Acl], aversion: Option<i32>) -> NodeView<'v> {
        let acl = self.own().acls.intern(acl);
        let (node, version) = old.parts();
        // SAFETY: the newest version is alive.
        let facts = unsafe { Version::facts(version) };
        if facts.acl == acl && aversion.is_none() {
            // SAFETY: the reference was taken just now; the version holds another.
            unsafe { self.own().acls.release(acl) };
            return old;
        }
        let facts = Facts { acl, aversion: aversion.unwrap_or(facts.aversion), ..facts };
        self.push_version(stamp, node, facts, Data::Same(version))
    }

    /// Raises a parent's cversion and pzxid, if that raises them, and adds a child's name.
    fn raise_cversion(&mut self, stamp: i64, parent: NodeView<'_>, cversion: i32, zxid: i64, child: Option<&str>) {
        let old = parent.child_facts();
        let share = self.share(parent);
        let cversion = if cversion == -1 { old.cversion.wrapping_add(1) } else { cversion };
        let mut new = old;
        if cversion > old.cversion {
            (new.cversion, new.pzxid) = (cversion, zxid);
        } else if child.is_none() {
            return;
        }
        if let Some(name) = child {
            let mut edit = Edit::default();
            let own = self.own();
            // SAFETY: the newest list is alive, and nothing of it is freed before what the edit says is dealt with.
            new.names = unsafe { names::insert(&mut own.memory, &mut edit, old.names, name.as_bytes()) };
            new.count += 1;
            self.log_edit(edit);
        }
        self.push_children(stamp, parent.parts().0, new);
        self.digest = self.digest.wrapping_sub(share).wrapping_add(self.share(parent));
    }

    /// Adds data and znodes to the usage of the deepest quota above `path`. Its stats znode is rewritten silently.
    fn count_usage(&mut self, stamp: i64, path: &str, count: i64, bytes: i64) {
        let Some(subject) = self.quotas.deepest(path) else { return };
        let Some(stats) = self.look(&format!("{}{subject}/{}", quota::QUOTA, quota::STATS_NAME)) else { return };
        let mut track = Track::parse(stats.data().unwrap_or_default());
        track.count = track.count.wrapping_add(count);
        track.bytes = track.bytes.wrapping_add(bytes);
        self.rewrite(stamp, stats, &track.text());
    }

    /// Counts the subtree of a quota and writes the sum into its stats znode.
    pub(crate) fn recompute_usage(&mut self, stamp: i64, subject: &str) {
        let Some(stats) = self.look(&format!("{}{subject}/{}", quota::QUOTA, quota::STATS_NAME)) else { return };
        let mut usage = Usage::default();
        let mut paths = vec![subject.to_owned()];
        while let Some(path) = paths.pop() {
            let Some(view) = self.look(if path.is_empty() { "/" } else { &path }) else { continue };
            usage.count += 1;
            usage.bytes += view.data_bytes() as i64;
            paths.extend(view.children().map(|name| format!("{path}/{name}")));
        }
        self.rewrite(stamp, stats, &Track::of(usage).text());
    }

    /// Replaces data without any trace in the stat.
    fn rewrite(&mut self, stamp: i64, old: NodeView<'_>, text: &str) {
        let (node, version) = old.parts();
        let crc = self.crc(old.path(), Some(text.as_bytes()));
        // SAFETY: the newest version is alive.
        let facts = Facts { crc, ..unsafe { Version::facts(version) } };
        self.hold(facts.acl);
        let share = self.share(old);
        let new = self.push_version(stamp, node, facts, Data::New(Some(text.as_bytes())));
        self.digest = self.digest.wrapping_sub(share).wrapping_add(self.share(new));
    }

    fn hold(&mut self, acl: NonNull<acl::Entry>) {
        // SAFETY: a live version holds it.
        self.own().acls.hold(unsafe { acl.as_ref() });
    }

    fn crc(&self, path: &str, data: Option<&[u8]>) -> u32 {
        if self.with_digest && !digest::is_excluded(path) { digest::path_and_data(path, data) } else { 0 }
    }

    /// Makes a version, whose ACL reference the caller took, the newest of a node.
    pub(crate) fn push_version<'v>(
        &mut self,
        stamp: i64,
        node: NonNull<Node>,
        facts: Facts,
        data: Data<'_>,
    ) -> NodeView<'v> {
        let rules = self.shared.rules;
        let own = self.own();
        // SAFETY: this is the writer; the newest version is alive, the new one fresh. Nothing is freed before this apply is over.
        let (before, version, view) = unsafe {
            let before = NonNull::new(node.as_ref().versions.newest()).filter(|before| before.as_ref().is_live());
            let before = before.map(|before| (Version::facts(before).owner, before.as_ref().data_bytes()));
            let version = Version::make(&mut own.memory, stamp, facts, data);
            node.as_ref().versions.push(version.as_ptr());
            (before, version, NodeView::at(node, i64::MAX, rules).expect("the version is live"))
        };
        own.undo.push_back(Undo::Version(node, version));
        self.account(view.path(), before, Some((facts.owner, view.data_bytes())));
        view
    }

    pub(crate) fn push_children(&mut self, stamp: i64, node: NonNull<Node>, facts: ChildFacts) {
        let own = self.own();
        let children = Children::make(&mut own.memory, stamp, facts);
        // SAFETY: this is the writer; the list is fresh.
        unsafe { node.as_ref().children.push(children.as_ptr()) };
        own.undo.push_back(Undo::Children(node, children));
    }

    fn log_edit(&mut self, edit: Edit) {
        let undo = &mut self.own().undo;
        undo.extend(edit.made.iter().map(|names| Undo::NamesMade(*names)));
        undo.extend(edit.replaced.iter().map(|names| Undo::NamesReplaced(*names)));
    }
}
