# SPDX-License-Identifier: Apache-2.0
"""weft-proxy as `sidecar`: environment and files of a pod in a working directory of its own."""
import json
import os
import subprocess

from lib.proxy import Proxy, weft


def write(directory, path, text):
    """A file below the working directory, whole or not at all."""
    full = os.path.join(str(directory), path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full + ".new", "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(full + ".new", full)
    return full


def pod(directory, root_pem=None, ca_port=None, token="a.token.here", proxy_config=None, **env):
    """The environment of a usual pod; files that it has are written."""
    if root_pem:
        write(directory, "var/run/secrets/istio/root-cert.pem", root_pem)
    if token:
        write(directory, "var/run/secrets/tokens/istio-token", token + "\n")
    config = {"proxyAdminPort": 0, "statusPort": 0, "concurrency": 1, "terminationDrainDuration": "0.1s",
              "discoveryAddress": "127.0.0.1:1", "controlPlaneAuthPolicy": "NONE", **(proxy_config or {})}
    known = {"POD_NAME": "productpage-v1-0", "POD_NAMESPACE": "bookinfo", "INSTANCE_IP": "127.0.0.1",
             "SERVICE_ACCOUNT": "bookinfo-productpage", "PILOT_CERT_PROVIDER": "istiod", "PROXY_CONFIG": json.dumps(config),
             "ENVOY_STATUS_PORT": "0", "ENVOY_PROMETHEUS_PORT": "0"}
    if ca_port:
        known["CA_ADDR"] = f"127.0.0.1:{ca_port}"
    return {**known, **env}


class Sidecar(Proxy):
    """Started in `directory` with `env`. Its admin page is there when this returns; it is live once discovery has given it
    clusters and listeners (`wait_ready`)."""

    def __init__(self, directory, env, role="sidecar", args=(), override=None):
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.binary = weft()
        self.admin_path = os.path.join(self.directory, "admin")
        self.stderr_path = os.path.join(self.directory, "stderr")
        if override:
            env = {**env, "ISTIO_BOOTSTRAP_OVERRIDE": write(directory, "override.json", json.dumps(override))}
        command = [self.binary, role, "--domain", "bookinfo.svc.cluster.local", "--admin-address-path", self.admin_path, *args]
        base = {k: v for k, v in os.environ.items() if not k.startswith(("ISTIO_", "POD_", "CA_"))}
        with open(self.stderr_path, "wb") as err, open(os.path.join(self.directory, "stdout"), "wb") as out:
            self.process = subprocess.Popen(command, stderr=err, stdout=out, cwd=self.directory, env={**base, **env})
        self.admin_address = None
        self.ports = {}
        self.wait_admin()


def print_bootstrap(directory, env, role="sidecar", args=()):
    """What it would run with, read back."""
    os.makedirs(str(directory), exist_ok=True)
    made = subprocess.run([weft(), role, "--print-bootstrap", *args], cwd=str(directory), env={"PATH": os.environ["PATH"], **env},
                          capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)
