# SPDX-License-Identifier: Apache-2.0
"""grpc_stats, grpc_web and grpc_http1_bridge beside Envoy: answers, what the upstream is sent, statistics."""
import pytest

from lib import config
from lib.http2 import H2Origin
from lib.pairs import Two, chain, h1, h2, http_filter, seen
from lib.proxy import envoy, log_lines, weft

GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


def frame(payload, flag=0):
    return bytes([flag]) + len(payload).to_bytes(4, "big") + payload


def grpc_answer(status="0", frames=1, **more):
    return ([(":status", "200"), ("content-type", "application/grpc")], frame(b"answer") * frames,
            [("grpc-status", status), *more.items()])


SCRIPT = {
    "ok": grpc_answer(), "three": grpc_answer(frames=3), "message": grpc_answer("5", **{"grpc-message": "not%20here"}),
    "trailers_only": ([(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "7"),
                       ("grpc-message", "no")], b"", []),
    "strange": grpc_answer("99"), "junk": grpc_answer("x"), "plain": ([(":status", "503")], b"no", []),
}


@pytest.fixture
def origin(started):
    made = H2Origin(SCRIPT, default=SCRIPT["ok"])
    return started.add(made, made.close)


@pytest.fixture
def start_two(start_proxy, origin):
    def start(*filters, **more):
        listener = config.http_listener(http_filters=chain(*filters), **more)
        return Two(start_proxy, config.bootstrap([listener], [config.cluster("origin", origin.port, http2=True)]))
    return start


def grpc_stats(**fields):
    return http_filter("envoy.filters.http.grpc_stats", "extensions.filters.http.grpc_stats.v3.FilterConfig", **fields)


CALLS = [("ok", "/a.b.Echo/Say", 1), ("three", "/a.b.Echo/Say", 2), ("message", "/Plain/Method", 1),
         ("trailers_only", "/a.b.Echo/Other", 1), ("plain", "/a.b.Echo/Say", 0), ("ok", "/one", 1), ("ok", "/a/b/c", 1),
         ("ok", "//a.b.Echo//Say?x=1", 1)]


def run_calls(two):
    for case, path, messages in CALLS:
        body = frame(b"x" * 300) * messages
        two.same(lambda proxy, case=case, path=path, body=body:
                 seen(h2(proxy, method="POST", path=path, headers=[*GRPC, ("x-case", case)], body=body)))
    two.same(lambda proxy: seen(h2(proxy, headers=[("x-case", "ok")])))


@pytest.mark.parametrize("fields", [
    {"stats_for_all_methods": True}, {"stats_for_all_methods": False}, {},
    {"stats_for_all_methods": True, "replace_dots_in_grpc_service_name": True},
    {"individual_method_stats_allowlist": {"services": [{"name": "a.b.Echo", "method_names": ["Say"]}]}},
], ids=["all", "none", "default", "dots", "allowlist"])
def test_grpc_stats_count_as_envoys(start_two, fields):
    two = start_two(grpc_stats(**fields))
    run_calls(two)
    assert two.same_stats(r"^cluster\.origin\.grpc\.")


def labels(proxy):
    lines = proxy.admin("/stats/prometheus?filter=origin.grpc").body.decode().splitlines()
    return sorted(line.rsplit(" ", 1)[0] if "_time_" in line else line  # Envoy shows histograms some seconds late
                  for line in lines if line and "_bucket" not in line and not line.startswith("#"))


def test_grpc_stats_have_envoys_labels_and_times(start_two):
    two = start_two(grpc_stats(stats_for_all_methods=True, enable_upstream_stats=True))
    run_calls(two)
    two.same_stats(r"^cluster\.origin\.grpc\.")
    assert any("upstream_rq_time" in line for line in two.same(labels))


def test_grpc_stats_leave_filter_state_to_the_log(start_proxy, origin, tmp_path):
    seen_lines = []
    for name, binary in ("envoy", envoy()), ("weft", weft()):
        path = tmp_path / name
        log = config.file_log(path, text_format="%FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)%\n")
        listener = config.http_listener(http_filters=chain(grpc_stats(emit_filter_state=True)), access_log=[log])
        two = start_proxy(config.bootstrap([listener], [config.cluster("origin", origin.port, http2=True)]),
                          binary=binary)
        h2(two, method="POST", path="/a/b", headers=[*GRPC, ("x-case", "three")], body=frame(b"y") * 2)
        h2(two, method="POST", path="/a/b", headers=[*GRPC, ("x-case", "trailers_only")])
        seen_lines.append(log_lines(path, 2))
    assert seen_lines[0] == seen_lines[1] == ["2,3", "-"]

