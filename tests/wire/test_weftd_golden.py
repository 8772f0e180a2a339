# SPDX-License-Identifier: Apache-2.0
"""The same objects into weftd as into a real istiod: what each proxy is sent, field by field. The recorded answers are not part
of this repository (lib/istiod.py). Differences that are meant stand in DEFENDED, with their reason in docs/differences.md."""
import json
import os
import re

import pytest
import yaml
from envoy.config.core.v3 import base_pb2
from google.protobuf.json_format import ParseDict

from lib import istiod
from lib.ads_client import AdsClient
from lib.weftd import Weftd

pytestmark = [pytest.mark.weft_only, pytest.mark.skipif(
    istiod.folder() is None, reason="no recorded answers here: WEFT_ISTIOD_FIXTURES names no folder, none beside the checkout")]

# Scenarios in which nothing else differs; docs/status.md tells of the others.
WHOLE = ["plain", "proxyconfig", "pa-strict", "telemetry-metrics", "telemetry-tracing-otlp", "telemetry-tracing-zipkin",
         "vs-match-split", "vs-fault-retry-timeout", "vs-tcp-tls", "dr-loadbalancer", "dr-locality-failover", "dr-locality-priority",
         "dr-tls-modes", "egress-gateway", "se-dns", "se-static", "dns-capture", "authz-allow", "authz-audit", "authz-custom",
         "reqauth-jwks", "envoyfilter"]

DEFENDED = [
    # hosts behind waypoints and tunnels: they come with HBONE
    (r"eds .*\.amb\.svc\.cluster\.local", r"envoy_internal_address|socket_address|filter_metadata|original_dst|tunnel"),
    # istiod makes a service of each address: endpoints count once for each, and the last address is the only domain
    (r"eds .*\|static\.example", r"lb_endpoints|load_balancing_weight"), (r"rds 80", r"192\.0\.2\.128/25"),
    (r"rds .*", r"query_parameters"),  # istiod's order is that of a Go map
]
KINDS = {"cds": "cds.json", "eds": "eds.json", "lds": "lds.json", "rds": "rds.json"}


def documents(scenario):
    """The fixture's objects as an API server would hold them: spec and status of one object together."""
    found = {}
    for path in ("base/objects.yaml", "base/podstatus.yaml", f"{scenario}/input.yaml"):
        full = os.path.join(istiod.folder(), path)
        if not os.path.exists(full):
            continue
        with open(full, encoding="utf-8") as text:
            for one in filter(None, yaml.safe_load_all(text)):
                key = (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
                found[key] = {**found.get(key, {}), **one, "metadata": {**found.get(key, {}).get("metadata", {}), **one["metadata"]}}
    kubernetes = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
                  "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}}
    return [*found.values(), kubernetes]  # the API server makes that one itself


def proxies(scenario):
    folder = os.path.join(istiod.folder(), scenario)
    return sorted(name for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name)) and not name.endswith("-delta"))


def differences(ours, theirs, path=""):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(set(ours) | set(theirs)):
            yield from differences(ours.get(key), theirs.get(key), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        if path.endswith("virtual_hosts"):
            ours, theirs = (sorted(hosts, key=lambda host: host["name"]) for hosts in (ours, theirs))
        for index, pair in enumerate(zip(ours, theirs)):
            yield from differences(*pair, f"{path}[{index}]")
    elif ours != theirs and not (ours in (None, False) and theirs in (None, False)):
        yield f"{path}: {json.dumps(ours)[:200]} in place of {json.dumps(theirs)[:200]}"


def expected(scenario, proxy, kind):
    path = os.path.join(istiod.folder(), scenario, proxy, KINDS[kind])
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as text:
        return {one.get("name") or one["cluster_name"]: {k: v for k, v in one.items() if k != "@type"} for one in json.load(text)}


def answers(weftd, node, wanted):
    """What weftd sends of each kind, by name, as its page tells it (which knows Istio's own types); endpoints and routes by the
    names that istiod was asked for."""
    client = AdsClient(f"127.0.0.1:{weftd.ports['grpc']}", node=node)
    try:
        for kind in KINDS:
            asked = [] if kind in ("cds", "lds") else sorted(wanted[kind])
            if asked or kind in ("cds", "lds"):
                client.ask(kind, *asked)
                client.ack(client.take(kind), *asked)
        return {kind: weftd.sent(node.id, kind) for kind in KINDS}
    finally:
        client.close()


def is_defended(kind, name, difference):
    return any(re.match(which, f"{kind} {name}") and re.search(what, difference) for which, what in DEFENDED)


@pytest.mark.parametrize("scenario", WHOLE)
def test_istiods_input__gives_what_istiod_gave(started, tmp_path, scenario):
    with open(os.path.join(istiod.folder(), "base/mesh.yaml"), encoding="utf-8") as mesh:
        weftd = Weftd(tmp_path, documents(scenario), mesh=mesh.read())
    started.add(weftd, weftd.stop)
    wrong = []
    for proxy in proxies(scenario):
        with open(os.path.join(istiod.folder(), scenario, proxy, "node.json"), encoding="utf-8") as text:
            node = ParseDict({k: v for k, v in json.load(text).items() if k in ("id", "metadata")}, base_pb2.Node())
        wanted = {kind: expected(scenario, proxy, kind) for kind in KINDS}
        got = answers(weftd, node, wanted)
        for kind in KINDS:
            for name in sorted(set(wanted[kind]) | set(got.get(kind, {}))):
                for found in differences(got.get(kind, {}).get(name), wanted[kind].get(name)):
                    if not is_defended(kind, name, found):
                        wrong.append(f"{proxy}: {kind} {name}{found}")
    assert not wrong, "\n".join(wrong[:20])
