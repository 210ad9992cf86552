//! The data-watch tables of all shards as one, in a fixed order. (ZooKeeper's order is that of its hash maps.)

use std::collections::{BTreeMap, BTreeSet};

use proto::SessionId;

use crate::Facts;

/// Watched paths and who watches them.
pub(crate) struct Watches<'f> {
    /// The sessions that watch each path.
    pub(crate) by_path: BTreeMap<&'f str, BTreeSet<SessionId>>,
}

impl<'f> Watches<'f> {
    pub(crate) fn of(facts: &'f Facts) -> Watches<'f> {
        let mut by_path: BTreeMap<&str, BTreeSet<SessionId>> = BTreeMap::new();
        for (path, sessions) in facts.watches.iter().flat_map(|report| &report.by_path) {
            by_path.entry(path).or_default().extend(sessions);
        }
        Watches { by_path }
    }

    /// The paths that each session watches.
    pub(crate) fn by_session(&self) -> BTreeMap<SessionId, Vec<&'f str>> {
        let mut by_session: BTreeMap<SessionId, Vec<&str>> = BTreeMap::new();
        for (path, sessions) in &self.by_path {
            for session in sessions {
                by_session.entry(*session).or_default().push(path);
            }
        }
        by_session
    }
}
