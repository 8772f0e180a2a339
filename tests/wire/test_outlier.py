# SPDX-License-Identifier: Apache-2.0
"""Outlier detection: scripted hosts fail, both proxies eject, count and log alike."""
import json
from collections import Counter

import pytest

from lib import config, http1
from lib.origin import Origin
from lib.pairs import Two, h1
from lib.streams import unused_port
from lib.wait import wait_until

OK = http1.response_bytes(200, body=b"ok")
SLOW = "60s"  # an interval that doesn't come in a test


@pytest.fixture
def hosts(started):
    """hosts(status, ...) -> origins that answer so."""
    def make(*statuses):
        made = [Origin(default=http1.response_bytes(s, body=str(s).encode())) for s in statuses]
        for origin in made:
            started.add(origin, origin.close)
        return made
    return make


def boot(ports, **detection):
    detection = {"max_ejection_percent": 100, "interval": SLOW, "base_ejection_time": SLOW, **detection}
    log = detection.pop("log", None)
    more = {"cluster_manager": {"outlier_detection": {"event_log_path": str(log)}}} if log else {}
    return config.bootstrap([config.http_listener()], [config.cluster("origin", *ports, outlier_detection=detection)], **more)


def statuses(proxy, count):
    return Counter(h1(proxy).status for _ in range(count))


def ejected(proxy):
    return proxy.stat("cluster.origin.outlier_detection.ejections_active")


def flags(proxy):
    """host index -> health flags, in the order of the configuration."""
    lines = proxy.admin("/clusters").body.decode().splitlines()
    return [line.split("::")[-1] for line in lines if "::health_flags::" in line]


def fail_until_ejected(proxy, count=1):
    def step():
        h1(proxy)
        return ejected(proxy) == count
    wait_until(step, "an ejection")
    wait_until(lambda: proxy.stat("cluster.origin.membership_healthy") == len(flags(proxy)) - count, "its publication")


DETECTORS = r"^cluster\.origin\.outlier_detection\."


@pytest.mark.parametrize("status, detection", [
    (500, {"consecutive_5xx": 3}),
    (503, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}),
    (500, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}),
])
def test_consecutive__the_failing_host_is_ejected__nothing_more_goes_there(start_proxy, hosts, status, detection):
    bad, good = hosts(status, 200)
    two = Two(start_proxy, boot([bad.port, good.port], **detection))
    for proxy in (two.envoy, two.weft):
        fail_until_ejected(proxy)
        assert flags(proxy) == ["/failed_outlier_check", "healthy"]
        mark = len(bad.requests)
        assert statuses(proxy, 20) == {200: 20}
        assert len(bad.requests) == mark
    two.same_stats(DETECTORS)


def test_consecutive__not_enforced__only_detected(start_proxy, hosts):
    bad, good = hosts(500, 200)
    two = Two(start_proxy, boot([bad.port, good.port], consecutive_5xx=2, enforcing_consecutive_5xx=0))
    assert two.same(lambda p: statuses(p, 8)) == {200: 4, 500: 4}
    for proxy in (two.envoy, two.weft):
        proxy.wait_stat("cluster.origin.outlier_detection.ejections_detected_consecutive_5xx", 2)
    two.same_stats(DETECTORS)


def test_connect_failure__counts_as_503(start_proxy, hosts):
    good, = hosts(200)
    two = Two(start_proxy, boot([unused_port(), good.port], consecutive_5xx=2))
    for proxy in (two.envoy, two.weft):
        fail_until_ejected(proxy)
        assert statuses(proxy, 10) == {200: 10}
    two.same_stats(DETECTORS)


def test_connect_failure__split__counts_as_local_origin(start_proxy, hosts):
    good, = hosts(200)
    two = Two(start_proxy, boot([unused_port(), good.port], consecutive_local_origin_failure=2,
                                split_external_local_origin_errors=True))
    for proxy in (two.envoy, two.weft):
        fail_until_ejected(proxy)
        assert statuses(proxy, 10) == {200: 10}
    two.same_stats(DETECTORS)


@pytest.mark.parametrize("always", [False, True])
def test_max_ejection_percent__too_small_for_one__unless_always_one(start_proxy, hosts, always):
    bad, good = hosts(500, 200)
    two = Two(start_proxy, boot([bad.port, good.port], consecutive_5xx=2, max_ejection_percent=10,
                                always_eject_one_host=always))
    for proxy in (two.envoy, two.weft):
        if always:
            fail_until_ejected(proxy)
        else:
            statuses(proxy, 6)
            proxy.wait_stat("cluster.origin.outlier_detection.ejections_overflow", 1, exactly=False)
            assert flags(proxy) == ["healthy", "healthy"]


def test_time_is_up__the_host_comes_back_and_is_ejected_again_for_longer(start_proxy, hosts):
    bad, good = hosts(500, 200)
    two = Two(start_proxy, boot([bad.port, good.port], consecutive_5xx=1, interval="0.05s", base_ejection_time="0.1s"))
    for proxy in (two.envoy, two.weft):
        for round_ in (1, 2):
            wait_until(lambda: ejected(proxy) == 0, "the host's return")
            wait_until(lambda r=round_, p=proxy: h1(p) and p.stat(
                "cluster.origin.outlier_detection.ejections_enforced_total") >= r, "an ejection")
        wait_until(lambda: ejected(proxy) == 0, "the host's second return")


def test_success_rate__the_worst_host_falls_out(start_proxy, hosts):
    bad, *good = hosts(500, 200, 200, 200, 200)
    two = Two(start_proxy, boot([o.port for o in [bad, *good]], consecutive_5xx=1000, interval="0.3s", success_rate_request_volume=3,
                                success_rate_minimum_hosts=3, success_rate_stdev_factor=1000))
    for proxy in (two.envoy, two.weft):
        wait_until(lambda p=proxy: statuses(p, 50) and ejected(p) == 1, "an ejection by success rate")
        assert flags(proxy)[0] == "/failed_outlier_check"
        assert proxy.stat("cluster.origin.outlier_detection.ejections_enforced_success_rate") == 1


def test_failure_percentage__at_the_threshold__ejected(start_proxy, hosts):
    bad, good = hosts(500, 200)
    two = Two(start_proxy, boot([bad.port, good.port], consecutive_5xx=1000, interval="0.3s", enforcing_success_rate=0,
                                enforcing_failure_percentage=100, failure_percentage_minimum_hosts=1,
                                failure_percentage_request_volume=2, failure_percentage_threshold=100))
    for proxy in (two.envoy, two.weft):
        wait_until(lambda p=proxy: statuses(p, 20) and ejected(p) == 1, "an ejection by failure percentage")
        assert flags(proxy) == ["/failed_outlier_check", "healthy"]
        assert proxy.stat("cluster.origin.outlier_detection.ejections_enforced_failure_percentage") == 1


def events(path, count):
    def read():
        lines = path.read_text().splitlines() if path.exists() else []
        return lines[:count] if len(lines) >= count else None
    made = [json.loads(line) for line in wait_until(read, "events in the log")]
    for event in made:
        assert event.pop("timestamp").endswith("Z")
        event.pop("secs_since_last_action", None)
    return made


def test_event_log__ejection_and_return__as_envoy_writes_them(start_proxy, hosts, tmp_path):
    from lib.proxy import envoy, weft
    bad, good = hosts(500, 200)
    made = []
    for name, binary in (("envoy", envoy()), ("weft", weft())):
        log = tmp_path / f"{name}.log"
        proxy = start_proxy(boot([bad.port, good.port], consecutive_5xx=2, interval="0.05s", base_ejection_time="0.2s", log=log),
                            binary=binary)
        wait_until(lambda p=proxy: h1(p) and p.stat("cluster.origin.outlier_detection.ejections_enforced_total") >= 1, "an ejection")
        made.append(events(log, 2))
    assert made[0] == made[1]
    assert [e["action"] for e in made[1]] == ["EJECT", "UNEJECT"]


@pytest.mark.weft_only
@pytest.mark.threads
def test_consecutive__many_workers__counted_exactly(start_proxy, hosts):
    bad, = hosts(500)
    proxy = start_proxy(boot([bad.port], consecutive_5xx=20, enforcing_consecutive_5xx=0), concurrency=4)
    assert statuses(proxy, 19) == {500: 19}
    assert proxy.stat("cluster.origin.outlier_detection.ejections_detected_consecutive_5xx") == 0
    assert statuses(proxy, 1) == {500: 1}
    proxy.wait_stat("cluster.origin.outlier_detection.ejections_detected_consecutive_5xx", 1)


# ---- rates, ours and theirs ----

def rates(proxy, name="success_rate"):
    lines = proxy.admin("/clusters").body.decode().splitlines()
    return [line.split("::")[-1] for line in lines if f"::{name}::" in line]


def test_clusters_page__success_rates__of_the_last_interval(start_proxy, hosts):
    good, bad = hosts(200, 503)
    made = boot([good.port, bad.port], interval="1s", success_rate_minimum_hosts=2, success_rate_request_volume=5, consecutive_5xx=1000,
                consecutive_gateway_failure=1000, enforcing_success_rate=0, enforcing_failure_percentage=0)
    two = Two(start_proxy, made)

    def shown(proxy):
        statuses(proxy, 30)
        return "-1" not in rates(proxy) and rates(proxy)
    assert two.same(lambda proxy: wait_until(lambda: shown(proxy), "rates")) == ["100", "0"]
    assert two.same(lambda proxy: rates(proxy, "local_origin_success_rate")) == ["-1", "-1"]


@pytest.mark.parametrize("detection", [
    {"success_rate_minimum_hosts": 5, "success_rate_request_volume": 2, "success_rate_stdev_factor": 1000, "enforcing_local_origin_success_rate": 100},
    {"failure_percentage_threshold": 90, "failure_percentage_minimum_hosts": 5, "failure_percentage_request_volume": 2,
     "enforcing_failure_percentage_local_origin": 100, "enforcing_local_origin_success_rate": 0}], ids=["success_rate", "failure_percentage"])
def test_local_origin__rates__the_refusing_host_falls_out(start_proxy, hosts, detection):
    """Each kind of detection counts under its own name."""
    good = [o.port for o in hosts(200, 200, 200, 200)]
    two = Two(start_proxy, boot([unused_port(), *good], interval="1s", split_external_local_origin_errors=True,
                                consecutive_local_origin_failure=1000, **detection))
    kind = "success_rate" if "success_rate_minimum_hosts" in detection else "failure_percentage"

    def fail(proxy):
        statuses(proxy, 120)
        return ejected(proxy) == 1
    for proxy in (two.envoy, two.weft):
        wait_until(lambda p=proxy: fail(p), "an ejection")
        assert proxy.stat(f"cluster.origin.outlier_detection.ejections_enforced_local_origin_{kind}") == 1
        assert flags(proxy)[0].startswith("/failed_outlier_check")
