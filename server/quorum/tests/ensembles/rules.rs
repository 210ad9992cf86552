//! What an ensemble does, one rule at a time.

use std::collections::BTreeSet;

use proto::{Sid, Zxid};
use quorum::peer::{HandOver, Phase};
use quorum::view::QuorumView;

use crate::world::{World, view};

fn ready(seed: u64, voters: i64, observers: i64) -> World {
    let mut world = World::new(seed, view(voters, observers));
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    world
}

#[test]
fn three_members_elect_a_leader_and_agree_on_writes_of_each() {
    let mut world = ready(1, 3, 0);
    for round in 0..20 {
        assert!(world.write(1 + round % 3));
        world.run(3);
    }
    world.until("everything", 5_000, |world| world.chosen.len() == 20);
    let last = world.chosen.last().unwrap().0;
    assert_eq!(last, Zxid::new(1, 20));
    world.until("everything everywhere", 5_000, |world| world.everybody_has(last));
}

#[test]
fn observers_learn_what_is_final_and_forward_writes() {
    let mut world = ready(2, 3, 2);
    assert_eq!(world.peer(4).state().phase, Phase::Observing);
    for id in 1..=5 {
        assert!(world.write(id));
    }
    world.until("everything", 5_000, |world| world.chosen.len() == 5);
    let last = world.chosen.last().unwrap().0;
    world.until("everything everywhere", 5_000, |world| world.everybody_has(last));
    let leader = world.leader().unwrap();
    assert_eq!(world.peer(leader).report(world.time()).synced_observers, 2);
}

/// Followers serve observers.
fn ready_with_masters(seed: u64, voters: i64, observers: i64) -> World {
    let mut world = World::new(seed, view(voters, observers));
    world.settings.observer_master_port = Some(2999);
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    world
}

/// Whom an observer learns from.
fn master(world: &World, id: i64) -> i64 {
    world.peer(id).report(world.time()).master.unwrap().0
}

#[test]
fn observers_learn_from_followers_what_is_final_and_ask_the_leader_through_them() {
    let mut world = ready_with_masters(20, 3, 4);
    let leader = world.leader().unwrap();
    let masters: Vec<i64> = (4..=7).map(|id| master(&world, id)).collect();
    let followers: Vec<i64> = (1..=3).filter(|&id| id != leader).collect();
    assert!(followers.iter().all(|id| masters.contains(id)) && !masters.contains(&leader), "{masters:?}");
    assert_eq!(world.peer(leader).report(world.time()).observers, 0);
    for id in followers {
        let report = world.peer(id).report(world.time());
        assert_eq!((report.observers, report.synced_observers), (2, 2));
    }
    for id in 1..=7 {
        assert!(world.write(id));
        // Checked by the world: it is answered when everything is final there that was so anywhere.
        world.sync(id);
    }
    world.until("everything", 5_000, |world| world.chosen.len() == 7);
    let last = world.chosen.last().unwrap().0;
    world.until("everything everywhere", 5_000, |world| world.everybody_has(last));
    for id in 4..=7 {
        world.until("its sync", 5_000, |world| world.peer(id).report(world.time()).pending_syncs == 0);
    }
}

#[test]
fn an_observer_whose_master_goes_learns_from_the_next_one() {
    let mut world = ready_with_masters(21, 5, 1);
    let mut seen = Vec::new();
    for round in 1..=2 {
        let gone = master(&world, 6);
        assert_ne!(Some(gone), world.leader());
        seen.push(gone);
        world.crash(gone);
        world.until("the end of its service", 100, |world| !world.is_serving(6));
        world.until("its service", 2_000, |world| world.is_serving(6));
        assert!(world.write(6));
        world.until("its write", 2_000, |world| {
            world.chosen.len() == round && world.members[&Sid(6)].replica.final_to == world.chosen[round - 1].0
        });
    }
    assert!(!seen.contains(&master(&world, 6)) && seen[0] != seen[1]);
}

#[test]
fn a_follower_serves_observers_while_it_follows_and_no_longer() {
    let mut world = ready_with_masters(22, 3, 2);
    let leader = world.leader().unwrap();
    let (listening, serving) = (|world: &World, id| world.members[&Sid(id)].listens, World::is_serving);
    for id in 1..=5 {
        assert_eq!(listening(&world, id), id <= 3 && id != leader);
    }
    world.crash(leader);
    world.until("nobody's service", 1_000, |world| (1..=5).all(|id| id == leader || !serving(world, id)));
    assert!((1..=5).all(|id| id == leader || !listening(&world, id)));
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    assert_eq!((1..=5).filter(|&id| listening(&world, id)).count(), 2);
}

#[test]
fn observers_learn_of_a_reconfiguration_from_their_master() {
    let mut world = World::new(23, view(3, 2));
    (world.settings.observer_master_port, world.settings.reconfig_enabled) = (Some(2999), true);
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    let leader = world.leader().unwrap();
    let followers: Vec<i64> = (1..=3).filter(|&id| id != leader).collect();
    // One of the followers becomes an observer, and one of the observers a voter.
    let voters: BTreeSet<i64> = [leader, followers[0], 4].into();
    assert!(world.reconfigure(leader, &voters));
    let want: BTreeSet<Sid> = voters.iter().map(|&id| Sid(id)).collect();
    world.until("its service", 10_000, |world| {
        let have = |id: i64| *world.peer(id).view().voters() == want;
        world.everybody_serves() && (1..=5).all(have)
    });
    assert!(world.write(5) && world.write(followers[1]));
    world.until("both", 5_000, |world| world.chosen.len() == 3);
    let last = world.chosen.last().unwrap().0;
    world.until("everything everywhere", 5_000, |world| world.everybody_has(last));
}

#[test]
fn the_ensemble_serves_on_without_a_minority_and_not_without_a_quorum() {
    let mut world = ready(3, 5, 0);
    let leader = world.leader().unwrap();
    let followers: Vec<i64> = (1..=5).filter(|&id| id != leader).collect();
    world.crash(followers[0]);
    world.crash(followers[1]);
    world.run(50);
    assert_eq!(world.leader(), Some(leader));
    assert!(world.write(leader));
    world.until("the write", 2_000, |world| world.chosen.len() == 1);
    world.crash(followers[2]);
    world.until("the end of service", 100, |world| world.leader().is_none());
    world.run(2_000);
    assert!(!world.is_serving(leader) && !world.is_serving(followers[3]));
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    assert_eq!(world.chosen.len(), 1);
}

#[test]
fn a_leader_that_dies_is_replaced_at_once() {
    let mut world = ready(4, 3, 0);
    let leader = world.leader().unwrap();
    world.write(leader);
    world.run(100);
    let began = world.now;
    world.crash(leader);
    world.until("another leader", 2_000, |world| world.leader().is_some());
    assert!(world.now - began < 500, "it took {} ms", world.now - began);
    assert_eq!(world.chosen.len(), 1);
}

#[test]
fn a_member_that_was_away_gets_the_difference_and_one_with_too_much_goes_back() {
    let mut world = ready(5, 3, 0);
    let leader = world.leader().unwrap();
    world.write(leader);
    world.run(100);
    // The leader alone has what it proposes now.
    world.cut_off(leader);
    world.write(leader);
    world.run(3_000);
    world.crash(leader);
    assert_eq!(world.replica(leader).log.len(), 2);
    world.until("another leader", 5_000, |world| world.leader().is_some());
    world.heal();
    let next = world.leader().unwrap();
    world.write(next);
    world.run(100);
    world.start(leader);
    world.until("service", 5_000, World::everybody_serves);
    world.run(100);
    assert_eq!(world.chosen.len(), 2);
    assert_eq!(world.replica(leader).log.len(), 2);
    assert_eq!(world.peer(next).report(world.time()).trunc_syncs, 1);
    // And one that was only away.
    let third = (1..=3).find(|&id| id != leader && id != next).unwrap();
    world.crash(third);
    world.write(next);
    world.run(100);
    world.start(third);
    world.until("service", 5_000, World::everybody_serves);
    assert!(world.peer(next).report(world.time()).diff_syncs >= 2);
    let last = world.chosen.last().unwrap().0;
    world.until("everything everywhere", 5_000, |world| world.everybody_has(last));
    assert_eq!(world.replica(third).log.len(), 3);
}

#[test]
fn a_member_that_lacks_too_much_gets_a_snapshot() {
    let mut world = ready(6, 3, 0);
    let leader = world.leader().unwrap();
    let away = (1..=3).find(|&id| id != leader).unwrap();
    world.crash(away);
    for _ in 0..100 {
        world.write(leader);
        world.run(2);
    }
    world.replica(leader).log_is_gone = true;
    world.start(away);
    world.until("service", 5_000, World::everybody_serves);
    assert_eq!(world.peer(leader).report(world.time()).snap_syncs, 1);
    world.write(away);
    world.until("the write", 5_000, |world| world.chosen.len() == 101);
    let last = world.chosen.last().unwrap().0;
    world.until("everything everywhere", 5_000, |world| world.everybody_has(last));
}

#[test]
fn a_sync_is_answered_when_all_that_was_final_before_is_final_here() {
    let mut world = ready(7, 3, 1);
    for round in 0..200 {
        world.write(1 + round % 4);
        world.sync(1 + (round + 1) % 4);
        world.run(1);
    }
    // The world itself looks at each answer; here it is seen that they come.
    world.run(1_000);
    let answered = world.members.values();
    let answered = answered.flat_map(|member| &member.replica.told);
    assert!(answered.filter(|told| **told == crate::memory::Told::Synced).count() >= 140);
}

#[test]
fn behind_an_epochs_last_zxid_the_next_begins_and_nobody_stops_serving() {
    let mut world = World::new(8, view(3, 2));
    world.settings.rollover_counter = 50;
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    let (leader, began) = (world.leader().unwrap(), world.peer(1).state().epoch);
    let mut written = 0;
    while written < 200 {
        written += u64::from(world.write(leader));
        world.run(5);
        assert!(world.everybody_serves() && world.leader() == Some(leader));
    }
    world.until("everything", 5_000, |world| world.chosen.len() == 200);
    world.run(1_000);
    let (rolled, last) = (world.rolled as i64, world.chosen.last().unwrap().0);
    assert!((3..=4).contains(&rolled) && i64::from(last.epoch()) == began + rolled, "{rolled}: {last}");
    for id in 1..=5 {
        let replica = &world.members[&Sid(id)].replica;
        assert_eq!(
            (replica.accepted, replica.current, world.peer(id).state().epoch),
            (began + rolled, began + rolled, began + rolled)
        );
    }
    // Who comes later finds that epoch.
    world.crash(1);
    world.start(1);
    world.until("service", 5_000, World::everybody_serves);
    assert_eq!((world.leader(), world.peer(1).state().epoch), (Some(leader), began + rolled));
}

#[test]
fn a_leader_that_hears_of_nobody_steps_down_within_the_sync_limit() {
    let mut world = ready(9, 3, 0);
    let leader = world.leader().unwrap();
    let began = world.now;
    world.cut_off(leader);
    world.until("the end of the old service", 5_000, |world| !world.is_serving(leader));
    let limit = world.settings.sync_limit * world.settings.tick_ms;
    assert!(world.now - began <= limit + 2 * world.settings.tick_ms, "{} ms", world.now - began);
    world.until("the service of the others", 5_000, |world| world.leader().is_some());
    world.heal();
    world.until("service", 5_000, World::everybody_serves);
}

#[test]
fn one_member_alone_is_an_ensemble() {
    let mut world = ready(10, 1, 1);
    assert!(world.write(2));
    world.until("the write", 5_000, |world| world.chosen.len() == 1 && world.everybody_has(world.chosen[0].0));
    assert_eq!(world.peer(1).leader(), Some(Sid(1)));
}

fn reconfigurable(seed: u64) -> World {
    let mut world = World::new(seed, view(3, 1));
    world.settings.reconfig_enabled = true;
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    world
}

/// The ensemble gets these voters, and everybody is told.
fn reconfigure(world: &mut World, voters: [i64; 3]) {
    let leader = world.leader().unwrap();
    let before = world.peer(leader).view().version();
    assert!(world.reconfigure(leader, &voters.into()));
    world.until("the new configuration", 5_000, |world| {
        let newer = |id: &i64| world.peer(*id).view().version() > before;
        voters.iter().all(newer) && world.leader().is_some_and(|leader| voters.contains(&leader))
    });
}

/// In its old configuration the member that was away is a quorum with one of the others. It must not act on it, and does not have to
/// meet a leader for that.
#[test]
fn a_member_that_was_away_takes_the_configuration_that_the_others_have_agreed_on_from_their_votes() {
    for enabled in [true, false] {
        let mut world = reconfigurable(21);
        let older = world.peer(1).view().version();
        let away = (1..=3).find(|id| Some(*id) != world.leader()).unwrap();
        world.crash(away);
        let voters: Vec<i64> = (1..=4).filter(|id| *id != away).collect();
        reconfigure(&mut world, [voters[0], voters[1], voters[2]]);
        let newer = world.peer(voters[0]).view().clone();
        assert!(!newer.is_voter(Sid(away)) && newer.is_voter(Sid(4)));
        world.crash(voters[1]);
        world.crash(voters[2]);
        world.until("the end of service", 5_000, |world| !world.is_serving(voters[0]));

        world.settings.reconfig_enabled = enabled;
        world.start(away);
        assert_eq!(world.peer(away).view().version(), older);
        world.run(5_000);
        let version = if enabled { newer.version() } else { older };
        assert_eq!(world.peer(away).view().version(), version, "reconfigEnabled={enabled}");
        assert_eq!(world.peer(away).state().phase, Phase::Looking);
        assert!(world.leader().is_none() && !world.is_serving(voters[0]));
        if enabled {
            world.start(voters[2]);
            let observes = |world: &World| world.is_serving(away) && world.peer(away).state().phase == Phase::Observing;
            world.until("its new role", 10_000, observes);
        }
    }
}

#[test]
fn observers_and_voters_change_roles_while_the_ensemble_serves() {
    let mut world = reconfigurable(22);
    let role = |world: &World, id: i64| world.peer(id).state().phase;
    for round in 0..4 {
        let leader = world.leader().unwrap();
        let observer = (1..=4).find(|id| role(&world, *id) == Phase::Observing).unwrap();
        // By turns the leader goes, and somebody who follows.
        let leaves =
            if round % 2 == 0 { (1..=4).find(|id| role(&world, *id) == Phase::Following).unwrap() } else { leader };
        let voters: Vec<i64> = (1..=4).filter(|id| *id != leaves).collect();
        reconfigure(&mut world, [voters[0], voters[1], voters[2]]);
        world.until("the new roles", 10_000, |world| {
            world.everybody_serves()
                && role(world, leaves) == Phase::Observing
                && role(world, observer) != Phase::Observing
        });
        assert!(world.write(leaves) && world.write(observer));
        let written = world.chosen.len() + 2;
        world.until("writes of both", 5_000, |world| world.chosen.len() >= written);
    }
}

/// How long the two observers are without service, for several leaders that die.
fn observers_away(delay_ms: i64) -> Vec<i64> {
    let mut world = World::new(23, view(3, 2));
    world.settings.observer_election_delay_ms = delay_ms;
    world.start_all();
    world.until("service", 10_000, World::everybody_serves);
    let mut away = Vec::new();
    for _ in 0..5 {
        let leader = world.leader().unwrap();
        world.crash(leader);
        let began = world.now;
        world.until("its observers' loss", 1_000, |world| !world.is_serving(4) && !world.is_serving(5));
        let mut left = vec![4, 5];
        while !left.is_empty() {
            world.step(world.now + 1);
            left.retain(|id| {
                let back = world.is_serving(*id);
                away.extend(back.then_some(world.now - began));
                !back
            });
        }
        world.start(leader);
        world.until("service", 10_000, World::everybody_serves);
    }
    away
}

#[test]
fn observers_that_lost_their_leader_come_back_one_after_the_other_within_the_configured_delay() {
    let at_once = observers_away(0);
    assert!(at_once.iter().all(|ms| *ms < 1_000), "{at_once:?}");
    let spread = observers_away(4_000);
    assert!(spread.iter().all(|ms| *ms < 5_000), "{spread:?}");
    assert!(spread.iter().any(|ms| *ms > 2_000), "{spread:?}");
    let apart = spread.chunks(2).filter(|both| both[0] != both[1]).count();
    assert_eq!(apart, spread.len() / 2, "{spread:?}");
}

/// Leadership goes to the voter that wins the next election, although the old leader's own id is greater, with all that was proposed;
/// and it takes no longer than an election among members that hear each other.
#[test]
fn leadership_is_handed_to_the_best_of_the_others_with_everything_that_was_proposed() {
    for seed in 0..20 {
        let mut world = ready(seed, 5, 1);
        world.disk_ms = 1 + seed % 7;
        let down = (seed % 2 == 1).then_some(4);
        down.into_iter().for_each(|id| world.crash(id));
        world.run(50);
        assert_eq!(world.leader(), Some(5));
        for id in [5, 1, 2, 5, 3] {
            assert!(world.write(id));
        }
        let best = if down.is_some() { 3 } else { 4 };
        assert_eq!(world.hand_over(1), Some(HandOver::NotLeading(Some(Sid(5)))));
        assert_eq!(world.hand_over(5), Some(HandOver::To(Sid(best))));
        assert_eq!(world.hand_over(5), Some(HandOver::UnderWay(Sid(best))));
        assert!(world.peer(5).holds_writes());
        world.until("the end of its leadership", 300, |world| !world.peer(5).holds_writes());
        let proposed = world.peer(best).state().epoch;
        world.until("the next leader", 150, |world| world.leader() == Some(best));
        assert_eq!(world.peer(best).state().epoch, proposed + 1, "no epoch was begun in vain");
        assert!(world.chosen.len() >= 2, "what the old leader had proposed is final");
        world.until("that all follow", 1_000, |world| world.is_serving(5) && world.is_serving(1));
        assert_eq!(world.peer(5).state().leader, Some(Sid(best)));
        // And back, by the same way.
        assert_eq!(world.hand_over(best), Some(HandOver::To(Sid(5))));
        world.until("the first leader again", 300, |world| world.leader() == Some(5));
        let before = world.chosen.len();
        assert!(world.write(5));
        world.until("a write", 1_000, |world| world.chosen.len() > before);
    }
}

/// In a hierarchy the greatest id may have no weight, and a quorum is one of groups.
#[test]
fn leadership_is_handed_to_a_voter_with_weight_that_has_a_quorum_of_groups() {
    let lines: String = (1..=6).map(|id| format!("server.{id}=10.0.0.{id}:2888:3888:participant\n")).collect();
    let groups = "group.1=1:2\ngroup.2=3:4\ngroup.3=5:6\nweight.6=0\nweight.4=0\nversion=0";
    for seed in 0..20 {
        let view = QuorumView::parse(&format!("{lines}{groups}")).unwrap();
        let mut world = World::new(seed, view);
        world.disk_ms = 1 + seed % 7;
        world.start_all();
        world.until("service", 10_000, World::everybody_serves);
        assert_eq!(world.leader(), Some(5), "6 has no weight");
        for id in [5, 6, 1, 4, 5] {
            assert!(world.write(id));
        }
        assert_eq!(world.hand_over(5), Some(HandOver::To(Sid(3))), "4 has no weight either");
        world.until("the next leader", 1_000, |world| world.leader() == Some(3));
        world.until("service", 2_000, World::everybody_serves);
        assert!(world.chosen.len() >= 2);
        // Without the whole third group the first and the second are a quorum, and 2 comes before 1.
        assert!(world.write(3));
        world.crash(5);
        world.crash(6);
        world.run(50);
        assert_eq!(world.hand_over(3), Some(HandOver::To(Sid(2))));
        world.until("the next leader", 1_000, |world| world.leader() == Some(2));
        let before = world.chosen.len();
        assert!(world.write(2));
        world.until("a write", 1_000, |world| world.chosen.len() > before);
        // Half of the first group's weight is not enough, and nobody is left who could be asked.
        world.crash(1);
        world.until("the end of service", 1_000, |world| world.leader().is_none());
        assert_eq!(world.hand_over(2), Some(HandOver::NotLeading(None)));
        world.start_all();
        world.until("service", 10_000, |world| world.everybody_serves() && world.leader().is_some());
    }
}

#[test]
fn leadership_stays_where_nobody_could_take_it_and_returns_if_the_successor_dies() {
    let mut world = ready(1, 3, 0);
    assert!(world.write(3));
    world.run(50);
    assert_eq!(world.hand_over(3), Some(HandOver::To(Sid(2))));
    world.crash(2);
    world.until("that somebody leads", 5_000, |world| world.leader().is_some());
    let leader = world.leader().unwrap();
    let before = world.chosen.len();
    assert!(world.write(leader));
    world.until("a write", 1_000, |world| world.chosen.len() > before);

    // Nobody acknowledges anything: the links are silent, and not closed.
    let mut world = ready(2, 3, 0);
    world.cut_off(3);
    assert!(world.write(3));
    assert_eq!(world.hand_over(3), Some(HandOver::To(Sid(2))));
    world.run(900);
    assert!(world.peer(3).holds_writes());
    world.run(110);
    assert!(!world.peer(3).holds_writes() && world.peer(3).state().phase == Phase::Leading);

    let mut world = World::new(3, view(2, 1));
    world.start(1);
    assert_eq!(world.hand_over(1), Some(HandOver::NotLeading(None)));
}

/// The simulator's seed 19871: a member whose configuration the operator had written anew, without a version, led others by an old one,
/// although its history had a newer one that may be final without a quorum of the old.
#[test]
fn a_configuration_in_the_history_counts_once_others_tell_that_the_own_one_is_older() {
    for newer_is_known in [false, true] {
        let mut world = World::new(24, view(3, 0));
        world.settings.reconfig_enabled = true;
        world.start_all();
        world.until("service", 10_000, World::everybody_serves);
        for _ in 0..9 {
            assert!(world.write(3));
        }
        world.until("the writes", 1_000, |world| {
            (1..=3).all(|id| world.members[&Sid(id)].replica.final_to.counter() == 9)
        });
        (1..=3).for_each(|id| world.crash(id));
        assert_eq!(world.replica(1).view.as_ref().map(QuorumView::version), Some(1 << 32));
        let replica = world.replica(3);
        replica.view = None;
        if newer_is_known {
            let lines = "server.3=10.0.0.3:2888:3888\nserver.4=10.0.0.4:2888:3888\nserver.5=10.0.0.5:2888:3888\n";
            replica.recalled_view = Some(QuorumView::parse(&format!("{lines}version=100000005")).unwrap());
        }
        world.start_all();
        world.run(10_000);
        assert_eq!(world.leader(), (!newer_is_known).then_some(3), "4 or 5 must be heard first");
        let version = |view: &Option<QuorumView>| view.as_ref().map(QuorumView::version);
        let replica = world.replica(3);
        let expected = newer_is_known.then_some(0x1_0000_0005);
        // Shown as well (seed 165624: readers saw the one that others told, until the next write).
        assert_eq!((version(&replica.seen_view), version(&replica.shown_view)), (expected, expected));
    }
}
