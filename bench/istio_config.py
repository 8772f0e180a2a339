# SPDX-License-Identifier: Apache-2.0
"""Two sidecars as istiod configures them for a plain HTTP service: filters, their order, TLS and routes as in its listeners. The
filters that Envoy's own builds lack (istio.*) are left out for Envoy: that is the nearest chain it can run. Without istio.alpn it
offers the one protocol that the benchmark's clients speak."""
import envoy_config as ec

GRPC_STATS = {"name": "envoy.filters.http.grpc_stats", "typed_config": {
    "@type": ec.FILTERS + "grpc_stats.v3.FilterConfig", "emit_filter_state": True, "stats_for_all_methods": False}}
FAULT = {"name": "envoy.filters.http.fault", "typed_config": {"@type": ec.FILTERS + "fault.v3.HTTPFault"}}
CORS = {"name": "envoy.filters.http.cors", "typed_config": {"@type": ec.FILTERS + "cors.v3.Cors"}}
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": ec.FILTERS + "router.v3.Router"}}
ALPN = {"name": "istio.alpn", "typed_config": {
    "@type": "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", "alpn_override": [
        {"alpn_override": ["istio-http/1.0", "istio", "http/1.0"]},
        {"upstream_protocol": "HTTP11", "alpn_override": ["istio-http/1.1", "istio", "http/1.1"]},
        {"upstream_protocol": "HTTP2", "alpn_override": ["istio-h2", "istio", "h2"]}]}}
LISTENER = ec.TYPE + "filters.listener."


def peers(direction):
    """Metadata exchange over headers, the side that `direction` (upstream, downstream) has."""
    return {"name": "istio.metadata_exchange", "typed_config": {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/io.istio.http.peer_metadata.Config",
        "value": {f"{direction}_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}],
                  f"{direction}_propagation": [{"istio_headers": {}}]}}}


def stats(**options):
    return {"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig", **options}}


def manager(name, hosts, filters, **more):
    sampling = {"client_sampling": {"value": 100}, "random_sampling": {"value": 1}, "overall_sampling": {"value": 100}}
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": ec.TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": hosts}, "http_filters": filters, "tracing": sampling,
        "stream_idle_timeout": "0s", "use_remote_address": False, "proxy_100_continue": True, "normalize_path": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}], "request_id_extension": {"typed_config": {
            "@type": ec.TYPE + "request_id.uuid.v3.UuidRequestIdConfig", "use_request_id_for_trace_sampling": True}}, **more}}


def bootstrap(workload, admin_port, listener, clusters):
    metadata = {"NAME": f"{workload}-0", "NAMESPACE": "bookinfo", "WORKLOAD_NAME": workload, "CLUSTER_ID": "Kubernetes",
                "MESH_ID": "cluster.local", "LABELS": {"app": workload, "version": "v1", "service.istio.io/canonical-name": workload,
                                                       "service.istio.io/canonical-revision": "v1"}}
    node = {"id": f"sidecar~127.0.0.1~{workload}-0.bookinfo~bookinfo.svc.cluster.local", "cluster": f"{workload}.bookinfo",
            "metadata": metadata}
    return {"node": node, "admin": {"address": ec.address(admin_port)},
            "static_resources": {"listeners": [listener], "clusters": clusters}}


def follows_downstream(cluster):
    cluster["typed_extension_protocol_options"] = {ec.HTTP_OPTIONS: {
        "@type": "type.googleapis.com/" + ec.HTTP_OPTIONS,
        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}}}
    return cluster


def outbound(certs, admin_port, port, inner, has_istio):
    filters = [peers("upstream"), GRPC_STATS, ALPN, FAULT, CORS, stats(), ROUTER]
    retries = {"retry_on": "connect-failure,refused-stream,unavailable,cancelled", "num_retries": 2,
               "host_selection_retry_max_attempts": "5"}
    name = "outbound|9080||b.bookinfo.svc.cluster.local"
    hosts = [ec.virtual_host("b", ["*"], name, timeout="0s", retry_policy=retries)]
    hosts[0]["include_request_attempt_count"] = True
    chain = [manager("outbound_0.0.0.0_9080;", hosts, known(filters, has_istio))]
    listener = {"name": "0.0.0.0_9080", "address": ec.address(port), "filter_chains": [{"filters": chain}],
                "listener_filters": [inspector("http_inspector.v3.HttpInspector")], "listener_filters_timeout": "0s",
                "continue_on_listener_filters_timeout": True, "traffic_direction": "OUTBOUND"}
    tls = ec.upstream_tls(certs)
    tls["typed_config"]["common_tls_context"]["alpn_protocols"] = ["istio-peer-exchange", "istio"] if has_istio else ["http/1.1"]
    return bootstrap("a", admin_port, listener, [follows_downstream(ec.cluster(name, [ec.address(inner)], tls=tls))])


def inbound(certs, admin_port, inner, upstream, has_istio):
    filters = [peers("downstream"), GRPC_STATS, FAULT, CORS, stats(disable_host_header_fallback=True), ROUTER]
    hosts = [ec.virtual_host("inbound|http|9080", ["*"], "inbound|9080||", timeout="0s",
                             retry_policy={"retry_on": "reset-before-request", "num_retries": 2},
                             max_stream_duration={"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"})]
    exchange = {"name": "istio.metadata_exchange", "typed_config": {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
        "value": {"protocol": "istio-peer-exchange", "enable_discovery": True}}}
    chain = {"filters": known([exchange], has_istio) + [manager(
        "inbound_0.0.0.0_9080;", hosts, known(filters, has_istio), server_name="istio-envoy",
        forward_client_cert_details="APPEND_FORWARD", set_current_client_cert_details={"subject": True, "dns": True, "uri": True})],
        "transport_socket": ec.downstream_tls(certs), "filter_chain_match": {"transport_protocol": "tls"}}
    common = chain["transport_socket"]["typed_config"]["common_tls_context"]
    common["alpn_protocols"] = ["istio-peer-exchange", "h2", "http/1.1"] + (["istio-h2", "istio-http/1.1", "istio"] if has_istio else [])
    listener = {"name": "virtualInbound", "address": ec.address(inner), "filter_chains": [chain],
                "listener_filters": [inspector("tls_inspector.v3.TlsInspector")], "listener_filters_timeout": "0s",
                "continue_on_listener_filters_timeout": True, "traffic_direction": "INBOUND"}
    return bootstrap("b", admin_port, listener, [follows_downstream(ec.cluster("inbound|9080||", [ec.address(upstream)]))])


def inspector(message):
    return {"name": "envoy.filters.listener." + message.split(".")[0], "typed_config": {"@type": LISTENER + message}}


def known(filters, has_istio):
    return [f for f in filters if has_istio or not f["name"].startswith("istio.")]
