//! Names of files in a log directory (disk-formats.md §1): which are logs, which are prepared segments.

use proto::Zxid;

/// What the names of prepared segments start with. ZooKeeper ignores them.
pub const PREPARED_PREFIX: &str = "ringkeeper-prepared.";

/// The name of a prepared segment.
pub fn prepared_name(number: u64) -> String {
    format!("{PREPARED_PREFIX}{number}")
}

/// The number in a name of a prepared segment.
pub fn parse_prepared(name: &str) -> Option<u64> {
    name.strip_prefix(PREPARED_PREFIX)?.parse().ok()
}

/// `log.<hex>` for a log that starts with `first`.
pub fn log_name(first: Zxid) -> String {
    format!("log.{:x}", first.0)
}

/// The zxid in a name `log.<hex>`, as ZooKeeper parses it: whatever follows a second dot is ignored.
pub fn parse_log(name: &str) -> Option<Zxid> {
    parse(name, "log")
}

/// The zxid in a name `<prefix>.<hex>[.…]`.
pub fn parse(name: &str, prefix: &str) -> Option<Zxid> {
    let mut parts = name.split('.');
    if parts.next() != Some(prefix) {
        return None;
    }
    i64::from_str_radix(parts.next()?, 16).ok().map(Zxid)
}

/// Is it a log of the name that we and ZooKeeper write, and not a copy like `log.1.bak`?
pub fn is_exact_log(name: &str) -> bool {
    parse_log(name).is_some_and(|zxid| log_name(zxid) == name)
}

/// All logs of a directory listing, oldest first.
pub fn logs(names: &[String]) -> Vec<(Zxid, String)> {
    let mut logs: Vec<_> = names.iter().filter_map(|name| Some((parse_log(name)?, name.clone()))).collect();
    logs.sort();
    logs
}

/// Of sorted logs, those needed to read from `from` on: all from the largest name ≤ `from`.
pub fn needed(logs: Vec<(Zxid, String)>, from: Zxid) -> Vec<(Zxid, String)> {
    let start = logs.iter().rev().find(|(zxid, _)| *zxid <= from).map_or(Zxid(i64::MIN), |(zxid, _)| *zxid);
    logs.into_iter().filter(|(zxid, _)| *zxid >= start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_zookeeper_does() {
        assert_eq!(parse_log("log.1f"), Some(Zxid(0x1f)));
        assert_eq!(parse_log("log.100000001"), Some(Zxid::new(1, 1)));
        for other in ["log", "log.", "log.x", "logs.1", "snapshot.1", "ringkeeper-prepared.0", "ringkeeper.lock"] {
            assert_eq!(parse_log(other), None, "{other}");
        }
        assert!(is_exact_log("log.1f") && !is_exact_log("log.1f.bak") && !is_exact_log("log.01"));
        assert_eq!(log_name(Zxid::new(2, 10)), "log.20000000a");
    }

    #[test]
    fn reading_starts_with_the_largest_name_not_beyond_the_zxid() {
        let names: Vec<String> = ["log.1", "log.a", "log.10", "snapshot.5"].map(String::from).to_vec();
        let firsts = |from| needed(logs(&names), Zxid(from)).iter().map(|(z, _)| z.0).collect::<Vec<_>>();
        assert_eq!(firsts(0), [1, 10, 16]);
        assert_eq!(firsts(9), [1, 10, 16]);
        assert_eq!(firsts(10), [10, 16]);
        assert_eq!(firsts(99), [16]);
    }
}
