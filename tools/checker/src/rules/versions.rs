//! Each set of a node counts once: versions in the answers rise by one for every set, those without a reply included if
//! they happened. So a write that was lost and overwritten shows too.

use super::Tell;
use crate::history::{History, Node, Stat, What, Zxid};
use crate::timeline::{Change, Timeline};

/// Judges the stats of all answers to writes, and of nodes at the end.
pub fn judge(history: &History, timeline: &Timeline, tell: &mut Tell<'_>) {
    for (path, effects) in &timeline.paths {
        let open = timeline.open.get(path).into_iter().flatten().filter(|open| open.what == What::Set).count();
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        let mut before: Option<(Zxid, Stat)> = None;
        let mut sets_between = 0;
        for effect in effects {
            if effect.change == Change::Deleted {
                before = None;
            }
            if matches!(effect.change, Change::Set(_)) {
                sets_between += 1;
            }
            let Some(stat) = effect.stat else { continue };
            if stat.mzxid != effect.zxid {
                tell(
                    "stat",
                    effect.line,
                    format!("{path}: the answer of {:#x} shows mzxid {:#x}", effect.zxid, stat.mzxid),
                );
            }
            if let Some((zxid, last)) = before
                && last.czxid == stat.czxid
            {
                let step = stat.version - last.version;
                if step < sets_between || step > sets_between + open {
                    let text = format!(
                        "{path}: version {} at {zxid:#x}, {} at {:#x}, with {sets_between} sets",
                        last.version, stat.version, effect.zxid
                    );
                    tell("versions", effect.line, text);
                }
            } else if matches!(effect.change, Change::Created(_)) && stat.version != 0 {
                tell("versions", effect.line, format!("{path}: created with version {}", stat.version));
            }
            before = Some((effect.zxid, stat));
            sets_between = 0;
        }
        let Some((zxid, last)) = before else { continue };
        for (line, end) in history.finals() {
            let Some(stat) = end.nodes.get(path).map(Node::stat).filter(|stat| stat.czxid == last.czxid) else {
                continue;
            };
            let step = stat.version - last.version;
            if step < sets_between || step > sets_between + open {
                let text = format!(
                    "{path}: version {} at {zxid:#x}, {} at the end, with {sets_between} sets",
                    last.version, stat.version
                );
                tell("versions", line, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::made_up::*;

    #[test]
    fn versions_that_count_every_set_pass() {
        let lines = [
            create("a", 10, "/w/1", 1, "x"),
            set("a", 20, "/w/1", 2, "y", (1, 1)),
            unanswered("b", 30, "set", "/w/1", r#","data":"z""#),
            set("a", 40, "/w/1", 4, "v", (1, 3)),
            delete("a", 50, "/w/1", 5),
            create("a", 60, "/w/1", 6, "x"),
            set("a", 70, "/w/1", 7, "w", (6, 1)),
        ];
        assert_eq!(broken_by(&lines), [] as [&str; 0]);
    }

    #[test]
    fn set_that_was_lost_and_overwritten_is_found() {
        let lines = [
            create("a", 10, "/w/1", 1, "x"),
            set("a", 20, "/w/1", 2, "y", (1, 1)),
            set("b", 30, "/w/1", 3, "z", (1, 1)),
        ];
        assert_eq!(broken_by(&lines), ["versions"]);
    }

    #[test]
    fn set_that_counted_twice_is_found() {
        let lines = [create("a", 10, "/w/1", 1, "x"), set("a", 20, "/w/1", 2, "y", (1, 2))];
        assert_eq!(broken_by(&lines), ["versions"]);
    }

    #[test]
    fn stat_of_another_transaction_is_found() {
        let lines = [
            create("a", 10, "/w/1", 1, "x"),
            set("a", 20, "/w/1", 3, "y", (1, 1)).replace(r#""mzxid":3"#, r#""mzxid":2"#),
        ];
        assert!(broken_by(&lines).contains(&"stat"));
    }
}
