//! The packets of the quorum port: how they are written, and how they are taken from the front of a stream that has no
//! frames (peer-protocol.md §5).
//!
//! What always holds: decoding is total and bounded; a packet is handed out only when all of its bytes are there, and borrows
//! them. Kept out: what a packet means at a moment, which is the business of `leader` and `learner`.

use proto::jute::{JuteError, Reader, put_buffer, put_int, put_long, put_string};
use proto::{Id, Op, SessionId, Sid, Xid, Zxid};

use crate::replica::Forwarded;

/// Numbers of the packet types.
pub mod kind {
    /// A learner's client asks.
    pub const REQUEST: i32 = 1;
    /// A transaction, not yet final.
    pub const PROPOSAL: i32 = 2;
    /// It is durable at a learner.
    pub const ACK: i32 = 3;
    /// It is final.
    pub const COMMIT: i32 = 4;
    /// Still there? And: which sessions were heard of.
    pub const PING: i32 = 5;
    /// Does this session exist?
    pub const REVALIDATE: i32 = 6;
    /// All that was asked before is committed.
    pub const SYNC: i32 = 7;
    /// A transaction, final, for observers.
    pub const INFORM: i32 = 8;
    /// A reconfiguration is final, for followers.
    pub const COMMITANDACTIVATE: i32 = 9;
    /// The leader's history ends here.
    pub const NEWLEADER: i32 = 10;
    /// A follower introduces itself.
    pub const FOLLOWERINFO: i32 = 11;
    /// A quorum has the leader's history.
    pub const UPTODATE: i32 = 12;
    /// What follows is behind the learner's history.
    pub const DIFF: i32 = 13;
    /// The learner's history is to be cut.
    pub const TRUNC: i32 = 14;
    /// A snapshot follows.
    pub const SNAP: i32 = 15;
    /// An observer introduces itself.
    pub const OBSERVERINFO: i32 = 16;
    /// The new epoch.
    pub const LEADERINFO: i32 = 17;
    /// The new epoch is accepted.
    pub const ACKEPOCH: i32 = 18;
    /// A reconfiguration, final, for observers.
    pub const INFORMANDACTIVATE: i32 = 19;
    /// Between Ringkeeper servers: up to here this follower's own copy, durable, is all that a quorum still needs.
    pub const CASTING: i32 = super::OWN_FRAMES;
    /// Between Ringkeeper servers: this epoch follows the present one without an election; the learner says the same when it has promised it.
    pub const NEXT_EPOCH: i32 = super::OWN_FRAMES + 1;
    /// Between Ringkeeper servers: the epoch before is complete; the learner says the same when it has it durably and has entered the new one.
    pub const ENTER_EPOCH: i32 = super::OWN_FRAMES + 2;
}

/// The mark of a learner that knows our own packets: "RK", and their version. It stands behind what ZooKeeper's leaders read.
const OWN_FRAMES: i32 = 0x524B_0001;

/// The protocol's version since ZooKeeper 3.4: epochs are agreed on.
pub const PROTOCOL: i32 = 0x10000;

/// Bytes of a packet without data and without identities.
pub const BARE_BYTES: usize = 20;

/// All identities of one request together take no more bytes.
const IDS_BYTES_MAX: usize = 256 * 1024;

/// No request has more identities.
const IDS_MAX: i32 = 1024;

/// Bytes of a transaction's header.
const TXN_HEADER_BYTES: usize = 32;

/// How a peer broke the protocol, or why it is given up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// The bytes are no packet, or a packet's data is not what its type says.
    #[error("what came is no packet: {0}")]
    Jute(#[from] JuteError),
    /// More data than the limit allows.
    #[error("a packet of type {kind} has {bytes} bytes of data, more than {bytes_max}")]
    Large {
        /// The packet's type.
        kind: i32,
        /// How much data it announces.
        bytes: i64,
        /// How much it may have.
        bytes_max: usize,
    },
    /// A packet at the wrong moment.
    #[error("a packet of type {kind} came while {moment}")]
    Moment {
        /// The packet's type.
        kind: i32,
        /// What it should have waited for.
        moment: &'static str,
    },
    /// A hole in the history.
    #[error("{got} was proposed behind {last}")]
    Gap {
        /// What came.
        got: Zxid,
        /// What stands before it.
        last: Zxid,
    },
    /// A commit of something else than the oldest proposal.
    #[error("{got} is said to be final, and {expected:?} would be next")]
    Commit {
        /// What came.
        got: Zxid,
        /// The oldest proposal that is not final, if there is one.
        expected: Option<Zxid>,
    },
    /// Something else, said in words.
    #[error("{0}")]
    Other(String),
}

/// One packet, borrowed from the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// One of [`kind`], or something unknown.
    pub kind: i32,
    /// Meaning depends on the type.
    pub zxid: Zxid,
    /// Meaning depends on the type.
    pub data: Option<&'a [u8]>,
    /// The identities, as they were sent.
    ids: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a packet from the front of `bytes`, with its length. `None`: not all of it is there.
    pub fn take(bytes: &'a [u8], data_max: usize) -> Result<Option<(Packet<'a>, usize)>, Broken> {
        if bytes.len() < BARE_BYTES {
            return Ok(None);
        }
        let mut r = Reader::new(bytes);
        let (kind, zxid, length) = (r.int()?, Zxid(r.long()?), r.int()?);
        let data = match length {
            -1 => None,
            _ => {
                let size = usize::try_from(length).map_err(|_| JuteError::Length(length))?;
                if size > data_max {
                    return Err(Broken::Large { kind, bytes: i64::from(length), bytes_max: data_max });
                }
                let Some(data) = r.rest().get(..size) else { return Ok(None) };
                Some(data)
            }
        };
        let behind = 16 + data.map_or(0, <[u8]>::len);
        let Some(size) = ids_bytes(&bytes[behind..])? else { return Ok(None) };
        Ok(Some((Packet { kind, zxid, data, ids: &bytes[behind..behind + size] }, behind + size)))
    }

    /// The data, which must be there.
    pub fn need_data(&self) -> Result<&'a [u8], Broken> {
        self.data.ok_or(Broken::Jute(JuteError::Null))
    }

    /// The identities.
    pub fn ids(&self) -> Result<Vec<Id>, Broken> {
        let mut r = Reader::new(self.ids);
        let count = r.count(8)?.unwrap_or(0);
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            let scheme = r.string_or_null()?.unwrap_or_default().into_owned();
            let id = r.string_or_null()?.unwrap_or_default().into_owned();
            ids.push(Id { scheme, id });
        }
        Ok(ids)
    }

    /// The transaction that a PROPOSAL or INFORM carries; its own zxid must be the packet's.
    pub fn txn(&self) -> Result<&'a [u8], Broken> {
        txn_of(self.zxid, self.need_data()?)
    }

    /// Who leads once a COMMITANDACTIVATE is in force.
    pub fn designated(&self) -> Result<Sid, Broken> {
        Ok(Sid(Reader::new(self.need_data()?).long()?))
    }

    /// The transaction that an INFORMANDACTIVATE carries, behind the designated leader.
    pub fn txn_and_leader(&self) -> Result<(&'a [u8], Sid), Broken> {
        let mut r = Reader::new(self.need_data()?);
        let leader = Sid(r.long()?);
        Ok((txn_of(self.zxid, r.rest())?, leader))
    }

    /// A REQUEST. Whether the operation is one that learners may forward is not asked here.
    pub fn forwarded(&self) -> Result<Forwarded, Broken> {
        let mut r = Reader::new(self.need_data()?);
        let (session, xid, number) = (SessionId(r.long()?), Xid(r.int()?), r.int()?);
        let op = Op::from_i32(number).ok_or(JuteError::Unknown(number, "operation"))?;
        Ok(Forwarded { session, xid, op, ids: self.ids()?, body: r.rest().to_vec() })
    }

    /// A REVALIDATE from a learner: session and timeout in milliseconds.
    pub fn asked_session(&self) -> Result<(SessionId, i32), Broken> {
        let mut r = Reader::new(self.need_data()?);
        Ok((SessionId(r.long()?), r.int()?))
    }

    /// A REVALIDATE to a learner.
    pub fn answered_session(&self) -> Result<(SessionId, bool), Broken> {
        let mut r = Reader::new(self.need_data()?);
        Ok((SessionId(r.long()?), r.bool()?))
    }

    /// The sessions that a learner's answer to a PING speaks of, with their timeouts in milliseconds.
    pub fn touched(&self) -> Result<impl Iterator<Item = (SessionId, i32)> + 'a, Broken> {
        let data = self.data.unwrap_or_default();
        if !data.len().is_multiple_of(12) {
            return Err(Broken::Jute(JuteError::Short));
        }
        Ok(data.chunks_exact(12).map(|entry| {
            let mut r = Reader::new(entry);
            (SessionId(r.long().unwrap_or_default()), r.int().unwrap_or_default())
        }))
    }
}

/// The bytes of the vector of identities at the front of `bytes`; `None` if not all of them are there.
fn ids_bytes(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let mut r = Reader::new(bytes);
    let Ok(count) = r.int() else { return Ok(None) };
    if count > IDS_MAX {
        return Err(Broken::Jute(JuteError::Length(count)));
    }
    // Scheme and identity of each.
    for _ in 0..2 * count.max(0) {
        let Ok(length) = r.int() else { return Ok(None) };
        let size = match length {
            -1 => 0,
            _ => usize::try_from(length).map_err(|_| JuteError::Length(length))?,
        };
        if bytes.len() - r.rest().len() + size > IDS_BYTES_MAX {
            return Err(Broken::Jute(JuteError::Length(length)));
        }
        let Some(behind) = r.rest().get(size..) else { return Ok(None) };
        r = Reader::new(behind);
    }
    Ok(Some(bytes.len() - r.rest().len()))
}

fn txn_of(zxid: Zxid, data: &[u8]) -> Result<&[u8], Broken> {
    if data.len() < TXN_HEADER_BYTES {
        return Err(Broken::Jute(JuteError::Short));
    }
    let inner = Zxid(Reader::new(&data[12..20]).long()?);
    if inner != zxid {
        return Err(Broken::Other(format!("the packet of {zxid} carries transaction {inner}")));
    }
    Ok(data)
}

/// Appends a packet without identities.
pub fn put(out: &mut Vec<u8>, kind: i32, zxid: Zxid, data: Option<&[u8]>) {
    put_int(out, kind);
    put_long(out, zxid.0);
    put_buffer(out, data);
    put_int(out, -1);
}

/// Appends a REQUEST.
pub fn put_request(out: &mut Vec<u8>, request: &Forwarded) {
    put_int(out, kind::REQUEST);
    put_long(out, -1);
    put_int(out, (16 + request.body.len()) as i32);
    put_long(out, request.session.0);
    put_int(out, request.xid.0);
    put_int(out, request.op.as_i32());
    out.extend_from_slice(&request.body);
    // Java's learners have no list for a session that is only about to be.
    put_int(out, if request.ids.is_empty() { -1 } else { request.ids.len() as i32 });
    for id in &request.ids {
        put_string(out, &id.scheme);
        put_string(out, &id.id);
    }
}

/// Appends a learner's REVALIDATE.
pub fn put_asked_session(out: &mut Vec<u8>, session: SessionId, timeout_ms: i32) {
    let mut data = Vec::with_capacity(12);
    put_long(&mut data, session.0);
    put_int(&mut data, timeout_ms);
    put(out, kind::REVALIDATE, Zxid(-1), Some(&data));
}

/// Appends a leader's REVALIDATE.
pub fn put_answered_session(out: &mut Vec<u8>, session: SessionId, valid: bool) {
    let mut data = Vec::with_capacity(9);
    put_long(&mut data, session.0);
    data.push(u8::from(valid));
    put(out, kind::REVALIDATE, Zxid(-1), Some(&data));
}

/// Appends a learner's answer to a PING.
pub fn put_touched(out: &mut Vec<u8>, zxid: Zxid, sessions: &[(SessionId, i32)]) {
    let mut data = Vec::with_capacity(12 * sessions.len());
    for (session, timeout_ms) in sessions {
        put_long(&mut data, session.0);
        put_int(&mut data, *timeout_ms);
    }
    put(out, kind::PING, zxid, Some(&data));
}

/// What a learner says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// Its id.
    pub sid: Sid,
    /// The protocol that it speaks; 1 if it does not say.
    pub protocol: i32,
    /// The version of its configuration; 0 if it does not say.
    pub config_version: i64,
    /// It is a Ringkeeper server, and understands [`kind::CASTING`], [`kind::NEXT_EPOCH`] and [`kind::ENTER_EPOCH`].
    pub own: bool,
}

impl LearnerInfo {
    /// Reads the data of FOLLOWERINFO or OBSERVERINFO. `None`: it does not say who it is.
    pub fn decode(data: Option<&[u8]>) -> Result<Option<LearnerInfo>, Broken> {
        let Some(data) = data.filter(|data| !data.is_empty()) else { return Ok(None) };
        let mut r = Reader::new(data);
        let sid = Sid(r.long()?);
        let protocol = if r.is_empty() { 1 } else { r.int()? };
        let config_version = if r.is_empty() { 0 } else { r.long()? };
        // What a later version may say more is its own affair.
        let own = r.int().is_ok_and(|mark| mark == OWN_FRAMES);
        Ok(Some(LearnerInfo { sid, protocol, config_version, own }))
    }

    /// The data as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(24);
        put_long(&mut data, self.sid.0);
        put_int(&mut data, self.protocol);
        put_long(&mut data, self.config_version);
        if self.own {
            put_int(&mut data, OWN_FRAMES);
        }
        data
    }
}

/// Whether `next` may stand behind `last` in a history: the next of its epoch, or the first of a later one.
pub fn follows(last: Zxid, next: Zxid) -> bool {
    let (last_epoch, next_epoch) = (last.0 >> 32, next.0 >> 32);
    if next_epoch == last_epoch {
        next.0 == last.0.wrapping_add(1)
    } else {
        next_epoch > last_epoch && next.counter() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Packet<'_> {
        let (packet, size) = Packet::take(bytes, 1000).unwrap().unwrap();
        assert_eq!(size, bytes.len());
        packet
    }

    fn request() -> Forwarded {
        Forwarded {
            session: SessionId(0x1000_0000_0000_0001),
            xid: Xid(7),
            op: Op::SetData,
            ids: vec![Id::new("ip", "127.0.0.1"), Id::new("digest", "a:b")],
            body: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_packet_is_handed_out_only_when_all_of_it_is_there() {
        let mut bytes = Vec::new();
        put_request(&mut bytes, &request());
        for size in 0..bytes.len() {
            assert_eq!(Packet::take(&bytes[..size], 1000), Ok(None), "{size} bytes");
        }
        assert_eq!(whole(&bytes).forwarded(), Ok(request()));
    }

    #[test]
    fn data_over_the_limit_is_refused_before_it_arrives() {
        let mut bytes = Vec::new();
        put(&mut bytes, kind::PROPOSAL, Zxid(1), Some(&[0; 1001]));
        assert!(matches!(Packet::take(&bytes[..BARE_BYTES], 1000), Err(Broken::Large { bytes: 1001, .. })));
        assert!(Packet::take(&bytes, 1001).is_ok());
    }

    #[test]
    fn unreasonable_lengths_are_refused() {
        let mut bytes = Vec::new();
        put(&mut bytes, kind::ACK, Zxid(1), None);
        bytes[12..16].copy_from_slice(&(-2i32).to_be_bytes());
        assert!(Packet::take(&bytes, 1000).is_err());
        let mut bytes = Vec::new();
        put(&mut bytes, kind::ACK, Zxid(1), None);
        bytes[16..20].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(Packet::take(&bytes, 1000).is_err());
        bytes[16..20].copy_from_slice(&1i32.to_be_bytes());
        bytes.extend_from_slice(&i32::MAX.to_be_bytes());
        assert!(Packet::take(&bytes, 1000).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut bytes = Vec::new();
        put_request(&mut bytes, &request());
        put_touched(&mut bytes, Zxid(9), &[(SessionId(5), 4000)]);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut broken = bytes.clone();
            let at = (state >> 33) as usize % broken.len();
            broken[at] = (state >> 24) as u8;
            let mut rest = &broken[..];
            while let Ok(Some((packet, size))) = Packet::take(rest, 1000) {
                let _ =
                    (packet.forwarded(), packet.touched().map(Iterator::count), packet.txn(), packet.asked_session());
                let _ = (packet.answered_session(), packet.txn_and_leader(), LearnerInfo::decode(packet.data));
                rest = &rest[size..];
            }
        }
    }

    #[test]
    fn a_learner_may_say_less_of_itself() {
        let info = LearnerInfo { sid: Sid(3), protocol: PROTOCOL, config_version: 0x1_0000_0002, own: false };
        let own = LearnerInfo { own: true, ..info }.encode();
        assert_eq!(LearnerInfo::decode(Some(&own)), Ok(Some(LearnerInfo { own: true, ..info })));
        assert_eq!(LearnerInfo::decode(Some(&[&own[..23], &[9]].concat())), Ok(Some(info)), "another mark");
        let data = info.encode();
        assert_eq!(data, own[..20], "the mark stands behind what Java reads");
        assert_eq!(LearnerInfo::decode(Some(&data)), Ok(Some(info)));
        assert_eq!(LearnerInfo::decode(Some(&data[..12])), Ok(Some(LearnerInfo { config_version: 0, ..info })));
        let oldest = LearnerInfo { protocol: 1, config_version: 0, ..info };
        assert_eq!(LearnerInfo::decode(Some(&data[..8])), Ok(Some(oldest)));
        assert_eq!(LearnerInfo::decode(None), Ok(None));
        assert!(LearnerInfo::decode(Some(&data[..7])).is_err());
        assert!(LearnerInfo::decode(Some(&data[..10])).is_err());
    }

    #[test]
    fn a_history_has_no_holes() {
        let zxid = Zxid::new;
        assert!(follows(zxid(1, 4), zxid(1, 5)));
        assert!(follows(zxid(1, 0), zxid(1, 1)));
        assert!(follows(zxid(1, 4), zxid(3, 1)));
        assert!(!follows(zxid(1, 4), zxid(1, 6)));
        assert!(!follows(zxid(1, 4), zxid(1, 4)));
        assert!(!follows(zxid(1, 4), zxid(2, 2)));
        assert!(!follows(zxid(1, 4), zxid(2, 0)));
        assert!(!follows(zxid(2, 4), zxid(1, 5)));
        assert!(!follows(zxid(1, u32::MAX), zxid(2, 0)));
    }
}
