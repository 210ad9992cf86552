//! One server process on a fresh directory, ended when it is dropped.
//!
//! Both kinds get the same zoo.cfg and the same -D properties. Nothing may happen by itself while they are compared: ticks are
//! long, so no session expires, and containers are looked for once a day.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::four_letter;
use tempfile::TempDir;

/// Password of the super user; [`SUPER_DIGEST`] is what the servers are told.
pub const SUPER_AUTH: &str = "super:su";
const SUPER_DIGEST: &str = "super:AYU/P4ujv9+H6rN7bZtV0OG2hY0=";

const START_MAX: Duration = Duration::from_secs(60);

/// How to start one kind of server.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Java, with this class path.
    Java(String),
    /// Ours, this binary.
    Ours(PathBuf),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: SocketAddr,
    dir: TempDir,
}

impl Server {
    /// Starts a server without data; returns when it answers.
    pub fn start(kind: &Kind) -> io::Result<Server> {
        let mut server = Server::spawn(kind)?;
        let until = Instant::now() + START_MAX;
        loop {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("{kind:?} ended at start with {status}\n{}", server.log())));
            }
            if four_letter(server.addr, "srvr").is_ok_and(|text| text.contains("Mode:")) {
                return Ok(server);
            }
            if Instant::now() > until {
                return Err(io::Error::other(format!("{kind:?} does not serve\n{}", server.log())));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn spawn(kind: &Kind) -> io::Result<Server> {
        let dir = tempfile::Builder::new().prefix("oracle-").tempdir()?;
        let addr = SocketAddr::from(([127, 0, 0, 1], client::free_port()));
        let data = dir.path().join("data");
        fs::create_dir(&data)?;
        let cfg = dir.path().join("zoo.cfg");
        fs::write(
            &cfg,
            format!(
                "tickTime=100000\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n",
                data.display(),
                addr.port()
            ),
        )?;
        let mut command = match kind {
            Kind::Java(classpath) => {
                let mut command = Command::new("java");
                command.args([
                    "-XX:+UseSerialGC",
                    "-XX:TieredStopAtLevel=1",
                    "-Xmx512m",
                    "-Dzookeeper.jmx.log4j.disable=true",
                ]);
                command.args(["-Dfile.encoding=UTF-8", "-Dzookeeper.forceSync=no"]);
                command.args(PROPERTIES.map(|(name, value)| format!("-D{name}={value}")));
                command.args(["-cp", classpath, "org.apache.zookeeper.server.quorum.QuorumPeerMain"]);
                command
            }
            Kind::Ours(binary) => {
                let mut command = Command::new(binary);
                command.args(PROPERTIES.map(|(name, value)| format!("-D{name}={value}")));
                command
            }
        };
        let log = File::create(dir.path().join("log"))?;
        command.arg(&cfg).current_dir(dir.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Server { child: command.spawn()?, addr, dir })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The end of what it printed.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4000)..]).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended already cannot be killed, and that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PROPERTIES: [(&str, &str); 7] = [
    ("zookeeper.extendedTypesEnabled", "true"),
    ("zookeeper.enforceQuota", "true"),
    ("zookeeper.4lw.commands.whitelist", "*"),
    ("zookeeper.admin.enableServer", "false"),
    ("zookeeper.DigestAuthenticationProvider.superDigest", SUPER_DIGEST),
    ("znode.container.checkIntervalMs", "86400000"),
    ("zookeeper.snapCount", "1000000"),
];
