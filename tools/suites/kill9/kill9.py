#!/usr/bin/env python3
"""Kill the server at random moments, start it again on the same directory, and hold it to every acknowledgement.

    kill9.py [--kind ringkeeper|java38|java395] [--calm]      RK_KILL_ROUNDS (20) and RK_SEED from the environment

Several sessions write without waiting for answers: creates, sets with and without versions, deletes, ACLs, multis
that succeed and multis that fail, ephemerals, and sequential nodes in a directory they share. Each writer owns a
subtree, so a small model predicts every answer, and after a crash it knows what must be there: all that was
acknowledged, and of what was in flight a prefix, because one session's writes are carried out in order.

After each restart this must hold:
  * every node's data, version, ACL version, child version, owner and zxids are those of the model after its
    acknowledged operations and some prefix of those in flight; deleted nodes stay deleted;
  * every acknowledged sequential name is there with its data, no two are equal, and no operation has two;
  * each session re-attaches with its password although it says the last zxid it saw; its ephemerals are there;
  * zxids go on: what is written now is above all that was ever acknowledged.
Some rounds also kill the server while it recovers. Unless --calm is given, snapshots are forced: snapCount is drawn anew
for each start from 2 to 200, snapshots are compressed in all ways, log files are tiny, purges come five times a second
(Java: at each start), and a ballast of some thousand nodes makes a snapshot take a while, so that many kills interrupt one.
After each restart nothing temporary is left, and neither snapshots nor prepared segments pile up.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.servers import KINDS, Server, default_kind  # noqa: E402
from harness.wire import EPHEMERAL, OPEN, SEQUENTIAL, Closed, Conn, E, req, walk  # noqa: E402

WRITERS = 5
OTHER_ACL = OPEN + ((1, "digest", "someone:secret"),)
UNKNOWN = None  # a zxid that was not acknowledged


class Node:
    """What is expected of one node."""

    __slots__ = ("data", "version", "aversion", "acl", "changes", "ephemeral", "kids", "czxid", "mzxid", "pzxid")

    def __init__(self, data, zxid, ephemeral=False):
        self.data, self.version, self.aversion, self.acl, self.changes = data, 0, 0, OPEN, 0
        self.ephemeral, self.kids = ephemeral, set()
        self.czxid = self.mzxid = self.pzxid = zxid

    def copy(self):
        n = Node.__new__(Node)
        for name in Node.__slots__:
            setattr(n, name, getattr(self, name))
        n.kids = set(self.kids)
        return n


class Model:
    """One writer's subtree."""

    def __init__(self, root):
        self.nodes = {root: Node(b"", UNKNOWN)}

    def copy(self):
        m = Model.__new__(Model)
        m.nodes = {p: n.copy() for p, n in self.nodes.items()}
        return m

    def apply(self, op, zxid):
        """Carry one operation out; returns the error it must answer with, or for a multi the list of errors."""
        if op[0] != "multi":
            return self.one(op, zxid)
        touched = {p for o in op[1:] for p in (o[1], o[1].rpartition("/")[0])}
        saved = {p: self.nodes[p].copy() if p in self.nodes else None for p in touched}
        errors = []
        for member in op[1:]:
            errors.append(E.RUNTIMEINCONSISTENCY if errors and errors[-1] != 0 else self.one(member, zxid))
        if errors[-1] != 0:
            for p, n in saved.items():
                if n is None:
                    self.nodes.pop(p, None)
                else:
                    self.nodes[p] = n
        return errors

    def one(self, op, zxid):
        what, path = op[0], op[1]
        node, parent_path = self.nodes.get(path), path.rpartition("/")[0]
        parent = self.nodes.get(parent_path)
        if what == "create":
            if parent is None:
                return E.NONODE
            if node is not None:
                return E.NODEEXISTS
            if parent.ephemeral:
                return E.NOCHILDRENFOREPHEMERALS
            self.nodes[path] = Node(op[2], zxid, op[3] == EPHEMERAL)
            parent.kids.add(path)
            parent.changes += 1
            parent.pzxid = zxid
        elif what == "delete":
            if parent is None or node is None:
                return E.NONODE
            if op[2] not in (-1, node.version):
                return E.BADVERSION
            if node.kids:
                return E.NOTEMPTY
            del self.nodes[path]
            parent.kids.discard(path)
            parent.changes += 1
            parent.pzxid = zxid
        elif node is None:
            return E.NONODE
        elif what == "set":
            if op[3] not in (-1, node.version):
                return E.BADVERSION
            node.data, node.version, node.mzxid = op[2], node.version + 1, zxid
        elif what == "check":
            if op[2] not in (-1, node.version):
                return E.BADVERSION
        elif what == "acl":
            node.acl, node.aversion = op[2], node.aversion + 1
        return 0

    def close_session(self, zxid):
        for path in [p for p, n in self.nodes.items() if n.ephemeral]:
            self.one(("delete", path, -1), zxid)

    def difference(self, actual, session):
        """First difference to what the server holds, or None."""
        if actual.keys() != self.nodes.keys():
            return f"missing {sorted(self.nodes.keys() - actual.keys())[:5]}, too many {sorted(actual.keys() - self.nodes.keys())[:5]}"
        for path, n in self.nodes.items():
            data, acl, s = actual[path]
            for name, want, have in [
                ("data", n.data, data), ("version", n.version, s.version), ("aversion", n.aversion, s.aversion), ("acl", list(n.acl), acl),
                ("cversion", n.changes, s.cversion), ("children", len(n.kids), s.children), ("owner", session if n.ephemeral else 0, s.owner),
                ("czxid", n.czxid, s.czxid), ("mzxid", n.mzxid, s.mzxid), ("pzxid", n.pzxid, s.pzxid),
            ]:
                if want != have and not (want is UNKNOWN and name.endswith("zxid")):
                    return f"{path}: {name} is {str(have)[:60]}, must be {str(want)[:60]}"
        return None

    def adopt(self, actual):
        """Take over zxids that were not acknowledged."""
        for path, n in self.nodes.items():
            n.czxid, n.mzxid, n.pzxid = (getattr(actual[path][2], k) for k in ("czxid", "mzxid", "pzxid"))


def request_of(op):
    what = op[0]
    if what == "create":
        return req.create(op[1], op[2], flags=op[3])
    if what == "seq":
        return req.create("/seq/n-", op[1], flags=SEQUENTIAL)
    if what == "delete":
        return req.delete(op[1], op[2])
    if what == "set":
        return req.set_data(op[1], op[2], op[3])
    if what == "acl":
        return req.set_acl(op[1], op[2])
    if what == "check":
        return req.check(op[1], op[2])
    return req.multi(*(request_of(o) for o in op[1:]))


class Writer:
    """One session that writes, and all it knows."""

    def __init__(self, number, rng):
        self.root, self.rng, self.number = f"/w{number}", rng, number
        self.acked, self.sent = Model(self.root), Model(self.root)
        self.inflight, self.conn, self.top = [], None, 0
        self.names, self.counter, self.answers = {}, 0, 0
        self.trouble = None

    def next_op(self):
        r, m = self.rng, self.sent
        data = lambda: r.randbytes(r.choice([0, 1, 10, 100, 100, 1000, 6000]))  # noqa: E731

        def path():
            p = f"{self.root}/{r.randrange(40)}"
            return f"{p}/{r.randrange(4)}" if r.random() < 0.4 else p

        def version(p):
            return r.choice([-1, -1, m.nodes[p].version if p in m.nodes else 0, r.randrange(3)])

        def single(kinds):
            p, kind = path(), r.choice(kinds)
            if kind == "create":
                return ("create", p, data(), EPHEMERAL if r.random() < 0.2 else 0)
            if kind == "set":
                return ("set", p, data(), version(p))
            if kind == "acl":
                return ("acl", p, r.choice([OPEN, OTHER_ACL]))
            return (kind, p, version(p))

        x = r.random()
        if x < 0.12:
            self.counter += 1
            return ("seq", b"%d-%d" % (self.number, self.counter))
        if x < 0.25:
            return ("multi", *(single(["create", "create", "set", "set", "delete", "check"]) for _ in range(r.randrange(1, 7))))
        return single(["create", "create", "create", "set", "set", "set", "delete", "delete", "acl"])

    def work(self):
        """Write until the connection breaks."""
        try:
            while True:
                batch = [self.next_one() for _ in range(self.rng.choice([1, 2, 5, 20, 60]))]
                self.inflight += zip(batch, self.conn.post_all([(request_of(o), None) for o in batch]))
                keep = self.rng.choice([0, 0, 5, 40])
                while len(self.inflight) > keep:
                    self.take()
        except (Closed, OSError):
            pass
        except BaseException as e:
            self.trouble = e

    def next_one(self):
        op = self.next_op()
        if op[0] != "seq":
            self.sent.apply(op, UNKNOWN)
        return op

    def take(self):
        op, xid = self.inflight[0]
        got = self.conn.reply(request_of(op), xid)
        self.inflight.pop(0)
        self.answers += 1
        assert got.zxid > self.top, f"zxid {got.zxid} after {self.top}"
        self.top = got.zxid
        if op[0] == "seq":
            assert got.err == 0, got
            self.names[op[1]] = got.path
        elif op[0] == "multi":
            want = self.acked.apply(op, got.zxid)
            have = [r[1] for r in got.results]
            assert have == (want if want[-1] == 0 else [0] * want.index(next(e for e in want if e)) + [e for e in want if e]), (op, want, have)
        else:
            want = self.acked.apply(op, got.zxid)
            assert got.err == want, (op, want, got)

    def drain_late(self):
        """Answers that were already on their way when the server was killed count as given."""
        try:
            while self.inflight:
                self.take()
        except (Closed, OSError):
            pass

    def verify(self, actual, sequential):
        """Find how much of what was in flight survived; adopt it."""
        mine = {d: p for d, p in sequential if d.startswith(b"%d-" % self.number)}
        for data, path in self.names.items():
            assert mine.get(data) == path, f"sequential {path} with {data} was acknowledged, found {mine.get(data)}"
        places = [i for i, (op, _) in enumerate(self.inflight) if op[0] == "seq"]
        extra = set(mine) - set(self.names)
        assert extra == {self.inflight[i][0][1] for i in places[:len(extra)]}, f"sequential nodes {extra} are no prefix of those in flight"
        least = places[len(extra) - 1] + 1 if extra else 0
        most = places[len(extra)] if len(extra) < len(places) else len(self.inflight)
        for data in extra:
            self.names[data] = mine[data]

        model, found, first = self.acked, None, None
        for prefix in range(most + 1):
            if prefix and self.inflight[prefix - 1][0][0] != "seq":
                model.apply(self.inflight[prefix - 1][0], UNKNOWN)
            if prefix < least:
                continue
            problem = model.difference(actual, self.conn.session)
            if problem is None:
                found = prefix
                break
            first = first or problem
        assert found is not None, (f"{self.root}: {first}; nothing between {least} and {most} of {len(self.inflight)} operations in flight "
                                   f"explains it (last tried: {problem})")
        model.adopt(actual)
        survived, self.inflight = found, []
        self.sent = self.acked.copy()
        return survived

    def attach(self, port, new=False):
        """Re-attach, or open a session."""
        old, self.conn = self.conn, Conn(port, patience=60)
        if new:
            assert self.conn.connect(timeout=120000, last_zxid=self.top) is not None
            return
        old.drop()
        got = self.conn.connect(timeout=120000, session=old.session, password=old.password, last_zxid=max(self.top, old.last_zxid))
        assert got is not None, f"{self.root}: refused as ahead of the server (zxid {max(self.top, old.last_zxid)})"
        assert got.session == old.session, f"{self.root}: session 0x{old.session:x} was acknowledged and is gone"

    def renew(self, port):
        """Close the session properly and open another."""
        got = self.conn.ok(req.close())
        self.top = got.zxid
        for model in (self.acked, self.sent):
            model.close_session(got.zxid)
        self.conn.drop()
        self.attach(port, new=True)


def dump(c, root):
    """path -> (data, acl, stat) of a subtree."""
    return {p: (data.ok().data, acl.ok().acl, data.stat) for p, data, acl, kids in walk(c, root) if kids.ok()}


class Files:
    """The data directory as the kills leave it."""

    BALLAST = 3000

    def __init__(self, server, rng, calm):
        self.server, self.rng, self.calm = server, rng, calm
        self.ours = server.kind == "ringkeeper"
        self.data = os.path.join(server.dir, "data", "version-2")
        self.interrupted = self.kills = self.most = 0

    def vary(self):
        """Settings of the next start."""
        if self.calm:
            return
        self.server.cfg.update({
            "snapCount": self.rng.choice([2, 10, 40, 200]), "snapshot.compression.method": self.rng.choice([None, "gz", "snappy"]),
            "preAllocSize": self.rng.choice([16, 64, 256]), "txnLogSizeLimitInKb": self.rng.choice([None, 20, 100]),
            "autopurge.snapRetainCount": 3, "autopurge.purgeInterval": "200ms" if self.ours else 1})

    def names(self, prefix=""):
        return [x for x in os.listdir(self.data) if x.startswith(prefix)]

    def load(self, c):
        """Nodes that nobody touches."""
        if not self.calm:
            c.ok(req.create("/ballast"))
            for at in range(0, self.BALLAST, 500):
                for r in c.burst(*(req.create(f"/ballast/{i}", b"%d " % i * 100) for i in range(at, at + 500))):
                    r.ok()

    def unload(self, server):
        """They are all there at the end."""
        if not self.calm:
            c = Conn(server.port)
            c.connect()
            for i, r in enumerate(c.burst(*(req.get_data(f"/ballast/{i}") for i in range(self.BALLAST)))):
                assert r.ok().data == b"%d " % i * 100, f"/ballast/{i}"
            assert c.ok(req.get_all_children_number("/ballast")).count == self.BALLAST
            c.drop()

    def killed(self):
        """Whether this kill interrupted a snapshot."""
        self.kills += 1
        self.interrupted += "ringkeeper-snapshot.tmp" in self.names()
        self.most = max(self.most, len(self.names("snapshot.")))

    def started(self):
        """What the kill left is cleaned up. A long log may make the server begin a snapshot at once; that one ends."""
        if not self.ours:
            return
        self._soon(lambda: not [x for x in self.names() if "tmp" in x], "a temporary file stays")
        prepared = self.names("ringkeeper-prepared")
        assert len(prepared) <= 4, f"prepared segments pile up: {prepared}"
        if not self.calm:
            self._soon(lambda: len(self.names("snapshot.")) <= 3, "not purged")

    def _soon(self, holds, problem):
        until = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < until, f"{problem}: {sorted(self.names())}"
            time.sleep(0.02)

    def summary(self):
        removed = self.server.log_text().count("Removing file")
        return f"{self.kills} kills, {self.interrupted} of them amid a snapshot; at most {self.most} snapshots, {removed} files purged"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default=default_kind(), choices=KINDS)
    parser.add_argument("--calm", action="store_true", help="neither force snapshots nor purges")
    args = parser.parse_args()
    rounds = int(os.environ.get("RK_KILL_ROUNDS", "20"))
    seed = int(os.environ.get("RK_SEED") or random.SystemRandom().randrange(2**32))
    print(f"kill9 on {args.kind}: {rounds} rounds, RK_SEED={seed}", flush=True)
    rng = random.Random(seed)
    directory = tempfile.mkdtemp(prefix="rk-kill9-")
    server = Server(directory, args.kind, {
        "snapCount": 200, "preAllocSize": 64, "extendedTypesEnabled": "true", "maxSessionTimeout": 200000,
        "snapshot.compression.method": rng.choice([None, None, "gz"])})
    files = Files(server, rng, args.calm)
    files.vary()
    server.start()
    setup = Conn(server.port)
    setup.connect()
    files.load(setup)
    writers = [Writer(n, random.Random(rng.random())) for n in range(WRITERS)]
    for p in ["/seq"] + [w.root for w in writers]:
        setup.ok(req.create(p))
    setup.quit()
    for w in writers:
        w.attach(server.port, new=True)

    passed, answers = 0, 0
    began = time.monotonic()
    try:
        for n in range(1, rounds + 1):
            threads = [threading.Thread(target=w.work) for w in writers]
            for t in threads:
                t.start()
            time.sleep(rng.choice([0.02, 0.1, 0.3, 0.7]) * (0.5 + rng.random()))
            server.kill()
            for t in threads:
                t.join(60)
                assert not t.is_alive(), "a writer hangs"
            files.killed()
            for w in writers:
                if w.trouble:
                    raise w.trouble
                w.drain_late()
            again = 0
            while rng.random() < 0.3:
                again += 1
                files.vary()
                server.spawn()
                time.sleep(rng.random() * (0.15 if args.kind == "ringkeeper" else 1.5))
                server.kill()
                files.killed()
            files.vary()
            server.start()
            files.started()
            top = max(w.top for w in writers)
            for w in writers:
                w.attach(server.port)
            look = Conn(server.port)
            look.connect(last_zxid=top)
            names = look.ok(req.get_children("/seq")).children
            sequential = list(zip([r.ok().data for r in look.burst(*(req.get_data(f"/seq/{x}") for x in names))], (f"/seq/{x}" for x in names)))
            assert len({d for d, _ in sequential}) == len(sequential), "one operation made two sequential nodes"
            survived = inflight = 0
            for w in writers:
                inflight += len(w.inflight)
                survived += w.verify(dump(look, w.root), sequential)
                mine = {p for p, node in w.acked.nodes.items() if node.ephemeral}
                assert set(w.conn.ok(req.get_ephemerals(w.root)).children) == mine
            assert look.ok(req.close()).zxid > top, "zxids went backwards"
            look.drop()
            for w in writers:
                if rng.random() < 0.2:
                    w.renew(server.port)
            now = sum(w.answers for w in writers)
            print(f"round {n}: {now - answers} acknowledged, {inflight} in flight of which {survived} survived"
                  + (f", killed {again} times while recovering" if again else "") + f", zxid {top:#x}", flush=True)
            answers, passed = now, n
        files.unload(server)
    except BaseException as e:
        print(f"round {passed + 1} failed, RK_SEED={seed}, directory kept: {directory}\n{type(e).__name__}: {e}\n{server.log_tail()}")
        server.kill()
        print(f"kill9: {passed} passed, 1 failed")
        return 1
    server.kill()
    left, summary = len(files.names()), files.summary()
    shutil.rmtree(directory, ignore_errors=True)
    print(f"{answers} operations acknowledged, {left} files left, {time.monotonic() - began:.0f} s")
    print(summary)
    print(f"kill9: {passed} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
