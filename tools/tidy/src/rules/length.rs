//! A file of Rust holds one idea, and one idea seldom needs more lines than this.

use crate::exceptions::{LINES_MAX, LONG_FILES};
use crate::{Repository, Violation};

/// Files that are too long.
pub fn check(repository: &Repository) -> Vec<Violation> {
    check_except(repository, LINES_MAX, LONG_FILES)
}

fn check_except(repository: &Repository, lines_max: usize, listed: &[(&str, &str)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in repository.rust() {
        let lines = text.lines().count();
        let is_listed = listed.iter().any(|(long, _)| *long == path);
        if lines > lines_max && !is_listed {
            violations.push(Violation::at(path, format!("has {lines} lines, more than {lines_max}; split it")));
        } else if lines <= lines_max && is_listed {
            violations.push(Violation::at(path, "is listed as long in exceptions.rs, and is not"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::check_except;
    use crate::repository::made_up::of_files;
    use crate::rules::told;

    #[test]
    fn long_files_are_split_or_listed() {
        let repository = of_files(&[
            ("engine/a/src/long.rs", "//! 1\n2\n3\n4\n"),
            ("engine/a/src/listed.rs", "//! 1\n2\n3\n4\n"),
            ("engine/a/src/short.rs", "//! 1\n2\n3\n"),
            ("engine/a/src/shrunk.rs", "//! 1\n"),
            ("docs/long.md", "1\n2\n3\n4\n5\n"),
        ]);
        let listed = [("engine/a/src/listed.rs", "a table"), ("engine/a/src/shrunk.rs", "once a table")];
        assert_eq!(
            told(check_except(&repository, 3, &listed)),
            [
                "engine/a/src/long.rs: has 4 lines, more than 3; split it",
                "engine/a/src/shrunk.rs: is listed as long in exceptions.rs, and is not",
            ]
        );
    }
}
