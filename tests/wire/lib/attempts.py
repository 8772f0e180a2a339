# SPDX-License-Identifier: Apache-2.0
"""Origins that fail as planned, attempt by attempt, and the two proxies in front of them compared.

A request's `x-plan` says what happens to its nth attempt (x-envoy-attempt-count counts): "503,reset,200". A step is a
status with headers ("429+retry-after=1"), "end" and "reset" of the connection, "hang" until the proxy leaves,
"half" an answer and the end; the last step holds for all attempts after it. Over HTTP/2 "refuse" and "reset" are stream
resets, and "200+grpc-status=14" is as good as any.
"""
import re
from dataclasses import dataclass, field

from lib import config, http1
from lib.differential import Pair, differences, explain, mask_headers
from lib.http1 import response_bytes
from lib.http2 import H2Client, H2Origin
from lib.origin import Origin
from lib.streams import Closed, connect
from lib.wait import wait_until

LOG = ("%REQ(X-ID)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% "
       "cluster=%UPSTREAM_CLUSTER% route=%ROUTE_NAME% vcluster=%VIRTUAL_CLUSTER_NAME%\n")
COUNTERS = re.compile(
    r"^(cluster\.\w+\.((retry|internal|external|canary)\.)?(upstream_rq_(?!(pending|active|tx_reset|total|cancelled|stale|rx_reset))"
    r"|upstream_internal|retry_or_shadow)|http\.in\.(rq_|no_|passthrough|downstream_rq_([1-5]xx|total|completed|max|idle))|vhost\.)")


# Each attempt on a connection of its own: a GET that fails on a used one would be replayed (docs/differences.md).
FRESH = {"common_http_protocol_options": {"max_requests_per_connection": 1}}


def same_order(line):
    """Several response flags stand in the order of weft's table (docs/differences.md)."""
    words = line.split(" ")
    words[2] = ",".join(sorted(words[2].split(",")))
    return " ".join(words)


def is_retry(request):
    return dict((n.lower(), v) for n, v in request.headers).get("x-envoy-attempt-count", "1") != "1"


def step_of(headers):
    named = {n.lower(): v for n, v in headers}
    plan = named.get("x-plan", "200").split(",")
    attempt = int(named.get("x-envoy-attempt-count", "1"))
    return plan[min(attempt, len(plan)) - 1]


def parse(step):
    status, *extra = step.split("+")
    return int(status), [tuple(item.split("=", 1)) for item in extra]


class Planned(Origin):
    """HTTP/1."""

    def __init__(self, name="a", **more):
        super().__init__(**more)
        self.name = name

    def answer(self, stream, request):
        step = step_of(request.headers)
        if step in ("end", "reset"):
            stream.close() if step == "end" else stream.reset()
            return False
        if step == "hang":
            while stream.fill():
                pass
            return False
        if step == "half":
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            stream.close()
            return False
        if step == "dribble":  # a head, then silence
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
            while stream.fill():
                pass
            return False
        status, headers = parse(step)
        stream.send(response_bytes(status, [("x-from", self.name), *headers], b"" if status == 204 else b"said " + step.encode()))
        return True


def h2_step(peer, stream_id, request):
    step = step_of(request.headers)
    if step in ("refuse", "reset"):
        peer.conn.reset_stream(stream_id, 7 if step == "refuse" else 2)
        peer.flush()
        return None
    if step == "hang":
        return None
    status, headers = parse(step)
    return [(":status", str(status)), *headers], b"", []


class PlannedH2(H2Origin):
    def __init__(self):
        super().__init__(default=h2_step)


@dataclass
class Case:
    """`expect`: parts of the log line that the case is about, so that both being wrong is seen."""
    name: str
    target: str = "/"
    plan: str = "200"
    method: str = "GET"
    headers: list = field(default_factory=list)
    body: bytes = b""
    expect: str = ""
    h2: bool = False
    host: str = "test.local"
    lines: int = 1
    same_log: bool = True


class World:
    """Both proxies, their origins a, b (HTTP/1), h2 and one port where nobody listens."""

    def __init__(self, directory, make_listener, clusters=None, **bootstrap):
        self.a, self.b, self.h2 = Planned("a"), Planned("b"), PlannedH2()
        made = clusters(self) if clusters else []

        def make(log):
            listener = make_listener(config.file_log(log, text_format=LOG))
            base = [config.cluster("a", self.a.port, http_options=FRESH), config.cluster("b", self.b.port, http_options=FRESH),
                    config.cluster("h2", self.h2.port, http2=True, http_options=FRESH)]
            return config.bootstrap([listener], base + made, **bootstrap)
        try:
            self.pair = Pair(make, directory)
        except BaseException:
            self.close_origins()
            raise

    def close_origins(self):
        for origin in (self.a, self.b, self.h2):
            origin.close()

    def stop(self):
        self.pair.stop()
        self.close_origins()

    def counters(self, side):
        return {n: v for n, v in side.proxy.stats().items() if COUNTERS.search(n) and v}

    def ask(self, side, case):
        headers = [("x-id", case.name), ("x-plan", case.plan), *case.headers]
        if case.h2:
            with H2Client(side.proxy.address(), validate=False) as client:
                answer = client.request(method=case.method, path=case.target, headers=headers, body=case.body or None,
                                        authority=case.host)
            return {"headers": mask_headers(answer.headers), "body": answer.body, "reset": answer.reset_code is not None}
        with connect(side.proxy.address()) as stream:
            stream.send(http1.request_bytes(case.method, case.target, headers, case.body, case.host))
            try:
                answer = http1.read_response(stream, case.method)
            except Closed:
                return {"closed": True}
            # An answer before the request's end: weft reads the rest and keeps the connection (docs/differences.md).
            return {"status": answer.status, "body": answer.body,
                    "headers": [(n, v) for n, v in mask_headers(answer.headers) if n != "connection"]}

    def observe(self, side, case):
        before, mark = self.counters(side), len(side.lines())
        origins = (self.a, self.b, self.h2)
        marks = [len(o.requests) for o in origins]
        seen = {"client": self.ask(side, case)}
        wait_until(lambda: len(side.lines()) >= mark + case.lines, "the access-log line")
        seen["log"] = [same_order(line) for line in side.lines()[mark:]]
        seen["upstream"] = [
            (getattr(r, "start", "h2"), [(n, "<left>" if n == "x-envoy-expected-rq-timeout-ms" and (i or is_retry(r)) else v)
                                         for n, v in mask_headers(r.headers)], r.body)
            for o, at in zip(origins, marks) for i, r in enumerate(o.requests[at:])]
        after = self.counters(side)
        seen["counters"] = {n: v - before.get(n, 0) for n, v in after.items()
                            if v != before.get(n, 0)}
        return seen

    def same(self, case):
        """What both showed, once it is the same."""
        expected, got = (self.observe(side, case) for side in self.pair.sides)
        found = [d for d in differences(expected, got) if case.same_log or not d[0].startswith("log")]
        assert not found, f"{case}\n{explain(found)}"
        assert case.expect in expected["log"][-1], (case.expect, expected["log"])
        return got
