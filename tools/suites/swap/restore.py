"""Java's own reading of a data directory: Restore.java in a process of its own, asked as often as one likes."""

import base64
import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field

from harness.servers import HERE as HARNESS
from harness.servers import JVM, classpath
from harness.wire import Stat

HERE = os.path.dirname(os.path.abspath(__file__))


@dataclass
class Found:
    """What Java found. `nodes`: path -> (SHA-1 of the data or None, ACL, Stat, children, raw owner)."""

    zxid: int = 0
    digest: int = 0
    mismatches: str = ""
    logged: list = field(default_factory=list)
    sessions: dict = field(default_factory=dict)
    acls: dict = field(default_factory=dict)
    containers: set = field(default_factory=set)
    ttls: set = field(default_factory=set)
    nodes: dict = field(default_factory=dict)


def _paths(text):
    return {base64.b64decode(x).decode() for x in text.split()}


def _acl(text):
    perms, scheme, id_ = text.split(":", 2)
    return (int(perms), scheme, id_)


class JavaReader:
    """One JVM that reads directories, one after the other."""

    def __init__(self, kind, props=()):
        self.kind, self.lock = kind, threading.Lock()
        jars = classpath(kind) + (":/usr/share/java/slf4j-log4j12.jar" if kind == "java38" else "")
        self.process = subprocess.Popen(
            ["java", *JVM, f"-Dlog4j.configuration=file:{HARNESS}/quiet.properties", "-Dlog4j2.level=OFF", "-Dzookeeper.extendedTypesEnabled=true",
             "-Dzookeeper.snapshot.trust.empty=true", *props, "-cp", jars, os.path.join(HERE, "Restore.java")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, data, log):
        """What a copy of the directories holds."""
        with tempfile.TemporaryDirectory(prefix="rk-restore-") as copy:
            there = {}
            for name, source in (("data", data), ("log", log)):
                if name == "log" and source == data:
                    there[name] = there["data"]
                    continue
                there[name] = shutil.copytree(source, os.path.join(copy, name))
            return self._asked(there["data"], there["log"])

    def _ask(self, data, log):
        """The lines of an answer. They come in a file: on stdout the virtual machine itself may say something at any time."""
        with self.lock, tempfile.NamedTemporaryFile("r", prefix="rk-restore-", encoding="utf-8", newline="\n") as answer:
            self.process.stdin.write(f"{data}\t{log}\t{answer.name}\n".encode())
            self.process.stdin.flush()
            while (said := self.process.stdout.readline()) != b"answered\n":
                assert said, "Restore.java ended"
                print(f"      said while a directory was read: {said!r}", flush=True)
            return [line.rstrip("\n") for line in answer]

    def _asked(self, data, log):
        found, failed = Found(), None
        for line in self._ask(data, log):
            what, *rest = line.split("\t")
            if what == "failed":
                failed = rest[0]
            elif what == "node":
                (path,) = _paths(rest[0])
                numbers = [int(x) for x in rest[2:14]]
                data_hash = None if rest[1] == "null" else base64.b64decode(rest[1])
                found.nodes[path] = (data_hash, [_acl(a) for a in rest[14:]], Stat(*numbers[:11]), [], numbers[11])
                if path != "/":
                    found.nodes[path.rpartition("/")[0] or "/"][3].append(path.rpartition("/")[2])
            elif what == "session":
                found.sessions[int(rest[0], 16)] = int(rest[1])
            elif what == "acl":
                found.acls[int(rest[0])] = [_acl(a) for a in rest[1:]]
            elif what == "zxid":
                found.zxid = int(rest[0], 16)
            elif what == "digest":
                found.digest = int(rest[0])
            elif what == "mismatches":
                found.mismatches = rest[0]
            elif what == "logged":
                found.logged = [tuple(int(x, 16) for x in r.split("-")) for r in rest]
            elif what in ("containers", "ttls"):
                setattr(found, what, _paths(rest[0]))
            else:
                raise AssertionError(f"Restore.java answers {line!r}")
        assert failed is None, f"Java cannot read the directory: {failed}"
        for node in found.nodes.values():
            node[3].sort()
        return found

    def craft(self, data):
        """Makes the snapshot of Restore.java's `craft` in an empty directory."""
        os.makedirs(data)
        self._asked("craft", data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
