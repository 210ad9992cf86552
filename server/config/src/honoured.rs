//! The settings that Ringkeeper honours: one row each, with the name in `zoo.cfg`, where ZooKeeper reads it, and how its
//! value enters the draft. To honour one more setting is to add a row here and a field in `settings`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use quorum::view::MemberRole;

use crate::draft::Draft;
use crate::values::{boolean, comma_list, host, interval_ms, property, trim, whole, yes_or_no};
use crate::{Backend, Compression, Secret, Words};

/// Where ZooKeeper reads a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Only in `zoo.cfg`.
    File,
    /// In the system property `zookeeper.<name>`, which a line `<name>=…` of `zoo.cfg` also sets.
    Property,
    /// Only in the system property `<name>`, which no line of `zoo.cfg` can set.
    Bare,
    /// In `<name>` and in `zookeeper.<name>`.
    Either,
    /// Nowhere: the setting is Ringkeeper's own.
    Ours,
}

/// Accepted, perhaps with a remark about a value that was changed; or refused, with what was expected.
pub type Verdict = Result<Option<String>, String>;

/// One setting.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Its name in `zoo.cfg` and for `--set`.
    pub name: &'static str,
    /// Where ZooKeeper reads it.
    pub place: Place,
    /// Whether its value is kept out of messages.
    pub secret: bool,
    /// Reads a trimmed value into the draft.
    pub set: fn(&mut Draft, &str) -> Verdict,
}

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

const fn file(name: &'static str, set: fn(&mut Draft, &str) -> Verdict) -> Setting {
    Setting { name, place: Place::File, secret: false, set }
}

const fn property_of(name: &'static str, set: fn(&mut Draft, &str) -> Verdict) -> Setting {
    Setting { name, place: Place::Property, secret: false, set }
}

const fn bare(name: &'static str, set: fn(&mut Draft, &str) -> Verdict) -> Setting {
    Setting { name, place: Place::Bare, secret: false, set }
}

const fn ours(name: &'static str, set: fn(&mut Draft, &str) -> Verdict) -> Setting {
    Setting { name, place: Place::Ours, secret: false, set }
}

const INT_MAX: i64 = i32::MAX as i64;
/// Twenty ticks, the default of maxSessionTimeout, must be an `int` in ZooKeeper.
const TICK_MAX_MS: i64 = INT_MAX / 20;
/// A terabyte in KB; sizes are turned into bytes later.
const KIB_MAX: i64 = 1 << 30;
const LONG_MAX: i64 = i64::MAX;

/// Stores a value that was read; the number must fit, which the range given to its reader ensures.
fn put<T, N>(slot: &mut T, value: Result<N, String>) -> Verdict
where
    N: TryInto<T>,
{
    match value?.try_into() {
        Ok(value) => *slot = value,
        Err(_) => return Err("expected a smaller value".to_owned()),
    }
    Ok(None)
}

/// Stores a number of which those below 1 mean "none".
fn put_or_none<T: TryFrom<i64>>(slot: &mut Option<T>, value: Result<i64, String>) -> Verdict {
    let value = value?;
    *slot = if value < 1 { None } else { value.try_into().ok() };
    Ok(None)
}

/// A number of which those below 0 mean 0.
fn at_least_0(value: Result<i64, String>) -> Result<i64, String> {
    value.map(|value| value.max(0))
}

fn directory(slot: &mut Option<PathBuf>, text: &str) -> Verdict {
    if text.is_empty() || text.contains('\0') {
        return Err("expected a directory".to_owned());
    }
    *slot = Some(PathBuf::from(text));
    Ok(None)
}

fn relative(text: &str) -> Option<String> {
    let sure =
        text.starts_with('/') || text.starts_with("./") || text.starts_with("../") || text == "." || text == "..";
    (!sure).then(|| {
        format!(
            "{text:?} is relative to the directory in which the server starts; ./ before it says that this is meant"
        )
    })
}

/// Every setting that is honoured.
pub const SETTINGS: &[Setting] = &[
    // --- directories and the client port
    file("dataDir", |draft, text| directory(&mut draft.data_dir, text).map(|_| relative(text))),
    file("dataLogDir", |draft, text| directory(&mut draft.data_log_dir, text).map(|_| relative(text))),
    file("clientPort", |draft, text| {
        draft.client_port = Some(whole(text, 0..=65_535, "0: any free port")? as u16);
        Ok(None)
    }),
    file("clientPortAddress", |draft, text| {
        draft.client_host = Some(host(text)?);
        Ok(None)
    }),
    file("clientPortListenBacklog", |draft, text| {
        put_or_none(&mut draft.config.listen.backlog, whole(text, -1..=INT_MAX, "-1: as the server sees fit"))
    }),
    property_of("clientTcpKeepAlive", |draft, text| put(&mut draft.config.listen.tcp_keep_alive, boolean(text))),
    property_of("nio.sessionlessCnxnTimeout", |draft, text| {
        put(&mut draft.config.listen.sessionless_timeout_ms, property(text, 1..=INT_MAX, "milliseconds"))
    }),
    property_of("datadir.autocreate", |draft, text| put(&mut draft.config.create_directories, boolean(text))),
    property_of("db.autocreate", |draft, text| put(&mut draft.config.create_database, boolean(text))),
    // --- time
    file("tickTime", |draft, text| put(&mut draft.config.tick_time_ms, whole(text, 1..=TICK_MAX_MS, "milliseconds"))),
    file("minSessionTimeout", |draft, text| timeout(&mut draft.timeout_min_ms, text)),
    file("maxSessionTimeout", |draft, text| timeout(&mut draft.timeout_max_ms, text)),
    // --- what clients may use up
    file("maxClientCnxns", |draft, text| {
        let value = whole(text, -INT_MAX..=INT_MAX, "0: no limit");
        put(&mut draft.config.limits.connections_per_address_max, at_least_0(value))
    }),
    property_of("maxCnxns", |draft, text| {
        let value = property(text, -INT_MAX..=INT_MAX, "0: no limit");
        put(&mut draft.config.limits.connections_max, at_least_0(value))
    }),
    property_of("globalOutstandingLimit", |draft, text| {
        put(&mut draft.config.limits.requests_outstanding_max, property(text, 1..=INT_MAX, "requests"))
    }),
    bare("jute.maxbuffer", |draft, text| {
        put(&mut draft.config.limits.packet_bytes_max, property(text, 128..=INT_MAX, "bytes"))
    }),
    property_of("jute.maxbuffer.extrasize", |draft, text| {
        let value = property(text, 0..=INT_MAX, "bytes")?;
        draft.packet_extra_bytes = Some(value.max(1024) as u32);
        Ok((value < 1024).then(|| "raised to 1024, as in ZooKeeper".to_owned()))
    }),
    // --- the transaction log
    property_of("preAllocSize", |draft, text| {
        put(&mut draft.config.log.segment_kib, property(text, 1..=KIB_MAX, "KB"))
    }),
    property_of("txnLogSizeLimitInKb", |draft, text| {
        put_or_none(&mut draft.config.log.size_limit_kib, property(text, -1..=KIB_MAX, "KB; -1: no limit"))
    }),
    property_of("forceSync", |draft, text| put(&mut draft.config.log.force_sync, yes_or_no(text))),
    Setting {
        name: "fsync.warningthresholdms",
        place: Place::Either,
        secret: false,
        set: |draft, text| put(&mut draft.config.log.sync_warning_ms, property(text, 0..=LONG_MAX, "milliseconds")),
    },
    property_of("maxBatchSize", |draft, text| {
        put(&mut draft.config.log.batch_records_max, property(text, 1..=INT_MAX, "requests"))
    }),
    property_of("flushDelay", |draft, text| {
        put(&mut draft.config.log.flush_delay_ms, property(text, 0..=INT_MAX, "milliseconds"))
    }),
    // --- snapshots
    property_of("snapCount", |draft, text| {
        let value = property(text, 0..=INT_MAX, "transactions, at least 2")?;
        draft.config.snapshots.every_transactions = value.max(2) as u32;
        Ok((value < 2).then(|| "raised to 2, as in ZooKeeper".to_owned()))
    }),
    property_of("snapSizeLimitInKb", |draft, text| {
        put_or_none(&mut draft.config.snapshots.every_log_kib, property(text, -1..=LONG_MAX / 1024, "KB; 0: no limit"))
    }),
    property_of("snapshot.compression.method", |draft, text| {
        draft.config.snapshots.compression = match text {
            "" => Compression::None,
            "gz" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            _ => return Err("expected gz, snappy or nothing".to_owned()),
        };
        Ok(None)
    }),
    property_of("snapshot.trust.empty", |draft, text| put(&mut draft.config.snapshots.trust_empty, boolean(text))),
    property_of("serializeLastProcessedZxid.enabled", |draft, text| {
        put(&mut draft.config.snapshots.last_processed_zxid, boolean(text))
    }),
    file("autopurge.snapRetainCount", |draft, text| {
        let value = whole(text, 0..=INT_MAX, "snapshots, at least 3")?;
        draft.config.purge.retain_count = value.max(3) as u32;
        Ok((value < 3).then(|| "raised to 3, as in ZooKeeper".to_owned()))
    }),
    file("autopurge.purgeInterval", |draft, text| {
        draft.config.purge.interval_ms = Some(interval_ms(text)?).filter(|&interval| interval > 0);
        Ok(None)
    }),
    // --- nodes
    property_of("extendedTypesEnabled", |draft, text| put(&mut draft.config.nodes.extended_types, boolean(text))),
    property_of("emulate353TTLNodes", |draft, text| put(&mut draft.config.nodes.emulate_353_ttl, boolean(text))),
    file("reconfigEnabled", |draft, text| put(&mut draft.config.nodes.reconfig, boolean(text))),
    property_of("enforceQuota", |draft, text| put(&mut draft.config.nodes.enforce_quota, boolean(text))),
    bare("znode.container.checkIntervalMs", |draft, text| {
        put(&mut draft.config.reaper.check_interval_ms, property(text, 1..=INT_MAX, "milliseconds"))
    }),
    bare("znode.container.maxPerMinute", |draft, text| {
        put(&mut draft.config.reaper.per_minute_max, property(text, 1..=INT_MAX, "nodes"))
    }),
    bare("znode.container.maxNeverUsedIntervalMs", |draft, text| {
        put_or_none(&mut draft.config.reaper.never_used_ms, property(text, 0..=LONG_MAX, "milliseconds; 0: never"))
    }),
    property_of("digest.enabled", |draft, text| put(&mut draft.config.digests, boolean(text))),
    property_of("closeSessionTxn.enabled", |draft, text| {
        put(&mut draft.config.close_session_lists_ephemerals, boolean(text))
    }),
    bare("readonlymode.enabled", |draft, text| put(&mut draft.config.read_only_mode, boolean(text))),
    // --- who is who
    property_of("skipACL", |draft, text| put(&mut draft.config.auth.skip_acl, yes_or_no(text))),
    property_of("DigestAuthenticationProvider.enabled", |draft, text| {
        put(&mut draft.config.auth.digest_enabled, boolean(text))
    }),
    property_of("DigestAuthenticationProvider.digestAlg", |draft, text| {
        if auth::Algorithm::from_name(text).is_none() {
            return Err("expected a digest algorithm of Java, such as SHA1, SHA-256 or SHA3-512".to_owned());
        }
        draft.config.auth.digest_algorithm = text.to_owned();
        Ok(None)
    }),
    Setting {
        name: "DigestAuthenticationProvider.superDigest",
        place: Place::Property,
        secret: true,
        set: |draft, text| {
            let is_digest = |hash: &str| {
                !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
            };
            match text.split_once(':') {
                Some((user, hash)) if !user.is_empty() && is_digest(hash) => {
                    draft.config.auth.super_digest = Some(Secret(text.to_owned()));
                    Ok(None)
                }
                _ => Err("expected super:, followed by the base64 digest of super:<password>".to_owned()),
            }
        },
    },
    property_of("ensembleAuthName", |draft, text| {
        draft.config.auth.ensemble_names = comma_list(text);
        Ok(None)
    }),
    property_of("enforce.auth.enabled", |draft, text| put(&mut draft.enforce_auth, boolean(text))),
    property_of("enforce.auth.schemes", |draft, text| {
        draft.enforced_schemes = comma_list(text);
        match draft.enforced_schemes.iter().find(|scheme| !matches!(scheme.as_str(), "digest" | "ip" | "ensemble")) {
            None if draft.enforced_schemes.is_empty() => {
                Err("expected digest, ip or ensemble; several with commas".to_owned())
            }
            None => Ok(None),
            Some(scheme) => Err(format!("expected digest, ip or ensemble; the scheme {scheme:?} is not available")),
        }
    }),
    // --- what is answered
    property_of("4lw.commands.whitelist", |draft, text| {
        let words: BTreeSet<String> = comma_list(text).into_iter().collect();
        let unknown: Vec<&str> = words.iter().map(String::as_str).filter(|word| !KNOWN_WORDS.contains(word)).collect();
        let remark = (!unknown.is_empty()).then(|| format!("there is no four-letter word {}", unknown.join(", ")));
        draft.config.words = match (words.contains("*"), words.contains(HAND)) {
            (true, false) => Words::All,
            (true, true) => Words::Listed(KNOWN_WORDS.iter().map(|word| (*word).to_owned()).collect()),
            (false, _) => Words::Listed(words),
        };
        Ok(remark)
    }),
    // --- the ensemble; who belongs to it is read in `membership`
    file("standaloneEnabled", |draft, text| put(&mut draft.standalone_enabled, boolean(text))),
    file("dynamicConfigFile", |draft, text| {
        if text.is_empty() || text.contains('\0') {
            return Err("expected a file".to_owned());
        }
        draft.dynamic_file = Some(PathBuf::from(text));
        Ok(relative(text))
    }),
    file("initLimit", |draft, text| put_or_none(&mut draft.init_limit_ticks, whole(text, 0..=INT_MAX, "ticks"))),
    file("syncLimit", |draft, text| put_or_none(&mut draft.sync_limit_ticks, whole(text, 0..=INT_MAX, "ticks"))),
    file("connectToLearnerMasterLimit", |draft, text| {
        put_or_none(&mut draft.connect_limit_ticks, whole(text, 0..=INT_MAX, "ticks; 0: as initLimit"))
    }),
    file("electionAlg", |_, text| match text {
        "3" => Ok(None),
        _ => Err("expected 3; there is no other way of election".to_owned()),
    }),
    file("peerType", |draft, text| {
        draft.role = Some(match () {
            () if text.eq_ignore_ascii_case("participant") => MemberRole::Participant,
            () if text.eq_ignore_ascii_case("observer") => MemberRole::Observer,
            () => return Err("expected participant or observer".to_owned()),
        });
        Ok(None)
    }),
    file("quorumListenOnAllIPs", |draft, text| put(&mut draft.wires.on_all_addresses, boolean(text))),
    file("localSessionsEnabled", |draft, text| put(&mut draft.local_sessions.enabled, boolean(text))),
    file("localSessionsUpgradingEnabled", |draft, text| put(&mut draft.local_sessions.upgrading, boolean(text))),
    property_of("multiAddress.enabled", |draft, text| put(&mut draft.several_addresses, boolean(text))),
    property_of("electionPortBindRetry", |draft, text| {
        put_or_none(&mut draft.wires.bind_tries, property(text, 0..=INT_MAX, "tries; 0: until it succeeds"))
    }),
    property_of("tcpKeepAlive", |draft, text| put(&mut draft.wires.tcp_keep_alive, boolean(text))),
    property_of("cnxTimeout", |draft, text| {
        put(&mut draft.election.connect_timeout_ms, property(text, 1..=INT_MAX, "milliseconds"))
    }),
    property_of("quorumCnxnTimeoutMs", |draft, text| {
        let value = property(text, -1..=INT_MAX, "milliseconds; -1: syncLimit ticks");
        put_or_none(&mut draft.handshake_timeout_ms, value)
    }),
    property_of("fastleader.minNotificationInterval", |draft, text| {
        put(&mut draft.election.notification_min_ms, property(text, 1..=INT_MAX, "milliseconds"))
    }),
    property_of("fastleader.maxNotificationInterval", |draft, text| {
        put(&mut draft.election.notification_max_ms, property(text, 1..=INT_MAX, "milliseconds"))
    }),
    property_of("observer.election.DelayMs", |draft, text| {
        put(&mut draft.election.observer_delay_ms, property(text, 0..=INT_MAX, "milliseconds"))
    }),
    file("oraclePath", |draft, text| {
        if text.is_empty() || text.contains('\0') {
            return Err("expected a file".to_owned());
        }
        draft.oracle = Some(PathBuf::from(text));
        Ok(relative(text))
    }),
    property_of("leaderServes", |draft, text| put(&mut draft.leader_serves, yes_or_no(text))),
    property_of("commitLogCount", |draft, text| {
        let value = property(text, 0..=INT_MAX, "transactions, at least 500")?;
        draft.catch_up.transactions = value.max(500) as u32;
        Ok((value < 500).then(|| "raised to 500, as in ZooKeeper".to_owned()))
    }),
    property_of("snapshotSizeFactor", |draft, text| match text.parse::<f64>() {
        Ok(factor) if factor <= 1.0 => {
            draft.catch_up.log_factor = Some(factor).filter(|&factor| factor > 0.0);
            Ok(None)
        }
        _ => Err("expected a share of at most 1.0 of a snapshot; below 0: always a snapshot".to_owned()),
    }),
    property_of("forceSnapshotSync", |draft, text| put(&mut draft.catch_up.always_snapshot, boolean(text))),
    property_of("leaderConnectDelayDuringRetryMs", |draft, text| {
        put(&mut draft.connect_retry_ms, property(text, 0..=INT_MAX, "milliseconds"))
    }),
    property_of("leader.maxConcurrentSnapSyncs", |draft, text| {
        put(&mut draft.catch_up.snapshots_max, property(text, 1..=INT_MAX, "learners"))
    }),
    property_of("leader.maxConcurrentDiffSyncs", |draft, text| {
        put(&mut draft.catch_up.diffs_max, property(text, 1..=INT_MAX, "learners"))
    }),
    file("observerMasterPort", |draft, text| {
        let value =
            whole(trim(text), i64::from(i32::MIN)..=65_535, "a port; 0 or less: observers learn from the leader")?;
        draft.observer_master.port = u16::try_from(value).ok().filter(|&port| port > 0);
        Ok(None)
    }),
    property_of("observerMaster.sizeLimit", |draft, text| {
        put(&mut draft.observer_master.bytes_max, property(text, 0..=INT_MAX, "bytes"))
    }),
    // --- this machine
    ours("ringkeeper.backend", |draft, text| {
        draft.config.machine.backend = match text {
            "auto" => Backend::Auto,
            "uring" => Backend::Uring,
            "epoll" => Backend::Epoll,
            _ => return Err("expected auto, uring or epoll".to_owned()),
        };
        Ok(None)
    }),
    ours("ringkeeper.stayAwake", |draft, text| {
        draft.config.machine.stay_awake_us = whole(text, 0..=1_000, "microseconds")? as u32;
        Ok(None)
    }),
    ours("ringkeeper.shards", |draft, text| {
        draft.config.machine.shards = match text {
            "auto" => None,
            _ => match whole(text, 1..=256, "") {
                Ok(shards) => Some(shards as u16),
                Err(_) => return Err("expected auto or a whole number from 1 to 256".to_owned()),
            },
        };
        Ok(None)
    }),
];

/// Hands over leadership: not one of those that `*` stands for.
pub(crate) const HAND: &str = "hand";

/// What may stand in the list of four-letter words.
const KNOWN_WORDS: [&str; 20] = [
    "*", "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", HAND, "hash", "isro", "mntr", "ruok", "srst", "srvr",
    "stat", "stmk", "wchc", "wchp", "wchs",
];

fn timeout(slot: &mut Option<u32>, text: &str) -> Verdict {
    *slot = match whole(trim(text), -1..=INT_MAX, "milliseconds; -1: by tickTime")? {
        -1 => None,
        value => Some(value as u32),
    };
    Ok(None)
}
