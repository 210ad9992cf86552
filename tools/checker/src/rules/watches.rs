//! Watches: each fires once, for a change after it was left, and before its client sees that change in a reply.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Tell;
use crate::history::{Event, History, Life, Record, What, Zxid};
use crate::timeline::{Change, Timeline};

/// What a watch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Data,
    Exist,
    Child,
}

/// What one client waits for.
#[derive(Default)]
struct Client {
    armed: BTreeMap<(String, Kind), Zxid>,
    last_event: Zxid,
    moved: bool,
}

/// Judges all events and all replies to clients that wait for some.
pub fn judge(history: &History, timeline: &Timeline, tell: &mut Tell<'_>) {
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    for (line, record) in &history.records {
        match record {
            Record::Op(op) if op.returned.is_some() => {
                let client = clients.entry(&op.client).or_default();
                client.settle(op.zxid, timeline);
                client.late(*line, op.zxid, timeline, tell);
                let kind = match (op.op, op.err) {
                    (What::Get, 0) | (What::Exists, 0) => Kind::Data,
                    (What::Exists, _) => Kind::Exist,
                    (What::Children, 0) => Kind::Child,
                    _ => continue,
                };
                if op.watch {
                    client.armed.entry((op.path.clone(), kind)).or_insert(op.zxid);
                }
            }
            Record::Event(event) => {
                clients.entry(&event.client).or_default().fire(*line, event, timeline, tell);
            }
            Record::Session(session) => {
                let client = clients.entry(&session.client).or_default();
                match session.event {
                    Life::Open | Life::Expired | Life::Closed | Life::Closing => *client = Client::default(),
                    // What was missed is told anew, by a member that knows no order of it.
                    Life::Moved => (client.moved, client.last_event) = (true, 0),
                    Life::Lost => client.last_event = 0,
                }
            }
            _ => {}
        }
    }
}

/// The first change after `since` that such a watch waits for.
fn change_after(timeline: &Timeline, path: &str, kind: Kind, since: Zxid) -> Option<Zxid> {
    if kind == Kind::Child {
        let zxids = timeline.children.get(path)?;
        return zxids.range((Bound::Excluded(since), Bound::Unbounded)).next().copied();
    }
    timeline.next(path, since).map(|effect| effect.zxid)
}

impl Client {
    /// A member to which a session moves looks only whether the node is there: what came and went meanwhile is not told of.
    fn settle(&mut self, zxid: Zxid, timeline: &Timeline) {
        if !std::mem::take(&mut self.moved) {
            return;
        }
        for ((path, kind), since) in &mut self.armed {
            let there = timeline.last(path, zxid).is_some_and(|effect| effect.change != Change::Deleted);
            if *kind == Kind::Exist && !there {
                *since = zxid;
            }
        }
    }

    fn late(&mut self, line: usize, zxid: Zxid, timeline: &Timeline, tell: &mut Tell<'_>) {
        let late: Vec<_> = (self.armed.iter())
            .filter_map(|((path, kind), since)| {
                let change = change_after(timeline, path, *kind, *since).filter(|change| *change <= zxid)?;
                Some((path.clone(), *kind, change))
            })
            .collect();
        for (path, kind, change) in late {
            tell(
                "watch-late",
                line,
                format!("a reply with {zxid:#x}, and no event of {change:#x} at {path} ({kind:?})"),
            );
            self.armed.remove(&(path, kind));
        }
    }

    fn fire(&mut self, line: usize, event: &Event, timeline: &Timeline, tell: &mut Tell<'_>) {
        let kinds: &[Kind] = match event.kind {
            1 | 3 => &[Kind::Exist, Kind::Data],
            2 => &[Kind::Data, Kind::Exist, Kind::Child],
            _ => &[Kind::Child],
        };
        let fired: Vec<_> =
            kinds.iter().filter_map(|kind| Some((*kind, self.armed.remove(&(event.path.clone(), *kind))?))).collect();
        let Some((kind, since)) = fired.first().copied() else {
            tell(
                "watch-unasked",
                line,
                format!("an event of type {} at {}, for which nobody waits", event.kind, event.path),
            );
            return;
        };
        // Ends of sessions and writes without a reply may be behind it where nothing is known.
        let below = format!("{}/", event.path);
        let within = |path: &String| *path == event.path || path.starts_with(&below);
        let maybe =
            timeline.open.keys().chain(timeline.owners.keys()).chain(timeline.open_sequential.keys()).any(within);
        if change_after(timeline, &event.path, kind, since).is_none() && !maybe {
            let text =
                format!("an event of type {} at {}, where nothing changed after {since:#x}", event.kind, event.path);
            tell("watch-without-change", line, text);
        }
        if event.zxid >= 0 {
            if event.zxid < self.last_event {
                let text = format!("an event of {:#x} after one of {:#x}", event.zxid, self.last_event);
                tell("watch-order", line, text);
            }
            let known = timeline.paths.get(&event.path).is_some_and(|effects| {
                let is_it = |effect: &&crate::timeline::Effect| effect.zxid == event.zxid;
                kind == Kind::Child || effects.iter().find(is_it).is_none_or(|effect| fits(event.kind, &effect.change))
            });
            if !known && kind != Kind::Child && !maybe {
                tell("watch-without-change", line, format!("{:#x} was no such change of {}", event.zxid, event.path));
            }
            self.last_event = self.last_event.max(event.zxid);
        }
    }
}

fn fits(kind: i32, change: &Change) -> bool {
    match change {
        Change::Created(_) => kind == 1,
        Change::Set(_) => kind == 3,
        Change::Deleted => kind == 2,
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::made_up::*;

    const NOTHING: [&str; 0] = [];

    fn watching(line: &str) -> String {
        line.replace(r#""err":"#, r#""watch":true,"err":"#)
    }

    fn story(middle: &[String]) -> Vec<String> {
        let first = [create("a", 10, "/w/1", 1, "x"), watching(&get("b", 20, "/w/1", 1, "x", (1, 1, 0)))];
        first.iter().chain(middle).cloned().collect()
    }

    #[test]
    fn events_before_the_reply_that_shows_the_change_pass() {
        let changed = set("a", 30, "/w/1", 2, "y", (1, 1));
        let seen = get("b", 40, "/w/1", 2, "y", (1, 2, 1));
        for zxid in [2, -1] {
            let lines = story(&[changed.clone(), event("b", 3, "/w/1", zxid), seen.clone()]);
            assert_eq!(broken_by(&lines), NOTHING);
        }
        // A member that lags has nothing to tell yet.
        assert_eq!(broken_by(&story(&[changed, get("b", 40, "/w/1", 1, "x", (1, 1, 0))])), NOTHING);
    }

    #[test]
    fn event_that_is_missing_is_found() {
        let lines = story(&[set("a", 30, "/w/1", 2, "y", (1, 1)), none("b", 40, "/w/7", 2)]);
        assert_eq!(broken_by(&lines), ["watch-late"]);
    }

    #[test]
    fn event_after_the_reply_is_found() {
        let changed = set("a", 30, "/w/1", 2, "y", (1, 1));
        let lines = story(&[changed, get("b", 40, "/w/1", 2, "y", (1, 2, 1)), event("b", 3, "/w/1", 2)]);
        assert_eq!(broken_by(&lines), ["watch-late", "watch-unasked"]);
    }

    #[test]
    fn second_event_of_one_watch_is_found() {
        let lines = story(&[
            set("a", 30, "/w/1", 2, "y", (1, 1)),
            event("b", 3, "/w/1", 2),
            set("a", 40, "/w/1", 3, "z", (1, 2)),
            event("b", 3, "/w/1", 3),
        ]);
        assert_eq!(broken_by(&lines), ["watch-unasked"]);
    }

    #[test]
    fn event_without_a_change_is_found() {
        assert_eq!(broken_by(&story(&[event("b", 3, "/w/1", -1)])), ["watch-without-change"]);
    }

    #[test]
    fn events_out_of_order_are_found() {
        let lines = [
            create("a", 10, "/w/1", 1, "x"),
            create("a", 12, "/w/2", 2, "x"),
            watching(&get("b", 20, "/w/1", 2, "x", (1, 1, 0))),
            watching(&get("b", 22, "/w/2", 2, "x", (2, 2, 0))),
            set("a", 30, "/w/1", 3, "y", (1, 1)),
            set("a", 32, "/w/2", 4, "y", (2, 1)),
            event("b", 3, "/w/2", 4),
            event("b", 3, "/w/1", 3),
        ];
        assert_eq!(broken_by(&lines), ["watch-order"]);
    }

    #[test]
    fn watches_of_children_and_of_absence_are_judged_too() {
        let lines = [
            watching(&op("b", 10, "children", "/w", 1, r#","names":[]"#)),
            watching(&none("b", 12, "/w/1", 1)).replace(r#""op":"get""#, r#""op":"exists""#),
            create("a", 20, "/w/1", 2, "x"),
        ];
        let told = [event("b", 1, "/w/1", 2), event("b", 4, "/w", 2)];
        let shown = [get("b", 30, "/w/1", 2, "x", (2, 2, 0))];
        let all: Vec<String> = lines.iter().chain(&told).chain(&shown).cloned().collect();
        assert_eq!(broken_by(&all), NOTHING);
        let silent: Vec<String> = lines.iter().chain(&shown).cloned().collect();
        assert_eq!(broken_by(&silent), ["watch-late"]);
    }

    #[test]
    fn node_that_came_and_went_while_a_session_moved_is_not_told_of() {
        let exists = watching(&none("b", 10, "/w/1", 1)).replace(r#""op":"get""#, r#""op":"exists""#);
        let made = create("a", 20, "/w/1", 2, "x");
        let moved = life("b", 40, "moved", "");
        let gone = [exists.clone(), made.clone(), delete("a", 30, "/w/1", 3), moved.clone(), none("b", 50, "/w/1", 3)];
        assert_eq!(broken_by(&gone), NOTHING);
        let there = [exists, made, moved, get("b", 50, "/w/1", 2, "x", (2, 2, 0))];
        assert_eq!(broken_by(&there), ["watch-late"]);
    }

    #[test]
    fn watches_end_with_their_session() {
        let changed = set("a", 30, "/w/1", 2, "y", (1, 1));
        let lines = story(&[changed, life("b", 35, "expired", ""), get("b", 40, "/w/1", 2, "y", (1, 2, 1))]);
        assert_eq!(broken_by(&lines), NOTHING);
    }
}
