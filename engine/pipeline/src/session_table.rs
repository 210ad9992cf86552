//! The sessions that exist, as the transactions say: part of the replicated state, like the tree.
//! Timers are not here; the server's expiry wheel decides when a session ends and asks for a closeSession.

use std::collections::BTreeMap;

use proto::SessionId;

use crate::message::ConnRef;

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Negotiated timeout.
    pub timeout_ms: i32,
    /// The connection that speaks for it.
    pub owner: Option<ConnRef>,
}

/// All sessions, in order of id.
#[derive(Debug, Default)]
pub struct SessionTable {
    sessions: BTreeMap<SessionId, Session>,
}

impl SessionTable {
    /// Adds or replaces a session.
    pub fn insert(&mut self, id: SessionId, session: Session) {
        self.sessions.insert(id, session);
    }

    /// Forgets a session; answers what it was.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.sessions.remove(&id)
    }

    /// Looks one up.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// Looks one up to change it.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}
