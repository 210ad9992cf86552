//! Who is in an ensemble, read from the configuration's text by the contract alone (peer-protocol.md §10.1), and what an operator
//! asks to be changed in it (client-protocol.md §9.7).
//!
//! The judge's own reading: nothing of the product's is used. Members are named by their numbers from zero, as machines are.

use std::collections::{BTreeMap, BTreeSet};

/// A configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    /// As the text says it.
    pub version: i64,
    /// Each member: does it vote?
    pub members: BTreeMap<usize, bool>,
    /// The whole text.
    pub text: String,
}

impl Membership {
    /// Reads a text.
    pub fn parse(text: &str) -> Option<Membership> {
        let mut read = Membership { text: text.to_owned(), ..Membership::default() };
        for line in text.lines() {
            let (key, value) = line.split_once('=')?;
            if key == "version" {
                read.version = i64::from_str_radix(value, 16).ok()?;
            } else {
                let sid: usize = key.strip_prefix("server.")?.parse().ok()?;
                let peers = value.split(';').next()?;
                read.members.insert(sid.checked_sub(1)?, !peers.ends_with(":observer"));
            }
        }
        Some(read)
    }

    /// Who votes.
    pub fn voters(&self) -> impl Iterator<Item = usize> {
        self.members.iter().filter(|(_, votes)| **votes).map(|(member, _)| *member)
    }

    /// Does this one vote?
    pub fn votes(&self, member: usize) -> bool {
        self.members.get(&member) == Some(&true)
    }

    /// Are more than half of the voters among these?
    pub fn is_majority(&self, of: &BTreeSet<usize>) -> bool {
        2 * self.voters().filter(|voter| of.contains(voter)).count() > self.voters().count()
    }
}

/// What is to be changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// Who is to be a member, or another kind of member, and does it vote?
    pub joining: BTreeMap<usize, bool>,
    /// Who is not to be a member any more.
    pub leaving: BTreeSet<usize>,
    /// Those who join are all that there are to be.
    pub whole: bool,
    /// The version that is to be changed, or −1.
    pub from: i64,
}

impl Change {
    /// What comes of it.
    pub fn of(&self, before: &BTreeMap<usize, bool>) -> BTreeMap<usize, bool> {
        let kept = |member: &usize| !self.whole && !self.leaving.contains(member);
        let mut after: BTreeMap<usize, bool> = before.clone().into_iter().filter(|(member, _)| kept(member)).collect();
        after.extend(&self.joining);
        after
    }

    /// The three texts of the request: who joins, who leaves, the whole.
    pub fn texts(&self) -> [Option<String>; 3] {
        let lines: Vec<String> = self.joining.iter().map(|(member, votes)| line(*member, *votes)).collect();
        let leaving: Vec<String> = self.leaving.iter().map(|member| (member + 1).to_string()).collect();
        let some = |list: Vec<String>| (!list.is_empty()).then(|| list.join(","));
        if self.whole { [None, None, some(lines)] } else { [some(lines), some(leaving), None] }
    }
}

/// The name of a member's machine.
pub fn host_name(member: usize) -> String {
    format!("n{}", member + 1)
}

/// A member's line in a configuration.
pub fn line(member: usize, votes: bool) -> String {
    let role = if votes { "participant" } else { "observer" };
    format!("server.{}={}:2888:3888:{role};0.0.0.0:2181", member + 1, host_name(member))
}

/// A configuration's text.
pub fn text(members: &BTreeMap<usize, bool>, version: i64) -> String {
    let lines: String = members.iter().map(|(member, votes)| line(*member, *votes) + "\n").collect();
    format!("{lines}version={version:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_it_was_written() {
        let members = BTreeMap::from([(0, true), (3, false), (4, true)]);
        let read = Membership::parse(&text(&members, 0x10_0000_0007)).expect("it can be read");
        assert_eq!((read.version, &read.members), (0x10_0000_0007, &members));
        assert!(!read.is_majority(&BTreeSet::from([0, 3])));
        assert!(read.is_majority(&BTreeSet::from([0, 4])));
    }

    #[test]
    fn a_change_keeps_whom_it_does_not_name() {
        let before = BTreeMap::from([(0, true), (1, true), (2, false)]);
        let change = Change { joining: [(2, true)].into(), leaving: [1].into(), whole: false, from: -1 };
        assert_eq!(change.of(&before), BTreeMap::from([(0, true), (2, true)]));
        assert_eq!(Change { whole: true, ..change }.of(&before), BTreeMap::from([(2, true)]));
    }
}
