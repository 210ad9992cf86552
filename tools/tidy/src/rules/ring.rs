//! Exactly one crate names io_uring, also for its tests: the others speak to its safe types.

use crate::{Repository, Violation};

/// Crates that name it and should not.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let others = repository.crates.iter().filter(|member| member.name != "uring");
    others
        .flat_map(|member| {
            let names = member.dependencies.iter().map(|(name, _)| name.as_str());
            names
                .filter(|name| matches!(*name, "io-uring" | "tokio-uring" | "rio" | "glommio" | "monoio"))
                .map(|name| Violation::at(&member.folder, format!("names {name}; only engine/uring may")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::repository::made_up::of_crates;
    use crate::rules::told;

    #[test]
    fn only_one_crate_names_io_uring() {
        let repository = of_crates(&[
            ("uring", "engine/uring", &["io-uring", "tokio-uring"], &[]),
            ("disk", "engine/disk", &["rustix"], &["io-uring"]),
            ("admin", "server/admin", &["tokio-uring"], &[]),
        ]);
        assert_eq!(
            told(check(&repository)),
            [
                "engine/disk: names io-uring; only engine/uring may",
                "server/admin: names tokio-uring; only engine/uring may",
            ]
        );
    }
}
