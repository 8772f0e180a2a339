# SPDX-License-Identifier: Apache-2.0
"""The HTTP connection manager's limits in time over both protocols, and messages between protocols."""
import pytest

from lib import config, http1
from lib.http1 import connect, read_response, request_bytes
from lib.http2 import H2Client
from lib.origin import silence
from lib.proxy import log_lines


def of(origin, **hcm):
    return config.bootstrap([config.http_listener(**hcm)], [config.cluster("origin", origin.port)])


# ---- limits of a stream ----

@pytest.mark.parametrize("limit,statistic,status,details", [
    ({"stream_idle_timeout": "0.3s"}, "downstream_rq_idle_timeout", "504", "stream_idle_timeout"),
    ({"request_timeout": "0.3s"}, "downstream_rq_timeout", "408", "request_overall_timeout"),
    ({"common_http_protocol_options": {"max_stream_duration": "0.3s"}}, "downstream_rq_max_duration_reached",
     "504", "max_duration_timeout"),
])
@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_stream_limit__answered_counted_and_logged(start_proxy, make_origin, tmp_path, protocol, limit,
                                                   statistic, status, details):
    """The request timeout is about requests that don't end; the others about answers that don't come."""
    origin, log = make_origin(default=silence), tmp_path / "log"
    proxy = start_proxy(of(origin, access_log=[config.file_log(
        log, text_format="%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n")], **limit))
    is_slow_body = "request_timeout" in limit
    if protocol == "http2":
        with H2Client(proxy.address()) as client:
            stream_id = client.start(method="POST" if is_slow_body else "GET", end=not is_slow_body)
            found = client.wait(stream_id).status
    else:
        with connect(proxy.address()) as stream:
            stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc" if is_slow_body
                        else request_bytes())
            found = read_response(stream).status
    assert str(found) == status
    assert log_lines(str(log), 1) == [f"{status} {details}"]
    assert proxy.stat(f"http.in.{statistic}") == 1


def test_stream_idle_timeout__in_the_middle_of_an_answer__reset(start_proxy, make_origin):
    def begin(stream, request):
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        silence(stream, request)
    proxy = start_proxy(of(make_origin(default=begin), stream_idle_timeout="0.3s"))
    with H2Client(proxy.address()) as client:
        exchange = client.wait(client.start())
        assert (exchange.status, exchange.body) == (200, b"abc")
        assert exchange.reset_code is not None
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        assert stream.read_to_end().endswith(b"\r\n\r\nabc")
    proxy.wait_stat("http.in.downstream_rq_idle_timeout", 2)


def test_request_headers_timeout__408_and_counted(start_proxy, origin):
    proxy = start_proxy(of(origin, request_headers_timeout="0.3s"))
    with connect(proxy.address()) as stream:
        stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert read_response(stream).status == 408
        assert stream.is_ended()
    proxy.wait_stat("http.in.downstream_rq_header_timeout", 1)


# ---- limits of a connection ----

def test_delayed_close__peer_stays__closed_and_counted(start_proxy, origin):
    """The peer has its answer and doesn't leave: after delayed_close_timeout we do."""
    proxy = start_proxy(of(origin, delayed_close_timeout="0.1s"))
    with connect(proxy.address()) as stream:
        stream.send(b"rubbish\r\n\r\n")
        assert read_response(stream).status == 400
        proxy.wait_stat("http.in.downstream_cx_delayed_close_timeout", 1)


def test_delayed_close__peer_leaves__not_counted(start_proxy, origin):
    proxy = start_proxy(of(origin, delayed_close_timeout="30s"))
    with connect(proxy.address()) as stream:
        stream.send(b"rubbish\r\n\r\n")
        assert read_response(stream).status == 400
    proxy.wait_stat("http.in.downstream_cx_destroy_local", 1)
    assert proxy.stat("http.in.downstream_cx_delayed_close_timeout") == 0


def test_max_connection_duration__http1__idle_one_is_ended(start_proxy, origin):
    proxy = start_proxy(of(origin, common_http_protocol_options={"max_connection_duration": "0.3s"}))
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        assert read_response(stream).status == 200
        stream.read_to_end()
    proxy.wait_stat("http.in.downstream_cx_max_duration_reached", 1)


def test_max_connection_duration__http2__goaway(start_proxy, origin):
    proxy = start_proxy(of(origin, drain_timeout="0.1s",
                           common_http_protocol_options={"max_connection_duration": "0.3s"}))
    with H2Client(proxy.address()) as client:
        assert client.request().status == 200
        client.pump_to_end()
        assert client.goaway is not None and client.goaway.error_code == 0
    proxy.wait_stat("http.in.downstream_cx_max_duration_reached", 1)


def test_idle_timeout__http2__goaway(start_proxy, origin):
    proxy = start_proxy(of(origin, drain_timeout="0.1s",
                           common_http_protocol_options={"idle_timeout": "0.3s"}))
    with H2Client(proxy.address()) as client:
        assert client.request().status == 200
        client.pump_to_end()
        assert client.goaway is not None and client.goaway.error_code == 0
    proxy.wait_stat("http.in.downstream_cx_idle_timeout", 1)


# ---- between protocols ----

BODY = bytes(range(256)) * 400


def h1_answer(_stream, request):
    sums = f"{len(request.body)}".encode()
    return (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Size: " + sums + b"\r\n\r\n"
            + b"%x\r\n" % len(request.body) + request.body + b"\r\n0\r\nx-end: answer\r\n\r\n")


def h2_answer(_peer, _stream_id, request):
    return ([(":status", "200"), ("x-size", str(len(request.body)))], request.body, [("x-end", "answer")])


def ask_http1(address):
    with connect(address) as stream:
        stream.send(b"POST /echo HTTP/1.1\r\nHost: test.local\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\nx-end: request\r\n\r\n")
        answer = read_response(stream)
        return answer.status, answer.get("x-size"), answer.body, answer.trailers


def ask_http2(address):
    with H2Client(address) as client:
        answer = client.request(method="POST", path="/echo", body=BODY, trailers=[("x-end", "request")])
        assert answer.is_complete
        return answer.status, answer.get("x-size"), answer.body, answer.trailers


@pytest.mark.parametrize("upstream", ["http1", "http2"])
@pytest.mark.parametrize("downstream", ["http1", "http2"])
def test_matrix__bodies_and_trailers_both_ways(start_proxy, make_origin, make_h2_origin, downstream, upstream):
    is_h2 = upstream == "http2"
    origin = make_h2_origin(default=h2_answer) if is_h2 else make_origin(default=h1_answer)
    options = {"explicit_http_config": {"http2_protocol_options": {}} if is_h2 else
               {"http_protocol_options": {"enable_trailers": True}}}
    proxy = start_proxy(config.bootstrap(
        [config.http_listener(http_protocol_options={"enable_trailers": True})],
        [config.cluster("origin", origin.port, http_options=options)]))
    status, size, body, trailers = (ask_http2 if downstream == "http2" else ask_http1)(proxy.address())
    assert (status, size, trailers) == (200, str(len(BODY)), [("x-end", "answer")])
    assert body == BODY
    seen = origin.last()
    assert seen.trailers == [("x-end", "request")]
    assert (seen.get(":path") if is_h2 else seen.target) == "/echo"


def websocket_origin(stream, request):
    assert request.get("sec-websocket-key") is not None
    stream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    while stream.buffer or stream.fill():
        data, stream.buffer = stream.buffer, b""
        stream.send(data)
    stream.close()


def test_websocket__from_http2__reaches_an_http1_origin(start_proxy, make_origin):
    """RFC 8441 in front, Upgrade behind."""
    origin = make_origin(default=websocket_origin)
    proxy = start_proxy(of(origin, upgrade_configs=[{"upgrade_type": "websocket"}],
                           http2_protocol_options={"allow_connect": True}))
    with H2Client(proxy.address(), validate=False) as client:
        stream_id = client.start([(":protocol", "websocket"), ("sec-websocket-version", "13")],
                                 method="CONNECT", path="/chat", end=False)
        client.send_body(stream_id, b"over", end=False)
        exchange = client.exchange(stream_id)
        while exchange.body != b"over" and client.pump():
            pass
        assert (exchange.status, exchange.body) == (200, b"over")
        client.send_body(stream_id, b"", end=True)
    seen = origin.last()
    assert (seen.method, seen.target, seen.get("upgrade")) == ("GET", "/chat", "websocket")


def test_local_answer__same_over_both_protocols(start_proxy, origin):
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 403, "body": {"inline_string": "no"}}}]
    proxy = start_proxy(of(origin, routes=routes))
    first = http1.fetch(proxy.address())
    with H2Client(proxy.address()) as client:
        second = client.request()
    assert (first.status, first.body) == (second.status, second.body) == (403, b"no")
