# SPDX-License-Identifier: Apache-2.0
"""A management server that does what a test tells it: ADS and separate streams, state of the world and delta, by grpcio.

    server = AdsServer()
    server.set_resources("cds", {"origin": config.cluster("origin", port)})   # dictionaries, messages or packed bytes
    proxy = start_proxy(ads_bootstrap(server.port, delta=True))
    server.wait_ack("cds")                       # of what was set last
    server.set_resources("cds", {"origin": {"name": "origin", "lb_policy": 99}})
    assert "lb_policy" in server.wait_nack("cds")

Types go by their short names (TYPES) or by their type URL. Every connected stream is pushed to when resources change. Names
that are asked for and don't exist aren't answered, unless `tells_missing` (delta: removed_resources). A wildcard is answered
always, if with nothing. `hold(type)` keeps answers of a type back until `release(type)`.

Every request is kept in `requests` (class Request), in the order in which they came.
"""
import datetime
import hashlib
import importlib
import json
import os
import pkgutil
import queue
import threading
import time
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import any_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from lib import config
from lib.wait import wait_until

URL = "type.googleapis.com/"
# short name: (type URL, message or None, service, method's noun)
TYPES = {
    "cds": (URL + "envoy.config.cluster.v3.Cluster", cluster_pb2.Cluster, "cluster.v3.ClusterDiscoveryService", "Clusters"),
    "eds": (URL + "envoy.config.endpoint.v3.ClusterLoadAssignment", endpoint_pb2.ClusterLoadAssignment,
            "endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    "lds": (URL + "envoy.config.listener.v3.Listener", listener_pb2.Listener, "listener.v3.ListenerDiscoveryService", "Listeners"),
    "rds": (URL + "envoy.config.route.v3.RouteConfiguration", route_pb2.RouteConfiguration,
            "route.v3.RouteDiscoveryService", "Routes"),
    "srds": (URL + "envoy.config.route.v3.ScopedRouteConfiguration", scoped_route_pb2.ScopedRouteConfiguration,
             "route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes"),
    "vhds": (URL + "envoy.config.route.v3.VirtualHost", route_components_pb2.VirtualHost,
             "route.v3.VirtualHostDiscoveryService", "VirtualHosts"),
    "sds": (URL + "envoy.extensions.transport_sockets.tls.v3.Secret", secret_pb2.Secret,
            "secret.v3.SecretDiscoveryService", "Secrets"),
    "ecds": (URL + "envoy.config.core.v3.TypedExtensionConfig", extension_pb2.TypedExtensionConfig,
             "extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs"),
    "rtds": (URL + "envoy.service.runtime.v3.Runtime", rtds_pb2.Runtime, "runtime.v3.RuntimeDiscoveryService", "Runtime"),
    "nds": (URL + "istio.networking.nds.v1.NameTable", None, None, None),
    "pcds": (URL + "istio.mesh.v1alpha1.ProxyConfig", None, None, None),
    "health": (URL + "istio.v1.HealthInformation", None, None, None),
    "wds": (URL + "istio.workload.Address", None, None, None),
    "authz": (URL + "istio.security.Authorization", None, None, None),
}
WILDCARD = "*"


def type_url(name):
    return TYPES[name][0] if name in TYPES else name


def short_name(url):
    return next((name for name, row in TYPES.items() if row[0] == url), url)


def load_types(tree):
    """Imports the modules of all types that Anys in a dictionary name, so that they can be parsed."""
    if isinstance(tree, dict):
        if "@type" in tree:
            package = tree["@type"].rpartition("/")[2].rpartition(".")[0]
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")
        for value in tree.values():
            load_types(value)
    elif isinstance(tree, list):
        for value in tree:
            load_types(value)


def pack(kind, resource):
    """A dictionary, a message, packed bytes or an Any as the bytes of an Any's value."""
    if isinstance(resource, any_pb2.Any):
        return resource.value
    if isinstance(resource, bytes):
        return resource
    if not isinstance(resource, Message):
        load_types(resource)
        resource = ParseDict(resource, TYPES[kind][1]())
    return resource.SerializeToString(deterministic=True)


@dataclass
class Request:
    """A DiscoveryRequest or DeltaDiscoveryRequest as it came."""
    kind: str
    message: Message
    stream: "Stream"
    at: float = field(default_factory=time.monotonic)

    @property
    def error(self):
        return self.message.error_detail.message if self.message.HasField("error_detail") else None

    @property
    def nonce(self):
        return self.message.response_nonce


@dataclass
class Sent:
    kind: str
    nonce: str
    round: int           # of set_resources for this type when it was sent
    error: str = None
    is_acked: bool = False


class Interest:
    """What a stream has subscribed to of one type."""

    def __init__(self):
        self.names = set()
        self.is_wildcard = False
        self.is_legacy_wildcard = True   # until a name has been given
        self.known = {}                  # delta: name -> version that the client has
        self.round = -1                  # of the last push
        self.nonce = ""


class Stream:
    def __init__(self, server, context, is_delta, kind):
        self.server = server
        self.context = context
        self.is_delta = is_delta
        self.kind = kind                 # None: ADS
        self.interests = {}
        self.out = queue.Queue()
        self.sent = {}                   # nonce -> Sent
        self.metadata = dict(context.invocation_metadata())
        self.node = None
        self.is_over = False

    # -- requests, under the server's lock --

    def take(self, request):
        kind = short_name(request.type_url) if request.type_url else self.kind
        self.server.requests.append(Request(kind, request, self))
        if request.HasField("node"):
            self.node = request.node
        self.settle(request)
        if kind == "health":
            return                       # told, not asked: nothing is answered
        if self.is_delta:
            self.take_delta(kind, request)
        else:
            self.take_sotw(kind, request)

    def settle(self, request):
        sent = self.sent.get(request.response_nonce)
        if sent and not sent.is_acked and sent.error is None:
            if request.HasField("error_detail"):
                sent.error = request.error_detail.message
            else:
                sent.is_acked = True

    def take_sotw(self, kind, request):
        interest = self.interests.setdefault(kind, Interest())
        if request.response_nonce and request.response_nonce != interest.nonce:
            return                       # stale: a newer response is on its way
        names = set(request.resource_names)
        if names:
            interest.is_legacy_wildcard = False
        is_wildcard = WILDCARD in names or (not names and interest.is_legacy_wildcard)
        asks_anew = names - interest.names or is_wildcard != interest.is_wildcard or not request.response_nonce
        interest.names, interest.is_wildcard = names - {WILDCARD}, is_wildcard
        if asks_anew:
            interest.round = -1
        self.push(kind)

    def take_delta(self, kind, request):
        is_first = kind not in self.interests
        interest = self.interests.setdefault(kind, Interest())
        added, gone = set(request.resource_names_subscribe), set(request.resource_names_unsubscribe)
        if is_first:
            interest.known.update(request.initial_resource_versions)
            interest.is_wildcard = not added
        if WILDCARD in added:
            interest.is_wildcard = True
        if WILDCARD in gone:
            interest.is_wildcard = False
        interest.names = (interest.names | added - {WILDCARD}) - gone
        for name in gone | (added - {WILDCARD} if not is_first else set()):
            interest.known.pop(name, None)
        if is_first or added:
            interest.round = -1
        self.push(kind)

    # -- answers, under the server's lock --

    def push(self, kind):
        interest = self.interests.get(kind)
        held = kind in self.server.held
        if interest is None or held or interest.round == self.server.rounds.get(kind, 0):
            return
        interest_round, interest.round = interest.round, self.server.rounds.get(kind, 0)
        build = self.delta_response if self.is_delta else self.sotw_response
        message = build(kind, interest, interest_round)
        if message is not None:
            self.send(kind, message)

    def sotw_response(self, kind, interest, _):
        have = self.server.resources.get(kind, {})
        chosen = {name: body for name, body in have.items() if interest.is_wildcard or name in interest.names}
        if not chosen and not interest.is_wildcard:
            return None
        return discovery_pb2.DiscoveryResponse(
            version_info=self.server.version(kind), type_url=type_url(kind), control_plane=self.server.control_plane,
            resources=[self.server.wrapped(kind, name, body) for name, body in chosen.items()])

    def delta_response(self, kind, interest, last_round):
        have = self.server.resources.get(kind, {})
        brings_all = interest.is_wildcard and kind not in self.server.on_demand
        wanted = {name: body for name, body in have.items() if brings_all or interest.names.intersection(
            {name, *self.server.aliases.get((kind, name), ())})}
        changed = {name: body for name, body in wanted.items() if interest.known.get(name) != version_of(body)}
        removed = [name for name in interest.known if name not in have]
        if self.server.tells_missing:
            known = set(have).union(*(self.server.aliases.get((kind, name), ()) for name in have))
            removed += [name for name in interest.names if name not in known and name not in removed]
        if not changed and not removed and not (interest.is_wildcard and last_round == -1):
            return None
        for name in removed:
            interest.known.pop(name, None)
        interest.known.update({name: version_of(body) for name, body in changed.items()})
        return discovery_pb2.DeltaDiscoveryResponse(
            system_version_info=self.server.version(kind), type_url=type_url(kind), removed_resources=removed,
            control_plane=self.server.control_plane,
            resources=[self.server.delta_resource(kind, name, body) for name, body in changed.items()])

    def send(self, kind, message):
        """Gives the message its nonce and sends it."""
        self.server.nonces += 1
        message.nonce = f"n{self.server.nonces}"
        self.interests.setdefault(kind, Interest()).nonce = message.nonce
        self.sent[message.nonce] = Sent(kind, message.nonce, self.server.rounds.get(kind, 0))
        self.server.sent.append(self.sent[message.nonce])
        self.out.put(message.SerializeToString())

    def send_raw(self, data):
        self.out.put(data)

    def end(self, status=None, text=""):
        """Ends the stream with a grpc.StatusCode, None for OK."""
        self.out.put((status, text))


def version_of(body):
    return hashlib.sha256(body).hexdigest()[:12]


class AdsServer:
    """Serves from construction on a loopback port, a free one unless told, or on a Unix socket; close() ends it. `credentials`:
    grpc server credentials (TLS)."""

    def __init__(self, tells_missing=False, credentials=None, control_plane="test-server", port=0, held=(), unix_path=None):
        self.unix_path = unix_path
        self.tells_missing = tells_missing
        self.credentials = credentials
        self.control_plane = {"identifier": control_plane}
        self.lock = threading.RLock()
        self.resources = {}      # kind -> {name: packed}
        self.ttls = {}           # (kind, name) -> seconds
        self.aliases = {}        # (kind, name) -> [names], delta
        self.rounds = {}         # kind -> number of changes
        self.versions = {}       # kind -> version where a test gave one
        self.held = set(held)    # kinds that nothing is said of yet
        self.on_demand = set()   # kinds of which a wildcard brings nothing: what is asked for by name or alias is sent (delta)
        self.streams = []
        self.requests = []
        self.sent = []
        self.opened = 0          # streams so far
        self.nonces = 0
        self.refuse = None       # a grpc.StatusCode for new streams
        self.port = port
        self.server = None
        self.come_back()

    # -- what tests say --

    def set_resources(self, kind, resources, version=None, ttls=None, aliases=None):
        """All resources of a type: {name: dictionary, message or bytes}. Pushed at once, as one response."""
        packed = {name: pack(kind, resource) for name, resource in resources.items()}
        with self.lock:
            self.resources[kind] = packed
            self.ttls.update({(kind, name): ttl for name, ttl in (ttls or {}).items()})
            self.aliases.update({(kind, name): names for name, names in (aliases or {}).items()})
            self.rounds[kind] = self.rounds.get(kind, 0) + 1
            self.versions[kind] = version
            self.push(kind)

    def update(self, kind, name, resource):
        """One more or changed resource; None takes it away."""
        with self.lock:
            now = dict(self.resources.get(kind, {}))
            if resource is None:
                now.pop(name, None)
            else:
                now[name] = resource
            self.set_resources(kind, now)

    def push(self, kind):
        with self.lock:
            for stream in self.streams:
                stream.push(kind)

    def hold(self, kind):
        with self.lock:
            self.held.add(kind)

    def release(self, kind):
        with self.lock:
            self.held.discard(kind)
            self.push(kind)

    def wait_ack(self, kind, count=1):
        """Until `count` streams have acknowledged what was set last of the type."""
        def acked():
            with self.lock:
                now = self.rounds.get(kind, 0)
                return sum(s.is_acked for s in self.sent if s.kind == kind and s.round == now) >= count
        try:
            wait_until(acked, f"an ACK for {kind}")
        except AssertionError as error:
            raise AssertionError(f"{error}; refused with {[s.error for s in self.sent if s.kind == kind and s.error]}") from None

    def wait_nack(self, kind):
        """Until what was set last has been refused: the error_detail's message."""
        def nacked():
            with self.lock:
                now = self.rounds.get(kind, 0)
                return next((s.error for s in self.sent if s.kind == kind and s.round == now and s.error is not None), None)
        return wait_until(nacked, f"a NACK for {kind}")

    def wait_request(self, kind, fits=lambda request: True):
        def found():
            with self.lock:
                return next((r for r in self.requests if r.kind == kind and fits(r)), None)
        return wait_until(found, f"a request for {kind}")

    def wait_streams(self, count):
        """Until `count` streams are open."""
        wait_until(lambda: len(self.streams) == count, f"{count} streams")
        return list(self.streams)

    def names(self, kind):
        """What the newest stream that asked for the type has subscribed to."""
        with self.lock:
            for stream in reversed(self.streams):
                if kind in stream.interests:
                    return set(stream.interests[kind].names)
        return set()

    def take_requests(self):
        with self.lock:
            found, self.requests = self.requests, []
        return found

    def send(self, kind, message):
        """A response by hand (DiscoveryResponse or DeltaDiscoveryResponse) on every stream that asks for the type."""
        with self.lock:
            self.rounds[kind] = self.rounds.get(kind, 0) + 1
            for stream in self.streams:
                if kind in stream.interests:
                    stream.send(kind, message)

    def send_raw(self, data):
        """Bytes in a gRPC message's place, on every stream."""
        with self.lock:
            for stream in self.streams:
                stream.send_raw(data)

    def drop_streams(self, status=grpc.StatusCode.UNAVAILABLE):
        with self.lock:
            for stream in self.streams:
                stream.end(status, "as told")

    def go_away(self):
        """Connections are cut, the port refuses."""
        server, self.server = self.server, None
        if server:
            server.stop(None).wait()

    def come_back(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(128), options=[
            ("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)])
        self.server.add_generic_rpc_handlers(tuple(self.handlers()))
        address = f"unix:{self.unix_path}" if self.unix_path else f"127.0.0.1:{self.port}"
        self.port = (self.server.add_secure_port(address, self.credentials) if self.credentials
                     else self.server.add_insecure_port(address))
        assert self.port, f"cannot listen on {address}"
        self.server.start()

    close = go_away

    # -- replays --

    def load_folder(self, folder, turn=1):
        """Resources of recorded responses `<type>.<turn>.pb` (../istiod-fixtures). Returns the types found."""
        found = []
        for kind in TYPES:
            path = os.path.join(folder, f"{kind}.{turn}.pb")
            if os.path.exists(path):
                found.append(kind)
                self.set_resources(kind, resources_of(path, str(folder).rstrip("/").endswith("-delta")))
        return found

    # -- the wire --

    def version(self, kind):
        return self.versions.get(kind) or str(self.rounds.get(kind, 0))

    def delta_resource(self, kind, name, body):
        made = discovery_pb2.Resource(name=name, version=version_of(body), aliases=self.aliases.get((kind, name), []),
                                      resource=any_pb2.Any(type_url=type_url(kind), value=body))
        if (kind, name) in self.ttls:
            made.ttl.FromTimedelta(_seconds(self.ttls[kind, name]))
        return made

    def wrapped(self, kind, name, body):
        """An Any of the resource; in a discovery.v3.Resource where it has a time to live."""
        bare = any_pb2.Any(type_url=type_url(kind), value=body)
        if (kind, name) not in self.ttls:
            return bare
        made = discovery_pb2.Resource(name=name, resource=bare)
        made.ttl.FromTimedelta(_seconds(self.ttls[kind, name]))
        wrapper = any_pb2.Any()
        wrapper.Pack(made)
        return wrapper

    def handlers(self):
        yield self.handler_of("envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources", None)
        for kind, (_, _, service, noun) in TYPES.items():
            if service:
                yield self.handler_of("envoy.service." + service, noun, kind)

    def handler_of(self, service, noun, kind):
        def method(is_delta, request_type):
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self.serve(requests, context, is_delta, kind),
                request_type.FromString, lambda data: data)
        return grpc.method_handlers_generic_handler(service, {
            "Stream" + noun: method(False, discovery_pb2.DiscoveryRequest),
            "Delta" + noun: method(True, discovery_pb2.DeltaDiscoveryRequest)})

    def serve(self, requests, context, is_delta, kind):
        if self.refuse is not None:
            context.abort(self.refuse, "as told")
        stream = Stream(self, context, is_delta, kind)
        context.add_callback(lambda: stream.out.put(None))
        with self.lock:
            self.opened += 1
            self.streams.append(stream)
        threading.Thread(target=self.read, args=(stream, requests), daemon=True).start()
        try:
            while True:
                item = stream.out.get()
                if item is None:
                    return
                if isinstance(item, tuple):
                    if item[0] is not None:
                        context.abort(*item)
                    return
                yield item
        finally:
            stream.is_over = True
            with self.lock:
                if stream in self.streams:
                    self.streams.remove(stream)

    def read(self, stream, requests):
        try:
            for request in requests:
                with self.lock:
                    stream.take(request)
        except grpc.RpcError:
            pass
        except Exception:  # pylint: disable=broad-except
            if not stream.is_over and self.server:
                raise
        stream.out.put(None)


def _seconds(value):
    return datetime.timedelta(seconds=value)


NAME_FIELDS = {"cds": "name", "eds": "cluster_name", "lds": "name", "rds": "name", "sds": "name", "ecds": "name"}


def resources_of(path, is_delta):
    """{name: packed} of a recorded response."""
    with open(path, "rb") as data:
        body = data.read()
    if is_delta:
        return {r.name: r.resource.value for r in discovery_pb2.DeltaDiscoveryResponse.FromString(body).resources}
    found = {}
    for one in discovery_pb2.DiscoveryResponse.FromString(body).resources:
        kind = short_name(one.type_url)
        message = TYPES[kind][1]
        found[getattr(message.FromString(one.value), NAME_FIELDS[kind]) if message else kind] = one.value
    return found


# ---- bootstraps of proxies ----

def api_source(cluster="xds", delta=False, **more):
    """An ApiConfigSource that asks `cluster`."""
    return {"api_type": "DELTA_GRPC" if delta else "GRPC", "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": cluster}}], **more}


def ads():
    """A ConfigSource: this stream."""
    return {"resource_api_version": "V3", "ads": {}}


def separate(cluster="xds", delta=False, initial_fetch_timeout=None, **more):
    """A ConfigSource with a stream of its own."""
    made = {"resource_api_version": "V3", "api_config_source": api_source(cluster, delta, **more)}
    if initial_fetch_timeout:
        made["initial_fetch_timeout"] = initial_fetch_timeout
    return made


def ads_bootstrap(port, delta=False, lds=True, cds=True, clusters=(), listeners=(), ads_fields=None, xds_cluster=None,
                  source=None, **more):
    """A bootstrap whose clusters and listeners come over ADS from 127.0.0.1:port. `source`: a ConfigSource in its place for
    CDS and LDS (then ADS is still there)."""
    dynamic = {"ads_config": api_source(delta=delta, **{"set_node_on_first_message_only": True, **(ads_fields or {})})}
    if cds:
        dynamic["cds_config"] = source or ads()
    if lds:
        dynamic["lds_config"] = source or ads()
    server = config.cluster("xds", port, http2=True, **(xds_cluster or {}))
    return config.bootstrap(list(listeners), [server, *clusters], node={"id": "test-node", "cluster": "test-cluster"},
                            dynamic_resources=dynamic, **more)


def describe(requests):
    """Requests as plain rows, for comparing programs: (kind, names or (subscribe, unsubscribe), answer)."""
    rows = []
    for r in requests:
        m = r.message
        names = (sorted(m.resource_names_subscribe), sorted(m.resource_names_unsubscribe)) \
            if r.stream.is_delta else sorted(m.resource_names)
        rows.append((r.kind, names, "nack" if r.error is not None else "ack" if r.nonce else "ask"))
    return json.loads(json.dumps(rows))
