"""Connecting, re-attaching, time-outs, expiry, closing."""

import struct
import time

import pytest

from harness.wire import ZERO, Closed, Conn, E, EPHEMERAL, connect_request, java_password, req


def test_a_new_session_gets_an_id_a_password_and_its_timeout(server):
    with Conn(server.port) as c:
        got = c.connect(timeout=12345)
        assert got.version == 0
        assert got.timeout == 12345
        assert got.session != 0
        assert got.had_read_only and got.read_only is False
        assert len(got.password) == 16
        c.quit()


def test_the_password_is_the_one_every_zookeeper_server_derives_from_the_id(server):
    with Conn(server.port) as c:
        got = c.connect()
        assert got.password == java_password(got.session)
        c.quit()


def test_the_id_carries_the_server_number_in_its_top_byte(conn):
    assert conn.session >> 56 == 1


def test_ids_count_up_by_one(connect):
    a, b = connect(), connect()
    assert b.session == a.session + 1


def test_without_the_read_only_byte_the_response_has_none(server):
    with Conn(server.port) as c:
        got = c.connect(read_only=None)
        assert got.timeout == 30000 and not got.had_read_only
        assert c.ok(req.exists("/"))
        c.quit()


def test_a_client_that_would_accept_read_only_gets_a_read_write_server(server):
    with Conn(server.port) as c:
        got = c.connect(read_only=True)
        assert got.had_read_only and got.read_only is False
        c.quit()


@pytest.mark.parametrize("password", [None, b"", bytes(16), b"whatever"])
def test_the_password_of_a_new_session_is_not_looked_at(server, password):
    with Conn(server.port) as c:
        assert c.connect(password=password).session != 0
        c.quit()


def test_the_timeout_is_clamped_between_two_and_twenty_ticks(start):
    server = start({"tickTime": 500, "maxSessionTimeout": None})
    for wanted, given in [(0, 1000), (-5, 1000), (999, 1000), (1000, 1000), (4321, 4321), (10000, 10000), (10001, 10000), (2**31 - 1, 10000)]:
        with Conn(server.port) as c:
            assert c.connect(timeout=wanted).timeout == given
            c.quit()


def test_configured_limits_of_the_timeout_win(start):
    server = start({"tickTime": 2000, "minSessionTimeout": 300, "maxSessionTimeout": 700})
    for wanted, given in [(1, 300), (500, 500), (9999, 700)]:
        with Conn(server.port) as c:
            assert c.connect(timeout=wanted).timeout == given
            c.quit()


def test_requests_sent_together_with_the_connect_request_are_answered_after_it(server):
    with Conn(server.port).open() as c:
        payload = connect_request(30000)
        c.send(struct.pack(">i", len(payload)) + payload + struct.pack(">iii", 8, -2, 11) + struct.pack(">iii", 8, 1, -11))
        assert c.connected().timeout == 30000
        assert c.next_frame().xid == -2
        assert c.next_frame().xid == 1
        assert c.closed() == []


def test_a_connect_request_may_arrive_byte_by_byte(server):
    with Conn(server.port).open() as c:
        payload = connect_request(30000)
        for b in struct.pack(">i", len(payload)) + payload:
            c.send(bytes([b]))
        assert c.connected().timeout == 30000
        c.quit()


def test_a_client_ahead_of_the_server_is_closed_silently(server):
    with Conn(server.port) as c:
        assert c.connect(last_zxid=2**40) is None


def test_a_client_exactly_as_far_as_the_server_is_taken(server, conn):
    zxid = conn.ok(req.sync("/")).zxid
    with Conn(server.port) as c:
        assert c.connect(last_zxid=zxid) is not None
        c.quit()


def test_a_session_is_re_attached_with_its_password(server, conn, root):
    conn.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    conn.drop()
    with Conn(server.port) as again:
        got = again.connect(timeout=600000, session=conn.session, password=conn.password)
        assert (got.session, got.password, got.timeout) == (conn.session, conn.password, 600000)
        assert again.ok(req.get_ephemerals()).children == [f"{root}/e"]
        again.ok(req.close())
        assert again.closed() == []


def test_re_attaching_takes_the_new_timeout(server, connect):
    """The negotiated value is that of the newest connect request."""
    c = connect()
    c.drop()
    with Conn(server.port) as again:
        assert again.connect(timeout=40000, session=c.session, password=c.password).timeout == 40000
        again.quit()


def test_a_second_connection_of_a_session_closes_the_first(server, connect):
    first = connect()
    with Conn(server.port) as second:
        assert second.connect(timeout=600000, session=first.session, password=first.password).session == first.session
        assert first.closed() == []
        assert second.ok(req.exists("/"))
        second.quit()
    first.drop()


def test_a_wrong_password_gets_zeros_and_a_close(server, connect):
    owner = connect()
    with Conn(server.port) as thief:
        got = thief.connect(session=owner.session, password=b"x" * 16)
        assert (got.timeout, got.session, got.password, got.read_only) == (0, 0, ZERO, False)
        assert thief.closed() == []


def test_a_wrong_password_does_not_disturb_the_owner(server, connect, differs):
    owner = connect()
    with Conn(server.port) as thief:
        thief.connect(session=owner.session, password=b"x" * 16)
        thief.closed()
    if differs("wrong_password_evicts_owner"):
        assert owner.closed() == []
        owner.drop()
    else:
        assert owner.ok(req.exists("/"))


@pytest.mark.parametrize("password", [None, b"", b"short", b"x" * 17])
def test_a_password_of_another_length_is_a_wrong_password(server, password):
    with Conn(server.port) as c:
        got = c.connect(session=12345, password=password)
        assert (got.timeout, got.session, got.password) == (0, 0, ZERO)
        assert c.closed() == []


def test_an_unknown_session_with_its_right_password_is_refused_with_zeros(server):
    unknown = 0x0123456789ABCDEF
    with Conn(server.port) as c:
        got = c.connect(session=unknown, password=java_password(unknown))
        assert (got.timeout, got.session, got.password) == (0, 0, ZERO)
        assert c.closed() == []


def test_refusal_omits_the_read_only_byte_for_clients_that_did_not_send_it(server):
    with Conn(server.port) as c:
        got = c.connect(session=77, password=b"x" * 16, read_only=None)
        assert got.timeout == 0 and not got.had_read_only
        assert c.closed() == []


def test_closing_answers_and_then_closes(server, connect, root, conn):
    c = connect()
    c.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    before = conn.ok(req.sync("/")).zxid
    reply = c.ok(req.close())
    assert reply.zxid == before + 1
    assert c.closed() == []
    assert conn.do(req.exists(f"{root}/e")).err == E.NONODE
    assert conn.ok(req.exists(root)).stat.pzxid == reply.zxid


def test_a_closed_session_cannot_be_re_attached(server, connect):
    c = connect()
    c.ok(req.close())
    c.drop()
    with Conn(server.port) as again:
        assert again.connect(session=c.session, password=c.password).timeout == 0


def test_requests_after_close_session_in_one_write_are_not_carried_out(connect, conn, root):
    c = connect()
    c.post_all([(req.close(), None), (req.create(f"{root}/late"), None)])
    frames = c.closed()
    assert frames[0].xid == 1 and frames[0].err == 0
    assert conn.do(req.exists(f"{root}/late")).err == E.NONODE


def test_disconnecting_does_not_end_the_session(server, connect, conn, root):
    c = connect()
    c.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    c.drop()
    time.sleep(0.5)
    owner = conn.ok(req.exists(f"{root}/e")).stat.owner
    assert owner == c.session
    with Conn(server.port) as again:
        again.connect(session=c.session, password=c.password)
        again.quit()
    assert conn.do(req.exists(f"{root}/e")).err == E.NONODE


def test_a_silent_session_expires_within_a_tick_of_its_timeout_and_its_connection_is_closed(server, conn, root):
    with Conn(server.port) as c:
        began = time.monotonic()
        assert c.connect(timeout=1000).timeout == 1000
        c.ok(req.create(f"{root}/e", flags=EPHEMERAL))
        conn.ok(req.exists(f"{root}/e", watch=True))
        touched = time.monotonic()
        assert c.closed() == []
        lasted = time.monotonic()
        assert lasted - touched > 0.9, "expired too early"
        assert lasted - began < 3.5, "expired too late"
        event = conn.take_events(1)[0]
        assert (event.type, event.path) == (2, f"{root}/e")
    with Conn(server.port) as again:
        assert again.connect(session=c.session, password=c.password).timeout == 0


def test_a_disconnected_session_expires_too(server, conn, root):
    with Conn(server.port) as c:
        c.connect(timeout=800)
        c.ok(req.create(f"{root}/e", flags=EPHEMERAL))
    conn.ok(req.exists(f"{root}/e", watch=True))
    assert conn.take_events(1)[0].type == 2


@pytest.mark.parametrize("request_of", [lambda root: req.ping(), lambda root: req.exists(root), lambda root: req.set_data(root, b"x")])
def test_any_request_keeps_a_session_alive(server, root, request_of):
    with Conn(server.port) as c:
        c.connect(timeout=800)
        for _ in range(8):
            time.sleep(0.3)
            c.ok(request_of(root))
        c.quit()


def test_a_connection_without_a_session_is_dropped_after_a_while(start):
    server = start({}, {"zookeeper.nio.sessionlessCnxnTimeout": "1000"})
    with Conn(server.port).open() as c:
        began = time.monotonic()
        assert c.closed() == []
        assert 0.9 < time.monotonic() - began < 5
    with Conn(server.port).open() as c:
        c.send(b"\0\0\0\x2c\0")
        assert c.closed() == []


def test_ephemerals_vanish_with_their_session_in_one_transaction(server, connect, conn, root):
    c = connect()
    for i in range(20):
        c.ok(req.create(f"{root}/{i}", flags=EPHEMERAL))
    conn.ok(req.get_children(root, watch=True))
    zxid = c.ok(req.close()).zxid
    after = conn.ok(req.get_children2(root))
    assert after.children == []
    assert after.stat.pzxid == zxid and after.stat.cversion == 40


def test_sessions_survive_a_restart_of_the_server(start):
    server = start()
    with Conn(server.port) as c:
        c.connect(timeout=60000)
        c.ok(req.create("/e", b"mine", flags=EPHEMERAL))
        server.kill()
        server.start()
        again = Conn(server.port)
        assert again.connect(timeout=60000, session=c.session, password=c.password, last_zxid=c.last_zxid).timeout == 60000
        assert again.ok(req.get_data("/e")).data == b"mine"
        assert again.ok(req.get_ephemerals()).children == ["/e"]
        again.ok(req.close())
        again.drop()
    with Conn(server.port) as other:
        other.connect()
        assert other.do(req.exists("/e")).err == E.NONODE


def test_a_server_told_to_stop_closes_its_connections_and_ends(start, kind):
    server = start()
    with Conn(server.port) as c:
        c.connect()
        c.ok(req.create("/a"))
        status = server.stop()
        assert c.closed() == []
    assert status == (0 if kind == "ringkeeper" else 143)
    server.start()
    with Conn(server.port) as c:
        c.connect()
        assert c.ok(req.exists("/a"))


def test_a_touch_of_an_expired_session_is_not_answered(server):
    """Bytes that arrive after expiry meet a closed connection."""
    with Conn(server.port) as c:
        c.connect(timeout=400)
        assert c.closed() == []
        with pytest.raises((Closed, OSError)):
            for _ in range(3):
                c.do(req.exists("/"))
