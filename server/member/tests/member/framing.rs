//! Bytes that are no good requests, and bytes that are no requests at all.

use proto::Op;

use crate::wire::*;
use crate::world::{C, World};

fn is_alive(w: &mut World, c: C) -> bool {
    !w.client(c).closed && w.err(c, &exists("/", false)) == 0
}

/// Every operation with a body cut at every place answers MARSHALLINGERROR, and the connection goes on.
#[test]
fn a_body_that_cannot_be_decoded_is_answered_and_forgiven() {
    let mut w = World::new();
    let c = w.open(0);
    let good = [
        create("/a", "d"),
        create_as(Op::Create2, "/a", Some(b"d"), &open_acl(), 0),
        create_as(Op::CreateContainer, "/a", None, &open_acl(), 4),
        create_ttl("/a", 5, 9),
        delete("/a", -1),
        delete_container("/a"),
        set("/a", "d", -1),
        set_acl("/a", &open_acl(), -1),
        exists("/a", true),
        get("/a", true),
        children("/a", true),
        children2("/a", true),
        path_only(Op::GetAcl, "/a"),
        path_only(Op::Sync, "/a"),
        path_only(Op::GetEphemerals, "/a"),
        path_only(Op::GetAllChildrenNumber, "/a"),
        add_watch("/a", 0),
        check_watches("/a", 1),
        remove_watches("/a", 1),
        set_watches(0, &[&["/a"], &[], &[]]),
        set_watches(0, &[&["/a"], &[], &[], &[], &["/b"]]),
        multi(&[create("/a", "")]),
        multi_as(Op::MultiRead, &[get("/a", false)]),
    ];
    for request in &good {
        for length in 0..request.body.len() {
            let reply = w.call(c, &raw(request.op, &request.body[..length]));
            assert_eq!((reply.err, reply.body.len()), (-5, 0), "op {} cut at {length}", request.op);
        }
        // A negative length, and one beyond all reason.
        for length in [-2i32, i32::MAX, i32::MIN] {
            let mut body = request.body.clone();
            let at = if matches!(request.op, 101 | 105) { 8 } else { 0 };
            if !matches!(request.op, 14 | 22) {
                body[at..at + 4].copy_from_slice(&length.to_be_bytes());
                assert_eq!(w.err(c, &raw(request.op, &body)), -5, "op {} with length {length}", request.op);
            }
        }
    }
    assert!(w.events(c).is_empty());
    assert_eq!(w.err(c, &check_watches("/a", 3)), -121, "and no watch was left");
    assert!(is_alive(&mut w, c));
    w.assert_quiet();
}

#[test]
fn numbers_that_mean_nothing_are_marshalling_errors() {
    let mut w = World::new();
    let c = w.open(0);
    let table =
        [add_watch("/", 2), add_watch("/", -1), check_watches("/", 0), check_watches("/", 6), remove_watches("/", 9)];
    for request in table {
        assert_eq!(w.err(c, &request), -5, "{request:?}");
    }
    assert!(is_alive(&mut w, c));
}

/// Java ignores what follows a complete record.
#[test]
fn bytes_behind_a_record_are_ignored() {
    let mut w = World::new();
    let c = w.open(0);
    let mut request = create("/a", "d");
    request.body.extend_from_slice(b"more");
    assert_eq!(w.err(c, &request), 0);
    let mut request = get("/a", false);
    request.body.extend_from_slice(b"more");
    assert_eq!(w.call(c, &request).data(), "d");
}

/// An operation that does not exist, or exists only inside a multi or inside the server: UNIMPLEMENTED under zxid −1, then the end.
#[test]
fn an_unknown_operation_is_answered_and_ends_the_connection() {
    for op in [0, 13, 10, 23, 99, 108, -1, -10, -12, i32::MIN, i32::MAX] {
        let mut w = World::new();
        let (c, other) = (w.open(0), w.open(0));
        let reply = w.call(c, &raw(op, b"\0\0\0\x01/\0\0\0\0"));
        assert_eq!((reply.zxid, reply.err, reply.body.len()), (-1, -6, 0), "op {op}");
        assert!(w.client(c).closed, "op {op}");
        assert!(is_alive(&mut w, other));
        w.assert_quiet();
    }
}

/// As first written, a read that ended the connection left later answers without their request, and the server with a panic; and
/// writes behind an unknown operation were done although the client cannot know of them.
#[test]
fn nothing_behind_an_unknown_operation_is_done() {
    for op in [13, 999] {
        let mut w = World::with_shards(2);
        let (c, other) = (w.open(0), w.open(1));
        let mut bytes = w.frames_of(c, &[create("/1", ""), raw(op, b"")]);
        bytes.extend(frame(50, &get("/1", false)));
        bytes.extend(frame(51, &create("/2", "")));
        bytes.extend(frame(52, &path_only(Op::Sync, "")));
        w.send(c, &bytes);
        w.send(c, &frame(53, &create("/3", "")));
        w.settle();
        let replies: Vec<_> = w.replies(c).iter().map(|r| r.err).collect();
        assert_eq!(replies, [0, -6]);
        assert!(w.client(c).closed);
        assert_eq!(w.call(other, &children("/", false)).strings(), ["1", "zookeeper"]);
        w.assert_quiet();
    }
}

/// A connection that is refused at once, while its writes and reads are under way: nobody misses their answers.
#[test]
fn a_refusal_overtakes_what_is_under_way() {
    let mut w = World::with_shards(2);
    let (c, other) = (w.open(0), w.open(1));
    let mut bytes = w.frames_of(c, &[create("/1", ""), get("/1", false), create("/2", ""), auth("nope", "x")]);
    bytes.extend(frame(9, &create("/3", "")));
    w.send(c, &bytes);
    let replies = w.replies(c);
    assert_eq!(replies.iter().map(|r| (r.xid, r.zxid, r.err)).collect::<Vec<_>>(), [(-4, 0, -115)]);
    assert!(w.client(c).closed);
    w.settle();
    assert_eq!(w.call(other, &children("/", false)).strings(), ["1", "2", "zookeeper"]);
    w.assert_quiet();
}

/// The same, but the socket takes its time: the connection is still there when the answers come.
#[test]
fn answers_to_a_connection_that_is_closing_are_dropped() {
    let mut w = World::new();
    let c = w.open(0);
    w.client(c).deaf = true;
    w.burst(c, &[exists("/", false), create("/1", ""), get("/1", false), path_only(Op::Sync, "/"), create("/2", "")]);
    w.expect_anything(c);
    w.send(c, &(-7i32).to_be_bytes());
    assert!(!w.client(c).closed);
    assert_eq!(w.shards[0].outstanding(), 0, "and hold nobody else up meanwhile");
    w.settle();
    w.read_again(c);
    assert!(w.client(c).closed);
    assert_eq!(w.replies(c).len(), 1, "what was sent before");
    w.assert_quiet();
}

#[test]
fn frames_of_impossible_length_close_the_connection_silently() {
    let max = 0xF_FFFF;
    for (length, closed) in
        [(-1, true), (i32::MIN, true), (max + 1, true), (i32::MAX, true), (0, true), (7, true), (max, false)]
    {
        let mut w = World::new();
        let c = w.open(0);
        let mut bytes = i32::to_be_bytes(length).to_vec();
        bytes.extend_from_slice(&[0; 8][..length.clamp(0, 8) as usize]);
        w.expect_anything(c);
        w.send(c, &bytes);
        w.settle();
        assert_eq!(w.client(c).closed, closed, "length {length}");
        assert!(w.take(c).is_empty(), "length {length}");
        w.assert_quiet();
    }
    // The largest frame, in small pieces, and its buffer is not kept.
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &create("/big", ""));
    let overhead = set("/big", "", -1).body.len() + 8;
    let data = "x".repeat(max as usize - overhead);
    let bytes = w.frames_of(c, &[set("/big", &data, -1)]);
    assert_eq!(bytes.len(), max as usize + 4);
    for piece in bytes.chunks(10_000) {
        w.send(c, piece);
    }
    w.settle();
    assert_eq!(w.replies(c)[0].stat().data_length as usize, data.len());
    assert_eq!(w.call(c, &get("/big", false)).data(), data);
}

#[test]
fn a_first_frame_that_is_no_connect_request_closes_the_connection() {
    for bytes in [vec![0, 0, 0, 0], frame(1, &exists("/", false)), (-5i32).to_be_bytes().to_vec(), vec![0, 0, 0, 1, 9]]
    {
        let mut w = World::new();
        let c = w.socket(0, "127.0.0.1");
        w.send(c, &bytes);
        w.settle();
        assert!(w.client(c).closed && w.client(c).welcome.is_none());
    }
}

/// The first four bytes may be a word, in however many pieces they come; later bytes never are.
#[test]
fn four_letter_words_are_known_by_the_first_four_bytes() {
    let mut w = World::new();
    let c = w.socket(0, "127.0.0.1");
    w.send(c, b"ru");
    assert!(w.client(c).word.is_none());
    w.send(c, b"o");
    w.send(c, b"k\nanything");
    assert_eq!(w.client(c).word.map(|word| word.name), Some("ruok"));
    assert!(w.client(c).paused);
    w.send(c, b"more");
    let key = w.key(c);
    w.shards[0].answer_word(key, "imok");
    w.serve(0);
    assert_eq!(w.client(c).text, b"imok");
    assert!(w.client(c).closed);

    let c = w.socket(0, "127.0.0.1");
    w.send(c, b"stmk\0\0\0\0\0\0\0");
    assert!(w.client(c).word.is_none());
    w.send(c, b"\x05");
    assert_eq!(w.client(c).word.and_then(|word| word.mask), Some(5));

    // Not a word: then a length, out of bounds.
    let c = w.socket(0, "127.0.0.1");
    w.send(c, b"RUOK");
    assert!(w.client(c).closed);

    // With a session, four letters are a length like any other.
    let c = w.open(0);
    w.expect_anything(c);
    w.send(c, b"ruok");
    assert!(w.client(c).closed && w.client(c).word.is_none());
}

/// A connect request in single bytes, whose first four are no word.
#[test]
fn a_connect_request_may_come_byte_by_byte() {
    let mut w = World::new();
    let c = w.socket(0, "127.0.0.1");
    for byte in Hello::default().frame() {
        w.send(c, &[byte]);
    }
    w.settle();
    assert!(is_alive(&mut w, c));
}

#[test]
fn a_ping_is_answered_with_its_own_xid_whatever_was_sent() {
    let mut w = World::new();
    let c = w.open(0);
    assert_eq!(w.call(c, &ping()).xid, -2);
    w.expect_anything(c);
    w.send(c, &frame(77, &ping()));
    assert_eq!(w.replies(c)[0].xid, -2);
}
