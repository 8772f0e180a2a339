/* SPDX-License-Identifier: Apache-2.0
 *
 * Retries: whether an ending calls for one (Envoy: x-envoy-retry-on and x-envoy-retry-grpc-on), whether it may
 * happen (retries left, the breaker or its budget, the request still held whole, nothing sent downstream yet), and
 * when: after a random wait below base * 2^n, at most the maximum, or as the response's reset headers say.
 * A request's own headers add to the route's policy; they go no further. Memory is the exchange's, made only where
 * a policy or a header asks for retries.
 */
#include "proxy/filter/router_priv.h"
#include "proxy/route/route_stats.h"
#include "proxy/runtime.h"

#define BACKOFF_BASE_MS 25
#define HEADER_CODES_MAX 32 /* of x-envoy-retriable-status-codes, and names of x-envoy-retriable-header-names */

struct retry_state {
    struct router *router;
    const struct retry_policy *policy; /* NULL: headers alone ask */
    uint32_t on, left;
    uint64_t interval_ms, max_interval_ms; /* of the next wait */
    uint64_t reset_ms;                 /* what the last response asked to wait; 0 nothing */
    bool armed;                        /* one was made, or is on its way */
    bool holds_slot;                   /* circuit breaker */
    bool waits_as_told;                /* the present wait is what the response asked for */
    bool after_timeout;                /* the try before took too long */
    uint16_t codes[HEADER_CODES_MAX]; uint32_t code_count;
    struct str names[HEADER_CODES_MAX]; uint32_t name_count;
    struct tried { struct host *host; uint32_t priority; } *tried; uint32_t tried_count, tried_cap; /* referenced */
    struct timer timer;
};

/* ---- what is asked for ---- */

#define GRPC_BITS (RETRY_ON_GRPC_CANCELLED | RETRY_ON_GRPC_DEADLINE_EXCEEDED | RETRY_ON_GRPC_INTERNAL |                \
                   RETRY_ON_GRPC_RESOURCE_EXHAUSTED | RETRY_ON_GRPC_UNAVAILABLE)

static uint32_t bits_of(struct str list, uint32_t allowed)
{
    static const struct { struct str text; uint32_t bit; } names[] = {
#define X(bit, name, text) {{text, sizeof(text) - 1}, 1u << (bit)},
        RETRY_ON_TABLE(X)
#undef X
    };
    uint32_t on = 0;
    while (list.p) {
        struct str rest, one = str_trim(str_split(list, ',', &rest));
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (str_eq(one, names[i].text))
                on |= names[i].bit & allowed;
        list = rest;
    }
    return on;
}

static void read_codes(struct retry_state *s, struct str list)
{
    while (list.p && s->code_count < HEADER_CODES_MAX) {
        struct str rest, one = str_trim(str_split(list, ',', &rest));
        uint64_t code;
        if (str_to_u64(one, &code) && code < 1000)
            s->codes[s->code_count++] = (uint16_t)code;
        list = rest;
    }
}

static void read_names(struct retry_state *s, struct str list, struct arena *a)
{
    while (list.p && s->name_count < HEADER_CODES_MAX) {
        struct str rest, one = str_trim(str_split(list, ',', &rest));
        char *lower = one.n ? arena_bytes(a, one.n) : NULL;
        for (size_t i = 0; lower && i < one.n; i++)
            lower[i] = ascii_lower(one.p[i]);
        if (lower)
            s->names[s->name_count++] = str_make(lower, one.n);
        list = rest;
    }
}

/* A policy for certain requests only: others aren't retried, whatever they say. */
static bool request_is_retriable(const struct retry_policy *p, const struct headers *h)
{
    if (!p || !p->request_header_count)
        return true;
    for (uint32_t i = 0; i < p->request_header_count; i++)
        if (header_matches(&p->request_headers[i], h))
            return true;
    return false;
}

static void settle_limits(struct retry_state *s, const struct headers *h)
{
    const struct retry_policy *p = s->policy;
    uint64_t most;
    s->left = p ? p->num_retries : 1;
    if (headers_has_id(h, HDR_ENVOY_MAX_RETRIES) && str_to_u64(headers_get_id(h, HDR_ENVOY_MAX_RETRIES), &most))
        s->left = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
    s->interval_ms = p && p->base_interval_ms ? p->base_interval_ms
                                              : runtime_u64(STR("upstream.base_retry_backoff_ms"), BACKOFF_BASE_MS);
    if (!s->interval_ms)
        s->interval_ms = 1;
    s->max_interval_ms = p && p->max_interval_ms ? p->max_interval_ms : 10 * s->interval_ms;
    if (s->max_interval_ms < s->interval_ms)
        s->max_interval_ms = s->interval_ms;
}

static void on_backoff(struct timer *t);

static struct retry_state *state_new(struct router *r, struct headers *h)
{
    const struct retry_policy *p = r->route->retry;
    uint32_t on = p ? p->on : 0;
    struct arena *a = exchange_arena(r->x);
    if (headers_has_id(h, HDR_ENVOY_RETRY_ON))
        on |= bits_of(headers_get_id(h, HDR_ENVOY_RETRY_ON), ~(uint32_t)GRPC_BITS);
    if (headers_has_id(h, HDR_ENVOY_RETRY_GRPC_ON))
        on |= bits_of(headers_get_id(h, HDR_ENVOY_RETRY_GRPC_ON), GRPC_BITS);
    if (!on || !request_is_retriable(p, h))
        return NULL;
    struct retry_state *s = arena_zalloc(a, sizeof(*s));
    if (!s)
        return NULL;
    s->router = r;
    s->policy = p;
    s->on = on;
    settle_limits(s, h);
    read_codes(s, headers_get(h, STR("x-envoy-retriable-status-codes")));
    read_names(s, headers_get(h, STR("x-envoy-retriable-header-names")), a);
    timer_init(&s->timer, exchange_loop(r->x), on_backoff);
    return s;
}

void retry_settle(struct router *r, struct headers *h)
{
    static const uint64_t asked = 1ull << HDR_ENVOY_RETRY_ON | 1ull << HDR_ENVOY_RETRY_GRPC_ON;
    if (r->route->retry || h->mask & asked)
        r->retry = state_new(r, h);
    if (h->mask & (asked | 1ull << HDR_ENVOY_MAX_RETRIES)) {
        headers_remove_id(h, HDR_ENVOY_RETRY_ON);
        headers_remove_id(h, HDR_ENVOY_RETRY_GRPC_ON);
        headers_remove_id(h, HDR_ENVOY_MAX_RETRIES);
    }
    if (r->rare_headers) {
        headers_remove(h, STR("x-envoy-retriable-status-codes"));
        headers_remove(h, STR("x-envoy-retriable-header-names"));
    }
}

/* ---- is it wanted ---- */

static bool wanted_for_grpc(const struct retry_state *s, const struct headers *h)
{
    static const struct {
        uint8_t status;
        uint32_t bit;
    } rows[] = {{1, RETRY_ON_GRPC_CANCELLED},
                {4, RETRY_ON_GRPC_DEADLINE_EXCEEDED},
                {8, RETRY_ON_GRPC_RESOURCE_EXHAUSTED},
                {13, RETRY_ON_GRPC_INTERNAL},
                {14, RETRY_ON_GRPC_UNAVAILABLE}};
    uint64_t status;
    if (!headers_has_id(h, HDR_GRPC_STATUS) || !str_to_u64(headers_get_id(h, HDR_GRPC_STATUS), &status))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return (s->on & rows[i].bit) != 0;
    return false;
}

static bool status_is_listed(const struct retry_state *s, unsigned status)
{
    for (uint32_t i = 0; s->policy && i < s->policy->status_code_count; i++)
        if (s->policy->status_codes[i] == status)
            return true;
    for (uint32_t i = 0; i < s->code_count; i++)
        if (s->codes[i] == status)
            return true;
    return false;
}

static bool headers_are_listed(const struct retry_state *s, const struct headers *h)
{
    for (uint32_t i = 0; s->policy && i < s->policy->response_header_count; i++)
        if (header_matches(&s->policy->response_headers[i], h))
            return true;
    for (uint32_t i = 0; i < s->name_count; i++)
        if (headers_find(h, s->names[i]))
            return true;
    return false;
}

bool retry_would_for_response(const struct router *r, const struct headers *h, unsigned status)
{
    const struct retry_state *s = r->retry;
    if (headers_has_id(h, HDR_ENVOY_RATELIMITED)) /* another proxy of the mesh says so: not without being told */
        return (s->on & RETRY_ON_ENVOY_RATELIMITED) != 0;
    if (status >= 500 && s->on & RETRY_ON_5XX)
        return true;
    if (status >= 502 && status <= 504 && s->on & RETRY_ON_GATEWAY_ERROR)
        return true;
    if (status == 409 && s->on & RETRY_ON_RETRIABLE_4XX)
        return true;
    if (s->on & RETRY_ON_RETRIABLE_STATUS_CODES && status_is_listed(s, status))
        return true;
    if (s->on & RETRY_ON_RETRIABLE_HEADERS && headers_are_listed(s, h))
        return true;
    return (s->on & GRPC_BITS) && wanted_for_grpc(s, h);
}

static bool would_for_reset(const struct retry_state *s, enum stream_reset why, bool had_started)
{
    if (why == STREAM_OVERFLOW)
        return false;
    if (s->on & (RETRY_ON_5XX | RETRY_ON_GATEWAY_ERROR | RETRY_ON_RESET))
        return true;
    if (s->on & RETRY_ON_RESET_BEFORE_REQUEST && !had_started)
        return true;
    if (why == STREAM_REMOTE_REFUSED && s->on & RETRY_ON_REFUSED_STREAM)
        return true;
    return (why == STREAM_CONNECT_FAILED || why == STREAM_CONNECT_TIMEOUT) && s->on & RETRY_ON_CONNECT_FAILURE;
}

/* ---- may it be, and when ---- */

static void release_slot(struct retry_state *s)
{
    struct router *r = s->router;
    if (s->holds_slot) {
        s->holds_slot = false;
        cluster_breaker_release(r->cluster, r->route->priority, BREAKER_RETRIES);
    }
}

static void count(struct router *r, uint32_t cluster_row, uint32_t route_row)
{
    stat_inc(cluster_stats(r->cluster), cluster_row);
    stats_row(r, route_row);
}

static void on_backoff(struct timer *t)
{
    struct retry_state *s = CONTAINER_OF(t, retry_state, timer);
    struct router *r = s->router;
    struct headers *h = exchange_request_headers(r->x);
    struct stream_info *info = exchange_info(r->x);
    count(r, STAT_CLUSTER_UPSTREAM_RQ_RETRY, STAT_ROUTE_RQ_RETRY); /* a wait that came to nothing isn't one */
    stat_inc(cluster_stats(r->cluster), s->waits_as_told ? STAT_CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_RATELIMITED
                                                         : STAT_CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_EXPONENTIAL);
    r->is_retry = true;
    info->attempts++;
    if (r->route->include_attempt_count_in_request)
        headers_set_id_ref(h, HDR_ENVOY_ATTEMPT_COUNT, arena_printf(exchange_arena(r->x), "%u", (unsigned)info->attempts));
    if (r->route->include_is_timeout_retry)
        headers_set(h, STR("x-envoy-is-timeout-retry"), s->after_timeout ? STR("true") : STR("false"));
    s->after_timeout = false;
    timeouts_tell(r, h);
    if (r->wants_tunnel)
        connect_start(r);
    else
        try_start(r, false, NULL);
}

static uint64_t wait_us(struct retry_state *s)
{
    struct rng *rng = loop_rng(exchange_loop(s->router->x));
    s->waits_as_told = s->reset_ms > 0;
    if (s->reset_ms) { /* at least what was asked for, and up to half as much more, so that not all come back at once */
        uint64_t least = s->reset_ms * 1000;
        s->reset_ms = 0;
        return least + rng_below(rng, least / 2);
    }
    uint64_t ceiling = s->interval_ms;
    s->interval_ms = s->interval_ms < s->max_interval_ms / 2 ? s->interval_ms * 2 : s->max_interval_ms;
    return rng_below(rng, ceiling * 1000) + 1;
}

static enum retry_answer decide(struct router *r, bool wanted)
{
    struct retry_state *s = r->retry;
    if (s->armed && !wanted)
        count(r, STAT_CLUSTER_UPSTREAM_RQ_RETRY_SUCCESS, STAT_ROUTE_RQ_RETRY_SUCCESS);
    s->armed = false;
    timer_clear(&s->timer);
    release_slot(s);
    if (!wanted)
        return RETRY_NO;
    if (!s->left) {
        count(r, STAT_CLUSTER_UPSTREAM_RQ_RETRY_LIMIT_EXCEEDED, STAT_ROUTE_RQ_RETRY_LIMIT_EXCEEDED);
        return RETRY_LIMIT;
    }
    s->left--;
    if (!cluster_breaker_acquire(r->cluster, r->route->priority, BREAKER_RETRIES)) {
        count(r, STAT_CLUSTER_UPSTREAM_RQ_RETRY_OVERFLOW, STAT_ROUTE_RQ_RETRY_OVERFLOW);
        return RETRY_OVERFLOW;
    }
    s->holds_slot = true;
    s->armed = true;
    timer_set_us(&s->timer, wait_us(s));
    return RETRY_YES;
}

/* What the peer asks for stands in the first of the configured headers that can be read (Envoy: RateLimitedRetryBackOff). */
static void note_reset_header(struct retry_state *s, const struct headers *h)
{
    const struct retry_policy *p = s->policy;
    uint64_t now_s = loop_wall_us(exchange_loop(s->router->x)) / 1000000, value;
    for (uint32_t i = 0; p && i < p->reset_header_count; i++) {
        if (!str_to_u64(headers_get(h, p->reset_headers[i].name), &value))
            continue;
        if (p->reset_headers[i].format == RETRY_RESET_UNIX_TIMESTAMP) {
            if (value <= now_s)
                continue;
            value -= now_s;
        }
        if (value > p->reset_max_interval_ms / 1000)
            continue;
        s->reset_ms = value * 1000;
        return;
    }
}

enum retry_answer retry_for_response(struct router *r, const struct headers *h, unsigned status)
{
    bool wanted = retry_would_for_response(r, h, status);
    if (wanted)
        note_reset_header(r->retry, h);
    return decide(r, wanted);
}

enum retry_answer retry_for_reset(struct router *r, enum stream_reset why, bool had_started)
{
    return r->retry ? decide(r, would_for_reset(r->retry, why, had_started)) : RETRY_NO;
}

enum retry_answer retry_for_slow_try(struct router *r)
{
    return r->retry ? decide(r, true) : RETRY_NO;
}

bool retry_is_pending(const struct router *r)
{
    return r->retry && timer_is_set(&r->retry->timer);
}

void retry_note_timeout(struct router *r)
{
    if (r->retry)
        r->retry->after_timeout = true;
}

/* ---- other hosts than before ---- */

void retry_note_host(const struct upstream_try *t)
{
    struct retry_state *s = t->router->retry;
    struct arena *a = exchange_arena(t->router->x);
    const struct retry_policy *p = s->policy;
    if (!p || !(p->skip_previous_hosts || p->previous_priorities_frequency))
        return;
    if (s->tried_count == s->tried_cap) {
        uint32_t cap = s->tried_cap ? s->tried_cap * 2 : 4;
        struct tried *more = arena_alloc(a, cap * sizeof(*more));
        if (!more)
            return;
        if (s->tried_count)
            memcpy(more, s->tried, s->tried_count * sizeof(*more));
        s->tried = more;
        s->tried_cap = cap;
    }
    s->tried[s->tried_count++] = (struct tried){host_ref(t->host), t->priority};
}

static bool values_agree(const struct meta_value *wanted, const struct meta_value *has)
{
    if (has->kind == META_LIST && wanted->kind != META_LIST) {
        for (uint32_t i = 0; i < has->u.list.count; i++)
            if (meta_equal(wanted, &has->u.list.items[i]))
                return true;
        return false;
    }
    return meta_equal(wanted, has);
}

/* Has the host all of the labels under envoy.lb that are to be left out? */
static bool host_is_omitted(const struct metadata *omit, const struct host *h)
{
    const struct meta_value *labels = metadata_find(omit, STR("envoy.lb"), NULL, 0);
    const struct meta_value *of_host = metadata_find(h->metadata, STR("envoy.lb"), NULL, 0);
    if (!labels || labels->kind != META_STRUCT)
        return true; /* no label: every host has them all, as for Envoy */
    for (uint32_t i = 0; i < labels->u.fields.count; i++) {
        const struct meta_field *l = &labels->u.fields.items[i];
        const struct meta_value *v = of_host ? meta_field(of_host, l->name) : NULL;
        if (!v || !values_agree(&l->value, v))
            return false;
    }
    return true;
}

static bool skip_host(void *arg, const struct host *h)
{
    const struct retry_state *s = arg;
    const struct retry_policy *p = s->policy;
    if (p->skip_canary_hosts && stats_host_is_canary(h))
        return true;
    if (p->omit_host_metadata && host_is_omitted(p->omit_host_metadata, h))
        return true;
    for (uint32_t i = 0; p->skip_previous_hosts && i < s->tried_count; i++)
        if (s->tried[i].host == h || addr_eq(&s->tried[i].host->addr, &h->addr))
            return true;
    return false;
}

/* Those of the hosts tried, taken note of every `frequency` tries (Envoy: previous_priorities' update_frequency). */
static uint64_t tried_priorities(const struct retry_state *s, uint32_t frequency)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < s->tried_count / frequency * frequency; i++)
        if (s->tried[i].priority < 64)
            mask |= 1ull << s->tried[i].priority;
    return mask;
}

void retry_steer(struct router *r, struct lb_context *cx)
{
    struct retry_state *s = r->retry;
    const struct retry_policy *p = s ? s->policy : NULL;
    if (!p)
        return;
    if (p->previous_priorities_frequency)
        cx->skip_priorities = tried_priorities(s, p->previous_priorities_frequency);
    if (!(p->skip_previous_hosts || p->skip_canary_hosts || p->omit_host_metadata))
        return;
    cx->skip = skip_host;
    cx->skip_arg = s;
    cx->skip_max_attempts = p->host_selection_attempts ? p->host_selection_attempts : 1;
}

void retry_over(struct router *r)
{
    struct retry_state *s = r->retry;
    if (!s)
        return;
    timer_clear(&s->timer);
    release_slot(s);
    for (uint32_t i = 0; i < s->tried_count; i++)
        host_unref(&s->tried[i].host);
    s->tried_count = 0;
    r->retry = NULL;
}
