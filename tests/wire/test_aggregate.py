# SPDX-License-Identifier: Apache-2.0
"""Aggregate clusters: the priorities of several clusters in one line, as Envoy draws it up."""
import json

import pytest

from lib import config, http1
from lib.origin import Origin, end
from lib.pairs import Two, h1
from lib.proxy import log_lines, run_to_end, weft, envoy
from test_balancing import ask, close_to, endpoint, group, shares

AGGREGATE = config.TYPE + "extensions.clusters.aggregate.v3.ClusterConfig"
ILL = {"health": "UNHEALTHY"}


@pytest.fixture
def start_two(start_proxy):
    return lambda bootstrap, **options: Two(start_proxy, bootstrap, **options)


@pytest.fixture
def make_named(started):
    def make(count, status=200, default=None):
        made = []
        for i in range(count):
            origin = Origin(default=default or http1.response_bytes(status, body=str(i).encode()))
            made.append(started.add(origin, origin.close))
        return made
    return make


def cluster(name, *groups, **more):
    return {"name": name, "type": "STATIC", "connect_timeout": "2s",
            "load_assignment": {"cluster_name": name, "endpoints": list(groups)}, **more}


def aggregate(*names, **more):
    return {"name": "all", "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": {"@type": AGGREGATE, "clusters": list(names)}}, **more}


def bootstrap(clusters, log=None, **action):
    more = {"access_log": [config.file_log(log, text_format="%UPSTREAM_CLUSTER% %RESPONSE_FLAGS%\n")]} if log else {}
    hosts = [config.virtual_host([config.route("all", **action)])]
    return config.bootstrap([config.http_listener(virtual_hosts=hosts, **more)], clusters)


def both(two, expected, total=600):
    for proxy in (two.envoy, two.weft):
        close_to(shares(proxy, total), expected, total)


def test_all_are_well__the_first_takes_it_all(start_two, make_named):
    a, b = make_named(2)
    two = start_two(bootstrap([cluster("one", group(endpoint(a))), cluster("two", group(endpoint(b))), aggregate("one", "two")]))
    assert set(two.same(lambda proxy: ask(proxy, [[]] * 30))) == {"0"}
    two.same_stats(r"^cluster\.(one|two|all)\.(upstream_rq_(total|2xx|completed|200|active|pending_total)|upstream_cx_total|"
                   r"upstream_cx_http1_total|membership_\w+|lb_\w+|internal\.|external\.upstream_rq_(2xx|completed))")


def test_first_is_out__the_second_takes_it_all(start_two, make_named):
    a, b = make_named(2)
    two = start_two(bootstrap([cluster("one", group(endpoint(a, **ILL))), cluster("two", group(endpoint(b))),
                               aggregate("one", "nobody", "two")]))
    assert set(two.same(lambda proxy: ask(proxy, [[]] * 30))) == {"1"}


def test_half_is_ill__spills_over_as_between_priorities(start_two, make_named):
    """The first cluster's two priorities come before the second's; it doesn't panic itself, as its threshold is 0."""
    a, b, c, d, e, f, g = make_named(7)
    calm = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}
    two = start_two(bootstrap([
        cluster("one", group(endpoint(a), endpoint(b, **ILL), endpoint(c, **ILL)),
                group(endpoint(d), endpoint(e, **ILL), endpoint(f, **ILL), priority=1), **calm),
        cluster("two", group(endpoint(g))), aggregate("one", "two")]))
    both(two, {"0": .46, "3": .46, "6": .08})


def test_a_cluster_below_panics__its_part_goes_to_all_of_it(start_two, make_named):
    a, b, c, d = make_named(4)
    two = start_two(bootstrap([cluster("one", group(endpoint(a), endpoint(b, **ILL), endpoint(c, **ILL))),
                               cluster("two", group(endpoint(d))), aggregate("one", "two")]))
    both(two, {"0": .46 / 3, "1": .46 / 3, "2": .46 / 3, "3": .54})


def test_everybody_is_ill__panic_by_sizes(start_two, make_named):
    a, b, c, d = make_named(4)
    two = start_two(bootstrap([cluster("one", group(*[endpoint(o, **ILL) for o in (a, b, c)])), cluster("two", group(endpoint(d, **ILL))),
                               aggregate("one", "two")]))
    both(two, {"0": .25, "1": .25, "2": .25, "3": .25})
    for proxy in (two.envoy, two.weft):
        assert proxy.stat("cluster.one.lb_healthy_panic") + proxy.stat("cluster.two.lb_healthy_panic") == 600


def test_degraded__after_all_the_healthy(start_two, make_named):
    a, b, c = make_named(3)
    two = start_two(bootstrap([cluster("one", group(endpoint(a, health="DEGRADED"), endpoint(b, **ILL))),
                               cluster("two", group(endpoint(c), endpoint(c, **ILL))), aggregate("one", "two")]))
    both(two, {"2": .7, "0": .3})


def test_policies_below__each_its_own(start_two, make_named):
    """A hash policy below gets the request's hash; which priority it is is drawn at random."""
    a, b, c, d = make_named(4)
    two = start_two(bootstrap([cluster("one", group(endpoint(a), endpoint(b), endpoint(d, **ILL)), lb_policy="RING_HASH"),
                               cluster("two", group(endpoint(c)), lb_policy="MAGLEV"), aggregate("one", "two")],
                              hash_policy=[{"header": {"header_name": "x-key"}}]))
    theirs, ours = (ask(proxy, [[("x-key", f"key-{i}")] for i in range(300)]) for proxy in (two.envoy, two.weft))
    assert set(ours) == {"0", "1", "2"}
    assert all(a == b for a, b in zip(theirs, ours) if "2" not in (a, b))


def test_nobody__503(start_two):
    two = start_two(bootstrap([aggregate("missing", "gone")]))
    assert two.same(lambda proxy: ask(proxy, [[]]))[0][0] == 503
    two.same_stats(r"^cluster\.all\.(upstream_cx_none_healthy|upstream_rq_\w+)$")


RETRY = {"retry_on": "5xx", "num_retries": 2, "retry_priority": {
    "name": "envoy.retry_priorities.previous_priorities",
    "typed_config": {"@type": config.TYPE + "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                     "update_frequency": 1}}}


def test_retries__previous_priorities__move_on(start_proxy, make_named, tmp_path):
    bad, = make_named(1, status=503)
    good, = make_named(1)
    log = {}

    def start(bootstrap_of, **options):
        log[options["binary"]] = path = tmp_path / f"log{len(log)}"
        return start_proxy(bootstrap_of(path), **options)
    two = Two(start, lambda path: bootstrap([cluster("one", group(endpoint(bad))), cluster("two", group(endpoint(good))), aggregate("one", "two")],
                                            log=path, retry_policy=RETRY))
    assert two.same(lambda proxy: ask(proxy, [[]] * 5)) == ["0"] * 5
    two.same_stats(r"^cluster\.(one|two|all)\.(upstream_rq_(total|2xx|5xx|completed|retry|retry_success)|retry\.upstream_rq_\w+)$")
    lines = [log_lines(path, 5) for path in log.values()]
    assert lines[0] == lines[1] and lines[0]


def test_breakers__requests_below__retries_here(start_two, make_named):
    """max_requests is the chosen cluster's to enforce."""
    a, = make_named(1)
    closed = {"circuit_breakers": {"thresholds": [{"max_requests": 0}]}}
    two = start_two(bootstrap([cluster("one", group(endpoint(a)), **closed), aggregate("one")]))
    assert two.same(lambda proxy: ask(proxy, [[]]))[0][0] == 503
    two.same_stats(r"^cluster\.(one|all)\.upstream_(rq_(total|pending_overflow|active_overflow|5xx|completed)|cx_\w+_overflow)$")
    two = start_two(bootstrap([cluster("one", group(endpoint(a))), aggregate("one", **closed)]))
    assert two.same(lambda proxy: ask(proxy, [[]])) == ["0"]


def test_resets__counted_below(start_two, make_named):
    a, = make_named(1, default=end)
    two = start_two(bootstrap([cluster("one", group(endpoint(a))), aggregate("one")]))
    assert two.same(lambda proxy: h1(proxy, "POST", body=b"x").status) == 503
    two.same_stats(r"^cluster\.(one|all)\.upstream_(rq_(total|rx_reset|tx_reset|5xx|503|pending_\w+)|cx_(total|destroy\w*|connect_fail))$")


def test_tcp__goes_to_the_chosen_cluster(start_two, make_named):
    a, b = make_named(2)
    two = start_two(config.bootstrap([config.listener("http", config.tcp_proxy("all"))],
                                     [cluster("one", group(endpoint(a, **ILL))), cluster("two", group(endpoint(b))), aggregate("one", "two")]))
    assert two.same(lambda proxy: ask(proxy, [[], []])) == ["1", "1"]
    two.same_stats(r"^cluster\.(one|two|all)\.upstream_cx_(total|active|destroy)$")


@pytest.mark.parametrize("change", [{"lb_policy": "ROUND_ROBIN"}, {"cluster_type": {
    "name": "envoy.clusters.aggregate", "typed_config": {"@type": AGGREGATE, "clusters": []}}}], ids=["policy", "empty"])
def test_wrong__refused_by_both(tmp_path, change):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(bootstrap([{**aggregate("one"), **change}])))
    for binary in filter(None, (envoy(), weft())):
        assert run_to_end(["-c", str(path), "--mode", "validate"], binary=binary)[0] != 0
