//! Listening and accepting: limits are enforced here, as ZooKeeper does, by closing the socket at once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use member::limits::Refused;
use member::{Limits, Seldom};
use pipeline::Now;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How to listen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub address: SocketAddr,
    /// Connections that the kernel may hold before they are accepted.
    pub backlog: i32,
    /// `clientTcpKeepAlive`
    pub keep_alive: bool,
}

/// Why listening failed: address and reason.
#[derive(Debug)]
pub struct ListenError {
    /// Where it was tried.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)
    }
}

impl std::error::Error for ListenError {}

/// A client port that is ours but does not listen yet: whoever connects is refused until the server can answer.
pub struct Bound {
    socket: Socket,
    options: Options,
}

/// Takes the client port. The wildcard address takes IPv4 clients as well.
pub fn bind(options: &Options) -> Result<Bound, ListenError> {
    let open = || -> io::Result<Socket> {
        let domain = Domain::for_address(options.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        socket.bind(&SockAddr::from(options.address))?;
        Ok(socket)
    };
    match open() {
        Ok(socket) => Ok(Bound { socket, options: options.clone() }),
        Err(source) => Err(ListenError { address: options.address, source }),
    }
}

impl Bound {
    /// Begins to listen.
    pub fn listen(self) -> Result<TcpListener, ListenError> {
        match self.socket.listen(self.options.backlog) {
            Ok(()) => Ok(self.socket.into()),
            Err(source) => Err(ListenError { address: self.options.address, source }),
        }
    }
}

/// Decides about each new connection.
#[derive(Clone)]
pub struct Acceptor {
    limits: Arc<Mutex<(Limits, Seldom)>>,
    keep_alive: bool,
}

impl Acceptor {
    /// With these limits; clones share the count.
    pub fn new(limits: Limits, keep_alive: bool) -> Acceptor {
        Acceptor { limits: Arc::new(Mutex::new((limits, Seldom::default()))), keep_alive }
    }

    /// Takes the connection and sets its options, or refuses it, which closes it. Of many refusals few are said.
    pub fn admit(&self, stream: OwnedFd, peer: SocketAddr, now: Now) -> Option<OwnedFd> {
        let (limits, seldom) = &mut *self.limits.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Err(refused) = limits.admit(peer.ip().to_canonical()) {
            let (name, limit) = match refused {
                Refused::Total(limit) => ("maxCnxns", limit),
                Refused::Address(limit) => ("maxClientCnxns", limit),
            };
            if let Some(unsaid) = seldom.ask(now.mono) {
                tracing::warn!(%peer, limit, unsaid, "too many connections, {name} is reached, refusing");
            }
            return None;
        }
        // Best effort: a connection without these options still works.
        let _ = rustix::net::sockopt::set_tcp_nodelay(stream.as_fd(), true);
        if self.keep_alive {
            let _ = rustix::net::sockopt::set_socket_keepalive(stream.as_fd(), true);
        }
        Some(stream)
    }

    /// An admitted connection is closed.
    pub fn release(&self, peer: SocketAddr) {
        self.limits.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0.release(peer.ip().to_canonical());
    }
}
