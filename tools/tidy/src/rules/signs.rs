//! Every file of Rust opens with a door sign: a `//!` that says what the room is for.

use crate::{Repository, Violation};

/// Files without one.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let signless = repository.rust().filter(|(_, text)| !has_sign(text));
    signless.map(|(path, _)| Violation::at(path, "opens without a door sign (//!)")).collect()
}

fn has_sign(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).skip_while(|line| line.is_empty());
    let first = match lines.next() {
        Some(shebang) if shebang.starts_with("#!") && !shebang.starts_with("#![") => {
            lines.find(|line| !line.is_empty()).unwrap_or("")
        }
        first => first.unwrap_or(""),
    };
    first.strip_prefix("//!").is_some_and(|sign| !sign.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::repository::made_up::of_files;
    use crate::rules::told;

    #[test]
    fn sign_is_the_first_thing_in_a_file() {
        let repository = of_files(&[
            ("engine/a/src/good.rs", "//! What it is for.\n"),
            ("engine/a/src/late.rs", "#![forbid(unsafe_code)]\n//! Too late.\n"),
            ("engine/a/src/none.rs", "fn main() {}\n"),
            ("engine/a/src/empty.rs", ""),
            ("engine/a/src/hollow.rs", "//!\n//! Nothing on the first line.\n"),
            ("engine/a/src/script.rs", "#!/usr/bin/env rust\n\n//! A script.\n"),
            ("engine/a/note.md", "no sign needed"),
        ]);
        assert_eq!(
            told(check(&repository)),
            [
                "engine/a/src/empty.rs: opens without a door sign (//!)",
                "engine/a/src/hollow.rs: opens without a door sign (//!)",
                "engine/a/src/late.rs: opens without a door sign (//!)",
                "engine/a/src/none.rs: opens without a door sign (//!)",
            ]
        );
    }
}
