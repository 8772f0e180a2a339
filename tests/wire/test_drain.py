# SPDX-License-Identifier: Apache-2.0
"""SIGTERM over HTTP: what runs is finished, who stays is told to go, the end comes in time. (Sockets and
second signals at the level of connections: test_listeners.py.)"""
import signal
import threading
import time

import pytest

from lib import config
from lib.http1 import connect, read_response, request_bytes, response_bytes
from lib.http2 import H2Client
from lib.wait import PATIENCE_S

pytestmark = pytest.mark.weft_only  # Envoy ends at SIGTERM without draining


class Gate:
    """An origin's answer that waits until the test opens it."""

    def __init__(self):
        self.opened = threading.Event()
        self.entered = threading.Event()

    def __call__(self, _stream, _request):
        self.entered.set()
        self.opened.wait(PATIENCE_S)
        return response_bytes(200, [], b"late")


def simple(origin, **hcm):
    return config.bootstrap([config.http_listener(**hcm)], [config.cluster("origin", origin.port)])


def test_http1__running_request_answered_with_close(start_proxy, make_origin):
    gate = Gate()
    origin = make_origin({"gate": gate})
    proxy = start_proxy(simple(origin), drain_time_s=30)
    with connect(proxy.address()) as stream:
        stream.send(request_bytes(headers=[("x-case", "gate")]))
        assert gate.entered.wait(PATIENCE_S)
        proxy.signal(signal.SIGTERM)
        proxy.wait_stat("listener_manager.total_listeners_draining", 1, exactly=False)
        gate.opened.set()
        answer = read_response(stream)
        assert (answer.body, answer.get("connection")) == (b"late", "close")
        assert stream.is_ended()
    assert proxy.wait_exit() == 0


def test_http2__goaway_and_running_stream_finished(start_proxy, make_origin):
    gate = Gate()
    origin = make_origin({"gate": gate})
    proxy = start_proxy(simple(origin, codec_type="HTTP2"), drain_time_s=30)
    with H2Client(proxy.address()) as client:
        assert client.request().status == 200
        stream_id = client.start([("x-case", "gate")])
        assert gate.entered.wait(PATIENCE_S)
        proxy.signal(signal.SIGTERM)
        while client.goaway is None and client.pump():
            pass
        assert client.goaway is not None and client.goaway.error_code == 0
        gate.opened.set()
        while not client.exchange(stream_id).is_over and client.stream.fill():
            client.conn.state_machine.state = type(client.conn.state_machine.state).CLIENT_OPEN
            client.pump()
        assert client.exchange(stream_id).body == b"late"
    assert proxy.wait_exit() == 0


def test_idle_connections__ended_and_exit_long_before_the_drain_time(start_proxy, make_origin):
    origin = make_origin()
    proxy = start_proxy(simple(origin), drain_time_s=600)
    streams = [connect(proxy.address()) for _ in range(20)]
    for stream in streams:
        stream.send(request_bytes())
        assert read_response(stream).status == 200
    begin = time.monotonic()
    proxy.signal(signal.SIGTERM)
    assert all(stream.is_ended() for stream in streams)
    assert proxy.wait_exit() == 0
    assert time.monotonic() - begin < PATIENCE_S


def test_stuck_request__cut_at_the_drain_time(start_proxy, make_origin):
    gate = Gate()
    origin = make_origin({"gate": gate})
    proxy = start_proxy(simple(origin), drain_time_s=1)
    with connect(proxy.address()) as stream:
        stream.send(request_bytes(headers=[("x-case", "gate")]))
        assert gate.entered.wait(PATIENCE_S)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0
        stream.read_to_end()
    gate.opened.set()


def test_second_sigterm__exits_at_once(start_proxy, make_origin):
    gate = Gate()
    origin = make_origin({"gate": gate})
    proxy = start_proxy(simple(origin), drain_time_s=600)
    with connect(proxy.address()) as stream:
        stream.send(request_bytes(headers=[("x-case", "gate")]))
        assert gate.entered.wait(PATIENCE_S)
        proxy.signal(signal.SIGTERM)
        proxy.wait_stat("listener_manager.total_listeners_draining", 1, exactly=False)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0
    gate.opened.set()


def test_quitquitquit__ends_the_process(start_proxy, make_origin):
    proxy = start_proxy(simple(make_origin()))
    assert proxy.admin("/quitquitquit", "GET").status == 405
    assert proxy.admin("/quitquitquit", "POST").status == 200
    assert proxy.wait_exit() == 0
