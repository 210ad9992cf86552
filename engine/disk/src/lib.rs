//! The machine's disk, clock and entropy behind the traits of `host`. This crate acts; nothing that decides depends on it.
//!
//! What always holds: an operation that promises durability has issued the system call for it and checked its answer.
//! Reading maps files; a mapped file is never truncated by us while a mapping lives (recovery drops its mappings before it
//! cuts). Unsafe code is the call that maps, nothing else.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use aligned::AlignedBuf;
use host::{Clock, Disk, Entropy, FileBytes, FileStat, LOCK_FILE, Mode, WriteFile};
use proto::Millis;
use rustix::{
    fs::{CWD, FallocateFlags, OFlags, RenameFlags},
    io::{ReadWriteFlags, retry_on_intr},
};

/// Bytes written at once when zeros have to be written by hand.
const ZERO_CHUNK_BYTES: usize = 1 << 20;
/// `FALLOC_FL_WRITE_ZEROES` (Linux 6.17): allocated, written, zero, without sending the zeros where the device can.
const FALLOC_WRITE_ZEROES: u32 = 0x80;

/// `EFAULT`
const EFAULT: i32 = 14;

/// The file systems of this machine.
#[derive(Clone, Copy, Default, Debug)]
pub struct RealDisk;

/// Opens an existing file for writing past the page cache where the file system allows it. The boolean says whether it
/// does; if not, the file is open for buffered writing.
pub fn open_direct(path: &Path) -> io::Result<(File, bool)> {
    let direct = OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path);
    match direct {
        Ok(file) => Ok((file, true)),
        // tmpfs and some overlays answer EINVAL.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Ok((OpenOptions::new().write(true).open(path)?, false))
        }
        Err(error) => Err(error),
    }
}

impl Disk for RealDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in dir.read_dir()? {
            // A name that is no Unicode is never one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|dir| *dir != Path::new("") && !dir.exists()).collect();
        std::fs::create_dir_all(dir)?;
        for made in missing {
            self.sync_dir(&host::disk::parent(made))?;
        }
        Ok(())
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let metadata = path.metadata()?;
        let modified = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(FileStat { bytes: metadata.len(), modified: Millis(modified.as_millis() as i64) })
    }

    fn read(&self, path: &Path) -> io::Result<FileBytes> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(rustix::io::Errno::ISDIR.into());
        }
        if metadata.len() == 0 {
            return Ok(FileBytes::new(Vec::new()));
        }
        // SAFETY: the file belongs to the directory that this process has locked (`Disk::lock`), and our own code cuts a
        // file only after its mappings are dropped, so the mapped bytes do not change while they are borrowed.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        // Read once, from front to back; failing to say so costs only speed.
        let _ = map.advise(memmap2::Advice::Sequential);
        // A sector that cannot be read would end the process by a signal when it is looked at; here it is an error (since
        // Linux 5.14), and reading says which.
        if map.advise(memmap2::Advice::PopulateRead).is_err_and(|error| error.raw_os_error() == Some(EFAULT)) {
            return Ok(FileBytes::new(std::fs::read(path)?));
        }
        Ok(FileBytes::new(map))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(RealFile { file, direct: false }))
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn WriteFile>> {
        let (file, direct) = match mode {
            Mode::Buffered => (OpenOptions::new().write(true).open(path)?, false),
            Mode::Direct => open_direct(path)?,
        };
        Ok(Box::new(RealFile { file, direct }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system cannot do both at once. The directory is locked, so nobody creates `to` in between.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.try_exists()? => std::fs::rename(from, to),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
            answer => Ok(answer?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        // What somebody else wrote may be synced by whoever can read it.
        File::open(path)?.sync_all()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let path: PathBuf = dir.join(LOCK_FILE);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        let taken = |what: &Path| {
            io::Error::new(io::ErrorKind::WouldBlock, format!("{} is locked by another process", what.display()))
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(&path)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The directory itself too, where the file system can: the file may be deleted by somebody who takes it for a left-over.
        let itself = File::open(dir)?;
        match itself.try_lock() {
            Err(TryLockError::WouldBlock) => Err(taken(dir)),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Box::new((file, itself))),
        }
    }
}

struct RealFile {
    file: File,
    direct: bool,
}

impl Write for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl WriteFile for RealFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_durable_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let slices = [io::IoSlice::new(&bytes[done..])];
            match rustix::io::pwritev2(&self.file, &slices, offset + done as u64, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                // Older file systems know no flags here.
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    self.file.write_all_at(&bytes[done..], offset + done as u64)?;
                    return self.file.sync_data();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn fill_zeros(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(0)?;
        let flags = FallocateFlags::from_bits_retain(FALLOC_WRITE_ZEROES);
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, flags, 0, bytes)) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        // Reserving first makes a lack of space show before the first zero is written, and keeps the extents together.
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes)) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        let zeros = AlignedBuf::zeroed(ZERO_CHUNK_BYTES);
        let mut at = 0;
        while at < bytes {
            let chunk = (bytes - at).min(zeros.len() as u64) as usize;
            self.file.write_all_at(&zeros[..chunk], at)?;
            at += chunk as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn is_direct(&self) -> bool {
        self.direct
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The monotonic side starts at zero now.
    pub fn start() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Millis {
        Millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64)
    }

    fn monotonic(&self) -> Millis {
        Millis(self.start.elapsed().as_millis() as i64)
    }
}

/// The kernel's generator.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("Linux has getrandom since 3.17, and it does not fail once the pool is ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_filled_files_take_durable_writes_at_an_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        drop(RealDisk.create(&path).unwrap());
        let mut file = RealDisk.open(&path, Mode::Direct).unwrap();
        file.fill_zeros(3 << 20).unwrap();
        file.sync().unwrap();
        let mut page = AlignedBuf::zeroed(4096);
        page[0] = 7;
        file.write_durable_at(4096, &page).unwrap();
        let bytes = RealDisk.read(&path).unwrap();
        assert_eq!((bytes.len(), bytes[4095], bytes[4096], bytes[4097]), (3 << 20, 0, 7, 0));
    }

    #[test]
    fn a_second_lock_of_a_directory_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = RealDisk.lock(dir.path()).unwrap();
        let error = RealDisk.lock(dir.path()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        RealDisk.lock(dir.path()).unwrap();
    }

    /// "It said that the directory is in use, so I removed the lock file."
    #[test]
    fn a_lock_holds_although_its_file_was_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let first = RealDisk.lock(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
        let error = RealDisk.lock(dir.path()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        RealDisk.lock(dir.path()).unwrap();
    }

    #[test]
    fn what_is_no_file_is_listed_and_says_so_when_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log.1")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("log.2"), dir.path().join("log.2")).unwrap();
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["log.1", "log.2"]);
        assert_eq!(RealDisk.read(&dir.path().join("log.1")).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(RealDisk.read(&dir.path().join("log.2")).unwrap_err().raw_os_error(), Some(40));
    }

    #[test]
    fn renaming_to_a_taken_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "a").unwrap();
        std::fs::write(&b, "b").unwrap();
        assert_eq!(RealDisk.rename_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&b).unwrap(), b"b");
        RealDisk.rename(&a, &b).unwrap();
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["b"]);
    }

    #[test]
    fn directories_are_made_with_their_parents() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        RealDisk.create_dir_all(&deep).unwrap();
        RealDisk.create_dir_all(&deep).unwrap();
        assert!(RealDisk.list(&deep).unwrap().is_empty());
        assert_eq!(RealDisk.list(&dir.path().join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(RealDisk.free_bytes(&deep).unwrap() > 0);
        assert_eq!(RealDisk.read(&dir.path().join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
