//! Bounds: what a client sees when there is too much of something, and that it gets everything all the same.

use std::sync::atomic::Ordering::Relaxed;

use crate::wire::*;
use crate::world::{C, World};

/// `globalOutstandingLimit`: a connection with requests under way is not read beyond it, one without is; later everything that was
/// sent is answered, in order.
#[test]
fn the_outstanding_limit_pauses_and_loses_nothing() {
    for shards in [1, 2] {
        let mut w = World::with(|o| {
            o.shard.outstanding_max = 10;
            o.shards = shards;
        });
        let (a, b, c) = (w.open(0), w.open(shards - 1), w.open(0));
        let many: Vec<Req> =
            (0..40).flat_map(|n| [create(&format!("/a{n}"), ""), exists(&format!("/a{n}"), false)]).collect();
        w.burst(a, &many);
        assert!(w.client(a).paused);
        let waiting = w.outstanding_all.load(Relaxed);
        assert!((10..=12).contains(&waiting), "{waiting}");
        // Another one has nothing under way: it gets one request in, and is then held up as well.
        w.burst(b, &[create("/b1", ""), create("/b2", ""), create("/b3", "")]);
        assert!(w.client(b).paused);
        assert_eq!(w.outstanding_all.load(Relaxed), waiting + 1);
        // A reader is not held up: nothing of its is under way.
        assert_eq!(w.err(c, &exists("/", false)), 0);
        w.settle();
        assert_eq!(w.replies(a).iter().filter(|r| r.err == 0).count(), 80);
        assert_eq!(w.replies(b).len(), 3);
        assert!(!w.client(a).paused && !w.client(b).paused && w.owed(a) == 0);
        w.assert_quiet();
    }
}

/// Many throttled connections, some of which close meanwhile.
#[test]
fn throttled_connections_may_leave() {
    let mut w = World::with(|o| o.shard.outstanding_max = 5);
    let all: Vec<C> = (0..200).map(|_| w.open(0)).collect();
    for (n, c) in all.iter().enumerate() {
        w.burst(*c, &[create(&format!("/x{n}"), ""), set(&format!("/x{n}"), "1", -1), get(&format!("/x{n}"), false)]);
    }
    for c in all.iter().step_by(3) {
        w.hang_up(*c);
    }
    w.settle();
    for (n, c) in all.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
        assert_eq!(w.replies(*c).last().unwrap().data(), "1", "{n}");
    }
    w.assert_quiet();
}

/// The ring to the write stage is full, and so is what may overflow it: sockets wait, nothing is lost, and nothing comes twice.
#[test]
fn a_full_inlet_holds_requests_back() {
    let mut w = World::with(|o| {
        o.inlet_capacity = 4;
        o.shard.outstanding_max = 1_000_000;
    });
    let a = w.open(0);
    let many: Vec<Req> = (0..5000).map(|n| create(&format!("/n{n}"), "")).collect();
    w.burst(a, &many);
    assert!(w.client(a).paused);
    let waiting = w.shards[0].outstanding();
    assert!((4096..4200).contains(&waiting), "{waiting}");
    w.settle();
    let replies = w.replies(a);
    assert_eq!(replies.len(), 5000);
    assert!(replies.iter().enumerate().all(|(n, reply)| reply.path() == format!("/n{n}")));
    w.assert_quiet();
}

/// One shard does not look at the commit stream until its queue is full. Nothing is released that it could not take, the write
/// stage stops taking requests, asks to be called again soon, and goes on when there is room.
#[test]
fn a_shard_that_lags_holds_the_stream_up_and_nothing_is_lost() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(b, &exists("/last", true));
    let mut sent = 0;
    while !w.stage.is_backed_up() && sent < 3000 {
        sent += 1;
        w.ask(a, &create(&format!("/n{sent}"), ""));
        w.prepare();
        w.make_durable();
        w.pump(0);
    }
    assert!(sent > 1000 && sent < 3000, "{sent}");
    assert_eq!(w.stage.next_deadline(), proto::Millis(0), "nobody else would call it");
    let answered = w.replies(a).len();
    assert!(answered < sent, "what the lagging shard has no room for is not answered elsewhere");
    w.ask(a, &create("/last", ""));
    w.prepare();
    assert!(w.writes.is_empty(), "no request is taken");
    w.settle();
    assert_eq!(w.replies(a).len() + answered, sent + 1);
    assert_eq!(w.events(b), [(1, "/last".to_owned())]);
    w.assert_quiet();
}

/// A client that pipelines reads but does not take the answers is not read any more; when it reads again, all answers come.
#[test]
fn a_client_that_does_not_read_is_not_read() {
    let mut w = World::new();
    let a = w.open(0);
    w.call(a, &create("/big", &"x".repeat(100_000)));
    w.client(a).deaf = true;
    for _ in 0..100 {
        w.ask(a, &get("/big", false));
    }
    assert!(w.client(a).paused);
    let b = w.open(0);
    assert_eq!(w.err(b, &exists("/big", false)), 0, "others are not affected");
    w.read_again(a);
    w.settle();
    assert_eq!(w.replies(a).len(), 100);
    assert!(!w.client(a).paused);
    w.assert_quiet();
}

/// A client that watches but does not read is given up when its events take too much memory.
#[test]
fn a_client_that_never_takes_its_events_is_closed() {
    let mut w = World::new();
    let (a, b) = (w.open(0), w.open(0));
    let name = format!("/{}", "n".repeat(500_000));
    w.call(b, &create(&name, ""));
    w.call(a, &add_watch(&name, 0));
    w.client(a).deaf = true;
    let mut rounds = 0;
    while !w.client(a).closed && rounds < 300 {
        w.call(b, &set(&name, "x", -1));
        rounds += 1;
        if rounds == 200 {
            // By now it is closing; the one send that is under way never ends, so it is aborted.
            w.mono += 30_000;
            w.ask(b, &ping());
            let now = w.now();
            w.shards[0].tick(now);
            w.shards[0].tick(proto_later(now));
            w.serve(0);
        }
    }
    assert!((100..=201).contains(&rounds), "{rounds}");
    assert!(w.client(a).aborted);
}

/// Three hundred clients that read nothing held a megabyte and a half each; ten thousand would have held it as well.
#[test]
fn clients_that_do_not_read_share_one_bound_and_make_room_for_others() {
    let mut w = World::with(|o| o.shard.unread_bytes_max = 1_000_000);
    let polite = w.open(0);
    w.call(polite, &create("/big", &"x".repeat(99_900)));
    let deaf: Vec<C> = (0..30).map(|_| w.open(0)).collect();
    for c in &deaf {
        w.client(*c).deaf = true;
        for _ in 0..5 {
            w.ask(*c, &get("/big", false));
        }
    }
    // Beyond a million bytes nobody gets a second answer, beyond two millions nobody a first one; the first ones got five.
    let (fed, starved): (Vec<C>, Vec<C>) = deaf.iter().partition(|c| !w.clients[c.0].frames.is_empty());
    assert!((8..28).contains(&starved.len()), "{} starved", starved.len());
    w.ask(polite, &get("/big", false));
    w.ask(polite, &ping());
    assert_eq!(w.replies(polite).len(), 0, "it has to wait as well");
    // Those who took nothing for longest make room for it.
    let mut seconds = 0;
    while w.clients[polite.0].paused && seconds < 30 {
        w.pass(1_500);
        w.pass(500);
        seconds += 2;
    }
    assert_eq!(w.replies(polite).len(), 2, "after {seconds} s");
    let aborted = fed.iter().filter(|c| w.clients[c.0].aborted).count();
    assert!(aborted > 2, "{aborted}");
    w.hang_up(polite);
    deaf.iter().for_each(|c| w.hang_up(*c));
}

/// A thousand watchers that read nothing held a megabyte each.
#[test]
fn events_that_nobody_reads_share_the_bound() {
    let mut w = World::with(|o| o.shard.unread_bytes_max = 4_000_000);
    let writer = w.open(0);
    let name = format!("/{}", "n".repeat(10_000));
    w.call(writer, &create(&name, ""));
    let deaf: Vec<C> = (0..40).map(|_| w.open(0)).collect();
    for c in &deaf {
        w.call(*c, &add_watch(&name, 0));
        w.client(*c).deaf = true;
    }
    let mut answered = 0;
    for _ in 0..4 {
        w.burst(writer, &vec![set(&name, "x", -1); 25]);
        w.settle();
        w.pass(1_500);
        w.pass(500);
        answered += w.replies(writer).len();
    }
    // 40 MB of events. The writer had to wait, and went on when those who take nothing were gone.
    let left = deaf.iter().filter(|c| !w.clients[c.0].closed).count();
    assert!(answered == 100 && left < 30, "{answered} answers, {left} left");
    w.hang_up(writer);
    deaf.iter().for_each(|c| w.hang_up(*c));
}

/// A crowd that read much and then only pinged held the buffers of its answers for ever.
#[test]
fn an_idle_connection_keeps_no_buffer() {
    let mut w = World::new();
    let a = w.open(0);
    let (key, now) = (w.key(a), w.now());
    w.shards[0].received(key, &frame(-2, &ping()), now);
    let answer = w.shards[0].take_output(key, Vec::with_capacity(50_000), now);
    assert!(!answer.is_empty());
    let kept = w.shards[0].sent(key, now).map(|buffer| buffer.capacity());
    assert_eq!(kept, Some(50_000));
    assert!(w.shards[0].sent(key, now).is_none());
}

fn proto_later(now: pipeline::Now) -> pipeline::Now {
    pipeline::Now { mono: now.mono.plus(1), ..now }
}

#[test]
fn a_connection_without_a_session_is_closed_in_time() {
    let mut w = World::new();
    let (silent, half) = (w.socket(0, "127.0.0.1"), w.socket(0, "127.0.0.1"));
    w.send(half, &Hello::default().frame()[..20]);
    let with_session = w.open(0);
    w.pass_pinging(10_000, &[with_session]);
    assert!(!w.client(silent).closed && !w.client(half).closed);
    w.pass_pinging(1_000, &[with_session]);
    assert!(w.client(silent).closed && w.client(half).closed);
    assert!(!w.client(with_session).closed);
    assert_eq!(w.stats[0].sessionless_expired.load(Relaxed), 2);
    assert_eq!(w.shards[0].connections(), 1);
    // One that comes later has its own time.
    let late = w.socket(0, "127.0.0.1");
    w.pass_pinging(9_000, &[with_session]);
    assert!(!w.client(late).closed);
    w.pass_pinging(2_000, &[with_session]);
    assert!(w.client(late).closed);
}

/// Counters of connections and requests are exact whatever happens to connections.
#[test]
fn counters_return_to_zero_after_chaos() {
    let mut w = World::with_shards(3);
    for round in 0..30 {
        let all: Vec<C> = (0..6).map(|n| w.open(n % 3)).collect();
        for (n, c) in all.iter().enumerate() {
            w.burst(
                *c,
                &[
                    create_flags(&format!("/e{round}-{n}"), 1),
                    get("/none", true),
                    set("/none", "", -1),
                    exists("/", true),
                ],
            );
            match (round + n) % 5 {
                0 => w.hang_up(*c),
                1 => w.burst(*c, &[close()]),
                2 => {
                    w.expect_anything(*c);
                    w.send(*c, &frame(99, &raw(12345, b"")));
                }
                3 => _ = w.prepare(),
                _ => {}
            }
        }
        if round % 2 == 0 {
            w.prepare();
            w.make_durable();
            w.pump(round % 3);
        }
        all.iter().for_each(|c| w.hang_up(*c));
    }
    w.settle();
    w.assert_quiet();
    assert!(w.shards.iter().all(|shard| shard.connections() == 0));
    for stats in &w.stats {
        assert_eq!((stats.outstanding.load(Relaxed), stats.connections.load(Relaxed)), (0, 0));
        assert_eq!(stats.watches.load(Relaxed), 0);
    }
    w.pass(60_000);
    assert_eq!(w.gauges.ephemerals.load(Relaxed), 0);
    assert_eq!(w.gauges.sessions.load(Relaxed), 0);
}
