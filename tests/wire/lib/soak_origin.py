# SPDX-License-Identifier: Apache-2.0
"""The soak test's origin, a process of its own: prints its port, then answers until stdin ends.

A request's path says what it gets: `/bytes/N` is N bytes, anything else the length of its own body. With
the argument `flaky` some requests get a 503, and some the connection's end.
"""
import asyncio
import random
import sys

IS_FLAKY = sys.argv[1:] == ["flaky"]


async def read_head(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    return head.split(" ", 2)[1], head


async def read_body(reader, head):
    if "transfer-encoding: chunked" in head:
        size, total = 1, 0
        while size:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            await reader.readexactly(size + 2)
            total += size
        return total
    if "content-length:" not in head:
        return 0
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    await reader.readexactly(length)
    return length


async def serve(reader, writer):
    try:
        while True:
            path, head = await read_head(reader)
            received = await read_body(reader, head)
            chance = random.random() if IS_FLAKY else 1
            if chance < 0.01:
                return
            if chance < 0.03:
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                continue
            body = b"x" * int(path.rsplit("/", 1)[1]) if "/bytes/" in path else b"%d" % received
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
