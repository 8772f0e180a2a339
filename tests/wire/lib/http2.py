# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 peers on the package h2: a client that sees every event, an origin that answers a function."""
import socket
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from lib.streams import Stream, connect


class Exchange:
    """One stream as the test sees it: headers, body, trailers, and how it ended."""

    def __init__(self):
        self.headers, self.body, self.trailers = [], b"", []
        self.informational = []
        self.is_complete = False
        self.reset_code = None

    def all(self, name):
        return [v for n, v in self.headers if n == name]

    def get(self, name, default=None):
        values = self.all(name)
        return ",".join(values) if values else default

    @property
    def status(self):
        return int(self.get(":status"))

    @property
    def is_over(self):
        return self.is_complete or self.reset_code is not None


def text(headers):
    return [(n.decode("latin-1") if isinstance(n, bytes) else n,
             v.decode("latin-1") if isinstance(v, bytes) else v) for n, v in headers]


class H2Peer:
    """What client and origin share: feed bytes, keep exchanges, give windows back."""

    def __init__(self, stream, is_client, validate=True):
        self.stream = stream
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=is_client, header_encoding="latin-1", validate_outbound_headers=validate,
            normalize_outbound_headers=validate, validate_inbound_headers=validate))
        self.exchanges = {}
        self.goaway = None
        self.pings = 0
        self.is_open = True
        self.conn.initiate_connection()
        self.flush()

    def flush(self):
        data = self.conn.data_to_send()
        if data:
            try:
                self.stream.send(data)
            except OSError:
                self.is_open = False

    def pump(self):
        """Reads once and acts on what came. False when the connection ended."""
        if not self.stream.buffer and not self.stream.fill():
            self.is_open = False
            return False
        data, self.stream.buffer = self.stream.buffer, b""
        for event in self.conn.receive_data(data):
            self.on_event(event)
        self.flush()
        return True

    def exchange(self, stream_id):
        return self.exchanges.setdefault(stream_id, Exchange())

    def on_event(self, event):
        if isinstance(event, (h2.events.ResponseReceived, h2.events.RequestReceived)):
            self.exchange(event.stream_id).headers = text(event.headers)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            self.exchange(event.stream_id).informational.append(text(event.headers))
        elif isinstance(event, h2.events.TrailersReceived):
            self.exchange(event.stream_id).trailers = text(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.exchange(event.stream_id).body += event.data
            if event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.exchange(event.stream_id).is_complete = True
            self.on_complete(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.exchange(event.stream_id).reset_code = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event
        elif isinstance(event, h2.events.PingAckReceived):
            self.pings += 1

    def on_complete(self, stream_id):
        pass

    def send_body(self, stream_id, body, end=True):
        """Sends under flow control, reading while the window is shut."""
        while body:
            room = min(self.conn.local_flow_control_window(stream_id),
                       self.conn.max_outbound_frame_size)
            if room <= 0:
                self.flush()
                if not self.pump():
                    return
                continue
            self.conn.send_data(stream_id, body[:room])
            body = body[room:]
        if end:
            self.conn.end_stream(stream_id)
        self.flush()


class H2Client(H2Peer):
    def __init__(self, address, tls=None, server_name=None, validate=True):
        super().__init__(connect(address, tls, server_name), True, validate)

    def start(self, headers=(), method="GET", path="/", authority="test.local", scheme="http",
              end=True):
        stream_id = self.conn.get_next_available_stream_id()
        head = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
        self.conn.send_headers(stream_id, head + list(headers), end_stream=end)
        self.flush()
        return stream_id

    def wait(self, stream_id):
        exchange = self.exchange(stream_id)
        while not exchange.is_over and self.pump():
            pass
        return exchange

    def request(self, headers=(), method="GET", path="/", body=b"", trailers=(), **head):
        stream_id = self.start(headers, method, path, end=not body and not trailers, **head)
        if body:
            self.send_body(stream_id, body, end=not trailers)
        if trailers:
            self.conn.send_headers(stream_id, list(trailers), end_stream=True)
            self.flush()
        return self.wait(stream_id)

    def pump_to_end(self):
        while self.pump():
            pass

    def close(self):
        self.stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _OriginConnection(H2Peer):
    def __init__(self, stream, origin):
        self.origin = origin
        super().__init__(stream, False)

    def on_complete(self, stream_id):
        request = self.exchange(stream_id)
        with self.origin.lock:
            self.origin.requests.append(request)
        answer = self.origin.script.get(request.get("x-case"), self.origin.default)
        if callable(answer):
            answer = answer(self, stream_id, request)
        if answer is None:
            return
        headers, body, trailers = answer
        is_bare = not body and not trailers
        self.conn.send_headers(stream_id, headers, end_stream=is_bare)
        if body:
            self.send_body(stream_id, body, end=not trailers)
        if trailers:
            self.conn.send_headers(stream_id, trailers, end_stream=True)
        self.flush()


class H2Origin:
    """Like origin.Origin: `script` maps `x-case` to (headers, body, trailers) or a function."""

    def __init__(self, script=None, default=None, tls=None):
        self.script = dict(script or {})
        self.default = default or ([(":status", "200"), ("content-type", "text/plain")], b"hello", [])
        self.tls = tls
        self.requests, self.connections = [], []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = self.listener.getsockname()
        self.port = self.address[1]
        threading.Thread(target=self.accept_all, daemon=True).start()

    def accept_all(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            peer = _OriginConnection(Stream(sock), self)
            with self.lock:
                self.connections.append(peer)
            while peer.pump():
                pass
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            sock.close()

    def last(self):
        return self.requests[-1]

    def close(self):
        self.listener.close()
        for peer in self.connections:
            peer.stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
