//! Reading the log back (disk-formats.md §2 and §11): every transaction from a zxid on, in order, over all files; and the
//! judgement of what the files' ends mean.
//!
//! A file may end in something unreadable because a write was cut short (*torn*: nobody was told that it succeeded; it is
//! cut off) or because the disk has lost what it held (*damage*: refused, with file, offset, zxid and what to do). It is
//! damage if anything later says that the transactions behind the last good one were durable:
//!
//! | evidence | says |
//! |---|---|
//! | a whole group of ours behind the place, in the same file | its trailer's durable zxid |
//! | the first group of the next file, if ours | its trailer's durable zxid |
//! | in a file of Java's: a whole record behind the place | that record's zxid |
//! | the next file starts later, in the same epoch, and this one ends unreadable | the zxids between |
//! | the mark ([`crate::read_mark`]) | its zxid |
//!
//! Nothing is handed out or changed on disk before all files are judged.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use host::{Disk, FileBytes};
use proto::{
    Decode, JuteError, Reader, Txn, TxnHeader, Zxid,
    txn::{TxnDigest, decode_digest, decode_txn},
};

pub use crate::scan::Why;
use crate::{
    mark::{MARK_FILE, Mark, read_mark},
    names,
    scan::{Scan, scan},
};

/// What a reader accepts.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// `jute.maxbuffer` plus extra size.
    pub payload_bytes_max: usize,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { payload_bytes_max: 2 * 0xF_FFFF }
    }
}

/// A transaction as the log holds it.
#[derive(Debug)]
pub struct Record<'a> {
    /// Who, when, which.
    pub header: TxnHeader,
    /// The effect.
    pub txn: Txn<'a>,
    /// The tree's digest after it, if the writer kept one.
    pub digest: Option<TxnDigest>,
    /// The same three as bytes, without padding: what a peer is sent.
    pub payload: &'a [u8],
}

/// A tail that was cut off: never acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The file.
    pub path: PathBuf,
    /// Its new length; the file is gone if nothing was left.
    pub offset: u64,
    /// Why reading stopped.
    pub why: Option<Why>,
    /// Was the file removed?
    pub removed: bool,
}

/// zxids that no file holds, within one epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The last one before.
    pub after: Zxid,
    /// The next one found.
    pub next: Zxid,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Recovered {
    /// zxid of the last transaction; what was known before if there was none.
    pub last: Zxid,
    /// Transactions handed out.
    pub count: u64,
    /// Torn tails that were cut, and logs removed because nothing in them was whole.
    pub cuts: Vec<Cut>,
    /// Missing zxids; reported, as ZooKeeper does not even notice them.
    pub gaps: Vec<Gap>,
    /// Transactions with a lower zxid than the one before, applied as ZooKeeper does.
    pub regressions: Vec<Gap>,
    /// There is a mark, and it cannot be read.
    pub mark_unreadable: bool,
    /// Prepared segments for [`crate::Log::new`].
    pub leftovers: Vec<String>,
}

/// Acknowledged transactions that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where it becomes unreadable.
    pub offset: u64,
    /// The last good transaction before.
    pub after: Zxid,
    /// How it is unreadable; `None` if there are zeros, or nothing, where transactions were.
    pub why: Option<Why>,
    /// A transaction known to have been durable.
    pub durable: Zxid,
    /// Where that is said.
    pub witness: (PathBuf, u64),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.why.map_or_else(|| "transactions are missing".to_owned(), |why| why.to_string());
        write!(
            f,
            "the transaction log {} is damaged at offset {}, behind zxid {}: {why}; {} at offset {} shows that zxid {} was \
             durable. Nothing was changed. Restore this file from a backup or from a copy of the directory; or, in an \
             ensemble, move this server's version-2 directories away and let it copy the data from the others; or, to go \
             on without the transactions from zxid {:#x} on, move this file and all later ones away, keep the file's \
             first {} bytes, and remove {MARK_FILE}",
            self.path.display(),
            self.offset,
            self.after,
            self.witness.0.display(),
            self.witness.1,
            self.durable,
            self.after.0.wrapping_add(1),
            self.offset,
        )
    }
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The disk refuses.
    #[error("{}: {source}{}", path.display(), host::disk::advice(source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// Acknowledged transactions are lost.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// Transactions between the snapshot and the log are lost.
    #[error(
        "the transaction log {} says that zxid {durable} was durable before it, but the newest usable snapshot ends at \
         {after} and no log holds what lies between. Restore the missing files from a backup or, in an ensemble, move this \
         server's version-2 directories away and let it copy the data from the others", path.display()
    )]
    Missing {
        /// The file that says so.
        path: PathBuf,
        /// The last known transaction.
        after: Zxid,
        /// The last missing one.
        durable: Zxid,
    },
    /// The end of the log is lost: the mark knows more.
    #[error(
        "the transaction logs in {} end at zxid {last}, but {MARK_FILE} there says that everything up to {durable} was \
         durable: the end of the newest log is damaged, or it was removed, emptied, cut, or replaced by an older copy. \
         Nothing was changed. Restore the newest log from a backup or from a copy of the directory; or, in an ensemble, \
         move this server's version-2 directories away and let it copy the data from the others; or, to go on without \
         the transactions from zxid {:#x} on, remove {MARK_FILE}", dir.display(), last.0.wrapping_add(1)
    )]
    EndLost {
        /// The log directory.
        dir: PathBuf,
        /// The last transaction that is there.
        last: Zxid,
        /// The last one that was durable.
        durable: Zxid,
    },
    /// A log bears the name of another.
    #[error(
        "{} begins with zxid {first}, which is not its name: logs were swapped or renamed, and what belongs here would be \
         missed. Nothing was changed. Give each log the name of its first zxid (this one: log.{:x}), or restore the \
         directory from a backup", path.display(), first.0
    )]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// The zxid of its first transaction.
        first: Zxid,
    },
    /// A file called `log.*` is none.
    #[error("{} is not a transaction log: its first bytes are wrong. Move it away if it does not belong here", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// A record is whole but makes no sense.
    #[error("{} at offset {offset}, zxid {zxid}: {source}", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// The record's offset.
        offset: u64,
        /// The record's zxid.
        zxid: Zxid,
        /// What is wrong.
        source: JuteError,
    },
}

impl RecoverError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> RecoverError {
        |source| RecoverError::Io { path: path.to_path_buf(), source }
    }
}

struct LogFile {
    path: PathBuf,
    bytes: FileBytes,
    scan: Scan,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing is wrong with it.
    Keep,
    /// Its end was never acknowledged.
    Cut,
    /// Nothing in it was ever acknowledged.
    Drop,
}

/// Reads all transactions from `from` on and hands them to `each`, then cuts torn tails and makes durable what was read.
///
/// `from` is the zxid after the snapshot's. After this call a new file is to be started; no old one is written to again.
pub fn recover(
    disk: &dyn Disk,
    dir: &Path,
    from: Zxid,
    options: ReadOptions,
    mut each: impl FnMut(Record<'_>),
) -> Result<Recovered, RecoverError> {
    let names = disk.list(dir).map_err(RecoverError::io(dir))?;
    let mut report = Recovered { last: Zxid(from.0.saturating_sub(1)), ..Recovered::default() };
    report.leftovers = names.iter().filter(|name| names::parse_prepared(name).is_some()).cloned().collect();

    let mut files = Vec::new();
    let mut titles = Vec::new();
    for (title, name) in names::needed(names::logs(&names), from) {
        let path = dir.join(name);
        titles.push(title);
        let bytes = disk.read(&path).map_err(RecoverError::io(&path))?;
        let scan = scan(&bytes, options.payload_bytes_max);
        files.push(LogFile { path, bytes, scan, fate: Fate::Keep });
    }
    check_names(&files, &titles)?;
    judge(&mut files, from, &mut report)?;
    check_mark(disk, dir, &files, &mut report)?;
    for file in files.iter().filter(|file| file.fate != Fate::Drop) {
        hand_out(file, from, &mut report, &mut each)?;
    }
    repair(disk, dir, files, &mut report)?;
    Ok(report)
}

/// The name of a log is its first zxid, whoever wrote it.
fn check_names(files: &[LogFile], titles: &[Zxid]) -> Result<(), RecoverError> {
    for (file, title) in files.iter().zip(titles) {
        if let Some(first) = file.scan.records.first().map(|record| record.zxid).filter(|first| first != title) {
            return Err(RecoverError::Misnamed { path: file.path.clone(), first });
        }
    }
    Ok(())
}

/// Does the log reach as far as the mark says?
fn check_mark(disk: &dyn Disk, dir: &Path, files: &[LogFile], report: &mut Recovered) -> Result<(), RecoverError> {
    let durable = match read_mark(disk, dir).map_err(RecoverError::io(&dir.join(MARK_FILE)))? {
        Mark::Absent => return Ok(()),
        Mark::Unreadable => {
            report.mark_unreadable = true;
            return Ok(());
        }
        Mark::At(durable) => durable,
    };
    let kept = files.iter().filter(|file| file.fate != Fate::Drop);
    let last = kept.filter_map(|file| file.scan.records.last()).map(|record| record.zxid).max();
    let last = last.map_or(report.last, |last| last.max(report.last));
    if durable > last {
        return Err(RecoverError::EndLost { dir: dir.to_path_buf(), last, durable });
    }
    Ok(())
}

/// Decides for each file whether its end is harmless.
fn judge(files: &mut [LogFile], from: Zxid, report: &mut Recovered) -> Result<(), RecoverError> {
    let mut known = Zxid(from.0.saturating_sub(1));
    for at in 0..files.len() {
        let (before, rest) = files.split_at_mut(at);
        let file = &mut rest[0];
        let scan = &file.scan;
        if scan.why == Some(Why::Magic) && !scan.rest_is_zero && scan.beyond.is_none() {
            return Err(RecoverError::NotALog { path: file.path.clone() });
        }

        // What this file's beginning says about what came before it.
        if let Some(first) = scan.records.first().map(|record| record.zxid) {
            if let Some(durable) = scan.first_durable.filter(|durable| *durable > known) {
                return Err(lost(before, file, known, durable));
            }
            let missing = first > known.next() && first.epoch() == known.epoch() && known >= Zxid::ZERO;
            if missing && scan.ours && at > 0 {
                // It does not claim that what is missing was durable: two writes were in flight, none acknowledged.
                let claims = [scan.last_durable, scan.beyond.map(|beyond| beyond.durable)];
                if let Some(durable) = claims.into_iter().flatten().find(|durable| *durable > known) {
                    return Err(lost(before, file, known, durable));
                }
                file.fate = Fate::Drop;
                continue;
            }
            if missing && before.last().is_some_and(|file| file.scan.why.is_some()) {
                return Err(lost(before, file, known, Zxid(first.0.saturating_sub(1))));
            }
            if missing {
                report.gaps.push(Gap { after: known, next: first });
            }
        }
        known = scan.records.last().map_or(known, |record| record.zxid.max(known));

        // What lies behind the place where it stops being readable.
        if let Some(beyond) = scan.beyond.filter(|beyond| beyond.durable > known) {
            return Err(RecoverError::Damaged(Box::new(Damage {
                path: file.path.clone(),
                offset: scan.end as u64,
                after: known,
                why: scan.why,
                durable: beyond.durable,
                witness: (file.path.clone(), beyond.offset as u64),
            })));
        }
        file.fate = if scan.records.is_empty() {
            Fate::Drop
        } else if scan.why.is_some() || !scan.rest_is_zero {
            Fate::Cut
        } else {
            Fate::Keep
        };
    }
    Ok(())
}

/// The error for transactions up to `durable` that no file before `witness` holds.
fn lost(before: &[LogFile], witness: &LogFile, known: Zxid, durable: Zxid) -> RecoverError {
    let Some(file) = before.last() else {
        return RecoverError::Missing { path: witness.path.clone(), after: known, durable };
    };
    RecoverError::Damaged(Box::new(Damage {
        path: file.path.clone(),
        offset: file.scan.end as u64,
        after: known,
        why: file.scan.why,
        durable,
        witness: (witness.path.clone(), 0),
    }))
}

fn hand_out(
    file: &LogFile,
    from: Zxid,
    report: &mut Recovered,
    each: &mut impl FnMut(Record<'_>),
) -> Result<(), RecoverError> {
    let mut before = None;
    for found in &file.scan.records {
        if found.zxid < from {
            continue;
        }
        let payload = &file.bytes[found.payload.clone()];
        let record = decode(payload).map_err(|source| RecoverError::Undecodable {
            path: file.path.clone(),
            offset: found.offset as u64,
            zxid: found.zxid,
            source,
        })?;
        let last = before.unwrap_or(report.last);
        if found.zxid <= last {
            report.regressions.push(Gap { after: last, next: found.zxid });
        }
        before = Some(found.zxid);
        report.last = found.zxid;
        report.count += 1;
        each(record);
    }
    Ok(())
}

/// Reads a payload: header, transaction, digest.
pub fn decode(payload: &[u8]) -> Result<Record<'_>, JuteError> {
    let mut reader = Reader::new(payload);
    let header = TxnHeader::decode(&mut reader)?;
    let txn = decode_txn(header.op, &mut reader)?;
    // Version 0 is padding, where the writer kept no digest.
    let digest = decode_digest(&mut reader).filter(|digest| digest.version != 0);
    Ok(Record { header, txn, digest, payload })
}

fn repair(disk: &dyn Disk, dir: &Path, files: Vec<LogFile>, report: &mut Recovered) -> Result<(), RecoverError> {
    let mut last_kept = None;
    for file in files {
        let LogFile { path, bytes, scan, fate } = file;
        // The mapping goes before the file is cut.
        drop(bytes);
        match fate {
            Fate::Keep => last_kept = Some(path),
            Fate::Cut => {
                disk.truncate(&path, scan.end as u64).map_err(RecoverError::io(&path))?;
                report.cuts.push(Cut { path: path.clone(), offset: scan.end as u64, why: scan.why, removed: false });
                last_kept = Some(path);
            }
            Fate::Drop => {
                disk.remove(&path).map_err(RecoverError::io(&path))?;
                report.cuts.push(Cut { path, offset: 0, why: scan.why, removed: true });
            }
        }
    }
    // What was read may so far exist in memory only (a killed process, forceSync=no): it is about to be shown to clients.
    if let Some(path) = last_kept {
        disk.sync_file(&path).map_err(RecoverError::io(&path))?;
    }
    disk.sync_dir(dir).map_err(RecoverError::io(dir))
}
