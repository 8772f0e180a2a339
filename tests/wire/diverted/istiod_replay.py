# SPDX-License-Identifier: Apache-2.0
"""Everything that a real istiod sent to a sidecar or gateway is taken: each type acknowledged, nothing ignored, nothing missing.

Run by ../test_istiod_fixtures.py in a network namespace of its own, for listeners of 0.0.0.0:15001 and the like.
"""
import json
import re
import subprocess

import pytest

from lib import istiod
from lib.wait import wait_until


@pytest.fixture(autouse=True, scope="module")
def network():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "route", "replace", "local", "10.0.0.0/8", "dev", "lo"], check=True)


# Listeners and clusters of the mesh's ambient part that are internal ones, or stand before them (HBONE), are refused by name.
INTERNAL = r"envoy_internal_address: is not supported yet|envoy\.\S*\.internal_(listener|upstream) "
MAY_REFUSE = {"envoyfilter": r"envoy\.filters\.http\.lua .*not supported yet"}

MISSING = {"envoyfilter/reviews-v1-0": {"virtualInbound"}}


def unexpected(name, faults):
    more = MAY_REFUSE.get(name.split("/")[0])
    allowed = re.compile(INTERNAL + ("|" + more if more else ""))
    return [line for kind, text in faults for line in re.split(r"\n|; ", text) if line and (kind == "eds" or not allowed.search(line))]


def dumped(proxy, resource, *keys):
    """Names in a part of the configuration dump."""
    body = json.loads(proxy.admin("/config_dump?resource=" + resource).body)
    found = set()
    for one in body.get("configs", []):
        for key in keys:
            one = one.get(key, {})
        if one:
            found.add(one.get("name") or one.get("cluster_name"))
    return found


@pytest.mark.parametrize("name", [one for one in istiod.proxies() if not one.startswith("ambient/")])
def test_replay__everything_recorded__is_taken(name, tmp_path, started):
    replay = istiod.Replay(name, tmp_path, started, keep_stats=True)
    replay.proxy.wait_admin()
    replay.wait_answered()
    rounds = max(len(istiod.turns(replay.path, kind)) for kind in istiod.KINDS)
    for turn in range(1, rounds):
        replay.load(turn)
    replay.proxy.wait_ready()
    proxy = replay.proxy
    missing = MISSING.get(name, set())
    routes = istiod.final_names(replay.path, "rds") & istiod.wanted_routes(replay.path)
    wait_until(lambda: dumped(proxy, "dynamic_listeners", "active_state", "listener") ==
               istiod.final_names(replay.path, "lds") - missing, "the listeners recorded")
    wait_until(lambda: dumped(proxy, "dynamic_active_clusters", "cluster") == istiod.final_names(replay.path, "cds"),
               "the clusters recorded")
    wait_until(lambda: dumped(proxy, "dynamic_route_configs", "route_config") == routes, "the routes recorded")
    assert not unexpected(name, replay.refused())


def test_replay__of_the_ambient_mesh__what_wants_internal_listeners_is_refused_by_name(tmp_path, started):
    name = "ambient/productpage-v1-0"
    replay = istiod.Replay(name, tmp_path, started, keep_stats=True)
    replay.proxy.wait_admin()
    wait_until(lambda: {kind for kind, _ in replay.refused()} >= {"cds"}, "a refusal")
    assert not unexpected(name, replay.refused())
