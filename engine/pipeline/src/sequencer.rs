//! The sequencer: one thread of order through everything that changes.
//!
//! ```text
//!   request ─▶ zxid ─▶ checks against the newest state ─▶ applied to the tree's future ─▶ log
//!                                                                   │
//!                              committed(z) ─▶ items in zxid order ─▶ every shard
//! ```
//!
//! Watermarks: committed ≤ prepared. An item that is no transaction stands behind the last one prepared when it came, and is
//! released with it.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::multi::{Member, decode_members};
use proto::request::{Create, CreateMode, PathVersion, Reconfig, SetAcl, SetData};
use proto::{Code, Decode, JuteError, Millis, Op, Reader, SessionId, Txn, TxnHeader, Xid, Zxid};
use tree::Writer;

use crate::guard::Guard;
use crate::message::{
    Answer, Body, Changes, Commit, ConnRef, Item, MemberResult, OpenedSession, Origin, Pulse, WriteRequest,
};
use crate::prepare::{self, Caller, Context, Refusal, Standing};
use crate::session_table::{Session, SessionTable};

/// The time as the sequencer gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since 1970; goes into transactions.
    pub wall: Millis,
    /// Monotonic; for timers.
    pub mono: Millis,
}

/// Where transactions go first.
pub trait TxnSink {
    /// Takes the next transaction; `digest` is that of the tree after it. False if the transaction is larger than readers of
    /// the log would accept; nothing is appended then.
    fn append(&mut self, header: &TxnHeader, txn: &Txn<'_>, digest: Option<u64>) -> bool;
}

/// Switches of the sequencer; the names are those of ZooKeeper's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `extendedTypesEnabled`: TTL znodes exist.
    pub extended_types: bool,
    /// `enforceQuota`
    pub enforce_quota: bool,
    /// `reconfigEnabled`
    pub reconfig_enabled: bool,
    /// `digest.enabled`: transactions carry the tree's digest.
    pub digest: bool,
    /// `closeSessionTxn.enabled`: closeSession lists the ephemerals that it deletes.
    pub close_session_txn: bool,
    /// Limit of strings and buffers in requests: `jute.maxbuffer` plus extra size.
    pub length_max: usize,
    /// Largest record that readers of the log accept.
    pub record_bytes_max: usize,
    /// What whoever speaks for a session that does not exist gets to hear.
    pub unknown_session: Code,
}

/// One entry of the digest history: what `hash` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestAt {
    /// After which transaction.
    pub zxid: Zxid,
    /// The tree's digest.
    pub digest: u64,
}

/// Every how many transactions the digest is kept, and how many of them.
const DIGEST_EVERY: i64 = 128;
const DIGESTS_MAX: usize = 1024;

/// What a snapshot needs besides the tree: taken at a point between two transactions.
#[derive(Clone, Debug)]
pub struct SnapshotPoint {
    /// The last transaction that the snapshot contains.
    pub zxid: Zxid,
    /// The tree's digest after it.
    pub digest: u64,
    /// Sessions with their timeouts.
    pub sessions: Vec<(SessionId, i32)>,
    /// The ACLs in use, with their ids.
    pub acls: Vec<(i64, tree::AclRef)>,
}

/// See the module's page.
pub struct Sequencer<G> {
    pub(crate) tree: Writer,
    pub(crate) sessions: SessionTable,
    guard: G,
    settings: Settings,
    pub(crate) prepared: Zxid,
    pub(crate) committed: Zxid,
    /// Items with the zxid behind which they are released.
    pub(crate) pending: VecDeque<(Zxid, Item)>,
    /// Transactions among them.
    pub(crate) in_flight: i64,
    digests: VecDeque<DigestAt>,
    /// What is to become of the reconfiguration that comes next.
    plan: Option<Result<String, Code>>,
}

impl<G: Guard> Sequencer<G> {
    /// Continues behind `last`, with the tree and the sessions that recovery found.
    pub fn new(tree: Writer, sessions: SessionTable, guard: G, settings: Settings, last: Zxid) -> Sequencer<G> {
        Sequencer {
            tree,
            sessions,
            guard,
            settings,
            prepared: last,
            committed: last,
            pending: VecDeque::new(),
            in_flight: 0,
            digests: VecDeque::new(),
            plan: None,
        }
    }

    /// The next write is a reconfiguration, and leads to this text, or to this code. Who may ask is checked when it comes.
    pub fn plan_reconfig(&mut self, plan: Result<String, Code>) {
        self.plan = Some(plan);
    }

    /// The tree, to register readers, pin snapshots and read gauges.
    pub fn tree(&mut self) -> &mut Writer {
        &mut self.tree
    }

    /// The sessions, newest state.
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Access control.
    pub fn guard(&self) -> &G {
        &self.guard
    }

    /// The last zxid given out.
    pub fn prepared(&self) -> Zxid {
        self.prepared
    }

    /// The last zxid that is final.
    pub fn committed_zxid(&self) -> Zxid {
        self.committed
    }

    /// Transactions prepared but not final.
    pub fn in_flight(&self) -> i64 {
        self.in_flight
    }

    /// The digest history, oldest first.
    pub fn digests(&self) -> impl Iterator<Item = DigestAt> {
        self.digests.iter().copied()
    }

    /// What a snapshot of this moment must contain; pin the tree at its zxid.
    pub fn snapshot_point(&self) -> SnapshotPoint {
        let sessions = self.sessions.iter().map(|(id, session)| (id, session.timeout_ms)).collect();
        SnapshotPoint { zxid: self.prepared, digest: self.tree.digest(), sessions, acls: self.tree.acls() }
    }

    /// A write from a client.
    pub fn write(&mut self, request: &WriteRequest, now: Now, log: &mut impl TxnSink) {
        self.write_as(Standing::Tabled(self.settings.unknown_session), request, now, log);
    }

    /// A write from a client whose session no transaction made; the caller says that it exists. Such a session owns no znodes:
    /// whoever asks for one gets `refusal`.
    pub fn write_locally(&mut self, request: &WriteRequest, refusal: Code, now: Now, log: &mut impl TxnSink) {
        self.write_as(Standing::Local(refusal), request, now, log);
    }

    fn write_as(&mut self, standing: Standing, request: &WriteRequest, now: Now, log: &mut impl TxnSink) {
        let caller = Caller { session: request.session, from: Some(request.from), ids: &request.ids, standing };
        if request.op == Op::CloseSession {
            let known = self.sessions.get(request.session);
            let moved = known.is_some_and(|session| session.owner.is_some() && session.owner != Some(request.from));
            match request.from {
                Origin::Conn(conn) if moved => self.push(Item::Close(conn)),
                // As in Java, a learner's word is enough.
                _ => self.close_session(request.session, Some((request.from, request.xid)), now, log),
            }
            return;
        }
        let header = self.header(request.session, request.xid, request.op, now);
        let mut ctx = Context::new(&mut self.tree, &self.sessions, &self.guard, &self.settings);
        let savepoint = ctx.tree.savepoint();
        let plan = self.plan.take();
        let refused = match dispatch(&mut ctx, request.op, &request.body, caller, &header, plan) {
            Ok(done) => {
                let answer = request.from.conn().map(|conn| (conn, request.xid, Code::Ok, done.body));
                if self.finish(&header, done.op, &done.txn, done.changes, None, answer, log) {
                    return;
                }
                // Larger than the log takes (an ACL or a multi that grew while it was expanded): as if it had not fitted a packet.
                self.tree.undo_to(savepoint);
                Code::MarshallingError
            }
            Err(Refusal::Code(code)) => code,
            Err(Refusal::Moved) => match request.from {
                Origin::Conn(conn) => return self.push(Item::Close(conn)),
                Origin::Learner(_) => Code::SessionMoved,
            },
        };
        let answer = request.from.conn().map(|conn| (conn, request.xid, refused, Body::None));
        self.finish(&header, Op::Error, &Txn::error(refused), Changes::default(), None, answer, log);
    }

    /// Does this create a znode that its session would own, as far as that can be read? createContainer and createTTL do not.
    pub fn asks_for_ephemeral(&self, request: &WriteRequest) -> bool {
        let is_ephemeral = |flags| CreateMode::from_flags(flags).is_some_and(|mode| mode.ephemeral);
        let mut r = Reader::with_limit(&request.body, self.settings.length_max);
        match request.op {
            Op::Create | Op::Create2 => {
                Create::decode(request.op, &mut r).is_ok_and(|create| is_ephemeral(create.flags))
            }
            Op::Multi => decode_members(&mut r).is_ok_and(|members| {
                members.iter().any(|member| match member {
                    Member::Create(Op::Create | Op::Create2, create) => is_ephemeral(create.flags),
                    _ => false,
                })
            }),
            _ => false,
        }
    }

    /// A new session with an id that the caller made.
    pub fn open_session(
        &mut self,
        id: SessionId,
        from: Origin,
        timeout_ms: i32,
        pulse: Arc<Pulse>,
        now: Now,
        log: &mut impl TxnSink,
    ) {
        let body = Body::Session(Some(OpenedSession { session: id, timeout_ms, pulse }));
        let answer = from.conn().map(|conn| (conn, Xid(0), Code::Ok, body));
        self.create_session(id, from, timeout_ms, answer, now, log);
    }

    /// A session that this server alone knew is made the ensemble's; `conn` has it, and hears nothing of this.
    pub fn upgrade_session(&mut self, id: SessionId, conn: ConnRef, timeout_ms: i32, now: Now, log: &mut impl TxnSink) {
        self.create_session(id, Origin::Conn(conn), timeout_ms, None, now, log);
    }

    fn create_session(
        &mut self,
        id: SessionId,
        owner: Origin,
        timeout_ms: i32,
        answer: Option<(ConnRef, Xid, Code, Body)>,
        now: Now,
        log: &mut impl TxnSink,
    ) {
        let header = self.header(id, Xid(0), Op::CreateSession, now);
        self.sessions.open(header.zxid, id, Session { timeout_ms, owner: Some(owner) });
        let txn = Txn::CreateSession { timeout_ms };
        self.finish(&header, Op::CreateSession, &txn, Changes::default(), None, answer, log);
    }

    /// A client whose password was right has its session back. The connection that had it is closed first. No transaction.
    pub fn attach_session(&mut self, opened: OpenedSession, conn: ConnRef) {
        let owner = self.sessions.get_mut(opened.session).map(|session| &mut session.owner);
        let before = owner.and_then(|owner| owner.replace(Origin::Conn(conn)));
        if let Some(old) = before.and_then(Origin::conn).filter(|old| *old != conn) {
            self.push(Item::Close(old));
        }
        self.answer(conn, Xid(0), Body::Session(Some(opened)));
    }

    /// Ends a session: by its client (which waits), or because it expired.
    pub fn close_session(&mut self, id: SessionId, client: Option<(Origin, Xid)>, now: Now, log: &mut impl TxnSink) {
        let xid = client.map_or(Xid(0), |(_, xid)| xid);
        let header = self.header(id, xid, Op::CloseSession, now);
        let answer = || client.and_then(|(from, xid)| Some((from.conn()?, xid, Code::Ok, Body::None)));
        let closing = self.sessions.close(header.zxid, id).and_then(|session| session.owner).and_then(Origin::conn);
        let bytes: usize = self.tree.ephemerals_of(id).map(|path| path.len() + 4).sum();
        if self.settings.close_session_txn && bytes <= self.settings.record_bytes_max {
            let savepoint = self.tree.savepoint();
            let paths = self.tree.ephemerals_of(id).map(|path| path.to_owned().into()).collect();
            let txn = Txn::CloseSession { paths: Some(paths) };
            let changes = self.tree.apply(&header, &txn).changes;
            if self.finish(&header, Op::CloseSession, &txn, changes, closing, answer(), log) {
                return;
            }
            self.tree.undo_to(savepoint);
        }
        // Unwanted, or more than readers of the log would take. Whoever applies it deletes what the session owns besides the list,
        // so an empty one says the same; no list at all could not be told from the digest that follows.
        let txn = Txn::CloseSession { paths: Some(Vec::new()) };
        let changes = self.tree.apply(&header, &txn).changes;
        let logged = self.finish(&header, Op::CloseSession, &txn, changes, closing, answer(), log);
        assert!(logged, "a closeSession without paths fits every log");
    }

    /// Deletes an empty container or expired TTL znode, if it still may be deleted.
    pub fn reap(&mut self, path: &str, now: Now, log: &mut impl TxnSink) {
        let header = self.header(SessionId::NONE, Xid(0), Op::DeleteContainer, now);
        let mut ctx = Context::new(&mut self.tree, &self.sessions, &self.guard, &self.settings);
        let request = PathVersion { path: path.into(), version: -1 };
        if let Ok(done) = prepare::delete_container(&mut ctx, &request, None, &header) {
            self.finish(&header, done.op, &done.txn, done.changes, None, None, log);
        }
    }

    /// An answer in the order of the stream that is no transaction: sync, getEphemerals, a session found or not.
    pub fn answer(&mut self, conn: ConnRef, xid: Xid, body: Body) {
        let zxid = self.prepared;
        self.push(Item::Answer(Answer { conn, xid, zxid, code: Code::Ok, body }));
    }

    /// The last answer of a connection whose session ended without a transaction: behind those to all that it asked for before.
    pub fn farewell(&mut self, conn: ConnRef, xid: Xid) {
        self.answer(conn, xid, Body::None);
        self.push(Item::Close(conn));
    }

    /// The session's ephemerals whose paths begin with `prefix`, sorted (client-protocol.md §11).
    pub fn ephemerals(&self, session: SessionId, prefix: &str) -> Vec<String> {
        // Blank as Java sees it.
        let trimmed = prefix.trim_matches(|c| c <= ' ');
        let everything = trimmed.is_empty() || trimmed == "/";
        let wanted = self.tree.ephemerals_of(session).filter(|path| everything || path.starts_with(prefix));
        wanted.map(str::to_owned).collect()
    }

    /// All transactions up to `zxid` are final: appends what is released to `out`, in order.
    pub fn committed(&mut self, zxid: Zxid, out: &mut Vec<Item>) {
        assert!(zxid <= self.prepared, "only what was prepared can be committed: {zxid} > {}", self.prepared);
        if zxid > self.committed {
            self.committed = zxid;
            self.tree.commit(zxid);
            self.sessions.commit(zxid);
        }
        while self.pending.front().is_some_and(|(behind, _)| *behind <= self.committed) {
            if let Some((_, item)) = self.pending.pop_front() {
                self.in_flight -= i64::from(matches!(item, Item::Commit(_)));
                out.push(item);
            }
        }
    }

    pub(crate) fn push(&mut self, item: Item) {
        self.in_flight += i64::from(matches!(item, Item::Commit(_)));
        self.pending.push_back((self.prepared, item));
    }

    fn header(&self, session: SessionId, cxid: Xid, op: Op, now: Now) -> TxnHeader {
        TxnHeader { session, cxid, zxid: self.prepared.next(), time: now.wall, op }
    }

    /// What every transaction goes through at the end. False, and nothing happened, if the log does not take it.
    #[allow(clippy::too_many_arguments, reason = "one place where a transaction's parts meet")]
    fn finish(
        &mut self,
        header: &TxnHeader,
        op: Op,
        txn: &Txn<'_>,
        changes: Changes,
        closing: Option<ConnRef>,
        answer: Option<(ConnRef, Xid, Code, Body)>,
        log: &mut impl TxnSink,
    ) -> bool {
        let zxid = header.zxid;
        let digest = self.settings.digest.then(|| self.tree.digest());
        if !log.append(&TxnHeader { op, ..*header }, txn, digest) {
            return false;
        }
        self.prepared = zxid;
        self.remember_digest(zxid, digest);
        let answer = answer.map(|(conn, xid, code, body)| Answer { conn, xid, zxid, code, body });
        self.push(Item::Commit(Commit { zxid, changes, closing, answer }));
        true
    }
}

impl<G> Sequencer<G> {
    pub(crate) fn remember_digest(&mut self, zxid: Zxid, digest: Option<u64>) {
        if let Some(digest) = digest.filter(|_| zxid.0 % DIGEST_EVERY == 0) {
            if self.digests.len() == DIGESTS_MAX {
                self.digests.pop_front();
            }
            self.digests.push_back(DigestAt { zxid, digest });
        }
    }

    pub(crate) fn forget_digests(&mut self, after: Zxid) {
        while self.digests.pop_back_if(|at| at.zxid > after).is_some() {}
    }

    pub(crate) fn has_digests(&self) -> bool {
        self.settings.digest
    }
}

/// A write whose effect stands in the tree's future.
struct Done<'f> {
    op: Op,
    txn: Txn<'f>,
    changes: Changes,
    body: Body,
}

impl From<JuteError> for Refusal {
    fn from(_: JuteError) -> Refusal {
        Refusal::Code(Code::MarshallingError)
    }
}

/// Decodes a write and hands it to its operation.
fn dispatch<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    op: Op,
    body: &'f [u8],
    caller: Caller<'_>,
    header: &TxnHeader,
    plan: Option<Result<String, Code>>,
) -> Result<Done<'f>, Refusal> {
    let mut r = Reader::with_limit(body, ctx.settings.length_max);
    let done = match op {
        Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => {
            prepare::create(ctx, op, &Create::decode(op, &mut r)?, caller, header)?
        }
        Op::Delete => prepare::delete(ctx, &PathVersion::decode(&mut r)?, caller, header)?,
        Op::DeleteContainer => {
            let request = PathVersion { path: r.string()?, version: -1 };
            prepare::delete_container(ctx, &request, Some(caller), header)?
        }
        Op::SetData => prepare::set_data(ctx, &SetData::decode(&mut r)?, caller, header)?,
        Op::SetAcl => prepare::set_acl(ctx, &SetAcl::decode(&mut r)?, caller, header)?,
        Op::Multi => {
            let members = decode_members(&mut r)?;
            if members.iter().any(proto::multi::is_read) {
                return Err(Code::MarshallingError.into());
            }
            let done = prepare::multi(ctx, &members, caller, header)?;
            return Ok(Done { op, txn: done.txn, changes: done.changes, body: Body::Multi(done.results) });
        }
        // Dynamic reconfiguration needs a quorum (client-protocol.md §9.7).
        Op::Reconfig => {
            let _ = Reconfig::decode(&mut r)?;
            if !ctx.settings.reconfig_enabled {
                return Err(Code::ReconfigDisabled.into());
            }
            ctx.session(caller)?;
            // Alone there is no quorum to be reconfigured.
            let text = plan.unwrap_or(Err(Code::Unimplemented))?;
            let done = prepare::reconfig(ctx, text, caller, header)?;
            let MemberResult::Stat(stat) = done.result else { return Err(Code::MarshallingError.into()) };
            let body = match &done.txn {
                Txn::SetData { data: Some(data), .. } => Body::Data(data.as_ref().into(), stat),
                _ => Body::Stat(stat),
            };
            return Ok(Done { op: done.op, txn: done.txn, changes: done.changes, body });
        }
        _ => return Err(Code::Unimplemented.into()),
    };
    let body = match done.result {
        MemberResult::Path(path) => Body::Path(path),
        MemberResult::PathStat(path, stat) => Body::PathStat(path, stat),
        MemberResult::Stat(stat) => Body::Stat(stat),
        MemberResult::Deleted | MemberResult::Checked | MemberResult::Error(_) => Body::None,
    };
    Ok(Done { op: done.op, txn: done.txn, changes: done.changes, body })
}
