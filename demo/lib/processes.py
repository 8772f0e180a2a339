# SPDX-License-Identifier: Apache-2.0
"""Programs that the demo runs, each with a log of its own. They end with the demo, however it ends."""
import os
import signal
import subprocess
import time

PATIENCE_S = 10


class Failed(Exception):
    """Something that the demo needs didn't come about; the text is for a person."""


def wait_until(condition, what, timeout_s=30):
    """What `condition` returns, once that is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failed(f"waited {timeout_s} s for {what}")
        time.sleep(0.02)


def run(*command, check=True, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip() or done.returncode}")
    return done


class Processes:
    def __init__(self, directory):
        self.directory, self.running = directory, {}

    def log(self, name):
        return os.path.join(self.directory, name + ".log")

    def start(self, name, command, env=None, cwd=None):
        with open(self.log(name), "ab") as log:
            # Not in the terminal's process group: Ctrl-C is the demo's, which ends the others in their order.
            self.running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True)

    def fallen(self):
        """Names of those that ended by themselves."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def check(self):
        for name in self.fallen():
            with open(self.log(name), encoding="utf-8", errors="replace") as log:
                raise Failed(f"{name} ended with status {self.running[name].returncode}:\n" + log.read()[-2000:])

    def stop(self, name):
        self.stop_all([name])

    def stop_all(self, names=None):
        """The last started first; all are asked before any is waited for."""
        processes = [self.running.pop(name) for name in reversed(names or list(self.running))]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_S
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
