# SPDX-License-Identifier: Apache-2.0
"""Connections upstream come from the client's own address and carry the mark that routes answers back to the proxy; HTTP
connections of one client aren't another's. Run by ../test_original_dst.py in a network namespace of its own."""
import socket
import subprocess
import threading

import pytest

from lib import config, http1

MARK = 1337
CLIENTS = ["10.9.0.1", "10.9.0.2"]


@pytest.fixture(autouse=True)
def network():
    """What is marked by the proxy keeps its mark with its connection, and answers to it stay on this machine."""
    run = lambda *args: subprocess.run(args, check=True)  # noqa: E731
    run("ip", "link", "set", "lo", "up")
    for address in CLIENTS:
        run("ip", "addr", "replace", address + "/32", "dev", "lo")
    run("nft", f"add table ip t; add chain ip t o {{ type filter hook output priority 0; }}; "
        f"add rule ip t o meta mark {MARK} counter")
    yield
    subprocess.run(["nft", "flush ruleset"], check=True)


def packets():
    out = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    return int(out.split("counter packets ")[1].split()[0])


class Peers:
    """Accepts, keeps peers' addresses, answers every request."""

    def __init__(self, host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.create_server((host, 0), family=family)
        self.port = self.sock.getsockname()[1]
        self.seen = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                one, peer = self.sock.accept()
            except OSError:
                return
            self.seen.append(peer)
            threading.Thread(target=self.serve, args=(http1.Stream(one),), daemon=True).start()

    def serve(self, stream):
        try:
            while http1.read_request(stream):
                stream.send(http1.response_bytes())
        except http1.Closed:
            pass

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.sock.close()


@pytest.fixture
def peers(started):
    made = Peers()
    return started.add(made, made.close)


def ask(port, client, source_port=0):
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(client, source_port)) as sock:
        stream = http1.Stream(sock)
        stream.send(http1.request_bytes())
        return sock.getsockname(), http1.read_response(stream).status


def original_src(**fields):
    return [{"name": "envoy.filters.listener.original_src", "typed_config": {
        "@type": config.TYPE + "extensions.filters.listener.original_src.v3.OriginalSrc", **fields}}]


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_original_src__each_client__its_own_address_and_the_mark(start_proxy, peers, kind):
    network_filter = config.hcm() if kind == "http" else config.tcp_proxy()
    proxy = start_proxy(config.bootstrap(
        [config.listener("in", network_filter, listener_filters=original_src(mark=MARK))], [config.cluster("origin", peers.port)]))
    for client in CLIENTS + CLIENTS:
        assert ask(proxy.ports["in"], client)[1] == 200
    hosts = [host for host, _ in peers.seen]
    assert hosts == (CLIENTS if kind == "http" else CLIENTS + CLIENTS)
    assert packets() > 0


def test_original_src__bind_port__the_port_too(start_proxy, peers):
    """Of the client that the PROXY protocol tells of: one of this machine has its port for itself."""
    told = {"name": "envoy.filters.listener.proxy_protocol", "typed_config": {
        "@type": config.TYPE + "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}
    proxy = start_proxy(config.bootstrap(
        [config.listener("in", config.tcp_proxy(), listener_filters=[told, *original_src(bind_port=True)])],
        [config.cluster("origin", peers.port)]))
    with http1.connect(("127.0.0.1", proxy.ports["in"])) as stream:
        stream.send(f"PROXY TCP4 {CLIENTS[0]} 127.0.0.1 5555 80\r\n".encode() + http1.request_bytes())
        assert http1.read_response(stream).status == 200
    assert peers.seen == [(CLIENTS[0], 5555)]


@pytest.mark.parametrize("host, source", [("127.0.0.1", "127.0.0.6"), ("::1", "fd00::6")])
def test_extra_source_addresses__the_one_of_the_hosts_family(start_proxy, started, host, source):
    subprocess.run(["ip", "-6", "addr", "replace", "fd00::6/128", "dev", "lo", "nodad"], check=True)
    origin = Peers(host)
    started.add(origin, origin.close)
    bind = {"source_address": {"address": "127.0.0.6", "port_value": 0},
            "extra_source_addresses": [{"address": {"address": "fd00::6", "port_value": 0}}]}
    proxy = start_proxy(config.bootstrap([config.http_listener()],
                                         [config.cluster("origin", origin.port, host=host, upstream_bind_config=bind)]))
    assert http1.fetch(proxy.address()).status == 200
    assert [peer[0] for peer in origin.seen] == [source]
