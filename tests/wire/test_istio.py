# SPDX-License-Identifier: Apache-2.0
"""Istio's own filters, in chains of the shape that istiod sends: what peers are told and what is known of them."""
import json

import pytest

from lib import config, http1, istio
from lib.proxy import log_lines
from lib.streams import connect

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
