# SPDX-License-Identifier: Apache-2.0
"""Listeners that discovery brings: what a new generation takes over, what drains, what is refused."""
import json
import os
import socket
import ssl
import threading

import pytest

from lib import config, http1
from lib import proxy as proxies
from lib.ads_server import AdsServer, ads_bootstrap
from lib.wait import wait_until

BOTH = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
EVERY = pytest.mark.parametrize("binary", ["weft", "envoy"])


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


@pytest.fixture
def start(start_proxy):
    def run(bootstrap, binary="weft", **more):
        path = None
        if binary == "envoy":
            path = os.environ.get("ENVOY") or proxies.envoy()
            if not path:
                pytest.skip("no Envoy here")
        return start_proxy(bootstrap, binary=path, **more)
    return run


@pytest.fixture
def port():
    """One that was free a moment ago; several sockets may have it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(text, **more):
    """A connection manager that answers by itself."""
    return config.hcm([{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}], **more)


def listener(name, port, text, **more):
    return config.listener(name, answers(text), address=config.socket_address(port=port), **more)


def by_ip(name, port, **texts):
    """A listener with a filter chain for each source address; connections tell which they are by where they come from."""
    chains = [{"name": key, "filter_chain_match": {"source_prefix_ranges": [{"address_prefix": f"127.0.0.{2 + i}", "prefix_len": 32}]},
               "filters": [answers(text, stat_prefix=key)]} for i, (key, text) in enumerate(texts.items())]
    return {"name": name, "address": config.socket_address(port=port), "filter_chains": chains}


def body(port, **more):
    return http1.fetch(("127.0.0.1", port), headers=[("Connection", "close")], **more).body.decode()


class Client:
    """A kept connection."""

    def __init__(self, port, source="127.0.0.1"):
        self.stream = http1.Stream(socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)))

    def ask(self):
        self.stream.send(http1.request_bytes())
        return http1.read_response(self.stream)

    def is_closed(self):
        return self.stream.is_ended()

    def close(self):
        self.stream.sock.close()


class Load:
    """Requests one after the other, from several threads, each on kept connections; what fails is kept."""

    def __init__(self, port, threads=3):
        self.port, self.failures, self.count, self.bodies = port, [], 0, set()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        client, asked = None, 0
        while not self.stopping.is_set():
            try:
                if client is None:
                    client = Client(self.port)
                answer = client.ask()
                if answer.status != 200:
                    self.failures.append(answer.status)
                self.bodies.add(answer.body.decode())
                self.count += 1
                asked += 1
                if answer.get("connection") == "close" or number == 0 or asked % 50 == 0:
                    client.close()
                    client = None
            except Exception as error:  # noqa: BLE001 - any failure is what this looks for
                self.failures.append(repr(error))
                client = None

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures[:5]


@BOTH
@EVERY
def test_lds__added_changed_removed__counted_and_served(server, start, port, delta, binary):
    server.set_resources("lds", {"a": listener("a", port, "one")})
    proxy = start(ads_bootstrap(server.port, delta=delta, cds=False), binary)
    assert body(port) == "one"
    server.set_resources("lds", {"a": listener("a", port, "two"), "b": listener("b", 0, "other")})
    server.wait_ack("lds")
    wait_until(lambda: body(port) == "two", "the second generation")
    assert body(proxy.wait_listener("b")[1]) == "other"
    server.set_resources("lds", {"b": listener("b", 0, "other")})
    server.wait_ack("lds")
    proxy.wait_stat("listener_manager.total_listeners_active", 1)
    stats = proxy.stats("listener_manager")
    assert [stats[f"listener_manager.listener_{x}"] for x in ("added", "modified", "removed", "in_place_updated")] == [2, 1, 1, 1]
    with pytest.raises(OSError):
        wait_until(lambda: not body(port), "nothing")
    proxy.wait_stat("listener_manager.total_listeners_draining", 0)


@EVERY
def test_lds__same_again__nothing_happens(server, start, port, binary):
    server.set_resources("lds", {"a": listener("a", port, "one")})
    proxy = start(ads_bootstrap(server.port, cds=False), binary)
    client = Client(port)
    assert client.ask().body == b"one"
    server.set_resources("lds", {"a": listener("a", port, "one"), "b": listener("b", 0, "other")})
    proxy.wait_stat("listener_manager.listener_added", 2)
    assert proxy.stat("listener_manager.listener_modified") == 0
    answer = client.ask()
    assert answer.body == b"one" and answer.get("connection") != "close"
    client.close()


@EVERY
def test_lds__a_chain_that_stays__keeps_its_connections(server, start, port, binary):
    server.set_resources("lds", {"a": by_ip("a", port, stays="one", goes="two")})
    proxy = start(ads_bootstrap(server.port, cds=False), binary, args=["--drain-strategy", "immediate"])
    stays, goes = Client(port, "127.0.0.2"), Client(port, "127.0.0.3")
    assert (stays.ask().body, goes.ask().body) == (b"one", b"two")
    server.set_resources("lds", {"a": by_ip("a", port, stays="one", goes="three")})
    proxy.wait_stat("listener_manager.listener_in_place_updated", 1)
    proxy.wait_stat("listener_manager.total_filter_chains_draining", 1, exactly=False)
    told = goes.ask()
    assert told.body == b"two" and told.get("connection") == "close"
    assert goes.is_closed()
    proxy.wait_stat("listener_manager.total_filter_chains_draining", 0)
    answer = stays.ask()
    assert answer.body == b"one" and answer.get("connection") != "close"
    fresh = Client(port, "127.0.0.3")
    assert fresh.ask().body == b"three"
    assert proxy.stat("http.stays.downstream_cx_total") == 1
    for client in (stays, goes, fresh):
        client.close()


def test_lds__an_idle_connection_of_a_chain_that_is_gone__ends_with_the_drain_time(server, start, port):
    server.set_resources("lds", {"a": listener("a", port, "one")})
    proxy = start(ads_bootstrap(server.port, cds=False), drain_time_s=1)
    idle = Client(port)
    assert idle.ask().body == b"one"
    server.set_resources("lds", {"a": listener("a", port, "two")})
    proxy.wait_stat("listener_manager.total_filter_chains_draining", 1)
    assert idle.is_closed()
    proxy.wait_stat("listener_manager.total_filter_chains_draining", 0)
    idle.close()


@BOTH
def test_lds__updates_under_load__not_one_request_fails(server, start, port, delta):
    server.set_resources("lds", {"a": listener("a", port, "0")})
    proxy = start(ads_bootstrap(server.port, cds=False, delta=delta), concurrency=2, drain_time_s=5)
    load = Load(port)
    for i in range(1, 26):
        more = {"listener_filters_timeout": f"{i}s"} if i % 3 == 0 else {}
        server.set_resources("lds", {"a": listener("a", port, str(i), **more)})
        server.wait_ack("lds")
        wait_until(lambda: body(port) == str(i), f"generation {i}")
    load.stop()
    assert load.count > 100 and len(load.bodies) > 5
    proxy.wait_stat("listener_manager.listener_modified", 25)
    proxy.wait_stat("listener_manager.total_listeners_draining", 0)
    proxy.wait_stat("listener_manager.total_filter_chains_draining", 0)
    assert proxy.stat("listener.127.0.0.1_%d.downstream_cx_active" % port) == 0


def test_lds__another_address__opened_before_the_old_one_closes(server, start, port):
    server.set_resources("lds", {"a": listener("a", port, "one")})
    proxy = start(ads_bootstrap(server.port, cds=False))
    server.set_resources("lds", {"a": listener("a", 0, "two")})
    server.wait_ack("lds")
    wait_until(lambda: proxy.read_ports()["a"] != port, "the other port")
    assert body(proxy.ports["a"]) == "two"


@BOTH
@EVERY
def test_lds__a_listener_that_cannot_be__refused_by_name_and_the_rest_taken(server, start, port, delta, binary):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server.set_resources("lds", {"good": listener("good", port, "one"), "taken": listener("taken", taken.getsockname()[1], "x"),
                                     "bad": {"name": "bad", "address": config.socket_address(),
                                             "filter_chains": [{"filters": [config.tcp_proxy(stat_prefix="")]}]}})
        proxy = start(ads_bootstrap(server.port, delta=delta, cds=False), binary)
        text = server.wait_nack("lds")
        assert "bad" in text and "taken" in text and "good" not in text
        assert body(port) == "one"
        proxy.wait_stat("listener_manager.lds.update_rejected", 1)
        assert proxy.stat("listener_manager.total_listeners_active") == 1


def test_lds__twin_of_an_address__refused(server, start, port):
    server.set_resources("lds", {"a": listener("a", port, "one"), "b": listener("b", port, "two")})
    start(ads_bootstrap(server.port, cds=False))
    assert "has duplicate address" in server.wait_nack("lds")
    assert body(port) in ("one", "two")


@EVERY
def test_lds__of_the_bootstrap__is_left_alone(server, start, port, binary):
    server.set_resources("lds", {"http": listener("http", port, "dynamic")})
    proxy = start(ads_bootstrap(server.port, cds=False, listeners=[listener("http", 0, "static")]), binary)
    server.wait_ack("lds")
    assert body(proxy.ports["http"]) == "static"
    assert proxy.stat("listener_manager.listener_added") == 1


@EVERY
def test_lds__removed_and_another_at_its_address__in_one_update(server, start, port, binary):
    server.set_resources("lds", {"a": listener("a", port, "one")})
    start(ads_bootstrap(server.port, cds=False), binary)
    assert body(port) == "one"
    server.set_resources("lds", {"b": listener("b", port, "two")})
    server.wait_ack("lds")
    wait_until(lambda: body(port) == "two", "the other listener")


def dynamic(proxy):
    dump = json.loads(proxy.admin("/config_dump?resource=dynamic_listeners").body)
    return {one.get("name", "bad"): one for one in dump.get("configs", [])}  # Envoy doesn't name one that never served


@EVERY
def test_lds__config_dump__shows_every_state(server, start, port, binary):
    server.set_resources("lds", {"a": listener("a", port, "one")}, version="v1")
    proxy = start(ads_bootstrap(server.port, cds=False), binary, drain_time_s=60)
    client = Client(port)
    client.ask()
    state = dynamic(proxy)["a"]["active_state"]
    assert state["version_info"] == "v1" and state["listener"]["address"] == config.socket_address(port=port)
    assert state["last_updated"]
    server.set_resources("lds", {"bad": {"name": "bad", "address": config.socket_address(),
                                         "filter_chains": [{"filters": [config.tcp_proxy(stat_prefix="")]}]}}, version="v2")
    server.wait_nack("lds")
    wait_until(lambda: "draining_state" in dynamic(proxy).get("a", {}), "the draining state")
    client.close()
    wait_until(lambda: "error_state" in dynamic(proxy).get("bad", {}), "the faulty one")
    assert "stat_prefix" in dynamic(proxy)["bad"]["error_state"]["details"].lower().replace("statprefix", "stat_prefix")
    assert "dynamic_listeners" in proxy.admin("/config_dump").body.decode()


@EVERY
def test_lds__a_secret_that_is_late__the_old_one_serves_until_it_comes(server, start, port, ca, binary):
    leaf = ca.issue("server", sans=["DNS:test.local"])
    server.set_resources("lds", {"a": listener("a", port, "one")})
    proxy = start(ads_bootstrap(server.port, cds=False), binary)
    asked = {"name": "late", "sds_config": {"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0s"}}
    tls = {"common_tls_context": {"tls_certificate_sds_secret_configs": [asked]}}
    server.set_resources("lds", {"a": config.listener("a", answers("two"), tls=tls, address=config.socket_address(port=port))})
    proxy.wait_stat("listener_manager.total_listeners_warming", 1)
    server.wait_request("sds")
    assert body(port) == "one"
    shown = dynamic(proxy)["a"]
    assert "warming_state" in shown and "active_state" in shown
    with open(leaf.cert, encoding="utf-8") as cert, open(leaf.key, encoding="utf-8") as key:
        secret = {"name": "late", "tls_certificate": {"certificate_chain": {"inline_string": cert.read()},
                                                      "private_key": {"inline_string": key.read()}}}
    server.set_resources("sds", {"late": secret})
    proxy.wait_stat("listener_manager.total_listeners_warming", 0)

    def is_served():  # workers are told a moment after the gauge
        try:
            return body(port, tls=ca.client_context(), server_name="test.local") == "two"
        except ssl.SSLError:
            return False
    wait_until(is_served, "the new listener")
