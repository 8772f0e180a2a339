# SPDX-License-Identifier: Apache-2.0
"""compressor and decompressor beside Envoy: headers, bodies once unpacked, statistics, zip bombs."""
import gzip

import pytest

from lib import config, http1
from lib.http2 import H2Origin
from lib.origin import Origin
from lib.pairs import Two, chain, h1, h2, http_filter, seen

BIG = b"hello " * 100
PACKED = gzip.compress(BIG, mtime=0)
BOMB = gzip.compress(b"\0" * 5000000, mtime=0)
ETAG = ("ETag", '"abc"')


def answer(*headers, body=BIG, status=200, kind="text/plain"):
    return http1.response_bytes(status, [("Content-Type", kind), *headers], body)


PLAIN = {
    "ok": answer(), "small": answer(body=b"x"), "etag": answer(ETAG), "weak": answer(("ETag", 'W/"abc"')),
    "png": answer(kind="image/png"), "no_transform": answer(("Cache-Control", "private, no-transform")),
    "coded": answer(("Content-Encoding", "br")), "404": answer(status=404), "206": answer(status=206),
    "vary": answer(("Vary", "Origin")), "vary_has": answer(("Vary", "Origin, Accept-Encoding")),
    "no_type": http1.response_bytes(200, [], BIG), "charset": answer(kind="text/plain ; charset=utf-8"),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "small_png": answer(body=b"x", kind="image/png"), "small_404": answer(body=b"x", status=404),
    "png_404": answer(kind="image/png", status=404), "etag_png": answer(ETAG, kind="image/png"),
    "etag_404": answer(ETAG, status=404), "small_coded": answer(("Content-Encoding", "br"), body=b"x"), "empty": answer(body=b""),
}
PACKED_SCRIPT = {
    name: http1.response_bytes(200, [("Content-Type", "text/plain"), ("Content-Encoding", coding), *more], body)
    for name, coding, body, more in [
        ("ok", "gzip", PACKED, ()), ("two", "gzip, br", PACKED, ()), ("upper", "GZip", PACKED, ()),
        ("no_transform", "gzip", PACKED, [("Cache-Control", "no-transform")]), ("other", "br", PACKED, ()),
        ("corrupt", "gzip", PACKED[:20] + b"x" * 16 + PACKED[36:], ()), ("cut", "gzip", PACKED[:-10], ()),
        ("surplus", "gzip", PACKED + b"garbage", ()), ("junk", "gzip", b"not gzip at all", ()), ("bomb", "gzip", BOMB, ()),
        ("twice", "gzip", PACKED + PACKED, ()), ("empty", "gzip", b"", ())]}
ENCODINGS = {"gzip": "gzip", "brotli": "br", "zstd": "zstd"}


def compressor(lib="gzip", name=None, params=None, **fields):
    return http_filter(name or "compressor", "extensions.filters.http.compressor.v3.Compressor", compressor_library={
        "name": "lib_" + lib,
        "typed_config": {"@type": config.TYPE + f"extensions.compression.{lib}.compressor.v3.{lib.capitalize()}",
                         **(params or {})}}, **fields)


def decompressor(lib="gzip", name=None, params=None, **fields):
    return http_filter(name or "decompressor", "extensions.filters.http.decompressor.v3.Decompressor", decompressor_library={
        "name": "lib_" + lib,
        "typed_config": {"@type": config.TYPE + f"extensions.compression.{lib}.decompressor.v3.{lib.capitalize()}",
                         **(params or {})}}, **fields)


@pytest.fixture
def start_two(start_proxy, started):
    """start_two(script, filters…) -> Two, with .origin and .h2_origin."""
    def start(script, *filters, routes=None, **more):
        origin = Origin(script, default=script["ok"])
        started.add(origin, origin.close)
        h2_origin = H2Origin({"trailers": ([(":status", "200"), ("content-encoding", "gzip")], PACKED, [("x-t", "1")])},
                             default=([(":status", "200"), ("content-type", "text/plain"), ("content-encoding", "gzip")]
                                      if script is PACKED_SCRIPT else [(":status", "200"), ("content-type", "text/plain")],
                                      PACKED if script is PACKED_SCRIPT else BIG, []))
        started.add(h2_origin, h2_origin.close)
        listener = config.http_listener(routes=[*(routes or ()), config.route("h2", "/h2"), config.route()],
                                        http_filters=chain(*filters), **more)
        two = Two(start_proxy, config.bootstrap([listener], [config.cluster("origin", origin.port),
                                                             config.cluster("h2", h2_origin.port, http2=True)]))
        two.origin, two.h2_origin = origin, h2_origin
        return two
    return start


def unpacked(shown):
    """With the body as it was before gzip: how deflate cut it isn't compared."""
    if ("content-encoding", "gzip") in shown["headers"] and shown["body"][:2] == b"\x1f\x8b":
        shown["body"] = gzip.decompress(shown["body"])
    elif ("content-encoding", "br") in shown["headers"] or ("content-encoding", "zstd") in shown["headers"]:
        shown["body"] = len(shown["body"]) > 0
    return shown


SIZES = ("total_compressed_bytes", "content_length_too_small")  # by how data was cut; Envoy counts some twice


def same_compressor_stats(two):
    names = [n for n in two.envoy.stats("compressor") if n.endswith(SIZES)]
    return two.same_stats("compressor", but=names)


@pytest.mark.parametrize("fields", [
    {}, {"response_direction_config": {"status_header_enabled": True, "uncompressible_response_codes": [404]}},
    {"response_direction_config": {"disable_on_etag_header": True, "uncompressible_response_codes": [404],
                                   "remove_accept_encoding_header": True,
                                   "common_config": {"min_content_length": 700, "content_type": ["image/png", "text/plain"]}}},
    {"response_direction_config": {"disable_on_etag_header": True, "status_header_enabled": True,
                                   "uncompressible_response_codes": [404]}},
    {"response_direction_config": {"common_config": {"enabled": {"default_value": False, "runtime_key": "off"}}}},
], ids=["legacy", "status", "strict", "etag", "off"])
def test_responses_are_compressed_as_envoy_does(start_two, fields):
    two = start_two(PLAIN, compressor(**fields))
    for case in PLAIN:
        two.same_upstream(two.origin, lambda p, c=case: unpacked(seen(h1(p, headers=[("x-case", c), ("accept-encoding", "gzip")]))))
    for accepts in ("gzip;q=0", "br", "*", "identity", "gzip;q=x", "", "deflate, gzip;q=0.1", "GZIP", "gzip;q=1.0;a=b", ";", ","):
        two.same(lambda p, a=accepts: unpacked(seen(h1(p, headers=[("accept-encoding", a)]))))
    two.same(lambda p: unpacked(seen(h1(p))))
    two.same(lambda p: unpacked(seen(h1(p, "HEAD", headers=[("accept-encoding", "gzip")]))))
    two.same(lambda p: unpacked(seen(h1(p, target="/h2", headers=[("accept-encoding", "gzip")]))))
    two.same(lambda p: unpacked(seen(h2(p, path="/h2", headers=[("accept-encoding", "gzip"), ("x-case", "trailers")]))))
    same_compressor_stats(two)


def test_requests_are_compressed_as_envoy_does(start_two):
    two = start_two(PLAIN, compressor(request_direction_config={"common_config": {"min_content_length": 10}}))

    def post(proxy, headers, body, target="/"):
        mark = len(two.origin.requests)
        h1(proxy, "POST", target, headers, body)
        request = two.origin.requests[mark]
        coded = request.get("content-encoding") == "gzip" and request.body[:2] == b"\x1f\x8b"
        return request.all("content-encoding"), request.all("content-length"), gzip.decompress(request.body) if coded else request.body
    for headers, body in ([("Content-Type", "text/plain")], BIG), ([("Content-Type", "image/png")], BIG), ([], BIG), \
            ([("Content-Type", "text/plain")], b"x"), ([("Content-Encoding", "br")], BIG), ([], b""):
        two.same(lambda p, h=headers, b=body: post(p, h, b))
    two.same(lambda p: seen(h2(p, method="POST", path="/h2", body=BIG, trailers=[("x-t", "1")])))
    assert gzip.decompress(two.h2_origin.last().body) == BIG and ("x-t", "1") in two.h2_origin.last().trailers
    same_compressor_stats(two)


ACCEPTS = ["gzip, br, zstd", "zstd, br", "br, zstd", "br;q=0.5,gzip;q=0.4", "*", "gzip;q=0, *", "identity, gzip", "gzip, identity",
           "gzip;q=0.5, *;q=0.6", "br;q=0.5, identity;q=0.5", "br, identity", "br;q=1, *", "*, br", "zstd, br, gzip", "x", "br;q=0",
           "gzip;q=0,br;q=0,zstd;q=0,*"]


@pytest.mark.parametrize("first", [(), ("gzip",), ("brotli", "zstd")], ids=["none", "gzip", "two"])
def test_compressors_of_a_chain_agree(start_two, first):
    two = start_two(PLAIN, *[compressor(lib, lib, choose_first=lib in first) for lib in ENCODINGS])
    for accepts in ACCEPTS:
        two.same(lambda p, a=accepts: unpacked(seen(h1(p, headers=[("accept-encoding", a)]))))
    same_compressor_stats(two)


def test_a_compressor_is_changed_by_route(start_two):
    def per_route(prefix, **fields):
        return {**config.route(prefix=prefix), "typed_per_filter_config": {"compressor": {
            "@type": config.TYPE + "extensions.filters.http.compressor.v3.CompressorPerRoute", **fields}}}
    off = {"enabled": {"default_value": False, "runtime_key": "off"}}
    two = start_two(PLAIN, compressor(response_direction_config={"common_config": off}), routes=[
        per_route("/off", disabled=True), per_route("/on", overrides={"response_direction_config": {}}),
        per_route("/strip", overrides={"response_direction_config": {"remove_accept_encoding_header": True}}),
        per_route("/br", overrides={"response_direction_config": {}, "compressor_library": {
            "name": "other", "typed_config": {"@type": config.TYPE + "extensions.compression.gzip.compressor.v3.Gzip",
                                              "compression_level": "BEST_SPEED"}}})])
    for target in ("/off", "/on", "/strip", "/br", "/"):
        two.same_upstream(two.origin, lambda p, t=target: unpacked(seen(h1(p, target=t, headers=[("accept-encoding", "gzip")]))))
    same_compressor_stats(two)


def test_messages_are_decompressed_as_envoy_does(start_two):
    two = start_two(PACKED_SCRIPT, decompressor())
    for case in PACKED_SCRIPT:
        two.same_upstream(two.origin, lambda p, c=case: seen(h1(p, headers=[("x-case", c)])))
        two.same(lambda p, c=case: seen(h2(p, headers=[("x-case", c)])))
    two.same_upstream(two.h2_origin, lambda p: seen(h2(p, path="/h2")))
    two.same_upstream(two.h2_origin, lambda p: seen(h2(p, path="/h2", headers=[("x-case", "trailers")])))
    for coding, accepts in ("gzip", "br;q=0.3, gzip;q=0.1"), ("gzip, x", "gzip"), ("identity", "x"):
        headers = [("content-encoding", coding), ("accept-encoding", accepts)]
        two.same_upstream(two.origin, lambda p, h=headers: seen(h1(p, "POST", headers=h, body=PACKED)))
        two.same_upstream(two.h2_origin, lambda p, h=headers: seen(h2(p, method="POST", path="/h2", headers=h, body=PACKED)))
        two.same_upstream(two.h2_origin, lambda p, h=headers: seen(
            h2(p, method="POST", path="/h2", headers=h, body=PACKED, trailers=[("x-t", "1")])))
    found = two.same_stats("decompressor")
    assert found["http.in.decompressor.lib_gzip.gzip.decompressor_library.zlib_data_error"] >= 3


@pytest.mark.parametrize("fields", [
    {"request_direction_config": {"advertise_accept_encoding": False}},
    {"request_direction_config": {"common_config": {"enabled": {"default_value": False, "runtime_key": "a"}}}},
    {"response_direction_config": {"common_config": {"enabled": {"default_value": False, "runtime_key": "a"}}}},
    {"response_direction_config": {"common_config": {"ignore_no_transform_header": True}}},
    {"params": {"max_inflate_ratio": 2, "chunk_size": 4096}},
], ids=["silent", "responses", "requests", "transform", "ratio"])
def test_directions_of_a_decompressor(start_two, fields):
    two = start_two(PACKED_SCRIPT, decompressor(**fields))
    for case in ("ok", "no_transform", "bomb"):
        two.same_upstream(two.origin, lambda p, c=case: seen(h1(p, headers=[("x-case", c), ("accept-encoding", "br;q=0.3, x")])))
    two.same_upstream(two.origin, lambda p: seen(h1(p, "POST", headers=[("content-encoding", "gzip")], body=PACKED)))
    two.same_stats("decompressor")


@pytest.mark.parametrize("lib", ["brotli", "zstd"])
def test_what_one_packs_the_other_unpacks(start_two, lib, started, start_proxy):
    """A decompressor before a compressor's proxy: both ways through, by each library; broken bodies are counted."""
    packing = start_two(PLAIN, compressor(lib))
    two = Two(start_proxy, config.bootstrap(
        [config.http_listener(http_filters=chain(decompressor(lib)))],
        [config.cluster("origin", packing.weft.address()[1])]))
    two.same(lambda p: seen(h1(p)))
    assert h1(two.weft).body == BIG
    packed = h1(packing.weft, headers=[("accept-encoding", ENCODINGS[lib])]).body
    origin = Origin({"cut": http1.response_bytes(200, [("Content-Encoding", ENCODINGS[lib])], packed[:-2]),
                     "junk": http1.response_bytes(200, [("Content-Encoding", ENCODINGS[lib])], b"\xff\xfe junk junk"),
                     "surplus": http1.response_bytes(200, [("Content-Encoding", ENCODINGS[lib])], packed + b"junk")})
    started.add(origin, origin.close)
    broken = Two(start_proxy, config.bootstrap([config.http_listener(http_filters=chain(decompressor(lib)))],
                                               [config.cluster("origin", origin.port)]))
    for case in ("cut", "junk", "surplus"):
        broken.same(lambda p, c=case: seen(h1(p, headers=[("x-case", c)])))
    # Envoy asks the library again at the end of a body that it has refused already, and counts twice.
    broken.same_stats("decompressor", but=["http.in.decompressor.lib_brotli.brotli.decompressor_library.brotli_error"])
    assert sum(v for n, v in broken.weft.stats("decompressor_library").items()) >= 1


def test_answers_of_the_proxy_are_compressed_too(start_two):
    long_text = {"inline_string": "text of our own " * 20}
    two = start_two(PLAIN, compressor(), routes=[
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": long_text}},
        {"match": {"prefix": "/short"}, "direct_response": {"status": 404, "body": {"inline_string": "no"}}}])
    for target in ("/direct", "/short"):
        for accepts in ("gzip", "br"):
            two.same(lambda p, t=target, a=accepts: unpacked(seen(h1(p, target=t, headers=[("accept-encoding", a)]))))
    same_compressor_stats(two)
    assert gzip.decompress(h1(two.weft, target="/direct", headers=[("accept-encoding", "gzip")]).body).startswith(b"text of our own")
