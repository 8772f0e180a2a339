# SPDX-License-Identifier: Apache-2.0
"""A client of the aggregated discovery service that says exactly what a test tells it to.

    client = AdsClient(world.target, delta=True, node="n")
    client.ask("cds")                              # the first request carries the node
    got = client.take("cds")                       # the next response, which must be of this type
    client.ack(got)
    assert names(got) == ["a", "b"]
"""
import queue
import threading

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from lib.ads_server import short_name, type_url
from lib.wait import PATIENCE_S, wait_until

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class AdsClient:
    def __init__(self, target, delta=False, node="n", window=None, metadata=()):
        self.delta, self.node = delta, node
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        if window:
            options += [("grpc.http2.lookahead_bytes", window), ("grpc.http2.bdp_probe", 0)]
        self.channel = grpc.insecure_channel(target, options=options)
        self.requests, self.responses = queue.Queue(), queue.Queue()
        self.error = None
        self.may_read = threading.Event()
        self.may_read.set()
        request, response, method = (
            (discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse, "DeltaAggregatedResources") if delta
            else (discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse, "StreamAggregatedResources"))
        self.request_type = request
        self.call = self.channel.stream_stream(
            SERVICE + method, request_serializer=request.SerializeToString,
            response_deserializer=response.FromString)(iter(self.requests.get, None), metadata=metadata)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for response in self.call:
                self.responses.put(response)
                self.may_read.wait()
        except grpc.RpcError as error:
            self.error = error
        except ValueError:  # the channel was closed
            pass

    def say(self, kind, **fields):
        request = self.request_type(type_url=type_url(kind), **fields)
        if self.node is not None:
            request.node.CopyFrom(base_pb2.Node(id=self.node) if isinstance(self.node, str) else self.node)
            self.node = None
        self.requests.put(request)

    def ask(self, kind, *names, drop=(), versions=None, nonce="", **fields):
        if self.delta:
            self.say(kind, resource_names_subscribe=names, resource_names_unsubscribe=drop,
                     initial_resource_versions=versions or {}, response_nonce=nonce, **fields)
        else:
            self.say(kind, resource_names=names, response_nonce=nonce, **fields)

    def answer(self, response, names, error):
        fields = {"response_nonce": response.nonce}
        if error:
            fields["error_detail"] = {"code": 13, "message": error}
        if not self.delta:
            fields["resource_names"] = names
            if not error:
                fields["version_info"] = response.version_info
        self.say(short_name(response.type_url), **fields)

    def ack(self, response, *names):
        self.answer(response, names, None)

    def nack(self, response, why, *names):
        self.answer(response, names, why)

    def take(self, kind):
        try:
            response = self.responses.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"no {kind} came; {self.error}") from None
        assert short_name(response.type_url) == kind
        return response

    def status(self):
        """How the stream ended, once it has."""
        wait_until(lambda: self.error, "the stream's end")
        return self.error.code(), self.error.details()

    def close(self):
        self.may_read.set()
        self.requests.put(None)
        self.call.cancel()
        self.channel.close()
        self.thread.join(PATIENCE_S)


def names(response):
    if isinstance(response, discovery_pb2.DeltaDiscoveryResponse):
        return [resource.name for resource in response.resources]
    return [resource.value for resource in response.resources]


def versions(response):
    return {resource.name: resource.version for resource in response.resources}
