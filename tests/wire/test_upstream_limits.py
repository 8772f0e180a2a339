# SPDX-License-Identifier: Apache-2.0
"""What bounds a cluster: circuit breakers, a connection's age in requests and idleness, and retries."""
import threading

import pytest

from lib import config, http1
from lib.http1 import fetch
from lib.http2 import H2Client
from lib.origin import end, reset
from lib.proxy import log_lines
from lib.streams import connect, unused_port
from lib.wait import wait_until


class Gate:
    """Script: holds requests until it is opened."""

    def __init__(self):
        self.event = threading.Event()

    def __call__(self, _stream, _request):
        self.event.wait(60)
        return http1.response_bytes(200, body=b"held")

    def open(self):
        self.event.set()


@pytest.fixture
def gate(started):
    made = Gate()
    started.add(made, made.open)
    return made


def breakers(**thresholds):
    return {"circuit_breakers": {"thresholds": [thresholds]}}


HOLD = [("x-case", "hold")]


def hold_one(proxy, started):
    stream = connect(proxy.address())
    started.add(stream, stream.close)
    stream.send(http1.request_bytes(headers=HOLD))
    return stream


def assert_overflow(answer):
    assert answer.status == 503
    assert answer.get("x-envoy-overloaded") == "true"
    assert answer.body == b"upstream connect error or disconnect/reset before headers. reset reason: overflow"


# ---- circuit breakers ----

def test_max_requests__exact_over_workers(start_proxy, make_origin, gate, started, tmp_path):
    origin = make_origin({"hold": gate})
    proxy = start_proxy(config.bootstrap(
        [config.http_listener(access_log=[config.file_log(tmp_path / "log", text_format="%RESPONSE_FLAGS%\n")])],
        [config.cluster("origin", origin.port, **breakers(max_requests=3))]), concurrency=2)
    held = [hold_one(proxy, started) for _ in range(3)]
    proxy.wait_stat("cluster.origin.upstream_rq_active", 3)
    for _ in range(8):
        assert_overflow(fetch(proxy.address()))
    assert log_lines(tmp_path / "log", 8) == ["UO"] * 8
    stats = proxy.stats()
    assert stats["cluster.origin.upstream_rq_active_overflow"] == 8
    assert stats["cluster.origin.upstream_rq_pending_overflow"] == 0
    assert stats["cluster.origin.circuit_breakers.default.rq_open"] == 1
    gate.open()
    assert [http1.read_response(s).status for s in held] == [200] * 3
    assert fetch(proxy.address()).status == 200
    assert len(origin.requests) == 4
    assert proxy.stat("cluster.origin.circuit_breakers.default.rq_open") == 0


def test_max_pending__the_queue_is_bounded(start_proxy, make_origin, gate, started):
    origin = make_origin({"hold": gate})
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster(
        "origin", origin.port, **breakers(max_connections=1, max_pending_requests=2))]))
    held = [hold_one(proxy, started)]
    origin.wait_for(1)
    held += [hold_one(proxy, started) for _ in range(2)]
    proxy.wait_stat("cluster.origin.upstream_rq_pending_active", 2)
    assert_overflow(fetch(proxy.address()))
    stats = proxy.stats()
    assert stats["cluster.origin.upstream_cx_active"] == 1
    assert stats["cluster.origin.upstream_cx_overflow"] >= 1
    assert stats["cluster.origin.upstream_rq_pending_overflow"] == 1
    assert stats["cluster.origin.circuit_breakers.default.cx_open"] == 1
    assert stats["cluster.origin.circuit_breakers.default.rq_pending_open"] == 1
    gate.open()
    assert [http1.read_response(s).status for s in held] == [200] * 3
    assert len(origin.connections) == 1


def test_max_connections__one_worker__never_more(start_proxy, make_origin, gate, started):
    origin = make_origin({"hold": gate})
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster(
        "origin", origin.port, **breakers(max_connections=2))]))
    held = [hold_one(proxy, started) for _ in range(6)]
    proxy.wait_stat("cluster.origin.upstream_rq_pending_active", 4)
    assert proxy.stat("cluster.origin.upstream_cx_active") == 2
    gate.open()
    assert [http1.read_response(s).status for s in held] == [200] * 6
    assert len(origin.connections) == 2


def test_high_priority__has_limits_of_its_own(start_proxy, make_origin, gate, started):
    origin = make_origin({"hold": gate})
    routes = [config.route(prefix="/high", priority="HIGH"), config.route()]
    proxy = start_proxy(config.bootstrap([config.http_listener(routes=routes)], [config.cluster(
        "origin", origin.port, circuit_breakers={"thresholds": [
            {"priority": "DEFAULT", "max_requests": 1}, {"priority": "HIGH", "max_requests": 5}]})]))
    hold_one(proxy, started)
    proxy.wait_stat("cluster.origin.upstream_rq_active", 1)
    assert_overflow(fetch(proxy.address()))
    assert fetch(proxy.address(), target="/high").status == 200


def test_breaker__h2_max_requests(start_proxy, make_h2_origin):
    origin = make_h2_origin({"hold": lambda *_: None})
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster(
        "origin", origin.port, http2=True, **breakers(max_requests=2))]))
    with H2Client(proxy.address()) as client:
        for _ in range(2):
            client.start(HOLD)
        proxy.wait_stat("cluster.origin.upstream_rq_active", 2)
        answer = client.request()
        assert answer.status == 503 and answer.get("x-envoy-overloaded") == "true"


# ---- a connection's life ----

def test_max_requests_per_connection(start_proxy, make_origin):
    origin = make_origin()
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster(
        "origin", origin.port, http_options={"common_http_protocol_options": {"max_requests_per_connection": 2}})]))
    with connect(proxy.address()) as client:
        for _ in range(6):
            client.send(http1.request_bytes())
            assert http1.read_response(client).status == 200
    assert len(origin.connections) == 3
    proxy.wait_stat("cluster.origin.upstream_cx_max_requests", 3)


def test_max_requests_per_connection__h2(start_proxy, make_h2_origin):
    origin = make_h2_origin()
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster(
        "origin", origin.port, http2=True,
        http_options={"common_http_protocol_options": {"max_requests_per_connection": 2}})]))
    assert [fetch(proxy.address()).status for _ in range(4)] == [200] * 4
    assert len(origin.connections) == 2


def test_idle_timeout__the_pooled_connection_closes(start_proxy, make_origin):
    origin = make_origin()
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster(
        "origin", origin.port, http_options={"common_http_protocol_options": {"idle_timeout": "0.2s"}})]))
    assert fetch(proxy.address()).status == 200
    proxy.wait_stat("cluster.origin.upstream_cx_idle_timeout", 1)
    proxy.wait_stat("cluster.origin.upstream_cx_active", 0)
    assert fetch(proxy.address()).status == 200
    assert len(origin.connections) == 2


# ---- retries ----

def answers(*scripts):
    """Script: the first answer first; the last one stays."""
    left = list(scripts)

    def run(stream, request):
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer(stream, request) if callable(answer) else answer
    return run


ERROR = http1.response_bytes(503, body=b"bad", reason="Service Unavailable")
GOOD = http1.response_bytes(200, body=b"good")


def retrying(start_proxy, port, tmp_path, retry_on, num_retries=2, more=None, **policy):
    route = config.route(retry_policy={"retry_on": retry_on, "num_retries": num_retries, **policy})
    return start_proxy(config.bootstrap(
        [config.http_listener(routes=[route], access_log=[config.file_log(
            tmp_path / "log", text_format="%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\n")])],
        [config.cluster("origin", port, **(more or {}))]))


def test_retry__5xx__second_try_answers(start_proxy, make_origin, tmp_path):
    origin = make_origin({"x": answers(ERROR, GOOD)})
    proxy = retrying(start_proxy, origin.port, tmp_path, "5xx")
    answer = fetch(proxy.address(), "POST", headers=[("x-case", "x")], body=b"payload")
    assert (answer.status, answer.body) == (200, b"good")
    assert [r.body for r in origin.requests] == [b"payload"] * 2
    stats = proxy.stats()
    assert stats["cluster.origin.upstream_rq_retry"] == 1
    assert stats["cluster.origin.upstream_rq_retry_success"] == 1
    assert log_lines(tmp_path / "log", 1) == ["200 - 2"]


def test_retry__5xx__limit__last_answer_passes_with_urx(start_proxy, make_origin, tmp_path):
    origin = make_origin({"x": ERROR})
    proxy = retrying(start_proxy, origin.port, tmp_path, "5xx")
    answer = fetch(proxy.address(), headers=[("x-case", "x")])
    assert (answer.status, answer.body) == (503, b"bad")
    assert len(origin.requests) == 3
    stats = proxy.stats()
    assert stats["cluster.origin.upstream_rq_retry"] == 2
    assert stats["cluster.origin.upstream_rq_retry_limit_exceeded"] == 1
    assert log_lines(tmp_path / "log", 1) == ["503 URX 3"]


@pytest.mark.parametrize("how", [end, reset], ids=["end", "reset"])
def test_retry__reset(start_proxy, make_origin, tmp_path, how):
    origin = make_origin({"x": answers(how, GOOD)})
    proxy = retrying(start_proxy, origin.port, tmp_path, "reset")
    assert fetch(proxy.address(), headers=[("x-case", "x")]).body == b"good"


def test_retry__connect_failure__then_urx(start_proxy, tmp_path):
    proxy = retrying(start_proxy, unused_port(), tmp_path, "connect-failure")
    assert fetch(proxy.address()).status == 503
    assert proxy.stat("cluster.origin.upstream_cx_connect_fail") == 3
    status, flags, tries = log_lines(tmp_path / "log", 1)[0].split()
    assert (status, set(flags.split(",")), tries) == ("503", {"UF", "URX"}, "3")


def test_retry__connect_failure__other_host_answers(start_proxy, make_origin, tmp_path):
    origin = make_origin()
    eps = [{"endpoint": {"address": config.socket_address(port=p)}} for p in (unused_port(), origin.port)]
    proxy = retrying(start_proxy, 1, tmp_path, "connect-failure", more={"load_assignment": {
        "cluster_name": "origin", "endpoints": [{"lb_endpoints": eps}]}})
    assert [fetch(proxy.address()).status for _ in range(4)] == [200] * 4
    assert proxy.stat("cluster.origin.upstream_rq_retry") >= 1


def test_retry__not_asked_for__no_retry(start_proxy, make_origin, tmp_path):
    origin = make_origin({"x": ERROR})
    proxy = retrying(start_proxy, origin.port, tmp_path, "connect-failure")
    assert fetch(proxy.address(), headers=[("x-case", "x")]).status == 503
    assert len(origin.requests) == 1


def test_retry__max_retries_breaker__counted(start_proxy, make_origin, tmp_path):
    origin = make_origin({"x": ERROR})
    proxy = retrying(start_proxy, origin.port, tmp_path, "5xx", more=breakers(max_retries=0))
    answer = fetch(proxy.address(), headers=[("x-case", "x")])
    assert (answer.status, answer.body) == (503, b"bad")
    assert len(origin.requests) == 1
    assert proxy.stat("cluster.origin.upstream_rq_retry_overflow") == 1


def test_retry__h2_refused_stream(start_proxy, make_h2_origin, tmp_path):
    seen = []

    def refuse_once(peer, stream_id, _request):
        seen.append(stream_id)
        if len(seen) == 1:
            peer.conn.reset_stream(stream_id, 7)
            peer.flush()
            return None
        return [(":status", "200")], b"good", []
    origin = make_h2_origin({"x": refuse_once})
    proxy = retrying(start_proxy, origin.port, tmp_path, "refused-stream", more={"http2": True})
    assert fetch(proxy.address(), headers=[("x-case", "x")]).body == b"good"
    wait_until(lambda: len(seen) == 2, "both tries")


@pytest.mark.parametrize("retry_on, status, tries", [
    ("gateway-error", 502, 2), ("gateway-error", 500, 1), ("5xx", 500, 2), ("retriable-4xx", 409, 2),
    ("retriable-4xx", 404, 1), ("5xx", 404, 1)])
def test_retry__by_status(start_proxy, make_origin, tmp_path, retry_on, status, tries):
    origin = make_origin({"x": http1.response_bytes(status, body=b"no")})
    proxy = retrying(start_proxy, origin.port, tmp_path, retry_on, num_retries=1)
    assert fetch(proxy.address(), headers=[("x-case", "x")]).status == status
    assert len(origin.requests) == tries


@pytest.mark.parametrize("retry_on, grpc_status, tries", [
    ("unavailable", 14, 2), ("cancelled", 1, 2), ("deadline-exceeded", 4, 2), ("resource-exhausted", 8, 2),
    ("internal", 13, 2), ("unavailable", 1, 1)])
def test_retry__by_grpc_status(start_proxy, make_h2_origin, tmp_path, retry_on, grpc_status, tries):
    fail = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", str(grpc_status))], b"", []
    origin = make_h2_origin({"x": fail})
    proxy = retrying(start_proxy, origin.port, tmp_path, retry_on, num_retries=1, more={"http2": True})
    with H2Client(proxy.address()) as client:
        answer = client.request([("x-case", "x"), ("content-type", "application/grpc")], "POST")
    assert answer.get("grpc-status") == str(grpc_status)
    assert len(origin.requests) == tries


def test_retry__answer_begun__reset_is_passed_on(start_proxy, make_origin, tmp_path):
    def begin_and_reset(stream, _request):
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        wait_until(lambda: begun.is_set(), "the client to see it")
        stream.reset()
    begun = threading.Event()
    origin = make_origin({"x": begin_and_reset})
    proxy = retrying(start_proxy, origin.port, tmp_path, "5xx,reset")
    with connect(proxy.address()) as client:
        client.send(http1.request_bytes(headers=[("x-case", "x")]))
        client.read_until(b"half")
        begun.set()
        assert client.is_ended()
    assert len(origin.requests) == 1


def test_retry__per_try_timeout_absent__route_timeout_ends_all(start_proxy, make_origin, gate, tmp_path):
    origin = make_origin({"hold": gate})
    route = config.route(timeout="0.3s", retry_policy={"retry_on": "5xx", "num_retries": 5})
    proxy = start_proxy(config.bootstrap([config.http_listener(routes=[route])],
                                         [config.cluster("origin", origin.port)]))
    assert fetch(proxy.address(), headers=HOLD).status == 504
    assert len(origin.requests) == 1
