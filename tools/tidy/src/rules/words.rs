//! Words that must not be in the repository: marks of unfinished work, tests that are switched off, and paths of the
//! machines on which it was written.
//!
//! The words are put together from halves here, so that this file does not hold them.

use crate::{Repository, Violation};

/// Words that are not allowed in any text.
const PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "rk")];

/// Words that are not allowed in code.
const MARKS: [&str; 6] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("#[ig", "nore"),
    concat!("db", "g!("),
];

/// Kinds of files that are code.
const CODE: [&str; 6] = [".rs", ".toml", ".sh", ".py", ".java", ".c"];

/// Places where such words stand.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in &repository.files {
        let Some(text) = &file.text else { continue };
        let is_code = CODE.iter().any(|end| file.path.ends_with(end)) || !file.path.contains('.');
        for (index, line) in text.lines().enumerate() {
            // A path counts where it begins: "/a" + PATHS[0] is somebody else's path.
            let paths =
                PATHS.into_iter().filter(|path| begins(line, path, |before| "\"'`=:(, \t<>[{".contains(before)));
            let marks = MARKS.into_iter().filter(|mark| is_code && stands_alone(line, mark));
            for word in paths.chain(marks) {
                violations.push(Violation::at(format!("{}:{}", file.path, index + 1), format!("holds {word:?}")));
            }
        }
    }
    violations
}

fn begins(line: &str, word: &str, allowed: impl Fn(char) -> bool) -> bool {
    line.match_indices(word).any(|(at, _)| line[..at].chars().next_back().is_none_or(&allowed))
}

/// Whether a word is there that is not a part of a longer one.
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !line[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_')
            && (!word.ends_with(char::is_alphanumeric) || !after.is_some_and(char::is_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::made_up::of_files;
    use crate::rules::told;

    /// Judges one line of a file.
    fn found(path: &str, line: &str) -> Vec<String> {
        told(check(&of_files(&[(path, line)])))
    }

    #[test]
    fn unfinished_work_is_found_in_code_only() {
        for mark in MARKS {
            assert_eq!(
                found("engine/a/src/lib.rs", &format!("    {mark}")),
                [format!("engine/a/src/lib.rs:1: holds {mark:?}")]
            );
            assert_eq!(found("docs/a.md", mark), [] as [&str; 0]);
        }
        assert_eq!(found("a.sh", concat!("mktemp a.X", "XXXXX")), [] as [&str; 0]);
        assert_eq!(found("a.rs", concat!("my_db", "g!(x)")), [] as [&str; 0]);
    }

    #[test]
    fn paths_of_machines_are_found_everywhere() {
        for path in PATHS {
            assert_eq!(found("docs/a.md", &format!("see `{path}x`")).len(), 1);
            assert_eq!(found("a.rs", &format!("\"/other{path}x\"")), [] as [&str; 0]);
        }
    }
}
