/* SPDX-License-Identifier: Apache-2.0
 *
 * set_filter_state's rules, for the HTTP filter, its routes and the network filter. Into the caller's arena, but for formats.
 * Main thread.
 */
#include "proxy/filter/set_filter_state.h"

#include "proxy/config/config_priv.h"

#define KEY(x) ENVOY__EXTENSIONS__FILTERS__COMMON__SET_FILTER_STATE__V3__FILTER_STATE_VALUE__KEY_##x

void cfg_filter_state_rules_free(void *config)
{
    struct set_filter_state_config *c = config;
    for (uint32_t i = 0; i < c->count; i++)
        format_free(&c->rules[i].value);
}

static void read_rule(struct config_reader *cr, const pb_filter_state_value *m, struct arena *a, struct filter_state_rule *r)
{
    static const enum filter_state_sharing sharings[] = {FILTER_STATE_PRIVATE, FILTER_STATE_SHARED_ONCE,
                                                         FILTER_STATE_SHARED_TRANSITIVE};
    struct str kind = TEXT(m, factory_key);
    if (m->key_case == KEY(OBJECT_KEY))
        r->key = arena_str(a, TEXT(m, object_key));
    r->kind = filter_state_kind_find(kind.n ? kind : r->key);
    if (!r->kind) {
        FAULT(kind.n ? "factory_key" : "object_key", "'%.*s' does not have an object factory", STR_ARG(kind.n ? kind : r->key));
        r->kind = filter_state_kind_find(STR("envoy.string"));
    }
    if (!GET(m, format_string))
        FAULT("format_string", "must be set");
    else
        IN("format_string")
            r->value = cfg_format(cr, m->format_string, a, NULL);
    unsigned sharing = (unsigned)GET(m, shared_with_upstream);
    r->read_only = GET(m, read_only);
    r->sharing = sharing < ARRAY_LEN(sharings) ? sharings[sharing] : FILTER_STATE_PRIVATE;
    r->skip_if_empty = GET(m, skip_if_empty);
}

struct set_filter_state_config *cfg_filter_state_rules(struct config_reader *cr, const char *field,
                                                       pb_filter_state_value *const *items, uint32_t n, struct arena *a)
{
    struct set_filter_state_config *c = arena_zalloc(a, sizeof *c);
    c->rules = ARENA_ARRAY(a, struct filter_state_rule, n);
    c->count = n;
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i)
            read_rule(cr, items[i], a, &c->rules[i]);
    return c;
}

int cfg_set_filter_state(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_set_filter_state *m = (const pb_set_filter_state *)msg;
    struct cfg_http_filter *f = out;
    f->spec->config = cfg_filter_state_rules(cr, "on_request_headers", m->on_request_headers, LEN(m, on_request_headers), f->arena);
    f->spec->free_config = cfg_filter_state_rules_free;
    return 0;
}

int cfg_set_filter_state_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_set_filter_state *m = (const pb_set_filter_state *)msg;
    struct cfg_route_filter *f = out;
    f->override->config = cfg_filter_state_rules(cr, "on_request_headers", m->on_request_headers, LEN(m, on_request_headers), f->arena);
    f->override->free_config = cfg_filter_state_rules_free;
    return 0;
}
