/* SPDX-License-Identifier: Apache-2.0
 *
 * What a sidecar does with connections of its own workload: virtualOutbound takes them all and hands them to a listener that doesn't
 * bind, found by the original destination. HTTP ports of all services share one listener a port; ports of bytes have one for each
 * address of a service (Istio: "outbound listener conflicts": the first service wins where they can't be told apart).
 */
#include "control/translate/translate_priv.h"

#include "base/map.h"
#include "base/mem.h"

static const char skeleton[] = "{\"listener_filters_timeout\":\"0s\",\"continue_on_listener_filters_timeout\":true,"
                               "\"traffic_direction\":\"OUTBOUND\",\"bind_to_port\":false}";
static const char skeleton_virtual[] =
    "{\"use_original_dst\":true,\"traffic_direction\":\"OUTBOUND\",\"max_connections_to_accept_per_socket_event\":1}";
static const char http_inspector[] =
    "{\"name\":\"envoy.filters.listener.http_inspector\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector\"}}";
static const char http_raw[] = "{\"transport_protocol\":\"raw_buffer\",\"application_protocols\":[\"http/1.1\",\"h2c\"]}";
static const char connect_timeout[] = "{\"transport_socket_connect_timeout\":\"15s\"}";

/* What one listener serves: services of one address (or of all) and port. */
struct entry {
    struct str address; /* "0.0.0.0": all */
    uint32_t port;
    bool has_http, has_auto, has_tcp;
    const struct service *service; /* the first that asked for it */
    const struct service_port *service_port;
};
struct outbound {
    const struct translation *t;
    struct resource_sink *out;
    struct map *entries;   /* "address_port" -> struct entry */
    struct many order;     /* by name */
};

static struct entry *entry_of(struct outbound *o, struct str address, uint32_t port, bool *is_new)
{
    const struct translation *t = o->t;
    struct str key = arena_printf(t->arena, "%.*s_%u", STR_ARG(address), port);
    struct entry *e = map_get(o->entries, key);
    *is_new = !e;
    if (!e) {
        e = arena_zalloc(t->arena, sizeof(*e));
        e->address = address;
        e->port = port;
        map_set(o->entries, key, e);
        many_add(t, &o->order, e);
    }
    return e;
}

/* The address whose listener a service's port is served by: HTTP shares the wildcard, all else has its own where it has one. */
static void add_at(struct outbound *o, const struct service *s, const struct service_port *p, struct str address)
{
    bool is_new;
    struct entry *e = entry_of(o, address, p->number, &is_new);
    if (is_new) {
        e->service = s;
        e->service_port = p;
    }
    if (protocol_is_http(p->protocol))
        e->has_http = true;
    else if (p->protocol == PROTOCOL_AUTO)
        e->has_auto = true;
    else if (is_new)
        e->has_tcp = true;
}

/* A headless service without HTTP has a listener for each of its endpoints: connections go to them by address. */
static void add_endpoints(struct outbound *o, const struct service *s, const struct service_port *p)
{
    const struct endpoint_set *set = world_endpoints(o->t->world, s);
    for (uint32_t i = 0; set && i < set->count; i++) {
        const struct endpoint *e = &set->items[i];
        if (e->service_port == p->number && !node_has_address(o->t->node, e->address))
            add_at(o, s, p, e->address);
    }
}

static void add_port(struct outbound *o, const struct service *s, const struct service_port *p)
{
    if (p->protocol == PROTOCOL_UDP)
        return;
    if (protocol_is_http(p->protocol)) {
        add_at(o, s, p, STR("0.0.0.0"));
        return;
    }
    if (s->is_headless && s->address_count == 0) {
        add_endpoints(o, s, p);
        return;
    }
    if (s->address_count == 0)
        add_at(o, s, p, STR("0.0.0.0"));
    for (uint32_t i = 0; i < s->address_count; i++)
        add_at(o, s, p, s->addresses[i]);
}

/* ---- listeners ---- */

static Envoy__Config__Listener__V3__FilterChain *timed_chain(const struct translation *t)
{
    return COPY_OF(t, Envoy__Config__Listener__V3__FilterChain, envoy__config__listener__v3__filter_chain__descriptor, connect_timeout);
}

static bool is_wildcard(const struct entry *e)
{
    return str_eq(e->address, STR("0.0.0.0"));
}

/* "9080", "15021" of all services; of one: "tcp-echo.foo.svc.cluster.local:9002". */
static struct str route_name_of(const struct translation *t, const struct entry *e)
{
    if (is_wildcard(e))
        return arena_printf(t->arena, "%u", e->port);
    return arena_printf(t->arena, "%.*s:%u", STR_ARG(e->service->host), e->port);
}

static Envoy__Config__Listener__V3__FilterChain *http_chain(const struct translation *t, const struct entry *e)
{
    struct chain_purpose p = {.port = e->port,
                              .protocol = PROTOCOL_HTTP,
                              .stat_prefix = arena_printf(t->arena, "outbound_%.*s_%u", STR_ARG(e->address), e->port),
                              .route_name = route_name_of(t, e)};
    Envoy__Config__Listener__V3__FilterChain *c = timed_chain(t);
    c->filter_chain_match = filter_chain_match(t, http_raw, 0);
    chain_http(t, &p, c);
    return c;
}

static Envoy__Config__Listener__V3__FilterChain *tcp_chain(const struct translation *t, const struct entry *e)
{
    struct chain_purpose p = {.port = e->port, .protocol = e->service_port->protocol, .service = e->service};
    Envoy__Config__Listener__V3__FilterChain *c = timed_chain(t);
    chain_tcp(t, &p, cluster_name(t->arena, "outbound", STR(""), e->service->host, e->port), c);
    return c;
}

static Envoy__Config__Listener__V3__FilterChain *passthrough_chain(const struct translation *t, const char *name)
{
    struct str cluster = world_mesh(t->world)->outbound == MESH_ALLOW_ANY ? STR("PassthroughCluster") : STR("BlackHoleCluster");
    Envoy__Config__Listener__V3__FilterChain *c = filter_chain_new(t, name);
    chain_tcp(t, &(struct chain_purpose){0}, cluster, c);
    return c;
}

static void set_chains(Envoy__Config__Listener__V3__Listener *l, const struct many *chains)
{
    l->filter_chains = (Envoy__Config__Listener__V3__FilterChain **)chains->items;
    l->n_filter_chains = chains->count;
}

static void add_http_inspector(const struct translation *t, Envoy__Config__Listener__V3__Listener *l)
{
    struct many filters = {0};
    many_add(t, &filters, constant(t, &envoy__config__listener__v3__listener_filter__descriptor, http_inspector));
    l->listener_filters = (Envoy__Config__Listener__V3__ListenerFilter **)filters.items;
    l->n_listener_filters = filters.count;
}

static void add_listener(struct outbound *o, const struct entry *e)
{
    const struct translation *t = o->t;
    const char *name = textf(t, "%.*s_%u", STR_ARG(e->address), e->port);
    Envoy__Config__Listener__V3__Listener *l = listener_new(t, skeleton, name, e->address, e->port);
    struct many chains = {0};
    if (e->has_http || e->has_auto) {
        many_add(t, &chains, http_chain(t, e));
        add_http_inspector(t, l);
        if (e->has_auto && !is_wildcard(e))
            l->default_filter_chain = tcp_chain(t, e);
        else {
            l->default_filter_chain = passthrough_chain(t, "PassthroughFilterChain");
            l->default_filter_chain->filter_chain_match = filter_chain_match(t, "{}", 0);
        }
    } else
        many_add(t, &chains, tcp_chain(t, e));
    set_chains(l, &chains);
    telemetry_listener(t, false, l);
    envoy_filter_listener(t, l, false);
    o->out->add(o->out, str_from(name), &l->base);
}

static void add_virtual(const struct translation *t, struct resource_sink *out)
{
    uint32_t port = world_mesh(t->world)->proxy_listen_port;
    Envoy__Config__Listener__V3__Listener *l = listener_new(t, skeleton_virtual, "virtualOutbound", STR("0.0.0.0"), port);
    Envoy__Config__Listener__V3__FilterChain *blackhole = filter_chain_new(t, "virtualOutbound-blackhole");
    struct many chains = {0};
    blackhole->filter_chain_match = filter_chain_match(t, "{}", port);
    chain_tcp(t, &(struct chain_purpose){0}, STR("BlackHoleCluster"), blackhole);
    many_add(t, &chains, blackhole);
    many_add(t, &chains, passthrough_chain(t, "virtualOutbound-catchall-tcp"));
    set_chains(l, &chains);
    if (t->node->interception == INTERCEPT_TPROXY)
        l->transparent = bool_of(t, true);
    telemetry_listener(t, false, l);
    envoy_filter_listener(t, l, false);
    out->add(out, STR("virtualOutbound"), &l->base);
}

void listeners_outbound(const struct translation *t, struct resource_sink *out)
{
    struct outbound o = {.t = t, .out = out, .entries = map_new()};
    for (uint32_t i = 0; i < t->scope->service_count; i++) {
        const struct service *s = t->scope->services[i].service;
        for (uint32_t k = 0; k < s->port_count; k++)
            add_port(&o, s, &s->ports[k]);
    }
    for (size_t i = 0; i < o.order.count; i++)
        add_listener(&o, o.order.items[i]);
    map_free(&o.entries);
    if (t->node->interception != INTERCEPT_NONE)
        add_virtual(t, out);
}
