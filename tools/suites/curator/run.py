#!/usr/bin/env python3
"""Recipes of Apache Curator against one server.

    run.py [--kind ringkeeper|java38|java395] [--client debian|3.9.5]

The client is Debian's Curator 5.4 with ZooKeeper 3.8's client library, or by hand Curator 5.9 with 3.9.5's (oracle395.sh).
"""

import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.servers import HERE as HARNESS  # noqa: E402
from harness.servers import KINDS, Server, classpath, default_kind  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default=default_kind(), choices=KINDS)
    parser.add_argument("--client", default="debian", choices=("debian", "3.9.5"))
    args = parser.parse_args()
    if args.client == "debian":
        jars = classpath("java38") + "".join(f":/usr/share/java/curator-{n}.jar" for n in ("framework", "recipes", "client"))
    else:
        jars = classpath("java395")
    cfg, props = {"extendedTypesEnabled": "true"}, {"znode.container.checkIntervalMs": "500", "znode.container.maxPerMinute": "600000"}
    with tempfile.TemporaryDirectory() as directory, Server(directory, args.kind, cfg, props) as server:
        done = subprocess.run(["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j.configuration=file:{HARNESS}/quiet.properties",
                               "-Dlog4j2.level=OFF", "-cp", jars, os.path.join(HERE, "Smoke.java"), f"127.0.0.1:{server.port}"],
                              timeout=170, check=False)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
