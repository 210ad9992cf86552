//! Reads along on the links between members, by the contract alone (peer-protocol.md §2, §3, §5, §8): for the trace, and to judge that
//! nobody says what he must not.
//!
//! One [`Sniffer`] for each direction of each link; bytes come in any pieces. A member of ours is honest and so are all others in a run:
//! what cannot be read, or comes out of turn, is a violation ("ShouldNotBeTriggered").

use std::collections::VecDeque;

use proto::{JuteError, Reader};

use crate::java::fuzzy;

/// What one message says, in short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// The first message of an election link: sid and address.
    Hello(i64, String),
    /// A vote.
    Vote {
        /// 0 looking, 1 following, 2 leading, 3 observing.
        state: i32,
        /// Who should lead.
        leader: i64,
        /// His last zxid.
        zxid: i64,
        /// The sender's round.
        round: i64,
        /// His epoch.
        epoch: i64,
    },
    /// A packet: type, zxid, data.
    Packet(i32, i64, Option<Vec<u8>>),
    /// So many bytes of a snapshot ended.
    Snapshot(usize),
}

/// Between our own servers: the learner's copy decides.
const CASTING: i32 = quorum::packet::kind::CASTING;

/// Between our own servers: the next epoch is agreed on, and entered.
const NEXT_EPOCH: i32 = quorum::packet::kind::NEXT_EPOCH;
const ENTER_EPOCH: i32 = quorum::packet::kind::ENTER_EPOCH;

/// Names of packet types.
pub fn name(kind: i32) -> &'static str {
    match kind {
        1 => "REQUEST",
        2 => "PROPOSAL",
        3 => "ACK",
        4 => "COMMIT",
        5 => "PING",
        6 => "REVALIDATE",
        7 => "SYNC",
        8 => "INFORM",
        9 => "COMMITANDACTIVATE",
        10 => "NEWLEADER",
        11 => "FOLLOWERINFO",
        12 => "UPTODATE",
        13 => "DIFF",
        14 => "TRUNC",
        15 => "SNAP",
        16 => "OBSERVERINFO",
        17 => "LEADERINFO",
        18 => "ACKEPOCH",
        19 => "INFORMANDACTIVATE",
        CASTING => "CASTING",
        NEXT_EPOCH => "NEXT_EPOCH",
        ENTER_EPOCH => "ENTER_EPOCH",
        _ => "?",
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Said::Hello(sid, address) => write!(f, "hello of {sid} at {address}"),
            Said::Vote { state, leader, zxid, round, epoch } => {
                let state = ["LOOKING", "FOLLOWING", "LEADING", "OBSERVING"].get(*state as usize).unwrap_or(&"?");
                write!(f, "{state} votes {leader} zxid {zxid:#x} round {round} epoch {epoch}")
            }
            Said::Packet(kind, zxid, data) => {
                write!(f, "{} {zxid:#x}", name(*kind))?;
                data.as_ref().map_or(Ok(()), |data| write!(f, " +{}", data.len()))
            }
            Said::Snapshot(bytes) => write!(f, "snapshot of {bytes} bytes"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Hello,
    Votes,
    Packets,
    Snapshot,
}

/// One direction of one link.
#[derive(Debug)]
pub struct Sniffer {
    mode: Mode,
    bytes: Vec<u8>,
}

impl Sniffer {
    /// Of an election link; `asked`: the direction of whoever connected, who says hello.
    pub fn election(asked: bool) -> Sniffer {
        Sniffer { mode: if asked { Mode::Hello } else { Mode::Votes }, bytes: Vec::new() }
    }

    /// Of a quorum link.
    pub fn quorum() -> Sniffer {
        Sniffer { mode: Mode::Packets, bytes: Vec::new() }
    }

    /// Bytes come; answers what they complete.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<Said>, String> {
        self.bytes.extend_from_slice(bytes);
        let mut said = Vec::new();
        loop {
            let mut r = Reader::with_limit(&self.bytes, 64 << 20);
            let read = match self.mode {
                Mode::Hello => hello(&mut r),
                Mode::Votes => vote(&mut r),
                Mode::Packets => packet(&mut r),
                Mode::Snapshot => fuzzy::length(&self.bytes).map(Said::Snapshot),
            };
            match read {
                Ok(one) => {
                    let size = match one {
                        Said::Snapshot(size) => size,
                        _ => self.bytes.len() - r.rest().len(),
                    };
                    self.bytes.drain(..size);
                    self.mode = match (self.mode, &one) {
                        (Mode::Hello, _) => Mode::Votes,
                        (_, Said::Packet(15, ..)) => Mode::Snapshot,
                        (Mode::Snapshot, _) => Mode::Packets,
                        (mode, _) => mode,
                    };
                    said.push(one);
                }
                Err(JuteError::Short) => return Ok(said),
                Err(error) => return Err(format!("{error:?} in {:?}", self.mode)),
            }
        }
    }
}

fn hello(r: &mut Reader<'_>) -> Result<Said, JuteError> {
    _ = r.long()?;
    let sid = r.long()?;
    let address = r.buffer()?.unwrap_or_default();
    Ok(Said::Hello(sid, String::from_utf8_lossy(address).into_owned()))
}

fn vote(r: &mut Reader<'_>) -> Result<Said, JuteError> {
    let message = r.buffer()?.unwrap_or_default();
    let mut m = Reader::new(message);
    Ok(Said::Vote { state: m.int()?, leader: m.long()?, zxid: m.long()?, round: m.long()?, epoch: m.long()? })
}

fn packet(r: &mut Reader<'_>) -> Result<Said, JuteError> {
    let (kind, zxid) = (r.int()?, r.long()?);
    let data = r.buffer()?.map(<[u8]>::to_vec);
    let ids = r.int()?;
    for _ in 0..ids.max(0) {
        _ = r.string()?;
        _ = r.string()?;
    }
    Ok(Said::Packet(kind, zxid, data))
}

/// What has been said on one quorum link: both directions, and what follows from it.
#[derive(Debug)]
pub struct Conversation {
    /// From the learner, from the leader.
    sides: [Sniffer; 2],
    /// The learner has said that it does not vote.
    observer: bool,
    /// As LEADERINFO said it.
    epoch: Option<i64>,
    /// The end of what the leader has sent as proposals, and what of it is not committed.
    proposed: Option<i64>,
    open: VecDeque<i64>,
    /// NEWLEADER was said.
    synced: bool,
    /// UPTODATE was said.
    up: bool,
    acked: i64,
    /// As NEXT_EPOCH said it.
    offered: Option<i64>,
}

/// What a judge must know of the member that speaks.
pub struct Speaker {
    /// Its log is durable up to here, as its disk was asked and has answered.
    pub durable: i64,
    /// Accepted and current epoch.
    pub epochs: (i64, i64),
    /// It speaks as Java's members do.
    pub java: bool,
    /// It speaks to one that does.
    pub to_java: bool,
}

impl Default for Conversation {
    fn default() -> Conversation {
        Conversation {
            sides: [Sniffer::quorum(), Sniffer::quorum()],
            observer: false,
            epoch: None,
            proposed: None,
            open: VecDeque::new(),
            synced: false,
            up: false,
            acked: 0,
            offered: None,
        }
    }
}

impl Conversation {
    /// The leader (`leads`) or the learner says something.
    pub fn hear(&mut self, leads: bool, bytes: &[u8], speaker: &Speaker) -> Result<Vec<Said>, String> {
        let said = self.sides[usize::from(leads)].read(bytes)?;
        for one in &said {
            if let Said::Packet(kind, zxid, data) = one {
                let fine = if leads {
                    self.leader(*kind, *zxid, data.is_some(), speaker)
                } else {
                    self.learner(*kind, *zxid, speaker)
                };
                fine.map_err(|rule| format!("{one}: {rule}"))?;
            }
        }
        Ok(said)
    }

    fn leader(&mut self, kind: i32, zxid: i64, data: bool, speaker: &Speaker) -> Result<(), &'static str> {
        let rule = |holds: bool, rule: &'static str| if holds { Ok(()) } else { Err(rule) };
        match kind {
            17 => {
                rule(self.epoch.is_none() && zxid & 0xFFFF_FFFF == 0, "one LEADERINFO, with an epoch")?;
                self.epoch = Some(zxid >> 32);
            }
            2 | 8 | 19 => {
                rule(
                    data && self.proposed.is_none_or(|last| zxid == last + 1 || zxid >> 32 > last >> 32),
                    "proposals have no gaps",
                )?;
                self.proposed = Some(zxid);
                if kind == 2 {
                    self.open.push_back(zxid);
                } else {
                    rule(self.synced || speaker.java, "an INFORM stands behind NEWLEADER")?;
                }
            }
            4 | 9 => rule(self.open.pop_front() == Some(zxid), "a COMMIT is for the oldest open proposal")?,
            CASTING => {
                rule(!speaker.java && !speaker.to_java, "Java knows no casting votes")?;
                rule(
                    self.up && self.open.contains(&zxid),
                    "a vote is left to a learner that serves, for an open proposal",
                )?;
            }
            NEXT_EPOCH => {
                let next = self.offered.or(self.epoch).map(|epoch| epoch + 1);
                rule(self.up && next == Some(zxid >> 32), "the next epoch is offered to a learner that serves")?;
                self.offered = next;
            }
            ENTER_EPOCH => {
                rule(self.offered == Some(zxid >> 32), "the epoch that is entered was offered")?;
                rule(self.open.is_empty(), "an epoch is complete before the next is entered")?;
            }
            10 => {
                rule(!self.synced && self.epoch == Some(zxid >> 32), "one NEWLEADER, of the epoch of LEADERINFO")?;
                self.synced = true;
            }
            12 => {
                rule(self.synced && !self.up, "one UPTODATE, behind NEWLEADER")?;
                self.up = true;
            }
            13..=15 => rule(!self.synced && self.proposed.is_none(), "the history begins with DIFF, TRUNC or SNAP")?,
            5..=7 => {}
            _ => rule(false, "a leader does not say that")?,
        }
        Ok(())
    }

    fn learner(&mut self, kind: i32, zxid: i64, speaker: &Speaker) -> Result<(), &'static str> {
        let rule = |holds: bool, rule: &'static str| if holds { Ok(()) } else { Err(rule) };
        match kind {
            3 if zxid & 0xFFFF_FFFF == 0 => {
                rule(self.epoch == Some(zxid >> 32), "an ACK of NEWLEADER bears its epoch")?;
                // The second of them may stand before what says that the next epoch is entered already.
                rule(speaker.epochs.1 >= zxid >> 32, "the epoch is durable before NEWLEADER is acknowledged")
            }
            3 => {
                rule(zxid > self.acked || speaker.java && zxid == self.acked, "acknowledgements grow")?;
                self.acked = zxid;
                rule(speaker.durable >= zxid, "nothing is acknowledged before it is durable")
            }
            18 => {
                // What an observer promised before to somebody who never led does not bind it.
                let kept = Some(speaker.epochs.0) == self.epoch || self.observer && Some(speaker.epochs.0) > self.epoch;
                rule(kept, "the accepted epoch is durable before it is acknowledged")
            }
            NEXT_EPOCH => rule(speaker.epochs.0 == zxid >> 32, "an epoch is promised durably before that is said"),
            ENTER_EPOCH => {
                rule(speaker.epochs.1 == zxid >> 32, "an epoch is entered durably before that is said")?;
                let all = self.proposed.is_none_or(|last| last >> 32 >= zxid >> 32 || speaker.durable >= last);
                rule(all, "who enters an epoch has all of the one before durably")
            }
            16 => {
                self.observer = true;
                Ok(())
            }
            1 | 5 | 6 | 11 => Ok(()),
            _ => Err("a learner does not say that"),
        }
    }
}
