//! A znode's stat, as clients see it (68 bytes) and as snapshots keep it (60 bytes).

use crate::ids::{Millis, SessionId, Zxid};
use crate::jute::{Decode, Encode, JuteError, Reader, put_int, put_long};

/// Stat as clients see it. `cversion` is creations plus deletions of children.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// Transaction that created the znode.
    pub czxid: Zxid,
    /// Transaction that last set its data.
    pub mzxid: Zxid,
    /// Wall clock of the leader at creation.
    pub ctime: Millis,
    /// Wall clock of the leader when the data was last set.
    pub mtime: Millis,
    /// Count of data changes.
    pub version: i32,
    /// Count of changes of the child list.
    pub cversion: i32,
    /// Count of ACL changes.
    pub aversion: i32,
    /// Owning session of an ephemeral, else zero (containers and TTL znodes show zero).
    pub ephemeral_owner: SessionId,
    /// Bytes of data.
    pub data_length: i32,
    /// Count of children.
    pub num_children: i32,
    /// Transaction that last changed the child list.
    pub pzxid: Zxid,
}

impl Encode for Stat {
    fn encode(&self, out: &mut Vec<u8>) {
        put_long(out, self.czxid.0);
        put_long(out, self.mzxid.0);
        put_long(out, self.ctime.0);
        put_long(out, self.mtime.0);
        put_int(out, self.version);
        put_int(out, self.cversion);
        put_int(out, self.aversion);
        put_long(out, self.ephemeral_owner.0);
        put_int(out, self.data_length);
        put_int(out, self.num_children);
        put_long(out, self.pzxid.0);
    }
}

impl<'a> Decode<'a> for Stat {
    fn decode(r: &mut Reader<'a>) -> Result<Stat, JuteError> {
        Ok(Stat {
            czxid: Zxid(r.long()?),
            mzxid: Zxid(r.long()?),
            ctime: Millis(r.long()?),
            mtime: Millis(r.long()?),
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: SessionId(r.long()?),
            data_length: r.int()?,
            num_children: r.int()?,
            pzxid: Zxid(r.long()?),
        })
    }
}

/// Stat as snapshots and digests keep it: `cversion` raw (creations only), `owner` with its container and TTL encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatPersisted {
    /// Transaction that created the znode.
    pub czxid: Zxid,
    /// Transaction that last set its data.
    pub mzxid: Zxid,
    /// Wall clock of the leader at creation.
    pub ctime: Millis,
    /// Wall clock of the leader when the data was last set.
    pub mtime: Millis,
    /// Count of data changes.
    pub version: i32,
    /// Count of children ever created.
    pub cversion: i32,
    /// Count of ACL changes.
    pub aversion: i32,
    /// 0, a session, 0x8000000000000000 (container) or 0xFF… (TTL); see [`crate::stat::Owner`].
    pub owner: i64,
    /// Transaction that last changed the child list.
    pub pzxid: Zxid,
}

impl Encode for StatPersisted {
    fn encode(&self, out: &mut Vec<u8>) {
        put_long(out, self.czxid.0);
        put_long(out, self.mzxid.0);
        put_long(out, self.ctime.0);
        put_long(out, self.mtime.0);
        put_int(out, self.version);
        put_int(out, self.cversion);
        put_int(out, self.aversion);
        put_long(out, self.owner);
        put_long(out, self.pzxid.0);
    }
}

impl<'a> Decode<'a> for StatPersisted {
    fn decode(r: &mut Reader<'a>) -> Result<StatPersisted, JuteError> {
        Ok(StatPersisted {
            czxid: Zxid(r.long()?),
            mzxid: Zxid(r.long()?),
            ctime: Millis(r.long()?),
            mtime: Millis(r.long()?),
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            owner: r.long()?,
            pzxid: Zxid(r.long()?),
        })
    }
}

/// What kind of znode an owner field names (`EphemeralType`; client-protocol.md §12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// An ordinary, persistent znode.
    Persistent,
    /// Dies with this session.
    Session(SessionId),
    /// Deleted by the server once its last child is gone.
    Container,
    /// Deleted by the server when childless and unchanged for this many milliseconds.
    Ttl(i64),
}

/// Largest ttl: 2⁴⁰ − 1 ms.
pub const TTL_MAX: i64 = 0xFF_FFFF_FFFF;
const CONTAINER: i64 = i64::MIN;

impl Owner {
    /// Reads an owner field. `extended` is `extendedTypesEnabled`; `emulate353` is `emulate353TTLNodes`.
    pub fn decode(raw: i64, extended: bool, emulate353: bool) -> Owner {
        if raw == 0 {
            return Owner::Persistent;
        }
        if raw == CONTAINER {
            return Owner::Container;
        }
        if emulate353 && raw < 0 {
            return Owner::Ttl(raw & i64::MAX);
        }
        // A feature id other than zero in bits 55–40 is not a TTL; it is read as a session, as Java does without extended types.
        if extended && (raw as u64) >> 40 == 0xFF_0000 {
            return Owner::Ttl(raw & TTL_MAX);
        }
        Owner::Session(SessionId(raw))
    }

    /// The owner field that says this.
    pub fn encode(self) -> i64 {
        match self {
            Owner::Persistent => 0,
            Owner::Session(session) => session.0,
            Owner::Container => CONTAINER,
            Owner::Ttl(ttl) => (0xFFu64 << 56) as i64 | (ttl & TTL_MAX),
        }
    }

    /// What clients see in `ephemeralOwner`.
    pub fn visible(self) -> SessionId {
        match self {
            Owner::Session(session) => session,
            _ => SessionId::NONE,
        }
    }
}
