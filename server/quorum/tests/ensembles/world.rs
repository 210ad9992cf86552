//! An ensemble in virtual time: members with replicas in memory, links of bytes with delays, breaks and partitions, disks that take
//! their time. After every step the world checks what must hold; a violation panics with the seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pipeline::Now;
use proto::request::Reconfig;
use proto::{Encode, Millis, Op, SessionId, Sid, Txn, TxnHeader, Xid, Zxid};
use quorum::effect::{Effect, Inquiry, LinkId, Port, Ticket};
use quorum::packet::{Packet, kind};
use quorum::peer::{HandOver, Peer, PeerSettings, Phase};
use quorum::replica::{Forwarded, Payload, Replica};
use quorum::view::QuorumView;

use crate::memory::{Memory, Told};

/// Small numbers from a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % end.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub struct Member {
    pub peer: Option<Peer>,
    pub replica: Memory,
    /// When the disk is done with what it has now.
    disk_at: Option<(i64, usize)>,
    /// What the oracle says here; `None`: it does not answer.
    pub oracle: Option<bool>,
    /// It said so when it was last asked.
    granted: bool,
    /// When its answer to which question comes.
    oracle_at: Option<(i64, Inquiry)>,
    /// Syncs under way: what was final in the ensemble when each was asked for.
    syncs: VecDeque<Zxid>,
    /// Told events that were looked at.
    seen: usize,
    /// What clients of this member may have seen.
    shown: Zxid,
    next_xid: i32,
    /// As far as its calls were looked at, it leads.
    leads: bool,
    /// Observers are accepted.
    pub listens: bool,
}

struct Link {
    owner: Sid,
    other: Sid,
    twin: LinkId,
    port: Port,
    /// It was made by its owner.
    initiator: bool,
    /// On the way to the owner: when it arrives, and what.
    inbound: VecDeque<(i64, Vec<u8>)>,
    /// When the owner hears that it has ended.
    ends_at: Option<i64>,
    /// The owner gave it up.
    deaf: bool,
    /// Sent by the owner and not looked at.
    written: Vec<u8>,
    /// What follows SNAP has no packets; nothing more is counted on such a link.
    opaque: bool,
}

struct Attempt {
    from: Sid,
    to: Sid,
    port: Port,
    ticket: Ticket,
    at: i64,
    gives_up: i64,
}

pub struct World {
    pub seed: u64,
    pub dice: Dice,
    pub now: i64,
    pub view: QuorumView,
    pub settings: PeerSettings,
    pub members: BTreeMap<Sid, Member>,
    links: BTreeMap<LinkId, Link>,
    attempts: Vec<Attempt>,
    next_link: u64,
    /// Nothing gets through between these, in either order of the pair.
    pub cut: BTreeSet<(Sid, Sid)>,
    /// All that is final anywhere, in order.
    pub chosen: Vec<(Zxid, Payload)>,
    pub leaders: BTreeMap<i64, Sid>,
    /// Configurations that were proposed, by their transactions.
    proposed_views: BTreeMap<Zxid, QuorumView>,
    /// The one that is in force, as far as anything is final.
    pub view_in_force: QuorumView,
    pub reconfigured: usize,
    /// Epochs that began without an election.
    pub rolled: usize,
    pub next_number: u64,
    pub disk_ms: u64,
    pub delay_ms: u64,
    /// The packets that leaders sent, by type.
    pub sent: BTreeMap<i32, u64>,
    pub trace: bool,
}

pub fn settings(id: Sid) -> PeerSettings {
    PeerSettings { tick_ms: 200, init_limit: 10, sync_limit: 5, ..PeerSettings::new(id) }
}

pub fn view(voters: i64, observers: i64) -> QuorumView {
    let line = |id: i64| {
        let role = if id <= voters { "participant" } else { "observer" };
        format!("server.{id}=10.0.0.{id}:2888:3888:{role}\n")
    };
    let text: String = (1..=voters + observers).map(line).collect();
    QuorumView::parse(&format!("{text}version=0")).unwrap()
}

impl World {
    pub fn new(seed: u64, view: QuorumView) -> World {
        let members = view.members().keys().map(|&sid| {
            let member = Member {
                peer: None,
                replica: Memory::new(),
                disk_at: None,
                oracle: Some(false),
                granted: false,
                oracle_at: None,
                syncs: VecDeque::new(),
                seen: 0,
                shown: Zxid::ZERO,
                next_xid: 1,
                leads: false,
                listens: false,
            };
            (sid, member)
        });
        World {
            seed,
            dice: Dice::new(seed + 1),
            now: 1_000,
            members: members.collect(),
            view: view.clone(),
            settings: settings(Sid(0)),
            links: BTreeMap::new(),
            attempts: Vec::new(),
            next_link: 1,
            cut: BTreeSet::new(),
            chosen: Vec::new(),
            leaders: BTreeMap::new(),
            proposed_views: BTreeMap::new(),
            view_in_force: view,
            reconfigured: 0,
            rolled: 0,
            next_number: 1,
            disk_ms: 4,
            delay_ms: 3,
            sent: BTreeMap::new(),
            trace: false,
        }
    }

    pub fn time(&self) -> Now {
        Now { wall: Millis(1_700_000_000_000 + self.now), mono: Millis(self.now) }
    }

    pub fn start(&mut self, id: i64) {
        let sid = Sid(id);
        let now = self.time();
        let mut settings = self.settings.clone();
        settings.id = sid;
        settings.elector.id = sid;
        let member = self.members.get_mut(&sid).unwrap();
        assert!(member.peer.is_none());
        let view = member.replica.view.clone().unwrap_or_else(|| self.view.clone());
        let mut peer = Peer::new(settings, view, now.mono);
        if let Some(view) = member.replica.seen_view.clone() {
            peer.seen(view);
        }
        if let Some(view) = member.replica.recalled_view.clone() {
            peer.recall(view);
        }
        member.seen = member.replica.told.len();
        member.shown = Zxid::ZERO;
        member.leads = false;
        member.listens = false;
        peer.start(&mut member.replica, now);
        member.peer = Some(peer);
        self.settle(sid);
    }

    pub fn start_all(&mut self) {
        let ids: Vec<i64> = self.members.iter().filter(|(_, m)| m.peer.is_none()).map(|(sid, _)| sid.0).collect();
        for id in ids {
            self.start(id);
        }
    }

    /// The process dies, with what its disk has.
    pub fn crash(&mut self, id: i64) {
        let sid = Sid(id);
        let member = self.members.get_mut(&sid).unwrap();
        if member.peer.take().is_none() {
            return;
        }
        if self.trace {
            eprintln!("{} {sid} CRASH", self.now);
        }
        member.disk_at = None;
        member.oracle_at = None;
        member.syncs.clear();
        let volatile = member.replica.log.len() - member.replica.durable_len;
        let more = self.dice.below(volatile as u64 + 1) as usize;
        member.replica.crash(more);
        let dead: Vec<LinkId> = self.links.iter().filter(|(_, l)| l.owner == sid).map(|(&id, _)| id).collect();
        for link in dead {
            self.hang_up(link);
        }
        self.attempts.retain(|attempt| attempt.from != sid);
    }

    /// This side of a link is no more; the other hears of it.
    fn hang_up(&mut self, link: LinkId) {
        let Some(link) = self.links.remove(&link) else { return };
        let at = self.now + 1 + self.dice.below(self.delay_ms) as i64;
        if let Some(twin) = self.links.get_mut(&link.twin) {
            let last = twin.inbound.back().map_or(0, |(at, _)| *at);
            twin.ends_at = Some(at.max(last));
        }
    }

    /// Every link between these two breaks, for both.
    pub fn reset(&mut self, a: Sid, b: Sid) {
        let at = self.now + 1;
        for link in self.links.values_mut().filter(|l| (l.owner, l.other) == (a, b) || (l.owner, l.other) == (b, a)) {
            link.inbound.clear();
            link.ends_at = Some(at);
        }
    }

    pub fn cut_off(&mut self, id: i64) {
        for &other in self.members.keys() {
            if other != Sid(id) {
                self.cut.insert((Sid(id), other));
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    fn is_cut(&self, a: Sid, b: Sid) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    pub fn peer(&self, id: i64) -> &Peer {
        self.members[&Sid(id)].peer.as_ref().expect("it runs")
    }

    pub fn replica(&mut self, id: i64) -> &mut Memory {
        &mut self.members.get_mut(&Sid(id)).unwrap().replica
    }

    /// The member that leads and serves, if exactly one does.
    pub fn leader(&self) -> Option<i64> {
        let serving = self.members.iter().filter(|(_, member)| {
            member.peer.as_ref().is_some_and(|peer| {
                let state = peer.state();
                state.phase == Phase::Leading && state.serving
            })
        });
        let ids: Vec<i64> = serving.map(|(sid, _)| sid.0).collect();
        match ids[..] {
            [id] => Some(id),
            _ => None,
        }
    }

    pub fn is_serving(&self, id: i64) -> bool {
        self.members[&Sid(id)].peer.as_ref().is_some_and(|peer| peer.state().serving)
    }

    /// Runs until something is so; panics if it is not within `ms`.
    #[track_caller]
    pub fn until(&mut self, what: &str, ms: i64, holds: impl Fn(&World) -> bool) {
        let end = self.now + ms;
        while !holds(self) {
            let states: Vec<_> =
                self.members.iter().map(|(sid, m)| (sid.0, m.peer.as_ref().map(Peer::state))).collect();
            assert!(self.now < end, "seed {}: {what} did not come within {ms} ms: {states:?}", self.seed);
            self.step(end);
        }
    }

    pub fn run(&mut self, ms: i64) {
        let end = self.now + ms;
        while self.now < end {
            self.step(end);
        }
    }

    pub fn everybody_serves(&self) -> bool {
        self.members.values().all(|m| m.peer.as_ref().is_some_and(|peer| peer.state().serving))
    }

    pub fn everybody_has(&self, zxid: Zxid) -> bool {
        self.members.values().all(|m| m.replica.final_to >= zxid)
    }

    /// A client of this member writes. False if it serves nobody.
    pub fn write(&mut self, id: i64) -> bool {
        let (sid, now) = (Sid(id), self.time());
        let waits = self.waits();
        let number = self.next_number;
        let member = self.members.get_mut(&sid).unwrap();
        let Some(peer) = &mut member.peer else { return false };
        let state = peer.state();
        if !state.serving || state.phase == Phase::Leading && waits(peer) {
            return false;
        }
        self.next_number += 1;
        if state.phase == Phase::Leading {
            let (zxid, payload) = member.replica.make(number);
            peer.proposed(zxid, &payload, now);
        } else {
            member.next_xid += 1;
            peer.forward(Forwarded {
                session: SessionId(id),
                xid: Xid(member.next_xid),
                op: Op::SetData,
                ids: Vec::new(),
                body: number.to_be_bytes().to_vec(),
            });
        }
        self.settle(sid);
        true
    }

    /// An operator gives the ensemble these voters; everybody else observes. False if the leader refuses.
    pub fn reconfigure(&mut self, leader: i64, voters: &BTreeSet<i64>) -> bool {
        let sid = Sid(leader);
        let (now, waits) = (self.time(), self.waits());
        let member = self.members.get_mut(&sid).unwrap();
        let Some(peer) = &mut member.peer else { return false };
        if !peer.state().serving || peer.state().phase != Phase::Leading {
            return false;
        }
        let lines = self.view.members().iter().map(|(sid, member)| {
            let text = member.to_string();
            let (head, tail) = text.split_once(';').unwrap_or((&text, "10.0.0.9:2181"));
            let place = head.rsplit_once(':').unwrap().0;
            let role = if voters.contains(&sid.0) { "participant" } else { "observer" };
            format!("server.{sid}={place}:{role};{tail}")
        });
        let text = lines.collect::<Vec<_>>().join(",");
        let asked = Reconfig { joining: None, leaving: None, members: Some(text.into()), from: -1 };
        let zxid = member.replica.last_logged().next();
        if waits(peer) {
            return false;
        }
        let Ok(text) = peer.plan_reconfig(&asked, zxid) else { return false };
        let header = TxnHeader { session: SessionId(0), cxid: Xid(0), zxid, time: now.wall, op: Op::Reconfig };
        let mut payload = Vec::new();
        header.encode(&mut payload);
        let data = Some(text.clone().into_bytes().into());
        Txn::SetData { path: "/zookeeper/config".into(), data, version: 1 }.encode(&mut payload);
        let payload: Payload = payload.into();
        if self.trace {
            eprintln!("{} {sid} PROPOSED VIEW {zxid} {voters:?}", self.now);
        }
        self.proposed_views.insert(zxid, QuorumView::parse(&text).unwrap());
        member.replica.append(zxid, payload.clone());
        peer.proposed(zxid, &payload, now);
        self.settle(sid);
        true
    }

    /// An operator wants another than this member to lead.
    pub fn hand_over(&mut self, id: i64) -> Option<HandOver> {
        let now = self.time();
        let outcome = self.members.get_mut(&Sid(id)).unwrap().peer.as_mut()?.hand_over(now);
        self.settle(Sid(id));
        Some(outcome)
    }

    /// A client of this member asks for a sync.
    pub fn sync(&mut self, id: i64) {
        let reached = self.chosen.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        let member = self.members.get_mut(&Sid(id)).unwrap();
        let Some(peer) = &mut member.peer else { return };
        let state = peer.state();
        if state.serving && state.phase != Phase::Leading {
            peer.sync();
            member.syncs.push_back(reached);
            self.settle(Sid(id));
        }
    }

    // --- time

    /// The next thing happens, or `end` comes.
    pub fn step(&mut self, end: i64) {
        enum Next {
            Nothing,
            Deadline(Sid),
            Disk(Sid),
            Oracle(Sid),
            Bytes(LinkId),
            End(LinkId),
            Attempt(usize),
        }
        let mut next = (end, Next::Nothing);
        let mut consider = |at: i64, what: Next| {
            if at < next.0 {
                next = (at, what);
            }
        };
        for (&sid, member) in &self.members {
            if let Some(peer) = &member.peer {
                consider(peer.next_deadline().0, Next::Deadline(sid));
            }
            if let Some((at, _)) = member.disk_at {
                consider(at, Next::Disk(sid));
            }
            if let Some((at, _)) = member.oracle_at {
                consider(at, Next::Oracle(sid));
            }
        }
        for (&id, link) in &self.links {
            if self.is_cut(link.owner, link.other) {
                continue;
            }
            if let Some((at, _)) = link.inbound.front() {
                consider(*at, Next::Bytes(id));
            } else if let Some(at) = link.ends_at {
                consider(at, Next::End(id));
            }
        }
        for (index, attempt) in self.attempts.iter().enumerate() {
            let at = if self.is_cut(attempt.from, attempt.to) { attempt.gives_up } else { attempt.at };
            consider(at, Next::Attempt(index));
        }
        self.now = self.now.max(next.0);
        let now = self.time();
        match next.1 {
            Next::Nothing => {}
            Next::Deadline(sid) => self.call(sid, |peer, replica| peer.tick(replica, now)),
            Next::Disk(sid) => {
                let member = self.members.get_mut(&sid).unwrap();
                let (_, length) = member.disk_at.take().expect("it was waited for");
                // It may have been cut meanwhile.
                member.replica.durable_len = member.replica.durable_len.max(length.min(member.replica.log.len()));
                self.call(sid, |peer, replica| peer.durable(replica.durable(), replica, now));
            }
            Next::Oracle(sid) => {
                let member = self.members.get_mut(&sid).unwrap();
                let (_, question) = member.oracle_at.take().expect("it was waited for");
                if let Some(yes) = member.oracle {
                    member.granted = yes;
                    self.call(sid, |peer, replica| peer.oracle_says(question, yes, replica, now));
                }
            }
            Next::Bytes(id) => self.deliver(id),
            Next::End(id) => {
                let link = self.links.remove(&id).expect("it is there");
                if !link.deaf {
                    self.call(link.owner, |peer, replica| peer.closed(id, replica, now));
                }
            }
            Next::Attempt(index) => self.connect(index),
        }
    }

    fn deliver(&mut self, id: LinkId) {
        let now = self.time();
        let link = self.links.get_mut(&id).expect("it is there");
        let (_, mut bytes) = link.inbound.pop_front().expect("there was something");
        let (owner, other, twin, deaf) = (link.owner, link.other, link.twin, link.deaf);
        if deaf {
            return;
        }
        // A stream has no pieces: they come as they please.
        if bytes.len() > 1 && self.dice.chance(20) {
            let at = 1 + self.dice.below(bytes.len() as u64 - 1) as usize;
            let rest = bytes.split_off(at);
            self.links.get_mut(&id).unwrap().inbound.push_front((self.now, rest));
        }
        let unsent: usize = self.links[&id].inbound.iter().map(|(_, bytes)| bytes.len()).sum();
        self.call(owner, |peer, replica| peer.received(id, &bytes, replica, now));
        if self.links.get(&twin).is_some_and(|twin| !twin.deaf) {
            self.call(other, |peer, replica| peer.drained(twin, unsent, replica, now));
        }
    }

    fn connect(&mut self, index: usize) {
        let now = self.time();
        let Attempt { from, to, port, ticket, .. } = self.attempts.remove(index);
        let answers = |member: &Member| member.peer.is_some() && (port != Port::Observers || member.listens);
        let up = self.members.get(&to).is_some_and(answers);
        if !up || self.is_cut(from, to) {
            self.call(from, |peer, replica| peer.connect_failed(ticket, "nobody answers", replica, now));
            return;
        }
        let (here, there) = (LinkId(self.next_link), LinkId(self.next_link + 1));
        self.next_link += 2;
        let link = |owner, other, twin, initiator| Link {
            owner,
            other,
            twin,
            port,
            initiator,
            inbound: VecDeque::new(),
            ends_at: None,
            deaf: false,
            written: Vec::new(),
            opaque: false,
        };
        self.links.insert(here, link(from, to, there, true));
        self.links.insert(there, link(to, from, here, false));
        self.call(to, |peer, replica| peer.accepted(port, there, replica, now));
        self.call(from, |peer, replica| peer.connected(ticket, here, replica, now));
    }

    fn call(&mut self, sid: Sid, act: impl FnOnce(&mut Peer, &mut Memory)) {
        let member = self.members.get_mut(&sid).unwrap();
        if let Some(peer) = &mut member.peer {
            act(peer, &mut member.replica);
            self.settle(sid);
        }
    }

    /// Whether a leader's sequencer waits. It must before a next epoch, and had better before a hand-over: there some worlds are hasty.
    fn waits(&self) -> fn(&Peer) -> bool {
        if self.settings.rollover_counter < 0xFFFF_0000 { Peer::holds_writes } else { |_| false }
    }

    /// Carries out what a member wants, and looks at what it did.
    fn settle(&mut self, sid: Sid) {
        let now = self.time();
        let waits = self.waits();
        let member = self.members.get_mut(&sid).unwrap();
        let peer = member.peer.as_mut().expect("it runs");
        assert_eq!(peer.failed(), None, "seed {}: {sid} failed", self.seed);
        // The sequencer takes what learners asked for.
        if peer.state().phase == Phase::Leading {
            while !waits(peer)
                && let Some((from, request)) = member.replica.asked.pop_front()
            {
                match request {
                    Some(request) => {
                        let number = u64::from_be_bytes(request.body[..8].try_into().unwrap());
                        let (zxid, payload) = member.replica.make(number);
                        peer.proposed(zxid, &payload, now);
                    }
                    None => peer.sync_reached(from, member.replica.last_logged()),
                }
            }
        }
        for effect in peer.effects() {
            if self.trace {
                eprintln!("{} {sid} {effect:?}", self.now);
            }
            self.act(sid, effect);
        }
        let member = self.members.get_mut(&sid).unwrap();
        if member.disk_at.is_none() && member.replica.durable_len < member.replica.log.len() {
            let at = self.now + 1 + self.dice.below(self.disk_ms) as i64;
            member.disk_at = Some((at, member.replica.log.len()));
        }
        self.check(sid);
    }

    fn act(&mut self, sid: Sid, effect: Effect) {
        let delay = 1 + self.dice.below(self.delay_ms) as i64;
        match effect {
            Effect::Connect { ticket, peer, port, timeout_ms, .. } => self.attempts.push(Attempt {
                from: sid,
                to: peer,
                port,
                ticket,
                at: self.now + delay,
                gives_up: self.now + timeout_ms,
            }),
            Effect::Forget(ticket) => self.attempts.retain(|attempt| (attempt.from, attempt.ticket) != (sid, ticket)),
            Effect::Send { link, bytes } => {
                let Some(own) = self.links.get_mut(&link) else { return };
                assert!(own.owner == sid && !own.deaf, "seed {}: {sid} sends on a link that it closed", self.seed);
                let (twin, port, initiator) = (own.twin, own.port, own.initiator);
                if port != Port::Election {
                    own.written.extend_from_slice(&bytes);
                    if initiator {
                        self.check_acks(sid, link);
                    } else {
                        self.count_packets(link);
                    }
                }
                if let Some(twin) = self.links.get_mut(&twin) {
                    let last = twin.inbound.back().map_or(0, |(at, _)| *at);
                    twin.inbound.push_back(((self.now + delay).max(last), bytes));
                }
            }
            Effect::Listen(places) => {
                self.members.get_mut(&sid).unwrap().listens = !places.is_empty();
            }
            Effect::Close(link) => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.deaf = true;
                }
                self.hang_up(link);
            }
            Effect::AskOracle(question) => {
                self.members.get_mut(&sid).unwrap().oracle_at = Some((self.now + delay, question));
            }
        }
    }

    // --- what must hold

    /// Nothing is acknowledged that is not durable.
    fn check_acks(&mut self, sid: Sid, link: LinkId) {
        let replica = &self.members[&sid].replica;
        let written = &mut self.links.get_mut(&link).unwrap().written;
        let mut read = 0;
        while let Some((packet, size)) = Packet::take(&written[read..], 1 << 20).unwrap() {
            read += size;
            if packet.kind == kind::NEXT_EPOCH {
                let accepted = replica.accepted;
                assert!(accepted >= packet.zxid.0 >> 32, "seed {}: {sid} promised an epoch unwritten", self.seed);
            }
            if packet.kind != kind::ACK && packet.kind != kind::ENTER_EPOCH {
                continue;
            }
            if packet.zxid.counter() == 0 {
                let epoch = packet.zxid.0 >> 32;
                assert_eq!(replica.current, epoch, "seed {}: {sid} acknowledged an epoch unwritten", self.seed);
            } else {
                assert!(replica.has_durably(packet.zxid), "seed {}: {sid} acknowledged {}", self.seed, packet.zxid);
            }
        }
        written.drain(..read);
    }

    fn count_packets(&mut self, link: LinkId) {
        let own = self.links.get_mut(&link).unwrap();
        let written = &mut own.written;
        if own.opaque {
            return;
        }
        let mut read = 0;
        while let Ok(Some((packet, size))) = Packet::take(&written[read..], 1 << 20) {
            *self.sent.entry(packet.kind).or_default() += 1;
            read += size;
            if packet.kind == kind::SNAP {
                self.links.get_mut(&link).unwrap().opaque = true;
                return;
            }
        }
        written.drain(..read);
    }

    fn check(&mut self, sid: Sid) {
        let seed = self.seed;
        let member = self.members.get_mut(&sid).unwrap();
        let told = member.replica.told[member.seen..].to_vec();
        member.seen = member.replica.told.len();
        for event in told {
            if self.trace {
                eprintln!("{} {sid} TOLD {event:?}", self.now);
            }
            match event {
                Told::Lead(epoch) => {
                    let other = *self.leaders.entry(epoch).or_insert(sid);
                    assert_eq!(other, sid, "seed {seed}: two leaders of epoch {epoch}");
                    let member = self.members.get_mut(&sid).unwrap();
                    self.rolled += usize::from(std::mem::replace(&mut member.leads, true));
                    let first = Zxid(epoch << 32);
                    self.check_final(sid, first);
                    // The last word of a quorum may reach a leader when later epochs have begun: of theirs it knows nothing.
                    let before = self.chosen.iter().take_while(|(zxid, _)| i64::from(zxid.epoch()) < epoch).count();
                    let mine = self.members[&sid].replica.all().filter(|(zxid, _)| *zxid <= first).count();
                    assert_eq!(mine, before, "seed {seed}: {sid} leads epoch {epoch} without all that was final");
                }
                Told::Commit(zxid) => self.check_final(sid, zxid),
                Told::Truncate(to) => {
                    let last = self.chosen.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                    let kept = self.members[&sid].replica.all().next_back().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                    let lost = self.chosen.iter().any(|(zxid, _)| *zxid > kept && *zxid <= self.members[&sid].shown);
                    assert!(!lost, "seed {seed}: {sid} went back to {to} behind what it had shown (chosen: {last})");
                }
                Told::FinishSnapshot => {
                    let replica = &self.members[&sid].replica;
                    let mine: Vec<Zxid> = replica.base.iter().map(|(zxid, _)| *zxid).collect();
                    let want: Vec<Zxid> =
                        self.chosen.iter().map(|(zxid, _)| *zxid).filter(|zxid| *zxid <= replica.base_zxid).collect();
                    // Behind what is final the end of the leader's history may stand in it, which may yet become so.
                    let (shared, tail) = mine.split_at(want.len().min(mine.len()));
                    assert_eq!(shared, want, "seed {seed}: {sid} took a snapshot with something else");
                    let last = self.chosen.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                    assert!(
                        tail.iter().all(|zxid| *zxid > last),
                        "seed {seed}: {sid} took {tail:?}, which {last} is beyond"
                    );
                }
                Told::Activated(version) if self.trace => {
                    eprintln!("{} {sid} ACTIVATED {version:x}", self.now);
                }
                Told::Synced => {
                    let member = self.members.get_mut(&sid).unwrap();
                    let reached = member.syncs.pop_front().expect("a sync was asked for");
                    assert!(member.replica.final_to >= reached, "seed {seed}: {sid} is synchronised too early");
                }
                Told::Stop => {
                    let member = self.members.get_mut(&sid).unwrap();
                    member.syncs.clear();
                    member.leads = false;
                }
                _ => {}
            }
        }
    }

    /// What is final here is the beginning of what is final anywhere, or goes on from there; and a quorum has it durably.
    fn check_final(&mut self, sid: Sid, upto: Zxid) {
        let seed = self.seed;
        let member = &self.members[&sid];
        let leads = member.leads;
        let mine: Vec<(Zxid, Payload)> = member.replica.all().filter(|(zxid, _)| *zxid <= upto).cloned().collect();
        for (index, have) in mine.iter().enumerate() {
            match self.chosen.get(index) {
                Some(chosen) => assert_eq!(chosen, have, "seed {seed}: {sid} has another transaction {index} as final"),
                None => {
                    let holders = self.members.iter().filter(|(_, member)| member.replica.has_durably(have.0));
                    let holders: BTreeSet<Sid> = holders.map(|(&sid, _)| sid).collect();
                    let next = self.proposed_views.get(&have.0);
                    // Who does not lead knows it before its leader only by its own vote.
                    let votes = holders.contains(&sid) && next.is_none();
                    assert!(leads || votes, "seed {seed}: {sid} takes {} for final before its leader", have.0);
                    let views = std::iter::once(&self.view_in_force).chain(next);
                    let enough = views.into_iter().all(|view| {
                        let alone = view.is_one_of_two(sid) && member.granted && holders.contains(&sid);
                        alone || view.verifier().is_quorum(&holders)
                    });
                    let voters = self.view_in_force.voters();
                    let also = next.map(QuorumView::voters);
                    assert!(
                        enough,
                        "seed {seed}: {} is final, {holders:?} have it, {voters:?} vote, {also:?} next",
                        have.0
                    );
                    if let Some(next) = next {
                        self.view_in_force = next.clone();
                        if self.trace {
                            eprintln!("{} {sid} FINAL VIEW {} {:?}", self.now, have.0, next.voters());
                        }
                        self.reconfigured += 1;
                    }
                    self.chosen.push(have.clone());
                }
            }
        }
        let member = self.members.get_mut(&sid).unwrap();
        if let Some((zxid, _)) = mine.last() {
            member.shown = member.shown.max(*zxid);
        }
    }
}
