//! From entries to a configuration: each value is read, then those that depend on each other are brought together.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::draft::Draft;
use crate::honoured;
use crate::layers::{Entry, Gathered, gather};
use crate::membership::is_member_key;
use crate::unhonoured::{self, Verdict};
use crate::{Config, Errors, Host, Invocation, Level, Problem, Sessions, Source, Start, Warning};

/// Reads a whole file: `myid`, or that of `dynamicConfigFile`. An error of kind `NotFound` says that there is none.
pub type Read<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// A configuration with which a server can start.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the operator should hear, in the order of sources.
    pub warnings: Vec<Warning>,
}

/// Brings all sources together.
///
/// `file` is the name and content of the file of [`Start::File`], which the caller has read (what to do if that fails:
/// [`Errors::unreadable`]); it is not looked at for other starts. `environment` is the whole environment of the process. `read` is
/// asked for the files that only the configuration names.
pub fn load(
    invocation: &Invocation,
    file: Option<(&str, &[u8])>,
    environment: &[(String, String)],
    read: Read<'_>,
) -> Result<Loaded, Errors> {
    if let (Start::File(path), None) = (&invocation.start, file) {
        return Err(Errors::unreadable(&path.display().to_string(), &"nobody read it"));
    }
    let Gathered { entries, problems, warnings } = gather(invocation, file, environment);
    let draft = match invocation.start {
        Start::Embedded => Draft::embedded(),
        Start::File(_) | Start::Bare(_) => Draft::of_installation(),
    };
    let whole = match file {
        Some((name, _)) if matches!(invocation.start, Start::File(_)) => Source::WholeFile(name.to_owned()),
        _ => Source::Default,
    };
    let has_file = matches!(invocation.start, Start::File(_));
    let mut loading = Loading { draft, entries, problems, warnings, whole, has_file, distributed: false };
    loading.read_values();
    loading.settle_membership(read);
    loading.tell_of_unhonoured();
    loading.settle();
    if loading.problems.is_empty() {
        Ok(Loaded { config: loading.draft.config, warnings: loading.warnings })
    } else {
        // By place in the file where there is one; otherwise as found.
        loading.problems.sort_by(|a, b| a.source.cmp(&b.source));
        Err(Errors(loading.problems))
    }
}

/// A configuration on its way.
pub struct Loading {
    /// The values so far.
    pub draft: Draft,
    /// What all sources say, weakest first.
    pub entries: Vec<Entry>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What the operator should hear.
    pub warnings: Vec<Warning>,
    /// To whom a missing setting is ascribed.
    pub whole: Source,
    /// Whether there is a configuration file. Without one a standalone server does not look for `myid`, as in ZooKeeper.
    pub has_file: bool,
    /// Whether this is a member of an ensemble, perhaps of one with problems.
    pub distributed: bool,
}

impl Loading {
    /// Reads every honoured entry; the strongest comes last and stays. Weaker ones are read too, because a wrong line in
    /// a file is wrong also on the day on which nothing hides it.
    fn read_values(&mut self) {
        for entry in &self.entries {
            let Some(setting) = honoured::find(&entry.key) else { continue };
            match (setting.set)(&mut self.draft, &entry.value) {
                Ok(None) => {}
                Ok(Some(message)) => self.warnings.push(Warning {
                    level: Level::Warning,
                    source: entry.source.clone(),
                    key: entry.key.clone(),
                    message,
                }),
                Err(message) => {
                    let value = Some(entry.value.clone()).filter(|_| !setting.secret);
                    self.problems.push(Problem::new(entry.source.clone(), Some(entry.key.clone()), value, message));
                }
            }
        }
    }

    /// Speaks about every setting that is known and not honoured; only its strongest value counts.
    fn tell_of_unhonoured(&mut self) {
        let unhonoured: BTreeMap<&str, &Entry> = self
            .entries
            .iter()
            .filter(|entry| honoured::find(&entry.key).is_none() && !is_member_key(&entry.key))
            .map(|entry| (entry.key.as_str(), entry))
            .collect();
        let mut unhonoured: Vec<&Entry> = unhonoured.into_values().collect();
        unhonoured.sort_by(|a, b| a.source.cmp(&b.source));
        for Entry { source, key, value } in unhonoured {
            let (level, message) = match unhonoured::verdict(key, value).map(|verdict| verdict.of(self.distributed)) {
                None | Some(Verdict::Quiet | Verdict::RefuseMember(_) | Verdict::WarnMember(_)) => continue,
                Some(Verdict::Warn(reason)) => (Level::Warning, reason),
                Some(Verdict::Note(reason)) => (Level::Note, reason),
                Some(Verdict::Refuse(reason)) => {
                    let message = reason.replace("<key>", key);
                    self.problems.push(Problem::new(source.clone(), Some(key.clone()), Some(value.clone()), message));
                    continue;
                }
            };
            self.warnings.push(Warning {
                level,
                source: source.clone(),
                key: key.clone(),
                message: message.to_owned(),
            });
        }
    }

    /// Brings together what depends on each other.
    fn settle(&mut self) {
        self.settle_directories();
        self.settle_listener();
        self.settle_sessions();
        self.settle_auth();
        let limits = &mut self.draft.config.limits;
        limits.packet_extra_bytes = self.draft.packet_extra_bytes.unwrap_or(limits.packet_bytes_max.max(1024));
    }

    fn settle_directories(&mut self) {
        match self.draft.data_dir.clone() {
            Some(directory) => {
                self.draft.config.data_log_dir = self.draft.data_log_dir.take().unwrap_or_else(|| directory.clone());
                self.draft.config.data_dir = directory;
            }
            None => self.missing("dataDir", "not set; expected the directory for snapshots"),
        }
    }

    fn settle_listener(&mut self) {
        match (self.draft.client_port, self.draft.client_host.take()) {
            (Some(port), host) => {
                self.draft.config.listen.port = port;
                self.draft.config.listen.host = host.unwrap_or(Host::Any);
            }
            (None, Some(_)) => {
                if let Some(entry) = self.entry("clientPortAddress").cloned() {
                    self.problems.push(problem_of(&entry, "clientPortAddress is set but clientPort is not".to_owned()));
                }
            }
            (None, None) => self.missing("clientPort", "not set; expected the port for clients"),
        }
    }

    fn settle_sessions(&mut self) {
        let tick_ms = self.draft.config.tick_time_ms;
        let timeout_min_ms = self.draft.timeout_min_ms.unwrap_or(tick_ms * 2);
        let timeout_max_ms = self.draft.timeout_max_ms.unwrap_or(tick_ms * 20);
        self.draft.config.sessions = Sessions { timeout_min_ms, timeout_max_ms };
        if timeout_min_ms > timeout_max_ms {
            let told = self.entry("minSessionTimeout").or_else(|| self.entry("maxSessionTimeout"));
            if let Some(entry) = told.cloned() {
                let origin = |set: bool, ticks| if set { String::new() } else { format!(", {ticks} × tickTime") };
                let message = format!(
                    "minSessionTimeout ({timeout_min_ms} ms{}) must not be larger than maxSessionTimeout \
                     ({timeout_max_ms} ms{})",
                    origin(self.draft.timeout_min_ms.is_some(), 2),
                    origin(self.draft.timeout_max_ms.is_some(), 20),
                );
                self.problems.push(problem_of(&entry, message));
            }
        }
    }

    fn settle_auth(&mut self) {
        // The one provider, besides the two that are always there, that is known by the name of its class.
        let provider = unhonoured::ENSEMBLE_PROVIDER;
        let auth = &mut self.draft.config.auth;
        auth.ensemble_scheme = self
            .entries
            .iter()
            .any(|entry| entry.key.starts_with("authProvider.") && entry.value.eq_ignore_ascii_case(provider));
        if !auth.ensemble_names.is_empty() && !auth.ensemble_scheme {
            let message = format!("no effect, as in ZooKeeper, without authProvider.1={provider}");
            if let Some(Entry { source, key, .. }) = self.entry("ensembleAuthName").cloned() {
                self.warnings.push(Warning { level: Level::Warning, source, key, message });
            }
        }
        if !self.draft.enforce_auth {
            return;
        }
        let schemes = std::mem::take(&mut self.draft.enforced_schemes);
        let Some(entry) = self.entry("enforce.auth.enabled").cloned() else { return };
        let auth = &self.draft.config.auth;
        let is_off = |scheme: &str| match scheme {
            "digest" => !auth.digest_enabled,
            "ensemble" => !auth.ensemble_scheme,
            _ => false,
        };
        let off = schemes.iter().find(|scheme| is_off(scheme)).cloned();
        if schemes.is_empty() {
            self.problems.push(problem_of(&entry, "enforce.auth.schemes must be set with it".to_owned()));
        } else if let Some(scheme) = off {
            self.problems.push(problem_of(&entry, format!("the scheme {scheme} is enforced, and it is not enabled")));
        } else {
            self.draft.config.auth.enforced_schemes = Some(schemes);
        }
    }

    /// The strongest entry for a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key == key)
    }

    /// A setting that somebody has to make. Not said of one that was made and could not be read.
    pub fn missing(&mut self, key: &str, message: &str) {
        if self.entry(key).is_none() {
            self.problems.push(Problem::new(self.whole.clone(), Some(key.to_owned()), None, message.to_owned()));
        }
    }
}

/// What is wrong with an entry.
pub fn problem_of(entry: &Entry, message: String) -> Problem {
    Problem::new(entry.source.clone(), Some(entry.key.clone()), Some(entry.value.clone()), message)
}
