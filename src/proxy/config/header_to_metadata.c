/* SPDX-License-Identifier: Apache-2.0
 *
 * header_to_metadata's rules, one message for the filter and for routes. Into the caller's arena, but for regexes. Main thread.
 */
#include "proxy/filter/header_to_metadata.h"

#include "proxy/config/config_priv.h"
#include "proxy/config/route_priv.h"
#include "proxy/stats/stats.h"

static void free_rules(struct h2m_rules *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        regex_free(&r->items[i].present.regex);
        regex_free(&r->items[i].missing.regex);
    }
}

static void free_config(void *config)
{
    struct header_to_metadata_config *c = config;
    free_rules(&c->request);
    free_rules(&c->response);
    stat_scope_unref(&c->stats);
}

static void read_value(struct config_reader *cr, const pb_h2m_pair *m, struct arena *a, struct h2m_value *v)
{
    if (!m)
        return;
    struct str space = TEXT(m, metadata_namespace);
    unsigned type = (unsigned)GET(m, type);
    v->is_set = true;
    v->space = space.n ? arena_str(a, space) : STR("envoy.filters.http.header_to_metadata");
    v->key = arena_str(a, TEXT(m, key));
    v->value = arena_str(a, TEXT(m, value));
    if (GET(m, regex_value_rewrite))
        v->regex = cfg_regex_rewrite(cr, "regex_value_rewrite", m->regex_value_rewrite, a, &v->substitution);
    v->type = type <= H2M_PROTOBUF_VALUE ? (enum h2m_type)type : H2M_STRING;
    v->is_base64 = GET(m, encode) != 0;
    if (v->regex && v->value.n)
        FAULT("regex_value_rewrite", "excludes value");
}

static void read_rule(struct config_reader *cr, const pb_h2m_rule *m, struct arena *a, struct h2m_rule *r)
{
    r->header = cfg_lower(a, TEXT(m, header));
    r->cookie = arena_str(a, TEXT(m, cookie));
    r->remove = GET(m, remove);
    IN("on_header_present")
        read_value(cr, GET(m, on_header_present), a, &r->present);
    IN("on_header_missing")
        read_value(cr, GET(m, on_header_missing), a, &r->missing);
    if ((r->header.n > 0) == (r->cookie.n > 0))
        FAULT("header", "one of header and cookie must be set");
    if (r->cookie.n && r->remove)
        FAULT("remove", "a cookie can't be removed");
    if (!r->present.is_set && !r->missing.is_set)
        FAULT("on_header_present", "one of on_header_present and on_header_missing must be set");
    if (r->missing.is_set && !r->missing.value.n)
        FAULT("on_header_missing.value", "must be set");
}

static void read_rules(struct config_reader *cr, const char *field, pb_h2m_rule *const *items, uint32_t n, struct arena *a,
                       struct h2m_rules *out)
{
    *out = (struct h2m_rules){ARENA_ARRAY(a, struct h2m_rule, n), n};
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            read_rule(cr, items[i], a, &out->items[i]);
}

static struct header_to_metadata_config *read_config(struct config_reader *cr, const pb_h2m *m, struct arena *a)
{
    struct header_to_metadata_config *c = arena_zalloc(a, sizeof *c);
    read_rules(cr, "request_rules", m->request_rules, LEN(m, request_rules), a, &c->request);
    read_rules(cr, "response_rules", m->response_rules, LEN(m, response_rules), a, &c->response);
    c->stat_prefix = arena_str(a, TEXT(m, stat_prefix));
    return c;
}

int cfg_header_to_metadata(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_http_filter *f = out;
    f->spec->config = read_config(cr, (const pb_h2m *)msg, f->arena);
    f->spec->free_config = free_config;
    return 0;
}

int cfg_header_to_metadata_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_route_filter *f = out;
    f->override->config = read_config(cr, (const pb_h2m *)msg, f->arena);
    f->override->free_config = free_config;
    f->override->link = header_to_metadata_link;
    return 0;
}
