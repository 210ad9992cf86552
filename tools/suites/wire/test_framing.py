"""Packets: lengths, limits, headers, what is malformed and what becomes of the connection."""

import socket
import struct
import time

import pytest

from harness.wire import OP, OPEN, Closed, Conn, E, Request, connect_request, flag, i32, i64, req, text


@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1, 0x100000])
def test_a_length_out_of_bounds_closes_without_a_reply(connect, length):
    c = connect()
    c.send(struct.pack(">i", length) + b"\0" * 16)
    assert c.closed() == []


@pytest.mark.parametrize("length", [-1, 0x100000])
def test_a_length_out_of_bounds_as_the_first_thing_closes(server, length):
    with Conn(server.port).open() as c:
        c.send(struct.pack(">i", length) + b"\0" * 16)
        assert c.closed() == []


def test_an_empty_packet_closes(connect):
    c = connect()
    c.send(i32(0))
    assert c.closed() == []


def test_a_packet_too_short_for_a_header_closes(connect):
    c = connect()
    c.send_frame(i32(1))
    assert c.closed() == []


def test_a_connect_request_too_short_closes(server):
    with Conn(server.port).open() as c:
        c.send_frame(connect_request(10000)[:20])
        assert c.closed() == []


def test_a_packet_of_exactly_the_limit_is_taken_and_one_byte_more_closes(conn, connect, root):
    limit = 0xFFFFF
    around = len(req.set_data(root, b"").body) + 8
    conn.ok(req.set_data(root, b"d" * (limit - around)))
    assert conn.ok(req.exists(root)).stat.length == limit - around
    c = connect()
    with pytest.raises((Closed, OSError)):
        c.do(req.set_data(root, b"d" * (limit - around + 1)))
    assert conn.ok(req.exists(root)).stat.version == 1


def test_a_larger_limit_can_be_configured(start):
    server = start({}, {"jute.maxbuffer": str(3_000_000)})
    with Conn(server.port) as c:
        c.connect()
        c.ok(req.create("/big", b"x" * 2_900_000))
        assert c.ok(req.get_data("/big")).data == b"x" * 2_900_000
        c.quit()


def test_a_smaller_limit_can_be_configured(start):
    server = start({}, {"jute.maxbuffer": "10000"})
    with Conn(server.port) as c:
        c.connect()
        c.ok(req.create("/a", b"x" * 9900))
        with pytest.raises((Closed, OSError)):
            c.do(req.create("/b", b"x" * 10000))


def test_a_reply_may_be_larger_than_the_request_limit(start):
    """Results have no limit on the server's side."""
    server = start({}, {"jute.maxbuffer": "10000"})
    with Conn(server.port) as c:
        c.connect()
        for i in range(300):
            c.ok(req.create(f"/{i:090}"))
        got = c.ok(req.get_children("/"))
        assert len(got.raw) > 20000 and len(got.children) == 301
        c.quit()


def test_requests_may_arrive_in_any_pieces(conn, root):
    payload = i32(7) + i32(OP.exists) + req.exists(root).body
    for b in i32(len(payload)) + payload:
        conn.send(bytes([b]))
    assert conn.reply(req.exists(root), 7).err == 0


def test_bytes_after_a_complete_request_are_ignored(conn, root):
    r = req.exists(root)
    assert conn.do(Request(r.op, r.body + b"trailing", r.decode)).err == 0
    r = req.create(f"{root}/x")
    assert conn.do(Request(r.op, r.body + b"trailing", r.decode)).err == 0


@pytest.mark.parametrize("xid", [1, 0, -3, -7, 2**31 - 1, -(2**31)])
def test_the_reply_repeats_the_xid(conn, root, xid):
    assert conn.do(req.exists(root), xid=xid).err == 0


@pytest.mark.parametrize("xid", [-2, 5, 0])
def test_a_ping_is_answered_with_xid_minus_two_whatever_it_had(conn, xid):
    conn.post(req.ping(), xid)
    got = conn.next_frame()
    assert (got.xid, got.err, got.raw) == (-2, 0, b"")


def test_a_ping_tells_the_last_zxid(conn, root):
    zxid = conn.ok(req.set_data(root, b"x")).zxid
    assert conn.ok(req.ping()).zxid >= zxid


def test_a_boolean_is_true_for_any_byte_but_zero(conn, root):
    conn.ok(Request(OP.get_data, text(root) + b"\x07", req.get_data(root).decode))
    conn.ok(req.set_data(root, b"x"))
    assert len(conn.take_events(1)) == 1


# --- malformed bodies ----------------------------------------------------------------------------------------

WRITES = {
    "create": OP.create, "create2": OP.create2, "createContainer": OP.create_container, "createTTL": OP.create_ttl, "delete": OP.delete,
    "setData": OP.set_data, "setACL": OP.set_acl, "multi": OP.multi,
}
READS = {
    "exists": OP.exists, "getData": OP.get_data, "getACL": OP.get_acl, "getChildren": OP.get_children, "getChildren2": OP.get_children2,
    "sync": OP.sync, "getEphemerals": OP.get_ephemerals, "getAllChildrenNumber": OP.get_all_children_number, "setWatches": OP.set_watches,
    "setWatches2": OP.set_watches2, "addWatch": OP.add_watch, "removeWatches": OP.remove_watches, "checkWatches": OP.check_watches,
    "multiRead": OP.multi_read,
}


@pytest.mark.parametrize("op", {**WRITES, **READS}.values(), ids={**WRITES, **READS}.keys())
def test_a_body_that_ends_too_early_is_a_marshalling_error_and_the_connection_stays(conn, root, op):
    for body in (b"", text("/a")[:3]):
        assert conn.do(Request(op, body)).err == E.MARSHALLINGERROR
    assert conn.ok(req.exists(root))


@pytest.mark.parametrize("op", {**WRITES, **READS}.values(), ids={**WRITES, **READS}.keys())
def test_an_unreasonable_length_inside_a_body_is_a_marshalling_error(conn, root, op):
    for n in (-2, 0x7FFFFFFF, 0x400000):
        head = i64(0) if op in (OP.set_watches, OP.set_watches2) else i32(1) + flag(False) + i32(-1) if op in (OP.multi, OP.multi_read) else b""
        more = i32(1) if op in (OP.set_watches, OP.set_watches2) else b""
        assert conn.do(Request(op, head + more + i32(n) + b"abcdef")).err == E.MARSHALLINGERROR
    assert conn.ok(req.exists(root))


def test_a_malformed_write_consumes_a_zxid_unless_java_39(conn, root, differs):
    before = conn.ok(req.set_data(root, b"1")).zxid
    bad = conn.do(Request(OP.create, b"\0\0"))
    after = conn.ok(req.set_data(root, b"2")).zxid
    assert bad.err == E.MARSHALLINGERROR
    if differs("malformed_write_takes_a_zxid"):
        assert (bad.zxid, after) == (before + 1, before + 2)
    else:
        assert after == before + 1


def test_a_malformed_read_consumes_none(conn, root):
    before = conn.ok(req.set_data(root, b"1")).zxid
    assert conn.do(Request(OP.get_data, b"\0\0")).err == E.MARSHALLINGERROR
    assert conn.ok(req.set_data(root, b"2")).zxid == before + 1


def test_what_follows_a_malformed_request_in_one_write_is_carried_out(conn, root):
    xids = conn.post_all([(Request(OP.create, b"\0"), None), (req.create(f"{root}/a"), None), (Request(OP.get_data, b""), None),
                          (req.exists(f"{root}/a"), None)])
    got = [conn.next_frame() for _ in xids]
    assert [g.xid for g in got] == xids
    assert [g.err for g in got] == [E.MARSHALLINGERROR, 0, E.MARSHALLINGERROR, 0]


@pytest.mark.parametrize("body", [
    i32(-1) + flag(False),
    i32(99) + flag(False) + i32(-1) + text("/a"),
    i32(OP.set_acl) + flag(False) + i32(-1) + req.set_acl("/a", OPEN).body + i32(-1) + flag(True) + i32(-1),
    i32(OP.exists) + flag(False) + i32(-1) + req.exists("/a").body + i32(-1) + flag(True) + i32(-1),
    i32(OP.create) + flag(False) + i32(-1) + req.create("/never").body,
], ids=["no end", "unknown member", "setACL", "exists", "end missing"])
def test_a_multi_that_cannot_be_decoded_is_a_marshalling_error(conn, root, body):
    assert conn.do(Request(OP.multi, body)).err == E.MARSHALLINGERROR
    assert conn.do(req.exists("/never")).err == E.NONODE


# --- opcodes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [0, 10, 23, 50, 99, 108, 1000, -2, -100, 2**31 - 1])
def test_an_unknown_operation_is_unimplemented_and_closes(connect, op):
    c = connect()
    c.post(Request(op, b"whatever"))
    (got,) = c.closed()
    assert (got.xid, got.err, got.zxid, got.raw) == (1, E.UNIMPLEMENTED, -1, b"")


def test_an_unknown_operation_is_answered_in_its_place_and_ends_the_connection(connect, conn, root, differs):
    """Java answers it ahead of earlier requests and may still carry out later ones; we keep the order."""
    c = connect()
    c.post_all([(req.set_data(root, b"x"), None), (req.exists(root), None), (Request(99), None), (req.create(f"{root}/late"), None)])
    got = c.closed()
    if differs("unknown_operation_keeps_order"):
        assert [g.err for g in got] == [0, 0, E.UNIMPLEMENTED]
        assert conn.do(req.exists(f"{root}/late")).err == E.NONODE
    else:
        assert E.UNIMPLEMENTED in [g.err for g in got]


def test_a_session_whose_connection_was_closed_so_lives_on(server, connect):
    c = connect()
    c.post(Request(99))
    c.closed()
    c.drop()
    with Conn(server.port) as again:
        assert again.connect(session=c.session, password=c.password).timeout == 30000
        again.quit()


def test_check_on_its_own_is_unimplemented(connect, root, differs):
    c = connect()
    c.post(req.check(root, 0))
    if differs("lone_check_is_refused"):
        (got,) = c.closed()
        assert (got.err, got.zxid) == (E.UNIMPLEMENTED, -1)
    else:
        assert c.is_silent(0.5)  # 3.8.0 carries it out, and then fails to write the reply


def test_reconfig_on_a_single_server_is_refused(conn, root):
    body = text(None) + text(None) + text("server.1=a:1:2;3") + i64(-1)
    before = conn.ok(req.set_data(root, b"1")).zxid
    assert conn.do(Request(OP.reconfig, body)).err == E.RECONFIGDISABLED
    assert conn.ok(req.set_data(root, b"2")).zxid == before + 2


def test_reconfig_enabled_on_a_single_server_is_unimplemented_but_keeps_the_connection(start):
    server = start({"reconfigEnabled": "true"})
    with Conn(server.port) as c:
        c.connect()
        assert c.do(Request(OP.reconfig, text(None) + text(None) + text("server.1=a:1:2;3") + i64(-1))).err == E.UNIMPLEMENTED
        assert c.ok(req.exists("/"))
        c.quit()


# --- limits of connections -----------------------------------------------------------------------------------


def _alive(c):
    """Whether this connection gets a session."""
    try:
        return c.connect(timeout=60000) is not None
    except OSError:
        return False


def test_connections_of_one_address_beyond_max_client_cnxns_are_closed_at_once(start):
    server = start({"maxClientCnxns": 3})
    time.sleep(0.2)  # the start-up probe's connection must be gone from the count
    conns = [Conn(server.port) for _ in range(4)]
    assert [_alive(c) for c in conns] == [True, True, True, False]
    other = Conn(server.port, source="127.0.0.2")
    assert _alive(other), "the limit is per address"
    conns[0].quit()
    time.sleep(0.3)
    late = Conn(server.port)
    assert _alive(late), "a place that became free is given again"
    for c in conns[1:3] + [other, late]:
        c.quit()


def test_connections_beyond_max_cnxns_are_closed_at_once_wherever_they_come_from(start):
    server = start({"maxClientCnxns": 0}, {"zookeeper.maxCnxns": "2"})
    time.sleep(0.2)
    conns = [Conn(server.port, source=f"127.0.0.{i}") for i in (1, 2, 3)]
    assert [_alive(c) for c in conns] == [True, True, False]
    for c in conns[:2]:
        c.quit()


def test_many_connections_in_a_burst_are_all_served(server):
    """More than Java's accept backlog of 50 at once; all get sessions in the end."""
    conns = []
    for _ in range(150):
        c = Conn(server.port)
        c.sock = socket.socket()
        c.sock.setblocking(False)
        try:
            c.sock.connect(("127.0.0.1", server.port))
        except BlockingIOError:
            pass
        conns.append(c)
    for c in conns:
        c.sock.settimeout(20)
        for _ in range(200):
            try:
                c.send_frame(connect_request(60000))
                break
            except (BlockingIOError, OSError):
                time.sleep(0.05)
        assert c.connected().timeout == 60000
    for c in conns:
        c.post(req.close())
    for c in conns:
        assert [f.err for f in c.closed()] == [0]
        c.drop()


def test_outstanding_requests_beyond_the_limit_wait_and_are_all_answered_in_order(start):
    server = start({"globalOutstandingLimit": 10})
    with Conn(server.port) as c:
        c.connect()
        got = c.burst(*(req.create(f"/n{i}") for i in range(2000)))
        assert [g.err for g in got] == [0] * 2000
        assert [g.zxid for g in got] == list(range(got[0].zxid, got[0].zxid + 2000))
        c.quit()


def test_a_client_that_does_not_read_does_not_hold_up_others(conn, connect, root):
    conn.ok(req.set_data(root, b"x" * 500_000))
    greedy = connect()
    greedy.sock.setblocking(False)
    frame = i32(1) + i32(OP.get_data) + req.get_data(root).body
    sent = 0
    try:
        for sent in range(5000):
            greedy.send(i32(len(frame)) + frame)
    except BlockingIOError:
        pass
    for _ in range(20):
        conn.patience = 10
        assert conn.ok(req.exists(root))
    greedy.drop()
