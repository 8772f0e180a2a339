# SPDX-License-Identifier: Apache-2.0
"""The access control that a real istiod made of AuthorizationPolicies (fixtures/istiod_rbac.json: its messages as they came),
beside Envoy and against what the policies promise. Connections come with a PROXY header, for their ports are 9080 and 9000.
"""
import json
import os
import socket
import ssl

import pytest

from lib import config, http1
from lib.pairs import Two, chain, http_filter, seen
from lib.rbac import answers
from lib.streams import Closed, Stream

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "fixtures", "istiod_rbac.json"), encoding="ascii") as text:
    ISTIOD = json.load(text)
ECHO = {"name": "envoy.filters.network.echo", "typed_config": {"@type": config.TYPE + "extensions.filters.network.echo.v3.Echo"}}
LISTENER_FILTERS = [{"name": f"envoy.filters.listener.{name}", "typed_config": {"@type": f"{config.TYPE}extensions.filters.listener.{name}.v3.{kind}"}}
                    for name, kind in (("proxy_protocol", "ProxyProtocol"), ("tls_inspector", "TlsInspector"))]
WORKLOADS = ["bookinfo/bookinfo-productpage", "foo/sleep", "foo/bad", "bar/sleep", None]


def made(scenario, pod, kind, at=0):
    return ISTIOD[scenario][pod][kind][at]


def claims(**payload):
    return http_filter("envoy.filters.http.set_metadata", "extensions.filters.http.set_metadata.v3.Config", metadata=[
        {"metadata_namespace": "envoy.filters.http.jwt_authn", "value": {"payload": payload}}])


def said_of_policies():
    """Headers of an answer that tell what was left in dynamic metadata."""
    keys = {"hint": "envoy.common:access_log_hint", "id": "envoy.filters.http.rbac:istio_ext_authz_shadow_effective_policy_id",
            "result": "envoy.filters.http.rbac:istio_ext_authz_shadow_engine_result"}
    return [{"header": {"key": f"x-{k}", "value": f"%DYNAMIC_METADATA({v})%"}, "keep_empty_value": True} for k, v in keys.items()]


def http(name, tls, messages, iss="x", **payload):
    filters = [claims(iss=iss, **payload), *({"name": "envoy.filters.http.rbac", "typed_config": m} for m in messages)]
    return config.http_listener(name, stat_prefix=name, http_filters=chain(*filters), tls=tls,
                                routes=[answers(response_headers_to_add=said_of_policies())], listener_fields={"listener_filters": LISTENER_FILTERS})


def tcp(name, tls, messages):
    filters = [{"name": "envoy.filters.network.rbac", "typed_config": m} for m in messages]
    return config.listener(name, *filters, ECHO, tls=tls, listener_filters=LISTENER_FILTERS)


@pytest.fixture
def mesh(start_proxy, ca):
    """Two proxies, and the contexts of the workloads' certificates."""
    server = ca.issue("server", ["DNS:reviews.bookinfo"])
    contexts = {}
    for who in WORKLOADS:
        contexts[who] = ssl.create_default_context(cafile=ca.cert)
        contexts[who].check_hostname = False
        if who:
            space, account = who.split("/")
            leaf = ca.issue(account, [f"URI:spiffe://cluster.local/ns/{space}/sa/{account}"], file_name=f"{space}-{account}")
            contexts[who].load_cert_chain(leaf.cert, leaf.key)
    tls = config.server_tls(server, ca=ca, require_client_certificate=False)
    reviews = made("authz-allow", "reviews-v1-0", "http")
    listeners = [
        http("reviews", tls, [reviews]), http("reviews-y", tls, [reviews], iss="y"), http("clear", None, [reviews]),
        http("echo-http", tls, [made("authz-allow", "tcp-echo-0", "http")]), tcp("echo", tls, [made("authz-allow", "tcp-echo-0", "tcp")]),
        tcp("nobody", tls, [made("authz-allow", "reviews-v1-0", "tcp")]),
        http("audit", tls, ISTIOD["authz-audit"]["productpage-v1-0"]["http"]), tcp("audit-tcp", tls, ISTIOD["authz-audit"]["productpage-v1-0"]["tcp"]),
        http("custom", tls, [made("authz-custom", "productpage-v1-0", "http")]),
        http("httpbin", tls, [made("authz-custom", "httpbin-0", "http")]), tcp("httpbin-tcp", tls, [made("authz-custom", "httpbin-0", "tcp")]),
        http("jwt", tls, [made("reqauth-jwks", "httpbin-0", "http")], iss="issuer@example.test", sub="me", groups=["dev", "admin"],
             nested={"a": "b"}, aud="a1", azp="p"),
        http("jwt-not", tls, [made("reqauth-jwks", "httpbin-0", "http")], iss="issuer@example.test", sub="me", groups=["dev"],
             nested={"a": "b"}, aud="a1", azp="p"),
        tcp("jwt-tcp", tls, [made("reqauth-jwks", "httpbin-0", "tcp")]),
    ]
    return Two(start_proxy, config.bootstrap(listeners)), contexts


def reach(proxy, listener, context, port, server_name="reviews.bookinfo"):
    sock = socket.create_connection(proxy.address(listener), timeout=10)
    sock.sendall(f"PROXY TCP4 10.244.1.7 10.244.0.9 40000 {port}\r\n".encode())
    return Stream(context.wrap_socket(sock, server_hostname=server_name) if context else sock)


def fetch(two, contexts, listener, who, method="GET", target="/reviews/1", host="reviews.x", token="abc", port=9080):
    def one(proxy):
        with reach(proxy, listener, contexts[who] if listener != "clear" else None, port) as stream:
            stream.send(http1.request_bytes(method, target, [("x-tok", token)] if token else [], b"", host))
            return seen(http1.read_response(stream, method))
    return two.same(one)


def status(*args, **kwargs):
    return int(fetch(*args, **kwargs)["status"])


def left(*args, **kwargs):
    headers = dict(fetch(*args, **kwargs)["headers"])
    return [headers.get(f"x-{name}", "") for name in ("hint", "id", "result")]


def talk(two, contexts, listener, who, port):
    def one(proxy):
        try:
            with reach(proxy, listener, contexts[who], port) as stream:
                stream.send(b"hello")
                return stream.read_exact(5)
        except (Closed, OSError):
            return b""
    return two.same(one) == b"hello"


PAGE = "bookinfo/bookinfo-productpage"
REVIEWS = [  # what differs from a request that the policy allows, and whether it still does
    ({}, 200), ({"who": "foo/sleep"}, 200), ({"who": "foo/bad"}, 403), ({"who": "bar/sleep"}, 403), ({"who": None}, 403),
    ({"method": "HEAD"}, 200), ({"method": "POST"}, 403),
    ({"target": "/reviews/no1"}, 403), ({"target": "/a/x?q=/reviews/"}, 200), ({"target": "/exact?q"}, 200), ({"target": "/exactly"}, 403),
    ({"target": "/tmpl/a/y/b/c"}, 200), ({"target": "/tmpl/a/b/y/c"}, 403),
    ({"host": "REVIEWS"}, 200), ({"host": "a.EXAMPLE"}, 200), ({"host": "ratings"}, 403),
    ({"token": "b"}, 200), ({"token": "c"}, 403), ({"token": None}, 403), ({"port": 9081}, 403),
    ({"listener": "reviews-y"}, 403), ({"listener": "clear"}, 403),
]


def test_allow_policies(mesh):
    two, contexts = mesh
    for change, wanted in REVIEWS:
        assert status(two, contexts, **{"listener": "reviews", "who": PAGE, **change}) == wanted, change
    assert [talk(two, contexts, "echo", who, 9000) for who in WORKLOADS] == [True, True, True, False, False]
    assert not talk(two, contexts, "echo", PAGE, 9001)
    assert not talk(two, contexts, "nobody", PAGE, 9080)
    assert status(two, contexts, "echo-http", "bar/sleep", port=9001) == 200  # GET on 9001: anybody
    assert status(two, contexts, "echo-http", "bar/sleep", port=9000) == 403
    assert status(two, contexts, "echo-http", "foo/bad", "POST", port=9000) == 200
    two.same_stats("rbac")


def test_audit_policies(mesh):
    two, contexts = mesh
    assert left(two, contexts, "audit", PAGE)[0] == "true"
    assert left(two, contexts, "audit", PAGE, "POST")[0] == "false"
    assert talk(two, contexts, "audit-tcp", None, 9080)


def test_custom_policies(mesh):
    """Shadow rules, whose word an external authorizer's filter waits for."""
    two, contexts = mesh
    assert left(two, contexts, "custom", PAGE, target="/secure/1")[1:] == [
        "istio-ext-authz-authz-http-ns[bookinfo]-policy[ext]-rule[0]", "denied"]
    assert left(two, contexts, "custom", PAGE, target="/open")[2] == "allowed"
    assert left(two, contexts, "httpbin", PAGE)[1:] == ["istio-ext-authz-authz-grpc-ns[foo]-policy[ext]-rule[0]", "denied"]
    assert left(two, contexts, "httpbin", "foo/sleep", "POST")[1:] == ["istio-ext-authz-authz-grpc-ns[foo]-policy[ext]-rule[1]", "denied"]
    assert left(two, contexts, "httpbin", "foo/sleep")[2] == "allowed"
    assert talk(two, contexts, "httpbin-tcp", None, 80)


def test_claims_of_tokens(mesh):
    two, contexts = mesh
    assert status(two, contexts, "jwt", None) == 200
    assert status(two, contexts, "jwt-not", None) == 403
    assert not talk(two, contexts, "jwt-tcp", PAGE, 80)
