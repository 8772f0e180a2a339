#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weft-proxy under three times the load that it can bear: what it still serves, and how soon it refuses the rest.

One worker on a CPU of its own, upstream (5 ms, 1 KiB) and open loop (bench/flood.c) on the other. The peak is the highest
rate at which it serves nine tenths of what is offered, nothing configured against overload. docs/performance.md has the figures.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import envoy_config as ec
import machine
from peers import ROOT, compiled

FILTERS = ec.TYPE + "filters.http."
MONITORS = ec.TYPE + "resource_monitors."
WORKERS = {"name": "workers", "typed_config": {"@type": "type.googleapis.com/weft.resource_monitors.v1.WorkerUtilization",
                                               "window": "0.2s"}}
SATURATED = {"scaled": {"scaling_threshold": 0.80, "saturation_threshold": 0.98}}


def chain(directory):
    """What a sidecar has: fault, cors, grpc_stats, header mutation, compression, a JSON log of what was not shed."""
    gzip = {"@type": ec.TYPE + "compression.gzip.compressor.v3.Gzip"}
    mutation = [{"append": {"header": {"key": "x-bench", "value": "%PROTOCOL%"}}}]
    served = {"status_code_filter": {"comparison": {"op": "NE", "value": {"default_value": 503, "runtime_key": "bench.log"}}}}
    filters = [("fault", {"@type": FILTERS + "fault.v3.HTTPFault"}), ("cors", {"@type": FILTERS + "cors.v3.Cors"}),
               ("grpc_stats", {"@type": FILTERS + "grpc_stats.v3.FilterConfig"}),
               ("header_mutation", {"@type": FILTERS + "header_mutation.v3.HeaderMutation",
                                    "mutations": {"request_mutations": mutation, "response_mutations": mutation}}),
               ("compressor", {"@type": FILTERS + "compressor.v3.Compressor",
                               "compressor_library": {"name": "gzip", "typed_config": gzip}})]
    log = {"name": "file", "filter": served, "typed_config": {
        "@type": ec.TYPE + "access_loggers.file.v3.FileAccessLog", "path": os.path.join(directory, "access.log"),
        "log_format": {"json_format": {"path": "%REQ(:PATH)%", "code": "%RESPONSE_CODE%", "host": "%UPSTREAM_HOST%",
                                       "took": "%DURATION%", "flags": "%RESPONSE_FLAGS%", "agent": "%REQ(USER-AGENT)%"}}}}
    return [{"name": name, "typed_config": config} for name, config in filters], log


def manager(name, plan):
    """`cpu` sheds requests by chance as the machine's CPU fills up, `points` at the load-shed point instead; `share` knows
    how much is too much: what the proxy could do with a perfect monitor, and on a machine that others use, too."""
    made = {"refresh_interval": "0.05s", "resource_monitors": [{"name": "cpu", "typed_config": {
        "@type": MONITORS + "cpu_utilization.v3.CpuUtilizationConfig"}}]}
    trigger = [{"name": "cpu", **SATURATED}]
    if name == "share":
        path = os.path.join(plan["dir"], "pressure")
        with open(path, "w", encoding="ascii") as out:
            out.write(str(plan["excess"]))
        made["resource_monitors"] = [{"name": "known", "typed_config": {
            "@type": MONITORS + "injected_resource.v3.InjectedResourceConfig", "filename": path}}]
        trigger = [{"name": "known", "scaled": {"scaling_threshold": 0.0, "saturation_threshold": 1.0}}]
    if name == "points":
        made["loadshed_points"] = [{"name": "envoy.load_shed_points.http_connection_manager_decode_headers", "triggers": trigger}]
    else:
        made["actions"] = [{"name": "envoy.overload_actions.stop_accepting_requests", "triggers": trigger}]
    return made


def refusing(keepalive):
    """The kernel refuses connections while the workers are busy; `keepalive`: and those that are there are told to go."""
    when = [{"name": "workers", "threshold": {"value": 0.9}}]
    made = {"refresh_interval": "0.02s", "resource_monitors": [WORKERS],
            "actions": [{"name": "envoy.overload_actions.reject_incoming_connections", "triggers": when}]}
    if keepalive:
        made["actions"].append({"name": "envoy.overload_actions.disable_http_keepalive", "triggers": [
            {"name": "workers", "scaled": {"scaling_threshold": 0.99, "saturation_threshold": 1.0}}]})
    return made


def bootstrap(plan, guard):
    cluster = ec.cluster("up", [ec.address(plan["upstream"])])
    hcm = ec.http_to("up")
    if plan["chain"] == "sidecar":
        filters, log = chain(plan["dir"])
        hcm["typed_config"]["http_filters"][:0] = filters
        hcm["typed_config"]["access_log"] = [log]
    if guard == "breaker":
        cluster["circuit_breakers"]["thresholds"][0]["max_requests"] = plan["bearable"]
    made = {"admin": {"address": ec.address(plan["admin"])}, "static_resources": {
        "listeners": [{"name": "l", "address": ec.address(plan["port"]), "filter_chains": [{"filters": [hcm]}]}],
        "clusters": [cluster]}}
    if guard in ("cpu", "points", "share"):
        made["overload_manager"] = manager(guard, plan)
    if guard in ("refuse", "refuse+close"):
        made["overload_manager"] = refusing(guard == "refuse+close")
    if guard == "refuse+limit":
        made["overload_manager"] = refusing(False)
        made["overload_manager"]["resource_monitors"].append({"name": "connections", "typed_config": {
            "@type": MONITORS + "downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": plan["bearable"]}})
        made["overload_manager"]["actions"][0]["triggers"].append({"name": "connections", "threshold": {"value": 1}})
    if guard == "connections":
        made["overload_manager"] = {"resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": {
                "@type": MONITORS + "downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": plan["bearable"]}}]}
    return made


class Run:
    """One start of the proxy under one guard."""

    def __init__(self, options, guard, bearable=0, excess=None):
        self.options = options
        self.dir = tempfile.mkdtemp(prefix="weft-overload-")
        ports = machine.Ports()
        self.plan = {"port": ports.new(), "upstream": ports.new(), "admin": ports.new(), "dir": self.dir,
                     "chain": options.chain, "bearable": bearable, "excess": 1 - 1 / options.times if excess is None else excess}
        path = os.path.join(self.dir, "bootstrap.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(bootstrap(self.plan, guard), out)
        self.process = machine.Process([options.proxy, "-c", path, "--concurrency", "1", "-l", "error"], machine.PROXY_CPU, path + ".log")
        self.process.wait_port(self.plan["port"])

    def flood(self, rate, seconds, connections, *own):
        command = [compiled("flood"), *(str(n) for n in (self.plan["port"], self.plan["upstream"], rate, seconds, connections, *own))]
        before = self.process.cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        if done.returncode:
            raise machine.Failure(done.stderr.strip())
        self.process.check()
        figures = json.loads(done.stdout)
        figures["cpu"] = (self.process.cpu_s() - before) / (seconds + 2 * own[1] if own else seconds)
        return figures

    def stop(self):
        self.process.stop()
        subprocess.run(["rm", "-rf", self.dir], check=True)


def find_peak(options):
    """Doubles and halves: the highest rate that is served nine tenths."""
    run, low, high, best = Run(options, "none"), 1000, 160000, None
    try:
        run.flood(1000, 1, options.connections)
        while high - low > low / 16:
            rate = (low + high) // 2
            figures = run.flood(rate, options.seconds, options.connections)
            good = figures["served"]["rps"]
            best = figures if not best or good > best["served"]["rps"] else best
            low, high = (rate, high) if good >= 0.9 * rate else (low, rate)
    finally:
        run.stop()
    return best


# ---- clients with connections of their own ----

def surge_flood(run, options, rate, times, kept):
    n = options.clients
    return run.flood(int(rate), options.seconds, int(times * n), kept, options.warm, options.body_kib * 1024)


def surge_peak(options):
    """What N clients can have, each on a connection of its own: nine tenths of what they ask for, at the highest rate."""
    run, low, high, best = Run(options, "none"), 500, options.rate_max, None
    try:
        while high - low > low / 16:
            rate = (low + high) // 2
            figures = surge_flood(run, options, rate, 1, options.clients)
            good = figures["served"]["rps"]
            best = figures if not best or good > best["served"]["rps"] else best
            low, high = (rate, high) if good >= 0.9 * rate else (low, rate)
    finally:
        run.stop()
    return best


def surge(options):
    """The peak, then three times as many clients: the first were there before (kept), or all come at once (cold)."""
    best = surge_peak(options) if not options.peak else {"served": {"rps": options.peak, "p99_us": 0}, "cpu": 0, "lag": {"p99_us": 0}}
    peak, found = best["served"]["rps"], {"peak": best}
    print(f"peak {peak:.0f}/s on {options.clients} connections (p99 {best['served']['p99_us'] / 1e3:.1f} ms, CPU {100 * best['cpu']:.0f} %, "
          f"generator late by {best['lag']['p99_us'] / 1e3:.1f} ms at p99)", flush=True)
    for guard in options.guards.split(","):
        for name, kept in (("kept", options.clients), ("cold", 0)):
            run = Run(options, guard, bearable=options.clients)
            try:
                f = found[f"{guard}.{name}"] = surge_flood(run, options, peak * options.times, options.times, kept)
            finally:
                run.stop()
            gone = {k: f[k]["rps"] for k in ("refused", "shed", "cut")}
            print(f"{guard:13s} {name}  offered {f['offered']:6.0f}/s  served {f['served']['rps']:6.0f}/s ({100 * f['served']['rps'] / peak:3.0f} "
                  f"% of the peak; p50 {f['served']['p50_us'] / 1e3:.1f} p99 {f['served']['p99_us'] / 1e3:.1f} ms)  refused {gone['refused']:.0f}/s "
                  f"(p99 {f['refused']['p99_us'] / 1e3:.2f} ms)  shed {gone['shed']:.0f}/s  cut {gone['cut']:.0f}/s (p99 "
                  f"{f['cut']['p99_us'] / 1e3:.1f} ms)  not asked {f['busy'] / options.seconds:.0f}/s  CPU {100 * f['cpu']:.0f} %  "
                  f"generator late {f['lag']['p99_us'] / 1e3:.2f} ms", flush=True)
    return found


def costs(options):
    """CPU of a request that is served and of one that is shed, at one rate that all can bear: what no monitor can better."""
    found = {}
    for name, excess in (("served", 0), ("shed", 1)):
        run = Run(options, "share", excess=excess)
        try:
            run.flood(options.rate, 1, options.connections)
            figures = run.flood(options.rate, options.seconds, options.connections)
            found[name] = figures["cpu"] * 1e6 / figures[name]["rps"]
            found[name + "_p99_us"] = figures[name]["p99_us"]
        finally:
            run.stop()
    c, s, n = found["served"], found["shed"], options.times
    found["bound"] = max(0, (c - n * s) / (c - s))
    print(f"CPU          served {c:.1f} us (p99 {found['served_p99_us'] / 1e3:.1f} ms)  shed {s:.1f} us (p99 "
          f"{found['shed_p99_us'] / 1e3:.1f} ms)  so at most {100 * found['bound']:.0f} % of a peak by CPU is left under {n:.0f} x",
          flush=True)
    return found


def show(name, figures, peak):
    lost = {"rps": figures["shed"]["rps"] + figures["cut"]["rps"],
            "p99_us": max(figures["shed"]["p99_us"], figures["cut"]["p99_us"])}
    print(f"{name:12s} offered {figures['offered']:6.0f}/s  served {figures['served']['rps']:6.0f}/s "
          f"({100 * figures['served']['rps'] / peak:3.0f} % of the peak; p99 {figures['served']['p99_us'] / 1e3:.1f} ms)  "
          f"shed {lost['rps']:6.0f}/s (p99 {lost['p99_us'] / 1e3:.1f} ms)  left waiting {figures['late']}  "
          f"CPU {100 * figures['cpu']:.0f} %", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--proxy", default=os.path.join(ROOT, "build", "weft-proxy"))
    p.add_argument("--chain", choices=("bare", "sidecar"), default="sidecar")
    p.add_argument("--connections", type=int, default=512)
    p.add_argument("--seconds", type=int, default=3)
    p.add_argument("--times", type=float, default=3)
    p.add_argument("--guards", default="none,cpu,points,share,breaker,connections")
    p.add_argument("--rate", type=int, default=8000, help="for the CPU of a request")
    p.add_argument("--only-costs", action="store_true")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--surge", action="store_true", help="clients with connections of their own; guards none,refuse,refuse+close")
    p.add_argument("--clients", type=int, default=512)
    p.add_argument("--warm", type=float, default=2)
    p.add_argument("--body-kib", type=int, default=32, help="of an answer; compressed, so that the generator bears more than the proxy")
    p.add_argument("--peak", type=int, default=0, help="known already")
    p.add_argument("--rate-max", type=int, default=20000)
    options = p.parse_args()
    machine.prepare()
    if options.surge:
        found = surge(options)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as out:
                json.dump(found, out, indent=1)
        return
    cost = costs(options)
    if options.only_costs:
        return
    best = find_peak(options)
    peak, found = best["served"]["rps"], {"costs": cost, "peak": best}
    print(f"peak         {peak:.0f}/s (p99 {best['served']['p99_us'] / 1e3:.1f} ms, CPU {100 * best['cpu']:.0f} %)", flush=True)
    for guard in options.guards.split(","):
        run = Run(options, guard, bearable=max(8, int(peak * 0.010)))
        try:
            run.flood(int(peak * options.times), 3, 3 * options.connections)  # the monitor's mean settles
            found[guard] = run.flood(int(peak * options.times), options.seconds, 3 * options.connections)
        finally:
            run.stop()
        show(guard, found[guard], peak)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(found, out, indent=1)


if __name__ == "__main__":
    main()
