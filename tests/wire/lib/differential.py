# SPDX-License-Identifier: Apache-2.0
"""One bootstrap under Envoy and under weft-proxy, the same bytes to both, everything visible compared.

The two share their origins, so that addresses in logs agree; what differs from run to run (times, ports,
ids) is masked, never dropped: a missing value still differs from a present one.
"""
import json
import os
import re
from dataclasses import dataclass, field

from lib import config, http1
from lib.http2 import H2Client
from lib.proxy import Proxy, envoy, weft
from lib.streams import Closed, connect
from lib.wait import wait_until

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ADDRESS = re.compile(r"(127\.0\.0\.1|\[::1\]):\d+")
MASKED_HEADERS = {"date": "<date>", "x-envoy-upstream-service-time": "<ms>"}

# Every operator that means something on these roads; arguments where it takes one.
OPERATORS = """
BYTES_RECEIVED BYTES_SENT PROTOCOL RESPONSE_CODE RESPONSE_CODE_DETAILS RESPONSE_FLAGS RESPONSE_FLAGS_LONG
CONNECTION_TERMINATION_DETAILS ROUTE_NAME VIRTUAL_CLUSTER_NAME FILTER_CHAIN_NAME ACCESS_LOG_TYPE HOSTNAME
UPSTREAM_HOST UPSTREAM_HOST_NAME UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW
UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT
UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_TRANSPORT_FAILURE_REASON
UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_WIRE_BYTES_SENT UPSTREAM_WIRE_BYTES_RECEIVED
UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN
UPSTREAM_TLS_VERSION UPSTREAM_TLS_CIPHER
DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS
DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
DOWNSTREAM_WIRE_BYTES_SENT DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT
DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_TRANSPORT_FAILURE_REASON REQUESTED_SERVER_NAME
DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_FINGERPRINT_256
DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_CERT
DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN
DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_TLS_VERSION DOWNSTREAM_TLS_CIPHER GRPC_STATUS GRPC_STATUS_NUMBER
REQUEST_HEADERS_BYTES RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES
""".split()
MASKED_OPERATORS = """START_TIME DURATION REQUEST_DURATION RESPONSE_DURATION RESPONSE_TX_DURATION
REQUEST_TX_DURATION CONNECTION_ID UPSTREAM_CONNECTION_ID DOWNSTREAM_REMOTE_PORT DOWNSTREAM_LOCAL_PORT
DOWNSTREAM_DIRECT_REMOTE_PORT UPSTREAM_LOCAL_PORT STREAM_ID""".split()
HOLD_SERVICE_TIME = {"DOWNSTREAM_WIRE_BYTES_SENT", "DOWNSTREAM_HEADER_BYTES_SENT", "RESPONSE_HEADERS_BYTES"}
ARGUMENT_OPERATORS = {
    "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "authority": "%REQ(:AUTHORITY)%",
    "scheme": "%REQ(:SCHEME)%", "agent": "%REQ(USER-AGENT)%", "short_agent": "%REQ(USER-AGENT):3%",
    "xff": "%REQ(X-FORWARDED-FOR)%", "xfp": "%REQ(X-FORWARDED-PROTO)%", "xfcc": "%REQ(X-FORWARDED-CLIENT-CERT)%",
    "type": "%RESP(CONTENT-TYPE)%", "grpc": "%TRAILER(GRPC-STATUS)%", "grpc_camel": "%GRPC_STATUS(CAMEL_STRING)%",
    "mixed": "%PROTOCOL% %RESPONSE_CODE% \"%REQ(X-NONE)%\"", "year": "%START_TIME(%Y)%",
}


def log_format():
    fields = {name: f"%{name}%" for name in OPERATORS + MASKED_OPERATORS}
    return {**fields, **ARGUMENT_OPERATORS, "request_id": "%REQ(X-REQUEST-ID)%"}


def mask(name, value):
    if name.lower() in MASKED_HEADERS:
        return MASKED_HEADERS[name.lower()]
    return ADDRESS.sub(r"\1:<port>", UUID.sub("<uuid>", value))


def mask_headers(headers):
    """Sorted: the order of different names means nothing, that of one name's values is kept."""
    return sorted(((n.lower(), mask(n, v)) for n, v in headers), key=lambda pair: pair[0])


def surplus_of(answer):
    return max(0, len(answer.get("x-envoy-upstream-service-time", "0")) - 1)


def mask_log(line, surplus):
    """`surplus`: digits of the service time beyond one, which the byte counts of a response hold."""
    fields, seen = json.loads(line), {}
    for name, value in fields.items():
        is_h2 = fields["UPSTREAM_PROTOCOL" if name.startswith("UPSTREAM") else "PROTOCOL"] == "HTTP/2"
        if name in MASKED_OPERATORS or (is_h2 and "_BYTES_" in name):  # HPACK's gain varies with ids
            value = "<set>" if value not in (None, "-") else value
        elif name in HOLD_SERVICE_TIME and isinstance(value, int) and value:
            value -= surplus
        elif isinstance(value, str):
            value = mask("", value)
        seen[name] = value
    return seen


@dataclass
class Shape:
    """A request: raw bytes on a listener, or an HTTP/2 request where `h2` holds its arguments."""
    name: str
    listener: str = "base"
    raw: bytes = b""
    method: str = "GET"
    h2: dict = None
    log_lines: int = 1
    client: str = None       # name of a client certificate: TLS
    ignore: dict = field(default_factory=dict)  # what is seen -> why it may differ (docs/differences.md)


def shape(name, listener="base", method="GET", target="/", headers=(), body=b"", host="test.local", **more):
    """The common kind: an HTTP/1.1 request that a function can write."""
    return Shape(name, listener, http1.request_bytes(method, target, headers, body, host), method, **more)


class Side:
    """One proxy with its log."""

    def __init__(self, binary, directory, make_bootstrap):
        self.log_path = os.path.join(str(directory), "access.json")
        os.makedirs(str(directory), exist_ok=True)
        self.proxy = Proxy(make_bootstrap(self.log_path), directory, binary=binary)

    def lines(self):
        if not os.path.exists(self.log_path):
            return []
        with open(self.log_path, encoding="utf-8", errors="replace") as text:
            return [line for line in text.read().split("\n")[:-1] if line]

    def exchange(self, case, tls):
        """What the client sees, and how much longer than a digit the service time is."""
        address = self.proxy.address(case.listener)
        if case.h2 is not None:
            with H2Client(address, tls, "test.local" if tls else None, validate=False) as client:
                answer = client.request(**case.h2)
            return {"headers": mask_headers(answer.headers), "body": answer.body,
                    "trailers": mask_headers(answer.trailers), "reset": answer.reset_code}, surplus_of(answer)
        with connect(address, tls, "test.local" if tls else None) as stream:
            stream.send(case.raw)
            try:
                answer = http1.read_response(stream, case.method)
            except Closed:
                return {"start": "closed without an answer"}, 0
            return {"start": answer.start, "headers": mask_headers(answer.headers), "body": answer.body,
                    "trailers": mask_headers(answer.trailers)}, surplus_of(answer)

    def observe(self, case, origins, tls):
        marks = [len(origin.requests) for origin in origins]
        line_mark = len(self.lines())
        client, surplus = self.exchange(case, tls)
        seen = {"client": client}
        if case.log_lines:
            wait_until(lambda: len(self.lines()) >= line_mark + case.log_lines,
                       f"an access-log line of {os.path.basename(self.proxy.binary)}")
        seen["log"] = [mask_log(line, surplus) for line in self.lines()[line_mark:]]
        seen["origin"] = [(getattr(r, "start", "h2"), mask_headers(r.headers), r.body, r.trailers)
                          for origin, at in zip(origins, marks) for r in origin.requests[at:]]
        return seen


class Pair:
    def __init__(self, make_bootstrap, directory):
        self.sides = [Side(envoy(), directory / "envoy", make_bootstrap)]
        try:
            self.sides.append(Side(weft(), directory / "weft", make_bootstrap))
        except BaseException:
            self.sides[0].proxy.kill()
            raise

    @property
    def envoy(self):
        return self.sides[0].proxy

    @property
    def weft(self):
        return self.sides[1].proxy

    def stop(self):
        for side in reversed(self.sides):
            side.proxy.stop()


def differences(left, right, path=""):
    """Paths and values at which two observations part."""
    if isinstance(left, dict) and isinstance(right, dict):
        return [d for key in sorted({*left, *right}, key=str)
                for d in differences(left.get(key), right.get(key), f"{path}.{key}" if path else key)]
    if isinstance(left, list) and isinstance(right, list) and path.endswith("headers"):
        only_left = [item for item in left if item not in right]
        only_right = [item for item in right if item not in left]
        if not only_left and not only_right:
            return [] if left == right else [(path, left, right)]
        names = {name for name, _ in only_left + only_right}
        return [(f"{path}[{name}]", [v for n, v in left if n == name], [v for n, v in right if n == name])
                for name in sorted(names)]
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)) and len(left) == len(right):
        return [d for i, (a, b) in enumerate(zip(left, right))
                for d in differences(a, b, f"{path}[{i}]" if not (path.startswith("origin") and i == 1
                                                                  and "[" in path) else f"{path}.headers")]
    return [] if left == right else [(path, left, right)]


def explain(found):
    return "\n".join(f"  {path}\n    envoy: {a!r}\n    weft:  {b!r}" for path, a, b in found)


__all__ = ["Pair", "Shape", "config", "differences", "explain", "log_format", "shape"]
