# SPDX-License-Identifier: Apache-2.0
"""weft capture, with real traffic: two network namespaces and a cable; the rules are in `pod`, the world is in `world`.

Every stub answers a connection with its own name and where the connection was going to.
"""
import os
import re
import socket
import subprocess
import threading

import pytest

from lib.netns import Netns, cable, can_make, original_dst

pytestmark = [pytest.mark.weft_only,
              pytest.mark.skipif(not can_make(), reason="making network namespaces needs root")]

WORLD4, WORLD6, POD4, POD6 = "10.77.1.1", "fd77:0:0:1::1", "10.77.1.2", "fd77:0:0:1::2"
PROXY = 1337
EVERYTHING = ("-i", "*", "-b", "*", "-d", "15021")


def weft(*arguments, env=None):
    program = os.path.join(os.environ["WEFT_BUILD_DIR"], "src", "cmd", "weft")
    return subprocess.run([program, "capture", *arguments], capture_output=True, text=True, check=False,
                          env={**os.environ, **(env or {})})


class Stub:
    """TCP and UDP on one port of both families."""

    def __init__(self, ns, name, port, uid=0, is_transparent=False, hosts=("0.0.0.0", "::")):
        self.name, self.sockets, self.is_transparent = name, [], is_transparent
        for family, any_address in zip((socket.AF_INET, socket.AF_INET6), hosts):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                self.sockets.append(ns.call(lambda f=family, a=any_address, k=kind: self.open(f, a, port, k), uid, uid))
        for sock in self.sockets:
            serve = self.serve_stream if sock.type == socket.SOCK_STREAM else self.serve_datagrams
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    def open(self, family, address, port, kind):
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if self.is_transparent and kind == socket.SOCK_STREAM:
            is_v6 = family == socket.AF_INET6
            sock.setsockopt(socket.IPPROTO_IPV6 if is_v6 else socket.IPPROTO_IP, 75 if is_v6 else 19, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def serve_stream(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                try:
                    host, port = original_dst(sock)
                except OSError:  # not redirected
                    host, port = sock.getsockname()[:2]
                sock.sendall(f"{self.name} {host} {port}".encode())

    def serve_datagrams(self, sock):
        while True:
            try:
                query, peer = sock.recvfrom(100)
                sock.sendto(self.name.encode() + b" " + query, peer)
            except OSError:
                return

    def close(self):
        for sock in self.sockets:
            if sock.type == socket.SOCK_STREAM:
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class Net:
    def __init__(self, started):
        self.world, self.pod = (started.add(one, one.close) for one in (Netns("world"), Netns("pod")))
        cable(self.world, self.pod)
        self.started = started
        for ns, name, port in ((self.world, "world", 80), (self.world, "world", 8080), (self.world, "world", 53), (self.pod, "app", 80),
                               (self.pod, "app", 15008), (self.pod, "app", 15021)):
            self.stub(ns, name, port)
        self.stub(self.pod, "outbound", 15001, PROXY)
        self.stub(self.pod, "dns", 15053, PROXY, hosts=("127.0.0.1", "::1"))

    def stub(self, *arguments, **options):
        stub = Stub(*arguments, **options)
        return self.started.add(stub, stub.close)

    def capture(self, verb, *arguments, **options):
        return weft(verb, "--netns", self.pod.name, *arguments, **options)

    def apply(self, *arguments, **options):
        done = self.capture("apply", *arguments, **options)
        assert done.returncode == 0, done.stderr
        return done

    def show(self):
        """Without counts."""
        return re.sub(r"packets \d+ bytes \d+", "", self.capture("show").stdout)


@pytest.fixture
def bare(started):
    return Net(started)


@pytest.fixture
def net(bare):
    bare.stub(bare.pod, "inbound", 15006, PROXY)
    return bare


def ask(ns, host, port, uid=0, gid=None, source=None):
    def connect():
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.settimeout(10)
        if source:
            sock.bind((source, 0))
        sock.connect((host, port))
        return sock
    with ns.call(connect, uid, uid if gid is None else gid) as sock:
        return sock.recv(100).decode()


def query(ns, host, uid=0, source_port=0):
    """A datagram to port 53; the answer counts only if it comes from there."""
    def connect():
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(10)
        sock.bind(("::" if ":" in host else "0.0.0.0", source_port))
        sock.connect((host, 53))
        return sock
    with ns.call(connect, uid, uid) as sock:
        sock.send(b"who?")
        return sock.recv(100).decode()


@pytest.mark.parametrize("world", [WORLD4, WORLD6])
def test_outbound__all_ranges__goes_to_15001_and_knows_its_destination(net, world):
    assert ask(net.pod, world, 80) == f"world {world} 80"
    net.apply(*EVERYTHING)
    assert ask(net.pod, world, 80) == f"outbound {world} 80"
    assert ask(net.pod, world, 8080, uid=1000) == f"outbound {world} 8080"
    assert ask(net.pod, world, 80, uid=PROXY) == f"world {world} 80"
    assert ask(net.pod, world, 80, uid=1000, gid=PROXY) == f"world {world} 80"


@pytest.mark.parametrize("world, pod", [(WORLD4, POD4), (WORLD6, POD6)])
def test_inbound__all_ports__goes_to_15006_but_the_excluded_and_the_tunnel(net, world, pod):
    net.apply(*EVERYTHING)
    assert ask(net.world, pod, 80) == f"inbound {pod} 80"
    assert ask(net.world, pod, 15021) == f"app {pod} 15021"
    assert ask(net.world, pod, 15008) == f"app {pod} 15008"
    net.apply("-i", "*", "-b", "15021")
    assert ask(net.world, pod, 80) == f"app {pod} 80"
    assert ask(net.world, pod, 15021) == f"inbound {pod} 15021"


@pytest.mark.parametrize("localhost, pod, passthrough", [("127.0.0.1", POD4, "127.0.0.6"), ("::1", POD6, "::6")])
def test_loopback__left_alone__but_what_the_proxy_sends_to_its_own_service(net, localhost, pod, passthrough):
    net.apply(*EVERYTHING)
    assert ask(net.pod, localhost, 80) == f"app {localhost} 80"
    assert ask(net.pod, localhost, 80, uid=PROXY) == f"app {localhost} 80"
    assert ask(net.pod, pod, 80) == f"app {pod} 80"
    assert ask(net.pod, pod, 80, uid=PROXY) == f"inbound {pod} 80"
    assert ask(net.pod, pod, 15008, uid=PROXY) == f"app {pod} 15008"
    assert ask(net.pod, pod, 80, uid=PROXY, source=passthrough) == f"app {pod} 80"


def test_outbound__exclusions_and_inclusions__by_port_and_range(net):
    net.apply("-i", "*", "-o", "8080")
    assert ask(net.pod, WORLD4, 80).startswith("outbound")
    assert ask(net.pod, WORLD4, 8080).startswith("world")
    net.apply("-i", "*", "-x", "10.77.0.0/16")
    assert ask(net.pod, WORLD4, 80).startswith("world")
    assert ask(net.pod, WORLD6, 80).startswith("outbound")
    net.apply("-i", f"{WORLD4}/32")
    assert ask(net.pod, WORLD4, 80).startswith("outbound")
    assert ask(net.pod, WORLD6, 80).startswith("world")
    net.apply("-q", "8080")
    assert ask(net.pod, WORLD4, 80).startswith("world")
    assert ask(net.pod, WORLD6, 8080).startswith("outbound")
    net.apply(*EVERYTHING, "-c", "eth0")
    assert ask(net.pod, WORLD4, 80).startswith("world")
    assert ask(net.world, POD4, 80).startswith("app")
    net.apply("-i", "*", env={"ISTIO_OUTBOUND_OWNER_GROUPS": "1000"})
    assert ask(net.pod, WORLD4, 80, uid=1000).startswith("outbound")
    assert ask(net.pod, WORLD4, 80, uid=1001).startswith("world")


@pytest.mark.parametrize("world", [WORLD4, WORLD6])
def test_dns__captured__to_15053_and_the_proxy_asks_on(net, world):
    net.apply(*EVERYTHING, "--redirect-dns", "--capture-all-dns")
    assert query(net.pod, world) == "dns who?"
    assert ask(net.pod, world, 53) == f"dns {world} 53"
    assert query(net.pod, world, uid=PROXY) == "world who?"
    # The same five numbers as the application's: only the zones keep the two apart.
    assert query(net.pod, world, source_port=20053) == "dns who?"
    assert query(net.pod, world, uid=PROXY, source_port=20053) == "world who?"
    assert query(net.pod, world, source_port=20053) == "dns who?"


def test_dns__servers_of_the_namespace__those_alone(net):
    folder = f"/etc/netns/{net.pod.name}"
    os.makedirs(folder)
    try:
        with open(f"{folder}/resolv.conf", "w", encoding="utf-8") as resolv:
            resolv.write(f"nameserver {WORLD4}\n")
        net.apply("-i", "*", "--redirect-dns")
        assert query(net.pod, WORLD4) == "dns who?"
        assert query(net.pod, WORLD6) == "world who?"
    finally:
        os.unlink(f"{folder}/resolv.conf")
        os.rmdir(folder)


@pytest.mark.parametrize("world, pod", [(WORLD4, POD4), (WORLD6, POD6)])
def test_tproxy__inbound__keeps_both_addresses(bare, world, pod):
    net = bare
    net.stub(net.pod, "inbound", 15006, PROXY, is_transparent=True)
    net.apply(*EVERYTHING, "-m", "TPROXY", "-t", "77", "-r", "177")
    assert ask(net.world, pod, 80) == f"inbound {pod} 80"
    assert ask(net.world, pod, 15021) == f"app {pod} 15021"
    assert ask(net.pod, world, 80) == f"outbound {world} 80"
    assert ask(net.pod, pod, 80) == f"app {pod} 80"
    assert ask(net.pod, pod, 80, uid=PROXY).startswith("inbound")
    assert "fwmark 77 lookup 177" in net.show()


@pytest.mark.parametrize("world, pod", [(WORLD4, POD4), (WORLD6, POD6)])
def test_tproxy__the_proxy_speaks_as_its_client__the_answer_comes_to_the_proxy(bare, world, pod):
    """Envoy's original_src: the client's address as the source, and the mark, which the answer has to be routed by."""
    def connect():
        sock = socket.socket(socket.AF_INET6 if ":" in world else socket.AF_INET)
        sock.settimeout(10)
        sock.setsockopt(*((socket.IPPROTO_IPV6, 75) if ":" in world else (socket.IPPROTO_IP, 19)), 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, PROXY)
        sock.bind((world, 0))
        sock.connect((pod, 80))
        return sock
    bare.apply(*EVERYTHING, "-m", "TPROXY")
    with bare.pod.call(connect) as sock:
        assert sock.recv(100).decode() == f"app {pod} 80"


def test_apply__twice__is_as_once(net):
    net.apply(*EVERYTHING, "-m", "TPROXY", "--redirect-dns", "--capture-all-dns", "--drop-invalid")
    once, rules = net.show(), net.pod.ip("rule")
    net.apply(*EVERYTHING, "-m", "TPROXY", "--redirect-dns", "--capture-all-dns", "--drop-invalid")
    assert net.show() == once and net.pod.ip("rule") == rules
    for chain in ("istio-inbound", "istio-output", "istio-output-dns", "istio-divert", "istio-tproxy", "istio-drop"):
        assert f"chain {chain} " in once


def test_apply__other_options__take_the_place_of_what_was(net):
    net.apply(*EVERYTHING, "-m", "TPROXY", "--redirect-dns", "--capture-all-dns")
    net.apply(*EVERYTHING)
    shown = net.show()
    assert "istio-proxy-nat" in shown and "istio-proxy-mangle" not in shown and "istio-proxy-raw" not in shown
    assert "lookup 133" not in net.pod.ip("rule")
    assert ask(net.world, POD4, 80).startswith("inbound")


def test_apply__options_that_conflict__change_nothing(net):
    net.apply(*EVERYTHING)
    before = net.show()
    done = net.capture("apply", "-i", "*", "-p", "15006")
    assert done.returncode == 2 and "15006" in done.stderr
    assert net.show() == before


def test_apply__the_kernel_refuses_a_part__changes_nothing(net):
    """Another program owns one of the three tables, so that the transaction fails at its end."""
    net.apply(*EVERYTHING)
    with subprocess.Popen(["ip", "netns", "exec", net.pod.name, "nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as owner:
        owner.stdin.write("add table inet istio-proxy-raw { flags owner; }\nlist tables inet\n")
        owner.stdin.flush()
        while "istio-proxy-raw" not in owner.stdout.readline():
            pass
        before, rules = net.show(), net.pod.ip("rule")
        done = net.capture("apply", "-i", "10.0.0.0/8", "-b", "*", "-m", "TPROXY", "--redirect-dns", "--capture-all-dns")
        assert done.returncode == 1 and "nftables" in done.stderr
        assert net.show() == before and net.pod.ip("rule") == rules
        assert ask(net.pod, WORLD6, 80).startswith("outbound")
        owner.stdin.close()


@pytest.mark.parametrize("how", [("remove",), ("apply", "-m", "NONE", *EVERYTHING)])
def test_remove__after_anything__leaves_nothing(net, how):
    untouched = [net.pod.exec("nft", "list", "ruleset"), *(net.pod.ip(family, *what) for family in ("-4", "-6")
                 for what in (("rule",), ("route", "show", "table", "all"), ("addr",)))]
    net.apply(*EVERYTHING, "-m", "TPROXY", "-t", "5", "-r", "500", "--redirect-dns", "--capture-all-dns", "--drop-invalid")
    assert net.capture(*how).returncode == 0
    after = [net.pod.exec("nft", "list", "ruleset"), *(net.pod.ip(family, *what) for family in ("-4", "-6")
             for what in (("rule",), ("route", "show", "table", "all"), ("addr",)))]
    assert after == untouched
    assert net.capture("show").stdout == "nothing is captured here\n"
    assert net.capture("remove").returncode == 0
    assert ask(net.pod, WORLD4, 80).startswith("world")


def test_netns__unknown__is_named():
    done = weft("apply", "--netns", "no-such-namespace")
    assert done.returncode == 1 and "/run/netns/no-such-namespace" in done.stderr


def test_dry_run__prints_and_touches_nothing(net):
    done = net.apply(*EVERYTHING, "--dry-run")
    assert "table inet istio-proxy-nat {" in done.stdout
    assert net.capture("show").stdout == "nothing is captured here\n"
