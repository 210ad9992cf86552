//! Each kind of mistake, and the words with which it is told.

use config::{Errors, ExitStatus};

use crate::{load_all, with_minimum};

/// The errors of a file that says the minimum and then these lines, which begin on line 3.
fn check(lines: &str, expected: &[&str]) {
    check_whole(&with_minimum(lines), expected);
}

fn check_whole(text: &str, expected: &[&str]) {
    let told = match load_all(&[], Some(text), &[]) {
        Ok(_) => panic!("{text:?} is not refused"),
        Err(errors) => {
            assert_eq!(errors.exit_status(), ExitStatus::InvalidInvocation);
            errors.to_string()
        }
    };
    assert_eq!(told.lines().collect::<Vec<_>>(), expected, "of {text:?}");
}

#[test]
fn bad_values_name_line_key_value_and_what_was_expected() {
    for (line, expected) in [
        ("tickTime=0", "expected a whole number from 1 to 107374182 (milliseconds)"),
        ("tickTime=2s", "expected a whole number from 1 to 107374182 (milliseconds)"),
        ("clientPort=65536", "expected a whole number from 0 to 65535 (0: any free port)"),
        ("clientPort=", "expected a whole number from 0 to 65535 (0: any free port)"),
        ("clientPortAddress=1.2.3", "expected an IP address or a host name"),
        ("dataDir=", "expected a directory"),
        ("maxClientCnxns=many", "expected a whole number from -2147483647 to 2147483647 (0: no limit)"),
        ("minSessionTimeout=-2", "expected a whole number from -1 to 2147483647 (milliseconds; -1: by tickTime)"),
        ("autopurge.purgeInterval=1w", "expected 0 (off), a number of hours, or a number followed by ms, s, m, h or d"),
        ("forceSync=false", "expected yes or no"),
        ("forceSync=No", "expected yes or no"),
        ("skipACL=true", "expected yes or no"),
        ("enforceQuota=ture", "expected true or false"),
        ("standaloneEnabled=yes", "expected true or false"),
        ("initLimit=-1", "expected a whole number from 0 to 2147483647 (ticks)"),
        ("electionAlg=2", "expected 3; there is no other way of election"),
        ("peerType=leader", "expected participant or observer"),
        ("snapshotSizeFactor=1.5", "expected a share of at most 1.0 of a snapshot; below 0: always a snapshot"),
        ("leaderServes=true", "expected yes or no"),
        ("jute.maxbuffer=1e6", "expected a whole number from 128 to 2147483647 (bytes)"),
        (
            "snapCount=0100",
            "expected a whole number from 0 to 2147483647 (transactions, at least 2), without leading zeros",
        ),
        ("snapshot.compression.method=gzip", "expected gz, snappy or nothing"),
        (
            "DigestAuthenticationProvider.digestAlg=crc32",
            "expected a digest algorithm of Java, such as SHA1, SHA-256 or SHA3-512",
        ),
        ("enforce.auth.schemes=digest,sasl", "expected digest, ip or ensemble; the scheme \"sasl\" is not available"),
        ("enforce.auth.schemes=,", "expected digest, ip or ensemble; several with commas"),
        ("ringkeeper.backend=mio", "expected auto, uring or epoll"),
        ("ringkeeper.shards=0", "expected auto or a whole number from 1 to 256"),
        ("ringkeeper.stayAwake=1001", "expected a whole number from 0 to 1000 (microseconds)"),
    ] {
        check(line, &[&format!("zoo.cfg:3: {line}: {expected}")]);
    }
}

#[test]
fn value_of_a_secret_is_not_told() {
    check(
        "DigestAuthenticationProvider.superDigest=hunter2",
        &["zoo.cfg:3: DigestAuthenticationProvider.superDigest: expected super:, followed by the base64 digest of \
           super:<password>"],
    );
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_file() {
    check_whole(
        "tickTime=0\ndataDir=/d\nbad=\\u00zz\nsecureClientPort=2182\nclientPort=x\n",
        &[
            "zoo.cfg:1: tickTime=0: expected a whole number from 1 to 107374182 (milliseconds)",
            "zoo.cfg:3: expected four hexadecimal digits after \\u",
            "zoo.cfg:4: secureClientPort=2182: TLS is not built yet, and clients would find no port, or a plain one; \
             remove the setting, or start with --set secureClientPort= to do without it",
            "zoo.cfg:5: clientPort=x: expected a whole number from 0 to 65535 (0: any free port)",
        ],
    );
}

#[test]
fn what_must_be_said_is_missed() {
    check_whole(
        "# nothing\n",
        &[
            "zoo.cfg: dataDir: not set; expected the directory for snapshots",
            "zoo.cfg: clientPort: not set; expected the port for clients",
        ],
    );
    check_whole(
        "dataDir=/d\nclientPortAddress=127.0.0.1\n",
        &["zoo.cfg:2: clientPortAddress=127.0.0.1: clientPortAddress is set but clientPort is not"],
    );
}

#[test]
fn session_time_outs_must_not_be_crossed() {
    check(
        "minSessionTimeout=90000\ntickTime=2000",
        &[
            "zoo.cfg:3: minSessionTimeout=90000: minSessionTimeout (90000 ms) must not be larger than maxSessionTimeout \
           (40000 ms, 20 × tickTime)",
        ],
    );
    check(
        "maxSessionTimeout=10\ntickTime=2000",
        &["zoo.cfg:3: maxSessionTimeout=10: minSessionTimeout (4000 ms, 2 × tickTime) must not be larger than \
           maxSessionTimeout (10 ms)"],
    );
}

#[test]
fn client_address_of_the_server_line_must_agree_with_the_file() {
    check(
        "server.1=a:2888:3888;2182",
        &["zoo.cfg:3: server.1=a:2888:3888;2182: the client port 2182 contradicts clientPort (2181)"],
    );
    check(
        "clientPortAddress=127.0.0.1\nserver.1=a:2888:3888;127.0.0.2:2181",
        &[
            "zoo.cfg:4: server.1=a:2888:3888;127.0.0.2:2181: the client address 127.0.0.2 contradicts clientPortAddress \
           (127.0.0.1)",
        ],
    );
}

#[test]
fn rules_of_entry_that_cannot_be_kept_are_refused() {
    for line in ["sessionRequireClientSASLAuth=true", "requireClientAuthScheme=sasl", "requireKerberosConfig=true"] {
        let expected = format!(
            "zoo.cfg:3: {line}: this rule of who may enter is not built yet, and without it the server would be more open \
             than configured"
        );
        check(line, &[&expected]);
    }
    check(
        "enforce.auth.enabled=true",
        &["zoo.cfg:3: enforce.auth.enabled=true: enforce.auth.schemes must be set with it"],
    );
    check(
        "enforce.auth.enabled=true\nenforce.auth.schemes=ensemble",
        &["zoo.cfg:3: enforce.auth.enabled=true: the scheme ensemble is enforced, and it is not enabled"],
    );
    check(
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest\nDigestAuthenticationProvider.enabled=false",
        &["zoo.cfg:3: enforce.auth.enabled=true: the scheme digest is enforced, and it is not enabled"],
    );
}

#[test]
fn sources_other_than_the_file_are_named_too() {
    let told = |result: Result<config::Loaded, Errors>| result.expect_err("is refused").to_string();
    assert_eq!(
        told(load_all(&["x", "/d"], None, &[])),
        "argument 1: clientPort=x: expected a whole number from 0 to 65535 (0: any free port)"
    );
    assert_eq!(told(load_all(&["-Dzookeeper.forceSync=off"], None, &[])), "-D: forceSync=off: expected yes or no");
    assert_eq!(
        told(load_all(&[], None, &[("SERVER_JVMFLAGS", "-Xmx1g -Djute.maxbuffer=1M -verbose")])),
        "SERVER_JVMFLAGS: jute.maxbuffer=1M: expected a whole number from 128 to 2147483647 (bytes)"
    );
    assert_eq!(
        told(load_all(&[], None, &[("RINGKEEPER_TICK_TIME", "fast")])),
        "RINGKEEPER_TICK_TIME: tickTime=fast: expected a whole number from 1 to 107374182 (milliseconds)"
    );
    assert_eq!(
        told(load_all(&["--set", "snapcount=5", "--set", "tickTime"], None, &[])),
        "--set: snapcount: there is no setting of this name; the setting is snapCount\n\
         --set: expected key=value, not \"tickTime\""
    );
}

#[test]
fn file_that_cannot_be_read_is_an_invalid_invocation() {
    let errors = Errors::unreadable("zoo.cfg", &"no such file");
    assert_eq!(errors.to_string(), "zoo.cfg: the configuration file cannot be read: no such file");
    assert_eq!(errors.exit_status() as u8, 2);
}
