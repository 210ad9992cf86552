#!/usr/bin/env python3
"""A session of the C client's command line (Debian's zookeeper-bin), compared line by line with the same session on Java.

    run.py [--kind ringkeeper|java38|java395] [--capture]

session.txt holds the commands, golden.txt what the client printed against the Java server (--capture writes it).
The client answers asynchronously, so the next command is given only when the last one has been answered.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.servers import Server  # noqa: E402
from harness.transcript import arguments, compare  # noqa: E402

CLIENT = "/usr/lib/zookeeper/bin/cli_mt"
ANSWER = re.compile(r"rc = -?\d+|Error -?\d+ for|ttl value must")
QUIET, PATIENCE = 0.08, 15.0


def converse(port, directory):
    """Text printed for each command, and what came after the last."""
    client = subprocess.Popen([CLIENT, "-h", f"127.0.0.1:{port}", "-m", os.path.join(directory, "id")], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    heard, last = [], [time.monotonic()]

    def listen():
        while chunk := os.read(client.stdout.fileno(), 65536):
            heard.append(chunk.decode(errors="replace"))
            last[0] = time.monotonic()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()

    def wait(mark, at, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if mark.search("".join(heard)[at:]) and time.monotonic() - last[0] > QUIET:
                return
            time.sleep(0.005)

    wait(re.compile("CONNECTED_STATE"), 0)
    parts = []
    with open(os.path.join(HERE, "session.txt"), encoding="utf-8") as commands:
        for command in commands:
            at = len("".join(heard))
            client.stdin.write(command.encode())
            client.stdin.flush()
            # addauth is never answered, and the existence of a node is not told
            wait(ANSWER, at, 0.7 if command.startswith(("addauth", "exists", "wexists")) else PATIENCE)
            parts.append((command.strip(), "".join(heard)[at:]))
    client.stdin.write(b"quit\n")
    client.stdin.close()
    client.wait(15)
    return parts


def comparable(parts):
    """Answers by command, then events; without times, session ids and log lines; names sorted."""
    answers, events = [], []
    for command, text in parts:
        answers.append(f"> {command}")
        names = []
        for line in text.splitlines():
            line = line.rstrip()
            if not line or line.startswith("time = ") or re.search(r":ZOO_(DEBUG|INFO|WARN|ERROR)@", line):
                continue
            line = re.sub(r"\b([cm]time) ?= ?.*", r"\1 = <time>", line)
            line = re.sub(r"ephemeralOwner = [0-9a-f]{10,}", "ephemeralOwner = <session>", line)
            if line.startswith("Watcher "):
                events.append(line)
            elif re.fullmatch(r"\t[^=]+", line):
                names.append(line)
            else:
                answers += sorted(names) + [line]
                names = []
        answers += sorted(names)
    return answers + ["--- events ---"] + events


def main():
    args = arguments(__doc__)
    with tempfile.TemporaryDirectory() as directory, Server(directory, args.kind, {"extendedTypesEnabled": "true"}) as server:
        got = comparable(converse(server.port, directory))
    return compare("cclient", got, os.path.join(HERE, "golden.txt"), args.capture)


if __name__ == "__main__":
    sys.exit(main())
