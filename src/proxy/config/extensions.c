/* SPDX-License-Identifier: Apache-2.0
 *
 * The one table of extensions: which configuration types are read, by what, and what they configure.
 * Adding one is a row here and a reader. Main thread.
 */
#include "proxy/config/config_priv.h"
#include "proxy/filter/grpc_stats.h"
#include "proxy/filter/tcp_proxy.h"
#include "proxy/hcm/hcm.h"
#include "proxy/listener/listener_filter.h"

#include <stdio.h>

#define P "envoy.extensions."
static const struct extension extensions[] = {
    {P "filters.network.http_connection_manager.v3.HttpConnectionManager", EXT_NETWORK_FILTER,
     "envoy.filters.network.http_connection_manager", cfg_hcm, &hcm_filter},
    {P "filters.network.tcp_proxy.v3.TcpProxy", EXT_NETWORK_FILTER, "envoy.filters.network.tcp_proxy", cfg_tcp_proxy,
     &tcp_proxy_filter},

    {P "filters.http.router.v3.Router", EXT_HTTP_FILTER, "envoy.filters.http.router", cfg_router, &router_filter},
    {P "filters.http.grpc_stats.v3.FilterConfig", EXT_HTTP_FILTER, "envoy.filters.http.grpc_stats", cfg_grpc_stats,
     &grpc_stats_filter},

    {P "filters.listener.tls_inspector.v3.TlsInspector", EXT_LISTENER_FILTER, "envoy.filters.listener.tls_inspector",
     cfg_tls_inspector, &tls_inspector_filter},
    {P "filters.listener.http_inspector.v3.HttpInspector", EXT_LISTENER_FILTER, "envoy.filters.listener.http_inspector",
     cfg_http_inspector, &http_inspector_filter},
    {P "filters.listener.proxy_protocol.v3.ProxyProtocol", EXT_LISTENER_FILTER, "envoy.filters.listener.proxy_protocol",
     cfg_proxy_protocol, &proxy_protocol_filter},
    {P "filters.listener.original_dst.v3.OriginalDst", EXT_LISTENER_FILTER, "envoy.filters.listener.original_dst",
     cfg_original_dst, &original_dst_filter},

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

    {P "clusters.dns.v3.DnsCluster", EXT_CLUSTER, "envoy.cluster.dns", cfg_dns_cluster, NULL},

    {P "load_balancing_policies.round_robin.v3.RoundRobin", EXT_LB_POLICY, "envoy.load_balancing_policies.round_robin",
     cfg_lb_round_robin, NULL},
    {P "load_balancing_policies.least_request.v3.LeastRequest", EXT_LB_POLICY, "envoy.load_balancing_policies.least_request",
     cfg_lb_least_request, NULL},
    {P "load_balancing_policies.random.v3.Random", EXT_LB_POLICY, "envoy.load_balancing_policies.random", cfg_lb_random, NULL},
    {P "load_balancing_policies.cluster_provided.v3.ClusterProvided", EXT_LB_POLICY,
     "envoy.load_balancing_policies.cluster_provided", cfg_lb_cluster_provided, NULL},

    {P "network.dns_resolver.cares.v3.CaresDnsResolverConfig", EXT_DNS_RESOLVER, "envoy.network.dns_resolver.cares", cfg_cares,
     NULL},

    {P "http.original_ip_detection.xff.v3.XffConfig", EXT_IP_DETECTION, "envoy.http.original_ip_detection.xff",
     cfg_xff_detection, NULL},
    {P "http.original_ip_detection.custom_header.v3.CustomHeaderConfig", EXT_IP_DETECTION,
     "envoy.http.original_ip_detection.custom_header", cfg_custom_header_detection, NULL},
    {P "request_id.uuid.v3.UuidRequestIdConfig", EXT_REQUEST_ID, "envoy.request_id.uuid", cfg_uuid_request_id, NULL},
};
#undef P

static const struct extension *find(enum extension_kind kind, struct str type)
{
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        if (extensions[i].kind == kind && str_eq(type, str_from(extensions[i].type)))
            return &extensions[i];
    return NULL;
}

const struct extension *cfg_extension(struct config_reader *cr, enum extension_kind kind, const char *field, struct str name,
                                      const pb_any *any, ProtobufCMessage **msg)
{
    struct str type = proto_any_type(any);
    if (!any) {
        FAULT(field, "must be set");
        return NULL;
    }
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
    *msg = proto_any_read(&cr->r, field, any);
    return *msg ? ext : NULL;
}
