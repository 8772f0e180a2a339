# SPDX-License-Identifier: Apache-2.0
"""Circuit breakers: what is refused, what the gauges say, budgets of retries, connections made ahead and by age."""
import threading

import pytest

from lib import config, http1
from lib.origin import Origin
from lib.pairs import Two, h1
from lib.streams import connect
from lib.tcp import TcpServer
from lib.tcp import hold as silent
from lib.wait import wait_until

OK = http1.response_bytes(200, body=b"ok")


@pytest.fixture
def holding(started):
    """An origin that answers when told; its requests are counted as they come."""
    gate = threading.Event()

    def answer(_stream, _request):
        gate.wait()
        return OK
    origin = Origin(script={"hold": answer}, default=OK)
    started.add(origin, origin.close)
    started.add(gate, gate.set)
    origin.gate = gate
    return origin


def boot(port, thresholds, routes=None, **more):
    made = config.cluster("origin", port, circuit_breakers=thresholds, **more)
    return config.bootstrap([config.http_listener(**({"routes": routes} if routes else {}))], [made])


def hold(proxy):
    """A request that is under way; the caller closes it."""
    stream = connect(proxy.address())
    stream.send(b"GET / HTTP/1.1\r\nHost: test.local\r\nx-case: hold\r\n\r\n")
    return stream


# remaining_cx_pools: without a limit Envoy shows 64 bits.
BREAKERS = (r"^cluster\.origin\.(circuit_breakers\.[a-z]+\.([a-z_]+_open|remaining_(cx|rq|pending|retries)$)"
            r"|upstream_(rq|cx)_[a-z_]*overflow)")


@pytest.mark.parametrize("limits", [
    {"max_requests": 1},
    {"max_connections": 1, "max_pending_requests": 1, "max_requests": 5},
])
def test_limit__reached__the_next_is_refused_and_gauges_say_so(start_proxy, holding, limits):
    two = Two(start_proxy, boot(holding.port, {"thresholds": [{"track_remaining": True, **limits}]}))
    for proxy in (two.envoy, two.weft):
        count = len(holding.requests)
        first = hold(proxy)
        wait_until(lambda c=count: len(holding.requests) == c + 1, "the request at the origin")
        held = [first]
        if "max_connections" in limits:
            held.append(hold(proxy))
            proxy.wait_stat("cluster.origin.upstream_rq_pending_active", 1)
        answer = h1(proxy)
        assert (answer.status, answer.get("x-envoy-overloaded")) == (503, "true")
        proxy.held = held
    two.same_stats(BREAKERS)
    holding.gate.set()
    for proxy in (two.envoy, two.weft):
        for stream in proxy.held:
            assert http1.read_response(stream).status == 200
            stream.close()
    two.same_stats(BREAKERS)


def test_track_remaining__high_priority__has_its_own(start_proxy, holding):
    routes = [config.route(prefix="/high", priority="HIGH"), config.route()]
    two = Two(start_proxy, boot(holding.port, {"thresholds": [
        {"max_requests": 3, "track_remaining": True}, {"priority": "HIGH", "max_requests": 7, "max_retries": 2, "track_remaining": True}]},
        routes=routes))
    two.same(lambda p: h1(p, target="/high").status)
    two.same_stats(r"^cluster\.origin\.circuit_breakers\.(default|high)\.remaining_(rq|retries|pending|cx)$")


def test_retry_budget__used_up__overflow(start_proxy, started):
    bad = Origin(default=http1.response_bytes(503))
    started.add(bad, bad.close)
    routes = [config.route(retry_policy={"retry_on": "5xx", "num_retries": 2, "retry_back_off": {"base_interval": "0.01s"}})]
    for least, expected in ((0, 0), (3, 2)):
        two = Two(start_proxy, boot(bad.port, {"thresholds": [{
            "retry_budget": {"budget_percent": {"value": 0}, "min_retry_concurrency": least}}]}, routes=routes))
        assert two.same(lambda p: h1(p).status) == 503
        two.same_stats(r"^cluster\.origin\.upstream_rq_retry(_overflow|_limit_exceeded)?$")
        assert two.weft.stat("cluster.origin.upstream_rq_retry") == expected


def test_per_host_limit__of_connections__holds(start_proxy, holding):
    two = Two(start_proxy, boot(holding.port, {"per_host_thresholds": [{"max_connections": 1}]}))
    for proxy in (two.envoy, two.weft):
        count = len(holding.requests)
        held = [hold(proxy)]
        wait_until(lambda c=count: len(holding.requests) == c + 1, "the request at the origin")
        held.append(hold(proxy))
        proxy.wait_stat("cluster.origin.upstream_rq_pending_active", 1)
        proxy.held = held
    two.same_stats(r"^cluster\.origin\.upstream_cx_(active|total|overflow)$")
    holding.gate.set()
    for proxy in (two.envoy, two.weft):
        for stream in proxy.held:
            assert http1.read_response(stream).status == 200
            stream.close()


def test_preconnect_ratio__one_request__connections_ahead(start_proxy, holding):
    two = Two(start_proxy, boot(holding.port, {}, preconnect_policy={"per_upstream_preconnect_ratio": 2.0}))
    for proxy in (two.envoy, two.weft):
        proxy.held = hold(proxy)
        proxy.wait_stat("cluster.origin.upstream_cx_total", 2)
    holding.gate.set()
    for proxy in (two.envoy, two.weft):
        assert http1.read_response(proxy.held).status == 200
        proxy.held.close()


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])
@pytest.mark.parametrize("ratio,hosts", [(1.5, 4), (2.0, 4), (3.0, 3), (2.0, 1)])
def test_predictive_preconnect_ratio__requests_one_by_one__as_many_connections(start_proxy, started, policy, ratio, hosts):
    """Connections are there before the request that takes them; how many, Envoy decides alike after each request."""
    servers = [TcpServer(silent) for _ in range(hosts)]
    for server in servers:
        started.add(server, server.close)
    two = Two(start_proxy, config.bootstrap([config.http_listener()], [config.cluster(
        "origin", *(s.port for s in servers), lb_policy=policy, preconnect_policy={"predictive_preconnect_ratio": ratio})]))
    held = {proxy: [] for proxy in (two.envoy, two.weft)}
    seen = {proxy: [] for proxy in held}
    for count in range(1, 6):
        for proxy in held:
            held[proxy].append(hold(proxy))
            proxy.wait_stat("cluster.origin.upstream_rq_active", count)
            seen[proxy].append(proxy.stat("cluster.origin.upstream_cx_total"))
    if policy == "ROUND_ROBIN": # the others choose by chance, and so which pool has room
        assert seen[two.weft] == seen[two.envoy]
    assert all(total > i for i, total in enumerate(seen[two.weft], 1)) or hosts == 1
    for streams in held.values():
        for stream in streams:
            stream.close()


def test_max_connection_duration__past__a_new_connection(start_proxy, holding):
    options = {"common_http_protocol_options": {"max_connection_duration": "0.1s"}}
    two = Two(start_proxy, config.bootstrap(
        [config.http_listener()], [config.cluster("origin", holding.port, http_options=options)]))
    for proxy in (two.envoy, two.weft):
        assert h1(proxy).status == 200
        proxy.wait_stat("cluster.origin.upstream_cx_max_duration_reached", 1)
        proxy.wait_stat("cluster.origin.upstream_cx_active", 0)
        assert h1(proxy).status == 200
        assert proxy.stat("cluster.origin.upstream_cx_total") == 2


def test_pools__no_more_of_them__no_host_for_the_next(start_proxy, started):
    """Each host wants a pool of its own."""
    origins = [started.add(o, o.close) for o in (Origin(default=OK), Origin(default=OK))]
    made = config.cluster("origin", *[o.port for o in origins], circuit_breakers={"thresholds": [{"max_connection_pools": 1}]})
    two = Two(start_proxy, config.bootstrap([config.http_listener()], [made]))
    assert two.same(lambda proxy: sorted(h1(proxy).status for _ in range(4))) == [200, 200, 503, 503]
    two.same_stats(r"^cluster\.origin\.(upstream_cx_pool_overflow|circuit_breakers\.default\.cx_pool_open|upstream_rq_(2xx|5xx))$")


def test_runtime__overrides_limits(start_proxy, holding):
    made = boot(holding.port, {"thresholds": [{"max_requests": 5, "track_remaining": True}]})
    made["layered_runtime"] = {"layers": [{"name": "static", "static_layer": {
        "circuit_breakers.origin.default.max_requests": 1}}]}
    two = Two(start_proxy, made)
    for proxy in (two.envoy, two.weft):
        count = len(holding.requests)
        proxy.held = hold(proxy)
        wait_until(lambda c=count: len(holding.requests) == c + 1, "the request at the origin")
        assert h1(proxy).status == 503
    got = two.same_stats(BREAKERS)
    assert got["cluster.origin.circuit_breakers.default.rq_open"] == 1
    holding.gate.set()
    for proxy in (two.envoy, two.weft):
        proxy.held.close()
