# SPDX-License-Identifier: Apache-2.0
"""original_dst restores where a diverted connection was going, ORIGINAL_DST sends it there.

Run by ../test_original_dst.py in a network namespace of its own, where nftables redirects what goes to an origin's
port to the proxy's. The proxy's own connections carry a mark that the rule lets through.
"""
import subprocess

import pytest

from lib import config, http1
from lib.proxy import log_lines

MARK = 7
SO_MARK = {"level": 1, "name": 36, "int_value": MARK, "state": "STATE_PREBIND"}
ORIGINAL_DST = {"name": "envoy.filters.listener.original_dst", "typed_config": {
    "@type": config.TYPE + "extensions.filters.listener.original_dst.v3.OriginalDst"}}


@pytest.fixture
def divert():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def to(proxy_port, *ports):
        wanted = ", ".join(str(port) for port in ports)
        subprocess.run(["nft", "flush ruleset; add table ip t; add chain ip t o { type nat hook output priority -100; }; "
                        f"add rule ip t o tcp dport {{ {wanted} }} meta mark != {MARK} redirect to :{proxy_port}"], check=True)
    yield to
    subprocess.run(["nft", "flush ruleset"], check=True)


def bootstrap(log, **hcm):
    listener = config.http_listener(listener_fields={"listener_filters": [ORIGINAL_DST]},
                                    routes=[config.route("anywhere")],
                                    access_log=[config.file_log(log, text_format="%DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST%\n")],
                                    **hcm)
    anywhere = {"name": "anywhere", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "2s",
                "upstream_bind_config": {"source_address": {"address": "127.0.0.1", "port_value": 0}, "socket_options": [SO_MARK]}}
    return config.bootstrap([listener], [anywhere])


def test_original_dst__two_origins__each_gets_its_own(start_proxy, make_origin, divert, tmp_path):
    answers = [http1.response_bytes(200, [("x-origin", name)], b"") for name in ("first", "second")]
    first, second = (make_origin(default=answer) for answer in answers)
    proxy = start_proxy(bootstrap(tmp_path / "log"))
    divert(proxy.ports["http"], first.port, second.port)
    assert http1.fetch(first.address).get("x-origin") == "first"
    assert http1.fetch(second.address).get("x-origin") == "second"
    assert http1.fetch(first.address).get("x-origin") == "first"
    lines = [f"127.0.0.1:{o.port} 127.0.0.1:{o.port}" for o in (first, second, first)]
    assert log_lines(tmp_path / "log", 3) == lines
    assert proxy.stat("listener.127.0.0.1_0.downstream_cx_total") == 3
    assert proxy.stat("cluster.anywhere.upstream_cx_total") >= 2


def test_original_dst__filter_chains__matched_by_the_restored_port(start_proxy, make_origin, divert):
    """destination_port is the one the client meant."""
    origin, other = make_origin(), make_origin()
    chains = config.listener("http", config.hcm(routes=[config.route("origin")], stat_prefix="other"),
                             listener_filters=[ORIGINAL_DST])
    named = {"filter_chain_match": {"destination_port": origin.port},
             "filters": [config.hcm(routes=[config.route("origin")], stat_prefix="named")]}
    chains["filter_chains"].append(named)
    clusters = [config.cluster("origin", origin.port, upstream_bind_config={
        "source_address": {"address": "127.0.0.1", "port_value": 0}, "socket_options": [SO_MARK]})]
    proxy = start_proxy(config.bootstrap([chains], clusters))
    divert(proxy.ports["http"], origin.port, other.port)
    assert http1.fetch(origin.address).status == 200
    assert http1.fetch(other.address).status == 200
    assert proxy.stat("http.named.downstream_rq_total") == 1
    assert proxy.stat("http.other.downstream_rq_total") == 1
