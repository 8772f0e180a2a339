# SPDX-License-Identifier: Apache-2.0
"""Listeners that a real istiod sent are read: what is refused is refused by name, and the rest serves."""
import glob
import json
import os
import re

import pytest

from lib.ads_server import AdsServer, ads_bootstrap, resources_of
from lib.wait import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.environ.get("WEFT_ISTIOD_FIXTURES")
FILES = sorted(glob.glob(os.path.join(FOLDER, "*", "*", "lds.*.pb")) if FOLDER else
               glob.glob(os.path.join(HERE, "..", "fixtures", "istiod", "lds.*.pb")))
FILES = [f for f in FILES if "grpc-proxyless" not in f and "ztunnel" not in f]
# What isn't there yet, by what the refusal says.
NOT_YET = [r"internal_listener.* not supported", r"envoy\.filters\.http\.lua .*not supported yet"]


def read(path):
    for is_delta in (True, False):
        try:
            found = resources_of(path, is_delta)
            if found and all(found):
                return found
        except Exception:  # noqa: BLE001 - the other kind of response
            continue
    return {}


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


def unbound(packed):
    """The same listener without a port of its own: several tests run at a time."""
    from envoy.config.listener.v3 import listener_pb2
    message = listener_pb2.Listener.FromString(packed)
    message.bind_to_port.value = False
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("path", FILES, ids=[os.path.relpath(f, os.path.dirname(f)) if not FOLDER else "/".join(f.split("/")[-3:])
                                             for f in FILES])
def test_istiod__its_listeners__are_taken(server, start_proxy, path):
    resources = {name: unbound(packed) for name, packed in read(path).items()}
    if not resources:
        pytest.skip("a gateway that has no listeners yet")
    server.set_resources("lds", resources)
    bootstrap = ads_bootstrap(server.port, cds=False)
    proxy = start_proxy(bootstrap, wait=False)
    proxy.wait_admin()
    wait_until(lambda: proxy.stat("listener_manager.lds.update_success") + proxy.stat("listener_manager.lds.update_rejected"),
               "an answer")
    shown = json.loads(proxy.admin("/config_dump?resource=dynamic_listeners").body)["configs"]
    refused = {one["name"]: one["error_state"]["details"] for one in shown if "error_state" in one}
    unexpected = {name: text for name, text in refused.items() if not any(re.search(known, text) for known in NOT_YET)}
    assert not unexpected
    assert {one["name"] for one in shown} == set(resources)
