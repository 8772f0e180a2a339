# SPDX-License-Identifier: Apache-2.0
"""cluster.<name>.zone.<from>.<to>.*: the same under Envoy."""
import pytest

from lib import config, http1
from lib.http1 import fetch
from lib.proxy import envoy, weft
from lib.wait import wait_until

BOTH = pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(
    envoy() is None, reason="Envoy is not installed"))], ids=["weft", "envoy"])


def start(start_proxy, binary, origin, here, *zones):
    """One endpoint a zone, all of them the same server."""
    made = config.cluster("origin")
    made["load_assignment"]["endpoints"] = [
        {**({"locality": {"zone": zone}} if zone else {}),
         "lb_endpoints": [{"endpoint": {"address": config.socket_address(port=origin.port)}}]} for zone in zones]
    node = {"id": "n", "cluster": "c", **({"locality": {"zone": here}} if here else {})}
    return start_proxy(config.bootstrap([config.http_listener()], [made], node=node), binary=binary(), concurrency=1)


def zone_stats(proxy):
    return {name[len("cluster.origin.zone."):]: value for name, value in proxy.stats().items()
            if name.startswith("cluster.origin.zone.") and isinstance(value, int)}


@BOTH
def test_zone_stats__answers_from_two_zones__counted_by_code_and_class(start_proxy, origin, binary):
    proxy = start(start_proxy, binary, origin, "a", "b", "c")
    origin.script.update({str(status): http1.response_bytes(status) for status in (200, 404, 503)})
    for status in ("200", "404", "200", "503"):
        fetch(proxy.address(), headers=[("x-case", status)])
    proxy.wait_stat("cluster.origin.upstream_rq_completed", 4)
    stats = zone_stats(proxy)
    for zone in ("a.b", "a.c"):
        assert stats[f"{zone}.upstream_rq_completed"] == 2
    total = {}
    for name, value in stats.items():
        tail = name.rsplit(".", 1)[1]
        total[tail] = total.get(tail, 0) + value
    assert {k: v for k, v in total.items() if k != "upstream_rq_time"} == {
        "upstream_rq_completed": 4, "upstream_rq_2xx": 2, "upstream_rq_4xx": 1, "upstream_rq_5xx": 1,
        "upstream_rq_200": 2, "upstream_rq_404": 1, "upstream_rq_503": 1}
    wait_until(lambda: b"zone.a.b.upstream_rq_time" in proxy.admin("/stats").body, "the histogram")


@BOTH
@pytest.mark.parametrize("here,there", [("a", ""), ("", "b")])
def test_zone_stats__a_zone_is_not_known__none(start_proxy, origin, binary, here, there):
    proxy = start(start_proxy, binary, origin, here, there)
    assert fetch(proxy.address()).status == 200
    proxy.wait_stat("cluster.origin.upstream_rq_completed", 1)
    assert zone_stats(proxy) == {}
