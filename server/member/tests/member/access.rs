//! Who may do what, over the wire (client-protocol.md §15).

use proto::{Acl, Op};

use crate::wire::*;
use crate::world::World;

#[test]
fn digest_and_ip_entries_open_what_they_name() {
    let mut w = World::with_shards(2);
    let owner = w.open(0);
    w.call(owner, &auth("digest", "u:p"));
    assert_eq!(w.err(owner, &create_acl("/d", &acl(31, "auth", "whatever"))), 0);
    let (stored, _) = w.call(owner, &path_only(Op::GetAcl, "/d")).acl_stat();
    assert_eq!(stored[0].id.scheme, "digest");
    assert!(stored[0].id.id.starts_with("u:") && stored[0].id.id.len() > 20, "{stored:?}");
    assert_eq!(w.err(owner, &create_acl("/i", &acl(31, "ip", "10.0.0.0/8"))), 0);

    let near = w.socket(1, "10.200.1.1");
    w.hello(near, &Hello::default());
    let far = w.socket(1, "11.0.0.1");
    w.hello(far, &Hello::default());
    let asks = |path: &str| {
        vec![
            get(path, false),
            exists(path, false),
            children(path, false),
            path_only(Op::GetAllChildrenNumber, path),
            set(path, "x", -1),
            set_acl(path, &open_acl(), 99),
            create(&format!("{path}/k"), ""),
            delete(&format!("{path}/none"), -1),
            path_only(Op::GetAcl, path),
        ]
    };
    let errors = |w: &mut World, c, path: &str| asks(path).iter().map(|r| w.err(c, r)).collect::<Vec<_>>();
    assert_eq!(errors(&mut w, far, "/d"), [-102; 9]);
    assert_eq!(errors(&mut w, far, "/i"), [-102; 9]);
    assert_eq!(errors(&mut w, near, "/d"), [-102; 9]);
    let free = [0, 0, 0, 0, 0, -103, 0, -101, 0];
    assert_eq!(errors(&mut w, near, "/i"), free);
    assert_eq!(errors(&mut w, owner, "/d"), free);
    w.call(far, &auth("digest", "u:wrong"));
    assert_eq!(w.err(far, &get("/d", false)), -102);
    w.call(far, &auth("digest", "u:p"));
    assert_eq!(w.call(far, &get("/d", false)).data(), "x");
}

/// READ or ADMIN opens getACL; without ADMIN the digests are hidden.
#[test]
fn get_acl_hides_digests_from_those_who_may_not_change_them() {
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &auth("digest", "u:p"));
    let digest = w.call(c, &create_acl("/probe", &acl(31, "auth", ""))).ok();
    assert_eq!(digest.path(), "/probe");
    let secret = w.call(c, &path_only(Op::GetAcl, "/probe")).acl_stat().0[0].id.clone();
    let entries = |world_bits: i32| {
        let mut entries = vec![Acl { perms: 4, id: secret.clone() }];
        entries.extend(acl(world_bits, "world", "anyone"));
        entries
    };
    for (bits, answer) in [(1, Some("u:x")), (16, Some(secret.id.as_str())), (17, Some(secret.id.as_str())), (2, None)]
    {
        let path = format!("/b{bits}");
        w.call(c, &create_acl(&path, &entries(bits)));
        let stranger = w.open(0);
        let reply = w.call(stranger, &path_only(Op::GetAcl, &path));
        match answer {
            None => assert_eq!(reply.err, -102),
            Some(id) => assert_eq!(reply.acl_stat().0[0].id.id, id, "{bits}"),
        }
    }
}

#[test]
fn a_super_digest_opens_everything() {
    let id = {
        // The id of super:secret, as the server itself makes it.
        let rules = auth::Auth::new(auth::Settings::default()).unwrap();
        let mut ids = Vec::new();
        rules.authenticate("digest", Some(b"super:secret"), &mut ids);
        ids[0].id.clone()
    };
    let mut w = World::with(|o| o.auth.super_digest = Some(id));
    let (c, root) = (w.open(0), w.open(0));
    w.call(c, &create_acl("/shut", &acl(0, "world", "anyone")));
    assert_eq!(w.err(c, &get("/shut", false)), -102);
    w.call(root, &auth("digest", "super:secret"));
    assert_eq!(w.err(root, &get("/shut", false)), 0);
    assert_eq!(w.err(root, &set("/shut", "x", -1)), 0);
    assert_eq!(w.err(root, &set_acl("/zookeeper/config", &open_acl(), -1)), 0);
    assert_eq!(w.err(root, &delete("/shut", -1)), 0);
    assert_eq!(w.err(root, &delete("/zookeeper/quota", -1)), -8, "but not what is reserved");
}

#[test]
fn skip_acl_skips_checks_but_not_the_form_of_acls() {
    let mut w = World::with(|o| o.auth.skip_acl = true);
    let (c, other) = (w.open(0), w.open(0));
    assert_eq!(w.err(c, &create_acl("/shut", &acl(0, "world", "anyone"))), 0);
    w.call(other, &add_watch("/shut", 0));
    assert_eq!(w.err(other, &get("/shut", false)), 0);
    assert_eq!(w.err(other, &set("/shut", "x", -1)), 0);
    assert_eq!(w.err(c, &create_acl("/bad", &[])), -114);
    assert_eq!(w.err(c, &delete("/shut", -1)), 0);
}

#[test]
fn a_failed_authentication_is_answered_and_ends_the_connection() {
    let mut w = World::new();
    let bad_body = raw(Op::Auth.as_i32(), b"\0\0\0\0\0\0\0\x30");
    let null_data = raw(Op::Auth.as_i32(), b"\0\0\0\0\0\0\0\x06digest\xff\xff\xff\xff");
    for (request, answered) in [
        (auth("nope", "x"), true),
        (auth("", ""), true),
        (auth("sasl", ""), true),
        (null_data, true),
        (bad_body, false),
    ] {
        let c = w.open(0);
        w.ask(c, &request);
        w.settle();
        let replies = w.replies(c);
        let got: Vec<_> = replies.iter().map(|r| (r.xid, r.zxid, r.err, r.body.len())).collect();
        assert_eq!(got, if answered { vec![(-4, 0, -115, 0)] } else { vec![] }, "{request:?}");
        assert!(w.client(c).closed);
    }
    let c = w.open(0);
    assert_eq!((w.call(c, &auth("ip", "1.2.3.4")).err, w.err(c, &ping())), (0, 0), "ip proves nothing new and is fine");
}

/// As a Java server does that was not told of SASL: there is no token to answer with, and nothing is proved.
#[test]
fn a_sasl_token_is_answered_with_none_and_a_null_one_ends_the_connection() {
    let mut w = World::new();
    let c = w.open(0);
    for token in [&b"\0\0\0\0"[..], b"\0\0\0\x02ab"] {
        let reply = w.call(c, &raw(Op::Sasl.as_i32(), token));
        assert_eq!((reply.zxid, reply.err, &reply.body[..]), (0, 0, &b"\xff\xff\xff\xff"[..]));
    }
    assert_eq!(w.err(c, &ping()), 0);
    for token in [&b"\xff\xff\xff\xff"[..], b"", b"\xff\xff\xff\xfe", b"\0\0\0\x05a"] {
        let c = w.open(0);
        w.ask(c, &raw(Op::Sasl.as_i32(), token));
        w.settle();
        assert!(w.replies(c).is_empty() && w.client(c).closed, "{token:?}");
    }
}

/// The record is read before anything else is looked at.
#[test]
fn a_reconfig_that_cannot_be_decoded_is_a_marshalling_error() {
    let mut w = World::new();
    let c = w.open(0);
    let whole = [[0xff; 12].as_slice(), &[0xff; 8]].concat();
    assert_eq!(w.err(c, &raw(Op::Reconfig.as_i32(), &whole)), -123);
    assert_eq!(w.err(c, &raw(Op::Reconfig.as_i32(), &whole[..19])), -5);
    assert_eq!(w.err(c, &raw(Op::Reconfig.as_i32(), b"")), -5);
}

/// With enforced authentication every request of one who has not authenticated is refused with −124 and the connection ends: pings
/// and closeSession too. Sessions and auth packets are let through.
#[test]
fn enforced_authentication_lets_nothing_else_through() {
    let world = || {
        World::with(|o| {
            o.auth.enforce = true;
            o.auth.enforce_schemes = vec!["digest".into()];
        })
    };
    for request in [ping(), close(), get("/", false), create("/a", ""), raw(999, b""), path_only(Op::Sync, "/")] {
        let mut w = world();
        let c = w.open(0);
        let before = w.zxid();
        let reply = w.call(c, &request);
        assert_eq!((reply.zxid, reply.err, reply.body.len()), (0, -124, 0));
        assert!(w.client(c).closed);
        assert_eq!(w.zxid(), before, "nothing reached the write stage");
        w.assert_quiet();
    }
    let mut w = world();
    let c = w.open(0);
    assert_eq!(w.call(c, &auth("digest", "u:p")).err, 0);
    assert_eq!(w.err(c, &create("/a", "")), 0);
    assert_eq!(w.err(c, &ping()), 0);
}

/// setACL counts at once for requests prepared behind it, although it is not durable yet.
#[test]
fn an_acl_that_is_not_durable_binds_those_behind_it() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(a, &auth("digest", "u:p"));
    w.call(a, &create("/n", ""));
    w.ask(a, &set_acl("/n", &acl(31, "auth", ""), 0));
    w.prepare();
    w.ask(b, &set("/n", "x", -1));
    w.ask(b, &get("/n", false));
    w.settle();
    assert_eq!(w.replies(b).iter().map(|r| r.err).collect::<Vec<_>>(), [-102, -102]);
}
