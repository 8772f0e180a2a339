# SPDX-License-Identifier: Apache-2.0
"""Load reports: what the service hears of the clusters that it asked for, from us and from Envoy."""
import os
import queue

import grpc
import pytest
from envoy.service.load_stats.v3 import lrs_pb2

from lib import config, proxy as proxies
from lib.grpc_services import Service, as_dict
from lib.http1 import fetch
from lib.wait import wait_until


class LoadReportingService(Service):
    """Answers each stream's first request with `response`."""

    def __init__(self, **response):
        self.response = response
        self.streams = 0
        self.ends = queue.Queue()
        super().__init__()

    def handlers(self):
        return grpc.method_handlers_generic_handler("envoy.service.load_stats.v3.LoadReportingService", {
            "StreamLoadStats": grpc.stream_stream_rpc_method_handler(
                self.stream, lrs_pb2.LoadStatsRequest.FromString, lrs_pb2.LoadStatsResponse.SerializeToString)})

    def stream(self, messages, context):
        self.streams += 1
        self.note(next(messages))
        response = lrs_pb2.LoadStatsResponse(**self.response)
        response.load_reporting_interval.FromMilliseconds(100)
        yield response
        for message in messages:
            self.note(message)
            if not self.ends.empty():
                self.ends.get()
                context.abort(grpc.StatusCode.UNAVAILABLE, "as told")

    def totals(self, field):
        with self.lock:
            return sum(int(locality.get(field, 0)) for r in self.requests for c in r.get("cluster_stats", [])
                       for locality in c.get("upstream_locality_stats", []))


def times_in(service):
    return [m for r in service.requests for c in r.get("cluster_stats", []) if c["cluster_name"] == "origin"
            for locality in c.get("upstream_locality_stats", []) for m in locality.get("load_metric_stats", [])]


@pytest.fixture(params=["weft", "envoy"])
def start(request, start_proxy, origin):
    def run(service, **fields):
        path = (os.environ.get("ENVOY") or proxies.envoy()) if request.param == "envoy" else None
        if request.param == "envoy" and not path:
            pytest.skip("no Envoy here")
        assignment = {"cluster_name": "origin", "endpoints": [{"locality": {"region": "r", "zone": "z"}, "lb_endpoints": [
            {"endpoint": {"address": config.socket_address(port=origin.port)}}]}]}
        made = config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port, load_assignment=assignment, **fields),
                                                           config.cluster("lrs", service.port, http2=True)],
                                node={"id": "me", "cluster": "mine"}, cluster_manager={"load_stats_config": {
                                    "api_type": "GRPC", "transport_api_version": "V3",
                                    "grpc_services": [{"envoy_grpc": {"cluster_name": "lrs"}}]}})
        return start_proxy(made, binary=path)
    return run


@pytest.mark.parametrize("wanted", [{"clusters": ["origin", "no-such"]}, {"send_all_clusters": True}], ids=["named", "all"])
def test_report__of_a_cluster__counts_by_locality(start, started, wanted):
    service = LoadReportingService(**wanted, report_endpoint_granularity=True)
    started.add(service, service.close)
    proxy = start(service)
    wait_until(lambda: any(c["cluster_name"] == "origin" for r in service.requests for c in r.get("cluster_stats", []))
               or proxy.stat("load_reporter.responses") >= 1, "the first interval")
    proxy.wait_stat("load_reporter.responses", 1)
    for _ in range(5):
        assert fetch(proxy.address()).status == 200
    if proxy.is_envoy: # which on a busy machine may open its stream anew, and then forgets what it had counted
        wait_until(lambda: fetch(proxy.address()).status == 200 and service.totals("total_successful_requests") >= 5, "reports")
    else:
        wait_until(lambda: service.totals("total_successful_requests") == 5, "five requests in reports")
        assert service.totals("total_issued_requests") == 5
    assert service.requests[0]["node"]["id"] == "me"
    found = [(c, locality) for r in service.requests for c in r.get("cluster_stats", []) if c["cluster_name"] == "origin"
             for locality in c.get("upstream_locality_stats", [])]
    assert all(locality["locality"] == {"region": "r", "zone": "z"} for _, locality in found)
    if not proxy.is_envoy:
        wait_until(lambda: sum(int(m["num_requests_finished_with_metric"]) for m in times_in(service)) == 5, "five times")
        assert all(m["metric_name"] == "weft.upstream_rq_time_ms" and m["total_metric_value"] > 0 for m in times_in(service))
    endpoint = next(locality["upstream_endpoint_stats"][0] for _, locality in found if "total_successful_requests" in locality)
    assert endpoint["address"]["socket_address"]["address"] == "127.0.0.1"
    assert "load_report_interval" in found[0][0]


def test_stream__that_ends__is_opened_again(start, started):
    service = LoadReportingService(clusters=["origin"])
    started.add(service, service.close)
    proxy = start(service)
    service.ends.put(True)
    wait_until(lambda: service.streams == 2, "a second stream")
    assert fetch(proxy.address()).status == 200
    wait_until(lambda: service.totals("total_successful_requests") == 1, "its request in a report")
    assert proxy.stat("load_reporter.errors") >= 1
    assert as_dict(lrs_pb2.LoadStatsResponse()) == {}
