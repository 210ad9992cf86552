//! What the tests share: trees grown by random transactions, and everything of a tree that can be observed, as text.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, sync::Arc};

use host::{Disk, MemoryDisk, SeededEntropy};
use proto::{Acl, Id, Millis, Op, SessionId, Txn, TxnHeader, Xid, Zxid};
use snapshot::{RestoreOptions, Restored, restore};
use tree::Writer;
use wal::{BlockingLog, LogOptions};

/// Where snapshots live in the tests.
pub const SNAPS: &str = "/data/version-2";
/// Where logs live in the tests.
pub const LOGS: &str = "/logs/version-2";
/// Time stands still.
pub const NOW: Millis = Millis(0);

pub fn tree_options() -> tree::Options {
    let rules = tree::OwnerRules { extended_types: true, emulate_353: false };
    tree::Options { rules, ..tree::Options::new((1, 2)) }
}

pub fn options() -> RestoreOptions {
    RestoreOptions::new(tree_options())
}

pub fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    snapshot::prepare_directories(&disk, Path::new(SNAPS), Path::new(LOGS), true).unwrap();
    disk
}

pub fn reopen(disk: &dyn Disk) -> Result<Restored, snapshot::RestoreError> {
    restore(disk, Path::new(SNAPS), Path::new(LOGS), options())
}

/// Everything that a client or a peer could see.
pub fn dump(tree: &mut Writer, sessions: &BTreeMap<SessionId, i32>) -> String {
    let mut text = format!("zxid {} digest {:#x}\n", tree.tip(), tree.digest());
    for (session, timeout) in sessions {
        writeln!(text, "session {session} {timeout}").unwrap();
    }
    tree.reader().walk("/", |path, view| {
        writeln!(text, "{path} {:?} {:?} {:?}", view.data(), view.acl(), view.persisted()).unwrap();
    });
    text
}

/// A database with a log, changed by random transactions.
pub struct World {
    pub disk: MemoryDisk,
    pub tree: Writer,
    pub sessions: BTreeMap<SessionId, i32>,
    pub log: BlockingLog,
    random: SeededEntropy,
}

impl World {
    pub fn open(disk: &MemoryDisk, seed: u64) -> World {
        let restored = reopen(disk).unwrap();
        let options = LogOptions { segment_bytes: 1 << 20, payload_bytes_max: 64 << 10, ..LogOptions::default() };
        let last = restored.last.unwrap();
        let log = BlockingLog::new(Arc::new(disk.clone()), Path::new(LOGS), options, last, restored.log.leftovers);
        let (tree, sessions) = (restored.tree, restored.sessions);
        World { disk: disk.clone(), tree, sessions, log, random: SeededEntropy::new(seed) }
    }

    /// So many random transactions, logged and applied.
    pub fn run(&mut self, count: usize) {
        for _ in 0..count {
            let zxid = self.tree.tip().next();
            let (op, session, txn) = self.random_txn();
            self.write(zxid, op, session, &txn);
        }
        self.log.commit(NOW).unwrap();
    }

    pub fn write(&mut self, zxid: Zxid, op: Op, session: SessionId, txn: &Txn<'_>) {
        let header = TxnHeader { session, cxid: Xid(3), zxid, time: Millis(1000 + zxid.0), op };
        match txn {
            Txn::CreateSession { timeout_ms } => drop(self.sessions.insert(session, *timeout_ms)),
            Txn::CloseSession { .. } => drop(self.sessions.remove(&session)),
            _ => {}
        }
        self.tree.apply(&header, txn);
        self.tree.commit(zxid);
        self.log.append(&header, txn, Some(self.tree.digest())).unwrap();
    }

    fn random_txn(&self) -> (Op, SessionId, Txn<'static>) {
        let below = |bound| self.random.below(bound);
        let session = SessionId(0x100 + below(4) as i64);
        let mut path = String::new();
        for _ in 0..=below(3) {
            write!(path, "/n{}", below(4)).unwrap();
        }
        let parent = proto::path::parent(&path).to_owned();
        let cversion = self.tree.node(&parent).map_or(0, |parent| parent.cversion_raw()) + 1;
        let data = (below(5) > 0).then(|| vec![below(256) as u8; below(600) as usize].into());
        let acl: Vec<Acl> = match below(3) {
            0 => vec![Acl { perms: below(31) as i32, id: Id::new("ip", format!("10.0.0.{}", below(3))) }],
            _ => vec![Acl::open()],
        };
        let node = self.tree.node(&path);
        match below(12) {
            0 => (Op::CreateSession, session, Txn::CreateSession { timeout_ms: 1000 + below(9000) as i32 }),
            1 => {
                let paths = self.tree.ephemerals_of(session).map(|path| path.to_owned().into()).collect();
                (Op::CloseSession, session, Txn::CloseSession { paths: Some(paths) })
            }
            2 | 3 if node.as_ref().is_some_and(|node| !node.has_children()) => {
                (Op::Delete, session, Txn::Delete { path: path.into() })
            }
            4 | 5 if let Some(node) = &node => {
                let version = node.data_version() + 1;
                (Op::SetData, session, Txn::SetData { path: path.into(), data, version })
            }
            6 if let Some(node) = &node => {
                let version = node.acl_version() + 1;
                (Op::SetAcl, session, Txn::SetAcl { path: path.into(), acl: acl.into(), version })
            }
            _ if node.is_some() || self.tree.node(&parent).is_none() => (Op::Error, session, Txn::Error { err: -110 }),
            7 => {
                let (path, acl) = (path.into(), acl.into());
                (Op::CreateContainer, session, Txn::CreateContainer { path, data, acl, parent_cversion: cversion })
            }
            8 => {
                let (path, acl) = (path.into(), acl.into());
                (Op::CreateTtl, session, Txn::CreateTtl { path, data, acl, parent_cversion: cversion, ttl: 5000 })
            }
            kind => {
                // An ephemeral has no children here either: only leaves of the third level are ephemeral.
                let ephemeral = kind == 9 && path.matches('/').count() == 3;
                let (path, acl) = (path.into(), acl.into());
                (Op::Create, session, Txn::Create { path, data, acl, ephemeral, parent_cversion: cversion })
            }
        }
    }

    pub fn dump(&mut self) -> String {
        let sessions = self.sessions.clone();
        dump(&mut self.tree, &sessions)
    }

    pub fn source(&mut self) -> snapshot::Source {
        let sessions = self.sessions.iter().map(|(session, timeout)| (*session, *timeout)).collect();
        snapshot::Source::of(&mut self.tree, sessions)
    }

    /// Takes a snapshot, as the server does: the log starts a new file.
    pub fn snapshot(&mut self, compression: snapshot::Compression) -> snapshot::Written {
        let source = self.source();
        let disk = self.disk.clone();
        let written = snapshot::SnapshotJob::write(&disk, Path::new(SNAPS), compression, source).unwrap();
        self.log.log().roll();
        written
    }
}

/// What [`reopen`] finds, as text.
pub fn reopened(disk: &dyn Disk) -> String {
    let mut restored = reopen(disk).unwrap();
    assert_eq!(restored.first_mismatch, None);
    dump(&mut restored.tree, &restored.sessions)
}
