# SPDX-License-Identifier: Apache-2.0
"""Peers that flood or don't read: ended or held, counted, memory bounded, and every other connection served."""
import contextlib
import random
import socket
import threading
import time

import pytest

from lib import config, http1
from lib.h2_frames import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, POST, PREFACE,
                           PRIORITY, RST, SETTINGS, WINDOW, frame, parse)
from lib.http1 import read_response, request_bytes
from lib.streams import connect
from lib.wait import PATIENCE_S, wait_until

# Envoy moves the same counters but says no GOAWAY, and lets more pile up.
pytestmark = pytest.mark.weft_only

GROWTH_KIB = 24 << 10  # of a sanitizer build too, whose allocator holds freed memory back
QUARANTINE = {"ASAN_OPTIONS": "quarantine_size_mb=4:malloc_context_size=2"}
HELLO = PREFACE + frame(SETTINGS)


class Flooder:
    """Sends as long as the proxy takes it; reads on a thread of its own, or not at all."""

    def __init__(self, address, reads):
        self.stream = connect(address)
        self.stream.sock.settimeout(3)
        self.received = b""
        self.thread = threading.Thread(target=self.read_all, daemon=True)
        if reads:
            self.thread.start()

    def read_all(self):
        with contextlib.suppress(OSError):
            while data := self.stream.sock.recv(65536):
                self.received += data

    def send(self, first, more):
        """True when the proxy ended the connection, or stopped reading for good. A while after GOAWAY it
        takes and drops what comes, so that GOAWAY isn't lost to a reset."""
        end = time.monotonic() + PATIENCE_S
        with contextlib.suppress(OSError):
            self.stream.send(first)
            while time.monotonic() < end:
                self.stream.send(more() if callable(more) else more)
            return False
        return True

    def kinds(self):
        return [kind for kind, _, _, _ in parse(self.received)]

    def close(self):
        self.stream.close()


def rapid_resets():
    number = [1]

    def more():
        burst = b""
        for _ in range(200):
            burst += frame(HEADERS, END_STREAM | END_HEADERS, number[0], GET)
            burst += frame(RST, 0, number[0], b"\0\0\0\x08")
            number[0] += 2
        return burst
    return more


LITERAL = b"\0\x01a\x7f\x80\x01" + b"b" * 255  # a field of 256 bytes, not indexed
# name: what to send first, what over and over, whether to read meanwhile, the counter that must move
FLOODS = {
    "rapid-reset": (HELLO, rapid_resets, True, r"downstream_rq_too_many_premature_resets"),
    "continuation": (HELLO + frame(HEADERS, END_STREAM, 1, GET), frame(CONTINUATION, 0, 1, LITERAL) * 100, True,
                     r"http2.header_overflow"),
    "continuation-empty": (HELLO + frame(HEADERS, END_STREAM, 1, GET), frame(CONTINUATION, 0, 1) * 1000, True,
                           r"http2.(header_overflow|inbound_empty_frames_flood)"),
    "empty-data": (HELLO + frame(HEADERS, END_HEADERS, 1, POST), frame(DATA, 0, 1) * 1000, True,
                   r"http2.inbound_empty_frames_flood"),
    "priority": (HELLO, frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 1000, True, r"http2.inbound_priority_frames_flood"),
    "window-update": (HELLO + frame(HEADERS, END_HEADERS, 1, POST), frame(WINDOW, 0, 1, b"\0\0\0\1") * 1000, True,
                      r"http2.inbound_window_update_frames_flood"),
    "ping-unread": (HELLO, frame(PING, 0, 0, b"12345678") * 1000, False, r"http2.(outbound_control_flood|outbound_flood)"),
    "settings-unread": (PREFACE, frame(SETTINGS) * 1000, False, r"http2.(outbound_control_flood|outbound_flood)"),
}


def simple(port, **fields):
    return config.bootstrap([config.http_listener(**fields)], [config.cluster("origin", port)])


def moved(proxy, pattern):
    return sum(value for name, value in proxy.stats(f"({pattern})$").items())


@contextlib.contextmanager
def bystander(proxy):
    """Another connection gets its answers all the while, the last one at the end."""
    stop, answers = threading.Event(), []

    def ask():
        with connect(proxy.address()) as stream:
            while not stop.is_set():
                stream.send(request_bytes())
                answers.append(read_response(stream).status)
    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: answers, "the bystander's first answer")
    yield
    before = len(answers)
    wait_until(lambda: len(answers) > before or not thread.is_alive(), "the bystander's next answer")
    stop.set()
    thread.join()
    assert len(answers) > before and set(answers) == {200}


@pytest.mark.parametrize("name", FLOODS)
def test_http2_flood__ended_counted_and_bounded(start_proxy, origin, name):
    first, more, reads, counter = FLOODS[name]
    proxy = start_proxy(simple(origin.port), env=QUARANTINE)
    http1.fetch(proxy.address())
    before = proxy.memory_kib()
    flooder = Flooder(proxy.address(), reads)
    with bystander(proxy):
        assert flooder.send(first, more() if more is rapid_resets else more)
        wait_until(lambda: moved(proxy, counter) >= 1, f"{counter} to move")
        if reads:
            flooder.thread.join()
            assert GOAWAY in flooder.kinds()
    grown = proxy.memory_kib() - before
    flooder.close()
    assert grown < GROWTH_KIB, f"{grown} KiB more"
    proxy.wait_stat("http.in.downstream_cx_active", 0)
    proxy.wait_stat("http.in.downstream_rq_active", 0)


@pytest.mark.parametrize("body", [frame(SETTINGS, 0, 1), frame(DATA, 0, 0, b"x"), frame(HEADERS, END_HEADERS, 2, GET),
                                  frame(WINDOW, 0, 0, b"\0\0\0\0"), b"\xff" * 64, frame(HEADERS, END_HEADERS, 1, b"\xff" * 9),
                                  frame(PING, 0, 0, b"short"), frame(CONTINUATION, 0, 1, GET)],
                         ids=["settings-on-stream", "data-on-0", "even-stream", "window-0", "huge-frame", "bad-hpack",
                              "short-ping", "lone-continuation"])
def test_http2_rubbish__goaway_with_an_error(start_proxy, origin, body):
    proxy = start_proxy(simple(origin.port))
    with connect(proxy.address()) as stream:
        stream.send(HELLO + body)
        received = stream.read_to_end()
    last = [payload for kind, _, _, payload in parse(received) if kind == GOAWAY][-1]
    assert int.from_bytes(last[4:8], "big") != 0
    proxy.wait_stat("http.in.downstream_cx_active", 0)
    assert proxy.stat("http.in.downstream_cx_protocol_error") == 1
    assert http1.fetch(proxy.address()).status == 200


def test_http1_pipelining_without_reading__held_and_bounded(start_proxy, origin):
    proxy = start_proxy(simple(origin.port), env=QUARANTINE)
    http1.fetch(proxy.address())
    before = proxy.memory_kib()
    flooder = Flooder(proxy.address(), reads=False)
    with bystander(proxy):
        assert flooder.send(b"", request_bytes() * 100)  # times out: the proxy no longer reads
        assert proxy.memory_kib() - before < GROWTH_KIB
    flooder.close()
    proxy.wait_stat("http.in.downstream_cx_active", 0)


def path_request(number, path):
    return frame(HEADERS, END_STREAM | END_HEADERS, number, b"\x82\x86\x41\x01t\x04" + bytes([len(path)]) + path)


def endless(stream, _request):
    stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            stream.send(b"x" * 65536)
    stream.close()


@pytest.mark.parametrize("window", [0, (1 << 31) - 1], ids=["no-window", "all-the-window"])
def test_http2_downloads_unread__bounded(start_proxy, make_origin, window):
    """Fifty endless downloads that nobody reads: neither a shut window nor a wide one fills the proxy."""
    origin = make_origin(default=endless)
    ok = {"match": {"path": "/ok"}, "direct_response": {"status": 200}}
    proxy = start_proxy(simple(origin.port, routes=[ok, config.route()]), env=QUARANTINE)
    before = proxy.memory_kib()
    streams = b"".join(path_request(i, b"/big") for i in range(1, 101, 2))
    with connect(proxy.address()) as stream:
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        settings = frame(SETTINGS, 0, 0, b"\0\x04" + window.to_bytes(4, "big"))
        stream.send(PREFACE + settings + (frame(WINDOW, 0, 0, b"\x7f\0\0\0") if window else b"") + streams)
        origin.wait_for(50)
        seen = [-1]

        def has_settled():
            now = proxy.stat("cluster.origin.upstream_cx_rx_bytes_total")
            same, seen[0] = now == seen[0], now
            return same
        wait_until(has_settled, "the origin to be stopped")
        assert http1.fetch(proxy.address(), target="/ok").status == 200
        grown = proxy.memory_kib() - before
    # Each stream may hold the buffer limit's worth (1 MiB by default) on each side.
    assert grown < 50 * 2 * 1024 + GROWTH_KIB, f"{grown} KiB more"
    proxy.wait_stat("http.in.downstream_cx_active", 0)
    proxy.wait_stat("cluster.origin.upstream_rq_active", 0)


def test_tls_rubbish__counted_others_served(start_proxy, origin, ca):
    dice = random.Random(7)
    leaf = ca.issue("server", sans=["DNS:server.test"])
    proxy = start_proxy(config.bootstrap(
        [config.listener("tls", config.hcm(), tls=config.server_tls(leaf), stat_prefix="tls"), config.http_listener()],
        [config.cluster("origin", origin.port)]))
    hello = b"\x16\x03\x01"
    rubbish = [b"GET / HTTP/1.1\r\n\r\n", dice.randbytes(500), hello + b"\x02\0" + dice.randbytes(512),
               hello + b"\0\0", hello + b"\xff\xff" + b"\1" * 70000, b"\x15\x03\x01\0\x02\x02\x28", b"\x16\x03\x01\0\x05\x01\0\xff\xff\xff"]
    with connect(proxy.address("tls"), ca.client_context(), "server.test") as good:
        for data in rubbish:
            with connect(proxy.address("tls")) as bad:
                with contextlib.suppress(OSError):
                    bad.send(data)
                    bad.half_close()
                    bad.read_to_end()
            good.send(request_bytes())
            assert read_response(good).status == 200
    proxy.wait_stat("listener.tls.downstream_cx_active", 0)
    assert proxy.stat("listener.tls.ssl.connection_error") >= 5


def test_crowd_of_stalled_handshakes__costs_little(start_proxy, ca):
    leaf = ca.issue("server", sans=["DNS:server.test"])
    proxy = start_proxy(config.bootstrap([config.listener("tls", config.hcm(
        routes=[{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]), tls=config.server_tls(leaf))]),
        env=QUARANTINE)
    assert http1.fetch(proxy.address("tls"), tls=ca.client_context()).status == 200
    before = proxy.memory_kib()
    crowd = [connect(proxy.address("tls")) for _ in range(200)]
    for stream in crowd:
        stream.send(b"\x16\x03\x01\x02\x00\x01")
    assert http1.fetch(proxy.address("tls"), tls=ca.client_context()).status == 200
    assert proxy.memory_kib() - before < GROWTH_KIB
    for stream in crowd:
        stream.close()
