//! What operators write, and what comes of it. Golden texts: a changed message is a changed line here.

mod ensembles;
mod errors;
mod installations;
mod sources;

use std::io;
use std::path::Path;

use config::{Config, Errors, Invocation, Level, Loaded, load};

/// Loads what these arguments, this file `zoo.cfg` and this environment say.
fn load_all(arguments: &[&str], file: Option<&str>, environment: &[(&str, &str)]) -> Result<Loaded, Errors> {
    let arguments = arguments.iter().copied().chain(file.map(|_| "zoo.cfg"));
    let invocation = Invocation::parse(arguments).expect("arguments that can be parsed");
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    load(&invocation, file.map(|text| ("zoo.cfg", text.as_bytes())), &environment, &|_| {
        Err(io::ErrorKind::NotFound.into())
    })
}

/// Loads a file `zoo.cfg` on a machine that has these further files.
fn load_with(file: &str, further: &[(&str, &str)]) -> Result<Loaded, Errors> {
    let invocation = Invocation::parse(["zoo.cfg"]).expect("arguments that can be parsed");
    let read = |path: &Path| match further.iter().find(|(name, _)| Path::new(name) == path) {
        Some((_, text)) => Ok(text.as_bytes().to_vec()),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    };
    load(&invocation, Some(("zoo.cfg", file.as_bytes())), &[], &read)
}

/// The least that a file must say, with more lines after it.
fn with_minimum(lines: &str) -> String {
    format!("dataDir=/d\nclientPort=2181\n{lines}")
}

/// The configuration of a file that must load.
fn config_of(lines: &str) -> Config {
    match load_all(&[], Some(&with_minimum(lines)), &[]) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("{errors}"),
    }
}

/// The warnings of this level, one a line.
fn warnings_of(loaded: &Loaded, level: Level) -> Vec<String> {
    loaded.warnings.iter().filter(|warning| warning.level == level).map(ToString::to_string).collect()
}

/// What is wrong with the directory is said, with a status of its own, by whoever opens it.
#[test]
fn a_data_directory_that_is_no_directory_is_not_the_business_of_myid() {
    let invocation = Invocation::parse(["zoo.cfg"]).expect("arguments that can be parsed");
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::IsADirectory] {
        let file = with_minimum("");
        load(&invocation, Some(("zoo.cfg", file.as_bytes())), &[], &|_| Err(kind.into())).expect("a standalone server");
    }
    let file = with_minimum("");
    let denied = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
    load(&invocation, Some(("zoo.cfg", file.as_bytes())), &[], &denied)
        .expect_err("a file that is there must be right");
}
