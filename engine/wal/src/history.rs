//! Reading a part of the log back while it is in use: what a learner that lags behind gets from the disk.

use std::io;
use std::path::Path;

use host::Disk;
use proto::Zxid;

use crate::{ReadOptions, names, scan::scan};

/// A transaction as it lies in the log, without padding.
pub type Logged = (Zxid, Box<[u8]>);

/// The transactions of `dir` from the last one that is not newer than `from` up to, without, `before`: zxids and payloads without
/// padding, in order. `None` if no file reaches back so far, or if there are more than `bytes_max` bytes of them. Reads only what
/// is whole; nothing is repaired.
pub fn read_history(
    disk: &dyn Disk,
    dir: &Path,
    from: Zxid,
    before: Zxid,
    bytes_max: u64,
    options: ReadOptions,
) -> io::Result<Option<Vec<Logged>>> {
    let files = names::needed(names::logs(&disk.list(dir)?), from);
    if files.first().is_none_or(|(first, _)| *first > from) {
        return Ok(None);
    }
    let mut txns: Vec<Logged> = Vec::new();
    let mut bytes = 0;
    for (_, name) in files.into_iter().take_while(|(first, _)| *first < before) {
        let content = disk.read(&dir.join(name))?;
        for found in scan(&content, options.payload_bytes_max).records {
            if found.zxid >= before {
                break;
            }
            if found.zxid <= from {
                txns.clear();
                bytes = 0;
            }
            bytes += found.payload.len() as u64;
            if bytes > bytes_max {
                return Ok(None);
            }
            txns.push((found.zxid, content[found.payload].into()));
        }
    }
    Ok(txns.first().is_some_and(|(first, _)| *first <= from).then_some(txns))
}
