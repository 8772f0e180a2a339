# SPDX-License-Identifier: Apache-2.0
"""weftd's service graph: who may report his load, what becomes of reports, and a sidecar that sends them."""
import os
import queue

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.load_stats.v3 import lrs_pb2

from lib import config
from lib.http1 import fetch
from lib.sidecar import Sidecar, pod as pod_env, write
from lib.wait import PATIENCE_S, wait_until
from lib.weftd import Weftd, pod, service, slice_of

pytestmark = pytest.mark.weft_only

METHOD = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
ID = "sidecar~127.0.0.1~productpage-v1-0.bookinfo~bookinfo.svc.cluster.local"
REVIEWS = "outbound|9080|v1|reviews.bookinfo.svc.cluster.local"
TOKENS = {"bookinfo/bookinfo-productpage": "the-token-of-productpage", "bookinfo/reviews": "the-token-of-reviews"}


def world():
    return [service("productpage", 9080), slice_of("productpage", 9080, ["127.0.0.1"]),
            pod("productpage-v1-0", "127.0.0.1", {"app": "productpage"}, "bookinfo-productpage")]


@pytest.fixture
def make(started, tmp_path):
    """With an authority and a token for each account."""
    def make(*args):
        directory = tmp_path / "weftd"
        for account, token in TOKENS.items():
            os.chmod(write(directory, "tokens/" + account, token + "\n"), 0o600)
        made = Weftd(directory, world(), args=("--token-dir", "tokens", "--ca-dir", "ca", "--root-cert-file", "root.pem", *args))
        started.add(made, made.stop)
        wait_until(lambda: made.page("/ready").status == 200, "weftd to be ready")
        return made
    return make


@pytest.fixture
def weftd(make):
    return make()


def root_of(weftd):
    with open(os.path.join(weftd.directory, "root.pem"), encoding="ascii") as text:
        return text.read()


class Reporter:
    """A stream of load reports; `token`: over the secure port."""

    def __init__(self, weftd, token=None):
        self.requests = queue.Queue()
        if token is None:
            self.channel = grpc.insecure_channel(f"127.0.0.1:{weftd.ports['grpc']}")
        else:
            self.channel = grpc.secure_channel(f"localhost:{weftd.ports['secure']}", grpc.ssl_channel_credentials(root_of(weftd).encode()))
        self.call = self.channel.stream_stream(METHOD, lrs_pb2.LoadStatsRequest.SerializeToString, lrs_pb2.LoadStatsResponse.FromString)(
            iter(self.requests.get, None), metadata=[("authorization", "Bearer " + token)] if token else [], timeout=PATIENCE_S)

    def say(self, node=None, clusters=()):
        """`clusters`: (name, localities, dropped)."""
        request = lrs_pb2.LoadStatsRequest()
        if node:
            request.node.CopyFrom(node)
        for name, localities, *dropped in clusters:
            stats = request.cluster_stats.add(cluster_name=name, total_dropped_requests=sum(dropped))
            for locality in localities:
                stats.upstream_locality_stats.add(**locality)
        self.requests.put(request)

    def begin(self, labels=None, node_id=ID, **metadata):
        node = base_pb2.Node(id=node_id)
        node.metadata.update({"NAMESPACE": "bookinfo", "SERVICE_ACCOUNT": "bookinfo-productpage", "LABELS": labels or {"app": "productpage"},
                              **metadata})
        self.say(node)
        return next(self.call)

    def refusal(self):
        with pytest.raises(grpc.RpcError) as error:
            next(self.call)
        return error.value.code(), error.value.details()

    def close(self):
        self.requests.put(None)
        self.call.cancel()
        self.channel.close()


@pytest.fixture
def reporter(started):
    def make(*args):
        made = Reporter(*args)
        return started.add(made, made.close)
    return make


def edges(weftd):
    return {(e["source"], e["destination"]): e for e in weftd.json("/debug/graph")["edges"]}


def test_reports__of_several_proxies__make_edges(weftd, reporter):
    one, two = reporter(weftd), reporter(weftd)
    wanted = one.begin()
    assert wanted.send_all_clusters and wanted.load_reporting_interval.seconds == 5 and not wanted.report_endpoint_granularity
    two.begin({"service.istio.io/canonical-name": "reviews", "app": "another"}, "sidecar~10.1.0.1~reviews-v1.bookinfo~x")
    one.say(clusters=[
        (REVIEWS, [{"total_issued_requests": 6, "total_successful_requests": 4, "total_error_requests": 1, "total_requests_in_progress": 1},
                   {"total_issued_requests": 2, "total_successful_requests": 2, "load_metric_stats": [
                       {"metric_name": "weft.upstream_rq_time_ms", "num_requests_finished_with_metric": 2, "total_metric_value": 5},
                       {"metric_name": "another", "num_requests_finished_with_metric": 9, "total_metric_value": 9}]}]),
        (REVIEWS.replace("v1", ""), [{"total_issued_requests": 1, "total_successful_requests": 1}], 2),
        ("outbound|443||api.example.com", [{"total_issued_requests": 1}]), ("inbound|9080||", [{"total_issued_requests": 9}]),
        ("xds-grpc", [{"total_issued_requests": 1}]), ("outbound|9080||idle.bookinfo.svc.cluster.local", [])])
    two.say(clusters=[("outbound|9080||ratings.other.svc.cluster.local", [{"total_issued_requests": 3, "total_error_requests": 3}])])
    found = wait_until(lambda: len(edges(weftd)) == 3 and edges(weftd), "three edges")
    first = found["productpage", "reviews"]
    assert first.pop("requests_per_s") > 0
    assert first == {"source": "productpage", "source_namespace": "bookinfo", "destination": "reviews", "destination_namespace": "bookinfo",
                     "destination_host": "reviews.bookinfo.svc.cluster.local", "requests": 11, "errors": 3, "active": 1, "latency_ms": 2.5}
    assert found["productpage", "api.example.com"]["destination_namespace"] == ""
    other = found["reviews", "ratings"]
    assert (other["destination_namespace"], other["requests"], other["errors"]) == ("other", 3, 3) and "latency_ms" not in other
    assert weftd.metric("weftd_graph_edges") == 3 and weftd.metric("weftd_load_report_streams") == 2
    one.close()
    wait_until(lambda: edges(weftd)["productpage", "reviews"]["active"] == 0, "what it had under way to end")
    assert edges(weftd)["productpage", "reviews"]["requests"] == 11


def test_interval__set__is_told(make, reporter):
    weftd = make("--load-report-interval-ms", "1500")
    wanted = reporter(weftd).begin().load_reporting_interval
    assert (wanted.seconds, wanted.nanos) == (1, 500000000)


def test_streams__that_are_no_good__refused_by_name(weftd, reporter):
    refused = []
    nameless = reporter(weftd)
    nameless.say(clusters=[(REVIEWS, [])])
    refused.append(nameless.refusal())
    formless = reporter(weftd)
    formless.say(base_pb2.Node(id="me"))
    refused.append(formless.refusal())
    liar = reporter(weftd)
    liar.begin()
    liar.say(clusters=[(REVIEWS, [{"total_issued_requests": 2 ** 64 - 1}])])
    refused.append(liar.refusal())
    assert [code for code, _ in refused] == [grpc.StatusCode.INVALID_ARGUMENT] * 2 + [grpc.StatusCode.RESOURCE_EXHAUSTED]
    for (_, details), part in zip(refused, ("tells no node", 'node.id "me" has not the form', "past 2^40")):
        assert part in details
    assert not edges(weftd) and weftd.metric("weftd_load_reports_refused_total") == 3


def test_secure_port__who_is_known_and_says_who_he_is__reports(weftd, reporter):
    stranger, other, known = (reporter(weftd, token) for token in ("no-token-of-ours", *reversed(TOKENS.values())))
    for one, code in (stranger, grpc.StatusCode.UNAUTHENTICATED), (other, grpc.StatusCode.PERMISSION_DENIED):
        with pytest.raises(grpc.RpcError) as error:
            one.begin()
        assert error.value.code() == code
    known.begin()
    known.say(clusters=[(REVIEWS, [{"total_issued_requests": 1}])])
    wait_until(lambda: ("productpage", "reviews") in edges(weftd), "the edge")


@pytest.mark.parametrize("env", [{"WEFT_LOAD_REPORTS": "true"}, {"ISTIO_META_WEFT_LOAD_REPORTS": "true"}], ids=["environment", "metadata"])
def test_sidecar__told_to__reports_over_the_secure_port(make, started, origin, tmp_path, env):
    """A cluster as weftd names them, and a way to it, are the test's: nothing is captured here."""
    weftd = make("--load-report-interval-ms", "100")
    name = "outbound|9080||reviews.bookinfo.svc.cluster.local"
    made = Sidecar(tmp_path / "pod", pod_env(
        tmp_path / "pod", root_pem=root_of(weftd), token=TOKENS["bookinfo/bookinfo-productpage"], ISTIO_META_ISTIO_VERSION="1.31.0",
        ISTIO_METAJSON_LABELS='{"app": "productpage"}',
        proxy_config={"discoveryAddress": f"localhost:{weftd.ports['secure']}", "controlPlaneAuthPolicy": "MUTUAL_TLS"}, **env),
        override={"static_resources": {"clusters": [config.cluster(name, origin.port)], "listeners": [config.http_listener(routes=[config.route(name)])]}})
    started.add(made, made.stop)
    wait_until(lambda: weftd.metric("weftd_load_reports_total") >= 1, "it to report")
    for _ in range(3):
        assert fetch(made.wait_listener("http")).status == 200
    wait_until(lambda: edges(weftd).get(("productpage", "reviews"), {}).get("requests") == 3, "its requests in the graph")
    wait_until(lambda: 0 < edges(weftd)["productpage", "reviews"].get("latency_ms", 0) < 30000, "their time")


def test_sidecar__not_told_to__opens_no_stream(make, started, tmp_path):
    weftd = make()
    made = Sidecar(tmp_path / "pod", pod_env(
        tmp_path / "pod", root_pem=root_of(weftd), token=TOKENS["bookinfo/bookinfo-productpage"], ISTIO_META_ISTIO_VERSION="1.31.0",
        proxy_config={"discoveryAddress": f"localhost:{weftd.ports['secure']}", "controlPlaneAuthPolicy": "MUTUAL_TLS"}))
    started.add(made, made.stop)
    wait_until(lambda: made.stat("cluster_manager.cds.update_success"), "clusters")
    assert "load_stats_config" not in made.admin("/config_dump").body.decode()
    assert weftd.metric("weftd_load_report_streams") == 0
