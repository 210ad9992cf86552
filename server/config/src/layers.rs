//! All sources brought into one row of entries, weakest first, under one name for each setting.
//!
//! Here is decided which settings were meant, not what their values mean.

use crate::environment::{is_service_link, variable};
use crate::honoured::{self, Place, SETTINGS};
use crate::invocation::{Start, key_and_value};
use crate::membership;
use crate::properties;
use crate::unhonoured;
use crate::values::trim;
use crate::{Invocation, Level, Problem, Source, Warning};

/// One setting, as one source made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it was made.
    pub source: Source,
    /// Its name in `zoo.cfg`.
    pub key: String,
    /// Its value, trimmed.
    pub value: String,
}

/// The entries, and what was noticed on the way.
#[derive(Default)]
pub struct Gathered {
    /// Weakest first; of one key several entries from different sources.
    pub entries: Vec<Entry>,
    /// What was wrong.
    pub problems: Vec<Problem>,
    /// What has no effect.
    pub warnings: Vec<Warning>,
}

/// Brings all sources together.
pub fn gather(invocation: &Invocation, file: Option<(&str, &[u8])>, environment: &[(String, String)]) -> Gathered {
    let mut gathered = Gathered::default();
    match &invocation.start {
        Start::Embedded => {}
        Start::File(_) => {
            if let Some((name, bytes)) = file {
                gathered.file(name, bytes);
            }
        }
        Start::Bare(arguments) => {
            let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
            for (index, (key, value)) in keys.into_iter().zip(arguments).enumerate() {
                gathered.add(Source::Argument(index + 1), key, value);
            }
        }
    }
    let flags = environment.iter().rev().find(|(name, _)| name == "SERVER_JVMFLAGS");
    for flag in flags.map_or("", |(_, flags)| flags).split_whitespace() {
        if let Some(define) = flag.strip_prefix("-D") {
            gathered.define(Source::JvmFlags, define);
        }
    }
    for define in &invocation.defines {
        gathered.define(Source::Define, define);
    }
    gathered.environment(environment);
    for set in &invocation.sets {
        match key_and_value(set) {
            Ok((key, value)) => gathered.set(key, value),
            Err(problem) => gathered.problems.push(problem),
        }
    }
    gathered
}

/// Whether any table knows the key.
fn is_known(key: &str) -> bool {
    honoured::find(key).is_some() || unhonoured::verdict(key, "").is_some() || membership::is_member_key(key)
}

impl Gathered {
    fn add(&mut self, source: Source, key: &str, value: &str) {
        self.entries.push(Entry { source, key: key.to_owned(), value: trim(value).to_owned() });
    }

    fn warn(&mut self, level: Level, source: Source, key: &str, message: impl Into<String>) {
        self.warnings.push(Warning { level, source, key: key.to_owned(), message: message.into() });
    }

    /// Adds a value that, if empty, takes back what weaker sources said.
    fn add_or_take_back(&mut self, source: Source, key: &str, value: &str) {
        if trim(value).is_empty() {
            self.entries.retain(|entry| entry.key != key);
        } else {
            self.add(source, key, value);
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) {
        let (pairs, malformed) = properties::parse(bytes);
        let source = |line| Source::File { name: name.to_owned(), line };
        for bad in malformed {
            self.problems.push(Problem::new(source(bad.line), None, None, format!("expected {}", bad.expected)));
        }
        for (index, pair) in pairs.iter().enumerate() {
            let key = trim(&pair.key);
            if let Some(later) = pairs[index + 1..].iter().find(|later| trim(&later.key) == key) {
                self.warn(Level::Warning, source(pair.line), key, format!("overridden by line {}", later.line));
                continue;
            }
            if let Some(place) = honoured::find(key).map(|setting| setting.place)
                && place == Place::Bare
            {
                let message = format!("taken from here, although ZooKeeper takes it only from -D{key}");
                self.warn(Level::Warning, source(pair.line), key, message);
            }
            if membership::number_expected(key).is_some() && !is_known(key) {
                let value = Some(pair.value.clone());
                self.problems.push(Problem::new(source(pair.line), Some(key.to_owned()), value, unknown(key)));
                continue;
            }
            if !is_known(key) {
                self.warn(Level::Warning, source(pair.line), key, format!("ignored: {}", unknown(key)));
                continue;
            }
            self.add(source(pair.line), key, &pair.value);
        }
    }

    fn define(&mut self, source: Source, define: &str) {
        let (name, value) = define.split_once('=').unwrap_or((define, ""));
        let (key, prefixed) = match name.strip_prefix("zookeeper.") {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        match (honoured::find(key).map(|setting| setting.place), prefixed) {
            (Some(Place::Either), _) | (Some(Place::Property), true) | (Some(Place::Bare | Place::Ours), false) => {
                self.add(source, key, value);
            }
            (Some(Place::Bare | Place::Ours), true) => {
                self.warn(
                    Level::Warning,
                    source.clone(),
                    name,
                    format!("taken as {key}, although ZooKeeper would not"),
                );
                self.add(source, key, value);
            }
            (Some(Place::File), _) => {
                let message = format!("ignored, as in ZooKeeper, where it is no system property; use --set {key}=…");
                self.warn(Level::Warning, source, name, message);
            }
            (Some(Place::Property), false) => {
                let message = format!("ignored, as in ZooKeeper; the system property is zookeeper.{key}");
                self.warn(Level::Warning, source, name, message);
            }
            (None, true) if is_known(key) => self.add(source, key, value),
            (None, true) => self.warn(Level::Warning, source, name, format!("ignored: {}", unknown(key))),
            (None, false) => match unhonoured::verdict_of_bare_property(name, value) {
                Some(unhonoured::Verdict::Warn(reason)) => self.warn(Level::Warning, source, name, reason),
                Some(_) => {}
                None => self.warn(Level::Note, source, name, "ignored: not a property of ZooKeeper"),
            },
        }
    }

    fn environment(&mut self, environment: &[(String, String)]) {
        for (name, value) in environment {
            if !name.starts_with("RINGKEEPER_") {
                continue;
            }
            let source = Source::Environment(name.clone());
            if is_service_link(name, value) {
                self.warn(Level::Note, source, name, "ignored: set by a container platform for a service of this name");
                continue;
            }
            let known = SETTINGS.iter().map(|setting| setting.name).chain(unhonoured::ROWS.iter().map(|row| row.name));
            let key = known.into_iter().find(|key| variable(key) == *name).map(str::to_owned);
            match key.or_else(|| member_key(name)) {
                Some(key) => self.add_or_take_back(source, &key, value),
                None => self.warn(Level::Warning, source, name, "ignored: there is no setting of this name"),
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let key = key.strip_prefix("zookeeper.").unwrap_or(key);
        if is_known(key) {
            self.add_or_take_back(Source::Set, key, value);
        } else {
            self.problems.push(Problem::new(Source::Set, Some(key.to_owned()), None, unknown(key)));
        }
    }
}

/// `RINGKEEPER_SERVER_1` and its like, of which there is no table.
fn member_key(variable: &str) -> Option<String> {
    let (kind, number) = variable.strip_prefix("RINGKEEPER_")?.split_once('_')?;
    let key = format!("{}.{number}", kind.to_ascii_lowercase());
    membership::is_member_key(&key).then_some(key)
}

/// What to say of a key that no table knows.
pub fn unknown(key: &str) -> String {
    let base = key.strip_prefix("zookeeper.").unwrap_or(key);
    if let Some(expected) = membership::number_expected(base) {
        return expected;
    }
    match SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(base)) {
        Some(meant) => format!("there is no setting of this name; the setting is {}", meant.name),
        None => "there is no setting of this name".to_owned(),
    }
}
