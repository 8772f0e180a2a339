# SPDX-License-Identifier: Apache-2.0
"""What workers share, under load on all of them while the main thread changes it: written for ThreadSanitizer."""
import itertools
import socket
import threading
import time
from collections import Counter

import pytest

from lib import config, http1
from lib.http1 import connect, read_response, request_bytes, response_bytes
from lib.origin import Origin
from lib.streams import Closed
from test_overload import Pressure, manager

pytestmark = [pytest.mark.weft_only, pytest.mark.threads]
WORKERS, CLIENTS = 4, 8
FEW = 25  # requests a connection: it then goes to another worker
LIMIT_S = 2


class Load:
    """Clients that ask until they are told to stop; what came back is counted, anything unforeseen is kept."""

    def __init__(self, address, fine=(200,)):
        self.address, self.fine = address, fine
        self.counts, self.failures, self.stopped = Counter(), [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(CLIENTS)]

    def run(self, who):
        try:
            while not self.stopped.is_set():
                with connect(self.address) as stream:
                    self.ask(stream, who)
        except (OSError, Closed) as error:
            self.failures.append(repr(error))

    def ask(self, stream, who):
        for i in range(FEW):
            stream.send(request_bytes(headers=[("x-key", f"{who}-{i}")]))
            response = read_response(stream)
            self.counts[response.status] += 1
            if response.status not in self.fine:
                self.failures.append(response)
            if response.get("connection") == "close" or self.stopped.is_set():
                return

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures[:3]


def during(seconds, act):
    """Acts again and again for a while; the load on the side is what is tested, not how often."""
    end = time.monotonic() + seconds
    for turn in itertools.count():
        act(turn)
        if time.monotonic() > end:
            return


class Flapping(Origin):
    """Sick or well as the test says; its health check knows."""

    def __init__(self):
        super().__init__()
        self.is_well = True

    def answer(self, stream, request):
        stream.send(response_bytes(200 if self.is_well or request.target != "/health" else 503, body=b"x"))
        return True


@pytest.fixture
def origins(started):
    made = [Flapping() for _ in range(3)]
    for origin in made:
        started.add(origin, origin.close)
    return made


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "LEAST_REQUEST", "RING_HASH", "MAGLEV"])
def test_membership__changes_by_health_checks__requests_go_on(start_proxy, origins, policy):
    checks = {"timeout": "5s", "interval": "0.02s", "no_traffic_interval": "0.02s", "unhealthy_threshold": 1, "healthy_threshold": 1,
              "http_health_check": {"path": "/health"}}
    cluster = config.cluster("origin", *(o.port for o in origins), lb_policy=policy, health_checks=[checks],
                             common_lb_config={"healthy_panic_threshold": {"value": 0}})
    route = config.route(hash_policy=[{"header": {"header_name": "x-key"}}])
    proxy = start_proxy(config.bootstrap([config.http_listener(routes=[route])], [cluster]), concurrency=WORKERS)
    proxy.wait_stat("cluster.origin.membership_healthy", 3)

    def flap(turn):
        origins[turn % 2].is_well = False
        proxy.wait_stat("cluster.origin.membership_healthy", 2)
        origins[turn % 2].is_well = True
        proxy.wait_stat("cluster.origin.membership_healthy", 3)
        proxy.admin("/clusters")
    with Load(proxy.address()) as load:
        during(LIMIT_S, flap)
    assert load.counts[200] > 0


def test_outliers__ejected_and_let_in_under_load__all_workers_agree(start_proxy, origins):
    bad = origins[0]
    bad.answer = lambda stream, request: stream.send(response_bytes(500)) or True
    detection = {"consecutive_5xx": 3, "interval": "0.05s", "base_ejection_time": "0.05s", "max_ejection_time": "0.1s", "max_ejection_percent": 50,
                 "success_rate_minimum_hosts": 2, "success_rate_request_volume": 5}
    cluster = config.cluster("origin", *(o.port for o in origins), outlier_detection=detection)
    proxy = start_proxy(config.bootstrap([config.http_listener()], [cluster]), concurrency=WORKERS)
    with Load(proxy.address(), fine=(200, 500)):
        during(LIMIT_S, lambda turn: proxy.admin("/clusters?format=json" if turn % 2 else "/stats/prometheus"))
    assert proxy.stat("cluster.origin.outlier_detection.ejections_enforced_total") >= 1


def test_local_ratelimit__one_bucket_for_all_workers__exact(start_proxy, origins):
    on = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    limit = {"name": "limit", "typed_config": {
        "@type": config.TYPE + "extensions.filters.http.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "lim",
        "token_bucket": {"max_tokens": 100, "tokens_per_fill": 1, "fill_interval": "1000s"},
        "filter_enabled": on, "filter_enforced": on}}
    filters = [limit, {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER}}]
    proxy = start_proxy(config.bootstrap([config.http_listener(http_filters=filters)], [config.cluster("origin", origins[0].port)]),
                        concurrency=WORKERS)
    with Load(proxy.address(), fine=(200, 429)) as load:
        proxy.wait_stat("lim.http_local_rate_limit.rate_limited", 50, exactly=False)
    assert load.counts[200] == 100 and load.counts[429] >= 50


def test_breakers__few_requests_for_all_workers__never_exceeded_and_given_back(start_proxy, origins):
    busy, most, lock = [0], [0], threading.Lock()

    def answer(stream, _request):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.002)  # the upstream's work, not a wait for something
        with lock:
            busy[0] -= 1
        stream.send(response_bytes(200))
        return True
    origins[0].answer = answer
    cluster = config.cluster("origin", origins[0].port, circuit_breakers={"thresholds": [{"max_requests": 2, "track_remaining": True}]})
    proxy = start_proxy(config.bootstrap([config.http_listener()], [cluster]), concurrency=WORKERS)
    with Load(proxy.address(), fine=(200, 503)) as load:
        during(LIMIT_S / 2, lambda _turn: proxy.stats("circuit"))
    assert load.counts[200] > 0 and most[0] <= 2
    proxy.wait_stat("cluster.origin.circuit_breakers.default.remaining_rq", 2)
    assert proxy.stat("cluster.origin.circuit_breakers.default.rq_open") == 0


def test_statistics_and_overload__flushed_and_changed_under_load__counts_add_up(start_proxy, origins, tmp_path):
    pressure = Pressure(tmp_path)
    half = {"scaled": {"scaling_threshold": 0.0, "saturation_threshold": 1.0}}
    overload = manager(pressure, ("stop_accepting_requests", {}), ("disable_http_keepalive", {}), ("shrink_heap", {}),
                       points=["http_downstream_filter_check"], trigger=half, refresh_interval="0.02s")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        sink = {"name": "envoy.stat_sinks.statsd", "typed_config": {
            "@type": config.TYPE + "config.metrics.v3.StatsdSink", "address": config.socket_address(port=statsd.getsockname()[1])}}
        boot = config.bootstrap([config.http_listener()], [config.cluster("origin", *(o.port for o in origins))],
                                overload_manager=overload, stats_sinks=[sink], stats_flush_interval="0.02s")
        proxy = start_proxy(boot, concurrency=WORKERS)
        with Load(proxy.address(), fine=(200, 503)) as load:
            during(LIMIT_S, lambda turn: (pressure.set((0.0, 0.3, 0.6)[turn % 3]), proxy.admin("/stats?usedonly")))
        assert load.counts[200] > 0 and load.counts[503] > 0
        assert statsd.recv(65536)
    assert proxy.stat("http.in.downstream_rq_total") == load.counts[200] + load.counts[503]
