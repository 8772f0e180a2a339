# SPDX-License-Identifier: Apache-2.0
"""DNS queries and answers as bytes, asking over UDP and TCP, and istiod's NameTable in Protobuf's wire form."""
import random
import socket
import struct
import threading
from dataclasses import dataclass, field

from lib.dns import A, AAAA, DnsServer
from lib.wait import PATIENCE_S

CNAME, SOA, TXT, OPT = 5, 6, 16, 41
FORMERR, NOTIMP, REFUSED = 1, 4, 5


def wire_name(text):
    labels = [label.encode() for label in text.rstrip(".").split(".") if label]
    return b"".join(bytes([len(one)]) + one for one in labels) + b"\0"


def query(name, kind=A, qid=None, edns=None, options=b"", flags=0x0100):
    """`edns`: the size that the client takes; None: no OPT record."""
    qid = random.getrandbits(16) if qid is None else qid
    head = struct.pack("!HHHHHH", qid, flags, 1, 0, 0, 0 if edns is None else 1)
    opt = b"" if edns is None else b"\0" + struct.pack("!HHIH", OPT, edns, 0, len(options)) + options
    return head + wire_name(name) + struct.pack("!HH", kind, 1) + opt


@dataclass
class Answer:
    packet: bytes
    qid: int = 0
    flags: int = 0
    questions: list = field(default_factory=list)   # (name, type)
    sections: list = field(default_factory=list)    # answers, authorities, additional: (name, type, ttl, data)

    def __post_init__(self):
        self.qid, self.flags, *counts = struct.unpack("!HHHHHH", self.packet[:12])
        at = 12
        for _ in range(counts[0]):
            name, at = self.name(at)
            self.questions.append((name, struct.unpack("!H", self.packet[at:at + 2])[0]))
            at += 4
        for count in counts[1:]:
            self.sections.append([])
            for _ in range(count):
                record, at = self.record(at)
                self.sections[-1].append(record)
        assert at == len(self.packet)

    def name(self, at):
        labels, end = [], None
        while self.packet[at]:
            if self.packet[at] >= 0xc0:
                end = end or at + 2
                at = struct.unpack("!H", self.packet[at:at + 2])[0] & 0x3fff
                continue
            labels.append(self.packet[at + 1:at + 1 + self.packet[at]].decode())
            at += 1 + self.packet[at]
        return ".".join(labels), end or at + 1

    def record(self, at):
        name, at = self.name(at)
        kind, _, ttl, n = struct.unpack("!HHIH", self.packet[at:at + 10])
        data = self.packet[at + 10:at + 10 + n]
        if kind in (A, AAAA):
            data = socket.inet_ntop(socket.AF_INET if kind == A else socket.AF_INET6, data)
        elif kind == CNAME:
            data = self.name(at + 10)[0]
        return (name, kind, ttl, data), at + 10 + n

    @property
    def rcode(self):
        return self.flags & 15

    @property
    def is_cut(self):
        return bool(self.flags & 0x0200)

    @property
    def is_authority(self):
        return bool(self.flags & 0x0400)

    @property
    def answers(self):
        return self.sections[0]

    def addresses(self, kind=A):
        return [data for _, one, _, data in self.answers if one == kind]


def udp_socket(host="127.0.0.1"):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE_S)
    return made


def ask(port, name, kind=A, host="127.0.0.1", **options):
    """Over UDP."""
    packet = query(name, kind, **options)
    with udp_socket(host) as sock:
        sock.connect((host, port))
        sock.send(packet)
        answer = Answer(sock.recv(65536))
    assert answer.qid == struct.unpack("!H", packet[:2])[0]
    assert answer.flags & 0x8000
    return answer


class TcpClient:
    def __init__(self, port, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout=PATIENCE_S)

    def send(self, *packets):
        self.sock.sendall(b"".join(struct.pack("!H", len(one)) + one for one in packets))

    def exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def receive(self):
        return Answer(self.exactly(struct.unpack("!H", self.exactly(2))[0]))

    def ask(self, name, kind=A, **options):
        self.send(query(name, kind, **options))
        return self.receive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


class Upstream(DnsServer):
    """Over TCP too. `change(answer, peer)` may turn an answer by UDP into others (a list of packets); `soa` gives answers without
    records an authority, with that TTL."""

    def __init__(self, **names):
        self.change = None
        self.soa = None
        self.by_tcp = []
        self.silent = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(port=self.listener.getsockname()[1], **names)
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def serve(self):
        while True:
            try:
                packet, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            if not packet:
                return
            answer = self.answer(packet)
            for one in self.change(answer, peer) if self.change and answer else [answer] if answer else []:
                self.sock.sendto(one, peer)

    def answer(self, query):
        made = super().answer(query)
        if made and self.soa is not None and made[6:8] == b"\0\0":
            data = wire_name("ns.test") + wire_name("root.test") + struct.pack("!IIIII", 1, 2, 3, 4, self.soa)
            made = made[:8] + b"\0\1" + made[10:] + wire_name("test") + struct.pack("!HHIH", SOA, 1, self.soa, len(data)) + data
        return made

    def serve_tcp(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            conn.settimeout(PATIENCE_S)
            packet = conn.recv(4096)[2:]  # which comes in one piece, or (given up) not at all
            if not packet:
                conn.close()
                continue
            self.by_tcp.append(packet)
            answer = self.answer(packet)
            if answer:
                conn.sendall(struct.pack("!H", len(answer)) + answer)
                conn.close()
            else:
                self.silent.append(conn)

    def close(self):
        for conn in self.silent:
            conn.close()
        self.listener.shutdown(socket.SHUT_RDWR)  # closing alone doesn't wake accept
        self.listener.close()
        super().close()


# ---- NameTable ----

def _bytes_field(number, data):
    n, length = len(data), b""
    while n >= 0x80:
        length, n = length + bytes([n & 0x7f | 0x80]), n >> 7
    return bytes([number << 3 | 2]) + length + bytes([n]) + data


def name_table(hosts):
    """host -> addresses, or (addresses, short name, namespace) of one of Kubernetes."""
    table = b""
    for host, said in hosts.items():
        ips, short, namespace = said if isinstance(said, tuple) else (said, "", "")
        info = b"".join(_bytes_field(1, ip.encode()) for ip in ips) + _bytes_field(2, b"Kubernetes" if short else b"External")
        if short:
            info += _bytes_field(3, short.encode()) + _bytes_field(4, namespace.encode())
        table += _bytes_field(1, _bytes_field(1, host.encode()) + _bytes_field(2, info))
    return table
