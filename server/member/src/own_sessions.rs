//! Sessions that only this member knows: no transaction made them, and none ends them. Readers have such sessions while there is no
//! leader, and with `localSessionsEnabled` every new client has one.
//!
//! What always holds: each has one connection, the last that took it up, which may be gone by now; and one of the two clocks, this one or
//! that of the ensemble's sessions, but not both. Not here: what becomes of a session that may not stay this member's own, and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::message::OpenedSession;
use pipeline::{ConnRef, Pulse};
use proto::{Millis, SessionId};
use sessions::{Settings, Tracker};

/// Sessions by the time (monotonic ms) at which they expire, with their timeouts in ms.
pub type Buckets = Vec<(i64, Vec<(SessionId, i32)>)>;

/// A session that is not this member's own any more.
pub(crate) struct Taken {
    pub(crate) conn: ConnRef,
    pub(crate) timeout_ms: i32,
    /// That of its connection.
    pub(crate) pulse: Arc<Pulse>,
}

/// See the module's page.
pub(crate) struct OwnSessions {
    clock: Tracker,
    /// Each with the timeout that its client got when it was opened.
    sessions: BTreeMap<SessionId, (ConnRef, i32)>,
    /// The first and the last of all of them, ended ones too.
    given: Option<(SessionId, SessionId)>,
}

impl OwnSessions {
    pub(crate) fn new(settings: Settings) -> OwnSessions {
        OwnSessions { clock: Tracker::new(settings), sessions: BTreeMap::new(), given: None }
    }

    pub(crate) fn clear(&mut self) {
        self.clock.clear();
        self.sessions.clear();
        self.given = None;
    }

    pub(crate) fn open(&mut self, session: SessionId, conn: ConnRef, timeout_ms: i32, now: Millis) -> OpenedSession {
        let pulse = self.clock.open(session, timeout_ms, now);
        self.sessions.insert(session, (conn, timeout_ms));
        self.given = Some((self.given.map_or(session, |(first, _)| first), session));
        OpenedSession { session, timeout_ms, pulse }
    }

    /// A client comes back to its session, with another timeout for its silence from now on; the session's own stays. Also the connection that had it before, if that was another.
    pub(crate) fn attach(
        &mut self,
        session: SessionId,
        conn: ConnRef,
        timeout_ms: i32,
        now: Millis,
    ) -> Option<(OpenedSession, Option<ConnRef>)> {
        let pulse = self.clock.reattach(session, timeout_ms, now)?;
        let (speaker, _) = self.sessions.get_mut(&session)?;
        let before = Some(std::mem::replace(speaker, conn)).filter(|before| *before != conn);
        Some((OpenedSession { session, timeout_ms, pulse }, before))
    }

    /// The connection that speaks for a session, if it is one of these.
    pub(crate) fn conn(&self, session: SessionId) -> Option<ConnRef> {
        self.sessions.get(&session).map(|(conn, _)| *conn)
    }

    /// Was this ever one of them? Nobody else gets sessions of this server meanwhile, and ids rise.
    pub(crate) fn gave(&self, session: SessionId) -> bool {
        self.given.is_some_and(|(first, last)| first <= session && session <= last)
    }

    /// The session ends, or is somebody else's from here on.
    pub(crate) fn take(&mut self, session: SessionId) -> Option<Taken> {
        let pulse = self.clock.pulse(session)?;
        let (conn, timeout_ms) = self.sessions.remove(&session)?;
        self.clock.close(session);
        Some(Taken { conn, timeout_ms, pulse })
    }

    /// Forgets those that were not heard of for too long.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<(SessionId, ConnRef)> {
        let mut ended = Vec::new();
        if self.clock.next_expiry().is_some_and(|due| due <= now) {
            for session in self.clock.expire(now) {
                self.clock.close(session);
                ended.extend(self.sessions.remove(&session).map(|(conn, _)| (session, conn)));
            }
        }
        ended
    }

    pub(crate) fn next_expiry(&self) -> Option<Millis> {
        self.clock.next_expiry()
    }

    pub(crate) fn count(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn buckets(&self) -> Buckets {
        buckets(&self.clock, |session| self.sessions.get(&session).map(|(_, timeout_ms)| *timeout_ms))
    }
}

/// The sessions of a clock, which does not tell their timeouts.
pub(crate) fn buckets(clock: &Tracker, timeout_ms: impl Fn(SessionId) -> Option<i32>) -> Buckets {
    let timed = |id: SessionId| (id, timeout_ms(id).unwrap_or(0));
    clock.buckets().into_iter().map(|(at, ids)| (at.0, ids.into_iter().map(timed).collect())).collect()
}
