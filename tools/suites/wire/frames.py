"""Bytes that no well-behaved client sends, and what becomes of the connection that sends them.

A case is a name and a list of steps on one connection; its outcome is one line of text: what came back, in order, and
whether the connection was closed. `expected-frames.txt` holds the outcomes captured from 3.9.5; test_malformed.py compares.

    frames.py [--kind java38|java395|ringkeeper] [--out FILE]      RK_SEED (1), RK_FRAMES (3000)

Outcomes: `C t=.. new|same|none pw=.. ro=..` is a ConnectResponse, `R xid err bytes` a reply, `E type` an event,
`silent` nothing for a moment, `closed`, and `open` when a ping is answered at the end. Times and zxids are left out.
"""

import argparse
import os
import random
import socket
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness.servers import KINDS, Server, default_kind  # noqa: E402
from harness.wire import OP, OPEN, buf, connect_request, i32, i64, java_password, req, text  # noqa: E402

CFG = {"tickTime": 2000, "maxSessionTimeout": 600000, "extendedTypesEnabled": "true"}
# Seconds: until silence is believed, and for what must come. Only a fault, or a request without an answer, waits so long.
QUIET, WAIT = 0.25, 2
VALID = {v for k, v in vars(OP).items() if not k.startswith("_")} - {OP.notification, OP.error}
PING = i32(8) + i32(-2) + i32(OP.ping)


def frame(payload):
    return i32(len(payload)) + payload


def request(op, body=b"", xid=77):
    return frame(i32(xid) + i32(op) + body)


class Case:
    """What is sent. `connected` opens a session first; each of `sends` is one write, `shut` ends our side afterwards.

    `again` makes the one write out of the id and password of a session whose connection is still there, or was closed
    before if `alone`; the outcome tells also what becomes of that connection.
    """

    def __init__(self, name, *sends, connected=True, shut=False, again=None, alone=False):
        self.name, self.sends, self.connected, self.shut, self.again, self.alone = name, sends, connected, shut, again, alone


def complete(data):
    """How many whole frames these bytes hold; what follows a length out of bounds does not count."""
    n = 0
    while len(data) >= 4:
        length = struct.unpack(">i", data[:4])[0]
        if not 0 <= length <= 0xFFFFF or len(data) < 4 + length:
            break
        n, data = n + 1, data[4 + length:]
    return n, data


class Line:
    """One connection as seen from outside."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inbox, self.out, self.closed, self.connected, self.session = b"", [], False, False, 0

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # the end is seen when reading

    def frame(self, wait):
        """One payload, or None: nothing within `wait`, or closed."""
        self.sock.settimeout(wait)
        while True:
            if len(self.inbox) >= 4:
                n = struct.unpack(">i", self.inbox[:4])[0]
                if len(self.inbox) >= 4 + n:
                    payload, self.inbox = self.inbox[4:4 + n], self.inbox[4 + n:]
                    return payload
            try:
                chunk = self.sock.recv(262144)
            except TimeoutError:
                return None
            except OSError:
                chunk = b""
            if not chunk:
                self.closed = True
                return None
            self.inbox += chunk

    def take(self, wait):
        """Read one frame into `out`; whether there was one."""
        payload = self.frame(wait)
        if payload is None:
            return False
        if not self.connected:
            _, timeout, session, n = struct.unpack(">iiqi", payload[:20])
            who = "none" if session == 0 else "same" if session == self.session else "new"
            right = payload[20:20 + n] == (java_password(session) if session else bytes(16))
            self.out.append(f"C t={timeout} {who} pw={'right' if right else payload[20:20 + n].hex()} ro={payload[20 + n:].hex() or '-'}")
            self.connected, self.session = True, session
        else:
            xid, _, err = struct.unpack(">iqi", payload[:16])
            self.out.append(f"E {struct.unpack('>i', payload[16:20])[0]}" if xid == -1 and err == 0 and len(payload) > 24
                            else f"R {xid} {err} {len(payload) - 16}")
        return True


def run_again(port, case):
    """The outcome of coming back to a session."""
    owner = Line(port)
    owner.send(frame(connect_request(600000)))
    assert owner.take(20)
    if case.alone:
        owner.sock.shutdown(socket.SHUT_WR)
        assert owner.frame(WAIT) is None and owner.closed
    owner.out = []
    line = Line(port)
    line.session = owner.session
    sends = [case.again(owner.session, java_password(owner.session))]
    outcome, line = run(port, Case(case.name, *sends, connected=False), line)
    if not case.alone:
        owner.send(PING)
        owner.take(WAIT)
        outcome += "; the owner: " + ("closed" if owner.closed else "open" if owner.out else "silent")
    owner.sock.close()
    return outcome, line


def run(port, case, line=None):
    """The outcome of a case, and the connection if it lives on."""
    if case.again:
        return run_again(port, case)
    if line is None:
        line = Line(port)
        if case.connected:
            line.send(frame(connect_request(600000)))
            assert line.take(20)
    line.out = []
    rest = b""
    for data in case.sends:
        wanted, rest = complete(rest + data)
        line.send(data)
        for _ in range(wanted):
            if not line.take(WAIT):
                break
        if not line.closed and line.out and " -6 " in line.out[-1] and line.out[-1].startswith("R "):
            line.take(WAIT)  # such an answer and the end behind it do not come together
        if not line.closed and (rest or not wanted):
            # A length out of bounds ends it; an unfinished frame is waited for.
            length = struct.unpack(">i", rest[:4])[0] if len(rest) >= 4 else 0
            line.take(QUIET if 0 <= length <= 0xFFFFF else WAIT)
        if line.closed:
            break
    if case.shut and not line.closed:
        line.sock.shutdown(socket.SHUT_WR)
        line.take(WAIT)
    if not line.closed and not line.out:
        line.out.append("silent")
    if not line.closed and not rest and line.connected and not case.shut:
        # An end that is on its way is behind the answer.
        line.send(PING)
        while line.take(WAIT) and not line.out[-1].startswith("R -2 "):
            pass
        if not line.closed and line.out and line.out[-1].startswith("R -2 "):
            line.out[-1] = "open"
    if line.closed:
        line.out.append("closed")
    outcome = "; ".join(line.out)
    if line.closed or line.out[-1] != "open":
        line.sock.close()
        line = None
    return outcome, line


# --- the table -----------------------------------------------------------------------------------------------


def table():
    """Cases with a name."""
    out = []

    def case(name, *sends, **more):
        out.append(Case(name, *sends, **more))

    lengths = {"minus one": -1, "smallest": -(2**31), "minus five": -5, "largest": 2**31 - 1, "one above the limit": 0x100000}
    for state, connected in (("before connect", False), ("after connect", True)):
        for name, n in lengths.items():
            case(f"{state}: length {name}", i32(n) + bytes(16), connected=connected)
            case(f"{state}: length {name}, nothing behind it", i32(n), connected=connected)
        for n in range(8):
            case(f"{state}: frame of {n} zeros", frame(bytes(n)), connected=connected)
        case(f"{state}: two bytes of a length", b"\0\0", connected=connected)
        case(f"{state}: two bytes of a length, then our end", b"\0\0", connected=connected, shut=True)
        case(f"{state}: half a frame", i32(40) + bytes(20), connected=connected)
        case(f"{state}: half a frame, then our end", i32(40) + bytes(20), connected=connected, shut=True)
        case(f"{state}: the largest length, half of it", i32(0xFFFFF) + bytes(1000), connected=connected)
        case(f"{state}: our end at once", b"", connected=connected, shut=True)
    # ConnectRequests
    whole = connect_request(600000)
    for n in (8, 12, 16, 20, 24, 27, 28, 30, 36, 43):
        case(f"before connect: a connect request cut to {n}", frame(whole[:n]), connected=False)
    case("before connect: without the read-only byte", frame(whole[:44]), connected=False)
    for n in (1, 4, 100):
        case(f"before connect: {n} bytes behind it", frame(whole + b"\1" * n), connected=False)
    case("before connect: read-only is 2", frame(whole[:44] + b"\2"), connected=False)
    for name, password in {"null": None, "empty": b"", "of 15": bytes(15), "of 17": bytes(17), "of 1000": bytes(1000), "of ones": b"\1" * 16}.items():
        case(f"before connect: password {name}", frame(connect_request(600000, password=password)), connected=False)
        case(f"before connect: password {name}, session 7", frame(connect_request(600000, 7, password)), connected=False)
    for n in (-2, 0x7FFFFFFF, 0x200000, 17):
        case(f"before connect: password with length {n}", frame(whole[:24] + i32(n) + bytes(16)), connected=False)
    case("before connect: unknown session, right password", frame(connect_request(600000, 7, java_password(7))), connected=False)
    case("before connect: session -1, right password", frame(connect_request(600000, -1, java_password(-1))), connected=False)
    for version in (-1, 1, 2**31 - 1):
        case(f"before connect: protocol version {version}", frame(i32(version) + whole[4:]), connected=False)
    for timeout in (0, -1, -(2**31), 1, 2**31 - 1):
        case(f"before connect: timeout {timeout}", frame(connect_request(timeout)), connected=False)
    for zxid in (-1, -(2**63), 2**63 - 1, 2**40):
        case(f"before connect: last zxid {zxid}", frame(connect_request(600000, last_zxid=zxid)), connected=False)
        case(f"before connect: last zxid {zxid}, unknown session", frame(connect_request(600000, 7, java_password(7), zxid)), connected=False)
    for name, r in {"ping": req.ping(), "getData": req.get_data("/"), "create": req.create("/before"), "closeSession": req.close(),
                    "auth": req.auth("digest", b"a:b"), "setWatches": req.set_watches(0), "exists of a long path": req.exists("/" + "x" * 60),
                    "unknown operation": req.raw(99, bytes(60))}.items():
        case(f"before connect: {name}", request(r.op, r.body), connected=False)
    case("before connect: with a ping behind it", frame(whole) + PING, connected=False)
    case("before connect: with auth and exists behind it", frame(whole) + request(OP.auth, req.auth("digest", b"a:b").body, -4)
         + request(OP.exists, req.exists("/").body), connected=False)
    case("before connect: in two pieces", frame(whole)[:13], frame(whole)[13:] + PING, connected=False)
    # afterwards
    for name, payload in {"of the first kind": whole, "with a zxid of 2^32": connect_request(600000, last_zxid=1 << 32),
                          "without the read-only byte": whole[:44]}.items():
        case(f"after connect: a second connect request, {name}", frame(payload))
    for op in sorted((set(range(-20, 125)) | {200, 1000, -100, -1000, 2**31 - 1, -(2**31)}) - VALID):
        case(f"after connect: operation {op}", request(op, b"\0\0\0\2/x"))
        if op in (0, 10, 13, 23, -1):
            case(f"after connect: operation {op} without a body", request(op))
    small = {"exists": req.exists("/"), "getData": req.get_data("/"), "getACL": req.get_acl("/"), "getChildren": req.get_children("/"),
             "getChildren2": req.raw(OP.get_children2, req.get_children("/").body), "sync": req.sync("/"), "ping": req.ping(), "whoAmI": req.who_am_i(),
             "getEphemerals": req.get_ephemerals("/"), "getAllChildrenNumber": req.get_all_children_number("/none"),
             "setData": req.set_data("/none", b"x"), "create": req.create("/none/x"), "create2": req.create2("/none/x"),
             "createContainer": req.create_container("/none/x"), "createTTL": req.create_ttl("/none/x", 5), "delete": req.delete("/none"),
             "deleteContainer": req.delete_container("/none"), "setACL": req.set_acl("/none", OPEN), "multi": req.multi(req.check("/none", 0)),
             "multiRead": req.multi_read(req.get_data("/")), "setWatches": req.set_watches(0), "setWatches2": req.set_watches2(0),
             "addWatch": req.add_watch("/none", 0), "removeWatches": req.remove_watches("/none2", 3), "checkWatches": req.check_watches("/none2", 3),
             "reconfig": req.raw(OP.reconfig, text(None) * 2 + text("server.1=a:1:2;3") + i64(-1)), "closeSession": req.close()}
    for name, r in small.items():
        case(f"after connect: {name} with bytes behind it", request(r.op, r.body + b"behind"))
        if r.body:
            case(f"after connect: {name} without its last byte", request(r.op, r.body[:-1]))
            case(f"after connect: {name} in two writes", request(r.op, r.body)[:14], request(r.op, r.body)[14:])
        case(f"after connect: {name} cut in the middle, then our end", request(r.op, r.body)[:10], shut=True)
        if name in ("exists", "create", "ping", "setWatches", "closeSession"):
            for xid in (0, -1, -2, -4, -8, 2**31 - 1, -(2**31)):
                case(f"after connect: {name} with xid {xid}", request(r.op, r.body, xid))
    # auth
    good = req.auth("digest", b"a:b").body
    for name, body in {"empty body": b"", "cut": good[:-2], "cut before the data": i32(0) + text("digest"), "bytes behind it": good + b"behind",
                       "type 5": i32(5) + good[4:], "null scheme": i32(0) + text(None) + buf(b"a:b"), "empty scheme": i32(0) + text("") + buf(b"a:b"),
                       "null data": i32(0) + text("digest") + buf(None), "empty data": i32(0) + text("digest") + buf(b""),
                       "unknown scheme": i32(0) + text("nonsense") + buf(b"x"), "world": i32(0) + text("world") + buf(b"anyone"),
                       "ip": i32(0) + text("ip") + buf(b"1.2.3.4"), "super": i32(0) + text("super") + buf(b"x"), "auth": i32(0) + text("auth") + buf(b""),
                       "scheme in capitals": i32(0) + text("DIGEST") + buf(b"a:b"), "two colons": i32(0) + text("digest") + buf(b"a:b:c"),
                       "only a colon": i32(0) + text("digest") + buf(b":"), "no text": i32(0) + text("digest") + buf(b"\xff\xfe:\0"),
                       "length of the scheme -2": i32(0) + i32(-2) + buf(b"x"), "length of the data too large": i32(0) + text("digest") + i32(99) + b"a:b",
                       "wrong super": i32(0) + text("digest") + buf(b"super:wrong")}.items():
        case(f"auth: {name}", request(OP.auth, body, -4))
    for xid in (-4, 0, 5, -1, -2):
        case(f"auth: with xid {xid}", request(OP.auth, good, xid))
    case("auth: twice the same", request(OP.auth, good, -4), request(OP.auth, good, -4))
    case("auth: a failure, then a request", request(OP.auth, i32(0) + text("nonsense") + buf(b"x"), -4), PING)
    case("auth: behind the end of the session", request(OP.close_session), request(OP.auth, good, -4))
    case("end: twice", request(OP.close_session), request(OP.close_session))
    for name, token in {"null": None, "empty": b"", "bytes": b"\1\2\3"}.items():
        case(f"sasl: token {name}", request(OP.sasl, buf(token)))
    case("sasl: without a body", request(OP.sasl))
    case("sasl: length -2", request(OP.sasl, i32(-2)))
    # re-attaching
    case("again: on a connection that was refused", frame(connect_request(600000, 7, b"x" * 16)), frame(whole), connected=False)
    for state, alone in (("its connection is gone", True), ("its connection is there", False)):
        for name, make in {
            "right password": lambda s, p: connect_request(600000, s, p),
            "right password, nothing behind it": lambda s, p: connect_request(600000, s, p, read_only=None),
            "right password, more behind it": lambda s, p: connect_request(600000, s, p) + b"more",
            "right password, other timeout": lambda s, p: connect_request(1, s, p),
            "right password, ahead of the server": lambda s, p: connect_request(600000, s, p, 2**40),
            "wrong password": lambda s, p: connect_request(600000, s, bytes([p[0] ^ 1]) + p[1:]),
            "wrong password, ahead of the server": lambda s, p: connect_request(600000, s, bytes(16), 2**40),
            "password of 15": lambda s, p: connect_request(600000, s, p[:15]),
            "password of 17": lambda s, p: connect_request(600000, s, p + b"x"),
            "password null": lambda s, p: connect_request(600000, s, None),
            "password empty": lambda s, p: connect_request(600000, s, b""),
        }.items():
            case(f"again: {state}: {name}", again=lambda s, p, make=make: frame(make(s, p)), alone=alone)
    return out


# --- at random -----------------------------------------------------------------------------------------------


def at_random(seed, count):
    """Random frames in the states before and after connecting. None changes what another one sees."""
    rng = random.Random(seed)
    reads = [req.exists("/zookeeper"), req.get_data("/"), req.get_acl("/"), req.get_children("/"), req.sync("/"), req.get_ephemerals("/"),
             req.get_all_children_number("/"), req.multi_read(req.get_data("/"), req.get_children("/")), req.set_watches(0, ["/a"], ["/b"]),
             req.set_watches2(0, ["/a"], [], ["/c"], ["/d"], ["/e"]), req.add_watch("/a", 0), req.remove_watches("/a", 3), req.check_watches("/a", 1),
             req.raw(OP.get_children2, req.get_children("/").body), req.who_am_i(), req.ping()]
    # below a node that does not exist: whatever a changed byte makes of it, nothing is written
    writes = [req.create("/none/a", b"x"), req.create2("/none/a", None), req.create_container("/none/a"), req.delete("/none/a"),
              req.set_data("/none/a", b"data"), req.set_acl("/none/a", OPEN), req.multi(req.check("/none/a", 1), req.delete("/none/b"))]
    connect = connect_request(600000)

    def damaged(data, flips=True):
        data = bytearray(data)
        how = rng.randrange(4 if flips else 2)
        if how == 0:
            return bytes(data[:rng.randrange(len(data) + 1)])
        if how == 1:
            return bytes(data) + rng.randbytes(rng.randrange(1, 20))
        for _ in range(rng.randrange(1, 3)):
            if data:
                at = rng.randrange(len(data))
                data[at] = rng.choice([data[at] ^ (1 << rng.randrange(8)), 0, 0xFF, 0x7F, rng.randrange(256)])
        return bytes(data)

    for n in range(count):
        kind = rng.randrange(20)
        name = f"random {n:04}"
        if kind < 3:
            yield Case(name, frame(rng.randbytes(rng.randrange(0, 70))), connected=False)
        elif kind < 6:
            yield Case(name, frame(damaged(connect)), connected=False)
        elif kind == 6:
            yield Case(name, rng.randbytes(rng.randrange(4, 40)), connected=False)
        elif kind == 7:
            # a length that no word and no frame has
            yield Case(name, struct.pack(">I", rng.randrange(0x80000000, 0xFFFFFFFF)) + rng.randbytes(rng.randrange(20)))
        elif kind == 8:
            yield Case(name, frame(rng.randbytes(rng.randrange(0, 8))))
        elif kind == 9:
            yield Case(name, request(rng.choice([rng.randrange(-2000, 2000), rng.randrange(-(2**31), 2**31)]) | 1 << 7, rng.randbytes(rng.randrange(0, 40))))
        elif kind < 13:
            op = rng.choice(sorted(VALID - {OP.create_session, OP.close_session, OP.check, OP.sasl, OP.auth}))
            yield Case(name, request(op, rng.randbytes(rng.randrange(0, 60)), rng.randrange(1, 2**31)))
        elif kind == 13:
            yield Case(name, request(OP.auth, damaged(req.auth("digest", b"user:password").body), -4))
        elif kind < 17:
            r = rng.choice(reads)
            yield Case(name, request(r.op, damaged(r.body)))
        else:
            r = rng.choice(writes)
            yield Case(name, request(r.op, damaged(r.body)))


def outcomes(server, cases):
    """(name, outcome) of each case."""
    line = None
    for case in cases:
        if case.name.startswith("random") and case.connected:
            outcome, line = run(server.port, case, line)
        else:
            outcome, other = run(server.port, case)
            if other:
                other.sock.close()
        yield case.name, outcome


def expected():
    """name -> outcome, as captured."""
    with open(os.path.join(HERE, "expected-frames.txt"), encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(" => ") for line in f)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default=default_kind(), choices=KINDS)
    parser.add_argument("--out")
    args = parser.parse_args()
    seed, count = int(os.environ.get("RK_SEED", "1")), int(os.environ.get("RK_FRAMES", "3000"))
    with tempfile.TemporaryDirectory(prefix="rk-frames-") as directory, Server(directory, args.kind, CFG) as server:
        lines = [f"{name} => {outcome}\n" for name, outcome in outcomes(server, [*table(), *at_random(seed, count)])]
        assert server.serves(), server.log_tail()
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            f.writelines(lines)
    else:
        sys.stdout.writelines(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
