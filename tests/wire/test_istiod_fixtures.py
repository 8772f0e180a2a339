# SPDX-License-Identifier: Apache-2.0
"""What a real istiod answered drives a weft-proxy: the tests of diverted/istiod_*.py, in a network namespace of their own."""
import pytest

from lib import istiod
from test_original_dst import can_divert, run_inside


@pytest.mark.weft_only
@pytest.mark.skipif(istiod.folder() is None, reason="no recorded answers here: WEFT_ISTIOD_FIXTURES names no folder, none beside the checkout")
@pytest.mark.skipif(not can_divert(), reason="no nftables in a network namespace of our own here")
@pytest.mark.parametrize("topic", ["replay", "requests"])
def test_istiod_answers__in_a_namespace__serve_as_their_input_says(topic, tmp_path):
    run_inside(f"istiod_{topic}.py", tmp_path, WEFT_ISTIOD_FIXTURES=istiod.folder())
