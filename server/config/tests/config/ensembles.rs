//! Members of ensembles: what their files mean, what is wrong with them, and what is only doubtful.

use std::path::Path;

use config::{Ensemble, ExitStatus, Host, Level, Loaded};
use proto::Sid;

use crate::{load_all, load_with, warnings_of};

const LIMITS: &str = "initLimit=10\nsyncLimit=5\n";
const THREE: &str = "server.1=zk1:2888:3888\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888\n";

/// A file of five lines, with more lines behind it: tick, directory, port, limits.
fn file(lines: &str) -> String {
    format!("tickTime=2000\ndataDir=/d\nclientPort=2181\n{LIMITS}{lines}")
}

fn load(lines: &str, further: &[(&str, &str)]) -> Loaded {
    load_with(&file(lines), further).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The member number 1 that these lines make.
fn member(lines: &str) -> Ensemble {
    load(lines, &[("/d/myid", "1\n")]).config.ensemble.expect("a member of an ensemble")
}

fn check_whole(text: &str, further: &[(&str, &str)], status: ExitStatus, expected: &[&str]) {
    let errors = load_with(text, further).expect_err("is refused");
    let told = errors.to_string();
    assert_eq!(told.lines().collect::<Vec<_>>(), expected, "of {text}");
    assert_eq!(errors.exit_status(), status, "of {text}");
}

/// The errors of these lines, which begin on line 6, for member 1.
fn check(lines: &str, expected: &[&str]) {
    check_whole(&file(lines), &[("/d/myid", "1\n")], ExitStatus::InvalidInvocation, expected);
}

#[test]
fn three_servers_are_an_ensemble() {
    let loaded = load(THREE, &[("/d/myid", "2\n")]);
    assert_eq!(loaded.warnings, []);
    let ensemble = loaded.config.ensemble.expect("a member");
    assert_eq!(ensemble.id, Sid(2));
    assert_eq!(
        ensemble.view.to_text(),
        "server.1=zk1:2888:3888:participant\nserver.2=zk2:2888:3888:participant\nserver.3=zk3:2888:3888:participant\nversion=0"
    );
    assert_eq!((ensemble.init_limit_ticks, ensemble.sync_limit_ticks, ensemble.connect_limit_ticks), (10, 5, 10));
    assert_eq!(ensemble.election.handshake_timeout_ms, 10_000);
    assert!(ensemble.leader_serves);
    assert_eq!(ensemble.member().addresses[0].host, "zk2");
    assert_eq!(ensemble.wires.bind_tries, Some(3));
    assert_eq!(loaded.config.listen.port, 2181);
}

#[test]
fn one_participant_alone_is_standalone_unless_the_file_says_otherwise() {
    let line = "server.1=zk1:2888:3888\n";
    let loaded = load(line, &[("/d/myid", "1\n")]);
    assert_eq!(loaded.config.ensemble, None);
    assert_eq!(
        warnings_of(&loaded, Level::Note),
        ["zoo.cfg:6: server.1: there is one server line: the server is standalone"]
    );
    // Standalone servers need neither limits nor myid.
    assert!(load_with(&format!("dataDir=/d\nclientPort=1\n{line}"), &[]).is_ok());

    let loaded = load(&format!("{line}standaloneEnabled=false\n"), &[("/d/myid", "1\n")]);
    assert_eq!(loaded.config.ensemble.as_ref().map(|ensemble| ensemble.view.voters().len()), Some(1));
    assert_eq!(
        warnings_of(&loaded, Level::Warning),
        ["zoo.cfg:6: server.1: with 1 participant no failure is survived; three survive one"]
    );
}

#[test]
fn every_setting_of_an_ensemble_reaches_its_field() {
    /// A line, and whether the ensemble shows it.
    type Case = (&'static str, fn(&Ensemble) -> bool);
    let cases: &[Case] = &[
        ("initLimit=7", |ensemble| ensemble.init_limit_ticks == 7 && ensemble.connect_limit_ticks == 7),
        ("syncLimit=7", |ensemble| ensemble.sync_limit_ticks == 7 && ensemble.election.handshake_timeout_ms == 14_000),
        ("connectToLearnerMasterLimit=7", |ensemble| ensemble.connect_limit_ticks == 7),
        ("leaderServes=no", |ensemble| !ensemble.leader_serves),
        ("localSessionsEnabled=true", |ensemble| ensemble.local_sessions.enabled),
        ("localSessionsUpgradingEnabled=true", |ensemble| ensemble.local_sessions.upgrading),
        ("cnxTimeout=7", |ensemble| ensemble.election.connect_timeout_ms == 7),
        ("quorumCnxnTimeoutMs=7", |ensemble| ensemble.election.handshake_timeout_ms == 7),
        ("fastleader.minNotificationInterval=7", |ensemble| ensemble.election.notification_min_ms == 7),
        ("fastleader.maxNotificationInterval=777", |ensemble| ensemble.election.notification_max_ms == 777),
        ("observer.election.DelayMs=7", |ensemble| ensemble.election.observer_delay_ms == 7),
        ("quorumListenOnAllIPs=true", |ensemble| ensemble.wires.on_all_addresses),
        ("electionPortBindRetry=7", |ensemble| ensemble.wires.bind_tries == Some(7)),
        ("electionPortBindRetry=0", |ensemble| ensemble.wires.bind_tries.is_none()),
        ("tcpKeepAlive=true", |ensemble| ensemble.wires.tcp_keep_alive),
        ("commitLogCount=777", |ensemble| ensemble.catch_up.transactions == 777),
        ("snapshotSizeFactor=0.7", |ensemble| ensemble.catch_up.log_factor == Some(0.7)),
        ("snapshotSizeFactor=-1", |ensemble| ensemble.catch_up.log_factor.is_none()),
        ("forceSnapshotSync=true", |ensemble| ensemble.catch_up.always_snapshot),
        ("oraclePath=/o", |ensemble| ensemble.oracle.as_deref() == Some(std::path::Path::new("/o"))),
        ("leaderConnectDelayDuringRetryMs=7", |ensemble| ensemble.connect_retry_ms == 7),
        ("observerMasterPort=2999", |ensemble| ensemble.observer_master.port == Some(2999)),
        ("observerMaster.sizeLimit=1000", |ensemble| ensemble.observer_master.bytes_max == 1000),
        ("leader.maxConcurrentSnapSyncs=7", |ensemble| ensemble.catch_up.snapshots_max == 7),
        ("leader.maxConcurrentDiffSyncs=7", |ensemble| ensemble.catch_up.diffs_max == 7),
        ("group.1=1:2:3\nweight.1=3", |ensemble| ensemble.view.verifier().weight(Sid(1)) == 3),
        ("server.4=zk4:2888:3888:observer", |ensemble| ensemble.view.observers().eq([Sid(4)])),
        ("multiAddress.enabled=true\nserver.1=a:2888:3888|b:2888:3888", |ensemble| {
            ensemble.member().addresses.len() == 2
        }),
    ];
    let without = member(THREE);
    for (line, shows) in cases {
        assert!(!shows(&without), "{line} is not told from the default");
        assert!(shows(&member(&format!("{THREE}{line}\n"))), "{line} has no effect");
    }
}

/// Each line changes what the ensemble's state machine is told, and nothing but that.
#[test]
fn what_the_file_says_reaches_the_state_machine() {
    let settings = |lines: &str| {
        let config = load(&format!("{THREE}{lines}"), &[("/d/myid", "1\n")]).config;
        format!("{:?}", config.peer_settings().expect("a member"))
    };
    let without = settings("");
    assert_eq!(without, {
        let mut defaults = quorum::peer::PeerSettings::new(Sid(1));
        defaults.connect_to_learner_master_limit = 10;
        defaults.packet_bytes_max = 2 * 0xf_ffff;
        format!("{defaults:?}")
    });
    let mut seen = std::collections::BTreeSet::from([without]);
    for line in [
        "tickTime=777",
        "initLimit=7",
        "syncLimit=7",
        "connectToLearnerMasterLimit=7",
        "leaderConnectDelayDuringRetryMs=7",
        "jute.maxbuffer=7777",
        "snapshotSizeFactor=0.7",
        "snapshotSizeFactor=-1",
        "forceSnapshotSync=true",
        "leader.maxConcurrentSnapSyncs=7",
        "leader.maxConcurrentDiffSyncs=7",
        "observer.election.DelayMs=7",
        "fastleader.minNotificationInterval=7",
        "fastleader.maxNotificationInterval=777",
        "cnxTimeout=7",
        "quorumCnxnTimeoutMs=7",
        "oraclePath=/o",
    ] {
        assert!(seen.insert(settings(&format!("{line}\n"))), "{line} changes nothing");
    }
    assert!(load("", &[]).config.peer_settings().is_none());
}

#[test]
fn few_transactions_in_memory_become_as_many_as_in_zookeeper() {
    let loaded = load(&format!("{THREE}commitLogCount=7\n"), &[("/d/myid", "1")]);
    assert_eq!(loaded.config.ensemble.as_ref().map(|ensemble| ensemble.catch_up.transactions), Some(500));
    assert_eq!(warnings_of(&loaded, Level::Warning), ["zoo.cfg:9: commitLogCount: raised to 500, as in ZooKeeper"]);
}

#[test]
fn own_line_may_say_where_clients_connect() {
    let text = format!(
        "dataDir=/d\n{LIMITS}server.1=zk1:2888:3888;2191\nserver.2=zk2:2888:3888;127.0.0.2:2192\nserver.3=zk3:2888:3888"
    );
    let listen = |id| load_with(&text, &[("/d/myid", id)]).map(|loaded| loaded.config.listen);
    let listen_of = |id| listen(id).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((listen_of("1").host, listen_of("1").port), (Host::Any, 2191));
    assert_eq!((listen_of("2").host.to_string(), listen_of("2").port), ("127.0.0.2".to_owned(), 2192));
    assert_eq!(
        listen("3").expect_err("no port").to_string(),
        "zoo.cfg: clientPort: not set; expected the port for clients"
    );
    // Another member's port is its own affair.
    assert_eq!(
        load(&THREE.replace("zk2:2888:3888", "zk2:2888:3888;9999"), &[("/d/myid", "1")]).config.listen.port,
        2181
    );
    check(
        &THREE.replace("zk1:2888:3888", "zk1:2888:3888;2182"),
        &["zoo.cfg:6: server.1=zk1:2888:3888;2182: the client port 2182 contradicts clientPort (2181)"],
    );
}

#[test]
fn members_may_stand_in_a_file_of_their_own() {
    let name = "/conf/zoo.cfg.dynamic.10000000a";
    let lines = format!("dynamicConfigFile={name}\n");
    let ensemble =
        load(&lines, &[("/d/myid", "3"), (name, &format!("# members\n{THREE}"))]).config.ensemble.expect("a member");
    assert_eq!((ensemble.id, ensemble.view.version()), (Sid(3), 0x1_0000_000a));
    assert_eq!(ensemble.dynamic_file.as_deref(), Some(Path::new(name)));
    for (name, version) in [("/c.d/members", 0), ("/zoo.cfg.dynamic", 0), ("/zoo.cfg.dynamic.0", 0), ("/a.ff", 0xff)] {
        let loaded = load(&format!("dynamicConfigFile={name}\n"), &[("/d/myid", "3"), (name, THREE)]);
        assert_eq!(loaded.config.ensemble.map(|ensemble| ensemble.view.version()), Some(version), "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_file_of_members_is_told_with_its_name_and_line() {
    let name = "/c/members";
    let with = |members: Option<&str>, lines: &str, expected: &[&str]| {
        let mut further = vec![("/d/myid", "1\n")];
        further.extend(members.map(|members| (name, members)));
        let text = file(&format!("dynamicConfigFile={name}\n{lines}"));
        check_whole(&text, &further, ExitStatus::InvalidInvocation, expected);
    };
    with(None, "", &["zoo.cfg:6: dynamicConfigFile=/c/members: the file cannot be read: no such file"]);
    with(
        Some(&format!("{THREE}version=5\nclientPort=2181\nserver.x=a\n")),
        "",
        &[
            "/c/members:4: version=5: the version belongs into the name of the file, as in zoo.cfg.dynamic.100000000",
            "/c/members:5: clientPort=2181: only lines server.N, group.N and weight.N belong into this file",
            "/c/members:6: server.x=a: expected server. and then a whole number, as in server.1",
        ],
    );
    with(
        Some(THREE),
        "server.4=zk4:2888:3888",
        &["zoo.cfg:7: server.4=zk4:2888:3888: expected in the file of dynamicConfigFile, /c/members, and not here"],
    );
}

#[test]
fn a_member_must_know_its_number() {
    let text = file(THREE);
    check_whole(
        &text,
        &[],
        ExitStatus::InvalidInvocation,
        &["/d/myid: the file is missing; expected this server's number, the N of its server line"],
    );
    check_whole(
        &text,
        &[("/d/myid", "one")],
        ExitStatus::InvalidInvocation,
        &["/d/myid: serverid \"one\" is not a number; expected one decimal number on the first line"],
    );
    // ZooKeeper ends with 1 here, having begun to start.
    check_whole(
        &text,
        &[("/d/myid", "7")],
        ExitStatus::UnexpectedError,
        &["/d/myid: this server is number 7, and the server lines are those of 1, 2, 3"],
    );
    // Together with a problem of the other kind it is an invalid invocation.
    check_whole(
        &file(&format!("{THREE}peerType=x\n")),
        &[("/d/myid", "7")],
        ExitStatus::InvalidInvocation,
        &[
            "zoo.cfg:9: peerType=x: expected participant or observer",
            "/d/myid: this server is number 7, and the server lines are those of 1, 2, 3",
        ],
    );
    // A standalone server needs none, but one that is there must be right, as in ZooKeeper.
    check_whole(
        "dataDir=/d\nclientPort=1\n",
        &[("/d/myid", "")],
        ExitStatus::InvalidInvocation,
        &["/d/myid: serverid \"\" is not a number; expected one decimal number on the first line"],
    );
}

#[test]
fn numbers_too_great_for_what_is_made_of_them_are_refused() {
    let lines = "server.1=a:1:2\nserver.255=b:1:2\nserver.256=c:1:2\n";
    assert!(load_with(&file(lines), &[("/d/myid", "255")]).is_ok());
    check_whole(
        &file(&format!("{lines}extendedTypesEnabled=true\n")),
        &[("/d/myid", "255")],
        ExitStatus::InvalidInvocation,
        &["/d/myid: extendedTypesEnabled=true needs server numbers of at most 254"],
    );
    check_whole(
        &file(lines),
        &[("/d/myid", "256")],
        ExitStatus::InvalidInvocation,
        &[
            "/d/myid: server numbers above 255 have no room in the ids of sessions, so that two servers could give the same id to \
           two sessions",
        ],
    );
}

#[test]
fn limits_must_be_there_and_must_fit() {
    check_whole(
        &format!("dataDir=/d\nclientPort=1\n{THREE}"),
        &[("/d/myid", "1")],
        ExitStatus::InvalidInvocation,
        &[
            "zoo.cfg: initLimit: not set; every member of an ensemble needs it",
            "zoo.cfg: syncLimit: not set; every member of an ensemble needs it",
        ],
    );
    check_whole(
        &format!("dataDir=/d\nclientPort=1\ninitLimit=0\nsyncLimit=x\n{THREE}"),
        &[("/d/myid", "1")],
        ExitStatus::InvalidInvocation,
        &[
            "zoo.cfg:3: initLimit=0: expected at least 1 tick",
            "zoo.cfg:4: syncLimit=x: expected a whole number from 0 to 2147483647 (ticks)",
        ],
    );
    check_whole(
        &format!("dataDir=/d\nclientPort=1\ntickTime=2000\ninitLimit=5\nsyncLimit=2000000000\n{THREE}"),
        &[("/d/myid", "1")],
        ExitStatus::InvalidInvocation,
        &["zoo.cfg:5: syncLimit=2000000000: expected at most 1073741 ticks of 2000 ms"],
    );
    check(
        &format!("{THREE}fastleader.minNotificationInterval=70000\n"),
        &[
            "zoo.cfg:9: fastleader.minNotificationInterval=70000: minNotificationInterval (70000 ms) must not be larger than \
           maxNotificationInterval (60000 ms)",
        ],
    );
}

#[test]
fn impossible_lists_of_members_are_refused_with_the_line() {
    check(
        "server.1=a:2888:3888:observer",
        &["zoo.cfg:6: server.1=a:2888:3888:observer: observers without participants are no ensemble"],
    );
    check(
        "server.1=a:2888:3888\nserver.2=b:2888:3888:observer",
        &[
            "zoo.cfg:7: server.2=b:2888:3888:observer: observers without an ensemble to observe; one participant alone is a \
           standalone server unless standaloneEnabled=false",
        ],
    );
    check(
        "standaloneEnabled=false",
        &["zoo.cfg:6: standaloneEnabled=false: an ensemble needs a participant; expected lines server.N, or true"],
    );
    check(
        "server.1=a:2888\nserver.2=b:2888:2888\nserver.3=c:2888:3888\nserver.03=c:2888:3888\nserver.4=d:1:2|e:1:2",
        &[
            "zoo.cfg:6: server.1=a:2888: expected \
             host:quorumPort:electionPort[:participant|observer][;[address:]clientPort]",
            "zoo.cfg:7: server.2=b:2888:2888: the quorum port and the election port of server 2 must differ",
            "zoo.cfg:9: server.03=c:2888:3888: there is another line of server 3",
            "zoo.cfg:10: server.4=d:1:2|e:1:2: several addresses, as in ZooKeeper, need multiAddress.enabled=true",
        ],
    );
    check(
        "server.one=a:2888:3888\ngroup.=1\nweight.-1=1",
        &[
            "zoo.cfg:6: server.one=a:2888:3888: expected server. and then a whole number, as in server.1",
            "zoo.cfg:7: group.=1: expected group. and then a whole number, as in group.1",
            "zoo.cfg:8: weight.-1=1: expected weight. and then a whole number, as in weight.1",
        ],
    );
    check(&format!("{THREE}group.1=1:2\n"), &["zoo.cfg:9: group.1=1:2: server 3 is in no group"]);
    check(
        &THREE.replace("zk1:2888:3888", "zk1:2888:3888;;2182"),
        &["zoo.cfg:6: server.1=zk1:2888:3888;;2182: a TLS address for clients is given, and TLS is not built yet"],
    );
}

#[test]
fn doors_between_members_that_cannot_be_closed_are_refused() {
    check(
        &format!("{THREE}sslQuorum=true\nquorum.auth.enableSasl=true\n"),
        &[
            "zoo.cfg:9: sslQuorum=true: TLS between members is not built yet, and without it they would talk in the clear",
            "zoo.cfg:10: quorum.auth.enableSasl=true: SASL between members is not built yet, and without it every host could \
             join the ensemble",
        ],
    );
}

#[test]
fn doubtful_ensembles_are_warned_about() {
    let warned = |lines: &str, expected: &[&str]| {
        assert_eq!(warnings_of(&load(lines, &[("/d/myid", "1")]), Level::Warning), expected, "{lines}");
    };
    let four = format!("{THREE}server.4=zk4:2888:3888\n");
    warned(
        "server.1=a:1:2\nserver.2=b:1:2\n",
        &["zoo.cfg:7: server.2: with 2 participants no failure is survived; three survive one"],
    );
    warned(&four, &["zoo.cfg:9: server.4: 4 participants survive no more failures than 3"]);
    warned(&format!("{THREE}server.4=zk4:2888:3888:observer\n"), &[]);
    warned(
        &THREE.replace("zk3:2888", "zk2:2888"),
        &[
            "zoo.cfg:8: server.3: zk2:2888 is also an address of server 2",
            "zoo.cfg:8: server.3: zk2:3888 is also an address of server 2",
        ],
    );
    warned(
        &format!("{THREE}peerType=observer\n"),
        &["zoo.cfg:9: peerType: no effect: this server's line says participant"],
    );
    warned(
        &format!(
            "{THREE}syncEnabled=false\nfollower.nodelay=false\n\
             learner.asyncSending=true\nleader.ackLoggingFrequency=5\nsyncLimit=7\n"
        ),
        &[
            "zoo.cfg:5: syncLimit: overridden by line 13",
            "zoo.cfg:9: syncEnabled: observers always keep their data on disk",
            "zoo.cfg:10: follower.nodelay: nothing is delayed: sockets between members always have TCP_NODELAY",
            "zoo.cfg:11: learner.asyncSending: not needed: sending and closing never make a member wait",
            "zoo.cfg:12: leader.ackLoggingFrequency: not built yet; this has no effect",
        ],
    );
    // A standalone server does not look at any of them.
    let alone = load("syncEnabled=false\nlocalSessionsEnabled=true\nobserverMasterPort=2999\nsslQuorum=true\n", &[]);
    assert_eq!(warnings_of(&alone, Level::Warning), [] as [&str; 0]);
    let alone = load("group.1=1\n", &[]);
    assert_eq!(warnings_of(&alone, Level::Warning), ["zoo.cfg:6: group.1: no effect without lines server.N"]);
}

#[test]
fn members_can_be_named_by_the_environment_and_by_set() {
    let errors = load_all(
        &["--set", "server.1=a:1:2", "--set", "initLimit=1", "--set", "syncLimit=1"],
        None,
        &[("RINGKEEPER_SERVER_2", "b:1:2"), ("RINGKEEPER_SERVER_3", "c:1:2:observer")],
    )
    .expect_err("no myid");
    assert_eq!(
        errors.to_string(),
        "./data/myid: the file is missing; expected this server's number, the N of its server line"
    );
}
