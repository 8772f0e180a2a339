# SPDX-License-Identifier: Apache-2.0
"""What the soak test's bad peers do with a connection to the proxy. Each takes (address, rng).

They end when the proxy closes, or after a few seconds; that the proxy closes on them isn't asked here.
"""
import asyncio
import contextlib
import socket
import struct

from h2_frames import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PING, POST, PREFACE, PRIORITY, RST,
                       SETTINGS, frame)

STALL_S = 3


async def read_until_closed(reader, limit_s=STALL_S):
    async def drain():
        while await reader.read(65536):
            pass
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(drain(), limit_s)


def reset(writer):
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(address, limit=65536):
    reader, writer = await asyncio.open_connection(*address, limit=limit)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def say(address, *pieces):
    """Sends, and reads at the same time so that neither side waits for the other."""
    async with connected(address) as (reader, writer):
        reading = asyncio.ensure_future(read_until_closed(reader))
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), STALL_S)
            await reading
        finally:
            reading.cancel()


async def rubbish(address, rng):
    await say(address, rng.randbytes(rng.randint(1, 4000)))


async def rubbish_in_h2(address, rng):
    await say(address, PREFACE + frame(SETTINGS) + rng.randbytes(rng.randint(9, 2000)))


async def half_head(address, rng):
    head = b"GET / HTTP/1.1\r\nHost: t\r\nX-Long: " + b"a" * 300
    await say(address, head[:rng.randint(1, len(head))])


async def half_body_then_reset(address, rng):
    async with connected(address) as (_, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n" + b"b" * rng.randint(0, 50000))
        await asyncio.sleep(rng.random())
        reset(writer)


async def never_reads(address, _rng):
    async with connected(address, limit=1024) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(b"GET /bytes/4000000 HTTP/1.1\r\nHost: t\r\n\r\n" * 3)
        await asyncio.sleep(STALL_S)
        with contextlib.suppress(OSError, RuntimeError):
            writer.transport.resume_reading()
            await asyncio.wait_for(reader.read(10000), 1)
        reset(writer)


async def download_then_reset(address, rng):
    async with connected(address) as (reader, writer):
        writer.write(b"GET /bytes/1000000 HTTP/1.1\r\nHost: t\r\n\r\n")
        await asyncio.wait_for(reader.read(rng.randint(1, 100000)), STALL_S)
        reset(writer)


async def smuggle(address, _rng):
    await say(address, b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG")


async def rapid_reset(address, rng):
    burst = b"".join(frame(HEADERS, END_STREAM | END_HEADERS, i, GET) + frame(RST, 0, i, b"\0\0\0\x08")
                     for i in range(1, 1 + 2 * rng.randint(10, 2000), 2))
    await say(address, PREFACE + frame(SETTINGS), burst)


async def ping_flood(address, rng):
    await say(address, PREFACE + frame(SETTINGS), *[frame(PING, 0, 0, b"12345678") * 1000] * rng.randint(1, 30))


async def settings_flood(address, rng):
    await say(address, PREFACE, *[frame(SETTINGS) * 1000] * rng.randint(1, 30))


async def empty_data_flood(address, _rng):
    await say(address, PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, POST), frame(DATA, 0, 1) * 5000)


async def priority_flood(address, _rng):
    await say(address, PREFACE + frame(SETTINGS), frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 20000)


async def continuation_flood(address, _rng):
    await say(address, PREFACE + frame(SETTINGS) + frame(HEADERS, END_STREAM, 1, GET),
              *[frame(CONTINUATION, 0, 1, b"\0\x01a\x7f\x80\x01" + b"b" * 255)] * 3000)


async def window_of_nothing(address, rng):
    """Asks for much and opens no window."""
    path = b"/bytes/500000"
    head = b"\x82\x86\x41\x01t\x04" + bytes([len(path)]) + path
    streams = b"".join(frame(HEADERS, END_STREAM | END_HEADERS, i, head) for i in range(1, 2 * rng.randint(1, 30), 2))
    await say(address, PREFACE + frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0") + streams)


ALL = (rubbish, rubbish_in_h2, half_head, half_body_then_reset, never_reads, download_then_reset, smuggle,
       rapid_reset, ping_flood, settings_flood, empty_data_flood, priority_flood, continuation_flood,
       window_of_nothing)
