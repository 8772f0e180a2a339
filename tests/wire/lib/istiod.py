# SPDX-License-Identifier: Apache-2.0
"""Recorded answers of a real istiod, where they are at hand: a sidecar's bootstrap and certificates around them.

The recordings (a folder of scenarios, in each a folder of each proxy with `<type>.<turn>.pb` and `<type>.json`) aren't in this
repository: WEFT_ISTIOD_FIXTURES names the folder, else ../shared/istiod-fixtures beside the main checkout is looked at.
"""
import glob
import json
import os
import re
import subprocess

from lib.ads_server import NAME_FIELDS, AdsServer, resources_of
from lib.ca import CA
from lib.proxy import ROOT, Proxy
from lib.wait import wait_until
from envoy.service.discovery.v3 import discovery_pb2

KINDS = ("cds", "eds", "lds", "rds")
ROOT_NAMES = re.compile(r"^(ROOTCA|file-root:.*|.*-cacert)$")
# Not run by a sidecar's or gateway's proxy, or (waypoint) all of HBONE.
LEFT_OUT = re.compile(r"ztunnel|waypoint|grpc-proxyless|real-sidecar")


def folder():
    """The recordings' folder, or None."""
    told = os.environ.get("WEFT_ISTIOD_FIXTURES")
    if told:
        return told if os.path.isdir(told) else None
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--path-format=absolute", "--git-common-dir"], capture_output=True,
                          text=True, check=False)
    main = os.path.dirname(done.stdout.strip()) if done.returncode == 0 else ROOT
    found = os.path.join(main, "..", "shared", "istiod-fixtures")
    return os.path.normpath(found) if os.path.isdir(found) else None


def proxies():
    """scenario/proxy of everything that a proxy can take."""
    root = folder()
    found = sorted(os.path.dirname(os.path.relpath(p, root)) for p in glob.glob(os.path.join(root, "*", "*", "node.json"))) if root else []
    return [one for one in found if not LEFT_OUT.search(one)]


def turns(path, kind):
    """Paths of the recorded answers of a type, in their order."""
    found = glob.glob(os.path.join(path, f"{kind}.*.pb"))
    return sorted(found, key=lambda p: int(p.rsplit(".", 2)[1]))


def final_names(path, kind):
    """Names of the resources after the last answer."""
    file = os.path.join(path, kind + ".json")
    if not os.path.exists(file):
        return set()
    with open(file, encoding="utf-8") as text:
        return {one[NAME_FIELDS[kind]] for one in json.load(text)}


def wanted_routes(path):
    """Names of the route configurations that the last listeners ask for."""
    with open(os.path.join(path, "lds.json"), encoding="utf-8") as text:
        return set(re.findall(r'"route_config_name": ?"([^"]*)"', text.read()))


def secret_names(path):
    """Names of the secrets that clusters and listeners ask for."""
    found = {"default", "ROOTCA"}

    def walk(tree):
        if isinstance(tree, dict):
            if "sds_config" in tree and "name" in tree:
                found.add(tree["name"])
            for value in tree.values():
                walk(value)
        elif isinstance(tree, list):
            for value in tree:
                walk(value)
    for kind in ("cds", "lds"):
        with open(os.path.join(path, kind + ".json"), encoding="utf-8") as text:
            walk(json.load(text))
    return found


def identity(namespace, account):
    return f"spiffe://cluster.local/ns/{namespace}/sa/{account}"


class Replay:
    """A proxy that is driven by what was recorded for `scenario/proxy`; `directory` takes its files and certificates."""

    def __init__(self, name, directory, started, keep_stats=False):
        self.path = os.path.join(folder(), name)
        self.directory = str(directory)
        self.is_delta = name.endswith("-delta")
        with open(os.path.join(self.path, "node.json"), encoding="utf-8") as text:
            self.node = json.load(text)
        self.ca = CA(os.path.join(self.directory, "ca"))
        metadata = self.node["metadata"]
        self.own = self.ca.issue("own", ["URI:" + identity(metadata["NAMESPACE"], metadata.get("SERVICE_ACCOUNT", "default"))])
        self.server = started.add(*self._pair(AdsServer()))
        self.server.set_resources("sds", {one: self.secret(one) for one in secret_names(self.path)})
        self.load(0)
        self.proxy = Proxy(self.bootstrap(keep_stats), os.path.join(self.directory, "proxy"), wait=False)
        started.add(self.proxy, self.proxy.stop)

    @staticmethod
    def _pair(server):
        return server, server.close

    @property
    def address(self):
        return self.node["id"].split("~")[1]

    def secret(self, name):
        if ROOT_NAMES.match(name):
            return {"name": name, "validation_context": {"trusted_ca": {"filename": self.ca.cert}}}
        return {"name": name, "tls_certificate": {"certificate_chain": {"filename": self.own.cert},
                                                  "private_key": {"filename": self.own.key}}}

    def load(self, turn):
        """The recorded answers of a turn from 0. Returns the types that it changed."""
        changed = []
        for kind in KINDS:
            paths = turns(self.path, kind)
            if turn < len(paths):
                changed.append(kind)
                self.server.set_resources(kind, self.after(kind, paths[turn]))
        return changed

    def after(self, kind, path):
        """All resources of a type after a recorded answer. EDS and RDS of state of the world tell only what was asked for anew."""
        now = dict(self.server.resources.get(kind, {}))
        if self.is_delta:
            with open(path, "rb") as data:
                for gone in discovery_pb2.DeltaDiscoveryResponse.FromString(data.read()).removed_resources:
                    now.pop(gone, None)
        elif kind in ("cds", "lds"):
            now = {}
        now.update(resources_of(path, self.is_delta))
        return now

    def bootstrap(self, keep_stats):
        """A real sidecar's bootstrap, with the test's servers and node in the place of the agent's."""
        with open(os.path.join(folder(), "real-sidecar", "bootstrap.json"), encoding="utf-8") as text:
            made = json.load(text)
        made["node"] = {**made["node"], **self.node}
        made["admin"]["address"]["socket_address"]["port_value"] = 0
        made["dynamic_resources"]["ads_config"]["api_type"] = "DELTA_GRPC" if self.is_delta else "GRPC"
        for one in made["static_resources"]["clusters"]:
            if one["name"] in ("xds-grpc", "sds-grpc"):
                one["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = {
                    "socket_address": {"address": "127.0.0.1", "port_value": self.server.port}}
        if not keep_stats:
            made["stats_config"].pop("stats_matcher", None)
        return made

    def asked(self):
        """Types that the proxy asks for of those that were recorded."""
        return [kind for kind in KINDS if turns(self.path, kind)]

    def wait_taken(self):
        self.proxy.wait_admin()
        self.wait_answered()
        self.proxy.wait_ready()
        return self

    def wait_answered(self):
        """Until what was set last of every type was acknowledged or refused."""
        def answered():
            with self.server.lock:
                return all(any((s.is_acked or s.error is not None) and s.round == self.server.rounds[kind]
                               for s in self.server.sent if s.kind == kind) for kind in self.asked())
        try:
            wait_until(answered, "an answer for every type")
        except AssertionError as error:
            sent = [(s.kind, s.is_acked, s.error) for s in self.server.sent]
            raise AssertionError(f"{error}; sent: {sent}") from None

    def refused(self):
        with self.server.lock:
            return [(s.kind, s.error) for s in self.server.sent if s.error is not None]
