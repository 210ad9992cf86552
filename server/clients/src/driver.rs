//! One shard's sockets. Events come in through `received`, `sent` and `closed`, which only tell the shard; `service` then does
//! to the reactor what the shard wants. One send per connection is in flight; what gathers meanwhile goes out together.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use member::word::Word;
use member::{Key, Shard};
use pipeline::Now;
use uring::{ConnId, Reactor};

use crate::accept::Acceptor;

/// Buffers kept for reuse, and the size beyond which one is given back to the allocator.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 64 << 10;

struct Link {
    key: Key,
    conn: ConnId,
    peer: SocketAddr,
    sending: bool,
    paused: bool,
    closing: bool,
}

/// See the module's page.
pub struct Driver {
    shard: Shard,
    acceptor: Acceptor,
    /// By the reactor's slot.
    links: Vec<Option<Link>>,
    spares: Vec<Vec<u8>>,
    words: Vec<(Key, Word)>,
    /// Nothing is read any more.
    deaf: bool,
}

impl Driver {
    /// Drives `shard`.
    pub fn new(shard: Shard, acceptor: Acceptor) -> Driver {
        Driver { shard, acceptor, links: Vec::new(), spares: Vec::new(), words: Vec::new(), deaf: false }
    }

    /// The shard.
    pub fn shard(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// Takes no requests and no connections any more; what was taken is still answered.
    pub fn stop_reading(&mut self, reactor: &mut Reactor) {
        self.deaf = true;
        for link in self.links.iter_mut().flatten() {
            if !std::mem::replace(&mut link.paused, true) {
                reactor.pause(link.conn);
            }
        }
    }

    /// Takes over an admitted connection.
    pub fn adopt(&mut self, reactor: &mut Reactor, stream: OwnedFd, peer: SocketAddr, now: Now) {
        if self.deaf {
            self.acceptor.release(peer);
            return;
        }
        let conn = reactor.adopt(stream);
        let slot = conn.slot();
        let key = self.shard.connected(slot as u64, peer, now);
        if self.links.len() <= slot {
            self.links.resize_with(slot + 1, || None);
        }
        self.links[slot] = Some(Link { key, conn, peer, sending: false, paused: false, closing: false });
    }

    fn link(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.links.get_mut(conn.slot())?.as_mut().filter(|link| link.conn == conn)
    }

    /// Bytes came.
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        if self.deaf {
            return;
        }
        if let Some(key) = self.link(conn).map(|link| link.key) {
            self.shard.received(key, bytes, now);
        }
    }

    /// A send is done.
    pub fn sent(&mut self, conn: ConnId, buffer: Vec<u8>, now: Now) {
        self.keep(buffer);
        let Some(link) = self.link(conn) else { return };
        link.sending = false;
        let key = link.key;
        if let Some(buffer) = self.shard.sent(key, now) {
            self.keep(buffer);
        }
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if self.spares.len() < SPARES_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            self.spares.push(buffer);
        }
    }

    /// A connection is gone.
    pub fn closed(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn.slot()).and_then(|link| link.take_if(|link| link.conn == conn)) else {
            return;
        };
        self.shard.disconnected(link.key);
        self.acceptor.release(link.peer);
    }

    /// Does what the shard wants done. Four-letter words that came up meanwhile are in [`Driver::take_words`].
    pub fn service(&mut self, reactor: &mut Reactor, now: Now) {
        for key in self.shard.take_dirty() {
            let Some(io) = self.shard.io(key) else { continue };
            let Some(link) = self.links.get_mut(io.link as usize).and_then(Option::as_mut) else { continue };
            if io.abort {
                link.closing = true;
                reactor.abort(link.conn);
                continue;
            }
            if link.closing {
                continue;
            }
            if let Some(word) = io.word {
                self.words.push((key, word));
            }
            let mut left = io.output_bytes > 0;
            if left && !std::mem::replace(&mut link.sending, true) {
                left = false;
                let bytes = self.shard.take_output(key, self.spares.pop().unwrap_or_default(), now);
                reactor.send(link.conn, bytes);
            }
            if io.closing && !left {
                link.closing = true;
                reactor.close(link.conn);
                continue;
            }
            if io.paused != link.paused && !self.deaf {
                link.paused = io.paused;
                if io.paused {
                    reactor.pause(link.conn);
                } else {
                    reactor.resume(link.conn);
                }
            }
        }
    }

    /// Four-letter words to be answered with [`Shard::answer_word`].
    pub fn take_words(&mut self) -> Vec<(Key, Word)> {
        std::mem::take(&mut self.words)
    }
}
