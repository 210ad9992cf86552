//! What the tests share: a small world of one log directory, and transactions that can be told apart.

use std::{path::Path, sync::Arc};

use host::{Disk, MemoryDisk};
use proto::{Millis, Op, SessionId, Txn, TxnHeader, Xid, Zxid};
use wal::{BlockingLog, LogOptions, ReadOptions, RecoverError, Recovered, recover};

/// The log directory.
pub const DIR: &str = "/log";
/// Time stands still.
pub const NOW: Millis = Millis(0);

/// Small limits, so that segments and groups are small.
pub fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 << 10,
        payload_bytes_max: 16 << 10,
        group_bytes_max: 8 << 10,
        ..LogOptions::default()
    }
}

/// A disk with an empty log directory.
pub fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

/// Header of a transaction.
pub fn header(zxid: i64) -> TxnHeader {
    TxnHeader { session: SessionId(7), cxid: Xid(1), zxid: Zxid(zxid), time: Millis(1), op: Op::SetData }
}

/// A transaction that knows its zxid, of roughly `bytes` bytes.
pub fn txn(zxid: i64, bytes: usize) -> Txn<'static> {
    let data: Vec<u8> = (0..bytes).map(|at| (at as i64 * 31 + zxid) as u8).collect();
    Txn::SetData { path: format!("/{zxid}").into(), data: Some(data.into()), version: zxid as i32 }
}

/// A log that goes on where recovery ended.
pub fn open(disk: &MemoryDisk, options: LogOptions, recovered: Recovered) -> BlockingLog {
    BlockingLog::new(Arc::new(disk.clone()), Path::new(DIR), options, recovered.last, recovered.leftovers)
}

/// Appends and commits each of `sizes` as a group of its own, with zxids from `first` on.
pub fn write(log: &mut BlockingLog, first: i64, sizes: &[usize]) {
    for (zxid, bytes) in (first..).zip(sizes) {
        log.append(&header(zxid), &txn(zxid, *bytes), Some(zxid as u64)).unwrap();
        log.commit(NOW).unwrap();
    }
}

/// The zxids that recovery hands out, each transaction checked against what was written; and its report.
pub fn read(disk: &dyn Disk, from: i64) -> Result<(Vec<i64>, Recovered), RecoverError> {
    let mut zxids = Vec::new();
    let limits = ReadOptions { payload_bytes_max: 16 << 10 };
    let report = recover(disk, Path::new(DIR), Zxid(from), limits, |record| {
        let zxid = record.header.zxid.0;
        let Txn::SetData { data, .. } = &record.txn else { panic!("{record:?}") };
        assert_eq!(record.txn, txn(zxid, data.as_ref().unwrap().len()));
        assert_eq!(record.digest.map(|digest| digest.tree), Some(zxid as u64));
        zxids.push(zxid);
    })?;
    Ok((zxids, report))
}

/// The only log file.
pub fn log_names(disk: &MemoryDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap().into_iter().filter(|name| name.starts_with("log.")).collect()
}
