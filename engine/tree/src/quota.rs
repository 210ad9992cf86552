//! Quotas (client-protocol.md §16): where their znodes are, what their text says, and the set of paths that have one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Root of the quota subtree.
pub const QUOTA: &str = "/zookeeper/quota";
/// Name of the znode that holds a quota's limits.
pub const LIMITS_NAME: &str = "zookeeper_limits";
/// Name of the znode that holds a quota's usage.
pub const STATS_NAME: &str = "zookeeper_stats";

/// What a quota allows. `None`: unset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Soft limit of znodes.
    pub count: Option<i64>,
    /// Soft limit of data bytes.
    pub bytes: Option<i64>,
    /// Hard limit of znodes.
    pub count_hard: Option<i64>,
    /// Hard limit of data bytes.
    pub bytes_hard: Option<i64>,
}

impl Limits {
    /// Reads the text of a limits znode. What is not understood counts as unset.
    pub fn parse(text: &[u8]) -> Limits {
        let track = Track::parse(text);
        let set = |value: i64| (value != -1).then_some(value);
        let extra = |key: &str| track.extra.get(key).and_then(|value| set(*value));
        Limits {
            count: set(track.count),
            bytes: set(track.bytes),
            count_hard: extra("countHardLimit"),
            bytes_hard: extra("byteHardLimit"),
        }
    }
}

/// What the subtree of a quota holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Znodes, the quota's own included.
    pub count: i64,
    /// Bytes of data.
    pub bytes: i64,
}

/// A quota as admission needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota<'t> {
    /// The path that has it.
    pub path: &'t str,
    /// From its limits znode.
    pub limits: Limits,
    /// From its stats znode; zero without one.
    pub usage: Usage,
}

/// The text of a limits or stats znode: −1 is unset, other keys are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Track {
    pub(crate) count: i64,
    pub(crate) bytes: i64,
    extra: BTreeMap<String, i64>,
}

impl Track {
    pub(crate) fn of(usage: Usage) -> Track {
        Track { count: usage.count, bytes: usage.bytes, extra: BTreeMap::new() }
    }

    pub(crate) fn parse(text: &[u8]) -> Track {
        let mut track = Track { count: -1, bytes: -1, extra: BTreeMap::new() };
        for pair in String::from_utf8_lossy(text).split([',', ';']) {
            let mut parts = pair.split('=');
            let (key, value) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let value = value.parse().unwrap_or(-1);
            match key {
                "" => {}
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                // Anybody may write this text: it is as long, and has as many keys, as a znode's data can hold.
                _ => drop(track.extra.insert(key.into(), value)),
            }
        }
        track
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        for (n, (key, value)) in self.extra.iter().enumerate() {
            // The extra sign keeps readers from before hard limits working.
            let sign = if n == 0 { "=" } else { "" };
            write!(text, "{sign};{key}={value}").expect("writing to a string succeeds");
        }
        text
    }
}

/// The paths that have limits; a quota on `/` is never consulted and not in here.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    paths: BTreeSet<Box<str>>,
}

impl Paths {
    pub(crate) fn add(&mut self, path: &str) {
        self.paths.insert(path.into());
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.paths.remove(path);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| &**path)
    }

    /// The deepest path with a quota that is `path` or above it.
    pub(crate) fn deepest(&self, path: &str) -> Option<&str> {
        if self.paths.is_empty() {
            return None;
        }
        let mut end = path.len();
        while end > 0 {
            if let Some(found) = self.paths.get(&path[..end]) {
                return Some(found);
            }
            end = path[..end].rfind('/')?;
        }
        None
    }
}

/// If `path` is named `name` and lies in the quota subtree: the path whose quota it belongs to, empty for the root.
pub(crate) fn subject<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let subject = path.strip_prefix(QUOTA)?.strip_suffix(name)?.strip_suffix('/')?;
    (subject.is_empty() || subject.starts_with('/')).then_some(subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_survives_and_keeps_its_extra_sign() {
        let text = "count=-1,bytes=-1=;byteHardLimit=100;countHardLimit=5";
        let limits = Limits::parse(text.as_bytes());
        assert_eq!(limits, Limits { count: None, bytes: None, count_hard: Some(5), bytes_hard: Some(100) });
        assert_eq!(Track::parse(text.as_bytes()).text(), text);
        assert_eq!(Track::parse(b"").text(), "count=-1,bytes=-1");
    }

    /// With a list instead of a map a megabyte of keys took a minute, at each write below the quota.
    #[test]
    fn a_text_of_many_keys_is_read_in_no_time_and_the_last_value_of_a_key_counts() {
        let mut text: String = (0..120_000).map(|n| format!("k{n}=1,")).collect();
        text.push_str("byteHardLimit=1,byteHardLimit=2");
        assert_eq!(Limits::parse(text.as_bytes()).bytes_hard, Some(2));
    }

    #[test]
    fn the_subject_of_a_quota_znode() {
        assert_eq!(subject("/zookeeper/quota/a/b/zookeeper_limits", LIMITS_NAME), Some("/a/b"));
        assert_eq!(subject("/zookeeper/quota/zookeeper_limits", LIMITS_NAME), Some(""));
        assert_eq!(subject("/zookeeper/quotas/zookeeper_limits", LIMITS_NAME), None);
        assert_eq!(subject("/a/zookeeper_limits", LIMITS_NAME), None);
    }

    #[test]
    fn the_deepest_quota_counts() {
        let mut paths = Paths::default();
        paths.add("/a");
        paths.add("/a/b/c");
        assert_eq!(paths.deepest("/a/b"), Some("/a"));
        assert_eq!(paths.deepest("/a/b/c"), Some("/a/b/c"));
        assert_eq!(paths.deepest("/a/b/c/d"), Some("/a/b/c"));
        assert_eq!(paths.deepest("/ab"), None);
        assert_eq!(paths.deepest("/"), None);
    }
}
