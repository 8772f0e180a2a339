# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 messages as they stand on the wire: names keep their case, order and repetition."""
from dataclasses import dataclass, field

from lib.streams import Closed, Stream, connect


@dataclass
class Message:
    start: str
    headers: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    head: bytes = b""

    def all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return ",".join(values) if values else default

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    @property
    def method(self):
        return self.start.split(" ")[0]

    @property
    def target(self):
        return self.start.split(" ")[1]


def read_fields(stream):
    fields = []
    while True:
        line = stream.read_until(b"\r\n")[:-2].decode("latin-1")
        if not line:
            return fields
        name, _, value = line.partition(":")
        fields.append((name, value.strip(" \t")))


def read_head(stream):
    raw = stream.read_until(b"\r\n\r\n")
    lines = raw[:-4].decode("latin-1").split("\r\n")
    headers = []
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.append((name, value.strip(" \t")))
    return Message(lines[0], headers, head=raw)


def read_chunked(stream, message):
    while True:
        size = int(stream.read_until(b"\r\n")[:-2].split(b";")[0], 16)
        if size == 0:
            message.trailers = read_fields(stream)
            return
        message.body += stream.read_exact(size)
        if stream.read_exact(2) != b"\r\n":
            raise ValueError("a chunk without its line's end")


def read_request(stream):
    """The next request, or None where the peer ended instead."""
    try:
        message = read_head(stream)
    except Closed:
        return None
    if "chunked" in (message.get("transfer-encoding") or "").lower():
        read_chunked(stream, message)
    elif message.get("content-length"):
        message.body = stream.read_exact(int(message.get("content-length").split(",")[0]))
    return message


def read_response(stream, method="GET", skip_informational=True):
    while True:
        message = read_head(stream)
        if not (skip_informational and 100 <= message.status < 200 and message.status != 101):
            break
    if method == "HEAD" or message.status in (204, 304) or message.status < 200:
        return message
    if method == "CONNECT" and message.status == 200:
        return message
    if "chunked" in (message.get("transfer-encoding") or "").lower():
        read_chunked(stream, message)
    elif message.get("content-length") is not None:
        message.body = stream.read_exact(int(message.get("content-length")))
    else:
        message.body = stream.read_to_end()
    return message


def request_bytes(method="GET", target="/", headers=(), body=b"", host="test.local",
                  version="HTTP/1.1"):
    """A plain request; a body brings its content-length. `host=None` leaves Host out."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def response_bytes(status=200, headers=(), body=b"", reason="OK"):
    lines = [f"HTTP/1.1 {status} {reason}"] + [f"{name}: {value}" for name, value in headers]
    if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def fetch(address, method="GET", target="/", headers=(), body=b"", host="test.local", tls=None,
          server_name=None):
    """One request on a connection of its own."""
    with connect(address, tls, server_name) as stream:
        stream.send(request_bytes(method, target, headers, body, host))
        return read_response(stream, method)


__all__ = ["Closed", "Message", "Stream", "connect", "fetch", "read_head", "read_request",
           "read_response", "request_bytes", "response_bytes"]
