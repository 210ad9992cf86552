//! The command line.
//!
//! Read with the same forms as ZooKeeper's server: a file, or two to four bare arguments, or (Ringkeeper's own) nothing
//! at all; `-D` as Java takes it; `--set`. What the settings mean is not known here.

use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;

use crate::{Errors, ExitStatus, Problem, Source};

/// What the command line said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Where the configuration begins.
    pub start: Start,
    /// The texts `key=value` (or `key`, or `key=`) of all `-D`, in order.
    pub defines: Vec<String>,
    /// The texts `key=value` of all `--set`, in order.
    pub sets: Vec<String>,
}

/// Where the configuration begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With nothing: 127.0.0.1:2181 and `./data`.
    Embedded,
    /// With a file, which the caller reads and hands to [`load`](crate::load).
    File(PathBuf),
    /// With the bare arguments client port, data directory, tick time and connections per address: two to four.
    Bare(Vec<String>),
}

/// The command line asks for something other than a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Print this and end well (`--help`, `--version`).
    Answer(String),
    /// The arguments are wrong: print this on standard error and end with the status of
    /// [`ExitStatus::InvalidInvocation`].
    Usage(String),
}

impl Refusal {
    /// The status with which the process ends.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Refusal::Answer(_) => ExitStatus::Finished,
            Refusal::Usage(_) => ExitStatus::InvalidInvocation,
        }
    }
}

/// A ZooKeeper-compatible server.
#[derive(Parser)]
#[command(
    name = "ringkeeper",
    version,
    override_usage = "ringkeeper [OPTIONS] [ZOO_CFG]\n       ringkeeper [OPTIONS] PORT DATADIR [TICKTIME] [MAXCNXNS]",
    after_help = "Without ZOO_CFG or PORT the server listens on 127.0.0.1:2181 and keeps its data in ./data.\n\
                  A setting is taken from, last to first: --set, RINGKEEPER_<KEY> in the environment, -D and \
                  SERVER_JVMFLAGS,\nthe file, the default. snapCount is RINGKEEPER_SNAP_COUNT there."
)]
struct Arguments {
    /// A configuration file; or a client port, a data directory, a tick in ms, and a limit of connections per address
    #[arg(value_name = "ARGUMENT", num_args = 0..=4)]
    bare: Vec<String>,
    /// Sets one key of the configuration; with nothing after the =, puts it back to its default
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Sets a system property, as for Java; those that are not ZooKeeper's are ignored
    #[arg(short = 'D', value_name = "PROPERTY=VALUE", allow_hyphen_values = true)]
    defines: Vec<String>,
}

impl Invocation {
    /// Reads the arguments after the program's name.
    pub fn parse<I, S>(arguments: I) -> Result<Invocation, Refusal>
    where
        I: IntoIterator<Item = S>,
        S: Into<std::ffi::OsString>,
    {
        let program = std::iter::once(std::ffi::OsString::from("ringkeeper"));
        let arguments = program.chain(arguments.into_iter().map(Into::into));
        let Arguments { mut bare, sets, defines } = Arguments::try_parse_from(arguments).map_err(|error| {
            let text = error.to_string();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Refusal::Answer(text),
                _ => Refusal::Usage(text),
            }
        })?;
        let start = match bare.len() {
            0 => Start::Embedded,
            1 => Start::File(PathBuf::from(bare.remove(0))),
            _ => Start::Bare(bare),
        };
        Ok(Invocation { start, defines, sets })
    }
}

/// Splits the text of a `--set`.
pub(crate) fn key_and_value(text: &str) -> Result<(&str, &str), Problem> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim(), value)),
        _ => Err(Problem::new(Source::Set, None, None, format!("expected key=value, not {text:?}"))),
    }
}

impl From<Errors> for Refusal {
    fn from(errors: Errors) -> Refusal {
        Refusal::Usage(errors.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Invocation, Refusal> {
        Invocation::parse(arguments)
    }

    #[test]
    fn bare_arguments_are_a_file_or_a_port_and_what_follows() {
        let start = |arguments| parse(arguments).map(|invocation| invocation.start);
        assert_eq!(start(&[]), Ok(Start::Embedded));
        assert_eq!(start(&["zoo.cfg"]), Ok(Start::File("zoo.cfg".into())));
        assert_eq!(start(&["2181", "/d"]), Ok(Start::Bare(vec!["2181".into(), "/d".into()])));
        assert_eq!(start(&["2181", "/d", "2000", "0"]).map(|start| matches!(start, Start::Bare(_))), Ok(true));
        assert!(matches!(start(&["2181", "/d", "2000", "0", "x"]), Err(Refusal::Usage(_))));
    }

    #[test]
    fn properties_are_attached_as_for_java() {
        let invocation = parse(&["-Dzookeeper.snapCount=5", "-Dx", "-Dy=", "zoo.cfg", "--set", "a=b", "--set=c="]);
        let invocation = invocation.expect("valid arguments");
        assert_eq!(invocation.defines, ["zookeeper.snapCount=5", "x", "y="]);
        assert_eq!(invocation.sets, ["a=b", "c="]);
    }

    #[test]
    fn help_and_version_end_well_and_nonsense_does_not() {
        let Err(Refusal::Answer(version)) = parse(&["--version"]) else { panic!("no version") };
        assert_eq!(version, concat!("ringkeeper ", env!("CARGO_PKG_VERSION"), "\n"));
        let Err(Refusal::Answer(help)) = parse(&["--help"]) else { panic!("no help") };
        assert!(help.contains("ringkeeper [OPTIONS] PORT DATADIR [TICKTIME] [MAXCNXNS]"), "{help}");
        for bad in [&["--nonsense"][..], &["--set"], &["-Xmx1g"]] {
            let refusal = parse(bad).expect_err("must be refused");
            assert_eq!(refusal.exit_status(), ExitStatus::InvalidInvocation);
        }
    }

    #[test]
    fn clap_finds_its_own_description_sound() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
