//! Requests as clients send them (client-protocol.md §6.2), decoded without copying from the frame that they came in.

use std::borrow::Cow;

use crate::acl::{ACL_BYTES_MIN, RawAcl};
use crate::ids::{Xid, Zxid};
use crate::jute::{Decode, JuteError, Reader};
use crate::op::Op;

/// What precedes every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// The client's number for the request.
    pub xid: Xid,
    /// Operation code, not yet checked.
    pub op: i32,
}

impl RequestHeader {
    /// Reads the header from the front of `r`.
    pub fn decode(r: &mut Reader<'_>) -> Result<RequestHeader, JuteError> {
        Ok(RequestHeader { xid: Xid(r.int()?), op: r.int()? })
    }
}

/// A path and a watch flag: exists, getData, getChildren, getChildren2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathWatch<'a> {
    /// The znode; reads do not check its syntax.
    pub path: Cow<'a, str>,
    /// Leave a watch?
    pub watch: bool,
}

impl<'a> Decode<'a> for PathWatch<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, JuteError> {
        Ok(PathWatch { path: r.string()?, watch: r.bool()? })
    }
}

/// create, create2, createContainer (ttl −1) and createTTL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create<'a> {
    /// The wanted path.
    pub path: Cow<'a, str>,
    /// Data; null is kept apart from empty.
    pub data: Option<&'a [u8]>,
    /// ACL as sent; null is `None`.
    pub acl: Option<Vec<RawAcl>>,
    /// See `CreateMode`.
    pub flags: i32,
    /// −1 unless the operation is createTTL.
    pub ttl: i64,
}

impl<'a> Create<'a> {
    /// Reads the record that belongs to `op`.
    pub fn decode(op: Op, r: &mut Reader<'a>) -> Result<Create<'a>, JuteError> {
        Ok(Create {
            path: r.string()?,
            data: r.buffer()?,
            acl: r.vector(ACL_BYTES_MIN)?,
            flags: r.int()?,
            ttl: if op == Op::CreateTtl { r.long()? } else { -1 },
        })
    }
}

/// A path and a version: delete and check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathVersion<'a> {
    /// The znode.
    pub path: Cow<'a, str>,
    /// Expected version, −1 for any.
    pub version: i32,
}

impl<'a> Decode<'a> for PathVersion<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, JuteError> {
        Ok(PathVersion { path: r.string()?, version: r.int()? })
    }
}

/// setData.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetData<'a> {
    /// The znode.
    pub path: Cow<'a, str>,
    /// New data.
    pub data: Option<&'a [u8]>,
    /// Expected version, −1 for any.
    pub version: i32,
}

impl<'a> Decode<'a> for SetData<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, JuteError> {
        Ok(SetData { path: path_or_empty(r)?, data: r.buffer()?, version: r.int()? })
    }
}

/// setACL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAcl<'a> {
    /// The znode.
    pub path: Cow<'a, str>,
    /// New ACL as sent.
    pub acl: Option<Vec<RawAcl>>,
    /// Expected aversion, −1 for any.
    pub version: i32,
}

impl<'a> Decode<'a> for SetAcl<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, JuteError> {
        Ok(SetAcl { path: path_or_empty(r)?, acl: r.vector(ACL_BYTES_MIN)?, version: r.int()? })
    }
}

/// A path whose rules are the first thing to be looked at (setData, setACL): a null one breaks them as an empty one does.
fn path_or_empty<'a>(r: &mut Reader<'a>) -> Result<Cow<'a, str>, JuteError> {
    Ok(r.string_or_null()?.unwrap_or_default())
}

/// A path and a number: checkWatches and removeWatches (watcher type), addWatch (mode).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathNumber<'a> {
    /// The znode.
    pub path: Cow<'a, str>,
    /// Type or mode, not yet checked.
    pub number: i32,
}

impl<'a> Decode<'a> for PathNumber<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, JuteError> {
        Ok(PathNumber { path: r.string()?, number: r.int()? })
    }
}

/// setWatches and setWatches2.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetWatches<'a> {
    /// The newest zxid that the client has seen.
    pub relative_zxid: Zxid,
    /// Data watches.
    pub data: Vec<Cow<'a, str>>,
    /// Watches on absent znodes.
    pub exist: Vec<Cow<'a, str>>,
    /// Child watches.
    pub child: Vec<Cow<'a, str>>,
    /// Persistent watches (setWatches2 only).
    pub persistent: Vec<Cow<'a, str>>,
    /// Recursive watches (setWatches2 only).
    pub recursive: Vec<Cow<'a, str>>,
}

impl<'a> SetWatches<'a> {
    /// Reads the record that belongs to `op`.
    pub fn decode(op: Op, r: &mut Reader<'a>) -> Result<SetWatches<'a>, JuteError> {
        let two = op == Op::SetWatches2;
        Ok(SetWatches {
            relative_zxid: Zxid(r.long()?),
            data: r.strings()?,
            exist: r.strings()?,
            child: r.strings()?,
            persistent: if two { r.strings()? } else { Vec::new() },
            recursive: if two { r.strings()? } else { Vec::new() },
        })
    }
}

/// The auth packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthPacket<'a> {
    /// Which provider.
    pub scheme: Cow<'a, str>,
    /// What it needs; null is kept apart from empty.
    pub auth: Option<&'a [u8]>,
}

impl<'a> Decode<'a> for AuthPacket<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, JuteError> {
        r.int()?;
        Ok(AuthPacket { scheme: r.string_or_null()?.unwrap_or_default(), auth: r.buffer()? })
    }
}

/// reconfig.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reconfig<'a> {
    /// Servers to add, with commas.
    pub joining: Option<Cow<'a, str>>,
    /// Ids of servers to take away, with commas.
    pub leaving: Option<Cow<'a, str>>,
    /// The whole new membership instead.
    pub members: Option<Cow<'a, str>>,
    /// The version of the configuration that is to be changed, −1 for any.
    pub from: i64,
}

impl<'a> Decode<'a> for Reconfig<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, JuteError> {
        Ok(Reconfig {
            joining: r.string_or_null()?,
            leaving: r.string_or_null()?,
            members: r.string_or_null()?,
            from: r.long()?,
        })
    }
}

/// Flags of a create (`CreateMode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateMode {
    /// Dies with the session.
    pub ephemeral: bool,
    /// The server appends a counter to the name.
    pub sequential: bool,
    /// Deleted once empty.
    pub container: bool,
    /// Deleted when unchanged for a time.
    pub ttl: bool,
}

impl CreateMode {
    /// The mode with this number, if there is one.
    pub fn from_flags(flags: i32) -> Option<CreateMode> {
        let mode = |ephemeral, sequential, container, ttl| Some(CreateMode { ephemeral, sequential, container, ttl });
        match flags {
            0 => mode(false, false, false, false),
            1 => mode(true, false, false, false),
            2 => mode(false, true, false, false),
            3 => mode(true, true, false, false),
            4 => mode(false, false, true, false),
            5 => mode(false, false, false, true),
            6 => mode(false, true, false, true),
            _ => None,
        }
    }
}
