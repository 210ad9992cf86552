//! Which error wins, for each write (client-protocol.md §9): one request that fails several checks at once gets the error of the
//! first. Each table lists the checks of an operation in their order; every pair of them is tried.

use proto::{Acl, Id, Op};

use crate::wire::*;
use crate::world::{C, World};

const MARSHALLING: i32 = -5;
const UNIMPLEMENTED: i32 = -6;
const BAD_ARGUMENTS: i32 = -8;
const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
const BAD_VERSION: i32 = -103;
const NO_CHILDREN: i32 = -108;
const NODE_EXISTS: i32 = -110;
const NOT_EMPTY: i32 = -111;
const INVALID_ACL: i32 = -114;
const QUOTA: i32 = -125;

fn nobody() -> Vec<Acl> {
    // READ and ADMIN stay, so that the tests can see what is there.
    vec![Acl { perms: 1 | 16, id: Id::new("world", "anyone") }]
}

/// Everything that the tables refer to.
fn furnished() -> (World, C) {
    let mut w = World::new();
    let c = w.open(0);
    for path in ["/open", "/open/there", "/full", "/full/child", "/shut", "/quota"] {
        assert_eq!(w.err(c, &create(path, "12345")), 0);
    }
    assert_eq!(w.err(c, &create("/quota/kid", "12345")), 0);
    for path in ["/shut/there", "/shut/full", "/shut/full/child", "/shut/parent", "/shut/parent/there"] {
        assert_eq!(w.err(c, &create(path, "")), 0);
    }
    assert_eq!(w.err(c, &create_flags("/eph", 1)), 0);
    assert_eq!(w.err(c, &create_flags("/open/eph", 1)), 0);
    assert_eq!(w.err(c, &create_as(Op::Create, "/eph-shut", Some(b""), &nobody(), 1)), 0);
    assert_eq!(w.err(c, &create("/zookeeper/quota/quota", "")), 0);
    assert_eq!(
        w.err(
            c,
            &create("/zookeeper/quota/quota/zookeeper_limits", "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=2")
        ),
        0
    );
    assert_eq!(w.err(c, &create("/zookeeper/quota/quota/zookeeper_stats", "")), 0);
    for path in ["/shut/there", "/shut/full", "/shut/parent", "/shut"] {
        assert_eq!(w.err(c, &set_acl(path, &nobody(), -1)), 0);
    }
    (w, c)
}

struct Case {
    what: &'static str,
    request: Req,
    err: i32,
}

fn case(what: &'static str, request: Req, err: i32) -> Case {
    Case { what, request, err }
}

fn run(cases: Vec<Case>) {
    let (mut w, c) = furnished();
    let mut wrong = Vec::new();
    for case in cases {
        let before = w.zxid();
        let reply = w.call(c, &case.request);
        if reply.err != case.err {
            wrong.push(format!("{}: {} instead of {}", case.what, reply.err, case.err));
        }
        assert_eq!(reply.zxid, before + 1, "each consumes a zxid: {}", case.what);
        if case.err != 0 {
            assert!(reply.body.is_empty());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    w.assert_quiet();
}

fn make(path: &str, acl: &[Acl], flags: i32, data: &str) -> Req {
    create_as(Op::Create, path, Some(data.as_bytes()), acl, flags)
}

#[test]
fn create_fails_with_the_first_of_its_reasons() {
    let (open, none) = (open_acl(), Vec::new());
    let cut = |request: Req| raw(request.op, &request.body[..request.body.len() - 1]);
    let big = "x".repeat(30);
    run(vec![
        // Decoding comes before everything.
        case("marshalling before flags", cut(make("nope", &none, 99, "")), MARSHALLING),
        case("marshalling before path", cut(make("nope", &open, 0, "")), MARSHALLING),
        // Flags.
        case("flags before path", make("nope", &none, 7, ""), BAD_ARGUMENTS),
        case("flags before acl", make("/open/x", &none, -1, ""), BAD_ARGUMENTS),
        case("flags before parent", make("/no/x", &open, 7, ""), BAD_ARGUMENTS),
        // TTL bounds.
        case("ttl flag without ttl", make("/open/x", &open, 5, ""), BAD_ARGUMENTS),
        case("sequential ttl flag without ttl", make("/open/x", &open, 6, ""), BAD_ARGUMENTS),
        case("ttl 0", create_ttl("/open/x", 5, 0), BAD_ARGUMENTS),
        case("ttl too large", create_ttl("/open/x", 5, 0x100_0000_0000), BAD_ARGUMENTS),
        case("ttl before parent", create_ttl("/no/x", 5, -1), BAD_ARGUMENTS),
        // Java dies of this one.
        case("createTTL without a ttl flag", create_ttl("/open/x", 0, -1), BAD_ARGUMENTS),
        case("createTTL without a ttl flag, with a ttl", create_ttl("/open/x", 0, 5), BAD_ARGUMENTS),
        // A path without slash, or with NUL, comes before the ACL.
        case("path before acl", make("nope", &none, 0, ""), BAD_ARGUMENTS),
        case("empty path before acl", make("", &none, 0, ""), BAD_ARGUMENTS),
        case("NUL before acl", make("/open/a\0b", &none, 0, ""), BAD_ARGUMENTS),
        // ACL.
        case("acl before parent", make("/no/x", &none, 0, ""), INVALID_ACL),
        case("acl before permission", make("/shut/x", &none, 0, ""), INVALID_ACL),
        case("acl before path rules", make("/open//x", &none, 0, ""), INVALID_ACL),
        case("acl before existence", make("/open/there", &none, 0, ""), INVALID_ACL),
        case("acl before ephemeral parent", make("/eph/x", &none, 0, ""), INVALID_ACL),
        case("unknown scheme", make("/open/x", &acl(31, "nope", "x"), 0, ""), INVALID_ACL),
        case("auth without identity", make("/open/x", &acl(31, "auth", ""), 0, ""), INVALID_ACL),
        // Parent.
        case("parent before path rules", make("/no/./x", &open, 0, ""), NO_NODE),
        case("parent missing", make("/no/x", &open, 0, ""), NO_NODE),
        case("double slash is a parent that is missing", make("/open//x", &open, 0, ""), NO_NODE),
        // Permission.
        case("permission before path rules", make("/shut/..", &open, 0, ""), NO_AUTH),
        case("permission before existence", make("/shut/there", &open, 0, ""), NO_AUTH),
        case("permission before ephemeral parent", make("/eph-shut/x", &open, 0, ""), NO_AUTH),
        // Path rules, on the final path.
        case("path rules", make("/open/.", &open, 0, ""), BAD_ARGUMENTS),
        case("path rules before ephemeral parent", make("/eph/..", &open, 0, ""), BAD_ARGUMENTS),
        case("trailing slash", make("/open/", &open, 0, ""), BAD_ARGUMENTS),
        case("control character", make("/open/\u{1}", &open, 0, ""), BAD_ARGUMENTS),
        case("beyond the BMP", make("/open/\u{1F600}", &open, 0, ""), BAD_ARGUMENTS),
        case("sequential rescues a trailing slash", make("/open/", &open, 2, ""), 0),
        // Existence.
        case("root exists", make("/", &open, 0, ""), NODE_EXISTS),
        case("exists", make("/open/there", &open, 0, ""), NODE_EXISTS),
        case("existence before quota", make("/quota/kid", &open, 0, &big), NODE_EXISTS),
        // Ephemeral parent.
        case("ephemeral parent", make("/eph/x", &open, 0, ""), NO_CHILDREN),
        case("ephemeral parent, ephemeral child", make("/eph/x", &open, 1, ""), NO_CHILDREN),
        // Quota: two znodes are the limit and are there.
        case("count quota", make("/quota/more", &open, 0, ""), QUOTA),
        case("bytes quota", make("/quota/more", &open, 0, &big), QUOTA),
        case("container too", create_as(Op::CreateContainer, "/quota/more", None, &open, 4), QUOTA),
        case("ttl too", create_ttl("/quota/more", 5, 1000), QUOTA),
    ]);
}

#[test]
fn ttl_creates_are_unimplemented_unless_extended_types_are_on() {
    let mut w = World::with(|o| {
        o.sequencer.extended_types = false;
        o.rules.extended_types = false;
    });
    let c = w.open(0);
    assert_eq!(w.err(c, &create_ttl("nope", 5, -7)), UNIMPLEMENTED, "before the ttl and the path are looked at");
    assert_eq!(w.err(c, &create_flags("/a", 5)), UNIMPLEMENTED, "before the missing ttl");
    assert_eq!(w.err(c, &create_flags("nope", 9)), BAD_ARGUMENTS, "but after the flags");
    assert_eq!(w.err(c, &create_ttl("/a", 0, -1)), BAD_ARGUMENTS);
}

#[test]
fn delete_fails_with_the_first_of_its_reasons() {
    run(vec![
        case("marshalling", raw(Op::Delete.as_i32(), b"\0\0\0\x03/no\0\0"), MARSHALLING),
        case("no slash before parent", delete("nope", -1), BAD_ARGUMENTS),
        case("NUL", delete("/no/a\0", -1), BAD_ARGUMENTS),
        case("root", delete("/", -1), BAD_ARGUMENTS),
        case("reserved", delete("/zookeeper", -1), BAD_ARGUMENTS),
        case("reserved quota", delete("/zookeeper/quota", 55), BAD_ARGUMENTS),
        case("reserved config", delete("/zookeeper/config", -1), BAD_ARGUMENTS),
        case("parent before permission", delete("/no/x", -1), NO_NODE),
        case("path rules do not apply", delete("/open/there/", -1), NO_NODE),
        case("permission before existence", delete("/shut/none", -1), NO_AUTH),
        case("permission before version", delete("/shut/there", 9), NO_AUTH),
        case("permission before children", delete("/shut/full", -1), NO_AUTH),
        case("existence before version", delete("/open/none", 9), NO_NODE),
        case("version before children", delete("/full", 9), BAD_VERSION),
        case("children", delete("/full", 0), NOT_EMPTY),
        case("children, any version", delete("/full", -1), NOT_EMPTY),
        case("done", delete("/open/there", 0), 0),
    ]);
}

#[test]
fn delete_container_asks_its_questions_and_the_permission_of_delete() {
    run(vec![
        case("marshalling", raw(20, b"\0\0\0\x09/"), MARSHALLING),
        case("no slash", delete_container("nope"), BAD_ARGUMENTS),
        case("reserved", delete_container("/zookeeper/config"), BAD_ARGUMENTS),
        case("missing", delete_container("/open/none"), NO_NODE),
        case("children before permission", delete_container("/shut/full"), NOT_EMPTY),
        case("ephemeral", delete_container("/open/eph"), BAD_VERSION),
        case("permission of the parent, unlike Java", delete_container("/shut/there"), NO_AUTH),
        case("allowed", delete_container("/open/there"), 0),
    ]);
}

#[test]
fn set_data_fails_with_the_first_of_its_reasons() {
    let big = "x".repeat(30);
    run(vec![
        case("marshalling", raw(Op::SetData.as_i32(), b"\0\0\0\x01/\0\0\0\x09"), MARSHALLING),
        case("path rules before existence", set("/none/", "", -1), BAD_ARGUMENTS),
        case("path rules: relative", set("none", "", -1), BAD_ARGUMENTS),
        case("existence before version", set("/none", "", 9), NO_NODE),
        case("permission before version", set("/shut/there", "", 9), NO_AUTH),
        case("quota before version", set("/quota/kid", &big, 9), QUOTA),
        case("version", set("/open", "", 9), BAD_VERSION),
        case("version negative", set("/open", "", -2), BAD_VERSION),
        case("done", set("/open", "x", 0), 0),
        case("version moved on", set("/open", "x", 0), BAD_VERSION),
        case("within the quota", set("/quota/kid", "123456", 0), 0),
    ]);
}

#[test]
fn set_acl_fails_with_the_first_of_its_reasons() {
    let open = open_acl();
    let (mut w, c) = furnished();
    assert_eq!(w.err(c, &create_acl("/mine", &acl(15, "world", "anyone"))), 0);
    let table = [
        (raw(Op::SetAcl.as_i32(), b"\0\0\0\x01/\0\0\0\x09"), MARSHALLING),
        (set_acl("none", &[], 9), BAD_ARGUMENTS),
        (set_acl("/none", &[], 9), INVALID_ACL),
        (set_acl("/mine", &[], 9), INVALID_ACL),
        (set_acl("/none", &open, 9), NO_NODE),
        (set_acl("/mine", &open, 9), NO_AUTH),
        (set_acl("/open", &open, 9), BAD_VERSION),
        (set_acl("/zookeeper/config", &open, -1), NO_AUTH),
        (set_acl("/open", &open, 0), 0),
        (set_acl("/open", &open, 0), BAD_VERSION),
        (set_acl("/open", &open, 1), 0),
    ];
    for (request, err) in table {
        assert_eq!(w.err(c, &request), err, "{request:?}");
    }
}

#[test]
fn check_fails_with_the_first_of_its_reasons() {
    let (mut w, c) = furnished();
    assert_eq!(w.err(c, &create_acl("/dark", &acl(30, "world", "anyone"))), 0);
    let table = [
        (check("none/", 0), BAD_ARGUMENTS),
        (check("/none", 9), NO_NODE),
        (check("/dark", 9), NO_AUTH),
        (check("/open", 9), BAD_VERSION),
    ];
    for (member, err) in table {
        assert_eq!(w.call(c, &multi(std::slice::from_ref(&member))).members(), [Member::Error(err)], "{member:?}");
    }
    assert_eq!(
        w.call(c, &multi(&[check("/open", 0), check("/open", -1)])).members(),
        [Member::Checked, Member::Checked]
    );
}

/// The session comes first, wherever the body can be decoded: a session that is gone hears nothing else.
#[test]
fn an_ended_session_hears_unknown_session_before_all_else() {
    let mut w = World::with_shards(2);
    let a = w.open(0);
    let session = w.session(a);
    // The session ends at the write stage while its connection has requests under way.
    w.ask(a, &create("/a", ""));
    w.prepare();
    w.mono += 60_000;
    w.prepare();
    let requests = [
        create("/b", ""),
        delete("nope", -1),
        set("/none", "", 7),
        set_acl("/none", &[], 7),
        delete_container("/none"),
        raw(Op::SetData.as_i32(), b""),
        create("/c", ""),
    ];
    w.burst(a, &requests[..6]);
    w.prepare();
    w.settle();
    let client = w.client(a);
    assert!(client.closed, "the connection of an expired session is closed");
    let logged = w.logged();
    let errors = logged.iter().filter(|entry| entry.1 == session && entry.3 == -1).count();
    assert_eq!(errors, 6, "all of them are logged as errors");
    let b = w.open(1);
    assert_eq!(w.err(b, &exists("/b", false)), NO_NODE);
    w.assert_quiet();
}

#[test]
fn reconfig_is_switched_off_on_a_standalone_server() {
    let mut w = World::new();
    let c = w.open(0);
    assert_eq!(w.err(c, &raw(Op::Reconfig.as_i32(), &[0xff; 20])), -123);
    assert_eq!(w.err(c, &exists("/", false)), 0);
}

/// Names come from the parent's count of creations, which deletions do not lower; they are ten digits wide, and wrap.
#[test]
fn sequential_names_count_creations_and_wrap() {
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &create("/q", ""));
    assert_eq!(w.call(c, &create_flags("/q/a-", 2)).path(), "/q/a-0000000000");
    assert_eq!(w.call(c, &create_flags("/q/b-", 3)).path(), "/q/b-0000000001");
    w.call(c, &create("/q/plain", ""));
    w.call(c, &delete("/q/plain", -1));
    assert_eq!(w.call(c, &create_flags("/q/", 2)).path(), "/q/0000000003");
    let many: Vec<Req> = (0..3).map(|_| create_flags("/q/m", 2)).collect();
    let paths: Vec<Member> = w.call(c, &multi(&many)).members();
    let named = |n: i32| Member::Path(format!("/q/m{n:010}"));
    assert_eq!(paths, [named(4), named(5), named(6)]);

    // A parent on the edge, as a snapshot may hold it.
    let mut loader = tree::Writer::restore(tree::Options::new((1, 2)));
    let zero = proto::stat::StatPersisted::default();
    let nodes = [("/", 0), ("/zookeeper", 0), ("/max", i32::MAX), ("/min", i32::MIN), ("/five", -5)];
    for (path, cversion) in nodes {
        loader.node(path, Some(b""), tree::OPEN_ID, proto::stat::StatPersisted { cversion, ..zero }).unwrap();
    }
    let writer = loader.finish(proto::Zxid(50)).unwrap();
    let mut w = World::with(|o| o.restored = Some((writer, Vec::new())));
    let c = w.open(0);
    assert_eq!(w.call(c, &create_flags("/max/n", 2)).path(), "/max/n2147483647");
    assert_eq!(w.call(c, &create_flags("/min/n", 2)).path(), "/min/n-2147483648");
    assert_eq!(w.call(c, &create_flags("/five/n", 2)).path(), "/five/n-000000005", "the sign counts toward the width");
    assert_eq!(w.call(c, &create_flags("/five/n", 2)).path(), "/five/n-000000004");
}
