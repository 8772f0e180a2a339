# SPDX-License-Identifier: Apache-2.0
"""POST /explain and x-weft-explain. The proof is at the end: over random configurations (lib/random_routes.py), what
/explain says of a request before it is sent must be what the request then does, by its answer and its log line.

WEFT_EXPLAIN_CONFIGS (300) says how many, WEFT_EXPLAIN_SEED (1) where to begin."""
import json
import os
import re
import time
from urllib.parse import quote

import pytest

from lib import config, http1
from lib.collectors import HttpCollector
from lib.origin import Origin
from lib.proxy import Proxy, log_lines
from lib.random_routes import CLUSTERS, Maker
from lib.streams import Closed, connect

pytestmark = pytest.mark.weft_only

CONFIGS = int(os.environ.get("WEFT_EXPLAIN_CONFIGS", "300"))
FIRST_SEED = int(os.environ.get("WEFT_EXPLAIN_SEED", "1"))
A_BOOTSTRAP = 20
REQUESTS = 6


def post(proxy, body, path="/explain", kind="application/json", accept=None):
    headers = [("content-type", kind)] + ([("accept", accept)] if accept else [])
    return http1.fetch(proxy.admin_address, "POST", path, [*headers, ("connection", "close")], body=body)


def ask(proxy, **question):
    answer = post(proxy, json.dumps(question).encode(), accept="application/json")
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def ask_text(proxy, **question):
    answer = post(proxy, json.dumps(question).encode())
    assert answer.status == 200, answer.body
    assert answer.get("content-type").startswith("text/plain")
    return answer.body.decode()


@pytest.fixture
def origin():
    made = Origin()
    yield made
    made.close()


@pytest.fixture
def start(tmp_path):
    running = []

    def make(bootstrap, **more):
        running.append(Proxy(bootstrap, tmp_path, **more))
        return running[-1]
    yield make
    for proxy in running:
        proxy.stop()


def simple(*routes, **more):
    return config.http_listener(virtual_hosts=[config.virtual_host(list(routes), "all", ["*"], **more)])


# ---- asking ----

def test_question__as_json_form_and_query__same_answer(start, origin):
    proxy = start(config.bootstrap([simple(config.route())], [config.cluster("origin", origin.port)]))
    said = [ask(proxy, url="http://a.b/c", headers={"x-a": "b"})["verdict"],
            json.loads(post(proxy, b"url=http://a.b/c&header=x-a:%20b&format=text", "/explain?format=json",
                            "application/x-www-form-urlencoded").body)["verdict"],
            json.loads(post(proxy, b"", f"/explain?format=json&url={quote('http://a.b/c')}&header=x-a:b").body)["verdict"]]
    assert said[0] == said[1] == said[2] == {"text": "200 likely from one of 1 endpoint of cluster origin"}


@pytest.mark.parametrize("body, fault", [
    (b"{", "too early"), (b'{"url": 7, "what": "x"}', "what"), (b'{"headers": "x"}', "headers"), (b"{}", "say at least"),
    (b'{"url": "http://a/", "source": "nowhere"}', "source"), (b'{"url": "http://a/", "headers": {"b c": "d"}}', "headers"),
    (b'{"url": "http://a/", "headers": [["a", "b\\u0000"]]}', "headers"), (b"url=http%3A//a/&random=x", "random"),
    (b'{"url": "ftp://a/"}', "scheme"), (b'{"url": "http://a/", "transport": "quic"}', "transport"),
    (b'{"path": "/' + b"x" * 70000 + b'"}', "longer"),
], ids=lambda value: value.decode()[:30] if isinstance(value, bytes) else value)
def test_question__that_makes_no_sense__is_refused_by_name(start, origin, body, fault):
    proxy = start(config.bootstrap([simple(config.route())], [config.cluster("origin", origin.port)]))
    answer = post(proxy, body)
    assert answer.status == 400
    assert fault in answer.body.decode()


def test_get__is_refused(start, origin):
    proxy = start(config.bootstrap([simple(config.route())], [config.cluster("origin", origin.port)]))
    assert proxy.admin("/explain").status == 405


# ---- listeners and filter chains ----

def test_listener__by_name_and_port__others_say_why_not(start, origin):
    first = config.http_listener("first", virtual_hosts=[config.virtual_host([config.route()], "all", ["*"])])
    second = config.http_listener("second", virtual_hosts=[config.virtual_host([config.route()], "all", ["*"])])
    proxy = start(config.bootstrap([first, second], [config.cluster("origin", origin.port)]))
    said = ask(proxy, url="http://a/", listener="second")["listener"]
    assert (said["name"], said["others"][0]["name"]) == ("second", "first") and "another name" in said["others"][0]["why_not"]
    said = ask(proxy, url="http://a/", destination=f"127.0.0.1:{proxy.ports['first']}")["listener"]
    assert said["name"] == "first" and "another address or port" in said["others"][0]["why_not"]
    verdict = ask(proxy, url="http://a/", destination_port=9)["verdict"]
    assert "no listener takes this connection" in verdict["text"]


def test_destination__ipv6_and_port_alone__are_told_apart(start, origin):
    proxy = start(config.bootstrap([simple(config.route())], [config.cluster("origin", origin.port)]))
    assert ask(proxy, url="http://a/", listener="http", destination="::1")["destination"].startswith("[::1]:")
    assert ask(proxy, url="http://a/", destination=f":{proxy.ports['http']}")["listener"]["name"] == "http"


def test_transport__chain_speaks_otherwise__verdict_says_so(start, origin):
    proxy = start(config.bootstrap([simple(config.route())], [config.cluster("origin", origin.port)]))
    assert "begins with TLS" in ask(proxy, url="http://a/", transport="tls")["verdict"]["text"]
    assert {"of": "transport", "text": "the question is over TLS, the filter chain speaks in the clear"} in ask(proxy, url="https://a/")["notes"]


def test_filter_chain__by_source__others_say_which_criterion(start, origin):
    def chain(name, host, match):
        return {**config.listener("x", config.hcm(virtual_hosts=[config.virtual_host([config.route()], host, ["*"])]))["filter_chains"][0],
                "name": name, "filter_chain_match": match}
    made = config.listener("http")
    made["filter_chains"] = [chain("near", "a", {"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}),
                             chain("alpn", "b", {"application_protocols": ["h2"]}), chain("any", "c", {})]
    proxy = start(config.bootstrap([made], [config.cluster("origin", origin.port)]))
    said = ask(proxy, url="http://a/", source="10.1.2.3")
    assert said["filter_chain"]["name"] == "near" and said["virtual_host"]["name"] == "a"
    others = {o["name"]: o["why_not"] for o in said["filter_chain"]["others"]}
    assert others["alpn"] == "application_protocols: wants h2, the connection has none"
    assert others["any"].startswith("source_prefix_ranges: left open here")
    said = ask(proxy, url="http://a/", source="192.0.2.1")
    assert said["filter_chain"]["name"] == "any"
    others = {o["name"]: o["why_not"] for o in said["filter_chain"]["others"]}
    assert others["near"] == "source_prefix_ranges: wants 10.0.0.0/8, the connection has 192.0.2.1"


# ---- virtual hosts and routes ----

def test_virtual_host__near_misses__are_told(start, origin):
    hosts = [config.virtual_host([config.route()], "port", ["a.test.local:8080"]), config.virtual_host([config.route()], "star", ["*.a.test.local"]),
             config.virtual_host([config.route()], "sibling", ["b.test.local"]), config.virtual_host([config.route()], "far", ["other.net"])]
    proxy = start(config.bootstrap([config.http_listener(virtual_hosts=hosts)], [config.cluster("origin", origin.port)]))
    said = ask(proxy, url="http://a.test.local/")
    assert said["verdict"] == {"text": "404 NR: no virtual host for a.test.local", "status": 404, "flags": "NR", "details": "route_not_found"}
    near = {o["domain"]: o["why_not"] for o in said["virtual_host"]["others"]}
    assert set(near) == {"a.test.local:8080", "*.a.test.local", "b.test.local"}
    assert "port" in near["a.test.local:8080"] and "at least one character" in near["*.a.test.local"]


def test_route__refusals__name_part_wanted_and_seen(start, origin):
    routes = [{"name": "path", "match": {"path": "/other"}, "route": {"cluster": "origin"}},
              {"name": "header", "match": {"prefix": "/", "headers": [{"name": "x-a", "string_match": {"exact": "1"}},
                                                                     {"name": "x-b", "string_match": {"prefix": "v2"}}]},
               "route": {"cluster": "origin"}},
              {"name": "query", "match": {"prefix": "/", "query_parameters": [{"name": "q", "present_match": True}]},
               "route": {"cluster": "origin"}},
              {"name": "grpc", "match": {"prefix": "/", "grpc": {}}, "route": {"cluster": "origin"}},
              {"name": "taken", "match": {"prefix": "/"}, "route": {"cluster": "origin", "prefix_rewrite": "/new/", "timeout": "3s"}}]
    proxy = start(config.bootstrap([simple(*routes)], [config.cluster("origin", origin.port)]))
    said = ask(proxy, url="http://a/old", headers={"x-a": "1", "x-b": "v1"})["route"]
    assert (said["name"], said["index"], said["of"], said["refused_total"]) == ("taken", 4, 5, 4)
    refused = {r["name"]: (r["part"], r["wants"], r["has"]) for r in said["refused"]}
    assert refused == {"path": ("path", 'path "/other"', '"/old"'), "header": ("headers[1]", 'x-b prefix "v2"', '"v1"'),
                       "query": ("query_parameters[0]", "q present", "absent"),
                       "grpc": ("grpc", "a gRPC request", "content-type absent")}
    assert said["says"]["timeout"] == "3000 ms"
    assert {"header": ":path", "change": "/new/old (was /old)"} in said["header_changes"]
    text = ask_text(proxy, url="http://a/old", headers={"x-a": "1", "x-b": "v1"})
    assert text.splitlines()[1] == "→ 200 likely from one of 1 endpoint of cluster origin"
    assert re.search(r'not 1 header +headers\[1\]: wants x-b prefix "v2", the request has "v1"', text)


def test_route__thousands_before_it__bounded_and_quick(start, origin):
    routes = [{"name": f"r{i}", "match": {"path": f"/{i}"}, "route": {"cluster": "origin"}} for i in range(1000)]
    hosts = [config.virtual_host([config.route()], f"h{i}", [f"a{i}.test", f"*.b{i}.test", f"c{i}.*"]) for i in range(10000)]
    hosts.append(config.virtual_host(routes, "many", ["many.test"]))
    proxy = start(config.bootstrap([config.http_listener(virtual_hosts=hosts)], [config.cluster("origin", origin.port)]))
    ask(proxy, url="http://many.test/999")
    begun = time.monotonic()
    said = ask(proxy, url="http://many.test/999")
    took = time.monotonic() - begun
    assert said["route"]["name"] == "r999" and said["route"]["refused_total"] == 999
    assert len(said["route"]["refused"]) <= 64 and said["route"]["refused_by"] == [{"part": "path", "routes": "999"}]
    assert took < 0.5, took # sanitizers included; some milliseconds without


def test_weighted_clusters__shares_and_draw(start, origin):
    action = {"weighted_clusters": {"clusters": [{"name": "origin", "weight": 30}, {"name": "other", "weight": 70}]}}
    proxy = start(config.bootstrap([simple({"match": {"prefix": "/"}, "route": action})],
                                   [config.cluster("origin", origin.port), config.cluster("other", origin.port)]))
    said = ask(proxy, url="http://a/", random="29")["route"]
    assert said["shares"] == [{"cluster": "origin", "share": "30 of 100, 30.0 %, drawn here"}, {"cluster": "other", "share": "70 of 100, 70.0 %"}]
    assert ask(proxy, url="http://a/", random="30")["route"]["cluster"] == "other"


# ---- filters, clusters ----

def test_filters__per_route_settings__levels_and_who_turned_them_off(start, origin):
    kind = config.TYPE + "extensions.filters.http."
    flag = config.TYPE + "config.route.v3.FilterConfig"
    filters = [{"name": "envoy.filters.http.cors", "typed_config": {"@type": kind + "cors.v3.Cors"}},
               {"name": "envoy.filters.http.buffer", "typed_config": {"@type": kind + "buffer.v3.Buffer", "max_request_bytes": 5}},
               {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER}}]
    cors = {"@type": kind + "cors.v3.CorsPolicy"}
    host = config.virtual_host([{"match": {"prefix": "/"}, "route": {"cluster": "origin"}, "typed_per_filter_config": {
        "envoy.filters.http.cors": cors, "envoy.filters.http.buffer": {"@type": flag, "disabled": True}}}], "all", ["*"],
        typed_per_filter_config={"envoy.filters.http.cors": cors})
    proxy = start(config.bootstrap([config.http_listener(virtual_hosts=[host], http_filters=filters)], [config.cluster("origin", origin.port)]))
    said = {f["name"].rpartition(".")[2]: f for f in ask(proxy, url="http://a/")["filters"]}
    assert said["cors"]["runs"] and said["cors"]["settings_of"] == ["virtual host", "route"]
    assert not said["buffer"]["runs"] and said["buffer"]["why"] == "disabled by the route"
    assert said["router"]["runs"]


def test_cluster__unhealthy_endpoints__503_says_which(start, origin):
    made = config.cluster("origin", origin.port, common_lb_config={"healthy_panic_threshold": {"value": 0}})
    for locality in made["load_assignment"]["endpoints"]:
        for endpoint in locality["lb_endpoints"]:
            endpoint["health_status"] = "UNHEALTHY"
    proxy = start(config.bootstrap([simple(config.route())], [made]))
    said = ask(proxy, url="http://a/")
    assert said["verdict"]["status"] == 503 and said["verdict"]["flags"] == "UH"
    assert said["verdict"]["text"] == ("503 UH: none of the 1 endpoint of cluster origin stands by: "
                                       f"127.0.0.1:{origin.port} unhealthy by configuration")
    live = http1.fetch(proxy.address(), "GET", "/")
    assert live.status == 503


def test_cluster__breaker_reached__503_says_limit(start, origin):
    made = config.cluster("origin", origin.port, circuit_breakers={"thresholds": [{"max_requests": 0}]})
    proxy = start(config.bootstrap([simple(config.route())], [made]))
    said = ask(proxy, url="http://a/")
    assert said["verdict"]["text"] == "503 UO: max_requests 0 reached in cluster origin"
    assert said["cluster"]["circuit_breakers"]["default"]["max_requests"] == {"used": 0, "limit": 0}


def test_question__asked__counts_nothing(start, origin):
    proxy = start(config.bootstrap([simple(config.route())], [config.cluster("origin", origin.port)]))
    before = proxy.stats(r"^(http\.in|cluster\.origin)\.")
    ask(proxy, url="http://a/..%2f", headers={"connection": "upgrade", "upgrade": "websocket"})
    ask(proxy, path="nonsense", authority="a")
    assert proxy.stats(r"^(http\.in|cluster\.origin)\.") == before


# ---- x-weft-explain ----

ALLOWED = {"layered_runtime": {"layers": [{"name": "static", "static_layer": {"weft": {"explain": {"allow_header": True}}}}]}}
RECORD = {"record": "%DYNAMIC_METADATA(weft.explain:record)%"}


def recording(tmp_path, origin, routes, clusters=None, allowed=True, **fields):
    log = config.file_log(str(tmp_path / "log"), RECORD)
    listener = config.http_listener(access_log=[log], virtual_hosts=[config.virtual_host(routes, "all", ["*"])], **fields)
    made = config.bootstrap([listener], clusters or [config.cluster("origin", origin.port)])
    return {**made, **(ALLOWED if allowed else {})}


def record_of(tmp_path, at=0):
    return json.loads(log_lines(str(tmp_path / "log"), at + 1)[at])["record"]


def test_header__allowed__record_in_the_log(start, origin, tmp_path):
    routes = [{"name": "first", "match": {"prefix": "/", "headers": [{"name": "x-a", "string_match": {"exact": "1"}}]},
               "route": {"cluster": "origin"}}, {**config.route(), "name": "second"}]
    proxy = start(recording(tmp_path, origin, routes))
    http1.fetch(proxy.address(), "GET", "/", [("x-weft-explain", "1")])
    http1.fetch(proxy.address(), "GET", "/")
    record = record_of(tmp_path)
    assert record.startswith('listener=http; ') and "\n" not in record
    assert ('route=second[1]; refused=1: first[0] headers[0] wants x-a exact "1" has absent; cluster=origin; '
            f"attempt=127.0.0.1:{origin.port} 200 ") in record
    assert record.endswith("; status=200; details=via_upstream")
    assert record_of(tmp_path, 1) in (None, "-")
    assert origin.requests[0].get("x-weft-explain") == "1" # the next proxy may keep one too


def test_header__not_allowed__is_as_any_other(start, origin, tmp_path):
    proxy = start(recording(tmp_path, origin, [config.route()], allowed=False))
    http1.fetch(proxy.address(), "GET", "/", [("x-weft-explain", "1")])
    assert record_of(tmp_path) in (None, "-")
    assert origin.requests[0].get("x-weft-explain") == "1"


def test_header__retries__each_attempt_with_its_outcome(start, origin, tmp_path):
    import socket
    with socket.socket() as closed: # bound, never listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        route = config.route(retry_policy={"retry_on": "connect-failure", "num_retries": 1})
        proxy = start(recording(tmp_path, origin, [route], [config.cluster("origin", port)]))
        assert http1.fetch(proxy.address(), "GET", "/", [("x-weft-explain", "1")]).status == 503
    record = record_of(tmp_path)
    assert len(re.findall(rf"attempt=127\.0\.0\.1:{port} no answer UF ", record)) == 2, record
    assert "status=503; flags=UF,URX" in record or "status=503; flags=URX,UF" in record


def test_header__filter_answers__record_names_it(start, origin, tmp_path):
    kind = config.TYPE + "extensions.filters.http."
    filters = [{"name": "my.fault", "typed_config": {"@type": kind + "fault.v3.HTTPFault", "abort": {
                    "http_status": 418, "percentage": {"numerator": 100}}}},
               {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER}}]
    proxy = start(recording(tmp_path, origin, [config.route()], http_filters=filters))
    assert http1.fetch(proxy.address(), "GET", "/", [("x-weft-explain", "1")]).status == 418
    assert "filter=my.fault answered 418; status=418; flags=FI; details=fault_filter_abort" in record_of(tmp_path)


def test_header__routes_without_end__record_is_bounded(start, origin, tmp_path):
    routes = [{"name": "n" * 500 + str(i), "match": {"path": "/" + "p" * 500 + str(i)}, "route": {"cluster": "origin"}} for i in range(50)]
    proxy = start(recording(tmp_path, origin, [*routes, config.route()]))
    http1.fetch(proxy.address(), "GET", "/", [("x-weft-explain", "1")])
    record = record_of(tmp_path)
    assert record.endswith("…") and len(record.encode()) <= 4096


def test_header__traced__record_is_a_tag_of_the_span(start, origin, tmp_path):
    collector = HttpCollector()
    provider = {"name": "envoy.tracers.zipkin", "typed_config": {
        "@type": config.TYPE + "config.trace.v3.ZipkinConfig", "collector_cluster": "collector", "collector_endpoint": "/spans",
        "collector_endpoint_version": "HTTP_JSON"}}
    made = recording(tmp_path, origin, [config.route()], [config.cluster("origin", origin.port), config.cluster("collector", collector.port)],
                     tracing={"provider": provider})
    made["layered_runtime"]["layers"][0]["static_layer"]["tracing"] = {"zipkin": {"min_flush_spans": 1}}
    proxy = start(made)
    http1.fetch(proxy.address(), "GET", "/", [("x-weft-explain", "1")])
    span, = collector.take(1)
    assert span["tags"]["weft.explain"] == record_of(tmp_path)
    collector.close()


def test_header__credentials__are_hidden(start, origin, tmp_path):
    route = {"match": {"prefix": "/", "headers": [{"name": "authorization", "string_match": {"exact": "x"}}]}, "route": {"cluster": "origin"}}
    proxy = start(recording(tmp_path, origin, [route, config.route()]))
    http1.fetch(proxy.address(), "GET", "/", [("x-weft-explain", "1"), ("authorization", "opensesame")])
    record = record_of(tmp_path)
    assert "has (hidden)" in record and "opensesame" not in record


# ---- the proof ----

class Answering(Origin):
    def answer(self, stream, request):
        said = request.get("x-answer") or "200"
        if said == "reset":
            stream.reset()
            return False
        body = b"" if request.method == "HEAD" else b"hello"
        stream.send(http1.response_bytes(int(said) if said.isdigit() else 200, [("content-length", str(len(body)))], body))
        return True


LOG = {"details": "%RESPONSE_CODE_DETAILS%", "status": "%RESPONSE_CODE%", "route": "%ROUTE_NAME%",
       "cluster": "%UPSTREAM_CLUSTER%", "flags": "%RESPONSE_FLAGS%"}
# Details of answers that a filter gave before the router could.
BY_FILTER = re.compile(r"fault_filter|csrf|rate_limited|payload_too_large|cors|buffer")


def send(proxy, name, request):
    stream = connect(proxy.address(name))
    try:
        stream.send(http1.request_bytes(**request))
        return http1.read_response(stream, request["method"])
    except (Closed, ConnectionError):
        return None
    finally:
        stream.close()


def question_of(name, request):
    return {"listener": name, "method": request["method"], "path": request["target"], "authority": request["host"],
            "headers": [[n, v] for n, v in request["headers"]] + ([["content-length", str(len(request["body"]))]] if request["body"] else [])}


def disagreements(said, answer, line):
    """What /explain said against what the log and the client saw."""
    route, found = said.get("route", {}), []

    def same(what, told, seen):
        if (told or None) != (seen or None):
            found.append(f"{what}: explain says {told}, the request saw {seen}")
    verdict = said["verdict"]
    same("route", route.get("name"), line["route"])
    same("cluster", said.get("cluster", {}).get("name"), line["cluster"])
    by_filter = BY_FILTER.search(line["details"] or "") or (not line["details"] and answer)
    if by_filter:
        if not any(f.get("effect") and f["runs"] for f in said.get("filters", [])):
            found.append(f"{line['details']}: no filter was named that might answer")
    elif line["details"] in ("direct_response", "route_not_found", "cluster_not_found"):
        same("status", verdict.get("status"), line["status"])
        same("details", verdict.get("details"), line["details"])
        same("flags", verdict.get("flags"), None if line["flags"] in (None, "-") else line["flags"])
        if answer and "location" in verdict:
            same("location", verdict["location"], answer.get("location"))
    elif "status" in verdict:
        found.append(f"explain says {verdict}, the request saw {line['status']} {line['details']}")
    elif said["cluster"]["stand_by"] < 1:
        found.append("nobody stands by, yet there was an answer")
    return found


def batches():
    seeds = range(FIRST_SEED, FIRST_SEED + CONFIGS)
    return [seeds[i:i + A_BOOTSTRAP] for i in range(0, CONFIGS, A_BOOTSTRAP)]


@pytest.mark.parametrize("seeds", batches(), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_random_configurations__what_explain_says__is_what_happens(start, seeds, tmp_path):
    makers = {seed: Maker(seed) for seed in seeds}
    origins = [Answering() for _ in CLUSTERS]
    listeners = [config.http_listener(f"l{seed}", stat_prefix=f"s{seed}",
                                      access_log=[config.file_log(str(tmp_path / f"{seed}.json"), LOG)], **maker.hcm_fields())
                 for seed, maker in makers.items()]
    proxy = start(config.bootstrap(listeners, [config.cluster(name, o.port) for name, o in zip(CLUSTERS, origins)]))
    told = []
    for seed, maker in makers.items():
        for at in range(REQUESTS):
            request = maker.request()
            said = ask(proxy, **question_of(f"l{seed}", request))
            told.append((seed, at, request, said, send(proxy, f"l{seed}", request)))
    failures = []
    for seed, at, request, said, answer in told:
        line = json.loads(log_lines(str(tmp_path / f"{seed}.json"), REQUESTS)[at])
        line = {k: None if v == "-" else v for k, v in line.items()}
        failures += [f"seed {seed} request {at} {request}: {f}\n{line}\n{json.dumps({k: v for k, v in said.items() if k != 'listener'})[:3000]}" for f in disagreements(said, answer, line)]
    for origin in origins:
        origin.close()
    assert not failures, f"{len(failures)} disagreements, the first of them:\n" + "\n".join(failures[:3])
