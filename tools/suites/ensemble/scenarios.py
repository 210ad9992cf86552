"""What happens to an ensemble, one function each. A scenario gets a `Stage` and a layout (members.py), and fails by raising.

Every scenario ends with `Stage.judge`, unless it has no history: all members show equal trees, the history satisfies
tools/checker, and after the end Java's own classes find the same tree and equal digests in the files of all members.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from harness.servers import ROOT, NotStarted, free_port
from harness.wire import EPHEMERAL, OP, SEQUENTIAL, Closed, Conn, E, digest_id, i64, req, text
from members import TICK_MS, Ensemble
from trees import agreed, files_agree
from workload import Load

TICK = TICK_MS / 1000
# What a learner says of how it was synchronised: Java's words and ours. Ours says nothing of a DIFF.
SYNC_WORDS = {
    "DIFF": (r"Getting a diff from the leader", r"(?s)^(?!.*(the snapshot of leader|going back from)).*following leader"),
    "SNAP": (r"Getting a snapshot from leader", r"the snapshot of leader"),
    "TRUNC": (r"Truncating log to get in sync", r"going back from"),
}


def checker():
    """The program that judges histories."""
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
    found = [p for p in (os.environ.get("CHECKER_BIN"), f"{target}/release/checker", f"{target}/debug/checker") if p and os.path.exists(p)]
    if not found:
        raise SystemExit("cargo build --release -p checker, or set CHECKER_BIN")
    return found[0]


class Stage:
    """What scenarios share: the reader of files, the seed, how long things last, and the ensembles that were made."""

    def __init__(self, java, seed, seconds, rounds):
        self.java, self.seed, self.seconds, self.rounds = java, seed, seconds, rounds
        self.rng = random.Random(seed)
        self.made, self.notes = [], []

    def ensemble(self, layout, **settings):
        e = Ensemble(layout, **settings)
        self.made.append(e)
        return e

    def note(self, text):
        self.notes.append(text)

    def judge(self, e, load=None, skip=(), without=()):
        """Everything that must hold at the end, of all members but those that have left."""
        if load:
            load.stop()
        e.wait()
        finals = agreed(e)
        if load:
            path = load.finish(finals)
            java = [str(sid) for sid, m in e.members.items() if m.wrote != {"ringkeeper"}]
            command = [checker(), path] + [x for rule in skip for x in ("--skip", rule)] + [x for sid in java for x in ("--lax-sync", sid)]
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            assert result.returncode == 0, f"the history is refused:\n{result.stdout[-4000:]}"
            self.note(result.stdout.strip().splitlines()[-1])
            finals = agreed(e)
        e.stop()
        self.notes += files_agree(e, self.java, finals, without)


def others(e, sid):
    return [s for s in e.members if s != sid]


def fill(c, root, count, size=40):
    """Nodes in one go."""
    c.do(req.create(root))
    for at in range(0, count, 200):
        for r in c.burst(*(req.create(f"{root}/{i}", b"%d " % i * (size // 4)) for i in range(at, min(count, at + 200)))):
            r.ok()


def synced(e, sid, mark, how):
    """The member said that it was synchronised in this way."""
    assert e[sid].said(mark, SYNC_WORDS[how][e[sid].kind == "ringkeeper"]), f"member {sid} ({e[sid].kind}) was not synchronised by {how}:\n{e[sid].log_text()[mark:][-3000:]}"


def comes_back(e, sid, how):
    """A member that was killed starts and is synchronised in this way. Returns who leads."""
    mark = e[sid].mark()
    e.spawn(sid)
    leader = e.wait()
    synced(e, sid, mark, how)
    return leader


def until(holds, what, seconds=60):
    """Wait for what only asking again can tell."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"within {seconds} s it was not so that {what}"
        time.sleep(0.02)


def form(stage, layout):
    """Every member takes writes of every kind, fails requests as its own, and shows all of it after a sync."""
    e = stage.ensemble(layout)
    e.form()
    conns = {sid: e.connect(sid) for sid in e.members}
    for sid, c in conns.items():
        c.ok(req.create2(f"/m{sid}", b"by %d" % sid))
        c.ok(req.create(f"/m{sid}/e", b"", flags=EPHEMERAL))
        c.ok(req.create(f"/m{sid}/s-", b"", flags=SEQUENTIAL))
        c.ok(req.create_container(f"/m{sid}/container"))
        c.ok(req.create_ttl(f"/m{sid}/ttl", 3_600_000, b"t"))
        assert c.ok(req.set_data(f"/m{sid}", b"again", 0)).stat.version == 1
        c.ok(req.set_acl(f"/m{sid}/ttl", [(31, "digest", f"m{sid}:x"), (1, "world", "anyone")]))
        assert c.do(req.create(f"/m{sid}")).err == E.NODEEXISTS
        assert c.do(req.set_data(f"/m{sid}", b"", 7)).err == E.BADVERSION
        assert c.do(req.delete("/none")).err == E.NONODE
        assert c.do(req.delete(f"/m{sid}")).err == E.NOTEMPTY
        assert [r[1] for r in c.ok(req.multi(req.create(f"/m{sid}/x"), req.set_data(f"/m{sid}/x", b"x"), req.delete(f"/m{sid}/x"))).results] == [0] * 3
        assert c.ok(req.multi(req.create(f"/m{sid}/y"), req.check(f"/m{sid}", 9))).results[-1][1] == E.BADVERSION
        # one write of requests that are answered in their order, whoever has to be asked for each
        mine = f"/m{sid}/p"
        replies = c.burst(req.create(mine), req.create(mine + "1", flags=EPHEMERAL), req.get_ephemerals(mine), req.sync("/"),
                          req.create(mine + "2", flags=EPHEMERAL), req.exists(mine + "2"), req.get_ephemerals(mine), req.delete(mine + "1"), req.sync("/"),
                          req.set_data(mine, b"x", 9), req.get_ephemerals(mine), req.create(mine + "3", flags=EPHEMERAL))
        assert [r.err for r in replies] == [0] * 9 + [E.BADVERSION, 0, 0], replies
        found = [sorted(replies[i].children) for i in (2, 6, 10)]
        assert found == [[mine + "1"], [mine + "1", mine + "2"], [mine + "2"]], found
        assert [r.zxid for r in replies] == sorted(r.zxid for r in replies)
        # watches at another member
        other = conns[next(s for s in list(e.members)[::-1] if s != sid)]
        other.ok(req.sync("/"))
        other.ok(req.get_data(f"/m{sid}", True))
        c.ok(req.set_data(f"/m{sid}", b"third"))
        (event,) = other.take_events(1)
        assert (event.type, event.path) == (3, f"/m{sid}")
    for c in conns.values():
        c.ok(req.sync("/"))
        for sid in e.members:
            assert c.ok(req.get_data(f"/m{sid}")).data == b"third"
            assert c.ok(req.exists(f"/m{sid}/e")).stat.owner == conns[sid].session
    fill(conns[min(e.members)], "/many", 600)
    for c in conns.values():
        c.quit()
    stage.judge(e)


def diff(stage, layout):
    """Each voter in turn is killed, misses a few transactions, and comes back by DIFF."""
    e = stage.ensemble(layout)
    e.form()
    load = Load(e, seed=stage.seed, pause=0.03).start()  # slow: more than 500 transactions would need a SNAP
    for sid in e.voters:
        load.progress()
        e.kill(sid)
        e.wait()
        load.progress(30)
        comes_back(e, sid, "DIFF")
    stage.judge(e, load)


def snap(stage, layout):
    """A follower comes back empty, another far behind: both by SNAP."""
    # The leader keeps the last 500 transactions in memory, and does not read its log for others.
    e = stage.ensemble(layout, props={"zookeeper.snapshotSizeFactor": "-1"}, cfg={"snapCount": 300})
    leader = e.form()
    load = Load(e, seed=stage.seed).start()
    for n, sid in enumerate(s for s in e.members if s != leader):
        e.kill(sid)
        e.wait()
        if n % 2 == 0:
            shutil.rmtree(e[sid].files)
        c = e.connect(leader)
        fill(c, f"/far{sid}", 900)
        c.quit()
        load.progress(10)
        comes_back(e, sid, "SNAP")
    stage.judge(e, load)


def trunc(stage, layout):
    """A leader is left with a tail that nobody else has; a new epoch begins without it, and it takes the tail back."""
    e = stage.ensemble(layout)
    leader = e.form()
    load = Load(e, seed=stage.seed, members=[leader]).start().progress(30)
    load.stop()
    for w in load.workers:
        w.leave()
    c = e.connect(leader)
    for sid in others(e, leader):
        e[sid].pause()
    for i in range(7):
        c.post(req.create(f"/tail{i}", b"never"))
    until(lambda: e[leader].has_logged(b"/tail6"), "the leader logs what it proposes")
    e.kill(leader, *others(e, leader))
    c.drop()
    e.spawn(*others(e, leader))
    e.wait()
    # Nothing is written before it is back: Java truncates only where its own log ends, and else sends a snapshot.
    assert comes_back(e, leader, "TRUNC") != leader
    for sid in e.members:
        look = e.connect(sid)
        for i in range(7):
            assert look.do(req.exists(f"/tail{i}")).err == E.NONODE, f"member {sid} shows what no quorum had"
        look.quit()
    for w in load.workers:
        w.members = None
    load.start().progress(30)
    stage.judge(e, load)


def observer(stage, layout):
    """An observer serves reads and writes, does not count, is killed and comes back; it goes when the quorum goes."""
    e = stage.ensemble(layout)
    e.form()
    observers = [sid for sid, m in e.members.items() if m.observer]
    assert observers and all(e[sid].mode() == "observer" for sid in observers)
    load = Load(e, seed=stage.seed, members=observers).start().progress(40)
    sid = observers[0]
    e.kill(sid)
    c = e.connect(e.leader())
    fill(c, "/while", 50)
    c.quit()
    e.spawn(sid)
    e.wait()
    load.progress(40)
    # the leader goes: the observer follows the next
    leader = e.leader()
    e.kill(leader)
    e.wait()
    load.progress(20)
    # no voters' majority: observers do not make one
    second = e.followers()[0]
    e.kill(second)
    until(lambda: not any(e[s].mode() for s in e.running), "nobody serves without a quorum")
    e.spawn(leader, second)
    e.wait()
    load.progress(20)
    stage.judge(e, load)


def masters(stage, layout):
    """Observers learn from followers (observerMasterPort): writes, syncs and sessions go through them; each follower in turn is killed, then the leader."""
    e = stage.ensemble(layout, cfg={"observerMasterPort": free_port()})
    leader = e.form()
    observers = [sid for sid, m in e.members.items() if m.observer]

    def figure(sid, name):
        found = re.search(rb"zk_%s\t(\d+)" % name, e[sid].word(b"mntr"))
        return found and int(found[1])

    def learn_from(*among):
        until(lambda: all(figure(sid, b"observer_master_id") in among for sid in observers), f"observers learn from {among}")
        until(lambda: sum(figure(sid, b"synced_observers") for sid in among) == len(observers), f"{among} count their observers")

    def through(pings=0):
        """What clients of observers ask for goes to the leader and comes back; pings alone keep their sessions alive."""
        root, other, conns = "/through-%d" % pings, e.connect(leader), {}
        other.ok(req.create(root))
        for sid in observers:
            c, path = e.connect(sid), f"{root}/{sid}"
            replies = c.burst(req.create(path, flags=EPHEMERAL), req.set_data(path, b"x"), req.get_data(path), req.sync("/"), req.get_ephemerals(path),
                              req.create(path, b""), req.delete(root, 7), req.exists(path))
            assert [r.err for r in replies] == [0] * 5 + [E.NODEEXISTS, E.BADVERSION, 0] and replies[2].data == b"x", replies
            other.ok(req.set_data(path, b"y"))
            assert c.burst(req.sync("/"), req.get_data(path))[1].data == b"y"
            for at in (leader, sid):
                c.drop()
                c = e.connect(at, after=c, timeout=5 * TICK_MS)
                assert c.ok(req.exists(path)).stat.owner == c.session
            conns[path] = c
        for c in list(conns.values()) * pings:
            c.do(req.ping())
            assert c.is_silent(TICK / 2 / len(conns))
        for path, c in conns.items():
            assert other.ok(req.exists(path)).stat.owner == c.session
            c.quit()
            assert other.burst(req.sync("/"), req.exists(path))[1].err == E.NONODE
        other.quit()

    learn_from(*e.followers())
    assert figure(leader, b"synced_observers") == 0
    through(pings=13)
    load = Load(e, seed=stage.seed, members=observers).start().progress()
    for victim in e.followers():
        e.kill(victim)
        learn_from(*e.followers())
        e.wait()
        load.progress()
        e.spawn(victim)
        e.wait()
    e.kill(leader)
    killed, leader = leader, e.wait()
    load.progress()
    learn_from(*e.followers())
    e.spawn(killed)
    e.wait()
    through()
    stage.judge(e, load)


def move(stage, layout):
    """Sessions go from member to member with their ephemerals and watches."""
    e = stage.ensemble(layout)
    e.form()
    load = Load(e, seed=stage.seed, workers=3).start().progress(20)
    for _ in range(3):
        load.stop()
        for w in load.workers:
            w.leave()
            at = w.member
            w.over.clear()
            w.attach(only=(at % len(e.members)) + 1, until=time.monotonic() + 20)
            assert w.expired == 0
        load.start().progress(40)
    load.stop()
    assert sum(w.moves for w in load.workers) >= 9
    stage.judge(e, load)


def expiry(stage, layout):
    """Over a change of leaders: a silent session expires and not before its time, others live on."""
    e = stage.ensemble(layout)
    leader = e.form()
    load = Load(e, seed=stage.seed, workers=3).start().progress(20)
    followers = [s for s in e.voters if s != leader]
    timeout = 10 * TICK_MS
    silent = e.connect(followers[0], timeout=timeout)
    silent.ok(req.create("/silent", b"", flags=EPHEMERAL))
    kept = e.connect(followers[-1], timeout=timeout)
    kept.ok(req.create("/kept", b"", flags=EPHEMERAL))
    last = time.monotonic()
    silent.drop()
    e.kill(leader)
    gone = None
    until = time.monotonic() + 60
    lived = time.monotonic()
    while gone is None or time.monotonic() - gone < 2 * timeout / 1000:
        assert time.monotonic() < until, "a silent session does not expire"
        try:
            if kept.sock is None:
                raise OSError
            kept.sock.settimeout(timeout / 3000)
            kept.do(req.ping())
            if kept.do(req.exists("/silent")).err == E.NONODE and gone is None:
                gone = time.monotonic()
            assert kept.do(req.exists("/kept")).err == 0, "a session that is kept alive lost its ephemeral"
            lived = time.monotonic()
        except (Closed, OSError):
            kept.drop()
            for sid in e.running:
                got = e.try_connect(sid, patience=1, timeout=timeout, session=kept.session, password=kept.password)
                if got:
                    assert got[1].session == kept.session, f"expired {time.monotonic() - lived:.1f} s after its last answer, with {timeout} ms"
                    kept = got[0]
                    break
        time.sleep(0.1)
    assert gone - last >= timeout / 1000 * 0.9, f"expired after {gone - last:.2f} s of {timeout} ms"
    stage.note(f"expired {gone - last:.1f} s after its last sign, with {timeout / 1000:.1f} s")
    kept.quit()
    e.spawn(leader)
    e.wait()
    stage.judge(e, load)


def leaders(stage, layout):
    """Leaders are killed, one after the other, under load; each comes back before the next goes."""
    e = stage.ensemble(layout)
    e.form()
    load = Load(e, seed=stage.seed).start()
    led = []
    for _ in range(stage.rounds):
        load.run(stage.seconds * (0.2 + stage.rng.random()))
        leader = e.wait()
        led.append(f"{leader}{e[leader].kind[0]}")
        e.kill(leader)
        if stage.rng.random() < 0.5:
            e.wait()
            load.progress(10)
        e.spawn(leader)
        e.wait()
    load.progress()
    stage.note("led: " + " ".join(led) + f"; longest time without an answer {max(w.gap[0] for w in load.workers):.1f} s")
    stage.judge(e, load)


def everyone(stage, layout):
    """All members are killed at once under load, some twice while they recover."""
    e = stage.ensemble(layout, cfg={"snapCount": 100})
    e.form()
    load = Load(e, seed=stage.seed).start()
    for _ in range(max(2, stage.rounds // 2)):
        load.run(stage.seconds * (0.2 + stage.rng.random()))
        e.kill(*e.members)
        e.spawn()
        if stage.rng.random() < 0.5:
            time.sleep(stage.rng.random() * 2)
            victim = stage.rng.choice(list(e.members))
            e.kill(victim)
            e.spawn(victim)
        e.wait()
        load.progress()
    stage.judge(e, load)


def stopped(stage, layout):
    """The leader is stopped (SIGSTOP) for longer than anybody waits, then a follower is; both come back as followers."""
    e = stage.ensemble(layout)
    e.form()
    load = Load(e, seed=stage.seed, patience=2.0).start().progress()
    leader = e.leader()
    e[leader].pause()
    e.wait()
    load.progress(40)
    e[leader].resume()
    until(lambda: e[leader].mode() == "follower", "the leader that stood still follows another")
    load.progress()
    victim = e.followers()[0]
    e[victim].pause()
    load.run(8 * TICK)
    e[victim].resume()
    load.progress()
    e.wait()
    stage.judge(e, load, skip=["sync-is-current"])


def readonly(stage, layout):
    """The last voter serves readers what it had, and nobody else, until there is a leader again; sessions from before go on then."""
    e = stage.ensemble(layout, props={"readonlymode.enabled": "true"})
    for m in e.members.values():
        if m.kind != "ringkeeper":
            m.cfg["localSessionsEnabled"] = "true"  # without, Java's readers get no session
            m.cfg["localSessionsUpgradingEnabled"] = "true"
    e.form()
    last, rest = 1, others(e, 1)
    c = e.connect(last, read_only=True)
    c.ok(req.create("/kept", b"old"))
    c.ok(req.create("/kept/mine", b"", flags=EPHEMERAL))
    fill(c, "/many", 40)
    killed = time.monotonic()
    e.kill(*rest)
    c.closed()
    while e[last].word(b"isro") != b"ro":
        assert time.monotonic() < killed + 30, "no read-only server"
        time.sleep(0.02)
    waited = time.monotonic() - killed
    assert waited >= 2, f"it served readers after {waited:.2f} s"
    assert e.try_connect(last) is None and e.try_connect(last, read_only=None) is None
    assert e.try_connect(last, read_only=True, session=c.session, password=c.password) is None, "it may live on elsewhere"
    reader = e.connect(last, read_only=True)
    assert b"Mode: read-only" in e[last].word(b"srvr")
    assert reader.ok(req.get_data("/kept", True)).data == b"old"
    assert len(reader.ok(req.get_children("/many")).children) == 40 and reader.ok(req.exists("/kept/mine")).stat.owner == c.session
    for request in (req.set_data("/kept", b"x"), req.delete("/kept/mine"), req.create("/other"), req.multi(req.delete("/kept/mine")), req.sync("/")):
        assert reader.do(request).err == E.NOTREADONLY
    e.spawn(rest[0])
    reader.closed()
    e.wait()
    again = Conn(e[last].port, host=e[last].host, patience=30)
    got = again.connect(timeout=60000, session=c.session, password=c.password, last_zxid=c.last_zxid, read_only=True)
    assert got and got.session == c.session and got.read_only is False, f"a session from before is gone: {got}"
    assert again.ok(req.exists("/kept/mine")).stat.owner == c.session
    assert again.ok(req.set_data("/kept", b"new")).stat.version == 1
    got = e.try_connect(rest[0], session=reader.session, password=reader.password)
    assert got and got[1].session == 0, f"a reader's session lives on: {got}"
    again.quit()
    e.spawn(*rest[1:])
    e.wait()
    stage.note(f"readers served after {waited:.1f} s")
    stage.judge(e)


def oracle(stage, layout):
    """Of two voters one serves without the other if its oracle says 1, as leader or as follower, and not if it says 0; the other joins it."""
    e = stage.ensemble(layout)
    for m in e.members.values():
        m.oracle = os.path.join(m.dir, "oracle")
        m.cfg["oraclePath"] = m.oracle

    def says(sid, text):
        with open(e[sid].oracle + ".new", "w", encoding="ascii") as f:
            f.write(text)
        os.replace(e[sid].oracle + ".new", e[sid].oracle)

    for sid in e.members:
        says(sid, "0\n")
    e.spawn()
    first = e.wait()
    other = others(e, first)[0]
    c = e.connect(first)
    c.ok(req.create("/kept", b"0"))
    says(first, "1\n")
    began = time.monotonic()
    e.kill(other)
    assert c.ok(req.set_data("/kept", b"1")).stat.version == 1
    stage.note(f"the leader's next write without the other took {time.monotonic() - began:.2f} s")
    for value in range(2, 50):
        assert c.ok(req.set_data("/kept", b"%d" % value)).stat.version == value
    says(first, "0\n")
    c.closed()
    until(lambda: e.try_connect(first) is None, "a leader serves nobody when its oracle says no")
    e.spawn(other)
    first = e.wait()
    other = others(e, first)[0]
    c = e.connect(other)
    assert c.ok(req.get_data("/kept")).data == b"49"
    e.kill(first)
    c.closed()
    for _ in range(3):
        assert e.try_connect(other, patience=1) is None, "a follower serves although its oracle says no"
    began = time.monotonic()
    says(other, "1\n")
    assert e.wait(other) == other
    stage.note(f"the follower led {time.monotonic() - began:.2f} s after its oracle's yes")
    c = e.connect(other)
    assert c.ok(req.set_data("/kept", b"50")).stat.version == 50
    e.spawn(first)
    assert e.wait() == other, "who comes back joins the one that leads"
    c.ok(req.sync("/"))
    back = e.connect(first)
    assert back.ok(req.set_data("/kept", b"51")).stat.version == 51
    back.quit()
    c.quit()
    stage.judge(e)


def local(stage, layout):
    """Local sessions cost no transaction and are their member's alone; wanting ephemerals upgrades them, or is refused."""
    for upgrading in ("false", "true"):
        e = stage.ensemble(layout, cfg={"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": upgrading})
        leader = e.form()

        def counts(sid):
            found = re.findall(rb"zk_(local|global)_sessions\t(\d+)", e[sid].word(b"mntr"))
            return {kind.decode(): int(n) for kind, n in found}

        def zxid():
            return re.search(rb"Zxid: (0x[0-9a-f]+)", e[leader].word(b"srvr"))[1]

        before = zxid()
        conns = {sid: e.connect(sid) for sid in e.members}
        for sid in e.members:
            for _ in range(20):
                e.connect(sid).quit()
            silent = e.connect(sid, timeout=2 * TICK_MS)
            silent.drop()
            until(lambda sid=sid: counts(sid) == {"local": 1, "global": 0}, f"a silent session expires at {sid}")
            got = e.try_connect(sid, session=silent.session, password=silent.password)
            assert got and got[1].session == 0, f"it has not expired: {got}"
        assert zxid() == before, "a local session made a transaction"
        for sid, c in conns.items():
            c.ok(req.create(f"/local{sid}", b""))
            assert c.burst(req.set_data(f"/local{sid}", b"x"), req.get_data(f"/local{sid}"))[1].data == b"x"
            for other in others(e, sid):
                got = e.try_connect(other, session=c.session, password=c.password)
                assert got and got[1].session == 0, f"the session of {sid} is known at {other}: {got}"
            conns[sid] = e.connect(sid, after=c)
            assert conns[sid].session == c.session and c.closed() == []
        for sid, c in conns.items():
            path, at = f"/local{sid}/mine", others(e, sid)[0]
            if upgrading == "false":
                for request in (req.create(path, flags=EPHEMERAL), req.create2(path, flags=EPHEMERAL | SEQUENTIAL), req.create("/no/where", flags=EPHEMERAL)):
                    assert c.do(request).err == E.EPHEMERALONLOCALSESSION
                results = c.do(req.multi(req.create(f"/local{sid}/a"), req.create(path, flags=EPHEMERAL))).results
                wanted = E.EPHEMERALONLOCALSESSION if sid == leader else E.SESSIONEXPIRED
                assert [r[:2] for r in results] == [(OP.error, 0), (OP.error, wanted)], results
                assert counts(sid) == {"local": 1, "global": 0}
                c.quit()
            else:
                replies = c.burst(req.set_data(f"/local{sid}", b"y"), req.create(path, flags=EPHEMERAL), req.set_data(f"/local{sid}", b"z"), req.exists(path))
                assert [r.err for r in replies] == [0] * 4 and replies[3].stat.owner == c.session, replies
                # A learner of Java's drops requests without a word until it has heard that the session was made (LearnerSessionTracker.touchSession).
                near = e.connect(at)
                near.ok(req.sync("/"))
                near.quit()
                moved = e.connect(at, after=c)
                assert moved.session == c.session, "an upgraded session is the ensemble's"
                moved.ok(req.sync("/"))
                assert moved.ok(req.exists(path)).stat.owner == c.session and moved.do(req.create(path + "2", flags=EPHEMERAL)).err == 0
                moved.quit()
        until(lambda: all(counts(sid) == {"local": 0, "global": 0} for sid in e.members), "all sessions have ended")
        look = e.connect(leader)
        assert not any(look.ok(req.get_children(f"/local{sid}")).children for sid in e.members), "ephemerals outlive their sessions"
        look.quit()
        stage.judge(e)


def partition(stage, layout):
    """The leader is cut off from all others with clients on both sides; then a follower; then one direction only."""
    e = stage.ensemble(layout, network=True)
    e.form()
    load = Load(e, seed=stage.seed, patience=2.0).start().progress()
    leader = e.leader()
    e.network.isolate(leader)
    until(lambda: e[leader].mode() != "leader" and any(e[s].mode() == "leader" for s in others(e, leader)),
          "the side of the majority has a leader, and the other has none")
    load.progress(40)
    e.network.heal()
    e.wait()
    load.progress()
    victim = e.followers()[0]
    e.network.isolate(victim)
    load.run(8 * TICK).progress()
    e.network.heal()
    e.wait()
    victim = e.followers()[0]
    e.network.cut(*((victim, s) for s in others(e, victim)))  # it hears, and is not heard
    load.run(8 * TICK).progress()
    e.network.heal()
    e.wait()
    e.network.reset(*e.members)
    e.wait()
    load.progress()
    stage.judge(e, load, skip=["sync-is-current"])


def delay(stage, layout):
    """Slow links, then one slow member; nobody is lost."""
    e = stage.ensemble(layout, network=True)
    e.form()
    load = Load(e, seed=stage.seed).start().progress()
    e.network.delay(0.05)
    load.progress(60)
    victim = e.followers()[0]
    e.network.delay(0.3, *((victim, s) for s in others(e, victim)), *((s, victim) for s in others(e, victim)))
    load.progress(60)
    e.wait()
    e.network.heal()
    load.progress()
    stage.judge(e, load)


class Kazoo:
    """Ordinary kazoo clients whose retried operations may not fail."""

    def __init__(self, e, count):
        from kazoo.client import KazooClient

        self.over, self.threads, self.trouble, self.done = threading.Event(), [], None, 0
        self.clients = [KazooClient(hosts=e.hosts(), timeout=20.0, connection_retry={"max_tries": -1, "delay": 0.05, "max_delay": 0.5},
                                    command_retry={"max_tries": -1, "delay": 0.05, "max_delay": 0.5}) for _ in range(count)]
        self.lost = []
        self.counts = [0] * count
        for n, client in enumerate(self.clients):
            client.start(timeout=30)
            client.add_listener(lambda state: self.lost.append(state) if state == "LOST" else None)
            client.ensure_path(f"/kazoo/{n}")
            client.create(f"/kazoo/{n}/here", b"", ephemeral=True)

    def start(self):
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(len(self.clients))]
        for t in self.threads:
            t.start()
        return self

    def work(self, n):
        from kazoo.exceptions import NodeExistsError, NoNodeError

        client = self.clients[n]
        try:
            while not self.over.is_set():
                i = self.counts[n]
                client.retry(client.set, f"/kazoo/{n}", b"%d" % i)
                try:
                    client.retry(client.create, f"/kazoo/{n}/{i}", b"%d" % i)
                except NodeExistsError:
                    pass  # the first try had got through
                data, stat = client.retry(client.get, f"/kazoo/{n}")
                assert data == b"%d" % i and stat.version >= i, (data, stat.version, i)
                if i >= 20:
                    try:
                        client.retry(client.delete, f"/kazoo/{n}/{i - 20}")
                    except NoNodeError:
                        pass
                self.counts[n] += 1
                time.sleep(0.005)
        except BaseException as e:
            self.trouble = e

    def check(self):
        if self.trouble:
            raise self.trouble

    def progress(self, count=10, timeout=60.0):
        before, until = list(self.counts), time.monotonic() + timeout
        while any(now < b + count for now, b in zip(self.counts, before)):
            self.check()
            assert time.monotonic() < until, "kazoo clients stand still"
            time.sleep(0.05)

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join(60)
        self.check()
        assert not self.lost, "kazoo lost a session"
        for n, client in enumerate(self.clients):
            children = set(client.get_children(f"/kazoo/{n}"))
            last = self.counts[n]
            assert children == {"here"} | {str(i) for i in range(max(0, last - 20), last)}, f"{last}: {sorted(children)}"
            client.stop()
            client.close()


def rolling(stage, layout):
    """One member after the other is replaced by the other kind on its own directory and address, and all the way back."""
    e = stage.ensemble(layout)
    e.form()
    load = Load(e, seed=stage.seed, workers=2, pause=0.01).start().progress()
    kazoo = Kazoo(e, 3).start()
    swapped = {"R": "J", "J": "R", "r": "j", "j": "r"}
    for turn in (lambda letter: swapped[letter], lambda letter: letter):
        # followers first, the leader last, as an operator would
        for sid in sorted(e.members, key=lambda s: (s == e.leader(), s)):
            kazoo.progress()
            m = e[sid]
            status = m.stop()
            assert status in (0, 143, -signal.SIGTERM), f"member {sid} ({m.kind}) ended with {status}"
            m.become(turn(layout[sid - 1]))
            m.spawn()
            e.wait()
            load.check()
    kazoo.progress()
    kazoo.stop()
    load.progress()
    load.stop()
    stage.note(f"{sum(kazoo.counts)} rounds of kazoo, longest time without an answer {max(w.gap[0] for w in load.workers):.1f} s")
    assert sum(w.expired for w in load.workers) == 0, "a session expired"
    stage.judge(e, load)


def minorities(stage, layout):
    """As many members as may be are killed at a time, the leader among them."""
    e = stage.ensemble(layout)
    e.form()
    load = Load(e, seed=stage.seed).start().progress()
    for _ in range(2):
        leader = e.wait()
        victims = [leader, *stage.rng.sample(e.followers(), (len(layout) - 1) // 2 - 1)]
        e.kill(*victims)
        e.wait()
        load.progress()
        e.spawn(*victims)
        e.wait()
        load.progress()
    stage.judge(e, load)


def handover(stage, layout):
    """The leader, one of ours, gives leadership away on command under load, whoever takes it; for comparison it is stopped by SIGTERM."""
    e = stage.ensemble(layout, cfg={"4lw.commands.whitelist": "*,hand"})
    e.form()
    load = Load(e, seed=stage.seed, patience=1.5).start().progress()

    def pause(act, old):
        """From the command until another member has taken a new client's write, in ms."""
        began = time.monotonic()
        act()
        while True:
            for sid in others(e, old):
                got = e.try_connect(sid, patience=1.0)
                try:
                    if got and got[1].session and got[0].do(req.set_data("/", b"")).err == 0:
                        got[0].quit()
                        return (time.monotonic() - began) * 1000
                except (Closed, OSError):
                    pass
            assert time.monotonic() < began + 30, "no write for 30 s"

    took = {"hand": [], "SIGTERM": []}
    for at in range(2 * stage.rounds):
        leader = e.wait()
        if e[leader].kind != "ringkeeper":
            # It knows no such command. Who else leads has the greatest id of the rest.
            e[leader].stop()
            e.wait()
            e.spawn(leader)
            continue
        load.progress(20)
        if at % 3 == 2:
            took["SIGTERM"].append(pause(lambda leader=leader: e[leader].process.send_signal(signal.SIGTERM), leader))
            e[leader].ended()
            e.wait()
            e.spawn(leader)
            continue
        told = []
        mark = e[leader].mark()
        ms = pause(lambda leader=leader, told=told: told.append(e[leader].word(b"hand").decode()), leader)
        if told[0] == "leadership stays: no other voter is synchronised\n":
            continue
        assert re.fullmatch(r"leadership goes to server \d+\n", told[0]), told
        took["hand"].append(ms)
        # It is another if one came back in that moment which is better.
        named = r"no longer leading: leadership goes to server (\d+)"
        until(lambda leader=leader, mark=mark: e[leader].said(mark, named), "it says whom it gave leadership")
        to = int(re.search(named, e[leader].log_text()[mark:])[1])
        until(lambda to=to: e[to].mode() == "leader", f"member {to} leads, as {leader} said")
    assert took["hand"], "nobody of ours led"
    stage.note("ms until a write: " + "; ".join(f"{how} " + " ".join(f"{ms:.0f}" for ms in all) for how, all in took.items()))
    load.progress()
    stage.judge(e, load)


def reconfiguration(joining=None, leaving=None):
    """The request for these changes, whatever the configuration is."""
    return req.raw(OP.reconfig, text(joining) + text(leaving) + text(None) + i64(-1), lambda r: {"data": r.buf(), "stat": r.stat()})


def change(e, joining=None, leaving=None):
    """A reconfiguration, asked for until it is taken. Returns the configuration."""
    at = next(s for s in e.running if s != leaving)
    for _ in range(100):
        reply = None
        try:
            c = e.connect(at)
            reply = c.do(reconfiguration(joining, leaving))
            c.drop()
        except (Closed, OSError, NotStarted):
            pass
        if reply and reply.err == 0:
            return reply.data.decode()
        # New members must have caught up first; another reconfig may be under way.
        assert reply is None or reply.err in (-14, -13, -4), f"reconfig answered {reply.err}"
        time.sleep(0.2)
    raise AssertionError("reconfig is refused")


def reconfig(stage, layout):
    """The last member joins a running ensemble by reconfig, the first one leaves; the leader leaves and comes back as another's follower."""
    last = len(layout)
    e = stage.ensemble(layout, cfg={"reconfigEnabled": "true"}, props={"zookeeper.skipACL": "yes"}, later=[last])
    leader = e.form(without=[last])
    for m in e.members.values():
        m.keeps_cfg = True
    load = Load(e, seed=stage.seed, workers=3).start().progress()

    e.spawn(last)
    told = change(e, joining=e.line(last))
    assert f"server.{last}={e[last].host}" in told, told
    e.wait()
    assert e[last].mode() in ("follower", "leader")
    c = e.connect(last)
    c.ok(req.create("/joined", b""))
    assert c.ok(req.get_data("/zookeeper/config")).data.decode().count("server.") == last
    c.quit()
    load.progress(30)
    told = change(e, leaving="1")
    assert "server.1=" not in told, told
    for w in load.workers:
        w.members = [s for s in e.members if s != 1]
    load.progress(10)
    e[1].stop()
    load.progress(30)
    # the one that leads now leaves, and another takes over
    leader = e.wait()
    told = change(e, leaving=str(leader))
    e[leader].stop()
    e.wait()
    load.progress(30)
    # its own files say that it is nobody: it comes back with those it began with
    e[leader].keeps_cfg = False
    e.spawn(leader)
    e[leader].keeps_cfg = True
    change(e, joining=e.line(leader))
    e.wait()
    load.progress(30)
    stage.judge(e, load, without=[1])


def permits(stage, layout):
    """A reconfiguration needs WRITE on /zookeeper/config: the super user has it at every member, others when its ACL says so."""
    props = {"zookeeper.DigestAuthenticationProvider.superDigest": digest_id("super", "secret")}
    e = stage.ensemble(layout, cfg={"reconfigEnabled": "true"}, props=props)
    e.form()
    for m in e.members.values():
        m.keeps_cfg = True

    def session(sid, identity):
        c = e.connect(sid)
        if identity:
            c.ok(req.auth("digest", identity))
        return c

    def may(sid, identity):
        # A member's own line again changes nothing but the version, and its place for clients the first time.
        c = session(sid, identity)
        reply = c.do(reconfiguration(joining=e.line(1)))
        c.quit()
        assert reply.err in (0, E.NOAUTH), f"reconfig answered {reply.err}"
        return reply.err == 0

    for sid in e.members:
        assert not may(sid, None) and not may(sid, b"bob:pw") and not may(sid, b"super:wrong"), f"anybody may reconfigure at {sid}"
    for sid in e.members:
        assert may(sid, b"super:secret"), f"the super user may not reconfigure at {sid}"
    root = session(1, b"super:secret")
    root.ok(req.set_acl("/zookeeper/config", [(2, "digest", digest_id("bob", "pw")), (1, "world", "anyone")]))
    for sid in e.members:
        assert may(sid, b"bob:pw") and not may(sid, None) and not may(sid, b"eve:pw"), f"the ACL does not count at {sid}"
    root.quit()
    stage.judge(e)


def roles(stage, layout):
    """By reconfig, under load: a follower becomes an observer and a voter again, then the last member of all, then the leader, who gives way."""
    e = stage.ensemble(layout, cfg={"reconfigEnabled": "true"}, props={"zookeeper.skipACL": "yes"})
    e.form()
    for m in e.members.values():
        m.keeps_cfg = True
    load = Load(e, seed=stage.seed, workers=3).start().progress()

    def turn(sid, observer):
        m, mode = e[sid], "observer" if observer else "follower"
        m.observer = observer
        told = change(e, joining=e.line(sid))
        assert f"server.{sid}={m.host}:{m.quorum_port}:{m.election_port}:{'observer' if observer else 'participant'}" in told, told
        until(lambda: m.mode() == mode, f"member {sid} ({m.kind}) is {mode}")
        e.wait()
        load.progress(30)

    leader = e.wait()
    for sid in (e.followers()[0], e.followers()[-1]):
        turn(sid, True)
        # It counts no longer, and what its files say of it is so after a start, too.
        e.kill(sid)
        load.progress(30)
        e.spawn(sid)
        e.wait()
        assert e[sid].mode() == "observer"
        turn(sid, False)
    # Again it counts: with another one it is the quorum.
    assert e.wait() == leader
    turn(leader, True)
    assert e.wait() != leader
    turn(leader, False)
    e.kill(e.leader())
    e.wait()
    load.progress(30)
    e.spawn(*(s for s in e.members if s not in e.running))
    e.wait()
    load.progress(30)
    stage.judge(e, load)


def refuses(host, port):
    """Nobody listens there."""
    try:
        socket.create_connection((host, port), 2).close()
    except ConnectionRefusedError:
        return True
    return False


def ports(stage, layout):
    """Each member in turn gets another client port and keeps its connections; a follower's ports for members move, then the leader's, who gives way."""
    e = stage.ensemble(layout, cfg={"reconfigEnabled": "true"}, props={"zookeeper.skipACL": "yes"})
    e.form()
    for m in e.members.values():
        m.keeps_cfg = True
    load = Load(e, seed=stage.seed).start().progress()
    for sid, m in e.members.items():
        c, old, new = e.connect(sid), m.port, free_port()
        change(e, joining=e.line(sid).rpartition(":")[0] + f":{new}")
        m.port = new
        until(lambda m=m: m.serves(), f"member {sid} serves at its new port")
        until(lambda m=m, old=old: refuses(m.host, old), f"member {sid} closes its old port")
        c.ok(req.create(f"/from-before-{sid}", b""))
        c.quit()
    load.progress(30)
    leader = e.wait()
    for sid in (others(e, leader)[0], leader):
        m = e[sid]
        before, m.quorum_port, m.election_port = m.election_port, free_port(), free_port()
        change(e, joining=e.line(sid))
        e.wait()
        until(lambda m=m, before=before: not refuses(m.host, m.election_port) and refuses(m.host, before), f"member {sid} moves")
        load.progress(30)
    assert e.leader() != leader, "the leader stayed although its quorum port moved"
    # Everybody is found at the new ports only.
    sid = e.leader()
    e.kill(sid)
    e.wait()
    load.progress(30)
    e.spawn(sid)
    e.wait()
    load.progress(30)
    stage.judge(e, load)


def chaos(stage, layout):
    """Whatever may happen, at random: kills, stops, cuts of one or both directions, delays, broken links; several at once, for any time."""
    e = stage.ensemble(layout, network=True, cfg={"snapCount": 400})
    e.form()
    load = Load(e, seed=stage.seed, patience=1.5).start().progress()
    rng, told = stage.rng, []

    def fault():
        sid = rng.choice(e.voters)
        what = rng.choice(["kill", "kill", "kill", "two", "pause", "isolate", "deaf", "mute", "link", "reset", "delay"])
        rest = others(e, sid)
        told.append(f"{what}{sid}")
        if what in ("kill", "two"):
            for victim in {sid, rng.choice(rest)} if what == "two" else {sid}:
                e[victim].kill()
        elif what == "pause":
            if e[sid].process:
                e[sid].pause()
        elif what == "isolate":
            e.network.isolate(sid)
        elif what == "deaf":
            e.network.cut(*((s, sid) for s in rest))
        elif what == "mute":
            e.network.cut(*((sid, s) for s in rest))
        elif what == "link":
            e.network.cut((sid, rest[0]), (rest[0], sid))
        elif what == "reset":
            e.network.reset(sid)
        else:
            e.network.delay(rng.random() * 0.2)

    for _ in range(3 * stage.rounds):
        for _ in range(rng.choice([1, 1, 2])):
            fault()
            load.run(rng.choice([0, 0.1, 0.5, 2, 8 * TICK]) * rng.random())
        if rng.random() < 0.7:
            e.network.heal()
        for m in e.members.values():
            if m.paused and rng.random() < 0.8:
                m.resume()
            if m.process is None:
                m.spawn()
        load.run(rng.choice([0, 0.3, 3]) * rng.random())
        for sid, m in e.members.items():
            assert m.process is None or m.process.poll() is None, f"member {sid} ({m.kind}) ended with {m.process.returncode}:\n{m.log_tail()}"
        if rng.random() < 0.4:
            e.network.heal()
            for m in e.members.values():
                if m.paused:
                    m.resume()
            e.wait()
            load.progress(5)
    e.network.heal()
    for m in e.members.values():
        if m.paused:
            m.resume()
    began = time.monotonic()
    e.wait()
    load.progress()
    stage.note(f"{' '.join(told)}; all served {time.monotonic() - began:.1f} s after the last")
    stage.judge(e, load, skip=["sync-is-current"])


def large(stage, layout):
    """Large nodes and many small ones: members that are killed, emptied or far behind catch up under load."""
    e = stage.ensemble(layout)
    e.form()
    load = Load(e, seed=stage.seed, pause=0.01).start().progress()
    c = e.connect(e.voters[0], timeout=120000)
    c.ok(req.create("/big"))
    for i in range(24):
        c.ok(req.create(f"/big/{i}", bytes([65 + i]) * 900_000))
    fill(c, "/small", 20_000, 120)
    c.quit()
    for n, sid in enumerate(e.voters):
        e.kill(sid)
        e.wait()
        if n % 2 == 0:
            shutil.rmtree(e[sid].files)
        c = e.connect(e.wait())
        for r in c.burst(*(req.set_data(f"/big/{i}", bytes([97 + i]) * 700_000) for i in range(12))):
            r.ok()
        c.quit()
        began = time.monotonic()
        e.spawn(sid)
        e.wait()
        stage.note(f"{sid} back after {time.monotonic() - began:.1f} s")
        load.progress(10)
    stage.judge(e, load)


def crowd(stage, layout):
    """Hundreds of sessions with ephemerals, on all members: the leader dies, and none of them is lost."""
    e = stage.ensemble(layout)
    leader = e.form()
    conns = []
    for n in range(300):
        c = e.connect(1 + n % len(layout), timeout=20 * TICK_MS)
        c.post_all([(req.create(f"/crowd{n}", b"", flags=EPHEMERAL), None)])
        conns.append(c)
    for c in conns:
        while not hasattr(c.next_frame(), "xid"):
            pass
    e.kill(leader)
    e.wait()
    began = time.monotonic()
    for n, c in enumerate(conns):
        c.drop()
        for _ in range(200):
            got = e.try_connect(e.running[n % 2], timeout=20 * TICK_MS, session=c.session, password=c.password, last_zxid=c.last_zxid)
            if got:
                break
            time.sleep(0.02)
        assert got and got[1].session == c.session, f"session {c.session:x} is gone: {got}"
        conns[n] = got[0]
        conns[n].next_xid = c.next_xid
    stage.note(f"{len(conns)} sessions moved in {time.monotonic() - began:.1f} s")
    e.spawn(leader)
    e.wait()
    for n, c in enumerate(conns):
        assert c.ok(req.exists(f"/crowd{n}")).stat.owner == c.session
        c.drop()
    look = e.connect(leader)
    until(lambda: not any(p.startswith("crowd") for p in look.ok(req.get_children("/")).children), "ephemerals go with their sessions", 60 * TICK)
    look.quit()
    stage.judge(e)


# name: (function, layouts of the short run, layouts of the long one)
ALL_MIXES = ["RRR", "JJR", "JRJ", "RJJ", "RRJ", "RJR", "JRR"]
SCENARIOS = {
    "form": (form, ["RRR", "JJR", "RRJ"], ALL_MIXES + ["JJJ"]),
    "diff": (diff, ["JRR"], ALL_MIXES + ["JJJ"]),
    "snap": (snap, ["RJR"], ALL_MIXES + ["JJJ"]),
    "trunc": (trunc, ["JRR"], ALL_MIXES + ["JJJ"]),
    "observer": (observer, ["JRRj"], ["RRRr", "JJJr", "RRRj", "JJRr", "RRJj", "JJJj"]),
    "masters": (masters, ["JRRrj"], ["RRRrr", "JJJr", "RRRj", "JRRrj", "RJJrj", "JJRr", "JJJj"]),
    "move": (move, ["RJR"], ALL_MIXES + ["JJJ"]),
    "expiry": (expiry, ["JRJ"], ALL_MIXES + ["JJJ"]),
    "leaders": (leaders, ["JRR"], ALL_MIXES + ["JJJ"]),
    "everyone": (everyone, ["RRR"], ALL_MIXES + ["JJJ"]),
    "stopped": (stopped, ["RJR"], ALL_MIXES + ["JJJ"]),
    "readonly": (readonly, ["RJR"], ["RRR", "RJR", "RJJ", "JJJ"]),
    "oracle": (oracle, ["RR"], ["RR", "RJ", "JR", "JJ"]),
    "local": (local, ["JRRj"], ["RRRr", "JJRr", "RRJj", "JRJr", "JJJj"]),
    "partition": (partition, ["RJR"], ALL_MIXES + ["JJJ"]),
    "delay": (delay, ["RJR"], ["RRR", "JJR", "RRJ", "JJJ"]),
    "rolling": (rolling, ["JJJ"], ["JJJ", "RRR"]),
    "chaos": (chaos, ["RRR"], ["RRR", "JRR", "RRJ", "JJR", "RRRRR", "JRJRJ"]),
    "large": (large, [], ["RRR", "JRR", "RRJ", "JJR"]),
    "crowd": (crowd, ["JRR"], ["RRR", "JRR", "RRJ", "JJR"]),
    "reconfig": (reconfig, ["RRJR"], ["RRRR", "JJRJ", "RRJR", "JRJR", "JJJJ"]),
    "permits": (permits, [], ["RRR", "RJR", "JRJ", "JJJ"]),
    "handover": (handover, ["RRR"], ["RRR", "JRR", "JJR", "RJRJR"]),
    "roles": (roles, ["RJRR"], ["RRRR", "RJRR", "JRJR", "RRRJ", "JJJJ"]),
    "ports": (ports, ["RRR"], ["RRR", "RJR", "JRJ", "JJJ"]),
    "five": (minorities, [], ["RRRRR", "JRJRJ", "RJRJR", "JJJJJ"]),
    "seven": (minorities, [], ["RRRRRRR", "JRJRJRJ", "RRJRRJR"]),
}
