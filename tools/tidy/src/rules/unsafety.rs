//! Unsafe code is only where the table gives a reason for it; everywhere else the compiler is told to forbid it.

use crate::source;
use crate::table::{self, Kind};
use crate::{Repository, Violation};

const FORBID: &str = "#![forbid(unsafe_code)]";

/// Unsafe code without a reason, missing orders to forbid it, and reasons without unsafe code.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in &repository.crates {
        let Some(row) = table::find(&member.name) else { continue };
        let mut found = None;
        for file in repository.below(&member.folder).filter(|file| file.path.ends_with(".rs")) {
            let lines = source::code_lines(file.text.as_deref().unwrap_or(""));
            for (number, line) in lines {
                if source::has_word(&line, "unsafe") {
                    found.get_or_insert_with(|| format!("{}:{number}", file.path));
                }
            }
        }
        match (row.unsafe_because, found) {
            (None, Some(place)) => {
                violations.push(Violation::at(place, "unsafe code, and the table gives this crate no reason for it"));
            }
            (Some(_), None) if row.kind == Kind::Decides => {
                let message = "the table gives a reason for unsafe code, and there is none";
                violations.push(Violation::at(&member.folder, message));
            }
            _ => {}
        }
        let root = format!("{}/src/lib.rs", member.folder);
        if row.kind == Kind::Decides && row.unsafe_because.is_none() {
            let forbids = repository.text(&root).is_some_and(|text| text.lines().any(|line| line.trim() == FORBID));
            if !forbids {
                violations.push(Violation::at(root, format!("decides, and so must say {FORBID}")));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::repository::made_up::{of_crates, of_files};
    use crate::rules::told;

    #[test]
    fn deciding_crates_forbid_unsafe_code_unless_they_have_a_reason() {
        let mut repository = of_crates(&[
            ("proto", "engine/proto", &[], &[]),
            ("auth", "server/auth", &[], &[]),
            ("queue", "engine/queue", &[], &[]),
            ("tree", "engine/tree", &[], &[]),
            ("disk", "engine/disk", &[], &[]),
            ("clients", "server/clients", &[], &[]),
        ]);
        repository.files = of_files(&[
            ("engine/proto/src/lib.rs", "//! x\n#![forbid(unsafe_code)]\n"),
            ("server/auth/src/lib.rs", "//! x\n"),
            ("engine/queue/src/lib.rs", "//! x\n// SAFETY: one writer\nunsafe impl Send for X {}\n"),
            ("engine/tree/src/lib.rs", "//! no unsafe code here\n"),
            ("engine/disk/src/lib.rs", "//! x\nlet map = unsafe { map() };\n"),
            ("server/clients/src/a.rs", "//! x\nfn unsafely() {}\n// unsafe { }\nunsafe fn f() {}\n"),
        ])
        .files;
        assert_eq!(
            told(check(&repository)),
            [
                "server/auth/src/lib.rs: decides, and so must say #![forbid(unsafe_code)]",
                "engine/tree: the table gives a reason for unsafe code, and there is none",
                "server/clients/src/a.rs:4: unsafe code, and the table gives this crate no reason for it",
            ]
        );
    }
}
