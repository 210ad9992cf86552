//! Transactions as the log, peers and the tree know them (disk-formats.md §3, §4).

use std::borrow::Cow;

use crate::acl::{ACL_BYTES_MIN, Acl};
use crate::code::Code;
use crate::ids::{Millis, SessionId, Xid, Zxid};
use crate::jute::{
    Decode, Encode, JuteError, Reader, put_bool, put_buffer, put_int, put_long, put_string, put_strings, put_vector,
};
use crate::op::Op;

/// Who asked for a transaction, when, and under which zxid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    /// Session of the client, zero if internal.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: Xid,
    /// The transaction's place in the order of all.
    pub zxid: Zxid,
    /// The leader's wall clock when it was prepared.
    pub time: Millis,
    /// What it is; decides which record follows.
    pub op: Op,
}

/// Bytes of an encoded header.
pub const TXN_HEADER_BYTES: usize = 32;

impl Encode for TxnHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        put_long(out, self.session.0);
        put_int(out, self.cxid.0);
        put_long(out, self.zxid.0);
        put_long(out, self.time.0);
        put_int(out, self.op.as_i32());
    }
}

impl<'a> Decode<'a> for TxnHeader {
    fn decode(r: &mut Reader<'a>) -> Result<TxnHeader, JuteError> {
        Ok(TxnHeader {
            session: SessionId(r.long()?),
            cxid: Xid(r.int()?),
            zxid: Zxid(r.long()?),
            time: Millis(r.long()?),
            op: {
                let number = r.int()?;
                Op::from_i32(number).ok_or(JuteError::Unknown(number, "transaction type"))?
            },
        })
    }
}

/// The explicit effect of a transaction. Borrowed from the log or from the request where possible.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn<'a> {
    /// Types 1 and 15.
    Create {
        /// Final path, sequence suffix included.
        path: Cow<'a, str>,
        /// Data or null.
        data: Option<Cow<'a, [u8]>>,
        /// Expanded ACL.
        acl: Cow<'a, [Acl]>,
        /// Owned by the header's session?
        ephemeral: bool,
        /// The parent's raw cversion after this; −1 (old logs) means "one more than it has".
        parent_cversion: i32,
    },
    /// Type 19.
    CreateContainer {
        /// Final path.
        path: Cow<'a, str>,
        /// Data or null.
        data: Option<Cow<'a, [u8]>>,
        /// Expanded ACL.
        acl: Cow<'a, [Acl]>,
        /// The parent's raw cversion after this.
        parent_cversion: i32,
    },
    /// Type 21.
    CreateTtl {
        /// Final path.
        path: Cow<'a, str>,
        /// Data or null.
        data: Option<Cow<'a, [u8]>>,
        /// Expanded ACL.
        acl: Cow<'a, [Acl]>,
        /// The parent's raw cversion after this.
        parent_cversion: i32,
        /// Milliseconds.
        ttl: i64,
    },
    /// Types 2 and 20.
    Delete {
        /// The znode.
        path: Cow<'a, str>,
    },
    /// Types 5 and 16.
    SetData {
        /// The znode.
        path: Cow<'a, str>,
        /// New data or null.
        data: Option<Cow<'a, [u8]>>,
        /// Resulting version.
        version: i32,
    },
    /// Type 7.
    SetAcl {
        /// The znode.
        path: Cow<'a, str>,
        /// Expanded ACL.
        acl: Cow<'a, [Acl]>,
        /// Resulting aversion.
        version: i32,
    },
    /// Type 13, inside a multi; no effect.
    Check {
        /// The znode.
        path: Cow<'a, str>,
        /// Version plus one.
        version: i32,
    },
    /// Type −10.
    CreateSession {
        /// Negotiated timeout.
        timeout_ms: i32,
    },
    /// Type −11. `None`: written without a body; all ephemerals of the session go.
    CloseSession {
        /// Ephemerals deleted by this transaction, in this order.
        paths: Option<Vec<Cow<'a, str>>>,
    },
    /// Type −1: a write that failed. Raw, because old logs may hold codes that we do not know.
    Error {
        /// The code.
        err: i32,
    },
    /// Type 14. If any member is an error nothing is applied.
    Multi {
        /// Members with their types.
        members: Vec<(Op, Txn<'a>)>,
    },
}

impl Txn<'_> {
    /// An error transaction.
    pub fn error(code: Code) -> Txn<'static> {
        Txn::Error { err: code.as_i32() }
    }

    /// Did the write fail? A multi with a failed member did.
    pub fn is_error(&self) -> bool {
        match self {
            Txn::Error { .. } => true,
            Txn::Multi { members } => members.iter().any(|(_, txn)| matches!(txn, Txn::Error { .. })),
            _ => false,
        }
    }
}

fn put_data(out: &mut Vec<u8>, data: &Option<Cow<'_, [u8]>>) {
    put_buffer(out, data.as_deref());
}

impl Encode for Txn<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Txn::Create { path, data, acl, ephemeral, parent_cversion } => {
                put_string(out, path);
                put_data(out, data);
                put_vector(out, acl);
                put_bool(out, *ephemeral);
                put_int(out, *parent_cversion);
            }
            Txn::CreateContainer { path, data, acl, parent_cversion } => {
                put_string(out, path);
                put_data(out, data);
                put_vector(out, acl);
                put_int(out, *parent_cversion);
            }
            Txn::CreateTtl { path, data, acl, parent_cversion, ttl } => {
                put_string(out, path);
                put_data(out, data);
                put_vector(out, acl);
                put_int(out, *parent_cversion);
                put_long(out, *ttl);
            }
            Txn::Delete { path } => put_string(out, path),
            Txn::SetData { path, data, version } => {
                put_string(out, path);
                put_data(out, data);
                put_int(out, *version);
            }
            Txn::SetAcl { path, acl, version } => {
                put_string(out, path);
                put_vector(out, acl);
                put_int(out, *version);
            }
            Txn::Check { path, version } => {
                put_string(out, path);
                put_int(out, *version);
            }
            Txn::CreateSession { timeout_ms } => put_int(out, *timeout_ms),
            Txn::CloseSession { paths } => {
                if let Some(paths) = paths {
                    put_strings(out, paths);
                }
            }
            Txn::Error { err } => put_int(out, *err),
            Txn::Multi { members } => {
                put_int(out, members.len() as i32);
                for (op, txn) in members {
                    put_int(out, op.as_i32());
                    let start = out.len();
                    put_int(out, 0);
                    txn.encode(out);
                    let length = (out.len() - start - 4) as i32;
                    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
                }
            }
        }
    }
}

fn data<'a>(r: &mut Reader<'a>) -> Result<Option<Cow<'a, [u8]>>, JuteError> {
    Ok(r.buffer()?.map(Cow::Borrowed))
}

fn acl<'a>(r: &mut Reader<'a>) -> Result<Cow<'a, [Acl]>, JuteError> {
    Ok(Cow::Owned(r.vector(ACL_BYTES_MIN)?.unwrap_or_default()))
}

/// Reads the record of a transaction of type `op`, leaving the digest and padding behind it in `r`.
pub fn decode_txn<'a>(op: Op, r: &mut Reader<'a>) -> Result<Txn<'a>, JuteError> {
    Ok(match op {
        Op::Create | Op::Create2 => {
            let (path, data, acl, ephemeral) = (r.string()?, data(r)?, acl(r)?, r.bool()?);
            // CreateTxnV0 ends here (disk-formats.md §4); only type 1 was ever written so.
            let parent_cversion = if op == Op::Create && r.rest().len() < 4 { -1 } else { r.int()? };
            Txn::Create { path, data, acl, ephemeral, parent_cversion }
        }
        Op::CreateContainer => {
            Txn::CreateContainer { path: r.string()?, data: data(r)?, acl: acl(r)?, parent_cversion: r.int()? }
        }
        Op::CreateTtl => Txn::CreateTtl {
            path: r.string()?,
            data: data(r)?,
            acl: acl(r)?,
            parent_cversion: r.int()?,
            ttl: r.long()?,
        },
        Op::Delete | Op::DeleteContainer => Txn::Delete { path: r.string()? },
        Op::SetData | Op::Reconfig => Txn::SetData { path: r.string()?, data: data(r)?, version: r.int()? },
        Op::SetAcl => Txn::SetAcl { path: r.string()?, acl: acl(r)?, version: r.int()? },
        Op::Check => Txn::Check { path: r.string()?, version: r.int()? },
        Op::CreateSession => Txn::CreateSession { timeout_ms: r.int()? },
        // Written without a list, with nothing or only a digest behind the header (disk-formats.md §4). A list that takes as
        // many bytes as a digest and begins as one would hold two empty paths, which no transaction does.
        Op::CloseSession if r.is_empty() || is_digest(r.rest()) => Txn::CloseSession { paths: None },
        Op::CloseSession => Txn::CloseSession { paths: Some(r.strings()?) },
        Op::Error => Txn::Error { err: r.int()? },
        Op::Multi => {
            // A member takes its type and a length at least.
            let count = r.count(8)?.unwrap_or(0);
            let mut members = Vec::with_capacity(count);
            for _ in 0..count {
                let number = r.int()?;
                let op = Op::from_i32(number).ok_or(JuteError::Unknown(number, "transaction type"))?;
                if op == Op::Multi {
                    return Err(JuteError::Mixed("a multi within a multi"));
                }
                let body = r.buffer()?.ok_or(JuteError::Null)?;
                members.push((op, decode_txn(op, &mut Reader::new(body))?));
            }
            Txn::Multi { members }
        }
        _ => return Err(JuteError::Unknown(op.as_i32(), "transaction type")),
    })
}

/// The version of tree digests that ZooKeeper 3.6 and later write.
pub const DIGEST_VERSION: i32 = 2;

/// What the tree's digest is after a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnDigest {
    /// [`DIGEST_VERSION`], or something that is not to be compared.
    pub version: i32,
    /// The digest.
    pub tree: u64,
}

/// Reads the digest behind a transaction, if there are bytes for one.
pub fn decode_digest(r: &mut Reader<'_>) -> Option<TxnDigest> {
    Some(TxnDigest { version: r.int().ok()?, tree: r.long().ok()? as u64 })
}

/// Bytes of a digest.
const DIGEST_BYTES: usize = 12;

fn is_digest(bytes: &[u8]) -> bool {
    bytes.len() == DIGEST_BYTES && bytes.starts_with(&DIGEST_VERSION.to_be_bytes())
}

/// Appends the digest behind a transaction.
pub fn put_digest(out: &mut Vec<u8>, tree: u64) {
    put_int(out, DIGEST_VERSION);
    put_long(out, tree as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(op: Op, txn: &Txn<'_>) {
        let mut bytes = Vec::new();
        txn.encode(&mut bytes);
        let mut r = Reader::new(&bytes);
        assert_eq!(&decode_txn(op, &mut r).unwrap(), txn);
        assert!(r.is_empty());
    }

    #[test]
    fn transactions_survive_a_round_trip() {
        let create = Txn::Create {
            path: "/a".into(),
            data: None,
            acl: Cow::Owned(vec![Acl::open()]),
            ephemeral: true,
            parent_cversion: 7,
        };
        round_trip(Op::Create, &create);
        round_trip(Op::Create2, &create);
        let failed = Txn::Multi { members: vec![(Op::Create, create), (Op::Error, Txn::error(Code::NoNode))] };
        round_trip(Op::Multi, &failed);
        assert!(failed.is_error());
        round_trip(Op::CloseSession, &Txn::CloseSession { paths: Some(vec!["/x".into()]) });
        round_trip(Op::CloseSession, &Txn::CloseSession { paths: None });
    }

    #[test]
    fn the_end_of_a_session_without_a_list_keeps_its_digest() {
        let mut bytes = Vec::new();
        put_digest(&mut bytes, 7);
        let mut r = Reader::new(&bytes);
        assert_eq!(decode_txn(Op::CloseSession, &mut r), Ok(Txn::CloseSession { paths: None }));
        assert_eq!(decode_digest(&mut r), Some(TxnDigest { version: DIGEST_VERSION, tree: 7 }));
        // A list of one path is as long as a digest may be, and is a list.
        let list = Txn::CloseSession { paths: Some(vec!["/abc".into()]) };
        round_trip(Op::CloseSession, &list);
    }

    #[test]
    fn the_old_create_record_lacks_the_parents_cversion() {
        let mut bytes = Vec::new();
        put_string(&mut bytes, "/a");
        put_buffer(&mut bytes, Some(b"x"));
        put_vector(&mut bytes, &[Acl::open()]);
        put_bool(&mut bytes, false);
        let txn = decode_txn(Op::Create, &mut Reader::new(&bytes)).unwrap();
        assert!(matches!(txn, Txn::Create { parent_cversion: -1, .. }));
        assert_eq!(decode_txn(Op::Create2, &mut Reader::new(&bytes)), Err(JuteError::Short));
    }
}
