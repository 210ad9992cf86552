"""What the members hold: as each of them shows it to a client, and as Java's own classes read their files."""

import glob
import os
import re
import shutil
import struct
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "swap"))

from harness.wire import req, walk  # noqa: E402

# Written by each member for itself, from its own configuration.
OWN = "/zookeeper/config"

DIGEST_VERSION = 2
# How much of a snapshot's end its digest, the zxid at its end, and the seals behind each take at most.
DIGEST_AND_SEALS = 64


def everything(conn):
    """path -> (data, acl, stat, children)."""
    found = ((p, d, a, k) for p, d, a, k in walk(conn) if p != OWN and not (d.err or a.err or k.err))  # gone since its parent was read
    return {p: (data.data, acl.acl, data.stat, sorted(kids.children)) for p, data, acl, kids in found}


def shown(ensemble, sid):
    """(zxid, tree) as this member shows it after a sync."""
    c = ensemble.connect(sid)
    c.ok(req.sync("/"))
    first = c.ok(req.exists("/")).zxid
    tree = everything(c)
    c.quit()
    return first, tree


def difference(a, b, names):
    """The first difference between two trees in words, or None."""
    if a.keys() != b.keys():
        return f"only on {names[0]}: {sorted(a.keys() - b.keys())[:8]}, only on {names[1]}: {sorted(b.keys() - a.keys())[:8]}"
    for path in a:
        for what, x, y in zip(("data", "acl", "stat", "children"), a[path], b[path]):
            if x != y:
                return f"{what} of {path}\n  {names[0]}: {str(x)[:300]}\n  {names[1]}: {str(y)[:300]}"
    return None


def agreed(ensemble, timeout=20.0):
    """Trees of all running members, which must come to be equal; sid -> (zxid, tree)."""
    until = time.monotonic() + timeout
    while True:
        found = {sid: shown(ensemble, sid) for sid in ensemble.running}
        first, *rest = found
        problem = next((d for sid in rest if (d := difference(found[first][1], found[sid][1], (f"member {first}", f"member {sid}")))), None)
        if problem is None:
            return found
        assert time.monotonic() < until, f"trees differ: {problem}"
        time.sleep(0.2)


# What a Java member says when a digest is not what it computes.
DIGEST_TROUBLE = re.compile(r"[Dd]igests are not matching|[Dd]igest mismatch|mismatch.*digest|digests differ", re.IGNORECASE)

# What a Java member says when it spoils its own log: it writes transactions a second time when it begins to follow several
# times within one start, and 3.8.0's log thread may die of a lost connection. Its files are then only remarked upon.
# A fuzzy snapshot from a Java leader makes the digests of what is replayed over it differ, here and in the files.
FUZZY = re.compile(r"Getting a snapshot from leader|the snapshot of leader")
SPOILED = re.compile(r"\(highestZxid\) > \d+\(next log\)|Current zxid \d+ is <= |Severe unrecoverable error, from thread : SyncThread|"
                     r"The digest in the snapshot has digest version[^\n]*\n[^\n]*Digests are not matching")


def torn_snapshot(java, m, zxid):
    """Whether a snapshot of this member contradicts itself: the digest at its end is said to be that of `zxid`, and its nodes have a later
    transaction. Java changes its tree, and only then says which zxid and digest it has; a snapshot that ends between the two is such."""
    for path in glob.glob(os.path.join(m.files, "snapshot.*")):
        with open(path, "rb") as f:
            if struct.pack(">qi", zxid, DIGEST_VERSION) not in f.read()[-DIGEST_AND_SEALS:]:
                continue
        with tempfile.TemporaryDirectory(prefix="rk-torn-") as alone:
            os.mkdir(os.path.join(alone, "version-2"))
            shutil.copy(path, os.path.join(alone, "version-2"))
            found = java.read(alone, alone)
        if max(max(n[2].czxid, n[2].mzxid, n[2].pzxid) for p, n in found.nodes.items() if p != OWN) > zxid:
            return True
    return False


def files_agree(ensemble, java, trees, without=()):
    """After all have ended: Java's classes find in each member's files the tree that was shown, and equal digests. Returns
    remarks about files that a Java member has spoiled."""
    digests, remarks = {}, []
    expected = {p: (n[1], n[2], n[3]) for p, n in next(iter(trees.values()))[1].items()}
    for sid, m in ensemble.members.items():
        if sid in without or not os.path.isdir(m.files):
            continue
        who = f"member {sid} ({'+'.join(sorted(m.wrote))})"
        ours, said = m.wrote == {"ringkeeper"}, m.log_text()
        found = java.read(m.data, m.data)
        trouble = DIGEST_TROUBLE.search(said)
        nodes = {p: (n[1], n[2], n[3]) for p, n in found.nodes.items() if p != OWN}
        wrong = [int(z) for z in found.mismatches.strip("[]").split(", ") if z]
        if wrong and "ringkeeper" not in m.wrote and all(torn_snapshot(java, m, z) for z in wrong):
            remarks.append(f"{who} wrote a snapshot that ends between a transaction and its zxid")  # the tree that comes of it is compared below
            wrong = []
        problem = None
        if trouble:
            problem = f"says: {said[trouble.start() - 200:trouble.end() + 200]}"
        elif wrong:
            problem = f"digests in its files do not match at {[hex(z) for z in wrong][:9]}"
        elif nodes.keys() != expected.keys():
            problem = f"files: missing {sorted(expected.keys() - nodes.keys())[:8]}, too many {sorted(nodes.keys() - expected.keys())[:8]}"
        elif nodes != expected:
            p = next(p for p in nodes if nodes[p] != expected[p])
            problem = f"files: {p} is\n  {nodes[p]}, was shown as\n  {expected[p]}"
        if problem is None:
            digests[sid] = found.digest
        else:
            other_java = any(other is not m and other.wrote != {"ringkeeper"} for other in ensemble.members.values())
            fuzzy = other_java and FUZZY.search(said) and "digests" in problem.lower()
            assert fuzzy or (not ours and SPOILED.search(said)), f"{who}: {problem}"
            remarks.append(f"{who} has spoiled its digests or its log")
    assert len(set(digests.values())) <= 1, f"digests in the files differ: {digests}"
    return remarks
