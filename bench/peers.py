# SPDX-License-Identifier: Apache-2.0
"""The proxies compared. Each is one class: it writes its configuration for a scenario's shape and
names the command. `processes(plan)` gives None where a peer can't play that shape.

Shapes: http (HTTP/1.1 in and out), h2 (HTTP/2 in and out), pair (two of it: cleartext HTTP/1.1 or
HTTP/2 outside, HTTP/2 over mutual TLS between them where the peer can), tcp, mesh (many clusters),
istio (pair with istiod's chains), sidecar, log and routes (http with more on its way), ring and maglev (many hosts that change).
"""
import glob
import json
import os
import shutil
import subprocess

import dns
import envoy_config as ec
import istio_config
from machine import PROXY_CPU, Failure, Process

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HASHES = {"ring": "RING_HASH", "maglev": "MAGLEV"}
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"


class Plan:
    """What one start of a peer shall be: shape, ports, and where its files go."""

    def __init__(self, bench, shape, client_h2=False, clusters=0):
        self.shape, self.client_h2, self.clusters = shape, client_h2, clusters
        self.dir, self.certs = bench.dir, bench.certs
        self.port, self.inner = bench.ports.new(), bench.ports.new()
        self.admin = [bench.ports.new(), bench.ports.new()]
        self.upstream = bench.backend.port_for(shape)
        self.dns = dns.Server().port if shape in HASHES else None


class Peer:
    name = ""

    def version(self):
        return ""

    def texts(self, plan):
        """One configuration text a process, the one that clients talk to first; None: can't."""
        raise NotImplementedError

    def command(self, path):
        raise NotImplementedError

    def start(self, plan):
        texts = self.texts(plan)
        if texts is None:
            return None
        started = []
        try:
            for i, text in enumerate(texts):
                path = os.path.join(plan.dir, f"{self.name}-{plan.port}-{i}{self.suffix}")
                with open(path, "w") as f:
                    f.write(text)
                started.append(Process(self.command(path), PROXY_CPU, path + ".log"))
            if plan.shape in ("pair", "istio"):
                started[1].wait_port(plan.inner)
        except Exception:
            for p in started:
                p.stop()
            raise
        return started

    suffix = ".conf"


class EnvoyLike(Peer):
    suffix = ".json"
    has_istio = False  # Istio's own filters

    def bootstraps(self, plan):
        up = [ec.address(plan.upstream)]
        if plan.shape == "mesh":
            return [ec.mesh_bootstrap(plan.clusters, 5, plan.admin[0], plan.port, up)]
        if plan.shape in HASHES:
            return [ec.hash_bootstrap(HASHES[plan.shape], plan.dns, plan.upstream, plan.admin[0], plan.port)]
        if plan.shape in ("sidecar", "log", "routes"):
            return [ec.traffic_bootstrap(plan.shape, up, plan.admin[0], plan.port, plan.dir)]
        if plan.shape == "istio":
            return [istio_config.outbound(plan.certs, plan.admin[0], plan.port, plan.inner, self.has_istio),
                    istio_config.inbound(plan.certs, plan.admin[1], plan.inner, plan.upstream, self.has_istio)]
        if plan.shape == "tcp":
            return [ec.bootstrap("a", plan.admin[0], plan.port, ec.tcp_to("b"),
                                 [ec.cluster("b", up)])]
        if plan.shape != "pair":
            return [ec.bootstrap("a", plan.admin[0], plan.port, ec.http_to("b"),
                                 [ec.cluster("b", up, h2=plan.shape == "h2")])]
        peer = ec.cluster("peer", [ec.address(plan.inner)], h2=True, tls=ec.upstream_tls(plan.certs))
        return [ec.bootstrap("a", plan.admin[0], plan.port, ec.http_to("peer"), [peer]),
                ec.bootstrap("b", plan.admin[1], plan.inner, ec.http_to("b"),
                             [ec.cluster("b", up)], tls=ec.downstream_tls(plan.certs))]

    def texts(self, plan):
        return [json.dumps(b) for b in self.bootstraps(plan)]

    def version(self):
        out = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout
        return out.strip().splitlines()[-1][:60] if out.strip() else ""


class Weft(EnvoyLike):
    name = "weft"
    has_istio = True

    def __init__(self):
        self.program = os.environ.get("WEFT_PROXY", os.path.join(ROOT, "build", "weft-proxy"))
        if not os.access(self.program, os.X_OK):
            raise Failure(f"{self.program} is not there: run `make`, or set WEFT_PROXY")

    def command(self, path):
        return [self.program, "-c", path, "--concurrency", "1", "-l", "error"]


class Envoy(EnvoyLike):
    name = "envoy"

    def __init__(self):
        found = glob.glob(os.path.join(ROOT, "build/venv/lib/python3*/site-packages/envoy/_bin/envoy"))
        self.program = os.environ.get("ENVOY") or (found[0] if found else "")
        if not os.access(self.program, os.X_OK):
            raise Failure("no Envoy: run `tools/deps bench`, or set ENVOY")

    def command(self, path):
        return [self.program, "-c", path, "--concurrency", "1", "--disable-hot-restart",
                "-l", "error"]


class Floor(Peer):
    """The relay that parses nothing; its whole configuration is two ports."""
    name = "floor"

    def __init__(self):
        self.program = compiled("floor")

    def texts(self, plan):
        return [f"{plan.port} {plan.upstream}"] if plan.shape in ("http", "tcp") else None

    def command(self, path):
        with open(path) as f:
            return [self.program, *f.read().split()]


class Haproxy(Peer):
    name = "haproxy"
    GLOBAL = """global
  nbthread 1
  maxconn 9000
  tune.h2.max-concurrent-streams 1000
defaults
  mode %s
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
"""

    def __init__(self):
        self.program = installed("haproxy")

    def version(self):
        return first_line([self.program, "-v"]).split(" - ")[0]

    def texts(self, plan):
        head = self.GLOBAL % ("tcp" if plan.shape == "tcp" else "http")
        if plan.shape == "mesh":
            return None
        if plan.shape != "pair":
            proto = " proto h2" if plan.shape == "h2" else ""
            return [head + section(plan.port, proto, plan.upstream, proto)]
        c = plan.certs
        to_peer = (f" ssl crt {c}/a.pem ca-file {c}/ca.crt verify required verifyhost b.bench"
                   " sni str(b.bench) alpn h2")
        from_peer = f" ssl crt {c}/b.pem ca-file {c}/ca.crt verify required alpn h2"
        proto = " proto h2" if plan.client_h2 else ""
        return [head + section(plan.port, proto, plan.inner, to_peer),
                head + section(plan.inner, from_peer, plan.upstream, "")]

    def command(self, path):
        return [self.program, "-db", "-f", path]


def section(listen_port, bind_options, upstream_port, server_options):
    return (f"frontend f\n  bind 127.0.0.1:{listen_port}{bind_options}\n  default_backend b\n"
            f"backend b\n  server s 127.0.0.1:{upstream_port}{server_options}\n")


class Nginx(Peer):
    """HTTP/1.1 between the two of a pair: this nginx has no HTTP/2 towards upstreams."""
    name = "nginx"
    HTTP = """http {
  access_log off; keepalive_requests 100000000; keepalive_timeout 600; client_max_body_size 0;
  proxy_http_version 1.1; proxy_set_header Connection ''; proxy_request_buffering off;
  upstream u { server 127.0.0.1:%d; keepalive 256; keepalive_requests 100000000; }
  server { listen 127.0.0.1:%d%s; %s location / { proxy_pass %s://u; %s } }
}
"""

    def __init__(self):
        self.program = installed("nginx")

    def version(self):
        return first_line([self.program, "-v"]).replace("nginx version: ", "")

    def main(self, plan, i):
        base = f"{plan.dir}/nginx-{plan.port}-{i}"
        return (f"worker_processes 1; daemon off; pid {base}.pid; error_log {base}.err;\n"
                "events { worker_connections 50000; }\n")

    def texts(self, plan):
        if plan.shape in ("h2", "mesh") or plan.client_h2:
            return None
        if plan.shape == "tcp":
            load = f"load_module {NGINX_STREAM};\n" if os.path.exists(NGINX_STREAM) else ""
            return [load + self.main(plan, 0) + "stream { server { listen 127.0.0.1:%d; "
                    "proxy_pass 127.0.0.1:%d; } }\n" % (plan.port, plan.upstream)]
        if plan.shape == "http":
            return [self.main(plan, 0) + self.HTTP % (plan.upstream, plan.port, "", "", "http", "")]
        c = plan.certs
        to_peer = (f"proxy_ssl_certificate {c}/a.crt; proxy_ssl_certificate_key {c}/a.key;"
                   f" proxy_ssl_trusted_certificate {c}/ca.crt; proxy_ssl_verify on;"
                   " proxy_ssl_name b.bench; proxy_ssl_server_name on;")
        from_peer = (f"ssl_certificate {c}/b.crt; ssl_certificate_key {c}/b.key;"
                     f" ssl_client_certificate {c}/ca.crt; ssl_verify_client on;")
        return [self.main(plan, 0) + self.HTTP % (plan.inner, plan.port, "", "", "https", to_peer),
                self.main(plan, 1) + self.HTTP % (plan.upstream, plan.inner, " ssl", from_peer,
                                                  "http", "")]

    def command(self, path):
        return [self.program, "-p", os.path.dirname(path), "-c", path]


ALL = {c.name: c for c in (Floor, Nginx, Haproxy, Envoy, Weft)}


def installed(program):
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not path:
        raise Failure(f"{program} is not installed: run `tools/deps bench`")
    return path


def compiled(name):
    """Our own small programs, built once beside the others."""
    source, out = os.path.join(ROOT, "bench", name + ".c"), os.path.join(ROOT, "build", "bench", name)
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-O2", "-o", out, source], check=True)
    return out


def first_line(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return ((done.stdout or done.stderr).splitlines() or [""])[0]
