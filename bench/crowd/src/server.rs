//! The server under test: a process of its own in a directory of its own, and what the kernel says about it.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Args;

/// How it is started.
pub struct Launch<'a> {
    args: &'a Args,
    settings: Vec<(String, String)>,
    descriptors: Option<u32>,
    address: &'static str,
}

impl<'a> Launch<'a> {
    /// On a free port of 127.0.0.1, without a limit of connections, with all four-letter words.
    pub fn new(args: &'a Args) -> Launch<'a> {
        let launch = Launch { args, settings: vec![], descriptors: None, address: "127.0.0.1" };
        launch.set("tickTime", 2000).set("maxClientCnxns", 0).set("4lw.commands.whitelist", "*")
    }

    /// A setting by ZooKeeper's name.
    pub fn set(mut self, key: &str, value: impl ToString) -> Launch<'a> {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.into(), value.to_string()));
        self
    }

    /// Open files at most.
    pub fn descriptors(mut self, limit: u32) -> Launch<'a> {
        self.descriptors = Some(limit);
        self
    }

    /// Another address to listen on.
    pub fn at(mut self, address: &'static str) -> Launch<'a> {
        self.address = address;
        self
    }

    /// Starts it in a new directory.
    pub fn start(self) -> io::Result<Server> {
        fs::create_dir_all(&self.args.dir)?;
        let dir = tempfile::Builder::new().prefix("crowd-").tempdir_in(&self.args.dir)?;
        self.start_in(dir)
    }

    /// Starts it on what another one left.
    pub fn start_in(self, dir: TempDir) -> io::Result<Server> {
        let port = client::free_port();
        let addr: SocketAddr = format!("{}:{port}", self.address).parse().expect("an address and a port");
        let config = dir.path().join("zoo.cfg");
        let data = fs::canonicalize(dir.path())?.join("data");
        fs::create_dir_all(&data)?;
        let mut text = format!("dataDir={}\nclientPort={port}\nclientPortAddress={}\n", data.display(), self.address);
        for (key, value) in &self.settings {
            text.push_str(&format!("{key}={value}\n"));
        }
        if self.args.java.is_none() && self.args.backend != "auto" {
            text.push_str(&format!("ringkeeper.backend={}\n", self.args.backend));
        }
        fs::write(&config, text)?;
        let mut words: Vec<String> = Vec::new();
        if let Some(jars) = &self.args.java {
            words.extend(["java", "-Xmx6g", "-Dzookeeper.admin.enableServer=false"].map(String::from));
            words.extend(
                self.settings.iter().filter(|(key, _)| key == "jute.maxbuffer").map(|(k, v)| format!("-D{k}={v}")),
            );
            words.extend(["-cp".into(), format!("{}/*", jars.display())]);
            words.push("org.apache.zookeeper.server.ZooKeeperServerMain".into());
        } else {
            words.push(fs::canonicalize(&self.args.ringkeeper)?.display().to_string());
        }
        words.push(config.display().to_string());
        let log = dir.path().join("said.log");
        let said = File::options().create(true).append(true).open(&log)?;
        let limit = self.descriptors.map_or(String::new(), |limit| format!("ulimit -n {limit}; "));
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{limit}exec \"$0\" \"$@\"")).args(&words);
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let began = Instant::now();
        let child = command.spawn()?;
        let mut server = Server { child, addr, log, dir: Some(dir), started_in: Duration::ZERO };
        while !client::four_letter(addr, "ruok").is_ok_and(|answer| answer == "imok") {
            if let Some(status) = server.child.try_wait()? {
                let said = fs::read_to_string(&server.log).unwrap_or_default();
                return Err(io::Error::other(format!("the server ended with {status}: {said}")));
            }
            if began.elapsed() > Duration::from_secs(300) {
                return Err(io::Error::other("the server does not serve"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        server.started_in = began.elapsed();
        Ok(server)
    }
}

/// A running server; killed when this is dropped.
pub struct Server {
    child: Child,
    /// Where it serves.
    pub addr: SocketAddr,
    /// From the start of the process to the first answer.
    pub started_in: Duration,
    log: PathBuf,
    dir: Option<TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Ends it by SIGTERM; its directory is left for the next.
    pub fn stop(mut self) -> io::Result<TempDir> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        self.child.wait()?;
        self.dir.take().ok_or_else(|| io::Error::other("a server has a directory"))
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// Is the process there?
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    /// The most that was ever resident since the last [`Server::forget_peak`], bytes.
    pub fn peak(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    /// The peak is what is resident now.
    pub fn forget_peak(&self) {
        // 5 resets the high-water mark (proc_pid_clear_refs); where that is forbidden the peak stays the older one.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// Processor time of all its threads that still live.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Open descriptors.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// Lines that it said and that contain `words`.
    pub fn said(&self, words: &str) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().lines().filter(|line| line.contains(words)).count()
    }

    /// Lines that it said.
    pub fn lines(&self) -> usize {
        self.said("")
    }

    /// What a four-letter word answers.
    pub fn word(&self, word: &str) -> io::Result<String> {
        client::four_letter(self.addr, word)
    }

    /// A metric of `mntr`.
    pub fn metric(&self, name: &str) -> io::Result<i64> {
        let text = self.word("mntr")?;
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("zk_{name}\t")));
        let number = value.and_then(|value| value.trim().parse::<f64>().ok());
        number.map(|number| number as i64).ok_or_else(|| io::Error::other(format!("mntr has no zk_{name}")))
    }

    /// Size of its files whose name begins so, bytes.
    pub fn files(&self, prefix: &str) -> (usize, u64) {
        let Some(dir) = &self.dir else { return (0, 0) };
        let entries = fs::read_dir(dir.path().join("data/version-2")).into_iter().flatten().flatten();
        let sizes = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        let sizes: Vec<u64> = sizes.filter_map(|entry| Some(entry.metadata().ok()?.len())).collect();
        (sizes.len(), sizes.iter().sum())
    }
}

/// Bytes as MB with one digit.
pub fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Waits until `holds`, at most `limit`; how long it took, or `None`.
pub fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let began = Instant::now();
    loop {
        if holds() {
            return Some(began.elapsed());
        }
        if began.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
