//! Installing a leader's snapshot: power cuts at every moment leave either the state that was there before or the new one.

use std::path::Path;

use host::memory::Names;
use host::{Disk, Entropy, SeededEntropy};
use snapshot::{Compression, install};

use crate::kit::*;

/// A member with two snapshots and a log, and what it is to become: a state from before the end of its own history.
fn scene(seed: u64) -> (World, World) {
    println!("seed {seed}");
    let mut own = World::open(&disk(), seed);
    own.run(20);
    own.snapshot(Compression::None);
    own.run(20);
    own.snapshot(Compression::None);
    own.run(5);
    let mut leaders = World::open(&disk(), seed + 1000);
    leaders.run(30);
    (own, leaders)
}

#[test]
fn power_cuts_leave_the_old_state_or_the_new_one_and_never_a_mixture() {
    let mut checked = 0;
    for seed in 0..6 {
        let (mut own, mut leaders) = scene(seed);
        let (before, after) = (own.dump(), leaders.dump());
        let start = own.disk.moments();
        let random = SeededEntropy::new(seed);
        install(&own.disk, Path::new(SNAPS), Path::new(LOGS), Compression::None, leaders.source()).unwrap();
        assert_eq!(reopened(&own.disk), after, "what is behind it in the log, and the newer snapshot, are gone");
        let logs = wal::names::logs(&own.disk.list(Path::new(LOGS)).unwrap());
        assert!(logs.is_empty(), "what is older does not lead up to it, and may not be read as history: {logs:?}");
        for moment in start..=own.disk.moments() {
            for rule in [Names::InOrder, Names::Any] {
                let cut = own.disk.cut(moment, rule, &mut || random.next_u64().is_multiple_of(2));
                let found = reopened(&cut);
                assert!(found == before || found == after, "seed {seed}, moment {moment}, {rule:?}: {found}");
                // A restore that goes on with it stays with it, and another cut takes nothing back.
                let again = cut.cut(cut.moments(), rule, &mut || false);
                assert_eq!(reopened(&again), found, "seed {seed}, moment {moment}, {rule:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn an_installation_that_a_killed_process_left_half_done_is_completed() {
    let (mut own, mut leaders) = scene(7);
    let (before, after) = (own.dump(), leaders.dump());
    let start = own.disk.moments();
    install(&own.disk, Path::new(SNAPS), Path::new(LOGS), Compression::Gz, leaders.source()).unwrap();
    let mut seen = (0, 0);
    for moment in start..=own.disk.moments() {
        let found = reopened(&own.disk.killed_at(moment));
        assert!(found == before || found == after, "moment {moment}");
        seen = if found == before { (seen.0 + 1, seen.1) } else { (seen.0, seen.1 + 1) };
    }
    assert!(seen.0 > 2 && seen.1 > 2, "{seen:?}");
}
