//! The compiler is the one for which the workspace is written. (The file with which rustup would pin it has no name that
//! begins with a dot, and the top of the repository is kept clear.)

use crate::{Repository, Violation};

/// A compiler of another release.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let manifest = repository.text("Cargo.toml").unwrap_or("");
    let pinned = manifest.lines().find_map(|line| line.trim().strip_prefix("rust-version = \"")?.strip_suffix('"'));
    let Some(pinned) = pinned else { return vec![Violation::at("Cargo.toml", "pins no rust-version")] };
    // "rustc 1.95.0 (59807616e 2026-04-14)"
    let release = repository.compiler.split_whitespace().nth(1).unwrap_or("");
    let is_it = release.strip_prefix(pinned).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if is_it {
        return Vec::new();
    }
    let message = format!("pins Rust {pinned}, and this is {release:?}; use the pinned one, or move the pin");
    vec![Violation::at("Cargo.toml", message)]
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::Repository;
    use crate::repository::made_up::of_files;
    use crate::rules::told;

    #[test]
    fn compiler_is_the_pinned_one() {
        let with = |compiler: &str| Repository {
            compiler: compiler.to_owned(),
            ..of_files(&[("Cargo.toml", "[workspace.package]\nrust-version = \"1.95\"\n")])
        };
        assert_eq!(told(check(&with("rustc 1.95.0 (59807616e 2026-04-14)"))), [] as [&str; 0]);
        let wrong = "Cargo.toml: pins Rust 1.95, and this is \"1.9.5\"; use the pinned one, or move the pin";
        assert_eq!(told(check(&with("rustc 1.9.5"))), [wrong]);
        assert_eq!(told(check(&of_files(&[]))), ["Cargo.toml: pins no rust-version"]);
    }
}
