# SPDX-License-Identifier: Apache-2.0
"""grpc_stats, grpc_web and grpc_http1_bridge beside Envoy: answers, what the upstream is sent, statistics."""
import base64

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



# ---- grpc_web, grpc_http1_bridge ----

def cut_answer(peer, stream_id, _request):
    """A message in two pieces, cut within its header."""
    peer.conn.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
    peer.conn.send_data(stream_id, frame(b"answer")[:3])
    peer.conn.send_data(stream_id, frame(b"answer")[3:] + frame(b"b" * 1000) + frame(b""))
    peer.conn.send_headers(stream_id, [("grpc-status", "0"), ("x-more", "yes")], end_stream=True)
    peer.flush()


WEB_SCRIPT = {
    **SCRIPT, "proto": ([(":status", "200"), ("content-type", "application/grpc+proto")], frame(b"answer"), [("grpc-status", "0")]),
    "cut": cut_answer, "json": ([(":status", "200"), ("content-type", "application/json")], b"{}", []),
    "page": ([(":status", "503"), ("content-type", "text/plain"), ("content-length", "9")], b"caf\xc3\xa9 50%", []),
    "long": ([(":status", "500")], b"x" * 40000, []), "empty_error": ([(":status", "503")], b"", []),
    "no_type": ([(":status", "200")], frame(b"x"), [("grpc-status", "0")]),
    "no_trailers": ([(":status", "200"), ("content-type", "application/grpc")], frame(b"answer"), []),
    "no_status": ([(":status", "200"), ("content-type", "application/grpc")], frame(b"answer"), [("x-t", "1")]),
}


@pytest.fixture
def start_web(start_proxy, started):
    def start(filter_):
        made = H2Origin(WEB_SCRIPT, default=WEB_SCRIPT["ok"])
        started.add(made, made.close)
        routes = [config.route("gone", "/gone"), config.route()]
        two = Two(start_proxy, config.bootstrap(
            [config.http_listener(http_filters=chain(filter_), routes=routes)],
            [config.cluster("origin", made.port, http2=True), config.cluster("gone")]))
        two.origin = made
        return two
    return start


def grpc_web():
    return http_filter("envoy.filters.http.grpc_web", "extensions.filters.http.grpc_web.v3.GrpcWeb")


def without_close(shown):
    """An answer of our own leaves the connection open (docs/differences.md); Envoy closes where it hasn't read the body."""
    shown["headers"] = [h for h in shown["headers"] if h != ("connection", "close")]
    return shown


def web_call(two, case, kind, body, accept=None, path="/a.b.Echo/Say", client=h1):
    headers = [("x-case", case), ("content-type", kind), *([("accept", accept)] if accept else [])]
    return two.same_upstream(two.origin, lambda p: without_close(seen(
        h1(p, "POST", path, headers, body) if client is h1 else h2(p, method="POST", path=path, headers=headers, body=body))))


def text_of(*frames):
    return base64.b64encode(b"".join(frames))


HELLO = frame(b"hello")
TEXT, BINARY = "application/grpc-web-text", "application/grpc-web"


def test_grpc_web_in_binary(start_web):
    two = start_web(grpc_web())
    for case in WEB_SCRIPT:
        web_call(two, case, BINARY, HELLO)
        web_call(two, case, BINARY + "+proto", HELLO + frame(b"y" * 70000), client=h2)
    answered = [n for n in two.weft.stats("grpc-web") if n.endswith((".x", ".99", "other_status"))]
    for kind in ("application/grpc-web;x", "application/grpc", "application/json"):
        web_call(two, "ok", kind, HELLO)
    web_call(two, "ok", BINARY, b"")
    web_call(two, "ok", BINARY, HELLO, path="/gone/x")
    # Statuses that gRPC doesn't have are one counter, since a server chooses them.
    assert len(answered) == 1
    two.same_stats(r"^cluster\.[a-z]*\.grpc", but=[*answered, *(f"cluster.origin.grpc-web.a.b.Echo.Say.{n}" for n in ("x", "99"))])


def test_grpc_web_in_text(start_web):
    two = start_web(grpc_web())
    for case in sorted(set(WEB_SCRIPT) - {"no_trailers"}):  # Envoy never ends that one
        web_call(two, case, TEXT, text_of(HELLO), TEXT)
        web_call(two, case, TEXT + "+proto", text_of(HELLO, frame(b"y" * 70000)), TEXT + "+proto", client=h2)
    for accept in (BINARY, "application/json, " + TEXT, None):
        web_call(two, "ok", TEXT, text_of(HELLO), accept)
    web_call(two, "ok", BINARY, HELLO, TEXT)
    whole = text_of(HELLO)
    answers = [h1(p, "POST", "/a/b", [("x-case", "no_trailers"), ("content-type", TEXT), ("accept", TEXT)], whole) for p in (two.weft,)]
    assert base64.b64decode(answers[0].body) == frame(b"answer")


@pytest.mark.parametrize("body", [b"!!!!", text_of(HELLO)[:-1], text_of(HELLO) * 2, b"AB=C", b"A===", b"="],
                         ids=["alphabet", "cut", "behind", "within", "short", "pad"])
def test_broken_base64_is_refused(start_web, body):
    two = start_web(grpc_web())
    web_call(two, "ok", TEXT, body, TEXT)


@pytest.mark.parametrize("fields", [{}, {"upgrade_protobuf_to_grpc": True, "ignore_query_parameters": True},
                                    {"upgrade_protobuf_to_grpc": True}], ids=["plain", "upgrade", "query"])
def test_grpc_for_clients_of_http1(start_web, fields):
    two = start_web(http_filter("bridge", "extensions.filters.http.grpc_http1_bridge.v3.Config", **fields))
    for case in WEB_SCRIPT:
        web_call(two, case, "application/grpc", HELLO)
        web_call(two, case, "application/grpc", HELLO, client=h2)
    web_call(two, "ok", "application/grpc+proto", HELLO)
    web_call(two, "ok", BINARY, HELLO)
    for case in ("ok", "proto", "message", "trailers_only", "empty_error"):
        web_call(two, case, "application/x-protobuf", b"hello", path="/a.b.Echo/Say?x=1")
    web_call(two, "ok", "application/x-protobuf", b"z" * 200000)
    web_call(two, "ok", "application/x-protobuf", b"")
    if fields:  # Envoy takes what it has of the frame's header where that comes in pieces
        answer = h1(two.weft, "POST", "/a/b", [("x-case", "cut"), ("content-type", "application/x-protobuf")], b"hello")
        assert answer.body.startswith(b"answer") and answer.get("grpc-status") == "0"
    two.same_stats(r"^cluster\.[a-z]*\.grpc")


def test_what_the_bridge_holds_has_a_limit(start_web):
    WEB_SCRIPT["huge"] = ([(":status", "200"), ("content-type", "application/grpc")], frame(b"z" * 3000000), [("grpc-status", "0")])
    try:
        two = start_web(http_filter("bridge", "extensions.filters.http.grpc_http1_bridge.v3.Config", upgrade_protobuf_to_grpc=True))
        web_call(two, "huge", "application/grpc", HELLO)
        two.same_stats(r"http\.in\.rs_too_large")
        # Envoy has let the head go already, and both wait until somebody gives up.
        answer = h1(two.weft, "POST", "/a/b", [("content-type", "application/x-protobuf")], b"z" * 3000000)
        assert answer.status == 413
    finally:
        del WEB_SCRIPT["huge"]
