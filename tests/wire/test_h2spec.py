# SPDX-License-Identifier: Apache-2.0
"""h2spec (Go module github.com/summerwind/h2spec) against a listener, cleartext and over TLS with ALPN.

Each of its cases becomes visible by name where it fails; a case it can't judge is not a pass.
"""
import re
import subprocess
import xml.etree.ElementTree as ET

import pytest

from lib import config
from lib.golang import go_program
from lib.proxy import is_envoy
from lib.wait import PATIENCE_S

# What Envoy itself fails (it is under test only to check this file): nghttp2's or its own choices.
ENVOY_FAILS_SOME = is_envoy()


@pytest.fixture(scope="module")
def h2spec():
    return go_program("github.com/summerwind/h2spec/cmd/h2spec")


def failures(report):
    found, count = [], 0
    # The report quotes bytes of frames that XML has no room for.
    text = re.sub(rb"[^\t\n\r\x20-\x7e]|&#x?[0-9a-fA-F]*;", b"?", report.read_bytes())
    for case in ET.fromstring(text).iter("testcase"):
        count += 1
        if case.find("failure") is not None or case.find("error") is not None:
            found.append(f"{case.get('package')}: {case.get('classname')}")
    assert count > 140, f"h2spec ran {count} cases only"
    return found


@pytest.mark.parametrize("kind", ["cleartext", "tls"])
def test_h2spec__passes_whole(h2spec, start_proxy, make_origin, ca, tmp_path, kind):
    origin = make_origin()
    tls = None
    if kind == "tls":
        tls = config.server_tls(ca.issue("spec", ["DNS:localhost", "IP:127.0.0.1"]), alpn=["h2", "http/1.1"])
    proxy = start_proxy(config.bootstrap(
        [config.http_listener(tls=tls, codec_type="AUTO" if tls else "HTTP2")],
        [config.cluster("origin", origin.port)]))
    report = tmp_path / "h2spec.xml"
    command = [h2spec, "-h", "127.0.0.1", "-p", str(proxy.ports["http"]), "-o", "2", "-j", str(report)]
    done = subprocess.run(command + (["-t", "-k"] if tls else []), capture_output=True, text=True,
                          timeout=PATIENCE_S * 10, check=False)
    assert report.exists(), done.stdout[-3000:] + done.stderr[-2000:]
    failed = failures(report)
    if ENVOY_FAILS_SOME:
        return
    assert failed == [], "\n".join(failed)
    assert proxy.admin("/ready").status == 200
