"""Clients that work on an ensemble while things happen to it, and the history that they write for tools/checker.

A worker is one thread with one session at a time. It sends random requests, some of them several in one write; when a
connection fails, or stays silent for `patience`, it marks what was under way as open-ended and attaches its session
to another member. Every value that is written is unique (`w3.17`: worker 3, request 17), so that a reader's value
names its writer. The format of the history stands in tools/checker/src/history.rs.
"""

import json
import random
import threading
import time

from harness.wire import EPHEMERAL, SEQUENTIAL, ZERO, Closed, E, Event, Reader, req

KEYS = 24
ROOTS = ("/w", "/e", "/q")


class History:
    """A file of JSON lines that all threads write."""

    def __init__(self, path):
        self.path, self.lock = path, threading.Lock()
        self.file = open(path, "w", encoding="utf-8")

    def write(self, kind, **fields):
        line = json.dumps({"t": kind, **fields}, separators=(",", ":"))
        with self.lock:
            self.file.write(line + "\n")

    def close(self):
        self.file.close()


def stat_fields(s):
    return {"czxid": s.czxid, "mzxid": s.mzxid, "pzxid": s.pzxid, "version": s.version, "cversion": s.cversion, "owner": s.owner,
            "children": s.children}


class Worker:
    """One client of the ensemble."""

    def __init__(self, ensemble, history, number, seed, timeout=60000, members=None, pause=0.0, patience=4.0, burst=True):
        self.ensemble, self.history, self.name = ensemble, history, f"w{number}"
        self.rng = random.Random(f"{seed}-{number}")
        self.timeout, self.members, self.pause, self.patience, self.burst = timeout, members, pause, patience, burst
        self.conn, self.member, self.session, self.password, self.zxid = None, None, 0, ZERO, 0
        self.next_xid = 1
        self.sent = self.answered = self.moves = self.expired = 0
        self.ephemerals, self.watched = [], set()
        self.over, self.thread, self.trouble = threading.Event(), None, None
        self.gap = (0.0, time.monotonic())  # the longest time without an answer, and the last answer

    # sessions

    def note(self, event, **more):
        self.history.write("session", client=self.name, session=f"{self.session:x}", event=event, at=time.monotonic_ns(), **more)

    def attach(self, only=None, until=None):
        """A connection with the old session, or with a new one if that is gone; tries members until one lets it in."""
        while not self.over.is_set() or only:
            choice = only or self.rng.choice(self.members or self.ensemble.running or list(self.ensemble.members))
            began = time.monotonic_ns()
            got = self.ensemble.try_connect(choice, self.patience, timeout=self.timeout, session=self.session, password=self.password,
                                            last_zxid=self.zxid)
            if got is None:
                assert until is None or time.monotonic() < until, f"{self.name}: member {choice} lets nobody in"
                time.sleep(0.05)
                continue
            conn, answer = got
            if answer.session == 0:
                self.note("expired", member=choice)
                self.expired += 1
                self.forget()
                conn.drop()
                continue
            new = self.session != answer.session
            assert new == (self.session == 0), f"{self.name}: asked for session {self.session:x}, given {answer.session:x}"
            conn.next_xid = 1 if new else self.next_xid
            self.conn, self.member, self.session, self.password = conn, choice, answer.session, answer.password
            self.note("open" if new else "moved", member=choice, timeout=answer.timeout, invoke=began)
            self.moves += not new
            self.rewatch()
            return

    def forget(self):
        self.session, self.password, self.next_xid = 0, ZERO, 1
        self.ephemerals, self.watched = [], set()

    def rewatch(self):
        """Watches are the client's: it tells the new member of them, as every client library does."""
        if not self.watched:
            return
        by = {k: [p for p, kind in self.watched if kind == k] for k in ("data", "exist", "child")}
        try:
            xid = self.conn.post(req.set_watches(self.zxid, by["data"], by["exist"], by["child"]))
            self.take(req.set_watches(0), xid).ok()
        except (Closed, OSError):
            self.lost()

    def lost(self, why="lost"):
        """The connection is over; the session may not be."""
        self.note(why, member=self.member)
        self.conn.drop()
        self.next_xid, self.conn = self.conn.next_xid, None

    def leave(self):
        """Drop the connection without a word."""
        if self.conn:
            self.lost()

    def close(self):
        """Close the session and say with which zxid."""
        began = time.monotonic_ns()
        try:
            reply = self.take(req.close(), self.conn.post(req.close()))
            self.note("closed", zxid=reply.zxid, invoke=began, member=self.member)
        except (Closed, OSError):
            self.note("closing", invoke=began, member=self.member)
        self.conn.drop()
        self.conn = None
        self.forget()

    # requests

    def value(self):
        self.sent += 1
        return f"{self.name}.{self.sent}"

    def choose(self):
        """(fields of the history, request)."""
        rng, data = self.rng, self.value()
        key = f"/w/{rng.randrange(KEYS)}"
        what = rng.random()
        watch = rng.random() < 0.3
        if what < 0.22:
            return {"op": "get", "path": key, "watch": watch}, req.get_data(key, watch)
        if what < 0.27:
            return {"op": "exists", "path": key, "watch": watch}, req.exists(key, watch)
        if what < 0.32:
            path = rng.choice(ROOTS)
            return {"op": "children", "path": path, "watch": watch}, req.get_children2(path, watch)
        if what < 0.38:
            return {"op": "sync", "path": key}, req.sync(key)
        if what < 0.56:
            return {"op": "create", "path": key, "data": data}, req.create2(key, data.encode())
        if what < 0.76:
            version = rng.choice([-1, -1, -1, rng.randrange(4)])
            return {"op": "set", "path": key, "data": data, "version": version}, req.set_data(key, data.encode(), version)
        if what < 0.83:
            return {"op": "delete", "path": key}, req.delete(key)
        if what < 0.89:
            path = f"/e/{data}"
            return {"op": "create", "path": path, "data": data, "ephemeral": True}, req.create2(path, data.encode(), flags=EPHEMERAL)
        if what < 0.91 and self.ephemerals:
            path = self.ephemerals.pop(rng.randrange(len(self.ephemerals)))
            return {"op": "delete", "path": path}, req.delete(path)
        if what < 0.93 and self.ephemerals:
            path = rng.choice(self.ephemerals)
            return {"op": "get", "path": path, "watch": False}, req.get_data(path)
        if what < 0.97:
            return {"op": "create", "path": "/q/n-", "data": data, "sequential": True}, req.create2("/q/n-", data.encode(), flags=SEQUENTIAL)
        other = f"/w/{rng.randrange(KEYS)}"
        ops = [{"op": "create", "path": other, "data": data + "a"}, {"op": "set", "path": key, "data": data + "b", "version": -1}]
        return {"op": "multi", "ops": ops}, req.multi(req.create(other, (data + "a").encode()), req.set_data(key, (data + "b").encode()))

    def event(self, e):
        """Watches go when they fire: data and existence share their paths, and a deletion fires all."""
        kinds = {1: ("exist", "data"), 2: ("data", "exist", "child"), 3: ("data", "exist"), 4: ("child",)}[e.type]
        self.watched -= {(e.path, k) for k in kinds}
        self.history.write("event", client=self.name, type=e.type, path=e.path, zxid=e.zxid, at=time.monotonic_ns())

    def take(self, request, xid):
        """The reply to come, after the events before it."""
        while isinstance(got := self.conn.next_frame(), Event):
            self.event(got)
        assert got.xid == xid, f"{self.name}: expected the reply to xid {xid}, got {got}"
        if got.err == 0 and request.decode:
            for k, v in request.decode(Reader(got.raw)).items():
                setattr(got, k, v)
        self.zxid = max(self.zxid, got.zxid)
        now = time.monotonic()
        self.gap = (max(self.gap[0], now - self.gap[1]), now)
        return got

    def answer(self, fields, began, reply):
        """Write down one answered request."""
        fields.update(zxid=reply.zxid, err=reply.err)
        if reply.err == 0:
            if reply.stat is not None:
                fields["stat"] = stat_fields(reply.stat)
            if fields["op"] == "get":
                fields["value"] = reply.data.decode()
            if fields["op"] == "children":
                fields["names"] = sorted(reply.children)
            if fields["op"] == "create":
                fields["created"] = reply.path
                if fields.get("ephemeral"):
                    self.ephemerals.append(reply.path)
            if fields["op"] == "multi":
                errors = [r[1] for r in reply.results]
                fields["err"] = next((e for e in errors if e), 0)
                for op, result in zip(fields["ops"], reply.results):
                    if fields["err"] == 0 and op["op"] == "set":
                        op["stat"] = stat_fields(result[-1])
        if fields.get("watch"):
            kind = {"get": "data", "exists": "exist" if reply.err else "data", "children": "child"}[fields["op"]]
            if reply.err == 0 or (fields["op"] == "exists" and reply.err == E.NONODE):
                self.watched.add((fields["path"], kind))
            else:
                fields["watch"] = False
        self.answered += 1
        self.record(fields, began, time.monotonic_ns())

    def record(self, fields, began, ended):
        self.history.write("op", client=self.name, session=f"{self.session:x}", member=self.member, invoke=began, **{"return": ended}, **fields)

    def step(self, *chosen):
        """One write of requests and its replies; False when the connection was lost."""
        chosen = list(chosen) or [self.choose() for _ in range(self.rng.choice([1, 1, 1, 2, 6]) if self.burst else 1)]
        began = time.monotonic_ns()
        done = 0
        try:
            xids = self.conn.post_all([(r, None) for _, r in chosen])
            for (fields, request), xid in zip(chosen, xids):
                self.answer(fields, began, self.take(request, xid))
                done += 1
            return True
        except (Closed, OSError):
            for fields, _ in chosen[done:]:
                if fields["op"] not in ("get", "exists", "children", "sync"):
                    self.record(fields, began, None)
            self.lost()
            return False

    # the thread

    def start(self):
        self.over.clear()
        self.gap = (0.0, time.monotonic())
        self.thread = threading.Thread(target=self.work, daemon=True, name=self.name)
        self.thread.start()
        return self

    def work(self):
        try:
            while not self.over.is_set():
                if self.conn is None:
                    self.attach()
                    continue
                self.step()
                if self.pause:
                    self.over.wait(self.pause * self.rng.random() * 2)
        except BaseException as e:
            self.trouble = e

    def stop(self):
        self.over.set()
        self.thread.join(60)
        assert not self.thread.is_alive(), f"{self.name} hangs"
        self.gap = (max(self.gap[0], time.monotonic() - self.gap[1]), self.gap[1])
        if self.trouble:
            raise self.trouble


class Load:
    """A history with its workers."""

    def __init__(self, ensemble, workers=4, seed=1, **settings):
        self.ensemble = ensemble
        self.history = History(f"{ensemble.dir}/history.jsonl")
        self.lower = ensemble.connect(ensemble.running[0])
        for root in ROOTS:
            self.lower.ok(req.create(root))
        self.lower.quit()
        self.workers = [Worker(ensemble, self.history, n, seed, **settings) for n in range(1, workers + 1)]

    def start(self):
        for w in self.workers:
            w.start()
        return self

    def run(self, seconds):
        """Let them work; fails as soon as one of them does."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(0.1, left))
            self.check()
        return self

    def check(self):
        for w in self.workers:
            if w.trouble:
                raise w.trouble

    def progress(self, count=20, timeout=60.0):
        """Until this many more requests were answered."""
        before, until = self.answered, time.monotonic() + timeout
        while self.answered < before + count:
            self.check()
            assert time.monotonic() < until, f"only {self.answered - before} answers within {timeout} s"
            time.sleep(0.02)
        return self

    @property
    def answered(self):
        return sum(w.answered for w in self.workers)

    def stop(self):
        for w in self.workers:
            w.stop()
        return self

    def finish(self, finals):
        """Write the trees that the members show at the end, and one more sign of life of each session."""
        for sid, (zxid, nodes) in finals.items():
            self.history.write("final", member=sid, zxid=zxid, nodes={
                p: [s.czxid, s.mzxid, s.pzxid, s.version, s.cversion, s.owner, data.decode()]
                for p, (data, _, s, _) in nodes.items() if p.startswith(tuple(r + "/" for r in ROOTS))})
        for w in self.workers:
            if w.conn is not None:
                w.step(({"op": "sync", "path": "/w"}, req.sync("/w")))
            if w.conn is not None:
                w.conn.quit()
        self.history.close()
        return self.history.path
