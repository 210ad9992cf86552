//! How a leader brings a learner to its own history: what is missing, what is too much, or everything
//! (peer-protocol.md §7).
//!
//! ```text
//!                 what the leader takes for final      what it has proposed
//!   leader   ───●───●───●───●───●───●───●───●──┊───●───●───●
//!               a                              bound
//!   learner at a      DIFF, then what lies between a and the bound
//!   learner beyond    TRUNC to the last that both have
//!   neither           SNAP
//! ```
//!
//! What always holds: after the plan a learner has exactly the leader's history up to the bound. A plan never has holes: where
//! the log files and the memory do not join, the learner gets a snapshot. Kept out: packets, pace, and who may have how many.

use proto::Zxid;

use crate::packet::follows;
use crate::replica::{Payload, Replica};

/// What the configuration says about it.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Always a snapshot.
    pub force_snapshot: bool,
    /// Of the newest snapshot file, the part that the log read for one learner may reach. Below 0: the log is not read.
    pub size_factor: f64,
    /// Where an oracle lets members lead alone: the end of the history that this leader began with. `None`: every epoch began with a quorum.
    pub alone_from: Option<Zxid>,
}

/// What to send.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The learner's history is the beginning of this one.
    Diff {
        /// The end of the history that it will have.
        to: Zxid,
        /// What it lacks, in order.
        txns: Vec<(Zxid, Payload)>,
    },
    /// The learner has to go back first.
    Trunc {
        /// The last transaction that it keeps.
        to: Zxid,
        /// What it lacks then, in order.
        txns: Vec<(Zxid, Payload)>,
    },
    /// Everything, from a snapshot; and behind that what is in memory.
    Snap,
}

/// Decides for a learner whose history ends at `peer`. It shall have everything up to `bound`: all of this history if no quorum
/// has taken it over yet, otherwise what is committed.
pub fn plan(replica: &mut impl Replica, peer: Zxid, bound: Zxid, rules: &Rules) -> Plan {
    if rules.force_snapshot {
        return Plan::Snap;
    }
    if peer == bound {
        return Plan::Diff { to: bound, txns: Vec::new() };
    }
    // An epoch's zxid with counter 0 stands for the history that its leader began with, which every later leader has too, unless it was
    // alone. What this leader has behind that of an epoch that it does not know, it may have before that epoch.
    let begins_epoch = peer.counter() == 0 && rules.alone_from.is_none_or(|began| began == peer);
    if peer > bound {
        if begins_epoch {
            return Plan::Diff { to: bound, txns: Vec::new() };
        }
        return match last_final(replica, bound, rules) {
            Some(to) => Plan::Trunc { to, txns: Vec::new() },
            None => Plan::Snap,
        };
    }
    let Some(txns) = since(replica, peer, bound, rules) else { return Plan::Snap };
    let behind = txns.partition_point(|(zxid, _)| *zxid <= peer);
    let (known, missing) = txns.split_at(behind);
    let missing = missing.to_vec();
    let before = known.last().map(|(zxid, _)| *zxid);
    if before == Some(peer) || begins_epoch || missing.first().is_some_and(|(zxid, _)| *zxid == peer.next()) {
        return Plan::Diff { to: bound, txns: missing };
    }
    // The learner has something that this leader never saw. It can go back within an epoch, where it has all that the leader has.
    match before {
        Some(to) if to.epoch() == peer.epoch() => Plan::Trunc { to, txns: missing },
        _ => Plan::Snap,
    }
}

/// The last transaction up to the bound, if it can be named.
fn last_final(replica: &mut impl Replica, bound: Zxid, rules: &Rules) -> Option<Zxid> {
    if bound.counter() != 0 {
        return Some(bound);
    }
    let txns = &replica.history().txns;
    let behind = txns.partition_point(|(zxid, _)| *zxid <= bound);
    if behind > 0 {
        return Some(txns[behind - 1].0);
    }
    let before = txns.front().map_or(Zxid::MAX, |(zxid, _)| *zxid);
    let bytes_max = log_bytes_max(replica, rules)?;
    let read = replica.read_log(bound, before, bytes_max)?;
    read.last().map(|(zxid, _)| *zxid).filter(|zxid| *zxid <= bound)
}

/// The history from the last transaction not newer than `peer` up to the bound; from the one behind it if that is `peer`'s own
/// successor. `None` if it does not reach back so far, or has a hole.
fn since(replica: &mut impl Replica, peer: Zxid, bound: Zxid, rules: &Rules) -> Option<Vec<(Zxid, Payload)>> {
    let history = &replica.history().txns;
    let end = history.partition_point(|(zxid, _)| *zxid <= bound);
    let first = history.front().map(|(zxid, _)| *zxid);
    let mut txns = Vec::new();
    if first.is_some_and(|first| first <= peer || (first == peer.next() && peer.counter() != 0)) {
        let start = history.partition_point(|(zxid, _)| *zxid <= peer).saturating_sub(1);
        txns.extend(history.range(start..end).cloned());
    } else {
        let recent: Vec<_> = history.range(..end).cloned().collect();
        let bytes_max = log_bytes_max(replica, rules)?;
        txns = replica.read_log(peer, first.unwrap_or(Zxid::MAX), bytes_max)?;
        if txns.first().is_none_or(|(zxid, _)| *zxid > peer) {
            return None;
        }
        txns.extend(recent);
        txns.truncate(txns.partition_point(|(zxid, _)| *zxid <= bound));
    }
    txns.windows(2).all(|pair| follows(pair[0].0, pair[1].0)).then_some(txns)
}

/// How much of the log may be read for one learner.
fn log_bytes_max(replica: &impl Replica, rules: &Rules) -> Option<u64> {
    if rules.size_factor < 0.0 {
        return None;
    }
    Some(replica.snapshot_bytes().map_or(u64::MAX, |bytes| (bytes as f64 * rules.size_factor) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    const RULES: Rules = Rules { force_snapshot: false, size_factor: 0.33, alone_from: None };

    /// 1.1 to 1.5, then 3.1 to 3.4.
    fn history() -> Vec<Zxid> {
        let zxid = Zxid::new;
        (1..=5).map(|counter| zxid(1, counter)).chain((1..=4).map(|counter| zxid(3, counter))).collect()
    }

    #[track_caller]
    fn planned(replica: &mut Memory, peer: Zxid, bound: Zxid) -> String {
        let zxids = |txns: Vec<(Zxid, Payload)>| {
            let ends = txns.first().zip(txns.last());
            ends.map_or("nothing".to_owned(), |(first, last)| format!("{} from {} to {}", txns.len(), first.0, last.0))
        };
        match plan(replica, peer, bound, &RULES) {
            Plan::Diff { to, txns } => format!("DIFF {to}, {}", zxids(txns)),
            Plan::Trunc { to, txns } => format!("TRUNC {to}, {}", zxids(txns)),
            Plan::Snap => "SNAP".to_owned(),
        }
    }

    #[test]
    fn each_learner_gets_what_it_lacks() {
        let zxid = Zxid::new;
        let mut replica = Memory::with(&history());
        let end = zxid(3, 4);
        for (peer, want) in [
            (end, "DIFF 0x300000004, nothing"),
            (zxid(3, 2), "DIFF 0x300000004, 2 from 0x300000003 to 0x300000004"),
            (zxid(1, 5), "DIFF 0x300000004, 4 from 0x300000001 to 0x300000004"),
            (zxid(1, 1), "DIFF 0x300000004, 8 from 0x100000002 to 0x300000004"),
            // It led epoch 2 or 3, and proposed nothing.
            (zxid(2, 0), "DIFF 0x300000004, 4 from 0x300000001 to 0x300000004"),
            (zxid(3, 0), "DIFF 0x300000004, 4 from 0x300000001 to 0x300000004"),
            (zxid(4, 0), "DIFF 0x300000004, nothing"),
            // It has what was never committed.
            (zxid(3, 6), "TRUNC 0x300000004, nothing"),
            (zxid(4, 1), "TRUNC 0x300000004, nothing"),
            (zxid(1, 7), "TRUNC 0x100000005, 4 from 0x300000001 to 0x300000004"),
            (zxid(2, 3), "SNAP"),
            // It is empty: whether this is all that ever was, the log cannot say.
            (zxid(0, 0), "SNAP"),
        ] {
            assert_eq!(planned(&mut replica, peer, end), want, "at {peer}");
        }
        // While it serves, a leader sends what is committed, and cuts what is not.
        assert_eq!(planned(&mut replica, zxid(3, 4), zxid(3, 2)), "TRUNC 0x300000002, nothing");
        assert_eq!(
            planned(&mut replica, zxid(3, 1), zxid(3, 2)),
            "DIFF 0x300000002, 1 from 0x300000002 to 0x300000002"
        );
        assert_eq!(planned(&mut replica, zxid(3, 1), zxid(3, 0)), "TRUNC 0x100000005, nothing");
    }

    /// The storm of seed 231: it had led epoch 2 alone, from less than what this leader had by then.
    #[test]
    fn an_epoch_that_another_began_alone_says_nothing_about_what_it_has() {
        let zxid = Zxid::new;
        let mut replica = Memory::with(&history());
        let rules = Rules { alone_from: Some(zxid(3, 0)), ..RULES };
        let kind = |plan: Plan| match plan {
            Plan::Diff { .. } => "DIFF",
            Plan::Trunc { .. } => "TRUNC",
            Plan::Snap => "SNAP",
        };
        let told = [(zxid(2, 0), "SNAP"), (zxid(4, 0), "TRUNC"), (zxid(3, 0), "DIFF"), (zxid(3, 2), "DIFF")];
        for (peer, want) in told {
            assert_eq!(kind(plan(&mut replica, peer, zxid(3, 4), &rules)), want, "at {peer}");
        }
    }

    #[test]
    fn what_memory_has_forgotten_comes_from_the_log_if_it_is_there_and_not_too_long() {
        let zxid = Zxid::new;
        let mut replica = Memory::with(&history());
        replica.window = 2;
        replica.final_to = zxid(3, 4);
        replica.crash(0);
        replica.final_to = zxid(3, 4);
        let _ = replica.truncate(zxid(3, 4));
        assert_eq!(replica.history().txns.len(), 2);
        let end = zxid(3, 4);
        assert_eq!(planned(&mut replica, zxid(1, 4), end), "DIFF 0x300000004, 5 from 0x100000005 to 0x300000004");
        assert_eq!(planned(&mut replica, zxid(1, 8), end), "TRUNC 0x100000005, 4 from 0x300000001 to 0x300000004");
        replica.log_is_gone = true;
        assert_eq!(planned(&mut replica, zxid(1, 4), end), "SNAP");
        // The first that memory has is the next that the learner needs.
        assert_eq!(planned(&mut replica, zxid(3, 2), end), "DIFF 0x300000004, 2 from 0x300000003 to 0x300000004");
        replica.log_is_gone = false;
        assert!(matches!(plan(&mut replica, zxid(1, 4), end, &Rules { size_factor: -1.0, ..RULES }), Plan::Snap));
        let forced = Rules { force_snapshot: true, ..RULES };
        assert!(matches!(plan(&mut replica, end, end, &forced), Plan::Snap));
        replica.base_zxid = zxid(1, 1);
        assert_eq!(planned(&mut replica, zxid(1, 4), end), "SNAP", "the newest snapshot is smaller than that");
    }

    #[test]
    fn a_history_with_a_hole_is_not_sent() {
        let zxid = Zxid::new;
        let mut replica = Memory::with(&[zxid(1, 1), zxid(1, 2), zxid(1, 4), zxid(1, 5)]);
        assert_eq!(planned(&mut replica, zxid(1, 1), zxid(1, 5)), "SNAP");
        assert_eq!(
            planned(&mut replica, zxid(1, 4), zxid(1, 5)),
            "DIFF 0x100000005, 1 from 0x100000005 to 0x100000005"
        );
    }

    #[test]
    fn empty_members_begin_together() {
        let mut replica = Memory::new();
        assert_eq!(planned(&mut replica, Zxid::ZERO, Zxid::ZERO), "DIFF 0x0, nothing");
        assert_eq!(planned(&mut replica, Zxid::new(1, 1), Zxid::ZERO), "SNAP");
    }
}
