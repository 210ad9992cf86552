#!/usr/bin/env python3
"""Seeds for the fuzzers' corpora, from what real clients and servers say and write.

    capture.py [--kinds java38,ringkeeper] [--suites zkcli,cclient,curator,kazoo,wire] OUT

Runs suites of tools/suites, unchanged, against servers that stand behind a recording proxy; keeps what went over the wire
and the files that the server left; and cuts it into inputs: OUT/<fuzz target>/<hash>. `run.sh merge OUT` takes from them what
the corpora lack. Run it with target/suites/venv/bin/python, which has kazoo and pytest (tools/suites/setup.sh).
"""

import argparse
import glob
import hashlib
import os
import runpy
import socket
import struct
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
SUITES = os.path.join(os.path.dirname(HERE), "suites")
sys.path.insert(0, SUITES)

from harness import servers  # noqa: E402

SEPARATOR = b"\xf5\xfa"
PIECE_MAX, INPUT_MAX = 4096, 24 << 10
WORDS = "ruok isro gtmk stmk envi conf cons crst dirs dump hash mntr srst srvr stat wchs wchc wchp".split()
# Compression and digests as operators may set them: each server in turn.
PROPERTIES = [{}, {"zookeeper.snapshot.compression.method": "gz"}, {"zookeeper.snapshot.compression.method": "snappy"},
              {"zookeeper.digest.enabled": "false"}]


class Proxy:
    """Passes connections on and remembers, in order, what was said: (connection, from the client?, bytes)."""

    def __init__(self, target):
        self.target, self.heard, self.count = target, [], 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self.count += 1
            for one, other, up in [(client, server, True), (server, client, False)]:
                threading.Thread(target=self.pump, args=(self.count, one, other, up), daemon=True).start()

    def pump(self, number, one, other, up):
        try:
            while data := one.recv(65536):
                with self.lock:
                    self.heard.append((number, up, data))
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class Seeds:
    """The inputs, by target and content."""

    def __init__(self, out):
        self.out = out
        self.counts = {}

    def put(self, target, content):
        if 0 < len(content) <= INPUT_MAX:
            directory = os.path.join(self.out, target)
            os.makedirs(directory, exist_ok=True)
            path = os.path.join(directory, hashlib.sha1(content).hexdigest())
            if not os.path.exists(path):
                self.counts[target] = self.counts.get(target, 0) + 1
                with open(path, "wb") as f:
                    f.write(content)

    # --- the wire ---

    def conversation(self, heard):
        streams, operations = {}, {}
        pieces = []
        for number, up, data in heard:
            stream = streams.setdefault((number, up), [b"", 0])
            stream[0] += data
            while True:
                buffered, count = stream
                if up and count == 0 and buffered[:4].decode("latin1") in WORDS:
                    self.put("words", buffered[:64])
                    stream[0] = b""
                    break
                if len(buffered) < 4 or len(buffered) < 4 + struct.unpack(">i", buffered[:4])[0]:
                    break
                length = struct.unpack(">i", buffered[:4])[0]
                if length < 0:
                    stream[0] = b""
                    break
                frame, stream[0] = buffered[4:4 + length], buffered[4 + length:]
                stream[1] += 1
                (self.request if up else self.reply)(number, count == 0, frame, operations, pieces)
        for at in range(0, len(pieces), 24):
            # Whoever speaks in the middle of a conversation has connected before.
            window = pieces[at:at + 24]
            hello = [bytes([place | 3 << 2]) for place in sorted({piece[0] & 3 for piece in window})]
            self.put("server", SEPARATOR.join(hello + window))

    def request(self, number, first, frame, operations, pieces):
        if first:
            self.put("requests", b"\0" + frame)
            pieces.append(bytes([number & 3 | 3 << 2]))
            return
        if len(frame) < 8:
            return
        xid, op = struct.unpack(">ii", frame[:8])
        operations[number, xid] = op
        self.put("requests", b"\xff" + frame[:8])
        if 0 < op < 250:
            self.put("requests", bytes([op]) + frame[8:])
        if op == 100:
            self.auth_packet(frame[8:])
        if op in (1, 15, 7, 19, 21):
            self.acl(frame[8:], op)
        if len(frame) <= PIECE_MAX and op != 11:
            # A piece's content must not look like its end.
            pieces.append(bytes([number & 3]) + frame.replace(SEPARATOR, b"\0\0"))

    def reply(self, number, first, frame, operations, _pieces):
        if first:
            self.put("replies", b"\0" + frame)
            return
        if len(frame) < 16:
            return
        xid, _, err = struct.unpack(">iqi", frame[:16])
        self.put("replies", b"\xff" + struct.pack(">i", len(frame)) + frame)
        op = operations.get((number, xid), 0)
        if err == 0 and 0 < op < 250:
            self.put("replies", bytes([op]) + frame[16:])
        if err == 0 and op == 3:
            self.put("replies", b"\xfe" + frame[16:])

    def auth_packet(self, body):
        length = struct.unpack(">i", body[4:8])[0]
        scheme, data = body[8:8 + length], body[12 + length:]
        letter = {b"digest": b"d", b"ip": b"i", b"sasl": b"s", b"ensemble": b"e"}.get(scheme, b"x")
        self.put("auth", b"\0" + SEPARATOR + letter + data)

    def acl(self, body, op):
        try:
            at = 0
            for _ in range(1 if op == 7 else 2):
                at += 4 + max(0, struct.unpack(">i", body[at:at + 4])[0])
            tail = {7: 4, 21: 12}.get(op, 4)
            for settings in (b"\0", b"\x10", b"\x22"):
                self.put("auth", settings + body[at:-tail] + SEPARATOR + b"duser:password")
        except struct.error:
            pass

    # --- files ---

    def files(self, data):
        for path in glob.glob(os.path.join(data, "**", "version-2", "*"), recursive=True):
            name = os.path.basename(path)
            with open(path, "rb") as f:
                content = f.read(4 << 20)
            if name.startswith("log."):
                self.log(content.rstrip(b"\0"))
            elif name.startswith("snapshot."):
                zxid = int(name.split(".")[1], 16)
                small = bytes([zxid]) if zxid < 0xF0 else b"\xef"
                self.put("snapshot", b"\0" + small + content)
                for packing in (1, 2, 3):
                    self.put("snapshot", bytes([packing]) + small + content)

    def log(self, content):
        payloads, at = [], 16
        while at + 12 < len(content):
            length = struct.unpack(">i", content[at + 8:at + 12])[0]
            if length <= 0:
                break
            payload = content[at + 12:at + 12 + length]
            # The padding of a group is no part of a transaction.
            if payload[-36:-28] == b"RKGROUP1":
                payload = payload[:struct.unpack(">I", payload[-8:-4])[0]]
            payloads.append(payload)
            at += 13 + length
            if at <= INPUT_MAX - 16 and len(payloads) % 16 == 0:
                self.put("log", b"\1\0" + content[:at])
        for cut in (len(content), len(content) * 2 // 3, 4096, 8192):
            self.put("log", b"\2\0" + content[:cut])
            self.put("log", b"\4\0" + content[:cut] + b"B")
        for payload in payloads:
            self.put("txns", payload)
        small = [p for p in payloads if len(p) <= PIECE_MAX and SEPARATOR not in p]
        for at in range(0, len(small), 24):
            for tag in b"\0\1\2\3\5\6":
                self.put("records", bytes([tag]) + SEPARATOR.join(small[at:at + 24]))

    # --- what is not said over the wire ---

    def configurations(self):
        docs = os.path.join(HERE, "..", "..", "docs", "operations")
        keys = set()
        for path in glob.glob(os.path.join(docs, "*.md")):
            with open(path, encoding="utf-8") as f:
                for line in f:
                    if line.startswith("| `"):
                        keys.add(line.split("`")[1])
        keys = sorted(keys)
        values = ["true", "false", "1", "0", "-1", "64M", "digest,ip", "gz", "2000", "a:b", "/d", "*", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="]
        for number, value in enumerate(values):
            lines = [f"{key}={value}" for key in keys[number::3]]
            text = "tickTime=2000\ndataDir=/d\nclientPort=2181\n" + "\n".join(lines)
            extra = [f"Dzookeeper.{keys[number % len(keys)]}={value}", f"S{keys[-number]}={value}", f"ERINGKEEPER_SNAP_COUNT={value}", f"M{value}",
                     f"ESERVER_JVMFLAGS=-Dzookeeper.snapCount={value} -Xmx1g", "Wruok, mntr"]
            self.put("config", SEPARATOR.join(part.encode() for part in [text, *extra]))
        for text in ["2181", "/d", "3000", "60"], ["2181", "/d"]:
            self.put("config", SEPARATOR.join([b""] + [b"A" + part.encode() for part in text]))
        self.put("config", b"a\\\n b=c\\u0041\r\n# x\n!y\n \tk : v\nserver.1=[::1]:1:2:observer;[::]:2181\nserver.2=h:1:2|g:3:4\ndynamicConfigFile=/x\n")
        self.put("config", b"\0")
        for word in WORDS:
            self.put("words", word.encode() + b"\n")
        self.put("words", b"stmk" + struct.pack(">q", -2))
        for text in ["127.0.0.1/24", "::1/64", "10.0.0.0", "user@REALM", "a/b@C", "user:hash"]:
            for scheme in ["ip", "digest", "sasl", "world", "super", "auth", "ensemble"]:
                entry = struct.pack(">iii", 1, 31, len(scheme)) + scheme.encode() + struct.pack(">i", len(text)) + text.encode()
                self.put("auth", b"\x50" + entry + SEPARATOR + b"a" + scheme.encode() + b"\0" + text.encode() + SEPARATOR + b"du:p" + SEPARATOR + b"\x7f\0\0\1")


    # --- what members say to each other ---

    def members(self):
        """What Java's members were heard to say, to a member of ours in the place of each: first the election that leads there."""
        def piece(what, place, content=b""):
            return bytes([place | what << 2]) + content.replace(SEPARATOR, b"\0\0")

        def introduction(place, sid):
            return piece(6, place, bytes([sid]) + b"10.0.0.%d" % sid)

        def notification(place, state):
            return piece(7, place, bytes([state, 2, 0, 0, 1, 0]))

        chunks, written, wait = 1, piece(11, 0), piece(10, 0, b"\1\x2c")
        # Which member (the first byte of the input), and what brings it to its part; its conversation is then at place 3.
        leads = b"\0", [piece(2, 0), introduction(0, 4), notification(0, 0), wait, piece(3, 3)]
        follows = b"\1", [piece(2, 0), introduction(0, 2), notification(0, 0), wait, *[piece(4, 1, b"\1")] * 2, piece(4, 3)]
        observes = b"\2", [piece(4, 0), piece(4, 1), notification(0, 1), notification(1, 2), wait, piece(4, 2, b"\1"), piece(4, 3)]
        for path in sorted(glob.glob(os.path.join(HERE, "..", "..", "server", "quorum", "tests", "java", "quorum-port-*.txt"))):
            with open(path, encoding="ascii") as f:
                said = [line.split() for line in f if not line.startswith("#")]
            for link in sorted({line[0] for line in said}):
                for speaker, (who, parts) in [("L", leads), ("M", follows), ("M", observes)]:
                    bytes_of = [bytes.fromhex(line[3]) for line in said if line[:2] == [link, speaker]]
                    for history in (0, 4):
                        for small in (False, True):
                            packets = [piece(chunks, 3, b"\7" + b) if small else piece(0, 3, b) for b in bytes_of]
                            work = [piece(12, 0, b"\0"), written, piece(12, 0, b"\1"), piece(12, 0, b"\2"), piece(14, 0)]
                            woven = [x for n, p in enumerate(packets[:40]) for x in (p, work[n % len(work)])]
                            self.put("peer", bytes([who[0] | history | 8]) + SEPARATOR.join([*parts, *woven, *work]))


def recorded(kind, seeds):
    """The class of servers that stand behind a proxy."""
    turn = [0]

    class Recorded(servers.Server):
        def __init__(self, directory, _kind=None, cfg=None, props=None, port=None):
            extra = PROPERTIES[turn[0] % len(PROPERTIES)]
            turn[0] += 1
            super().__init__(directory, kind, cfg, {**extra, "zookeeper.snapCount": "40", **(props or {})}, port)
            self.proxy = Proxy(self.port)
            self.port = self.proxy.port

        def _end(self, sig, timeout):
            status = super()._end(sig, timeout)
            seeds.conversation(self.proxy.heard)
            self.proxy.heard = []
            seeds.files(self.dir)
            return status

    return Recorded


def kazoo_session():
    """A client with every operation that kazoo has."""
    from kazoo.client import KazooClient
    from kazoo.recipe.lock import Lock
    from kazoo.security import make_digest_acl

    with tempfile.TemporaryDirectory() as directory, servers.Server(directory, None, {"extendedTypesEnabled": "true", "enforceQuota": "true"}) as server:
        clients = [KazooClient(f"127.0.0.1:{server.port}") for _ in range(3)]
        for client in clients:
            client.start()
        a, b, c = clients
        a.add_auth("digest", "user:password")
        a.create("/k", b"\x00\x01" * 50)
        for number in range(30):
            a.create(f"/k/n-{number}", str(number).encode() * number, sequence=number % 3 == 0, ephemeral=number % 4 == 0)
        a.create("/k/acl", b"", acl=[make_digest_acl("user", "password", all=True)])
        for data in (b"1", b"22", b""):
            a.set("/k", data)
        b.get("/k", watch=lambda event: None)
        b.get_children("/k", watch=lambda event: None, include_data=True)
        b.exists("/none", watch=lambda event: None)
        c.get_acls("/k/acl")
        a.set_acls("/k/acl", a.get_acls("/k/acl")[0])
        for ok in (True, False):
            t = a.transaction()
            t.create("/k/t", b"t")
            t.set_data("/k/t", b"u")
            t.check("/k/t" if ok else "/none", -1)
            t.create("/k/t2", ephemeral=True)
            t.delete("/k/t")
            t.commit()
        b.sync("/k")
        with Lock(c, "/lock"):
            b.delete("/k/n-1")
        a.delete("/k", recursive=True)
        a.command(b"mntr")
        a.command(b"cons")
        b.stop()
        server.kill()
        server.start()
        for client in (a, c):
            client.retry(client.get_children, "/")
            client.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="java38,ringkeeper")
    parser.add_argument("--suites", default="kazoo,zkcli,cclient,curator,wire")
    parser.add_argument("out")
    args = parser.parse_args()
    seeds = Seeds(args.out)
    seeds.configurations()
    seeds.members()
    for kind in args.kinds.split(","):
        os.environ["RK_SERVER"] = kind
        for suite in args.suites.split(","):
            servers.Server = recorded(kind, seeds)
            print(f"{kind}: {suite}", flush=True)
            try:
                if suite == "kazoo":
                    kazoo_session()
                elif suite == "wire":
                    import pytest

                    os.chdir(os.path.join(SUITES, "wire"))
                    pytest.main(["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts="])
                else:
                    sys.argv = [os.path.join(SUITES, suite, "run.py"), "--kind", kind]
                    runpy.run_path(sys.argv[0], run_name="__main__")
            except SystemExit:
                pass  # what a suite thinks of the server is no matter here
            except Exception as error:  # noqa: BLE001
                print(f"{kind}: {suite}: {error}", flush=True)
            print(seeds.counts, flush=True)


if __name__ == "__main__":
    main()
