//! One scenario for each class of bug that ZooKeeper had and that we build against (DESIGN.md §7), staged by hand in an ensemble that
//! is otherwise well. In each, the simulator's invariants are what fails; the scenario only brings about what matters, and sees that it did.

use member::LocalSessions;
use simulator::agenda::{MS, SECOND};
use simulator::client::ClientSettings;
use simulator::dice::Dice;
use simulator::ledger::Held;
use simulator::plan::Plan;
use simulator::world::Simulation;

/// Three voters, and clients that write much.
pub fn three(seed: u64) -> Plan {
    let mut plan = Plan::calm(seed);
    plan.voters = 3;
    plan.observers = 0;
    plan.tick_ms = 200;
    plan.snap_count = 1_000;
    plan.history_max = 64;
    plan.write_delay = (200, 3_000);
    plan.weather.delay = (20, 2_000);
    plan.weather.late_once_in = 0;
    plan.force_snapshot_sync = false;
    plan.leader_serves = true;
    plan.read_only_mode = false;
    plan.habits.local_sessions = LocalSessions::Off;
    plan.faults_end = 3_600 * SECOND;
    plan.clients = vec![ClientSettings { timeout_ms: 2_000, depth: 6, think: 3 * MS, members: 3, names: 4 }; 4];
    plan
}

pub fn begun(plan: Plan) -> Simulation {
    let mut world = Simulation::new(plan);
    world.wait("a leader", |world| world.leader().is_some()).expect("an ensemble that is well has a leader");
    world.wait_for_txns(30).expect("and serves");
    world
}

/// What follows from the scenario holds, and after it the ensemble is well.
fn ends_well(mut world: Simulation, what: &str) {
    let (now, seed) = (world.now(), world.plan.seed);
    world.plan.faults_end = now;
    assert_eq!(world.run(), Ok(()), "{what}, seed {seed}");
}

pub fn over_seeds(count: u64, what: &str, scenario: impl Fn(u64) -> Result<Simulation, simulator::ledger::Violation>) {
    for seed in 1..=count {
        match scenario(seed) {
            Ok(world) => ends_well(world, what),
            Err(violation) => panic!("{what}, seed {seed}: {violation:?}"),
        }
    }
}

pub fn leader(world: &mut Simulation) -> Result<usize, simulator::ledger::Violation> {
    world.wait("a leader", |world| world.leader().is_some())?;
    Ok(world.leader().expect("it was waited for"))
}

/// ZOOKEEPER-3911, 4643, 4646, 4785: a follower acknowledges what its disk does not have; all power goes; what clients were told is gone.
#[test]
fn what_was_acknowledged_survives_when_all_power_goes() {
    over_seeds(8, "all power goes", |seed| {
        let mut world = begun(three(seed));
        let dice = Dice::new(seed, 1);
        for _ in 0..4 {
            world.wait_for_txns(1 + dice.below(40) as usize)?;
            (0..3).try_for_each(|node| world.kill(node, true))?;
            (0..3).try_for_each(|node| world.start(node))?;
            leader(&mut world)?;
        }
        Ok(world)
    });
}

/// ZOOKEEPER-3125, 3127, 3144, 3145, 3249, 3306: a snapshot that is taken while transactions go on holds some of them already, and
/// replaying them over it gives another tree.
#[test]
fn a_learner_that_gets_a_snapshot_under_load_has_its_leaders_tree() {
    over_seeds(6, "snapshots under load", |seed| {
        let mut plan = three(seed);
        plan.force_snapshot_sync = true;
        let mut world = begun(plan);
        for round in 0..4 {
            let away = (leader(&mut world)? + 1 + round % 2) % 3;
            world.kill(away, round.is_multiple_of(2))?;
            world.wait_for_txns(20)?;
            let before = world.syncs()[2];
            world.start(away)?;
            world.wait("the learner serves", |world| world.serves(away))?;
            assert!(world.syncs()[2] > before, "a snapshot was sent");
            world.wait_for_txns(20)?;
        }
        Ok(world)
    });
}

/// Epoch files out of order: a member that dies between two steps of joining a leader has promised what it does not keep. It is killed
/// behind every effect of a start.
#[test]
fn a_member_may_die_at_any_moment_of_joining_a_leader() {
    over_seeds(30, "dying while joining", |seed| {
        let mut world = begun(three(seed));
        let first = leader(&mut world)?;
        let other = (first + 1) % 3;
        world.kill(first, seed.is_multiple_of(2))?;
        world.kill_after(other, seed);
        world.kill_after((first + 2) % 3, seed + seed / 2);
        world.wait_for_txns(0)?;
        world.start(first)?;
        world.kill_after(first, 2 * seed);
        leader(&mut world)?;
        world.wait_for_txns(20)?;
        Ok(world)
    });
}

/// ZOOKEEPER-3701: a write to the log fails, and the server goes on as if it had not.
#[test]
fn a_member_whose_disk_fails_ends_and_the_others_go_on() {
    over_seeds(8, "a failing disk", |seed| {
        let mut world = begun(three(seed));
        for (round, what) in ["write", "sync", "write", "rename", "sync_dir"].into_iter().enumerate() {
            let victim = (leader(&mut world)? + round) % 3;
            let fault = match round % 2 {
                0 => host::Fault::Error(std::io::ErrorKind::Other),
                _ => host::Fault::Short(700, std::io::ErrorKind::StorageFull),
            };
            world.spoil(victim, what, fault);
            world.wait_for_txns(60)?;
        }
        Ok(world)
    });
}

/// ZOOKEEPER-4394, 4925: what a member's log does not hold, because a snapshot held it, is missing from what it sends to others as leader.
/// Found here: old log files, left behind a snapshot, were read as if they led up to it, and a learner between the two was told to
/// cut off what was final.
#[test]
fn a_leader_whose_history_begins_with_a_snapshot_sends_no_hole() {
    over_seeds(8, "a hole", |seed| {
        let mut plan = three(seed);
        plan.observers = 1;
        plan.force_snapshot_sync = true;
        let mut world = begun(plan);
        let first = leader(&mut world)?;
        // One falls behind and gets a snapshot; the observer stops within the hole, or before it.
        let hollow = (first + 1) % 3;
        let [stops, stops_too] = if seed.is_multiple_of(2) { [hollow, 3] } else { [3, hollow] };
        world.kill(stops, false)?;
        world.wait_for_txns(if seed.is_multiple_of(2) { 90 } else { 20 })?;
        world.kill(stops_too, false)?;
        world.wait_for_txns(90)?;
        let snapshots = world.syncs()[2];
        world.force_snapshots(hollow, false);
        world.start(hollow)?;
        world.wait("the one that was behind serves", |world| world.serves(hollow))?;
        assert!(world.syncs()[2] > snapshots, "a snapshot was sent, seed {seed}");
        // The third falls behind and the leader goes: the one with the hole leads, with a new epoch behind its snapshot.
        world.kill((first + 2) % 3, false)?;
        world.wait_for_txns(10)?;
        world.kill(first, false)?;
        world.start((first + 2) % 3)?;
        assert_eq!(leader(&mut world)?, hollow, "seed {seed}");
        world.wait_for_txns(5)?;
        world.start(3)?;
        world.wait("the observer serves", |world| world.serves(3))?;
        world.start(first)?;
        world.wait_for_txns(20)?;
        Ok(world)
    });
}

/// The same where nothing in the log itself shows the hole: the epoch ends with the snapshot, and the next one begins behind it.
#[test]
fn the_log_before_a_leaders_snapshot_is_no_history() {
    over_seeds(6, "an old log", |seed| {
        let mut plan = three(seed);
        plan.observers = 1;
        plan.force_snapshot_sync = true;
        let mut world = begun(plan);
        let hollow = 2;
        world.wait("all serve", |world| (0..4).all(|node| world.serves(node)))?;
        world.kill(3, false)?;
        world.wait_for_txns(5)?;
        world.kill(hollow, false)?;
        let first = leader(&mut world)?;
        world.wait_for_txns(60)?;
        world.rest(true);
        let quiet = world.now() + SECOND;
        world.wait("silence", |world| world.now() >= quiet)?;
        let snapshots = world.syncs()[2];
        world.force_snapshots(hollow, false);
        world.start(hollow)?;
        world.wait("the one that was behind serves", |world| world.serves(hollow))?;
        assert!(world.syncs()[2] > snapshots, "a snapshot was sent, seed {seed}");
        (0..2).try_for_each(|node| world.kill(node, false))?;
        world.start(1 - first)?;
        assert_eq!(leader(&mut world)?, hollow, "seed {seed}");
        world.rest(false);
        world.wait_for_txns(5)?;
        world.start(3)?;
        world.wait("the observer serves", |world| world.serves(3))?;
        world.start(first)?;
        Ok(world)
    });
}

/// ZOOKEEPER-3642: a snapshot from the leader is not durable when the learner says that it has it.
#[test]
fn a_snapshot_that_was_acknowledged_survives_a_power_cut() {
    over_seeds(12, "power cuts behind snapshots", |seed| {
        let mut plan = three(seed);
        plan.force_snapshot_sync = true;
        let mut world = begun(plan);
        let away = (leader(&mut world)? + 1) % 3;
        world.kill(away, false)?;
        world.wait_for_txns(40)?;
        world.start(away)?;
        if seed.is_multiple_of(2) {
            world.kill_after(away, 3 * seed);
        }
        world.wait("the learner serves", |world| world.serves(away))?;
        (0..3).try_for_each(|node| world.kill(node, true))?;
        (0..3).try_for_each(|node| world.start(node))?;
        leader(&mut world)?;
        Ok(world)
    });
}

/// ZOOKEEPER-2845: a leader that lost its followers keeps what it had made alone, over the elections that follow.
#[test]
fn what_a_leader_made_alone_is_taken_back() {
    let trunc = std::cell::Cell::new(0);
    over_seeds(8, "a tail", |seed| {
        let mut world = begun(three(seed));
        for round in 0..3 {
            let old = leader(&mut world)?;
            world.isolate(old);
            world.wait("another leader", |world| world.leader().is_some_and(|leader| leader != old))?;
            world.wait_for_txns(20)?;
            if round == 1 {
                world.kill(old, true)?;
                world.start(old)?;
            }
            world.mend();
            world.wait("the old leader serves", |world| world.serves(old))?;
        }
        trunc.set(trunc.get() + world.syncs()[1]);
        Ok(world)
    });
    assert!(trunc.get() > 0, "some tail was cut by TRUNC");
}

/// A member that got a snapshot from a leader which then died with its own end: it goes back by asking for a snapshot, not by dying at each start.
#[test]
fn a_member_goes_back_behind_a_leaders_snapshot() {
    let run = |seed: u64| -> Held {
        let mut plan = three(seed);
        plan.force_snapshot_sync = seed.is_multiple_of(2);
        let mut world = begun(plan);
        for _ in 0..3 {
            let old = leader(&mut world)?;
            let away = (old + 1) % 3;
            world.kill(away, false)?;
            world.wait_for_txns(80)?;
            world.isolate((old + 2) % 3);
            world.start(away)?;
            world.wait("the learner serves", |world| world.serves(away) || world.leader().is_none())?;
            world.kill(old, true)?;
            world.kill(away, true)?;
            world.mend();
            world.start(away)?;
            leader(&mut world)?;
            world.start(old)?;
            world.wait_for_txns(20)?;
        }
        ends_well(world, "back behind a snapshot");
        Ok(())
    };
    (1..=8).for_each(|seed| assert_eq!(run(seed), Ok(()), "seed {seed}"));
}

/// A process dies between giving a log file its name and making the name durable; the next one reads the file, and says that it has what is
/// in it. Then the power goes.
#[test]
fn what_a_start_has_read_survives_a_power_cut_behind_it() {
    over_seeds(12, "a name that a process before gave", |seed| {
        let mut plan = three(seed);
        plan.snap_count = 20;
        let mut world = begun(plan);
        for _ in 0..3 {
            let victim = (leader(&mut world)? + 1) % 3;
            while world.runs(victim) {
                // A snapshot that fails is none, and the member goes on.
                world.spoil(victim, "sync_dir", host::Fault::Error(std::io::ErrorKind::Other));
                let enough = world.ledger.entries().len() + 10;
                world.wait("something", |world| !world.runs(victim) || world.ledger.entries().len() >= enough)?;
            }
            world.wait("the member starts", |world| world.runs(victim))?;
            world.lose(victim)?;
            world.start(victim)?;
            world.wait("the member serves", |world| world.serves(victim))?;
        }
        Ok(world)
    });
}

/// A leader below the epoch that a member has promised cannot have it as a follower, since whoever has that promise may count on it: it
/// makes way, until the epoch is no longer below.
#[test]
fn a_leader_below_a_promised_epoch_makes_way() {
    over_seeds(6, "a promise", |seed| {
        let mut world = begun(three(seed));
        world.wait("all serve", |world| (0..3).all(|node| world.serves(node)))?;
        let first = leader(&mut world)?;
        let bound = (first + 1) % 3;
        world.kill(bound, seed.is_multiple_of(2))?;
        let promised = world.epochs(first).0 + 3;
        world.promise(bound, promised)?;
        world.start(bound)?;
        world.wait("all serve", |world| (0..3).all(|node| world.serves(node)))?;
        assert!(world.epochs(bound).1 >= promised, "seed {seed}");
        Ok(world)
    });
}

/// Found here: an observer heard of an epoch from a leader that died before anybody who votes had promised it; with all later leaders below that
/// epoch, it never served again. Nobody counts on what an observer promises.
#[test]
fn an_observer_that_heard_of_an_epoch_that_nobody_led_comes_back() {
    over_seeds(4, "an observer's promise", |seed| {
        let mut plan = three(seed);
        plan.observers = 1;
        let mut world = begun(plan);
        let first = leader(&mut world)?;
        world.wait("all serve", |world| (0..4).all(|node| world.serves(node)))?;
        world.kill(3, false)?;
        world.promise(3, world.epochs(first).0 + 3)?;
        world.start(3)?;
        world.wait("the observer serves", |world| world.serves(3))?;
        Ok(world)
    });
}

/// Found here (seed 116194): a member entered an epoch before the others, was killed within a second of its last write, and the end of its log went
/// bad. It came back without that end, won by its epoch, and took from the others what they had. It has to know that something is missing.
#[test]
fn a_member_that_is_ahead_by_its_epoch_knows_where_its_log_ended() {
    over_seeds(8, "a damaged end", |seed| {
        let mut plan = three(seed);
        // Two never enter it at once.
        plan.weather.delay = (2 * MS, 4 * MS);
        let mut world = begun(plan);
        world.wait("all serve", |world| (0..3).all(|node| world.serves(node)))?;
        let first = leader(&mut world)?;
        world.rest(true);
        world.wait("all have all", |world| (0..3).all(|node| world.ledger.durable_of(node) == world.ledger.last()))?;
        let epoch = world.epochs(first).1;
        world.kill(first, false)?;
        let ahead = |world: &Simulation| (0..3).filter(|node| world.epochs(*node).1 > epoch).collect::<Vec<_>>();
        world.wait("one enters an epoch", |world| !ahead(world).is_empty())?;
        let [ahead] = ahead(&world)[..] else { panic!("seed {seed}: two at once") };
        (0..3).filter(|node| *node != first).try_for_each(|node| world.kill(node, false))?;
        world.damage_end(ahead);
        (0..3).try_for_each(|node| world.start(node))?;
        world.rest(false);
        leader(&mut world)?;
        world.wait_for_txns(20)?;
        Ok(world)
    });
}

/// What an observer has taken from a leader binds it: those of earlier epochs have been left behind, and know less.
#[test]
fn a_leader_of_an_earlier_epoch_is_not_followed() {
    over_seeds(4, "an earlier epoch", |seed| {
        let mut plan = three(seed);
        plan.observers = 1;
        let mut world = begun(plan);
        world.wait("all serve", |world| (0..4).all(|node| world.serves(node)))?;
        let mut leads = leader(&mut world)?;
        let later = world.epochs(leads).0 + 2;
        world.kill(3, false)?;
        world.followed(3, later)?;
        world.start(3)?;
        while world.epochs(leads).1 < later {
            world.wait_for_txns(20)?;
            assert!(!world.serves(3), "seed {seed}");
            world.kill(leads, false)?;
            let old = std::mem::replace(&mut leads, leader(&mut world)?);
            world.start(old)?;
        }
        world.wait("the observer serves", |world| world.serves(3))?;
        Ok(world)
    });
}

/// ZOOKEEPER-2845: what was not final leaves the tree as well, in a process that lives on, and in what it shows and sends as leader later.
#[test]
fn a_tree_goes_back_with_its_log() {
    let trunc = std::cell::Cell::new(0);
    over_seeds(8, "a tree that goes back", |seed| {
        let mut world = begun(three(seed));
        for _ in 0..4 {
            let old = leader(&mut world)?;
            world.isolate(old);
            world.wait("another leader", |world| world.leader().is_some_and(|leader| leader != old))?;
            world.mend();
            world.wait("the old leader serves", |world| world.serves(old))?;
            world.wait_for_txns(10)?;
        }
        trunc.set(trunc.get() + world.syncs()[1]);
        Ok(world)
    });
    assert!(trunc.get() > 0, "some tail was cut by TRUNC");
}

/// A client at a follower pipelines syncs, reads and writes. Found here: a sync was answered behind a write that was asked for later.
#[test]
fn syncs_are_answered_in_their_place_among_writes() {
    over_seeds(6, "pipelined syncs", |seed| {
        let mut world = begun(three(seed));
        world.wait_for_txns(400)?;
        Ok(world)
    });
}
