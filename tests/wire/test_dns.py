# SPDX-License-Identifier: Apache-2.0
"""Clusters whose members come from DNS: what is added, removed and kept, how often names are asked for.

Every address of 127/8 is ours: origins listen on one port at several of them."""
import socket
import threading
from collections import Counter

import pytest

from lib import config, http1
from lib.dns import A, AAAA, NXDOMAIN, SERVFAIL, DnsServer
from lib.http1 import fetch
from lib.streams import Stream
from lib.wait import wait_until

CARES = config.TYPE + "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"


class Refusing:
    """Holds an address at which nobody listens: connections are refused, whatever runs beside this test."""

    def __init__(self, ip, port):
        self.held = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
        try:
            self.held.bind((ip, port))
        except OSError:
            self.held.close()
            raise

    def close(self):
        self.held.close()


class Host:
    """Says its own address to every request."""

    def __init__(self, ip, port=0):
        self.ip = ip
        self.connections = []
        self.listening = socket.create_server(
            (ip, port), family=socket.AF_INET6 if ":" in ip else socket.AF_INET, backlog=64)
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            self.connections.append(Stream(sock))
            threading.Thread(target=self.serve, args=(self.connections[-1],), daemon=True).start()

    def serve(self, stream):
        try:
            while http1.read_request(stream):
                stream.send(http1.response_bytes(200, body=self.ip.encode()))
            stream.close()
        except OSError:
            pass

    def close(self):
        self.listening.close()
        for stream in self.connections:
            stream.close()


@pytest.fixture
def hosts(started):
    """Origins at the addresses that are asked for, all on one port; the refused ones are held."""
    def make(*ips, refused=()):
        for _ in range(20):
            made = []
            try:
                for ip in ips:
                    made.append(Host(ip, made[0].port if made else 0))
                for ip in refused:
                    made.append(Refusing(ip, made[0].port))
            except OSError:  # the port is taken at a later address
                for host in made:
                    host.close()
                continue
            for host in made:
                started.add(host, host.close)
            return made[:len(ips)]
        raise AssertionError("no port is free at all addresses")
    return make


@pytest.fixture
def dns(started):
    def make(*args, **names):
        made = DnsServer(*args, **names)
        started.add(made, made.close)
        return made
    return make


def dns_cluster(server, port, kind="STRICT_DNS", names=("one.test",), family="V4_ONLY", **more):
    return {"name": "origin", "type": kind, "connect_timeout": "2s", "dns_refresh_rate": "0.1s",
            "dns_lookup_family": family, "load_assignment": {"cluster_name": "origin", "endpoints": [{
                "lb_endpoints": [{"endpoint": {"address": config.socket_address(n, port)}} for n in names]}]},
            "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": {
                "@type": CARES, "resolvers": [config.socket_address(port=server.port)],
                "dns_resolver_options": {"no_default_search_domain": True}}}, **more}


def start(start_proxy, made):
    return start_proxy(config.bootstrap([config.http_listener()], [made]))


def seen(proxy, count=6):
    return Counter(fetch(proxy.address()).body.decode() for _ in range(count))


def members(proxy):
    return proxy.stat("cluster.origin.membership_total")


# ---- STRICT_DNS ----

def test_strict__all_addresses_of_all_names(start_proxy, dns, hosts):
    a, _, _ = hosts("127.0.0.1", "127.0.0.2", "127.0.0.3")
    server = dns(one=["127.0.0.1", "127.0.0.2"], two=["127.0.0.3"])
    proxy = start(start_proxy, dns_cluster(server, a.port, names=["one.test", "two.test"]))
    assert seen(proxy) == {"127.0.0.1": 2, "127.0.0.2": 2, "127.0.0.3": 2}


def test_strict__addition_and_removal(start_proxy, dns, hosts):
    a, b = hosts("127.0.0.1", "127.0.0.2")
    server = dns(one=["127.0.0.1"])
    proxy = start(start_proxy, dns_cluster(server, a.port))
    assert seen(proxy) == {"127.0.0.1": 6}
    server.set("one.test", ["127.0.0.1", "127.0.0.2"])
    wait_until(lambda: members(proxy) == 2, "the addition")
    wait_until(lambda: len(seen(proxy)) == 2, "requests to both")
    assert seen(proxy) == {"127.0.0.1": 3, "127.0.0.2": 3}
    server.set("one.test", ["127.0.0.2"])
    wait_until(lambda: members(proxy) == 1, "the removal")
    wait_until(lambda: set(seen(proxy)) == {"127.0.0.2"}, "requests to the one left")
    # The pool of the host that left went with it.
    wait_until(lambda: all(c.sock.fileno() < 0 for c in a.connections), "its connections to end")
    assert len(b.connections) >= 1


def test_strict__same_answer__nothing_is_rebuilt(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.1")
    server = dns(one=["127.0.0.1"])
    proxy = start(start_proxy, dns_cluster(server, a.port))
    assert fetch(proxy.address()).status == 200
    proxy.wait_stat("cluster.origin.update_success", 4, exactly=False)
    assert fetch(proxy.address()).status == 200
    stats = proxy.stats()
    assert stats["cluster.origin.membership_change"] == 1
    assert stats["cluster.origin.update_no_rebuild"] >= 3
    assert len(a.connections) == 1


@pytest.mark.parametrize("failure", [SERVFAIL, None], ids=["servfail", "silent"])
@pytest.mark.parametrize("kind", ["STRICT_DNS", "LOGICAL_DNS"])
def test_failure__last_good_answer_is_kept(start_proxy, dns, hosts, kind, failure):
    (a,) = hosts("127.0.0.1")
    server = dns(one=["127.0.0.1"])
    made = dns_cluster(server, a.port, kind)
    made["typed_dns_resolver_config"]["typed_config"].update(query_timeout_seconds=1, query_tries=1)
    proxy = start(start_proxy, made)
    assert fetch(proxy.address()).status == 200
    server.set("one.test", failure)
    proxy.wait_stat("cluster.origin.update_failure", 1, exactly=False)
    assert fetch(proxy.address()).status == 200 and members(proxy) == 1
    server.set("one.test", ["127.0.0.1"])
    before = proxy.stat("cluster.origin.update_success")
    proxy.wait_stat("cluster.origin.update_success", before + 1, exactly=False)


def test_strict__nxdomain__nobody_is_left(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.1")
    server = dns(one=["127.0.0.1"])
    proxy = start(start_proxy, dns_cluster(server, a.port))
    assert fetch(proxy.address()).status == 200
    server.set("one.test", NXDOMAIN)
    wait_until(lambda: members(proxy) == 0, "the removal")
    wait_until(lambda: fetch(proxy.address()).status == 503, "no host")


def test_logical__nxdomain__address_is_kept(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.1")
    server = dns(one=["127.0.0.1"])
    proxy = start(start_proxy, dns_cluster(server, a.port, "LOGICAL_DNS"))
    assert fetch(proxy.address()).status == 200
    server.set("one.test", NXDOMAIN)
    proxy.wait_stat("cluster.origin.update_failure", 1, exactly=False)
    assert fetch(proxy.address()).status == 200 and members(proxy) == 1


def test_unknown_from_the_start__proxy_still_comes_up(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.1")
    server = dns()
    proxy = start(start_proxy, dns_cluster(server, a.port))
    assert fetch(proxy.address()).status == 503
    server.set("one.test", ["127.0.0.1"])
    wait_until(lambda: fetch(proxy.address()).status == 200, "the name to be found")


# ---- when ----

def test_ttl__respected__asked_again_only_after_it(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.1")
    server = dns(3600, one=["127.0.0.1"])
    server.set("short.test", ["127.0.0.1"])
    short = dns_cluster(server, a.port, names=["short.test"], respect_dns_ttl=False)
    short["name"] = "short"
    proxy = start_proxy(config.bootstrap([config.http_listener()], [
        dns_cluster(server, a.port, respect_dns_ttl=True), short]))
    wait_until(lambda: server.asked("short.test") >= 5, "the refresh rate to be used")
    assert server.asked("one.test") == 1
    assert fetch(proxy.address()).status == 200


def test_ttl__of_a_second__asked_again(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.1")
    server = dns(1, one=["127.0.0.1"])
    start(start_proxy, dns_cluster(server, a.port, dns_refresh_rate="3600s", respect_dns_ttl=True))
    wait_until(lambda: server.asked("one.test") >= 2, "the second question")


def test_failure_refresh_rate__used_after_failures(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.1")
    server = dns(one=SERVFAIL)
    proxy = start(start_proxy, dns_cluster(server, a.port, dns_refresh_rate="3600s", dns_failure_refresh_rate={
        "base_interval": "0.02s", "max_interval": "0.1s"}))
    proxy.wait_stat("cluster.origin.update_failure", 4, exactly=False)
    server.set("one.test", ["127.0.0.1"])
    wait_until(lambda: fetch(proxy.address()).status == 200, "the recovery")


# ---- LOGICAL_DNS ----

@pytest.mark.weft_only  # Envoy goes to whatever is first in each answer
def test_logical__one_endpoint__stays_while_still_answered(start_proxy, dns, hosts):
    a, _ = hosts("127.0.0.1", "127.0.0.2")
    server = dns(one=["127.0.0.1", "127.0.0.2"])
    proxy = start(start_proxy, dns_cluster(server, a.port, "LOGICAL_DNS"))
    assert members(proxy) == 1
    (first,) = seen(proxy)
    server.set("one.test", ["127.0.0.2", "127.0.0.1"])
    before = proxy.stat("cluster.origin.update_success")
    proxy.wait_stat("cluster.origin.update_success", before + 2, exactly=False)
    assert set(seen(proxy)) == {first}
    other = "127.0.0.2" if first == "127.0.0.1" else "127.0.0.1"
    server.set("one.test", [other])
    wait_until(lambda: set(seen(proxy)) == {other}, "the move")


def test_logical__first_address_refuses__another_is_used(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.2", refused=["127.0.0.1"])
    server = dns(one=["127.0.0.1", "127.0.0.2"])
    proxy = start(start_proxy, dns_cluster(server, a.port, "LOGICAL_DNS"))
    assert seen(proxy) == {"127.0.0.2": 6}
    assert proxy.stat("cluster.origin.upstream_cx_connect_fail") == 0


def test_logical__fallback_address_comes_later__is_used(start_proxy, dns, hosts):
    """The address in use stays, what stands behind it must follow the answers."""
    (b,) = hosts("127.0.0.2", refused=["127.0.0.1"])
    server = dns(one=["127.0.0.1"])
    proxy = start(start_proxy, dns_cluster(server, b.port, "LOGICAL_DNS"))
    assert fetch(proxy.address()).status == 503
    server.set("one.test", ["127.0.0.1", "127.0.0.2"])
    wait_until(lambda: fetch(proxy.address()).status == 200, "the second address")


# ---- families ----

@pytest.mark.parametrize("family, expected", [
    ("V4_ONLY", {"127.0.0.1"}), ("V6_ONLY", {"::1"}), ("AUTO", {"::1"}), ("V4_PREFERRED", {"127.0.0.1"}),
    ("ALL", {"127.0.0.1", "::1"})])
def test_family__strict(start_proxy, dns, hosts, family, expected):
    a, _ = hosts("127.0.0.1", "::1")
    server = dns(one=["127.0.0.1", "::1"])
    proxy = start(start_proxy, dns_cluster(server, a.port, family=family))
    assert set(seen(proxy)) == expected
    assert bool(server.asked("one.test", AAAA)) == ("::1" in expected)
    if family == "V6_ONLY":
        assert server.asked("one.test", A) == 0


@pytest.mark.parametrize("family, has", [("AUTO", "127.0.0.1"), ("V4_PREFERRED", "::1")])
def test_family__preferred_has_none__the_other_is_asked(start_proxy, dns, hosts, family, has):
    (a,) = hosts(has)
    server = dns(one=[has])
    proxy = start(start_proxy, dns_cluster(server, a.port, family=family))
    assert seen(proxy) == {has: 6}


def test_family__logical_all__falls_over_between_families(start_proxy, dns, hosts):
    (a,) = hosts("127.0.0.1")
    server = dns(one=["127.0.0.1", "::1"])
    proxy = start(start_proxy, dns_cluster(server, a.port, "LOGICAL_DNS", family="ALL"))
    assert seen(proxy) == {"127.0.0.1": 6}
