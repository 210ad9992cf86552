//! The ensemble's configuration: who is a member, where it listens, who votes, and what makes a quorum.
//!
//! It is a value: parsed from the text that the members tell each other, and printed as exactly the text that Java prints
//! (peer-protocol.md §10.1), so that both kinds of members find each other's configurations equal. What always holds: there is a voter,
//! every voter of a hierarchy is in a group, and every member has an address. Kept out: files, defaults of the rest
//! of the configuration, and what resolving a name would tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use proto::Sid;

use crate::effect::HostPort;

/// Whether a member votes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MemberRole {
    /// It votes.
    Participant,
    /// It only learns.
    Observer,
}

impl MemberRole {
    /// As `server.N` lines spell it.
    pub fn name(self) -> &'static str {
        match self {
            MemberRole::Participant => "participant",
            MemberRole::Observer => "observer",
        }
    }
}

/// One of the places where a member's peers can reach it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    /// Name or address, an IPv6 address without brackets and in Java's long form.
    pub host: String,
    /// Where learners connect to it when it leads.
    pub quorum_port: u16,
    /// Where it takes part in elections.
    pub election_port: u16,
}

/// What a `server.N` line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberAddress {
    /// At least one, in the order of their hosts.
    pub addresses: Vec<Address>,
    /// Whether it votes.
    pub role: MemberRole,
    /// Where clients connect to it, if the line says so.
    pub client: Option<HostPort>,
    /// Where clients connect to it by TLS, if the line says so. Java before 3.10 does not read such a line.
    pub secure: Option<HostPort>,
}

impl MemberAddress {
    /// Its places for elections.
    pub fn election(&self) -> Vec<HostPort> {
        let place = |address: &Address| HostPort { host: address.host.clone(), port: address.election_port };
        self.addresses.iter().map(place).collect()
    }

    /// Its places for learners.
    pub fn quorum(&self) -> Vec<HostPort> {
        let place = |address: &Address| HostPort { host: address.host.clone(), port: address.quorum_port };
        self.addresses.iter().map(place).collect()
    }
}

impl fmt::Display for MemberAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            let bar = if index == 0 { "" } else { "|" };
            write!(f, "{bar}{}:{}:{}", bracketed(&address.host), address.quorum_port, address.election_port)?;
        }
        write!(f, ":{}", self.role.name())?;
        if let Some(client) = &self.client {
            write!(f, ";{}:{}", bracketed(&client.host), client.port)?;
        }
        if let Some(secure) = &self.secure {
            let plain = if self.client.is_none() { ";" } else { "" };
            write!(f, "{plain};{}:{}", bracketed(&secure.host), secure.port)?;
        }
        Ok(())
    }
}

/// A host as it stands before a colon: an IPv6 address in brackets.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Which sets of voters are enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verifier {
    /// More than half of the voters.
    Majority {
        /// Who votes.
        voters: BTreeSet<Sid>,
    },
    /// More than half of the weight in each of more than half of the groups that have any weight.
    Hierarchical {
        /// The group and the weight of each server that is in a group.
        placed: BTreeMap<Sid, (i64, i64)>,
        /// Who votes; nobody else counts.
        voters: BTreeSet<Sid>,
        /// The weight of all that are in each group; a group without weight is absent.
        group_weights: BTreeMap<i64, i64>,
    },
}

impl Verifier {
    /// Whether these are enough. Who is no voter does not count.
    pub fn is_quorum(&self, acks: &BTreeSet<Sid>) -> bool {
        match self {
            Verifier::Majority { voters } => acks.intersection(voters).count() > voters.len() / 2,
            Verifier::Hierarchical { placed, voters, group_weights } => {
                let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
                for sid in acks.intersection(voters) {
                    if let Some(&(group, weight)) = placed.get(sid) {
                        *sums.entry(group).or_default() += weight;
                    }
                }
                let enough =
                    |(group, sum): (&i64, &i64)| group_weights.get(group).is_some_and(|whole| *sum > whole / 2);
                sums.iter().filter(|&pair| enough(pair)).count() > group_weights.len() / 2
            }
        }
    }

    /// What a server's vote weighs. One with no weight never leads.
    pub fn weight(&self, sid: Sid) -> i64 {
        match self {
            Verifier::Majority { .. } => 1,
            Verifier::Hierarchical { placed, .. } => placed.get(&sid).map_or(1, |&(_, weight)| weight),
        }
    }
}

/// The ensemble's configuration. See the module's page.
#[derive(Clone, Debug)]
pub struct QuorumView {
    members: BTreeMap<Sid, MemberAddress>,
    /// The group of each server that is in one; `None` without a hierarchy.
    groups: Option<BTreeMap<Sid, i64>>,
    /// Of every voter of a hierarchy, and of whoever else a line names.
    weights: BTreeMap<Sid, i64>,
    version: i64,
    voters: BTreeSet<Sid>,
    verifier: Verifier,
}

/// Java finds configurations equal if their versions are, or else if their members and weights are.
impl PartialEq for QuorumView {
    fn eq(&self, other: &QuorumView) -> bool {
        self.groups.is_some() == other.groups.is_some() && (self.version == other.version || self.same_members(other))
    }
}

impl Eq for QuorumView {}

impl QuorumView {
    /// A view of these members, by majority. An error says what is impossible about it.
    pub fn new(members: BTreeMap<Sid, MemberAddress>, version: i64) -> Result<QuorumView, String> {
        QuorumView::checked(members, None, BTreeMap::new(), version)
    }

    /// Reads the text that [`QuorumView::to_text`] prints; lines may come in any order, empty ones and comments are passed over.
    pub fn parse(text: &str) -> Result<QuorumView, String> {
        let mut pairs = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| format!("{line:?} is not key=value"))?;
            pairs.push((key.trim(), value.trim()));
        }
        QuorumView::from_pairs(pairs)
    }

    /// The view that these settings describe: `server.N`, `group.N`, `weight.N` and `version`, and no other key.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<QuorumView, String> {
        let mut members = BTreeMap::new();
        let mut groups: BTreeMap<Sid, i64> = BTreeMap::new();
        let mut weights = BTreeMap::new();
        let mut version = 0;
        let mut hierarchy = false;
        for (key, value) in pairs {
            if let Some(id) = key.strip_prefix("server.") {
                let sid = Sid(number(id, key)?);
                let member = parse_server(sid, value).map_err(|problem| format!("{key}={value}: {problem}"))?;
                if members.insert(sid, member).is_some() {
                    return Err(format!("{key} is given twice"));
                }
            } else if let Some(id) = key.strip_prefix("group.") {
                hierarchy = true;
                let group = number(id, key)?;
                for part in value.split(':') {
                    let sid = Sid(number(part, key)?);
                    if groups.insert(sid, group).is_some() {
                        return Err(format!("server {sid} is in several groups"));
                    }
                }
            } else if let Some(id) = key.strip_prefix("weight.") {
                hierarchy = true;
                let weight = number(value, key)?;
                // Sums of them must not overflow; Java's would.
                if !(0..=i64::from(i32::MAX)).contains(&weight) {
                    return Err(format!("{key}={value}: expected a weight of 0 to {}", i32::MAX));
                }
                weights.insert(Sid(number(id, key)?), weight);
            } else if key == "version" {
                version = i64::from_str_radix(value, 16)
                    .map_err(|_| format!("version={value}: expected a hexadecimal number"))?;
            } else {
                return Err(format!("{key} does not belong into the configuration of an ensemble"));
            }
        }
        QuorumView::checked(members, hierarchy.then_some(groups), weights, version)
    }

    fn checked(
        members: BTreeMap<Sid, MemberAddress>,
        groups: Option<BTreeMap<Sid, i64>>,
        mut weights: BTreeMap<Sid, i64>,
        version: i64,
    ) -> Result<QuorumView, String> {
        let of = |role: MemberRole| move |(sid, member): (&Sid, &MemberAddress)| (member.role == role).then_some(*sid);
        let voters: BTreeSet<Sid> = members.iter().filter_map(of(MemberRole::Participant)).collect();
        if voters.is_empty() {
            return Err("no server is a participant".to_owned());
        }
        if let Some((sid, _)) = members.iter().find(|(_, member)| member.addresses.is_empty()) {
            return Err(format!("server {sid} has no address"));
        }
        let verifier = match &groups {
            None => Verifier::Majority { voters: voters.clone() },
            Some(groups) => {
                for sid in &voters {
                    if !groups.contains_key(sid) {
                        return Err(format!("server {sid} is in no group"));
                    }
                    weights.entry(*sid).or_insert(1);
                }
                let mut group_weights: BTreeMap<i64, i64> = BTreeMap::new();
                let mut placed = BTreeMap::new();
                for (&sid, &group) in groups {
                    // Java fails on a server in a group that neither votes nor has a weight; here it weighs nothing.
                    let weight = weights.get(&sid).copied().unwrap_or(0);
                    *group_weights.entry(group).or_default() += weight;
                    placed.insert(sid, (group, weight));
                }
                group_weights.retain(|_, weight| *weight > 0);
                if group_weights.is_empty() {
                    return Err("no group has any weight".to_owned());
                }
                Verifier::Hierarchical { placed, voters: voters.clone(), group_weights }
            }
        };
        Ok(QuorumView { members, groups, weights, version, voters, verifier })
    }

    /// The same, as another version.
    pub fn with_version(mut self, version: i64) -> QuorumView {
        self.version = version;
        self
    }

    /// The zxid of the transaction that made it what it is, 0 if none did.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Everybody.
    pub fn members(&self) -> &BTreeMap<Sid, MemberAddress> {
        &self.members
    }

    /// One of them.
    pub fn member(&self, sid: Sid) -> Option<&MemberAddress> {
        self.members.get(&sid)
    }

    /// Who votes.
    pub fn voters(&self) -> &BTreeSet<Sid> {
        &self.voters
    }

    /// Whether this one does.
    pub fn is_voter(&self, sid: Sid) -> bool {
        self.voters.contains(&sid)
    }

    /// Whether an oracle may let this server do without the other voter: there are two, it is one of them, and they count by majority.
    pub fn is_one_of_two(&self, sid: Sid) -> bool {
        self.has_two_voters() && self.is_voter(sid)
    }

    /// Whether the ensemble is one for which there are oracles.
    pub fn has_two_voters(&self) -> bool {
        self.voters.len() == 2 && matches!(self.verifier, Verifier::Majority { .. })
    }

    /// Who does not vote.
    pub fn observers(&self) -> impl Iterator<Item = Sid> {
        self.members.keys().copied().filter(|sid| !self.voters.contains(sid))
    }

    /// What makes a quorum.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The group of each server that is in one, if there is a hierarchy.
    pub fn groups(&self) -> Option<&BTreeMap<Sid, i64>> {
        self.groups.as_ref()
    }

    /// The weights of a hierarchy's servers.
    pub fn weights(&self) -> &BTreeMap<Sid, i64> {
        &self.weights
    }

    /// Whether the members, their groups and their weights are the same, whatever the versions. As for Java, hosts are the same in any
    /// case of their letters, and the TLS part does not matter.
    pub fn same_members(&self, other: &QuorumView) -> bool {
        let same_host = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let same_address = |(a, b): (&Address, &Address)| {
            same_host(&a.host, &b.host) && (a.quorum_port, a.election_port) == (b.quorum_port, b.election_port)
        };
        let same_client = |a: &Option<HostPort>, b: &Option<HostPort>| match (a, b) {
            (Some(a), Some(b)) => same_host(&a.host, &b.host) && a.port == b.port,
            (a, b) => a.is_none() && b.is_none(),
        };
        let same_member = |a: &MemberAddress, b: &MemberAddress| {
            a.role == b.role
                && a.addresses.len() == b.addresses.len()
                && a.addresses.iter().zip(&b.addresses).all(same_address)
                && same_client(&a.client, &b.client)
        };
        self.groups == other.groups
            && self.weights == other.weights
            && self.members.len() == other.members.len()
            && self.members.iter().all(|(sid, a)| other.members.get(sid).is_some_and(|b| same_member(a, b)))
    }

    /// The text that members tell each other and that `/zookeeper/config` holds: Java's, down to the order of its lines.
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for QuorumView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sid in as_java_orders(self.members.keys().map(|sid| sid.0)) {
            writeln!(f, "server.{sid}={}", self.members[&Sid(sid)])?;
        }
        if let Some(groups) = &self.groups {
            let sids = as_java_orders(groups.keys().map(|sid| sid.0));
            let numbers: BTreeSet<i64> = groups.values().copied().collect();
            for group in as_java_orders(numbers) {
                let of_group = sids.iter().filter(|&&sid| groups[&Sid(sid)] == group);
                let list: Vec<String> = of_group.map(i64::to_string).collect();
                writeln!(f, "group.{group}={}", list.join(":"))?;
            }
            for sid in as_java_orders(self.weights.keys().map(|sid| sid.0)) {
                writeln!(f, "weight.{sid}={}", self.weights[&Sid(sid)])?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

/// Reads the value of a `server.N` line. The error completes a sentence that names the line.
pub fn parse_server(sid: Sid, value: &str) -> Result<MemberAddress, String> {
    const EXPECTED: &str = "expected host:quorumPort:electionPort[:participant|observer][;[address:]clientPort]";
    let bad = || EXPECTED.to_owned();
    let mut parts = value.split(';').map(str::trim);
    let mut addresses = Vec::new();
    let mut role = None;
    for part in parts.next().unwrap_or("").split('|') {
        let (name, rest) = split_host(part.trim()).ok_or_else(bad)?;
        let host = host(name).ok_or_else(bad)?;
        let mut fields = rest.split(':');
        let quorum_port = port(fields.next()).ok_or_else(bad)?;
        let election_port = port(fields.next()).ok_or_else(bad)?;
        if quorum_port == election_port {
            return Err(format!("the quorum port and the election port of server {sid} must differ"));
        }
        let said = match fields.next() {
            None => None,
            Some(word) if word.eq_ignore_ascii_case("participant") => Some(MemberRole::Participant),
            Some(word) if word.eq_ignore_ascii_case("observer") => Some(MemberRole::Observer),
            Some(_) => return Err(bad()),
        };
        if fields.next().is_some() {
            return Err(bad());
        }
        if said.is_some() && role.is_some() && said != role {
            return Err(format!("the addresses of server {sid} have different roles"));
        }
        role = said.or(role);
        addresses.push(Address { host, quorum_port, election_port });
    }
    addresses.sort();
    addresses.dedup();
    let client = match parts.next() {
        None | Some("") => None,
        Some(text) => Some(client_place(text).ok_or_else(bad)?),
    };
    let secure = match parts.next() {
        None | Some("") => None,
        Some(text) => Some(client_place(text).ok_or_else(bad)?),
    };
    if parts.next().is_some() {
        return Err(bad());
    }
    Ok(MemberAddress { addresses, role: role.unwrap_or(MemberRole::Participant), client, secure })
}

/// `port` or `host:port`.
fn client_place(text: &str) -> Option<HostPort> {
    match split_host(text) {
        None => Some(HostPort { host: "0.0.0.0".to_owned(), port: port(Some(text))? }),
        Some((name, rest)) => Some(HostPort { host: host(name)?, port: port(Some(rest))? }),
    }
}

/// Splits a host, in brackets or without colons, from what follows its colon.
pub fn split_host(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']')?;
            Some((name, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

/// A name, or an address in the form in which Java prints it.
pub fn host(text: &str) -> Option<String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => return Some(address.to_string()),
        Ok(IpAddr::V6(address)) => {
            // Java takes an IPv4 address in IPv6 form for what it is.
            if let Some(address) = address.to_ipv4_mapped() {
                return Some(address.to_string());
            }
            return Some(address.segments().map(|segment| format!("{segment:x}")).join(":"));
        }
        Err(_) => {}
    }
    // Digits and dots alone are an address that went wrong, not a name.
    let is_name = text.len() <= 253
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    is_name.then(|| text.to_owned())
}

fn port(text: Option<&str>) -> Option<u16> {
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn number(text: &str, key: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("{key}: {text:?} is not a number"))
}

/// Numbers in the order in which Java's hash map would run through them: by slot of a table that doubles when it is three quarters full.
/// (Of several in one slot Java takes the one that was put in first; which that was cannot be known here.)
fn as_java_orders(numbers: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let mut numbers: Vec<i64> = numbers.into_iter().collect();
    let mut slots = 16;
    while numbers.len() * 4 > slots * 3 {
        slots *= 2;
    }
    let slot = |number: i64| {
        let hash = (number ^ (number as u64 >> 32) as i64) as u32;
        (hash ^ (hash >> 16)) as usize & (slots - 1)
    };
    numbers.sort_by_key(|&number| (slot(number), number));
    numbers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view(text: &str) -> QuorumView {
        QuorumView::parse(text).expect("a view")
    }

    fn set(sids: &[i64]) -> BTreeSet<Sid> {
        sids.iter().copied().map(Sid).collect()
    }

    const THREE: &str = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\nversion=0";

    #[test]
    fn a_text_reads_back_as_it_was() {
        let texts = [
            THREE,
            "server.1=zk1:2888:3888:participant;0.0.0.0:2181\nserver.2=zk2:2888:3888:observer\nversion=100000000",
            "server.1=[0:0:0:0:0:0:0:1]:2888:3888:participant;[0:0:0:0:0:0:0:0]:2181\nversion=a",
            "server.1=a:1:2|b:1:2:participant\nversion=0",
            "server.1=a:1:2:participant;;0.0.0.0:2281\nversion=0",
            "server.1=a:1:2:participant;10.0.0.1:1;10.0.0.1:2281\nversion=0",
            "server.1=a:1:2:participant\nserver.2=b:1:2:participant\ngroup.1=1\ngroup.2=2\nweight.1=1\nweight.2=3\nversion=0",
        ];
        for text in texts {
            assert_eq!(view(text).to_text(), text);
        }
    }

    #[test]
    fn what_a_line_leaves_out_is_printed() {
        let text = "version=ff\n\n# three\nserver.3 = [::1]:1:2:OBSERVER\nserver.1=b:1:2|a:3:4;2181\nserver.2=::ffff\n";
        assert!(QuorumView::parse(text).is_err(), "an IPv6 address needs brackets");
        let text = text.replace("server.2=::ffff", "server.2=[::ffff:10.0.0.1]:5:6:Participant");
        assert_eq!(
            view(&text).to_text(),
            "server.1=a:3:4|b:1:2:participant;0.0.0.0:2181\nserver.2=10.0.0.1:5:6:participant\n\
             server.3=[0:0:0:0:0:0:0:1]:1:2:observer\nversion=ff"
        );
    }

    #[test]
    fn lines_of_no_form_are_refused() {
        for bad in [
            "",
            "zk1",
            "zk1:2888",
            "zk1:2888:3888:leader",
            "zk1:2888:x",
            "zk1:2888:+3",
            "::1:2888:3888",
            "zk1:1:2;a:b",
            "[a:1:2",
            "zk 1:1:2",
            "1.2.3:1:2",
            "a:1:2:participant:x",
            "a:1:2;1;2;3",
        ] {
            let error = parse_server(Sid(1), bad).expect_err(bad);
            assert!(error.starts_with("expected host:quorumPort"), "{bad:?}: {error}");
        }
        assert!(parse_server(Sid(1), "a:1:1").is_err_and(|error| error.contains("must differ")));
        assert!(parse_server(Sid(1), "a:1:2:observer|b:1:2:participant").is_err_and(|error| error.contains("roles")));
    }

    #[test]
    fn impossible_configurations_are_refused() {
        for (text, why) in [
            ("version=0", "no server is a participant"),
            ("server.1=a:1:2:observer\nversion=0", "no server is a participant"),
            ("server.1=a:1:2\nserver.1=a:1:2", "twice"),
            ("server.x=a:1:2", "not a number"),
            ("server.1=a:1:2\nversion=0x", "hexadecimal"),
            ("server.1=a:1:2\nclientPort=1", "does not belong"),
            ("server.1=a:1:2\nnonsense", "key=value"),
            ("server.1=a:1:2\nserver.2=a:1:2\ngroup.1=1", "server 2 is in no group"),
            ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "several groups"),
            ("server.1=a:1:2\ngroup.1=1\nweight.1=0", "no group has any weight"),
            ("server.1=a:1:2\ngroup.1=1\nweight.1=-1", "expected a weight"),
        ] {
            let error = QuorumView::parse(text).expect_err(text);
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn more_than_half_of_the_voters_are_a_quorum() {
        let three = view(&format!("server.4=d:1:2:observer\n{THREE}"));
        assert_eq!(three.observers().collect::<Vec<_>>(), [Sid(4)]);
        let quorum = |sids: &[i64]| three.verifier().is_quorum(&set(sids));
        assert!(quorum(&[1, 2]) && quorum(&[1, 2, 3]) && quorum(&[1, 3, 4]));
        assert!(!quorum(&[]) && !quorum(&[3]));
        assert!(!quorum(&[1, 4, 9]), "observers and strangers do not count");
        let two = view("server.1=a:1:2\nserver.2=b:1:2");
        assert!(!two.verifier().is_quorum(&set(&[1])), "half is not enough");
    }

    #[test]
    fn a_hierarchy_needs_most_of_the_weight_in_most_of_the_groups_that_have_any() {
        let servers: String = (1..=9).map(|sid| format!("server.{sid}=a{sid}:1:2\n")).collect();
        let nine = view(&format!("{servers}group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9"));
        let quorum = |view: &QuorumView, sids: &[i64]| view.verifier().is_quorum(&set(sids));
        assert!(quorum(&nine, &[1, 2, 4, 5]), "four of nine are enough if they are placed well");
        assert!(!quorum(&nine, &[1, 2, 3, 4, 7]), "five of nine are not if they are placed badly");
        let weighted = view(&format!(
            "{servers}group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9\nweight.7=0\nweight.8=0\nweight.9=0\nweight.1=3"
        ));
        assert!(quorum(&weighted, &[1, 4, 5]), "three of five in group 1");
        assert!(!quorum(&weighted, &[1, 7, 8, 9]), "a group without weight is no group");
        assert_eq!(weighted.verifier().weight(Sid(7)), 0);
        assert_eq!(weighted.verifier().weight(Sid(1)), 3);
    }

    #[test]
    fn views_are_equal_by_version_or_by_members() {
        let three = view(THREE);
        let moved = view(&THREE.replace("c:1:2", "d:1:2"));
        assert_eq!(three, moved, "same version");
        assert!(!three.same_members(&moved));
        assert_ne!(three, moved.with_version(5));
        assert_eq!(three, view(&THREE.replace("c:1:2", "C:1:2")).with_version(5));
        assert_ne!(three, view(&THREE.replace("b:1:2:participant", "b:1:2:observer")).with_version(5));
        assert_ne!(three, view(&THREE.replace("b:1:2:participant", "b:1:2:participant;2181")).with_version(5));
    }

    #[test]
    fn large_ids_come_in_the_order_of_a_hash_map() {
        assert_eq!(as_java_orders([1, 2, 3, 15, 16, 17, 33]), [16, 1, 17, 33, 2, 3, 15]);
        assert_eq!(as_java_orders(1..=13), (1..=13).collect::<Vec<_>>());
        assert_eq!(as_java_orders([16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).last(), Some(&16), "of 32 slots");
    }

    /// A hierarchy of up to nine servers in up to four groups.
    fn hierarchies() -> impl Strategy<Value = QuorumView> {
        let server = (0..4i64, 0..4i64, proptest::bool::weighted(0.8));
        proptest::collection::vec(server, 1..9).prop_filter_map("somebody votes and weighs", |servers| {
            let mut pairs = Vec::new();
            for (index, (_, weight, votes)) in servers.iter().enumerate() {
                let sid = index + 1;
                let role = if *votes { "participant" } else { "observer" };
                pairs.push((format!("server.{sid}"), format!("h{sid}:1:2:{role}")));
                if *votes {
                    pairs.push((format!("weight.{sid}"), weight.to_string()));
                }
            }
            for group in 0..4 {
                let of =
                    |(index, server): (usize, &(i64, i64, bool))| (server.0 == group && server.2).then_some(index + 1);
                let sids: Vec<String> = servers.iter().enumerate().filter_map(of).map(|sid| sid.to_string()).collect();
                if !sids.is_empty() {
                    pairs.push((format!("group.{group}"), sids.join(":")));
                }
            }
            QuorumView::from_pairs(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))).ok()
        })
    }

    fn subset(view: &QuorumView, bits: u16) -> BTreeSet<Sid> {
        view.members().keys().copied().filter(|sid| bits >> sid.0 & 1 == 1).collect()
    }

    proptest! {
        #[test]
        fn two_quorums_of_a_hierarchy_have_a_voter_in_common(view in hierarchies(), a: u16, b: u16) {
            let (a, b) = (subset(&view, a), subset(&view, b));
            if view.verifier().is_quorum(&a) && view.verifier().is_quorum(&b) {
                prop_assert!(a.intersection(&b).any(|sid| view.is_voter(*sid)), "{view} {a:?} {b:?}");
            }
        }

        #[test]
        fn more_servers_never_unmake_a_quorum(view in hierarchies(), a: u16, b: u16) {
            let (small, large) = (subset(&view, a), subset(&view, a | b));
            prop_assert!(!view.verifier().is_quorum(&small) || view.verifier().is_quorum(&large), "{view}");
            prop_assert!(view.verifier().is_quorum(&subset(&view, u16::MAX)), "all of {view} are no quorum");
        }

        #[test]
        fn every_view_reads_back(view in hierarchies(), version in 0..i64::MAX) {
            let view = view.with_version(version);
            let again = QuorumView::parse(&view.to_text());
            prop_assert!(again.as_ref().is_ok_and(|again| again.same_members(&view) && again.version() == version), "{again:?}");
        }

        #[test]
        fn no_text_breaks_a_reader(text in "[a-z0-9.=:;|\\[\\]\n -]{0,60}", line in ".{0,30}") {
            let _ = QuorumView::parse(&text);
            let _ = QuorumView::parse(&format!("server.1={text}"));
            let _ = parse_server(Sid(1), &line);
        }
    }
}
