//! What is sent, as data: a sequence that can be generated, printed, read back, shortened and replayed.
//!
//! A script knows no session ids, zxids or names of its run. It says "slot 2", "the newest zxid this slot has seen" and
//! "the version last seen"; [`Names`] and the two sides fill these in. So a script replays on any pair of servers, and
//! still makes sense when steps are taken out.
//!
//! Paths: `/a` lies below the run's own namespace, `?/a` is its node below /zookeeper/quota, `@0` is the path that the latest
//! create returned (`@1` the one before), and what stands behind `!` is sent as it is.

use std::collections::HashMap;

use client::{MultiOp, Request};
use proto::acl::{Acl, Id};
use proto::jute::{put_int, put_string};
use proto::{Op, Xid, Zxid};
use serde::{Deserialize, Serialize};

/// One thing done on one slot; the next waits until both servers have answered it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A new session in an empty slot.
    Open {
        /// Which.
        slot: usize,
        /// Wanted timeout, ms.
        timeout_ms: i32,
        /// The optional byte.
        read_only: Option<bool>,
    },
    /// The connection is dropped, the session stays.
    Drop(usize),
    /// A new connection of the slot's session; the old one, if any, must end.
    Attach(usize, Attach),
    /// Requests sent at once.
    Send(usize, Vec<Req>),
}

/// With what a session is claimed.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// As it should be.
    Right,
    /// With another password; only tried while the session has no connection.
    WrongPassword,
    /// Having seen a zxid from the future.
    Ahead,
    /// As it should be, if there is no connection.
    IfEnded,
}

/// A version as written, or relative to the one last seen.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// This number.
    Is(i32),
    /// The one last seen on the path, plus this.
    Seen(i32),
}

/// A zxid that the client claims to know.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// 0
    Zero,
    /// So many replies before the newest.
    Back(usize),
    /// Far ahead.
    Max,
}

/// Permissions, scheme, id.
pub type Entry = (i32, String, String);

/// A request; fields are those of client-protocol.md §6.2.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "names and fields are the protocol's")]
pub enum Req {
    Create { op: i32, path: String, data: Option<String>, acl: Vec<Entry>, flags: i32 },
    CreateTtl { path: String, data: Option<String>, acl: Vec<Entry>, flags: i32, ttl: i64 },
    NullAcl { op: i32, path: String },
    Delete(String, Version),
    DeleteContainer(String),
    Exists(String, bool),
    GetData(String, bool),
    SetData(String, Option<String>, Version),
    GetAcl(String),
    SetAcl(String, Vec<Entry>, Version),
    GetChildren(String, bool),
    GetChildren2(String, bool),
    Sync(String),
    Ping,
    Check(String, Version),
    Multi(Vec<Member>),
    MultiRead(Vec<Member>),
    Reconfig { joining: Option<String>, leaving: Option<String>, members: Option<String>, from: i64 },
    CheckWatches(String, i32),
    RemoveWatches(String, i32),
    AddWatch(String, i32),
    Auth(String, String),
    SetWatches(Since, [Vec<String>; 3]),
    SetWatches2(Since, [Vec<String>; 5]),
    GetEphemerals(String),
    GetAllChildrenNumber(String),
    WhoAmI,
    CloseSession,
    Raw(i32, Vec<u8>),
    Mangled { of: Box<Req>, cut: Option<usize>, flips: Vec<(usize, u8)>, tail: Vec<u8> },
}

/// A member of a multi or multiRead.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "names and fields are the protocol's")]
pub enum Member {
    Create { op: i32, path: String, data: Option<String>, acl: Vec<Entry>, flags: i32 },
    CreateTtl { path: String, data: Option<String>, acl: Vec<Entry>, flags: i32, ttl: i64 },
    Delete(String, Version),
    SetData(String, Option<String>, Version),
    Check(String, Version),
    GetChildren(String),
    GetData(String),
}

/// What a run has learnt, by which a script's names become real ones.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The namespace, such as `/n12`.
    pub prefix: String,
    /// Paths that creates returned, newest last.
    pub created: Vec<String>,
    /// Version and aversion last seen, by real path.
    pub seen: HashMap<String, (i32, i32)>,
}

impl Names {
    /// The path as it is sent.
    pub fn path(&self, written: &str) -> String {
        match written.as_bytes().first() {
            Some(b'!') => written[1..].to_owned(),
            Some(b'?') => format!("/zookeeper/quota{}{}", self.prefix, &written[1..]),
            Some(b'@') => {
                let digits = written[1..].find('/').map_or(&written[1..], |end| &written[1..1 + end]);
                let back = digits.parse::<usize>().unwrap_or(0);
                let base = self.created.iter().rev().nth(back).cloned().unwrap_or_else(|| format!("{}/a", self.prefix));
                format!("{base}{}", &written[1 + digits.len()..])
            }
            _ if written == "/" => self.prefix.clone(),
            _ => format!("{}{written}", self.prefix),
        }
    }

    fn version(&self, path: &str, version: Version, aversion: bool) -> i32 {
        match version {
            Version::Is(number) => number,
            Version::Seen(plus) => {
                let (data, acl) = self.seen.get(path).copied().unwrap_or((0, 0));
                if aversion { acl + plus } else { data + plus }
            }
        }
    }
}

/// A request as it goes over the wire, but for its xid.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Operation number.
    pub op: i32,
    /// What follows the header.
    pub body: Vec<u8>,
    /// The path it is about, for the versions seen.
    pub path: Option<String>,
}

impl Req {
    /// The request's bytes. `since` turns the script's idea of a zxid into this server's.
    pub fn wire(&self, names: &Names, since: &dyn Fn(Since) -> i64) -> Wire {
        if let Req::Mangled { of, cut, flips, tail } = self {
            let mut wire = of.wire(names, since);
            let length = wire.body.len().max(1);
            for (at, mask) in flips {
                if let Some(byte) = wire.body.get_mut(at % length) {
                    *byte ^= mask;
                }
            }
            if let Some(cut) = cut {
                wire.body.truncate(cut % length);
            }
            wire.body.extend_from_slice(tail);
            return wire;
        }
        let mut path = None;
        let mut frame = Vec::new();
        self.with(names, since, &mut |request, about| {
            request.put_frame(&mut frame, Xid(0));
            path = about.map(str::to_owned);
        });
        Wire { op: i32::from_be_bytes([frame[8], frame[9], frame[10], frame[11]]), body: frame.split_off(12), path }
    }

    fn with(&self, names: &Names, since: &dyn Fn(Since) -> i64, f: &mut dyn FnMut(&Request<'_>, Option<&str>)) {
        let bytes = |data: &'_ Option<String>| data.as_ref().map(|data| data.clone().into_bytes());
        match self {
            Req::Create { op, path, data, acl, flags } => {
                let (path, data, acl) = (names.path(path), bytes(data), list(acl));
                let op = Op::from_i32(*op).unwrap_or(Op::Create);
                f(&Request::Create { op, path: &path, data: data.as_deref(), acl: &acl, flags: *flags }, Some(&path));
            }
            Req::CreateTtl { path, data, acl, flags, ttl } => {
                let (path, data, acl) = (names.path(path), bytes(data), list(acl));
                let (flags, ttl) = (*flags, *ttl);
                f(&Request::CreateTtl { path: &path, data: data.as_deref(), acl: &acl, flags, ttl }, Some(&path));
            }
            Req::NullAcl { op, path } => {
                let mut body = Vec::new();
                put_string(&mut body, &names.path(path));
                if *op != Op::SetAcl.as_i32() {
                    put_int(&mut body, -1);
                }
                put_int(&mut body, -1);
                put_int(&mut body, 0);
                f(&Request::Raw(*op, &body), None);
            }
            Req::Delete(path, version) => {
                let path = names.path(path);
                f(&Request::Delete(&path, names.version(&path, *version, false)), Some(&path));
            }
            Req::Check(path, version) => {
                let path = names.path(path);
                f(&Request::Check(&path, names.version(&path, *version, false)), Some(&path));
            }
            Req::DeleteContainer(path) => f(&Request::DeleteContainer(&names.path(path)), None),
            Req::Exists(path, watch) => with_path(names, path, f, |path| Request::Exists(path, *watch)),
            Req::GetData(path, watch) => with_path(names, path, f, |path| Request::GetData(path, *watch)),
            Req::GetChildren(path, watch) => with_path(names, path, f, |path| Request::GetChildren(path, *watch)),
            Req::GetChildren2(path, watch) => with_path(names, path, f, |path| Request::GetChildren2(path, *watch)),
            Req::GetAcl(path) => with_path(names, path, f, |path| Request::GetAcl(path)),
            Req::Sync(path) => with_path(names, path, f, |path| Request::Sync(path)),
            Req::GetEphemerals(path) => with_path(names, path, f, |path| Request::GetEphemerals(path)),
            Req::GetAllChildrenNumber(path) => with_path(names, path, f, |path| Request::GetAllChildrenNumber(path)),
            Req::CheckWatches(path, kind) => with_path(names, path, f, |path| Request::CheckWatches(path, *kind)),
            Req::RemoveWatches(path, kind) => with_path(names, path, f, |path| Request::RemoveWatches(path, *kind)),
            Req::AddWatch(path, mode) => with_path(names, path, f, |path| Request::AddWatch(path, *mode)),
            Req::SetData(path, data, version) => {
                let (path, data) = (names.path(path), bytes(data));
                f(&Request::SetData(&path, data.as_deref(), names.version(&path, *version, false)), Some(&path));
            }
            Req::SetAcl(path, acl, version) => {
                let (path, acl) = (names.path(path), list(acl));
                f(&Request::SetAcl(&path, &acl, names.version(&path, *version, true)), Some(&path));
            }
            Req::Ping => f(&Request::Ping, None),
            Req::WhoAmI => f(&Request::WhoAmI, None),
            Req::CloseSession => f(&Request::CloseSession, None),
            Req::Multi(members) => with_members(names, members, &mut |members| f(&Request::Multi(members), None)),
            Req::MultiRead(members) => {
                with_members(names, members, &mut |members| f(&Request::MultiRead(members), None))
            }
            Req::Reconfig { joining, leaving, members, from } => f(
                &Request::Reconfig {
                    joining: joining.as_deref(),
                    leaving: leaving.as_deref(),
                    members: members.as_deref(),
                    from_config: *from,
                },
                None,
            ),
            Req::Auth(scheme, data) => f(&Request::Auth(scheme, data.as_bytes()), None),
            Req::SetWatches(relative, lists) => {
                let real = lists.each_ref().map(|list| list.iter().map(|path| names.path(path)).collect::<Vec<_>>());
                let real = real.each_ref().map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
                let lists = real.each_ref().map(Vec::as_slice);
                f(&Request::SetWatches { relative: Zxid(since(*relative)), lists }, None);
            }
            Req::SetWatches2(relative, lists) => {
                let real = lists.each_ref().map(|list| list.iter().map(|path| names.path(path)).collect::<Vec<_>>());
                let real = real.each_ref().map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
                let lists = real.each_ref().map(Vec::as_slice);
                f(&Request::SetWatches2 { relative: Zxid(since(*relative)), lists }, None);
            }
            Req::Raw(op, body) => f(&Request::Raw(*op, body), None),
            Req::Mangled { of, .. } => of.with(names, since, f),
        }
    }
}

fn with_path(
    names: &Names,
    written: &str,
    f: &mut dyn FnMut(&Request<'_>, Option<&str>),
    make: impl for<'a> FnOnce(&'a str) -> Request<'a>,
) {
    let path = names.path(written);
    f(&make(&path), Some(&path));
}

fn with_members(names: &Names, members: &[Member], f: &mut dyn FnMut(&[MultiOp<'_>])) {
    let paths: Vec<String> = members.iter().map(|member| names.path(member.path())).collect();
    let lists: Vec<Vec<Acl>> = members.iter().map(Member::acl).collect();
    let ops: Vec<MultiOp<'_>> = members
        .iter()
        .zip(paths.iter().zip(&lists))
        .map(|(member, (path, acl))| match member {
            Member::Create { op, data, flags, .. } => {
                let op = Op::from_i32(*op).unwrap_or(Op::Create);
                MultiOp::Create(op, path, data.as_ref().map(String::as_bytes), acl, *flags)
            }
            Member::CreateTtl { data, flags, ttl, .. } => {
                MultiOp::CreateTtl(path, data.as_ref().map(String::as_bytes), acl, *flags, *ttl)
            }
            Member::Delete(_, version) => MultiOp::Delete(path, names.version(path, *version, false)),
            Member::SetData(_, data, version) => {
                MultiOp::SetData(path, data.as_ref().map(String::as_bytes), names.version(path, *version, false))
            }
            Member::Check(_, version) => MultiOp::Check(path, names.version(path, *version, false)),
            Member::GetChildren(_) => MultiOp::GetChildren(path),
            Member::GetData(_) => MultiOp::GetData(path),
        })
        .collect();
    f(&ops);
}

impl Member {
    fn path(&self) -> &str {
        match self {
            Member::Create { path, .. }
            | Member::CreateTtl { path, .. }
            | Member::Delete(path, _)
            | Member::SetData(path, ..)
            | Member::Check(path, _)
            | Member::GetChildren(path)
            | Member::GetData(path) => path,
        }
    }

    fn acl(&self) -> Vec<Acl> {
        match self {
            Member::Create { acl, .. } | Member::CreateTtl { acl, .. } => list(acl),
            _ => Vec::new(),
        }
    }
}

fn list(entries: &[Entry]) -> Vec<Acl> {
    entries.iter().map(|(perms, scheme, id)| Acl { perms: *perms, id: Id::new(scheme, id) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;
    use crate::side::Era;

    #[test]
    fn a_script_is_the_same_when_read_back() {
        for number in 0..20 {
            for step in generate::script(1, number, 200, Era::V39) {
                let text = serde_json::to_string(&step).unwrap();
                assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
            }
        }
    }

    #[test]
    fn names_become_real_ones() {
        let created = vec!["/n1/old".to_owned(), "/n1/new0000000003".to_owned()];
        let names = Names { prefix: "/n1".to_owned(), created, ..Names::default() };
        let cases = [
            ("/", "/n1"),
            ("/a/b", "/n1/a/b"),
            ("?/a", "/zookeeper/quota/n1/a"),
            ("@0", "/n1/new0000000003"),
            ("@1/x", "/n1/old/x"),
            ("@7", "/n1/a"),
            ("!", ""),
            ("!//", "//"),
        ];
        for (written, real) in cases {
            assert_eq!(names.path(written), real, "{written}");
        }
    }

    #[test]
    fn a_mangled_request_is_changed_where_it_says() {
        let of = Box::new(Req::Sync("!/ab".to_owned()));
        let mangled = Req::Mangled { of, cut: Some(6), flips: vec![(4, 1)], tail: vec![9] };
        let wire = mangled.wire(&Names::default(), &|_| 0);
        assert_eq!((wire.op, wire.body), (9, vec![0, 0, 0, 3, b'/' ^ 1, b'a', 9]));
    }
}
