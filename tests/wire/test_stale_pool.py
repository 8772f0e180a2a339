# SPDX-License-Identifier: Apache-2.0
"""Origins that close pooled connections at the worst moments: no client may see it ("random 503 UC").

What may be replayed is replayed and counted; what an origin may have acted upon is not sent twice.
"""
import socket

import pytest

from lib import config, http1
from lib.http1 import connect, read_response, request_bytes, response_bytes
from lib.http2 import H2Client
from lib.wait import wait_until

TRIES = 200
ANSWER = response_bytes(200, [], b"hello")


def simple(origin, listener_fields=None, **cluster):
    return config.bootstrap([config.http_listener(**(listener_fields or {}))],
                            [config.cluster("origin", origin.port, **cluster)])


def close_after(count, how="close", quiet=False):
    """A handler: answers `count` requests, then ends the connection; `quiet`: when the next request has come."""
    def handle(stream, origin):
        for _ in range(count):
            request = http1.read_request(stream)
            if request is None:
                return
            origin.record(request)
            stream.send(ANSWER)
        if quiet:
            request = http1.read_request(stream)
            if request is None:
                return
            origin.record(request)
        stream.reset() if how == "reset" else stream.close()
    return handle


def answer_and_end(stream, origin):
    """The answer and the connection's end travel in one segment: nothing can be acknowledged after it."""
    request = http1.read_request(stream)
    if request is None:
        return
    origin.record(request)
    stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    stream.send(ANSWER)
    stream.close()


@pytest.fixture
def start(start_proxy, make_origin):
    def make(handler, **bootstrap):
        origin = make_origin(handler=lambda stream: handler(stream, origin))
        return start_proxy(simple(origin, **bootstrap)), origin
    return make


@pytest.mark.weft_only
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("quiet", [False, True], ids=["while_idle", "on_the_next_request"])
@pytest.mark.parametrize("answers", [1, 2, 7])
def test_get__never_503(start, how, quiet, answers):
    proxy, _ = start(close_after(answers, how, quiet))
    statuses = []
    with connect(proxy.address()) as stream:
        for i in range(TRIES):
            stream.send(request_bytes(target=f"/{i}"))
            statuses.append(read_response(stream).status)
    assert statuses == [200] * TRIES
    replays = proxy.stat("cluster.origin.upstream_rq_stale_replay")
    assert (replays >= TRIES // (answers + 1) - 1) if quiet else (replays <= TRIES)
    assert proxy.stat("cluster.origin.upstream_rq_5xx") == 0


@pytest.mark.weft_only
def test_get__two_stale_connections_in_a_row__still_200(start_proxy, make_origin):
    """The replay goes out on a fresh connection, not on the next stale one of the pool."""
    waiting = []

    def handle(stream):
        request = http1.read_request(stream)
        origin.record(request)
        if request.target == "/together":
            waiting.append(stream)
            wait_until(lambda: len(waiting) >= 4, "four requests at once")
        stream.send(ANSWER)
        while True:
            request = http1.read_request(stream)
            if request is None:
                return
            origin.record(request)
            stream.close()
            return
    origin = make_origin(handler=handle)
    proxy = start_proxy(simple(origin))
    clients = [connect(proxy.address()) for _ in range(4)]
    for client in clients:
        client.send(request_bytes(target="/together"))
    assert [read_response(client).status for client in clients] == [200] * 4
    for client in clients:
        client.send(request_bytes(target="/after"))
        assert read_response(client).status == 200
        client.close()
    assert proxy.stat("cluster.origin.upstream_rq_stale_replay") >= 1


@pytest.mark.weft_only
@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS"])
def test_idempotent_methods__replayed_with_their_body(start, method):
    proxy, origin = start(close_after(1, quiet=True))
    body = b"x" * 5000 if method == "PUT" else b""
    with connect(proxy.address()) as stream:
        stream.send(request_bytes(target="/first"))
        assert read_response(stream).status == 200
        stream.send(request_bytes(method, "/second", body=body))
        assert read_response(stream, method).status == 200
    assert [(r.method, r.body) for r in origin.requests[1:]] == [(method, body)] * 2


def test_post__seen_by_the_origin__not_sent_twice(start):
    proxy, origin = start(close_after(1, quiet=True))
    with connect(proxy.address()) as stream:
        stream.send(request_bytes(target="/first"))
        assert read_response(stream).status == 200
        stream.send(request_bytes("POST", "/pay", body=b"100"))
        answer = read_response(stream)
    assert answer.status == 503
    assert [r.target for r in origin.requests].count("/pay") == 1


@pytest.mark.weft_only
def test_post__connection_closed_while_idle__goes_out_once_and_succeeds(start):
    proxy, origin = start(answer_and_end)
    with connect(proxy.address()) as stream:
        for i in range(TRIES // 4):
            stream.send(request_bytes("POST", f"/{i}", body=b"abc"))
            assert read_response(stream).status == 200
    targets = [r.target for r in origin.requests]
    assert len(targets) == len(set(targets)) == TRIES // 4


def test_fresh_connection_closed__is_an_error_not_a_replay(start):
    """An origin that always closes is broken, and must not be asked again and again."""
    proxy, origin = start(close_after(0, quiet=True))
    assert http1.fetch(proxy.address()).status == 503
    assert len(origin.requests) == 1


def test_response_begun__not_replayed(start_proxy, make_origin):
    def handle(stream):
        for i in range(2):
            origin.record(http1.read_request(stream))
            if i == 0:
                stream.send(ANSWER)
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        stream.close()
    origin = make_origin(handler=handle)
    proxy = start_proxy(simple(origin))
    with connect(proxy.address()) as stream:
        stream.send(request_bytes())
        assert read_response(stream).status == 200
        stream.send(request_bytes(target="/begun"))
        data = stream.read_to_end()
    assert b"half" in data and not data.endswith(b"hello")
    assert [r.target for r in origin.requests].count("/begun") == 1


@pytest.mark.weft_only
def test_h2_origin__goaway_between_requests__never_seen(start_proxy, make_h2_origin):
    def answer_and_leave(peer, stream_id, request):
        peer.conn.send_headers(stream_id, [(":status", "200")])
        peer.conn.send_data(stream_id, b"hello", end_stream=True)
        if len(origin.requests) % 3 == 0:
            peer.conn.close_connection(last_stream_id=stream_id)
        peer.flush()
        if len(origin.requests) % 3 == 0:
            peer.stream.close()
    origin = make_h2_origin()
    origin.default = answer_and_leave
    proxy = start_proxy(simple(origin, http2=True))
    with connect(proxy.address()) as stream:
        for _ in range(TRIES):
            stream.send(request_bytes())
            assert read_response(stream).status == 200


@pytest.mark.weft_only
def test_h2_origin__refused_stream__replayed(start_proxy, make_h2_origin):
    refused = []

    def refuse_once(peer, stream_id, request):
        if not refused and len(origin.requests) > 1:
            refused.append(stream_id)
            peer.conn.reset_stream(stream_id, 7)
            peer.flush()
            return None
        return [(":status", "200")], b"hello", []
    origin = make_h2_origin()
    origin.default = refuse_once
    proxy = start_proxy(simple(origin, http2=True))
    with connect(proxy.address()) as stream:
        for _ in range(3):
            stream.send(request_bytes("POST", body=b"abc"))
            assert read_response(stream).status == 200
    assert len(refused) == 1


@pytest.mark.weft_only
def test_h2_client__stale_http1_origin__never_503(start_proxy, make_origin):
    handler = close_after(1, "reset", quiet=True)
    origin = make_origin(handler=lambda stream: handler(stream, origin))
    proxy = start_proxy(simple(origin, {"codec_type": "HTTP2"}))
    with H2Client(proxy.address()) as client:
        assert [client.request().status for _ in range(TRIES)] == [200] * TRIES
