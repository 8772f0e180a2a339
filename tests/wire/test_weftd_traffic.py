# SPDX-License-Identifier: Apache-2.0
"""Requests through proxies that weftd drives without anything captured: a gateway, and a sidecar that applications name as their
HTTP proxy."""
import pytest

from lib import http1
from lib.ca import CA
from lib.kube_apiserver import free_port
from lib.mesh_ca import MeshCA, pem
from lib.sidecar import Sidecar, pod as pod_env
from lib.wait import wait_until
from lib.weftd import Weftd, document

pytestmark = pytest.mark.weft_only


def entry(origin):
    return document("ServiceEntry", "shop", {
        "hosts": ["shop.test"], "resolution": "STATIC", "location": "MESH_EXTERNAL",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": origin.port}],
        "endpoints": [{"address": "127.0.0.1"}]}, namespace="shops")  # else it would be the proxy's own port


@pytest.fixture
def mesh(started, tmp_path):
    """A weftd with these objects, and a proxy of the role that follows it."""
    def start(role, documents, **env):
        weftd = Weftd(tmp_path / "weftd", documents)
        started.add(weftd, weftd.stop)
        ca = CA(str(tmp_path))
        authority = MeshCA(ca, name="localhost")
        started.add(authority, authority.close)
        proxy = Sidecar(tmp_path / "pod", pod_env(
            tmp_path / "pod", root_pem=pem(ca.certificate), CA_ADDR=f"localhost:{authority.port}", ISTIO_META_ISTIO_VERSION="1.31.0",
            proxy_config={"discoveryAddress": f"127.0.0.1:{weftd.ports['grpc']}"}, **env), role=role)
        started.add(proxy, proxy.stop)
        wait_until(lambda: proxy.stat("listener_manager.lds.update_success") or proxy.stat("listener_manager.lds.update_rejected"), "listeners")
        assert not proxy.stat("listener_manager.lds.update_rejected"), weftd.log()
        return weftd
    return start


def answered(port, host, target="/"):
    """The answer's status, once there is one: the port binds when its routes have come."""
    def ask():
        try:
            return http1.fetch(("127.0.0.1", port), host=host, target=target)
        except OSError:
            return None
    return wait_until(ask, f"an answer at {port}")


def test_gateway__leads_by_host_and_path(mesh, origin):
    port = free_port()
    gateway = document("Gateway", "gw", {"servers": [{"port": {"number": port, "name": "http", "protocol": "HTTP"}, "bind": "127.0.0.1",
                                                      "hosts": ["*.test"]}]})
    route = document("VirtualService", "shop", {"hosts": ["shop.test"], "gateways": ["gw"], "http": [
        {"match": [{"uri": {"prefix": "/cart"}}], "rewrite": {"uri": "/basket"},
         "route": [{"destination": {"host": "shop.test", "port": {"number": 80}}}]}]})
    mesh("router", [entry(origin), gateway, route])
    assert answered(port, "shop.test", "/cart/1").status == 200
    assert origin.last().target == "/basket/1"
    assert answered(port, "shop.test", "/other").status == 404
    assert answered(port, "nobody.test").status == 404


def test_http_proxy__leads_to_services_by_name(mesh, origin):
    port = free_port()
    mesh("sidecar", [entry(origin)], ISTIO_META_INTERCEPTION_MODE="NONE", ISTIO_META_HTTP_PROXY_PORT=str(port))
    assert answered(port, "shop.test", "/cart").status == 200
    assert origin.last().target == "/cart"
