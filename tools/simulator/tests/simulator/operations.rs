//! What operators do, staged by hand: hand-over, rolling restarts.

use quorum::peer::HandOver;
use simulator::agenda::{MS, SECOND};
use simulator::ledger::hold;

use crate::scenarios::{begun, leader, over_seeds, three};

/// The followers' disks are slow, so that there is always something that the leader has and the others have not; leadership still goes to one
/// that has everything, by one election, and nobody waits long.
#[test]
fn leadership_goes_to_a_follower_that_has_everything() {
    over_seeds(8, "hand-over", |seed| {
        let mut world = begun(three(seed));
        for _ in 0..4 {
            let old = leader(&mut world)?;
            for other in (0..3).filter(|node| *node != old) {
                world.delay_writes(other, (5 * MS, 60 * MS));
            }
            world.wait("the others follow", |world| (0..3).all(|node| world.serves(node)))?;
            world.wait_for_txns(20)?;
            let Some(HandOver::To(heir)) = world.hand_over(old)? else { panic!("nobody to hand over to, seed {seed}") };
            let told = world.now();
            world.wait("another leader", |world| world.leader().is_some_and(|leader| leader != old))?;
            assert_eq!(world.leader(), Some(heir.0 as usize - 1), "seed {seed}");
            world.wait_for_txns(10)?;
            hold(world.now() - told < 5 * SECOND, "Liveness", || "a hand-over took five seconds".to_owned())?;
            (0..3).for_each(|node| world.delay_writes(node, (200, 3_000)));
        }
        Ok(world)
    });
}

/// All members are stopped and started again under load, one after another: nothing that was answered is lost, and clients never wait long.
#[test]
fn restarting_one_member_after_another_costs_moments_and_no_write() {
    over_seeds(6, "a rolling restart", |seed| {
        let mut plan = three(seed);
        plan.observers = (seed % 2) as usize;
        plan.operations.outage_max = Some(2 * SECOND);
        let mut world = begun(plan);
        for _ in 0..2 {
            world.restart_all()?;
            world.wait("all are back", |world| !world.restarts())?;
        }
        assert_eq!(world.counts().operations["RollingStop"], 2 * (3 + seed % 2));
        Ok(world)
    });
}
