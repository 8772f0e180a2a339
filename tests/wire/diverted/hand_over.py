# SPDX-License-Identifier: Apache-2.0
"""A listener with use_original_dst hands connections to the listeners that they were meant for, which have no ports of their own:
exact address first, then any address of the family; what nobody takes stays. REDIRECT and TPROXY, IPv4 and IPv6.

Run by ../test_original_dst.py in a network namespace of its own.
"""
import socket
import subprocess

import pytest

from lib import config, http1
from lib.wait import wait_until

PORT, OTHER_PORT, LIMITED_PORT = 8123, 8124, 8125


@pytest.fixture(autouse=True)
def network():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    yield
    subprocess.run(["nft", "flush ruleset"], check=True)
    for family in ("-4", "-6"):
        subprocess.run(["ip", family, "rule", "del", "fwmark", "9"], check=False, capture_output=True)


def redirect(family, port):
    ports = f"{PORT}, {OTHER_PORT}, {LIMITED_PORT}"
    subprocess.run(["nft", f"add table {family} t; add chain {family} t o {{ type nat hook output priority -100; }}; "
                    f"add rule {family} t o tcp dport {{ {ports} }} redirect to :{port}"], check=True)


def tproxy(family, any_address, to):
    flag = "-4" if family == "ip" else "-6"
    ports = f"{PORT}, {OTHER_PORT}"
    subprocess.run(["ip", flag, "rule", "add", "fwmark", "9", "lookup", "99"], check=True)
    subprocess.run(["ip", flag, "route", "add", "local", any_address, "dev", "lo", "table", "99"], check=True)
    subprocess.run(["nft", f"add table {family} t; add chain {family} t o {{ type route hook output priority -150; }}; "
                    f"add rule {family} t o tcp dport {{ {ports} }} meta mark set 9; "
                    f"add chain {family} t p {{ type filter hook prerouting priority -150; }}; "
                    f"add rule {family} t p tcp dport {{ {ports} }} meta mark 9 tproxy to {to} accept"], check=True)


def answers(text):
    return config.hcm([{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}],
                      stat_prefix=text)


def unbound(name, host, port):
    return config.listener(name, answers(name), address=config.socket_address(host, port), bind_to_port=False)


def bootstrap(own, exact, wildcard, **fields):
    outbound = config.listener("outbound", answers("own"), address=config.socket_address(own), use_original_dst=True, **fields)
    limit = {"layers": [{"name": "static", "static_layer": {"envoy.resource_limits.listener.limited.connection_limit": 1}}]}
    return config.bootstrap([outbound, unbound("exact", exact, PORT), unbound("any", wildcard, PORT),
                             unbound("limited", wildcard, LIMITED_PORT)], layered_runtime=limit)


def ask(host, port):
    return http1.fetch((host, port), headers=[("Connection", "close")]).body.decode()


def check_each(exact, other):
    assert ask(exact, PORT) == "exact"
    assert ask(other, PORT) == "any"
    assert ask(other, OTHER_PORT) == "own"
    assert ask(exact, PORT) == "exact"


@pytest.mark.parametrize("family, own, exact, other, wildcard", [
    ("ip", "0.0.0.0", "127.0.0.5", "127.0.0.6", "0.0.0.0"), ("ip6", "::", "::1", "fd00::6", "::")])
def test_hand_over__redirected__to_the_listener_that_was_meant(start_proxy, family, own, exact, other, wildcard):
    subprocess.run(["ip", "-6", "addr", "replace", "fd00::6/128", "dev", "lo", "nodad"], check=True)
    proxy = start_proxy(bootstrap(own, exact, wildcard), concurrency=2)
    redirect(family, proxy.ports["outbound"])
    check_each(exact, other)
    name = {"exact": exact, "any": wildcard}
    total = {key: proxy.stat(f"listener.{config_name(host, PORT)}.downstream_cx_total") for key, host in name.items()}
    assert total == {"exact": 2, "any": 1}
    assert proxy.stat(f"listener.{config_name(own, 0)}.downstream_cx_total") == 1


def config_name(host, port):
    return (f"[{host}]_{port}" if ":" in host else f"{host}_{port}").replace(":", "_")


def test_hand_over__who_takes_it__limits_it(start_proxy):
    proxy = start_proxy(bootstrap("0.0.0.0", "127.0.0.5", "0.0.0.0"))
    redirect("ip", proxy.ports["outbound"])
    first = http1.connect(("127.0.0.6", LIMITED_PORT))
    first.send(http1.request_bytes())
    assert http1.read_response(first).body == b"limited"
    second = http1.connect(("127.0.0.6", LIMITED_PORT))
    assert second.is_ended()
    assert proxy.stat(f"listener.0.0.0.0_{LIMITED_PORT}.downstream_cx_overflow") == 1
    assert ask("127.0.0.6", PORT) == "any"
    first.sock.close()
    second.sock.close()
    wait_until(lambda: proxy.stat(f"listener.0.0.0.0_{LIMITED_PORT}.downstream_cx_active") == 0, "the first to be gone")
    assert ask("127.0.0.6", LIMITED_PORT) == "limited"


@pytest.mark.parametrize("family, anything, own, to, exact, other, wildcard", [
    ("ip", "0.0.0.0/0", "127.0.0.1", "127.0.0.1:{}", "10.1.2.3", "10.1.2.4", "0.0.0.0"),
    ("ip6", "::/0", "::1", "[::1]:{}", "fd00::3", "fd00::4", "::")])
def test_hand_over__tproxy__to_the_listener_that_was_meant(start_proxy, family, anything, own, to, exact, other, wildcard):
    if family == "ip6":
        subprocess.run(["ip", "-6", "route", "replace", "local", "fd00::/16", "dev", "lo"], check=True)
    else:
        subprocess.run(["ip", "route", "replace", "local", "10.1.0.0/16", "dev", "lo"], check=True)
    proxy = start_proxy(bootstrap(own, exact, wildcard, transparent=True))
    tproxy(family, anything, to.format(proxy.ports["outbound"]))
    check_each(exact, other)


def test_hand_over__not_redirected__stays(start_proxy):
    proxy = start_proxy(bootstrap("127.0.0.1", "127.0.0.5", "0.0.0.0"))
    with socket.create_connection(("127.0.0.1", proxy.ports["outbound"])):
        pass
    assert ask("127.0.0.1", proxy.ports["outbound"]) == "own"
