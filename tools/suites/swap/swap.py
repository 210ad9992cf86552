#!/usr/bin/env python3
"""One data directory, several servers in turn: each must find all that the one before it left.

    swap.py [--kind ringkeeper|java395] [--other java38|java395] [--stages N]

A server fills the directory with nodes of every kind and ends, mostly by kill -9; the next, of the other kind, opens
it. The whole tree is then read through a client, as super user, and compared: data, ACLs, every stat field, children.
Sessions re-attach with their passwords and own their ephemerals; sequential numbers, quotas and zxids go on; a
container and a TTL node still are what they were, shown by their vanishing. The tree's digest is compared by Java on
every transaction and snapshot it reads, and Java must have nothing to say. Java's own tools read each log and snapshot.
Scenarios: logs only; many snapshots and log files, gz; snappy with a log directory of its own.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.servers import HERE as HARNESS  # noqa: E402
from harness.servers import JVM, Server, classpath, default_kind  # noqa: E402
from harness.wire import ALL, EPHEMERAL, OPEN, SEQUENTIAL, TTL_SEQUENTIAL, Conn, E, digest_id, req  # noqa: E402

PROPS = {
    "zookeeper.DigestAuthenticationProvider.superDigest": digest_id("super", "secret"),
    "znode.container.checkIntervalMs": "3000",
    "znode.container.maxPerMinute": "600000",
}
CFG = {"extendedTypesEnabled": "true", "enforceQuota": "true", "maxSessionTimeout": 900000, "preAllocSize": 256}
SCENARIOS = {
    "logs only": ({"snapCount": 100000}, "kill"),
    "snapshots and rolls, gz": ({"snapCount": 60, "snapshot.compression.method": "gz"}, "kill"),
    "snappy, own log directory, ended politely": ({"snapCount": 300, "snapshot.compression.method": "snappy", "dataLogDir": "log"}, "stop"),
}
# What a Java server says when a digest is not what it computes.
DIGEST_TROUBLE = re.compile(r"[Dd]igests are not matching|[Dd]igest mismatch|mismatch.*digest", re.IGNORECASE)


def connect(server, **more):
    c = Conn(server.port, patience=60)
    got = c.connect(timeout=900000, **more)
    assert got is not None and got.session != 0, f"refused: {more}"
    c.ok(req.auth("digest", b"super:secret"))
    return c


def dump(c):
    """path -> (data, acl, stat, children), except below /fleeting, whose nodes go by themselves."""
    out, level = {}, ["/"]
    while level:
        replies = c.burst(*(r for p in level for r in (req.get_data(p), req.get_acl(p), req.get_children(p))))
        following = []
        for i, p in enumerate(level):
            data, acl, kids = (x.ok() for x in replies[3 * i:3 * i + 3])
            assert kids.children is not None
            out[p] = (data.data, acl.acl, data.stat, sorted(kids.children))
            following += [f"{p.rstrip('/')}/{k}" for k in kids.children]
        level = [p for p in following if p != "/fleeting"]
    return out


def compare(before, after, who):
    assert before.keys() == after.keys(), f"{who}: missing {sorted(before.keys() - after.keys())[:9]}, new {sorted(after.keys() - before.keys())[:9]}"
    for path in before:
        for name, a, b in zip(("data", "acl", "stat", "children"), before[path], after[path]):
            assert a == b, f"{who}: {name} of {path}\n  was {str(a)[:400]}\n  is  {str(b)[:400]}"


def fill(server, conns, n):
    """Everything that can be stored, in stage n."""
    a = conns[0]
    top = f"/stage{n}"
    user = connect(server)
    user.ok(req.auth("digest", b"user:pw"))
    a.burst(req.create(top, b"top"), req.create(f"{top}/null", None), req.create(f"{top}/empty", b""), req.create(f"{top}/big", bytes(range(256)) * 2000),
            req.create(f"{top}/näme – 中文", "wörd".encode()), req.create(f"{top}/versions"))
    path = top
    for i in range(30):
        path += f"/{i}"
        a.ok(req.create(path))
    for r in a.burst(*(req.set_data(f"{top}/versions", b"%d" % i) for i in range(100))):
        r.ok()
    for r in a.burst(*(req.create(f"{top}/many-", b"x" * (i % 50), flags=SEQUENTIAL) for i in range(300))):
        r.ok()
    for r in a.burst(*(req.delete(f"{top}/many-{i:010}") for i in range(40, 120))):
        r.ok()
    # ACLs of all schemes, shared and changed
    user.ok(req.create(f"{top}/auth", acl=[(ALL, "auth", "")]))
    a.ok(req.create(f"{top}/ip", acl=[(31, "ip", "10.0.0.0/8"), (1, "world", "anyone")]))
    a.ok(req.create(f"{top}/acl"))
    for i in range(20):
        a.ok(req.set_acl(f"{top}/acl", [(31, "digest", f"u{i % 3}:{i % 3}")]))
    # containers, TTL
    a.ok(req.create_container(f"{top}/container", b"c"))
    a.ok(req.create(f"{top}/container/kid"))
    a.ok(req.create_container(f"{top}/unused"))
    a.ok(req.create_ttl(f"{top}/ttl", 3_600_000, b"t"))
    a.ok(req.create_ttl(f"{top}/ttl-", 0xFFFFFFFFFF, flags=TTL_SEQUENTIAL))
    # quotas
    at = "/zookeeper/quota"
    a.do(req.create(f"{at}{top}"))
    a.ok(req.create(f"{at}{top}/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=1000"))
    a.ok(req.create(f"{at}{top}/zookeeper_stats", b"count=0,bytes=0"))
    a.ok(req.create(f"{top}/counted", b"12345"))
    # ephemerals of sessions that stay, and of one that ends
    for k, c in enumerate(conns):
        c.ok(req.create(f"{top}/eph{k}", b"e", flags=EPHEMERAL))
        c.ok(req.create(f"{top}/ephs-", flags=EPHEMERAL | SEQUENTIAL))
    user.ok(req.create(f"{top}/goes", flags=EPHEMERAL))
    user.ok(req.create(f"{top}/goes2", flags=EPHEMERAL))
    user.ok(req.close())
    user.drop()
    # multis and failures
    assert [r[1] for r in a.ok(req.multi(req.create(f"{top}/m", b"1"), req.create(f"{top}/m/k"), req.set_data(f"{top}/m", b"2"), req.check(f"{top}/m", 1),
                                         req.delete(f"{top}/m/k"), req.create_container(f"{top}/m/c"), req.create_ttl(f"{top}/m/t", 10**9))).results] == [0] * 7
    assert a.ok(req.multi(req.create(f"{top}/never"), req.set_data(f"{top}/m", b"never"), req.check(f"{top}/m", 77))).results[-1][1] == E.BADVERSION
    for r in (req.create(top), req.set_data("/nope", b""), req.delete(top), req.set_acl(top, ()), req.create("/bad//path"),
              req.set_data(f"{top}/m", b"", 99), req.delete(f"{top}/versions", 3)):
        assert a.do(r).err != 0
    # an ACL that all stages share, and a node that every stage changes
    a.ok(req.create(f"{top}/shared-acl", acl=OPEN + ((1, "digest", "all:stages"),)))
    a.do(req.create("/common", acl=OPEN + ((1, "digest", "all:stages"),)))
    a.ok(req.set_data("/common", b"stage %d" % n))
    a.ok(req.create("/common/n-", flags=SEQUENTIAL))
    # what must go by itself at the next server
    a.do(req.create("/fleeting"))
    a.ok(req.create_ttl(f"/fleeting/ttl{n}", 100))
    a.ok(req.create_container(f"/fleeting/container{n}"))
    a.ok(req.create(f"/fleeting/container{n}/kid"))


def stage(directory, kind, cfg, end, n, state):
    """Open, compare, re-attach, go on writing, end. `state` is what the stage before left."""
    server = Server(directory, kind, {**CFG, **cfg}, PROPS)
    log_from = len(server.log_text())
    server.start()
    who = f"stage {n}, {kind}"
    try:
        look = None
        if state:
            conns = [connect(server, session=s, password=p, last_zxid=z) for s, p, z in state["sessions"]]
            for c, eph in zip(conns, state["ephemerals"]):
                assert sorted(c.ok(req.get_ephemerals()).children) == eph, f"{who}: ephemerals of 0x{c.session:x}"
            compare(state["tree"], dump(conns[0]), who)
            assert conns[0].ok(req.sync("/")).zxid == state["zxid"], f"{who}: zxid {conns[0].last_zxid:#x} after {state['zxid']:#x}"
            assert conns[0].ok(req.create("/common/n-", flags=SEQUENTIAL)).path == f"/common/n-{2 * n - 3:010}", "sequential numbers go on"
            assert conns[0].last_zxid == state["zxid"] + 1
            look = connect(server)
            look.ok(req.delete(f"/fleeting/container{n - 1}/kid"))
        else:
            conns = []
        conns = conns[-2:] + [connect(server)]
        fill(server, conns, n)
        if look:
            deadline = time.monotonic() + 30
            while left := [p for p in (f"/fleeting/ttl{n - 1}", f"/fleeting/container{n - 1}") if look.do(req.exists(p)).err == 0]:
                assert time.monotonic() < deadline, f"{who}: {left} did not go"
                time.sleep(0.2)
            look.quit()
        tree = dump(conns[0])
        state = {"sessions": [], "ephemerals": [], "tree": tree, "zxid": conns[0].ok(req.sync("/")).zxid}
        for c in conns:
            state["ephemerals"].append(sorted(c.ok(req.get_ephemerals()).children))
        state["sessions"] = [(c.session, c.password, state["zxid"]) for c in conns]
        metrics = dict(x.split("\t") for x in server.word(b"mntr").decode().splitlines() if "\t" in x)
        assert float(metrics.get("zk_digest_mismatches_count", 0)) == 0, f"{who}: digests differ"
        getattr(server, end)()
        trouble = DIGEST_TROUBLE.search(server.log_text()[log_from:])
        assert not trouble, f"{who}: {trouble[0]}\n{server.log_tail()}"
        for c in conns:
            c.drop()
        return state
    finally:
        server.kill()


def tool(main, *args):
    command = ["java", *JVM, f"-Dlog4j.configuration=file:{HARNESS}/quiet.properties", "-Dzookeeper.extendedTypesEnabled=true", "-cp",
               classpath("java38") + ":/usr/share/java/commons-cli.jar", main, *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=120, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def read_with_java_tools(directory, cfg, state):
    """TxnLogToolkit reads every log and finds all zxids without a gap; SnapshotFormatter reads the newest snapshot."""
    logs = sorted(glob.glob(os.path.join(cfg.get("dataLogDir", os.path.join(directory, "data")), "version-2", "log.*")),
                  key=lambda p: int(p.rsplit(".", 1)[1], 16))
    zxids = []
    for log in logs:
        status, text = tool("org.apache.zookeeper.server.persistence.TxnLogToolkit", "-d", log)
        assert status == 0 and "CRC ERROR" not in text, f"{log}: status {status}\n{text[-800:]}"
        zxids += [int(z, 16) for z in re.findall(r"cxid 0x[0-9a-f]+ zxid 0x([0-9a-f]+) ", text)]
    assert zxids == list(range(1, state["zxid"] + 1)), f"zxids in the logs: {len(zxids)}, last {zxids[-1:]}, expected 1 to {state['zxid']}"
    snapshots = sorted(glob.glob(os.path.join(directory, "data", "version-2", "snapshot.*")), key=lambda p: int(p.split("snapshot.")[1].split(".")[0], 16))
    status, text = tool("org.apache.zookeeper.server.SnapshotFormatter", snapshots[-1])
    assert status == 0 and "ZNode Details" in text and "Last zxid" in text, f"{snapshots[-1]}: status {status}\n{text[-800:]}"
    return len(logs), len(snapshots)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default=default_kind())
    parser.add_argument("--other", default="java38")
    parser.add_argument("--stages", type=int, default=5)
    args = parser.parse_args()
    passed = failed = 0
    for name, (cfg, end) in SCENARIOS.items():
        for first, second in ((args.other, args.kind), (args.kind, args.other)):
            stages = args.stages if first == args.other else 2
            directory = tempfile.mkdtemp(prefix="rk-swap-")
            settings = dict(cfg)
            if "dataLogDir" in settings:
                settings["dataLogDir"] = os.path.join(directory, "log")
            began, state, n = time.monotonic(), None, 0
            try:
                for n in range(1, stages + 1):
                    state = stage(directory, (first, second)[(n + 1) % 2], settings, end, n, state)
                logs, snapshots = read_with_java_tools(directory, settings, state)
                print(f"ok    {name}: {stages} stages from {first}, {len(state['tree'])} nodes, {logs} logs, {snapshots} snapshots, "
                      f"{time.monotonic() - began:.0f} s", flush=True)
                passed += 1
                shutil.rmtree(directory, ignore_errors=True)
            except Exception as e:
                print(f"FAIL  {name}: from {first}, stage {n}: {type(e).__name__}: {e}\n      directory kept: {directory}", flush=True)
                failed += 1
    print(f"swap: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
