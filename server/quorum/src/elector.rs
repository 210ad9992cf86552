//! One member's side of the election port: the election, the links that carry it, and repetition.
//!
//! Between two servers there is one link, and the one with the greater id makes it; the other may only ask for it, by a connection that
//! introduces it and is closed (peer-protocol.md §2). What always holds: one link and one attempt per peer; whoever has a new link is told at
//! once how things are, so that nothing depends on what an earlier link lost; a peer that breaks the protocol loses
//! its link and nobody else notices; what waits for a peer that does not read is its newest message alone. Kept out: who wins
//! (`election`), the bytes (`notification`), and what is done with the winner (`peer`).
//!
//! ```text
//!   greater id ──connect, introduce──▶ link ◀── accepted, introduced by the greater id
//!   smaller id ──connect, introduce, close──▶ (the other connects)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::{Millis, Sid, Zxid};

use crate::effect::{Effect, HostPort, LinkId, Port, Ticket};
use crate::election::{Ballot, Election};
pub use crate::election::{ServerState, Vote};
use crate::notification::{self, ANONYMOUS, Introduction, Notification};
use crate::view::QuorumView;

/// Connections that have not introduced themselves yet; of more, the oldest is closed.
const STRANGERS_MAX: usize = 128;
/// Peers that no configuration here knows; more are turned away.
const UNLISTED_MAX: usize = 64;
/// A link on which more than this waits gets no more than its newest message.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// The first wait after a failed attempt; it doubles.
const RETRY_MIN_MS: i64 = 50;
/// The longest wait between attempts while there is no leader.
const RETRY_LOOKING_MAX_MS: i64 = 1_000;
/// The longest wait between attempts to restore links that the next election will want.
const RETRY_SETTLED_MAX_MS: i64 = 10_000;
/// After an introduction, for so long at least the peer is expected to connect, and is not asked again.
const INTRODUCED_MS: i64 = 200;
/// While looking, votes are repeated at least so often, so that a patient peer differs from a link that leads nowhere.
const REPEAT_MAX_MS: i64 = 2_000;
/// A link on which nothing was heard since this server began to look is replaced after so long: it may lead nowhere.
const UNHEARD_MS: i64 = 1_000;
/// One on which something was heard is replaced when it is silent for longer than two repetitions.
const SILENT_MS: i64 = 2 * REPEAT_MAX_MS + 1_000;
/// A link that ends earlier is not restored at once: perhaps two servers have the same id, and replace each other's links.
const STEADY_MS: i64 = 1_000;
/// The same answer to the same words is not repeated to the same observer or stranger within this time.
const SAME_REPLY_MS: i64 = 20;

/// How the election behaves in time.
#[derive(Clone, Debug)]
pub struct ElectorSettings {
    /// This member.
    pub id: Sid,
    /// The first wait for votes before they are asked for again (`fastleader.minNotificationInterval`).
    pub notification_min_ms: i64,
    /// The longest such wait (`fastleader.maxNotificationInterval`); two seconds are never exceeded.
    pub notification_max_ms: i64,
    /// How long a vote that has its quorum waits for a better one, unless none can come.
    pub finalize_wait_ms: i64,
    /// For connecting to a peer (`cnxTimeout`).
    pub connect_timeout_ms: i64,
    /// For the first message on a new connection (`quorumCnxnTimeoutMs`, else syncLimit ticks).
    pub handshake_timeout_ms: i64,
    /// There is an oracle, which says whether one of two voters may do without the other (`oraclePath`).
    pub oracle: bool,
}

impl ElectorSettings {
    /// ZooKeeper's defaults for this member, with a tick of two seconds and a syncLimit of five.
    pub fn new(id: Sid) -> ElectorSettings {
        ElectorSettings {
            id,
            notification_min_ms: 200,
            notification_max_ms: 60_000,
            finalize_wait_ms: 200,
            connect_timeout_ms: 5_000,
            handshake_timeout_ms: 10_000,
            oracle: false,
        }
    }
}

/// What is known of another server.
#[derive(Debug, Default)]
struct Acquaintance {
    link: Option<LinkId>,
    attempt: Option<Ticket>,
    /// Not before this time.
    retry_at: Option<Millis>,
    retry_ms: i64,
    /// Where it says that it listens.
    said: Vec<HostPort>,
    /// It has said something sensible on this link.
    sound: bool,
    /// Since when it has its link.
    linked_at: Millis,
    /// It was looking when it last said something.
    looking: bool,
    /// Since when its link is silent: since it last said something, was linked, or this server began to look.
    heard_at: Millis,
    /// It has said something since it was linked and this server began to look.
    answered: bool,
    /// What was handed over for its link and has not left.
    unsent_bytes: usize,
    /// The newest message, waiting for the rest to leave.
    queued: Option<Vec<u8>>,
    /// When what was answered to what, if it does not vote.
    last_reply: Option<(Millis, Ballot, Ballot)>,
}

#[derive(Debug)]
enum Stage {
    /// Accepted, and not introduced by then.
    Stranger { until: Millis },
    /// It leads there.
    Known { sid: Sid },
}

#[derive(Debug)]
struct Link {
    stage: Stage,
    /// The beginning of what has not come whole yet.
    buffer: Vec<u8>,
}

/// See the module's page. After each call, carry out [`Elector::effects`] and look for an [`Elector::outcome`].
#[derive(Debug)]
pub struct Elector {
    settings: ElectorSettings,
    election: Election,
    committed: Arc<QuorumView>,
    last_seen: Option<Arc<QuorumView>>,
    config: String,
    /// Where others reach this server, as the last configuration that had it said: one that it was removed from does not say, and who has the
    /// greater id must call back.
    own: Vec<HostPort>,
    peers: BTreeMap<Sid, Acquaintance>,
    links: BTreeMap<LinkId, Link>,
    attempts: BTreeMap<Ticket, Sid>,
    next_ticket: u64,
    next_anonymous: i64,
    /// While looking: when to ask again, and how long the wait was.
    resend_at: Option<Millis>,
    resend_ms: i64,
    newer_view: Option<QuorumView>,
    /// The oracle is to be asked.
    wonders: bool,
    effects: Vec<Effect>,
}

impl Elector {
    /// Neither looking nor settled; it answers nobody until it is.
    pub fn new(settings: ElectorSettings, view: Arc<QuorumView>, _now: Millis) -> Elector {
        Elector {
            election: Election::new(settings.id, settings.finalize_wait_ms, view.clone()),
            resend_ms: settings.notification_min_ms,
            config: view.to_text(),
            own: view.member(settings.id).map(|member| member.election()).unwrap_or_default(),
            settings,
            committed: view,
            last_seen: None,
            peers: BTreeMap::new(),
            links: BTreeMap::new(),
            attempts: BTreeMap::new(),
            next_ticket: 0,
            next_anonymous: -1,
            resend_at: None,
            newer_view: None,
            wonders: false,
            effects: Vec::new(),
        }
    }

    /// Begins an election. `zxid` and `peer_epoch` are the end of the own history, which must be durable, and its epoch; who does not vote passes
    /// the same, and they are not told. To be called again when the configuration changes while looking.
    pub fn look(&mut self, zxid: Zxid, peer_epoch: i64, now: Millis) {
        self.election.look(zxid, peer_epoch, now);
        self.newer_view = None;
        self.resend_ms = self.settings.notification_min_ms;
        self.resend_at = Some(now.plus(self.resend_ms));
        for peer in self.peers.values_mut() {
            peer.retry_at = None;
            peer.retry_ms = 0;
            peer.heard_at = now;
            peer.answered = false;
        }
        self.wonder();
        self.broadcast();
        self.connect_all(now);
    }

    /// Whether the oracle is to be asked, once.
    pub fn takes_question(&mut self) -> bool {
        std::mem::take(&mut self.wonders) && self.election.is_open()
    }

    /// The oracle's answer to what was asked in this election.
    pub fn oracle_says(&mut self, yes: bool, now: Millis) {
        self.election.oracle_says(yes, now);
    }

    /// The outcome is this member by the oracle's word alone.
    pub fn is_alone(&self) -> bool {
        self.election.is_alone()
    }

    fn wonder(&mut self) {
        self.wonders = self.settings.oracle && self.election.is_open() && self.committed.has_two_voters();
    }

    /// Before [`Elector::look`]: this member votes for another at first, which has all of its history; `None`: for itself.
    pub fn favour(&mut self, sid: Option<Sid>) {
        self.election.favour(sid);
    }

    /// The decision, once. The caller then follows it and says so by [`Elector::settle`].
    pub fn outcome(&mut self) -> Option<Vote> {
        self.election.outcome()
    }

    /// Not looking any more: lookers are told this vote from now on. To be called again with the new epoch as `peer_epoch` once leader and learner
    /// are synchronised.
    pub fn settle(&mut self, state: ServerState, vote: Vote) {
        // Those who still look need not wait until they ask again.
        let first = self.election.state() == ServerState::Looking;
        let looks = |(sid, peer): (&Sid, &Acquaintance)| (first && peer.looking).then_some(*sid);
        let lookers: Vec<Sid> = self.peers.iter().filter_map(looks).collect();
        self.election.settle(state, vote);
        self.resend_at = None;
        for sid in lookers {
            self.tell(sid);
        }
    }

    /// The role that was settled on has ended, and [`Elector::look`] will follow when the history is durable: until then lookers are not told
    /// of a leader who may be gone.
    pub fn unsettle(&mut self) {
        self.election.unsettle();
    }

    /// True once when what this member settled on has come to nothing before the leader and its followers have synchronised: the leader says that it
    /// does not lead (it was restarted, or changed its mind), or this member leads and those who elected it look for another.
    /// The caller had better look again than wait.
    pub fn deserted(&mut self) -> bool {
        self.election.deserted()
    }

    /// Somebody connected to the election port.
    pub fn accepted(&mut self, link: LinkId, now: Millis) {
        let strangers = |(id, link): (&LinkId, &Link)| matches!(link.stage, Stage::Stranger { .. }).then_some(*id);
        let waiting: Vec<LinkId> = self.links.iter().filter_map(strangers).collect();
        if waiting.len() >= STRANGERS_MAX {
            tracing::warn!("{} connections to the election port say nothing; the oldest is closed", waiting.len());
            self.links.remove(&waiting[0]);
            self.effects.push(Effect::Close(waiting[0]));
        }
        let until = now.plus(self.settings.handshake_timeout_ms);
        self.links.insert(link, Link { stage: Stage::Stranger { until }, buffer: Vec::new() });
    }

    /// An attempt succeeded.
    pub fn connected(&mut self, ticket: Ticket, link: LinkId, now: Millis) {
        let Some(sid) = self.attempts.remove(&ticket) else {
            self.effects.push(Effect::Close(link));
            return;
        };
        // Several there are only with multiAddress.enabled.
        let bytes = Introduction::encode(self.settings.id, &self.own, self.own.len() > 1);
        self.effects.push(Effect::Send { link, bytes });
        self.election.present(sid);
        let peer = self.peers.entry(sid).or_default();
        peer.attempt = None;
        if sid > self.settings.id {
            // It will connect now.
            peer.back_off(now, INTRODUCED_MS, RETRY_LOOKING_MAX_MS);
            self.effects.push(Effect::Close(link));
        } else {
            self.links.insert(link, Link { stage: Stage::Known { sid }, buffer: Vec::new() });
            self.establish(sid, link, now);
        }
    }

    /// An attempt failed.
    pub fn connect_failed(&mut self, ticket: Ticket, now: Millis) {
        let Some(sid) = self.attempts.remove(&ticket) else { return };
        let longest = self.retry_max_ms();
        let peer = self.peers.entry(sid).or_default();
        peer.attempt = None;
        if peer.retry_ms == 0 {
            tracing::info!("server {sid} cannot be reached on its election port");
        }
        peer.back_off(now, RETRY_MIN_MS, longest);
        if peer.link.is_none() {
            self.election.absent(sid, now);
        }
        self.forget_if_unknown(sid);
    }

    /// Bytes came on one of its links.
    pub fn received(&mut self, link: LinkId, bytes: &[u8], now: Millis) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let mut buffer = std::mem::take(&mut state.buffer);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let Some(state) = self.links.get_mut(&link) else { return };
            let rest = &buffer[at..];
            let step = match state.stage {
                Stage::Stranger { .. } => match Introduction::decode(rest) {
                    Ok(Some((introduction, length))) => {
                        at += length;
                        self.introduced(link, introduction, now);
                        Ok(true)
                    }
                    Ok(None) => Ok(false),
                    Err(why) => Err(why),
                },
                Stage::Known { sid } => match notification::message_length(rest) {
                    Ok(Some(length)) if rest.len() >= 4 + length => {
                        at += 4 + length;
                        let message = notification::decode(&rest[4..4 + length]);
                        message.map(|message| {
                            self.heard(sid, message, now);
                            true
                        })
                    }
                    Ok(_) => Ok(false),
                    Err(why) => Err(why),
                },
            };
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => {
                    self.misbehaved(link, &why, now);
                    return;
                }
            }
        }
        if let Some(state) = self.links.get_mut(&link) {
            buffer.drain(..at);
            state.buffer = buffer;
        }
    }

    /// The other side closed a link, or it broke.
    pub fn closed(&mut self, link: LinkId, now: Millis) {
        let Some(Link { stage: Stage::Known { sid }, .. }) = self.links.remove(&link) else { return };
        self.lost(sid, link, now);
    }

    /// So much of what was handed over for a link has not left yet. Without such reports everything is taken to leave at once.
    pub fn drained(&mut self, link: LinkId, unsent_bytes: usize) {
        let Some(Link { stage: Stage::Known { sid }, .. }) = self.links.get(&link) else { return };
        let Some(peer) = self.peers.get_mut(sid) else { return };
        peer.unsent_bytes = unsent_bytes;
        if unsent_bytes <= UNSENT_BYTES_MAX
            && let Some(bytes) = peer.queued.take()
        {
            self.effects.push(Effect::Send { link, bytes });
        }
    }

    /// Whether a link is the elector's.
    pub fn owns(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Whether a ticket is the elector's, also one that it has forgotten since: the even ones are.
    pub fn owns_ticket(&self, ticket: Ticket) -> bool {
        ticket.0.is_multiple_of(2)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Millis) {
        let late = |(id, link): (&LinkId, &Link)| match link.stage {
            Stage::Stranger { until } if until <= now => Some(*id),
            _ => None,
        };
        let late: Vec<LinkId> = self.links.iter().filter_map(late).collect();
        for link in late {
            tracing::warn!("a connection to the election port did not say whose it is in time; it is closed");
            self.links.remove(&link);
            self.effects.push(Effect::Close(link));
        }
        self.election.tick(now);
        if self.resend_at.is_some_and(|at| at <= now) {
            self.repeat(now);
        }
        self.connect_all(now);
    }

    /// When [`Elector::tick`] next has something to do.
    pub fn next_deadline(&self) -> Option<Millis> {
        let strangers = self.links.values().filter_map(|link| match link.stage {
            Stage::Stranger { until } => Some(until),
            Stage::Known { .. } => None,
        });
        let retry = |peer: &Acquaintance| peer.retry_at.filter(|_| peer.link.is_none() && peer.attempt.is_none());
        let waits = self.peers.values().any(|peer| retry(peer).is_some());
        let wanted = if waits { self.wanted() } else { Vec::new() };
        let retries = wanted.into_iter().filter_map(|sid| retry(self.peers.get(&sid)?));
        let resend = self.resend_at.filter(|_| self.election.is_open());
        strangers.chain(retries).chain(resend).chain(self.election.deadline()).min()
    }

    /// What must be done, since the last call.
    pub fn effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// A later configuration than the committed one, heard of while looking; the newest of them, once. Whether to take it is the
    /// caller's to decide (Java does if reconfiguration is enabled, and begins anew).
    pub fn newer_view(&mut self) -> Option<QuorumView> {
        self.newer_view.take()
    }

    /// The configuration changed. While looking, [`Elector::look`] should follow.
    pub fn set_view(&mut self, committed: Arc<QuorumView>, last_seen: Option<Arc<QuorumView>>) {
        self.config = committed.to_text();
        if let Some(member) = committed.member(self.settings.id) {
            self.own = member.election();
        }
        let before = std::mem::replace(&mut self.committed, committed.clone());
        self.leave_moved(&before);
        self.last_seen = last_seen.clone();
        self.election.set_view(committed, last_seen);
        let gone = |(ticket, sid): (&Ticket, &Sid)| (!self.is_listed(*sid)).then_some((*ticket, *sid));
        let gone: Vec<(Ticket, Sid)> = self.attempts.iter().filter_map(gone).collect();
        for (ticket, sid) in gone {
            self.attempts.remove(&ticket);
            self.effects.push(Effect::Forget(ticket));
            self.peers.entry(sid).or_default().attempt = None;
            self.forget_if_unknown(sid);
        }
    }

    /// Links to members that have another place for elections now are made anew, so that one that does not work is noticed before an
    /// election needs it.
    fn leave_moved(&mut self, before: &QuorumView) {
        let place = |view: &QuorumView, sid: &Sid| view.member(*sid).map(|member| member.election());
        for (sid, peer) in &mut self.peers {
            let (old, new) = (place(before, sid), place(&self.committed, sid));
            if old.is_none() || new.is_none() || old == new {
                continue;
            }
            peer.said.clear();
            if let Some(ticket) = peer.attempt.take() {
                self.attempts.remove(&ticket);
                self.effects.push(Effect::Forget(ticket));
            }
            if let Some(link) = peer.link.take() {
                self.links.remove(&link);
                self.effects.push(Effect::Close(link));
            }
            peer.queued = None;
            // At the next moment.
            peer.retry_ms = 0;
            peer.retry_at = Some(Millis(0));
        }
    }

    /// The number of the current round, for messages and reports.
    pub fn round(&self) -> i64 {
        self.election.clock()
    }

    /// A connection was introduced.
    fn introduced(&mut self, link: LinkId, introduction: Introduction, now: Millis) {
        let mut sid = introduction.sid;
        if sid == self.settings.id {
            self.misbehaved(link, "it has the same id as this server", now);
            return;
        }
        let owner = sid > self.settings.id;
        if sid == ANONYMOUS {
            sid = Sid(self.next_anonymous);
            self.next_anonymous -= 1;
        }
        let unlisted = self.peers.keys().filter(|sid| !self.is_listed(**sid)).count();
        if !self.is_listed(sid) && !self.peers.contains_key(&sid) && unlisted >= UNLISTED_MAX {
            self.misbehaved(link, "too many servers that are no members are connected", now);
            return;
        }
        let peer = self.peers.entry(sid).or_default();
        peer.said = introduction.addresses;
        if owner {
            let state = self.links.get_mut(&link).expect("the link was introduced just now");
            state.stage = Stage::Known { sid };
            self.establish(sid, link, now);
            return;
        }
        // It asks to be connected to: it has no link, whatever this server believes.
        self.links.remove(&link);
        self.effects.push(Effect::Close(link));
        if let Some(old) = peer.link.take() {
            self.links.remove(&old);
            self.effects.push(Effect::Close(old));
        }
        self.election.present(sid);
        self.connect(sid, now);
    }

    /// This link, and no other, leads to that peer.
    fn establish(&mut self, sid: Sid, link: LinkId, now: Millis) {
        let peer = self.peers.entry(sid).or_default();
        if let Some(old) = peer.link.replace(link) {
            self.links.remove(&old);
            self.effects.push(Effect::Close(old));
        }
        if let Some(ticket) = peer.attempt.take() {
            self.attempts.remove(&ticket);
            self.effects.push(Effect::Forget(ticket));
        }
        peer.retry_at = None;
        peer.sound = false;
        peer.linked_at = now;
        peer.answered = false;
        peer.looking = false;
        peer.heard_at = now;
        peer.unsent_bytes = 0;
        peer.queued = None;
        peer.last_reply = None;
        self.election.present(sid);
        tracing::debug!("server {sid} is connected on the election port");
        // Members are told at once; others when they ask.
        if self.is_listed(sid) {
            self.tell(sid);
        }
    }

    /// A peer's link is gone.
    fn lost(&mut self, sid: Sid, link: LinkId, now: Millis) {
        let longest = self.retry_max_ms();
        let looking = self.election.state() == ServerState::Looking;
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if peer.link != Some(link) {
            return;
        }
        peer.link = None;
        peer.queued = None;
        peer.retry_at = None;
        let steady = peer.sound && now.since(peer.linked_at) >= STEADY_MS;
        if steady {
            peer.retry_ms = 0;
        }
        if !steady || !looking {
            peer.back_off(now, RETRY_MIN_MS, longest);
        }
        self.connect_all(now);
        self.forget_if_unknown(sid);
    }

    fn misbehaved(&mut self, link: LinkId, why: &str, now: Millis) {
        let Some(state) = self.links.remove(&link) else { return };
        self.effects.push(Effect::Close(link));
        match state.stage {
            Stage::Stranger { .. } => tracing::warn!("a connection to the election port is closed: {why}"),
            Stage::Known { sid } => {
                tracing::warn!("the election link of server {sid} is closed: {why}");
                if let Some(peer) = self.peers.get_mut(&sid) {
                    peer.sound = false;
                }
                self.lost(sid, link, now);
            }
        }
    }

    /// A notification came.
    fn heard(&mut self, sid: Sid, message: Notification, now: Millis) {
        if let Some(peer) = self.peers.get_mut(&sid) {
            peer.heard_at = now;
            peer.answered = true;
            peer.looking = message.ballot.state == ServerState::Looking;
            peer.sound = true;
        }
        if let Some(config) = &message.config {
            self.heard_config(sid, config);
        }
        if message.ballot.state == ServerState::Leading {
            self.wonder();
        }
        let reaction = self.election.heard(sid, message.ballot, now);
        if reaction.broadcast {
            self.broadcast();
        }
        let voter = self.election.is_voter(sid);
        if voter && (reaction.broadcast || reaction.reply) && self.election.is_open() {
            // Something moves: the others may come to a decision, and Java's would not say so unasked.
            self.resend_ms = self.settings.notification_min_ms;
            self.resend_at = self.resend_at.min(Some(now.plus(self.resend_ms)));
        }
        if reaction.reply && !(reaction.broadcast && voter) {
            self.reply(sid, voter, message.ballot, now);
        }
    }

    fn heard_config(&mut self, sid: Sid, config: &str) {
        if !self.election.is_open() || config == self.config {
            return;
        }
        match QuorumView::parse(config) {
            Ok(view) => {
                let known = self.newer_view.as_ref().map_or(self.committed.version(), QuorumView::version);
                if view.version() > known {
                    self.newer_view = Some(view);
                }
            }
            Err(why) => tracing::debug!("the configuration of server {sid} is not understood: {why}"),
        }
    }

    fn reply(&mut self, sid: Sid, voter: bool, to: Ballot, now: Millis) {
        let Some(mut ballot) = self.election.ballot() else { return };
        if !voter {
            // Observers count by the round that this server is in.
            ballot.vote.election_epoch = self.election.clock();
            let Some(peer) = self.peers.get_mut(&sid) else { return };
            // Two servers that do not know each other for voters would answer each other for ever.
            let same = |(at, was, to_what)| was == ballot && to_what == to && now.since(at) < SAME_REPLY_MS;
            if peer.last_reply.is_some_and(same) {
                return;
            }
            peer.last_reply = Some((now, ballot, to));
        }
        self.send(sid, &ballot);
    }

    fn tell(&mut self, sid: Sid) {
        if let Some(ballot) = self.election.ballot() {
            self.send(sid, &ballot);
        }
    }

    fn broadcast(&mut self) {
        for sid in self.election.voters() {
            self.tell(sid);
        }
    }

    fn send(&mut self, sid: Sid, ballot: &Ballot) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        let Some(link) = peer.link else { return };
        let bytes = notification::encode(ballot, &self.config);
        if peer.unsent_bytes > UNSENT_BYTES_MAX {
            peer.queued = Some(bytes);
        } else {
            self.effects.push(Effect::Send { link, bytes });
        }
    }

    /// Nothing was decided in time: ask again, over new links where the old ones are silent.
    fn repeat(&mut self, now: Millis) {
        if !self.election.is_open() {
            self.resend_at = None;
            return;
        }
        for sid in self.election.voters() {
            let Some(peer) = self.peers.get_mut(&sid) else { continue };
            let patience_ms = if peer.answered { SILENT_MS } else { UNHEARD_MS };
            if let Some(link) = peer.link.filter(|_| now.since(peer.heard_at) >= patience_ms) {
                peer.link = None;
                peer.queued = None;
                peer.heard_at = now;
                self.links.remove(&link);
                self.effects.push(Effect::Close(link));
            }
        }
        self.wonder();
        self.broadcast();
        self.resend_ms = (self.resend_ms * 2).min(self.settings.notification_max_ms).min(REPEAT_MAX_MS);
        self.resend_at = Some(now.plus(self.resend_ms));
    }

    /// Everybody to whom a link should lead: while looking all voters; else, from the side that makes links, the voters among
    /// themselves, so that the next election finds them connected.
    fn wanted(&self) -> Vec<Sid> {
        let id = self.settings.id;
        let looking = self.election.is_open();
        if self.election.ballot().is_none() {
            return Vec::new();
        }
        let wanted = |sid: &Sid| *sid != id && (looking || (*sid < id && self.election.is_voter(id)));
        self.election.voters().into_iter().filter(wanted).collect()
    }

    fn connect_all(&mut self, now: Millis) {
        for sid in self.wanted() {
            let peer = self.peers.entry(sid).or_default();
            if peer.link.is_none() && peer.attempt.is_none() && peer.retry_at.is_none_or(|at| at <= now) {
                self.connect(sid, now);
            }
        }
    }

    /// Attempts to connect, unless that is being done.
    fn connect(&mut self, sid: Sid, _now: Millis) {
        let mut addresses = Vec::new();
        for view in [Some(&self.committed), self.last_seen.as_ref()].into_iter().flatten() {
            addresses.extend(view.member(sid).map(|member| member.election()).unwrap_or_default());
        }
        let peer = self.peers.entry(sid).or_default();
        addresses.extend(peer.said.iter().cloned());
        let mut distinct: Vec<HostPort> = Vec::new();
        for place in addresses {
            if !distinct.contains(&place) {
                distinct.push(place);
            }
        }
        if peer.attempt.is_some() {
            return;
        }
        if distinct.is_empty() {
            self.forget_if_unknown(sid);
            return;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 2;
        peer.attempt = Some(ticket);
        peer.retry_at = None;
        self.attempts.insert(ticket, sid);
        self.effects.push(Effect::Connect {
            ticket,
            peer: sid,
            port: Port::Election,
            addresses: distinct,
            timeout_ms: self.settings.connect_timeout_ms,
        });
    }

    fn retry_max_ms(&self) -> i64 {
        match self.election.state() {
            ServerState::Looking => RETRY_LOOKING_MAX_MS,
            _ => RETRY_SETTLED_MAX_MS,
        }
    }

    fn is_listed(&self, sid: Sid) -> bool {
        self.committed.member(sid).is_some() || self.last_seen.as_ref().is_some_and(|view| view.member(sid).is_some())
    }

    fn forget_if_unknown(&mut self, sid: Sid) {
        let idle = |peer: &Acquaintance| peer.link.is_none() && peer.attempt.is_none();
        if !self.is_listed(sid) && self.peers.get(&sid).is_some_and(idle) {
            self.peers.remove(&sid);
        }
    }
}

impl Acquaintance {
    /// Not before a wait that doubles.
    fn back_off(&mut self, now: Millis, first_ms: i64, longest_ms: i64) {
        self.retry_ms = (self.retry_ms * 2).clamp(first_ms, longest_ms);
        self.retry_at = Some(now.plus(self.retry_ms));
    }
}
