# SPDX-License-Identifier: Apache-2.0
"""Routing as Envoy does it, on one bootstrap: what random configurations (test_random_configs.py) don't make: matcher trees,
rewrites by format, hash cookies, early header mutation, settings at every level, and tables of a thousand routes."""
import re

import pytest

from lib import config, http1
from lib.pairs import Two, chain, h1, http_filter, seen

MATCHING = config.TYPE + "extensions.matching."
HEADER_INPUT = {"name": "h", "typed_config": {"@type": config.TYPE + "type.matcher.v3.HttpRequestHeaderMatchInput"}}
ROUTE = config.TYPE + "config.route.v3."


def answer(text, match=None, **more):
    """A route that answers by itself and says which one it is."""
    return {"match": match or {"prefix": "/"}, "name": text, "direct_response": {"status": 200, "body": {"inline_string": text}}, **more}


def header_input(name):
    return {"name": "h", "typed_config": {**HEADER_INPUT["typed_config"], "header_name": name}}


def action(text, match=None):
    return {"action": {"name": "route", "typed_config": {"@type": ROUTE + "Route", **answer(text, match)}}}


def is_header(name, **match):
    return {"single_predicate": {"input": header_input(name), "value_match": match}}


def tree_listener(name, matcher):
    return config.http_listener(name, stat_prefix=name, virtual_hosts=[{"name": "v", "domains": ["*"], "matcher": matcher}])


LISTED = {"matcher_list": {"matchers": [
    {"predicate": is_header("x-a", exact="1"), "on_match": action("one")},
    {"predicate": {"and_matcher": {"predicate": [is_header("x-a", prefix="2"), {"not_matcher": is_header("x-b", exact="no")}]}},
     "on_match": action("and")},
    {"predicate": {"or_matcher": {"predicate": [is_header("x-a", suffix="3"), is_header("x-b", contains="yes")]}},
     "on_match": {"matcher": {"matcher_list": {"matchers": [{"predicate": is_header("x-c", safe_regex={"google_re2": {}, "regex": "c+"}),
                                                             "on_match": action("nested", {"path": "/n"})}]}}}},
    {"predicate": is_header("x-a", exact="k"), "on_match": action("kept")},
]}, "on_no_match": {"action": {"name": "routes", "typed_config": {"@type": ROUTE + "RouteList", "routes": [
    answer("listed one", {"path": "/1"}), answer("listed rest", {"prefix": "/r"})]}}}}
EXACT = {"matcher_tree": {"input": header_input("x-a"), "exact_match_map": {"map": {"one": action("one"), "two": action("two")}}}}
PREFIX = {"matcher_tree": {"input": header_input(":path"), "prefix_match_map": {"map": {
    "/a": action("/a"), "/a/b": action("/a/b"), "/a/b/c": action("never", {"path": "/"})}}}, "on_no_match": action("none")}


@pytest.fixture
def origin(make_origin):
    return make_origin()


def two_of(start_proxy, origin, *listeners, **more):
    return Two(start_proxy, config.bootstrap(listeners, [config.cluster("origin", origin.port), config.cluster("b", origin.port)], **more))


def plain(proxy, target="/", headers=(), listener="http", host="test.local", method="GET"):
    return seen(h1(proxy, method, target, headers, listener=listener, host=host))


def test_matcher_trees__lists_and_maps__choose_as_envoy(start_proxy, origin):
    two = two_of(start_proxy, origin, tree_listener("list", LISTED), tree_listener("exact", EXACT), tree_listener("prefix", PREFIX))
    for headers in ([], [("x-a", "1")], [("x-a", "2x")], [("x-a", "2"), ("x-b", "no")], [("x-a", "13")], [("x-b", "oh yes")],
                    [("x-b", "oh yes"), ("x-c", "ccc")], [("x-a", "k")], [("x-a", "1"), ("x-a", "2")]):
        for target in ("/", "/n", "/1", "/r?q"):
            two.same(lambda proxy, h=headers, t=target: plain(proxy, t, h, "list"))
    for value in ("one", "two", "three", ""):
        two.same(lambda proxy, v=value: plain(proxy, "/", [("x-a", v)], "exact"))
    for target in ("/", "/a", "/ab", "/a/b", "/a/b/c", "/a/b/c/d?x=/a", "/b"):
        two.same(lambda proxy, t=target: plain(proxy, t, listener="prefix"))


ADD = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def header(key, value, **more):
    return {"header": {"key": key, "value": value}, **more}


REWRITES = [
    config.route("origin", "/format/", path_rewrite="/%REQ(x-a)%/to"), config.route("origin", "/host", host_rewrite="%REQ(x-a)%.net"),
    config.route("origin", "/empty/", path_rewrite="%REQ(x-none)%"),
    config.route("origin", "/lost", host_rewrite_header="x-none"),
    {"match": {"prefix": "/to/"}, "redirect": {"path_rewrite": "/%REQ(x-a)%/there"}},
    {"match": {"prefix": "/strip/"}, "redirect": {"path_rewrite": "/%REQ(x-a)%/there", "strip_query": True}},
    {"match": {"path": "/created"}, "direct_response": {"status": 201}},
    {"match": {"path": "/moved"}, "direct_response": {"status": 302}},
    config.route("origin", "/"),
]


def test_rewrites_by_format__paths_and_hosts__as_envoy(start_proxy, origin):
    two = two_of(start_proxy, origin, config.http_listener("http", routes=REWRITES))
    for target in ("/format/x?q=1", "/host/x", "/empty/x?q", "/lost", "/to/x?q=1", "/strip/x?q=1", "/created?a", "/moved?a"):
        for headers in ([], [("x-a", "b")]):
            two.same_upstream(origin, lambda proxy, t=target, h=headers: plain(proxy, t, h))


def cookies(**more):
    return {"match": {"prefix": "/"}, "route": {"cluster": "origin", "hash_policy": [{"cookie": {"name": "C", **more}}]}}


def masked_cookies(answer):
    return [re.sub(r'"[0-9a-f]{16}"', '"<hash>"', v) for n, v in answer.headers if n.lower() == "set-cookie"]


def test_hash_cookies__missing__are_set_with_all_their_attributes(start_proxy, origin):
    forms = {"plain": cookies(ttl="0s"), "full": cookies(ttl="90.7s", path="/p", attributes=[{"name": "Secure"}, {"name": "SameSite", "value": "Lax"}]),
             "never": cookies(path="/p")}
    hashed = config.cluster("origin", origin.port, lb_policy="RING_HASH")
    two = Two(start_proxy, config.bootstrap([config.http_listener(n, stat_prefix=n, routes=[r]) for n, r in forms.items()], [hashed]))
    for name in forms:
        for headers in ([], [("cookie", 'A=1; C="v"')], [("cookie", "C=")]):
            two.same(lambda proxy, n=name, h=headers: masked_cookies(h1(proxy, headers=h, listener=n)))
    with http1.connect(two.weft.address("plain")) as stream:
        made = []
        for _ in range(2):
            stream.send(http1.request_bytes("GET", "/", [], b"", "h"))
            made.append(http1.read_response(stream, "GET").get("set-cookie"))
    assert made[0] == made[1] and made[0]


EARLY = {"early_header_mutation_extensions": [{"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": {
    "@type": config.TYPE + "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", "mutations": [
        {"append": header("x-early", "%REQ(:PATH)%", **ADD)}, {"remove": "x-gone"},
        {"remove_on_match": {"key_matcher": {"prefix": "x-drop"}}}, {"append": header("x-second", "<%REQ(x-early)%>")}]}}]}


def test_early_header_mutation__before_routes_match__as_envoy(start_proxy, origin):
    routes = [answer("early", {"prefix": "/", "headers": [{"name": "x-early", "string_match": {"exact": "/e"}}]}),
              answer("gone", {"prefix": "/", "headers": [{"name": "x-gone"}]}), config.route("origin")]
    two = two_of(start_proxy, origin, config.http_listener("http", routes=routes, **EARLY))
    for target, headers in (("/e", []), ("/", [("x-gone", "1")]), ("/", [("x-drop-a", "1"), ("x-early", "0"), ("x-second", "0")])):
        two.same_upstream(origin, lambda proxy, t=target, h=headers: plain(proxy, t, h))


def test_levels__headers_of_all_four__in_envoys_order(start_proxy, origin):
    def level(name):
        return {"request_headers_to_add": [header("x-over", name, **ADD), header("x-all", name)],
                "response_headers_to_add": [header("x-over", name, **ADD), header("x-all", name + " %RESPONSE_CODE%")]}

    listeners = []
    for wins in (True, False):
        weighted = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "origin", "weight": 1, "host_rewrite_literal": "of.weighted", **level("weighted")}]}}, **level("route")}
        host = config.virtual_host([weighted], **level("vhost"))
        listeners.append(config.http_listener(f"l{wins}", stat_prefix=f"l{wins}", virtual_hosts=[host], route_config={
            "most_specific_header_mutations_wins": wins, **level("config")}))
    two = two_of(start_proxy, origin, *listeners)
    for wins in (True, False):
        two.same_upstream(origin, lambda proxy, w=wins: plain(proxy, "/", [("x-all", "own")], f"l{w}"))


def test_virtual_hosts__tls_required_vhost_header_path_parameters__as_envoy(start_proxy, origin):
    secure = [config.virtual_host([answer("all")], "all", ["all"], require_tls="ALL"),
              config.virtual_host([answer("external")], "external", ["external"], require_tls="EXTERNAL_ONLY")]
    named = [config.virtual_host([answer("one", {"path": "/a"})], "one", ["one"]), config.virtual_host([answer("sub")], "sub", ["*.sub"])]
    two = two_of(start_proxy, origin, config.http_listener("secure", stat_prefix="s", virtual_hosts=secure),
                 config.http_listener("named", stat_prefix="n", virtual_hosts=named, route_config={
                     "vhost_header": "x-v", "ignore_path_parameters_in_path_matching": True}))
    for host in ("all", "external"):
        for headers in ([], [("x-forwarded-proto", "https")], [("x-forwarded-for", "8.8.8.8")], [("x-forwarded-for", "10.0.0.1")]):
            two.same(lambda proxy, o=host, h=headers: plain(proxy, "/x?q", h, "secure", o))
    for value, target in (("one", "/a"), ("ONE", "/a;p=1?q"), ("a.sub", "/"), ("two", "/"), ("", "/")):
        two.same(lambda proxy, v=value, t=target: plain(proxy, t, [("x-v", v)], "named", "one"))
    two.same(lambda proxy: plain(proxy, "/a", [], "named", "one"))


def overridden(name, **fields):
    return {"typed_per_filter_config": {name: {"@type": ROUTE + "FilterConfig", **fields}}}


def test_filter_config__disabled_and_enabled_per_level__as_envoy(start_proxy, origin):
    fault = http_filter("f", "extensions.filters.http.fault.v3.HTTPFault", abort={"http_status": 418, "percentage": {"numerator": 100}})
    own = {"@type": config.TYPE + "extensions.filters.http.fault.v3.HTTPFault", "abort": {"http_status": 419, "percentage": {"numerator": 100}}}
    routes = [{**config.route("origin", "/off"), **overridden("f", disabled=True)}, {**config.route("origin", "/on"), **overridden("f", config=own)},
              {**config.route("origin", "/bare"), "typed_per_filter_config": {"f": own}}, config.route("origin", "/")]
    listeners = []
    for name, disabled, level in (("on", False, {}), ("off", True, {}), ("vhost", False, overridden("f", disabled=True))):
        host = config.virtual_host(routes, **level)
        listeners.append(config.http_listener(name, stat_prefix=name, virtual_hosts=[host], http_filters=chain({**fault, "disabled": disabled})))
    two = two_of(start_proxy, origin, *listeners)
    for name in ("on", "off", "vhost"):
        for target in ("/", "/off", "/on", "/bare"):
            two.same(lambda proxy, n=name, t=target: plain(proxy, t, [], n))


def scope(name, key, text):
    return {"name": name, "key": {"fragments": [{"string_key": k} for k in key]}, "route_configuration": {
        "name": name, "virtual_hosts": [config.virtual_host([answer(text)])]}}


def scoped(extractors, scopes):
    fields = config.hcm()["typed_config"]
    del fields["route_config"]
    fields["scoped_routes"] = {"name": "s", "scope_key_builder": {"fragments": [{"header_value_extractor": e} for e in extractors]},
                               "scoped_route_configurations_list": {"scoped_route_configurations": scopes}}
    return config.listener("http", {"name": "envoy.filters.network.http_connection_manager", "typed_config": fields})


def test_scoped_routes__keys_of_headers__choose_the_table(start_proxy, origin):
    extractors = [{"name": "X-Addr", "element_separator": ";", "element": {"key": "vip", "separator": "="}},
                  {"name": "x-list", "element_separator": ",", "index": 1}]
    two = two_of(start_proxy, origin, scoped(extractors, [scope("a", ["1.2.3.4", "b"], "first"), scope("b", ["", "b"], "empty"),
                                                          scope("c", ["1.2.3.4", ""], "blank")]))
    for address in ("vip=1.2.3.4", "x=1;vip=1.2.3.4;vip=5", "vip=", "vip", "vip=5", None):
        for items in ("a,b,c", "a,", "a", None):
            headers = [(n, v) for n, v in (("x-addr", address), ("x-list", items)) if v is not None]
            two.same(lambda proxy, h=headers: plain(proxy, "/", h))


def many_routes():
    routes = [answer(f"prefix {i}", {"prefix": f"/api/v1/service-{i}/"}) for i in range(300)]
    routes += [answer(f"path {i}", {"path": f"/api/v1/exact-{i}"}) for i in range(300)]
    routes += [answer(f"regex {i}", {"safe_regex": {"regex": f"/re/{i}/[a-z]+"}}) for i in range(200)]
    routes += [answer(f"case {i}", {"prefix": f"/CASE/{i}/", "case_sensitive": False}) for i in range(100)]
    routes += [answer(f"header {i}", {"prefix": "/h", "headers": [{"name": "x-n", "string_match": {"exact": str(i)}}]}) for i in range(50)]
    return [*routes, answer("api", {"path_separated_prefix": "/api"}), answer("late", {"path": "/api/v1/exact-7"}), answer("all")]


def test_thousand_routes__the_first_match_of_the_list(start_proxy, origin):
    two = two_of(start_proxy, origin, config.http_listener("http", routes=many_routes()))
    for target in ("/api/v1/service-0/", "/api/v1/service-29/x", "/api/v1/service-299/", "/api/v1/service-300/", "/api/v1/exact-299", "/api/v1/exact-7?q",
                   "/api", "/apis", "/re/150/abc", "/re/150/ABC", "/case/99/x", "/h", "/hh", "/", "/api/v1/service-2"):
        two.same(lambda proxy, t=target: plain(proxy, t, [("x-n", "49")]))


def test_virtual_hosts__ten_thousand_of_three_domains__found_at_once(start_proxy, origin):
    hosts = [config.virtual_host([answer(f"v{i}")], f"v{i}", [f"h{i}.test", f"*.w{i}.test", f"p{i}.*"]) for i in range(10000)]
    two = two_of(start_proxy, origin, config.http_listener("http", virtual_hosts=hosts))
    for host in ("h0.test", "H9999.test", "a.w5000.test", "w5000.test", "p77.com", "p77", "none"):
        two.same(lambda proxy, h=host: plain(proxy, host=h))


def test_cluster_choice__by_header__unknown_ones_are_answered(start_proxy, origin):
    routes = [config.route("x", "/w", weighted_clusters={"clusters": [{"name": "origin", "weight": 1}, {"cluster_header": "x-c", "weight": 1}],
                                                         "header_name": "x-n"}),
              {"match": {"prefix": "/c"}, "route": {"cluster_header": "x-c", "cluster_not_found_response_code": "NOT_FOUND"}},
              {"match": {"prefix": "/"}, "route": {"cluster_header": "x-c"}}]
    del routes[0]["route"]["cluster"]
    two = two_of(start_proxy, origin, config.http_listener("http", routes=routes))
    for target in ("/w", "/c", "/"):
        for headers in ([("x-n", "0")], [("x-n", "1")], [("x-n", "1"), ("x-c", "b")], [("x-n", "3"), ("x-c", "unknown")]):
            two.same_upstream(origin, lambda proxy, t=target, h=headers: plain(proxy, t, h))
