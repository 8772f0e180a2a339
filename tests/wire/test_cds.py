# SPDX-License-Identifier: Apache-2.0
"""Clusters and endpoints that change while requests run: nobody's request fails for it."""
import json
import threading

import pytest

from lib import config, http1
from lib.ads_server import AdsServer, ads_bootstrap
from lib.http1 import fetch
from lib.origin import Origin
from lib.streams import connect
from lib.wait import wait_until

BOTH = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


def eds_cluster(name="origin", **more):
    return {"name": name, "type": "EDS", "connect_timeout": "2s",
            "eds_cluster_config": {"eds_config": {"resource_api_version": "V3", "ads": {}}}, **more}


def assignment(*ports, name="origin", **more):
    made = config.cluster(name, *ports)["load_assignment"]
    for end in made["endpoints"][0]["lb_endpoints"] if ports else []:
        end.update(more)
    return made


def start(start_proxy, server, delta=False, **options):
    listener = config.http_listener(route_config={"validate_clusters": False})
    return start_proxy(ads_bootstrap(server.port, delta=delta, lds=False, listeners=[listener]), **options)


class Load:
    """Requests without end over a few connections, until it is left; what wasn't answered with 200 is kept."""

    def __init__(self, proxy, connections=4):
        self.proxy, self.stopped, self.count, self.bad = proxy, threading.Event(), 0, []
        self.threads = [threading.Thread(target=self.run) for _ in range(connections)]

    def run(self):
        with connect(self.proxy.address()) as stream:
            while not self.stopped.is_set():
                stream.send(http1.request_bytes("GET", "/", [], b"", "test.local"))
                answer = http1.read_response(stream, "GET")
                self.count += 1
                if answer.status != 200:
                    self.bad.append((answer.status, answer.body))

    def __enter__(self):
        for t in self.threads:
            t.start()
        self.more(20)
        return self

    def more(self, n=20):
        """Until n more have been answered."""
        want = self.count + n
        wait_until(lambda: self.count >= want, f"{n} more answers")

    def __exit__(self, *_):
        self.stopped.set()
        for t in self.threads:
            t.join()


@BOTH
def test_cluster_is_changed__under_load__no_request_fails(server, start_proxy, origin, delta):
    server.set_resources("eds", {"origin": assignment(origin.port)})
    server.set_resources("cds", {"origin": eds_cluster()})
    proxy = start(start_proxy, server, delta, concurrency=2)
    with Load(proxy) as load:
        for i in range(15):
            server.set_resources("cds", {"origin": eds_cluster(connect_timeout=f"{i + 3}s")})
            server.wait_ack("cds")
            load.more()
    assert not load.bad, load.bad[:3]
    stats = proxy.stats()
    assert stats["cluster_manager.cluster_modified"] == 15
    assert stats["cluster_manager.active_clusters"] == 2


@BOTH
def test_endpoints_come_and_go__under_load__no_request_fails(server, start_proxy, origin, make_origin, delta):
    other = make_origin()
    server.set_resources("eds", {"origin": assignment(origin.port)})
    server.set_resources("cds", {"origin": eds_cluster()})
    proxy = start(start_proxy, server, delta, concurrency=2)
    with Load(proxy) as load:
        for i in range(15):
            server.set_resources("eds", {"origin": assignment(*[(other.port,), (origin.port,), (origin.port, other.port)][i % 3])})
            server.wait_ack("eds")
            load.more()
    assert not load.bad, load.bad[:3]
    assert other.requests and proxy.stats()["cluster.origin.membership_total"] == 2


def test_cluster_is_removed__running_request_ends__new_ones_find_none(server, start_proxy):
    release = threading.Event()

    def slow(stream, _request):
        release.wait(30)
        return http1.response_bytes(200, [], b"late")
    with Origin(script={"slow": slow}) as origin:
        server.set_resources("eds", {"origin": assignment(origin.port)})
        server.set_resources("cds", {"origin": eds_cluster()})
        proxy = start(start_proxy, server)
        with connect(proxy.address()) as stream:
            stream.send(http1.request_bytes("GET", "/", [("x-case", "slow")], b"", "test.local"))
            origin.wait_for(1)
            server.set_resources("cds", {})
            wait_until(lambda: proxy.stats()["cluster_manager.active_clusters"] == 1, "the cluster to go")
            assert fetch(proxy.address()).status == 503
            release.set()
            assert http1.read_response(stream, "GET").body == b"late"
        server.set_resources("cds", {"origin": eds_cluster()})
        wait_until(lambda: fetch(proxy.address()).status == 200, "the cluster to come back")


def test_endpoint_health_and_weights__as_assigned(server, start_proxy, origin, make_origin):
    other = make_origin()
    server.set_resources("eds", {"origin": assignment(origin.port, other.port, health_status="UNHEALTHY")})
    server.set_resources("cds", {"origin": eds_cluster(common_lb_config={"healthy_panic_threshold": {"value": 0}})})
    proxy = start(start_proxy, server)
    assert fetch(proxy.address()).status == 503
    both = assignment(origin.port, other.port)
    both["endpoints"][0]["lb_endpoints"][1]["health_status"] = "UNHEALTHY"
    server.set_resources("eds", {"origin": both})
    wait_until(lambda: fetch(proxy.address()).status == 200, "a healthy endpoint")
    before = len(other.requests)
    assert [fetch(proxy.address()).status for _ in range(10)] == [200] * 10
    assert len(other.requests) == before
    assert proxy.stats()["cluster.origin.membership_healthy"] == 1


def test_broken_assignment__refused_by_name__old_members_serve(server, start_proxy, origin):
    server.set_resources("eds", {"origin": assignment(origin.port)})
    server.set_resources("cds", {"origin": eds_cluster()})
    proxy = start(start_proxy, server)
    gap = assignment(origin.port)
    gap["endpoints"][0]["priority"] = 3
    server.set_resources("eds", {"origin": gap})
    assert "priority 0 is missing" in server.wait_nack("eds")
    assert fetch(proxy.address()).status == 200
    assert proxy.stats()["cluster.origin.update_rejected"] == 1


def test_broken_cluster__refused_by_name__others_are_taken(server, start_proxy, origin):
    server.set_resources("eds", {"origin": assignment(origin.port)})
    server.set_resources("cds", {"origin": eds_cluster(), "bad": eds_cluster("bad", lb_policy="CLUSTER_PROVIDED")})
    proxy = start(start_proxy, server)
    error = server.wait_nack("cds")
    assert "bad" in error and "CLUSTER_PROVIDED" in error
    assert fetch(proxy.address()).status == 200


def test_cluster_without_endpoints__warms_until_they_come(server, start_proxy, origin):
    server.hold("eds")
    server.set_resources("eds", {"origin": assignment(origin.port)})
    server.set_resources("cds", {"origin": eds_cluster(
        eds_cluster_config={"eds_config": {"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0s"}})})
    proxy = start(start_proxy, server, wait=False)
    proxy.wait_admin()
    server.wait_request("eds")
    assert proxy.stats()["cluster_manager.warming_clusters"] == 1
    server.release("eds")
    wait_until(lambda: proxy.stats()["cluster_manager.warming_clusters"] == 0, "the cluster to warm")
    proxy.wait_ready()
    proxy.wait_listener("http")
    assert fetch(proxy.address()).status == 200


def test_config_dump__clusters_of_discovery__with_version_and_time(server, start_proxy, origin):
    server.set_resources("eds", {"origin": assignment(origin.port)})
    server.set_resources("cds", {"origin": eds_cluster(), "b": eds_cluster("b", eds_cluster_config={
        "service_name": "origin", "eds_config": {"resource_api_version": "V3", "ads": {}}})}, version="v7")
    proxy = start(start_proxy, server)
    dump = json.loads(proxy.admin("/config_dump").body)
    clusters = next(c for c in dump["configs"] if c["@type"].endswith("ClustersConfigDump"))
    found = [(c["cluster"]["name"], c["version_info"]) for c in clusters["dynamic_active_clusters"]]
    assert found == [("b", "v7"), ("origin", "v7")]
    one = json.loads(proxy.admin("/config_dump?resource=dynamic_active_clusters&name_regex=ori.*").body)["configs"]
    assert [c["cluster"]["type"] for c in one] == ["EDS"] and one[0]["last_updated"]
    ends = next(c for c in json.loads(proxy.admin("/config_dump?include_eds").body)["configs"] if c["@type"].endswith("EndpointsConfigDump"))
    assert [e["endpoint_config"]["cluster_name"] for e in ends["dynamic_endpoint_configs"]] == ["origin"]
    assert [e["endpoint_config"]["cluster_name"] for e in ends["static_endpoint_configs"]] == ["xds"]
