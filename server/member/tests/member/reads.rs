//! What reads answer (client-protocol.md §11).

use proto::Op;

use crate::wire::*;
use crate::world::{START_MS, WALL_AHEAD_MS, World};

#[test]
fn stats_say_who_did_what_when() {
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &create("/n", "12"));
    let z = w.zxid();
    w.pass(1_500);
    w.call(c, &set("/n", "123", -1));
    w.call(c, &create("/n/k", ""));
    w.call(c, &delete("/n/k", -1));
    w.call(c, &set_acl("/n", &open_acl(), -1));
    let (data, stat) = w.call(c, &get("/n", false)).data_stat();
    assert_eq!(data, "123");
    let ctime = START_MS + WALL_AHEAD_MS;
    assert_eq!((stat.czxid.0, stat.mzxid.0, stat.pzxid.0), (z, z + 1, z + 3));
    assert_eq!((stat.ctime.0, stat.mtime.0), (ctime, ctime + 1_500));
    assert_eq!((stat.version, stat.cversion, stat.aversion), (1, 2, 1));
    assert_eq!((stat.ephemeral_owner.0, stat.data_length, stat.num_children), (0, 3, 0));
    assert_eq!(w.call(c, &exists("/n", false)).stat(), stat);
    assert_eq!(w.call(c, &children2("/n", false)).children_stat(), (vec![], stat));
    assert_eq!(stat_bytes(&stat).len(), 68);
}

#[test]
fn null_data_stays_null() {
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &create_as(Op::Create, "/null", None, &open_acl(), 0));
    w.call(c, &create("/empty", ""));
    assert_eq!(w.call(c, &get("/null", false)).data(), "(null)");
    assert_eq!(w.call(c, &get("/empty", false)).data(), "");
}

#[test]
fn reads_do_not_check_the_syntax_of_paths() {
    let mut w = World::new();
    let c = w.open(0);
    for path in ["x", "//", "/a/", "/..", "/zookeeper/"] {
        for request in [
            get(path, false),
            exists(path, false),
            children(path, false),
            path_only(Op::GetAcl, path),
            path_only(Op::GetAllChildrenNumber, path),
        ] {
            assert_eq!(w.err(c, &request), -101, "{path:?}");
        }
    }
    assert_eq!(w.err(c, &exists("/a\0", true)), -8);
    assert_eq!(w.err(c, &get("/a\0", false)), -101);
}

/// ZooKeeper keeps its root under two names, and a read of the empty path finds it. The count then includes the root.
#[test]
fn the_empty_path_reads_the_root() {
    let mut w = World::new();
    let c = w.open(0);
    w.call(c, &create("/a", ""));
    let root = w.call(c, &exists("/", false)).stat();
    assert_eq!(w.call(c, &exists("", false)).stat(), root);
    assert_eq!(w.call(c, &get("", false)).data_stat(), (String::new(), root));
    assert_eq!(w.call(c, &children2("", false)).children_stat().1, root);
    assert_eq!(w.err(c, &path_only(Op::GetAcl, "")), 0);
    let all = w.call(c, &path_only(Op::GetAllChildrenNumber, "/")).int();
    assert_eq!(w.call(c, &path_only(Op::GetAllChildrenNumber, "")).int(), all + 1);
    assert_eq!(w.err(c, &set("", "x", -1)), -8, "writes check their paths");
}

#[test]
fn a_new_tree_has_its_reserved_znodes() {
    let mut w = World::new();
    let c = w.open(0);
    assert_eq!(w.call(c, &children("/", false)).strings(), ["zookeeper"]);
    assert_eq!(w.call(c, &children("/zookeeper", false)).strings(), ["config", "quota"]);
    assert_eq!(w.call(c, &path_only(Op::GetAcl, "/")).acl_stat().0, open_acl());
    let (config, stat) = w.call(c, &path_only(Op::GetAcl, "/zookeeper/config")).acl_stat();
    assert_eq!((config, stat.aversion), (acl(1, "world", "anyone"), -1));
    assert_eq!(w.gauges.znodes.load(std::sync::atomic::Ordering::Relaxed), 5);
    assert_eq!(w.call(c, &path_only(Op::GetAllChildrenNumber, "/")).int(), 3);
}

#[test]
fn descendants_are_counted() {
    let mut w = World::new();
    let c = w.open(0);
    for path in ["/a", "/a/b", "/a/b/c", "/a/d", "/ab"] {
        w.call(c, &create(path, ""));
    }
    let mut count = |path: &str| w.call(c, &path_only(Op::GetAllChildrenNumber, path)).int();
    assert_eq!([count("/a"), count("/a/b"), count("/ab"), count("/")], [3, 1, 0, 8]);
}

/// The caller's own, by plain prefix, those under way included; sorted.
#[test]
fn ephemerals_are_listed_by_prefix() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(a, &create("/p", ""));
    for path in ["/p/2", "/p/1", "/p1", "/x"] {
        w.call(a, &create_flags(path, 1));
    }
    w.call(b, &create_flags("/p/b", 1));
    let mut list = |prefix: &str| w.call(a, &path_only(Op::GetEphemerals, prefix)).strings();
    let all = ["/p/1", "/p/2", "/p1", "/x"];
    assert_eq!([list(""), list("/"), list("  "), list(" / ")], [all, all, all, all]);
    assert_eq!(list("/p"), ["/p/1", "/p/2", "/p1"]);
    assert_eq!(list("/p/"), ["/p/1", "/p/2"]);
    assert!(list("/none").is_empty());
    assert_eq!(w.call(a, &raw(Op::GetEphemerals.as_i32(), &(-1i32).to_be_bytes())).strings(), all, "no prefix at all");
    w.burst(a, &[delete("/x", -1), create_flags("/y", 1), path_only(Op::GetEphemerals, ""), delete("/y", -1)]);
    w.settle();
    assert_eq!(w.replies(a)[2].strings(), ["/p/1", "/p/2", "/p1", "/y"]);
}

#[test]
fn who_am_i_lists_users_without_passwords() {
    let mut w = World::new();
    let c = w.socket(0, "10.1.2.3");
    w.hello(c, &Hello::default());
    w.call(c, &auth("digest", "user:password"));
    w.call(c, &auth("digest", "user:password"));
    let users = w.call(c, &who_am_i()).users();
    let user = |scheme: &str, name: &str| (scheme.to_owned(), name.to_owned());
    assert_eq!(users, [user("ip", "10.1.2.3"), user("digest", "user")]);
}

/// A server's readers on different shards move on their own, but none ever goes back.
#[test]
fn a_write_that_was_not_seen_yet_does_not_disturb_a_reader() {
    let mut w = World::with_shards(2);
    let (a, b) = (w.open(0), w.open(1));
    w.call(a, &create("/n", "1"));
    w.call(b, &get("/n", true));
    for round in 0..20 {
        w.ask(a, &set("/n", &format!("{round}"), -1));
        w.prepare();
        w.ask(b, &get("/n", false));
    }
    w.settle();
    let replies = w.replies(b);
    assert!(replies.iter().all(|reply| reply.data() == "1"), "nothing was durable when it asked");
    assert_eq!(replies.len(), 20);
}
