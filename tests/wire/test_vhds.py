# SPDX-License-Identifier: Apache-2.0
"""Virtual hosts by discovery (VHDS): each travels, changes, is refused and goes by itself. Where Envoy can, Envoy on the same
bytes.
"""
import threading

import pytest

from envoy.service.discovery.v3 import discovery_pb2

from lib import config
from lib.ads_server import AdsServer, ads, ads_bootstrap, separate, type_url
from lib.http1 import connect, fetch, read_response, request_bytes
from lib.proxy import envoy, weft
from lib.wait import wait_until


def says(text):
    return [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}]


def vhost(name, text, *domains, routes=None):
    """Its name is its resource's: Envoy goes by that when one is taken away."""
    return {"name": f"r/{name}", "domains": list(domains) or [name], "routes": routes or says(text)}


def vhosts(*items):
    return {v["name"]: v for v in items}


def routes(*own, source=None, **more):
    return {"name": "r", "virtual_hosts": list(own), "vhds": {"config_source": source or separate(delta=True)}, **more}


def listener(route="r", name="http", **more):
    hcm = config.hcm(**more)
    del hcm["typed_config"]["route_config"]
    hcm["typed_config"]["rds"] = {"route_config_name": route, "config_source": ads()}
    return config.listener(name, hcm)


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


@pytest.fixture(params=["weft", "envoy"])
def binary(request):
    return {"weft": weft, "envoy": envoy}[request.param]()


ON_DEMAND = {"name": "envoy.filters.http.on_demand",
             "typed_config": {"@type": config.TYPE + "extensions.filters.http.on_demand.v3.OnDemand"}}
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": config.TYPE + "extensions.filters.http.router.v3.Router"}}


@pytest.fixture
def demand(server, start_proxy):
    """Runs a proxy that asks for virtual hosts as requests come."""
    server.on_demand.add("vhds")
    server.tells_missing = True
    # Envoy goes on waiting when the wildcard's answer has nothing in it
    server.set_resources("rds", {"r": routes(source=separate(delta=True, initial_fetch_timeout="0.3s"))})

    def start(binary=None, **more):
        place = listener(http_filters=[ON_DEMAND, ROUTER], **more.pop("hcm", {}))
        return start_proxy(ads_bootstrap(server.port, delta=True, lds=False, cds=False, listeners=[place]), binary=binary, **more)
    return start


@pytest.fixture
def run(server, start_proxy):
    def start(binary=None, **more):
        return start_proxy(ads_bootstrap(server.port, delta=True, lds=False, cds=False, listeners=[listener()]), binary=binary, **more)
    return start


def ask(proxy, host, **more):
    answer = fetch(proxy.address(), host=host, **more)
    return answer.body.decode() if answer.status == 200 else answer.status


def test_vhosts__come_change_and_go_one_by_one(server, run, binary):
    server.set_resources("rds", {"r": routes(config.virtual_host(says("own"), domains=["own"]))})
    server.set_resources("vhds", vhosts(vhost("a", "one"), vhost("b", "two", "b", "*.b.example")))
    proxy = run(binary)
    assert [ask(proxy, h) for h in ("own", "a", "b", "x.b.example", "c")] == ["own", "one", "two", "two", 404]
    first = server.wait_request("vhds")
    assert list(first.message.resource_names_subscribe) == []
    server.take_requests()
    server.update("vhds", "r/a", vhost("a", "three"))
    wait_until(lambda: ask(proxy, "a") == "three", "the change of one")
    server.wait_ack("vhds")
    server.update("vhds", "r/c", vhost("c", "four"))
    wait_until(lambda: ask(proxy, "c") == "four", "another one")
    server.update("vhds", "r/b", None)
    wait_until(lambda: ask(proxy, "b") == 404, "one that is gone")
    assert [ask(proxy, h) for h in ("own", "a", "x.b.example", "c")] == ["own", "three", 404, "four"]
    server.set_resources("rds", {"r": routes(config.virtual_host(says("mine"), domains=["own"]))})
    wait_until(lambda: ask(proxy, "own") == "mine", "the configuration above")
    assert [ask(proxy, h) for h in ("a", "c")] == ["three", "four"]
    dump = next(d for d in proxy.config_dump()["configs"] if d["@type"].endswith("v3.RoutesConfigDump"))
    shown = dump["dynamic_route_configs"][0]["route_config"]["virtual_hosts"]
    assert sorted(v["name"] for v in shown) == ["all", "r/a", "r/c"]
    stats = proxy.stats("vhds")
    assert stats["http.in.rds.vhds.r.config_reload"] == 4
    assert stats["http.in.rds.vhds.r.update_success"] == 4


def test_vhosts__a_faulty_one__refused_by_name(server, run, binary):
    server.set_resources("rds", {"r": routes()})
    server.set_resources("vhds", vhosts(vhost("a", "one"), vhost("b", "two")))
    proxy = run(binary)
    assert ask(proxy, "a") == "one"
    half = {"name": "r/a", "domains": ["a"], "routes": [{"match": {}, "direct_response": {"status": 200}}]}
    server.update("vhds", "r/a", half)
    server.wait_nack("vhds")
    assert (ask(proxy, "a"), ask(proxy, "b")) == ("one", "two")
    assert proxy.stats("vhds")["http.in.rds.vhds.r.update_rejected"] == 1
    server.update("vhds", "r/a", vhost("a", "three"))
    wait_until(lambda: ask(proxy, "a") == "three", "a better one")


def test_vhosts__a_domain_of_another__refused(server, run, binary):
    server.set_resources("rds", {"r": routes(config.virtual_host(says("own"), domains=["own"]))})
    server.set_resources("vhds", vhosts(vhost("a", "one"), vhost("b", "two")))
    proxy = run(binary)
    assert ask(proxy, "a") == "one"
    for taken in ("b", "own"):
        server.update("vhds", "r/a", vhost("a", "three", "a", taken))
        assert "omain" in server.wait_nack("vhds")
        assert [ask(proxy, h) for h in ("a", "b", "own")] == ["one", "two", "own"]


def test_vhosts__faulty_ones_among_good_ones__the_good_ones_serve(server, run):
    server.set_resources("rds", {"r": routes()})
    server.set_resources("vhds", vhosts(vhost("a", "one"), vhost("b", "two")))
    proxy = run()
    half = {"name": "r/c", "domains": ["c"], "routes": [{"match": {}, "direct_response": {"status": 200}}]}
    # c is half; d wants b's domain, which b gives up
    server.set_resources("vhds", vhosts(half, vhost("d", "four", "b"), vhost("b", "five", "b2"), vhost("a", "six")))
    error = server.wait_nack("vhds")
    assert "r/c" in error and "r/d" not in error
    wait_until(lambda: [ask(proxy, h) for h in "abc"] == ["six", "four", 404], "what is good")
    assert ask(proxy, "b2") == "five"
    server.update("vhds", "r/e", vhost("e", "e", "b2"))
    error = server.wait_nack("vhds")
    assert "r/e" in error and "b2" in error
    assert ask(proxy, "b2") == "five"


def test_vhosts__moved_by_two_updates_that_collide__the_old_ones_stay(server, run):
    server.set_resources("rds", {"r": routes()})
    server.set_resources("vhds", vhosts(vhost("a", "one"), vhost("b", "two"), vhost("c", "three")))
    proxy = run()
    # a and c want the same one, so both stay what they were, and b can't have a's
    server.set_resources("vhds", vhosts(vhost("a", "x", "c"), vhost("b", "y", "a"), vhost("c", "z", "c")))
    error = server.wait_nack("vhds")
    assert "domains must be unique" in error
    assert [ask(proxy, h) for h in "abc"] == ["one", "two", "three"]


def test_vhosts__of_a_configuration_that_comes_later__are_kept_for_it(server, start_proxy):
    source = ads()
    server.set_resources("rds", {"r": routes(source=source), "q": {**routes(source=source), "name": "q"}})
    other = {"name": "q/a", "domains": ["a"], "routes": says("other")}
    server.set_resources("vhds", {**vhosts(vhost("a", "one")), "q/a": other, "nobody/x": dict(other, name="nobody/x"), "bare": other})
    server.set_resources("lds", {"http": listener()})
    proxy = start_proxy(ads_bootstrap(server.port, delta=True, cds=False))
    server.wait_ack("vhds")
    assert ask(proxy, "a") == "one"
    server.update("lds", "late", listener(name="late", route="q"))
    address = proxy.wait_listener("late")
    assert fetch(address, host="a").body == b"other"
    server.update("vhds", "q/a", {**other, "routes": says("changed")})
    wait_until(lambda: fetch(address, host="a").body == b"changed", "the change of the later one")
    assert ask(proxy, "a") == "one"
    assert sum(r.kind == "vhds" and not r.nonce for r in server.requests) == 1


def test_vhosts__without_delta__the_configuration_is_refused(server, start_proxy):
    server.set_resources("rds", {"r": routes(source=ads())})
    start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[listener()]), wait=False)
    assert "delta" in server.wait_nack("rds")


def test_vhosts__too_late__served_without(server, run, binary):
    server.hold("vhds")
    server.set_resources("rds", {"r": routes(config.virtual_host(says("own"), domains=["own"]),
                                             source=separate(delta=True, initial_fetch_timeout="0.3s"))})
    server.set_resources("vhds", vhosts(vhost("a", "one")))
    proxy = run(binary)
    assert (ask(proxy, "own"), ask(proxy, "a")) == ("own", 404)
    server.release("vhds")
    wait_until(lambda: ask(proxy, "a") == "one", "the virtual host")


@pytest.mark.threads
def test_vhosts__change_and_go_under_load__no_request_fails(server, run):
    to = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "0"}}}]
    server.set_resources("rds", {"r": routes()})
    server.set_resources("vhds", vhosts(vhost("a", "", routes=to), vhost("b", "b")))
    proxy = run(concurrency=2)
    stop, faults, looks = threading.Event(), [], [0] * 3

    def load(index):
        last = 0
        while not stop.is_set():
            said, other = ask(proxy, "a"), ask(proxy, "b")
            if not str(said).isdigit() or int(said) < last or int(said) == 404 or other not in ("b", 404):
                faults.append((said, other, last))
                return
            last = int(said)
            looks[index] += 1
    threads = [threading.Thread(target=load, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for n in range(1, 41):
        server.set_resources("vhds", vhosts(vhost("a", str(n)), *([vhost("b", "b")] if n % 2 else [])))
        server.wait_ack("vhds")
    done = list(looks)
    wait_until(lambda: faults or all(now > before for now, before in zip(looks, done)), "requests after the last change")
    stop.set()
    for t in threads:
        t.join()
    assert not faults
    assert ask(proxy, "a") == "40"


def test_vhosts__a_restart_without_a_server__serves_what_was_kept(server, start_proxy, tmp_path):
    cache = {"WEFT_DISCOVERY_CACHE": str(tmp_path / "cache")}
    server.set_resources("rds", {"r": routes(source=ads())})
    server.set_resources("vhds", vhosts(vhost("a", "one"), vhost("b", "two")))
    bootstrap = ads_bootstrap(server.port, delta=True, lds=False, cds=False, listeners=[listener()])
    first = start_proxy(bootstrap, env=cache)
    assert ask(first, "a") == "one"
    first.stop()
    server.go_away()
    proxy = start_proxy(bootstrap, env=cache)
    wait_until(lambda: [ask(proxy, h) for h in "ab"] == ["one", "two"], "what was kept")
    server.set_resources("vhds", vhosts(vhost("a", "three")))
    server.come_back()
    wait_until(lambda: [ask(proxy, h) for h in "ab"] == ["three", 404], "what the server says now")


# ---- on demand ----

def test_on_demand__asked_for_by_name__the_request_goes_on(server, demand, binary):
    server.set_resources("vhds", vhosts(vhost("a", "one"), vhost("b", "two")))
    proxy = demand(binary)
    assert ask(proxy, "A") == "one"
    asked = server.wait_request("vhds", lambda r: r.message.resource_names_subscribe)
    assert list(asked.message.resource_names_subscribe) == ["r/a"]
    assert ask(proxy, "a") == "one"
    server.update("vhds", "r/a", vhost("a", "three"))
    wait_until(lambda: ask(proxy, "a") == "three", "the change of what was asked for")
    assert server.names("vhds") == {"r/a"}
    assert ask(proxy, "a", method="POST", body=b"x" * 100000) == "three"
    assert ask(proxy, "b", method="POST", body=b"x" * 100000) == "two"


def test_on_demand__by_an_alias__found(server, demand, binary):
    server.set_resources("vhds", vhosts(vhost("a", "one", "a", "www.a")), aliases={"r/a": ["r/www.a"]})
    proxy = demand(binary)
    assert ask(proxy, "www.a") == "one"
    assert ask(proxy, "a") == "one"
    assert server.names("vhds") == {"r/www.a"}


def test_on_demand__unknown__404_and_asked_again(server, demand):
    server.set_resources("vhds", {})
    proxy = demand()
    assert ask(proxy, "a") == 404
    wait_until(lambda: server.names("vhds") == set(), "that it isn't asked for any longer")
    server.set_resources("vhds", vhosts(vhost("a", "one")))
    assert ask(proxy, "a") == "one"
    server.set_resources("vhds", {})
    wait_until(lambda: ask(proxy, "a") == 404, "its end")
    server.set_resources("vhds", vhosts(vhost("a", "two")))
    wait_until(lambda: ask(proxy, "a") == "two", "its return")


def test_on_demand__an_alias_without_content__404(server, demand, binary):
    server.tells_missing = False
    server.set_resources("vhds", {})
    proxy = demand(binary)
    said = []
    asking = threading.Thread(target=lambda: said.append(ask(proxy, "a")))
    asking.start()
    server.wait_request("vhds", lambda r: "r/a" in r.message.resource_names_subscribe)
    server.send("vhds", discovery_pb2.DeltaDiscoveryResponse(
        type_url=type_url("vhds"), system_version_info="9", resources=[discovery_pb2.Resource(name="r/a", aliases=["r/a"], version="9")]))
    asking.join()
    assert said == [404]
    server.wait_ack("vhds")


def test_on_demand__no_answer__the_stream_s_time_ends_it(server, demand):
    server.tells_missing = False
    server.set_resources("vhds", {})
    proxy = demand(hcm={"stream_idle_timeout": "0.3s"})
    assert ask(proxy, "a") in (408, 504)
    wait_until(lambda: server.names("vhds") == set(), "that nobody waits for it any longer")
    with connect(proxy.address()) as stream:
        stream.send(request_bytes("GET", "/", [], b"", "gone"))
        wait_until(lambda: server.names("vhds") == {"r/gone"}, "the question")
    wait_until(lambda: server.names("vhds") == set(), "that the client's end ended it")


@pytest.mark.threads
def test_on_demand__many_at_once_on_two_workers__all_are_answered(server, demand):
    server.set_resources("vhds", vhosts(*[vhost(f"h{i}", f"said {i}") for i in range(0, 40, 2)]))
    proxy = demand(concurrency=2)
    said = {}
    threads = [threading.Thread(target=lambda i=i: said.__setitem__(i, ask(proxy, f"h{i % 40}"))) for i in range(80)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert said == {i: f"said {i % 40}" if i % 2 == 0 else 404 for i in range(80)}


def test_on_demand__end_while_requests_wait__orderly(server, demand):
    server.tells_missing = False
    server.set_resources("vhds", {})
    proxy = demand()
    with connect(proxy.address()) as stream:
        stream.send(request_bytes("GET", "/", [], b"", "a"))
        wait_until(lambda: server.names("vhds") == {"r/a"}, "the question")
        server.set_resources("rds", {"r": {"name": "r", "virtual_hosts": []}})
        assert read_response(stream, "GET").status == 404
        server.set_resources("rds", {"r": routes()})
        server.wait_ack("rds")
        stream.send(request_bytes("GET", "/", [], b"", "b"))
        wait_until(lambda: server.names("vhds") == {"r/b"}, "the next question")
        proxy.stop()


def test_on_demand__clusters__refused_by_name(demand, server, start_proxy):
    wrong = {**ON_DEMAND, "typed_config": {**ON_DEMAND["typed_config"], "odcds": {"source": ads()}}}
    server.set_resources("lds", {"http": listener(http_filters=[wrong, ROUTER])})
    start_proxy(ads_bootstrap(server.port, delta=True, cds=False))
    assert "odcds" in server.wait_nack("lds")
