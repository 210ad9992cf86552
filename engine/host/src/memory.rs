//! A disk in memory that keeps a journal of every change, and can show what a power cut at any moment may leave behind.
//!
//! The rules of the cut, chosen harsher than any file system is: a write that was not made durable may be kept or lost
//! for each sector of 512 bytes on its own; a write in flight at the cut likewise; names (creations, renames, removals)
//! since the last `sync_dir` of their directory are kept up to some moment and lost after it, or each kept or lost on its own
//! ([`Names`]); syncing a file does not make its name durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use proto::Millis;

use crate::disk::{Disk, FileBytes, FileStat, Mode, WriteFile, parent};

/// What is written or lost as one piece.
pub const SECTOR: usize = 512;

/// What a power cut does to names that were changed since the last `sync_dir` of their directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    /// They are kept up to some change and lost after it, as journalling file systems have it.
    InOrder,
    /// Each is kept or lost on its own. A rename whose target is kept has left its old name.
    Any,
}

type FileId = usize;

#[derive(Clone)]
enum Event {
    Dir { path: PathBuf },
    Link { path: PathBuf, file: FileId },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    SyncDir { dir: PathBuf },
    Write { file: FileId, offset: usize, bytes: Written, durable: bool },
    Zeros { file: FileId, bytes: usize },
    Length { file: FileId, bytes: usize },
    Sync { file: FileId },
}

/// What was written: blocks of a log are mostly zeros at the end, which are only counted.
#[derive(Clone)]
struct Written {
    bytes: Arc<[u8]>,
    zeros: usize,
}

impl Written {
    fn new(bytes: &[u8]) -> Written {
        let is_empty = |sector: &[u8]| sector == &[0; SECTOR][..sector.len()];
        let end = bytes.chunks(SECTOR).rposition(|sector| !is_empty(sector)).map_or(0, |last| (last + 1) * SECTOR);
        let end = end.min(bytes.len());
        Written { bytes: bytes[..end].into(), zeros: bytes.len() - end }
    }

    fn len(&self) -> usize {
        self.bytes.len() + self.zeros
    }
}

#[derive(Clone, Default)]
struct Content {
    /// Shared with the images that are cut from a disk, until one of them changes.
    bytes: Arc<Vec<u8>>,
    modified: i64,
}

impl Content {
    fn bytes(&mut self) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.bytes)
    }

    fn zeros(&mut self, bytes: usize) {
        self.bytes = Arc::new(vec![0; bytes]);
    }

    fn write(&mut self, offset: usize, written: &Written) {
        self.write_part(offset, written, 0..written.len());
    }

    /// Writes this part of what was to be written at `offset`.
    fn write_part(&mut self, offset: usize, written: &Written, part: Range<usize>) {
        let content = self.bytes();
        if content.len() < offset + part.end {
            content.resize(offset + part.end, 0);
        }
        let given = &written.bytes[part.start.min(written.bytes.len())..part.end.min(written.bytes.len())];
        let (bytes, zeros) = content[offset + part.start..offset + part.end].split_at_mut(given.len());
        bytes.copy_from_slice(given);
        zeros.fill(0);
    }
}

#[derive(Default)]
struct State {
    /// What was there before the journal begins: names, directories, files.
    base: (BTreeMap<PathBuf, FileId>, BTreeSet<PathBuf>, Vec<Content>),
    journal: Vec<Event>,
    names: BTreeMap<PathBuf, FileId>,
    dirs: BTreeSet<PathBuf>,
    files: Vec<Content>,
    locked: BTreeSet<PathBuf>,
    capacity: Option<u64>,
    /// Changes that are part of the base by now.
    forgotten: usize,
    /// At how many changes in the journal it is looked at next.
    forget_at: usize,
}

/// Where in a journal each file and each directory was synced last.
struct Syncs<'a> {
    files: BTreeMap<FileId, usize>,
    dirs: BTreeMap<&'a Path, usize>,
}

impl<'a> Syncs<'a> {
    fn of(journal: &'a [Event]) -> Syncs<'a> {
        let mut syncs = Syncs { files: BTreeMap::new(), dirs: BTreeMap::new() };
        for (at, event) in journal.iter().enumerate() {
            match event {
                Event::Sync { file } => _ = syncs.files.insert(*file, at),
                Event::SyncDir { dir } => _ = syncs.dirs.insert(dir, at),
                _ => {}
            }
        }
        syncs
    }

    /// Is change number `at` of the journal there after a power cut at the end of it, whatever else is?
    fn settled(&self, at: usize, event: &Event) -> bool {
        let file = |file| self.files.get(file).is_some_and(|sync| at < *sync);
        let name = |path: &Path| self.dirs.get(&*parent(path)).is_some_and(|sync| at < *sync);
        match event {
            Event::Link { path, .. } | Event::Unlink { path } => name(path),
            Event::Rename { to, .. } => name(to),
            Event::Write { durable: true, .. } => true,
            Event::Write { file: of, .. } | Event::Zeros { file: of, .. } | Event::Length { file: of, .. } => file(of),
            Event::Dir { .. } | Event::SyncDir { .. } | Event::Sync { .. } => true,
        }
    }
}

/// The disk. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    /// An empty disk of unlimited size.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Limits the bytes that all files together may have; what goes beyond fails with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Changes so far: the moments at which [`MemoryDisk::crash`] can cut.
    pub fn moments(&self) -> usize {
        self.state().moments()
    }

    /// No cut at a moment before this one will be asked for: now and then, what no cut can undo any more is taken out of the journal.
    pub fn forget(&self) {
        let mut state = self.state();
        if state.journal.len() >= state.forget_at {
            state.forget();
            state.forget_at = state.journal.len() + 512;
        }
    }

    /// What a power cut leaves behind if it strikes while change number `moment` is under way: all before it have
    /// returned. `kept` is asked about each thing in doubt.
    pub fn crash(&self, moment: usize, kept: &mut dyn FnMut() -> bool) -> MemoryDisk {
        self.cut(moment, Names::InOrder, kept)
    }

    /// [`MemoryDisk::crash`], with a choice of what happens to names.
    pub fn cut(&self, moment: usize, rule: Names, kept: &mut dyn FnMut() -> bool) -> MemoryDisk {
        MemoryDisk(Arc::new(Mutex::new(self.image(moment, rule, kept))))
    }

    /// What is left of a file if the power is cut now and everything in doubt is lost. Looks at no other file.
    pub fn certain(&self, path: &Path) -> io::Result<FileBytes> {
        let state = self.state();
        let file = state.certain_file(path, state.journal.len()).ok_or_else(|| not_found(path))?;
        let is_sync = |event: &Event| matches!(event, Event::Sync { file: synced } if *synced == file);
        let sync = state.journal.iter().rposition(is_sync).unwrap_or(0);
        let mut after = state.base.2.get(file).cloned().unwrap_or_default();
        for (at, event) in state.journal.iter().enumerate() {
            match event {
                Event::Write { file: to, offset, bytes, durable } if *to == file && (*durable || at < sync) => {
                    after.write(*offset, bytes);
                }
                Event::Zeros { file: of, bytes } if *of == file && at < sync => after.zeros(*bytes),
                Event::Zeros { file: of, bytes } if *of == file => after.bytes().resize(*bytes / 2, 0),
                Event::Length { file: of, bytes } if *of == file && at < sync => after.bytes().resize(*bytes, 0),
                _ => {}
            }
        }
        Ok(FileBytes::new(after.bytes.to_vec()))
    }

    /// See [`MemoryDisk::cut`].
    fn image(&self, moment: usize, rule: Names, kept: &mut dyn FnMut() -> bool) -> State {
        let state = self.state();
        let end = state.index(moment);
        let (done, in_flight) = (&state.journal[..end], state.journal.get(end));
        let (names, dirs, files) = state.base.clone();
        let mut after = State { capacity: state.capacity, names, dirs, files, ..State::default() };
        after.files.resize_with(state.files.len(), Content::default);

        // Names: for each directory, everything up to its last sync, then a prefix of the rest.
        let dir_of = |event: &Event| match event {
            Event::Link { path, .. } | Event::Unlink { path } => Some(parent(path)),
            Event::Rename { to, .. } => Some(parent(to)),
            _ => None,
        };
        let mut synced: BTreeMap<&Path, usize> = BTreeMap::new();
        for (at, event) in done.iter().enumerate() {
            if let Event::SyncDir { dir } = event {
                synced.insert(dir, at);
            }
        }
        let mut cut: BTreeSet<PathBuf> = BTreeSet::new();
        for (at, event) in done.iter().chain(in_flight).enumerate() {
            if let Event::Dir { path } = event {
                after.dirs.insert(path.clone());
            }
            let Some(dir) = dir_of(event) else { continue };
            let certain = synced.get(&*dir).is_some_and(|&sync| at < sync);
            if !certain && (cut.contains(&dir) || !kept()) {
                if rule == Names::InOrder {
                    cut.insert(dir);
                }
                continue;
            }
            after.apply_name(event);
        }

        // Content: everything up to the file's last sync, then what is kept of the rest, sector by sector.
        let mut synced: BTreeMap<FileId, usize> = BTreeMap::new();
        for (at, event) in done.iter().enumerate() {
            if let Event::Sync { file } = event {
                synced.insert(*file, at);
            }
        }
        for (at, event) in done.iter().chain(in_flight).enumerate() {
            let certain = |file: &FileId| synced.get(file).is_some_and(|&sync| at < sync);
            match event {
                Event::Write { file, offset, bytes, durable } => {
                    if certain(file) || (*durable && at < end) {
                        after.files[*file].write(*offset, bytes);
                        continue;
                    }
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = bytes.len().min((*offset + from) / SECTOR * SECTOR + SECTOR - *offset);
                        if kept() {
                            after.files[*file].write_part(*offset, bytes, from..to);
                        }
                        from = to;
                    }
                }
                Event::Zeros { file, bytes } => {
                    if certain(file) || kept() {
                        after.files[*file].zeros(*bytes);
                    } else {
                        after.files[*file].bytes().resize(*bytes / 2, 0);
                    }
                }
                Event::Length { file, bytes } if certain(file) || kept() => {
                    after.files[*file].bytes().resize(*bytes, 0);
                }
                _ => {}
            }
        }
        after.base = (after.names.clone(), after.dirs.clone(), after.files.clone());
        after
    }

    /// [`MemoryDisk::crash`] after the last change, with everything in doubt kept: a process killed, not a power cut.
    pub fn killed(&self) -> MemoryDisk {
        self.crash(self.moments(), &mut || true)
    }

    /// What the next process finds if this one was killed, and not the machine, before change number `moment`: all that was done
    /// until then, none of it more durable than it was.
    pub fn killed_at(&self, moment: usize) -> MemoryDisk {
        let state = self.state();
        let (names, dirs, files) = state.base.clone();
        let mut after = State { capacity: state.capacity, names, dirs, files, ..State::default() };
        after.forgotten = state.forgotten;
        after.base = (after.names.clone(), after.dirs.clone(), after.files.clone());
        after.files.resize_with(state.files.len(), Content::default);
        after.journal = state.journal[..state.index(moment)].to_vec();
        for event in &state.journal[..after.journal.len()] {
            after.apply_name(event);
            match event {
                Event::Dir { path } => _ = after.dirs.insert(path.clone()),
                Event::Write { file, offset, bytes, .. } => after.files[*file].write(*offset, bytes),
                Event::Zeros { file, bytes } => after.files[*file].zeros(*bytes),
                Event::Length { file, bytes } => after.files[*file].bytes().resize(*bytes, 0),
                _ => {}
            }
        }
        MemoryDisk(Arc::new(Mutex::new(after)))
    }

    /// The bytes of a file, to be damaged by a test.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[path];
        change(state.files[file].bytes());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic under this lock")
    }
}

impl State {
    fn moments(&self) -> usize {
        self.forgotten + self.journal.len()
    }

    /// Where in the journal a moment is. It must not have been forgotten.
    fn index(&self, moment: usize) -> usize {
        moment.checked_sub(self.forgotten).expect("a moment that was not forgotten")
    }

    /// Takes the first changes, as far as no cut can undo them, out of the journal.
    fn forget(&mut self) {
        let syncs = Syncs::of(&self.journal);
        let in_doubt = self.journal.iter().enumerate().position(|(at, event)| !syncs.settled(at, event));
        let rest = self.journal.split_off(in_doubt.unwrap_or(self.journal.len()));
        let done = std::mem::replace(&mut self.journal, rest);
        self.forgotten += done.len();

        let (names, dirs, files) = std::mem::take(&mut self.base);
        let mut base = State { names, dirs, files, ..State::default() };
        base.files.resize_with(self.files.len(), Content::default);
        let (mut changing, mut linked) = (BTreeSet::new(), BTreeSet::new());
        for event in &self.journal {
            match event {
                Event::Write { file, .. } | Event::Zeros { file, .. } | Event::Length { file, .. } => {
                    changing.insert(*file);
                }
                Event::Link { file, .. } => _ = linked.insert(*file),
                _ => {}
            }
        }
        for event in &done {
            base.apply_name(event);
            match event {
                Event::Dir { path } => _ = base.dirs.insert(path.clone()),
                Event::Write { file, offset, bytes, .. } if changing.contains(file) => {
                    base.files[*file].write(*offset, bytes);
                }
                Event::Zeros { file, bytes } if changing.contains(file) => base.files[*file].zeros(*bytes),
                Event::Length { file, bytes } if changing.contains(file) => {
                    base.files[*file].bytes().resize(*bytes, 0);
                }
                _ => {}
            }
        }
        linked.extend(base.names.values().chain(self.names.values()));
        for (file, content) in base.files.iter_mut().enumerate() {
            if !linked.contains(&file) {
                // No cut brings its name back.
                (content.bytes, self.files[file].bytes) = (Arc::default(), Arc::default());
            } else if !changing.contains(&file) {
                content.bytes = Arc::clone(&self.files[file].bytes);
            }
        }
        self.base = (base.names, base.dirs, base.files);
    }

    fn find(&self, path: &Path) -> io::Result<FileId> {
        self.names.get(path).copied().ok_or_else(|| not_found(path))
    }

    /// Which file has this name, by the changes before `moment` whose directory was synced since.
    fn certain_file(&self, path: &Path, moment: usize) -> Option<FileId> {
        let is = |other: &Path| other.as_os_str() == path.as_os_str();
        let synced = |at: usize, to: &Path| {
            let dir = parent(to);
            self.journal[at..].iter().any(|event| matches!(event, Event::SyncDir { dir: synced } if *synced == dir))
        };
        for (at, event) in self.journal[..moment].iter().enumerate().rev() {
            match event {
                Event::Link { path, file } if is(path) && synced(at, path) => return Some(*file),
                Event::Unlink { path } if is(path) && synced(at, path) => return None,
                Event::Rename { from, to } if is(to) && synced(at, to) => {
                    if let Some(file) = self.certain_file(from, at) {
                        return Some(file);
                    }
                }
                Event::Rename { from, to } if is(from) && synced(at, to) => return None,
                _ => {}
            }
        }
        self.base.0.get(path).copied()
    }

    fn apply_name(&mut self, event: &Event) {
        match event {
            Event::Link { path, file } => {
                self.names.insert(path.clone(), *file);
            }
            Event::Unlink { path } => {
                self.names.remove(path);
            }
            Event::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, event: Event) {
        self.apply_name(&event);
        self.journal.push(event);
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&file| self.files[file].bytes.len() as u64).sum()
    }

    /// How much of a write to `offset..offset + len` there is room for.
    fn room(&self, file: FileId, offset: usize, len: usize) -> usize {
        let Some(capacity) = self.capacity else { return len };
        let free = capacity.saturating_sub(self.used()) as usize;
        (self.files[file].bytes.len() + free).saturating_sub(offset).min(len)
    }

    fn touch(&mut self, file: FileId) {
        self.files[file].modified = self.moments() as i64;
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the in-memory disk is full")
}

impl Disk for MemoryDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.dirs.contains(dir) {
            return Err(not_found(dir));
        }
        let in_dir = state.names.keys().filter(|path| parent(path) == dir);
        Ok(in_dir.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        for dir in dir.ancestors() {
            if state.dirs.insert(dir.to_path_buf()) {
                state.journal.push(Event::Dir { path: dir.to_path_buf() });
            }
        }
        Ok(())
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let state = self.state();
        let content = &state.files[state.find(path)?];
        Ok(FileStat { bytes: content.bytes.len() as u64, modified: Millis(content.modified) })
    }

    fn read(&self, path: &Path) -> io::Result<FileBytes> {
        let state = self.state();
        Ok(FileBytes::new(state.files[state.find(path)?].bytes.to_vec()))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut state = self.state();
        if !state.dirs.contains(&parent(path)) {
            return Err(not_found(&parent(path)));
        }
        let file = match state.names.get(path) {
            Some(&file) => {
                state.files[file].zeros(0);
                state.journal.push(Event::Length { file, bytes: 0 });
                file
            }
            None => {
                state.files.push(Content::default());
                let file = state.files.len() - 1;
                state.name(Event::Link { path: path.to_path_buf(), file });
                file
            }
        };
        state.touch(file);
        Ok(Box::new(MemoryFile { disk: self.clone(), file, position: 0, direct: false }))
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn WriteFile>> {
        let file = self.state().find(path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), file, position: 0, direct: mode == Mode::Direct }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(from)?;
        state.name(Event::Rename { from: from.to_path_buf(), to: to.to_path_buf() });
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.state().names.contains_key(to) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, to.display().to_string()));
        }
        self.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(path)?;
        state.name(Event::Unlink { path: path.to_path_buf() });
        Ok(())
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        let file = state.find(path)?;
        state.files[file].bytes().resize(bytes as usize, 0);
        state.journal.push(Event::Length { file, bytes: bytes as usize });
        state.journal.push(Event::Sync { file });
        state.touch(file);
        Ok(())
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.find(path)?;
        state.journal.push(Event::Sync { file });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state().journal.push(Event::SyncDir { dir: dir.to_path_buf() });
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.state().locked.insert(dir.to_path_buf()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} is locked", dir.display())));
        }
        Ok(Box::new(Lock { disk: self.clone(), dir: dir.to_path_buf() }))
    }
}

struct Lock {
    disk: MemoryDisk,
    dir: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.dir);
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: FileId,
    position: usize,
    direct: bool,
}

impl MemoryFile {
    fn put(&mut self, offset: usize, bytes: &[u8], durable: bool) -> io::Result<()> {
        let mut state = self.disk.state();
        let room = state.room(self.file, offset, bytes.len());
        if room > 0 || bytes.is_empty() {
            let kept = Written::new(&bytes[..room]);
            state.files[self.file].write(offset, &kept);
            let durable = durable && room == bytes.len();
            state.journal.push(Event::Write { file: self.file, offset, bytes: kept, durable });
            state.touch(self.file);
        }
        if room < bytes.len() { Err(full()) } else { Ok(()) }
    }

    fn check_alignment(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let aligned = offset.is_multiple_of(4096) && bytes.len().is_multiple_of(4096);
        if self.direct && !(aligned && bytes.as_ptr().addr().is_multiple_of(4096)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a direct write that is not aligned"));
        }
        Ok(())
    }
}

impl io::Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(self.position, bytes, false)?;
        self.position += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriteFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_alignment(offset, bytes)?;
        self.put(offset as usize, bytes, false)
    }

    fn write_durable_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_alignment(offset, bytes)?;
        self.put(offset as usize, bytes, true)
    }

    fn fill_zeros(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let bytes = bytes as usize;
        if state.room(self.file, 0, bytes) < bytes {
            return Err(full());
        }
        state.files[self.file].zeros(bytes);
        state.journal.push(Event::Zeros { file: self.file, bytes });
        state.touch(self.file);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.state().journal.push(Event::Sync { file: self.file });
        Ok(())
    }

    fn is_direct(&self) -> bool {
        self.direct
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn disk_with_file(content: &[u8]) -> (MemoryDisk, PathBuf) {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let path = PathBuf::from("/d/f");
        let mut file = disk.create(&path).unwrap();
        file.write_all(content).unwrap();
        (disk, path)
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let (disk, path) = disk_with_file(b"old");
        disk.sync_file(&path).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.open(&path, Mode::Buffered).unwrap().write_at(3, b"new").unwrap();
        let lost = disk.crash(disk.moments(), &mut || false);
        assert_eq!(&*lost.read(&path).unwrap(), b"old");
        assert_eq!(&*disk.killed().read(&path).unwrap(), b"oldnew");
    }

    #[test]
    fn a_synced_file_without_a_synced_name_may_vanish() {
        let (disk, path) = disk_with_file(b"x");
        disk.sync_file(&path).unwrap();
        let lost = disk.crash(disk.moments(), &mut || false);
        assert_eq!(lost.read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_durable_write_is_torn_by_sectors_only_while_in_flight() {
        let (disk, path) = disk_with_file(&[0; 2048]);
        disk.sync_file(&path).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        let moment = disk.moments();
        disk.open(&path, Mode::Buffered).unwrap().write_durable_at(100, &[1; 1000]).unwrap();
        let mut turn = false;
        let torn = disk.crash(moment, &mut || {
            turn = !turn;
            turn
        });
        let torn = torn.read(&path).unwrap();
        assert_eq!((torn[99], torn[100], torn[511], torn[512], torn[1023], torn[1024]), (0, 1, 1, 0, 0, 1));
        let whole = disk.crash(moment + 1, &mut || false);
        assert_eq!(whole.read(&path).unwrap()[100..1100], [1; 1000]);
        let moment = disk.moments();
        disk.open(&path, Mode::Buffered).unwrap().write_durable_at(0, &[0; 2048]).unwrap();
        let torn = disk.crash(moment, &mut || {
            turn = !turn;
            turn
        });
        let torn = torn.read(&path).unwrap();
        assert_eq!((torn[400], torn[600], torn[1030]), (1, 0, 1));
    }

    #[test]
    fn what_a_killed_process_has_left_is_there_and_no_more_durable() {
        let (disk, path) = disk_with_file(b"first");
        disk.sync_file(&path).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        let moment = disk.moments();
        disk.open(&path, Mode::Buffered).unwrap().write_at(0, b"other").unwrap();
        assert_eq!(&*disk.killed_at(moment).read(&path).unwrap(), b"first");
        let next = disk.killed_at(disk.moments());
        assert_eq!(&*next.read(&path).unwrap(), b"other");
        assert_eq!(&*next.crash(next.moments(), &mut || false).read(&path).unwrap(), b"first");
    }

    #[test]
    fn names_that_were_not_synced_may_be_lost_one_by_one() {
        let (disk, path) = disk_with_file(b"x");
        disk.rename(&path, Path::new("/d/g")).unwrap();
        drop(disk.create(Path::new("/d/h")).unwrap());
        let mut turn = 0;
        let mut all_but = |lost: i32| {
            turn = 0;
            let image = disk.cut(disk.moments(), Names::Any, &mut || {
                turn += 1;
                turn != lost
            });
            image.list(Path::new("/d")).unwrap()
        };
        assert_eq!(all_but(0), ["g", "h"]);
        assert_eq!(all_but(2), ["f", "h"], "the rename is lost, the later creation is not");
        assert_eq!(all_but(3), ["g"]);
    }

    #[test]
    fn what_is_certain_of_a_file_is_what_a_cut_leaves_that_loses_all_it_may() {
        for seed in 0..400_u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
            let mut below = |bound: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % bound
            };
            let mut disk = MemoryDisk::new();
            for dir in ["/d", "/e"] {
                disk.create_dir_all(Path::new(dir)).unwrap();
            }
            let paths = ["/d/a", "/d/b", "/e/a"].map(PathBuf::from);
            for step in 0..40 {
                let path = &paths[below(3) as usize];
                // What is not there is not changed.
                _ = match below(10) {
                    0 => disk.create(path).map(drop),
                    1 => disk.rename(path, &paths[below(3) as usize]),
                    2 => disk.remove(path),
                    3 => disk.truncate(path, below(8)),
                    4 => disk.sync_file(path),
                    5 => disk.sync_dir(Path::new(["/d", "/e"][below(2) as usize])),
                    6 => disk.open(path, Mode::Buffered).and_then(|mut file| file.fill_zeros(8)),
                    7 => disk.open(path, Mode::Buffered).and_then(|mut file| file.write_durable_at(below(4), &[step])),
                    _ => disk.open(path, Mode::Buffered).and_then(|mut file| file.write_at(below(4), &[step, step])),
                };
                match below(20) {
                    0 => disk = disk.killed_at(disk.moments()),
                    1..4 if seed % 2 == 0 => disk.state().forget(),
                    _ => {}
                }
                let cut = disk.crash(disk.moments(), &mut || false);
                for path in &paths {
                    let left = |disk: &MemoryDisk| disk.read(path).ok().map(|bytes| bytes.to_vec());
                    assert_eq!(
                        disk.certain(path).ok().map(|bytes| bytes.to_vec()),
                        left(&cut),
                        "seed {seed} step {step}"
                    );
                }
            }
        }
    }

    /// Two disks on which the same is done, and one of them forgets: whatever a cut keeps, it leaves the same of both.
    #[test]
    fn what_is_forgotten_could_not_be_cut_off() {
        for seed in 0..300_u64 {
            let dice = std::cell::Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1);
            let below = |bound: u64| {
                let mut state = dice.get();
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                dice.set(state);
                state % bound
            };
            let mut disks = [MemoryDisk::new(), MemoryDisk::new()];
            let (dirs, paths) = (["/d", "/e"].map(Path::new), ["/d/a", "/d/b", "/e/a"].map(Path::new));
            disks.iter().for_each(|disk| dirs.iter().for_each(|dir| disk.create_dir_all(dir).unwrap()));
            for step in 0..60 {
                let (what, path, other) = (below(11), paths[below(3) as usize], paths[below(3) as usize]);
                let (dir, at) = (dirs[below(2) as usize], below(1500));
                for disk in &disks {
                    // What is not there is not changed.
                    let open = || disk.open(path, Mode::Buffered);
                    _ = match what {
                        0 | 1 => disk.create(path).map(drop),
                        2 => disk.rename(path, other),
                        3 => disk.remove(path),
                        4 => disk.truncate(path, at),
                        5 | 6 => disk.sync_file(path),
                        7 => disk.sync_dir(dir),
                        8 => open().and_then(|mut file| file.fill_zeros(at)),
                        9 => open().and_then(|mut file| file.write_durable_at(at, &[step; 700])),
                        _ => open().and_then(|mut file| file.write_at(at, &[step; 700])),
                    };
                }
                if below(3) == 0 {
                    disks[1].state().forget();
                }
                let rule = [Names::InOrder, Names::Any][below(2) as usize];
                let (keep, salt) = (below(9), below(1 << 40));
                let cuts = [0, 1].map(|of| {
                    let mut asked = salt;
                    disks[of].cut(disks[of].moments(), rule, &mut || {
                        asked = asked.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        asked >> 33 & 7 < keep
                    })
                });
                let shown = |disk: &MemoryDisk| {
                    let content =
                        |path: &Path| (disk.read(path).ok().map(|bytes| bytes.to_vec()), disk.stat(path).ok());
                    (dirs.map(|dir| disk.list(dir).unwrap()), paths.map(content))
                };
                assert_eq!(shown(&cuts[0]), shown(&cuts[1]), "seed {seed} step {step}");
                assert_eq!(shown(&disks[0]), shown(&disks[1]), "seed {seed} step {step}");
                if below(15) == 0 {
                    disks = if below(2) == 0 { disks.map(|disk| disk.killed_at(disk.moments())) } else { cuts };
                }
            }
        }
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let (disk, path) = disk_with_file(b"ab");
        disk.set_capacity(Some(3));
        let error = disk.open(&path, Mode::Buffered).unwrap().write_at(2, b"cd").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(&*disk.read(&path).unwrap(), b"abc");
        assert_eq!(disk.free_bytes(Path::new("/d")).unwrap(), 0);
    }

    #[test]
    fn a_directory_is_locked_once() {
        let disk = MemoryDisk::new();
        let first = disk.lock(Path::new("/d")).unwrap();
        assert_eq!(disk.lock(Path::new("/d")).err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        drop(first);
        assert!(disk.lock(Path::new("/d")).is_ok());
    }
}
