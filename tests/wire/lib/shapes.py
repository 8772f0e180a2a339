# SPDX-License-Identifier: Apache-2.0
"""The bootstrap and the request shapes of test_differential.py: a listener for each way to set the
HTTP connection manager, one table of routes for all."""
from lib import config, http1
from lib.differential import Shape, log_format, shape
from lib.origin import end, reset, silence, then_end

GRPC = [("Content-Type", "application/grpc"), ("TE", "trailers")]

ORIGIN_SCRIPT = {
    "end": end, "reset": reset, "silence": silence,
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\n",
    "404": http1.response_bytes(404, [("Content-Type", "text/html")], b"nothing", "Not Found"),
    "500": http1.response_bytes(500, [], b"broken", "Internal Server Error"),
    "unusual": http1.response_bytes(299, [], b"odd", "Very Odd"),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "until_close": then_end(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil the end"),
    "hop_by_hop": http1.response_bytes(200, [
        ("Connection", "keep-alive, X-Private"), ("Keep-Alive", "timeout=5"), ("X-Private", "1"),
        ("Proxy-Connection", "keep-alive"), ("Upgrade", "h9")], b"x"),
    "own_server": http1.response_bytes(200, [("Server", "origin/1"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
                                             ("Via", "1.1 other")], b"x"),
    "envoy_headers": http1.response_bytes(200, [("X-Envoy-Upstream-Service-Time", "7"),
                                                ("X-Request-Id", "theirs"), ("X-Envoy-Degraded", "1")], b"x"),
    "cookies": http1.response_bytes(200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"x"),
    "early_hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + http1.response_bytes(200, [], b"x"),
    "rubbish": then_end(b"nonsense\r\n\r\n"),
    "two_lengths": then_end(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    "cl_te": then_end(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "short_body": then_end(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"),
    "half_head": then_end(b"HTTP/1.1 200 OK\r\nX-A"),
    "grpc_trailers_only": http1.response_bytes(200, [("Content-Type", "application/grpc"),
                                                     ("grpc-status", "5"), ("grpc-message", "gone")]),
}

ROUTES = [
    {"name": "exact", "match": {"path": "/exact"}, "route": {"cluster": "origin"}},
    {"name": "separated", "match": {"path_separated_prefix": "/sep"}, "route": {"cluster": "origin"}},
    {"name": "sep_missed", "match": {"prefix": "/sep"}, "direct_response": {"status": 410}},
    {"match": {"prefix": "/refused"}, "route": {"cluster": "refused"}},
    {"match": {"prefix": "/nobody"}, "route": {"cluster": "nobody"}},
    {"match": {"prefix": "/overflow"}, "route": {"cluster": "full"}},
    {"name": "slow", "match": {"prefix": "/slow"}, "route": {"cluster": "origin", "timeout": "0.2s"}},
    {"name": "idle", "match": {"prefix": "/idle"}, "route": {"cluster": "origin", "idle_timeout": "0.2s",
                                                              "timeout": "0s"}},
    {"match": {"prefix": "/direct/empty"}, "direct_response": {"status": 204}},
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 201, "body": {"inline_string": "made\n"}}},
    {"match": {"prefix": "/h2"}, "route": {"cluster": "h2"}},
    {"match": {"prefix": "/tls"}, "route": {"cluster": "tls"}},
    {"name": "root", "match": {"prefix": "/"}, "route": {"cluster": "origin"}},
]

# listener: HttpConnectionManager fields
SETTINGS = {
    "base": {},
    "edge": {"use_remote_address": True},
    "edge_hops": {"use_remote_address": True, "xff_num_trusted_hops": 1},
    "hops": {"xff_num_trusted_hops": 1},
    "skip_xff": {"use_remote_address": True, "skip_xff_append": True},
    "server_append": {"server_header_transformation": "APPEND_IF_ABSENT", "server_name": "mine"},
    "server_pass": {"server_header_transformation": "PASS_THROUGH"},
    "via": {"via": "1.1 weft"},
    "id_keep": {"preserve_external_request_id": True, "use_remote_address": True},
    "id_always": {"always_set_request_id_in_response": True},
    "id_off": {"generate_request_id": False},
    "paths": {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "REJECT_REQUEST"},
    "redirect": {"normalize_path": True, "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT"},
    "unescape": {"normalize_path": True, "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"},
    "no_underscores": {"common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"}},
    "drop_underscores": {"common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"}},
    "strip_any": {"strip_any_host_port": True},
    "strip_dot": {"strip_trailing_host_dot": True},
    "ten": {"http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "ten.local"}},
    "trailers": {"http_protocol_options": {"enable_trailers": True}},
    "proper": {"http_protocol_options": {"header_key_format": {"proper_case_words": {}}}},
    "small": {"max_request_headers_kb": 1},
    "h2": {"codec_type": "HTTP2", "http2_protocol_options": {}},
    "mapped": {"local_reply_config": {
        "mappers": [{
            "filter": {"status_code_filter": {"comparison": {
                "op": "EQ", "value": {"default_value": 404, "runtime_key": "none"}}}},
            "status_code": 418, "body": {"inline_string": "mapped"},
            "headers_to_add": [{"header": {"key": "x-mapped", "value": "%RESPONSE_CODE%"}}]}],
        "body_format": {"json_format": {"code": "%RESPONSE_CODE%", "said": "%LOCAL_REPLY_BODY%",
                                        "flags": "%RESPONSE_FLAGS%"}}}},
}
XFCC = ["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"]
CERT_DETAILS = {"subject": True, "uri": True, "dns": True}


NAMED_DOMAINS = ["exact.local", "*.suffix.local", "prefix.*", "with.port:8080"]


def http_listener(name, settings, log_path, tls=None):
    domains = NAMED_DOMAINS if name == "hosts" else ["*"]
    return config.http_listener(name, tls=tls, virtual_hosts=[config.virtual_host(ROUTES, "all", domains)],
                                stat_prefix=name, listener_fields={"stat_prefix": name},
                                access_log=[config.file_log(log_path, log_format())], **settings)


def make_bootstrap(ports, ca, server_leaf, log_path):
    """`ports`: origin, h2, tls, refused."""
    listeners = [http_listener(name, fields, log_path) for name, fields in SETTINGS.items()]
    listeners.append(http_listener("hosts", {}, log_path))
    for form in XFCC:
        listeners.append(http_listener(
            "xfcc_" + form.lower(), {"forward_client_cert_details": form,
                                     "set_current_client_cert_details": CERT_DETAILS}, log_path,
            tls=config.server_tls(server_leaf, ca=ca, alpn=["h2", "http/1.1"])))
    full = {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}}
    clusters = [
        config.cluster("origin", ports["origin"]), config.cluster("h2", ports["h2"], http2=True),
        config.cluster("tls", ports["tls"], tls=config.client_tls(ca, server_leaf, sni="test.local")),
        config.cluster("refused", ports["refused"]), config.cluster("nobody"),
        config.cluster("full", ports["origin"], **full),
    ]
    return config.bootstrap(listeners, clusters)


def case_of(name, target="/", **more):
    """A request whose answer the origin's script has under `name`."""
    return shape("answer_" + name, target=target, headers=[("x-case", name)], **more)


def raw(name, data, listener="base", **more):
    return Shape(name, listener, data, **more)


HOST = b"Host: test.local\r\n"

METHODS = [
    shape("get"), shape("get_query", target="/a?b=c&d=%20e"), shape("head", method="HEAD"),
    shape("post", method="POST", body=b"x=1"), shape("post_empty", method="POST", headers=[("Content-Length", "0")]),
    shape("put", method="PUT", body=b"p"), shape("delete", method="DELETE"), shape("patch", method="PATCH", body=b"p"),
    shape("options", method="OPTIONS"), raw("options_star", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n"),
    shape("trace", method="TRACE"), shape("unknown_method", method="FROBNICATE"),
    raw("absolute_form", b"GET http://other.local/abs?q HTTP/1.1\r\n" + HOST + b"\r\n"),
    raw("chunked_post", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    raw("trailers_dropped", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"),
    raw("trailers_not_upstream", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
        "trailers"),
]
HEADERS = [
    shape("many_values", headers=[("X-A", "1"), ("X-A", "2"), ("x-b", ""), ("X-C", "  padded  ")]),
    shape("hop_by_hop", headers=[("Connection", "keep-alive, X-Private"), ("Keep-Alive", "1"), ("X-Private", "1"),
                                 ("Proxy-Connection", "keep-alive"), ("TE", "trailers, gzip"),
                                 ("Proxy-Authorization", "Basic x")]),
    shape("connection_close", headers=[("Connection", "close")]),
    shape("expect_continue", method="POST", headers=[("Expect", "100-continue")], body=b"abc"),
    shape("envoy_headers_internal", headers=[("X-Envoy-Upstream-Rq-Timeout-Ms", "5000"), ("X-Envoy-Internal", "true"),
                                             ("X-Envoy-Max-Retries", "1"), ("X-Envoy-Original-Path", "/x")]),
    shape("envoy_headers_edge", "edge", headers=[
        ("X-Envoy-Upstream-Rq-Timeout-Ms", "5000"), ("X-Envoy-Internal", "true"), ("X-Envoy-Foo", "1"), ("X-Envoy-Original-Path", "/x"),
        ("X-Envoy-Downstream-Service-Cluster", "c"), ("X-Envoy-Force-Trace", "true"), ("X-Envoy-Decorator-Operation", "o"),
        ("X-Envoy-Expected-Rq-Timeout-Ms", "3"), ("X-Envoy-Ip-Tags", "t")], host="exact.local"),
    shape("underscores_kept", headers=[("a_b", "1")]),
    shape("underscores_rejected", "no_underscores", headers=[("a_b", "1")]),
    shape("underscores_dropped", "drop_underscores", headers=[("a_b", "1"), ("c-d", "2")]),
    shape("proper_case", "proper", headers=[("x-lower-case", "1")]),
    shape("cookie", headers=[("Cookie", "a=1; b=2"), ("Cookie", "c=3")]),
    shape("utf8_value", headers=[("X-U", "caf\u00e9")]),
]
FORWARDED = [
    shape("xff_base", headers=[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")]),
    shape("xff_internal", headers=[("X-Forwarded-For", "10.0.0.1")]),
    shape("xfp_invalid", headers=[("X-Forwarded-Proto", "gopher")]),
    shape("xff_edge", "edge", host="exact.local", headers=[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")]),
    shape("xff_edge_none", "edge"),
    shape("xff_edge_hops", "edge_hops", headers=[("X-Forwarded-For", "1.2.3.4, 5.6.7.8"), ("X-Forwarded-Proto", "https")]),
    shape("xff_edge_hops_short", "edge_hops"),
    shape("xff_hops", "hops", headers=[("X-Forwarded-For", "1.2.3.4, 5.6.7.8")]),
    shape("xff_garbage", "hops", headers=[("X-Forwarded-For", "nonsense, unknown")]),
    shape("xff_ipv6", headers=[("X-Forwarded-For", "2001:db8::1")]),
    shape("xff_skip", "skip_xff", headers=[("X-Forwarded-For", "1.2.3.4")]),
    shape("forwarded_host_port", headers=[("X-Forwarded-Host", "h"), ("X-Forwarded-Port", "99")]),
    shape("id_kept_internal", headers=[("X-Request-Id", "mine")]),
    shape("id_kept_edge", "id_keep", headers=[("X-Request-Id", "mine")]),
    shape("id_replaced_edge", "edge", host="exact.local", headers=[("X-Request-Id", "mine")]),
    shape("id_in_response", "id_always"), shape("id_off", "id_off"),
    shape("via", "via", headers=[("Via", "1.0 fred")]),
]
ANSWERS = [
    case_of("204"), case_of("304"), case_of("404"), case_of("500"), case_of("unusual"), case_of("chunked"),
    case_of("until_close"), case_of("hop_by_hop"), case_of("own_server"), case_of("envoy_headers"), case_of("cookies"),
    case_of("early_hints"), case_of("end"), case_of("reset"), case_of("rubbish"), case_of("two_lengths"),
    case_of("cl_te"), case_of("short_body"), case_of("half_head"), case_of("grpc_trailers_only"),
    case_of("silence", "/slow"), case_of("silence", "/idle"),
    shape("own_server_append", "server_append", headers=[("x-case", "own_server")]),
    shape("no_server_append", "server_append"), shape("own_server_pass", "server_pass", headers=[("x-case", "own_server")]),
    shape("no_server_pass", "server_pass"), shape("via_response", "via", headers=[("x-case", "own_server")]),
]
PATHS = [
    shape("dots", "paths", target="/a/./b/../c"), shape("slashes", "paths", target="//a///b"),
    shape("dots_above_root", "paths", target="/../../a"), shape("dots_encoded", "paths", target="/a/%2e%2E/b"),
    shape("escaped_reject", "paths", target="/a%2Fb"), shape("escaped_redirect", "redirect", target="/a%2fb?x=%2f"),
    shape("escaped_forward", "unescape", target="/a%2Fb%5Cc"), shape("backslash", "paths", target="/a\\b"),
    shape("not_normalized", target="/a/./b//c"), shape("percent_case", "paths", target="/%7euser/%41"),
    shape("fragment", target="/a#b"), shape("bad_percent", "paths", target="/%zz"),
    shape("exact", target="/exact"), shape("exact_missed", target="/exact/x"), shape("exact_query", target="/exact?q"),
    shape("separated", target="/sep/x"), shape("separated_itself", target="/sep"), shape("separated_missed", target="/separate"),
    shape("strip_any", "strip_any", host="test.local:1234"), shape("strip_dot", "strip_dot", host="test.local."),
    shape("host_with_port", host="test.local:1234"), shape("host_exact", "hosts", host="exact.local"),
    shape("host_case", "hosts", host="EXACT.Local"), shape("host_suffix", "hosts", host="a.b.suffix.local"),
    shape("host_prefix", "hosts", host="prefix.org"), shape("host_port_exact", "hosts", host="with.port:8080"),
    shape("host_unknown", "hosts", host="other.local"), shape("host_suffix_bare", "hosts", host="suffix.local"),
]
LOCAL = [
    shape("direct", target="/direct"), shape("direct_head", method="HEAD", target="/direct"),
    shape("direct_empty", target="/direct/empty"), shape("direct_post", method="POST", target="/direct", body=b"abc"),
    shape("refused", target="/refused"), shape("no_healthy", target="/nobody"), shape("overflow", target="/overflow"),
    shape("grpc_refused", method="POST", target="/refused", headers=GRPC), shape("grpc_no_route", "hosts", host="x", headers=GRPC),
    shape("grpc_overflow", target="/overflow", headers=GRPC),
    shape("mapped", "mapped", target="/direct"), shape("mapped_refused", "mapped", target="/refused"),
    shape("mapped_grpc", "mapped", target="/nobody", headers=GRPC),
    raw("http10_refused", b"GET / HTTP/1.0\r\n" + HOST + b"\r\n"), raw("http10", b"GET / HTTP/1.0\r\n\r\n", "ten"),
    raw("http10_keep_alive", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "ten"),
    raw("http10_chunked", b"GET / HTTP/1.0\r\nHost: a\r\nx-case: chunked\r\n\r\n", "ten"),
    shape("upgrade_refused", headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")]),
    raw("connect_refused", b"CONNECT a.local:443 HTTP/1.1\r\nHost: a.local:443\r\n\r\n", method="CONNECT"),
    raw("no_host", b"GET / HTTP/1.1\r\n\r\n"), shape("too_large", "small", headers=[("X-Big", "a" * 2000)]),
    shape("too_many", headers=[(f"x-{i}", "1") for i in range(101)]),
]
SMUGGLING = [
    raw("cl_te", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    raw("te_te", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    raw("two_lengths", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    raw("bad_length", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5x\r\n\r\nhello"),
    raw("no_colon", b"GET / HTTP/1.1\r\n" + HOST + b"nonsense\r\n\r\n"),
    raw("nul", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\x00b\r\n\r\n"),
    raw("bad_request_line", b"GET\r\n\r\n"),
]
H2 = [
    Shape("h2_get", "h2", h2={}), Shape("h2_post", "h2", h2={"method": "POST", "body": b"abc"}),
    Shape("h2_trailers", "h2", h2={"method": "POST", "body": b"abc", "trailers": [("x-t", "1")]}),
    Shape("h2_cookies", "h2", h2={"headers": [("cookie", "a=1"), ("cookie", "b=2")]}),
    Shape("h2_head", "h2", h2={"method": "HEAD"}), Shape("h2_refused", "h2", h2={"path": "/refused"}),
    Shape("h2_reset_origin", "h2", h2={"headers": [("x-case", "reset")]}),
    Shape("h2_to_h2", "h2", h2={"path": "/h2", "method": "POST", "body": b"abc"}),
    Shape("h2_grpc", "h2", h2={"path": "/h2", "method": "POST", "body": b"\0\0\0\0\0", "headers": [
        ("content-type", "application/grpc"), ("te", "trailers"), ("x-case", "grpc")]}),
    Shape("h2_grpc_trailers_only", "h2", h2={"path": "/h2", "method": "POST", "headers": [
        ("content-type", "application/grpc"), ("te", "trailers"), ("x-case", "grpc_error")]}),
    Shape("h2_grpc_refused", "h2", h2={"path": "/refused", "method": "POST", "headers": [
        ("content-type", "application/grpc"), ("te", "trailers")]}),
    shape("h1_to_h2", target="/h2"), shape("h1_to_h2_post", target="/h2", method="POST", body=b"abc"),
    shape("h1_to_h2_grpc", target="/h2", method="POST", headers=GRPC + [("x-case", "grpc")]),
    shape("h1_to_h2_reset", target="/h2", headers=[("x-case", "reset")]),
    shape("h1_to_tls", target="/tls"),
]
TLS = [shape("xfcc_" + form.lower(), "xfcc_" + form.lower(), client="client",
             headers=[("X-Forwarded-Client-Cert", "By=spiffe://other;Hash=00;Subject=\"CN=x\"")]) for form in XFCC]
TLS += [shape("xfcc_none_before", "xfcc_append_forward", client="client"),
        Shape("xfcc_h2", "xfcc_sanitize_set", h2={"scheme": "https"}, client="client")]

ALL = METHODS + HEADERS + FORWARDED + ANSWERS + PATHS + LOCAL + SMUGGLING + H2 + TLS
