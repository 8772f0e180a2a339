# SPDX-License-Identifier: Apache-2.0
"""Stars. FAULT_FILE makes this instance fail or be slow: see common.Fault."""
from common import NAME, VERSION, caller, serve

STARS = {"Reviewer1": 5, "Reviewer2": 4}


def ratings(headers):
    return {"service": NAME, "version": VERSION, "caller": caller(headers), "stars": STARS}


serve({"/ratings": ratings})
