# SPDX-License-Identifier: Apache-2.0
"""istio.stats: the standard metrics as Istio's dashboards read them, from both sides and with what telemetry settings change."""
import re

import pytest

from lib import config, http1, istio
from lib.streams import connect
from lib.tcp import TcpServer
from lib.wait import wait_until

pytestmark = pytest.mark.weft_only
HTTP_LABELS = [
    "reporter", "source_workload", "source_canonical_service", "source_canonical_revision", "source_workload_namespace", "source_principal",
    "source_app", "source_version", "source_cluster", "destination_workload", "destination_workload_namespace", "destination_principal",
    "destination_app", "destination_version", "destination_service", "destination_canonical_service", "destination_canonical_revision",
    "destination_service_name", "destination_service_namespace", "destination_cluster", "request_protocol", "response_code",
    "grpc_response_status", "response_flags", "connection_security_policy"]
TCP_LABELS = [name for name in HTTP_LABELS if name not in ("response_code", "grpc_response_status")]
PRINCIPAL = "spiffe://cluster.local/ns/bookinfo/sa/"
REVIEWS = "reviews.bookinfo.svc.cluster.local"


def samples(proxy, name):
    """[(labels in order, value)] of a metric; an empty list where it isn't there."""
    page = proxy.admin("/stats/prometheus").body.decode()
    found = []
    for line in page.splitlines():
        match = re.match(rf"{name}\{{(.*)\}} (\S+)$", line)
        if match:
            found.append((dict(re.findall(r'(\w+)="([^"]*)"', match.group(1))), float(match.group(2))))
    return found


def wait_sample(proxy, name, count=1):
    wait_until(lambda: len(samples(proxy, name)) == count, f"{count} of {name}")
    found = samples(proxy, name)
    return found[0] if count == 1 else found


def mesh(start_proxy, origin, ca, mutual=True, client_stats=None, server_stats=None, cluster=None, route=None):
    """Two sidecars, one before the origin."""
    leaves = {name: ca.issue(name, [f"URI:{PRINCIPAL}{name}"]) for name in ("reviews", "productpage")}
    alpn = ["istio-http/1.1", "http/1.1"]
    inbound = config.http_listener(http_filters=[istio.http_exchange(True), istio.stats(**(server_stats or {})), istio.router()],
                                   tls=config.server_tls(leaves["reviews"], ca=ca, alpn=alpn) if mutual else None)
    inbound["traffic_direction"] = "INBOUND"
    inner = start_proxy(config.bootstrap([inbound], [config.cluster("origin", origin.port, metadata=istio.service(REVIEWS))],
                                         node=istio.node("reviews")))
    outbound = config.http_listener(http_filters=[istio.http_exchange(False), istio.alpn(), istio.stats(**(client_stats or {})), istio.router()],
                                    routes=[config.route(), *()] if route is None else [route])
    outbound["traffic_direction"] = "OUTBOUND"
    made = config.cluster("origin", inner.address()[1], metadata=istio.service(REVIEWS), **(cluster or {}),
                          **({"tls": config.client_tls(ca, leaves["productpage"], alpn=["istio"])} if mutual else {}))
    return inner, start_proxy(config.bootstrap([outbound], [made], node=istio.node("productpage")))


def expected(reporter, mutual):
    principals = [PRINCIPAL + name if mutual else "unknown" for name in ("productpage", "reviews")]
    policy = "unknown" if reporter == "source" else "mutual_tls" if mutual else "none"
    values = [reporter, "productpage-v1", "productpage", "v1", "bookinfo", principals[0], "productpage", "v1", "Kubernetes",
              "reviews-v1", "bookinfo", principals[1], "reviews", "v1", REVIEWS, "reviews", "v1", "reviews", "bookinfo", "Kubernetes",
              "http", "200", "", "-", policy]
    return dict(zip(HTTP_LABELS, values))


@pytest.mark.parametrize("mutual", [True, False])
def test_http__two_sidecars__the_standard_labels_in_their_order(start_proxy, origin, ca, mutual):
    inner, outer = mesh(start_proxy, origin, ca, mutual)
    for _ in range(3):
        assert http1.fetch(outer.address()).status == 200
    for proxy, reporter in ((outer, "source"), (inner, "destination")):
        labels, value = wait_sample(proxy, "istio_requests_total")
        assert labels == expected(reporter, mutual) and list(labels) == HTTP_LABELS and value == 3
        for name in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
            labels, value = wait_sample(proxy, name + "_count")
            assert labels == expected(reporter, mutual) and value == 3
        assert wait_sample(proxy, "istio_response_bytes_sum")[1] > 3 * len(b"hello")
        assert not samples(proxy, "istio_request_messages_total") and not samples(proxy, "istio_tcp_sent_bytes_total")


def test_http__buckets__are_envoys(start_proxy, origin, ca):
    inner, outer = mesh(start_proxy, origin, ca)
    http1.fetch(outer.address())
    wait_sample(inner, "istio_request_duration_milliseconds_count")
    bounds = [labels["le"] for labels, _ in samples(inner, "istio_request_duration_milliseconds_bucket")]
    assert bounds[:6] == ["0.5", "1", "5", "10", "25", "50"] and bounds[-1] == "+Inf"


def test_http__nobody_says_who_he_is__unknown_and_the_host_for_a_service(start_proxy, origin):
    listener = config.http_listener(http_filters=[istio.stats(), istio.router()])
    listener["traffic_direction"] = "OUTBOUND"
    proxy = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port)], node=istio.node("productpage")))
    http1.fetch(proxy.address(), host="else.where:80")
    labels, _ = wait_sample(proxy, "istio_requests_total")
    assert labels["destination_service"] == labels["destination_service_name"] == "else.where:80"
    assert labels["destination_workload"] == "unknown" and labels["destination_canonical_revision"] == "latest"
    assert labels["destination_service_namespace"] == "unknown"


def test_http__no_host_fallback_and_no_route__flags_and_unknown(start_proxy, origin):
    listener = config.http_listener(http_filters=[istio.stats(disable_host_header_fallback=True), istio.router()],
                                    routes=[{"match": {"prefix": "/none"}, "route": {"cluster": "origin"}}])
    proxy = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port)]))
    assert http1.fetch(proxy.address()).status == 404
    labels, _ = wait_sample(proxy, "istio_requests_total")
    assert (labels["response_code"], labels["response_flags"], labels["destination_service"]) == ("404", "NR", "unknown")


@pytest.mark.parametrize("route, cluster, name", [
    ("block_all", "origin", "BlackHoleCluster"), ("allow_any", "origin", "PassthroughCluster"), ("x", "PassthroughCluster", "PassthroughCluster")])
def test_http__routes_out_of_the_mesh__are_named(start_proxy, origin, route, cluster, name):
    listener = config.http_listener(http_filters=[istio.stats(), istio.router()], routes=[{**config.route(cluster), "name": route}])
    proxy = start_proxy(config.bootstrap([listener], [config.cluster(cluster, origin.port)]))
    http1.fetch(proxy.address(), host="out.there")
    labels, _ = wait_sample(proxy, "istio_requests_total")
    assert (labels["destination_service_name"], labels["destination_service"]) == (name, "out.there")


def test_http__endpoint_metadata__stands_in_for_a_silent_peer(start_proxy, origin):
    cluster = config.cluster("origin", origin.port, metadata=istio.service(REVIEWS))
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    endpoint["metadata"] = {"filter_metadata": {"istio": {"workload": "reviews-v3;books;reviews-c;v3;east"}}}
    listener = config.http_listener(http_filters=[istio.stats(), istio.router()])
    proxy = start_proxy(config.bootstrap([listener], [cluster]))
    http1.fetch(proxy.address())
    labels, _ = wait_sample(proxy, "istio_requests_total")
    found = [labels["destination_" + n] for n in ("workload", "workload_namespace", "canonical_service", "canonical_revision", "cluster")]
    assert found == ["reviews-v3", "books", "reviews-c", "v3", "east"]


def test_http__waypoint__reports_the_chosen_endpoint(start_proxy, origin):
    cluster = config.cluster("origin", origin.port, metadata=istio.service(REVIEWS))
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    endpoint["metadata"] = {"filter_metadata": {"istio": {"workload": "reviews-v3;books;reviews-c;v3;east"}}}
    filters = [istio.http_exchange(True), istio.stats(reporter="SERVER_GATEWAY", disable_host_header_fallback=True), istio.router()]
    proxy = start_proxy(config.bootstrap([config.http_listener(http_filters=filters)], [cluster], node=istio.node("waypoint")))
    sender = istio.metadata_of("productpage")
    http1.fetch(proxy.address(), headers=[(istio.PEER, istio.header_of(sender)), (istio.PEER_ID, "x")])
    labels, _ = wait_sample(proxy, "istio_requests_total")
    assert (labels["reporter"], labels["source_workload"], labels["destination_workload"]) == ("waypoint", "productpage-v1", "reviews-v3")
    assert labels["destination_service"] == REVIEWS and labels["connection_security_policy"] == "none"


def test_http__telemetry_settings__labels_change_as_istiod_asks(start_proxy, origin, ca):
    removed = ["response_flags"]
    settings = {"tcp_reporting_duration": "10s", "metrics": [
        {"name": "requests_total", "dimensions": {"request_host": "request.host", "destination_app": "'mine'", "nothing": "request.headers['none']"},
         "tags_to_remove": ["destination_canonical_service", *removed]},
        {"name": "request_duration_milliseconds", "drop": True, "tags_to_remove": removed},
        {"name": "request_bytes", "tags_to_remove": removed}]}
    _, outer = mesh(start_proxy, origin, ca, client_stats=settings)
    for host in ("one", "two", "two"):
        http1.fetch(outer.address(), host=host)
    found = {labels["request_host"]: (labels, value) for labels, value in wait_sample(outer, "istio_requests_total", 2)}
    labels, value = found["two"]
    assert value == 2 and "response_flags" not in labels and "destination_canonical_service" not in labels
    assert labels["destination_app"] == "mine" and labels["nothing"] == "unknown"
    assert list(labels)[-2:] == ["nothing", "request_host"]
    assert not samples(outer, "istio_request_duration_milliseconds_count")
    assert "response_flags" not in wait_sample(outer, "istio_request_bytes_count")[0]
    assert "response_flags" in wait_sample(outer, "istio_response_bytes_count")[0]


def test_http__definitions_and_matches__counted_where_they_hold(start_proxy, origin, ca):
    settings = {"definitions": [{"name": "sizes", "value": "request.size", "type": "HISTOGRAM"}, {"name": "posts", "value": "request.method == 'POST' ? 1 : 0"}],
                "metrics": [{"name": "posts", "dimensions": {"path": "request.url_path"}},
                            {"dimensions": {"big": "'yes'"}, "match": "request.size > 3"}]}
    _, outer = mesh(start_proxy, origin, ca, client_stats=settings)
    http1.fetch(outer.address(), method="POST", body=b"ab", target="/x")
    http1.fetch(outer.address(), method="POST", body=b"abcdef", target="/x")
    http1.fetch(outer.address(), target="/x")
    found = wait_sample(outer, "istio_posts", 2)
    assert {(labels["path"], labels.get("big")): value for labels, value in found} == {("/x", None): 1, ("/x", "yes"): 1}
    assert sum(value for _, value in samples(outer, "istio_sizes_sum")) == 8


@pytest.mark.parametrize("settings, fault", [
    ({"metrics": [{"name": "none"}]}, "metrics[0].name: 'none' is neither a standard metric nor defined here"),
    ({"metrics": [{"dimensions": {"x": "request.colour"}}]}, "metrics[0].dimensions[\"x\"]"),
    ({"metrics": [{"match": "((("}]}, "metrics[0].match"), ({"definitions": [{"name": "x", "value": ""}]}, "definitions[0].value")])
def test_settings__nonsense__refused_with_its_path(tmp_path, settings, fault):
    import json
    from lib.proxy import run_to_end
    listener = config.http_listener(http_filters=[istio.stats(**settings), istio.router()])
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(config.bootstrap([listener], [config.cluster("origin", 1)])))
    code, output = run_to_end(["-c", str(path), "--mode", "validate"])
    assert code == 1 and fault in output, output


def test_grpc__messages_and_status__counted(start_proxy, make_h2_origin):
    frame = b"\0\0\0\0\x02ab"
    origin = make_h2_origin(default=([(":status", "200"), ("content-type", "application/grpc")], frame * 3, [("grpc-status", "5")]))
    stats_filter = {"name": "envoy.filters.http.grpc_stats", "typed_config": {
        "@type": config.TYPE + "extensions.filters.http.grpc_stats.v3.FilterConfig", "emit_filter_state": True, "stats_for_all_methods": False}}
    listener = config.http_listener(http_filters=[stats_filter, istio.stats(), istio.router()])
    listener["traffic_direction"] = "INBOUND"
    proxy = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port, http2=True)], node=istio.node("reviews")))
    http1.fetch(proxy.address(), method="POST", target="/a.B/C", body=frame * 2, headers=[("content-type", "application/grpc")])
    labels, _ = wait_sample(proxy, "istio_requests_total")
    assert (labels["request_protocol"], labels["grpc_response_status"], labels["response_code"]) == ("grpc", "5", "200")
    assert wait_sample(proxy, "istio_request_messages_total")[1] == 2
    assert wait_sample(proxy, "istio_response_messages_total")[1] == 3


def test_build__what_istiod_is_shown(start_proxy, origin):
    proxy = start_proxy(config.bootstrap([config.http_listener(http_filters=[istio.stats(), istio.router()])],
                                         [config.cluster("origin", origin.port)], node=istio.node("reviews")))
    assert wait_sample(proxy, "istio_build") == ({"component": "proxy", "tag": "1.31.0"}, 1)


def test_default_tags_off__labels_stay(start_proxy, origin):
    """istiod's bootstrap turns Envoy's own tags off and has expressions of its own."""
    tags = {"use_all_default_tags": False, "stats_tags": [{"tag_name": "reporter", "regex": "(reporter=\\.=(.*?);\\.;)"}]}
    listener = config.http_listener(http_filters=[istio.stats(), istio.router()])
    proxy = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port)], node=istio.node("reviews"), stats_config=tags))
    http1.fetch(proxy.address())
    labels, _ = wait_sample(proxy, "istio_requests_total")
    assert list(labels) == HTTP_LABELS


# ---- TCP ----

def tcp_mesh(start_proxy, server, ca, report="5s"):
    leaves = {name: ca.issue(name, [f"URI:{PRINCIPAL}{name}"]) for name in ("reviews", "productpage")}
    stats = istio.stats(tcp_reporting_duration=report)
    inbound = config.listener("http", istio.tcp_exchange(), stats, config.tcp_proxy(),
                              tls=config.server_tls(leaves["reviews"], ca=ca, alpn=[istio.EXCHANGE, "istio"]))
    inbound["traffic_direction"] = "INBOUND"
    inner = start_proxy(config.bootstrap([inbound], [config.cluster("origin", server.port, metadata=istio.service(REVIEWS))],
                                         node=istio.node("reviews")))
    outbound = config.listener("http", stats, config.tcp_proxy())
    outbound["traffic_direction"] = "OUTBOUND"
    made = config.cluster("origin", inner.address()[1], metadata=istio.service(REVIEWS), filters=[istio.tcp_exchange()],
                          tls=config.client_tls(ca, leaves["productpage"], alpn=[istio.EXCHANGE, "istio"]))
    return inner, start_proxy(config.bootstrap([outbound], [made], node=istio.node("productpage")))


def test_tcp__two_sidecars__connections_and_bytes(start_proxy, started, ca):
    server = TcpServer()
    started.add(server, server.close)
    inner, outer = tcp_mesh(start_proxy, server, ca)
    with connect(outer.address()) as stream:
        stream.send(b"hello")
        assert stream.read_exact(5) == b"hello"
    for proxy, reporter in ((outer, "source"), (inner, "destination")):
        labels, value = wait_sample(proxy, "istio_tcp_connections_closed_total")
        wanted = {k: v for k, v in {**expected(reporter, True), "request_protocol": "tcp"}.items() if k in TCP_LABELS}
        assert labels == wanted and list(labels) == TCP_LABELS and value == 1
        assert wait_sample(proxy, "istio_tcp_connections_opened_total") == (wanted, 1)
        assert wait_sample(proxy, "istio_tcp_received_bytes_total")[1] == 5 and wait_sample(proxy, "istio_tcp_sent_bytes_total")[1] == 5


def test_tcp__reports_while_it_lives__each_byte_once(start_proxy, started, ca):
    server = TcpServer()
    started.add(server, server.close)
    _, outer = tcp_mesh(start_proxy, server, ca, report="0.05s")
    with connect(outer.address()) as stream:
        for i in range(1, 4):
            stream.send(b"hello")
            stream.read_exact(5)
            wait_until(lambda n=i: [v for _, v in samples(outer, "istio_tcp_received_bytes_total")] == [5 * n], "a report")
        assert wait_sample(outer, "istio_tcp_connections_opened_total")[1] == 1
        assert not samples(outer, "istio_tcp_connections_closed_total")
    assert wait_sample(outer, "istio_tcp_connections_closed_total")[1] == 1
    assert wait_sample(outer, "istio_tcp_sent_bytes_total")[1] == 15


def test_tcp__no_upstream__flags(start_proxy, ca):
    class Nobody:
        port = 1
    _, outer = tcp_mesh(start_proxy, Nobody, ca)
    with connect(outer.address()) as stream:
        assert stream.is_ended()
    labels, _ = wait_sample(outer, "istio_tcp_connections_closed_total")
    assert labels["reporter"] == "source" and labels["request_protocol"] == "tcp"


# ---- many at once ----

@pytest.mark.threads
def test_http__many_workers_and_hosts__nothing_is_lost(start_proxy, origin):
    listener = config.http_listener(http_filters=[istio.http_exchange(False), istio.stats(), istio.router()])
    proxy = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port)], node=istio.node("productpage")), concurrency=4)
    streams = [connect(proxy.address()) for _ in range(16)]
    for turn in range(10):
        for stream in streams:
            stream.send(http1.request_bytes(host=f"host{turn % 3}"))
        for stream in streams:
            assert http1.read_response(stream).status == 200
    wait_until(lambda: sum(v for _, v in samples(proxy, "istio_requests_total")) == 160, "160 requests")
    found = {labels["destination_service"]: value for labels, value in samples(proxy, "istio_requests_total")}
    assert found == {"host0": 64, "host1": 48, "host2": 48}
    assert sum(v for _, v in samples(proxy, "istio_request_duration_milliseconds_count")) == 160


def test_http__hosts_without_end__bounded_and_counted(start_proxy, origin, ca):
    """Labels are an attacker's choice here: what is cut merges, what is past the limit isn't counted."""
    listener = config.http_listener(http_filters=[istio.stats(), istio.router()])
    proxy = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port)], node=istio.node("productpage")))
    stream = connect(proxy.address())
    for i in range(300):
        stream.send(http1.request_bytes(host="x" * 300 + str(i)))
        assert http1.read_response(stream).status == 200
    labels, value = wait_sample(proxy, "istio_requests_total")
    assert labels["destination_service"] == "x" * 256 and value == 300
    assert proxy.stat("istio_stats.label_sets") == 1
