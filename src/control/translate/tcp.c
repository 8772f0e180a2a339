/* SPDX-License-Identifier: Apache-2.0
 *
 * Filter chains: of bytes (tcp_proxy behind policies and statistics) and of requests (a connection manager).
 */
#include "control/translate/translate_priv.h"

#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb-c.h"

#define TCP Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy

static const char peers[] =
    "{\"name\":\"istio.metadata_exchange\",\"typed_config\":{\"@type\":\"type.googleapis.com/udpa.type.v1.TypedStruct\","
    "\"type_url\":\"type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange\","
    "\"value\":{\"enable_discovery\":true,\"protocol\":\"istio-peer-exchange\"}}}";

static void add_peers(const struct translation *t, const struct chain_purpose *p, struct many *filters)
{
    if (p->is_inbound && !p->is_gateway && t->node->takes_istio_filters)
        many_add(t, filters, constant(t, &envoy__config__listener__v3__filter__descriptor, peers));
}

static void set_clusters(const struct translation *t, const struct tcp_target *to, TCP *tcp)
{
    if (to->cluster.p) {
        tcp->cluster_specifier_case = ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER;
        tcp->cluster = text(t, to->cluster);
        return;
    }
    tcp->cluster_specifier_case = ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    tcp->weighted_clusters = MAKE(t, Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy__WeightedCluster,
                                  envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__weighted_cluster__descriptor);
    tcp->weighted_clusters->clusters = (void *)to->weights.items;
    tcp->weighted_clusters->n_clusters = to->weights.count;
}

static Envoy__Config__Listener__V3__Filter *proxy_to(const struct translation *t, const struct chain_purpose *p, const struct tcp_target *to)
{
    TCP *tcp = MAKE(t, TCP, envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor);
    struct many logs = {0};
    tcp->stat_prefix = text(t, to->stat_prefix);
    set_clusters(t, to, tcp);
    telemetry_access_logs(t, p, &logs);
    tcp->access_log = (void *)logs.items;
    tcp->n_access_log = logs.count;
    if (t->node->idle_timeout_ms)
        tcp->idle_timeout = duration_of_ms(t, t->node->idle_timeout_ms);
    Envoy__Config__Listener__V3__Filter *f =
        MAKE(t, Envoy__Config__Listener__V3__Filter, envoy__config__listener__v3__filter__descriptor);
    f->name = text(t, STR("envoy.filters.network.tcp_proxy"));
    f->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = any_of(t, &tcp->base);
    return f;
}

static void set_filters(Envoy__Config__Listener__V3__FilterChain *c, const struct many *filters)
{
    c->filters = (Envoy__Config__Listener__V3__Filter **)filters->items;
    c->n_filters = filters->count;
}

void chain_tcp_to(const struct translation *t, const struct chain_purpose *p, const struct tcp_target *to,
                  Envoy__Config__Listener__V3__FilterChain *c)
{
    struct many filters = {0};
    add_peers(t, p, &filters);
    if ((p->is_inbound || p->is_gateway) && !p->is_closed)
        policy_network_filters(t, p, &filters);
    telemetry_network_filters(t, p, &filters);
    many_add(t, &filters, proxy_to(t, p, to));
    set_filters(c, &filters);
}

void chain_tcp(const struct translation *t, const struct chain_purpose *p, struct str cluster, Envoy__Config__Listener__V3__FilterChain *c)
{
    chain_tcp_to(t, p, &(struct tcp_target){.cluster = cluster, .stat_prefix = cluster}, c);
}

void chain_http(const struct translation *t, const struct chain_purpose *p, Envoy__Config__Listener__V3__FilterChain *c)
{
    struct many filters = {0};
    add_peers(t, p, &filters);
    many_add(t, &filters, filter_hcm(t, p));
    set_filters(c, &filters);
}
