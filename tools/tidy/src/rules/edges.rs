//! Crates depend on each other only as the table says.
//!
//! Dependencies of tests are freer: a test may use any crate but the binary's, except that the engine's tests know
//! nothing of the server either.

use crate::table::{self, Kind};
use crate::{Repository, Violation};

/// Edges that are not in the table, and crates that are not.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in &repository.crates {
        let Some(row) = table::find(&member.name) else {
            violations.push(Violation::at(&member.folder, "this crate has no row in tools/tidy/src/table.rs"));
            continue;
        };
        if row.folder != member.folder {
            violations.push(Violation::at(&member.folder, format!("the table has this crate in {}", row.folder)));
        }
        for (used, only_tests) in &member.dependencies {
            let is_ours = repository.crates.iter().any(|other| other.name == *used);
            let Some(used_row) = table::find(used).filter(|_| is_ours) else { continue };
            let allowed = if *only_tests {
                let engine_on_server = row.folder.starts_with("engine/") && used_row.folder.starts_with("server/");
                used_row.kind != Kind::Binary && !engine_on_server
            } else {
                row.may_use.contains(&used.as_str())
            };
            if !allowed {
                let tests = if *only_tests { " (for its tests)" } else { "" };
                let message = format!("may not depend on {used}{tests}; allowed are {}", row.may_use.join(", "));
                violations.push(Violation::at(&member.folder, message));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::repository::made_up::of_crates;
    use crate::rules::told;

    #[test]
    fn edges_of_the_table_pass() {
        let repository = of_crates(&[
            ("proto", "engine/proto", &["thiserror"], &[]),
            ("tree", "engine/tree", &["proto"], &["disk"]),
            ("disk", "engine/disk", &["proto"], &[]),
            ("client", "tools/client", &["proto"], &[]),
            ("wal", "engine/wal", &["proto"], &["client"]),
        ]);
        assert_eq!(told(check(&repository)), [] as [&str; 0]);
    }

    #[test]
    fn other_edges_do_not() {
        let repository = of_crates(&[
            ("proto", "engine/proto", &["tree"], &[]),
            ("tree", "engine/tree", &["proto"], &["sessions"]),
            ("sessions", "server/sessions", &["client"], &["ringkeeper"]),
            ("client", "tools/client", &[], &[]),
            ("ringkeeper", "server/ringkeeper", &[], &[]),
        ]);
        assert_eq!(
            told(check(&repository)),
            [
                "engine/proto: may not depend on tree; allowed are ",
                "engine/tree: may not depend on sessions (for its tests); allowed are proto",
                "server/sessions: may not depend on client; allowed are proto, host, pipeline",
                "server/sessions: may not depend on ringkeeper (for its tests); allowed are proto, host, pipeline",
            ]
        );
    }

    #[test]
    fn crates_have_a_row_and_live_where_it_says() {
        let repository = of_crates(&[("new", "engine/new", &[], &[]), ("proto", "server/proto", &[], &[])]);
        assert_eq!(
            told(check(&repository)),
            [
                "engine/new: this crate has no row in tools/tidy/src/table.rs",
                "server/proto: the table has this crate in engine/proto",
            ]
        );
    }
}
