//! What real members of Java's said on the quorum port goes through the habits as it is; what ours say comes out as theirs.

use super::*;
use crate::sniff::{Conversation, Said, Speaker};

const RECORDS: [(&str, &str); 2] = [
    ("3.8", include_str!("../../../../server/quorum/tests/java/quorum-port-3.8.txt")),
    ("3.9.5", include_str!("../../../../server/quorum/tests/java/quorum-port-3.9.5.txt")),
];

/// Link, whether the leader speaks, name, bytes.
type Line = (u64, bool, &'static str, Vec<u8>);

fn record(text: &'static str) -> Vec<Line> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let digits = |at: usize| u8::from_str_radix(&words[3][at..at + 2], 16).expect("two digits");
        let bytes = (0..words[3].len()).step_by(2).map(digits).collect();
        (words[0].parse().expect("a link"), words[1] == "M", words[2], bytes)
    });
    lines.collect()
}

/// A member where everything that was said is final at once, and nothing happens besides.
struct Still {
    leads: bool,
    committed: Zxid,
}

impl Inside for Still {
    fn leads(&self) -> bool {
        self.leads
    }

    fn serves(&self) -> bool {
        self.leads
    }

    fn committed(&self) -> Zxid {
        self.committed
    }

    fn cuts_below_an_epoch(&mut self, peer: Zxid) -> bool {
        peer == Zxid::new(1, 99)
    }

    fn snapshot(&mut self) -> (Zxid, Vec<u8>) {
        (Zxid::ZERO, Vec::new())
    }
}

const END: End = End(2);

/// One side of a link goes through the habits; what comes out of them.
fn through(lines: &[&Line], leads: bool, seed: u64) -> Vec<u8> {
    let mut still = Still { leads, committed: Zxid::ZERO };
    let mut habits = Habits::new(Dice::new(seed, 0));
    habits.elder = false;
    if leads {
        habits.accepted(END)
    } else {
        habits.connected(END)
    }
    let (mut all, mut now) = (Vec::new(), 0);
    for (_, master, name, bytes) in lines {
        if *master == leads {
            // Ours say what they are.
            let bytes = match LearnerInfo::decode(Packet::take(bytes, DATA_MAX).unwrap().and_then(|(p, _)| p.data)) {
                Ok(Some(info)) if *name == "FOLLOWERINFO" => {
                    let mut marked = Vec::new();
                    let info = LearnerInfo { own: true, ..info };
                    packet::put(&mut marked, kind::FOLLOWERINFO, Zxid::ZERO, Some(&info.encode()));
                    marked[4..12].copy_from_slice(&bytes[4..12]);
                    marked
                }
                _ => bytes.clone(),
            };
            all.extend(habits.says(END, bytes, &still, now));
        } else {
            assert_eq!(habits.hears(END, bytes, &mut still), *bytes, "{name}");
        }
        // Long enough for what was kept back.
        for _ in 0..2 {
            now += 400 * MS;
            habits.look(&mut still, now).0.into_iter().for_each(|(_, bytes)| all.extend(bytes));
        }
    }
    all
}

/// Packets and snapshots, without pings that nobody has asked for, and without acknowledgements said twice.
fn told(bytes: &[u8]) -> Vec<Said> {
    let mut said = crate::sniff::Sniffer::quorum().read(bytes).expect("packets");
    said.retain(|said| !matches!(said, Said::Packet(kind::PING, _, None)));
    said.dedup_by(|a, b| a == b && matches!(a, Said::Packet(kind::ACK, zxid, _) if *zxid & 0xFFFF_FFFF != 0));
    said
}

#[test]
fn what_ours_say_leaves_as_java_says_it_in_the_same_order() {
    for (version, text) in RECORDS {
        let record = record(text);
        for link in 1..=5 {
            let lines: Vec<&Line> = record.iter().filter(|line| line.0 == link).collect();
            for leads in [true, false] {
                let javas: Vec<u8> =
                    lines.iter().filter(|line| line.1 == leads).flat_map(|line| line.3.clone()).collect();
                for seed in 0..8 {
                    let what = format!("{version}, link {link}, leader {leads}, seed {seed}");
                    assert_eq!(told(&through(&lines, leads, seed)), told(&javas), "{what}");
                }
            }
        }
    }
}

#[test]
fn the_judge_takes_what_java_says() {
    for (version, text) in RECORDS {
        for link in 1..=5 {
            let mut talk = Conversation::default();
            let mut epoch = 0;
            for (_, master, name, bytes) in record(text).iter().filter(|line| line.0 == link) {
                if *name == "LEADERINFO" {
                    epoch = i64::from(Packet::take(bytes, DATA_MAX).unwrap().unwrap().0.zxid.epoch());
                }
                let speaker = Speaker { durable: i64::MAX, epochs: (epoch, epoch), java: true, to_java: true };
                let said = talk.hear(*master, bytes, &speaker);
                assert!(said.is_ok(), "{version}, link {link}: {name}: {said:?}");
            }
        }
    }
}

fn put(kind: i32, zxid: Zxid, data: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet::put(&mut bytes, kind, zxid, data);
    bytes
}

fn kinds(bytes: &[u8]) -> Vec<i32> {
    let said = crate::sniff::Sniffer::quorum().read(bytes).expect("packets");
    said.iter().map(|said| if let Said::Packet(kind, ..) = said { *kind } else { 0 }).collect()
}

#[test]
fn a_commit_is_said_at_once_and_not_again() {
    let mut still = Still { leads: true, committed: Zxid::ZERO };
    let mut habits = Habits::new(Dice::new(1, 0));
    habits.accepted(END);
    let zxid = Zxid::new(1, 1);
    let begun = [put(kind::DIFF, Zxid::ZERO, None), put(kind::PROPOSAL, zxid, Some(&[0; 40]))].concat();
    habits.says(END, [begun, put(kind::NEWLEADER, Zxid::new(1, 0), None)].concat(), &still, 0);
    assert_eq!(habits.look(&mut still, 1).0, []);
    still.committed = zxid;
    assert_eq!(habits.look(&mut still, 2).0, [(END, put(kind::COMMIT, zxid, None))]);
    let up = [put(kind::UPTODATE, Zxid(-1), None), put(kind::COMMIT, zxid, None), put(kind::PING, zxid, None)].concat();
    assert_eq!(kinds(&habits.says(END, up, &still, 3)), [kind::UPTODATE, kind::PING]);
}

#[test]
fn a_learner_whose_history_would_be_cut_below_another_epoch_gets_a_snapshot() {
    let mut still = Still { leads: true, committed: Zxid::ZERO };
    let mut habits = Habits::new(Dice::new(1, 0));
    habits.accepted(END);
    let promise = |zxid| put(kind::ACKEPOCH, zxid, Some(&[0; 4]));
    assert_eq!(habits.hears(END, &promise(Zxid::new(1, 99)), &mut still), promise(Zxid::ZERO));
    assert_eq!(habits.take_done().snaps, 1);
}

#[test]
fn who_has_won_is_silent_for_a_while_and_says_everything_then() {
    let mut still = Still { leads: false, committed: Zxid::ZERO };
    let mut habits = Habits::new(Dice::new(1, 0));
    assert_eq!(habits.says(END, vec![1], &still, 0), [1]);
    still.leads = true;
    assert_eq!(habits.says(END, vec![2], &still, 1), []);
    let (said, next) = habits.look(&mut still, 1);
    assert_eq!(said, []);
    assert_eq!(habits.look(&mut still, next.unwrap()), (vec![(END, vec![2])], None));
    assert_eq!(habits.says(END, vec![3], &still, next.unwrap()), [3]);
}
