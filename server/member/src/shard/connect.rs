//! The first packet of a connection: which session will it be? (client-protocol.md §3.2)

use pipeline::message::OpenedSession;
use pipeline::{Clients, Now, ToSequencer};
use proto::SessionId;
use proto::connect::{ConnectRequest, ConnectResponse, session_password};
use proto::reply::{begin_frame, end_frame};

use super::{Key, Shard, State};
use crate::stats::ShardStats;

impl Shard {
    pub(super) fn connect_request(&mut self, key: Key, frame: &[u8], now: Now) {
        ShardStats::bump(&self.room.stats.connection_requests);
        let Ok(request) = ConnectRequest::decode(frame) else {
            self.end(key);
            return;
        };
        let here = self.room.tree.zxid();
        let settings = &self.room.settings;
        let timeout_ms = request.timeout_ms.clamp(settings.session_timeout_min_ms, settings.session_timeout_max_ms);
        let conn_ref = self.conn_ref(key);
        let Some(conn) = self.conn_mut(key) else { return };
        conn.read_only = request.read_only;
        conn.timeout_ms = timeout_ms;
        conn.stats.last_op = "SESS";
        if request.last_zxid_seen > here {
            // The client has seen what this server has not: it must look for another one.
            let peer = conn.peer;
            if let Some(unsaid) = self.room.said.ahead.ask(now.mono) {
                let seen = request.last_zxid_seen;
                tracing::info!(%peer, %seen, %here, unsaid, "client is ahead of this server, closing");
            }
            self.end(key);
            return;
        }
        let served = match self.serving {
            Clients::All => true,
            Clients::Readers => request.read_only == Some(true),
            Clients::Nobody => false,
        };
        if !served {
            tracing::debug!("no leader, closing a new connection");
            self.end(key);
            return;
        }
        if self.inlet.is_full() {
            // Nothing has been written for long. Clients give up and come again, and each time asks for one more session.
            tracing::debug!("too much waits to be written, closing a new connection");
            self.end(key);
            return;
        }
        let Some(conn) = self.conn_mut(key) else { return };
        conn.state = State::Connecting;
        if request.session == SessionId::NONE {
            self.inlet.push(ToSequencer::Open { conn: conn_ref, timeout_ms });
        } else if request.password == session_password(request.session) {
            self.inlet.push(ToSequencer::Attach { conn: conn_ref, session: request.session, timeout_ms });
        } else {
            // Checked before anything else happens to the session: its true owner is not disturbed (java-faults.md).
            let peer = conn.peer;
            if let Some(unsaid) = self.room.said.password.ask(now.mono) {
                tracing::warn!(%peer, session = %request.session, unsaid, "wrong session password");
            }
            self.session_answer(key, None, now);
        }
        self.touch_dirty(key);
    }

    /// The session is there, or it is not.
    pub(super) fn session_answer(&mut self, key: Key, opened: Option<&OpenedSession>, now: Now) {
        let read_only = self.serving == Clients::Readers;
        let Some(conn) = self.conn_mut(key) else { return };
        let response = match opened {
            None => ConnectResponse::refusal(conn.read_only.map(|_| read_only)),
            Some(opened) => ConnectResponse {
                timeout_ms: conn.timeout_ms,
                session: opened.session,
                password: session_password(opened.session),
                read_only: conn.read_only.map(|_| read_only),
            },
        };
        let start = begin_frame(&mut conn.output);
        response.encode(&mut conn.output);
        end_frame(&mut conn.output, start);
        conn.stats.sent += 1;
        conn.heard = now.mono;
        self.touch_dirty(key);
        let Some(opened) = opened else {
            self.end(key);
            return;
        };
        opened.pulse.beat(now.mono);
        let Some(conn) = self.conn_mut(key) else { return };
        conn.state = State::Ready;
        conn.session = opened.session;
        conn.pulse = Some(opened.pulse.clone());
        self.pump(key, now);
    }
}
