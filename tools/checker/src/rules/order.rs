//! The order of zxids: total, in real time, and in each session.

use std::collections::BTreeMap;

use super::Tell;
use crate::history::{History, Life, Nanos, Record, What, Zxid};
use crate::timeline::Timeline;

/// Judges the order.
pub fn judge(history: &History, timeline: &Timeline, tell: &mut Tell<'_>) {
    unique(history, tell);
    real_time(history, timeline, tell);
    sessions(history, tell);
}

fn unique(history: &History, tell: &mut Tell<'_>) {
    let mut owners: BTreeMap<Zxid, usize> = BTreeMap::new();
    for (line, op) in history.ops().filter(|(_, op)| op.op.writes() && op.succeeded()) {
        if let Some(other) = owners.insert(op.zxid, line) {
            tell("unique-zxid", line, format!("{:#x} is also the zxid of line {other}", op.zxid));
        }
    }
}

/// The largest zxid answered before a moment, with its line.
struct Answered {
    sorted: Vec<(Nanos, Zxid, usize)>,
}

impl Answered {
    fn of(history: &History) -> Answered {
        let done = history.ops().filter(|(_, op)| op.op.writes() && op.succeeded());
        let mut sorted: Vec<_> = done.filter_map(|(line, op)| Some((op.returned?, op.zxid, line))).collect();
        sorted.sort_unstable();
        let mut most = (0, 0);
        for (_, zxid, line) in &mut sorted {
            most = most.max((*zxid, *line));
            (*zxid, *line) = most;
        }
        Answered { sorted }
    }

    fn before(&self, moment: Nanos) -> Option<(Zxid, usize)> {
        let end = self.sorted.partition_point(|(returned, ..)| *returned < moment);
        self.sorted[..end].last().map(|(_, zxid, line)| (*zxid, *line))
    }
}

fn real_time(history: &History, timeline: &Timeline, tell: &mut Tell<'_>) {
    let answered = Answered::of(history);
    let acknowledged = history.ops().filter(|(_, op)| op.op.writes() && op.succeeded());
    let mut writes: Vec<_> = acknowledged.map(|(line, op)| (line, op.invoke, op.zxid)).collect();
    // Those that were found out are judged too, as far as it is sure who asked.
    let seen = timeline.paths.values().flatten().filter_map(|effect| Some((effect.line, effect.invoke?, effect.zxid)));
    writes.extend(seen);
    writes.sort_unstable();
    writes.dedup();
    for (line, invoke, zxid) in writes {
        if let Some((larger, other)) = answered.before(invoke).filter(|(before, _)| *before >= zxid) {
            let text = format!("{zxid:#x} was asked for after line {other} had been answered with {larger:#x}");
            tell("real-time", line, text);
        }
    }
    for (line, op) in history.ops().filter(|(_, op)| op.op == What::Sync && op.succeeded()) {
        if let Some((larger, other)) = answered.before(op.invoke).filter(|(before, _)| *before > op.zxid) {
            let text = format!("a sync ended at {:#x}, but line {other} had been answered with {larger:#x}", op.zxid);
            tell("sync-is-current", line, text);
        }
    }
}

fn sessions(history: &History, tell: &mut Tell<'_>) {
    // Client -> session, largest zxid of a reply, largest zxid of a write.
    let mut clients: BTreeMap<&str, (&str, Zxid, Zxid)> = BTreeMap::new();
    for (line, record) in &history.records {
        let (client, session, zxid, write) = match record {
            Record::Op(op) if op.returned.is_some() => {
                (&op.client, &op.session, op.zxid, op.op.writes() && op.succeeded())
            }
            Record::Session(end) if end.event == Life::Closed => (&end.client, &end.session, end.zxid, true),
            _ => continue,
        };
        let seen = clients.entry(client).or_insert((session, 0, 0));
        if seen.0 != session {
            *seen = (session, 0, 0);
        }
        if zxid < seen.1 {
            tell("session-order", *line, format!("a reply with {zxid:#x} after one with {:#x}", seen.1));
        } else if write && zxid <= seen.2 {
            tell("session-order", *line, format!("a write with {zxid:#x} after one with {:#x}", seen.2));
        }
        seen.1 = seen.1.max(zxid);
        if write {
            seen.2 = seen.2.max(zxid);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::made_up::*;

    #[test]
    fn zxids_that_rise_with_time_pass() {
        let lines =
            [create("a", 10, "/w/1", 1, "x"), set("b", 20, "/w/1", 2, "y", (1, 1)), op("a", 30, "sync", "/w", 2, "")];
        assert_eq!(broken_by(&lines), [] as [&str; 0]);
        // Concurrent ones may come in any order.
        let lines = [create("a", 10, "/w/1", 2, "x"), create("b", 10, "/w/2", 1, "y")];
        assert_eq!(broken_by(&lines), [] as [&str; 0]);
    }

    #[test]
    fn one_zxid_for_two_writes_is_found() {
        assert_eq!(broken_by(&[create("a", 10, "/w/1", 1, "x"), create("b", 10, "/w/2", 1, "y")]), ["unique-zxid"]);
    }

    #[test]
    fn smaller_zxid_of_a_later_write_is_found() {
        assert_eq!(broken_by(&[create("a", 10, "/w/1", 5, "x"), create("b", 20, "/w/2", 4, "y")]), ["real-time"]);
    }

    #[test]
    fn smaller_zxid_of_a_later_write_that_was_only_seen_is_found() {
        let lines = [
            create("a", 10, "/w/1", 5, "x"),
            unanswered("b", 20, "create", "/w/2", r#","data":"y""#),
            get("c", 30, "/w/2", 6, "y", (4, 4, 0)),
        ];
        assert_eq!(broken_by(&lines), ["real-time"]);
    }

    #[test]
    fn replies_that_fall_are_found() {
        assert_eq!(broken_by(&[none("a", 10, "/w/1", 5), none("a", 20, "/w/1", 4)]), ["session-order"]);
    }

    #[test]
    fn writes_of_one_burst_in_another_order_are_found() {
        // Sent in one write, so that real time says nothing.
        let lines = [create("a", 10, "/w/1", 2, "x"), create("a", 10, "/w/2", 1, "y")];
        assert_eq!(broken_by(&lines), ["session-order"]);
    }

    #[test]
    fn sync_that_stays_behind_is_found() {
        assert_eq!(
            broken_by(&[create("a", 10, "/w/1", 5, "x"), op("b", 20, "sync", "/w", 4, "")]),
            ["sync-is-current"]
        );
    }
}
