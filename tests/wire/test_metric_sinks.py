# SPDX-License-Identifier: Apache-2.0
"""Sinks that tell whole metrics over gRPC (metrics_service, OpenTelemetry), to receivers made of the public protos."""
import json
import math

import pytest

from lib import config, http1
from lib.grpc_services import MetricsService, OtelMetrics
from lib.prometheus_client import COUNTER, GAUGE, HISTOGRAM, SUMMARY
from lib.proxy import envoy, run_to_end, weft
from lib.wait import wait_until

BOTH = pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(
    envoy() is None, reason="Envoy is not installed"))], ids=["weft", "envoy"])
PROMETHEUS = config.TYPE + "config.metrics.v3.MetricsServiceConfig"
OTEL = config.TYPE + "extensions.stat_sinks.open_telemetry.v3.SinkConfig"
DETECTORS = config.TYPE + "extensions.tracers.opentelemetry.resource_detectors.v3."
DELTA, CUMULATIVE = 1, 2


@pytest.fixture
def prometheus(started):
    made = MetricsService()
    return started.add(made, made.close)


@pytest.fixture
def otel(started):
    made = OtelMetrics()
    return started.add(made, made.close)


def of(origin, collector, kind, interval="0.1s", **fields):
    if kind == PROMETHEUS:
        fields["transport_api_version"] = "V3"
    sink = {"name": "sink", "typed_config": {"@type": kind, "grpc_service": {"envoy_grpc": {"cluster_name": "metrics"}}, **fields}}
    return config.bootstrap([config.http_listener()],
                            [config.cluster("origin", origin.port), config.cluster("metrics", collector.port, http2=True)],
                            stats_sinks=[sink], stats_flush_interval=interval, node={"id": "me", "cluster": "mine"})


def ask(proxy, times=3):
    for _ in range(times):
        assert http1.fetch(proxy.address()).status == 200


# ---- metrics_service ----

def counters(service, name):
    return [family.metric[0].counter.value for family in service.families(name)]


@BOTH
def test_metrics_service__plain__totals_and_both_kinds_of_histograms(start_proxy, origin, prometheus, binary):
    proxy = start_proxy(of(origin, prometheus, PROMETHEUS), binary=binary())
    ask(proxy)
    wait_until(lambda: 3 in counters(prometheus, "http.in.downstream_rq_total"), "three requests")
    wait_until(lambda: len(prometheus.families("cluster.origin.upstream_rq_time")) > 1, "times")
    family = prometheus.families("http.in.downstream_rq_total")[-1]
    assert family.type == COUNTER and family.metric[0].timestamp_ms > 10 ** 12 and not family.metric[0].label
    assert prometheus.families("server.concurrency")[0].type == GAUGE
    times = prometheus.families("cluster.origin.upstream_rq_time")
    assert {family.type for family in times} == {SUMMARY, HISTOGRAM}
    summary = next(f.metric[0].summary for f in times if f.type == SUMMARY and f.metric[0].summary.sample_count)
    assert [q.quantile for q in summary.quantile] == [0, .25, .5, .75, .9, .95, .99, .995, .999, 1]
    histogram = next(f.metric[0].histogram for f in times if f.type == HISTOGRAM and f.metric[0].histogram.sample_count)
    assert histogram.bucket[0].upper_bound == .5 and histogram.bucket[-1].cumulative_count == histogram.sample_count
    assert prometheus.streams == 1
    assert b"me" in prometheus.messages[0].identifier and not any(m.identifier for m in prometheus.messages[1:])


@BOTH
def test_metrics_service__histograms__what_an_interval_brought(start_proxy, origin, prometheus, binary):
    """Each interval's samples once; an interval without any has no quantiles."""
    proxy = start_proxy(of(origin, prometheus, PROMETHEUS, histogram_emit_mode="SUMMARY"), binary=binary())
    ask(proxy)

    def summaries():
        return [f.metric[0].summary for f in prometheus.families("cluster.origin.upstream_rq_time")]
    wait_until(lambda: sum(s.sample_count for s in summaries()) == 3 and summaries()[-1].sample_count == 0, "a quiet interval")
    assert all(math.isnan(q.value) for q in summaries()[-1].quantile)
    assert {f.type for f in prometheus.families("cluster.origin.upstream_rq_time")} == {SUMMARY}


@BOTH
def test_metrics_service__deltas_labels_batches(start_proxy, origin, prometheus, binary):
    proxy = start_proxy(of(origin, prometheus, PROMETHEUS, report_counters_as_deltas=True, emit_tags_as_labels=True,
                           histogram_emit_mode="HISTOGRAM", batch_size=20), binary=binary())
    ask(proxy)

    def of_origin():
        return [f.metric[0] for f in prometheus.families("cluster.upstream_rq_total")
                if ("envoy.cluster_name", "origin") in [(label.name, label.value) for label in f.metric[0].label]]
    wait_until(lambda: sum(m.counter.value for m in of_origin()) == 3 and of_origin()[-1].counter.value == 0,
               "increments that add up, and then none")
    assert max(len(m.envoy_metrics) for m in prometheus.messages) == 20
    assert not [f for m in prometheus.messages for f in m.envoy_metrics if f.type == SUMMARY]


@pytest.mark.weft_only
def test_metrics_service__collector_hangs__dropped_and_counted(start_proxy, origin, prometheus):
    """32 MiB may wait; then messages are dropped. Requests go on."""
    prometheus.hold()
    bootstrap = of(origin, prometheus, PROMETHEUS, interval="0.01s")
    bootstrap["static_resources"]["clusters"] += [config.cluster(f"c{i}", origin.port) for i in range(150)]
    proxy = start_proxy(bootstrap)
    wait_until(lambda: proxy.stat("server.weft_metrics_dropped") > 0, "dropped messages", timeout_s=60)
    ask(proxy)
    prometheus.release()
    wait_until(lambda: prometheus.messages, "the collector's recovery")


# Long intervals: only what an ending proxy says.

@pytest.mark.weft_only
def test_metrics_service__end__the_last_is_told(start_proxy, origin, prometheus):
    proxy = start_proxy(of(origin, prometheus, PROMETHEUS, interval="299s"))
    ask(proxy)
    proxy.stop()
    wait_until(lambda: counters(prometheus, "http.in.downstream_rq_total") == [3], "what happened")


@pytest.mark.weft_only
def test_open_telemetry__end__the_last_is_told(start_proxy, origin, otel):
    proxy = start_proxy(of(origin, otel, OTEL, interval="299s", report_counters_as_deltas=True))
    ask(proxy)
    proxy.stop()
    wait_until(lambda: [p.as_int for p in points(otel, "http.downstream_rq_total", "sum", http_conn_manager_prefix="in")] == [3],
               "what happened")


@pytest.mark.weft_only
def test_end__collector_hangs__exits_in_time(start_proxy, origin, prometheus):
    prometheus.hold()
    proxy = start_proxy(of(origin, prometheus, PROMETHEUS, interval="299s"))
    ask(proxy)
    proxy.stop()


# ---- OpenTelemetry ----

def attributes(point):
    return {a.key: a.value.string_value for a in point.attributes}


def points(service, name, kind, **wanted):
    return [p for m in service.metrics(name) for p in getattr(m, kind).data_points
            if all(attributes(p).get("envoy." + k) == v for k, v in wanted.items())]


@BOTH
def test_open_telemetry__plain__cumulative_with_attributes(start_proxy, origin, otel, binary):
    proxy = start_proxy(of(origin, otel, OTEL), binary=binary())
    ask(proxy)
    wait_until(lambda: 3 in [p.as_int for p in points(otel, "http.downstream_rq_total", "sum", http_conn_manager_prefix="in")],
               "three requests")
    total = otel.metrics("http.downstream_rq_total")[-1].sum
    assert total.is_monotonic and total.aggregation_temporality == CUMULATIVE
    assert total.data_points[0].time_unix_nano > total.data_points[0].start_time_unix_nano > 0
    assert otel.metrics("server.concurrency")[0].gauge.data_points[0].as_int >= 1
    wait_until(lambda: points(otel, "cluster.upstream_rq_time", "histogram", cluster_name="origin"), "times")
    time = points(otel, "cluster.upstream_rq_time", "histogram", cluster_name="origin")[-1]
    assert time.count == 3 == sum(time.bucket_counts) and len(time.bucket_counts) == len(time.explicit_bounds) + 1
    resource = {a.key: a.value.string_value for a in otel.exports[0].resource_metrics[0].resource.attributes}
    assert resource["telemetry.sdk.name"] == ("weft-proxy" if binary is weft else "envoy")


@BOTH
def test_open_telemetry__deltas_and_names(start_proxy, origin, otel, binary):
    proxy = start_proxy(of(origin, otel, OTEL, report_counters_as_deltas=True, report_histograms_as_deltas=True,
                           emit_tags_as_attributes=False, use_tag_extracted_name=False, prefix="mesh"), binary=binary())
    ask(proxy)
    wait_until(lambda: sum(p.as_int for p in points(otel, "mesh.http.in.downstream_rq_total", "sum")) == 3, "three requests")
    wait_until(lambda: sum(p.count for p in points(otel, "mesh.cluster.origin.upstream_rq_time", "histogram")) == 3, "times")
    ask(proxy, 1)
    wait_until(lambda: sum(p.as_int for p in points(otel, "mesh.http.in.downstream_rq_total", "sum")) == 4, "one more")
    assert all(p.as_int for p in points(otel, "mesh.http.in.downstream_rq_total", "sum")), "what didn't move isn't told"
    assert all(p.count for p in points(otel, "mesh.cluster.origin.upstream_rq_time", "histogram"))
    for metric in otel.metrics("mesh.http.in.downstream_rq_total"):
        assert metric.sum.aggregation_temporality == DELTA and not metric.sum.data_points[0].attributes
    assert {m.histogram.aggregation_temporality for m in otel.metrics("mesh.cluster.origin.upstream_rq_time")} == {DELTA}
    starts = [p.start_time_unix_nano for p in points(otel, "mesh.http.in.downstream_rq_total", "sum")]
    assert starts == sorted(starts) and starts[-1] > starts[0]


@BOTH
def test_open_telemetry__resource_detectors(start_proxy, origin, otel, binary, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,place=there")
    detectors = [{"name": "envoy.tracers.opentelemetry.resource_detectors.environment",
                  "typed_config": {"@type": DETECTORS + "EnvironmentResourceDetectorConfig"}},
                 {"name": "envoy.tracers.opentelemetry.resource_detectors.static_config",
                  "typed_config": {"@type": DETECTORS + "StaticConfigResourceDetectorConfig",
                                   "attributes": {"place": "here", "more": "yes"}}}]
    start_proxy(of(origin, otel, OTEL, resource_detectors=detectors), binary=binary())
    wait_until(lambda: otel.exports, "an export")
    resource = {a.key: a.value.string_value for a in otel.exports[0].resource_metrics[0].resource.attributes}
    assert {k: v for k, v in resource.items() if not k.startswith("telemetry.")} == {
        "service.name": "shop", "place": "here", "more": "yes"}


@pytest.mark.weft_only
def test_open_telemetry__conversions__refused_by_name(tmp_path, origin, otel):
    path = tmp_path / "conversions.json"
    path.write_text(json.dumps(of(origin, otel, OTEL, custom_metric_conversions={"matcher_list": {"matchers": []}})))
    code, output = run_to_end(["--mode", "validate", "-c", str(path)])
    assert code == 1 and "custom_metric_conversions" in output


@pytest.mark.weft_only
def test_open_telemetry__collector_hangs__bounded_dropped_and_counted(start_proxy, origin, otel):
    otel.hold()
    bootstrap = of(origin, otel, OTEL, interval="0.01s")
    bootstrap["static_resources"]["clusters"] += [config.cluster(f"c{i}", origin.port) for i in range(150)]
    proxy = start_proxy(bootstrap)
    wait_until(lambda: proxy.stat("server.weft_metrics_dropped") > 0, "dropped messages", timeout_s=60)
    ask(proxy)


@pytest.mark.weft_only
def test_open_telemetry__no_collector__requests_go_on(start_proxy, origin, otel):
    otel.close()
    proxy = start_proxy(of(origin, otel, OTEL))
    ask(proxy)
    wait_until(lambda: proxy.stat("cluster.metrics.upstream_cx_connect_fail") > 0, "a try")
    ask(proxy)
