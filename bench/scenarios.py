# SPDX-License-Identifier: Apache-2.0
"""What is measured. A scenario starts a peer afresh, loads it, reads /proc before and after."""
import socket
import threading
import time

import load
from machine import Failure, settled_pss_kib
from peers import Plan

WARM_UP_S = 1
STARTS = 7
SCRAPES = 5
MESHES = ("weft", "envoy") # who takes the same bootstrap


class Scenario:
    def __init__(self, name, title, measure, shape="http", only=None, **plan):
        self.name, self.title, self.measure = name, title, measure
        self.shape, self.only, self.plan = shape, only, plan

    def run(self, bench, peer):
        """Figures of one peer, or None where it can't play."""
        if self.only and peer.name not in self.only:
            return None
        plan = Plan(bench, self.shape, **self.plan_arguments(bench))
        started = peer.start(plan)
        if started is None:
            return None
        try:
            started[0].wait_port(plan.port)
            return self.measure(bench, peer, plan, started)
        finally:
            for p in started:
                p.stop()

    def plan_arguments(self, bench):
        return {"clusters": bench.options.clusters} if self.shape == "mesh" else self.plan


def with_cpu(started, run, seconds):
    """Runs the load warm, then counts; both processes of a pair count."""
    run(WARM_UP_S)
    before = [p.cpu_s() for p in started]
    figures = run(seconds)
    for p in started:
        p.check()
    used = sum(p.cpu_s() for p in started) - sum(before)
    if "done" in figures:
        figures["us_per_request"] = used * 1e6 / figures["done"]
    figures["cpu_s"] = used
    figures["pss_mib"] = sum(p.pss_kib() for p in started) / 1024
    return figures


def keep_alive(bench, _peer, plan, started):
    o = bench.options
    return with_cpu(started, lambda s: load.wrk(plan.port, s, o.connections), o.seconds)


def post(bench, _peer, plan, started):
    o = bench.options
    return with_cpu(started, lambda s: load.wrk_post(plan.port, s, o.connections, bench.dir),
                    o.seconds)


def close_each(bench, _peer, plan, started):
    o = bench.options
    close = ("-H", "Connection: close")
    return with_cpu(started, lambda s: load.wrk(plan.port, s, o.connections, close), o.seconds)


def streams(bench, _peer, plan, started):
    return with_cpu(started, lambda s: load.h2load(plan.port, s), bench.options.seconds)


def latency(bench, _peer, plan, started):
    o = bench.options
    return with_cpu(started, lambda s: load.pace(plan.port, o.rate, s, o.connections), o.seconds)


def bulk(bench, _peer, plan, started):
    figures = with_cpu(started, lambda s: load.download(plan.port, s), bench.options.seconds)
    gib = figures.pop("bytes") / 2**30
    figures["gib_per_cpu_s"] = gib / max(figures["cpu_s"], 0.01)
    figures["gib_per_s"] = gib / figures.pop("seconds")
    return figures


def size_at_rest(_bench, _peer, _plan, started):
    return {"pss_mib": settled_pss_kib(started[0]) / 1024, "cpu_s": started[0].cpu_s()}


def idle(bench, _peer, plan, started):
    with socket.create_connection(("127.0.0.1", plan.port), 5) as s:
        load.ask_once(s)  # what the first connection sets up belongs to none of them
    before, count = settled_pss_kib(started[0]), bench.options.idle
    held = load.hold_idle(plan.port, count)
    try:
        after = settled_pss_kib(started[0])
    finally:
        for s in held:
            s.close()
    return {"kib_per_connection": (after - before) / count, "pss_mib": after / 1024}


def ask_for_page(port):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.settimeout(60)
        s.sendall(b"GET /stats/prometheus HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        size = 0
        while got := s.recv(1 << 20):
            size += len(got)
        return size


def scrape(bench, _peer, plan, started):
    """Prometheus' page of a large mesh; the median of several."""
    times, size = [], 0
    for _ in range(SCRAPES):
        before = time.monotonic()
        size = ask_for_page(plan.admin[0])
        times.append((time.monotonic() - before) * 1e3)
    if size < 1000 * bench.options.clusters:
        raise Failure(f"a page of {size} bytes is not that of {bench.options.clusters} clusters")
    return {"scrape_ms": sorted(times)[SCRAPES // 2], "page_mib": size / 2**20, "cpu_s": sum(p.cpu_s() for p in started)}


class Scraper(threading.Thread):
    """Asks for Prometheus' page once a second while it is wanted, behind the load generator on their core."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.done = port, threading.Event()

    def run(self):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self.done.wait(1):
            ask_for_page(self.port)


def scraped(bench, _peer, plan, started):
    """What scrapes of a large mesh's page do to requests: an open loop without and with them, a few times in turn."""
    o, quiet, noisy = bench.options, [], []
    load.pace(plan.port, o.rate // 2, WARM_UP_S, o.connections)
    for _ in range(3):
        quiet.append(load.pace(plan.port, o.rate // 2, o.seconds, o.connections)["p99_us"])
        scraper = Scraper(plan.admin[0])
        scraper.start()
        noisy.append(load.pace(plan.port, o.rate // 2, o.seconds, o.connections)["p99_us"])
        scraper.done.set()
        scraper.join()
    for p in started:
        p.check()
    quiet, noisy = sorted(quiet)[1], sorted(noisy)[1]
    return {"p99_ratio": noisy / quiet, "p99_us": quiet, "p99_scraped_us": noisy}


def changing_hosts(bench, _peer, plan, started):
    """A slow open loop over a thousand hosts, others each second: what making tables anew costs and delays."""
    o = bench.options
    return with_cpu(started, lambda s: load.pace(plan.port, o.rate // 5, s, o.connections), max(o.seconds, 4))


def start_up(_bench, peer, plan, started):
    """Median of several starts: until the port takes connections, which the kernel does as soon as
    it is bound, and until the program has accepted one and answered on it."""
    accepts, answers = [], []
    for _ in range(STARTS):
        started.pop().stop()
        started += peer.start(plan)
        accepts.append(started[0].wait_port(plan.port))
        with socket.create_connection(("127.0.0.1", plan.port), 5) as s:
            load.ask_once(s)
        answers.append((time.monotonic() - started[0].started) * 1e3)
    middle = STARTS // 2
    return {"accept_ms": sorted(accepts)[middle], "answer_ms": sorted(answers)[middle],
            "pss_mib": settled_pss_kib(started[0]) / 1024}


ALL = {s.name: s for s in (
    Scenario("h1", "HTTP/1.1 keep-alive GET, 1 KiB answers", keep_alive),
    Scenario("h1post", "HTTP/1.1 POST, 64 KiB bodies", post),
    Scenario("h1close", "HTTP/1.1, a connection a request", close_each),
    Scenario("h2", "HTTP/2 in and out, 8 connections x 16 streams", streams, "h2"),
    Scenario("pair", "two sidecars, HTTP/1.1 outside, HTTP/2 over mutual TLS between", keep_alive,
             "pair"),
    Scenario("pairh2", "two sidecars, HTTP/2 outside, HTTP/2 over mutual TLS between", streams,
             "pair", client_h2=True),
    Scenario("istio", "two sidecars with istiod's chains, HTTP/1.1 over mutual TLS between", keep_alive, "istio", only=MESHES),
    Scenario("p99", "latency at one offered load, open loop", latency),
    Scenario("tcp", "TCP proxy, bulk download", bulk, "tcp"),
    Scenario("clusters", "a large mesh's clusters and virtual hosts, at rest", size_at_rest, "mesh"),
    Scenario("idle", "idle keep-alive connections", idle),
    Scenario("sidecar", "h1 with fault, cors, grpc_stats, JSON log, 20 labels, tracing at 1 %", keep_alive, "sidecar", only=MESHES),
    Scenario("log", "h1 with a JSON access-log line a request", keep_alive, "log", only=MESHES),
    Scenario("routes", "h1 through 10,000 virtual hosts and 1,000 routes", keep_alive, "routes", only=MESHES),
    Scenario("scrape", "Prometheus page of a large mesh", scrape, "mesh", only=MESHES),
    Scenario("scraped", "p99 at half the rate while the page is asked for each second, of that without", scraped, "mesh", only=MESHES),
    Scenario("ring", "RING_HASH over 1,000 hosts, others each second", changing_hosts, "ring", only=MESHES),
    Scenario("maglev", "MAGLEV over 1,000 hosts, others each second", changing_hosts, "maglev", only=MESHES),
    Scenario("start", "start-up and size at rest", start_up),
)}


def run_once(bench, scenario, peer):
    """A port that somebody took between allotment and use is worth one more try."""
    try:
        return scenario.run(bench, peer)
    except Failure as e:
        if "ddress already in use" not in str(e) and "Address in use" not in str(e):
            raise
        return scenario.run(bench, peer)
