/* SPDX-License-Identifier: Apache-2.0
 *
 * A listener from its message: addresses and sockets, listener filters, filter chains with their
 * matches, transport sockets and network filters. Main thread; no socket is opened here.
 */
#include "proxy/listener/listener.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/tls_source.h"
#include "proxy/log/access_log.h"

#include <stdio.h>

#define BUFFER_LIMIT_BYTES (1u << 20)
#define LISTENER_FILTERS_TIMEOUT_MS 15000u
#define MATCH_SOURCE(x) ENVOY__CONFIG__LISTENER__V3__FILTER_CHAIN_MATCH__CONNECTION_SOURCE_TYPE__##x

/* ---- filter chain match ---- */

/* Exact names and "*.suffix"; Envoy refuses other wildcards. */
static struct str *read_server_names(struct config_reader *cr, const pb_chain_match *m, struct arena *a, uint32_t *count)
{
    uint32_t n = *count = LEN(m, server_names);
    struct str *out = ARENA_ARRAY(a, struct str, n);
    for (uint32_t i = 0; i < n; i++) {
        struct str name = out[i] = cfg_lower(a, str_from(m->server_names[i]));
        struct str rest = str_has_prefix(name, STR("*.")) ? str_make(name.p + 2, name.n - 2) : name;
        char field[32];
        snprintf(field, sizeof field, "server_names[%u]", i);
        if (name.n == 0 || rest.n == 0)
            FAULT(field, "must not be empty");
        else if (str_find_char(rest, '*') >= 0)
            FAULT(field, "'%.*s': a wildcard can only be the whole first label", STR_ARG(name));
    }
    return out;
}

static void read_match(struct config_reader *cr, const pb_chain_match *m, struct chain_match_spec *out, struct arena *a)
{
    if (!m)
        return;
    __auto_type port = GET(m, destination_port);
    out->has_destination_port = port != NULL;
    out->destination_port = port ? (uint16_t)port->value : 0;
    out->prefix_count = LEN(m, prefix_ranges);
    out->prefix_ranges = cfg_cidrs(cr, a, "prefix_ranges", m->prefix_ranges, out->prefix_count);
    out->server_names = read_server_names(cr, m, a, &out->server_name_count);
    out->transport_protocol = arena_str(a, TEXT(m, transport_protocol));
    out->application_protocol_count = LEN(m, application_protocols);
    out->application_protocols = ARENA_ARRAY(a, struct str, out->application_protocol_count);
    for (uint32_t i = 0; i < out->application_protocol_count; i++)
        out->application_protocols[i] = arena_str(a, str_from(m->application_protocols[i]));
    out->direct_source_count = LEN(m, direct_source_prefix_ranges);
    out->direct_source_ranges =
        cfg_cidrs(cr, a, "direct_source_prefix_ranges", m->direct_source_prefix_ranges, out->direct_source_count);
    switch (GET(m, source_type)) {
    case MATCH_SOURCE(SAME_IP_OR_LOOPBACK):
        out->source_type = SOURCE_SAME_IP_OR_LOOPBACK;
        break;
    case MATCH_SOURCE(EXTERNAL):
        out->source_type = SOURCE_EXTERNAL;
        break;
    default:
        out->source_type = SOURCE_ANY;
    }
    out->source_count = LEN(m, source_prefix_ranges);
    out->source_ranges = cfg_cidrs(cr, a, "source_prefix_ranges", m->source_prefix_ranges, out->source_count);
    out->source_port_count = LEN(m, source_ports);
    out->source_ports = ARENA_ARRAY(a, uint16_t, out->source_port_count);
    for (uint32_t i = 0; i < out->source_port_count; i++)
        out->source_ports[i] = (uint16_t)m->source_ports[i];
}

/* ---- network filters ---- */

static int read_network_filter(struct config_reader *cr, const pb_network_filter *m, struct listener_spec *l,
                               struct filter_chain *chain, struct network_filter_spec *spec)
{
    ProtobufCMessage *msg = NULL;
    int rc = ERR_INVALID;
    struct str name = TEXT(m, name);
    const pb_any *any = NULL;
    if (m->config_type_case == ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_CONFIG_DISCOVERY) {
        proto_read_whole(&cr->r, &GET(m, config_discovery)->base);
        UNSUPPORTED("config_discovery", NULL);
        return ERR_UNSUPPORTED;
    }
    any = m->config_type_case ? GET(m, typed_config) : NULL;
    const struct extension *ext = cfg_extension(cr, EXT_NETWORK_FILTER, "typed_config", name, any, &msg);
    if (!ext)
        return ERR_UNSUPPORTED;
    struct cfg_network_filter out = {spec, l, chain};
    spec->name = arena_str(&l->arena, name);
    spec->def = ext->def;
    IN("typed_config")
        rc = ext->read(cr, msg, &out);
    return rc;
}

static void read_network_filters(struct config_reader *cr, const pb_filter_chain *m, struct listener_spec *l, struct filter_chain *chain)
{
    uint32_t n = LEN(m, filters);
    bool complete = true;
    chain->filters = ARENA_ARRAY(&l->arena, struct network_filter_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("filters[%u]", i) {
            struct network_filter_spec *spec = &chain->filters[chain->filter_count];
            if (read_network_filter(cr, m->filters[i], l, chain, spec) == ERR_UNSUPPORTED) {
                complete = false;
            } else {
                chain->filter_count++;
                if (spec->def && spec->def->is_terminal && i + 1 < n)
                    FAULT("", "the terminal filter %.*s must be the last one", STR_ARG(spec->name));
                if (spec->def && !spec->def->is_terminal && i + 1 == n)
                    FAULT("", "%.*s is not a terminal filter and can't be the last one", STR_ARG(spec->name));
            }
        }
    if (!complete && cr->allow_unsupported && chain->filter_count == 0)
        FAULT("filters", "nothing is left without the unsupported filters");
}

/* ---- filter chains ---- */

static struct filter_chain *read_chain(struct config_reader *cr, const pb_filter_chain *m, struct listener_spec *l)
{
    ProtobufCMessage *msg = NULL;
    struct filter_chain *chain = arena_zalloc(&l->arena, sizeof *chain);
    chain->name = arena_str(&l->arena, TEXT(m, name));
    IN("filter_chain_match")
        read_match(cr, GET(m, filter_chain_match), &chain->match, &l->arena);
    chain->transport_timeout_ms = proto_ms_or(GET(m, transport_socket_connect_timeout), 0);
    const pb_transport_socket *socket = GET(m, transport_socket);
    if (socket)
        IN("transport_socket") {
            struct cfg_socket out = {0};
            const pb_any *any = socket->config_type_case ? GET(socket, typed_config) : NULL;
            const struct extension *ext = cfg_extension(cr, EXT_DOWNSTREAM_SOCKET, "typed_config", TEXT(socket, name), any, &msg);
            if (ext)
                IN("typed_config")
                    ext->read(cr, msg, &out);
            chain->tls = out.tls;
        }
    if (GET(m, metadata)) /* see cluster.c */
        proto_read_whole(&cr->r, &m->metadata->base);
    read_network_filters(cr, m, l, chain);
    return chain;
}

static void read_chains(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    struct err err = {0};
    size_t faults = cr->r.faults->count;
    uint32_t n = LEN(m, filter_chains);
    l->chains = ARENA_ARRAY(&l->arena, struct filter_chain *, n);
    for (uint32_t i = 0; i < n; i++)
        IN("filter_chains[%u]", i)
            l->chains[l->chain_count++] = read_chain(cr, m->filter_chains[i], l);
    if (GET(m, default_filter_chain))
        IN("default_filter_chain")
            l->default_chain = read_chain(cr, m->default_filter_chain, l);
    if (n == 0 && !l->default_chain)
        FAULT("filter_chains", "a listener needs at least one filter chain");
    if (cr->r.faults->count > faults)
        return;
    l->index = chain_index_new(l->chains, l->chain_count, &err);
    if (!l->index)
        cfg_fault_err(cr, err.path[0] ? "" : "filter_chains", &err);
}

/* ---- listener filters ---- */

static int read_listener_filter(struct config_reader *cr, const pb_listener_filter *m, struct listener_spec *l,
                                struct listener_filter_spec *spec)
{
    ProtobufCMessage *msg = NULL;
    int rc = ERR_INVALID;
    struct str name = TEXT(m, name);
    if (m->config_type_case == ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER__CONFIG_TYPE_CONFIG_DISCOVERY) {
        proto_read_whole(&cr->r, &GET(m, config_discovery)->base);
        UNSUPPORTED("config_discovery", NULL);
        return ERR_UNSUPPORTED;
    }
    const pb_any *any = m->config_type_case ? GET(m, typed_config) : NULL;
    const struct extension *ext = cfg_extension(cr, EXT_LISTENER_FILTER, "typed_config", name, any, &msg);
    if (!ext)
        return ERR_UNSUPPORTED;
    struct cfg_listener_filter out = {spec, &l->arena};
    spec->name = arena_str(&l->arena, name);
    spec->def = ext->def;
    IN("typed_config")
        rc = ext->read(cr, msg, &out);
    return rc;
}

static void read_listener_filters(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    uint32_t n = LEN(m, listener_filters);
    l->listener_filters = ARENA_ARRAY(&l->arena, struct listener_filter_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("listener_filters[%u]", i)
            if (read_listener_filter(cr, m->listener_filters[i], l, &l->listener_filters[l->listener_filter_count]) == 0)
                l->listener_filter_count++;
    l->listener_filters_timeout_ms = proto_ms_or(GET(m, listener_filters_timeout), LISTENER_FILTERS_TIMEOUT_MS);
    l->continue_on_listener_filters_timeout = GET(m, continue_on_listener_filters_timeout);
}

/* ---- sockets ---- */

static void read_address(struct config_reader *cr, const pb_listener *m, const pb_address *address, pb_socket_option *const *options,
                         uint32_t option_count, struct listener_spec *l)
{
    struct listen_opts *o = &l->listen[l->address_count];
    struct addr *addr = &l->addresses[l->address_count++];
    uint32_t before = 0, listening = 0;
    if (!address) {
        FAULT("address", "must be set");
        return;
    }
    IN("address")
        cfg_address(cr, address, addr, &o->unix_mode, &o->ipv4_compat);
    o->reuse_port = l->reuse_port && addr_is_ip(addr);
    o->transparent = l->transparent;
    o->freebind = l->freebind;
    o->backlog = proto_u32_or(GET(m, tcp_backlog_size), 0);
    o->tcp_fast_open_queue = proto_u32_or(GET(m, tcp_fast_open_queue_length), 0);
    o->options = cfg_sock_opts(cr, &l->arena, "socket_options", options, option_count, CFG_SOCK_BEFORE_LISTEN, &before);
    o->option_count = before;
    o->listening_options = cfg_sock_opts(cr, &l->arena, "socket_options", options, option_count, CFG_SOCK_LISTENING, &listening);
    o->listening_option_count = listening;
}

static void read_sockets(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    uint32_t more = LEN(m, additional_addresses), n = LEN(m, socket_options);
    l->addresses = ARENA_ARRAY(&l->arena, struct addr, 1 + more);
    l->listen = ARENA_ARRAY(&l->arena, struct listen_opts, 1 + more);
    l->bind_to_port = proto_bool_or(GET(m, bind_to_port), true);
    __auto_type v1 = GET(m, deprecated_v1);
    if (v1)
        l->bind_to_port = proto_bool_or(GET(v1, bind_to_port), true) && l->bind_to_port;
    l->reuse_port = proto_bool_or(GET(m, enable_reuse_port), true);
    (void)GET(m, reuse_port); /* the older form of the same; Envoy looks at it only where enable_reuse_port is absent */
    l->transparent = proto_bool_or(GET(m, transparent), false);
    l->freebind = proto_bool_or(GET(m, freebind), false);
    read_address(cr, m, GET(m, address), GET(m, socket_options), n, l);
    for (uint32_t i = 0; i < more; i++)
        IN("additional_addresses[%u]", i) {
            const pb_additional_address *x = m->additional_addresses[i];
            __auto_type own = GET(x, socket_options);
            if (own)
                read_address(cr, m, GET(x, address), GET(own, socket_options), LEN(own, socket_options), l);
            else
                read_address(cr, m, GET(x, address), m->socket_options, n, l);
        }
}

static void read_balance(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    const pb_balance *b = GET(m, connection_balance_config);
    if (!b)
        return;
    if (b->balance_type_case ==
        ENVOY__CONFIG__LISTENER__V3__LISTENER__CONNECTION_BALANCE_CONFIG__BALANCE_TYPE_EXACT_BALANCE) {
        (void)GET(b, exact_balance);
        l->exact_balance = true;
    } /* extend_balance stays unread */
}

/* Envoy: runtime envoy.resource_limits.listener.<name>.connection_limit. */
static uint64_t connection_limit(struct config_reader *cr, struct str name)
{
    char key[512];
    uint64_t limit = 0;
    int n = snprintf(key, sizeof key, "envoy.resource_limits.listener.%.*s.connection_limit", STR_ARG(name));
    if (n < 0 || (size_t)n >= sizeof key)
        return 0;
    for (uint32_t i = 0; i < cr->out->layer_count; i++)
        for (size_t j = 0; j < cr->out->layers[i].count; j++)
            if (str_eq(cr->out->layers[i].keys[j], str_make(key, (size_t)n)))
                str_to_u64(cr->out->layers[i].values[j], &limit);
    return limit;
}

static void read_limits(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    l->buffer_limit_bytes = proto_u32_or(GET(m, per_connection_buffer_limit_bytes), BUFFER_LIMIT_BYTES);
    l->max_connections = connection_limit(cr, l->name);
    l->max_accepts_per_event = proto_u32_or(GET(m, max_connections_to_accept_per_socket_event), 0);
    l->ignore_global_conn_limit = GET(m, ignore_global_conn_limit);
    l->bypass_overload = GET(m, bypass_overload_manager);
}

/* Before the chains: some filters ask. */
static void read_direction(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    int direction = GET(m, traffic_direction);
    l->is_inbound = direction == ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__INBOUND;
    l->is_outbound = direction == ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__OUTBOUND;
    cr->is_inbound = l->is_inbound;
}

static void read_rest(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    l->use_original_dst = proto_bool_or(GET(m, use_original_dst), false);
    if (GET(m, metadata))
        proto_read_whole(&cr->r, &m->metadata->base);
    l->access_logs = cfg_access_logs(cr, "access_log", GET(m, access_log), LEN(m, access_log), &l->arena, &l->access_log_count);
}

static void read_name(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    char text[ADDR_TEXT_BYTES];
    struct str name = TEXT(m, name);
    /* Envoy makes up a UUID for a nameless listener; the address says more and is as unique. */
    if (name.n == 0 && l->address_count > 0)
        name = str_from(addr_text(&l->addresses[0], text));
    l->name = arena_str(&l->arena, name);
    l->stat_prefix = arena_str(&l->arena, TEXT(m, stat_prefix));
}

int cfg_listener(struct config_reader *cr, const pb_listener *m, struct listener_spec **out)
{
    size_t faults = cr->r.faults->count;
    struct listener_spec *l = NEW(listener_spec);
    arena_init(&l->arena, 0);
    read_sockets(cr, m, l);
    read_name(cr, m, l);
    read_direction(cr, m, l);
    read_limits(cr, m, l);
    read_balance(cr, m, l);
    read_listener_filters(cr, m, l);
    read_chains(cr, m, l);
    read_rest(cr, m, l);
    *out = l;
    return cr->r.faults->count == faults ? 0 : ERR_INVALID;
}

static void chain_fini(struct filter_chain *chain)
{
    if (!chain)
        return;
    for (uint32_t i = 0; i < chain->filter_count; i++)
        if (chain->filters[i].free_config)
            chain->filters[i].free_config((void *)chain->filters[i].config);
    tls_source_unref(&chain->tls);
}

void listener_spec_free(struct listener_spec **spec)
{
    struct listener_spec *l = *spec;
    if (!l)
        return;
    *spec = NULL;
    if (l->index)
        chain_index_free(&l->index);
    for (uint32_t i = 0; i < l->chain_count; i++)
        chain_fini(l->chains[i]);
    chain_fini(l->default_chain);
    for (uint32_t i = 0; i < l->listener_filter_count; i++)
        if (l->listener_filters[i].free_config)
            l->listener_filters[i].free_config((void *)l->listener_filters[i].config);
    for (uint32_t i = 0; i < l->access_log_count; i++)
        access_log_free(&l->access_logs[i]);
    for (uint32_t i = 0; i < l->address_count; i++)
        addr_fini(&l->addresses[i]);
    arena_fini(&l->arena);
    mem_free(l);
}
