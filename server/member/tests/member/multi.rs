//! multi and multiRead: all or nothing, results of each member, and what remains of a failure.

use proto::{Op, Stat};

use crate::wire::*;
use crate::world::World;

#[test]
fn members_see_earlier_members_and_share_a_zxid() {
    let mut w = World::new();
    let c = w.open(0);
    let reply = w.call(
        c,
        &multi(&[
            create("/m", "a"),
            create_as(Op::Create2, "/m/two", Some(b"xy"), &open_acl(), 0),
            set("/m", "b", 0),
            check("/m", 1),
            create_flags("/m/s-", 2),
            delete("/m/two", 0),
            create_as(Op::CreateContainer, "/m/c", None, &open_acl(), 4),
            create_ttl("/m/t", 5, 1000),
            create_as(Op::Create, "/m/implied", None, &open_acl(), 4),
        ]),
    );
    let zxid = proto::Zxid(reply.zxid);
    let members = reply.members();
    let stat_of = |member: &Member| match member {
        Member::PathStat(_, stat) | Member::Stat(stat) => *stat,
        other => panic!("{other:?}"),
    };
    let two: Stat = stat_of(&members[1]);
    assert_eq!((two.czxid, two.data_length, two.version), (zxid, 2, 0));
    assert_eq!(members[0], Member::Path("/m".into()));
    let set = stat_of(&members[2]);
    assert_eq!((set.version, set.mzxid, set.num_children), (1, zxid, 1));
    assert_eq!(members[3], Member::Checked);
    assert_eq!(members[4], Member::Path("/m/s-0000000001".into()));
    assert_eq!(members[5], Member::Deleted);
    assert_eq!(stat_of(&members[6]).ephemeral_owner.0, 0, "containers show no owner");
    assert!(matches!(&members[7], Member::PathStat(path, _) if path == "/m/t"));
    assert!(
        matches!(&members[8], Member::PathStat(path, _) if path == "/m/implied"),
        "the flag makes a container of it"
    );
    let children = w.call(c, &children("/m", false)).strings();
    assert_eq!(children, ["c", "implied", "s-0000000001", "t"]);
}

/// The failing member gets its error, those behind it −2, those before it 0, and nothing of it has happened: neither znodes, nor
/// versions, nor the counter behind sequential names, nor watches.
#[test]
fn a_failed_multi_leaves_nothing_behind() {
    let mut w = World::with_shards(2);
    let (c, watcher) = (w.open(0), w.open(1));
    w.call(c, &create("/base", "a"));
    for request in [children("/base", true), get("/base", true), exists("/base/x", true)] {
        w.call(watcher, &request);
    }
    let stat = w.call(c, &exists("/base", false)).stat();
    let ephemerals = |w: &mut World| w.call(c, &path_only(Op::GetEphemerals, "/")).strings();
    assert!(ephemerals(&mut w).is_empty());
    let before = w.zxid();
    let reply = w.call(
        c,
        &multi(&[
            create_flags("/base/x", 1),
            set("/base", "b", 0),
            create_flags("/base/s", 3),
            delete("/base", -1),
            create("/never", ""),
            check("/base", 0),
        ]),
    );
    assert_eq!(reply.zxid, before + 1, "it consumes a zxid");
    let errors = [0, 0, 0, -111, -2, -2].map(Member::Error);
    assert_eq!(reply.members(), errors);
    assert_eq!(w.call(c, &get("/base", false)).data_stat(), ("a".into(), stat), "not even the counters moved");
    assert_eq!(w.err(c, &exists("/base/x", false)), -101);
    assert_eq!(w.err(c, &exists("/never", false)), -101);
    assert!(ephemerals(&mut w).is_empty());
    assert_eq!(w.call(c, &create_flags("/base/s", 2)).path(), "/base/s0000000000");
    assert_eq!(w.events(watcher), [(4, "/base".to_owned())], "the first event is that of the create that worked");
    assert_eq!(w.logged().iter().filter(|entry| entry.3 == 14).count(), 1, "but the log has it");
}

#[test]
fn the_first_member_may_be_the_one_that_fails() {
    let mut w = World::new();
    let c = w.open(0);
    let reply = w.call(c, &multi(&[check("/none", 3), create("/a", "")]));
    assert_eq!(reply.members(), [Member::Error(-101), Member::Error(-2)]);
    assert_eq!(w.call(c, &multi(&[])).members(), []);
}

#[test]
fn what_cannot_be_decoded_fails_the_whole_request() {
    let mut w = World::new();
    let c = w.open(0);
    let null_acl = {
        let mut request = create("/a", "");
        let at = request.body.len() - 8 - 27 - 4 + 4;
        request.body.truncate(at - 4);
        request.body.extend_from_slice(&(-1i32).to_be_bytes());
        request.body.extend_from_slice(&0i32.to_be_bytes());
        request
    };
    let good = create("/good", "");
    let bad = [
        multi(&[good.clone(), create_flags("/a", 9)]),
        multi(&[good.clone(), create_flags("/a", 5)]),
        multi(&[good.clone(), set_acl("/a", &open_acl(), -1)]),
        multi(&[good.clone(), exists("/a", false)]),
        multi(&[good.clone(), get("/a", false)]),
        multi(&[get("/", false)]),
        multi(&[good.clone(), null_acl]),
        multi(&[good.clone(), raw(77, b"")]),
        raw(14, &multi(&[good]).body[..20]),
        raw(14, b""),
    ];
    for request in &bad {
        let before = w.zxid();
        let reply = w.call(c, request);
        assert_eq!((reply.err, reply.zxid, reply.body.len()), (-5, before + 1, 0), "{request:?}");
    }
    assert_eq!(w.err(c, &exists("/good", false)), -101);
}

#[test]
fn a_read_of_several_answers_each_on_its_own() {
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &create("/r", "data"));
    w.call(c, &create("/r/k", ""));
    w.call(c, &create_acl("/dark", &acl(30, "world", "anyone")));
    let stat = w.call(c, &exists("/r", false)).stat();
    let request =
        multi_as(Op::MultiRead, &[get("/r", true), children("/r", true), get("/none", false), get("/dark", false)]);
    let expected = [
        Member::Data(b"data".to_vec(), stat),
        Member::Children(vec!["k".into()]),
        Member::Error(-101),
        Member::Error(-102),
    ];
    assert_eq!(w.call(c, &request).members(), expected);
    assert_eq!(w.err(c, &check_watches("/r", 3)), -121, "its watch flags are discarded");
    for bad in [
        multi_as(Op::MultiRead, &[create("/x", "")]),
        multi_as(Op::MultiRead, &[get("/r", false), exists("/r", false)]),
    ] {
        assert_eq!(w.err(c, &bad), -5);
    }
    assert_eq!(w.call(c, &multi_as(Op::MultiRead, &[])).members(), []);
}

/// A small request that asks for a large znode very often does not fill the server's memory.
#[test]
fn a_read_of_several_has_a_bound() {
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &create("/big", &"x".repeat(1_000_000)));
    let of = |n: usize| multi_as(Op::MultiRead, &vec![get("/big", false); n]);
    assert_eq!(w.call(c, &of(60)).members().len(), 60);
    let reply = w.call(c, &of(20_000));
    assert_eq!((reply.err, reply.body.len()), (-5, 0));
    assert_eq!(w.err(c, &exists("/big", false)), 0);
}

/// A multi whose ACLs grow while they are expanded may exceed what the log takes: it fails like one that did not fit, and is undone.
#[test]
fn a_transaction_that_the_log_refuses_is_undone() {
    let mut w = World::with(|o| {
        o.log.payload_bytes_max = 64 << 10;
        o.shard.frame_bytes_max = 60 << 10;
    });
    let c = w.open(0);
    for n in 0..200 {
        w.call(c, &auth("digest", &format!("user{n}:p")));
    }
    w.call(c, &create("/in", ""));
    let members: Vec<Req> = (0..50).map(|n| create_acl(&format!("/in/{n}"), &acl(31, "auth", ""))).collect();
    let before = w.zxid();
    let reply = w.call(c, &multi(&members));
    assert_eq!((reply.err, reply.zxid), (-5, before + 1));
    assert!(w.call(c, &children("/in", false)).strings().is_empty());
    assert_eq!(w.err(c, &create("/in/after", "")), 0);
    assert_eq!(w.logged().len() as i64, w.zxid());
}
