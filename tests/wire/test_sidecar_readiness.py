# SPDX-License-Identifier: Apache-2.0
"""PROXY_CONFIG.readinessProbe: what istiod is told of the application's health (T:istio.v1.HealthInformation)."""
import os
import socket
import sys

import pytest

from lib.grpc_services import HealthService
from lib.pod import Application, Pod
from lib.wait import wait_until

pytestmark = pytest.mark.weft_only


@pytest.fixture
def mesh(started, tmp_path):
    return Pod(started, tmp_path)


@pytest.fixture
def application(started):
    server = Application()
    return started.add(server, server.close)


def started_with(mesh, probe, **proxy_config):
    """A sidecar whose application is asked twice a second at the most; the management server answers it."""
    mesh.start(proxy_config={"readinessProbe": {"periodSeconds": 1, **probe}, **proxy_config})
    mesh.push()
    return mesh.ads


def told(ads):
    """What was told so far: None for healthy, or why not."""
    with ads.lock:
        return [r.error for r in ads.requests if r.kind == "health"]


def wait_told(ads, count):
    wait_until(lambda: len(told(ads)) >= count, f"{count} words about the application's health")
    return told(ads)


@pytest.mark.parametrize("delta", [False, True])
def test_a_change_is_told_once_and_after_the_listeners(mesh, application, delta):
    mesh.start(proxy_config={"readinessProbe": {"httpGet": {"path": "/live", "port": application.port}, "periodSeconds": 1}},
               ISTIO_DELTA_XDS=str(delta).lower())
    mesh.push()
    assert wait_told(mesh.ads, 1) == [None]
    with mesh.ads.lock:
        kinds = [r.kind for r in mesh.ads.requests]
        health = next(r.message for r in mesh.ads.requests if r.kind == "health")
    assert kinds.index("lds") < kinds.index("health")
    assert not health.HasField("error_detail") and not health.response_nonce
    asked = len(application.seen)
    wait_until(lambda: len(application.seen) > asked + 1)
    application.pages["/live"] = (500, "text/plain", b"")
    assert wait_told(mesh.ads, 2) == [None, "its status is 500, not from 200 to 399"]
    application.pages["/live"] = (204, "text/plain", b"")
    assert wait_told(mesh.ads, 3)[2] is None
    with mesh.ads.lock:
        sick = [r.message.error_detail for r in mesh.ads.requests if r.kind == "health"][1]
    assert sick.code == 13


def test_a_new_stream_is_told_again(mesh, application):
    application.pages["/live"] = (500, "text/plain", b"")
    ads = started_with(mesh, {"httpGet": {"path": "/live", "port": application.port}})
    first = wait_told(ads, 1)[0]
    assert first
    ads.take_requests()
    ads.drop_streams()
    assert wait_told(ads, 1) == [first]
    with ads.lock:
        kinds = [r.kind for r in ads.requests]
    assert kinds.index("lds") < kinds.index("health") and kinds.count("health") == 1


def test_nothing_is_told_before_listeners_are_asked_for(mesh, application):
    """LDS is asked for once CDS has been answered."""
    mesh.start(proxy_config={"readinessProbe": {"httpGet": {"path": "/live", "port": application.port}, "periodSeconds": 1}})
    wait_until(lambda: len(application.seen) >= 2)
    with mesh.ads.lock:
        kinds = {r.kind for r in mesh.ads.requests}
    assert "cds" in kinds and "lds" not in kinds and "health" not in kinds
    mesh.push()
    assert wait_told(mesh.ads, 1) == [None]


def test_thresholds_count_answers_in_a_row(mesh, application):
    application.pages["/live"] = (500, "text/plain", b"")
    ads = started_with(mesh, {"httpGet": {"port": application.port, "path": "/live", "httpHeaders": [{"name": "X-A", "value": "b"}]},
                              "failureThreshold": 3, "successThreshold": 2})
    wait_told(ads, 1)
    assert len(application.seen) >= 3
    good = len(application.seen)
    application.pages["/live"] = (200, "text/plain", b"")
    wait_told(ads, 2)
    assert len(application.seen) >= good + 2
    path, headers, source = application.seen[0]
    assert path == "/live" and headers["x-a"] == "b" and source == "127.0.0.6"


def test_tcp_socket(mesh, started):
    held = started.add(socket.socket(), lambda: held.close())
    held.bind(("127.0.0.1", 0))
    ads = started_with(mesh, {"tcpSocket": {"host": "localhost", "port": held.getsockname()[1]}})
    assert wait_told(ads, 1)[0]
    held.listen()
    assert wait_told(ads, 2)[1] is None


def test_grpc(mesh, started):
    service = HealthService()
    started.add(service, service.close)
    ads = started_with(mesh, {"grpc": {"port": service.port, "service": "shop"}})
    assert wait_told(ads, 1) == [None]
    assert service.asked[0] == "shop"
    service.is_serving = False
    assert wait_told(ads, 2)[1] == "the service doesn't say that it is serving"


def test_exec_is_told_how_the_command_ended(mesh, tmp_path):
    flag = tmp_path / "well"
    script = f"import os, sys; sys.stderr.write('no flag $HOME'); sys.exit(0 if os.path.exists({str(flag)!r}) else 3)"
    ads = started_with(mesh, {"exec": {"command": [sys.executable, "-c", script]}, "timeoutSeconds": 60})
    assert wait_told(ads, 1) == ["the command ended with 3: no flag $HOME"]
    flag.write_text("")
    assert wait_told(ads, 2)[1] is None


def test_exec_has_its_time_and_leaves_nothing_behind(mesh, tmp_path):
    """What the command has started ends with it."""
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait"
    ads = started_with(mesh, {"exec": {"command": ["sh", "-c", script]}, "timeoutSeconds": 3, "periodSeconds": 600})
    assert wait_told(ads, 1) == ["no end in time"]
    for pid in pids.read_text().split():
        wait_until(lambda: not is_running(int(pid)), f"the end of {pid}")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_exec_that_writes_without_end_is_bounded(mesh):
    ads = started_with(mesh, {"exec": {"command": ["sh", "-c", "yes y | head -c 3000000; exit 4"]}, "timeoutSeconds": 60})
    why = wait_told(ads, 1)[0]
    assert why.startswith("the command ended with 4: y\ny\n") and len(why) < 512


def test_exec_of_what_is_not_there(mesh):
    ads = started_with(mesh, {"exec": {"command": ["/nowhere/at/all"]}})
    assert wait_told(ads, 1) == ["there is no such program"]


def test_a_stop_while_a_command_runs_ends_it(mesh, tmp_path):
    pid = tmp_path / "pid"
    mesh.start(proxy_config={"readinessProbe": {"exec": {"command": ["sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 600"]},
                                                "timeoutSeconds": 600}})
    wait_until(pid.exists)
    assert is_running(int(pid.read_text()))
    mesh.wait_ready()
    mesh.sidecar.stop()
    wait_until(lambda: not is_running(int(pid.read_text())))


@pytest.mark.parametrize("probe, text", [
    ({}, "has to be one of httpGet, tcpSocket, grpc, exec"),
    ({"httpGet": {"port": 1}, "exec": {"command": ["true"]}}, "has to be one of httpGet, tcpSocket, grpc, exec"),
    ({"exec": {"command": []}}, "its command names no program"),
    ({"tcpSocket": {"port": 1, "host": "shop.example"}}, "shop.example"),
    ({"tcpSocket": {"port": 1}, "periodSeconds": -1}, "its periodSeconds is no number"),
    ({"tcpSocket": {"port": 1}, "novelty": 1}, "'novelty' is not supported"),
])
def test_what_is_not_understood_is_refused_by_name(mesh, tmp_path, probe, text):
    with pytest.raises(Exception):
        mesh.start(proxy_config={"readinessProbe": probe})
    with open(os.path.join(tmp_path, "stderr"), encoding="utf-8") as log:
        said = log.read()
    assert "PROXY_CONFIG.readinessProbe" in said and text in said
