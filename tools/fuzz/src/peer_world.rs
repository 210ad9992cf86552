//! One member of an ensemble, and peers that say whatever the input says, on several links at once.
//!
//! The first byte says who the member is (low two bits), whether it has a history (4) and whether configurations change (8).
//! Each further piece begins with a byte: its low two bits are the place of a link, the next four what happens:
//!
//! | | |
//! |---|---|
//! | 0 | the rest is sent as it is |
//! | 1 | the same in chunks, as long as the first byte says |
//! | 2, 3 | somebody connects to the election port, to the quorum port; what was at that place is closed |
//! | 4 | the oldest attempt of the member becomes this link, or fails if the next byte is odd |
//! | 5 | the other side closes the link |
//! | 6 | an introduction: id, and the address as text |
//! | 7 | a notification: state, leader, epoch and counter of its zxid, election epoch, peer epoch, one byte each; a configuration |
//! | 8 | a packet: type, epoch and counter of its zxid, one byte each; its data |
//! | 9 | the same, with a transaction of that zxid as data |
//! | 10 | time passes, by the rest as milliseconds |
//! | 11 | the disk has written everything |
//! | 12 | as leader a transaction is made; as learner a client writes, syncs, or comes back |
//! | 13 | what is sent on this link no longer leaves, or leaves again |
//! | 14 | the sequencer takes what learners have asked for |
//! | 15 | the process begins anew with what its disk has |
//!
//! The member keeps to what `Peer` promises to the world, sends nothing to nobody, holds no more than it may for a peer that does not read,
//! says one line of each link that it closes, and looks for a leader again when everybody has gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pipeline::Now;
use proto::{Millis, Op, SessionId, Sid, Xid, Zxid};
use quorum::Peer;
use quorum::effect::{Effect, HostPort, LinkId, Port, Ticket};
use quorum::election::{Ballot, ServerState, Vote};
use quorum::notification::{self, Introduction};
use quorum::packet;
use quorum::peer::{PeerSettings, Phase};
use quorum::replica::{Forwarded, Replica};
use quorum::view::QuorumView;

use crate::lines;
use crate::memory::{Memory, txn};
use crate::pieces::{pieces, tagged};

const PIECES_MAX: usize = 96;
const VIEW: &str = "server.1=10.0.0.1:2888:3888:participant\nserver.2=10.0.0.2:2888:3888:participant\n\
                    server.3=10.0.0.3:2888:3888:observer\nserver.4=10.0.0.4:2888:3888:participant\nversion=0";
/// What may wait for one link.
const UNSENT_BYTES_MAX: usize = 256 << 10;
/// A packet's data.
const DATA_BYTES_MAX: usize = 16 << 10;
/// Lines that one chunk may cause, besides one for each link that is closed: a leader begins or ends.
const LINES_MAX: usize = 4;

/// Fuzz target.
pub fn peer(input: &[u8]) {
    lines::keeping(|| play(input));
}

fn play(input: &[u8]) {
    let Some((&scene, rest)) = input.split_first() else { return };
    let mut scene = Scene::new(scene);
    for piece in pieces(rest).into_iter().take(PIECES_MAX) {
        let Some((tag, rest)) = tagged(piece) else { continue };
        scene.piece(usize::from(tag & 3), tag >> 2 & 15, rest);
    }
    for place in 0..4 {
        scene.end(place);
    }
    scene.pass(15_000);
    assert_eq!(scene.peer.state().phase, Phase::Looking, "everybody has gone");
    assert!(scene.open.is_empty(), "links of nobody: {:?}", scene.open);
}

/// A link that the member has.
#[derive(Debug, Default)]
struct Link {
    /// Nothing leaves.
    stuck: bool,
    unsent_bytes: usize,
}

struct Scene {
    settings: PeerSettings,
    peer: Peer,
    replica: Memory,
    now: i64,
    places: [Option<LinkId>; 4],
    open: BTreeMap<LinkId, Link>,
    attempts: VecDeque<Ticket>,
    tickets: BTreeSet<Ticket>,
    next_link: u64,
    closed: usize,
    /// Observers are accepted.
    listens: bool,
}

impl Scene {
    fn new(scene: u8) -> Scene {
        let id = Sid([2, 1, 3, 4][usize::from(scene & 3)]);
        let mut settings = PeerSettings {
            tick_ms: 200,
            packet_bytes_max: DATA_BYTES_MAX,
            unsent_bytes_max: UNSENT_BYTES_MAX,
            reconfig_enabled: scene & 8 != 0,
            observer_master_port: (scene & 16 != 0).then_some(2999),
            ..PeerSettings::new(id)
        };
        settings.elector.handshake_timeout_ms = 1_000;
        let zxids: Vec<Zxid> = (1..=6).map(|counter| Zxid::new(1, counter)).collect();
        let mut replica = Memory::with(if scene & 4 != 0 { &zxids } else { &[] });
        replica.any_snapshot = true;
        let mut scene = Scene {
            peer: peer_of(&settings, &replica, Millis(1_000)),
            settings,
            replica,
            now: 1_000,
            places: [None; 4],
            open: BTreeMap::new(),
            attempts: VecDeque::new(),
            tickets: BTreeSet::new(),
            next_link: 1,
            closed: 0,
            listens: false,
        };
        scene.start();
        scene
    }

    fn start(&mut self) {
        let now = self.time();
        self.peer.start(&mut self.replica, now);
        self.carry_out();
    }

    fn time(&self) -> Now {
        Now { wall: Millis(1_700_000_000_000 + self.now), mono: Millis(self.now) }
    }

    fn piece(&mut self, place: usize, what: u8, rest: &[u8]) {
        let byte = |at: usize| rest.get(at).copied().unwrap_or(0);
        let number = |at: usize| i64::from(byte(at));
        let zxid =
            |at: usize| if byte(at + 1) == 255 { Zxid(-1) } else { Zxid::new(byte(at).into(), byte(at + 1).into()) };
        let behind = |at: usize| rest.get(at..).unwrap_or_default();
        match what {
            0 => self.say(place, rest),
            1 => behind(1).chunks(1 + usize::from(byte(0))).for_each(|chunk| self.say(place, chunk)),
            2 => self.accept(place, Port::Election),
            3 if self.listens && byte(0) & 1 != 0 => self.accept(place, Port::Observers),
            3 => self.accept(place, Port::Quorum),
            4 => self.attempt(place, byte(0) & 1 == 0),
            5 => self.end(place),
            6 => {
                let host = String::from_utf8_lossy(behind(1)).into_owned();
                let addresses = [HostPort { host, port: 3888 }];
                self.say(place, &Introduction::encode(Sid(number(0)), &addresses, byte(0) & 128 != 0));
            }
            7 => {
                let states =
                    [ServerState::Looking, ServerState::Following, ServerState::Leading, ServerState::Observing];
                let vote =
                    Vote { leader: Sid(number(1)), zxid: zxid(2), election_epoch: number(4), peer_epoch: number(5) };
                let ballot = Ballot { state: states[usize::from(byte(0) & 3)], vote, version: 2 };
                self.say(place, &notification::encode(&ballot, &String::from_utf8_lossy(behind(6))));
            }
            8 | 9 => {
                let carried = txn(zxid(1), byte(3).into());
                let data = if what == 8 { rest.get(3..) } else { Some(&carried[..]) };
                let mut bytes = Vec::new();
                packet::put(&mut bytes, number(0) as i32, zxid(1), data);
                self.say(place, &bytes);
            }
            10 => self.pass(rest.iter().take(2).fold(0, |ms, byte| ms << 8 | i64::from(*byte))),
            11 => self.written(),
            12 => self.work(byte(0)),
            13 => self.stick(place),
            14 => self.take_asked(),
            _ => {
                self.peer = peer_of(&self.settings, &self.replica, Millis(self.now));
                self.open.clear();
                self.places = [None; 4];
                self.attempts.clear();
                self.tickets.clear();
                self.listens = false;
                self.replica.crash(0);
                self.start();
            }
        }
    }

    /// Bytes come on the link of this place, if there is one.
    fn say(&mut self, place: usize, bytes: &[u8]) {
        let Some(link) = self.places[place].filter(|link| self.open.contains_key(link)) else { return };
        if bytes.is_empty() {
            return;
        }
        let (now, closed) = (self.time(), self.closed);
        lines::take();
        self.peer.received(link, bytes, &mut self.replica, now);
        self.carry_out();
        let (told, closed) = (lines::take(), self.closed - closed);
        assert!(told.len() <= LINES_MAX + closed, "about one chunk, which closed {closed} links: {told:#?}");
    }

    fn link_at(&mut self, place: usize) -> LinkId {
        self.end(place);
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.places[place] = Some(link);
        self.open.insert(link, Link::default());
        link
    }

    fn accept(&mut self, place: usize, port: Port) {
        let (link, now) = (self.link_at(place), self.time());
        self.peer.accepted(port, link, &mut self.replica, now);
        self.carry_out();
    }

    fn attempt(&mut self, place: usize, works: bool) {
        let Some(ticket) = self.attempts.pop_front() else { return };
        let now = self.time();
        if works {
            let link = self.link_at(place);
            self.peer.connected(ticket, link, &mut self.replica, now);
        } else {
            self.peer.connect_failed(ticket, "refused", &mut self.replica, now);
        }
        self.carry_out();
    }

    fn end(&mut self, place: usize) {
        let Some(link) = self.places[place].take() else { return };
        if self.open.remove(&link).is_some() {
            let now = self.time();
            self.peer.closed(link, &mut self.replica, now);
            self.carry_out();
        }
    }

    fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        let mut ticks = 0;
        loop {
            let due = self.peer.next_deadline().0;
            if due > until {
                break;
            }
            self.now = self.now.max(due);
            let now = self.time();
            self.peer.tick(&mut self.replica, now);
            self.carry_out();
            ticks += 1;
            assert!(ticks <= 64 + ms, "it does not sleep");
        }
        self.now = until;
    }

    fn written(&mut self) {
        self.replica.sync_log();
        let (durable, now) = (self.replica.durable(), self.time());
        self.peer.durable(durable, &mut self.replica, now);
        self.carry_out();
    }

    fn work(&mut self, what: u8) {
        let state = self.peer.state();
        let now = self.time();
        match state.phase {
            Phase::Leading if state.serving && self.replica.last_logged().counter() < 1000 => {
                let (zxid, payload) = self.replica.make(what.into());
                self.peer.proposed(zxid, &payload, now);
            }
            Phase::Following | Phase::Observing if state.serving => match what % 3 {
                0 => self.peer.forward(Forwarded {
                    session: SessionId(7),
                    xid: Xid(what.into()),
                    op: Op::SetData,
                    ids: Vec::new(),
                    body: vec![0; usize::from(what)],
                }),
                1 => self.peer.sync(),
                _ => self.peer.revalidate(SessionId(what.into()), 4_000),
            },
            _ => {}
        }
        self.carry_out();
    }

    fn stick(&mut self, place: usize) {
        let Some(link) = self.places[place] else { return };
        let Some(state) = self.open.get_mut(&link) else { return };
        state.stuck = !state.stuck;
        self.carry_out();
        self.leave(link);
        self.carry_out();
    }

    fn take_asked(&mut self) {
        let asked = std::mem::take(&mut self.replica.asked);
        for (from, request) in asked {
            match request {
                Some(_) => self.work(0),
                None => self.peer.sync_reached(from, self.replica.last_logged()),
            }
        }
        self.carry_out();
    }

    /// What waits for a link that is not stuck has left.
    fn leave(&mut self, link: LinkId) {
        let now = self.time();
        if let Some(state) = self.open.get_mut(&link).filter(|state| !state.stuck && state.unsent_bytes > 0) {
            state.unsent_bytes = 0;
            self.peer.drained(link, 0, &mut self.replica, now);
        }
    }

    fn carry_out(&mut self) {
        loop {
            let effects = self.peer.effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Connect { ticket, .. } => {
                        assert!(self.tickets.insert(ticket), "{ticket:?} was there before");
                        self.attempts.push_back(ticket);
                        assert!(self.attempts.len() <= 8, "attempts pile up");
                    }
                    Effect::Forget(ticket) => self.attempts.retain(|attempt| *attempt != ticket),
                    Effect::Send { link, bytes } => {
                        let state = self.open.get_mut(&link);
                        let state = state.unwrap_or_else(|| panic!("something is sent on {link:?}, which is closed"));
                        state.unsent_bytes += bytes.len();
                        let most = UNSENT_BYTES_MAX + 2 * DATA_BYTES_MAX;
                        assert!(state.unsent_bytes <= most, "{} bytes wait for one link", state.unsent_bytes);
                    }
                    Effect::Listen(places) => self.listens = !places.is_empty(),
                    Effect::Close(link) => {
                        assert!(self.open.remove(&link).is_some(), "{link:?} is closed, and was closed before");
                        self.closed += 1;
                    }
                    Effect::AskOracle(_) => unreachable!("there is no oracle"),
                }
            }
            for link in self.open.keys().copied().collect::<Vec<_>>() {
                self.leave(link);
            }
        }
        assert_eq!(self.peer.failed(), None, "a peer ends the process");
        let learners = self.peer.report(self.time()).learners.len();
        assert!(learners <= self.open.len(), "{learners} learners on {} links", self.open.len());
    }
}

fn peer_of(settings: &PeerSettings, replica: &Memory, now: Millis) -> Peer {
    let first = || QuorumView::parse(VIEW).expect("a configuration that this program wrote");
    let mut peer = Peer::new(settings.clone(), replica.view.clone().unwrap_or_else(first), now);
    if let Some(view) = replica.seen_view.clone() {
        peer.seen(view);
    }
    peer
}
