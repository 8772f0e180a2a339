# SPDX-License-Identifier: Apache-2.0
"""Configurations of the shape that istiod sends: nodes, filters as it wraps them, clusters with its metadata."""
import base64
import struct

from google.protobuf import any_pb2, struct_pb2

from lib import config

URL = "type.googleapis.com/"
MAGIC = 0x3D230467
EXCHANGE = "istio-peer-exchange"
PEER, PEER_ID = "x-envoy-peer-metadata", "x-envoy-peer-metadata-id"


def metadata_of(name, namespace="bookinfo", version="v1", cluster="Kubernetes"):
    return {"NAME": f"{name}-{version}-0", "NAMESPACE": namespace, "WORKLOAD_NAME": f"{name}-{version}", "CLUSTER_ID": cluster,
            "OWNER": f"kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{name}-{version}",
            "LABELS": {"app": name, "version": version, "service.istio.io/canonical-name": name,
                       "service.istio.io/canonical-revision": version, "team": "books"},
            "ISTIO_VERSION": "1.31.0", "PROXY_CONFIG": {"concurrency": 2}}


def node(name, **more):
    metadata = metadata_of(name, **more)
    return {"id": f"sidecar~10.0.0.1~{metadata['NAME']}.{metadata['NAMESPACE']}~{metadata['NAMESPACE']}.svc.cluster.local",
            "cluster": name, "metadata": metadata}


def typed_struct(type_url, value):
    return {"@type": URL + "udpa.type.v1.TypedStruct", "type_url": URL + type_url, "value": value}


def http_filter(name, type_url, value, wrapped=True):
    return {"name": name, "typed_config": typed_struct(type_url, value) if wrapped else {"@type": URL + type_url, **value}}


def http_exchange(inbound, **propagation):
    methods = [{"istio_headers": {}}, {"workload_discovery": {}}]
    side = "downstream" if inbound else "upstream"
    return http_filter("istio.metadata_exchange", "io.istio.http.peer_metadata.Config",
                       {f"{side}_discovery": methods, f"{side}_propagation": [{"istio_headers": propagation}]})


def tcp_exchange():
    return {"name": "istio.metadata_exchange", "typed_config": typed_struct(
        "envoy.tcp.metadataexchange.config.MetadataExchange", {"enable_discovery": True, "protocol": EXCHANGE})}


def stats(**fields):
    return {"name": "istio.stats", "typed_config": {"@type": URL + "stats.PluginConfig", **fields}}


def alpn():
    return http_filter("istio.alpn", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", {"alpn_override": [
        {"alpn_override": ["istio-http/1.0", "istio", "http/1.0"]},
        {"upstream_protocol": "HTTP11", "alpn_override": ["istio-http/1.1", "istio", "http/1.1"]},
        {"upstream_protocol": "HTTP2", "alpn_override": ["istio-h2", "istio", "h2"]}]}, wrapped=False)


def router():
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": config.ROUTER}}


def service(host, name=None, namespace="bookinfo", **more):
    """A cluster's metadata."""
    return {"filter_metadata": {"istio": {"services": [{"host": host, "name": name or host.split(".")[0], "namespace": namespace}], **more}}}


def packed(metadata):
    """What a peer sends of itself."""
    names = ("NAME", "NAMESPACE", "WORKLOAD_NAME", "CLUSTER_ID", "OWNER")
    labels = ("app", "version", "service.istio.io/canonical-name", "service.istio.io/canonical-revision")
    told = {name: metadata[name] for name in names}
    told["LABELS"] = {name: metadata["LABELS"][name] for name in labels}
    made = struct_pb2.Struct()
    made.update(told)
    return made.SerializeToString(deterministic=True)


def header_of(metadata):
    return base64.b64encode(packed(metadata)).decode()


def decode_header(value):
    made = struct_pb2.Struct.FromString(base64.b64decode(value))
    return made


def prologue(metadata, peer_id):
    """The bytes that come first on a connection whose ALPN is istio-peer-exchange."""
    peer = struct_pb2.Struct()
    peer.ParseFromString(packed(metadata))
    whole = struct_pb2.Struct()
    whole.fields[PEER].struct_value.CopyFrom(peer)
    whole.fields[PEER_ID].string_value = peer_id
    holder = any_pb2.Any()
    holder.Pack(whole)
    data = holder.SerializeToString(deterministic=True)
    return struct.pack(">II", MAGIC, len(data)) + data


def read_prologue(stream):
    magic, length = struct.unpack(">II", stream.read_exact(8))
    assert magic == MAGIC
    holder = any_pb2.Any.FromString(stream.read_exact(length))
    whole = struct_pb2.Struct()
    assert holder.Unpack(whole)
    return whole
