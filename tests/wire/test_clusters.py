# SPDX-License-Identifier: Apache-2.0
"""Clusters: who gets a request, health and priorities, several addresses of one host, bind addresses,
protocols, ORIGINAL_DST and the PROXY protocol."""
import socket
import struct
import threading
from collections import Counter

import pytest

from lib import config, http1
from lib.http1 import fetch
from lib.http2 import H2Client
from lib.origin import Origin
from lib.proxy import envoy, log_lines, weft
from lib.streams import connect, unused_port
from lib.tcp import TcpServer, echo
from lib.wait import PATIENCE_S, wait_until


def named(name):
    return Origin(default=http1.response_bytes(200, body=name.encode()))


@pytest.fixture
def make_named(started):
    def make(*names):
        made = [named(name) for name in names]
        for origin in made:
            started.add(origin, origin.close)
        return made
    return make


def endpoint(port, weight=None, health=None, host="127.0.0.1", more=()):
    made = {"endpoint": {"address": config.socket_address(host, port)}}
    if more:
        made["endpoint"]["additional_addresses"] = [
            {"address": config.socket_address(h, p)} for h, p in more]
    if weight:
        made["load_balancing_weight"] = weight
    if health:
        made["health_status"] = health
    return made


def cluster(*priorities, name="origin", **more):
    """`priorities`: one list of endpoints a priority."""
    return {"name": name, "type": "STATIC", "connect_timeout": "2s", "load_assignment": {
        "cluster_name": name, "endpoints": [{"priority": i, "lb_endpoints": list(eps)}
                                            for i, eps in enumerate(priorities)]}, **more}


def start(start_proxy, made, concurrency=1, **listener):
    return start_proxy(config.bootstrap([config.http_listener(**listener)], [made]),
                       concurrency=concurrency)


def names(proxy, count):
    return Counter(fetch(proxy.address()).body.decode() for _ in range(count))


# ---- who gets it ----

@pytest.mark.weft_only  # in Envoy each worker goes round by itself
def test_round_robin__two_workers__exactly_even(start_proxy, make_named):
    origins = make_named("a", "b", "c")
    proxy = start(start_proxy, cluster([endpoint(o.port) for o in origins]), concurrency=2)
    assert names(proxy, 60) == {"a": 20, "b": 20, "c": 20}


def test_round_robin__weights__exactly_proportional(start_proxy, make_named):
    a, b, c = make_named("a", "b", "c")
    proxy = start(start_proxy, cluster([endpoint(a.port, 1), endpoint(b.port, 2), endpoint(c.port, 3)]))
    assert names(proxy, 60) == {"a": 10, "b": 20, "c": 30}


def test_random__everyone_gets_some(start_proxy, make_named):
    origins = make_named("a", "b", "c")
    proxy = start(start_proxy, cluster([endpoint(o.port) for o in origins], lb_policy="RANDOM"))
    got = names(proxy, 90)
    assert len(got) == 3 and min(got.values()) > 8


def test_least_request__busy_host_is_avoided(start_proxy, make_named):
    """One origin holds its requests: with both drawn, the idle one wins, so the busy one gets few."""
    a, b = make_named("a", "b")
    release = threading.Event()

    def hold(_stream, _request):
        release.wait(30)
        return http1.response_bytes(200, body=b"held")
    a.script["hold"] = b.script["hold"] = hold
    proxy = start(start_proxy, cluster(
        [endpoint(a.port), endpoint(b.port)], lb_policy="LEAST_REQUEST",
        least_request_lb_config={"choice_count": 16}))
    with connect(proxy.address()) as held:
        held.send(http1.request_bytes(headers=[("x-case", "hold")]))
        proxy.wait_stat("cluster.origin.upstream_rq_active", 1)
        got = names(proxy, 40)
        busy = "a" if a.requests and a.requests[0].get("x-case") else "b"
        assert got[busy] <= 1, got
        release.set()
        assert http1.read_response(held).body == b"held"


# ---- health and priorities ----

def test_health_status__unhealthy_and_draining_get_nothing(start_proxy, make_named):
    a, b, c, d = make_named("a", "b", "c", "d")
    proxy = start(start_proxy, cluster([
        endpoint(a.port), endpoint(b.port, health="UNHEALTHY"), endpoint(c.port, health="DRAINING"),
        endpoint(d.port, health="HEALTHY")], common_lb_config={"healthy_panic_threshold": {"value": 0}}))
    assert names(proxy, 10) == {"a": 5, "d": 5}
    stats = proxy.stats()
    assert stats["cluster.origin.membership_total"] == 4
    assert stats["cluster.origin.membership_healthy"] == 2


def test_degraded__used_only_without_healthy_ones(start_proxy, make_named):
    a, b = make_named("a", "b")
    made = [endpoint(a.port), endpoint(b.port, health="DEGRADED")]
    proxy = start(start_proxy, cluster(made, common_lb_config={"healthy_panic_threshold": {"value": 0}},
                                       load_assignment={"cluster_name": "origin", "policy": {"overprovisioning_factor": 200},
                                                        "endpoints": [{"lb_endpoints": made}]}))
    assert names(proxy, 10) == {"a": 10}
    made[0]["health_status"] = "UNHEALTHY"
    proxy = start(start_proxy, cluster(made, common_lb_config={"healthy_panic_threshold": {"value": 0}}))
    assert names(proxy, 4) == {"b": 4}


def test_priority__first_all_healthy__second_idle(start_proxy, make_named):
    a, b = make_named("a", "b")
    proxy = start(start_proxy, cluster([endpoint(a.port)], [endpoint(b.port)]))
    assert names(proxy, 20) == {"a": 20}


def test_priority__first_unhealthy__second_takes_all(start_proxy, make_named):
    a, b = make_named("a", "b")
    proxy = start(start_proxy, cluster([endpoint(a.port, health="UNHEALTHY")], [endpoint(b.port)]))
    assert names(proxy, 20) == {"b": 20}


def test_priority__first_half_healthy__spills_over(start_proxy, make_named):
    """1 of 2 healthy at factor 1.4: 70 % stay."""
    a, x, b = make_named("a", "x", "b")
    proxy = start(start_proxy, cluster([endpoint(a.port), endpoint(x.port, health="UNHEALTHY")],
                                       [endpoint(b.port)]))
    got = names(proxy, 200)
    assert set(got) == {"a", "b"} and 105 <= got["a"] <= 175


def test_panic__too_few_healthy__all_are_used_and_counted(start_proxy, make_named):
    a, b, c = make_named("a", "b", "c")
    proxy = start(start_proxy, cluster([endpoint(a.port), endpoint(b.port, health="UNHEALTHY"),
                                        endpoint(c.port, health="UNHEALTHY")]))
    assert names(proxy, 9) == {"a": 3, "b": 3, "c": 3}
    assert proxy.stat("cluster.origin.lb_healthy_panic") == 9


def test_no_host__503_uh(start_proxy, tmp_path):
    proxy = start(start_proxy, cluster([]), access_log=[config.file_log(
        tmp_path / "log", text_format="%RESPONSE_FLAGS%\n")])
    answer = fetch(proxy.address())
    assert answer.status == 503 and answer.body == b"no healthy upstream"
    assert proxy.stat("cluster.origin.upstream_cx_none_healthy") == 1


# ---- addresses ----

def full_backlog(started):
    """A listener that takes no connection any more: connecting to it goes on for ever."""
    full = socket.socket()
    started.add(full, full.close)
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    for _ in range(4):
        filler = socket.socket()
        started.add(filler, filler.close)
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    return full.getsockname()[1]


def test_additional_addresses__first_refuses__next_at_once(start_proxy, make_named):
    (a,) = make_named("a")
    proxy = start(start_proxy, cluster([endpoint(unused_port(), more=[("127.0.0.1", a.port)])]))
    assert names(proxy, 3) == {"a": 3}
    stats = proxy.stats()
    assert stats["cluster.origin.upstream_cx_total"] >= 1
    assert stats["cluster.origin.upstream_cx_connect_fail"] == 0


def test_additional_addresses__first_silent__next_after_a_while(start_proxy, make_named, started):
    (a,) = make_named("a")
    proxy = start(start_proxy, cluster([endpoint(full_backlog(started), more=[("127.0.0.1", a.port)])]))
    assert names(proxy, 1) == {"a": 1}


def test_additional_addresses__tcp_proxy(start_proxy, started):
    server = TcpServer(echo)
    started.add(server, server.close)
    made = cluster([endpoint(unused_port(), more=[("127.0.0.1", server.port)])])
    proxy = start_proxy(config.bootstrap([config.listener("tcp", config.tcp_proxy())], [made]))
    with connect(proxy.address("tcp")) as stream:
        stream.send(b"hello")
        assert stream.read_exact(5) == b"hello"


def test_connect_timeout__503_with_its_reason(start_proxy, started, tmp_path):
    proxy = start(start_proxy, cluster([endpoint(full_backlog(started))], connect_timeout="0.2s"))
    answer = fetch(proxy.address())
    assert answer.status == 503
    assert b"connection timeout" in answer.body
    stats = proxy.stats()
    assert stats["cluster.origin.upstream_cx_connect_timeout"] == 1
    assert stats["cluster.origin.upstream_cx_connect_fail"] == 1


def test_bind_config__source_address(start_proxy, make_named):
    (a,) = make_named("a")
    proxy = start(start_proxy, cluster([endpoint(a.port)], upstream_bind_config={
        "source_address": {"address": "127.0.0.2", "port_value": 0}}))
    assert fetch(proxy.address()).status == 200
    assert a.connections[0].sock.getpeername()[0] == "127.0.0.2"


# ---- protocols ----

def test_h2__streams_share_one_connection(start_proxy, make_h2_origin):
    held, all_held = [], threading.Event()

    def hold(peer, stream_id, _request):
        held.append((peer, stream_id))
        if len(held) == 10:
            for p, s in held:
                p.conn.send_headers(s, [(":status", "200")], end_stream=True)
            peer.flush()
            all_held.set()
    origin = make_h2_origin({"hold": hold})
    proxy = start(start_proxy, config.cluster("origin", origin.port, http2=True))
    with H2Client(proxy.address()) as client:
        streams = [client.start([("x-case", "hold")]) for _ in range(10)]
        assert [client.wait(s).status for s in streams] == [200] * 10
    assert all_held.wait(PATIENCE_S) and len(origin.connections) == 1
    assert proxy.stat("cluster.origin.upstream_cx_total") == 1
    assert proxy.stat("cluster.origin.upstream_cx_http2_total") == 1


def test_h2__max_concurrent_streams__further_connections(start_proxy, make_h2_origin):
    held = []

    def hold(peer, stream_id, _request):
        with origin.lock:
            held.append((peer, stream_id))
    origin = make_h2_origin({"hold": hold})
    proxy = start(start_proxy, config.cluster("origin", origin.port, http_options={
        "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 2}}}))
    with H2Client(proxy.address()) as client:
        for _ in range(6):
            client.start([("x-case", "hold")])
        proxy.wait_stat("cluster.origin.upstream_rq_active", 6)
        assert proxy.stat("cluster.origin.upstream_cx_active") == 3


@pytest.mark.parametrize("downstream", ["h1", "h2"])
def test_use_downstream_protocol(start_proxy, make_origin, make_h2_origin, downstream):
    origin = make_h2_origin() if downstream == "h2" else make_origin()
    proxy = start(start_proxy, config.cluster("origin", origin.port, http_options={
        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}}))
    if downstream == "h2":
        with H2Client(proxy.address()) as client:
            assert client.request().status == 200
    else:
        assert fetch(proxy.address()).status == 200


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_auto_config__alpn_decides(start_proxy, make_origin, make_h2_origin, ca, protocol):
    tls = ca.server_context(ca.issue("server", sans=["DNS:localhost"]), alpn=[protocol])
    origin = (make_h2_origin if protocol == "h2" else make_origin)(tls=tls)
    proxy = start(start_proxy, config.cluster("origin", origin.port, tls=config.client_tls(ca), http_options={
        "auto_config": {"http_protocol_options": {}, "http2_protocol_options": {}}}))
    assert [fetch(proxy.address()).status for _ in range(3)] == [200] * 3
    name = "http2" if protocol == "h2" else "http1"
    assert proxy.stat(f"cluster.origin.upstream_cx_{name}_total") >= 1
    other = "http1" if protocol == "h2" else "http2"
    assert proxy.stat(f"cluster.origin.upstream_cx_{other}_total") == 0


# ---- ORIGINAL_DST ----

def original_dst(**lb):
    return {"name": "origin", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "2s", "original_dst_lb_config": {"use_http_header": True, **lb}}


def test_original_dst__header_decides(start_proxy, make_named):
    a, b = make_named("a", "b")
    proxy = start(start_proxy, original_dst())
    for origin, name in ((a, b"a"), (b, b"b"), (a, b"a")):
        answer = fetch(proxy.address(), headers=[("x-envoy-original-dst-host", f"127.0.0.1:{origin.port}")])
        assert (answer.status, answer.body) == (200, name)


def test_original_dst__other_header_and_port(start_proxy, make_named):
    a, _ = make_named("a", "b")
    proxy = start(start_proxy, original_dst(http_header_name="x-dst", upstream_port_override=a.port))
    answer = fetch(proxy.address(), headers=[("x-dst", "127.0.0.1:1")])
    assert (answer.status, answer.body) == (200, b"a")


def test_original_dst__bad_header__503_and_counted(start_proxy):
    proxy = start(start_proxy, original_dst())
    answer = fetch(proxy.address(), headers=[("x-envoy-original-dst-host", "nonsense")])
    assert answer.status == 503
    assert proxy.stat("cluster.origin.original_dst_host_invalid") == 1


# ---- upstream PROXY protocol ----

def with_proxy_protocol(port, version):
    kind = config.TYPE + "extensions.transport_sockets."
    return config.cluster("origin", port, transport_socket={
        "name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": {
            "@type": kind + "proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": version},
            "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {
                "@type": kind + "raw_buffer.v3.RawBuffer"}}}})


class ProxiedOrigin(Origin):
    """Reads the header that every connection begins with, then serves HTTP."""

    def __init__(self, version):
        self.version = version
        self.heads = []
        super().__init__(handler=self.read_head)

    def read_head(self, stream):
        if self.version == "V1":
            self.heads.append(stream.read_until(b"\r\n").decode())
        else:
            head = stream.read_exact(16)
            assert head[:12] == b"\r\n\r\n\0\r\nQUIT\n"
            body = stream.read_exact(struct.unpack("!H", head[14:])[0])
            assert head[12:14] == b"\x21\x11"
            src, dst, sport, dport = struct.unpack("!4s4sHH", body[:12])
            self.heads.append(f"PROXY TCP4 {socket.inet_ntoa(src)} {socket.inet_ntoa(dst)} {sport} {dport}\r\n")
        self.serve(stream)


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_proxy_protocol__each_client_in_its_own_connection(start_proxy, started, version):
    origin = ProxiedOrigin(version)
    started.add(origin, origin.close)
    proxy = start(start_proxy, with_proxy_protocol(origin.port, version))
    expected = []
    for _ in range(2):
        with connect(proxy.address()) as client:
            for _ in range(2):
                client.send(http1.request_bytes())
                assert http1.read_response(client).status == 200
            host, port = client.sock.getsockname()
            expected.append(f"PROXY TCP4 {host} 127.0.0.1 {port} {proxy.ports['http']}\r\n")
    assert origin.heads == expected


def test_additional_addresses__logged_address_is_the_one_in_use(start_proxy, make_named, tmp_path):
    (a,) = make_named("a")
    proxy = start(start_proxy, cluster([endpoint(unused_port(), more=[("127.0.0.1", a.port)])]), access_log=[
        config.file_log(tmp_path / "log", text_format="%UPSTREAM_REMOTE_ADDRESS%\n")])
    assert fetch(proxy.address()).status == 200
    assert log_lines(tmp_path / "log", 1) == [f"127.0.0.1:{a.port}"]


@pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(
    envoy() is None, reason="Envoy is not installed"))], ids=["weft", "envoy"])
@pytest.mark.parametrize("config_of,winner", [
    ({}, "six"), ({"first_address_family_count": 2}, "four"), ({"first_address_family_count": 9}, "four"),
    ({"first_address_family_version": "V6"}, "six"),
    ({"first_address_family_version": "V4", "first_address_family_count": 2}, "four")])
def test_happy_eyeballs_config__first_address_refuses__next_by_family(start_proxy, started, binary, config_of, winner):
    """The address of the first family that refuses, one that serves, one of the other family."""
    four = TcpServer(lambda stream: stream.send(b"four"))
    six = TcpServer(lambda stream: stream.send(b"six"), address=("::1", 0), family=socket.AF_INET6)
    started.add(four, four.close)
    started.add(six, six.close)
    made = cluster([endpoint(unused_port(), more=[("127.0.0.1", four.port), ("::1", six.port)])],
                   upstream_connection_options={"happy_eyeballs_config": config_of})
    proxy = start_proxy(config.bootstrap([config.listener("tcp", config.tcp_proxy())], [made]), concurrency=1, binary=binary())
    with connect(proxy.address("tcp")) as stream:
        assert stream.read_to_end().decode() == winner


def test_additional_addresses__tls_and_h2(start_proxy, make_h2_origin, ca):
    origin = make_h2_origin(tls=ca.server_context(ca.issue("server", sans=["DNS:localhost"]), alpn=["h2"]))
    made = config.cluster("origin", unused_port(), http2=True, tls=config.client_tls(ca))
    made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["additional_addresses"] = [
        {"address": config.socket_address(port=origin.port)}]
    proxy = start(start_proxy, made)
    assert [fetch(proxy.address()).status for _ in range(3)] == [200] * 3
    assert len(origin.connections) == 1


def test_additional_addresses__nobody_answers__one_timeout(start_proxy, started):
    silent = [full_backlog(started), full_backlog(started)]
    proxy = start(start_proxy, cluster([endpoint(silent[0], more=[("127.0.0.1", silent[1])])],
                                       connect_timeout="0.5s"))
    assert b"connection timeout" in fetch(proxy.address()).body
    assert proxy.stat("cluster.origin.upstream_cx_connect_timeout") == 1


def test_additional_addresses__all_refuse__503_uf(start_proxy, tmp_path):
    made = cluster([endpoint(unused_port(), more=[("127.0.0.1", unused_port()), ("::1", unused_port())])])
    proxy = start(start_proxy, made, access_log=[config.file_log(tmp_path / "log", text_format="%RESPONSE_FLAGS%\n")])
    assert fetch(proxy.address()).status == 503
    assert log_lines(tmp_path / "log", 1) == ["UF"]
    assert proxy.stat("cluster.origin.upstream_cx_connect_fail") == 1


# ---- more of balancing ----

@pytest.mark.parametrize("policy", [pytest.param("RANDOM", marks=pytest.mark.weft_only), "LEAST_REQUEST"])
def test_weights__in_proportion(start_proxy, make_named, policy):
    """1 : 4 over 600 picks: 120 of them, within seven standard deviations. (Envoy's RANDOM doesn't look at weights.)"""
    a, b = make_named("a", "b")
    more = {"least_request_lb_config": {"choice_count": 2}} if policy == "LEAST_REQUEST" else {}
    proxy = start(start_proxy, cluster([endpoint(a.port, 1), endpoint(b.port, 4)], lb_policy=policy, **more))
    got = names(proxy, 600)
    assert got["a"] + got["b"] == 600 and 51 <= got["a"] <= 189, got


def test_weights__of_localities__shared_by_endpoints(start_proxy, make_named):
    """Large weights without a short round come out in proportion too."""
    a, b = make_named("a", "b")
    proxy = start(start_proxy, cluster([endpoint(a.port, 3001), endpoint(b.port, 9003)]))
    got = names(proxy, 100)
    assert 22 <= got["a"] <= 28, got


def test_panic__disabled__503(start_proxy, make_named):
    (a,) = make_named("a")
    proxy = start(start_proxy, cluster([endpoint(a.port, health="UNHEALTHY")],
                                       common_lb_config={"healthy_panic_threshold": {"value": 0}}))
    assert fetch(proxy.address()).status == 503 and not a.requests


def test_h2__goaway__next_request_on_a_new_connection(start_proxy, make_h2_origin):
    def leave(peer, _stream_id, _request):
        peer.conn.send_headers(_stream_id, [(":status", "200")], end_stream=True)
        peer.conn.close_connection(last_stream_id=_stream_id)
    origin = make_h2_origin({"leave": leave})
    proxy = start(start_proxy, config.cluster("origin", origin.port, http2=True))
    assert fetch(proxy.address(), headers=[("x-case", "leave")]).status == 200
    assert fetch(proxy.address()).status == 200
    assert len(origin.connections) == 2


def test_bind_config__foreign_address__503(start_proxy, make_named):
    (a,) = make_named("a")
    proxy = start(start_proxy, cluster([endpoint(a.port)], upstream_bind_config={
        "source_address": {"address": "203.0.113.7", "port_value": 0}}))
    assert fetch(proxy.address()).status == 503
    assert proxy.stat("cluster.origin.bind_errors") >= 1


def test_tcp_keepalive__set_on_the_upstream_socket(start_proxy, make_named):
    (a,) = make_named("a")
    proxy = start(start_proxy, cluster([endpoint(a.port)], upstream_connection_options={
        "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 7, "keepalive_interval": 5}}))
    assert fetch(proxy.address()).status == 200
    source = a.connections[0].sock.getpeername()[1]

    def timer():
        """What the kernel's timer of the proxy's socket waits for: 02 is a keep-alive."""
        with open(f"/proc/{proxy.pid}/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        return [row[5].split(":")[0] for row in rows if row[3] == "01" and
                (int(row[1].split(":")[1], 16), int(row[2].split(":")[1], 16)) == (source, a.port)]
    wait_until(lambda: timer() == ["02"], "the keep-alive timer")


def test_tcp_proxy__max_connections__exact_over_workers(start_proxy, started):
    server = TcpServer(echo)
    started.add(server, server.close)
    made = cluster([endpoint(server.port)], circuit_breakers={"thresholds": [{"max_connections": 2}]})
    proxy = start_proxy(config.bootstrap([config.listener("tcp", config.tcp_proxy())], [made]), concurrency=2)
    held = []
    for _ in range(2):
        held.append(started.add(s := connect(proxy.address("tcp")), s.close))
        held[-1].send(b"x")
        assert held[-1].read_exact(1) == b"x"
    with connect(proxy.address("tcp")) as refused:
        assert refused.is_ended()
    assert proxy.stat("cluster.origin.upstream_cx_overflow") == 1
    held[0].close()
    proxy.wait_stat("cluster.origin.upstream_cx_active", 1)
    with connect(proxy.address("tcp")) as stream:
        stream.send(b"x")
        assert stream.read_exact(1) == b"x"
