"""The network between the members of an ensemble, when a scenario is to disturb it: one TCP proxy for each ordered pair.

Member i knows member j by the address of the proxy i->j, and itself by its real one. The first message on an election
port names the sender's own address, to which the other side connects back; the proxy puts its own address there, so
that nothing goes around it. Bytes from a to b pass gate (a, b), whoever made the connection. A closed gate holds
bytes, ends of streams and new connections until it opens (what a partition does to TCP); `reset` ends what there is.
"""

import asyncio
import contextlib
import struct
import threading
import time

CHUNK = 65536


class Network:
    """All proxies, in a thread of their own. `real`: sid -> (host, quorum port, election port)."""

    def __init__(self, prefix, real):
        self.real, self.prefix = real, prefix
        self.closed, self.delays, self.pumps = set(), {}, set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.changed = self._do(self._condition())
        self.servers = [self._do(self._listen(i, j, port)) for i in real for j in real if i != j for port in (1, 2)]

    async def _condition(self):
        return asyncio.Condition()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def address(self, i, j):
        """Where member i finds member j: (host, quorum port, election port)."""
        _, quorum, election = self.real[j]
        return (f"{self.prefix}.{16 * i + j}", quorum, election)

    # what scenarios do

    def cut(self, *pairs):
        """Close the gates (from, to)."""
        self._do(self._set(self.closed | set(pairs), self.delays))

    def isolate(self, *sids):
        """Cut these off from all others, both ways; they still reach each other."""
        inside = set(sids)
        self.cut(*((a, b) for a in self.real for b in self.real if a != b and (a in inside) != (b in inside)))

    def delay(self, seconds, *pairs):
        """Bytes take this long, on all pairs if none are given."""
        every = [(a, b) for a in self.real for b in self.real if a != b]
        self._do(self._set(self.closed, {**self.delays, **{p: seconds for p in pairs or every}}))

    def heal(self):
        """All gates open, no delays."""
        self._do(self._set(set(), {}))

    def reset(self, *sids):
        """End all connections that touch one of these members."""
        self._do(self._reset(set(sids)))

    def close(self):
        """End everything."""
        self._do(self._reset(set(self.real)))
        self._do(self._finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    # the proxies

    async def _set(self, closed, delays):
        async with self.changed:
            self.closed, self.delays = closed, delays
            self.changed.notify_all()

    async def _reset(self, sids):
        for pair, task in list(self.pumps):
            if sids & set(pair):
                task.cancel()

    async def _finish(self):
        for server in self.servers:
            server.close()
        tasks = [task for _, task in self.pumps]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, *pairs):
        async with self.changed:
            await self.changed.wait_for(lambda: not self.closed & set(pairs))

    async def _listen(self, i, j, port):
        async def serve(reader, writer):
            task = asyncio.current_task()
            self.pumps.add(((i, j), task))
            try:
                await self._serve(i, j, port, reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                self.pumps.discard(((i, j), task))
                writer.transport.abort()

        host = self.address(i, j)[0]
        return await asyncio.start_server(serve, host, self.real[j][port])

    async def _serve(self, i, j, port, reader, writer):
        await self._open((i, j), (j, i))
        there_reader, there_writer = await self._reach(j, port)
        try:
            first = await self._introduction(i, j, reader) if port == 2 else b""
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump((i, j), reader, there_writer, first))
                pumps.create_task(self._pump((j, i), there_reader, writer, b""))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            there_writer.transport.abort()

    async def _reach(self, j, port):
        """A connection to the member itself. Who is refused by a member tries again soon; who was accepted by a proxy and then cut off
        may not, so the proxy tries for it a while."""
        until = time.monotonic() + 2
        while True:
            try:
                return await asyncio.open_connection(self.real[j][0], self.real[j][port])
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.02)

    async def _introduction(self, i, j, reader):
        """The first message of an election link, in one piece, with an address that leads through the proxy j->i."""
        head = await reader.readexactly(8)
        if struct.unpack(">q", head)[0] >= 0:
            return head
        head += await reader.readexactly(12)
        await reader.readexactly(struct.unpack(">i", head[16:])[0])
        host, _, election = self.address(j, i)
        address = f"{host}:{election}".encode()
        return head[:16] + struct.pack(">i", len(address)) + address

    async def _pump(self, pair, reader, writer, first):
        queue = asyncio.Queue(64)

        async def fill():
            if first:
                await queue.put((time.monotonic(), first))
            chunk = b"."
            while chunk:
                try:
                    chunk = await reader.read(CHUNK)
                except OSError:
                    chunk = b""
                await queue.put((time.monotonic(), chunk))

        filler = asyncio.create_task(fill())
        try:
            while True:
                came, chunk = await queue.get()
                wait = came + self.delays.get(pair, 0) - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                await self._open(pair)
                if not chunk:
                    raise ConnectionResetError("ended by one side")
                writer.write(chunk)
                await writer.drain()
        finally:
            filler.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await filler
