//! A net shard's deciding half: its connections, their sessions' queues, its watch table, and its place in the commit stream.
//!
//! What always holds:
//! - A connection's answers leave in the order of its requests (auth packets apart, as in ZooKeeper).
//! - A read is answered at this shard's zxid, which is that of the session's last write when it waited behind one.
//! - The events of a transaction are queued before any answer that could show its effect.
//! - Before a request is looked at, the shard has consumed everything that any shard has answered.

mod conn;
mod connect;
mod reads;
mod stream_in;
mod warm;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use auth::{Auth, Outcome};
use pipeline::{Clients, ConnRef, Now, Origin, ToSequencer, WriteRequest};
use proto::reply::{EventType, put_header_frame, put_notification};
use proto::request::{AuthPacket, RequestHeader};
use proto::{Code, Decode, Id, Millis, Op, Reader, SessionId, Xid, Zxid};
use queue::Producer;
use tree::Reader as TreeReader;
use watches::Watches;

use crate::report::{ConnReport, WatchCounts, WatchReport};
use crate::seldom::Seldom;
use crate::settings::ShardSettings;
use crate::stats::{ConnStats, ShardStats};
use crate::stream::Receiver;
use crate::word::{Opening, Word, opening};
use conn::{Conn, Queued, State};

/// Output beyond this stops the reading of that connection's requests.
const OUTPUT_PAUSE_BYTES: usize = 1 << 20;
/// Output beyond this means that the client does not read at all: the connection is given up.
const OUTPUT_MAX_BYTES: usize = 64 << 20;
/// Watches of connections that are gone are forgotten so many at a time: less than a millisecond.
const SWEPT_AT_ONCE: usize = 1000;
/// Whoever has taken nothing for so long loses its connection while much is unread ([`ShardSettings::unread_bytes_max`]), and
/// while twice as much is unread.
const STALL_MS: i64 = 5_000;
const STALL_HARD_MS: i64 = 1_000;
/// Whoever made so much unread output should give the memory back when it is gone.
const UNREAD_BYTES_MUCH: usize = 32 << 20;
/// A connection with more unsent output than this is given up at its next event while twice as much as allowed is unread.
const EVENTS_HARD_BYTES: usize = 256 << 10;
/// Requests that may wait for the write stage in this shard; beyond, sockets are not read.
const INLET_MAX: usize = 4096;
/// Bytes of requests that may wait for their answers in this shard; beyond, whoever waits for one is not read. A thousand
/// requests (`globalOutstandingLimit`) of a megabyte are more than a server should hold while its disk is slow or full.
const QUEUED_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(OUTPUT_PAUSE_BYTES < OUTPUT_MAX_BYTES, "a connection is paused before it is given up");

/// A connection of this shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Key {
    /// Place.
    pub index: u32,
    /// Use count of the place.
    pub generation: u32,
}

/// Where a shard puts what the sequencer must see: the ring, and an overflow that back-pressure keeps short.
pub struct Inlet {
    ring: Producer<ToSequencer>,
    overflow: VecDeque<ToSequencer>,
    fresh: bool,
}

impl Inlet {
    /// An inlet on this ring.
    pub fn new(ring: Producer<ToSequencer>) -> Inlet {
        Inlet { ring, overflow: VecDeque::new(), fresh: false }
    }

    fn push(&mut self, message: ToSequencer) {
        self.fresh = true;
        if !self.overflow.is_empty() {
            self.overflow.push_back(message);
        } else if let Err(message) = self.ring.push(message) {
            self.overflow.push_back(message);
        }
    }

    /// Moves what was held back; true if something was pushed since the last call, so that the write stage must be woken.
    fn flush(&mut self) -> bool {
        while let Some(message) = self.overflow.pop_front() {
            if let Err(message) = self.ring.push(message) {
                self.overflow.push_front(message);
                break;
            }
            self.fresh = true;
        }
        std::mem::take(&mut self.fresh)
    }

    fn is_full(&self) -> bool {
        self.overflow.len() >= INLET_MAX
    }
}

/// What the driver does for a connection now.
pub struct Io {
    /// The driver's name for the socket.
    pub link: u64,
    /// Bytes to send, for [`Shard::take_output`] when no send is in flight.
    pub output_bytes: usize,
    /// Close once the output is sent.
    pub closing: bool,
    /// Close now, whether or not the output can be sent: the client has not taken it for as long as it may be silent.
    pub abort: bool,
    /// Do not read the socket for now.
    pub paused: bool,
    /// A four-letter word to answer with [`Shard::answer_word`].
    pub word: Option<Word>,
}

struct Slot {
    generation: u32,
    conn: Option<Box<Conn>>,
}

/// Everything but the connections, so that a connection and the rest can be borrowed apart.
struct Room {
    id: u16,
    tree: TreeReader,
    watches: Watches<Key>,
    auth: Arc<Auth>,
    settings: ShardSettings,
    stats: Arc<ShardStats>,
    said: Said,
}

/// What clients can make this shard say, each as often as they like.
#[derive(Default)]
struct Said {
    length: Seldom,
    password: Seldom,
    auth: Seldom,
    ahead: Seldom,
    events: Seldom,
}

/// See the module's page.
pub struct Shard {
    room: Room,
    slots: Vec<Slot>,
    free: Vec<u32>,
    inlet: Inlet,
    stream: Receiver,
    /// Who gets a session? A member of an ensemble needs a leader for most.
    serving: Clients,
    dirty: Vec<Key>,
    /// Requests waiting in all shards, and what this one last added to it.
    outstanding_all: Arc<AtomicUsize>,
    outstanding: usize,
    outstanding_told: usize,
    /// What they hold, in this shard.
    queued_bytes: usize,
    /// Output that clients have not taken yet, all together.
    unread_bytes: usize,
    /// There was much of it since the last [`Shard::gives_back`].
    unread_was_much: bool,
    /// Connections without any that wait until others have taken theirs.
    starved: VecDeque<Key>,
    /// No connection can have been silent for too long before this.
    next_look: Millis,
    /// Watches of connections that are gone may be left.
    sweeping: bool,
    /// Reused by commits.
    events: Vec<(Key, EventType)>,
}

/// Parts that a shard is made of.
pub struct Parts {
    /// Number of the shard.
    pub id: u16,
    /// Its view of the tree.
    pub tree: TreeReader,
    /// Its end of the commit stream.
    pub stream: Receiver,
    /// Its way to the write stage.
    pub inlet: Inlet,
    /// Are clients served from the start? Otherwise an item of the stream says when.
    pub serving: bool,
    /// Access rules.
    pub auth: Arc<Auth>,
    /// Limits.
    pub settings: ShardSettings,
    /// Its counters.
    pub stats: Arc<ShardStats>,
    /// Requests waiting in all shards.
    pub outstanding_all: Arc<AtomicUsize>,
    /// Keys the watch table; random to clients.
    pub seed: u64,
}

impl Shard {
    /// A shard without connections.
    pub fn new(parts: Parts) -> Shard {
        Shard {
            room: Room {
                id: parts.id,
                tree: parts.tree,
                watches: Watches::new(parts.seed),
                auth: parts.auth,
                settings: parts.settings,
                stats: parts.stats,
                said: Said::default(),
            },
            slots: Vec::new(),
            free: Vec::new(),
            inlet: parts.inlet,
            stream: parts.stream,
            serving: if parts.serving { Clients::All } else { Clients::Nobody },
            dirty: Vec::new(),
            outstanding_all: parts.outstanding_all,
            outstanding: 0,
            outstanding_told: 0,
            queued_bytes: 0,
            unread_bytes: 0,
            unread_was_much: false,
            starved: VecDeque::new(),
            next_look: Millis(i64::MAX),
            sweeping: false,
            events: Vec::new(),
        }
    }

    /// A client connected. `link` is the driver's name for the socket.
    pub fn connected(&mut self, link: u64, peer: SocketAddr, now: Now) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, conn: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.next_look = self.next_look.min(now.mono.plus(self.room.settings.sessionless_timeout_ms));
        slot.conn = Some(Box::new(Conn {
            peer,
            link,
            state: State::Fresh,
            closing: false,
            abort: false,
            input: Vec::new(),
            output: Vec::new(),
            sending: 0,
            sending_since: now.mono,
            counted: 0,
            paused: false,
            starved: false,
            dirty: false,
            ids: self.room.auth.initial_ids(peer.ip()).into(),
            session: SessionId::NONE,
            pulse: None,
            timeout_ms: 0,
            read_only: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            heard: now.mono,
            word: None,
            stats: ConnStats::new(now.wall),
        }));
        self.room.stats.connections.fetch_add(1, Relaxed);
        Key { index, generation: slot.generation }
    }

    /// Bytes came from a client.
    pub fn received(&mut self, key: Key, bytes: &[u8], now: Now) {
        if self.stream.is_behind() {
            self.catch_up(now);
        }
        let Some(conn) = self.conn_mut(key) else { return };
        if !conn.wants_input() {
            return;
        }
        if conn.input.is_empty() {
            if conn.state == State::Ready {
                warm::warm(&self.room.tree, bytes);
            }
            let used = self.parse(key, bytes, now);
            if let Some(conn) = self.conn_mut(key).filter(|conn| conn.wants_input()) {
                conn.input.extend_from_slice(&bytes[used..]);
            }
        } else {
            conn.input.extend_from_slice(bytes);
            self.pump(key, now);
        }
    }

    /// The connection is gone, whoever ended it.
    pub fn disconnected(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation) else {
            return;
        };
        let Some(conn) = slot.conn.take() else { return };
        self.free.push(key.index);
        self.outstanding -= conn.queue.len();
        self.queued_bytes -= conn.queued_bytes;
        self.unread_bytes -= conn.counted;
        self.room.watches.remove_all(key);
        self.sweeping = true;
        self.room.tell_watches();
        self.room.stats.connections.fetch_sub(1, Relaxed);
    }

    /// Time passes: connections without a session, and sessions that have not been heard of, lose their connection.
    pub fn tick(&mut self, now: Now) {
        if now.mono > self.next_look {
            self.end_the_silent(now);
        }
        if self.unread_bytes > self.room.settings.unread_bytes_max {
            self.end_the_stalled(now);
        }
        self.feed_starved(now);
    }

    /// Much is unread: those who have taken nothing for longest lose their connections, until it is no longer much.
    fn end_the_stalled(&mut self, now: Now) {
        let allowed_ms =
            if self.unread_bytes > 2 * self.room.settings.unread_bytes_max { STALL_HARD_MS } else { STALL_MS };
        let mut stalled: Vec<(Millis, Key)> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(conn) = slot.conn.as_ref().filter(|conn| conn.sending > 0 && !conn.abort) else { continue };
            if now.mono.since(conn.sending_since) > allowed_ms {
                stalled.push((conn.sending_since, Key { index: index as u32, generation: slot.generation }));
            }
        }
        stalled.sort_unstable();
        let mut left = self.unread_bytes;
        let mut ended = 0;
        for (_, key) in stalled {
            if left <= self.room.settings.unread_bytes_max {
                break;
            }
            let Some(conn) = self.conn_mut(key) else { continue };
            left -= conn.counted.min(left);
            ended += 1;
            self.give_up(key);
        }
        if ended > 0 {
            tracing::warn!(
                connections = ended,
                unread_bytes = self.unread_bytes,
                "clients do not read their answers, closing those that have taken nothing for longest"
            );
        }
    }

    /// Closes a connection whose client takes nothing, with all that it was to get.
    fn give_up(&mut self, key: Key) {
        if let Some(conn) = self.conn_mut(key) {
            conn.output = Vec::new();
            conn.abort = true;
        }
        self.end(key);
    }

    /// Goes on with those who had to wait for others, as far as there is room.
    fn feed_starved(&mut self, now: Now) {
        while self.unread_bytes <= 2 * self.room.settings.unread_bytes_max
            && let Some(key) = self.starved.pop_front()
        {
            if let Some(conn) = self.conn_mut(key) {
                conn.starved = false;
                self.pump(key, now);
            }
        }
    }

    /// True once after much output was held and is not any more: a moment to give memory back to the system.
    pub fn gives_back(&mut self) -> bool {
        self.unread_bytes < UNREAD_BYTES_MUCH / 4 && std::mem::take(&mut self.unread_was_much)
    }

    /// Walks all connections, and finds out when to do so next.
    fn end_the_silent(&mut self, now: Now) {
        self.next_look = Millis(i64::MAX);
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let key = Key { index: index as u32, generation: slot.generation };
            let Some(conn) = slot.conn.as_mut() else { continue };
            // Once a session exists its own timeout counts, rounded up as ZooKeeper's buckets do (client-protocol.md §2).
            let sessionless = conn.pulse.is_none();
            let allowed_ms =
                self.room.settings.sessionless_timeout_ms + if sessionless { 0 } else { i64::from(conn.timeout_ms) };
            let due = conn.heard.plus(allowed_ms);
            if now.mono <= due {
                self.next_look = self.next_look.min(due);
                continue;
            }
            // Whoever is being closed and has not taken its last answers in all that time does not get more of it.
            conn.abort = conn.closing;
            self.next_look = now.mono;
            if sessionless && !conn.closing {
                ShardStats::bump(&self.room.stats.sessionless_expired);
            }
            self.end(key);
        }
    }

    /// Call after each round of events: hands on what the sequencer must see. True if the write stage should be woken.
    pub fn flush(&mut self) -> bool {
        // Any transaction may fire a watch.
        self.stream.listen(!self.room.watches.is_empty());
        if self.outstanding != self.outstanding_told {
            if self.outstanding > self.outstanding_told {
                self.outstanding_all.fetch_add(self.outstanding - self.outstanding_told, Relaxed);
            } else {
                self.outstanding_all.fetch_sub(self.outstanding_told - self.outstanding, Relaxed);
            }
            self.outstanding_told = self.outstanding;
            self.room.stats.outstanding.store(self.outstanding as u64, Relaxed);
        }
        self.inlet.flush()
    }

    /// Connections for which the driver has something to do; each is named once.
    pub fn take_dirty(&mut self) -> Vec<Key> {
        for key in &self.dirty {
            if let Some(conn) = self.slots[key.index as usize].conn.as_mut() {
                conn.dirty = false;
            }
        }
        std::mem::take(&mut self.dirty)
    }

    /// What there is to do for a connection, if it still exists.
    pub fn io(&mut self, key: Key) -> Option<Io> {
        let conn = self.conn_mut(key)?;
        Some(Io {
            link: conn.link,
            closing: conn.closing,
            abort: conn.abort,
            paused: conn.paused || !conn.accepts_frames(),
            word: conn.word.take(),
            output_bytes: conn.output.len(),
        })
    }

    /// The driver takes a connection's output to send it, and leaves an empty buffer.
    pub fn take_output(&mut self, key: Key, empty: Vec<u8>, now: Now) -> Vec<u8> {
        let Some(conn) = self.conn_mut(key) else { return Vec::new() };
        let output = std::mem::replace(&mut conn.output, empty);
        (conn.sending, conn.sending_since) = (output.capacity(), now.mono);
        output
    }

    /// The driver sent something; what the connection could not send before may go now, and reading may go on. If there is
    /// nothing to send, its buffer comes back, so that idle connections stay small.
    pub fn sent(&mut self, key: Key, now: Now) -> Option<Vec<u8>> {
        let conn = self.conn_mut(key)?;
        conn.sending = 0;
        let unpause = conn.paused && conn.output.len() < OUTPUT_PAUSE_BYTES;
        self.touch_dirty(key);
        if unpause {
            self.pump(key, now);
        }
        self.feed_starved(now);
        let conn = self.conn_mut(key)?;
        (conn.output.is_empty() && conn.output.capacity() > 0).then(|| std::mem::take(&mut conn.output))
    }

    /// The text of a four-letter word: sent, then the connection closes.
    pub fn answer_word(&mut self, key: Key, text: &str) {
        let Some(conn) = self.conn_mut(key) else { return };
        conn.output.extend_from_slice(text.as_bytes());
        self.end(key);
    }

    /// Closes every connection after what is queued for it has been sent.
    pub fn shut_down(&mut self) {
        for index in 0..self.slots.len() {
            let generation = self.slots[index].generation;
            if self.slots[index].conn.is_some() {
                self.end(Key { index: index as u32, generation });
            }
        }
    }

    /// The zxid at which this shard reads.
    pub fn zxid(&self) -> Zxid {
        self.room.tree.zxid()
    }

    /// The tree as this shard reads it, for whoever compares.
    pub fn tree(&self) -> &TreeReader {
        &self.room.tree
    }

    /// Is there something in the commit stream that this shard has not seen?
    pub fn is_behind(&self) -> bool {
        self.stream.is_behind()
    }

    /// What `srst` resets.
    pub fn reset_stats(&self) {
        self.room.stats.reset();
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Requests that wait for an answer.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// What `cons` and `stat` show of this shard.
    pub fn connection_report(&self) -> Vec<ConnReport> {
        let conns = self.slots.iter().filter_map(|slot| slot.conn.as_ref());
        conns
            .map(|conn| ConnReport {
                peer: conn.peer,
                // What Java calls interest: 1 to read, 4 to write.
                interest: u8::from(!conn.paused) | if conn.output.is_empty() { 0 } else { 4 },
                queued: conn.queue.len(),
                session: (conn.session != SessionId::NONE).then_some(conn.session),
                timeout_ms: conn.timeout_ms,
                heard: conn.heard,
                stats: conn.stats.clone(),
            })
            .collect()
    }

    /// What `wchs` shows of this shard.
    pub fn watch_counts(&self) -> WatchCounts {
        let mut path_hashes = Vec::new();
        let watches::Summary { watchers, watches, .. } = self.room.watches.summary(|hash| path_hashes.push(hash));
        WatchCounts { watchers, watches, path_hashes }
    }

    /// Forgets some of the watches of connections that are gone. True if more are to be forgotten: call it again soon.
    pub fn sweep(&mut self) -> bool {
        if !self.sweeping {
            return false;
        }
        self.sweeping = self.room.watches.sweep(SWEPT_AT_ONCE);
        self.room.tell_watches();
        self.sweeping
    }

    /// What `wchc` and `wchp` show of this shard.
    pub fn watch_report(&self) -> WatchReport {
        let mut by_path: BTreeMap<String, Vec<SessionId>> = BTreeMap::new();
        for (path, keys) in self.room.watches.by_path() {
            let sessions = keys.into_iter().map(|key| self.conn(key).map_or(SessionId::NONE, |conn| conn.session));
            by_path.insert(path.to_owned(), sessions.collect());
        }
        WatchReport { by_path }
    }

    /// What `crst` resets.
    pub fn reset_connection_stats(&mut self) {
        for conn in self.slots.iter_mut().filter_map(|slot| slot.conn.as_mut()) {
            conn.stats.reset();
        }
    }

    fn conn(&self, key: Key) -> Option<&Conn> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.conn.as_deref() } else { None }
    }

    fn conn_mut(&mut self, key: Key) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.conn.as_deref_mut() } else { None }
    }

    fn conn_ref(&self, key: Key) -> ConnRef {
        ConnRef { shard: self.room.id, index: key.index, generation: key.generation }
    }

    /// Tells the driver to look at a connection, and counts what the connection has to send.
    fn touch_dirty(&mut self, key: Key) {
        let Some(conn) = self.conn_mut(key) else { return };
        let unread = conn.unread();
        let counted = std::mem::replace(&mut conn.counted, unread);
        let fresh = !std::mem::replace(&mut conn.dirty, true);
        self.unread_bytes = self.unread_bytes - counted + unread;
        self.unread_was_much |= self.unread_bytes > UNREAD_BYTES_MUCH;
        if fresh {
            self.dirty.push(key);
        }
    }

    /// Nothing more is read or answered; what is queued for sending is sent, then the socket closes.
    fn end(&mut self, key: Key) {
        if let Some(conn) = self.conn_mut(key) {
            conn.closing = true;
            conn.input = Vec::new();
            // Writes that are under way are done all the same; nobody waits for them.
            let waited = std::mem::take(&mut conn.queue).len();
            let bytes = std::mem::take(&mut conn.queued_bytes);
            self.outstanding -= waited;
            self.queued_bytes -= bytes;
        }
        self.touch_dirty(key);
    }

    /// Looks at the frames that were kept.
    fn pump(&mut self, key: Key, now: Now) {
        let Some(conn) = self.conn_mut(key) else { return };
        let input = std::mem::take(&mut conn.input);
        let used = self.parse(key, &input, now);
        if let Some(conn) = self.conn_mut(key).filter(|conn| conn.wants_input()) {
            conn.keep_input(input, used);
        }
    }

    /// Handles the complete frames at the front of `bytes` as far as the connection may; answers how many bytes were used.
    fn parse(&mut self, key: Key, bytes: &[u8], now: Now) -> usize {
        let mut used = 0;
        loop {
            if self.throttle(key) {
                return used;
            }
            let frame_bytes_max = self.room.settings.frame_bytes_max;
            let Some(conn) = self.conn_mut(key).filter(|conn| conn.accepts_frames()) else { return used };
            let rest = &bytes[used..];
            if rest.len() < 4 {
                return used;
            }
            if conn.state == State::Fresh {
                match opening(rest) {
                    Opening::Word(word) => {
                        conn.state = State::Leaving;
                        conn.heard = now.mono;
                        conn.word = Some(word);
                        self.touch_dirty(key);
                        return bytes.len();
                    }
                    Opening::Incomplete => return used,
                    Opening::Packet => {}
                }
            }
            let length = i32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
            let Some(size) = usize::try_from(length).ok().filter(|size| *size <= frame_bytes_max) else {
                // As in Java the client is not told; the operator is, because a limit that is too low looks like this.
                let (peer, session) = (conn.peer, conn.session);
                if let Some(unsaid) = self.room.said.length.ask(now.mono) {
                    tracing::warn!(%peer, %session, length, limit = frame_bytes_max, unsaid, "packet length out of bounds, closing");
                }
                self.end(key);
                return bytes.len();
            };
            let Some(frame) = rest.get(4..4 + size) else { return used };
            used += 4 + size;
            conn.heard = now.mono;
            conn.stats.received += 1;
            self.room.stats.packet_received(size + 4);
            match self.conn(key).map(|conn| conn.state) {
                Some(State::Fresh) => self.connect_request(key, frame, now),
                Some(State::Ready) => self.request(key, frame, now),
                _ => return used,
            }
        }
    }

    /// Must this connection wait? If so it is paused until something was sent to it: whoever waits has output on its way, or a
    /// request under way whose answer will be output, or is listed as waiting for others.
    fn throttle(&mut self, key: Key) -> bool {
        let others = self.outstanding_all.load(Relaxed).saturating_sub(self.outstanding_told);
        let waiting = others + self.outstanding;
        let crowded = self.inlet.is_full()
            || waiting > self.room.settings.outstanding_max
            || self.queued_bytes > QUEUED_BYTES_MAX;
        let (glut, full) = (
            self.unread_bytes > self.room.settings.unread_bytes_max,
            self.unread_bytes > 2 * self.room.settings.unread_bytes_max,
        );
        let Some(conn) = self.conn_mut(key) else { return true };
        let unread = conn.unread() > 0;
        let stuck = conn.output.len() > OUTPUT_PAUSE_BYTES || glut && unread;
        let starved = full && !unread && conn.queue.is_empty();
        // As in ZooKeeper only a connection with requests under way is held up by the common limit.
        let wait = stuck || starved || crowded && !conn.queue.is_empty();
        if starved && !std::mem::replace(&mut conn.starved, true) {
            self.starved.push_back(key);
        }
        let Some(conn) = self.conn_mut(key) else { return true };
        if std::mem::replace(&mut conn.paused, wait) != wait {
            self.touch_dirty(key);
        }
        wait
    }

    /// One request of a session.
    fn request(&mut self, key: Key, frame: &[u8], now: Now) {
        let mut r = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut r) else {
            self.end(key);
            return;
        };
        let Some(conn) = self.conn(key) else { return };
        if let Some(pulse) = &conn.pulse {
            pulse.beat(now.mono);
        }
        let (body, xid) = (r.rest(), header.xid);
        let op = Op::from_i32(header.op);
        match op {
            Some(Op::Auth) => return self.authenticate(key, xid, body, now),
            Some(Op::Sasl) => return self.sasl(key, xid, body),
            _ => {}
        }
        if !self.room.auth.enforced(&conn.ids) {
            return self.refuse(key, xid, Code::SessionClosedRequireSaslAuth);
        }
        match op {
            Some(op) if self.serving == Clients::Readers && is_refused_to_readers(op) => {
                self.header_only(key, xid, self.room.tree.zxid(), Code::NotReadOnly);
            }
            Some(op) if op.is_write() && op != Op::CreateSession => {
                let (session, ids) = (conn.session, Arc::clone(&conn.ids));
                let (conn, bytes, body) = (self.conn_ref(key), body.len(), body.into());
                self.inlet.push(ToSequencer::Write(WriteRequest {
                    from: Origin::Conn(conn),
                    session,
                    xid,
                    op,
                    ids,
                    body,
                }));
                self.wait(key, Queued::Waiting { xid, op, since: now.mono, bytes, echo: None });
                if op == Op::CloseSession {
                    self.leave(key);
                }
            }
            Some(op @ (Op::Sync | Op::GetEphemerals)) => self.ordered_read(key, xid, op, body, now),
            _ => {
                self.read_or_wait(key, xid, header.op, body, now);
                // Its answer ends the connection, so nothing behind it may be done, even if the answer has to wait.
                if !reads::is_read(op) {
                    self.leave(key);
                }
            }
        }
    }

    /// sync and getEphemerals: reads that the sequencer answers, in order with all writes.
    fn ordered_read(&mut self, key: Key, xid: Xid, op: Op, body: &[u8], now: Now) {
        let path = match Reader::with_limit(body, self.room.settings.length_max).string_or_null() {
            Ok(Some(path)) => path,
            // No prefix is every prefix.
            Ok(None) if op == Op::GetEphemerals => "".into(),
            _ => return self.read_or_wait(key, xid, op.as_i32(), body, now),
        };
        let Some(session) = self.conn(key).map(|conn| conn.session) else { return };
        let conn = self.conn_ref(key);
        let echo = (op == Op::Sync).then(|| path.as_ref().into());
        self.inlet.push(match op {
            Op::Sync => ToSequencer::Sync { conn, xid },
            _ => ToSequencer::Ephemerals { conn, session, xid, prefix: path.into_owned() },
        });
        self.wait(key, Queued::Waiting { xid, op, since: now.mono, bytes: body.len(), echo });
    }

    fn wait(&mut self, key: Key, queued: Queued) {
        if let Some(conn) = self.conn_mut(key) {
            let bytes = queued.bytes();
            conn.queue.push_back(queued);
            conn.queued_bytes += bytes;
            self.outstanding += 1;
            self.queued_bytes += bytes;
        }
    }

    /// The request just taken is the connection's last: what follows it is not looked at; ZooKeeper drops it as well.
    fn leave(&mut self, key: Key) {
        if let Some(conn) = self.conn_mut(key) {
            conn.state = State::Leaving;
        }
        self.touch_dirty(key);
    }

    /// Answers a read now, or behind the session's writes that are under way.
    fn read_or_wait(&mut self, key: Key, xid: Xid, op: i32, body: &[u8], now: Now) {
        let Some(conn) = self.conn_mut(key) else { return };
        if conn.queue.is_empty() {
            self.read(key, xid, op, body, None, now, now.mono);
        } else {
            let ids = Arc::clone(&conn.ids);
            self.wait(key, Queued::Read { xid, op, body: body.into(), ids, since: now.mono });
        }
    }

    /// The auth packet is answered at once, ahead of requests under way, as ZooKeeper's connection layer does.
    fn authenticate(&mut self, key: Key, xid: Xid, body: &[u8], now: Now) {
        let length_max = self.room.settings.length_max;
        let Some(conn) = self.conn(key) else { return };
        let mut ids: Vec<Id> = conn.ids.to_vec();
        let outcome = match AuthPacket::decode(&mut Reader::with_limit(body, length_max)) {
            Ok(packet) => self.room.auth.authenticate(&packet.scheme, packet.auth, &mut ids),
            Err(_) => Outcome::CloseNow,
        };
        match outcome {
            Outcome::Ok => {
                if let Some(conn) = self.conn_mut(key) {
                    conn.ids = ids.into();
                }
                self.header_only(key, xid, Zxid::ZERO, Code::Ok);
            }
            Outcome::Failed => {
                ShardStats::bump(&self.room.stats.auth_failed);
                if let Some(unsaid) = self.room.said.auth.ask(now.mono) {
                    tracing::warn!(peer = ?self.conn(key).map(|conn| conn.peer), unsaid, "authentication failed");
                }
                self.refuse(key, xid, Code::AuthFailed);
            }
            Outcome::CloseNow => self.end(key),
        }
    }

    /// There is no SASL here: as from a Java server that was not told of it, there is no token in the answer.
    fn sasl(&mut self, key: Key, xid: Xid, body: &[u8]) {
        match Reader::with_limit(body, self.room.settings.length_max).buffer() {
            Ok(Some(_)) => self.reply(key, |out| proto::reply::put_no_token_frame(out, xid)),
            _ => self.end(key),
        }
    }

    /// An error with zxid 0, and the end of the connection.
    fn refuse(&mut self, key: Key, xid: Xid, code: Code) {
        self.header_only(key, xid, Zxid::ZERO, code);
        self.end(key);
    }

    fn header_only(&mut self, key: Key, xid: Xid, zxid: Zxid, code: Code) {
        self.reply(key, |out| put_header_frame(out, xid, zxid, code));
    }

    fn reply(&mut self, key: Key, put: impl FnOnce(&mut Vec<u8>)) {
        let Some(conn) = self.conn_mut(key) else { return };
        let before = conn.output.len();
        put(&mut conn.output);
        conn.stats.sent += 1;
        let bytes = conn.output.len() - before;
        self.room.stats.packet_sent(bytes);
        self.touch_dirty(key);
    }

    /// Queues an event for a connection if its identities may read the node.
    fn notify(&mut self, key: Key, commit: (Zxid, Now), event: EventType, path: &str, acl: &[proto::Acl]) {
        let (zxid, now) = commit;
        let Some(conn) = self.slots[key.index as usize].conn.as_deref_mut() else { return };
        if conn.closing || !self.room.auth.allows(acl, proto::perms::READ, &conn.ids) {
            return;
        }
        let before = conn.output.len();
        put_notification(&mut conn.output, zxid, event, path);
        conn.stats.sent += 1;
        self.room.stats.packet_sent(conn.output.len() - before);
        let held = conn.output.len();
        if held > OUTPUT_MAX_BYTES
            || held > EVENTS_HARD_BYTES && self.unread_bytes > 2 * self.room.settings.unread_bytes_max
        {
            if let Some(unsaid) = self.room.said.events.ask(now.mono) {
                tracing::warn!(peer = %conn.peer, session = %conn.session, unsaid, "client does not read its events, closing");
            }
            self.give_up(key);
        }
        self.touch_dirty(key);
    }
}

/// What a server without a leader cannot do: everything that needs one (client-protocol.md §20).
fn is_refused_to_readers(op: Op) -> bool {
    op == Op::Sync || op.is_write() && !matches!(op, Op::CreateSession | Op::CloseSession)
}
