//! A server process under test: how it is started, what it says, and that it never outlives its test.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use client::{Options, Session};
use tempfile::TempDir;

/// Longer than any healthy server needs on a machine that is busy with something else.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// A directory that is removed at the end, on the disk of the build.
pub fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// A server to be started.
#[derive(Clone)]
pub struct Launch {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    working_dir: Option<PathBuf>,
    confine: Option<fn()>,
}

impl Launch {
    /// Without any argument.
    pub fn bare() -> Launch {
        Launch { arguments: vec![], environment: vec![], working_dir: None, confine: None }
    }

    /// On a free port of 127.0.0.1, with small log segments and all four-letter words.
    pub fn on(dir: &Path) -> Launch {
        Launch::bare().small().arg("0").arg(dir).set("clientPortAddress", "127.0.0.1")
    }

    /// Small log segments, and all four-letter words.
    pub fn small(self) -> Launch {
        self.set("preAllocSize", "1024").set("4lw.commands.whitelist", "*")
    }

    pub fn arg(mut self, argument: impl Into<OsString>) -> Launch {
        self.arguments.push(argument.into());
        self
    }

    pub fn set(self, key: &str, value: &str) -> Launch {
        self.arg("--set").arg(format!("{key}={value}"))
    }

    /// On this address, for a server that takes the place of another one.
    pub fn at(self, addr: SocketAddr) -> Launch {
        self.set("clientPort", &addr.port().to_string()).set("clientPortAddress", &addr.ip().to_string())
    }

    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts with this as the working directory.
    pub fn within(mut self, dir: &Path) -> Launch {
        self.working_dir = Some(dir.to_owned());
        self
    }

    /// Calls this in the new process just before it becomes the server; it may only call the system.
    pub fn confined(mut self, confine: fn()) -> Launch {
        self.confine = Some(confine);
        self
    }

    fn spawn(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("RINGKEEPER_") || matches!(&*text, "SERVER_JVMFLAGS" | "RUST_LOG") {
                command.env_remove(&name);
            }
        }
        command.envs(self.environment.iter().cloned());
        if let Some(dir) = &self.working_dir {
            command.current_dir(dir);
        }
        if let Some(confine) = self.confine {
            use std::os::unix::process::CommandExt;
            let confine = move || {
                confine();
                Ok(())
            };
            // SAFETY: what runs between fork and exec only makes system calls, as `confined` asks of it.
            unsafe { command.pre_exec(confine) };
        }
        command.spawn().expect("the server can be started")
    }

    /// Starts a server that must come to serve.
    pub fn start(&self) -> Server {
        let mut server = self.start_only();
        let line = server.log.wait_for("serving clients on ");
        let address = line.split("serving clients on ").nth(1).and_then(|rest| rest.split(',').next());
        let addr: SocketAddr = address.expect("an address").parse().expect("an address");
        // The wildcard address is no place to connect to.
        server.addr = if addr.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], addr.port())) } else { addr };
        server
    }

    /// Starts a server without waiting for anything.
    pub fn start_only(&self) -> Server {
        let mut child = self.spawn();
        let log = Log::follow(child.stderr.take().expect("piped"));
        Server { child, log, addr: SocketAddr::from(([0, 0, 0, 0], 0)) }
    }

    /// Starts a server at this address, on which nobody reads what it says.
    pub fn start_unheard(&self, addr: SocketAddr) -> Server {
        let mut child = self.clone().at(addr).spawn();
        drop(child.stderr.take());
        let server = Server { child, log: Log::follow(std::io::empty()), addr };
        until("it serves", || client::four_letter(addr, "ruok").is_ok_and(|answer| answer == "imok"));
        server
    }

    /// Starts a server that must end by itself.
    pub fn end(&self) -> Ended {
        let mut server = self.start_only();
        let status = server.wait();
        let mut stdout = String::new();
        server.child.stdout.take().expect("piped").read_to_string(&mut stdout).expect("text");
        Ended { status: status.code(), stdout, stderr: server.log.all() }
    }
}

/// A server that ended by itself.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Ended with this status, having said all of this on standard error.
    #[track_caller]
    pub fn check(&self, status: i32, said: &[&str]) {
        assert_eq!(self.status, Some(status), "{self:#?}");
        for words in said {
            assert!(self.stderr.contains(words), "not said: {words:?}\n{}", self.stderr);
        }
    }
}

/// A running server. It is killed when this is dropped.
pub struct Server {
    child: Child,
    pub log: Log,
    pub addr: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the server at {} said:\n{}---", self.addr, self.log.so_far());
        }
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that its threads have used so far, in ms.
    pub fn cpu_ms(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a process");
        let ns = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
            // A thread may end meanwhile. The first field is the time on a processor, in ns (proc_pid_schedstat).
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        tasks.filter_map(ns).sum::<u64>() / 1_000_000
    }

    /// A new session with ordinary options, and patience.
    pub fn session(&self) -> Session {
        self.session_of(10_000)
    }

    /// A new session with this wanted timeout.
    pub fn session_of(&self, timeout_ms: i32) -> Session {
        Session::connect(self.addr, &Options { timeout_ms, ..patient() }).expect("a session")
    }

    /// The answer to a four-letter word.
    pub fn word(&self, word: &str) -> String {
        client::four_letter(self.addr, word).expect("an answer")
    }

    /// A value of `mntr`.
    pub fn metric(&self, name: &str) -> i64 {
        let text = self.word("mntr");
        let line = text.lines().find_map(|line| line.strip_prefix("zk_")?.strip_prefix(name)?.strip_prefix('\t'));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a number")
    }

    /// A value of `conf`.
    pub fn setting(&self, name: &str) -> String {
        let text = self.word("conf");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).to_owned()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the server can be signalled");
    }

    /// As a power failure would, except for what the kernel still holds.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.wait();
    }

    /// SIGTERM, and an orderly end.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.wait().code(), Some(0), "{}", self.log.so_far());
    }

    /// Waits until the process has ended, and all it said has been read.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process ends", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        self.log.wait_end();
        status.expect("it has ended")
    }
}

/// Options of a client that waits as long as tests do.
pub fn patient() -> Options {
    Options { deadline: DEADLINE, ..Options::default() }
}

/// Waits until something holds that only asking again can tell.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "within {DEADLINE:?} it was not so that {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// What a server says on standard error, as it says it.
#[derive(Clone)]
pub struct Log(Arc<(Mutex<Said>, Condvar)>);

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn follow(stderr: impl Read + Send + 'static) -> Log {
        let log = Log(Arc::default());
        let told = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n') {
                let Ok(line) = line else { break };
                told.0.0.lock().expect("held").lines.push(String::from_utf8_lossy(&line).into_owned());
                told.0.1.notify_all();
            }
            told.0.0.lock().expect("held").ended = true;
            told.0.1.notify_all();
        });
        log
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&Said) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut said = self.0.0.lock().expect("held");
        loop {
            if let Some(found) = look(&said) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || said.ended {
                drop(said);
                panic!("{what} was not said, but:\n{}", self.so_far());
            }
            said = self.0.1.wait_timeout(said, left).expect("held").0;
        }
    }

    /// Waits for a line that contains this.
    #[track_caller]
    pub fn wait_for(&self, words: &str) -> String {
        self.wait(&format!("{words:?}"), |said| said.lines.iter().find(|line| line.contains(words)).cloned())
    }

    fn wait_end(&self) {
        self.wait("the end of the log", |said| said.ended.then_some(()));
    }

    /// All that was said, once the process has ended.
    pub fn all(&self) -> String {
        self.wait_end();
        self.so_far()
    }

    /// All that has been said.
    pub fn so_far(&self) -> String {
        self.0.0.lock().expect("held").lines.join("\n")
    }

    /// How often something was said.
    pub fn count(&self, words: &str) -> usize {
        self.0.0.lock().expect("held").lines.iter().filter(|line| line.contains(words)).count()
    }
}

/// The file names below a directory's `version-2` that begin like this, in order of their zxid.
pub fn files(dir: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = dir.join("version-2").read_dir().expect("a data directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning)));
    let zxid = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        u64::from_str_radix(name.split('.').nth(1).unwrap_or(""), 16).unwrap_or(0)
    };
    paths.sort_by_key(zxid);
    paths
}

/// The text holds all of these.
#[track_caller]
pub fn contains_all(text: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(text.contains(words), "missing {words:?} in\n{text}");
    }
}
