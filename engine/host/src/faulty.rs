//! A disk that fails when told to: each call is shown to a plan first, which lets it pass, makes it fail, or cuts it short.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::disk::{Disk, FileBytes, FileStat, Mode, WriteFile};

/// What the plan is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// The name of the method: `list`, `read`, `create`, `write`, `sync`, `fill_zeros`, `rename`, ….
    /// The three ways of writing are all called `write`.
    pub what: &'static str,
    /// The file, or the target of a rename.
    pub path: PathBuf,
    /// Calls before this one, of every kind.
    pub index: u64,
}

/// What happens instead of the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails with this error and does nothing.
    Error(io::ErrorKind),
    /// A write, which stores so many bytes (of a direct write: the whole blocks in them) and then fails with this error; any other call just fails.
    Short(usize, io::ErrorKind),
}

type Plan = Arc<Mutex<dyn FnMut(&Call) -> Option<Fault> + Send>>;

/// A disk behind a plan of faults.
pub struct FaultyDisk<D> {
    disk: D,
    gate: Gate,
}

#[derive(Clone)]
struct Gate {
    plan: Plan,
    calls: Arc<Mutex<u64>>,
}

impl Gate {
    fn ask(&self, what: &'static str, path: &Path) -> Option<Fault> {
        let index = {
            let mut calls = self.calls.lock().expect("no panic under this lock");
            *calls += 1;
            *calls - 1
        };
        let call = Call { what, path: path.to_path_buf(), index };
        (self.plan.lock().expect("a plan does not panic"))(&call)
    }

    fn pass(&self, what: &'static str, path: &Path) -> io::Result<()> {
        match self.ask(what, path) {
            None => Ok(()),
            Some(Fault::Error(kind) | Fault::Short(_, kind)) => Err(injected(kind)),
        }
    }
}

fn injected(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "an injected fault")
}

impl<D: Disk> FaultyDisk<D> {
    /// Asks `plan` before each call to `disk`.
    pub fn new(disk: D, plan: impl FnMut(&Call) -> Option<Fault> + Send + 'static) -> FaultyDisk<D> {
        FaultyDisk { disk, gate: Gate { plan: Arc::new(Mutex::new(plan)), calls: Arc::new(Mutex::new(0)) } }
    }

    /// Fails the call with this index, lets all others pass.
    pub fn failing_at(disk: D, index: u64, fault: Fault) -> FaultyDisk<D> {
        FaultyDisk::new(disk, move |call| (call.index == index).then_some(fault))
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        *self.gate.calls.lock().expect("no panic under this lock")
    }

    /// The disk behind the plan.
    pub fn inner(&self) -> &D {
        &self.disk
    }
}

impl<D: Disk> Disk for FaultyDisk<D> {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.gate.pass("list", dir)?;
        self.disk.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.gate.pass("create_dir_all", dir)?;
        self.disk.create_dir_all(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.gate.pass("stat", path)?;
        self.disk.stat(path)
    }

    fn read(&self, path: &Path) -> io::Result<FileBytes> {
        self.gate.pass("read", path)?;
        self.disk.read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.gate.pass("create", path)?;
        let file = self.disk.create(path)?;
        Ok(Box::new(FaultyFile { file, path: path.to_path_buf(), gate: self.gate.clone() }))
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn WriteFile>> {
        self.gate.pass("open", path)?;
        let file = self.disk.open(path, mode)?;
        Ok(Box::new(FaultyFile { file, path: path.to_path_buf(), gate: self.gate.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.gate.pass("rename", to)?;
        self.disk.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.gate.pass("rename_new", to)?;
        self.disk.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.gate.pass("remove", path)?;
        self.disk.remove(path)
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.gate.pass("truncate", path)?;
        self.disk.truncate(path, bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.gate.pass("sync_file", path)?;
        self.disk.sync_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.gate.pass("sync_dir", dir)?;
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.gate.pass("free_bytes", dir)?;
        self.disk.free_bytes(dir)
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.gate.pass("lock", dir)?;
        self.disk.lock(dir)
    }
}

struct FaultyFile {
    file: Box<dyn WriteFile>,
    path: PathBuf,
    gate: Gate,
}

impl FaultyFile {
    fn write_with(
        &mut self,
        bytes: &[u8],
        write: impl Fn(&mut dyn WriteFile, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.gate.ask("write", &self.path) {
            None => write(&mut *self.file, bytes),
            Some(Fault::Error(kind)) => Err(injected(kind)),
            Some(Fault::Short(stored, kind)) => {
                let stored = stored.min(bytes.len());
                // Past the page cache only whole blocks can be stored.
                let stored = if self.file.is_direct() { stored - stored % 4096 } else { stored };
                write(&mut *self.file, &bytes[..stored])?;
                Err(injected(kind))
            }
        }
    }
}

impl io::Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_with(bytes, |file, bytes| file.write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gate.pass("flush", &self.path)?;
        self.file.flush()
    }
}

impl WriteFile for FaultyFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_with(bytes, |file, bytes| file.write_at(offset, bytes))
    }

    fn write_durable_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_with(bytes, |file, bytes| file.write_durable_at(offset, bytes))
    }

    fn fill_zeros(&mut self, bytes: u64) -> io::Result<()> {
        self.gate.pass("fill_zeros", &self.path)?;
        self.file.fill_zeros(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.gate.pass("sync", &self.path)?;
        self.file.sync()
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    #[test]
    fn a_short_write_stores_what_it_says_and_fails() {
        let dir = Path::new("/d");
        let disk = MemoryDisk::new();
        disk.create_dir_all(dir).unwrap();
        let disk =
            FaultyDisk::new(disk, |call| (call.what == "write").then_some(Fault::Short(2, io::ErrorKind::StorageFull)));
        let mut file = disk.create(&dir.join("f")).unwrap();
        assert_eq!(file.write_at(0, b"abcd").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(&*disk.read(&dir.join("f")).unwrap(), b"ab");
    }

    #[test]
    fn only_the_planned_call_fails() {
        let dir = Path::new("/d");
        let disk = FaultyDisk::failing_at(MemoryDisk::new(), 1, Fault::Error(io::ErrorKind::Other));
        disk.create_dir_all(dir).unwrap();
        assert!(disk.list(dir).is_err());
        assert!(disk.list(dir).is_ok());
        assert_eq!(disk.calls(), 3);
    }
}
