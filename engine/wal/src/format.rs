//! The bytes of a log file: header, records, and the trailer that closes a group (disk-formats.md §2;
//! docs/decisions/0003-group-trailer.md).
//!
//! | file header | bytes | value |
//! |---|---|---|
//! | magic | 4 | `ZKLG` |
//! | version | 4 | 2 |
//! | dbid | 8 | 0 from Java; from us `RKL1` and four random bytes, the *salt* of the file |
//!
//! | record | bytes | value |
//! |---|---|---|
//! | checksum | 8 | Adler-32 of the payload, zero-extended |
//! | length | 4 | of the payload |
//! | payload | length | TxnHeader, transaction, digest; then nothing, or padding |
//! | end | 1 | `B` |
//!
//! | end of a group's last payload | bytes | value |
//! |---|---|---|
//! | zeros | ≥ 16 | so that a reader of digests sees version 0 where there is none |
//! | magic | 8 | `RKGROUP1` |
//! | group start | 8 | offset in the file; a multiple of 4 KiB |
//! | durable | 8 | the zxid up to which everything was durable when the group was issued |
//! | last record | 4 | offset of the last record within the group |
//! | payload | 4 | length of the last payload without padding |
//! | CRC-32 | 4 | of dbid and the group up to here, with the last record's checksum taken as zero |
//!
//! The end byte of that record is the last byte of a 4 KiB block. The first group of a file includes the file header.
//! Big-endian throughout.

use proto::Zxid;

/// First four bytes of a log.
pub const MAGIC: [u8; 4] = *b"ZKLG";
/// Format version that everybody writes and nobody checks.
pub const VERSION: u32 = 2;
/// Length of the file header.
pub const HEADER_BYTES: usize = 16;
/// Checksum and length before a payload.
pub const RECORD_HEAD_BYTES: usize = 12;
/// The byte behind a payload.
pub const EOR: u8 = 0x42;
/// What groups are multiples of, and what no write shares with another.
pub const BLOCK: usize = 4096;
/// Length of a group trailer.
pub const TRAILER_BYTES: usize = 36;
/// Zeros between a payload and the trailer, at least.
pub const ZEROS_MIN: usize = 16;
/// The most that closing a group adds to its last payload.
pub const PADDING_MAX: usize = BLOCK - 1 + ZEROS_MIN + TRAILER_BYTES;

const TRAILER_MAGIC: [u8; 8] = *b"RKGROUP1";
const OURS: u32 = u32::from_be_bytes(*b"RKL1");

/// The dbid of a file that we write.
pub fn dbid(salt: u32) -> u64 {
    u64::from(OURS) << 32 | u64::from(salt)
}

/// Do files with this dbid have group trailers?
pub fn is_ours(dbid: u64) -> bool {
    dbid >> 32 == u64::from(OURS)
}

/// The header of a log.
pub fn file_header(dbid: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&VERSION.to_be_bytes());
    bytes[8..].copy_from_slice(&dbid.to_be_bytes());
    bytes
}

/// The dbid in a file's header; `None` without a header or with a wrong magic.
pub fn read_file_header(file: &[u8]) -> Option<u64> {
    let header = file.first_chunk::<HEADER_BYTES>()?;
    (header[..4] == MAGIC).then(|| u64::from_be_bytes(header[8..].try_into().expect("eight bytes")))
}

/// A record's checksum.
pub fn checksum(payload: &[u8]) -> u64 {
    u64::from(simd_adler32::adler32(&payload))
}

/// The zxid in a payload; `None` if it is too short for a transaction header.
pub fn payload_zxid(payload: &[u8]) -> Option<Zxid> {
    let header = payload.first_chunk::<{ proto::txn::TXN_HEADER_BYTES }>()?;
    Some(Zxid(i64::from_be_bytes(header[12..20].try_into().expect("eight bytes"))))
}

/// What stands at the end of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// Offset of the group in the file.
    pub start: u64,
    /// Everything up to here was durable when the group was issued.
    pub durable: Zxid,
    /// Offset of the last record within the group.
    pub last_record: u32,
    /// Length of the last payload without padding.
    pub payload_bytes: u32,
}

/// Length of a group whose records take `bytes`, once it is closed.
pub fn closed_bytes(bytes: usize) -> usize {
    (bytes + ZEROS_MIN + TRAILER_BYTES).next_multiple_of(BLOCK)
}

/// Closes a group: `group` holds its bytes up to the end of the last payload, then zeros to its closed length. Fills in
/// the last record's length and checksum, the trailer, and the end byte.
pub fn close(group: &mut [u8], trailer: Trailer, dbid: u64) {
    assert!(group.len().is_multiple_of(BLOCK), "a group is a whole number of blocks");
    let record = trailer.last_record as usize;
    let payload = record + RECORD_HEAD_BYTES..group.len() - 1;
    let at = payload.end - TRAILER_BYTES;
    assert!(
        payload.start + trailer.payload_bytes as usize + ZEROS_MIN <= at,
        "the trailer has room behind the payload"
    );

    let length = u32::try_from(payload.len()).expect("a payload is shorter than 2 GiB");
    group[record..record + 8].fill(0);
    group[record + 8..payload.start].copy_from_slice(&length.to_be_bytes());
    group[at..at + 8].copy_from_slice(&TRAILER_MAGIC);
    group[at + 8..at + 16].copy_from_slice(&trailer.start.to_be_bytes());
    group[at + 16..at + 24].copy_from_slice(&trailer.durable.0.to_be_bytes());
    group[at + 24..at + 28].copy_from_slice(&trailer.last_record.to_be_bytes());
    group[at + 28..at + 32].copy_from_slice(&trailer.payload_bytes.to_be_bytes());
    let crc = crc(&group[..at + 32], record, dbid);
    group[at + 32..at + 36].copy_from_slice(&crc.to_be_bytes());
    group[payload.end] = EOR;
    let sum = checksum(&group[payload]);
    group[record..record + 8].copy_from_slice(&sum.to_be_bytes());
}

/// The trailer of a whole and undamaged group that ends at `end` in `file` and starts at `start_min` or later, if there is one.
///
/// What clients store can look like trailers. Those that the caller has no use for, and those whose last record is not
/// where they say, cost no look at the group.
pub fn trailer_before(file: &[u8], end: usize, dbid: u64, start_min: u64) -> Option<Trailer> {
    let at = end.checked_sub(1 + TRAILER_BYTES)?;
    let bytes = file.get(at..end)?;
    if bytes[..8] != TRAILER_MAGIC || bytes[TRAILER_BYTES] != EOR || !end.is_multiple_of(BLOCK) {
        return None;
    }
    let long = |from: usize| u64::from_be_bytes(bytes[from..from + 8].try_into().expect("eight bytes"));
    let int = |from: usize| u32::from_be_bytes(bytes[from..from + 4].try_into().expect("four bytes"));
    let trailer =
        Trailer { start: long(8), durable: Zxid(long(16) as i64), last_record: int(24), payload_bytes: int(28) };
    if trailer.start < start_min {
        return None;
    }
    let start = usize::try_from(trailer.start).ok().filter(|start| start.is_multiple_of(BLOCK) && *start < end)?;
    let group = &file[start..end];
    let record = trailer.last_record as usize;
    let fits = record.checked_add(RECORD_HEAD_BYTES)?.checked_add(trailer.payload_bytes as usize)?;
    if fits + ZEROS_MIN + TRAILER_BYTES + 1 > group.len() {
        return None;
    }
    let payload = record + RECORD_HEAD_BYTES;
    let length = u32::from_be_bytes(group[record + 8..payload].try_into().expect("four bytes"));
    if length as usize != group.len() - 1 - payload || crc(&group[..group.len() - 5], record, dbid) != int(32) {
        return None;
    }
    Some(trailer)
}

fn crc(group: &[u8], last_record: usize, dbid: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&dbid.to_be_bytes());
    hasher.update(&group[..last_record]);
    hasher.update(&[0; 8]);
    hasher.update(&group[last_record + 8..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(start: u64, dbid: u64) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_HEAD_BYTES];
        bytes.extend_from_slice(&[9; 100]);
        bytes.resize(closed_bytes(bytes.len() + 1), 0);
        close(&mut bytes, Trailer { start, durable: Zxid(7), last_record: 0, payload_bytes: 100 }, dbid);
        bytes
    }

    #[test]
    fn a_closed_group_is_one_record_to_zookeeper_and_names_its_trailer() {
        let bytes = group(0, dbid(5));
        let length = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        assert_eq!(12 + length + 1, bytes.len());
        assert_eq!(bytes.len() % BLOCK, 0);
        assert_eq!(u64::from_be_bytes(bytes[..8].try_into().unwrap()), checksum(&bytes[12..12 + length]));
        assert_eq!(bytes[12 + length], EOR);
        assert_eq!(bytes[112..128], [0; 16]);
        let trailer = trailer_before(&bytes, bytes.len(), dbid(5), 0).unwrap();
        assert_eq!((trailer.durable, trailer.payload_bytes), (Zxid(7), 100));
        assert_eq!(trailer_before(&bytes, bytes.len(), dbid(5), 1), None);
    }

    #[test]
    fn a_group_of_another_file_another_place_or_with_any_bit_changed_is_not_recognised() {
        let bytes = group(0, dbid(5));
        assert_eq!(trailer_before(&bytes, BLOCK, dbid(6), 0), None);
        let mut moved = vec![0; BLOCK];
        moved.extend_from_slice(&bytes);
        assert_eq!(trailer_before(&moved, 2 * BLOCK, dbid(5), 0), None);
        for at in 8..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(trailer_before(&damaged, BLOCK, dbid(5), 0), None, "byte {at}");
        }
    }

    #[test]
    fn the_trailer_takes_another_block_when_it_does_not_fit() {
        for bytes in 13..3 * BLOCK {
            let closed = closed_bytes(bytes);
            assert!(closed >= bytes + ZEROS_MIN + TRAILER_BYTES && closed - bytes <= PADDING_MAX);
        }
        assert_eq!(closed_bytes(BLOCK - 52), BLOCK);
        assert_eq!(closed_bytes(BLOCK - 51), 2 * BLOCK);
    }
}
