/* SPDX-License-Identifier: Apache-2.0
 *
 * Buckets of all workers are atomics in the configuration, those of a connection live with it. A descriptor that a request
 * matches takes from its own bucket, the slowest first, and from the default one too unless that is turned off. Descriptors
 * with open values have a bucket for each set of values, the least recently used making room (within a window of slots where
 * there are many): two workers that make the same one at once lose a token or two of exactness, never memory or order.
 * On the exchange's worker.
 */
#include "proxy/filter/local_ratelimit.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/route/route.h"

#define SLOT_WINDOW 64
#define MATCHED_MAX 16

static const struct stat_desc rows[] = {LOCAL_RATELIMIT_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct limiting {
    const struct local_ratelimit_config *config;
    const struct token_bucket *bucket; /* what the headers tell of; NULL: none */
    const struct token_bucket_spec *spec;
};

/* ---- buckets ---- */

static struct local_buckets *buckets_of(struct http_filter *f, const struct local_ratelimit_config *c)
{
    if (!c->per_connection)
        return (struct local_buckets *)(uintptr_t)&c->shared;
    uint32_t dynamic = c->bucket_count - c->dynamic_at;
    size_t items = c->bucket_count * sizeof(struct token_bucket), slots = dynamic * sizeof(struct dynamic_slot);
    struct local_buckets *b = exchange_connection_data(f->x, c, sizeof *b + items + slots);
    if (!b->items) {
        b->items = (struct token_bucket *)(b + 1);
        b->slots = (struct dynamic_slot *)(void *)((char *)b->items + items);
    }
    return b;
}

static struct token_bucket *dynamic_bucket(const struct local_ratelimit_config *c, struct local_buckets *b,
                                           const struct local_descriptor *d, uint64_t hash, uint64_t now_us)
{
    uint32_t n = c->max_dynamic, window = n < SLOT_WINDOW ? n : SLOT_WINDOW, start = (uint32_t)(hash % n), oldest = 0;
    uint64_t oldest_us = UINT64_MAX;
    struct dynamic_slot *slots = b->slots + (d->first_bucket - c->dynamic_at);
    hash = hash ? hash : 1;
    for (uint32_t i = 0; i < window; i++) {
        uint32_t at = (start + i) % n;
        uint64_t used = atomic_load_explicit(&slots[at].used_us, memory_order_relaxed);
        if (atomic_load_explicit(&slots[at].hash, memory_order_relaxed) == hash) {
            atomic_store_explicit(&slots[at].used_us, now_us, memory_order_relaxed);
            return &b->items[d->first_bucket + at];
        }
        if (used < oldest_us) {
            oldest_us = used;
            oldest = at;
        }
    }
    atomic_store_explicit(&slots[oldest].hash, hash, memory_order_relaxed);
    atomic_store_explicit(&slots[oldest].used_us, now_us, memory_order_relaxed);
    atomic_store_explicit(&b->items[d->first_bucket + oldest].empty_at_ns, 0, memory_order_relaxed);
    return &b->items[d->first_bucket + oldest];
}

static bool matches(const struct local_descriptor *d, const struct rate_limit_descriptor *r, uint64_t *hash)
{
    if (d->count != r->count)
        return false;
    *hash = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        if (!str_eq(d->entries[i].key, r->entries[i].key) ||
            (d->entries[i].value.n && !str_eq(d->entries[i].value, r->entries[i].value)))
            return false;
        *hash = str_hash(r->entries[i].value, *hash + 1);
    }
    return true;
}

struct hit { struct token_bucket *bucket; const struct token_bucket_spec *spec; uint64_t tokens; };

static uint32_t find_hits(const struct local_ratelimit_config *c, struct local_buckets *b, const struct rate_limit_descriptors *asked,
                          uint64_t now_us, struct hit *hits)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->descriptor_count && n < MATCHED_MAX; i++)
        for (uint32_t k = 0; k < asked->count && n < MATCHED_MAX; k++) {
            const struct local_descriptor *d = &c->descriptors[i];
            const struct rate_limit_descriptor *r = &asked->items[k];
            uint64_t hash;
            if (!matches(d, r, &hash))
                continue;
            struct token_bucket *bucket = d->is_dynamic ? dynamic_bucket(c, b, d, hash, now_us) : &b->items[d->first_bucket];
            hits[n++] = (struct hit){bucket, &d->spec, r->has_hits ? r->hits : 1};
        }
    return n;
}

static bool take(struct limiting *s, struct local_buckets *b, const struct rate_limit_descriptors *asked, uint64_t now_us)
{
    const struct local_ratelimit_config *c = s->config;
    struct hit hits[MATCHED_MAX];
    uint32_t n = find_hits(c, b, asked, now_us, hits);
    for (uint32_t i = 0; i < n; i++) {
        s->bucket = hits[i].bucket;
        s->spec = hits[i].spec;
        if (!token_bucket_take(hits[i].bucket, hits[i].spec, hits[i].tokens, now_us))
            return false;
    }
    if (c->has_default && (!n || c->always_default)) {
        bool allowed = token_bucket_take(&b->items[0], &c->spec, 1, now_us);
        if (!allowed || !n) {
            s->bucket = &b->items[0];
            s->spec = &c->spec;
        }
        if (!allowed)
            return false;
    }
    if (n) { /* of several, the first is told of */
        s->bucket = hits[0].bucket;
        s->spec = hits[0].spec;
    }
    return true;
}

/* ---- what a request asks ---- */

static void describe(struct http_filter *f, const struct local_ratelimit_config *c, struct headers *h,
                     struct rate_limit_descriptors *out)
{
    const struct route_decision *decision = exchange_decision(f->x);
    const struct route_entry *route = decision->route;
    struct arena *a = exchange_arena(f->x);
    struct rate_limit_request rq = {h, exchange_info(f->x), decision->cluster_name, route ? route->metadata : NULL,
                                    exchange_random(f->x), exchange_format_context(f->x)};
    if (!c->descriptor_count)
        return;
    if (c->rules) {
        rate_limit_describe(c->rules, -1, false, &rq, a, out);
        return;
    }
    if (!route)
        return;
    bool has_own = route->rate_limits && route->rate_limits->count;
    if (has_own)
        rate_limit_describe(route->rate_limits, (int)c->stage, false, &rq, a, out);
    bool include = route->include_vhost_rate_limits || c->vhost_limits == VHOST_LIMITS_INCLUDE ||
                   (c->vhost_limits == VHOST_LIMITS_OVERRIDE && !has_own);
    if (include && decision->vhost && decision->vhost->rate_limits)
        rate_limit_describe(decision->vhost->rate_limits, (int)c->stage, false, &rq, a, out);
}

static void edit_reply(struct headers *h, void *arg)
{
    struct http_filter *f = arg;
    const struct limiting *s = f->state;
    header_rules_apply(&s->config->response_rules, h, exchange_format_context(f->x), exchange_arena(f->x));
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct local_ratelimit_config *c = exchange_route_config(f);
    struct limiting *s = f->state;
    struct rate_limit_descriptors asked = {0};
    c = c ? c : f->config;
    if (!c->stats || !runtime_fraction_hits(&c->enabled, exchange_random(f->x)))
        return FILTER_HEADERS_CONTINUE;
    s->config = c;
    stat_inc(c->stats, STAT_LOCAL_RL_ENABLED);
    describe(f, c, h, &asked);
    if (take(s, buckets_of(f, c), &asked, loop_now_us(exchange_loop(f->x)))) {
        stat_inc(c->stats, STAT_LOCAL_RL_OK);
        return FILTER_HEADERS_CONTINUE;
    }
    stat_inc(c->stats, STAT_LOCAL_RL_RATE_LIMITED);
    if (!runtime_fraction_hits(&c->enforced, exchange_random(f->x))) {
        header_rules_apply(&c->request_rules, h, exchange_format_context(f->x), exchange_arena(f->x));
        return FILTER_HEADERS_CONTINUE;
    }
    stat_inc(c->stats, STAT_LOCAL_RL_ENFORCED);
    exchange_local_reply(f->x, c->resource_exhausted ? OUTCOME(RATE_LIMITED_EXHAUSTED) : OUTCOME(RATE_LIMITED), c->status,
                         STR("local_rate_limited"), STR("local_rate_limited"), edit_reply, f);
    return FILTER_HEADERS_STOP;
}

static void set_number(struct headers *h, struct arena *a, struct str name, uint64_t v)
{
    headers_add_ref(h, name, arena_printf(a, "%llu", (unsigned long long)v));
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct limiting *s = f->state;
    struct arena *a = exchange_arena(f->x);
    uint64_t now_us = loop_now_us(exchange_loop(f->x));
    if (!s->config || !s->config->rate_limit_headers || !s->bucket)
        return FILTER_HEADERS_CONTINUE;
    set_number(h, a, STR("x-ratelimit-limit"), s->spec->max_tokens);
    set_number(h, a, STR("x-ratelimit-remaining"), token_bucket_left(s->bucket, s->spec, now_us));
    set_number(h, a, STR("x-ratelimit-reset"), token_bucket_wait_s(s->bucket, s->spec, now_us));
    return FILTER_HEADERS_CONTINUE;
}

/* Routes' configurations aren't linked by themselves: they wait here for their filter's. */
static struct list configs = {&configs, &configs};

void local_ratelimit_config_made(struct local_ratelimit_config *c)
{
    list_push_back(&configs, &c->node);
}

static void link(void *config, struct stat_scope *parent)
{
    (void)config, (void)parent;
    struct strbuf prefix = {0};
    for (struct list *n = configs.next; n != &configs; n = n->next) {
        struct local_ratelimit_config *c = CONTAINER_OF(n, local_ratelimit_config, node);
        if (c->stats)
            continue;
        strbuf_reset(&prefix);
        strbuf_addf(&prefix, "%.*s.http_local_rate_limit.", STR_ARG(c->stat_prefix));
        struct stat_tag tag = {STR("envoy.local_http_ratelimit_prefix"), c->stat_prefix};
        c->stats = stat_scope_get(strbuf_str(&prefix), &table, STR("http_local_rate_limit."), &tag, 1);
    }
    strbuf_fini(&prefix);
}

void local_ratelimit_config_free(void *config)
{
    struct local_ratelimit_config *c = config;
    list_remove(&c->node);
    header_rules_fini(&c->request_rules);
    header_rules_fini(&c->response_rules);
    if (c->rules)
        rate_limit_rules_fini((struct rate_limit_rules *)(uintptr_t)c->rules);
    stat_scope_unref(&c->stats);
    mem_free(c->shared.items);
    mem_free(c->shared.slots);
}

const struct http_filter_def local_ratelimit_filter = {
    .name = "envoy.filters.http.local_ratelimit",
    .state_bytes = sizeof(struct limiting),
    .on_request_headers = on_request_headers,
    .on_response_headers = on_response_headers,
    .link = link,
};
