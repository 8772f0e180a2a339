# SPDX-License-Identifier: Apache-2.0
"""Access logs over gRPC (http_grpc, tcp_grpc) to a real AccessLogService, beside Envoy: entries, headers, buffering, trouble."""
import re

import pytest

from lib import config
from lib.differential import differences
from lib.grpc_services import AccessLogService
from lib.http1 import fetch
from lib.http2 import H2Client
from lib.pairs import Two, h1
from lib.streams import unused_port
from lib.wait import wait_until

ALS = "extensions.access_loggers.grpc.v3."


@pytest.fixture
def collector(started):
    made = AccessLogService()
    return started.add(made, made.close)


def common(**fields):
    return {"log_name": "test-log", "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}}, **fields}


def http_log(common_fields=None, log_filter=None, **fields):
    made = {"name": "envoy.access_loggers.http_grpc", "typed_config": {
        "@type": config.TYPE + ALS + "HttpGrpcAccessLogConfig", "common_config": common(**(common_fields or {})), **fields}}
    if log_filter:
        made["filter"] = log_filter
    return made


def tcp_log(common_fields=None):
    return {"name": "envoy.access_loggers.tcp_grpc", "typed_config": {
        "@type": config.TYPE + ALS + "TcpGrpcAccessLogConfig", "common_config": common(**(common_fields or {}))}}


def make_bootstrap(origin_port, collector_port, log, **more):
    return config.bootstrap(
        [config.http_listener(access_log=[log], **more)],
        [config.cluster("origin", origin_port), config.cluster("logs", collector_port, http2=True)],
        node={"id": "me", "cluster": "mine", "metadata": {"A": "b"}, "locality": {"zone": "z"}})


TIME = re.compile(r"^(time_to_|duration|start_time)")
PORTS = {"downstream_remote_address", "downstream_direct_remote_address", "downstream_local_address", "upstream_local_address"}


def masked(entry):
    """Without what changes from run to run; that a time is there stays."""
    made = dict(entry)
    properties = dict(made.get("common_properties", {}))
    for name in list(properties):
        if TIME.match(name):
            properties[name] = "<time>"
        elif name in PORTS:
            properties[name] = properties[name]["socket_address"]["address"]
    for name in ("stream_id", "downstream_wire_bytes_sent"):
        if name in properties:
            properties[name] = "<masked>"
    made["common_properties"] = properties
    for part, names in (("request", ("request_id",)), ("response", ("downstream_header_bytes_sent", "response_headers_bytes"))):
        if part in made:
            made[part] = {k: "<masked>" if k in names else v for k, v in made[part].items()}
    return made


def logged(collector, ask, count=1):
    """The masked entries that `ask` leaves at the collector."""
    def both(proxy):
        collector.take()
        ask(proxy)
        collector.wait_entries(count)
        return [masked(e) for e in collector.entries()]
    return both


def same(pair, ask):
    expected, got = ask(pair.envoy), ask(pair.weft)
    found = list(differences(expected, got))
    assert not found, f"\nenvoy: {expected}\nweft:  {got}\n{found}"
    return got


# ---- entries ----

REQUESTS = {
    "get": {"target": "/a/b?c=d"},
    "headers": {"headers": [("user-agent", "me"), ("referer", "http://r/"), ("x-forwarded-for", "9.9.9.9"), ("X-Log", "one"),
                            ("x-log", "two"), ("x-envoy-original-path", "/o")]},
    "post": {"method": "POST", "body": b"hello" * 1000},
    "not found": {"target": "/none"},
    "odd method": {"method": "PROPFIND"},
}


def http_routes():
    return [config.route(prefix="/a"), {"match": {"prefix": "/none"}, "direct_response": {"status": 404, "body": {"inline_string": "no"}}},
            {"match": {"prefix": "/"}, "name": "named", "route": {"cluster": "origin"}}]


@pytest.fixture
def two(start_proxy, origin, collector):
    def start(log, **more):
        return Two(start_proxy, make_bootstrap(origin.port, collector.port, log, **{"routes": http_routes(), **more}))
    return start


NAMED = {"additional_request_headers_to_log": ["X-Log", "x-absent", ":path"], "additional_response_headers_to_log": ["Content-Type", ":status"],
         "additional_response_trailers_to_log": ["x-t"]}
TAGS = [
    {"tag": "literal", "literal": {"value": "lit"}},
    {"tag": "environment", "environment": {"name": "NO_SUCH_VARIABLE", "default_value": "env"}},
    {"tag": "header", "request_header": {"name": "x-log", "default_value": "def"}},
    {"tag": "header without", "request_header": {"name": "x-none"}},
    {"tag": "metadata", "metadata": {"kind": {"request": {}}, "metadata_key": {"key": "a", "path": [{"key": "b"}]}, "default_value": "m"}},
]


def test_http_entries__as_envoy(two, collector):
    pair = two(http_log(**NAMED, common_fields={"custom_tags": TAGS}))
    for request in REQUESTS.values():
        same(pair, logged(collector, lambda p, r=request: h1(p, **r)))

    def ask(proxy):
        with H2Client(proxy.address()) as client:
            found = logged(collector, lambda _: client.request(method="GET", headers=[("x-log", "h2")]))(proxy)
        found[0]["common_properties"].pop("downstream_wire_bytes_received")  # HPACK: weft counts the text
        found[0]["request"].pop("downstream_header_bytes_received")
        return found
    same(pair, ask)


@pytest.mark.weft_only
def test_http_entry__bytes_that_are_no_text__readable_all_the_same(start_proxy, origin, collector):
    proxy = start_proxy(make_bootstrap(origin.port, collector.port, http_log(**NAMED)))
    h1(proxy, headers=[("x-log", "caf\xe9")])
    assert collector.wait_entries(1)[0]["request"]["request_headers"]["x-log"] == "caf?"


def test_http_entry__upstream_fails__flags_as_envoy(start_proxy, collector):
    pair = Two(start_proxy, make_bootstrap(unused_port(), collector.port, http_log(**NAMED)))

    def ask(proxy):
        found = logged(collector, h1)(proxy)
        reason = found[0]["common_properties"].pop("upstream_transport_failure_reason")
        assert reason
        found[0]["response"].pop("response_code_details")
        return found
    assert same(pair, ask)[0]["common_properties"]["response_flags"] == {"upstream_connection_failure": True}


def test_http_entry__tls__properties_as_envoy(two, collector, ca):
    leaf = ca.issue("server", ["DNS:test.local", "URI:spiffe://test/server"])
    client = ca.issue("client", ["DNS:client.local", "URI:spiffe://test/client"])
    pair = two(http_log(), tls=config.server_tls(leaf, ca=ca, alpn=["http/1.1"]))

    def ask(proxy):
        found = logged(collector, lambda p: fetch(p.address(), tls=ca.client_context(client), server_name="test.local"))(proxy)
        tls = found[0]["common_properties"]["tls_properties"]
        assert tls.pop("tls_cipher_suite")
        for name in ("tls_sni_hostname", "tls_session_id"):  # another library's; the name where no tls_inspector looked
            tls.pop(name, None)
        return found
    found = same(pair, ask)
    assert found[0]["common_properties"]["tls_properties"]["tls_version"] == "TLSv1_3"


def test_identifier__first_message_of_a_stream_only__node_and_name(two, collector):
    pair = two(http_log())
    for proxy in (pair.envoy, pair.weft):
        collector.take()
        fetch(proxy.address())
        collector.wait_entries(1)
        fetch(proxy.address())
        collector.wait_entries(2)
        first, *others = collector.requests
        assert first["identifier"]["log_name"] == "test-log"
        node = first["identifier"]["node"]
        assert (node["id"], node["cluster"], node["metadata"], node["locality"]) == ("me", "mine", {"A": "b"}, {"zone": "z"})
        assert others and not any("identifier" in o for o in others)


def test_filter__keeps_entries_away(two, collector):
    only_errors = {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "k"}}}}
    pair = two(http_log(log_filter=only_errors))

    def ask(proxy):
        h1(proxy)
        h1(proxy, target="/none")
    found = same(pair, logged(collector, ask))
    assert [e["response"]["response_code"] for e in found] == [404]


def test_tcp_entries__as_envoy(start_proxy, origin, collector):
    pair = Two(start_proxy, config.bootstrap(
        [config.listener("tcp", config.tcp_proxy(access_log=[tcp_log({"custom_tags": TAGS[:2]})]))],
        [config.cluster("origin", origin.port), config.cluster("logs", collector.port, http2=True)]))

    def ask(proxy):
        found = logged(collector, lambda p: fetch(p.address("tcp"), headers=[("connection", "close")]))(proxy)
        found[0]["common_properties"].pop("stream_id", None)
        return found
    found = same(pair, ask)
    assert int(found[0]["connection_properties"]["sent_bytes"]) > 0


# ---- buffering ----

def test_buffer__full__sent_before_the_interval(two, collector):
    pair = two(http_log({"buffer_flush_interval": "600s", "buffer_size_bytes": 2000}))
    for proxy in (pair.envoy, pair.weft):
        collector.take()
        for _ in range(20):
            fetch(proxy.address())
        assert len(collector.wait_entries(4)) >= 4
        assert len(collector.requests) < 20


def test_buffer__of_no_size__each_at_once(two, collector):
    pair = two(http_log({"buffer_flush_interval": "600s", "buffer_size_bytes": 0}))

    def ask(proxy):
        collector.take()
        for _ in range(3):
            fetch(proxy.address())
        collector.wait_entries(3)
        return len(collector.requests)
    assert pair.same(ask) == 3


def test_listeners__of_equal_settings__share_a_stream(start_proxy, origin, collector):
    listeners = [config.http_listener(f"http{i}", access_log=[http_log()]) for i in range(3)]
    pair = Two(start_proxy, config.bootstrap(listeners, [
        config.cluster("origin", origin.port), config.cluster("logs", collector.port, http2=True)]))

    def ask(proxy):
        collector.take()
        streams = collector.streams
        for i in range(3):
            fetch(proxy.address(f"http{i}"))
        collector.wait_entries(3)
        return collector.streams - streams
    assert pair.same(ask) == 1


def test_stop__what_is_buffered__goes_out(start_proxy, origin, collector):
    proxy = start_proxy(make_bootstrap(origin.port, collector.port, http_log({"buffer_flush_interval": "600s", "buffer_size_bytes": 600})))
    for _ in range(5):
        fetch(proxy.address())
    proxy.wait_stat("access_logs.grpc_access_log.logs_written", 5)
    collector.wait_entries(1)
    proxy.stop()
    assert len(collector.wait_entries(5)) == 5


# ---- a collector in trouble ----

def test_collector__ends_streams__opened_again(two, collector):
    pair = two(http_log())
    for proxy in (pair.envoy, pair.weft):
        collector.take()
        collector.fail_next = 1
        fetch(proxy.address())
        wait_until(lambda: collector.fail_next == 0, "the stream to be ended")

        def comes_again(p=proxy):
            fetch(p.address())
            return collector.entries()
        wait_until(comes_again, "entries on a new stream")


@pytest.mark.weft_only
def test_collector__ends_a_stream__retries_lose_nothing(start_proxy, origin, collector):
    retry = {"num_retries": 3, "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.05s"}}
    proxy = start_proxy(make_bootstrap(origin.port, collector.port, http_log({"grpc_stream_retry_policy": retry})))
    collector.fail_next = 2
    fetch(proxy.address(), target="/one")
    assert [e["request"]["path"] for e in collector.wait_entries(1)] == ["/one"]
    assert collector.streams == 3


@pytest.mark.weft_only
def test_collector__takes_nothing__bounded_dropped_and_counted(start_proxy, origin, collector):
    collector.hold()
    proxy = start_proxy(make_bootstrap(origin.port, collector.port, http_log({"buffer_size_bytes": 4096})))
    big = [("x-log", "v" * 16000)]

    def has_dropped():
        for _ in range(50):
            assert fetch(proxy.address(), target="/" + "p" * 8000, headers=big).status == 200
        return proxy.stats().get("access_logs.grpc_access_log.logs_dropped", 0) > 0
    wait_until(has_dropped, "entries to be dropped")
    stats = proxy.stats()
    assert stats["access_logs.grpc_access_log.logs_written"] + stats["access_logs.grpc_access_log.logs_dropped"] == \
        stats["http.in.downstream_rq_total"]
    collector.release()
    proxy.wait_stat("cluster.logs.upstream_rq_active", 1)


def test_collector__down__requests_go_on(start_proxy, origin):
    pair = Two(start_proxy, make_bootstrap(origin.port, unused_port(), http_log()))
    for proxy in (pair.envoy, pair.weft):
        for _ in range(20):
            assert fetch(proxy.address()).status == 200


@pytest.mark.threads
def test_workers__each_its_own_stream__nothing_lost(start_proxy, origin, collector):
    proxy = start_proxy(make_bootstrap(origin.port, collector.port, http_log({"buffer_size_bytes": 1000})), concurrency=3)
    for i in range(60):
        fetch(proxy.address(), target=f"/{i}")
    paths = [e["request"]["path"] for e in collector.wait_entries(60)]
    assert sorted(paths) == sorted(f"/{i}" for i in range(60))
    assert proxy.stat("access_logs.grpc_access_log.logs_written") == 60
    assert 1 <= collector.streams <= 3
