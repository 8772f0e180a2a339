# SPDX-License-Identifier: Apache-2.0
"""Bootstraps in Envoy's format: one text for Envoy and for weft-proxy."""

TYPE = "type.googleapis.com/envoy.extensions."
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED = 1_000_000


def address(port, host="127.0.0.1"):
    return {"socket_address": {"address": host, "port_value": port}}


def _tls(message, certs, name, **extra):
    common = {
        "tls_certificates": [{"certificate_chain": {"filename": f"{certs}/{name}.crt"},
                              "private_key": {"filename": f"{certs}/{name}.key"}}],
        "validation_context": {
            "trusted_ca": {"filename": f"{certs}/ca.crt"},
            "match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"prefix": "spiffe://bench.local/"}}]},
    }
    if "alpn" in extra:
        common["alpn_protocols"] = extra.pop("alpn")
    return {"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": TYPE + "transport_sockets.tls.v3." + message, "common_tls_context": common, **extra}}


def upstream_tls(certs):
    return _tls("UpstreamTlsContext", certs, "a", sni="b.bench")


def downstream_tls(certs):
    return _tls("DownstreamTlsContext", certs, "b", alpn=["h2", "http/1.1"],
                require_client_certificate=True)


def cluster(name, endpoints, h2=False, tls=None):
    c = {"name": name, "type": "STATIC", "connect_timeout": "5s", "lb_policy": "ROUND_ROBIN",
         "circuit_breakers": {"thresholds": [{"max_connections": UNLIMITED,
                                              "max_pending_requests": UNLIMITED,
                                              "max_requests": UNLIMITED}]},
         "load_assignment": {"cluster_name": name, "endpoints": [
             {"lb_endpoints": [{"endpoint": {"address": e}} for e in endpoints]}]}}
    if h2:
        c["typed_extension_protocol_options"] = {HTTP_OPTIONS: {
            "@type": "type.googleapis.com/" + HTTP_OPTIONS,
            "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 1000}}}}
    if tls:
        c["transport_socket"] = tls
    return c


def virtual_host(name, domains, cluster_name, **route):
    return {"name": name, "domains": domains, "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": cluster_name, **route}}]}


def http(virtual_hosts):
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench", "codec_type": "AUTO",
        "http2_protocol_options": {"max_concurrent_streams": 1000},
        "route_config": {"name": "routes", "virtual_hosts": virtual_hosts},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": TYPE + "filters.http.router.v3.Router"}}]}}


def http_to(cluster_name):
    return http([virtual_host("all", ["*"], cluster_name, timeout="15s")])


def tcp_to(cluster_name):
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": TYPE + "filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "bench", "cluster": cluster_name}}


def bootstrap(node, admin_port, listen_port, network_filter, clusters, tls=None):
    chain = {"filters": [network_filter]}
    if tls:
        chain["transport_socket"] = tls
    listener = {"name": "bench", "address": address(listen_port), "filter_chains": [chain]}
    return {"node": {"id": node, "cluster": "bench"}, "admin": {"address": address(admin_port)},
            "static_resources": {"listeners": [listener], "clusters": clusters}}


def mesh_bootstrap(count, endpoints, admin_port, listen_port):
    """What a sidecar of a large mesh holds: `count` services, each a cluster and a virtual host."""
    clusters, hosts = [], []
    for i in range(count):
        name = f"outbound|80||svc-{i}.ns.svc.cluster.local"
        ip = f"127.{1 + i // 60000}.{i // 250 % 240}.{1 + i % 250}"
        clusters.append(cluster(name, [address(8080 + k, ip) for k in range(endpoints)]))
        retry = {"retry_on": "connect-failure,refused-stream,unavailable", "num_retries": 2}
        domains = [f"svc-{i}", f"svc-{i}.ns", f"svc-{i}.ns.svc.cluster.local"]
        hosts.append(virtual_host(f"svc-{i}", domains, name, retry_policy=retry))
    return bootstrap("mesh", admin_port, listen_port, http(hosts), clusters)
