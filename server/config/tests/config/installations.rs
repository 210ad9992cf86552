//! Files of existing installations start, and mean what they mean to ZooKeeper.

use std::path::Path;

use config::{Backend, Compression, Config, Host, Level, Words};

use crate::{config_of, load_all, warnings_of};

#[test]
fn sample_file_of_zookeeper_loads_without_a_warning() {
    let text = "\
# times are in milliseconds
tickTime=2000
initLimit=10
syncLimit=5
# an example only
dataDir=/tmp/zookeeper
clientPort=2181
#maxClientCnxns=60
#autopurge.snapRetainCount=3
#autopurge.purgeInterval=1

## metrics
#metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider
";
    let loaded = load_all(&[], Some(text), &[]).expect("loads");
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.data_dir, Path::new("/tmp/zookeeper"));
    assert_eq!(config.data_log_dir, Path::new("/tmp/zookeeper"));
    assert_eq!((config.listen.host, config.listen.port), (Host::Any, 2181));
    assert_eq!((config.sessions.timeout_min_ms, config.sessions.timeout_max_ms), (4000, 40_000));
}

#[test]
fn file_of_debian_loads() {
    let text = "\
tickTime=2000
initLimit=10
syncLimit=5
dataDir=/var/lib/zookeeper
# Place the dataLogDir to a separate physical disc for better performance
# dataLogDir=/disk2/zookeeper
clientPort=2181
#server.1=zookeeper1:2888:3888
#server.2=zookeeper2:2888:3888
#leaderServes=yes
";
    let loaded = load_all(&[], Some(text), &[]).expect("loads");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.data_dir, Path::new("/var/lib/zookeeper"));
}

#[test]
fn file_of_the_docker_image_finds_its_port_in_the_server_line() {
    let text = "\
dataDir=/data
dataLogDir=/datalog
tickTime=2000
initLimit=5
syncLimit=2
autopurge.snapRetainCount=3
autopurge.purgeInterval=0
maxClientCnxns=60
standaloneEnabled=true
admin.enableServer=true
server.1=localhost:2888:3888;2181
";
    let loaded = load_all(&[], Some(text), &[]).expect("loads");
    assert_eq!(
        warnings_of(&loaded, Level::Warning),
        ["zoo.cfg:10: admin.enableServer: the admin server is not built yet; this has no effect"]
    );
    assert_eq!(
        warnings_of(&loaded, Level::Note),
        ["zoo.cfg:11: server.1: there is one server line: the server is standalone"]
    );
    assert_eq!((loaded.config.listen.host, loaded.config.listen.port), (Host::Any, 2181));
    assert_eq!(loaded.config.data_log_dir, Path::new("/datalog"));
    assert_eq!(loaded.config.purge.interval_ms, None);
}

#[test]
fn file_that_kafka_ships_loads_without_a_warning() {
    let text = "dataDir=/tmp/zookeeper\nclientPort=2181\nmaxClientCnxns=0\nadmin.enableServer=false\n";
    let loaded = load_all(&[], Some(text), &[]).expect("loads");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.tick_time_ms, 3000);
    assert_eq!(loaded.config.limits.connections_per_address_max, 0);
}

/// The harness of kazoo's own tests always configures TLS and SASL, used by a few of the tests only.
const KAZOO: &str = "
tickTime=2000
dataDir=/tmp/work/data
clientPort=20000
secureClientPort=20002
maxClientCnxns=0
admin.serverPort=20003
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider
ssl.keyStore.location=/tmp/work/keystore.jks
ssl.keyStore.password=apassword
ssl.trustStore.location=/tmp/work/truststore.jks
ssl.trustStore.password=apassword

";

#[test]
fn file_of_the_kazoo_harness_is_refused_for_its_closed_doors() {
    let errors = load_all(&[], Some(KAZOO), &[]).expect_err("is refused");
    assert_eq!(
        errors.to_string(),
        "zoo.cfg:5: secureClientPort=20002: TLS is not built yet, and clients would find no port, or a plain one; remove \
         the setting, or start with --set secureClientPort= to do without it\n\
         zoo.cfg:9: authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider: authentication providers \
         other than digest, ip and ensemble are not built yet, and clients that rely on this one would be locked out; \
         remove the setting, or start with --set authProvider.1= to do without it"
    );
}

#[test]
fn file_of_the_kazoo_harness_loads_when_told_to_do_without_them() {
    let arguments = [
        "-Dreadonlymode.enabled=true",
        "-Dlog4j.configuration=file:/tmp/work/log4j.properties",
        "--set",
        "secureClientPort=",
        "--set",
        "authProvider.1=",
    ];
    let loaded = load_all(&arguments, Some(KAZOO), &[]).expect("loads");
    assert_eq!(loaded.config.listen.port, 20_000);
    assert!(loaded.config.read_only_mode);
    let warnings = warnings_of(&loaded, Level::Warning);
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    assert!(!warnings.iter().any(|warning| warning.contains("apassword")), "a secret is told: {warnings:#?}");
    assert_eq!(warnings_of(&loaded, Level::Note), ["-D: log4j.configuration: ignored: not a property of ZooKeeper"]);
}

#[test]
fn without_a_file_the_server_listens_here_and_keeps_its_data_here() {
    let loaded = load_all(&[], None, &[]).expect("loads");
    assert_eq!(loaded.config, Config::defaults());
    assert_eq!(loaded.warnings, []);
}

#[test]
fn bare_arguments_are_port_directory_tick_and_connections() {
    let config = load_all(&["2182", "/var/zk"], None, &[]).expect("loads").config;
    assert_eq!((config.listen.host, config.listen.port), (Host::Any, 2182));
    assert_eq!((config.data_dir.as_path(), config.tick_time_ms), (Path::new("/var/zk"), 3000));
    let config = load_all(&["2182", "/var/zk", "500", "7"], None, &[]).expect("loads").config;
    assert_eq!((config.tick_time_ms, config.limits.connections_per_address_max), (500, 7));
    assert_eq!((config.sessions.timeout_min_ms, config.sessions.timeout_max_ms), (1000, 10_000));
}

#[test]
fn every_honoured_setting_reaches_its_field() {
    /// A line, and whether the configuration shows it.
    type Case = (&'static str, fn(&Config) -> bool);
    let cases: &[Case] = &[
        ("dataLogDir=/l", |config| config.data_log_dir == Path::new("/l")),
        ("clientPort=0", |config| config.listen.port == 0),
        ("clientPortAddress=::1", |config| config.listen.host.to_string() == "::1"),
        ("clientPortAddress=zk.example", |config| config.listen.host == Host::Name("zk.example".to_owned())),
        ("clientPortListenBacklog=7", |config| config.listen.backlog == Some(7)),
        ("clientPortListenBacklog=-1", |config| config.listen.backlog.is_none()),
        ("clientTcpKeepAlive=true", |config| config.listen.tcp_keep_alive),
        ("nio.sessionlessCnxnTimeout=7", |config| config.listen.sessionless_timeout_ms == 7),
        ("datadir.autocreate=false", |config| !config.create_directories),
        ("db.autocreate=false", |config| !config.create_database),
        ("tickTime=7", |config| config.tick_time_ms == 7),
        ("minSessionTimeout=7", |config| config.sessions.timeout_min_ms == 7),
        ("minSessionTimeout=-1", |config| config.sessions.timeout_min_ms == 6000),
        ("maxSessionTimeout=777777", |config| config.sessions.timeout_max_ms == 777_777),
        ("maxClientCnxns=7", |config| config.limits.connections_per_address_max == 7),
        ("maxClientCnxns=-1", |config| config.limits.connections_per_address_max == 0),
        ("maxCnxns=7", |config| config.limits.connections_max == 7),
        ("globalOutstandingLimit=7", |config| config.limits.requests_outstanding_max == 7),
        ("jute.maxbuffer=4194304", |config| config.limits.packet_bytes_max == 4_194_304),
        ("jute.maxbuffer=4194304", |config| config.limits.packet_extra_bytes == 4_194_304),
        ("jute.maxbuffer.extrasize=7777", |config| config.limits.packet_extra_bytes == 7777),
        ("jute.maxbuffer.extrasize=7", |config| config.limits.packet_extra_bytes == 1024),
        ("preAllocSize=7", |config| config.log.segment_kib == 7),
        ("txnLogSizeLimitInKb=7", |config| config.log.size_limit_kib == Some(7)),
        ("txnLogSizeLimitInKb=-1", |config| config.log.size_limit_kib.is_none()),
        ("forceSync=no", |config| !config.log.force_sync),
        ("fsync.warningthresholdms=7", |config| config.log.sync_warning_ms == 7),
        ("maxBatchSize=7", |config| config.log.batch_records_max == 7),
        ("flushDelay=7", |config| config.log.flush_delay_ms == 7),
        ("snapCount=7", |config| config.snapshots.every_transactions == 7),
        ("snapCount=1", |config| config.snapshots.every_transactions == 2),
        ("snapSizeLimitInKb=7", |config| config.snapshots.every_log_kib == Some(7)),
        ("snapSizeLimitInKb=0", |config| config.snapshots.every_log_kib.is_none()),
        ("snapshot.compression.method=gz", |config| config.snapshots.compression == Compression::Gzip),
        ("snapshot.compression.method=snappy", |config| config.snapshots.compression == Compression::Snappy),
        ("snapshot.trust.empty=true", |config| config.snapshots.trust_empty),
        ("serializeLastProcessedZxid.enabled=false", |config| !config.snapshots.last_processed_zxid),
        ("autopurge.snapRetainCount=7", |config| config.purge.retain_count == 7),
        ("autopurge.snapRetainCount=1", |config| config.purge.retain_count == 3),
        ("autopurge.purgeInterval=1", |config| config.purge.interval_ms == Some(3_600_000)),
        ("autopurge.purgeInterval=90s", |config| config.purge.interval_ms == Some(90_000)),
        ("extendedTypesEnabled=true", |config| config.nodes.extended_types),
        ("emulate353TTLNodes=true", |config| config.nodes.emulate_353_ttl),
        ("enforceQuota=TRUE", |config| config.nodes.enforce_quota),
        ("znode.container.checkIntervalMs=7", |config| config.reaper.check_interval_ms == 7),
        ("znode.container.maxPerMinute=7", |config| config.reaper.per_minute_max == 7),
        ("znode.container.maxNeverUsedIntervalMs=7", |config| config.reaper.never_used_ms == Some(7)),
        ("digest.enabled=false", |config| !config.digests),
        ("closeSessionTxn.enabled=false", |config| !config.close_session_lists_ephemerals),
        ("readonlymode.enabled=true", |config| config.read_only_mode && config.answers_word("isro")),
        ("skipACL=yes", |config| config.auth.skip_acl),
        ("DigestAuthenticationProvider.enabled=false", |config| !config.auth.digest_enabled),
        ("DigestAuthenticationProvider.digestAlg=sha3-512", |config| config.auth.settings().digest_alg == "sha3-512"),
        ("DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=", |config| {
            config.auth.super_digest.as_ref().is_some_and(|digest| digest.0 == "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
        }),
        ("ensembleAuthName=a, b,", |config| config.auth.ensemble_names == ["a", "b"]),
        ("authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider", |config| {
            config.auth.settings().ensemble
        }),
        ("enforce.auth.enabled=true\nenforce.auth.schemes=digest,ip", |config| {
            config.auth.enforced_schemes.as_deref() == Some(&["digest".to_owned(), "ip".to_owned()])
        }),
        ("enforce.auth.schemes=digest", |config| config.auth.enforced_schemes.is_none()),
        ("4lw.commands.whitelist=stat, ruok", |config| {
            config.answers_word("stat") && config.answers_word("srvr") && !config.answers_word("isro")
        }),
        ("4lw.commands.whitelist=hand, *", |config| config.answers_word("hand") && config.answers_word("dump")),
        ("4lw.commands.whitelist=*", |config| {
            !config.answers_word("hand") && config.words == Words::All && config.answers_word("dump")
        }),
        ("ringkeeper.backend=epoll", |config| config.machine.backend == Backend::Epoll),
        ("ringkeeper.shards=7", |config| config.machine.shards == Some(7)),
        ("ringkeeper.shards=auto", |config| config.machine.shards.is_none()),
        ("ringkeeper.stayAwake=0", |config| config.machine.stay_awake_us == 0),
    ];
    let without = config_of("");
    for (line, shows) in cases {
        let same_as_default = line.ends_with("=-1") || line.ends_with("auto");
        let silent = line.starts_with("enforce.auth.schemes") || line.contains("RetainCount=1") || same_as_default;
        if !silent {
            assert!(!shows(&without), "{line} is not told from the default");
        }
        assert!(shows(&config_of(line)), "{line} has no effect");
    }
}

#[test]
fn secrets_do_not_show_in_debugging_output() {
    let config = config_of("DigestAuthenticationProvider.superDigest=super:c2VjcmV0");
    assert!(!format!("{config:?}").contains("c2VjcmV0"));
}
