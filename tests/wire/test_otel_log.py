# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry access logs (OTLP over gRPC) to a receiver made of the public protos, beside Envoy."""
import pytest

from lib import config
from lib.grpc_services import OtelLogs
from lib.http1 import fetch
from lib.pairs import Two, h1
from lib.wait import wait_until

TYPE = config.TYPE + "extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"


@pytest.fixture
def collector(started):
    made = OtelLogs()
    return started.add(made, made.close)


def log(common=None, **fields):
    return {"name": "envoy.access_loggers.open_telemetry", "typed_config": {"@type": TYPE, "common_config": {
        "log_name": "otel", "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
        "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}}, **(common or {})}, **fields}}


def text(value):
    return {"string_value": value}


def pairs(**values):
    return {"values": [{"key": key, "value": value} for key, value in values.items()]}


def bootstrap(origin_port, collector_port, one, **more):
    return config.bootstrap(
        [config.http_listener(access_log=[one], **more)],
        [config.cluster("origin", origin_port), config.cluster("logs", collector_port, http2=True)],
        node={"id": "me", "cluster": "mine", "locality": {"zone": "z"}})


CASES = {
    "nothing but the time": {},
    "body": {"body": text("%REQ(:METHOD)% %REQ(no)% %RESPONSE_CODE%")},
    "body of a map": {"body": {"kvlist_value": pairs(a=text("%PROTOCOL%"), b={"kvlist_value": pairs(c=text("d"))})}},
    "body of a list": {"body": {"array_value": {"values": [text("x"), text("%BYTES_SENT%")]}}},
    "attributes": {"attributes": pairs(status=text("%RESPONSE_CODE%"), deep={"kvlist_value": pairs(a=text("%PROTOCOL%-x"))},
                                       list={"array_value": {"values": [text("x"), text("%PROTOCOL%")]}})},
    "resource": {"resource_attributes": pairs(res=text("r %PROTOCOL%"), more={"kvlist_value": pairs(k=text("v"))}),
                 "stat_prefix": "mine"},
    "no labels": {"disable_builtin_labels": True, "resource_attributes": pairs(only=text("this"))},
}


def records(request):
    return [record for r in request["resource_logs"] for scope in r.get("instrumentation_library_logs", r.get("scope_logs", []))
            for record in scope.get("logs", scope.get("log_records", []))]


@pytest.mark.parametrize("name", CASES)
def test_records__as_envoy(start_proxy, origin, collector, name):
    pair = Two(start_proxy, bootstrap(origin.port, collector.port, log(**CASES[name])))

    def ask(proxy):
        collector.take()
        h1(proxy)
        request = dict(collector.wait_requests(1)[0])
        for record in records(request):
            assert int(record.pop("time_unix_nano")) > 10 ** 18
        return request
    pair.same(ask)
    pair.same_stats(r"^access_logs\.open_telemetry_access_log.*logs_")


def test_many__batched(start_proxy, origin, collector):
    proxy = start_proxy(bootstrap(origin.port, collector.port, log(common={"buffer_flush_interval": "600s", "buffer_size_bytes": 200})))
    for _ in range(40):
        fetch(proxy.address())
    wait_until(lambda: sum(len(records(r)) for r in collector.requests) >= 30, "records")
    assert len(collector.requests) < 30
    proxy.stop()
    assert sum(len(records(r)) for r in collector.requests) == 40


@pytest.mark.weft_only
def test_collector__takes_nothing__bounded_dropped_and_counted(start_proxy, origin, collector):
    collector.hold()
    proxy = start_proxy(bootstrap(origin.port, collector.port, log(common={"buffer_size_bytes": 100})))

    def has_dropped():
        for _ in range(50):
            assert fetch(proxy.address()).status == 200
        return proxy.stats().get("access_logs.open_telemetry_access_log.logs_dropped", 0) > 0
    wait_until(has_dropped, "records to be dropped")
    assert proxy.stat("cluster.logs.upstream_rq_active") <= 8
    collector.release()
