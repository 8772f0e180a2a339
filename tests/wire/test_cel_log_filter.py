# SPDX-License-Identifier: Apache-2.0
"""Access-log filters in CEL: one log an expression, the same requests through Envoy and weft-proxy, the same lines."""
import json
import os

import pytest

from lib import config, http1
from lib.proxy import Proxy, envoy, run_to_end, weft

CEL = config.TYPE + "extensions.access_loggers.filters.cel.v3.ExpressionFilter"
EXPRESSIONS = [
    "response.code >= 400", "response.code == 200 && request.method == 'GET'", "request.path.startsWith('/a')",
    "request.url_path == '/a'", "request.query == 'x=1'", "request.path.matches('^/a.*1$')", "request.host == 'test.local'",
    "request.headers['x-one'] == 'red'", "'x-one' in request.headers", "has(request.referer)", "!('x-one' in request.headers)",
    "request.headers['x-none'] == 'red'", "request.headers['x-none'] != 'red'", "response.headers['content-type'].contains('text')",
    "request.useragent == ''", "request.size > 0", "response.size == 5 || response.code == 404", "request.protocol == 'HTTP/1.1'",
    "connection.mtls", "!connection.mtls", "xds.cluster_name == 'origin'", "xds.route_name == 'known'", "response.code_details == 'via_upstream'",
    "request.method in ['GET', 'HEAD']", "response.code / 100 == 4", "request.duration < duration('1h')", "response.flags == 0",
    "request.scheme == 'http' ? response.code == 200 : false", "size(request.path) > 3", "upstream.port > 0", "1 / 0 == 1",
    "1 / 0 == 1 || true", "metadata.filter_metadata['none']['x'] == 'y'", "request.headers['x-one'].endsWith('d') && request.path != '/'",
    "int(request.headers['x-num']) > 10", "request.headers['x-one'] > 'a'",
    "{'a': 1}['a'] == 1", "'a' in {'a': 1}",
    "timestamp('2024-02-29T12:30:45Z').getMonth() == 1", "timestamp('2024-02-29T12:30:45Z').getDayOfYear() == 59",
    "request.time > timestamp('2020-01-01T00:00:00Z')", "duration('90m').getHours() == 1", "b'abc' == bytes('abc')",
    "xds.node.id == 'cel-node'", "xds.node.metadata['NAME'] == 'pod'",
    "xds.cluster_metadata.filter_metadata['shop']['colour'] == 'blue'", "xds.route_metadata.filter_metadata['shop'].sizes[1] == 2.0",
    "has(xds.cluster_metadata.filter_metadata.none)", "request.headers['x-one'].matches('^r.d$')", "connection.uri_san_peer_certificate == ''",
    "upstream.request_attempt_count == 1u", "response.backend_latency < duration('1h')", "connection.id > 0u", "request.total_size > 10",
]
TEXTS = [
    "request.method", "response.code", "request.path", "1 + 1", "2u", "1.5", "true", "request.headers['x-one']",
    "request.headers['none']", "duration('1500ms')", "duration('90m')", "duration('3661.25s')", "duration('1500us')", "duration('-2s')", "duration('0s')", "timestamp('2024-01-31T10:20:30Z')", "response.code == 200 ? 'fine' : 'not'",
    "xds.cluster_name", "xds.node.metadata['NAME']", "request.size", "has(request.referer)", "int('x')", "request.duration < duration('1h')",
]
REQUESTS = [
    {}, {"target": "/a"}, {"target": "/a?x=1", "headers": [("x-one", "red")]}, {"target": "/none"}, {"method": "POST", "body": b"abc"},
    {"target": "/a", "headers": [("x-one", ""), ("x-num", "42")]}, {"headers": [("x-num", "nonsense"), ("user-agent", "test")]},
]


def make_bootstrap(port, directory):
    logs = []
    for i, text in enumerate(EXPRESSIONS):
        only = {"extension_filter": {"name": "cel", "typed_config": {"@type": CEL, "expression": text}}}
        logs.append(config.file_log(os.path.join(directory, f"{i}.log"), text_format="%REQ(:METHOD)% %REQ(:PATH)% %REQ(X-ONE)%\n", filter=only))
    texts = {"name": "envoy.access_loggers.file", "typed_config": {
        "@type": config.FILE_LOG, "path": os.path.join(directory, "texts.log"), "log_format": {
            "text_format_source": {"inline_string": "|".join(f"%CEL({text})%" for text in TEXTS) + "|%REQ_WITHOUT_QUERY(:PATH)%\n"},
            "formatters": [{"name": f"envoy.formatter.{name}", "typed_config": {"@type": config.TYPE + "extensions.formatter." + kind}}
                           for name, kind in (("cel", "cel.v3.Cel"), ("req_without_query", "req_without_query.v3.ReqWithoutQuery"),
                                              ("metadata", "metadata.v3.Metadata"))]}}}
    metadata = {"filter_metadata": {"shop": {"colour": "blue", "sizes": [1, 2]}}}
    routes = [{"match": {"path": "/none"}, "direct_response": {"status": 404}}, {**config.route(), "name": "known", "metadata": metadata}]
    return config.bootstrap([config.http_listener(routes=routes, access_log=[*logs, texts])],
                            [config.cluster("origin", port, metadata=metadata)],
                            node={"id": "cel-node", "cluster": "cel", "metadata": {"NAME": "pod"}})


def lines_of(binary, origin, directory):
    os.makedirs(directory, exist_ok=True)
    proxy = Proxy(make_bootstrap(origin.port, str(directory)), directory / "proxy", binary=binary)
    try:
        for request in REQUESTS:
            http1.fetch(proxy.address(), **request)
    finally:
        proxy.stop()
    found = {}
    for i, text in enumerate(EXPRESSIONS):
        path = directory / f"{i}.log"
        found[text] = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate((directory / "texts.log").read_text().splitlines()):
        for text, value in zip([*TEXTS, "without query"], line.split("|")):
            found[f"{number}: {text}"] = [value]
    return found


@pytest.mark.skipif(envoy() is None, reason="Envoy is not installed")
def test_cel__expressions__both_proxies_log_the_same(origin, tmp_path):
    theirs, mine = lines_of(envoy(), origin, tmp_path / "envoy"), lines_of(weft(), origin, tmp_path / "weft")
    assert {k: v for k, v in mine.items() if v != theirs[k]} == {}, {k: v for k, v in theirs.items() if v != mine[k]}
    assert sum(bool(lines) for lines in mine.values()) > 20


def test_cel__unknown_attribute__named_with_its_place(tmp_path):
    path = tmp_path / "bootstrap.json"
    only = {"extension_filter": {"name": "cel", "typed_config": {"@type": CEL, "expression": "request.colour == 'red'"}}}
    log = config.file_log(tmp_path / "log", text_format="x\n", filter=only)
    path.write_text(json.dumps(config.bootstrap([config.http_listener(access_log=[log])], [config.cluster("origin", 1)])))
    code, output = run_to_end(["-c", str(path), "--mode", "validate"])
    assert code == 1 and "there is no attribute request.colour" in output and "extension_filter.typed_config.expression" in output
