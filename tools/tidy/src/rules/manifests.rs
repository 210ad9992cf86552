//! Every crate takes version, edition, lints and dependencies from the workspace, and is called as its folder.

use crate::{Repository, Violation};

/// Lines that every manifest has.
const INHERITED: [&str; 5] = [
    "version.workspace = true",
    "edition.workspace = true",
    "rust-version.workspace = true",
    "license.workspace = true",
    "publish.workspace = true",
];

/// Manifests that say something of their own.
pub fn check(repository: &Repository) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in &repository.crates {
        let path = format!("{}/Cargo.toml", member.folder);
        let Some(text) = repository.text(&path) else { continue };
        for line in INHERITED {
            if !text.lines().any(|found| found.trim() == line) {
                violations.push(Violation::at(&path, format!("lacks {line}")));
            }
        }
        if member.folder.rsplit('/').next() != Some(member.name.as_str()) {
            violations.push(Violation::at(&path, format!("is called {}, unlike its folder", member.name)));
        }
        let mut section = "";
        let mut has_lints = false;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.starts_with('[') {
                section = line;
            } else if section == "[lints]" && line == "workspace = true" {
                has_lints = true;
            } else if section.ends_with("dependencies]")
                && !line.is_empty()
                && !line.starts_with('#')
                && !line.contains("workspace = true")
            {
                let place = format!("{path}:{}", index + 1);
                violations.push(Violation::at(place, "a dependency is taken from the workspace: { workspace = true }"));
            }
        }
        if !has_lints {
            violations.push(Violation::at(&path, "lacks [lints] workspace = true"));
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

    const GOOD: &str = "[package]\nname = \"proto\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\n[lints]\n\
        workspace = true\n\n[dependencies]\n# why\nserde = { workspace = true }\n";

    fn repository(name: &str, manifest: &str) -> Repository {
        let files = of_files(&[("engine/proto/Cargo.toml", manifest)]).files;
        Repository { files, ..of_crates(&[(name, "engine/proto", &[], &[])]) }
    }

    #[test]
    fn good_manifest_passes() {
        assert_eq!(told(check(&repository("proto", GOOD))), [] as [&str; 0]);
    }

    #[test]
    fn own_versions_lints_dependencies_and_names_do_not() {
        let bad = GOOD
            .replace("version.workspace = true\nedition", "version = \"1.0.0\"\nedition")
            .replace("[lints]\nworkspace = true\n", "[lints.rust]\n")
            .replace("serde = { workspace = true }", "serde = \"1\"");
        assert_eq!(
            told(check(&repository("protocol", &bad))),
            [
                "engine/proto/Cargo.toml: lacks version.workspace = true",
                "engine/proto/Cargo.toml: is called protocol, unlike its folder",
                "engine/proto/Cargo.toml:13: a dependency is taken from the workspace: { workspace = true }",
                "engine/proto/Cargo.toml: lacks [lints] workspace = true",
            ]
        );
    }
}
