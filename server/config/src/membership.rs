//! Who belongs to the ensemble, which of them this server is, and whether it is one at all.
//!
//! The lines `server.N`, `group.N` and `weight.N` stand in the main file, or in that of `dynamicConfigFile`; `myid` says which N
//! this server is. The rules are those of ZooKeeper: one participant alone is a standalone server unless `standaloneEnabled` is
//! false. The grammar of the lines is that of [`quorum::view`], and nothing of it is repeated here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use proto::Sid;
use quorum::effect::HostPort;
use quorum::view::{MemberAddress, MemberRole, QuorumView, parse_server};

use crate::layers::Entry;
use crate::load::{Loading, Read, problem_of};
use crate::settings::Ensemble;
use crate::values::{host, trim};
use crate::{ExitStatus, Host, Level, Problem, Source, Warning, myid, properties, unhonoured};

/// Of server numbers above this TTL nodes leave no room in an `ephemeralOwner`.
const EXTENDED_ID_MAX: i64 = 0xfe;
/// A session's id has one byte for the server that made it.
const ID_MAX: i64 = 0xff;

/// Whether a key is `server.N`, `group.N` or `weight.N`.
pub fn is_member_key(key: &str) -> bool {
    number_of(key).is_some_and(|number| number.is_some())
}

/// What to say of a key that begins like one of members, and is none.
pub fn number_expected(key: &str) -> Option<String> {
    let told = unhonoured::verdict(key, "").is_some() || number_of(key)?.is_some();
    let prefix = key.split('.').next().unwrap_or(key);
    (!told).then(|| format!("expected {prefix}. and then a whole number, as in {prefix}.1"))
}

/// `None`: the key is of another kind; `Some(None)`: its number is none.
fn number_of(key: &str) -> Option<Option<i64>> {
    let text = ["server.", "group.", "weight."].iter().find_map(|prefix| key.strip_prefix(prefix))?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Some(if is_number { text.parse().ok() } else { None })
}

/// The lines about members, wherever they were found.
struct Lines {
    /// In the order of sources.
    entries: Vec<Entry>,
    /// Of the dynamic file; 0 without one.
    version: i64,
}

impl Loading {
    /// Tells a standalone server from a member of an ensemble, and reads what a member needs.
    pub fn settle_membership(&mut self, read: Read<'_>) {
        let problems = self.problems.len();
        let mut my_id = if self.has_file { self.read_my_id(read) } else { None };
        let Some(lines) = self.member_lines(read) else { return };
        let members = self.members(&lines);
        if self.problems.len() > problems {
            // What is missing or doubtful about the whole can be said when its lines can be read. It is an ensemble in any case if it has
            // several.
            self.distributed = members.len() > 1;
            return;
        }
        let count = |role| members.iter().filter(|(_, (_, member))| member.role == role).count();
        let (participants, observers) = (count(MemberRole::Participant), count(MemberRole::Observer));
        let last = lines.entries.last();
        match (participants, self.draft.standalone_enabled, last) {
            (0, false, _) => {
                let entry = self.entry("standaloneEnabled").cloned();
                let message = "an ensemble needs a participant; expected lines server.N, or true";
                self.problems.extend(entry.map(|entry| problem_of(&entry, message.to_owned())));
            }
            (0, true, Some(last)) if observers > 0 => {
                self.problems.push(problem_of(last, "observers without participants are no ensemble".to_owned()));
            }
            (0, true, Some(last)) => {
                let message = "no effect without lines server.N".to_owned();
                self.warn(Level::Warning, last, message);
            }
            (0, true, None) => {}
            (1, true, Some(last)) if observers > 0 => {
                let message = "observers without an ensemble to observe; one participant alone is a standalone server unless \
                               standaloneEnabled=false";
                self.problems.push(problem_of(last, message.to_owned()));
            }
            (1, true, _) => {
                if let Some((entry, member)) = members.into_values().next() {
                    self.warn(Level::Note, &entry, "there is one server line: the server is standalone".to_owned());
                    self.take_client_address(&entry, &member);
                }
            }
            _ => {
                self.distributed = true;
                if !self.has_file {
                    my_id = self.read_my_id(read);
                }
                self.settle_ensemble(lines, &members, my_id);
            }
        }
    }

    /// The number in `myid`, if there is such a file. One that is there must be right, also for a standalone server.
    fn read_my_id(&mut self, read: Read<'_>) -> Option<Sid> {
        let path = self.draft.data_dir.as_deref()?.join("myid");
        let message = match read(&path) {
            Ok(text) => match myid::my_id(&text) {
                Ok(id) => return Some(Sid(id)),
                Err(message) => message,
            },
            // ZooKeeper takes whatever is no file for none. That dataDir itself is a file is found when it is opened.
            Err(error) if is_no_file(&error) => return None,
            Err(error) => format!("the file cannot be read: {error}"),
        };
        self.problems.push(of_file(&path, message));
        None
    }

    /// The lines about members; `None` after a problem that leaves nothing to look at.
    fn member_lines(&mut self, read: Read<'_>) -> Option<Lines> {
        let strongest: BTreeMap<&str, &Entry> = self
            .entries
            .iter()
            .filter(|entry| is_member_key(&entry.key))
            .map(|entry| (entry.key.as_str(), entry))
            .collect();
        let mut entries: Vec<Entry> = strongest.into_values().cloned().collect();
        entries.sort_by(|a, b| a.source.cmp(&b.source));
        let Some(path) = self.draft.dynamic_file.clone() else { return Some(Lines { entries, version: 0 }) };
        for entry in &entries {
            let message = format!("expected in the file of dynamicConfigFile, {}, and not here", path.display());
            self.problems.push(problem_of(entry, message));
        }
        match read(&path) {
            Ok(text) => Some(self.dynamic_lines(&path, &text)),
            Err(error) => {
                let entry = self.entry("dynamicConfigFile").cloned();
                self.problems
                    .extend(entry.map(|entry| problem_of(&entry, format!("the file cannot be read: {error}"))));
                None
            }
        }
    }

    fn dynamic_lines(&mut self, path: &Path, text: &[u8]) -> Lines {
        let name = path.display().to_string();
        let (pairs, malformed) = properties::parse(text);
        let source = |line| Source::File { name: name.clone(), line };
        for bad in malformed {
            self.problems.push(Problem::new(source(bad.line), None, None, format!("expected {}", bad.expected)));
        }
        let mut entries = Vec::new();
        for (index, pair) in pairs.iter().enumerate() {
            let key = trim(&pair.key);
            let entry = Entry { source: source(pair.line), key: key.to_owned(), value: trim(&pair.value).to_owned() };
            if let Some(later) = pairs[index + 1..].iter().find(|later| trim(&later.key) == key) {
                self.warn(Level::Warning, &entry, format!("overridden by line {}", later.line));
            } else if is_member_key(key) {
                entries.push(entry);
            } else {
                let message = match (key, number_expected(key)) {
                    ("version", _) => "the version belongs into the name of the file, as in zoo.cfg.dynamic.100000000",
                    (_, Some(expected)) => &expected.clone(),
                    _ => "only lines server.N, group.N and weight.N belong into this file",
                };
                self.problems.push(problem_of(&entry, message.to_owned()));
            }
        }
        Lines { entries, version: version_of(&name) }
    }

    /// The members by number, each with its line. What is wrong with a line is said.
    fn members(&mut self, lines: &Lines) -> BTreeMap<Sid, (Entry, MemberAddress)> {
        let mut members: BTreeMap<Sid, (Entry, MemberAddress)> = BTreeMap::new();
        for entry in lines.entries.iter().filter(|entry| entry.key.starts_with("server.")) {
            let Some(Some(id)) = number_of(&entry.key) else { continue };
            let problem = match parse_server(Sid(id), &entry.value) {
                Err(message) => message,
                Ok(_) if members.contains_key(&Sid(id)) => format!("there is another line of server {id}"),
                Ok(member) if member.addresses.len() > 1 && !self.draft.several_addresses => {
                    "several addresses, as in ZooKeeper, need multiAddress.enabled=true".to_owned()
                }
                Ok(member) => {
                    members.insert(Sid(id), (entry.clone(), member));
                    continue;
                }
            };
            self.problems.push(problem_of(entry, problem));
        }
        members
    }

    fn settle_ensemble(&mut self, lines: Lines, members: &BTreeMap<Sid, (Entry, MemberAddress)>, my_id: Option<Sid>) {
        let problems = self.problems.len();
        let version = format!("{:x}", lines.version);
        let pairs = lines.entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
        let view = match QuorumView::from_pairs(pairs.chain([("version", version.as_str())])) {
            Ok(view) => Some(view),
            Err(message) => {
                // Groups and weights: the first line that has to do with them.
                let entry = lines.entries.iter().find(|entry| !entry.key.starts_with("server."));
                self.problems.extend(entry.or(lines.entries.last()).map(|entry| problem_of(entry, message)));
                None
            }
        };
        let id = self.settle_id(members, my_id);
        let init_limit_ticks = self.limit("initLimit", self.draft.init_limit_ticks);
        let sync_limit_ticks = self.limit("syncLimit", self.draft.sync_limit_ticks);
        let connect_limit_ticks = match self.draft.connect_limit_ticks {
            Some(_) => self.limit("connectToLearnerMasterLimit", self.draft.connect_limit_ticks),
            None => init_limit_ticks,
        };
        if self.problems.len() > problems {
            return;
        }
        let (Some(view), Some(id), Some(init_limit_ticks), Some(sync_limit_ticks), Some(connect_limit_ticks)) =
            (view, id, init_limit_ticks, sync_limit_ticks, connect_limit_ticks)
        else {
            // Not reached: each `None` has told why.
            return;
        };
        self.tell_of_doubts(&lines, members, &view);
        if let Some((entry, member)) = members.get(&id) {
            self.settle_role(member);
            self.take_client_address(&entry.clone(), &member.clone());
        }
        let mut election = self.draft.election;
        let tick_ms = self.draft.config.tick_time_ms;
        election.handshake_timeout_ms = self.draft.handshake_timeout_ms.unwrap_or(sync_limit_ticks * tick_ms);
        if election.notification_max_ms < election.notification_min_ms {
            let entry = self.entry("fastleader.minNotificationInterval");
            let entry = entry.or_else(|| self.entry("fastleader.maxNotificationInterval")).cloned();
            let message = format!(
                "minNotificationInterval ({} ms) must not be larger than maxNotificationInterval ({} ms)",
                election.notification_min_ms, election.notification_max_ms
            );
            self.problems.extend(entry.map(|entry| problem_of(&entry, message)));
        }
        self.draft.config.ensemble = Some(Ensemble {
            id,
            view,
            static_file: None,
            standalone_enabled: self.draft.standalone_enabled,
            dynamic_file: self.draft.dynamic_file.clone(),
            init_limit_ticks,
            sync_limit_ticks,
            connect_limit_ticks,
            connect_retry_ms: self.draft.connect_retry_ms,
            leader_serves: self.draft.leader_serves,
            oracle: self.draft.oracle.clone(),
            local_sessions: self.draft.local_sessions,
            election,
            wires: self.draft.wires,
            catch_up: self.draft.catch_up,
            observer_master: self.draft.observer_master,
        });
    }

    /// Which member this is.
    fn settle_id(&mut self, members: &BTreeMap<Sid, (Entry, MemberAddress)>, my_id: Option<Sid>) -> Option<Sid> {
        let path =
            self.draft.data_dir.as_deref().map_or_else(|| PathBuf::from("myid"), |directory| directory.join("myid"));
        let Some(id) = my_id else {
            // Without dataDir, or with a file that cannot be read, that is what is said.
            let told = self.draft.data_dir.is_none() || self.problems.iter().any(|problem| is_of_file(problem, &path));
            if !told {
                let message = "the file is missing; expected this server's number, the N of its server line";
                self.problems.push(of_file(&path, message.to_owned()));
            }
            return None;
        };
        let known: Vec<String> = members.keys().map(ToString::to_string).collect();
        let problem = match id.0 {
            _ if !members.contains_key(&id) => {
                let message =
                    format!("this server is number {id}, and the server lines are those of {}", known.join(", "));
                // ZooKeeper finds this when it has begun to start.
                Problem { status: ExitStatus::UnexpectedError, ..of_file(&path, message) }
            }
            id if self.draft.config.nodes.extended_types && id > EXTENDED_ID_MAX => {
                let message = format!("extendedTypesEnabled=true needs server numbers of at most {EXTENDED_ID_MAX}");
                of_file(&path, message)
            }
            id if id > ID_MAX => {
                let message = format!(
                    "server numbers above {ID_MAX} have no room in the ids of sessions, so that two servers could give the same \
                     id to two sessions"
                );
                of_file(&path, message)
            }
            _ => return Some(id),
        };
        self.problems.push(problem);
        None
    }

    /// A limit in ticks that must be there, and must fit.
    fn limit(&mut self, key: &str, ticks: Option<u32>) -> Option<u32> {
        let tick_ms = self.draft.config.tick_time_ms;
        let most = i32::MAX as u32 / tick_ms;
        let entry = self.entry(key).cloned();
        let message = match ticks {
            Some(ticks) if ticks <= most => return Some(ticks),
            Some(_) => format!("expected at most {most} ticks of {tick_ms} ms"),
            None => "expected at least 1 tick".to_owned(),
        };
        match entry {
            // What cannot be read at all has been told.
            Some(entry) if ticks.is_some() || entry.value.parse() == Ok(0) => {
                self.problems.push(problem_of(&entry, message))
            }
            Some(_) => {}
            None => self.missing(key, "not set; every member of an ensemble needs it"),
        }
        None
    }

    /// The role in the list counts.
    fn settle_role(&mut self, member: &MemberAddress) {
        let entry = self.entry("peerType").cloned();
        // Without a word in the file, an observer's line is enough, as in ZooKeeper, which warns of it.
        if let (Some(said), Some(entry)) = (self.draft.role, entry)
            && said != member.role
        {
            let message = format!("no effect: this server's line says {}", member.role.name());
            self.warn(Level::Warning, &entry, message);
        }
    }

    /// What is possible and seldom meant.
    fn tell_of_doubts(&mut self, lines: &Lines, members: &BTreeMap<Sid, (Entry, MemberAddress)>, view: &QuorumView) {
        let Some(last) = lines.entries.iter().rfind(|entry| entry.key.starts_with("server.")) else { return };
        let voters = view.voters().len();
        if view.has_two_voters() && self.draft.oracle.is_some() {
            // What else two do not survive, the oracle decides.
        } else if voters <= 2 {
            let message =
                format!("with {voters} participant{} no failure is survived; three survive one", plural(voters));
            self.warn(Level::Warning, last, message);
        } else if voters.is_multiple_of(2) {
            let message = format!("{voters} participants survive no more failures than {}", voters - 1);
            self.warn(Level::Warning, last, message);
        }
        if view.groups().is_some()
            && let Some(entry) = self.entry("oraclePath").cloned()
        {
            let message = "the oracle is never asked, because servers are in groups".to_owned();
            self.warn(Level::Warning, &entry, message);
        }
        let mut taken: BTreeMap<HostPort, Sid> = BTreeMap::new();
        for (id, (entry, member)) in members {
            let places: BTreeSet<HostPort> = member.quorum().into_iter().chain(member.election()).collect();
            for place in places {
                if let Some(other) = taken.insert(place.clone(), *id) {
                    let message = format!("{}:{} is also an address of server {other}", place.host, place.port);
                    self.warn(Level::Warning, entry, message);
                }
            }
        }
    }

    /// Takes the client address of this server's own line, unless it contradicts the rest of the file.
    fn take_client_address(&mut self, entry: &Entry, member: &MemberAddress) {
        if member.secure.is_some() {
            let message = "a TLS address for clients is given, and TLS is not built yet".to_owned();
            self.problems.push(problem_of(entry, message));
        }
        let Some(client) = &member.client else { return };
        let Ok(host) = host(&client.host) else { return };
        match (self.draft.client_port, &self.draft.client_host) {
            (Some(other), _) if other != client.port => {
                let message = format!("the client port {} contradicts clientPort ({other})", client.port);
                self.problems.push(problem_of(entry, message));
            }
            (Some(_), Some(other)) if *other != host && *other != Host::Any => {
                let message = format!("the client address {host} contradicts clientPortAddress ({other})");
                self.problems.push(problem_of(entry, message));
            }
            _ => {
                self.draft.client_port = Some(client.port);
                self.draft.client_host = Some(host);
            }
        }
    }

    fn warn(&mut self, level: Level, entry: &Entry, message: String) {
        self.warnings.push(Warning { level, source: entry.source.clone(), key: entry.key.clone(), message });
    }
}

fn of_file(path: &Path, message: String) -> Problem {
    Problem::new(Source::WholeFile(path.display().to_string()), None, None, message)
}

fn is_of_file(problem: &Problem, path: &Path) -> bool {
    problem.source == Source::WholeFile(path.display().to_string())
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The version at the end of a file's name, behind its last dot; 0 if that is no hexadecimal number.
fn version_of(name: &str) -> i64 {
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    if suffix.starts_with('+') { 0 } else { i64::from_str_radix(suffix, 16).unwrap_or(0) }
}

fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory)
}
