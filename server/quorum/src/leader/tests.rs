//! One leader and its links, packet by packet.

use super::*;
use crate::master::WINDOW_BYTES;
use crate::memory::{Memory, Told};
use crate::packet::{LearnerInfo, PROTOCOL};
use crate::script::{at, packet, sent};

/// Member 3 of three voters; whatever else comes is an observer or unknown.
struct Scene {
    leader: Leader,
    replica: Memory,
    now: i64,
}

fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn scene(replica: Memory) -> Scene {
    scene_with(replica, |_| {})
}

fn scene_with(mut replica: Memory, change: impl FnOnce(&mut PeerSettings)) -> Scene {
    let view = "server.1=h1:1:2\nserver.2=h2:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2:observer\nversion=0";
    let mut settings = PeerSettings { tick_ms: 100, init_limit: 10, sync_limit: 5, ..PeerSettings::new(Sid(3)) };
    change(&mut settings);
    let view = Arc::new(QuorumView::parse(view).unwrap());
    let leader = Leader::new(Arc::new(settings), view, None, &mut replica, at(0));
    Scene { leader, replica, now: 0 }
}

impl Scene {
    /// A packet comes; what goes back on that link is told.
    fn says(&mut self, link: u64, kind: i32, zxid: Zxid, data: Option<&[u8]>) -> Vec<String> {
        self.raw(link, &packet(kind, zxid, data))
    }

    fn raw(&mut self, link: u64, bytes: &[u8]) -> Vec<String> {
        self.leader.received(LinkId(link), bytes, &mut self.replica, at(self.now));
        let mut all = Vec::new();
        self.leader.flush(&mut all);
        self.deliver(&all);
        sent(&all, LinkId(link))
    }

    fn deliver(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Send { link, .. } = effect {
                self.leader.drained(*link, 0, at(self.now));
            }
        }
    }

    fn heard(&mut self, link: u64) -> Vec<String> {
        let mut all = Vec::new();
        self.leader.flush(&mut all);
        self.deliver(&all);
        sent(&all, LinkId(link))
    }

    fn ticks_to(&mut self, ms: i64) {
        while self.now < ms {
            self.now += 10;
            self.leader.tick(&mut self.replica, at(self.now));
        }
    }

    fn info(sid: i64) -> Vec<u8> {
        LearnerInfo { sid: Sid(sid), protocol: PROTOCOL, config_version: 0, own: false }.encode()
    }

    fn comes(&mut self, sid: i64, accepted: u32) -> Vec<String> {
        self.comes_with(sid, accepted, &Scene::info(sid))
    }

    /// One of ours.
    fn own_comes(&mut self, sid: i64, accepted: u32) -> Vec<String> {
        let info = LearnerInfo { sid: Sid(sid), protocol: PROTOCOL, config_version: 0, own: true };
        self.comes_with(sid, accepted, &info.encode())
    }

    fn comes_with(&mut self, sid: i64, accepted: u32, info: &[u8]) -> Vec<String> {
        let link = sid as u64;
        self.leader.accepted(LinkId(link), at(self.now));
        let kind = if sid > 3 { kind::OBSERVERINFO } else { kind::FOLLOWERINFO };
        self.says(link, kind, zxid(accepted, 0), Some(info))
    }

    /// Somebody who came takes over the history of one transaction.
    fn joins(&mut self, sid: i64) {
        self.promises(sid, 1, zxid(1, 1));
        self.acks(sid, zxid(2, 0));
    }

    fn promises(&mut self, sid: i64, current: i32, last: Zxid) -> Vec<String> {
        self.says(sid as u64, kind::ACKEPOCH, last, Some(&current.to_be_bytes()))
    }

    fn acks(&mut self, sid: i64, zxid: Zxid) -> Vec<String> {
        self.says(sid as u64, kind::ACK, zxid, None)
    }

    fn proposes(&mut self) -> Zxid {
        let (zxid, payload) = self.replica.make(7);
        self.leader.proposed(zxid, &payload, at(self.now));
        zxid
    }

    fn syncs_its_log(&mut self) {
        self.replica.sync_log();
        self.leader.durable(self.replica.durable(), &mut self.replica, at(self.now));
    }

    /// Member 1 has come all the way.
    fn serving() -> Scene {
        let mut scene = scene(Memory::with(&[zxid(1, 1)]));
        scene.comes(1, 1);
        scene.promises(1, 1, zxid(1, 1));
        assert_eq!(scene.acks(1, zxid(2, 0)), ["UPTODATE -1"]);
        scene
    }
}

#[test]
fn rule_3_epochs_are_written_before_they_are_told_and_the_tail_is_final_only_with_a_quorum() {
    let mut scene = scene(Memory::with(&[zxid(4, 1), zxid(4, 2)]));
    assert_eq!(scene.replica.told, []);
    // The greatest promise of a quorum, and one more.
    assert_eq!(scene.comes(1, 6), ["LEADERINFO 0x700000000"]);
    assert_eq!(scene.replica.told, [Told::AcceptedEpoch(7)]);
    assert_eq!(scene.replica.current, 4);
    let history = ["DIFF 0x400000002", "PROPOSAL 0x400000002", "COMMIT 0x400000002", "NEWLEADER 0x700000000"];
    assert_eq!(scene.promises(1, 4, zxid(4, 1)), history);
    assert_eq!(scene.replica.current, 7);
    assert_eq!(scene.replica.final_to, Zxid::ZERO);
    assert!(!scene.leader.serving());
    assert_eq!(scene.acks(1, zxid(7, 0)), ["UPTODATE -1"]);
    assert_eq!(scene.replica.told, [Told::AcceptedEpoch(7), Told::CurrentEpoch(7), Told::Lead(7)]);
    // The learner says it twice; the second says nothing new.
    assert_eq!(scene.acks(1, zxid(7, 0)), [""; 0]);
}

#[test]
fn rule_5_a_follower_of_ours_is_told_when_its_vote_decides_and_javas_is_not() {
    let mut scene = scene(Memory::with(&[zxid(1, 1)]));
    scene.own_comes(1, 1);
    scene.comes(2, 1);
    scene.joins(1);
    scene.joins(2);
    let (first, second) = (scene.proposes(), scene.proposes());
    assert_eq!(scene.heard(1), ["PROPOSAL 0x200000001", "PROPOSAL 0x200000002"]);
    scene.syncs_its_log();
    let mut all = Vec::new();
    scene.leader.flush(&mut all);
    assert_eq!(sent(&all, LinkId(1)), ["CASTING 0x200000002"], "with the leader's own copy one more is a quorum");
    assert_eq!(sent(&all, LinkId(2)), [""; 0]);
    assert_eq!(scene.replica.final_to, zxid(2, 0), "that decides nothing here");
    assert_eq!(scene.acks(1, first), ["COMMIT 0x200000001"]);
    assert_eq!(scene.acks(1, second), ["COMMIT 0x200000002"], "and is not said twice");
}

#[test]
fn the_next_epoch_is_offered_entered_and_begun_each_with_a_quorum_and_behind_everything_before() {
    let mut scene = scene_with(Memory::with(&[zxid(1, 1)]), |settings| settings.rollover_counter = 2);
    scene.own_comes(1, 1);
    scene.own_comes(2, 1);
    scene.joins(1);
    scene.joins(2);
    scene.proposes();
    let last = scene.proposes();
    scene.replica.told.clear();
    scene.syncs_its_log();
    let heard = scene.heard(1);
    assert_eq!(heard[2..], ["CASTING 0x200000002", "NEXT_EPOCH 0x300000000"], "{heard:?}");
    assert_eq!(scene.replica.told, [Told::AcceptedEpoch(3)], "before it is told");
    assert!(!scene.leader.holds_writes());

    // A quorum has promised; what is open must be final before anybody enters.
    assert_eq!(scene.says(1, kind::NEXT_EPOCH, zxid(3, 0), None), [""; 0]);
    assert!(scene.leader.holds_writes());
    scene.leader.closed(LinkId(2), &mut scene.replica, at(0));
    assert_eq!(scene.own_comes(2, 3), [""; 0], "who comes again with that promise waits for the epoch");
    assert_eq!(scene.replica.current, 2);
    assert_eq!(scene.acks(1, last), ["COMMIT 0x200000001", "COMMIT 0x200000002", "ENTER_EPOCH 0x300000000"]);
    assert_eq!(scene.replica.current, 3);
    assert_eq!((scene.leader.epoch(), scene.leader.holds_writes()), (2, true));

    scene.replica.told.clear();
    let entered = packet(kind::ENTER_EPOCH, zxid(3, 0), None);
    scene.leader.received(LinkId(1), &entered, &mut scene.replica, at(0));
    assert_eq!(scene.replica.told, [Told::Lead(3)]);
    assert_eq!((scene.leader.epoch(), scene.leader.holds_writes(), scene.leader.over()), (3, false, None));
    assert_eq!(scene.heard(2), ["LEADERINFO 0x300000000"]);
    assert_eq!(scene.promises(2, -1, last), ["DIFF 0x300000000", "NEWLEADER 0x300000000"]);
    scene.proposes();
    assert_eq!(scene.heard(1), ["PROPOSAL 0x300000001"]);
}

#[test]
fn a_member_of_javas_makes_an_epochs_last_zxid_end_the_leadership() {
    let mut scene = scene_with(Memory::with(&[zxid(1, 1)]), |settings| settings.rollover_counter = 2);
    scene.own_comes(1, 1);
    scene.comes(2, 1);
    scene.joins(1);
    scene.joins(2);
    scene.proposes();
    let last = scene.proposes();
    scene.syncs_its_log();
    assert_eq!(scene.leader.over(), None, "somebody waits for an answer");
    scene.acks(1, last);
    assert_eq!(scene.leader.over(), Some("epoch 2 has used up its zxids"));
    assert_eq!(scene.replica.accepted, 2);
}

#[test]
fn a_learner_that_has_promised_the_last_of_all_epochs_is_sent_away_and_does_not_raise_that_of_others() {
    let mut scene = scene(Memory::with(&[zxid(1, 1)]));
    assert_eq!(scene.comes(2, i32::MAX as u32), ["closed"]);
    assert_eq!(scene.comes(1, 1), ["LEADERINFO 0x200000000"]);
}

#[test]
fn a_learner_that_goes_on_sending_what_nobody_expects_is_told_of_once() {
    crate::lines::keeping(|| {
        let mut scene = Scene::serving();
        crate::lines::take();
        for kind in [kind::NEWLEADER, 20, -1, 20] {
            assert_eq!(scene.says(1, kind, Zxid(-1), None), [""; 0]);
        }
        assert_eq!(crate::lines::take().len(), 1);
        assert!(scene.leader.serving());
    });
}

#[test]
fn rule_1_the_own_log_counts_only_as_far_as_it_is_durable() {
    let mut scene = Scene::serving();
    let first = scene.proposes();
    assert_eq!(scene.heard(1), ["PROPOSAL 0x200000001"]);
    assert_eq!(scene.acks(1, first), [""; 0]);
    assert_eq!(scene.replica.final_to, zxid(2, 0));
    scene.syncs_its_log();
    assert_eq!(scene.heard(1), ["COMMIT 0x200000001"]);
    assert_eq!(scene.replica.final_to, first);
}

/// ZooKeeper 3.8.0 leaves its leader at a COMMIT between NEWLEADER and UPTODATE whose proposal came before NEWLEADER.
#[test]
fn commits_between_newleader_and_uptodate_come_behind_uptodate() {
    let mut scene = Scene::serving();
    let first = scene.proposes();
    scene.heard(1);
    scene.comes(2, 2);
    let history = scene.promises(2, 2, zxid(2, 0));
    assert_eq!(history, ["DIFF 0x200000000", "PROPOSAL 0x200000001", "NEWLEADER 0x200000000"]);
    scene.syncs_its_log();
    scene.acks(1, first);
    assert_eq!(scene.replica.final_to, first);
    assert_eq!(scene.heard(2), [""; 0]);
    let second = scene.proposes();
    assert_eq!(scene.heard(2), ["PROPOSAL 0x200000002"]);
    assert_eq!(scene.acks(2, zxid(2, 0)), ["UPTODATE -1", "COMMIT 0x200000001"]);
    scene.syncs_its_log();
    assert_eq!(scene.acks(2, second), ["COMMIT 0x200000002"]);
}

/// ZooKeeper before 3.9.2 acknowledges each transaction of a DIFF as well, and that may come ahead of NEWLEADER's.
#[test]
fn a_learner_may_acknowledge_its_history_one_by_one_ahead_of_newleader() {
    let mut scene = scene(Memory::with(&[zxid(1, 1), zxid(1, 2), zxid(1, 3)]));
    scene.comes(1, 1);
    scene.promises(1, 1, zxid(1, 1));
    assert_eq!(scene.acks(1, zxid(1, 2)), [""; 0]);
    assert_eq!(scene.acks(1, zxid(2, 0)), ["UPTODATE -1"]);
    assert_eq!(scene.acks(1, zxid(1, 3)), [""; 0]);
    // That is no vote for what comes then.
    scene.proposes();
    scene.syncs_its_log();
    assert_eq!(scene.replica.final_to, zxid(2, 0));
}

#[test]
fn acknowledgements_are_cumulative_and_never_of_what_was_not_proposed() {
    let mut scene = Scene::serving();
    for _ in 0..3 {
        scene.proposes();
    }
    scene.syncs_its_log();
    assert_eq!(scene.heard(1).len(), 3);
    assert_eq!(scene.acks(1, zxid(2, 2)), ["COMMIT 0x200000001", "COMMIT 0x200000002"]);
    assert_eq!(scene.acks(1, zxid(2, 1)), [""; 0]);
    assert_eq!(scene.acks(1, zxid(2, 4)), ["closed"]);
    assert_eq!(scene.replica.final_to, zxid(2, 2));
}

#[test]
fn a_promise_that_was_given_before_is_not_counted() {
    let mut scene = scene(Memory::with(&[zxid(1, 1)]));
    scene.comes(1, 1);
    assert_eq!(scene.promises(1, -1, zxid(1, 1)), [""; 0]);
    assert_eq!(scene.replica.current, 1);
    scene.comes(2, 1);
    let promise = packet(kind::ACKEPOCH, zxid(1, 1), Some(&1i32.to_be_bytes()));
    scene.leader.received(LinkId(2), &promise, &mut scene.replica, at(0));
    let mut all = Vec::new();
    scene.leader.flush(&mut all);
    assert_eq!(sent(&all, LinkId(1)), ["DIFF 0x100000001", "NEWLEADER 0x200000000"]);
    assert_eq!(sent(&all, LinkId(2)), ["DIFF 0x100000001", "NEWLEADER 0x200000000"]);
}

#[test]
fn a_learner_ahead_of_the_leader_is_sent_away_while_the_epoch_is_promised() {
    let mut scene = scene(Memory::with(&[zxid(1, 1)]));
    scene.comes(1, 1);
    assert_eq!(scene.promises(1, 1, zxid(1, 2)), ["closed"]);
    assert!(scene.leader.over().is_some(), "nobody is left to wait for");
}

#[test]
fn a_voter_that_promised_a_later_epoch_makes_the_leader_agree_on_a_later_one() {
    let mut scene = Scene::serving();
    scene.comes(2, 9);
    assert!(scene.leader.over().unwrap().contains("epoch 9"));
}

#[test]
fn rule_7_what_is_malformed_costs_its_link_and_nothing_else() {
    let mut scene = Scene::serving();
    scene.comes(2, 1);
    scene.promises(2, 1, zxid(1, 1));
    scene.acks(2, zxid(2, 0));
    scene.leader.accepted(LinkId(9), at(0));
    let closed = ["closed"];
    assert_eq!(scene.raw(9, &[0xFF; 40]), closed);
    scene.leader.accepted(LinkId(9), at(0));
    assert_eq!(scene.says(9, kind::ACK, Zxid(1), None), closed);
    scene.leader.accepted(LinkId(9), at(0));
    assert_eq!(scene.says(9, kind::FOLLOWERINFO, Zxid(0), Some(&[0; 8])), closed, "the protocol of before 3.4");
    scene.leader.accepted(LinkId(9), at(0));
    assert_eq!(scene.says(9, kind::FOLLOWERINFO, Zxid(0), None), closed);
    scene.leader.accepted(LinkId(9), at(0));
    let newer = LearnerInfo { sid: Sid(9), protocol: PROTOCOL, config_version: 5, own: false }.encode();
    assert_eq!(scene.says(9, kind::FOLLOWERINFO, Zxid(0), Some(&newer)), closed, "a newer configuration");
    assert_eq!(scene.says(2, kind::REQUEST, Zxid(-1), Some(&[1, 2, 3])), closed);
    assert!(scene.leader.over().is_none() && scene.leader.serving());
    // A type of the future is no reason.
    assert_eq!(scene.says(1, 77, Zxid(0), None), [""; 0]);
}

#[test]
fn the_last_voter_to_leave_ends_the_leadership_at_once() {
    let mut scene = Scene::serving();
    scene.leader.closed(LinkId(1), &mut scene.replica, at(1));
    assert!(scene.leader.over().is_some());
}

#[test]
fn observers_without_an_id_are_told_apart_and_get_what_is_final() {
    let mut scene = Scene::serving();
    for link in [10, 11] {
        scene.leader.accepted(LinkId(link), at(0));
        let info = LearnerInfo { sid: Sid(-1), protocol: PROTOCOL, config_version: -1, own: false }.encode();
        assert_eq!(scene.says(link, kind::OBSERVERINFO, Zxid(0), Some(&info)), ["LEADERINFO 0x200000000"]);
        let current = 1i32.to_be_bytes();
        let history = scene.says(link, kind::ACKEPOCH, zxid(1, 1), Some(&current));
        assert_eq!(history, ["DIFF 0x200000000", "NEWLEADER 0x200000000"]);
        assert_eq!(scene.says(link, kind::ACK, zxid(2, 0), None), ["UPTODATE -1"]);
    }
    let first = scene.proposes();
    scene.syncs_its_log();
    assert_eq!(scene.heard(10), [""; 0]);
    scene.leader.received(LinkId(1), &packet(kind::ACK, first, None), &mut scene.replica, at(0));
    let mut all = Vec::new();
    scene.leader.flush(&mut all);
    assert_eq!(sent(&all, LinkId(10)), ["INFORM 0x200000001"]);
    assert_eq!(sent(&all, LinkId(11)), ["INFORM 0x200000001"]);
    assert_eq!(sent(&all, LinkId(1)), ["COMMIT 0x200000001"]);
    assert_eq!(scene.says(10, kind::ACK, first, None), [""; 0], "an observer's word counts for nothing");
    let mut report = PeerReport::default();
    scene.leader.report(at(0), &mut report);
    let sids: Vec<i64> = report.learners.iter().map(|learner| learner.sid.0).collect();
    assert_eq!(sids, [1, -1, -2]);
}

#[test]
fn an_observer_that_heard_of_something_before_this_leader_knew_it_to_be_final_waits_for_that() {
    let mut scene = Scene::serving();
    let (first, second) = (scene.proposes(), scene.proposes());
    scene.syncs_its_log();
    scene.leader.accepted(LinkId(4), at(0));
    let greeting = scene.says(4, kind::OBSERVERINFO, zxid(2, 0), Some(&Scene::info(4)));
    assert_eq!(greeting, ["LEADERINFO 0x200000000"]);
    assert_eq!(scene.promises(4, -1, first), [""; 0], "it is not cut back");
    scene.leader.received(LinkId(1), &packet(kind::ACK, first, None), &mut scene.replica, at(0));
    assert_eq!(scene.heard(4), ["DIFF 0x200000001", "NEWLEADER 0x200000000"]);
    scene.leader.received(LinkId(1), &packet(kind::ACK, second, None), &mut scene.replica, at(0));
    assert_eq!(scene.heard(4), ["INFORM 0x200000002"]);
}

#[test]
fn observers_beyond_the_limit_of_snapshots_are_sent_away_and_voters_never() {
    let mut scene = scene_with(Memory::with(&[zxid(1, 1)]), |settings| {
        settings.snap_syncs_max = 0;
        settings.force_snapshot_sync = true;
    });
    scene.comes(1, 1);
    let current = 1i32.to_be_bytes();
    scene.leader.received(LinkId(1), &packet(kind::ACKEPOCH, zxid(1, 1), Some(&current)), &mut scene.replica, at(0));
    let mut all = Vec::new();
    scene.leader.flush(&mut all);
    assert!(matches!(&all[..], [Effect::Send { .. }]), "{all:?}");
    scene.comes(4, 1);
    assert_eq!(scene.promises(4, 1, zxid(1, 1)), ["closed"]);
}

#[test]
fn who_is_silent_or_does_not_acknowledge_within_the_sync_limit_is_given_up() {
    let mut scene = Scene::serving();
    scene.comes(2, 1);
    scene.promises(2, 1, zxid(1, 1));
    scene.acks(2, zxid(2, 0));
    scene.comes(4, 1);
    scene.promises(4, 1, zxid(1, 1));
    scene.acks(4, zxid(2, 0));
    scene.proposes();
    scene.heard(1);
    for ms in (0..700).step_by(50) {
        scene.ticks_to(ms);
        for link in [1, 2] {
            scene.says(link, kind::PING, Zxid(0), None);
        }
        // Member 1 acknowledges, 2 only answers, and 4 does not even do that.
        scene.acks(1, zxid(2, 1));
    }
    let mut report = PeerReport::default();
    scene.leader.report(at(scene.now), &mut report);
    let sids: Vec<i64> = report.learners.iter().map(|learner| learner.sid.0).collect();
    assert_eq!(sids, [1]);
}

#[test]
fn pings_go_out_every_half_tick_and_touch_sessions_when_they_come_back() {
    let mut scene = Scene::serving();
    scene.ticks_to(50);
    assert_eq!(scene.heard(1), ["PING 0x200000000"]);
    let mut touched = Vec::new();
    packet::put_touched(&mut touched, zxid(2, 0), &[(proto::SessionId(5), 4000), (proto::SessionId(6), 6000)]);
    scene.raw(1, &touched);
    let told = &scene.replica.told[scene.replica.told.len() - 2..];
    assert_eq!(told, [Told::Touched(proto::SessionId(5), 4000), Told::Touched(proto::SessionId(6), 6000)]);
}

#[test]
fn a_sync_is_answered_behind_the_commit_that_it_waits_for_and_only_on_its_own_link() {
    let mut scene = Scene::serving();
    scene.comes(2, 1);
    scene.promises(2, 1, zxid(1, 1));
    scene.acks(2, zxid(2, 0));
    let ask = {
        let mut data = vec![0; 12];
        data.extend_from_slice(&9i32.to_be_bytes());
        data
    };
    let first = scene.proposes();
    scene.heard(1);
    assert_eq!(scene.says(1, kind::REQUEST, Zxid(-1), Some(&ask)), [""; 0]);
    assert_eq!(scene.replica.told.last(), Some(&Told::SyncForwarded(Sid(1))));
    scene.leader.sync_reached(Sid(1), first);
    assert_eq!(scene.heard(1), [""; 0]);
    scene.syncs_its_log();
    assert_eq!(scene.acks(1, first), ["COMMIT 0x200000001", "SYNC 0x0"]);
    // One that is asked for on a link that is gone when the answer comes.
    scene.says(1, kind::REQUEST, Zxid(-1), Some(&ask));
    scene.leader.accepted(LinkId(21), at(0));
    let hello = packet(kind::FOLLOWERINFO, zxid(2, 0), Some(&Scene::info(1)));
    assert_eq!(scene.raw(21, &hello), ["LEADERINFO 0x200000000"]);
    scene.says(21, kind::ACKEPOCH, first, Some(&(-1i32).to_be_bytes()));
    assert_eq!(scene.acks(21, zxid(2, 0)), ["UPTODATE -1"]);
    scene.leader.sync_reached(Sid(1), first);
    assert_eq!(scene.heard(21), [""; 0]);
    scene.says(21, kind::REQUEST, Zxid(-1), Some(&ask));
    scene.leader.sync_reached(Sid(1), first);
    assert_eq!(scene.heard(21), ["SYNC 0x0"]);
}

#[test]
fn a_member_that_comes_again_loses_its_old_link_and_its_old_acknowledgements() {
    let mut scene = Scene::serving();
    scene.comes(2, 1);
    scene.promises(2, 1, zxid(1, 1));
    scene.acks(2, zxid(2, 0));
    let first = scene.proposes();
    scene.heard(1);
    scene.acks(1, first);
    scene.leader.accepted(LinkId(21), at(0));
    let hello = packet(kind::FOLLOWERINFO, zxid(2, 0), Some(&Scene::info(1)));
    scene.leader.received(LinkId(21), &hello, &mut scene.replica, at(0));
    let mut all = Vec::new();
    scene.leader.flush(&mut all);
    assert_eq!(sent(&all, LinkId(1)), ["closed"]);
    // What it acknowledged it may lose: it is cut back to what is final.
    scene.syncs_its_log();
    assert_eq!(scene.replica.final_to, zxid(2, 0));
    assert_eq!(scene.acks(2, first), ["COMMIT 0x200000001"]);
}

#[test]
fn an_epoch_that_cannot_be_written_ends_the_process() {
    let mut scene = scene(Memory::with(&[zxid(1, 1)]));
    scene.replica.broken_disk = true;
    scene.comes(1, 1);
    assert!(scene.leader.failed().unwrap().contains("the disk refuses"));
}

#[test]
fn a_quorum_that_does_not_come_is_waited_for_within_the_init_limit() {
    let mut scene = scene(Memory::new());
    scene.ticks_to(990);
    assert_eq!(scene.leader.over(), None);
    scene.ticks_to(1000);
    assert!(scene.leader.over().unwrap().contains("did not connect"));
}

#[test]
fn a_long_history_is_sent_as_the_link_drains() {
    let zxids: Vec<Zxid> = (1..=40_000).map(|counter| zxid(1, counter)).collect();
    let mut scene = scene(Memory::with(&zxids));
    scene.comes(1, 1);
    let promise = packet(kind::ACKEPOCH, zxid(1, 1), Some(&1i32.to_be_bytes()));
    scene.leader.received(LinkId(1), &promise, &mut scene.replica, at(0));
    let mut bytes_sent = 0;
    let mut packets = Vec::new();
    loop {
        let mut all = Vec::new();
        scene.leader.flush(&mut all);
        let Some(Effect::Send { bytes, .. }) = all.first() else { break };
        assert!(bytes.len() < WINDOW_BYTES + 1000, "{} bytes at once", bytes.len());
        bytes_sent += bytes.len();
        packets.extend(sent(&all, LinkId(1)));
        scene.leader.drained(LinkId(1), 0, at(0));
    }
    assert!(bytes_sent > 3 * WINDOW_BYTES);
    assert_eq!(packets.len(), 2 + 2 * 39_999);
    assert_eq!(packets.last().unwrap(), "NEWLEADER 0x200000000");
}

#[test]
fn nothing_that_learners_say_makes_a_leader_panic() {
    let likely = [kind::FOLLOWERINFO, kind::ACKEPOCH, kind::ACK, kind::ACK, kind::PING, kind::REQUEST];
    let mut led = 0;
    for seed in 0..1500 {
        let mut noise = crate::script::Noise::new(seed);
        let zxids: Vec<Zxid> = (1..=noise.below(5) as u32).map(|counter| zxid(2, counter)).collect();
        let mut scene = if seed % 2 == 0 { scene(Memory::with(&zxids)) } else { Scene::serving() };
        for _ in 0..80 {
            match noise.below(9) {
                0 => {
                    let sid = 1 + noise.below(4) as i64;
                    scene.leader.accepted(LinkId(sid as u64), at(scene.now));
                    scene.comes(sid, noise.below(9) as u32);
                }
                1 => {
                    let sid = 1 + noise.below(4) as i64;
                    let last = scene.replica.last_logged();
                    scene.promises(sid, noise.below(3) as i32, last);
                }
                2 => {
                    let epoch = Zxid(scene.leader.epoch() << 32);
                    scene.acks(1 + noise.below(4) as i64, epoch);
                }
                3 if scene.leader.serving() && scene.leader.over().is_none() => {
                    scene.proposes();
                }
                4 => scene.syncs_its_log(),
                5 => scene.leader.closed(LinkId(1 + noise.below(4)), &mut scene.replica, at(scene.now)),
                6 => scene.ticks_to(scene.now + noise.below(200) as i64),
                _ => {
                    scene.raw(1 + noise.below(4), &noise.packet(&likely));
                }
            }
            let _ = scene.leader.next_deadline();
            led += usize::from(scene.leader.serving() && scene.leader.over().is_none());
        }
    }
    assert!(led > 2000, "the noise is too loud: leaders served for {led} steps");
}

/// Member `own` of two voters with an oracle.
fn one_of_two(own: i64) -> Scene {
    let mut replica = Memory::with(&[zxid(1, 1)]);
    let view = QuorumView::parse("server.1=h1:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2:observer\nversion=0").unwrap();
    let mut settings = PeerSettings { tick_ms: 100, init_limit: 10, sync_limit: 5, ..PeerSettings::new(Sid(own)) };
    settings.elector.oracle = true;
    let leader = Leader::new(Arc::new(settings), Arc::new(view), None, &mut replica, at(0));
    Scene { leader, replica, now: 0 }
}

impl Scene {
    /// The oracle is asked, and answers.
    fn oracle_says(&mut self, yes: bool) {
        assert!(self.leader.takes_question());
        assert!(!self.leader.takes_question(), "one question at a time");
        self.leader.oracle_says(yes, &mut self.replica, at(self.now));
    }
}

#[test]
fn a_leader_that_the_oracle_elected_serves_at_once_in_an_epoch_that_the_other_would_not_take() {
    let mut epochs = BTreeSet::new();
    for (own, odd) in [(1, 1), (3, 0)] {
        let mut scene = one_of_two(own);
        assert!(!scene.leader.takes_question(), "the other may be on its way");
        scene.leader.elected_alone();
        scene.oracle_says(true);
        assert!(scene.leader.serving());
        assert_eq!(scene.leader.epoch() % 2, odd);
        // The clock of these tests: 2020 is long past.
        assert!(scene.leader.epoch() > 1 << 20, "{}", scene.leader.epoch());
        epochs.insert(scene.leader.epoch());
    }
    assert_eq!(epochs.len(), 2);
}

#[test]
fn a_lone_leader_commits_what_was_durable_when_the_oracle_was_asked() {
    let mut scene = one_of_two(3);
    scene.leader.elected_alone();
    scene.oracle_says(true);
    let first = scene.proposes();
    scene.syncs_its_log();
    assert!(scene.leader.takes_question());
    let second = scene.proposes();
    scene.syncs_its_log();
    assert!(scene.replica.final_to < first);
    scene.leader.oracle_says(true, &mut scene.replica, at(0));
    assert_eq!(scene.replica.final_to, first);
    scene.oracle_says(true);
    assert_eq!(scene.replica.final_to, second);
    // It is asked at each ping, whatever is written, and a no ends it.
    assert!(!scene.leader.takes_question());
    scene.ticks_to(60);
    scene.oracle_says(true);
    assert_eq!(scene.leader.over(), None);
    scene.ticks_to(120);
    scene.oracle_says(false);
    assert!(scene.leader.over().is_some());
}

#[test]
fn an_epoch_that_began_with_the_other_voter_is_not_taken_over_without_it_before_it_serves() {
    let mut scene = one_of_two(3);
    assert_eq!(scene.comes(1, 1), ["LEADERINFO 0x200000000"]);
    scene.leader.closed(LinkId(1), &mut scene.replica, at(0));
    assert!(scene.leader.over().is_some() && !scene.leader.takes_question());

    // Once it serves, the other voter has promised it.
    let mut scene = one_of_two(3);
    scene.comes(1, 1);
    scene.promises(1, 1, zxid(1, 1));
    assert_eq!(scene.acks(1, zxid(2, 0)), ["UPTODATE -1"]);
    assert!(!scene.leader.takes_question());
    scene.leader.closed(LinkId(1), &mut scene.replica, at(0));
    assert!(scene.leader.over().is_none());
    scene.oracle_says(true);
    assert!(scene.leader.serving());
    // An oracle that does not answer says no.
    scene.ticks_to(60);
    assert!(scene.leader.takes_question());
    scene.ticks_to(200);
    assert!(scene.leader.over().is_some());
}
