# SPDX-License-Identifier: Apache-2.0
"""The source address of probes in an IPv6 pod.

Run by ../test_sidecar_status.py in a network namespace of its own, where ::6 is an address of the loopback interface, as
injection's init container makes it.
"""
import json
import subprocess

import pytest

from lib.pod import Application, Pod


@pytest.fixture
def mesh(started, tmp_path):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return Pod(started, tmp_path)


@pytest.fixture
def application(started, mesh):
    server = Application("::1")
    return started.add(server, server.close)


def start(mesh, application):
    """The control plane isn't asked: no names to look up."""
    probes = json.dumps({"/app-health/a/livez": {"httpGet": {"path": "/live", "port": application.port}, "timeoutSeconds": 5}})
    mesh.start(INSTANCE_IP="::1", ISTIO_KUBE_APP_PROBERS=probes, CA_ADDR="127.0.0.1:1", proxy_config={"discoveryAddress": "127.0.0.1:1"})


def test_ipv6_pod__its_source_is_there__probes_come_from_it(mesh, application):
    subprocess.run(["ip", "-6", "address", "replace", "::6/128", "dev", "lo"], check=True)
    start(mesh, application)
    assert mesh.ask("/app-health/a/livez").status == 200
    assert [source for _, _, source in application.seen] == ["::6"]


def test_ipv6_pod__its_source_is_not_there__probes_come_without(mesh, application):
    subprocess.run(["ip", "-6", "address", "del", "::6/128", "dev", "lo"], check=False, capture_output=True)
    start(mesh, application)
    assert mesh.ask("/app-health/a/livez").status == 200
    assert [source for _, _, source in application.seen] == ["::1"]
