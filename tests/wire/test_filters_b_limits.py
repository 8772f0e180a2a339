# SPDX-License-Identifier: Apache-2.0
"""local_ratelimit of requests beside Envoy: buckets, descriptors, headers, stages, routes, connections."""
import pytest

from lib import config, http1
from lib.origin import Origin
from lib.pairs import Two, chain, h1, h2, http_filter, seen
from lib.streams import connect

ON = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
OFF = {"default_value": {"numerator": 0, "denominator": "HUNDRED"}}
TYPE = "extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
STATS = r"http_local_rate_limit"


def bucket(tokens, interval="1000s"):
    return {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": interval}


def fields(tokens=2, **more):
    return {"stat_prefix": "lim", "token_bucket": bucket(tokens), "filter_enabled": ON, "filter_enforced": ON,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03", **more}


def local_ratelimit(**more):
    return http_filter("local_ratelimit", TYPE, **fields(**more))


def by_header(name, key, **more):
    return {"actions": [{"request_headers": {"header_name": name, "descriptor_key": key}}], **more}


def descriptor(tokens, **entries):
    return {"entries": [{"key": key, "value": value} for key, value in entries.items()], "token_bucket": bucket(tokens)}


@pytest.fixture
def start_two(start_proxy, started):
    def start(*filters, **more):
        origin = started.add(made := Origin(), made.close)
        two = Two(start_proxy, config.bootstrap([config.http_listener(http_filters=chain(*filters), **more)],
                                                [config.cluster("origin", origin.port)]))
        two.origin = origin
        return two
    return start


def ask(two, *headers, times=1, **more):
    return [two.same_upstream(two.origin, lambda p: seen(h1(p, headers=list(headers), **more))) for _ in range(times)]


@pytest.mark.parametrize("more", [
    {}, {"enable_x_ratelimit_headers": "OFF"}, {"status": {"code": "ServiceUnavailable"}}, {"status": {"code": "OK"}},
    {"response_headers_to_add": [{"header": {"key": "x-lim", "value": "%PROTOCOL%"}}]},
    {"filter_enforced": OFF, "request_headers_to_add_when_not_enforced": [{"header": {"key": "x-lim", "value": "over"}}]},
    {"filter_enabled": OFF}, {"rate_limited_as_resource_exhausted": True}, {"tokens": 0 + 1},
    {"local_rate_limit_per_downstream_connection": True},
], ids=["plain", "silent", "503", "200", "answer", "shadow", "off", "exhausted", "one", "connections"])
def test_one_bucket_limits_as_envoys(start_two, more):
    two = start_two(local_ratelimit(**more))
    ask(two, times=4)
    two.same(lambda p: seen(h2(p, method="POST", headers=[("content-type", "application/grpc")], body=b"")))
    two.same_stats(STATS)


def test_a_bucket_of_a_connection_is_its_own(start_two):
    two = start_two(local_ratelimit(local_rate_limit_per_downstream_connection=True))

    def on_one(proxy):
        with connect(proxy.address()) as stream:
            statuses = []
            for _ in range(3):
                stream.send(http1.request_bytes())
                statuses.append(http1.read_response(stream).status)
            return statuses
    assert two.same(on_one) == two.same(on_one) == [200, 200, 429]


RULES = [by_header("x-p", "p"), by_header("x-w", "w"),
         {"actions": [{"request_headers": {"header_name": "x-p", "descriptor_key": "p"}}, {"generic_key": {"descriptor_value": "g"}}]}]
DESCRIPTORS = [descriptor(1, p="a"), descriptor(2, p="b"), descriptor(1, w=""), descriptor(2, p="c", generic_key="g")]
ASKED = [[("x-p", "a")], [("x-p", "a")], [("x-p", "b")], [("x-w", "1")], [("x-w", "1")], [("x-w", "2")], [("x-w", "3")],
         [("x-w", "1")], [("x-w", "1")], [("x-p", "a"), ("x-w", "9")], [("x-p", "b"), ("x-w", "8")], [("x-p", "c")], [("x-p", "c")],
         [("x-p", "c")], [], [], [("x-p", "zz")]]


@pytest.mark.parametrize("more", [
    {}, {"always_consume_default_token_bucket": False}, {"tokens": 3}, {"max_dynamic_descriptors": 2},
], ids=["both", "own", "few", "lru"])
def test_descriptors_have_buckets_as_envoys(start_two, more):
    two = start_two(local_ratelimit(**{"tokens": 9, "descriptors": DESCRIPTORS, "rate_limits": RULES, **more}))
    for headers in ASKED:
        ask(two, *headers)
    two.same_stats(STATS)


@pytest.mark.parametrize("vh", ["OVERRIDE", "INCLUDE", "IGNORE"])
def test_rules_of_routes_and_stages(start_two, vh):
    two = start_two(
        local_ratelimit(tokens=100, descriptors=[descriptor(1, p="a"), descriptor(1, v="a"), descriptor(1, late="a")],
                        vh_rate_limits=vh),
        http_filter("second", TYPE, **fields(tokens=100, stat_prefix="second", stage=1, descriptors=[descriptor(1, late="a")])),
        virtual_hosts=[config.virtual_host(
            [config.route(prefix="/own", rate_limits=[by_header("x-p", "p"), by_header("x-l", "late", stage=1)]),
             config.route(prefix="/both", rate_limits=[by_header("x-p", "p")], include_vh_rate_limits=True), config.route()],
            rate_limits=[by_header("x-p", "v")])])
    for target in ("/own", "/both", "/"):
        for header in ("x-p", "x-l"):
            ask(two, (header, "a"), times=2, target=target)
    two.same_stats(STATS)


def test_a_route_has_a_limit_of_its_own(start_two):
    own = {"@type": config.TYPE + TYPE, **fields(1, stat_prefix="own")}
    two = start_two(local_ratelimit(), routes=[
        {**config.route(prefix="/own"), "typed_per_filter_config": {"local_ratelimit": own}}, config.route()])
    ask(two, times=2, target="/own")
    ask(two, times=3)
    two.same_stats(STATS)


def test_buckets_fill_again(start_two):
    two = start_two(local_ratelimit(tokens=1, token_bucket=bucket(1, "0.1s")))
    for proxy in (two.envoy, two.weft):
        statuses = {h1(proxy).status for _ in range(5)}
        while h1(proxy).status != 200:
            pass
        assert 429 in statuses
