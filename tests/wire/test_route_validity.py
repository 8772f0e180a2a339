# SPDX-License-Identifier: Apache-2.0
"""Route configurations that Envoy refuses are refused, and those that it takes are taken (--mode validate of both).

Where weft means to differ, ALLOWED names the case and the reason; docs/differences.md tells users the same.
"""
import json
import subprocess

import pytest

from lib import config
from lib.proxy import envoy, weft

BAD_SUBSTITUTION = "a reference to a group that the regex hasn't is a mistake, and is said at load"
ALLOWED = {
    "rewrite: no such group": BAD_SUBSTITUTION, "rewrite: unknown escape": BAD_SUBSTITUTION, "rewrite: trailing backslash": BAD_SUBSTITUTION,
    "redirect: no such group": BAD_SUBSTITUTION, "host rewrite: no such group": BAD_SUBSTITUTION,
    "retry: unknown word": "a misspelt word would mean no retries",
    "domain: star in the middle": "matched literally by Envoy, which nobody means",
}
EXTENSION = config.TYPE + "extensions."
FILTER_CONFIG = config.TYPE + "config.route.v3.FilterConfig"


def template(text):
    return {"path_match_policy": {"name": "t", "typed_config": {
        "@type": EXTENSION + "path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": text}}}


def template_rewrite(text):
    return {"path_rewrite_policy": {"name": "t", "typed_config": {
        "@type": EXTENSION + "path.rewrite.uri_template.v3.UriTemplateRewriteConfig", "path_template_rewrite": text}}}


def route(match=None, action=None, **more):
    return {"match": match or {"prefix": "/"}, "route": {"cluster": "origin", **(action or {})}, **more}


def matching(**parts):
    return route({"prefix": "/", **parts})


def regex(pattern, substitution):
    return {"pattern": {"regex": pattern}, "substitution": substitution}


def weighted(*clusters, **more):
    return {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": list(clusters), **more}}}


def adding(key="x", value="v", **more):
    return route(request_headers_to_add=[{"header": {"key": key, "value": value}, **more}])


def retry(**policy):
    return route(action={"retry_policy": {"retry_on": "5xx", **policy}})


def answering(status, **more):
    return {"match": {"prefix": "/"}, "direct_response": {"status": status, **more}}


def redirect(**fields):
    return {"match": {"prefix": "/"}, "redirect": fields}


def overriding(**fields):
    return route(typed_per_filter_config={"f": {"@type": FILTER_CONFIG, **fields}})


ROUTES = {
    "plain": route(), "no action": {"match": {"prefix": "/"}}, "no path": {"match": {}, "route": {"cluster": "origin"}},
    "rewrite: prefix and regex": route(action={"prefix_rewrite": "/b", "regex_rewrite": regex("a", "b")}),
    "rewrite: prefix and format": route(action={"prefix_rewrite": "/b", "path_rewrite": "/x"}),
    "rewrite: unknown operator": route(action={"path_rewrite": "/%NOPE%"}),
    "rewrite: template without its match": route(action=template_rewrite("/x")),
    "rewrite: template": route(template("/a/{x}/**"), template_rewrite("/{x}")),
    "rewrite: template's unknown variable": route(template("/a/{x}/**"), template_rewrite("/{y}")),
    "rewrite: prefix of a template": route(template("/a/{x}"), {"prefix_rewrite": "/z"}),
    "rewrite: no such group": route(action={"regex_rewrite": regex("a", "\\1")}),
    "rewrite: unknown escape": route(action={"regex_rewrite": regex("a", "\\x")}),
    "rewrite: trailing backslash": route(action={"regex_rewrite": regex("a", "b\\")}),
    "host rewrite: no such group": route(action={"host_rewrite_path_regex": regex("a", "\\2")}),
    "separated prefix: slash at the end": route({"path_separated_prefix": "/a/"}), "separated prefix: root": route({"path_separated_prefix": "/"}),
    "separated prefix: query": route({"path_separated_prefix": "/a?b"}), "separated prefix: no slash": route({"path_separated_prefix": "a"}),
    "prefix: empty": route({"prefix": ""}), "path: query": route({"path": "/a?b"}), "regex: broken": route({"safe_regex": {"regex": "(a"}}),
    "weights: 0": weighted({"name": "origin", "weight": 0}), "weights: one unset": weighted({"name": "origin"}, {"name": "origin", "weight": 2}),
    "weights: other total": weighted({"name": "origin", "weight": 5}, total_weight=100),
    "weights: unknown cluster": weighted({"name": "nope", "weight": 2}),
    "weights: name and header": weighted({"name": "origin", "cluster_header": "x", "weight": 2}), "weights: neither": weighted({"weight": 2}),
    "cluster: unknown": route(action={"cluster": "nope"}), "mirror: unknown": route(action={"request_mirror_policies": [{"cluster": "nope"}]}),
    "mirror: both": route(action={"request_mirror_policies": [{"cluster": "origin", "cluster_header": "x"}]}),
    "mirror: neither": route(action={"request_mirror_policies": [{}]}),
    "retry: most below least": retry(retry_back_off={"base_interval": "1s", "max_interval": "0.5s"}),
    "retry: no least": retry(retry_back_off={}), "retry: least of 0": retry(retry_back_off={"base_interval": "0s"}),
    "retry: unknown word": retry(retry_on="5xx,nonsense"), "hedge: no request": route(action={"hedge_policy": {"initial_requests": 0}}),
    "headers: :path": adding(":path"), "headers: host": adding("Host"), "headers: unknown operator": adding(value="%NOPE%"),
    "headers: lone percent": adding(value="100%"), "headers: two percents": adding(value="100%%"), "headers: empty": adding(value=""),
    "headers: both appends": adding(append=True, append_action="ADD_IF_ABSENT"), "headers: older append": adding(append=False),
    "headers: remove :status": route(response_headers_to_remove=[":status"]), "headers: remove host": route(request_headers_to_remove=["host"]),
    "headers: older operators": adding(value='%UPSTREAM_METADATA(["a","b"])%%PER_REQUEST_STATE(a.b)%'),
    "headers: value and raw_value": route(request_headers_to_add=[{"header": {"key": "x", "value": "x", "raw_value": "eA=="}}]),
    "redirect: large port": redirect(port_redirect=70000), "redirect: no such group": redirect(regex_rewrite=regex("a", "\\1")),
    "redirect: prefix of a template": {"match": template("/a/*"), "redirect": {"prefix_rewrite": "/x"}},
    "direct: 99": answering(99), "direct: 600": answering(600), "direct: large body": answering(200, body={"inline_string": "x" * 5000}),
    "upgrade: twice": route(action={"upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "WebSocket"}]}),
    "upgrade: connect_config elsewhere": route(action={"upgrade_configs": [{"upgrade_type": "websocket", "connect_config": {}}]}),
    "hash: nothing": route(action={"hash_policy": [{}]}), "hash: no property": route(action={"hash_policy": [{"connection_properties": {}}]}),
    "internal redirect: 200": route(action={"internal_redirect_policy": {"redirect_response_codes": [200]}}),
    "internal redirect: copies host": route(action={"internal_redirect_policy": {"response_headers_to_copy": ["host"]}}),
    "durations: both forms": route(action={"max_stream_duration": {"max_stream_duration": "1s"}, "max_grpc_timeout": "1s"}),
    "limits: both": route(per_request_buffer_limit_bytes=5, request_body_buffer_limit=5),
    "match: range upside down": matching(headers=[{"name": "x", "range_match": {"start": 5, "end": 1}}]),
    "match: ignore_case of a regex": matching(headers=[{"name": "x", "string_match": {"safe_regex": {"regex": "a"}, "ignore_case": True}}]),
    "match: header without a name": matching(headers=[{"name": ""}]), "match: empty prefix": matching(headers=[{"name": "x", "string_match": {"prefix": ""}}]),
    "match: metadata without a path": matching(dynamic_metadata=[{"filter": "a", "value": {"present_match": True}}]),
    "match: metadata without a value": matching(dynamic_metadata=[{"filter": "a", "path": [{"key": "b"}]}]),
    "match: cookie without a value": matching(cookies=[{"name": "a"}]), "match: fraction without one": matching(runtime_fraction={"runtime_key": "x"}),
    "filter: empty": overriding(), "filter: disabled": overriding(disabled=True),
    "filter: optional unknown": overriding(is_optional=True, config={"@type": config.TYPE + "config.core.v3.Node"}),
}
for text in ("/a/**/b", "/a/{x=**}/b", "/{x}/{x}", "/a//b", "a", "/a/{", "/{x}{y}", "/a*b", "/**.png", "/a/{x}.json", "/{1a}", "/a/{x=*/b/*}/c", "/a b",
             "/a/{x=foo}", "/", "/{a}/{b}/{c}/{d}/{e}/{f}", "/{abcdefghijklmnopq}", "/a/{x=}", "/a/{}", "/{x=**}", "/a/b/", "/**/"):
    ROUTES["template " + text] = route(template(text))
HOSTS = {
    "domain: two stars": {"domains": ["*a*"]}, "domain: star in the middle": {"domains": ["a*b"]}, "domain: twice": {"domains": ["A", "a"]},
    "domain: none": {"domains": []}, "domain: port": {"domains": ["a:80"]}, "domain: empty": {"domains": [""]},
    "virtual cluster: no headers": {"domains": ["*"], "virtual_clusters": [{"name": "a"}]},
    "virtual cluster: no name": {"domains": ["*"], "virtual_clusters": [{"headers": [{"name": "x"}]}]},
}
CASES = {name: config.virtual_host([one]) for name, one in ROUTES.items()}
CASES.update({name: {"name": "v", "routes": [route()], **fields} for name, fields in HOSTS.items()})


def is_taken(binary, path):
    done = subprocess.run([binary, "-c", path, "--mode", "validate", "-l", "error"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode in (0, 1), done.stdout.decode()
    assert b"AddressSanitizer" not in done.stdout, done.stdout.decode()
    return done.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(envoy() is None, reason="Envoy is not installed")
def test_route_configurations__odd_ones__refused_and_taken_as_by_envoy(tmp_path):
    found = []
    for name, host in CASES.items():
        path = tmp_path / "bootstrap.json"
        path.write_text(json.dumps(config.bootstrap([config.http_listener(virtual_hosts=[host])], [config.cluster("origin", 1)])))
        expected, got = is_taken(envoy(), path), is_taken(weft(), path)
        if (expected != got) != (name in ALLOWED):
            found.append(f"{name}: Envoy {'takes' if expected else 'refuses'} it, weft {'takes' if got else 'refuses'} it")
    assert not found, "\n".join(found)
