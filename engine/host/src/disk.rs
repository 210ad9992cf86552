//! Files and directories, as blocking calls: for recovery, snapshots, purging, and preparing log segments.
//!
//! The hot path of the log does not go through here when a ring is at hand; it opens the prepared segments by their path
//! and writes them itself. What always holds: nothing counts as durable before the `sync` (of a file) or `sync_dir` (of
//! names) that says so has returned; an error after which that is in doubt is an error of the call.

use std::{
    fmt, io,
    ops::Deref,
    path::{Path, PathBuf},
};

use proto::Millis;

/// The file whose lock says that a process uses a directory. ZooKeeper ignores it: it is neither `log.*` nor `snapshot.*`.
pub const LOCK_FILE: &str = "ringkeeper.lock";

/// Blocking file operations. Paths are absolute or relative as the implementation likes, but always spelt the same way.
pub trait Disk: Send + Sync {
    /// Names in `dir`, sorted, whatever they stand for: what is no file says so when it is read. `NotFound` if there is no such
    /// directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes `dir` and the directories above it, and makes their names durable.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Size and age of a file; `NotFound` if there is none.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;
    /// The whole file, mapped or copied.
    fn read(&self, path: &Path) -> io::Result<FileBytes>;
    /// A new file, or an existing one emptied, for buffered writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// An existing file for writing; the position for appending is its start.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn WriteFile>>;
    /// Renames, replacing what is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames, or fails with `AlreadyExists` if `to` exists.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Sets the length of a file and makes length and content durable. New bytes are zeros.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Makes the content of a file durable, whoever wrote it.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that an ordinary process may still allocate on the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Locks `dir` against another process until the guard is dropped; `WouldBlock` if it is locked already.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. As an [`io::Write`] it appends, buffered at most until [`io::Write::flush`].
pub trait WriteFile: io::Write + Send {
    /// Writes all of `bytes` at `offset`. For [`Mode::Direct`] both are multiples of 4 KiB and the memory is aligned.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// As [`WriteFile::write_at`]; when it returns, these bytes are durable (others need not be).
    fn write_durable_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file exactly `bytes` long, every byte zero and its space on the disk allocated and written, so that
    /// later overwriting changes no metadata. Not durable before [`WriteFile::sync`].
    fn fill_zeros(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Do writes bypass the page cache?
    fn is_direct(&self) -> bool;
}

/// How writes reach the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Through the page cache.
    Buffered,
    /// Past the page cache where the file system allows it, else buffered; [`WriteFile::is_direct`] tells.
    Direct,
}

/// Size and age of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileStat {
    /// Length.
    pub bytes: u64,
    /// Last modification, wall clock.
    pub modified: Millis,
}

/// The bytes of a file, however they are held.
pub struct FileBytes(Box<dyn AsRef<[u8]> + Send + Sync>);

impl FileBytes {
    /// Wraps a mapping or a vector.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> FileBytes {
        FileBytes(Box::new(bytes))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileBytes({})", self.len())
    }
}

/// What an operator can do about an error with a file, as the end of a sentence; empty where the error says enough.
pub fn advice(error: &io::Error) -> &'static str {
    let number = error.raw_os_error();
    match error.kind() {
        io::ErrorKind::PermissionDenied => ". The user that the server runs as must be able to read and write it",
        _ if error.kind() == io::ErrorKind::IsADirectory || number == Some(ELOOP) => {
            ". A file is expected here: move away what stands in its place, and restore the file"
        }
        _ if number == Some(EIO) => ". The disk cannot read it: restore it from a backup",
        _ => "",
    }
}

// Numbers of Linux for what has no kind of its own.
const EIO: i32 = 5;
const ELOOP: i32 = 40;

/// The directory that holds `path`.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
