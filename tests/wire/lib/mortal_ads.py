# SPDX-License-Identifier: Apache-2.0
"""A management server that is killed and comes back: run as a program, it forks a server (lib/ads_server.py) on a port, lets it push,
kills it with SIGKILL at a random moment, and forks the next on the same port. The last one stays.

    mortal_ads.py FILLERS ORIGIN_PORT LIVES      prints its port, a line for each life, and "last"
"""
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import config  # noqa: E402
from lib.ads_server import AdsServer  # noqa: E402


def clusters(count, origin_port, turn):
    """`origin` changes with every push; many others make the push long."""
    made = {"origin": config.cluster("origin", origin_port, connect_timeout=f"{2 + turn % 7}s")}
    padding = {"filter_metadata": {"padding": {"text": "x" * 2000}}}
    for i in range(count):
        made[f"filler-{i}"] = config.cluster(f"filler-{i}", 1, metadata=padding)
    return made


def serve(port, count, origin_port, heard):
    """A life: pushes without end; `heard` (a pipe's end) is told when somebody is there."""
    server = AdsServer(port=port, held=["cds"])  # who comes early waits: an empty answer would take all clusters away
    turn = random.randrange(1000)
    server.set_resources("cds", clusters(count, origin_port, turn), version=f"{os.getpid()}-{turn}")
    server.release("cds")
    while not server.streams:
        time.sleep(0.001)
    os.write(heard, b"x")
    while True:
        turn += 1
        server.set_resources("cds", clusters(count, origin_port, turn), version=f"{os.getpid()}-{turn}")
        time.sleep(0.01)


def live(port, count, origin_port):
    """Forks a server; its process id and the pipe that tells when somebody connected."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        serve(port, count, origin_port, writer)
        os._exit(0)
    os.close(writer)
    return pid, reader


def main(count, origin_port, lives):
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        port = finder.getsockname()[1]
    print(port, flush=True)
    for i in range(lives):
        pid, reader = live(port, count, origin_port)
        told = os.read(reader, 1)
        os.close(reader)
        if told and i < lives - 1:
            time.sleep(random.random() * 0.05)
            os.kill(pid, signal.SIGKILL)
        if i == lives - 1:
            print("last", flush=True)
        os.waitpid(pid, 0)
        print("life", i, flush=True)


class MortalAds:
    """The program, from a test."""

    def __init__(self, fillers, origin_port, lives):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), str(fillers), str(origin_port), str(lives)],
                                        stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.port = int(self.process.stdout.readline())
        self.lines = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    @property
    def is_last(self):
        assert self.process.poll() is None or "last" in self.lines, "the server's program ended early"
        return "last" in self.lines

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
