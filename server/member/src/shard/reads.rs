//! Requests that the shard answers from the tree and its own tables (client-protocol.md §11, §14).

use pipeline::Now;
use proto::acl::perms;
use proto::jute::{Encode, put_buffer, put_int, put_string, put_vector};
use proto::multi::{Member, decode_members, put_end, put_member_error, put_member_header};
use proto::reply::{EventType, begin_frame, end_frame, put_header, put_notification};
use proto::request::{PathNumber, PathWatch, SetWatches};
use proto::{Code, Decode, Id, JuteError, Millis, Op, Reader, Xid, Zxid};
use tree::NodeView;
use watches::{CatchUp, Watch, WatcherType, Watches, catch_up};

use std::sync::atomic::Ordering::Relaxed;

use super::{Conn, Key, Room, Shard};

/// A multiRead that has more to say than this fails.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a read has no body.
enum Failed {
    /// The client hears this.
    Code(Code),
    /// Unknown operation: the client hears UNIMPLEMENTED under zxid −1, and the connection closes.
    Unknown,
}

impl From<Code> for Failed {
    fn from(code: Code) -> Failed {
        Failed::Code(code)
    }
}

impl From<JuteError> for Failed {
    fn from(_: JuteError) -> Failed {
        Failed::Code(Code::MarshallingError)
    }
}

impl Shard {
    /// Answers a read at this shard's zxid, for the identities that the connection has now unless it had others when it asked.
    #[allow(clippy::too_many_arguments, reason = "a request's parts, and when it is answered")]
    pub(super) fn read(
        &mut self,
        key: Key,
        xid: Xid,
        op: i32,
        body: &[u8],
        ids: Option<&[Id]>,
        now: Now,
        since: Millis,
    ) {
        let Some(conn) = self.slots[key.index as usize].conn.as_deref_mut() else { return };
        let zxid = self.room.tree.zxid();
        let op = Op::from_i32(op);
        let before = conn.output.len();
        // setWatches queues its events ahead of its own answer.
        let outcome = if let Some(set @ (Op::SetWatches | Op::SetWatches2)) = op {
            self.room.set_watches(set, body, key, conn)
        } else {
            Ok(())
        };
        let start = begin_frame(&mut conn.output);
        let xid = if op == Some(Op::Ping) { Xid::PING } else { xid };
        put_header(&mut conn.output, xid, zxid, Code::Ok);
        let body_start = conn.output.len();
        let outcome = outcome.and_then(|()| self.room.put_answer(op, body, key, ids, conn));
        let mut ends = false;
        if let Err(failed) = outcome {
            conn.output.truncate(body_start);
            let (zxid, code) = match failed {
                Failed::Code(code) => (zxid, code),
                Failed::Unknown => (Zxid(-1), Code::Unimplemented),
            };
            ends = matches!(failed, Failed::Unknown);
            conn.output.truncate(start + 4);
            put_header(&mut conn.output, xid, zxid, code);
        }
        end_frame(&mut conn.output, start);
        self.room.tell_watches();
        let latency = now.mono.since(since);
        conn.stats.sent += 1;
        conn.stats.answered(short_name(op), i64::from(xid.0), zxid, latency, now.wall);
        self.room.stats.packet_sent(conn.output.len() - before);
        self.room.stats.latency(latency);
        self.touch_dirty(key);
        if ends {
            self.end(key);
        }
    }
}

impl Room {
    fn put_answer(
        &mut self,
        op: Option<Op>,
        body: &[u8],
        key: Key,
        ids: Option<&[Id]>,
        conn: &mut Conn,
    ) -> Result<(), Failed> {
        let mut r = Reader::with_limit(body, self.settings.length_max);
        let ids = ids.unwrap_or(&conn.ids);
        let out = &mut conn.output;
        match op {
            Some(Op::Ping | Op::SetWatches | Op::SetWatches2) => {}
            Some(Op::GetData) => {
                let request = PathWatch::decode(&mut r)?;
                let node = self.readable(&request.path, ids)?;
                put_buffer(out, node.data());
                node.stat().encode(out);
                if request.watch {
                    self.watches.add(key, &request.path, Watch::Data);
                }
            }
            Some(Op::Exists) => {
                let request = PathWatch::decode(&mut r)?;
                if request.path.contains('\0') {
                    return Err(Code::BadArguments.into());
                }
                let stat = match self.readable(&request.path, ids) {
                    Ok(node) => Ok(node.stat()),
                    Err(Code::NoNode) => Err(Code::NoNode),
                    Err(code) => return Err(code.into()),
                };
                if request.watch {
                    self.watches.add(key, &request.path, Watch::Data);
                }
                stat?.encode(out);
            }
            Some(op @ (Op::GetChildren | Op::GetChildren2)) => {
                let request = PathWatch::decode(&mut r)?;
                let node = self.readable(&request.path, ids)?;
                node.put_children(out);
                if op == Op::GetChildren2 {
                    node.stat().encode(out);
                }
                if request.watch {
                    self.watches.add(key, &request.path, Watch::Child);
                }
            }
            Some(Op::GetAcl) => {
                let path = r.string()?;
                let node = self.node(&path).ok_or(Code::NoNode)?;
                if !self.auth.allows(node.acl(), perms::READ | perms::ADMIN, ids) {
                    return Err(Code::NoAuth.into());
                }
                if self.auth.allows(node.acl(), perms::ADMIN, ids) {
                    put_vector(out, node.acl());
                } else {
                    put_vector(out, &auth::mask_digest_ids(node.acl()));
                }
                node.stat().encode(out);
            }
            Some(Op::GetAllChildrenNumber) => {
                let path = r.string()?;
                self.readable(&path, ids)?;
                // By its other name the root is counted as a descendant of itself.
                let (path, itself) = if path.is_empty() { ("/", 1) } else { (&*path, 0) };
                put_int(out, self.tree.count_descendants(path).unwrap_or_default() as i32 + itself);
            }
            Some(Op::WhoAmI) => {
                let users = self.auth.who_am_i(ids);
                put_int(out, users.len() as i32);
                for (scheme, user) in users {
                    put_string(out, scheme);
                    put_string(out, user);
                }
            }
            Some(Op::MultiRead) => {
                let members = decode_members(&mut r)?;
                if members.first().is_some_and(|member| !proto::multi::is_read(member)) {
                    return Err(Code::MarshallingError.into());
                }
                let start = out.len();
                for member in &members {
                    self.put_member(member, ids, out);
                    // A small request may ask for the same large znode thousands of times.
                    if out.len() - start > ANSWER_BYTES_MAX {
                        return Err(Code::MarshallingError.into());
                    }
                }
                put_end(out);
            }
            Some(op @ (Op::CheckWatches | Op::RemoveWatches)) => {
                let request = PathNumber::decode(&mut r)?;
                let kind =
                    WatcherType::from_i32(request.number).ok_or(JuteError::Unknown(request.number, "watcher type"))?;
                let found = if op == Op::CheckWatches {
                    self.watches.check(key, &request.path, kind)
                } else {
                    self.watches.remove(key, &request.path, kind)
                };
                if !found {
                    return Err(Code::NoWatcher.into());
                }
            }
            Some(Op::AddWatch) => {
                let request = PathNumber::decode(&mut r)?;
                let watch =
                    Watch::from_add_mode(request.number).ok_or(JuteError::Unknown(request.number, "watch mode"))?;
                self.watches.add(key, &request.path, watch);
                put_int(out, 0);
            }
            // A sync or getEphemerals that could not be decoded; the good ones go to the sequencer.
            Some(Op::Sync | Op::GetEphemerals) => return Err(Code::MarshallingError.into()),
            _ => return Err(Failed::Unknown),
        }
        Ok(())
    }

    /// How many watches there are now.
    pub(super) fn tell_watches(&self) {
        self.stats.watches.store(self.watches.count() as u64, Relaxed);
    }

    /// The node; the root also answers reads of the empty path, its second name in ZooKeeper's table of nodes.
    fn node(&self, path: &str) -> Option<NodeView<'_>> {
        self.tree.get(if path.is_empty() { "/" } else { path })
    }

    /// The node, if it exists and may be read.
    fn readable(&self, path: &str, ids: &[Id]) -> Result<NodeView<'_>, Code> {
        let node = self.node(path).ok_or(Code::NoNode)?;
        if self.auth.allows(node.acl(), perms::READ, ids) { Ok(node) } else { Err(Code::NoAuth) }
    }

    /// One member of a multiRead; its watch flag is read and discarded, as in ZooKeeper.
    fn put_member(&self, member: &Member<'_>, ids: &[Id], out: &mut Vec<u8>) {
        let (op, path) = match member {
            Member::GetChildren(request) => (Op::GetChildren, &request.path),
            Member::GetData(request) => (Op::GetData, &request.path),
            _ => return put_member_error(out, Code::MarshallingError),
        };
        match self.readable(path, ids) {
            Err(code) => put_member_error(out, code),
            Ok(node) => {
                put_member_header(out, op, Code::Ok);
                if op == Op::GetChildren {
                    node.put_children(out);
                } else {
                    put_buffer(out, node.data());
                    node.stat().encode(out);
                }
            }
        }
    }

    /// setWatches: what happened since the client's zxid is told at once, the rest is watched again (§14.7). These events are
    /// not filtered by ACL.
    fn set_watches(&mut self, op: Op, body: &[u8], key: Key, conn: &mut Conn) -> Result<(), Failed> {
        let mut r = Reader::with_limit(body, self.settings.length_max);
        let request = SetWatches::decode(op, &mut r)?;
        let since = request.relative_zxid;
        let lists =
            [(CatchUp::Data, &request.data), (CatchUp::Exist, &request.exist), (CatchUp::Child, &request.child)];
        for (list, paths) in lists {
            for path in paths {
                let node = self.node(path).map(|node| node.stat()).map(|stat| (stat.mzxid, stat.pzxid));
                match catch_up(list, node, since) {
                    Ok(watch) => self.watches.add(key, path, watch),
                    Err(event) => {
                        put_notification(&mut conn.output, Zxid(-1), event, path);
                        conn.stats.sent += 1;
                    }
                }
            }
        }
        for (watch, paths) in [(Watch::Persistent, &request.persistent), (Watch::Recursive, &request.recursive)] {
            paths.iter().for_each(|path| self.watches.add(key, path, watch));
        }
        Ok(())
    }
}

/// Is it an operation that this room answers, well-formed or not?
pub(super) fn is_read(op: Option<Op>) -> bool {
    matches!(
        op,
        Some(
            Op::Ping
                | Op::SetWatches
                | Op::SetWatches2
                | Op::GetData
                | Op::Exists
                | Op::GetChildren
                | Op::GetChildren2
                | Op::GetAcl
                | Op::GetAllChildrenNumber
                | Op::WhoAmI
                | Op::MultiRead
                | Op::CheckWatches
                | Op::RemoveWatches
                | Op::AddWatch
                | Op::Sync
                | Op::GetEphemerals
        )
    )
}

/// Collects the events of one change: for whom, and which.
pub(super) fn trigger(table: &mut Watches<Key>, change: &tree::Change, events: &mut Vec<(Key, EventType)>) {
    let kind = match change.kind {
        tree::ChangeKind::Created => watches::Change::Created,
        tree::ChangeKind::Deleted => watches::Change::Deleted,
        tree::ChangeKind::DataChanged => watches::Change::DataChanged,
    };
    table.trigger(kind, &change.path, |key, event, _| events.push((key, event)));
}

/// ZooKeeper's abbreviation of an operation in `cons` (config-and-ops.md §4).
pub(super) fn short_name(op: Option<Op>) -> &'static str {
    match op {
        Some(Op::Ping) => "PING",
        Some(Op::CreateSession) => "SESS",
        Some(Op::Multi) => "MULT",
        Some(Op::MultiRead) => "MLTR",
        Some(Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl) => "CREA",
        Some(Op::Delete | Op::DeleteContainer) => "DELE",
        Some(Op::SetData) => "SETD",
        Some(Op::Reconfig) => "RECO",
        Some(Op::SetAcl) => "SETA",
        Some(Op::CloseSession) => "CLOS",
        Some(Op::Sync) => "SYNC",
        Some(Op::Check) => "CHEC",
        Some(Op::Exists) => "EXIS",
        Some(Op::GetData) => "GETD",
        Some(Op::SetWatches) => "SETW",
        Some(Op::SetWatches2) => "STW2",
        Some(Op::AddWatch) => "ADDW",
        Some(Op::GetAcl) => "GETA",
        Some(Op::GetChildren | Op::GetChildren2) => "GETC",
        Some(Op::GetAllChildrenNumber) => "GETACN",
        Some(Op::CheckWatches) => "CHKW",
        Some(Op::RemoveWatches) => "REMW",
        Some(Op::WhoAmI) => "HOMI",
        Some(Op::GetEphemerals) => "GETE",
        Some(Op::Auth | Op::Sasl | Op::Error) | None => "NA",
    }
}
