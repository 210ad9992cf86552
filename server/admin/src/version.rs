//! The one line by which clients and dashboards learn what they talk to.
//!
//! Many of them parse it. kazoo takes the digits and dots at the start of `zookeeper.version` as the version to speak;
//! exporters cut `zk_version` at the first `-` or at `, built on `. So the line begins with the ZooKeeper release whose
//! behaviour we have, which is what such code wants to know, and the place of the revision names the server honestly:
//!
//! ```text
//! 3.9.5-ringkeeper-0.1.0, built on 2026-11-22 12:00 UTC
//! └─┬─┘ └──────┬───────┘           └────────┬─────────┘
//! contract   program                when it was built
//! ```

use std::fmt;

use proto::Millis;

use crate::java::Civil;

/// The ZooKeeper release whose behaviour is the contract.
const CONTRACT: &str = "3.9.5";

/// Displays as the text that stands behind `Zookeeper version: `.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Ringkeeper's own version, as `0.1.0`.
    pub ringkeeper: String,
    /// When the program was built, or the time of the revision that it was built from.
    pub built: Millis,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Civil::of(self.built);
        write!(f, "{CONTRACT}-ringkeeper-{}, built on ", self.ringkeeper)?;
        write!(f, "{:04}-{:02}-{:02} {:02}:{:02} UTC", at.year, at.month, at.day, at.hour, at.minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_begins_with_the_contract_and_names_the_program() {
        let version = Version { ringkeeper: "0.1.0".to_owned(), built: Millis(1_770_841_084_000) };
        assert_eq!(version.to_string(), "3.9.5-ringkeeper-0.1.0, built on 2026-02-11 20:18 UTC");
    }
}
