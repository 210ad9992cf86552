//! A client's side of the wire, from the contract (client-protocol.md): requests out, frames in.

use std::fmt;

use crate::membership::Change;
use proto::jute::{put_bool, put_buffer, put_int, put_long, put_string, put_strings, put_vector};
use proto::{Acl, Decode, JuteError, Op, Reader, Stat};

/// Bytes of a znode, shown in short.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(pub Vec<u8>);

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = String::from_utf8_lossy(&self.0[..self.0.len().min(12)]);
        write!(f, "{start}…{}", self.0.len())
    }
}

/// A request without its xid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// create2: path, data, flags.
    Create(String, Data, i32),
    /// createTTL, persistent.
    CreateTtl(String, i64),
    /// Path, version.
    Delete(String, i32),
    /// Path, data, version.
    Set(String, Data, i32),
    /// Path, version; only in a multi.
    Check(String, i32),
    /// Path, watch.
    Get(String, bool),
    /// Path, watch.
    Exists(String, bool),
    /// getChildren2: path, watch.
    Children(String, bool),
    /// Path.
    Sync(String),
    /// Writes, all or none.
    Multi(Vec<Ask>),
    /// As seen at a zxid: data watches, exists watches, child watches; and persistent and recursive ones, with which it is setWatches2.
    SetWatches(i64, [Vec<String>; 3], [Vec<String>; 2]),
    /// Path, mode: persistent or recursive.
    AddWatch(String, i32),
    /// Path, type of watcher.
    CheckWatches(String, i32),
    /// Path, type of watcher.
    RemoveWatches(String, i32),
    /// Path, ACL, version.
    SetAcl(String, Vec<Acl>, i32),
    /// Path.
    GetAcl(String),
    /// Reads without watches.
    MultiRead(Vec<Ask>),
    /// Prefix.
    Ephemerals(String),
    /// getAllChildrenNumber: path.
    CountBelow(String),
    /// A user of the digest scheme, with the password.
    Auth(String),
    /// reconfig.
    Reconfig(Change),
    /// Nothing.
    Ping,
    /// The session ends.
    Close,
}

impl Ask {
    /// Does it make a transaction?
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Ask::Create(..)
                | Ask::CreateTtl(..)
                | Ask::Delete(..)
                | Ask::Set(..)
                | Ask::SetAcl(..)
                | Ask::Multi(_)
                | Ask::Reconfig(_)
                | Ask::Close
        )
    }

    /// Does it ask for a znode that the session would own?
    pub fn wants_ephemeral(&self) -> bool {
        match self {
            Ask::Create(_, _, flags) => matches!(flags, 1 | 3),
            Ask::Multi(members) => members.iter().any(Ask::wants_ephemeral),
            _ => false,
        }
    }

    fn op(&self) -> Op {
        match self {
            Ask::Create(_, _, 4) => Op::CreateContainer,
            Ask::Create(..) => Op::Create2,
            Ask::CreateTtl(..) => Op::CreateTtl,
            Ask::Delete(..) => Op::Delete,
            Ask::Set(..) => Op::SetData,
            Ask::Check(..) => Op::Check,
            Ask::Get(..) => Op::GetData,
            Ask::Exists(..) => Op::Exists,
            Ask::Children(..) => Op::GetChildren2,
            Ask::Sync(_) => Op::Sync,
            Ask::Multi(_) => Op::Multi,
            Ask::SetWatches(_, _, lasting) if lasting.iter().all(Vec::is_empty) => Op::SetWatches,
            Ask::SetWatches(..) => Op::SetWatches2,
            Ask::AddWatch(..) => Op::AddWatch,
            Ask::CheckWatches(..) => Op::CheckWatches,
            Ask::RemoveWatches(..) => Op::RemoveWatches,
            Ask::SetAcl(..) => Op::SetAcl,
            Ask::GetAcl(_) => Op::GetAcl,
            Ask::MultiRead(_) => Op::MultiRead,
            Ask::Ephemerals(_) => Op::GetEphemerals,
            Ask::CountBelow(_) => Op::GetAllChildrenNumber,
            Ask::Auth(_) => Op::Auth,
            Ask::Reconfig(_) => Op::Reconfig,
            Ask::Ping => Op::Ping,
            Ask::Close => Op::CloseSession,
        }
    }

    fn body(&self, out: &mut Vec<u8>) {
        match self {
            Ask::Create(path, data, flags) => {
                put_string(out, path);
                put_buffer(out, Some(&data.0));
                put_vector(out, &[Acl::open()]);
                put_int(out, *flags);
            }
            Ask::CreateTtl(path, ttl) => {
                put_string(out, path);
                put_buffer(out, Some(b""));
                put_vector(out, &[Acl::open()]);
                put_int(out, 5);
                put_long(out, *ttl);
            }
            Ask::Delete(path, version) | Ask::Check(path, version) => {
                put_string(out, path);
                put_int(out, *version);
            }
            Ask::Set(path, data, version) => {
                put_string(out, path);
                put_buffer(out, Some(&data.0));
                put_int(out, *version);
            }
            Ask::Get(path, watch) | Ask::Exists(path, watch) | Ask::Children(path, watch) => {
                put_string(out, path);
                put_bool(out, *watch);
            }
            Ask::Sync(path) | Ask::GetAcl(path) | Ask::Ephemerals(path) | Ask::CountBelow(path) => {
                put_string(out, path)
            }
            Ask::AddWatch(path, number) | Ask::CheckWatches(path, number) | Ask::RemoveWatches(path, number) => {
                put_string(out, path);
                put_int(out, *number);
            }
            Ask::SetAcl(path, acl, version) => {
                put_string(out, path);
                put_vector(out, acl);
                put_int(out, *version);
            }
            Ask::Auth(user) => {
                put_int(out, 0);
                put_string(out, "digest");
                put_buffer(out, Some(user.as_bytes()));
            }
            Ask::Multi(members) | Ask::MultiRead(members) => {
                for member in members {
                    // A member that asks for names alone has no stat in its answer.
                    let op = if matches!(member, Ask::Children(..)) { Op::GetChildren } else { member.op() };
                    put_int(out, op.as_i32());
                    put_bool(out, false);
                    put_int(out, -1);
                    member.body(out);
                }
                put_int(out, -1);
                put_bool(out, true);
                put_int(out, -1);
            }
            Ask::SetWatches(zxid, lists, lasting) => {
                put_long(out, *zxid);
                lists.iter().for_each(|list| put_strings(out, list));
                if self.op() == Op::SetWatches2 {
                    lasting.iter().for_each(|list| put_strings(out, list));
                }
            }
            Ask::Reconfig(change) => {
                for text in change.texts() {
                    match text {
                        Some(text) => put_string(out, &text),
                        None => put_int(out, -1),
                    }
                }
                put_long(out, change.from);
            }
            Ask::Ping | Ask::Close => {}
        }
    }

    /// A whole frame.
    pub fn frame(&self, xid: i32) -> Vec<u8> {
        let mut out = vec![0; 4];
        put_int(&mut out, xid);
        put_int(&mut out, self.op().as_i32());
        self.body(&mut out);
        let length = (out.len() - 4) as i32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        out
    }
}

/// What a connection says first.
pub fn hello(zxid: i64, timeout_ms: i32, session: i64, password: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_int(&mut out, 0);
    put_long(&mut out, zxid);
    put_int(&mut out, timeout_ms);
    put_long(&mut out, session);
    put_buffer(&mut out, Some(password));
    // It is content with a read-only server, until it finds another.
    put_bool(&mut out, true);
    let length = (out.len() - 4) as i32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// The answer to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Negotiated.
    pub timeout_ms: i32,
    /// Zero: it does not exist any more.
    pub session: i64,
    /// Its password.
    pub password: Vec<u8>,
    /// Of a server that has no leader.
    pub read_only: bool,
}

impl Welcome {
    /// Reads the record.
    pub fn decode(body: &[u8]) -> Result<Welcome, JuteError> {
        let mut r = Reader::new(body);
        _ = r.int()?;
        Ok(Welcome {
            timeout_ms: r.int()?,
            session: r.long()?,
            password: r.buffer()?.unwrap_or_default().to_vec(),
            read_only: r.bool()?,
        })
    }
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// An answer: xid, zxid, error, body.
    Reply(i32, i64, i32, Vec<u8>),
    /// An event: zxid, type, path.
    Event(i64, i32, String),
}

impl Frame {
    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Frame, JuteError> {
        let mut r = Reader::new(bytes);
        let (xid, zxid, err) = (r.int()?, r.long()?, r.int()?);
        if xid == -1 {
            let kind = r.int()?;
            _ = r.int()?;
            return Ok(Frame::Event(zxid, kind, r.string()?.into_owned()));
        }
        Ok(Frame::Reply(xid, zxid, err, r.rest().to_vec()))
    }
}

/// The answer to a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Data and stat.
    Data(Option<Data>, Stat),
    /// Stat.
    Stat(Stat),
    /// Names, sorted, and stat.
    Children(Vec<String>, Stat),
    /// ACL and stat.
    Rights(Vec<Acl>, Stat),
    /// A number.
    Count(i32),
    /// Strings, sorted.
    Names(Vec<String>),
    /// Of a multiRead: an error, or what a member shows.
    Each(Vec<Result<Shown, i32>>),
}

/// Reads the answer to a read that succeeded.
pub fn shown(ask: &Ask, body: &[u8]) -> Result<Shown, JuteError> {
    let mut r = Reader::new(body);
    Ok(match ask {
        Ask::Get(..) => Shown::Data(r.buffer()?.map(|data| Data(data.to_vec())), Stat::decode(&mut r)?),
        Ask::Children(..) => Shown::Children(sorted(&mut r)?, Stat::decode(&mut r)?),
        Ask::GetAcl(_) => Shown::Rights(r.vector(12)?.unwrap_or_default(), Stat::decode(&mut r)?),
        Ask::CountBelow(_) => Shown::Count(r.int()?),
        Ask::Ephemerals(_) => Shown::Names(sorted(&mut r)?),
        Ask::MultiRead(_) => {
            let mut each = Vec::new();
            loop {
                let (op, done, _) = (r.int()?, r.bool()?, r.int()?);
                if done {
                    break;
                }
                each.push(match op {
                    -1 => Err(r.int()?),
                    8 => Ok(Shown::Names(sorted(&mut r)?)),
                    _ => Ok(Shown::Data(r.buffer()?.map(|data| Data(data.to_vec())), Stat::decode(&mut r)?)),
                });
            }
            Shown::Each(each)
        }
        _ => Shown::Stat(Stat::decode(&mut r)?),
    })
}

fn sorted(r: &mut Reader<'_>) -> Result<Vec<String>, JuteError> {
    let mut names: Vec<String> = r.strings()?.into_iter().map(|name| name.into_owned()).collect();
    names.sort();
    Ok(names)
}

/// What the answer to a write that was carried out says: the error (of a multi the first of its members), and the paths created.
pub fn outcome(ask: &Ask, err: i32, body: &[u8]) -> Result<(i32, Vec<String>), JuteError> {
    let mut r = Reader::new(body);
    let mut paths = Vec::new();
    if err != 0 {
        return Ok((err, paths));
    }
    let mut first = 0;
    match ask {
        Ask::Create(..) | Ask::CreateTtl(..) => paths.push(r.string()?.into_owned()),
        Ask::Multi(_) => loop {
            let (op, done, _) = (r.int()?, r.bool()?, r.int()?);
            if done {
                break;
            }
            match op {
                -1 => {
                    let err = r.int()?;
                    first = if first == 0 { err } else { first };
                }
                1 => paths.push(r.string()?.into_owned()),
                15 => {
                    paths.push(r.string()?.into_owned());
                    _ = Stat::decode(&mut r)?;
                }
                5 => _ = Stat::decode(&mut r)?,
                _ => {}
            }
        },
        _ => {}
    }
    Ok((first, paths))
}

/// Splits the first whole frame off; its length is not in it.
pub fn split(undecoded: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = i32::from_be_bytes(*undecoded.first_chunk::<4>()?) as usize;
    let body = undecoded.get(4..4 + length)?.to_vec();
    undecoded.drain(..4 + length);
    Some(body)
}
