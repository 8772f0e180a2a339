/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes headers, trailers and query parameters by rule: the filter's own rules first, then those
 * of each level of the routes, all of them. On the exchange's worker.
 */
#include "proxy/filter/header_mutation.h"

#include <stdlib.h>

#include "http/codec/uri.h"

#define LEVELS_MAX 4

/* ---- query parameters ---- */

struct param {
    struct str key, value;
    uint32_t order;
};
struct params {
    struct param *items;
    uint32_t count;
};

static int by_key(const void *a, const void *b)
{
    const struct param *x = a, *y = b;
    int c = str_cmp(x->key, y->key);
    return c ? c : (x->order > y->order) - (x->order < y->order);
}

static bool parse_params(struct str query, uint32_t room, struct params *p, struct arena *a)
{
    uint32_t n = 1;
    for (size_t i = 0; i < query.n; i++)
        n += query.p[i] == '&';
    p->count = 0;
    p->items = arena_alloc(a, (n + room) * sizeof(*p->items));
    if (!p->items)
        return false;
    while (query.n) {
        struct str value, one = str_split(query, '&', &query), key = str_split(one, '=', &value);
        p->items[p->count] = (struct param){key, value, p->count};
        p->count++;
    }
    return true;
}

static bool has_param(const struct params *p, struct str key)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (str_eq(p->items[i].key, key))
            return true;
    return false;
}

static void remove_param(struct params *p, struct str key)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (!str_eq(p->items[i].key, key))
            p->items[kept++] = p->items[i];
    p->count = kept;
}

static void mutate_param(const struct query_mutation *m, struct params *p, uint32_t order, const struct format_context *cx,
                         struct arena *a)
{
    bool there = has_param(p, m->key);
    if (m->remove) {
        remove_param(p, m->key);
        return;
    }
    if ((m->action == HEADER_ADD_IF_ABSENT && there) || (m->action == HEADER_OVERWRITE_IF_EXISTS && !there))
        return;
    if (m->action == HEADER_OVERWRITE_OR_ADD || m->action == HEADER_OVERWRITE_IF_EXISTS)
        remove_param(p, m->key);
    struct strbuf text = {0};
    format_run(m->value, cx, &text);
    p->items[p->count++] = (struct param){m->key, arena_str(a, strbuf_str(&text)), order};
    strbuf_fini(&text);
}

static struct str print_params(struct params *p, struct str path, struct arena *a)
{
    size_t n = path.n;
    for (uint32_t i = 0; i < p->count; i++)
        n += p->items[i].key.n + p->items[i].value.n + 2;
    char *text = arena_bytes(a, n + 1), *at = text;
    if (!text)
        return STR_NULL;
    memcpy(at, path.p, path.n);
    at += path.n;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct param *q = &p->items[i];
        *at++ = i ? '&' : '?';
        memcpy(at, q->key.p, q->key.n);
        at += q->key.n;
        *at++ = '=';
        if (q->value.n)
            memcpy(at, q->value.p, q->value.n);
        at += q->value.n;
    }
    return str_make(text, (size_t)(at - text));
}

struct str query_mutations_apply(const struct query_mutation *m, uint32_t n, struct str path, const struct format_context *cx,
                                 struct arena *a)
{
    struct params p;
    if (!parse_params(path_query(path), n, &p, a))
        return path;
    uint32_t order = p.count;
    for (uint32_t i = 0; i < n; i++)
        mutate_param(&m[i], &p, order + i, cx, a);
    qsort(p.items, p.count, sizeof(*p.items), by_key);
    struct str out = print_params(&p, path_without_query(path), a);
    return out.p ? out : path;
}

/* ---- the filter ---- */

/* The lists that count here, in their order: the filter's, then the routes'. */
static uint32_t lists(struct http_filter *f, const struct mutations *out[LEVELS_MAX + 1])
{
    const struct header_mutation_config *c = f->config;
    const void *levels[LEVELS_MAX];
    uint32_t n = exchange_route_configs(f, levels);
    out[0] = &c->mutations;
    for (uint32_t i = 0; i < n; i++)
        out[1 + i] = levels[c->most_specific_wins ? i : n - 1 - i];
    return n + 1;
}

static void mutate(struct http_filter *f, size_t which, struct headers *h)
{
    const struct mutations *all[LEVELS_MAX + 1];
    uint32_t n = lists(f, all);
    for (uint32_t i = 0; i < n; i++) {
        const struct header_rules *r = (const struct header_rules *)((const char *)all[i] + which);
        if (r->count)
            header_rules_apply(r, h, exchange_format_context(f->x), exchange_arena(f->x));
    }
}
#define MUTATE(f_, member_, h_) mutate((f_), offsetof(struct mutations, member_), (h_))

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct mutations *all[LEVELS_MAX + 1];
    struct arena *a = exchange_arena(f->x);
    uint32_t n = lists(f, all);
    for (uint32_t i = 0; i < n; i++) {
        if (all[i]->request.count)
            header_rules_apply(&all[i]->request, h, exchange_format_context(f->x), a);
        struct str path = headers_get_id(h, HDR_PATH);
        if (all[i]->query_count && path.n)
            headers_set_id_ref(h, HDR_PATH, query_mutations_apply(all[i]->queries, all[i]->query_count, path,
                                                                  exchange_format_context(f->x), a));
    }
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    MUTATE(f, request_trailers, h);
    return FILTER_TRAILERS_CONTINUE;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    MUTATE(f, response, h);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    MUTATE(f, response_trailers, h);
    return FILTER_TRAILERS_CONTINUE;
}

const struct http_filter_def header_mutation_filter = {
    .name = "envoy.filters.http.header_mutation",
    .on_request_headers = on_request_headers,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_response_trailers = on_response_trailers,
};
