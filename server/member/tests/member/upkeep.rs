//! What the write stage does by itself: quotas, containers and TTL znodes, snapshots, groups that wait for company.

use std::sync::atomic::Ordering::Relaxed;

use proto::Op;

use crate::wire::*;
use crate::world::{C, World};

fn quota(w: &mut World, c: C, path: &str, limits: &str) {
    let mut at = "/zookeeper/quota".to_owned();
    for part in path.split('/').skip(1) {
        at = format!("{at}/{part}");
        w.call(c, &create(&at, ""));
    }
    assert_eq!(w.err(c, &create(&format!("{at}/zookeeper_limits"), limits)), 0);
    assert_eq!(w.err(c, &create(&format!("{at}/zookeeper_stats"), "")), 0);
}

#[test]
fn hard_quotas_refuse_and_soft_ones_do_not() {
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &create("/q", "12345"));
    quota(&mut w, c, "/q", "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3");
    let usage = |w: &mut World| w.call(c, &get("/zookeeper/quota/q/zookeeper_stats", false)).data();
    assert_eq!(usage(&mut w), "count=1,bytes=5");
    assert_eq!(w.err(c, &create("/q/a", "123456")), -125, "bytes");
    assert_eq!(w.err(c, &create("/q/a", "12345")), 0);
    assert_eq!(usage(&mut w), "count=2,bytes=10");
    assert_eq!(w.err(c, &set("/q/a", "123456", -1)), -125);
    assert_eq!(w.err(c, &create("/q/b", "")), 0, "no bytes, so only the count matters");
    assert_eq!(w.err(c, &create("/q/c", "")), -125, "count");
    assert_eq!(w.err(c, &delete("/q/b", -1)), 0);
    assert_eq!(w.err(c, &create("/q/c", "")), 0);
    // Unlike Java, what is under way counts: two creates in one burst, of which one fits.
    w.call(c, &delete("/q/c", -1));
    w.burst(c, &[create("/q/1", ""), create("/q/2", "")]);
    w.settle();
    assert_eq!(w.replies(c).iter().map(|r| r.err).collect::<Vec<_>>(), [0, -125]);
    // Soft limits.
    w.call(c, &create("/s", ""));
    quota(&mut w, c, "/s", "count=1,bytes=1");
    assert_eq!(w.err(c, &create("/s/a", "123")), 0);
    // Lifted.
    w.call(c, &delete("/zookeeper/quota/q/zookeeper_limits", -1));
    assert_eq!(w.err(c, &create("/q/more", "123456789")), 0);
}

#[test]
fn quotas_are_counted_but_not_enforced_unless_asked() {
    let mut w = World::with(|o| o.sequencer.enforce_quota = false);
    let c = w.open(0);
    w.call(c, &create("/q", ""));
    quota(&mut w, c, "/q", "count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=1");
    assert_eq!(w.err(c, &create("/q/a", "123")), 0);
    assert_eq!(w.call(c, &get("/zookeeper/quota/q/zookeeper_stats", false)).data(), "count=2,bytes=3");
}

/// A container goes once it is empty and has had a child; one that never had stays, unless a time is set for that.
#[test]
fn containers_go_when_they_are_empty() {
    for never_used_ms in [0, 100_000] {
        let mut w = World::with(|o| o.write.container_never_used_ms = never_used_ms);
        let (c, watcher) = (w.open(0), w.open(0));
        for path in ["/used", "/unused", "/busy"] {
            w.call(c, &create_as(Op::CreateContainer, path, None, &open_acl(), 4));
        }
        for path in ["/used/k", "/busy/k"] {
            w.call(c, &create(path, ""));
        }
        w.call(c, &delete("/used/k", -1));
        w.call(watcher, &exists("/used", true));
        w.take(watcher);
        w.pass_pinging(59_000, &[c, watcher]);
        assert_eq!(w.call(c, &children("/", false)).strings(), ["busy", "unused", "used", "zookeeper"]);
        w.pass_pinging(2_000, &[c, watcher]);
        assert_eq!(w.call(c, &children("/", false)).strings(), ["busy", "unused", "zookeeper"]);
        assert_eq!(w.events(watcher), [(2, "/used".to_owned())]);
        let last = *w.logged().last().unwrap();
        assert_eq!((last.1, last.3), (0, 20), "a deleteContainer of nobody's session");
        w.pass_pinging(120_000, &[c, watcher]);
        let left: &[&str] = if never_used_ms > 0 { &["busy", "zookeeper"] } else { &["busy", "unused", "zookeeper"] };
        assert_eq!(w.call(c, &children("/", false)).strings(), left);
    }
}

/// A TTL znode goes when it has no children and was not set for its time; a child's birth does not renew it.
#[test]
fn ttl_znodes_go_when_they_are_not_set_in_time() {
    let mut w = World::with(|o| o.write.container_check_ms = 1_000);
    let c = w.open(0);
    w.call(c, &create_ttl("/t", 5, 5_000));
    w.call(c, &create_ttl("/renewed", 5, 5_000));
    w.call(c, &create_ttl("/parent", 5, 5_000));
    w.call(c, &create("/parent/k", ""));
    assert_eq!(w.call(c, &create_ttl("/s-", 6, 5_000)).path_stat().0, "/s-0000000003");
    w.pass_pinging(4_000, &[c]);
    w.call(c, &set("/renewed", "", -1));
    w.pass_pinging(3_000, &[c]);
    assert_eq!(w.call(c, &children("/", false)).strings(), ["parent", "renewed", "zookeeper"]);
    w.call(c, &delete("/parent/k", -1));
    w.pass_pinging(4_000, &[c]);
    assert_eq!(w.call(c, &children("/", false)).strings(), ["zookeeper"]);
}

/// Deletions are spread: so many per minute.
#[test]
fn the_reaper_keeps_its_pace() {
    let mut w = World::with(|o| o.write.container_per_minute = 60);
    let c = w.open(0);
    for n in 0..30 {
        let path = format!("/c{n}");
        w.call(c, &create_as(Op::CreateContainer, &path, None, &open_acl(), 4));
        w.call(c, &create(&format!("{path}/k"), ""));
        w.call(c, &delete(&format!("{path}/k"), -1));
    }
    w.pass_pinging(60_000, &[c]);
    let left = |w: &mut World| w.call(c, &children("/", false)).strings().len() - 1;
    let first = left(&mut w);
    assert!((28..=30).contains(&first), "{first}");
    w.pass_pinging(10_000, &[c]);
    assert!((first - left(&mut w)).abs_diff(10) <= 1);
    // What is no longer empty when its turn comes is left alone.
    let path = w.call(c, &children("/", false)).strings().into_iter().rfind(|name| name.starts_with('c')).unwrap();
    w.call(c, &create(&format!("/{path}/again"), ""));
    w.pass_pinging(60_000, &[c]);
    assert_eq!(w.call(c, &children("/", false)).strings(), [path, "zookeeper".to_owned()]);
}

/// After `snapCount` transactions, give or take half, a snapshot is asked for once, of a point that is final, pinned while later
/// writes go on; the next one is asked for only when this one is done.
#[test]
fn a_snapshot_becomes_due_and_is_of_one_moment() {
    let mut w = World::with(|o| o.write.snap_count = 20);
    let c = w.open(0);
    w.call(c, &create("/n", "0"));
    for n in 1..=60 {
        w.ask(c, &set("/n", &n.to_string(), -1));
        if n % 4 == 0 {
            w.settle();
        }
    }
    w.settle();
    assert_eq!(w.snapshots.len(), 1, "one at a time");
    let (point, tree) = w.snapshots.remove(0);
    assert_eq!(tree.zxid(), point.zxid);
    assert!((11..=30).contains(&point.zxid.0), "{}", point.zxid);
    let node = tree.get("/n").unwrap();
    // zxid 1 opened the session and 2 created the znode.
    assert_eq!(String::from_utf8_lossy(node.data().unwrap()), (point.zxid.0 - 2).to_string());
    assert_eq!(point.sessions.len(), 1);
    drop(tree);
    w.stage.snapshot_done();
    for n in 0..40 {
        w.call(c, &set("/n", &n.to_string(), -1));
    }
    assert_eq!(w.snapshots.len(), 1);
    assert!(w.snapshots[0].0.zxid > point.zxid);
    assert_eq!(w.logged().len() as i64, w.zxid(), "the log has all of it, over several files");
}

/// However fast transactions come, snapshots come as if it were 50 per millisecond: each costs a new log file.
#[test]
fn snapshots_keep_a_distance_however_fast_transactions_come() {
    let mut w = World::with(|o| o.write.snap_count = 500);
    let c = w.open(0);
    w.call(c, &create("/n", "0"));
    let write = |w: &mut World, count: usize| {
        for n in 0..count {
            w.ask(c, &set("/n", &n.to_string(), -1));
            if n % 50 == 0 {
                w.settle();
            }
        }
        w.settle();
    };
    write(&mut w, 600);
    assert_eq!(w.snapshots.len(), 1);
    w.stage.snapshot_done();
    w.mono += 9;
    write(&mut w, 600);
    assert_eq!(w.snapshots.len(), 1, "ten milliseconds are not over");
    w.mono += 1;
    write(&mut w, 1);
    assert_eq!(w.snapshots.len(), 2);
}

#[test]
fn a_snapshot_becomes_due_by_bytes_too() {
    let mut w = World::with(|o| o.write.snap_bytes = 1 << 20);
    let c = w.open(0);
    w.call(c, &create("/n", ""));
    for _ in 0..12 {
        assert!(w.snapshots.is_empty() || w.zxid() > 6);
        w.call(c, &set("/n", &"x".repeat(100_000), -1));
    }
    assert_eq!(w.snapshots.len(), 1);
}

/// `flushDelay`: a group waits for company, for that long or until `maxBatchSize` records are there.
#[test]
fn a_flush_delay_gathers_a_group() {
    let mut w = World::with(|o| {
        o.write.flush_delay_ms = 10;
        o.write.batch_records_max = 5;
    });
    w.mono += 100;
    let c = w.socket(0, "127.0.0.1");
    w.send(c, &Hello::default().frame());
    w.prepare();
    assert!(w.writes.is_empty());
    assert_eq!(w.stage.next_deadline().0, w.mono + 10);
    w.mono += 9;
    w.prepare();
    assert!(w.writes.is_empty());
    w.mono += 1;
    w.prepare();
    assert_eq!(w.writes.len(), 1);
    w.settle();
    for n in 0..4 {
        w.ask(c, &create(&format!("/{n}"), ""));
    }
    w.prepare();
    assert!(w.writes.is_empty());
    w.ask(c, &create("/4", ""));
    w.prepare();
    assert_eq!(w.writes.len(), 1, "five do not wait");
    w.settle();
    assert_eq!(w.replies(c).len(), 5);
}

/// The disk is full: writes wait, reads go on, and it comes back by itself.
#[test]
fn a_full_disk_holds_writes_back_and_comes_back_by_itself() {
    let mut w = World::with(|o| o.log.segment_bytes = 0);
    let (c, other) = (w.open(0), w.open(0));
    w.call(c, &create("/n", ""));
    w.disk.set_capacity(Some(1));
    let data = "x".repeat(900_000);
    for _ in 0..12 {
        w.ask(c, &set("/n", &data, -1));
        w.settle();
    }
    let answered = w.replies(c).len();
    assert!((1..12).contains(&answered), "{answered}");
    w.ask(other, &exists("/n", false));
    assert_eq!(w.replies(other).len(), 1, "reads go on");
    w.disk.set_capacity(None);
    w.pass(1_001);
    w.pass(1_001);
    assert_eq!(w.replies(c).len() + answered, 12);
    w.assert_quiet();
}

#[test]
fn gauges_follow_the_tree() {
    let mut w = World::with_shards(2);
    let c = w.open(0);
    w.call(c, &create("/a", "123"));
    w.call(c, &create_flags("/e", 1));
    let g = &w.gauges;
    assert_eq!((g.znodes.load(Relaxed), g.ephemerals.load(Relaxed), g.sessions.load(Relaxed)), (7, 1, 1));
    assert_eq!(w.stats[0].connections.load(Relaxed), 1);
    assert!(w.shards.iter().all(|shard| shard.zxid().0 == w.zxid()));
    let report = w.stage.report();
    assert_eq!(report.ephemerals.len(), 1);
    assert_eq!(report.buckets.iter().map(|(_, sessions)| sessions.len()).sum::<usize>(), 1);
}
