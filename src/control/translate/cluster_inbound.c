/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters behind virtualInbound: the workload's own ports, reached from 127.0.0.6 so that the capture rules let them through.
 * Sidecar ingress listeners aren't read yet.
 */
#include "control/translate/translate_priv.h"

#define CLUSTER Envoy__Config__Cluster__V3__Cluster

#define NO_LIMITS                                                                                                                   \
    "\"circuit_breakers\":{\"thresholds\":[{\"max_connections\":4294967295,\"max_pending_requests\":4294967295,"                     \
    "\"max_requests\":4294967295,\"max_retries\":4294967295}]}"
#define FROM_6 "\"upstream_bind_config\":{\"source_address\":{\"address\":\"127.0.0.6\",\"port_value\":0}}"

static const char port_cluster[] = "{\"type\":\"ORIGINAL_DST\",\"lb_policy\":\"CLUSTER_PROVIDED\"," NO_LIMITS
                                   ",\"cleanup_interval\":\"9223372035s\",\"common_lb_config\":{}," FROM_6 "}";
static const char passthrough[] =
    "{\"name\":\"InboundPassthroughCluster\",\"alt_stat_name\":\"PassthroughCluster;\",\"type\":\"ORIGINAL_DST\","
    "\"connect_timeout\":\"10s\",\"lb_policy\":\"CLUSTER_PROVIDED\"," NO_LIMITS
    ",\"typed_extension_protocol_options\":{\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\",\"common_http_protocol_options\":"
    "{\"idle_timeout\":\"300s\"},\"use_downstream_protocol_config\":{\"http_protocol_options\":{},\"http2_protocol_options\":{}}}}," FROM_6 "}";
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

bool workload_port_is_told(const struct workload_service *services, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (services[k].target == services[i].target)
            return true;
    return false;
}

static void add_port(const struct translation *t, const struct workload_service *ws, struct resource_sink *out)
{
    CLUSTER *c = COPY_OF(t, CLUSTER, envoy__config__cluster__v3__cluster__descriptor, port_cluster);
    enum protocol protocol = ws->port->protocol;
    c->name = text(t, cluster_name(t->arena, "inbound", STR(""), STR(""), ws->target));
    c->alt_stat_name = textf(t, "%s;", c->name);
    c->connect_timeout = duration_of_ms(t, world_mesh(t->world)->connect_timeout_ms);
    Google__Protobuf__Struct *istio = struct_new(t);
    struct_add_value(t, istio, "services", services_value(t, ws->service));
    c->metadata = metadata_of(t, "istio", istio);
    const struct scoped_service *scoped = scope_service(t->scope, ws->service->host);
    if (scoped && scoped->rule)
        metadata_add_config(t, &c->metadata, scoped->rule->objects[0]);
    const char *like = protocol_is_http2(protocol) ? http2 : protocol == PROTOCOL_AUTO ? as_downstream : NULL;
    if (like) {
        c->typed_extension_protocol_options = constant_cluster(t, like)->typed_extension_protocol_options;
        c->n_typed_extension_protocol_options = constant_cluster(t, like)->n_typed_extension_protocol_options;
    }
    if (envoy_filter_cluster(t, c, true, ws->service->host))
        out->add(out, str_from(c->name), &c->base);
}

void clusters_inbound(const struct translation *t, struct resource_sink *out)
{
    const struct node *n = t->node;
    const struct workload_service *services;
    size_t count = world_services_of(t->world, n->addresses, n->address_count, n->ns, &n->labels, t->arena, &services);
    for (size_t i = 0; i < count; i++)
        if (!workload_port_is_told(services, i))
            add_port(t, &services[i], out);
    CLUSTER *all = COPY_OF(t, CLUSTER, envoy__config__cluster__v3__cluster__descriptor, passthrough);
    if (envoy_filter_cluster(t, all, true, STR("")))
        out->add(out, STR("InboundPassthroughCluster"), &all->base);
}
