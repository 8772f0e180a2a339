# SPDX-License-Identifier: Apache-2.0
"""The sidecar's status server: readiness, merged metrics, the application's probes, /drain and /quitquitquit."""
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lib import config, http1
from lib.ads_server import AdsServer
from lib.ca import CA
from lib.mesh_ca import MeshCA, pem
from lib.sidecar import Sidecar, pod
from lib.wait import wait_until

pytestmark = pytest.mark.weft_only


class Application(BaseHTTPRequestHandler):
    """A page of metrics and pages of health."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers), self.client_address[0]))
        status, kind, body = self.server.pages.get(self.path, (404, "text/plain", b"no"))
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def application(started):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    server.daemon_threads = True
    server.seen, server.pages = [], {
        "/app": (200, "text/plain; version=0.0.4", b"# TYPE shop_orders counter\nshop_orders 7\n"),
        "/open": (200, "application/openmetrics-text; version=1.0.0", b"shop_orders_total 7\n# EOF\n"),
        "/live": (200, "text/plain", b"x" * 20000), "/sick": (503, "text/plain", b"sick"), "/moved": (302, "text/plain", b"")}
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def close():
        server.shutdown()
        server.server_close()
    started.add(server, close)
    server.port = server.server_address[1]
    return server


def silent_port():
    """Nobody listens there: bound, not listening."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


class Pod:
    def __init__(self, started, directory):
        self.started, self.directory = started, str(directory)
        self.ca = CA(self.directory)
        self.ads = started.add(*self._closing(AdsServer(held=["cds", "lds"])))
        self.authority = started.add(*self._closing(MeshCA(self.ca, name="localhost")))

    @staticmethod
    def _closing(made):
        return made, made.close

    def start(self, **env):
        known = pod(self.directory, root_pem=pem(self.ca.certificate),
                    proxy_config={"discoveryAddress": f"localhost:{self.ads.port}"}, **env)
        known.setdefault("CA_ADDR", f"localhost:{self.authority.port}")
        self.sidecar = Sidecar(self.directory, known)
        self.started.add(self.sidecar, self.sidecar.stop)
        with open(self.sidecar.stderr_path, encoding="utf-8") as log:
            found = re.search(r"status port: (\d+)", log.read())
        cluster = re.search(r"^agent::127\.0\.0\.1:(\d+)::", self.sidecar.admin("/clusters").body.decode(), re.M)
        self.port = int(cluster.group(1))
        assert not found or int(found.group(1)) == self.port
        return self

    def ask(self, path, method="GET", headers=()):
        return http1.fetch(("127.0.0.1", self.port), method, path, headers=list(headers))

    def push(self):
        self.ads.set_resources("cds", {"c": {"name": "c", "type": "STATIC", "connect_timeout": "1s"}})
        self.ads.set_resources("lds", {"here": config.listener("here", config.hcm(
            routes=[{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]))})
        self.ads.release("cds")
        self.ads.release("lds")

    def wait_ready(self):
        self.push()
        wait_until(lambda: self.ask("/healthz/ready").status == 200)


@pytest.fixture
def mesh(started, tmp_path):
    return Pod(started, tmp_path)


def test_readiness_waits_for_clusters_listeners_and_the_certificate(mesh):
    mesh.start()
    assert mesh.ask("/healthz/ready").status == 503
    assert mesh.ask("/healthz/ready").body == b"no clusters were accepted yet"
    mesh.push()
    wait_until(lambda: mesh.ask("/healthz/ready").status == 200)


def test_metrics_are_the_agents_the_proxys_and_the_applications(mesh, application):
    mesh.start(ISTIO_PROMETHEUS_ANNOTATIONS=json.dumps({"scrape": "true", "path": "/app", "port": str(application.port)}))
    page = mesh.ask("/stats/prometheus", headers=[("accept", "text/plain")])
    text = page.body.decode()
    assert page.status == 200
    assert text.index("istio_agent_scrapes_total 1") < text.index("envoy_server_uptime") < text.index("shop_orders 7")
    assert application.seen[-1][1]["accept"] == "text/plain"
    application.pages["/app"] = application.pages["/open"]
    page = mesh.ask("/metrics")
    assert page.get("content-type").startswith("application/openmetrics-text")
    assert page.body.endswith(b"# EOF\n")


def test_an_application_that_is_down_leaves_the_rest(mesh):
    held = silent_port()
    mesh.start(ISTIO_PROMETHEUS_ANNOTATIONS=json.dumps({"scrape": "true", "port": str(held.getsockname()[1])}))
    first, second = mesh.ask("/stats/prometheus"), mesh.ask("/stats/prometheus")
    held.close()
    assert first.status == 200 and b"envoy_server_uptime" in first.body
    assert b'istio_agent_scrape_failures_total{type="application"} 1' in second.body


def test_probes_ask_the_application(mesh, application):
    held = silent_port()
    port, closed = application.port, held.getsockname()[1]

    def http(path, at=port):
        return {"httpGet": {"path": path, "port": at, "scheme": "HTTP",
                            "httpHeaders": [{"name": "X-Probe", "value": "yes"}, {"name": "Host", "value": "shop"}]},
                "timeoutSeconds": 5}
    mesh.start(ISTIO_KUBE_APP_PROBERS=json.dumps({
        "/app-health/a/livez": http("/live"), "/app-health/a/readyz": http("/sick"), "/app-health/a/startupz": http("/moved"),
        "/app-health/b/livez": http("/live", closed), "/app-lifecycle/a/poststartz": http("/live"),
        "/app-health/c/livez": {"tcpSocket": {"port": port}}, "/app-health/c/readyz": {"tcpSocket": {"port": closed}}}))
    answer = mesh.ask("/app-health/a/livez", headers=[("user-agent", "kube-probe/1.34")])
    assert answer.status == 200 and answer.body == b"x" * 10240
    path, headers, source = application.seen[-1]
    known = {k.lower(): v for k, v in headers.items()}
    assert (path, known["x-probe"], known["host"], known["user-agent"]) == ("/live", "yes", "shop", "kube-probe/1.34")
    assert source == "127.0.0.6"
    assert [mesh.ask(f"/app-health/{p}").status for p in ("a/readyz", "a/startupz", "b/livez", "c/livez", "c/readyz", "z/livez")] == [
        503, 200, 500, 200, 500, 400]
    assert mesh.ask("/app-lifecycle/a/poststartz").status == 200
    held.close()


@pytest.mark.parametrize("name, value, text", [
    ("ISTIO_KUBE_APP_PROBERS", {"/app-health/a/livez": {"httpGet": {"path": "/"}}}, "./app-health/a/livez: its port is no number"),
    ("ISTIO_KUBE_APP_PROBERS", {"/app-health/a/livez": {"httpGet": {"path": "/", "port": 1, "host": "b"}}},
     "./app-health/a/livez: 'host' is not supported"),
    ("ISTIO_KUBE_APP_PROBERS", {"/app-health/a/livez": {"tcpSocket": {"port": 1}, "exec": {}}},
     "./app-health/a/livez: 'exec' is not supported"),
    ("ISTIO_KUBE_APP_PROBERS", {"/app-health/a/livez": {"grpc": {"port": 1, "service": "s" * 101}}}, "name is longer than 100 bytes"),
    ("ISTIO_PROMETHEUS_ANNOTATIONS", {"scrape": "true", "path": "/m", "port": "1", "targets": [{"port": "2"}]},
     ": targets is not supported"),
])
def test_what_is_not_heeded_is_refused_by_name(mesh, tmp_path, name, value, text):
    with pytest.raises(Exception):
        mesh.start(**{name: json.dumps(value)})
    with open(tmp_path / "stderr", encoding="utf-8") as log:
        said = log.read()
    assert name in said and text in said


def test_quitquitquit_takes_post_and_ends_the_proxy(mesh):
    mesh.start()
    mesh.wait_ready()
    assert mesh.ask("/quitquitquit").status == 405
    assert mesh.ask("/nothing").status == 404
    assert mesh.ask("/drain", "POST").status == 200
    assert mesh.ask("/quitquitquit", "POST").status == 200
    mesh.sidecar.process.wait(30)
