# SPDX-License-Identifier: Apache-2.0
"""What the demo's services share: a small HTTP server, calls to each other, one line of log a request.

A service knows nothing of a mesh. It calls http://reviews:9080 and passes on the headers that belong to the user's request, so that
the parts of a trace find together. Where no traffic is captured, http_proxy of the environment names the way out; urllib heeds it.

Environment: NAME and VERSION of the instance, HOST and PORT to listen on, FAULT_FILE (see Fault).
"""
import http.server
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

NAME, VERSION = os.environ.get("NAME", "service"), os.environ.get("VERSION", "v1")
PASSED_ON = ("x-request-id", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "b3", "traceparent",
             "tracestate", "baggage", "end-user", "user-agent")


class Fault:
    """The switch to be bad: a file with {"fail_pct": 50, "slow_ms": 200}, read anew for each request; none: all is well."""

    def __init__(self, path):
        self.path = path

    def apply(self):
        """Waits as told; true: this request is to fail."""
        try:
            with open(self.path, encoding="utf-8") as file:
                told = json.load(file)
        except (OSError, TypeError, ValueError):
            return False
        time.sleep(told.get("slow_ms", 0) / 1000)
        return random.random() * 100 < told.get("fail_pct", 0)


class Answer(Exception):
    """Raised by a page to answer with something else than 200."""

    def __init__(self, status, body):
        super().__init__(status)
        self.status, self.body = status, body


def caller(headers):
    """Who called, as the proxy beside us verified it: the last element's URI of x-forwarded-client-cert."""
    for part in headers.get("x-forwarded-client-cert", "").rsplit(",", 1)[-1].split(";"):
        if part.startswith("URI="):
            return part[4:].strip('"')
    return None


def call(url, headers, timeout_s=10):
    """(status, body) of a GET; the body is None where it isn't JSON. 503 when nobody answers."""
    passed = {name: headers[name] for name in PASSED_ON if name in headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=passed), timeout=timeout_s) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    except OSError:
        return 503, None
    try:
        return status, json.loads(text)
    except ValueError:
        return status, None


def log(**fields):
    sys.stdout.write(json.dumps({"service": NAME, "version": VERSION, **fields}) + "\n")
    sys.stdout.flush()


def handler(pages, fault):
    """`pages`: {path: function of the headers}; what it returns is sent as JSON, a string as HTML."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            start = time.monotonic()
            status, body = self.answer(self.path.split("?")[0])
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("content-type", "text/html; charset=utf-8" if isinstance(body, str) else "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            log(path=self.path, status=status, ms=round((time.monotonic() - start) * 1000, 1), caller=caller(self.headers),
                request_id=self.headers.get("x-request-id"))

        def answer(self, path):
            if path == "/health":
                return 200, {"service": NAME, "version": VERSION}
            if path not in pages:
                return 404, {"error": f"no page {path}"}
            if fault.apply():
                return 500, {"service": NAME, "version": VERSION, "error": "told to fail"}
            try:
                return 200, pages[path](self.headers)
            except Answer as other:
                return other.status, other.body

    return Handler


def serve(pages):
    """Serves until SIGTERM."""
    address = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "9080"))
    server = http.server.ThreadingHTTPServer(address, handler(pages, Fault(os.environ.get("FAULT_FILE"))))
    server.daemon_threads = True
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: threading.Thread(target=server.shutdown).start())
    log(listening="%s:%d" % server.server_address[:2])
    server.serve_forever(poll_interval=0.1)
