/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns headers and cookies into dynamic metadata, by rule: what is there, or what stands for it
 * when it isn't. Values that are too long, or not what their type says, are left out. On the
 * exchange's worker.
 */
#include "proxy/filter/header_to_metadata.h"

#include "base/base64.h"
#include "base/check.h"
#include "proxy/filter/value_wire.h"
#include "proxy/match/cookie.h"
#include "proxy/stats/stats.h"

#define VALUE_BYTES_MAX 8192 /* Envoy's limit: a client can't fill its memory's share by one header */

#define H2M_STATS(X)                                                                               \
    X(H2M_BASE64_DECODE_FAILED, COUNTER, NONE, "base64_decode_failed", "Values that weren't base64") \
    X(H2M_HEADER_VALUE_TOO_LONG, COUNTER, NONE, "header_value_too_long", "Values left out for their length") \
    X(H2M_REGEX_SUBSTITUTION_FAILED, COUNTER, NONE, "regex_substitution_failed", "Rewrites that left nothing") \
    X(H2M_REQUEST_HEADER_NOT_FOUND, COUNTER, NONE, "request_header_not_found", "Request headers that were missing") \
    X(H2M_REQUEST_METADATA_ADDED, COUNTER, NONE, "request_metadata_added", "Values that requests gave") \
    X(H2M_REQUEST_RULES_PROCESSED, COUNTER, NONE, "request_rules_processed", "Rules looked at, in requests") \
    X(H2M_RESPONSE_HEADER_NOT_FOUND, COUNTER, NONE, "response_header_not_found", "Response headers that were missing") \
    X(H2M_RESPONSE_METADATA_ADDED, COUNTER, NONE, "response_metadata_added", "Values that responses gave") \
    X(H2M_RESPONSE_RULES_PROCESSED, COUNTER, NONE, "response_rules_processed", "Rules looked at, in responses")
enum { H2M_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {H2M_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static void count(const struct header_to_metadata_config *c, uint32_t row)
{
    if (c->stats)
        stat_inc(c->stats, row);
}

static const struct header_to_metadata_config *config_of(struct http_filter *f)
{
    const struct header_to_metadata_config *own = exchange_route_config(f);
    return own ? own : f->config;
}

static bool convert(const struct header_to_metadata_config *c, const struct h2m_value *v, struct str text, struct arena *a,
                    struct meta_value *out)
{
    if (text.n >= VALUE_BYTES_MAX)
        count(c, STAT_H2M_HEADER_VALUE_TOO_LONG);
    if (!text.n || text.n >= VALUE_BYTES_MAX)
        return false;
    while (v->is_base64 && text.n && text.p[text.n - 1] == '=') /* any number of them */
        text.n--;
    if (v->is_base64 && (!b64_decode_in(a, text, &text) || !text.n)) {
        count(c, STAT_H2M_BASE64_DECODE_FAILED);
        return false;
    }
    switch (v->type) {
    case H2M_STRING:
        *out = (struct meta_value){.kind = META_STRING, .u.string = text};
        return true;
    case H2M_NUMBER:
        *out = (struct meta_value){.kind = META_NUMBER};
        return str_to_double(text, &out->u.number);
    case H2M_PROTOBUF_VALUE:
        return value_from_wire(text, a, out);
    }
    return false;
}

static bool put(struct http_filter *f, const struct header_to_metadata_config *c, const struct h2m_value *v, struct str text)
{
    struct arena *a = exchange_arena(f->x);
    struct strbuf rewritten = {0};
    struct meta_value value;
    if (v->regex && text.n) {
        regex_replace(v->regex, text, v->substitution, &rewritten);
        text = strbuf_str(&rewritten);
        if (!text.n)
            count(c, STAT_H2M_REGEX_SUBSTITUTION_FAILED);
    } else if (v->value.n) {
        text = v->value;
    }
    bool done = convert(c, v, text, a, &value) && metadata_set(&exchange_info(f->x)->metadata, a, v->space, v->key, &value);
    strbuf_fini(&rewritten);
    return done;
}

static bool extract(struct http_filter *f, const struct h2m_rule *r, struct headers *h, struct str *out)
{
    if (r->cookie.n) {
        *out = cookie_get(h, r->cookie);
        return out->n > 0; /* an empty one counts as missing */
    }
    if (!headers_find(h, r->header))
        return false;
    *out = headers_get_joined(h, r->header, exchange_arena(f->x));
    if (r->remove) {
        *out = arena_str(exchange_arena(f->x), *out);
        headers_remove(h, r->header);
    }
    return true;
}

static void apply(struct http_filter *f, const struct header_to_metadata_config *c, struct headers *h, bool is_response)
{
    const struct h2m_rules *rules = is_response ? &c->response : &c->request;
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct h2m_rule *r = &rules->items[i];
        struct str value = STR("");
        bool there = extract(f, r, h, &value);
        const struct h2m_value *v = there ? &r->present : &r->missing;
        count(c, is_response ? STAT_H2M_RESPONSE_RULES_PROCESSED : STAT_H2M_REQUEST_RULES_PROCESSED);
        if (!there && v->is_set)
            count(c, is_response ? STAT_H2M_RESPONSE_HEADER_NOT_FOUND : STAT_H2M_REQUEST_HEADER_NOT_FOUND);
        if (v->is_set && put(f, c, v, value))
            count(c, is_response ? STAT_H2M_RESPONSE_METADATA_ADDED : STAT_H2M_REQUEST_METADATA_ADDED);
    }
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    apply(f, config_of(f), h, false);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    apply(f, config_of(f), h, true);
    return FILTER_HEADERS_CONTINUE;
}

void header_to_metadata_link(void *config)
{
    struct header_to_metadata_config *c = config;
    if (c->stats || !c->stat_prefix.n)
        return;
    struct strbuf prefix = {0};
    strbuf_addf(&prefix, "http_filter_name.%.*s.", STR_ARG(c->stat_prefix));
    c->stats = stat_scope_get(strbuf_str(&prefix), &table, strbuf_str(&prefix), NULL, 0);
    strbuf_fini(&prefix);
}

static void link(void *config, struct stat_scope *stats)
{
    (void)stats;
    header_to_metadata_link(config);
}

const struct http_filter_def header_to_metadata_filter = {
    .name = "envoy.filters.http.header_to_metadata",
    .on_request_headers = on_request_headers,
    .on_response_headers = on_response_headers,
    .link = link,
};
