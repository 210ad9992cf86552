//! Frames from a server: replies, notifications, and the records in them (client-protocol.md §4, §6.3, §10).

use proto::acl::Acl;
use proto::jute::{Decode, JuteError, Reader};
use proto::reply::ReplyHeader;
use proto::{Code, Op, Stat, Xid, Zxid};

/// `world:anyone` with all permissions, as most creates carry it.
pub fn open_acl() -> [Acl; 1] {
    [Acl::open()]
}

/// Takes the next whole frame from the front of `bytes`: its payload, and how many bytes it took. `None` if it is not all
/// there; an error if its length is not one.
pub fn next_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, JuteError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let size = usize::try_from(length).map_err(|_| JuteError::Length(length))?;
    Ok(rest.get(..size).map(|payload| (payload, 4 + size)))
}

/// A frame that a server sends to an established session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// A reply and the bytes behind its header.
    Reply(Reply, &'a [u8]),
    /// A watch event.
    Event(Event),
}

/// The header of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The request's number.
    pub xid: Xid,
    /// The newest transaction that the server had applied.
    pub zxid: Zxid,
    /// Error number, 0 for success.
    pub err: i32,
}

impl Reply {
    /// The error as a code, unless ZooKeeper has none of this number.
    pub fn code(self) -> Option<Code> {
        Code::from_i32(self.err)
    }
}

/// A watch event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The header's zxid: the transaction that fired it, or −1.
    pub zxid: Zxid,
    /// Number of the event type.
    pub kind: i32,
    /// Number of the state.
    pub state: i32,
    /// The path that changed.
    pub path: String,
}

impl<'a> Frame<'a> {
    /// Reads a frame's payload.
    pub fn decode(payload: &'a [u8]) -> Result<Frame<'a>, JuteError> {
        let mut r = Reader::new(payload);
        let header = ReplyHeader::decode(&mut r)?;
        if header.xid == Xid::NOTIFICATION {
            let event = Event { zxid: header.zxid, kind: r.int()?, state: r.int()?, path: r.string()?.into_owned() };
            expect_end(&r)?;
            return Ok(Frame::Event(event));
        }
        Ok(Frame::Reply(Reply { xid: header.xid, zxid: header.zxid, err: header.err }, r.rest()))
    }
}

/// What a successful reply says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// Header only.
    Empty,
    /// A path: create, sync.
    Path(String),
    /// create2, createContainer, createTTL
    Created(String, Stat),
    /// exists, setData, setACL
    Stat(Stat),
    /// getData, reconfig; `None` is null.
    Data(Option<Vec<u8>>, Stat),
    /// getACL
    Acl(Vec<Acl>, Stat),
    /// getChildren, getEphemerals
    Names(Vec<String>),
    /// getChildren2
    Children(Vec<String>, Stat),
    /// getAllChildrenNumber
    Number(i32),
    /// whoAmI: scheme and user
    Users(Vec<(String, String)>),
    /// multi, multiRead
    Multi(Vec<MultiResult>),
    /// sasl
    Token(Option<Vec<u8>>),
}

/// The result of one member of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiResult {
    /// create
    Created(String),
    /// create2, createContainer, createTTL
    Created2(String, Stat),
    /// delete
    Deleted,
    /// setData
    Set(Stat),
    /// check
    Checked,
    /// getData
    Data(Option<Vec<u8>>, Stat),
    /// getChildren
    Children(Vec<String>),
    /// The member failed, or another one did (runtime inconsistency, −2; 0 for those before the one that failed).
    Error(i32),
}

impl Response {
    /// Reads the body of a successful reply to operation `op`. Trailing bytes are an error: this client is also a judge.
    pub fn decode(op: i32, body: &[u8]) -> Result<Response, JuteError> {
        let mut r = Reader::new(body);
        let known = Op::from_i32(op).ok_or(JuteError::Unknown(op, "operation"))?;
        let response = match known {
            Op::Create | Op::Sync => Response::Path(r.string()?.into_owned()),
            Op::Create2 | Op::CreateContainer | Op::CreateTtl => {
                Response::Created(r.string()?.into_owned(), Stat::decode(&mut r)?)
            }
            Op::Exists | Op::SetData | Op::SetAcl => Response::Stat(Stat::decode(&mut r)?),
            Op::GetData | Op::Reconfig => Response::Data(r.buffer()?.map(<[u8]>::to_vec), Stat::decode(&mut r)?),
            Op::GetAcl => Response::Acl(r.vector(12)?.ok_or(JuteError::Null)?, Stat::decode(&mut r)?),
            Op::GetChildren | Op::GetEphemerals => Response::Names(names(&mut r)?),
            Op::GetChildren2 => Response::Children(names(&mut r)?, Stat::decode(&mut r)?),
            Op::GetAllChildrenNumber => Response::Number(r.int()?),
            Op::WhoAmI => {
                let count = r.count(8)?.ok_or(JuteError::Null)?;
                let user = |r: &mut Reader<'_>| Ok((r.string()?.into_owned(), r.string()?.into_owned()));
                Response::Users((0..count).map(|_| user(&mut r)).collect::<Result<_, JuteError>>()?)
            }
            Op::Multi | Op::MultiRead => Response::Multi(results(&mut r)?),
            Op::Sasl => Response::Token(r.buffer()?.map(<[u8]>::to_vec)),
            // addWatch answers with an error record that says 0.
            Op::AddWatch => match r.int()? {
                0 => Response::Empty,
                code => return Err(JuteError::Unknown(code, "result of addWatch")),
            },
            Op::Delete
            | Op::DeleteContainer
            | Op::Ping
            | Op::Check
            | Op::CheckWatches
            | Op::RemoveWatches
            | Op::Auth
            | Op::SetWatches
            | Op::SetWatches2
            | Op::CloseSession
            | Op::CreateSession
            | Op::Error => Response::Empty,
        };
        expect_end(&r)?;
        Ok(response)
    }
}

fn names(r: &mut Reader<'_>) -> Result<Vec<String>, JuteError> {
    Ok(r.strings()?.into_iter().map(|name| name.into_owned()).collect())
}

fn results(r: &mut Reader<'_>) -> Result<Vec<MultiResult>, JuteError> {
    let mut results = Vec::new();
    loop {
        let (number, done, err) = (r.int()?, r.bool()?, r.int()?);
        if done {
            return Ok(results);
        }
        let op = Op::from_i32(number).ok_or(JuteError::Unknown(number, "result of a multi"))?;
        results.push(match op {
            Op::Create => MultiResult::Created(r.string()?.into_owned()),
            Op::Create2 | Op::CreateContainer | Op::CreateTtl => {
                MultiResult::Created2(r.string()?.into_owned(), Stat::decode(r)?)
            }
            Op::Delete => MultiResult::Deleted,
            Op::SetData => MultiResult::Set(Stat::decode(r)?),
            Op::Check => MultiResult::Checked,
            Op::GetData => MultiResult::Data(r.buffer()?.map(<[u8]>::to_vec), Stat::decode(r)?),
            Op::GetChildren => MultiResult::Children(names(r)?),
            Op::Error => {
                let code = r.int()?;
                if code != err {
                    return Err(JuteError::Mixed("a member's error differs between header and body"));
                }
                MultiResult::Error(code)
            }
            _ => return Err(JuteError::Unknown(number, "result of a multi")),
        });
    }
}

fn expect_end(r: &Reader<'_>) -> Result<(), JuteError> {
    if r.is_empty() { Ok(()) } else { Err(JuteError::Mixed("bytes behind the record")) }
}
