//! Group commit without the I/O: which records go into the next write, where it goes, and what is durable once it is done.
//!
//! ```text
//! append ─▶ open group ─▶ full groups ─▶ in flight (≤ max) ─▶ durable
//!           ▲ collects while a write is in flight             ▲ contiguous, and the file has its name
//! ```

use std::{collections::VecDeque, io};

use aligned::AlignedBuf;
use host::{Entropy, SeededEntropy};
use proto::{Encode, Millis, Txn, TxnHeader, Zxid, txn::put_digest};

use crate::{
    format::{BLOCK, HEADER_BYTES, PADDING_MAX, RECORD_HEAD_BYTES, closed_bytes},
    group::Group,
    mark::MARK_EVERY_MS,
    names,
    segment::{Done, SegmentId, Work},
};

/// Records of a group take at most this much, unless it is a single record.
pub const GROUP_BYTES_MAX: usize = 256 << 10;
/// Appended records that may wait for their write, all together; the last of them may exceed it.
pub const PENDING_BYTES_MAX: usize = 8 << 20;
/// The first segment of a directory is this small, so that a new server need not wait for a large one.
pub const FIRST_SEGMENT_BYTES: u64 = 8 << 20;
/// Segments kept ready beyond the one in use.
pub const SPARES: usize = 1;
/// Segments that are used up within so many milliseconds of each other are followed by larger ones: naming a file takes the disk as
/// long as dozens of groups, and whoever waits for the first group of a file waits for that too.
pub const GROW_WITHIN_MS: i64 = 2000;
/// How often the size is doubled at most.
pub const GROWTH_MAX: u32 = 2;
/// A segment that could not be prepared is tried again after so many milliseconds.
pub const PREPARE_RETRY_MS: i64 = 1000;
/// Buffers kept for later groups.
const POOL: usize = 4;

/// Settings of a log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// `preAllocSize`, in bytes. A segment is never so small that a group and the largest record do not fit, and larger while segments
    /// are used up quickly ([`GROW_WITHIN_MS`]), unless `file_bytes_max` is set.
    pub segment_bytes: u64,
    /// `jute.maxbuffer` plus extra size: what a reader accepts as a payload.
    pub payload_bytes_max: usize,
    /// See [`GROUP_BYTES_MAX`].
    pub group_bytes_max: usize,
    /// Writes under way at once. With one, a whole later group proves that an earlier one was acknowledged.
    pub groups_in_flight_max: usize,
    /// `forceSync`: are writes durable when they complete?
    pub sync: bool,
    /// `txnLogSizeLimitInKb`, in bytes: a file that is longer is not continued.
    pub file_bytes_max: Option<u64>,
    /// Seed of the files' salts, from [`Entropy`].
    pub seed: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            payload_bytes_max: 2 * 0xF_FFFF,
            group_bytes_max: GROUP_BYTES_MAX,
            groups_in_flight_max: 1,
            sync: true,
            file_bytes_max: None,
            seed: 0,
        }
    }
}

impl LogOptions {
    /// The smallest useful segment: it holds any group and any single record.
    fn segment_bytes_min(&self) -> u64 {
        let largest = self.group_bytes_max.max(self.payload_bytes_max) + HEADER_BYTES + RECORD_HEAD_BYTES + 1;
        closed_bytes(largest) as u64
    }
}

/// Why a transaction is not appended. Nothing has happened then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// With the padding that may follow it, a reader would refuse the payload. Ask [`Log::payload_bytes_max`] first.
    #[error("a transaction of {bytes} bytes does not fit the log's limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest that is accepted.
        max: usize,
    },
    /// [`Log::can_accept`] would have said no.
    #[error("the log has no room")]
    Full,
}

/// The log can no longer be trusted. The process ends, with an exit status of its own.
#[derive(Debug, thiserror::Error)]
#[error("the transaction log failed: {what} of {file} at offset {offset}: {source}")]
pub struct LogFailed {
    /// `write` or `name`.
    pub what: &'static str,
    /// The file's name in the log directory.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// The answer of the system.
    pub source: io::Error,
}

/// Identifies a write under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct WriteToken(u64);

/// One write of whole blocks.
#[derive(Debug)]
pub struct LogWrite {
    /// To be given back with the result.
    pub token: WriteToken,
    /// The file, opened when [`Done::Prepared`] told of it.
    pub segment: SegmentId,
    /// Where: a multiple of 4 KiB, never used before.
    pub offset: u64,
    /// What: a multiple of 4 KiB in aligned memory.
    pub buffer: AlignedBuf,
    /// The last zxid in it.
    pub final_zxid: Zxid,
    /// Does it have to be durable when it completes (`RWF_DSYNC`)?
    pub sync: bool,
}

struct Segment {
    id: SegmentId,
    /// Its name now: prepared, or `log.<hex>`.
    name: String,
    bytes: u64,
    dbid: u64,
    /// Where the next group goes.
    end: u64,
    named: bool,
    in_flight: usize,
}

struct InFlight {
    token: WriteToken,
    segment: SegmentId,
    final_zxid: Zxid,
    bytes: usize,
    offset: u64,
    written: bool,
}

/// The state machine. See the crate root for the caller's contract.
pub struct Log {
    options: LogOptions,
    entropy: SeededEntropy,
    scratch: Vec<u8>,
    pool: Vec<AlignedBuf>,

    open: Group,
    full: VecDeque<Group>,
    in_flight: VecDeque<InFlight>,
    next_token: u64,

    /// Files not yet retired, oldest first; the last is the one in use.
    segments: VecDeque<Segment>,
    ready: VecDeque<Segment>,
    preparing: Option<(SegmentId, String)>,
    next_segment: u64,
    leftovers: VecDeque<String>,
    /// Beyond the numbers of all leftovers.
    next_name: u64,
    /// How often the size of segments is doubled at present; when one was last asked for; was the last one used up?
    growth: u32,
    prepared_at: Option<Millis>,
    used_up: bool,
    starved: Option<(io::Error, Option<Millis>)>,
    work: VecDeque<Work>,

    appended: Zxid,
    durable: Zxid,
    /// What the last mark says that was asked for, and when the next may be.
    marked: (Zxid, Millis),
    marking: bool,
    /// Names and retirements that the background has not reported yet.
    working: usize,
    held: bool,
    written_bytes: u64,
    failed: bool,
}

impl Log {
    /// A log that goes on after `last`, in a new file. `leftovers` are the prepared segments that recovery found.
    pub fn new(options: LogOptions, last: Zxid, leftovers: Vec<String>) -> Log {
        assert!((1..=2).contains(&options.groups_in_flight_max), "one or two writes are in flight");
        Log {
            entropy: SeededEntropy::new(options.seed),
            options,
            scratch: Vec::new(),
            pool: Vec::new(),
            open: Group::new(AlignedBuf::new(), false),
            full: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_token: 0,
            segments: VecDeque::new(),
            ready: VecDeque::new(),
            preparing: None,
            next_segment: 0,
            next_name: leftovers.iter().filter_map(|name| names::parse_prepared(name)).max().map_or(0, |last| last + 1),
            leftovers: leftovers.into(),
            growth: 0,
            prepared_at: None,
            used_up: false,
            starved: None,
            work: VecDeque::new(),
            appended: last,
            durable: last,
            marked: (Zxid::ZERO, Millis(i64::MIN)),
            marking: false,
            working: 0,
            held: false,
            written_bytes: 0,
            failed: false,
        }
    }

    /// Everything up to here is on disk, if `sync` is on.
    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// What a mark may say now. `None` without `forceSync`: nothing is known to be durable then.
    pub fn may_mark(&self) -> Option<Zxid> {
        (self.options.sync && !self.failed).then_some(self.durable)
    }

    /// The last transaction taken.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    /// The last transaction that is in a write, done or under way.
    pub fn issued(&self) -> Zxid {
        self.in_flight.back().map_or(self.durable, |write| write.final_zxid)
    }

    /// Bytes handed out in writes since the start, padding included: what counts for `snapSizeLimitInKb`.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Is nothing waiting and nothing in flight?
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.full.is_empty() && self.in_flight.is_empty()
    }

    /// Idle, and the background has nothing under way that concerns files in use: the log may be cut ([`Log::restart_after`]).
    pub fn is_quiet(&self) -> bool {
        self.is_idle() && self.working == 0 && !self.marking
    }

    /// While held, no file is cut to size and the mark is not renewed: a member without a leader may have to take back the end of its
    /// log at any moment, and then nothing may be under way.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
        let waiting = self.work.len();
        self.work.retain(|work| !held || !matches!(work, Work::Mark { .. }));
        if self.work.len() < waiting {
            self.marking = false;
            self.marked.0 = Zxid::ZERO;
        }
    }

    /// The files were cut behind `last`, or hold nothing that counts any more: goes on after it, in a new file.
    ///
    /// # Panics
    /// If the log is not quiet.
    pub fn restart_after(&mut self, last: Zxid) -> Vec<SegmentId> {
        assert!(self.is_quiet(), "files under way are not cut");
        self.work.retain(|work| !matches!(work, Work::Retire { .. } | Work::Mark { .. }));
        self.appended = last;
        self.durable = last;
        self.marked.0 = Zxid::ZERO;
        self.segments.drain(..).map(|segment| segment.id).collect()
    }

    /// The largest payload (header, transaction, digest) that [`Log::append`] takes: closing a group may lengthen it, and
    /// a reader with the same `jute.maxbuffer` must still accept it.
    pub fn payload_bytes_max(&self) -> usize {
        self.options.payload_bytes_max.saturating_sub(PADDING_MAX)
    }

    /// Is there certainly room for `bytes` more of payloads? To be asked before a transaction gets its zxid; while the
    /// answer is no, writes are to be shed. It becomes yes again by itself.
    pub fn can_accept(&self, bytes: usize) -> bool {
        let wanted = bytes + RECORD_HEAD_BYTES + 1;
        let pending = self.pending_bytes();
        // Not `pending + wanted`: who asks for the largest record there may be would wait for every small one.
        if self.failed || pending >= PENDING_BYTES_MAX {
            return false;
        }
        // As far as is known, a segment will be ready in time; if not, what there is has to do.
        self.starved.is_none() || (wanted + PADDING_MAX) as u64 <= self.free_bytes()
    }

    /// Bytes of prepared space that nothing waits for.
    pub fn free_bytes(&self) -> u64 {
        let current = self.segments.back().map_or(0, |segment| segment.bytes - segment.end);
        let ready: u64 = self.ready.iter().map(|segment| segment.bytes).sum();
        // A group that does not fit the rest of a segment leaves it unused.
        let lost = if self.ready.is_empty() { 0 } else { self.options.group_bytes_max as u64 };
        (current + ready).saturating_sub(self.pending_closed_bytes() + lost)
    }

    /// Why no segment can be prepared at the moment.
    pub fn starved(&self) -> Option<&io::Error> {
        self.starved.as_ref().map(|(error, _)| error)
    }

    /// Takes a transaction: encodes it behind those taken before. `digest` is the tree's after it.
    pub fn append(&mut self, header: &TxnHeader, txn: &Txn<'_>, digest: Option<u64>) -> Result<(), AppendError> {
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        header.encode(&mut payload);
        txn.encode(&mut payload);
        if let Some(digest) = digest {
            put_digest(&mut payload, digest);
        }
        let result = self.append_payload(header.zxid, &payload);
        self.scratch = payload;
        result
    }

    /// As [`Log::append`], for a transaction that is encoded already (header, transaction, digest).
    pub fn append_payload(&mut self, zxid: Zxid, payload: &[u8]) -> Result<(), AppendError> {
        debug_assert_eq!(crate::format::payload_zxid(payload), Some(zxid), "the payload is that transaction");
        if payload.len() > self.payload_bytes_max() {
            return Err(AppendError::TooLarge { bytes: payload.len(), max: self.payload_bytes_max() });
        }
        if !self.can_accept(payload.len()) {
            return Err(AppendError::Full);
        }
        let wanted = payload.len() + RECORD_HEAD_BYTES + 1;
        if !self.open.is_empty() && self.open.len() + wanted > self.options.group_bytes_max {
            self.close_open(false);
        }
        self.open.append(zxid, payload);
        self.appended = zxid;
        Ok(())
    }

    /// Starts a new file with the next transaction, as ZooKeeper does when it takes a snapshot.
    pub fn roll(&mut self) {
        if self.open.is_empty() {
            self.open.starts_file = true;
        } else {
            self.close_open(true);
        }
    }

    /// The next write to issue, if one may be issued now.
    pub fn next_write(&mut self) -> Option<LogWrite> {
        if self.failed || self.in_flight.len() >= self.options.groups_in_flight_max {
            return None;
        }
        if self.full.is_empty() && self.open.is_empty() {
            return None;
        }
        let next = self.full.front().unwrap_or(&self.open);
        let fits = self.segments.back().is_some_and(|segment| {
            let started = segment.end > 0;
            let long = self.options.file_bytes_max.is_some_and(|max| segment.end > max);
            let room = segment.end + next.closed_bytes(!started) as u64 <= segment.bytes;
            room && !(started && (next.starts_file || long))
        });
        if !fits {
            self.start_segment(next.first_zxid)?;
        }
        if self.full.is_empty() {
            self.close_open(false);
        }
        let group = self.full.pop_front().expect("there is a group, as checked above");
        let segment = self.segments.back_mut().expect("a segment was found or started above");
        let final_zxid = group.final_zxid;
        let (offset, durable) = (segment.end, self.durable);
        let buffer = group.close(offset, durable, segment.dbid);
        assert!(buffer.len().is_multiple_of(BLOCK), "a write is whole blocks");
        segment.end += buffer.len() as u64;
        segment.in_flight += 1;
        assert!(segment.end <= segment.bytes, "a group lies within its segment");
        let token = WriteToken(self.next_token);
        self.next_token += 1;
        self.written_bytes += buffer.len() as u64;
        self.in_flight.push_back(InFlight {
            token,
            segment: segment.id,
            final_zxid,
            bytes: buffer.len(),
            offset,
            written: false,
        });
        Some(LogWrite { token, segment: segment.id, offset, buffer, final_zxid, sync: self.options.sync })
    }

    /// A write has completed with `result` bytes. Answers the new durable zxid if it moved. A short write is a failure:
    /// nobody knows what is on the disk then.
    pub fn written(
        &mut self,
        token: WriteToken,
        result: io::Result<usize>,
        buffer: AlignedBuf,
    ) -> Result<Option<Zxid>, LogFailed> {
        let at = self.in_flight.iter().position(|write| write.token == token).expect("the token of a write in flight");
        let write = &mut self.in_flight[at];
        let result = result.and_then(|count| {
            let whole = count == write.bytes;
            whole
                .then_some(())
                .ok_or_else(|| io::Error::new(io::ErrorKind::WriteZero, format!("{count} bytes written")))
        });
        write.written = true;
        let (segment, offset) = (write.segment, write.offset);
        if self.pool.len() < POOL {
            self.pool.push(buffer);
        }
        match result {
            Ok(()) => Ok(self.advance()),
            Err(source) => Err(self.fail("write", segment, offset, source)),
        }
    }

    /// The next thing for the background, if any. `now` is monotonic.
    pub fn next_work(&mut self, now: Millis) -> Option<Work> {
        self.mark_if_due(now);
        if let Some((_, retry)) = &mut self.starved {
            let at = *retry.get_or_insert(now.plus(PREPARE_RETRY_MS));
            if now < at {
                return self.hand_out();
            }
        }
        let wanted = if self.segments.is_empty() { SPARES + 1 } else { SPARES };
        if !self.failed && self.preparing.is_none() && self.ready.len() < wanted {
            let segment = SegmentId(self.next_segment);
            let name = self.prepared_name();
            let size = if segment.0 == 0 {
                FIRST_SEGMENT_BYTES.min(self.options.segment_bytes)
            } else {
                self.grow(now);
                self.options.segment_bytes << self.growth
            };
            let bytes = size.max(self.options.segment_bytes_min());
            let salt = self.entropy.next_u64() as u32;
            self.next_segment += 1;
            self.preparing = Some((segment, name.clone()));
            // A retry is under way now; the next failure sets the time of the one after it.
            if let Some((_, retry)) = &mut self.starved {
                *retry = Some(Millis(i64::MAX));
            }
            self.work.push_back(Work::Prepare {
                segment,
                name,
                bytes: bytes.next_multiple_of(BLOCK as u64),
                bytes_min: self.options.segment_bytes_min(),
                salt,
            });
        }
        self.hand_out()
    }

    fn hand_out(&mut self) -> Option<Work> {
        let may = |work: &Work| !self.held || matches!(work, Work::Prepare { .. } | Work::Name { .. });
        let at = self.work.iter().position(may)?;
        let work = self.work.remove(at)?;
        self.working += usize::from(matches!(work, Work::Name { .. } | Work::Retire { .. }));
        Some(work)
    }

    /// When to call [`Log::next_work`] again although nothing happened.
    pub fn next_time(&self) -> Option<Millis> {
        let retry = self.starved.as_ref().and_then(|(_, retry)| *retry).filter(|at| at.0 != i64::MAX);
        let mark = self.wants_mark().then_some(self.marked.1);
        retry.into_iter().chain(mark).min()
    }

    fn wants_mark(&self) -> bool {
        !self.marking && !self.held && self.may_mark().is_some_and(|durable| durable > self.marked.0)
    }

    fn mark_if_due(&mut self, now: Millis) {
        if !self.wants_mark() {
            return;
        }
        if self.marked.1.0 == i64::MIN {
            // The first writes of a process are not more urgent than later ones.
            self.marked.1 = now.plus(MARK_EVERY_MS);
        }
        if now >= self.marked.1 {
            self.marked = (self.durable, now.plus(MARK_EVERY_MS));
            self.marking = true;
            self.work.push_back(Work::Mark { durable: self.durable });
        }
    }

    /// A work is done. Answers the new durable zxid if it moved.
    pub fn work_done(&mut self, done: Done) -> Result<Option<Zxid>, LogFailed> {
        self.working -= usize::from(matches!(done, Done::Named { .. } | Done::Retired { .. }));
        match done {
            Done::Prepared { segment, bytes, dbid, .. } => {
                let (id, name) = self.preparing.take().expect("a segment was being prepared");
                assert_eq!(id, segment, "one segment is prepared at a time");
                self.starved = None;
                self.ready.push_back(Segment { id, name, bytes, dbid, end: 0, named: false, in_flight: 0 });
                Ok(None)
            }
            Done::PrepareFailed { segment, error } => {
                let (id, _) = self.preparing.take().expect("a segment was being prepared");
                assert_eq!(id, segment, "one segment is prepared at a time");
                self.starved = Some((error, None));
                self.growth = 0;
                Ok(None)
            }
            Done::Named { segment, result: Ok(()) } => {
                self.find(segment).named = true;
                Ok(self.advance())
            }
            Done::Named { segment, result: Err(source) } => Err(self.fail("name", segment, 0, source)),
            Done::Retired { .. } => Ok(None),
            Done::Marked { .. } => {
                self.marking = false;
                Ok(None)
            }
        }
    }

    fn find(&mut self, id: SegmentId) -> &mut Segment {
        self.segments.iter_mut().find(|segment| segment.id == id).expect("a segment in use")
    }

    fn fail(&mut self, what: &'static str, segment: SegmentId, offset: u64, source: io::Error) -> LogFailed {
        self.failed = true;
        LogFailed { what, file: self.find(segment).name.clone(), offset, source }
    }

    fn advance(&mut self) -> Option<Zxid> {
        let before = self.durable;
        while let Some(write) = self.in_flight.front() {
            let segment = self.segments.iter_mut().find(|s| s.id == write.segment).expect("a segment in use");
            if self.failed || !write.written || !segment.named {
                break;
            }
            segment.in_flight -= 1;
            self.durable = write.final_zxid;
            self.in_flight.pop_front();
        }
        while self.segments.len() > 1 && self.segments[0].in_flight == 0 {
            let old = self.segments.pop_front().expect("there is one");
            self.work.push_back(Work::Retire { segment: old.id, name: old.name, bytes: old.end });
        }
        (self.durable != before).then_some(self.durable)
    }

    /// Decides on the size of the next segment, now that one was taken into use.
    fn grow(&mut self, now: Millis) {
        let soon = self.prepared_at.is_some_and(|at| now.since(at) < GROW_WITHIN_MS);
        self.prepared_at = Some(now);
        if !soon {
            self.growth = self.growth.saturating_sub(1);
        } else if self.used_up && self.options.file_bytes_max.is_none() {
            self.growth = (self.growth + 1).min(GROWTH_MAX);
        }
    }

    fn start_segment(&mut self, first: Zxid) -> Option<()> {
        let mut segment = self.ready.pop_front()?;
        self.used_up = self.segments.back().is_some_and(|full| full.end > full.bytes - full.bytes / 4);
        let to = names::log_name(first);
        let from = std::mem::replace(&mut segment.name, to.clone());
        self.work.push_back(Work::Name { segment: segment.id, from, to });
        self.segments.push_back(segment);
        self.advance();
        Some(())
    }

    fn close_open(&mut self, starts_file: bool) {
        let next = Group::new(self.pool.pop().unwrap_or_default(), starts_file);
        self.full.push_back(std::mem::replace(&mut self.open, next));
    }

    fn pending_bytes(&self) -> usize {
        self.open.len() + self.full.iter().map(Group::len).sum::<usize>()
    }

    fn pending_closed_bytes(&self) -> u64 {
        let open = if self.open.is_empty() { 0 } else { self.open.closed_bytes(true) };
        (open + self.full.iter().map(|group| group.closed_bytes(true)).sum::<usize>()) as u64
    }

    fn prepared_name(&mut self) -> String {
        self.leftovers.pop_front().unwrap_or_else(|| {
            self.next_name += 1;
            names::prepared_name(self.next_name - 1)
        })
    }
}
