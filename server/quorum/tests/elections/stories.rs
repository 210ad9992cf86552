//! Single elections, each with its story.

use std::sync::Arc;

use proto::{Millis, Sid, Zxid};
use quorum::effect::{Effect, LinkId};
use quorum::elector::{Elector, ElectorSettings, ServerState, Vote};
use quorum::notification;
use quorum::view::QuorumView;

use crate::world::{World, servers};

#[test]
fn servers_that_start_together_follow_the_greatest_id() {
    for voters in [3, 5, 7] {
        let mut world = World::new(1, &servers(voters, 0));
        world.start_all();
        world.run_to_agreement(150);
        assert_eq!(world.agreed(), Some(voters), "all were heard, nobody had to wait");
        assert!(world.nodes.values().all(|node| node.decisions == 1));
    }
}

#[test]
fn the_longest_history_leads_and_the_later_epoch_before_it() {
    let mut world = World::new(1, &servers(3, 0));
    world.node(1).zxid = 9;
    world.start_all();
    world.run_to_agreement(150);
    assert_eq!(world.agreed(), Some(1));

    let mut world = World::new(1, &servers(3, 0));
    world.node(1).zxid = 9;
    world.node(2).epoch = 1;
    world.start_all();
    world.run_to_agreement(150);
    assert_eq!(world.agreed(), Some(2));
}

#[test]
fn two_survivors_of_three_elect_in_a_few_round_trips() {
    for dead in [1, 2, 3] {
        let mut world = World::new(1, &servers(3, 0));
        world.node(dead).zxid = 1;
        world.start_all();
        world.run_to_agreement(1_000);
        assert_eq!(world.agreed(), Some(dead));
        world.members_live = false;
        world.run_ms(5_000);

        world.kill(dead);
        world.run_ms(2);
        for id in (1..=3).filter(|id| *id != dead) {
            world.look(id);
        }
        let took = world.run_to_agreement(1_000);
        assert!(took <= 10, "one way takes 1 ms, the election took {took}");
    }
}

/// The bytes of a first message: of this version, from this server, with this address.
fn introduction(version: i64, sid: i64, address: &str) -> Vec<u8> {
    [&version.to_be_bytes()[..], &sid.to_be_bytes(), &(address.len() as i32).to_be_bytes(), address.as_bytes()].concat()
}

const ONE_ADDRESS: i64 = -65536;

#[test]
fn whoever_breaks_the_protocol_loses_that_link_and_nobody_else_notices() {
    let mut world = World::new(1, &servers(3, 0));
    world.members_live = false;
    world.start_all();
    world.run_to_agreement(1_000);
    let (links, messages) = (world.links_of(1), world.messages);
    let wrong: [(&str, Vec<u8>); 7] = [
        ("an unknown version", introduction(-1, 9, "h9:1")),
        ("an impossible length", [&ONE_ADDRESS.to_be_bytes()[..], &[0; 8], &[127; 4]].concat()),
        ("an address of no form", introduction(ONE_ADDRESS, 9, "nonsense")),
        ("the own id", introduction(ONE_ADDRESS, 1, "h1:3888")),
        ("a message of an impossible length", [&introduction(ONE_ADDRESS, 9, "h9:1")[..], &[0xff; 4]].concat()),
        ("a message that is too short", [&introduction(ONE_ADDRESS, 9, "h9:1")[..], &[0, 0, 0, 1, 0]].concat()),
        ("an unknown state", [&introduction(ONE_ADDRESS, 9, "h9:1")[..], &[0, 0, 0, 28], &[9; 28]].concat()),
    ];
    for (what, bytes) in wrong {
        let link = world.stranger(1);
        world.run_ms(5);
        assert!(world.is_open(link));
        world.push(link, &bytes);
        world.run_ms(5);
        assert!(!world.is_open(link), "{what} went unnoticed");
    }
    let silent = world.stranger(1);
    world.run_ms(9_000);
    assert!(world.is_open(silent));
    world.run_ms(2_000);
    assert!(!world.is_open(silent), "a connection that says nothing stays");
    assert_eq!(world.links_of(1), links);
    assert_eq!(world.messages, messages, "the members had nothing to say to each other");
}

/// A running ensemble in which nothing more happens.
fn settled(config: &str) -> World {
    let mut world = World::new(1, config);
    world.start_all();
    world.run_to_agreement(1_000);
    world.run_ms(5_000);
    world
}

fn links_are_single_and_whole(world: &World, ids: &[i64]) {
    for id in ids {
        let mut peers = world.links_of(*id);
        peers.sort_unstable();
        let others: Vec<i64> = ids.iter().copied().filter(|other| other != id).collect();
        assert_eq!(peers, others, "links of server {id}");
    }
}

#[test]
fn a_server_that_joins_a_running_ensemble_follows_its_leader_at_once() {
    for late in [1, 2, 3] {
        let mut world = World::new(1, &servers(3, 0));
        for id in (1..=3).filter(|id| *id != late) {
            world.start(id);
        }
        world.run_to_agreement(1_000);
        let leader = world.agreed();
        world.run_ms(5_000);
        // It even has a better history, but there is a leader.
        world.node(late).zxid = 99;
        world.start(late);
        let took = world.run_to_agreement(1_000);
        assert!(took <= 10, "{took} ms");
        assert_eq!(world.agreed(), leader);
        links_are_single_and_whole(&world, &[1, 2, 3]);
    }
}

#[test]
fn a_leader_that_comes_back_is_not_led_by_its_former_life() {
    // It restarts before its followers have noticed: they still say that they follow it. With as many rounds behind it as when it was
    // elected, its clock cannot tell it that this is not news.
    let mut world = settled(&servers(3, 0));
    world.members_live = false;
    for id in 1..=3 {
        // Synchronised in epoch 1, with transactions since.
        let node = world.node(id);
        let (state, vote) = (node.state, node.vote.expect("a vote"));
        (node.epoch, node.zxid) = (1, 0x1_0000_0005);
        world.elector(id).settle(state, Vote { peer_epoch: 1, ..vote });
    }
    world.kill(3);
    world.start(3);
    world.run_ms(100);
    assert_eq!(world.nodes[&3].state, ServerState::Looking);
    assert_eq!(world.nodes[&3].vote, None);
    world.members_live = true;
    world.run_to_agreement(3_000);
    assert_eq!(world.agreed(), Some(3));
}

#[test]
fn a_leader_that_is_restarted_before_it_has_followers_is_not_waited_for() {
    let mut world = World::new(1, &servers(3, 0));
    world.members_live = false;
    world.start_all();
    let elected = world.run_until(1_000, |world| world.agreed() == Some(3));
    assert!(elected);
    world.kill(3);
    world.node(3).zxid = -1; // Its disk was replaced, say.
    world.start(3);
    world.run_to_agreement(1_000);
    assert!(world.desertions >= 1);
    assert_eq!(world.agreed(), Some(2));

    // One with whom the others have synchronised is their learners' business: the end of their links to it tells them.
    let mut world = settled(&servers(3, 0));
    for id in 1..=3 {
        let (state, vote) = (world.nodes[&id].state, world.nodes[&id].vote.expect("a vote"));
        world.elector(id).settle(state, Vote { peer_epoch: 1, ..vote });
    }
    world.kill(3);
    world.node(3).epoch = 1;
    world.start(3);
    world.run_to_agreement(3_000);
    assert_eq!(world.desertions, 0);
}

#[test]
fn observers_learn_who_leads_and_are_never_elected() {
    let mut world = World::new(1, &servers(3, 2));
    world.node(4).zxid = 99;
    world.node(4).epoch = 9;
    world.start_all();
    world.run_to_agreement(1_000);
    assert_eq!(world.agreed(), Some(3));
    assert_eq!(world.nodes[&4].state, ServerState::Observing);

    // One that joins later, with an id below those of the voters: it must be connected to.
    let config = "server.1=h1:1:2:observer\nserver.2=h2:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2";
    let mut world = World::new(1, config);
    (2..=4).for_each(|id| world.start(id));
    world.run_to_agreement(1_000);
    world.run_ms(1_000);
    world.start(1);
    let took = world.run_to_agreement(1_000);
    assert!(took <= 10, "{took} ms");
    assert_eq!(world.agreed(), Some(4));
}

#[test]
fn a_server_without_a_database_neither_elects_nor_is_elected() {
    let mut world = World::new(1, &servers(3, 0));
    world.node(3).zxid = -1;
    world.node(3).epoch = 5;
    world.start(3);
    world.start(2);
    world.run_ms(3_000);
    assert_eq!(world.agreed(), None, "its vote makes no quorum");
    assert_eq!((world.nodes[&2].decisions, world.nodes[&3].decisions), (0, 0));
    world.start(1);
    world.run_to_agreement(2_000);
    assert_eq!(world.agreed(), Some(2), "it follows the others");
}

#[test]
fn a_hierarchy_elects_by_weight_and_never_a_server_without_any() {
    let groups = "group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9\nweight.7=0\nweight.8=0\nweight.9=0\n";
    let mut world = World::new(1, &(servers(9, 0) + groups));
    for id in [1, 2, 4, 5, 7, 8, 9] {
        world.start(id);
    }
    world.run_to_agreement(1_000);
    assert_eq!(world.agreed(), Some(5), "four that are well placed");
    world.kill(5);
    world.run_ms(5_000);
    assert_eq!(world.agreed(), None, "one of group 2 is not most of it");
    world.start(6);
    world.run_to_agreement(3_000);
    assert_eq!(world.agreed(), Some(6));
}

#[test]
fn the_greater_id_makes_the_link_whoever_begins() {
    for (first, second) in [(1, 2), (2, 1), (1, 3), (3, 1)] {
        let mut world = World::new(1, &servers(3, 0));
        world.members_live = false;
        world.start(first);
        // Nobody is there, so the first has to try again when the second comes.
        world.run_ms(500);
        world.start(second);
        world.run_ms(1_000);
        links_are_single_and_whole(&world, &[first.min(second), first.max(second)]);
    }
}

#[test]
fn servers_that_connect_to_each_other_at_once_end_with_one_link() {
    for seed in 0..200 {
        let mut world = World::new(seed, &servers(2, 0));
        world.delay_ms = (1, 40);
        world.members_live = false;
        world.start_all();
        world.run_ms(3_000);
        links_are_single_and_whole(&world, &[1, 2]);
        assert!(world.connects <= 8, "seed {seed}: {} attempts for one link", world.connects);
    }
}

#[test]
fn links_that_break_while_nobody_looks_are_restored() {
    let mut world = settled(&servers(5, 0));
    let decisions: usize = world.nodes.values().map(|node| node.decisions).sum();
    world.break_link(1, 5);
    world.break_link(2, 3);
    world.run_ms(1_000);
    links_are_single_and_whole(&world, &[1, 2, 3, 4, 5]);
    assert_eq!(world.nodes.values().map(|node| node.decisions).sum::<usize>(), decisions, "no election for that");
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_joins_when_it_can() {
    let mut world = settled(&servers(3, 0));
    world.block(1, 3);
    world.block(2, 3);
    let elected = |world: &World| world.nodes[&2].state == ServerState::Leading && world.nodes[&1].decisions == 2;
    let end = world.now + 3_000;
    assert!(world.run_until(end, elected));
    world.run_ms(60_000);
    assert_eq!(world.nodes[&3].state, ServerState::Looking);
    world.heal();
    let took = world.run_to_agreement(10_000);
    assert_eq!(world.agreed(), Some(2));
    assert!(took <= 3_500, "{took} ms");
    world.run_ms(20_000);
    links_are_single_and_whole(&world, &[1, 2, 3]);
}

#[test]
fn a_link_that_leads_nowhere_is_replaced_when_it_is_needed() {
    // Something between two servers has forgotten their connection: neither sees it end.
    let mut world = settled(&servers(3, 0));
    world.swallow(1, 2);
    world.members_live = false;
    world.kill(3);
    world.run_ms(2);
    world.look(1);
    world.look(2);
    let took = world.run_to_agreement(3_000);
    assert!(took <= 1_500, "{took} ms");

    // The same in the middle of a long search.
    let mut world = World::new(1, &servers(5, 0));
    world.members_live = false;
    world.start(1);
    world.start(2);
    world.run_ms(60_000);
    world.swallow(1, 2);
    world.run_ms(13_000);
    world.start(3);
    world.run_to_agreement(1_000);
    let connects = world.connects;
    world.run_ms(60_000);
    assert!(world.connects - connects < 20, "only those to the two who are not there");
}

#[test]
fn a_long_search_keeps_its_links() {
    let mut world = World::new(1, &servers(5, 0));
    world.start(1);
    world.start(2);
    world.run_ms(5_000);
    let link = world.link_to(1, 2).expect("a link");
    world.run_ms(600_000);
    assert_eq!(world.link_to(1, 2), Some(link));
}

#[test]
fn who_was_never_seen_gets_its_time_at_the_first_election_and_no_later() {
    let mut world = World::new(1, &servers(5, 0));
    (1..=4).for_each(|id| world.start(id));
    let first = world.run_to_agreement(1_000);
    assert!(first >= 200, "server 5 might have come within 200 ms, but they waited only {first}");
    world.members_live = false;
    world.run_ms(1_000);
    world.kill(4);
    (1..=3).for_each(|id| world.look(id));
    let second = world.run_to_agreement(1_000);
    assert!(second <= 10, "{second} ms");
    assert_eq!(world.agreed(), Some(3));
}

#[test]
fn a_dead_host_that_refuses_nothing_costs_the_wait_for_better_votes() {
    // Its links stay open, since nobody closes them.
    let mut world = settled(&servers(3, 0));
    world.members_live = false;
    world.block(1, 3);
    world.block(2, 3);
    world.look(1);
    world.look(2);
    let end = world.now + 1_000;
    let begin = world.now;
    assert!(world.run_until(end, |world| world.nodes[&1].vote.is_some() && world.nodes[&2].vote.is_some()));
    let took = world.now - begin;
    assert!((200..=210).contains(&took), "{took} ms");
}

#[test]
fn a_server_that_is_no_member_is_answered_and_hears_of_the_newer_configuration() {
    // The members have agreed on version 5, which the newcomers do not know: they were told of three servers and themselves.
    for newcomer in [1, 9] {
        let members = "server.2=h2:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2\n";
        let mut world = World::new(1, &format!("{members}version=5"));
        world.start_all();
        world.run_to_agreement(1_000);
        world.run_ms(1_000);
        let view = QuorumView::parse(&format!("{members}server.{newcomer}=h{newcomer}:1:2")).expect("a view");
        world.add(newcomer, Arc::new(view));
        world.start(newcomer);
        world.run_to_agreement(1_000);
        assert_eq!(world.agreed(), Some(4));
        let newer = world.elector(newcomer).newer_view().expect("the members' configuration");
        assert_eq!((newer.version(), newer.voters().len()), (5, 3));
        assert_eq!(world.elector(newcomer).newer_view(), None, "told once");
        assert_eq!(world.elector(2).newer_view(), None);
    }
}

#[test]
fn a_peer_that_does_not_read_costs_one_message() {
    let mut world = settled(&servers(3, 0));
    world.members_live = false;
    let now = Millis(world.now);
    let link = world.link_to(1, 3).expect("a link");
    let elector = world.elector(1);
    elector.drained(link, 1 << 20);
    elector.effects().for_each(drop);
    for _ in 0..10 {
        elector.look(proto::Zxid(0), 0, now);
        let to_it = |effect: &quorum::effect::Effect| matches!(effect, quorum::effect::Effect::Send { link: to, .. } if *to == link);
        assert_eq!(elector.effects().filter(to_it).count(), 0);
    }
    elector.drained(link, 0);
    let round = elector.round();
    let effects: Vec<_> = elector.effects().collect();
    let [quorum::effect::Effect::Send { link: to, bytes }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*to, link);
    let last = notification::decode(&bytes[4..]).expect("a notification");
    assert_eq!(last.ballot.vote.election_epoch, round, "the newest");
}

#[test]
fn strangers_that_say_nothing_are_limited() {
    let mut world = World::new(1, &servers(3, 0));
    world.members_live = false;
    world.start(1);
    let links: Vec<_> = (0..200)
        .map(|_| {
            let link = world.stranger(1);
            world.run_ms(2);
            link
        })
        .collect();
    let open = links.iter().filter(|link| world.is_open(**link)).count();
    assert_eq!(open, 128);
    assert!(world.is_open(links[199]), "the newest stay");
}

#[test]
fn servers_that_are_no_members_are_limited() {
    let mut world = settled(&servers(3, 0));
    world.members_live = false;
    let mut open = 0;
    for sid in 100..200 {
        let link = world.stranger(1);
        world.run_ms(2);
        world.push(link, &introduction(ONE_ADDRESS, sid, "h9:3888"));
        world.run_ms(5);
        open += usize::from(world.is_open(link));
    }
    assert_eq!(open, 64);
}

#[test]
fn an_observer_without_an_id_is_answered() {
    let mut world = settled(&servers(3, 0));
    world.members_live = false;
    let link = world.stranger(1);
    world.run_ms(2);
    world.push(link, &introduction(ONE_ADDRESS, i64::MAX, "h9:3888"));
    let least = Vote { leader: Sid(i64::MIN), zxid: proto::Zxid(i64::MIN), election_epoch: 1, peer_epoch: i64::MIN };
    let ballot = quorum::election::Ballot { state: ServerState::Looking, vote: least, version: 2 };
    world.push(link, &notification::encode(&ballot, ""));
    let messages = world.messages;
    world.run_ms(5);
    assert!(world.is_open(link));
    assert_eq!(world.messages, messages + 1);
}

#[test]
fn two_servers_with_one_id_do_not_keep_everybody_busy() {
    let mut world = settled(&servers(3, 0));
    world.members_live = false;
    for id in 1..=3 {
        world.look(id);
    }
    let connects = world.connects;
    for _ in 0..1_000 {
        // The other server 3 comes back whenever its link is replaced.
        let link = world.stranger(1);
        world.run_ms(2);
        world.push(link, &introduction(ONE_ADDRESS, 3, "h3:3888"));
        world.run_ms(8);
    }
    let more = world.connects - connects;
    assert!((4..40).contains(&more), "{more} attempts in ten seconds");
}

#[test]
fn the_link_to_a_member_whose_election_port_moves_is_made_anew_and_the_others_stay() {
    let mut world = settled(&servers(3, 0));
    let before = (world.link_to(3, 1), world.link_to(3, 2));
    let moved = servers(3, 0).replace("h1:2888:3888", "h1:2888:4888") + "version=1";
    let view = Arc::new(QuorumView::parse(&moved).unwrap());
    for id in 1..=3 {
        world.elector(id).set_view(view.clone(), None);
    }
    world.run_ms(1_000);
    links_are_single_and_whole(&world, &[1, 2, 3]);
    assert_ne!(world.link_to(3, 1), before.0);
    assert_eq!(world.link_to(3, 2), before.1);
}

/// Found in the simulator: it was to be a voter again, and whoever had heard of that only from others could not call it back.
#[test]
fn a_server_that_was_removed_still_says_where_it_is() {
    let view = |text: String| Arc::new(QuorumView::parse(&text).expect("a configuration"));
    let all = view(servers(3, 0));
    let rest = view(servers(3, 0).lines().skip(1).map(|line| format!("{line}\n")).collect::<String>() + "version=7");
    let now = Millis(0);
    let mut elector = Elector::new(ElectorSettings::new(Sid(1)), all.clone(), now);
    elector.set_view(rest, None);
    elector.look(Zxid(0), 0, now);
    let asked = elector.effects().find_map(|effect| match effect {
        Effect::Connect { ticket, .. } => Some(ticket),
        _ => None,
    });
    elector.connected(asked.expect("it looks for the others"), LinkId(1), now);
    let said = elector.effects().find_map(|effect| match effect {
        Effect::Send { bytes, .. } => Some(bytes),
        _ => None,
    });
    let places = all.member(Sid(1)).expect("it was one").election();
    assert_eq!(said, Some(notification::Introduction::encode(Sid(1), &places, false)));
}
