# SPDX-License-Identifier: Apache-2.0
"""Whatever order changes come in, a weftd that lived through them sends what one that starts on their outcome sends."""
import os
import random

import pytest

from lib.ca import CA
from lib.mesh_ca import MeshCA, pem
from lib.sidecar import Sidecar, pod as pod_env
from lib.wait import wait_until
from lib.weftd import Weftd, document, pod, service, slice_of

pytestmark = pytest.mark.weft_only

ID = "sidecar~127.0.0.1~productpage-v1-0.bookinfo~bookinfo.svc.cluster.local"
KINDS = ("cds", "lds", "eds", "rds", "vhds")
RUNS = int(os.environ.get("WEFT_RANDOM_MESH", "4"))
STEPS = 25


class Draw:
    """Files of the mesh, each of one sort, that come, change and go."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.files = {}

    def service(self, n):
        port, name = self.random.choice([(80, "http"), (80, "grpc"), (9000, "tcp-x"), (9001, "what")])
        address = self.random.choice([f"10.96.1.{n}", "None"])
        return [service(f"s{n}", port, address, port_name=name), slice_of(f"s{n}", port, self.addresses(n), port_name=name)]

    def addresses(self, n):
        return [f"10.2.{n}.{k}" for k in self.random.sample(range(1, 6), self.random.randint(0, 3))]

    def pods(self, n):
        return [pod(f"s{n}-{k}", f"10.2.{n}.{k}", {"app": f"s{n}", "version": self.random.choice(["v1", "v2"]),
                                                   **self.random.choice([{}, {"security.istio.io/tlsMode": "istio"}])},
                    self.random.choice(["a", "b"])) for k in range(1, 6)]

    def rule(self, n):
        return [document("DestinationRule", f"s{n}", {"host": f"s{n}", "subsets": [{"name": v, "labels": {"version": v}} for v in
                                                                                  self.random.sample(["v1", "v2"], self.random.randint(1, 2))],
                                                      "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": self.random.randint(1, 9)}}}})]

    def route(self, n):
        if self.random.random() < 0.3:
            return [document("VirtualService", f"s{n}", {"hosts": [f"s{n}"], "tcp": [{"match": [{"port": 9000}], "route": [
                {"destination": {"host": f"s{self.random.randint(1, 4)}", "port": {"number": 9000}}}]}]})]
        return [document("VirtualService", f"s{n}", {"hosts": [f"s{n}"], "http": [
            {"match": [{"uri": {"prefix": f"/{self.random.randint(1, 3)}"}}], "route": [{"destination": {"host": f"s{n}", "subset": "v1"}}]},
            {"timeout": f"{self.random.randint(1, 9)}s", "route": [{"destination": {"host": f"s{self.random.randint(1, 4)}"}}]}]})]

    def entry(self, n):
        how = self.random.choice([{"resolution": "NONE"}, {"resolution": "STATIC", "endpoints": [
            {"address": f"10.3.{n}.{self.random.randint(1, 9)}"}]}])
        return [document("ServiceEntry", f"e{n}", {"hosts": [f"e{n}.example.com"], "location": "MESH_EXTERNAL", "ports": [
            {"number": 80, "name": "http", "protocol": "HTTP"}], **how})] if self.random.random() < 0.9 else []

    def policy(self, _):
        return [document("PeerAuthentication", "default", {"mtls": {"mode": self.random.choice(["STRICT", "PERMISSIVE", "DISABLE"])}},
                         version="security.istio.io/v1")]

    def sidecar(self, _):
        return [document("Sidecar", "default", {"egress": [{"hosts": self.random.choice([["./*"], ["*/*"], ["./s1.bookinfo.svc.cluster.local"]])}]})]

    def noted(self, documents):
        """The same but for what nobody is sent."""
        return [{**one, "metadata": {**one["metadata"], "annotations": {"n": str(self.random.random())}}} for one in documents]

    def own(self, _):
        return [service("productpage", 9080, "10.96.0.2"), slice_of("productpage", 9080, ["127.0.0.1"]),
                pod("productpage-v1-0", "127.0.0.1", {"app": "productpage"}, "bookinfo-productpage")]

    def step(self):
        """The name of a file and its documents; None: it goes."""
        if self.files and self.random.random() < 0.2:
            name = self.random.choice(sorted(self.files))
            self.files[name] = self.noted(self.files[name])
            return name, self.files[name]
        sort = self.random.choice(["service", "service", "pods", "rule", "route", "entry", "policy", "sidecar", "own"])
        n = self.random.randint(1, 4)
        name = f"{sort}{n if sort not in ('policy', 'sidecar', 'own') else ''}.json"
        if name in self.files and self.random.random() < 0.3:
            del self.files[name]
            return name, None
        self.files[name] = getattr(self, sort)(n)
        return name, self.files[name]


def connect(started, directory, weftd):
    directory.mkdir()
    authority = MeshCA(CA(str(directory)), name="localhost")
    started.add(authority, authority.close)
    made = Sidecar(directory / "pod", pod_env(directory / "pod", root_pem=pem(authority.ca.certificate), CA_ADDR=f"localhost:{authority.port}",
                                              proxy_config={"discoveryAddress": f"127.0.0.1:{weftd.ports['grpc']}"}))
    started.add(made, made.stop)
    return made


def state(weftd):
    return {kind: weftd.sent(ID, kind) for kind in KINDS}


@pytest.mark.parametrize("seed", range(RUNS))
def test_changes__in_any_order__end_as_a_cold_start(started, tmp_path, seed):
    draw = Draw(seed)
    old = Weftd(tmp_path / "old")
    started.add(old, old.stop)
    old.put("objects.json", [])
    proxy = connect(started, tmp_path / "a", old)
    for _ in range(STEPS):
        name, documents = draw.step()
        if documents is None:
            old.remove(name)
        else:
            old.put(name, documents)
    new = Weftd(tmp_path / "new")
    started.add(new, new.stop)
    for name, documents in draw.files.items():
        new.put(name, documents)
    other = connect(started, tmp_path / "b", new)
    wait_until(lambda: state(old) == state(new) and len(state(new)["cds"]) > 1, f"seed {seed}: the same resources")
    assert not old.page("/debug/faults").body  # a file with a fault keeps what it gave: that would be another test
    for one in (proxy, other):
        assert one.stat("cluster_manager.cds.update_rejected") == 0 and one.stat("listener_manager.lds.update_rejected") == 0
