# SPDX-License-Identifier: Apache-2.0
"""The discovery protocol's client: streams, answers, back-off, sources of each kind. What the resources do is others' matter;
clusters and their endpoints stand for all here."""
import json
import os

import grpc
import pytest

from lib import config, proxy as proxies
from lib.ads_server import AdsServer, ads_bootstrap, api_source, describe, separate
from lib.http1 import fetch
from lib.wait import wait_until

BOTH = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
EVERY = pytest.mark.parametrize("binary", ["weft", "envoy"])


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


@pytest.fixture
def start(start_proxy):
    """start(bootstrap, binary="weft" | "envoy"): the same test for both."""
    def run(bootstrap, binary="weft", **more):
        path = None
        if binary == "envoy":
            path = os.environ.get("ENVOY") or proxies.envoy()
            if not path:
                pytest.skip("no Envoy here")
        return start_proxy(bootstrap, binary=path, **more)
    return run


def eds_cluster(name, source=None):
    return {"name": name, "type": "EDS", "connect_timeout": "2s",
            "eds_cluster_config": {"eds_config": source or {"resource_api_version": "V3", "ads": {}}}}


def endpoints(name, *ports):
    return config.cluster(name, *ports)["load_assignment"]


def bootstrap(server, delta=False, **more):
    """Clusters come; the listener is there and routes to the cluster `origin`."""
    return ads_bootstrap(server.port, delta=delta, lds=False, 
                         listeners=[config.http_listener(route_config={"validate_clusters": False})], **more)


def status(proxy):
    return fetch(proxy.address(), headers=[("Connection", "close")]).status


# ---- ADS ----

@BOTH
@EVERY
def test_ads__clusters_and_endpoints__asked_for_and_acknowledged_in_order(server, start, origin, delta, binary):
    server.set_resources("cds", {"origin": eds_cluster("origin"), "other": eds_cluster("other")})
    server.set_resources("eds", {"origin": endpoints("origin", origin.port), "other": endpoints("other", origin.port)})
    proxy = start(bootstrap(server, delta), binary)
    assert status(proxy) == 200
    server.wait_ack("cds")
    server.wait_ack("eds")
    rows = describe(server.take_requests())
    names = ["origin", "other"]
    assert [row for row in rows if row[0] == "cds"] == [["cds", [[], []] if delta else [], kind] for kind in ("ask", "ack")]
    assert [row for row in rows if row[0] == "eds"] == [
        ["eds", [names, []] if delta else names, "ask"], ["eds", [[], []] if delta else names, "ack"]]
    server.set_resources("cds", {"origin": eds_cluster("origin")})
    gone = (lambda r: "other" in r.message.resource_names_unsubscribe) if delta else \
        (lambda r: list(r.message.resource_names) == ["origin"])
    server.wait_request("eds", gone)
    assert status(proxy) == 200


@BOTH
@EVERY
def test_ads__node__in_the_first_message_only(server, start, origin, delta, binary):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    start(bootstrap(server, delta), binary)
    server.wait_ack("cds")
    first, *others = server.take_requests()
    assert first.message.node.id == "test-node" and first.message.node.cluster == "test-cluster"
    assert others and not any(r.message.HasField("node") for r in others)


@BOTH
@EVERY
def test_ads__a_resource_that_cannot_be__refused_and_the_last_one_serves(server, start, origin, delta, binary):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    proxy = start(bootstrap(server, delta), binary)
    server.wait_ack("cds")
    server.set_resources("cds", {"origin": {**config.cluster("origin", origin.port), "lb_policy": "CLUSTER_PROVIDED"},
                                 "new": config.cluster("new", origin.port)})
    assert "origin" in server.wait_nack("cds")
    assert status(proxy) == 200
    proxy.wait_stat("cluster_manager.cds.update_rejected", 1)
    assert proxy.stat("cluster_manager.cds.update_success") == 1
    wait_until(lambda: "new::" in proxy.admin("/clusters").body.decode(), "the good one of them")
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    server.wait_ack("cds")
    proxy.wait_stat("cluster_manager.cds.update_success", 2)


@BOTH
@EVERY
def test_ads__garbage__the_stream_is_given_up_and_made_anew(server, start, origin, delta, binary):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    proxy = start(bootstrap(server, delta), binary)
    server.wait_ack("cds")
    server.send_raw(b"\x0a\xff\xff\xff\x7fgarbage")
    wait_until(lambda: server.opened == 2, "a second stream")
    assert status(proxy) == 200
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port), "new": config.cluster("new", 1)})
    server.wait_ack("cds")


@BOTH
@EVERY
def test_ads__a_server_that_goes_and_returns__is_asked_for_all_again(server, start, origin, delta, binary):
    server.set_resources("cds", {"origin": eds_cluster("origin")})
    server.set_resources("eds", {"origin": endpoints("origin", origin.port)})
    proxy = start(bootstrap(server, delta), binary)
    server.wait_ack("eds")
    proxy.wait_stat("control_plane.connected_state", 1)
    server.go_away()
    proxy.wait_stat("control_plane.connected_state", 0)
    assert status(proxy) == 200
    server.take_requests()
    server.come_back()
    again = server.wait_request("eds")
    proxy.wait_stat("control_plane.connected_state", 1)
    if delta:
        assert list(again.message.resource_names_subscribe) == ["origin"]
        assert list(again.message.initial_resource_versions) == ["origin"]
        cds = server.wait_request("cds")
        assert list(cds.message.initial_resource_versions) == ["origin"] and not cds.message.resource_names_subscribe
    else:
        assert list(again.message.resource_names) == ["origin"]
        assert again.message.version_info == "1" and not again.nonce
    assert again.stream.node.id == "test-node"
    assert status(proxy) == 200


@pytest.mark.parametrize("status_code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED,
                                         grpc.StatusCode.RESOURCE_EXHAUSTED, None])
def test_ads__a_stream_that_ends__is_opened_again(server, start, origin, status_code):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    proxy = start(bootstrap(server))
    server.wait_ack("cds")
    server.drop_streams(status_code)
    wait_until(lambda: server.opened == 2, "a second stream")
    assert proxy.stat("cluster_manager.cds.update_failure") == 1
    assert status(proxy) == 200


@BOTH
@EVERY
def test_ads__endpoints_that_do_not_come__fetch_timeout(server, start, origin, delta, binary):
    source = {"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0.3s"}
    server.set_resources("cds", {"origin": eds_cluster("origin", source)})
    proxy = start(bootstrap(server, delta), binary)
    assert status(proxy) == 503
    proxy.wait_stat("cluster.origin.init_fetch_timeout", 1)
    server.set_resources("eds", {"origin": endpoints("origin", origin.port)})
    wait_until(lambda: status(proxy) == 200, "the late endpoints")


# ---- statistics ----

@EVERY
def test_statistics__of_a_subscription_and_its_server__as_envoy(server, start, origin, binary):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)}, version="v7")
    proxy = start(bootstrap(server), binary)
    server.wait_ack("cds")
    proxy.wait_stat("cluster_manager.cds.update_success", 1)
    text = proxy.admin("/stats").body.decode()
    assert 'control_plane.identifier: "test-server"' in text
    assert 'cluster_manager.cds.version_text: "v7"' in text
    found = proxy.stats("cds|control_plane")
    assert found["cluster_manager.cds.update_attempt"] == 2
    assert found["cluster_manager.cds.version"] == 12105646838003265418 or found["cluster_manager.cds.version"] > 1
    assert found["cluster_manager.cds.update_time"] > 1600000000000
    assert found["control_plane.connected_state"] == 1 and found["control_plane.pending_requests"] == 0
    values = {s["name"]: s["value"] for s in json.loads(proxy.admin("/stats?format=json&type=TextReadouts").body)["stats"]}
    assert values["cluster_manager.cds.version_text"] == "v7"
    assert "v7" not in proxy.admin("/stats/prometheus").body.decode()


@EVERY
def test_rate_limit__of_requests__is_enforced_and_counted(server, start, origin, binary):
    server.set_resources("cds", {"origin": eds_cluster("origin")})
    server.set_resources("eds", {"origin": endpoints("origin", origin.port)})
    proxy = start(bootstrap(server, ads_fields={"rate_limit_settings": {"max_tokens": 2, "fill_rate": 5}}), binary)
    server.wait_ack("eds")
    assert status(proxy) == 200
    assert proxy.stat("control_plane.rate_limit_enforced") >= 1
    proxy.wait_stat("control_plane.pending_requests", 0)


# ---- several servers ----

def test_several_servers__the_next_is_asked_where_one_says_nothing(start, started, server, origin):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    dead = AdsServer()
    dead.close()
    services = [{"envoy_grpc": {"cluster_name": name}} for name in ("dead", "xds")]
    made = bootstrap(server, ads_fields={"grpc_services": services})
    made["static_resources"]["clusters"].append(config.cluster("dead", dead.port, http2=True))
    proxy = start(made)
    assert status(proxy) == 200


# ---- sources of their own ----

@BOTH
@EVERY
def test_separate_streams__each_subscription_its_own(server, start, origin, delta, binary):
    server.set_resources("cds", {name: eds_cluster(name, separate(delta=delta)) for name in ("origin", "other")})
    server.set_resources("eds", {name: endpoints(name, origin.port) for name in ("origin", "other")})
    proxy = start(bootstrap(server, delta, source=separate(delta=delta)), binary)
    assert status(proxy) == 200
    kinds = sorted(stream.kind for stream in server.wait_streams(4) if stream.kind)
    assert kinds == ["cds", "eds", "eds"]
    assert proxy.stat("cluster_manager.cds.control_plane.connected_state") == 1
    server.set_resources("cds", {"origin": eds_cluster("origin", separate(delta=delta))})
    server.wait_streams(3)


def as_response(kind_type, *resources, version="1"):
    return {"version_info": version, "resources": [{"@type": config.TYPE + kind_type, **r} for r in resources]}


CLUSTER, ASSIGNMENT = "config.cluster.v3.Cluster", "config.endpoint.v3.ClusterLoadAssignment"


def replace(path, content):
    """Atomically, as Envoy asks for."""
    with open(f"{path}.new", "w", encoding="utf-8") as out:
        out.write(content if isinstance(content, str) else json.dumps(content))
    os.rename(f"{path}.new", path)


@EVERY
def test_files__replaced_by_rename__are_read_again(server, start, origin, tmp_path, binary):
    path = tmp_path / "cds.json"
    replace(path, as_response(CLUSTER))
    source = {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}
    proxy = start(bootstrap(server, source=source), binary)
    assert status(proxy) == 503
    replace(path, as_response(CLUSTER, config.cluster("origin", origin.port), version="2"))
    wait_until(lambda: status(proxy) == 200, "the cluster of the file")
    replace(path, "{ nonsense")
    proxy.wait_stat("cluster_manager.cds.update_failure", 1)
    assert status(proxy) == 200
    replace(path, as_response(CLUSTER, {**config.cluster("origin", origin.port), "lb_policy": "CLUSTER_PROVIDED"}, version="3"))
    proxy.wait_stat("cluster_manager.cds.update_rejected", 1)
    assert status(proxy) == 200
    replace(path, as_response(CLUSTER, version="4"))
    wait_until(lambda: status(proxy) == 503, "the cluster to go")


@EVERY
def test_files__swapped_by_a_symlink__are_read_again(server, start, origin, tmp_path, binary):
    """As Kubernetes mounts a ConfigMap: cds.yaml -> ..data/cds.yaml, ..data -> a directory of its time."""
    def put(number, text):
        os.mkdir(tmp_path / f"..{number}")
        (tmp_path / f"..{number}" / "cds.yaml").write_text(text)
        os.symlink(f"..{number}", tmp_path / "..data_tmp")
        os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
    put(1, "resources: []\n")
    os.symlink("..data/cds.yaml", tmp_path / "cds.yaml")
    source = {"resource_api_version": "V3",
              "path_config_source": {"path": str(tmp_path / "cds.yaml"), "watched_directory": {"path": str(tmp_path)}}}
    proxy = start(bootstrap(server, source=source), binary)
    assert status(proxy) == 503
    put(2, json.dumps(as_response(CLUSTER, config.cluster("origin", origin.port), version="2")))
    wait_until(lambda: status(proxy) == 200, "the cluster of the file")


@EVERY
def test_rest__polled__clusters_come_and_failures_are_counted(start, server, origin, make_origin, binary):
    from lib import http1  # pylint: disable=import-outside-toplevel
    answers = {"now": as_response(CLUSTER, config.cluster("origin", origin.port), version="r1")}
    asked = []

    def answer(stream, request):  # pylint: disable=unused-argument
        asked.append(json.loads(request.body))
        now = answers["now"]
        if isinstance(now, int):
            return http1.response_bytes(now, [], b"")
        return http1.response_bytes(200, [("Content-Type", "application/json")], json.dumps(now).encode())
    rest = make_origin(default=answer)
    source = {"resource_api_version": "V3", "api_config_source": {
        "api_type": "REST", "transport_api_version": "V3", "cluster_names": ["rest"], "refresh_delay": "0.05s", "request_timeout": "5s"}}
    made = bootstrap(server, source=source)
    made["static_resources"]["clusters"].append(config.cluster("rest", rest.port))
    proxy = start(made, binary)
    wait_until(lambda: status(proxy) == 200, "the polled cluster")
    wait_until(lambda: asked[-1].get("version_info") == "r1", "a poll that says what is there")
    assert asked[0]["node"]["id"] == "test-node"
    assert rest.requests[0].target == "/v3/discovery:clusters"
    answers["now"] = 500
    proxy.wait_stat("cluster_manager.cds.update_failure", 1, exactly=False)
    assert status(proxy) == 200
    answers["now"] = as_response(CLUSTER, version="r2")
    wait_until(lambda: status(proxy) == 503, "the cluster to go")


# ---- times to live ----

@BOTH
@EVERY
def test_ttl__unless_it_is_renewed__the_resource_goes(server, start, origin, delta, binary):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)}, ttls={"origin": 1})
    proxy = start(bootstrap(server, delta), binary)
    server.wait_ack("cds")
    assert status(proxy) == 200
    wait_until(lambda: status(proxy) == 503, "the cluster to pass away")
    server.ttls.clear()
    server.set_resources("cds", {"origin": {**config.cluster("origin", origin.port), "connect_timeout": "3s"}})
    wait_until(lambda: status(proxy) == 200, "the cluster to return")


def test_source__fields_of_a_source__are_read(start, server, origin):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    services = [{"envoy_grpc": {"cluster_name": "xds", "authority": "control.example"},
                 "initial_metadata": [{"key": "clusterid", "value": "Kubernetes"}]}]
    start(bootstrap(server, ads_fields={"grpc_services": services}))
    server.wait_ack("cds")
    assert server.streams[0].metadata["clusterid"] == "Kubernetes"
    assert api_source()["api_type"] == "GRPC"


# ---- runtime ----

@EVERY
def test_rtds__values_come_change_and_go(server, start, origin, binary):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    server.set_resources("rtds", {"mine": {"name": "mine", "layer": {"a": {"b": 7}, "fraction": {"numerator": 3}}}})
    layers = [{"name": "static", "static_layer": {"a": {"b": 1, "c": 2}}},
              {"name": "rtds", "rtds_layer": {"name": "mine", "rtds_config": {"resource_api_version": "V3", "ads": {}}}},
              {"name": "admin", "admin_layer": {}}]
    proxy = start(bootstrap(server, layered_runtime={"layers": layers}), binary)

    def values():
        entries = json.loads(proxy.admin("/runtime").body)["entries"]
        return {key: entry["final_value"] for key, entry in entries.items() if key.startswith("a.")}
    assert values() == {"a.b": "7", "a.c": "2"}
    assert server.wait_request("rtds").message.resource_names == ["mine"]
    server.wait_ack("rtds")
    server.set_resources("rtds", {"mine": {"name": "mine", "layer": {"a": {"c": 9}}}})
    wait_until(lambda: values() == {"a.b": "1", "a.c": "9"}, "the new values")
    first = [r.kind for r in server.requests].index
    assert first("rtds") < first("cds")


# ---- without a server ----

@BOTH
@pytest.mark.weft_only
def test_cache__started_without_a_server__the_last_good_configuration_serves(server, start, origin, tmp_path, delta):
    cache = {"WEFT_DISCOVERY_CACHE": str(tmp_path / "cache")}
    server.set_resources("cds", {"origin": eds_cluster("origin"), "old": config.cluster("old", origin.port)})
    server.set_resources("eds", {"origin": endpoints("origin", origin.port)})
    server.set_resources("lds", {"http": config.http_listener()})
    made = ads_bootstrap(server.port, delta=delta)
    first = start(made, env=cache)
    assert fetch(first.wait_listener("http")).status == 200
    server.wait_ack("lds")
    first.stop()
    server.go_away()
    assert os.stat(cache["WEFT_DISCOVERY_CACHE"]).st_mode & 0o777 == 0o600
    second = start(made, env=cache)
    assert fetch(second.wait_listener("http")).status == 200
    assert second.stat("control_plane.connected_state") == 0
    server.set_resources("cds", {"origin": eds_cluster("origin")})
    server.come_back()
    server.wait_ack("cds")
    wait_until(lambda: "old::" not in second.admin("/clusters").body.decode(), "what is gone to go")
    assert fetch(second.address(), headers=[("Connection", "close")]).status == 200


@pytest.mark.weft_only
@pytest.mark.parametrize("rubbish", [b"", b"\0\0\0\x10short", b"\xff" * 64, os.urandom(4096)])
def test_cache__that_is_rubbish__as_if_there_were_none(server, start, origin, tmp_path, rubbish):
    (tmp_path / "cache").write_bytes(rubbish)
    made = bootstrap(server)
    server.go_away()
    proxy = start(made, env={"WEFT_DISCOVERY_CACHE": str(tmp_path / "cache")}, wait=False)
    wait_until(lambda: "closed" in proxy.stderr(), "the first attempt")
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    server.come_back()
    proxy.wait_ready()
    assert status(proxy) == 200


@BOTH
@pytest.mark.weft_only
def test_stop__streams_of_all_kinds__closed_without_a_word(server, start, delta):
    """The proxy closes them itself: that is no failure of the server's."""
    own = separate(delta=delta)
    server.set_resources("eds", {name: endpoints(name, 1) for name in ("shared", "alone")})
    server.set_resources("cds", {"shared": eds_cluster("shared"), "alone": eds_cluster("alone", own)})
    proxy = start(ads_bootstrap(server.port, delta=delta))
    server.wait_ack("eds", count=2)
    proxy.stop()
    assert "config stream" not in proxy.stderr()


@BOTH
@pytest.mark.weft_only
def test_eds__endpoints_behind_internal_listeners__left_out_and_told(server, start, origin, delta):
    """An ambient mesh's: those that can be had serve, an assignment of others only is an empty one. Their priority counts."""
    def behind(name, *ports, internal=1):
        made = endpoints(name, *ports)
        hidden = [{"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "connect_originate",
                                                                       "endpoint_id": f"10.0.0.{i}:80"}}},
                   "metadata": {"filter_metadata": {"envoy.transport_socket_match": {"tunnel": "http"}}}} for i in range(internal)]
        visible = made["endpoints"]
        for group in visible:
            group["priority"] = 1
        made["endpoints"] = [{"lb_endpoints": hidden}] * bool(hidden) + visible
        return made
    server.set_resources("eds", {"origin": behind("origin", origin.port, internal=2), "hidden": behind("hidden")})
    server.set_resources("cds", {"origin": eds_cluster("origin"), "hidden": eds_cluster("hidden")})
    proxy = start(bootstrap(server, delta))
    server.wait_ack("eds")
    assert fetch(proxy.address("http")).status == 200
    assert proxy.stat("cluster.origin.membership_unsupported") == 2 and proxy.stat("cluster.origin.membership_total") == 1
    assert proxy.stat("cluster.hidden.membership_unsupported") == 1 and proxy.stat("cluster.hidden.membership_total") == 0
    assert "origin::membership_unsupported::2" in proxy.admin("/clusters").body.decode()
    path = "origin.endpoints[0].lb_endpoints[0].endpoint.address.envoy_internal_address"
    assert path in proxy.admin("/unsupported").body.decode()
    server.update("eds", "origin", endpoints("origin", origin.port))
    server.wait_ack("eds")
    proxy.wait_stat("cluster.origin.membership_unsupported", 0)
    assert proxy.stderr().count(path) == 1 and "2 such endpoints are left out" in proxy.stderr()


@pytest.mark.weft_only
def test_cds__a_static_endpoint_behind_an_internal_listener__refused(server, start):
    internal = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "a"}}}}
    server.set_resources("cds", {"c": {"name": "c", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
        "cluster_name": "c", "endpoints": [{"lb_endpoints": [internal]}]}}})
    start(ads_bootstrap(server.port))
    assert "envoy_internal_address: is not supported yet" in server.wait_nack("cds")
