# SPDX-License-Identifier: Apache-2.0
"""A connected socket with a buffer. Reads end by marker, length or end of file; all have a limit in time."""
import contextlib
import socket
import ssl
import struct

from lib.wait import PATIENCE_S


class Closed(Exception):
    """The peer ended the connection before what was asked for had come."""


class Stream:
    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE_S)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data)

    def send_bytewise(self, data):
        """One segment a byte, as far as the kernel lets us decide."""
        for i in range(len(data)):
            self.sock.sendall(data[i:i + 1])

    def fill(self):
        """Reads once; False at the end of the stream (orderly or not)."""
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return False
        self.buffer += data
        return bool(data)

    def read_until(self, marker):
        while marker not in self.buffer:
            if not self.fill():
                raise Closed(f"ended before {marker!r}; had {self.buffer[-200:]!r}")
        taken, self.buffer = self.buffer.split(marker, 1)
        return taken + marker

    def read_exact(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise Closed(f"ended after {len(self.buffer)} of {count} bytes")
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read_to_end(self):
        while self.fill():
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def is_ended(self):
        """Waits for the peer's end; False when bytes come instead."""
        return not self.buffer and not self.fill()

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Ends with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def connect(address, tls=None, server_name=None, session=None):
    """A Stream to (host, port) or to a Unix socket's path; `tls` is an ssl.SSLContext."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_S)
        sock.connect(address)
    else:
        sock = socket.create_connection(address, timeout=PATIENCE_S)
    if tls is not None:
        try:
            sock = tls.wrap_socket(sock, server_hostname=server_name, session=session)
        except BaseException:
            sock.close()
            raise
    return Stream(sock)


_held = []


def unused_port():
    """A port of this host at which nothing listens and nothing will: it stays bound, without listening, to the end."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    _held.append(sock)
    port = sock.getsockname()[1]
    with contextlib.suppress(OSError):
        six = socket.socket(socket.AF_INET6)
        _held.append(six)
        six.bind(("::1", port))
    return port