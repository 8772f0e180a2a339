# SPDX-License-Identifier: Apache-2.0
"""A pod around one sidecar: the application beside it, the control plane that it asks."""
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lib import config, http1
from lib.ads_server import AdsServer
from lib.ca import CA
from lib.mesh_ca import MeshCA, pem
from lib.sidecar import Sidecar, pod
from lib.wait import wait_until


class Page(BaseHTTPRequestHandler):
    """One of the application's."""
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


class Application(ThreadingHTTPServer):
    """A page of metrics and pages of health: `pages`, path -> (status, content type, body). `seen`: (path, headers, the peer's
    address). `tls`: a context of ssl."""
    daemon_threads = True

    def __init__(self, host="127.0.0.1", tls=None):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Page)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.seen, self.pages = [], {
            "/app": (200, "text/plain; version=0.0.4", b"# TYPE shop_orders counter\nshop_orders 7\n"),
            "/open": (200, "application/openmetrics-text; version=1.0.0", b"shop_orders_total 7\n# EOF\n"),
            "/live": (200, "text/plain", b"x" * 20000), "/sick": (503, "text/plain", b"sick"), "/moved": (302, "text/plain", b"")}
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Pod:
    def __init__(self, started, directory):
        self.started, self.directory = started, str(directory)
        self.ca = CA(self.directory)
        self.ads = started.add(*self._closing(AdsServer(held=["cds", "lds"])))
        self.authority = started.add(*self._closing(MeshCA(self.ca, name="localhost")))

    @staticmethod
    def _closing(made):
        return made, made.close

    def start(self, proxy_config=None, **env):
        known = pod(self.directory, root_pem=pem(self.ca.certificate),
                    proxy_config={"discoveryAddress": f"localhost:{self.ads.port}", **(proxy_config or {})}, **env)
        known.setdefault("CA_ADDR", f"localhost:{self.authority.port}")
        self.host = known["INSTANCE_IP"]
        self.sidecar = Sidecar(self.directory, known)
        self.started.add(self.sidecar, self.sidecar.stop)
        with open(self.sidecar.stderr_path, encoding="utf-8") as log:
            found = re.search(r"status port: (\d+)", log.read())
        cluster = re.search(r"^agent::(?:127\.0\.0\.1|\[::1\]):(\d+)::", self.sidecar.admin("/clusters").body.decode(), re.M)
        self.port = int(cluster.group(1))
        assert not found or int(found.group(1)) == self.port
        return self

    def ask(self, path, method="GET", headers=()):
        return http1.fetch((self.host, self.port), method, path, headers=list(headers))

    def push(self):
        self.ads.set_resources("cds", {"c": {"name": "c", "type": "STATIC", "connect_timeout": "1s"}})
        self.ads.set_resources("lds", {"here": config.listener("here", config.hcm(
            routes=[{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]))})
        self.ads.release("cds")
        self.ads.release("lds")

    def why_unready(self):
        """"" when it is ready."""
        answer = self.ask("/healthz/ready")
        assert (answer.status == 200) == (not answer.body)
        return answer.body.decode()

    def wait_ready(self):
        self.push()
        wait_until(lambda: self.ask("/healthz/ready").status == 200)
