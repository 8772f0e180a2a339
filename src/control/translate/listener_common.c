/* SPDX-License-Identifier: Apache-2.0
 *
 * What listeners of every direction are made of.
 */
#include "control/translate/translate_priv.h"

#include "istio/networking/sidecar.pb-c.h"

#define POLICY Istio__Networking__V1alpha3__OutboundTrafficPolicy

const char listener_tls_inspector[] =
    "{\"name\":\"envoy.filters.listener.tls_inspector\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector\",\"initial_read_buffer_size\":512}}";
const char listener_http_inspector[] =
    "{\"name\":\"envoy.filters.listener.http_inspector\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector\"}}";

Envoy__Config__Listener__V3__Listener *listener_new(const struct translation *t, const char *skeleton, const char *name, struct str address,
                                                    uint32_t port)
{
    Envoy__Config__Listener__V3__Listener *l =
        COPY_OF(t, Envoy__Config__Listener__V3__Listener, envoy__config__listener__v3__listener__descriptor, skeleton);
    l->name = text(t, str_from(name));
    l->address = address_of(t, address, port);
    return l;
}

Envoy__Config__Listener__V3__FilterChain *filter_chain_new(const struct translation *t, const char *name)
{
    Envoy__Config__Listener__V3__FilterChain *c =
        MAKE(t, Envoy__Config__Listener__V3__FilterChain, envoy__config__listener__v3__filter_chain__descriptor);
    if (name)
        c->name = text(t, str_from(name));
    return c;
}

Envoy__Config__Listener__V3__FilterChainMatch *filter_chain_match(const struct translation *t, const char *literal, uint32_t port)
{
    Envoy__Config__Listener__V3__FilterChainMatch *m =
        COPY_OF(t, Envoy__Config__Listener__V3__FilterChainMatch, envoy__config__listener__v3__filter_chain_match__descriptor, literal);
    if (port)
        m->destination_port = u32_of(t, port);
    return m;
}

static const POLICY *outbound_policy(const struct translation *t)
{
    const struct object *o = t->scope->sidecar;
    return o ? ((const Istio__Networking__V1alpha3__Sidecar *)o->body)->outbound_traffic_policy : NULL;
}

bool strangers_are_let_through(const struct translation *t)
{
    const POLICY *p = outbound_policy(t);
    if (p)
        return p->mode == ISTIO__NETWORKING__V1ALPHA3__OUTBOUND_TRAFFIC_POLICY__MODE__ALLOW_ANY;
    return world_mesh(t->world)->outbound == MESH_ALLOW_ANY;
}

struct str strangers_cluster(const struct translation *t)
{
    const POLICY *p = outbound_policy(t);
    if (!strangers_are_let_through(t))
        return STR("BlackHoleCluster");
    if (!p || !p->egress_proxy)
        return STR("PassthroughCluster");
    return cluster_name(t->arena, "outbound", str_from(p->egress_proxy->subset),
                        host_whole(t->arena, str_from(p->egress_proxy->host), t->scope->sidecar->ns, world_mesh(t->world)->domain),
                        p->egress_proxy->port ? p->egress_proxy->port->number : 0);
}

uint32_t http_proxy_port(const struct translation *t)
{
    uint32_t port = t->node->http_proxy_port ? t->node->http_proxy_port : world_mesh(t->world)->http_proxy_port;
    for (uint32_t i = 0; i < t->scope->egress_count; i++) {
        const Istio__Networking__V1alpha3__IstioEgressListener *e =
            (const Istio__Networking__V1alpha3__IstioEgressListener *)t->scope->egress[i].spec;
        if (!e || !e->port)
            return port;
    }
    return 0; /* a Sidecar without an egress listener for everything leaves nothing for it to lead to */
}
