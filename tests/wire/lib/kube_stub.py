# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API server as far as a watcher sees it: lists in pages, watches that go on from a version, one history for all
kinds, and a way to misbehave for each thing that real ones do. HTTP/1.1, in clear text or TLS, a thread a connection."""
import base64
import http.server
import json
import socket
import ssl
import threading
import urllib.parse

CORE = {"services": "Service", "pods": "Pod", "nodes": "Node", "namespaces": "Namespace", "secrets": "Secret"}
GROUPS = {
    "networking.istio.io/v1": {"virtualservices": "VirtualService", "destinationrules": "DestinationRule", "gateways": "Gateway",
                               "serviceentries": "ServiceEntry", "workloadentries": "WorkloadEntry", "workloadgroups": "WorkloadGroup",
                               "sidecars": "Sidecar"},
    "networking.istio.io/v1alpha3": {"envoyfilters": "EnvoyFilter"},
    "networking.istio.io/v1beta1": {"proxyconfigs": "ProxyConfig"},
    "security.istio.io/v1": {"peerauthentications": "PeerAuthentication", "requestauthentications": "RequestAuthentication",
                             "authorizationpolicies": "AuthorizationPolicy"},
    "telemetry.istio.io/v1": {"telemetries": "Telemetry"},
    "discovery.k8s.io/v1": {"endpointslices": "EndpointSlice"},
    "networking.k8s.io/v1": {"ingresses": "Ingress", "ingressclasses": "IngressClass"},
}
PLURALS = {kind: plural for kinds in (CORE, *GROUPS.values()) for plural, kind in kinds.items()}


def status(code, message, **more):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, **more}


class KubeStub:
    """`objects`: what it has. Each change has a version of its own; watches may begin at `oldest` and later."""

    def __init__(self, objects=(), tls=None, client_ca=None):
        self.lock = threading.Condition()
        self.objects = {plural: {} for plural in PLURALS.values()}
        self.history = []             # (version, plural, type, object)
        self.version, self.oldest = 100, 0
        self.absent = set()           # plurals that there are none of
        self.versions = {}            # plural -> the one version that it is served in
        self.failures = {}            # plural -> list of (status, headers), each answered once to a list
        self.forced_pages = None      # so many objects a page at most
        self.expire_pages = 0         # so many continue tokens are too old
        self.held = threading.Event() # cleared: answers wait
        self.held.set()
        self.token, self.reviews = None, {}
        self.requests, self.tokens_seen = [], []
        self.tls, self.client_ca, self.port = tls, client_ca, 0
        self.server, self.sockets, self.generation = None, set(), 0
        for o in objects:
            self.put(o)
        self.start()

    # ---- the world ----

    def _key(self, o):
        return o["metadata"].get("namespace", ""), o["metadata"]["name"]

    def _tell(self, plural, kind, o):
        self.version += 1
        o = {**o, "metadata": {**o["metadata"], "resourceVersion": str(self.version)}}
        self.history.append((self.version, plural, kind, o))
        self.lock.notify_all()
        return o

    def put(self, o):
        with self.lock:
            plural = PLURALS[o["kind"]]
            known = self._key(o) in self.objects[plural]
            self.objects[plural][self._key(o)] = self._tell(plural, "MODIFIED" if known else "ADDED", o)

    def remove(self, kind, name, namespace="bookinfo"):
        with self.lock:
            plural = PLURALS[kind]
            key = ("", name) if (namespace, name) not in self.objects[plural] else (namespace, name)
            self._tell(plural, "DELETED", self.objects[plural].pop(key))

    def say(self, kind, event):
        """An event as it stands, true or not."""
        with self.lock:
            self.history.append((self.version, PLURALS[kind], None, event))
            self.version += 1
            self.lock.notify_all()

    def forget(self):
        """etcd was compacted: watches that run end with 410, and so do those that begin at an old version."""
        with self.lock:
            self.version += 1
            self.oldest = self.version
            self.lock.notify_all()

    # ---- life ----

    def start(self):
        handler = type("Handler", (Handler,), {"stub": self})
        self.server = Server(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls.cert, self.tls.key)
            if self.client_ca:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self.client_ca)
            self.server.tls = context
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        """All connections break off."""
        with self.lock:
            self.generation += 1
            self.lock.notify_all()
        self.held.set()
        self.server.shutdown()
        self.server.server_close()
        self.drop()

    close = stop

    def drop(self):
        """Connections break off, the server stays."""
        with self.lock:
            sockets, self.sockets = self.sockets, set()
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def restart(self):
        self.stop()
        self.start()

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    # ---- what was asked ----

    def count(self, plural, watch):
        with self.lock:
            return sum(1 for path, query in self.requests if path.endswith("/" + plural) and ("watch" in query) == watch)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    tls = None

    def finish_request(self, request, client_address):
        if self.tls:
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        self.RequestHandlerClass(request, client_address, self)

    def handle_error(self, request, client_address):
        pass # connections that break off are what it is for


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub = None

    def setup(self):
        super().setup()
        with self.stub.lock:
            self.stub.sockets.add(self.connection)

    def finish(self):
        with self.stub.lock:
            self.stub.sockets.discard(self.connection)
        try:
            super().finish()
        finally:
            self.connection.close()

    def log_message(self, *args):
        pass

    def answer(self, code, body, headers=()):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def is_known(self):
        token = self.headers.get("Authorization", "")
        with self.stub.lock:
            self.stub.tokens_seen.append(token)
            known = self.stub.token is None or token == "Bearer " + self.stub.token
        if not known:
            self.answer(401, status(401, "Unauthorized"))
        return known

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
        stub, (group, plural) = self.stub, url.path.lstrip("/").rsplit("/", 1)
        with stub.lock:
            stub.requests.append((url.path, query))
        stub.held.wait(60)
        if not self.is_known():
            return
        group = group.removeprefix("apis/")
        kinds = CORE if group == "api/v1" else GROUPS.get(group, {})
        if plural in stub.versions:
            name, _, version = group.partition("/")
            kinds = {p: k for known, all_of_it in GROUPS.items() if known.startswith(name + "/") for p, k in all_of_it.items()
                     if version == stub.versions[plural]}
        if plural not in kinds or plural in stub.absent:
            self.answer(404, status(404, "the server could not find the requested resource"))
        elif "watch" in query:
            self.watch(plural, int(query["resourceVersion"]))
        else:
            self.list(plural, kinds[plural], query)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if not self.is_known():
            return
        if self.path == "/apis/authentication.k8s.io/v1/tokenreviews":
            with self.stub.lock:
                self.stub.requests.append((self.path, body))
                found = self.stub.reviews.get(body["spec"]["token"], {"authenticated": False})
            self.answer(201, {**body, "status": found})
        else:
            self.answer(404, status(404, "the server could not find the requested resource"))

    def list(self, plural, kind, query):
        stub = self.stub
        with stub.lock:
            failures = stub.failures.get(plural) or stub.failures.get("*")
            failure = failures.pop(0) if failures else None
            items = [o for _, o in sorted(stub.objects[plural].items())]
            version, start = stub.version, 0
            limit = min(int(query.get("limit", 0)) or len(items) or 1, stub.forced_pages or 1 << 30)
            if "continue" in query:
                version, start = json.loads(base64.b64decode(query["continue"]))
                expired = stub.expire_pages > 0
                stub.expire_pages -= expired
            else:
                expired = False
        if failure:
            self.answer(failure[0], status(failure[0], "as the test wants it"), failure[1].items())
            return
        if expired:
            self.answer(410, status(410, "The provided continue parameter is too old", reason="Expired"))
            return
        page = [{name: value for name, value in o.items() if name not in ("kind", "apiVersion")} for o in items[start:start + limit]]
        more = base64.b64encode(json.dumps([version, start + limit]).encode()).decode() if start + limit < len(items) else ""
        self.answer(200, {"kind": kind + "List", "apiVersion": "v1", "items": page,
                          "metadata": {"resourceVersion": str(version), **({"continue": more} if more else {})}})

    def chunk(self, event):
        text = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.flush()

    def watch(self, plural, version):
        stub = self.stub
        with stub.lock:
            generation, gone = stub.generation, version < stub.oldest
        if gone:
            self.answer(410, status(410, f"too old resource version: {version}", reason="Expired"))
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        at, bookmark = 0, version
        while True:
            with stub.lock:
                while at == len(stub.history) and generation == stub.generation and version >= stub.oldest:
                    stub.lock.wait()
                events, at = stub.history[at:], len(stub.history)
                over, expired, newest = generation != stub.generation, version < stub.oldest, stub.version
            if over:
                return
            for number, of, kind, o in events:
                if of == plural and number > version or of == plural and kind is None and number >= version:
                    self.chunk(o if kind is None else {"type": kind, "object": o})
            if expired:
                self.chunk({"type": "ERROR", "object": status(410, "too old resource version", reason="Expired")})
                self.wfile.write(b"0\r\n\r\n")
                return
            if newest > bookmark:
                bookmark = version = newest
                self.chunk({"type": "BOOKMARK", "object": {"kind": "X", "metadata": {"resourceVersion": str(newest)}}})
