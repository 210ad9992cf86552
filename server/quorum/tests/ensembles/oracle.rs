//! Two voters and an oracle, which lets one of them do without the other (docs/decisions/0029-an-oracle-for-two.md).

use proto::Sid;
use quorum::peer::Phase;

use crate::storms;
use crate::world::{World, view};

fn two(seed: u64, observers: i64) -> World {
    let mut world = World::new(seed, view(2, observers));
    world.settings.elector.oracle = true;
    world
}

/// Both serve, and the oracle says no to both.
fn ready(seed: u64) -> World {
    let mut world = two(seed, 0);
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    world
}

fn says(world: &mut World, id: i64, answer: Option<bool>) {
    if world.trace {
        eprintln!("{} oracle {id} {answer:?}", world.now);
    }
    world.members.get_mut(&Sid(id)).unwrap().oracle = answer;
}

fn roles(world: &World) -> (i64, i64) {
    let leader = world.leader().expect("one leads");
    (leader, 3 - leader)
}

fn writes(world: &mut World, id: i64) {
    let before = world.chosen.len();
    assert!(world.write(id));
    world.until("the write", 2_000, |world| world.chosen.len() > before);
}

#[test]
fn a_leader_serves_on_without_its_follower_if_the_oracle_says_yes_and_ends_if_it_says_no() {
    let mut world = ready(1);
    let (leader, follower) = roles(&world);
    says(&mut world, leader, Some(true));
    world.crash(follower);
    let mut ended = false;
    let end = world.now + 3_000;
    while world.now < end {
        world.step(end);
        ended |= !world.is_serving(leader);
    }
    assert!(!ended, "its clients stay connected");
    writes(&mut world, leader);
    says(&mut world, leader, Some(false));
    world.until("the end of service", 500, |world| !world.is_serving(leader));
    world.run(3_000);
    assert!(world.leader().is_none());
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    writes(&mut world, follower);
}

#[test]
fn a_write_without_the_follower_waits_for_a_word_that_was_asked_for_when_it_was_durable() {
    let mut world = ready(2);
    let (leader, follower) = roles(&world);
    says(&mut world, leader, Some(true));
    world.crash(follower);
    world.run(50);
    writes(&mut world, leader);
    let before = world.chosen.len();
    // What was granted a moment ago is not a word for what comes now.
    says(&mut world, leader, Some(false));
    assert!(world.write(leader));
    world.run(3_000);
    assert_eq!(world.chosen.len(), before);
    // The other comes, and both together have it.
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    world.until("the write", 2_000, |world| world.chosen.len() > before);
}

#[test]
fn a_follower_takes_over_when_the_oracle_says_yes_and_not_before() {
    let mut world = ready(3);
    let (leader, follower) = roles(&world);
    writes(&mut world, leader);
    world.run(100);
    world.crash(leader);
    world.run(5_000);
    assert!(world.leader().is_none());
    says(&mut world, follower, Some(true));
    world.until("another leader", 3_000, |world| world.leader() == Some(follower));
    writes(&mut world, follower);
    // Who comes back is told no, and joins.
    world.start(leader);
    world.until("service", 5_000, World::everybody_serves);
    assert_eq!(world.leader(), Some(follower));
    assert_eq!(world.peer(leader).state().phase, Phase::Following);
    writes(&mut world, leader);
}

#[test]
fn a_leader_whose_oracle_is_silent_ends() {
    let mut world = ready(4);
    let (leader, follower) = roles(&world);
    says(&mut world, leader, None);
    world.crash(follower);
    world.until("the end of service", 2_000, |world| !world.is_serving(leader));
}

#[test]
fn a_member_that_the_oracle_lets_lead_does_not_lead_beside_one_that_says_that_it_leads() {
    let mut world = ready(5);
    let (leader, follower) = roles(&world);
    says(&mut world, leader, Some(true));
    world.crash(follower);
    world.run(100);
    // It must not say yes to both.
    says(&mut world, follower, Some(true));
    world.start(follower);
    for _ in 0..100 {
        world.run(200);
        assert_eq!(world.leader(), Some(leader));
        assert_eq!(world.peer(follower).state().phase, Phase::Looking);
    }
    says(&mut world, follower, Some(false));
    world.until("service", 5_000, World::everybody_serves);
}

#[test]
fn without_an_oracle_and_with_three_voters_nobody_leads_alone() {
    let mut world = World::new(6, view(2, 0));
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    let (leader, follower) = roles(&world);
    says(&mut world, leader, Some(true));
    world.crash(follower);
    world.until("the end of service", 100, |world| !world.is_serving(leader));

    let mut world = World::new(7, view(3, 0));
    world.settings.elector.oracle = true;
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    let leader = world.leader().unwrap();
    (1..=3).for_each(|id| says(&mut world, id, Some(true)));
    (1..=3).filter(|id| *id != leader).for_each(|id| world.crash(id));
    world.until("the end of service", 100, |world| !world.is_serving(leader));
    world.run(3_000);
    assert!(world.leader().is_none());
}

#[test]
fn an_observer_joins_a_leader_that_is_alone() {
    let mut world = World::new(8, view(2, 1));
    world.settings.elector.oracle = true;
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    let (leader, follower) = roles(&world);
    says(&mut world, leader, Some(true));
    world.crash(follower);
    world.crash(3);
    world.run(500);
    world.start(3);
    world.until("service", 5_000, |world| world.is_serving(leader) && world.is_serving(3));
    assert!(world.write(3));
    world.until("the write", 2_000, |world| world.chosen.len() == 1);
}

#[test]
fn a_successor_that_dies_is_not_waited_for_if_the_oracle_says_yes() {
    let mut world = ready(9);
    let (leader, follower) = roles(&world);
    says(&mut world, leader, Some(true));
    world.hand_over(leader);
    world.until("the end of leadership", 1_500, |world| world.leader().is_none());
    world.crash(follower);
    world.until("a leader", 10_000, |world| world.leader() == Some(leader));
}

/// The oracle of these storms is what it should be: it says yes to one at a time, and only to one who has all that is final.
#[test]
fn whatever_breaks_an_oracle_that_knows_loses_nothing() {
    let mut alone = 0;
    for seed in storms::seeds() {
        alone += storm(seed);
    }
    assert!(storms::number("QUORUM_SEED").is_some() || alone > 100, "only {alone} rounds under a lone leader");
}

/// Says after how many rounds one led alone.
fn storm(seed: u64) -> usize {
    let all = 2 + seed % 2;
    let mut world = two(seed, all as i64 - 2);
    world.disk_ms = [2, 10, 60][world.dice.below(3) as usize];
    world.delay_ms = [2, 15, 50][world.dice.below(3) as usize];
    world.trace = storms::number("QUORUM_TRACE").is_some();
    for member in world.members.values_mut() {
        member.replica.window = 1 + (seed as usize % 40);
    }
    world.start_all();
    let mut alone = 0;
    for _ in 0..60 + world.dice.below(60) {
        for _ in 0..world.dice.below(12) {
            let id = 1 + world.dice.below(all) as i64;
            world.write(id);
            let ms = world.dice.below(30) as i64;
            world.run(ms);
        }
        let id = 1 + world.dice.below(all) as i64;
        match world.dice.below(12) {
            0..=2 => world.crash(id),
            3..=5 => world.start_all(),
            6 => world.cut_off(id),
            7 => world.heal(),
            8 => world.reset(Sid(1), Sid(2)),
            9 => _ = world.hand_over(id),
            10 => {
                let gone = world.dice.chance(50);
                world.replica(id).log_is_gone = gone;
            }
            _ => {}
        }
        if world.dice.chance(40) {
            // Between a yes here and one there, both were told no.
            (1..=2).for_each(|id| says(&mut world, id, Some(false)));
            let ms = 2_500 + world.dice.below(1000) as i64;
            world.run(ms);
            let preferred = 1 + world.dice.below(2) as i64;
            let last = world.chosen.last().map(|(zxid, _)| *zxid);
            if last.is_none_or(|last| world.replica(preferred).has_durably(last)) {
                says(&mut world, preferred, Some(true));
            }
        }
        let ms = world.dice.below(600) as i64;
        world.run(ms);
        let report = world.leader().map(|leader| world.peer(leader).report(world.time()));
        alone += usize::from(report.is_some_and(|report| report.synced_followers == 0));
    }
    storms::mend(&mut world);
    alone
}
