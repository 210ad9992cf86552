//! A slow disk, a disk that fails, and a clock that jumps.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use host::faulty::Fault;
use host::{Disk, FaultyDisk, MemoryDisk};
use proto::{Millis, Op};

use crate::wire::*;
use crate::world::{Before, C, DIR, START_MS, World};

/// A second passes while the log's write is still under way; these connections ping.
fn second(w: &mut World, alive: &[C]) {
    w.mono += 1_000;
    let now = w.now();
    alive.iter().for_each(|c| _ = w.ask(*c, &ping()));
    for shard in &mut w.shards {
        shard.tick(now);
    }
    w.prepare();
    w.pump_all();
}

/// A sync takes half a minute. Who wrote waits; who reads or pings does not; sessions live as long as they are heard of, whether or
/// not they wait for an answer, and the one that is silent ends at its time, though its end cannot be written yet.
#[test]
fn a_slow_sync_holds_up_answers_to_writes_and_nothing_else() {
    let mut w = World::with_shards(2);
    let (writer, reader, silent) = (w.open(0), w.open(1), w.open(1));
    assert_eq!(w.err(silent, &create_flags("/ephemeral", 1)), 0);
    w.take(silent);
    w.ask(writer, &create("/slow", ""));
    w.prepare();
    assert_eq!(w.writes.len(), 1, "under way");
    for _ in 0..30 {
        second(&mut w, &[writer, reader]);
        w.ask(reader, &exists("/slow", false));
        w.ask(reader, &exists("/ephemeral", false));
        let replies = w.replies(reader);
        assert_eq!(
            replies.iter().map(|reply| reply.err).collect::<Vec<_>>(),
            [0, -101, 0],
            "at once, and nothing is shown early"
        );
        assert!(w.replies(writer).is_empty(), "nothing is acknowledged before it is durable");
        assert!(!w.client(writer).closed && !w.client(reader).closed);
    }
    assert_eq!(w.writes.len(), 1);
    w.settle();
    let replies = w.replies(writer);
    assert_eq!(replies.len(), 31, "the create and thirty pings");
    assert!(replies.iter().all(|reply| reply.err == 0));
    assert!(w.client(silent).closed, "it has expired");
    assert_eq!(w.err(reader, &exists("/ephemeral", false)), -101);
    assert_eq!(w.err(reader, &exists("/slow", false)), 0);
    let last = *w.logged().last().unwrap();
    assert_eq!(last.3, Op::CloseSession.as_i32(), "by its own transaction, behind the one that was slow");
    w.assert_quiet();
}

#[test]
fn a_sync_that_fails_acknowledges_nothing_and_ends_the_process() {
    for (what, kind) in [
        ("sync", std::io::ErrorKind::Other),
        ("write", std::io::ErrorKind::StorageFull),
        ("write", std::io::ErrorKind::Other),
    ] {
        let memory = MemoryDisk::new();
        memory.create_dir_all(Path::new(DIR)).unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let trigger = Arc::clone(&armed);
        let faulty = FaultyDisk::new(memory.clone(), move |call| {
            (trigger.load(Relaxed) && call.what == what).then_some(Fault::Short(4_500, kind))
        });
        let mut w = World::with(|o| {
            o.before = Some(Before {
                memory: memory.clone(),
                io: Arc::new(faulty),
                leftovers: Vec::new(),
                replayed: 0,
                deferred: false,
            });
        });
        let (a, b) = (w.open(0), w.open(0));
        assert_eq!(w.err(a, &create("/kept", "")), 0);
        w.ask(a, &create("/doubtful", ""));
        w.ask(b, &set("/kept", "doubtful too", -1));
        armed.store(true, Relaxed);
        w.settle();
        let failed = w.failed.as_ref().unwrap();
        assert_eq!((failed.what, failed.source.kind()), ("write", kind), "{what}");
        assert!(failed.to_string().contains(" of log.1 at offset "), "{failed}");
        assert!(w.replies(a).is_empty() && w.replies(b).is_empty(), "{what}");
        // No further write is tried: what is on the disk is not known.
        armed.store(false, Relaxed);
        w.settle();
        assert!(w.writes.is_empty() && w.replies(a).is_empty(), "{what}");
    }
}

const HOUR_MS: i64 = 3_600_000;
const YEARS_MS: i64 = 10 * 365 * 24 * HOUR_MS;

/// The wall clock goes into stats, as in Java, and decides nothing but the age of containers and TTL znodes.
#[test]
fn sessions_do_not_notice_when_the_wall_clock_jumps() {
    for jump in [HOUR_MS, -HOUR_MS, YEARS_MS, -YEARS_MS, -(START_MS + crate::world::WALL_AHEAD_MS) - YEARS_MS] {
        let mut w = World::new();
        let (alive, silent) = (w.open(0), w.open(0));
        assert_eq!(w.err(silent, &create_flags("/ephemeral", 1)), 0);
        w.call(alive, &create("/old", ""));
        let before = w.now().wall;
        w.wall_ahead += jump;
        for round in 0..20 {
            w.pass_pinging(1_000, &[alive]);
            if round < 7 {
                assert!(!w.client(silent).closed, "{jump}: not before its time");
            }
            // And back, and forth again.
            w.wall_ahead += if round % 2 == 0 { -jump } else { jump };
        }
        assert!(w.client(silent).closed && !w.client(alive).closed, "{jump}");
        assert_eq!(w.err(alive, &exists("/ephemeral", false)), -101);

        w.wall_ahead = before.0 - w.mono + jump;
        let now = w.now().wall;
        assert_eq!(w.err(alive, &set("/old", "x", -1)), 0);
        let old = w.call(alive, &exists("/old", false)).stat();
        assert_eq!((old.ctime, old.mtime), (before, now), "{jump}: as the clock said, though that be earlier");
        assert_eq!(w.err(alive, &create("/new", "")), 0);
        assert_eq!(w.call(alive, &exists("/new", false)).stat().ctime, Millis(now.0));
        // Order is a matter of zxids alone.
        let logged = w.logged();
        assert!(logged.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
        w.assert_quiet();
    }
}

#[test]
fn the_age_of_ttl_znodes_is_that_of_the_wall_clock_and_the_pace_of_looking_is_not() {
    let mut w = World::with(|o| {
        o.write.container_check_ms = 1_000;
        o.write.container_never_used_ms = 50_000;
    });
    let c = w.open(0);
    let start = w.wall_ahead;
    let left = |w: &mut World| w.call(c, &children("/", false)).strings().len() - 1;
    w.call(c, &create_ttl("/ttl", 5, 60_000));
    w.call(c, &create_as(Op::CreateContainer, "/container", None, &open_acl(), 4));
    // Backwards: they are not born yet, and stay for as long.
    for jump in [-HOUR_MS, -YEARS_MS] {
        w.wall_ahead = start + jump;
        w.pass_pinging(120_000, &[c]);
        assert_eq!(left(&mut w), 2, "{jump}");
    }
    // Forwards: at once they are old, as in Java, and gone at the next look.
    w.wall_ahead = start + HOUR_MS;
    w.pass_pinging(2_000, &[c]);
    assert_eq!(left(&mut w), 0);
    // A clock before 1970 ages nothing, and breaks nothing.
    w.wall_ahead = -w.mono - YEARS_MS;
    w.call(c, &create_ttl("/ttl", 5, 5_000));
    assert!(w.call(c, &exists("/ttl", false)).stat().ctime.0 < 0);
    w.pass_pinging(3_000, &[c]);
    assert_eq!(left(&mut w), 1);
    w.pass_pinging(4_000, &[c]);
    assert_eq!(left(&mut w), 0);
}
