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

/// For whom a server votes that does not stand itself and has heard of nobody.
const NOBODY: Sid = Sid(i64::MIN);

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

/// So long the word of the other of two voters counts that it leads: until it must have noticed if nobody follows it, and it is asked again
/// more often than that.
const LEADER_SAID_MS: i64 = 5_000;

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
    /// The own candidate, if it is not this server.
    favoured: Option<Sid>,
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
    /// Who had voted for this leader when it was decided on.
    supporters: BTreeSet<Sid>,
    /// Who looks in a later round since.
    left: BTreeSet<Sid>,
    /// Settled more than once on this leader: the second time was after synchronising with it.
    synchronised: bool,
    deserted: bool,
    /// It has nothing to say.
    silent: bool,
    /// What the oracle of an ensemble of two said last in this election.
    oracle: Option<bool>,
    /// The other of two voters said that it leads, its words, and when.
    other_leads: Option<(Vote, Millis)>,
    /// The outcome is this server, and the other voter has not agreed to it.
    alone: bool,
}

impl Election {
    /// Not yet looking, and with nothing to tell.
    pub fn new(id: Sid, finalize_wait_ms: i64, committed: Arc<QuorumView>) -> Election {
        let nobody = Vote { leader: NOBODY, zxid: Zxid(i64::MIN), election_epoch: 0, peer_epoch: i64::MIN };
        Election {
            id,
            finalize_wait_ms,
            committed,
            next: None,
            state: ServerState::Looking,
            clock: 0,
            favoured: None,
            initial: nobody,
            proposal: nobody,
            round: BTreeMap::new(),
            outside: BTreeMap::new(),
            absent: BTreeSet::new(),
            settled_before: false,
            finalize_at: None,
            decided: false,
            outcome: None,
            supporters: BTreeSet::new(),
            left: BTreeSet::new(),
            synchronised: false,
            deserted: false,
            silent: true,
            oracle: None,
            other_leads: None,
            alone: false,
        }
    }

    /// Another configuration. Whoever is looking had better begin anew.
    pub fn set_view(&mut self, committed: Arc<QuorumView>, last_seen: Option<Arc<QuorumView>>) {
        self.next = last_seen.filter(|view| view.version() > committed.version());
        self.committed = committed;
    }

    /// From the next round on this server's own candidate is another, whose history is no worse than its own as far as it knows; `None`: itself.
    pub fn favour(&mut self, sid: Option<Sid>) {
        self.favoured = sid;
    }

    /// A new round begins; its ballot is to be broadcast.
    pub fn look(&mut self, zxid: Zxid, peer_epoch: i64, now: Millis) {
        self.state = ServerState::Looking;
        self.silent = false;
        self.clock += 1;
        self.initial = if self.committed.is_voter(self.id) {
            let leader = self.favoured.filter(|sid| self.committed.is_voter(*sid)).unwrap_or(self.id);
            Vote { leader, zxid, election_epoch: 0, peer_epoch }
        } else {
            // It can never win, but it learns who does.
            Vote { leader: NOBODY, zxid: Zxid(i64::MIN), election_epoch: 0, peer_epoch: i64::MIN }
        };
        self.outside.clear();
        self.absent.clear();
        self.decided = false;
        self.outcome = None;
        self.deserted = false;
        self.oracle = None;
        self.other_leads = None;
        self.alone = false;
        self.begin_round(self.clock, self.initial);
        self.weigh(now);
    }

    /// Not looking any more: this is what lookers are told from now on.
    pub fn settle(&mut self, state: ServerState, vote: Vote) {
        debug_assert!(state != ServerState::Looking, "settled servers have a leader");
        self.synchronised = self.state == state;
        self.deserted = false;
        self.left.clear();
        self.supporters = match std::mem::take(&mut self.decided) {
            true => {
                self.round.iter().filter(|(_, ballot)| ballot.vote.leader == vote.leader).map(|(sid, _)| *sid).collect()
            }
            // Not elected, but designated.
            false => self.voters(),
        };
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

    /// What this server settled on, and has not synchronised about, has come to nothing: the leader has said that it does not lead, or this
    /// server leads and those who elected it look for another. True once.
    pub fn deserted(&mut self) -> bool {
        std::mem::take(&mut self.deserted)
    }

    /// The oracle of an ensemble of two has answered whether this server may do without the other voter.
    pub fn oracle_says(&mut self, yes: bool, now: Millis) {
        if !self.is_open() {
            return;
        }
        if yes && self.oracle != Some(true) && self.other_leads.is_some() {
            tracing::warn!(
                "the oracle lets this server lead, and the other voter says that it leads: it may say yes to one at a time"
            );
        }
        self.oracle = Some(yes);
        self.join_lone_leader();
        self.weigh(now);
    }

    /// The outcome is this server by the oracle's word alone.
    pub fn is_alone(&self) -> bool {
        self.alone
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
            self.other_leads = self.other_leads.filter(|(vote, _)| vote.leader != sid);
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
        if self.state != ServerState::Looking && !self.synchronised {
            self.deserted |= self.is_deserted(from, &ballot);
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
                    self.heard_settled(from, ballot, now);
                }
                Reaction::default()
            }
            ServerState::Observing => Reaction::default(),
        }
    }

    /// Whether what this server settled on has come to nothing, now that `from` says this.
    fn is_deserted(&mut self, from: Sid, ballot: &Ballot) -> bool {
        let looking = ballot.state == ServerState::Looking;
        if self.state == ServerState::Leading {
            if looking && ballot.vote.election_epoch > self.proposal.election_epoch {
                self.left.insert(from);
            } else if !looking && ballot.vote.leader == self.id {
                self.left.remove(&from);
            }
            let with: BTreeSet<Sid> = self.supporters.difference(&self.left).copied().collect();
            return self.left.contains(&from) && !self.is_quorum(&with);
        }
        // While it looks in the same round, for itself, it has only not decided yet.
        from == self.proposal.leader
            && match ballot.state {
                ServerState::Looking => ballot.vote != self.proposal,
                ServerState::Leading => false,
                ServerState::Following | ServerState::Observing => true,
            }
    }

    fn heard_looking(&mut self, from: Sid, ballot: Ballot, now: Millis) -> Reaction {
        let vote = ballot.vote;
        let mut reaction = Reaction { broadcast: false, reply: vote.election_epoch < self.clock };
        // A database that was never initialised neither elects nor is elected.
        let uninitialised = Zxid(-1);
        if vote.leader == NOBODY && vote.election_epoch > self.clock {
            // It is to be a voter and does not know that yet. In its later round it would not count what is voted in this one, and its vote may
            // be needed.
            self.begin_round(vote.election_epoch, self.initial);
            return Reaction { broadcast: true, reply: false };
        }
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
        self.other_leads = self.other_leads.filter(|(vote, _)| vote.leader != from);
        self.round.insert(from, ballot);
        self.weigh(now);
        reaction
    }

    /// Somebody has a leader already.
    fn heard_settled(&mut self, from: Sid, ballot: Ballot, now: Millis) {
        let vote = ballot.vote;
        if vote.election_epoch == self.clock {
            self.round.insert(from, ballot);
            let agrees = |other: &Ballot| other.vote.leader == vote.leader;
            if self.leader_agrees(&self.round, &vote) && self.is_followed(&vote, &self.round, agrees) {
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
        if self.leader_agrees(&self.outside, &vote) && self.is_followed(&vote, &self.outside, agrees) {
            self.clock = vote.election_epoch;
            self.decide(vote);
            return;
        }
        if ballot.state == ServerState::Leading && vote.leader == from && self.committed.has_two_voters() {
            self.other_leads = Some((vote, now));
            self.join_lone_leader();
        }
    }

    /// One of two voters leads without the other: it has the oracle's word. That whoever is refused joins it makes a quorum of them again.
    fn join_lone_leader(&mut self) {
        let may_lead = self.is_voter(self.id) && self.oracle == Some(true);
        let Some((vote, _)) = self.other_leads.filter(|_| self.oracle.is_some() && !may_lead) else { return };
        tracing::info!("server {} leads without the other voter, and is joined", vote.leader);
        self.clock = vote.election_epoch;
        self.decide(vote);
    }

    /// Whether this server may do without the other voter, which is not heard to lead.
    fn may_lead_alone(&self, proposal: &Vote) -> bool {
        let enough =
            |view: &QuorumView| view.is_one_of_two(self.id) || view.verifier().is_quorum(&BTreeSet::from([self.id]));
        self.oracle == Some(true)
            && proposal.leader == self.id
            && self.committed.is_one_of_two(self.id)
            && self.next.as_deref().is_none_or(enough)
    }

    /// Whether enough follow the leader of a settled vote. One that others have does not become leader by being joined, so the configuration in
    /// force is enough: the next one may be known here alone and never come to be, and would keep this server away for ever.
    fn is_followed(&self, vote: &Vote, ballots: &BTreeMap<Sid, Ballot>, agrees: impl Fn(&Ballot) -> bool) -> bool {
        if vote.leader == self.id {
            return self.quorum(ballots, agrees);
        }
        let followers = ballots.iter().filter(|(_, ballot)| agrees(ballot)).map(|(sid, _)| *sid).collect();
        self.committed.verifier().is_quorum(&followers)
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
        let alone = !self.quorum(&self.round, |ballot| ballot.vote == proposal);
        if alone && !self.may_lead_alone(&proposal) {
            self.finalize_at = None;
            return;
        }
        let waits_until = now.plus(self.finalize_wait_ms);
        let mut finalize_at = self.finalize_at.map_or(waits_until, |at| at.min(waits_until));
        if let Some((_, said)) = self.other_leads.filter(|_| alone) {
            finalize_at = finalize_at.max(said.plus(LEADER_SAID_MS));
        }
        self.finalize_at = Some(finalize_at);
        self.alone = alone;
        // Only the winner may be sure early. It says so, and those who hear it say that it leads follow; thus nobody knocks at
        // the door of one who is still waiting, as Java's servers do.
        if finalize_at <= now || (!alone && proposal.leader == self.id && self.all_accounted_for()) {
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
        let acks = ballots.iter().filter(|(_, ballot)| agrees(ballot)).map(|(sid, _)| *sid).collect();
        self.is_quorum(&acks)
    }

    fn is_quorum(&self, acks: &BTreeSet<Sid>) -> bool {
        self.committed.verifier().is_quorum(acks)
            && self.next.as_ref().is_none_or(|next| next.verifier().is_quorum(acks))
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
        self.alone &= vote.leader == self.id;
        self.proposal = vote;
        self.outcome = Some(vote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = Millis(1_000);

    fn view(text: &str) -> Arc<QuorumView> {
        Arc::new(QuorumView::parse(text).expect("a view"))
    }

    fn servers(count: i64) -> String {
        (1..=count).map(|sid| format!("server.{sid}=h{sid}:1:2\n")).collect()
    }

    fn vote(leader: i64, zxid: i64, election_epoch: i64, peer_epoch: i64) -> Vote {
        Vote { leader: Sid(leader), zxid: Zxid(zxid), election_epoch, peer_epoch }
    }

    fn looks(vote: Vote) -> Ballot {
        Ballot { state: ServerState::Looking, vote, version: 2 }
    }

    fn follows(vote: Vote) -> Ballot {
        Ballot { state: ServerState::Following, vote, version: 2 }
    }

    fn leads(vote: Vote) -> Ballot {
        Ballot { state: ServerState::Leading, vote, version: 2 }
    }

    /// Server `id` of so many, looking for the first time, with an empty history.
    fn looking(id: i64, count: i64) -> Election {
        let mut election = Election::new(Sid(id), 200, view(&servers(count)));
        election.look(Zxid(0), 0, START);
        election
    }

    /// The same, after it has once followed the last server, now in round 2.
    fn looking_again(id: i64, count: i64) -> Election {
        let mut election = looking(id, count);
        election.settle(ServerState::Following, vote(count, 0, 1, 0));
        election.look(Zxid(0), 0, START);
        election
    }

    const NOTHING: Reaction = Reaction { broadcast: false, reply: false };
    const REPLY: Reaction = Reaction { broadcast: false, reply: true };
    const BROADCAST: Reaction = Reaction { broadcast: true, reply: false };

    #[test]
    fn votes_are_ordered_by_epoch_then_history_then_id() {
        let ordered = [vote(9, 9, 9, 0), vote(1, 0, 0, 1), vote(2, 0, 0, 1), vote(1, 7, 0, 1), vote(1, 0, 0, 2)];
        for (index, lesser) in ordered.iter().enumerate() {
            assert!(!lesser.beats(lesser));
            for greater in &ordered[index + 1..] {
                assert!(greater.beats(lesser) && !lesser.beats(greater), "{greater:?} {lesser:?}");
            }
        }
    }

    #[test]
    fn a_better_vote_is_adopted_and_told_to_all() {
        let mut election = looking(2, 3);
        assert_eq!(election.heard(Sid(3), looks(vote(3, 0, 1, 0)), START), BROADCAST);
        assert_eq!(election.ballot(), Some(looks(vote(3, 0, 1, 0))));
    }

    #[test]
    fn a_worse_vote_is_answered_when_it_is_new() {
        let mut election = looking(2, 5);
        assert_eq!(election.heard(Sid(1), looks(vote(1, 0, 1, 0)), START), REPLY);
        assert_eq!(election.heard(Sid(1), looks(vote(1, 0, 1, 0)), START), NOTHING, "else two could answer for ever");
        assert_eq!(election.heard(Sid(1), looks(vote(2, 0, 1, 0)), START), NOTHING, "it has heard");
    }

    #[test]
    fn the_first_vote_of_a_server_is_answered_even_if_it_is_the_own_one() {
        let mut election = looking(2, 5);
        assert_eq!(election.heard(Sid(1), looks(vote(2, 0, 1, 0)), START), REPLY);
    }

    #[test]
    fn a_later_round_is_entered_with_the_better_of_both_votes() {
        let mut election = looking(2, 5);
        election.heard(Sid(1), looks(vote(2, 0, 1, 0)), START);
        assert_eq!(election.heard(Sid(3), looks(vote(1, 0, 7, 0)), START), BROADCAST);
        assert_eq!(election.ballot(), Some(looks(vote(2, 0, 7, 0))), "the own is better");
        assert_eq!(election.heard(Sid(3), looks(vote(3, 0, 8, 0)), START), BROADCAST);
        assert_eq!(election.ballot(), Some(looks(vote(3, 0, 8, 0))));
        assert_eq!(election.heard(Sid(1), looks(vote(2, 0, 7, 0)), START), REPLY, "an earlier round is answered");
        assert_eq!(election.ballot(), Some(looks(vote(3, 0, 8, 0))));
        assert_eq!(election.outcome(), None, "votes of earlier rounds do not count");
    }

    #[test]
    fn the_winner_is_sure_when_all_have_voted() {
        let mut election = looking(3, 3);
        election.heard(Sid(1), looks(vote(3, 0, 1, 0)), START);
        assert_eq!((election.outcome(), election.deadline()), (None, Some(START.plus(200))));
        election.heard(Sid(2), looks(vote(2, 0, 1, 0)), START);
        assert_eq!(
            election.outcome(),
            Some(vote(3, 0, 1, 0)),
            "its own vote is not better, and its better one will be this"
        );
        assert_eq!(election.outcome(), None, "told once");
    }

    #[test]
    fn without_everybodys_vote_there_is_a_wait_for_better_ones() {
        let mut election = looking(2, 5);
        election.heard(Sid(1), looks(vote(2, 0, 1, 0)), START);
        election.heard(Sid(3), looks(vote(2, 0, 1, 0)), START.plus(50));
        election.tick(START.plus(249));
        assert_eq!(election.outcome(), None);
        assert_eq!(election.heard(Sid(4), looks(vote(4, 0, 1, 0)), START.plus(249)), BROADCAST);
        assert_eq!(election.deadline(), None, "the better one has no quorum yet");
        election.tick(START.plus(400));
        assert_eq!(election.outcome(), None);
        election.heard(Sid(1), looks(vote(4, 0, 1, 0)), START.plus(400));
        election.tick(START.plus(600));
        assert_eq!(election.outcome(), Some(vote(4, 0, 1, 0)));
    }

    #[test]
    fn the_winner_does_not_wait_for_who_cannot_be_reached_unless_it_just_started() {
        let mut again = looking_again(2, 3);
        again.heard(Sid(1), looks(vote(2, 0, 2, 0)), START);
        assert_eq!(again.outcome(), None);
        again.absent(Sid(3), START);
        assert_eq!(again.outcome(), Some(vote(2, 0, 2, 0)));

        let mut back = looking_again(2, 3);
        back.absent(Sid(3), START);
        back.present(Sid(3));
        back.heard(Sid(1), looks(vote(2, 0, 2, 0)), START);
        assert_eq!(back.outcome(), None, "it is there, and may have something to say");

        let mut first = looking(2, 3);
        first.heard(Sid(1), looks(vote(2, 0, 1, 0)), START);
        first.absent(Sid(3), START);
        assert_eq!(first.outcome(), None);
        first.tick(START.plus(200));
        assert_eq!(first.outcome(), Some(vote(2, 0, 1, 0)));
    }

    #[test]
    fn absence_is_of_one_election() {
        let mut election = looking_again(2, 3);
        election.absent(Sid(3), START);
        election.look(Zxid(0), 0, START);
        election.heard(Sid(1), looks(vote(2, 0, 3, 0)), START);
        assert_eq!(election.outcome(), None);
    }

    #[test]
    fn a_follower_waits_for_the_winners_word() {
        let mut election = looking_again(1, 3);
        election.absent(Sid(3), START);
        election.heard(Sid(2), looks(vote(2, 0, 2, 0)), START);
        assert_eq!(election.outcome(), None, "server 2 may not know yet");
        election.heard(Sid(2), leads(vote(2, 0, 2, 0)), START.plus(1));
        assert_eq!(election.outcome(), Some(vote(2, 0, 2, 0)));

        let mut silent = looking_again(1, 3);
        silent.absent(Sid(3), START);
        silent.heard(Sid(2), looks(vote(2, 0, 2, 0)), START);
        silent.tick(START.plus(200));
        assert_eq!(silent.outcome(), Some(vote(2, 0, 2, 0)), "Java's says nothing");
    }

    #[test]
    fn a_server_joins_those_who_have_a_leader_whatever_their_rounds() {
        let mut election = looking(1, 5);
        election.heard(Sid(2), follows(vote(4, 7, 12, 3)), START);
        election.heard(Sid(3), follows(vote(4, 9, 15, 3)), START);
        assert_eq!(election.outcome(), None, "the leader has not spoken");
        election.heard(Sid(4), leads(vote(4, 7, 12, 3)), START);
        assert_eq!(election.outcome(), Some(vote(4, 7, 12, 3)));
        assert_eq!(election.clock(), 12, "their round is its own now");
    }

    #[test]
    fn followers_of_different_epochs_or_leaders_do_not_add_up() {
        let mut election = looking(1, 5);
        election.heard(Sid(4), leads(vote(4, 7, 12, 3)), START);
        election.heard(Sid(2), follows(vote(4, 7, 12, 2)), START);
        election.heard(Sid(3), follows(vote(5, 7, 12, 3)), START);
        assert_eq!(election.outcome(), None);
        election.heard(Sid(3), follows(vote(4, 1, 12, 3)), START);
        assert_eq!(election.outcome(), None);
        election.heard(Sid(2), follows(vote(4, 2, 11, 3)), START);
        assert_eq!(election.outcome(), Some(vote(4, 2, 11, 3)), "epoch and leader are enough");
    }

    #[test]
    fn servers_from_before_3_5_are_counted_without_their_epochs() {
        let mut election = looking(1, 5);
        election.heard(Sid(4), leads(vote(4, 7, 12, 3)), START);
        election.heard(Sid(2), follows(vote(4, 7, 12, 3)), START);
        election.heard(Sid(3), Ballot { version: 0, ..follows(vote(4, 7, 12, 0)) }, START);
        assert!(election.outcome().is_some_and(|vote| vote.leader == Sid(4)));
    }

    #[test]
    fn one_of_two_wins_without_the_other_only_when_the_oracle_says_so_and_its_time_has_come() {
        let mut election = looking_again(1, 2);
        election.absent(Sid(2), START);
        election.tick(START.plus(10_000));
        election.oracle_says(false, START);
        assert_eq!((election.outcome(), election.deadline()), (None, None));
        election.oracle_says(true, START);
        assert_eq!(
            (election.outcome(), election.deadline()),
            (None, Some(START.plus(200))),
            "no quorum can correct it"
        );
        election.tick(START.plus(200));
        assert_eq!(election.outcome(), Some(vote(1, 0, 2, 0)));
        assert!(election.is_alone());

        // What it says is of one election, and of an ensemble of two.
        election.look(Zxid(0), 0, START);
        election.tick(START.plus(10_000));
        assert_eq!(election.outcome(), None);
        let mut of_three = looking(1, 3);
        of_three.oracle_says(true, START);
        of_three.tick(START.plus(10_000));
        assert_eq!(of_three.outcome(), None);
        // Nor does a candidate win by it who is somebody else.
        let mut other = looking(1, 2);
        other.favour(Some(Sid(2)));
        other.look(Zxid(0), 0, START);
        other.oracle_says(true, START);
        other.tick(START.plus(10_000));
        assert_eq!(other.outcome(), None);
    }

    #[test]
    fn a_better_vote_of_the_other_counts_for_more_than_the_oracle() {
        let mut election = looking(1, 2);
        election.oracle_says(true, START);
        assert_eq!(election.heard(Sid(2), looks(vote(2, 5, 1, 0)), START.plus(150)), BROADCAST);
        election.tick(START.plus(350));
        assert_eq!(election.outcome(), Some(vote(2, 5, 1, 0)));
        assert!(!election.is_alone());
    }

    #[test]
    fn who_leads_without_the_other_is_joined_by_whom_the_oracle_refuses() {
        let mut refused = looking(1, 2);
        refused.heard(Sid(2), leads(vote(2, 7, 12, 3)), START);
        assert_eq!(refused.outcome(), None, "nothing was heard of the oracle");
        refused.oracle_says(false, START);
        assert_eq!((refused.outcome(), refused.clock()), (Some(vote(2, 7, 12, 3)), 12));

        let mut preferred = looking(1, 2);
        preferred.oracle_says(true, START);
        preferred.heard(Sid(2), leads(vote(2, 7, 12, 3)), START.plus(100));
        preferred.tick(START.plus(5_099));
        assert_eq!(preferred.outcome(), None, "there must not be two leaders");
        preferred.tick(START.plus(5_100));
        assert_eq!(preferred.outcome(), Some(vote(1, 0, 1, 0)), "it has said so long ago");
    }

    #[test]
    fn a_leader_that_only_others_name_is_not_followed() {
        let mut election = looking(1, 3);
        election.heard(Sid(2), follows(vote(3, 0, 4, 0)), START);
        election.heard(Sid(3), follows(vote(3, 0, 4, 0)), START);
        assert_eq!(election.outcome(), None, "it says itself that it does not lead");
    }

    #[test]
    fn a_server_that_others_elected_in_this_round_leads() {
        let mut election = looking(3, 3);
        election.heard(Sid(1), follows(vote(3, 0, 1, 0)), START);
        assert_eq!(election.outcome(), Some(vote(3, 0, 1, 0)), "it and server 1 are two of three");
        let mut election = looking(3, 3);
        election.heard(Sid(1), follows(vote(3, 0, 4, 0)), START);
        election.heard(Sid(2), follows(vote(3, 0, 4, 0)), START);
        assert_eq!(election.outcome(), None, "another round: another life");
        election.heard(Sid(1), follows(vote(3, 0, 1, 1)), START);
        election.heard(Sid(2), follows(vote(3, 0, 1, 1)), START);
        assert_eq!(election.outcome(), None, "another history: another life");
    }

    #[test]
    fn votes_of_and_for_servers_that_do_not_vote_are_ignored() {
        let mut election = Election::new(Sid(1), 200, view(&(servers(3) + "server.4=h4:1:2:observer\n")));
        election.look(Zxid(0), 0, START);
        for from in [4, 9] {
            assert_eq!(election.heard(Sid(from), looks(vote(3, 9, 9, 9)), START), REPLY, "but it is answered");
            assert_eq!(election.heard(Sid(from), leads(vote(from, 9, 9, 9)), START), NOTHING);
        }
        election.heard(Sid(2), looks(vote(9, 9, 9, 9)), START);
        election.heard(Sid(2), looks(vote(4, 9, 1, 9)), START);
        assert_eq!(election.ballot(), Some(looks(vote(1, 0, 1, 0))));
    }

    #[test]
    fn an_observer_learns_but_does_not_count() {
        let mut election = Election::new(Sid(4), 200, view(&(servers(3) + "server.4=h4:1:2:observer\n")));
        election.look(Zxid(9), 9, START);
        let least = i64::MIN;
        assert_eq!(election.ballot(), Some(looks(vote(least, least, 1, least))));
        election.heard(Sid(1), looks(vote(3, 0, 1, 0)), START);
        assert_eq!(election.deadline(), None, "one of three");
        election.heard(Sid(2), looks(vote(3, 0, 1, 0)), START);
        election.tick(START.plus(200));
        assert_eq!(election.outcome(), Some(vote(3, 0, 1, 0)));
    }

    #[test]
    fn without_weight_nobody_leads() {
        let groups = "group.1=1:2:3\ngroup.2=4:5\nweight.4=0\nweight.5=0\n";
        let mut election = Election::new(Sid(1), 200, view(&(servers(5) + groups)));
        election.look(Zxid(0), 0, START);
        assert_eq!(election.heard(Sid(5), looks(vote(5, 9, 1, 9)), START), REPLY);
        assert_eq!(election.heard(Sid(4), looks(vote(4, 9, 2, 9)), START), BROADCAST, "of the round alone");
        assert_eq!(election.ballot(), Some(looks(vote(1, 0, 2, 0))));
    }

    #[test]
    fn with_two_configurations_both_must_agree() {
        let next = view("server.3=h3:1:2\nserver.4=h4:1:2\nserver.5=h5:1:2\nversion=7");
        let mut election = Election::new(Sid(3), 200, view(&servers(3)));
        election.set_view(view(&servers(3)), Some(next.clone()));
        election.look(Zxid(0), 0, START);
        assert_eq!(election.voters().len(), 5);
        election.heard(Sid(1), looks(vote(3, 0, 1, 0)), START);
        election.heard(Sid(2), looks(vote(3, 0, 1, 0)), START);
        election.tick(START.plus(500));
        assert_eq!(election.outcome(), None, "all of the old, one of the new");
        election.heard(Sid(5), looks(vote(3, 0, 1, 0)), START.plus(500));
        election.tick(START.plus(700));
        assert_eq!(election.outcome(), Some(vote(3, 0, 1, 0)));

        let mut election = Election::new(Sid(3), 200, next.clone());
        election.set_view(next, Some(view(&servers(3))));
        assert_eq!(election.voters().len(), 3, "an older one is not a next one");
    }

    /// Found in the simulator: the old members, whose power had failed, were in an earlier round than the new ones, who had not heard that they
    /// were to vote. Nobody's vote counted for anybody, for ever.
    #[test]
    fn who_does_not_know_yet_that_it_is_to_vote_takes_others_to_its_round() {
        let least = i64::MIN;
        let next = view("server.3=h3:1:2\nserver.4=h4:1:2\nserver.5=h5:1:2\nversion=7");
        let mut old = Election::new(Sid(3), 200, view(&servers(3)));
        old.set_view(view(&servers(3)), Some(next));
        old.look(Zxid(7), 1, START);
        assert_eq!(old.heard(Sid(4), looks(vote(least, least, 5, least)), START), BROADCAST);
        assert_eq!(old.ballot(), Some(looks(vote(3, 7, 5, 1))), "its vote is its own still");
        assert!(!old.heard(Sid(4), looks(vote(least, least, 5, least)), START).broadcast, "once");
        for sid in [1, 2, 4] {
            old.heard(Sid(sid), looks(vote(3, 7, 5, 1)), START);
        }
        old.tick(START.plus(200));
        assert_eq!(old.outcome(), Some(vote(3, 7, 5, 1)));
    }

    #[test]
    fn a_settled_server_tells_lookers_and_hears_nothing_else() {
        let mut election = looking(2, 3);
        election.settle(ServerState::Following, vote(3, 0, 1, 0));
        assert_eq!(election.heard(Sid(1), looks(vote(1, 9, 9, 9)), START), REPLY);
        assert_eq!(election.heard(Sid(1), follows(vote(1, 9, 9, 9)), START), NOTHING);
        assert_eq!(election.ballot(), Some(follows(vote(3, 0, 1, 0))));
        election.unsettle();
        assert_eq!(election.ballot(), None, "its leader is gone, and it has nothing to say");
        election.look(Zxid(0), 0, START);
        assert_eq!(election.ballot(), Some(looks(vote(2, 0, 2, 0))));
    }

    #[test]
    fn a_leader_that_looks_for_another_is_noticed_before_it_is_joined() {
        let settled = || {
            let mut election = looking(2, 3);
            election.settle(ServerState::Following, vote(3, 0, 1, 0));
            election
        };
        let mut election = settled();
        election.heard(Sid(3), looks(vote(3, 0, 1, 0)), START);
        assert!(!election.deserted(), "it has not decided yet");
        election.heard(Sid(3), leads(vote(3, 0, 1, 0)), START);
        assert!(!election.deserted());
        election.heard(Sid(3), looks(vote(1, 5, 1, 0)), START);
        assert!(election.deserted() && !election.deserted(), "told once");

        let mut election = settled();
        election.heard(Sid(3), looks(vote(3, 0, 4, 0)), START);
        assert!(election.deserted(), "another round");

        let mut election = settled();
        election.settle(ServerState::Following, vote(3, 0, 1, 1));
        election.heard(Sid(3), looks(vote(3, 0, 4, 0)), START);
        assert!(!election.deserted(), "its learner knows better");
    }

    #[test]
    fn a_leader_notices_that_those_who_elected_it_look_for_another() {
        let elected = || {
            let mut election = looking(5, 5);
            for sid in 1..=3 {
                election.heard(Sid(sid), looks(vote(5, 0, 1, 0)), START);
            }
            election.tick(START.plus(200));
            let vote = election.outcome().expect("four of five");
            election.settle(ServerState::Leading, vote);
            election
        };
        let mut election = elected();
        election.heard(Sid(4), looks(vote(4, 0, 2, 0)), START);
        election.heard(Sid(1), looks(vote(1, 0, 2, 0)), START);
        assert!(!election.deserted(), "three of five are still its own");
        election.heard(Sid(2), looks(vote(2, 0, 1, 0)), START);
        assert!(!election.deserted(), "of its own round: an old message");
        election.heard(Sid(2), looks(vote(2, 0, 2, 0)), START);
        assert!(election.deserted() && !election.deserted());

        let mut election = elected();
        let vote = election.ballot().expect("it leads").vote;
        election.settle(ServerState::Leading, vote);
        election.heard(Sid(1), looks(vote_of(1, 2)), START);
        election.heard(Sid(2), looks(vote_of(2, 2)), START);
        assert!(!election.deserted(), "it serves, and counts its followers");
    }

    fn vote_of(sid: i64, election_epoch: i64) -> Vote {
        vote(sid, 0, election_epoch, 0)
    }
}
