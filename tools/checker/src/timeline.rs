//! What happened to each path, by zxid: every write that was acknowledged, the ends of sessions that are known, and those
//! writes without a reply that somebody saw. What may have happened besides (writes nobody heard of, sessions that may
//! have expired) is kept apart, as excuses.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{History, Life, Nanos, Op, Stat, What, Zxid};

/// What a transaction did to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Made it. The data is `None` if only its existence was seen.
    Created(Option<String>),
    /// Set its data.
    Set(Option<String>),
    /// Removed it.
    Deleted,
}

/// One change of one path.
#[derive(Clone, Debug)]
pub struct Effect {
    /// The transaction.
    pub zxid: Zxid,
    /// Its place in the transaction.
    pub place: usize,
    /// What it did.
    pub change: Change,
    /// The line that tells of it.
    pub line: usize,
    /// The answer's stat, of a set or create.
    pub stat: Option<Stat>,
    /// When the request was sent, if it was a request.
    pub invoke: Option<Nanos>,
}

/// A write without a reply.
#[derive(Clone, Debug)]
pub struct Open {
    /// What it would do.
    pub what: What,
    /// With which data.
    pub data: Option<String>,
    /// When it was sent.
    pub invoke: Nanos,
    /// The line that tells of it.
    pub line: usize,
    /// The session that asked, if the node would be its ephemeral.
    pub owner: Option<i64>,
    /// Where it turned out to have happened.
    pub seen: Option<Zxid>,
}

/// What is known of a session.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// The largest zxid of a reply to it.
    pub last_reply: Zxid,
    /// The transaction that closed it, if that is known.
    pub closed: Option<Zxid>,
    /// No transaction of a request sent after this moment can come before its end.
    pub ended_by: Option<Nanos>,
    /// The smallest zxid known to come after its end.
    pub gone_at: Option<Zxid>,
}

/// All paths.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// By path, by zxid.
    pub paths: BTreeMap<String, Vec<Effect>>,
    /// By path, writes that may have happened.
    pub open: BTreeMap<String, Vec<Open>>,
    /// Sequential creates that may have happened, by the beginning of their path.
    pub open_sequential: BTreeMap<String, Vec<Open>>,
    /// By path, the session that owns the ephemeral there. Names of ephemerals are used once.
    pub owners: BTreeMap<String, i64>,
    /// By session.
    pub sessions: BTreeMap<i64, Span>,
    /// By parent, the zxids that are known to have changed its children.
    pub children: BTreeMap<String, BTreeSet<Zxid>>,
    /// Values that were seen and that nobody wrote: line, text.
    pub invented: Vec<(usize, String)>,
}

/// The number of a session, of its hexadecimal name.
pub fn session_id(text: &str) -> i64 {
    u64::from_str_radix(text, 16).map_or(0, u64::cast_signed)
}

/// The part of a path before the last slash.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn change(what: What, data: Option<String>) -> Change {
    match what {
        What::Create => Change::Created(data),
        What::Set => Change::Set(data),
        _ => Change::Deleted,
    }
}

impl Timeline {
    /// Reads a history.
    pub fn of(history: &History) -> Timeline {
        let mut timeline = Timeline::default();
        for (line, op) in history.ops() {
            timeline.take(line, op);
        }
        timeline.lives(history);
        timeline.sort();
        timeline.reveal(history);
        timeline.ends();
        timeline.sort();
        let children = timeline.paths.iter().flat_map(|(path, effects)| {
            let of_parent = effects.iter().filter(|effect| !matches!(effect.change, Change::Set(_)));
            of_parent.map(move |effect| (parent(path).to_owned(), effect.zxid))
        });
        for (parent, zxid) in children.collect::<Vec<_>>() {
            timeline.children.entry(parent).or_default().insert(zxid);
        }
        timeline
    }

    fn sort(&mut self) {
        for effects in self.paths.values_mut() {
            effects.sort_by_key(|effect| (effect.zxid, effect.place));
        }
    }

    fn add(&mut self, path: &str, effect: Effect) {
        self.paths.entry(path.to_owned()).or_default().push(effect);
    }

    fn take(&mut self, line: usize, op: &Op) {
        let session = session_id(&op.session);
        if op.returned.is_some() {
            let span = self.sessions.entry(session).or_default();
            span.last_reply = span.last_reply.max(op.zxid);
        }
        if !op.op.writes() || (op.returned.is_some() && op.err != 0) {
            return;
        }
        let one = [(op.op, &op.path, &op.data, &op.stat)];
        let members = op.ops.iter().map(|member| (member.op, &member.path, &member.data, &member.stat));
        let writes: Vec<_> = if op.op == What::Multi { members.collect() } else { one.to_vec() };
        for (place, (what, path, data, stat)) in writes.into_iter().enumerate() {
            let owner = (op.ephemeral && what == What::Create).then_some(session);
            if op.returned.is_none() {
                let open = Open { what, data: data.clone(), invoke: op.invoke, line, owner, seen: None };
                let paths = if op.sequential { &mut self.open_sequential } else { &mut self.open };
                paths.entry(path.clone()).or_default().push(open);
                if let Some(owner) = owner {
                    self.owners.insert(path.clone(), owner);
                }
                continue;
            }
            let change = change(what, data.clone());
            let path = op.created.as_ref().filter(|_| what == What::Create).unwrap_or(path);
            if let Some(owner) = owner {
                self.owners.insert(path.clone(), owner);
            }
            self.add(path, Effect { zxid: op.zxid, place, change, line, stat: *stat, invoke: Some(op.invoke) });
        }
    }

    fn lives(&mut self, history: &History) {
        for (_, session) in history.sessions() {
            let span = self.sessions.entry(session_id(&session.session)).or_default();
            match session.event {
                Life::Closed => {
                    span.closed = Some(session.zxid);
                    span.last_reply = span.last_reply.max(session.zxid - 1);
                }
                Life::Expired => span.ended_by = Some(session.at),
                Life::Open | Life::Moved | Life::Lost | Life::Closing => {}
            }
        }
        // A session that was refused had its end under way before any request sent later.
        let mut writes: Vec<(Nanos, Zxid)> = history
            .ops()
            .filter(|(_, op)| op.op.writes() && op.succeeded())
            .map(|(_, op)| (op.invoke, op.zxid))
            .collect();
        writes.sort_unstable();
        let mut least = Zxid::MAX;
        let least_after: Vec<(Nanos, Zxid)> = (writes.iter().rev())
            .map(|(invoke, zxid)| {
                least = least.min(*zxid);
                (*invoke, least)
            })
            .collect();
        for span in self.sessions.values_mut() {
            if let Some(end) = span.ended_by {
                span.gone_at = least_after.iter().take_while(|(invoke, _)| *invoke > end).last().map(|(_, zxid)| *zxid);
            }
            if span.closed.is_some() {
                span.gone_at = span.closed;
            }
        }
    }

    /// Finds writes without a reply behind what was read.
    fn reveal(&mut self, history: &History) {
        let reads = history.ops().filter(|(_, op)| op.succeeded() && matches!(op.op, What::Get | What::Exists));
        let seen: Vec<(usize, String, Option<String>, Stat)> = reads
            .filter_map(|(line, op)| op.stat.map(|stat| (line, op.path.clone(), op.value.clone(), stat)))
            .chain(history.finals().flat_map(|(line, end)| {
                end.nodes.iter().map(move |(path, node)| (line, path.clone(), Some(node.6.clone()), node.stat()))
            }))
            .collect();
        let acknowledged = self.paths.iter().flat_map(|(path, effects)| {
            let stats =
                effects.iter().filter_map(|effect| effect.stat.map(|stat| (effect.line, effect.change.clone(), stat)));
            stats.map(|(line, change, stat)| {
                let (Change::Created(data) | Change::Set(data)) = change else {
                    return (line, path.clone(), None, stat);
                };
                (line, path.clone(), data, stat)
            })
        });
        let seen: Vec<_> = acknowledged.collect::<Vec<_>>().into_iter().chain(seen).collect();
        // Data first, as it names its writer; then what only a zxid tells of.
        for (line, path, value, stat) in seen.iter().filter(|(_, _, value, _)| value.is_some()) {
            self.explain(*line, path, value.as_deref(), stat.mzxid, stat.mzxid == stat.czxid);
        }
        for (line, path, _, stat) in &seen {
            if !self.known(path, stat.czxid) {
                self.explain(*line, path, None, stat.czxid, true);
            }
            if !self.known(path, stat.mzxid) {
                self.explain(*line, path, None, stat.mzxid, false);
            }
        }
    }

    fn known(&self, path: &str, zxid: Zxid) -> bool {
        self.paths
            .get(path)
            .is_some_and(|effects| effects.iter().any(|effect| effect.zxid == zxid && effect.change != Change::Deleted))
    }

    fn explain(&mut self, line: usize, path: &str, value: Option<&str>, zxid: Zxid, created: bool) {
        let what = if created { What::Create } else { What::Set };
        let here = self.paths.entry(path.to_owned()).or_default();
        let mut same =
            here.iter_mut().filter(|effect| effect.zxid == zxid && effect.change != Change::Deleted).peekable();
        if same.peek().is_some() {
            let Some(value) = value else { return };
            let mut said = false;
            for effect in same {
                if let Change::Created(data) | Change::Set(data) = &mut effect.change {
                    if data.is_none() {
                        *data = Some(value.to_owned());
                    }
                    said |= data.as_deref() == Some(value);
                }
            }
            if !said {
                self.invented.push((line, format!("{path} is {value} of {zxid:#x}, where something else was written")));
            }
            return;
        }
        let fits = |open: &&mut Open| {
            open.what == what && open.seen.is_none() && (value.is_none() || open.data.as_deref() == value)
        };
        let start = path.trim_end_matches(|c: char| c.is_ascii_digit());
        let found = (self.open.get_mut(path).into_iter().flatten().find(fits))
            .or_else(|| self.open_sequential.get_mut(start).into_iter().flatten().find(fits));
        let Some(open) = found else {
            if created && self.made_and_set(path, value, zxid) {
                return;
            }
            let what = value.map_or_else(String::new, |value| format!(" with {value}"));
            self.invented.push((line, format!("nobody asked for what {zxid:#x} did to {path}{what}")));
            return;
        };
        // Who is only guessed is not crossed off.
        let sure = value.is_some();
        if sure {
            open.seen = Some(zxid);
        }
        let data = value.map(str::to_owned);
        let change = if created { Change::Created(data) } else { Change::Set(data) };
        let (line, invoke) = (open.line, sure.then_some(open.invoke));
        if let Some(owner) = open.owner {
            self.owners.insert(path.to_owned(), owner);
        }
        self.add(path, Effect { zxid, place: 0, change, line, stat: None, invoke });
    }

    /// Was it one multi without an answer that made the path and then set it to this value?
    fn made_and_set(&mut self, path: &str, value: Option<&str>, zxid: Zxid) -> bool {
        let Some(open) = self.open.get_mut(path) else { return false };
        let set = |open: &Open| open.what == What::Set && open.seen.is_none() && open.data.as_deref() == value;
        let Some(line) = open.iter().find(|one| set(one)).map(|one| one.line) else { return false };
        if !open.iter().any(|one| one.line == line && one.what == What::Create && one.seen.is_none()) {
            return false;
        }
        let mut effects = Vec::new();
        for (place, one) in open.iter_mut().filter(|one| one.line == line).enumerate() {
            one.seen = Some(zxid);
            let change = change(one.what, one.data.clone());
            effects.push(Effect { zxid, place, change, line, stat: None, invoke: Some(one.invoke) });
        }
        effects.into_iter().for_each(|effect| self.add(path, effect));
        true
    }

    /// Ephemerals end with their session, where its end is known.
    fn ends(&mut self) {
        for (path, owner) in &self.owners {
            let Some(zxid) = self.sessions.get(owner).and_then(|span| span.closed) else { continue };
            let Some(effects) = self.paths.get_mut(path) else { continue };
            let last = effects.iter().rfind(|effect| effect.zxid <= zxid);
            if let Some(Effect { change: Change::Created(_) | Change::Set(_), line, .. }) = last {
                let line = *line;
                effects.push(Effect { zxid, place: 0, change: Change::Deleted, line, stat: None, invoke: None });
            }
        }
    }

    /// The last change of a path at or before a zxid.
    pub fn last(&self, path: &str, zxid: Zxid) -> Option<&Effect> {
        let effects = self.paths.get(path)?;
        effects[..effects.partition_point(|effect| effect.zxid <= zxid)].last()
    }

    /// The first change of a path after a zxid.
    pub fn next(&self, path: &str, zxid: Zxid) -> Option<&Effect> {
        let effects = self.paths.get(path)?;
        effects.get(effects.partition_point(|effect| effect.zxid <= zxid))
    }

    /// Whether a write of this kind, sent before a moment and never answered, may have changed the path.
    pub fn may_have(&self, path: &str, what: What, before: Nanos) -> bool {
        self.open.get(path).into_iter().flatten().any(|open| open.what == what && open.invoke < before)
    }

    /// Whether the path's owner may have ended at or before a zxid.
    pub fn may_have_ended(&self, path: &str, zxid: Zxid) -> bool {
        let Some(span) = self.owners.get(path).and_then(|owner| self.sessions.get(owner)) else { return false };
        span.last_reply <= zxid && span.closed.is_none_or(|closed| closed <= zxid)
    }
}
