//! Facts read back from captured answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use admin::{Bytes, Facts, HostFacts, Memory, Role, ServerFacts, Version};
use member::ConnStats;
use member::report::{ConnReport, WatchCounts, WatchReport};
use proto::{Millis, SessionId, Zxid};

/// What `dump`'s connections expire at a multiple of.
const GRAIN_MS: i64 = 10_000;
/// Now on the monotonic clock: a multiple of it, so that dates that are multiples apart stay so.
const NOW_MONO: Millis = Millis(1000 * GRAIN_MS);

/// A server of which nothing is known but its defaults.
pub(crate) fn facts() -> Facts {
    let server = ServerFacts {
        version: Version { ringkeeper: "0.1.0".to_owned(), built: Millis(0) },
        started: Millis(NOW_MONO.0 - 993),
        client_port: 2181,
        data_dir: "/data/version-2".to_owned(),
        data_log_dir: "/log/version-2".to_owned(),
        tick_ms: 2000,
        connections_per_address_max: 60,
        session_timeout_min_ms: 4000,
        session_timeout_max_ms: 40_000,
        backlog: None,
        sessionless_timeout_ms: GRAIN_MS,
        force_sync: true,
        host: HostFacts::default(),
        ensemble: None,
    };
    Facts::new(Arc::new(server), Role::Standalone, NOW_MONO, Millis(0))
}

/// What stands between two marks, or up to the end of the line if the second is empty.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let from = text.find(before)? + before.len();
    let rest = &text[from..];
    let end = if after.is_empty() { rest.find('\n') } else { rest.find(after) };
    Some(&rest[..end.unwrap_or(rest.len())])
}

fn number(text: &str, before: &str, after: &str) -> i64 {
    let found = between(text, before, after).unwrap_or_else(|| panic!("no {before:?} in {text:?}"));
    found.parse().unwrap_or_else(|error| panic!("{found:?} behind {before:?}: {error}"))
}

fn hex(text: &str) -> i64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("the numbers of sessions are hexadecimal") as i64
}

/// From the lines of numbers of `srvr` and `stat`.
pub(crate) fn facts_from_srvr(text: &str) -> Facts {
    let mut facts = facts();
    let latencies: Vec<&str> = between(text, "Latency min/avg/max: ", "").unwrap().split('/').collect();
    let totals = &mut facts.totals;
    totals.latency_min = latencies[0].parse().ok();
    let (whole, places) = latencies[1].split_once('.').expect("an average has a point");
    totals.latency_sum = format!("{whole}{places:0<4}").parse().unwrap();
    totals.latency_count = 10_000;
    totals.latency_max = latencies[2].parse().unwrap();
    totals.received = number(text, "Received: ", "") as u64;
    totals.sent = number(text, "Sent: ", "") as u64;
    totals.connections = number(text, "Connections: ", "") as u64;
    totals.outstanding = number(text, "Outstanding: ", "") as u64;
    facts.levels.zxid = Zxid(hex(between(text, "Zxid: ", "").unwrap()));
    facts.levels.znodes = number(text, "Node count: ", "") as u64;
    facts
}

/// From the lines of connections in `cons` and `stat`.
pub(crate) fn facts_from_connections(text: &str) -> Facts {
    let mut facts = facts();
    for line in text.lines().filter(|line| line.starts_with(" /")) {
        let field = |name: &str| between(line, &format!("{name}="), ",").map(|value| value.trim_end_matches(')'));
        let count = |name: &str| field(name).map_or(0, |value| value.parse().unwrap());
        let mut stats = ConnStats::new(Millis(count("est")));
        stats.last_zxid = Zxid(7);
        if field("lop") == Some("NA") {
            // What `crst` leaves behind is compared too.
            stats.reset();
        }
        stats.received = count("recved") as u64;
        stats.sent = count("sent") as u64;
        stats.last_op = WORDS_OF_OPS.iter().find(|op| Some(**op) == field("lop")).unwrap_or(&"NA");
        stats.last_cxid = field("lcxid").map_or(-1, hex);
        if let Some(zxid) = field("lcxid").and(field("lzxid")) {
            stats.last_zxid = Zxid(hex(zxid));
        }
        stats.last_response = Millis(count("lresp"));
        stats.last_latency = count("llat");
        // Java's connections begin with a minimum of their own; ours is −1 until something is measured.
        stats.latency_min = if field("lcxid").is_some() { count("minlat") } else { -1 };
        stats.latency_max = count("maxlat");
        stats.latency_sum = count("avglat") * 7 + 6;
        stats.latency_count = if field("lcxid").is_some() { 7 } else { 0 };
        facts.connections.push(ConnReport {
            peer: between(line, " /", "[").unwrap().parse().unwrap(),
            interest: u8::from_str_radix(between(line, "[", "]").unwrap(), 16).unwrap(),
            queued: count("queued") as usize,
            session: field("sid").map(|id| SessionId(hex(id))),
            timeout_ms: count("to") as i32,
            heard: NOW_MONO,
            stats,
        });
    }
    assert!(!facts.connections.is_empty(), "at least the connection that asked is shown");
    facts
}

const WORDS_OF_OPS: [&str; 3] = ["GETC", "EXIS", "NA"];

/// From `dump`. Its sessions have the scene's timeout.
pub(crate) fn facts_from_dump(text: &str) -> Facts {
    const TIMEOUT_MS: i32 = 30_000;
    let mut facts = facts();
    let mut part = "";
    let mut expiry = Millis(0);
    // The first date of the connections, told by the monotonic clock, is a multiple of the grain.
    let connections = text.split("Connections dump:\n").nth(1).expect("dump has three parts");
    facts.now_wall = date(between(connections, "expire at ", ":\n").unwrap());
    for line in text.lines() {
        if line.ends_with("dump:") {
            part = line;
        } else if let Some(text) = between(line, " expire at ", " UTC ") {
            let year = line.rsplit(' ').next().unwrap().trim_end_matches(':');
            expiry = NOW_MONO.plus(date(&format!("{text} UTC {year}")).since(facts.now_wall));
            if part.starts_with("SessionTracker") {
                facts.writes.buckets.push((expiry.0, Vec::new()));
            }
        } else if let Some(session) = line.strip_suffix(':').filter(|line| line.starts_with("0x")) {
            facts.writes.ephemerals.push((SessionId(hex(session)), Vec::new()));
        } else if let Some(item) = line.strip_prefix('\t') {
            if part.starts_with("SessionTracker") {
                facts.writes.buckets.last_mut().unwrap().1.push((SessionId(hex(item)), TIMEOUT_MS));
            } else if part.starts_with("ephemeral") {
                facts.writes.ephemerals.last_mut().unwrap().1.push(item.to_owned());
            } else {
                let session = hex(item.rsplit(' ').next().unwrap());
                let timeout_ms = if session == 0 { 0 } else { TIMEOUT_MS };
                let allowed = if session == 0 { GRAIN_MS } else { i64::from(TIMEOUT_MS) };
                facts.connections.push(ConnReport {
                    peer: between(item, "ip: /", " ").unwrap().parse().unwrap(),
                    interest: 1,
                    queued: 0,
                    session: (session != 0).then_some(SessionId(session)),
                    timeout_ms,
                    heard: expiry.plus(-allowed - 1),
                    stats: ConnStats::new(Millis(0)),
                });
            }
        }
    }
    facts
}

/// The time that a date such as `Sun Nov 22 12:08:55 UTC 2026` names.
fn date(text: &str) -> Millis {
    let fields: Vec<&str> = text.split([' ', ':']).collect();
    let [_, month, day, hour, minute, second, _, year] = fields[..] else { panic!("no date: {text:?}") };
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).unwrap() / 3;
    let (year, day): (i64, i64) = (year.parse().unwrap(), day.parse().unwrap());
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut days: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
    for (of, length) in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate().take(month) {
        days += length + i64::from(of == 1 && leap(year));
    }
    let [hour, minute, second] = [hour, minute, second].map(|field| field.parse::<i64>().unwrap());
    Millis(1000 * (86_400 * (days + day - 1) + 3600 * hour + 60 * minute + second))
}

/// From lines of the kinds `key=value` and `key: value`: `conf`, `envi`, `dirs`, `hash`.
pub(crate) fn facts_from_properties(text: &str) -> Facts {
    let mut facts = facts();
    let pairs: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('=').or_else(|| line.split_once(": "))).collect();
    let text_of = |key: &str| pairs.get(key).map(|value| (*value).to_owned());
    let count = |key: &str| pairs.get(key).map_or(0, |value| value.parse().unwrap());
    let mib = |key: &str| pairs.get(key).map(|value| value.trim_end_matches("MB").parse::<u64>().unwrap() << 20);
    let mut server = (*facts.server).clone();
    if text.starts_with("clientPort") {
        server.client_port = count("clientPort") as u16;
        server.data_dir = text_of("dataDir").unwrap();
        server.data_log_dir = text_of("dataLogDir").unwrap();
        server.tick_ms = count("tickTime");
        server.connections_per_address_max = count("maxClientCnxns") as u32;
        server.session_timeout_min_ms = count("minSessionTimeout");
        server.session_timeout_max_ms = count("maxSessionTimeout");
        server.backlog = u32::try_from(count("clientPortListenBacklog")).ok();
        facts.bytes = Bytes { data_dir: count("dataDirSize") as u64, data_log_dir: count("dataLogSize") as u64 };
    } else if text.starts_with("Environment") {
        server.host = HostFacts {
            host_name: text_of("host.name"),
            temp_dir: text_of("java.io.tmpdir"),
            os_name: text_of("os.name"),
            os_arch: text_of("os.arch").map(|arch| arch.replace("amd64", "x86_64")),
            os_version: text_of("os.version"),
            user_name: text_of("user.name"),
            user_home: text_of("user.home"),
            user_dir: text_of("user.dir"),
        };
        facts.memory = Memory { free: mib("os.memory.free"), max: mib("os.memory.max"), total: mib("os.memory.total") };
    } else if text.starts_with("datadir") {
        facts.bytes = Bytes { data_dir: count("datadir_size") as u64, data_log_dir: count("logdir_size") as u64 };
    } else {
        let digests = pairs.iter().map(|(zxid, digest)| (hex(zxid), digest.parse::<i64>().unwrap() as u64));
        facts.writes.digests = digests.collect();
        facts.writes.digests.sort_unstable();
    }
    facts.server = Arc::new(server);
    facts
}

/// From `wchp`.
pub(crate) fn facts_from_watches(text: &str) -> Facts {
    let mut report = WatchReport::default();
    let mut path = String::new();
    for line in text.lines() {
        match line.strip_prefix('\t') {
            Some(session) => report.by_path.entry(path.clone()).or_default().push(SessionId(hex(session))),
            None => path = line.to_owned(),
        }
    }
    Facts { watch_counts: vec![counts(&report)], watches: vec![report], ..facts() }
}

/// What a shard with these watches counts.
pub(crate) fn counts(report: &WatchReport) -> WatchCounts {
    let mut watchers: Vec<SessionId> = report.by_path.values().flatten().copied().collect();
    let watches = watchers.len();
    watchers.sort_unstable();
    watchers.dedup();
    let hash = |path: &String| path.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(257).wrapping_add(byte.into()));
    WatchCounts { watchers: watchers.len(), watches, path_hashes: report.by_path.keys().map(hash).collect() }
}
