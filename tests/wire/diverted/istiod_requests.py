# SPDX-License-Identifier: Apache-2.0
"""Requests through the listeners that a real istiod sent: what becomes of them is what the scenario's input promises.

Run by ../test_istiod_fixtures.py in a network namespace of its own, in which every address of the mesh is local. Connections are
diverted as istio-iptables does it, but by the client's mark in place of the proxy's user: marked 1 is the application's outbound
call (to 15001), marked 2 an inbound connection (to 15006). What the proxy opens itself bears no mark.
"""
import json
import os
import socket
import ssl
import subprocess
import threading
import time

import pytest

from lib import http1, istiod
from lib.streams import Closed, Stream
from lib.wait import wait_until

OUTBOUND, INBOUND = 1, 2
REVIEWS = {"10.244.1.11": "v1", "10.244.1.12": "v2", "10.244.1.13": "v3"}
REVIEWS_VIP, RATINGS_VIP, RATINGS = ("10.96.1.4", 9080), ("10.96.1.3", 9080), "10.244.1.3"


@pytest.fixture(autouse=True, scope="module")
def network():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for net in ("10.0.0.0/8", "192.0.2.0/24"):
        subprocess.run(["ip", "route", "replace", "local", net, "dev", "lo"], check=True)
    subprocess.run(["nft", "add table ip t; add chain ip t o { type nat hook output priority -100; }; "
                    f"add rule ip t o meta mark {OUTBOUND} meta l4proto tcp redirect to :15001; "
                    f"add rule ip t o meta mark {INBOUND} meta l4proto tcp redirect to :15006"], check=True)


class App:
    """An application at an address of the mesh: answers with its address's name, keeps requests."""

    def __init__(self, host, port, answer=None, tls=None):
        self.answer = answer or (lambda request: http1.response_bytes(200, body=f"{host}:{port}".encode()))
        self.tls, self.requests, self.sources = tls, [], []
        self.listener = socket.create_server((host, port), backlog=128)
        threading.Thread(target=self.accept_all, daemon=True).start()

    def accept_all(self):
        while True:
            try:
                sock, peer = self.listener.accept()
            except OSError:
                return
            self.sources.append(peer[0])
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            stream = Stream(sock)
            while True:
                request = http1.read_request(stream)
                if request is None:
                    return
                self.requests.append(request)
                stream.send(self.answer(request))
        except (OSError, Closed, ssl.SSLError):
            pass
        finally:
            sock.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def app(started):
    def make(host, port, answer=None, tls=None):
        made = App(host, port, answer, tls)
        return started.add(made, made.close)
    return make


@pytest.fixture
def replay(started, tmp_path):
    return lambda name: istiod.Replay(name, tmp_path, started).wait_taken()


def reach(address, mark, source, tls=None):
    sock = socket.socket()
    sock.settimeout(20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    sock.bind((source, 0))
    sock.connect(address)
    return Stream(tls.wrap_socket(sock) if tls else sock)


def ask(address, mark=OUTBOUND, source="10.244.1.1", tls=None, host="reviews:9080", target="/", method="GET", headers=()):
    stream = reach(address, mark, source, tls)
    try:
        stream.send(http1.request_bytes(method, target, [*headers, ("Connection", "close")], host=host))
        return http1.read_response(stream, method)
    finally:
        stream.sock.close()


def peer_context(replay, namespace, account, alpn="istio-http/1.1"):
    """Mutual TLS as another sidecar of the mesh speaks it."""
    leaf = replay.ca.issue(account, ["URI:" + istiod.identity(namespace, account)])
    return replay.ca.client_context(leaf, [alpn])


def reviews_apps(app, replay):
    """The reviews' sidecars: mutual TLS with the service's identity."""
    leaf = replay.ca.issue("reviews", ["URI:" + istiod.identity("bookinfo", "bookinfo-reviews")])
    tls = replay.ca.server_context(leaf, ["istio", "istio-http/1.1"], require_client=True)
    return {host: app(host, 9080, tls=tls) for host in REVIEWS}


@pytest.mark.parametrize("name", ["plain/productpage-v1-0", "plain/productpage-v1-0-delta"])
def test_plain__a_service__by_its_address(replay, app, name):
    proxy = replay(name)
    apps = reviews_apps(app, proxy)
    answers = [ask(REVIEWS_VIP) for _ in range(12)]
    assert {one.status for one in answers} == {200}
    hosts = {one.body.decode().partition(":")[0] for one in answers}
    assert hosts <= set(REVIEWS)
    request = next(r for one in apps.values() for r in one.requests)
    assert request.get("x-envoy-peer-metadata-id") == proxy.node["id"]
    cluster = "cluster.outbound|9080||reviews.bookinfo.svc.cluster.local;."
    assert proxy.proxy.stat(cluster + "upstream_rq_200") == 12


def test_plain__unknown_address__passes_through(replay, app):
    proxy = replay("plain/productpage-v1-0")
    outside = app("192.0.2.7", 4444)
    assert ask(("192.0.2.7", 4444)).body == b"192.0.2.7:4444"
    assert len(outside.requests) == 1
    wait_until(lambda: proxy.proxy.stat("cluster.PassthroughCluster;.upstream_cx_total") == 1, "the passing cluster's connection")


def test_plain__inbound__plaintext_and_mutual_tls(replay, app):
    proxy = replay("plain/productpage-v1-0")
    own = app("10.244.1.1", 9080)
    assert ask(("10.244.1.1", 9080), INBOUND, "10.244.3.1").status == 200
    tls = peer_context(proxy, "bookinfo", "bookinfo-reviews")
    assert ask(("10.244.1.1", 9080), INBOUND, "10.244.1.11", tls=tls).status == 200
    assert set(own.sources) == {"127.0.0.6"}
    assert own.requests[0].get("x-forwarded-client-cert") is None
    assert istiod.identity("bookinfo", "bookinfo-reviews") in own.requests[1].get("x-forwarded-client-cert")


def test_match_split__weights_and_headers(replay, app):
    proxy = replay("vs-match-split/productpage-v1-0")
    reviews_apps(app, proxy)
    count = 200
    answers = [ask(REVIEWS_VIP) for _ in range(count)]
    versions = [REVIEWS[one.body.decode().partition(":")[0]] for one in answers]
    assert set(versions) == {"v1", "v3"}
    assert 0.60 < versions.count("v1") / count < 0.88
    assert all((one.get("x-which") == "v1") == (version == "v1") for one, version in zip(answers, versions))
    jason = [("end-user", "jason"), ("cookie", "user=j"), ("x-a", "bc"), ("x-present", "")]
    cases = [("/?q=1&r=22", jason, "v2"), ("/API/x", [], "v2"), ("/re/abc", [], None), ("/?q=1&r=22", [*jason, ("x-no", "1")], None)]
    for target, headers, version in cases:
        body = ask(REVIEWS_VIP, target=target, headers=headers).body.decode()
        assert (REVIEWS[body.partition(":")[0]] == "v2") == (version == "v2"), (target, headers)
    assert ask(REVIEWS_VIP, target="/re/abc", host="reviews").body.decode().startswith("10.244.1.12")


def ratings_app(app, replay, answer=None):
    leaf = replay.ca.issue("ratings", ["URI:" + istiod.identity("bookinfo", "bookinfo-ratings")])
    return app(RATINGS, 9080, answer, replay.ca.server_context(leaf, ["istio", "istio-http/1.1"], require_client=True))


def test_fault_retry_timeout__abort_and_retries(replay, app):
    proxy = replay("vs-fault-retry-timeout/productpage-v1-0")
    statuses = [503, 503, 200]
    ratings = ratings_app(app, proxy, lambda request: http1.response_bytes(statuses.pop(0) if statuses else 503))
    assert ask(RATINGS_VIP, host="ratings:9080").status == 200
    assert len(ratings.requests) == 3
    assert ask(RATINGS_VIP, host="ratings:9080", target="/noretry").status == 503
    assert len(ratings.requests) == 4
    assert ask(RATINGS_VIP, host="ratings:9080").status == 503
    assert len(ratings.requests) == 4 + 5
    aborted = ask(RATINGS_VIP, host="ratings:9080", target="/grpc", headers=[("content-type", "application/grpc")])
    assert (aborted.status, aborted.get("grpc-status")) == (200, "14")
    assert len(ratings.requests) == 9


def test_tls_modes__disabled_is_plaintext__wrong_identity_is_refused(replay, app):
    proxy = replay("dr-tls-modes/productpage-v1-0")
    ratings = app(RATINGS, 9080)
    assert ask(RATINGS_VIP, host="ratings:9080").status == 200
    assert len(ratings.requests) == 1
    apps = reviews_apps(app, proxy)
    assert ask(REVIEWS_VIP).status == 503
    assert not any(one.requests for one in apps.values())


def test_strict__plaintext_is_refused__mutual_tls_is_taken(replay, app):
    proxy = replay("pa-strict/reviews-v1-0")
    own = app("10.244.1.11", 9080)
    with pytest.raises((Closed, OSError)):
        ask(("10.244.1.11", 9080), INBOUND, "10.244.3.1")
    assert not own.requests
    tls = peer_context(proxy, "bookinfo", "bookinfo-productpage")
    assert ask(("10.244.1.11", 9080), INBOUND, tls=tls).status == 200
    assert istiod.identity("bookinfo", "bookinfo-productpage") in own.requests[0].get("x-forwarded-client-cert")


def test_authz_allow__nothing_but_what_the_policies_allow(replay, app):
    proxy = replay("authz-allow/tcp-echo-0")
    app("10.244.2.2", 9000, lambda request: http1.response_bytes(200))
    own = ("10.244.2.2", 9000)
    assert ask(own, INBOUND, tls=peer_context(proxy, "bookinfo", "x", "istio")).status == 200
    for tls in (None, peer_context(proxy, "other", "y", "istio")):
        with pytest.raises((Closed, OSError)):
            ask(own, INBOUND, tls=tls)


def test_authz_allow__without_what_a_rule_wants__is_denied(replay, app):
    proxy = replay("authz-allow/reviews-v1-0")
    own = app("10.244.1.11", 9080)
    tls = peer_context(proxy, "bookinfo", "bookinfo-productpage")
    denied = ask(("10.244.1.11", 9080), INBOUND, tls=tls, target="/reviews/1", headers=[("x-tok", "abc")])
    assert (denied.status, denied.body) == (403, b"RBAC: access denied")
    assert not own.requests


def in_parallel(count, fn):
    """What `count` calls at once return."""
    found = [None] * count

    def run(i):
        found[i] = fn(i)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


def test_fault_retry_timeout__a_try_that_says_nothing__is_followed_by_another(replay, app, started):
    """perTryTimeout 800 ms, the whole has 3 s."""
    proxy = replay("vs-fault-retry-timeout/productpage-v1-0")
    told, tries = started.add(threading.Event(), lambda: told.set()), []

    def answer(request):
        tries.append(request)
        if len(tries) == 1:
            told.wait(60)
        return http1.response_bytes(200)
    ratings_app(app, proxy, answer)
    began = time.monotonic()
    assert ask(RATINGS_VIP, host="ratings:9080").status == 200
    assert 0.8 <= time.monotonic() - began and len(tries) == 2
    assert proxy.proxy.stat("cluster.outbound|9080||ratings.bookinfo.svc.cluster.local;.upstream_rq_per_try_timeout") == 1


def test_fault_retry_timeout__a_part_of_one_users_requests__delayed_and_aborted(replay, app):
    """12.5 % wait 7 s, 50 % end with 503."""
    proxy = replay("vs-fault-retry-timeout/productpage-v1-0")
    ratings_app(app, proxy)

    def one(_):
        began = time.monotonic()
        status = ask(RATINGS_VIP, host="ratings:9080", headers=[("end-user", "jason")]).status
        return status, time.monotonic() - began
    answers = in_parallel(80, one)
    statuses = [status for status, _ in answers]
    late = sum(took >= 7 for _, took in answers)
    assert set(statuses) == {200, 503} and 20 <= statuses.count(503) <= 60
    assert 1 <= late <= 30
    assert all(status == 200 for status, took in in_parallel(20, lambda _: (ask(RATINGS_VIP, host="ratings:9080").status, 0)))


def test_loadbalancer__consistent_hash(replay, app):
    proxy = replay("dr-loadbalancer/productpage-v1-0")
    reviews_apps(app, proxy)

    def host(user, target="/"):
        return ask(REVIEWS_VIP, target=target, headers=[("x-user", user)]).body.decode().partition(":")[0]
    chosen = {user: {host(user) for _ in range(4)} for user in (f"user-{i}" for i in range(24))}
    assert all(len(hosts) == 1 for hosts in chosen.values())
    assert set.union(*chosen.values()) == set(REVIEWS)
    first = ask(REVIEWS_VIP, target="/c")
    assert first.status == 200 and first.get("set-cookie").startswith("user=") and "Path=/p" in first.get("set-cookie")
    for target in ("/c", "/s", "/q?q=1", "/m", "/w"):
        assert REVIEWS[host("x", target)] == "v1", target


def test_locality_failover__the_nearest_serves_alone(replay, app):
    proxy = replay("dr-locality-failover/productpage-v1-0")
    with open(os.path.join(proxy.path, "eds.json"), encoding="utf-8") as text:
        groups = next(one for one in json.load(text) if one["cluster_name"] == "outbound|9080||reviews.bookinfo.svc.cluster.local")
    by_priority = {}
    for group in groups["endpoints"]:
        for one in group["lb_endpoints"]:
            address = one["endpoint"]["address"]["socket_address"]["address"]
            by_priority.setdefault(group.get("priority", 0), set()).add(address)
    assert len(by_priority) > 1 and set.union(*by_priority.values()) == set(REVIEWS)
    reviews_apps(app, proxy)
    hosts = {ask(REVIEWS_VIP).body.decode().partition(":")[0] for _ in range(24)}
    assert hosts == by_priority[0]


def test_se_static__addresses_ports_and_ranges(replay, app):
    replay("se-static/sleep-0")
    first, second = app("10.244.9.1", 80), app("10.244.9.2", 8081)
    seen = {ask(("192.0.2.10", 80), source="10.244.2.1", host="static.example").body for _ in range(20)}
    assert seen == {b"10.244.9.1:80", b"10.244.9.2:8081"}
    assert ask(("192.0.2.200", 80), source="10.244.2.1", host="static.example").status == 200
    assert first.requests and second.requests
    ports = [app(host, 3308) for host in ("10.244.9.1", "10.244.9.2")]
    assert ask(("192.0.2.10", 3307), source="10.244.2.1").body in {b"10.244.9.1:3308", b"10.244.9.2:3308"}
    assert sum(len(one.requests) for one in ports) == 1
