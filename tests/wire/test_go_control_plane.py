# SPDX-License-Identifier: Apache-2.0
"""go-control-plane's server and its own test resources (its integration test's cases: ads, delta, xds; with and without TLS): snapshots
follow each other while requests go through the HTTP and the TCP listener."""
import os
import random
import socket
import ssl
import subprocess
import threading

import pytest

from lib import config, proxy as proxies
from lib.ads_server import ads, api_source, separate
from lib.golang import go_program
from lib.http1 import fetch
from lib.wait import wait_until

UPDATES = 5
TYPES = {"Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"}


def unused_pair():
    """The first of two ports that are free, outside the range that connections take theirs from."""
    while True:
        base = random.randrange(15000, 32000)
        try:
            for port in (base, base + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue


class Server:
    def __init__(self, mode, upstream, base, tls):
        self.process = subprocess.Popen([go_program("./xdsserver"), "-mode", mode, "-upstream", str(upstream), "-base", str(base),
                                         *(["-tls"] if tls else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.lines = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.split())

    def snapshot(self, version):
        del self.lines[:]
        self.process.stdin.write(version + "\n")
        self.process.stdin.flush()

    def nacks(self):
        return [" ".join(line) for line in self.lines if line[0] == "nack"]

    def acked(self):
        return {line[1] for line in self.lines if line[0] == "ack"}

    def wait_acks(self, kinds):
        wait_until(lambda: kinds <= self.acked() or self.nacks(), f"ACKs for {kinds}")
        assert not self.nacks()

    def close(self):
        self.process.kill()
        self.process.wait()


def make_bootstrap(mode, server):
    delta = mode == "delta"
    source = separate("xds_cluster") if mode == "xds" else ads()
    dynamic = {"lds_config": source, "cds_config": source}
    if mode != "xds":
        dynamic["ads_config"] = api_source("xds_cluster", delta)
    runtime = {"name": "runtime-0", "rtds_layer": {"name": "runtime-0", "rtds_config": source}}
    return config.bootstrap([], [config.cluster("xds_cluster", server.port, http2=True)], dynamic_resources=dynamic,
                            node={"id": "test-node", "cluster": "test"}, layered_runtime={"layers": [runtime]})


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("mode", ["ads", "delta", "xds"])
@pytest.mark.parametrize("binary", ["weft", "envoy"])
def test_snapshots__one_after_another__are_taken_and_serve(start_proxy, started, origin, mode, tls, binary):
    path = (os.environ.get("ENVOY") or proxies.envoy()) if binary == "envoy" else None
    if binary == "envoy" and not path:
        pytest.skip("no Envoy here")
    base = unused_pair()
    server = Server(mode, origin.port, base, tls)
    started.add(server, server.close)
    server.snapshot("v0")
    proxy = start_proxy(make_bootstrap(mode, server), binary=path)
    context = ssl._create_unverified_context() if tls else None  # pylint: disable=protected-access

    def answers(port):
        try:
            return fetch(("127.0.0.1", port), tls=context, headers=[("Connection", "close")]).status == 200
        except OSError:
            return False
    names = set()
    for turn in range(UPDATES):
        if turn:
            server.snapshot(f"v{turn}")
        server.wait_acks(TYPES)
        wait_until(lambda: answers(base) and answers(base + 1), f"both listeners of v{turn}")
        wait_until(lambda t=turn: f"cluster-v{t}-0::" in proxy.admin("/clusters").body.decode(), f"clusters of v{turn}")
        names.add(turn)
    assert len(names) == UPDATES
    assert not server.nacks()
    wait_until(lambda: "cluster-v0-0::" not in proxy.admin("/clusters").body.decode(), "the first clusters to go")
