# SPDX-License-Identifier: Apache-2.0
"""Signals and admin orders that change the process's life: logs reopened, listeners drained, crashes told."""
import ctypes
import os
import signal

import pytest

from lib import config, http1
from lib.http1 import read_response, request_bytes
from lib.http2 import H2Client
from lib.proxy import log_lines
from lib.streams import connect
from lib.wait import SLOWNESS, wait_until

OK = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]


def answering(**fields):
    return config.bootstrap([config.http_listener(routes=OK, **fields)])


def test_sigusr1__moved_access_log_written_anew(start_proxy, tmp_path):
    log, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    proxy = start_proxy(answering(access_log=[config.file_log(log, text_format="%REQ(:PATH)%\n")]))
    with connect(proxy.address()) as stream:
        stream.send(request_bytes(target="/before"))
        assert read_response(stream).status == 200
        assert log_lines(log, 1) == ["/before"]
        os.rename(log, moved)
        stream.send(request_bytes(target="/between"))
        assert read_response(stream).status == 200
        assert log_lines(moved, 2) == ["/before", "/between"]
        proxy.signal(signal.SIGUSR1)
        wait_until(log.exists, "the log to be opened again")
        stream.send(request_bytes(target="/after"))
        assert read_response(stream).status == 200
        assert log_lines(log, 1) == ["/after"]
    assert moved.read_text() == "/before\n/between\n"


@pytest.mark.weft_only
def test_sigusr1__folder_gone__old_log_written_on(start_proxy, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "access.log"
    proxy = start_proxy(answering(access_log=[config.file_log(log, text_format="%REQ(:PATH)%\n")]))
    os.rename(folder, tmp_path / "old")
    proxy.signal(signal.SIGUSR1)
    wait_until(lambda: str(log) in proxy.stderr(), "the fault in the log")
    assert http1.fetch(proxy.address(), target="/still").status == 200
    assert log_lines(tmp_path / "old" / "access.log", 1) == ["/still"]


@pytest.mark.weft_only
def test_sigusr1__own_log_reopened(start_proxy, tmp_path):
    log, moved = tmp_path / "weft.log", tmp_path / "weft.log.1"
    proxy = start_proxy(answering(), args=["--log-path", str(log), "-l", "info"])
    assert log.exists()
    os.rename(log, moved)
    proxy.signal(signal.SIGUSR1)
    wait_until(log.exists, "the log to be opened again")


@pytest.mark.weft_only
def test_sigterm__unix_socket_removed_and_exit_in_time(start_proxy, tmp_path):
    path = str(tmp_path / "sock")
    proxy = start_proxy(answering(listener_fields={"address": {"pipe": {"path": path}}}))
    assert http1.fetch(path).body == b"ok"
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_exit(5 * SLOWNESS) == 0


def test_drain_listeners__running_connections_told(start_proxy):
    proxy = start_proxy(answering(), drain_time_s=1)
    with connect(proxy.address()) as one, H2Client(proxy.address()) as two:
        one.send(request_bytes())
        assert read_response(one).get("connection") is None
        assert two.request().status == 200
        assert proxy.admin("/drain_listeners?graceful", "POST").status == 200

        def is_told():
            one.send(request_bytes())
            return read_response(one).get("connection") == "close"
        wait_until(is_told, "connection: close")
        while two.goaway is None and two.is_open:
            two.request()
        assert two.goaway is not None and two.goaway.error_code == 0
    assert proxy.admin("/ready").status == 200


SYS_TGKILL = {"x86_64": 234, "aarch64": 131}.get(os.uname().machine)


def worker_thread(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as name:
            if name.read().startswith("worker"):
                return int(task)
    raise AssertionError("no worker thread")


def is_asleep(pid, task):
    with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as line:
        return line.read().rpartition(")")[2].split()[0] == "S"


@pytest.mark.weft_only
@pytest.mark.skipif(SLOWNESS > 1, reason="the sanitizers' own handlers stand in the place of ours")
@pytest.mark.skipif(not SYS_TGKILL, reason="tgkill's number isn't known here")
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE])
def test_crash__worker_and_backtrace_told(start_proxy, started, number):
    proxy = start_proxy(answering())
    started.stops.remove(proxy.stop)
    assert http1.fetch(proxy.address()).status == 200
    proxy.wait_stat("http.in.downstream_cx_active", 0)
    worker = worker_thread(proxy.pid)
    wait_until(lambda: is_asleep(proxy.pid, worker), "the worker to wait for events")
    ctypes.CDLL(None).syscall(SYS_TGKILL, proxy.pid, worker, int(number))
    assert proxy.wait_exit() == -number
    text = proxy.stderr()
    # Between two events no connection is to blame.
    assert f"crash: {number.name}" in text and "in worker_0, connection 0, stream 0" in text
    assert len(text.split("backtrace:\n")[1].splitlines()) >= 3
