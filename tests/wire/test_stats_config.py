# SPDX-License-Identifier: Apache-2.0
"""stats_config, stats_flush_on_admin and Prometheus' own programs reading /stats/prometheus."""
import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest

from lib import config, http1
from lib.pairs import Two, h1
from lib.proxy import envoy, weft
from lib.wait import wait_until

from test_stats_sinks import Datagrams

BOTH = pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(
    envoy() is None, reason="Envoy is not installed"))], ids=["weft", "envoy"])


OURS = {"cluster.origin.upstream_rq_stale_replay"}  # no counterpart in Envoy
THEIRS = {"cluster.origin.upstream_rq_rx_reset_no_error"}  # not counted here


def of(origin, **more):
    return config.bootstrap([config.http_listener()], [config.cluster("origin", origin.port)], **more)


def names(proxy):
    """Of the statistics that requests through the proxy make, in both."""
    h1(proxy)
    wait_until(lambda: h1(proxy).status == 200, "an answer")
    pattern = re.compile(r"^(http\.in|cluster\.origin)\.")
    return sorted(n for n in proxy.stats() if pattern.match(n))


@pytest.mark.parametrize("matcher", [
    {"inclusion_list": {"patterns": [{"prefix": "cluster.origin.upstream_rq"}, {"exact": "http.in.downstream_rq_total"}]}},
    {"exclusion_list": {"patterns": [{"safe_regex": {"regex": ".*(upstream|downstream).*"}}, {"suffix": "passthrough_internal"},
                                     {"contains": "_lb_"}, {"prefix": "cluster.origin.lb"}]}},
    {"reject_all": True},
], ids=["inclusion", "exclusion", "none"])
def test_stats_matcher__what_is_left__as_envoy(start_proxy, origin, matcher):
    two = Two(start_proxy, of(origin, stats_config={"stats_matcher": matcher}))
    theirs, ours = names(two.envoy), names(two.weft)
    assert not set(ours) - set(theirs) - OURS, "only what Envoy keeps"
    if "inclusion_list" in matcher:
        assert not set(theirs) - set(ours) - THEIRS


def buckets(proxy):
    h1(proxy)

    def found():
        text = proxy.admin("/stats?filter=cluster.origin.upstream_rq_time&histogram_buckets=cumulative").body.decode()
        return re.findall(r"B([\d.]+)\(", text)
    return wait_until(found, "a histogram")


def test_histogram_buckets__by_name__as_envoy(start_proxy, origin):
    settings = [{"match": {"suffix": "upstream_rq_time"}, "buckets": [1, 2.5, 100]},
                {"match": {"prefix": "cluster"}, "buckets": [7]}]
    two = Two(start_proxy, of(origin, stats_config={"histogram_bucket_settings": settings}, stats_flush_interval="0.1s"))
    assert two.same(buckets) == ["1", "2.5", "100"]


@BOTH
def test_flush_on_admin__sinks_are_told_when_somebody_looks(start_proxy, origin, started, binary):
    datagrams = Datagrams()
    started.add(datagrams, datagrams.close)
    sink = {"name": "envoy.stat_sinks.statsd", "typed_config": {"@type": config.TYPE + "config.metrics.v3.StatsdSink",
                                                              "address": config.socket_address("127.0.0.1", datagrams.port)}}
    proxy = start_proxy(of(origin, stats_sinks=[sink], stats_flush_on_admin=True), binary=binary())
    before = datagrams.sum_of("envoy.http.in.downstream_rq_total:")
    assert http1.fetch(proxy.address()).status == 200

    def told():
        proxy.admin("/stats?usedonly")
        return datagrams.sum_of("envoy.http.in.downstream_rq_total:") == before + 1
    wait_until(told, "the request")
    assert http1.fetch(proxy.address()).status == 200

    def told_again():
        proxy.admin("/stats/prometheus")
        return datagrams.sum_of("envoy.http.in.downstream_rq_total:") == before + 2
    wait_until(told_again, "one more")


# ---- Prometheus ----

def program(name):
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return found


def test_prometheus_page__promtool__finds_no_fault(start_proxy, origin):
    promtool = program("promtool")
    proxy = start_proxy(of(origin))
    for target in ("/", "/a", "/b"):
        assert http1.fetch(proxy.address(), target=target).status == 200
    page = proxy.admin("/stats/prometheus").body
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=60, check=False)
    output = (done.stdout + done.stderr).decode()
    # 3: lint. Envoy's names have no help texts, no "_total" and old units; errors of the format aren't among them.
    assert done.returncode in (0, 3), output
    lints = [line for line in output.splitlines() if not re.search(
        r'no help text|should have "_total" suffix|use base unit|should not contain abbreviated units|'
        r'non-(counter|histogram)[\w ]* metrics should not have|metric name should not|should be written in', line)]
    assert not lints, "\n".join(lints)


def test_prometheus__scrapes_and_answers_queries(start_proxy, origin, started, tmp_path):
    prometheus = program("prometheus")
    proxy = start_proxy(of(origin))
    for _ in range(7):
        assert http1.fetch(proxy.address()).status == 200
    host, port = proxy.admin_address
    (tmp_path / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "weft", "metrics_path": "/stats/prometheus",
                            "static_configs": [{"targets": [f"{host}:{port}"]}]}]}), encoding="utf-8")
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([prometheus, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
                                    "--web.listen-address=127.0.0.1:0"], stderr=log, stdout=log, cwd=tmp_path,
                                   env={**os.environ, "GOMAXPROCS": "1"})

    def stop():
        process.kill()
        process.wait()
    started.add(process, stop)

    def listening():
        text = (tmp_path / "log").read_text()
        assert process.poll() is None, text[-2000:]
        return re.search(r'msg="Listening on" address=127\.0\.0\.1:([1-9]\d*)', text)
    web = wait_until(listening, "Prometheus", timeout_s=60).group(1)

    def query(text):
        url = f"http://127.0.0.1:{web}/api/v1/query?" + urllib.parse.urlencode({"query": text})
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return [(r["metric"], r["value"][1]) for r in json.load(answer)["data"]["result"]]
        except OSError:
            return []
    wait_until(lambda: [v for _, v in query('up{job="weft"}')] == ["1"], "a scrape", timeout_s=60)
    assert [v for _, v in query('envoy_cluster_upstream_rq_total{envoy_cluster_name="origin"}')] == ["7"]
    assert [v for _, v in query('envoy_cluster_upstream_rq{envoy_response_code="200"}')] == ["7"]
    assert [v for _, v in query('envoy_cluster_upstream_rq_time_count{envoy_cluster_name="origin"}')] == ["7"]
    quantile = query('histogram_quantile(0.9, envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="origin"})')
    assert float(quantile[0][1]) >= 0
