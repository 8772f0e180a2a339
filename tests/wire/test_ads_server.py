# SPDX-License-Identifier: Apache-2.0
"""lib/ads_server.py says what Envoy understands: the server that other tests rest on, held against Envoy itself."""
import os

import pytest

from lib import config, proxy as proxies
from lib.ads_server import AdsServer, ads_bootstrap, describe, separate
from lib.http1 import fetch

BOTH = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


@pytest.fixture
def start_envoy(start_proxy):
    binary = os.environ.get("ENVOY") or proxies.envoy()
    if not binary:
        pytest.skip("no Envoy here")
    return lambda bootstrap, **more: start_proxy(bootstrap, binary=binary, **more)


def eds_cluster(name):
    return {"name": name, "type": "EDS", "connect_timeout": "2s",
            "eds_cluster_config": {"eds_config": {"resource_api_version": "V3", "ads": {}}}}


def fill(server, port):
    server.set_resources("cds", {"origin": eds_cluster("origin")})
    server.set_resources("eds", {"origin": config.cluster("origin", port)["load_assignment"]})
    server.set_resources("lds", {"http": config.http_listener()})


@BOTH
def test_envoy__over_ads__serves_what_the_server_says(server, start_envoy, origin, delta):
    fill(server, origin.port)
    envoy = start_envoy(ads_bootstrap(server.port, delta=delta))
    assert fetch(envoy.wait_listener("http")).status == 200
    for kind in ("cds", "eds", "lds"):
        server.wait_ack(kind)
    server.update("cds", "origin", {**eds_cluster("origin"), "lb_policy": 99})
    assert "99" in server.wait_nack("cds")
    asked = [row for row in describe(server.requests) if row[0] == "eds" and row[2] == "ask"]
    assert asked == [["eds", [["origin"], []] if delta else ["origin"], "ask"]]


@BOTH
def test_envoy__streams_of_their_own__and_a_server_that_returns(server, start_envoy, origin, delta):
    server.set_resources("cds", {"origin": config.cluster("origin", origin.port)})
    server.set_resources("lds", {"http": config.http_listener()})
    envoy = start_envoy(ads_bootstrap(server.port, source=separate(delta=delta)))
    assert fetch(envoy.wait_listener("http")).status == 200
    server.go_away()
    server.set_resources("lds", {"http": config.http_listener(), "more": config.http_listener("more")})
    server.come_back()
    assert fetch(envoy.wait_listener("more")).status == 200
