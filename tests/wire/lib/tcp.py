# SPDX-License-Identifier: Apache-2.0
"""A raw TCP server on the far side of a TCP proxy: each connection runs a function in its own thread."""
import socket
import threading

from lib.streams import Stream
from lib.wait import wait_until


def echo(stream):
    """Gives back what comes until the peer ends, then ends too."""
    while stream.fill():
        data, stream.buffer = stream.buffer, b""
        stream.send(data)


def hold(stream):
    """Reads to the end and says nothing; the connection stays until the server is closed."""
    stream.read_to_end()


class TcpServer:
    """`run(stream)` serves a connection; it is closed when run returns."""

    def __init__(self, run=echo, tls=None, address=("127.0.0.1", 0), family=socket.AF_INET):
        self.run = run
        self.tls = tls
        self.streams = []
        self.listening = socket.socket(family)
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(address)
        self.listening.listen(128)
        self.threads = []
        self.is_closed = False
        threading.Thread(target=self._accept_all, daemon=True).start()

    @property
    def port(self):
        return self.listening.getsockname()[1]

    def _accept_all(self):
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock):
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            stream = Stream(sock)
            self.streams.append(stream)
            self.run(stream)
            stream.close()
        except OSError:
            sock.close()

    def wait_for(self, count):
        """The first `count` connections, once they are there."""
        wait_until(lambda: len(self.streams) >= count, f"{count} connections upstream")
        return self.streams[:count]

    def close(self):
        self.listening.close()
        for stream in self.streams:
            stream.close()
