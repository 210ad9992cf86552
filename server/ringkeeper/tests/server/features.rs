//! Settings that change what clients may do, on the real server.

use client::{Error, Request, Response};
use proto::acl::Acl;
use proto::{Code, Id, Op, perms};

use crate::harness::{DEADLINE, Launch, directory, until};

/// `super:secret`, as `DigestAuthenticationProvider` prints it.
const SUPER_DIGEST: &str = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

fn locked() -> Vec<Acl> {
    vec![Acl { perms: perms::READ, id: Id { scheme: "world".into(), id: "anyone".into() } }]
}

#[test]
fn empty_containers_and_expired_ttl_nodes_are_reaped() {
    let dir = directory();
    let server = Launch::on(dir.path())
        .set("extendedTypesEnabled", "true")
        .set("znode.container.checkIntervalMs", "50")
        .set("znode.container.maxNeverUsedIntervalMs", "400")
        .start();
    let mut session = server.session();
    let open = [Acl::open()];
    for path in ["/used", "/unused"] {
        session
            .ask(&Request::Create { op: Op::CreateContainer, path, data: None, acl: &open, flags: 4 })
            .expect("created");
    }
    session.create("/used/child", b"", 0).expect("created");
    session.ask(&Request::CreateTtl { path: "/ttl", data: None, acl: &open, flags: 5, ttl: 300 }).expect("created");
    session
        .ask(&Request::CreateTtl { path: "/long", data: None, acl: &open, flags: 5, ttl: 3_600_000 })
        .expect("created");
    for path in ["/ttl", "/unused"] {
        until("it is reaped", || session.exists(path, false).expect("read").is_none());
    }
    assert!(session.exists("/used", false).expect("read").is_some());
    session.delete("/used/child", -1).expect("deleted");
    until("the emptied container is reaped", || session.exists("/used", false).expect("read").is_none());
    assert!(session.exists("/long", false).expect("read").is_some());
}

#[test]
fn ttl_nodes_are_not_there_unless_enabled() {
    let dir = directory();
    let server = Launch::on(dir.path()).start();
    let mut session = server.session();
    let open = [Acl::open()];
    let refused = session.ask(&Request::CreateTtl { path: "/ttl", data: None, acl: &open, flags: 5, ttl: 300 });
    assert_eq!(refused.expect_err("refused").code(), Some(Code::Unimplemented));
}

#[test]
fn quotas_hold_only_if_enforced() {
    for enforced in [false, true] {
        let dir = directory();
        let server = Launch::on(dir.path()).set("enforceQuota", if enforced { "true" } else { "false" }).start();
        let mut session = server.session();
        session.create("/q", b"", 0).expect("created");
        session.create("/zookeeper/quota/q", b"", 0).expect("created");
        session
            .create("/zookeeper/quota/q/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2", 0)
            .expect("created");
        session.create("/zookeeper/quota/q/zookeeper_stats", b"count=1,bytes=0", 0).expect("created");
        session.create("/q/a", b"", 0).expect("within");
        let beyond = session.create("/q/b", b"", 0);
        if enforced {
            assert_eq!(beyond.expect_err("beyond").code(), Some(Code::QuotaExceeded));
        } else {
            beyond.expect("only counted");
        }
    }
}

#[test]
fn acls_hold_unless_they_are_skipped() {
    for skipped in [false, true] {
        let dir = directory();
        let server = Launch::on(dir.path()).set("skipACL", if skipped { "yes" } else { "no" }).start();
        let mut session = server.session();
        session.create_with("/locked", Some(b"x"), &locked(), 0).expect("created");
        session.get("/locked", false).expect("readable");
        let set = session.set("/locked", b"y", -1);
        if skipped {
            set.expect("nobody looks");
        } else {
            assert_eq!(set.expect_err("locked").code(), Some(Code::NoAuth));
        }
    }
}

#[test]
fn the_super_user_passes_every_acl() {
    let dir = directory();
    let launch = Launch::on(dir.path());
    let server =
        launch.clone().arg(format!("-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER_DIGEST}")).start();
    let mut session = server.session();
    session.create_with("/locked", Some(b"x"), &locked(), 0).expect("created");
    assert_eq!(session.set("/locked", b"y", -1).expect_err("locked").code(), Some(Code::NoAuth));
    session.ask(&Request::Auth("digest", b"super:wrong")).expect("an identity like any other");
    assert_eq!(session.set("/locked", b"y", -1).expect_err("locked").code(), Some(Code::NoAuth));
    session.ask(&Request::Auth("digest", b"super:secret")).expect("accepted");
    session.set("/locked", b"y", -1).expect("the super user may");
    server.stop();
    // Nobody is the super user where none is configured.
    let server = launch.start();
    let mut session = server.session();
    session.ask(&Request::Auth("digest", b"super:secret")).expect("accepted");
    assert_eq!(session.set("/locked", b"z", -1).expect_err("locked").code(), Some(Code::NoAuth));
}

#[test]
fn enforced_authentication_lets_nobody_work_without() {
    let dir = directory();
    let server =
        Launch::on(dir.path()).set("enforce.auth.enabled", "true").set("enforce.auth.schemes", "digest").start();
    let mut stranger = server.session();
    let refused = stranger.create("/a", b"", 0);
    let expected = Code::SessionClosedRequireSaslAuth;
    assert!(matches!(&refused, Err(Error::Code(reply)) if reply.code() == Some(expected)), "{refused:?}");
    assert!(stranger.wait_closed(DEADLINE).expect("closed"));
    let mut known = server.session();
    known.ask(&Request::Auth("digest", b"someone:secret")).expect("accepted");
    known.create("/a", b"", 0).expect("allowed");
    let Response::Users(users) = known.ask(&Request::WhoAmI).expect("answered") else { panic!("users") };
    assert!(users.contains(&("digest".to_owned(), "someone".to_owned())), "{users:?}");
}

/// Answers may come before the disk has them; the operator was told. All else is the same.
#[test]
fn without_force_sync_the_log_is_written_all_the_same() {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("forceSync", "no");
    let server = launch.start();
    super::backends::burst(&server, 300);
    server.kill();
    let again = launch.start();
    let stat = again.session().exists("/burst-0000000000", false).expect("read").expect("the kernel still had it");
    assert_eq!(stat.version, 300);
}

#[test]
fn flush_delay_and_batches_delay_but_never_lose() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("flushDelay", "20").set("maxBatchSize", "50").start();
    super::backends::burst(&server, 300);
    let mut session = server.session();
    for _ in 0..5 {
        session.create("/lone-", b"", 2).expect("a lone write does not wait for company for ever");
    }
}

#[test]
fn slow_writes_of_the_log_are_said() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("fsync.warningthresholdms", "0").start();
    server.session().create("/a", b"", 0).expect("created");
    server.log.wait_for("a write of the transaction log took long");
    assert!(server.metric("cnt_fsynctime") > 0);
}

/// Nodes larger than any group of the log, where the operator allows them.
#[test]
fn nodes_of_many_megabytes_are_kept_if_jute_maxbuffer_allows() {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("jute.maxbuffer", "9000000");
    let server = launch.start();
    let data: Vec<u8> = (0..7_500_000u32).map(|at| (at % 253) as u8).collect();
    let mut session = server.session();
    for path in ["/a", "/b", "/c"] {
        session.create(path, &data, 0).expect("created");
    }
    session.create("/small", b"", 0).expect("created");
    server.kill();
    let again = launch.start();
    let mut session = again.session();
    for path in ["/a", "/b", "/c"] {
        assert!(session.get(path, false).expect("read").0.as_ref() == Some(&data), "{path}");
    }
    assert!(session.exists("/small", false).expect("read").is_some());
}
