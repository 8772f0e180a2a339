/* SPDX-License-Identifier: Apache-2.0
 *
 * TCP and TLS routes. What a match says of the proxy (gateway, port, labels, namespace) is decided here; server names and subnets are
 * left to the listener.
 */
#include "control/translate/route_tcp_priv.h"

#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb-c.h"

#define VIRTUAL Istio__Networking__V1alpha3__VirtualService
#define TLS_MATCH Istio__Networking__V1alpha3__TLSMatchAttributes
#define TARGETS Istio__Networking__V1alpha3__RouteDestination
#define WEIGHT Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy__WeightedCluster__ClusterWeight

/* A service with one port needs none named. */
static struct str cluster_of(const struct translation *t, const struct scoped_route *vs, const DESTINATION *d, uint32_t port)
{
    uint32_t number;
    struct str host;
    struct str cluster = destination_cluster(t, vs, d, port, &number, &host);
    const struct scoped_service *s = scope_service(t->scope, host);
    if ((d->port && d->port->number) || !s || s->service->port_count != 1)
        return cluster;
    return cluster_name(t->arena, "outbound", str_from(d->subset), host, s->service->ports[0].number);
}

static struct tcp_target target_of(const struct translation *t, const struct scoped_route *vs, TARGETS *const *routes, size_t count, uint32_t port)
{
    struct tcp_target to = {0};
    if (count == 1) {
        to.cluster = to.stat_prefix = cluster_of(t, vs, routes[0]->destination, port);
        return to;
    }
    to.stat_prefix = arena_printf(t->arena, "%.*s.%.*s", STR_ARG(vs->object->name), STR_ARG(vs->object->ns));
    for (size_t i = 0; i < count; i++) {
        if (routes[i]->weight == 0)
            continue;
        WEIGHT *w = MAKE(t, WEIGHT, envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__weighted_cluster__cluster_weight__descriptor);
        w->name = text(t, cluster_of(t, vs, routes[i]->destination, port));
        w->weight = (uint32_t)routes[i]->weight;
        many_add(t, &to.weights, w);
    }
    return to;
}

/* ---- is it for this proxy ---- */

/* Of both kinds of match, whose types differ in their names alone. */
#define IS_FOR(t_, vs_, m_, gateway_, port_)                                                                                        \
    ({                                                                                                                              \
        bool is_for_ = (!(m_)->port || (m_)->port == (port_)) &&                                                                    \
                       match_gateways_take((vs_), (m_)->gateways, (m_)->n_gateways, (gateway_)) &&                                  \
                       (!(m_)->source_namespace[0] || str_eq(str_from((m_)->source_namespace), (t_)->node->ns));                    \
        for (size_t l_ = 0; is_for_ && l_ < (m_)->n_source_labels; l_++)                                                            \
            is_for_ = str_eq(labels_get(&(t_)->node->labels, str_from((m_)->source_labels[l_]->key)),                               \
                             str_from((m_)->source_labels[l_]->value));                                                             \
        is_for_;                                                                                                                    \
    })

static void add_texts(const struct translation *t, struct many *to, char *const *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        many_add(t, to, from[i]);
}

static struct tls_choice *add_choice(const struct translation *t, const struct scoped_route *vs, struct tcp_target to, struct many *out)
{
    struct tls_choice *c = arena_zalloc(t->arena, sizeof(*c));
    c->vs = vs;
    c->to = to;
    many_add(t, out, c);
    return c;
}

static void add_tls_routes(const struct translation *t, const struct scoped_route *vs, struct str gateway, uint32_t port, struct many *out)
{
    const VIRTUAL *spec = (const VIRTUAL *)vs->spec;
    for (size_t i = 0; i < spec->n_tls; i++)
        for (size_t k = 0; k < spec->tls[i]->n_match; k++) {
            const TLS_MATCH *m = spec->tls[i]->match[k];
            if (!IS_FOR(t, vs, m, gateway, port))
                continue;
            struct tls_choice *c = add_choice(t, vs, target_of(t, vs, spec->tls[i]->route, spec->tls[i]->n_route, port), out);
            add_texts(t, &c->names, m->sni_hosts, m->n_sni_hosts);
            add_texts(t, &c->subnets, m->destination_subnets, m->n_destination_subnets);
        }
}

/* ---- gateways ---- */

bool tcp_route_of_gateway(const struct translation *t, const struct scoped_route *vs, struct str gateway, uint32_t port, struct tcp_target *out)
{
    const VIRTUAL *spec = (const VIRTUAL *)vs->spec;
    for (size_t i = 0; i < spec->n_tcp; i++) {
        bool is_for = spec->tcp[i]->n_match == 0;
        for (size_t k = 0; k < spec->tcp[i]->n_match; k++)
            is_for |= IS_FOR(t, vs, spec->tcp[i]->match[k], gateway, port);
        if (!is_for)
            continue;
        *out = target_of(t, vs, spec->tcp[i]->route, spec->tcp[i]->n_route, port);
        return true;
    }
    return false;
}

void tls_routes_of_gateway(const struct translation *t, const struct scoped_route *vs, struct str gateway, uint32_t port, struct many *out)
{
    add_tls_routes(t, vs, gateway, port, out);
}

/* ---- sidecars ---- */

static bool has_host(const struct scoped_route *r, struct str host)
{
    for (uint32_t i = 0; i < r->host_count; i++)
        if (host_is_subset(host, r->hosts[i]))
            return true;
    return false;
}

/* true: it takes every connection. */
static bool add_tcp_route(const struct translation *t, const struct scoped_route *vs, const Istio__Networking__V1alpha3__TCPRoute *r, uint32_t port,
                          struct many *out)
{
    struct many subnets = {0};
    bool takes_all = r->n_match == 0;
    for (size_t i = 0; i < r->n_match && !takes_all; i++) {
        if (!IS_FOR(t, vs, r->match[i], STR("mesh"), port))
            continue;
        takes_all = r->match[i]->n_destination_subnets == 0;
        add_texts(t, &subnets, r->match[i]->destination_subnets, r->match[i]->n_destination_subnets);
    }
    if (!takes_all && subnets.count == 0)
        return false;
    struct tls_choice *c = add_choice(t, takes_all ? vs : NULL, target_of(t, vs, r->route, r->n_route, port), out);
    if (!takes_all)
        c->subnets = subnets;
    return takes_all;
}

bool tcp_routes_of_service(const struct translation *t, const struct scope_egress *e, const struct service *s, uint32_t port, struct many *out)
{
    for (uint32_t i = 0; i < e->route_count; i++) {
        const VIRTUAL *spec = (const VIRTUAL *)e->routes[i].spec;
        for (size_t k = 0; has_host(&e->routes[i], s->host) && k < spec->n_tcp; k++)
            if (add_tcp_route(t, &e->routes[i], spec->tcp[k], port, out))
                return true;
    }
    return false;
}

void tls_routes_of_service(const struct translation *t, const struct scope_egress *e, const struct service *s, uint32_t port, struct many *out)
{
    for (uint32_t i = 0; i < e->route_count; i++)
        if (has_host(&e->routes[i], s->host))
            add_tls_routes(t, &e->routes[i], STR("mesh"), port, out);
}
