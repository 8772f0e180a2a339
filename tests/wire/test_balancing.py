# SPDX-License-Identifier: Apache-2.0
"""Balancing: tables of hash policies as Envoy's, host by host; priorities, localities and subsets as
Envoy shares them out; hosts that fail fast; evenness over workers."""
import http.client
import threading
from collections import Counter

import pytest

from lib import config, http1
from lib.origin import Origin
from lib.pairs import Two
from lib.proxy import weft

LB = config.TYPE + "extensions.load_balancing_policies."


@pytest.fixture
def start_two(start_proxy):
    return lambda bootstrap, **options: Two(start_proxy, bootstrap, **options)


@pytest.fixture
def make_named(started):
    def make(count, status=200):
        made = []
        for i in range(count):
            origin = Origin(default=http1.response_bytes(status, body=str(i).encode()))
            made.append(started.add(origin, origin.close))
        return made
    return make


def endpoint(origin, weight=None, health=None, **lb):
    made = {"endpoint": {"address": config.socket_address("127.0.0.1", origin.port)}}
    if weight:
        made["load_balancing_weight"] = weight
    if health:
        made["health_status"] = health
    if lb:
        made["metadata"] = {"filter_metadata": {"envoy.lb": lb}}
    return made


def group(*endpoints, priority=0, zone=None, weight=None):
    made = {"lb_endpoints": list(endpoints), "priority": priority}
    if zone:
        made["locality"] = {"region": "r", "zone": zone}
    if weight:
        made["load_balancing_weight"] = weight
    return made


def cluster(*groups, policy=None, **more):
    return {"name": "origin", "type": "STATIC", "connect_timeout": "2s", **more,
            "load_assignment": {"cluster_name": "origin", "endpoints": list(groups), **({"policy": policy} if policy else {})}}


def bootstrap(made, **action):
    hosts = [config.virtual_host([config.route(**action)])]
    return config.bootstrap([config.http_listener(virtual_hosts=hosts)], [made])


BY_HEADER = {"hash_policy": [{"header": {"header_name": "x-key"}}]}


def ask(proxy, headers):
    """One answer's body for each list of headers, over one connection."""
    host, port = proxy.address()
    client = http.client.HTTPConnection(host, port, timeout=30)
    got = []
    for line in headers:
        client.request("GET", "/", headers=dict(line))
        answer = client.getresponse()
        got.append((answer.status, answer.read().decode()) if answer.status != 200 else answer.read().decode())
    client.close()
    return got


def keys(count):
    return [[("x-key", f"key-{i}")] for i in range(count)]


def extension(name, kind, **fields):
    return {"policies": [{"typed_extension_config": {"name": name, "typed_config": {"@type": LB + kind, **fields}}}]}


HASH_POLICIES = {
    "ring": {"lb_policy": "RING_HASH"},
    "ring-small": {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 7, "maximum_ring_size": 23}},
    "ring-murmur": {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"hash_function": "MURMUR_HASH_2"}},
    "ring-large": {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 100000}},
    "ring-extension": {"load_balancing_policy": extension("x", "ring_hash.v3.RingHash", minimum_ring_size=2000)},
    "maglev": {"lb_policy": "MAGLEV"},
    "maglev-small": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 251}},
    "maglev-extension": {"load_balancing_policy": extension("x", "maglev.v3.Maglev", table_size=1009)},
    "maglev-bounded": {"lb_policy": "MAGLEV", "common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 150}}},
}


@pytest.mark.parametrize("name", HASH_POLICIES)
def test_hash_policies__thousand_keys__same_host_as_envoy(start_two, make_named, name):
    origins = make_named(7)
    eps = [endpoint(o, weight) for o, weight in zip(origins, (1, 2, 3, 5, 8, 13, 1))]
    eps[5]["metadata"] = {"filter_metadata": {"envoy.lb": {"hash_key": "somebody"}}}
    two = start_two(bootstrap(cluster(group(*eps), **HASH_POLICIES[name]), **BY_HEADER))
    chosen = two.same(lambda proxy: ask(proxy, keys(1000)))
    assert len(set(chosen)) > 3


@pytest.mark.parametrize("policy", ("RING_HASH", "MAGLEV"))
def test_hash_policies__localities_and_priorities__same_host_as_envoy(start_two, make_named, policy):
    a, b, c, d, e, f = make_named(6)
    made = cluster(group(endpoint(a, 3), endpoint(b), zone="z2", weight=2), group(endpoint(c), endpoint(d, health="UNHEALTHY"), zone="z1", weight=5),
                   group(endpoint(e), endpoint(f), priority=1, zone="z1", weight=1),
                   lb_policy=policy, common_lb_config={"locality_weighted_lb_config": {}}, policy={"overprovisioning_factor": 100})
    two = start_two(bootstrap(made, **BY_HEADER))
    assert len(set(two.same(lambda proxy: ask(proxy, keys(600))))) == 5


# ---- shares ----

def shares(proxy, count, headers=()):
    return Counter(ask(proxy, [headers] * count))


def close_to(counts, expected, total):
    """Within four standard deviations (and two more for rounding)."""
    for name, part in expected.items():
        sigma = (total * part * (1 - part)) ** 0.5
        assert abs(counts[name] - total * part) <= 4 * sigma + 2, (counts, expected)
    assert sum(counts.values()) == total, counts


def both(two, expected, total=1000):
    for proxy in (two.envoy, two.weft):
        close_to(shares(proxy, total), expected, total)


def test_locality_weights__shares_follow_them(start_two, make_named):
    a, b, c = make_named(3)
    two = start_two(bootstrap(cluster(group(endpoint(a), endpoint(b), zone="z1", weight=1), group(endpoint(c), zone="z2", weight=3),
                                      common_lb_config={"locality_weighted_lb_config": {}})))
    both(two, {"0": .125, "1": .125, "2": .75})


def test_wrr_locality__over_client_side_weights__the_same(start_two, make_named):
    a, b, c = make_named(3)
    policy = extension("x", "wrr_locality.v3.WrrLocality",
                       endpoint_picking_policy=extension("y", "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"))
    two = start_two(bootstrap(cluster(group(endpoint(a), endpoint(b), zone="z1", weight=1), group(endpoint(c), zone="z2", weight=3),
                                      load_balancing_policy=policy)))
    both(two, {"0": .125, "1": .125, "2": .75})


def test_locality_weights__half_of_a_locality_is_ill__gets_less(start_two, make_named):
    a, b, c = make_named(3)
    two = start_two(bootstrap(cluster(group(endpoint(a), endpoint(b, health="UNHEALTHY"), zone="z1", weight=1),
                                      group(endpoint(c), zone="z2", weight=1),
                                      common_lb_config={"locality_weighted_lb_config": {}})))
    both(two, {"0": .7 / 1.7, "2": 1 / 1.7})


def test_priorities__spill_over__as_documented(start_two, make_named):
    a, b, c = make_named(3)
    two = start_two(bootstrap(cluster(group(endpoint(a), endpoint(b, health="UNHEALTHY")), group(endpoint(c), priority=1))))
    both(two, {"0": .7, "2": .3})


def test_panic__all_priorities__by_their_sizes(start_two, make_named):
    a, b, c, d = make_named(4)
    ill = {"health": "UNHEALTHY"}
    two = start_two(bootstrap(cluster(group(endpoint(a, **ill), endpoint(b, **ill), endpoint(c, **ill)), group(endpoint(d, **ill), priority=1))))
    both(two, {"0": .25, "1": .25, "2": .25, "3": .25})


def test_least_request__weights__in_proportion(start_two, make_named):
    a, b = make_named(2)
    two = start_two(bootstrap(cluster(group(endpoint(a, 1), endpoint(b, 3)), lb_policy="LEAST_REQUEST")))
    both(two, {"0": .25, "1": .75})


# ---- subsets ----

def subset_bootstrap(origins, subset, routes, **more):
    made = cluster(group(*[endpoint(o, **lb) for o, lb in origins]), lb_subset_config=subset, **more)
    hosts = [config.virtual_host([
        {"match": {"prefix": "/", "headers": [{"name": "x-route", "string_match": {"exact": name}}]},
         "route": {"cluster": "origin", "metadata_match": {"filter_metadata": {"envoy.lb": match}}}}
        for name, match in routes.items()] + [config.route()])]
    return config.bootstrap([config.http_listener(virtual_hosts=hosts)], [made])


SUBSETS = {
    "none": {"fallback_policy": "NO_FALLBACK"},
    "any": {"fallback_policy": "ANY_ENDPOINT"},
    "default": {"fallback_policy": "DEFAULT_SUBSET", "default_subset": {"version": "1"}},
    "panic": {"fallback_policy": "DEFAULT_SUBSET", "default_subset": {"version": "9"}, "panic_mode_any": True},
    "list": {"fallback_policy": "NO_FALLBACK", "list_as_any": True},
    "fallback-list": {"fallback_policy": "NO_FALLBACK", "metadata_fallback_policy": "FALLBACK_LIST"},
}


@pytest.mark.parametrize("name", SUBSETS)
def test_subset__each_fallback__same_hosts_as_envoy(start_two, make_named, name):
    origins = make_named(4)
    lbs = ({"version": "1", "stage": "prod"}, {"version": "1", "stage": "dev"}, {"version": "2", "stage": "prod"},
           {"version": ["3", "4"], "stage": "prod", "n": 7})
    selectors = [{"keys": ["version"]}, {"keys": ["stage", "version"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["version"]},
                 {"keys": ["n"], "fallback_policy": "ANY_ENDPOINT"}, {"keys": ["stage"], "fallback_policy": "DEFAULT_SUBSET"}]
    routes = {"v1": {"version": "1"}, "v2": {"version": "2"}, "v4": {"version": "4"}, "v5": {"version": "5"}, "both": {"version": "1", "stage": "dev"},
              "keys": {"version": "2", "stage": "dev"}, "number": {"n": 7}, "wrong": {"n": "7"}, "stage": {"stage": "x"},
              "unknown": {"other": "1"}, "list": {"fallback_list": [{"version": "7"}, {"version": "2"}]}}
    subset = {"default_subset": {"version": "1"}, **SUBSETS[name], "subset_selectors": selectors}
    two = start_two(subset_bootstrap(list(zip(origins, lbs)), subset, routes))

    def reached(proxy):
        got = {route: sorted(set(map(str, ask(proxy, [[("x-route", route)]] * 12)))) for route in routes}
        got["plain"] = sorted(set(map(str, ask(proxy, [[]] * 12))))
        return got
    two.same(reached)
    two.same_stats(r"^cluster\.origin\.lb_subsets_(selected|fallback|fallback_panic)$")


def test_override_host__header__names_the_host(start_two, make_named):
    origins = make_named(3)
    policy = extension("x", "override_host.v3.OverrideHost", override_host_sources=[{"header": "x-host"}],
                       fallback_policy=extension("y", "round_robin.v3.RoundRobin"))
    two = start_two(bootstrap(cluster(group(*[endpoint(o) for o in origins]), load_balancing_policy=policy)))
    wanted = [[("x-host", f"127.0.0.1:{origins[i].port}")] for i in (2, 0, 1, 1)]
    assert two.same(lambda proxy: ask(proxy, wanted)) == ["2", "0", "1", "1"]
    for proxy in (two.envoy, two.weft):
        assert len(shares(proxy, 12, [("x-host", "10.0.0.1:80")])) == 3


# ---- ours ----

@pytest.mark.weft_only
@pytest.mark.parametrize("policy", ("ROUND_ROBIN", "LEAST_REQUEST"))
def test_fails_fast__one_of_three__gets_less_than_its_share(start_proxy, make_named, policy):
    a, b = make_named(2)
    (bad,) = make_named(1, status=503)
    proxy = start_proxy(bootstrap(cluster(group(endpoint(a), endpoint(b), endpoint(bad)), lb_policy=policy)), binary=weft())
    got = shares(proxy, 300)
    failed = sum(n for answer, n in got.items() if isinstance(answer, tuple))
    assert 0 < failed < 100, got


@pytest.mark.weft_only
@pytest.mark.parametrize("policy", ("ROUND_ROBIN", "LEAST_REQUEST"))
def test_workers__eight_and_three_hosts__even_within_a_tenth(start_proxy, make_named, policy):
    origins = make_named(3)
    proxy = start_proxy(bootstrap(cluster(group(*[endpoint(o) for o in origins]), lb_policy=policy)), binary=weft(), concurrency=8)
    got, lock = Counter(), threading.Lock()

    def work():
        for _ in range(5):
            mine = shares(proxy, 125)
            with lock:
                got.update(mine)
    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got.values()) == 10000
    assert max(got.values()) <= 1.1 * min(got.values()), got


@pytest.mark.weft_only
def test_client_side_weights__load_reports__lighter_host_gets_more(start_proxy, started):
    origins = []
    for i, load in enumerate(("TEXT cpu_utilization=0.2,rps_fractional=100", 'JSON {"cpuUtilization": 0.8, "rpsFractional": 100}')):
        origin = Origin(default=http1.response_bytes(200, headers=[("endpoint-load-metrics", load)], body=str(i).encode()))
        origins.append(started.add(origin, origin.close))
    policy = extension("x", "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
                       blackout_period="0s", weight_update_period="0.1s")
    proxy = start_proxy(bootstrap(cluster(group(*[endpoint(o) for o in origins]), load_balancing_policy=policy)), binary=weft())
    from lib.wait import wait_until
    wait_until(lambda: shares(proxy, 100)["0"] > 75, "weights by load")
    close_to(shares(proxy, 500), {"0": .8, "1": .2}, 500)


# ---- zones ----

def test_zone_aware__half_of_the_local_zone_has_hosts__shares_as_envoy(start_two, make_named):
    """This proxy's zone has half of the clients and a third of the hosts: two thirds stay, the rest goes where hosts are to spare."""
    a, b, c, d, e, f = make_named(6)
    made = cluster(group(endpoint(a), endpoint(b), zone="z1"), group(endpoint(c), endpoint(d), endpoint(e), endpoint(f), zone="z2"))
    local = {**cluster(group(endpoint(a), zone="z1"), group(endpoint(c), zone="z2")), "name": "local"}
    local["load_assignment"]["cluster_name"] = "local"
    bootstrap_of = config.bootstrap([config.http_listener()], [local, made], cluster_manager={"local_cluster_name": "local"},
                                    node={"id": "n", "cluster": "local", "locality": {"region": "r", "zone": "z1"}})
    two = start_two(bootstrap_of)
    both(two, {"0": 1 / 3, "1": 1 / 3, "2": 1 / 12, "3": 1 / 12, "4": 1 / 12, "5": 1 / 12}, 1200)


@pytest.mark.parametrize("percent", (100, 50))
def test_drop_overloads__part_or_all__answered_with_503(start_two, make_named, percent):
    (a,) = make_named(1)
    drops = [{"category": "x", "drop_percentage": {"numerator": percent}}]
    two = start_two(bootstrap(cluster(group(endpoint(a)), policy={"drop_overloads": drops})))
    answers = two.same(lambda proxy: sorted(map(str, set(ask(proxy, [[]] * 60)))))
    assert len(answers) == (1 if percent == 100 else 2)


# ---- nobody ----

def test_panic__disabled_and_nobody_well__503(start_two, make_named):
    (a,) = make_named(1)
    two = start_two(bootstrap(cluster(group(endpoint(a, health="UNHEALTHY")), common_lb_config={"healthy_panic_threshold": {"value": 0}})))
    assert two.same(lambda proxy: ask(proxy, [[]]))[0][0] == 503
