//! A log and its writer in one: for tests, tools, and machines where no ring is allowed. Each [`BlockingLog::commit`]
//! writes what was appended and returns when it is durable.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use host::{Disk, Mode, WriteFile};
use proto::{Millis, Txn, TxnHeader, Zxid};

use crate::{
    AppendError, Log, LogFailed, LogOptions,
    segment::{Done, SegmentId, Work, perform},
};

/// See the module.
pub struct BlockingLog {
    log: Log,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: BTreeMap<SegmentId, Box<dyn WriteFile>>,
    sync: bool,
}

impl BlockingLog {
    /// A log in `dir` that goes on after `last`; see [`Log::new`].
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        last: Zxid,
        leftovers: Vec<String>,
    ) -> BlockingLog {
        let sync = options.sync;
        let log = Log::new(options, last, leftovers);
        BlockingLog { log, disk, dir: dir.to_path_buf(), files: BTreeMap::new(), sync }
    }

    /// The state machine inside.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// See [`Log::append`].
    pub fn append(&mut self, header: &TxnHeader, txn: &Txn<'_>, digest: Option<u64>) -> Result<(), AppendError> {
        self.log.append(header, txn, digest)
    }

    /// Writes all that was appended. Answers the durable zxid, which is less than the last appended one only while the
    /// disk has no room for another segment: then call again, `now` later.
    pub fn commit(&mut self, now: Millis) -> Result<Zxid, LogFailed> {
        loop {
            while let Some(work) = self.log.next_work(now) {
                let done = self.perform(&work);
                self.log.work_done(done)?;
            }
            let Some(write) = self.log.next_write() else { return Ok(self.log.durable()) };
            let file = self.files.get_mut(&write.segment).expect("a prepared segment is open");
            let result = if self.sync {
                file.write_durable_at(write.offset, &write.buffer)
            } else {
                file.write_at(write.offset, &write.buffer)
            };
            let result = result.map(|()| write.buffer.len());
            self.log.written(write.token, result, write.buffer)?;
        }
    }

    fn perform(&mut self, work: &Work) -> Done {
        let done = perform(&*self.disk, &self.dir, work);
        match (work, &done) {
            (Work::Prepare { segment, name, .. }, Done::Prepared { .. }) => {
                match self.disk.open(&self.dir.join(name), Mode::Direct) {
                    Ok(file) => {
                        self.files.insert(*segment, file);
                    }
                    Err(error) => return Done::PrepareFailed { segment: *segment, error },
                }
            }
            (Work::Retire { segment, .. }, _) => {
                self.files.remove(segment);
            }
            _ => {}
        }
        done
    }
}
