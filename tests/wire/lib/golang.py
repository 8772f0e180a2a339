# SPDX-License-Identifier: Apache-2.0
"""Peers built from Go modules, once a checkout, into build/test/bin; versions are pinned in tests/wire/go."""
import fcntl
import os
import shutil
import subprocess

import pytest

from lib.proxy import ROOT

MODULE = os.path.join(ROOT, "tests", "wire", "go")
BIN = os.path.join(ROOT, "build", "test", "bin")


def _build(package, path):
    env = {**os.environ, "GOBIN": BIN, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    done = subprocess.run(["go", "install", package], cwd=MODULE, env=env, capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"go can't build {package}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    if not os.path.exists(path):
        raise AssertionError(f"go install {package} left no {path}")


def go_program(package):
    """The path of the program; skips, saying why, without Go or without its modules."""
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    os.makedirs(BIN, exist_ok=True)
    path = os.path.join(BIN, package.rstrip("/").rpartition("/")[2])
    newest = max(os.path.getmtime(os.path.join(folder, name))
                 for folder, _, names in os.walk(MODULE) for name in names)
    with open(os.path.join(BIN, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path) or os.path.getmtime(path) < newest:
            _build(package, path)
            os.utime(path)
    return path
