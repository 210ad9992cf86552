"""The client protocol by hand: jute, requests, and a connection that shows every byte it is given.

Nothing here retries, reconnects, re-registers or hides anything: a test says what is sent and sees what comes
back, in order. Requests are built by the functions of `req`; `Conn.do` sends one and waits for its reply,
`Conn.burst` sends many in one write. Watch events are kept in `Conn.events` and, with replies, in `Conn.frames`
in the order of arrival.
"""

import base64
import hashlib
import socket
import struct
import time
from dataclasses import dataclass, field


class OP:
    """Operation codes."""

    notification, create, delete, exists, get_data, set_data, get_acl, set_acl, get_children, sync = range(10)
    ping, get_children2, check, multi, create2, reconfig, check_watches, remove_watches = 11, 12, 13, 14, 15, 16, 17, 18
    create_container, delete_container, create_ttl, multi_read = 19, 20, 21, 22
    auth, set_watches, sasl, get_ephemerals, get_all_children_number, set_watches2, add_watch, who_am_i = range(100, 108)
    create_session, close_session, error = -10, -11, -1


class E:
    """Error codes."""

    OK = 0
    RUNTIMEINCONSISTENCY = -2
    MARSHALLINGERROR = -5
    UNIMPLEMENTED = -6
    BADARGUMENTS = -8
    UNKNOWNSESSION = -12
    NONODE = -101
    NOAUTH = -102
    BADVERSION = -103
    NOCHILDRENFOREPHEMERALS = -108
    NODEEXISTS = -110
    NOTEMPTY = -111
    SESSIONEXPIRED = -112
    INVALIDACL = -114
    AUTHFAILED = -115
    NOTREADONLY = -119
    EPHEMERALONLOCALSESSION = -120
    NOWATCHER = -121
    RECONFIGDISABLED = -123
    SESSIONCLOSEDREQUIRESASLAUTH = -124
    QUOTAEXCEEDED = -125


class EV:
    """Event types."""

    created, deleted, changed, children = 1, 2, 3, 4


READ, WRITE, CREATE, DELETE, ADMIN, ALL = 1, 2, 4, 8, 16, 31
OPEN = ((31, "world", "anyone"),)
PERSISTENT, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, TTL_SEQUENTIAL = range(7)


# --- jute ----------------------------------------------------------------------------------------------------


def i32(n):
    return struct.pack(">i", n)


def i64(n):
    return struct.pack(">q", n)


def flag(b):
    return b"\1" if b else b"\0"


def buf(b):
    return i32(-1) if b is None else i32(len(b)) + bytes(b)


def text(s):
    return buf(s if s is None or isinstance(s, bytes) else s.encode("utf-8", "surrogatepass"))


def vec(items, one):
    return i32(-1) if items is None else i32(len(items)) + b"".join(one(i) for i in items)


def acl_vec(acls):
    return vec(acls, lambda a: i32(a[0]) + text(a[1]) + text(a[2]))


class Reader:
    """Takes jute apart; `end` says whether all was taken."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise AssertionError(f"reply too short: wanted {n} bytes at {self.at} of {self.data.hex()}")
        self.at += n
        return self.data[self.at - n:self.at]

    def i32(self):
        return struct.unpack(">i", self.take(4))[0]

    def i64(self):
        return struct.unpack(">q", self.take(8))[0]

    def flag(self):
        return self.take(1) != b"\0"

    def buf(self):
        n = self.i32()
        return None if n < 0 else self.take(n)

    def text(self):
        b = self.buf()
        return None if b is None else b.decode("utf-8", "surrogatepass")

    def vec(self, one):
        n = self.i32()
        return None if n < 0 else [one() for _ in range(n)]

    def acls(self):
        return self.vec(lambda: (self.i32(), self.text(), self.text()))

    def stat(self):
        return Stat(*struct.unpack(">qqqqiiiqiiq", self.take(68)))

    @property
    def end(self):
        return self.at == len(self.data)


@dataclass(frozen=True)
class Stat:
    """A node's stat, in wire order."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    owner: int
    length: int
    children: int
    pzxid: int


# --- requests ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """An opcode, its body, and how to read the body of a good reply."""

    op: int
    body: bytes = b""
    decode: object = None


def _path_only(r):
    return {"path": r.text()}


def _stat_only(r):
    return {"stat": r.stat()}


def _path_stat(r):
    return {"path": r.text(), "stat": r.stat()}


class req:
    """One function per operation."""

    @staticmethod
    def raw(op, body=b"", decode=None):
        return Request(op, body, decode)

    @staticmethod
    def create(path, data=b"", acl=OPEN, flags=0, op=OP.create):
        return Request(op, text(path) + buf(data) + acl_vec(acl) + i32(flags), _path_only if op == OP.create else _path_stat)

    @staticmethod
    def create2(path, data=b"", acl=OPEN, flags=0):
        return req.create(path, data, acl, flags, OP.create2)

    @staticmethod
    def create_container(path, data=b"", acl=OPEN, flags=CONTAINER):
        return req.create(path, data, acl, flags, OP.create_container)

    @staticmethod
    def create_ttl(path, ttl, data=b"", acl=OPEN, flags=TTL):
        return Request(OP.create_ttl, text(path) + buf(data) + acl_vec(acl) + i32(flags) + i64(ttl), _path_stat)

    @staticmethod
    def delete(path, version=-1):
        return Request(OP.delete, text(path) + i32(version))

    @staticmethod
    def delete_container(path):
        return Request(OP.delete_container, text(path))

    @staticmethod
    def set_data(path, data, version=-1):
        return Request(OP.set_data, text(path) + buf(data) + i32(version), _stat_only)

    @staticmethod
    def get_data(path, watch=False):
        return Request(OP.get_data, text(path) + flag(watch), lambda r: {"data": r.buf(), "stat": r.stat()})

    @staticmethod
    def exists(path, watch=False):
        return Request(OP.exists, text(path) + flag(watch), _stat_only)

    @staticmethod
    def get_children(path, watch=False):
        return Request(OP.get_children, text(path) + flag(watch), lambda r: {"children": r.vec(r.text)})

    @staticmethod
    def get_children2(path, watch=False):
        return Request(OP.get_children2, text(path) + flag(watch), lambda r: {"children": r.vec(r.text), "stat": r.stat()})

    @staticmethod
    def get_acl(path):
        return Request(OP.get_acl, text(path), lambda r: {"acl": r.acls(), "stat": r.stat()})

    @staticmethod
    def set_acl(path, acl, version=-1):
        return Request(OP.set_acl, text(path) + acl_vec(acl) + i32(version), _stat_only)

    @staticmethod
    def sync(path):
        return Request(OP.sync, text(path), _path_only)

    @staticmethod
    def check(path, version):
        return Request(OP.check, text(path) + i32(version))

    @staticmethod
    def ping():
        return Request(OP.ping)

    @staticmethod
    def get_ephemerals(prefix=""):
        return Request(OP.get_ephemerals, text(prefix), lambda r: {"children": r.vec(r.text)})

    @staticmethod
    def get_all_children_number(path):
        return Request(OP.get_all_children_number, text(path), lambda r: {"count": r.i32()})

    @staticmethod
    def who_am_i():
        return Request(OP.who_am_i, b"", lambda r: {"ids": r.vec(lambda: (r.text(), r.text()))})

    @staticmethod
    def auth(scheme, data):
        return Request(OP.auth, i32(0) + text(scheme) + buf(data))

    @staticmethod
    def close():
        return Request(OP.close_session)

    @staticmethod
    def add_watch(path, mode):
        return Request(OP.add_watch, text(path) + i32(mode), lambda r: {"inner_err": r.i32()})

    @staticmethod
    def remove_watches(path, kind):
        return Request(OP.remove_watches, text(path) + i32(kind))

    @staticmethod
    def check_watches(path, kind):
        return Request(OP.check_watches, text(path) + i32(kind))

    @staticmethod
    def set_watches(zxid, data=(), exist=(), child=()):
        return Request(OP.set_watches, i64(zxid) + vec(data, text) + vec(exist, text) + vec(child, text))

    @staticmethod
    def set_watches2(zxid, data=(), exist=(), child=(), persistent=(), recursive=()):
        lists = b"".join(vec(v, text) for v in (data, exist, child, persistent, recursive))
        return Request(OP.set_watches2, i64(zxid) + lists)

    @staticmethod
    def multi(*ops, op=OP.multi):
        body = b"".join(i32(o.op) + flag(False) + i32(-1) + o.body for o in ops)
        return Request(op, body + i32(-1) + flag(True) + i32(-1), _multi_results)

    @staticmethod
    def multi_read(*ops):
        return req.multi(*ops, op=OP.multi_read)


def _multi_results(r):
    """Results as tuples: (type, err, fields of that type...)."""
    results = []
    while True:
        kind, done, err = r.i32(), r.flag(), r.i32()
        if done:
            assert (kind, err) == (-1, -1), (kind, err)
            return {"results": results}
        if kind == OP.error:
            inner = r.i32()
            assert inner == err, (inner, err)
            results.append((kind, err))
            continue
        assert err == 0, err
        body = {
            OP.create: lambda: (r.text(),),
            OP.create2: lambda: (r.text(), r.stat()),
            OP.delete: tuple,
            OP.check: tuple,
            OP.set_data: lambda: (r.stat(),),
            OP.get_data: lambda: (r.buf(), r.stat()),
            OP.get_children: lambda: (r.vec(r.text),),
        }[kind]()
        results.append((kind, err, *body))


# --- replies -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """A watch notification."""

    type: int
    path: str
    state: int = 3
    zxid: int = -1


@dataclass
class Reply:
    """A reply header and, when err is 0, the decoded body."""

    xid: int
    zxid: int
    err: int
    raw: bytes = b""
    path: str = None
    stat: Stat = None
    data: bytes = None
    children: list = None
    acl: list = None
    count: int = None
    ids: list = None
    results: list = None
    inner_err: int = None

    def ok(self):
        """Self, after asserting success."""
        assert self.err == 0, self
        return self


@dataclass
class Connected:
    """ConnectResponse; `had_read_only` tells whether the optional byte was there."""

    version: int
    timeout: int
    session: int
    password: bytes
    read_only: bool
    had_read_only: bool


class Closed(Exception):
    """The server closed the connection."""


ZERO = bytes(16)


@dataclass
class Conn:
    """One TCP connection. `session` and `password` are set by `connect`."""

    port: int
    host: str = "127.0.0.1"
    patience: float = 20.0
    source: str = None
    sock: socket.socket = None
    session: int = 0
    password: bytes = ZERO
    next_xid: int = 1
    frames: list = field(default_factory=list)
    events: list = field(default_factory=list)
    last_zxid: int = 0
    inbox: bytes = b""

    def open(self):
        """TCP connect only."""
        self.sock = socket.create_connection((self.host, self.port), timeout=self.patience,
                                             source_address=(self.source, 0) if self.source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def connect(self, timeout=30000, session=0, password=ZERO, last_zxid=0, read_only=False):
        """Open and set up a session; `read_only=None` leaves the trailing byte out. None when closed silently."""
        if self.sock is None:
            self.open()
        self.send_frame(connect_request(timeout, session, password, last_zxid, read_only))
        return self.connected()

    def connected(self):
        """Read the ConnectResponse."""
        try:
            r = Reader(self.recv_frame())
        except Closed:
            return None
        got = Connected(r.i32(), r.i32(), r.i64(), r.buf(), None, not r.end)
        if not r.end:
            got.read_only = r.flag()
            assert r.end, "ConnectResponse is too long"
        self.session, self.password = got.session, got.password
        return got

    # bytes

    def send(self, data):
        self.sock.sendall(data)

    def send_frame(self, payload):
        self.send(i32(len(payload)) + payload)

    def _fill(self, n):
        while len(self.inbox) < n:
            try:
                chunk = self.sock.recv(262144)
            except (ConnectionResetError, BrokenPipeError):
                chunk = b""
            if not chunk:
                raise Closed(f"closed with {len(self.inbox)} bytes of a frame")
            self.inbox += chunk

    def recv_frame(self):
        """One payload; raises Closed, or TimeoutError after `patience`."""
        self._fill(4)
        n = struct.unpack(">i", self.inbox[:4])[0]
        self._fill(4 + n)
        payload, self.inbox = self.inbox[4:4 + n], self.inbox[4 + n:]
        return payload

    # requests

    def post(self, request, xid=None):
        """Send without waiting; returns the xid."""
        return self.post_all([(request, xid)])[0]

    def post_all(self, requests):
        """Send [(request, xid or None)] in one write; returns the xids."""
        xids, out = [], []
        for request, xid in requests:
            if xid is None:
                xid = {OP.ping: -2, OP.auth: -4, OP.set_watches: -8, OP.set_watches2: -8}.get(request.op)
            if xid is None:
                xid, self.next_xid = self.next_xid, self.next_xid + 1
            payload = i32(xid) + i32(request.op) + request.body
            out.append(i32(len(payload)) + payload)
            xids.append(xid)
        self.send(b"".join(out))
        return xids

    def next_frame(self, request=None):
        """The next Event or Reply."""
        r = Reader(self.recv_frame())
        xid, zxid, err = r.i32(), r.i64(), r.i32()
        if xid == -1 and err == 0 and request is not False:
            kind, state, path = r.i32(), r.i32(), r.text()
            assert r.end
            got = Event(kind, path, state, zxid)
            self.events.append(got)
        else:
            got = Reply(xid, zxid, err, r.data[r.at:])
            if zxid > self.last_zxid:
                self.last_zxid = zxid
        self.frames.append(got)
        return got

    def reply(self, request, xid):
        """The reply that must come next (events before it are collected), decoded."""
        while True:
            got = self.next_frame()
            if isinstance(got, Reply):
                break
        assert got.xid == xid, f"expected the reply to xid {xid}, got {got}"
        if got.err == 0 and request.decode:
            r = Reader(got.raw)
            for k, v in request.decode(r).items():
                setattr(got, k, v)
            assert r.end, f"trailing bytes in {got}"
        elif got.err == 0:
            assert got.raw == b"", f"unexpected body in {got}"
        return got

    def do(self, request, xid=None):
        """Send one request, wait for its reply."""
        xid = self.post(request, xid)
        return self.reply(request, xid)

    def ok(self, request):
        """`do`, asserting success."""
        return self.do(request).ok()

    def burst(self, *requests):
        """Send all in one write, then take all replies."""
        xids = self.post_all([(r, None) for r in requests])
        return [self.reply(r, x) for r, x in zip(requests, xids)]

    def take_events(self, n, timeout=None):
        """Wait until n events came that were not taken yet, and return all that did."""
        deadline = time.monotonic() + (timeout or self.patience)
        while len(self.events) < n:
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            got = self.next_frame()
            assert isinstance(got, Event), f"expected an event, got {got}"
        self.sock.settimeout(self.patience)
        got, self.events = self.events, []
        return got

    def drain(self):
        """Events that have surely arrived by now: those before the reply to a ping."""
        self.do(req.ping())
        got, self.events = self.events, []
        return got

    def closed(self, timeout=None):
        """Wait for the server to close; returns the replies and events that came before."""
        start = len(self.frames)
        self.sock.settimeout(timeout or self.patience)
        try:
            while True:
                self.next_frame()
        except Closed:
            return self.frames[start:]
        finally:
            self.sock.settimeout(self.patience)

    def is_silent(self, seconds):
        """Whether nothing at all arrives, and nothing closes, for this long."""
        self.sock.settimeout(seconds)
        try:
            return not self.inbox and self.sock.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(self.patience)

    def drop(self):
        """Cut the TCP connection without closing the session."""
        if self.sock:
            self.sock.close()
            self.sock = None

    def quit(self):
        """Close the session properly."""
        if self.sock:
            try:
                self.do(req.close())
            except (Closed, OSError, AssertionError):
                pass
            self.drop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()


def connect_request(timeout, session=0, password=ZERO, last_zxid=0, read_only=False):
    """The payload of a ConnectRequest."""
    out = i32(0) + i64(last_zxid) + i32(timeout) + i64(session) + buf(password)
    return out if read_only is None else out + flag(read_only)


def digest_id(user, password):
    """The id text of the digest scheme."""
    return f"{user}:" + base64.b64encode(hashlib.sha1(f"{user}:{password}".encode()).digest()).decode()


def java_password(session):
    """The password that every ZooKeeper server gives this session: a java.util.Random stream."""
    mask = (1 << 48) - 1
    state = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & mask
    out = b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & mask
        out += struct.pack("<i", (state >> 16) - (1 << 32) if state >> 47 else state >> 16)
    return out


def walk(conn, root="/"):
    """(path, answers to getData, getACL and getChildren) of each node from `root` on, a level at a time. One that goes meanwhile has errors."""
    level = [root]
    while level:
        replies = conn.burst(*(r for p in level for r in (req.get_data(p), req.get_acl(p), req.get_children(p))))
        found = [(p, *replies[3 * i:3 * i + 3]) for i, p in enumerate(level)]
        yield from found
        level = [f"{p.rstrip('/')}/{k}" for p, _, _, kids in found if kids.err == 0 for k in kids.children]
