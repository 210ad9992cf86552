//! Transaction logs, in two ways.
//!
//! [`log`] takes files as they are, checksums and all, or with checksums put right. Reading them must end, and what it cut
//! must be gone: reading again finds the same transactions and nothing to cut.
//!
//! [`records`] takes payloads, which become sound log files, ours or Java's. They are restored into a tree, which is
//! the same after a restart, and the same again when a snapshot stands in for the log. A server can begin with it, whatever
//! its sessions and znodes are.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{Disk, MemoryDisk};
use proto::{Millis, SessionId, Zxid};
use snapshot::{Compression, RestoreOptions, SnapshotJob, Source, restore};
use wal::format::{self, BLOCK, EOR, HEADER_BYTES, RECORD_HEAD_BYTES, TRAILER_BYTES};
use wal::{BlockingLog, LogOptions, ReadOptions, RecoverError, names, recover, truncate};

use crate::pieces::{pieces, tagged};
use crate::same::is_faithful;
use crate::snapshots::{dump, tree_options};

const SNAPS: &str = "/data/version-2";
const LOGS: &str = "/logs/version-2";
const FILES_MAX: usize = 4;
const PAYLOAD_MAX: usize = 64 << 10;

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    for dir in [SNAPS, LOGS] {
        disk.create_dir_all(Path::new(dir)).expect("memory takes everything");
    }
    disk
}

fn put(disk: &MemoryDisk, path: &Path, bytes: &[u8]) {
    disk.create(path).and_then(|mut file| file.write_all(bytes)).expect("memory takes everything");
}

/// Fuzz target. Each piece is a file: a byte that says how it is meant, a byte for the zxid in its name, the content.
pub fn log(input: &[u8]) {
    let disk = disk();
    let mut from = Zxid(1);
    let mut any = false;
    for (at, piece) in pieces(input).into_iter().take(FILES_MAX).enumerate() {
        let Some((tag, rest)) = tagged(piece) else { continue };
        let Some((name, content)) = tagged(rest) else { continue };
        let mut content = content.to_vec();
        if tag & 1 != 0 {
            put_right(&mut content);
        }
        if tag & 2 != 0 {
            content.resize(content.len().next_multiple_of(BLOCK) + BLOCK, 0);
        }
        let first = format::read_file_header(&content).and_then(|_| {
            let payload = content.get(HEADER_BYTES + RECORD_HEAD_BYTES..)?;
            format::payload_zxid(payload)
        });
        let zxid = match name {
            0 => first.unwrap_or(Zxid(1)),
            0xF0 => Zxid(i64::MAX),
            0xF1 => Zxid(i64::MIN),
            _ => Zxid(i64::from(name as i8)),
        };
        if at == 0 && tag & 4 != 0 {
            from = zxid;
        }
        put(&disk, &segment_path(zxid), &content);
        any = true;
    }
    if any {
        let to = recovers(&disk, from);
        cuts(&disk, to);
    }
}

fn segment_path(zxid: Zxid) -> PathBuf {
    wal::segment::log_path(Path::new(LOGS), zxid)
}

/// Checksums of records and groups, as far as the lengths make sense.
fn put_right(file: &mut [u8]) {
    let Some(dbid) = format::read_file_header(file) else { return };
    let (mut at, mut group) = (HEADER_BYTES, 0);
    while let Some(head) = file.get(at..at + RECORD_HEAD_BYTES) {
        let length = i32::from_be_bytes(head[8..].try_into().expect("four bytes"));
        let Some(length) = usize::try_from(length).ok().filter(|length| *length > 0) else { return };
        let payload = at + RECORD_HEAD_BYTES..at + RECORD_HEAD_BYTES + length;
        if file.len() <= payload.end {
            return;
        }
        file[payload.end] = EOR;
        let end = payload.end + 1;
        if end.is_multiple_of(BLOCK) && length > TRAILER_BYTES && format::is_ours(dbid) {
            // CRC-32 of dbid and group with the last record's checksum taken as zero.
            let mut crc = crc32fast::Hasher::new();
            crc.update(&dbid.to_be_bytes());
            crc.update(&file[group..at]);
            crc.update(&[0; 8]);
            crc.update(&file[at + 8..end - 5]);
            file[end - 5..end - 1].copy_from_slice(&crc.finalize().to_be_bytes());
            group = end;
        }
        let sum = format::checksum(&file[payload]);
        file[at..at + 8].copy_from_slice(&sum.to_be_bytes());
        at = end;
    }
}

/// Reads all logs twice; answers a zxid in their midst.
fn recovers(disk: &MemoryDisk, from: Zxid) -> Zxid {
    let options = ReadOptions { payload_bytes_max: PAYLOAD_MAX };
    let mut read = Vec::new();
    let before = disk.killed();
    let report = match recover(disk, Path::new(LOGS), from, options, |record| read.push(record.payload.to_vec())) {
        Ok(report) => report,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(matches!(error, RecoverError::Io { .. }) || same_files(&before, disk), "a refusal changes nothing");
            return from;
        }
    };
    let mut again = Vec::new();
    let second = match recover(disk, Path::new(LOGS), from, options, |record| again.push(record.payload.to_vec())) {
        Ok(second) => second,
        // Where an empty file was removed, an older one that was not needed before it comes into view, and is judged.
        Err(_) if report.cuts.iter().any(|cut| cut.removed) => return from,
        Err(error) => panic!("what was read once can be read again: {error}"),
    };
    if second.count > report.count && report.cuts.iter().any(|cut| cut.removed) {
        return from;
    }
    assert!(read == again, "the same transactions");
    assert_eq!((report.last, report.count), (second.last, second.count));
    let came_into_view = report.cuts.iter().any(|cut| cut.removed);
    assert!(came_into_view || second.cuts.is_empty(), "nothing is cut twice: {:?} {:?}", report.cuts, second.cuts);
    let middle = read.get(read.len() / 2).and_then(|payload| format::payload_zxid(payload));
    middle.unwrap_or(from)
}

fn same_files(one: &MemoryDisk, other: &MemoryDisk) -> bool {
    let files = |disk: &MemoryDisk| {
        let names = disk.list(Path::new(LOGS)).expect("the directory is there");
        let read = |name: &String| disk.read(&Path::new(LOGS).join(name)).expect("it is listed").to_vec();
        let contents: Vec<_> = names.iter().map(read).collect();
        (names, contents)
    };
    files(one) == files(other)
}

/// History is cut behind a zxid.
fn cuts(disk: &MemoryDisk, to: Zxid) {
    let options = ReadOptions { payload_bytes_max: PAYLOAD_MAX };
    if let Ok(cut) = truncate(disk, Path::new(LOGS), to, options) {
        assert!(cut.last <= to);
        assert_eq!(cut.exact, cut.last == to);
    }
}

/// Fuzz target. The first byte says who writes the log and what stands before it; each further piece is a payload.
pub fn records(input: &[u8]) {
    let Some((tag, input)) = tagged(input) else { return };
    let disk = disk();
    let payloads = pieces(input);
    let zxid = |payload: &&&[u8]| format::payload_zxid(payload);
    let Some(first) = payloads.iter().find_map(|payload| zxid(&payload)) else { return };
    if tag & 1 == 0 {
        java_log(&disk, first, &payloads);
    } else if !our_log(&disk, first, &payloads) {
        return;
    }
    if tag & 2 != 0 {
        // Without a snapshot nobody believes a log.
        let mut tree = tree::Writer::new(tree_options());
        let source = Source::of(&mut tree, Vec::new());
        SnapshotJob::write(&disk, Path::new(SNAPS), Compression::None, source).expect("memory takes everything");
    }
    let restored = restarts(&disk, is_faithful(input));
    if let Some((tree, sessions)) = restored.filter(|(tree, _)| tag & 4 != 0 && tree.tip().0 < i64::MAX / 2) {
        crate::member_world::serve(tree, sessions);
    }
}

fn options() -> RestoreOptions {
    let read = ReadOptions { payload_bytes_max: PAYLOAD_MAX };
    RestoreOptions { read, trust_empty: true, ..RestoreOptions::new(tree_options()) }
}

fn java_log(disk: &MemoryDisk, first: Zxid, payloads: &[&[u8]]) {
    let mut file = format::file_header(0).to_vec();
    for payload in payloads.iter().filter(|payload| !payload.is_empty()) {
        file.extend_from_slice(&format::checksum(payload).to_be_bytes());
        file.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        file.extend_from_slice(payload);
        file.push(EOR);
    }
    put(disk, &segment_path(first), &file);
}

/// False if the log is not one that a server would write.
fn our_log(disk: &MemoryDisk, first: Zxid, payloads: &[&[u8]]) -> bool {
    if first.0 <= 0 || first.counter() == 0 {
        return false;
    }
    let options = LogOptions {
        segment_bytes: 128 << 10,
        payload_bytes_max: 32 << 10,
        group_bytes_max: 8 << 10,
        ..LogOptions::default()
    };
    let last = Zxid(first.0 - 1);
    let mut log = BlockingLog::new(Arc::new(disk.clone()), Path::new(LOGS), options, last, Vec::new());
    let mut tip = last;
    for payload in payloads {
        let Some(zxid) = format::payload_zxid(payload).filter(|zxid| *zxid > tip) else { return false };
        if payload.len() > 16 << 10 || log.log().append_payload(zxid, payload).is_err() {
            return false;
        }
        tip = zxid;
        if payload.len().is_multiple_of(2) {
            log.commit(Millis(0)).expect("memory does not fail");
        }
        if payload.len().is_multiple_of(7) {
            log.log().roll();
        }
    }
    log.commit(Millis(0)).expect("memory does not fail");
    true
}

/// Restores, twice; then takes a snapshot and restores from that. Answers the database.
fn restarts(disk: &MemoryDisk, faithful: bool) -> Option<(tree::Writer, Vec<(SessionId, i32)>)> {
    let (snaps, logs) = (Path::new(SNAPS), Path::new(LOGS));
    let mut restored = match restore(disk, snaps, logs, options()) {
        Ok(restored) => restored,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    restored.orphans();
    let before = dump(&mut restored.tree, &restored.sessions);
    let mut second = restore(disk, snaps, logs, options()).expect("what was restored once can be restored again");
    assert_eq!(before, dump(&mut second.tree, &second.sessions));

    let sessions = restored.sessions.iter().map(|(session, timeout)| (*session, *timeout)).collect();
    let source = Source::of(&mut restored.tree, sessions);
    let written = SnapshotJob::write(disk, snaps, Compression::None, source).expect("memory takes everything");
    for name in disk.list(logs).expect("the directory is there") {
        if names::parse_log(&name).is_some() {
            disk.remove(&logs.join(name)).expect("it is there");
        }
    }
    let mut third = restore(disk, snaps, logs, options()).expect("a snapshot alone is enough");
    if third.snapshot.as_ref() == Some(&written.path) && faithful {
        assert_eq!(before, dump(&mut third.tree, &third.sessions));
    }
    Some((second.tree, second.sessions.into_iter().collect()))
}
