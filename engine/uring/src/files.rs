//! Whole files, written from front to back while their content is still being computed: snapshots.
//!
//! The caller computes on its own thread; a companion thread writes. A few chunks of 256 KiB go round between them, so that writing
//! overlaps with computing and neither gets far ahead. The companion uses tokio-uring, or plain calls when io_uring is refused.
//!
//! The log's writes wait for nobody: each chunk is brought to the disk before the next is written, so that no mountain of dirty
//! pages is flushed at once, and then the companion rests for as long as that took. What was written leaves the page cache.
//! Kept out: names, renaming into place, and syncing directories, which are the owner's protocol.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::AsRawFd,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// Bytes per write: what a write of the log may have to wait for.
const CHUNK: usize = 256 << 10;

/// Chunks between producer and companion: one being filled, one being written, the others between.
const CHUNKS: usize = 4;

/// The companion rests no longer than this after a chunk, however slow the disk is.
const REST_MAX: Duration = Duration::from_millis(50);

/// Creates (or empties) the file at `path` and lets `produce` write its content, in pieces of any size.
///
/// When it returns without an error, everything is written, and if `sync` also on disk (content and length; not the directory entry).
///
/// # Errors
/// What opening, writing or syncing the file failed with, or else what `produce` returned. The file is left as it is then.
pub fn with_file_writer<R>(
    path: &Path,
    sync: bool,
    produce: impl FnOnce(&mut dyn Write) -> io::Result<R>,
) -> io::Result<R> {
    run(path, sync, produce, write_by_ring)
}

/// Writes what comes out of the channel, until it closes; returns the file and its length.
type Companion = fn(File, Receiver<Vec<u8>>, SyncSender<Vec<u8>>) -> io::Result<File>;

fn run<R>(
    path: &Path,
    sync: bool,
    produce: impl FnOnce(&mut dyn Write) -> io::Result<R>,
    companion: Companion,
) -> io::Result<R> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    thread::scope(|scope| {
        let (full, to_write) = sync_channel(CHUNKS);
        let (give_back, empty) = sync_channel(CHUNKS);
        for _ in 0..CHUNKS - 1 {
            // The channel has room for all chunks, so this does not wait.
            give_back.send(Vec::new()).ok();
        }
        let companion = thread::Builder::new()
            .name("file-writes".into())
            .spawn_scoped(scope, move || companion(file, to_write, give_back))?;
        let mut writer = Chunks { chunk: Vec::new(), full, empty };
        let produced = produce(&mut writer).and_then(|result| {
            writer.pass_on()?;
            Ok(result)
        });
        drop(writer);
        // An error of the companion is the cause of what the producer saw of it.
        let file = companion.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let result = produced?;
        if sync {
            file.sync_all()?;
        }
        Ok(result)
    })
}

/// The producer's end.
struct Chunks {
    chunk: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

impl Chunks {
    fn pass_on(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the file could not be written further");
            self.full.send(std::mem::take(&mut self.chunk)).map_err(|_| gone())?;
            self.chunk = self.empty.recv().map_err(|_| gone())?;
        }
        Ok(())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.capacity() == 0 {
            self.chunk.reserve_exact(CHUNK);
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK {
            self.pass_on()?;
        }
        Ok(taken)
    }

    /// Chunks are passed on when they are full, and at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Brings a chunk to the disk, lets the page cache forget it, and rests as long as the chunk took.
///
/// Best effort: whether the file is on disk is decided by the sync at its end.
fn settle(file: &File, offset: u64, len: u64, since: Instant) {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: both calls take a descriptor, which is open, and numbers.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, flags);
        libc::posix_fadvise(file.as_raw_fd(), offset, len, libc::POSIX_FADV_DONTNEED);
    }
    thread::sleep(since.elapsed().min(REST_MAX));
}

fn write_by_ring(file: File, to_write: Receiver<Vec<u8>>, give_back: SyncSender<Vec<u8>>) -> io::Result<File> {
    let runtime = match tokio_uring::Runtime::new(tokio_uring::builder().entries(8)) {
        Ok(runtime) => runtime,
        Err(_refused) => return write_by_calls(file, to_write, give_back),
    };
    let written = file.try_clone()?;
    runtime.block_on(async {
        let file = tokio_uring::fs::File::from_std(file);
        let mut offset = 0;
        // Blocking and resting is right here: the runtime has nothing else to do, and no write is under way while it waits for a chunk.
        for chunk in to_write {
            let (len, since) = (chunk.len() as u64, Instant::now());
            let (result, mut chunk) = file.write_all_at(chunk, offset).await;
            result?;
            settle(&written, offset, len, since);
            offset += len;
            chunk.clear();
            give_back.send(chunk).ok();
        }
        file.close().await
    })?;
    Ok(written)
}

fn write_by_calls(mut file: File, to_write: Receiver<Vec<u8>>, give_back: SyncSender<Vec<u8>>) -> io::Result<File> {
    let mut offset = 0;
    for mut chunk in to_write {
        let (len, since) = (chunk.len() as u64, Instant::now());
        file.write_all(&chunk)?;
        settle(&file, offset, len, since);
        offset += len;
        chunk.clear();
        give_back.send(chunk).ok();
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_both(story: impl Fn(Companion)) {
        story(write_by_ring);
        story(write_by_calls);
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
    }

    #[test]
    fn the_file_holds_what_was_produced_whatever_the_size() {
        check_both(|companion| {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("file");
            for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 12345] {
                let content = pattern(len);
                let returned = run(
                    &path,
                    true,
                    |writer| {
                        content.chunks(70_001).try_for_each(|piece| writer.write_all(piece))?;
                        writer.flush()?;
                        Ok(len)
                    },
                    companion,
                );
                assert_eq!(returned.expect("written"), len);
                assert!(std::fs::read(&path).expect("readable") == content, "{len} bytes");
            }
        });
    }

    #[test]
    fn an_error_of_the_producer_comes_back_as_it_is() {
        check_both(|companion| {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("file");
            let result: io::Result<()> = run(
                &path,
                true,
                |writer| {
                    writer.write_all(&pattern(2 * CHUNK))?;
                    Err(io::Error::other("the tree is gone"))
                },
                companion,
            );
            assert_eq!(result.expect_err("an error").to_string(), "the tree is gone");
        });
    }

    #[test]
    fn a_full_disk_is_the_error_and_ends_the_producer() {
        check_both(|companion| {
            let result: io::Result<()> = run(
                Path::new("/dev/full"),
                false,
                |writer| {
                    loop {
                        writer.write_all(&pattern(CHUNK))?;
                    }
                },
                companion,
            );
            assert_eq!(result.expect_err("an error").raw_os_error(), Some(libc::ENOSPC));
        });
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_an_error_before_anything_is_produced() {
        let result: io::Result<()> =
            with_file_writer(Path::new("/nonexistent/file"), true, |_| unreachable!("nothing to write to"));
        assert_eq!(result.expect_err("an error").kind(), io::ErrorKind::NotFound);
    }
}
