# SPDX-License-Identifier: Apache-2.0
"""envoy.filters.http.ratelimit and envoy.filters.network.ratelimit against a real rate-limit service, beside Envoy."""
import threading

import grpc
import pytest

from lib import config
from lib.grpc_services import RateLimitService
from lib.http1 import fetch
from lib.pairs import Two, chain, h1, h2, http_filter, seen
from lib.streams import Closed, connect, unused_port
from lib.wait import wait_until

RATELIMIT = "envoy.filters.http.ratelimit"
TYPE = "extensions.filters.http.ratelimit.v3.RateLimit"


@pytest.fixture
def service(started):
    made = RateLimitService()
    return started.add(made, made.close)


def of_service(grpc_fields=None, **more):
    return {"transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "limits", **(grpc_fields or {})}, **more}}


def limiter(**fields):
    return http_filter(RATELIMIT, TYPE, **{"domain": "test", "timeout": "5s", "rate_limit_service": of_service(), **fields})


def actions(*items, **more):
    return {"actions": list(items), **more}


GENERIC = {"generic_key": {"descriptor_value": "all"}}


def limited_route(*rate_limits, prefix="/", target="origin", **more):
    return {"match": {"prefix": prefix}, "route": {"cluster": target, "rate_limits": list(rate_limits)}, **more}


def make_bootstrap(origin_port, service_port, *filters, routes=None, virtual_hosts=None, **more):
    fields = {"virtual_hosts": virtual_hosts} if virtual_hosts else {"routes": routes or [limited_route(actions(GENERIC))]}
    return config.bootstrap(
        [config.http_listener(http_filters=chain(*(filters or [limiter()])), **fields, **more)],
        [config.cluster("origin", origin_port), config.cluster("limits", service_port, http2=True)],
        node={"id": "me", "cluster": "mine"},
        layered_runtime={"layers": [{"name": "static", "static_layer": {
            "envoy.features.enable_all_deprecated_features": True, "ratelimit.off.http_filter_enabled": 0}}]})


@pytest.fixture
def two(start_proxy, origin, service):
    def start(*filters, **more):
        made = Two(start_proxy, make_bootstrap(origin.port, service.port, *filters, **more))
        made.origin = origin
        made.service = service
        return made
    return start


def asking(service, ask):
    """What the client saw and what the service was asked."""
    def both(proxy):
        service.take()
        answer = ask(proxy)
        return answer, service.take()
    return both


# ---- what is asked ----

ACTIONS = {
    "source_cluster": {"source_cluster": {}},
    "destination_cluster": {"destination_cluster": {}},
    "request_headers": {"request_headers": {"header_name": "X-User", "descriptor_key": "user"}},
    "skip_if_absent": {"request_headers": {"header_name": "x-absent", "descriptor_key": "absent", "skip_if_absent": True}},
    "query_parameters": {"query_parameters": {"query_parameter_name": "q", "descriptor_key": "query"}},
    "query_skip": {"query_parameters": {"query_parameter_name": "no", "descriptor_key": "query", "skip_if_absent": True}},
    "remote_address": {"remote_address": {}},
    "masked": {"masked_remote_address": {"v4_prefix_mask_len": 9}},
    "masked_whole": {"masked_remote_address": {}},
    "generic_key": GENERIC,
    "generic_key_named": {"generic_key": {"descriptor_key": "name", "descriptor_value": "value"}},
    "generic_key_format": {"generic_key": {"descriptor_value": "%REQ(x-user)%-%PROTOCOL%"}},
    "header_value_match": {"header_value_match": {"descriptor_value": "matched", "headers": [
        {"name": "x-user", "string_match": {"prefix": "an"}}]}},
    "header_value_no_match": {"header_value_match": {"descriptor_key": "not", "descriptor_value": "x", "expect_match": False,
                                                     "headers": [{"name": "x-user", "string_match": {"exact": "no"}}]}},
    "query_value_match": {"query_parameter_value_match": {"descriptor_value": "matched", "query_parameters": [
        {"name": "q", "string_match": {"contains": " "}}]}},
    "query_value_present": {"query_parameter_value_match": {"descriptor_key": "k", "descriptor_value": "v", "query_parameters": [
        {"name": "q", "present_match": True}]}},
    "metadata_default": {"metadata": {"descriptor_key": "m", "default_value": "none", "metadata_key": {
        "key": "no.such", "path": [{"key": "x"}]}}},
    "metadata_route": {"metadata": {"descriptor_key": "m", "source": "ROUTE_ENTRY", "metadata_key": {
        "key": "space", "path": [{"key": "a"}, {"key": "b"}]}}},
    "metadata_skip": {"metadata": {"descriptor_key": "m", "skip_if_absent": True, "metadata_key": {
        "key": "no.such", "path": [{"key": "x"}]}}},
    "dynamic_metadata": {"dynamic_metadata": {"descriptor_key": "m", "default_value": "fallback", "metadata_key": {
        "key": "no.such", "path": [{"key": "x"}]}}},
}
MISSING = {
    "request_headers": {"request_headers": {"header_name": "x-absent", "descriptor_key": "absent"}},
    "query_parameters": {"query_parameters": {"query_parameter_name": "absent", "descriptor_key": "query"}},
    "header_value_match": {"header_value_match": {"descriptor_value": "x", "headers": [{"name": "x-absent"}]}},
    "metadata": {"metadata": {"descriptor_key": "m", "metadata_key": {"key": "no.such", "path": [{"key": "x"}]}}},
}


def test_actions__each__as_envoy(two):
    routes = [limited_route(actions(GENERIC, action), prefix=f"/{name}/", metadata={
        "filter_metadata": {"space": {"a": {"b": "deep"}}}}) for name, action in ACTIONS.items()]
    routes += [limited_route(actions(GENERIC, action), prefix=f"/missing-{name}/") for name, action in MISSING.items()]
    pair = two(routes=routes)
    for name in [*ACTIONS, *(f"missing-{n}" for n in MISSING)]:
        for query in ("?q=a%20b+c", "?x=1&q=&q=2", ""):
            answer, asked = pair.same(asking(pair.service, lambda p, t=f"/{name}/{query}": seen(h1(
                p, target=t, headers=[("x-user", "anna")]))))
            assert answer["status"] == "200"
            assert not asked or len(asked) == 1


@pytest.mark.parametrize("value", [{"requests_per_unit": 42, "unit": "HOUR"}, {"requests_per_unit": 42, "unit": "FORTNIGHT"},
                                   {"unit": "DAY"}, {}], ids=["good", "unit", "partly", "none"])
def test_limit__from_the_requests_metadata__goes_along_where_it_can_be_read(two, value):
    of = {"dynamic_metadata": {"metadata_key": {"key": "mine", "path": [{"key": "limit"}]}}}
    says = http_filter("envoy.filters.http.set_metadata", "extensions.filters.http.set_metadata.v3.Config",
                       metadata=[{"metadata_namespace": "mine", "value": {"limit": value} if value else {}}])
    pair = two(says, limiter(), routes=[limited_route(actions(GENERIC, limit=of))])
    _, asked = pair.same(asking(pair.service, lambda p: seen(h1(p))))
    assert ("limit" in asked[0]["descriptors"][0]) == (value.get("unit") == "HOUR")


def test_rules__stage_key_override_and_hits__as_envoy(two):
    rules = [actions(GENERIC), actions({"generic_key": {"descriptor_value": "one"}}, stage=1),
             actions({"remote_address": {}}, GENERIC, disable_key="off"),
             actions({"generic_key": {"descriptor_value": "hits"}}, hits_addend={"number": 5})]
    pair = two(limiter(), limiter(stage=1, domain="other"), routes=[limited_route(*rules)])
    _, asked = pair.same(asking(pair.service, lambda p: seen(h1(p))))
    assert [r["domain"] for r in asked] == ["test", "other"]
    assert len(asked[0]["descriptors"]) == 2


def test_filters_own_rules__stand_for_the_routes__as_envoy(two):
    pair = two(limiter(rate_limits=[
        actions({"generic_key": {"descriptor_value": "filter"}}),
        actions({"generic_key": {"descriptor_value": "%REQ(x-hits)%"}}),
        actions({"generic_key": {"descriptor_value": "hits"}}, hits_addend={"number": 5}),
        actions({"generic_key": {"descriptor_value": "formatted"}}, hits_addend={"format": "%REQ(x-hits)%"})]))
    for hits in ("3", "0", "-1", "x", "7.9"):
        _, asked = pair.same(asking(pair.service, lambda p, n=hits: seen(h1(p, headers=[("x-hits", n)]))))
        assert asked[0]["descriptors"][0]["entries"][0]["value"] == "filter"


def vhost_routes():
    def per_route(**fields):
        return {"typed_per_filter_config": {RATELIMIT: {"@type": config.TYPE + TYPE + "PerRoute", **fields}}}
    rule = actions({"generic_key": {"descriptor_value": "route"}})
    own = actions({"generic_key": {"descriptor_value": "per-route"}})
    return [
        limited_route(rule, prefix="/route"),
        limited_route(prefix="/none"),
        {"match": {"prefix": "/include"}, "route": {"cluster": "origin", "rate_limits": [rule], "include_vh_rate_limits": True}},
        limited_route(rule, prefix="/p-include", **per_route(vh_rate_limits="INCLUDE")),
        limited_route(prefix="/p-ignore", **per_route(vh_rate_limits="IGNORE")),
        limited_route(rule, prefix="/p-domain", **per_route(domain="special")),
        limited_route(rule, prefix="/p-rules", **per_route(rate_limits=[own])),
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 200}},
    ]


def test_virtual_host_rules__options__as_envoy(two):
    vhost = config.virtual_host(vhost_routes(), rate_limits=[actions({"generic_key": {"descriptor_value": "vhost"}})])
    pair = two(virtual_hosts=[vhost])
    found = {}
    for path in ("/route", "/none", "/include", "/p-include", "/p-ignore", "/p-domain", "/p-rules", "/direct"):
        _, asked = pair.same(asking(pair.service, lambda p, t=path: seen(h1(p, target=t))))
        found[path] = [d["entries"][0]["value"] for r in asked for d in r["descriptors"]]
    assert found["/none"] == ["vhost"] and found["/p-ignore"] == [] and found["/direct"] == []


@pytest.mark.parametrize("kind", ["internal", "external", "both"])
def test_request_type__as_envoy(two, kind):
    pair = two(limiter(request_type=kind), use_remote_address=True, internal_address_config={
        "cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]})
    for headers in ([], [("x-forwarded-for", "8.8.8.8")]):
        pair.same(asking(pair.service, lambda p, h=headers: seen(h1(p, headers=h))))


@pytest.mark.parametrize("skip", [False, True])
def test_call__headers_of_it__as_envoy(two, skip):
    pair = two(limiter(timeout="0.5s", rate_limit_service=of_service(
        {"authority": "limits.test", "skip_envoy_headers": skip}, initial_metadata=[
            {"key": "X-Extra", "value": "v"}, {"key": "x-user", "value": "%REQ(x-user)%"}])))

    def head(proxy):
        pair.service.metadata.clear()
        h1(proxy, headers=[("x-user", "anna")])
        found = dict(pair.service.metadata[0])
        # ours: see docs/differences.md; the rest is grpcio's
        return {k: v for k, v in found.items() if k not in ("x-forwarded-for", "user-agent")}
    assert pair.same(head)["x-extra"] == "v"


# ---- what comes of the answer ----

LIMIT = {"requests_per_unit": 10, "unit": "MINUTE", "name": "per-minute"}
STATUSES = [
    {"code": "OK", "current_limit": {"requests_per_unit": 100, "unit": "HOUR"}, "limit_remaining": 50,
     "duration_until_reset": "100s"},
    {"code": "OVER_LIMIT", "current_limit": LIMIT, "limit_remaining": 0, "duration_until_reset": "7s"},
    {"code": "OK"},
]
ANSWERS = {
    "ok": {"overall_code": "OK"},
    "ok with all": {"overall_code": "OK", "statuses": STATUSES,
                    "response_headers_to_add": [{"key": "x-limit", "value": "a"}, {"key": "x-limit", "value": "b"}],
                    "request_headers_to_add": [{"key": "x-from-limits", "value": "yes"}],
                    "dynamic_metadata": {"who": "limits", "n": 3}},
    "over": {"overall_code": "OVER_LIMIT"},
    "over with all": {"overall_code": "OVER_LIMIT", "statuses": STATUSES, "raw_body": "c2xvdyBkb3du",
                      "response_headers_to_add": [{"key": "content-type", "value": "text/x-limits"}, {"key": "x-limit", "value": "a"}],
                      "request_headers_to_add": [{"key": "x-from-limits", "value": "yes"}]},
    "unknown": {},
    "fails": grpc.StatusCode.UNAVAILABLE,
}
FILTERS = {
    "plain": {},
    "headers": {"enable_x_ratelimit_headers": "DRAFT_VERSION_03", "disable_x_envoy_ratelimited_header": True,
                "response_headers_to_add": [{"header": {"key": "x-limited", "value": "%RESPONSE_CODE%"}}]},
    "status": {"rate_limited_status": {"code": "ServiceUnavailable"}, "status_on_error": {"code": "BadGateway"},
               "failure_mode_deny": True},
    "low status": {"rate_limited_status": {"code": "OK"}, "failure_mode_deny": True},
    "exhausted": {"rate_limited_as_resource_exhausted": True, "stat_prefix": "mine"},
    "not enforced": {"filter_enforced": {"default_value": {"numerator": 0}},
                     "enable_x_ratelimit_headers": "DRAFT_VERSION_03"},
    "off": {"filter_enabled": {"default_value": {"numerator": 0}}},
    "deny percent": {"failure_mode_deny_percent": {"default_value": {"numerator": 100}}},
    "allow percent": {"failure_mode_deny": True, "failure_mode_deny_percent": {"default_value": {"numerator": 0}}},
}
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.ratelimit)%\n"


@pytest.mark.parametrize("kind", FILTERS)
def test_answers__each__as_envoy(two, kind):
    pair = two(limiter(**FILTERS[kind]), access_log=[config.file_log("/dev/stdout", text_format=LOG)])
    for answer in ANSWERS.values():
        pair.service.answer = answer
        pair.same_upstream(pair.origin, lambda p: seen(h1(p, method="POST", body=b"hello")))
        pair.same_upstream(pair.origin, lambda p: seen(h2(p, headers=[("content-type", "application/grpc")], method="POST")))
    pair.same_stats(r"^cluster\.origin\.(ratelimit|upstream_rq_[45]|internal\.)")
    pair.same_stats(r"^cluster\.limits\.(internal|external|upstream_rq_)", but=["cluster.limits.upstream_rq_pending_total"])

    def log(proxy):
        with open(proxy.directory + "/stdout", encoding="utf-8") as text:
            return text.read().splitlines()
    wait_until(lambda: len(log(pair.envoy)) == len(log(pair.weft)) == 2 * len(ANSWERS), "all log lines")
    pair.same(log)


def test_body__arrives_while_the_service_thinks__whole(two):
    pair = two()
    body = bytes(range(256)) * 4096

    def ask(proxy):
        pair.service.hold()
        timer = threading.Timer(0.2, pair.service.release)
        timer.start()
        answer = seen(h1(proxy, method="POST", body=body))
        timer.join()
        return answer["status"], pair.origin.requests[-1].body == body
    assert pair.same(ask) == ("200", True)


def test_apply_on_stream_done__asked_after_the_answer__as_envoy(two):
    rules = [actions({"generic_key": {"descriptor_value": "done"}}, {"request_headers": {
        "header_name": "x-user", "descriptor_key": "user"}}, apply_on_stream_done=True, hits_addend={"format": "%BYTES_SENT%"})]
    pair = two(routes=[limited_route(*rules)])
    pair.service.answer = {"overall_code": "OVER_LIMIT"}

    def ask(proxy):
        pair.service.take()
        answer = seen(h1(proxy, headers=[("x-user", "anna")]))
        return answer, list(pair.service.wait_requests(1))
    assert pair.same(ask)[0]["status"] == "200"


# ---- a service in trouble ----

def test_service__hangs__bounded_and_not_felt_by_others(two, origin):
    routes = [limited_route(actions(GENERIC), prefix="/limited"), config.route()]
    pair = two(limiter(timeout="0.3s", failure_mode_deny=True), routes=routes)
    for proxy in (pair.envoy, pair.weft):
        pair.service.hold()
        answers = []
        waiting = [threading.Thread(target=lambda p=proxy: answers.append(fetch(p.address(), "GET", "/limited").status))
                   for _ in range(5)]
        for one in waiting:
            one.start()
        wait_until(lambda: len(pair.service.requests) >= 5, "the service to be asked")
        assert fetch(proxy.address(), "GET", "/free").status == 200
        assert not answers or set(answers) == {500}
        for one in waiting:
            one.join(20)
        assert answers == [500] * 5
        pair.service.release()
        pair.service.take()
    pair.same_stats(r"^cluster\.origin\.ratelimit")
    assert pair.weft.stat("cluster.limits.upstream_rq_timeout") == 5


def test_service__down__as_failure_mode_says(start_proxy, origin):
    port = unused_port()
    pair = Two(start_proxy, make_bootstrap(origin.port, port))
    assert pair.same(lambda p: seen(h1(p)))["status"] == "200"
    pair.same_stats(r"^cluster\.origin\.ratelimit")
    pair = Two(start_proxy, make_bootstrap(origin.port, port, limiter(failure_mode_deny=True)))
    assert pair.same(lambda p: seen(h1(p)))["status"] == "500"


@pytest.mark.parametrize("of", ["grpc_service", "envoy_grpc"])
def test_service__fails__asked_again_by_the_services_retry_policy_alone__as_envoy(two, of):
    retry = {"retry_policy": {"retry_on": "unavailable", "num_retries": 3, "retry_back_off": {
        "base_interval": "0.01s", "max_interval": "0.02s"}}}
    asked_of = of_service(**retry) if of == "grpc_service" else of_service(retry)
    pair = two(limiter(failure_mode_deny=True, rate_limit_service=asked_of))

    def ask(proxy):
        answers = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, {"overall_code": "OK"}]
        pair.service.answer = lambda _: answers.pop(0)
        return asking(pair.service, lambda p: seen(h1(p)))(proxy)
    answer, asked = pair.same(ask)
    assert (answer["status"], len(asked)) == (("200", 3) if of == "grpc_service" else ("500", 1))


def test_client__leaves_meanwhile__the_call_is_cancelled(two):
    pair = two()
    pair.service.hold()
    proxy = pair.weft
    with connect(proxy.address()) as stream:
        stream.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        pair.service.wait_requests(1)
    proxy.wait_stat("cluster.limits.upstream_rq_active", 0)
    assert proxy.stat("cluster.limits.upstream_rq_tx_reset") == 1
    pair.service.release()


# ---- connections ----

def network_limiter(**fields):
    return {"name": "envoy.filters.network.ratelimit", "typed_config": {
        "@type": config.TYPE + "extensions.filters.network.ratelimit.v3.RateLimit", "stat_prefix": "net", "domain": "tcp",
        "timeout": "5s", "rate_limit_service": of_service(),
        "descriptors": [{"entries": [{"key": "a", "value": "b"}, {"key": "from", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}]},
                        {"entries": [{"key": "c", "value": "d"}]}], **fields}}


def tcp_bootstrap(origin, service, **fields):
    return config.bootstrap([config.listener("tcp", network_limiter(**fields), config.tcp_proxy())],
                            [config.cluster("origin", origin.port), config.cluster("limits", service.port, http2=True)])


def talk(proxy):
    """The status of an HTTP exchange through the TCP proxy, or None when the connection is closed."""
    try:
        return fetch(proxy.address("tcp")).status
    except (Closed, OSError, AssertionError):
        return None


@pytest.mark.parametrize("deny", [False, True])
def test_network__answers__as_envoy(start_proxy, origin, service, deny):
    pair = Two(start_proxy, tcp_bootstrap(origin, service, failure_mode_deny=deny))
    found = []
    for answer in ({"overall_code": "OK"}, {"overall_code": "OVER_LIMIT"}, grpc.StatusCode.INTERNAL):
        service.answer = answer
        status, asked = pair.same(asking(service, talk))
        found.append(status)
        assert asked[0]["descriptors"][0]["entries"][1] == {"key": "from", "value": "127.0.0.1"}
    assert found == [200, None, None if deny else 200]
    pair.same_stats(r"^ratelimit\.net\.")


def test_network__client_leaves_meanwhile__nothing_stays(start_proxy, origin, service):
    proxy = start_proxy(tcp_bootstrap(origin, service))
    service.hold()
    with connect(proxy.address("tcp")) as stream:
        stream.send(b"hello")
        service.wait_requests(1)
        proxy.wait_stat("ratelimit.net.active", 1)
    service.release()
    proxy.wait_stat("ratelimit.net.active", 0)
