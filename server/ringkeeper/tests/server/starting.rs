//! How it is started, and what it says when it cannot be.

use std::net::TcpListener;

use crate::harness::{Launch, contains_all, directory};

/// ZooKeeper's own set-up for a try: nothing but the program.
#[test]
fn without_arguments_it_listens_on_loopback_and_keeps_its_data_here() {
    let dir = directory();
    let server = Launch::bare().small().set("clientPort", "0").within(dir.path()).start();
    assert!(server.log.wait_for("serving clients on").contains("serving clients on 127.0.0.1:"));
    assert!(server.log.so_far().contains("data in ./data"), "{}", server.log.so_far());
    server.session().create("/kept", b"here", 0).expect("created");
    server.stop();
    assert!(dir.path().join("data/version-2").is_dir());
    let again = Launch::bare().small().set("clientPort", "0").within(dir.path()).start();
    assert_eq!(again.session().get("/kept", false).expect("kept").0.as_deref(), Some(&b"here"[..]));
}

#[test]
fn a_file_of_zookeeper_is_enough() {
    let dir = directory();
    let (data, log) = (dir.path().join("data"), dir.path().join("log"));
    let file = dir.path().join("zoo.cfg");
    let text = format!(
        "# The number of milliseconds of each tick\ntickTime=500\ninitLimit=10\nsyncLimit=5\ndataDir={}\n\
         dataLogDir={}\nclientPort=0\nclientPortAddress=127.0.0.3\nmaxClientCnxns=7\nminSessionTimeout=1500\n\
         preAllocSize=1024\n4lw.commands.whitelist=conf, srvr\n",
        data.display(),
        log.display()
    );
    std::fs::write(&file, text).expect("written");
    let server = Launch::bare().arg(&file).start();
    assert_eq!(server.addr.ip().to_string(), "127.0.0.3");
    let conf = server.word("conf");
    contains_all(
        &conf,
        &[
            &format!("clientPort={}\n", server.addr.port()),
            &format!("dataDir={}/version-2\n", data.display()),
            &format!("dataLogDir={}/version-2\n", log.display()),
            "tickTime=500\n",
            "maxClientCnxns=7\n",
            "minSessionTimeout=1500\n",
            "maxSessionTimeout=10000\n",
            "serverId=0\n",
        ],
    );
    server.session().create("/a", b"", 0).expect("created");
    assert!(crate::harness::files(&log, "log.").len() == 1 && crate::harness::files(&data, "log.").is_empty());
}

#[test]
fn bare_arguments_are_port_directory_tick_and_connections() {
    let dir = directory();
    let server = Launch::bare().small().arg("0").arg(dir.path()).arg("700").arg("9").start();
    assert_eq!(server.setting("tickTime"), "700");
    assert_eq!(server.setting("maxClientCnxns"), "9");
    // On every address, of both families where the machine has both.
    server.session().exists("/", false).expect("served").expect("the root");
    server.stop();
    let defaults = Launch::bare().small().arg("0").arg(dir.path()).start();
    assert_eq!(defaults.setting("tickTime"), "3000");
    assert_eq!(defaults.setting("maxClientCnxns"), "60");
}

#[test]
fn ipv6_and_host_names_are_addresses_as_well() {
    let dir = directory();
    let named = Launch::on(dir.path()).set("clientPortAddress", "localhost").start();
    assert!(named.addr.ip().is_loopback());
    named.session().create("/named", b"", 0).expect("created");
    named.stop();
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("not told: this machine has no IPv6");
        return;
    }
    let server = Launch::on(dir.path()).set("clientPortAddress", "::1").start();
    assert!(server.addr.is_ipv6());
    assert!(server.session().exists("/named", false).expect("read").is_some());
    assert!(server.word("cons").contains(" /[0:0:0:0:0:0:0:1]:"), "{}", server.word("cons"));
}

/// One setting from every source, one source after the other taking it over.
#[test]
fn a_setting_is_taken_from_the_strongest_source() {
    let dir = directory();
    let file = dir.path().join("zoo.cfg");
    let text = format!(
        "dataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\npreAllocSize=1024\n4lw.commands.whitelist=ruok\n",
        dir.path().join("data").display()
    );
    std::fs::write(&file, text).expect("written");
    let mut launch = Launch::bare().arg(&file);
    let check = |launch: &Launch, wanted: &str| {
        let server = launch.start();
        for word in ["ruok", "envi", "wchs", "dirs", "isro"] {
            let refused = server.word(word).contains("is not executed because it is not in the whitelist");
            assert_eq!(refused, word != wanted, "{word} with {wanted}");
        }
        server.stop();
    };
    check(&launch, "ruok");
    launch = launch.env("SERVER_JVMFLAGS", "-Xmx1g -Dzookeeper.4lw.commands.whitelist=envi");
    check(&launch, "envi");
    launch = launch.arg("-Dzookeeper.4lw.commands.whitelist=wchs");
    check(&launch, "wchs");
    launch = launch.env("RINGKEEPER_4LW_COMMANDS_WHITELIST", "dirs");
    check(&launch, "dirs");
    launch = launch.set("4lw.commands.whitelist", "isro");
    check(&launch, "isro");
}

#[test]
fn help_and_version_are_answers() {
    let help = Launch::bare().arg("--help").end();
    assert_eq!((help.status, help.stderr.as_str()), (Some(0), ""));
    contains_all(&help.stdout, &["ringkeeper [OPTIONS] PORT DATADIR [TICKTIME] [MAXCNXNS]", "--set <KEY=VALUE>"]);
    let version = Launch::bare().arg("--version").end();
    assert_eq!((version.status, version.stderr.as_str()), (Some(0), ""));
    assert_eq!(version.stdout, concat!("ringkeeper ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn what_cannot_be_a_configuration_is_refused_in_these_words() {
    let dir = directory();
    let file = dir.path().join("zoo.cfg");
    let name = file.display().to_string();
    let check = |launch: Launch, expected: &str| {
        let ended = launch.end();
        assert_eq!(ended.status, Some(2), "{ended:#?}");
        assert_eq!(ended.stderr, expected.replace("FILE", &name));
    };
    check(
        Launch::bare().arg(&file),
        "FILE: the configuration file cannot be read: No such file or directory (os error 2)",
    );
    check(
        Launch::bare().arg(dir.path()),
        &format!("{}: the configuration file cannot be read: Is a directory (os error 21)", dir.path().display()),
    );
    std::fs::write(&file, "tickTime=0\ndataDir=/d\nforceSync=false\nsecureClientPort=2182\n").expect("written");
    check(
        Launch::bare().arg(&file),
        "FILE:1: tickTime=0: expected a whole number from 1 to 107374182 (milliseconds)\n\
         FILE:3: forceSync=false: expected yes or no\n\
         FILE:4: secureClientPort=2182: TLS is not built yet, and clients would find no port, or a plain one; \
         remove the setting, or start with --set secureClientPort= to do without it\n\
         FILE: clientPort: not set; expected the port for clients",
    );
    check(
        Launch::bare().arg("x").arg("/d"),
        "argument 1: clientPort=x: expected a whole number from 0 to 65535 (0: any free port)",
    );
    check(
        Launch::bare().set("snapCont", "1").set("ringkeeper.shards", "0").arg("--set").arg("nonsense"),
        "--set: snapCont: there is no setting of this name\n\
         --set: expected key=value, not \"nonsense\"\n\
         --set: ringkeeper.shards=0: expected auto or a whole number from 1 to 256",
    );
    check(
        Launch::bare().env("RINGKEEPER_SNAP_COUNT", "many"),
        "RINGKEEPER_SNAP_COUNT: snapCount=many: expected a whole number from 0 to 2147483647 (transactions, at least 2)",
    );
    let usage = Launch::bare().arg("--nonsense").end();
    usage.check(2, &["unexpected argument '--nonsense'", "Usage: ringkeeper"]);
    let secret = Launch::bare().arg("-Dzookeeper.DigestAuthenticationProvider.superDigest=hunter2").end();
    secret.check(2, &["-D: DigestAuthenticationProvider.superDigest: expected super:"]);
    assert!(!secret.stderr.contains("hunter2"), "{}", secret.stderr);
}

#[test]
fn a_port_in_use_is_said_and_nothing_is_touched() {
    let dir = directory();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address");
    let data = dir.path().join("data");
    let ended = Launch::on(&data).at(addr).end();
    ended.check(1, &[&format!("cannot listen on {addr}: Address already in use")]);
    assert!(!data.exists(), "a server that cannot serve leaves the disk alone");
}

#[test]
fn an_address_that_is_not_ours_or_does_not_resolve_is_said() {
    let dir = directory();
    let foreign = Launch::on(dir.path()).set("clientPortAddress", "192.0.2.1").end();
    foreign.check(1, &["cannot listen on 192.0.2.1:0: Cannot assign requested address"]);
    let unknown = Launch::on(dir.path()).set("clientPortAddress", "no-such-host.invalid").end();
    unknown.check(2, &["clientPortAddress=no-such-host.invalid does not resolve"]);
}

#[test]
fn what_has_no_effect_is_said_before_serving() {
    let dir = directory();
    let launch = Launch::on(dir.path())
        .set("admin.enableServer", "true")
        .set("metricsProvider.className", "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider")
        .set("forceSync", "no")
        .env("RINGKEEPER_NO_SUCH_THING", "1")
        .arg("-Dzookeeper.noSuchProperty=1");
    let server = launch.start();
    contains_all(
        &server.log.so_far(),
        &[
            "WARN --set: admin.enableServer: the admin server is not built yet; this has no effect",
            "metricsProvider.className: metrics providers are not built yet; use the four-letter word mntr",
            "RINGKEEPER_NO_SUCH_THING: ignored: there is no setting of this name",
            "zookeeper.noSuchProperty: ignored: there is no setting of this name",
            "WARN forceSync=no: answers do not wait for the disk, a power failure WILL lose acknowledged writes",
        ],
    );
    server.session().create("/unsafe", b"", 0).expect("created");
}
