//! What Apache ZooKeeper's members do on the quorum port and ours do not: a member of ours whose words go through here sounds like one of
//! theirs, and hears what one of theirs would hear. Who decides remains the product; what is rewritten is what it says and when.
//!
//! As leader: it is silent on the election port for up to finalizeWait more, since ours, when it has won, may be sure earlier; commits go out at once, also between NEWLEADER and UPTODATE; pings come before UPTODATE; a snapshot is fuzzy, the live traffic
//! of its time stands before NEWLEADER, INFORMs too; where the learner has what nobody knows and a later epoch follows, a snapshot and no
//! TRUNC; no casting vote. As learner: no mark behind LearnerInfo; acknowledgements when the log's thread flushes, other
//! packets ahead of them; some twice; before 3.9.2 also each transaction of a DIFF (peer-protocol.md §6–§9).
//!
//! Left out is what loses data in Java: here the epoch is written behind the history that it closes, and nothing is said before it is durable.

use std::collections::{BTreeMap, VecDeque};

use member::WriteStage;
use proto::{JuteError, Op, Zxid};
use quorum::packet::{self, LearnerInfo, Packet, kind};
use quorum::peer::Phase;
use quorum::replica::Replica;
use quorum::sync::{self, Plan, Rules};

use crate::agenda::{MS, Micros};
use crate::dice::Dice;
use crate::network::End;

pub mod fuzzy;
#[cfg(test)]
mod tests;

/// More data than any packet here has.
const DATA_MAX: usize = 64 << 20;

/// So long Java waits for something better when it has a quorum of votes.
const FINALIZE_WAIT: Micros = 200 * MS;

/// What the habits must know of the member that has them.
pub trait Inside {
    /// It was elected.
    fn leads(&self) -> bool;

    /// It serves.
    fn serves(&self) -> bool;

    /// Everything up to here is final.
    fn committed(&self) -> Zxid;

    /// Would it cut the history of a learner that ends there, and then send transactions of a later epoch?
    fn cuts_below_an_epoch(&mut self, peer: Zxid) -> bool;

    /// A snapshot of what is final, as it would be sent.
    fn snapshot(&mut self) -> (Zxid, Vec<u8>);
}

impl Inside for WriteStage {
    fn leads(&self) -> bool {
        self.peer().is_some_and(|peer| peer.state().phase == Phase::Leading)
    }

    fn serves(&self) -> bool {
        self.peer().is_some_and(|peer| peer.state().serving)
    }

    fn committed(&self) -> Zxid {
        Replica::committed(self)
    }

    fn cuts_below_an_epoch(&mut self, peer: Zxid) -> bool {
        let bound = if self.serves() { Replica::committed(self) } else { self.last_logged() };
        let rules = Rules { force_snapshot: false, size_factor: 0.33, alone_from: None };
        match sync::plan(self, peer, bound, &rules) {
            Plan::Trunc { txns, .. } => txns.first().is_some_and(|(zxid, _)| zxid.epoch() != peer.epoch()),
            _ => false,
        }
    }

    fn snapshot(&mut self) -> (Zxid, Vec<u8>) {
        let (mut stream, mut bytes) = (self.snapshot_stream(), Vec::new());
        while !stream.fill(&mut bytes, DATA_MAX) {}
        (stream.zxid(), bytes)
    }
}

/// What was done otherwise than ours would have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Done {
    /// Snapshots with transactions behind their zxid in part.
    pub fuzzy: u64,
    /// Acknowledgements that say nothing new.
    pub doubled: u64,
    /// COMMITs between NEWLEADER and UPTODATE.
    pub early: u64,
    /// Snapshots where ours would have sent TRUNC.
    pub snaps: u64,
}

impl Done {
    /// Adds more of it.
    pub fn add(&mut self, more: Done) {
        self.fuzzy += more.fuzzy;
        self.doubled += more.doubled;
        self.early += more.early;
        self.snaps += more.snaps;
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Done { fuzzy, doubled, early, snaps } = self;
        write!(f, "{fuzzy} fuzzy snapshots, {doubled} doubled acknowledgements, {early} early COMMITs, ")?;
        write!(f, "{snaps} SNAP for TRUNC")
    }
}

/// Who has the habits in the run of a seed: in every fourth, one or two members.
pub fn members(seed: u64, members: usize) -> Vec<usize> {
    let dice = Dice::new(seed, 0x1A7A);
    if members == 1 || !dice.once_in(4) {
        return Vec::new();
    }
    let mut java = vec![dice.below(members as u64) as usize, dice.below(members as u64) as usize];
    java.dedup();
    java
}

/// What is rewritten on the links of one member.
pub struct Habits {
    dice: Dice,
    /// It logs and acknowledges a DIFF's transactions as any others, as before 3.9.2.
    elder: bool,
    links: BTreeMap<End, Link>,
    leads: bool,
    /// Until then nothing is said on the election port.
    silent_until: Option<Micros>,
    /// Kept back until then.
    votes: Vec<(End, Vec<u8>)>,
    done: Done,
}

enum Link {
    /// From a learner.
    Below(Below),
    /// To a leader.
    Above(Above),
}

/// How far a learner's history has come, as it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    History,
    NewLeader,
    UpToDate,
}

/// A link from a learner.
struct Below {
    /// Of its first packets: what is not whole.
    heard: Vec<u8>,
    /// It has given its promise: nothing more is looked at.
    promised: bool,
    /// What is said and not whole.
    said: Vec<u8>,
    /// Behind this SNAP packet a snapshot is said.
    snap: Option<Zxid>,
    told: Told,
    /// Proposed and not committed, in order; a reconfiguration?
    open: VecDeque<(Zxid, bool)>,
    /// Committed to it before the product said so, in order.
    early: VecDeque<Zxid>,
    taking: Option<Taking>,
}

/// A snapshot that is being taken.
struct Taking {
    zxid: Zxid,
    /// As it would be if all stood still.
    body: Vec<u8>,
    /// Said meanwhile.
    behind: Vec<u8>,
    new_leader: Vec<u8>,
    until: Micros,
}

/// A link to a leader.
#[derive(Default)]
struct Above {
    /// Of the leader's history: what is not whole.
    heard: Vec<u8>,
    /// The leader's history has come.
    settled: bool,
    /// It does not vote.
    observer: bool,
    /// What came with it as final, in order; not behind a snapshot.
    diff: Vec<Zxid>,
    said: Vec<u8>,
    /// To be acknowledged when the log's thread flushes.
    acks: VecDeque<Zxid>,
    due: Option<Micros>,
}

/// Takes whole packets from the front of `bytes`, until `each` says that something else follows; what is left stays.
fn packets(bytes: &mut Vec<u8>, mut each: impl FnMut(&Packet<'_>, &[u8]) -> bool) {
    let mut at = 0;
    while let Ok(Some((packet, size))) = Packet::take(&bytes[at..], DATA_MAX) {
        let goes_on = each(&packet, &bytes[at..at + size]);
        at += size;
        if !goes_on {
            break;
        }
    }
    bytes.drain(..at);
}

fn ack(out: &mut Vec<u8>, zxid: Zxid) {
    packet::put(out, kind::ACK, zxid, None);
}

/// FOLLOWERINFO as Java says and reads it.
fn bare(out: &mut Vec<u8>, packet: &Packet<'_>, raw: &[u8]) {
    match LearnerInfo::decode(packet.data) {
        Ok(Some(info)) => {
            let info = LearnerInfo { own: false, ..info };
            packet::put(out, packet.kind, packet.zxid, Some(&info.encode()));
        }
        _ => out.extend_from_slice(raw),
    }
}

impl Habits {
    /// Of one life of a member.
    pub fn new(dice: Dice) -> Habits {
        let elder = dice.once_in(2);
        let (links, votes) = (BTreeMap::new(), Vec::new());
        Habits { dice, elder, links, leads: false, silent_until: None, votes, done: Done::default() }
    }

    /// A learner connects.
    pub fn accepted(&mut self, end: End) {
        let below = Below {
            heard: Vec::new(),
            promised: false,
            said: Vec::new(),
            snap: None,
            told: Told::History,
            open: VecDeque::new(),
            early: VecDeque::new(),
            taking: None,
        };
        self.links.insert(end, Link::Below(below));
    }

    /// The leader is connected.
    pub fn connected(&mut self, end: End) {
        self.links.insert(end, Link::Above(Above::default()));
    }

    /// The link is over; answers what still leaves of what was kept back.
    pub fn closed(&mut self, end: End) -> Vec<u8> {
        self.votes.retain(|(to, _)| *to != end);
        let mut rest = Vec::new();
        if let Some(Link::Below(Below { taking: Some(taking), .. })) = self.links.remove(&end)
            && self.dice.once_in(2)
        {
            // It dies while it writes its snapshot.
            packet::put(&mut rest, kind::SNAP, taking.zxid, None);
            rest.extend_from_slice(&taking.body[..self.dice.below(taking.body.len() as u64) as usize]);
        }
        rest
    }

    /// What has been done since the last call.
    pub fn take_done(&mut self) -> Done {
        std::mem::take(&mut self.done)
    }

    /// Something comes from a peer: as the member is to hear it.
    pub fn hears(&mut self, end: End, bytes: &[u8], stage: &mut impl Inside) -> Vec<u8> {
        match self.links.get_mut(&end) {
            Some(Link::Below(below)) => below.hears(bytes, stage, &mut self.done),
            Some(Link::Above(above)) => {
                above.hears(bytes);
                bytes.to_vec()
            }
            None => bytes.to_vec(),
        }
    }

    /// The member says something to a peer: as it leaves.
    pub fn says(&mut self, end: End, bytes: Vec<u8>, stage: &impl Inside, now: Micros) -> Vec<u8> {
        self.note(stage, now);
        let Habits { dice, elder, links, silent_until, votes, done, .. } = self;
        match links.get_mut(&end) {
            Some(Link::Below(below)) => below.says(bytes, stage, dice, now),
            Some(Link::Above(above)) => above.says(bytes, *elder, dice, done, now),
            None if silent_until.is_some() => {
                votes.push((end, bytes));
                Vec::new()
            }
            None => bytes,
        }
    }

    /// Whether it was just elected.
    fn note(&mut self, stage: &impl Inside, now: Micros) {
        let leads = stage.leads();
        if leads && !self.leads {
            self.silent_until = Some(now + self.dice.between(1, FINALIZE_WAIT));
        }
        self.leads = leads;
    }

    /// What leaves behind all that was said, and when to ask again at the latest.
    pub fn look(&mut self, stage: &mut impl Inside, now: Micros) -> (Vec<(End, Vec<u8>)>, Option<Micros>) {
        self.note(stage, now);
        if self.silent_until.is_some_and(|until| until <= now) {
            self.silent_until = None;
        }
        let mut all = if self.silent_until.is_none() { std::mem::take(&mut self.votes) } else { Vec::new() };
        let mut next = self.silent_until;
        for (end, link) in &mut self.links {
            let mut out = Vec::new();
            let due = match link {
                Link::Below(below) => below.look(&mut out, stage, &self.dice, &mut self.done, now),
                Link::Above(above) => above.look(&mut out, now),
            };
            next = due.into_iter().chain(next).min();
            if !out.is_empty() {
                all.push((*end, out));
            }
        }
        (all, next)
    }
}

impl Below {
    fn hears(&mut self, bytes: &[u8], stage: &mut impl Inside, done: &mut Done) -> Vec<u8> {
        if self.promised {
            return bytes.to_vec();
        }
        self.heard.extend_from_slice(bytes);
        let mut heard = Vec::new();
        let promised = &mut self.promised;
        packets(&mut self.heard, |packet, raw| {
            match packet.kind {
                kind::FOLLOWERINFO => bare(&mut heard, packet, raw),
                kind::ACKEPOCH => {
                    *promised = true;
                    // Java's send a snapshot then (docs/compatibility.md, row 117).
                    if stage.cuts_below_an_epoch(packet.zxid) {
                        // Of a learner that has nothing nobody knows more.
                        packet::put(&mut heard, kind::ACKEPOCH, Zxid::ZERO, packet.data);
                        done.snaps += 1;
                    } else {
                        heard.extend_from_slice(raw);
                    }
                }
                _ => heard.extend_from_slice(raw),
            }
            !*promised
        });
        if self.promised {
            heard.append(&mut self.heard);
        }
        heard
    }

    fn says(&mut self, bytes: Vec<u8>, stage: &impl Inside, dice: &Dice, now: Micros) -> Vec<u8> {
        let mut said = std::mem::take(&mut self.said);
        said.extend(bytes);
        let mut out = Vec::new();
        loop {
            if let Some(zxid) = self.snap {
                match fuzzy::length(&said) {
                    Ok(size) => {
                        self.snap = None;
                        let body = said.drain(..size).collect();
                        self.take(&mut out, zxid, body, stage, dice, now);
                    }
                    Err(JuteError::Short) => break,
                    Err(_) => {
                        // Whoever listens will say so.
                        out.append(&mut said);
                        break;
                    }
                }
            }
            packets(&mut said, |packet, raw| {
                self.say(&mut out, packet, raw, dice);
                self.snap.is_none()
            });
            if self.snap.is_none() {
                break;
            }
        }
        self.said = said;
        out
    }

    /// A snapshot at `zxid` begins, and may take its time.
    fn take(&mut self, out: &mut Vec<u8>, zxid: Zxid, body: Vec<u8>, stage: &impl Inside, dice: &Dice, now: Micros) {
        let (behind, new_leader) = (Vec::new(), Vec::new());
        let until = now + dice.between(MS, *dice.pick(&[10 * MS, 60 * MS, 300 * MS]));
        let taking = Taking { zxid, body, behind, new_leader, until };
        // Before it serves, nothing goes on.
        if stage.serves() && !dice.once_in(8) {
            self.taking = Some(taking);
        } else {
            taking.leaves(out, &[]);
        }
    }

    /// Where the next packet goes.
    fn lane<'a>(&'a mut self, out: &'a mut Vec<u8>) -> &'a mut Vec<u8> {
        self.taking.as_mut().map_or(out, |taking| &mut taking.behind)
    }

    fn say(&mut self, out: &mut Vec<u8>, packet: &Packet<'_>, raw: &[u8], dice: &Dice) {
        match packet.kind {
            kind::SNAP => {
                self.snap = Some(packet.zxid);
                return;
            }
            // The thread that would send it is not there yet.
            kind::PING if self.taking.is_some() => return,
            kind::PROPOSAL => {
                // The operation stands behind client, cxid, zxid and time.
                let op = packet.data.and_then(|data| data.get(28..32));
                let reconfigures = op == Some(&Op::Reconfig.as_i32().to_be_bytes());
                self.open.push_back((packet.zxid, reconfigures));
            }
            kind::COMMIT if self.early.front() == Some(&packet.zxid) => {
                self.early.pop_front();
                return;
            }
            kind::COMMIT | kind::COMMITANDACTIVATE => {
                _ = self.open.pop_front_if(|(zxid, _)| *zxid == packet.zxid);
            }
            kind::NEWLEADER => {
                if let Some(taking) = &mut self.taking {
                    taking.new_leader = raw.to_vec();
                    return;
                }
                out.extend_from_slice(raw);
                self.end_history(out, dice);
                return;
            }
            kind::UPTODATE => self.told = Told::UpToDate,
            _ => {}
        }
        self.lane(out).extend_from_slice(raw);
    }

    /// Behind NEWLEADER.
    fn end_history(&mut self, out: &mut Vec<u8>, dice: &Dice) {
        self.told = Told::NewLeader;
        if dice.once_in(2) {
            let last = self.open.back().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
            packet::put(out, kind::PING, last, None);
        }
    }

    fn look(
        &mut self,
        out: &mut Vec<u8>,
        stage: &mut impl Inside,
        dice: &Dice,
        done: &mut Done,
        now: Micros,
    ) -> Option<Micros> {
        if self.taking.is_some() || self.told == Told::NewLeader {
            let committed = stage.committed();
            while let Some((zxid, _)) =
                self.open.pop_front_if(|(zxid, reconfigures)| *zxid <= committed && !*reconfigures)
            {
                packet::put(self.lane(out), kind::COMMIT, zxid, None);
                self.early.push_back(zxid);
                done.early += u64::from(self.taking.is_none());
            }
        }
        let taking = self.taking.take_if(|taking| now >= taking.until && !taking.new_leader.is_empty());
        let Some(taking) = taking else { return self.taking.as_ref().map(|taking| taking.until) };
        let mut after = Vec::new();
        // All that may be in it is committed to the learner before NEWLEADER.
        if self.open.front().is_none_or(|(zxid, _)| *zxid > stage.committed()) {
            let (zxid, bytes) = stage.snapshot();
            if zxid > taking.zxid {
                after = bytes;
            }
        }
        let mixed = if after.is_empty() { None } else { fuzzy::mix(&taking.body, &after, dice).ok() };
        done.fuzzy += u64::from(mixed.is_some());
        taking.leaves(out, &mixed.unwrap_or_default());
        self.end_history(out, dice);
        None
    }
}

impl Taking {
    /// What it has become, if anything else.
    fn leaves(self, out: &mut Vec<u8>, mixed: &[u8]) {
        packet::put(out, kind::SNAP, self.zxid, None);
        out.extend_from_slice(if mixed.is_empty() { &self.body } else { mixed });
        out.extend(self.behind);
        out.extend(self.new_leader);
    }
}

impl Above {
    fn hears(&mut self, bytes: &[u8]) {
        if self.settled {
            return;
        }
        self.heard.extend_from_slice(bytes);
        let (settled, diff) = (&mut self.settled, &mut self.diff);
        packets(&mut self.heard, |packet, _| {
            match packet.kind {
                kind::COMMIT => diff.push(packet.zxid),
                kind::SNAP | kind::NEWLEADER => *settled = true,
                _ => {}
            }
            !*settled
        });
    }

    fn says(&mut self, bytes: Vec<u8>, elder: bool, dice: &Dice, done: &mut Done, now: Micros) -> Vec<u8> {
        let mut said = std::mem::take(&mut self.said);
        said.extend(bytes);
        let mut out = Vec::new();
        packets(&mut said, |packet, raw| {
            match packet.kind {
                kind::FOLLOWERINFO => bare(&mut out, packet, raw),
                kind::OBSERVERINFO => {
                    self.observer = true;
                    out.extend_from_slice(raw);
                }
                kind::ACK if packet.zxid.counter() == 0 => {
                    // The history is durable, and the log's thread says so of each transaction; who comes first is chance.
                    let diff = std::mem::take(&mut self.diff);
                    let diff = if elder && !self.observer { diff } else { Vec::new() };
                    let first = dice.below(diff.len() as u64 + 1) as usize;
                    diff[..first].iter().for_each(|zxid| ack(&mut out, *zxid));
                    out.extend_from_slice(raw);
                    done.doubled += diff.len() as u64;
                    self.flush_later(&diff[first..], dice, now);
                }
                kind::ACK => {
                    let twice = dice.once_in(8);
                    done.doubled += u64::from(twice);
                    self.flush_later(&[packet.zxid, packet.zxid][..1 + usize::from(twice)], dice, now);
                }
                _ => out.extend_from_slice(raw),
            }
            true
        });
        self.said = said;
        out
    }

    fn flush_later(&mut self, acks: &[Zxid], dice: &Dice, now: Micros) {
        self.acks.extend(acks);
        if !self.acks.is_empty() {
            self.due.get_or_insert_with(|| now + dice.below(*dice.pick(&[1, 2 * MS, 10 * MS])));
        }
    }

    fn look(&mut self, out: &mut Vec<u8>, now: Micros) -> Option<Micros> {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.acks.drain(..).for_each(|zxid| ack(out, zxid));
        }
        self.due
    }
}
