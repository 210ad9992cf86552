"""Servers and connections for the tests of what a client sees.

Every test runs against the kind of server that RK_SERVER names. `server` is shared by all tests that do not need
their own settings; `start` gives a test a server of its own. Each test works below its own node, `root`.
Where the kinds of server differ, the difference is named in differences.py, and a test asks `differs`.
"""

import itertools
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from differences import DIFFERENCES  # noqa: E402
from harness.servers import Server, default_kind  # noqa: E402
from harness.wire import Conn, digest_id, req  # noqa: E402

CFG = {
    "tickTime": 200,
    "maxSessionTimeout": 600000,
    "extendedTypesEnabled": "true",
}
PROPS = {
    "zookeeper.DigestAuthenticationProvider.superDigest": digest_id("super", "secret"),
    "znode.container.checkIntervalMs": "1000",
    "znode.container.maxPerMinute": "600000",
}


@pytest.fixture(scope="session")
def kind():
    """Which server is under test."""
    return default_kind()


@pytest.fixture(scope="session")
def differs(kind):
    """`differs(name)`: what this kind of server does where the kinds differ."""
    return lambda name: DIFFERENCES[name][kind]


def _check(server):
    died = server.process is not None and server.process.poll() is not None
    text = server.log_text()
    status = server.process.returncode if died else None
    server.kill()
    assert not died, f"the server ended by itself with status {status}\n{server.log_tail()}"
    if server.kind == "ringkeeper":
        assert "panicked" not in text, server.log_tail(200)


@pytest.fixture(scope="session")
def server(tmp_path_factory, kind):
    """The shared server: four-letter words, extended types, super digest, short ticks, long sessions."""
    s = Server(tmp_path_factory.mktemp("server"), kind, CFG, PROPS).start()
    yield s
    _check(s)


@pytest.fixture
def start(tmp_path_factory, kind):
    """`start(cfg, props)`: a server of one's own, ended with the test."""
    started = []

    def make(cfg=None, props=None, directory=None, spawn=False):
        s = Server(directory or tmp_path_factory.mktemp("own"), kind, {**CFG, **(cfg or {})}, {**PROPS, **(props or {})})
        started.append(s)
        return s.spawn() if spawn else s.start()

    yield make
    for s in started:
        if s.process is not None:
            _check(s)


@pytest.fixture
def conn(server):
    """A connection with a session of its own."""
    c = Conn(server.port)
    assert c.connect(timeout=600000).timeout == 600000
    yield c
    c.quit()


@pytest.fixture
def connect(server):
    """`connect(timeout=…)`: more connections, all closed with the test."""
    made = []

    def make(on=None, timeout=600000, auth=None, **more):
        c = Conn((on or server).port)
        assert c.connect(timeout=timeout, **more) is not None
        if auth:
            c.ok(req.auth("digest", auth.encode()))
        made.append(c)
        return c

    yield make
    for c in made:
        c.quit()


NUMBERS = itertools.count(1)


@pytest.fixture
def root(conn):
    """A node of the test's own."""
    path = f"/t{next(NUMBERS):04}"
    conn.ok(req.create(path))
    return path
