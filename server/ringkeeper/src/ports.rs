//! The ports at which this member listens, moved while it runs when a reconfiguration gives it other addresses; and the one for observers,
//! opened while it follows.
//!
//! On a thread of its own, because names are resolved here and a port may be in use for a while. What always holds: the old port stays
//! open until the new one is taken, and connections stay in any case. Only where both cannot be open together, the same port at an
//! overlapping address or two ports that change places, the old one is closed first. A port that cannot be taken is said once and tried
//! again every second, until another configuration comes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use clients::Mailbox;
use config::{Ensemble, Wires};
use proto::Sid;
use quorum::effect::{HostPort, Port};
use quorum::view::{MemberAddress, QuorumView};

use crate::letter::Letter;
use crate::server;

/// Between two tries to take a port.
const RETRY: Duration = Duration::from_secs(1);
/// After so long a port that is being closed here is tried again.
const SOON: Duration = Duration::from_millis(20);
/// Closed by then, most certainly.
const SOON_TRIES: u32 = 100;

/// What this member listens at, and where the listeners belong.
pub struct Held {
    /// The client port as it is bound.
    pub client: SocketAddr,
    /// How that was done.
    pub options: clients::Options,
    /// The thread that accepts clients.
    pub clients: Arc<Mailbox<Letter>>,
    /// The thread with the links to other members.
    pub peers: Arc<Mailbox<Letter>>,
}

/// Where configurations are handed in. The thread ends with it.
pub struct Ports {
    id: Sid,
    orders: Sender<Order>,
}

/// What is to be listened at from now on.
enum Order {
    /// What the configuration says of this member.
    Member(MemberAddress),
    /// Here for observers.
    Observers(Vec<HostPort>),
}

impl Ports {
    /// Starts the thread. The ports of `ensemble` are taken already.
    pub fn start(ensemble: &Ensemble, held: Held) -> io::Result<Ports> {
        let member = ensemble.member();
        let [election, quorum, observers] =
            [(Port::Election, member.election()), (Port::Quorum, member.quorum()), (Port::Observers, Vec::new())]
                .map(|(port, places)| PeerPort { port, places, released: false, complained: false });
        let work = Work {
            id: ensemble.id,
            wires: ensemble.wires,
            peers: [election, quorum],
            observers,
            client: ClientPort { place: member.client.clone(), released: false, complained: false },
            held,
            soon: 0,
        };
        let (orders, taken) = mpsc::channel();
        thread::Builder::new().name("ports".to_owned()).spawn(move || work.run(&taken))?;
        Ok(Ports { id: ensemble.id, orders })
    }

    /// This configuration is in force. One in which this member is not changes nothing.
    pub fn follow(&self, view: &QuorumView) {
        if let Some(member) = view.member(self.id) {
            // The thread ends only with this.
            let _ = self.orders.send(Order::Member(member.clone()));
        }
    }

    /// Observers are served here from now on; with no place, nowhere.
    pub fn serve_observers(&self, places: Vec<HostPort>) {
        let _ = self.orders.send(Order::Observers(places));
    }
}

struct PeerPort {
    port: Port,
    places: Vec<HostPort>,
    /// It was closed to make room for what is to be taken.
    released: bool,
    complained: bool,
}

struct ClientPort {
    /// As the configuration says it; `None` while that is the file's word.
    place: Option<HostPort>,
    released: bool,
    complained: bool,
}

/// Where that is on this machine, or why nowhere.
fn address_of(place: &HostPort) -> Result<SocketAddr, (Option<io::ErrorKind>, String)> {
    let address = config::host(&place.host).and_then(|host| server::resolve(&host, place.port));
    address
        .map_err(|why| (None, format!("{} is no place to listen at: {why}", peers::shown(std::slice::from_ref(place)))))
}

struct Work {
    id: Sid,
    wires: Wires,
    peers: [PeerPort; 2],
    observers: PeerPort,
    client: ClientPort,
    held: Held,
    /// So often a port that was just closed here is tried again, before it is somebody else's.
    soon: u32,
}

/// What came of the attempts to listen where the configuration says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Done,
    /// A port of this process was closed for it.
    Soon,
    Later,
}

impl Work {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut wanted = None;
        let mut observers_at = Vec::new();
        let mut wait = None;
        loop {
            let order = match wait {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => orders.recv_timeout(wait),
            };
            match order {
                Ok(Order::Observers(places)) => {
                    self.observers.complained = false;
                    observers_at = places;
                }
                Ok(Order::Member(member)) => {
                    let [election, quorum] = &mut self.peers;
                    (election.complained, quorum.complained, self.client.complained) = (false, false, false);
                    wanted = Some(member);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let state = wanted.as_ref().map_or(State::Done, |member| self.attempt(member));
            wait = match state.max(self.observers_port(&observers_at)) {
                State::Done => None,
                State::Soon => Some(SOON),
                State::Later => Some(RETRY),
            };
        }
    }

    fn attempt(&mut self, member: &MemberAddress) -> State {
        let places = [member.election(), member.quorum()];
        let mut state = State::Done;
        for (at, places) in places.iter().enumerate() {
            state = state.max(self.peer_port(at, places, member));
        }
        state.max(self.client_port(member))
    }

    /// Takes the peer port `at`, if that is not done.
    fn peer_port(&mut self, at: usize, places: &[HostPort], member: &MemberAddress) -> State {
        let PeerPort { port, places: old, released, complained } = &mut self.peers[at];
        let is_same = if self.wires.on_all_addresses {
            old.iter().map(|place| place.port).eq(places.iter().map(|place| place.port))
        } else {
            old == places
        };
        if is_same && !*released {
            places.clone_into(old);
            return State::Done;
        }
        match peers::bind_once(self.id, *port, places.to_vec(), &self.wires) {
            Ok(listeners) => {
                let name = peers::port_name(*port);
                tracing::info!("the {name} is {} from now on; links are made there", peers::shown(places));
                self.held.peers.send(Letter::PeerPort(*port, listeners));
                places.clone_into(old);
                (*released, *complained) = (false, false);
                State::Done
            }
            Err(error) => {
                if error.source.kind() == io::ErrorKind::AddrInUse && self.frees(error.place.port, member) {
                    return State::Soon;
                }
                let PeerPort { places: old, released, complained, .. } = &mut self.peers[at];
                if !std::mem::replace(complained, true) {
                    let left = if *released { "closed" } else { "still open" };
                    tracing::error!(
                        "{error}; the old port, {}, is {left}, and the new one is tried again every second",
                        peers::shown(old)
                    );
                }
                State::Later
            }
        }
    }

    /// Opens or closes the port for observers, if that is not done.
    fn observers_port(&mut self, places: &[HostPort]) -> State {
        let observers = &mut self.observers;
        if observers.places != places && !observers.places.is_empty() {
            tracing::info!("the port for observers, {}, is closed", peers::shown(&observers.places));
            self.held.peers.send(Letter::PeerPort(Port::Observers, Vec::new()));
            observers.places.clear();
            self.soon = SOON_TRIES;
        }
        if observers.places == places {
            return State::Done;
        }
        match peers::bind_once(self.id, Port::Observers, places.to_vec(), &self.wires) {
            Ok(listeners) => {
                tracing::info!("observers may learn here, at {}", peers::shown(places));
                self.held.peers.send(Letter::PeerPort(Port::Observers, listeners));
                places.clone_into(&mut observers.places);
                State::Done
            }
            Err(error) if error.source.kind() == io::ErrorKind::AddrInUse && self.soon > 0 => {
                self.soon -= 1;
                State::Soon
            }
            Err(error) => {
                if !std::mem::replace(&mut observers.complained, true) {
                    tracing::error!("{error}; observers cannot learn here; it is tried again every second");
                }
                State::Later
            }
        }
    }

    /// Takes the client port, if that is not done.
    fn client_port(&mut self, member: &MemberAddress) -> State {
        let Some(place) = member.client.as_ref() else { return State::Done };
        if self.client.place.as_ref() == Some(place) && !self.client.released {
            return State::Done;
        }
        let taken = address_of(place).and_then(|address| {
            // Said in other words, it may be where clients are already.
            if address == self.held.client && !self.client.released {
                return Ok(None);
            }
            let options = clients::Options { address, ..self.held.options.clone() };
            clients::bind(&options)
                .and_then(clients::Bound::listen)
                .map(Some)
                .map_err(|error| (Some(error.source.kind()), error.to_string()))
        });
        match taken {
            Ok(None) => {}
            Ok(Some(listener)) => {
                let local = listener.local_addr().unwrap_or(self.held.client);
                tracing::info!("the client port is {local} from now on; connections to {} stay", self.held.client);
                self.held.client = local;
                self.held.clients.send(Letter::ClientPort(Some((listener, local))));
            }
            Err((kind, why)) => {
                if kind == Some(io::ErrorKind::AddrInUse) && self.frees(place.port, member) {
                    return State::Soon;
                }
                if !std::mem::replace(&mut self.client.complained, true) {
                    let left = if self.client.released { "closed" } else { "still open" };
                    let old = self.held.client;
                    tracing::error!(
                        "{why}; the old client port, {old}, is {left}, and the new one is tried again every second"
                    );
                }
                return State::Later;
            }
        }
        self.client = ClientPort { place: Some(place.clone()), released: false, complained: false };
        State::Done
    }

    /// Closes what of this process listens at this port and is to be elsewhere. True if the port may be free soon.
    fn frees(&mut self, port: u16, member: &MemberAddress) -> bool {
        self.soon = self.soon.saturating_sub(1);
        for peer in &mut self.peers {
            let next = if peer.port == Port::Election { member.election() } else { member.quorum() };
            let is_in_the_way = peer.places.iter().any(|place| place.port == port) && peer.places != next;
            if is_in_the_way && !std::mem::replace(&mut peer.released, true) {
                self.held.peers.send(Letter::PeerPort(peer.port, Vec::new()));
                self.soon = SOON_TRIES;
            }
        }
        let moves = member.client.is_some() && member.client != self.client.place;
        if moves && self.held.client.port() == port && !std::mem::replace(&mut self.client.released, true) {
            self.held.clients.send(Letter::ClientPort(None));
            self.soon = SOON_TRIES;
        }
        self.soon > 0
    }
}
