//! A snapshot becoming a file: written under a temporary name, made durable, and only then given its name.

use std::{
    io,
    path::{Path, PathBuf},
};

use host::{Disk, WriteFile};
use proto::Zxid;
use tree::Reader;

use crate::{
    compression::{Compression, Encoder},
    format,
    writer::{SnapshotWriter, Source},
};

/// A snapshot being written, a slice at a time. An error ends it; call [`SnapshotJob::abandon`] then.
pub struct SnapshotJob {
    writer: SnapshotWriter<Encoder<Box<dyn WriteFile>>>,
    dir: PathBuf,
    compression: Compression,
}

/// Gives the temporary file in `dir`, which must be whole and durable, its name, durably.
pub fn give_name(disk: &dyn Disk, dir: &Path, zxid: Zxid, compression: Compression) -> io::Result<PathBuf> {
    let path = dir.join(format::name(zxid, compression));
    disk.rename(&dir.join(format::TEMPORARY), &path)?;
    disk.sync_dir(dir)?;
    Ok(path)
}

/// A finished snapshot.
#[derive(Debug)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// What it shows.
    pub zxid: Zxid,
    /// Znodes in it.
    pub nodes: u64,
    /// Uncompressed length.
    pub bytes: u64,
    /// The reader, free again.
    pub reader: Reader,
}

impl SnapshotJob {
    /// Opens the temporary file in `dir`. One job at a time per directory.
    pub fn start(disk: &dyn Disk, dir: &Path, compression: Compression, source: Source) -> io::Result<SnapshotJob> {
        let file = disk.create(&dir.join(format::TEMPORARY))?;
        let writer = SnapshotWriter::new(Encoder::new(file, compression), source);
        Ok(SnapshotJob { writer, dir: dir.to_path_buf(), compression })
    }

    /// Writes about `budget` bytes (before compression); true when [`SnapshotJob::finish`] may be called.
    pub fn step(&mut self, budget: usize) -> io::Result<bool> {
        self.writer.step(budget)
    }

    /// Makes the file durable and gives it its name; a snapshot of the same name is replaced, which shows the same.
    pub fn finish(self, disk: &dyn Disk) -> io::Result<Written> {
        let (zxid, nodes, bytes) = (self.writer.zxid(), self.writer.nodes(), self.writer.bytes());
        let (encoder, reader) = self.writer.finish();
        let mut file = encoder.finish()?;
        file.sync()?;
        drop(file);
        let path = give_name(disk, &self.dir, zxid, self.compression)?;
        Ok(Written { path, zxid, nodes, bytes, reader })
    }

    /// Removes the temporary file after an error, so that a full disk gets its room back.
    pub fn abandon(self, disk: &dyn Disk) {
        drop(self.writer);
        // It is overwritten by the next snapshot anyway.
        let _ = disk.remove(&self.dir.join(format::TEMPORARY));
    }

    /// All of it at once.
    pub fn write(disk: &dyn Disk, dir: &Path, compression: Compression, source: Source) -> io::Result<Written> {
        let mut job = SnapshotJob::start(disk, dir, compression, source)?;
        match job.step(usize::MAX) {
            Ok(_) => job.finish(disk),
            Err(error) => {
                job.abandon(disk);
                Err(error)
            }
        }
    }
}
