"""Starting, stopping and killing one server under test, of any kind.

A *kind* is `ringkeeper` (ours), `java38` (Debian's ZooKeeper 3.8) or `java395` (3.9.5, after oracle395.sh).
The kind a suite runs against comes from RK_SERVER and is `ringkeeper` by default; our binary comes from
RINGKEEPER_BIN or from target/release. All kinds take the same zoo.cfg. Every server binds 127.0.0.1 on a free
port and writes only below the directory it is given; its output goes to server.log there.
"""

import glob
import os
import random
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
TARGET = os.path.join(ROOT, "target", "suites")
KINDS = ("ringkeeper", "java38", "java395")


def default_kind():
    """The kind named by RK_SERVER."""
    kind = os.environ.get("RK_SERVER", "ringkeeper")
    if kind not in KINDS:
        raise SystemExit(f"RK_SERVER={kind}: expected one of {', '.join(KINDS)}")
    return kind


def free_port():
    """A port nobody listens on just now. Not one of those that the kernel gives to outgoing connections and to port 0: such a
    port may be taken, by a client or another test, before the server that is to have it is up."""
    while True:
        port = random.SystemRandom().randrange(11000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def ringkeeper_binary():
    """Where our binary is; it must have been built."""
    path = os.environ.get("RINGKEEPER_BIN") or os.path.join(
        os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "release", "ringkeeper"
    )
    if not os.path.exists(path):
        raise SystemExit(f"{path} is not there: cargo build --release, or set RINGKEEPER_BIN")
    return path


def classpath(kind):
    """The class path of the Java server and its client of that version."""
    if kind == "java395":
        jars = os.environ.get("RK_JARS395") or os.path.join(TARGET, "jars395")
        names = ["zookeeper", "slf4j-api", "log4j-", "netty", "snappy", "metrics-core", "commons-", "jackson-", "curator", "guava",
                 "failureaccess"]
        found = [j for n in names for j in glob.glob(os.path.join(jars, n + "*.jar"))]
        if not found:
            raise SystemExit(f"no jars in {jars}: run tools/suites/oracle395.sh")
        return ":".join([HERE] + sorted(set(found)))
    share = "/usr/share/java"
    names = ["zookeeper", "slf4j-log4j12", "log4j-1.2", "netty-codec", "netty-resolver", "netty-transport-native-unix-common"]
    return ":".join([HERE] + [f"{share}/{n}.jar" for n in names])


# A small Java server that starts fast; nothing here changes what a client sees.
JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx512m", "-XX:-UsePerfData", "-XX:+DisplayVMOutputToStderr",
       "-Dfile.encoding=UTF-8", "-Djava.awt.headless=true", "-Dzookeeper.admin.enableServer=false", "-Dzookeeper.jmx.log4j.disable=true"]


class NotStarted(Exception):
    """The process ended, or did not serve in time."""


class Server:
    """One server process on one directory.

    `cfg` holds zoo.cfg lines, `props` holds -D properties by their full names. `start` returns when the server
    answers a client, `stop` asks politely, `kill` is SIGKILL.
    """

    def __init__(self, directory, kind=None, cfg=None, props=None, port=None):
        self.kind = kind or default_kind()
        self.dir = str(directory)
        self.port = port or free_port()
        self.cfg = {
            "dataDir": os.path.join(self.dir, "data"),
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "tickTime": 2000,
            "maxClientCnxns": 0,
            "4lw.commands.whitelist": "*",
        }
        self.cfg.update(cfg or {})
        self.props = dict(props or {})
        self.process = None
        self.log_path = os.path.join(self.dir, "server.log")
        os.makedirs(self.dir, exist_ok=True)

    def command(self):
        """The command line; it also writes zoo.cfg."""
        path = os.path.join(self.dir, "zoo.cfg")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(f"{k}={v}\n" for k, v in self.cfg.items() if v is not None)
        flags = [f"-D{k}={v}" for k, v in self.props.items()]
        if self.kind == "ringkeeper":
            return [ringkeeper_binary(), *flags, path]
        return ["java", *JVM, *flags, "-cp", classpath(self.kind), "org.apache.zookeeper.server.quorum.QuorumPeerMain", path]

    def spawn(self):
        """Start the process without waiting for it to serve."""
        out = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command(), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.dir)
        out.close()
        return self

    def start(self, timeout=60.0):
        """Start, and wait until it serves."""
        self.spawn()
        deadline = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise NotStarted(f"{self.kind} ended with status {self.process.returncode}\n{self.log_tail()}")
            if self.serves():
                return self
            if time.monotonic() > deadline:
                self.kill()
                raise NotStarted(f"{self.kind} did not serve within {timeout} s\n{self.log_tail()}")
            time.sleep(0.02)

    def serves(self):
        """Whether a client would be let in now."""
        return b"Mode:" in self.word(b"srvr", timeout=2.0)

    def word(self, word, timeout=10.0):
        """Answer to a four-letter word; empty when nobody answers."""
        try:
            with socket.create_connection((self.cfg.get("clientPortAddress", "127.0.0.1"), self.port), timeout=timeout) as s:
                s.sendall(word)
                chunks = []
                while chunk := s.recv(65536):
                    chunks.append(chunk)
                return b"".join(chunks)
        except OSError:
            return b""

    def stop(self, timeout=30.0):
        """SIGTERM and wait; returns the exit status (negative signal number as in subprocess)."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self):
        """SIGKILL and wait."""
        return self._end(signal.SIGKILL, 30.0)

    def _end(self, sig, timeout):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.kind} did not end within {timeout} s of signal {sig}") from None
        status = self.process.returncode
        self.process = None
        return status

    @property
    def pid(self):
        """Process id while it runs."""
        return self.process.pid

    def log_text(self):
        """All it has said so far."""
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=40):
        """The last lines of its output."""
        return "\n".join(self.log_text().splitlines()[-lines:])

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()
