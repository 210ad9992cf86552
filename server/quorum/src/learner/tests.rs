//! One learner and its leader, packet by packet.

use proto::{Encode, Op, Txn, TxnHeader, Xid};

use super::*;
use crate::memory::{Memory, Told, snapshot_bytes, txn};
use crate::script::{at, packet, sent};

const LINK: LinkId = LinkId(5);

/// Member 1, or the observer 4, of an ensemble that 3 leads.
struct Scene {
    learner: Learner,
    replica: Memory,
}

fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn scene_of(id: i64, replica: Memory) -> Scene {
    let view = "server.1=h1:1:2\nserver.2=h2:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2:observer\nversion=0";
    let settings = PeerSettings { tick_ms: 100, init_limit: 10, sync_limit: 5, ..PeerSettings::new(Sid(id)) };
    let view = QuorumView::parse(view).unwrap();
    let mut learner = Learner::new(Arc::new(settings), Arc::new(view), Sid(3), 0, false, Ticket(1), at(0));
    assert!(learner.connected(Ticket(1), LINK, &replica, at(0)));
    let mut all = Vec::new();
    learner.flush(&mut all);
    Scene { learner, replica }
}

/// Its history is this, and it has promised epoch 7.
fn joined(id: i64, zxids: &[Zxid]) -> Scene {
    let mut scene = scene_of(id, Memory::with(zxids));
    let last = zxids.last().copied().unwrap_or_default();
    assert_eq!(scene.hears(kind::LEADERINFO, zxid(7, 0), Some(&PROTOCOL.to_be_bytes())), [format!("ACKEPOCH {last}")]);
    scene.replica.told.clear();
    scene
}

fn live(id: i64, zxids: &[Zxid]) -> Scene {
    let mut scene = joined(id, zxids);
    scene.hears(kind::DIFF, zxid(1, 1), None);
    assert_eq!(scene.hears(kind::NEWLEADER, zxid(7, 0), None), ["ACK 0x700000000"]);
    assert_eq!(scene.hears(kind::UPTODATE, Zxid(-1), None), ["ACK 0x700000000"]);
    scene.replica.told.clear();
    scene
}

impl Scene {
    /// The leader says something; what goes back is told.
    fn hears(&mut self, kind: i32, zxid: Zxid, data: Option<&[u8]>) -> Vec<String> {
        self.raw(&packet(kind, zxid, data))
    }

    fn raw(&mut self, bytes: &[u8]) -> Vec<String> {
        self.learner.received(bytes, &mut self.replica, at(0));
        self.answers()
    }

    fn answers(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        self.learner.flush(&mut all);
        sent(&all, LINK)
    }

    fn proposal(&mut self, zxid: Zxid) -> Vec<String> {
        self.hears(kind::PROPOSAL, zxid, Some(&txn(zxid, 1)))
    }

    fn disk_is_done(&mut self) -> Vec<String> {
        self.replica.sync_log();
        self.learner.durable(self.replica.durable(), &mut self.replica, at(0));
        self.answers()
    }

    fn why(&self) -> String {
        self.learner.over().unwrap_or_default().to_owned()
    }
}

#[test]
fn a_history_from_after_the_leaders_epoch_is_not_taken() {
    let after = zxid(8, 1);
    let mut scene = joined(1, &[zxid(1, 1)]);
    assert_eq!(scene.hears(kind::SNAP, after, None), [""; 0]);
    assert!(scene.why().contains("of an epoch after its own, 7"), "{}", scene.why());
    assert_eq!(scene.replica.told, []);
    let mut scene = joined(1, &[zxid(1, 1)]);
    scene.hears(kind::DIFF, zxid(1, 1), None);
    scene.proposal(after);
    assert!(scene.why().contains("of an epoch after its own, 7"), "{}", scene.why());
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.proposal(after);
    assert!(scene.why().contains("of an epoch after its own, 7"), "{}", scene.why());
    assert_eq!(scene.replica.told, []);
}

#[test]
fn a_leader_that_goes_on_sending_what_nobody_expects_is_told_of_once() {
    crate::lines::keeping(|| {
        let mut scene = live(1, &[zxid(1, 1)]);
        crate::lines::take();
        for kind in [kind::SYNC, 20, -1, kind::SYNC, 20] {
            assert_eq!(scene.hears(kind, Zxid(-1), None), [""; 0]);
        }
        assert_eq!(crate::lines::take().len(), 1);
        scene.proposal(zxid(7, 1));
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000001"]);
    });
}

#[test]
fn rule_1_the_history_is_acknowledged_when_it_is_durable_and_the_epoch_written() {
    let mut scene = joined(1, &[zxid(1, 1)]);
    scene.hears(kind::DIFF, zxid(1, 2), None);
    scene.proposal(zxid(1, 2));
    scene.hears(kind::COMMIT, zxid(1, 2), None);
    assert_eq!(scene.hears(kind::NEWLEADER, zxid(7, 0), Some(b"version=0")), [""; 0]);
    assert_eq!(scene.replica.current, 1);
    assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
    assert_eq!(scene.replica.told, [Told::Propose(zxid(1, 2)), Told::CurrentEpoch(7)]);
}

#[test]
fn rule_1_where_the_history_ends_is_noted_also_in_an_epoch_that_was_entered_before() {
    let mut scene = joined(1, &[zxid(1, 1)]);
    scene.replica.current = 7;
    scene.hears(kind::DIFF, zxid(1, 1), None);
    assert_eq!(scene.hears(kind::NEWLEADER, zxid(7, 0), None), ["ACK 0x700000000"]);
    assert_eq!(scene.replica.told, [Told::CurrentEpoch(7)]);
}

#[test]
fn rule_1_each_proposal_is_acknowledged_when_it_is_durable_one_by_one_in_order() {
    let mut scene = live(1, &[zxid(1, 1)]);
    assert_eq!(scene.proposal(zxid(7, 1)), [""; 0]);
    assert_eq!(scene.proposal(zxid(7, 2)), [""; 0]);
    scene.replica.durable_len -= 0;
    scene.learner.durable(scene.replica.durable(), &mut scene.replica, at(0));
    assert_eq!(scene.answers(), [""; 0]);
    assert_eq!(scene.disk_is_done(), ["ACK 0x700000001", "ACK 0x700000002"]);
    assert_eq!(scene.replica.final_to, zxid(1, 1));
    assert_eq!(scene.hears(kind::COMMIT, zxid(7, 1), None), [""; 0]);
    assert_eq!(scene.replica.final_to, zxid(7, 1));
}

#[test]
fn rule_2_nothing_is_final_before_uptodate_and_what_is_only_proposed_is_held() {
    let mut scene = joined(1, &[zxid(1, 1)]);
    scene.hears(kind::DIFF, zxid(1, 2), None);
    scene.proposal(zxid(1, 2));
    scene.hears(kind::COMMIT, zxid(1, 2), None);
    // Proposed in the new epoch while the history was on its way, and one more behind NEWLEADER; one of them is committed.
    scene.proposal(zxid(7, 1));
    scene.hears(kind::NEWLEADER, zxid(7, 0), None);
    scene.proposal(zxid(7, 2));
    scene.hears(kind::COMMIT, zxid(7, 1), None);
    assert_eq!(scene.hears(kind::PING, zxid(7, 2), None), [""; 0], "Java's leaders expect no answer yet");
    assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
    assert_eq!(scene.replica.told, [Told::Propose(zxid(1, 2)), Told::CurrentEpoch(7)]);
    assert_eq!(scene.hears(kind::UPTODATE, Zxid(-1), None), ["ACK 0x700000000"]);
    let told = [
        Told::Commit(zxid(1, 2)),
        Told::Serve(Role::Follower),
        Told::Propose(zxid(7, 1)),
        Told::Propose(zxid(7, 2)),
        Told::Commit(zxid(7, 1)),
    ];
    assert_eq!(scene.replica.told[2..], told);
    assert_eq!(scene.disk_is_done(), ["ACK 0x700000001", "ACK 0x700000002"]);
}

#[test]
fn rule_5_a_proposal_that_does_not_fit_ends_the_link() {
    for wrong in [zxid(7, 2), zxid(8, 2), zxid(1, 1), zxid(6, 1)] {
        let mut scene = live(1, &[zxid(1, 1)]);
        scene.proposal(zxid(7, 1));
        if wrong == zxid(7, 2) {
            scene.proposal(zxid(7, 3));
        } else {
            scene.proposal(wrong);
        }
        assert!(scene.why().contains("was proposed behind"), "{wrong}: {}", scene.why());
        assert_eq!(scene.replica.log.len(), 2);
    }
    let mut scene = joined(1, &[zxid(1, 1)]);
    scene.hears(kind::DIFF, zxid(1, 3), None);
    scene.proposal(zxid(1, 3));
    assert!(scene.why().contains("was proposed behind"), "{}", scene.why());
}

#[test]
fn rule_5_a_commit_of_something_else_ends_the_link() {
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.proposal(zxid(7, 1));
    scene.proposal(zxid(7, 2));
    scene.hears(kind::COMMIT, zxid(7, 2), None);
    assert!(scene.why().contains("is said to be final"), "{}", scene.why());
    assert_eq!(scene.replica.final_to, zxid(1, 1));
    let mut scene = joined(1, &[zxid(1, 1)]);
    scene.hears(kind::DIFF, zxid(1, 3), None);
    scene.proposal(zxid(1, 2));
    scene.hears(kind::COMMIT, zxid(1, 3), None);
    assert!(scene.why().contains("is said to be final"), "{}", scene.why());
}

#[test]
fn rule_6_what_is_not_final_stays_when_the_leader_is_left() {
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.proposal(zxid(7, 1));
    scene.learner.closed(LINK);
    assert!(scene.learner.over().is_some());
    assert_eq!(scene.replica.last_logged(), zxid(7, 1));
}

#[test]
fn a_snapshot_of_javas_may_contain_what_follows_it() {
    let mut scene = joined(1, &[zxid(1, 1)]);
    let txns: Vec<_> = (1..=4).map(|counter| (zxid(6, counter), txn(zxid(6, counter), 1))).collect();
    let mut bytes = packet(kind::SNAP, zxid(6, 4), None);
    bytes.extend_from_slice(&snapshot_bytes(txns.iter()));
    for counter in 3..=5 {
        bytes.extend(packet(kind::PROPOSAL, zxid(6, counter), Some(&txn(zxid(6, counter), 1))));
        bytes.extend(packet(kind::COMMIT, zxid(6, counter), None));
    }
    bytes.extend(packet(kind::NEWLEADER, zxid(7, 0), None));
    // Streams have no pieces: byte by byte is as good as any.
    let mut answers = Vec::new();
    for byte in bytes {
        answers.extend(scene.raw(&[byte]));
    }
    assert_eq!(scene.why(), "");
    answers.extend(scene.disk_is_done());
    assert_eq!(answers, ["ACK 0x700000000"]);
    let told =
        [Told::BeginSnapshot(zxid(6, 4)), Told::SnapshotTxn(zxid(6, 5)), Told::FinishSnapshot, Told::CurrentEpoch(7)];
    assert_eq!(scene.replica.told, told);
}

#[test]
fn a_history_that_cannot_go_back_asks_the_next_time_for_a_snapshot() {
    let mut scene = joined(1, &[zxid(1, 1), zxid(1, 2)]);
    scene.replica.cannot_truncate = true;
    scene.hears(kind::TRUNC, zxid(1, 1), None);
    assert!(scene.learner.over().is_some() && scene.learner.want_snapshot());
    assert_eq!(scene.replica.log.len(), 2);
    let view = QuorumView::parse("server.1=h1:1:2\nserver.3=h3:1:2\nversion=0").unwrap();
    let settings = Arc::new(PeerSettings::new(Sid(1)));
    let mut again =
        Scene { learner: Learner::new(settings, Arc::new(view), Sid(3), 0, true, Ticket(3), at(0)), ..scene };
    again.learner.connected(Ticket(3), LINK, &again.replica, at(0));
    again.answers();
    assert_eq!(again.hears(kind::LEADERINFO, zxid(8, 0), Some(&PROTOCOL.to_be_bytes())), ["ACKEPOCH 0x0"]);
    again.hears(kind::DIFF, zxid(1, 1), None);
    assert!(again.why().contains("only its snapshot"), "{}", again.why());
}

#[test]
fn a_truncation_is_followed_by_the_leaders_own() {
    let mut scene = joined(1, &[zxid(1, 1), zxid(1, 2), zxid(1, 3)]);
    scene.hears(kind::TRUNC, zxid(1, 2), None);
    scene.proposal(zxid(3, 1));
    scene.hears(kind::COMMIT, zxid(3, 1), None);
    scene.hears(kind::NEWLEADER, zxid(7, 0), None);
    assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
    let zxids: Vec<Zxid> = scene.replica.log.iter().map(|(zxid, _)| *zxid).collect();
    assert_eq!(zxids, [zxid(1, 1), zxid(1, 2), zxid(3, 1)]);
}

#[test]
fn an_epoch_promised_before_is_acknowledged_without_a_promise_and_an_earlier_one_refused() {
    let mut scene = scene_of(1, Memory::with(&[zxid(7, 1)]));
    let bytes = packet(kind::LEADERINFO, zxid(7, 0), Some(&PROTOCOL.to_be_bytes()));
    scene.learner.received(&bytes, &mut scene.replica, at(0));
    let mut all = Vec::new();
    scene.learner.flush(&mut all);
    let mut promise = Vec::new();
    packet::put(&mut promise, kind::ACKEPOCH, zxid(7, 1), Some(&(-1i32).to_be_bytes()));
    assert_eq!(all, [Effect::Send { link: LINK, bytes: promise }]);
    assert_eq!(scene.replica.told, []);
    let mut scene = scene_of(1, Memory::with(&[zxid(7, 1)]));
    scene.hears(kind::LEADERINFO, zxid(6, 0), Some(&PROTOCOL.to_be_bytes()));
    assert!(scene.why().contains("below 7"), "{}", scene.why());
}

#[test]
fn a_promise_to_who_never_led_does_not_keep_an_observer_from_the_leader_that_there_is() {
    let epoch = |led: u32| packet(kind::LEADERINFO, zxid(led, 0), Some(&PROTOCOL.to_be_bytes()));
    for (sid, led, why) in [(4, 7, ""), (4, 6, "below 7"), (1, 7, "below 9")] {
        let mut scene = scene_of(sid, Memory::with(&[zxid(7, 1)]));
        scene.replica.accepted = 9;
        scene.learner.received(&epoch(led), &mut scene.replica, at(0));
        assert!(scene.why().contains(why) && scene.why().is_empty() == why.is_empty(), "{}", scene.why());
    }
}

#[test]
fn a_leader_of_before_3_4_is_refused_with_a_clear_word() {
    let mut scene = scene_of(1, Memory::with(&[zxid(1, 1)]));
    scene.hears(kind::NEWLEADER, zxid(7, 0), None);
    assert!(scene.why().contains("older than ZooKeeper 3.4"), "{}", scene.why());
}

#[test]
fn an_observer_takes_what_it_is_informed_of_and_acknowledges_only_the_history() {
    let mut scene = joined(4, &[zxid(1, 1)]);
    scene.hears(kind::DIFF, zxid(1, 2), None);
    scene.proposal(zxid(1, 2));
    scene.hears(kind::COMMIT, zxid(1, 2), None);
    scene.hears(kind::NEWLEADER, zxid(7, 0), None);
    scene.hears(kind::INFORM, zxid(7, 1), Some(&txn(zxid(7, 1), 1)));
    assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
    scene.hears(kind::UPTODATE, Zxid(-1), None);
    assert_eq!(scene.replica.final_to, zxid(7, 1));
    let mut activating = 3i64.to_be_bytes().to_vec();
    activating.extend_from_slice(&txn(zxid(7, 2), 1));
    scene.hears(kind::INFORMANDACTIVATE, zxid(7, 2), Some(&activating));
    assert_eq!(scene.replica.final_to, zxid(7, 2));
    assert_eq!(scene.disk_is_done(), [""; 0]);
    assert_eq!(scene.why(), "");
    assert_eq!(scene.replica.role, Some(Role::Observer));
}

/// A transaction that makes this configuration.
fn reconfiguration(zxid: Zxid, view: &str) -> Vec<u8> {
    let header = TxnHeader { session: SessionId(0), cxid: Xid(0), zxid, time: Millis(0), op: Op::Reconfig };
    let mut payload = Vec::new();
    header.encode(&mut payload);
    let data = Some(view.as_bytes().into());
    Txn::SetData { path: "/zookeeper/config".into(), data, version: 1 }.encode(&mut payload);
    payload
}

/// The simulator's seed 28739: Java's leaders forward what happens from before they say NEWLEADER, which then tells the older configuration.
#[test]
fn a_reconfiguration_that_comes_before_newleader_is_in_force_when_the_history_is() {
    let servers = "server.1=h1:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2:observer\n";
    let older = format!("{servers}version=100000001");
    let newer = reconfiguration(zxid(7, 1), &format!("{servers}server.5=h5:1:2\nversion=700000001"));
    for id in [1, 4] {
        let mut scene = joined(id, &[zxid(1, 1)]);
        scene.hears(kind::DIFF, zxid(1, 1), None);
        let with_leader = [&3_i64.to_be_bytes(), &newer[..]].concat();
        if id == 4 {
            scene.hears(kind::INFORMANDACTIVATE, zxid(7, 1), Some(&with_leader));
        } else {
            scene.hears(kind::PROPOSAL, zxid(7, 1), Some(&newer));
            scene.hears(kind::COMMITANDACTIVATE, zxid(7, 1), Some(&3_i64.to_be_bytes()));
        }
        scene.hears(kind::NEWLEADER, zxid(7, 0), Some(older.as_bytes()));
        let seen = scene.learner.take_seen().map(|(view, _)| view.version());
        assert_eq!((seen, scene.learner.take_activated()), (Some(0x7_0000_0001), None));
        assert_eq!(scene.disk_is_done(), ["ACK 0x700000000"]);
        scene.hears(kind::UPTODATE, Zxid(-1), None);
        assert_eq!(scene.learner.take_activated().map(|(view, _)| view.version()), Some(0x7_0000_0001));
        assert_eq!((scene.replica.final_to, scene.why().as_str()), (zxid(7, 1), ""));
    }
}

#[test]
fn a_reconfiguration_is_final_as_any_transaction() {
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.proposal(zxid(7, 1));
    scene.hears(kind::COMMITANDACTIVATE, zxid(7, 1), Some(&3i64.to_be_bytes()));
    assert_eq!(scene.replica.final_to, zxid(7, 1));
}

#[test]
fn rule_5_what_is_left_to_this_members_vote_is_final_once_it_is_durable_here_and_committed_once() {
    let mut scene = live(1, &[zxid(1, 1)]);
    for counter in 1..=3 {
        scene.proposal(zxid(7, counter));
    }
    assert_eq!(scene.hears(kind::CASTING, zxid(7, 2), None), [""; 0]);
    assert_eq!(scene.replica.final_to, zxid(1, 1), "not before it is durable");
    assert_eq!(scene.disk_is_done(), ["ACK 0x700000001", "ACK 0x700000002", "ACK 0x700000003"]);
    assert_eq!(scene.replica.final_to, zxid(7, 2), "and no more than that");
    scene.hears(kind::COMMIT, zxid(7, 1), None);
    scene.hears(kind::COMMIT, zxid(7, 2), None);
    assert_eq!(scene.replica.told.iter().filter(|told| matches!(told, Told::Commit(_))).count(), 1);
    // What is durable already is decided at once.
    scene.hears(kind::CASTING, zxid(7, 3), None);
    assert_eq!(scene.replica.final_to, zxid(7, 3));
    assert_eq!(scene.why(), "");
    // A client's sync came first, and its answer is to come first too.
    scene.learner.sync();
    scene.proposal(zxid(7, 4));
    scene.hears(kind::CASTING, zxid(7, 4), None);
    scene.disk_is_done();
    assert_eq!(scene.replica.final_to, zxid(7, 3));
    scene.hears(kind::SYNC, Zxid(0), None);
    assert_eq!(scene.replica.told[scene.replica.told.len() - 2..], [Told::Synced, Told::Commit(zxid(7, 4))]);
    scene.hears(kind::COMMIT, zxid(7, 2), None);
    assert!(scene.why().contains("0x700000002"), "a COMMIT out of order ends the link all the same: {}", scene.why());
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.proposal(zxid(7, 1));
    scene.hears(kind::CASTING, zxid(7, 2), None);
    assert!(scene.why().contains("to this member's vote"), "{}", scene.why());
}

#[test]
fn pings_are_answered_with_the_sessions_that_were_heard_of() {
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.replica.touched = vec![(SessionId(9), 4000)];
    scene.learner.received(&packet(kind::PING, zxid(7, 0), None), &mut scene.replica, at(0));
    let mut all = Vec::new();
    scene.learner.flush(&mut all);
    let mut answer = Vec::new();
    packet::put_touched(&mut answer, zxid(7, 0), &[(SessionId(9), 4000)]);
    assert_eq!(all, [Effect::Send { link: LINK, bytes: answer }]);
}

#[test]
fn answers_to_syncs_and_revalidations_come_behind_what_was_final_before() {
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.learner.sync();
    scene.learner.revalidate(SessionId(9), 4000);
    assert_eq!(scene.answers(), ["REQUEST -1", "REVALIDATE -1"]);
    scene.proposal(zxid(7, 1));
    let mut bytes = packet(kind::COMMIT, zxid(7, 1), None);
    bytes.extend(packet(kind::SYNC, Zxid(0), None));
    packet::put_answered_session(&mut bytes, SessionId(9), true);
    scene.raw(&bytes);
    let told = [Told::Commit(zxid(7, 1)), Told::Synced, Told::Revalidated(SessionId(9), true)];
    assert_eq!(scene.replica.told[1..], told);
    scene.hears(kind::SYNC, Zxid(0), None);
    assert_eq!(scene.replica.told.len(), 4, "nobody asked for that one");
}

#[test]
fn a_leader_is_tried_five_times_and_then_given_up() {
    let view = QuorumView::parse("server.1=h1:1:2\nserver.3=h3:7:8\nversion=0").unwrap();
    let settings = PeerSettings { tick_ms: 100, init_limit: 10, ..PeerSettings::new(Sid(1)) };
    let mut learner = Learner::new(Arc::new(settings), Arc::new(view), Sid(3), 0, false, Ticket(1), at(0));
    let mut tries = 0;
    let mut ticket = 1;
    let mut ms = 0;
    while learner.over().is_none() {
        let mut all = Vec::new();
        learner.flush(&mut all);
        for effect in all {
            let Effect::Connect { peer: Sid(3), port: Port::Quorum, addresses, .. } = effect else { panic!() };
            assert_eq!(addresses, [HostPort { host: "h3".to_owned(), port: 7 }]);
            tries += 1;
            learner.connect_failed(Ticket(ticket), "refused", at(ms));
        }
        ms += 10;
        learner.tick(
            || {
                ticket += 2;
                Ticket(ticket)
            },
            at(ms),
        );
    }
    assert_eq!((tries, ms), (5, 410));
}

#[test]
fn a_silent_leader_is_left_after_the_limit_of_the_moment() {
    let mut scene = joined(1, &[zxid(1, 1)]);
    scene.learner.tick(|| Ticket(3), at(999));
    assert_eq!(scene.why(), "");
    scene.learner.tick(|| Ticket(3), at(1000));
    assert!(scene.why().contains("nothing was heard"), "{}", scene.why());
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.learner.tick(|| Ticket(3), at(500));
    assert!(scene.why().contains("nothing was heard"), "{}", scene.why());
}

#[test]
fn a_disk_that_refuses_ends_the_process_and_not_the_link() {
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.replica.broken_disk = true;
    scene.proposal(zxid(7, 1));
    assert_eq!(scene.learner.failed(), Some("the disk refuses"));
}

#[test]
fn what_is_no_packet_ends_the_link() {
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.raw(&[0x7F; 40]);
    assert!(scene.why().contains("bytes of data"), "{}", scene.why());
    let mut scene = live(1, &[zxid(1, 1)]);
    scene.hears(kind::PROPOSAL, zxid(7, 1), Some(&txn(zxid(7, 2), 1)));
    assert!(scene.why().contains("carries transaction"), "{}", scene.why());
}

#[test]
fn nothing_that_a_leader_says_makes_a_learner_panic() {
    let likely = [kind::PROPOSAL, kind::PROPOSAL, kind::COMMIT, kind::COMMIT, kind::PING, kind::INFORM];
    let mut served = 0;
    for seed in 0..3000 {
        let mut noise = crate::script::Noise::new(seed);
        let zxids: Vec<Zxid> = (1..=1 + noise.below(4) as u32).map(|counter| zxid(1, counter)).collect();
        let mut scene = joined([1, 4][noise.below(2) as usize], &zxids);
        let to = zxid(1, 1 + noise.below(4) as u32);
        match noise.below(5) {
            0 => scene.raw(&noise.packet(&likely)),
            1 => scene.hears(kind::TRUNC, to, None),
            2 => {
                let txns = [(to, txn(to, 1))];
                scene.raw(&[packet(kind::SNAP, to, None), snapshot_bytes(txns.iter())].concat())
            }
            _ => scene.hears(kind::DIFF, to, None),
        };
        for _ in 0..60 {
            // What would fit, more often than chance has it.
            let last = scene.learner.last;
            match noise.below(8) {
                0 => scene.hears(kind::NEWLEADER, zxid(7, 0), None),
                1 => scene.hears(kind::UPTODATE, Zxid(-1), None),
                2 | 3 => scene.proposal(last.next()),
                4 => scene.proposal(zxid(7, 1)),
                5 => scene.disk_is_done(),
                6 => {
                    let oldest = scene.learner.pending.front().copied();
                    let held = scene.learner.held.get(scene.learner.held_final).map(|(zxid, _)| *zxid);
                    scene.hears(kind::COMMIT, oldest.or(held).unwrap_or(last), None)
                }
                _ => scene.raw(&noise.packet(&likely)),
            };
            if scene.learner.over().is_some() {
                break;
            }
            served += usize::from(scene.learner.serving());
            assert!(scene.replica.final_to <= scene.replica.last_logged());
        }
    }
    assert!(served > 100, "the noise is too loud: served only {served} times");
}
