//! From entries to a configuration: each value is read, then those that depend on each other are brought together.

use std::collections::BTreeMap;

use crate::draft::Draft;
use crate::honoured;
use crate::layers::{Entry, Gathered, gather};
use crate::servers::{self, Member};
use crate::unhonoured::{self, Verdict};
use crate::{Config, Errors, Host, Invocation, Level, Problem, Sessions, Source, Start, Warning};

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
/// [`Errors::unreadable`]); it is not looked at for other starts. `environment` is the whole environment of the process.
pub fn load(
    invocation: &Invocation,
    file: Option<(&str, &[u8])>,
    environment: &[(String, String)],
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
    let mut loading = Loading { draft, entries, problems, warnings, whole };
    loading.read_values();
    loading.tell_of_unhonoured();
    loading.settle_membership();
    loading.settle();
    if loading.problems.is_empty() {
        Ok(Loaded { config: loading.draft.config, warnings: loading.warnings })
    } else {
        // By place in the file where there is one; otherwise as found.
        loading.problems.sort_by(|a, b| a.source.cmp(&b.source));
        Err(Errors(loading.problems))
    }
}

struct Loading {
    draft: Draft,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    /// To whom a missing setting is ascribed.
    whole: Source,
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
                Err(message) => self.problems.push(Problem {
                    source: entry.source.clone(),
                    key: Some(entry.key.clone()),
                    value: Some(entry.value.clone()).filter(|_| !setting.secret),
                    message,
                }),
            }
        }
    }

    /// Speaks about every setting that is known and not honoured; only its strongest value counts.
    fn tell_of_unhonoured(&mut self) {
        let unhonoured: BTreeMap<&str, &Entry> = self
            .entries
            .iter()
            .filter(|entry| honoured::find(&entry.key).is_none() && servers::id(&entry.key).is_none())
            .map(|entry| (entry.key.as_str(), entry))
            .collect();
        let mut unhonoured: Vec<&Entry> = unhonoured.into_values().collect();
        unhonoured.sort_by(|a, b| a.source.cmp(&b.source));
        for Entry { source, key, value } in unhonoured {
            let (level, message) = match unhonoured::verdict(key, value) {
                None | Some(Verdict::Quiet) => continue,
                Some(Verdict::Warn(reason)) => (Level::Warning, reason),
                Some(Verdict::Note(reason)) => (Level::Note, reason),
                Some(Verdict::Refuse(reason)) => {
                    self.problems.push(Problem {
                        source: source.clone(),
                        key: Some(key.clone()),
                        value: Some(value.clone()),
                        message: reason.replace("<key>", key),
                    });
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

    /// Tells a standalone server from an ensemble, as ZooKeeper does.
    fn settle_membership(&mut self) {
        let strongest: BTreeMap<&str, &Entry> = self
            .entries
            .iter()
            .filter(|entry| servers::id(&entry.key).is_some())
            .map(|entry| (entry.key.as_str(), entry))
            .collect();
        let mut members: Vec<(Entry, Member)> = Vec::new();
        for entry in strongest.into_values() {
            match servers::member(&entry.value) {
                Ok(member) => members.push((entry.clone(), member)),
                Err(message) => self.problems.push(problem_of(entry, message)),
            }
        }
        members.sort_by(|(a, _), (b, _)| a.source.cmp(&b.source));
        let participants = members.iter().filter(|(_, member)| member.participant).count();
        if !self.draft.standalone_enabled {
            let entry = self.entries.iter().rev().find(|entry| entry.key == "standaloneEnabled");
            if let Some(entry) = entry {
                let message = "ensembles are not built yet, not even of one member; expected true";
                self.problems.push(problem_of(entry, message.to_owned()));
            }
        }
        let Some((last, _)) = members.last() else { return };
        match participants {
            0 => self.problems.push(problem_of(last, "observers without participants are no ensemble".to_owned())),
            1 if members.len() == 1 => self.take_client_address(&members[0].0.clone(), &members[0].1.clone()),
            1 => self.problems.push(problem_of(last, "observers without an ensemble to observe".to_owned())),
            _ => {
                let message = format!(
                    "ensembles are not built yet, and this is member {} of {}; a standalone server has at most one \
                     server line",
                    members.len(),
                    members.len()
                );
                self.problems.push(problem_of(last, message));
            }
        }
    }

    /// Takes the client address of the only `server.N` line, unless it contradicts the rest of the file.
    fn take_client_address(&mut self, entry: &Entry, member: &Member) {
        let message = "there is one server line: the server is standalone".to_owned();
        let (source, key) = (entry.source.clone(), entry.key.clone());
        self.warnings.push(Warning { level: Level::Note, source, key, message });
        let Some((host, port)) = &member.client else { return };
        match (self.draft.client_port, &self.draft.client_host) {
            (Some(other), _) if other != *port => {
                let message = format!("the client port {port} contradicts clientPort ({other})");
                self.problems.push(problem_of(entry, message));
            }
            (Some(_), Some(other)) if other != host && *other != Host::Any => {
                let message = format!("the client address {host} contradicts clientPortAddress ({other})");
                self.problems.push(problem_of(entry, message));
            }
            _ => {
                self.draft.client_port = Some(*port);
                self.draft.client_host = Some(host.clone());
            }
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
    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key == key)
    }

    /// A setting that somebody has to make. Not said of one that was made and could not be read.
    fn missing(&mut self, key: &str, message: &str) {
        if self.entry(key).is_none() {
            self.problems.push(Problem {
                source: self.whole.clone(),
                key: Some(key.to_owned()),
                value: None,
                message: message.to_owned(),
            });
        }
    }
}

fn problem_of(entry: &Entry, message: String) -> Problem {
    Problem { source: entry.source.clone(), key: Some(entry.key.clone()), value: Some(entry.value.clone()), message }
}
