//! The tree's digest (disk-formats.md §8): the wrapping sum, over all znodes, of a CRC-32 of path, data and stat.

use crc32fast::Hasher;
use proto::stat::StatPersisted;

/// Is the znode left out of the digest?
pub fn is_excluded(path: &str) -> bool {
    path.starts_with("/zookeeper/")
}

/// The part of a znode's digest that depends on path and data.
pub fn path_and_data(path: &str, data: Option<&[u8]>) -> u32 {
    let mut crc = Hasher::new();
    if path != "/" {
        crc.update(path.as_bytes());
    }
    if let Some(data) = data {
        crc.update(data);
    }
    crc.finalize()
}

/// The digest of a znode from [`path_and_data`] and its stat. The order of fields is not that of [`StatPersisted`].
pub fn with_stat(path_and_data: u32, stat: &StatPersisted) -> u64 {
    let mut bytes = [0; 60];
    let longs = [stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.ctime.0, stat.mtime.0];
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (at, long) in bytes.chunks_exact_mut(8).zip(longs) {
        at.copy_from_slice(&long.to_be_bytes());
    }
    for (at, int) in bytes[40..].chunks_exact_mut(4).zip(ints) {
        at.copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.owner.to_be_bytes());
    let mut crc = Hasher::new_with_initial(path_and_data);
    crc.update(&bytes);
    u64::from(crc.finalize())
}
