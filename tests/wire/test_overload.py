# SPDX-License-Identifier: Apache-2.0
"""The overload manager: a file says how high the pressure is (injected_resource), the proxy acts on it."""
import json
import os
import socket
import threading

import pytest

from lib import config, http1
from lib.http1 import connect, read_response, request_bytes
from lib.http2 import H2Client
from lib.origin import silence
from lib.proxy import envoy, run_to_end, weft
from lib.streams import Closed
from lib.wait import wait_until

MONITOR = config.TYPE + "extensions.resource_monitors."
BOTH = pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(
    envoy() is None, reason="Envoy is not installed"))], ids=["weft", "envoy"])
ACTION = "envoy.overload_actions."
POINT = "envoy.load_shed_points."


class Pressure:
    """The file; written whole by renaming, as Envoy's watcher wants it."""

    def __init__(self, directory, value=0.0):
        self.path = str(directory / "pressure")
        self.set(value)

    def set(self, value):
        with open(self.path + ".new", "w", encoding="ascii") as text:
            text.write(str(value))
        os.rename(self.path + ".new", self.path)

    def monitor(self):
        return {"name": "envoy.resource_monitors.injected_resource", "typed_config": {
            "@type": MONITOR + "injected_resource.v3.InjectedResourceConfig", "filename": self.path}}


def manager(pressure, *actions, points=(), trigger=None, **more):
    when = trigger or {"threshold": {"value": 0.9}}
    triggers = [{"name": "envoy.resource_monitors.injected_resource", **when}]
    return {"refresh_interval": "0.05s", "resource_monitors": [pressure.monitor()],
            "actions": [{"name": ACTION + name, "triggers": triggers, **fields} for name, fields in actions],
            "loadshed_points": [{"name": POINT + name, "triggers": triggers} for name in points], **more}


def of(origin, overload, listener_fields=None, **hcm):
    return config.bootstrap([config.http_listener(listener_fields=listener_fields, **hcm)],
                            [config.cluster("origin", origin.port)], overload_manager=overload)


@BOTH
def test_stop_accepting_requests__saturated__503_until_it_eases(start_proxy, origin, tmp_path, binary):
    pressure = Pressure(tmp_path)
    proxy = start_proxy(of(origin, manager(pressure, ("stop_accepting_requests", {})), append_local_overload=True), binary=binary())
    assert http1.fetch(proxy.address()).status == 200
    pressure.set(0.95)
    proxy.wait_stat("overload.envoy.overload_actions.stop_accepting_requests.active", 1)
    refused = http1.fetch(proxy.address())
    assert (refused.status, refused.body) == (503, b"envoy overloaded")
    assert refused.get("x-envoy-local-overloaded") == "true"
    assert proxy.stat("http.in.downstream_rq_overload_close") == 1
    assert proxy.stat("overload.envoy.resource_monitors.injected_resource.pressure") == 95
    pressure.set(0.1)
    proxy.wait_stat("overload.envoy.overload_actions.stop_accepting_requests.active", 0)
    assert http1.fetch(proxy.address()).status == 200


@BOTH
@pytest.mark.parametrize("kind", ["stop_accepting_requests", "http_connection_manager_decode_headers"])
def test_scaled__half_way__about_half_are_refused(start_proxy, origin, tmp_path, binary, kind):
    pressure = Pressure(tmp_path, 0.5)
    is_action = kind == "stop_accepting_requests"
    proxy = start_proxy(of(origin, manager(pressure, *([(kind, {})] if is_action else []), points=[] if is_action else [kind],
                                           trigger={"scaled": {"scaling_threshold": 0.0, "saturation_threshold": 1.0}})),
                        binary=binary())
    proxy.wait_stat(f"overload.{ACTION if is_action else POINT}{kind}.scale_percent", 50)
    statuses = [http1.fetch(proxy.address()).status for _ in range(200)]
    assert 60 <= statuses.count(503) <= 140 and statuses.count(200) + statuses.count(503) == 200


@BOTH
@pytest.mark.parametrize("point", ["http_connection_manager_decode_headers", "http_downstream_filter_check"])
def test_load_shed_point__request__503_and_counted(start_proxy, origin, tmp_path, binary, point):
    pressure = Pressure(tmp_path, 1.0)
    proxy = start_proxy(of(origin, manager(pressure, points=[point])), binary=binary())
    proxy.wait_stat(f"overload.{POINT}{point}.scale_percent", 100)
    assert http1.fetch(proxy.address()).status == 503
    assert proxy.stat(f"overload.{POINT}{point}.shed_load_count") == 1


def is_refused(address):
    """By the kernel: there is no connection at all."""
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


@BOTH
@pytest.mark.parametrize("kind", ["reject_incoming_connections", "tcp_listener_accept"])
def test_accepting__saturated__connections_end(start_proxy, origin, tmp_path, binary, kind):
    """weft's reject_incoming_connections refuses in the kernel (docs/differences.md)."""
    pressure = Pressure(tmp_path)
    is_action = kind == "reject_incoming_connections"
    proxy = start_proxy(of(origin, manager(pressure, *([(kind, {})] if is_action else []), points=[] if is_action else [kind]),
                           {"stat_prefix": "l"}), binary=binary())
    pressure.set(1.0)
    proxy.wait_stat(f"overload.{ACTION if is_action else POINT}{kind}.scale_percent", 100)
    if is_action and binary is weft:
        wait_until(lambda: is_refused(proxy.address()), "connections to be refused")
        return
    with pytest.raises((Closed, ConnectionError)), connect(proxy.address()) as stream:
        stream.send(request_bytes())
        read_response(stream)
    assert proxy.stat("listener.l.downstream_cx_overload_reject") == 1


@pytest.mark.weft_only
@pytest.mark.parametrize("reuse_port", [True, False])
def test_reject_incoming_connections__eases_and_comes_back__refused_in_the_kernel_meanwhile(start_proxy, origin, tmp_path, reuse_port):
    """The connection that was there before goes on, and a listener that bypasses the overload manager takes new ones."""
    pressure = Pressure(tmp_path)
    listeners = [config.http_listener("in", listener_fields={"stat_prefix": "l", "enable_reuse_port": reuse_port}),
                 config.http_listener("free", listener_fields={"bypass_overload_manager": True})]
    proxy = start_proxy(config.bootstrap(listeners, [config.cluster("origin", origin.port)],
                                         overload_manager=manager(pressure, ("reject_incoming_connections", {}))), concurrency=3)
    with connect(proxy.address("in")) as before:
        for _ in range(3):
            pressure.set(1.0)
            wait_until(lambda: is_refused(proxy.address("in")), "connections to be refused")
            assert all(is_refused(proxy.address("in")) for _ in range(20))
            before.send(request_bytes())
            assert read_response(before).status == 200
            assert http1.fetch(proxy.address("free")).status == 200
            pressure.set(0.0)
            wait_until(lambda: not is_refused(proxy.address("in")), "connections to be taken again")
            assert [http1.fetch(proxy.address("in")).status for _ in range(20)] == [200] * 20


@pytest.mark.weft_only
def test_reject_incoming_connections__accept_queue__reset_and_counted(start_proxy, origin, tmp_path):
    """What waits to be accepted when the kernel begins to refuse is not left to wait for ever."""
    pressure = Pressure(tmp_path)
    actions = [("stop_accepting_connections", {}), ("reject_incoming_connections", {})]
    overload = manager(pressure, *actions)
    overload["actions"][1]["triggers"] = [{"name": "envoy.resource_monitors.injected_resource", "threshold": {"value": 0.95}}]
    proxy = start_proxy(of(origin, overload, {"stat_prefix": "l"}))
    pressure.set(0.92)
    proxy.wait_stat("overload.envoy.overload_actions.stop_accepting_connections.active", 1)
    with connect(proxy.address()) as waiting:
        pressure.set(1.0)
        with pytest.raises((Closed, ConnectionError)):
            waiting.send(request_bytes())
            read_response(waiting)
        proxy.wait_stat("listener.l.downstream_cx_overload_reject", 1)
    pressure.set(0.0)
    wait_until(lambda: not is_refused(proxy.address()), "connections to be taken again")
    assert http1.fetch(proxy.address()).status == 200


@pytest.mark.weft_only
def test_reject_incoming_connections__unix_socket__closed_by_the_worker(start_proxy, origin, tmp_path):
    pressure = Pressure(tmp_path)
    path = str(tmp_path / "in")
    proxy = start_proxy(of(origin, manager(pressure, ("reject_incoming_connections", {})),
                           {"stat_prefix": "l", "address": {"pipe": {"path": path}}}))
    pressure.set(1.0)
    proxy.wait_stat("overload.envoy.overload_actions.reject_incoming_connections.active", 1)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        assert s.recv(1) == b""
    assert proxy.stat("listener.l.downstream_cx_overload_reject") == 1
    pressure.set(0.0)
    proxy.wait_stat("overload.envoy.overload_actions.reject_incoming_connections.active", 0)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(request_bytes())
        assert s.recv(12) == b"HTTP/1.1 200"


@pytest.mark.weft_only
def test_worker_utilization__flood_on_kept_connections__refuses_while_they_are_served(start_proxy, tmp_path):
    """The loop that docs/performance.md measures: workers busy, new connections refused, workers idle, taken again."""
    overload = {"refresh_interval": "0.02s", "resource_monitors": [{"name": "workers", "typed_config": {
        "@type": "type.googleapis.com/weft.resource_monitors.v1.WorkerUtilization", "window": "0.1s"}}],
        "actions": [{"name": ACTION + "reject_incoming_connections", "triggers": [
            {"name": "workers", "threshold": {"value": 0.4}}]}]}
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    proxy = start_proxy(config.bootstrap([config.http_listener(routes=routes)], [], overload_manager=overload), concurrency=1)
    name = "overload.envoy.overload_actions.reject_incoming_connections.active"
    proxy.wait_stat(name, 0)
    is_over = threading.Event()

    def keep_busy(s):
        batch = request_bytes() * 500
        while not is_over.is_set():
            s.sendall(batch)
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK\r\n") < 500:
                answers += s.recv(1 << 20)
    with socket.create_connection(proxy.address()) as s:
        flood = threading.Thread(target=keep_busy, args=(s,), daemon=True)
        flood.start()
        proxy.wait_stat(name, 1)
        is_over.set()
        flood.join()
    wait_until(lambda: not is_refused(proxy.address()), "connections to be taken again")


@BOTH
def test_stop_accepting_connections__saturated__they_wait_in_the_backlog(start_proxy, origin, tmp_path, binary):
    pressure = Pressure(tmp_path)
    proxy = start_proxy(of(origin, manager(pressure, ("stop_accepting_connections", {})), {"stat_prefix": "l"}), binary=binary())
    name = "overload.envoy.overload_actions.stop_accepting_connections.active"
    with connect(proxy.address()) as before:
        before.send(request_bytes())
        assert read_response(before).status == 200
        pressure.set(1.0)
        proxy.wait_stat(name, 1)
        before.send(request_bytes())
        assert read_response(before).status == 200
        with connect(proxy.address()) as waiting:
            waiting.send(request_bytes())
            before.send(request_bytes())
            assert read_response(before).status == 200
            assert proxy.stat("listener.l.downstream_cx_total") == 1
            pressure.set(0.0)
            assert read_response(waiting).status == 200


@BOTH
def test_disable_http_keepalive__saturated__connection_ends_with_its_response(start_proxy, origin, tmp_path, binary):
    pressure = Pressure(tmp_path, 1.0)
    proxy = start_proxy(of(origin, manager(pressure, ("disable_http_keepalive", {}))), binary=binary())
    proxy.wait_stat("overload.envoy.overload_actions.disable_http_keepalive.active", 1)
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        assert read_response(stream).get("connection") == "close"
        assert stream.read_to_end() == b""
    assert proxy.stat("http.in.downstream_cx_overload_disable_keepalive") == 1


@BOTH
def test_reduce_timeouts__pressure_rises__idle_connection_goes(start_proxy, origin, tmp_path, binary):
    pressure = Pressure(tmp_path)
    scale = {"@type": config.TYPE + "config.overload.v3.ScaleTimersOverloadActionConfig",
             "timer_scale_factors": [{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "0.1s"}]}
    when = {"scaled": {"scaling_threshold": 0.5, "saturation_threshold": 0.9}}
    proxy = start_proxy(of(origin, manager(pressure, ("reduce_timeouts", {"typed_config": scale}), trigger=when)), binary=binary())
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        assert read_response(stream).status == 200
        pressure.set(1.0)
        assert stream.read_to_end() == b""
    proxy.wait_stat("http.in.downstream_cx_idle_timeout", 1)


def test_reset_high_memory_stream__heavy_one__reset(start_proxy, make_origin, tmp_path):
    """The origin says nothing, so the body stays here; the light request beside it is left alone."""
    pressure, origin = Pressure(tmp_path), make_origin(default=silence)
    filters = [{"name": "buffer", "typed_config": {"@type": config.TYPE + "extensions.filters.http.buffer.v3.Buffer",
                                                  "max_request_bytes": 1000000}},
               {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER}}]
    proxy = start_proxy(of(origin, manager(pressure, ("reset_high_memory_stream", {}),
                                           buffer_factory_config={"minimum_account_to_track_power_of_two": 15}),
                           http_filters=filters))
    with H2Client(proxy.address()) as client:
        heavy = client.start(method="POST", end=False)
        client.send_body(heavy, b"x" * 50000, end=False)
        light = client.start(method="POST", end=False)
        client.send_body(light, b"x" * 100, end=False)
        proxy.wait_stat("http.in.downstream_rq_active", 2)
        pressure.set(1.0)
        answer = client.wait(heavy)
        assert answer.reset_code is not None
    assert proxy.stat("overload.envoy.overload_actions.reset_high_memory_stream.count") == 1


def test_fixed_heap_and_connections__report_and_limit(start_proxy, origin, tmp_path):
    overload = {"refresh_interval": "0.05s", "resource_monitors": [
        {"name": "heap", "typed_config": {"@type": MONITOR + "fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": 1 << 30}},
        {"name": "cpu", "typed_config": {"@type": MONITOR + "cpu_utilization.v3.CpuUtilizationConfig"}},
        {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": {
            "@type": MONITOR + "downstream_connections.v3.DownstreamConnectionsConfig", "max_active_downstream_connections": 1}}]}
    proxy = start_proxy(of(origin, overload, {"stat_prefix": "l"}))
    stats = proxy.stats()
    assert "overload.heap.pressure" in stats and "overload.cpu.pressure" in stats
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        assert read_response(stream).status == 200
        with connect(proxy.address()) as second, pytest.raises((Closed, ConnectionError)):
            second.send(request_bytes())
            read_response(second)
    assert proxy.stat("listener.l.downstream_global_cx_overflow") == 1


@pytest.mark.parametrize("change,place", [
    ({"actions": [{"name": "envoy.overload_actions.unheard_of", "triggers": []}]}, "unheard_of"),
    ({"loadshed_points": [{"name": POINT + "http1_server_abort_dispatch", "triggers": []}]}, "http1_server_abort_dispatch"),
])
def test_unknown_lever__refused_by_name(tmp_path, change, place):
    path = tmp_path / "bootstrap.json"
    trigger = {"name": "envoy.resource_monitors.injected_resource", "threshold": {"value": 1}}
    for items in change.values():
        items[0]["triggers"] = [trigger]
    overload = {"resource_monitors": [Pressure(tmp_path).monitor()], **change}
    path.write_text(json.dumps(config.bootstrap([], overload_manager=overload)))
    code, output = run_to_end(["-c", str(path), "--mode", "validate"])
    assert code == 1 and place in output
