//! A client's side of the wire, made by hand from the contract: requests out, frames in.

use proto::jute::{Encode, put_bool, put_buffer, put_int, put_long, put_string, put_strings, put_vector};
use proto::{Acl, Decode, Id, Op, Reader, Stat};

/// A request without its xid.
#[derive(Clone, Debug)]
pub struct Req {
    pub op: i32,
    pub body: Vec<u8>,
}

/// A raw request.
pub fn raw(op: i32, body: &[u8]) -> Req {
    Req { op, body: body.to_vec() }
}

fn req(op: Op, fill: impl FnOnce(&mut Vec<u8>)) -> Req {
    let mut body = Vec::new();
    fill(&mut body);
    Req { op: op.as_i32(), body }
}

/// World may do everything.
pub fn open_acl() -> Vec<Acl> {
    vec![Acl::open()]
}

/// One entry.
pub fn acl(perms: i32, scheme: &str, id: &str) -> Vec<Acl> {
    vec![Acl { perms, id: Id::new(scheme, id) }]
}

fn put_create(b: &mut Vec<u8>, path: &str, data: Option<&[u8]>, acl: &[Acl], flags: i32) {
    put_string(b, path);
    put_buffer(b, data);
    put_vector(b, acl);
    put_int(b, flags);
}

/// Any of the creates but createTTL.
pub fn create_as(op: Op, path: &str, data: Option<&[u8]>, acl: &[Acl], flags: i32) -> Req {
    req(op, |b| put_create(b, path, data, acl, flags))
}

pub fn create(path: &str, data: &str) -> Req {
    create_as(Op::Create, path, Some(data.as_bytes()), &open_acl(), 0)
}

pub fn create_flags(path: &str, flags: i32) -> Req {
    create_as(Op::Create, path, Some(b""), &open_acl(), flags)
}

pub fn create_acl(path: &str, acl: &[Acl]) -> Req {
    create_as(Op::Create, path, Some(b""), acl, 0)
}

pub fn create_ttl(path: &str, flags: i32, ttl: i64) -> Req {
    req(Op::CreateTtl, |b| {
        put_create(b, path, Some(b""), &open_acl(), flags);
        put_long(b, ttl);
    })
}

fn path_int(op: Op, path: &str, number: i32) -> Req {
    req(op, |b| {
        put_string(b, path);
        put_int(b, number);
    })
}

pub fn delete(path: &str, version: i32) -> Req {
    path_int(Op::Delete, path, version)
}

pub fn check(path: &str, version: i32) -> Req {
    path_int(Op::Check, path, version)
}

pub fn delete_container(path: &str) -> Req {
    req(Op::DeleteContainer, |b| put_string(b, path))
}

pub fn set(path: &str, data: &str, version: i32) -> Req {
    req(Op::SetData, |b| {
        put_string(b, path);
        put_buffer(b, Some(data.as_bytes()));
        put_int(b, version);
    })
}

pub fn set_acl(path: &str, acl: &[Acl], version: i32) -> Req {
    req(Op::SetAcl, |b| {
        put_string(b, path);
        put_vector(b, acl);
        put_int(b, version);
    })
}

fn path_watch(op: Op, path: &str, watch: bool) -> Req {
    req(op, |b| {
        put_string(b, path);
        put_bool(b, watch);
    })
}

pub fn get(path: &str, watch: bool) -> Req {
    path_watch(Op::GetData, path, watch)
}

pub fn exists(path: &str, watch: bool) -> Req {
    path_watch(Op::Exists, path, watch)
}

pub fn children(path: &str, watch: bool) -> Req {
    path_watch(Op::GetChildren, path, watch)
}

pub fn children2(path: &str, watch: bool) -> Req {
    path_watch(Op::GetChildren2, path, watch)
}

/// A request that is only a path: getACL, sync, getEphemerals, getAllChildrenNumber.
pub fn path_only(op: Op, path: &str) -> Req {
    req(op, |b| put_string(b, path))
}

pub fn ping() -> Req {
    req(Op::Ping, |_| {})
}

pub fn close() -> Req {
    req(Op::CloseSession, |_| {})
}

pub fn who_am_i() -> Req {
    req(Op::WhoAmI, |_| {})
}

pub fn add_watch(path: &str, mode: i32) -> Req {
    path_int(Op::AddWatch, path, mode)
}

pub fn check_watches(path: &str, kind: i32) -> Req {
    path_int(Op::CheckWatches, path, kind)
}

pub fn remove_watches(path: &str, kind: i32) -> Req {
    path_int(Op::RemoveWatches, path, kind)
}

pub fn auth(scheme: &str, data: &str) -> Req {
    req(Op::Auth, |b| {
        put_int(b, 0);
        put_string(b, scheme);
        put_buffer(b, Some(data.as_bytes()));
    })
}

/// setWatches with three lists, setWatches2 with five.
pub fn set_watches(since: i64, lists: &[&[&str]]) -> Req {
    req(if lists.len() == 3 { Op::SetWatches } else { Op::SetWatches2 }, |b| {
        put_long(b, since);
        lists.iter().for_each(|list| put_strings(b, list));
    })
}

/// multi or multiRead of these members.
pub fn multi_as(op: Op, members: &[Req]) -> Req {
    req(op, |b| {
        for member in members {
            put_int(b, member.op);
            put_bool(b, false);
            put_int(b, -1);
            b.extend_from_slice(&member.body);
        }
        put_int(b, -1);
        put_bool(b, true);
        put_int(b, -1);
    })
}

pub fn multi(members: &[Req]) -> Req {
    multi_as(Op::Multi, members)
}

/// A whole frame.
pub fn frame(xid: i32, request: &Req) -> Vec<u8> {
    let mut out = Vec::new();
    put_int(&mut out, (request.body.len() + 8) as i32);
    put_int(&mut out, xid);
    put_int(&mut out, request.op);
    out.extend_from_slice(&request.body);
    out
}

/// What a connection says first.
#[derive(Clone, Debug)]
pub struct Hello {
    pub zxid: i64,
    pub timeout_ms: i32,
    pub session: i64,
    pub password: Vec<u8>,
    pub read_only: Option<bool>,
}

impl Default for Hello {
    fn default() -> Hello {
        Hello { zxid: 0, timeout_ms: 10_000, session: 0, password: vec![0; 16], read_only: Some(false) }
    }
}

impl Hello {
    pub fn frame(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_int(&mut body, 0);
        put_long(&mut body, self.zxid);
        put_int(&mut body, self.timeout_ms);
        put_long(&mut body, self.session);
        put_buffer(&mut body, Some(&self.password));
        if let Some(read_only) = self.read_only {
            put_bool(&mut body, read_only);
        }
        let mut out = (body.len() as i32).to_be_bytes().to_vec();
        out.extend(body);
        out
    }
}

/// The answer to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    pub timeout_ms: i32,
    pub session: i64,
    pub password: Vec<u8>,
    pub read_only: Option<bool>,
}

impl Welcome {
    pub fn decode(body: &[u8]) -> Welcome {
        let mut r = Reader::new(body);
        assert_eq!(r.int(), Ok(0), "the protocol version");
        let welcome = Welcome {
            timeout_ms: r.int().unwrap(),
            session: r.long().unwrap(),
            password: r.buffer().unwrap().unwrap().to_vec(),
            read_only: if r.is_empty() { None } else { Some(r.bool().unwrap()) },
        };
        assert!(r.is_empty());
        welcome
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub zxid: i64,
    pub kind: i32,
    pub path: String,
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    Reply(Reply),
    Event(Event),
}

impl Frame {
    pub fn decode(bytes: &[u8]) -> Frame {
        let mut r = Reader::new(bytes);
        let (xid, zxid, err) = (r.int().unwrap(), r.long().unwrap(), r.int().unwrap());
        if xid == -1 {
            assert_eq!(err, 0);
            let kind = r.int().unwrap();
            assert_eq!(r.int(), Ok(3), "SyncConnected");
            let path = r.string().unwrap().into_owned();
            assert!(r.is_empty());
            return Frame::Event(Event { zxid, kind, path });
        }
        Frame::Reply(Reply { xid, zxid, err, body: r.rest().to_vec() })
    }
}

/// The result of a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Member {
    Path(String),
    PathStat(String, Stat),
    Deleted,
    Checked,
    Stat(Stat),
    Children(Vec<String>),
    Data(Vec<u8>, Stat),
    Error(i32),
}

impl Reply {
    pub fn ok(self) -> Reply {
        assert_eq!(self.err, 0, "{self:?}");
        self
    }

    fn whole<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        assert_eq!(self.err, 0, "{self:?}");
        let mut r = Reader::new(&self.body);
        let value = read(&mut r);
        assert!(r.is_empty(), "nothing follows: {self:?}");
        value
    }

    pub fn path(&self) -> String {
        self.whole(|r| r.string().unwrap().into_owned())
    }

    pub fn path_stat(&self) -> (String, Stat) {
        self.whole(|r| (r.string().unwrap().into_owned(), Stat::decode(r).unwrap()))
    }

    pub fn stat(&self) -> Stat {
        self.whole(|r| Stat::decode(r).unwrap())
    }

    pub fn data_stat(&self) -> (String, Stat) {
        self.whole(|r| {
            let data = r.buffer().unwrap().unwrap_or(b"(null)");
            (String::from_utf8_lossy(data).into_owned(), Stat::decode(r).unwrap())
        })
    }

    pub fn data(&self) -> String {
        self.data_stat().0
    }

    pub fn strings(&self) -> Vec<String> {
        self.whole(strings)
    }

    pub fn children_stat(&self) -> (Vec<String>, Stat) {
        self.whole(|r| (strings(r), Stat::decode(r).unwrap()))
    }

    pub fn int(&self) -> i32 {
        self.whole(|r| r.int().unwrap())
    }

    pub fn acl_stat(&self) -> (Vec<Acl>, Stat) {
        self.whole(|r| (r.vector(12).unwrap().unwrap(), Stat::decode(r).unwrap()))
    }

    pub fn users(&self) -> Vec<(String, String)> {
        self.whole(|r| {
            let count = r.int().unwrap();
            (0..count).map(|_| (r.string().unwrap().into_owned(), r.string().unwrap().into_owned())).collect()
        })
    }

    pub fn members(&self) -> Vec<Member> {
        self.whole(|r| {
            let mut members = Vec::new();
            loop {
                let (op, done, err) = (r.int().unwrap(), r.bool().unwrap(), r.int().unwrap());
                if done {
                    assert_eq!((op, err), (-1, -1));
                    return members;
                }
                let string = |r: &mut Reader<'_>| r.string().unwrap().into_owned();
                members.push(match op {
                    1 => Member::Path(string(r)),
                    2 => Member::Deleted,
                    4 => Member::Data(r.buffer().unwrap().unwrap().to_vec(), Stat::decode(r).unwrap()),
                    5 => Member::Stat(Stat::decode(r).unwrap()),
                    8 => Member::Children(strings(r)),
                    13 => Member::Checked,
                    15 => Member::PathStat(string(r), Stat::decode(r).unwrap()),
                    -1 => {
                        assert_eq!(r.int(), Ok(err), "the body repeats the error");
                        Member::Error(err)
                    }
                    other => panic!("a member of type {other}"),
                });
                assert!(op == -1 || err == 0);
            }
        })
    }
}

fn strings(r: &mut Reader<'_>) -> Vec<String> {
    r.strings().unwrap().into_iter().map(|name| name.into_owned()).collect()
}

/// A stat is 68 bytes, whatever it says.
pub fn stat_bytes(stat: &Stat) -> Vec<u8> {
    let mut out = Vec::new();
    stat.encode(&mut out);
    out
}
