//! Any calls in any order, with any bytes: an elector stays whole and bounded.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proto::{Millis, Sid, Zxid};
use quorum::effect::{Effect, LinkId, Ticket};
use quorum::election::Ballot;
use quorum::elector::{Elector, ElectorSettings, ServerState, Vote};
use quorum::notification::{Introduction, encode};
use quorum::view::QuorumView;

#[derive(Clone, Debug)]
enum Call {
    Look,
    Settle(i64),
    Unsettle,
    Accept,
    Introduce(usize, i64),
    Say(usize, i32, i64, i64),
    Garbage(usize, Vec<u8>),
    Connect(usize),
    Fail(usize),
    Close(usize),
    Wait(i64),
    Drained(usize, usize),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    use Call::*;
    let sid = prop_oneof![8 => 1..7i64, 1 => Just(i64::MAX), 1 => any::<i64>()];
    let call = prop_oneof![
        1 => Just(Look),
        1 => (1..6i64).prop_map(Settle),
        1 => Just(Unsettle),
        4 => Just(Accept),
        6 => (any::<usize>(), sid.clone()).prop_map(|(link, sid)| Introduce(link, sid)),
        8 => (any::<usize>(), 0..4i32, sid, -1..5i64).prop_map(|(link, state, leader, round)| Say(link, state, leader, round)),
        1 => (any::<usize>(), proptest::collection::vec(any::<u8>(), 0..60)).prop_map(|(link, bytes)| Garbage(link, bytes)),
        4 => any::<usize>().prop_map(Connect),
        2 => any::<usize>().prop_map(Fail),
        2 => any::<usize>().prop_map(Close),
        4 => (0..700i64).prop_map(Wait),
        1 => (any::<usize>(), 0..200_000usize).prop_map(|(link, bytes)| Drained(link, bytes)),
    ];
    proptest::collection::vec(call, 0..80)
}

fn pick<T: Copy>(of: &BTreeSet<T>, index: usize) -> Option<T> {
    of.iter().copied().nth(index.checked_rem(of.len())?)
}

proptest! {
    #[test]
    fn whatever_is_called_links_attempts_and_decisions_stay_sound(calls in calls()) {
        let text: String = (1..=5).map(|sid| format!("server.{sid}=h{sid}:1:2\n")).collect();
        let view = Arc::new(QuorumView::parse(&text).expect("a configuration"));
        let mut elector = Elector::new(ElectorSettings::new(Sid(3)), view.clone(), Millis(0));
        let mut now = Millis(0);
        let mut links: BTreeSet<LinkId> = BTreeSet::new();
        let mut tickets: BTreeSet<Ticket> = BTreeSet::new();
        let mut next = 0;
        for call in calls {
            match call {
                Call::Look => elector.look(Zxid(5), 1, now),
                Call::Settle(leader) => {
                    let state = if leader == 3 { ServerState::Leading } else { ServerState::Following };
                    let vote = Vote { leader: Sid(leader), zxid: Zxid(5), election_epoch: elector.round(), peer_epoch: 1 };
                    elector.settle(state, vote);
                }
                Call::Unsettle => elector.unsettle(),
                Call::Accept => {
                    next += 1;
                    links.insert(LinkId(next));
                    elector.accepted(LinkId(next), now);
                }
                Call::Introduce(link, sid) => {
                    if let Some(link) = pick(&links, link) {
                        elector.received(link, &Introduction::encode(Sid(sid), &[], false), now);
                    }
                }
                Call::Say(link, state, leader, round) => {
                    use ServerState::*;
                    let vote = Vote { leader: Sid(leader), zxid: Zxid(5), election_epoch: round, peer_epoch: 1 };
                    let state = [Looking, Following, Leading, Observing][state as usize];
                    if let Some(link) = pick(&links, link) {
                        elector.received(link, &encode(&Ballot { state, vote, version: 2 }, &text), now);
                    }
                }
                Call::Garbage(link, bytes) => {
                    if let Some(link) = pick(&links, link) {
                        elector.received(link, &bytes, now);
                    }
                }
                Call::Connect(ticket) => {
                    if let Some(ticket) = pick(&tickets, ticket) {
                        tickets.remove(&ticket);
                        next += 1;
                        links.insert(LinkId(next));
                        elector.connected(ticket, LinkId(next), now);
                    }
                }
                Call::Fail(ticket) => {
                    if let Some(ticket) = pick(&tickets, ticket) {
                        tickets.remove(&ticket);
                        elector.connect_failed(ticket, now);
                    }
                }
                Call::Close(link) => {
                    if let Some(link) = pick(&links, link) {
                        links.remove(&link);
                        elector.closed(link, now);
                    }
                }
                Call::Wait(ms) => {
                    now = now.plus(ms);
                    elector.tick(now);
                    prop_assert!(elector.next_deadline().is_none_or(|at| at > now), "a deadline stays in the past");
                }
                Call::Drained(link, bytes) => {
                    if let Some(link) = pick(&links, link) {
                        elector.drained(link, bytes);
                    }
                }
            }
            let mut attempted = BTreeSet::new();
            for effect in elector.effects().collect::<Vec<_>>() {
                match effect {
                    Effect::Connect { ticket, peer, .. } => {
                        prop_assert!(tickets.insert(ticket) && ticket.0 % 2 == 0, "a ticket is used twice");
                        prop_assert!(attempted.insert(peer), "two attempts at once to server {peer}");
                        prop_assert!(peer != Sid(3));
                    }
                    Effect::Forget(ticket) => prop_assert!(tickets.remove(&ticket)),
                    Effect::Send { link, .. } => prop_assert!(links.contains(&link), "bytes for a link that is closed"),
                    Effect::Listen(_) => prop_assert!(false, "no election needs observers"),
                    Effect::Close(link) => prop_assert!(links.remove(&link), "a link is closed twice"),
                    Effect::AskOracle(_) => prop_assert!(false, "it is the peer that asks"),
                }
            }
            for link in &links {
                prop_assert!(elector.owns(*link), "an open link is forgotten");
            }
            if let Some(vote) = elector.outcome() {
                prop_assert!(view.is_voter(vote.leader), "a leader that does not vote");
                prop_assert_eq!(elector.outcome(), None);
            }
            elector.newer_view();
            elector.deserted();
        }
    }
}
