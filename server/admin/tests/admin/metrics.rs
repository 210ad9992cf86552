//! `mntr` beside Java's: fewer names, but each in Java's place and of Java's kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use admin::{Facts, Role, Totals, answer};
use member::ShardStats;

use crate::golden::{KINDS, golden};
use crate::scene::{facts, facts_from_srvr};
use crate::word;

fn mntr(facts: &Facts) -> Vec<(String, String)> {
    lines(&answer(word("mntr"), facts))
}

pub(crate) fn lines(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().map(|line| line.split_once('\t').unwrap_or_else(|| panic!("no tab in {line:?}")));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(crate) fn is_double(value: &str) -> bool {
    value.contains('.')
}

#[test]
fn every_name_is_javas_in_javas_order_and_of_javas_kind() {
    let javas = lines(&golden("java395", "mntr"));
    let mut rest = javas.iter();
    for (name, value) in mntr(&facts()) {
        let Some((_, java)) = rest.find(|(java, _)| *java == name) else {
            panic!("{name} is not Java's, or out of order")
        };
        if name != "zk_version" && name != "zk_server_state" {
            assert!(value.parse::<f64>().is_ok(), "{name} is a number: {value}");
            assert_eq!(is_double(&value), is_double(java), "{name}: {value} and {java}");
        }
    }
    let older: BTreeMap<String, String> = lines(&golden("java38", "mntr")).into_iter().collect();
    for (name, _) in mntr(&facts()) {
        assert!(older.contains_key(&name), "{name} is known to dashboards made for 3.8");
    }
}

/// Those of metrics.md §5 that a standalone server has in Java as well.
#[test]
fn what_most_dashboards_show_is_there() {
    let ours: BTreeMap<String, String> = mntr(&facts()).into_iter().collect();
    for name in [
        "version",
        "server_state",
        "avg_latency",
        "max_latency",
        "min_latency",
        "packets_received",
        "packets_sent",
        "num_alive_connections",
        "outstanding_requests",
        "znode_count",
        "watch_count",
        "ephemerals_count",
        "approximate_data_size",
        "open_file_descriptor_count",
        "max_file_descriptor_count",
        "global_sessions",
        "local_sessions",
        "uptime",
    ] {
        assert!(ours.contains_key(&format!("zk_{name}")), "{name}");
    }
}

#[test]
fn numbers_are_those_of_srvr() {
    let facts = facts_from_srvr(&golden("java395", "srvr"));
    assert_eq!(facts.role, Role::Standalone);
    let ours: BTreeMap<String, String> = mntr(&facts).into_iter().collect();
    assert_eq!(ours["zk_server_state"], "standalone");
    assert_eq!(ours["zk_packets_received"], facts.totals.received.to_string());
    assert_eq!(ours["zk_znode_count"], facts.levels.znodes.to_string());
    assert_eq!(ours["zk_uptime"], "993");
    assert!(golden("java395", "srvr").contains(&format!("/{}/", ours["zk_avg_latency"])));
}

#[test]
fn what_is_unknown_is_minus_one() {
    let ours: BTreeMap<String, String> = mntr(&facts()).into_iter().collect();
    for name in ["open_file_descriptor_count", "last_client_response_size", "min_client_response_size"] {
        assert_eq!(ours[&format!("zk_{name}")], "-1");
    }
}

#[test]
fn a_log_that_is_not_synced_has_no_time_of_syncs() {
    let mut facts = facts();
    assert!(answer(word("mntr"), &facts).contains("fsynctime"));
    let server = std::sync::Arc::make_mut(&mut facts.server);
    server.force_sync = false;
    assert!(!answer(word("mntr"), &facts).contains("fsynctime"));
}

#[test]
fn log_times_are_milliseconds() {
    let mut facts = facts();
    facts.levels.log_writes = 4;
    facts.levels.log_write_us = 5999;
    facts.levels.log_write_us_max = 3200;
    let ours: BTreeMap<String, String> = mntr(&facts).into_iter().collect();
    let shown = ["avg", "max", "cnt", "sum"].map(|part| ours[&format!("zk_{part}_fsynctime")].as_str());
    assert_eq!(shown, ["1.25", "3", "4", "5"]);
}

/// metrics.md had it that `srst` leaves the counters of `mntr` alone; 3.8 and 3.9.5 reset them.
#[test]
fn srst_resets_what_java_resets() {
    use std::sync::atomic::Ordering::Relaxed;
    let stats = Arc::new(ShardStats::new());
    let counters = [&stats.received, &stats.sent, &stats.received_bytes, &stats.latency_count, &stats.latency_sum];
    counters
        .into_iter()
        .chain([&stats.connection_requests, &stats.sessionless_expired])
        .for_each(|c| c.store(9, Relaxed));
    let extremes =
        [&stats.latency_min, &stats.latency_max, &stats.response_last, &stats.response_min, &stats.response_max];
    extremes.into_iter().for_each(|extreme| extreme.store(9, Relaxed));
    stats.reset();
    let ours = mntr(&Facts { totals: Totals::of(&[stats]), ..facts() });
    for kind in KINDS {
        let javas: BTreeMap<String, String> = lines(&golden(kind, "mntr-after-srst")).into_iter().collect();
        for (name, value) in &ours {
            // The question itself, and one before it, have been counted again; the rest is no count, or not reset here.
            let counted_anew =
                ["packets_received", "packets_sent", "bytes_received_count", "last_client_response_size"];
            let stays = [
                "version",
                "uptime",
                "zk_znode_count",
                "global_sessions",
                "num_alive",
                "watch_count",
                "data_size",
                "file_desc",
                "ephemerals",
            ];
            if !counted_anew.iter().chain(&stays).any(|part| name.contains(part)) {
                assert_eq!(*value, javas[name], "{kind} {name}");
            }
        }
    }
}
