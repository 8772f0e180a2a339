# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1 server that does what a test tells it: records every request, answers scripted bytes.

`script` maps the request's `x-case` header to bytes or to a function (connection, request); a function
may write by itself and return None, or return bytes. Anything else gets `default`. A `handler` takes
whole connections instead. One thread a connection.
"""
import socket
import ssl
import threading

from lib import http1
from lib.streams import Closed, Stream
from lib.wait import wait_until

DEFAULT_ANSWER = http1.response_bytes(200, [("Content-Type", "text/plain")], b"hello")


class Origin:
    def __init__(self, script=None, handler=None, default=DEFAULT_ANSWER, tls=None, backlog=512):
        self.script = dict(script or {})
        self.default = default
        self.handler = handler or self.serve
        self.tls = tls
        self.requests = []
        self.connections = []
        self.failures = []
        self.lock = threading.Lock()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(backlog)
        self.address = self.listener.getsockname()
        self.port = self.address[1]
        threading.Thread(target=self.accept_all, daemon=True).start()

    def accept_all(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            stream = Stream(sock)
            with self.lock:
                self.connections.append(stream)
            self.handler(stream)
        except (OSError, Closed, ssl.SSLError):
            pass  # the proxy left: for the test to judge
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(error)
        finally:
            sock.close()

    def serve(self, stream):
        while True:
            request = http1.read_request(stream)
            if request is None:
                return
            self.record(request)
            if not self.answer(stream, request):
                return

    def record(self, request):
        with self.lock:
            self.requests.append(request)

    def answer(self, stream, request):
        """Sends the scripted answer; False where the connection must not be used again."""
        answer = self.script.get(request.get("x-case"), self.default)
        if callable(answer):
            answer = answer(stream, request)
        if answer is None:
            return stream.sock.fileno() >= 0
        if request.method == "HEAD" and answer is self.default:
            answer = answer.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
        stream.send(answer)
        head = answer.split(b"\r\n\r\n")[0].lower()
        is_bounded = b"content-length" in head or b"chunked" in head or b" 204 " in head or b" 304 " in head
        return is_bounded and b"connection: close" not in head

    def wait_for(self, count):
        """The first `count` requests, once they have come."""
        wait_until(lambda: len(self.requests) >= count, f"{count} requests at the origin")
        return self.requests[:count]

    def last(self):
        return self.requests[-1]

    def close(self):
        self.listener.close()
        for stream in self.connections:
            stream.close()
        assert not self.failures, self.failures

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def end(stream, _request):
    """Script: end the connection in order, without an answer."""
    stream.close()


def reset(stream, _request):
    """Script: reset the connection, without an answer."""
    stream.reset()


def then_end(data):
    """Script: send `data`, then end the connection."""
    def run(stream, _request):
        stream.send(data)
        stream.close()
    return run


def silence(stream, _request):
    """Script: say nothing until the proxy gives up."""
    stream.read_to_end()
    stream.close()
