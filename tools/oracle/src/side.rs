//! One of the two servers: its sessions, and everything it sends turned into text that must equal the other's.
//!
//! In the text, zxids are counted from the first one of this run, session ids are numbers in the order of opening, times are
//! left out, and lists whose order is arbitrary in Java are sorted.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use client::wire::{self, next_frame};
use client::{Frame, MultiResult, Response};
use proto::acl::Acl;
use proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES};
use proto::{Op, SessionId, Stat, Xid, Zxid};

use crate::script::{Attach, Names, Req, Since};

/// The longest wait for anything. Only a fault makes it pass.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What a server is known not to do as 3.9.5 does, and so what is left out of the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Era {
    /// Debian's 3.8.0.
    V38,
    /// The contract.
    V39,
}

/// One server and this run's sessions on it.
#[derive(Debug)]
pub struct Side {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Left out of the comparison.
    pub era: Era,
    base: i64,
    /// Own zxids that the other side does not have, rising.
    extra: Vec<i64>,
    /// Whether malformed writes take such a zxid here and not there.
    pub counts_malformed: bool,
    sessions: HashMap<i64, usize>,
    slots: HashMap<usize, Slot>,
    /// Versions and created paths, kept on one side only.
    pub learns: Option<Names>,
}

#[derive(Debug)]
struct Slot {
    id: SessionId,
    password: [u8; PASSWORD_BYTES],
    timeout_ms: i32,
    link: Option<Link>,
    next_xid: i32,
    zxids: Vec<i64>,
}

#[derive(Debug)]
struct Link {
    stream: TcpStream,
    input: Vec<u8>,
    outstanding: VecDeque<(Xid, i32, Option<String>)>,
}

#[derive(Debug)]
enum Gone {
    Closed,
    Silent,
}

impl Side {
    /// A side whose zxids are counted from the present one.
    pub fn new(addr: SocketAddr, era: Era) -> std::io::Result<Side> {
        let text = client::four_letter(addr, "srvr")?;
        let base = text.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).unwrap_or("0");
        let base = i64::from_str_radix(base.trim(), 16).unwrap_or(0);
        Ok(Side {
            addr,
            era,
            base,
            extra: Vec::new(),
            counts_malformed: false,
            sessions: HashMap::new(),
            slots: HashMap::new(),
            learns: None,
        })
    }

    /// Whether the slot has a session.
    pub fn is_open(&self, slot: usize) -> bool {
        self.slots.contains_key(&slot)
    }

    /// Whether the slot's session has a connection.
    pub fn is_linked(&self, slot: usize) -> bool {
        self.slots.get(&slot).is_some_and(|slot| slot.link.is_some())
    }

    /// Forgets all sessions, for a new script.
    pub fn forget(&mut self) {
        self.slots.clear();
        self.sessions.clear();
    }

    /// Node count and last zxid as `srvr` tells them.
    pub fn totals(&self) -> String {
        let text = client::four_letter(self.addr, "srvr").unwrap_or_default();
        let find = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
        let zxid = i64::from_str_radix(find("Zxid: 0x").as_str(), 16).unwrap_or(-1);
        format!("srvr: {} nodes, zxid {}", find("Node count:"), self.zxid(zxid))
    }

    /// Opens a session in a slot. The text says what came back.
    pub fn open(&mut self, slot: usize, timeout_ms: i32, read_only: Option<bool>) -> String {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms,
            session: SessionId::NONE,
            password: vec![0; PASSWORD_BYTES],
            read_only,
        };
        match connect(self.addr, &request) {
            Ok((link, info)) if info.timeout_ms > 0 => {
                let number = self.sessions.len();
                self.sessions.insert(info.session.0, number);
                let text = format!("session {number} timeout {} read-only {:?}", info.timeout_ms, info.read_only);
                let slot_state = Slot {
                    id: info.session,
                    password: info.password,
                    timeout_ms: info.timeout_ms,
                    link: Some(link),
                    next_xid: 1,
                    zxids: Vec::new(),
                };
                self.slots.insert(slot, slot_state);
                text
            }
            Ok((_, info)) => format!("refused: {}", refusal(&info)),
            Err(gone) => format!("{gone:?}"),
        }
    }

    /// Closes the slot's socket, and waits until the server has done so too. A Java server that notices only after the
    /// session has come back forgets the new connection instead of the old one.
    pub fn drop_link(&mut self, slot: usize) -> String {
        let Some(mut link) = self.slots.get_mut(&slot).and_then(|slot| slot.link.take()) else { return String::new() };
        if link.stream.shutdown(Shutdown::Write).is_err() {
            return format!("{:?}", Gone::Closed);
        }
        match link.receive(Instant::now() + WAIT_MAX) {
            Ok(payload) => format!("still {payload:?}"),
            Err(gone) => format!("{gone:?}"),
        }
    }

    /// Comes back to the slot's session. Of an earlier connection, the text says how it ended.
    pub fn attach(&mut self, number: usize, how: Attach) -> Vec<String> {
        let Some(slot) = self.slots.get_mut(&number) else { return Vec::new() };
        let mut password = slot.password;
        let mut seen = slot.zxids.last().copied().unwrap_or(0);
        match how {
            Attach::Right | Attach::IfEnded => {}
            Attach::WrongPassword => password[3] ^= 0x55,
            Attach::Ahead => seen += 1_000_000_000,
        }
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(seen),
            timeout_ms: slot.timeout_ms,
            session: slot.id,
            password: password.to_vec(),
            read_only: Some(false),
        };
        let mut lines = Vec::new();
        match connect(self.addr, &request) {
            Ok((link, info)) if info.timeout_ms > 0 => {
                let same = info.session == slot.id && info.password == slot.password;
                lines.push(format!("attached timeout {} read-only {:?} same {same}", info.timeout_ms, info.read_only));
                if let Some(mut old) = slot.link.replace(link) {
                    match old.receive(Instant::now() + WAIT_MAX) {
                        Ok(_) => lines.push("the old connection still says something".to_owned()),
                        Err(gone) => lines.push(format!("old connection {gone:?}")),
                    }
                }
            }
            Ok((_, info)) => lines.push(format!("refused: {}", refusal(&info))),
            Err(gone) => lines.push(format!("{gone:?}")),
        }
        lines
    }

    /// Sends requests on a slot without waiting.
    pub fn send(&mut self, number: usize, requests: &[Req], names: &Names) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        let Slot { link: Some(link), next_xid, zxids, .. } = slot else { return };
        let since = |since: Since| match since {
            Since::Zero => 0,
            Since::Back(back) => zxids.iter().rev().nth(back).copied().unwrap_or(0),
            Since::Max => i64::MAX,
        };
        let mut bytes = Vec::new();
        for request in requests {
            let wire = request.wire(names, &since);
            let xid = match Op::from_i32(wire.op) {
                Some(Op::Ping) => wire::xid::PING,
                Some(Op::Auth) => wire::xid::AUTH,
                Some(Op::SetWatches | Op::SetWatches2) => wire::xid::SET_WATCHES,
                _ => {
                    *next_xid += 1;
                    Xid(*next_xid)
                }
            };
            let length = i32::try_from(wire.body.len() + 8).expect("requests are small");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&xid.0.to_be_bytes());
            bytes.extend_from_slice(&wire.op.to_be_bytes());
            bytes.extend_from_slice(&wire.body);
            link.outstanding.push_back((xid, wire.op, wire.path));
        }
        // A connection that the server has closed shows itself at the next read.
        let _ = link.stream.write_all(&bytes);
    }

    /// Waits for the answers to all that was sent on a slot; events between them are in their places. `events_sorted` sorts
    /// runs of events.
    pub fn collect(&mut self, number: usize, events_sorted: bool) -> Vec<String> {
        let Some(mut link) = self.slots.get_mut(&number).and_then(|slot| slot.link.take()) else { return Vec::new() };
        let mut lines = Vec::new();
        let mut run = 0;
        let mut ending = false;
        let until = Instant::now() + WAIT_MAX;
        let mut ended = false;
        while !link.outstanding.is_empty() || ending {
            let payload = match link.receive(until) {
                Ok(payload) => payload,
                Err(gone) => {
                    lines.push(format!("connection {gone:?}"));
                    ended = true;
                    break;
                }
            };
            match Frame::decode(&payload) {
                Ok(Frame::Event(event)) => {
                    let zxid = if self.era == Era::V38 { 0 } else { self.zxid(event.zxid.0) };
                    lines.push(format!("event zxid {zxid} type {} state {} {:?}", event.kind, event.state, event.path));
                    run += 1;
                    if events_sorted {
                        let start = lines.len() - run;
                        lines[start..].sort();
                    }
                }
                Ok(Frame::Reply(reply, body)) => {
                    run = 0;
                    let place = link.outstanding.iter().position(|(xid, _, _)| *xid == reply.xid);
                    let (_, op, path) =
                        place.and_then(|place| link.outstanding.remove(place)).unwrap_or((reply.xid, 0, None));
                    if reply.zxid.0 > 0
                        && let Some(slot) = self.slots.get_mut(&number)
                    {
                        slot.zxids.push(reply.zxid.0);
                    }
                    let known = Op::from_i32(op);
                    if self.counts_malformed
                        && reply.err == -5
                        && known.is_some_and(|op| op.is_write() && op != Op::Multi)
                    {
                        self.extra.push(reply.zxid.0);
                    }
                    let what = if reply.err != 0 {
                        if body.is_empty() { String::new() } else { format!("and {} bytes", body.len()) }
                    } else if known.is_none() {
                        format!("{} bytes", body.len())
                    } else {
                        match Response::decode(op, body) {
                            Ok(response) => {
                                self.learn(path.as_deref(), &response);
                                self.response(response)
                            }
                            Err(error) => format!("undecodable ({error}): {body:?}"),
                        }
                    };
                    let name = known.map_or_else(|| op.to_string(), |op| op.name().to_owned());
                    let zxid = self.zxid(reply.zxid.0);
                    lines.push(format!("{name} xid {} zxid {zxid} err {} {what}", reply.xid.0, reply.err));
                    ending |=
                        known == Some(Op::CloseSession) || reply.err == -115 || (reply.err == -6 && reply.zxid.0 == -1);
                    if known == Some(Op::CloseSession) {
                        self.slots.remove(&number);
                    }
                }
                Err(error) => lines.push(format!("not the protocol ({error}): {payload:?}")),
            }
        }
        if !ended && let Some(slot) = self.slots.get_mut(&number) {
            slot.link = Some(link);
        }
        lines
    }

    fn learn(&mut self, path: Option<&str>, response: &Response) {
        let Some(names) = &mut self.learns else { return };
        // What looks like a name of a quota must not get other data: Java answers creates with an internal error then.
        let keepable = |path: &str| !path.starts_with("/zookeeper/quota");
        let mut keep = |path: &str, stat: &Stat| {
            names.seen.insert(path.to_owned(), (stat.version, stat.aversion));
        };
        match (path, response) {
            (
                Some(path),
                Response::Stat(stat) | Response::Data(_, stat) | Response::Acl(_, stat) | Response::Children(_, stat),
            ) => {
                keep(path, stat);
            }
            (_, Response::Created(path, stat)) => {
                keep(path, stat);
                if keepable(path) {
                    names.created.push(path.clone());
                }
            }
            (Some(asked), Response::Path(path)) if path.starts_with(asked) && keepable(path) => {
                names.created.push(path.clone());
            }
            (_, Response::Multi(results)) => {
                for result in results {
                    if let MultiResult::Created(path) | MultiResult::Created2(path, _) = result
                        && keepable(path)
                    {
                        names.created.push(path.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// A zxid counted from the start of the comparison, without those that only this side has.
    fn zxid(&self, raw: i64) -> i64 {
        if raw <= self.base {
            return if raw <= 0 { raw } else { raw - self.base };
        }
        let extra = self.extra.partition_point(|zxid| *zxid <= raw);
        raw - self.base - i64::try_from(extra).expect("zxids fit")
    }

    fn response(&self, response: Response) -> String {
        match response {
            Response::Empty => String::new(),
            Response::Path(path) => format!("{path:?}"),
            Response::Created(path, stat) => format!("{path:?} {}", self.stat(&stat)),
            Response::Stat(stat) => self.stat(&stat),
            Response::Data(data, stat) => format!("{} {}", text(data.as_deref()), self.stat(&stat)),
            Response::Acl(acl, stat) => format!("{} {}", acl_text(&acl), self.stat(&stat)),
            Response::Names(names) => sorted(names),
            Response::Children(names, stat) => format!("{} {}", sorted(names), self.stat(&stat)),
            Response::Number(number) => number.to_string(),
            Response::Users(mut users) => {
                users.sort();
                format!("{users:?}")
            }
            Response::Token(token) => format!("{token:?}"),
            Response::Multi(results) => results
                .into_iter()
                .map(|result| match result {
                    MultiResult::Created(path) => format!("created {path:?}"),
                    MultiResult::Created2(path, stat) => format!("created {path:?} {}", self.stat(&stat)),
                    MultiResult::Deleted => "deleted".to_owned(),
                    MultiResult::Set(stat) => format!("set {}", self.stat(&stat)),
                    MultiResult::Checked => "checked".to_owned(),
                    MultiResult::Data(data, stat) => format!("{} {}", text(data.as_deref()), self.stat(&stat)),
                    MultiResult::Children(names) => sorted(names),
                    MultiResult::Error(code) => format!("error {code}"),
                })
                .collect::<Vec<_>>()
                .join("; "),
        }
    }

    fn stat(&self, stat: &Stat) -> String {
        let owner = stat.ephemeral_owner.0;
        let owner = match self.sessions.get(&owner) {
            Some(number) => format!("session {number}"),
            None => owner.to_string(),
        };
        format!(
            "{{c {} m {} p {} versions {} {} {} owner {owner} length {} children {} untouched {}}}",
            self.zxid(stat.czxid.0),
            self.zxid(stat.mzxid.0),
            self.zxid(stat.pzxid.0),
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.data_length,
            stat.num_children,
            stat.czxid != stat.mzxid || stat.ctime == stat.mtime,
        )
    }
}

fn refusal(info: &ConnectResponse) -> String {
    format!(
        "id {} timeout {} password {:?} read-only {:?}",
        info.session.0, info.timeout_ms, info.password, info.read_only
    )
}

fn sorted(mut names: Vec<String>) -> String {
    names.sort();
    // As JSON, because the walk over the whole tree reads it back.
    serde_json::to_string(&names).expect("texts are JSON")
}

fn text(data: Option<&[u8]>) -> String {
    data.map_or_else(|| "null".to_owned(), |data| format!("{:?}", String::from_utf8_lossy(data)))
}

/// Entries that `auth` was expanded to come in the arbitrary order of the connection's identities.
fn acl_text(acl: &[Acl]) -> String {
    let mut entries: Vec<String> =
        acl.iter().map(|acl| format!("{}:{}:{}", acl.id.scheme, acl.id.id, acl.perms)).collect();
    for run in entries.chunk_by_mut(|a, b| a.starts_with("digest:") && b.starts_with("digest:")) {
        run.sort();
    }
    format!("{entries:?}")
}

fn connect(addr: SocketAddr, request: &ConnectRequest) -> Result<(Link, ConnectResponse), Gone> {
    let stream = TcpStream::connect_timeout(&addr, WAIT_MAX).map_err(|_| Gone::Closed)?;
    stream.set_nodelay(true).map_err(|_| Gone::Closed)?;
    let mut link = Link { stream, input: Vec::new(), outstanding: VecDeque::new() };
    let mut bytes = Vec::new();
    wire::put_connect(&mut bytes, request);
    link.stream.write_all(&bytes).map_err(|_| Gone::Closed)?;
    let payload = link.receive(Instant::now() + WAIT_MAX)?;
    let info = ConnectResponse::decode(&payload).map_err(|_| Gone::Silent)?;
    Ok((link, info))
}

impl Link {
    fn receive(&mut self, until: Instant) -> Result<Vec<u8>, Gone> {
        loop {
            if let Some((payload, taken)) = next_frame(&self.input).map_err(|_| Gone::Closed)? {
                let payload = payload.to_vec();
                self.input.drain(..taken);
                return Ok(payload);
            }
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Err(Gone::Silent);
            }
            self.stream.set_read_timeout(Some(wait)).map_err(|_| Gone::Closed)?;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Gone::Closed),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return Err(Gone::Silent);
                }
                Err(_) => return Err(Gone::Closed),
            }
        }
    }
}
