# SPDX-License-Identifier: Apache-2.0
"""demo/run: the tour, and that it leaves nothing behind however it ends."""
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from lib.ca import CA
from lib.netns import can_make
from lib.wait import wait_until

pytestmark = pytest.mark.weft_only

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.path.join(os.environ.get("WEFT_BUILD_DIR", ""), "src", "cmd")
NAMESPACES = pytest.param("namespaces", marks=pytest.mark.skipif(not can_make(), reason="making network namespaces needs root"))
GROUNDS = [NAMESPACES, "loopback"]

# Ready at once, and it has nothing to say: the demo stands still with all services and sidecars up.
SILENT_WEFTD = """#!{python}
import http.server, os, shutil, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
shutil.copy({root!r}, given["--root-cert-file"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ready")
host, port = given["--http-addr"].split(":")
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""


class Demo:
    """demo/run with the programs of a folder."""

    def __init__(self, folder, **env):
        # Its files are under /tmp, where other users can follow.
        self.process = subprocess.Popen([sys.executable, os.path.join(ROOT, "demo", "run")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, start_new_session=True,
                                        env={**os.environ, "DEMO_BUILD": str(folder), "DEMO_PORT": "0", "DEMO_MESH": "1", "TMPDIR": "/tmp", **env})
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def text(self):
        return "".join(self.lines)

    def wait_for(self, words):
        wait_until(lambda: words in self.text() or self.process.poll() is not None, words, 60)
        assert words in self.text(), self.text()

    def wait(self, timeout_s=60):
        code = self.process.wait(timeout_s)
        self.reader.join()
        return code

    @property
    def directory(self):
        return re.search(r"files and logs: (\S+)", self.text()).group(1)

    def marks(self):
        """What there is on this machine of it: namespaces, devices, names' files, processes, its folder."""
        pid, found = self.process.pid, []
        found += [name for name in os.listdir("/run/netns") if f"weft-demo-{pid}-" in name] if os.path.isdir("/run/netns") else []
        found += [name for name in os.listdir("/etc/netns") if f"weft-demo-{pid}-" in name] if os.path.isdir("/etc/netns") else []
        found += [name for name in os.listdir("/sys/class/net") if name == f"weft-{pid}"]
        found += [entry for entry in os.listdir("/proc") if entry.isdigit() and self.directory in command_line(entry)]
        return found + [self.directory] * os.path.exists(self.directory)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.wait()


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def folder(tmp_path):
    """Of programs: those under test, and a weftd that has nothing to say."""
    made = tmp_path / "build"
    made.mkdir()
    for name in ("weft", "weft-proxy"):
        (made / name).symlink_to(os.path.join(PROGRAMS, name))
    weftd = made / "weftd"
    weftd.write_text(SILENT_WEFTD.format(python=sys.executable, root=CA(tmp_path / "ca").cert))
    weftd.chmod(0o755)
    return made


@pytest.fixture
def start(started):
    def begin(folder, **env):
        demo = Demo(folder, **env)
        return started.add(demo, demo.kill)
    return begin


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_demo__told_to_end_while_it_starts__leaves_nothing(start, folder, ground, sign):
    demo = start(folder, DEMO_GROUND=ground)
    demo.wait_for("started: 7 services")
    wait_until(lambda: any("weft-proxy" in command_line(pid) for pid in demo.marks() if pid.isdigit()), "sidecars")
    demo.process.send_signal(sign)
    demo.process.send_signal(sign)  # impatience changes nothing
    assert demo.wait() == 0, demo.text()
    assert not demo.marks()


@pytest.mark.parametrize("ground", [NAMESPACES])
def test_demo__killed__the_programs_end_and_the_next_one_sweeps(start, folder, ground):
    first = start(folder, DEMO_GROUND=ground)
    first.wait_for("started: 7 services")
    first.process.kill()
    first.wait()
    wait_until(lambda: not any(mark.isdigit() for mark in first.marks()), "the programs to end")
    second = start(folder, DEMO_GROUND=ground)
    second.wait_for("started: 7 services")
    assert first.marks() == [first.directory]  # its logs may be wanted
    second.kill()
    assert not second.marks()
    shutil.rmtree(first.directory)


@pytest.mark.parametrize("ground", GROUNDS)
def test_demo__a_program_that_falls__is_named_and_all_ends(start, folder, ground):
    (folder / "weftd").write_text("#!/bin/sh\necho no such thing >&2; exit 3\n")
    demo = start(folder, DEMO_GROUND=ground)
    assert demo.wait() == 1
    assert "weftd ended with status 3" in demo.text() and "no such thing" in demo.text()
    assert demo.marks() == [demo.directory]
    shutil.rmtree(demo.directory)


def test_demo__without_weftd__shows_the_proxies(start, folder):
    (folder / "weftd").unlink()
    demo = start(folder, WEFT_PROXY=os.path.join(PROGRAMS, "weft-proxy"))
    assert demo.wait() == 0, demo.text()
    assert "demo: all as it should be." in demo.text()


def has_all():
    try:
        known = subprocess.run([os.path.join(PROGRAMS, "weft"), "--help"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return False
    return "explain" in known and "proxy-status" in known  # as demo/run


@pytest.mark.slow
@pytest.mark.skipif(not has_all(), reason="weftd and weft can't do all of the tour yet")
@pytest.mark.parametrize("ground", GROUNDS)
def test_demo__the_tour__is_as_it_should_be(start, ground):
    demo = start(PROGRAMS, DEMO_GROUND=ground, DEMO_ONESHOT="1")
    assert demo.wait(100) == 0, demo.text()
    assert not demo.marks()
