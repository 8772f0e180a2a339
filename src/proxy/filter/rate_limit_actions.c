/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors of requests by route.v3.RateLimit's actions, in the order and with the conditions that Envoy documents:
 * an action that doesn't apply drops its rule's whole descriptor, unless it may be skipped. All results are the
 * arena's; a full arena gives fewer descriptors, never broken ones. Any thread.
 */
#include "proxy/filter/rate_limit_actions.h"

#include <stdio.h>

#include "base/check.h"
#include "proxy/runtime.h"

/* ---- query parameters ---- */

static int hex(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoded ('+' stays one, as in Envoy); what isn't a valid escape stands as it is. */
static struct str decoded(struct str s, struct arena *a)
{
    if (str_find_char(s, '%') < 0)
        return s;
    char *out = arena_bytes(a, s.n);
    size_t n = 0;
    for (size_t i = 0; out && i < s.n; i++) {
        int high = s.p[i] == '%' && i + 2 < s.n ? hex(s.p[i + 1]) : -1;
        int low = high >= 0 ? hex(s.p[i + 2]) : -1;
        out[n++] = low >= 0 ? (char)(high << 4 | low) : s.p[i];
        i += low >= 0 ? 2 : 0;
    }
    return str_make(out, n);
}

/* The first parameter of that name; false when there is none. */
static bool query_value(const struct headers *h, struct str name, struct arena *a, struct str *value)
{
    struct str path = headers_get_id(h, HDR_PATH), rest;
    ptrdiff_t at = str_find_char(path, '?');
    if (at < 0)
        return false;
    rest = str_make(path.p + at + 1, path.n - (size_t)at - 1);
    at = str_find_char(rest, '#');
    if (at >= 0)
        rest.n = (size_t)at;
    while (rest.n) {
        struct str one = str_split(rest, '&', &rest);
        struct str v = STR("");
        struct str k = str_split(one, '=', &v);
        if (str_eq(decoded(k, a), name)) {
            *value = v.p ? decoded(v, a) : STR("");
            return true;
        }
    }
    return false;
}

static bool query_matches(const struct query_matcher *m, const struct headers *h, struct arena *a)
{
    struct str value;
    bool there = query_value(h, m->name, a, &value);
    if (!m->has_value)
        return there == m->present;
    return there && string_matches(&m->value, value);
}

/* ---- actions ---- */

static bool all_headers_match(const struct rate_limit_action *act, const struct headers *h)
{
    for (uint32_t i = 0; i < act->header_count; i++)
        if (!header_matches(&act->headers[i], h))
            return false;
    return true;
}

static bool all_queries_match(const struct rate_limit_action *act, const struct headers *h, struct arena *a)
{
    for (uint32_t i = 0; i < act->query_count; i++)
        if (!query_matches(&act->queries[i], h, a))
            return false;
    return true;
}

static struct str formatted(const struct format *f, const struct format_context *cx, struct arena *a)
{
    static const struct format_context nothing;
    struct strbuf text = {0};
    format_run(f, cx ? cx : &nothing, &text);
    struct str copy = arena_str(a, strbuf_str(&text));
    strbuf_fini(&text);
    return copy;
}

static bool remote_address(const struct rate_limit_request *rq, struct arena *a, struct str *value)
{
    char text[ADDR_TEXT_BYTES];
    const struct addr *remote = rq->info ? rq->info->downstream_remote : NULL;
    if (!remote || !addr_is_ip(remote))
        return false;
    *value = arena_str(a, str_from(addr_ip_text(remote, text)));
    return true;
}

static void clear_host_bits(uint8_t *bytes, unsigned n, unsigned bits)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;
        bytes[i] &= (uint8_t)(0xff00u >> keep);
    }
}

static bool masked_address(const struct rate_limit_action *act, const struct rate_limit_request *rq, struct arena *a, struct str *value)
{
    char text[ADDR_TEXT_BYTES];
    const struct addr *remote = rq->info ? rq->info->downstream_remote : NULL;
    if (!remote || !addr_is_ip(remote))
        return false;
    struct addr masked = *remote;
    bool v4 = remote->sa.sa_family == AF_INET;
    masked.unix_path = NULL;
    if (v4)
        clear_host_bits((uint8_t *)&masked.in4.sin_addr, 4, act->v4_bits);
    else
        clear_host_bits(masked.in6.sin6_addr.s6_addr, 16, act->v6_bits);
    *value = arena_printf(a, "%s/%u", addr_ip_text(&masked, text), v4 ? act->v4_bits : act->v6_bits);
    return true;
}

static const struct meta_value *at_path(const struct metadata *m, const struct metadata_path *p)
{
    return metadata_find(m, p->space, p->path, p->count);
}

static bool metadata_text(const struct rate_limit_action *act, const struct rate_limit_request *rq, struct str *value)
{
    const struct metadata *m = act->of_route ? rq->route_metadata : rq->info ? &rq->info->metadata : NULL;
    const struct meta_value *v = at_path(m, &act->metadata);
    if (v && v->kind == META_STRING && v->u.string.n)
        *value = v->u.string;
    else
        *value = act->fallback;
    return value->n > 0;
}

enum applied { APPLIED, SKIPPED, MISSED };

static enum applied absent(const struct rate_limit_action *act)
{
    return act->skip_if_absent ? SKIPPED : MISSED;
}

static enum applied apply(const struct rate_limit_rules *r, const struct rate_limit_action *act, const struct rate_limit_request *rq,
                          struct arena *a, struct str *value)
{
    const struct header *h;
    switch (act->kind) {
    case RL_SOURCE_CLUSTER:
        *value = r->local_cluster;
        return APPLIED;
    case RL_DESTINATION_CLUSTER:
        *value = rq->cluster;
        return APPLIED;
    case RL_REQUEST_HEADER:
        h = headers_find(rq->headers, act->name);
        if (!h)
            return absent(act);
        *value = h->value;
        return APPLIED;
    case RL_QUERY_PARAMETER:
        return query_value(rq->headers, act->name, a, value) ? APPLIED : absent(act);
    case RL_REMOTE_ADDRESS:
        return remote_address(rq, a, value) ? APPLIED : MISSED;
    case RL_MASKED_REMOTE_ADDRESS:
        return masked_address(act, rq, a, value) ? APPLIED : MISSED;
    case RL_HEADER_MATCH:
        if (all_headers_match(act, rq->headers) != act->expect_match)
            return MISSED;
        break;
    case RL_QUERY_MATCH:
        if (all_queries_match(act, rq->headers, a) != act->expect_match)
            return MISSED;
        break;
    case RL_METADATA:
        return metadata_text(act, rq, value) ? APPLIED : absent(act);
    case RL_GENERIC_KEY:
        break;
    }
    *value = act->value;
    return APPLIED;
}

/* ---- rules ---- */

static bool unit_of(struct str name, uint32_t *unit)
{
    static const struct str names[] = {{"UNKNOWN", 7}, {"SECOND", 6}, {"MINUTE", 6}, {"HOUR", 4},
                                       {"DAY", 3},     {"MONTH", 5},  {"YEAR", 4}};
    for (uint32_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(name, names[i])) {
            *unit = i;
            return true;
        }
    return false;
}

static void override_limit(const struct rate_limit_rule *rule, const struct rate_limit_request *rq, struct rate_limit_descriptor *d)
{
    const struct meta_value *v = rule->has_override && rq->info ? at_path(&rq->info->metadata, &rule->override) : NULL;
    const struct meta_value *n = meta_field(v, STR("requests_per_unit")), *unit = meta_field(v, STR("unit"));
    if (!n || !unit || n->kind != META_NUMBER || unit->kind != META_STRING)
        return;
    if (!(n->u.number >= 0 && n->u.number <= UINT32_MAX) || !unit_of(unit->u.string, &d->limit_unit))
        return;
    d->has_limit = true;
    d->limit_requests = (uint32_t)n->u.number;
}

/* False: a format that gives no number; the rule is left out. */
static bool count_hits(const struct rate_limit_rule *rule, const struct rate_limit_request *rq, struct arena *a,
                       struct rate_limit_descriptor *d)
{
    double n = 0;
    d->has_hits = rule->has_hits || rule->hits_format;
    d->hits = rule->hits;
    if (!rule->hits_format)
        return true;
    if (!str_to_double(formatted(rule->hits_format, rq->format, a), &n) || !(n >= 0 && n < 1e19))
        return false;
    d->hits = (uint64_t)n;
    return true;
}

static bool describe(const struct rate_limit_rules *r, const struct rate_limit_rule *rule, const struct rate_limit_request *rq,
                     struct arena *a, struct rate_limit_descriptor *d)
{
    *d = (struct rate_limit_descriptor){.entries = arena_alloc(a, rule->action_count * sizeof *d->entries)};
    for (uint32_t i = 0; d->entries && i < rule->action_count; i++) {
        struct str value = STR("");
        enum applied what = apply(r, &rule->actions[i], rq, a, &value);
        if (what == MISSED)
            return false;
        if (what == APPLIED)
            d->entries[d->count++] = (struct rate_limit_entry){rule->actions[i].key, value};
    }
    override_limit(rule, rq, d);
    return count_hits(rule, rq, a, d) && !a->overflowed;
}

static bool is_on(const struct rate_limit_rule *rule, uint64_t random)
{
    return !rule->disable_key.n || runtime_fraction(rule->disable_key, 100, 100, random);
}

static void append(struct rate_limit_descriptors *out, const struct rate_limit_descriptor *d, struct arena *a)
{
    if (out->count == out->cap) {
        uint32_t cap = out->cap ? out->cap * 2 : 8;
        struct rate_limit_descriptor *items = arena_alloc(a, cap * sizeof *items);
        if (!items)
            return;
        if (out->count)
            memcpy(items, out->items, out->count * sizeof *items);
        out->items = items;
        out->cap = cap;
    }
    out->items[out->count++] = *d;
}

void rate_limit_describe(const struct rate_limit_rules *r, int stage, bool on_stream_done, const struct rate_limit_request *rq,
                         struct arena *a, struct rate_limit_descriptors *out)
{
    for (uint32_t i = 0; r && i < r->count; i++) {
        const struct rate_limit_rule *rule = &r->items[i];
        struct rate_limit_descriptor d;
        if ((stage >= 0 && rule->stage != (uint32_t)stage) || rule->on_stream_done != on_stream_done)
            continue;
        if (is_on(rule, rq->random) && describe(r, rule, rq, a, &d))
            append(out, &d, a);
    }
}

static void action_fini(struct rate_limit_action *act)
{
    for (uint32_t i = 0; i < act->header_count; i++)
        header_matcher_fini(&act->headers[i]);
    for (uint32_t i = 0; i < act->query_count; i++)
        string_match_fini(&act->queries[i].value);
}

void rate_limit_rules_fini(struct rate_limit_rules *r)
{
    for (uint32_t i = 0; r && i < r->count; i++) {
        for (uint32_t j = 0; j < r->items[i].action_count; j++)
            action_fini(&r->items[i].actions[j]);
        format_free(&r->items[i].hits_format);
    }
}
