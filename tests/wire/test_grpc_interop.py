# SPDX-License-Identifier: Apache-2.0
"""gRPC's own interop suite (client and server from grpc-go) through one proxy and through two."""
import subprocess

import pytest

from lib import config
from lib.ca import CA
from lib.golang import go_program
from lib.proxy import Proxy
from lib.wait import PATIENCE_S

CASES = [
    "empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
    "timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response",
    "custom_metadata", "status_code_and_message", "special_status_message", "unimplemented_method",
    "unimplemented_service", "rpc_soak",
]
H2 = {"codec_type": "HTTP2", "stat_prefix": "grpc"}
ROADS = ["one", "one_tls", "two", "two_mtls"]


@pytest.fixture(scope="module")
def interop():
    return go_program("./grpcinterop")


@pytest.fixture(scope="module")
def server(interop):
    process = subprocess.Popen([interop, "-serve"], stdout=subprocess.PIPE, text=True)
    yield int(process.stdout.readline())
    process.kill()
    process.wait()


def build_road(name, server, directory):
    """The proxies of a road, the first one last, and what the client must know."""
    ca = CA(directory / "ca")
    leaf = ca.issue("peer", ["DNS:test.local", "URI:spiffe://test/peer"])
    to_server = config.cluster("origin", server, http2=True)
    tls_flags = ["-ca", ca.cert, "-cert", leaf.cert, "-key", leaf.key]
    if name in ("one", "one_tls"):
        tls = config.server_tls(leaf, ca=ca, alpn=["h2"]) if name == "one_tls" else None
        one = Proxy(config.bootstrap([config.http_listener(tls=tls, **H2)], [to_server]), directory / "one")
        return [one], tls_flags if tls else []
    is_mtls = name == "two_mtls"
    inbound = Proxy(config.bootstrap([config.http_listener(
        tls=config.server_tls(leaf, ca=ca, alpn=["h2"]) if is_mtls else None, **H2)], [to_server]),
        directory / "inbound")
    upstream = config.cluster(
        "origin", inbound.ports["http"], http2=True,
        tls=config.client_tls(ca, leaf, alpn=["h2"], sni="test.local") if is_mtls else None)
    outbound = Proxy(config.bootstrap([config.http_listener(**H2)], [upstream]), directory / "outbound")
    return [inbound, outbound], []


@pytest.fixture(scope="module", params=ROADS)
def road(request, server, tmp_path_factory):
    proxies, flags = build_road(request.param, server, tmp_path_factory.mktemp(request.param))
    yield proxies, flags
    for proxy in reversed(proxies):
        proxy.stop()


@pytest.mark.parametrize("case", CASES)
def test_interop(road, interop, case):
    proxies, flags = road
    done = subprocess.run([interop, "-target", f"127.0.0.1:{proxies[-1].ports['http']}", *flags, case],
                          capture_output=True, text=True, timeout=PATIENCE_S * 6, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{case}: passed" in done.stdout


def test_every_case_is_run(interop):
    listed = subprocess.run([interop, "-list"], capture_output=True, text=True, check=True).stdout
    assert sorted(CASES) == listed.split()
