/* SPDX-License-Identifier: Apache-2.0
 *
 * A listener from its message: addresses and sockets, listener filters, filter chains with their
 * matches, transport sockets and network filters. Main thread; no socket is opened here.
 */
#include "proxy/listener/listener.h"

#include "base/mem.h"
#include "proxy/filter/filter_source.h"
#include "proxy/config/listener_priv.h"
#include "proxy/config/resources_priv.h"
#include "proxy/log/access_log.h"

#include <stdio.h>

#define BUFFER_LIMIT_BYTES (1u << 20)

/* ---- filter chains ---- */

static void read_chains(struct config_reader *cr, const pb_listener *m, const struct listener_reading *lr)
{
    struct listener_spec *l = lr->spec;
    struct err err = {0};
    size_t faults = cr->r.faults->count;
    uint32_t n = LEN(m, filter_chains);
    l->chains = ARENA_ARRAY(&l->arena, struct filter_chain *, n);
    for (uint32_t i = 0; i < n; i++)
        IN("filter_chains[%u]", i)
            l->chains[l->chain_count++] = cfg_filter_chain(cr, m->filter_chains[i], lr);
    if (GET(m, default_filter_chain))
        IN("default_filter_chain")
            l->default_chain = cfg_filter_chain(cr, m->default_filter_chain, lr);
    if (n == 0 && !l->default_chain)
        FAULT("filter_chains", "a listener needs at least one filter chain");
    if (cr->r.faults->count > faults)
        return;
    l->index = chain_index_new(l->chains, l->chain_count, &err);
    if (!l->index)
        cfg_fault_err(cr, err.path[0] ? "" : "filter_chains", &err);
}

/* ---- sockets ---- */

static void read_address(struct config_reader *cr, const pb_listener *m, const pb_address *address, pb_socket_option *const *options,
                         uint32_t option_count, struct listener_spec *l)
{
    struct listen_opts *o = &l->listen[l->address_count];
    struct addr *addr = &l->addresses[l->address_count++];
    uint32_t before = 0, listening = 0;
    if (m->listener_specifier_case == ENVOY__CONFIG__LISTENER__V3__LISTENER__LISTENER_SPECIFIER_INTERNAL_LISTENER) {
        proto_read_whole(&cr->r, &GET(m, internal_listener)->base);
        UNSUPPORTED("internal_listener", NULL);
        return;
    }
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

/* Of everything but the filter chains. */
static struct content_digest frame_digest(const pb_listener *m)
{
    pb_listener frame = *m;
    struct strbuf bytes = {0};
    frame.n_filter_chains = 0;
    frame.default_filter_chain = NULL;
    frame.filter_chain_matcher = NULL;
    proto_pack(&frame.base, &bytes);
    struct content_digest digest = cfg_digest(&bytes);
    strbuf_fini(&bytes);
    return digest;
}

static void read_listener(struct config_reader *cr, const pb_listener *m, const struct listener_reading *lr)
{
    struct listener_spec *l = lr->spec;
    struct cluster_slots *outer = cr->slots;
    cr->slots = &l->slots;
    l->frame = frame_digest(m);
    read_sockets(cr, m, l);
    read_name(cr, m, l);
    read_direction(cr, m, l);
    read_limits(cr, m, l);
    read_balance(cr, m, l);
    cfg_listener_filters(cr, m, l);
    read_chains(cr, m, lr);
    read_rest(cr, m, l);
    cr->slots = outer;
}

static struct listener_spec *spec_new(void)
{
    struct listener_spec *l = NEW(listener_spec);
    arena_init(&l->arena, 0);
    return l;
}

int cfg_listener(struct config_reader *cr, const pb_listener *m, struct listener_spec **out)
{
    size_t faults = cr->r.faults->count;
    struct listener_reading lr = {.spec = spec_new()};
    read_listener(cr, m, &lr);
    *out = lr.spec;
    return cr->r.faults->count == faults ? 0 : ERR_INVALID;
}

int config_read_listener(struct config_batch *b, struct str packed, const struct listener_spec *const *older, uint32_t older_count,
                         struct listener_spec **out, struct err_list *faults)
{
    struct config_resource r;
    struct listener_reading lr = {NULL, older, older_count};
    const ProtobufCMessage *m = cfg_resource_begin(&r, b, &envoy__config__listener__v3__listener__descriptor, packed, faults);
    if (m) {
        lr.spec = spec_new();
        read_listener(&r.cr, (const pb_listener *)m, &lr);
    }
    int rc = cfg_resource_end(&r, m);
    if (rc)
        listener_spec_free(&lr.spec);
    *out = lr.spec;
    return rc;
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
        filter_chain_unref(&l->chains[i]);
    filter_chain_unref(&l->default_chain);
    for (uint32_t i = 0; i < l->listener_filter_count; i++) {
        if (l->listener_filters[i].free_config)
            l->listener_filters[i].free_config((void *)l->listener_filters[i].config);
        if (l->listener_filters[i].dynamic)
            filter_source_fini(l->listener_filters[i].dynamic);
    }
    for (uint32_t i = 0; i < l->access_log_count; i++)
        access_log_free(&l->access_logs[i]);
    for (uint32_t i = 0; i < l->address_count; i++)
        addr_fini(&l->addresses[i]);
    cluster_slots_fini(&l->slots);
    arena_fini(&l->arena);
    mem_free(l);
}
