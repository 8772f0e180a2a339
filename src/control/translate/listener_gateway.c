/* SPDX-License-Identifier: Apache-2.0
 *
 * Listeners of router proxies: one for each port of the Gateways that select the proxy. Plaintext HTTP is one chain; TLS has one for
 * each server, chosen by the server name, or for each TLS route where it goes through unopened.
 */
#include "control/translate/gateway_priv.h"
#include "control/translate/route_tcp_priv.h"

#define LISTENER Envoy__Config__Listener__V3__Listener
#define CHAIN Envoy__Config__Listener__V3__FilterChain

static const char skeleton[] = "{\"traffic_direction\":\"OUTBOUND\",\"max_connections_to_accept_per_socket_event\":1}";
static const char connect_timeout[] = "{\"transport_socket_connect_timeout\":\"15s\"}";

struct making {
    const struct translation *t;
    const struct gateway_port *port;
    struct many chains;
};

static CHAIN *chain_new(const struct translation *t)
{
    return COPY_OF(t, CHAIN, envoy__config__listener__v3__filter_chain__descriptor, connect_timeout);
}

/* The names that lead to the chain; "*" among them: all, which is no condition. */
static void match_names(const struct translation *t, const struct many *names, CHAIN *c)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], "*") == 0)
            return;
    if (names->count == 0)
        return;
    c->filter_chain_match = filter_chain_match(t, "{}", 0);
    c->filter_chain_match->server_names = (char **)names->items;
    c->filter_chain_match->n_server_names = names->count;
}

static struct many names_of(const struct translation *t, const struct gateway_server *s)
{
    struct many names = {0};
    for (size_t i = 0; i < s->spec->n_hosts; i++)
        many_add(t, &names, text(t, server_host(s, i, STR_NULL)));
    return names;
}

static void add_http(struct making *m, const struct gateway_server *s)
{
    const struct translation *t = m->t;
    struct chain_purpose p = {.is_gateway = true,
                              .port = s->spec->port->number,
                              .protocol = PROTOCOL_HTTP,
                              .stat_prefix = arena_printf(t->arena, "outbound_%.*s_%u", STR_ARG(m->port->bind), m->port->number),
                              .route_name = s->route_name};
    CHAIN *c = chain_new(t);
    if (m->port->is_tls) {
        struct many names = names_of(t, s);
        match_names(t, &names, c);
        c->transport_socket = server_tls(t, s->spec->tls, false);
    }
    chain_http(t, &p, c);
    many_add(t, &m->chains, c);
}

static void add_bytes(struct making *m, const struct gateway_server *s, const struct tcp_target *to, const struct many *names)
{
    const struct translation *t = m->t;
    struct chain_purpose p = {.is_gateway = true, .port = s->spec->port->number, .protocol = s->protocol};
    CHAIN *c = chain_new(t);
    match_names(t, names, c);
    if (m->port->is_tls && server_terminates_tls(s->spec))
        c->transport_socket = server_tls(t, s->spec->tls, true);
    chain_tcp_to(t, &p, to, c);
    many_add(t, &m->chains, c);
}

/* Opaque bytes, or those that come out of TLS: the first TCP route that holds takes all. */
static void add_tcp(struct making *m, const struct gateway_server *s)
{
    const struct translation *t = m->t;
    struct many names = {0};
    for (uint32_t i = 0; i < t->scope->egress[0].route_count; i++) {
        const struct scoped_route *vs = &t->scope->egress[0].routes[i];
        const struct str *hosts;
        struct tcp_target to;
        if (!route_is_of_gateway(vs, s->gateway) || server_shared_hosts(t, s, vs, &hosts) == 0 ||
            !tcp_route_of_gateway(t, vs, s->gateway, s->spec->port->number, &to))
            continue;
        if (m->port->is_tls)
            names = names_of(t, s);
        add_bytes(m, s, &to, &names);
        return;
    }
}

/* TLS that isn't opened: by its server names, which each lead to one chain alone. */
static void add_passthrough(struct making *m, const struct gateway_server *s)
{
    const struct translation *t = m->t;
    for (uint32_t i = 0; i < t->scope->egress[0].route_count; i++) {
        const struct scoped_route *vs = &t->scope->egress[0].routes[i];
        const struct str *hosts;
        if (!route_is_of_gateway(vs, s->gateway) || server_shared_hosts(t, s, vs, &hosts) == 0)
            continue;
        struct many found = {0};
        tls_routes_of_gateway(t, vs, s->gateway, s->spec->port->number, &found);
        for (size_t k = 0; k < found.count; k++) {
            const struct tls_choice *c = found.items[k];
            add_bytes(m, s, &c->to, &c->names);
        }
    }
}

static void add_server(struct making *m, const struct gateway_server *s)
{
    if (s->route_name.n)
        add_http(m, s);
    else if (s->spec->tls && s->spec->tls->mode == SERVER_TLS_MODE(PASSTHROUGH))
        add_passthrough(m, s);
    else if (!s->spec->tls || s->spec->tls->mode != SERVER_TLS_MODE(AUTO_PASSTHROUGH))
        add_tcp(m, s);
}

/* Envoy refuses a second chain for names that one has: the first keeps them. */
static void drop_doubles(const struct translation *t, struct many *chains)
{
    struct many kept = {0};
    for (size_t i = 0; i < chains->count; i++) {
        const CHAIN *c = chains->items[i];
        bool is_double = false;
        for (size_t k = 0; k < kept.count && !is_double; k++) {
            const CHAIN *other = kept.items[k];
            is_double = !c->filter_chain_match && !other->filter_chain_match;
            for (size_t x = 0; c->filter_chain_match && other->filter_chain_match && x < c->filter_chain_match->n_server_names; x++)
                for (size_t y = 0; y < other->filter_chain_match->n_server_names; y++)
                    is_double |= strcmp(c->filter_chain_match->server_names[x], other->filter_chain_match->server_names[y]) == 0;
        }
        if (!is_double)
            many_add(t, &kept, c);
    }
    *chains = kept;
}

static void add_listener(const struct translation *t, const struct gateway_port *port, struct resource_sink *out)
{
    struct making m = {.t = t, .port = port};
    struct many filters = {0};
    size_t servers = port->is_http ? 1 : port->servers.count;
    for (size_t i = 0; i < servers; i++)
        add_server(&m, port->servers.items[i]);
    drop_doubles(t, &m.chains);
    if (m.chains.count == 0)
        return; /* nothing is routed there yet: a listener without chains is refused */
    const char *name = textf(t, "%.*s_%u", STR_ARG(port->bind), port->number);
    LISTENER *l = listener_new(t, skeleton, name, port->bind, port->number);
    if (port->is_tls) {
        many_add(t, &filters, constant(t, &envoy__config__listener__v3__listener_filter__descriptor, listener_tls_inspector));
        l->listener_filters = (Envoy__Config__Listener__V3__ListenerFilter **)filters.items;
        l->n_listener_filters = filters.count;
    }
    l->filter_chains = (CHAIN **)m.chains.items;
    l->n_filter_chains = m.chains.count;
    telemetry_listener(t, false, l);
    if (envoy_filter_listener(t, l, false))
        out->add(out, str_from(name), &l->base);
}

void listeners_gateway(const struct translation *t, struct resource_sink *out)
{
    const struct gateway_port *ports;
    size_t n = gateway_ports(t, &ports);
    for (size_t i = 0; i < n; i++)
        add_listener(t, &ports[i], out);
}
