# SPDX-License-Identifier: Apache-2.0
"""An upstream that leaves at every byte of its answer, in order or by reset, while retries are on: the client gets an
answer that is whole or one that is seen to be cut, and when all is over every count is back where it began.
"""
import pytest

from lib import config, http1
from lib.attempts import FRESH
from lib.http1 import response_bytes
from lib.http2 import H2Origin
from lib.origin import Origin
from lib.streams import Closed
from lib.wait import wait_until

BREAKERS = {"max_connections": 50, "max_pending_requests": 50, "max_requests": 50, "max_retries": 50, "track_remaining": True}
WHOLE = {
    "length": response_bytes(200, [("x-a", "b")], b"0123456789"),
    "chunked": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n"
                b"5\r\n01234\r\n5;e=1\r\n56789\r\n0\r\nx-t: 1\r\n\r\n"),
    "early": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + response_bytes(200, body=b"0123456789"),
}
IDLE = ("upstream_rq_active", "upstream_rq_pending_active", "circuit_breakers.default.rq_open",
        "circuit_breakers.default.cx_open", "circuit_breakers.default.rq_pending_open",
        "circuit_breakers.default.rq_retry_open")


class Cutting(Origin):
    """x-cut says after how many bytes the first attempt's answer ends; later attempts are answered in full."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def answer(self, stream, request):
        whole = WHOLE[request.get("x-answer")]
        if request.get("x-envoy-attempt-count") != "1":
            stream.send(whole)
            return True
        stream.send(whole[:int(request.get("x-cut"))])
        stream.close() if self.how == "end" else stream.reset()
        return False


def boot(port, http2=False):
    policy = {"retry_on": "reset,5xx", "num_retries": 2, "retry_back_off": {"base_interval": "0.001s"}}
    host = config.virtual_host([config.route(retry_policy=policy)], include_request_attempt_count=True)
    made = config.cluster("origin", port, http2=http2, circuit_breakers={"thresholds": [BREAKERS]},
                          http_options=FRESH)
    return config.bootstrap([config.http_listener(virtual_hosts=[host])], [made])


def ask(proxy, cut, answer="length"):
    """The body; None where it was cut, or where an error says that it was too late to try again."""
    try:
        response = http1.fetch(proxy.address(), headers=[("x-cut", str(cut)), ("x-answer", answer)])
    except (Closed, ConnectionError):
        return None
    assert response.status == 200 or (response.status in (502, 503) and answer == "early"), (cut, response)
    return response.body if response.status == 200 else None


def assert_at_rest(proxy, requests):
    def is_idle():
        stats = proxy.stats("^(cluster.origin|http.in)")
        return not any(stats.get(f"cluster.origin.{name}", 0) for name in IDLE) and not stats.get("http.in.downstream_rq_active", 0)
    wait_until(is_idle, "requests and breakers to be at rest")
    stats = proxy.stats("^(cluster.origin|http.in)")
    for kind in ("cx", "pending", "rq", "retries"):
        assert stats[f"cluster.origin.circuit_breakers.default.remaining_{kind}"] + \
            (stats["cluster.origin.upstream_cx_active"] if kind == "cx" else 0) == 50, kind
    assert stats["http.in.downstream_rq_total"] == requests
    assert stats["cluster.origin.upstream_rq_total"] == requests + stats["cluster.origin.upstream_rq_retry"]
    assert stats["cluster.origin.upstream_cx_total"] - stats["cluster.origin.upstream_cx_destroy"] == \
        stats["cluster.origin.upstream_cx_active"]
    return stats


def first_byte_that_counts(answer):
    """With a head whole, be it an informational one, there is no way back (as in Envoy)."""
    return WHOLE[answer].index(b"\r\n\r\n") + 4


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("answer", list(WHOLE))
def test_http1__cut_at_every_byte__whole_or_seen_to_be_cut(start_proxy, started, how, answer):
    origin = Cutting(how)
    started.add(origin, origin.close)
    proxy = start_proxy(boot(origin.port), concurrency=2)
    whole, begun = WHOLE[answer], first_byte_that_counts(answer)
    for cut in range(len(whole) + 1):
        body = ask(proxy, cut, answer)
        if cut < begun:
            assert body == b"0123456789", cut
        elif cut == len(whole):
            assert body == b"0123456789" or how == "reset", cut
        else:  # a reset may overtake what was sent before it
            assert body is None or (how == "reset" and body == b"0123456789"), cut
    stats = assert_at_rest(proxy, len(whole) + 1)
    assert stats["cluster.origin.upstream_rq_retry"] >= begun
    if how == "end":
        assert stats["cluster.origin.upstream_rq_retry"] == begun
    if answer != "early":  # whose success nobody waits for after the informational head
        assert stats["cluster.origin.upstream_rq_retry_success"] == stats["cluster.origin.upstream_rq_retry"]


class CuttingH2(H2Origin):
    """The frames of the answer to the first attempt end after x-cut bytes, and the connection with them."""

    def __init__(self, how):
        super().__init__(default=self.answer)
        self.how = how
        self.length = 0

    def answer(self, peer, stream_id, request):
        headers = dict(request.headers)
        if headers.get("x-envoy-attempt-count") != "1":
            return [(":status", "200")], b"0123456789", [("x-t", "1")]
        peer.flush()
        peer.conn.send_headers(stream_id, [(":status", "200")])
        peer.conn.send_data(stream_id, b"0123456789")
        peer.conn.send_headers(stream_id, [("x-t", "1")], end_stream=True)
        frames = peer.conn.data_to_send()
        self.length = len(frames)
        peer.stream.send(frames[:int(headers["x-cut"])])
        peer.stream.close() if self.how == "end" else peer.stream.reset()
        return None


@pytest.mark.parametrize("how", ["end", "reset"])
def test_http2__cut_at_every_byte__whole_or_seen_to_be_cut(start_proxy, started, how):
    origin = CuttingH2(how)
    started.add(origin, origin.close)
    proxy = start_proxy(boot(origin.port, http2=True), concurrency=2)
    assert ask(proxy, 0) == b"0123456789"
    length = origin.length
    for cut in range(1, length + 1):
        body = ask(proxy, cut)
        assert body in (None, b"0123456789"), cut
        if cut < 10:  # the head's frame isn't whole
            assert body == b"0123456789", cut
    stats = assert_at_rest(proxy, length + 1)
    assert stats["cluster.origin.upstream_rq_retry"] == stats["cluster.origin.upstream_rq_retry_success"] >= 10
