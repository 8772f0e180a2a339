/* SPDX-License-Identifier: Apache-2.0
 *
 * Connection managers: what all share stands as a constant; the chain's purpose chooses filters, route source, tracing and logs.
 */
#include "control/translate/translate_priv.h"

#define HCM Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager
#define RDS Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__Rds
#define PREFIX_(x) envoy__extensions__filters__network__http_connection_manager__v3__##x

#define COMMON_FIELDS                                                                                                               \
    "\"stream_idle_timeout\":\"0s\",\"use_remote_address\":false,\"proxy_100_continue\":true,"                                      \
    "\"upgrade_configs\":[{\"upgrade_type\":\"websocket\"}],\"normalize_path\":true,"                                               \
    "\"path_with_escaped_slashes_action\":\"KEEP_UNCHANGED\",\"request_id_extension\":{\"typed_config\":{\"@type\":"                \
    "\"type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig\",\"use_request_id_for_trace_sampling\":true}}"
static const char outbound[] = "{" COMMON_FIELDS "}";
static const char inbound[] = "{\"server_name\":\"istio-envoy\",\"forward_client_cert_details\":\"APPEND_FORWARD\","
                              "\"set_current_client_cert_details\":{\"subject\":true,\"dns\":true,\"uri\":true}," COMMON_FIELDS "}";
static const char gateway[] =
    "{\"server_name\":\"istio-envoy\",\"forward_client_cert_details\":\"SANITIZE_SET\","
    "\"set_current_client_cert_details\":{\"subject\":true,\"cert\":true,\"dns\":true,\"uri\":true},"
    "\"http_protocol_options\":{},\"stream_idle_timeout\":\"0s\",\"use_remote_address\":true,\"proxy_100_continue\":true,"
    "\"upgrade_configs\":[{\"upgrade_type\":\"websocket\"}],\"normalize_path\":true,"
    "\"path_with_escaped_slashes_action\":\"KEEP_UNCHANGED\",\"request_id_extension\":{\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig\",\"use_request_id_for_trace_sampling\":true}}}";

#define PEER(value_)                                                                                                                \
    "{\"name\":\"istio.metadata_exchange\",\"typed_config\":{\"@type\":\"type.googleapis.com/udpa.type.v1.TypedStruct\","           \
    "\"type_url\":\"type.googleapis.com/io.istio.http.peer_metadata.Config\",\"value\":" value_ "}}"
static const char peers_outbound[] = PEER("{\"upstream_discovery\":[{\"istio_headers\":{}},{\"workload_discovery\":{}}],"
                                          "\"upstream_propagation\":[{\"istio_headers\":{}}]}");
static const char peers_inbound[] = PEER("{\"downstream_discovery\":[{\"istio_headers\":{}},{\"workload_discovery\":{}}],"
                                         "\"downstream_propagation\":[{\"istio_headers\":{}}]}");
static const char grpc_stats[] =
    "{\"name\":\"envoy.filters.http.grpc_stats\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig\",\"emit_filter_state\":true,"
    "\"stats_for_all_methods\":false}}";
static const char alpn[] =
    "{\"name\":\"istio.alpn\",\"typed_config\":{\"@type\":\"type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig\","
    "\"alpn_override\":[{\"alpn_override\":[\"istio-http/1.0\",\"istio\",\"http/1.0\"]},"
    "{\"upstream_protocol\":\"HTTP11\",\"alpn_override\":[\"istio-http/1.1\",\"istio\",\"http/1.1\"]},"
    "{\"upstream_protocol\":\"HTTP2\",\"alpn_override\":[\"istio-h2\",\"istio\",\"h2\"]}]}}";
static const char fault[] = "{\"name\":\"envoy.filters.http.fault\",\"typed_config\":{\"@type\":"
                            "\"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault\"}}";
static const char cors[] = "{\"name\":\"envoy.filters.http.cors\",\"typed_config\":{\"@type\":"
                           "\"type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors\"}}";
static const char router[] = "{\"name\":\"envoy.filters.http.router\",\"typed_config\":{\"@type\":"
                             "\"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\"}}";
static const char rds_source[] =
    "{\"config_source\":{\"ads\":{},\"initial_fetch_timeout\":\"0s\",\"resource_api_version\":\"V3\"}}";

static void add_constant(const struct translation *t, struct many *filters, const char *literal)
{
    many_add(t, filters, constant(t, &PREFIX_(http_filter__descriptor), literal));
}

http_filter *http_filter_new(const struct translation *t, const char *name, Google__Protobuf__Any *config)
{
    http_filter *f = MAKE(t, http_filter, PREFIX_(http_filter__descriptor));
    f->name = text(t, str_from(name));
    f->config_type_case = ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = config;
    return f;
}

/* Istio's order: who the peer is, policies, then what works on requests, statistics, the router. */
static void http_filters(const struct translation *t, const struct chain_purpose *p, struct many *out)
{
    bool is_inbound = p->is_inbound && !p->is_gateway;
    if (t->node->takes_istio_filters)
        add_constant(t, out, is_inbound ? peers_inbound : peers_outbound);
    if (p->is_inbound || p->is_gateway)
        policy_http_filters(t, p, out);
    add_constant(t, out, grpc_stats);
    if (!is_inbound && t->node->takes_istio_filters)
        add_constant(t, out, alpn);
    add_constant(t, out, fault);
    add_constant(t, out, cors);
    telemetry_http_filters(t, p, out);
    add_constant(t, out, router);
}

static void set_routes(const struct translation *t, const struct chain_purpose *p, HCM *hcm)
{
    if (p->routes) {
        hcm->route_specifier_case = ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG;
        hcm->route_config = p->routes;
        return;
    }
    RDS *rds = COPY_OF(t, RDS, PREFIX_(rds__descriptor), rds_source);
    rds->route_config_name = text(t, p->route_name);
    hcm->route_specifier_case = ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
    hcm->rds = rds;
}

Envoy__Config__Listener__V3__Filter *filter_hcm(const struct translation *t, const struct chain_purpose *p)
{
    HCM *hcm = COPY_OF(t, HCM, PREFIX_(http_connection_manager__descriptor), p->is_gateway ? gateway : p->is_inbound ? inbound : outbound);
    struct many filters = {0};
    http_filters(t, p, &filters);
    hcm->stat_prefix = textf(t, "%.*s;", STR_ARG(p->stat_prefix));
    hcm->http_filters = (http_filter **)filters.items;
    hcm->n_http_filters = filters.count;
    if (t->node->idle_timeout_ms && !p->is_inbound) {
        Envoy__Config__Core__V3__HttpProtocolOptions *o =
            MAKE(t, Envoy__Config__Core__V3__HttpProtocolOptions, envoy__config__core__v3__http_protocol_options__descriptor);
        o->idle_timeout = duration_of_ms(t, t->node->idle_timeout_ms);
        hcm->common_http_protocol_options = o;
    }
    set_routes(t, p, hcm);
    telemetry_hcm(t, p, hcm);
    Envoy__Config__Listener__V3__Filter *f =
        MAKE(t, Envoy__Config__Listener__V3__Filter, envoy__config__listener__v3__filter__descriptor);
    f->name = text(t, STR("envoy.filters.network.http_connection_manager"));
    f->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = any_of(t, &hcm->base);
    return f;
}
