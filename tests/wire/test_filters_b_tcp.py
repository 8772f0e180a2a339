# SPDX-License-Identifier: Apache-2.0
"""What tcp_proxy may do beyond joining two connections: hashing, waiting, backing off, tunnels; beside Envoy."""
import time

import h2.events

import pytest

from lib import config, http1
from lib.http2 import H2Origin, _OriginConnection, text
from lib.pairs import Two
from lib.streams import Closed, connect, unused_port
from lib.tcp import TcpServer, echo


@pytest.fixture
def start_two(start_proxy):
    def start(*filters, clusters=()):
        return Two(start_proxy, config.bootstrap([config.listener("tcp", *filters)], clusters))
    return start


@pytest.fixture
def make_server(started):
    def make(run):
        return started.add(server := TcpServer(run), server.close)
    return make


def hear(proxy, say=b""):
    try:
        with connect(proxy.address("tcp")) as stream:
            if say:
                stream.send(say)
            return stream.read_to_end()
    except (Closed, OSError):
        return b"closed"


def answer_first(text):
    """Says its name once it has heard something."""
    def run(stream):
        stream.fill()
        stream.send(text + b":" + stream.buffer)
    return run


@pytest.mark.parametrize("policy", [{"source_ip": {}}, {"filter_state": {"key": "my.hash"}}])
def test_connections_are_hashed(start_two, make_server, policy):
    servers = [make_server(lambda s, n=n: s.send(b"%d" % n)) for n in range(5)]
    state = {"name": "envoy.filters.network.set_filter_state", "typed_config": {
        "@type": config.TYPE + "extensions.filters.network.set_filter_state.v3.Config", "on_new_connection": [
            {"object_key": "my.hash", "factory_key": "envoy.hashable_string",
             "format_string": {"text_format_source": {"inline_string": "always the same"}}}]}}
    two = start_two(state, config.tcp_proxy("ring", hash_policy=[policy]),
                    clusters=[config.cluster("ring", *(s.port for s in servers), lb_policy="RING_HASH")])
    for proxy in (two.envoy, two.weft):
        assert len({hear(proxy) for _ in range(6)}) == 1
    two.same(hear)


def test_an_upstream_is_connected_once_there_is_data(start_two, make_server):
    server = make_server(answer_first(b"up"))
    two = start_two(config.tcp_proxy("up", upstream_connect_mode="ON_DOWNSTREAM_DATA", max_early_data_bytes=1024),
                    clusters=[config.cluster("up", server.port)])
    for proxy in (two.envoy, two.weft):
        with connect(proxy.address("tcp")) as stream:
            proxy.wait_stat("tcp.tcp.downstream_cx_total", 1)
            assert proxy.stat("cluster.up.upstream_cx_total") == 0
            stream.send(b"hello")
            assert stream.read_exact(8) == b"up:hello"
    two.same_stats(r"cluster.up.upstream_cx_total|tcp.tcp.downstream_cx_total")


def test_attempts_are_spaced(start_two):
    more = {"max_connect_attempts": 3, "backoff_options": {"base_interval": "0.2s", "max_interval": "0.2s"}}
    two = start_two(config.tcp_proxy("none", **more), clusters=[config.cluster("none", unused_port(), unused_port())])
    for proxy in (two.envoy, two.weft):
        started_at = time.monotonic()
        assert hear(proxy) in (b"", b"closed")
        assert time.monotonic() - started_at < 5
    two.same_stats(r"cluster.none.upstream_cx_(connect_fail|connect_attempts_exceeded|total)")


def test_a_life_may_be_longer_by_chance(start_two, make_server):
    server = make_server(lambda s: s.read_to_end())
    two = start_two(config.tcp_proxy("up", max_downstream_connection_duration="0.1s",
                                     max_downstream_connection_duration_jitter_percentage={"value": 50}),
                    clusters=[config.cluster("up", server.port)])
    two.same(hear)
    two.same_stats("max_downstream_connection_duration")


# ---- tunnels ----

def connect_server(stream):
    """A proxy for CONNECT: answers, then echoes."""
    head = http1.read_head(stream)
    heads.append((head.start, sorted((n.lower(), v) for n, v in head.headers)))
    if "refuse" in head.start:
        stream.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        return
    stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
    if stream.buffer:
        data, stream.buffer = stream.buffer, b""
        stream.send(data)
    echo(stream)


heads = []


def talk(proxy, data):
    try:
        with connect(proxy.address("tcp")) as stream:
            stream.send(data)
            return stream.read_exact(len(data))
    except (Closed, OSError):
        return b"closed"


@pytest.mark.parametrize("hostname", ["host.example:443", "from-%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%:80", "refuse:1"])
def test_a_tunnel_through_connect(start_two, make_server, hostname):
    server = make_server(connect_server)
    tunnel = {"hostname": hostname, "headers_to_add": [{"header": {"key": "x-more", "value": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"}}]}
    two = start_two(config.tcp_proxy("up", tunneling_config=tunnel), clusters=[config.cluster("up", server.port)])

    def ask(proxy):
        heads.clear()
        return talk(proxy, b"x" * 300000), list(heads)
    answer = two.same(ask)[0]
    assert answer == (b"closed" if "refuse" in hostname else b"x" * 300000)
    two.same_stats(r"tcp.tcp.downstream_cx_total|cluster.up.upstream_rq_total")


@pytest.mark.parametrize("more", [{}, {"use_post": True, "post_path": "/tunnel"}], ids=["connect", "post"])
def test_a_tunnel_through_http2(start_two, started, more):
    class Echo(H2Origin):
        pass
    origin = Echo()
    started.add(origin, origin.close)
    seen_heads = []

    def on_event(self, event, plain=_OriginConnection.on_event):
        if isinstance(event, h2.events.RequestReceived):
            seen_heads.append(sorted(text(event.headers)))
            self.conn.send_headers(event.stream_id, [(":status", "200")])
            self.flush()
        elif isinstance(event, h2.events.DataReceived):
            self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.conn.send_data(event.stream_id, event.data, end_stream=event.stream_ended is not None)
            self.flush()
        else:
            plain(self, event)
    keep, _OriginConnection.on_event = _OriginConnection.on_event, on_event
    started.add(None, lambda: setattr(_OriginConnection, "on_event", keep))
    two = start_two(config.tcp_proxy("up", tunneling_config={"hostname": "h:1", **more}),
                    clusters=[config.cluster("up", origin.port, http2=True)])

    def ask(proxy):
        seen_heads.clear()
        return talk(proxy, b"y" * 30000), list(seen_heads)
    assert two.same(ask)[0] == b"y" * 30000


def test_sessions_go_to_their_subset(start_two, make_server):
    servers = {v: make_server(lambda s, v=v: s.send(v.encode())) for v in ("v1", "v2")}
    endpoints = [{"endpoint": {"address": config.socket_address(port=server.port)},
                  "metadata": {"filter_metadata": {"envoy.lb": {"version": v, "all": "yes"}}}} for v, server in servers.items()]
    up = config.cluster("up", lb_subset_config={"fallback_policy": "NO_FALLBACK", "subset_selectors": [
        {"keys": ["version"]}, {"keys": ["all", "version"]}]})
    up["load_assignment"]["endpoints"][0]["lb_endpoints"] = endpoints

    def match(**keys):
        return {"filter_metadata": {"envoy.lb": keys}}
    weighted = {"clusters": [{"name": "up", "weight": 1, "metadata_match": match(version="v2")}]}
    for fields, want in (({"cluster": "up", "metadata_match": match(version="v1")}, b"v1"),
                         ({"cluster": "up", "metadata_match": match(version="v3")}, b""),
                         ({"weighted_clusters": weighted, "metadata_match": match(version="v1", all="yes")}, b"v2")):
        filter_ = config.tcp_proxy("up")
        del filter_["typed_config"]["cluster"]
        filter_["typed_config"].update(fields)
        two = start_two(filter_, clusters=[up])
        for _ in range(3):
            assert two.same(lambda p: hear(p).replace(b"closed", b"")) == want
