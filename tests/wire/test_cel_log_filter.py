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
    routes = [{"match": {"path": "/none"}, "direct_response": {"status": 404}}, {**config.route(), "name": "known"}]
    return config.bootstrap([config.http_listener(routes=routes, access_log=logs)], [config.cluster("origin", port)])


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
