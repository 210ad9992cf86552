//! Every request of client-protocol.md §6.2, as a client writes it.

use proto::acl::Acl;
use proto::connect::ConnectRequest;
use proto::jute::{put_bool, put_buffer, put_int, put_long, put_string, put_strings, put_vector};
use proto::reply::{begin_frame, end_frame};
use proto::{Code, Op, Xid, Zxid, multi};

/// Request numbers that are not counted up.
pub mod xid {
    use proto::Xid;

    /// Ping.
    pub const PING: Xid = Xid(-2);
    /// Auth packet.
    pub const AUTH: Xid = Xid(-4);
    /// setWatches and setWatches2.
    pub const SET_WATCHES: Xid = Xid(-8);
}

/// A request. Paths are relative to nothing: there is no chroot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// create, create2 or createContainer, by `op`.
    Create {
        /// Which of the three.
        op: Op,
        /// Wanted path.
        path: &'a str,
        /// `None` is null.
        data: Option<&'a [u8]>,
        /// Access-control list.
        acl: &'a [Acl],
        /// Number of the create mode.
        flags: i32,
    },
    /// createTTL
    CreateTtl {
        /// Wanted path.
        path: &'a str,
        /// `None` is null.
        data: Option<&'a [u8]>,
        /// Access-control list.
        acl: &'a [Acl],
        /// Number of the create mode, 5 or 6.
        flags: i32,
        /// In ms.
        ttl: i64,
    },
    /// delete: path and version (−1 any)
    Delete(&'a str, i32),
    /// deleteContainer
    DeleteContainer(&'a str),
    /// exists: path and watch
    Exists(&'a str, bool),
    /// getData: path and watch
    GetData(&'a str, bool),
    /// setData: path, data and version (−1 any)
    SetData(&'a str, Option<&'a [u8]>, i32),
    /// getACL
    GetAcl(&'a str),
    /// setACL: path, list and aversion (−1 any)
    SetAcl(&'a str, &'a [Acl], i32),
    /// getChildren: path and watch
    GetChildren(&'a str, bool),
    /// getChildren2: path and watch
    GetChildren2(&'a str, bool),
    /// sync
    Sync(&'a str),
    /// ping
    Ping,
    /// check outside a multi, which servers refuse: path and version
    Check(&'a str, i32),
    /// multi
    Multi(&'a [MultiOp<'a>]),
    /// multiRead
    MultiRead(&'a [MultiOp<'a>]),
    /// reconfig
    Reconfig {
        /// Servers to add, or null.
        joining: Option<&'a str>,
        /// Servers to remove, or null.
        leaving: Option<&'a str>,
        /// The whole membership, or null.
        members: Option<&'a str>,
        /// Version of the configuration to replace, −1 for any.
        from_config: i64,
    },
    /// checkWatches: path and watcher type
    CheckWatches(&'a str, i32),
    /// removeWatches: path and watcher type
    RemoveWatches(&'a str, i32),
    /// addWatch: path and mode
    AddWatch(&'a str, i32),
    /// auth: scheme and data
    Auth(&'a str, &'a [u8]),
    /// sasl
    Sasl(&'a [u8]),
    /// setWatches
    SetWatches {
        /// The newest zxid seen.
        relative: Zxid,
        /// Data, exist and child watches.
        lists: [&'a [&'a str]; 3],
    },
    /// setWatches2
    SetWatches2 {
        /// The newest zxid seen.
        relative: Zxid,
        /// Data, exist, child, persistent and recursive watches.
        lists: [&'a [&'a str]; 5],
    },
    /// getEphemerals below a prefix
    GetEphemerals(&'a str),
    /// getAllChildrenNumber
    GetAllChildrenNumber(&'a str),
    /// whoAmI
    WhoAmI,
    /// closeSession
    CloseSession,
    /// Any operation number with any body, for what no proper client says.
    Raw(i32, &'a [u8]),
}

/// A member of multi or multiRead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiOp<'a> {
    /// create, create2 or createContainer: operation, path, data, list, flags
    Create(Op, &'a str, Option<&'a [u8]>, &'a [Acl], i32),
    /// createTTL: path, data, list, flags, ttl in ms
    CreateTtl(&'a str, Option<&'a [u8]>, &'a [Acl], i32, i64),
    /// delete: path and version
    Delete(&'a str, i32),
    /// setData: path, data and version
    SetData(&'a str, Option<&'a [u8]>, i32),
    /// check: path and version
    Check(&'a str, i32),
    /// getChildren (multiRead)
    GetChildren(&'a str),
    /// getData (multiRead)
    GetData(&'a str),
}

impl Request<'_> {
    /// The operation's number.
    pub fn op(&self) -> i32 {
        let op = match self {
            Request::Create { op, .. } => *op,
            Request::CreateTtl { .. } => Op::CreateTtl,
            Request::Delete(..) => Op::Delete,
            Request::DeleteContainer(_) => Op::DeleteContainer,
            Request::Exists(..) => Op::Exists,
            Request::GetData(..) => Op::GetData,
            Request::SetData(..) => Op::SetData,
            Request::GetAcl(_) => Op::GetAcl,
            Request::SetAcl(..) => Op::SetAcl,
            Request::GetChildren(..) => Op::GetChildren,
            Request::GetChildren2(..) => Op::GetChildren2,
            Request::Sync(_) => Op::Sync,
            Request::Ping => Op::Ping,
            Request::Check(..) => Op::Check,
            Request::Multi(_) => Op::Multi,
            Request::MultiRead(_) => Op::MultiRead,
            Request::Reconfig { .. } => Op::Reconfig,
            Request::CheckWatches(..) => Op::CheckWatches,
            Request::RemoveWatches(..) => Op::RemoveWatches,
            Request::AddWatch(..) => Op::AddWatch,
            Request::Auth(..) => Op::Auth,
            Request::Sasl(_) => Op::Sasl,
            Request::SetWatches { .. } => Op::SetWatches,
            Request::SetWatches2 { .. } => Op::SetWatches2,
            Request::GetEphemerals(_) => Op::GetEphemerals,
            Request::GetAllChildrenNumber(_) => Op::GetAllChildrenNumber,
            Request::WhoAmI => Op::WhoAmI,
            Request::CloseSession => Op::CloseSession,
            Request::Raw(op, _) => return *op,
        };
        op.as_i32()
    }

    /// Appends the request as a frame.
    pub fn put_frame(&self, out: &mut Vec<u8>, xid: Xid) {
        let start = begin_frame(out);
        put_int(out, xid.0);
        put_int(out, self.op());
        self.put_body(out);
        end_frame(out, start);
    }

    fn put_body(&self, out: &mut Vec<u8>) {
        match *self {
            Request::Create { op: _, path, data, acl, flags } => put_create(out, path, data, acl, flags),
            Request::CreateTtl { path, data, acl, flags, ttl } => {
                put_create(out, path, data, acl, flags);
                put_long(out, ttl);
            }
            Request::Delete(path, number)
            | Request::Check(path, number)
            | Request::CheckWatches(path, number)
            | Request::RemoveWatches(path, number)
            | Request::AddWatch(path, number) => put_path_number(out, path, number),
            Request::Exists(path, watch)
            | Request::GetData(path, watch)
            | Request::GetChildren(path, watch)
            | Request::GetChildren2(path, watch) => {
                put_string(out, path);
                put_bool(out, watch);
            }
            Request::SetData(path, data, version) => put_set_data(out, path, data, version),
            Request::SetAcl(path, acl, version) => {
                put_string(out, path);
                put_vector(out, acl);
                put_int(out, version);
            }
            Request::DeleteContainer(path)
            | Request::GetAcl(path)
            | Request::Sync(path)
            | Request::GetEphemerals(path)
            | Request::GetAllChildrenNumber(path) => put_string(out, path),
            Request::Ping | Request::WhoAmI | Request::CloseSession => {}
            Request::Multi(members) | Request::MultiRead(members) => put_members(out, members),
            Request::Reconfig { joining, leaving, members, from_config } => {
                for text in [joining, leaving, members] {
                    put_buffer(out, text.map(str::as_bytes));
                }
                put_long(out, from_config);
            }
            Request::Auth(scheme, data) => {
                put_int(out, 0);
                put_string(out, scheme);
                put_buffer(out, Some(data));
            }
            Request::Sasl(token) => put_buffer(out, Some(token)),
            Request::SetWatches { relative, lists } => put_set_watches(out, relative, &lists),
            Request::SetWatches2 { relative, lists } => put_set_watches(out, relative, &lists),
            Request::Raw(_, body) => out.extend_from_slice(body),
        }
    }
}

/// Appends the first frame of a connection.
pub fn put_connect(out: &mut Vec<u8>, request: &ConnectRequest) {
    let start = begin_frame(out);
    request.encode(out);
    end_frame(out, start);
}

fn put_path_number(out: &mut Vec<u8>, path: &str, number: i32) {
    put_string(out, path);
    put_int(out, number);
}

fn put_create(out: &mut Vec<u8>, path: &str, data: Option<&[u8]>, acl: &[Acl], flags: i32) {
    put_string(out, path);
    put_buffer(out, data);
    put_vector(out, acl);
    put_int(out, flags);
}

fn put_set_data(out: &mut Vec<u8>, path: &str, data: Option<&[u8]>, version: i32) {
    put_string(out, path);
    put_buffer(out, data);
    put_int(out, version);
}

fn put_set_watches(out: &mut Vec<u8>, relative: Zxid, lists: &[&[&str]]) {
    put_long(out, relative.0);
    for list in lists {
        put_strings(out, list);
    }
}

fn put_members(out: &mut Vec<u8>, members: &[MultiOp<'_>]) {
    // Clients send −1 as the error of a member's header.
    let header = |out: &mut Vec<u8>, op: Op| {
        multi::put_member_header(out, op, Code::Ok);
        let error = out.len() - 4;
        out[error..].copy_from_slice(&(-1i32).to_be_bytes());
    };
    for member in members {
        match *member {
            MultiOp::Create(op, path, data, acl, flags) => {
                header(out, op);
                put_create(out, path, data, acl, flags);
            }
            MultiOp::CreateTtl(path, data, acl, flags, ttl) => {
                header(out, Op::CreateTtl);
                put_create(out, path, data, acl, flags);
                put_long(out, ttl);
            }
            MultiOp::Delete(path, version) => {
                header(out, Op::Delete);
                put_path_number(out, path, version);
            }
            MultiOp::SetData(path, data, version) => {
                header(out, Op::SetData);
                put_set_data(out, path, data, version);
            }
            MultiOp::Check(path, version) => {
                header(out, Op::Check);
                put_path_number(out, path, version);
            }
            MultiOp::GetChildren(path) => {
                header(out, Op::GetChildren);
                put_string(out, path);
                put_bool(out, false);
            }
            MultiOp::GetData(path) => {
                header(out, Op::GetData);
                put_string(out, path);
                put_bool(out, false);
            }
        }
    }
    multi::put_end(out);
}
