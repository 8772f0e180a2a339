# SPDX-License-Identifier: Apache-2.0
"""Network and listener filters by discovery (ECDS): they come, change and are refused, a default stands in, and where there is
nothing connections end. Envoy on the same bytes. HTTP filters' are in test_rds.py.
"""
import threading

import pytest

from lib import config
from lib.ads_server import AdsServer, ads, ads_bootstrap, separate
from lib.http1 import Closed, connect
from lib.proxy import envoy, weft
from lib.wait import wait_until

RBAC = config.TYPE + "extensions.filters.network.rbac.v3.RBAC"
ECHO = config.TYPE + "extensions.filters.network.echo.v3.Echo"
LIMIT = config.TYPE + "extensions.filters.network.connection_limit.v3.ConnectionLimit"
TLS_INSPECTOR = config.TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"
PROXY_PROTOCOL = config.TYPE + "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"


def rbac(allows):
    return {"@type": RBAC, "stat_prefix": "rbac.", "rules": {"action": "ALLOW" if allows else "DENY", "policies": {
        "all": {"permissions": [{"any": True}], "principals": [{"any": True}]}}}}


def extension(settings, name="it"):
    return {"name": name, "typed_config": settings}


def place(types, name="it", **discovery):
    return {"name": name, "config_discovery": {"config_source": ads(), "type_urls": types, **discovery}}


def network(*types, **discovery):
    listener = config.http_listener(virtual_hosts=[config.virtual_host([
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "here"}}}])])
    filters = listener["filter_chains"][0]["filters"]
    filters.insert(0, place(list(types) or [RBAC], **discovery))
    return listener


def inspecting(*types, **discovery):
    listener = network(**discovery)
    listener["listener_filters"] = [listener["filter_chains"][0]["filters"].pop(0)]
    listener["listener_filters"][0]["config_discovery"]["type_urls"] = list(types) or [PROXY_PROTOCOL]
    return listener


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


@pytest.fixture(params=["weft", "envoy"])
def binary(request):
    return {"weft": weft, "envoy": envoy}[request.param]()


@pytest.fixture
def run(server, start_proxy):
    def start(listener, binary=None, **more):
        return start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[listener]), binary=binary, **more)
    return start


def ask(proxy, before=b""):
    """What a request on a new connection is answered; None: the connection was closed."""
    try:
        with connect(proxy.address()) as stream:
            stream.send(before + b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            return int(stream.read_until(b"\r\n").split()[1])
    except (Closed, ConnectionError):
        return None


# ---- network filters ----

def test_network_filter__comes_changes_is_refused_and_goes(server, run, binary):
    server.set_resources("ecds", {"it": extension(rbac(True))})
    proxy = run(network(), binary)
    assert ask(proxy) == 200
    server.set_resources("ecds", {"it": extension(rbac(False))})
    wait_until(lambda: ask(proxy) is None, "the second version")
    server.set_resources("ecds", {"it": extension({"@type": LIMIT, "stat_prefix": "l", "max_connections": 1})})
    assert "type" in server.wait_nack("ecds")
    assert ask(proxy) is None
    server.set_resources("ecds", {"it": extension(rbac(True))})
    wait_until(lambda: ask(proxy) == 200, "the third version")
    stats = proxy.stats("extension_config_discovery")
    assert stats["extension_config_discovery.network_filter.it.config_reload"] == 3
    assert stats["extension_config_discovery.network_filter.it.config_fail"] == 1
    dump = next(d for d in proxy.config_dump()["configs"] if d["@type"].endswith("v3.EcdsConfigDump"))
    assert [f["ecds_filter"]["name"] for f in dump["ecds_filters"]] == ["it"]


def test_network_filter__default__serves_until_another_comes(server, run, binary):
    proxy = run(network(default_config=rbac(False), apply_default_config_without_warming=True), binary)
    assert ask(proxy) is None
    server.set_resources("ecds", {"it": extension(rbac(True))})
    wait_until(lambda: ask(proxy) == 200, "what was sent")


def test_network_filter__missing__connections_are_closed(server, run, binary):
    proxy = run(network(config_source=separate(initial_fetch_timeout="0.3s")), binary)
    assert ask(proxy) is None
    missing = [v for n, v in proxy.stats("network_extension_config_missing").items()]
    assert missing == [1]
    server.set_resources("ecds", {"it": extension(rbac(True))})
    wait_until(lambda: ask(proxy) == 200, "the filter")


def test_network_filter__the_listener_waits_for_it(server, start_proxy, binary):
    server.hold("ecds")
    server.set_resources("ecds", {"it": extension(rbac(True))})
    proxy = start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[network()]), binary=binary, wait=False)
    server.wait_request("ecds")
    proxy.wait_admin()
    assert proxy.admin("/ready").status == 503
    server.release("ecds")
    proxy.wait_ready()
    assert ask(proxy) == 200


def test_network_filter__terminal__refused_by_name(server, run, start_proxy):
    proxy = run(network(RBAC, ECHO, default_config=rbac(True), apply_default_config_without_warming=True))
    server.set_resources("ecds", {"it": extension({"@type": ECHO})})
    assert "terminal" in server.wait_nack("ecds")
    assert ask(proxy) == 200
    last = network()
    last["filter_chains"][0]["filters"] = [place([ECHO])]
    server.set_resources("lds", {"http": last})
    start_proxy(ads_bootstrap(server.port, cds=False))
    assert "config_discovery" in server.wait_nack("lds")


def test_network_filter__its_connections_outlive_it(server, run, binary):
    """connection_limit counts a connection's end where it counted its beginning, whatever has come meanwhile."""
    def limit(n):
        return extension({"@type": LIMIT, "stat_prefix": "l", "max_connections": n})
    server.set_resources("ecds", {"it": limit(5)})
    proxy = run(network(LIMIT), binary)
    with connect(proxy.address()) as stream:
        stream.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert stream.read_until(b"\r\n").split()[1] == b"200"
        server.set_resources("ecds", {"it": limit(6)})
        server.wait_ack("ecds")
        assert proxy.stat("connection_limit.l.active_connections") == 1
        assert ask(proxy) == 200
    proxy.wait_stat("connection_limit.l.active_connections", 0)


@pytest.mark.threads
def test_network_filter__changes_under_load__no_connection_is_lost(server, run):
    server.set_resources("ecds", {"it": extension(rbac(True))})
    proxy = run(network(RBAC, LIMIT), concurrency=2)
    stop, faults, looks = threading.Event(), [], [0] * 3

    def load(index):
        while not stop.is_set():
            if ask(proxy) != 200:
                faults.append(index)
                return
            looks[index] += 1
    threads = [threading.Thread(target=load, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for n in range(30):
        server.set_resources("ecds", {"it": extension(
            rbac(True) if n % 2 else {"@type": LIMIT, "stat_prefix": "l", "max_connections": 100 + n})})
        server.wait_ack("ecds")
    done = list(looks)
    wait_until(lambda: faults or all(now > before for now, before in zip(looks, done)), "connections after the last change")
    stop.set()
    for t in threads:
        t.join()
    assert not faults


# ---- listener filters ----

HEADER = b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"


def test_listener_filter__comes_changes_and_is_refused(server, run, binary):
    server.set_resources("ecds", {"it": extension({"@type": TLS_INSPECTOR})})
    proxy = run(inspecting(TLS_INSPECTOR, PROXY_PROTOCOL), binary)
    assert ask(proxy) == 200
    assert proxy.stat("tls_inspector.tls_not_found") == 1
    server.set_resources("ecds", {"it": extension({"@type": PROXY_PROTOCOL})})
    wait_until(lambda: ask(proxy, HEADER) == 200, "the PROXY protocol")
    assert ask(proxy) is None
    server.set_resources("ecds", {"it": extension(rbac(True))})
    assert "type" in server.wait_nack("ecds")
    assert ask(proxy, HEADER) == 200
    stats = proxy.stats("extension_config_discovery")
    assert stats["extension_config_discovery.tcp_listener_filter.it.config_reload"] == 2
    assert stats["extension_config_discovery.tcp_listener_filter.it.config_fail"] == 1


def test_listener_filter__default__serves_until_another_comes(server, run, binary):
    proxy = run(inspecting(default_config={"@type": PROXY_PROTOCOL}, apply_default_config_without_warming=True), binary)
    assert (ask(proxy, HEADER), ask(proxy)) == (200, None)
    server.set_resources("ecds", {"it": extension({"@type": PROXY_PROTOCOL, "allow_requests_without_proxy_protocol": True})})
    wait_until(lambda: ask(proxy) == 200, "what was sent")


def test_listener_filter__missing__connections_are_closed(server, run, binary):
    proxy = run(inspecting(config_source=separate(initial_fetch_timeout="0.3s")), binary)
    assert ask(proxy) is None
    assert [v for n, v in proxy.stats(r"\.extension_config_missing").items()] == [1]
    server.set_resources("ecds", {"it": extension({"@type": PROXY_PROTOCOL})})
    wait_until(lambda: ask(proxy, HEADER) == 200, "the filter")


def test_listener_filter__replaced_while_it_looks__goes_on_with_what_it_saw(server, run):
    server.set_resources("ecds", {"it": extension({"@type": PROXY_PROTOCOL})})
    proxy = run(inspecting(TLS_INSPECTOR, PROXY_PROTOCOL))
    with connect(proxy.address()) as stream:
        stream.send(HEADER[:10])
        wait_until(lambda: proxy.stats("downstream_pre_cx_active$").popitem()[1] == 1, "the connection")
        server.set_resources("ecds", {"it": extension({"@type": TLS_INSPECTOR})})
        wait_until(lambda: ask(proxy) == 200, "the other filter")
        stream.send(HEADER[10:] + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert stream.read_until(b"\r\n").split()[1] == b"200"
