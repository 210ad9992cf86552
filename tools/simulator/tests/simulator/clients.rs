//! What clients are told, staged by hand: watches over reconnections, local sessions and their upgrade. Clients judge it themselves.

use member::LocalSessions;
use simulator::agenda::{MS, SECOND};

use crate::scenarios::{begun, leader, over_seeds, three};

/// Members die under their clients, the leader too. Persistent and recursive watches are set again elsewhere, and tell of everything from then on.
#[test]
fn watches_that_go_on_tell_of_everything_on_both_sides_of_a_reconnection() {
    over_seeds(5, "lasting watches", |seed| {
        let mut plan = three(seed);
        plan.habits.lasting_watches = true;
        plan.habits.rights = seed.is_multiple_of(2);
        plan.shards = 1 + seed as usize % 2;
        let mut world = begun(plan);
        for round in 0..4 {
            let away = (leader(&mut world)? + round % 2) % 3;
            let [before, ..] = world.told_of();
            world.kill(away, false)?;
            world.wait_for_txns(60)?;
            world.start(away)?;
            world.wait("events of lasting watches", |world| world.told_of()[0] > before + 20)?;
        }
        Ok(world)
    });
}

/// An upgraded session lives on with any member when the one that it began at dies, and dies with its client's silence only.
#[test]
fn an_upgraded_session_outlives_its_member() {
    over_seeds(4, "upgraded sessions", |seed| {
        let mut plan = three(seed);
        plan.habits.local_sessions = LocalSessions::Upgraded;
        let mut world = begun(plan);
        for round in 0..4 {
            world.wait("a session is upgraded", |world| world.told_of()[2] > 0)?;
            // Long enough for a session to be past its time of which its leader does not hear.
            world.rest(true);
            let later = world.now() + 2 * SECOND + 500 * MS;
            world.wait("a while", |world| world.now() > later)?;
            world.rest(false);
            world.scatter();
            world.wait_for_txns(60)?;
            let away = (leader(&mut world)? + round % 3) % 3;
            world.kill(away, false)?;
            world.wait_for_txns(60)?;
            world.start(away)?;
        }
        Ok(world)
    });
}

/// Without upgrades no transaction knows of any session, whatever becomes of members.
#[test]
fn local_sessions_that_may_not_be_upgraded_stay_local() {
    over_seeds(4, "local sessions", |seed| {
        let mut plan = three(seed);
        plan.habits.local_sessions = LocalSessions::On;
        let mut world = begun(plan);
        for _ in 0..3 {
            let away = leader(&mut world)?;
            world.kill(away, false)?;
            world.wait_for_txns(60)?;
            world.start(away)?;
        }
        let [_, began, upgraded] = world.told_of();
        assert!(began > 4 && upgraded == 0, "{began} sessions, {upgraded} upgraded, seed {seed}");
        assert_eq!(world.ledger.sessions().count(), 0, "seed {seed}");
        Ok(world)
    });
}
