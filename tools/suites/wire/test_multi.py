"""multi and multiRead: results, errors, one zxid, nothing half done."""

import pytest

from harness.wire import CONTAINER, EPHEMERAL, OP, OPEN, READ, SEQUENTIAL, TTL, E, Request, flag, i32, req


def errors(results):
    return [r[1] for r in results]


def test_every_kind_of_member_and_its_result(conn, root, differs):
    got = conn.ok(req.multi(
        req.create(f"{root}/a", b"1"),
        req.create2(f"{root}/b", b"22"),
        req.create_container(f"{root}/c"),
        req.create_ttl(f"{root}/t", 10000),
        req.set_data(f"{root}/a", b"333", 0),
        req.check(f"{root}/a", 1),
        req.delete(f"{root}/b", 0),
        req.create(f"{root}/s", flags=SEQUENTIAL),
        req.create(f"{root}/e", flags=EPHEMERAL)))
    kinds = [r[0] for r in got.results]
    if differs("multi_create2_has_stat"):
        assert kinds == [OP.create, OP.create2, OP.create2, OP.create2, OP.set_data, OP.check, OP.delete, OP.create, OP.create]
        b = got.results[1]
        assert b[2] == f"{root}/b" and (b[3].czxid, b[3].length) == (got.zxid, 2)
    else:
        assert kinds == [OP.create, OP.create, OP.create2, OP.create2, OP.set_data, OP.check, OP.delete, OP.create, OP.create]
    assert got.results[0][2] == f"{root}/a"
    assert got.results[2][2:] == (f"{root}/c", conn.ok(req.exists(f"{root}/c")).stat)
    assert got.results[4][2] == conn.ok(req.exists(f"{root}/a")).stat
    assert got.results[7][2] == f"{root}/s0000000004"
    a = conn.ok(req.get_data(f"{root}/a"))
    assert (a.data, a.stat.version, a.stat.czxid, a.stat.mzxid) == (b"333", 1, got.zxid, got.zxid)
    assert a.stat.ctime == a.stat.mtime
    s = conn.ok(req.exists(root)).stat
    assert (s.cversion, s.children, s.pzxid) == (7, 5, got.zxid)
    assert conn.ok(req.exists(f"{root}/e")).stat.owner == conn.session


def test_an_empty_multi_has_no_results_and_takes_a_zxid(conn, root):
    before = conn.ok(req.set_data(root, b"")).zxid
    got = conn.ok(req.multi())
    assert (got.results, got.zxid) == ([], before + 1)


@pytest.mark.parametrize("bad,err", [
    (lambda r: req.create(f"{r}/a"), E.NODEEXISTS),
    (lambda r: req.create(f"{r}/x/y"), E.NONODE),
    (lambda r: req.create(f"{r}/.."), E.BADARGUMENTS),
    (lambda r: req.create(f"{r}/x", acl=()), E.INVALIDACL),
    (lambda r: req.create(f"{r}/e/x"), E.NOCHILDRENFOREPHEMERALS),
    (lambda r: req.create(f"{r}/locked/x"), E.NOAUTH),
    (lambda r: req.delete(f"{r}/x"), E.NONODE),
    (lambda r: req.delete(f"{r}/a", 5), E.BADVERSION),
    (lambda r: req.delete(r), E.NOTEMPTY),
    (lambda r: req.set_data(f"{r}/a", b"", 5), E.BADVERSION),
    (lambda r: req.set_data(f"{r}/x", b""), E.NONODE),
    (lambda r: req.set_data(f"{r}/locked", b""), E.NOAUTH),
    (lambda r: req.check(f"{r}/a", 5), E.BADVERSION),
    (lambda r: req.check(f"{r}/x", 0), E.NONODE),
    (lambda r: req.check("x", 0), E.BADARGUMENTS),
    (lambda r: req.check(f"{r}/blind", 0), E.NOAUTH),
    (lambda r: req.check(f"{r}/x", -1), E.NONODE),
    (lambda r: req.create_container(f"{r}/a"), E.NODEEXISTS),
    (lambda r: req.create_ttl(f"{r}/x", 0), E.BADARGUMENTS),
], ids=lambda x: "" if callable(x) else str(x))
def test_the_first_failing_member_has_its_error_those_before_zero_those_behind_minus_two(conn, root, bad, err):
    conn.ok(req.create(f"{root}/a", b"before"))
    conn.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    conn.ok(req.create(f"{root}/locked", acl=((READ, "world", "anyone"),)))
    conn.ok(req.create(f"{root}/blind", acl=((30, "world", "anyone"),)))
    picture = conn.ok(req.get_children2(root))
    got = conn.do(req.multi(req.set_data(f"{root}/a", b"after"), req.create(f"{root}/new"), bad(root), req.delete(f"{root}/a"),
                            req.create("bad path")))
    assert got.err == 0
    assert got.results == [(-1, 0), (-1, 0), (-1, err), (-1, -2), (-1, -2)]
    assert got.zxid == picture.zxid + 1
    after = conn.ok(req.get_children2(root))
    assert (sorted(after.children), after.stat) == (sorted(picture.children), picture.stat)
    assert conn.ok(req.get_data(f"{root}/a")).data == b"before"
    assert conn.ok(req.set_data(f"{root}/a", b"", 0)).stat.version == 1


def test_check_with_minus_one_only_asks_for_existence(conn, root):
    assert errors(conn.ok(req.multi(req.check(root, -1))).results) == [0]


def test_check_sees_versions_of_earlier_members(conn, root):
    got = conn.ok(req.multi(req.set_data(root, b"1"), req.check(root, 1), req.set_data(root, b"2"), req.check(root, 2), req.check(root, 1)))
    assert got.results == [(-1, 0)] * 4 + [(-1, E.BADVERSION)]


def test_members_see_the_effects_of_earlier_members(conn, root):
    got = conn.ok(req.multi(req.create(f"{root}/a"), req.create(f"{root}/a/b"), req.delete(f"{root}/a/b"), req.delete(f"{root}/a"),
                            req.create(f"{root}/a", b"again")))
    assert errors(got.results) == [0] * 5
    assert conn.ok(req.get_data(f"{root}/a")).stat.czxid == got.zxid


def test_a_rolled_back_multi_leaves_nothing_for_what_follows_in_the_pipeline(conn, root):
    a, b, c, d, e = conn.burst(
        req.create(f"{root}/s", flags=SEQUENTIAL),
        req.multi(req.create(f"{root}/s", flags=SEQUENTIAL), req.create(f"{root}/x"), req.create(f"{root}/e", flags=EPHEMERAL), req.check(root, 9)),
        req.create(f"{root}/s", flags=SEQUENTIAL),
        req.create(f"{root}/x"),
        req.get_ephemerals(root))
    assert a.path.endswith("s0000000000")
    assert b.results == [(-1, 0), (-1, 0), (-1, 0), (-1, E.BADVERSION)]
    assert c.path.endswith("s0000000001")
    assert (d.err, e.children) == (0, [])
    s = conn.ok(req.exists(root)).stat
    assert (s.cversion, s.children) == (3, 3)


def test_a_sequential_create_twice_in_one_multi(conn, root):
    got = conn.ok(req.multi(*[req.create(f"{root}/s", flags=SEQUENTIAL)] * 3))
    assert [r[2] for r in got.results] == [f"{root}/s{i:010}" for i in range(3)]


def test_the_container_flag_makes_a_container_member_of_create(conn, root, differs):
    """Unlike outside of a multi: the opcode of a member follows its flags."""
    got = conn.ok(req.multi(req.create(f"{root}/c", flags=CONTAINER)))
    assert got.results[0][0] == OP.create2
    conn.ok(req.create(f"{root}/c/k"))
    conn.ok(req.exists(f"{root}/c", watch=True))
    conn.ok(req.delete(f"{root}/c/k"))
    assert conn.take_events(1)[0].type == 2


@pytest.mark.parametrize("member", [lambda r: req.create(f"{r}/x", flags=9), lambda r: req.create(f"{r}/x", acl=None),
                                    lambda r: req.create(f"{r}/x", flags=TTL), lambda r: req.get_data(r), lambda r: req.set_acl(r, OPEN),
                                    lambda r: req.sync(r)], ids=["bad flags", "null acl", "ttl flag", "read", "setACL", "sync"])
def test_members_that_cannot_be_decoded_fail_the_whole_multi(conn, root, member, differs):
    got = conn.do(req.multi(req.create(f"{root}/a"), member(root)))
    if differs("multi_judges_flags_and_acl_while_decoding") or got.err != 0:
        assert (got.err, got.raw) == (E.MARSHALLINGERROR, b"")
    else:
        assert got.results[0] == (-1, 0) and got.results[1][1] in (E.BADARGUMENTS, E.INVALIDACL)
    assert conn.do(req.exists(f"{root}/a")).err == E.NONODE


def test_a_large_multi(conn, root):
    got = conn.ok(req.multi(*(req.create(f"{root}/{i}", b"x" * 100) for i in range(4000))))
    assert len(got.results) == 4000
    assert conn.ok(req.exists(root)).stat.children == 4000
    got = conn.ok(req.multi(*(req.delete(f"{root}/{i}") for i in range(4000))))
    assert errors(got.results) == [0] * 4000


def test_events_of_a_multi_come_in_member_order_before_its_reply(conn, root, differs):
    conn.ok(req.create(f"{root}/a"))
    for path in (f"{root}/a", f"{root}/b", f"{root}/c"):
        conn.do(req.exists(path, watch=True))
    conn.ok(req.get_children(root, watch=True))
    got = conn.ok(req.multi(req.create(f"{root}/b"), req.set_data(f"{root}/a", b""), req.create(f"{root}/c"), req.delete(f"{root}/b")))
    assert [(e.type, e.path) for e in conn.events] == [(1, f"{root}/b"), (4, root), (3, f"{root}/a"), (1, f"{root}/c")]
    expected = got.zxid if differs("event_carries_zxid") else -1
    assert {e.zxid for e in conn.events} == {expected}
    conn.events = []


def test_a_failed_multi_fires_nothing(conn, root):
    conn.ok(req.get_data(root, watch=True))
    conn.ok(req.get_children(root, watch=True))
    conn.ok(req.multi(req.set_data(root, b""), req.create(f"{root}/x"), req.check(root, 99)))
    assert conn.drain() == []


# --- multiRead -----------------------------------------------------------------------------------------------


def test_multi_read_answers_each_member_for_itself(conn, root):
    conn.ok(req.create(f"{root}/a", b"data"))
    conn.ok(req.create(f"{root}/blind", acl=((30, "world", "anyone"),)))
    got = conn.ok(req.multi_read(req.get_data(f"{root}/a"), req.get_children(root), req.get_data(f"{root}/x"), req.get_data(f"{root}/blind"),
                                 req.get_children(f"{root}/x"), req.get_children(f"{root}/a")))
    assert got.results[0] == (OP.get_data, 0, b"data", conn.ok(req.exists(f"{root}/a")).stat)
    assert got.results[1][:2] == (OP.get_children, 0) and sorted(got.results[1][2]) == ["a", "blind"]
    assert got.results[2:] == [(-1, E.NONODE), (-1, E.NOAUTH), (-1, E.NONODE), (OP.get_children, 0, [])]


def test_multi_read_takes_no_zxid_and_sets_no_watch(conn, root):
    before = conn.ok(req.set_data(root, b"")).zxid
    assert conn.ok(req.multi_read(req.get_data(root, watch=True), req.get_children(root, watch=True))).zxid == before
    assert conn.ok(req.multi_read()).results == []
    conn.ok(req.set_data(root, b""))
    conn.ok(req.create(f"{root}/k"))
    assert conn.drain() == []


@pytest.mark.parametrize("member", [lambda r: req.exists(r), lambda r: req.create(f"{r}/x"), lambda r: req.get_children2(r), lambda r: req.check(r, 0)],
                         ids=["exists", "create", "getChildren2", "check"])
def test_other_members_of_multi_read_are_malformed(conn, root, member):
    assert conn.do(req.multi_read(req.get_data(root), member(root))).err == E.MARSHALLINGERROR
    assert conn.do(req.exists(f"{root}/x")).err == E.NONODE


def test_writes_under_the_opcode_of_multi_read_are_never_carried_out(conn, root):
    conn.do(req.multi_read(req.create(f"{root}/x")))
    conn.do(req.multi_read(req.set_data(root, b"changed")))
    assert conn.do(req.exists(f"{root}/x")).err == E.NONODE
    assert conn.ok(req.get_data(root)).stat.version == 0


def test_reads_under_the_opcode_of_multi_do_not_disturb(conn, root):
    got = conn.do(Request(OP.multi, i32(OP.get_data) + flag(False) + i32(-1) + req.get_data(root).body + i32(-1) + flag(True) + i32(-1)))
    assert got.err in (E.MARSHALLINGERROR, 0)
    assert conn.ok(req.exists(root))
