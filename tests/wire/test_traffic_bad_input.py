# SPDX-License-Identifier: Apache-2.0
"""What goes bad around a proxy that manages traffic: each case is bounded, counted, logged once an interval, and never
felt by other requests (which go on beside it through the same one worker)."""
import gzip
import threading
import time

import pytest

from lib import config, http1
from lib.filters import chain_listener
from lib.grpc_services import RateLimitService
from lib.http1 import fetch
from lib.origin import Origin, silence
from lib.pairs import http_filter
from lib.wait import wait_until
from test_balancing import shares
from test_dns import dns_cluster
from test_forward_proxy import NonsenseDns
from test_ratelimit import GENERIC, actions, limited_route, limiter

pytestmark = pytest.mark.weft_only  # Envoy neither counts nor logs these

OTHERS_MAX_S = 1.0  # under sanitizers, on a busy machine; what is bad here takes longer or for ever


class Others:
    """Asks for something harmless again and again; how long the slowest took."""

    def __init__(self, proxy, listener="http", target="/well"):
        self.ask = lambda: fetch(proxy.address(listener), target=target)
        self.slowest_s = 0
        self.count = 0
        self.statuses = set()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.is_over.is_set() or not self.count:
            begin = time.monotonic()
            self.statuses.add(self.ask().status)
            self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.is_over.set()
        self.thread.join(20)
        if kind is None:
            assert self.statuses == {200}
            assert self.slowest_s < OTHERS_MAX_S


def at_once(count, ask):
    """All answers' statuses of `count` requests side by side."""
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(ask())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(statuses) == count
    return statuses


def lines_with(proxy, words):
    return [line for line in proxy.stderr().splitlines() if words in line]


def logged_once(proxy, words):
    wait_until(lambda: lines_with(proxy, words), f"'{words}' in the log")
    assert len(lines_with(proxy, words)) == 1


def test_endless_regex__is_given_up(start_proxy, origin):
    endless = {"match": {"safe_regex": {"regex": "/(a|aa|aaa)+[bc]"}}, "route": {"cluster": "origin"}}
    proxy = start_proxy(config.bootstrap([config.http_listener(routes=[endless, config.route()])],
                                         [config.cluster("origin", origin.port)]))
    with Others(proxy):
        for _ in range(30):
            begin = time.monotonic()
            assert fetch(proxy.address(), target="/" + "a" * 4000 + "!").status == 200  # by the next route
            assert time.monotonic() - begin < OTHERS_MAX_S
    wait_until(lambda: proxy.stat("server.weft_regex_limit") >= 30, "the counter")
    logged_once(proxy, "takes too long on a text of")


def test_zip_bomb__is_cut(start_proxy, origin):
    unpack = http_filter("decompressor", "extensions.filters.http.decompressor.v3.Decompressor", decompressor_library={
        "name": "gzip", "typed_config": {"@type": config.TYPE + "extensions.compression.gzip.decompressor.v3.Gzip"}})
    proxy = start_proxy(config.bootstrap([chain_listener("http", unpack)], [config.cluster("origin", origin.port)]))
    bomb = gzip.compress(bytes(64 << 20), mtime=0)
    fetch(proxy.address())
    before = proxy.memory_kib()
    with Others(proxy):
        for _ in range(10):
            fetch(proxy.address(), "POST", "/", [("content-encoding", "gzip")], bomb)
    assert proxy.memory_kib() - before < 64 << 10
    assert max(len(r.body) for r in origin.requests) < 16 << 20
    found = proxy.stats(r"decompressor.*zlib_data_error")
    assert sum(found.values()) >= 10, found
    logged_once(proxy, "expand beyond the limit")


def test_hash_policy_on_a_missing_header__spreads(start_proxy, make_origin):
    origins = [make_origin(default=http1.response_bytes(200, body=str(i).encode())) for i in range(3)]
    cluster = config.cluster("origin", *[o.port for o in origins], lb_policy="RING_HASH")
    route = config.route(hash_policy=[{"header": {"header_name": "x-user"}}])
    proxy = start_proxy(config.bootstrap([config.http_listener(routes=[route])], [cluster]))
    spread = shares(proxy, 300)
    assert len(spread) == 3 and sum(spread.values()) == 300
    same = {fetch(proxy.address(), headers=[("x-user", "one")]).body for _ in range(20)}
    assert len(same) == 1


def test_hanging_rate_limit_service__is_not_waited_for(start_proxy, started, origin):
    service = RateLimitService()
    started.add(service, service.close)
    service.hold()
    routes = [limited_route(actions(GENERIC), prefix="/limited"), config.route()]
    proxy = start_proxy(config.bootstrap(
        [chain_listener("http", limiter(timeout="0.2s"), routes=routes)],
        [config.cluster("origin", origin.port), config.cluster("limits", service.port, http2=True)]))
    with Others(proxy):
        begin = time.monotonic()
        assert at_once(20, lambda: fetch(proxy.address(), target="/limited").status) == [200] * 20
        assert time.monotonic() - begin < 5
    assert proxy.stat("cluster.origin.ratelimit.error") == 20
    logged_once(proxy, "doesn't answer in time or fails")


@pytest.mark.parametrize("shape", ["noise", "loops", "count", "short"])
def test_dns_nonsense__leaves_the_others_alone(start_proxy, started, origin, shape):
    server = NonsenseDns(one=["127.0.0.1"], **{shape: ["127.0.0.1"]})
    started.add(server, server.close)
    ill = {**dns_cluster(server, origin.port, names=[f"{shape}.test"]), "name": "ill"}
    ill["typed_dns_resolver_config"]["typed_config"].update({"query_timeout_seconds": 1, "query_tries": 1})
    ill["wait_for_warm_on_init"] = False
    proxy = start_proxy(config.bootstrap(
        [config.http_listener(routes=[config.route("ill", "/ill"), config.route()])],
        [ill, dns_cluster(server, origin.port)]))
    with Others(proxy):
        assert at_once(5, lambda: fetch(proxy.address(), target="/ill").status) == [503] * 5
        wait_until(lambda: proxy.stat("cluster.ill.update_failure") >= 2, "failures to be counted", 15)
    assert proxy.stat("cluster.origin.update_failure") == 0
    logged_once(proxy, "cluster ill: cannot resolve")


def test_silent_endpoint__costs_only_its_own(start_proxy, started, origin):
    mute = Origin(default=silence)
    started.add(mute, mute.close)
    routes = [config.route("mute", "/mute", timeout="0.3s"), config.route()]
    proxy = start_proxy(config.bootstrap([config.http_listener(routes=routes)],
                                         [config.cluster("mute", mute.port), config.cluster("origin", origin.port)]))
    with Others(proxy):
        assert at_once(30, lambda: fetch(proxy.address(), target="/mute").status) == [504] * 30
    assert proxy.stat("cluster.mute.upstream_rq_timeout") == 30
    proxy.wait_stat("cluster.mute.upstream_rq_active", 0)
    proxy.wait_stat("cluster.mute.upstream_cx_active", 0)
    logged_once(proxy, "cluster mute: a request was given up")
