# SPDX-License-Identifier: Apache-2.0
"""The machine under the benchmark: CPUs, ports, processes, and what /proc says of them."""
import contextlib
import os
import resource
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
PROXY_CPU, LOAD_CPU = 0, 1


class Failure(Exception):
    """A measurement that can't be had; the text says why."""


def prepare():
    """Pins this process (and so backend and load) beside the proxy; lifts the descriptor limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if os.cpu_count() < 2:
        raise Failure("two CPUs are needed: one for the proxy, one for backend and load")
    os.sched_setaffinity(0, {LOAD_CPU})
    return hard


def describe():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), "unknown CPU")
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": os.uname().release}


@contextlib.contextmanager
def _on_cpu(cpu):
    """A child inherits its starter's CPU: no wrapper program that would count as start-up time."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Ports:
    """Ports that the kernel gave out on loopback; none is given twice in a run."""

    def __init__(self):
        self.given = set()

    def new(self):
        while True:
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            if port not in self.given:
                self.given.add(port)
                return port


class Process:
    """A program in a session of its own, with its log in a file."""

    def __init__(self, command, cpu, log):
        self.log = log
        with open(log, "wb") as out, _on_cpu(cpu):
            self.started = time.monotonic()
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=out, start_new_session=True)

    def tail(self):
        with open(self.log, errors="replace") as f:
            return f.read()[-800:].strip()

    def check(self):
        if self.child.poll() is not None:
            raise Failure(f"exited with {self.child.returncode}: {self.tail()}")

    def wait_port(self, port, limit_s=60.0):
        """Milliseconds from before exec until a connection is accepted."""
        while time.monotonic() - self.started < limit_s:
            self.check()
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return (time.monotonic() - self.started) * 1e3
            time.sleep(0.0002)
        raise Failure(f"port {port} did not open in {limit_s:.0f} s: {self.tail()}")

    def stop(self):
        for number, patience_s in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(patience_s)
                return

    def pids(self):
        todo, found = [self.child.pid], []
        while todo:
            pid = todo.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as f:
                        todo += map(int, f.read().split())
        return found

    def cpu_s(self):
        """User and system time of the process and its children."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def pss_kib(self):
        """Memory with shared pages divided among their users; a proxy in two processes counts once."""
        kib = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    kib += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        return kib


def settled_pss_kib(process, limit_s=10.0):
    """PSS once it has stopped moving: two readings, half a second apart, within 1 %."""
    end = time.monotonic() + limit_s
    before = process.pss_kib()
    while True:
        time.sleep(0.5)
        now = process.pss_kib()
        if abs(now - before) <= before / 100 or time.monotonic() > end:
            return now
        before = now
