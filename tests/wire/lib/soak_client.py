# SPDX-License-Identifier: Apache-2.0
"""The soak test's clients, a process of its own: a JSON plan on stdin, a JSON result on stdout.

Every connection slot reconnects until the time is up. One slot in a hundred misbehaves; the others
check each answer, and whatever goes wrong on them is a failure. The plan may name statuses that are
fine (`fine`: faults and limits that the proxy is told to make), and ask for gzip.
"""
import asyncio
import collections
import json
import random
import ssl
import sys
import time
import traceback
import zlib

import h2.config
import h2.connection
import h2.events

import soak_misbehave

REQUEST_LIMIT_S = 60


class Failed(Exception):
    pass


class Http1:
    def __init__(self, reader, writer, headers=()):
        self.reader, self.writer = reader, writer
        self.fields = "".join(f"{name}: {value}\r\n" for name, value in headers)

    async def read_body(self, answer):
        if "transfer-encoding: chunked" not in answer:
            return await self.reader.readexactly(int(answer.split("content-length:")[1].split("\r\n")[0]))
        body, size = b"", 1
        while size:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            body += (await self.reader.readexactly(size + 2))[:-2]
        return body

    async def exchange(self, path, body):
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: soak.test\r\n{self.fields}"
        head += f"Content-Length: {len(body)}\r\n" if body else ""
        self.writer.write(head.encode() + b"\r\n" + body)
        await self.writer.drain()
        answer = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(answer.split(" ", 2)[1])
        if "content-length:" not in answer and "transfer-encoding: chunked" not in answer:
            raise Failed(f"no length: {answer!r}")
        body = await self.read_body(answer)
        return status, zlib.decompress(body, 31) if "content-encoding: gzip" in answer else body


class Http2:
    def __init__(self, reader, writer, headers=()):
        self.reader, self.writer = reader, writer
        self.headers, self.is_gzip = list(headers), False
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, validate_inbound_headers=False))
        self.conn.initiate_connection()
        self.status, self.body, self.is_over = 0, b"", False

    async def exchange(self, path, body):
        stream = self.conn.get_next_available_stream_id()
        self.status, self.body, self.is_over = 0, b"", False
        self.conn.send_headers(stream, [(":method", "POST" if body else "GET"), (":scheme", "http"),
                                        (":authority", "soak.test"), (":path", path), *self.headers], end_stream=not body)
        while body:
            room = min(self.conn.local_flow_control_window(stream), self.conn.max_outbound_frame_size)
            if room:
                self.conn.send_data(stream, body[:room], end_stream=room >= len(body))
                body = body[room:]
            else:
                await self.pump()
        while not self.is_over:
            await self.pump()
        return self.status, zlib.decompress(self.body, 31) if self.is_gzip else self.body

    async def pump(self):
        self.writer.write(self.conn.data_to_send())
        await self.writer.drain()
        data = await self.reader.read(65536)
        if not data:
            raise Failed("HTTP/2 connection ended in a request")
        for event in self.conn.receive_data(data):
            self.on_event(event)
        self.writer.write(self.conn.data_to_send())

    def on_event(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            named = dict(event.headers)
            self.status, self.is_gzip = int(named[b":status"]), named.get(b"content-encoding") == b"gzip"
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.is_over = True
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            raise Failed(f"{event!r}")


class Soak:
    def __init__(self, plan):
        self.plan = plan
        self.rng = random.Random(plan["seed"])
        self.end = 0
        self.open = self.peak = 0
        self.counts, self.failures = collections.Counter(), []
        self.context = ssl.create_default_context(cafile=plan["ca"])
        self.context.check_hostname = False
        # Handshakes come in a crowd at the beginning: as many at a time as the machine carries.
        self.handshakes = asyncio.Semaphore(200)

    def is_on(self):
        return time.monotonic() < self.end

    async def connect(self, tls, is_h2):
        context = None
        if tls:
            context = self.context_h2 if is_h2 else self.context
        async with self.handshakes:
            reader, writer = await asyncio.open_connection(
                *self.plan["tls" if tls else "clear"], ssl=context, limit=1 << 20,
                **({"ssl_handshake_timeout": REQUEST_LIMIT_S} if tls else {}))
        return (Http2 if is_h2 else Http1)(reader, writer, self.plan.get("headers", ()))

    @property
    def context_h2(self):
        if not hasattr(self, "made_h2"):
            self.made_h2 = ssl.create_default_context(cafile=self.plan["ca"])
            self.made_h2.check_hostname = False
            self.made_h2.set_alpn_protocols(["h2"])
        return self.made_h2

    def pick(self):
        """(path, body, expected answer): mostly small, some uploads, some downloads."""
        road = self.rng.choice(("", "", "/h2"))
        kind = self.rng.random()
        if kind < 0.7:
            return road + "/bytes/100", b"", b"x" * 100
        size = self.rng.randint(1, 100000)
        if kind < 0.85:
            return road + "/upload", b"u" * size, b"%d" % size
        return f"{road}/bytes/{size}", b"", b"x" * size

    async def one(self, client):
        path, body, expected = self.pick()
        status, answer = await asyncio.wait_for(client.exchange(path, body), REQUEST_LIMIT_S)
        if status in self.plan.get("fine", ()):
            self.counts[f"status_{status}"] += 1
        elif status != 200 or answer != expected:
            raise Failed(f"{path} with {len(body)}: {status}, {len(answer)} bytes {answer[:80]!r}")
        self.counts["requests"] += 1

    async def connection(self, tls, is_h2):
        client = await self.connect(tls, is_h2)
        self.open += 1
        self.peak = max(self.peak, self.open)
        self.counts["connections"] += 1
        try:
            while self.is_on():
                await self.one(client)
                if self.rng.random() < self.plan["reconnect"]:
                    return
                await asyncio.sleep(self.rng.uniform(0, 2 * self.plan["think_s"]))
        finally:
            self.open -= 1
            client.writer.transport.abort()

    async def good_slot(self):
        tls, is_h2 = self.rng.random() < 0.25, self.rng.random() < 0.4
        while self.is_on():
            try:
                await self.connection(tls, is_h2)
            except Exception as error:  # pylint: disable=broad-except
                self.failures.append(f"tls={tls} h2={is_h2}: {type(error).__name__}: {error} "
                                     f"{traceback.extract_tb(error.__traceback__)[-1].name}")
                await asyncio.sleep(0.5)

    async def bad_slot(self):
        while self.is_on():
            act = self.rng.choice(soak_misbehave.ALL)
            address = self.plan["tls" if self.rng.random() < 0.2 else "clear"]
            self.counts["misbehaved"] += 1
            try:
                await act(tuple(address), self.rng)
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                pass  # the proxy has closed on it
            await asyncio.sleep(0.05)

    async def run(self):
        count = self.plan["connections"]
        self.end = time.monotonic() + self.plan["seconds"]
        slots = [self.bad_slot() if i % 100 == 50 else self.good_slot() for i in range(count)]
        await asyncio.gather(*slots)
        return {**self.counts, "peak": self.peak, "failed": len(self.failures), "failures": self.failures[:20]}


async def main():
    print(json.dumps(await Soak(json.load(sys.stdin)).run()))


asyncio.run(main())
