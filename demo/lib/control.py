# SPDX-License-Identifier: Apache-2.0
"""weftd on a directory of files, and what the demo asks of it. All that the demo assumes of weftd's outside stands here."""
import json
import os
import secrets
import urllib.request

from lib.loopback import free_port
from lib.processes import Failed, wait_until
from lib.world import BY_NAME

TOKENS = "tokens"  # <namespace>/<service account>: the bootstrap token by which a workload proves itself to the CA
ROOT_CERT = "root-cert.pem"


class Control:
    def __init__(self, program, directory, config, ground, processes):
        self.program, self.directory, self.config = program, directory, config
        self.ground, self.processes = ground, processes
        self.ports = {name: free_port() for name in ("grpc", "secure", "http", "monitoring")}

    @property
    def discovery_address(self):
        return f"{self.ground.control_name}:{self.ports['secure']}"

    def token(self, workload):
        """The workload's token, made at its first asking: weftd knows it by its file."""
        path = os.path.join(self.directory, TOKENS, workload.namespace, workload.app)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        with open(path, encoding="utf-8") as file:
            return file.read()

    def root_cert(self):
        with open(os.path.join(self.directory, ROOT_CERT), encoding="utf-8") as file:
            return file.read()

    def start(self):
        for workload in BY_NAME.values():
            self.token(workload)
        host = self.ground.control_host
        self.processes.start("weftd", [
            self.program, "--config-dir", self.config.directory, "--mesh-config", self.config.mesh_file,
            "--ca-dir", os.path.join(self.directory, "ca"), "--token-dir", os.path.join(self.directory, TOKENS),
            "--root-cert-file", os.path.join(self.directory, ROOT_CERT), "--grpc-addr", f"127.0.0.1:{self.ports['grpc']}", "--secure-grpc-addr", f"{host}:{self.ports['secure']}",
            "--http-addr", f"127.0.0.1:{self.ports['http']}", "--monitoring-addr", f"127.0.0.1:{self.ports['monitoring']}"])
        wait_until(self.is_ready, "weftd to be ready")

    def is_ready(self):
        self.processes.check()
        try:
            return self.get("/ready") is not None
        except OSError:
            return False

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['http']}{path}", timeout=10) as response:
            return response.read().decode()

    def graph(self):
        """Who calls whom, as weftd gathers it from the proxies' load reports: [{source, destination, requests, errors}]."""
        try:
            return json.loads(self.get("/debug/graph"))["edges"]
        except (OSError, ValueError, KeyError) as fault:
            raise Failed(f"weftd tells no service graph: {fault}") from fault
