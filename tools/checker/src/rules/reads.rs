//! What is seen is the state at the zxid of the reply: reads, failed writes, and the trees at the end. That no
//! acknowledged write is lost follows from it, and that ephemerals live exactly as long as their sessions.

use std::collections::BTreeSet;

use super::Tell;
use crate::history::{History, Nanos, Op, Stat, What, Zxid};
use crate::timeline::{Change, Timeline, parent};

const NO_NODE: i32 = -101;
const NODE_EXISTS: i32 = -110;

/// Somebody's look at one path.
struct Look<'a> {
    line: usize,
    path: &'a str,
    zxid: Zxid,
    moment: Nanos,
}

/// Judges all that was seen.
pub fn judge(history: &History, timeline: &Timeline, tell: &mut Tell<'_>) {
    for (line, text) in &timeline.invented {
        tell("invented", *line, text.clone());
    }
    for (line, op) in history.ops() {
        let Some(moment) = op.returned else { continue };
        let look = Look { line, path: &op.path, zxid: op.zxid, moment };
        match (op.op, op.err) {
            (What::Get | What::Exists, 0) => present(timeline, &look, op.stat, tell),
            (What::Get | What::Exists | What::Set | What::Delete, NO_NODE) => absent(timeline, &look, tell),
            (What::Create, NODE_EXISTS) => present(timeline, &look, None, tell),
            (What::Children, 0) => children(timeline, op, &look, tell),
            _ => {}
        }
    }
    for (line, end) in history.finals() {
        for (path, node) in &end.nodes {
            let look = Look { line, path, zxid: end.zxid, moment: Nanos::MAX };
            present(timeline, &look, Some(node.stat()), tell);
        }
        for path in timeline.paths.keys().filter(|path| !end.nodes.contains_key(*path)) {
            absent(timeline, &Look { line, path, zxid: end.zxid, moment: Nanos::MAX }, tell);
        }
    }
    let mut finals = history.finals();
    if let Some((_, first)) = finals.next() {
        for (line, other) in finals {
            let paths: BTreeSet<&String> = first.nodes.keys().chain(other.nodes.keys()).collect();
            for path in paths.into_iter().filter(|path| first.nodes.get(*path) != other.nodes.get(*path)).take(3) {
                tell(
                    "finals-equal",
                    line,
                    format!("{path} differs between members {} and {}", first.member, other.member),
                );
            }
        }
    }
}

fn present(timeline: &Timeline, look: &Look<'_>, stat: Option<Stat>, tell: &mut Tell<'_>) {
    let Look { line, path, zxid, moment } = *look;
    let owner = timeline.owners.get(path).copied();
    let gone = owner.and_then(|owner| timeline.sessions.get(&owner)?.gone_at).filter(|gone| *gone <= zxid);
    if let Some(gone) = gone {
        tell("ephemeral-outlives", line, format!("{path} is there at {zxid:#x}; its session ended by {gone:#x}"));
        return;
    }
    if let (Some(stat), Some(owner)) = (stat, owner)
        && stat.owner != owner
    {
        tell("state", line, format!("{path} belongs to session {:x}, not {owner:x}", stat.owner));
    }
    let last = timeline.last(path, zxid);
    match (last.map(|effect| &effect.change), stat) {
        (None | Some(Change::Deleted), _) => {
            // Creates without a reply that a stat revealed are known by now.
            if stat.is_some() || !timeline.may_have(path, What::Create, moment) {
                let why = last.map_or_else(String::new, |effect| {
                    format!(", deleted by {:#x} of line {}", effect.zxid, effect.line)
                });
                tell("state", line, format!("{path} is there at {zxid:#x}{why}"));
            }
        }
        (Some(_), Some(stat)) => {
            let effect = last.expect("its change is known");
            if stat.mzxid != effect.zxid {
                let text = format!(
                    "{path} at {zxid:#x} shows the write of {:#x}, not that of {:#x} of line {}",
                    stat.mzxid, effect.zxid, effect.line
                );
                tell("state", line, text);
            }
        }
        (Some(_), None) => {}
    }
}

fn absent(timeline: &Timeline, look: &Look<'_>, tell: &mut Tell<'_>) {
    let Look { line, path, zxid, moment } = *look;
    let Some(effect) = timeline.last(path, zxid).filter(|effect| effect.change != Change::Deleted) else { return };
    if timeline.may_have(path, What::Delete, moment) || timeline.may_have_ended(path, zxid) {
        return;
    }
    let (rule, why) = if timeline.owners.contains_key(path) {
        ("ephemeral-lost", "its session lives")
    } else {
        ("state", "nobody deleted it")
    };
    tell(
        rule,
        line,
        format!("{path} is not there at {zxid:#x}; {:#x} of line {} wrote it, and {why}", effect.zxid, effect.line),
    );
}

fn children(timeline: &Timeline, op: &Op, look: &Look<'_>, tell: &mut Tell<'_>) {
    let named: BTreeSet<&str> = op.names.iter().map(String::as_str).collect();
    let below = format!("{}/", op.path);
    for (path, effects) in timeline.paths.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below)) {
        if effects.is_empty() || parent(path) != op.path {
            continue;
        }
        let look = Look { path, ..*look };
        if named.contains(&path[below.len()..]) {
            present(timeline, &look, None, tell);
        } else {
            absent(timeline, &look, tell);
        }
    }
    let strangers =
        op.names.iter().filter(|name| timeline.paths.get(&format!("{below}{name}")).is_none_or(Vec::is_empty));
    for name in strangers {
        let path = format!("{below}{name}");
        let start = path.trim_end_matches(|c: char| c.is_ascii_digit());
        let asked = timeline.may_have(&path, What::Create, look.moment)
            || timeline.open_sequential.get(start).into_iter().flatten().any(|open| open.invoke < look.moment);
        if !asked {
            tell("invented", look.line, format!("nobody asked for {path}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::made_up::*;

    const NOTHING: [&str; 0] = [];

    fn end(member: i64, zxid: i64, nodes: &str) -> String {
        format!(r#"{{"t":"final","member":{member},"zxid":{zxid},"nodes":{{{nodes}}}}}"#)
    }

    #[test]
    fn state_at_the_replys_zxid_passes() {
        let lines = [
            create("a", 10, "/w/1", 1, "x"),
            set("a", 20, "/w/1", 3, "y", (1, 1)),
            // A member that lags shows the older state.
            get("b", 40, "/w/1", 2, "x", (1, 1, 0)),
            get("b", 50, "/w/1", 3, "y", (1, 3, 1)),
            delete("a", 60, "/w/1", 4),
            none("b", 70, "/w/1", 4),
            op("b", 80, "children", "/w", 4, r#","names":[]"#),
            end(1, 5, ""),
        ];
        assert_eq!(broken_by(&lines), NOTHING);
    }

    #[test]
    fn older_value_at_a_newer_zxid_is_found() {
        let lines = [
            create("a", 10, "/w/1", 1, "x"),
            set("a", 20, "/w/1", 3, "y", (1, 1)),
            get("b", 40, "/w/1", 3, "x", (1, 1, 0)),
        ];
        assert_eq!(broken_by(&lines), ["state"]);
    }

    #[test]
    fn acknowledged_write_that_is_lost_is_found() {
        let created = create("a", 10, "/w/1", 1, "x");
        assert_eq!(broken_by(&[created.clone(), none("b", 40, "/w/1", 3)]), ["state"]);
        assert_eq!(broken_by(&[created.clone(), op("b", 40, "children", "/w", 3, r#","names":[]"#)]), ["state"]);
        assert_eq!(broken_by(&[created.clone(), end(1, 9, "")]), ["state"]);
        let overwritten = set("a", 20, "/w/1", 2, "y", (1, 1));
        assert_eq!(broken_by(&[created, overwritten, end(1, 9, r#""/w/1":[1,1,1,0,0,0,"x"]"#)]), ["state", "versions"]);
    }

    #[test]
    fn deleted_node_that_comes_back_is_found() {
        let lines =
            [create("a", 10, "/w/1", 1, "x"), delete("a", 20, "/w/1", 2), get("b", 30, "/w/1", 3, "x", (1, 1, 0))];
        assert_eq!(broken_by(&lines), ["state"]);
    }

    #[test]
    fn failed_writes_have_a_reason() {
        let fails = |what: &str, err: &str| op("b", 30, what, "/w/1", 5, "").replace(r#""err":0"#, err);
        let created = create("a", 10, "/w/1", 1, "x");
        assert_eq!(broken_by(&[created.clone(), fails("create", r#""err":-110"#)]), NOTHING);
        assert_eq!(broken_by(&[fails("create", r#""err":-110"#)]), ["state"]);
        assert_eq!(broken_by(&[fails("set", r#""err":-101"#)]), NOTHING);
        assert_eq!(broken_by(&[created, fails("delete", r#""err":-101"#)]), ["state"]);
    }

    #[test]
    fn a_multi_without_a_reply_may_have_made_a_path_and_set_it() {
        let ops =
            r#","ops":[{"op":"create","path":"/w/1","data":"x"},{"op":"set","path":"/w/1","data":"y","version":-1}]"#;
        let multi = unanswered("a", 10, "multi", "", ops);
        assert_eq!(broken_by(&[multi.clone(), get("b", 30, "/w/1", 4, "y", (3, 3, 1))]), NOTHING);
        assert_eq!(broken_by(&[multi.clone(), none("b", 30, "/w/1", 4)]), NOTHING);
        assert_eq!(broken_by(&[multi, get("b", 30, "/w/1", 4, "z", (3, 3, 1))]), ["invented"]);
    }

    #[test]
    fn writes_without_a_reply_may_have_happened_or_not() {
        let created = create("a", 10, "/w/1", 1, "x");
        let open = unanswered("b", 20, "set", "/w/1", r#","data":"y""#);
        let seen = get("c", 30, "/w/1", 4, "y", (1, 3, 1));
        let not_seen = get("c", 30, "/w/1", 4, "x", (1, 1, 0));
        assert_eq!(broken_by(&[created.clone(), open.clone(), seen.clone()]), NOTHING);
        assert_eq!(broken_by(&[created.clone(), open.clone(), not_seen.clone()]), NOTHING);
        // But not both, one after the other.
        let forgotten = get("c", 40, "/w/1", 5, "x", (1, 1, 0));
        assert_eq!(broken_by(&[created.clone(), open, seen, forgotten]), ["state"]);
        let deleted = unanswered("b", 20, "delete", "/w/1", "");
        assert_eq!(broken_by(&[created, deleted, none("c", 30, "/w/1", 4)]), NOTHING);
    }

    #[test]
    fn values_nobody_wrote_are_found() {
        let created = create("a", 10, "/w/1", 1, "x");
        assert_eq!(broken_by(&[created.clone(), get("b", 30, "/w/1", 4, "y", (1, 3, 1))]), ["invented", "state"]);
        assert_eq!(broken_by(&[created.clone(), get("b", 30, "/w/1", 4, "y", (1, 1, 0))]), ["invented"]);
        assert_eq!(broken_by(&[created, op("b", 30, "children", "/w", 4, r#","names":["1","2"]"#)]), ["invented"]);
    }

    #[test]
    fn ephemerals_live_as_long_as_their_session() {
        let made = ephemeral("a", 10, "/e/1", 1, "x");
        let there = get("b", 20, "/e/1", 2, "x", (1, 1, 0)).replace(r#""owner":0"#, r#""owner":161"#);
        let closed = life("a", 30, "closed", r#","zxid":3"#);
        assert_eq!(broken_by(&[made.clone(), there.clone(), closed.clone(), none("b", 40, "/e/1", 3)]), NOTHING);
        let outlives = there.replace(r#""zxid":2"#, r#""zxid":4"#);
        assert_eq!(broken_by(&[made.clone(), closed.clone(), outlives.clone()]), ["ephemeral-outlives"]);
        // Gone at 2, closed at 3.
        assert_eq!(broken_by(&[made.clone(), none("b", 20, "/e/1", 2), closed]), ["ephemeral-lost"]);
        let lives = none("a", 30, "/w/1", 4);
        assert_eq!(broken_by(&[made.clone(), none("b", 20, "/e/1", 2), lives]), ["ephemeral-lost"]);
        // Expired: it may go at any time after its last reply, and is gone for all who write later.
        let expired = life("a", 30, "expired", "");
        assert_eq!(broken_by(&[made.clone(), expired.clone(), none("b", 20, "/e/1", 2)]), NOTHING);
        assert_eq!(broken_by(&[made.clone(), expired.clone(), there]), NOTHING);
        assert_eq!(broken_by(&[made, expired, create("b", 31, "/w/1", 4, "y"), outlives]), ["ephemeral-outlives"]);
    }

    #[test]
    fn trees_at_the_end_are_equal() {
        let created = create("a", 10, "/w/1", 1, "x");
        let one = end(1, 9, r#""/w/1":[1,1,1,0,0,0,"x"]"#);
        assert_eq!(broken_by(&[created.clone(), one.clone(), one.replace(r#""member":1"#, r#""member":2"#)]), NOTHING);
        assert_eq!(broken_by(&[created, one, end(2, 9, r#""/w/1":[1,1,1,0,7,0,"x"]"#)]), ["finals-equal"]);
    }
}
