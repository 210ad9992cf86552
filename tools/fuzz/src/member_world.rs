//! A whole server in memory, and clients that send it whatever the input says.
//!
//! Each piece begins with a byte: its low two bits are the connection, the next three what happens.
//!
//! | | |
//! |---|---|
//! | 0, 1 | the rest is a frame's content: the length is put before it |
//! | 2 | the rest is sent as it is |
//! | 3 | a sound connect request, or one for the session of the connection that the next byte names |
//! | 4 | the client hangs up |
//! | 5 | time passes, by the rest as milliseconds |
//! | 6 | the client stops reading, or reads again |
//! | 7 | the rest is a frame's content, sent twice in pieces, while nothing is written to the disk in between |
//!
//! When all is said, whoever waits has been answered or is gone, what the log holds can be restored, and the tree that comes
//! of it is the one that clients saw.

use std::sync::Arc;

use admin::{Bytes, Facts, HostFacts, Levels, Role, ServerFacts, Totals, Version, answer, effect, needs};
use member::word::Opening;
use proto::connect::session_password;
use proto::{Millis, Op, SessionId};
use wal::LogOptions;

use crate::pieces::{pieces, tagged};
use crate::wire::{Hello, children, path_only};
use crate::world::{C, Options, START_MS, World};

const PIECES_MAX: usize = 64;
const LENGTH_MAX: usize = 16 << 10;

fn world() -> World {
    World::with(limit)
}

/// Limits that inputs of a few kilobytes can reach.
fn limit(options: &mut Options) {
    options.shard.frame_bytes_max = LENGTH_MAX;
    options.shard.length_max = 2 * LENGTH_MAX;
    options.shard.outstanding_max = 16;
    options.sequencer.length_max = 2 * LENGTH_MAX;
    options.sequencer.record_bytes_max = 2 * LENGTH_MAX;
    options.sequencer.reconfig_enabled = true;
    options.write.snap_count = 20;
    options.write.container_check_ms = 1000;
    options.auth.sasl = true;
    options.auth.ensemble = true;
    options.log = LogOptions {
        segment_bytes: 64 << 10,
        group_bytes_max: 8 << 10,
        payload_bytes_max: 2 * LENGTH_MAX,
        ..LogOptions::default()
    };
}

/// Fuzz target.
pub fn server(input: &[u8]) {
    let mut w = world();
    let mut clients: [Option<C>; 4] = [None; 4];
    for piece in pieces(input).into_iter().take(PIECES_MAX) {
        let Some((tag, rest)) = tagged(piece) else { continue };
        let place = usize::from(tag & 3);
        let c = match clients[place].filter(|c| !w.client(*c).closed) {
            Some(c) => c,
            None => {
                let c = w.socket(0, ["127.0.0.1", "10.0.0.1", "::1", "fe80::1"][place]);
                w.client(c).opaque = true;
                *clients[place].insert(c)
            }
        };
        match tag >> 2 & 7 {
            0 | 1 => send(&mut w, c, &frame(rest)),
            2 => send(&mut w, c, rest),
            3 => {
                let other = rest.first().and_then(|byte| clients[usize::from(byte & 3)]);
                let session = other.map_or(0, |c| w.session(c));
                let password = if session == 0 { vec![0; 16] } else { session_password(SessionId(session)).to_vec() };
                let hello = Hello { session, password, ..Hello::default() };
                send(&mut w, c, &hello.frame());
            }
            4 => w.hang_up(c),
            5 => {
                let ms = rest.iter().take(2).fold(0, |ms, byte| ms << 8 | i64::from(*byte));
                w.pass(ms);
            }
            6 if w.client(c).deaf => w.read_again(c),
            6 => w.client(c).deaf = true,
            _ => {
                let bytes = frame(rest);
                let (one, other) = bytes.split_at(bytes.len() / 2);
                for part in [one, other, &bytes] {
                    w.send(c, part);
                    words(&mut w, c);
                }
                w.prepare();
                continue;
            }
        }
        // By turns at once and only later, so that requests also meet others that are under way.
        if tag & 0x80 == 0 {
            w.settle();
        }
    }
    w.settle();
    for c in clients.into_iter().flatten() {
        if w.client(c).deaf {
            w.read_again(c);
        }
    }
    w.settle();
    w.assert_quiet();
    comes_back(&w);
}

fn frame(content: &[u8]) -> Vec<u8> {
    [&(content.len() as i32).to_be_bytes()[..], content].concat()
}

fn send(w: &mut World, c: C, bytes: &[u8]) {
    w.send(c, bytes);
    words(w, c);
}

/// Four-letter words are answered at once, whoever is connected.
fn words(w: &mut World, c: C) {
    let Some(word) = w.client(c).word.filter(|_| !w.client(c).closed && w.client(c).text.is_empty()) else { return };
    let facts = facts(w);
    needs(word);
    effect(word, Role::Standalone);
    let text = answer(word, &facts);
    let key = w.key(c);
    w.shards[0].answer_word(key, &text);
    w.serve(0);
}

fn facts(w: &mut World) -> Facts {
    let server = ServerFacts {
        version: Version { ringkeeper: "0.1.0".to_owned(), built: Millis(0) },
        started: Millis(START_MS),
        client_port: 2181,
        data_dir: "/data/version-2".to_owned(),
        data_log_dir: "/log/version-2".to_owned(),
        tick_ms: 2000,
        connections_per_address_max: 60,
        session_timeout_min_ms: 4000,
        session_timeout_max_ms: 40_000,
        backlog: None,
        sessionless_timeout_ms: 10_000,
        force_sync: true,
        host: HostFacts::default(),
        ensemble: None,
    };
    let now = w.now();
    let mut facts = Facts::new(Arc::new(server), Role::Standalone, now.mono, now.wall);
    facts.totals = Totals::of(&w.stats);
    facts.levels = Levels::of(&w.gauges);
    facts.connections = w.shards[0].connection_report();
    facts.watches = vec![w.shards[0].watch_report()];
    facts.writes = w.stage.report();
    facts.bytes = Bytes::default();
    facts
}

/// Connects, says these bytes, and hears what there is to hear.
pub(crate) fn say(bytes: &[u8]) {
    thread_local! {
        // A server that nobody has written to may be used again.
        static WORLD: std::cell::RefCell<World> = std::cell::RefCell::new(world());
    }
    if !matches!(member::word::opening(bytes), Opening::Word(_)) {
        return;
    }
    WORLD.with_borrow_mut(|w| {
        let c = w.socket(0, "127.0.0.1");
        w.client(c).opaque = true;
        w.send(c, bytes);
        words(w, c);
        assert!(w.client(c).closed, "a word ends its connection");
        w.clients.clear();
    });
}

/// A server that begins with this database: its sessions expire, its containers and TTL znodes are looked after, and a client is
/// answered.
pub(crate) fn serve(tree: tree::Writer, sessions: Vec<(SessionId, i32)>) {
    let mut w = World::with(|options| {
        limit(options);
        options.restored = Some((tree, sessions));
    });
    let c = w.open(0);
    for _ in 0..3 {
        w.call(c, &path_only(Op::GetAllChildrenNumber, "/")).int();
        w.call(c, &children("/", true)).strings();
        w.pass(20_000);
        if w.client(c).closed {
            break;
        }
    }
    w.assert_quiet();
}

/// The log as a restart would find it yields the tree as it is.
fn comes_back(w: &World) {
    let mut tree = tree::Writer::new(tree::Options {
        rules: tree::OwnerRules { extended_types: true, ..tree::OwnerRules::default() },
        ..tree::Options::new((7, 11))
    });
    w.replay(|record| {
        tree.apply(&record.header, &record.txn);
        tree.commit(record.header.zxid);
        if let Some(digest) = record.digest {
            assert_eq!(digest.tree, tree.digest(), "after {}", record.header.zxid);
        }
    });
    assert_eq!(w.zxid(), tree.tip().0);
}
