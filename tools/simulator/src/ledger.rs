//! What all members together have made final, and the invariants of ZooKeeper's TLA+ over it.
//!
//! It is told what each member logs, has durably, takes back and delivers (shows to its clients), and what leaders broadcast. From
//! the first delivery of each transaction it builds one sequence, which it applies to the reference model of the tree: a
//! client's answers are compared with that. It shares no code with election, broadcast or the tree.
//!
//! | invariant | what is compared |
//! |---|---|
//! | Leadership1, Leadership2 | leaders that serve, now and ever, by epoch |
//! | PrefixConsistency, TotalOrder, Agreement | each delivery with the sequence: same place, same bytes, nothing left out |
//! | Integrity, LocalPrimaryOrder | each new entry with what the leader of its epoch broadcast, in that order |
//! | GlobalPrimaryOrder | epochs in the sequence never fall |
//! | PrimaryIntegrity, LeaderLogCompleteness | what a leader has when it begins, with the sequence then and later |
//! | CommittedLogDurability | each new entry is durable on a quorum, a reconfiguration on one of the old and one of the new configuration; what was durable is there after a restart |
//! | ConfigurationsAreSound, ConfigurationsAreEqual | what reconfigurations make; what members show of it |
//! | Digests | a transaction's digest, and the whole trees of members that serve, with the model |
//! | ProcessConsistency | a member's deliveries go on where they stopped |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::stat::Owner;
use proto::{Op, SessionId, Txn, TxnHeader, Zxid};
use tree::model::{Effect, Model, Znode};

use crate::membership::Membership;

/// Where the configuration is.
pub const CONFIG: &str = "/zookeeper/config";

/// States of the model that are kept, by transactions.
const STATES_KEPT: usize = 8_000;

/// What does not hold, and how that shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// Nothing, or what does not hold.
pub type Held = Result<(), Violation>;

/// Fails with this invariant unless it holds.
pub fn hold(holds: bool, invariant: &'static str, what: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

type Payload = Arc<[u8]>;

/// A transaction that somebody delivered.
pub struct Entry {
    /// Its header.
    pub header: TxnHeader,
    /// All of it.
    pub payload: Payload,
    /// The error that a write failed with, or 0; of a multi the first.
    pub err: i32,
    /// What the model says it did.
    pub effect: Effect,
    /// Paths that it created, in order.
    pub created: Vec<String>,
}

/// What a member has.
#[derive(Default)]
struct Log {
    /// By zxid. Behind a snapshot from a leader, the sequence up to it stands for what the snapshot holds.
    txns: BTreeMap<i64, Payload>,
    durable: i64,
    /// Its disk has been damaged: it may lose what it had.
    rotten: bool,
    /// How far it has shown the sequence to clients, in this life.
    delivered: Option<i64>,
}

/// What the leader of an epoch did.
struct Reign {
    leader: usize,
    /// The end of its history when it began to broadcast or to serve.
    initial: Option<i64>,
    broadcast: Vec<(i64, Payload)>,
    /// How much of that is in the sequence.
    delivered: usize,
}

impl Reign {
    /// What it broadcast under a zxid.
    fn sent(&self, zxid: i64) -> Option<&Payload> {
        let at = self.broadcast.binary_search_by_key(&zxid, |(zxid, _)| *zxid).ok()?;
        Some(&self.broadcast[at].1)
    }
}

/// See the module's page.
pub struct Ledger {
    entries: Vec<Entry>,
    by_zxid: BTreeMap<i64, usize>,
    /// The tree at each zxid.
    pub model: Model,
    /// What each znode of its newest state adds to the digest, by path.
    digests: Vec<(Arc<str>, Arc<Znode>, u64)>,
    sessions: BTreeMap<SessionId, i32>,
    closed: BTreeSet<SessionId>,
    /// The greatest client number in a transaction, by session.
    cxids: BTreeMap<SessionId, i32>,
    logs: Vec<Log>,
    /// Configurations, by the zxid that made them; the last one is in force.
    views: BTreeMap<i64, Membership>,
    reigns: BTreeMap<i64, Reign>,
    /// Members may have sessions of their own.
    pub local_sessions: bool,
}

/// zxids as people say them.
pub fn hex(zxid: i64) -> String {
    format!("{zxid:#x}")
}

fn epoch(zxid: i64) -> i64 {
    zxid >> 32
}

impl Ledger {
    /// For machines of which these are members.
    pub fn new(machines: usize, view: Membership) -> Ledger {
        let mut logs = Vec::new();
        logs.resize_with(machines, Log::default);
        Ledger {
            entries: Vec::new(),
            by_zxid: BTreeMap::new(),
            model: Model::new(true, false),
            digests: Vec::new(),
            sessions: BTreeMap::new(),
            closed: BTreeSet::new(),
            cxids: BTreeMap::new(),
            logs,
            views: BTreeMap::from([(0, view)]),
            reigns: BTreeMap::new(),
            local_sessions: false,
        }
    }

    /// The sequence.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The configuration that is in force at the end of the sequence.
    pub fn view(&self) -> &Membership {
        self.view_at(i64::MAX).1
    }

    /// The configuration that is in force at a zxid, and the zxid that made it.
    pub fn view_at(&self, zxid: i64) -> (i64, &Membership) {
        let found = self.views.range(..=zxid).next_back().or(self.views.first_key_value());
        found.map(|(zxid, view)| (*zxid, view)).expect("there is one from the beginning")
    }

    /// Configurations that somebody's log has and nobody has delivered: they may come into force yet.
    pub fn proposed_views(&self) -> Vec<Membership> {
        let open = |log: &Log| {
            let txns = log.txns.range(self.last() + 1..).filter_map(|(_, payload)| reconfiguration(payload).flatten());
            txns.collect::<Vec<_>>()
        };
        self.logs.iter().flat_map(open).collect()
    }

    /// What a server shows as its configuration at a zxid is what is in force there. The first one gets a version from whoever leads first.
    pub fn configures(&self, who: &str, zxid: i64, shown: Option<&[u8]>) -> Held {
        let (made, view) = self.view_at(zxid);
        let text = String::from_utf8_lossy(shown.unwrap_or_default());
        let right = match made {
            _ if self.logs.len() == 1 => text.is_empty(),
            0 => Membership::parse(&text).is_some_and(|shown| {
                let by = epoch(shown.version);
                let first = shown.members == view.members && shown.version & 0xFFFF_FFFF == 0 && by <= epoch(zxid);
                first || self.views.values().any(|later| *later == shown)
            }),
            // A server that has just learned of a newer one goes by that at once.
            _ => {
                text == view.text || self.views.values().any(|later| later.version > view.version && text == later.text)
            }
        };
        hold(right, "ConfigurationsAreEqual", || {
            format!("{who} shows the configuration {text:?} at {}, where {:?} is in force", hex(zxid), view.text)
        })
    }

    /// The last zxid of the sequence.
    pub fn last(&self) -> i64 {
        self.entries.last().map_or(0, |entry| entry.header.zxid.0)
    }

    /// The entry with this zxid.
    pub fn entry(&self, zxid: i64) -> Option<&Entry> {
        self.by_zxid.get(&zxid).map(|at| &self.entries[*at])
    }

    /// Entries behind one zxid, up to another.
    pub fn between(&self, after: i64, to: i64) -> impl Iterator<Item = &Entry> {
        let range = if after < to { self.by_zxid.range(after + 1..=to) } else { self.by_zxid.range(0..0) };
        range.map(|(_, at)| &self.entries[*at])
    }

    /// Does a session exist at the end of the sequence?
    pub fn is_open(&self, session: i64) -> bool {
        self.sessions.contains_key(&SessionId(session))
    }

    /// Was it ever opened?
    pub fn was_opened(&self, session: i64) -> bool {
        self.is_open(session) || self.closed.contains(&SessionId(session))
    }

    /// Sessions that exist at the end of the sequence.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    // --- logs

    /// A member's log got a transaction.
    pub fn logged(&mut self, node: usize, zxid: Zxid, payload: Payload) -> Held {
        let log = &mut self.logs[node];
        if let Some((last, _)) = log.txns.last_key_value() {
            let follows = zxid.0 == last + 1 || epoch(zxid.0) > epoch(*last);
            hold(follows, "ShouldNotBeTriggered", || format!("node {} logs {zxid} behind {}", node + 1, hex(*last)))?;
        }
        log.txns.insert(zxid.0, payload);
        Ok(())
    }

    /// A member's disk has everything up to here.
    pub fn durable(&mut self, node: usize, zxid: Zxid) {
        self.logs[node].durable = self.logs[node].durable.max(zxid.0);
    }

    /// A member that is down has damage on its disk.
    pub fn rots(&mut self, node: usize) {
        self.logs[node].rotten = true;
    }

    /// How much is durable, by what the disk was asked and answered.
    pub fn durable_of(&self, node: usize) -> i64 {
        self.logs[node].durable
    }

    /// The end of a member's log.
    pub fn logged_of(&self, node: usize) -> i64 {
        self.logs[node].txns.last_key_value().map_or(0, |(zxid, _)| *zxid)
    }

    /// How far a member has shown the sequence.
    pub fn delivered_of(&self, node: usize) -> i64 {
        self.logs[node].delivered.unwrap_or(0)
    }

    /// A member took back everything behind `to`.
    pub fn truncated(&mut self, node: usize, to: i64) -> Held {
        let delivered = self.logs[node].delivered.unwrap_or(0);
        let last = self.last_before(delivered);
        hold(to >= delivered || to == last, "ProcessConsistency", || {
            format!("node {} delivered {} and truncates to {}", node + 1, hex(delivered), hex(to))
        })?;
        let log = &mut self.logs[node];
        log.txns.split_off(&(to + 1));
        log.durable = log.durable.min(to);
        Ok(())
    }

    /// A member died while it took back what is behind `to`, or put a leader's snapshot in its place.
    pub fn interrupted(&mut self, node: usize, to: i64) {
        let log = &mut self.logs[node];
        log.durable = log.durable.min(to);
    }

    /// Whose log has what a leader sent that comes before `first`: the leader's, or, if it has lost that since, somebody's who has it still.
    fn source(&self, leader: Option<usize>, first: i64) -> Option<usize> {
        let leader = leader?;
        let has = |node: &usize| self.logs[*node].txns.contains_key(&(first - 1));
        std::iter::once(leader).chain(0..self.logs.len()).find(has).or(Some(leader))
    }

    /// The last that `leader` had before `first`.
    pub fn last_of(&self, leader: Option<usize>, first: i64) -> Option<i64> {
        self.logs[self.source(leader, first)?].txns.range(..first).next_back().map(|(zxid, _)| *zxid)
    }

    /// What a member has before `first` is as `leader` has it, from which it took a snapshot; or as it was before, cut there.
    pub fn rebased(&mut self, node: usize, leader: Option<usize>, first: i64) -> Held {
        let delivered = self.logs[node].delivered.unwrap_or(0);
        let source = self.source(leader, first).filter(|source| *source != node);
        let old: BTreeMap<i64, Payload> =
            std::mem::take(&mut self.logs[node].txns).into_iter().filter(|(z, _)| *z < first).collect();
        let txns = match source {
            Some(source) => {
                self.logs[source].txns.range(..first).map(|(zxid, payload)| (*zxid, Arc::clone(payload))).collect()
            }
            None => old.clone(),
        };
        let end = |txns: &BTreeMap<i64, Payload>| txns.last_key_value().map_or(0, |(zxid, _)| *zxid);
        let replaced = end(&txns) > end(&old);
        let last = end(&txns);
        hold(last >= delivered || last == self.last_before(delivered), "ProcessConsistency", || {
            format!("node {} delivered {} and goes back to {}", node + 1, hex(delivered), hex(last))
        })?;
        let log = &mut self.logs[node];
        log.txns = txns;
        // A snapshot is durable when it is taken over.
        log.durable = if replaced { last } else { log.durable.min(last) };
        Ok(())
    }

    /// Where a history ends that goes up to a zxid: the first zxid of an epoch names no transaction, and a snapshot may bear it.
    pub fn end_of(&self, zxid: i64) -> i64 {
        if zxid & 0xFFFF_FFFF == 0 { self.last_before(zxid) } else { zxid }
    }

    /// The last transaction of the sequence up to a zxid, which may be the beginning of an epoch.
    pub fn last_before(&self, zxid: i64) -> i64 {
        self.by_zxid.range(..=zxid).next_back().map_or(0, |(zxid, _)| *zxid)
    }

    /// A member starts on what its disk holds: everything up to `last`. `fresh`: the disk was replaced. `snapshot`: where the snapshot
    /// ends from which it starts.
    pub fn started(&mut self, node: usize, last: i64, snapshot: i64, fresh: bool) -> Held {
        let known = self.logs[node].txns.last_key_value().map_or(0, |(zxid, _)| *zxid);
        if !fresh && snapshot > known {
            // It was killed while it installed a leader's snapshot, and the start has completed that.
            let end = self.end_of(snapshot);
            let leader = self.logs.iter().position(|log| log.txns.contains_key(&end));
            self.rebased(node, leader, end + 1)?;
        }
        let log = &mut self.logs[node];
        log.delivered = None;
        if fresh {
            *log = Log::default();
            return Ok(());
        }
        hold(last >= log.durable || log.rotten, "CommittedLogDurability", || {
            format!("node {} had {} durably and starts with {}", node + 1, hex(log.durable), hex(last))
        })?;
        log.txns.split_off(&(last + 1));
        let end = log.txns.last_key_value().map_or(0, |(zxid, _)| *zxid);
        // The first zxid of an epoch names no transaction; a snapshot may bear it.
        let names_none = last & 0xFFFF_FFFF == 0 && end < last;
        hold(end == last || names_none || log.txns.is_empty(), "CommittedLogDurability", || {
            format!("node {} starts with {}, which it never logged; {} comes before it", node + 1, hex(last), hex(end))
        })?;
        // What a restart shows, it has made durable.
        log.durable = last;
        if self.logs.len() == 1 {
            // Alone, it numbers anew what nobody was told of.
            for reign in self.reigns.values_mut() {
                reign.broadcast.retain(|(zxid, _)| *zxid <= last);
            }
        }
        Ok(())
    }

    // --- leaders

    /// A member serves as leader of an epoch, its history ends at `last`.
    pub fn leads(&mut self, node: usize, epoch_led: i64) -> Held {
        self.reign(node, epoch_led)?;
        // Everything that anybody has delivered, it has; but for what came of later epochs while it stood still with the acks for its
        // own unread.
        let log = &self.logs[node];
        for entry in self.entries.iter().filter(|entry| epoch(entry.header.zxid.0) <= epoch_led) {
            let zxid = entry.header.zxid.0;
            let has = log.txns.get(&zxid).is_some_and(|payload| *payload == entry.payload);
            hold(has, "LeaderLogCompleteness", || {
                format!("node {} leads epoch {epoch_led} without {}, which was delivered", node + 1, hex(zxid))
            })?;
        }
        Ok(())
    }

    fn reign(&mut self, node: usize, epoch_led: i64) -> Result<&mut Reign, Violation> {
        let before = self.logs[node].txns.range(..epoch_led << 32).next_back().map_or(0, |(zxid, _)| *zxid);
        let reign = self.reigns.entry(epoch_led).or_insert_with(|| Reign {
            leader: node,
            initial: None,
            broadcast: Vec::new(),
            delivered: 0,
        });
        hold(reign.leader == node, "Leadership2", || {
            format!("epoch {epoch_led} is led by node {} and by node {}", reign.leader + 1, node + 1)
        })?;
        reign.initial.get_or_insert(before);
        Ok(reign)
    }

    /// A leader broadcasts: the first time that a transaction of its own shows anywhere.
    pub fn broadcast(&mut self, node: usize, zxid: Zxid, payload: &Payload) -> Held {
        let of = epoch(zxid.0);
        let first = self.reigns.get(&of).is_none_or(|reign| reign.broadcast.is_empty());
        let reign = self.reign(node, of)?;
        if let Some((last, _)) = reign.broadcast.last() {
            if let Some(known) = reign.sent(zxid.0) {
                return hold(known == payload, "LocalPrimaryOrder", || {
                    format!("two transactions of zxid {zxid} from node {}", node + 1)
                });
            }
            let last = *last;
            hold(zxid.0 == last + 1, "LocalPrimaryOrder", || {
                format!("node {} broadcasts {zxid} behind {}", node + 1, hex(last))
            })?;
        }
        reign.broadcast.push((zxid.0, Arc::clone(payload)));
        if first {
            let log = &self.logs[node];
            for entry in self.entries.iter().filter(|entry| epoch(entry.header.zxid.0) < of) {
                let has = log.txns.get(&entry.header.zxid.0).is_some_and(|payload| *payload == entry.payload);
                hold(has, "PrimaryIntegrity", || {
                    format!("node {} broadcasts {zxid} without {}", node + 1, entry.header.zxid)
                })?;
            }
        }
        Ok(())
    }

    /// Members that serve as leaders now, with their epochs.
    pub fn leaders_now(&self, leaders: &[(usize, i64)]) -> Held {
        for (at, (node, of)) in leaders.iter().enumerate() {
            let twin = leaders[..at].iter().find(|(_, other)| other == of);
            hold(twin.is_none(), "Leadership1", || {
                format!("node {} and node {} lead epoch {of}", node + 1, twin.map_or(0, |(node, _)| node + 1))
            })?;
        }
        Ok(())
    }

    // --- deliveries

    /// A member shows everything up to `to` to its clients.
    pub fn delivers(&mut self, node: usize, to: i64) -> Held {
        let from = match self.logs[node].delivered {
            Some(from) => {
                hold(to >= from, "ProcessConsistency", || {
                    format!("node {} delivered {} and now {}", node + 1, hex(from), hex(to))
                })?;
                from
            }
            // In its first life or in a later one: what it begins with counts from the start.
            None => 0,
        };
        let first = self.logs[node].delivered.is_none();
        self.logs[node].delivered = Some(to);
        if to == from && !first || to == 0 {
            return Ok(());
        }
        let new: Vec<(i64, Payload)> =
            self.logs[node].txns.range(from + 1..=to).map(|(zxid, payload)| (*zxid, Arc::clone(payload))).collect();
        let mut at = self.by_zxid.range(from + 1..).next().map_or(self.entries.len(), |(_, at)| *at);
        for (zxid, payload) in new {
            if let Some(entry) = self.entries.get(at) {
                let expected = entry.header.zxid.0;
                hold(zxid == expected, "TotalOrder", || {
                    format!("node {} delivers {} where others have delivered {}", node + 1, hex(zxid), hex(expected))
                })?;
                hold(payload == entry.payload, "PrefixConsistency", || {
                    format!("node {} delivers another transaction under {} than others", node + 1, hex(zxid))
                })?;
            } else {
                self.push(node, zxid, payload)?;
            }
            at += 1;
        }
        let left_out = self.entries.get(at).filter(|entry| entry.header.zxid.0 <= to);
        hold(left_out.is_none(), "Agreement", || {
            format!(
                "node {} delivers up to {} without {}",
                node + 1,
                hex(to),
                hex(left_out.map_or(0, |e| e.header.zxid.0))
            )
        })
    }

    fn push(&mut self, node: usize, zxid: i64, payload: Payload) -> Held {
        let last = self.last();
        hold(epoch(zxid) >= epoch(last), "GlobalPrimaryOrder", || {
            format!("node {} delivers {} behind {}", node + 1, hex(zxid), hex(last))
        })?;
        // Whoever led it broadcast it, and nothing of his before it is left out.
        let reign = self.reigns.get_mut(&epoch(zxid));
        let sent = reign.as_ref().is_some_and(|reign| reign.sent(zxid) == Some(&payload));
        hold(sent, "Integrity", || format!("node {} delivers {}, which nobody broadcast", node + 1, hex(zxid)))?;
        let reign = reign.expect("it was there");
        let next = reign.broadcast.get(reign.delivered).map(|(zxid, _)| *zxid);
        hold(next == Some(zxid), "LocalPrimaryOrder", || {
            format!("node {} delivers {} before {}", node + 1, hex(zxid), hex(next.unwrap_or(0)))
        })?;
        reign.delivered += 1;
        for (later, reign) in self.reigns.range(epoch(zxid) + 1..) {
            let known = reign.initial.is_none_or(|initial| initial >= zxid);
            hold(known, "PrimaryIntegrity", || {
                format!("{} is delivered, and the leader of epoch {later} began without it", hex(zxid))
            })?;
        }
        let has = |log: &Log| log.durable >= zxid && log.txns.get(&zxid).is_some_and(|p| *p == payload);
        let durable: BTreeSet<usize> = (0..self.logs.len()).filter(|node| has(&self.logs[*node])).collect();
        let next = self.next_view(node, zxid, &payload)?;
        for view in std::iter::once(self.view()).chain(&next) {
            hold(view.is_majority(&durable), "CommittedLogDurability", || {
                let names: Vec<usize> = durable.iter().map(|node| node + 1).collect();
                let voters: Vec<usize> = view.voters().map(|node| node + 1).collect();
                format!("node {} delivers {}, which of {voters:?} is durable on {names:?} only", node + 1, hex(zxid))
            })?;
        }
        self.views.extend(next.map(|next| (zxid, next)));
        self.apply(zxid, payload)
    }

    /// The configuration that a transaction makes, if it is a reconfiguration.
    fn next_view(&self, node: usize, zxid: i64, payload: &Payload) -> Result<Option<Membership>, Violation> {
        let Some(next) = reconfiguration(payload) else { return Ok(None) };
        let sound = next.as_ref().is_some_and(|next| next.version == zxid && next.voters().count() > 1);
        hold(sound, "ConfigurationsAreSound", || {
            format!("node {} delivers {}, which makes {next:?}", node + 1, hex(zxid))
        })?;
        Ok(next)
    }

    fn apply(&mut self, zxid: i64, payload: Payload) -> Held {
        let record = wal::decode(&payload).map_err(|error| Violation {
            invariant: "ShouldNotBeTriggered",
            what: format!("{} is no transaction: {error:?}", hex(zxid)),
        })?;
        let header = record.header;
        let session = header.session;
        let effect = self.model.apply(&header, &record.txn);
        match &record.txn {
            Txn::CreateSession { timeout_ms } => _ = self.sessions.insert(session, *timeout_ms),
            Txn::CloseSession { .. } => {
                self.sessions.remove(&session);
                self.closed.insert(session);
            }
            _ => {}
        }
        // Requests of one session come in the order in which its client made them. Those that failed may have come late: they
        // were refused because the session had moved.
        let failed = record.txn.is_error();
        let cxid = header.cxid.0;
        if cxid > 0 && header.op != Op::CreateSession {
            // A leader takes a session that it does not know for one of the member's own, where there may be such (as Java's): what was on
            // its way when the session was closed is then done.
            let late = header.op != Op::CloseSession && self.closed.contains(&session);
            hold(failed || !late || self.local_sessions, "SessionFifo", || {
                format!("request {cxid} of session {session} is done behind its end, as {}", hex(zxid))
            })?;
            // Whoever has the session by then, a close that was on its way ends it (as Java's PrepRequestProcessor does, and says).
            let late = late || header.op == Op::CloseSession;
            let last = self.cxids.entry(session).or_insert(0);
            hold(failed || late || cxid > *last, "SessionFifo", || {
                format!("request {cxid} of session {session} comes behind its {last}, as {}", hex(zxid))
            })?;
            *last = cxid.max(*last);
        }
        let owned = |owner| matches!(owner, Owner::Session(id) if id == session);
        if !self.sessions.contains_key(&session) {
            let left = self.model.owned(owned).into_iter().next().map(str::to_owned);
            hold(left.is_none(), "EphemeralsEndWithTheirSession", || {
                format!(
                    "{} of session {session}, which does not exist, is there at {}",
                    left.unwrap_or_default(),
                    hex(zxid)
                )
            })?;
        }
        if let Some(digest) = record.digest {
            let found = self.digest();
            hold(digest.tree == found, "Digests", || {
                format!("{} says that the tree has the digest {:#x}, the model has {found:#x}", hex(zxid), digest.tree)
            })?;
        }
        if zxid % 64 == 0 {
            // Nobody is so far behind, and still read from.
            let old = self.entries.len().checked_sub(STATES_KEPT).map(|at| self.entries[at].header.zxid);
            old.into_iter().for_each(|zxid| self.model.forget_before(zxid));
        }
        let err = effect.results.iter().map(|(err, _)| *err).find(|err| *err != 0).unwrap_or(0);
        let created = created(&record.txn);
        self.by_zxid.insert(zxid, self.entries.len());
        self.entries.push(Entry { header, payload: Arc::clone(&payload), err, effect, created });
        Ok(())
    }
}

impl Ledger {
    /// The tree that a serving member shows is the model's at its zxid: every znode, and nothing else. `caught_up`: and all that was set besides
    /// transactions.
    pub fn shows(&self, node: usize, tree: &tree::Reader, caught_up: bool) -> Held {
        let zxid = tree.zxid().0;
        let is_known = zxid & 0xFFFF_FFFF == 0 || self.by_zxid.contains_key(&zxid);
        if !is_known || zxid > self.delivered_of(node) || zxid < self.model.kept_from().0 {
            // It has not caught up with what became of the member, and shows it to nobody.
            return Ok(());
        }
        let state = self.model.at(Zxid(zxid));
        let (mut count, mut wrong, mut configured) = (0, None, Ok(()));
        tree.walk("/", |path, view| {
            count += 1;
            let znode = state.znodes.get(path);
            // Each start sets its stat anew, with the moment.
            if path == CONFIG && caught_up {
                configured = self.configures(&format!("node {}", node + 1), zxid, view.data());
            }
            let same = path == CONFIG
                || znode.is_some_and(|znode| {
                    let stat = znode.stat == view.persisted() && *znode.acl == view.acl()[..];
                    stat && znode.data.as_deref() == view.data()
                });
            if !same {
                wrong.get_or_insert_with(|| {
                    format!("{path} {:?} and not {:?}", view.persisted(), znode.map(|znode| znode.stat))
                });
            }
        });
        let missing = (count != state.znodes.size()).then(|| format!("{count} znodes and not {}", state.znodes.size()));
        let wrong = wrong.or(missing);
        configured?;
        hold(wrong.is_none(), "Digests", || {
            format!("node {} has another tree than the model at {}: {}", node + 1, hex(zxid), wrong.unwrap_or_default())
        })
    }

    /// The digest of the newest state of the model. Those of znodes that have not changed since are known.
    fn digest(&mut self) -> u64 {
        let mut known = std::mem::take(&mut self.digests).into_iter().peekable();
        let mut sum = 0u64;
        for (path, znode) in &self.model.now().znodes {
            // Mostly the same path as then, and even the same text.
            while known.next_if(|(then, ..)| !Arc::ptr_eq(then, path) && then < path).is_some() {}
            let same = known
                .next_if(|(then, ..)| Arc::ptr_eq(then, path) || then == path)
                .filter(|(_, then, _)| Arc::ptr_eq(then, znode));
            let entry = same.unwrap_or_else(|| (Arc::clone(path), Arc::clone(znode), znode.digest(path)));
            sum = sum.wrapping_add(entry.2);
            self.digests.push(entry);
        }
        sum
    }
}

/// Is this a reconfiguration, and can what it makes be read?
fn reconfiguration(payload: &[u8]) -> Option<Option<Membership>> {
    // Behind session, request, zxid and time comes the type.
    if payload.get(28..32) != Some(&Op::Reconfig.as_i32().to_be_bytes()[..]) {
        return None;
    }
    let record = wal::decode(payload).ok()?;
    match &record.txn {
        Txn::SetData { data: Some(data), .. } => Some(Membership::parse(&String::from_utf8_lossy(data))),
        _ => Some(None),
    }
}

fn created(txn: &Txn<'_>) -> Vec<String> {
    match txn {
        Txn::Create { path, .. } | Txn::CreateContainer { path, .. } | Txn::CreateTtl { path, .. } => {
            vec![path.to_string()]
        }
        Txn::Multi { members } => members.iter().flat_map(|(_, member)| created(member)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: i64 = 1 << 32;

    fn ledger(ends: &[i64]) -> Ledger {
        let mut ledger = Ledger::new(ends.len(), Membership::default());
        for (node, end) in ends.iter().enumerate() {
            for zxid in 1..=*end {
                ledger.logged(node, Zxid(EPOCH + zxid), Arc::from(zxid.to_be_bytes())).unwrap();
            }
        }
        ledger
    }

    /// Its transactions were on their way when the leader died, and its disk had not all of them (seed 705341).
    #[test]
    fn a_leader_may_lose_what_it_has_sent_before_it_arrives() {
        let mut ledger = ledger(&[3, 3, 0]);
        ledger.started(0, EPOCH + 1, 0, false).unwrap();
        ledger.rebased(1, Some(0), EPOCH + 4).unwrap();
        ledger.rebased(2, Some(0), EPOCH + 4).unwrap();
        assert_eq!((ledger.logged_of(0), ledger.logged_of(1), ledger.logged_of(2)), (EPOCH + 1, EPOCH + 3, EPOCH + 3));
    }

    #[test]
    fn what_a_member_has_alone_does_not_outlast_a_leaders_snapshot() {
        let mut ledger = ledger(&[2, 3]);
        ledger.rebased(1, Some(0), EPOCH + 3).unwrap();
        assert_eq!(ledger.logged_of(1), EPOCH + 2);
    }
}
