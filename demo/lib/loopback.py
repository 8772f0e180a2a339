# SPDX-License-Identifier: Apache-2.0
"""The ground of the mesh without root: each workload has an address of 127.0.0.0/8, nothing is captured.

A service listens on a port of its own, to which its sidecar hands what came in; it calls others through its sidecar's HTTP proxy
port, which it knows from http_proxy. What would be the kernel's to enforce, that nobody goes around the proxy, isn't here.
"""
import random
import socket

from lib.world import GATEWAY, PORT, SERVICES, WORKLOADS


GIVEN = set()


def free_port():
    """One that nobody holds, below those that the kernel gives out by itself: it stays free until it is used."""
    while True:
        port = random.randrange(20000, 32000)
        try:
            if port not in GIVEN:
                socket.create_server(("127.0.0.1", port)).close()
                GIVEN.add(port)
                return port
        except OSError:
            pass  # somebody's


class Loopback:
    summary = "no root: loopback addresses and each sidecar's HTTP proxy port; services find it in http_proxy"
    control_host, control_name = "127.0.0.1", "localhost"
    interception = "NONE"

    def __init__(self, _weft):
        names = [one.name for one in [*WORKLOADS, GATEWAY]]
        self.ports = {name: {kind: free_port() for kind in ("app", "proxy", "admin", "status")} for name in names}

    def ip(self, workload):
        return "127.0.0.1" if workload is GATEWAY else f"127.0.207.{11 + WORKLOADS.index(workload)}"

    def vip(self, service):
        return f"127.0.208.{1 + SERVICES.index(service)}"

    def app_address(self, workload):
        return "127.0.0.1", self.ports[workload.name]["app"]

    def admin_port(self, workload):
        return self.ports[workload.name]["admin"]

    def status_address(self, workload):
        return self.ip(workload), self.ports[workload.name]["status"]

    def open(self):
        pass

    def close(self):
        pass

    def command(self, _workload, command, is_proxy=False):
        del is_proxy
        return command

    def give(self, path):
        pass

    def service_env(self, workload):
        proxy = f"http://127.0.0.1:{self.ports[workload.name]['proxy']}"
        return {"http_proxy": proxy, "no_proxy": ""}

    def sidecar_env(self, workload):
        return {"ISTIO_META_HTTP_PROXY_PORT": str(self.ports[workload.name]["proxy"])}

    def objects(self):
        """Where each sidecar listens: the mesh's port on the workload's own address, in front of the service's."""
        return [{"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": one.name, "namespace": one.namespace},
                 "spec": {"workloadSelector": {"labels": {"instance": one.name}},
                          "ingress": [{"port": {"number": PORT, "protocol": "HTTP", "name": "http"}, "bind": self.ip(one),
                                       "defaultEndpoint": f"127.0.0.1:{self.ports[one.name]['app']}"}],
                          "egress": [{"hosts": ["./*"], "captureMode": "NONE"}]}}
                for one in WORKLOADS]
