//! Fast leader election: from what the voters say to whom to follow.
//!
//! The algorithm alone (peer-protocol.md §4), without links and bytes: it hears ballots and absences, and says when to tell the
//! others its own vote. What always holds: a vote is decided only when a quorum of the committed view, and of the next one if
//! there is one, stands behind it, each of them with a history that is no better than the leader's; within a round a
//! proposal only gets better. Whatever is decided here is a proposal to ZAB, which checks it
//! (docs/decisions/0020-elections.md), so that waiting is never a matter of safety. Kept out: links, retries, repetition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::{Millis, Sid, Zxid};

use crate::view::QuorumView;

/// What a server does, as elections see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerState {
    /// It has no leader and wants one.
    Looking,
    /// It follows one.
    Following,
    /// It is one.
    Leading,
    /// It follows one without a vote.
    Observing,
}

/// Whom to follow, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// The candidate.
    pub leader: Sid,
    /// The end of its history.
    pub zxid: Zxid,
    /// The round in which this was voted.
    pub election_epoch: i64,
    /// The epoch of the candidate's history.
    pub peer_epoch: i64,
}

impl Vote {
    /// Whether the candidate is better than that of another vote: it has the later epoch, the longer history, the greater id.
    pub fn beats(&self, other: &Vote) -> bool {
        (self.peer_epoch, self.zxid, self.leader) > (other.peer_epoch, other.zxid, other.leader)
    }

    fn same_candidate(&self, other: &Vote) -> bool {
        (self.leader, self.zxid, self.peer_epoch) == (other.leader, other.zxid, other.peer_epoch)
    }
}

/// What one server says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ballot {
    /// What it does.
    pub state: ServerState,
    /// Whom it is for.
    pub vote: Vote,
    /// Version of the notification that it came in; 0 and 1 are those of old servers.
    pub version: i32,
}

/// What is to be done about a ballot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reaction {
    /// Tell all voters the own ballot.
    pub broadcast: bool,
    /// Tell the sender the own ballot; part of a broadcast if that is to be done as well.
    pub reply: bool,
}

/// One server's part in elections.
#[derive(Debug)]
pub struct Election {
    id: Sid,
    finalize_wait_ms: i64,
    committed: Arc<QuorumView>,
    /// The next configuration, if one has been proposed that is not committed yet.
    next: Option<Arc<QuorumView>>,
    state: ServerState,
    /// The round, counted over the life of the process; Java's logical clock.
    clock: i64,
    /// The own candidate: this server, or for one that does not vote the worst there can be.
    initial: Vote,
    /// While looking: the best candidate so far. Otherwise: who was decided on. Of the round in which that was.
    proposal: Vote,
    /// Ballots of this round, the own one included if it counts.
    round: BTreeMap<Sid, Ballot>,
    /// Ballots of servers that are not looking.
    outside: BTreeMap<Sid, Ballot>,
    /// Servers that cannot be reached since this server began to look.
    absent: BTreeSet<Sid>,
    /// It has had a leader since the process began.
    settled_before: bool,
    /// When to be content with the proposal, which has a quorum.
    finalize_at: Option<Millis>,
    decided: bool,
    outcome: Option<Vote>,
    /// Settled more than once on this leader: the second time was after synchronising with it.
    synchronised: bool,
    deserted: bool,
    /// It has nothing to say.
    silent: bool,
}

impl Election {
    /// Not yet looking, and with nothing to tell.
    pub fn new(id: Sid, finalize_wait_ms: i64, committed: Arc<QuorumView>) -> Election {
        let nobody = Vote { leader: Sid(i64::MIN), zxid: Zxid(i64::MIN), election_epoch: 0, peer_epoch: i64::MIN };
        Election {
            id,
            finalize_wait_ms,
            committed,
            next: None,
            state: ServerState::Looking,
            clock: 0,
            initial: nobody,
            proposal: nobody,
            round: BTreeMap::new(),
            outside: BTreeMap::new(),
            absent: BTreeSet::new(),
            settled_before: false,
            finalize_at: None,
            decided: false,
            outcome: None,
            synchronised: false,
            deserted: false,
            silent: true,
        }
    }

    /// Another configuration. Whoever is looking had better begin anew.
    pub fn set_view(&mut self, committed: Arc<QuorumView>, last_seen: Option<Arc<QuorumView>>) {
        self.next = last_seen.filter(|view| view.version() > committed.version());
        self.committed = committed;
    }

    /// A new round begins; its ballot is to be broadcast.
    pub fn look(&mut self, zxid: Zxid, peer_epoch: i64, now: Millis) {
        self.state = ServerState::Looking;
        self.silent = false;
        self.clock += 1;
        self.initial = if self.committed.is_voter(self.id) {
            Vote { leader: self.id, zxid, election_epoch: 0, peer_epoch }
        } else {
            // It can never win, but it learns who does.
            Vote { leader: Sid(i64::MIN), zxid: Zxid(i64::MIN), election_epoch: 0, peer_epoch: i64::MIN }
        };
        self.outside.clear();
        self.absent.clear();
        self.decided = false;
        self.outcome = None;
        self.deserted = false;
        self.begin_round(self.clock, self.initial);
        self.weigh(now);
    }

    /// Not looking any more: this is what lookers are told from now on.
    pub fn settle(&mut self, state: ServerState, vote: Vote) {
        debug_assert!(state != ServerState::Looking, "settled servers have a leader");
        self.synchronised = self.state == state;
        self.deserted = false;
        self.state = state;
        self.silent = false;
        self.proposal = vote;
        self.settled_before = true;
        self.finalize_at = None;
        self.outcome = None;
        self.decided = true;
    }

    /// The leader is gone, and this server does not look for another yet.
    pub fn unsettle(&mut self) {
        self.silent = true;
    }

    /// What this server says; nothing before it first looks or settles, and nothing while it is unsettled.
    pub fn ballot(&self) -> Option<Ballot> {
        let vote = match self.state {
            ServerState::Looking => Vote { election_epoch: self.clock, ..self.proposal },
            _ => self.proposal,
        };
        (!self.silent).then_some(Ballot { state: self.state, vote, version: 2 })
    }

    /// What this server does.
    pub fn state(&self) -> ServerState {
        self.state
    }

    /// Looking, and not yet decided.
    pub fn is_open(&self) -> bool {
        self.state == ServerState::Looking && !self.decided && !self.silent
    }

    /// The number of the round.
    pub fn clock(&self) -> i64 {
        self.clock
    }

    /// Who votes, now or next.
    pub fn voters(&self) -> BTreeSet<Sid> {
        let mut voters = self.committed.voters().clone();
        if let Some(next) = &self.next {
            voters.extend(next.voters());
        }
        voters
    }

    /// Whether this one votes, now or next.
    pub fn is_voter(&self, sid: Sid) -> bool {
        self.committed.is_voter(sid) || self.next.as_ref().is_some_and(|next| next.is_voter(sid))
    }

    /// The decision, once.
    pub fn outcome(&mut self) -> Option<Vote> {
        self.outcome.take()
    }

    /// The leader on whom this server settled, and with whom it has not synchronised, has said that it does not lead: true once.
    pub fn deserted(&mut self) -> bool {
        std::mem::take(&mut self.deserted)
    }

    /// When something may be decided although nothing more is heard.
    pub fn deadline(&self) -> Option<Millis> {
        self.finalize_at
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Millis) {
        if self.finalize_at.is_some_and(|at| at <= now) {
            self.weigh(now);
        }
    }

    /// This server could not be reached.
    pub fn absent(&mut self, sid: Sid, now: Millis) {
        if self.absent.insert(sid) {
            self.weigh(now);
        }
    }

    /// This server can be reached.
    pub fn present(&mut self, sid: Sid) {
        self.absent.remove(&sid);
    }

    /// A ballot came in.
    pub fn heard(&mut self, from: Sid, ballot: Ballot, now: Millis) -> Reaction {
        let looking = ballot.state == ServerState::Looking;
        if from == self.proposal.leader && self.state != ServerState::Looking && !self.synchronised {
            // While it looks in the same round, for itself, it has only not decided yet.
            self.deserted |= match ballot.state {
                ServerState::Looking => ballot.vote != self.proposal,
                ServerState::Leading => false,
                ServerState::Following | ServerState::Observing => true,
            };
        }
        if !self.is_voter(from) {
            // Observers, and servers that were removed or are to be added, want to know; their own ballots do not count.
            return Reaction { broadcast: false, reply: looking };
        }
        if self.state != ServerState::Looking || self.decided {
            return Reaction { broadcast: false, reply: looking };
        }
        match ballot.state {
            ServerState::Looking => self.heard_looking(from, ballot, now),
            ServerState::Following | ServerState::Leading => {
                if self.is_voter(ballot.vote.leader) {
                    self.heard_settled(from, ballot);
                }
                Reaction::default()
            }
            ServerState::Observing => Reaction::default(),
        }
    }

    fn heard_looking(&mut self, from: Sid, ballot: Ballot, now: Millis) -> Reaction {
        let vote = ballot.vote;
        let mut reaction = Reaction { broadcast: false, reply: vote.election_epoch < self.clock };
        // A database that was never initialised neither elects nor is elected.
        let uninitialised = Zxid(-1);
        if reaction.reply
            || !self.is_voter(vote.leader)
            || self.initial.zxid == uninitialised
            || vote.zxid == uninitialised
        {
            return reaction;
        }
        if vote.election_epoch > self.clock {
            let best = if self.prefers(&vote, &self.initial) { vote } else { self.initial };
            self.begin_round(vote.election_epoch, best);
            reaction.broadcast = true;
        } else if self.prefers(&vote, &self.proposal) {
            self.propose(vote);
            reaction.broadcast = true;
        } else {
            // The sender may have begun to look after the own ballot reached it, and then it answered as who it was before: it is told
            // once more. Java's would hear of it only when somebody repeats himself.
            let before = self.round.get(&from).filter(|before| before.state == ServerState::Looking);
            reaction.reply = match before {
                None => true,
                Some(before) => *before != ballot && !vote.same_candidate(&self.proposal),
            };
        }
        self.round.insert(from, ballot);
        self.weigh(now);
        reaction
    }

    /// Somebody has a leader already.
    fn heard_settled(&mut self, from: Sid, ballot: Ballot) {
        let vote = ballot.vote;
        if vote.election_epoch == self.clock {
            self.round.insert(from, ballot);
            let agrees = |other: &Ballot| other.vote.leader == vote.leader;
            if self.leader_agrees(&self.round, &vote) && self.quorum(&self.round, agrees) {
                self.decide(vote);
                return;
            }
        }
        self.outside.insert(from, ballot);
        // Members of a running ensemble may have joined it in different rounds. Servers from before 3.5 do not know the epoch.
        let agrees = |other: &Ballot| {
            let comparable = (other.version > 0) == (ballot.version > 0);
            other.vote.leader == vote.leader && (!comparable || other.vote.peer_epoch == vote.peer_epoch)
        };
        if self.leader_agrees(&self.outside, &vote) && self.quorum(&self.outside, agrees) {
            self.clock = vote.election_epoch;
            self.decide(vote);
        }
    }

    /// Whether the leader of a settled vote leads: it says so itself. If it is this server, the others must have elected it just now:
    /// not in its previous life, and with the history that it has.
    fn leader_agrees(&self, ballots: &BTreeMap<Sid, Ballot>, vote: &Vote) -> bool {
        if vote.leader == self.id {
            vote.election_epoch == self.clock && vote.same_candidate(&self.proposal)
        } else {
            ballots.get(&vote.leader).is_some_and(|ballot| ballot.state == ServerState::Leading)
        }
    }

    /// Decides if the proposal has a quorum and nothing better is to be expected; else says until when to expect it.
    fn weigh(&mut self, now: Millis) {
        if !self.is_open() {
            return;
        }
        let proposal = Vote { election_epoch: self.clock, ..self.proposal };
        if !self.quorum(&self.round, |ballot| ballot.vote == proposal) {
            self.finalize_at = None;
            return;
        }
        let finalize_at = *self.finalize_at.get_or_insert(now.plus(self.finalize_wait_ms));
        // Only the winner may be sure early. It says so, and those who hear it say that it leads follow; thus nobody knocks at
        // the door of one who is still waiting, as Java's servers do.
        if finalize_at <= now || (proposal.leader == self.id && self.all_accounted_for()) {
            self.decide(proposal);
        }
    }

    /// Whether the proposal cannot get better: every voter has said something in this round, and who has said something has a history no
    /// better than what it proposed; or it is dead as far as can be told. Who was never seen alive in this process's
    /// life may be about to start, and gets its time.
    fn all_accounted_for(&self) -> bool {
        let accounted = |sid: &Sid| {
            *sid == self.id || self.round.contains_key(sid) || (self.settled_before && self.absent.contains(sid))
        };
        self.voters().iter().all(accounted)
    }

    fn quorum(&self, ballots: &BTreeMap<Sid, Ballot>, agrees: impl Fn(&Ballot) -> bool) -> bool {
        let acks: BTreeSet<Sid> = ballots.iter().filter(|(_, ballot)| agrees(ballot)).map(|(sid, _)| *sid).collect();
        self.committed.verifier().is_quorum(&acks)
            && self.next.as_ref().is_none_or(|next| next.verifier().is_quorum(&acks))
    }

    fn prefers(&self, vote: &Vote, to: &Vote) -> bool {
        self.committed.verifier().weight(vote.leader) != 0 && vote.beats(to)
    }

    fn begin_round(&mut self, clock: i64, proposal: Vote) {
        self.clock = clock;
        self.round.clear();
        self.propose(proposal);
    }

    fn propose(&mut self, vote: Vote) {
        self.proposal = Vote { election_epoch: self.clock, ..vote };
        self.finalize_at = None;
        if self.is_voter(self.id) {
            let own = Ballot { state: ServerState::Looking, vote: self.proposal, version: 2 };
            self.round.insert(self.id, own);
        }
    }

    fn decide(&mut self, vote: Vote) {
        self.finalize_at = None;
        self.decided = true;
        self.proposal = vote;
        self.outcome = Some(vote);
    }
}
