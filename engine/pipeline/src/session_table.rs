//! The sessions that exist, as the transactions say: part of the replicated state, like the tree.
//! Timers are not here; the server's expiry wheel decides when a session ends and asks for a closeSession.
//!
//! As with the tree, what a transaction changed can be taken back until the transaction is final.

use std::collections::{BTreeMap, VecDeque};

use proto::{SessionId, Zxid};

use crate::message::Origin;

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Negotiated timeout.
    pub timeout_ms: i32,
    /// Who speaks for it.
    pub owner: Option<Origin>,
}

/// All sessions, in order of id.
#[derive(Debug, Default)]
pub struct SessionTable {
    sessions: BTreeMap<SessionId, Session>,
    /// What sessions were before transactions that are not final.
    undo: VecDeque<(Zxid, SessionId, Option<Session>)>,
}

impl SessionTable {
    /// Adds or replaces a session that is part of the state for good.
    pub fn insert(&mut self, id: SessionId, session: Session) {
        self.sessions.insert(id, session);
    }

    /// The transaction `zxid` opens a session.
    pub fn open(&mut self, zxid: Zxid, id: SessionId, session: Session) {
        let before = self.sessions.insert(id, session);
        self.undo.push_back((zxid, id, before));
    }

    /// The transaction `zxid` closes a session; answers what it was.
    pub fn close(&mut self, zxid: Zxid, id: SessionId) -> Option<Session> {
        let before = self.sessions.remove(&id)?;
        self.undo.push_back((zxid, id, Some(before.clone())));
        Some(before)
    }

    /// Everything up to `zxid` is final.
    pub fn commit(&mut self, zxid: Zxid) {
        while self.undo.pop_front_if(|(at, _, _)| *at <= zxid).is_some() {}
    }

    /// Takes back what transactions after `to` did.
    pub fn rollback(&mut self, to: Zxid) {
        while let Some((_, id, before)) = self.undo.pop_back_if(|(at, _, _)| *at > to) {
            match before {
                Some(session) => _ = self.sessions.insert(id, session),
                None => _ = self.sessions.remove(&id),
            }
        }
    }

    /// The sessions with their timeouts as the last final transaction left them.
    pub fn settled(&self) -> Vec<(SessionId, i32)> {
        let mut timeouts: BTreeMap<SessionId, i32> =
            self.iter().map(|(id, session)| (id, session.timeout_ms)).collect();
        for (_, id, before) in self.undo.iter().rev() {
            match before {
                Some(session) => _ = timeouts.insert(*id, session.timeout_ms),
                None => _ = timeouts.remove(id),
            }
        }
        timeouts.into_iter().collect()
    }

    /// Nobody speaks for any of them.
    pub fn forget_owners(&mut self) {
        self.sessions.values_mut().for_each(|session| session.owner = None);
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
