# SPDX-License-Identifier: Apache-2.0
"""Random configurations (lib/random_routes.py) under Envoy and weft-proxy, random requests to both: what clients,
origins and access logs see must agree.

WEFT_RANDOM_CONFIGS (60) says how many, WEFT_RANDOM_SEED (1) where to begin; a failure names the seed of its
configuration. Where weft means to differ, ALLOWED names the place and the reason; docs/differences.md tells users.
"""
import gzip
import json
import os
import re

import pytest

from lib import config, http1
from lib.differential import differences, explain, mask, mask_headers
from lib.origin import Origin
from lib.proxy import Proxy, envoy, weft
from lib.random_routes import CLUSTERS, Maker
from lib.streams import Closed, connect

CONFIGS = int(os.environ.get("WEFT_RANDOM_CONFIGS", "60"))
FIRST_SEED = int(os.environ.get("WEFT_RANDOM_SEED", "1"))
FEATURES = os.environ.get("WEFT_RANDOM_FEATURES")
A_BOOTSTRAP = 20 # configurations, a listener each
REQUESTS = 20
LOG = {"flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%", "status": "%RESPONSE_CODE%", "route": "%ROUTE_NAME%",
       "cluster": "%UPSTREAM_CLUSTER%", "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "vcluster": "%VIRTUAL_CLUSTER_NAME%",
       "path": "%REQ(:PATH)%", "original": "%REQ(X-ENVOY-ORIGINAL-PATH)%", "host": "%REQ(:AUTHORITY)%"}


def is_reset(request):
    return ("x-answer", "reset") in request["headers"]


def redirects(request):
    return ("x-answer", "301") in request["headers"] or ("x-answer", "302") in request["headers"]


ALLOWED = [
    # (regular expression on the place, of which requests, which pairs of values, why)
    (r"client\.headers\[connection\]", lambda rq: rq["body"], lambda a, b: (a, b) == (["close"], []),
     "the body of a request that was answered early is read, the connection stays"),
    (r"client\.headers\[transfer-encoding\]", lambda rq: rq["method"] == "HEAD", lambda a, b: (a, b) == (["chunked"], []),
     "an answer to HEAD has no body to frame"),
    (r"^origin", is_reset, lambda a, b: len(b) > len(a) and b[:len(a)] == a and len({item[1] for item in b}) == 1,
     "what fails on a reused connection is replayed once where that is safe"),
    (r"^attempts$", is_reset, lambda a, b: a < b, "the same, counted"),
    (r"^route$", redirects, lambda a, b: not a and b, "a redirect that isn't followed leaves the route's name"),
    (r"^client\.headers\[x-(one|two|more|added)\]", redirects, lambda a, b: not a and len(b) == 1 and re.fullmatch(r"r\d+\.\d+|last", b[0]),
     "the same, in a header"),
]


def answer(stream, request):
    """An origin that does what x-answer says."""
    said = request.get("x-answer") or "200"
    if said == "reset":
        stream.reset()
        return None
    body = b"" if request.method == "HEAD" else b"hello " * 10
    headers = [("x-origin", "here"), ("content-type", "text/plain"), ("content-length", str(len(body)))]
    if said in ("301", "302"):
        headers.append(("location", "http://test.local/redirected/items"))
    return http1.response_bytes(int(said) if said.isdigit() else 200, headers, body)


class Answering(Origin):
    def answer(self, stream, request):
        said = answer(stream, request)
        if said is None:
            return False
        stream.send(said)
        return True


def make_bootstrap(makers, ports, directory):
    listeners = []
    for seed, fields in makers.items():
        log = config.file_log(os.path.join(directory, f"{seed}.json"), LOG)
        listeners.append(config.http_listener(f"l{seed}", stat_prefix=f"s{seed}", access_log=[log], **fields))
    return config.bootstrap(listeners, [config.cluster(name, port) for name, port in zip(CLUSTERS, ports)])


class Side:
    def __init__(self, binary, directory, makers, origins):
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.origins = origins
        self.proxy = Proxy(make_bootstrap(makers, [o.port for o in origins], self.directory), directory, binary=binary)
        self.streams = {}

    def exchange(self, seed, request):
        """On the listener's connection, a new one where the last was closed."""
        for is_last in (False, True):
            stream = self.streams.pop(seed, None)
            if stream is None or is_last:
                stream = connect(self.proxy.address(f"l{seed}"))
                is_last = True
            stream.send(http1.request_bytes(**request))
            try:
                seen = http1.read_response(stream, request["method"])
            except (Closed, ConnectionError):
                stream.close()
                if is_last:
                    return {"start": "closed without an answer"}
                continue
            if (seen.get("connection") or "").lower() == "close":
                stream.close()
            else:
                self.streams[seed] = stream
            return {"start": seen.start, "headers": headers_of(seen), "body": body_of(seen)}
        return None

    def observe(self, seed, request):
        marks = [len(origin.requests) for origin in self.origins]
        seen = {"client": self.exchange(seed, request)}
        seen["origin"] = [(name, r.start, headers_of(r), r.body)
                          for name, origin, at in zip(CLUSTERS, self.origins, marks) for r in origin.requests[at:]]
        return seen

    def stop(self):
        for stream in self.streams.values():
            stream.close()
        self.proxy.stop()

    def log_of(self, seed):
        path = os.path.join(self.directory, f"{seed}.json")
        with open(path, encoding="utf-8", errors="replace") as lines:
            return [{k: ",".join(sorted(v.split(","))) if k == "flags" and v else mask(k, v) if isinstance(v, str) else v for k, v in json.loads(line).items()} for line in lines]


def headers_of(message):
    """Masked; what is left of a timeout at a retry is known to the second."""
    return [(n, f"<{-(-int(v) // 1000)} s>" if n == "x-envoy-expected-rq-timeout-ms" else v)
            for n, v in mask_headers(message.headers)]


def body_of(message):
    """What it says: two zlibs may pack it differently."""
    return gzip.decompress(message.body) if message.get("content-encoding") == "gzip" and message.body else message.body


def is_allowed(place, left, right, request):
    return any(re.search(pattern, place) and applies(request) and fits(left, right) for pattern, applies, fits, _ in ALLOWED)


def part(left, right, request):
    return [d for d in differences(left, right) if not is_allowed(*d, request)]


def describe(seed, request, fields, found):
    return (f"seed {seed}, {request['method']} {request['target']} host {request['host']} {request['headers']} "
            f"{request['body']}:\n{explain(found)}\n{json.dumps(fields)[:20000]}")


def compare_logs(sides, seed, requests, fields):
    left, right = (side.log_of(seed) for side in sides)
    if len(left) != len(right):
        return [f"seed {seed}: {len(left)} log lines at Envoy, {len(right)} at weft"]
    return [describe(seed, request, fields, found) for request, a, b in zip(requests, left, right) if (found := part(a, b, request))]


def run_batch(seeds, directory):
    makers = {seed: Maker(seed, FEATURES.split(",") if FEATURES else None) for seed in seeds}
    fields = {seed: maker.hcm_fields() for seed, maker in makers.items()}
    failures, sides = [], []
    origins = [Answering() for _ in CLUSTERS]
    try:
        for name, binary in (("envoy", envoy()), ("weft", weft())):
            sides.append(Side(binary, directory / name, fields, origins))
        requests = {seed: [makers[seed].request() for _ in range(REQUESTS)] for seed in seeds}
        for seed in seeds:
            for request in requests[seed]:
                left, right = (side.observe(seed, request) for side in sides)
                found = part(left, right, request)
                if found:
                    failures.append(describe(seed, request, fields[seed], found))
        for side in sides:
            side.stop()
        for seed in seeds:
            failures += compare_logs(sides, seed, requests[seed], fields[seed])
    finally:
        for side in sides:
            side.proxy.kill()
        for origin in origins:
            origin.close()
    return failures


def batches():
    seeds = range(FIRST_SEED, FIRST_SEED + CONFIGS)
    return [seeds[i:i + A_BOOTSTRAP] for i in range(0, CONFIGS, A_BOOTSTRAP)]


@pytest.mark.skipif(envoy() is None, reason="Envoy is not installed")
@pytest.mark.parametrize("seeds", batches(), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_random_configurations__random_requests__both_proxies_agree(seeds, tmp_path):
    failures = run_batch(list(seeds), tmp_path)
    assert not failures, f"{len(failures)} differences, the first of them:\n" + "\n".join(failures[:3])
