//! The network: connections that carry bytes in order each way, between places that may lose sight of each other.
//!
//! What a network does to TCP, and nothing else: bytes arrive late, in other pieces, and out of order between connections; a way
//! from one place to another can be cut while the way back is open, and what is sent meanwhile arrives when it is open again;
//! a connection can be lost with all that is on its way, which its two ends notice at different times, or not at all while
//! the way to them is cut; what an old connection carried can arrive after a newer one was made. Nobody here knows what the bytes mean.
//!
//! Pure: it answers what is to be reported to whom, and when to ask it again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::agenda::{MS, Micros};
use crate::dice::Dice;

/// Bytes that a socket takes without the far end having taken them.
pub const WINDOW_BYTES: usize = 64 << 10;
/// The pause before a first attempt to send again over a cut way, and the longest pause.
const RETRY_FIRST: Micros = 100 * MS;
const RETRY_MAX: Micros = 800 * MS;

/// A machine, or a client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// A member, by its number from zero.
    Node(usize),
    /// A client.
    Client(usize),
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Port {
    /// Elections.
    Election,
    /// ZAB.
    Quorum,
    /// Clients.
    Client,
}

/// One end of a connection: twice the number of the connection, plus one at the end that accepted it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct End(pub u64);

impl End {
    /// The other end.
    pub fn far(self) -> End {
        End(self.0 ^ 1)
    }

    /// Is it the end that accepted?
    pub fn accepted(self) -> bool {
        self.0 & 1 == 1
    }

    /// The connection's number.
    pub fn connection(self) -> u64 {
        self.0 >> 1
    }
}

struct Half {
    /// Where this end is; whoever was there then.
    place: Place,
    life: u64,
    /// Does anybody hold it?
    open: bool,
    /// On its way from here to the far end: bytes, or the end of them.
    flying: VecDeque<Piece>,
    flying_bytes: usize,
    last_arrival: Micros,
    /// A delivery from here is on the agenda.
    asked: bool,
    retry: Micros,
    /// The owner is told when its bytes leave.
    backed_up: bool,
}

struct Piece {
    arrives: Micros,
    what: Carried,
}

enum Carried {
    Bytes(Vec<u8>),
    /// Closed in order.
    Fin,
    /// Torn.
    Reset,
}

struct Connection {
    port: Port,
    halves: [Half; 2],
}

/// What comes of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// Bytes for this end.
    Bytes(End, Vec<u8>),
    /// The connection is over at this end.
    Closed(End),
    /// So many bytes of this end have not left.
    Drained(End, usize),
}

/// How long bytes take.
#[derive(Clone, Debug)]
pub struct Weather {
    /// One way, at least and at most.
    pub delay: (Micros, Micros),
    /// Once in so many pieces takes `late` longer; 0 = never.
    pub late_once_in: u64,
    /// See `late_once_in`.
    pub late: Micros,
    /// Bytes each microsecond.
    pub speed: u64,
}

/// See the module's page.
pub struct Network {
    connections: BTreeMap<u64, Connection>,
    next: u64,
    cut: BTreeSet<(Place, Place)>,
    /// How it is now.
    pub weather: Weather,
    dice: Dice,
}

impl Network {
    /// Without connections.
    pub fn new(weather: Weather, dice: Dice) -> Network {
        Network { connections: BTreeMap::new(), next: 1, cut: BTreeSet::new(), weather, dice }
    }

    /// How long something takes that leaves now.
    pub fn delay(&self) -> Micros {
        let (least, most) = self.weather.delay;
        let late = self.weather.late_once_in > 0 && self.dice.once_in(self.weather.late_once_in);
        self.dice.between(least, most) + if late { self.weather.late } else { 0 }
    }

    /// Cuts the way from one place to another, that way only.
    pub fn cut(&mut self, from: Place, to: Place) {
        self.cut.insert((from, to));
    }

    /// Opens a way again.
    pub fn mend(&mut self, from: Place, to: Place) {
        self.cut.remove(&(from, to));
    }

    /// Opens all ways.
    pub fn mend_all(&mut self) {
        self.cut.clear();
    }

    /// Is the way cut?
    pub fn is_cut(&self, from: Place, to: Place) -> bool {
        self.cut.contains(&(from, to))
    }

    /// The ways that are cut.
    pub fn cuts(&self) -> impl Iterator<Item = (Place, Place)> {
        self.cut.iter().copied()
    }

    /// A connection is made. The first end asked for it, and hears of it at `heard`.
    pub fn connect(&mut self, port: Port, ends: [(Place, u64); 2], heard: Micros) -> (End, End) {
        let number = self.next;
        self.next += 1;
        let half = |(place, life)| Half {
            place,
            life,
            open: true,
            flying: VecDeque::new(),
            flying_bytes: 0,
            last_arrival: heard,
            asked: false,
            retry: RETRY_FIRST,
            backed_up: false,
        };
        self.connections.insert(number, Connection { port, halves: ends.map(half) });
        (End(number * 2), End(number * 2 + 1))
    }

    fn half(&mut self, end: End) -> Option<&mut Half> {
        Some(&mut self.connections.get_mut(&end.connection())?.halves[(end.0 & 1) as usize])
    }

    fn half_of(&self, end: End) -> Option<&Half> {
        Some(&self.connections.get(&end.connection())?.halves[(end.0 & 1) as usize])
    }

    /// What a connection is for.
    pub fn port(&self, end: End) -> Option<Port> {
        Some(self.connections.get(&end.connection())?.port)
    }

    /// Where an end is.
    pub fn place(&self, end: End) -> Option<Place> {
        Some(self.half_of(end)?.place)
    }

    /// Is this end held by somebody?
    pub fn is_open(&self, end: End) -> bool {
        self.half_of(end).is_some_and(|half| half.open)
    }

    /// Bytes on their way from an end.
    pub fn flying_bytes(&self, end: End) -> usize {
        self.half_of(end).map_or(0, |half| half.flying_bytes)
    }

    /// All connections of which some end is open: one end of each.
    pub fn all(&self) -> impl Iterator<Item = (End, Port, Place, Place)> {
        self.connections
            .iter()
            .filter(|(_, c)| c.halves.iter().any(|half| half.open))
            .map(|(number, c)| (End(number * 2), c.port, c.halves[0].place, c.halves[1].place))
    }

    /// Bytes leave an end. Answers when [`Network::deliver`] must be called for it, if it is not on the agenda already.
    pub fn send(&mut self, end: End, bytes: Vec<u8>, now: Micros) -> Option<Micros> {
        let length = bytes.len();
        let when = self.push(end, Carried::Bytes(bytes), length, now);
        if let Some(half) = self.half(end) {
            half.backed_up |= half.flying_bytes > WINDOW_BYTES;
        }
        when
    }

    /// Bytes that an end has handed over and that have not left its machine.
    pub fn unsent(&self, end: End) -> usize {
        self.flying_bytes(end).saturating_sub(WINDOW_BYTES)
    }

    fn push(&mut self, end: End, what: Carried, length: usize, now: Micros) -> Option<Micros> {
        let delay = self.delay() + length as u64 / self.weather.speed.max(1);
        let half = self.half(end)?;
        if !half.open {
            return None;
        }
        let arrives = half.last_arrival.max(now + delay);
        half.last_arrival = arrives;
        half.flying.push_back(Piece { arrives, what });
        half.flying_bytes += length;
        (!std::mem::replace(&mut half.asked, true)).then_some(arrives)
    }

    /// This end is closed by its owner, behind what it has sent. Nothing is reported to it any more.
    pub fn close(&mut self, end: End, now: Micros) -> Option<Micros> {
        let when = self.push(end, Carried::Fin, 0, now);
        if let Some(half) = self.half(end) {
            half.open = false;
        }
        when
    }

    /// All connections of a place are over there: its process was killed, or (`silently`) its power is gone, and nobody tells the far ends.
    /// Answers deliveries for the agenda.
    pub fn gone(&mut self, place: Place, silently: bool, now: Micros) -> Vec<(End, Micros)> {
        let mut mine = Vec::new();
        for (number, connection) in &self.connections {
            for at in 0..2 {
                if connection.halves[at].place == place && connection.halves[at].open {
                    mine.push(End(number * 2 + at as u64));
                }
            }
        }
        let mut deliveries = Vec::new();
        for end in mine {
            if !silently && let Some(when) = self.push(end, Carried::Reset, 0, now) {
                deliveries.push((end, when));
            }
            if let Some(half) = self.half(end) {
                half.open = false;
                if silently {
                    half.flying.clear();
                    half.flying_bytes = 0;
                }
            }
        }
        deliveries
    }

    /// A connection is torn: what is on its way is lost, and each end notices when something could come to it.
    pub fn tear(&mut self, end: End, now: Micros) -> Vec<(End, Micros)> {
        let mut deliveries = Vec::new();
        for end in [end, end.far()] {
            let Some(half) = self.half(end) else { continue };
            half.flying.clear();
            half.flying_bytes = 0;
            // Whoever is told does not hold it: it comes from the far end, held or not.
            let arrives = now + self.delay();
            let half = self.half(end).expect("it was there");
            half.last_arrival = half.last_arrival.max(arrives);
            half.flying.push_back(Piece { arrives, what: Carried::Reset });
            if !std::mem::replace(&mut half.asked, true) {
                deliveries.push((end, arrives));
            }
        }
        deliveries
    }

    /// What has come from this end to the far one by now. `life` says who lives at a place (`None`: no power). Answers the reports, with
    /// whom and what they are for, and when to ask again.
    pub fn deliver(
        &mut self,
        from: End,
        now: Micros,
        life: impl Fn(Place) -> Option<u64>,
    ) -> (Vec<(Place, Port, Report)>, Option<Micros>) {
        let Some(connection) = self.connections.get(&from.connection()) else { return (Vec::new(), None) };
        let (port, places) = (connection.port, [connection.halves[0].place, connection.halves[1].place]);
        let (reports, again) = self.arrive(from, now, life);
        let address = |report| {
            let (Report::Bytes(end, _) | Report::Closed(end) | Report::Drained(end, _)) = &report;
            (places[(end.0 & 1) as usize], port, report)
        };
        (reports.into_iter().map(address).collect(), again)
    }

    fn arrive(&mut self, from: End, now: Micros, life: impl Fn(Place) -> Option<u64>) -> (Vec<Report>, Option<Micros>) {
        let mut reports = Vec::new();
        let to = from.far();
        let (Some(near), Some(far)) = (self.half_of(from), self.half_of(to)) else { return (reports, None) };
        let (here, there, far_life, far_open) = (near.place, far.place, far.life, far.open);
        let cut = self.cut.contains(&(here, there));
        let lives = life(there);
        if cut || lives.is_none() {
            let half = self.half(from).expect("it was there");
            let pause = half.retry;
            half.retry = (half.retry * 2).min(RETRY_MAX);
            if lives.is_none() && half.flying.iter().all(|piece| !matches!(piece.what, Carried::Bytes(_))) {
                // Nobody is there to be told.
                half.flying.clear();
                half.asked = false;
                self.forget(from.connection());
                return (reports, None);
            }
            return (reports, Some(now + pause));
        }
        let stranger = lives != Some(far_life);
        let split = self.dice.once_in(6);
        let at = self.dice.any();
        let half = self.half(from).expect("it was there");
        half.retry = RETRY_FIRST;
        let mut again = None;
        while let Some(piece) = half.flying.front_mut() {
            if piece.arrives > now {
                again = Some(piece.arrives);
                break;
            }
            match &mut piece.what {
                Carried::Bytes(bytes) => {
                    let whole = !(split && bytes.len() > 1);
                    let part = if whole {
                        std::mem::take(bytes)
                    } else {
                        let rest = bytes.split_off(1 + (at % (bytes.len() as u64 - 1)) as usize);
                        std::mem::replace(bytes, rest)
                    };
                    half.flying_bytes -= part.len();
                    if whole {
                        half.flying.pop_front();
                    } else {
                        piece.arrives = now + 1 + at % 200;
                        again = Some(piece.arrives);
                    }
                    if far_open && !stranger {
                        reports.push(Report::Bytes(to, part));
                    } else {
                        // There is nobody for these bytes, and the machine says so.
                        half.flying.clear();
                        half.flying_bytes = 0;
                        reports.push(Report::Closed(from));
                        again = None;
                        break;
                    }
                    if !whole {
                        break;
                    }
                }
                Carried::Fin | Carried::Reset => {
                    half.flying.clear();
                    half.flying_bytes = 0;
                    if far_open && !stranger {
                        reports.push(Report::Closed(to));
                    }
                    again = None;
                    break;
                }
            }
        }
        half.asked = again.is_some();
        if half.backed_up && half.open {
            let unsent = half.flying_bytes.saturating_sub(WINDOW_BYTES);
            half.backed_up = unsent > 0;
            reports.push(Report::Drained(from, unsent));
        }
        for report in &mut reports {
            if let Report::Closed(end) = report {
                let end = *end;
                if let Some(half) = self.half(end) {
                    let told = std::mem::replace(&mut half.open, false);
                    if !told {
                        // Its owner had closed it before.
                        *report = Report::Drained(end, 0);
                    }
                }
            }
        }
        reports.retain(|report| !matches!(report, Report::Drained(end, _) if !self.is_open(*end)));
        self.forget(from.connection());
        (reports, again)
    }

    fn forget(&mut self, number: u64) {
        let over = |half: &Half| !half.open && half.flying.is_empty();
        if self.connections.get(&number).is_some_and(|c| c.halves.iter().all(over)) {
            self.connections.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Place = Place::Node(0);
    const B: Place = Place::Node(1);

    fn network() -> Network {
        let weather = Weather { delay: (100, 900), late_once_in: 0, late: 0, speed: 100 };
        Network::new(weather, Dice::new(1, 1))
    }

    fn run(network: &mut Network, end: End, mut at: Micros) -> (Vec<u8>, bool, Micros) {
        let (mut bytes, mut closed) = (Vec::new(), false);
        for _ in 0..1000 {
            let (reports, again) = network.deliver(end, at, |_| Some(1));
            for (_, _, report) in reports {
                match report {
                    Report::Bytes(to, some) => {
                        assert_eq!(to, end.far());
                        bytes.extend(some);
                    }
                    Report::Closed(_) => closed = true,
                    Report::Drained(..) => {}
                }
            }
            match again {
                Some(next) => at = next,
                None => break,
            }
        }
        (bytes, closed, at)
    }

    #[test]
    fn bytes_arrive_in_order_and_the_end_behind_them() {
        let mut network = network();
        let (a, _) = network.connect(Port::Quorum, [(A, 1), (B, 1)], 0);
        let first = network.send(a, b"one ".to_vec(), 10).unwrap();
        assert_eq!(network.send(a, b"two".to_vec(), 11), None);
        assert_eq!(network.close(a, 12), None);
        let (bytes, closed, _) = run(&mut network, a, first);
        assert_eq!((&*bytes, closed), (&b"one two"[..], true));
    }

    #[test]
    fn a_cut_way_holds_what_is_sent_until_it_is_open_again() {
        let mut network = network();
        let (a, b) = network.connect(Port::Quorum, [(A, 1), (B, 1)], 0);
        network.cut(A, B);
        let first = network.send(a, b"x".to_vec(), 0).unwrap();
        let (reports, again) = network.deliver(a, first, |_| Some(1));
        assert!(reports.is_empty());
        let back = network.send(b, b"y".to_vec(), 0).unwrap();
        assert_eq!(run(&mut network, b, back).0, b"y", "the way back is open");
        network.mend(A, B);
        assert_eq!(run(&mut network, a, again.unwrap()).0, b"x");
    }

    #[test]
    fn whoever_speaks_to_a_machine_that_has_started_anew_loses_the_connection() {
        let mut network = network();
        let (a, _) = network.connect(Port::Quorum, [(A, 1), (B, 1)], 0);
        assert!(network.gone(B, true, 5).is_empty());
        let first = network.send(a, b"x".to_vec(), 10).unwrap();
        let (reports, again) = network.deliver(a, first, |place| (place == A).then_some(1));
        assert!(reports.is_empty(), "no power, no answer");
        let (reports, _) = network.deliver(a, again.unwrap(), |place| Some(if place == A { 1 } else { 2 }));
        assert_eq!(reports, [(A, Port::Quorum, Report::Closed(a))]);
    }

    #[test]
    fn a_torn_connection_ends_at_both_ends_and_carries_nothing_more() {
        let mut network = network();
        let (a, b) = network.connect(Port::Quorum, [(A, 1), (B, 1)], 0);
        _ = network.send(a, b"x".to_vec(), 0);
        network.tear(a, 1);
        assert_eq!(run(&mut network, a, 5_000).0, b"");
        assert!(!network.is_open(b));
        assert!(run(&mut network, b, 5_000).1 && !network.is_open(a));
    }
}
