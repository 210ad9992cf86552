//! A follower between its leader and its observers, packet by packet.

use std::sync::Arc;

use proto::Xid;

use super::*;
use crate::effect::{HostPort, Port, Ticket};
use crate::learner::Learner;
use crate::memory::{Memory, Told, txn};
use crate::packet::{LearnerInfo, PROTOCOL};
use crate::script::{at, packet, sent};
use crate::view::QuorumView;

const LEADER: LinkId = LinkId(5);
const FIRST: LinkId = LinkId(21);
const SECOND: LinkId = LinkId(22);

/// Member 1, which follows 3 in epoch 7 from 0x700000001, and its observers.
struct Scene {
    learner: Learner,
    replica: Memory,
    all: Vec<Effect>,
}

fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn view() -> Arc<QuorumView> {
    let text = "server.1=h1:1:2\nserver.2=h2:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2:observer\nversion=0";
    Arc::new(QuorumView::parse(text).unwrap())
}

fn settings(id: i64) -> PeerSettings {
    PeerSettings {
        tick_ms: 100,
        init_limit: 10,
        sync_limit: 5,
        observer_master_port: Some(2999),
        observer_master_bytes_max: 1000,
        ..PeerSettings::new(Sid(id))
    }
}

fn scene() -> Scene {
    let replica = Memory::with(&[zxid(6, 1), zxid(6, 2), zxid(7, 1)]);
    let mut learner = Learner::new(Arc::new(settings(1)), view(), Sid(3), 0, false, Ticket(1), at(0));
    assert!(learner.connected(Ticket(1), LEADER, &replica, at(0)));
    let mut scene = Scene { learner, replica, all: Vec::new() };
    scene.leader(&packet(kind::LEADERINFO, zxid(7, 0), Some(&PROTOCOL.to_be_bytes())));
    for (kind, zxid) in [(kind::DIFF, zxid(7, 1)), (kind::NEWLEADER, zxid(7, 0)), (kind::UPTODATE, Zxid(-1))] {
        assert!(!scene.learner.serves_observers());
        scene.leader(&packet(kind, zxid, None));
    }
    assert!(scene.learner.serves_observers());
    scene.heard(LEADER);
    scene.replica.told.clear();
    scene
}

/// With an observer on the first link that has everything.
fn scene_with_observer() -> Scene {
    let mut scene = scene();
    scene.joins(FIRST, 4, zxid(7, 1));
    scene.heard(FIRST);
    scene.observer(FIRST, &packet(kind::ACK, zxid(7, 0), None));
    assert_eq!(scene.heard(FIRST), ["UPTODATE -1"]);
    scene
}

impl Scene {
    fn leader(&mut self, bytes: &[u8]) {
        self.learner.received(bytes, &mut self.replica, at(0));
        self.learner.flush(&mut self.all);
        assert_eq!(self.learner.over(), None);
    }

    fn observer(&mut self, link: LinkId, bytes: &[u8]) {
        self.learner.observer_received(link, bytes, &mut self.replica, at(0));
        self.learner.flush(&mut self.all);
    }

    fn proposal(&mut self, zxid: Zxid) {
        self.leader(&packet(kind::PROPOSAL, zxid, Some(&txn(zxid, 1))));
    }

    fn commit(&mut self, zxid: Zxid) {
        self.leader(&packet(kind::COMMIT, zxid, None));
    }

    /// An observer whose history ends at `last` connects, and promises.
    fn joins(&mut self, link: LinkId, sid: i64, last: Zxid) {
        self.learner.observer_accepted(link, at(0));
        let info = LearnerInfo { sid: Sid(sid), protocol: PROTOCOL, config_version: 0, own: false };
        self.observer(link, &packet(kind::OBSERVERINFO, zxid(7, 0), Some(&info.encode())));
        assert_eq!(self.heard(link), ["LEADERINFO 0x700000000"]);
        self.observer(link, &packet(kind::ACKEPOCH, last, Some(&(-1i32).to_be_bytes())));
    }

    /// What was sent on a link since the last look at it.
    fn heard(&mut self, link: LinkId) -> Vec<String> {
        let told = sent(&self.all, link);
        self.all.retain(|effect| !matches!(effect, Effect::Send { link: to, .. } | Effect::Close(to) if *to == link));
        told
    }
}

#[test]
fn an_observer_gets_what_is_final_and_hears_of_what_becomes_so_and_of_nothing_else() {
    let mut scene = scene();
    scene.proposal(zxid(7, 2));
    scene.joins(FIRST, 4, zxid(6, 1));
    assert_eq!(
        scene.heard(FIRST),
        [
            "DIFF 0x700000001",
            "PROPOSAL 0x600000002",
            "COMMIT 0x600000002",
            "PROPOSAL 0x700000001",
            "COMMIT 0x700000001",
            "NEWLEADER 0x700000000",
        ]
    );
    scene.commit(zxid(7, 2));
    assert_eq!(scene.heard(FIRST), ["INFORM 0x700000002"], "also before it has all that was final when it came");
    scene.observer(FIRST, &packet(kind::ACK, zxid(7, 1), None));
    assert_eq!(scene.heard(FIRST), [""; 0], "that is not all of the history");
    scene.observer(FIRST, &packet(kind::ACK, zxid(7, 0), None));
    assert_eq!(scene.heard(FIRST), ["UPTODATE -1"]);
    scene.observer(FIRST, &packet(kind::ACK, zxid(7, 0), None));
    scene.proposal(zxid(7, 3));
    scene.proposal(zxid(7, 4));
    assert_eq!(scene.heard(FIRST), [""; 0]);
    scene.commit(zxid(7, 3));
    scene.leader(&packet(kind::COMMITANDACTIVATE, zxid(7, 4), Some(&3i64.to_be_bytes())));
    assert_eq!(scene.heard(FIRST), ["INFORM 0x700000003", "INFORMANDACTIVATE 0x700000004"]);
    let mut report = PeerReport::default();
    scene.learner.report(&mut report);
    assert_eq!((report.observers, report.synced_observers, report.serves_observers), (1, 1, true));
    assert!(scene.learner.end().contains(&Effect::Close(FIRST)));
}

#[test]
fn an_observer_with_more_of_the_epoch_waits_and_one_with_what_never_was_final_goes_back() {
    let mut scene = scene();
    scene.proposal(zxid(7, 2));
    scene.proposal(zxid(7, 3));
    scene.joins(FIRST, 4, zxid(7, 3));
    scene.joins(SECOND, 9, zxid(6, 5));
    assert_eq!(scene.heard(SECOND)[0], "TRUNC 0x600000002");
    scene.commit(zxid(7, 2));
    assert_eq!(scene.heard(FIRST), [""; 0]);
    scene.commit(zxid(7, 3));
    assert_eq!(scene.heard(FIRST), ["DIFF 0x700000003", "NEWLEADER 0x700000000"]);
}

#[test]
fn followers_are_sent_away_and_so_is_an_observer_that_acknowledges_a_transaction() {
    let mut scene = scene_with_observer();
    scene.learner.observer_accepted(SECOND, at(0));
    let info = LearnerInfo { sid: Sid(2), protocol: PROTOCOL, config_version: 0, own: true };
    scene.observer(SECOND, &packet(kind::FOLLOWERINFO, zxid(7, 0), Some(&info.encode())));
    assert_eq!(scene.heard(SECOND), ["closed"]);
    scene.observer(FIRST, &packet(kind::ACK, zxid(7, 1), None));
    assert_eq!(scene.heard(FIRST), ["closed"]);
    scene.learner.observer_accepted(SECOND, at(0));
    let info = LearnerInfo { sid: Sid(4), protocol: PROTOCOL, config_version: 1, own: true };
    scene.observer(SECOND, &packet(kind::OBSERVERINFO, zxid(7, 0), Some(&info.encode())));
    assert_eq!(scene.heard(SECOND), ["closed"], "its configuration is newer");
}

#[test]
fn what_observers_ask_for_goes_to_the_leader_and_each_answer_to_who_asked() {
    let mut scene = scene_with_observer();
    scene.joins(SECOND, 9, zxid(7, 1));
    scene.observer(SECOND, &packet(kind::ACK, zxid(7, 0), None));
    scene.heard(SECOND);
    let write = Forwarded { session: SessionId(8), xid: Xid(3), op: Op::SetData, ids: Vec::new(), body: vec![1, 2] };
    let mut request = Vec::new();
    packet::put_request(&mut request, &write);
    scene.observer(FIRST, &request);
    assert!(scene.all.contains(&Effect::Send { link: LEADER, bytes: request.clone() }), "as it came");
    let sync = Forwarded { op: Op::Sync, ..write };
    let mut asked = Vec::new();
    packet::put_request(&mut asked, &sync);
    scene.observer(SECOND, &asked);
    scene.learner.sync();
    scene.observer(FIRST, &asked);
    scene.learner.revalidate(SessionId(7), 4000);
    let mut question = Vec::new();
    packet::put_asked_session(&mut question, SessionId(7), 5000);
    scene.observer(SECOND, &question);
    scene.proposal(zxid(7, 2));
    let forwarded = ["REQUEST -1", "REQUEST -1", "REQUEST -1", "REQUEST -1", "REVALIDATE -1", "REVALIDATE -1"];
    assert_eq!(scene.heard(LEADER), forwarded);

    let mut answers = packet(kind::COMMIT, zxid(7, 2), None);
    answers.extend(packet(kind::SYNC, Zxid(0), None));
    scene.leader(&answers);
    assert_eq!(scene.heard(SECOND), ["INFORM 0x700000002", "SYNC 0x0"]);
    assert_eq!(scene.heard(FIRST), ["INFORM 0x700000002"]);
    scene.leader(&packet(kind::SYNC, Zxid(0), None));
    assert_eq!(scene.replica.told.last(), Some(&Told::Synced));
    scene.leader(&packet(kind::SYNC, Zxid(0), None));
    assert_eq!(scene.heard(FIRST), ["SYNC 0x0"]);

    let mut answer = Vec::new();
    packet::put_answered_session(&mut answer, SessionId(7), true);
    scene.leader(&answer);
    assert_eq!(scene.replica.told.last(), Some(&Told::Revalidated(SessionId(7), true)));
    scene.leader(&answer);
    assert_eq!(scene.heard(SECOND), ["REVALIDATE -1"]);
    assert_eq!(scene.heard(FIRST), [""; 0]);

    // What an observer has heard of is told to the leader with its next ping, and once.
    let mut touched = Vec::new();
    packet::put_touched(&mut touched, zxid(7, 0), &[(SessionId(8), 6000)]);
    scene.observer(FIRST, &touched);
    for sessions in [&[(SessionId(7), 5000), (SessionId(8), 6000)][..], &[]] {
        scene.all.clear();
        scene.leader(&packet(kind::PING, zxid(7, 0), None));
        let mut bytes = Vec::new();
        packet::put_touched(&mut bytes, zxid(7, 0), sessions);
        assert_eq!(scene.all, [Effect::Send { link: LEADER, bytes }]);
    }
}

#[test]
fn the_answer_to_an_observer_that_has_gone_is_nobodys() {
    let mut scene = scene_with_observer();
    let sync = Forwarded { session: SessionId(8), xid: Xid(3), op: Op::Sync, ids: Vec::new(), body: Vec::new() };
    let mut asked = Vec::new();
    packet::put_request(&mut asked, &sync);
    packet::put_asked_session(&mut asked, SessionId(7), 5000);
    scene.observer(FIRST, &asked);
    scene.learner.observer_closed(FIRST);
    let mut answers = packet(kind::SYNC, Zxid(0), None);
    packet::put_answered_session(&mut answers, SessionId(7), true);
    scene.leader(&answers);
    assert_eq!(scene.heard(FIRST), [""; 0]);
    assert!(scene.replica.told.is_empty(), "{:?}", scene.replica.told);
}

#[test]
fn an_observer_that_does_not_read_is_sent_away_when_too_much_waits_for_it() {
    let mut scene = scene_with_observer();
    let mut counter = 1;
    let mut bytes = 0;
    while scene.heard(FIRST) != ["closed"] {
        counter += 1;
        scene.proposal(zxid(7, counter));
        scene.commit(zxid(7, counter));
        bytes += packet(kind::INFORM, zxid(7, counter), Some(&txn(zxid(7, counter), 1))).len();
        assert!(bytes < 4 * WINDOW_BYTES);
    }
    assert!(bytes > 2 * WINDOW_BYTES + 500, "{bytes}");
}

#[test]
fn observers_are_pinged_and_one_that_is_silent_is_sent_away() {
    let mut scene = scene_with_observer();
    scene.joins(SECOND, 9, zxid(7, 9));
    let mut told = Vec::new();
    let mut ms = 0;
    while ms <= 1_100 {
        ms = scene.learner.next_deadline().0.max(ms + 1);
        // The leader is heard all the time.
        scene.learner.received(&packet(kind::PING, zxid(7, 0), None), &mut scene.replica, at(ms));
        scene.learner.tick(|| Ticket(3), at(ms));
        scene.learner.flush(&mut scene.all);
        told.extend(scene.heard(FIRST));
    }
    assert!(
        told.len() > 8 && told[0] == "PING 0x700000001" && told.iter().filter(|line| *line == "closed").count() == 1
    );
    assert_eq!(scene.heard(SECOND), ["closed"], "it waited for what never came");
}

/// What an observer tries, in order, until it gives up, with all refusing: who, and at which port.
fn tried(id: i64, turn: u64) -> Vec<(i64, Port, u16)> {
    let mut learner = Learner::new(Arc::new(settings(id)), view(), Sid(3), turn, false, Ticket(1), at(0));
    let (mut tried, mut ms, mut ticket) = (Vec::new(), 0, 1);
    while learner.over().is_none() {
        let mut all = Vec::new();
        learner.flush(&mut all);
        for effect in all {
            let Effect::Connect { ticket, peer, port, addresses, .. } = effect else { panic!("{effect:?}") };
            let [HostPort { host, port: number }] = &addresses[..] else { panic!("{addresses:?}") };
            assert_eq!(*host, format!("h{peer}"));
            tried.push((peer.0, port, *number));
            learner.connect_failed(ticket, "refused", at(ms));
        }
        ms = learner.next_deadline().0;
        ticket += 2;
        learner.tick(|| Ticket(ticket), at(ms));
    }
    tried
}

#[test]
fn an_observer_tries_the_followers_by_turns_and_at_last_the_leader_and_a_voter_only_the_leader() {
    let rounds = |first: i64, second: i64| {
        let masters = (0..10).map(|at| (if at % 2 == 0 { first } else { second }, Port::Observers, 2999));
        masters.chain((0..5).map(|_| (3, Port::Quorum, 1))).collect::<Vec<_>>()
    };
    assert_eq!(tried(4, 0), rounds(1, 2));
    assert_eq!(tried(4, 1), rounds(2, 1));
    assert_eq!(tried(4, u64::MAX), rounds(2, 1));
    assert_eq!(tried(1, 0), [(3, Port::Quorum, 1); 5]);
}

#[test]
fn an_observer_does_not_go_back_for_a_master_behind_it() {
    for (kind, ours, theirs, stays) in [
        (kind::TRUNC, zxid(7, 3), zxid(7, 2), false),
        (kind::SNAP, zxid(7, 3), zxid(7, 2), false),
        (kind::SNAP, zxid(7, 3), zxid(7, 3), true),
        (kind::TRUNC, zxid(6, 2), zxid(6, 1), true),
    ] {
        let mut replica = Memory::with(&[zxid(6, 1), zxid(6, 2)]);
        if ours.epoch() == 7 {
            replica = Memory::with(&[zxid(6, 1), zxid(7, 1), zxid(7, 2), zxid(7, 3)]);
        }
        let mut learner = Learner::new(Arc::new(settings(4)), view(), Sid(3), 0, false, Ticket(1), at(0));
        learner.connected(Ticket(1), LEADER, &replica, at(0));
        let mut bytes = packet(kind::LEADERINFO, zxid(7, 0), Some(&PROTOCOL.to_be_bytes()));
        bytes.extend(packet(kind, theirs, None));
        learner.received(&bytes, &mut replica, at(0));
        assert_eq!(learner.over().is_none(), stays, "{kind} {theirs}: {:?}", learner.over());
        assert_eq!(replica.last_logged(), if stays && kind == kind::TRUNC { theirs } else { ours });
    }
}

#[test]
fn nothing_that_observers_say_costs_the_follower_its_leader_or_shows_them_what_is_not_final() {
    let likely = [kind::OBSERVERINFO, kind::ACKEPOCH, kind::ACK, kind::PING, kind::REQUEST, kind::REVALIDATE];
    let (mut informed, mut sent_away) = (0, 0);
    for seed in 0..1000 {
        let mut noise = crate::script::Noise::new(seed);
        let mut scene = scene();
        let (mut proposed, mut committed) = (1, 1);
        let mut links: Vec<LinkId> = Vec::new();
        for step in 0..80 {
            let link = links.get(noise.below(4) as usize).copied();
            match (noise.below(10), link) {
                (0, _) => {
                    let link = LinkId(100 + step);
                    links.insert(0, link);
                    let last = zxid(6 + noise.below(2) as u32, noise.below(9) as u32);
                    scene.joins(link, 4 + noise.below(3) as i64, last);
                }
                (1 | 2, Some(link)) => scene.observer(link, &packet(kind::ACK, zxid(7, 0), None)),
                (3, Some(link)) => scene.observer(link, &noise.packet(&likely)),
                (4, Some(link)) => scene.learner.observer_drained(link, 0, at(0)),
                (5, Some(link)) => {
                    scene.learner.observer_closed(link);
                    links.retain(|other| *other != link);
                }
                (6, _) => scene.leader(&packet(kind::SYNC, Zxid(0), None)),
                (7 | 8, _) if committed < proposed => {
                    committed += 1;
                    scene.commit(zxid(7, committed));
                }
                _ => {
                    proposed += 1;
                    scene.proposal(zxid(7, proposed));
                }
            }
            scene.learner.flush(&mut scene.all);
            scene.heard(LEADER);
            for link in links.clone() {
                for line in scene.heard(link) {
                    if line == "closed" {
                        links.retain(|other| *other != link);
                        sent_away += 1;
                    }
                    let is_shown = ["INFORM", "COMMIT", "DIFF", "SNAP"].iter().any(|what| line.starts_with(what));
                    let shown = line.rsplit_once("0x").filter(|_| is_shown);
                    let shown = shown.map(|(_, digits)| i64::from_str_radix(digits, 16).unwrap());
                    assert!(shown.is_none_or(|shown| shown <= zxid(7, committed).0), "seed {seed}: {line}");
                    informed += usize::from(line.starts_with("INFORM"));
                }
            }
        }
    }
    assert!(informed > 3000 && sent_away > 300, "{informed} transactions, {sent_away} sent away");
}
