# SPDX-License-Identifier: Apache-2.0
"""track_cluster_stats: shares of timeouts, sizes, statistics of endpoints, beside Envoy's."""
import re

import pytest

from lib import config
from lib.grpc_services import MetricsService, OtelMetrics
from lib.pairs import Two, h1, h2
from lib.proxy import envoy, weft
from lib.wait import wait_until

from test_metric_sinks import OTEL, PROMETHEUS
from test_stats_sinks import Datagrams

BOTH = pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(
    envoy() is None, reason="Envoy is not installed"))], ids=["weft", "envoy"])


def of(origin, tracking, **fields):
    return config.bootstrap([config.http_listener()],
                            [config.cluster("origin", origin.port, track_cluster_stats=tracking, **fields)],
                            stats_flush_interval="0.1s")


def totals(proxy, pattern, samples):
    """{histogram: its whole line's totals, without the interval's}, once each has as many samples."""
    def found():
        text = proxy.admin("/stats/prometheus?filter=" + pattern).body.decode()
        counts = dict(re.findall(r'^(envoy_cluster_\w+)_count\{envoy_cluster_name="origin"\} (\d+)$', text, re.M))
        return counts if counts and set(counts.values()) == {str(samples)} else None
    counts = wait_until(found, f"{samples} samples")
    text = proxy.admin("/stats/prometheus?filter=" + pattern).body.decode()
    buckets = re.findall(r'^(envoy_cluster_\w+_bucket\{.*) (\d+)$', text, re.M)
    assert counts and buckets
    return sorted(buckets)


SIZES = "cluster.origin.upstream_r[qs]_(headers|body)_(size|count)"


def test_sizes__bodies_and_headers__as_envoy(start_proxy, origin):
    two = Two(start_proxy, of(origin, {"request_response_sizes": True}))

    def ask(proxy):
        for size in (0, 3, 700, 6000):
            h1(proxy, "POST", "/" + "x" * size, body=b"y" * size, headers=[("x-request-id", "1" * 36)])
        h2(proxy, method="GET", headers=[("x-request-id", "1" * 36)])
        return totals(proxy, SIZES, 5)
    two.same(ask)


@pytest.mark.parametrize("field", [{"track_cluster_stats": {"timeout_budgets": True}}, {"track_timeout_budgets": True}],
                         ids=["tracking", "old name"])
def test_budgets__of_request_and_try__as_envoy(start_proxy, make_origin, field):
    origin = make_origin()
    bootstrap = config.bootstrap([config.http_listener(virtual_hosts=[{"name": "all", "domains": ["*"], "routes": [
        {"match": {"prefix": "/none"}, "route": {"cluster": "origin", "timeout": "0s"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "3600s",
                                             "retry_policy": {"retry_on": "5xx", "per_try_timeout": "1800s"}}}]}])],
        [config.cluster("origin", origin.port, **field)], stats_flush_interval="0.1s")
    two = Two(start_proxy, bootstrap)

    def ask(proxy):
        for target in ("/", "/none", "/a"):
            assert h1(proxy, target=target).status == 200
        return totals(proxy, "cluster.origin.upstream_rq_timeout_budget", 3)
    seen = two.same(ask)
    assert len({line.split("_bucket")[0] for line, _ in seen}) == 2


@pytest.mark.weft_only
def test_budgets__slow_answer__its_share(start_proxy, make_origin):
    """An answer that takes more than a tenth of the timeout isn't in the first bin."""
    from threading import Event
    origin = make_origin(script={"late": lambda *_: Event().wait(.3) or b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"})
    listener = config.http_listener(routes=[{"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "2s"}}])
    proxy = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port,
                                                                     track_cluster_stats={"timeout_budgets": True})]))
    assert h1(proxy, headers=[("x-case", "late")]).status == 200
    text = proxy.admin("/stats/prometheus?filter=timeout_budget_percent_used").body.decode()
    share = float(re.search(r"percent_used_sum\{.*\} ([\d.]+)", text).group(1))
    assert 15 <= share <= 100


def endpoints(proxy, origin):
    port = f"127.0.0.1_{origin.port}"

    def found():
        stats = proxy.stats(r"cluster\.origin\.endpoint")
        return stats if stats.get(f"cluster.origin.endpoint.{port}.rq_success") == 3 else None
    return wait_until(found, "three requests")


def test_endpoints__admin_pages__as_envoy(start_proxy, origin):
    two = Two(start_proxy, of(origin, {"per_endpoint_stats": True}))

    def ask(proxy):
        for _ in range(3):
            assert h1(proxy).status == 200
        seen = endpoints(proxy, origin)
        page = proxy.admin("/stats/prometheus?filter=endpoint").body.decode()
        return seen, sorted(line for line in page.splitlines() if "cx_active" not in line)
    seen, page = two.same(ask)
    assert len(seen) == 10
    assert f'envoy_cluster_endpoint_rq_total{{envoy_cluster_name="origin",envoy_endpoint_address="127.0.0.1:{origin.port}"}} 3' in page


@BOTH
def test_endpoints__sinks__statsd_and_open_telemetry_are_told(start_proxy, origin, started, binary):
    """metrics_service isn't."""
    datagrams, prometheus, otel = Datagrams(), MetricsService(), OtelMetrics()
    for made in (datagrams, prometheus, otel):
        started.add(made, made.close)
    bootstrap = of(origin, {"per_endpoint_stats": True})

    def to(cluster):
        return {"grpc_service": {"envoy_grpc": {"cluster_name": cluster}}}
    bootstrap["static_resources"]["clusters"] += [config.cluster("prometheus", prometheus.port, http2=True),
                                                  config.cluster("otel", otel.port, http2=True)]
    bootstrap["stats_sinks"] = [{"name": str(i), "typed_config": one} for i, one in enumerate([
        {"@type": PROMETHEUS, "transport_api_version": "V3", **to("prometheus")},
        {"@type": OTEL, "report_counters_as_deltas": True, **to("otel")},
        {"@type": config.TYPE + "config.metrics.v3.StatsdSink",
         "address": config.socket_address("127.0.0.1", datagrams.port)}])]
    proxy = start_proxy(bootstrap, binary=binary())
    for _ in range(3):
        assert h1(proxy).status == 200
    wait_until(lambda: sum(p.as_int for m in otel.metrics("cluster.endpoint.rq_total") for p in m.sum.data_points) == 3, "OTLP")
    wait_until(lambda: prometheus.families("cluster.origin.upstream_rq_total"), "metrics_service")
    port = f"127.0.0.1_{origin.port}"
    wait_until(lambda: datagrams.sum_of(f"envoy.cluster.origin.endpoint.{port}.rq_total:") == 3, "statsd")
    assert not prometheus.families(f"cluster.origin.endpoint.{port}.rq_total")
