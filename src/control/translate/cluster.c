/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters that a proxy sends to: one for each port of each service in its scope and for each subset of it, and the fixed ones for
 * what the mesh doesn't know.
 */
#include "control/translate/translate_priv.h"

#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb-c.h"

#define CLUSTER Envoy__Config__Cluster__V3__Cluster

#define NO_LIMITS                                                                                                                   \
    "\"circuit_breakers\":{\"thresholds\":[{\"max_connections\":4294967295,\"max_pending_requests\":4294967295,"                     \
    "\"max_requests\":4294967295,\"max_retries\":4294967295}]}"
#define RESOLVER                                                                                                                    \
    "\"typed_dns_resolver_config\":{\"name\":\"envoy.network.dns_resolver.cares\",\"typed_config\":{\"@type\":"                 \
    "\"type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig\",\"udp_max_queries\":100}}"
#define PEERS                                                                                                                       \
    "\"filters\":[{\"name\":\"istio.metadata_exchange\",\"typed_config\":{\"@type\":\"type.googleapis.com/udpa.type.v1.TypedStruct\","    \
    "\"type_url\":\"type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange\","                                      \
    "\"value\":{\"enable_discovery\":true,\"protocol\":\"istio-peer-exchange\"}}}]"
#define DOWNSTREAM_PROTOCOL                                                                                                         \
    "\"typed_extension_protocol_options\":{\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\":{\"@type\":"                  \
    "\"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\",\"common_http_protocol_options\":"              \
    "{\"idle_timeout\":\"300s\"},\"use_downstream_protocol_config\":{\"http_protocol_options\":{},\"http2_protocol_options\":{}}}}"

static const char blackhole[] =
    "{\"name\":\"BlackHoleCluster\",\"alt_stat_name\":\"BlackHoleCluster;\",\"type\":\"STATIC\",\"connect_timeout\":\"10s\"}";
static const char passthrough[] =
    "{\"name\":\"PassthroughCluster\",\"alt_stat_name\":\"PassthroughCluster;\",\"type\":\"ORIGINAL_DST\",\"connect_timeout\":\"10s\","
    "\"lb_policy\":\"CLUSTER_PROVIDED\"," NO_LIMITS "," DOWNSTREAM_PROTOCOL "," PEERS "}";
static const char passthrough_plain[] =
    "{\"name\":\"PassthroughCluster\",\"alt_stat_name\":\"PassthroughCluster;\",\"type\":\"ORIGINAL_DST\",\"connect_timeout\":\"10s\","
    "\"lb_policy\":\"CLUSTER_PROVIDED\"," NO_LIMITS "," DOWNSTREAM_PROTOCOL "}";
static const char eds[] = "{\"type\":\"EDS\",\"eds_cluster_config\":{\"eds_config\":{\"ads\":{},\"initial_fetch_timeout\":\"0s\","
                          "\"resource_api_version\":\"V3\"}},\"lb_policy\":\"LEAST_REQUEST\"," NO_LIMITS
                          ",\"common_lb_config\":{\"healthy_panic_threshold\":{}}}";
static const char original_dst[] = "{\"type\":\"ORIGINAL_DST\",\"lb_policy\":\"CLUSTER_PROVIDED\"," NO_LIMITS
                                   ",\"common_lb_config\":{\"healthy_panic_threshold\":{}}}";
static const char strict_dns[] =
    "{\"type\":\"STRICT_DNS\",\"lb_policy\":\"LEAST_REQUEST\",\"dns_refresh_rate\":\"60s\",\"dns_jitter\":\"0.100s\",\"respect_dns_ttl\":true,"
    "\"dns_lookup_family\":\"V4_ONLY\"," RESOLVER "," NO_LIMITS ",\"common_lb_config\":{\"healthy_panic_threshold\":{}}}";
static const char logical_dns[] =
    "{\"type\":\"LOGICAL_DNS\",\"lb_policy\":\"LEAST_REQUEST\",\"dns_refresh_rate\":\"60s\",\"dns_jitter\":\"0.100s\",\"respect_dns_ttl\":true,"
    "\"dns_lookup_family\":\"V4_ONLY\"," RESOLVER "," NO_LIMITS ",\"common_lb_config\":{\"healthy_panic_threshold\":{}}}";
static const char peers[] = "{" PEERS "}";
static const char http2[] =
    "{\"typed_extension_protocol_options\":{\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\","
    "\"explicit_http_config\":{\"http2_protocol_options\":{}}}}}";

static const char as_downstream[] =
    "{\"typed_extension_protocol_options\":{\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\","
    "\"use_downstream_protocol_config\":{\"http_protocol_options\":{},\"http2_protocol_options\":{}}}}}";

static const CLUSTER *constant_cluster(const struct translation *t, const char *literal)
{
    return (const CLUSTER *)constant(t, &envoy__config__cluster__v3__cluster__descriptor, literal);
}

enum resolution cluster_resolution(const struct translation *t, const struct service *s)
{
    return s->is_headless && t->node->type == NODE_ROUTER ? RESOLUTION_CLIENT_SIDE : s->resolution;
}

static const char *skeleton_of(enum resolution r)
{
    switch (r) {
    case RESOLUTION_CLIENT_SIDE:
        return eds;
    case RESOLUTION_DNS:
        return strict_dns;
    case RESOLUTION_DNS_ROUND_ROBIN:
        return logical_dns;
    case RESOLUTION_PASSTHROUGH:
        break;
    }
    return original_dst;
}

/* filter_metadata.istio.services: who stands behind the cluster; istio.stats reads it. */
Google__Protobuf__Value *services_value(const struct translation *t, const struct service *s)
{
    Google__Protobuf__Struct *one = struct_new(t);
    struct_add(t, one, "host", s->host);
    struct_add(t, one, "name", s->name);
    struct_add(t, one, "namespace", s->ns);
    Google__Protobuf__Value **items = pointers(t, 1);
    items[0] = value_of_struct(t, one);
    return value_of_list(t, items, 1);
}

static void set_metadata(const struct translation *t, const struct cluster_purpose *p, CLUSTER *c)
{
    Google__Protobuf__Struct *istio = struct_new(t);
    struct_add_value(t, istio, "services", services_value(t, p->service->service));
    c->metadata = metadata_of(t, "istio", istio);
    if (p->subset.n)
        struct_add(t, istio, "subset", p->subset);
    if (p->service->service->is_external)
        struct_add_value(t, istio, "external", value_of_bool(t, true));
    if (p->service->rule)
        metadata_add_config(t, &c->metadata, p->service->rule->objects[0]);
}

static void set_protocol(const struct translation *t, enum protocol protocol, CLUSTER *c)
{
    bool is_sniffed = protocol == PROTOCOL_AUTO && t->node->type == NODE_SIDECAR;
    if (!protocol_is_http2(protocol) && !is_sniffed)
        return;
    const CLUSTER *like = constant_cluster(t, is_sniffed ? as_downstream : http2);
    c->typed_extension_protocol_options = like->typed_extension_protocol_options;
    c->n_typed_extension_protocol_options = like->n_typed_extension_protocol_options;
}

static void set_discovery(const struct translation *t, const struct cluster_purpose *p, CLUSTER *c)
{
    enum resolution r = cluster_resolution(t, p->service->service);
    if (r == RESOLUTION_CLIENT_SIDE) {
        Envoy__Config__Cluster__V3__Cluster__EdsClusterConfig *e = proto_arena_alloc(t->protos, sizeof(*e));
        *e = *c->eds_cluster_config;
        e->service_name = c->name;
        c->eds_cluster_config = e;
    } else if (r != RESOLUTION_PASSTHROUGH)
        c->load_assignment = assignment_of(t, p, str_from(c->name));
}

static CLUSTER *cluster_of(const struct translation *t, const struct cluster_purpose *p)
{
    const struct service *s = p->service->service;
    CLUSTER *c = COPY_OF(t, CLUSTER, envoy__config__cluster__v3__cluster__descriptor, skeleton_of(cluster_resolution(t, s)));
    c->name = text(t, cluster_name(t->arena, "outbound", p->subset, s->host, p->port->number));
    c->alt_stat_name = textf(t, "%s;", c->name);
    c->connect_timeout = duration_of_ms(t, world_mesh(t->world)->connect_timeout_ms);
    set_discovery(t, p, c);
    set_metadata(t, p, c);
    set_protocol(t, p->port->protocol, c);
    if (t->node->takes_istio_filters) {
        const CLUSTER *like = constant_cluster(t, peers);
        c->filters = like->filters;
        c->n_filters = like->n_filters;
    }
    traffic_policy_apply(t, p, c);
    return c;
}

static void add(const struct translation *t, const struct cluster_purpose *p, struct resource_sink *out)
{
    CLUSTER *c = cluster_of(t, p);
    if (envoy_filter_cluster(t, c, false, p->service->service->host))
        out->add(out, str_from(c->name), &c->base);
}

static void add_constant(const struct translation *t, const char *literal, struct resource_sink *out)
{
    CLUSTER *c = COPY_OF(t, CLUSTER, envoy__config__cluster__v3__cluster__descriptor, literal);
    if (envoy_filter_cluster(t, c, false, STR("")))
        out->add(out, str_from(c->name), &c->base);
}

static void add_port(const struct translation *t, const struct scoped_service *s, const struct service_port *port, struct resource_sink *out)
{
    struct cluster_purpose p = {.service = s, .port = port};
    p.sni = cluster_sni(t->arena, STR(""), s->service->host, port->number);
    add(t, &p, out);
    for (size_t i = 0, n = rule_subset_count(s->rule); i < n; i++) {
        p.subset_spec = rule_subset(s->rule, i, &p.subset);
        p.sni = cluster_sni(t->arena, p.subset, s->service->host, port->number);
        add(t, &p, out);
    }
}

void clusters_outbound(const struct translation *t, struct resource_sink *out)
{
    for (uint32_t i = 0; i < t->scope->service_count; i++) {
        const struct scoped_service *s = &t->scope->services[i];
        for (uint32_t k = 0; k < s->service->port_count; k++)
            if (s->service->ports[k].protocol != PROTOCOL_UDP)
                add_port(t, s, &s->service->ports[k], out);
    }
    add_constant(t, blackhole, out);
    if (t->node->type == NODE_SIDECAR)
        add_constant(t, t->node->takes_istio_filters ? passthrough : passthrough_plain, out);
}
