# SPDX-License-Identifier: Apache-2.0
"""Configuration that comes by discovery and changes under load on all workers; what it leaves
behind, and an end in the middle of it."""
import itertools
import socket
import threading

import h2.exceptions as h2_exceptions
import pytest

from lib import config, http1
from lib.ads_server import AdsServer, ads, ads_bootstrap
from lib.http2 import H2Client
from lib.jwt import Signer, key_set
from lib.origin import Origin
from lib.pairs import chain
from lib.streams import Closed, connect
from lib.wait import wait_until
from test_cds import assignment, eds_cluster
from test_jwt_authn import authn, bearer, need
from test_sds import certificate, roots, mtls
from test_threads import LIMIT_S, WORKERS, during

pytestmark = [pytest.mark.weft_only, pytest.mark.threads]
FEW = 20  # requests a connection: it then goes to another worker


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


class Asking:
    """One thread a function: asks until it is told to stop. `one(connection)` gives a fault or None."""

    def __init__(self, *rows):
        self.stopped, self.faults, self.counts = threading.Event(), [], [0] * len(rows)
        self.may_fail = False
        self.threads = [threading.Thread(target=self.run, args=(i, *row)) for i, row in enumerate(rows)]

    def run(self, index, opened, one, few=FEW):
        try:
            while not self.stopped.is_set():
                with opened() as connection:
                    for _ in range(few):
                        fault = one(connection)
                        if fault == "next" or self.stopped.is_set():
                            break
                        self.counts[index] += fault is None
                        self.faults += [] if fault is None else [(index, fault)]
        except (OSError, Closed, AssertionError) as error:
            self.faults.append((index, repr(error)))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def more(self):
        """Until everybody has been answered again."""
        before = list(self.counts)
        wait_until(lambda: self.faults or all(n > b for n, b in zip(self.counts, before)), "more answers")

    def __exit__(self, *_):
        self.stopped.set()
        for t in self.threads:
            t.join()
        assert self.may_fail or not self.faults, self.faults[:5]
        assert all(self.counts), self.counts


def h1(address, path, headers=(), fine=(200,)):
    def one(stream):
        stream.send(http1.request_bytes("GET", path, list(headers), b"", "test.local"))
        answer = http1.read_response(stream, "GET")
        if answer.status not in fine:
            return answer.status, answer.body
        return "next" if answer.get("connection") == "close" else None
    return lambda: connect(address), one


def h2(address, path, fine=(200,)):
    def one(client):
        try:
            answer = client.request(path=path)
        except h2_exceptions.ProtocolError:
            return "next"  # the package sees nothing of a connection after its GOAWAY, answers neither
        if not answer.headers and client.goaway:
            return "next"
        return None if answer.headers and answer.status in fine else (answer.headers, answer.reset_code)
    return lambda: H2Client(address), one


def tcp(address):
    def one(stream):
        stream.send(http1.request_bytes())
        return None if http1.read_response(stream, "GET").status == 200 else "bad"
    return lambda: connect(address), one


RETRIES = {"retry_policy": {"retry_on": "5xx,reset,connect-failure", "num_retries": 3}}


def routes(turn):
    return {"name": "r", "virtual_hosts": [config.virtual_host([
        config.route("agg", "/agg"),
        config.route("origin", "/mirror", request_mirror_policies=[{"cluster": "b", "runtime_fraction": {
            "default_value": {"numerator": 100}, "runtime_key": "mirrored"}}]),
        {"match": {"prefix": "/named"}, "route": {"cluster_header": "x-to"}},
        config.route("origin", "/", timeout=f"{20 + turn}s", **RETRIES)])]}


def listener(turn, port=0):
    return config.http_listener("dyn", stat_prefix="dyn", listener_fields={"address": config.socket_address(port=port), "stat_prefix": "dyn"},
                                routes=[config.route("origin", **RETRIES)], server_name=f"s{turn}")


def bootstrap(server, log, delta):
    hcm = config.hcm(access_log=[config.file_log(log)])
    del hcm["typed_config"]["route_config"]
    hcm["typed_config"]["rds"] = {"route_config_name": "r", "config_source": ads()}
    layers = [{"name": "rtds", "rtds_layer": {"name": "mine", "rtds_config": ads()}}, {"name": "admin", "admin_layer": {}}]
    return ads_bootstrap(server.port, delta=delta, listeners=[config.listener("http", hcm)], layered_runtime={"layers": layers})


class World:
    """All that discovery brings, a little different every turn."""

    def __init__(self, server, ports, port):
        self.server, self.ports, self.port = server, ports, port
        self.checks = {"outlier_detection": {"interval": "0.05s", "base_ejection_time": "0.05s", "consecutive_5xx": 3}}

    def origin(self, turn):
        breakers = {"thresholds": [{"track_remaining": True, "max_requests": 1000}]}
        return eds_cluster(connect_timeout=f"{turn % 5 + 3}s", circuit_breakers=breakers, **self.checks)

    def clusters(self, turn):
        agg = {"name": "agg", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "2s", "cluster_type": {
            "name": "envoy.clusters.aggregate", "typed_config": {
                "@type": config.TYPE + "extensions.clusters.aggregate.v3.ClusterConfig", "clusters": ["b", "origin"]}}}
        found = {"origin": self.origin(turn), "agg": agg, f"n{turn % 3}": config.cluster(f"n{turn % 3}", self.ports[0])}
        if turn % 2:
            found["b"] = config.cluster("b", self.ports[1], **self.checks)
        return found

    def endpoints(self, turn):
        ends = assignment(*(self.ports, self.ports[:1], self.ports[1:])[turn % 3])
        for i, end in enumerate(ends["endpoints"][0]["lb_endpoints"]):
            end["health_status"] = "DEGRADED" if (turn + i) % 2 else "HEALTHY"
            end["metadata"] = {"filter_metadata": {"envoy.lb": {"turn": str(turn % 4 + i), "canary": bool(turn % 2)}}}
        return {"origin": ends}

    def set(self, turn):
        s = self.server
        s.set_resources("eds", self.endpoints(turn))
        s.set_resources("cds", self.clusters(turn))
        s.set_resources("rds", {"r": routes(turn)})
        s.set_resources("lds", {"dyn": listener(turn, self.port), "tcp": config.listener("tcp", config.tcp_proxy("origin"))})
        s.set_resources("rtds", {"mine": {"name": "mine", "layer": {"mirrored": turn % 2 * 100, f"key{turn % 7}": "x" * turn}}})

    def wait(self):
        for kind in ("cds", "rds", "lds"):
            self.server.wait_ack(kind)


@pytest.fixture
def world(server, started):
    origins = [Origin() for _ in range(2)]
    for origin in origins:
        started.add(origin, origin.close)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    made = World(server, [o.port for o in origins], port)
    made.set(0)
    return made


def everybody(proxy, world):
    http, some = proxy.address(), (200, 503)
    return [h1(http, "/"), h1(http, "/agg"), h1(http, "/mirror"), h1(http, "/named", [("x-to", "n1")], some),
            h2(http, "/"), h2(http, "/agg"), h1(("127.0.0.1", world.port), "/"), tcp(proxy.address("tcp"))]


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_everything_changes__under_load__no_request_fails_and_nothing_stays(server, start_proxy, world, tmp_path, delta):
    proxy = start_proxy(bootstrap(server, tmp_path / "log", delta), concurrency=WORKERS)
    for name in ("dyn", "tcp"):
        proxy.wait_listener(name)
    turns = itertools.count(1)

    def change(_):
        world.set(next(turns))
        world.wait()
        load.more()
        proxy.admin("/clusters?format=json")
        proxy.admin("/config_dump")
    with Asking(*everybody(proxy, world)) as load:
        during(2 * LIMIT_S, change)
    server.set_resources("lds", {})
    server.set_resources("cds", {"last": config.cluster("last", world.ports[0])})
    server.wait_ack("cds")
    wait_until(lambda: not left(proxy, ("origin", "agg", "b", "n0", "n1", "n2")), "removed clusters to be gone")
    stats = proxy.stats()
    assert stats["cluster_manager.active_clusters"] == 2 and stats["cluster_manager.warming_clusters"] == 0
    proxy.wait_stat("listener_manager.total_listeners_active", 1)


def left(proxy, names):
    """Statistics of clusters that should be gone."""
    return [name for name in proxy.stats("^cluster\\.") if name.split(".")[1] in names]


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
def test_end__in_the_middle_of_changes__orderly(server, start_proxy, world, tmp_path, turns):
    proxy = start_proxy(bootstrap(server, tmp_path / "log", turns % 2), concurrency=WORKERS)
    for name in ("dyn", "tcp"):
        proxy.wait_listener(name)
    with Asking(*everybody(proxy, world)) as load:
        load.more()
        for turn in range(1, turns + 1):
            world.set(turn)
            load.more()
        load.may_fail = True
        world.set(turns + 1)
        proxy.stop()


def test_aggregate__that_nobody_asks_any_more__lets_go_of_what_was_removed(server, start_proxy, world, tmp_path):
    world.set(1)
    proxy = start_proxy(bootstrap(server, tmp_path / "log", False), concurrency=WORKERS)
    assert left(proxy, ["b"])
    with Asking(*[h1(proxy.address(), "/agg")] * 8) as load:
        load.more()
        load.more()
    world.set(2)
    server.wait_ack("cds")
    wait_until(lambda: not left(proxy, ["b"]), "the cluster under the aggregate to be gone")


def test_breakers__of_a_cluster_that_is_replaced_while_in_use__are_as_new(server, start_proxy):
    release = threading.Event()

    def slow(_stream, _request):
        release.wait(30)
        return http1.response_bytes(200)
    limits = {"thresholds": [{"track_remaining": True, "max_requests": 5, "max_connections": 7, "max_pending_requests": 0,
                              "max_connection_pools": 9}]}
    with Origin(script={"slow": slow}) as origin:
        server.set_resources("cds", {"origin": config.cluster("origin", origin.port, circuit_breakers={
            "thresholds": [{**limits["thresholds"][0], "max_pending_requests": 5, "max_retries": 0}]})})
        listeners = [config.http_listener(route_config={"validate_clusters": False})]
        proxy = start_proxy(ads_bootstrap(server.port, lds=False, listeners=listeners), concurrency=WORKERS)
        with connect(proxy.address()) as stream:
            stream.send(http1.request_bytes("GET", "/", [("x-case", "slow")], b"", "test.local"))
            origin.wait_for(1)
            assert proxy.stat("cluster.origin.circuit_breakers.default.rq_retry_open") == 1
            limits["thresholds"][0].update(max_pending_requests=6, max_retries=4)
            server.set_resources("cds", {"origin": config.cluster("origin", origin.port, circuit_breakers=limits)})
            server.wait_ack("cds")
            proxy.wait_stat("cluster_manager.cluster_modified", 1)
            release.set()
            assert http1.read_response(stream, "GET").status == 200
        base = "cluster.origin.circuit_breakers.default."
        want = {"remaining_rq": 5, "remaining_cx": 7, "remaining_pending": 6, "remaining_cx_pools": 9, "remaining_retries": 4,
                "rq_retry_open": 0, "rq_open": 0}
        wait_until(lambda: {k: proxy.stat(base + k) for k in want} == want, f"{want}, not {proxy.stats('origin.circuit')}")


def test_secrets__rotate_under_load__every_handshake_works(server, start_proxy, ca):
    leaves, client = [ca.issue(f"s{i}") for i in range(3)], ca.issue("client")
    server.set_resources("sds", {"default": certificate(leaves[0]), "ROOTCA": roots(ca)})
    ok = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]
    secure = config.listener("http", config.hcm(routes=ok), tls={"require_client_certificate": True, **mtls(ads())})
    proxy = start_proxy(ads_bootstrap(server.port, lds=False, cds=False, listeners=[secure]), concurrency=WORKERS)
    context = ca.client_context(client)

    def opened():
        return connect(proxy.address(), context, "server.test")
    _, one = h1(None, "/")

    def rotate(turn):
        server.set_resources("sds", {"default": certificate(leaves[turn % 3]), "ROOTCA": roots(ca, **({"max_verify_depth": 3} if turn % 2 else {}))})
        server.wait_ack("sds")
        load.more()
    with Asking(*[(opened, one, 1)] * 4, *[(opened, one)] * 2) as load:
        during(LIMIT_S, rotate)


def test_keys__change_at_their_server_under_load__both_tokens_in_turn(start_proxy, started, origin):
    signers = [Signer("ES256", kid=str(i)) for i in range(3)]
    sets, now = [key_set(*s) for s in (signers[:2], signers[1:], signers[::2] + signers[1:2])], [0]
    keys = Origin()
    started.add(keys, keys.close)
    def answer(_stream, _request):
        now[0] += 1
        return http1.response_bytes(200, [], sets[now[0] % 3].encode())
    keys.default = answer
    provider = {"issuer": "me", "remote_jwks": {"http_uri": {"uri": "http://keys/k", "cluster": "keys", "timeout": "5s"},
                                                "cache_duration": "0.1s"}}
    listeners = [config.http_listener(http_filters=chain(authn({"p": provider}, need("p"))), routes=[config.route()])]
    proxy = start_proxy(config.bootstrap(listeners, [config.cluster("origin", origin.port), config.cluster("keys", keys.port)]),
                        concurrency=WORKERS)
    tokens = [s.token({"iss": "me", "exp": 4102444800}) for s in signers]
    always, some = bearer(tokens[1]), bearer(tokens[0])
    with Asking(*[h1(proxy.address(), "/", always)] * 4, *[h1(proxy.address(), "/", some, (200, 401))] * 4) as load:
        wait_until(lambda: load.faults or now[0] > 12, "keys that were fetched again and again")
    assert proxy.stat("http.in.jwt_authn.jwks_fetch_failed") == 0
