"""Four-letter words: the exact lines, the whitelist, what they do to the connection."""

import os
import re
import socket
import struct
import time

import pytest

from harness.servers import Server
from harness.wire import EPHEMERAL, Conn, req

NOT_LISTED = b" is not executed because it is not in the whitelist.\n"
SERVER_NUMBERS = [rb"Latency min/avg/max: \d+/\d+\.\d+/\d+", rb"Received: \d+", rb"Sent: \d+", rb"Connections: \d+", rb"Outstanding: \d+",
                  rb"Zxid: 0x[0-9a-f]+", rb"Mode: standalone", rb"Node count: \d+"]


def lines(text, patterns):
    got = text.split(b"\n")
    assert got[-1] == b"", "the last line is not ended"
    for line, pattern in zip(got, patterns):
        assert re.fullmatch(pattern, line), (line, pattern)
    assert len(got) - 1 == len(patterns), got


def test_ruok(server):
    assert server.word(b"ruok") == b"imok"


def test_isro(server):
    assert server.word(b"isro") == b"rw"


def test_srvr(server, conn):
    version, rest = server.word(b"srvr").split(b"\n", 1)
    assert re.fullmatch(rb"Zookeeper version: \S+, built on .+", version), version
    lines(rest, SERVER_NUMBERS)
    zxid = int(re.search(rb"Zxid: 0x([0-9a-f]+)", rest)[1], 16)
    assert zxid == conn.ok(req.sync("/")).zxid


def test_the_node_count_counts_the_root_twice(start):
    server = start()
    assert b"Node count: 5\n" in server.word(b"srvr")


def test_stat_adds_the_clients(server, conn):
    text = server.word(b"stat")
    version, rest = text.split(b"\n", 1)
    head, clients_and_numbers = rest.split(b"\n", 1)
    assert head == b"Clients:"
    clients, numbers = clients_and_numbers.split(b"\n\n", 1)
    lines(numbers, SERVER_NUMBERS)
    for line in clients.split(b"\n"):
        assert re.fullmatch(rb" /127\.0\.0\.1:\d+\[[0-9a-f]+\]\(queued=\d+,recved=\d+,sent=\d+\)", line), line
    port = conn.sock.getsockname()[1]
    assert b"/127.0.0.1:%d[1](" % port in clients


def test_cons_tells_of_each_session(server, conn):
    conn.ok(req.create(f"/cons{conn.session}"))
    time.sleep(0.1)  # Java counts a request as queued for a moment after its reply
    text = server.word(b"cons")
    assert text.endswith(b"\n\n")
    port = conn.sock.getsockname()[1]
    line = next(x for x in text.split(b"\n") if b":%d[" % port in x)
    assert re.fullmatch(
        rb" /127\.0\.0\.1:\d+\[1\]\(queued=0,recved=2,sent=2,sid=0x%x,lop=CREA,est=\d+,to=600000,lcxid=0x1,lzxid=0x[0-9a-f]+,"
        rb"lresp=\d+,llat=\d+,minlat=\d+,avglat=\d+,maxlat=\d+\)" % conn.session, line), line
    mine = next(x for x in text.split(b"\n") if b"sid=" not in x)
    assert re.fullmatch(rb" /127\.0\.0\.1:\d+\[[01]\]\(queued=0,recved=[01],sent=0\)", mine), mine


@pytest.mark.parametrize("request_,code", [
    (lambda r: req.ping(), "PING"), (lambda r: req.exists(r), "EXIS"), (lambda r: req.get_data(r), "GETD"), (lambda r: req.set_data(r, b""), "SETD"),
    (lambda r: req.create(f"{r}/a"), "CREA"), (lambda r: req.delete(r), "DELE"), (lambda r: req.get_acl(r), "GETA"),
    (lambda r: req.get_children(r), "GETC"), (lambda r: req.get_children2(r), "GETC"), (lambda r: req.sync(r), "SYNC"),
    (lambda r: req.multi(), "MULT"), (lambda r: req.multi_read(), "MLTR"), (lambda r: req.set_watches(0), "SETW"),
    (lambda r: req.set_watches2(0), "STW2"), (lambda r: req.add_watch(r, 0), "ADDW"), (lambda r: req.remove_watches(r, 3), "REMW"),
    (lambda r: req.check_watches(r, 3), "CHKW"), (lambda r: req.who_am_i(), "HOMI"), (lambda r: req.get_ephemerals(), "GETE"),
    (lambda r: req.get_all_children_number(r), "GETACN"), (lambda r: req.set_acl(r, ((31, "world", "anyone"),)), "SETA"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_cons_names_the_last_operation(server, conn, root, request_, code):
    conn.do(request_(root))
    assert b"sid=0x%x,lop=%s," % (conn.session, code.encode()) in server.word(b"cons")


def test_cons_shows_no_operation_for_a_failed_write_but_does_for_a_failed_read(server, conn, root):
    conn.do(req.delete(f"{root}/nope"))
    assert b"sid=0x%x,lop=NA," % conn.session in server.word(b"cons")
    conn.do(req.get_data(f"{root}/nope"))
    assert b"sid=0x%x,lop=GETD," % conn.session in server.word(b"cons")


def test_mntr_lists_keys_and_values(server, conn, root):
    text = server.word(b"mntr").decode()
    assert text.endswith("\n")
    rows = [line.split("\t") for line in text.splitlines()]
    assert all(len(r) == 2 and r[0].startswith("zk_") for r in rows), rows
    assert [r[0] for r in rows[:2]] == ["zk_version", "zk_server_state"]
    values = dict(rows)
    assert values["zk_server_state"] == "standalone"
    for key in ("zk_znode_count", "zk_watch_count", "zk_ephemerals_count", "zk_approximate_data_size", "zk_open_file_descriptor_count",
                "zk_max_file_descriptor_count", "zk_num_alive_connections", "zk_outstanding_requests", "zk_packets_received", "zk_packets_sent",
                "zk_avg_latency", "zk_min_latency", "zk_max_latency", "zk_last_client_response_size", "zk_max_client_response_size",
                "zk_min_client_response_size", "zk_global_sessions", "zk_uptime"):
        assert float(values[key]) >= -1, key
    before = int(values["zk_znode_count"])
    conn.ok(req.create(f"{root}/a", flags=EPHEMERAL))
    conn.ok(req.get_data(root, watch=True))
    after = dict(line.split("\t") for line in server.word(b"mntr").decode().splitlines())
    assert int(after["zk_znode_count"]) == before + 1
    assert int(after["zk_ephemerals_count"]) == int(values["zk_ephemerals_count"]) + 1
    assert int(after["zk_watch_count"]) == int(values["zk_watch_count"]) + 1


def test_conf_lists_the_settings_in_order(server, kind):
    text = server.word(b"conf").decode()
    rows = dict(line.split("=", 1) for line in text.splitlines())
    assert list(rows) == ["clientPort", "secureClientPort", "dataDir", "dataDirSize", "dataLogDir", "dataLogSize", "tickTime", "maxClientCnxns",
                          "minSessionTimeout", "maxSessionTimeout", "clientPortListenBacklog", "serverId"]
    assert rows["clientPort"] == str(server.port)
    assert rows["secureClientPort"] == "-1"
    assert rows["dataDir"] == rows["dataLogDir"] == server.cfg["dataDir"] + "/version-2"
    assert (rows["tickTime"], rows["maxClientCnxns"], rows["minSessionTimeout"], rows["maxSessionTimeout"]) == ("200", "0", "400", "600000")
    assert rows["serverId"] == "0"
    assert kind == "ringkeeper" or rows["clientPortListenBacklog"] == "-1"


def test_dirs(server):
    assert re.fullmatch(rb"datadir_size: \d+\nlogdir_size: \d+\n", server.word(b"dirs"))


def test_envi(server, kind):
    text = server.word(b"envi").decode()
    rows = text.splitlines()
    assert rows[0] == "Environment:"
    keys = [r.split("=", 1)[0] for r in rows[1:]]
    assert keys[:2] == ["zookeeper.version", "host.name"]
    memory = ["os.memory.free", "os.memory.max", "os.memory.total"]
    assert keys[2:] == ["java.version", "java.vendor", "java.home", "java.class.path", "java.library.path", "java.io.tmpdir", "java.compiler", "os.name",
                        "os.arch", "os.version", "user.name", "user.home", "user.dir"] + memory


def test_wchs_wchc_wchp(start):
    server = start()
    a, b = Conn(server.port), Conn(server.port)
    for c in (a, b):
        c.connect()
        c.ok(req.get_data("/", watch=True))
    a.ok(req.get_data("/zookeeper", watch=True))
    a.ok(req.get_children("/", watch=True))
    assert server.word(b"wchs") == b"2 connections watching 2 paths\nTotal watches:3\n"
    by_session = server.word(b"wchc").decode()
    assert by_session.endswith("\n\n")
    got, current = {}, None
    for line in by_session.rstrip("\n").split("\n"):
        if line.startswith("\t"):
            got[current].add(line[1:])
        else:
            got[current := line] = set()
    assert got == {f"0x{a.session:x}": {"/", "/zookeeper"}, f"0x{b.session:x}": {"/"}}
    by_path = server.word(b"wchp").decode()
    assert by_path.endswith("\n\n")
    got = {}
    for line in by_path.rstrip("\n").split("\n"):
        if line.startswith("\t"):
            got[current].add(line[1:])
        else:
            got[current := line] = set()
    assert got == {"/": {f"0x{a.session:x}", f"0x{b.session:x}"}, "/zookeeper": {f"0x{a.session:x}"}}
    a.quit()
    b.quit()


def test_dump_lists_sessions_ephemerals_and_connections(start):
    server = start()
    c = Conn(server.port)
    c.connect(timeout=60000)
    c.ok(req.create("/e", flags=EPHEMERAL))
    text = server.word(b"dump").decode()
    assert text.startswith("SessionTracker dump:\nSession Sets (")
    assert re.search(r"\n1 expire at .+:\n\t0x%x\n" % c.session, text), text
    assert f"ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x{c.session:x}:\n\t/e\n" in text
    assert "Connections dump:\nConnections Sets (" in text
    assert re.search(r"ip: /127\.0\.0\.1:%d sessionId: 0x%x\n" % (c.sock.getsockname()[1], c.session), text), text
    c.quit()


def test_srst_and_crst_reset(start):
    server = start()
    c = Conn(server.port)
    c.connect()
    for _ in range(20):
        c.ok(req.exists("/"))
    assert int(re.search(rb"Received: (\d+)", server.word(b"srvr"))[1]) >= 20
    assert server.word(b"srst") == b"Server stats reset.\n"
    assert int(re.search(rb"Received: (\d+)", server.word(b"srvr"))[1]) <= 3
    assert server.word(b"crst") == b"Connection stats reset.\n"
    assert b"recved=0,sent=0,sid=0x%x,lop=NA" % c.session in server.word(b"cons")
    c.quit()


def test_hash_lists_digests(start):
    server = start()
    assert server.word(b"hash") == b""
    c = Conn(server.port)
    c.connect()
    c.burst(*(req.create(f"/{i}") for i in range(300)))
    rows = server.word(b"hash").decode().splitlines()
    assert [r.split(": ")[0] for r in rows] == ["80", "100"]
    assert all(re.fullmatch(r"[0-9a-f]+: -?\d+", r) for r in rows)
    c.quit()


def test_the_trace_mask_can_be_read_and_set(server):
    mask = server.word(b"gtmk")
    assert re.fullmatch(rb"\d+", mask)
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"stmk" + struct.pack(">q", 306))
        assert s.recv(100) == b"306"
    assert server.word(b"gtmk") == b"306"
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"stmk" + struct.pack(">q", int(mask)))
        assert s.recv(100) == mask


# --- whitelist -----------------------------------------------------------------------------------------------

WORDS = ["ruok", "isro", "srvr", "stat", "cons", "mntr", "conf", "dirs", "envi", "wchs", "wchc", "wchp", "dump", "srst", "crst", "hash", "gtmk", "stmk"]


def ask(server, word):
    """`word`'s answer. Ours looks at the whitelist when a word is complete, and the eight bytes of stmk are part of it."""
    return server.word(word.encode() + (bytes(8) if word == "stmk" and server.kind == "ringkeeper" else b""))


def test_by_default_only_srvr_is_carried_out(start):
    server = start({"4lw.commands.whitelist": None})
    for word in WORDS:
        got = ask(server, word)
        if word == "srvr":
            assert got.startswith(b"Zookeeper version: ")
        else:
            assert got == word.encode() + NOT_LISTED


def test_a_list_allows_just_its_words_and_srvr(start):
    server = start({"4lw.commands.whitelist": " ruok , isro,conf "})
    allowed = {w for w in WORDS if not ask(server, w).endswith(NOT_LISTED)}
    assert allowed == {"ruok", "isro", "conf", "srvr"}


def test_isro_is_always_allowed_when_read_only_mode_is_enabled(start):
    server = start({"4lw.commands.whitelist": "ruok"}, {"readonlymode.enabled": "true"})
    assert server.word(b"isro") == b"rw"


# --- the connection ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b" and more of it" * 20])
def test_what_follows_the_word_is_ignored(server, tail):
    assert server.word(b"ruok" + tail) == b"imok"


def test_a_word_may_arrive_letter_by_letter(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        for b in b"ruok":
            s.sendall(bytes([b]))
            time.sleep(0.01)
        assert s.recv(100) == b"imok"
        assert s.recv(100) == b""


def test_an_unknown_word_is_a_bad_length_and_closes(server):
    assert server.word(b"what") == b""


def test_a_word_in_capitals_is_no_word(server):
    assert server.word(b"RUOK") == b""


def test_the_telnet_interrupt_closes(server):
    assert server.word(b"\xff\xf4\xff\xfd") == b""


def test_a_word_on_a_connection_with_a_session_is_a_bad_length(connect):
    c = connect()
    c.send(b"ruok")
    assert c.closed() == []


def test_a_client_may_close_its_side_before_the_answer(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
        s.sendall(b"srvr")
        s.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while chunk := s.recv(65536):
                got += chunk
        except ConnectionResetError:
            pass
    assert got == b"" or got.startswith(b"Zookeeper version")


def test_many_words_at_once(server):
    socks = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(40)]
    for s in socks:
        s.sendall(b"ruok")
    for s in socks:
        assert s.recv(100) == b"imok"
        s.close()


# --- line by line --------------------------------------------------------------------------------------------

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "server", "admin", "tests", "admin", "golden")


def shape(line, word):
    """A line without its values."""
    if word in ("conf", "envi"):
        return line.split("=", 1)[0]
    if word == "mntr":
        return line.split("\t")[0]
    for pattern, name in ((r"version: .*", "version"), (r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \S+ \d{4}", "<date>"), (r"lop=\w+", "lop"),
                          (r"0x[0-9a-f]+", "<hex>"), (r"\[[01]\]", "[]"), (r"^[0-9a-f]+: -?\d+$", "<zxid>: <digest>"), (r"-?\d+(\.\d+)*", "<n>")):
        line = re.sub(pattern, name, line)
    return line


@pytest.fixture(scope="module")
def scene(tmp_path_factory, kind):
    """The scene in which the golden answers were taken (capture.py there)."""
    server = Server(tmp_path_factory.mktemp("scene"), kind).start()
    idle, busy = Conn(server.port), Conn(server.port)
    for c in (idle, busy):
        c.connect(timeout=30000)
    busy.ok(req.create("/app", b"settings"))
    for i in range(3):
        busy.ok(req.create(f"/app/member-{i}", b"here", flags=EPHEMERAL))
    for i in range(200):
        busy.ok(req.set_data("/app", b"%d" % i))
        busy.ok(req.get_data("/app"))
    for c, r in ((busy, req.get_data("/app", True)), (busy, req.get_data("/app/member-0", True)), (busy, req.get_children("/app", True)),
                 (idle, req.exists("/app", True)), (idle, req.exists("/absent", True))):
        c.do(r)
    yield server
    server.kill()


@pytest.mark.parametrize("word", [*WORDS, "empty-hash"])
def test_each_word_has_the_lines_of_java(scene, start, kind, word):
    """All 18 words, in the same scene as the captured answers: the same lines but for their values; of `mntr` those metrics that are counted."""
    with open(os.path.join(GOLDEN, "java38" if kind == "java38" else "java395", f"{word}.txt"), encoding="utf-8", newline="") as f:
        golden = f.read()
    name = word.split("-")[-1]
    server = start() if word.startswith("empty") else scene
    answer = server.word(name.encode() + (struct.pack(">q", 6) if name == "stmk" else b"")).decode()
    assert answer.endswith("\n") == golden.endswith("\n") and answer.endswith("\n\n") == golden.endswith("\n\n"), (answer[-40:], golden[-40:])
    here, java = ([shape(x, name) for x in t.split("\n")] for t in (answer, golden))
    if name == "mntr":
        assert len(here) == len(set(here)) and set(here) <= set(java), set(here) - set(java)
    elif name == "dump":
        # Java keeps empty buckets of sessions and of connections for a while.
        assert set(here) <= set(java) and set(java) - set(here) <= {"<n> expire at <date>:"}, (here, java)
    elif name in ("cons", "stat"):
        # Whoever asks is a connection too, and a client of the captured scene pinged meanwhile.
        assert set(here) == set(java), (here, java)
    else:
        assert sorted(here) == sorted(java), (here, java)
