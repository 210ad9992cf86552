//! Watches: which events, for whom, and before what (client-protocol.md §14). That an event precedes every answer that has seen its
//! change is checked by the world for each connection, always.

use crate::wire::*;
use crate::world::World;

const CREATED: i32 = 1;
const DELETED: i32 = 2;
const CHANGED: i32 = 3;
const CHILDREN: i32 = 4;

fn event(kind: i32, path: &str) -> (i32, String) {
    (kind, path.to_owned())
}

/// The watcher, the writer and a bystander on two shards; the watcher asks again and again while the write makes its way. The event
/// comes before the first answer that shows the change, and carries the zxid of the transaction.
#[test]
fn an_event_precedes_any_answer_that_shows_its_change() {
    for (watching, writing) in [(0, 0), (0, 1), (1, 0)] {
        let mut w = World::with_shards(2);
        let (a, b) = (w.open(watching), w.open(writing));
        w.call(b, &create("/n", "old"));
        w.call(a, &get("/n", true));
        let steps: [fn(&mut World); 6] =
            [|_| {}, |w| _ = w.prepare(), |w| _ = w.make_durable(), |w| w.pump(1), |w| w.pump(0), World::settle];
        w.ask(b, &set("/n", "new", -1));
        let mut told = false;
        for step in steps {
            step(&mut w);
            w.ask(a, &get("/n", false));
            for frame in w.take(a) {
                match frame {
                    Frame::Event(event) => {
                        assert_eq!((event.kind, &*event.path), (CHANGED, "/n"));
                        assert!(!told);
                        told = true;
                        assert_eq!(event.zxid, w.zxid());
                    }
                    Frame::Reply(reply) => assert_eq!(reply.data(), if told { "new" } else { "old" }),
                }
            }
        }
        assert!(told);
    }
}

/// The watcher is the writer: the event of its own write comes before the answer to it.
#[test]
fn a_session_hears_the_event_of_its_own_write_before_the_answer() {
    let mut w = World::new();
    let a = w.open(0);
    w.call(a, &exists("/n", true));
    w.burst(a, &[create("/n", ""), get("/n", true), set("/n", "x", -1), get("/n", false)]);
    w.settle();
    let kinds: Vec<String> = w
        .take(a)
        .iter()
        .map(|frame| match frame {
            Frame::Event(event) => format!("event {}", event.kind),
            Frame::Reply(reply) => format!("reply {}", reply.err),
        })
        .collect();
    assert_eq!(kinds, ["event 1", "reply 0", "reply 0", "event 3", "reply 0", "reply 0"]);
}

#[test]
fn one_shot_watches_fire_once_for_what_they_are_about() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(b, &create("/p", ""));
    // exists on an absent znode, getData, getChildren.
    assert_eq!(w.err(a, &exists("/p/c", true)), -101);
    w.call(a, &get("/p", true));
    w.call(a, &children2("/p", true));
    w.call(b, &create("/p/c", ""));
    assert_eq!(w.events(a), [event(CREATED, "/p/c"), event(CHILDREN, "/p")]);
    w.call(b, &set("/p/c", "x", -1));
    w.call(b, &create("/p/d", ""));
    assert!(w.events(a).is_empty(), "they are spent");
    w.call(b, &set("/p", "x", -1));
    assert_eq!(w.events(a), [event(CHANGED, "/p")]);
    // A failed read leaves none, and neither does one without the flag.
    w.call(a, &get("/none", true));
    w.call(a, &children("/none", true));
    w.call(a, &exists("/none2", false));
    w.call(b, &create("/none", ""));
    w.call(b, &create("/none2", ""));
    assert!(w.events(a).is_empty());
    // Both tables of a path: one NodeDeleted.
    w.call(a, &get("/p/c", true));
    w.call(a, &children("/p/c", true));
    w.call(a, &children("/p", true));
    w.call(b, &delete("/p/c", -1));
    assert_eq!(w.events(a), [event(DELETED, "/p/c"), event(CHILDREN, "/p")]);
    // Top level: the parent is the root.
    w.call(a, &children("/", true));
    w.call(b, &create("/top", ""));
    assert_eq!(w.events(a), [event(CHILDREN, "/")]);
    // setACL fires nothing.
    w.call(a, &get("/p", true));
    w.call(b, &set_acl("/p", &open_acl(), -1));
    assert!(w.events(a).is_empty());
}

#[test]
fn persistent_watches_stay_and_recursive_ones_reach_down() {
    let mut w = World::with_shards(2);
    let (a, r, b) = (w.open(0), w.open(1), w.open(1));
    assert_eq!(w.call(a, &add_watch("/p", 0)).int(), 0);
    assert_eq!(w.call(r, &add_watch("/p", 1)).int(), 0);
    for request in [
        create("/p", ""),
        create("/p/c", ""),
        create("/p/c/d", ""),
        set("/p/c", "x", -1),
        delete("/p/c/d", -1),
        delete("/p/c", -1),
        set("/p", "x", -1),
        create("/pp", ""),
        delete("/p", -1),
    ] {
        assert_eq!(w.err(b, &request), 0);
    }
    let at_path = [
        event(CREATED, "/p"),
        event(CHILDREN, "/p"),
        event(CHILDREN, "/p"),
        event(CHANGED, "/p"),
        event(DELETED, "/p"),
    ];
    assert_eq!(w.events(a), at_path);
    let below = [
        event(CREATED, "/p"),
        event(CREATED, "/p/c"),
        event(CREATED, "/p/c/d"),
        event(CHANGED, "/p/c"),
        event(DELETED, "/p/c/d"),
        event(DELETED, "/p/c"),
        event(CHANGED, "/p"),
        event(DELETED, "/p"),
    ];
    assert_eq!(w.events(r), below);
}

#[test]
fn watches_are_looked_for_and_removed_by_kind() {
    let mut w = World::new();
    let (a, b) = (w.open(0), w.open(0));
    w.call(b, &create("/n", ""));
    let set_all = |w: &mut World| {
        w.call(a, &get("/n", true));
        w.call(a, &children("/n", true));
        w.call(a, &add_watch("/n", 0));
        w.call(a, &add_watch("/n", 1));
    };
    for kind in 1..=5 {
        assert_eq!(w.err(a, &check_watches("/n", kind)), -121);
        assert_eq!(w.err(a, &remove_watches("/n", kind)), -121);
    }
    set_all(&mut w);
    for kind in 1..=5 {
        assert_eq!(w.err(a, &check_watches("/n", kind)), 0, "{kind}");
        assert_eq!(w.err(b, &check_watches("/n", kind)), -121, "they are the connection's");
        assert_eq!(w.err(a, &check_watches("/", kind)), -121, "on the exact path");
    }
    for kind in [1, 2, 4, 5] {
        assert_eq!(w.err(a, &remove_watches("/n", kind)), 0);
        assert_eq!(w.err(a, &check_watches("/n", kind)), -121);
        assert_eq!(w.err(a, &check_watches("/n", 3)), if kind == 5 { -121 } else { 0 });
    }
    set_all(&mut w);
    assert_eq!(w.err(a, &remove_watches("/n", 3)), 0);
    w.call(b, &set("/n", "x", -1));
    w.call(b, &delete("/n", -1));
    assert!(w.events(a).is_empty());
}

/// A client comes back and says what it watched and up to where it knows: what it missed it is told at once, under zxid −1 and
/// before the answer; the rest is watched again.
#[test]
fn set_watches_tells_what_was_missed_and_watches_the_rest() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    for path in ["/same", "/changed", "/gone", "/parent", "/quiet"] {
        w.call(b, &create(path, ""));
    }
    let known = w.zxid();
    w.call(b, &set("/changed", "x", -1));
    w.call(b, &delete("/gone", -1));
    w.call(b, &create("/parent/kid", ""));
    w.call(b, &create("/came", ""));
    let data: &[&str] = &["/same", "/changed", "/gone"];
    let exist: &[&str] = &["/came", "/absent"];
    let child: &[&str] = &["/parent", "/quiet", "/gone"];
    w.ask(a, &set_watches(known, &[data, exist, child]));
    let frames = w.take(a);
    let told: Vec<_> = frames[..5]
        .iter()
        .map(|frame| match frame {
            Frame::Event(event) => {
                assert_eq!(event.zxid, -1);
                (event.kind, event.path.clone())
            }
            Frame::Reply(_) => panic!("{frames:?}"),
        })
        .collect();
    let expected = [
        event(CHANGED, "/changed"),
        event(DELETED, "/gone"),
        event(CREATED, "/came"),
        event(CHILDREN, "/parent"),
        event(DELETED, "/gone"),
    ];
    assert_eq!(told, expected);
    let Frame::Reply(reply) = &frames[5] else { panic!("{frames:?}") };
    assert_eq!((reply.xid, reply.err, reply.body.len()), (-8, 0, 0));
    for request in [set("/same", "x", -1), create("/absent", ""), create("/quiet/kid", ""), set("/changed", "y", -1)] {
        w.call(b, &request);
    }
    assert_eq!(w.events(a), [event(CHANGED, "/same"), event(CREATED, "/absent"), event(CHILDREN, "/quiet")]);
}

#[test]
fn set_watches_2_brings_persistent_watches_back_without_events() {
    let mut w = World::new();
    let (a, b) = (w.open(0), w.open(0));
    w.call(b, &create("/n", ""));
    assert_eq!(w.call(a, &set_watches(0, &[&[], &[], &[], &["/n"], &["/deep"]])).err, 0);
    assert!(w.events(a).is_empty());
    for request in
        [set("/n", "1", -1), set("/n", "2", -1), create("/n/k", ""), create("/deep", ""), create("/deep/er", "")]
    {
        w.call(b, &request);
    }
    let expected = [
        event(CHANGED, "/n"),
        event(CHANGED, "/n"),
        event(CHILDREN, "/n"),
        event(CREATED, "/deep"),
        event(CREATED, "/deep/er"),
    ];
    assert_eq!(w.events(a), expected);
}

/// setWatches behind a write of the same session: it compares with the state after that write.
#[test]
fn set_watches_stands_in_line() {
    let mut w = World::new();
    let a = w.open(0);
    w.call(a, &create("/n", ""));
    let known = w.zxid();
    w.burst(a, &[set("/n", "x", -1), set_watches(known, &[&["/n"], &[], &[]])]);
    w.settle();
    let frames = w.take(a);
    assert!(
        matches!(&frames[..], [Frame::Reply(_), Frame::Event(e), Frame::Reply(_)] if e.kind == CHANGED && e.zxid == -1)
    );
}

/// Whoever may not read a znode hears nothing of it, under the ACL of that moment; a one-shot watch is spent all the same.
#[test]
fn events_are_for_those_who_may_read() {
    let mut w = World::with_shards(2);
    let (stranger, friend, owner) = (w.open(0), w.open(1), w.open(1));
    for c in [friend, owner] {
        w.call(c, &auth("digest", "u:p"));
    }
    let private = acl(31, "auth", "");
    for c in [stranger, friend] {
        w.call(c, &exists("/s", true));
    }
    w.call(owner, &create_acl("/s", &private));
    assert!(w.events(stranger).is_empty());
    assert_eq!(w.events(friend), [event(CREATED, "/s")]);
    assert_eq!(w.err(stranger, &check_watches("/s", 3)), -121, "but the watch is spent");
    for c in [stranger, friend] {
        w.call(c, &add_watch("/s", 0));
    }
    w.call(owner, &set("/s", "x", -1));
    w.call(owner, &create("/s/open", ""));
    assert!(w.events(stranger).is_empty(), "changed data and children are the znode's");
    assert_eq!(w.events(friend), [event(CHANGED, "/s"), event(CHILDREN, "/s")]);
    w.call(stranger, &add_watch("/s/open", 0));
    w.call(owner, &delete("/s/open", -1));
    assert_eq!(w.events(stranger), [event(DELETED, "/s/open")], "the last ACL of what was deleted");
    w.take(friend);
    // The stranger proves who it is; from then on it hears.
    w.call(stranger, &auth("digest", "u:p"));
    w.call(owner, &set("/s", "y", -1));
    assert_eq!(w.events(stranger), [event(CHANGED, "/s")]);
    // Catch-up events are not filtered.
    let other = w.open(0);
    w.ask(other, &set_watches(1, &[&["/s"], &[], &[]]));
    assert_eq!(w.events(other), [event(CHANGED, "/s")]);
}

/// The members of a multi fire in their order, all before its answer, all with its zxid; those of a failed one do not.
#[test]
fn a_multi_fires_member_by_member() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(a, &add_watch("/", 1));
    w.call(b, &multi(&[create("/1", ""), check("/none", 0)]));
    assert!(w.take(a).is_empty());
    let reply = w.call(b, &multi(&[create("/1", ""), set("/1", "x", 0), create("/1/2", ""), delete("/1/2", 0)]));
    let frames = w.take(a);
    let got: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Event(e) => (e.zxid, e.kind, &*e.path),
            Frame::Reply(_) => panic!(),
        })
        .collect();
    let z = reply.zxid;
    assert_eq!(got, [(z, CREATED, "/1"), (z, CHANGED, "/1"), (z, CREATED, "/1/2"), (z, DELETED, "/1/2")]);
}

/// A watch is the connection's: with it, it goes.
#[test]
fn watches_of_a_closed_connection_are_gone() {
    let mut w = World::new();
    let (a, b) = (w.open(0), w.open(0));
    w.call(a, &add_watch("/n", 0));
    w.hang_up(a);
    // The next connection takes its place.
    let c = w.reattach(a, 0);
    w.call(b, &create("/n", ""));
    assert!(w.take(c).is_empty());
    assert_eq!(w.stats[0].watches.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// The count of watches follows additions, removals and triggers.
#[test]
fn the_count_of_watches_is_exact() {
    let mut w = World::new();
    let (a, b) = (w.open(0), w.open(0));
    let count = |w: &World| w.stats[0].watches.load(std::sync::atomic::Ordering::Relaxed);
    w.call(a, &exists("/n", true));
    assert_eq!(count(&w), 1, "also where there is no znode");
    w.call(a, &add_watch("/n", 0));
    assert_eq!(count(&w), 2, "per table and path");
    w.call(b, &create("/n", ""));
    assert_eq!(count(&w), 2, "what stays after the one-shot watch is spent");
    w.call(a, &remove_watches("/n", 3));
    assert_eq!(count(&w), 0);
}
