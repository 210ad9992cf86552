//! Single elections, each with its story.

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
