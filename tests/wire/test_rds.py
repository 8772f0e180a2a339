# SPDX-License-Identifier: Apache-2.0
"""Routes and HTTP filters by discovery: what comes is served, changes under load without one wrong answer, a faulty one is
refused while the old one serves, and a listener waits for what it needs. Where cheap, Envoy on the same bytes.
"""
import threading

import pytest

from lib import config
from lib.ads_server import AdsServer, ads, ads_bootstrap, separate
from lib.http1 import fetch
from lib.proxy import envoy, weft
from lib.wait import wait_until

MUTATION = config.TYPE + "extensions.filters.http.header_mutation.v3.HeaderMutation"
FAULT = config.TYPE + "extensions.filters.http.fault.v3.HTTPFault"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": config.TYPE + "extensions.filters.http.router.v3.Router"}}


def says(text, status=200):
    return {"match": {"prefix": "/"}, "direct_response": {"status": status, "body": {"inline_string": text}}}


def routes(text, name="r", **more):
    return {"name": name, "virtual_hosts": [config.virtual_host([says(text)])], **more}


def rds_listener(source=None, route="r", **more):
    hcm = config.hcm(**more)
    del hcm["typed_config"]["route_config"]
    hcm["typed_config"]["rds"] = {"route_config_name": route, "config_source": source or ads()}
    return config.listener("http", hcm)


def mutation(value):
    option = {"append": {"header": {"key": "x-said", "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return {"@type": MUTATION, "mutations": {"response_mutations": [option]}}


def extension(value, name="said"):
    return {"name": name, "typed_config": mutation(value)}


def filter_listener(discovery):
    place = {"name": "said", "config_discovery": {"config_source": ads(), "type_urls": [MUTATION], **discovery}}
    return config.http_listener(virtual_hosts=[config.virtual_host([says("here")])], http_filters=[place, ROUTER])


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


@pytest.fixture(params=["weft", "envoy"])
def binary(request):
    return {"weft": weft, "envoy": envoy}[request.param]()


def body_of(proxy):
    return fetch(proxy.address()).body.decode()


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_routes__come_change_and_are_refused__the_last_good_ones_serve(server, start_proxy, binary, delta):
    server.set_resources("rds", {"r": routes("one")})
    proxy = start_proxy(ads_bootstrap(server.port, delta=delta, lds=False, cds=False, listeners=[rds_listener()]), binary=binary)
    assert body_of(proxy) == "one"
    server.set_resources("rds", {"r": routes("two")})
    wait_until(lambda: body_of(proxy) == "two", "the second table")
    dump = next(d for d in proxy.config_dump()["configs"] if d["@type"].endswith("v3.RoutesConfigDump"))
    assert [d["route_config"]["name"] for d in dump["dynamic_route_configs"]] == ["r"]
    assert dump["dynamic_route_configs"][0]["route_config"]["virtual_hosts"][0]["routes"][0]["direct_response"]["body"] \
        == {"inline_string": "two"}
    bad = routes("three")
    bad["virtual_hosts"].append(config.virtual_host([says("four")], name="other"))
    server.set_resources("rds", {"r": bad})
    assert "omain" in server.wait_nack("rds")
    assert body_of(proxy) == "two"
    stats = proxy.stats("rds")
    assert stats["http.in.rds.r.config_reload"] == 2
    assert stats["http.in.rds.r.update_success"] == 2
    assert stats["http.in.rds.r.update_rejected"] == 1


def test_routes__too_late__served_without(server, start_proxy, binary):
    late = separate(initial_fetch_timeout="0.3s")
    proxy = start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[rds_listener(late)]), binary=binary)
    assert fetch(proxy.address()).status == 404
    server.set_resources("rds", {"r": routes("at last")})
    wait_until(lambda: fetch(proxy.address()).status == 200, "routes")


def test_routes__unknown_cluster__answered_until_it_comes(server, start_proxy, binary, origin):
    server.set_resources("cds", {})
    server.set_resources("rds", {"r": {"name": "r", "virtual_hosts": [config.virtual_host([
        {"match": {"prefix": "/"}, "route": {"cluster": "later", "cluster_not_found_response_code": "NOT_FOUND"}}])]}})
    proxy = start_proxy(ads_bootstrap(server.port, lds=False, listeners=[rds_listener()]), binary=binary)
    assert fetch(proxy.address()).status == 404
    server.set_resources("cds", {"later": config.cluster("later", origin.port)})
    wait_until(lambda: fetch(proxy.address()).status == 200, "the cluster")


def scoped_listener():
    hcm = config.hcm()
    del hcm["typed_config"]["route_config"]
    hcm["typed_config"]["scoped_routes"] = {
        "name": "scopes", "rds_config_source": ads(),
        "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "x-scope", "index": 0}}]},
        "scoped_route_configurations_list": {"scoped_route_configurations": [
            {"name": n, "route_configuration_name": n, "key": {"fragments": [{"string_key": n}]}} for n in ("a", "b")]}}
    return config.listener("http", hcm)


def test_scopes__their_routes_by_discovery__each_changes_by_itself(server, start_proxy):
    server.set_resources("rds", {"a": routes("one", "a"), "b": routes("two", "b")})
    proxy = start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[scoped_listener()]))

    def ask(scope):
        return fetch(proxy.address(), headers=[("x-scope", scope)]).body.decode()
    wait_until(lambda: (ask("a"), ask("b")) == ("one", "two"), "both scopes")
    server.set_resources("rds", {"a": routes("three", "a"), "b": routes("two", "b")})
    wait_until(lambda: (ask("a"), ask("b")) == ("three", "two"), "the change of one")
    assert fetch(proxy.address(), headers=[("x-scope", "c")]).status == 404


def test_routes__change_under_load__no_request_fails_or_goes_back(server, start_proxy):
    server.set_resources("rds", {"r": routes("0")})
    proxy = start_proxy(ads_bootstrap(server.port, delta=True, lds=False, cds=False, listeners=[rds_listener()]), concurrency=2)
    stop, faults, looks = threading.Event(), [], [0] * 3

    def ask(index):
        last = 0
        while not stop.is_set():
            answer = fetch(proxy.address())
            if answer.status != 200 or int(answer.body) < last:
                faults.append((answer.status, answer.body, last))
                return
            last = int(answer.body)
            looks[index] += 1
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for n in range(1, 41):
        server.set_resources("rds", {"r": routes(str(n))})
        server.wait_ack("rds")
    done = list(looks)
    wait_until(lambda: faults or all(now > before for now, before in zip(looks, done)), "requests after the last change")
    stop.set()
    for t in threads:
        t.join()
    assert not faults
    assert body_of(proxy) == "40"
    proxy.wait_stat("http.in.rds.r.config_reload", 41)


def test_filter__comes_changes_and_is_refused__new_requests_see_it(server, start_proxy, binary):
    server.set_resources("ecds", {"said": extension("one")})
    proxy = start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[filter_listener({})]), binary=binary)

    def said():
        return fetch(proxy.address()).get("x-said")
    assert said() == "one"
    server.set_resources("ecds", {"said": extension("two")})
    wait_until(lambda: said() == "two", "the second version")
    server.set_resources("ecds", {"said": {"name": "said", "typed_config": {"@type": FAULT}}})
    assert "type" in server.wait_nack("ecds")
    assert said() == "two"
    stats = proxy.stats("extension_config_discovery")
    assert stats["extension_config_discovery.http_filter.said.config_reload"] == 2
    assert stats["extension_config_discovery.http_filter.said.config_fail"] == 1


def test_filter__default__serves_until_another_comes(server, start_proxy, binary):
    listener = filter_listener({"default_config": mutation("default"), "apply_default_config_without_warming": True})
    proxy = start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[listener]), binary=binary)
    assert fetch(proxy.address()).get("x-said") == "default"
    server.set_resources("ecds", {"said": extension("other")})
    wait_until(lambda: fetch(proxy.address()).get("x-said") == "other", "what was sent")


def test_filter__missing__requests_are_refused(server, start_proxy, binary):
    listener = filter_listener({"config_source": separate(initial_fetch_timeout="0.3s")})
    proxy = start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[listener]), binary=binary)
    assert fetch(proxy.address()).status == 500
    server.set_resources("ecds", {"said": extension("one")})
    wait_until(lambda: fetch(proxy.address()).status == 200, "the filter")
