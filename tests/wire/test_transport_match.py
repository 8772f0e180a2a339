# SPDX-License-Identifier: Apache-2.0
"""transport_socket_matches: each host of a cluster is spoken to as its metadata says, health checks as theirs say."""
import pytest

from lib import config
from lib.pairs import Two, h1
from lib.wait import wait_until

RAW = {"name": "envoy.transport_sockets.raw_buffer",
       "typed_config": {"@type": config.TYPE + "extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}
SPACE = "envoy.transport_socket_match"


def tls(ca, **fields):
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": config.UPSTREAM_TLS, **config.client_tls(ca), **fields}}


def endpoint(port, **labels):
    metadata = {"metadata": {"filter_metadata": {SPACE: labels}}} if labels else {}
    return {"endpoint": {"address": config.socket_address(port=port)}, **metadata}


def istio_matches(ca):
    """As istiod writes them for automatic mutual TLS."""
    return [{"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": tls(ca, sni="outbound_.80_._.a")},
            {"name": "tlsMode-disabled", "match": {}, "transport_socket": RAW}]


def boot(groups, **more):
    cluster = {"name": "origin", "connect_timeout": "2s",
               "load_assignment": {"cluster_name": "origin", "endpoints": groups}, **more}
    return config.bootstrap([config.http_listener()], [cluster])


@pytest.fixture
def start_two(start_proxy):
    return lambda bootstrap: Two(start_proxy, bootstrap)


@pytest.fixture
def secure(make_origin, ca):
    return make_origin(tls=ca.server_context(ca.issue("server", sans=["DNS:server.test"])))


def answers(proxy):
    return sorted(h1(proxy).status for _ in range(4))


def test_hosts__by_their_metadata__tls_or_plain(start_two, ca, origin, secure):
    two = start_two(boot([{"lb_endpoints": [endpoint(secure.port, tlsMode="istio"), endpoint(origin.port)]}],
                         transport_socket_matches=istio_matches(ca)))
    assert two.same(answers) == [200] * 4
    assert two.weft.stats("ssl.handshake")["cluster.origin.ssl.handshake"] > 0
    two.same_stats("total_match_count")


def test_locality__has_the_criteria__its_hosts_take_them(start_two, ca, origin, secure):
    two = start_two(boot([{"metadata": {"filter_metadata": {SPACE: {"tlsMode": "istio"}}}, "lb_endpoints": [endpoint(secure.port)],
                           "locality": {"zone": "a"}},
                          {"lb_endpoints": [endpoint(origin.port)], "locality": {"zone": "b"}}],
                         transport_socket_matches=istio_matches(ca)[:1]))
    assert two.same(answers) == [200] * 4


def test_nothing_matches__the_clusters_own_is_the_default(start_two, ca, origin, secure):
    plain = [{"name": "plain", "match": {"mode": "plain"}, "transport_socket": RAW}]
    two = start_two(boot([{"lb_endpoints": [endpoint(secure.port), endpoint(origin.port, mode="plain")]}],
                         transport_socket_matches=plain, transport_socket=tls(ca)))
    assert two.same(answers) == [200] * 4
    two.same_stats("total_match_count")


def test_criteria__all_of_them_must_be_there(start_two, ca, origin):
    both = [{"name": "both", "match": {"a": "1", "b": True}, "transport_socket": tls(ca)}]
    two = start_two(boot([{"lb_endpoints": [endpoint(origin.port, a="1")]}], transport_socket_matches=both))
    assert two.same(answers) == [200] * 4


@pytest.mark.parametrize("criteria, health", [({"check": "plain"}, "/failed_active_hc"), ({"check": "tls"}, "healthy")])
def test_health_check__has_its_own_criteria(start_two, ca, secure, criteria, health):
    matches = [{"name": "tls", "match": {"check": "tls"}, "transport_socket": tls(ca)},
               {"name": "plain", "match": {"check": "plain"}, "transport_socket": RAW}]
    check = {"timeout": "1s", "interval": "0.1s", "unhealthy_threshold": 1, "healthy_threshold": 1,
             "http_health_check": {"path": "/"}, "transport_socket_match_criteria": criteria}
    two = start_two(boot([{"lb_endpoints": [endpoint(secure.port)]}], transport_socket_matches=matches,
                         transport_socket=tls(ca), health_checks=[check]))

    def flags(proxy):
        line = next(l for l in proxy.admin("/clusters").body.decode().splitlines() if "health_flags" in l)
        return line.partition("health_flags::")[2]
    for proxy in (two.envoy, two.weft):
        wait_until(lambda: flags(proxy) == health, what=f"{health} at {proxy}")
