//! From a deciding crate no library that runs tasks, opens sockets or reaches the machine can be reached, however far
//! down. Dependencies of tests are not looked at.

use std::collections::BTreeMap;

use crate::table::{self, Kind};
use crate::{Repository, Violation};

/// Names of libraries, and beginnings of names.
const BANNED: &[&str] = &[
    "actix*",
    "async-*",
    "axum*",
    "getrandom",
    "h2",
    "hyper*",
    "io-uring",
    "memmap2",
    "mio",
    "monoio",
    "nix",
    "notify",
    "polling",
    "quinn*",
    "rand",
    "rustix",
    "signal-hook*",
    "smol",
    "socket2",
    "tempfile",
    "tokio*",
    "ureq",
];

fn is_banned(name: &str) -> bool {
    BANNED.iter().any(|banned| match banned.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *banned,
    })
}

/// Deciding crates from which something banned can be reached, each with the way there.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in &repository.crates {
        if table::find(&member.name).is_none_or(|row| row.kind != Kind::Decides) {
            continue;
        }
        // Breadth first, so that the shortest way is told.
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([member.name.as_str()]);
        while let Some(name) = queue.pop_front() {
            for next in repository.normal_graph.get(name).into_iter().flatten() {
                if next == &member.name || came_from.contains_key(next.as_str()) {
                    continue;
                }
                came_from.insert(next, name);
                if is_banned(next) {
                    let way = way_to(next, &member.name, &came_from);
                    violations.push(Violation::at(&member.folder, format!("decides, and yet reaches {next}: {way}")));
                } else {
                    queue.push_back(next);
                }
            }
        }
    }
    violations
}

fn way_to(end: &str, start: &str, came_from: &BTreeMap<&str, &str>) -> String {
    let mut way = vec![end];
    while let Some(&before) = came_from.get(way[way.len() - 1])
        && way[way.len() - 1] != start
    {
        way.push(before);
    }
    way.reverse();
    way.join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::made_up::of_crates;
    use crate::rules::told;

    fn repository(edges: &[(&str, &[&str])]) -> Repository {
        let mut repository = of_crates(&[
            ("proto", "engine/proto", &[], &[]),
            ("auth", "server/auth", &[], &[]),
            ("uring", "engine/uring", &[], &[]),
        ]);
        for (name, uses) in edges {
            repository.normal_graph.insert(name.to_string(), uses.iter().map(ToString::to_string).collect());
        }
        repository
    }

    #[test]
    fn runtime_is_found_however_far_down() {
        let repository = repository(&[
            ("auth", &["proto", "digests"]),
            ("digests", &["helper", "auth"]),
            ("helper", &["tokio-util"]),
            ("uring", &["tokio-uring", "mio"]),
        ]);
        assert_eq!(
            told(check(&repository)),
            ["server/auth: decides, and yet reaches tokio-util: auth -> digests -> helper -> tokio-util"]
        );
    }

    #[test]
    fn plain_libraries_pass() {
        let repository = repository(&[("auth", &["proto", "sha1", "crossbeam"]), ("sha1", &["digest"])]);
        assert_eq!(told(check(&repository)), [] as [&str; 0]);
    }
}
