//! Names and fixed bytes of snapshot files (disk-formats.md §1 and §5).

use host::{Disk, FileBytes};
use proto::Zxid;
use std::{io, path::Path};

use crate::compression::Compression;

/// First four bytes.
pub const MAGIC: [u8; 4] = *b"ZKSN";
/// Format version that everybody writes and nobody checks.
pub const VERSION: i32 = 2;
/// What Java writes as dbid.
pub const DBID: i64 = -1;
/// A checksum and `/`.
pub const SEAL_BYTES: usize = 13;
/// zxid, version, digest, seal.
pub const DIGEST_SECTION_BYTES: usize = 20 + SEAL_BYTES;
/// zxid, seal.
pub const ZXID_SECTION_BYTES: usize = 8 + SEAL_BYTES;
/// A snapshot while it is written. ZooKeeper ignores the name.
pub const TEMPORARY: &str = "ringkeeper-snapshot.tmp";
/// The name of a snapshot from the leader while it is written.
pub const RECEIVED: &str = "ringkeeper-received.tmp";

/// `snapshot.<hex>` with the extension of `compression`.
pub fn name(zxid: Zxid, compression: Compression) -> String {
    format!("snapshot.{:x}{}", zxid.0, compression.extension())
}

/// The zxid in the name of a snapshot, as ZooKeeper parses it.
pub fn parse(name: &str) -> Option<Zxid> {
    wal::names::parse(name, "snapshot")
}

/// All snapshots of a directory listing, newest first.
pub fn newest_first(names: &[String]) -> Vec<(Zxid, String)> {
    let mut snapshots: Vec<_> = names.iter().filter_map(|name| Some((parse(name)?, name.clone()))).collect();
    snapshots.sort_by(|a, b| b.cmp(a));
    snapshots
}

/// ZooKeeper's cheap test before a snapshot is parsed: a plain one ends in `00 00 00 01 2F`, the others start with the
/// magic of their compression. A temporary file of Java's (`.tmp`) is never one.
pub fn looks_whole(bytes: &[u8]) -> bool {
    match Compression::of(bytes) {
        Compression::None => bytes.len() >= 10 && bytes.ends_with(&[0, 0, 0, 1, b'/']),
        Compression::Gz | Compression::Snappy => true,
    }
}

/// Reads a snapshot file if it passes [`looks_whole`].
pub fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Option<FileBytes>> {
    let bytes = disk.read(path)?;
    Ok(looks_whole(&bytes).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_zxid_and_compression() {
        assert_eq!(name(Zxid(0), Compression::None), "snapshot.0");
        assert_eq!(name(Zxid::new(1, 0xab), Compression::Gz), "snapshot.1000000ab.gz");
        assert_eq!(name(Zxid(5), Compression::Snappy), "snapshot.5.snappy");
        assert_eq!(parse("snapshot.1000000ab.gz"), Some(Zxid::new(1, 0xab)));
        assert_eq!(parse(TEMPORARY), None);
        let names = ["snapshot.9", "log.1", "snapshot.10.gz", "snapshot.x"].map(String::from);
        assert_eq!(newest_first(&names), [(Zxid(16), "snapshot.10.gz".into()), (Zxid(9), "snapshot.9".into())]);
    }
}
