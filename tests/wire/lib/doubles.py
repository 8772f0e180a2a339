# SPDX-License-Identifier: Apache-2.0
"""Test programs of doubles/, built when they are first needed.

    world = PushWorld(STREAMS=2)
    world.put("cds", "-", "origin", message)     # everybody's; or a node id in place of "-"
    world.load()
    world.changed("full")                        # the proxies connected are told
    world.wait_line("nack cds n")
"""
import base64
import fcntl
import os
import subprocess
import threading

from lib.wait import wait_until

BUILD = os.environ.get("WEFT_BUILD_DIR", "")


def build(program):
    """The path of a program of doubles/, of the build under test."""
    target = f"tests/wire/doubles/{program}"
    with open(os.path.join(BUILD, ".doubles.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["ninja", "-j2", "-C", BUILD, target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return os.path.join(BUILD, target)


class PushWorld:
    """doubles/push_world.c: a gRPC server and a push with what a test puts into it."""

    def __init__(self, **settings):
        self.process = subprocess.Popen(
            [build("push_world")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **{name: str(value) for name, value in settings.items()}})
        self.lines, self.errors = [], []
        self.writing = threading.Lock()
        self.readers = [threading.Thread(target=self._read, args=(self.process.stdout, self.lines), daemon=True),
                        threading.Thread(target=self._read, args=(self.process.stderr, self.errors), daemon=True)]
        for reader in self.readers:
            reader.start()
        self.port = int(self.wait_line("port ").split()[1])
        self.target = f"127.0.0.1:{self.port}"

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def tell(self, line):
        with self.writing:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def put(self, kind, node, name, message):
        packed = message if isinstance(message, bytes) else message.SerializeToString(deterministic=True)
        self.tell(f"put {kind} {node} {name} {base64.b64encode(packed).decode()}")

    def drop(self, kind, node, name):
        self.tell(f"drop {kind} {node} {name}")

    def load(self):
        """What was put is there from now on, for who connects then; nobody is told."""
        self.ask("load", "loaded")

    def changed(self, what="full"):
        self.tell(f"changed {what}")

    def count(self, start):
        return sum(line.startswith(start) for line in self.lines)

    def wait_line(self, start, count=1):
        """The `count`-th line that starts so, once it is there."""
        wait_until(lambda: self.count(start) >= count, f"{count} lines '{start}...' of {self.lines[-5:]} {self.errors[-5:]}")
        return [line for line in self.lines if line.startswith(start)][count - 1]

    def ask(self, question, start):
        """What it answers to a question; `start`: how the answer's first line begins."""
        before = self.count(start)
        self.tell(question)
        return self.wait_line(start, before + 1)

    def stop(self):
        if self.process.poll() is None:
            self.tell("quit")
        code = self.process.wait(20)
        for reader in self.readers:
            reader.join(5)
        assert code == 0, f"push_world ended with {code}: {self.errors[-30:]}"
