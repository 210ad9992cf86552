//! The four-letter words through a real server: that each has its shape, and that the numbers in them are its own.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Launch, Server, directory, until};

fn busy_server(dir: &std::path::Path) -> (Server, client::Session) {
    let server = Launch::on(dir).start();
    let mut session = server.session();
    session.create("/watched", b"data", 0).expect("created");
    session.create("/watched/e", b"", 1).expect("created");
    session.get("/watched", true).expect("read");
    (server, session)
}

#[test]
fn every_word_answers_in_its_shape() {
    let dir = directory();
    let (server, session) = busy_server(dir.path());
    let id = format!("0x{:x}", session.id().0);
    let version = dir.path().join("version-2").display().to_string();
    let check = |word: &str, wanted: &[&str]| {
        let text = server.word(word);
        for words in wanted {
            assert!(text.contains(words), "{word}: missing {words:?} in\n{text}");
        }
    };
    assert_eq!(server.word("ruok"), "imok");
    assert_eq!(server.word("isro"), "rw");
    assert!(server.word("gtmk").parse::<i64>().is_ok());
    check("envi", &["Environment:\n", "zookeeper.version=", "host.name=", "os.name=Linux\n", "user.dir="]);
    check(
        "conf",
        &["clientPort=", &format!("dataDir={version}\n"), "tickTime=", "clientPortListenBacklog=", "serverId=0"],
    );
    check("cons", &[" /127.0.0.1:", &format!("sid={id}"), "lop=GETD", "to=10000"]);
    check("dirs", &["datadir_size: ", "logdir_size: "]);
    check(
        "dump",
        &[
            "SessionTracker dump:\n",
            &id,
            "ephemeral nodes dump:\n",
            "Sessions with Ephemerals (1):\n",
            "\t/watched/e\n",
        ],
    );
    assert!(
        server
            .word("hash")
            .lines()
            .all(|line| line.split_once(": ").is_some_and(|(_, digest)| digest.parse::<i64>().is_ok()))
    );
    check(
        "mntr",
        &[
            "zk_version\t",
            "zk_server_state\tstandalone\n",
            "zk_znode_count\t7\n",
            "zk_watch_count\t1\n",
            "zk_ephemerals_count\t1\n",
        ],
    );
    let zxid = format!("Zxid: 0x{:x}\n", session.last_zxid().0);
    check(
        "srvr",
        &["Zookeeper version: ", "Latency min/avg/max: ", "Received: ", &zxid, "Mode: standalone\n", "Node count: 7\n"],
    );
    check("stat", &["Clients:\n /127.0.0.1:", "Mode: standalone\n"]);
    assert_eq!(server.word("wchs"), "1 connections watching 1 paths\nTotal watches:1\n");
    check("wchc", &[&format!("{id}\n\t/watched\n")]);
    check("wchp", &[&format!("/watched\n\t{id}\n")]);
    check("crst", &["Connection stats reset.\n"]);
    check("srst", &["Server stats reset.\n"]);
}

#[test]
fn a_word_that_is_not_listed_is_refused_and_srvr_never_is() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("4lw.commands.whitelist", "ruok").start();
    assert_eq!(server.word("ruok"), "imok");
    assert!(server.word("srvr").starts_with("Zookeeper version: "));
    for word in ["stat", "mntr", "conf", "wchs"] {
        assert_eq!(server.word(word), format!("{word} is not executed because it is not in the whitelist.\n"));
    }
}

/// A word by itself is not counted as a client's work that must be forgotten: what is reset is what was before.
#[test]
fn srst_and_crst_forget_what_was_counted() {
    let dir = directory();
    let (server, mut session) = busy_server(dir.path());
    for _ in 0..200 {
        session.ping().expect("alive");
    }
    assert!(server.metric("packets_received") >= 200);
    server.word("srst");
    // Other threads are told, and do it in their time.
    until("packets are counted anew", || server.metric("packets_received") < 100);
    let received = |text: &str| -> i64 {
        let line = text.lines().find(|line| line.contains("sid=0x")).expect("our connection");
        line.split("recved=")
            .nth(1)
            .and_then(|rest| rest.split(',').next())
            .expect("a count")
            .parse()
            .expect("a number")
    };
    assert!(received(&server.word("cons")) >= 200);
    server.word("crst");
    until("the connection's packets are counted anew", || received(&server.word("cons")) == 0);
    session.ping().expect("alive");
    assert_eq!(received(&server.word("cons")), 1);
}

#[test]
fn stmk_sets_the_mask_that_gtmk_shows() {
    let dir = directory();
    let server = Launch::on(dir.path()).start();
    let mut socket = TcpStream::connect(server.addr).expect("connected");
    // The mask may come later than the word.
    socket.write_all(b"stmk").expect("sent");
    socket.write_all(&0b1010i64.to_be_bytes()).expect("sent");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("answered");
    assert_eq!(text, "10");
    assert_eq!(server.word("gtmk"), "10");
}

/// All threads are asked for some words; many at once must not wait for each other.
#[test]
fn words_are_answered_while_many_ask_and_clients_write() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("maxClientCnxns", "0").set("ringkeeper.shards", "3").start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for word in ["mntr", "cons", "dump", "wchs", "stat", "wchc", "srvr", "wchp", "conf", "hash"] {
                    for _ in 0..5 {
                        assert!(!server.word(word).is_empty() || matches!(word, "wchc" | "wchp" | "hash"), "{word}");
                    }
                }
            });
        }
        scope.spawn(|| super::backends::burst(&server, 500));
    });
}
