/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters behind virtualInbound: the workload's own ports, reached from 127.0.0.6 so that the capture rules let them through;
 * where the application's address is said, that one.
 */
#include "control/translate/translate_priv.h"

#define CLUSTER Envoy__Config__Cluster__V3__Cluster

#define NO_LIMITS                                                                                                                   \
    "\"circuit_breakers\":{\"thresholds\":[{\"max_connections\":4294967295,\"max_pending_requests\":4294967295,"                     \
    "\"max_requests\":4294967295,\"max_retries\":4294967295}]}"
#define FROM_6 "\"upstream_bind_config\":{\"source_address\":{\"address\":\"127.0.0.6\",\"port_value\":0}}"

static const char port_cluster[] = "{\"type\":\"ORIGINAL_DST\",\"lb_policy\":\"CLUSTER_PROVIDED\"," NO_LIMITS
                                   ",\"cleanup_interval\":\"9223372035s\",\"common_lb_config\":{}," FROM_6 "}";
static const char fixed_cluster[] = "{\"type\":\"STATIC\"," NO_LIMITS ",\"common_lb_config\":{}}";
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

/* To the address that a Sidecar says, or behind a proxy to which nothing is redirected. */
static CLUSTER *cluster_to(const struct translation *t, const struct inbound_port *p, char *name)
{
    CLUSTER *c = COPY_OF(t, CLUSTER, envoy__config__cluster__v3__cluster__descriptor, fixed_cluster);
    Envoy__Config__Endpoint__V3__ClusterLoadAssignment *a =
        MAKE(t, Envoy__Config__Endpoint__V3__ClusterLoadAssignment, envoy__config__endpoint__v3__cluster_load_assignment__descriptor);
    Envoy__Config__Endpoint__V3__LocalityLbEndpoints *l =
        MAKE(t, Envoy__Config__Endpoint__V3__LocalityLbEndpoints, envoy__config__endpoint__v3__locality_lb_endpoints__descriptor);
    Envoy__Config__Endpoint__V3__LbEndpoint *e =
        MAKE(t, Envoy__Config__Endpoint__V3__LbEndpoint, envoy__config__endpoint__v3__lb_endpoint__descriptor);
    e->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    e->endpoint = MAKE(t, Envoy__Config__Endpoint__V3__Endpoint, envoy__config__endpoint__v3__endpoint__descriptor);
    e->endpoint->address = address_of(t, p->address, p->port);
    l->lb_endpoints = pointers(t, 1);
    l->lb_endpoints[0] = e;
    l->n_lb_endpoints = 1;
    a->cluster_name = name;
    a->endpoints = pointers(t, 1);
    a->endpoints[0] = l;
    a->n_endpoints = 1;
    c->load_assignment = a;
    return c;
}

static void add_port(const struct translation *t, const struct inbound_port *p, struct resource_sink *out)
{
    const struct workload_service *ws = &p->ws;
    char *name = text(t, cluster_name(t->arena, "inbound", STR(""), STR(""), ws->target));
    CLUSTER *c = p->address.p ? cluster_to(t, p, name) : COPY_OF(t, CLUSTER, envoy__config__cluster__v3__cluster__descriptor, port_cluster);
    enum protocol protocol = ws->port->protocol;
    c->name = name;
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
    const struct inbound_port *ports;
    size_t count = inbound_ports(t, &ports);
    for (size_t i = 0; i < count; i++)
        add_port(t, &ports[i], out);
    CLUSTER *all = COPY_OF(t, CLUSTER, envoy__config__cluster__v3__cluster__descriptor, passthrough);
    if (envoy_filter_cluster(t, all, true, STR("")))
        out->add(out, STR("InboundPassthroughCluster"), &all->base);
}
