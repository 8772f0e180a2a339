# SPDX-License-Identifier: Apache-2.0
"""A DNS server over UDP (RFC 1035) that answers what a test says at the moment."""
import socket
import struct
import threading

A, AAAA = 1, 28
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


class DnsServer:
    """`names`: name -> addresses (text, either family), or an rcode, or None for silence. Names that
    aren't in it don't exist. Change it at any time through set()."""

    def __init__(self, ttl=1, port=0, **names):
        self.names = {}
        self.ttl = ttl
        self.queries = []
        self.lock = threading.Lock()
        for name, answer in names.items():
            self.set(f"{name}.test", answer)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", port))
        self.port = self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def set(self, name, answer):
        with self.lock:
            self.names[name] = answer

    def asked(self, name, kind=A):
        with self.lock:
            return self.queries.count((name, kind))

    def serve(self):
        while True:
            try:
                query, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            if not query:
                return
            answer = self.answer(query)
            if answer:
                self.sock.sendto(answer, peer)

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind, _ = struct.unpack("!HH", query[at + 1:at + 5])
        question, name = query[12:at + 5], ".".join(labels)
        with self.lock:
            self.queries.append((name, kind))
            found = self.names.get(name, NXDOMAIN)
        if found is None:
            return None
        rcode, addresses = (found, []) if isinstance(found, int) else (NOERROR, found)
        records = [self.record(text) for text in addresses if (":" in text) == (kind == AAAA)]
        if kind not in (A, AAAA):
            records = []
        head = struct.pack("!HHHHHH", struct.unpack("!H", query[:2])[0], 0x8580 | rcode, 1, len(records), 0, 0)
        return head + question + b"".join(records)

    def record(self, text):
        is_v6 = ":" in text
        data = socket.inet_pton(socket.AF_INET6 if is_v6 else socket.AF_INET, text)
        return b"\xc0\x0c" + struct.pack("!HHIH", AAAA if is_v6 else A, 1, self.ttl, len(data)) + data

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))  # closing alone doesn't wake recvfrom
        self.thread.join(10)
        self.sock.close()
