"""Ensembles of any mix of kinds, on loopback addresses of their own, in one temporary directory.

A layout is a text with one letter for each member, from sid 1 on: `R` ours, `J` Java (which one is a setting); a small
letter is an observer. `JJRr` has two Java voters, ours as third, which leads a fresh ensemble, and an observer of ours.
"""

import glob
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

from harness.servers import NotStarted, Server, free_port
from harness.wire import Conn
from network import Network

TICK_MS = int(os.environ.get("RK_TICK_MS", "400"))


def java_kind():
    """Which Java the letter J stands for."""
    return os.environ.get("RK_JAVA", "java38")


class Member(Server):
    """One member. Its kind may change between two starts; directory and addresses stay."""

    def __init__(self, directory, sid, letter, host):
        super().__init__(os.path.join(directory, f"member{sid}"), port=free_port())
        self.sid, self.host, self.observer = sid, host, letter.islower()
        self.quorum_port, self.election_port = free_port(), free_port()
        self.become(letter)
        self.data = os.path.join(self.dir, "data")
        os.makedirs(self.data, exist_ok=True)
        with open(os.path.join(self.data, "myid"), "w", encoding="ascii") as f:
            f.write(f"{sid}\n")
        self.paused, self.wrote = False, set()  # wrote: the kinds that have written its files
        self.keeps_cfg = False  # once the ensemble has been reconfigured, its zoo.cfg is the member's own

    def become(self, letter):
        """Be of this kind from the next start on."""
        self.kind = "ringkeeper" if letter in "Rr" else java_kind()

    def command(self):
        path, kept = os.path.join(self.dir, "zoo.cfg"), None
        if self.keeps_cfg and os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                kept = f.read()
        command = super().command()
        if kept is not None:
            with open(path, "w", encoding="utf-8") as f:
                f.write(kept)
        return command

    def spawn(self):
        self.wrote.add(self.kind)
        if self.kind == "java38":
            # Killed, 3.8 may leave a log without a byte, and cannot start from it (mended in 3.9.3); we can.
            for path in glob.glob(os.path.join(self.files, "log.*")):
                if os.path.getsize(path) == 0:
                    os.remove(path)
        return super().spawn()

    @property
    def files(self):
        """Where log and snapshots are."""
        return os.path.join(self.data, "version-2")

    def mode(self, timeout=2.0):
        """leader, follower, observer, or None while it does not serve all clients."""
        if self.process is None or self.paused or self.process.poll() is not None:
            return None
        found = re.search(rb"(?m)Mode: (\w+)$", self.word(b"srvr", timeout))
        return found[1].decode() if found else None

    def serves(self):
        return self.mode() is not None

    def pause(self):
        """SIGSTOP; returns when every thread has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True
        tasks = f"/proc/{self.process.pid}/task"
        until = time.monotonic() + 10
        while time.monotonic() < until:
            states = []
            for task in os.listdir(tasks):
                try:
                    with open(f"{tasks}/{task}/stat") as f:
                        states.append(f.read().rpartition(")")[2].split()[0])
                except FileNotFoundError:
                    pass  # that thread has ended
            if all(state in "Tt" for state in states):
                return
            time.sleep(0.001)
        raise AssertionError(f"member {self.sid} does not stop: {states}")

    def resume(self):
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def _end(self, sig, timeout):
        if self.paused and sig != signal.SIGKILL:
            self.resume()
        self.paused = False
        return super()._end(sig, timeout)

    def ended(self, timeout=30.0):
        """Wait for the end of a process that was asked to end."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"member {self.sid} ({self.kind}) did not end within {timeout} s") from None
        status, self.process = self.process.returncode, None
        assert status == 0 or self.kind != "ringkeeper", f"member {self.sid} ended with status {status}\n{self.log_tail()}"

    def has_logged(self, text):
        """Whether these bytes stand in one of its log files."""
        for path in glob.glob(os.path.join(self.files, "log.*")):
            with open(path, "rb") as f:
                if text in f.read():
                    return True
        return False

    def mark(self):
        """The end of its output so far, for `said`."""
        return len(self.log_text())

    def said(self, since, pattern):
        """Whether its output after a mark matches."""
        return re.search(pattern, self.log_text()[since:]) is not None


class Ensemble:
    """Members by sid, and their network if it is to be disturbed. Only members of `later` know of those at first."""

    def __init__(self, layout, network=False, cfg=None, props=None, later=()):
        self.layout = layout
        self.dir = tempfile.mkdtemp(prefix="rk-ensemble-")
        second, third = random.SystemRandom().randrange(16, 240), random.SystemRandom().randrange(1, 250)
        self.members = {sid: Member(self.dir, sid, letter, f"127.{second}.{third}.{sid}") for sid, letter in enumerate(layout, 1)}
        real = {m.sid: (m.host, m.quorum_port, m.election_port) for m in self.members.values()}
        self.network = Network(f"127.{second}.{third + 1}", real) if network else None
        for m in self.members.values():
            m.cfg.update({"clientPortAddress": m.host, "tickTime": TICK_MS, "initLimit": 25, "syncLimit": 5, "admin.enableServer": "false",
                          "maxSessionTimeout": 120000, "preAllocSize": 256, "extendedTypesEnabled": "true"})
            if m.observer:
                m.cfg["peerType"] = "observer"
            for other in self.members.values():
                if other.sid in later and m.sid not in later:
                    continue  # it comes by reconfig
                host, quorum, election = real[other.sid]
                if self.network and other is not m:
                    host, quorum, election = self.network.address(m.sid, other.sid)
                m.cfg[f"server.{other.sid}"] = f"{host}:{quorum}:{election}" + (":observer" if other.observer else "")
            m.cfg.update(cfg or {})
            m.props.update(props or {})

    def __getitem__(self, sid):
        return self.members[sid]

    @property
    def voters(self):
        return [sid for sid, m in self.members.items() if not m.observer]

    @property
    def running(self):
        return [sid for sid, m in self.members.items() if m.process is not None and not m.paused]

    def spawn(self, *sids):
        """Start these, or all, without waiting."""
        for sid in sids or self.members:
            self.members[sid].spawn()
        return self

    def wait(self, *sids, timeout=60.0):
        """Until these, or all that run, serve, and exactly one of them all leads. Returns the leader's sid."""
        deadline = time.monotonic() + timeout
        while True:
            for sid in sids or self.running:
                m = self.members[sid]
                if m.process is None or m.process.poll() is not None:
                    raise NotStarted(f"member {sid} ({m.kind}) ended with status {m.process and m.process.returncode}\n{m.log_tail()}")
            modes = {sid: self.members[sid].mode() for sid in self.running}
            leaders = [sid for sid, mode in modes.items() if mode == "leader"]
            if len(leaders) == 1 and all(modes.get(sid) for sid in sids or modes):
                return leaders[0]
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- member {sid} ({self.members[sid].kind})\n{self.members[sid].log_tail(25)}" for sid in modes)
                raise NotStarted(f"no quorum within {timeout} s: {modes}\n{tails}")
            time.sleep(0.05)

    def line(self, sid):
        """The member as `reconfig` takes it."""
        m = self.members[sid]
        return f"server.{sid}={m.host}:{m.quorum_port}:{m.election_port}:{'observer' if m.observer else 'participant'};{m.host}:{m.port}"

    def form(self, leader=None, without=()):
        """Start all so that `leader` (the largest voter unless given) leads. Returns its sid."""
        voters = [sid for sid in self.voters if sid not in without]
        leader = leader or max(voters)
        first = [sid for sid in voters if sid < leader][:len(voters) // 2] + [leader]
        assert len(first) > len(voters) // 2, f"{leader} cannot be made to lead {voters}"
        self.spawn(*first)
        assert self.wait(*first) == leader
        rest = [sid for sid in self.members if sid not in first and sid not in without]
        if rest:  # without a name, all would be started once more
            self.spawn(*rest)
        assert self.wait() == leader
        return leader

    def leader(self):
        """Who leads now, or None."""
        return next((sid for sid in self.running if self.members[sid].mode() == "leader"), None)

    def followers(self):
        """Voters that serve and do not lead."""
        return [sid for sid in self.running if self.members[sid].mode() == "follower"]

    def connect(self, sid, after=None, **more):
        """A session at one member; with `after` that of an earlier connection, whose request numbers go on."""
        if after:
            more = {"session": after.session, "password": after.password, **more}
        m = self.members[sid]
        c = Conn(m.port, host=m.host, patience=more.pop("patience", 30))
        got = c.connect(**{"timeout": 60000, **more})
        if got is None or got.session == 0:
            raise NotStarted(f"member {sid} ({m.kind}) refused a session: {got}")
        if after:
            c.next_xid = after.next_xid
        return c

    def try_connect(self, sid, patience=3.0, **more):
        """(connection, answer) or None when this member does not let anybody in now."""
        m = self.members[sid]
        c = Conn(m.port, host=m.host, patience=patience)
        try:
            got = c.connect(**more)
        except (OSError, AssertionError):
            got = None
        if got is None:
            c.drop()
            return None
        return c, got

    def kill(self, *sids):
        """SIGKILL."""
        for sid in sids:
            self.members[sid].kill()

    def hosts(self):
        """A connect string of all."""
        return ",".join(f"{m.host}:{m.port}" for m in self.members.values())

    def stop(self):
        """SIGTERM to all at once, then wait."""
        for sid in self.running:
            if self.members[sid].process.poll() is None:
                self.members[sid].process.send_signal(signal.SIGTERM)
        for m in self.members.values():
            if m.process is not None:
                m.ended()

    def end(self, keep=False):
        """Kill what runs, and remove the directory unless it is to be looked at."""
        for m in self.members.values():
            m.kill()
        if self.network:
            self.network.close()
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
