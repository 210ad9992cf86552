//! Links to the other members of an ensemble, on the write stage's thread: which socket each is, and what waits to be sent on it.
//!
//! One send at a time for each link; what gathers meanwhile goes out together, as for clients.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use member::WriteStage;
use peers::Connector;
use pipeline::Now;
use quorum::effect::{Effect, LinkId, Port, Ticket};
use uring::{ConnId, ListenerId, Reactor};

/// What a closed link may still be sent.
const LAST_WORDS_BYTES: usize = 64 << 10;

struct Link {
    id: LinkId,
    conn: ConnId,
    out: Vec<u8>,
    sending: usize,
    /// To be closed when everything is sent; nothing of it is reported any more.
    closing: bool,
}

/// See the module's page.
pub struct Links {
    connector: Connector,
    listeners: Vec<(ListenerId, Port)>,
    links: Vec<Link>,
    next: u64,
}

impl Links {
    /// Nobody is connected yet.
    pub fn new(connector: Connector, listeners: Vec<(ListenerId, Port)>) -> Links {
        Links { connector, listeners, links: Vec::new(), next: 0 }
    }

    /// Which of the peer ports is this?
    pub fn port(&self, listener: ListenerId) -> Option<Port> {
        self.listeners.iter().find(|(id, _)| *id == listener).map(|(_, port)| *port)
    }

    /// Other members are accepted on this port at other places from now on.
    pub fn listen(&mut self, reactor: &mut Reactor, port: Port, listeners: Vec<TcpListener>) {
        let (old, kept) = std::mem::take(&mut self.listeners).into_iter().partition(|(_, held)| *held == port);
        self.listeners = kept;
        self.listeners.extend(listeners.into_iter().map(|listener| (reactor.listen(listener), port)));
        old.into_iter().for_each(|(listener, _)| reactor.stop_listening(listener));
    }

    /// A member connected.
    pub fn accepted(&mut self, reactor: &mut Reactor, stage: &mut WriteStage, port: Port, stream: OwnedFd, now: Now) {
        let link = self.adopt(reactor, stream);
        stage.peer_accepted(port, link, now);
    }

    /// An attempt to connect has ended.
    pub fn connected(
        &mut self,
        reactor: &mut Reactor,
        stage: &mut WriteStage,
        ticket: Ticket,
        result: Result<OwnedFd, String>,
        now: Now,
    ) {
        match result {
            Ok(stream) => {
                let link = self.adopt(reactor, stream);
                stage.peer_connected(ticket, link, now);
            }
            Err(why) => stage.peer_connect_failed(ticket, &why, now),
        }
    }

    fn adopt(&mut self, reactor: &mut Reactor, stream: OwnedFd) -> LinkId {
        // Proposals and acknowledgements must not wait for company.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&stream, true);
        let id = LinkId(self.next);
        self.next += 1;
        let conn = reactor.adopt(stream);
        self.links.push(Link { id, conn, out: Vec::new(), sending: 0, closing: false });
        id
    }

    /// The link of a connection, if it is one, and whether anybody still listens to it.
    pub fn find(&self, conn: ConnId) -> Option<(LinkId, bool)> {
        self.links.iter().find(|link| link.conn == conn).map(|link| (link.id, !link.closing))
    }

    /// A send is done.
    pub fn sent(&mut self, reactor: &mut Reactor, stage: &mut WriteStage, conn: ConnId, buffer: Vec<u8>, now: Now) {
        let Some(link) = self.links.iter_mut().find(|link| link.conn == conn) else { return };
        link.sending = 0;
        if link.out.is_empty() {
            // So that the next send needs no new memory, unless a snapshot made it large.
            if buffer.capacity() <= 1 << 20 {
                link.out = buffer;
            }
            if link.closing {
                reactor.close(conn);
                return;
            }
        } else {
            link.send(reactor);
        }
        if !link.closing {
            let (id, unsent) = (link.id, link.sending + link.out.len());
            stage.peer_drained(id, unsent, now);
        }
    }

    /// A connection is gone. False if it is no link.
    pub fn closed(&mut self, stage: &mut WriteStage, conn: ConnId, now: Now) -> bool {
        let Some(at) = self.links.iter().position(|link| link.conn == conn) else { return false };
        let link = self.links.swap_remove(at);
        if !link.closing {
            stage.peer_closed(link.id, now);
        }
        true
    }

    /// Does what the stage wants.
    pub fn carry_out(&mut self, reactor: &mut Reactor, effect: Effect) {
        match effect {
            Effect::Connect { ticket, port, addresses, timeout_ms, .. } => {
                self.connector.connect(ticket, port, addresses, timeout_ms);
            }
            Effect::Forget(ticket) => self.connector.forget(ticket),
            // The thread of the ports does that, and hands over the listeners.
            Effect::Listen(_) => {}
            Effect::Send { link, bytes } => {
                let Some(link) = self.links.iter_mut().find(|one| one.id == link && !one.closing) else { return };
                if link.out.is_empty() {
                    link.out = bytes;
                } else {
                    link.out.extend_from_slice(&bytes);
                }
                if link.sending == 0 {
                    link.send(reactor);
                }
            }
            Effect::Close(link) => {
                let Some(link) = self.links.iter_mut().find(|one| one.id == link) else { return };
                link.closing = true;
                if link.sending == 0 && link.out.is_empty() {
                    reactor.close(link.conn);
                } else if link.sending + link.out.len() > LAST_WORDS_BYTES {
                    // It does not read, or what it was to read is of no use any more.
                    link.out = Vec::new();
                    reactor.abort(link.conn);
                }
            }
            // No matter of links.
            Effect::AskOracle(_) => {}
        }
    }
}

impl Link {
    fn send(&mut self, reactor: &mut Reactor) {
        self.sending = self.out.len();
        reactor.send(self.conn, std::mem::take(&mut self.out));
    }
}
