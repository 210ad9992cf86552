//! The threads for slow work on files. One prepares log segments, one names them, one writes snapshots and purges old files:
//! apart, because a log that rolls must not wait for a snapshot, and the first answers from a new segment wait for its name,
//! which must not wait for 64 MiB of zeros.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clients::Mailbox;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use disk::RealDisk;
use pipeline::sequencer::SnapshotPoint;
use wal::segment::{Done, SegmentId, Work};

use crate::letter::Letter;
use crate::snapshots::{self, SnapshotJob};

/// Preparing a segment is tried every second; a failure that lasts is said again after so many tries.
const SAID_EVERY: u32 = 30;

/// Ways to the background threads.
#[derive(Clone)]
pub struct Background {
    segments: Sender<Work>,
    names: Sender<Work>,
    snapshots: Sender<SnapshotJob>,
}

/// What the background needs to know.
pub struct Options {
    /// `<dataLogDir>/version-2`
    pub log_dir: PathBuf,
    /// How snapshots are written and purged.
    pub snapshots: snapshots::Options,
    /// `autopurge.purgeInterval`; `None` = never.
    pub purge_every: Option<Duration>,
}

impl Background {
    /// Starts both threads; they report to the write stage's mailbox.
    pub fn start(options: Options, write_stage: Arc<Mailbox<Letter>>) -> std::io::Result<Background> {
        let (segments, segment_work) = unbounded();
        let (snapshots, snapshot_jobs) = unbounded();
        let (names, name_work) = unbounded();
        let (log_dir, mailbox) = (options.log_dir.clone(), Arc::clone(&write_stage));
        thread::Builder::new().name("names".into()).spawn(move || do_segment_work(&log_dir, &name_work, &mailbox))?;
        let (log_dir, mailbox) = (options.log_dir, Arc::clone(&write_stage));
        thread::Builder::new()
            .name("segments".into())
            .spawn(move || do_segment_work(&log_dir, &segment_work, &mailbox))?;
        let (settings, every) = (options.snapshots, options.purge_every);
        thread::Builder::new()
            .name("snapshots".into())
            .spawn(move || write_snapshots(&settings, every, &snapshot_jobs, &write_stage))?;
        Ok(Background { segments, names, snapshots })
    }

    /// Something for the log.
    pub fn segment_work(&self, work: Work) {
        let thread = if matches!(work, Work::Name { .. }) { &self.names } else { &self.segments };
        thread.send(work).expect("the thread lives as long as a sender does");
    }

    /// A snapshot to write.
    pub fn snapshot(&self, point: SnapshotPoint, tree: tree::Reader) {
        self.snapshots.send(SnapshotJob { point, tree }).expect("the thread lives as long as a sender does");
    }
}

/// A segment as the reactor writes to it.
pub struct OpenSegment {
    /// Which.
    pub segment: SegmentId,
    /// Open past the page cache where the file system allows it.
    pub file: Arc<File>,
}

fn do_segment_work(log_dir: &std::path::Path, work: &Receiver<Work>, write_stage: &Mailbox<Letter>) {
    let mut said_buffered = false;
    let (mut failed, mut marks_failed) = (0, 0);
    while let Ok(work) = work.recv() {
        let mut done = wal::perform(&RealDisk, log_dir, &work);
        let mut open = None;
        if let (Done::Prepared { segment, .. }, Work::Prepare { name, .. }) = (&done, &work) {
            match disk::open_direct(&log_dir.join(name)) {
                Ok((file, direct)) => {
                    if !direct && !said_buffered {
                        said_buffered = true;
                        tracing::warn!(dir = %log_dir.display(), "this file system has no O_DIRECT: log writes go through the page cache");
                    }
                    open = Some(OpenSegment { segment: *segment, file: Arc::new(file) });
                }
                Err(error) => done = Done::PrepareFailed { segment: *segment, error },
            }
        }
        match &done {
            Done::Prepared { .. } => failed = 0,
            Done::PrepareFailed { error, .. } => {
                if failed % SAID_EVERY == 0 {
                    tracing::error!(dir = %log_dir.display(), %error, "cannot prepare a log segment: writes wait until there is space");
                }
                failed += 1;
            }
            Done::Marked { result: Err(error) } => {
                if marks_failed % SAID_EVERY == 0 {
                    tracing::warn!(dir = %log_dir.display(), %error, "cannot renew {}: the end of the log is not guarded", wal::MARK_FILE);
                }
                marks_failed += 1;
            }
            Done::Marked { result: Ok(()) } => marks_failed = 0,
            _ => {}
        }
        write_stage.send(Letter::SegmentDone(done, open));
    }
}

/// Lets the threads that serve clients go first on a busy machine. Threads that this one starts inherit it.
fn give_way() {
    // Of 39 steps; about a tenth of a core's time against a thread that wants all of it, so that a snapshot still ends.
    const NICE: i32 = 10;
    // For Linux a thread is a process as far as priorities go, and this thread is meant.
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "snapshots are written at the server's own priority");
    }
}

fn write_snapshots(
    options: &snapshots::Options,
    purge_every: Option<Duration>,
    jobs: &Receiver<SnapshotJob>,
    write_stage: &Mailbox<Letter>,
) {
    give_way();
    let purge = || {
        if purge_every.is_some() {
            snapshots::purge(options);
        }
        purge_every.map(|every| Instant::now() + every)
    };
    let mut purge_at = purge();
    loop {
        // By a deadline: snapshots that come more often than purges must not put purges off.
        let next = match purge_at {
            Some(at) => jobs.recv_deadline(at),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(job) => {
                snapshots::write(options, job);
                write_stage.send(Letter::SnapshotDone);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if purge_at.is_some_and(|at| at <= Instant::now()) {
            purge_at = purge();
        }
    }
}
