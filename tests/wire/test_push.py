# SPDX-License-Identifier: Apache-2.0
"""The push (control/push) over real streams: doubles/push_world.c with resources that a test puts into it, grpcio and
weft-proxy as its clients."""
import json
import threading

import grpc
import pytest

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf.json_format import ParseDict

from lib import config
from lib.ads_client import AdsClient, names, versions
from lib.ads_server import ads, ads_bootstrap
from lib.doubles import PushWorld
from lib.http1 import fetch, response_bytes
from lib.proxy import envoy, weft
from lib.wait import wait_until

BOTH = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


@pytest.fixture
def make_world(started):
    def make(**settings):
        world = PushWorld(**settings)
        return started.add(world, world.stop)
    return make


@pytest.fixture
def connect(started):
    def make(world, **options):
        client = AdsClient(world.target, **options)
        return started.add(client, client.close)
    return make


def put(world, kind, *resources, node="-"):
    """Resources that are nothing but a name and bytes: nobody here reads them."""
    for name, body in resources:
        world.put(kind, node, name, body if isinstance(body, bytes) else body.encode())


def metric(world, name):
    world.ask("metrics", "# HELP pilot_xds ")
    world.wait_line("weft_xds_reused", world.count("# HELP pilot_xds "))
    return next(float(line.split()[1]) for line in reversed(world.lines) if line.startswith(name + " "))


def test_delta__a_change__only_what_is_new(make_world, connect):
    world = make_world()
    put(world, "cds", ("a", "1"), ("b", "1"), ("c", "1"))
    world.load()
    client = connect(world, delta=True)
    client.ask("cds")
    first = client.take("cds")
    assert names(first) == ["a", "b", "c"] and json.loads(first.control_plane.identifier)["Component"] == "push_world"
    client.ack(first)
    put(world, "cds", ("b", "2"))
    world.drop("cds", "-", "c")
    world.changed()
    second = client.take("cds")
    assert names(second) == ["b"] and list(second.removed_resources) == ["c"]
    assert versions(second)["b"] != versions(first)["b"]
    client.ack(second)
    world.wait_line("ack cds n", 2)
    assert not client.error


def test_sotw__a_change__all_of_it(make_world, connect):
    world = make_world()
    put(world, "cds", ("a", "1"), ("b", "1"))
    world.load()
    client = connect(world)
    client.ask("cds")
    first = client.take("cds")
    assert names(first) == [b"1", b"1"]
    client.ack(first)
    put(world, "cds", ("b", "2"))
    world.changed()
    second = client.take("cds")
    assert names(second) == [b"1", b"2"] and second.version_info != first.version_info


def test_own_part__of_one_proxy__only_for_it(make_world, connect):
    world = make_world()
    put(world, "cds", ("a", "1"))
    put(world, "cds", ("inbound", "1"), node="x")
    world.load()
    for node, expected in (("x", ["a", "inbound"]), ("y", ["a"])):
        client = connect(world, delta=True, node=node)
        client.ask("cds")
        assert names(client.take("cds")) == expected
    assert metric(world, "weft_xds_encoded") == 2  # the shared part once


def test_slow_proxy__gets_the_newest__others_go_on(make_world, connect):
    world = make_world()
    put(world, "cds", ("a", "1"))
    world.load()
    slow, quick = connect(world, delta=True, node="slow"), connect(world, delta=True, node="quick")
    for client in (slow, quick):
        client.ask("cds")
    held = slow.take("cds")
    for number in range(2, 6):
        quick.ack(quick.take("cds"))
        put(world, "cds", ("a", str(number)))
        world.changed()
    assert quick.take("cds").resources[0].resource.value == b"5"
    assert slow.responses.empty()
    slow.ack(held)
    assert slow.take("cds").resources[0].resource.value == b"5"


def test_endpoints__alone__no_other_type_is_looked_at(make_world, connect):
    world = make_world()
    put(world, "cds", ("a", "1"))
    put(world, "eds", ("a", "1"))
    world.load()
    client = connect(world, delta=True)
    client.ask("cds")
    client.ack(client.take("cds"))
    client.ask("eds", "a")
    client.ack(client.take("eds"))
    put(world, "cds", ("a", "2"))  # not told of
    put(world, "eds", ("a", "2"))
    world.changed("endpoints")
    assert client.take("eds").resources[0].resource.value == b"2"
    assert client.responses.empty()


def test_cluster_changes__its_endpoints_come_again(make_world, connect):
    world = make_world()
    put(world, "cds", ("a", "1"), ("b", "1"))
    put(world, "eds", ("a", "1"), ("b", "1"))
    world.load()
    client = connect(world, delta=True)
    client.ask("cds")
    client.ack(client.take("cds"))
    client.ask("eds", "a", "b")
    client.ack(client.take("eds"))
    put(world, "cds", ("b", "2"))
    world.changed()
    client.ack(client.take("cds"))
    assert names(client.take("eds")) == ["b"]


@BOTH
def test_nack__is_told_and_shown(make_world, connect, delta):
    world = make_world()
    put(world, "cds", ("a", "1"))
    world.load()
    client = connect(world, delta=delta)
    client.ask("cds")
    client.nack(client.take("cds"), "no such thing")
    assert world.wait_line("nack cds") == "nack cds n no such thing"
    proxy, = json.loads(world.ask("syncz", "["))
    assert proxy["proxy"] == "n" and proxy["cluster_sent"] == "1" and proxy["cluster_nacked"] == "1"
    assert proxy["cluster_error"] == "no such thing" and "cluster_acked" not in proxy and proxy["delta"] is delta
    assert metric(world, 'pilot_total_xds_rejects{type="cds"}') == 1
    put(world, "cds", ("a", "2"))
    world.changed()
    client.ack(client.take("cds"))
    world.wait_line("ack cds")
    proxy, = json.loads(world.ask("syncz", "["))
    assert proxy["cluster_acked"] == "2" and "cluster_error" not in proxy and proxy["state"] == "synced"


def test_reconnect__with_versions__nothing_comes_twice(make_world, connect):
    world = make_world()
    put(world, "cds", ("a", "1"), ("b", "1"))
    world.load()
    client = connect(world, delta=True)
    client.ask("cds")
    had = versions(client.take("cds"))
    client.close()
    world.wait_line("close n")
    put(world, "cds", ("b", "2"))
    world.load()
    again = connect(world, delta=True)
    again.ask("cds", versions={**had, "gone": "0"})
    got = again.take("cds")
    assert names(got) == ["b"] and list(got.removed_resources) == ["gone"]


def test_node__missing_or_strange__ends_the_stream(make_world, connect):
    world = make_world()
    nameless = connect(world, node=None)
    nameless.ask("cds")
    assert nameless.status() == (grpc.StatusCode.INVALID_ARGUMENT, "the first request of a stream must have a node")
    stranger = connect(world, node="stranger")
    stranger.ask("cds")
    assert stranger.status() == (grpc.StatusCode.UNAUTHENTICATED, 'nobody knows "stranger"')


def test_limits__of_streams__refused_until_there_is_room(make_world, connect):
    world = make_world(STREAMS=2)
    first = [connect(world, delta=True, node=f"n{i}") for i in range(2)]
    for client in first:
        client.ask("cds")
        client.take("cds")
    third = connect(world, delta=True, node="third")
    third.ask("cds")
    assert third.status()[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    first[0].close()
    world.wait_line("close n0")
    fourth = connect(world, delta=True, node="fourth")
    fourth.ask("cds")
    fourth.take("cds")


def test_first_pushes__one_at_a_time__who_has_nothing_goes_first(make_world, connect):
    world = make_world(FIRST_PUSHES=1)
    put(world, "cds", ("a", "1"))
    put(world, "lds", ("l", "1"))
    world.load()
    one = connect(world, delta=True, node="one")
    one.ask("cds")
    held = one.take("cds")
    returning = connect(world, delta=True, node="returning")
    returning.ask("cds", versions={"a": "0"})
    world.wait_line("open returning")
    fresh = connect(world, delta=True, node="fresh")
    fresh.ask("cds")
    world.wait_line("open fresh")
    states = {p["proxy"]: p["state"] for p in json.loads(world.ask("syncz", "["))}
    assert states == {"one": "pending", "returning": "waiting for its turn", "fresh": "waiting for its turn"}
    one.ack(held)
    one.ask("lds")
    one.ack(one.take("lds"))  # has its listeners: the next one's turn
    held = fresh.take("cds")
    assert returning.responses.empty()
    fresh.ack(held)
    fresh.ask("lds")
    fresh.ack(fresh.take("lds"))
    returning.take("cds")


def test_first_pushes__a_proxy_that_never_answers__loses_its_turn(make_world, connect):
    world = make_world(FIRST_PUSHES=1)
    stuck, other = connect(world, delta=True, node="stuck"), connect(world, delta=True, node="other")
    stuck.ask("cds")
    stuck.take("cds")
    other.ask("cds")
    other.take("cds")


def test_debounce__many_changes__one_push(make_world, connect):
    world = make_world(DEBOUNCE_MS=200)
    client = connect(world, delta=True)
    client.ask("cds")
    client.ack(client.take("cds"))
    for i in range(5):
        put(world, "cds", ("a", str(i)))
        world.changed()
    assert client.take("cds").resources[0].resource.value == b"4"
    assert metric(world, "pilot_pushes") == 1 and metric(world, "pilot_inbound_updates") == 5


class Churn:
    """Changes without a rest."""

    def __init__(self, world, pause_s=0.02):
        self.world, self.pause_s, self.over = world, pause_s, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.over.wait(self.pause_s):
            self.world.changed()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def test_debounce__changes_without_end__pushed_all_the_same(make_world, connect):
    world = make_world(DEBOUNCE_MS=1000, DEBOUNCE_MAX_MS=1500)
    client = connect(world, delta=True)
    client.ask("cds")
    client.ack(client.take("cds"))
    put(world, "cds", ("a", "1"))
    with Churn(world):
        assert names(client.take("cds")) == ["a"]


def test_debounce__endpoints__dont_wait_for_other_changes(make_world, connect):
    world = make_world(DEBOUNCE_MS=2000, ENDPOINT_DEBOUNCE_MS=20, DEBOUNCE_MAX_MS=100000)
    client = connect(world, delta=True)
    client.ask("eds", "a")
    client.ack(client.take("eds"))
    put(world, "eds", ("a", "1"))
    with Churn(world):
        world.changed("endpoints")
        assert names(client.take("eds")) == ["a"]
    assert metric(world, "pilot_pushes") == 1


def test_touch__of_one_proxy__others_hear_nothing(make_world, connect):
    world = make_world()
    clients = [connect(world, delta=True, node=node) for node in ("x", "y")]
    for client in clients:
        client.ask("sds", "secret")
        client.ack(client.take("sds"))
    put(world, "sds", ("secret", "1"), node="x")
    world.tell("touch x sds")
    assert names(clients[0].take("sds")) == ["secret"]
    assert clients[1].responses.empty()


def test_drain__of_the_server__streams_end_in_turn(make_world, connect):
    world = make_world(DRAIN_MS=200)
    clients = [connect(world, delta=True, node=f"n{i}") for i in range(3)]
    for client in clients:
        client.ask("cds")
        client.take("cds")
    world.tell("drain")
    for client in clients:
        assert client.status()[0] == grpc.StatusCode.UNAVAILABLE
    world.wait_line("close ", 3)
    world.wait_line("drained")


def test_other_types__are_handed_on(make_world, connect):
    world = make_world()
    client = connect(world)
    client.ask("health")
    assert world.wait_line("other ") == "other type.googleapis.com/istio.v1.HealthInformation"


def test_large__to_a_client_that_doesnt_read__waits_without_growing(make_world, connect):
    """Four MiB for each of twenty clients that don't read: held once."""
    world = make_world()
    for i in range(64):
        put(world, "cds", (f"c{i}", bytes([i]) * 65536))
    world.load()
    clients = [connect(world, delta=True, node=f"n{i}") for i in range(20)]
    for client in clients:
        client.ask("cds")
    for client in clients:
        assert len(client.take("cds").resources) == 64
    assert metric(world, "weft_xds_encoded") == 1 and metric(world, "weft_xds_reused") == 19


def is_warm(proxy, timeout):
    dump = json.loads(proxy.admin("/config_dump?resource=dynamic_active_clusters").body)
    return any(entry["cluster"]["connect_timeout"] == timeout for entry in dump["configs"])


@BOTH
@pytest.mark.weft_only
def test_weft_proxy__as_client__follows_changes(make_world, start_proxy, make_origin, delta):
    origins = [make_origin(default=response_bytes(200, [], b"one")), make_origin(default=response_bytes(200, [], b"two"))]
    world = make_world()
    cluster = {"name": "origin", "type": "EDS", "connect_timeout": "2s",
               "eds_cluster_config": {"eds_config": {"resource_api_version": "V3", "ads": {}}}}

    def put_endpoint(origin):
        load = config.cluster("origin", origin.port)["load_assignment"]
        world.put("eds", "-", "origin", ParseDict(load, endpoint_pb2.ClusterLoadAssignment()))

    world.put("cds", "-", "origin", ParseDict(cluster, cluster_pb2.Cluster()))
    put_endpoint(origins[0])
    world.load()
    proxy = start_proxy(ads_bootstrap(world.port, delta=delta, lds=False,
                                      listeners=[config.http_listener(route_config={"validate_clusters": False})]))

    def body():
        answer = fetch(proxy.address(), headers=[("Connection", "close")])
        return answer.body if answer.status == 200 else answer.status
    wait_until(lambda: body() == b"one", "the first endpoint")
    put_endpoint(origins[1])
    world.changed("endpoints")
    wait_until(lambda: body() == b"two", "the second endpoint")
    world.put("cds", "-", "origin", ParseDict({**cluster, "connect_timeout": "3s"}, cluster_pb2.Cluster()))
    world.changed()
    world.wait_line("ack cds test-node", 2)
    wait_until(lambda: is_warm(proxy, "3s"), "the cluster, warmed by its endpoints that came again")
    assert body() == b"two"
    world.drop("cds", "-", "origin")
    world.changed()
    wait_until(lambda: body() == 503, "the cluster's end")


def put_service(world, name, origin):
    fields = {"resource_api_version": "V3", "ads": {}}
    world.put("cds", "-", name, ParseDict({"name": name, "type": "EDS", "connect_timeout": "2s",
                                           "eds_cluster_config": {"eds_config": fields}}, cluster_pb2.Cluster()))
    world.put("eds", "-", name, ParseDict(config.cluster(name, origin.port)["load_assignment"], endpoint_pb2.ClusterLoadAssignment()))


def put_route(world, cluster):
    host = config.virtual_host([{"match": {"prefix": "/"}, "route": {"cluster": cluster}}])
    world.put("rds", "-", "r", ParseDict({"name": "r", "virtual_hosts": [host]}, route_pb2.RouteConfiguration()))


@pytest.mark.parametrize("binary", [weft, envoy], ids=["weft", "envoy"])
def test_moving_away__from_a_cluster_that_goes__no_request_fails(make_world, start_proxy, make_origin, binary):
    """In one change the route names another cluster and the old one is gone with its endpoints: it goes after the route."""
    origin = make_origin()
    world = make_world()
    put_service(world, "c0", origin)
    put_route(world, "c0")
    world.load()
    hcm = config.hcm()
    del hcm["typed_config"]["route_config"]
    hcm["typed_config"]["rds"] = {"route_config_name": "r", "config_source": ads()}
    proxy = start_proxy(ads_bootstrap(world.port, delta=True, lds=False, listeners=[config.listener("http", hcm)]), binary=binary())
    wait_until(lambda: fetch(proxy.address()).status == 200, "the first route")
    statuses, stop = [], threading.Event()

    def traffic():
        while not stop.is_set():
            statuses.append(fetch(proxy.address()).status)
    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        for i in range(1, 16):
            put_service(world, f"c{i}", origin)
            put_route(world, f"c{i}")
            world.drop("cds", "-", f"c{i - 1}")
            world.drop("eds", "-", f"c{i - 1}")
            world.changed()
            world.wait_line("ack rds", i + 1)
            world.wait_line("ack cds", 2 * i + 1)  # what is new, and what is gone
    finally:
        stop.set()
        thread.join()
    assert len(statuses) > 15 and set(statuses) == {200}
