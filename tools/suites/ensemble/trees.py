"""What the members hold: as each of them shows it to a client, and as Java's own classes read their files."""

import os
import re
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "swap"))

from harness.wire import req  # noqa: E402

# Written by each member for itself, from its own configuration.
OWN = "/zookeeper/config"


def walk(conn):
    """path -> (data, acl, stat, children) of everything."""
    out, level = {}, ["/"]
    while level:
        replies = conn.burst(*(r for p in level for r in (req.get_data(p), req.get_acl(p), req.get_children(p))))
        following = []
        for i, p in enumerate(level):
            data, acl, kids = replies[3 * i:3 * i + 3]
            if data.err or acl.err or kids.err:
                continue  # gone since its parent was read
            if p != OWN:
                out[p] = (data.data, acl.acl, data.stat, sorted(kids.children))
            following += [f"{p.rstrip('/')}/{k}" for k in kids.children]
        level = following
    return out


def shown(ensemble, sid):
    """(zxid, tree) as this member shows it after a sync."""
    c = ensemble.connect(sid)
    c.ok(req.sync("/"))
    first = c.ok(req.exists("/")).zxid
    tree = walk(c)
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

# What it says when its own log holds transactions twice.
LOGGED_TWICE = re.compile(r"\(highestZxid\) > \d+\(next log\)")


def files_agree(ensemble, java, trees):
    """After all have ended: Java's classes find in each member's files the tree that was shown, and equal digests. Returns
    remarks: a Java member that begins to follow several times within one start logs some transactions twice, and the
    digests in such a log cannot match when it is replayed; that is no fault of ours."""
    digests, remarks = {}, []
    expected = next(iter(trees.values()))[1]
    for sid, m in ensemble.members.items():
        if not os.path.isdir(m.files):
            continue
        found = java.read(m.data, m.data)
        trouble = DIGEST_TROUBLE.search(m.log_text())
        assert not trouble or LOGGED_TWICE.search(m.log_text()), f"member {sid} ({m.kind}) says: {m.log_text()[trouble.start() - 200:trouble.end() + 200]}"
        if found.mismatches != "[]":
            wrong = found.mismatches.strip("[]").split(", ")
            assert "ringkeeper" not in m.wrote or len(m.wrote) > 1, f"member {sid}: digests in its files do not match at {[hex(int(z)) for z in wrong][:20]}"
            remarks.append(f"member {sid} ({'+'.join(sorted(m.wrote))}): {len(wrong)} digests in its files do not match")
        digests[sid] = found.digest
        nodes = {p: (n[1], n[2], n[3]) for p, n in found.nodes.items() if p != OWN}
        shown_ = {p: (n[1], n[2], n[3]) for p, n in expected.items()}
        assert nodes.keys() == shown_.keys(), (f"member {sid} ({m.kind}), files: missing {sorted(shown_.keys() - nodes.keys())[:8]}, "
                                               f"too many {sorted(nodes.keys() - shown_.keys())[:8]}")
        for p, node in nodes.items():
            assert node == shown_[p], f"member {sid} ({m.kind}), files: {p} is\n  {node}, was shown as\n  {shown_[p]}"
    assert len(set(digests.values())) == 1, f"digests in the files differ: {digests}"
    return remarks
