//! The repository as a value: its files and its crates. Reading it is here; judging it is in `rules`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};

/// What the rules look at.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// Every file that is tracked, or would be if it were added, sorted by path.
    pub files: Vec<File>,
    /// Every crate of the workspace.
    pub crates: Vec<Crate>,
    /// For every crate name in the resolved graph, the names that its normal dependencies resolve to, on this platform.
    pub normal_graph: BTreeMap<String, Vec<String>>,
    /// What the compiler says of its version.
    pub compiler: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path from the top of the repository.
    pub path: String,
    /// Its content, unless it is not text.
    pub text: Option<String>,
}

/// One crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its folder from the top of the repository.
    pub folder: String,
    /// What it declares to depend on: the name, and whether only its tests do.
    pub dependencies: Vec<(String, bool)>,
}

impl Repository {
    /// Files of a folder, or below it.
    pub fn below<'a>(&'a self, folder: &str) -> impl Iterator<Item = &'a File> {
        let start = format!("{folder}/");
        self.files.iter().filter(move |file| file.path.starts_with(&start))
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path)?.text.as_deref()
    }

    /// Files of Rust, with their texts.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
    }

    /// Reads the repository of which this is the top folder.
    pub fn read(root: &Path) -> Result<Repository, String> {
        let mut repository =
            Repository { files: read_files(root)?, compiler: read_compiler(root)?, ..Repository::default() };
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .features(CargoOpt::AllFeatures)
            .other_options(["--filter-platform".to_owned(), "x86_64-unknown-linux-gnu".to_owned()])
            .exec()
            .map_err(|error| format!("cargo metadata: {error}"))?;
        for package in metadata.workspace_packages() {
            let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
            let folder = folder.strip_prefix(&metadata.workspace_root).unwrap_or(folder).to_string();
            let dependencies = package
                .dependencies
                .iter()
                .map(|dependency| (dependency.name.to_string(), dependency.kind == DependencyKind::Development))
                .collect();
            repository.crates.push(Crate { name: package.name.to_string(), folder, dependencies });
        }
        let resolve = metadata.resolve.as_ref().ok_or("cargo metadata resolved nothing")?;
        for node in &resolve.nodes {
            // Two versions of one crate share an entry: whatever either reaches, the name reaches.
            let reached = repository.normal_graph.entry(metadata[&node.id].name.to_string()).or_default();
            for dependency in &node.deps {
                if dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                    reached.push(metadata[&dependency.pkg].name.to_string());
                }
            }
        }
        Ok(repository)
    }
}

fn read_compiler(root: &Path) -> Result<String, String> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler).arg("--version").current_dir(root).output();
    let output = output.map_err(|error| format!("rustc --version: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn read_files(root: &Path) -> Result<Vec<File>, String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git ls-files: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut paths: Vec<String> = output
        .stdout
        .split(|&byte| byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect();
    paths.sort();
    paths.dedup();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        // A file may be in the index and no longer on the disk.
        if let Ok(bytes) = std::fs::read(root.join(&path)) {
            files.push(File { path, text: String::from_utf8(bytes).ok() });
        }
    }
    Ok(files)
}

#[cfg(test)]
pub mod made_up {
    //! Repositories for the tests of rules.

    use super::*;

    /// A repository of these files.
    pub fn of_files(files: &[(&str, &str)]) -> Repository {
        let mut files: Vec<File> =
            files.iter().map(|&(path, text)| File { path: path.to_owned(), text: Some(text.to_owned()) }).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Repository { files, ..Repository::default() }
    }

    /// A repository of these crates: name, folder, normal dependencies, dependencies of tests.
    pub fn of_crates(crates: &[(&str, &str, &[&str], &[&str])]) -> Repository {
        let crates = crates
            .iter()
            .map(|&(name, folder, normal, tests)| Crate {
                name: name.to_owned(),
                folder: folder.to_owned(),
                dependencies: normal
                    .iter()
                    .map(|name| (name.to_string(), false))
                    .chain(tests.iter().map(|name| (name.to_string(), true)))
                    .collect(),
            })
            .collect();
        Repository { crates, ..Repository::default() }
    }
}
