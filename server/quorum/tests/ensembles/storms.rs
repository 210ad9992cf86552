//! Ensembles under crashes, partitions, broken links and slow disks, from seeds. What must hold is checked by the world at each step; at
//! the end everything is mended, and the ensemble must serve again with all that was final.
//!
//! `QUORUM_SEEDS` says how many seeds, `QUORUM_SEED` one in particular.

use proto::Sid;

use crate::world::{World, view};

/// Voters and observers.
const SIZES: [(i64, i64); 7] = [(3, 0), (3, 1), (5, 0), (5, 2), (2, 0), (4, 1), (7, 0)];

#[allow(clippy::disallowed_methods, reason = "a test asks how long it shall be")]
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

pub fn seeds() -> std::ops::Range<u64> {
    match number("QUORUM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUORUM_SEEDS").unwrap_or(150),
    }
}

#[test]
fn whatever_breaks_nothing_final_is_lost_and_the_ensemble_comes_back() {
    for seed in seeds() {
        storm(seed, false, false);
    }
}

#[test]
fn observers_behind_followers_lose_nothing_in_a_storm_and_see_nothing_that_is_not_final() {
    for seed in seeds() {
        storm(seed, false, true);
        if seed % 3 == 0 {
            storm(seed, true, true);
        }
    }
}

#[test]
fn reconfigurations_in_a_storm_lose_nothing_that_is_final() {
    let mut reconfigured = 0;
    for seed in seeds() {
        reconfigured += storm(seed, true, false);
    }
    assert!(number("QUORUM_SEED").is_some() || reconfigured > 100, "only {reconfigured} reconfigurations");
}

/// Says how many reconfigurations became final. `masters`: followers serve observers.
fn storm(seed: u64, reconfiguring: bool, masters: bool) -> usize {
    let sizes =
        if masters { [(3, 1), (3, 2), (5, 1), (5, 2), (2, 2), (4, 3), (3, 4)] } else { SIZES }[(seed % 7) as usize];
    let (voters, observers) = sizes;
    let mut world = World::new(seed, view(voters, observers));
    world.disk_ms = [2, 10, 60][world.dice.below(3) as usize];
    world.delay_ms = [2, 15, 50][world.dice.below(3) as usize];
    world.settings.reconfig_enabled = reconfiguring;
    if masters {
        world.settings.observer_master_port = Some(2999);
        world.settings.observer_master_bytes_max = [0, 1 << 10, 32 << 20][world.dice.below(3) as usize];
    }
    if world.dice.chance(20) {
        world.settings.rollover_counter = 12;
    }
    for member in world.members.values_mut() {
        member.replica.window = 1 + (seed as usize % 40);
    }
    world.start_all();
    world.trace = number("QUORUM_TRACE").is_some();
    let all = voters + observers;
    let rounds = 60 + world.dice.below(60);
    for _ in 0..rounds {
        for _ in 0..world.dice.below(12) {
            let id = 1 + world.dice.below(all as u64) as i64;
            if world.dice.chance(15) {
                world.sync(id);
            } else {
                world.write(id);
            }
            let ms = world.dice.below(30) as i64;
            world.run(ms);
        }
        let id = 1 + world.dice.below(all as u64) as i64;
        let other = 1 + world.dice.below(all as u64) as i64;
        match world.dice.below(13) {
            0 | 1 => world.crash(id),
            2..=4 => world.start_all(),
            5 => world.cut_off(id),
            6 if id != other => {
                world.cut.insert((Sid(id), Sid(other)));
            }
            7 | 8 => world.heal(),
            9 if id != other => world.reset(Sid(id), Sid(other)),
            10 => {
                if let Some(leader) = world.leader() {
                    world.crash(leader);
                }
            }
            11 => {
                // What is proposed meanwhile, by members that do not hold it back, must not be lost either.
                if let Some(leader) = world.leader() {
                    world.hand_over(leader);
                }
            }
            12 => {
                // A member whose log was purged can only give snapshots of what is older than its memory.
                let gone = world.dice.chance(50);
                world.replica(id).log_is_gone = gone;
            }
            _ => {}
        }
        if reconfiguring && world.dice.chance(30) {
            let count = 2 + world.dice.below(all as u64 - 1);
            let voters = (0..count).map(|_| 1 + world.dice.below(all as u64) as i64).collect();
            if let Some(leader) = world.leader() {
                world.reconfigure(leader, &voters);
            }
        }
        let ms = world.dice.below(600) as i64;
        world.run(ms);
    }
    mend(&mut world);
    if masters && !reconfiguring {
        let leader = world.leader();
        let through = (1..=voters).filter(|&id| Some(id) != leader);
        let through: usize = through.map(|id| world.peer(id).report(world.time()).synced_observers).sum();
        let direct = leader.map_or(0, |id| world.peer(id).report(world.time()).synced_observers);
        assert_eq!(through + direct, observers as usize, "seed {seed}");
    }
    world.reconfigured
}

/// Nothing breaks any more: everybody has what was final, and goes on from there.
pub fn mend(world: &mut World) {
    let seed = world.seed;
    world.heal();
    world.start_all();
    // A leader that was cut off serves until it notices.
    world.until("service of all under one leader", 60_000, |world| {
        let leader = world.leader().filter(|_| world.everybody_serves());
        leader.is_some_and(|leader| !world.peer(leader).holds_writes())
    });
    let leader = world.leader().expect("one leads");
    let before = world.chosen.len();
    assert!(world.write(leader));
    world.until("a last write", 10_000, |world| world.chosen.len() > before);
    world.run(2_000);
    let last = world.chosen.last().unwrap().0;
    world.until("everything everywhere", 10_000, |world| world.everybody_has(last));
    let want: Vec<_> = world.chosen.clone();
    for (sid, member) in &world.members {
        let mine: Vec<_> = member.replica.all().cloned().collect();
        assert!(mine == want, "seed {seed}: {sid} has another history");
    }
    if number("QUORUM_SEED").is_some() {
        println!("{} transactions, {} leaders, packets by type {:?}", want.len(), world.leaders.len(), world.sent);
    }
}
