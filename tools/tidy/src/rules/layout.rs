//! The top of the repository holds exactly what a visitor should see there.

use std::collections::BTreeSet;

use crate::{Repository, Violation};

/// What is there, besides dot-files.
const TOP: [&str; 10] =
    ["Cargo.toml", "Cargo.lock", "engine", "server", "bench", "tools", "docs", "README.md", "CHANGELOG.md", "LICENSE"];
/// The command that runs everything that guards the main branch.
const CHECK: &str = "check";

/// What is too much there, and what is missing.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let found: BTreeSet<&str> = repository
        .files
        .iter()
        .filter_map(|file| file.path.split('/').next())
        .filter(|top| !top.starts_with('.'))
        .collect();
    let wanted: BTreeSet<&str> = TOP.into_iter().chain([CHECK]).collect();
    let extra = found.difference(&wanted).map(|top| Violation::at(*top, "does not belong at the top"));
    let missing = wanted.difference(&found).map(|top| Violation::at(*top, "is missing at the top"));
    extra.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::{CHECK, TOP, check};
    use crate::repository::made_up::of_files;
    use crate::rules::told;

    #[test]
    fn top_holds_exactly_what_it_should() {
        let mut paths: Vec<String> = TOP.iter().map(|top| format!("{top}/x")).collect();
        paths.push(CHECK.to_owned());
        paths.push(".ci/run".to_owned());
        let files = |paths: &[String]| of_files(&paths.iter().map(|path| (path.as_str(), "")).collect::<Vec<_>>());
        assert_eq!(told(check(&files(&paths))), [] as [&str; 0]);
        paths.retain(|path| path != "README.md/x");
        paths.push("notes.txt".to_owned());
        assert_eq!(
            told(check(&files(&paths))),
            ["notes.txt: does not belong at the top", "README.md: is missing at the top"]
        );
    }
}
