//! One client story, told on every backend and every number of shards, and what happens where io_uring is forbidden.

use client::{MultiOp, MultiResult, Request, Response};
use proto::{Code, Op};

use crate::harness::{Launch, Server, directory, patient};

/// What clients do on any day, with two sessions that lie on different shards if there are several.
fn story(server: &Server) {
    let (mut a, mut b) = (server.session(), server.session());
    a.create("/story", b"0", 0).expect("created");

    // A watch fires once, before an answer that could show the change.
    b.get("/story", true).expect("read");
    a.set("/story", b"1", 0).expect("set");
    let event = b.next_event(patient().deadline).expect("connected").expect("an event");
    assert_eq!((event.kind, event.path.as_str()), (3, "/story"));
    assert_eq!(b.get("/story", false).expect("read").0.as_deref(), Some(&b"1"[..]));

    // Sequential ephemerals of one session, seen by the other.
    let made: Vec<String> = (0..5).map(|_| a.create("/story/e-", b"", 3).expect("created")).collect();
    let (mut seen, stat) = b.children("/story", false).expect("read");
    seen.sort();
    assert_eq!(seen.iter().map(|name| format!("/story/{name}")).collect::<Vec<_>>(), made);
    assert_eq!(stat.num_children, 5);

    // All or nothing.
    let open = [proto::acl::Acl::open()];
    let good = [
        MultiOp::Check("/story", 1),
        MultiOp::Create(Op::Create, "/story/m", Some(b"m"), &open, 0),
        MultiOp::SetData("/story", Some(b"2"), 1),
    ];
    let Response::Multi(results) = a.ask(&Request::Multi(&good)).expect("answered") else { panic!("a multi") };
    assert!(
        matches!(&results[..], [MultiResult::Checked, MultiResult::Created(_), MultiResult::Set(_)]),
        "{results:?}"
    );
    let bad = [MultiOp::Delete("/story/m", -1), MultiOp::Check("/story", 77)];
    let Response::Multi(results) = a.ask(&Request::Multi(&bad)).expect("answered") else { panic!("a multi") };
    assert!(results.contains(&MultiResult::Error(Code::BadVersion as i32)), "{results:?}");
    assert!(b.exists("/story/m", false).expect("read").is_some());

    burst(server, 1500);

    // Larger than any buffer on the way.
    let large: Vec<u8> = (0..700_000u32).map(|at| (at % 251) as u8).collect();
    b.set("/story/m", &large, -1).expect("set");
    assert!(a.get("/story/m", false).expect("read").0 == Some(large));

    a.close().expect("closed");
    assert_eq!(b.children("/story", false).expect("read").0, ["m"]);
}

/// Thousands of requests in one go: all answered, in order, each read seeing exactly the writes before it.
pub fn burst(server: &Server, rounds: i32) {
    let mut session = server.session();
    let path = session.create("/burst-", b"", 2).expect("created");
    for round in 0..rounds {
        session.submit(&Request::SetData(&path, Some(&round.to_be_bytes()), round));
        session.submit(&Request::GetData(&path, false));
        if round % 100 == 0 {
            session.submit(&Request::Sync("/"));
            session.submit(&Request::Ping);
        }
    }
    let mut round = 0;
    for answer in session.answers().expect("answered in order") {
        match answer.response.unwrap_or_else(|| panic!("{:?}", answer.reply)) {
            Response::Stat(stat) => assert_eq!(stat.version, round + 1),
            Response::Data(data, stat) => {
                assert_eq!(data.as_deref(), Some(&round.to_be_bytes()[..]));
                assert_eq!(stat.version, round + 1);
                round += 1;
            }
            Response::Path(_) | Response::Empty => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(round, rounds);
}

fn tell(backend: &str, shards: &str) {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("ringkeeper.backend", backend).set("ringkeeper.shards", shards);
    let server = launch.start();
    assert!(server.log.so_far().contains(if backend == "uring" { "run on io_uring" } else { "run on epoll" }));
    story(&server);
    let zxid = server.session().last_zxid();
    server.kill();
    let again = launch.start();
    let mut session = again.session();
    let mut names = session.children("/", false).expect("read").0;
    names.sort();
    assert_eq!(names, ["burst-0000000001", "story", "zookeeper"]);
    assert_eq!(session.get("/story", false).expect("read").0.as_deref(), Some(&b"2"[..]));
    session.set("/story", b"3", 2).expect("the version is as it was");
    assert!(session.last_zxid() > zxid);
    again.stop();
}

#[test]
fn clients_are_served_on_epoll_with_one_shard() {
    tell("epoll", "1");
}

#[test]
fn clients_are_served_on_epoll_with_two_shards() {
    tell("epoll", "2");
}

#[test]
fn clients_are_served_on_epoll_with_three_shards() {
    tell("epoll", "3");
}

#[test]
fn clients_are_served_on_io_uring_with_one_shard() {
    tell("uring", "1");
}

#[test]
fn clients_are_served_on_io_uring_with_two_shards() {
    tell("uring", "2");
}

#[test]
fn clients_are_served_on_io_uring_with_three_shards() {
    tell("uring", "3");
}

/// A container's seccomp profile commonly answers io_uring with an error. The operator is told once; clients see nothing.
#[test]
fn where_io_uring_is_forbidden_the_server_runs_on_epoll_and_says_so_once() {
    let dir = directory();
    let launch = Launch::on(dir.path()).set("snapCount", "10").confined(forbid_io_uring);
    let server = launch.start();
    assert_eq!(server.log.count("run on epoll, since io_uring is refused"), 1, "{}", server.log.so_far());
    story(&server);
    // Snapshots are written through a ring as well, where there is one.
    server.log.wait_for("Snapshotting:");
    server.stop();
}

/// The operator wanted io_uring or nothing. A server that said it serves, with threads that had ended, would be worse.
#[test]
fn where_io_uring_is_demanded_and_forbidden_the_server_ends() {
    let dir = directory();
    let ended = Launch::on(dir.path()).set("ringkeeper.backend", "uring").confined(forbid_io_uring).end();
    ended.check(1, &["Operation not permitted", "ringkeeper.backend"]);
    assert!(!ended.stderr.contains("serving clients"), "{}", ended.stderr);
}

/// From now on `io_uring_setup` fails in this process, with the error that container profiles choose.
fn forbid_io_uring() {
    // seccomp(2), bpf(4): load the number of the system call; if it is that one answer EPERM, else allow.
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes plain numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the kernel copies the program, which outlives the call, as does the filter that it points to.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0);
}
