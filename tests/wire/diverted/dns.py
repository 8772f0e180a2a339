# SPDX-License-Identifier: Apache-2.0
"""libc's resolver, diverted to the DNS proxy as istio-iptables diverts a pod's; the proxy at port 53 without any rule.

Run by ../test_sidecar_dns.py in a network namespace of its own. The name server of resolv.conf is an address that nobody serves.
"""
import json
import subprocess
import sys

import pytest

from lib.named import MESH, Named
from lib.sidecar import write

NAME_SERVER = "10.96.0.10"
ASK = """
import json, socket, sys
def look_up(name):
    try:
        return sorted({found[4][0] for found in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
    except OSError as error:
        return str(error)
print(json.dumps([look_up(name) for name in sys.argv[1:]]))
"""


@pytest.fixture
def named(started, tmp_path):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "route", "replace", "local", "10.96.0.0/16", "dev", "lo"], check=True)
    yield Named(started, tmp_path)
    subprocess.run(["nft", "flush ruleset"], check=True)


def look_up(named, *names, options="ndots:5 timeout:5 attempts:1", server=NAME_SERVER):
    """By libc, in a mount namespace with a resolv.conf of its own."""
    path = write(named.directory, "application.conf", f"search bookinfo.svc.cluster.local svc.cluster.local cluster.local\n"
                 f"nameserver {server}\noptions {options}\n")
    done = subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', path,
                           sys.executable, "-c", ASK, *names], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("options", ["ndots:5", "ndots:5 use-vc", "ndots:5 single-request", "ndots:5 edns0"])
def test_libc__diverted__finds_the_mesh_and_what_is_upstream(named, options):
    named.upstream(there=["192.0.2.9"])
    named.start()
    subprocess.run(["nft", "add table ip t; add chain ip t o { type nat hook output priority -100; }; "
                    f"add rule ip t o udp dport 53 redirect to :{named.port}; add rule ip t o tcp dport 53 redirect to :{named.port}"],
                   check=True)
    names = ["reviews", "reviews.bookinfo.svc.cluster.local", "db.foo", "api.example.com", "any.wild.example.com", "there.test",
             "big.example.com"]
    found = look_up(named, *names, options=options)
    assert found == [["10.96.1.1"], ["10.96.1.1"], ["10.96.2.1", "10.96.2.2", "fd00::2"], ["240.240.0.1"], ["2001:2::2", "240.240.0.2"],
                     ["192.0.2.9"], sorted(MESH["big.example.com"])]
    assert "not known" in look_up(named, "nowhere.test")[0]


def test_at_port_53__before_the_first_table__upstream_is_asked(named):
    named.upstream(there=["192.0.2.9"])
    named.start(table=False, DNS_PROXY_ADDR="127.0.0.1:53")
    assert named.port == 53
    assert look_up(named, "there.test", "reviews", server="127.0.0.1")[0] == ["192.0.2.9"]
    named.push()
    assert look_up(named, "reviews", server="127.0.0.1") == [["10.96.1.1"]]
