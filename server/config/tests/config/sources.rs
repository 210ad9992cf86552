//! Which source wins, and what is told about words that have no effect.

use config::Level;
use proptest::prelude::*;

use crate::{load_all, warnings_of, with_minimum};

fn warnings(arguments: &[&str], lines: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let loaded = load_all(arguments, Some(&with_minimum(lines)), environment).expect("loads");
    warnings_of(&loaded, Level::Warning)
}

#[test]
fn later_sources_are_stronger() {
    let flags = ("SERVER_JVMFLAGS", "-Dzookeeper.snapCount=20");
    let variable = ("RINGKEEPER_SNAP_COUNT", "40");
    /// Arguments, lines, environment, and the snapCount that comes of them.
    type Step<'a> = (&'a [&'a str], &'a str, &'a [(&'a str, &'a str)], u32);
    let steps: [Step<'_>; 6] = [
        (&[], "", &[], 100_000),
        (&[], "snapCount=10", &[], 10),
        (&[], "snapCount=10", &[flags], 20),
        (&["-Dzookeeper.snapCount=30"], "snapCount=10", &[flags], 30),
        (&["-Dzookeeper.snapCount=30"], "snapCount=10", &[flags, variable], 40),
        (&["-Dzookeeper.snapCount=30", "--set", "snapCount=50"], "snapCount=10", &[flags, variable], 50),
    ];
    for (arguments, lines, environment, expected) in steps {
        let loaded = load_all(arguments, Some(&with_minimum(lines)), environment).expect("loads");
        assert_eq!(loaded.config.snapshots.every_transactions, expected, "{arguments:?} {lines} {environment:?}");
        assert_eq!(loaded.warnings, []);
    }
}

#[test]
fn last_of_two_equal_keys_wins_and_the_first_is_told_so() {
    let text = with_minimum("tickTime=1000\ntickTime=4000\n");
    let loaded = load_all(&[], Some(&text), &[]).expect("loads");
    assert_eq!(loaded.config.tick_time_ms, 4000);
    assert_eq!(warnings_of(&loaded, Level::Warning), ["zoo.cfg:3: tickTime: overridden by line 4"]);
}

#[test]
fn empty_value_puts_a_setting_back() {
    let text = with_minimum("tickTime=1000\nsecureClientPort=2182\n");
    let loaded =
        load_all(&["--set", "tickTime="], Some(&text), &[("RINGKEEPER_SECURE_CLIENT_PORT", "")]).expect("loads");
    assert_eq!(loaded.config.tick_time_ms, 3000);
    let loaded = load_all(&["--set", "dataDir="], None, &[("RINGKEEPER_DATA_DIR", "/elsewhere")]).expect("loads");
    assert_eq!(loaded.config.data_dir, std::path::Path::new("./data"));
}

#[test]
fn unknown_keys_are_told_with_what_may_have_been_meant() {
    assert_eq!(
        warnings(&["-Dzookeeper.nonsense=1"], "snapcount=5\nzookeeper.snapCount=5\nmy.key=1", &[("RINGKEEPER_X", "1")]),
        [
            "zoo.cfg:3: snapcount: ignored: there is no setting of this name; the setting is snapCount",
            "zoo.cfg:4: zookeeper.snapCount: ignored: there is no setting of this name; the setting is snapCount",
            "zoo.cfg:5: my.key: ignored: there is no setting of this name",
            "-D: zookeeper.nonsense: ignored: there is no setting of this name",
            "RINGKEEPER_X: RINGKEEPER_X: ignored: there is no setting of this name",
        ]
    );
}

#[test]
fn names_of_properties_are_those_of_java() {
    assert_eq!(
        warnings(
            &["-Djute.maxbuffer=0x200000", "-Dfsync.warningthresholdms=5", "-Dzookeeper.fsync.warningthresholdms=6"],
            "",
            &[]
        ),
        [] as [&str; 0]
    );
    assert_eq!(
        warnings(
            &["-Dzookeeper.jute.maxbuffer=2000000", "-DsnapCount=5", "-Dzookeeper.clientPort=1", "-DdataDir=/x"],
            "readonlymode.enabled=true",
            &[]
        ),
        [
            "zoo.cfg:3: readonlymode.enabled: taken from here, although ZooKeeper takes it only from -Dreadonlymode.enabled",
            "-D: zookeeper.jute.maxbuffer: taken as jute.maxbuffer, although ZooKeeper would not",
            "-D: snapCount: ignored, as in ZooKeeper; the system property is zookeeper.snapCount",
            "-D: zookeeper.clientPort: ignored, as in ZooKeeper, where it is no system property; use --set clientPort=…",
            "-D: dataDir: ignored, as in ZooKeeper, where it is no system property; use --set dataDir=…",
        ]
    );
}

#[test]
fn properties_of_the_virtual_machine_are_notes_only() {
    let flags = "-Xmx512m -Djava.net.preferIPv4Stack=true -Dcom.sun.management.jmxremote -XX:+UseG1GC \
                 -Dzookeeper.log.dir=/var/log -Dzookeeper.root.logger=INFO,CONSOLE";
    let loaded = load_all(&[], None, &[("SERVER_JVMFLAGS", flags)]).expect("loads");
    assert_eq!(warnings_of(&loaded, Level::Warning), [] as [&str; 0]);
    assert_eq!(warnings_of(&loaded, Level::Note).len(), 4);
}

#[test]
fn changed_values_are_told() {
    assert_eq!(
        warnings(
            &[],
            "snapCount=1\nautopurge.snapRetainCount=1\n4lw.commands.whitelist=ruok,nope\ndataLogDir=logs",
            &[]
        ),
        [
            "zoo.cfg:3: snapCount: raised to 2, as in ZooKeeper",
            "zoo.cfg:4: autopurge.snapRetainCount: raised to 3, as in ZooKeeper",
            "zoo.cfg:5: 4lw.commands.whitelist: there is no four-letter word nope",
            "zoo.cfg:6: dataLogDir: \"logs\" is relative to the directory in which the server starts; ./ before it says \
             that this is meant",
        ]
    );
}

#[test]
fn settings_that_are_not_honoured_say_why() {
    assert_eq!(
        warnings(
            &[],
            "audit.enable=true\nssl.keyStore.password=x\nquorum.auth.enableSasl=true\ncnxTimeout=7\nmetricsProvider.httpPort=7000\n\
             nio.numWorkerThreads=4\nreconfigEnabled=false",
            &[]
        ),
        [
            "zoo.cfg:3: audit.enable: the audit log is not built yet; nothing is audited",
            "zoo.cfg:4: ssl.keyStore.password: TLS is not built yet; this has no effect",
            "zoo.cfg:7: metricsProvider.httpPort: metrics providers are not built yet; use the four-letter word mntr",
            "zoo.cfg:8: nio.numWorkerThreads: not needed: Ringkeeper divides its work otherwise; see ringkeeper.shards",
        ]
    );
}

#[test]
fn variables_of_a_container_platform_are_no_settings() {
    let environment = [
        ("RINGKEEPER_SERVICE_HOST", "10.0.0.1"),
        ("RINGKEEPER_PORT_2181_TCP_ADDR", "10.0.0.1"),
        ("RINGKEEPER_CLIENT_PORT", "tcp://10.0.0.1:2181"),
    ];
    let loaded = load_all(&[], None, &environment).expect("loads");
    assert_eq!(loaded.config, config::Config::defaults());
    assert_eq!(warnings_of(&loaded, Level::Warning), [] as [&str; 0]);
}

proptest! {
    #[test]
    fn no_file_breaks_the_loader(text in "([a-zA-Z.]{0,12}[=: ]|tickTime=|server.1=|clientPort=|[0-9;:]{0,6}|\\\\|#|\n|\\PC){0,30}") {
        let _ = load_all(&[], Some(&text), &[]);
    }

    #[test]
    fn a_loaded_configuration_keeps_its_promises(tick: i32, min: i32, max: i32, snap_count: i32) {
        let lines = format!("tickTime={tick}\nminSessionTimeout={min}\nmaxSessionTimeout={max}\nsnapCount={snap_count}\n");
        if let Ok(loaded) = load_all(&[], Some(&with_minimum(&lines)), &[]) {
            let config = loaded.config;
            prop_assert!(config.tick_time_ms >= 1);
            prop_assert!(config.sessions.timeout_min_ms <= config.sessions.timeout_max_ms);
            prop_assert!(config.snapshots.every_transactions >= 2);
        }
    }
}
