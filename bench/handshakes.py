#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Full and resumed handshakes of mutual TLS (ECDSA P-256) for each second of the server's CPU time: weft-proxy beside haproxy
and Envoy, one worker each. The client is `openssl s_time`; what it costs itself doesn't count, so that a busy machine
disturbs little. docs/performance.md has the figures.
"""
import argparse
import glob
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import envoy_config as ec
from peers import ROOT, installed

HCM = ec.TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager"
HAPROXY = """global
  nbthread 1
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 10s
frontend f
  bind 127.0.0.1:{port} ssl crt {certs}/b.both ca-file {certs}/ca.crt verify required
  http-request return status 200 content-type text/plain string ok
"""
MODES = {"full, TLS 1.3": ["-new", "-tls1_3"], "full, TLS 1.2": ["-new", "-tls1_2"],
         "resumed, TLS 1.3": ["-reuse", "-tls1_3"], "resumed, TLS 1.2": ["-reuse", "-tls1_2"]}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def bootstrap(port, certs):
    """Answers itself; HTTP/1.0, which s_time speaks, and an end at once."""
    hcm = {"@type": HCM, "stat_prefix": "b", "http_protocol_options": {"accept_http_10": True}, "delayed_close_timeout": "0s",
           "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
               {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]}]},
           "http_filters": [{"name": "router", "typed_config": {"@type": ec.TYPE + "filters.http.router.v3.Router"}}]}
    chain = {"transport_socket": ec.downstream_tls(certs), "filters": [{"name": "hcm", "typed_config": hcm}]}
    return {"static_resources": {"listeners": [
        {"name": "l", "address": ec.address(port), "filter_chains": [chain]}]}}


def command(program, name, port, certs, folder):
    path = os.path.join(folder, name)
    with open(path, "w") as out:
        out.write(HAPROXY.format(port=port, certs=certs) if name == "haproxy" else json.dumps(bootstrap(port, certs)))
    if name == "haproxy":
        return [program, "-db", "-f", path]
    os.rename(path, path + ".json")
    return [program, "-c", path + ".json", "--concurrency", "1", *(["--base-id", str(port)] if name == "envoy" else [])]


def await_port(port):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("a server didn't start")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(pid, port, certs, mode, seconds):
    before = cpu_s(pid)
    out = subprocess.run(["openssl", "s_time", "-connect", f"127.0.0.1:{port}", *mode, "-www", "/", "-time", str(seconds),
                          "-cert", certs + "/a.crt", "-key", certs + "/a.key", "-CAfile", certs + "/ca.crt"],
                         capture_output=True, text=True, check=False).stdout
    made = re.search(r"^(\d+) connections in \d+ real seconds, (\d+) bytes read per", out, re.M)
    if not made or made.group(2) == "0":  # s_time counts a TLS 1.3 handshake before the server has judged it
        sys.exit(f"{mode}: handshakes without an answer\n{out}")
    return int(made.group(1)) / max(cpu_s(pid) - before, 0.01)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weft", default=os.path.join(ROOT, "build/release/src/cmd/weft-proxy"))
    parser.add_argument("--seconds", type=int, default=5)
    args = parser.parse_args()
    envoys = glob.glob(os.path.join(ROOT, "build/venv/lib/python3*/site-packages/envoy/_bin/envoy"))
    programs = {"weft": args.weft, "haproxy": installed("haproxy"), "envoy": os.environ.get("ENVOY") or (envoys or [None])[0]}
    running = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([os.path.join(ROOT, "bench/certificates"), folder], check=True, stdout=subprocess.DEVNULL)
        with open(folder + "/b.both", "w") as both:
            both.write(open(folder + "/b.crt").read() + open(folder + "/b.key").read())
        try:
            for name, program in programs.items():
                if program:
                    port = free_port()
                    running[name] = (subprocess.Popen(command(program, name, port, folder, folder), stdout=subprocess.DEVNULL,
                                                      stderr=subprocess.DEVNULL), port)
                    await_port(port)
            for mode, flags in MODES.items():
                rates = {n: measure(p.pid, port, folder, flags, args.seconds) for n, (p, port) in running.items()}
                print(f"{mode:18}", *(f"{n} {rate:7.0f}" for n, rate in rates.items()), " handshakes a CPU second")
        finally:
            for process, _ in running.values():
                process.kill()


if __name__ == "__main__":
    main()
