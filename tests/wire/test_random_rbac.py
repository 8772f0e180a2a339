# SPDX-License-Identifier: Apache-2.0
"""Random access control (lib/random_rbac.py) under Envoy and weft-proxy, random requests to both, over TLS with and without a
client's certificate and in the clear: answers, details, dynamic metadata and statistics must agree.

WEFT_RANDOM_RBAC (20) says how many configurations, WEFT_RANDOM_SEED (1) where to begin; a failure names its seed.
"""
import json
import os
import ssl

import pytest

from lib import config, http1
from lib.pairs import seen
from lib.proxy import Proxy, envoy, weft
from lib.random_rbac import Maker
from lib.rbac import LOG
from lib.streams import connect

CONFIGS = int(os.environ.get("WEFT_RANDOM_RBAC", "20"))
FIRST_SEED = int(os.environ.get("WEFT_RANDOM_SEED", "1"))
A_BOOTSTRAP = 20
REQUESTS = 20


def certificates(ca):
    leaves = {"all": ca.issue("client", ["URI:spiffe://cluster.local/ns/foo/sa/web", "DNS:foo.example", "IP:10.1.2.3"], file_name="all"),
              "dns": ca.issue("client", ["DNS:foo.example"], file_name="dns"), "none": None}
    contexts = {}
    for name, leaf in leaves.items():
        contexts[name] = ssl.create_default_context(cafile=ca.cert)
        contexts[name].check_hostname = False
        if leaf:
            contexts[name].load_cert_chain(leaf.cert, leaf.key)
    return config.server_tls(ca.issue("server", ["DNS:test.local"]), ca=ca, require_client_certificate=False), contexts


class Side:
    def __init__(self, binary, directory, seeds, tls):
        os.makedirs(directory)
        self.directory = directory
        listeners = [Maker(seed).listener(f"s{seed}", config.file_log(directory / f"{seed}.json", LOG), tls) for seed in seeds]
        self.proxy = Proxy(config.bootstrap(listeners), directory, binary=binary)

    def ask(self, seed, request, context):
        wanted = {k: request[k] for k in ("method", "target", "headers", "host")}
        with connect(self.proxy.address(f"s{seed}"), context, request["server_name"] if context else None) as stream:
            stream.send(http1.request_bytes(**wanted))
            return seen(http1.read_response(stream, request["method"]))

    def log(self, seed):
        with open(self.directory / f"{seed}.json", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


def batches():
    seeds = range(FIRST_SEED, FIRST_SEED + CONFIGS)
    return [seeds[i:i + A_BOOTSTRAP] for i in range(0, CONFIGS, A_BOOTSTRAP)]


def request_lists(seeds):
    made = {}
    for seed in seeds:
        maker = Maker(seed * 7919)
        made[seed] = [maker.request() for _ in range(REQUESTS)]
    return made


def without_framing(answer):
    """HEAD: weft frames no body that isn't there (docs/differences.md)."""
    return {**answer, "headers": [(n, v) for n, v in answer["headers"] if n not in ("transfer-encoding", "connection")]}


@pytest.mark.skipif(envoy() is None, reason="Envoy is not installed")
@pytest.mark.parametrize("seeds", batches(), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_random_policies__random_requests__both_proxies_agree(seeds, tmp_path, ca):
    tls, contexts = certificates(ca)
    requests, failures, sides = request_lists(seeds), [], []
    try:
        for name, binary in (("envoy", envoy()), ("weft", weft())):
            sides.append(Side(binary, tmp_path / name, seeds, tls))
        for seed in seeds:
            is_tls = Maker(seed).is_tls
            for request in requests[seed]:
                context = contexts[request["client"]] if is_tls else None
                left, right = (without_framing(side.ask(seed, request, context)) for side in sides)
                if left != right:
                    failures.append(f"seed {seed} {request}\n  envoy: {left}\n  weft:  {right}")
        stats = [{k: v for k, v in side.proxy.stats("rbac").items() if v} for side in sides]
        for side in sides:
            side.proxy.stop()
        for seed in seeds:
            for request, left, right in zip(requests[seed], *(side.log(seed) for side in sides)):
                if left != right:
                    failures.append(f"seed {seed} {request}\n  envoy: {left}\n  weft:  {right}")
    finally:
        for side in sides:
            side.proxy.kill()
    assert not failures, f"{len(failures)} differences, the first of them:\n" + "\n".join(failures[:4])
    parts = {k: (stats[0].get(k), stats[1].get(k)) for k in {*stats[0], *stats[1]} if stats[0].get(k) != stats[1].get(k)}
    assert not parts, f"statistics (envoy, weft): {parts}"
