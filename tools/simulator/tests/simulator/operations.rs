//! What operators do, staged by hand: hand-over, rolling restarts, membership changes.

use std::collections::BTreeMap;

use quorum::peer::HandOver;
use simulator::agenda::{MS, SECOND};
use simulator::ledger::{Held, hold};
use simulator::membership::Change;
use simulator::plan::Plan;
use simulator::world::Simulation;

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

/// Three members, two more machines, and nobody who changes anything unasked.
fn with_spares(seed: u64) -> Plan {
    let mut plan = three(seed);
    plan.operations.reconfigurations = Some(3_600 * SECOND);
    plan.operations.spares = 2;
    plan.habits.operator = true;
    plan.clients.iter_mut().for_each(|client| client.members = 5);
    plan
}

/// Asks until it is so; whoever may ask cannot always.
fn change(world: &mut Simulation, change: Change) -> Held {
    let done = |world: &Simulation| world.reconfigurations().get(&0).copied().unwrap_or(0);
    let before = done(world);
    for _ in 0..400 {
        world.wait("all serve", |world| change.joining.keys().all(|node| world.serves(*node)))?;
        world.ask_for(0, change.clone());
        let soon = world.now() + 100 * MS;
        world.wait("an answer", |world| world.now() >= soon || done(world) > before)?;
        if done(world) > before {
            return Ok(());
        }
    }
    hold(false, "Liveness", || format!("{change:?} is never done: {:?}", world.reconfigurations()))
}

fn joins(nodes: &[usize]) -> Change {
    Change { joining: nodes.iter().map(|node| (*node, true)).collect(), from: -1, ..Change::default() }
}

fn leaves(node: usize) -> Change {
    Change { leaving: [node].into(), from: -1, ..Change::default() }
}

/// The ensemble walks from its first machines to others, the leader of each moment going first, and takes all that it has with it.
#[test]
fn an_ensemble_moves_to_other_machines_and_loses_nothing() {
    over_seeds(6, "a walk", |seed| {
        let mut world = begun(with_spares(seed));
        for joiner in [3, 4] {
            world.enlist(joiner)?;
            change(&mut world, joins(&[joiner]))?;
            world.wait_for_txns(20)?;
            let old = leader(&mut world)?;
            change(&mut world, leaves(old))?;
            world.wait("another leader", |world| world.leader().is_some_and(|leader| leader != old))?;
            world.wait_for_txns(20)?;
            world.kill(old, false)?;
            world.wait_for_txns(20)?;
        }
        assert_eq!(world.ledger.view().members.len(), 3, "seed {seed}");
        Ok(world)
    });
}

/// Found here: of two reconfigurations in one batch the second was taken as if the first did not exist, and the first came into force without
/// a quorum of its own members.
#[test]
fn a_reconfiguration_waits_for_the_one_before_it() {
    over_seeds(8, "two at once", |seed| {
        let mut world = begun(with_spares(seed));
        [3, 4].into_iter().try_for_each(|node| world.enlist(node))?;
        world.wait("all serve", |world| (0..5).all(|node| world.serves(node)))?;
        let mut refused = BTreeMap::new();
        for round in 0..20 {
            let [first, second] = if round % 2 == 0 { [joins(&[3]), joins(&[4])] } else { [leaves(3), leaves(4)] };
            world.wait("the operator", |world| world.is_connected(0))?;
            world.ask_for(0, first);
            world.ask_for(0, second);
            world.wait_for_txns(30)?;
            refused = world.reconfigurations().clone();
        }
        assert!(refused.get(&-14).is_some_and(|count| *count > 0), "seed {seed}: {refused:?}");
        Ok(world)
    });
}
/// The new members' disks stand still when they are to take over: what the old ones have is not enough. Found here: when the old ones' power
/// failed then, no election ended, as the new ones were in a later round than they; and a leader that is none of the new ones went on leading.
#[test]
fn a_reconfiguration_needs_a_majority_of_its_own_members() {
    over_seeds(8, "slow newcomers", |seed| {
        let mut world = begun(with_spares(seed));
        [3, 4].into_iter().try_for_each(|node| world.enlist(node))?;
        world.wait("all serve", |world| (0..5).all(|node| world.serves(node)))?;
        // Of the old ones the last is elected then, and is not in it.
        let stays = usize::from(seed.is_multiple_of(2));
        [3, 4].into_iter().for_each(|node| world.delay_writes(node, (900 * MS, 1_100 * MS)));
        world.wait("the operator", |world| world.is_connected(0))?;
        let asked = world.ask_for(0, Change { whole: true, ..joins(&[stays, 3, 4]) });
        assert!(asked, "somebody can ask, seed {seed}");
        world.wait("the proposal", |world| !world.ledger.proposed_views().is_empty())?;
        let later = world.now() + 300 * MS;
        world.wait("a while", |world| world.now() >= later)?;
        assert_eq!(world.ledger.view().members.len(), 3, "seed {seed}");
        // All of the old ones go; what the new ones have of it decides.
        (0..3).try_for_each(|node| world.kill(node, true))?;
        [3, 4].into_iter().for_each(|node| world.delay_writes(node, (200, 3_000)));
        (0..3).try_for_each(|node| world.start(node))?;
        world.wait_for_txns(20)?;
        let leads = |world: &Simulation| world.leader().is_some_and(|leader| world.ledger.view().votes(leader));
        world.wait("a leader of its own", leads)?;
        Ok(world)
    });
}

/// Found here: a member that took back what it had started with showed no configuration any more, until it changed.
#[test]
fn a_member_that_goes_back_shows_its_configuration() {
    let truncs = std::cell::Cell::new(0);
    over_seeds(8, "going back", |seed| {
        let mut world = begun(with_spares(seed));
        world.wait("all serve", |world| (0..3).all(|node| world.serves(node)))?;
        let old = leader(&mut world)?;
        world.isolate(old);
        world.wait("another leader", |world| world.leader().is_some_and(|leader| leader != old))?;
        world.kill(old, false)?;
        world.mend();
        world.wait_for_txns(20)?;
        world.start(old)?;
        world.wait("the old leader serves", |world| world.serves(old))?;
        truncs.set(truncs.get() + world.syncs()[1]);
        let later = world.now() + SECOND;
        world.wait("a look at its tree", |world| world.now() >= later)?;
        Ok(world)
    });
    assert!(truncs.get() > 0, "nothing was taken back");
}

#[test]
fn epochs_follow_each_other_under_one_leader() {
    let mut plan = three(5);
    plan.rollover_counter = 50;
    let mut world = begun(plan);
    world.wait_for_txns(300).expect("nothing stops them");
    let counts = world.counts();
    assert_eq!((counts.reigns, counts.starts), (1, 3));
    assert!(counts.operations["NextEpoch"] >= 4, "{counts}");
}

/// Found here: a leader that was killed with a reconfiguration in its log, and before it had noted that anywhere else, led again by the old
/// configuration, took it for final without a quorum of the new members, and never went by it.
#[test]
fn a_member_that_was_killed_while_it_proposed_a_configuration_knows_of_it() {
    let lost = std::cell::Cell::new(0);
    over_seeds(40, "killed while proposing", |seed| {
        let mut world = begun(with_spares(seed % 4));
        [3, 4].into_iter().try_for_each(|node| world.enlist(node))?;
        world.wait("all serve", |world| (0..5).all(|node| world.serves(node)))?;
        let first = leader(&mut world)?;
        world.wait("the operator", |world| world.is_connected(0))?;
        world.rest(true);
        let later = world.now() + 50 * MS;
        world.wait("silence", |world| world.now() >= later)?;
        world.rest(false);
        world.ask_for(0, Change { whole: true, ..joins(&[first, 3, 4]) });
        world.rest(true);
        world.kill_after(first, seed / 4);
        let later = world.now() + 20 * MS;
        world.wait("an end", |world| !world.runs(first) || world.now() >= later)?;
        (0..5).try_for_each(|node| world.kill(node, false))?;
        lost.set(lost.get() + world.ledger.proposed_views().len());
        (0..3).try_for_each(|node| world.start(node))?;
        let later = world.now() + SECOND;
        world.wait("the old ones", |world| world.now() >= later)?;
        [3, 4].into_iter().try_for_each(|node| world.start(node))?;
        world.rest(false);
        world.wait_for_txns(20)?;
        Ok(world)
    });
    assert!(lost.get() > 0, "no configuration was in a log");
}
