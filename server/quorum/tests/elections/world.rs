//! A small world for electors: links with delays, refusals, breaks and partitions, under one seed and virtual time; and beside each elector the
//! little of a member that makes elections end: who follows a leader that does not lead him looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::{Millis, Sid, Zxid};
use quorum::effect::{Effect, LinkId, Ticket};
use quorum::elector::{Elector, ElectorSettings, ServerState, Vote};
use quorum::view::QuorumView;

/// A member that finds itself alone looks again after this long.
const PATIENCE_MS: i64 = 1_000;

/// Numbers that look random.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// 0 to `sides` - 1.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

pub struct Node {
    pub elector: Option<Elector>,
    pub view: Arc<QuorumView>,
    pub zxid: i64,
    pub epoch: i64,
    pub state: ServerState,
    pub vote: Option<Vote>,
    /// How many elections it has decided.
    pub decisions: usize,
    alone_since: Option<i64>,
}

#[derive(Clone, Copy)]
struct End {
    node: i64,
    peer: i64,
    other: LinkId,
    /// Nothing overtakes.
    last_arrival: i64,
}

enum Event {
    /// For the n-th time, as kernels do: after one second, two, four.
    Connect {
        from: i64,
        to: i64,
        ticket: Ticket,
        tries: u32,
    },
    Connected {
        node: i64,
        ticket: Ticket,
        link: LinkId,
    },
    Failed {
        node: i64,
        ticket: Ticket,
    },
    Accepted {
        link: LinkId,
    },
    Bytes {
        link: LinkId,
        bytes: Vec<u8>,
    },
    Closed {
        link: LinkId,
    },
}

pub struct World {
    pub now: i64,
    pub dice: Dice,
    pub nodes: BTreeMap<i64, Node>,
    /// Delay of everything, in milliseconds: at least and at most.
    pub delay_ms: (i64, i64),
    /// Pairs that do not hear each other, the lesser id first.
    pub blocked: BTreeSet<(i64, i64)>,
    /// Members look again when they find themselves alone.
    pub members_live: bool,
    /// Bytes are handed over in pieces of random lengths.
    pub cut_bytes: bool,
    pub messages: usize,
    pub connects: usize,
    /// How often a server heard that its leader does not lead.
    pub desertions: usize,
    ends: BTreeMap<LinkId, End>,
    events: BTreeMap<(i64, u64), Event>,
    held: Vec<Event>,
    pub swallowed: BTreeSet<LinkId>,
    next: u64,
}

pub fn servers(voters: i64, observers: i64) -> String {
    let line = |sid: i64, role| format!("server.{sid}=h{sid}:2888:3888:{role}\n");
    let voters_text: String = (1..=voters).map(|sid| line(sid, "participant")).collect();
    let observers_text: String = (voters + 1..=voters + observers).map(|sid| line(sid, "observer")).collect();
    voters_text + &observers_text
}

impl World {
    /// Nobody has started yet.
    pub fn new(seed: u64, config: &str) -> World {
        let view = Arc::new(QuorumView::parse(config).expect("a configuration"));
        let mut world = World {
            now: 0,
            dice: Dice::new(seed),
            nodes: BTreeMap::new(),
            delay_ms: (1, 1),
            blocked: BTreeSet::new(),
            members_live: true,
            cut_bytes: false,
            messages: 0,
            connects: 0,
            desertions: 0,
            ends: BTreeMap::new(),
            events: BTreeMap::new(),
            held: Vec::new(),
            swallowed: BTreeSet::new(),
            next: 1,
        };
        for sid in view.members().keys() {
            world.add(sid.0, view.clone());
        }
        world
    }

    pub fn add(&mut self, id: i64, view: Arc<QuorumView>) {
        let state = ServerState::Looking;
        let node = Node { elector: None, view, zxid: 0, epoch: 0, state, vote: None, decisions: 0, alone_since: None };
        self.nodes.insert(id, node);
    }

    pub fn node(&mut self, id: i64) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node")
    }

    pub fn elector(&mut self, id: i64) -> &mut Elector {
        self.node(id).elector.as_mut().expect("a running node")
    }

    pub fn start(&mut self, id: i64) {
        let now = Millis(self.now);
        let node = self.node(id);
        assert!(node.elector.is_none(), "it runs");
        node.elector = Some(Elector::new(ElectorSettings::new(Sid(id)), node.view.clone(), now));
        self.look(id);
    }

    pub fn start_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.start(id);
        }
    }

    pub fn look(&mut self, id: i64) {
        let now = Millis(self.now);
        let node = self.node(id);
        node.state = ServerState::Looking;
        node.vote = None;
        node.alone_since = None;
        let (zxid, epoch) = (Zxid(node.zxid), node.epoch);
        self.elector(id).look(zxid, epoch, now);
        self.after(id);
    }

    /// The process dies; the kernel closes its links.
    pub fn kill(&mut self, id: i64) {
        let node = self.node(id);
        node.elector = None;
        node.state = ServerState::Looking;
        node.vote = None;
        let mine: Vec<LinkId> = self.ends.iter().filter(|(_, end)| end.node == id).map(|(link, _)| *link).collect();
        for link in mine {
            self.close(link);
        }
    }

    /// A link between these breaks, and both see it.
    pub fn break_link(&mut self, a: i64, b: i64) {
        let of = |end: &End| (end.node, end.peer) == (a, b) || (end.node, end.peer) == (b, a);
        let links: Vec<LinkId> = self.ends.iter().filter(|(_, end)| of(end)).map(|(link, _)| *link).collect();
        for link in links {
            self.schedule(0, Event::Closed { link });
        }
    }

    pub fn block(&mut self, a: i64, b: i64) {
        self.blocked.insert((a.min(b), a.max(b)));
    }

    /// From now on, what is sent over the links between these vanishes without a trace; new links are sound.
    pub fn swallow(&mut self, a: i64, b: i64) {
        let of = |end: &End| (end.node, end.peer) == (a, b) || (end.node, end.peer) == (b, a);
        let links = self.ends.iter().filter(|(_, end)| of(end)).map(|(link, _)| *link);
        self.swallowed.extend(links);
    }

    /// Partitions end, but the links that they met lead nowhere any more.
    pub fn heal_without_links(&mut self) {
        for (a, b) in std::mem::take(&mut self.blocked) {
            self.swallow(a, b);
        }
        self.held.clear();
    }

    /// What was held is delivered: the senders' kernels try again.
    pub fn heal(&mut self) {
        self.blocked.clear();
        for event in std::mem::take(&mut self.held) {
            let delay = 1 + self.dice.roll(3) as i64;
            // In the order in which they were sent, per link.
            let link = match &event {
                Event::Bytes { link, .. } | Event::Closed { link } | Event::Accepted { link } => Some(*link),
                _ => None,
            };
            let at = self.in_order(link, self.now + delay);
            self.next += 1;
            self.events.insert((at, self.next), event);
        }
    }

    /// Time passes until then, or until `done`.
    pub fn run_until(&mut self, end: i64, mut done: impl FnMut(&World) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let event_at = self.events.keys().next().map(|(at, _)| *at);
            let deadlines = self.nodes.values().filter_map(|node| node.elector.as_ref()?.next_deadline());
            let deadline = deadlines.map(|at| at.0.max(self.now)).min();
            let patience = if self.members_live { Some(self.now - self.now % 50 + 50) } else { None };
            let Some(next) = [event_at, deadline, patience].into_iter().flatten().min().filter(|at| *at <= end) else {
                self.now = end;
                return done(self);
            };
            self.now = next;
            if event_at == Some(next) {
                let (_, event) = self.events.pop_first().expect("the first event");
                self.apply(event);
                continue;
            }
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                let now = Millis(self.now);
                let node = self.node(id);
                let Some(elector) = &mut node.elector else { continue };
                if elector.next_deadline().is_some_and(|at| at <= now) {
                    elector.tick(now);
                    let again = elector.next_deadline();
                    assert!(again.is_none_or(|at| at > now), "a deadline of server {id} stays in the past");
                    self.after(id);
                }
                self.live(id);
            }
        }
    }

    pub fn run_ms(&mut self, ms: i64) {
        let end = self.now + ms;
        self.run_until(end, |_| false);
    }

    /// Runs until all running servers follow one leader that leads; how long that took.
    pub fn run_to_agreement(&mut self, within_ms: i64) -> i64 {
        let begin = self.now;
        let agreed = self.run_until(begin + within_ms, |world| world.agreed().is_some());
        assert!(agreed, "no agreement within {within_ms} ms: {}", self.describe());
        self.now - begin
    }

    /// The leader whom all running servers follow.
    pub fn agreed(&self) -> Option<i64> {
        let mut running = self.nodes.iter().filter(|(_, node)| node.elector.is_some());
        let leader = running.clone().find_map(|(id, node)| (node.state == ServerState::Leading).then_some(*id))?;
        let follows = |(id, node): (&i64, &Node)| {
            let state = match (*id == leader, node.view.is_voter(Sid(*id))) {
                (true, _) => ServerState::Leading,
                (false, true) => ServerState::Following,
                (false, false) => ServerState::Observing,
            };
            node.state == state && node.vote.is_some_and(|vote| vote.leader == Sid(leader))
        };
        running.all(follows).then_some(leader)
    }

    pub fn describe(&self) -> String {
        let one = |(id, node): (&i64, &Node)| format!("{id}: {:?} {:?}", node.state, node.vote);
        self.nodes.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// How many links a server's elector has.
    pub fn links_of(&self, id: i64) -> Vec<i64> {
        let elector = self.nodes[&id].elector.as_ref().expect("running");
        let mine = self.ends.iter().filter(|(link, end)| end.node == id && elector.owns(**link));
        mine.map(|(_, end)| end.peer).collect()
    }

    /// The end of a server's link to another.
    pub fn link_to(&self, id: i64, peer: i64) -> Option<LinkId> {
        let elector = self.nodes[&id].elector.as_ref().expect("running");
        let leads = |(link, end): &(&LinkId, &End)| end.node == id && end.peer == peer && elector.owns(**link);
        self.ends.iter().find(leads).map(|(link, _)| *link)
    }

    /// A connection that somebody who is no elector makes to a server; returns the far end.
    pub fn stranger(&mut self, to: i64) -> LinkId {
        let (near, far) = self.pair(to, -99);
        self.schedule(0, Event::Accepted { link: near });
        far
    }

    /// Sends from a far end made by `stranger`.
    pub fn push(&mut self, far: LinkId, bytes: &[u8]) {
        let other = self.ends[&far].other;
        self.schedule(0, Event::Bytes { link: other, bytes: bytes.to_vec() });
    }

    pub fn is_open(&self, far: LinkId) -> bool {
        self.ends.contains_key(&far)
    }

    fn pair(&mut self, node: i64, peer: i64) -> (LinkId, LinkId) {
        let (a, b) = (LinkId(self.next), LinkId(self.next + 1));
        self.next += 2;
        self.ends.insert(a, End { node, peer, other: b, last_arrival: 0 });
        self.ends.insert(b, End { node: peer, peer: node, other: a, last_arrival: 0 });
        (a, b)
    }

    fn is_blocked(&self, a: i64, b: i64) -> bool {
        self.blocked.contains(&(a.min(b), a.max(b)))
    }

    fn delay(&mut self) -> i64 {
        let (least, most) = self.delay_ms;
        least + self.dice.roll((most - least + 1) as u64) as i64
    }

    fn in_order(&mut self, link: Option<LinkId>, at: i64) -> i64 {
        let Some(end) = link.and_then(|link| self.ends.get_mut(&link)) else { return at };
        end.last_arrival = end.last_arrival.max(at);
        end.last_arrival
    }

    fn schedule(&mut self, extra: i64, event: Event) {
        let at = self.now + extra + self.delay();
        let link = match &event {
            Event::Bytes { link, .. } | Event::Closed { link } | Event::Accepted { link } => Some(*link),
            _ => None,
        };
        let at = self.in_order(link, at);
        self.next += 1;
        self.events.insert((at, self.next), event);
    }

    /// The near end is gone; the far end will hear of it.
    fn close(&mut self, link: LinkId) {
        if let Some(end) = self.ends.remove(&link) {
            self.schedule(0, Event::Closed { link: end.other });
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Connect { from, to, ticket, tries } => {
                if self.is_blocked(from, to) {
                    let (wait_ms, event) = match tries {
                        0 | 1 => (1_000 << tries, Event::Connect { from, to, ticket, tries: tries + 1 }),
                        _ => (2_000, Event::Failed { node: from, ticket }),
                    };
                    self.next += 1;
                    self.events.insert((self.now + wait_ms, self.next), event);
                } else if self.nodes.get(&to).is_some_and(|node| node.elector.is_some()) {
                    let (near, far) = self.pair(from, to);
                    let now = Millis(self.now);
                    self.elector(to).accepted(far, now);
                    self.after(to);
                    self.schedule(0, Event::Connected { node: from, ticket, link: near });
                } else {
                    self.schedule(0, Event::Failed { node: from, ticket });
                }
            }
            Event::Connected { node, ticket, link } => {
                let now = Millis(self.now);
                let broken = !self.ends.contains_key(&link);
                match self.node(node).elector.as_mut().filter(|elector| elector.owns_ticket(ticket)) {
                    Some(elector) => {
                        elector.connected(ticket, link, now);
                        if broken {
                            elector.closed(link, now);
                        }
                        self.after(node);
                    }
                    None => self.close(link),
                }
            }
            Event::Failed { node, ticket } => {
                let now = Millis(self.now);
                if let Some(elector) = &mut self.node(node).elector {
                    elector.connect_failed(ticket, now);
                    self.after(node);
                }
            }
            Event::Accepted { link } => {
                let (now, node) = (Millis(self.now), self.ends[&link].node);
                self.elector(node).accepted(link, now);
                self.after(node);
            }
            Event::Bytes { link, bytes } => {
                let Some(end) = self.ends.get(&link).copied() else { return };
                if self.swallowed.contains(&link) {
                    return;
                }
                if self.is_blocked(end.node, end.peer) {
                    self.held.push(Event::Bytes { link, bytes });
                    return;
                }
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let length =
                        if self.cut_bytes { 1 + self.dice.roll(rest.len() as u64) as usize } else { rest.len() };
                    let (piece, more) = rest.split_at(length);
                    rest = more;
                    let now = Millis(self.now);
                    let Some(node) = self.nodes.get_mut(&end.node) else { return };
                    let Some(elector) = &mut node.elector else { return };
                    if !elector.owns(link) {
                        return;
                    }
                    elector.received(link, piece, now);
                    self.after(end.node);
                }
            }
            Event::Closed { link } => {
                let Some(end) = self.ends.get(&link).copied() else { return };
                if self.swallowed.contains(&link) {
                    return;
                }
                if self.is_blocked(end.node, end.peer) {
                    self.held.push(Event::Closed { link });
                    return;
                }
                self.ends.remove(&link);
                let now = Millis(self.now);
                if let Some(elector) = self.nodes.get_mut(&end.node).and_then(|node| node.elector.as_mut()) {
                    elector.closed(link, now);
                    self.after(end.node);
                }
            }
        }
    }

    /// Carries out what an elector wants, and settles what it decided.
    fn after(&mut self, id: i64) {
        let node = self.node(id);
        let Some(elector) = &mut node.elector else { return };
        if let Some(vote) = elector.outcome() {
            node.state = match (vote.leader == Sid(id), node.view.is_voter(Sid(id))) {
                (true, _) => ServerState::Leading,
                (false, true) => ServerState::Following,
                (false, false) => ServerState::Observing,
            };
            node.vote = Some(vote);
            node.decisions += 1;
            elector.settle(node.state, vote);
            assert_eq!(elector.outcome(), None, "a decision is told once");
        }
        if elector.deserted() {
            self.desertions += 1;
            self.look(id);
            return;
        }
        let effects: Vec<Effect> = elector.effects().collect();
        for effect in effects {
            match effect {
                Effect::Connect { ticket, peer, addresses, .. } => {
                    self.connects += 1;
                    assert_eq!(addresses[0].host, format!("h{peer}"));
                    self.schedule(0, Event::Connect { from: id, to: peer.0, ticket, tries: 0 });
                }
                Effect::Forget(_) | Effect::Listen(_) => {}
                Effect::Send { link, bytes } => {
                    self.messages += 1;
                    if let Some(end) = self.ends.get(&link).copied() {
                        self.schedule(0, Event::Bytes { link: end.other, bytes });
                    }
                }
                Effect::Close(link) => self.close(link),
                Effect::AskOracle(_) => unreachable!("it is the peer that asks"),
            }
        }
    }

    /// The rest of a member: a leader needs a quorum of followers, a follower a leader, or they look again.
    fn live(&mut self, id: i64) {
        if !self.members_live {
            return;
        }
        let node = &self.nodes[&id];
        let Some(vote) = node.vote else { return };
        let follows = |other: &i64| {
            let node = &self.nodes[other];
            let reaches = *other == id || !self.is_blocked(*other, id);
            reaches && node.elector.is_some() && node.vote.is_some_and(|their| their.leader == Sid(id))
        };
        let well = if node.state == ServerState::Leading {
            let with: BTreeSet<Sid> = self.nodes.keys().filter(|other| follows(other)).map(|id| Sid(*id)).collect();
            node.view.verifier().is_quorum(&with)
        } else {
            let leader = &self.nodes[&vote.leader.0];
            leader.elector.is_some() && leader.state == ServerState::Leading && !self.is_blocked(id, vote.leader.0)
        };
        let now = self.now;
        let node = self.node(id);
        if well {
            node.alone_since = None;
        } else if now - *node.alone_since.get_or_insert(now) >= PATIENCE_MS {
            self.look(id);
        }
    }
}
