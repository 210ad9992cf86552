//! `dump`: when sessions and connections expire, and which ephemerals hang on which session.
//!
//! Dates are in UTC. ZooKeeper's lines of sessions name no timeout, though the tracker knows it; those of a learner do.

use std::collections::BTreeMap;
use std::fmt::Write;

use member::report::{Buckets, ConnReport};
use proto::{Millis, SessionId};

use crate::java::{Date, Peer};
use crate::{Facts, Role};

pub(super) fn text(facts: &Facts) -> String {
    let mut out = "SessionTracker dump:\n".to_owned();
    let (local, all) = (&facts.writes.local, &facts.writes.buckets);
    if let Some(local) = local {
        out.push_str("Local ");
        session_sets(&mut out, facts, local);
    }
    match facts.role {
        Role::Follower | Role::Observer | Role::ReadOnly => {
            known_sessions(&mut out, all.iter().flat_map(|(_, sessions)| sessions));
        }
        Role::Leader | Role::Standalone | Role::NotServing => {
            out.push_str(if local.is_some() { "Global " } else { "" });
            session_sets(&mut out, facts, all);
        }
    }

    out.push_str("ephemeral nodes dump:\n");
    _ = writeln!(out, "Sessions with Ephemerals ({}):", facts.writes.ephemerals.len());
    for (session, paths) in &facts.writes.ephemerals {
        _ = writeln!(out, "{session}:");
        for path in paths {
            _ = writeln!(out, "\t{path}");
        }
    }

    out.push_str("Connections dump:\n");
    let buckets = connection_buckets(facts);
    _ = writeln!(out, "Connections Sets ({})/({}):", buckets.len(), facts.connections.len());
    for (expiry, conns) in buckets {
        _ = writeln!(out, "{} expire at {}:", conns.len(), date(facts, expiry));
        for conn in conns {
            let session = conn.session.unwrap_or(SessionId::NONE);
            _ = writeln!(out, "\tip: {} sessionId: {session}", Peer(conn.peer));
        }
    }
    out
}

/// Sessions by the time at which whoever decides about them lets them expire.
fn session_sets(out: &mut String, facts: &Facts, buckets: &Buckets) {
    let sessions: usize = buckets.iter().map(|(_, sessions)| sessions.len()).sum();
    _ = writeln!(out, "Session Sets ({})/({sessions}):", buckets.len());
    for (expiry, sessions) in buckets {
        _ = writeln!(out, "{} expire at {}:", sessions.len(), date(facts, Millis(*expiry)));
        for (session, _) in sessions {
            _ = writeln!(out, "\t{session}");
        }
    }
}

/// A learner knows the ensemble's sessions, and nothing of their ends.
fn known_sessions<'a>(out: &mut String, sessions: impl IntoIterator<Item = &'a (SessionId, i32)>) {
    let sessions: BTreeMap<SessionId, i32> = sessions.into_iter().copied().collect();
    _ = writeln!(out, "Global Sessions({}):", sessions.len());
    for (session, timeout_ms) in sessions {
        _ = writeln!(out, "{session}\t{timeout_ms}ms");
    }
}

/// The date of a reading of the monotonic clock.
fn date(facts: &Facts, mono: Millis) -> Date {
    Date(facts.now_wall.plus(mono.since(facts.now_mono)))
}

/// Connections by the time at which ZooKeeper would close each if nothing more came: its timeout after it was last heard
/// of, on to the next multiple of the sessionless timeout, which is also the timeout of a connection without a session.
fn connection_buckets(facts: &Facts) -> BTreeMap<Millis, Vec<&ConnReport>> {
    let grain = facts.server.sessionless_timeout_ms.max(1);
    let mut buckets: BTreeMap<Millis, Vec<&ConnReport>> = BTreeMap::new();
    for conn in &facts.connections {
        let timeout = if conn.session.is_some() { i64::from(conn.timeout_ms) } else { grain };
        let bucket = conn.heard.plus(timeout).0.div_euclid(grain) + 1;
        buckets.entry(Millis(bucket.saturating_mul(grain))).or_default().push(conn);
    }
    buckets
}
