//! The settings of ZooKeeper that a file of an existing installation may hold and that Ringkeeper does not honour: one
//! row each, with what is done about it and why.
//!
//! The rule: a setting that, left out, would open something its operator had closed, or leave a door shut that clients
//! need, is refused. One that only changes speed, comfort or reporting is named in a warning. One whose value asks for
//! exactly what is done anyway passes quietly.

use Verdict::{Note, Quiet, Refuse, RefuseMember, Warn, WarnMember};

/// What is done about a setting that is not honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server does not start; the reason.
    Refuse(&'static str),
    /// The server starts; the reason why this has no effect.
    Warn(&'static str),
    /// The same, for those who look for it.
    Note(&'static str),
    /// ZooKeeper does not look at it either.
    Quiet,
    /// As `Refuse` for a member of an ensemble. A standalone server of ZooKeeper does not look at it either.
    RefuseMember(&'static str),
    /// As `Warn` for a member of an ensemble.
    WarnMember(&'static str),
}

impl Verdict {
    /// What it comes to for a member of an ensemble, or for a standalone server.
    pub fn of(self, is_member: bool) -> Verdict {
        match self {
            RefuseMember(reason) if is_member => Refuse(reason),
            WarnMember(reason) if is_member => Warn(reason),
            RefuseMember(_) | WarnMember(_) => Quiet,
            other => other,
        }
    }
}

/// One setting, or all whose names begin alike.
pub struct Row {
    /// The name in `zoo.cfg`; a final `*` stands for any rest.
    pub name: &'static str,
    /// Values, compared without regard to case, that ask for what is done anyway.
    pub fine: &'static [&'static str],
    /// What is done about every other value.
    pub verdict: Verdict,
}

/// What is done about this setting with this value; `None` if no such setting is known.
pub fn verdict(name: &str, value: &str) -> Option<Verdict> {
    let row = ROWS.iter().find(|row| match row.name.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == row.name,
    })?;
    let fine = row.fine.iter().any(|fine| fine.eq_ignore_ascii_case(value));
    Some(if fine { Quiet } else { row.verdict })
}

/// The same for the few system properties that matter without `zookeeper.` before them.
pub fn verdict_of_bare_property(name: &str, value: &str) -> Option<Verdict> {
    match name {
        "java.security.auth.login.config" => Some(Warn(NO_SASL)),
        "follower.nodelay" | "leader.nodelay" => verdict(name, value),
        _ => None,
    }
}

const fn row(name: &'static str, fine: &'static [&'static str], verdict: Verdict) -> Row {
    Row { name, fine, verdict }
}

/// The class that provides the `ensemble` scheme; naming it in an `authProvider.*` is honoured.
pub const ENSEMBLE_PROVIDER: &str = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";
const NO_TLS: &str = "TLS is not built yet; this has no effect";
const NO_TLS_PORT: &str = "TLS is not built yet, and clients would find no port, or a plain one; \
                           remove the setting, or start with --set <key>= to do without it";
const NO_SASL: &str = "SASL is not built yet; this has no effect";
const NO_PEER_TLS: &str = "TLS between members is not built yet, and without it they would talk in the clear";
const NO_PEER_TLS_EFFECT: &str = "TLS between members is not built yet; this has no effect";
const NO_PEER_SASL: &str = "SASL between members is not built yet, and without it every host could join the ensemble";
const ALWAYS_ON_DISK: &str = "observers always keep their data on disk";
const ALWAYS_WITHOUT_DELAY: &str = "nothing is delayed: sockets between members always have TCP_NODELAY";
const NEVER_WAITS: &str = "not needed: sending and closing never make a member wait";
const NOT_OF_MEMBERS: &str = "not built yet; this has no effect";
const NO_ADMIN: &str = "the admin server is not built yet; this has no effect";
const NO_PROMETHEUS: &str = "metrics providers are not built yet; use the four-letter word mntr";
const NO_AUDIT: &str = "the audit log is not built yet; nothing is audited";
const NOT_JAVA: &str = "not needed: it tunes the Java virtual machine or its libraries";
const OTHER_THREADS: &str = "not needed: Ringkeeper divides its work otherwise; see ringkeeper.shards";
const NO_CACHE: &str = "not needed: replies are not cached";
const NO_THROTTLE: &str = "throttling is not built yet; this has no effect";
const NO_AUTH_PLUGIN: &str = "authentication providers other than digest, ip and ensemble are not built yet, and clients \
                              that rely on this one would be locked out; remove the setting, or start with --set <key>= \
                              to do without it";
const NO_AUTH_RULE: &str = "this rule of who may enter is not built yet, and without it the server would be more open than \
                            configured";
const TEST_HOOK: &str = "a hook for tests of ZooKeeper; this has no effect";

/// Every such setting. The first row that matches counts.
pub const ROWS: &[Row] = &[
    // --- doors
    row("secureClientPort", &[], Refuse(NO_TLS_PORT)),
    row("secureClientPortAddress", &[], Refuse(NO_TLS_PORT)),
    row("client.portUnification", &["false"], Refuse(NO_TLS_PORT)),
    row(
        "authProvider.*",
        &[
            "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
            "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
            ENSEMBLE_PROVIDER,
        ],
        Refuse(NO_AUTH_PLUGIN),
    ),
    row("sessionRequireClientSASLAuth", &["false"], Refuse(NO_AUTH_RULE)),
    row("requireClientAuthScheme", &[], Refuse(NO_AUTH_RULE)),
    row("requireKerberosConfig", &["false"], Refuse(NO_AUTH_RULE)),
    // --- the ensemble; a standalone ZooKeeper does not look at these
    row("sslQuorum", &["false"], RefuseMember(NO_PEER_TLS)),
    row("sslQuorum*", &["false"], WarnMember(NO_PEER_TLS_EFFECT)),
    row("portUnification", &["false"], WarnMember(NO_PEER_TLS_EFFECT)),
    row("ssl.quorum.*", &[], WarnMember(NO_PEER_TLS_EFFECT)),
    row("quorum.auth.enableSasl", &["false"], RefuseMember(NO_PEER_SASL)),
    row("quorum.auth.*", &["false"], WarnMember("SASL between members is not built yet; this has no effect")),
    row("quorum.*", &[], WarnMember(OTHER_THREADS)),
    row("syncEnabled", &["true"], WarnMember(ALWAYS_ON_DISK)),
    row("observer.syncEnabled", &["true"], WarnMember(ALWAYS_ON_DISK)),
    row(
        "multiAddress.*",
        &["false"],
        WarnMember("not needed: all addresses of a member are tried at once, and the first that answers is used"),
    ),
    row("follower.nodelay", &["true"], WarnMember(ALWAYS_WITHOUT_DELAY)),
    row("leader.nodelay", &["true"], WarnMember(ALWAYS_WITHOUT_DELAY)),
    row("leader.closeSocketAsync", &[], WarnMember(NEVER_WAITS)),
    row("learner.closeSocketAsync", &[], WarnMember(NEVER_WAITS)),
    row("learner.asyncSending", &[], WarnMember(NEVER_WAITS)),
    row("leader.*", &["false"], WarnMember(NOT_OF_MEMBERS)),
    row("learner.*", &["false"], WarnMember(NOT_OF_MEMBERS)),
    row("follower.*", &["false"], WarnMember(OTHER_THREADS)),
    row("forward_learner_requests_to_commit_processor_disabled", &["false"], WarnMember(OTHER_THREADS)),
    row("observer.*", &["0"], WarnMember(NOT_OF_MEMBERS)),
    row("messageTracker.*", &["false"], WarnMember(NOT_OF_MEMBERS)),
    // --- TLS and SASL; their doors are refused above
    row("ssl.*", &[], Warn(NO_TLS)),
    row("fips-mode", &[], Warn(NO_TLS)),
    row("client.*", &["false"], Warn(NO_TLS)),
    row("X509AuthenticationProvider.*", &[], Warn(NO_TLS)),
    row("sasl.*", &[], Warn(NO_SASL)),
    row("kerberos.*", &[], Warn(NO_SASL)),
    row("superUser*", &[], Warn(NO_SASL)),
    row("allowSaslFailedClients", &["false"], Warn(NO_SASL)),
    row("letAnySaslUserDoX", &[], Warn(NO_SASL)),
    row("SASLAuthenticationProvider.*", &[], Warn(NO_SASL)),
    row("security.auth_to_local", &[], Warn(NO_SASL)),
    row("server.realm", &[], Warn(NO_SASL)),
    row("server.principal", &[], Warn(NO_SASL)),
    row("kinit", &[], Warn(NO_SASL)),
    row("jaasLoginRenew", &[], Warn(NO_SASL)),
    // --- surfaces for operators
    row("admin.enableServer", &["false"], Warn(NO_ADMIN)),
    row("admin.*", &[], Warn(NO_ADMIN)),
    row("IPAuthenticationProvider.usexforwardedfor", &["false"], Warn(NO_ADMIN)),
    row(
        "metricsProvider.className",
        &[
            "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
            "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
        ],
        Warn(NO_PROMETHEUS),
    ),
    row("metricsProvider.*", &[], Warn(NO_PROMETHEUS)),
    row("audit.enable", &["false"], Warn(NO_AUDIT)),
    row("audit.*", &[], Warn(NO_AUDIT)),
    row("pathStats.*", &["false"], Warn("statistics by path are not built yet; this has no effect")),
    // --- how Java does its work
    row(
        "serverCnxnFactory",
        &["org.apache.zookeeper.server.NIOServerCnxnFactory"],
        Warn("not needed: it chooses between networking libraries of Java; see ringkeeper.backend"),
    ),
    row("netty.*", &["false"], Warn(OTHER_THREADS)),
    row("nio.*", &[], Warn(OTHER_THREADS)),
    row("commitProcessor.*", &[], Warn(OTHER_THREADS)),
    row("maxWriteQueuePollTime", &[], Warn("not needed: a batch never waits longer than flushDelay")),
    row("intBufferStartingSizeBytes", &[], Warn(NOT_JAVA)),
    row("maxResponseCacheSize", &[], Warn(NO_CACHE)),
    row("maxGetChildrenResponseCacheSize", &[], Warn(NO_CACHE)),
    row(
        "enableEagerACLCheck",
        &["false"],
        Warn("not needed: ACLs of writes are checked once, where writes are put in order"),
    ),
    row("watchManagerName", &[], Warn("not needed: there is one kind of watch table")),
    row("watcherClean*", &[], Warn("not needed: watches are removed with their session")),
    row("maxInProcessingDeadWatchers", &[], Warn("not needed: watches are removed with their session")),
    row("bitHashCacheSize", &[], Warn("not needed: there is one kind of watch table")),
    row("jvm.pause.monitor", &["false"], Warn(NOT_JAVA)),
    row("jvm.pause.*", &[], Warn(NOT_JAVA)),
    row("jmx.*", &[], Note(NOT_JAVA)),
    row("log.*", &[], Note("logging is configured otherwise")),
    row("root.logger", &[], Note("logging is configured otherwise")),
    row("console.threshold", &[], Note("logging is configured otherwise")),
    row("tracelog.*", &[], Note("logging is configured otherwise")),
    row("disableAutoWatchReset", &[], Note("a setting of clients")),
    // --- throttling
    row("connection_throttle_*", &["false"], Warn(NO_THROTTLE)),
    row("request_throttle*", &["false"], Warn(NO_THROTTLE)),
    row("request_stale_*", &["false"], Warn(NO_THROTTLE)),
    row("throttled_op_wait_time", &["0"], Warn(NO_THROTTLE)),
    row("largeRequest*", &["-1"], Warn(NO_THROTTLE)),
    // --- hooks
    row("test.*", &[], Warn(TEST_HOOK)),
    row("testingonly.*", &[], Warn(TEST_HOOK)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_rows_come_before_the_prefixes_that_cover_them() {
        for (index, later) in ROWS.iter().enumerate() {
            for earlier in &ROWS[..index] {
                let hidden = match earlier.name.strip_suffix('*') {
                    Some(start) => later.name.starts_with(start),
                    None => later.name == earlier.name,
                };
                assert!(!hidden, "{} is hidden behind {}", later.name, earlier.name);
            }
        }
    }

    #[test]
    fn no_setting_is_both_honoured_and_not_by_its_full_name() {
        for row in ROWS {
            assert!(crate::honoured::find(row.name).is_none(), "{}", row.name);
        }
    }

    #[test]
    fn a_value_that_asks_for_nothing_passes_quietly() {
        assert_eq!(verdict("admin.enableServer", "False"), Some(Quiet));
        assert_eq!(verdict("admin.enableServer", "true"), Some(Warn(NO_ADMIN)));
        assert_eq!(verdict("sessionRequireClientSASLAuth", "true"), Some(Refuse(NO_AUTH_RULE)));
        assert_eq!(verdict("snapCont", "1"), None);
    }
}
