//! A strict `clippy.toml` lies at the top of `engine` and of `server`, the same in both; a crate that acts carries its
//! own, which is how it says so. (Clippy takes the nearest file upwards from a crate's folder, and no other.)

use crate::table::{self, Kind};
use crate::{Repository, Violation};

const STRICT: [&str; 2] = ["engine/clippy.toml", "server/clippy.toml"];

/// Lists that are missing, differ, or stand where they should not.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    let [engine, server] = STRICT.map(|path| repository.text(path));
    for (path, text) in STRICT.into_iter().zip([engine, server]) {
        if text.is_none_or(|text| !text.contains("std::time::Instant::now")) {
            violations.push(Violation::at(path, "the strict list is missing"));
        }
    }
    if engine != server {
        violations.push(Violation::at(STRICT[1], format!("differs from {}", STRICT[0])));
    }
    for member in &repository.crates {
        let Some(row) = table::find(&member.name) else { continue };
        let product = matches!(row.kind, Kind::Decides | Kind::Acts | Kind::Binary);
        let lenient = row.kind != Kind::Decides || row.lenient_because.is_some();
        let path = format!("{}/clippy.toml", member.folder);
        match repository.text(&path) {
            None if product && lenient => violations.push(Violation::at(path, "acts, and so must carry its own list")),
            Some(_) if !lenient => violations.push(Violation::at(path, "decides, and so must not carry its own list")),
            _ => {}
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::Repository;
    use crate::repository::made_up::{of_crates, of_files};
    use crate::rules::told;

    fn repository(files: &[(&str, &str)]) -> Repository {
        let crates = of_crates(&[
            ("proto", "engine/proto", &[], &[]),
            ("queue", "engine/queue", &[], &[]),
            ("uring", "engine/uring", &[], &[]),
        ])
        .crates;
        Repository { crates, ..of_files(files) }
    }

    const STRICT: &str = "std::time::Instant::now";

    #[test]
    fn lists_are_where_they_should_be() {
        let good = [
            ("engine/clippy.toml", STRICT),
            ("server/clippy.toml", STRICT),
            ("engine/queue/clippy.toml", ""),
            ("engine/uring/clippy.toml", ""),
        ];
        assert_eq!(told(check(&repository(&good))), [] as [&str; 0]);
    }

    #[test]
    fn missing_different_and_misplaced_lists_are_told() {
        let bad = [("engine/clippy.toml", STRICT), ("engine/proto/clippy.toml", ""), ("engine/queue/clippy.toml", "")];
        assert_eq!(
            told(check(&repository(&bad))),
            [
                "server/clippy.toml: the strict list is missing",
                "server/clippy.toml: differs from engine/clippy.toml",
                "engine/proto/clippy.toml: decides, and so must not carry its own list",
                "engine/uring/clippy.toml: acts, and so must carry its own list",
            ]
        );
    }
}
