#!/usr/bin/env python3
"""Writes what the members of a Java ensemble answer to the four-letter words into golden/<kind>/<role>-<word>.txt, or elsewhere.

    capture_ensemble.py java38|java395 [directory]      (needs tools/suites/setup.sh; run with its Python, for kazoo)

Three participants and an observer; one client at the leader and one at a follower, each with an ephemeral. Directories are replaced as
in capture.py. The second member has its client port in its own line, and the third weighs more than the others.
"""

import os
import re
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "..", "tools", "suites"))

from harness.servers import Server, free_port  # noqa: E402
from kazoo.client import KazooClient  # noqa: E402

WORDS = ["ruok", "isro", "conf", "dirs", "stat", "srvr", "cons", "dump", "mntr", "hash"]
GROUPS = {"group.1": "1:2:3", "weight.3": "2"}


def role_of(server):
    found = re.search(rb"Mode: (\w+)", server.word(b"srvr"))
    return found and found.group(1).decode()


def main():
    kind = sys.argv[1]
    out = sys.argv[2] if len(sys.argv) > 2 else os.path.join(HERE, "golden", kind)
    with tempfile.TemporaryDirectory() as directory:
        ids = [1, 2, 3, 4]
        ports = {i: (free_port(), free_port(), free_port()) for i in ids}
        lines = {f"server.{i}": f"127.0.0.1:{q}:{e}" + (":observer" if i == 4 else "") + (f";127.0.0.1:{c}" if i == 2 else "")
                 for i, (q, e, c) in ports.items()}
        servers = {}
        for i in ids:
            home = f"{directory}/{i}"
            os.makedirs(home + "/data")
            with open(home + "/data/myid", "w", encoding="utf-8") as f:
                f.write(f"{i}\n")
            role = {"peerType": "observer"} if i == 4 else {}
            cfg = {"initLimit": 5, "syncLimit": 2, **lines, **GROUPS, **role}
            if i == 2:
                cfg.update(clientPort=None, clientPortAddress=None)
            servers[i] = Server(home, kind, cfg=cfg, port=ports[i][2])
        try:
            for i in ids:
                servers[i].spawn()

            def save(name, data):
                text = data.decode()
                for i in ids:
                    text = text.replace(f"{directory}/{i}", "/var/lib/zookeeper")
                with open(os.path.join(out, name + ".txt"), "w", encoding="utf-8", newline="") as f:
                    f.write(text)

            deadline = time.monotonic() + 60
            while not all(role_of(s) for s in servers.values()):
                if time.monotonic() > deadline:
                    raise SystemExit("the ensemble does not serve")
                time.sleep(0.1)
            roles = {i: role_of(s) for i, s in servers.items()}
            print(roles)
            leader = next(s for i, s in servers.items() if roles[i] == "leader")
            follower = servers[1] if roles[1] == "follower" else servers[2]
            observer = servers[4]
            members = [("leader", leader), ("follower", follower), ("observer", observer)]
            for role, server in members:
                for word in ("srvr", "mntr", "dump"):
                    save(f"empty-{role}-{word}", server.word(word.encode()))
            at_leader, at_follower = (KazooClient(hosts=f"127.0.0.1:{s.port}", timeout=30) for s in (leader, follower))
            at_leader.start()
            at_follower.start()
            at_leader.create("/app", b"settings")
            for name, client in (("leader", at_leader), ("follower", at_follower)):
                client.create(f"/app/at-{name}", b"here", ephemeral=True)
            for i in range(20):
                at_follower.set("/app", b"x" * i)
            at_follower.sync("/app")
            at_leader.get("/app")
            time.sleep(1)
            for role, server in members:
                for word in WORDS:
                    save(f"{role}-{word}", server.word(word.encode()))
            save("leader-srst", leader.word(b"srst"))
            save("leader-srvr-after-srst", leader.word(b"srvr"))
            # Without a quorum nobody serves; this leader has to notice first.
            at_leader.stop()
            at_follower.stop()
            for server in servers.values():
                if server is not leader:
                    server.kill()
            deadline = time.monotonic() + 60
            while b"Mode" in leader.word(b"srvr") and time.monotonic() < deadline:
                time.sleep(0.1)
            for word in ("srvr", "isro", "ruok", "mntr", "conf"):
                save(f"lost-{word}", leader.word(word.encode()))
        finally:
            for server in servers.values():
                server.kill()


main()
