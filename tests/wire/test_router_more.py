# SPDX-License-Identifier: Apache-2.0
"""Router: which hosts a retry leaves out, what it says of its reason, upgrades and CONNECT by route, bodies of direct
responses, attempts logged while they run. Both proxies on the same bootstrap.
"""
import pytest

from lib import config, http1
from lib.attempts import FRESH, Case, Planned
from lib.http1 import connect, read_response, request_bytes
from lib.origin import silence
from lib.pairs import Two, h1, seen
from lib.proxy import envoy, weft
from lib.wait import wait_until
from test_balancing import endpoint, group
from test_router import RETRIED, router, world_of

PREDICATE = config.TYPE + "extensions.retry.host."


@pytest.fixture
def start_two(start_proxy):
    return lambda bootstrap, **options: Two(start_proxy, bootstrap, **options)


# ---- retries ----

@pytest.fixture(scope="module")
def marked(request, tmp_path_factory):
    policy = {**RETRIED["retry_policy"], "per_try_timeout": "1s"}
    return world_of(request, tmp_path_factory, [config.route("a", retry_policy=policy)], vhost={"include_is_timeout_retry_header": True})


@pytest.mark.parametrize("plan", ["200", "503,200", "hang,200", "hang,503,200", "503,hang,200"])
def test_is_timeout_retry__said_on_retries_alone(marked, plan):
    marked.same(Case("marked", "/", plan))


@pytest.mark.parametrize("predicate", [
    {"name": "envoy.retry_host_predicates.omit_canary_hosts",
     "typed_config": {"@type": PREDICATE + "omit_canary_hosts.v3.OmitCanaryHostsPredicate"}},
    {"name": "envoy.retry_host_predicates.omit_host_metadata",
     "typed_config": {"@type": PREDICATE + "omit_host_metadata.v3.OmitHostMetadataConfig",
                      "metadata_match": {"filter_metadata": {"envoy.lb": {"stage": "new"}}}}}], ids=["canary", "metadata"])
def test_retry__leaves_hosts_out__and_takes_the_other(start_two, started, predicate):
    a, b = (started.add(origin, origin.close) for origin in (Planned("a"), Planned("b")))
    made = {**config.cluster("origin", http_options=FRESH), "load_assignment": {"cluster_name": "origin", "endpoints": [
        group(endpoint(a, canary=True, stage="new"), endpoint(b, stage="old"))]}}
    policy = {**RETRIED["retry_policy"], "retry_host_predicate": [predicate], "host_selection_retry_max_attempts": 10}
    hosts = [config.virtual_host([config.route(retry_policy=policy)], include_request_attempt_count=True)]
    two = start_two(config.bootstrap([config.http_listener(virtual_hosts=hosts)], [made]))
    for proxy in (two.envoy, two.weft):
        for _ in range(8):
            answer = h1(proxy, headers=[("x-plan", "503,200")])
            assert (answer.status, answer.get("x-from")) == (200, "b")


# ---- upgrades ----

WEBSOCKET = [{"upgrade_type": "websocket"}]


@pytest.mark.parametrize("everywhere,here,expected", [
    ([], WEBSOCKET, 101), (WEBSOCKET, [{"upgrade_type": "websocket", "enabled": False}], 403), (WEBSOCKET, [], 101), ([], [], 403)])
def test_upgrade__by_route__over_the_connection_managers(start_two, make_origin, everywhere, here, expected):
    origin = make_origin(default=b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    hosts = [config.virtual_host([config.route(upgrade_configs=here)])]
    two = start_two(config.bootstrap([config.http_listener(virtual_hosts=hosts, upgrade_configs=everywhere)],
                                     [config.cluster("origin", origin.port)]))

    def status(proxy):
        with connect(proxy.address()) as stream:
            stream.send(request_bytes(headers=[("connection", "upgrade"), ("upgrade", "websocket")]))
            return read_response(stream).status
    assert two.same(status) == expected


@pytest.mark.parametrize("allow", [True, False])
def test_connect__by_post__its_body_goes_as_bytes_where_told(start_two, make_origin, allow):
    """With allow_post a POST is ended here like CONNECT; the upstream, which speaks HTTP, finds a request in its body."""
    origin = make_origin(default=http1.response_bytes(200, [("connection", "close")], b"from inside"))
    inner = request_bytes("GET", "/inner", host="inner.test")
    hosts = [config.virtual_host([config.route(upgrade_configs=[{"upgrade_type": "CONNECT", "connect_config": {"allow_post": allow}}])])]
    two = start_two(config.bootstrap([config.http_listener(virtual_hosts=hosts)], [config.cluster("origin", origin.port)]))

    def ask(proxy):
        mark = len(origin.requests)
        with connect(proxy.address()) as stream:
            stream.send(request_bytes("POST", "/", body=inner))
            answer = http1.read_response(stream, "POST")
        return answer.status, b"from inside" in answer.body, answer.body.startswith(b"HTTP/1.1 200"), [r.start.split()[1] for r in origin.requests[mark:]]
    assert two.same(ask) == (200, True, allow, ["/inner" if allow else "/"])


# ---- direct responses ----

@pytest.mark.parametrize("form", [{"text_format_source": {"inline_string": "%REQ(:path)% %RESPONSE_CODE% %LOCAL_REPLY_BODY%"}},
                                  {"json_format": {"path": "%REQ(:path)%", "code": "%RESPONSE_CODE%", "said": "%LOCAL_REPLY_BODY%"}},
                                  {"text_format_source": {"inline_string": "<p>%PROTOCOL%</p>"}, "content_type": "text/html"}],
                         ids=["text", "json", "html"])
def test_direct_response__body_format__filled_in(start_two, form):
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 418, "body": {"inline_string": "plain"}, "body_format": form}}]
    two = start_two(config.bootstrap([config.http_listener(virtual_hosts=[config.virtual_host(routes)])]))
    assert two.same(lambda proxy: seen(h1(proxy, target="/some/where")))["status"] == "418"


# ---- attempts that run ----

def test_upstream_log__flush_interval__lines_while_an_attempt_runs(start_proxy, make_origin, tmp_path):
    origin = make_origin(default=silence)
    for binary in filter(None, (envoy(), weft())):
        log = tmp_path / f"log{len(binary)}"
        filters = router(upstream_log=[config.file_log(log, text_format="%ACCESS_LOG_TYPE%\n")],
                         upstream_log_options={"upstream_log_flush_interval": "0.05s"})
        proxy = start_proxy(config.bootstrap([config.http_listener(http_filters=filters)], [config.cluster("origin", origin.port)]), binary=binary)
        with connect(proxy.address()) as stream:
            stream.send(request_bytes())
            wait_until(lambda p=log: p.exists() and p.read_text().splitlines()[:3] == ["UpstreamPeriodic"] * 3, "lines of a running attempt")
        wait_until(lambda p=log: p.read_text().splitlines()[-1] == "UpstreamEnd", "the last line")
