# SPDX-License-Identifier: Apache-2.0
"""envoy.filters.http.ext_authz and envoy.filters.network.ext_authz against authorization services, beside Envoy."""
import grpc
import pytest

from lib import config
from lib.authz_servers import Authorization
from lib.http1 import fetch
from lib.origin import Origin
from lib.pairs import Two, chain, h1, h2, http_filter, seen
from lib.streams import Closed, connect, unused_port
from lib.wait import wait_until

NAME = "envoy.filters.http.ext_authz"
TYPE = "extensions.filters.http.ext_authz.v3.ExtAuthz"
ROUTE = config.TYPE + "extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
DENY = {"status": {"code": 7}}


def over_grpc(timeout="5s", **fields):
    return {"grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": timeout}, **fields}


def over_http(timeout="5s", **fields):
    return {"http_service": {"server_uri": {"uri": "http://authz", "cluster": "authz", "timeout": timeout}, **fields}}


def authz(**fields):
    return http_filter(NAME, TYPE, **{"transport_api_version": "V3", **fields})


def names(*exact):
    return {"patterns": [{"exact": n} for n in exact]}


def per_route(**fields):
    return {"typed_per_filter_config": {NAME: {"@type": ROUTE, **fields}}}


def make_bootstrap(origin_port, service_port, *listeners, http2=True):
    return config.bootstrap(
        list(listeners), [config.cluster("origin", origin_port), config.cluster("authz", service_port, http2=http2)],
        node={"id": "me", "cluster": "mine", "metadata": {"LABELS": {"app": "web", "version": "1", "number": 5}}})


@pytest.fixture
def service(started):
    made = Authorization()
    return started.add(made, made.close)


@pytest.fixture
def two(start_proxy, origin, service):
    def start(*filters, **more):
        made = Two(start_proxy, make_bootstrap(origin.port, service.port, config.http_listener(http_filters=chain(*filters), **more)))
        made.origin = origin
        made.service = service
        return made
    return start


def masked(request):
    """A CheckRequest without what differs between two processes; what differs must be there."""
    a = request["attributes"]
    http = a["request"]["http"]
    assert a["request"].pop("time") and http.pop("id")
    assert a["source"]["address"]["socket_address"].pop("port_value")
    assert a["destination"]["address"]["socket_address"].pop("port_value")
    for h in ("x-request-id", "x-envoy-expected-rq-timeout-ms"):
        http.get("headers", {}).pop(h, None)
    if "header_map" in http:
        http["header_map"]["headers"] = sorted((h["key"], h["raw_value"]) for h in http["header_map"]["headers"] if h["key"] != "x-request-id")
    return a


def asking(two, ask):
    """What the client saw and what the service was asked."""
    def both(proxy):
        two.service.take()
        answer = ask(proxy)
        return answer, [masked(r) for r in two.service.take()]
    return both


# ---- what is asked ----

def test_check_request__every_field__as_envoy_asks(two):
    pair = two(authz(**over_grpc(), bootstrap_metadata_labels_key="LABELS", include_tls_session=True,
                     disallowed_headers=names("x-secret"), route_metadata_context_namespaces=["space", "none"]),
               routes=[config.route() | {"metadata": {"filter_metadata": {"space": {"a": [1, {"b": True}], "c": None}}}}
                       | per_route(check_settings={"context_extensions": {"k": "v", "l": ""}})])
    headers = [("x-a", "1"), ("x-a", "2"), ("x-secret", "no"), ("x-envoy-auth-partial-body", "fake"), ("authorization", "Basic x"),
               ("x-envoy-downstream-service-cluster", "friend")]
    _, asked = pair.same(asking(pair, lambda p: seen(h1(p, target="/p?q=1", headers=headers))))
    assert asked[0]["request"]["http"]["headers"]["x-a"] == "1,2" and "x-secret" not in asked[0]["request"]["http"]["headers"]
    assert asked[0]["context_extensions"] == {"k": "v", "l": ""}
    pair.same(asking(pair, lambda p: seen(h2(p, method="POST", path="/", body=b"not shown"))))
    pair.same_stats(r"^(http\.in|cluster\.origin)\.ext_authz")


def test_check_request__raw_headers_and_allowed_ones__as_envoy_asks(two):
    pair = two(authz(**over_grpc(), encode_raw_headers=True, allowed_headers=names("x-a", ":path")))
    pair.same(asking(pair, lambda p: seen(h1(p, headers=[("x-a", "1"), ("x-a", "2"), ("x-b", "3")]))))


@pytest.mark.parametrize("body", [{"max_request_bytes": 10, "allow_partial_message": True}, {"max_request_bytes": 10},
                                  {"max_request_bytes": 100, "pack_as_bytes": True}], ids=["partial", "whole", "bytes"])
def test_check_request__body__as_envoy_sends_it(two, body):
    pair = two(authz(**over_grpc(), with_request_body=body))
    for sent in (b"", b"123", b"1234567890", b"12345678901", b"x" * 50):
        pair.same_upstream(pair.origin, asking(pair, lambda p, sent=sent: seen(h1(p, "POST", body=sent)).get("status")))


@pytest.mark.parametrize("sans", [["URI:spiffe://td/ns/a/sa/b", "DNS:a.example"], ["DNS:a.example"], []], ids=["uri", "dns", "subject"])
def test_check_request__mutual_tls__tells_who_it_is(two, ca, sans):
    tls = config.server_tls(ca.issue("server", ["DNS:test.local"]), ca=ca)
    pair = two(authz(**over_grpc(), include_peer_certificate=True, include_tls_session=True), tls=tls)
    context = ca.client_context(ca.issue("client", sans))
    _, asked = pair.same(asking(pair, lambda p: seen(fetch(p.address("http"), "GET", "/", [], b"", "test.local", context))))
    assert asked[0]["source"]["principal"] and asked[0]["source"]["certificate"] and asked[0]["destination"]["principal"]


# ---- what is answered ----

ANSWERS = {
    "allowed": {},
    "denied": DENY,
    "denied_with": {**DENY, "denied_response": {"status": {"code": 401}, "body": "who?", "headers": [
        {"header": {"key": "www-authenticate", "value": "Basic"}}, {"header": {"key": "x-b", "value": "2"}, "append": True}]}},
    "headers": {"ok_response": {
        "headers": [{"header": {"key": "x-set", "value": "new"}}, {"header": {"key": "x-old", "value": "more"}, "append": True},
                    {"header": {"key": "x-none", "value": "more"}, "append": True},
                    {"header": {"key": "x-over", "value": "new"}, "append": False}],
        "headers_to_remove": ["x-gone", ":path", "host"],
        "response_headers_to_add": [{"header": {"key": "x-answer", "value": "1"}}]}},
    "response_actions": {"ok_response": {"response_headers_to_add": [
        {"header": {"key": key, "value": action}, "append_action": action} for key, action in (
            ("content-type", "ADD_IF_ABSENT"), ("x-a", "ADD_IF_ABSENT"), ("x-b", "OVERWRITE_IF_EXISTS"),
            ("x-c", "OVERWRITE_IF_EXISTS_OR_ADD"))]}},
    "request_actions": {"ok_response": {"headers": [
        {"header": {"key": key, "value": action}, "append_action": action} for key, action in (
            ("x-set", "ADD_IF_ABSENT"), ("x-a", "ADD_IF_ABSENT"), ("x-b", "OVERWRITE_IF_EXISTS"), ("x-old", "OVERWRITE_IF_EXISTS"),
            ("x-over", "OVERWRITE_IF_EXISTS_OR_ADD"), ("x-gone", "APPEND_IF_EXISTS_OR_ADD"))]}},
    "query": {"ok_response": {"query_parameters_to_set": [{"key": "z", "value": "9"}], "query_parameters_to_remove": ["gone"]}},
    "failed": grpc.StatusCode.UNAVAILABLE,
    "garbage": b"\xff\xff\xff",
}


@pytest.mark.parametrize("limit", [0, 3, 4, 5])
def test_denied__a_long_body__cut_as_envoy_cuts_it(two, limit):
    pair = two(authz(**over_grpc(), max_denied_response_body_bytes=limit))
    pair.service.answer = {**DENY, "denied_response": {"status": {"code": 401}, "body": "who?"}}
    pair.same(lambda p: seen(h1(p)))
    assert pair.same(lambda p: h1(p).body) == b"who?"[:limit or None]


@pytest.mark.parametrize("name", ANSWERS)
def test_answer__of_each_kind__as_envoy_takes_it(two, name):
    pair = two(authz(**over_grpc()))
    pair.service.answer = ANSWERS[name]
    headers = [("x-set", "old"), ("x-old", "old"), ("x-gone", "1"), ("x-over", "old")]
    pair.same_upstream(pair.origin, lambda p: seen(h1(p, target="/p?gone=1&stays=2", headers=headers)))
    pair.same_stats(r"^(http\.in|cluster\.origin)\.ext_authz|^cluster\.origin\.(internal\.)?upstream_rq_4")


@pytest.mark.parametrize("fields", [{}, {"failure_mode_allow": True, "failure_mode_allow_header_add": True},
                                    {"status_on_error": {"code": "ServiceUnavailable"}}], ids=["refused", "allowed", "status"])
def test_answer__that_never_comes__ends_with_the_timeout(two, fields):
    pair = two(authz(**over_grpc(timeout="0.2s"), **fields))
    pair.service.hold()
    pair.same_upstream(pair.origin, lambda p: seen(h1(p)))
    pair.same_stats(r"^(http\.in|cluster\.origin)\.ext_authz")


def test_answer__headers_that_split_a_message__are_left_out(two):
    pair = two(authz(**over_grpc()))
    pair.service.answer = {"ok_response": {"headers": [{"header": {"key": key, "value": value}} for key, value in (
        ("x-good", "1"), ("x-bad", "1\r\nx-more: 2"), ("x bad", "1"), (":path", "/a HTTP/1.1"), (":status", "1"), ("content-length", "9"),
        ("transfer-encoding", "chunked"), ("host", "b"))], "query_parameters_to_set": [{"key": "a", "value": "b c"}]}}
    assert h1(pair.weft, target="/p").status == 200
    last = pair.origin.requests[-1]
    assert last.start == "GET /p HTTP/1.1"
    found = {name.lower(): value for name, value in last.headers}
    assert found["x-good"] == "1" and found["host"] == "test.local"
    assert not {"x-bad", "x-more", "x bad", ":status", "content-length", "transfer-encoding"} & set(found)


def test_answer__client_gone_meanwhile__call_is_cancelled(two):
    pair = two(authz(**over_grpc(timeout="60s")))
    pair.service.hold()
    with connect(pair.weft.address("http")) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        pair.service.wait_requests(1)
    wait_until(lambda: pair.weft.stats(r"^cluster\.authz\.upstream_rq_active")["cluster.authz.upstream_rq_active"] == 0, "cancelled")


def test_service__absent__refused(start_proxy, origin):
    pair = Two(start_proxy, make_bootstrap(origin.port, unused_port(), config.http_listener(http_filters=chain(authz(**over_grpc())))))
    pair.same(lambda p: seen(h1(p)))


def test_answer__metadata__taken(two):
    pair = two(authz(**over_grpc()), routes=[config.route() | {"response_headers_to_add": [
            {"header": {"key": "x-meta", "value": f"%DYNAMIC_METADATA({NAME}:user)%"}}]}])
    pair.service.answer = {"dynamic_metadata": {"user": "ann"}}
    assert ("x-meta", "ann") in [tuple(h) for h in pair.same(lambda p: seen(h1(p)))["headers"]]


# ---- routes and switches ----

def test_per_route__disabled_and_body__as_envoy(two):
    pair = two(authz(**over_grpc(), with_request_body={"max_request_bytes": 5}), routes=[
        config.route(prefix="/off") | per_route(disabled=True),
        config.route(prefix="/bodiless") | per_route(check_settings={"disable_request_body_buffering": True}),
        config.route(prefix="/more") | per_route(check_settings={"with_request_body": {"max_request_bytes": 50}}),
        config.route()])
    pair.service.answer = DENY
    for path in ("/off", "/bodiless", "/more", "/"):
        pair.same(asking(pair, lambda p, path=path: h1(p, "POST", path, body=b"1234567").status))


@pytest.mark.parametrize("fields", [
    {"filter_enabled": {"default_value": {"numerator": 0}}},
    {"filter_enabled": {"default_value": {"numerator": 0}}, "deny_at_disable": {"default_value": True, "runtime_key": "deny"}},
    {"filter_enabled_metadata": {"filter": "x", "path": [{"key": "y"}], "value": {"present_match": True}}},
], ids=["off", "denied", "metadata"])
def test_filter_enabled__not__as_envoy(two, fields):
    pair = two(authz(**over_grpc(), **fields))
    pair.same(asking(pair, lambda p: seen(h1(p))))
    pair.same_stats(r"^http\.in\.ext_authz")


# ---- over HTTP ----

@pytest.fixture
def http_two(start_proxy, origin, started):
    def start(answer, **fields):
        server = started.add(Origin(default=answer), lambda: server.close())
        made = Two(start_proxy, make_bootstrap(origin.port, server.port, config.http_listener(http_filters=chain(authz(**fields))), http2=False))
        made.origin, made.server = origin, server
        return made
    return start


def client_view(answer):
    """Without what Envoy adds to any answer that comes to itself."""
    view = seen(answer)
    view["headers"] = [h for h in view["headers"] if h[0] != "x-envoy-upstream-service-time"]
    return view


def http_asked(pair, ask):
    def both(proxy):
        mark = len(pair.server.requests)
        answer = ask(proxy)
        return answer, [(r.start, sorted(h for h in r.headers if h[0].lower() not in ("x-request-id", "host")), r.body)
                        for r in pair.server.requests[mark:]]
    return both


ALLOW = b"HTTP/1.1 200 OK\r\nx-user: ann\r\nx-more: 2\r\nx-absent: 4\r\nx-client: 3\r\nx-envoy-auth-headers-to-remove: x-gone\r\ncontent-length: 0\r\n\r\n"
REFUSE = b"HTTP/1.1 401 No\r\nwww-authenticate: Basic\r\nx-other: 1\r\nx-shown: 2\r\ncontent-length: 4\r\n\r\nwho?"
BROKEN = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
RULES = {"authorization_response": {"allowed_upstream_headers": names("x-user"), "allowed_client_headers": names("x-shown"),
                                    "allowed_upstream_headers_to_append": names("x-more", "x-absent"),
                                    "allowed_client_headers_on_success": names("x-client")},
         "authorization_request": {"headers_to_add": [{"key": "x-added", "value": "%REQ(x-a)%"}]}, "path_prefix": "/check"}


@pytest.mark.parametrize("answer", [ALLOW, REFUSE, BROKEN], ids=["allowed", "refused", "broken"])
@pytest.mark.parametrize("rules", [{}, RULES], ids=["plain", "rules"])
def test_http_service__answers__as_envoy(http_two, answer, rules):
    pair = http_two(answer, **over_http(**rules), allowed_headers=names("x-a"))
    headers = [("x-a", "1"), ("x-b", "2"), ("x-more", "1"), ("x-gone", "1"), ("authorization", "Basic y")]
    pair.same_upstream(pair.origin, http_asked(pair, lambda p: client_view(h1(p, "POST", "/p?q=1", headers=headers, body=b"12"))))
    pair.same_stats(r"^(http\.in|cluster\.origin)\.ext_authz")


def test_http_service__body__goes_along(http_two):
    pair = http_two(ALLOW, **over_http(), with_request_body={"max_request_bytes": 4, "allow_partial_message": True})
    _, asked = pair.same(http_asked(pair, lambda p: h1(p, "POST", body=b"123456").status))
    assert asked[0][2] in (b"1234", b"123456")


# ---- connections ----

def tcp(**fields):
    return {"name": "envoy.filters.network.ext_authz", "typed_config": {
        "@type": config.TYPE + "extensions.filters.network.ext_authz.v3.ExtAuthz", "stat_prefix": "t", "transport_api_version": "V3",
        **over_grpc(), **fields}}


ECHO = {"name": "envoy.filters.network.echo", "typed_config": {"@type": config.TYPE + "extensions.filters.network.echo.v3.Echo"}}


def said(proxy):
    with connect(proxy.address("tcp")) as client:
        try:
            client.send(b"hello")
            return client.read_exact(5)
        except (OSError, Closed):
            return b""


@pytest.mark.parametrize("answer", [{}, DENY, grpc.StatusCode.INTERNAL], ids=["allowed", "denied", "failed"])
@pytest.mark.parametrize("fields", [{}, {"failure_mode_allow": True}], ids=["strict", "lenient"])
def test_connection__answers__as_envoy(start_proxy, service, answer, fields):
    pair = Two(start_proxy, make_bootstrap(unused_port(), service.port, config.listener("tcp", tcp(**fields), ECHO)))
    service.answer = answer
    pair.same(said)
    pair.same_stats(r"^ext_authz\.t\.")


# ---- what istiod makes of CUSTOM policies: shadow rules say whom the service is asked about ----

def shadow(kind, rule, **more):
    return {"name": f"envoy.filters.{kind}.rbac", "typed_config": {
        "@type": config.TYPE + f"extensions.filters.{kind}.rbac.v3.RBAC", "shadow_rules_stat_prefix": "istio_ext_authz_",
        "shadow_rules": {"action": "DENY", "policies": {"istio-ext-authz-authz-grpc-ns[foo]-policy[ext]-rule[1]": {
            "permissions": [{"and_rules": {"rules": [{"or_rules": {"rules": [rule]}}]}}],
            "principals": [{"and_ids": {"ids": [{"any": True}]}}]}}}, **more}}


def by_shadow(kind):
    return {"filter_enabled_metadata": {
        "filter": f"envoy.filters.{kind}.rbac", "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "istio-ext-authz-authz-grpc"}}}}


def test_istiod_custom_policy__requests__only_those_that_match_are_asked_about(two):
    pair = two(shadow("http", {"header": {"name": ":method", "string_match": {"exact": "POST"}}}),
               authz(**over_grpc(timeout="0.500s"), **by_shadow("http")))
    pair.service.answer = DENY
    assert pair.same(lambda p: seen(h1(p, "POST")))["status"] == "403"
    assert pair.same(lambda p: seen(h1(p, "GET")))["status"] == "200"
    pair.same_stats(r"^http\.in\.ext_authz")


@pytest.mark.parametrize("rule", [{"any": True}, {"destination_port": 1}], ids=["matches", "does_not"])
def test_istiod_custom_policy__connections__only_those_that_match_are_asked_about(start_proxy, service, rule):
    filters = shadow("network", rule, stat_prefix="tcp."), tcp(stat_prefix="tcp.", **by_shadow("network")), ECHO
    pair = Two(start_proxy, make_bootstrap(unused_port(), service.port, config.listener("tcp", *filters)))
    service.answer = DENY
    pair.same(said)
    pair.same_stats(r"^ext_authz\.tcp")
