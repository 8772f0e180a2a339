# SPDX-License-Identifier: Apache-2.0
"""A DNS server whose one name has a thousand loopback addresses, another thousand each second.

UDP answers say "truncated": so many records take TCP. Both listen on one port of 127.0.0.1."""
import socket
import struct
import threading
import time

HOSTS, POOL = 1000, 1250  # of a pool's addresses, so many at a time


def pool():
    return [f"127.0.{1 + i // 250}.{1 + i % 250}" for i in range(POOL)]


# Rendered once: the server shares a core with the load, whose latencies it must not stretch.
RECORDS = 2 * b"".join(struct.pack("!HHHIH", 0xc00c, 1, 1, 1, 4) + socket.inet_aton(a) for a in pool())
RECORD_BYTES = 16


def present():
    """A window over the pool, moved by one host each second."""
    first = int(time.monotonic()) % POOL
    return RECORDS[RECORD_BYTES * first:RECORD_BYTES * (first + HOSTS)]


def answer(query, truncated):
    end = query.index(0, 12) + 5  # name, type, class
    is_a = query[end - 4:end - 2] == b"\0\1"
    records = present() if is_a and not truncated else b""
    flags = 0x8180 | (0x0200 if truncated and is_a else 0)
    head = query[:2] + struct.pack("!HHHHH", flags, 1, len(records) // RECORD_BYTES, 0, 0)
    return head + query[12:end] + records


class Server:
    def __init__(self):
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        for run in (self._udp, self._tcp):
            threading.Thread(target=run, daemon=True).start()

    def _udp(self):
        while True:
            query, peer = self.udp.recvfrom(4096)
            self.udp.sendto(answer(query, True), peer)

    def _tcp(self):
        while True:
            conn, _ = self.tcp.accept()
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    @staticmethod
    def _serve(conn):
        with conn, conn.makefile("rb") as f:
            while len(head := f.read(2)) == 2:
                text = answer(f.read(struct.unpack("!H", head)[0]), False)
                conn.sendall(struct.pack("!H", len(text)) + text)
