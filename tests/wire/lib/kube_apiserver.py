# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver over a real etcd, on loopback, with the mesh's CRDs. Their programs are in WEFT_KUBE_BIN
(tools/kube-apiserver)."""
import base64
import json
import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lib.kube_stub import CORE, GROUPS
from lib.sidecar import write
from lib.wait import PATIENCE_S, wait_until

ADMIN = "the-admins-token"
ISTIO = {group: kinds for group, kinds in GROUPS.items() if ".istio.io/" in group}
# Resources in the paths of kinds that the stub doesn't have.
OTHERS = {"ServiceAccount": ("v1", "serviceaccounts"), "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles"),
          "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", "clusterrolebindings"),
          "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions")}
NOT_NAMESPACED = {"Node", "Namespace", "IngressClass", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}


def programs():
    folder = os.environ.get("WEFT_KUBE_BIN")
    if not folder:
        pytest.skip("wants a kube-apiserver: `make test-kube` runs it")
    return folder


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def crd(group_version, plural, kind):
    group, _, version = group_version.partition("/")
    open_schema = {"type": "object", "properties": {name: {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                                                    for name in ("spec", "status")}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind, "singular": kind.lower()},
                     "versions": [{"name": version, "served": True, "storage": True, "subresources": {"status": {}},
                                   "schema": {"openAPIV3Schema": open_schema}}]}}


def role():
    """What weftd needs, and no more."""
    rules = [{"apiGroups": [group.rpartition("/")[0]], "resources": list(kinds), "verbs": ["list", "watch"]} for group, kinds in GROUPS.items()]
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "weftd"}, "rules": rules + [
        {"apiGroups": [""], "resources": list(CORE), "verbs": ["list", "watch"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}]}


class KubeApiserver:
    def __init__(self, directory, ca):
        self.directory, self.bin, self.ca = str(directory), programs(), ca
        os.makedirs(self.directory, exist_ok=True)
        self.port, etcd, peer = free_port(), free_port(), free_port()
        self.url, self.etcd_url = f"https://127.0.0.1:{self.port}", f"http://127.0.0.1:{etcd}"
        self.leaf = ca.issue("kube-apiserver", ["IP:127.0.0.1"])
        self.context = ssl.create_default_context(cafile=ca.cert)
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        write(self.directory, "accounts.pem", key.decode())
        write(self.directory, "tokens.csv", f"{ADMIN},admin,admin,system:masters\n")
        self.etcd = self._run("etcd", "--data-dir", "etcd", "--listen-client-urls", self.etcd_url, "--advertise-client-urls", self.etcd_url,
                              "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                              "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--unsafe-no-fsync")
        self.server = None
        self.start()
        for group, kinds in ISTIO.items():
            for plural, kind in kinds.items():
                self.put(crd(group, plural, kind))
        wait_until(lambda: all(self._is_served(group, plural) for group, kinds in ISTIO.items() for plural in kinds), "the CRDs")

    def _run(self, name, *args):
        with open(os.path.join(self.directory, name + ".log"), "ab") as log:
            return subprocess.Popen([os.path.join(self.bin, name), *args], cwd=self.directory, stdout=log, stderr=log)

    def start(self):
        self.server = self._run(
            "kube-apiserver", "--etcd-servers", self.etcd_url, "--bind-address=127.0.0.1", "--secure-port", str(self.port), "--cert-dir", "certs",
            "--tls-cert-file", self.leaf.cert, "--tls-private-key-file", self.leaf.key, "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=accounts.pem", "--service-account-signing-key-file=accounts.pem", "--token-auth-file=tokens.csv",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true",
            "--disable-admission-plugins=ServiceAccount", "--api-audiences=https://kubernetes.default.svc,istio-ca",
            "--advertise-address=10.255.0.1", "--endpoint-reconciler-type=none")
        wait_until(self._is_ready, "the API server", 60)

    def stop_server(self):
        self.server.kill() # SIGTERM would wait a minute for watches to end
        self.server.wait(PATIENCE_S)

    def stop(self):
        self.stop_server()
        self.etcd.terminate()
        self.etcd.wait(PATIENCE_S)

    def erase(self, key):
        """Of etcd, behind the server's back, and etcd forgets all but what is now."""
        def etcd(path, body):
            with urllib.request.urlopen(urllib.request.Request(self.etcd_url + path, json.dumps(body).encode()), timeout=30) as answer:
                return json.loads(answer.read())
        gone = etcd("/v3/kv/deleterange", {"key": base64.b64encode(key.encode()).decode()})
        assert gone["deleted"] == "1", gone
        etcd("/v3/kv/compaction", {"revision": gone["header"]["revision"]})

    def log(self):
        with open(os.path.join(self.directory, "kube-apiserver.log"), encoding="utf-8", errors="replace") as text:
            return text.read()

    def _is_ready(self):
        assert self.server.poll() is None and self.etcd.poll() is None, self.log()[-3000:]
        try:
            self.ask("GET", "/readyz", as_json=False)
            return True
        except OSError:
            return False

    def _is_served(self, group, plural):
        try:
            return self.ask("GET", f"/apis/{group}/{plural}?limit=1") is not None
        except urllib.error.HTTPError:
            return False

    # ---- objects ----

    def ask(self, method, path, body=None, kind="application/json", as_json=True):
        asked = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                       headers={"Authorization": "Bearer " + ADMIN, "Content-Type": kind})
        with urllib.request.urlopen(asked, context=self.context, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if as_json else text

    def path(self, kind, namespace, name=""):
        if kind in OTHERS:
            group, plural = OTHERS[kind]
        else:
            found = {k: (g, p) for g, kinds in {"v1": CORE, **GROUPS}.items() for p, k in kinds.items()}
            group, plural = found[kind]
        where = "" if kind in NOT_NAMESPACED else f"/namespaces/{namespace}"
        return f"{'/api/' if group == 'v1' else '/apis/'}{group}{where}/{plural}" + (f"/{name}" if name else "")

    def put(self, o):
        """Made, or changed; with a pod its status."""
        kind, meta = o["kind"], o["metadata"]
        namespace = meta.get("namespace", "default")
        try:
            made = self.ask("POST", self.path(kind, namespace), o)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise AssertionError(f"{kind} {meta['name']}: {error.read().decode()}") from error
            made = self.ask("PATCH", self.path(kind, namespace, meta["name"]), o, "application/merge-patch+json")
        if "status" in o:
            self.ask("PATCH", self.path(kind, namespace, meta["name"]) + "/status", {"status": o["status"]}, "application/merge-patch+json")
        return made

    def remove(self, kind, name, namespace="bookinfo"):
        self.ask("DELETE", self.path(kind, namespace, name) + "?gracePeriodSeconds=0")

    def token(self, namespace, account, *audiences):
        """Of a service account, for an hour."""
        return self.ask("POST", self.path("ServiceAccount", namespace, account) + "/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": list(audiences), "expirationSeconds": 3600}})[
                "status"]["token"]

    def kubeconfig(self, directory, token):
        with open(self.ca.cert, "rb") as pem:
            root = base64.b64encode(pem.read()).decode()
        return write(str(directory), "kubeconfig", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "real", "user": "weftd"}}],
            "clusters": [{"name": "real", "cluster": {"server": self.url, "certificate-authority-data": root}}],
            "users": [{"name": "weftd", "user": {"token": token}}]}))
