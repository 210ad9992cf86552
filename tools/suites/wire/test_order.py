"""Order: FIFO under pipelining, zxids, multis that are never half visible, events before what shows their cause."""

import threading
import time

from harness.wire import Conn, E, Event, Reply, req


def story(path, i):
    """Six requests whose answers differ if any two change places, and what they must answer."""
    p, first, second = f"{path}/s{i}", b"a%d" % i, b"b%d" % i
    requests = [req.create(p, first), req.get_data(p), req.set_data(p, second, 0), req.get_data(p), req.delete(p, 1), req.exists(p)]

    def judge(got):
        create, get1, put, get2, delete, exists = got
        assert [g.err for g in got] == [0, 0, 0, 0, 0, E.NONODE], got
        assert (get1.data, get1.stat.version, get1.stat.mzxid) == (first, 0, create.zxid)
        assert (get2.data, get2.stat.version, get2.stat.mzxid) == (second, 1, put.zxid)
        assert create.zxid < put.zxid < delete.zxid
        assert create.zxid <= get1.zxid <= put.zxid <= get2.zxid <= delete.zxid <= exists.zxid

    return requests, judge


def test_a_burst_answers_as_if_sent_one_by_one(conn, root):
    for i in range(50):
        requests, judge = story(root, i)
        judge(conn.burst(*requests))


def test_many_stories_in_one_write(conn, root):
    stories = [story(root, i) for i in range(150)]
    got = conn.burst(*(r for requests, _ in stories for r in requests))
    for i, (_, judge) in enumerate(stories):
        judge(got[6 * i:6 * i + 6])


def test_bursts_of_several_sessions_do_not_disturb_each_other(server, conn, root):
    errors = []

    def work(n):
        try:
            with Conn(server.port) as c:
                c.connect()
                for i in range(60):
                    requests, judge = story(root, n * 1000 + i)
                    judge(c.burst(*requests))
                c.quit()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[0]


def test_zxids_count_up_by_one_and_failed_writes_take_theirs(conn, root):
    got = conn.burst(req.create(f"{root}/a"), req.create(f"{root}/a"), req.set_data(f"{root}/nope", b""), req.delete(f"{root}/a", 7),
                     req.set_data(f"{root}/a", b"x"), req.multi(req.check(f"{root}/nope", 0)), req.delete(f"{root}/a"))
    assert [g.err for g in got] == [0, E.NODEEXISTS, E.NONODE, E.BADVERSION, 0, 0, 0]
    assert [g.zxid - got[0].zxid for g in got] == list(range(7))


def test_reads_take_no_zxid(conn, root):
    before = conn.ok(req.set_data(root, b"")).zxid
    got = conn.burst(req.exists(root), req.get_data(root), req.get_children(root), req.sync(root), req.get_acl(root), req.ping(),
                     req.get_ephemerals(), req.who_am_i(), req.set_data(root, b""))
    assert all(g.err == 0 for g in got)
    assert got[-1].zxid == before + 1
    assert all(g.zxid == before for g in got[:-1])


def test_a_session_takes_a_zxid_to_open_and_one_to_close(conn, connect, root):
    before = conn.ok(req.set_data(root, b"")).zxid
    c = connect()
    c.ok(req.close())
    c.drop()
    assert conn.ok(req.set_data(root, b"")).zxid == before + 3


def test_pipelined_writes_are_validated_against_the_ones_before_them(conn, root):
    got = conn.burst(req.create(f"{root}/a"), req.create(f"{root}/a/b"), req.delete(f"{root}/a"), req.delete(f"{root}/a/b"),
                     req.set_data(f"{root}/a", b"1", 0), req.set_data(f"{root}/a", b"2", 0), req.set_data(f"{root}/a", b"2", 1),
                     req.delete(f"{root}/a", 1), req.delete(f"{root}/a", 2), req.create(f"{root}/a/b"))
    assert [g.err for g in got] == [0, 0, E.NOTEMPTY, 0, 0, E.BADVERSION, 0, E.BADVERSION, 0, E.NONODE]


def test_what_one_session_was_answered_another_sees_at_once(conn, connect, root):
    other = connect()
    for i in range(200):
        conn.ok(req.set_data(root, b"%d" % i))
        assert other.ok(req.get_data(root)).data == b"%d" % i


def test_a_multi_is_never_half_visible(server, conn, root):
    conn.ok(req.multi(req.create(f"{root}/a", b"0"), req.create(f"{root}/b", b"0")))
    stop, errors = threading.Event(), []

    def read():
        try:
            with Conn(server.port) as c:
                c.connect()
                while not stop.is_set():
                    a1, b1, a2 = c.burst(req.get_data(f"{root}/a"), req.get_data(f"{root}/b"), req.get_data(f"{root}/a"))
                    assert int(a1.data) <= int(b1.data) <= int(a2.data), (a1.data, b1.data, a2.data)
                    assert a1.zxid < b1.stat.mzxid or a1.data == b1.data
                c.quit()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for t in threads:
        t.start()
    for i in range(1, 400):
        conn.ok(req.multi(req.set_data(f"{root}/a", b"%d" % i), req.set_data(f"{root}/b", b"%d" % i)))
    stop.set()
    for t in threads:
        t.join()
    assert not errors, errors[0]


def test_an_event_comes_before_any_reply_that_shows_its_change(conn, connect, root):
    watcher = connect()
    for i in range(100):
        version = watcher.ok(req.get_data(root, watch=True)).stat.version
        conn.post(req.set_data(root, b"%d" % i))
        seen = None
        while seen is None:
            for got in watcher.burst(*[req.get_data(root)] * 4):
                if got.stat.version > version:
                    seen = got
                    break
        frames = watcher.frames
        first_new = next(k for k, f in enumerate(frames) if isinstance(f, Reply) and f.stat and f.stat.version > version)
        assert any(isinstance(f, Event) for f in frames[:first_new]), "the change was visible before its event"
        watcher.frames, watcher.events = [], []
        conn.reply(req.set_data(root, b""), conn.next_xid - 1)


def test_the_event_of_a_write_comes_before_its_own_reply(conn, root):
    for i in range(20):
        assert conn.do(req.exists(f"{root}/{i}", watch=True)).err == E.NONODE
        start = len(conn.frames)
        conn.ok(req.create(f"{root}/{i}"))
        kinds = [type(f) for f in conn.frames[start:]]
        assert kinds == [Event, Reply]


def test_events_come_in_the_order_of_their_changes(conn, connect, root):
    watcher = connect()
    watcher.ok(req.add_watch(root, 1))
    conn.burst(*(req.create(f"{root}/{i}") for i in range(300)))
    assert [e.path for e in watcher.take_events(300)] == [f"{root}/{i}" for i in range(300)]


def test_a_read_behind_a_write_waits_for_it_even_while_others_write(server, conn, root):
    """Reads of a session that has a write in flight are answered after it, at its zxid or later."""
    stop, errors = threading.Event(), []

    def noise():
        try:
            with Conn(server.port) as c:
                c.connect()
                while not stop.is_set():
                    c.burst(*[req.set_data(root, b"n")] * 20)
                c.quit()
        except BaseException as e:
            errors.append(e)

    t = threading.Thread(target=noise)
    t.start()
    try:
        for i in range(200):
            put, get, count = conn.burst(req.create(f"{root}/{i}", b"x"), req.get_data(f"{root}/{i}"), req.get_children2(root))
            assert (put.err, get.err, get.data) == (0, 0, b"x")
            assert get.zxid >= put.zxid and count.stat.children == i + 1
    finally:
        stop.set()
        t.join()
    assert not errors, errors[0]


def test_sync_answers_with_the_path_and_the_latest_zxid(conn, root):
    zxid = conn.ok(req.set_data(root, b"")).zxid
    for path in (root, "/missing", "no/slash", ""):
        got = conn.ok(req.sync(path))
        assert (got.path, got.zxid) == (path, zxid)


def test_auth_between_requests_keeps_its_place(conn, root):
    """Auth is answered by the connection, with zxid 0, and holds for what follows."""
    conn.post_all([(req.auth("digest", b"bob:pw"), None), (req.create(f"{root}/mine", acl=[(31, "auth", "")]), None)])
    got = [conn.next_frame(), conn.next_frame()]
    by_xid = {g.xid: g for g in got}
    assert (by_xid[-4].err, by_xid[-4].zxid) == (0, 0)
    assert all(g.err == 0 for g in got), got


def test_a_slow_reader_of_large_replies_gets_them_all_in_order(conn, root):
    conn.ok(req.set_data(root, bytes(range(256)) * 2000))
    xids = conn.post_all([(req.get_data(root) if i % 2 else req.exists(root), None) for i in range(60)])
    time.sleep(0.5)
    for i, xid in enumerate(xids):
        got = conn.reply(req.get_data(root) if i % 2 else req.exists(root), xid)
        assert got.err == 0
