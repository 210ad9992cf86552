//! Random faults, then quiet: whoever runs agrees.

use crate::world::{World, servers};

/// Says how long after the last fault they agreed.
fn storm(seed: u64, voters: i64, observers: i64) -> i64 {
    let mut world = World::new(seed, &servers(voters, observers));
    world.delay_ms = (1, 1 + world.dice.roll(60) as i64);
    world.cut_bytes = world.dice.roll(4) == 0;
    let all = (voters + observers) as u64;
    for id in 1..=all as i64 {
        world.node(id).zxid = world.dice.roll(3) as i64;
        world.node(id).epoch = world.dice.roll(2) as i64;
        if world.dice.roll(4) != 0 {
            world.start(id);
        }
    }
    for _ in 0..30 {
        let (a, b) = (1 + world.dice.roll(all) as i64, 1 + world.dice.roll(all) as i64);
        let running = world.nodes[&a].elector.is_some();
        match world.dice.roll(8) {
            0 if running => world.kill(a),
            0 | 1 if !running => world.start(a),
            2 | 3 => world.break_link(a, b),
            4 | 5 if a != b => world.block(a, b),
            6 if world.dice.roll(2) == 0 => world.heal_without_links(),
            6 => world.heal(),
            7 if running => world.look(a),
            _ => {}
        }
        let pause = world.dice.roll(1_500) as i64;
        world.run_ms(pause);
    }
    if world.dice.roll(2) == 0 {
        world.heal_without_links();
    }
    world.heal();
    for id in 1..=all as i64 {
        if world.nodes[&id].elector.is_none() {
            world.start(id);
        }
    }
    let took = world.run_to_agreement(20_000);
    world.run_ms(30_000);
    let messages = world.messages;
    world.run_ms(30_000);
    assert_eq!(world.messages, messages, "an agreed ensemble goes on talking");
    assert!(world.agreed().is_some(), "agreed after {took} ms, and fell apart: {}", world.describe());
    for id in 1..=voters {
        let mut peers = world.links_of(id);
        peers.sort_unstable();
        let before = peers.len();
        peers.dedup();
        assert_eq!(peers.len(), before, "server {id} has two links to one peer");
        // Of a link whose end vanished on the way only one side knows, until the next election or the kernel's keepalive.
        for other in (1..=voters).filter(|other| *other != id && world.swallowed.is_empty()) {
            assert!(peers.contains(&other), "server {id} has no link to server {other}");
        }
    }
    took
}

/// So many seeds per size; more from the environment.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| option_env(name).and_then(|text| text.parse().ok());
    let first = number("ELECTION_SEED").unwrap_or(1);
    first..first + number("ELECTION_SEEDS").unwrap_or(60)
}

#[allow(clippy::disallowed_methods, reason = "a test takes the size of its run from the environment")]
fn option_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn storms(voters: i64, observers: i64) {
    let mut worst = (0, 0);
    for seed in seeds() {
        match std::panic::catch_unwind(|| storm(seed, voters, observers)) {
            Ok(took) => worst = worst.max((took, seed)),
            Err(panic) => {
                eprintln!("ELECTION_SEED={seed} ELECTION_SEEDS=1 with {voters} voters and {observers} observers");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{voters}+{observers}: agreement at the latest {} ms after the faults, seed {}", worst.0, worst.1);
}

#[test]
fn three_servers_agree_after_any_storm() {
    storms(3, 0);
}

#[test]
fn five_servers_and_an_observer_agree_after_any_storm() {
    storms(5, 1);
}

#[test]
fn seven_servers_and_two_observers_agree_after_any_storm() {
    storms(7, 2);
}
