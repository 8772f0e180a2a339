# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of diverted/ in a network namespace of their own, where connections can be diverted."""
import os
import subprocess
import sys

import pytest

DIVERTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "diverted")


def can_divert():
    rules = "add table ip t; add chain ip t o { type nat hook output priority -100; }; add rule ip t o tcp dport 1 redirect to :2"
    try:
        done = subprocess.run(["unshare", "-rn", "nft", rules], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def run_inside(file, tmp_path, **env):
    """The tests of a file of diverted/, in a namespace of their own."""
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
         f"--basetemp={tmp_path}/inside", os.path.join(DIVERTED, file)],
        capture_output=True, text=True, check=False, env={**os.environ, **env})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout, done.stdout[-2000:]


@pytest.mark.skipif(not can_divert(), reason="no nftables in a network namespace of our own here")
@pytest.mark.parametrize("topic", ["original_dst", "original_src", "hand_over"])
def test_diverted_connections__in_a_namespace__pass(topic, tmp_path):
    run_inside(topic + ".py", tmp_path)
