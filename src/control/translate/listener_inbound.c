/* SPDX-License-Identifier: Apache-2.0
 *
 * virtualInbound: one listener for all that comes to the workload. For each of its ports the chains that its protocol and the
 * peers' authentication ask for; behind them chains for ports that no service tells of. Ports that nothing redirects to
 * have listeners of their own.
 */
#include "control/translate/translate_priv.h"

#define MESH_ALPN "\"istio\",\"istio-peer-exchange\",\"istio-http/1.0\",\"istio-http/1.1\",\"istio-h2\""

static const char skeleton[] =
    "{\"listener_filters_timeout\":\"0s\",\"continue_on_listener_filters_timeout\":true,\"traffic_direction\":\"INBOUND\","
    "\"max_connections_to_accept_per_socket_event\":1}";
static const char original_dst[] =
    "{\"name\":\"envoy.filters.listener.original_dst\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst\"}}";

/* Which peers a chain is for. Each field of a protocol's chains is one of these. */
static const char any_tls_mesh[] = "{\"transport_protocol\":\"tls\",\"application_protocols\":[" MESH_ALPN "]}";
static const char http_tls_mesh[] =
    "{\"transport_protocol\":\"tls\",\"application_protocols\":[\"istio-http/1.0\",\"istio-http/1.1\",\"istio-h2\"]}";
static const char tcp_tls_mesh[] = "{\"transport_protocol\":\"tls\",\"application_protocols\":[\"istio-peer-exchange\",\"istio\"]}";
static const char any_tls[] = "{\"transport_protocol\":\"tls\"}";
static const char any_raw[] = "{\"transport_protocol\":\"raw_buffer\"}";
static const char http_raw[] = "{\"transport_protocol\":\"raw_buffer\",\"application_protocols\":[\"http/1.1\",\"h2c\"]}";

struct inbound {
    const struct translation *t;
    struct many chains;
    const char *name;         /* of the chains */
    const char *http_name;    /* of those for HTTP where it differs */
    struct chain_purpose http, tcp;
    struct str cluster;
    uint32_t match_port;      /* 0: all */
};

static void add_chain(struct inbound *in, const char *match, bool is_http, bool is_mtls)
{
    const struct translation *t = in->t;
    Envoy__Config__Listener__V3__FilterChain *c = filter_chain_new(t, is_http && in->http_name ? in->http_name : in->name);
    c->filter_chain_match = filter_chain_match(t, match, in->match_port);
    if (is_http)
        chain_http(t, &in->http, c);
    else
        chain_tcp(t, &in->tcp, in->cluster, c);
    if (is_mtls)
        c->transport_socket = downstream_mtls(t, !is_http);
    many_add(t, &in->chains, c);
}

/* A port whose protocol is known. */
static void chains_known(struct inbound *in, enum mtls_mode mode, bool is_http)
{
    if (mode == MTLS_STRICT) {
        add_chain(in, any_tls, is_http, true);
        return;
    }
    if (mode == MTLS_DISABLE) {
        add_chain(in, any_raw, is_http, false);
        return;
    }
    add_chain(in, any_tls_mesh, is_http, true);
    if (!is_http)
        add_chain(in, any_tls, false, false); /* TLS that isn't the mesh's goes through as it is */
    add_chain(in, any_raw, is_http, false);
}

/* One that has to be told from its first bytes. */
static void chains_sniffed(struct inbound *in, enum mtls_mode mode)
{
    if (mode != MTLS_DISABLE)
        add_chain(in, http_tls_mesh, true, true);
    if (mode != MTLS_STRICT)
        add_chain(in, http_raw, true, false);
    if (mode == MTLS_STRICT) {
        add_chain(in, any_tls, false, true);
        return;
    }
    if (mode != MTLS_DISABLE)
        add_chain(in, tcp_tls_mesh, false, true);
    add_chain(in, any_raw, false, false);
    if (mode != MTLS_DISABLE)
        add_chain(in, any_tls, false, false);
}

static void add_port(struct inbound *in, const struct inbound_port *p)
{
    const struct workload_service *ws = &p->ws;
    const struct translation *t = in->t;
    enum protocol protocol = ws->port->protocol;
    enum mtls_mode mode = mtls_mode_for(t->world, t->node->ns, &t->node->labels, ws->target);
    struct str operation = arena_printf(t->arena, "%.*s:%u/*", STR_ARG(ws->service->host), ws->port->number);
    in->name = textf(t, "0.0.0.0_%u", ws->target);
    in->http_name = NULL;
    in->match_port = p->bind.p ? 0 : ws->target;
    in->cluster = cluster_name(t->arena, "inbound", STR(""), STR(""), ws->target);
    in->tcp = (struct chain_purpose){.is_inbound = true, .port = ws->target, .protocol = protocol, .service = ws->service};
    in->http = in->tcp;
    in->http.stat_prefix = arena_printf(t->arena, "inbound_0.0.0.0_%u", ws->target);
    in->http.routes = routes_inbound(t, in->cluster, operation, ws->port->number);
    if (protocol == PROTOCOL_AUTO)
        chains_sniffed(in, mode);
    else
        chains_known(in, mode, protocol_is_http(protocol));
}

static void add_blackhole(struct inbound *in, uint32_t port)
{
    in->name = "virtualInbound-blackhole";
    in->http_name = NULL;
    in->match_port = port;
    in->cluster = STR("BlackHoleCluster");
    in->tcp = (struct chain_purpose){.is_inbound = true, .is_closed = true};
    add_chain(in, "{}", false, false);
}

/* Ports of the workload that no service leads to. */
static void add_passthrough(struct inbound *in)
{
    const struct translation *t = in->t;
    in->name = "virtualInbound";
    in->http_name = "virtualInbound-catchall-http";
    in->match_port = 0;
    in->cluster = STR("InboundPassthroughCluster");
    in->tcp = (struct chain_purpose){.is_inbound = true};
    in->http = in->tcp;
    in->http.stat_prefix = in->cluster;
    in->http.routes = routes_inbound(t, in->cluster, STR(":0/*"), 0);
    enum mtls_mode mode = mtls_mode_for(t->world, t->node->ns, &t->node->labels, 0);
    if (mode != MTLS_DISABLE)
        add_chain(in, http_tls_mesh, true, true);
    if (mode != MTLS_STRICT)
        add_chain(in, http_raw, true, false);
    if (mode != MTLS_DISABLE)
        add_chain(in, mode == MTLS_STRICT ? any_tls : tcp_tls_mesh, false, true);
    if (mode != MTLS_STRICT)
        add_chain(in, any_raw, false, false);
    if (mode != MTLS_STRICT && mode != MTLS_DISABLE)
        add_chain(in, any_tls, false, false);
}

/* ---- listener filters ---- */

static Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate *port_predicate(const struct translation *t, uint32_t port)
{
    Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate *m =
        MAKE(t, Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate,
             envoy__config__listener__v3__listener_filter_chain_match_predicate__descriptor);
    m->rule_case = ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_DESTINATION_PORT_RANGE;
    m->destination_port_range = MAKE(t, Envoy__Type__V3__Int32Range, envoy__type__v3__int32_range__descriptor);
    m->destination_port_range->start = (int32_t)port;
    m->destination_port_range->end = (int32_t)port + 1;
    return m;
}

/* One port alone, or one of several. */
static Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate *ports_predicate(const struct translation *t, const struct many *rules)
{
    if (rules->count == 1)
        return rules->items[0];
    Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate *m =
        MAKE(t, Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate,
             envoy__config__listener__v3__listener_filter_chain_match_predicate__descriptor);
    m->rule_case = ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_OR_MATCH;
    m->or_match = MAKE(t, Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate__MatchSet,
                       envoy__config__listener__v3__listener_filter_chain_match_predicate__match_set__descriptor);
    m->or_match->rules = (void *)rules->items;
    m->or_match->n_rules = rules->count;
    return m;
}

static void add_inspector(const struct translation *t, struct many *filters, const char *literal, const struct many *disabled)
{
    Envoy__Config__Listener__V3__ListenerFilter *f =
        COPY_OF(t, Envoy__Config__Listener__V3__ListenerFilter, envoy__config__listener__v3__listener_filter__descriptor, literal);
    f->filter_disabled = ports_predicate(t, disabled);
    many_add(t, filters, f);
}

static void add_listener_filters(const struct translation *t, Envoy__Config__Listener__V3__Listener *l, const struct many *tls_off,
                                 const struct many *http_off)
{
    struct many filters = {0};
    if (t->node->interception != INTERCEPT_NONE)
        many_add(t, &filters, constant(t, &envoy__config__listener__v3__listener_filter__descriptor, original_dst));
    add_inspector(t, &filters, listener_tls_inspector, tls_off);
    if (http_off) /* where all has to be the mesh's TLS, its ALPN tells what is in it */
        add_inspector(t, &filters, listener_http_inspector, http_off);
    l->listener_filters = (Envoy__Config__Listener__V3__ListenerFilter **)filters.items;
    l->n_listener_filters = filters.count;
}

/* Listeners that take their connections themselves. */
static void add_bound(const struct translation *t, const struct inbound_port *ports, size_t count, struct resource_sink *out)
{
    for (size_t i = 0; i < count; i++) {
        struct inbound in = {.t = t};
        struct many filters = {0};
        uint32_t port = ports[i].ws.target;
        if (!ports[i].bind.p)
            continue;
        add_port(&in, &ports[i]);
        const char *name = textf(t, "%.*s_%u", STR_ARG(ports[i].bind), port);
        Envoy__Config__Listener__V3__Listener *l = listener_new(t, skeleton, name, ports[i].bind, port);
        l->filter_chains = (Envoy__Config__Listener__V3__FilterChain **)in.chains.items;
        l->n_filter_chains = in.chains.count;
        if (mtls_mode_for(t->world, t->node->ns, &t->node->labels, port) != MTLS_DISABLE)
            many_add(t, &filters, constant(t, &envoy__config__listener__v3__listener_filter__descriptor, listener_tls_inspector));
        if (ports[i].ws.port->protocol == PROTOCOL_AUTO)
            many_add(t, &filters, constant(t, &envoy__config__listener__v3__listener_filter__descriptor, listener_http_inspector));
        l->listener_filters = (Envoy__Config__Listener__V3__ListenerFilter **)filters.items;
        l->n_listener_filters = filters.count;
        telemetry_listener(t, true, l);
        if (envoy_filter_listener(t, l, true))
            out->add(out, str_from(name), &l->base);
    }
}

void listeners_inbound(const struct translation *t, struct resource_sink *out)
{
    const struct mesh *mesh = world_mesh(t->world);
    const struct node *n = t->node;
    struct inbound in = {.t = t};
    struct many tls_off = {0}, http_off = {0};
    const struct inbound_port *ports;
    size_t count = inbound_ports(t, &ports);
    add_bound(t, ports, count, out);
    if (n->interception == INTERCEPT_NONE)
        return;
    add_blackhole(&in, mesh->inbound_listen_port);
    add_passthrough(&in);
    bool takes_plain = mtls_mode_for(t->world, n->ns, &n->labels, 0) != MTLS_STRICT;
    for (size_t i = 0; i < count; i++) {
        const struct workload_service *ws = &ports[i].ws;
        if (ports[i].bind.p)
            continue;
        add_port(&in, &ports[i]);
        enum protocol p = ws->port->protocol;
        takes_plain |= p == PROTOCOL_AUTO && mtls_mode_for(t->world, n->ns, &n->labels, ws->target) != MTLS_STRICT;
        if (p != PROTOCOL_AUTO)
            many_add(t, &http_off, port_predicate(t, ws->target));
        if (mtls_mode_for(t->world, n->ns, &n->labels, ws->target) == MTLS_DISABLE)
            many_add(t, &tls_off, port_predicate(t, ws->target));
    }
    many_add(t, &tls_off, port_predicate(t, mesh->inbound_listen_port));
    many_add(t, &http_off, port_predicate(t, mesh->inbound_listen_port));
    Envoy__Config__Listener__V3__Listener *l =
        listener_new(t, skeleton, "virtualInbound", STR("0.0.0.0"), mesh->inbound_listen_port);
    l->filter_chains = (Envoy__Config__Listener__V3__FilterChain **)in.chains.items;
    l->n_filter_chains = in.chains.count;
    if (n->interception == INTERCEPT_TPROXY)
        l->transparent = bool_of(t, true);
    add_listener_filters(t, l, &tls_off, takes_plain ? &http_off : NULL);
    telemetry_listener(t, true, l);
    if (envoy_filter_listener(t, l, true))
        out->add(out, STR("virtualInbound"), &l->base);
}
