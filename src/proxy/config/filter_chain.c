/* SPDX-License-Identifier: Apache-2.0
 *
 * A filter chain from its message: its match, its transport socket, its network filters. All of it is in the
 * chain's own memory, and one that an earlier generation of the listener has already is shared instead of
 * read: it is known by the digest of its message and of what its readers take from the rest of the listener.
 * Main thread.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/filter/filter_source.h"
#include "proxy/config/listener_priv.h"
#include "proxy/config/tls_source.h"

#include <stdio.h>
#include <xxhash.h>

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

static int read_network_filter(struct config_reader *cr, const pb_network_filter *m, bool is_last, const struct listener_spec *l,
                               struct filter_chain *chain, struct network_filter_spec *spec)
{
    ProtobufCMessage *msg = NULL;
    int rc = ERR_INVALID;
    struct str name = TEXT(m, name);
    const pb_any *any = NULL;
    if (m->config_type_case == ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_CONFIG_DISCOVERY) {
        if (is_last) {
            proto_read_whole(&cr->r, &GET(m, config_discovery)->base);
            UNSUPPORTED("config_discovery", "for the terminal filter");
            return ERR_UNSUPPORTED;
        }
        *spec = (struct network_filter_spec){.name = arena_str(&chain->arena, name), .def = &dynamic_network_filter};
        IN("config_discovery")
            spec->dynamic = cfg_filter_source(cr, PLACE_NETWORK, name, GET(m, config_discovery), false, &chain->arena);
        return 0;
    }
    any = m->config_type_case ? GET(m, typed_config) : NULL;
    const struct extension *ext = cfg_extension(cr, EXT_NETWORK_FILTER, "typed_config", name, any, &msg);
    if (!ext)
        return ERR_UNSUPPORTED;
    struct cfg_network_filter out = {spec, l, chain, &chain->arena};
    spec->name = arena_str(&chain->arena, name);
    spec->def = ext->def;
    IN("typed_config")
        rc = ext->read(cr, msg, &out);
    return rc;
}

static void read_network_filters(struct config_reader *cr, const pb_filter_chain *m, const struct listener_spec *l,
                                 struct filter_chain *chain)
{
    uint32_t n = LEN(m, filters);
    bool complete = true;
    chain->filters = ARENA_ARRAY(&chain->arena, struct network_filter_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("filters[%u]", i) {
            struct network_filter_spec *spec = &chain->filters[chain->filter_count];
            if (read_network_filter(cr, m->filters[i], i + 1 == n, l, chain, spec) == ERR_UNSUPPORTED) {
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

/* ---- one that is there already ---- */

struct content_digest cfg_digest(const struct strbuf *bytes)
{
    XXH128_hash_t h = XXH3_128bits(bytes->p, bytes->n);
    return (struct content_digest){h.low64, h.high64};
}

static struct content_digest digest_of(const pb_filter_chain *m, const struct listener_spec *l)
{
    char text[ADDR_TEXT_BYTES];
    struct strbuf bytes = {0};
    strbuf_addf(&bytes, "%s|%u|%d%d|", l->address_count ? addr_text(&l->addresses[0], text) : "", l->buffer_limit_bytes,
                l->is_inbound, l->is_outbound);
    cfg_key_str(&bytes, l->stat_prefix);
    proto_pack(&m->base, &bytes);
    struct content_digest digest = cfg_digest(&bytes);
    strbuf_fini(&bytes);
    return digest;
}

static bool is_that(const struct filter_chain *chain, const struct content_digest *d)
{
    return chain && chain->digest.low == d->low && chain->digest.high == d->high;
}

static struct filter_chain *find_older(const struct listener_reading *lr, const struct content_digest *d)
{
    for (uint32_t i = 0; i < lr->older_count; i++) {
        const struct listener_spec *l = lr->older[i];
        if (is_that(l->default_chain, d))
            return l->default_chain;
        for (uint32_t k = 0; k < l->chain_count; k++)
            if (is_that(l->chains[k], d))
                return l->chains[k];
    }
    return NULL;
}

/* ---- filter chains ---- */

static void read_parts(struct config_reader *cr, const pb_filter_chain *m, const struct listener_spec *l, struct filter_chain *chain)
{
    ProtobufCMessage *msg = NULL;
    chain->name = arena_str(&chain->arena, TEXT(m, name));
    IN("filter_chain_match")
        read_match(cr, GET(m, filter_chain_match), &chain->match, &chain->arena);
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
}

struct filter_chain *cfg_filter_chain(struct config_reader *cr, const pb_filter_chain *m, const struct listener_reading *lr)
{
    struct content_digest digest = digest_of(m, lr->spec);
    struct filter_chain *chain = find_older(lr, &digest);
    struct cluster_slots *outer = cr->slots;
    if (chain) {
        proto_read_whole(&cr->r, &m->base);
        chain->refs++;
        return chain;
    }
    chain = NEW(filter_chain);
    chain->refs = 1;
    chain->digest = digest;
    arena_init(&chain->arena, 0);
    cr->slots = &chain->slots;
    read_parts(cr, m, lr->spec, chain);
    cr->slots = outer;
    return chain;
}

void filter_chain_unref(struct filter_chain **c)
{
    struct filter_chain *chain = *c;
    *c = NULL;
    if (!chain || --chain->refs)
        return;
    for (uint32_t i = 0; i < chain->filter_count; i++) {
        if (chain->filters[i].free_config)
            chain->filters[i].free_config((void *)chain->filters[i].config);
        if (chain->filters[i].dynamic)
            filter_source_fini(chain->filters[i].dynamic);
    }
    tls_source_unref(&chain->tls);
    cluster_slots_fini(&chain->slots);
    arena_fini(&chain->arena);
    mem_free(chain);
}
