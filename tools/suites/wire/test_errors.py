"""Which error wins: each case breaks two rules at once, or one rule at its edge."""

import pytest

from harness.wire import ADMIN, ALL, CREATE, DELETE, EPHEMERAL, OPEN, READ, SEQUENTIAL, TTL, WRITE, Conn, E, digest_id, req

STRANGER = ((ALL, "digest", digest_id("stranger", "pw")),)
BAD_ACL = ()


@pytest.fixture
def world(conn, root):
    """Nodes with every kind of obstacle."""
    conn.ok(req.create(f"{root}/n", b"data"))
    conn.ok(req.set_data(f"{root}/n", b"data"))  # version 1
    conn.ok(req.create(f"{root}/p"))
    conn.ok(req.create(f"{root}/p/c"))
    conn.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    conn.ok(req.create_container(f"{root}/k"))
    conn.ok(req.create_ttl(f"{root}/t", 100000))
    for name, bits in [("r", READ), ("w", WRITE), ("c", CREATE), ("d", DELETE), ("a", ADMIN), ("rwcd", 15), ("none", 0)]:
        conn.ok(req.create(f"{root}/{name}"))
        conn.ok(req.create(f"{root}/{name}/kid"))
        conn.ok(req.set_acl(f"{root}/{name}", ((bits, "world", "anyone"),)))
    conn.ok(req.create(f"{root}/hidden"))
    conn.ok(req.create(f"{root}/hidden/kid"))
    conn.ok(req.set_acl(f"{root}/hidden", STRANGER))
    return root


CASES = {
    # create: flags, ttl, path shape, acl, parent, permission, path rules, existence, ephemeral parent
    "create: a good one": (lambda r: req.create(f"{r}/new"), 0),
    "create: bad flags before acl": (lambda r: req.create(f"{r}/new", acl=BAD_ACL, flags=9), E.BADARGUMENTS),
    "create: bad flags -1": (lambda r: req.create(f"{r}/new", flags=-1), E.BADARGUMENTS),
    "create: bad flags 7": (lambda r: req.create(f"{r}/new", flags=7), E.BADARGUMENTS),
    "create: ttl flag without a ttl": (lambda r: req.create(f"{r}/new", flags=TTL), E.BADARGUMENTS),
    "create: sequential ttl flag without a ttl": (lambda r: req.create(f"{r}/new", flags=6), E.BADARGUMENTS),
    "create: path without slash before acl": (lambda r: req.create("new", acl=BAD_ACL), E.BADARGUMENTS),
    "create: path with NUL before acl": (lambda r: req.create(f"{r}/a\0b", acl=BAD_ACL), E.BADARGUMENTS),
    "create: empty path": (lambda r: req.create(""), E.BADARGUMENTS),
    "create: null path": (lambda r: req.create(None), E.MARSHALLINGERROR),
    "create: acl before parent": (lambda r: req.create(f"{r}/x/y", acl=BAD_ACL), E.INVALIDACL),
    "create: null acl": (lambda r: req.create(f"{r}/x", acl=None), E.INVALIDACL),
    "create: acl before permission": (lambda r: req.create(f"{r}/r/x", acl=BAD_ACL), E.INVALIDACL),
    "create: acl before existence": (lambda r: req.create(f"{r}/n", acl=BAD_ACL), E.INVALIDACL),
    "create: parent missing": (lambda r: req.create(f"{r}/x/y"), E.NONODE),
    "create: parent before path rules": (lambda r: req.create(f"{r}/x/.."), E.NONODE),
    "create: trailing slash is a missing parent": (lambda r: req.create(f"{r}/x/"), E.NONODE),
    "create: trailing slash with a parent": (lambda r: req.create(f"{r}/n/"), E.BADARGUMENTS),
    "create: permission before path rules": (lambda r: req.create(f"{r}/r/.."), E.NOAUTH),
    "create: permission before existence": (lambda r: req.create(f"{r}/r/kid"), E.NOAUTH),
    "create: write does not allow it": (lambda r: req.create(f"{r}/w/x"), E.NOAUTH),
    "create: create allows it": (lambda r: req.create(f"{r}/c/x"), 0),
    "create: path rules before ephemeral parent": (lambda r: req.create(f"{r}/e/.."), E.BADARGUMENTS),
    "create: dot": (lambda r: req.create(f"{r}/."), E.BADARGUMENTS),
    "create: existing": (lambda r: req.create(f"{r}/n"), E.NODEEXISTS),
    "create: root": (lambda r: req.create("/"), E.NODEEXISTS),
    "create: below an ephemeral": (lambda r: req.create(f"{r}/e/x"), E.NOCHILDRENFOREPHEMERALS),
    "create: ephemeral below an ephemeral": (lambda r: req.create(f"{r}/e/x", flags=EPHEMERAL), E.NOCHILDRENFOREPHEMERALS),
    "create: below a container": (lambda r: req.create(f"{r}/k/x"), 0),
    "create: below a ttl node": (lambda r: req.create(f"{r}/t/x"), 0),
    "create: sequential below an ephemeral": (lambda r: req.create(f"{r}/e/x", flags=SEQUENTIAL), E.NOCHILDRENFOREPHEMERALS),
    "create: sequential, empty name": (lambda r: req.create(f"{r}/p/", flags=SEQUENTIAL), 0),
    "create: sequential, dot is no dot then": (lambda r: req.create(f"{r}/p/.", flags=SEQUENTIAL), 0),
    "create: reserved node": (lambda r: req.create("/zookeeper"), E.NODEEXISTS),
    "create: below the reserved node": (lambda r: req.create(f"/zookeeper/x{r[1:]}"), 0),
    "create2: existing": (lambda r: req.create2(f"{r}/n"), E.NODEEXISTS),
    "createContainer: bad flags before acl": (lambda r: req.create_container(f"{r}/x", acl=BAD_ACL, flags=9), E.BADARGUMENTS),
    "createContainer: existing": (lambda r: req.create_container(f"{r}/n"), E.NODEEXISTS),
    "createTTL: zero": (lambda r: req.create_ttl(f"{r}/x", 0), E.BADARGUMENTS),
    "createTTL: negative": (lambda r: req.create_ttl(f"{r}/x", -1), E.BADARGUMENTS),
    "createTTL: largest": (lambda r: req.create_ttl(f"{r}/x", 0xFFFFFFFFFF), 0),
    "createTTL: too large, before acl": (lambda r: req.create_ttl(f"{r}/x", 0x10000000000, acl=BAD_ACL), E.BADARGUMENTS),
    "createTTL: plain flags and a ttl": (lambda r: req.create_ttl(f"{r}/x", 1000, flags=0), E.BADARGUMENTS),
    "createTTL: ephemeral flags and a ttl": (lambda r: req.create_ttl(f"{r}/x", 1000, flags=EPHEMERAL), E.BADARGUMENTS),
    # delete: path shape and reserved, parent, permission on the parent, node, version, children
    "delete: a good one": (lambda r: req.delete(f"{r}/n", 1), 0),
    "delete: no slash": (lambda r: req.delete("n"), E.BADARGUMENTS),
    "delete: empty": (lambda r: req.delete(""), E.BADARGUMENTS),
    "delete: root": (lambda r: req.delete("/"), E.BADARGUMENTS),
    "delete: /zookeeper": (lambda r: req.delete("/zookeeper"), E.BADARGUMENTS),
    "delete: /zookeeper/quota": (lambda r: req.delete("/zookeeper/quota"), E.BADARGUMENTS),
    "delete: /zookeeper/config": (lambda r: req.delete("/zookeeper/config"), E.BADARGUMENTS),
    "delete: NUL": (lambda r: req.delete(f"{r}/a\0"), E.BADARGUMENTS),
    "delete: null path": (lambda r: req.delete(None), E.MARSHALLINGERROR),
    "delete: parent missing": (lambda r: req.delete(f"{r}/x/y"), E.NONODE),
    "delete: permission before existence": (lambda r: req.delete(f"{r}/r/nope"), E.NOAUTH),
    "delete: permission before version": (lambda r: req.delete(f"{r}/r/kid", 9), E.NOAUTH),
    "delete: delete on the parent suffices": (lambda r: req.delete(f"{r}/d/kid"), 0),
    "delete: the node's own acl does not matter": (lambda r: req.delete(f"{r}/hidden", 9), E.BADVERSION),
    "delete: trailing slash": (lambda r: req.delete(f"{r}/n/"), E.NONODE),
    "delete: version before children": (lambda r: req.delete(f"{r}/p", 9), E.BADVERSION),
    "delete: children": (lambda r: req.delete(f"{r}/p", 0), E.NOTEMPTY),
    "delete: version -2 is no wildcard": (lambda r: req.delete(f"{r}/n", -2), E.BADVERSION),
    # setData: path rules, node, permission, version
    "setData: a good one": (lambda r: req.set_data(f"{r}/n", b"", 1), 0),
    "setData: path rules": (lambda r: req.set_data(f"{r}/x/../y", b""), E.BADARGUMENTS),
    "setData: trailing slash": (lambda r: req.set_data(f"{r}/n/", b""), E.BADARGUMENTS),
    "setData: no slash": (lambda r: req.set_data("x", b""), E.BADARGUMENTS),
    "setData: empty path": (lambda r: req.set_data("", b""), E.BADARGUMENTS),
    "setData: null path": (lambda r: req.set_data(None, b""), E.BADARGUMENTS),
    "setData: missing": (lambda r: req.set_data(f"{r}/x", b"", 9), E.NONODE),
    "setData: permission before version": (lambda r: req.set_data(f"{r}/r", b"", 9), E.NOAUTH),
    "setData: write allows it": (lambda r: req.set_data(f"{r}/w", b""), 0),
    "setData: version": (lambda r: req.set_data(f"{r}/n", b"", 0), E.BADVERSION),
    "setData: root": (lambda r: req.set_data("/", b"", 99), E.BADVERSION),
    "setData: config needs permission": (lambda r: req.set_data("/zookeeper/config", b""), E.NOAUTH),
    # setACL: path rules, acl, node, admin, version
    "setACL: a good one": (lambda r: req.set_acl(f"{r}/n", OPEN, 0), 0),
    "setACL: path before acl": (lambda r: req.set_acl("x", BAD_ACL), E.BADARGUMENTS),
    "setACL: acl before node": (lambda r: req.set_acl(f"{r}/x", BAD_ACL), E.INVALIDACL),
    "setACL: missing": (lambda r: req.set_acl(f"{r}/x", OPEN, 9), E.NONODE),
    "setACL: permission before version": (lambda r: req.set_acl(f"{r}/rwcd", OPEN, 9), E.NOAUTH),
    "setACL: admin allows it": (lambda r: req.set_acl(f"{r}/a", OPEN, 1), 0),
    "setACL: version": (lambda r: req.set_acl(f"{r}/n", OPEN, 1), E.BADVERSION),
    "setACL: null path": (lambda r: req.set_acl(None, OPEN), E.BADARGUMENTS),
    "setACL: null acl": (lambda r: req.set_acl(f"{r}/n", None), E.INVALIDACL),
    # reads: no syntax rules, node before permission
    "exists: a good one": (lambda r: req.exists(f"{r}/n"), 0),
    "exists: missing": (lambda r: req.exists(f"{r}/x"), E.NONODE),
    "exists: no slash": (lambda r: req.exists("x"), E.NONODE),
    "exists: dots": (lambda r: req.exists(f"{r}/n/../n"), E.NONODE),
    "exists: trailing slash": (lambda r: req.exists(f"{r}/n/"), E.NONODE),
    "exists: NUL": (lambda r: req.exists(f"{r}/a\0b"), E.BADARGUMENTS),
    "getData: missing below hidden": (lambda r: req.get_data(f"{r}/hidden/x"), E.NONODE),
    "getData: kid of hidden is its own": (lambda r: req.get_data(f"{r}/hidden/kid"), 0),
    "getData: no permission": (lambda r: req.get_data(f"{r}/hidden"), E.NOAUTH),
    "getData: write is not read": (lambda r: req.get_data(f"{r}/w"), E.NOAUTH),
    "getData: NUL": (lambda r: req.get_data(f"{r}/a\0b"), E.NONODE),
    "getData: no slash": (lambda r: req.get_data("n"), E.NONODE),
    "getData: trailing slash": (lambda r: req.get_data(f"{r}/n/"), E.NONODE),
    "getChildren: no permission": (lambda r: req.get_children(f"{r}/w"), E.NOAUTH),
    "getChildren: missing": (lambda r: req.get_children(f"{r}/x"), E.NONODE),
    "getChildren2: no permission": (lambda r: req.get_children2(f"{r}/w"), E.NOAUTH),
    "getChildren2: missing": (lambda r: req.get_children2(f"{r}/x"), E.NONODE),
    "getACL: missing": (lambda r: req.get_acl(f"{r}/x"), E.NONODE),
    "getACL: read suffices": (lambda r: req.get_acl(f"{r}/r"), 0),
    "getACL: admin suffices": (lambda r: req.get_acl(f"{r}/a"), 0),
    "getACL: write does not": (lambda r: req.get_acl(f"{r}/w"), E.NOAUTH),
    "getAllChildrenNumber: missing": (lambda r: req.get_all_children_number(f"{r}/x"), E.NONODE),
    "getAllChildrenNumber: no permission": (lambda r: req.get_all_children_number(f"{r}/w"), E.NOAUTH),
    "getEphemerals: prefix of nothing": (lambda r: req.get_ephemerals("nowhere"), 0),
    "sync: any path": (lambda r: req.sync("no/such"), 0),
    "addWatch: bad mode": (lambda r: req.add_watch(f"{r}/n", 2), E.MARSHALLINGERROR),
    "addWatch: negative mode": (lambda r: req.add_watch(f"{r}/n", -1), E.MARSHALLINGERROR),
    "addWatch: missing node": (lambda r: req.add_watch(f"{r}/x", 0), 0),
    "addWatch: hidden node": (lambda r: req.add_watch(f"{r}/hidden", 1), 0),
    "removeWatches: bad type": (lambda r: req.remove_watches(f"{r}/n", 0), E.MARSHALLINGERROR),
    "removeWatches: type 6": (lambda r: req.remove_watches(f"{r}/n", 6), E.MARSHALLINGERROR),
    "removeWatches: none": (lambda r: req.remove_watches(f"{r}/n", 3), E.NOWATCHER),
    "checkWatches: bad type": (lambda r: req.check_watches(f"{r}/n", 9), E.MARSHALLINGERROR),
    "checkWatches: none": (lambda r: req.check_watches(f"{r}/n", 1), E.NOWATCHER),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_first_broken_rule_answers(conn, world, case):
    make, expected = case
    assert conn.do(make(world)).err == expected


def test_exists_of_a_hidden_node_needs_read(conn, world, differs):
    assert conn.do(req.exists(f"{world}/hidden")).err == (E.NOAUTH if differs("exists_needs_read") else 0)


def test_a_null_path_in_a_read_is_no_node_or_malformed_but_never_a_close(conn, world):
    for r in (req.exists, req.get_data, req.get_children, req.get_acl, req.get_all_children_number):
        assert conn.do(r(None)).err in (E.NONODE, E.MARSHALLINGERROR, E.BADARGUMENTS)
    assert conn.ok(req.exists(world))


def test_failed_writes_leave_no_trace(conn, world):
    def picture():
        return [(conn.ok(req.get_data(p)).data, conn.ok(req.get_data(p)).stat) for p in (world, f"{world}/n", f"{world}/p")]

    before = picture()
    for make, expected in CASES.values():
        if expected != 0:
            conn.do(make(world))
    assert picture() == before


def test_a_negative_ttl_with_plain_flags_is_bad_arguments(conn, world, differs):
    """Java accepts it, logs it, and dies of it at every start: not tried there."""
    if differs("negative_ttl_kills"):
        pytest.skip("kills this server")
    for flags in (0, 1, 2, 3, 4):
        assert conn.do(req.create_ttl(f"{world}/x", -1, flags=flags)).err == E.BADARGUMENTS
    assert conn.ok(req.exists(world))


def test_ttl_nodes_are_unimplemented_unless_extended_types_are_enabled(start):
    server = start({"extendedTypesEnabled": "false"})
    with Conn(server.port) as c:
        c.connect()
        assert c.do(req.create_ttl("/x", 1000)).err == E.UNIMPLEMENTED
        assert c.do(req.create_ttl("x", 0, acl=BAD_ACL)).err == E.UNIMPLEMENTED
        assert c.do(req.create("/x", flags=TTL)).err == E.UNIMPLEMENTED
        assert c.do(req.create("/x", flags=6)).err == E.UNIMPLEMENTED
        assert c.do(req.create("/x", flags=8)).err == E.BADARGUMENTS
        assert c.ok(req.create_container("/x"))
        c.quit()


# --- paths ---------------------------------------------------------------------------------------------------

BAD_NAMES = ["a//b", ".", "..", "a/./b", "a/../b", "\x01", "\x1f", "\x7f", "\x9f", "a\ud800", "\ue000", "\uf8ff", "\ufff0", "\uffff", "\U0001F600"]
GOOD_NAMES = ["...", ".a", "a.", "..a", " ", "a b", "\x20", "\xa0", "\u0100", "\ud7ff", "\uf900", "\uffef", "\u4e2d\u6587", "a\\b", "%", "-", "zookeeper"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_path_with_forbidden_parts_is_bad_arguments(conn, root, name):
    conn.ok(req.create(f"{root}/a"))
    assert conn.do(req.set_data(f"{root}/{name}", b"")).err == E.BADARGUMENTS
    if "/" not in name:
        assert conn.do(req.create(f"{root}/{name}")).err == E.BADARGUMENTS


@pytest.mark.parametrize("name", GOOD_NAMES, ids=ascii)
def test_all_other_names_are_taken_and_come_back_as_they_were(conn, root, name):
    assert conn.ok(req.create(f"{root}/{name}")).path == f"{root}/{name}"
    assert conn.ok(req.get_children(root)).children == [name]
    assert conn.ok(req.set_data(f"{root}/{name}", b"x")).stat.version == 1
    conn.ok(req.delete(f"{root}/{name}"))


def test_bytes_that_are_not_utf8_become_replacement_characters_and_so_bad_paths(conn, root):
    path = root.encode() + b"/\xff\xfe"
    assert conn.do(req.create(path)).err == E.BADARGUMENTS
    assert conn.do(req.exists(path)).err == E.NONODE


def test_long_names_and_deep_paths_are_fine(conn, root):
    name = "n" * 20000
    assert conn.ok(req.create(f"{root}/{name}")).path.endswith(name)
    path = root
    for _ in range(200):
        path += "/d"
        conn.ok(req.create(path))
    assert conn.ok(req.get_all_children_number(root)).count == 201

