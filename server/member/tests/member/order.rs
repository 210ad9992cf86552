//! FIFO per session, one order for all, nothing shown before it is durable, and nothing half shown.

use member::LocalSessions;
use proto::{Op, Txn};
use quorum::replica::Replica;

use crate::local_sessions::Learner;
use crate::wire::*;
use crate::world::World;

fn burst() -> [Req; 6] {
    [create("/f", "one"), get("/f", false), set("/f", "two", 0), get("/f", false), delete("/f", 1), exists("/f", false)]
}

/// A burst sent without waiting is answered as if its requests had been sent one by one, although another session writes
/// between them and durability comes late.
#[test]
fn a_pipelined_burst_reads_its_own_writes_and_nothing_later() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(b, &create("/other", ""));
    let before = w.zxid();

    let bytes = w.frames_of(a, &burst());
    // Everything up to the second write arrives; the other session's write goes in between; then the rest.
    let cut: usize = burst()[..3].iter().map(|request| frame(0, request).len()).sum();
    w.send(a, &bytes[..cut]);
    w.prepare();
    w.ask(b, &set("/other", "x", -1));
    w.prepare();
    w.send(a, &bytes[cut..]);
    w.prepare();
    w.pump_all();
    assert!(w.replies(a).is_empty(), "nothing is durable yet");
    assert_eq!(w.outstanding_all.load(std::sync::atomic::Ordering::Relaxed), 7);

    assert!(w.make_durable(), "the group with the first two writes");
    w.pump_all();
    let first = w.replies(a);
    assert_eq!(first.iter().map(|r| r.zxid - before).collect::<Vec<_>>(), [1, 1, 2, 2], "exact zxids");
    assert_eq!(first[0].path(), "/f");
    assert_eq!(first[1].data(), "one");
    assert_eq!(first[2].stat().version, 1);
    assert_eq!(first[3].data(), "two");

    w.settle();
    let second = w.replies(a);
    assert_eq!(second.iter().map(|r| (r.zxid - before, r.err)).collect::<Vec<_>>(), [(4, 0), (4, -101)]);
    assert_eq!(w.replies(b)[0].zxid - before, 3);
    w.assert_quiet();
}

/// The same burst in one chunk, on one shard and on three, in one group and with every request on its own.
#[test]
fn a_burst_is_answered_alike_however_it_is_cut() {
    for (shards, step) in [(1, usize::MAX), (3, usize::MAX), (1, 1), (3, 7)] {
        let mut w = World::with_shards(shards);
        let a = w.open(shards - 1);
        let before = w.zxid();
        let bytes = w.frames_of(a, &burst());
        for piece in bytes.chunks(step.min(bytes.len())) {
            w.send(a, piece);
        }
        w.settle();
        let got: Vec<_> = w.replies(a).into_iter().map(|r| (r.zxid - before, r.err)).collect();
        assert_eq!(got, [(1, 0), (1, 0), (2, 0), (2, 0), (3, 0), (3, -101)], "{shards} shards, pieces of {step}");
    }
}

/// A multi creates two znodes and deletes a third. A reader on either shard, asking at every moment, sees all of it or nothing.
#[test]
fn a_multi_is_never_half_visible() {
    let mut w = World::with_shards(2);
    let (a, readers) = (w.open(0), [w.open(0), w.open(1)]);
    w.call(a, &create("/old", ""));
    w.pump_all();
    w.ask(a, &multi(&[create("/x", ""), create("/x/y", ""), delete("/old", -1)]));
    let look = |w: &mut World| {
        for reader in readers {
            for path in ["/x", "/x/y", "/old"] {
                w.ask(reader, &exists(path, false));
            }
            let seen: Vec<bool> = w.replies(reader).iter().map(|reply| reply.err == 0).collect();
            assert!(seen == [true, true, false] || seen == [false, false, true], "{seen:?}");
        }
    };
    look(&mut w);
    w.prepare();
    look(&mut w);
    w.make_durable();
    look(&mut w);
    w.pump(1);
    look(&mut w);
    w.pump(0);
    look(&mut w);
    w.settle();
    assert_eq!(w.replies(a)[0].members().len(), 3);
}

/// A writes on shard 0 and hears that it is done. Whoever it tells, on another shard that has not run since, sees the write.
#[test]
fn what_one_shard_answered_another_shard_sees() {
    let mut w = World::with_shards(3);
    let (a, b) = (w.open(0), w.open(2));
    w.ask(a, &create("/said", "yes"));
    w.prepare();
    w.make_durable();
    w.pump(0);
    assert_eq!(w.replies(a).len(), 1);
    // Shard 2 has not been told to look.
    w.ask(b, &get("/said", false));
    assert_eq!(w.replies(b)[0].data(), "yes");
}

/// Nobody sees a write before it is durable, its own session included, and nobody waits for it who did not write.
#[test]
fn what_is_not_durable_is_not_seen() {
    let mut w = World::with_shards(2);
    let (a, b, c) = (w.open(0), w.open(0), w.open(1));
    w.ask(a, &create("/n", ""));
    w.ask(a, &exists("/n", false));
    w.prepare();
    w.pump_all();
    for other in [b, c] {
        w.ask(other, &exists("/n", false));
        assert_eq!(w.replies(other)[0].err, -101, "answered at once, from before");
    }
    assert!(w.take(a).is_empty());
    w.settle();
    assert_eq!(w.replies(a).iter().map(|r| r.err).collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn failed_writes_consume_a_zxid_and_are_logged() {
    let mut w = World::new();
    let a = w.open(0);
    let before = w.zxid();
    let failing = [
        create("/a/b", ""),
        delete("/none", -1),
        set("/none", "", -1),
        raw(Op::SetData.as_i32(), b"junk"),
        multi(&[check("/none", 0)]),
    ];
    for (n, request) in failing.iter().enumerate() {
        let reply = w.call(a, request);
        assert_eq!(reply.zxid, before + n as i64 + 1, "{request:?}");
        // A read afterwards is answered at the same zxid.
        assert_eq!(w.call(a, &exists("/", false)).zxid, before + n as i64 + 1);
    }
    let logged = w.logged();
    let zxids: Vec<i64> = logged.iter().map(|entry| entry.0).collect();
    assert_eq!(zxids, (1..=before + 5).collect::<Vec<_>>(), "no hole, none twice");
    let ops: Vec<i32> = logged.iter().rev().take(5).rev().map(|entry| entry.3).collect();
    assert_eq!(ops, [-1, -1, -1, -1, 14]);
    assert!(logged.iter().rev().take(5).all(|entry| entry.1 == w.session(a)));
}

/// sync and getEphemerals stand in line with the writes of everybody; their answers carry the zxid that they waited for.
#[test]
fn sync_waits_for_what_was_under_way() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.ask(a, &create("/s", ""));
    w.prepare();
    w.ask(b, &path_only(Op::Sync, "/anything"));
    w.ask(b, &get("/s", false));
    w.prepare();
    w.pump_all();
    assert!(w.take(b).is_empty(), "the write is not durable");
    w.settle();
    let replies = w.replies(b);
    assert_eq!(replies[0].path(), "/anything");
    assert_eq!(replies[1].err, 0);
    let seen = w.replies(a)[0].zxid;
    assert_eq!((replies[0].zxid, replies[1].zxid), (seen, seen));
    // With nothing under way it is answered as well.
    assert_eq!(w.call(b, &path_only(Op::Sync, "")).path(), "");
}

/// A learner has what its leader proposes before that is final. Its getEphemerals once showed it, though another leader might take it back.
#[test]
fn a_learner_lists_ephemerals_as_of_what_is_final() {
    let mut l = Learner::new(LocalSessions::Upgraded);
    let a = l.world.open(0);
    let session = l.world.session(a);
    let xid = l.world.ask(a, &create_flags("/e", 1));
    l.world.settle();
    l.proposed(session, 0, Op::CreateSession, &Txn::CreateSession { timeout_ms: 10_000 });
    l.created(session, xid, "/e", true);
    l.world.replies(a);
    l.proposed(0x3_0000, 7, Op::Delete, &Txn::Delete { path: "/e".into() });
    l.world.ask(a, &path_only(Op::GetEphemerals, "/"));
    l.world.settle();
    l.world.stage.synced();
    l.world.settle();
    assert!(l.world.take(a).is_empty(), "the deletion is not final");
    l.committed();
    assert_eq!(l.world.replies(a)[0].strings(), [""; 0]);
}

/// An auth packet is answered ahead of a write that waits, and does not lend its identity to reads that were sent before it.
#[test]
fn an_auth_packet_is_answered_at_once_and_counts_from_then_on() {
    let mut w = World::new();
    let a = w.open(0);
    w.call(a, &auth("digest", "u:p"));
    w.call(a, &create_acl("/secret", &acl(31, "auth", "")));
    let b = w.open(0);
    w.burst(
        b,
        &[
            create("/w", ""),
            get("/secret", false),
            set("/secret", "x", -1),
            auth("digest", "u:p"),
            get("/secret", false),
            set("/secret", "y", -1),
        ],
    );
    let first = w.replies(b);
    assert_eq!(first.iter().map(|r| (r.xid, r.zxid, r.err)).collect::<Vec<_>>(), [(-4, 0, 0)]);
    w.settle();
    assert_eq!(w.replies(b).iter().map(|r| r.err).collect::<Vec<_>>(), [0, -102, -102, 0, 0]);
}

/// Many groups, one at a time, while a queue of reads and writes stands: nothing is lost or exchanged.
#[test]
fn a_long_queue_is_served_in_order_group_by_group() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(a, &create("/n", "0"));
    for round in 1..=50 {
        w.burst(a, &[set("/n", &round.to_string(), -1), get("/n", false), exists("/n", false)]);
        w.burst(b, &[set("/n", "b", -1), get("/n", false)]);
        w.prepare();
        if round % 3 == 0 {
            w.make_durable();
            w.pump(round % 2);
        }
    }
    w.settle();
    let replies = w.replies(a);
    assert_eq!(replies.len(), 150);
    for (at, three) in replies.chunks(3).enumerate() {
        assert_eq!(three[1].data(), (at + 1).to_string());
        assert_eq!(three[0].zxid, three[1].zxid);
        assert_eq!(three[0].stat(), three[2].stat());
    }
    w.assert_quiet();
}
