//! The end of a server, and of connections that nobody waits for.

use crate::wire::*;
use crate::world::World;

#[test]
fn a_shutdown_closes_every_connection_behind_its_answers() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    let fresh = w.socket(0, "127.0.0.1");
    w.burst(a, &[create("/a", ""), get("/a", false)]);
    assert!(w.stage.has_requests() && w.stage.is_busy());
    w.prepare();
    assert!(w.stage.is_busy(), "not durable");
    w.settle();
    assert!(!w.stage.is_busy());
    for shard in 0..2 {
        w.shards[shard].shut_down();
        w.serve(shard);
        assert_eq!(w.shards[shard].connections(), 0);
    }
    assert_eq!(w.replies(a).len(), 2);
    for c in [a, b, fresh] {
        assert!(w.client(c).closed);
    }
}

/// A connection ends by a closeSession, but its client does not take the answer: after the time that it may be silent it is aborted.
#[test]
fn whoever_does_not_take_the_last_answer_is_aborted() {
    let mut w = World::new();
    let (a, b) = (w.open(0), w.open(0));
    w.client(a).deaf = true;
    w.burst(a, &[exists("/", false), close()]);
    w.settle();
    assert!(!w.client(a).closed, "the answer is on its way");
    w.pass_pinging(15_000, &[b]);
    assert!(!w.client(a).closed);
    w.pass_pinging(10_000, &[b]);
    assert!(w.client(a).closed && w.client(a).aborted);
    assert!(!w.client(b).closed);
    w.assert_quiet();
}
