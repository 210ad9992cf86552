//! Members of an ensemble as their operator meets them: why one does not start, and three that find each other.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use client::{Error, Event, Options, Request, Session};
use proto::Code;

use crate::harness::{Launch, Server, directory, patient, until};

/// Ports that are free: for clients, learners and elections.
pub fn ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| client::free_port()).collect()
}

/// The server lines of members 1 to 3, at ports of their own.
fn three_lines() -> String {
    let ports = ports(6);
    (0..3).map(|at| format!("server.{}=127.0.0.1:{}:{}\n", at + 1, ports[2 * at], ports[2 * at + 1])).collect()
}

/// A member with this number in its `myid`.
pub fn member(dir: &Path, id: &str, lines: &str) -> Launch {
    let data = dir.join(format!("data{id}"));
    std::fs::create_dir_all(&data).expect("made");
    if !id.is_empty() {
        std::fs::write(data.join("myid"), id).expect("written");
    }
    let file = dir.join(format!("zoo{id}.cfg"));
    let text = format!(
        "tickTime=500\ninitLimit=20\nsyncLimit=20\ndataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\n{lines}",
        data.display()
    );
    std::fs::write(&file, text).expect("written");
    Launch::bare().small().arg(file)
}

#[test]
fn a_member_that_cannot_start_says_why_and_ends_as_java_does() {
    let dir = directory();
    let lines = three_lines();
    member(dir.path(), "", &lines).end().check(2, &["data/myid: the file is missing; expected this server's number"]);
    member(dir.path(), "x", &lines).end().check(2, &["datax/myid: serverid \"x\" is not a number"]);
    member(dir.path(), "7", &lines)
        .end()
        .check(1, &["data7/myid: this server is number 7, and the server lines are those of 1, 2, 3"]);

    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let election = taken.local_addr().expect("bound").port();
    let quorum = ports(1)[0];
    let lines = format!("server.1=127.0.0.1:{quorum}:{election}\nserver.2=127.0.0.1:1:2\nelectionPortBindRetry=1\n");
    member(dir.path(), "1", &lines).end().check(
        14,
        &[&format!(
            "cannot listen on the election port 127.0.0.1:{election} of server 1: another process listens there"
        )],
    );
}

#[test]
fn epoch_files_that_contradict_each_other_end_the_start_with_status_1() {
    let dir = directory();
    let launch = member(dir.path(), "2", &three_lines());
    let epochs = dir.path().join("data2/version-2");
    std::fs::create_dir_all(&epochs).expect("made");
    std::fs::write(epochs.join("acceptedEpoch"), "4").expect("written");
    std::fs::write(epochs.join("currentEpoch"), "5").expect("written");
    launch.end().check(1, &["the accepted epoch, 4, is less than the current epoch, 5"]);
    std::fs::write(epochs.join("acceptedEpoch"), "four").expect("written");
    launch.end().check(1, &["acceptedEpoch: the first line is \"four\"; expected the number of an epoch"]);
}

/// Where clients reach a member that has begun.
fn address(server: &Server) -> SocketAddr {
    let line = server.log.wait_for("for clients on ");
    let rest = line.split("for clients on ").nth(1).and_then(|rest| rest.split(' ').next());
    rest.expect("an address").parse().expect("an address")
}

pub fn start(launch: &Launch) -> Server {
    let mut server = launch.start_only();
    server.addr = address(&server);
    server
}

/// What a member is, as `srvr` says it; nothing while it serves nobody.
pub fn mode(server: &Server) -> Option<String> {
    let text = client::four_letter(server.addr, "srvr").ok()?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

pub fn leads(server: &Server) -> bool {
    mode(server).as_deref() == Some("leader")
}

/// The story: one member alone serves nobody and says so; two serve; the third joins; the leader goes, and the two others serve what
/// was written before.
#[test]
fn three_members_find_each_other_and_go_on_without_their_leader() {
    let dir = directory();
    let lines = three_lines();
    let launches: Vec<Launch> = ["1", "2", "3"].iter().map(|id| member(dir.path(), id, &lines)).collect();
    let first = start(&launches[0]);
    for word in ["srvr", "mntr", "conf", "stat"] {
        assert_eq!(first.word(word), "This ZooKeeper instance is not currently serving requests\n", "{word}");
    }
    assert_eq!(first.word("ruok"), "imok");
    assert_eq!(first.word("isro"), "null");

    let mut servers = vec![first, start(&launches[1]), start(&launches[2])];
    until("all serve", || servers.iter().all(|server| mode(server).is_some()));
    assert_eq!(servers.iter().filter(|server| leads(server)).count(), 1);
    let at = servers.iter().position(leads).expect("one leads");
    let leader = &servers[at];
    until("both follow", || leader.metric("synced_followers") == 2);
    assert_eq!((leader.metric("quorum_size"), leader.metric("learners")), (3, 2));
    assert_eq!(leader.setting("serverId"), (at + 1).to_string());
    assert!(leader.word("conf").ends_with("\nversion=0"), "{}", leader.word("conf"));

    let mut session = servers[(at + 1) % 3].session();
    session.create("/kept", b"through a follower", 0).expect("created");
    assert_eq!(leader.metric("proposal_count"), 2, "a session and a znode");
    assert!(leader.word("srvr").contains("\nProposal sizes last/min/max: "), "{}", leader.word("srvr"));
    assert!(!leader.word("srvr").contains("max: -1/"), "{}", leader.word("srvr"));
    assert_eq!(leader.word("srst"), "Server stats reset.\n");
    until("sizes are forgotten", || leader.word("srvr").ends_with("Proposal sizes last/min/max: -1/-1/-1\n"));

    servers.remove(at).kill();
    until("another leads", || servers.iter().any(leads) && servers.iter().all(|server| mode(server).is_some()));
    for server in &servers {
        let mut session = server.session();
        let (data, _) = session.get("/kept", false).expect("read");
        assert_eq!(data.as_deref(), Some(&b"through a follower"[..]));
    }
    for server in servers {
        server.stop();
    }
}

/// Of a client that is content with a server without a leader.
fn reader() -> Options {
    Options { read_only: Some(true), ..patient() }
}

#[track_caller]
fn is_sent_away(server: &Server, options: &Options) {
    let error = Session::connect(server.addr, options).err();
    assert!(matches!(error, Some(Error::Closed)), "{error:?}");
}

#[track_caller]
fn is_refused(session: &mut Session, request: &Request<'_>) {
    let error = session.ask(request).expect_err("refused");
    assert_eq!(error.code(), Some(Code::NotReadOnly), "{error}");
}

/// The story: two of three members end. The third serves readers what it had, and nobody else, until one of the two is back; then the
/// session from before goes on, and those of the readers are gone.
#[test]
fn the_last_of_three_members_serves_readers_until_there_is_a_leader_again() {
    let dir = directory();
    let lines = three_lines() + "readonlymode.enabled=true\n";
    let launches: Vec<Launch> = ["1", "2", "3"].iter().map(|id| member(dir.path(), id, &lines)).collect();
    let mut servers: Vec<Server> = launches.iter().map(start).collect();
    until("all serve", || servers.iter().all(|server| mode(server).is_some()));
    let last = servers.remove(0);
    assert_eq!(last.word("isro"), "rw");
    let mut before = last.session_of(1_000);
    before.create("/kept", b"old", 0).expect("created");
    before.create("/mine", b"", 1).expect("created");
    let mut content = Session::connect(last.addr, &reader()).expect("a session");
    assert_eq!(content.info().read_only, Some(false), "there is a leader");
    content.create("/content", b"", 0).expect("created");

    let gone = Instant::now();
    for server in servers {
        server.kill();
    }
    for session in [&mut before, &mut content] {
        assert!(session.wait_closed(Duration::from_secs(20)).expect("closed"));
    }
    until("readers are served", || last.word("isro") == "ro");
    assert!(gone.elapsed() >= Duration::from_secs(2), "after {:?}", gone.elapsed());
    assert_eq!(mode(&last).as_deref(), Some("read-only"));
    assert!(last.word("srvr").contains("\nREAD-ONLY mode; serving only read-only clients\n"), "{}", last.word("srvr"));

    is_sent_away(&last, &patient());
    is_sent_away(&last, &Options { read_only: None, ..patient() });
    // It may go on with a leader that this member does not see.
    is_sent_away(&last, &Options { read_only: Some(true), ..before.reattach() });
    let mut session = Session::connect(last.addr, &reader()).expect("a session");
    assert_eq!(session.info().read_only, Some(true));
    assert_eq!(session.get("/kept", true).expect("read").0.as_deref(), Some(&b"old"[..]));
    // Its session has not been heard of for longer than its timeout. Without a leader that is nobody's business.
    assert!(session.exists("/mine", false).expect("read").is_some());
    for request in [Request::SetData("/kept", Some(b"new"), -1), Request::Delete("/kept", -1), Request::Sync("/")] {
        is_refused(&mut session, &request);
    }
    let (children, _) = session.children("/", false).expect("read");
    assert_eq!(children.len(), 4, "{children:?}");
    assert!(last.word("dump").contains(&format!("\t0x{:x}\n", session.id().0)), "{}", last.word("dump"));

    let back = start(&launches[1]);
    assert!(session.wait_closed(Duration::from_secs(20)).expect("closed"));
    until("both serve", || [&last, &back].iter().all(|server| server.word("isro") == "rw"));
    let mut before = Session::connect(last.addr, &before.reattach()).expect("its session goes on");
    assert!(before.exists("/mine", false).expect("read").is_some());
    let error = Session::connect(back.addr, &Options { read_only: Some(true), ..session.reattach() }).err();
    assert!(matches!(error, Some(Error::Refused)), "a reader's session is nobody else's: {error:?}");
    let mut content = Session::connect(last.addr, &reader()).expect("a session");
    assert_eq!(content.info().read_only, Some(false));
    content.get("/kept", true).expect("read");
    before.set("/kept", b"new", -1).expect("written");
    let event = content.next_event(Duration::from_secs(20)).expect("an event");
    assert!(event.is_some_and(|Event { path, .. }| path == "/kept"));
    back.stop();
    last.stop();
}

/// The story: a follower's clients are served, and the leader's are not. When the leader goes, one of the others becomes such a leader.
#[test]
fn with_leader_serves_no_the_leader_has_no_clients() {
    let dir = directory();
    let lines = three_lines() + "leaderServes=no\n";
    let launches: Vec<Launch> = ["1", "2", "3"].iter().map(|id| member(dir.path(), id, &lines)).collect();
    let mut servers: Vec<Server> = launches.iter().map(start).collect();
    let follow =
        |servers: &[Server]| servers.iter().filter(|server| mode(server).as_deref() == Some("follower")).count();
    until("two follow", || follow(&servers) == 2);
    let at = servers.iter().position(|server| mode(server).is_none()).expect("one leads");
    assert!(servers[at].log.so_far().contains("leading epoch "), "{}", servers[at].log.so_far());
    is_sent_away(&servers[at], &patient());
    assert_eq!(servers[at].word("isro"), "null", "a client that looks for a server to write to goes on looking");
    assert_eq!(servers[at].word("mntr"), "This ZooKeeper instance is not currently serving requests\n");

    servers.remove(at).kill();
    // One may still follow the dead leader when the other has noticed that it is gone.
    until("another leads", || servers.iter().any(|server| server.log.so_far().contains("leading epoch ")));
    until("one follows", || follow(&servers) == 1);
    let (follower, leader) = if mode(&servers[0]).is_some() { (0, 1) } else { (1, 0) };
    let mut session = servers[follower].session();
    session.create("/a", b"through a follower", 1).expect("created");
    is_sent_away(&servers[leader], &session.reattach());
    assert_eq!(session.get("/a", false).expect("read").0.as_deref(), Some(&b"through a follower"[..]));
    session.close().expect("closed");
    for server in servers {
        server.stop();
    }
}

/// Alone with another member that is not there, and with ticks of more than two seconds.
#[test]
fn an_observer_without_a_leader_serves_readers_after_a_tick() {
    let dir = directory();
    let ports = ports(4);
    let lines = format!(
        "tickTime=2500\nstandaloneEnabled=false\nserver.1=127.0.0.1:{}:{}\nserver.2=127.0.0.1:{}:{}:observer\npeerType=observer\n",
        ports[0], ports[1], ports[2], ports[3]
    );
    let begun = Instant::now();
    let observer = start(&member(dir.path(), "2", &lines).set("readonlymode.enabled", "true"));
    assert_eq!(observer.word("isro"), "null");
    is_sent_away(&observer, &reader());
    until("readers are served", || observer.word("isro") == "ro");
    assert!(begun.elapsed() >= Duration::from_millis(2_500), "after {:?}", begun.elapsed());
    let mut session = Session::connect(observer.addr, &reader()).expect("a session");
    assert!(session.exists("/zookeeper", false).expect("read").is_some());
    is_refused(&mut session, &Request::Delete("/zookeeper", -1));
    session.close().expect("closed");
    observer.stop();
}

#[test]
fn a_standalone_server_with_read_only_mode_enabled_is_as_any_other() {
    let dir = directory();
    let server = Launch::on(dir.path()).set("readonlymode.enabled", "true").start();
    assert_eq!((server.word("isro").as_str(), mode(&server).as_deref()), ("rw", Some("standalone")));
    let mut session = Session::connect(server.addr, &reader()).expect("a session");
    assert_eq!(session.info().read_only, Some(false));
    session.create("/a", b"", 0).expect("created");
    server.stop();
}

/// What a member's metrics say of sessions that it alone knows, and of those of the ensemble.
fn sessions(server: &Server) -> (i64, i64) {
    (server.metric("local_sessions"), server.metric("global_sessions"))
}

/// A session taken up at a member, as soon as that has what its client has seen.
fn take_up(server: &Server, session: &Session) -> Result<Session, Error> {
    let mut outcome = Err(Error::Closed);
    until("it has caught up", || {
        outcome = Session::connect(server.addr, &session.reattach());
        !matches!(outcome, Err(Error::Closed))
    });
    outcome
}

/// The story, at a leader, a follower and an observer: sessions come, read, write and go, and none of them is a transaction. One is
/// refused at another member; one expires; and one wants an ephemeral, which it may not have, or for which it becomes the ensemble's
/// and then goes on elsewhere.
#[test]
fn with_local_sessions_only_what_wants_ephemerals_is_known_to_the_ensemble() {
    for upgrading in [false, true] {
        let dir = directory();
        let lines = format!(
            "{}:observer\nlocalSessionsEnabled=true\nlocalSessionsUpgradingEnabled={upgrading}\n",
            three_lines().trim_end()
        );
        let launch = |id| member(dir.path(), id, &lines);
        let launches = [launch("1"), launch("2"), launch("3").set("peerType", "observer")];
        let mut servers: Vec<Server> = launches.iter().map(start).collect();
        until("all serve", || servers.iter().all(|server| mode(server).is_some()));
        let at = servers.iter().position(leads).expect("one leads");
        until("both learn", || servers[at].metric("learners") == 2);
        assert_eq!(servers[at].metric("proposal_count"), 0);

        let mut stay: Vec<Session> = servers.iter().map(Server::session).collect();
        for server in &servers {
            for _ in 0..20 {
                let mut session = server.session();
                assert!(session.exists("/none", false).expect("read").is_none());
                session.close().expect("closed");
            }
            assert_eq!(sessions(server), (1, 0));
        }
        assert_eq!(servers[at].metric("proposal_count"), 0);
        for (number, (server, session)) in servers.iter().zip(&mut stay).enumerate() {
            let path = format!("/{number}");
            session.create(&path, b"", 0).expect("created");
            session.set(&path, b"local", 0).expect("set");
            assert_eq!(session.get(&path, false).expect("read").0.as_deref(), Some(&b"local"[..]));
            let dump = server.word("dump");
            let id = session.id().0;
            assert!(dump.starts_with("SessionTracker dump:\nLocal Session Sets (1)/(1):\n1 expire at "), "{dump}");
            assert!(dump.contains(&format!(":\n\t0x{id:x}\nGlobal Session")), "{dump}");
            let other = &servers[(number + 1) % 3];
            let error = take_up(other, session).err();
            assert!(matches!(error, Some(Error::Refused)), "{error:?}");
            *session = take_up(server, session).expect("its own member knows it");
        }
        assert_eq!(servers[at].metric("proposal_count"), 6);

        for (number, session) in stay.iter_mut().enumerate() {
            let made = session.create(&format!("/{number}/mine"), b"", 1);
            if upgrading {
                made.expect("created");
                let next = &servers[(number + 1) % 3];
                let mut moved = take_up(next, session).expect("known everywhere");
                moved.ask(&Request::Sync("/")).expect("synced");
                let stat = moved.exists(&format!("/{number}/mine"), false).expect("read").expect("it lives on");
                assert_eq!(stat.ephemeral_owner, session.id());
                *session = moved;
            } else {
                assert_eq!(made.err().and_then(|error| error.code()), Some(Code::EphemeralOnLocalSession));
            }
        }
        let expected = if upgrading { (0, 3) } else { (1, 0) };
        until("all know", || servers.iter().all(|server| sessions(server) == expected));

        // Silence ends a local session where it is; and the end of a member's role ends all of its own.
        for server in &servers {
            let _silent = server.session_of(1_000);
            assert_eq!(sessions(server), (expected.0 + 1, expected.1));
        }
        until("they have expired", || servers.iter().all(|server| sessions(server) == expected));
        let kept = servers[2].session();
        servers.remove(at).kill();
        servers.insert(at, start(&launches[at]));
        until("all serve", || servers.iter().all(|server| mode(server).is_some()));
        assert!(matches!(take_up(&servers[2], &kept).err(), Some(Error::Refused)), "its member has begun anew");
        servers.into_iter().for_each(Server::stop);
    }
}

/// A reconfiguration that gives a member this line, once the ensemble takes it.
fn reconfigure(at: &Server, line: &str) {
    let request = Request::Reconfig { joining: Some(line), leaving: None, members: None, from_config: -1 };
    // The answer is lost where the leader goes with it.
    until("the reconfiguration is taken", || {
        Session::connect(at.addr, &patient()).is_ok_and(|mut session| session.ask(&request).is_ok())
    });
}

/// The story: a follower's client port moves, to a port that is in use until its owner goes; its ports for other members change
/// places; a leader's quorum port moves, and another leads; then that leader goes, and the rest reach each other at their new ports.
#[test]
fn ports_move_while_the_members_run() {
    let dir = directory();
    let ports = ports(9);
    let line = |id: usize, quorum: u16, election: u16, client: u16| {
        format!("server.{id}=127.0.0.1:{quorum}:{election}:participant;127.0.0.1:{client}")
    };
    let lines: String =
        (0..3).map(|at| format!("server.{}=127.0.0.1:{}:{}\n", at + 1, ports[2 * at], ports[2 * at + 1])).collect();
    let lines = format!("{lines}reconfigEnabled=true\nskipACL=yes\n");
    let launches: Vec<Launch> = ["1", "2", "3"].iter().map(|id| member(dir.path(), id, &lines)).collect();
    let mut servers: Vec<Server> = launches.iter().map(start).collect();
    let all_serve = |servers: &[Server]| {
        until("all serve", || servers.iter().all(|server| mode(server).is_some()) && servers.iter().any(leads));
    };
    all_serve(&servers);
    let leader = servers.iter().position(leads).expect("one leads");
    let at = (leader + 1) % 3;
    until("both follow", || servers[leader].metric("synced_followers") == 2);

    let mut kept = servers[at].session();
    kept.create("/kept", b"", 0).expect("created");
    let (old, new) = (servers[at].addr, SocketAddr::from(([127, 0, 0, 1], ports[6])));
    let holder = TcpListener::bind(new).expect("bound");
    let (quorum, election) = (ports[2 * at], ports[2 * at + 1]);
    reconfigure(&servers[leader], &line(at + 1, quorum, election, new.port()));
    let said = servers[at].log.wait_for("is tried again every second");
    let wanted = format!(
        "cannot listen on {new}: Address already in use (os error 98); the old client port, {old}, is still open"
    );
    assert!(said.contains(&wanted), "{said}");
    assert_eq!(servers[at].word("ruok"), "imok");
    drop(holder);
    servers[at].log.wait_for(&format!("the client port is {new} from now on"));
    servers[at].addr = new;
    until("clients are served there", || servers[at].word("ruok") == "imok");
    assert_eq!(servers[at].setting("clientPort"), new.port().to_string());
    until("the old port is closed", || TcpStream::connect(old).is_err());
    kept.set("/kept", b"by the connection from before", -1).expect("set");

    // The two ports change places.
    reconfigure(&servers[leader], &line(at + 1, election, quorum, new.port()));
    servers[at].log.wait_for(&format!("the election port is 127.0.0.1:{quorum} from now on"));
    servers[at].log.wait_for(&format!("the quorum port is 127.0.0.1:{election} from now on"));
    kept.set("/kept", b"while the others go on", -1).expect("set");

    // A leader whose learners would not find it does not stay, as in Java.
    let place = servers[leader].addr;
    reconfigure(&servers[leader], &line(leader + 1, ports[7], ports[8], place.port()));
    servers[leader].log.wait_for(&format!("the quorum port is 127.0.0.1:{} from now on", ports[7]));
    until("another leads", || (0..3).any(|other| other != leader && leads(&servers[other])));
    all_serve(&servers);

    let second = servers.iter().position(leads).expect("one leads");
    servers.remove(second).kill();
    all_serve(&servers);
    for server in &servers {
        let (data, _) = server.session().get("/kept", false).expect("read");
        assert_eq!(data.as_deref(), Some(&b"while the others go on"[..]));
    }
    for server in servers {
        server.stop();
    }
}

/// The story: the leader is told to give leadership away, by a word that must be listed by its name. The best of the others takes over with
/// everything, the old leader follows it, and no request that was sent before is answered wrongly. Then it comes back the same way.
#[test]
fn leadership_is_handed_over_on_command() {
    let dir = directory();
    let lines = three_lines();
    let launch = |id| member(dir.path(), id, &lines);
    let listed = |id| launch(id).set("4lw.commands.whitelist", "*,hand");
    // The third comes before there is a quorum, and leads.
    let mut servers = vec![start(&listed("3")), start(&listed("2"))];
    until("a quorum serves", || leads(&servers[0]) && mode(&servers[1]).is_some());
    servers.push(start(&launch("1")));
    servers.reverse();
    until("all serve", || servers.iter().all(|server| mode(server).is_some()));
    until("both follow", || servers[2].metric("synced_followers") == 2);
    assert_eq!(servers[0].word("hand"), "hand is not executed because it is not in the whitelist.\n");
    assert_eq!(servers[1].word("hand"), "not the leader: server 3 leads\n");

    let mut session = servers[1].session();
    session.create("/kept", b"0", 0).expect("created");
    let mut written = 0_i32;
    for (from, to) in [(2, 1), (1, 2), (2, 1)] {
        let began = Instant::now();
        assert_eq!(servers[from].word("hand"), format!("leadership goes to server {}\n", to + 1));
        until("the other leads", || leads(&servers[to]));
        // Its clients come back to a server that has what they wrote.
        let mut session = Session::connect(servers[to].addr, &patient()).expect("a session");
        let (data, stat) = session.get("/kept", false).expect("read");
        assert_eq!((data, stat.version), (Some(written.to_string().into_bytes()), written));
        written += 1;
        session.set("/kept", written.to_string().as_bytes(), written - 1).expect("set");
        eprintln!("from one leader to a write at the next: {:?}", began.elapsed());
        until("the old leader follows", || mode(&servers[from]).as_deref() == Some("follower"));
        until("both follow", || servers[to].metric("synced_followers") == 2);
        servers[from].log.wait_for(&format!("no longer leading: leadership goes to server {}", to + 1));
    }
    for server in servers {
        server.stop();
    }
}

/// The story: of two members with an oracle each, the leader goes on alone when its oracle says 1, and ends when it says 0; the follower serves
/// nobody when the leader is killed, until its own oracle says 1; who comes back joins.
#[test]
fn one_of_two_members_serves_without_the_other_if_its_oracle_says_so() {
    let dir = directory();
    let lines: String = three_lines().split_inclusive('\n').take(2).collect();
    let oracle = |at: usize| dir.path().join(format!("oracle{at}"));
    let says = |at: usize, text: &str| std::fs::write(oracle(at), text).expect("written");
    let launch =
        |at: usize| member(dir.path(), &(at + 1).to_string(), &format!("{lines}oraclePath={}\n", oracle(at).display()));
    // The second has no file yet: that is a no.
    says(0, "0\n");
    let mut servers = vec![start(&launch(0)), start(&launch(1))];
    until("both serve", || servers.iter().all(|server| mode(server).is_some()));
    let first = servers.iter().position(leads).expect("one leads");
    let other = 1 - first;
    let mut session = servers[first].session();
    session.create("/kept", b"", 0).expect("created");
    says(first, "1");
    servers.remove(other).kill();
    for version in 0..20 {
        session.set("/kept", b"alone", version).expect("set by the same leader");
    }
    assert!(leads(&servers[0]));
    let writes: i64 = servers[0].metric("proposal_count");
    assert!(writes >= 22, "{writes} proposals: it never stopped leading");
    std::fs::remove_file(oracle(first)).expect("removed");
    servers[0].log.wait_for("cannot be read, which counts as a no");
    until("the leader serves nobody", || mode(&servers[0]).is_none());
    says(first, "0");

    servers.insert(other, start(&launch(other)));
    says(other, "0");
    until("both serve", || servers.iter().all(|server| mode(server).is_some()));
    let first = servers.iter().position(leads).expect("one leads");
    let other = 1 - first;
    servers.remove(first).kill();
    until("the follower serves nobody", || mode(&servers[0]).is_none());
    servers[0].log.wait_for("no longer learning");
    says(other, "1");
    until("the follower leads", || leads(&servers[0]));
    let mut session = servers[0].session();
    session.set("/kept", b"by the other", 20).expect("set");
    servers.insert(first, start(&launch(first)));
    until("both serve", || servers.iter().all(|server| mode(server).is_some()));
    assert!(leads(&servers[other]));
    let mut session = servers[first].session();
    session.set("/kept", b"by both", 21).expect("set");
    for server in servers {
        server.stop();
    }
}

/// The super user may reconfigure, whichever member it asks; nobody else may.
#[test]
fn only_the_super_user_may_reconfigure_unless_an_acl_says_otherwise() {
    let dir = directory();
    let three = three_lines();
    let lines = format!("{three}reconfigEnabled=true\n");
    let digest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";
    let launch = |id| {
        member(dir.path(), id, &lines).arg(format!("-Dzookeeper.DigestAuthenticationProvider.superDigest={digest}"))
    };
    let servers = [start(&launch("1")), start(&launch("2")), start(&launch("3"))];
    until("all serve", || servers.iter().all(|server| mode(server).is_some()));
    let leader = servers.iter().find(|server| leads(server)).expect("one leads");
    until("both follow", || leader.metric("synced_followers") == 2);
    // Its own line once more: nothing moves.
    let line = three.lines().next().expect("a line");
    let asked = format!("{line}:participant;127.0.0.1:{}", servers[0].addr.port());
    let request = Request::Reconfig { joining: Some(&asked), leaving: None, members: None, from_config: -1 };
    for server in &servers {
        let mut session = server.session();
        assert_eq!(session.ask(&request).expect_err("a stranger").code(), Some(Code::NoAuth));
        for other in [&b"bob:secret"[..], b"super:wrong"] {
            session.ask(&Request::Auth("digest", other)).expect("an identity like any other");
            assert_eq!(session.ask(&request).expect_err("not the super user").code(), Some(Code::NoAuth));
        }
        session.ask(&Request::Auth("digest", b"super:secret")).expect("accepted");
        session.ask(&request).expect("the super user may");
    }
    servers.into_iter().for_each(Server::stop);
}
