# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the wire tests. The program under test is WEFT_PROXY; see lib/__init__.py for the words.

A test that starts something through a fixture need not stop it: teardown does, and fails the test when
the proxy did not exit cleanly or a sanitizer had something to say.
"""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lib import proxy as proxies  # noqa: E402
from lib.ca import CA  # noqa: E402
from lib.http2 import H2Origin  # noqa: E402
from lib.origin import Origin  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: left out by `make test-quick`")
    config.addinivalue_line("markers", "weft_only: has no counterpart in Envoy")
    config.addinivalue_line("markers", "kube: on a real kube-apiserver, by `make test-kube`")
    config.addinivalue_line("markers", "threads: also run under ThreadSanitizer")


def pytest_collection_modifyitems(items):
    """Only weft-proxy has these; Envoy in its place is a way to check the tests themselves."""
    if not proxies.is_envoy():
        return
    for item in items:
        if "weft_only" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="weft-proxy only; Envoy is under test"))


class Started:
    """Starts things and ends them in reverse order, all of them even when one fails."""

    def __init__(self):
        self.stops = []

    def add(self, thing, stop):
        self.stops.append(stop)
        return thing

    def stop_all(self):
        """Whatever one stop does: a proxy that is left over takes its share of the connections of the next on a fixed port."""
        failures = []
        for stop in reversed(self.stops):
            try:
                stop()
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
        if failures:
            raise failures[0]


@pytest.fixture
def started():
    keeper = Started()
    yield keeper
    keeper.stop_all()


@pytest.fixture
def start_proxy(started, tmp_path):
    """start_proxy(bootstrap, **options) -> Proxy, ready to serve."""
    count = 0

    def start(bootstrap, **options):
        nonlocal count
        count += 1
        made = proxies.Proxy(bootstrap, tmp_path / f"proxy{count}", **options)
        return started.add(made, made.stop)
    return start


@pytest.fixture
def make_origin(started):
    def make(*args, **kwargs):
        made = Origin(*args, **kwargs)
        return started.add(made, made.close)
    return make


@pytest.fixture
def origin(make_origin):
    return make_origin()


@pytest.fixture
def make_h2_origin(started):
    def make(*args, **kwargs):
        made = H2Origin(*args, **kwargs)
        return started.add(made, made.close)
    return make


@pytest.fixture
def ca(tmp_path):
    return CA(tmp_path / "ca")
