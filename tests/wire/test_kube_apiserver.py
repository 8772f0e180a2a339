# SPDX-License-Identifier: Apache-2.0
"""weftd on a real API server, with the rights of its manifest's role and no others."""
import grpc
import pytest
from cryptography import x509

from lib.ca import CA
from lib.kube_apiserver import KubeApiserver, role
from lib.wait import wait_until
from lib.weftd import Weftd, document, pod, service, slice_of
from test_weftd_identity import IDENTITY, REQUEST, call, refusal, request, uris
from test_weftd_kube import hosts, objects, subscribe

pytestmark = [pytest.mark.weft_only, pytest.mark.kube]

ACCOUNT = {"namespace": "istio-system", "name": "weftd"}


def named(kind, name, namespace=None, **more):
    version = "rbac.authorization.k8s.io/v1" if "Role" in kind else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, **more}


def world():
    services = [service("reviews", 9080), service("productpage", 9080), service("db", 3306, "None", port_name="tcp-mysql")]
    for made in services:
        if made["spec"]["clusterIP"] != "None":
            del made["spec"]["clusterIP"] # the server's choice
    pods = [pod(f"reviews-v{i}", f"10.1.0.{i}", {"app": "reviews", "version": f"v{i}"}, "reviews") for i in (1, 2)]
    for made in pods:
        made["spec"]["containers"][0]["image"] = "none"
    return [*services, *pods, slice_of("reviews", 9080, ["10.1.0.1", "10.1.0.2"])]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("kube")
    made = KubeApiserver(directory, CA(directory / "ca"))
    try:
        for o in (named("Namespace", "istio-system"), named("Namespace", "bookinfo"), named("ServiceAccount", "weftd", "istio-system"),
                  named("ServiceAccount", "bookinfo-productpage", "bookinfo"), role(),
                  named("ClusterRoleBinding", "weftd", roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weftd"},
                        subjects=[{"kind": "ServiceAccount", **ACCOUNT}]), *world()):
            made.put(o)
        yield made
    finally:
        made.stop()


@pytest.fixture
def weftd(server, started, tmp_path):
    token = server.token("istio-system", "weftd", "https://kubernetes.default.svc")
    made = Weftd(tmp_path / "weftd", kubeconfig=server.kubeconfig(tmp_path, token), args=("--ca-dir", "ca", "--root-cert-file", "root.pem"))
    started.add(made, made.stop)
    made.wait_served()
    wait_until(lambda: made.page("/ready").status == 200, "weftd to be ready")
    root = (tmp_path / "weftd" / "root.pem").read_text()
    made.root = lambda: root
    return made


def test_objects__all_there__and_every_change(server, weftd):
    assert hosts(weftd)["reviews"] == 2 and not weftd.page("/debug/faults").body
    server.put(slice_of("reviews", 9080, ["10.1.0.1", "10.1.0.2", "10.1.0.3"]))
    wait_until(lambda: hosts(weftd)["reviews"] == 3, "the endpoint")
    server.put(slice_of("reviews", 9080, ["10.1.0.1", "10.1.0.2"]))
    wait_until(lambda: hosts(weftd)["reviews"] == 2, "its end")
    server.put(document("VirtualService", "reviews", {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}))
    wait_until(lambda: objects(weftd, "VirtualService") == 1, "the route")
    server.put(document("VirtualService", "reviews", {"hosts": ["reviews"], "htpp": [], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}))
    wait_until(lambda: b"htpp" in weftd.page("/debug/faults").body, "the fault")
    server.remove("VirtualService", "reviews")
    wait_until(lambda: objects(weftd, "VirtualService") == 0 and not weftd.page("/debug/faults").body, "its end")


def test_restart__of_the_server__goes_on(server, weftd):
    server.stop_server()
    wait_until(lambda: weftd.metric('weftd_kubernetes_failures_total{kind="Service"}') >= 1, "the loss")
    assert hosts(weftd)["reviews"] == 2 and weftd.page("/ready").status == 200
    server.start()
    made = service("later", 8080)
    del made["spec"]["clusterIP"]
    server.put(made)
    wait_until(lambda: "later" in hosts(weftd), "what came after", 60)
    server.remove("Service", "later")
    wait_until(lambda: "later" not in hosts(weftd), "its end")


def test_history__that_is_gone__lists_again_and_what_vanished_goes(server, weftd):
    made = service("short", 8080)
    del made["spec"]["clusterIP"]
    server.put(made)
    wait_until(lambda: "short" in hosts(weftd), "the service")
    server.stop_server()
    server.erase("/registry/services/specs/bookinfo/short")
    server.start()
    wait_until(lambda: "short" not in hosts(weftd), "its end", 60)
    assert hosts(weftd)["reviews"] == 2
    assert weftd.metric('weftd_kubernetes_expired_total{kind="Service"}') >= 1


def test_pages__more_than_one__are_all_read(server, weftd, started, tmp_path):
    for i in range(510):
        server.put(document("ServiceEntry", f"entry-{i}", {"hosts": [f"h{i}.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}))
    wait_until(lambda: objects(weftd, "ServiceEntry") == 510, "all of them")
    token = server.token("istio-system", "weftd", "https://kubernetes.default.svc")
    second = Weftd(tmp_path / "second", kubeconfig=server.kubeconfig(tmp_path / "second", token))
    started.add(second, second.stop)
    second.wait_served()
    assert objects(second, "ServiceEntry") == 510 and second.metric('weftd_kubernetes_pages_total{kind="ServiceEntry"}') == 2
    for i in range(510):
        server.remove("ServiceEntry", f"entry-{i}")
    wait_until(lambda: objects(weftd, "ServiceEntry") == 0, "their end")


def test_token__of_a_service_account__is_worth_its_identity(server, weftd):
    token = server.token("bookinfo", "bookinfo-productpage", "istio-ca")
    chain = call(weftd, REQUEST(csr=request()[0]), token)
    assert uris(x509.load_pem_x509_certificate(chain[0].encode())) == [IDENTITY]
    assert subscribe(weftd, token).resources
    code, why = refusal(weftd, REQUEST(csr=request()[0]), server.token("bookinfo", "bookinfo-productpage", "https://kubernetes.default.svc"))
    assert code == grpc.StatusCode.UNAUTHENTICATED, why
    code, why = refusal(weftd, REQUEST(csr=request()[0]), token[:-4] + "AAAA")
    assert code == grpc.StatusCode.UNAUTHENTICATED and token not in weftd.log(), why
