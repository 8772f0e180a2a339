# SPDX-License-Identifier: Apache-2.0
"""weftd on an API server: all objects before the first proxy, every change after, whatever the server does."""
import json
import os
import threading
import time

import grpc
import pytest
from cryptography import x509
from envoy.service.discovery.v3 import discovery_pb2

from lib.ca import CA
from lib.kube_stub import KubeStub
from lib.mesh_ca import REQUEST
from lib.sidecar import write
from lib.wait import wait_until
from lib.weftd import Weftd, document, pod, service, slice_of
from test_weftd import ID, LABELS, REVIEWS, cluster_of, route, RULE, sidecar, world  # noqa: F401 (sidecar is a fixture)
from test_weftd_identity import IDENTITY, call, refusal, request, uris

pytestmark = pytest.mark.weft_only

LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"


def kubeconfig(directory, stub, name="kubeconfig.yaml", user=None, **cluster):
    return write(str(directory), name, json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "stub", "user": "weftd"}}],
        "clusters": [{"name": "stub", "cluster": {"server": stub.url, **cluster}}],
        "users": [{"name": "weftd", "user": user or {}}]}))


@pytest.fixture
def stub(started):
    made = KubeStub(world())
    started.add(made, made.close)
    return made


@pytest.fixture
def daemon(started, tmp_path):
    def start(stub, name="weftd", args=(), **config):
        os.makedirs(tmp_path / name, exist_ok=True)
        made = Weftd(tmp_path / name, kubeconfig=kubeconfig(tmp_path / name, stub, **config), args=args)
        started.add(made, made.stop)
        return made
    return start


@pytest.fixture
def weftd(stub, daemon):
    made = daemon(stub)
    made.wait_served()
    return made


def hosts(weftd):
    return {s["hostname"].split(".")[0]: s["endpoints"] for s in weftd.json("/debug/registryz")}


def objects(weftd, kind):
    return weftd.metric('weftd_kubernetes_objects{kind="%s"}' % kind)


def extra(name, address="10.96.3.1"):
    return service(name, 8080, address)


def test_sidecar__gets_all__and_learns_of_changes(stub, weftd, sidecar):  # noqa: F811
    proxy = sidecar()
    wait_until(lambda: REVIEWS in weftd.sent(ID, "eds") and cluster_of(weftd) == REVIEWS, "endpoints and routes")
    assert weftd.page("/ready").status == 200
    stub.put(RULE)
    stub.put(route(("v1", 90), ("v2", 10)))
    wait_until(lambda: cluster_of(weftd) == {REVIEWS.replace("||", "|v1|"): 90, REVIEWS.replace("||", "|v2|"): 10}, "the weights")
    stub.remove("VirtualService", "reviews")
    wait_until(lambda: cluster_of(weftd) == REVIEWS, "the plain route again")
    stub.put(slice_of("reviews", 9080, ["10.1.0.1", "10.1.0.2", "10.1.0.3"]))
    wait_until(lambda: "10.1.0.3" in str(weftd.sent(ID, "eds")[REVIEWS]), "the endpoint")
    assert proxy.stat("cluster_manager.cds.update_rejected") == 0 and proxy.stat("listener_manager.lds.update_rejected") == 0
    assert weftd.metric('weftd_kubernetes_lists_total{kind="Service"}') == 1


def test_start__before_the_server_is_there__waits_and_says_for_what(stub, daemon):
    stub.stop()
    weftd = daemon(stub)
    wait_until(lambda: b"cannot connect" in weftd.page("/ready").body, "what it waits for")
    assert weftd.page("/ready").status == 503 and weftd.ports["grpc"] == 0
    stub.start()
    weftd.wait_served()
    assert weftd.page("/ready").status == 200 and hosts(weftd)["reviews"] == 2


def test_list__in_pages__is_whole(stub, daemon):
    stub.forced_pages = 2
    for i in range(7):
        stub.put(extra(f"extra-{i}", f"10.96.3.{i + 1}"))
    weftd = daemon(stub)
    weftd.wait_served()
    assert objects(weftd, "Service") == 11 and weftd.metric('weftd_kubernetes_pages_total{kind="Service"}') == 6
    assert {f"extra-{i}" for i in range(7)} <= set(hosts(weftd))


def test_list__whose_page_token_expires__begins_again(stub, daemon):
    stub.forced_pages, stub.expire_pages = 2, 1
    weftd = daemon(stub)
    weftd.wait_served()
    assert objects(weftd, "Service") == 4 and hosts(weftd)["reviews"] == 2


def test_list__of_large_objects__is_asked_for_in_smaller_pages(stub, daemon):
    for i in range(12):
        made = extra(f"extra-{i}", f"10.96.3.{i + 1}")
        stub.put({**made, "metadata": {**made["metadata"], "annotations": {"what": "x" * 1000000}}})
    weftd = daemon(stub)
    weftd.wait_served()
    assert objects(weftd, "Service") == 16 and weftd.metric('weftd_kubernetes_pages_total{kind="Service"}') >= 2


def test_kind__in_another_version__is_found(stub, daemon):
    stub.versions = {"virtualservices": "v1alpha3", "telemetries": "v1alpha1"}
    stub.put(route(("v1", 100), ("v2", 0)))
    weftd = daemon(stub)
    weftd.wait_served()
    assert objects(weftd, "VirtualService") == 1 and weftd.metric('weftd_kubernetes_absent{kind="Telemetry"}') == 0


def test_kind__that_comes_later__is_found(stub, daemon):
    stub.absent = {"virtualservices"}
    weftd = daemon(stub)
    weftd.wait_served()
    stub.put(route(("v1", 100), ("v2", 0)))
    stub.absent = set()
    wait_until(lambda: objects(weftd, "VirtualService") == 1, "the kind", 60)  # looked for every 20 s


def test_kind__that_goes__takes_its_objects_with_it(stub, daemon):
    stub.put(route(("v1", 100), ("v2", 0)))
    weftd = daemon(stub)
    weftd.wait_served()
    wait_until(lambda: stub.count("virtualservices", watch=True), "a watch")
    stub.absent = {"virtualservices"}
    stub.drop()
    wait_until(lambda: objects(weftd, "VirtualService") == 0, "its end")
    assert weftd.metric('weftd_kubernetes_absent{kind="VirtualService"}') == 1 and hosts(weftd)["reviews"] == 2


def test_kind__that_the_server_hasnt_got__is_waited_for_by_nobody(stub, daemon):
    stub.absent = {"virtualservices", "telemetries", "proxyconfigs"}
    weftd = daemon(stub)
    weftd.wait_served()
    assert weftd.metric('weftd_kubernetes_absent{kind="Telemetry"}') == 1
    assert weftd.log().count("has no telemetries.telemetry.istio.io") == 1


def test_watch__gone_410__lists_again_and_what_vanished_goes(stub, weftd):
    wait_until(lambda: stub.count("services", watch=True), "a watch")
    stub.put(extra("before"))
    wait_until(lambda: "before" in hosts(weftd), "the service")
    with stub.lock: # nobody is told
        del stub.objects["services"][("bookinfo", "before")]
        stub.objects["services"][("bookinfo", "after")] = extra("after", "10.96.3.2")
    stub.forget()
    wait_until(lambda: {"after"} <= set(hosts(weftd)) and "before" not in hosts(weftd), "the world after")
    assert weftd.metric('weftd_kubernetes_expired_total{kind="Service"}') >= 1
    assert weftd.metric('weftd_kubernetes_lists_total{kind="Service"}') == 2


def test_watches__that_always_end_with_410__dont_flood_the_server(stub, weftd):
    wait_until(lambda: stub.count("services", watch=True), "a watch")
    begun = time.monotonic()
    with stub.lock:
        stub.oldest = 1 << 40
        stub.lock.notify_all()
    wait_until(lambda: stub.count("services", watch=False) >= 5, "four more lists")
    assert time.monotonic() - begun >= 1.5, "pauses of 100 ms at least, doubling"
    assert hosts(weftd)["reviews"] == 2


def test_watch__that_breaks_off__goes_on_from_where_it_was(stub, weftd):
    wait_until(lambda: stub.count("services", watch=True), "a watch")
    for i in range(3):
        stub.drop()
        stub.put(extra(f"extra-{i}", f"10.96.3.{i + 1}"))
        wait_until(lambda i=i: f"extra-{i}" in hosts(weftd), "what came meanwhile")
    assert weftd.metric('weftd_kubernetes_lists_total{kind="Service"}') == 1


def test_server__that_restarts__is_found_again(stub, weftd):
    stub.stop()
    wait_until(lambda: weftd.metric('weftd_kubernetes_failures_total{kind="Pod"}') >= 1, "the loss")
    assert hosts(weftd)["reviews"] == 2 and weftd.page("/ready").status == 200, "the last that was known stays"
    with stub.lock:
        stub.objects["services"][("bookinfo", "while-away")] = stub._tell("services", "ADDED", extra("while-away"))
    stub.start()
    wait_until(lambda: "while-away" in hosts(weftd), "what came meanwhile")


@pytest.mark.parametrize("failure", [(429, {"Retry-After": "1"}), (500, {}), (503, {})])
def test_list__refused_at_first__is_asked_again(stub, daemon, failure):
    stub.failures = {"services": [failure] * 2, "virtualservices": [failure]}
    weftd = daemon(stub)
    weftd.wait_served()
    assert stub.count("services", watch=False) == 3 and hosts(weftd)["reviews"] == 2


def test_forbidden_kind__is_named_by_ready(stub, daemon):
    stub.failures = {"secrets": [(403, {})] * 1000}
    weftd = daemon(stub)
    wait_until(lambda: b"waiting for secrets: 403: as the test wants it" in weftd.page("/ready").body, "the reason")
    assert weftd.page("/ready").status == 503
    with stub.lock:
        stub.failures = {}
    weftd.wait_served()


def test_slow_server__holds_up_nothing_but_readiness(stub, daemon):
    stub.held.clear()
    weftd = daemon(stub)
    wait_until(lambda: stub.count("virtualservices", watch=False), "the question")
    assert weftd.page("/ready").status == 503 and b"waiting for virtualservices" in weftd.page("/ready").body
    stub.held.set()
    weftd.wait_served()
    assert hosts(weftd)["reviews"] == 2


def test_event__out_of_order__isnt_believed(stub, weftd):
    wait_until(lambda: stub.count("services", watch=True), "a watch")
    stub.put(extra("short"))
    wait_until(lambda: "short" in hosts(weftd), "the service")
    stub.remove("Service", "short")
    wait_until(lambda: "short" not in hosts(weftd), "its end")
    old = extra("short")
    old["metadata"]["resourceVersion"] = "3"
    stub.say("Service", {"type": "MODIFIED", "object": old})
    wait_until(lambda: weftd.metric('weftd_kubernetes_lists_total{kind="Service"}') == 2, "the truth")
    assert "short" not in hosts(weftd) and weftd.metric('weftd_kubernetes_out_of_order_total{kind="Service"}') == 1


@pytest.mark.parametrize("event", [{"type": "MODIFIED"}, {"type": "ADDED", "object": {"metadata": {"name": "x"}}}, [1, 2], {"type": "?", "object": {}},
                                   {"type": "ERROR", "object": {"code": 500, "message": "etcd"}}])
def test_event__that_is_none__ends_the_watch_and_nothing_is_lost(stub, weftd, event):
    wait_until(lambda: stub.count("services", watch=True), "a watch")
    stub.say("Service", event)
    stub.put(extra("later"))
    wait_until(lambda: "later" in hosts(weftd), "what came after")
    assert weftd.metric('weftd_kubernetes_failures_total{kind="Service"}') >= 1


def test_object_with_a_fault__keeps_what_it_was__and_is_named(stub, weftd, sidecar):  # noqa: F811
    sidecar()
    stub.put(RULE)
    stub.put(route(("v1", 100), ("v2", 0)))
    wait_until(lambda: cluster_of(weftd) not in (None, REVIEWS), "the rule")
    held = cluster_of(weftd)
    stub.put(document("VirtualService", "reviews", {"hosts": ["reviews"], "htpp": []}))
    wait_until(lambda: b"htpp" in weftd.page("/debug/faults").body, "the fault")
    assert cluster_of(weftd) == held and weftd.metric('weftd_kubernetes_broken_objects{kind="VirtualService"}') == 1
    stub.remove("VirtualService", "reviews")
    wait_until(lambda: cluster_of(weftd) == REVIEWS and not weftd.page("/debug/faults").body, "its end")


# ---- who we are ----

def test_tls__by_name_and_token__that_is_rotated(started, tmp_path, daemon):
    ca = CA(tmp_path / "ca")
    stub = KubeStub(world(), tls=ca.issue("api", ["IP:127.0.0.1"]))
    started.add(stub, stub.close)
    stub.token = "first"
    token = write(str(tmp_path), "token", "first\n")
    weftd = daemon(stub, user={"tokenFile": token}, **{"certificate-authority": ca.cert})
    weftd.wait_served()
    with stub.lock:
        stub.token = "second"
    write(str(tmp_path), "token", "second\n")
    stub.drop()
    stub.put(extra("later"))
    wait_until(lambda: "later" in hosts(weftd), "the new token to be shown")
    assert "second" not in weftd.log() and "first" not in weftd.log()


def test_client_certificate__is_shown(started, tmp_path, daemon):
    ca = CA(tmp_path / "ca")
    stub = KubeStub(world(), tls=ca.issue("api", ["IP:127.0.0.1"]), client_ca=ca.cert)
    started.add(stub, stub.close)
    me = ca.issue("weftd", ["DNS:weftd"])
    weftd = daemon(stub, user={"client-certificate": me.cert, "client-key": me.key}, **{"certificate-authority": ca.cert})
    weftd.wait_served()
    assert hosts(weftd)["reviews"] == 2


@pytest.mark.parametrize("sans", [["IP:127.0.0.2"], ["DNS:localhost"]])
def test_server_with_another_name__gets_no_token(started, tmp_path, daemon, sans):
    ca = CA(tmp_path / "ca")
    stub = KubeStub(world(), tls=ca.issue("api", sans))
    started.add(stub, stub.close)
    weftd = daemon(stub, user={"token": "mine"}, **{"certificate-authority": ca.cert})
    wait_until(lambda: b"cannot connect: TLS" in weftd.page("/ready").body, "the refusal")
    assert weftd.page("/ready").status == 503 and not stub.tokens_seen


# ---- who others are ----

REVIEWED = {"authenticated": True, "audiences": ["istio-ca"], "user": {
    "username": "system:serviceaccount:bookinfo:bookinfo-productpage", "groups": ["system:serviceaccounts", "system:authenticated"],
    "extra": {"authentication.kubernetes.io/pod-name": ["productpage-v1-0"]}}}


@pytest.fixture
def authority(stub, daemon, tmp_path):
    made = daemon(stub, args=("--ca-dir", "ca", "--root-cert-file", "root.pem"))
    made.wait_served()
    wait_until(lambda: made.page("/ready").status == 200, "weftd to be ready")
    with open(tmp_path / "weftd" / "root.pem", encoding="ascii") as text:
        root = text.read()
    made.root = lambda: root
    return made


def subscribe(weftd, token, *headers):
    """Listeners over the secure port, as far as the first answer or the end."""
    node = discovery_pb2.DiscoveryRequest(type_url=LDS)
    node.node.id = ID
    node.node.metadata.update({"NAMESPACE": "bookinfo", "SERVICE_ACCOUNT": "bookinfo-productpage", "LABELS": {"app": "productpage"}})
    with grpc.secure_channel(f"localhost:{weftd.ports['secure']}", grpc.ssl_channel_credentials(weftd.root().encode())) as channel:
        stream = channel.stream_stream("/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
                                       lambda m: m.SerializeToString(), discovery_pb2.DiscoveryResponse.FromString)
        return next(stream(iter_open([node]), metadata=[("authorization", "Bearer " + token), *headers], timeout=30))


def iter_open(messages):
    """The stream stays open behind them."""
    yield from messages
    threading.Event().wait(30)


def test_token__reviewed_by_the_server__gets_a_certificate_and_configuration(stub, authority):
    stub.reviews["the-token"] = REVIEWED
    chain = call(authority, REQUEST(csr=request()[0]), "the-token")
    assert uris(x509.load_pem_x509_certificate(chain[0].encode())) == [IDENTITY]
    assert subscribe(authority, "the-token").type_url == LDS
    with stub.lock:
        asked = [body for path, body in stub.requests if path.endswith("/tokenreviews")]
    assert [a["spec"] for a in asked] == [{"token": "the-token", "audiences": ["istio-ca"]}] * 2
    assert "the-token" not in authority.log()


@pytest.mark.parametrize("status, why", [
    ({"authenticated": False}, "the token is not authenticated"), ({"authenticated": False, "error": "expired"}, "returns an error: expired"),
    ({**REVIEWED, "audiences": ["api"]}, "not for this audience"), ({**REVIEWED, "user": {"username": "admin"}}, "not a service account"),
    ({**REVIEWED, "user": 7}, "not a service account"), (None, "no TokenReview")])
def test_token__that_isnt_good__is_refused_by_both_services(stub, authority, status, why):
    stub.reviews["the-token"] = status
    code, text = refusal(authority, REQUEST(csr=request()[0]), "the-token")
    assert code == grpc.StatusCode.UNAUTHENTICATED and why in text
    with pytest.raises(grpc.RpcError) as error:
        subscribe(authority, "the-token")
    assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED and why in error.value.details()


def test_token__of_another_account_or_cluster__is_refused(stub, authority):
    stub.reviews["the-token"] = {**REVIEWED, "user": {**REVIEWED["user"], "username": "system:serviceaccount:bookinfo:reviews"}}
    with pytest.raises(grpc.RpcError) as error:
        subscribe(authority, "the-token")
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.RpcError) as error:
        subscribe(authority, "the-token", ("clusterid", "elsewhere"))
    assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED and 'no cluster "elsewhere"' in error.value.details()


def test_token__while_the_server_is_away__is_refused_not_held_for_ever(stub, authority):
    stub.stop()
    code, text = refusal(authority, REQUEST(csr=request()[0]), "the-token")
    assert code == grpc.StatusCode.UNAUTHENTICATED and "cannot connect" in text
    stub.start()
    stub.reviews["the-token"] = REVIEWED
    assert len(call(authority, REQUEST(csr=request()[0]), "the-token")) == 2
