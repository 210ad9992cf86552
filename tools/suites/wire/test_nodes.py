"""Creating, changing and deleting: results, stat fields, sequential names, containers, TTL nodes, counts."""

import time

import pytest

from harness.wire import (CONTAINER, EPHEMERAL, EPHEMERAL_SEQUENTIAL, OPEN, SEQUENTIAL, TTL, TTL_SEQUENTIAL, Conn, E, req)


def test_create_returns_the_path_and_create2_the_stat_too(conn, root):
    assert conn.ok(req.create(f"{root}/a", b"xyz")).path == f"{root}/a"
    got = conn.ok(req.create2(f"{root}/b", b"xyz"))
    assert got.path == f"{root}/b"
    assert got.stat == conn.ok(req.exists(f"{root}/b")).stat
    assert (got.stat.czxid, got.stat.mzxid, got.stat.pzxid) == (got.zxid,) * 3
    assert (got.stat.version, got.stat.cversion, got.stat.aversion, got.stat.owner, got.stat.length, got.stat.children) == (0, 0, 0, 0, 3, 0)
    assert got.stat.ctime == got.stat.mtime
    assert abs(got.stat.ctime / 1000 - time.time()) < 60


@pytest.mark.parametrize("data", [None, b"", b"\0", b"x" * 1000], ids=["null", "empty", "zero byte", "long"])
def test_data_comes_back_as_it_was_and_null_is_not_empty(conn, root, data):
    conn.ok(req.create(f"{root}/a", data))
    got = conn.ok(req.get_data(f"{root}/a"))
    assert got.data == data
    assert got.stat.length == len(data or b"")
    conn.ok(req.set_data(f"{root}/a", b"other"))
    conn.ok(req.set_data(f"{root}/a", data))
    assert conn.ok(req.get_data(f"{root}/a")).data == data


def test_stat_fields_follow_each_kind_of_change(conn, root):
    p = f"{root}/a"
    s0 = conn.ok(req.create2(p, b"1")).stat
    s1 = conn.ok(req.set_data(p, b"22")).stat
    assert (s1.version, s1.length, s1.czxid, s1.ctime, s1.pzxid) == (1, 2, s0.czxid, s0.ctime, s0.pzxid)
    assert s1.mzxid == s0.mzxid + 1 and s1.mtime >= s0.mtime
    s2 = conn.ok(req.set_acl(p, OPEN)).stat
    assert s2.aversion == 1
    assert (s2.version, s2.mzxid, s2.mtime, s2.pzxid, s2.cversion) == (1, s1.mzxid, s1.mtime, s1.pzxid, 0)
    made = conn.ok(req.create(f"{p}/k1")).zxid
    s3 = conn.ok(req.exists(p)).stat
    assert (s3.cversion, s3.pzxid, s3.children, s3.mzxid, s3.version) == (1, made, 1, s1.mzxid, 1)
    conn.ok(req.create(f"{p}/k2"))
    conn.ok(req.create(f"{p}/k1/deep"))
    gone = conn.ok(req.delete(f"{p}/k2")).zxid
    s4 = conn.ok(req.exists(p)).stat
    assert (s4.cversion, s4.pzxid, s4.children) == (3, gone, 1)
    conn.ok(req.set_data(f"{p}/k1", b""))
    assert conn.ok(req.exists(p)).stat == s4


def test_versions_start_over_when_a_node_is_made_again(conn, root):
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.set_data(f"{root}/a", b""))
    conn.ok(req.create(f"{root}/a/k"))
    conn.ok(req.delete(f"{root}/a/k"))
    conn.ok(req.delete(f"{root}/a"))
    stat = conn.ok(req.create2(f"{root}/a")).stat
    assert (stat.version, stat.cversion, stat.aversion) == (0, 0, 0)


def test_a_setdata_with_version_minus_one_always_goes_through(conn, root):
    for i in range(1, 6):
        assert conn.ok(req.set_data(root, b"", -1)).stat.version == i


def test_a_right_version_goes_through_exactly_once(conn, root):
    assert conn.ok(req.set_data(root, b"", 0)).stat.version == 1
    assert conn.do(req.set_data(root, b"", 0)).err == E.BADVERSION


# --- sequential ----------------------------------------------------------------------------------------------


def test_sequential_names_count_the_creates_of_the_parent(conn, root):
    def name(prefix="s", flags=SEQUENTIAL):
        return conn.ok(req.create(f"{root}/{prefix}", flags=flags)).path[len(root) + 1:]

    assert name() == "s0000000000"
    assert name() == "s0000000001"
    assert name("other-") == "other-0000000002"
    conn.ok(req.create(f"{root}/plain"))
    assert name() == "s0000000004"
    conn.ok(req.delete(f"{root}/s0000000004"))
    assert name() == "s0000000005"
    conn.do(req.create(f"{root}/plain"))
    assert name() == "s0000000006", "a failed create does not count"
    assert name("") == "0000000007"
    assert name("e", EPHEMERAL_SEQUENTIAL) == "e0000000008"


def test_sequential_names_in_a_burst_are_unique_and_in_order(conn, root):
    got = conn.burst(*[req.create(f"{root}/s", flags=SEQUENTIAL)] * 500)
    assert [g.path for g in got] == [f"{root}/s{i:010}" for i in range(500)]


def test_a_sequential_create_at_the_top(conn):
    got = conn.ok(req.create("/top-", flags=SEQUENTIAL))
    number = int(got.path[5:])
    assert conn.ok(req.create("/top-", flags=SEQUENTIAL)).path == f"/top-{number + 1:010}"


def test_a_sequential_name_may_meet_an_existing_one(conn, root):
    conn.ok(req.create(f"{root}/s0000000001"))
    assert conn.do(req.create(f"{root}/s", flags=SEQUENTIAL)).err == E.NODEEXISTS


# --- ephemerals ----------------------------------------------------------------------------------------------


def test_an_ephemeral_names_its_owner(conn, root):
    assert conn.ok(req.create2(f"{root}/e", flags=EPHEMERAL)).stat.owner == conn.session
    assert conn.ok(req.exists(f"{root}/e")).stat.owner == conn.session


def test_ephemerals_of_a_session_are_listed_by_plain_prefix(conn, connect, root):
    other = connect()
    for name in ("a", "ab", "b"):
        conn.ok(req.create(f"{root}/{name}", flags=EPHEMERAL))
    other.ok(req.create(f"{root}/theirs", flags=EPHEMERAL))
    everything = [f"{root}/a", f"{root}/ab", f"{root}/b"]
    for prefix, expected in [("", everything), ("/", everything), ("  ", everything), (None, everything), (root, everything), (f"{root}/", everything),
                             (f"{root}/a", everything[:2]), (f"{root}/ab", everything[1:2]), (f"{root}/x", []), ("a", [])]:
        got = conn.do(req.get_ephemerals(prefix))
        if prefix is None and got.err == E.MARSHALLINGERROR:
            continue
        assert sorted(got.children) == expected, prefix
    assert other.ok(req.get_ephemerals()).children == [f"{root}/theirs"]


def test_another_session_may_delete_an_ephemeral(conn, connect, root):
    conn.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    connect().ok(req.delete(f"{root}/e"))
    assert conn.ok(req.get_ephemerals()).children == []


def test_an_ephemeral_made_again_by_another_session_stays_when_the_first_ends(conn, connect, root):
    first = connect()
    first.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    conn.ok(req.delete(f"{root}/e"))
    conn.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    first.ok(req.close())
    assert conn.ok(req.exists(f"{root}/e")).stat.owner == conn.session


# --- containers and ttl --------------------------------------------------------------------------------------


def test_container_and_ttl_nodes_show_no_owner(conn, root):
    assert conn.ok(req.create_container(f"{root}/c")).stat.owner == 0
    assert conn.ok(req.create_ttl(f"{root}/t", 100000)).stat.owner == 0
    assert conn.ok(req.exists(f"{root}/c")).stat.owner == 0
    assert conn.ok(req.exists(f"{root}/t")).stat.owner == 0


def test_a_sequential_ttl_node_gets_its_number(conn, root):
    assert conn.ok(req.create_ttl(f"{root}/t", 100000, flags=TTL_SEQUENTIAL)).path == f"{root}/t0000000000"


def wait_gone(conn, path, patience=15):
    deadline = time.monotonic() + patience
    while conn.do(req.exists(path)).err == 0:
        assert time.monotonic() < deadline, f"{path} is still there"
        time.sleep(0.1)


def test_a_container_goes_when_its_last_child_has_gone_and_not_before_it_had_one(conn, root):
    for name in ("used", "unused", "holding"):
        conn.ok(req.create_container(f"{root}/{name}"))
    conn.ok(req.create(f"{root}/used/k"))
    conn.ok(req.create(f"{root}/holding/k"))
    conn.ok(req.delete(f"{root}/used/k"))
    wait_gone(conn, f"{root}/used")
    time.sleep(1.2)
    assert conn.ok(req.exists(f"{root}/unused"))
    assert conn.ok(req.exists(f"{root}/holding"))


def test_watches_see_a_container_go(conn, root):
    conn.ok(req.create_container(f"{root}/c"))
    conn.ok(req.create(f"{root}/c/k"))
    conn.ok(req.exists(f"{root}/c", watch=True))
    conn.ok(req.get_children(root, watch=True))
    conn.ok(req.delete(f"{root}/c/k"))
    assert [(e.type, e.path) for e in conn.take_events(2)] == [(2, f"{root}/c"), (4, root)]


def test_a_ttl_node_goes_when_unchanged_for_its_time_and_childless(conn, root):
    conn.ok(req.create_ttl(f"{root}/t", 500))
    conn.ok(req.create_ttl(f"{root}/long", 3_600_000))
    conn.ok(req.create_ttl(f"{root}/parent", 500))
    conn.ok(req.create(f"{root}/parent/k"))
    wait_gone(conn, f"{root}/t")
    time.sleep(1.2)
    assert conn.ok(req.exists(f"{root}/long"))
    assert conn.ok(req.exists(f"{root}/parent"))
    conn.ok(req.delete(f"{root}/parent/k"))
    wait_gone(conn, f"{root}/parent")


def test_setting_data_gives_a_ttl_node_its_time_anew(conn, root):
    conn.ok(req.create_ttl(f"{root}/t", 2500))
    until = time.monotonic() + 6
    while time.monotonic() < until:
        conn.ok(req.set_data(f"{root}/t", b""))
        time.sleep(0.3)
    wait_gone(conn, f"{root}/t")


def test_a_container_flag_on_plain_create_makes_a_plain_node(conn, root):
    """What is stored follows the opcode, not the flag."""
    conn.ok(req.create(f"{root}/c", flags=CONTAINER))
    conn.ok(req.create(f"{root}/c/k"))
    conn.ok(req.delete(f"{root}/c/k"))
    time.sleep(2.5)
    assert conn.ok(req.exists(f"{root}/c"))


@pytest.mark.parametrize("flags", [0, SEQUENTIAL, CONTAINER])
def test_create_container_makes_a_container_whatever_the_flag(conn, root, flags):
    path = conn.ok(req.create_container(f"{root}/c", flags=flags)).path
    assert path == f"{root}/c" + ("0000000000" if flags == SEQUENTIAL else "")
    conn.ok(req.create(f"{path}/k"))
    conn.ok(req.delete(f"{path}/k"))
    wait_gone(conn, path)


def test_delete_container_of_a_client(conn, root, differs):
    """An operation of the server's own; Java takes it from anyone without a look at the ACL, we ask for DELETE."""
    if not differs("delete_container_takes_a_string"):
        pytest.skip("this version takes the whole body as the path")
    conn.ok(req.create_container(f"{root}/c"))
    conn.ok(req.create(f"{root}/c/k"))
    conn.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    before = conn.ok(req.sync("/")).zxid
    assert conn.do(req.delete_container(f"{root}/c")).err == E.NOTEMPTY
    assert conn.do(req.delete_container(f"{root}/x")).err == E.NONODE
    assert conn.do(req.delete_container("x")).err == E.BADARGUMENTS
    assert conn.do(req.delete_container("/zookeeper")).err == E.BADARGUMENTS
    assert conn.do(req.delete_container(f"{root}/e")).err == E.BADVERSION
    assert conn.ok(req.delete_container(f"{root}/c/k")).zxid == before + 6
    conn.ok(req.create_container(f"{root}/locked"))
    conn.ok(req.create_container(f"{root}/locked/c"))
    conn.ok(req.set_acl(f"{root}/locked", ((1, "world", "anyone"),)))
    assert conn.do(req.delete_container(f"{root}/locked/c")).err == (0 if differs("delete_container_ignores_acl") else E.NOAUTH)


# --- lists and counts ----------------------------------------------------------------------------------------


def test_children_are_names_without_path_in_sorted_order_here(conn, root, differs):
    names = ["b", "a", "c10", "c9", "A", "é", "z" * 50]
    for n in names:
        conn.ok(req.create(f"{root}/{n}"))
    got = conn.ok(req.get_children(root)).children
    got2 = conn.ok(req.get_children2(root))
    assert sorted(got) == sorted(names) and sorted(got2.children) == sorted(names)
    assert got2.stat == conn.ok(req.exists(root)).stat
    if differs("children_are_sorted"):
        assert got == got2.children == sorted(names, key=lambda n: n.encode())


def test_many_children(conn, root):
    names = [f"{i * 7919 % 5000:05}" for i in range(5000)]
    for at in range(0, 5000, 500):
        conn.burst(*(req.create(f"{root}/{n}") for n in names[at:at + 500]))
    assert sorted(conn.ok(req.get_children(root)).children) == sorted(names)
    for at in range(0, 5000, 500):
        conn.burst(*(req.delete(f"{root}/{n}") for n in names[at:at + 500:2]))
    left = {n for at in range(0, 5000, 500) for n in names[at + 1:at + 500:2]}
    assert set(conn.ok(req.get_children(root)).children) == left
    assert conn.ok(req.exists(root)).stat.cversion == 7500


def test_all_descendants_are_counted(conn, root):
    for p in ("a", "a/b", "a/b/c", "ab", "d"):
        conn.ok(req.create(f"{root}/{p}"))
    for path, n in [("", 5), ("/a", 2), ("/a/b", 1), ("/a/b/c", 0), ("/ab", 0)]:
        assert conn.ok(req.get_all_children_number(root + path)).count == n


def test_the_count_at_the_root_is_of_all_nodes_but_two(start):
    server = start()
    with Conn(server.port) as c:
        c.connect()
        assert c.ok(req.get_all_children_number("/")).count == 3
        c.ok(req.create("/a"))
        assert c.ok(req.get_all_children_number("/")).count == 4
        assert c.ok(req.get_all_children_number("/zookeeper")).count == 2
        c.quit()


def test_a_new_tree_holds_the_reserved_nodes(start):
    server = start()
    with Conn(server.port) as c:
        c.connect()
        assert sorted(c.ok(req.get_children("/")).children) == ["zookeeper"]
        assert sorted(c.ok(req.get_children("/zookeeper")).children) == ["config", "quota"]
        for path in ("/", "/zookeeper", "/zookeeper/quota"):
            got = c.ok(req.get_data(path))
            assert got.data == b""
            acl = c.ok(req.get_acl(path))
            assert acl.acl == [(31, "world", "anyone")]
            s = got.stat
            assert (s.czxid, s.mzxid, s.pzxid, s.ctime, s.mtime, s.version, s.aversion, s.owner, s.length) == (0, 0, 0, 0, 0, 0, 0, 0, 0)
        stats = {p: c.ok(req.exists(p)).stat for p in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")}
        assert {p: (s.cversion, s.children) for p, s in stats.items()} == {
            "/": (-1, 1), "/zookeeper": (-2, 2), "/zookeeper/quota": (0, 0), "/zookeeper/config": (0, 0)}
        config = c.ok(req.get_acl("/zookeeper/config"))
        assert config.acl == [(1, "world", "anyone")] and config.stat.aversion == -1
        assert c.ok(req.create("/x", flags=SEQUENTIAL)).path == "/x0000000000"
        c.quit()


def test_reserved_nodes_can_be_written(start):
    server = start()
    with Conn(server.port) as c:
        c.connect()
        assert c.ok(req.set_data("/", b"root")).stat.version == 1
        assert c.ok(req.get_data("/")).data == b"root"
        c.ok(req.set_data("/zookeeper", b"z"))
        c.ok(req.auth("digest", b"super:secret"))
        assert c.ok(req.set_data("/zookeeper/config", b"text")).stat.version == 1
        assert c.ok(req.set_acl("/zookeeper/config", OPEN, -1)).stat.aversion == 0
        c.quit()
