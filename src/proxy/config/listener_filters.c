/* SPDX-License-Identifier: Apache-2.0
 *
 * A listener's filters: the list with when each is left out, and their readers. Their configurations live in the listener's arena. Main thread.
 */
#include "proxy/listener/listener_filter.h"

#include "proxy/filter/filter_source.h"
#include "proxy/config/listener_priv.h"

#define LISTENER_FILTERS_TIMEOUT_MS 15000u

/* Envoy's default and ceiling for max_client_hello_size. */
#define CLIENT_HELLO_BYTES 16384

int cfg_tls_inspector(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_tls_inspector *m = (const pb_tls_inspector *)msg;
    struct cfg_listener_filter *f = out;
    struct tls_inspector_config *c = arena_zalloc(f->arena, sizeof *c);
    c->max_client_hello_bytes = proto_u32_or(GET(m, max_client_hello_size), CLIENT_HELLO_BYTES);
    (void)GET(m, initial_read_buffer_size); /* how Envoy grows its buffer: nothing that shows */
    c->close_on_parse_error = GET(m, close_connection_on_client_hello_parsing_errors);
    /* The fingerprints would feed access log operators that don't exist yet: set to true they are unsupported. */
    if (m->enable_ja3_fingerprinting && !m->enable_ja3_fingerprinting->value)
        (void)GET(m, enable_ja3_fingerprinting);
    if (m->enable_ja4_fingerprinting && !m->enable_ja4_fingerprinting->value)
        (void)GET(m, enable_ja4_fingerprinting);
    f->spec->config = c;
    return 0;
}

int cfg_http_inspector(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg, (void)out;
    return 0;
}

int cfg_original_dst(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg, (void)out;
    return 0;
}

int cfg_original_src(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_original_src *m = (const pb_original_src *)msg;
    struct cfg_listener_filter *f = out;
    struct original_src_config *c = arena_zalloc(f->arena, sizeof *c);
    c->bind_port = GET(m, bind_port);
    c->mark = (int)GET(m, mark);
    f->spec->config = c;
    return 0;
}

#define PASS_ALL ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_PASS_THROUGH_TLVS__PASS_TLVS_MATCH_TYPE__INCLUDE_ALL

void cfg_pass_tlvs(struct config_reader *cr, const pb_pass_through_tlvs *m, struct arena *a, bool *all, uint8_t **types, uint32_t *count)
{
    if (!m)
        return;
    *all = GET(m, match_type) == PASS_ALL;
    uint32_t n = LEN(m, tlv_type);
    if (*all || n == 0)
        return;
    *types = (uint8_t *)arena_bytes(a, n);
    for (uint32_t i = 0; i < n; i++)
        (*types)[i] = (uint8_t)m->tlv_type[i]; /* < 256 by the API's rules */
    *count = n;
}

int cfg_proxy_protocol(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_proxy_protocol *m = (const pb_proxy_protocol *)msg;
    struct cfg_listener_filter *f = out;
    struct proxy_protocol_config *c = arena_zalloc(f->arena, sizeof *c);
    c->stat_prefix = arena_str(f->arena, TEXT(m, stat_prefix));
    c->allow_without = GET(m, allow_requests_without_proxy_protocol);
    uint32_t n = LEN(m, disallowed_versions);
    for (uint32_t i = 0; i < n; i++) {
        if (m->disallowed_versions[i] == ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_CONFIG__VERSION__V1)
            c->disallow_v1 = true;
        else
            c->disallow_v2 = true;
    }
    IN("pass_through_tlvs")
        cfg_pass_tlvs(cr, GET(m, pass_through_tlvs), f->arena, &c->keep_all_tlvs, &c->keep_tlvs, &c->keep_tlv_count);
    f->spec->config = c; /* rules (TLVs as metadata, which nothing reads yet) and tlv_location stay unread */
    return 0;
}

/* ---- when they are left out ---- */

#define RULE(x) ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_##x

static struct listener_predicate *read_predicate(struct config_reader *cr, const pb_listener_predicate *m, struct listener_predicate *p,
                                                 struct arena *a);

static void read_predicates(struct config_reader *cr, const char *field, const pb_listener_predicates *m, struct listener_predicate *p,
                            struct arena *a)
{
    uint32_t n = LEN(m, rules);
    p->children = ARENA_ARRAY(a, struct listener_predicate, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s.rules[%u]", field, i)
            read_predicate(cr, m->rules[i], &p->children[p->child_count++], a);
}

static struct listener_predicate *read_predicate(struct config_reader *cr, const pb_listener_predicate *m, struct listener_predicate *p,
                                                 struct arena *a)
{
    switch (m->rule_case) {
    case RULE(OR_MATCH):
        p->kind = PORTS_ONE;
        read_predicates(cr, "or_match", GET(m, or_match), p, a);
        break;
    case RULE(AND_MATCH):
        p->kind = PORTS_ALL;
        read_predicates(cr, "and_match", GET(m, and_match), p, a);
        break;
    case RULE(NOT_MATCH):
        p->kind = PORTS_NOT;
        p->children = arena_zalloc(a, sizeof *p->children);
        IN("not_match")
            read_predicate(cr, GET(m, not_match), p->children, a);
        break;
    case RULE(DESTINATION_PORT_RANGE): {
        __auto_type range = GET(m, destination_port_range);
        p->kind = PORTS_RANGE;
        p->start = GET(range, start);
        p->end = GET(range, end);
        break;
    }
    default:
        (void)GET(m, any_match);
        p->kind = PORTS_ANY;
    }
    return p;
}

/* ---- listener filters ---- */

static int read_listener_filter(struct config_reader *cr, const pb_listener_filter *m, struct listener_spec *l,
                                struct listener_filter_spec *spec)
{
    ProtobufCMessage *msg = NULL;
    int rc = ERR_INVALID;
    struct str name = TEXT(m, name);
    spec->name = arena_str(&l->arena, name);
    if (GET(m, filter_disabled))
        IN("filter_disabled")
            spec->disabled = read_predicate(cr, m->filter_disabled, arena_zalloc(&l->arena, sizeof(struct listener_predicate)), &l->arena);
    if (m->config_type_case == ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER__CONFIG_TYPE_CONFIG_DISCOVERY) {
        spec->def = &dynamic_listener_filter;
        IN("config_discovery")
            spec->dynamic = cfg_filter_source(cr, PLACE_LISTENER, name, GET(m, config_discovery), false, &l->arena);
        return 0;
    }
    const pb_any *any = m->config_type_case ? GET(m, typed_config) : NULL;
    const struct extension *ext = cfg_extension(cr, EXT_LISTENER_FILTER, "typed_config", name, any, &msg);
    if (!ext)
        return ERR_UNSUPPORTED;
    struct cfg_listener_filter out = {spec, &l->arena};
    spec->def = ext->def;
    IN("typed_config")
        rc = ext->read(cr, msg, &out);
    return rc;
}

/* Envoy adds the filter last where a listener hands connections over and doesn't name it itself. */
static void add_original_dst(struct listener_spec *l)
{
    if (!l->use_original_dst)
        return;
    for (uint32_t i = 0; i < l->listener_filter_count; i++)
        if (l->listener_filters[i].def == &original_dst_filter)
            return;
    l->listener_filters[l->listener_filter_count++] =
        (struct listener_filter_spec){.name = STR("envoy.filters.listener.original_dst"), .def = &original_dst_filter};
}

void cfg_listener_filters(struct config_reader *cr, const pb_listener *m, struct listener_spec *l)
{
    uint32_t n = LEN(m, listener_filters);
    l->listener_filters = ARENA_ARRAY(&l->arena, struct listener_filter_spec, n + 1);
    for (uint32_t i = 0; i < n; i++)
        IN("listener_filters[%u]", i)
            if (read_listener_filter(cr, m->listener_filters[i], l, &l->listener_filters[l->listener_filter_count]) == 0)
                l->listener_filter_count++;
    l->use_original_dst = proto_bool_or(GET(m, use_original_dst), false);
    add_original_dst(l);
    l->listener_filters_timeout_ms = proto_ms_or(GET(m, listener_filters_timeout), LISTENER_FILTERS_TIMEOUT_MS);
    l->continue_on_listener_filters_timeout = GET(m, continue_on_listener_filters_timeout);
}
