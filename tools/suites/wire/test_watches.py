"""Watches of every kind: when they fire, how often, for whom, in which order, with which zxid."""

import pytest

from harness.wire import ALL, EV, OPEN, READ, Conn, E, EPHEMERAL, Event, digest_id, req

SECRET = ((ALL, "digest", digest_id("u", "p")),)
PERSISTENT, RECURSIVE = 0, 1
CHILDREN_TYPE, DATA_TYPE, ANY_TYPE, PERSISTENT_TYPE, RECURSIVE_TYPE = 1, 2, 3, 4, 5


def seen(events):
    return [(e.type, e.path) for e in events]


# --- one-shot ------------------------------------------------------------------------------------------------


def test_a_data_watch_fires_once_on_change(conn, root, differs):
    conn.ok(req.get_data(root, watch=True))
    zxid = conn.ok(req.set_data(root, b"1")).zxid
    conn.ok(req.set_data(root, b"2"))
    assert conn.drain() == [Event(EV.changed, root, 3, zxid if differs("event_carries_zxid") else -1)]


def test_an_exists_watch_fires_on_creation_of_a_missing_node(conn, root):
    assert conn.do(req.exists(f"{root}/a", watch=True)).err == E.NONODE
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.set_data(f"{root}/a", b""))
    assert seen(conn.drain()) == [(EV.created, f"{root}/a")]


def test_an_exists_watch_on_a_node_fires_on_change_or_deletion(conn, root):
    for change, event in [(req.set_data(f"{root}/a", b""), EV.changed), (req.delete(f"{root}/a"), EV.deleted)]:
        conn.do(req.create(f"{root}/a"))
        conn.ok(req.exists(f"{root}/a", watch=True))
        conn.ok(change)
        assert seen(conn.drain()) == [(event, f"{root}/a")]


def test_a_get_data_watch_is_not_set_when_the_read_fails(conn, root):
    assert conn.do(req.get_data(f"{root}/a", watch=True)).err == E.NONODE
    assert conn.do(req.get_children(f"{root}/a", watch=True)).err == E.NONODE
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.create(f"{root}/a/b"))
    assert conn.drain() == []


@pytest.mark.parametrize("read", [req.get_children, req.get_children2])
def test_a_child_watch_fires_once_when_a_child_comes_or_goes(conn, root, read):
    conn.ok(read(root, watch=True))
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.create(f"{root}/b"))
    assert seen(conn.drain()) == [(EV.children, root)]
    conn.ok(read(root, watch=True))
    conn.ok(req.delete(f"{root}/a"))
    assert seen(conn.drain()) == [(EV.children, root)]


def test_a_child_watch_ignores_data_and_grandchildren(conn, root):
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.get_children(root, watch=True))
    conn.ok(req.set_data(root, b""))
    conn.ok(req.set_data(f"{root}/a", b""))
    conn.ok(req.create(f"{root}/a/b"))
    conn.ok(req.set_acl(root, OPEN))
    assert conn.drain() == []


def test_a_child_watch_fires_as_deleted_when_its_node_goes(conn, root):
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.get_children(f"{root}/a", watch=True))
    conn.ok(req.delete(f"{root}/a"))
    assert seen(conn.drain()) == [(EV.deleted, f"{root}/a")]


def test_data_and_child_watch_on_a_deleted_node_give_one_event_and_the_parent_another(conn, root):
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.get_data(f"{root}/a", watch=True))
    conn.ok(req.get_children(f"{root}/a", watch=True))
    conn.ok(req.get_children(root, watch=True))
    conn.ok(req.delete(f"{root}/a"))
    assert seen(conn.drain()) == [(EV.deleted, f"{root}/a"), (EV.children, root)]


def test_creation_fires_the_node_before_its_parent(conn, root):
    conn.do(req.exists(f"{root}/a", watch=True))
    conn.ok(req.get_children(root, watch=True))
    conn.ok(req.create(f"{root}/a"))
    assert seen(conn.drain()) == [(EV.created, f"{root}/a"), (EV.children, root)]


def test_the_root_is_watched_too(conn):
    conn.ok(req.get_children("/", watch=True))
    conn.ok(req.create(f"/watched{conn.session}"))
    assert seen(conn.drain()) == [(EV.children, "/")]
    conn.ok(req.get_children("/", watch=True))
    conn.ok(req.delete(f"/watched{conn.session}"))
    assert seen(conn.drain()) == [(EV.children, "/")]


def test_two_reads_with_watch_give_one_event(conn, root):
    conn.ok(req.get_data(root, watch=True))
    conn.ok(req.exists(root, watch=True))
    conn.ok(req.set_data(root, b""))
    assert seen(conn.drain()) == [(EV.changed, root)]


def test_every_watcher_gets_the_event(conn, connect, root):
    others = [connect() for _ in range(5)]
    for c in others:
        c.ok(req.get_data(root, watch=True))
    conn.ok(req.set_data(root, b""))
    for c in others:
        assert seen(c.drain()) == [(EV.changed, root)]
    assert conn.drain() == []


def test_set_acl_and_failed_writes_fire_nothing(conn, root):
    conn.ok(req.get_data(root, watch=True))
    conn.ok(req.get_children(root, watch=True))
    conn.ok(req.set_acl(root, OPEN))
    conn.do(req.set_data(root, b"", 99))
    conn.do(req.delete(f"{root}/x"))
    assert conn.drain() == []


def test_ephemerals_of_an_ending_session_fire_for_others(conn, connect, root, differs):
    c = connect()
    c.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    conn.ok(req.exists(f"{root}/e", watch=True))
    conn.ok(req.get_children(root, watch=True))
    zxid = c.ok(req.close()).zxid
    events = conn.take_events(2)
    assert seen(events) == [(EV.deleted, f"{root}/e"), (EV.children, root)]
    if differs("event_carries_zxid"):
        assert {e.zxid for e in events} == {zxid}


def test_watches_go_with_the_connection_not_with_the_session(server, connect, conn, root):
    c = connect()
    c.ok(req.get_data(root, watch=True))
    c.drop()
    with Conn(server.port) as again:
        again.connect(timeout=600000, session=c.session, password=c.password)
        conn.ok(req.set_data(root, b""))
        assert again.drain() == []
        again.quit()


# --- persistent ----------------------------------------------------------------------------------------------


def test_add_watch_answers_with_an_error_record_of_zero(conn, root):
    assert conn.ok(req.add_watch(root, PERSISTENT)).inner_err == 0


def test_a_persistent_watch_keeps_firing_for_data_and_children(conn, root):
    conn.ok(req.create(f"{root}/w"))
    conn.ok(req.add_watch(f"{root}/w", PERSISTENT))
    conn.ok(req.set_data(f"{root}/w", b"1"))
    conn.ok(req.set_data(f"{root}/w", b"2"))
    conn.ok(req.create(f"{root}/w/a"))
    conn.ok(req.set_data(f"{root}/w/a", b""))
    conn.ok(req.create(f"{root}/w/a/b"))
    conn.ok(req.delete(f"{root}/w/a/b"))
    conn.ok(req.delete(f"{root}/w/a"))
    conn.ok(req.delete(f"{root}/w"))
    conn.ok(req.create(f"{root}/w"))
    w = f"{root}/w"
    assert seen(conn.drain()) == [(EV.changed, w), (EV.changed, w), (EV.children, w), (EV.children, w), (EV.deleted, w), (EV.created, w)]


def test_a_recursive_watch_tells_of_every_node_below_but_never_of_children(conn, root):
    w = f"{root}/w"
    conn.ok(req.add_watch(w, RECURSIVE))
    conn.ok(req.create(w))
    conn.ok(req.create(f"{w}/a"))
    conn.ok(req.set_data(f"{w}/a", b""))
    conn.ok(req.create(f"{w}/a/b"))
    conn.ok(req.delete(f"{w}/a/b"))
    conn.ok(req.create(f"{root}/ww"))
    conn.ok(req.delete(f"{w}/a"))
    conn.ok(req.delete(w))
    assert seen(conn.drain()) == [(EV.created, w), (EV.created, f"{w}/a"), (EV.changed, f"{w}/a"), (EV.created, f"{w}/a/b"),
                                  (EV.deleted, f"{w}/a/b"), (EV.deleted, f"{w}/a"), (EV.deleted, w)]


def test_a_recursive_watch_on_the_root_sees_all(conn, root, connect):
    c = connect()
    c.ok(req.add_watch("/", RECURSIVE))
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.set_data(root, b""))
    assert seen(c.drain()) == [(EV.created, f"{root}/a"), (EV.changed, root)]


def test_nested_recursive_watches_give_one_event_each_change(conn, root):
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.add_watch(root, RECURSIVE))
    conn.ok(req.add_watch(f"{root}/a", RECURSIVE))
    conn.ok(req.set_data(f"{root}/a", b""))
    conn.ok(req.create(f"{root}/a/b"))
    assert seen(conn.drain()) == [(EV.changed, f"{root}/a"), (EV.created, f"{root}/a/b")]


def test_a_recursive_and_a_child_watch_on_one_node(conn, root, differs):
    conn.ok(req.add_watch(root, RECURSIVE))
    conn.ok(req.get_children(root, watch=True))
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.create(f"{root}/b"))
    got = seen(conn.drain())
    if differs("watch_modes_add_up"):
        assert got == [(EV.created, f"{root}/a"), (EV.children, root), (EV.created, f"{root}/b")]
    else:
        assert (EV.created, f"{root}/a") in got


def test_a_one_shot_watch_beside_a_persistent_one_gives_one_event_and_the_persistent_one_stays(conn, root, differs):
    conn.ok(req.add_watch(root, PERSISTENT))
    conn.ok(req.get_data(root, watch=True))
    conn.ok(req.set_data(root, b"1"))
    conn.ok(req.set_data(root, b"2"))
    if differs("watch_modes_add_up"):
        assert seen(conn.drain()) == [(EV.changed, root)] * 2
    else:
        conn.drain()  # 3.8.0 keeps only the last mode set


def test_persistent_and_recursive_on_one_node(conn, root, differs):
    conn.ok(req.add_watch(root, PERSISTENT))
    conn.ok(req.add_watch(root, RECURSIVE))
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.set_data(root, b""))
    got = seen(conn.drain())
    if differs("watch_modes_add_up"):
        assert got == [(EV.created, f"{root}/a"), (EV.children, root), (EV.changed, root)]


def test_a_deletion_with_persistent_watch_and_a_child_watch_gives_one_deleted_event(conn, root):
    conn.ok(req.create(f"{root}/a"))
    conn.ok(req.add_watch(f"{root}/a", PERSISTENT))
    conn.ok(req.get_children(f"{root}/a", watch=True))
    conn.ok(req.delete(f"{root}/a"))
    assert seen(conn.drain()) == [(EV.deleted, f"{root}/a")]


# --- read permission -----------------------------------------------------------------------------------------


def test_events_of_nodes_one_may_not_read_are_withheld_but_use_the_watch_up(conn, connect, root, differs):
    """The watch was set while the node was open."""
    owner = connect(auth="u:p")
    c = connect()
    conn.ok(req.create(f"{root}/a"))
    c.ok(req.get_data(f"{root}/a", watch=True))
    owner.ok(req.set_acl(f"{root}/a", SECRET))
    owner.ok(req.set_data(f"{root}/a", b"1"))
    owner.ok(req.set_acl(f"{root}/a", OPEN))
    owner.ok(req.set_data(f"{root}/a", b"2"))
    expected = [] if differs("events_need_read") else [(EV.changed, f"{root}/a")]
    assert seen(c.drain()) == expected


def test_a_created_node_is_judged_by_its_own_acl_a_deleted_one_by_its_last_children_by_the_parent(conn, connect, root, differs):
    if not differs("events_need_read"):
        pytest.skip("this version withholds nothing")
    owner, c = connect(auth="u:p"), connect()
    c.ok(req.add_watch(root, RECURSIVE))
    c.ok(req.get_children(root, watch=True))
    owner.ok(req.create(f"{root}/hidden", acl=SECRET))
    owner.ok(req.delete(f"{root}/hidden"))
    assert seen(c.drain()) == [(EV.children, root)]
    owner.ok(req.create(f"{root}/open"))
    owner.ok(req.set_acl(f"{root}/open", SECRET))
    owner.ok(req.delete(f"{root}/open"))
    assert seen(c.drain()) == [(EV.created, f"{root}/open")]
    owner.ok(req.create(f"{root}/dir", acl=SECRET))
    owner.ok(req.add_watch(f"{root}/dir", PERSISTENT))
    c.ok(req.add_watch(f"{root}/dir", PERSISTENT))
    owner.ok(req.create(f"{root}/dir/open"))
    assert seen(owner.drain()) == [(EV.children, f"{root}/dir")]
    assert seen(c.drain()) == [(EV.created, f"{root}/dir/open")]


def test_permission_gained_later_on_the_connection_counts(conn, connect, root):
    owner, c = connect(auth="u:p"), connect()
    owner.ok(req.create(f"{root}/a", acl=SECRET))
    c.ok(req.add_watch(f"{root}/a", PERSISTENT))
    c.ok(req.auth("digest", b"u:p"))
    owner.ok(req.set_data(f"{root}/a", b""))
    assert seen(c.drain()) == [(EV.changed, f"{root}/a")]


# --- removal -------------------------------------------------------------------------------------------------


def test_removal_by_type_takes_just_that(conn, root, differs):
    if not differs("watch_modes_add_up"):
        pytest.skip("this version does not tell modes apart")
    setters = {DATA_TYPE: req.get_data(root, watch=True), CHILDREN_TYPE: req.get_children(root, watch=True),
               PERSISTENT_TYPE: req.add_watch(root, PERSISTENT), RECURSIVE_TYPE: req.add_watch(root, RECURSIVE)}
    for gone in setters:
        for r in setters.values():
            conn.ok(r)
        for kind in setters:
            assert conn.do(req.check_watches(root, kind)).err == 0
        assert conn.do(req.remove_watches(root, gone)).err == 0
        assert conn.do(req.remove_watches(root, gone)).err == E.NOWATCHER
        for kind in setters:
            assert conn.do(req.check_watches(root, kind)).err == (E.NOWATCHER if kind == gone else 0), (gone, kind)
        assert conn.do(req.check_watches(root, ANY_TYPE)).err == 0
    assert conn.do(req.remove_watches(root, ANY_TYPE)).err == 0
    for kind in (1, 2, 3, 4, 5):
        assert conn.do(req.check_watches(root, kind)).err == E.NOWATCHER
    conn.ok(req.set_data(root, b""))
    conn.ok(req.create(f"{root}/k"))
    assert conn.drain() == []


def test_the_wrong_type_is_no_watcher_and_removes_nothing(conn, root):
    conn.ok(req.get_data(root, watch=True))
    assert conn.do(req.remove_watches(root, CHILDREN_TYPE)).err == E.NOWATCHER
    assert conn.do(req.check_watches(root, DATA_TYPE)).err == 0
    conn.ok(req.set_data(root, b""))
    assert seen(conn.drain()) == [(EV.changed, root)]
    assert conn.do(req.check_watches(root, DATA_TYPE)).err == E.NOWATCHER


def test_types_four_and_five(conn, root, differs):
    conn.ok(req.add_watch(root, PERSISTENT))
    expected = 0 if differs("persistent_watcher_types") else E.MARSHALLINGERROR
    assert conn.do(req.check_watches(root, PERSISTENT_TYPE)).err == expected
    assert conn.do(req.check_watches(root, RECURSIVE_TYPE)).err == (E.NOWATCHER if expected == 0 else E.MARSHALLINGERROR)


def test_watches_of_others_are_not_found_and_not_removed(conn, connect, root):
    other = connect()
    other.ok(req.get_data(root, watch=True))
    assert conn.do(req.remove_watches(root, ANY_TYPE)).err == E.NOWATCHER
    conn.ok(req.set_data(root, b""))
    assert seen(other.drain()) == [(EV.changed, root)]


def test_a_watch_on_an_ancestor_is_not_a_watch_on_the_node(conn, root):
    conn.ok(req.add_watch(root, RECURSIVE))
    assert conn.do(req.check_watches(f"{root}/a", ANY_TYPE)).err == E.NOWATCHER


# --- setWatches ----------------------------------------------------------------------------------------------


@pytest.fixture
def history(conn, root):
    """Nodes whose last change lies before or after the returned zxid."""
    for n in ("old", "changed", "kids", "gone"):
        conn.ok(req.create(f"{root}/{n}"))
    rel = conn.ok(req.set_data(f"{root}/old", b"")).zxid
    conn.ok(req.set_data(f"{root}/changed", b""))
    conn.ok(req.create(f"{root}/kids/k"))
    conn.ok(req.delete(f"{root}/gone"))
    conn.ok(req.create(f"{root}/new"))
    return rel


def names(root, *n):
    return [f"{root}/{x}" for x in n]


def test_set_watches_tells_what_was_missed_and_sets_the_rest(connect, conn, root, history):
    c = connect()
    start = len(c.frames)
    got = c.do(req.set_watches(history, data=names(root, "old", "changed", "gone"), exist=names(root, "new", "never"),
                               child=names(root, "old", "kids", "gone")))
    assert (got.xid, got.err, got.raw) == (-8, 0, b"")
    events, c.events = c.events, []
    assert c.frames[start:] == events + [got], "catch-up events come before the reply"
    assert sorted(seen(events)) == sorted([(EV.changed, f"{root}/changed"), (EV.deleted, f"{root}/gone"), (EV.created, f"{root}/new"),
                                           (EV.children, f"{root}/kids"), (EV.deleted, f"{root}/gone")])
    assert {(e.zxid, e.state) for e in events} == {(-1, 3)}
    conn.ok(req.set_data(f"{root}/old", b""))
    conn.ok(req.create(f"{root}/old/k"))
    conn.ok(req.create(f"{root}/never"))
    for n in ("changed", "new"):
        conn.ok(req.set_data(f"{root}/{n}", b""))
    conn.ok(req.create(f"{root}/kids/k2"))
    assert seen(c.drain()) == [(EV.changed, f"{root}/old"), (EV.children, f"{root}/old"), (EV.created, f"{root}/never")]


def test_catch_up_events_come_data_exist_child_in_the_order_of_the_request(connect, root, history):
    c = connect()
    c.ok(req.set_watches(history, data=names(root, "changed", "gone"), exist=names(root, "new"), child=names(root, "kids", "gone")))
    assert seen(c.events) == [(EV.changed, f"{root}/changed"), (EV.deleted, f"{root}/gone"), (EV.created, f"{root}/new"),
                              (EV.children, f"{root}/kids"), (EV.deleted, f"{root}/gone")]
    c.events = []


def test_a_change_at_exactly_the_relative_zxid_was_seen(connect, conn, root):
    c = connect()
    zxid = conn.ok(req.set_data(root, b"")).zxid
    c.ok(req.set_watches(zxid, data=[root]))
    assert c.drain() == []
    c.ok(req.set_watches(zxid - 1, data=[root]))
    assert seen(c.drain()) == [(EV.changed, root)]


def test_set_watches2_re_registers_persistent_watches_silently(connect, conn, root, history):
    c = connect()
    c.ok(req.set_watches2(history, data=names(root, "old"), persistent=names(root, "changed", "missing"), recursive=names(root, "kids")))
    assert c.drain() == []
    conn.ok(req.set_data(f"{root}/changed", b""))
    conn.ok(req.create(f"{root}/changed/a"))
    conn.ok(req.create(f"{root}/missing"))
    conn.ok(req.set_data(f"{root}/kids/k", b""))
    conn.ok(req.set_data(f"{root}/old", b""))
    conn.ok(req.set_data(f"{root}/old", b""))
    assert seen(c.drain()) == [(EV.changed, f"{root}/changed"), (EV.children, f"{root}/changed"), (EV.created, f"{root}/missing"),
                               (EV.changed, f"{root}/kids/k"), (EV.changed, f"{root}/old")]


def test_catch_up_events_are_not_filtered_by_acl(connect, conn, root):
    owner, c = connect(auth="u:p"), connect()
    rel = owner.ok(req.create(f"{root}/a", acl=SECRET)).zxid
    owner.ok(req.set_data(f"{root}/a", b""))
    c.ok(req.set_watches(rel, data=[f"{root}/a"]))
    assert seen(c.drain()) == [(EV.changed, f"{root}/a")]


def test_set_watches_with_nothing_in_it(conn):
    assert conn.ok(req.set_watches(0)).raw == b""
    assert conn.ok(req.set_watches2(0)).raw == b""


def test_set_watches_keeps_any_xid(conn):
    assert conn.do(req.set_watches(0), xid=77).xid == 77


def test_read_permission_constants_are_what_the_acl_says(conn, root):
    conn.ok(req.create(f"{root}/r", acl=((READ, "world", "anyone"),)))
    conn.ok(req.get_data(f"{root}/r", watch=True))
    conn.ok(req.delete(f"{root}/r"))
    assert seen(conn.drain()) == [(EV.deleted, f"{root}/r")]
