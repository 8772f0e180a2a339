# SPDX-License-Identifier: Apache-2.0
"""Balancing policies as extensions, what only they have, and what hosts and filters tell the balancer: both proxies compared."""
import base64
import json
import struct

import pytest

from lib import config, http1
from lib.dns import DnsServer
from lib.origin import Origin
from lib.pairs import Two, chain, h1, http_filter
from lib.proxy import envoy, run_to_end, weft
from lib.wait import wait_until
from test_balancing import BY_HEADER, ask, bootstrap, both, close_to, cluster, endpoint, extension, group, keys, shares
from test_dns import Host, dns_cluster


@pytest.fixture
def start_two(start_proxy):
    return lambda bootstrap, **options: Two(start_proxy, bootstrap, **options)


@pytest.fixture
def make_named(started):
    def make(count, head=()):
        made = []
        for i in range(count):
            origin = Origin(default=http1.response_bytes(200, headers=list(head), body=str(i).encode()))
            made.append(started.add(origin, origin.close))
        return made
    return make


@pytest.mark.parametrize("policy", [
    {"lb_policy": "RING_HASH"}, {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 11, "maximum_ring_size": 97}},
    {"lb_policy": "MAGLEV"}, {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 251}}], ids=["ring", "small-ring", "maglev", "small-maglev"])
def test_tables__their_gauges__as_envoy_shows_them(start_two, make_named, policy):
    eps = [endpoint(o, weight) for o, weight in zip(make_named(4), (1, 2, 3, 7))]
    two = start_two(bootstrap(cluster(group(*eps), **policy), **BY_HEADER))
    two.same(lambda proxy: ask(proxy, keys(3)))
    assert two.same_stats(r"^cluster\.origin\.(ring_hash_lb|maglev_lb)\.")


@pytest.mark.parametrize("policy,expected", [
    (extension("x", "round_robin.v3.RoundRobin"), (.25, .75)), (extension("x", "least_request.v3.LeastRequest", choice_count=3), (.25, .75)),
    (extension("x", "random.v3.Random"), (.5, .5))], ids=["round_robin", "least_request", "random"])
def test_extensions__plain_policies__shares(start_two, make_named, policy, expected):
    """Envoy's RANDOM doesn't look at weights: they are equal there."""
    a, b = make_named(2)
    weights = (1, 3) if expected[0] != .5 else (1, 1)
    two = start_two(bootstrap(cluster(group(*[endpoint(o, w) for o, w in zip((a, b), weights)]), load_balancing_policy=policy)))
    both(two, {"0": expected[0], "1": expected[1]}, 400)


@pytest.mark.parametrize("field", [{"enable_full_scan": True}, {"selection_method": "FULL_SCAN"}])
def test_extensions__full_scan__idle_hosts_all_get_some(start_two, make_named, field):
    two = start_two(bootstrap(cluster(group(*[endpoint(o) for o in make_named(3)]),
                                      load_balancing_policy=extension("x", "least_request.v3.LeastRequest", **field))))
    for proxy in (two.envoy, two.weft):
        assert len(shares(proxy, 120)) == 3


def test_extensions__subset__same_hosts(start_two, make_named):
    policy = extension("x", "subset.v3.Subset", fallback_policy="NO_FALLBACK", subset_selectors=[{"keys": ["v"]}],
                       subset_lb_policy=extension("y", "round_robin.v3.RoundRobin"))
    made = cluster(group(*[endpoint(o, v=str(i % 2)) for i, o in enumerate(make_named(4))]), load_balancing_policy=policy)
    routes = [{"match": {"prefix": "/", "headers": [{"name": "x-v", "string_match": {"exact": v}}]},
               "route": {"cluster": "origin", "metadata_match": {"filter_metadata": {"envoy.lb": {"v": v}}}}} for v in "019"]
    two = start_two(config.bootstrap([config.http_listener(virtual_hosts=[config.virtual_host(routes)])], [made]))
    got = two.same(lambda proxy: {v: sorted(set(map(str, ask(proxy, [[("x-v", v)]] * 12)))) for v in "019"})
    assert got["0"] == ["0", "2"] and got["1"] == ["1", "3"]
    two.same_stats(r"^cluster\.origin\.lb_subsets_selected$")


@pytest.mark.parametrize("kind", ["ring_hash.v3.RingHash", "maglev.v3.Maglev"])
def test_extensions__hash_policy_of_its_own__instead_of_the_routes(start_two, make_named, kind):
    policy = extension("x", kind, consistent_hashing_lb_config={"hash_policy": [{"header": {"header_name": "x-own"}}]})
    two = start_two(bootstrap(cluster(group(*[endpoint(o) for o in make_named(5)]), load_balancing_policy=policy), **BY_HEADER))
    own = [[("x-own", f"key-{i}"), ("x-key", "always")] for i in range(200)]
    assert len(set(two.same(lambda proxy: ask(proxy, own)))) == 5


@pytest.mark.parametrize("child", ["round_robin.v3.RoundRobin", "ring_hash.v3.RingHash"])
def test_wrr_locality__over_another_policy__refused_by_both(make_named, tmp_path, child):
    a, = make_named(1)
    policy = extension("x", "wrr_locality.v3.WrrLocality", endpoint_picking_policy=extension("y", child))
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(bootstrap(cluster(group(endpoint(a)), load_balancing_policy=policy))))
    for binary in filter(None, (envoy(), weft())):
        assert run_to_end(["-c", str(path), "--mode", "validate"], binary=binary)[0] != 0


# ---- zones ----

def zone_bootstrap(hosts, zone_config):
    """hosts: (origin, zone, weight); half of the clients are in this proxy's zone z1."""
    zones = [group(*[endpoint(o, w) for o, z, w in hosts if z == zone], zone=zone) for zone in ("z1", "z2")]
    policy = extension("x", "round_robin.v3.RoundRobin", locality_lb_config={"zone_aware_lb_config": {"min_cluster_size": 1, **zone_config}})
    local = {**cluster(group(endpoint(hosts[0][0]), zone="z1"), group(endpoint(hosts[-1][0]), zone="z2")), "name": "local"}
    local["load_assignment"]["cluster_name"] = "local"
    return config.bootstrap([config.http_listener()], [local, cluster(*zones, load_balancing_policy=policy)],
                            cluster_manager={"local_cluster_name": "local"},
                            node={"id": "n", "cluster": "local", "locality": {"region": "r", "zone": "z1"}})


@pytest.mark.parametrize("zone_config,own", [
    ({}, 2 / 3), ({"locality_basis": "HEALTHY_HOSTS_WEIGHT"}, 1.0), ({"force_local_zone": {"min_size": 1}}, 1.0),
    ({"force_local_zone": {"min_size": 2}}, 2 / 3), ({"force_locality_direct_routing": True}, 1.0)])
def test_zone_aware__by_hosts_by_weight_or_forced(start_two, make_named, zone_config, own):
    """A third of the hosts is in this zone, and half of the weight."""
    a, b, c = make_named(3)
    two = start_two(zone_bootstrap([(a, "z1", 2), (b, "z2", 1), (c, "z2", 1)], zone_config))
    both(two, {"0": own, "1": (1 - own) / 2, "2": (1 - own) / 2}, 400)


# ---- what filters say ----

def set_metadata(space, **value):
    return http_filter("envoy.filters.http.set_metadata", "extensions.filters.http.set_metadata.v3.Config",
                       metadata=[{"metadata_namespace": space, "value": value}])


def test_override_host__dynamic_metadata__names_the_host(start_two, make_named):
    origins = make_named(3)
    policy = extension("x", "override_host.v3.OverrideHost", fallback_policy=extension("y", "round_robin.v3.RoundRobin"),
                       override_host_sources=[{"metadata": {"key": "mine", "path": [{"key": "to"}, {"key": "host"}]}}])
    named = set_metadata("mine", to={"host": f"127.0.0.1:{origins[2].port}"})
    two = start_two(config.bootstrap([config.http_listener(http_filters=chain(named))],
                                     [cluster(group(*[endpoint(o) for o in origins]), load_balancing_policy=policy)]))
    assert two.same(lambda proxy: ask(proxy, [[]] * 6)) == ["2"] * 6


def original_dst(**fields):
    return {"name": "origin", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "2s",
            "original_dst_lb_config": fields}


@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: [text, "127.0.0.1:1"]], ids=["text", "list"])
def test_original_dst__metadata_key__before_the_header(start_two, make_named, wrap):
    a, b = make_named(2)
    made = original_dst(use_http_header=True, metadata_key={"key": "mine", "path": [{"key": "dst"}]})
    named = set_metadata("mine", dst=wrap(f"127.0.0.1:{b.port}"))
    two = start_two(config.bootstrap([config.http_listener(http_filters=chain(named))], [made]))
    header = ("x-envoy-original-dst-host", f"127.0.0.1:{a.port}")
    wrong = ("x-envoy-original-dst-host", "nonsense")
    assert two.same(lambda proxy: ask(proxy, [[], [header], [wrong]])) == ["1", "1", "1"]
    two.same_stats(r"^cluster\.origin\.original_dst_host_invalid$")


def test_original_dst__nobody_says_where__503(start_two):
    """The connection itself was not diverted: going to where it came in would be a loop."""
    two = start_two(config.bootstrap([config.http_listener(http_filters=chain(set_metadata("mine", dst="nonsense")))],
                                     [original_dst(metadata_key={"key": "mine", "path": [{"key": "dst"}]})]))
    assert two.same(lambda proxy: h1(proxy).status) == 503
    two.same_stats(r"^cluster\.origin\.(original_dst_host_invalid|upstream_cx_none_healthy)$")


# ---- what hosts say ----

def report_bin(utilization, rps):
    """xds.data.orca.v3.OrcaLoadReport: cpu_utilization 1, rps_fractional 6."""
    return base64.b64encode(b"\x09" + struct.pack("<d", utilization) + b"\x31" + struct.pack("<d", rps)).decode()


def reporting(started, answers):
    made = [Origin(default=answer) for answer in answers]
    for origin in made:
        started.add(origin, origin.close)
    return made


def chunked_with_trailer(body, name, value):
    return (f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: {name}\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n{name}: {value}\r\n\r\n").encode()


REPORTS = {
    "bin": lambda i, load: http1.response_bytes(200, [("endpoint-load-metrics-bin", report_bin(load, 100))], str(i).encode()),
    "bin-by-prefix": lambda i, load: http1.response_bytes(200, [("endpoint-load-metrics", "BIN " + report_bin(load, 100))], str(i).encode()),
    "trailers": lambda i, load: chunked_with_trailer(str(i), "endpoint-load-metrics", f"TEXT cpu_utilization={load},rps_fractional=100"),
}


@pytest.mark.parametrize("how", REPORTS)
def test_load_reports__each_form__weights_follow(start_two, started, how):
    origins = reporting(started, [REPORTS[how](0, .2), REPORTS[how](1, .8)])
    policy = extension("x", "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", blackout_period="0s", weight_update_period="0.1s")
    trailers = {"explicit_http_config": {"http_protocol_options": {"enable_trailers": True}}}
    options = {config.HTTP_OPTIONS_KEY: {"@type": config.HTTP_OPTIONS, **trailers}}
    two = start_two(bootstrap(cluster(group(*[endpoint(o) for o in origins]), load_balancing_policy=policy, typed_extension_protocol_options=options)))
    for proxy in (two.envoy, two.weft):
        wait_until(lambda p=proxy: shares(p, 100)["0"] > 70, "weights by load")
        close_to(shares(proxy, 400), {"0": .8, "1": .2}, 400)


# ---- hosts that come ----

@pytest.fixture
def two_addresses(started):
    for _ in range(20):
        first = Host("127.0.0.1")
        try:
            second = Host("127.0.0.2", first.port)
        except OSError:
            first.close()
            continue
        for host in (first, second):
            started.add(host, host.close)
        return first.port
    raise AssertionError("no port is free at both addresses")


def with_dns(start_proxy, started, port, binary, **more):
    server = DnsServer(one=["127.0.0.1"])
    started.add(server, server.close)
    proxy = start_proxy(config.bootstrap([config.http_listener()], [dns_cluster(server, port, **more)]), binary=binary)
    wait_until(lambda: ask(proxy, [[]]) == ["127.0.0.1"], "the first host")
    return server, proxy


def test_slow_start__a_host_joins__gets_little_at_first_and_its_share_in_the_end(start_proxy, started, two_addresses):
    """The window is 3 s; the host that was there from the start is beyond it."""
    slow = {"slow_start_config": {"slow_start_window": "3s"}}
    for binary in filter(None, (envoy(), weft())):
        server, proxy = with_dns(start_proxy, started, two_addresses, binary, round_robin_lb_config=slow)
        wait_until(lambda p=proxy: p.stat("server.uptime") >= 4, "the end of the first host's window")
        server.set("one.test", ["127.0.0.1", "127.0.0.2"])
        proxy.wait_stat("cluster.origin.membership_total", 2)
        early = shares(proxy, 60)
        assert early["127.0.0.2"] <= 24, early
        wait_until(lambda p=proxy: 18 <= shares(p, 40)["127.0.0.2"] <= 22, "equal shares")


@pytest.mark.parametrize("close", [True, False])
def test_a_host_joins__connections_end_where_told(start_proxy, started, two_addresses, close):
    for binary in filter(None, (envoy(), weft())):
        server, proxy = with_dns(start_proxy, started, two_addresses, binary, common_lb_config={"close_connections_on_host_set_change": close})
        proxy.wait_stat("cluster.origin.upstream_cx_active", 1)
        server.set("one.test", ["127.0.0.1", "127.0.0.2"])
        proxy.wait_stat("cluster.origin.membership_total", 2)
        proxy.wait_stat("cluster.origin.upstream_cx_active", 0 if close else 1)
