# SPDX-License-Identifier: Apache-2.0
"""The TCP proxy: bytes both ways, ends carried through one at a time, limits, TLS on either side, logs."""
import hashlib
import os

import pytest

from lib import config
from lib.proxy import log_lines
from lib.streams import connect, unused_port
from lib.tcp import TcpServer, echo, hold

SIDES = [(False, False), (True, False), (False, True), (True, True)]
SIDE_NAMES = ["raw-raw", "tls-raw", "raw-tls", "tls-tls"]


@pytest.fixture
def make_tcp(started):
    def make(*args, **kwargs):
        made = TcpServer(*args, **kwargs)
        return started.add(made, made.close)
    return make


def tcp_bootstrap(port, *, listener=None, cluster=None, tls=None, **filter_fields):
    return config.bootstrap(
        [config.listener("tcp", config.tcp_proxy(**filter_fields), tls=tls, **(listener or {}))],
        [config.cluster("origin", port, **(cluster or {}))])


class Pair:
    """A proxy between a client and a TCP server, TLS on the sides that are asked for."""

    def __init__(self, start_proxy, make_tcp, ca, sides, run, **filter_fields):
        leaf = ca.issue("server", sans=["DNS:localhost"])
        self.client_tls = ca.client_context() if sides[0] else None
        server = make_tcp(run, tls=ca.server_context(leaf) if sides[1] else None)
        self.server = server
        self.proxy = start_proxy(tcp_bootstrap(
            server.port,
            tls=config.server_tls(leaf) if sides[0] else None,
            cluster={"tls": config.client_tls(ca)} if sides[1] else None, **filter_fields))

    def connect(self):
        return connect(self.proxy.address("tcp"), tls=self.client_tls, server_name="localhost")


@pytest.mark.parametrize("sides", SIDES, ids=SIDE_NAMES)
def test_echo__small_and_large(start_proxy, make_tcp, ca, sides):
    pair = Pair(start_proxy, make_tcp, ca, sides, echo)
    with pair.connect() as stream:
        for size in (1, 10, 1000, 16384, 300000):
            data = os.urandom(size)
            stream.send(data)
            assert stream.read_exact(size) == data
    pair.proxy.wait_stat("tcp.tcp.downstream_cx_rx_bytes_total", 317395)
    pair.proxy.wait_stat("tcp.tcp.downstream_cx_tx_bytes_total", 317395)
    pair.proxy.wait_stat("cluster.origin.upstream_cx_active", 0)


@pytest.mark.parametrize("sides", SIDES, ids=SIDE_NAMES)
def test_download__bulk_arrives_whole(start_proxy, make_tcp, ca, sides):
    data = os.urandom(1 << 20) * 8

    def send_all(stream):
        stream.read_until(b"go")
        stream.send(data)
    pair = Pair(start_proxy, make_tcp, ca, sides, send_all)
    with pair.connect() as stream:
        stream.send(b"go")
        got = stream.read_exact(len(data))
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        assert stream.is_ended()


def test_half_close__client_ends_first__answer_still_comes(start_proxy, make_tcp):
    def answer_at_end(stream):
        got = stream.read_to_end()
        stream.send(b"you said " + got)
    server = make_tcp(answer_at_end)
    proxy = start_proxy(tcp_bootstrap(server.port))
    with connect(proxy.address("tcp")) as stream:
        stream.send(b"hello")
        stream.half_close()
        assert stream.read_to_end() == b"you said hello"


def test_half_close__server_ends_first__request_still_goes(start_proxy, make_tcp):
    received = []

    def end_then_read(stream):
        stream.send(b"bye")
        stream.half_close()
        received.append(stream.read_to_end())
    server = make_tcp(end_then_read)
    proxy = start_proxy(tcp_bootstrap(server.port))
    with connect(proxy.address("tcp")) as stream:
        assert stream.read_to_end() == b"bye"
        stream.send(b"late")
        stream.half_close()
        proxy.wait_stat("tcp.tcp.downstream_cx_rx_bytes_total", 4)
        proxy.wait_stat("cluster.origin.upstream_cx_active", 0)
    assert received == [b"late"]


def test_client_resets__upstream_is_closed(start_proxy, make_tcp):
    server = make_tcp(hold)
    proxy = start_proxy(tcp_bootstrap(server.port))
    stream = connect(proxy.address("tcp"))
    server.wait_for(1)
    proxy.wait_stat("cluster.origin.upstream_cx_active", 1)
    stream.reset()
    proxy.wait_stat("cluster.origin.upstream_cx_active", 0)
    proxy.wait_stat("listener.127.0.0.1_0.downstream_cx_active", 0)


def test_server_resets__client_is_closed(start_proxy, make_tcp):
    server = make_tcp(lambda stream: stream.read_until(b"x") and stream.reset())
    proxy = start_proxy(tcp_bootstrap(server.port))
    with connect(proxy.address("tcp")) as stream:
        stream.send(b"x")
        assert stream.is_ended()
    proxy.wait_stat("cluster.origin.upstream_cx_destroy_remote", 1)


def test_connect_refused__closed_logged_counted(start_proxy, tmp_path):
    log = tmp_path / "access"
    proxy = start_proxy(tcp_bootstrap(
        unused_port(), max_connect_attempts=2,
        access_log=[config.file_log(log, text_format="%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n")]))
    with connect(proxy.address("tcp")) as stream:
        assert stream.is_ended()
    proxy.wait_stat("cluster.origin.upstream_cx_connect_fail", 2)
    line = log_lines(log, 1)[0]
    assert line.startswith("UF,URX ")


def test_no_cluster_member__closed_with_UH(start_proxy, tmp_path):
    log = tmp_path / "access"
    boot = tcp_bootstrap(1, access_log=[config.file_log(log, text_format="%RESPONSE_FLAGS%\n")])
    boot["static_resources"]["clusters"][0]["load_assignment"]["endpoints"] = []
    proxy = start_proxy(boot)
    with connect(proxy.address("tcp")) as stream:
        assert stream.is_ended()
    assert log_lines(log, 1) == ["UH"]
    proxy.wait_stat("cluster.origin.upstream_cx_none_healthy", 1)


def test_idle_timeout__closed_and_counted(start_proxy, make_tcp):
    server = make_tcp(echo)
    proxy = start_proxy(tcp_bootstrap(server.port, idle_timeout="0.2s"))
    with connect(proxy.address("tcp")) as stream:
        stream.send(b"ping")
        assert stream.read_exact(4) == b"ping"
        assert stream.is_ended()
    proxy.wait_stat("tcp.tcp.idle_timeout", 1)


def test_max_duration__closed_and_counted(start_proxy, make_tcp):
    server = make_tcp(echo)
    proxy = start_proxy(tcp_bootstrap(server.port, max_downstream_connection_duration="0.2s"))
    with connect(proxy.address("tcp")) as stream:
        assert stream.is_ended()
    proxy.wait_stat("tcp.tcp.max_downstream_connection_duration", 1)


def test_weighted_clusters__both_are_used(start_proxy, make_tcp):
    one, two = make_tcp(lambda s: s.send(b"1")), make_tcp(lambda s: s.send(b"2"))
    tcp = config.tcp_proxy()
    del tcp["typed_config"]["cluster"]
    tcp["typed_config"]["weighted_clusters"] = {"clusters": [{"name": "one", "weight": 1}, {"name": "two", "weight": 1}]}
    proxy = start_proxy(config.bootstrap([config.listener("tcp", tcp)],
                                         [config.cluster("one", one.port), config.cluster("two", two.port)]))
    seen = set()
    for _ in range(200):
        with connect(proxy.address("tcp")) as stream:
            seen.add(stream.read_exact(1))
        if len(seen) == 2:
            break
    assert seen == {b"1", b"2"}


def test_back_pressure__a_client_that_does_not_read__stops_the_server(start_proxy, make_tcp, ca):
    """Over TLS, where bytes pass through our queues: memory stays bounded and everything arrives."""
    total = 64 << 20

    def flood(stream):
        stream.send(b"z" * total)
    pair = Pair(start_proxy, make_tcp, ca, (True, False), flood)
    with pair.connect() as stream:
        stream.read_exact(1)
        pair.proxy.wait_stat("cluster.origin.upstream_flow_control_paused_reading_total", 1, exactly=False)
        assert pair.proxy.memory_kib() < 64 << 10 or "asan" in os.environ.get("WEFT_BUILD", "")
        got = 1
        while got < total:
            got += len(stream.read_exact(min(1 << 20, total - got)))
        assert stream.is_ended()


def test_circuit_breaker__connections_past_the_limit_are_closed_with_UO(start_proxy, make_tcp, tmp_path):
    log = tmp_path / "access"
    server = make_tcp(echo)
    proxy = start_proxy(tcp_bootstrap(
        server.port, cluster={"circuit_breakers": {"thresholds": [{"max_connections": 1}]}},
        access_log=[config.file_log(log, text_format="%RESPONSE_FLAGS%\n")]))
    with connect(proxy.address("tcp")) as first:
        first.send(b"a")
        assert first.read_exact(1) == b"a"
        with connect(proxy.address("tcp")) as second:
            assert second.is_ended()
    assert log_lines(log, 2) == ["UO", "-"]
    proxy.wait_stat("cluster.origin.upstream_cx_overflow", 1)


PROXY = config.TYPE + "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
UPSTREAM_PROXY = config.TYPE + "extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
RAW = config.TYPE + "extensions.transport_sockets.raw_buffer.v3.RawBuffer"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxy_transport(**fields):
    return {"transport_socket": {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": {
        "@type": UPSTREAM_PROXY, "config": fields,
        "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": RAW}}}}}


def test_proxy_protocol__addresses_and_tlvs_are_passed_on(start_proxy, make_tcp):
    got = []
    server = make_tcp(lambda stream: got.append(stream.read_exact(16 + 12 + 5 + 2)))
    keep = {"match_type": "INCLUDE", "tlv_type": [0xea]}
    proxy = start_proxy(tcp_bootstrap(
        server.port, cluster=proxy_transport(version="V2", pass_through_tlvs=keep),
        listener={"listener_filters": [{"name": "envoy.filters.listener.proxy_protocol",
                                        "typed_config": {"@type": PROXY, "pass_through_tlvs": keep}}]}))
    addresses = bytes([9, 8, 7, 6, 5, 4, 3, 2, 4, 210, 0, 80])
    tlvs = b"\x01\x00\x02h2" + b"\xea\x00\x02vx"
    with connect(proxy.address("tcp")) as stream:
        stream.send(SIGNATURE + b"\x21\x11\x00\x16" + addresses + tlvs + b"hi")
        assert stream.is_ended()
    assert got == [SIGNATURE + b"\x21\x11\x00\x11" + addresses + tlvs[5:] + b"hi"]
