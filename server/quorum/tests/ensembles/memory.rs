//! A replica in memory: a list of transactions whose durable part the test moves, and that survives a crash as a disk would.
#![allow(dead_code, reason = "the crate's own tests use it too, and each uses a part")]

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use pipeline::Now;
use proto::{SessionId, Sid, Xid, Zxid};
use quorum::replica::{Forwarded, History, Payload, Refused, Replica, Role, SnapshotStream};
use quorum::view::QuorumView;

/// A transaction: a header with `zxid`, and a number.
pub fn txn(zxid: Zxid, number: u64) -> Payload {
    let mut bytes = vec![0; 40];
    bytes[12..20].copy_from_slice(&zxid.0.to_be_bytes());
    bytes[32..40].copy_from_slice(&number.to_be_bytes());
    Arc::from(bytes)
}

/// What it told that happened, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    Lead(i64),
    Commit(Zxid),
    Serve(Role),
    Stop,
    Propose(Zxid),
    Truncate(Zxid),
    BeginSnapshot(Zxid),
    SnapshotTxn(Zxid),
    FinishSnapshot,
    AcceptedEpoch(i64),
    CurrentEpoch(i64),
    Synced,
    Revalidated(SessionId, bool),
    Forwarded(Sid, Xid),
    SyncForwarded(Sid),
    Touched(SessionId, i32),
    Activated(i64),
}

/// See the module's page.
pub struct Memory {
    // --- what a crash leaves
    /// The snapshot on disk: its zxid, and all transactions in it.
    pub base_zxid: Zxid,
    pub base: Vec<(Zxid, Payload)>,
    /// Behind the snapshot.
    pub log: Vec<(Zxid, Payload)>,
    pub durable_len: usize,
    pub accepted: i64,
    pub current: i64,
    /// The configuration that is in force, if it is not that of the beginning.
    pub view: Option<QuorumView>,
    /// One that was proposed.
    pub seen_view: Option<QuorumView>,
    /// One that the history has at a start.
    pub recalled_view: Option<QuorumView>,
    /// One that readers are shown because the history has it.
    pub shown_view: Option<QuorumView>,
    // --- what it does not
    pub final_to: Zxid,
    began: Zxid,
    history: History,
    /// Final transactions that the history keeps.
    pub window: usize,
    receiving: Option<(Zxid, Vec<u8>)>,
    behind: Vec<(Zxid, Payload)>,
    pub role: Option<Role>,
    pub told: Vec<Told>,
    /// Requests that learners forwarded and that the sequencer has not taken, in order; `None` is a sync.
    pub asked: VecDeque<(Sid, Option<Forwarded>)>,
    pub touched: Vec<(SessionId, i32)>,
    /// Truncations are refused: the history does not reach back.
    pub cannot_truncate: bool,
    /// The next write to the disk fails.
    pub broken_disk: bool,
    pub log_is_gone: bool,
    /// A snapshot is whatever ends as one does.
    pub any_snapshot: bool,
}

impl Memory {
    pub fn new() -> Memory {
        Memory {
            base_zxid: Zxid::ZERO,
            base: Vec::new(),
            log: Vec::new(),
            durable_len: 0,
            accepted: 0,
            current: 0,
            view: None,
            seen_view: None,
            recalled_view: None,
            shown_view: None,
            final_to: Zxid::ZERO,
            began: Zxid::ZERO,
            history: History::default(),
            window: 20,
            receiving: None,
            behind: Vec::new(),
            role: None,
            told: Vec::new(),
            asked: VecDeque::new(),
            touched: Vec::new(),
            cannot_truncate: false,
            broken_disk: false,
            log_is_gone: false,
            any_snapshot: false,
        }
    }

    /// With these transactions, durable, in the epochs that they say.
    pub fn with(zxids: &[Zxid]) -> Memory {
        let mut memory = Memory::new();
        memory.log = zxids.iter().map(|&zxid| (zxid, txn(zxid, zxid.0 as u64))).collect();
        memory.durable_len = memory.log.len();
        memory.current = zxids.last().map_or(0, |zxid| i64::from(zxid.epoch()));
        memory.accepted = memory.current;
        memory.window = usize::MAX;
        memory.restore();
        memory
    }

    /// The process dies; of what was not durable, the disk may have some.
    pub fn crash(&mut self, more: usize) {
        self.log.truncate(self.durable_len + more);
        self.durable_len = self.log.len();
        self.restore();
    }

    fn restore(&mut self) {
        self.final_to = self.base_zxid;
        self.began = Zxid::ZERO;
        self.receiving = None;
        self.role = None;
        self.asked.clear();
        self.refill();
    }

    fn refill(&mut self) {
        self.history.txns = self.log.iter().cloned().collect();
        self.history.last = self.last_logged();
        self.trim();
    }

    fn trim(&mut self) {
        while self.history.txns.len() > self.window
            && self.history.txns.front().is_some_and(|(zxid, _)| *zxid <= self.final_to)
        {
            self.history.txns.pop_front();
        }
    }

    /// Everything, from the first transaction.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &(Zxid, Payload)> {
        self.base.iter().chain(&self.log)
    }

    /// What would survive a power cut.
    pub fn has_durably(&self, zxid: Zxid) -> bool {
        let durable = self.base.iter().chain(&self.log[..self.durable_len]);
        durable.rev().take_while(|(have, _)| *have >= zxid).any(|(have, _)| *have == zxid)
    }

    /// The disk has written everything.
    pub fn sync_log(&mut self) {
        self.durable_len = self.log.len();
    }

    /// As leader: the next transaction.
    pub fn make(&mut self, number: u64) -> (Zxid, Payload) {
        let zxid = self.last_logged().next();
        let payload = txn(zxid, number);
        self.append(zxid, payload.clone());
        (zxid, payload)
    }

    /// A transaction is made, or taken over.
    pub fn append(&mut self, zxid: Zxid, payload: Payload) {
        self.log.push((zxid, payload.clone()));
        self.history.txns.push_back((zxid, payload));
        self.history.last = zxid;
    }

    fn disk(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.broken_disk) { Err(io::Error::other("the disk refuses")) } else { Ok(()) }
    }
}

struct Stream {
    zxid: Zxid,
    bytes: Vec<u8>,
    sent: usize,
}

pub const END: &[u8] = b"\0\0\0\x0aBenWasHere";

impl SnapshotStream for Stream {
    fn zxid(&self) -> Zxid {
        self.zxid
    }

    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> bool {
        let end = (self.sent + budget).min(self.bytes.len());
        out.extend_from_slice(&self.bytes[self.sent..end]);
        self.sent = end;
        end == self.bytes.len()
    }
}

/// Count, each with its length, and the end.
pub fn snapshot_bytes<'a>(txns: impl Iterator<Item = &'a (Zxid, Payload)>) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    let mut count = 0u32;
    for (_, payload) in txns {
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        count += 1;
    }
    bytes[..4].copy_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(END);
    bytes
}

/// Where the snapshot at the front ends, if all of it is there.
fn snapshot_end(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?) as usize)
    };
    let mut end = 4;
    for _ in 0..number(0)? {
        end += 4 + number(end)?;
    }
    let end = end + END.len();
    (bytes.len() >= end).then_some(end)
}

impl Replica for Memory {
    fn last_logged(&self) -> Zxid {
        self.log.last().map_or(self.base_zxid, |(zxid, _)| *zxid).max(self.began)
    }

    fn durable(&self) -> Zxid {
        if self.durable_len == self.log.len() {
            return self.last_logged();
        }
        let last = self.durable_len.checked_sub(1).map_or(self.base_zxid, |index| self.log[index].0);
        // The epoch began before anything of it was logged.
        if self.began < self.log[self.durable_len].0 { last.max(self.began) } else { last }
    }

    fn committed(&self) -> Zxid {
        self.final_to
    }

    fn accepted_epoch(&self) -> i64 {
        self.accepted
    }

    fn current_epoch(&self) -> i64 {
        self.current
    }

    fn set_accepted_epoch(&mut self, epoch: i64) -> io::Result<()> {
        self.disk()?;
        assert!(epoch > self.accepted, "accepted epochs only grow");
        self.accepted = epoch;
        self.told.push(Told::AcceptedEpoch(epoch));
        Ok(())
    }

    fn set_current_epoch(&mut self, epoch: i64) -> io::Result<()> {
        self.disk()?;
        assert!(epoch >= self.current, "current epochs only grow");
        assert!(epoch <= self.accepted, "the current epoch was accepted");
        self.current = epoch;
        self.told.push(Told::CurrentEpoch(epoch));
        Ok(())
    }

    fn history(&self) -> &History {
        &self.history
    }

    fn read_log(&mut self, from: Zxid, before: Zxid, bytes_max: u64) -> Option<Vec<(Zxid, Payload)>> {
        let log = &self.log[..self.durable_len];
        let start = log.partition_point(|(zxid, _)| *zxid <= from).checked_sub(1)?;
        let end = log.partition_point(|(zxid, _)| *zxid < before).max(start);
        let found = log[start..end].to_vec();
        let bytes: usize = found.iter().map(|(_, payload)| payload.len()).sum();
        (bytes as u64 <= bytes_max && !self.log_is_gone).then_some(found)
    }

    fn snapshot_bytes(&self) -> Option<u64> {
        (self.base_zxid != Zxid::ZERO).then_some(40 * self.base.len() as u64)
    }

    fn snapshot_stream(&mut self) -> Box<dyn SnapshotStream> {
        let zxid = self.final_to;
        let bytes = snapshot_bytes(self.all().filter(|(have, _)| *have <= zxid));
        Box::new(Stream { zxid, bytes, sent: 0 })
    }

    fn lead(&mut self, epoch: i64, _now: Now) {
        self.next_epoch(epoch);
        self.role = Some(Role::Leader);
    }

    fn next_epoch(&mut self, epoch: i64) {
        if self.role == Some(Role::Leader) {
            assert_eq!(self.durable_len, self.log.len(), "epoch {epoch} begins behind what is durable");
        }
        self.began = Zxid(epoch << 32);
        self.final_to = self.began;
        self.history.last = self.began;
        self.told.push(Told::Lead(epoch));
    }

    fn commit(&mut self, zxid: Zxid, _now: Now) {
        self.final_to = self.final_to.max(zxid);
        self.trim();
        self.told.push(Told::Commit(zxid));
    }

    fn forwarded(&mut self, from: Sid, request: Forwarded, _now: Now) {
        self.told.push(Told::Forwarded(from, request.xid));
        self.asked.push_back((from, Some(request)));
    }

    fn sync_forwarded(&mut self, from: Sid) {
        self.told.push(Told::SyncForwarded(from));
        self.asked.push_back((from, None));
    }

    fn revalidate(&mut self, _from: Sid, session: SessionId, _timeout_ms: i32, _now: Now) -> bool {
        session.0 % 2 == 1
    }

    fn touch(&mut self, session: SessionId, timeout_ms: i32, _now: Now) {
        self.told.push(Told::Touched(session, timeout_ms));
    }

    fn propose(&mut self, zxid: Zxid, payload: &[u8], _now: Now) -> Result<(), Refused> {
        self.disk()?;
        assert!(zxid > self.last_logged(), "{zxid} behind {}", self.last_logged());
        self.append(zxid, Arc::from(payload));
        self.told.push(Told::Propose(zxid));
        Ok(())
    }

    fn truncate(&mut self, to: Zxid) -> Result<bool, Refused> {
        self.disk()?;
        self.told.push(Told::Truncate(to));
        let has = to == self.base_zxid || self.log.iter().any(|(zxid, _)| *zxid == to);
        if self.cannot_truncate || !has {
            return Ok(false);
        }
        self.log.retain(|(zxid, _)| *zxid <= to);
        self.durable_len = self.log.len();
        self.began = Zxid::ZERO;
        self.final_to = self.final_to.min(to);
        self.refill();
        Ok(true)
    }

    fn begin_snapshot(&mut self, zxid: Zxid) -> Result<(), Refused> {
        self.told.push(Told::BeginSnapshot(zxid));
        self.receiving = Some((zxid, Vec::new()));
        self.behind.clear();
        Ok(())
    }

    fn snapshot_received(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refused> {
        let (_, have) = self.receiving.as_mut().expect("a snapshot has begun");
        let before = have.len();
        have.extend_from_slice(bytes);
        if self.any_snapshot {
            let Some(start) = have.windows(END.len()).position(|window| window == END) else { return Ok(None) };
            *have = [&[0; 4], END].concat();
            return Ok(Some(start + END.len() - before));
        }
        let Some(end) = snapshot_end(have) else { return Ok(None) };
        if &have[end - END.len()..end] != END {
            return Err(Refused::Malformed("no end".to_owned()));
        }
        have.truncate(end);
        Ok(Some(end - before))
    }

    fn snapshot_txn(&mut self, zxid: Zxid, payload: &[u8]) -> Result<(), Refused> {
        self.told.push(Told::SnapshotTxn(zxid));
        self.behind.push((zxid, Arc::from(payload)));
        Ok(())
    }

    fn finish_snapshot(&mut self) -> Result<(), Refused> {
        self.disk()?;
        self.told.push(Told::FinishSnapshot);
        let (zxid, bytes) = self.receiving.take().expect("a snapshot has begun");
        self.base.clear();
        let mut rest = &bytes[4..bytes.len() - END.len()];
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let (payload, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
            let zxid = Zxid(i64::from_be_bytes(payload[12..20].try_into().unwrap()));
            self.base.push((zxid, Arc::from(payload)));
            rest = behind;
        }
        let behind = std::mem::take(&mut self.behind);
        let zxid = behind.last().map_or(zxid, |(last, _)| *last);
        self.base.extend(behind);
        self.base_zxid = zxid;
        self.log.clear();
        self.durable_len = 0;
        self.began = Zxid::ZERO;
        self.final_to = zxid;
        self.refill();
        Ok(())
    }

    fn serve(&mut self, role: Role, _now: Now) {
        self.role = Some(role);
        self.told.push(Told::Serve(role));
    }

    fn revalidated(&mut self, session: SessionId, valid: bool, _now: Now) {
        self.told.push(Told::Revalidated(session, valid));
    }

    fn synced(&mut self) {
        self.told.push(Told::Synced);
    }

    fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        std::mem::take(&mut self.touched)
    }

    fn saw_view(&mut self, view: &QuorumView) {
        self.seen_view = Some(view.clone());
    }

    fn shows(&mut self, view: &QuorumView) {
        self.shown_view = Some(view.clone());
    }

    fn activated(&mut self, view: &QuorumView) {
        self.told.push(Told::Activated(view.version()));
        self.view = Some(view.clone());
        self.seen_view = self.seen_view.take().filter(|seen| seen.version() > view.version());
    }

    fn stop_serving(&mut self, _now: Now) {
        self.role = None;
        self.receiving = None;
        self.asked.clear();
        self.told.push(Told::Stop);
    }
}
