/* SPDX-License-Identifier: Apache-2.0
 *
 * What a sidecar does with connections of its own workload: virtualOutbound takes them all and hands them to a listener that doesn't
 * bind, found by the original destination. HTTP ports of all services share one listener a port; ports of bytes have one for each
 * address of a service (Istio: "outbound listener conflicts": the first service wins where they can't be told apart). Egress listeners
 * of a Sidecar with a port of their own come first; they bind where nothing is captured.
 */
#include "control/translate/route_tcp_priv.h"

#include "base/map.h"
#include "istio/networking/sidecar.pb-c.h"

static const char skeleton[] = "{\"listener_filters_timeout\":\"0s\",\"continue_on_listener_filters_timeout\":true,"
                               "\"traffic_direction\":\"OUTBOUND\",\"bind_to_port\":false}";
static const char skeleton_bound[] = "{\"traffic_direction\":\"OUTBOUND\"}";
static const char skeleton_virtual[] =
    "{\"use_original_dst\":true,\"traffic_direction\":\"OUTBOUND\",\"max_connections_to_accept_per_socket_event\":1}";
static const char http_raw[] = "{\"transport_protocol\":\"raw_buffer\",\"application_protocols\":[\"http/1.1\",\"h2c\"]}";
static const char connect_timeout[] = "{\"transport_socket_connect_timeout\":\"15s\"}";

#define EGRESS Istio__Networking__V1alpha3__IstioEgressListener
#define LISTENER Envoy__Config__Listener__V3__Listener
#define CHAIN Envoy__Config__Listener__V3__FilterChain

/* A service's port that isn't known to be HTTP, on a listener that may serve others, too. */
struct claim {
    const struct scope_egress *egress; /* whose virtual services hold */
    const struct service *service;
    const struct service_port *port;
    struct str range;                  /* the service's addresses where they are one; else the null str */
};
/* What one listener serves: services of one address (or of all) and port. */
struct entry {
    struct str address; /* "0.0.0.0": all */
    uint32_t port;
    bool is_bound;      /* it takes connections itself; else those that virtualOutbound hands to it */
    bool has_http, has_auto;
    const struct service *service; /* the first that asked for it */
    struct many claims;
};
struct outbound {
    const struct translation *t;
    struct resource_sink *out;
    struct map *entries;   /* "address_port" -> struct entry */
    struct many order;
};

static struct entry *entry_of(struct outbound *o, struct str address, uint32_t port)
{
    const struct translation *t = o->t;
    struct str key = arena_printf(t->arena, "%.*s_%u", STR_ARG(address), port);
    struct entry *e = map_get(o->entries, key);
    if (!e) {
        e = arena_zalloc(t->arena, sizeof(*e));
        e->address = address;
        e->port = port;
        map_set(o->entries, key, e);
        many_add(t, &o->order, e);
    }
    return e;
}

/* Where a listener serves a port already, another's bytes can be told from its by their server name or their destination alone. */
static void add_claim(const struct outbound *o, struct entry *e, const struct claim *c)
{
    bool is_told_apart = c->range.p || protocol_is_tls(c->port->protocol);
    if (!is_told_apart && (e->claims.count || e->has_http || e->has_auto))
        return;
    struct claim *own = arena_alloc(o->t->arena, sizeof(*own));
    *own = *c;
    many_add(o->t, &e->claims, own);
}

static void add_at(struct outbound *o, struct claim c, struct str address)
{
    bool is_range = str_find_char(address, '/') >= 0 && !str_has_prefix(address, STR("unix://"));
    struct entry *e = entry_of(o, is_range ? STR("0.0.0.0") : address, c.port->number);
    if (!e->service)
        e->service = c.service;
    if (is_range)
        c.range = address;
    if (protocol_is_http(c.port->protocol)) {
        e->has_http = true;
        return;
    }
    add_claim(o, e, &c);
    e->has_auto |= c.port->protocol == PROTOCOL_AUTO;
}

/* A headless service without HTTP has a listener for each of its endpoints: connections go to them by address. */
static void add_endpoints(struct outbound *o, const struct claim *c)
{
    const struct endpoint_set *set = world_endpoints(o->t->world, c->service);
    for (uint32_t i = 0; set && i < set->count; i++) {
        const struct endpoint *e = &set->items[i];
        if (e->service_port == c->port->number && !node_has_address(o->t->node, e->address))
            add_at(o, *c, e->address);
    }
}

/* HTTP shares the wildcard, all else has a service's own addresses where it has them. */
static void add_port(struct outbound *o, const struct claim *c)
{
    const struct service *s = c->service;
    if (c->port->protocol == PROTOCOL_UDP)
        return;
    if (protocol_is_http(c->port->protocol)) {
        add_at(o, *c, STR("0.0.0.0"));
        return;
    }
    if (s->is_headless && s->address_count == 0) {
        add_endpoints(o, c);
        return;
    }
    if (s->address_count == 0)
        add_at(o, *c, STR("0.0.0.0"));
    for (uint32_t i = 0; i < s->address_count; i++)
        add_at(o, *c, s->addresses[i]);
}

/* ---- egress listeners ---- */

/* Of a Sidecar, on a port of its own. */
static void add_egress_port(struct outbound *o, const struct scope_egress *g)
{
    const struct translation *t = o->t;
    const EGRESS *spec = (const EGRESS *)g->spec;
    bool is_bound = spec->capture_mode == ISTIO__NETWORKING__V1ALPHA3__CAPTURE_MODE__NONE ||
                    (spec->capture_mode == ISTIO__NETWORKING__V1ALPHA3__CAPTURE_MODE__DEFAULT && t->node->interception == INTERCEPT_NONE);
    struct str bind = spec->bind[0] ? str_from(spec->bind) : is_bound ? STR("127.0.0.1") : STR("0.0.0.0");
    if (is_bound && t->node->unprivileged && spec->port->number && spec->port->number < 1024)
        return;
    struct service_port *port = arena_zalloc(t->arena, sizeof(*port));
    port->number = spec->port->number;
    port->protocol = protocol_parse(STR(""), str_from(spec->port->protocol), port->number, STR("TCP"));
    for (uint32_t i = 0; i < g->service_count; i++) {
        struct claim c = {.egress = g, .service = g->services[i].service, .port = port};
        add_at(o, c, bind);
        entry_of(o, bind, port->number)->is_bound = is_bound || str_has_prefix(bind, STR("unix://"));
    }
}

static void add_egress(struct outbound *o, const struct scope_egress *g)
{
    if (g->spec && ((const EGRESS *)g->spec)->port) {
        add_egress_port(o, g);
        return;
    }
    for (uint32_t i = 0; o->t->node->interception != INTERCEPT_NONE && i < g->service_count; i++) {
        const struct service *s = g->services[i].service;
        for (uint32_t k = 0; k < s->port_count; k++)
            add_port(o, &(struct claim){.egress = g, .service = s, .port = &s->ports[k]});
    }
}

/* ---- chains ---- */

static CHAIN *timed_chain(const struct translation *t)
{
    return COPY_OF(t, CHAIN, envoy__config__listener__v3__filter_chain__descriptor, connect_timeout);
}

static bool is_wildcard(const struct entry *e)
{
    return str_eq(e->address, STR("0.0.0.0"));
}

/* "9080", "15021" of all services; of one that has to be told from its first bytes: "tcp-echo.foo.svc.cluster.local:9002". */
static struct str route_name_of(const struct translation *t, const struct entry *e)
{
    if (e->port == 0)
        return e->address;
    if (e->has_http || is_wildcard(e))
        return arena_printf(t->arena, "%u", e->port);
    return arena_printf(t->arena, "%.*s:%u", STR_ARG(e->service->host), e->port);
}

static CHAIN *http_chain(const struct translation *t, const struct entry *e)
{
    struct chain_purpose p = {.port = e->port,
                              .protocol = PROTOCOL_HTTP,
                              .stat_prefix = arena_printf(t->arena, "outbound_%.*s_%u", STR_ARG(e->address), e->port),
                              .route_name = route_name_of(t, e)};
    CHAIN *c = timed_chain(t);
    if (!e->is_bound)
        c->filter_chain_match = filter_chain_match(t, http_raw, 0);
    chain_http(t, &p, c);
    return c;
}

static Envoy__Config__Core__V3__CidrRange *range_of(const struct translation *t, struct str text_)
{
    struct str prefix, address = str_split(text_, '/', &prefix);
    uint64_t length = str_find_char(address, ':') >= 0 ? 128 : 32;
    Envoy__Config__Core__V3__CidrRange *r =
        MAKE(t, Envoy__Config__Core__V3__CidrRange, envoy__config__core__v3__cidr_range__descriptor);
    if (prefix.p)
        str_to_u64(prefix, &length);
    r->address_prefix = text(t, address);
    r->prefix_len = u32_of(t, (uint32_t)length);
    return r;
}

static void match_choice(const struct translation *t, const struct tls_choice *choice, struct str range, CHAIN *c)
{
    struct many ranges = {0};
    for (size_t i = 0; i < choice->subnets.count; i++)
        many_add(t, &ranges, range_of(t, str_from(choice->subnets.items[i])));
    if (ranges.count == 0 && range.p)
        many_add(t, &ranges, range_of(t, range));
    if (ranges.count == 0 && choice->names.count == 0)
        return;
    c->filter_chain_match = filter_chain_match(t, "{}", 0);
    c->filter_chain_match->prefix_ranges = (Envoy__Config__Core__V3__CidrRange **)ranges.items;
    c->filter_chain_match->n_prefix_ranges = ranges.count;
    c->filter_chain_match->server_names = (char **)choice->names.items;
    c->filter_chain_match->n_server_names = choice->names.count;
}

/* Envoy refuses two chains with one match: the first has it. */
static bool has_match(const struct many *chains, const CHAIN *c)
{
    for (size_t i = 0; i < chains->count; i++) {
        const CHAIN *other = chains->items[i];
        if (!c->filter_chain_match != !other->filter_chain_match)
            continue;
        if (!c->filter_chain_match || proto_equal(&c->filter_chain_match->base, &other->filter_chain_match->base))
            return true;
    }
    return false;
}

static void add_choice(const struct translation *t, const struct claim *claim, const struct tls_choice *choice, struct many *chains)
{
    struct chain_purpose p = {.port = claim->port->number, .protocol = claim->port->protocol, .service = claim->service};
    CHAIN *c = timed_chain(t);
    match_choice(t, choice, claim->range, c);
    if (choice->vs)
        metadata_add_config(t, &c->metadata, choice->vs->object);
    chain_tcp_to(t, &p, &choice->to, c);
    if (!has_match(chains, c))
        many_add(t, chains, c);
}

/* Where no route says otherwise: to the service. TLS on a listener that others may share is told by the service's name. */
static void add_default(const struct translation *t, const struct entry *e, const struct claim *claim, struct many *chains)
{
    const struct service *s = claim->service;
    uint32_t port = service_port_find(s, claim->port->number) || s->port_count != 1 ? claim->port->number : s->ports[0].number;
    struct tls_choice choice = {0};
    choice.to.cluster = choice.to.stat_prefix = cluster_name(t->arena, "outbound", STR(""), s->host, port);
    if (protocol_is_tls(claim->port->protocol) && is_wildcard(e))
        many_add(t, &choice.names, text(t, s->host));
    add_choice(t, claim, &choice, chains);
}

static void add_claim_chains(const struct translation *t, const struct entry *e, const struct claim *claim, struct many *chains)
{
    struct many choices = {0};
    bool takes_all;
    if (protocol_is_tls(claim->port->protocol)) {
        tls_routes_of_service(t, claim->egress, claim->service, claim->port->number, &choices);
        takes_all = choices.count > 0;
    } else
        takes_all = tcp_routes_of_service(t, claim->egress, claim->service, claim->port->number, &choices);
    for (size_t i = 0; i < choices.count; i++)
        add_choice(t, claim, choices.items[i], chains);
    if (!takes_all)
        add_default(t, e, claim, chains);
}

static CHAIN *passthrough_chain(const struct translation *t, const char *name)
{
    CHAIN *c = filter_chain_new(t, name);
    chain_tcp(t, &(struct chain_purpose){0}, strangers_cluster(t), c);
    return c;
}

/* ---- listeners ---- */

/* The chain without a match takes what no other does. */
static void set_chains(const struct translation *t, const struct entry *e, LISTENER *l, const struct many *chains)
{
    struct many kept = {0};
    for (size_t i = 0; i < chains->count; i++) {
        CHAIN *c = chains->items[i];
        if (!c->filter_chain_match && chains->count > 1)
            l->default_filter_chain = c;
        else
            many_add(t, &kept, c);
    }
    l->filter_chains = (CHAIN **)kept.items;
    l->n_filter_chains = kept.count;
    if (l->default_filter_chain || e->is_bound || !l->filter_chains[0]->filter_chain_match)
        return;
    l->default_filter_chain = passthrough_chain(t, "PassthroughFilterChain");
    l->default_filter_chain->filter_chain_match = filter_chain_match(t, "{}", 0);
}

static void add_inspectors(const struct translation *t, const struct entry *e, LISTENER *l)
{
    struct many filters = {0};
    bool has_names = false;
    for (size_t i = 0; i < l->n_filter_chains; i++)
        has_names |= l->filter_chains[i]->filter_chain_match && l->filter_chains[i]->filter_chain_match->n_server_names;
    if (has_names)
        many_add(t, &filters, constant(t, &envoy__config__listener__v3__listener_filter__descriptor, listener_tls_inspector));
    if ((e->has_http || e->has_auto) && !e->is_bound)
        many_add(t, &filters, constant(t, &envoy__config__listener__v3__listener_filter__descriptor, listener_http_inspector));
    l->listener_filters = (Envoy__Config__Listener__V3__ListenerFilter **)filters.items;
    l->n_listener_filters = filters.count;
}

static void add_listener(struct outbound *o, const struct entry *e)
{
    const struct translation *t = o->t;
    const char *name = textf(t, "%.*s_%u", STR_ARG(e->address), e->port);
    LISTENER *l = listener_new(t, e->is_bound ? skeleton_bound : skeleton, name, e->address, e->port);
    struct many chains = {0};
    if (e->has_http || e->has_auto)
        many_add(t, &chains, http_chain(t, e));
    for (size_t i = 0; i < e->claims.count; i++) {
        const struct claim *c = e->claims.items[i];
        if (c->port->protocol != PROTOCOL_AUTO || !is_wildcard(e))
            add_claim_chains(t, e, c, &chains);
    }
    set_chains(t, e, l, &chains);
    add_inspectors(t, e, l);
    telemetry_listener(t, false, l);
    if (envoy_filter_listener(t, l, false))
        o->out->add(o->out, str_from(name), &l->base);
}

static void add_virtual(const struct translation *t, struct resource_sink *out)
{
    uint32_t port = world_mesh(t->world)->proxy_listen_port;
    LISTENER *l = listener_new(t, skeleton_virtual, "virtualOutbound", STR("0.0.0.0"), port);
    CHAIN *blackhole = filter_chain_new(t, "virtualOutbound-blackhole");
    struct many chains = {0};
    blackhole->filter_chain_match = filter_chain_match(t, "{}", port);
    chain_tcp(t, &(struct chain_purpose){0}, STR("BlackHoleCluster"), blackhole);
    many_add(t, &chains, blackhole);
    many_add(t, &chains, passthrough_chain(t, "virtualOutbound-catchall-tcp"));
    l->filter_chains = (CHAIN **)chains.items;
    l->n_filter_chains = chains.count;
    if (t->node->interception == INTERCEPT_TPROXY)
        l->transparent = bool_of(t, true);
    telemetry_listener(t, false, l);
    if (envoy_filter_listener(t, l, false))
        out->add(out, STR("virtualOutbound"), &l->base);
}

/* For applications that name a proxy (http_proxy): any service, by its host and port. */
static void add_http_proxy(const struct translation *t, struct resource_sink *out)
{
    uint32_t port = http_proxy_port(t);
    if (port == 0)
        return;
    const char *name = textf(t, "127.0.0.1_%u", port);
    LISTENER *l = listener_new(t, skeleton_bound, name, STR("127.0.0.1"), port);
    struct chain_purpose p = {.port = port,
                              .protocol = PROTOCOL_HTTP_PROXY,
                              .stat_prefix = arena_printf(t->arena, "outbound_127.0.0.1_%u", port),
                              .route_name = STR("http_proxy")};
    struct many chains = {0};
    CHAIN *c = timed_chain(t);
    chain_http(t, &p, c);
    many_add(t, &chains, c);
    l->filter_chains = (CHAIN **)chains.items;
    l->n_filter_chains = chains.count;
    telemetry_listener(t, false, l);
    if (envoy_filter_listener(t, l, false))
        out->add(out, str_from(name), &l->base);
}

void listeners_outbound(const struct translation *t, struct resource_sink *out)
{
    struct outbound o = {.t = t, .out = out, .entries = map_new()};
    for (uint32_t i = 0; i < t->scope->egress_count; i++)
        add_egress(&o, &t->scope->egress[i]);
    for (size_t i = 0; i < o.order.count; i++)
        add_listener(&o, o.order.items[i]);
    map_free(&o.entries);
    if (t->node->interception != INTERCEPT_NONE)
        add_virtual(t, out);
    add_http_proxy(t, out);
}
