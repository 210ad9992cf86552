"""Quotas: the text of their nodes, how usage is counted, and what enforcement refuses."""

import pytest

from harness.wire import EPHEMERAL, Conn, E, req


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory, kind):
    """A server that enforces quotas."""
    from conftest import CFG, PROPS
    from harness.servers import Server

    s = Server(tmp_path_factory.mktemp("quota"), kind, {**CFG, "enforceQuota": "true"}, PROPS).start()
    yield s
    s.kill()


@pytest.fixture
def q(enforcing):
    """A connection to it."""
    c = Conn(enforcing.port)
    c.connect(timeout=600000)
    yield c
    c.quit()


def set_quota(c, path, limits):
    at = "/zookeeper/quota"
    for part in path[1:].split("/"):
        at += "/" + part
        c.do(req.create(at))
    c.ok(req.create(f"{at}/zookeeper_limits", limits.encode()))
    c.ok(req.create(f"{at}/zookeeper_stats", b"count=0,bytes=0"))


def usage(c, path):
    return c.ok(req.get_data(f"/zookeeper/quota{path}/zookeeper_stats")).data.decode()


def test_usage_is_counted_from_the_subtree_and_kept_up(conn, root):
    conn.ok(req.set_data(root, b"12345"))
    conn.ok(req.create(f"{root}/a", b"123"))
    set_quota(conn, root, "count=100,bytes=100")
    assert usage(conn, root) == "count=2,bytes=8"
    conn.ok(req.create(f"{root}/b", b"1234"))
    assert usage(conn, root) == "count=3,bytes=12"
    conn.ok(req.set_data(f"{root}/b", b"1"))
    assert usage(conn, root) == "count=3,bytes=9"
    conn.ok(req.set_data(f"{root}/b", None))
    assert usage(conn, root) == "count=3,bytes=8"
    conn.ok(req.create(f"{root}/b/deep", b"x"))
    conn.ok(req.delete(f"{root}/a"))
    assert usage(conn, root) == "count=3,bytes=6"


def test_the_stats_node_is_rewritten_without_a_trace_in_its_stat(conn, root):
    set_quota(conn, root, "count=100,bytes=100")
    path = f"/zookeeper/quota{root}/zookeeper_stats"
    before = conn.ok(req.get_data(path, watch=True)).stat
    conn.ok(req.create(f"{root}/a", b"123"))
    after = conn.ok(req.get_data(path))
    assert after.data == b"count=2,bytes=3"
    assert (after.stat.version, after.stat.mzxid, after.stat.mtime) == (before.version, before.mzxid, before.mtime)
    assert after.stat.length == len(after.data)
    assert conn.drain() == []


def test_only_the_deepest_quota_counts(conn, root):
    set_quota(conn, root, "count=100,bytes=100")
    conn.ok(req.create(f"{root}/a"))
    set_quota(conn, f"{root}/a", "count=100,bytes=100")
    conn.ok(req.create(f"{root}/a/b", b"123"))
    assert usage(conn, f"{root}/a") == "count=2,bytes=3"
    assert usage(conn, root) == "count=2,bytes=0"


def test_ephemerals_leave_the_count_with_their_session(conn, connect, root):
    set_quota(conn, root, "count=100,bytes=100")
    c = connect()
    c.ok(req.create(f"{root}/e", b"12", flags=EPHEMERAL))
    assert usage(conn, root) == "count=2,bytes=2"
    c.ok(req.close())
    assert usage(conn, root) == "count=1,bytes=0"


def test_removing_the_limits_ends_the_counting(conn, root):
    set_quota(conn, root, "count=100,bytes=100")
    conn.ok(req.delete(f"/zookeeper/quota{root}/zookeeper_limits"))
    conn.ok(req.create(f"{root}/a", b"123"))
    assert usage(conn, root) == "count=1,bytes=0"


def test_without_enforcement_a_quota_refuses_nothing(conn, root):
    set_quota(conn, root, "count=1,bytes=1=;byteHardLimit=1;countHardLimit=1")
    assert conn.do(req.create(f"{root}/a", b"xxxx")).err == 0
    assert usage(conn, root) == "count=2,bytes=4"




def test_a_hard_count_refuses_the_one_too_many(q):
    q.ok(req.create("/hc"))
    set_quota(q, "/hc", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3")
    assert q.do(req.create("/hc/a")).err == 0
    assert q.do(req.create("/hc/b")).err == 0
    for r in (req.create("/hc/c"), req.create2("/hc/c"), req.create_container("/hc/c"), req.create_ttl("/hc/c", 1000), req.create("/hc/a/c"),
              req.create("/hc/c", flags=EPHEMERAL)):
        assert q.do(r).err == E.QUOTAEXCEEDED
    assert q.ok(req.multi(req.create("/hc/c"))).results == [(-1, E.QUOTAEXCEEDED)]
    assert usage(q, "/hc") == "count=3,bytes=0"
    q.ok(req.delete("/hc/a"))
    assert q.do(req.create("/hc/c")).err == 0


def test_hard_bytes_refuse_create_and_set(q):
    q.ok(req.create("/hb"))
    set_quota(q, "/hb", "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=-1")
    assert q.do(req.create("/hb/a", b"123456")).err == 0
    assert q.do(req.create("/hb/b", b"12345")).err == E.QUOTAEXCEEDED
    assert q.do(req.create("/hb/b", b"1234")).err == 0
    assert q.do(req.set_data("/hb/b", b"12345")).err == E.QUOTAEXCEEDED
    assert q.do(req.set_data("/hb/b", b"4321")).err == 0
    assert q.do(req.set_data("/hb/b", b"1")).err == 0
    assert usage(q, "/hb") == "count=3,bytes=7"


def test_a_shrinking_set_that_stays_above_the_limit_fails_too(q):
    q.ok(req.create("/sh", b"x" * 20))
    set_quota(q, "/sh", "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=-1")
    assert q.do(req.set_data("/sh", b"x" * 15)).err == E.QUOTAEXCEEDED
    assert q.do(req.set_data("/sh", b"y" * 20)).err == 0, "no change of size is not judged"
    assert q.do(req.set_data("/sh", b"x" * 10)).err == 0


def test_quota_is_judged_before_the_version_and_after_the_existence(q):
    q.ok(req.create("/ord"))
    set_quota(q, "/ord", "count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=1")
    assert q.do(req.set_data("/ord", b"xx", 99)).err == E.QUOTAEXCEEDED
    assert q.do(req.set_data("/ord/nope", b"xx")).err == E.NONODE
    q2 = "/ord/e"
    assert q.do(req.create(q2)).err == E.QUOTAEXCEEDED
    assert q.do(req.create("/ord", b"xx")).err == E.NODEEXISTS


def test_soft_limits_refuse_nothing(q):
    q.ok(req.create("/soft"))
    set_quota(q, "/soft", "count=1,bytes=1")
    assert q.do(req.create("/soft/a", b"xxxx")).err == 0
    assert usage(q, "/soft") == "count=2,bytes=4"


@pytest.mark.parametrize("text", ["count=2,bytes=-1", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2",
                                  "count=-1,bytes=-1;countHardLimit=2", "count=-1,bytes=-1,countHardLimit=2,byteHardLimit=-1"])
def test_the_text_of_limits_may_be_separated_either_way(q, text):
    name = "/sep%d" % abs(hash(text))
    q.ok(req.create(name))
    set_quota(q, name, text)
    assert q.do(req.create(f"{name}/a")).err == 0
    assert q.do(req.create(f"{name}/b")).err == (0 if "Hard" not in text else E.QUOTAEXCEEDED)


def test_changing_the_limits_takes_effect(q):
    q.ok(req.create("/chg"))
    set_quota(q, "/chg", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=1")
    assert q.do(req.create("/chg/a")).err == E.QUOTAEXCEEDED
    q.ok(req.set_data("/zookeeper/quota/chg/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2"))
    assert q.do(req.create("/chg/a")).err == 0
    assert q.do(req.create("/chg/b")).err == E.QUOTAEXCEEDED


def test_quotas_and_usage_survive_a_restart(start):
    server = start({"enforceQuota": "true"})
    with Conn(server.port) as c:
        c.connect()
        c.ok(req.create("/a"))
        set_quota(c, "/a", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2")
        c.ok(req.create("/a/b", b"123"))
        c.quit()
    for end in (server.kill, server.stop):
        end()
        server.start()
        with Conn(server.port) as c:
            c.connect()
            assert usage(c, "/a") == "count=2,bytes=3"
            assert c.do(req.create("/a/c")).err == E.QUOTAEXCEEDED
            c.quit()
