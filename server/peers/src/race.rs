//! One attempt to reach a peer: all addresses that its names stand for are tried at once, and the first that answers wins.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use quorum::effect::HostPort;
use quorum::view::bracketed;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Addresses that are tried for one name.
const ADDRESSES_MAX: usize = 8;

/// What to do with sockets of an attempt.
#[derive(Clone, Copy)]
pub struct SocketOptions {
    /// `SO_KEEPALIVE`
    pub keep_alive: bool,
}

/// A connection that is being made.
struct Runner {
    place: HostPort,
    address: SocketAddr,
    socket: Socket,
}

/// An attempt that has not ended.
pub struct Race {
    /// When it has failed at the latest.
    pub deadline: Instant,
    options: SocketOptions,
    timeout_ms: i64,
    /// Names that have not been resolved.
    waiting: Vec<HostPort>,
    runners: Vec<Runner>,
    /// Why those that are out are out.
    reasons: Vec<String>,
}

/// How an attempt stands.
pub enum Standing {
    /// Not decided.
    Open,
    /// It has ended.
    Over(Result<OwnedFd, String>),
}

impl Race {
    /// An attempt to reach one of `places`. None of them is tried before [`Race::resolved`].
    pub fn new(places: Vec<HostPort>, timeout_ms: i64, deadline: Instant, options: SocketOptions) -> Race {
        let (waiting, runners, reasons) = (places, Vec::new(), Vec::new());
        Race { deadline, options, timeout_ms, waiting, runners, reasons }
    }

    /// What this name stands for: begins to connect. Names of no interest are passed over.
    pub fn resolved(&mut self, host: &str, addresses: &Result<Vec<IpAddr>, String>) -> Standing {
        let (these, others) =
            std::mem::take(&mut self.waiting).into_iter().partition(|place: &HostPort| place.host == host);
        self.waiting = others;
        let these: Vec<HostPort> = these;
        for place in these {
            match addresses {
                Err(reason) => self.reasons.push(format!("{place} does not resolve: {reason}", place = shown(&place))),
                Ok(addresses) => {
                    for address in addresses.iter().take(ADDRESSES_MAX) {
                        match self.connect(&place, SocketAddr::new(*address, place.port)) {
                            Ok(Some(stream)) => return Standing::Over(Ok(stream)),
                            Ok(None) => {}
                            Err(error) => self.reasons.push(reason(&place, *address, &error)),
                        }
                    }
                }
            }
        }
        self.standing()
    }

    /// The sockets to be looked at when they become writable, in order.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.runners.iter().map(|runner| runner.socket.as_fd())
    }

    /// How many of them there are.
    pub fn socket_count(&self) -> usize {
        self.runners.len()
    }

    /// Something has happened to the sockets for which `ready` says so, in the order of [`Race::sockets`].
    pub fn progressed(&mut self, ready: impl Iterator<Item = bool>) -> Standing {
        for (runner, ready) in std::mem::take(&mut self.runners).into_iter().zip(ready) {
            if !ready {
                self.runners.push(runner);
                continue;
            }
            let outcome = runner.socket.take_error().and_then(|error| error.map_or(Ok(()), Err));
            match outcome.and_then(|()| finish(runner.socket, self.options)) {
                Ok(stream) => return Standing::Over(Ok(stream)),
                Err(error) => self.reasons.push(reason(&runner.place, runner.address.ip(), &error)),
            }
        }
        self.standing()
    }

    /// The time is up.
    pub fn timed_out(mut self) -> String {
        for runner in &self.runners {
            self.reasons.push(reason(&runner.place, runner.address.ip(), &"no answer"));
        }
        for place in &self.waiting {
            self.reasons.push(format!("{} has not been resolved", shown(place)));
        }
        format!("{} (after {} ms)", self.reasons.join("; "), self.timeout_ms)
    }

    /// Whether this name is still to be resolved for it.
    pub fn waits_for(&self, host: &str) -> bool {
        self.waiting.iter().any(|place| place.host == host)
    }

    /// Whether anything can still come of it.
    pub fn standing(&mut self) -> Standing {
        match self.waiting.is_empty() && self.runners.is_empty() {
            true if self.reasons.is_empty() => Standing::Over(Err("there is no address to connect to".to_owned())),
            true => Standing::Over(Err(self.reasons.join("; "))),
            false => Standing::Open,
        }
    }

    fn connect(&mut self, place: &HostPort, address: SocketAddr) -> io::Result<Option<OwnedFd>> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::from(address)) {
            Ok(()) => finish(socket, self.options).map(Some),
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
                self.runners.push(Runner { place: place.clone(), address, socket });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A connected socket as others want it: blocking, and never waiting for more to send.
fn finish(socket: Socket, options: SocketOptions) -> io::Result<OwnedFd> {
    // On one machine a socket that finds nobody at a port of the range from which its own was drawn may meet itself.
    if socket.local_addr()?.as_socket() == socket.peer_addr()?.as_socket() {
        return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
    }
    socket.set_tcp_nodelay(true)?;
    if options.keep_alive {
        socket.set_keepalive(true)?;
    }
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

fn shown(place: &HostPort) -> String {
    format!("{}:{}", bracketed(&place.host), place.port)
}

/// A place, its address where the place is a name, and what is wrong.
fn reason(place: &HostPort, address: IpAddr, what: &dyn std::fmt::Display) -> String {
    match place.host.parse::<IpAddr>() {
        Ok(_) => format!("{}: {what}", shown(place)),
        Err(_) => format!("{} ({address}): {what}", shown(place)),
    }
}
