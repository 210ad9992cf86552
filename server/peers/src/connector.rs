//! Connections to other members, made by one thread that never waits for any single one of them.
//!
//! That thread polls the sockets of all attempts and knows when each has failed. What cannot be polled is the resolving of a
//! name: it is done by threads of its own, one for each name that is being resolved and no more than [`RESOLVING_MAX`].
//! Attempts for the same name share an answer that is on its way; nothing is remembered once it has come, so that each later attempt
//! sees what the name stands for by then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use quorum::effect::{HostPort, Port, Ticket};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, retry_on_intr, write};

use crate::race::{Race, SocketOptions, Standing};

/// Names that are being resolved at a time. Further ones wait until one of them has an answer.
pub const RESOLVING_MAX: usize = 32;

/// What a name stands for.
pub type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

type Done = dyn Fn(Ticket, Result<OwnedFd, String>) + Send + Sync;

/// What to do with every socket, apart from `TCP_NODELAY`, which all of them have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `SO_KEEPALIVE` for connections of elections (`tcpKeepAlive`). Connections to a leader have pings.
    pub keep_alive: bool,
}

/// Makes connections. Dropping it abandons all attempts.
pub struct Connector {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Connect { ticket: Ticket, keep_alive: bool, places: Vec<HostPort>, timeout_ms: i64 },
    Forget(Ticket),
    Resolved { host: String, addresses: Result<Vec<IpAddr>, String> },
    Stop,
}

struct Shared {
    orders: Mutex<VecDeque<Order>>,
    wake: OwnedFd,
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.orders.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn tell(&self, order: Order) {
        self.orders().push_back(order);
        // It fails only if nobody has read 2⁶⁴ wakes.
        let _ = retry_on_intr(|| write(&self.wake, &1_u64.to_ne_bytes()));
    }
}

impl Connector {
    /// Starts the thread. `done` gets the end of every attempt that was not forgotten, in the connector's thread, and must not wait.
    /// It may also get the end of one that is being forgotten just then.
    pub fn start(
        options: Options,
        done: impl Fn(Ticket, Result<OwnedFd, String>) + Send + Sync + 'static,
    ) -> io::Result<Connector> {
        Connector::start_with(options, resolve_by_system, done)
    }

    /// The same with another way of resolving names. It is never asked about what is an address already.
    pub fn start_with(
        options: Options,
        resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
        done: impl Fn(Ticket, Result<OwnedFd, String>) + Send + Sync + 'static,
    ) -> io::Result<Connector> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { orders: Mutex::new(VecDeque::new()), wake });
        let names = Names {
            resolve: Arc::new(resolve),
            shared: Arc::clone(&shared),
            under_way: BTreeSet::new(),
            waiting: VecDeque::new(),
        };
        let work = Work { shared: Arc::clone(&shared), options, names, done: Box::new(done), races: BTreeMap::new() };
        let thread = thread::Builder::new().name("connector".to_owned()).spawn(move || work.run())?;
        Ok(Connector { shared, thread: Some(thread) })
    }

    /// Begins an attempt: connects to the first of `places` that answers, within `timeout_ms` all in all. A ticket that is in use is
    /// used anew.
    pub fn connect(&self, ticket: Ticket, port: Port, places: Vec<HostPort>, timeout_ms: i64) {
        self.shared.tell(Order::Connect { ticket, keep_alive: port == Port::Election, places, timeout_ms });
    }

    /// Abandons an attempt.
    pub fn forget(&self, ticket: Ticket) {
        self.shared.tell(Order::Forget(ticket));
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.shared.tell(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// The connector's thread.
struct Work {
    shared: Arc<Shared>,
    options: Options,
    names: Names,
    done: Box<Done>,
    races: BTreeMap<Ticket, Race>,
}

impl Work {
    fn run(mut self) {
        loop {
            let orders = std::mem::take(&mut *self.shared.orders());
            for order in orders {
                match order {
                    Order::Connect { ticket, keep_alive, places, timeout_ms } => {
                        self.begin(ticket, keep_alive, places, timeout_ms);
                    }
                    Order::Forget(ticket) => _ = self.races.remove(&ticket),
                    Order::Resolved { host, addresses } => self.resolved(&host, &addresses),
                    Order::Stop => return,
                }
            }
            self.end_what_is_late();
            self.wait();
        }
    }

    fn begin(&mut self, ticket: Ticket, keep_alive: bool, places: Vec<HostPort>, timeout_ms: i64) {
        let now = Instant::now();
        let time = Duration::from_millis(timeout_ms.clamp(0, i64::from(i32::MAX)) as u64);
        let options = SocketOptions { keep_alive: keep_alive && self.options.keep_alive };
        let hosts: BTreeSet<String> = places.iter().map(|place| place.host.clone()).collect();
        self.races.insert(ticket, Race::new(places, timeout_ms, now + time, options));
        self.look_at(ticket, |race| race.standing());
        for host in hosts {
            match host.parse::<IpAddr>() {
                Ok(address) => self.look_at(ticket, |race| race.resolved(&host, &Ok(vec![address]))),
                Err(_) => self.names.ask(&host),
            }
        }
    }

    fn resolved(&mut self, host: &str, addresses: &Result<Vec<IpAddr>, String>) {
        let tickets: Vec<Ticket> = self.races.keys().copied().collect();
        for ticket in tickets {
            self.look_at(ticket, |race| race.resolved(host, addresses));
        }
        let races = &self.races;
        self.names.answered(host, |name| races.values().any(|race| race.waits_for(name)));
    }

    /// Changes one attempt, and tells its end if that was it.
    fn look_at(&mut self, ticket: Ticket, change: impl FnOnce(&mut Race) -> Standing) {
        let Some(race) = self.races.get_mut(&ticket) else { return };
        if let Standing::Over(outcome) = change(race) {
            self.races.remove(&ticket);
            (self.done)(ticket, outcome);
        }
    }

    fn end_what_is_late(&mut self) {
        let now = Instant::now();
        let late: Vec<Ticket> =
            self.races.iter().filter(|(_, race)| race.deadline <= now).map(|(ticket, _)| *ticket).collect();
        for ticket in late {
            if let Some(race) = self.races.remove(&ticket) {
                (self.done)(ticket, Err(race.timed_out()));
            }
        }
    }

    /// Waits until something has happened to a socket, there are orders, or an attempt is late.
    fn wait(&mut self) {
        let mut sockets = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        for race in self.races.values() {
            sockets.extend(race.sockets().map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::OUT)));
        }
        let now = Instant::now();
        let next = self.races.values().map(|race| race.deadline).min();
        let time = next.map(|deadline| {
            let left = deadline.saturating_duration_since(now);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        if let Err(error) = retry_on_intr(|| poll(&mut sockets, time.as_ref())) {
            // Memory or descriptors are short. Attempts still end in time.
            tracing::warn!(%error, "cannot wait for connections to other members");
            thread::sleep(Duration::from_millis(10));
            return;
        }
        let mut ready = sockets.iter().map(|socket| !socket.revents().is_empty()).collect::<Vec<bool>>().into_iter();
        if ready.next() == Some(true) {
            // As often as it was written: one read takes it all.
            let _ = retry_on_intr(|| read(&self.shared.wake, &mut [0; 8]));
        }
        let tickets: Vec<(Ticket, usize)> =
            self.races.iter().map(|(ticket, race)| (*ticket, race.socket_count())).collect();
        for (ticket, count) in tickets {
            let flags: Vec<bool> = ready.by_ref().take(count).collect();
            if flags.contains(&true) {
                self.look_at(ticket, |race| race.progressed(flags.into_iter()));
            }
        }
    }
}

/// Names on their way to addresses.
struct Names {
    resolve: Arc<Resolve>,
    shared: Arc<Shared>,
    /// Each has a thread.
    under_way: BTreeSet<String>,
    /// The next to get one.
    waiting: VecDeque<String>,
}

impl Names {
    /// The answer comes as an order.
    fn ask(&mut self, host: &str) {
        if self.under_way.contains(host) || self.waiting.iter().any(|name| name == host) {
            return;
        }
        if self.under_way.len() < RESOLVING_MAX {
            self.begin(host);
        } else {
            self.waiting.push_back(host.to_owned());
        }
    }

    fn begin(&mut self, host: &str) {
        self.under_way.insert(host.to_owned());
        let (resolve, shared, name) = (Arc::clone(&self.resolve), Arc::clone(&self.shared), host.to_owned());
        let work = move || {
            let addresses = match resolve(&name) {
                Ok(addresses) if addresses.is_empty() => Err("it has no address".to_owned()),
                Ok(addresses) => Ok(addresses),
                Err(error) => Err(error.to_string()),
            };
            shared.tell(Order::Resolved { host: name, addresses });
        };
        if let Err(error) = thread::Builder::new().name("resolver".to_owned()).spawn(work) {
            self.shared.tell(Order::Resolved { host: host.to_owned(), addresses: Err(error.to_string()) });
        }
    }

    /// An answer has come; of the names that wait, the first that is still wanted is next.
    fn answered(&mut self, host: &str, is_wanted: impl Fn(&str) -> bool) {
        self.under_way.remove(host);
        while self.under_way.len() < RESOLVING_MAX {
            match self.waiting.pop_front() {
                Some(name) if is_wanted(&name) => self.begin(&name),
                Some(_) => {}
                None => return,
            }
        }
    }
}

fn resolve_by_system(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs()? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}
