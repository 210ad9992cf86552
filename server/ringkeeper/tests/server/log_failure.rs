//! A write of the log fails. What is on the disk is no longer known, so the process ends with a status of its own; what it
//! acknowledged before is there when it starts again.

use client::{Error, Received, Request};
use rustix::process::{Resource, Rlimit};

use crate::harness::{Launch, directory};

#[test]
fn a_failed_write_of_the_log_ends_the_process_with_its_own_status() {
    for backend in ["uring", "epoll"] {
        let dir = directory();
        let launch = Launch::on(dir.path()).set("ringkeeper.backend", backend);
        let mut server = launch.start();
        let mut session = server.session();
        session.create("/n", b"", 0).expect("created");
        for version in 0..5 {
            session.set("/n", b"acknowledged", version).expect("set");
        }
        // The log's file is longer than that already; a write beyond the limit fails.
        let low = Rlimit { current: Some(40_960), maximum: None };
        let pid = rustix::process::Pid::from_raw(server.pid() as i32);
        rustix::process::prlimit(pid, Resource::Fsize, low).expect("limited");
        let mut acknowledged = 5;
        let end = loop {
            session.submit(&Request::SetData("/n", Some(b"more"), -1));
            match session.receive() {
                Ok(Received::Answer(answer)) => {
                    assert_eq!(answer.reply.err, 0);
                    acknowledged += 1;
                }
                Ok(Received::Event(event)) => panic!("{event:?}"),
                Err(error) => break error,
            }
            assert!(acknowledged < 100, "writes beyond the limit must fail");
        };
        assert!(matches!(end, Error::Closed), "{end}");
        assert_eq!(server.wait().code(), Some(74), "{}", server.log.so_far());
        let said = server.log.all();
        assert!(said.contains("the transaction log failed: write of log."), "{said}");
        assert!(said.contains("File too large"), "{said}");

        let again = launch.start();
        let version = again.session().exists("/n", false).expect("read").expect("there").version;
        assert!(version >= acknowledged, "{backend}: {acknowledged} acknowledged, {version} kept");
    }
}
