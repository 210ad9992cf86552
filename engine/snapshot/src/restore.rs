//! Restoring a database from its directories (disk-formats.md §11): the newest usable snapshot, then the log behind it.
//!
//! Nothing is decided silently: the report names the snapshots that were rejected and why, what was cut from the log, gaps,
//! and the first place where the tree differs from what a transaction's digest says.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use host::Disk;
use proto::{SessionId, Txn, Zxid, txn::DIGEST_VERSION};
use wal::{ReadOptions, RecoverError, Recovered};

use crate::{
    compression::Compression,
    format, install,
    job::SnapshotJob,
    load::{LoadError, SnapshotDigest, load},
    writer::Source,
};

/// Snapshots that are tried before giving up.
pub const CANDIDATES_MAX: usize = 100;
/// The file beside the log's `version-2` that says that an empty database is meant.
pub const INITIALIZE_MARKER: &str = "initialize";

/// Settings of a restore.
#[derive(Clone, Copy, Debug)]
pub struct RestoreOptions {
    /// What a reader of the log accepts.
    pub read: ReadOptions,
    /// What the tree must know.
    pub tree: tree::Options,
    /// `snapshot.trust.empty`: believe logs without any snapshot.
    pub trust_empty: bool,
    /// `db.autocreate`: an empty directory is an empty database, not a lost one.
    pub db_autocreate: bool,
    /// How the first snapshot of a new database is written.
    pub compression: Compression,
    /// `serializeLastProcessedZxid.enabled`.
    pub last_zxid: bool,
}

impl RestoreOptions {
    /// ZooKeeper's defaults.
    pub fn new(tree: tree::Options) -> RestoreOptions {
        RestoreOptions {
            read: ReadOptions::default(),
            tree,
            trust_empty: false,
            db_autocreate: true,
            compression: Compression::None,
            last_zxid: true,
        }
    }
}

/// A database.
#[derive(Debug)]
pub struct Restored {
    /// The tree at [`Restored::last`], all of it committed.
    pub tree: tree::Writer,
    /// Sessions and their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The last transaction; `None` for an empty directory that may not be taken for a database: such a member has no data
    /// and no vote.
    pub last: Option<Zxid>,
    /// The snapshot that was loaded.
    pub snapshot: Option<PathBuf>,
    /// Snapshots that were passed over, newest first.
    pub rejected: Vec<Rejected>,
    /// What reading the log found.
    pub log: Recovered,
    /// The first place where the tree differs from a digest.
    pub first_mismatch: Option<DigestMismatch>,
    /// Transactions whose digest differs from the tree's (`digest_mismatches_count`).
    pub mismatches: u64,
    /// Was the `initialize` marker found (and removed)?
    pub initialized: bool,
}

impl Restored {
    /// Sessions that own ephemerals and are not in the table: a server that starts as leader or alone deletes those.
    pub fn orphans(&self) -> Vec<SessionId> {
        self.tree.sessions_with_ephemerals().filter(|session| !self.sessions.contains_key(session)).collect()
    }
}

/// A snapshot that could not be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it; `None`: it is not even complete.
    pub error: Option<LoadError>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => write!(f, "{}: {error}", self.path.display()),
            None => write!(f, "{}: incomplete", self.path.display()),
        }
    }
}

/// The tree is not what it should be after a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigestMismatch {
    /// The transaction.
    pub zxid: Zxid,
    /// What its writer says.
    pub expected: u64,
    /// What we have.
    pub found: u64,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The disk refuses.
    #[error("{}: {source}{}", path.display(), host::disk::advice(source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// What can be restored ends before what a snapshot proves to have been there.
    #[error(
        "{} shows that zxid {proven} was durable, but an older snapshot and the transaction logs lead only to {last}: what lies \
         between is lost without it. Restore it and the missing logs from a backup; or, in an ensemble, move this server's \
         version-2 directories away and let it copy the data from the others; or, to go on without those transactions, \
         move it away", path.display()
    )]
    Behind {
        /// The snapshot.
        path: PathBuf,
        /// The zxid that it proves.
        proven: Zxid,
        /// The last zxid that can be restored.
        last: Zxid,
    },
    /// An older snapshot had to be used, and the logs behind it have holes.
    #[error(
        "{rejected}, and the transaction logs behind the older snapshot lack what lies between zxid {} and {}. Restore the \
         missing logs or the snapshot from a backup or, in an ensemble, move this server's version-2 directories away and let \
         it copy the data from the others", gap.after, gap.next
    )]
    Holes {
        /// The newest snapshot that could not be used.
        rejected: Rejected,
        /// The first hole.
        gap: wal::Gap,
    },
    /// There are snapshots and none can be used.
    #[error(
        "none of {} snapshots can be used: {}. Restore a snapshot from a backup or, in an ensemble, move this server's \
         version-2 directories away and let it copy the data from the others",
        .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    NoUsableSnapshot(Vec<Rejected>),
    /// ZooKeeper's words for logs without a snapshot.
    #[error(
        "No snapshot found, but there are log entries. Something is broken! ({}) Restore the snapshots, or set \
         zookeeper.snapshot.trust.empty=true for one start to believe the logs alone", .0.display()
    )]
    LogsWithoutSnapshot(PathBuf),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] RecoverError),
}

/// What is wrong with the directories (disk-formats.md §1).
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// ZooKeeper's words.
    #[error("Log directory has snapshot files. Check if dataLogDir and dataDir configuration is correct.")]
    SnapshotsAmongLogs,
    /// ZooKeeper's words.
    #[error("Snapshot directory has log files. Check if dataLogDir and dataDir configuration is correct.")]
    LogsAmongSnapshots,
    /// ZooKeeper's words.
    #[error(
        "Missing data directory {}, automatic data directory creation is disabled (zookeeper.datadir.autocreate is \
         false). Please create this directory manually.", .0.display()
    )]
    Missing(PathBuf),
    /// The disk refuses.
    #[error("{}: {source}{}", path.display(), host::disk::advice(source))]
    Io {
        /// The directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// Makes the two `version-2` directories if that is allowed, and checks that they are not mixed up.
pub fn prepare_directories(disk: &dyn Disk, snap_dir: &Path, log_dir: &Path, autocreate: bool) -> Result<(), DirError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| DirError::Io { path, source }
    };
    for dir in [log_dir, snap_dir] {
        match disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && autocreate => {
                disk.create_dir_all(dir).map_err(io(dir))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DirError::Missing(dir.to_path_buf())),
            other => drop(other.map_err(io(dir))?),
        }
    }
    if snap_dir != log_dir {
        let any = |dir: &Path, prefix: &str| -> Result<bool, DirError> {
            Ok(disk.list(dir).map_err(io(dir))?.iter().any(|name| name.starts_with(prefix)))
        };
        if any(log_dir, "snapshot.")? {
            return Err(DirError::SnapshotsAmongLogs);
        }
        if any(snap_dir, "log.")? {
            return Err(DirError::LogsAmongSnapshots);
        }
    }
    Ok(())
}

/// Restores the database. Both directories exist and are locked ([`prepare_directories`], [`Disk::lock`]).
pub fn restore(
    disk: &dyn Disk,
    snap_dir: &Path,
    log_dir: &Path,
    options: RestoreOptions,
) -> Result<Restored, RestoreError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RestoreError::Io { path, source }
    };
    let initialized = consume_marker(disk, log_dir)?;
    install::complete_all(disk, snap_dir, log_dir).map_err(io(snap_dir))?;
    let names = disk.list(snap_dir).map_err(io(snap_dir))?;
    for name in names.iter().filter(|name| [format::TEMPORARY, format::RECEIVED].contains(&name.as_str())) {
        disk.remove(&snap_dir.join(name)).map_err(io(snap_dir))?;
    }

    let mut rejected = Vec::new();
    for (zxid, name) in format::newest_first(&names).into_iter().take(CANDIDATES_MAX) {
        let path = snap_dir.join(name);
        let Some(bytes) = format::read_whole(disk, &path).map_err(io(&path))? else {
            rejected.push(Rejected { path, error: None });
            continue;
        };
        match load(&bytes, zxid, options.tree) {
            Ok(loaded) => {
                let shown = loaded.last_zxid.unwrap_or(zxid);
                let mut replay = Replay::new(loaded.tree, loaded.sessions, loaded.digest, options.tree.digest);
                let log = wal::recover(disk, log_dir, zxid.next(), options.read, |record| replay.apply(&record))?;
                let mut restored = replay.done(log, rejected, initialized);
                refuse_losses(&restored, &path, shown)?;
                // Its writer may have been killed before it was durable (Java does not even try), and the transactions to come
                // rest on it.
                disk.sync_file(&path).map_err(io(&path))?;
                disk.sync_dir(snap_dir).map_err(io(snap_dir))?;
                restored.snapshot = Some(path);
                return Ok(restored);
            }
            Err(error) => rejected.push(Rejected { path, error: Some(error) }),
        }
    }
    // A process that died while it wrote the very first snapshot leaves an incomplete snapshot.0, and no log.
    let only_unborn =
        rejected.iter().all(|r| r.error.is_none() && format::parse(&file_name(&r.path)) == Some(Zxid::ZERO));
    if !only_unborn {
        return Err(RestoreError::NoUsableSnapshot(rejected));
    }
    without_snapshot(disk, snap_dir, log_dir, options, rejected, initialized)
}

/// An older snapshot and more of the log may stand for a newer snapshot only if they lead at least as far. Whatever a snapshot
/// shows was durable when it was written.
fn refuse_losses(restored: &Restored, path: &Path, shown: Zxid) -> Result<(), RestoreError> {
    let last = restored.last.unwrap_or_default();
    let rejected = restored.rejected.iter().filter_map(|r| Some((format::parse(&file_name(&r.path))?, &r.path)));
    let proofs = rejected.map(|(zxid, path)| (zxid, path.as_path())).chain([(shown, path)]);
    if let Some((proven, path)) = proofs.max().filter(|(proven, _)| *proven > last) {
        return Err(RestoreError::Behind { path: path.to_path_buf(), proven, last });
    }
    match (restored.rejected.first(), restored.log.gaps.first()) {
        (Some(rejected), Some(gap)) => Err(RestoreError::Holes { rejected: rejected.clone(), gap: *gap }),
        _ => Ok(()),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn without_snapshot(
    disk: &dyn Disk,
    snap_dir: &Path,
    log_dir: &Path,
    options: RestoreOptions,
    rejected: Vec<Rejected>,
    initialized: bool,
) -> Result<Restored, RestoreError> {
    let mut replay = Replay::new(tree::Writer::new(options.tree), BTreeMap::new(), None, options.tree.digest);
    let log = wal::recover(disk, log_dir, Zxid(1), options.read, |record| replay.apply(&record))?;
    let has_logs = log.count > 0;
    if has_logs && !options.trust_empty {
        return Err(RestoreError::LogsWithoutSnapshot(log_dir.to_path_buf()));
    }
    let mut restored = replay.done(log, rejected, initialized);
    if has_logs {
        return Ok(restored);
    }
    if !initialized && !options.db_autocreate {
        restored.last = None;
        return Ok(restored);
    }
    let mut source = Source::of(&mut restored.tree, Vec::new());
    source.last_zxid = options.last_zxid;
    source.digest = source.digest.filter(|_| options.tree.digest);
    let written = SnapshotJob::write(disk, snap_dir, options.compression, source)
        .map_err(|source| RestoreError::Io { path: snap_dir.to_path_buf(), source })?;
    restored.snapshot = Some(written.path);
    Ok(restored)
}

/// Looks for the marker next to the log's `version-2`, where ZooKeeper looks for it, and removes it.
fn consume_marker(disk: &dyn Disk, log_dir: &Path) -> Result<bool, RestoreError> {
    let marker = host::disk::parent(log_dir).join(INITIALIZE_MARKER);
    match disk.remove(&marker) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(RestoreError::Io { path: marker, source }),
    }
}

/// Transactions being applied over a snapshot.
struct Replay {
    tree: tree::Writer,
    sessions: BTreeMap<SessionId, i32>,
    /// The snapshot's own digest, until its zxid is reached: before, the tree may be fuzzy.
    pending: Option<SnapshotDigest>,
    /// `digest.enabled`.
    compares: bool,
    first_mismatch: Option<DigestMismatch>,
    mismatches: u64,
}

impl Replay {
    fn new(
        tree: tree::Writer,
        sessions: BTreeMap<SessionId, i32>,
        pending: Option<SnapshotDigest>,
        compares: bool,
    ) -> Replay {
        let mut replay = Replay { tree, sessions, pending, compares, first_mismatch: None, mismatches: 0 };
        replay.reached(replay.tree.tip());
        replay
    }

    fn apply(&mut self, record: &wal::Record<'_>) {
        let header = &record.header;
        match &record.txn {
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session, *timeout_ms);
            }
            Txn::CloseSession { .. } => {
                self.sessions.remove(&header.session);
            }
            _ => {}
        }
        self.tree.apply(header, &record.txn);
        self.tree.commit(header.zxid);
        if self.pending.is_none()
            && let Some(digest) = record.digest.filter(|digest| digest.version == DIGEST_VERSION)
        {
            self.compare(header.zxid, digest.tree);
        }
        self.reached(header.zxid);
    }

    fn reached(&mut self, zxid: Zxid) {
        if let Some(digest) = self.pending.filter(|digest| digest.zxid <= zxid) {
            self.pending = None;
            if digest.zxid == zxid && digest.version == DIGEST_VERSION {
                self.compare(zxid, digest.tree);
            }
        }
    }

    fn compare(&mut self, zxid: Zxid, expected: u64) {
        let found = self.tree.digest();
        if found != expected && self.compares {
            self.mismatches += 1;
            self.first_mismatch.get_or_insert(DigestMismatch { zxid, expected, found });
        }
    }

    fn done(self, log: Recovered, rejected: Vec<Rejected>, initialized: bool) -> Restored {
        Restored {
            last: Some(self.tree.tip().max(log.last)),
            tree: self.tree,
            sessions: self.sessions,
            snapshot: None,
            rejected,
            log,
            first_mismatch: self.first_mismatch,
            mismatches: self.mismatches,
            initialized,
        }
    }
}
