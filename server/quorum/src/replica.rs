//! What ZAB needs of the server around it: the log, the tree, the sessions and the clients, behind one trait.
//!
//! One member of an ensemble has one history: the transactions in its log, in order. Its end is `last_logged`; a prefix of it, up to
//! `durable`, would survive a power cut now; a shorter prefix, up to `committed`, is final and visible to clients. What lies
//! behind `committed` may be taken back ([`Replica::truncate`]) when a leader does not have it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use pipeline::Now;
use proto::{Id, Op, SessionId, Sid, Xid, Zxid};

use crate::view::QuorumView;

/// A transaction as it travels and as it lies in the log: header, record, digest if it has one.
pub type Payload = Arc<[u8]>;

/// What a server is for its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It makes the order.
    Leader,
    /// It votes.
    Follower,
    /// It does not vote.
    Observer,
}

/// A request that a learner forwards on behalf of one of its clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarded {
    /// The client's session.
    pub session: SessionId,
    /// The client's number for the request.
    pub xid: Xid,
    /// What is asked: a write, createSession or closeSession. Whatever else came in its place is here too, and refused by the
    /// replica as the same request from a client would be.
    pub op: Op,
    /// The client's identities.
    pub ids: Vec<Id>,
    /// The request record, without its header.
    pub body: Vec<u8>,
}

/// The newest part of a member's history, in memory: what lags a little behind is sent from here.
///
/// Always a contiguous piece that ends with the last transaction logged. Everything that is not committed is in it.
#[derive(Debug, Default)]
pub struct History {
    /// In order.
    pub txns: VecDeque<(Zxid, Payload)>,
    /// The last transaction of the history, also when `txns` is empty; a new epoch's zxid with counter 0 included.
    pub last: Zxid,
}

/// A snapshot on its way to a learner: the bytes of peer-protocol.md §8, "BenWasHere" included.
pub trait SnapshotStream: Send {
    /// The last transaction that it contains.
    fn zxid(&self) -> Zxid;

    /// Appends about `budget` bytes to `out`; true when that was the end.
    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> bool;
}

/// Why a proposal, a snapshot or a truncation was not taken: the learner gives up this leader.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// What came is no transaction or no snapshot.
    #[error("{0}")]
    Malformed(String),
    /// The disk refuses; the process should end.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// See the module's page. All calls are made from one thread, and none waits for a disk except those that say so.
pub trait Replica {
    /// The end of the history: the last transaction appended to the log, or the first zxid of an epoch that began behind it.
    fn last_logged(&self) -> Zxid;

    /// All transactions up to here are durable. At least `last_logged` once the log is idle.
    fn durable(&self) -> Zxid;

    /// Is everything durable, and nothing under way that would be in the way of a truncation? A member that is looking for a leader waits
    /// for it before its first vote.
    fn is_settled(&self) -> bool {
        self.durable() >= self.last_logged()
    }

    /// All transactions up to here are final.
    fn committed(&self) -> Zxid;

    /// Promised to join no leader of an earlier epoch (`acceptedEpoch`).
    fn accepted_epoch(&self) -> i64;

    /// The epoch of the last leader whose whole initial history was taken (`currentEpoch`).
    fn current_epoch(&self) -> i64;

    /// Durable when it returns. An error must end the process.
    fn set_accepted_epoch(&mut self, epoch: i64) -> io::Result<()>;

    /// The history is now that of this epoch's leader, up to its end. Durable when it returns. An error must end the process.
    fn set_current_epoch(&mut self, epoch: i64) -> io::Result<()>;

    /// The newest part of the history.
    fn history(&self) -> &History;

    /// Reads the log files: the last transaction not newer than `from`, and all that follow, up to but without `before`. `None` if the
    /// files do not reach back so far, if there are more than `bytes_max` bytes of them, or if they cannot be read. Waits for the disk.
    fn read_log(&mut self, from: Zxid, before: Zxid, bytes_max: u64) -> Option<Vec<(Zxid, Payload)>>;

    /// Bytes of the newest snapshot file; `None` if there is none.
    fn snapshot_bytes(&self) -> Option<u64>;

    /// A consistent snapshot at `committed`, to be sent while the server goes on.
    fn snapshot_stream(&mut self) -> Box<dyn SnapshotStream>;

    // --- as leader

    /// A quorum follows: everything in the history is final, the next transaction is the first of `epoch`, all sessions have their whole
    /// timeout before them, clients are served.
    fn lead(&mut self, epoch: i64, now: Now);

    /// The epoch that this member leads goes over into this one: everything in the history is final and durable, the next transaction is the
    /// first of `epoch`. Sessions and clients notice nothing.
    fn next_epoch(&mut self, epoch: i64);

    /// A quorum (this member included, if it has acknowledged) has everything up to `zxid`: it is final. Monotonic. Used by leaders, and
    /// by learners when their leader says so; a learner that is not serving yet learns here what its leader takes for final.
    fn commit(&mut self, zxid: Zxid, now: Now);

    /// A learner forwards a request. Its transaction comes back as any other, in the order of calls. May be put off while the log is full.
    fn forwarded(&mut self, from: Sid, request: Forwarded, now: Now);

    /// A learner asks for a sync: behind all that it has forwarded before. Answered by a call of `Peer::sync_reached`.
    fn sync_forwarded(&mut self, from: Sid);

    /// A learner's client comes back to its session: does it exist? If so it belongs to that learner from now on.
    fn revalidate(&mut self, from: Sid, session: SessionId, timeout_ms: i32, now: Now) -> bool;

    /// A learner has heard of a session.
    fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Now);

    // --- as learner

    /// The next transaction of the leader's history: appended to the log and applied, not yet final.
    fn propose(&mut self, zxid: Zxid, payload: &[u8], now: Now) -> Result<(), Refused>;

    /// Takes back everything behind `to`, in the log as well. Durable when it returns; waits for the disk. `Ok(false)` if the history
    /// does not contain `to`, so that only a snapshot helps.
    fn truncate(&mut self, to: Zxid) -> Result<bool, Refused>;

    /// A snapshot follows, at `zxid`; everything that this member had is to be replaced.
    fn begin_snapshot(&mut self, zxid: Zxid) -> Result<(), Refused>;

    /// Bytes of the snapshot. `Some(n)`: it ended after `n` of them, and what follows belongs to the protocol.
    fn snapshot_received(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refused>;

    /// A transaction of the leader's history behind the snapshot: part of what is taken over with it.
    fn snapshot_txn(&mut self, zxid: Zxid, payload: &[u8]) -> Result<(), Refused>;

    /// Makes the received snapshot with the transactions behind it this member's state, durably and at once: a restart begins either from it or
    /// from what was there before. Until then nothing has changed. Waits for the disk.
    fn finish_snapshot(&mut self) -> Result<(), Refused>;

    /// The leader serves, and so does this member from now on.
    fn serve(&mut self, role: Role, now: Now);

    /// The answer to a revalidation that this learner sent.
    fn revalidated(&mut self, session: SessionId, valid: bool, now: Now);

    /// The answer to the oldest sync that this learner sent: everything committed before it has been committed here as well.
    fn synced(&mut self);

    /// The sessions heard of since the last call, with their timeouts: what a learner's answer to a ping says.
    fn take_touched(&mut self) -> Vec<(SessionId, i32)>;

    // --- both

    /// A configuration was proposed; it is final when [`Replica::activated`] says so. To be kept over a restart.
    fn saw_view(&mut self, _view: &QuorumView) {}

    /// The own history has this configuration, newer than the one in force: it is what readers are shown.
    fn shows(&mut self, _view: &QuorumView) {}

    /// A configuration is final.
    fn activated(&mut self, _view: &QuorumView) {}

    /// No leader: clients are not served, their connections are closed, requests under way are forgotten. The history stays as it is.
    fn stop_serving(&mut self, now: Now);
}
