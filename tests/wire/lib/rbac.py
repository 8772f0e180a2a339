# SPDX-License-Identifier: Apache-2.0
"""Access control in few words: policies, filters, and what they leave in an access log."""
from lib import config
from lib.pairs import http_filter

HTTP = "extensions.filters.http.rbac.v3.RBAC"
NETWORK = config.TYPE + "extensions.filters.network.rbac.v3.RBAC"
PER_ROUTE = config.TYPE + "extensions.filters.http.rbac.v3.RBACPerRoute"
ANY = {"any": True}
LOG = {"flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%", "path": "%REQ(:PATH)%",
       "termination": "%CONNECTION_TERMINATION_DETAILS%", "hint": "%DYNAMIC_METADATA(envoy.common)%",
       "http": "%DYNAMIC_METADATA(envoy.filters.http.rbac)%", "network": "%DYNAMIC_METADATA(envoy.filters.network.rbac)%"}


def policy(permissions=(ANY,), principals=(ANY,), **more):
    return {"permissions": list(permissions), "principals": list(principals), **more}


def rules(action="ALLOW", **policies):
    return {"action": action, "policies": policies}


def rbac(**fields):
    return http_filter("envoy.filters.http.rbac", HTTP, **fields)


def network_rbac(**fields):
    return {"name": "envoy.filters.network.rbac", "typed_config": {"@type": NETWORK, "stat_prefix": "tcp", **fields}}


def per_route(**fields):
    """Settings of a route; without fields: nothing is asked there."""
    typed = {"@type": PER_ROUTE, **({"rbac": fields} if fields else {})}
    return {"typed_per_filter_config": {"envoy.filters.http.rbac": typed}}


def path(**match):
    return {"url_path": {"path": match}}


def header(name, **match):
    return {"header": {"name": name, "string_match": match}}


def answers(prefix="/", **more):
    """A route that says "hi"."""
    return {"match": {"prefix": prefix}, "direct_response": {"status": 200, "body": {"inline_string": "hi"}}, **more}


def tree_action(name, action="ALLOW"):
    return {"name": "action", "typed_config": {"@type": config.TYPE + "config.rbac.v3.Action", "name": name, "action": action}}


def tree_input(type_name, **fields):
    return {"name": "input", "typed_config": {"@type": config.TYPE + type_name, **fields}}


def when(value_input, value_match, name, action="ALLOW"):
    return {"predicate": {"single_predicate": {"input": value_input, "value_match": value_match}},
            "on_match": {"action": tree_action(name, action)}}


def tree(*items):
    return {"matcher_list": {"matchers": list(items)}}
