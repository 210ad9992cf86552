"""A pytest plugin: each parallel worker gets its own range of ports for kazoo's server harness."""

import os

worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
os.environ["ZOOKEEPER_PORT_OFFSET"] = str(int(os.environ.get("RK_KAZOO_PORTS", "22000")) + 100 * int(worker.removeprefix("gw")))
