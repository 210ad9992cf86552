//! Which sessions are alive, and when they expire (client-protocol.md §18).
//!
//! [`Tracker`] belongs to the one stage that orders writes. Connections keep a session alive by its [`Pulse`], one relaxed
//! store per request and no message; the tracker looks at the pulse only when the session comes due, and moves it to a later
//! bucket if it was heard of meanwhile. What this yields is exactly what moving it at every request would yield.
//!
//! ```text
//!            open                 expire, or begin_close              close
//!  (unknown) ────▶ alive ─────────────────────────────▶ closing ──────────────▶ (unknown)
//!                  │  ▲                                 known, but deaf: neither pulse nor reattach revives it
//!                  └──┘ pulse, reattach
//! ```
//!
//! Times are readings of one monotonic clock, in milliseconds, and come in as arguments. Not here: passwords, connections,
//! which server owns a session, and the transactions that open and close them.
#![forbid(unsafe_code)]

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use foldhash::fast::FixedState;
pub use pipeline::Pulse;
use proto::stat::Owner;
use proto::{Code, Millis, SessionId};

/// Bounds that an operator sets, all in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `tickTime`, at least 1: sessions expire at multiples of it.
    pub tick_ms: i32,
    /// `minSessionTimeout`.
    pub timeout_min_ms: i32,
    /// `maxSessionTimeout`.
    pub timeout_max_ms: i32,
}

#[derive(Debug)]
struct Session {
    timeout_ms: i32,
    pulse: Arc<Pulse>,
    /// The bucket in which the wheel has it; `None` once it is closing.
    bucket: Option<i64>,
}

/// All sessions of this server. See the crate's page.
#[derive(Debug)]
pub struct Tracker {
    settings: Settings,
    sessions: HashMap<SessionId, Session, FixedState>,
    /// (bucket, session) of every session that is alive, in order.
    wheel: BTreeSet<(i64, SessionId)>,
}

impl Tracker {
    /// A tracker without sessions.
    ///
    /// # Panics
    /// If the tick is not positive or the bounds of the timeout are the wrong way round.
    pub fn new(settings: Settings) -> Tracker {
        assert!(settings.tick_ms > 0, "a tick lasts at least a millisecond");
        assert!(settings.timeout_min_ms <= settings.timeout_max_ms, "the least timeout is not above the greatest");
        Tracker { settings, sessions: HashMap::default(), wheel: BTreeSet::new() }
    }

    /// The bounds, for another tracker of the same server.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Forgets all sessions: who leads an ensemble tracks them, and does not lead any more or begins anew.
    pub fn clear(&mut self) {
        self.sessions.clear();
        self.wheel.clear();
    }

    /// The timeout that a client gets when it asks for this one.
    pub fn negotiate(&self, wanted_ms: i32) -> i32 {
        wanted_ms.clamp(self.settings.timeout_min_ms, self.settings.timeout_max_ms)
    }

    /// The first multiple of the tick after `heard` plus the timeout: when a session last heard of then expires.
    pub fn expiry(&self, heard: Millis, timeout_ms: i32) -> Millis {
        let tick = i64::from(self.settings.tick_ms);
        Millis((heard.plus(i64::from(timeout_ms)).0 / tick + 1).saturating_mul(tick))
    }

    /// Begins to track a session, new or found on disk. A session that is already known and alive is touched and keeps its
    /// timeout; a closing one stays as it is.
    pub fn open(&mut self, id: SessionId, timeout_ms: i32, now: Millis) -> Arc<Pulse> {
        self.adopt(id, timeout_ms, Arc::default(), now)
    }

    /// The same for a session with a pulse from another tracker, which is that of its connection.
    pub fn adopt(&mut self, id: SessionId, timeout_ms: i32, pulse: Arc<Pulse>, now: Millis) -> Arc<Pulse> {
        let expiry = self.expiry(now, timeout_ms).0;
        let pulse = match self.sessions.entry(id) {
            Entry::Occupied(known) => Arc::clone(&known.get().pulse),
            Entry::Vacant(place) => {
                self.wheel.insert((expiry, id));
                Arc::clone(&place.insert(Session { timeout_ms, pulse, bucket: Some(expiry) }).pulse)
            }
        };
        pulse.beat(now);
        pulse
    }

    /// A client comes back to its session with a newly negotiated timeout, which counts from now on. `None` if the session
    /// is unknown or closing: the client must be refused.
    pub fn reattach(&mut self, id: SessionId, timeout_ms: i32, now: Millis) -> Option<Arc<Pulse>> {
        let expiry = self.expiry(now, timeout_ms).0;
        let session = self.sessions.get_mut(&id)?;
        let bucket = session.bucket?;
        session.pulse.beat(now);
        session.timeout_ms = timeout_ms;
        // The new timeout may be the shorter one, so the wheel must not wait for the old bucket.
        session.bucket = Some(expiry);
        let pulse = Arc::clone(&session.pulse);
        self.wheel.remove(&(bucket, id));
        self.wheel.insert((expiry, id));
        Some(pulse)
    }

    /// The pulse of a session that is alive.
    pub fn pulse(&self, id: SessionId) -> Option<Arc<Pulse>> {
        self.sessions.get(&id).filter(|session| session.bucket.is_some()).map(|session| Arc::clone(&session.pulse))
    }

    /// May a request of this session go ahead? If not, the code that says why: unknown or closing.
    pub fn check(&self, id: SessionId) -> Result<(), Code> {
        match self.sessions.get(&id) {
            None => Err(Code::UnknownSession),
            Some(session) if session.bucket.is_none() => Err(Code::SessionExpired),
            Some(_) => Ok(()),
        }
    }

    /// Is the session tracked, closing ones included?
    pub fn is_known(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// The session is about to be closed: a closeSession is on its way. False if it is unknown or closing already.
    pub fn begin_close(&mut self, id: SessionId) -> bool {
        let Some(bucket) = self.sessions.get_mut(&id).and_then(|session| session.bucket.take()) else { return false };
        self.wheel.remove(&(bucket, id))
    }

    /// The closeSession was applied: forgets the session. False if it was unknown.
    pub fn close(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        if let Some(bucket) = session.bucket {
            self.wheel.remove(&(bucket, id));
        }
        true
    }

    /// The sessions that have expired by now, in the order of their ids. Each is named once and is closing from now on; the
    /// caller submits a closeSession for it and calls [`Tracker::close`] when that is applied.
    pub fn expire(&mut self, now: Millis) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some(&(bucket, id)) = self.wheel.first() {
            if bucket > now.0 {
                break;
            }
            self.wheel.pop_first();
            let session = self.sessions.get(&id).expect("whatever is on the wheel is tracked");
            let expiry = self.expiry(session.pulse.last_heard(), session.timeout_ms).0;
            let bucket = (expiry > now.0).then_some(expiry);
            match bucket {
                Some(bucket) => _ = self.wheel.insert((bucket, id)),
                None => expired.push(id),
            }
            self.sessions.get_mut(&id).expect("whatever is on the wheel is tracked").bucket = bucket;
        }
        expired.sort_unstable();
        expired
    }

    /// When to call [`Tracker::expire`] next: nothing expires before.
    pub fn next_expiry(&self) -> Option<Millis> {
        self.wheel.first().map(|(bucket, _)| Millis(*bucket))
    }

    /// Count of tracked sessions, closing ones included.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Every tracked session with its timeout in ms, in the order of the ids.
    #[allow(clippy::disallowed_methods, reason = "sorted before anybody sees it")]
    pub fn list(&self) -> Vec<(SessionId, i32)> {
        let mut list: Vec<_> = self.sessions.iter().map(|(id, session)| (*id, session.timeout_ms)).collect();
        list.sort_unstable();
        list
    }

    /// The sessions that are alive by the time at which each expires if it is not heard of again.
    pub fn buckets(&self) -> BTreeMap<Millis, Vec<SessionId>> {
        let mut buckets: BTreeMap<Millis, Vec<SessionId>> = BTreeMap::new();
        for (_, id) in &self.wheel {
            let session = &self.sessions[id];
            buckets.entry(self.expiry(session.pulse.last_heard(), session.timeout_ms)).or_default().push(*id);
        }
        for ids in buckets.values_mut() {
            ids.sort_unstable();
        }
        buckets
    }

    /// Appends the tracker's part of the four-letter word `dump` (config-and-ops.md §4). `date` turns a reading of the
    /// monotonic clock into the text of that date, as Java's `Date` prints it.
    pub fn dump(&self, out: &mut String, mut date: impl FnMut(Millis) -> String) {
        let buckets = self.buckets();
        // Writing to a string cannot fail.
        _ = writeln!(out, "Session Sets ({})/({}):", buckets.len(), self.count());
        for (expiry, ids) in &buckets {
            _ = writeln!(out, "{} expire at {}:", ids.len(), date(*expiry));
            for id in ids {
                _ = writeln!(out, "\t{id}");
            }
        }
    }
}

/// Makes session ids. They grow by one; the first comes from a monotonic clock, so that ids of one server's lives differ.
#[derive(Debug)]
pub struct Ids {
    next: i64,
}

impl Ids {
    /// Ids of the server with this number (its myid; 1 when standalone), started at `elapsed` on a monotonic clock.
    pub fn new(server: u8, elapsed: Millis) -> Ids {
        let next = (((elapsed.0 as u64) << 24) >> 8) as i64 | i64::from(server) << 56;
        Ids { next }
    }

    /// Is this one of this server's ids, also of an earlier life?
    pub fn made(&self, id: SessionId) -> bool {
        id.0 >> 56 == self.next >> 56
    }

    /// The next id that is nobody's. `taken` says which ids are in use: after a reboot the clock begins again, and sessions
    /// that were found on disk may have the ids that would be next.
    pub fn next(&mut self, taken: impl Fn(SessionId) -> bool) -> SessionId {
        loop {
            let id = SessionId(self.next);
            self.next = self.next.wrapping_add(1);
            // As an owner of znodes, this number would say "container".
            let reserved = id == SessionId::NONE || id.0 == Owner::Container.encode();
            if !reserved && !taken(id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests;
