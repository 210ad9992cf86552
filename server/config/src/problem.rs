//! What is told to the operator: errors, warnings, and where each came from.
//!
//! Everything here is a value with one printed form. Whether and where it is printed, and the end of the process, are
//! the binary's business.

use std::fmt;

use crate::ExitStatus;

/// Where a setting was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A line, counted from 1, of a configuration file.
    File {
        /// The file's name as the operator gave it.
        name: String,
        /// The line on which the key begins.
        line: u32,
    },
    /// A configuration file as a whole.
    WholeFile(String),
    /// A bare argument, counted from 1.
    Argument(usize),
    /// A `-D` argument.
    Define,
    /// A `-D` flag within the environment variable SERVER_JVMFLAGS.
    JvmFlags,
    /// An environment variable of this name.
    Environment(String),
    /// A `--set` argument.
    Set,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { name, line } => write!(f, "{name}:{line}"),
            Source::WholeFile(name) => f.write_str(name),
            Source::Argument(position) => write!(f, "argument {position}"),
            Source::Define => f.write_str("-D"),
            Source::JvmFlags => f.write_str("SERVER_JVMFLAGS"),
            Source::Environment(name) => f.write_str(name),
            Source::Set => f.write_str("--set"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// One reason for which the server does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the setting was made.
    pub source: Source,
    /// The setting, unless the problem is not about one.
    pub key: Option<String>,
    /// The value as given, unless there is none or it is a secret.
    pub value: Option<String>,
    /// What was expected, or why this cannot be.
    pub message: String,
    /// The status with which ZooKeeper ends for this reason.
    pub status: ExitStatus,
}

impl Problem {
    /// A problem with which the process ends as with nearly all of them: as an invalid invocation.
    pub fn new(source: Source, key: Option<String>, value: Option<String>, message: String) -> Problem {
        Problem { source, key, value, message, status: ExitStatus::InvalidInvocation }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key}={value}: {}", self.message),
            (Some(key), None) => write!(f, "{key}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

/// Everything that was wrong, at once, in the order of sources. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Problem>);

impl Errors {
    /// The error of a configuration file that could not be read.
    pub fn unreadable(name: &str, reason: &dyn fmt::Display) -> Errors {
        let message = format!("the configuration file cannot be read: {reason}");
        Errors(vec![Problem::new(Source::WholeFile(name.to_owned()), None, None, message)])
    }

    /// The status with which the process ends: "invalid invocation", unless every problem is one of those that ZooKeeper finds
    /// only later.
    pub fn exit_status(&self) -> ExitStatus {
        let mut found = self.0.iter().map(|problem| problem.status);
        found.find(|status| *status == ExitStatus::InvalidInvocation).unwrap_or_else(|| self.0[0].status)
    }
}

impl fmt::Display for Errors {
    /// One problem a line, without a line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// How loudly a warning should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of use only to somebody who looks for it; belongs in the log at debug level.
    Note,
    /// The operator's words do not have the effect that they have in ZooKeeper.
    Warning,
}

/// Something that the operator should know although the server starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// How loudly to tell it.
    pub level: Level,
    /// Where the setting was made.
    pub source: Source,
    /// The setting.
    pub key: String,
    /// What is done instead, and why. Never contains a secret.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.source, self.key, self.message)
    }
}
