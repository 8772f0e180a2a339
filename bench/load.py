# SPDX-License-Identifier: Apache-2.0
"""Backend and load, all on the CPU beside the proxy's. Every function returns figures in a dict and
raises Failure when answers were missing or wrong: a fast proxy that answers 503 is not fast."""
import json
import os
import re
import socket
import subprocess
import time

import dns
from machine import LOAD_CPU, Failure, Process
from peers import compiled, installed

UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}
FILE_BYTES = 64 << 20


class Backend:
    """One nginx: 1 KiB answers over HTTP/1.1 and HTTP/2, and a 64 MiB file for bulk transfer."""

    CONF = """worker_processes 1; daemon off; pid %(dir)s/backend.pid; error_log %(dir)s/backend.err;
events { worker_connections 20000; }
http {
  access_log off; keepalive_requests 100000000; keepalive_timeout 600;
  client_body_buffer_size 128k; client_max_body_size 0;
  server { listen 127.0.0.1:%(http)d backlog=4096; location / { return 200 "%(body)s"; } }
  server { listen 127.0.0.1:%(h2)d http2 backlog=4096; http2_max_requests 100000000;
           location / { return 200 "%(body)s"; } }
  server { listen 127.0.0.1:%(ring)d; %(many)s location / { return 200 "%(body)s"; } }
  server { listen 127.0.0.1:%(tcp)d backlog=4096; location / { root %(dir)s; } }
}
"""

    def __init__(self, directory, ports):
        self.ports = {shape: ports.new() for shape in ("http", "h2", "tcp", "ring")}
        self.ports["maglev"] = self.ports["ring"]
        many = " ".join(f"listen {a}:{self.ports['ring']};" for a in dns.pool())
        path = os.path.join(directory, "backend.conf")
        with open(path, "w") as f:
            f.write(self.CONF % {"dir": directory, "body": "x" * 1024, "many": many, **self.ports})
        with open(os.path.join(directory, "file"), "wb") as f:
            f.truncate(FILE_BYTES)
        self.process = Process([installed("nginx"), "-p", directory, "-c", path], LOAD_CPU,
                               path + ".log")
        for port in self.ports.values():
            self.process.wait_port(port)

    def port_for(self, shape):
        return self.ports.get(shape, self.ports["http"])

    def stop(self):
        self.process.stop()


def _run(command, limit_s):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise Failure(f"{os.path.basename(command[0])} did not end in {limit_s:.0f} s")
    if done.returncode != 0:
        raise Failure(f"{os.path.basename(command[0])}: {(done.stderr or done.stdout)[-300:].strip()}")
    return done.stdout


def _find(pattern, text, what):
    m = re.search(pattern, text)
    if not m:
        raise Failure(f"{what} not found in: {text[-300:]}")
    return m


def wrk(port, seconds, connections, extra=()):
    """As fast as answers come, `connections` in flight."""
    out = _run([installed("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *extra,
                f"http://127.0.0.1:{port}/"], seconds + 20)
    for fault in (r"Non-2xx or 3xx responses: [1-9]\d*", r"Socket errors: .*"):
        m = re.search(fault, out)
        if m:
            raise Failure(m.group(0))
    m = _find(r"(\d+) requests in ([\d.]+)s", out, "the request count")
    p99 = _find(r"\s99%\s+([\d.]+)(us|ms|s)", out, "p99")
    count = int(m.group(1))
    if count == 0:
        raise Failure("no request was answered")
    return {"done": count, "rps": count / float(m.group(2)),
            "p99_us": float(p99.group(1)) * UNITS_US[p99.group(2)]}


def wrk_post(port, seconds, connections, directory):
    script = os.path.join(directory, "post.lua")
    with open(script, "w") as f:
        f.write('wrk.method = "POST"\nwrk.body = string.rep("y", 65536)\n')
    return wrk(port, seconds, connections, ("-s", script))


def h2load(port, seconds):
    """8 connections, 16 streams each."""
    out = _run([installed("h2load"), "-t1", "-c8", "-m16", f"-D{seconds}",
                f"http://127.0.0.1:{port}/"], seconds + 20)
    m = _find(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", out, "the request count")
    done, succeeded, failed, errored = map(int, m.groups())
    if failed or errored or done == 0 or succeeded != done:
        raise Failure(f"{m.group(0)} requests")
    rps = float(_find(r"finished in [\d.]+\w*, ([\d.]+) req/s", out, "the rate").group(1))
    return {"done": done, "rps": rps}


def pace(port, rate, seconds, connections):
    """Open loop: `rate` requests fall due each second whatever the answers do (bench/pace.c)."""
    return json.loads(_run([compiled("pace"), str(port), str(rate), str(seconds), str(connections)],
                           seconds + 30))


def download(port, seconds):
    """The file again and again, a connection each; returns the bytes that came and the time."""
    buffer, total, start = bytearray(256 << 10), 0, time.monotonic()
    while time.monotonic() - start < seconds:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(b"GET /file HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            got = 0
            while n := s.recv_into(buffer):
                got += n
        if got < FILE_BYTES:
            raise Failure(f"a download ended after {got} of {FILE_BYTES} bytes")
        total += got
    return {"bytes": total, "seconds": time.monotonic() - start}


def ask_once(sock):
    """One request over an open connection, its answer read whole."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < 1024:
        chunk = sock.recv(16384)
        if not chunk:
            raise Failure("the connection closed before its answer was whole")
        answer += chunk
    if not answer.startswith(b"HTTP/1.1 200"):
        raise Failure(answer.split(b"\r\n", 1)[0].decode(errors="replace"))


def hold_idle(port, count):
    """`count` keep-alive connections, each of which has had one answer; the caller closes them."""
    held = []
    try:
        for _ in range(count):
            s = socket.create_connection(("127.0.0.1", port), 5)
            held.append(s)
            ask_once(s)
    except OSError as e:
        for s in held:
            s.close()
        raise Failure(f"connection {len(held)}: {e}")
    return held
