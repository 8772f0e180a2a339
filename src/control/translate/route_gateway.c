/* SPDX-License-Identifier: Apache-2.0
 *
 * Route configurations of router proxies: for each server with HTTP the virtual services that name its Gateway and share a host with it.
 * Several virtual services of one host are joined, those that catch all last (Istio: "Virtual Service", merging at gateways).
 */
#include "control/translate/gateway_priv.h"

#include <stdlib.h>

#include "base/map.h"

#define ROUTES Envoy__Config__Route__V3__RouteConfiguration
#define VHOST Envoy__Config__Route__V3__VirtualHost
#define ROUTE Envoy__Config__Route__V3__Route

static const char configuration[] =
    "{\"validate_clusters\":false,\"max_direct_response_body_size_bytes\":1048576,\"ignore_port_in_host_matching\":true}";

struct making {
    const struct translation *t;
    struct map *by_host;  /* VHOST */
    struct many vhosts;
};

static bool catches_all(const ROUTE *r)
{
    const Envoy__Config__Route__V3__RouteMatch *m = r->match;
    return m->path_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX && strcmp(m->prefix, "/") == 0 &&
           m->n_headers == 0 && m->n_query_parameters == 0 && m->n_dynamic_metadata == 0;
}

/* In their order, but those that catch all behind the others: Envoy takes the first that matches. */
static void set_routes(const struct translation *t, VHOST *v, const struct many *more)
{
    struct many all = {0}, sorted = {0};
    for (size_t i = 0; i < v->n_routes; i++)
        many_add(t, &all, v->routes[i]);
    for (size_t i = 0; i < more->count; i++)
        many_add(t, &all, more->items[i]);
    for (int is_last = 0; is_last < 2; is_last++)
        for (size_t i = 0; i < all.count; i++)
            if (catches_all(all.items[i]) == is_last)
                many_add(t, &sorted, all.items[i]);
    v->routes = (ROUTE **)sorted.items;
    v->n_routes = sorted.count;
}

static VHOST *vhost_at(struct making *m, struct str host, uint32_t port)
{
    VHOST *v = map_get(m->by_host, host);
    if (v)
        return v;
    v = vhost_of_host(m->t, host, port, &(struct many){0});
    map_set(m->by_host, host, v);
    many_add(m->t, &m->vhosts, v);
    return v;
}

static void add_server(struct making *m, const struct gateway_server *s)
{
    const struct translation *t = m->t;
    bool is_redirect = s->spec->tls && s->spec->tls->https_redirect;
    uint32_t port = s->spec->port->number;
    for (uint32_t i = 0; i < t->scope->egress[0].route_count; i++) {
        const struct scoped_route *vs = &t->scope->egress[0].routes[i];
        struct many routes = {0};
        const struct str *hosts;
        size_t n = route_is_of_gateway(vs, s->gateway) ? server_shared_hosts(t, s, vs, &hosts) : 0;
        if (n)
            routes_of_virtual_service(t, vs, s->gateway, port, &routes);
        for (size_t k = 0; k < n && routes.count; k++)
            set_routes(t, vhost_at(m, hosts[k], port), &routes);
    }
    for (size_t i = 0; is_redirect && i < s->spec->n_hosts; i++)
        vhost_at(m, server_host(s, i, STR_NULL), port);
    for (size_t i = 0; is_redirect && i < m->vhosts.count; i++) {
        VHOST *v = m->vhosts.items[i];
        for (size_t k = 0; k < s->spec->n_hosts; k++)
            if (host_is_subset(str_from(v->domains[0]), server_host(s, k, STR_NULL)))
                v->require_tls = ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__ALL;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(VHOST *const *)a)->name, (*(VHOST *const *)b)->name);
}

/* A configuration without virtual hosts answers 404 as one does that has none for the request; but Istio's have one. */
static void add_blackhole(struct making *m, uint32_t port)
{
    VHOST *v = vhost_of_host(m->t, STR("*"), port, &(struct many){0});
    v->name = textf(m->t, "blackhole:%u", port);
    v->include_request_attempt_count = false;
    many_add(m->t, &m->vhosts, v);
}

static void add_configuration(const struct translation *t, struct str name, const struct many *servers, size_t from, size_t to,
                              struct resource_sink *out)
{
    struct making m = {.t = t, .by_host = map_new()};
    ROUTES *rc = COPY_OF(t, ROUTES, envoy__config__route__v3__route_configuration__descriptor, configuration);
    for (size_t i = from; i < to; i++)
        add_server(&m, servers->items[i]);
    map_free(&m.by_host);
    if (m.vhosts.count == 0)
        add_blackhole(&m, ((const struct gateway_server *)servers->items[from])->spec->port->number);
    qsort(m.vhosts.items, m.vhosts.count, sizeof(*m.vhosts.items), by_name);
    rc->name = text(t, name);
    rc->virtual_hosts = (VHOST **)m.vhosts.items;
    rc->n_virtual_hosts = m.vhosts.count;
    envoy_filter_routes(t, rc, false);
    out->add(out, name, &rc->base);
}

void routes_gateway(const struct translation *t, struct resource_sink *out)
{
    const struct gateway_port *ports;
    size_t n = gateway_ports(t, &ports);
    for (size_t i = 0; i < n; i++) {
        const struct many *servers = &ports[i].servers;
        if (ports[i].is_http) {
            add_configuration(t, ((const struct gateway_server *)servers->items[0])->route_name, servers, 0, servers->count, out);
            continue;
        }
        for (size_t k = 0; k < servers->count; k++) {
            const struct gateway_server *s = servers->items[k];
            if (s->route_name.n)
                add_configuration(t, s->route_name, servers, k, k + 1, out);
        }
    }
}
