//! One log file, read front to back: its records, why reading stopped, and what lies beyond that place.
//!
//! A pure function of the bytes, so that several files can be scanned at once. Whether the end of a file is harmless is
//! decided in `recover`, which sees all files.

use std::ops::Range;

use proto::Zxid;

use crate::format::{self, BLOCK, EOR, HEADER_BYTES, RECORD_HEAD_BYTES, Trailer};

/// Why a record cannot be read (disk-formats.md §2, reading rules).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// The file ends inside its header.
    #[error("the file ends inside its header")]
    ShortHeader,
    /// The header's magic is not `ZKLG`.
    #[error("the header is not that of a transaction log")]
    Magic,
    /// The file ends inside a payload.
    #[error("the file ends inside a record")]
    Short,
    /// Negative, or beyond `jute.maxbuffer` plus extra size.
    #[error("a record has the unreasonable length {0}")]
    Length(i32),
    /// The byte behind the payload is not `B`.
    #[error("a record lacks its end")]
    NoEnd,
    /// Adler-32 differs.
    #[error("a record's checksum is wrong")]
    Checksum,
    /// The records are whole but the group's CRC-32 is not.
    #[error("a group's checksum is wrong")]
    GroupChecksum,
    /// The payload is too short for a transaction header.
    #[error("a record is too short for a transaction")]
    NoHeader,
    /// In a file of ours: the zxid is not beyond the one before, so the record belongs to another place.
    #[error("a record is not at its place")]
    Misplaced,
}

/// Where a record's payload lies, padding excluded.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Offset of the record.
    pub(crate) offset: usize,
    /// Its payload without padding.
    pub(crate) payload: Range<usize>,
    /// Offset behind its end byte.
    pub(crate) end: usize,
    pub(crate) zxid: Zxid,
}

/// Something valid behind the place where reading stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Beyond {
    /// Where it starts.
    pub(crate) offset: usize,
    /// What it says was durable (a group of ours), or holds (a record of Java's).
    pub(crate) durable: Zxid,
}

#[derive(Debug)]
pub(crate) struct Scan {
    /// Do the groups have trailers?
    pub(crate) ours: bool,
    pub(crate) records: Vec<Found>,
    /// What the first group says was durable before it.
    pub(crate) first_durable: Option<Zxid>,
    /// What the last whole group says.
    pub(crate) last_durable: Option<Zxid>,
    /// The end of what is good.
    pub(crate) end: usize,
    /// Why reading stopped there; `None` at zeros or at the end of the file.
    pub(crate) why: Option<Why>,
    /// The furthest-reaching evidence behind `end`.
    pub(crate) beyond: Option<Beyond>,
    /// Is there anything but zeros behind `end`?
    pub(crate) rest_is_zero: bool,
}

/// Reads a whole file. `payload_max` is `jute.maxbuffer` plus extra size.
pub(crate) fn scan(file: &[u8], payload_max: usize) -> Scan {
    let mut scan = Scan {
        ours: false,
        records: Vec::new(),
        first_durable: None,
        last_durable: None,
        end: 0,
        why: None,
        beyond: None,
        rest_is_zero: false,
    };
    let dbid = match format::read_file_header(file) {
        Some(dbid) => {
            scan.ours = format::is_ours(dbid);
            scan.end = HEADER_BYTES;
            scan.read_records(file, dbid, payload_max);
            dbid
        }
        None => {
            scan.why = Some(if file.len() < HEADER_BYTES { Why::ShortHeader } else { Why::Magic });
            0
        }
    };
    let rest = &file[scan.end.min(file.len())..];
    scan.rest_is_zero = crate::segment::is_zero(rest);
    if !scan.rest_is_zero {
        scan.beyond =
            if scan.ours { group_beyond(file, scan.end, dbid) } else { record_beyond(file, scan.end, payload_max) };
    }
    scan
}

impl Scan {
    fn read_records(&mut self, file: &[u8], dbid: u64, payload_max: usize) {
        let mut group_start = 0;
        let mut group_records = 0;
        loop {
            match read_record(file, self.end, payload_max) {
                Ok(None) => return,
                Err(why) => {
                    self.why = Some(why);
                    return;
                }
                Ok(Some(found)) => {
                    if self.ours && self.records.last().is_some_and(|before| before.zxid >= found.zxid) {
                        self.why = Some(Why::Misplaced);
                        return;
                    }
                    self.end = found.end;
                    self.records.push(found);
                }
            }
            let trailer =
                if self.ours { format::trailer_before(file, self.end, dbid, group_start as u64) } else { None };
            let Some(trailer) = trailer else { continue };
            let start = trailer.start as usize;
            if start > group_start {
                // What lies between has no trailer of its own although a whole group follows it.
                self.records.truncate(group_records);
                self.end = group_start.max(HEADER_BYTES);
                self.why = Some(Why::GroupChecksum);
                return;
            }
            if start == group_start && self.trim(&trailer) {
                self.first_durable.get_or_insert(trailer.durable);
                self.last_durable = Some(trailer.durable);
                group_start = self.end;
                group_records = self.records.len();
            }
        }
    }

    /// Takes the padding off the group's last payload.
    fn trim(&mut self, trailer: &Trailer) -> bool {
        let last = self.records.last_mut().expect("a group ends with a record");
        let ours = last.offset as u64 == trailer.start + u64::from(trailer.last_record);
        if ours {
            last.payload.end = last.payload.start + trailer.payload_bytes as usize;
        }
        ours
    }
}

/// The record at `at`; `None` where the file ends or only zeros follow.
fn read_record(file: &[u8], at: usize, payload_max: usize) -> Result<Option<Found>, Why> {
    let Some((sum, payload)) = read_frame(file, at, payload_max)? else { return Ok(None) };
    let bytes = &file[payload.clone()];
    if format::checksum(bytes) != sum {
        return Err(Why::Checksum);
    }
    let zxid = format::payload_zxid(bytes).ok_or(Why::NoHeader)?;
    Ok(Some(Found { offset: at, end: payload.end + 1, payload, zxid }))
}

/// What the head of the record at `at` says: checksum and payload, which lies within the file and has its end.
fn read_frame(file: &[u8], at: usize, payload_max: usize) -> Result<Option<(u64, Range<usize>)>, Why> {
    let Some(head) = file.get(at..at + RECORD_HEAD_BYTES) else { return Ok(None) };
    let sum = u64::from_be_bytes(head[..8].try_into().expect("eight bytes"));
    let length = i32::from_be_bytes(head[8..].try_into().expect("four bytes"));
    if matches!(length, 0 | -1) {
        return Ok(None);
    }
    let size = usize::try_from(length).ok().filter(|size| *size <= payload_max).ok_or(Why::Length(length))?;
    let payload = at + RECORD_HEAD_BYTES..at + RECORD_HEAD_BYTES + size;
    if payload.end > file.len() {
        return Err(Why::Short);
    }
    if file.get(payload.end) != Some(&EOR) {
        return Err(Why::NoEnd);
    }
    Ok(Some((sum, payload)))
}

/// The last whole group behind `from`: later groups know more.
fn group_beyond(file: &[u8], from: usize, dbid: u64) -> Option<Beyond> {
    let first = (from / BLOCK + 1) * BLOCK;
    let last = file.len() / BLOCK * BLOCK;
    let start_min = (from + 1).saturating_sub(BLOCK) as u64;
    let trailers = (first..=last).step_by(BLOCK).filter_map(|end| format::trailer_before(file, end, dbid, start_min));
    let found = trailers.max_by_key(|trailer| trailer.durable)?;
    Some(Beyond { offset: found.start as usize, durable: found.durable })
}

/// A whole record behind `from`, in a file without trailers.
fn record_beyond(file: &[u8], from: usize, payload_max: usize) -> Option<Beyond> {
    let mut sums = None;
    let mut at = from + 1;
    while at + RECORD_HEAD_BYTES < file.len() {
        // A record starts with four zero bytes and four of Adler-32, which are not all zero.
        let Some(skip) = file[at..].iter().position(|byte| *byte != 0) else { break };
        at = at.max((at + skip).saturating_sub(7));
        if file[at..at + 4] == [0; 4]
            && let Ok(Some((sum, payload))) = read_frame(file, at, payload_max)
            && sums.get_or_insert_with(|| Sums::of(file)).checksum(payload) == sum
            && let Ok(Some(found)) = read_record(file, at, payload_max)
        {
            return Some(Beyond { offset: at, durable: found.zxid });
        }
        at += 1;
    }
    None
}

/// Adler-32 of any part of a file at the cost of two short walks, however long the part is: where reading has stopped, every
/// offset may be a record's, and what clients store can look like a megabyte of records' heads.
struct Sums<'f> {
    file: &'f [u8],
    /// At every [`Sums::STEP`]: the sum of the bytes before, and of the bytes times their offsets.
    steps: Vec<(u64, u64)>,
}

impl<'f> Sums<'f> {
    const STEP: usize = 1024;
    /// The modulus of Adler-32.
    const PRIME: u64 = 65_521;

    fn of(file: &'f [u8]) -> Sums<'f> {
        let mut sums = Sums { file, steps: Vec::with_capacity(file.len() / Self::STEP + 1) };
        let mut before = (0, 0);
        sums.steps.push(before);
        for (step, bytes) in file.chunks_exact(Self::STEP).enumerate() {
            before = Self::add(before, step * Self::STEP, bytes);
            sums.steps.push(before);
        }
        sums
    }

    /// The sums before `offset` become those behind `bytes`, of which there are no more than a step.
    fn add((sum, weighted): (u64, u64), offset: usize, bytes: &[u8]) -> (u64, u64) {
        let (mut plain, mut by_place) = (0, 0);
        for (place, byte) in bytes.iter().enumerate() {
            plain += u64::from(*byte);
            by_place += place as u64 * u64::from(*byte);
        }
        let offset = offset as u64 % Self::PRIME;
        ((sum + plain) % Self::PRIME, (weighted + offset * plain + by_place) % Self::PRIME)
    }

    fn before(&self, offset: usize) -> (u64, u64) {
        let step = offset / Self::STEP;
        let start = step * Self::STEP;
        Self::add(self.steps[step], start, &self.file[start..offset])
    }

    fn checksum(&self, part: Range<usize>) -> u64 {
        let (length, end) = (part.len() as u64 % Self::PRIME, part.end as u64 % Self::PRIME);
        let ((sum_from, weighted_from), (sum_to, weighted_to)) = (self.before(part.start), self.before(part.end));
        let sum = (Self::PRIME + sum_to - sum_from) % Self::PRIME;
        let weighted = (Self::PRIME + weighted_to - weighted_from) % Self::PRIME;
        let low = (1 + sum) % Self::PRIME;
        // Each byte counts as often as there are bytes from it to the end.
        let high = (length + end * sum + Self::PRIME - weighted) % Self::PRIME;
        high << 16 | low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_any_part_is_its_checksum() {
        let mut state = 7u64;
        let file: Vec<u8> = (0..10_000)
            .map(|at| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if at < 3000 { 0xFF } else { (state >> 40) as u8 }
            })
            .collect();
        let sums = Sums::of(&file);
        for start in (0..file.len()).step_by(97).chain([1023, 1024, 1025, 10_000]) {
            for end in (start..=file.len()).step_by(61).chain([file.len()]) {
                assert_eq!(sums.checksum(start..end), format::checksum(&file[start..end]), "{start}..{end}");
            }
        }
    }
}
