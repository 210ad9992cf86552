//! The write stage of a member of an ensemble: what [`quorum::Peer`] needs of log, tree, sessions and clients.
//!
//! ```text
//!              leading                                   learning
//!   shards ─▶ sequencer ─▶ log, proposals         shards ─▶ requests to the leader
//!   learners' requests ─▶ sequencer               leader's proposals ─▶ log, tree's future
//!   quorum ─▶ final                               leader's commits ─▶ final
//! ```
//!
//! What is final is published to the shards when it is durable here as well, so that a client of this server never sees what the
//! server could forget. Without a leader nothing moves: requests are dropped, as their connections are closed. A member that has been
//! without one for a while may serve readers ([`Parts::read_only_after_ms`]): from what was final here, with sessions of its own
//! ([`crate::own_sessions`]), which end when a leader is found.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use host::Disk;
use pipeline::message::OpenedSession;
use pipeline::session_table::{Session, SessionTable};
use pipeline::{Body, Clients, ConnRef, Item, Now, Origin, Pulse, Readers, ToSequencer, Waiting, WriteRequest};
use proto::request::Reconfig;
use proto::{Code, Decode, Millis, Op, Reader, SessionId, Sid, Txn, Xid, Zxid};
use quorum::effect::{Inquiry, LinkId, Port, Ticket};
use quorum::peer::{HandOver, Peer, Phase};
use quorum::replica::{Forwarded, History, Payload, Refused, Replica, Role, SnapshotStream};
use quorum::view::QuorumView;
use snapshot::epochs::{self, Epochs};
use snapshot::{RestoreOptions, SnapshotWriter, Source, StreamLoader};

use crate::local_sessions::{LocalSessions, Upgrading, creation};
use crate::own_sessions::{Buckets, OwnSessions};
use crate::write_stage::{Effect, Sink, WriteStage};

/// A znode, an ACL or a transaction in a snapshot stream is not larger than this, whatever a peer says.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// Where a member keeps what must survive.
pub struct Store {
    /// The way to the disk.
    pub disk: Arc<dyn Disk>,
    /// Snapshots and epochs.
    pub data_dir: PathBuf,
    /// The log.
    pub log_dir: PathBuf,
    /// As the database was restored at the start.
    pub options: RestoreOptions,
}

/// What makes a write stage a member of an ensemble.
pub struct Parts {
    /// Election and ZAB.
    pub peer: Peer,
    /// As loaded at the start.
    pub epochs: Epochs,
    /// Log directory and snapshots.
    pub store: Store,
    /// How many clients there are of a server that leads: with `leaderServes=no` none.
    pub leader_serves: bool,
    /// With `readonlymode.enabled`: after so long without a leader, clients that are content with old data are served.
    pub read_only_after_ms: Option<i64>,
    /// What becomes of new sessions.
    pub local_sessions: LocalSessions,
    /// `reconfigEnabled`
    pub reconfig_enabled: bool,
    /// `commitLogCount`: final transactions that stay in memory for learners that lag behind.
    pub history_max: usize,
}

/// What the member is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It has no leader.
    Looking,
    /// It makes the order.
    Leading,
    /// It takes it from a leader.
    Learning,
}

/// A request of a learner that waits for room in the log.
pub(crate) enum Remote {
    Request(Forwarded),
    Sync,
}

/// What is answered behind everything that its client asked for before.
pub(crate) enum Ordered {
    Sync,
    /// The end of a local session.
    Close,
    /// Of this session, with this prefix.
    Ephemerals(SessionId, String),
}

/// The connection that asks, if its session is open.
fn asks(message: &ToSequencer) -> Option<ConnRef> {
    match message {
        ToSequencer::Write(request) => request.from.conn(),
        ToSequencer::Sync { conn, .. } | ToSequencer::Ephemerals { conn, .. } => Some(*conn),
        ToSequencer::Open { .. } | ToSequencer::Attach { .. } => None,
    }
}

/// A snapshot on its way from the leader, and the transactions that belong to it.
struct Loading {
    zxid: Zxid,
    loader: StreamLoader,
    behind: Vec<(Zxid, Payload)>,
}

/// A session of the ensemble whose client is connected to this learner.
pub(crate) struct Attached {
    timeout_ms: i32,
    pulse: Arc<Pulse>,
    told: Millis,
}

/// A request that went to the leader.
pub(crate) struct Claim {
    xid: Xid,
    conn: ConnRef,
    /// What its client hears, whatever the leader makes of it.
    refused: Option<Code>,
}

/// Read-only mode.
#[derive(Default)]
pub(crate) struct ReadOnly {
    /// How long to look for a leader before; `None`: for ever.
    after_ms: Option<i64>,
    /// Since when this member has looked for a leader, if it does.
    since: Option<Millis>,
    /// Readers are served.
    on: bool,
}

impl ReadOnly {
    /// When it begins, unless a leader is found before.
    fn due(&self) -> Option<Millis> {
        if self.on { None } else { Some(self.since?.plus(self.after_ms?)) }
    }
}

/// See the module's page.
pub(crate) struct Ensemble {
    /// `None` while it is called.
    peer: Option<Box<Peer>>,
    /// The configuration that is final.
    view: Arc<QuorumView>,
    pub(crate) mode: Mode,
    store: Store,
    epochs: Epochs,
    leader_serves: bool,
    reconfig_enabled: bool,
    history_max: usize,
    history: History,
    /// Transactions of the sequencer that the peer has not been told of.
    pub(crate) captured: Vec<(Zxid, Payload)>,
    /// For the shards, before anything that becomes final later.
    pub(crate) out: Vec<Item>,
    /// The quorum's word. What is final here is also durable here.
    final_to: Zxid,
    /// Proposals that the log had no room for.
    backlog: VecDeque<(Zxid, Payload)>,
    remote: VecDeque<(Sid, Remote)>,
    /// Requests that were forwarded, by session, in their order.
    pub(crate) claims: BTreeMap<SessionId, VecDeque<Claim>>,
    opening: BTreeMap<SessionId, (ConnRef, i32)>,
    revalidating: BTreeMap<SessionId, VecDeque<(ConnRef, i32)>>,
    /// Who waits for the leader's word, in the order of the questions to it.
    pub(crate) syncs: VecDeque<(ConnRef, Xid, Ordered)>,
    /// What a client asks for behind its getEphemerals goes to the leader when that is answered: it must not show in it. And who
    /// takes up a session that is the ensemble's from now on.
    pub(crate) held: VecDeque<ToSequencer>,
    /// There may be something in `held` that can go.
    pub(crate) released: bool,
    /// How many of `syncs` are getEphemerals.
    listing: usize,
    /// Sessions of the ensemble that this server's clients have, while it learns.
    pub(crate) attached: BTreeMap<SessionId, Attached>,
    pub(crate) local_sessions: LocalSessions,
    pub(crate) own: OwnSessions,
    pub(crate) upgrading: BTreeMap<SessionId, Upgrading>,
    read_only: ReadOnly,
    loading: Option<Loading>,
    /// The last transaction before the epoch that is served.
    before_epoch: Zxid,
    mismatch_said: bool,
}

impl Ensemble {
    pub(crate) fn new(parts: Parts, last: Zxid, sessions: sessions::Settings) -> Ensemble {
        Ensemble {
            view: Arc::new(parts.peer.view().clone()),
            peer: Some(Box::new(parts.peer)),
            mode: Mode::Looking,
            store: parts.store,
            epochs: parts.epochs,
            leader_serves: parts.leader_serves,
            reconfig_enabled: parts.reconfig_enabled,
            history_max: parts.history_max,
            history: History { txns: VecDeque::new(), last },
            captured: Vec::new(),
            out: Vec::new(),
            final_to: Zxid::ZERO,
            backlog: VecDeque::new(),
            remote: VecDeque::new(),
            claims: BTreeMap::new(),
            opening: BTreeMap::new(),
            revalidating: BTreeMap::new(),
            syncs: VecDeque::new(),
            held: VecDeque::new(),
            released: false,
            listing: 0,
            attached: BTreeMap::new(),
            local_sessions: parts.local_sessions,
            own: OwnSessions::new(sessions),
            upgrading: BTreeMap::new(),
            read_only: ReadOnly { after_ms: parts.read_only_after_ms, ..ReadOnly::default() },
            loading: None,
            before_epoch: last,
            mismatch_said: false,
        }
    }

    /// Election and ZAB, to be asked.
    pub(crate) fn peer(&self) -> &Peer {
        self.peer.as_deref().expect("nobody asks while the peer is called")
    }

    /// What is final, as far as the log has it.
    pub(crate) fn final_to(&self, durable: Zxid) -> Zxid {
        self.final_to.min(durable)
    }

    /// Sessions of this member's own, where there may be such.
    pub(crate) fn local_buckets(&self) -> Option<Buckets> {
        let any = self.local_sessions != LocalSessions::Off || self.read_only.on;
        any.then(|| self.own.buckets())
    }

    /// What the shards must hear first.
    pub(crate) fn take_out(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.out)
    }

    fn remember(&mut self, zxid: Zxid, payload: Payload) {
        self.history.last = zxid;
        self.history.txns.push_back((zxid, payload));
    }

    pub(crate) fn trim(&mut self, committed: Zxid) {
        while self.history.txns.len() > self.history_max
            && self.history.txns.pop_front_if(|(zxid, _)| *zxid <= committed).is_some()
        {}
    }

    /// Whether this connection's requests have to wait for the answer to its getEphemerals.
    fn holds(&self, conn: ConnRef) -> bool {
        if self.listing == 0 && self.held.is_empty() {
            return false;
        }
        self.syncs.iter().any(|(asking, _, read)| *asking == conn && matches!(read, Ordered::Ephemerals(..)))
            || self.held.iter().any(|message| asks(message) == Some(conn))
    }

    /// The client that waits here for a transaction, if one does.
    fn claim(&mut self, header: &proto::TxnHeader, now: Now) -> Option<Waiting> {
        if header.op == Op::CreateSession {
            let (conn, timeout_ms) = self.opening.remove(&header.session)?;
            let pulse = self.attach(header.session, timeout_ms, Arc::default(), now);
            let opened = OpenedSession { session: header.session, timeout_ms, pulse };
            return Some(Waiting { conn, xid: Xid(0), answer: Some((Code::Ok, Body::Session(Some(opened)))) });
        }
        let claims = self.claims.get_mut(&header.session)?;
        let Claim { xid, conn, refused } = claims.pop_front_if(|claim| claim.xid == header.cxid)?;
        if claims.is_empty() {
            self.claims.remove(&header.session);
        }
        Some(Waiting { conn, xid, answer: refused.map(|code| (code, Body::None)) })
    }

    /// A session of the ensemble has its connection here, which beats this pulse unless it had another before.
    pub(crate) fn attach(&mut self, session: SessionId, timeout_ms: i32, pulse: Arc<Pulse>, now: Now) -> Arc<Pulse> {
        let attached = self.attached.entry(session).or_insert(Attached { timeout_ms, pulse, told: Millis(i64::MIN) });
        attached.timeout_ms = timeout_ms;
        attached.pulse.beat(now.mono);
        Arc::clone(&attached.pulse)
    }
}

struct Stream {
    zxid: Zxid,
    writer: SnapshotWriter<Vec<u8>>,
}

impl SnapshotStream for Stream {
    fn zxid(&self) -> Zxid {
        self.zxid
    }

    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> bool {
        let done = self.writer.step(budget).expect("memory takes what is written to it");
        out.append(self.writer.out());
        done
    }
}

impl WriteStage {
    pub(crate) fn ens(&mut self) -> &mut Ensemble {
        self.ensemble.as_deref_mut().expect("only a member of an ensemble has a peer")
    }

    /// Calls the peer with the rest of the stage as its replica.
    pub(crate) fn with_peer(&mut self, call: impl FnOnce(&mut Peer, &mut WriteStage)) {
        let Some(mut peer) = self.ensemble.as_deref_mut().and_then(|ensemble| ensemble.peer.take()) else { return };
        call(&mut peer, self);
        self.ens().peer = Some(peer);
        self.note_phase();
    }

    /// Read-only mode counts from when the member began to look for a leader, and ends when it has found one.
    fn note_phase(&mut self) {
        if self.ens().read_only.after_ms.is_none() {
            return;
        }
        if self.ens().peer().state().phase == Phase::Looking {
            let now = self.now.mono;
            self.ens().read_only.since.get_or_insert(now);
        } else {
            self.end_read_only();
        }
    }

    /// Serves readers, if it is time to.
    fn begin_read_only(&mut self, now: Now) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        if ensemble.mode != Mode::Looking || ensemble.read_only.due().is_none_or(|due| now.mono < due) {
            return;
        }
        ensemble.read_only.on = true;
        ensemble.out.push(Item::Serve(Clients::Readers));
        tracing::warn!("no leader for long: serving read-only clients what this server had last");
    }

    /// Whoever reads without a leader loses the connection: a leader was found, or the tree changes.
    fn end_read_only(&mut self) {
        let ensemble = self.ens();
        ensemble.read_only.since = None;
        if std::mem::take(&mut ensemble.read_only.on) {
            ensemble.own.clear();
            ensemble.out.push(Item::Serve(Clients::Nobody));
            tracing::info!("read-only clients are not served any more");
        }
    }

    /// Whom this server serves.
    pub fn clients(&self) -> Clients {
        match self.ensemble.as_deref() {
            Some(ensemble) => match ensemble.mode {
                Mode::Looking if ensemble.read_only.on => Clients::Readers,
                Mode::Leading if ensemble.leader_serves => Clients::All,
                Mode::Looking | Mode::Leading => Clients::Nobody,
                Mode::Learning => Clients::All,
            },
            None => Clients::All,
        }
    }

    /// Are readers served although there is no leader?
    pub fn is_read_only(&self) -> bool {
        self.ensemble.as_deref().is_some_and(|ensemble| ensemble.read_only.on)
    }

    /// When read-only mode begins, if it will.
    pub(crate) fn read_only_deadline(&self) -> Option<Millis> {
        self.ensemble.as_deref()?.read_only.due()
    }

    /// A request while there is no leader: a reader's, or one that came too late and is dropped, as its connection is closed.
    pub(crate) fn serve_reader(&mut self, message: ToSequencer, now: Now) {
        if !self.is_read_only() {
            return;
        }
        match message {
            ToSequencer::Open { conn, timeout_ms } => self.open_own(conn, timeout_ms, now),
            ToSequencer::Attach { conn, session, timeout_ms } => {
                if self.attach_own(conn, session, timeout_ms, now) {
                } else if self.ens().own.gave(session) {
                    self.answer_own(conn, Xid(0), Body::Session(None));
                } else {
                    // It may live on with a leader elsewhere, although this member has not heard of it: its client goes on looking.
                    self.ens().out.push(Item::Close(conn));
                }
            }
            ToSequencer::Write(WriteRequest {
                from: Origin::Conn(conn), session, xid, op: Op::CloseSession, ..
            }) => {
                if self.ens().own.conn(session) == Some(conn) {
                    self.ens().own.take(session);
                    self.answer_own(conn, xid, Body::None);
                    self.ens().out.push(Item::Close(conn));
                }
            }
            // The shard refuses what changes something, and a reader has no ephemerals.
            ToSequencer::Ephemerals { conn, xid, .. } => self.answer_own(conn, xid, Body::Strings(Vec::new())),
            ToSequencer::Write(_) | ToSequencer::Sync { .. } => {}
        }
    }

    /// A peer connected to one of this member's ports.
    pub fn peer_accepted(&mut self, port: Port, link: LinkId, now: Now) {
        self.now = now;
        self.with_peer(|peer, stage| peer.accepted(port, link, stage, now));
    }

    /// A connection was made.
    pub fn peer_connected(&mut self, ticket: Ticket, link: LinkId, now: Now) {
        self.now = now;
        self.with_peer(|peer, stage| peer.connected(ticket, link, stage, now));
    }

    /// A connection could not be made.
    pub fn peer_connect_failed(&mut self, ticket: Ticket, why: &str, now: Now) {
        self.now = now;
        self.with_peer(|peer, stage| peer.connect_failed(ticket, why, stage, now));
    }

    /// Bytes came from a peer.
    pub fn peer_received(&mut self, link: LinkId, bytes: &[u8], now: Now) {
        self.now = now;
        self.with_peer(|peer, stage| peer.received(link, bytes, stage, now));
    }

    /// A link is gone, and it was not this side that closed it.
    pub fn peer_closed(&mut self, link: LinkId, now: Now) {
        self.now = now;
        self.with_peer(|peer, stage| peer.closed(link, stage, now));
    }

    /// Something that was sent has left; so much has not.
    pub fn peer_drained(&mut self, link: LinkId, unsent_bytes: usize, now: Now) {
        self.now = now;
        self.with_peer(|peer, stage| peer.drained(link, unsent_bytes, stage, now));
    }

    /// The oracle has answered.
    pub fn oracle_says(&mut self, question: Inquiry, yes: bool, now: Now) {
        self.now = now;
        self.with_peer(|peer, stage| peer.oracle_says(question, yes, stage, now));
    }

    /// Why the process must end, if it must.
    pub fn peer_failed(&self) -> Option<String> {
        self.ensemble.as_deref().and_then(|ensemble| ensemble.peer().failed())
    }

    /// An operator wants another member to lead: requests wait until that is so, or has come to nothing. `None` on a standalone server.
    pub fn hand_over(&mut self, now: Now) -> Option<HandOver> {
        self.now = now;
        // What was made is to be handed over as well.
        self.hand_on(now);
        let mut outcome = None;
        self.with_peer(|peer, _| outcome = Some(peer.hand_over(now)));
        outcome
    }

    pub(crate) fn holds_writes(&self) -> bool {
        self.ensemble.as_deref().and_then(|ensemble| ensemble.peer.as_deref()).is_some_and(Peer::holds_writes)
    }

    /// Election and ZAB, to be asked; `None` on a standalone server.
    pub fn peer(&self) -> Option<&Peer> {
        self.ensemble.as_deref().map(Ensemble::peer)
    }

    /// What the member is doing; `None` on a standalone server.
    pub fn mode(&self) -> Option<Mode> {
        self.ensemble.as_deref().map(|ensemble| ensemble.mode)
    }

    /// May this server make transactions of its own accord?
    pub(crate) fn orders(&self) -> bool {
        self.mode().is_none_or(|mode| mode == Mode::Leading)
    }

    /// What a member does in each round besides a standalone server's work.
    pub(crate) fn ensemble_step(&mut self, now: Now) {
        if self.ensemble.as_deref().is_some_and(|ensemble| ensemble.peer().next_deadline() <= now.mono) {
            self.with_peer(|peer, stage| peer.tick(stage, now));
        }
        self.begin_read_only(now);
        self.expire_own(now);
        self.log_backlog();
        if self.ensemble.as_deref_mut().is_some_and(|ensemble| std::mem::take(&mut ensemble.released)) {
            for message in std::mem::take(&mut self.ens().held) {
                self.forward(message, now);
            }
        }
        while self.orders() && self.accepts() {
            let Some((from, remote)) = self.ensemble.as_deref_mut().and_then(|ensemble| ensemble.remote.pop_front())
            else {
                break;
            };
            match remote {
                Remote::Request(request) => self.order(from, request, now),
                Remote::Sync => {
                    self.hand_on(now);
                    let behind = self.sequencer.prepared();
                    self.with_peer(|peer, _| peer.sync_reached(from, behind));
                }
            }
        }
    }

    /// Tells the peer what the sequencer made, and the world what the peer wants.
    pub(crate) fn hand_on(&mut self, now: Now) {
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        let captured = std::mem::take(&mut ensemble.captured);
        for (zxid, payload) in captured {
            let ensemble = self.ens();
            ensemble.remember(zxid, Arc::clone(&payload));
            if let Some(peer) = ensemble.peer.as_deref_mut() {
                peer.proposed(zxid, &payload, now);
            }
        }
    }

    pub(crate) fn peer_effects(&mut self, effects: &mut Vec<Effect>) {
        if let Some(peer) = self.ensemble.as_deref_mut().and_then(|ensemble| ensemble.peer.as_deref_mut()) {
            effects.extend(peer.effects().into_iter().map(Effect::Peer));
        }
    }

    fn log_backlog(&mut self) {
        while let Some(ensemble) = self.ensemble.as_deref_mut()
            && let Some((zxid, payload)) = ensemble.backlog.front()
        {
            if !self.log.can_accept(payload.len()) || self.log.append_payload(*zxid, payload).is_err() {
                return;
            }
            ensemble.backlog.pop_front();
        }
    }

    /// A learner's request becomes a transaction.
    fn order(&mut self, from: Sid, request: Forwarded, now: Now) {
        let session = request.session;
        self.snapshots.txns += 1;
        match request.op {
            Op::CreateSession => {
                let timeout_ms = request.body.first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
                let pulse = self.tracker.open(session, timeout_ms, now.mono);
                let mut sink = Sink::new(&mut self.log, &mut self.ensemble);
                self.sequencer.open_session(session, Origin::Learner(from), timeout_ms, pulse, now, &mut sink);
            }
            op => {
                let request = WriteRequest {
                    from: Origin::Learner(from),
                    session,
                    xid: request.xid,
                    op,
                    ids: request.ids.into(),
                    body: request.body.into(),
                };
                if op == Op::Reconfig {
                    self.plan_reconfig(&request.body, now);
                }
                let may_be_local = self.may_be_local(session);
                let mut sink = Sink::new(&mut self.log, &mut self.ensemble);
                if may_be_local {
                    self.sequencer.write_locally(&request, Code::SessionExpired, now, &mut sink);
                } else {
                    self.sequencer.write(&request, now, &mut sink);
                }
                if op == Op::CloseSession && self.sequencer.sessions().get(session).is_none() {
                    self.tracker.close(session);
                }
            }
        }
    }

    /// A request of one of this learner's clients goes to the leader.
    pub(crate) fn forward(&mut self, message: ToSequencer, now: Now) {
        let ensemble = self.ens();
        if asks(&message).is_some_and(|conn| ensemble.holds(conn)) {
            return ensemble.held.push_back(message);
        }
        let Some(message) = self.serve_locally(message, now) else { return };
        match message {
            ToSequencer::Write(request) => self.forward_write(request, None),
            ToSequencer::Open { conn, timeout_ms } => {
                let sequencer = &mut self.sequencer;
                let session = self.ids.next(|id| sequencer.sessions().get(id).is_some());
                self.ens().opening.insert(session, (conn, timeout_ms));
                self.with_peer(|peer, _| peer.forward(creation(session, timeout_ms)));
            }
            ToSequencer::Attach { conn, session, timeout_ms } => {
                self.ens().revalidating.entry(session).or_default().push_back((conn, timeout_ms));
                self.with_peer(|peer, _| peer.revalidate(session, timeout_ms));
            }
            ToSequencer::Sync { conn, xid } => {
                self.ens().syncs.push_back((conn, xid, Ordered::Sync));
                self.with_peer(|peer, _| peer.sync());
            }
            // The client's earlier writes may be on their way to the leader still.
            ToSequencer::Ephemerals { conn, session, xid, prefix } => {
                self.ens().listing += 1;
                self.ens().syncs.push_back((conn, xid, Ordered::Ephemerals(session, prefix)));
                self.with_peer(|peer, _| peer.sync());
            }
        }
    }

    /// Whatever the leader makes of it, its client is told that it was refused, if it was refused here.
    pub(crate) fn forward_write(&mut self, request: WriteRequest, refused: Option<Code>) {
        let Origin::Conn(conn) = request.from else { return };
        let owner = self.sequencer.sessions().get(request.session).and_then(|session| session.owner);
        if owner.is_some_and(|owner| owner != request.from) {
            return self.ens().out.push(Item::Close(conn));
        }
        let forwarded = Forwarded {
            session: request.session,
            xid: request.xid,
            op: request.op,
            ids: request.ids.to_vec(),
            body: request.body.into(),
        };
        let claim = Claim { xid: request.xid, conn, refused };
        self.ens().claims.entry(request.session).or_default().push_back(claim);
        self.with_peer(|peer, _| peer.forward(forwarded));
    }

    /// A request to change the ensemble comes next: the peer says what becomes of it.
    pub(crate) fn plan_reconfig(&mut self, body: &[u8], now: Now) {
        // One that was made in this round is under way.
        self.hand_on(now);
        let Some(ensemble) = self.ensemble.as_deref_mut() else { return };
        let Some(peer) = ensemble.peer.as_deref() else { return };
        if let Ok(asked) = Reconfig::decode(&mut Reader::new(body)) {
            self.sequencer.plan_reconfig(peer.plan_reconfig(&asked, self.sequencer.prepared().next()));
        }
    }

    /// The configuration's znode shows what this member goes by.
    pub(crate) fn show_config(&mut self) {
        let Some(view) = self.ensemble.as_deref().map(|ensemble| ensemble.view.clone()) else { return };
        self.shows(&view);
    }

    /// At a start. A newer configuration in the own history is shown as all of the history is, unless the own one has no version.
    pub(crate) fn recall_config(&mut self) {
        let Some(ensemble) = self.ensemble.as_deref() else { return };
        let (own, recalls) = (ensemble.view.version(), ensemble.reconfig_enabled);
        let newer = self.shown_config().filter(|shown| recalls && shown.version() > own);
        if newer.is_none() || own == 0 {
            self.show_config();
        }
        if let Some(newer) = newer {
            self.with_peer(|peer, _| peer.recall(newer));
        }
    }

    /// The same, if it shows nothing, or an older one: the tree was loaded, or went back. What a transaction made of it stays.
    fn keep_config(&mut self) {
        let Some(version) = self.ensemble.as_deref().map(|ensemble| ensemble.view.version()) else { return };
        if self.shown_config().is_none_or(|shown| shown.version() < version) {
            self.show_config();
        }
    }

    fn shown_config(&mut self) -> Option<QuorumView> {
        let node = self.sequencer.tree().node("/zookeeper/config")?;
        QuorumView::parse(std::str::from_utf8(node.data()?).ok()?).ok()
    }

    /// All sessions are alive, and have their whole timeout before them.
    fn revive_sessions(&mut self, now: Now) {
        self.tracker.clear();
        for (id, session) in self.sequencer.sessions().iter() {
            self.tracker.open(id, session.timeout_ms, now.mono);
        }
    }

    /// Another state of the database, all of it final: from the disk, or from a leader.
    fn replace(&mut self, mut tree: tree::Writer, sessions: BTreeMap<SessionId, i32>, last: Zxid) {
        self.end_read_only();
        let shards = self.inlets.len();
        let readers = Readers::new((0..shards).map(|_| tree.reader()));
        let mut table = SessionTable::default();
        for (id, timeout_ms) in sessions {
            table.insert(id, Session { timeout_ms, owner: None });
        }
        self.sequencer.replace(tree, table, last);
        self.snapshots.waiting = None;
        let ensemble = self.ens();
        ensemble.out.push(Item::Tree(readers));
        ensemble.final_to = last;
        ensemble.history = History { txns: VecDeque::new(), last };
        ensemble.before_epoch = last;
        if ensemble.reconfig_enabled {
            self.keep_config();
        } else {
            self.show_config();
        }
    }

    fn newest_snapshot(&mut self) -> Option<Zxid> {
        let store = &self.ens().store;
        let names = store.disk.list(&store.data_dir).unwrap_or_default();
        snapshot::format::newest_first(&names).first().map(|(at, _)| *at)
    }

    /// Cuts the log behind `to`; answers the last transaction that is left, or `None`, nothing having been done, if all files begin
    /// behind it.
    fn cut_log(&mut self, to: Zxid) -> io::Result<Option<Zxid>> {
        let store = &self.ens().store;
        let (disk, dir, read) = (Arc::clone(&store.disk), store.log_dir.clone(), store.options.read);
        match wal::truncate(&*disk, &dir, to, read) {
            Ok(truncated) => Ok(Some(truncated.last)),
            Err(wal::TruncateError::NoLog(_)) => Ok(None),
            Err(wal::TruncateError::Io { path, source }) => {
                Err(io::Error::new(source.kind(), format!("{}: {source}", path.display())))
            }
        }
    }
}

fn malformed(what: &str, why: impl std::fmt::Display) -> Refused {
    Refused::Malformed(format!("{what}: {why}"))
}

impl Replica for WriteStage {
    fn last_logged(&self) -> Zxid {
        let backlog = self.ensemble.as_deref().and_then(|ensemble| ensemble.backlog.back());
        backlog.map_or(self.log.appended(), |(zxid, _)| *zxid)
    }

    fn durable(&self) -> Zxid {
        self.log.durable()
    }

    fn is_settled(&self) -> bool {
        self.log.is_quiet() && self.ensemble.as_deref().is_none_or(|ensemble| ensemble.backlog.is_empty())
    }

    fn committed(&self) -> Zxid {
        self.sequencer.committed_zxid()
    }

    fn accepted_epoch(&self) -> i64 {
        self.ensemble.as_deref().map_or(0, |ensemble| ensemble.epochs.accepted)
    }

    fn current_epoch(&self) -> i64 {
        self.ensemble.as_deref().map_or(0, |ensemble| ensemble.epochs.current)
    }

    fn set_accepted_epoch(&mut self, epoch: i64) -> io::Result<()> {
        let ensemble = self.ens();
        epochs::set_accepted(&*ensemble.store.disk, &ensemble.store.data_dir, epoch)?;
        ensemble.epochs.accepted = epoch;
        Ok(())
    }

    fn set_current_epoch(&mut self, epoch: i64) -> io::Result<()> {
        let durable = self.log.may_mark();
        let ensemble = self.ens();
        // Before: whoever is in a later epoch wins elections, whatever it may have lost by then.
        if let Some(durable) = durable {
            let Store { disk, log_dir, .. } = &ensemble.store;
            if let Err(error) = wal::write_epoch_mark(&**disk, log_dir, durable) {
                tracing::warn!(dir = %log_dir.display(), %error, "cannot renew {}: the end of the log is not guarded", wal::MARK_FILE);
            }
        }
        if epoch != ensemble.epochs.current {
            epochs::set_current(&*ensemble.store.disk, &ensemble.store.data_dir, epoch)?;
            ensemble.epochs.current = epoch;
        }
        Ok(())
    }

    fn history(&self) -> &History {
        &self.ensemble.as_deref().expect("only a member of an ensemble has a peer").history
    }

    fn read_log(&mut self, from: Zxid, before: Zxid, bytes_max: u64) -> Option<Vec<(Zxid, Payload)>> {
        let store = &self.ens().store;
        let read = wal::read_history(&*store.disk, &store.log_dir, from, before, bytes_max, store.options.read);
        match read {
            Ok(txns) => Some(txns?.into_iter().map(|(zxid, payload)| (zxid, payload.into())).collect()),
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", store.log_dir.display());
                None
            }
        }
    }

    fn snapshot_bytes(&self) -> Option<u64> {
        let store = &self.ensemble.as_deref()?.store;
        let names = store.disk.list(&store.data_dir).ok()?;
        let (_, newest) = snapshot::format::newest_first(&names).into_iter().next()?;
        Some(store.disk.read(&store.data_dir.join(newest)).ok()?.len() as u64)
    }

    fn snapshot_stream(&mut self) -> Box<dyn SnapshotStream> {
        let zxid = self.sequencer.committed_zxid();
        let sessions = self.sequencer.sessions().settled();
        let acls = self.sequencer.tree().acls();
        let reader = self.sequencer.tree().pin(zxid).expect("what is final now has not been freed");
        let source = Source { reader, acls, sessions, digest: None, last_zxid: false };
        Box::new(Stream { zxid, writer: SnapshotWriter::bare(Vec::new(), source) })
    }

    fn lead(&mut self, epoch: i64, now: Now) {
        self.end_read_only();
        self.next_epoch(epoch);
        self.revive_sessions(now);
        self.log.hold(false);
        let ensemble = self.ens();
        ensemble.mode = Mode::Leading;
        if ensemble.leader_serves {
            ensemble.out.push(Item::Serve(Clients::All));
        }
        self.close_orphans();
    }

    fn next_epoch(&mut self, epoch: i64) {
        let first = Zxid(epoch << 32);
        self.ens().before_epoch = self.last_logged();
        let mut out = std::mem::take(&mut self.ens().out);
        self.sequencer.begin_epoch(first, &mut out);
        let ensemble = self.ens();
        ensemble.out = out;
        ensemble.final_to = first;
        ensemble.history.last = first;
    }

    fn commit(&mut self, zxid: Zxid, _now: Now) {
        let ensemble = self.ens();
        ensemble.final_to = ensemble.final_to.max(zxid);
    }

    fn forwarded(&mut self, from: Sid, request: Forwarded, _now: Now) {
        self.ens().remote.push_back((from, Remote::Request(request)));
    }

    fn sync_forwarded(&mut self, from: Sid) {
        self.ens().remote.push_back((from, Remote::Sync));
    }

    fn revalidate(&mut self, from: Sid, session: SessionId, timeout_ms: i32, now: Now) -> bool {
        let valid = self.tracker.reattach(session, timeout_ms, now.mono).is_some();
        if valid {
            self.sequencer.move_session(session, Origin::Learner(from));
        }
        valid
    }

    fn touch(&mut self, session: SessionId, _timeout_ms: i32, now: Now) {
        if let Some(pulse) = self.tracker.pulse(session) {
            pulse.beat(now.mono);
        }
    }

    fn propose(&mut self, zxid: Zxid, payload: &[u8], now: Now) -> Result<(), Refused> {
        let record = wal::decode(payload).map_err(|error| malformed("a proposal is no transaction", error))?;
        if record.header.zxid != zxid || zxid <= self.sequencer.prepared() {
            let (header, last) = (record.header.zxid, self.sequencer.prepared());
            return Err(malformed("a proposal is out of order", format!("{zxid}, holding {header}, behind {last}")));
        }
        if payload.len() > self.log.payload_bytes_max() {
            let max = self.log.payload_bytes_max();
            return Err(malformed(
                "a proposal is larger than jute.maxbuffer allows here",
                format!("{} > {max}", payload.len()),
            ));
        }
        let payload: Payload = payload.into();
        let ensemble = self.ensemble.as_deref_mut().expect("only a member of an ensemble has a peer");
        let logged = ensemble.backlog.is_empty() && self.log.append_payload(zxid, &payload).is_ok();
        if !logged {
            ensemble.backlog.push_back((zxid, Arc::clone(&payload)));
        }
        let waiting = ensemble.claim(&record.header, now);
        if record.header.op == Op::CloseSession {
            ensemble.attached.remove(&record.header.session);
            ensemble.claims.remove(&record.header.session);
        }
        // While the snapshot of a Java leader is made up for, the tree is at no zxid.
        let compares = ensemble.mode == Mode::Learning;
        let digest = record.digest.filter(|digest| compares && digest.version == proto::txn::DIGEST_VERSION);
        let agrees = self.sequencer.replicate(&record.header, &record.txn, digest.map(|digest| digest.tree), waiting);
        if record.header.op == Op::CreateSession {
            self.upgraded(record.header.session, now);
        }
        self.snapshots.txns += 1;
        self.ens().remember(zxid, payload);
        if !agrees {
            self.gauges.digest_mismatches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if !std::mem::replace(&mut self.ens().mismatch_said, true) {
                tracing::error!(
                    "the tree's digest after {zxid} is not the leader's; said once, counted in digest_mismatches_count"
                );
            }
        }
        Ok(())
    }

    fn truncate(&mut self, to: Zxid) -> Result<bool, Refused> {
        if to >= self.last_logged() {
            return Ok(to == self.last_logged());
        }
        if self.newest_snapshot().is_some_and(|newest| newest > to) {
            // It shows what a leader had that never got a quorum. What this member holds besides may be final and must not go
            // before something has come in its place.
            return Ok(false);
        }
        let last = match self.cut_log(to)? {
            Some(last) => last,
            None if self.newest_snapshot() == Some(to) => {
                let store = &self.ens().store;
                snapshot::remove_logs(&*store.disk, &store.log_dir)?;
                to
            }
            None => return Ok(false),
        };
        for segment in self.log.restart_after(last) {
            self.ens_effects.push(Effect::CloseSegment(segment));
        }
        // The first zxid of an epoch names no transaction: what is before it is the same.
        let exact = last == to || to.counter() == 0;
        let committed = self.sequencer.committed_zxid();
        let final_txn = if committed.counter() == 0 { self.ens().before_epoch } else { committed };
        if last >= final_txn {
            let kept = last.max(committed);
            self.sequencer.rollback(kept);
            self.snapshots.waiting.take_if(|point| point.zxid > kept);
            let history = &mut self.ens().history;
            while history.txns.pop_back_if(|(zxid, _)| *zxid > last).is_some() {}
            history.last = kept;
            self.keep_config();
            return Ok(exact);
        }
        // What was taken for final when this server started was not.
        let store = &self.ens().store;
        let restored = snapshot::restore(&*store.disk, &store.data_dir, &store.log_dir, store.options)
            .map_err(|error| Refused::Disk(io::Error::other(error.to_string())))?;
        let left = restored.last.unwrap_or_default();
        if left > to {
            return Err(Refused::Disk(io::Error::other(format!("cut the log at {to}, and {left} is left"))));
        }
        self.replace(restored.tree, restored.sessions, left);
        Ok(exact)
    }

    fn begin_snapshot(&mut self, zxid: Zxid) -> Result<(), Refused> {
        let options = self.ens().store.options.tree;
        let loader = StreamLoader::new(options, RECORD_BYTES_MAX);
        self.ens().loading = Some(Loading { zxid, loader, behind: Vec::new() });
        Ok(())
    }

    fn snapshot_received(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refused> {
        let Some(loading) = &mut self.ens().loading else { return Ok(Some(0)) };
        loading.loader.push(bytes).map_err(|why| malformed("the leader's snapshot", why))
    }

    fn snapshot_txn(&mut self, zxid: Zxid, payload: &[u8]) -> Result<(), Refused> {
        if let Some(loading) = &mut self.ens().loading {
            loading.behind.push((zxid, payload.into()));
        }
        Ok(())
    }

    fn finish_snapshot(&mut self) -> Result<(), Refused> {
        let Some(Loading { zxid, loader, behind }) = self.ens().loading.take() else { return Ok(()) };
        let (mut tree, mut sessions) = loader.finish(zxid).map_err(|why| malformed("the leader's snapshot", why))?;
        let mut last = zxid;
        for (at, payload) in &behind {
            let record = wal::decode(payload).map_err(|error| malformed("a proposal is no transaction", error))?;
            if record.header.zxid != *at {
                return Err(malformed("a proposal is out of order", format!("{at}, holding {}", record.header.zxid)));
            }
            match &record.txn {
                Txn::CreateSession { timeout_ms } => _ = sessions.insert(record.header.session, *timeout_ms),
                Txn::CloseSession { .. } => _ = sessions.remove(&record.header.session),
                _ => {}
            }
            tree.apply(&record.header, &record.txn);
            tree.commit(*at);
            last = *at;
        }
        let store = &self.ens().store;
        let (disk, data_dir, log_dir) = (Arc::clone(&store.disk), store.data_dir.clone(), store.log_dir.clone());
        let options = store.options;
        let source = Source {
            // A fuzzy snapshot's digest is that of no zxid.
            digest: None,
            last_zxid: options.last_zxid,
            ..Source::of(&mut tree, sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms)).collect())
        };
        snapshot::install(&*disk, &data_dir, &log_dir, options.compression, source)?;
        for segment in self.log.restart_after(last) {
            self.ens_effects.push(Effect::CloseSegment(segment));
        }
        self.replace(tree, sessions, last);
        Ok(())
    }

    fn serve(&mut self, role: Role, _now: Now) {
        self.end_read_only();
        let epoch = self.current_epoch();
        if Zxid(epoch << 32) > self.sequencer.prepared() {
            self.next_epoch(epoch);
        }
        self.log.hold(false);
        self.tracker.clear();
        let ensemble = self.ens();
        ensemble.mode = Mode::Learning;
        ensemble.out.push(Item::Serve(Clients::All));
        tracing::info!(?role, "serving clients");
    }

    fn revalidated(&mut self, session: SessionId, valid: bool, now: Now) {
        let ensemble = self.ens();
        let Some(waiting) = ensemble.revalidating.get_mut(&session) else { return };
        let first = waiting.pop_front();
        if waiting.is_empty() {
            ensemble.revalidating.remove(&session);
        }
        let Some((conn, timeout_ms)) = first else { return };
        if valid {
            let pulse = ensemble.attach(session, timeout_ms, Arc::default(), now);
            self.sequencer.attach_session(OpenedSession { session, timeout_ms, pulse }, conn);
        } else {
            self.sequencer.answer(conn, Xid(0), Body::Session(None));
        }
    }

    fn synced(&mut self) {
        let (final_to, prepared) = (self.ens().final_to, self.sequencer.prepared());
        let Some((conn, xid, read)) = self.ens().syncs.pop_front() else { return };
        let behind = final_to.min(prepared);
        match read {
            Ordered::Close => self.sequencer.farewell(conn, xid),
            Ordered::Sync => self.sequencer.answer_behind(behind, conn, xid, Body::None),
            Ordered::Ephemerals(session, prefix) => {
                self.ens().listing -= 1;
                self.ens().released = true;
                // As of the last transaction here, which may not be final yet, and may never be.
                let paths = self.sequencer.ephemerals(session, &prefix);
                self.sequencer.answer(conn, xid, Body::Strings(paths));
            }
        }
    }

    fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        let touched = self.ens().attached.iter_mut().filter_map(|(session, attached)| {
            let heard = attached.pulse.last_heard();
            let news = heard > attached.told;
            attached.told = heard;
            news.then_some((*session, attached.timeout_ms))
        });
        touched.collect()
    }

    fn saw_view(&mut self, view: &QuorumView) {
        self.ens_effects.push(Effect::View { view: Arc::new(view.clone()), is_final: false });
    }

    fn shows(&mut self, view: &QuorumView) {
        self.sequencer.show_config(&view.to_text(), Zxid(view.version()), self.now.wall);
    }

    fn activated(&mut self, view: &QuorumView) {
        let view = Arc::new(view.clone());
        self.ens().view = view.clone();
        self.keep_config();
        self.ens_effects.push(Effect::View { view, is_final: true });
    }

    fn stop_serving(&mut self, _now: Now) {
        self.log.hold(true);
        self.tracker.clear();
        self.ended.clear();
        self.sequencer.forget_owners();
        self.parked = None;
        let ensemble = self.ens();
        ensemble.mode = Mode::Looking;
        ensemble.out.push(Item::Serve(Clients::Nobody));
        ensemble.remote.clear();
        ensemble.claims.clear();
        ensemble.opening.clear();
        ensemble.revalidating.clear();
        ensemble.syncs.clear();
        ensemble.held.clear();
        ensemble.listing = 0;
        ensemble.attached.clear();
        ensemble.own.clear();
        ensemble.upgrading.clear();
        ensemble.loading = None;
    }
}
