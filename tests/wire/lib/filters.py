# SPDX-License-Identifier: Apache-2.0
"""HTTP filters under Envoy and under weft-proxy: one bootstrap with a listener for each chain, the same requests
to both, and what the client, the origin and the statistics show compared.
"""
import re
from dataclasses import dataclass, field

from lib import config, http1
from lib.differential import Pair, mask_headers
from lib.streams import connect

ROUTE_KEY = "typed_per_filter_config"


def http_filter(name, type_name=None, **fields):
    """A filter of the chain: http_filter("cors"), http_filter("fault", "HTTPFault", abort={...})."""
    camel = type_name or "".join(part.capitalize() for part in name.split("_"))
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed(name, camel, **fields)}


def typed(name, type_name, **fields):
    return {"@type": f"{config.TYPE}extensions.filters.http.{name}.v3.{type_name}", **fields}


def per_route(name, type_name, **fields):
    return {ROUTE_KEY: {f"envoy.filters.http.{name}": typed(name, type_name, **fields)}}


def chain_listener(name, *filters, routes=None, **hcm_fields):
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER}}
    return config.http_listener(name, stat_prefix=name, routes=routes, http_filters=[*filters, router], **hcm_fields)


@dataclass
class Ask:
    """One request. `seen`: names of request headers that the origin's view is compared in."""
    listener: str
    method: str = "GET"
    target: str = "/"
    headers: list = field(default_factory=list)
    body: bytes = b""
    host: str = "test.local"


class FilterPair:
    """Both proxies in front of one origin."""

    def __init__(self, make_bootstrap, origin, directory):
        self.origin = origin
        self.pair = Pair(make_bootstrap, directory)

    @property
    def proxies(self):
        return [side.proxy for side in self.pair.sides]

    def one(self, side, ask):
        before = len(self.origin.requests)
        with connect(side.proxy.address(ask.listener)) as stream:
            stream.send(http1.request_bytes(ask.method, ask.target, ask.headers, ask.body, ask.host))
            answer = http1.read_response(stream, ask.method)
        upstream = [(r.method, r.target, mask_headers(r.headers), r.body) for r in self.origin.requests[before:]]
        # An answer before the request's end: weft reads the rest and keeps the connection (docs/differences.md).
        headers = [(n, v) for n, v in mask_headers(answer.headers) if n != "connection"]
        return {"status": answer.status, "headers": headers, "body": answer.body,
                "trailers": mask_headers(answer.trailers), "upstream": upstream}

    def ask(self, ask):
        return [self.one(side, ask) for side in self.pair.sides]

    def logs(self, count):
        return [side.lines()[:count] for side in self.pair.sides]

    def statistics(self, pattern):
        keep = re.compile(pattern)
        return [{k: v for k, v in proxy.stats().items() if keep.search(k)} for proxy in self.proxies]

    def assert_same(self, ask):
        """What both showed, once it is the same."""
        envoy, weft = self.ask(ask)
        for key in envoy:
            assert weft[key] == envoy[key], f"{ask}\n{key}\n  envoy: {envoy[key]}\n  weft:  {weft[key]}"
        return weft

    def stop(self):
        self.pair.stop()
