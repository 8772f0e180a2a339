# SPDX-License-Identifier: Apache-2.0
"""Statistics sinks: real sockets receive what a flush tells."""
import re
import socket
import threading

import pytest

from lib import config, http1
from lib.proxy import envoy, weft
from lib.tcp import TcpServer
from lib.wait import wait_until

BOTH = pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(
    envoy() is None, reason="Envoy is not installed"))], ids=["weft", "envoy"])
METRICS = config.TYPE + "config.metrics.v3."


class Datagrams:
    """Every line that came, over UDP."""

    def __init__(self):
        self.lines, self.sizes = [], []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.receive, daemon=True).start()

    def receive(self):
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                return
            self.sizes.append(len(data))
            self.lines += data.decode().split("\n")

    def sum_of(self, start):
        """What counters of this name and tags add up to."""
        return sum(int(re.search(r":(\d+)\|c", line).group(1)) for line in list(self.lines)
                   if line.startswith(start) and "|c" in line)

    def close(self):
        self.socket.close()


@pytest.fixture
def datagrams(started):
    made = Datagrams()
    return started.add(made, made.close)


def of(origin, kind, fields, **more):
    sink = {"name": "sink", "typed_config": {"@type": kind, **fields}}
    return config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port), *more.pop("clusters", [])],
                            stats_sinks=[sink], stats_flush_interval="0.1s", node={"id": "n", "cluster": "c"}, **more)


@BOTH
def test_statsd__udp__counters_sum_up_to_what_happened(start_proxy, origin, datagrams, binary):
    proxy = start_proxy(of(origin, METRICS + "StatsdSink", {"address": config.socket_address("127.0.0.1", datagrams.port),
                                                           "prefix": "mesh"}), binary=binary())
    for _ in range(3):
        assert http1.fetch(proxy.address()).status == 200
    wait_until(lambda: datagrams.sum_of("mesh.http.in.downstream_rq_total:") == 3, "three requests in statsd's counter")
    wait_until(lambda: any(re.fullmatch(r"mesh\.cluster\.origin\.upstream_rq_time:\d+\|ms(\|@[\d.]+)?", line)
                           for line in list(datagrams.lines)), "a timer")
    assert any(line.startswith("mesh.server.concurrency:") and line.endswith("|g") for line in datagrams.lines)


@BOTH
def test_dogstatsd__tags_and_datagrams_of_a_size(start_proxy, origin, datagrams, binary):
    proxy = start_proxy(of(origin, METRICS + "DogStatsdSink", {"address": config.socket_address("127.0.0.1", datagrams.port),
                                                              "max_bytes_per_datagram": 1000}), binary=binary())
    assert http1.fetch(proxy.address()).status == 200

    def tagged():
        return [line for line in list(datagrams.lines) if line.startswith("envoy.cluster.upstream_rq_total:1|c|#")
                and "envoy.cluster_name:origin" in line]
    wait_until(tagged, "a counter with its cluster's tag")
    assert max(datagrams.sizes) <= 1000 and max(datagrams.sizes) > 500


@BOTH
def test_graphite__tags_in_the_name(start_proxy, origin, datagrams, binary):
    kind = config.TYPE + "extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink"
    proxy = start_proxy(of(origin, kind, {"address": config.socket_address("127.0.0.1", datagrams.port)}), binary=binary())
    assert http1.fetch(proxy.address()).status == 200
    wait_until(lambda: any(line.startswith("envoy.cluster.upstream_rq_total;envoy.cluster_name=origin:1|c")
                           for line in list(datagrams.lines)), "a counter with its cluster's tag")


@BOTH
def test_statsd__tcp__lines_come_over_a_cluster(start_proxy, origin, started, binary):
    received = bytearray()

    def receive(stream):
        while data := stream.sock.recv(65536):
            received.extend(data)
    server = TcpServer(receive)
    started.add(server, server.close)
    proxy = start_proxy(of(origin, METRICS + "StatsdSink", {"tcp_cluster_name": "statsd"},
                           clusters=[config.cluster("statsd", server.port)]), binary=binary())
    assert http1.fetch(proxy.address()).status == 200
    wait_until(lambda: b"envoy.http.in.downstream_rq_total:1|c\n" in received, "the counter over TCP")


def test_statsd__samples_alike__one_line_with_a_rate(start_proxy, origin, datagrams):
    """Three answers in no time: one bin, whose line counts for all of them."""
    proxy = start_proxy(of(origin, METRICS + "StatsdSink", {"address": config.socket_address("127.0.0.1", datagrams.port)}))
    for _ in range(20):
        assert http1.fetch(proxy.address()).status == 200

    def samples():
        total = 0.0
        for line in list(datagrams.lines):
            if line.startswith("envoy.http.in.downstream_rq_time:"):
                rate = line.split("|@")
                total += 1 / float(rate[1]) if len(rate) > 1 else 1
        return round(total)
    wait_until(lambda: samples() == 20, "twenty samples")


def test_histogram__after_a_flush__interval_differs_from_total(start_proxy, origin):
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port)],
                                         stats_flush_interval="0.1s"))
    assert http1.fetch(proxy.address()).status == 200

    def line():
        text = proxy.admin("/stats?filter=downstream_rq_time$").body.decode()
        return text.splitlines()[0]
    wait_until(lambda: "P0(nan," in line() and "P0(nan,nan" not in line(), "an interval without samples after one with")
