# SPDX-License-Identifier: Apache-2.0
"""What a real istiod answered drives a weft-proxy: the tests of diverted/istiod_*.py, in a network namespace of their own."""
import os
import subprocess
import sys

import pytest

from lib import istiod
from test_original_dst import DIVERTED, can_divert


@pytest.mark.weft_only
@pytest.mark.skipif(istiod.folder() is None, reason="no recorded answers here: WEFT_ISTIOD_FIXTURES names no folder, none beside the checkout")
@pytest.mark.skipif(not can_divert(), reason="no nftables in a network namespace of our own here")
@pytest.mark.parametrize("topic", ["replay", "requests"])
def test_istiod_answers__in_a_namespace__serve_as_their_input_says(topic, tmp_path):
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
         f"--basetemp={tmp_path}/inside", os.path.join(DIVERTED, f"istiod_{topic}.py")],
        capture_output=True, text=True, check=False, env={**os.environ, "WEFT_ISTIOD_FIXTURES": istiod.folder()})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout, done.stdout[-2000:]
