//! One file for each rule. A rule looks at the repository as a value and returns what is against it; it can be seen to
//! fail in its own tests.

pub mod edges;
pub mod layout;
pub mod length;
pub mod manifests;
pub mod purity;
pub mod ring;
pub mod signs;
pub mod sleeps;
pub mod strictness;
pub mod toolchain;
pub mod unsafety;
pub mod words;

use std::fmt;

use crate::Repository;

/// Something against a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file or folder, with the line where there is one.
    pub place: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Violation {
    /// A violation at this place.
    pub fn at(place: impl Into<String>, message: impl Into<String>) -> Violation {
        Violation { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that is against any rule, in order of place.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let rules = [
        edges::check,
        layout::check,
        length::check,
        manifests::check,
        purity::check,
        ring::check,
        signs::check,
        sleeps::check,
        strictness::check,
        toolchain::check,
        unsafety::check,
        words::check,
    ];
    let mut violations: Vec<Violation> = rules.iter().flat_map(|rule| rule(repository)).collect();
    violations.sort();
    violations
}

/// The violations of a rule on a made-up repository, as texts.
#[cfg(test)]
pub fn told(violations: Vec<Violation>) -> Vec<String> {
    violations.iter().map(ToString::to_string).collect()
}
