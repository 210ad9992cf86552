//! The two servers: how they are configured and started, what can be read of them from outside, and how they end.
//!
//! Each runs on fresh directories and a free port of 127.0.0.1, with what [`MANUAL`] says; both get the same zoo.cfg.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::ops::ControlFlow::{Break, Continue};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::{Session, four_letter};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tempfile::TempDir;

use crate::args::Plan;
use crate::figures::Who;
use crate::patience::{self, PAUSE};

/// What ZooKeeper's administrator's guide recommends, and how it is followed here.
pub const MANUAL: &[&str] = &[
    "The log apart from the snapshots (`dataLogDir`): a directory of its own for both servers. The guide wants a device of its own; \
     there is one disk here, for both servers.",
    "A heap that cannot swap: `-Xms` and `-Xmx` as the command below says, well below the machine's memory.",
    "`preAllocSize`, `snapCount`, `forceSync`, `globalOutstandingLimit` and the garbage collector: as they are by default.",
    "`maxClientCnxns=0`, because all load comes from one address (default: 60 connections per address).",
    "`clientPortListenBacklog` as it is by default: 50 for Java. Where more connect at once, Linux lets the rest try again after a second.",
    "Admin server off and no request log: nothing that costs. Java logs errors only, the guide's configuration logs more.",
    "The Java server is warmed up with every kind of load before anything is measured.",
];

/// A server process with its directories.
pub struct Server {
    who: Who,
    program: PathBuf,
    words: Vec<String>,
    address: SocketAddr,
    directory: TempDir,
    child: Option<Child>,
}

/// What the report says of a server.
#[derive(Debug, Serialize)]
pub struct Described {
    /// Name and version.
    pub version: String,
    /// What it runs on, if that is a program too.
    pub runtime: Option<String>,
    /// How it was started.
    pub command: String,
    /// Its configuration.
    pub configuration: String,
}

/// Java's and ours, by [`Who`].
pub struct Pair([Server; 2]);

impl Pair {
    /// Starts both; returns when both serve.
    pub fn start(plan: &Plan) -> Result<Pair, String> {
        let mut pair = [Server::new(plan, Who::Java)?, Server::new(plan, Who::Ringkeeper)?];
        for server in &mut pair {
            server.start()?;
        }
        Ok(Pair(pair))
    }

    /// One of them.
    pub fn get(&self, who: Who) -> &Server {
        &self.0[who as usize]
    }

    /// One of them, to stop and start it.
    pub fn get_mut(&mut self, who: Who) -> &mut Server {
        &mut self.0[who as usize]
    }

    /// What the report says of them.
    pub fn describe(&self) -> Result<[Described; 2], String> {
        Ok([self.0[0].describe()?, self.0[1].describe()?])
    }
}

impl Server {
    fn new(plan: &Plan, who: Who) -> Result<Server, String> {
        let told = |error: std::io::Error| format!("{}: {error}", plan.directory.display());
        let directory = tempfile::Builder::new().prefix("compare-").tempdir_in(&plan.directory).map_err(told)?;
        let address = SocketAddr::from(([127, 0, 0, 1], client::free_port()));
        for name in ["data", "log"] {
            fs::create_dir(directory.path().join(name)).map_err(told)?;
        }
        let here = directory.path().display().to_string();
        let snap_count = plan.snap_count.map_or_else(String::new, |count| format!("snapCount={count}\n"));
        let configuration = format!(
            "tickTime=2000\ndataDir={here}/data\ndataLogDir={here}/log\nclientPort={}\nclientPortAddress={}\n\
             maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr,mntr\n{snap_count}",
            address.port(),
            address.ip()
        );
        fs::write(directory.path().join("zoo.cfg"), configuration).map_err(told)?;
        let cfg = format!("{here}/zoo.cfg");
        let (program, words) = match who {
            Who::Java => {
                let heap = [format!("-Xms{}", plan.heap), format!("-Xmx{}", plan.heap)];
                let main = ["-cp".to_owned(), plan.class_path.clone(), JAVA_MAIN.to_owned(), cfg];
                (plan.java.clone(), heap.into_iter().chain(main).collect())
            }
            Who::Ringkeeper => (plan.ringkeeper.clone(), vec![cfg]),
        };
        Ok(Server { who, program, words, address, directory, child: None })
    }

    /// Starts the process; returns when a session was opened, with the time that it took.
    pub fn start(&mut self) -> Result<Duration, String> {
        self.start_until(|session| session.ping().map_err(|error| error.to_string()))
    }

    /// Starts the process; returns the time until a session was opened and `ask` was answered.
    pub fn start_until(&mut self, ask: impl Fn(&mut Session) -> Result<(), String>) -> Result<Duration, String> {
        let begun = Instant::now();
        let child = self.child.insert(spawn(&self.program, &self.words, self.directory.path())?);
        patience::until(PAUSE, || {
            let problem = match Session::open(self.address) {
                Ok(mut session) => match ask(&mut session) {
                    Ok(()) => {
                        let took = begun.elapsed();
                        let closed = session.close().map_err(|error| format!("{}: {error}", self.words.join(" ")));
                        return Break(closed.map(|()| took));
                    }
                    Err(problem) => problem,
                },
                Err(problem) => problem.to_string(),
            };
            let ended = matches!(child.try_wait(), Ok(Some(_)) | Err(_));
            if ended { Break(Err(problem)) } else { Continue(problem) }
        })
        .map_err(|problem| {
            let output = fs::read_to_string(self.directory.path().join("output")).unwrap_or_default();
            format!("{:?} does not serve: {problem}\n{output}", self.who)
        })
    }

    /// Ends the process the polite way.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        signal(&child, Signal::TERM);
        // One that does not end in time is killed.
        _ = patience::until_ok(|| match child.try_wait() {
            Ok(None) => Err(String::new()),
            _ => Ok(()),
        });
        _ = child.kill();
        _ = child.wait();
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process; none while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> Result<f64, String> {
        let file = format!("/proc/{}/status", self.pid().unwrap_or_default());
        let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        resident(&text).ok_or_else(|| format!("{file} does not tell VmRSS"))
    }

    /// Java's live objects after a full collection, bytes; nothing of a server that has no collector, or without `jcmd`.
    pub fn live_heap(&self) -> Option<f64> {
        if self.who != Who::Java {
            return None;
        }
        let output = Command::new("jcmd").arg(self.pid()?.to_string()).arg("GC.class_histogram").output().ok()?;
        live_heap(&String::from_utf8_lossy(&output.stdout))
    }

    /// A number that `mntr` shows.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        let text = four_letter(self.address, "mntr").map_err(|error| format!("mntr: {error}"))?;
        metric(&text, name).ok_or_else(|| format!("mntr of {:?} does not show {name}", self.who))
    }

    /// Names and lengths of snapshots that are written or being written.
    pub fn snapshot_files(&self) -> Result<BTreeMap<String, u64>, String> {
        let folder = self.directory.path().join("data/version-2");
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?.len()))
            })
            .filter(|(name, _)| name.contains("snapshot"))
            .collect())
    }

    fn describe(&self) -> Result<Described, String> {
        let text = four_letter(self.address, "srvr").map_err(|error| format!("srvr: {error}"))?;
        let version = text.lines().next().unwrap_or_default();
        let version = version.trim_start_matches("Zookeeper version: ").split(',').next().unwrap_or_default();
        let first_line = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
        let (name, runtime) = match self.who {
            Who::Java => {
                let output = Command::new(&self.program).arg("-version").output().map_err(|error| error.to_string())?;
                ("ZooKeeper", Some(first_line(&output.stderr)))
            }
            Who::Ringkeeper => ("Ringkeeper", None),
        };
        let configuration = fs::read_to_string(self.directory.path().join("zoo.cfg")).unwrap_or_default();
        let command = format!("{} {}", self.program.display(), self.words.join(" "));
        // As one types it in the checkout, and whatever the directory was called.
        let here = self.directory.path().display().to_string();
        let checkout = std::env::current_dir().map_err(|error| error.to_string())?.join("").display().to_string();
        let shown = |text: String| text.replace(&here, "DIRECTORY").replace(&checkout, "");
        let [configuration, command] = [configuration, command].map(shown);
        Ok(Described { version: format!("{name} {version}"), runtime, command, configuration })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a program in a directory; what it says stands in the file `output` there.
pub fn spawn(program: &Path, words: &[String], directory: &Path) -> Result<Child, String> {
    let log = File::options().create(true).append(true).open(directory.join("output"));
    let log = log.map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    Command::new(program)
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))
}

/// Sends a signal; one that has ended already does not hear it.
pub fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        _ = kill_process(pid, signal);
    }
}

/// Java's main class.
pub const JAVA_MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kib: f64| kib * 1024.0)
}

/// The last line of a class histogram is `Total <instances> <bytes>`.
fn live_heap(histogram: &str) -> Option<f64> {
    let line = histogram.lines().rev().find(|line| line.trim_start().starts_with("Total"))?;
    line.split_ascii_whitespace().nth(2)?.parse().ok()
}

fn metric(mntr: &str, name: &str) -> Option<f64> {
    mntr.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_where_servers_show_them() {
        assert_eq!(resident("Name:\tx\nVmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
        assert_eq!(resident("Name:\tx\n"), None);
        let histogram = " num #instances #bytes class\n   1:   10  480  [B\nTotal         10          480\n";
        assert_eq!(live_heap(histogram), Some(480.0));
        assert_eq!(live_heap("no such process\n"), None);
        let mntr = "zk_cnt_snapshottime_more\t9\nzk_cnt_snapshottime\t3\n";
        assert_eq!(metric(mntr, "zk_cnt_snapshottime"), Some(3.0));
        assert_eq!(metric(mntr, "zk_cnt"), None);
    }
}
