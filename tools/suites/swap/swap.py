#!/usr/bin/env python3
"""One data directory, several servers in turn: each must find all that the one before it left.

    swap.py [--kind ringkeeper|java395] [--other java38|java395] [--case TEXT]   RK_SEED, RK_SWAP_ROUNDS (8)

A case is a chain of servers on one directory, its columns those of CASES: what the files are (logs only, without any
snapshot; snapshots and logs), how a server ends (SIGTERM or SIGKILL), who comes first, and how snapshots are
compressed. Each server fills the directory with nodes of every kind, ACLs of every scheme, quotas, containers, TTLs,
ephemerals, sessions that live, are closed, have expired or will expire at the next server, failed requests and failed
multis. Then, at each hand-over:
  * Java's own classes read a copy of the directory (restore.py): their tree is, node by node, what the server that ended
    had shown to a client; so are zxid, sessions and timeouts, containers, TTLs; the logs have no gap; and the digest that
    Java computes of its tree is the one that the server had told with `hash`, and no digest in a file differs;
  * the next server shows the same zxid, sessions (`dump`) and tree; each session re-attaches with its password and has
    its ephemerals; closed and expired ones are refused; sequential numbers go on; what is to vanish vanishes;
  * Java says nothing about digests, and its tools TxnLogToolkit and SnapshotFormatter read the newest files.
The last case is random: RK_SWAP_ROUNDS servers from RK_SEED, each with random requests, settings and end, sometimes killed
in the middle of a burst; then what Java's classes read is what the next server must show.
"""

import argparse
import glob
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.servers import HERE as HARNESS  # noqa: E402
from harness.servers import JVM, KINDS, Server, classpath, default_kind, free_port  # noqa: E402
from harness.wire import (ALL, CONTAINER, EPHEMERAL, EPHEMERAL_SEQUENTIAL, OP, OPEN, SEQUENTIAL, TTL_SEQUENTIAL,  # noqa: E402
                          Closed, Conn, E, digest_id, i64, req, text, walk)
from restore import JavaReader  # noqa: E402

PROPS = {
    "zookeeper.DigestAuthenticationProvider.superDigest": digest_id("super", "secret"),
    "zookeeper.skipACL": "no",
    "znode.container.checkIntervalMs": "2000",
    "znode.container.maxPerMinute": "600000",
}
CFG = {"extendedTypesEnabled": "true", "enforceQuota": "true", "minSessionTimeout": 300, "maxSessionTimeout": 900000, "tickTime": 300, "preAllocSize": 256}
MANY = {"snapCount": 60}
FEW = {"snapCount": 1000000}
GZ, SNAPPY = {"snapshot.compression.method": "gz"}, {"snapshot.compression.method": "snappy"}
# name: (who is first, how they end, settings of the first, settings of the second, stages). "other" is Java.
CASES = {
    "logs only, ended": ("other", "stop", FEW, FEW, 3),
    "logs only, ended, ours first": ("kind", "stop", FEW, FEW, 3),
    "logs only, killed": ("other", "kill", FEW, FEW, 3),
    "logs only, killed, ours first": ("kind", "kill", FEW, FEW, 3),
    "no snapshot at all": ("other", "kill", FEW, FEW, 3),
    "no snapshot at all, ours first": ("kind", "kill", FEW, FEW, 3),
    "snapshots and logs, ended": ("other", "stop", MANY, MANY, 3),
    "snapshots and logs, killed": ("other", "kill", MANY, MANY, 3),
    "snapshots and logs, killed, ours first": ("kind", "kill", MANY, MANY, 3),
    "gz, ended": ("other", "stop", {**MANY, **GZ}, {**MANY, **GZ}, 3),
    "gz, killed, ours first": ("kind", "kill", {**MANY, **GZ}, {**MANY, **GZ}, 3),
    "snappy, killed, own log directory": ("other", "kill", {**MANY, **SNAPPY, "dataLogDir": "log"}, {**MANY, **SNAPPY, "dataLogDir": "log"}, 3),
    "snappy, ended, ours first": ("kind", "stop", {**MANY, **SNAPPY}, {**MANY, **SNAPPY}, 3),
    "gz by one, snappy by the other": ("other", "kill", {**MANY, **GZ}, {**MANY, **SNAPPY}, 4),
    "first an ensemble of one": ("ensemble", "kill", MANY, MANY, 4),
}
# What a Java server says when a digest is not what it computes.
DIGEST_TROUBLE = re.compile(r"[Dd]igests are not matching|[Dd]igest mismatch|mismatch.*digest|digests differ", re.IGNORECASE)
FLEETING = "/fleeting"
FADING_MS = 4200
EDGE, RANDOM = "at the end of 32 bits", "at random"


def connect(server, **more):
    c = Conn(server.port, patience=60)
    got = c.connect(**{"timeout": 900000, **more})
    assert got is not None and got.session != 0, f"refused: {more}"
    c.ok(req.auth("digest", b"super:secret"))
    return c


def refused(server, session, password):
    c = Conn(server.port, patience=60)
    got = c.connect(timeout=900000, session=session, password=password)
    c.drop()
    return got is not None and got.session == 0 and got.timeout == 0


def srvr_zxid(server):
    return int(re.search(rb"Zxid: 0x([0-9a-f]+)", server.word(b"srvr"))[1], 16)


def dump(c):
    """path -> (SHA-1 of the data, acl, stat, children), except below FLEETING, whose nodes go by themselves."""
    return {p: (None if data.ok().data is None else hashlib.sha1(data.data).digest(), acl.ok().acl, data.stat, sorted(kids.ok().children))
            for p, data, acl, kids in walk(c) if stays(p)}


def stays(path):
    """Whether a node does not go by itself."""
    return path != FLEETING and not path.startswith(FLEETING + "/")


def of_java(found):
    """What Java's classes found, in the form of `dump`."""
    return {p: n[:4] for p, n in found.nodes.items() if stays(p)}


def compare(before, after, who):
    assert before.keys() == after.keys(), f"{who}: missing {sorted(before.keys() - after.keys())[:9]}, new {sorted(after.keys() - before.keys())[:9]}"
    for path in before:
        for name, a, b in zip(("data", "acl", "stat", "children"), before[path], after[path]):
            assert a == b, f"{who}: {name} of {path}\n  was {str(a)[:400]}\n  is  {str(b)[:400]}"


def sessions_of_dump(server):
    text_ = server.word(b"dump").decode()
    tracker = text_[text_.index("SessionTracker dump"):text_.index("ephemeral nodes dump")]
    return {int(x, 16) for x in re.findall(r"\n\t0x([0-9a-f]+)", tracker)}


class Alive:
    """A session that is to expire at the next server is kept alive until this one ends."""

    def __init__(self, conn):
        self.conn, self.over = conn, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            while not self.over.wait(0.3):
                self.conn.ok(req.ping())
        except (Closed, OSError):
            pass

    def end(self):
        self.over.set()
        self.thread.join()


def empty_logs(directory):
    """Log files without a byte. 3.8, killed, may leave one, and cannot start from it (mended in 3.9.3); we can."""
    return [p for p in glob.glob(os.path.join(directory, "version-2", "log.*")) if os.path.getsize(p) == 0]


class Directory:
    """One directory over all its servers, and what must be in it."""

    def __init__(self, path, java, rng):
        self.path, self.java, self.rng = path, java, rng
        self.tree = self.zxid = None
        self.live, self.gone, self.fading = {}, {}, None  # session -> (password, timeout, ephemerals); session -> password
        self.conns, self.stages = [], 0
        self.containers, self.unreadable = set(), None
        # 3.8.0 loses the create2s that a later version, or we, log in a multi: it knows only create there
        self.old = java.kind == "java38"

    def fill(self, server):
        """Everything that can be stored."""
        n, rng = self.stages, self.rng
        a = connect(server)
        self.conns.append(a)
        top = f"/stage{n}"
        user = connect(server)
        user.ok(req.auth("digest", b"user:pw"))
        for r in a.burst(req.create(top, b"top"), req.create(f"{top}/null", None), req.create(f"{top}/empty", b""),
                         req.create(f"{top}/big", bytes(range(256)) * 400), req.create(f"{top}/näme – 中文", "wörd".encode()), req.create(f"{top}/versions")):
            r.ok()
        path = top
        for i in range(12):
            path += f"/{i}"
            a.ok(req.create(path))
        for r in a.burst(*(req.set_data(f"{top}/versions", b"%d" % i) for i in range(40)),
                         *(req.create(f"{top}/many-", b"x" * (i % 50), flags=SEQUENTIAL) for i in range(100)),
                         *(req.delete(f"{top}/many-{i:010}") for i in range(10, 40))):
            r.ok()
        # ACLs of all schemes, shared and changed; on the system's nodes too
        user.ok(req.create(f"{top}/auth", acl=[(ALL, "auth", "")]))
        a.ok(req.create(f"{top}/ip", acl=[(31, "ip", "10.0.0.0/8"), (1, "world", "anyone")]))
        a.ok(req.create(f"{top}/several", acl=[(31, "digest", f"own{n}:x"), (3, "ip", "127.0.0.1"), (1, "world", "anyone"), (16, "digest", "b:c")]))
        a.ok(req.create(f"{top}/acl"))
        for i in range(12):
            a.ok(req.set_acl(f"{top}/acl", [(31, "digest", f"u{i % 3}:{i % 3}")]))
        a.ok(req.set_acl(f"{top}/acl", OPEN) if n % 2 else req.set_acl("/zookeeper/quota", [(31, "digest", f"q{n}:x")]))
        a.ok(req.set_data("/zookeeper/config", b"server.1=localhost:2888:3888:participant;0.0.0.0:2181\nversion=%x" % n))
        # containers, TTL
        a.ok(req.create_container(f"{top}/container", b"c"))
        a.ok(req.create(f"{top}/container/kid"))
        a.ok(req.create_container(f"{top}/unused"))
        a.ok(req.create_ttl(f"{top}/ttl", 3_600_000, b"t"))
        a.ok(req.create_ttl(f"{top}/ttl-", 0xFFFFFFFFFF, flags=TTL_SEQUENTIAL))
        self.containers |= {f"{top}/container", f"{top}/unused"}
        # quotas, soft, hard and left behind without its subject
        at = "/zookeeper/quota"
        for name, limits in ((top, b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=1000"), (f"/none{n}", b"count=5,bytes=100"),
                             (f"{top}/versions", b"count=1,bytes=2")):
            a.do(req.create(f"{at}{name}"))
            a.ok(req.create(f"{at}{name}/zookeeper_limits", limits))
            a.ok(req.create(f"{at}{name}/zookeeper_stats", b"count=0,bytes=0"))
        a.ok(req.create(f"{top}/counted", b"12345"))
        # ephemerals of sessions that stay, of one that is closed, of one that expires here, of one that expires at the next
        for k, c in enumerate(self.conns):
            c.ok(req.create(f"{top}/eph{k}", b"e", flags=EPHEMERAL))
            c.ok(req.create(f"{top}/ephs-", flags=EPHEMERAL_SEQUENTIAL))
        user.ok(req.create(f"{top}/goes", flags=EPHEMERAL))
        user.ok(req.create(f"{top}/goes2", flags=EPHEMERAL))
        user.ok(req.close())
        user.drop()
        self.gone[user.session] = user.password
        short = connect(server, timeout=300)
        short.ok(req.create(f"{top}/expires", flags=EPHEMERAL))
        short.drop()
        self.gone[short.session] = short.password
        # multis and failures
        a.ok(req.create(f"{top}/m", b"1"))
        assert [r[1] for r in a.ok(req.multi(req.create(f"{top}/m/k"), req.set_data(f"{top}/m", b"2"), req.check(f"{top}/m", 1),
                                             req.delete(f"{top}/m/k"), req.create_container(f"{top}/m/c"), req.create_ttl(f"{top}/m/t", 10**9),
                                             req.create(f"{top}/m/e", flags=EPHEMERAL), req.create(f"{top}/m/s-", flags=SEQUENTIAL))).results] == [0] * 8
        self.containers.add(f"{top}/m/c")
        assert a.ok(req.multi(req.create(f"{top}/never"), req.set_data(f"{top}/m", b"never"), req.check(f"{top}/m", 77))).results[-1][1] == E.BADVERSION
        assert a.ok(req.multi(req.check(f"{top}/m", 1), req.create_ttl(f"{top}/never", 5), req.delete(f"{top}/m"), req.create_container(f"{top}/n"))
                    ).results[2][1] == E.NOTEMPTY
        for r in (req.create(top), req.set_data("/nope", b""), req.delete(top), req.set_acl(top, ()), req.create("/bad//path"),
                  req.set_data(f"{top}/m", b"", 99), req.delete(f"{top}/versions", 3), req.create_ttl(f"{top}/x", 0), req.create_container(f"{top}/m")):
            assert a.do(r).err != 0
        if "server.1" not in server.cfg:
            assert a.do(req.raw(OP.reconfig, text(None) + text(None) + text("server.1=a:1:2;3") + i64(-1))).err != 0
        # an ACL that all stages share, and a node that every stage changes
        a.ok(req.create(f"{top}/shared-acl", acl=OPEN + ((1, "digest", "all:stages"),)))
        a.do(req.create("/common", acl=OPEN + ((1, "digest", "all:stages"),)))
        a.ok(req.set_data("/common", b"stage %d" % n))
        a.ok(req.create("/common/n-", flags=SEQUENTIAL))
        for _ in range(rng.randrange(4)):
            a.ok(req.create("/common/n-", flags=SEQUENTIAL))
        # what must go by itself at the next server
        a.do(req.create(FLEETING))
        a.ok(req.create_ttl(f"{FLEETING}/ttl{n}", 5000))  # not before this server ends
        a.ok(req.create_container(f"{FLEETING}/container{n}"))
        a.ok(req.create(f"{FLEETING}/container{n}/kid"))
        deadline = time.monotonic() + 30
        while a.do(req.exists(f"{top}/expires")).err == 0:
            assert time.monotonic() < deadline, "a session does not expire"
            time.sleep(0.1)
        fading = connect(server, timeout=FADING_MS)
        fading.ok(req.create(f"{FLEETING}/fades{n}", flags=EPHEMERAL))
        self.fading, self.alive = fading, Alive(fading)

    def churn(self, server, count):
        """Random requests, most of them good; returns the connection."""
        rng, c = self.rng, connect(server)
        self.conns.append(c)
        c.do(req.create("/r"))
        kinds = ["create"] * 6 + ["set"] * 4 + ["delete"] * 3 + ["acl", "ttl", "container", "multi", "multi"]

        def one(kind, member=False):
            path = f"/r/{rng.randrange(30)}" + (f"/{rng.randrange(5)}" if rng.random() < 0.5 else "")
            data = rng.randbytes(rng.choice([0, 3, 50, 50, 900, 5000]))
            acl = rng.choice([OPEN, OPEN, [(rng.randrange(1, 32), "digest", f"r{rng.randrange(8)}:x"), (31, "world", "anyone")]])
            if kind == "create":
                return req.create(path, rng.choice([data, None]), acl, rng.choice([0, 0, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL]),
                                  OP.create if member and self.old else rng.choice([OP.create, OP.create2]))
            if kind == "set":
                return req.set_data(path, data, rng.choice([-1, -1, 0, 1]))
            if kind == "delete":
                return req.delete(path)
            if kind == "acl":
                return req.set_acl(path, acl)
            if kind == "ttl":
                return req.create_ttl(path, rng.randrange(10**6, 10**9), data, acl)
            return req.create_container(path, data, acl, CONTAINER) if kind == "container" else req.check(path, rng.randrange(3))

        def any_one():
            kind = rng.choice(kinds)
            if kind == "multi":
                return req.multi(*(one(rng.choice(["create", "create", "set", "delete", "check", "ttl"]), True) for _ in range(rng.randrange(1, 5))))
            return one(kind)

        while count > 0:
            batch = [any_one() for _ in range(min(count, rng.choice([1, 5, 40])))]
            c.burst(*batch)
            count -= len(batch)
        self.burst_now = lambda n: c.post_all([(any_one(), None) for _ in range(n)])
        return c

    def opened(self, server, who):
        """The server that has just started shows what the one before left."""
        zxid = srvr_zxid(server)
        assert zxid == self.zxid, f"{who}: zxid {zxid:#x} after {self.zxid:#x}"
        there = sessions_of_dump(server)
        assert there == set(self.live), (f"{who}: sessions missing {[hex(s) for s in set(self.live) - there]}, "
                                         f"too many {[hex(s) for s in there - set(self.live)]}")
        fading = self.fading and self.fading.session
        conns = []
        for session, (password, timeout, ephemerals) in self.live.items():
            if session == fading:
                continue
            c = connect(server, session=session, password=password, last_zxid=self.zxid, timeout=timeout)
            got = sorted(c.ok(req.get_ephemerals()).children)
            assert got == ephemerals, f"{who}: ephemerals of 0x{session:x}: {got}, must be {ephemerals}"
            conns.append(c)
        for session, password in self.gone.items():
            assert refused(server, session, password), f"{who}: 0x{session:x}, closed or expired before, is taken"
        for session in self.live:
            assert session == fading or refused(server, session, b"x" * 16), f"{who}: 0x{session:x} is taken with a wrong password"
            break
        conns[0].drop()  # the owner of the last may have been shut out by Java
        conns[0] = connect(server, session=conns[0].session, password=conns[0].password)
        look = conns[0]
        compare(self.tree, dump(look), who)
        if "/common" in self.tree:
            s = self.tree["/common"][2]
            wanted = f"/common/n-{(s.cversion + s.children) // 2:010}"
            got = look.ok(req.create("/common/n-", flags=SEQUENTIAL)).path
            assert got == wanted, f"{who}: sequential numbers: {got} instead of {wanted}"
        for c in conns[:-3]:  # not ever more sessions
            c.ok(req.close())
            c.drop()
            self.gone[c.session] = c.password
        self.conns = conns[-3:]

    def vanish(self, server, who, n):
        """What was to go at this server goes."""
        look = self.conns[0]
        look.ok(req.delete(f"{FLEETING}/container{n}/kid"))
        deadline = time.monotonic() + 40
        while left := [p for p in (f"{FLEETING}/ttl{n}", f"{FLEETING}/container{n}", f"{FLEETING}/fades{n}") if look.do(req.exists(p)).err == 0]:
            assert time.monotonic() < deadline, f"{who}: {left} did not go"
            time.sleep(0.2)
        self.gone[self.fading.session] = self.fading.password

    def settle(self, server):
        """Write until the newest zxid is one whose digest `hash` tells; then the state to be handed over. Returns the digest."""
        c = self.conns[0]
        for _ in range(20):
            zxid = srvr_zxid(server)
            if zxid % 128:
                c.burst(*(req.set_data("/common" if self.stages else "/r", b"settling") for _ in range(128 - zxid % 128)))
            self.tree = dump(c)
            rows = server.word(b"hash").decode().split("\n")
            zxid = srvr_zxid(server)
            last = [r for r in rows if r][-1].split(": ")
            if int(last[0], 16) == zxid:
                break
        else:
            raise AssertionError("zxids never stand still")
        self.zxid = zxid
        self.live = {c.session: (c.password, 900000, sorted(c.ok(req.get_ephemerals()).children)) for c in self.conns}
        if self.fading:
            self.live[self.fading.session] = (self.fading.password, FADING_MS, None)
        return int(last[1])

    def read_by_java(self, server, who, digest):
        """Java's classes find on disk what the server had shown."""
        data = server.cfg["dataDir"]
        found = self.java.read(data, server.cfg.get("dataLogDir", data))
        if digest is not None:
            assert found.zxid == self.zxid, f"{who}: Java reads zxid {found.zxid:#x} instead of {self.zxid:#x}"
            compare(self.tree, of_java(found), f"{who}, read by Java")
            assert found.digest == digest, f"{who}: Java computes digest {found.digest}, `hash` told {digest}"
            timeouts = {s: t for s, (_, t, _) in self.live.items()}
            assert found.sessions == timeouts, f"{who}: Java reads sessions {found.sessions}, must be {timeouts}"
            assert self.containers <= found.containers, f"{who}: no containers: {self.containers - found.containers}"
        assert found.mismatches == "[]", f"{who}: digests in the files differ at {found.mismatches}"
        for path, (_, _, _, _, owner) in found.nodes.items():
            assert (path in found.ttls) == (owner >> 56 & 0xFF == 0xFF), path
        return found

    def read_after(self, server, who, digest):
        """`read_by_java`, past two faults by which Java, killed, leaves files that it cannot read itself. We can, so they stay
        for the next server, if that is ours."""
        log_dir = server.cfg.get("dataLogDir", server.cfg["dataDir"])
        empty = empty_logs(log_dir) if self.old and server.kind != "ringkeeper" else []
        for p in empty:
            os.remove(p)
        try:
            return self.read_by_java(server, who, digest)
        except AssertionError as e:
            if server.kind == "ringkeeper" or "Failed to fetch acls" not in str(e):
                raise
            # A snapshot taken while ACLs came and went names ids that it does not define; replaying numbers them otherwise.
            newest = max(glob.glob(os.path.join(server.cfg["dataDir"], "version-2", "snapshot.*")), key=number)
            aside = os.path.join(self.path, "aside")
            os.rename(newest, aside)
            found = self.read_by_java(server, who, digest)
            os.rename(aside, newest)
            self.unreadable = newest
            print(f"      {self.stages}: {server.kind} left {os.path.basename(newest)}, which it cannot read", flush=True)
            return found
        finally:
            for p in empty:
                open(p, "wb").close()

    def stage(self, kind, settings, end, snapshots=True, fill=True, churn=0):
        """One server's turn."""
        self.stages += 1
        n, who = self.stages, f"stage {self.stages}, {kind}"
        settings = dict(settings)
        if "dataLogDir" in settings:
            settings["dataLogDir"] = os.path.join(self.path, "log")
        props = PROPS if snapshots else {**PROPS, "zookeeper.snapshot.trust.empty": "true"}
        server = Server(self.path, kind, {**CFG, **settings}, props)
        if kind == "java38":
            for p in empty_logs(settings.get("dataLogDir", server.cfg["dataDir"])):
                os.remove(p)
        if self.unreadable and kind != "ringkeeper":
            os.remove(self.unreadable)
            self.unreadable = None
        log_from = len(server.log_text())
        server.start()
        if self.unreadable:  # it has been read now, and later Java could not
            os.remove(self.unreadable)
            self.unreadable = None
        try:
            if self.tree:
                self.opened(server, who)
                if self.fading:
                    self.vanish(server, who, n - 1)
                    self.fading = None
            if fill:
                self.fill(server)
            if churn:
                self.churn(server, churn)
            digest = self.settle(server)
            metrics = dict(x.split("\t") for x in server.word(b"mntr").decode().splitlines() if "\t" in x)
            assert float(metrics.get("zk_digest_mismatches_count", 0)) == 0, f"{who}: digests differ"
            if end == "amid":
                before = srvr_zxid(server)
                self.burst_now(self.rng.randrange(50, 400))
                time.sleep(self.rng.random() * 0.05)
                server.kill()
                found = self.read_after(server, who, None)
                assert found.zxid >= before, f"{who}: Java reads zxid {found.zxid:#x}, {before:#x} was acknowledged"
                assert set(found.sessions) == set(self.live)
                self.zxid, self.tree = found.zxid, of_java(found)
                for session, (password, timeout, _) in list(self.live.items()):
                    self.live[session] = (password, timeout, sorted(p for p, x in found.nodes.items() if x[2].owner == session))
            else:
                status = getattr(server, end)()
                assert end == "kill" or status in (0, 143, -15), f"{who}: ended with status {status}"
                found = self.read_after(server, who, digest)
            trouble = DIGEST_TROUBLE.search(server.log_text()[log_from:])
            assert not trouble, f"{who}: {trouble[0]}\n{server.log_tail()}"
            if self.fading:
                self.alive.end()
            for c in self.conns + ([self.fading] if self.fading else []):
                c.drop()
            if not snapshots:
                for path in glob.glob(os.path.join(server.cfg["dataDir"], "version-2", "snapshot.*")):
                    os.remove(path)
            return server, found
        finally:
            server.kill()

    def ensemble(self, kind, settings):
        """A first turn in which the directory belongs to an ensemble of one, which is reconfigured."""
        os.makedirs(os.path.join(self.path, "data"), exist_ok=True)
        with open(os.path.join(self.path, "data", "myid"), "w", encoding="ascii") as f:
            f.write("1")
        port, peers = free_port(), f"127.0.0.1:{free_port()}:{free_port()}:participant"
        cfg = {**settings, "clientPort": port, "standaloneEnabled": "false", "reconfigEnabled": "true", "initLimit": 10, "syncLimit": 10,
               "server.1": f"{peers};127.0.0.1:{port}"}
        server = Server(self.path, kind, {**CFG, **cfg}, PROPS, port)
        server.start()
        try:
            c = connect(server)
            for members in (f"server.1={peers};127.0.0.1:{port}\nserver.2=127.0.0.1:1:2:observer;127.0.0.1:3", f"server.1={peers};127.0.0.1:{port}"):
                body = text(None) + text(None) + text(members.replace("\n", ",")) + i64(-1)
                got = c.do(req.raw(OP.reconfig, body, req.get_data("/").decode))
                assert got.err == 0, f"reconfig: {got}"
            assert b"version=" in c.ok(req.get_data("/zookeeper/config")).data
            self.conns = [c]
            self.stages += 1
            self.fill(server)
            digest = self.settle(server)
            server.kill()
            self.read_by_java(server, f"ensemble, {kind}", digest)
            self.alive.end()
            for c in self.conns + [self.fading]:
                c.drop()
        finally:
            server.kill()


def tool(kind, main, *args):
    """One of Java's tools, of Debian's or of the version under comparison."""
    jars = classpath(kind) + (":/usr/share/java/commons-cli.jar" if kind == "java38" else "")
    done = subprocess.run(["java", *JVM, f"-Dlog4j.configuration=file:{HARNESS}/quiet.properties", "-Dlog4j2.level=OFF",
                           "-Dzookeeper.extendedTypesEnabled=true", "-cp", jars, main, *args],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=120, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def number(path):
    return int(os.path.basename(path).split(".")[1], 16)


def read_with_tools(kind, server, found):
    """The logs have no gap; TxnLogToolkit and SnapshotFormatter read the newest files. Returns how many files there are."""
    data = server.cfg["dataDir"]
    logs = sorted(glob.glob(os.path.join(server.cfg.get("dataLogDir", data), "version-2", "log.*")), key=number)
    snapshots = sorted(glob.glob(os.path.join(data, "version-2", "snapshot.*")), key=number)
    assert len(found.logged) == 1 and found.logged[0][0] & 0xFFFFFFFF == 1 and found.logged[0][1] == found.zxid, f"the logs hold {found.logged}"
    status, out = tool(kind, "org.apache.zookeeper.server.persistence.TxnLogToolkit", "-d", logs[-1])
    assert status == 0 and "CRC ERROR" not in out and re.search(rf"zxid 0x{found.zxid:x} ", out), f"{logs[-1]}: status {status}\n{out[-800:]}"
    if snapshots:
        status, out = tool(kind, "org.apache.zookeeper.server.SnapshotFormatter", snapshots[-1])
        assert status == 0 and "ZNode Details" in out and "Last zxid" in out, f"{snapshots[-1]}: status {status}\n{out[-800:]}"
    return len(logs), len(snapshots)


def chain(directory, name, kind, other):
    """A case of the table."""
    first, end, settings, more, stages = CASES[name]
    order = [(other, settings), (kind, more)] if first != "kind" else [(kind, settings), (other, more)]
    for n in range(stages):
        who, cfg = order[n % 2]
        if first == "ensemble" and n == 0:
            directory.ensemble(who, cfg)
            continue
        last = directory.stage(who, cfg, end, snapshots="no snapshot" not in name)
    return last


def at_random(directory, kind, other, rounds):
    """Servers in turn with random settings, requests and ends."""
    rng = directory.rng
    who = rng.choice([kind, other])
    for _ in range(rounds):
        settings = {"snapCount": rng.choice([5, 40, 200, 100000]), "snapshot.compression.method": rng.choice([None, "gz", "snappy"])}
        end = rng.choice(["stop", "kill", "amid"])
        last = directory.stage(who, settings, end, fill=False, churn=rng.randrange(30, 500))
        print(f"      {directory.stages}: {who}, {settings}, {end}, zxid {directory.zxid:#x}, {len(directory.tree)} nodes", flush=True)
        if rng.random() < 0.85:
            who = kind if who == other else other
    return last


def over_the_edge(directory, kind, other):
    """Sequential names and child versions where 32 bits end: the same from both servers, on a snapshot crafted by Java's classes."""
    seen = []
    for who in (other, kind):
        path = os.path.join(directory.path, who)
        directory.java.craft(os.path.join(path, "data"))
        with Server(path, who, CFG, PROPS) as server:
            c, got = connect(server), []
            for parent in sorted(x for x in c.ok(req.get_children("/")).children if x.startswith("at")):
                for i in range(5):
                    made = c.do(req.create(f"/{parent}/n", flags=(SEQUENTIAL, EPHEMERAL_SEQUENTIAL)[i % 2]))
                    name = made.path or f"error {made.err}"
                    s = c.ok(req.exists(f"/{parent}")).stat
                    got.append((name, s.cversion, s.children, s.pzxid))
                    if i == 3:
                        c.do(req.delete(name))
            c.ok(req.close())
        seen.append(got)
    assert seen[0] == seen[1], "\n".join(f"{a} {b}" for a, b in zip(*seen) if a != b)
    names = [x[0] for x in seen[0]]
    assert {"/at-3/n-000000003", "/at-3/n0000000000", "/at2147483645/n2147483647", "/at999999999/n1000000000"} <= set(names), names
    return seen[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default=default_kind(), choices=KINDS)
    parser.add_argument("--other", default="java38", choices=KINDS)
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    args = parser.parse_args()
    seed = int(os.environ.get("RK_SEED") or random.SystemRandom().randrange(2**32))
    rounds = int(os.environ.get("RK_SWAP_ROUNDS", "8"))
    print(f"swap between {args.kind} and {args.other}, RK_SEED={seed}", flush=True)
    names = [name for name in [*CASES, EDGE, RANDOM] if args.case in name]

    def one(name):
        """Whether a case passed; most of its time is waiting, so two run at once."""
        directory = Directory(tempfile.mkdtemp(prefix="rk-swap-"), java, random.Random(f"{seed} {name}"))
        began = time.monotonic()
        try:
            if name == EDGE:
                got = over_the_edge(directory, args.kind, args.other)
                said = f"{len(got)} names, such as {got[0][0]}, {got[2][0]}"
            else:
                chain_ = at_random(directory, args.kind, args.other, rounds) if name == RANDOM else chain(directory, name, args.kind, args.other)
                logs, snapshots = read_with_tools(args.other, *chain_)
                said = f"{directory.stages} servers, {len(directory.tree)} nodes, zxid {directory.zxid:#x}, {logs} logs, {snapshots} snapshots"
        except Exception as e:
            print(f"FAIL  {name}: stage {directory.stages}: {type(e).__name__}: {e}\n      directory kept: {directory.path}", flush=True)
            return False
        print(f"ok    {name}: {said}, {time.monotonic() - began:.0f} s", flush=True)
        shutil.rmtree(directory.path, ignore_errors=True)
        return True

    began = time.monotonic()
    with JavaReader(args.other) as java, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(one, names))
    passed, failed = results.count(True), results.count(False)
    print(f"{time.monotonic() - began:.0f} s")
    print(f"swap: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
