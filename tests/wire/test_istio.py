# SPDX-License-Identifier: Apache-2.0
"""Istio's own filters, in chains of the shape that istiod sends: what peers are told and what is known of them."""
import json

import pytest

from lib import config, http1, istio
from lib.proxy import log_lines
from lib.streams import connect
from lib.tcp import TcpServer

pytestmark = pytest.mark.weft_only
PEER_LOG = ("%FILTER_STATE(downstream_peer:PLAIN)%|%FILTER_STATE(upstream_peer:PLAIN)%|%FILTER_STATE(downstream_peer:FIELD:workload)%\n")


def text_of(name):
    return (f"type=deployment,workload={name}-v1,name={name}-v1-0,cluster=Kubernetes,namespace=bookinfo,service={name},revision=v1,"
            f"app={name},version=v1")


def inbound(port, tmp_path, filters=None, **more):
    """The server's sidecar."""
    log = config.file_log(tmp_path / "inbound.log", text_format=PEER_LOG)
    listener = config.http_listener(http_filters=(filters or [istio.http_exchange(True)]) + [istio.router()], access_log=[log])
    listener["traffic_direction"] = "INBOUND"
    clusters = [config.cluster("origin", port, metadata=istio.service("reviews.bookinfo.svc.cluster.local"))]
    return config.bootstrap([listener], clusters, node=istio.node("reviews"), **more)


def outbound(address, tmp_path, filters=None, cluster=None):
    """The client's sidecar."""
    log = config.file_log(tmp_path / "outbound.log", text_format=PEER_LOG)
    listener = config.http_listener(http_filters=(filters or [istio.http_exchange(False)]) + [istio.router()], access_log=[log])
    listener["traffic_direction"] = "OUTBOUND"
    made = config.cluster("origin", address[1], metadata=istio.service("reviews.bookinfo.svc.cluster.local"), **(cluster or {}))
    return config.bootstrap([listener], [made], node=istio.node("productpage"))


def test_http_exchange__request_with_headers__read_stripped_and_answered(start_proxy, origin, tmp_path):
    proxy = start_proxy(inbound(origin.port, tmp_path))
    sender = istio.metadata_of("productpage")
    answer = http1.fetch(proxy.address(), headers=[(istio.PEER, istio.header_of(sender)), (istio.PEER_ID, "sidecar~me")])
    assert origin.requests[0].get(istio.PEER) is None and origin.requests[0].get(istio.PEER_ID) is None
    assert answer.get(istio.PEER_ID) == istio.node("reviews")["id"]
    assert istio.decode_header(answer.get(istio.PEER)) == istio.decode_header(istio.header_of(istio.metadata_of("reviews")))
    assert log_lines(tmp_path / "inbound.log", 1) == [f"{text_of('productpage')}|-|productpage-v1"]


def test_http_exchange__request_without_headers__nothing_is_told(start_proxy, origin, tmp_path):
    proxy = start_proxy(inbound(origin.port, tmp_path))
    answer = http1.fetch(proxy.address())
    assert answer.get(istio.PEER) is None and answer.get(istio.PEER_ID) is None
    assert log_lines(tmp_path / "inbound.log", 1) == ["-|-|-"]


@pytest.mark.parametrize("said", ["", "%%%", "AAAA", "CgMKAQ==", "A" * 40000])
def test_http_exchange__nonsense__no_peer(start_proxy, origin, tmp_path, said):
    proxy = start_proxy(inbound(origin.port, tmp_path))
    answer = http1.fetch(proxy.address(), headers=[(istio.PEER, said), (istio.PEER_ID, "x")])
    assert answer.status == 200 and origin.requests[0].get(istio.PEER) is None
    assert log_lines(tmp_path / "inbound.log", 1)[0].startswith("-|")


def test_http_exchange__a_thousand_peers__each_is_known_as_itself(start_proxy, origin, tmp_path):
    proxy = start_proxy(inbound(origin.port, tmp_path))
    stream = connect(proxy.address())
    expected = []
    for i in list(range(700)) + [3, 699, 3]:
        sender = istio.metadata_of(f"w{i}")
        stream.send(http1.request_bytes(headers=[(istio.PEER, istio.header_of(sender)), (istio.PEER_ID, f"id{i}")]))
        http1.read_response(stream)
        expected.append(f"w{i}-v1")
    lines = log_lines(tmp_path / "inbound.log", len(expected))
    assert [line.rsplit("|", 1)[1] for line in lines] == expected


def test_http_exchange__another_says_an_id__is_not_taken_for_it(start_proxy, origin, tmp_path):
    proxy = start_proxy(inbound(origin.port, tmp_path))
    for name in ("a", "b"):
        http1.fetch(proxy.address(), headers=[(istio.PEER, istio.header_of(istio.metadata_of(name))), (istio.PEER_ID, "same")])
    lines = log_lines(tmp_path / "inbound.log", 2)
    assert [line.rsplit("|", 1)[1] for line in lines] == ["a-v1", "b-v1"]


def test_http_exchange__both_sides__each_knows_the_other_and_applications_see_nothing(start_proxy, origin, tmp_path):
    server = start_proxy(inbound(origin.port, tmp_path))
    client = start_proxy(outbound(server.address(), tmp_path))
    answer = http1.fetch(client.address())
    assert answer.status == 200 and answer.get(istio.PEER) is None and answer.get(istio.PEER_ID) is None
    assert origin.requests[0].get(istio.PEER) is None
    assert log_lines(tmp_path / "inbound.log", 1)[0].startswith(text_of("productpage"))
    assert log_lines(tmp_path / "outbound.log", 1) == [f"-|{text_of('reviews')}|-"]


@pytest.mark.parametrize("cluster, told", [
    ({}, True), ({"metadata": {"filter_metadata": {"istio": {"external": True}}}}, False),
    ({"metadata": {"filter_metadata": {"istio": {"disable_mx": True}}}}, False)])
def test_http_exchange__skip_external_clusters__only_the_mesh_is_told(start_proxy, origin, tmp_path, cluster, told):
    made = outbound(("127.0.0.1", origin.port), tmp_path, filters=[istio.http_exchange(False, skip_external_clusters=True)])
    made["static_resources"]["clusters"][0].update(cluster)
    http1.fetch(start_proxy(made).address())
    assert (origin.requests[0].get(istio.PEER) is not None) == told


def test_http_exchange__additional_labels__are_sent(start_proxy, origin, tmp_path):
    filters = [istio.http_filter("mx", "io.istio.http.peer_metadata.Config", {
        "upstream_propagation": [{"istio_headers": {}}], "additional_labels": ["team", "none"]})]
    http1.fetch(start_proxy(outbound(("127.0.0.1", origin.port), tmp_path, filters=filters)).address())
    told = istio.decode_header(origin.requests[0].get(istio.PEER))
    assert dict(told["LABELS"])["team"] == "books" and "none" not in dict(told["LABELS"])
    assert "PROXY_CONFIG" not in told and json.dumps(dict(told["LABELS"]))


# ---- connections ----

TCP_LOG = "%FILTER_STATE(downstream_peer:FIELD:workload)%|%FILTER_STATE(upstream_peer:FIELD:workload)%|%BYTES_RECEIVED%|%BYTES_SENT%\n"
ALPN = [istio.EXCHANGE, "istio"]


@pytest.fixture
def leaf(ca):
    return ca.issue("mesh", ["DNS:test.local", "URI:spiffe://cluster.local/ns/bookinfo/sa/reviews"])


def tcp_inbound(port, ca, leaf, tmp_path):
    log = config.file_log(tmp_path / "inbound.log", text_format=TCP_LOG)
    filters = [istio.tcp_exchange(), config.tcp_proxy(access_log=[log])]
    listener = config.listener("http", *filters, tls=config.server_tls(leaf, ca=ca, alpn=ALPN))
    return config.bootstrap([listener], [config.cluster("origin", port)], node=istio.node("reviews"))


def tcp_outbound(port, ca, leaf, tmp_path, alpn=ALPN):
    log = config.file_log(tmp_path / "outbound.log", text_format=TCP_LOG)
    cluster = config.cluster("origin", port, tls=config.client_tls(ca, leaf, alpn=alpn), filters=[istio.tcp_exchange()])
    return config.bootstrap([config.listener("http", config.tcp_proxy(access_log=[log]))], [cluster], node=istio.node("productpage"))


@pytest.fixture
def echo(started):
    server = TcpServer()
    return started.add(server, server.close)


def test_tcp_exchange__client_tells_first__both_know(start_proxy, echo, ca, leaf, tmp_path):
    proxy = start_proxy(tcp_inbound(echo.port, ca, leaf, tmp_path))
    with connect(proxy.address(), tls=ca.client_context(leaf, alpn=[istio.EXCHANGE])) as stream:
        stream.send(istio.prologue(istio.metadata_of("productpage"), "me") + b"hello")
        told = istio.read_prologue(stream)
        assert told[istio.PEER_ID] == istio.node("reviews")["id"] and told[istio.PEER]["WORKLOAD_NAME"] == "reviews-v1"
        assert stream.read_exact(5) == b"hello"
    assert log_lines(tmp_path / "inbound.log", 1) == ["productpage-v1|-|5|5"]


def test_tcp_exchange__bytewise__the_same(start_proxy, echo, ca, leaf, tmp_path):
    proxy = start_proxy(tcp_inbound(echo.port, ca, leaf, tmp_path))
    with connect(proxy.address(), tls=ca.client_context(leaf, alpn=[istio.EXCHANGE])) as stream:
        istio.read_prologue(stream)
        stream.send_bytewise(istio.prologue(istio.metadata_of("productpage"), "me") + b"hello")
        assert stream.read_exact(5) == b"hello"
    assert log_lines(tmp_path / "inbound.log", 1) == ["productpage-v1|-|5|5"]


def test_tcp_exchange__no_magic__plain_data(start_proxy, echo, ca, leaf, tmp_path):
    proxy = start_proxy(tcp_inbound(echo.port, ca, leaf, tmp_path))
    with connect(proxy.address(), tls=ca.client_context(leaf, alpn=[istio.EXCHANGE])) as stream:
        istio.read_prologue(stream)
        stream.send(b"=#\x04hello there")
        assert stream.read_exact(14) == b"=#\x04hello there"
    assert log_lines(tmp_path / "inbound.log", 1) == ["-|-|14|14"]
    assert proxy.stat("metadata_exchange.initial_header_not_found") == 1


def test_tcp_exchange__other_alpn__nothing_is_sent(start_proxy, echo, ca, leaf, tmp_path):
    proxy = start_proxy(tcp_inbound(echo.port, ca, leaf, tmp_path))
    with connect(proxy.address(), tls=ca.client_context(leaf, alpn=["istio"])) as stream:
        stream.send(b"hello")
        assert stream.read_exact(5) == b"hello"
    assert proxy.stat("metadata_exchange.alpn_protocol_not_found") == 1


@pytest.mark.parametrize("rest, echoed", [(b"\xff\xff\xff\xff", None), (b"\0\0\0\x02\xff\xffabc", b"abc"), (b"\0\0\0\0abc", b"abc")])
def test_tcp_exchange__nonsense_behind_the_magic__no_peer(start_proxy, echo, ca, leaf, tmp_path, rest, echoed):
    proxy = start_proxy(tcp_inbound(echo.port, ca, leaf, tmp_path))
    with connect(proxy.address(), tls=ca.client_context(leaf, alpn=[istio.EXCHANGE])) as stream:
        istio.read_prologue(stream)
        stream.send(istio.prologue({"NAME": "", "NAMESPACE": "", "WORKLOAD_NAME": "", "CLUSTER_ID": "", "OWNER": "",
                                    "LABELS": dict.fromkeys(istio.metadata_of("x")["LABELS"], "")}, "")[:4] + rest)
        if echoed is None:
            assert stream.is_ended()
        else:
            assert stream.read_exact(len(echoed)) == echoed
    assert log_lines(tmp_path / "inbound.log", 1)[0].startswith("-|-")
    assert proxy.stat("metadata_exchange.header_not_found") == 1


@pytest.mark.parametrize("server_speaks_first", [False, True])
def test_tcp_exchange__two_proxies__each_knows_the_other(start_proxy, started, ca, leaf, tmp_path, server_speaks_first):
    def greet(stream):
        if server_speaks_first:
            stream.send(b"welcome")
        assert stream.read_exact(5) == b"hello"
        stream.send(b"goodbye")
    server = TcpServer(greet)
    started.add(server, server.close)
    inner = start_proxy(tcp_inbound(server.port, ca, leaf, tmp_path))
    outer = start_proxy(tcp_outbound(inner.address()[1], ca, leaf, tmp_path))
    with connect(outer.address()) as stream:
        if server_speaks_first:
            assert stream.read_exact(7) == b"welcome"
        stream.send(b"hello")
        assert stream.read_exact(7) == b"goodbye"
        assert stream.is_ended()
    sent = 14 if server_speaks_first else 7
    assert log_lines(tmp_path / "inbound.log", 1) == [f"productpage-v1|-|5|{sent}"]
    assert log_lines(tmp_path / "outbound.log", 1) == [f"-|reviews-v1|5|{sent}"]


def test_tcp_exchange__peer_offers_only_istio__none(start_proxy, echo, ca, leaf, tmp_path):
    inner = start_proxy(tcp_inbound(echo.port, ca, leaf, tmp_path))
    outer = start_proxy(tcp_outbound(inner.address()[1], ca, leaf, tmp_path, alpn=["istio"]))
    with connect(outer.address()) as stream:
        stream.send(b"hello")
        assert stream.read_exact(5) == b"hello"
    assert log_lines(tmp_path / "outbound.log", 1) == ["-|-|5|5"]


# ---- istio.alpn ----

OFFERABLE = ["istio-http/1.0", "istio-http/1.1", "istio-h2", "istio", "h2", "http/1.1"]


def alpn_proxy(origin, ca, **cluster):
    made = config.cluster("origin", origin.port, tls=config.client_tls(ca, alpn=["istio-peer-exchange", "istio", "h2"]), **cluster)
    listener = config.http_listener(http_filters=[istio.alpn(), istio.router()])
    return config.bootstrap([listener], [made], node=istio.node("productpage"))


def chosen(origin):
    return [stream.sock.selected_alpn_protocol() for stream in origin.connections]


def test_alpn__http1_cluster__offers_what_stands_for_it(start_proxy, make_origin, ca, leaf):
    origin = make_origin(tls=ca.server_context(leaf, alpn=OFFERABLE))
    proxy = start_proxy(alpn_proxy(origin, ca))
    assert http1.fetch(proxy.address()).status == 200
    assert http1.fetch(proxy.address()).status == 200
    assert chosen(origin) == ["istio-http/1.1"]


def test_alpn__http2_cluster__offers_what_stands_for_it(start_proxy, make_h2_origin, ca, leaf):
    origin = make_h2_origin(tls=ca.server_context(leaf, alpn=OFFERABLE))
    proxy = start_proxy(alpn_proxy(origin, ca, http2=True))
    assert http1.fetch(proxy.address()).status == 200
    assert [peer.stream.sock.selected_alpn_protocol() for peer in origin.connections] == ["istio-h2"]


@pytest.mark.parametrize("said, expected", [("false", "istio"), ("true", "istio-http/1.1")])
def test_alpn__cluster_that_keeps_its_own__is_left_alone(start_proxy, make_origin, ca, leaf, said, expected):
    origin = make_origin(tls=ca.server_context(leaf, alpn=OFFERABLE))
    metadata = {"filter_metadata": {"istio": {"alpn_override": said}}}
    assert http1.fetch(start_proxy(alpn_proxy(origin, ca, metadata=metadata)).address()).status == 200
    assert chosen(origin) == [expected]


def test_alpn__two_lists_for_one_host__two_pools(start_proxy, make_origin, ca, leaf):
    origin = make_origin(tls=ca.server_context(leaf, alpn=OFFERABLE))
    made = alpn_proxy(origin, ca)
    made["static_resources"]["listeners"].append(config.http_listener(name="plain", http_filters=[istio.router()]))
    proxy = start_proxy(made)
    for _ in range(2):
        assert http1.fetch(proxy.address()).status == 200 and http1.fetch(proxy.address("plain")).status == 200
    assert sorted(chosen(origin)) == ["istio", "istio-http/1.1"]


@pytest.mark.parametrize("http2", [False, True])
def test_alpn__two_proxies__chains_are_found_and_peers_known(start_proxy, origin, ca, leaf, tmp_path, http2):
    """virtualInbound's shape: one chain for the mesh's HTTP, one for its TCP."""
    log = config.file_log(tmp_path / "inbound.log", text_format=PEER_LOG)
    hcm = config.hcm(http_filters=[istio.http_exchange(True), istio.router()], access_log=[log])
    tls = config.downstream_tls(config.server_tls(leaf, ca=ca, alpn=["h2", "http/1.1", *OFFERABLE[:3]]))
    tcp = config.downstream_tls(config.server_tls(leaf, ca=ca, alpn=[istio.EXCHANGE, "istio"]))
    listener = config.listener("http", istio.tcp_exchange(), hcm)
    listener["filter_chains"] = [
        {"filters": [istio.tcp_exchange(), hcm], "transport_socket": tls, "name": "http",
         "filter_chain_match": {"transport_protocol": "tls", "application_protocols": OFFERABLE[:3]}},
        {"filters": [istio.tcp_exchange(), config.tcp_proxy()], "transport_socket": tcp, "name": "tcp",
         "filter_chain_match": {"transport_protocol": "tls", "application_protocols": ["istio", istio.EXCHANGE]}}]
    listener["listener_filters"] = [{"name": "envoy.filters.listener.tls_inspector", "typed_config": {
        "@type": config.TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"}}]
    inner = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port)], node=istio.node("reviews")))
    made = outbound(inner.address(), tmp_path, filters=[istio.http_exchange(False), istio.alpn()], cluster={
        "tls": config.client_tls(ca, leaf, alpn=[istio.EXCHANGE, "istio"]), "http2": http2, "filters": [istio.tcp_exchange()]})
    outer = start_proxy(made)
    for _ in range(2):
        assert http1.fetch(outer.address()).status == 200
    assert all(line.endswith("productpage-v1") for line in log_lines(tmp_path / "inbound.log", 2))
    assert log_lines(tmp_path / "outbound.log", 2)[0].startswith(f"-|{text_of('reviews')}")


def test_http_over_an_exchange__alpn_says_so__prologue_and_then_http(start_proxy, origin, ca, leaf, tmp_path):
    made = inbound(origin.port, tmp_path)
    chain = made["static_resources"]["listeners"][0]["filter_chains"][0]
    chain["filters"].insert(0, istio.tcp_exchange())
    chain["transport_socket"] = config.downstream_tls(config.server_tls(leaf, ca=ca, alpn=ALPN))
    inner = start_proxy(made)
    outer = start_proxy(outbound(inner.address(), tmp_path, filters=[istio.http_exchange(False)], cluster={
        "tls": config.client_tls(ca, leaf, alpn=ALPN), "filters": [istio.tcp_exchange()]}))
    for _ in range(2):
        assert http1.fetch(outer.address()).status == 200
    assert inner.stat("metadata_exchange.metadata_added") == 1
