//! Restoring the database at start; writing snapshots and purging old files in the background.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use config::{Config, ExitStatus};
use disk::{RealDisk, SystemEntropy};
use host::{Disk, Entropy};
use member::Gauges;
use pipeline::sequencer::SnapshotPoint;
use snapshot::{Compression, Encoder, RestoreOptions, Restored, SnapshotWriter, Source, format};
use wal::ReadOptions;

use crate::server::{Directories, Failure};

/// Bytes encoded per step.
const SLICE_BYTES: usize = 1 << 20;

/// A snapshot to write.
pub struct SnapshotJob {
    /// Which moment it shows.
    pub point: SnapshotPoint,
    /// The tree, pinned at that moment.
    pub tree: tree::Reader,
}

/// How snapshots are written and purged.
#[derive(Clone)]
pub struct Options {
    dirs: Directories,
    compression: Compression,
    digest: bool,
    last_zxid: bool,
    retain: usize,
    gauges: Arc<Gauges>,
}

impl Options {
    /// As configured.
    pub fn new(config: &Config, dirs: &Directories, gauges: Arc<Gauges>) -> Options {
        Options {
            dirs: dirs.clone(),
            compression: compression(config),
            digest: config.digests,
            last_zxid: config.snapshots.last_processed_zxid,
            retain: config.purge.retain_count as usize,
            gauges,
        }
    }
}

fn compression(config: &Config) -> Compression {
    match config.snapshots.compression {
        config::Compression::None => Compression::None,
        config::Compression::Gzip => Compression::Gz,
        config::Compression::Snappy => Compression::Snappy,
    }
}

/// How the database is brought back.
pub fn restore_options(config: &Config) -> RestoreOptions {
    let mut tree = tree::Options::new((SystemEntropy.next_u64(), SystemEntropy.next_u64()));
    tree.digest = config.digests;
    tree.rules.extended_types = config.nodes.extended_types;
    tree.rules.emulate_353 = config.nodes.emulate_353_ttl;
    let payload_bytes_max =
        (config.limits.packet_bytes_max as usize).saturating_add(config.limits.packet_extra_bytes as usize);
    RestoreOptions {
        read: ReadOptions { payload_bytes_max },
        tree,
        trust_empty: config.snapshots.trust_empty,
        db_autocreate: config.create_database,
        compression: compression(config),
        last_zxid: config.snapshots.last_processed_zxid,
    }
}

/// Brings the database back, and says what had to be done for it.
pub fn restore(config: &Config, dirs: &Directories, options: RestoreOptions) -> Result<Restored, Failure> {
    let begun = Instant::now();
    let restored = snapshot::restore(&RealDisk, &dirs.data, &dirs.log, options)
        .map_err(|error| Failure::new(ExitStatus::UnableToAccessDataDir, error))?;
    for rejected in &restored.rejected {
        tracing::warn!("snapshot passed over: {rejected}");
    }
    for cut in &restored.log.cuts {
        let action = if cut.removed { "removed" } else { "cut" };
        let why = cut.why.as_ref().map_or_else(|| "unfinished write".to_owned(), ToString::to_string);
        tracing::warn!(
            "{}: {action} at offset {} ({why}); nothing in there was acknowledged",
            cut.path.display(),
            cut.offset
        );
    }
    if restored.log.mark_unreadable {
        tracing::warn!("{} is damaged and not believed; it is written anew", dirs.log.join(wal::MARK_FILE).display());
    }
    for gap in &restored.log.gaps {
        tracing::warn!("the transaction log lacks what lies between zxid {} and {}", gap.after, gap.next);
    }
    for regression in &restored.log.regressions {
        tracing::warn!("zxid {} in the log comes after {}", regression.next, regression.after);
    }
    if let Some(mismatch) = restored.first_mismatch {
        tracing::error!(
            count = restored.mismatches,
            "digests differ from the log's, first at zxid {}: expected {:#x}, found {:#x}",
            mismatch.zxid,
            mismatch.expected,
            mismatch.found
        );
    }
    match restored.last {
        Some(last) => tracing::info!(
            "restored {} znodes and {} sessions up to zxid {last} in {} ms: {}, {} transactions replayed",
            restored.tree.node_count(),
            restored.sessions.len(),
            begun.elapsed().as_millis(),
            restored.snapshot.as_ref().map_or_else(|| "no snapshot".to_owned(), |path| path.display().to_string()),
            restored.log.count,
        ),
        None => {
            return Err(Failure::new(
                ExitStatus::UnableToAccessDataDir,
                format!(
                    "{} is empty, and db.autocreate=false says that an empty directory is a lost database: restore it, or \
                     create the file `initialize` in {} to begin with an empty one",
                    dirs.data.display(),
                    config.data_log_dir.display()
                ),
            ));
        }
    }
    Ok(restored)
}

/// Writes one snapshot. A failure costs nothing but the snapshot: the log still has everything.
pub fn write(options: &Options, job: SnapshotJob) {
    let begun = Instant::now();
    let zxid = job.point.zxid;
    match write_file(options, job) {
        Ok((path, nodes)) => {
            options.gauges.snapshots.fetch_add(1, Relaxed);
            let ms = begun.elapsed().as_millis();
            tracing::info!("Snapshotting: {zxid} to {}: {nodes} znodes in {ms} ms", path.display());
        }
        Err(error) => {
            // What was written is of no use, and on a full disk its space is needed.
            let _ = RealDisk.remove(&options.dirs.data.join(format::TEMPORARY));
            tracing::error!("cannot write snapshot {zxid}: {error}; the log keeps growing until one succeeds");
        }
    }
}

fn write_file(options: &Options, job: SnapshotJob) -> io::Result<(PathBuf, u64)> {
    let source = Source {
        reader: job.tree,
        acls: job.point.acls,
        sessions: job.point.sessions,
        digest: options.digest.then_some(job.point.digest),
        last_zxid: options.last_zxid,
    };
    let temporary = options.dirs.data.join(format::TEMPORARY);
    let nodes = uring::files::with_file_writer(&temporary, true, |out| {
        let mut writer = SnapshotWriter::new(Encoder::new(out, options.compression), source);
        while !writer.step(SLICE_BYTES)? {}
        let nodes = writer.nodes();
        let (encoder, _reader) = writer.finish();
        encoder.finish()?;
        Ok(nodes)
    })?;
    let path = snapshot::give_name(&RealDisk, &options.dirs.data, job.point.zxid, options.compression)?;
    Ok((path, nodes))
}

/// Removes what the retained snapshots do not need.
pub fn purge(options: &Options) {
    match snapshot::purge(&RealDisk, &options.dirs.data, &options.dirs.log, options.retain) {
        Ok(removed) => removed.iter().for_each(|file| tracing::info!("Removing file: {}", file.path.display())),
        Err(error) => tracing::error!("cannot purge: {error}"),
    }
}
