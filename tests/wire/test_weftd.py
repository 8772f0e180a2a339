# SPDX-License-Identifier: Apache-2.0
"""weftd on a folder of files: sidecars take all that it sends, and learn of edits while it runs."""
import pytest

from lib.ca import CA
from lib.mesh_ca import MeshCA, pem
from lib.sidecar import Sidecar, pod as pod_env
from lib.wait import wait_until
from lib.weftd import Weftd, document, pod, service, slice_of

pytestmark = pytest.mark.weft_only

ID = "sidecar~127.0.0.1~productpage-v1-0.bookinfo~bookinfo.svc.cluster.local"
REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"
LABELS = {"app": "reviews", "security.istio.io/tlsMode": "istio"}


def world():
    return [service("reviews", 9080), slice_of("reviews", 9080, ["10.1.0.1", "10.1.0.2"]),
            pod("reviews-v1", "10.1.0.1", {**LABELS, "version": "v1"}, "reviews"),
            pod("reviews-v2", "10.1.0.2", {**LABELS, "version": "v2"}, "reviews"),
            service("productpage", 9080, "10.96.0.2"), slice_of("productpage", 9080, ["127.0.0.1"]),
            pod("productpage-v1-0", "127.0.0.1", {"app": "productpage"}, "bookinfo-productpage"),
            service("db", 3306, "None", port_name="tcp-mysql"), slice_of("db", 3306, ["10.1.0.9"], port_name="tcp-mysql"),
            service("echo", 9000, "10.96.0.4", port_name="what"), slice_of("echo", 9000, ["10.1.0.8"], port_name="what")]


def route(*weights):
    return document("VirtualService", "reviews", {"hosts": ["reviews"], "http": [{"timeout": "3s", "route": [
        {"destination": {"host": "reviews", "subset": subset}, "weight": weight} for subset, weight in weights]}]})


RULE = document("DestinationRule", "reviews", {"host": "reviews", "subsets": [
    {"name": name, "labels": {"version": name}} for name in ("v1", "v2")]})


@pytest.fixture
def weftd(started, tmp_path):
    made = Weftd(tmp_path / "weftd", world())
    started.add(made, made.stop)
    return made


@pytest.fixture
def sidecar(weftd, started, tmp_path):
    def start(**env):
        ca = CA(str(tmp_path))
        authority = MeshCA(ca, name="localhost")
        started.add(authority, authority.close)
        made = Sidecar(tmp_path / "pod", pod_env(
            tmp_path / "pod", root_pem=pem(ca.certificate), CA_ADDR=f"localhost:{authority.port}", ISTIO_META_ISTIO_VERSION="1.31.0",
            proxy_config={"discoveryAddress": f"127.0.0.1:{weftd.ports['grpc']}"}, **env))
        started.add(made, made.stop)
        wait_until(lambda: made.stat("listener_manager.lds.update_success") or made.stat("listener_manager.lds.update_rejected"), "listeners")
        return made
    return start


def cluster_of(weftd):
    """Where requests for reviews go: a cluster, or the weights of several."""
    found = weftd.sent(ID, "vhds").get("9080/reviews.bookinfo.svc.cluster.local:9080")
    if not found:
        return None
    action = found["routes"][0]["route"]
    return action.get("cluster") or {c["name"]: c["weight"] for c in action["weighted_clusters"]["clusters"]}


def test_sidecar__takes_everything(weftd, sidecar):
    proxy = sidecar()
    wait_until(lambda: REVIEWS in weftd.sent(ID, "eds") and "9080" in weftd.sent(ID, "rds"), "endpoints and routes")
    assert proxy.stat("cluster_manager.cds.update_rejected") == 0
    assert proxy.stat("listener_manager.lds.update_rejected") == 0
    assert {"virtualInbound", "virtualOutbound", "0.0.0.0_9080", "10.1.0.9_3306", "10.96.0.4_9000"} <= set(weftd.sent(ID, "lds"))
    addresses = [e["endpoint"]["address"]["socket_address"]["address"] for place in weftd.sent(ID, "eds")[REVIEWS]["endpoints"]
                 for e in place["lb_endpoints"]]
    assert sorted(addresses) == ["10.1.0.1", "10.1.0.2"]
    assert weftd.page("/debug/config_dump?proxyID=nobody").status == 404
    status = weftd.json("/debug/syncz")
    assert [s["proxy"] for s in status] == [ID]


def test_edit__of_a_route__reaches_the_proxy(weftd, sidecar):
    proxy = sidecar()
    wait_until(lambda: cluster_of(weftd) == REVIEWS, "the plain route")
    whole = proxy.stat("http.outbound_0.0.0.0_9080;.rds.9080.update_success")
    weftd.put("route.json", [RULE, route(("v1", 90), ("v2", 10))])
    wait_until(lambda: cluster_of(weftd) == {REVIEWS.replace("||", "|v1|"): 90, REVIEWS.replace("||", "|v2|"): 10}, "the weights")
    assert len(weftd.sent(ID, "eds").get(REVIEWS.replace("||", "|v1|"), {"endpoints": []})["endpoints"]) <= 1
    weftd.remove("route.json")
    wait_until(lambda: cluster_of(weftd) == REVIEWS, "the plain route again")
    assert proxy.stat("cluster_manager.cds.update_rejected") == 0
    assert proxy.stat("http.outbound_0.0.0.0_9080;.rds.9080.update_success") == whole  # virtual hosts came alone


POLICIES = [
    document("AuthorizationPolicy", "deny", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/secret*"], "methods": ["GET"]}}],
                                                                         "from": [{"source": {"notNamespaces": ["bookinfo"]}}]}]},
             version="security.istio.io/v1"),
    document("RequestAuthentication", "jwt", {"jwtRules": [{"issuer": "me", "jwks": '{"keys": []}', "fromHeaders": [{"name": "x-jwt"}]}]},
             version="security.istio.io/v1"),
    document("Telemetry", "logs", {"accessLogging": [{"providers": [{"name": "envoy"}], "filter": {"expression": "response.code >= 400"}}],
                                   "metrics": [{"overrides": [{"match": {"metric": "REQUEST_SIZE"}, "disabled": True}]}]},
             version="telemetry.istio.io/v1"),
    document("EnvoyFilter", "buffer", {"configPatches": [{
        "applyTo": "HTTP_FILTER", "match": {"context": "SIDECAR_INBOUND"},
        "patch": {"operation": "INSERT_FIRST", "value": {"name": "mine", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 7}}}}]},
             version="networking.istio.io/v1alpha3")]


def http_filters(weftd):
    """Of every connection manager of virtualInbound, in order; none where they aren't all equal."""
    found = [tuple(h["name"] for h in f["typed_config"]["http_filters"])
             for chain in weftd.sent(ID, "lds")["virtualInbound"]["filter_chains"] for f in chain["filters"]
             if "http_filters" in f.get("typed_config", {})]
    return found[0] if len(set(found)) == 1 else ()


def test_policies__that_come_and_go__are_in_force_with_the_proxy(weftd, sidecar):
    proxy = sidecar()
    wait_until(lambda: http_filters(weftd), "listeners")
    before = http_filters(weftd)
    taken = proxy.stat("listener_manager.lds.update_success")
    weftd.put("policies.yaml", POLICIES)
    wanted = ("mine", before[0], "envoy.filters.http.jwt_authn", "envoy.filters.http.rbac", *before[1:])
    wait_until(lambda: http_filters(weftd) == wanted, "the policies' filters")
    wait_until(lambda: proxy.stat("listener_manager.lds.update_success") + proxy.stat("listener_manager.lds.update_rejected") > taken,
               "the proxy's answer")
    assert proxy.stat("listener_manager.lds.update_rejected") == 0
    weftd.remove("policies.yaml")
    wait_until(lambda: http_filters(weftd) == before, "the filters of before")
    assert proxy.stat("listener_manager.lds.update_rejected") == 0


def test_file_with_a_fault__keeps_what_it_gave__and_is_named(weftd, sidecar):
    sidecar()
    weftd.put("route.json", [RULE, route(("v1", 100), ("v2", 0))])
    wait_until(lambda: cluster_of(weftd) not in (None, REVIEWS), "the rule")
    held = cluster_of(weftd)
    weftd.put("route.json", '{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "reviews",'
              ' "namespace": "bookinfo"}, "spec": {"hosts": ["reviews"], "htpp": []}}')
    wait_until(lambda: b"route.json" in weftd.page("/debug/faults").body, "the fault")
    assert b"htpp" in weftd.page("/debug/faults").body
    assert cluster_of(weftd) == held


def test_endpoint__that_comes__is_sent_alone(weftd, sidecar):
    proxy = sidecar()
    wait_until(lambda: REVIEWS in weftd.sent(ID, "eds"), "endpoints")
    wait_until(lambda: cluster_of(weftd) == REVIEWS, "routes")
    listeners = proxy.stat("listener_manager.lds.update_success")
    weftd.put("more.json", [{**slice_of("reviews", 9080, ["10.1.0.3"]), "metadata": {
        "name": "reviews-2", "namespace": "bookinfo", "labels": {"kubernetes.io/service-name": "reviews"}}}])
    wait_until(lambda: "10.1.0.3" in str(weftd.sent(ID, "eds")[REVIEWS]), "the endpoint")
    assert proxy.stat("listener_manager.lds.update_success") == listeners


def test_service_entry__of_the_mesh_domain__has_short_names_and_mutual_tls_as_a_service_has(weftd, sidecar):
    """An instance with an account has a proxy (istiod takes it so), unless its label says otherwise."""
    host = "stars.bookinfo.svc.cluster.local"
    sidecar()
    weftd.put("stars.json", [
        document("ServiceEntry", "stars", {"hosts": [host], "addresses": ["10.96.7.7"], "location": "MESH_INTERNAL", "resolution": "STATIC",
                                           "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
                                           "workloadSelector": {"labels": {"app": "stars"}}}),
        document("WorkloadEntry", "stars-1", {"address": "10.2.0.1", "serviceAccount": "stars", "labels": {"app": "stars"}}),
        document("WorkloadEntry", "stars-2", {"address": "10.2.0.2", "serviceAccount": "stars",
                                              "labels": {"app": "stars", "security.istio.io/tlsMode": "disabled"}}),
        document("WorkloadEntry", "stars-3", {"address": "10.2.0.3", "labels": {"app": "stars"}})])
    found = wait_until(lambda: weftd.sent(ID, "vhds").get(f"9080/{host}:9080"), "the virtual host")
    assert {host, host + ".", "stars", "stars.bookinfo", "stars.bookinfo.svc", "10.96.7.7"} == set(found["domains"])
    places = wait_until(lambda: weftd.sent(ID, "eds").get(f"outbound|9080||{host}"), "endpoints")["endpoints"]
    modes = {e["endpoint"]["address"]["socket_address"]["address"]:
             e.get("metadata", {}).get("filter_metadata", {}).get("envoy.transport_socket_match", {}).get("tlsMode")
             for place in places for e in place["lb_endpoints"]}
    assert modes == {"10.2.0.1": "istio", "10.2.0.2": None, "10.2.0.3": None}


def test_object_in_two_files__the_first_counts__and_both_are_named(weftd, sidecar):
    sidecar()
    weftd.put("b.json", [RULE, route(("v1", 90), ("v2", 10))])
    wait_until(lambda: cluster_of(weftd) not in (None, REVIEWS), "the weights")
    weftd.put("a.json", [route(("v2", 1))])
    wait_until(lambda: cluster_of(weftd) == REVIEWS.replace("||", "|v2|"), "the first file's")
    faults = weftd.page("/debug/faults").body
    assert b"a.json" in faults and b"b.json" in faults
    weftd.remove("a.json")
    wait_until(lambda: cluster_of(weftd) not in (None, REVIEWS.replace("||", "|v2|")), "the other's again")
    assert not weftd.page("/debug/faults").body


def test_service__that_changes_in_what_nobody_is_sent__keeps_its_endpoints(weftd, sidecar):
    sidecar()
    wait_until(lambda: REVIEWS in weftd.sent(ID, "eds"), "endpoints")
    before = weftd.sent(ID, "eds")[REVIEWS]
    objects = world()
    objects[0]["metadata"]["annotations"] = {"a": "note"}
    weftd.put("objects.json", [*objects, document("VirtualService", "reviews", {"hosts": ["reviews"], "http": [
        {"route": [{"destination": {"host": "productpage"}}]}]})])
    wait_until(lambda: cluster_of(weftd) == "outbound|9080||productpage.bookinfo.svc.cluster.local", "what came with it")
    assert weftd.sent(ID, "eds")[REVIEWS] == before
    weftd.put("again.json", [{**slice_of("reviews", 9080, ["10.1.0.3"]), "metadata": {
        "name": "reviews-2", "namespace": "bookinfo", "labels": {"kubernetes.io/service-name": "reviews"}}}])
    wait_until(lambda: "10.1.0.3" in str(weftd.sent(ID, "eds")[REVIEWS]), "an endpoint that comes after")


def test_endpoint__that_is_the_proxys_own__opens_its_port(weftd, sidecar):
    sidecar()
    wait_until(lambda: "virtualInbound" in weftd.sent(ID, "lds"), "listeners")
    weftd.put("own.json", [service("other", 7000, "10.96.0.7"), slice_of("other", 7777, ["10.1.0.7"]),
                           pod("other-1", "10.1.0.7", {"app": "productpage"}, "bookinfo-productpage")])
    wait_until(lambda: "0.0.0.0_7000" in weftd.sent(ID, "lds"), "the service")
    assert "inbound|7777||" not in weftd.sent(ID, "cds")
    weftd.put("slice.json", [{**slice_of("other", 7777, ["127.0.0.1"]), "metadata": {
        "name": "other-2", "namespace": "bookinfo", "labels": {"kubernetes.io/service-name": "other"}}}])
    wait_until(lambda: "inbound|7777||" in weftd.sent(ID, "cds"), "its cluster")
    wait_until(lambda: "0.0.0.0_7777" in str(weftd.sent(ID, "lds")["virtualInbound"]), "its chains")
