# SPDX-License-Identifier: Apache-2.0
"""weftd on a folder of files, its ports the kernel's choice."""
import json
import os
import signal
import subprocess

from lib import http1
from lib.proxy import SANITIZER_REPORT, weft
from lib.sidecar import write
from lib.wait import PATIENCE_S, wait_until


def binary():
    return os.path.join(os.path.dirname(weft()), "weftd")


def document(kind, name, spec, namespace="bookinfo", version="networking.istio.io/v1", **meta):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace, **meta}, "spec": spec}


def service(name, port, address="10.96.0.1", namespace="bookinfo", port_name="http", **spec):
    return document("Service", name, {"clusterIP": address, "ports": [{"name": port_name, "port": port}], **spec}, namespace, "v1")


def slice_of(name, port, addresses, namespace="bookinfo", port_name="http", ready=True):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name + "-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [a], "conditions": {"ready": ready}} for a in addresses],
            "ports": [{"name": port_name, "port": port, "protocol": "TCP"}]}


def pod(name, address, labels=None, account="default", namespace="bookinfo"):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {"serviceAccountName": account, "containers": [{"name": "app"}]}, "status": {"phase": "Running", "podIP": address}}


class Weftd:
    """Serves when this returns; of an API server (`kubeconfig`) the pages, and proxies once wait_served returns."""

    def __init__(self, directory, documents=(), mesh="", args=(), kubeconfig=None):
        self.directory = str(directory)
        self.config = os.path.join(self.directory, "config")
        os.makedirs(self.config, exist_ok=True)
        self.put("objects.json", list(documents))
        mesh_path = write(self.directory, "mesh.yaml", mesh)
        ports = self.ports_path = os.path.join(self.directory, "ports.json")
        if os.path.exists(ports):
            os.unlink(ports)  # of one that was here before
        self.stderr_path = os.path.join(self.directory, "weftd.log")
        source = ["--kubeconfig", kubeconfig] if kubeconfig else ["--config-dir", self.config]
        command = [binary(), *source, "--mesh-config", mesh_path, "--ports-file", ports, *args]
        for name in ("grpc", "secure-grpc", "http", "monitoring"):
            command += [f"--{name}-addr", "127.0.0.1:0"]
        with open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen(command, stderr=err, stdout=err, cwd=self.directory)
        wait_until(lambda: self.process.poll() is not None or self._has_ports(ports), "weftd to listen")
        assert self.process.poll() is None, self.log()

    def _has_ports(self, path):
        try:
            with open(path, encoding="ascii") as text:
                self.ports = json.load(text)
        except (OSError, ValueError):
            return False
        return True

    def wait_served(self):
        wait_until(lambda: self.process.poll() is not None or self._has_ports(self.ports_path) and self.ports["grpc"], "all objects")
        assert self.process.poll() is None, self.log()

    def metric(self, name):
        """Of /metrics; `name` with its labels."""
        for line in self.page("/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        return None

    def log(self):
        with open(self.stderr_path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def put(self, name, documents):
        """A file of the mesh's objects, replaced by rename; a list of documents, or text as it is."""
        text = documents if isinstance(documents, str) else json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        write(self.config, name, text)

    def remove(self, name):
        os.unlink(os.path.join(self.config, name))

    def page(self, path):
        return http1.fetch(("127.0.0.1", self.ports["http"]), target=path)

    def json(self, path):
        return json.loads(self.page(path).body)

    def sent(self, proxy_id, kind):
        """What a proxy was sent of a type, by name."""
        return {r["name"]: r["resource"] for r in self.json("/debug/config_dump?proxyID=" + proxy_id).get(kind, [])}

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        found = SANITIZER_REPORT.search(self.log())
        assert not found and code == 0, f"weftd ended with {code}: {self.log()[-3000:]}"
