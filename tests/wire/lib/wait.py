# SPDX-License-Identifier: Apache-2.0
"""Waiting on conditions. Sanitizer builds get more time, never another meaning."""
import os
import time

SLOWNESS = {"asan": 3.0, "tsan": 5.0}.get(os.environ.get("WEFT_BUILD", ""), 1.0)
PATIENCE_S = 10 * SLOWNESS


def wait_until(condition, what="the condition", timeout_s=None):
    """Calls `condition` until it returns something true, and returns that."""
    timeout_s = timeout_s or PATIENCE_S
    deadline = time.monotonic() + timeout_s
    pause = 0.002
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s for {what}; last: {result!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
