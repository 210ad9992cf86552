//! The command line, and the plan that it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// The same loads on Java's ZooKeeper and on Ringkeeper, by turns: medians, ratios, and whether the bars are met.
#[derive(Parser, Debug)]
pub struct Args {
    /// Folder whose jars are Java's class path.
    #[arg(long, default_value = "target/suites/jars395")]
    pub java_jars: PathBuf,
    /// The Java program.
    #[arg(long, default_value = "java")]
    pub java: PathBuf,
    /// Heap of the Java server, from the start (-Xms) and at most (-Xmx).
    #[arg(long, default_value = "3G")]
    pub java_heap: String,
    /// Our program.
    #[arg(long, default_value = "target/release/ringkeeper")]
    pub ringkeeper: PathBuf,
    /// Where the servers' directories are made: a real disk [default: the folder for temporary files].
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// Only these; all otherwise.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Case>,
    /// Rounds; the figures are their medians.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Seconds of each measurement under load.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Seconds of load before each measurement.
    #[arg(long)]
    pub warm_up: Option<f64>,
    /// Seconds of each kind of load before the first round, for a server that compiles as it runs.
    #[arg(long)]
    pub prelude: Option<f64>,
    /// Znodes of memory, restart and snapshot.
    #[arg(long)]
    pub znodes: Option<usize>,
    /// Sessions that watch one znode.
    #[arg(long)]
    pub watchers: Option<usize>,
    /// Sessions that are opened at once.
    #[arg(long)]
    pub sessions: Option<usize>,
    /// Sessions that must survive a leader change.
    #[arg(long)]
    pub survivors: Option<usize>,
    /// Small numbers: shows that everything runs, and says nothing about speed.
    #[arg(long)]
    pub quick: bool,
    /// End with an error if a bar is missed.
    #[arg(long)]
    pub strict: bool,
    /// Write the page to this file instead of the standard output.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// Write everything, each round's figure included, to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Case {
    /// getData, 50 connections with 16 requests under way each.
    #[value(name = "get-50x16")]
    Get50x16,
    /// getData, 50 connections with one request each.
    #[value(name = "get-50x1")]
    Get50x1,
    /// getData, one client with one request.
    #[value(name = "get-1x1")]
    Get1x1,
    /// setData likewise.
    #[value(name = "set-50x16")]
    Set50x16,
    /// setData likewise.
    #[value(name = "set-50x1")]
    Set50x1,
    /// setData likewise.
    #[value(name = "set-1x1")]
    Set1x1,
    /// 80 getData to 20 setData.
    #[value(name = "mix-50x16")]
    Mix50x16,
    /// create and delete of a znode by turns.
    #[value(name = "churn-50x16")]
    Churn50x16,
    /// Many sessions watch one znode, and it changes.
    Watchers,
    /// Many sessions are opened at once.
    Sessions,
    /// Resident memory per znode.
    Memory,
    /// setData while a snapshot is written.
    Snapshot,
    /// From exec to the first answer.
    Restart,
    /// setData as in set-50x16, spread over the members of an ensemble of three.
    #[value(name = "trio-set-50x16")]
    TrioSet50x16,
    /// setData, one client of a follower with one request.
    #[value(name = "trio-set-1x1")]
    TrioSet1x1,
    /// From kill -9 of the leader to the next write.
    Failover,
    /// From the moment when the leader stands still (SIGSTOP), and its links stay open, to the next write.
    Silent,
    /// Sessions that come back after the leader was killed.
    Survivors,
    /// From exec of a follower with the large tree to its first session.
    Rejoin,
}

impl Case {
    /// Does it need the large tree?
    pub fn is_large(self) -> bool {
        matches!(self, Case::Memory | Case::Snapshot | Case::Restart)
    }

    /// Does it need ensembles?
    pub fn is_trio(self) -> bool {
        matches!(
            self,
            Case::TrioSet50x16 | Case::TrioSet1x1 | Case::Failover | Case::Silent | Case::Survivors | Case::Rejoin
        )
    }

    /// As on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A run, checked.
#[derive(Debug)]
pub struct Plan {
    /// How Java is started.
    pub java: PathBuf,
    /// Its class path.
    pub class_path: String,
    /// Its heap, as -Xmx takes it.
    pub heap: String,
    /// Our program.
    pub ringkeeper: PathBuf,
    /// Parent of the servers' directories.
    pub directory: PathBuf,
    cases: Vec<Case>,
    /// At least 1.
    pub rounds: usize,
    /// Of a measurement under load.
    pub measure: Duration,
    /// Before each.
    pub warm_up: Duration,
    /// Before all.
    pub prelude: Duration,
    /// In the large tree, at least 1000.
    pub znodes: usize,
    /// At least 1.
    pub watchers: usize,
    /// At least 1.
    pub sessions: usize,
    /// Sessions that must survive a leader change, at least 1.
    pub survivors: usize,
    /// Notifications per round.
    pub repetitions: usize,
    /// A snapshot is due after this many transactions at the latest; `None` is the servers' default.
    pub snap_count: Option<usize>,
}

impl Args {
    /// Checks the options and fills in what was left out.
    pub fn plan(&self) -> Result<Plan, String> {
        let choose = |given: Option<usize>, usual, quick| given.unwrap_or(if self.quick { quick } else { usual });
        let seconds = |name: &str, given: Option<f64>, usual, quick| {
            let seconds = given.unwrap_or(if self.quick { quick } else { usual });
            Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name} {seconds}: {error}"))
        };
        let at_least = |name: &str, least: usize, value: usize| match value {
            value if value < least => Err(format!("--{name} must be at least {least}")),
            value => Ok(value),
        };
        let jars = self.java_jars.canonicalize().map_err(|error| {
            format!("{}: {error}; tools/suites/oracle395.sh fetches the jars of 3.9.5", self.java_jars.display())
        })?;
        let ringkeeper = self
            .ringkeeper
            .canonicalize()
            .map_err(|error| format!("{}: {error}; build it with cargo build --release", self.ringkeeper.display()))?;
        Ok(Plan {
            // A bare name is looked for along the path; anything else is a file, whatever directory the server runs in.
            java: match self.java.components().count() {
                1 => self.java.clone(),
                _ => self.java.canonicalize().map_err(|error| format!("{}: {error}", self.java.display()))?,
            },
            class_path: format!("{}/*", jars.display()),
            heap: self.java_heap.clone(),
            ringkeeper,
            directory: self.directory.clone().unwrap_or_else(std::env::temp_dir),
            cases: match self.only.as_slice() {
                [] => Case::value_variants().to_vec(),
                only => only.to_vec(),
            },
            rounds: at_least("rounds", 1, choose(self.rounds, 5, 1))?,
            measure: seconds("seconds", self.seconds, 5.0, 0.3)?,
            warm_up: seconds("warm-up", self.warm_up, 1.0, 0.1)?,
            prelude: seconds("prelude", self.prelude, 10.0, 0.3)?,
            znodes: at_least("znodes", 1000, choose(self.znodes, 1_000_000, 5000))?,
            watchers: at_least("watchers", 1, choose(self.watchers, 1000, 50))?,
            sessions: at_least("sessions", 1, choose(self.sessions, 2000, 100))?,
            survivors: at_least("survivors", 1, choose(self.survivors, 5000, 60))?,
            repetitions: if self.quick { 2 } else { 10 },
            snap_count: self.quick.then_some(4000),
        })
    }
}

impl Plan {
    /// Is this case wanted?
    pub fn wants(&self, case: Case) -> bool {
        self.cases.contains(&case)
    }

    /// Is a case wanted that needs a small tree?
    pub fn small(&self) -> bool {
        self.cases.iter().any(|case| !case.is_large() && !case.is_trio())
    }

    /// Is a case wanted that needs ensembles?
    pub fn trio(&self) -> bool {
        self.cases.iter().any(|case| case.is_trio())
    }

    /// Is a case wanted that needs the large tree?
    pub fn large(&self) -> bool {
        self.cases.iter().any(|case| case.is_large())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_command_line_are_cases() {
        let args = Args::try_parse_from(["compare", "--only", "set-1x1,memory", "--only", "restart"]).unwrap();
        assert_eq!(args.only, [Case::Set1x1, Case::Memory, Case::Restart]);
        assert_eq!(Case::Churn50x16.name(), "churn-50x16");
        assert!(Args::try_parse_from(["compare", "--only", "set-2x2"]).is_err());
    }

    #[test]
    fn quick_changes_only_what_was_not_said() {
        let plan = |more: &[&str]| {
            let words = ["compare", "--java-jars", "/", "--ringkeeper", "/proc/self/exe"];
            Args::try_parse_from(words.iter().chain(more)).unwrap().plan()
        };
        let quick = plan(&["--quick", "--znodes", "7000"]).unwrap();
        assert_eq!((quick.znodes, quick.rounds), (7000, 1));
        assert_eq!(plan(&[]).unwrap().rounds, 5);
        assert!(plan(&["--rounds", "0"]).is_err());
        assert!(plan(&["--seconds=-1"]).is_err());
    }
}
