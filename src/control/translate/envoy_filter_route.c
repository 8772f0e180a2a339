/* SPDX-License-Identifier: Apache-2.0
 *
 * Patches of route configurations, their virtual hosts and routes.
 */
#include "control/translate/envoy_filter_priv.h"

#define ROUTES Envoy__Config__Route__V3__RouteConfiguration
#define VHOST Envoy__Config__Route__V3__VirtualHost
#define ROUTE Envoy__Config__Route__V3__Route
#define ROUTES_MATCH Istio__Networking__V1alpha3__EnvoyFilter__RouteConfigurationMatch
#define ACTION(x) ISTIO__NETWORKING__V1ALPHA3__ENVOY_FILTER__ROUTE_CONFIGURATION_MATCH__ROUTE_MATCH__ACTION__##x

struct place {
    const struct translation *t;
    patch_context context;
    ROUTES *routes;
};

/* ---- what a patch is for ---- */

static const ROUTES_MATCH *match_of(const struct patch *p)
{
    return p->match && p->match->object_types_case == MATCH_OF(ROUTE_CONFIGURATION) ? p->match->route_configuration : NULL;
}

/* A gateway's: "http.80", "https.443.NAME.GATEWAY.NAMESPACE". */
struct gateway_name {
    uint64_t port;
    struct str port_name, gateway, ns;
};

static struct gateway_name gateway_name_of(struct str name)
{
    struct gateway_name g = {0};
    struct str rest;
    str_split(name, '.', &rest);
    if (rest.p)
        str_to_u64(str_split(rest, '.', &rest), &g.port);
    if (rest.p)
        g.port_name = str_split(rest, '.', &rest);
    if (rest.p)
        g.gateway = str_split(rest, '.', &rest);
    g.ns = rest;
    return g;
}

static bool is_gateway(const struct gateway_name *g, const char *wanted)
{
    struct str name, ns = str_split(str_from(wanted), '/', &name);
    return name.p && str_eq(ns, g->ns) && str_eq(name, g->gateway);
}

static uint64_t sidecar_port(struct str name)
{
    uint64_t port = 0;
    struct str rest;
    if (!str_has_prefix(name, STR("inbound|"))) {
        str_to_u64(name, &port);
        return port;
    }
    str_split(name, '|', &rest);
    str_to_u64(str_split(rest, '|', &rest), &port);
    return port;
}

static bool is_routes(const struct place *at, const struct patch *p)
{
    const ROUTES_MATCH *m = match_of(p);
    struct str name = str_from(at->routes->name);
    if (!m)
        return true;
    if (m->name[0] && !str_eq(str_from(m->name), name))
        return false;
    if (at->context != CONTEXT(GATEWAY))
        return !m->port_number || m->port_number == sidecar_port(name);
    struct gateway_name g = gateway_name_of(name);
    return (!m->port_number || m->port_number == g.port) && (!m->port_name[0] || str_eq(str_from(m->port_name), g.port_name)) &&
           (!m->gateway[0] || is_gateway(&g, m->gateway));
}

static bool is_vhost(const VHOST *v, const struct patch *p)
{
    const ROUTES_MATCH *m = match_of(p);
    if (!m || !m->vhost)
        return true;
    if (m->vhost->name[0] && strcmp(m->vhost->name, v->name) != 0)
        return false;
    for (size_t i = 0; m->vhost->domain_name[0] && i < v->n_domains; i++)
        if (strcmp(v->domains[i], m->vhost->domain_name) == 0)
            return true;
    return !m->vhost->domain_name[0];
}

static bool names_route(const struct patch *p)
{
    const ROUTES_MATCH *m = match_of(p);
    return m && m->vhost && m->vhost->route;
}

static bool is_route(const void *item, const struct patch *p)
{
    const ROUTE *r = item;
    if (!names_route(p))
        return true;
    const Istio__Networking__V1alpha3__EnvoyFilter__RouteConfigurationMatch__RouteMatch *m = match_of(p)->vhost->route;
    if (m->name[0] && strcmp(m->name, r->name) != 0)
        return false;
    switch (m->action) {
    case ACTION(ROUTE):
        return r->action_case == ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    case ACTION(REDIRECT):
        return r->action_case == ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT;
    case ACTION(DIRECT_RESPONSE):
        return r->action_case == ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    default:
        return true;
    }
}

/* ---- routes ---- */

static void patch_routes(const struct place *at, VHOST *v)
{
    size_t pos = 0;
    for (struct patch *p; (p = patch_next(at->t, APPLY_TO(HTTP_ROUTE), at->context, &pos));) {
        if (!is_routes(at, p) || !is_vhost(v, p))
            continue;
        if (p->operation != OPERATION(MERGE) && p->operation != OPERATION(MERGE_AND_REPLACE_LIST)) {
            patch_list(at->t, p, names_route(p), is_route, (void ***)&v->routes, &v->n_routes);
            continue;
        }
        for (size_t i = 0; i < v->n_routes; i++)
            if (is_route(v->routes[i], p))
                patch_merge(at->t, p, &v->routes[i]->base);
    }
}

/* ---- virtual hosts ---- */

/* NULL: it is removed. */
static VHOST *patch_vhost(const struct place *at, VHOST *v)
{
    size_t pos = 0;
    for (struct patch *p; (p = patch_next(at->t, APPLY_TO(VIRTUAL_HOST), at->context, &pos));) {
        if (p->operation == OPERATION(ADD) || !is_routes(at, p) || !is_vhost(v, p))
            continue;
        if (p->operation == OPERATION(REMOVE))
            return NULL;
        if (p->operation == OPERATION(REPLACE)) {
            VHOST *other = (VHOST *)patch_value(at->t, p);
            v = other ? other : v;
        } else
            patch_merge(at->t, p, &v->base);
    }
    patch_routes(at, v);
    return v;
}

static void patch_vhosts(const struct place *at)
{
    ROUTES *rc = at->routes;
    size_t kept = 0, pos = 0;
    for (size_t i = 0; i < rc->n_virtual_hosts; i++) {
        VHOST *v = patch_vhost(at, rc->virtual_hosts[i]);
        if (v)
            rc->virtual_hosts[kept++] = v;
    }
    rc->n_virtual_hosts = kept;
    for (struct patch *p; (p = patch_next(at->t, APPLY_TO(VIRTUAL_HOST), at->context, &pos));)
        if (p->operation == OPERATION(ADD) && is_routes(at, p))
            patch_list(at->t, p, false, NULL, (void ***)&rc->virtual_hosts, &rc->n_virtual_hosts);
}

static bool is_wanted(const struct place *at)
{
    static const apply_to of_routes[] = {APPLY_TO(ROUTE_CONFIGURATION), APPLY_TO(VIRTUAL_HOST), APPLY_TO(HTTP_ROUTE)};
    for (size_t i = 0; i < sizeof(of_routes) / sizeof(of_routes[0]); i++) {
        size_t pos = 0;
        for (const struct patch *p; (p = patch_next(at->t, of_routes[i], at->context, &pos));)
            if (is_routes(at, p))
                return true;
    }
    return false;
}

void envoy_filter_routes(const struct translation *t, ROUTES *r, bool is_inbound)
{
    struct place at = {t, patch_context_of(t, is_inbound), r};
    size_t pos = 0;
    if (!is_wanted(&at))
        return;
    *r = *(ROUTES *)proto_clone(t->protos, &r->base);
    for (struct patch *p; (p = patch_next(t, APPLY_TO(ROUTE_CONFIGURATION), at.context, &pos));)
        if (is_routes(&at, p))
            patch_merge(t, p, &r->base);
    patch_vhosts(&at);
}
