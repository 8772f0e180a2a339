# SPDX-License-Identifier: Apache-2.0
"""The admin server's pages as people and scrapers read them; the same tests pass with Envoy in the proxy's place."""
import json
import re

from urllib.parse import quote

import pytest

from lib import config, http1
from lib.streams import Closed
from lib.wait import wait_until

LAYERS = {"layers": [{"name": "static", "static_layer": {"a.b": 5}}, {"name": "admin", "admin_layer": {}}]}


def start(start_proxy, origin, **more):
    clusters = more.pop("clusters", ())
    return start_proxy(config.bootstrap([config.http_listener()],
                                        [config.cluster("origin", origin.port), *clusters],
                                        node={"id": "n", "cluster": "c", "locality": {"zone": "z"}},
                                        layered_runtime=LAYERS, **more))


@pytest.fixture
def proxy(start_proxy, origin):
    return start(start_proxy, origin)


def text(proxy, path, method="GET"):
    answer = proxy.admin(path, method)
    assert answer.status == 200, (path, answer.status, answer.body)
    return answer.body.decode()


def samples(page):
    """{metric: {labels text: value}}, failing on what a scraper would refuse."""
    found, kinds = {}, {}
    for line in page.splitlines():
        kind = re.fullmatch(r"# TYPE ([a-zA-Z_][a-zA-Z0-9_]*) (counter|gauge|histogram)", line)
        if kind:
            assert kind[1] not in kinds
            kinds[kind[1]] = kind[2]
            continue
        sample = re.fullmatch(r'([a-zA-Z_][a-zA-Z0-9_]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)', line)
        assert sample, line
        assert re.sub("_(bucket|sum|count)$", "", sample[1]) in kinds or sample[1] in kinds, line
        found.setdefault(sample[1], {})[sample[2]] = float(sample[3])
    return found


def test_ready__live_then_failed_health(proxy):
    assert text(proxy, "/ready") == "LIVE\n"
    assert text(proxy, "/healthcheck/fail", "POST") == "OK\n"
    assert (proxy.admin("/ready").status, proxy.admin("/ready").body) == (503, b"DRAINING\n")
    text(proxy, "/healthcheck/ok", "POST")
    assert text(proxy, "/ready") == "LIVE\n"


def test_head_and_headers(proxy):
    answer = proxy.admin("/ready")
    assert answer.get("content-type") == "text/plain; charset=UTF-8"
    assert answer.get("cache-control") == "no-cache, max-age=0"
    assert answer.get("x-content-type-options") == "nosniff"
    assert proxy.admin("/ready", "HEAD").status == 200


def test_unknown_path_and_mutation_by_get(proxy):
    answer = proxy.admin("/nope")
    assert answer.status == 404 and answer.body.startswith(b"invalid path. admin commands are:\n")
    answer = proxy.admin("/reset_counters")
    assert (answer.status, answer.body) == (405, b"Method GET not allowed, POST required.")


def test_server_info(proxy):
    info = json.loads(text(proxy, "/server_info"))
    assert info["state"] == "LIVE"
    assert re.fullmatch(r"\d+s", info["uptime_current_epoch"])
    assert info["node"]["id"] == "n" and info["node"]["locality"]["zone"] == "z"
    assert info["command_line_options"]["concurrency"] == 1


def test_memory(proxy):
    figures = json.loads(text(proxy, "/memory"))
    assert set(figures) == {"allocated", "heap_size", "pageheap_unmapped", "pageheap_free",
                            "total_thread_cache", "total_physical_bytes"}
    assert int(figures["total_physical_bytes"]) > 0


def test_prometheus__counts_requests(proxy):
    for _ in range(3):
        assert http1.fetch(proxy.address()).status == 200
    proxy.wait_stat("http.in.downstream_rq_2xx", 3)
    found = samples(text(proxy, "/stats/prometheus"))
    in_http = 'envoy_http_conn_manager_prefix="in"'
    assert found["envoy_http_downstream_rq_xx"][f'envoy_response_code_class="2",{in_http}'] == 3
    in_cluster = 'envoy_cluster_name="origin"'
    assert found["envoy_cluster_upstream_rq"][f'envoy_response_code="200",{in_cluster}'] == 3
    assert found["envoy_cluster_upstream_rq_total"][in_cluster] == 3
    buckets = found["envoy_cluster_upstream_cx_connect_ms_bucket"]
    assert len(buckets) == 20
    assert list(buckets)[0] == f'{in_cluster},le="0.5"' and list(buckets)[-1] == f'{in_cluster},le="+Inf"'


def test_prometheus__filter_and_usedonly(proxy):
    found = samples(text(proxy, "/stats/prometheus?filter=%5Ecluster%5C.origin%5C.membership"))
    assert found["envoy_cluster_membership_total"] == {'envoy_cluster_name="origin"': 1}
    assert all(name.startswith("envoy_cluster_membership") for name in found)
    assert "envoy_cluster_upstream_rq_retry" not in samples(text(proxy, "/stats/prometheus?usedonly"))
    assert proxy.admin("/stats?filter=(").status == 400


def test_stats__formats(proxy):
    as_text = text(proxy, "/stats?filter=cluster.origin.membership")
    assert "cluster.origin.membership_total: 1\n" in as_text
    as_json = json.loads(text(proxy, "/stats?format=json&filter=cluster.origin.membership_total"))
    assert as_json == {"stats": [{"name": "cluster.origin.membership_total", "value": 1}]}
    histograms = json.loads(text(proxy, "/stats?format=json&filter=origin.*cx_length"))["stats"][0]["histograms"]
    assert histograms["supported_quantiles"] == [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]
    assert histograms["computed_quantiles"][0]["name"] == "cluster.origin.upstream_cx_length_ms"


def test_reset_counters(proxy):
    http1.fetch(proxy.address())
    proxy.wait_stat("cluster.origin.upstream_rq_total", 1)
    text(proxy, "/reset_counters", "POST")
    assert proxy.stat("cluster.origin.upstream_rq_total") == 0


def test_clusters__text_and_json(start_proxy, origin):
    more = config.cluster("more", 1, 2)
    endpoints = more["load_assignment"]["endpoints"][0]
    endpoints["locality"] = {"region": "r", "zone": "z", "sub_zone": "s"}
    endpoints["lb_endpoints"][0].update({"health_status": "DEGRADED", "load_balancing_weight": 5})
    endpoints["lb_endpoints"][1]["health_status"] = "DRAINING"
    more["circuit_breakers"] = {"thresholds": [{"priority": "HIGH", "max_connections": 7}]}
    proxy = start(start_proxy, origin, clusters=[more])
    page = text(proxy, "/clusters").splitlines()
    for line in ("more::observability_name::more", "more::default_priority::max_connections::1024",
                 "more::high_priority::max_connections::7", "more::added_via_api::false",
                 "more::127.0.0.1:1::health_flags::/degraded_eds_health", "more::127.0.0.1:1::weight::5",
                 "more::127.0.0.1:2::health_flags::/eds_status_draining", "more::127.0.0.1:2::sub_zone::s",
                 "more::127.0.0.1:2::rq_pending_active::0", "more::127.0.0.1:2::success_rate::-1"):
        assert line in page
    assert all(line.startswith("origin::") for line in text(proxy, "/clusters?filter=orig").splitlines())
    statuses = {c["name"]: c for c in json.loads(text(proxy, "/clusters?format=json"))["cluster_statuses"]}
    first, second = statuses["more"]["host_statuses"]
    assert first["health_status"] == {"eds_health_status": "DEGRADED"}
    assert second["health_status"] == {"eds_health_status": "DRAINING"}
    assert first["address"] == config.socket_address(port=1)
    assert first["locality"] == {"region": "r", "zone": "z", "sub_zone": "s"}
    assert statuses["more"]["circuit_breakers"]["thresholds"][1] == {
        "priority": "HIGH", "max_connections": 7, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 3}


def test_clusters__host_counters(proxy, origin):
    http1.fetch(proxy.address())
    line = f"origin::127.0.0.1:{origin.port}::rq_success::1"
    wait_until(lambda: line in text(proxy, "/clusters").splitlines(), line)


def test_listeners(proxy):
    port = proxy.ports["http"]
    assert text(proxy, "/listeners") == f"http::127.0.0.1:{port}\n"
    assert json.loads(text(proxy, "/listeners?format=json")) == {
        "listener_statuses": [{"name": "http", "local_address": config.socket_address(port=port)}]}


def test_certs(start_proxy, origin, ca):
    leaf = ca.issue("server", sans=["DNS:a.example", "URI:spiffe://td/x"])
    proxy = start_proxy(config.bootstrap([config.http_listener(tls=config.server_tls(leaf, ca=ca))],
                                         [config.cluster("origin", origin.port)]))
    [entry] = json.loads(text(proxy, "/certs"))["certificates"]
    [chain], [authority] = entry["cert_chain"], entry["ca_cert"]
    assert chain["path"] == leaf.cert and authority["path"] == ca.cert
    assert int(chain["serial_number"], 16) == leaf.certificate.serial_number
    assert chain["subject_alt_names"] == [{"dns": "a.example"}, {"uri": "spiffe://td/x"}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", chain["expiration_time"])
    assert int(chain["days_until_expiration"]) > 0


def test_runtime_modify(proxy):
    assert json.loads(text(proxy, "/runtime"))["entries"]["a.b"] == {"final_value": "5", "layer_values": ["5", ""]}
    text(proxy, "/runtime_modify?a.b=6", "POST")
    assert json.loads(text(proxy, "/runtime"))["entries"]["a.b"] == {"final_value": "6", "layer_values": ["5", "6"]}
    answer = http1.fetch(proxy.admin_address, "POST", "/runtime_modify",
                         [("Content-Type", "application/x-www-form-urlencoded"), ("Connection", "close")], b"a.b=&x=%79")
    assert answer.status == 200
    entries = json.loads(text(proxy, "/runtime"))["entries"]
    assert entries["a.b"]["final_value"] == "5" and entries["x"]["final_value"] == "y"
    assert proxy.admin("/runtime_modify", "POST").status == 400


def test_logging(proxy):
    assert "  http: debug\n" in text(proxy, "/logging?http=debug", "POST")
    page = text(proxy, "/logging?paths=http:info,upstream:error", "POST")
    assert "  http: info\n" in page and "  upstream: error\n" in page
    answer = proxy.admin("/logging?nope=info", "POST")
    assert answer.status == 400 and answer.body.startswith(b"error: unknown logger name\n")


def test_config_dump(proxy):
    types = [c["@type"].rpartition(".")[2] for c in proxy.config_dump()["configs"]]
    assert types[0] == "BootstrapConfigDump" and "ClustersConfigDump" in types
    one = json.loads(text(proxy, "/config_dump?resource=static_clusters&name_regex=origin&mask=cluster.name"))
    assert [c["cluster"]["name"] for c in one["configs"]] == ["origin"]
    answer = proxy.admin("/config_dump?resource=nope")
    assert (answer.status, answer.body) == (404, b"nope not found in config dump")


def test_allow_paths(start_proxy, origin):
    made = config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port)])
    made["admin"]["allow_paths"] = [{"exact": "/ready"}, {"prefix": "/listeners"}]
    proxy = start_proxy(made)
    answer = proxy.admin("/stats?x")
    assert (answer.status, answer.body) == (403, b"request to path /stats?x not allowed")
    assert proxy.admin("/ready?x").status == 403


def test_access_log(start_proxy, origin, tmp_path):
    path = tmp_path / "admin.log"
    made = config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port)])
    made["admin"]["access_log"] = [config.file_log(path, text_format="%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %PROTOCOL%\n")]
    proxy = start_proxy(made)
    proxy.admin("/nope?x")
    wait_until(lambda: "GET /nope?x 404 HTTP/1.1\n" in path.read_text(), "the line")


def test_stats_config__tags_matcher_and_buckets(start_proxy, origin):
    proxy = start(start_proxy, origin, stats_config={
        "stats_tags": [{"tag_name": "env", "fixed_value": "test"}],
        "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": "cluster."}]}},
        "histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": [1, 100]}]})
    found = samples(text(proxy, "/stats/prometheus"))
    assert all(name.startswith("envoy_cluster_") for name in found)
    labels = set(next(iter(found["envoy_cluster_membership_total"])).split(","))
    assert labels == {'envoy_cluster_name="origin"', 'env="test"'}
    assert len(found["envoy_cluster_upstream_cx_connect_ms_bucket"]) == 3


@pytest.mark.weft_only
def test_unsupported(start_proxy, origin):
    proxy = start(start_proxy, origin)
    assert text(proxy, "/unsupported") == ""
    assert json.loads(text(proxy, "/unsupported?format=json")) == {"unsupported": []}


def test_drain_listeners__stops_listening_but_lives(proxy):
    assert text(proxy, "/drain_listeners", "POST") == "OK\n"

    def is_refused():
        try:
            http1.fetch(proxy.address())
        except (OSError, Closed):  # refused, or accepted just before
            return True
        return False
    wait_until(is_refused, "the listener to be gone")
    assert proxy.admin("/ready").status == 200


def test_quitquitquit__answers_then_exits(proxy):
    assert text(proxy, "/quitquitquit", "POST") == "OK\n"
    assert proxy.wait_exit() == 0


@pytest.mark.weft_only
def test_pilot_agent__its_readiness_question_and_its_drain(start_proxy, origin):
    """What an unmodified pilot-agent asks of the admin page every second, and at the pod's end."""
    inbound = config.http_listener("in", listener_fields={"traffic_direction": "INBOUND"})
    outbound = config.http_listener("out", listener_fields={"traffic_direction": "OUTBOUND"})
    proxy = start_proxy(config.bootstrap([inbound, outbound], [config.cluster("origin", origin.port)]),
                        args=["--drain-strategy", "immediate"])
    question = "/stats?usedonly&filter=" + quote(r"^(server\.state|listener_manager\.workers_started)")
    assert text(proxy, question).splitlines() == ["listener_manager.workers_started: 1", "server.state: 0"]
    before = {name: http1.connect(proxy.address(name)) for name in ("in", "out")}

    def says(name):
        before[name].send(http1.request_bytes())
        return http1.read_response(before[name]).get("connection")
    assert says("in") is None
    assert proxy.admin("/drain_listeners?inboundonly&graceful", "POST").status == 200
    wait_until(lambda: says("in") == "close")
    assert says("out") is None
    for one in before.values():
        one.sock.close()
