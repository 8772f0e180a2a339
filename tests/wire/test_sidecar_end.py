# SPDX-License-Identifier: Apache-2.0
"""The end of a sidecar's pod: the application still calls and is called, then the proxy goes."""
import re
import signal
import time

import pytest

from lib import config, http1
from lib.ads_server import AdsServer
from lib.ca import CA
from lib.http1 import connect, read_response, request_bytes
from lib.mesh_ca import MeshCA, pem
from lib.sidecar import Sidecar, pod
from lib.wait import wait_until

pytestmark = pytest.mark.weft_only

OK = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]


@pytest.fixture
def start(started, tmp_path):
    def start(duration, **env):
        ca = CA(str(tmp_path))
        ads = AdsServer()
        authority = MeshCA(ca, name="localhost")
        started.add(ads, ads.close)
        started.add(authority, authority.close)
        ads.set_resources("lds", {name: config.listener(name, config.hcm(routes=OK), traffic_direction=name.upper())
                                  for name in ("inbound", "outbound")})
        made = Sidecar(tmp_path, pod(tmp_path, root_pem=pem(ca.certificate), CA_ADDR=f"localhost:{authority.port}", proxy_config={
            "discoveryAddress": f"localhost:{ads.port}", "terminationDrainDuration": duration}, **env))
        started.add(made, made.stop)
        made.wait_ready()
        return made
    return start


def wait_log(sidecar, text):
    wait_until(lambda: text in sidecar.stderr(), text)


def is_over(sidecar):
    return sidecar.process.poll() is not None


def test_sigterm__application_calls_on_and_is_called__until_the_time_is_over(start):
    sidecar = start("3s")
    began = time.monotonic()
    with connect(sidecar.address("inbound")) as before:
        before.send(request_bytes())
        assert read_response(before).get("connection") is None
        sidecar.signal(signal.SIGTERM)
        sidecar.wait_stat("listener_manager.total_listeners_draining", 1)
        before.send(request_bytes())
        assert read_response(before).get("connection") == "close"
    assert http1.fetch(sidecar.address("outbound")).status == 200
    assert http1.fetch(sidecar.address("inbound")).status == 200
    assert sidecar.wait_exit() == 0
    assert time.monotonic() - began >= 3


def test_sigterm__twice__ends_at_once(start):
    sidecar = start("600s")
    sidecar.signal(signal.SIGTERM)
    wait_log(sidecar, "inbound connections drain")
    assert not is_over(sidecar)
    sidecar.signal(signal.SIGTERM)
    assert sidecar.wait_exit() == 0


def test_exit_on_zero__stays_for_a_connection__and_no_longer(start):
    sidecar = start("600s", EXIT_ON_ZERO_ACTIVE_CONNECTIONS="true", MINIMUM_DRAIN_DURATION="0.1s")
    with connect(sidecar.address("outbound")) as kept:
        kept.send(request_bytes())
        assert read_response(kept).status == 200
        sidecar.signal(signal.SIGTERM)
        wait_log(sidecar, "1 connections are left")
        kept.send(request_bytes())
        assert read_response(kept).status == 200
        assert not is_over(sidecar)
    assert sidecar.wait_exit() == 0


def test_exit_on_zero__the_agents_own_pages_keep_nobody(start):
    sidecar = start("600s", EXIT_ON_ZERO_ACTIVE_CONNECTIONS="true", MINIMUM_DRAIN_DURATION="0.1s")
    with connect(sidecar.admin_address):
        sidecar.signal(signal.SIGTERM)
        assert sidecar.wait_exit() == 0


@pytest.mark.parametrize("by", ["SIGTERM", "quitquitquit"])
def test_a_clean_end__no_warning_is_logged(start, by):
    """Least of all that the control plane's streams closed: the proxy closes them itself."""
    sidecar = start("0.1s")
    before = len(sidecar.stderr())
    if by == "SIGTERM":
        sidecar.signal(signal.SIGTERM)
    else:
        sidecar.admin("/quitquitquit", "POST")
    assert sidecar.wait_exit() == 0
    said = sidecar.stderr()[before:].splitlines()
    assert "main dispatch loop exited" in said[-1]
    assert [line for line in said if re.search(r"\[(warning|error|critical)\]", line) and "caught SIGTERM" not in line] == []
