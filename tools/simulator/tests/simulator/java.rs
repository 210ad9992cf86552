//! Members with Java's habits, staged by hand.

use std::cell::Cell;
use std::collections::BTreeSet;

use simulator::java::Done;
use simulator::ledger::hold;
use simulator::plan::Plan;
use simulator::world::Simulation;

use super::scenarios::{begun, leader, over_seeds, three};

/// Three voters that all have Java's habits.
fn javas(seed: u64) -> Plan {
    let mut plan = three(seed);
    plan.java = vec![0, 1, 2];
    plan
}

/// Runs a scenario, and what the habits have changed in all its runs.
fn done(count: u64, what: &str, scenario: impl Fn(u64) -> Result<Simulation, simulator::ledger::Violation>) -> Done {
    let all = Cell::new(Done::default());
    over_seeds(count, what, |seed| {
        let world = scenario(seed)?;
        let mut sum = all.get();
        sum.add(world.counts().java);
        all.set(sum);
        Ok(world)
    });
    all.get()
}

/// Joins again and again under load: what Java's leaders say then, in that order.
fn joining(seed: u64, snapshots: bool) -> Result<Simulation, simulator::ledger::Violation> {
    let mut plan = javas(seed);
    plan.force_snapshot_sync = snapshots;
    // ACLs too: the map of a fuzzy snapshot lacks the newest.
    plan.habits.rights = true;
    plan.observers = 1;
    plan.java.push(3);
    // Where there is time between NEWLEADER and UPTODATE.
    plan.write_delay = (1_000, 20_000);
    let mut world = begun(plan);
    for round in 0..9 {
        let away = if round % 3 == 2 { 3 } else { (leader(&mut world)? + 1 + round % 2) % 3 };
        world.wait("everybody serves", |world| (0..4).all(|node| world.serves(node)))?;
        world.kill(away, round.is_multiple_of(2))?;
        world.wait_for_txns(20)?;
        let (first, before) = (world.leader(), world.syncs().iter().sum::<u64>());
        world.start(away)?;
        world.wait("the learner serves", |world| world.serves(away))?;
        let once = world.leader() != first || world.syncs().iter().sum::<u64>() == before + 1;
        hold(once, "Liveness", || format!("node {} had to begin again", away + 1))?;
    }
    Ok(world)
}

#[test]
fn a_fuzzy_snapshot_and_what_is_replayed_over_it_make_the_leaders_tree() {
    let done = done(12, "fuzzy snapshots", |seed| joining(seed, true));
    assert!(done.fuzzy >= 12, "{done:?}");
}

#[test]
fn commits_and_pings_before_uptodate_disturb_nobody() {
    let done = done(8, "early commits", |seed| joining(seed, false));
    assert!(done.early > 0, "{done:?}");
}

#[test]
fn an_acknowledgement_said_twice_is_one() {
    let done = done(4, "doubled acknowledgements", |seed| {
        let mut world = begun(javas(seed));
        // Only one follower is left whose vote counts, and the leader's own disk is the slow one.
        for _ in 0..3 {
            let first = leader(&mut world)?;
            world.kill((first + 1) % 3, false)?;
            world.wait_for_txns(40)?;
            world.start((first + 1) % 3)?;
            world.wait_for_txns(10)?;
        }
        Ok(world)
    });
    assert!(done.doubled > 0, "{done:?}");
}

#[test]
fn a_tail_below_another_epoch_is_replaced_by_a_snapshot() {
    let done = done(8, "a tail below another epoch", |seed| {
        let mut world = begun(javas(seed));
        for _ in 0..3 {
            let old = leader(&mut world)?;
            world.isolate(old);
            world.wait("another leader", |world| world.leader().is_some_and(|leader| leader != old))?;
            world.wait_for_txns(20)?;
            world.mend();
            world.wait("the old leader serves", |world| world.serves(old))?;
        }
        Ok(world)
    });
    assert!(done.snaps > 0, "{done:?}");
}

/// How a learner joins: what is said until it is up to date, in one word for either kind of learner, without pings, transactions and
/// what is said again.
fn opening<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut said: Vec<&str> = Vec::new();
    for name in names {
        match name {
            "PING" | "PROPOSAL" | "COMMIT" | "INFORM" => {}
            "ACK" if said.last() == Some(&"ACK") => {}
            "FOLLOWERINFO" | "OBSERVERINFO" if said.is_empty() => said.push("INFO"),
            _ => said.push(name),
        }
        if said.ends_with(&["UPTODATE", "ACK"]) {
            return Some(said.join(" "));
        }
    }
    None
}

/// All joinings of a trace that came to their end.
fn openings(trace: &[String]) -> BTreeSet<String> {
    let packets: Vec<(&str, &str, &str)> = trace
        .iter()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (node, from, to, far) = (words.next()?, words.next()?, words.next()?, words.next()?.strip_suffix(':')?);
            let name = words.next()?;
            let is_packet = name == "snapshot" || name.chars().all(char::is_uppercase) && words.next() != Some("votes");
            (node == "node" && to == "to" && is_packet).then_some((from, far, name))
        })
        .collect();
    let joins = packets.iter().enumerate().filter(|(_, (.., name))| name.ends_with("INFO") && *name != "LEADERINFO");
    joins
        .filter_map(|(at, (learner, leader, _))| {
            let between = |from: &str, to: &str| (from, to) == (*learner, *leader) || (from, to) == (*leader, *learner);
            // What the old link of the two had still to say is not meant.
            let old = packets[at..].iter().position(|(from, to, name)| between(from, to) && *name == "LEADERINFO")?;
            let behind = packets[at + old..].iter().filter(|(from, to, _)| between(from, to)).map(|(.., name)| *name);
            opening(std::iter::once("FOLLOWERINFO").chain(behind))
        })
        .filter(|said| said.matches("INFO").count() == 2)
        .collect()
}

#[test]
fn a_learner_joins_in_the_words_that_javas_members_were_heard_to_say() {
    let record = include_str!("../../../../server/quorum/tests/java/quorum-port-3.9.5.txt");
    let words = |link: &str| -> Vec<&str> {
        let lines = record.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.filter(|words| words[0] == link).map(|words| words[2]).collect()
    };
    let javas_words: BTreeSet<String> =
        ["1", "2", "3", "4", "5"].into_iter().filter_map(|link| opening(words(link).into_iter())).collect();
    assert_eq!(javas_words.len(), 2, "with DIFF and with SNAP");
    let mut plan = javas(3);
    plan.observers = 1;
    plan.java.push(3);
    let mut world = Simulation::new(plan);
    world.trace();
    let run = |world: &mut Simulation| {
        world.wait("a leader", |world| world.leader().is_some() && world.serves(3))?;
        world.wait_for_txns(30)?;
        for snapshots in [false, true] {
            let first = leader(world)?;
            (0..3).for_each(|node| world.force_snapshots(node, snapshots));
            for away in [(first + 1) % 3, 3] {
                world.kill(away, true)?;
                world.wait_for_txns(20)?;
                world.start(away)?;
                world.wait("the learner serves", |world| world.serves(away))?;
            }
            world.kill(first, true)?;
            leader(world)?;
            world.start(first)?;
            world.wait("the learner serves", |world| world.serves(first))?;
        }
        Ok::<_, simulator::ledger::Violation>(())
    };
    assert_eq!(run(&mut world), Ok(()));
    assert_eq!(openings(&world.trace.take().unwrap_or_default()), javas_words);
}
