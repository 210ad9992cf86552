//! Tests do not sleep: a test that would need to has found a place where time is not yet an input. Suites that wait for
//! real processes are listed with their reason.

use crate::exceptions::SLEEPERS;
use crate::{Repository, Violation, source};

/// Tests that sleep.
pub fn check(repository: &Repository) -> Vec<Violation> {
    check_except(repository, SLEEPERS)
}

fn check_except(repository: &Repository, sleepers: &[(&str, &str)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut used = vec![false; sleepers.len()];
    for (path, text) in repository.rust() {
        for (number, line) in source::test_lines(path, text) {
            let sleeps = source::has_word(&line, "sleep") && line.contains("sleep(") && !line.contains("fn sleep(");
            if !sleeps && !source::has_word(&line, "thread::sleep") {
                continue;
            }
            match sleepers.iter().position(|(start, _)| path.starts_with(start)) {
                Some(listed) => used[listed] = true,
                None => {
                    violations.push(Violation::at(format!("{path}:{number}"), "a test sleeps; let time be an input"))
                }
            }
        }
    }
    for ((start, _), used) in sleepers.iter().zip(used) {
        if !used {
            violations.push(Violation::at(*start, "listed as a sleeper in exceptions.rs, and does not sleep"));
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
    fn sleeping_tests_are_found_and_listed_suites_are_not() {
        let repository = of_files(&[
            ("engine/a/src/lib.rs", "std::thread::sleep(d);\n#[cfg(test)]\nmod tests {\n    thread::sleep(d);\n}\n"),
            ("engine/a/tests/all.rs", "sleep(Duration::ZERO);\nasleep();\n// sleep()\n"),
            ("server/b/tests/kill.rs", "thread::sleep(d);\n"),
        ]);
        let sleepers = [("server/b/tests/", "real processes"), ("server/c/tests/", "gone")];
        assert_eq!(
            told(check_except(&repository, &sleepers)),
            [
                "engine/a/src/lib.rs:4: a test sleeps; let time be an input",
                "engine/a/tests/all.rs:1: a test sleeps; let time be an input",
                "server/c/tests/: listed as a sleeper in exceptions.rs, and does not sleep",
            ]
        );
    }
}
