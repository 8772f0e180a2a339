# SPDX-License-Identifier: Apache-2.0
"""A sidecar with the DNS proxy, the control plane that tells it names, the resolvers that it asks for others."""
import os
import re

from lib import http1
from lib.ads_server import AdsServer
from lib.dns import A
from lib.dns_client import Upstream, ask, name_table
from lib.sidecar import Sidecar, pod, write
from lib.wait import wait_until

MESH = {
    "reviews.bookinfo.svc.cluster.local": (["10.96.1.1"], "reviews", "bookinfo"),
    "db.foo.svc.cluster.local": (["10.96.2.1", "10.96.2.2", "fd00::2"], "db", "foo"),
    "six.foo.svc.cluster.local": (["fd00::6"], "six", "foo"),
    "api.example.com": ["240.240.0.1"],
    "*.wild.example.com": ["240.240.0.2", "2001:2::2"],
    "exact.wild.example.com": ["240.240.0.3"],
    "Upper.Example.com": ["240.240.0.4"],
    "big.example.com": [f"10.1.{i // 250}.{i % 250 + 1}" for i in range(600)],
}


class Named:
    """A sidecar whose DNS proxy knows MESH once it has been pushed, and asks the upstreams that were made before its start."""

    def __init__(self, started, directory):
        self.started, self.directory = started, str(directory)
        self.ads = AdsServer(held=["nds"])
        started.add(self.ads, self.ads.close)
        self.ads.set_resources("nds", {"": name_table(MESH)})
        self.upstreams = []

    def upstream(self, **names):
        made = Upstream(ttl=100, **names)
        self.started.add(made, made.close)
        self.upstreams.append(made)
        return made

    def start(self, table=True, servers=None, args=(), role="sidecar", **env):
        servers = servers if servers is not None else [f"127.0.0.1:{one.port}" for one in self.upstreams]
        write(self.directory, "resolv.conf", "# as a kubelet writes it\nsearch bookinfo.svc.cluster.local svc.cluster.local\n" +
              "".join(f"nameserver {one}\n" for one in servers) + "options ndots:5\n")
        known = pod(self.directory, proxy_config={"discoveryAddress": f"127.0.0.1:{self.ads.port}"},
                    **{"CA_PROVIDER": "none", "ISTIO_META_DNS_CAPTURE": "true", "DNS_PROXY_ADDR": "localhost:0",
                       "WEFT_RESOLV_CONF": os.path.join(self.directory, "resolv.conf"), **env})
        self.sidecar = Sidecar(self.directory, known, role, args)
        self.started.add(self.sidecar, self.sidecar.stop)
        found = wait_until(lambda: re.findall(r"DNS proxy: (\S+):(\d+)", self.log()))
        self.port = int(found[0][1])
        self.hosts = [host.strip("[]") for host, _ in found]
        assert {int(port) for _, port in found} == {self.port}
        cluster = re.search(r"^agent::127\.0\.0\.1:(\d+)::", self.sidecar.admin("/clusters").body.decode(), re.M)
        self.status_port = int(cluster.group(1))
        if table:
            self.push()
        return self

    def push(self):
        self.ads.release("nds")
        wait_until(lambda: self.count("names"))

    def log(self):
        with open(self.sidecar.stderr_path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def count(self, name):
        return self.sidecar.stat(f"agent.dns.{name}")

    def ask(self, name, kind=A, **options):
        return ask(self.port, name, kind, **options)

    def page(self, path):
        return http1.fetch(("127.0.0.1", self.status_port), "GET", path)
