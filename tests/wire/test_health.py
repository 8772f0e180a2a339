# SPDX-License-Identifier: Apache-2.0
"""Active health checks: scripted hosts answer, fail, hang; both proxies see, count and log alike."""
import json
import struct
import threading

import pytest

from lib import config, http1
from lib.dns import NXDOMAIN, DnsServer
from lib.http2 import H2Origin
from lib.origin import Origin
from lib.pairs import Two, chain, h1, http_filter
from lib.proxy import envoy, weft
from lib.streams import connect, unused_port
from lib.wait import wait_until
from test_dns import Host

NODE = {"id": "n1", "cluster": "mine"}
CHECK_STATS = r"^cluster\.origin\.health_check\.(healthy|degraded)$"
MEMBERS = r"^cluster\.origin\.membership_(healthy|degraded|excluded|total)$"


def check(kind, fields, **more):
    return {"timeout": "2s", "interval": "0.05s", "no_traffic_interval": "0.05s", "unhealthy_threshold": 1, "healthy_threshold": 1,
            kind: fields, **more}


def http_check(path="/check", **more):
    own = {k: more.pop(k) for k in list(more) if k in (
        "host", "expected_statuses", "retriable_statuses", "codec_client_type", "service_name_matcher", "method", "receive", "send",
        "request_headers_to_add", "request_headers_to_remove")}
    return check("http_health_check", {"path": path, **own}, **more)


def boot(ports, checks, health=(), node=None, **more):
    made = config.cluster("origin", *ports, health_checks=[checks], **more)
    for endpoint, extra in zip(made["load_assignment"]["endpoints"][0]["lb_endpoints"], health):
        endpoint["endpoint"]["health_check_config"] = extra
    return config.bootstrap([config.http_listener()], [made], **({"node": node} if node else {}))


def flags(proxy):
    lines = proxy.admin("/clusters").body.decode().splitlines()
    return [line.split("::")[-1] for line in lines if "::health_flags::" in line]


@pytest.fixture
def hosts(started):
    """hosts(answer, ...) -> origins; an answer may be changed while they run."""
    def make(*answers):
        made = [Origin(default=a if isinstance(a, bytes) else http1.response_bytes(a, body=b"")) for a in answers]
        for origin in made:
            started.add(origin, origin.close)
        return made
    return make


@pytest.fixture
def start_two(start_proxy):
    return lambda *args, **more: Two(start_proxy, *args, **more)


# ---- HTTP ----

def test_http__one_well_one_not__only_the_first_gets_requests(start_two, hosts):
    good, bad = hosts(200, 503)
    two = start_two(boot([good.port, bad.port], http_check()))
    assert two.same(flags) == ["healthy", "/failed_active_hc"]
    two.same_stats(CHECK_STATS)
    two.same_stats(MEMBERS)
    assert two.same(lambda p: {h1(p).status for _ in range(6)}) == {200}


def checks_of(origin):
    return [r for r in list(origin.requests) if r.target.startswith("/check")]


@pytest.mark.parametrize("fields", [
    {}, {"host": "check.example", "method": "HEAD"},
    {"request_headers_to_add": [{"header": {"key": "x-mine", "value": "1"}}, {"header": {"key": "user-agent", "value": "me"},
     "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}], "request_headers_to_remove": ["x-none"]},
])
def test_http__the_question__as_envoy_puts_it(start_proxy, hosts, fields):
    seen = []
    for binary in (envoy(), weft()):
        origin, = hosts(200)
        start_proxy(boot([origin.port], http_check("/check?a=b", **fields)), binary=binary)
        first = wait_until(lambda o=origin: checks_of(o), "a check")[0]
        seen.append((first.method, first.target, sorted((n.lower(), v) for n, v in first.headers)))
    assert seen[0] == seen[1]


def test_http__endpoint_settings__port_hostname_and_none(start_two, hosts):
    served, asked, silent = hosts(200, 200, 503)
    two = start_two(boot([served.port, silent.port], http_check(), health=[
        {"port_value": asked.port, "hostname": "own.example"}, {"disable_active_health_check": True}]))
    assert two.same(flags) == ["healthy", "healthy"]
    assert not checks_of(served) and not checks_of(silent)
    assert {r.get("host") for r in checks_of(asked)} == {"own.example"}


def answer_all(origin, status, headers=()):
    origin.default = http1.response_bytes(status, headers, b"")


def test_http__turns_bad_and_good_again__thresholds_count(start_two, hosts):
    a, = hosts(200)
    # 503 ejects at once; a retriable status and a closed connection need the threshold.
    two = start_two(boot([a.port], http_check(unhealthy_threshold=3, healthy_threshold=2,
                                              retriable_statuses=[{"start": 500, "end": 503}])))
    for proxy in (two.envoy, two.weft):
        assert flags(proxy) == ["healthy"]
    answer_all(a, 503)
    for proxy in (two.envoy, two.weft):
        wait_until(lambda p=proxy: flags(p) == ["/failed_active_hc"], "the host to fail")
        failures = proxy.stat("cluster.origin.health_check.failure")
        assert failures >= 1
    answer_all(a, 200)
    for proxy in (two.envoy, two.weft):
        wait_until(lambda p=proxy: flags(p) == ["healthy"], "the host to be well")
    answer_all(a, 502)
    for proxy in (two.envoy, two.weft):
        before = proxy.stat("cluster.origin.health_check.success")
        wait_until(lambda p=proxy: flags(p) == ["/failed_active_hc"], "the host to fail")
        assert before


@pytest.mark.parametrize("answer, fields, expected", [
    (http1.response_bytes(204), {"expected_statuses": [{"start": 204, "end": 205}]}, "healthy"),
    (http1.response_bytes(200), {"expected_statuses": [{"start": 204, "end": 205}]}, "/failed_active_hc"),
    (http1.response_bytes(200, [("x-envoy-degraded", "")]), {}, "/degraded_active_hc"),
    (http1.response_bytes(503, [("x-envoy-immediate-health-check-fail", "true")]), {},
     "/failed_active_hc/excluded_via_immediate_hc_fail"),
    (http1.response_bytes(200, [("x-envoy-upstream-healthchecked-cluster", "mine")]), {"service_name_matcher": {"prefix": "mi"}},
     "healthy"),
    (http1.response_bytes(200, [("x-envoy-upstream-healthchecked-cluster", "other")]), {"service_name_matcher": {"prefix": "mi"}},
     "/failed_active_hc"),
    (http1.response_bytes(200, body=b"all is well here"), {"receive": [{"text": "616c6c"}, {"binary": "d2VsbA=="}]}, "healthy"),
    (http1.response_bytes(200, body=b"well, all"), {"receive": [{"text": "616c6c"}, {"binary": "d2VsbA=="}]}, "/failed_active_hc"),
    (b"HTTP/1.1 bad\r\n\r\n", {}, "/failed_active_hc"),
])
def test_http__answers__mean_what_they_mean_to_envoy(start_two, hosts, answer, fields, expected):
    origin, = hosts(answer)
    two = start_two(boot([origin.port], http_check(**fields)))
    assert two.same(flags) == [expected]
    two.same_stats(CHECK_STATS)
    two.same_stats(MEMBERS)


def test_http__no_answer__times_out(start_two, started):
    stop = threading.Event()
    origin = Origin(handler=lambda stream: stop.wait())
    started.add(origin, origin.close)
    started.add(stop, stop.set)
    two = start_two(boot([origin.port], http_check(timeout="0.1s")))
    assert two.same(flags) == ["/failed_active_hc/active_hc_timeout"]
    for proxy in (two.envoy, two.weft):
        proxy.wait_stat("cluster.origin.health_check.network_failure", 2, exactly=False)


def test_http__nobody_listens__network_failure(start_two):
    two = start_two(boot([unused_port()], http_check()))
    assert two.same(flags) == ["/failed_active_hc"]
    for proxy in (two.envoy, two.weft):
        proxy.wait_stat("cluster.origin.health_check.network_failure", 2, exactly=False)


def test_http2__well(start_two, started):
    origin = H2Origin()
    started.add(origin, origin.close)
    two = start_two(boot([origin.port], http_check(codec_client_type="HTTP2")))
    assert two.same(flags) == ["healthy"]
    for proxy in (two.envoy, two.weft):
        proxy.wait_stat("cluster.origin.health_check.success", 3, exactly=False)


@pytest.mark.parametrize("reuse", [True, False])
def test_http__connections__kept_as_told(start_proxy, hosts, reuse):
    origin, = hosts(200)
    start_proxy(boot([origin.port], http_check(reuse_connection=reuse)))
    wait_until(lambda: len(checks_of(origin)) >= 4, "checks")
    assert len(origin.connections) == 1 if reuse else len(origin.connections) >= 3


def test_response_asks_to_be_taken_out__it_is(start_two, hosts):
    origin, = hosts(200)
    for name in ("envoy", "weft"):
        answer_all(origin, 200)
        two = start_two(boot([origin.port], http_check(interval="60s", no_traffic_interval="60s")))
        proxy = getattr(two, name)
        answer_all(origin, 200, [("x-envoy-immediate-health-check-fail", "true")])
        assert h1(proxy).status == 200
        wait_until(lambda p=proxy: flags(p) == ["/failed_active_hc/excluded_via_immediate_hc_fail"], "the host to be out")
        assert proxy.stat("cluster.origin.health_check.passive_failure") == 1


def test_outlier__a_passed_check__lets_the_host_back_in(start_two, hosts):
    origin, = hosts(200)
    origin.script["bad"] = http1.response_bytes(500)
    two = start_two(boot([origin.port], http_check(interval="0.2s", no_traffic_interval="0.2s"), outlier_detection={
        "consecutive_5xx": 1, "interval": "60s", "base_ejection_time": "60s", "max_ejection_percent": 100}))
    for proxy in (two.envoy, two.weft):
        assert h1(proxy, headers=[("x-case", "bad")]).status == 500
        proxy.wait_stat("cluster.origin.outlier_detection.ejections_enforced_total", 1)
        proxy.wait_stat("cluster.origin.outlier_detection.ejections_active", 0)


# ---- TCP, gRPC ----

@pytest.mark.parametrize("fields, reply, expected", [
    ({}, None, "healthy"),
    ({"send": {"text": "70696e67"}, "receive": [{"text": "706f6e67"}]}, b"xx pong xx", "healthy"),
    ({"send": {"text": "70696e67"}, "receive": [{"text": "706f6e67"}]}, b"", "/failed_active_hc/active_hc_timeout"),
])
def test_tcp__payloads(start_two, started, fields, reply, expected):
    def handler(stream):
        if reply is None:
            return
        while stream.recv(4):
            if reply:
                stream.send(reply)
    origin = Origin(handler=lambda s: handler(RawStream(s)))
    started.add(origin, origin.close)
    two = start_two(boot([origin.port], check("tcp_health_check", fields, timeout="0.5s")))
    assert two.same(flags) == [expected]


class RawStream:
    def __init__(self, stream):
        self.sock = stream.sock

    def recv(self, count):
        return self.sock.recv(count)

    def send(self, data):
        self.sock.sendall(data)


def grpc_answer(status, serving):
    body = struct.pack(">BI", 0, 2) + bytes([8, serving]) if serving is not None else b""
    return [(":status", "200"), ("content-type", "application/grpc")], body, [("grpc-status", str(status))]


@pytest.mark.parametrize("reply, expected", [
    (grpc_answer(0, 1), "healthy"),
    (grpc_answer(0, 2), "/failed_active_hc"),
    (grpc_answer(12, None), "/failed_active_hc"),
    (([(":status", "503")], b"", []), "/failed_active_hc"),
])
def test_grpc__answers(start_two, started, reply, expected):
    origin = H2Origin(default=reply)
    started.add(origin, origin.close)
    two = start_two(boot([origin.port], check("grpc_health_check", {"service_name": "my.service", "authority": "auth.example"}),
                         typed_extension_protocol_options={config.HTTP_OPTIONS_KEY: {
                             "@type": config.HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}}))
    assert two.same(flags) == [expected]
    asked = {(bytes(r.body), r.get(":authority"), r.get(":path")) for r in origin.requests}
    assert asked == {(struct.pack(">BI", 0, 12) + b"\n\nmy.service", "auth.example", "/grpc.health.v1.Health/Check")}


def test_tcp_connection__its_host_fails__closed_where_told(start_two, started, hosts):
    held = Origin(handler=lambda s: s.sock.recv(1))
    started.add(held, held.close)
    asked, = hosts(200)
    made = config.cluster("origin", held.port, health_checks=[http_check()], close_connections_on_host_health_failure=True)
    made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["health_check_config"] = {"port_value": asked.port}
    two = start_two(config.bootstrap([config.listener("tcp", config.tcp_proxy())], [made]))
    clients = [connect(p.address("tcp")) for p in (two.envoy, two.weft)]
    wait_until(lambda: len(held.connections) == 2, "the connections")
    answer_all(asked, 503)
    for client in clients:
        assert client.sock.recv(1) == b""
        client.close()


# ---- logs ----

def log_events(path, count):
    def read():
        lines = path.read_text().splitlines() if path.exists() else []
        return lines[:count] if len(lines) >= count else None
    made = [json.loads(line) for line in wait_until(read, "events in the log")]
    for event in made:
        assert event.pop("timestamp").endswith("Z")
        event["host"]["socket_address"].pop("port_value")
    return made


def test_event_log__as_envoy_writes_it(start_proxy, hosts, tmp_path):
    made = []
    sink = config.TYPE + "extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
    for name, binary in (("envoy", envoy()), ("weft", weft())):
        origin, = hosts(200)
        paths = [tmp_path / f"{name}{i}.log" for i in range(2)]
        start_proxy(boot([origin.port], http_check(always_log_health_check_failures=True, event_log_path=str(paths[0]), event_logger=[
            {"name": "file", "typed_config": {"@type": sink, "event_log_path": str(paths[1])}}])), binary=binary)
        log_events(paths[0], 1)
        answer_all(origin, 503)
        log_events(paths[0], 3)
        answer_all(origin, 200)
        wait_until(lambda p=paths[0]: p.read_text().count("add_healthy") == 2, "the return")
        events = log_events(paths[0], 3)
        assert log_events(paths[1], 3) == events
        made.append(events)
    assert made[0] == made[1]


# ---- the filter ----

def filter_boot(origin, fields, cluster=None):
    asked = [{"name": ":path", "string_match": {"exact": "/healthz"}}]
    made = cluster or config.cluster("origin", origin.port)
    return config.bootstrap([config.http_listener(http_filters=chain(http_filter(
        "envoy.filters.http.health_check", "extensions.filters.http.health_check.v3.HealthCheck", headers=asked, **fields)))],
        [made], node=NODE)


def answer(proxy, target="/healthz", method="GET"):
    got = h1(proxy, method=method, target=target)
    return (got.status, got.get("x-envoy-upstream-healthchecked-cluster"), got.get("x-envoy-immediate-health-check-fail"))


def test_filter__answers_itself_and_fails_on_command(start_two, hosts):
    origin, = hosts(200)
    two = start_two(filter_boot(origin, {"pass_through_mode": False}))
    assert two.same(answer) == (200, "mine", None)
    assert two.same(lambda p: answer(p, "/other")) == (200, None, None)
    two.same(lambda p: p.admin("/healthcheck/fail", "POST").status)
    assert two.same(answer) == (503, "mine", "true")
    assert two.same(lambda p: answer(p, "/other")) == (200, None, "true")
    two.same(lambda p: p.admin("/healthcheck/ok", "POST").status)
    assert two.same(answer) == (200, "mine", None)


def test_filter__pass_through_with_cache__keeps_the_last_answer(start_two, hosts):
    origin, = hosts(http1.response_bytes(404, body=b""))
    two = start_two(filter_boot(origin, {"pass_through_mode": True, "cache_time": "1000s"}))
    assert two.same(answer) == (404, "mine", None)
    answer_all(origin, 200)
    count = len(origin.requests)
    assert two.same(answer) == (404, "mine", None)
    assert len(origin.requests) == count


@pytest.mark.parametrize("percent, expected", [(50, 200), (51, 503)])
def test_filter__too_few_members_are_well__503(start_two, hosts, percent, expected):
    good, bad = hosts(200, 503)
    cluster = config.cluster("origin", good.port, bad.port, health_checks=[http_check()])
    two = start_two(filter_boot(good, {"pass_through_mode": False,
                                       "cluster_min_healthy_percentages": {"origin": {"value": percent}}}, cluster))
    assert two.same(answer)[0] == expected


# ---- discovery ----

def dns_cluster(server, port, **more):
    return {"name": "origin", "type": "STRICT_DNS", "connect_timeout": "2s", "dns_refresh_rate": "0.1s", "dns_lookup_family": "V4_ONLY",
            "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": {
                "@type": config.TYPE + "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [config.socket_address("127.0.0.1", server.port)],
                "dns_resolver_options": {"use_tcp_for_dns_lookups": False, "no_default_search_domain": True}}},
            "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": config.socket_address("one.test", port)}}]}]}, **more}


@pytest.mark.parametrize("ignore", [False, True])
def test_discovery_drops_a_healthy_host__it_stays_until_its_checks_fail(start_proxy, started, hosts, ignore):
    origin, = hosts(200)
    answer_all(origin, 200)
    for binary in (envoy(), weft()):
        answer_all(origin, 200)
        server = DnsServer(one=["127.0.0.1"])
        started.add(server, server.close)
        proxy = start_proxy(config.bootstrap([config.http_listener()], [dns_cluster(
            server, origin.port, health_checks=[http_check()], ignore_health_on_host_removal=ignore)]), binary=binary)
        wait_until(lambda p=proxy: flags(p) == ["healthy"], "the host")
        server.set("one.test", NXDOMAIN)
        if not ignore:
            wait_until(lambda p=proxy: flags(p) == ["/pending_dynamic_removal"], "the host to be dropped")
            assert h1(proxy).status == 200
            answer_all(origin, 503)
        wait_until(lambda p=proxy: flags(p) == [], "the host to be gone")


class Undecided(Host):
    """Answers a check only when it is let to."""

    def __init__(self, ip, port):
        self.may_answer = threading.Event()
        super().__init__(ip, port)

    def serve(self, stream):
        try:
            while request := http1.read_request(stream):
                if request.target == "/check":
                    self.may_answer.wait()
                stream.send(http1.response_bytes(200, body=self.ip.encode()))
        except OSError:
            pass

    def close(self):
        self.may_answer.set()
        super().close()


def start_undecided(started):
    for _ in range(20):
        first = Host("127.0.0.1")
        try:
            second = Undecided("127.0.0.2", first.port)
        except OSError:
            first.close()
            continue
        for host in (first, second):
            started.add(host, host.close)
        return first.port, second
    raise AssertionError("no port is free at both addresses")


@pytest.mark.parametrize("ignore", [True, False])
def test_a_new_host__not_checked_yet__counts_only_where_told(start_proxy, started, ignore):
    """Excluded, it doesn't bring its priority nearer to panic."""
    for binary in (envoy(), weft()):
        port, second = start_undecided(started)
        server = DnsServer(one=["127.0.0.1"])
        started.add(server, server.close)
        proxy = start_proxy(config.bootstrap([config.http_listener()], [dns_cluster(
            server, port, health_checks=[http_check(timeout="60s")], common_lb_config={"ignore_new_hosts_until_first_hc": ignore})]), binary=binary)
        wait_until(lambda p=proxy: flags(p) == ["healthy"], "the first host")
        server.set("one.test", ["127.0.0.1", "127.0.0.2"])
        proxy.wait_stat("cluster.origin.membership_total", 2)
        proxy.wait_stat("cluster.origin.membership_excluded", 1 if ignore else 0)
        proxy.wait_stat("cluster.origin.membership_healthy", 1)
        second.may_answer.set()
        proxy.wait_stat("cluster.origin.membership_healthy", 2)
        proxy.wait_stat("cluster.origin.membership_excluded", 0)
