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


def mesh_bootstrap(count, endpoints, admin_port, listen_port, backend):
    """What a sidecar of a large mesh holds: `count` services, each a cluster and a virtual host. What is
    for none of them goes to the backend."""
    clusters, hosts = [], []
    for i in range(count):
        name = f"outbound|80||svc-{i}.ns.svc.cluster.local"
        ip = f"127.{1 + i // 60000}.{i // 250 % 240}.{1 + i % 250}"
        clusters.append(cluster(name, [address(8080 + k, ip) for k in range(endpoints)]))
        retry = {"retry_on": "connect-failure,refused-stream,unavailable", "num_retries": 2}
        domains = [f"svc-{i}", f"svc-{i}.ns", f"svc-{i}.ns.svc.cluster.local"]
        hosts.append(virtual_host(f"svc-{i}", domains, name, retry_policy=retry))
    clusters.append(cluster("b", backend))
    hosts.append(virtual_host("rest", ["*"], "b", timeout="15s"))
    return bootstrap("mesh", admin_port, listen_port, http(hosts), clusters)


# ---- traffic management: what a sidecar's listener carries beside the router ----

FILTERS = TYPE + "filters.http."
LOG_FIELDS = {
    "start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%", "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%", "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%", "user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%", "upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%", "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
LABELS = 20


def json_log(path):
    return [{"name": "envoy.access_loggers.file", "typed_config": {
        "@type": TYPE + "access_loggers.file.v3.FileAccessLog", "path": path, "log_format": {"json_format": LOG_FIELDS}}}]


def sidecar_filters():
    """Istio's chain without what needs a security configuration: fault, cors, grpc_stats, then the router."""
    return [{"name": "envoy.filters.http.fault", "typed_config": {"@type": FILTERS + "fault.v3.HTTPFault"}},
            {"name": "envoy.filters.http.cors", "typed_config": {"@type": FILTERS + "cors.v3.Cors"}},
            {"name": "envoy.filters.http.grpc_stats", "typed_config": {
                "@type": FILTERS + "grpc_stats.v3.FilterConfig", "stats_for_all_methods": False}}]


def tracing():
    """One request in a hundred, over OTLP/HTTP."""
    collector = {"http_uri": {"uri": "http://collector/v1/traces", "cluster": "collector", "timeout": "1s"}}
    return {"random_sampling": {"value": 1}, "client_sampling": {"value": 1}, "provider": {
        "name": "envoy.tracers.opentelemetry", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig", "http_service": collector,
            "service_name": "bench"}}}


def many_hosts(count, routes):
    """`count` virtual hosts of three domains; the last one, "*", has `routes` routes of which the last is taken."""
    hosts = [virtual_host(f"svc-{i}", [f"svc-{i}", f"svc-{i}.ns", f"svc-{i}.ns.svc.cluster.local"], "b") for i in range(count)]
    last = virtual_host("last", ["*"], "b", timeout="15s")
    last["routes"] = [{"match": {"prefix": f"/api/v1/thing-{i}/"}, "route": {"cluster": "b"}}
                      for i in range(routes - 1)] + last["routes"]
    return hosts + [last]


def traffic_bootstrap(shape, endpoints, admin_port, listen_port, directory):
    hosts = many_hosts(10000, 1000) if shape == "routes" else [virtual_host("all", ["*"], "b", timeout="15s")]
    manager, clusters, more = http(hosts), [cluster("b", endpoints)], {}
    fields = manager["typed_config"]
    if shape in ("log", "sidecar"):
        fields["access_log"] = json_log(f"{directory}/access-{listen_port}.log")
    if shape == "sidecar":
        fields["http_filters"] = sidecar_filters() + fields["http_filters"]
        fields["tracing"] = tracing()
        clusters.append(cluster("collector", endpoints))
        more["stats_config"] = {"stats_tags": [{"tag_name": f"label_{i}", "fixed_value": f"value-{i}"} for i in range(LABELS)]}
    return {**bootstrap("traffic", admin_port, listen_port, manager, clusters), **more}


def hash_bootstrap(policy, dns_port, upstream_port, admin_port, listen_port):
    """A cluster whose thousand hosts change each second, under RING_HASH or MAGLEV; requests hash at random."""
    hosts = cluster("b", [address(upstream_port, "hosts.bench")])
    hosts.update({"type": "STRICT_DNS", "lb_policy": policy, "dns_refresh_rate": "1s", "dns_lookup_family": "V4_ONLY",
                  "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": {
                      "@type": TYPE + "network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                      "resolvers": [address(dns_port)],
                      "dns_resolver_options": {"use_tcp_for_dns_lookups": True, "no_default_search_domain": True}}}})
    return bootstrap("hash", admin_port, listen_port, http([virtual_host("all", ["*"], "b", timeout="15s")]), [hosts])
