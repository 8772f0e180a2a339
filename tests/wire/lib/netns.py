# SPDX-License-Identifier: Apache-2.0
"""Network namespaces with a cable between them, and sockets made in them by whichever user. Needs root.

A socket belongs to the namespace and to the user that it was made in, whoever uses it later: so a short-lived thread goes into the
namespace, makes it, and ends.
"""
import ctypes
import itertools
import os
import platform
import socket
import subprocess
import threading

CLONE_NEWNET = 0x40000000
SETFSUID, SETFSGID = {"x86_64": (122, 123), "aarch64": (151, 152)}.get(platform.machine(), (None, None))
LIBC = ctypes.CDLL(None, use_errno=True)
count = itertools.count()


def can_make():
    if os.geteuid() != 0 or SETFSUID is None:
        return False
    try:
        probe = Netns("probe")
    except (OSError, subprocess.CalledProcessError):
        return False
    probe.close()
    return True


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


class Netns:
    def __init__(self, name):
        self.name = f"weft-{os.getpid()}-{next(count)}-{name}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def close(self):
        run("ip", "netns", "del", self.name)

    def ip(self, *arguments):
        return run("ip", "-n", self.name, *arguments)

    def exec(self, *command, **options):
        return run("ip", "netns", "exec", self.name, *command, **options)

    def call(self, make, uid=0, gid=0):
        """make() as a thread of that user's in this namespace; what it returns or raises."""
        result = {}

        def inside():
            try:
                with open(f"/run/netns/{self.name}", "rb") as ns:
                    if LIBC.setns(ns.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                LIBC.syscall(SETFSGID, gid)  # of this thread alone, unlike the C library's functions
                LIBC.syscall(SETFSUID, uid)
                result["value"] = make()
            except Exception as fault:  # pylint: disable=broad-except
                result["fault"] = fault

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if "fault" in result:
            raise result["fault"]
        return result["value"]


def cable(one, other, net4="10.77.1", net6="fd77:0:0:1"):
    """eth0 in both: .1 and ::1 in the first, .2 and ::2 in the other; each is the other's default route."""
    run("ip", "link", "add", "eth0", "netns", one.name, "type", "veth", "peer", "name", "eth0", "netns", other.name)
    for host, (ns, peer) in enumerate([(one, 2), (other, 1)], 1):
        ns.ip("addr", "add", f"{net4}.{host}/24", "dev", "eth0")
        ns.ip("-6", "addr", "add", f"{net6}::{host}/64", "dev", "eth0", "nodad")
        ns.ip("link", "set", "eth0", "up")
    for ns, peer in ((one, 2), (other, 1)):
        ns.ip("route", "add", "default", "via", f"{net4}.{peer}")
        ns.ip("-6", "route", "add", "default", "via", f"{net6}::{peer}")


def original_dst(sock):
    """Where a redirected connection was going to."""
    if sock.family == socket.AF_INET6:
        raw = sock.getsockopt(socket.IPPROTO_IPV6, 80, 28)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), int.from_bytes(raw[2:4], "big")
    raw = sock.getsockopt(socket.IPPROTO_IP, 80, 16)
    return socket.inet_ntop(socket.AF_INET, raw[4:8]), int.from_bytes(raw[2:4], "big")
