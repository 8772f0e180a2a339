# SPDX-License-Identifier: Apache-2.0
"""Scopes by discovery (SRDS): each names a key and a route configuration, comes, changes, moves and goes; Envoy on the same bytes."""
import threading

import pytest

from lib import config
from lib.ads_server import AdsServer, ads, ads_bootstrap
from lib.http1 import fetch
from lib.proxy import envoy, weft
from lib.wait import wait_until


def routes(name, text):
    return {"name": name, "virtual_hosts": [config.virtual_host([
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}])]}


def scope(name, key, route=None, **more):
    return {"name": name, "route_configuration_name": route or name, "key": {"fragments": [{"string_key": key}]}, **more}


def scopes(*items):
    return {s["name"]: s for s in items}


def listener(name="http", **more):
    hcm = config.hcm()
    del hcm["typed_config"]["route_config"]
    hcm["typed_config"]["scoped_routes"] = {
        "name": "scopes", "rds_config_source": ads(), "scoped_rds": {"scoped_rds_config_source": ads(), **more},
        "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "x-scope", "index": 0}}]}}
    return config.listener(name, hcm)


@pytest.fixture
def server(started):
    made = AdsServer()
    made.set_resources("rds", {"r1": routes("r1", "one"), "r2": routes("r2", "two")})
    return started.add(made, made.close)


@pytest.fixture(params=["weft", "envoy"])
def binary(request):
    return {"weft": weft, "envoy": envoy}[request.param]()


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def delta(request):
    return request.param


@pytest.fixture
def run(server, start_proxy):
    def start(binary=None, delta=True, **more):
        return start_proxy(ads_bootstrap(server.port, delta=delta, lds=False, cds=False, listeners=[listener()]), binary=binary, **more)
    return start


def ask(proxy, key, name="http"):
    answer = fetch(proxy.address(name), headers=[("x-scope", key)])
    return answer.body.decode() if answer.status == 200 else answer.status


def test_scopes__come_change_and_go(server, run, binary, delta):
    server.set_resources("srds", scopes(scope("a", "ka", "r1"), scope("b", "kb", "r2")))
    proxy = run(binary, delta)
    assert [ask(proxy, k) for k in ("ka", "kb", "kc")] == ["one", "two", 404]
    server.set_resources("rds", {"r1": routes("r1", "three"), "r2": routes("r2", "two")})
    wait_until(lambda: ask(proxy, "ka") == "three", "the change of its routes")
    server.update("srds", "a", scope("a", "ka2", "r2"))
    wait_until(lambda: (ask(proxy, "ka"), ask(proxy, "ka2")) == (404, "two"), "another key and other routes")
    server.update("srds", "c", scope("c", "ka", "r1"))
    wait_until(lambda: ask(proxy, "ka") == "three", "a new one with the key that is free")
    server.update("srds", "b", None)
    wait_until(lambda: ask(proxy, "kb") == 404, "one that is gone")
    assert [ask(proxy, k) for k in ("ka", "ka2")] == ["three", "two"]
    dump = next(d for d in proxy.config_dump()["configs"] if d["@type"].endswith("v3.ScopedRoutesConfigDump"))
    shown = dump["dynamic_scoped_route_configs"][0]
    assert shown["name"] == "scopes" and sorted(s["name"] for s in shown["scoped_route_configs"]) == ["a", "c"]
    stats = proxy.stats("scoped_rds")
    assert stats["http.in.scoped_rds.scopes.all_scopes"] == 2
    assert stats["http.in.scoped_rds.scopes.config_reload"] == 4
    assert stats["http.in.scoped_rds.scopes.update_success"] == 4


def test_scopes__keys_change_hands_in_one_update(server, run, binary, delta):
    server.set_resources("srds", scopes(scope("a", "ka", "r1"), scope("b", "kb", "r2")))
    proxy = run(binary, delta)
    assert ask(proxy, "ka") == "one"
    server.set_resources("srds", scopes(scope("c", "ka", "r2"), scope("d", "kb", "r1")))
    wait_until(lambda: (ask(proxy, "ka"), ask(proxy, "kb")) == ("two", "one"), "the keys' new owners")


@pytest.mark.parametrize("bad", [scope("b", "ka", "r2"), {**scope("b", "kb"), "route_configuration_name": ""}], ids=["key", "routes"])
def test_scopes__faulty__refused(server, run, binary, delta, bad):
    server.set_resources("srds", scopes(scope("a", "ka", "r1")))
    proxy = run(binary, delta)
    assert ask(proxy, "ka") == "one"
    server.update("srds", "b", bad)
    assert "key" in server.wait_nack("srds") or "route_configuration_name" in server.wait_nack("srds")
    assert [ask(proxy, k) for k in ("ka", "kb")] == ["one", 404]
    assert proxy.stats("scoped_rds")["http.in.scoped_rds.scopes.update_rejected"] == 1


def test_scopes__faulty_ones_among_good_ones__the_good_ones_are_taken(server, run):
    server.set_resources("srds", scopes(scope("a", "ka", "r1")))
    proxy = run()
    server.set_resources("srds", scopes(scope("a", "ka", "r2"), scope("b", "kb", on_demand=True),
                                        {**scope("c", "kc"), "key": {"fragments": []}}))
    error = server.wait_nack("srds")
    assert "b.on_demand" in error and "c.key" in error
    wait_until(lambda: ask(proxy, "ka") == "two", "what is good")


def test_scopes__their_routes_are_late__the_listener_waits(server, start_proxy, binary):
    server.hold("rds")
    server.set_resources("srds", scopes(scope("a", "ka", "r1")))
    server.set_resources("lds", {"http": listener()})
    proxy = start_proxy(ads_bootstrap(server.port, delta=True, cds=False), binary=binary, wait=False)
    server.wait_request("rds")
    proxy.wait_admin()
    assert proxy.admin("/ready").status == 503
    server.release("rds")
    proxy.wait_ready()
    assert ask(proxy, "ka") == "one"


def test_scopes__a_second_listener_later__has_them_too(server, start_proxy):
    server.set_resources("srds", scopes(scope("a", "ka", "r1")))
    server.set_resources("lds", {"http": listener()})
    proxy = start_proxy(ads_bootstrap(server.port, delta=True, cds=False))
    other = listener("late")
    other["filter_chains"][0]["filters"][0]["typed_config"]["scoped_routes"]["name"] = "more"
    server.update("lds", "late", other)
    proxy.wait_listener("late")
    assert ask(proxy, "ka", "late") == "one"
    server.update("srds", "a", scope("a", "ka", "r2"))
    wait_until(lambda: (ask(proxy, "ka"), ask(proxy, "ka", "late")) == ("two", "two"), "the change, in both")


@pytest.mark.threads
def test_scopes__change_under_load__no_request_fails(server, run):
    kept = scope("x1", "x1", "r1"), scope("x2", "x2", "r2")  # as with Envoy, routes that no scope names are given up
    server.set_resources("srds", scopes(*kept, scope("a", "ka", "r1"), scope("b", "kb", "r2")))
    proxy = run(concurrency=2)
    stop, faults, looks = threading.Event(), [], [0] * 3

    def load(index):
        while not stop.is_set():
            said = ask(proxy, "ka"), ask(proxy, "kb")
            if said[0] not in ("one", "two") or said[1] not in ("two", 404):
                faults.append(said)
                return
            looks[index] += 1
    threads = [threading.Thread(target=load, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for n in range(30):
        server.set_resources("srds", scopes(*kept, scope("a", "ka", "r1" if n % 2 else "r2"), *([scope("b", "kb", "r2")] if n % 3 else [])))
        server.wait_ack("srds")
    done = list(looks)
    wait_until(lambda: faults or all(now > before for now, before in zip(looks, done)), "requests after the last change")
    stop.set()
    for t in threads:
        t.join()
    assert not faults
