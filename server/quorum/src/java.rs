//! What Java's members were seen to say to each other on the quorum port, with one of them replaced by ours: the other hears the same
//! bytes as from its like.
//!
//! The conversations stand in `tests/java`; they went through a proxy between members of ZooKeeper 3.8 and of 3.9.5.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::{Op, Sid, Zxid};

use crate::effect::{Effect, LinkId, Ticket};
use crate::leader::Leader;
use crate::learner::Learner;
use crate::memory::{END, Memory};
use crate::packet::{self, LearnerInfo, Packet, kind};
use crate::peer::PeerSettings;
use crate::replica::Replica;
use crate::script::{at, lines};
use crate::view::QuorumView;

const RECORDS: [(&str, &str); 2] = [
    ("3.8", include_str!("../tests/java/quorum-port-3.8.txt")),
    ("3.9.5", include_str!("../tests/java/quorum-port-3.9.5.txt")),
];

/// One packet, or a snapshot.
struct Line {
    link: u64,
    /// The leader says it.
    master: bool,
    name: String,
    bytes: Vec<u8>,
}

impl Line {
    fn packet(&self) -> Packet<'_> {
        let (packet, size) = Packet::take(&self.bytes, 1 << 20).unwrap().unwrap();
        assert_eq!(size, self.bytes.len());
        packet
    }
}

fn record(text: &str) -> Vec<Line> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let digit = |at: usize| u8::from_str_radix(&words[3][at..at + 2], 16).unwrap();
        Line {
            link: words[0].parse().unwrap(),
            master: words[1] == "M",
            name: words[2].to_owned(),
            bytes: (0..words[3].len()).step_by(2).map(digit).collect(),
        }
    });
    lines.collect()
}

/// The configuration that the leader tells.
fn view_of(record: &[Line]) -> QuorumView {
    let line = record.iter().find(|line| line.name == "NEWLEADER").unwrap();
    QuorumView::parse(std::str::from_utf8(line.packet().data.unwrap()).unwrap()).unwrap()
}

/// For the reader of a failure: what the bytes say, and the bytes.
#[track_caller]
fn assert_same(ours: &[u8], javas: &[u8], what: &str) {
    assert_eq!(lines(ours), lines(javas), "{what}");
    assert!(ours == javas, "{what}: the same packets, other data");
}

#[test]
fn every_packet_of_javas_is_read_and_written_as_it_was() {
    for (version, text) in RECORDS {
        let record = record(text);
        assert!(record.len() > 150);
        for line in record.iter().filter(|line| line.name != "snapshot") {
            let packet = line.packet();
            let mut again = Vec::new();
            match packet.kind {
                kind::REQUEST => packet::put_request(&mut again, &packet.forwarded().unwrap()),
                _ => packet::put(&mut again, packet.kind, packet.zxid, packet.data),
            }
            assert!(again == line.bytes, "{version}: {}", line.name);
            if matches!(packet.kind, kind::PROPOSAL | kind::INFORM) {
                packet.txn().unwrap();
            }
        }
    }
}

/// Our learner in the place of Java's on one link.
fn learn(version: &str, record: &[Line], link: u64, id: i64, replica: &mut Memory) {
    let what = format!("{version}, link {link}");
    let conversation: Vec<&Line> = record.iter().filter(|line| line.link == link).collect();
    let settings = Arc::new(PeerSettings::new(Sid(id)));
    let mut learner = Learner::new(settings, Arc::new(view_of(record)), Sid(2), 0, false, Ticket(1), at(0));
    learner.connected(Ticket(1), LinkId(link), replica, at(0));
    let (mut ours, mut javas) = (Vec::new(), Vec::new());
    let collect = |learner: &mut Learner, ours: &mut Vec<u8>| {
        let mut all = Vec::new();
        learner.flush(&mut all);
        for effect in all {
            if let Effect::Send { bytes, .. } = effect {
                ours.extend(bytes);
            }
        }
    };
    for (index, line) in conversation.iter().enumerate() {
        if line.master {
            if line.name == "PING" {
                let answer = conversation[index..].iter().find(|line| !line.master && line.name == "PING");
                let touched = answer.map(|line| line.packet().touched().unwrap().collect());
                replica.touched = touched.unwrap_or_default();
            }
            learner.received(&line.bytes, replica, at(0));
            assert_eq!(learner.over(), None, "{what}");
            replica.sync_log();
            learner.durable(replica.durable(), replica, at(0));
        } else if line.name == "REQUEST" && line.packet().forwarded().unwrap().op == Op::Sync {
            // Ours names no session: the answer has none either.
            collect(&mut learner, &mut ours);
            learner.sync();
            collect(&mut learner, &mut Vec::new());
            continue;
        } else {
            match line.name.as_str() {
                "REQUEST" => learner.forward(&line.packet().forwarded().unwrap()),
                "REVALIDATE" => {
                    let (session, timeout_ms) = line.packet().asked_session().unwrap();
                    learner.revalidate(session, timeout_ms);
                }
                _ => {}
            }
            match LearnerInfo::decode(line.packet().data).ok().flatten().filter(|_| line.name.ends_with("ERINFO")) {
                // Ours says the same, and who made it.
                Some(info) => {
                    let marked = LearnerInfo { own: true, ..info }.encode();
                    packet::put(&mut javas, line.packet().kind, line.packet().zxid, Some(&marked));
                }
                None => javas.extend_from_slice(&line.bytes),
            }
        }
        collect(&mut learner, &mut ours);
    }
    // The record may end before Java's last answer.
    ours.truncate(javas.len().max(ours.len().min(javas.len())));
    assert_same(&ours, &javas, &what);
    assert!(learner.serving(), "{what}");
}

#[test]
fn javas_leaders_hear_from_our_learners_what_they_hear_from_javas() {
    for (version, text) in RECORDS {
        let record = record(text);
        let mut follower = Memory::new();
        learn(version, &record, 1, 1, &mut follower);
        assert_eq!(follower.final_to, Zxid::new(1, 5));
        follower.crash(0);
        learn(version, &record, 2, 1, &mut follower);
        assert_eq!(follower.final_to.epoch(), 2);
        let mut observer = Memory::new();
        observer.any_snapshot = true;
        learn(version, &record, 3, 3, &mut observer);
        assert_eq!(observer.base_zxid, Zxid::new(2, 0));
        observer.crash(0);
        if record.iter().any(|line| line.link == 4) {
            learn(version, &record, 4, 3, &mut observer);
        }
        if record.iter().any(|line| line.link == 5) {
            let mut emptied = Memory::new();
            emptied.any_snapshot = true;
            learn(version, &record, 5, 3, &mut emptied);
            assert!(emptied.log.len() >= 2);
        }
    }
}

/// Our leader in the place of Java's on these links.
fn lead(version: &str, record: &[Line], links: &[u64], replica: &mut Memory) {
    let settings = Arc::new(PeerSettings::new(Sid(2)));
    let mut leader = Leader::new(settings, Arc::new(view_of(record)), None, replica, at(0));
    let mut ours: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut javas: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let conversation: Vec<&Line> = record.iter().filter(|line| links.contains(&line.link)).collect();
    for (index, line) in conversation.iter().enumerate() {
        let link = LinkId(line.link);
        if !line.master {
            if line.name.ends_with("ERINFO") {
                leader.accepted(link, at(0));
            }
            leader.received(link, &line.bytes, replica, at(0));
            if line.name == "REQUEST" && line.packet().forwarded().unwrap().op == Op::Sync {
                let from = if line.link < 3 { Sid(1) } else { Sid(3) };
                leader.sync_reached(from, replica.last_logged());
            }
        } else if line.name == "PROPOSAL" && line.packet().zxid > replica.last_logged() {
            let packet = line.packet();
            let payload = Arc::from(packet.txn().unwrap());
            replica.append(packet.zxid, Arc::clone(&payload));
            leader.proposed(packet.zxid, &payload, at(0));
            replica.sync_log();
            leader.durable(packet.zxid, replica, at(0));
        }
        if line.master && line.name != "PING" && line.name != "snapshot" {
            javas.entry(line.link).or_default().extend_from_slice(&line.bytes);
        }
        assert_eq!((leader.over(), leader.failed()), (None, None), "{version}");
        let mut all = Vec::new();
        leader.flush(&mut all);
        for effect in all {
            if let Effect::Send { link, mut bytes } = effect {
                if let Some(end) = bytes.windows(END.len()).position(|window| window == END) {
                    // Behind SNAP: a snapshot of the replica's own.
                    let snap = packet::BARE_BYTES;
                    bytes.drain(snap..end + END.len());
                }
                ours.entry(link.0).or_default().extend(bytes);
                leader.drained(link, 0, at(0));
            }
        }
        let observers = (3..=5).contains(&line.link);
        if observers && !conversation[index + 1..].iter().any(|later| later.link == line.link) {
            leader.closed(link, replica, at(0));
        }
    }
    for &link in links {
        let what = format!("{version}, link {link}");
        let (Some(ours), Some(javas)) = (ours.get(&link), javas.get(&link)) else { panic!("{what}") };
        assert_same(ours, javas, &what);
    }
}

#[test]
fn javas_learners_hear_from_our_leader_what_they_hear_from_javas() {
    for (version, text) in RECORDS {
        let record = record(text);
        let mut replica = Memory::new();
        lead(version, &record, &[1], &mut replica);
        assert_eq!(replica.final_to, Zxid::new(1, 5));
        replica.crash(0);
        let links: Vec<u64> = (2..=5).filter(|link| record.iter().any(|line| line.link == *link)).collect();
        lead(version, &record, &links, &mut replica);
    }
}
