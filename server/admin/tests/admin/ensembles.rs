//! Members of an ensemble: what each role adds to the words, as Java's members answered (`capture_ensemble.py`).

use std::collections::BTreeMap;
use std::sync::Arc;

use admin::{EnsembleFacts, Facts, Role, answer};
use member::report::{Clients, QuorumReport};
use proto::{SessionId, Sid, Zxid};
use quorum::peer::{LearnerReport, PeerReport, PeerState, Phase, Zab};
use quorum::view::QuorumView;

use crate::golden::{KINDS, golden};
use crate::metrics::{is_double, lines};
use crate::scene::{facts_from_connections, facts_from_dump, facts_from_properties, facts_from_srvr};
use crate::{check, without_empty_buckets, word};

const ROLES: [(&str, Phase); 3] =
    [("leader", Phase::Leading), ("follower", Phase::Following), ("observer", Phase::Observing)];

/// A member that serves in this role.
fn quorum(phase: Phase) -> QuorumReport {
    let text = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\nserver.4=d:2888:3888:observer\n";
    let state = PeerState { phase, zab: Zab::Broadcast, serving: true, leader: Some(Sid(3)), epoch: 1 };
    let unset =
        PeerReport { last_proposal_size: -1, min_proposal_size: -1, max_proposal_size: -1, ..PeerReport::default() };
    let master = (phase != Phase::Leading).then_some(Sid(3));
    let figures = PeerReport { quorum_size: 3, master, ..unset };
    QuorumReport { state, clients: Clients::All, figures, view: QuorumView::parse(text).unwrap() }
}

fn member(facts: Facts, quorum: QuorumReport) -> Facts {
    let Facts { server, now_mono, now_wall, .. } = facts.clone();
    let Facts { role, quorum, .. } = Facts::of_member(server, quorum, now_mono, now_wall);
    Facts { role, quorum, ..facts }
}

/// With what `srvr` or `mntr` of a leader says about its proposals.
fn with_proposals(phase: Phase, sizes: [i64; 3]) -> QuorumReport {
    let [last_proposal_size, min_proposal_size, max_proposal_size] = sizes;
    let quorum = quorum(phase);
    QuorumReport {
        figures: PeerReport { last_proposal_size, min_proposal_size, max_proposal_size, ..quorum.figures.clone() },
        ..quorum
    }
}

#[test]
fn srvr_and_stat_name_the_role_and_a_leaders_proposals() {
    for kind in KINDS {
        for (role, phase) in ROLES {
            for file in ["srvr", "stat"] {
                let text = golden(kind, &format!("{role}-{file}"));
                let sizes = text.lines().find_map(|line| line.strip_prefix("Proposal sizes last/min/max: "));
                let sizes: Vec<i64> =
                    sizes.map_or(vec![7, 7, 7], |sizes| sizes.split('/').map(|size| size.parse().unwrap()).collect());
                let mut facts = member(facts_from_srvr(&text), with_proposals(phase, sizes.try_into().unwrap()));
                if file == "stat" {
                    facts.connections = facts_from_connections(&text).connections;
                }
                check(kind, &format!("{role}-{file}"), file, &facts);
            }
        }
        for file in ["empty-leader-srvr", "leader-srvr-after-srst"] {
            check(kind, file, "srvr", &member(facts_from_srvr(&golden(kind, file)), quorum(Phase::Leading)));
        }
    }
}

#[test]
fn conf_ends_with_the_limits_the_ports_and_the_membership() {
    for kind in KINDS {
        for (role, phase) in ROLES {
            let file = format!("{role}-conf");
            let text = golden(kind, &file);
            let (settings, membership) = text.split_once("membership: \n").unwrap();
            let number = |key: &str| {
                let value = settings.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                value.unwrap().parse::<u32>().unwrap()
            };
            let view = QuorumView::parse(membership).unwrap();
            let mut facts = member(facts_from_properties(settings), QuorumReport { view, ..quorum(phase) });
            let server = Arc::make_mut(&mut facts.server);
            server.ensemble = Some(EnsembleFacts {
                id: Sid(number("serverId").into()),
                init_limit_ticks: number("initLimit"),
                sync_limit_ticks: number("syncLimit"),
            });
            check(kind, &file, "conf", &facts);
        }
    }
}

#[test]
fn several_addresses_show_all_their_ports() {
    let text = "server.1=a:1:2|b:3:4\nserver.2=c:5:6\nserver.3=d:7:8\n";
    let view = QuorumView::parse(text).unwrap();
    let mut facts = member(crate::facts(), QuorumReport { view, ..quorum(Phase::Leading) });
    Arc::make_mut(&mut facts.server).ensemble =
        Some(EnsembleFacts { id: Sid(1), init_limit_ticks: 10, sync_limit_ticks: 5 });
    let conf = answer(word("conf"), &facts);
    assert!(
        conf.contains(
            "\nelectionPort=2|4\nquorumPort=1|3\npeerType=0\nmembership: \nserver.1=a:1:2|b:3:4:participant\n"
        ),
        "{conf}"
    );
}

#[test]
fn dump_of_a_learner_lists_the_sessions_that_it_knows() {
    for kind in KINDS {
        for (role, phase) in ROLES {
            for file in [format!("{role}-dump"), format!("empty-{role}-dump")] {
                let javas = without_empty_buckets(&golden(kind, &file));
                let mut facts = member(facts_from_dump(&javas), quorum(phase));
                if phase != Phase::Leading {
                    // The lines "0x…<tab>30000ms" are read by hand.
                    let known =
                        javas.lines().filter_map(|line| line.split_once('\t')).filter(|(id, _)| id.starts_with("0x"));
                    let hex = |id: &str| i64::from_str_radix(id.trim_start_matches("0x"), 16).unwrap();
                    let known =
                        known.map(|(id, ms)| (proto::SessionId(hex(id)), ms.trim_end_matches("ms").parse().unwrap()));
                    // In whatever order they come.
                    facts.writes.buckets = vec![(0, known.collect::<Vec<_>>().into_iter().rev().collect())];
                }
                assert_eq!(answer(word("dump"), &facts), javas, "{kind}/{file}");
            }
        }
    }
}

#[test]
fn every_role_takes_writes_and_is_well() {
    for kind in KINDS {
        for (role, phase) in ROLES {
            let facts = member(crate::facts(), quorum(phase));
            check(kind, &format!("{role}-isro"), "isro", &facts);
            check(kind, &format!("{role}-ruok"), "ruok", &facts);
        }
    }
}

#[test]
fn a_member_without_a_quorum_serves_nobody() {
    let states = [
        PeerState { phase: Phase::Looking, zab: Zab::Election, serving: false, leader: None, epoch: 1 },
        PeerState { phase: Phase::Following, zab: Zab::Discovery, serving: false, leader: Some(Sid(3)), epoch: 1 },
        PeerState { phase: Phase::Leading, zab: Zab::Synchronization, serving: false, leader: Some(Sid(1)), epoch: 2 },
        // With `leaderServes=no`, as 3.9.5 answers where three run.
        PeerState { phase: Phase::Leading, zab: Zab::Broadcast, serving: true, leader: Some(Sid(1)), epoch: 2 },
    ];
    for kind in KINDS {
        for state in states {
            let facts =
                member(crate::facts(), QuorumReport { state, clients: Clients::Nobody, ..quorum(Phase::Looking) });
            assert_eq!(facts.role, Role::NotServing);
            for name in ["srvr", "isro", "ruok", "mntr", "conf"] {
                check(kind, &format!("lost-{name}"), name, &facts);
            }
        }
    }
}

/// As 3.9.5 answers where only one of three runs, with `-Dreadonlymode.enabled=true`.
#[test]
fn a_member_that_serves_readers_says_that_it_is_read_only() {
    let state = PeerState { phase: Phase::Looking, zab: Zab::Election, serving: false, leader: None, epoch: 1 };
    let mut facts = member(crate::facts(), QuorumReport { state, clients: Clients::Readers, ..quorum(Phase::Looking) });
    assert_eq!(facts.role, Role::ReadOnly);
    assert_eq!(answer(word("isro"), &facts), "ro");
    for (name, next) in [("srvr", "Latency min/avg/max: "), ("stat", "Clients:\n")] {
        let text = answer(word(name), &facts);
        let beginning = format!("\nREAD-ONLY mode; serving only read-only clients\n{next}");
        assert!(text.contains(&beginning), "{text}");
        assert!(text.contains("\nMode: read-only\n"), "{text}");
    }
    let text = answer(word("mntr"), &facts);
    assert!(text.contains("zk_server_state\tread-only\n"), "{text}");
    assert!(!text.contains("peer_state"), "{text}");
    facts.writes.local = Some(vec![(facts.now_mono.0, vec![(SessionId(0x11), 4_000)])]);
    facts.writes.buckets = vec![(0, vec![(SessionId(0x22), 30_000)])];
    let text = answer(word("dump"), &facts);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["SessionTracker dump:", "Local Session Sets (1)/(1):"]);
    assert_eq!(lines[3..6], ["\t0x11", "Global Sessions(1):", "0x22\t30000ms"]);
}

/// As 3.9.5 answers with `localSessionsEnabled=true`.
#[test]
fn dump_shows_local_sessions_before_those_of_the_ensemble() {
    for (phase, ensembles) in [
        (Phase::Leading, &["Global Session Sets (1)/(1):", "1 expire at ", "\t0x22"] as &[&str]),
        (Phase::Following, &["Global Sessions(1):", "0x22\t30000ms"]),
        (Phase::Observing, &["Global Sessions(1):", "0x22\t30000ms"]),
    ] {
        let mut facts = member(crate::facts(), quorum(phase));
        facts.writes.local = Some(vec![(facts.now_mono.0, vec![(SessionId(0x11), 4_000)])]);
        facts.writes.buckets = vec![(facts.now_mono.0, vec![(SessionId(0x22), 30_000)])];
        facts.levels.local_sessions = 1;
        let text = answer(word("dump"), &facts);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "Local Session Sets (1)/(1):");
        assert_eq!(lines[3], "\t0x11");
        for (line, beginning) in lines[4..].iter().zip(ensembles) {
            assert!(line.starts_with(beginning), "{phase:?}: {text}");
        }
        assert!(answer(word("mntr"), &facts).contains("\nzk_local_sessions\t1\n"));
        facts.writes.local = None;
        let without = answer(word("dump"), &facts);
        assert!(!without.contains("Local") && !without.contains("Global Session Sets"), "{without}");
    }
}

/// A leader with two followers and an observer, as the captured one.
fn leader() -> Facts {
    let learner = |sid, voter| LearnerReport {
        sid: Sid(sid),
        voter,
        observer: !voter,
        synced: true,
        acked: Zxid(0),
        unsent_bytes: 0,
    };
    let QuorumReport { state, clients, figures, view } = with_proposals(Phase::Leading, [79, 48, 104]);
    let figures = PeerReport {
        learners: vec![learner(1, true), learner(2, true), learner(4, false)],
        followers: 2,
        synced_followers: 2,
        observers: 1,
        synced_observers: 1,
        proposals: 25,
        commits: 25,
        leader_uptime_ms: 2004,
        diff_syncs: 3,
        ..figures
    };
    member(crate::facts(), QuorumReport { state, clients, figures, view })
}

#[test]
fn mntr_of_each_role_has_javas_names_in_javas_order() {
    for (role, phase) in ROLES {
        let facts = if role == "leader" { leader() } else { member(crate::facts(), quorum(phase)) };
        let javas = lines(&golden("java395", &format!("{role}-mntr")));
        let mut rest = javas.iter();
        let ours = lines(&answer(word("mntr"), &facts));
        for (name, value) in &ours {
            let Some((_, java)) = rest.find(|(java, _)| java == name) else {
                panic!("{role}: {name} is not Java's, or out of order")
            };
            if !matches!(name.as_str(), "zk_version" | "zk_server_state" | "zk_peer_state") {
                assert!(value.parse::<f64>().is_ok(), "{role}: {name} is a number: {value}");
                assert_eq!(is_double(value), is_double(java), "{role} {name}: {value} and {java}");
            }
        }
        // What says something about the ensemble is there, with Java's value.
        let javas: BTreeMap<String, String> = javas.into_iter().collect();
        let ours: BTreeMap<String, String> = ours.into_iter().collect();
        for name in [
            "server_state",
            "peer_state",
            "observer_master_id",
            "quorum_size",
            "synced_followers",
            "synced_non_voting_followers",
            "synced_observers",
            "learners",
            "pending_syncs",
        ] {
            let name = format!("zk_{name}");
            assert_eq!(ours.get(&name), javas.get(&name), "{role} {name}");
        }
        let leads = ["leader_uptime", "last_proposal_size", "min_proposal_size", "max_proposal_size"];
        for name in leads.map(|name| format!("zk_{name}")) {
            assert_eq!(ours.contains_key(&name), javas.contains_key(&name), "{role} {name}");
        }
    }
}

#[test]
fn mntr_of_a_follower_counts_its_observers_and_that_of_an_observer_names_its_master() {
    let report = quorum(Phase::Following);
    let figures = PeerReport { serves_observers: true, observers: 2, synced_observers: 1, ..report.figures.clone() };
    let facts = member(crate::facts(), QuorumReport { figures, ..report.clone() });
    let text = answer(word("mntr"), &facts);
    assert!(text.contains("\nzk_synced_observers\t1\n") && !text.contains("zk_learners"), "{text}");
    let without = answer(word("mntr"), &member(crate::facts(), report));
    assert!(!without.contains("zk_synced_observers"), "{without}");
    let report = quorum(Phase::Observing);
    let figures = PeerReport { master: Some(Sid(1)), ..report.figures.clone() };
    let text = answer(word("mntr"), &member(crate::facts(), QuorumReport { figures, ..report }));
    assert!(text.contains("\nzk_observer_master_id\t1\n"), "{text}");
}

/// Dashboards made for 3.8 find the same names.
#[test]
fn mntr_of_each_role_has_no_name_that_3_8_does_not_know() {
    for (role, phase) in ROLES {
        let facts = if role == "leader" { leader() } else { member(crate::facts(), quorum(phase)) };
        let older: BTreeMap<String, String> = lines(&golden("java38", &format!("{role}-mntr"))).into_iter().collect();
        for (name, _) in lines(&answer(word("mntr"), &facts)) {
            assert!(older.contains_key(&name), "{role}: {name}");
        }
    }
}
