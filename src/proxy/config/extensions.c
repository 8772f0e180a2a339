/* SPDX-License-Identifier: Apache-2.0
 *
 * The one table of extensions: which configuration types are read, by what, and what they configure.
 * Adding one is a row here and a reader. Main thread.
 */
#include "proxy/config/config_priv.h"
#include "proxy/config/istio_priv.h"
#include "proxy/filter/admission_control.h"
#include "proxy/filter/bandwidth_limit.h"
#include "proxy/filter/buffer.h"
#include "proxy/filter/compressor.h"
#include "proxy/filter/cors.h"
#include "proxy/filter/csrf.h"
#include "proxy/filter/decompressor.h"
#include "proxy/filter/dynamic_forward_proxy.h"
#include "proxy/filter/ext_authz.h"
#include "proxy/filter/fault.h"
#include "proxy/filter/grpc_stats.h"
#include "proxy/filter/grpc_web.h"
#include "proxy/filter/header_mutation.h"
#include "proxy/filter/jwt_authn.h"
#include "proxy/filter/header_to_metadata.h"
#include "proxy/filter/local_ratelimit.h"
#include "proxy/filter/health_check.h"
#include "proxy/filter/istio_alpn.h"
#include "proxy/filter/istio_metadata_exchange.h"
#include "proxy/filter/istio_stats.h"
#include "proxy/filter/ratelimit.h"
#include "proxy/filter/rbac.h"
#include "proxy/filter/set_filter_state.h"
#include "proxy/filter/on_demand.h"
#include "proxy/filter/set_metadata.h"
#include "proxy/filter/simple_network_filters.h"
#include "proxy/filter/stateful_session.h"
#include "proxy/filter/tcp_proxy.h"
#include "proxy/hcm/hcm.h"
#include "proxy/listener/listener_filter.h"
#include "proxy/overload/monitor.h"
#include "proxy/sink/sink.h"

#include <stdio.h>

#define P "envoy.extensions."
static const struct extension extensions[] = {
    {P "filters.network.http_connection_manager.v3.HttpConnectionManager", EXT_NETWORK_FILTER,
     "envoy.filters.network.http_connection_manager", cfg_hcm, &hcm_filter},
    {P "filters.network.tcp_proxy.v3.TcpProxy", EXT_NETWORK_FILTER, "envoy.filters.network.tcp_proxy", cfg_tcp_proxy,
     &tcp_proxy_filter},

    {P "filters.network.ratelimit.v3.RateLimit", EXT_NETWORK_FILTER, "envoy.filters.network.ratelimit", cfg_network_ratelimit,
     &network_ratelimit_filter},
    {P "filters.http.ratelimit.v3.RateLimit", EXT_HTTP_FILTER, "envoy.filters.http.ratelimit", cfg_http_ratelimit,
     &ratelimit_filter},
    {P "filters.http.ratelimit.v3.RateLimitPerRoute", EXT_ROUTE_FILTER, "envoy.filters.http.ratelimit",
     cfg_http_ratelimit_per_route, NULL},
    {P "filters.http.fault.v3.HTTPFault", EXT_HTTP_FILTER, "envoy.filters.http.fault", cfg_fault, &fault_filter},
    {P "filters.http.fault.v3.HTTPFault", EXT_ROUTE_FILTER, "envoy.filters.http.fault", cfg_fault_route, NULL},
    {P "filters.http.cors.v3.Cors", EXT_HTTP_FILTER, "envoy.filters.http.cors", cfg_cors, &cors_filter},
    {P "filters.http.cors.v3.CorsPolicy", EXT_ROUTE_FILTER, "envoy.filters.http.cors", cfg_cors_route, NULL},
    {P "filters.http.csrf.v3.CsrfPolicy", EXT_HTTP_FILTER, "envoy.filters.http.csrf", cfg_csrf, &csrf_filter},
    {P "filters.http.csrf.v3.CsrfPolicy", EXT_ROUTE_FILTER, "envoy.filters.http.csrf", cfg_csrf_route, NULL},
    {P "filters.http.jwt_authn.v3.JwtAuthentication", EXT_HTTP_FILTER, "envoy.filters.http.jwt_authn", cfg_jwt_authn, &jwt_authn_filter},
    {P "filters.http.jwt_authn.v3.PerRouteConfig", EXT_ROUTE_FILTER, "envoy.filters.http.jwt_authn", cfg_jwt_authn_route, NULL},
    {P "filters.http.buffer.v3.Buffer", EXT_HTTP_FILTER, "envoy.filters.http.buffer", cfg_buffer, &buffer_filter},
    {P "filters.http.buffer.v3.BufferPerRoute", EXT_ROUTE_FILTER, "envoy.filters.http.buffer", cfg_buffer_route, NULL},
    {P "filters.http.header_mutation.v3.HeaderMutation", EXT_HTTP_FILTER, "envoy.filters.http.header_mutation", cfg_header_mutation, &header_mutation_filter},
    {P "filters.http.header_mutation.v3.HeaderMutationPerRoute", EXT_ROUTE_FILTER, "envoy.filters.http.header_mutation", cfg_header_mutation_route, NULL},
    {P "filters.http.header_to_metadata.v3.Config", EXT_HTTP_FILTER, "envoy.filters.http.header_to_metadata", cfg_header_to_metadata, &header_to_metadata_filter},
    {P "filters.http.header_to_metadata.v3.Config", EXT_ROUTE_FILTER, "envoy.filters.http.header_to_metadata", cfg_header_to_metadata_route, NULL},
    {P "filters.http.on_demand.v3.OnDemand", EXT_HTTP_FILTER, "envoy.filters.http.on_demand", cfg_on_demand, &on_demand_filter},
    {P "filters.http.set_metadata.v3.Config", EXT_HTTP_FILTER, "envoy.filters.http.set_metadata", cfg_set_metadata, &set_metadata_filter},
    {P "filters.http.set_filter_state.v3.Config", EXT_HTTP_FILTER, "envoy.filters.http.set_filter_state", cfg_set_filter_state, &set_filter_state_filter},
    {P "filters.http.set_filter_state.v3.Config", EXT_ROUTE_FILTER, "envoy.filters.http.set_filter_state", cfg_set_filter_state_route, NULL},
    {P "http.stateful_session.cookie.v3.CookieBasedSessionState", EXT_SESSION_STATE, "envoy.http.stateful_session.cookie",
     cfg_session_cookie, NULL},
    {P "http.stateful_session.header.v3.HeaderBasedSessionState", EXT_SESSION_STATE, "envoy.http.stateful_session.header",
     cfg_session_header, NULL},
    {P "filters.http.stateful_session.v3.StatefulSession", EXT_HTTP_FILTER, "envoy.filters.http.stateful_session", cfg_stateful_session, &stateful_session_filter},
    {P "filters.http.stateful_session.v3.StatefulSessionPerRoute", EXT_ROUTE_FILTER, "envoy.filters.http.stateful_session", cfg_stateful_session_route, NULL},
    {P "filters.http.admission_control.v3.AdmissionControl", EXT_HTTP_FILTER, "envoy.filters.http.admission_control", cfg_admission_control, &admission_control_filter},
    {P "filters.http.bandwidth_limit.v3.BandwidthLimit", EXT_HTTP_FILTER, "envoy.filters.http.bandwidth_limit", cfg_bandwidth_limit, &bandwidth_limit_filter},
    {P "filters.http.bandwidth_limit.v3.BandwidthLimit", EXT_ROUTE_FILTER, "envoy.filters.http.bandwidth_limit", cfg_bandwidth_limit_route, NULL},
    {P "filters.http.health_check.v3.HealthCheck", EXT_HTTP_FILTER, "envoy.filters.http.health_check", cfg_health_filter,
     &health_check_filter},
    {P "filters.http.ext_authz.v3.ExtAuthz", EXT_HTTP_FILTER, "envoy.filters.http.ext_authz", cfg_ext_authz, &ext_authz_filter},
    {P "filters.http.ext_authz.v3.ExtAuthzPerRoute", EXT_ROUTE_FILTER, "envoy.filters.http.ext_authz", cfg_ext_authz_route, NULL},
    {P "filters.network.ext_authz.v3.ExtAuthz", EXT_NETWORK_FILTER, "envoy.filters.network.ext_authz", cfg_network_ext_authz,
     &network_ext_authz_filter},
    {P "filters.http.rbac.v3.RBAC", EXT_HTTP_FILTER, "envoy.filters.http.rbac", cfg_rbac, &rbac_filter},
    {P "filters.http.rbac.v3.RBACPerRoute", EXT_ROUTE_FILTER, "envoy.filters.http.rbac", cfg_rbac_route, NULL},
    {P "filters.network.rbac.v3.RBAC", EXT_NETWORK_FILTER, "envoy.filters.network.rbac", cfg_network_rbac, &network_rbac_filter},
    {P "rbac.principals.mtls_authenticated.v3.Config", EXT_RBAC_PRINCIPAL, "envoy.rbac.principals.mtls_authenticated",
     cfg_mtls_authenticated, NULL},
    {P "filters.http.router.v3.Router", EXT_HTTP_FILTER, "envoy.filters.http.router", cfg_router, &router_filter},
    {P "filters.http.grpc_stats.v3.FilterConfig", EXT_HTTP_FILTER, "envoy.filters.http.grpc_stats", cfg_grpc_stats,
     &grpc_stats_filter},
    {P "filters.http.grpc_web.v3.GrpcWeb", EXT_HTTP_FILTER, "envoy.filters.http.grpc_web", cfg_grpc_web, &grpc_web_filter},
    {P "filters.http.grpc_http1_bridge.v3.Config", EXT_HTTP_FILTER, "envoy.filters.http.grpc_http1_bridge", cfg_grpc_http1_bridge,
     &grpc_http1_bridge_filter},
    {P "filters.http.local_ratelimit.v3.LocalRateLimit", EXT_HTTP_FILTER, "envoy.filters.http.local_ratelimit",
     cfg_local_ratelimit, &local_ratelimit_filter},
    {P "filters.http.local_ratelimit.v3.LocalRateLimit", EXT_ROUTE_FILTER, "envoy.filters.http.local_ratelimit",
     cfg_local_ratelimit_route, &local_ratelimit_filter},
    {P "filters.network.local_ratelimit.v3.LocalRateLimit", EXT_NETWORK_FILTER, "envoy.filters.network.local_ratelimit",
     cfg_network_local_ratelimit, &network_local_ratelimit_filter},
    {P "filters.network.connection_limit.v3.ConnectionLimit", EXT_NETWORK_FILTER, "envoy.filters.network.connection_limit",
     cfg_connection_limit, &connection_limit_filter},
    {P "filters.network.echo.v3.Echo", EXT_NETWORK_FILTER, "envoy.filters.network.echo", cfg_echo, &echo_filter},
    {P "filters.network.direct_response.v3.Config", EXT_NETWORK_FILTER, "envoy.filters.network.direct_response",
     cfg_direct_response, &direct_response_filter},
    {P "filters.network.sni_cluster.v3.SniCluster", EXT_NETWORK_FILTER, "envoy.filters.network.sni_cluster", cfg_sni_cluster,
     &sni_cluster_filter},
    {P "filters.network.set_filter_state.v3.Config", EXT_NETWORK_FILTER, "envoy.filters.network.set_filter_state",
     cfg_network_set_filter_state, &network_set_filter_state_filter},
    {P "filters.http.compressor.v3.Compressor", EXT_HTTP_FILTER, "envoy.filters.http.compressor", cfg_compressor,
     &compressor_filter},
    {P "filters.http.compressor.v3.CompressorPerRoute", EXT_ROUTE_FILTER, "envoy.filters.http.compressor", cfg_compressor_route,
     &compressor_filter},
    {P "filters.http.decompressor.v3.Decompressor", EXT_HTTP_FILTER, "envoy.filters.http.decompressor", cfg_decompressor,
     &decompressor_filter},
    {P "compression.gzip.compressor.v3.Gzip", EXT_COMPRESSION, "envoy.compression.gzip.compressor", cfg_gzip_compressor, NULL},
    {P "compression.brotli.compressor.v3.Brotli", EXT_COMPRESSION, "envoy.compression.brotli.compressor", cfg_brotli_compressor,
     NULL},
    {P "compression.zstd.compressor.v3.Zstd", EXT_COMPRESSION, "envoy.compression.zstd.compressor", cfg_zstd_compressor, NULL},
    {P "compression.gzip.decompressor.v3.Gzip", EXT_DECOMPRESSION, "envoy.compression.gzip.decompressor", cfg_gzip_decompressor,
     NULL},
    {P "compression.brotli.decompressor.v3.Brotli", EXT_DECOMPRESSION, "envoy.compression.brotli.decompressor",
     cfg_brotli_decompressor, NULL},
    {P "compression.zstd.decompressor.v3.Zstd", EXT_DECOMPRESSION, "envoy.compression.zstd.decompressor", cfg_zstd_decompressor,
     NULL},

    {P "filters.listener.tls_inspector.v3.TlsInspector", EXT_LISTENER_FILTER, "envoy.filters.listener.tls_inspector",
     cfg_tls_inspector, &tls_inspector_filter},
    {P "filters.listener.http_inspector.v3.HttpInspector", EXT_LISTENER_FILTER, "envoy.filters.listener.http_inspector",
     cfg_http_inspector, &http_inspector_filter},
    {P "filters.listener.proxy_protocol.v3.ProxyProtocol", EXT_LISTENER_FILTER, "envoy.filters.listener.proxy_protocol",
     cfg_proxy_protocol, &proxy_protocol_filter},
    {P "filters.listener.original_src.v3.OriginalSrc", EXT_LISTENER_FILTER, "envoy.filters.listener.original_src",
     cfg_original_src, &original_src_filter},
    {P "filters.listener.original_dst.v3.OriginalDst", EXT_LISTENER_FILTER, "envoy.filters.listener.original_dst",
     cfg_original_dst, &original_dst_filter},

    {P "transport_sockets.tls.v3.SPIFFECertValidatorConfig", EXT_CERT_VALIDATOR, "envoy.tls.cert_validator.spiffe", cfg_spiffe_validator,
     NULL},
    {P "transport_sockets.raw_buffer.v3.RawBuffer", EXT_DOWNSTREAM_SOCKET, "envoy.transport_sockets.raw_buffer",
     cfg_raw_socket, NULL},
    {P "transport_sockets.tls.v3.DownstreamTlsContext", EXT_DOWNSTREAM_SOCKET, "envoy.transport_sockets.tls",
     cfg_downstream_tls, NULL},
    {P "transport_sockets.raw_buffer.v3.RawBuffer", EXT_UPSTREAM_SOCKET, "envoy.transport_sockets.raw_buffer", cfg_raw_socket,
     NULL},
    {P "transport_sockets.tls.v3.UpstreamTlsContext", EXT_UPSTREAM_SOCKET, "envoy.transport_sockets.tls", cfg_upstream_tls,
     NULL},
    {P "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport", EXT_UPSTREAM_SOCKET,
     "envoy.transport_sockets.upstream_proxy_protocol", cfg_upstream_proxy_protocol, NULL},

    {P "access_loggers.file.v3.FileAccessLog", EXT_ACCESS_LOGGER, "envoy.access_loggers.file", cfg_file_logger, NULL},
    {P "access_loggers.stream.v3.StdoutAccessLog", EXT_ACCESS_LOGGER, "envoy.access_loggers.stdout", cfg_stdout_logger, NULL},
    {P "access_loggers.stream.v3.StderrAccessLog", EXT_ACCESS_LOGGER, "envoy.access_loggers.stderr", cfg_stderr_logger, NULL},

    {P "access_loggers.grpc.v3.HttpGrpcAccessLogConfig", EXT_ACCESS_LOGGER, "envoy.access_loggers.http_grpc", cfg_http_grpc_logger,
     NULL},
    {P "access_loggers.grpc.v3.TcpGrpcAccessLogConfig", EXT_ACCESS_LOGGER, "envoy.access_loggers.tcp_grpc", cfg_tcp_grpc_logger,
     NULL},

    {P "health_check.event_sinks.file.v3.HealthCheckEventFileSink", EXT_HEALTH_SINK, "envoy.health_check.event_sinks.file",
     cfg_health_file_sink, NULL},
    {P "access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig", EXT_ACCESS_LOGGER, "envoy.access_loggers.open_telemetry",
     cfg_otel_logger, NULL},
    {P "clusters.dynamic_forward_proxy.v3.ClusterConfig", EXT_CLUSTER, "envoy.clusters.dynamic_forward_proxy",
     cfg_forward_proxy_cluster, NULL},
    {P "filters.http.dynamic_forward_proxy.v3.FilterConfig", EXT_HTTP_FILTER, "envoy.filters.http.dynamic_forward_proxy",
     cfg_forward_proxy, &forward_proxy_filter},
    {P "filters.http.dynamic_forward_proxy.v3.PerRouteConfig", EXT_ROUTE_FILTER, "envoy.filters.http.dynamic_forward_proxy",
     cfg_forward_proxy_route, NULL},
    {P "filters.network.sni_dynamic_forward_proxy.v3.FilterConfig", EXT_NETWORK_FILTER,
     "envoy.filters.network.sni_dynamic_forward_proxy", cfg_sni_forward_proxy, &sni_forward_proxy_filter},
    {P "clusters.dns.v3.DnsCluster", EXT_CLUSTER, "envoy.cluster.dns", cfg_dns_cluster, NULL},
    {P "clusters.aggregate.v3.ClusterConfig", EXT_CLUSTER, "envoy.clusters.aggregate", cfg_aggregate_cluster, NULL},

    {P "load_balancing_policies.round_robin.v3.RoundRobin", EXT_LB_POLICY, "envoy.load_balancing_policies.round_robin",
     cfg_lb_round_robin, NULL},
    {P "load_balancing_policies.least_request.v3.LeastRequest", EXT_LB_POLICY, "envoy.load_balancing_policies.least_request",
     cfg_lb_least_request, NULL},
    {P "load_balancing_policies.random.v3.Random", EXT_LB_POLICY, "envoy.load_balancing_policies.random", cfg_lb_random, NULL},
    {P "load_balancing_policies.ring_hash.v3.RingHash", EXT_LB_POLICY, "envoy.load_balancing_policies.ring_hash",
     cfg_lb_ring_hash, NULL},
    {P "load_balancing_policies.maglev.v3.Maglev", EXT_LB_POLICY, "envoy.load_balancing_policies.maglev", cfg_lb_maglev, NULL},
    {P "load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", EXT_LB_POLICY,
     "envoy.load_balancing_policies.client_side_weighted_round_robin", cfg_lb_client_side_weighted, NULL},
    {P "load_balancing_policies.subset.v3.Subset", EXT_LB_POLICY, "envoy.load_balancing_policies.subset", cfg_lb_subset, NULL},
    {P "load_balancing_policies.override_host.v3.OverrideHost", EXT_LB_POLICY, "envoy.load_balancing_policies.override_host",
     cfg_lb_override_host, NULL},
    {P "load_balancing_policies.wrr_locality.v3.WrrLocality", EXT_LB_POLICY, "envoy.load_balancing_policies.wrr_locality",
     cfg_lb_wrr_locality, NULL},
    {P "load_balancing_policies.cluster_provided.v3.ClusterProvided", EXT_LB_POLICY,
     "envoy.load_balancing_policies.cluster_provided", cfg_lb_cluster_provided, NULL},

    {P "network.dns_resolver.cares.v3.CaresDnsResolverConfig", EXT_DNS_RESOLVER, "envoy.network.dns_resolver.cares", cfg_cares,
     NULL},

    {P "retry.host.previous_hosts.v3.PreviousHostsPredicate", EXT_RETRY_HOST, "envoy.retry_host_predicates.previous_hosts",
     cfg_retry_previous_hosts, NULL},
    {P "retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate", EXT_RETRY_HOST,
     "envoy.retry_host_predicates.omit_canary_hosts", cfg_retry_omit_canary, NULL},
    {P "retry.host.omit_host_metadata.v3.OmitHostMetadataConfig", EXT_RETRY_HOST,
     "envoy.retry_host_predicates.omit_host_metadata", cfg_retry_omit_metadata, NULL},
    {P "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", EXT_RETRY_PRIORITY,
     "envoy.retry_priorities.previous_priorities", cfg_retry_previous_priorities, NULL},
    {P "path.match.uri_template.v3.UriTemplateMatchConfig", EXT_PATH_MATCH, "envoy.path.match.uri_template.uri_template_matcher",
     cfg_path_template_match, NULL},
    {P "path.rewrite.uri_template.v3.UriTemplateRewriteConfig", EXT_PATH_REWRITE,
     "envoy.path.rewrite.uri_template.uri_template_rewriter", cfg_path_template_rewrite, NULL},
    {P "internal_redirect.previous_routes.v3.PreviousRoutesConfig", EXT_REDIRECT_PREDICATE,
     "envoy.internal_redirect_predicates.previous_routes", cfg_redirect_previous_routes, NULL},
    {P "internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig", EXT_REDIRECT_PREDICATE,
     "envoy.internal_redirect_predicates.safe_cross_scheme", cfg_redirect_safe_cross_scheme, NULL},
    {P "internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig", EXT_REDIRECT_PREDICATE,
     "envoy.internal_redirect_predicates.allow_listed_routes", cfg_redirect_allow_listed, NULL},

    {P "http.original_ip_detection.xff.v3.XffConfig", EXT_IP_DETECTION, "envoy.http.original_ip_detection.xff",
     cfg_xff_detection, NULL},
    {P "http.original_ip_detection.custom_header.v3.CustomHeaderConfig", EXT_IP_DETECTION,
     "envoy.http.original_ip_detection.custom_header", cfg_custom_header_detection, NULL},
    {P "http.early_header_mutation.header_mutation.v3.HeaderMutation", EXT_EARLY_MUTATION,
     "envoy.http.early_header_mutation.header_mutation", cfg_early_header_mutation, NULL},
    {P "request_id.uuid.v3.UuidRequestIdConfig", EXT_REQUEST_ID, "envoy.request_id.uuid", cfg_uuid_request_id, NULL},

    {P "access_loggers.filters.cel.v3.ExpressionFilter", EXT_LOG_FILTER, "envoy.access_loggers.extension_filters.cel",
     cfg_cel_filter, NULL},
    {"envoy.config.metrics.v3.StatsdSink", EXT_STATS_SINK, "envoy.stat_sinks.statsd", cfg_statsd_sink, &statsd_sink},
    {"envoy.config.metrics.v3.DogStatsdSink", EXT_STATS_SINK, "envoy.stat_sinks.dog_statsd", cfg_dog_statsd_sink, &statsd_sink},
    {P "stat_sinks.graphite_statsd.v3.GraphiteStatsdSink", EXT_STATS_SINK, "envoy.stat_sinks.graphite_statsd",
     cfg_graphite_statsd_sink, &statsd_sink},
    {"envoy.config.metrics.v3.MetricsServiceConfig", EXT_STATS_SINK, "envoy.stat_sinks.metrics_service", cfg_metrics_service_sink,
     &metrics_service_sink},
    {"envoy.config.metrics.v3.HystrixSink", EXT_STATS_SINK, "envoy.stat_sinks.hystrix", cfg_hystrix_sink, &hystrix_sink},
    {P "stat_sinks.open_telemetry.v3.SinkConfig", EXT_STATS_SINK, "envoy.stat_sinks.open_telemetry", cfg_open_telemetry_sink,
     &open_telemetry_sink},
    {"envoy.config.trace.v3.OpenTelemetryConfig", EXT_TRACER, "envoy.tracers.opentelemetry", cfg_otel_tracer, NULL},
    {"envoy.config.trace.v3.ZipkinConfig", EXT_TRACER, "envoy.tracers.zipkin", cfg_zipkin_tracer, NULL},
    {P "tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig", EXT_TRACE_SAMPLER, "envoy.tracers.opentelemetry.samplers.always_on",
     cfg_sampler_always_on, NULL},
    {P "tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig", EXT_TRACE_SAMPLER,
     "envoy.tracers.opentelemetry.samplers.parent_based", cfg_sampler_parent, NULL},
    {P "tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig", EXT_TRACE_SAMPLER,
     "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", cfg_sampler_ratio, NULL},
    {P "tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig", EXT_RESOURCE_DETECTOR,
     "envoy.tracers.opentelemetry.resource_detectors.static_config", cfg_static_resource, NULL},
    {P "tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig", EXT_RESOURCE_DETECTOR,
     "envoy.tracers.opentelemetry.resource_detectors.environment", cfg_environment_resource, NULL},

    {P "resource_monitors.fixed_heap.v3.FixedHeapConfig", EXT_RESOURCE_MONITOR, "envoy.resource_monitors.fixed_heap",
     cfg_fixed_heap, &monitor_fixed_heap},
    {P "resource_monitors.cgroup_memory.v3.CgroupMemoryConfig", EXT_RESOURCE_MONITOR, "envoy.resource_monitors.cgroup_memory",
     cfg_cgroup_memory, &monitor_cgroup_memory},
    {P "resource_monitors.cpu_utilization.v3.CpuUtilizationConfig", EXT_RESOURCE_MONITOR,
     "envoy.resource_monitors.cpu_utilization", cfg_cpu_utilization, &monitor_cpu},
    {P "resource_monitors.injected_resource.v3.InjectedResourceConfig", EXT_RESOURCE_MONITOR,
     "envoy.resource_monitors.injected_resource", cfg_injected_resource, &monitor_injected},
    {"weft.resource_monitors.v1.WorkerUtilization", EXT_RESOURCE_MONITOR, "weft.resource_monitors.worker_utilization",
     cfg_worker_utilization, &monitor_workers},
    {P "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig", EXT_RESOURCE_MONITOR,
     "envoy.resource_monitors.global_downstream_max_connections", cfg_downstream_connections, &monitor_connections},

    {"envoy.type.matcher.v3.HttpRequestHeaderMatchInput", EXT_MATCH_INPUT, "envoy.matching.inputs.request_headers", cfg_input_header, NULL},
    {"envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", EXT_MATCH_INPUT, "envoy.matching.inputs.query_params", cfg_input_query,
     NULL},
    {P "matching.common_inputs.network.v3.FilterStateInput", EXT_MATCH_INPUT, "envoy.matching.inputs.filter_state", cfg_input_filter_state, NULL},
    {P "matching.common_inputs.network.v3.SourceIPInput", EXT_MATCH_INPUT, "envoy.matching.inputs.source_ip", cfg_input_connection, NULL},
    {P "matching.common_inputs.network.v3.SourcePortInput", EXT_MATCH_INPUT, "envoy.matching.inputs.source_port", cfg_input_connection, NULL},
    {P "matching.common_inputs.network.v3.DirectSourceIPInput", EXT_MATCH_INPUT, "envoy.matching.inputs.direct_source_ip", cfg_input_connection, NULL},
    {P "matching.common_inputs.network.v3.DestinationIPInput", EXT_MATCH_INPUT, "envoy.matching.inputs.destination_ip", cfg_input_connection, NULL},
    {P "matching.common_inputs.network.v3.DestinationPortInput", EXT_MATCH_INPUT, "envoy.matching.inputs.destination_port", cfg_input_connection, NULL},
    {P "matching.common_inputs.network.v3.SourceTypeInput", EXT_MATCH_INPUT, "envoy.matching.inputs.source_type", cfg_input_connection, NULL},
    {P "matching.common_inputs.ssl.v3.UriSanInput", EXT_MATCH_INPUT, "envoy.matching.inputs.uri_san", cfg_input_connection, NULL},
    {P "matching.common_inputs.ssl.v3.DnsSanInput", EXT_MATCH_INPUT, "envoy.matching.inputs.dns_san", cfg_input_connection, NULL},
    {P "matching.common_inputs.ssl.v3.SubjectInput", EXT_MATCH_INPUT, "envoy.matching.inputs.subject", cfg_input_connection, NULL},
    {P "matching.common_inputs.network.v3.ServerNameInput", EXT_MATCH_INPUT, "envoy.matching.inputs.server_name", cfg_input_connection, NULL},

    {"envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery", EXT_FORMATTER, "envoy.formatter.req_without_query",
     cfg_formatter, NULL},
    {"envoy.extensions.formatter.metadata.v3.Metadata", EXT_FORMATTER, "envoy.formatter.metadata", cfg_formatter, NULL},
    {"envoy.extensions.formatter.cel.v3.Cel", EXT_FORMATTER, "envoy.formatter.cel", cfg_formatter, NULL},
    {"envoy.tcp.metadataexchange.config.MetadataExchange", EXT_NETWORK_FILTER, "istio.metadata_exchange", cfg_istio_tcp_mx,
     &istio_tcp_mx_filter},
    {"envoy.tcp.metadataexchange.config.MetadataExchange", EXT_UPSTREAM_FILTER, "istio.metadata_exchange", cfg_istio_upstream_mx,
     NULL},
    {"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", EXT_HTTP_FILTER, "istio.alpn", cfg_istio_alpn, &istio_alpn_filter},
    {"stats.PluginConfig", EXT_HTTP_FILTER, "istio.stats", cfg_istio_http_stats, &istio_http_stats_filter},
    {"stats.PluginConfig", EXT_NETWORK_FILTER, "istio.stats", cfg_istio_tcp_stats, &istio_tcp_stats_filter},
    {"io.istio.http.peer_metadata.Config", EXT_HTTP_FILTER, "istio.metadata_exchange", cfg_istio_http_mx, &istio_http_mx_filter},
};
#undef P

static const struct extension *find(enum extension_kind kind, struct str type)
{
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        if (extensions[i].kind == kind && str_eq(type, str_from(extensions[i].type)))
            return &extensions[i];
    return NULL;
}

bool cfg_extension_is_named(enum extension_kind kind, struct str type)
{
    return find(kind, type) != NULL;
}

bool cfg_extension_is_known(struct config_reader *cr, enum extension_kind kind, const pb_any *any)
{
    return find(kind, proto_any_content_type(cr->r.arena, any)) != NULL;
}

const struct extension *cfg_extension(struct config_reader *cr, enum extension_kind kind, const char *field, struct str name,
                                      const pb_any *any, ProtobufCMessage **msg)
{
    if (!any) {
        FAULT(field, "must be set");
        return NULL;
    }
    struct str type = proto_any_content_type(cr->r.arena, any);
    const struct extension *ext = find(kind, type);
    if (!ext) {
        /* The well-known name says more to a person, where the name is one and not a free label. */
        char what[ERR_MESSAGE_BYTES / 2];
        if (str_has_prefix(name, STR("envoy.")))
            snprintf(what, sizeof what, "%.*s (%.*s)", STR_ARG(name), STR_ARG(type));
        else
            snprintf(what, sizeof what, "%.*s", STR_ARG(type));
        proto_read_whole(&cr->r, &any->base);
        UNSUPPORTED(field, what);
        return NULL;
    }
    *msg = proto_any_read_content(&cr->r, field, any);
    return *msg ? ext : NULL;
}
