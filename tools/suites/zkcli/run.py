#!/usr/bin/env python3
"""A session of ZooKeeper's own command-line client (Debian's 3.8), compared line by line with the same session on Java.

    run.py [--kind ringkeeper|java38|java395] [--capture]

session.txt holds the commands, golden.txt what the client printed against the Java server (--capture writes it).
"""

import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.servers import HERE as HARNESS  # noqa: E402
from harness.servers import JVM, Server, classpath  # noqa: E402
from harness.transcript import arguments, compare  # noqa: E402


def comparable(text):
    """Answers first, then events; without blank lines, times, session ids and build dates."""
    answers, events, ids = [], [], []
    for line in text.splitlines():
        line = line.rstrip()
        if not line or line == "WATCHER::" or line.startswith(("Connecting to", "ZooKeeper CLI version")):
            continue
        line = re.sub(r"^([cm]time) = .*", r"\1 = <time>", line)
        line = re.sub(r"^ephemeralOwner = 0x[0-9a-f]{10,}", "ephemeralOwner = <session>", line)
        if line.startswith("WatchedEvent"):
            events.append(re.sub(r" zxid: ?-?\w+", "", line))
            continue
        if re.match(r"(ip|digest|super): ", line):  # whoami lists them in no particular order
            ids.append(line)
            continue
        answers += sorted(ids)
        ids = []
        if re.fullmatch(r"\[.*\]", line):
            line = "[" + ", ".join(sorted(line[1:-1].split(", "))) + "]"
        answers.append(line)
    return answers + ["--- events ---"] + events


def main():
    args = arguments(__doc__)
    with tempfile.TemporaryDirectory() as directory, Server(directory, args.kind, {"extendedTypesEnabled": "true", "enforceQuota": "true"}) as server:
        jars = classpath("java38") + ":/usr/share/java/jline.jar:/usr/share/java/commons-cli.jar"
        command = ["java", *JVM, f"-Dlog4j.configuration=file:{HARNESS}/quiet.properties", "-cp", jars, "org.apache.zookeeper.ZooKeeperMain",
                   "-server", f"127.0.0.1:{server.port}"]
        with open(os.path.join(HERE, "session.txt"), "rb") as commands:
            done = subprocess.run(command, stdin=commands, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
        return compare("zkcli", comparable(done.stdout.decode()), os.path.join(HERE, "golden.txt"), args.capture)


if __name__ == "__main__":
    sys.exit(main())
