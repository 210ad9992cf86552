#!/usr/bin/env python3
"""Writes the answers of a Java ZooKeeper to every four-letter word into golden/<kind>/.

    capture.py java38|java395      (needs tools/suites/setup.sh; run with its Python, for kazoo)

The scene is the same each time: one session that is idle but holds a data watch, one busy session with ephemerals and
watches. What names the machine is replaced by a neutral word of the same kind; everything else is as the server said it.
"""

import os
import re
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "..", "tools", "suites"))

from harness.servers import Server, free_port  # noqa: E402
from kazoo.client import KazooClient  # noqa: E402

WORDS = ["ruok", "isro", "gtmk", "envi", "conf", "dirs", "hash", "stat", "srvr", "cons", "dump", "mntr", "wchs", "wchc", "wchp"]
ALL = WORDS + ["stmk", "crst", "srst"]
NEUTRAL = {
    "host.name": "host.example", "java.home": "/usr/lib/jvm/java", "java.class.path": "/zookeeper.jar",
    "java.library.path": "/usr/lib", "os.version": "6.1.0", "user.name": "zookeeper", "user.home": "/var/lib/zookeeper",
    "user.dir": "/", "java.version": "17.0.0", "java.vendor": "Vendor",
}


def neutral(text, directory):
    text = text.replace(directory, "/var/lib/zookeeper")
    for key, value in NEUTRAL.items():
        text = re.sub(rf"(?m)^{re.escape(key)}=.*$", f"{key}={value}", text)
    return text


def main():
    kind = sys.argv[1]
    out = os.path.join(HERE, "golden", kind)
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        with Server(directory, kind) as server:
            def save(name, data):
                with open(os.path.join(out, name + ".txt"), "w", encoding="utf-8", newline="") as f:
                    f.write(neutral(data.decode(), directory))

            for word in ("stat", "cons", "dump", "wchs", "wchc", "wchp", "hash", "mntr"):
                save(f"empty-{word}", server.word(word.encode()))
            idle, busy = (KazooClient(hosts=f"127.0.0.1:{server.port}", timeout=30) for _ in range(2))
            idle.start()
            busy.start()
            busy.create("/app", b"settings")
            for i in range(3):
                busy.create(f"/app/member-{i}", b"here", ephemeral=True)
            for i in range(200):
                busy.set("/app", b"%d" % i)
                busy.get("/app")
            busy.get("/app", watch=lambda event: None)
            busy.get("/app/member-0", watch=lambda event: None)
            busy.get_children("/app", watch=lambda event: None)
            idle.exists("/app", watch=lambda event: None)
            idle.exists("/absent", watch=lambda event: None)
            for word in WORDS:
                save(word, server.word(word.encode()))
            save("stmk", server.word(b"stmk" + struct.pack(">q", 6)))
            save("gtmk-after", server.word(b"gtmk"))
            save("crst", server.word(b"crst"))
            save("cons-after-crst", server.word(b"cons"))
            save("srst", server.word(b"srst"))
            save("stat-after-srst", server.word(b"stat"))
            save("mntr-after-srst", server.word(b"mntr"))
            idle.stop()
            busy.stop()
        with Server(directory + "/listed", kind, cfg={"4lw.commands.whitelist": " ruok , stat"}) as server:
            save("refused-mntr", server.word(b"mntr"))
            save("refused-isro", server.word(b"isro"))
            save("listed-ruok", server.word(b"ruok"))
            save("listed-stat", server.word(b"stat"))

        # A member that waits for the other one serves nobody.
        member = directory + "/member"
        os.makedirs(member + "/data")
        with open(member + "/data/myid", "w", encoding="utf-8") as f:
            f.write("1\n")
        ports = [free_port() for _ in range(4)]
        peers = {f"server.{i + 1}": f"127.0.0.1:{ports[2 * i]}:{ports[2 * i + 1]}" for i in range(2)}
        server = Server(member, kind, cfg={"initLimit": 5, "syncLimit": 2, **peers}).spawn()
        try:
            deadline = time.monotonic() + 60
            while not server.word(b"ruok") and time.monotonic() < deadline:
                time.sleep(0.1)
            for word in ALL:
                save(f"looking-{word}", server.word(word.encode() + b"\0" * 8 * (word == "stmk")))
        finally:
            server.kill()


main()
