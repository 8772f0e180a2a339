/* SPDX-License-Identifier: Apache-2.0
 *
 * The router's clocks: of the whole request (from its last byte: a slow uploader is not the upstream's fault), of
 * each try and of each try's silence, of an upstream stream's life; what the request's headers say of them, and what
 * the upstream is told (Envoy: route timeout, x-envoy-upstream-rq-timeout-ms, x-envoy-expected-rq-timeout-ms).
 * Slow tries with hedging (hedge_on_per_try_timeout) go on, and another is started beside them.
 */
#include "proxy/filter/grpc_frames.h"
#include "proxy/filter/router_priv.h"
#include "proxy/route/route_stats.h"

/* ---- settling ---- */

static bool read_ms(struct str text, uint64_t *ms)
{
    uint64_t v;
    if (!text.p || !str_to_u64(text, &v) || v > INT32_MAX)
        return false;
    *ms = v;
    return true;
}

static void settle_hedging(struct router *r, struct headers *h)
{
    struct str text = headers_get_id(h, HDR_ENVOY_HEDGE);
    r->hedge_on_per_try_timeout = r->route->hedge && r->route->hedge->on_per_try_timeout;
    if (!text.p)
        return;
    if (str_eq(text, STR("true")))
        r->hedge_on_per_try_timeout = true;
    else if (str_eq(text, STR("false")))
        r->hedge_on_per_try_timeout = false;
    headers_remove_id(h, HDR_ENVOY_HEDGE);
}

/* The older way (max_grpc_timeout): what a gRPC client says in grpc-timeout stands for the route's timeout, and the upstream
 * is told what is left of it. */
static bool takes_grpc_timeout(const struct router *r)
{
    const struct max_stream_duration *d = r->route->max_stream_duration;
    return d && d->is_older_form && d->has_grpc_max && r->is_grpc;
}

static uint64_t by_grpc_timeout(const struct max_stream_duration *d, const struct headers *h)
{
    uint64_t ms = 0;
    grpc_timeout_read(headers_get_id(h, HDR_GRPC_TIMEOUT), &ms);
    if (d->grpc_offset_ms < ms)
        ms -= d->grpc_offset_ms;
    if (d->grpc_max_ms && (!ms || ms > d->grpc_max_ms)) /* 0 is for ever */
        ms = d->grpc_max_ms;
    return ms;
}

/* Of an internal caller, or of the proxy before us: the inbound side takes over what the outbound one has promised. */
static void settle_whole(struct router *r, struct headers *h)
{
    const struct max_stream_duration *d = r->route->max_stream_duration;
    bool new_style = d && !d->is_older_form; /* that replaces the timeout (Envoy: max_stream_duration) */
    r->timeout_ms = new_style || r->route->timeout_ms < 0 ? 0 : (uint64_t)r->route->timeout_ms;
    if (takes_grpc_timeout(r))
        r->timeout_ms = by_grpc_timeout(d, h);
    if (r->config->respect_expected_rq_timeout && read_ms(headers_get_id(h, HDR_ENVOY_EXPECTED_TIMEOUT), &r->timeout_ms))
        return;
    read_ms(headers_get_id(h, HDR_ENVOY_TIMEOUT), &r->timeout_ms);
    headers_remove_id(h, HDR_ENVOY_TIMEOUT);
}

static void settle_per_try(struct router *r, struct headers *h)
{
    const struct retry_policy *p = r->route->retry;
    r->per_try_ms = p ? p->per_try_timeout_ms : 0;
    r->per_try_idle_ms = p ? p->per_try_idle_timeout_ms : 0;
    read_ms(headers_get_id(h, HDR_ENVOY_PER_TRY_TIMEOUT), &r->per_try_ms);
    headers_remove_id(h, HDR_ENVOY_PER_TRY_TIMEOUT);
    if (r->timeout_ms && r->per_try_ms >= r->timeout_ms)
        r->per_try_ms = 0;
}

static void settle_duration(struct router *r, struct headers *h)
{
    r->duration_ms = cluster_spec(r->cluster)->http->max_stream_duration_ms;
    if (!r->rare_headers)
        return;
    read_ms(headers_get(h, STR("x-envoy-upstream-stream-duration-ms")), &r->duration_ms);
    headers_remove(h, STR("x-envoy-upstream-stream-duration-ms"));
    if (headers_remove(h, STR("x-envoy-upstream-rq-timeout-alt-response")))
        r->timeout_status = 204;
}

void timeouts_settle(struct router *r, struct headers *h)
{
    static const uint64_t said = 1ull << HDR_ENVOY_TIMEOUT | 1ull << HDR_ENVOY_PER_TRY_TIMEOUT | 1ull << HDR_ENVOY_HEDGE |
                                 1ull << HDR_ENVOY_EXPECTED_TIMEOUT;
    r->timeout_status = 504;
    settle_duration(r, h);
    if (h->mask & said || r->route->hedge || r->route->retry || r->route->max_stream_duration) {
        settle_hedging(r, h);
        settle_whole(r, h);
        settle_per_try(r, h);
    } else {
        r->timeout_ms = r->route->timeout_ms < 0 ? 0 : (uint64_t)r->route->timeout_ms;
    }
    timeouts_tell(r, h);
}

/* How long the upstream has for its answer: this try's time, within what is left of the whole. */
void timeouts_tell(struct router *r, struct headers *h)
{
    const struct stream_info *info = exchange_info(r->x);
    uint64_t expected = r->hedge_on_per_try_timeout || !r->per_try_ms ? r->timeout_ms : r->per_try_ms;
    bool tell_grpc = takes_grpc_timeout(r);
    if (!expected || (r->config->suppress_envoy_headers && !tell_grpc))
        return;
    if (r->timeout_ms) {
        bool runs = r->request_end && info->request_end_us;
        uint64_t gone = runs ? (loop_now_us(exchange_loop(r->x)) - info->request_end_us) / 1000 : 0;
        uint64_t left = gone < r->timeout_ms ? r->timeout_ms - gone : 1; /* 0 would mean for ever */
        expected = expected < left ? expected : left;
    }
    char *digits = arena_bytes(exchange_arena(r->x), 20), *text = tell_grpc ? arena_bytes(exchange_arena(r->x), GRPC_TIMEOUT_TEXT_BYTES) : NULL;
    if (text)
        headers_set_id_ref(h, HDR_GRPC_TIMEOUT, grpc_timeout_write(expected, text));
    if (digits && !r->config->suppress_envoy_headers)
        headers_set_id_ref(h, HDR_ENVOY_EXPECTED_TIMEOUT, str_make(digits, u64_format(expected, digits)));
}

/* ---- the whole ---- */

static struct str timeout_body(const struct router *r)
{
    return r->timeout_status == 504 ? STR("upstream request timeout") : STR_NULL;
}

static void count_timeout(struct upstream_try *t)
{
    struct router *r = t->router;
    stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_TIMEOUT);
    stats_row(r, STAT_ROUTE_RQ_TIMEOUT);
    if (t->host)
        host_stat_add(t->host, HOST_RQ_TIMEOUT, 1);
}

static void on_timeout(struct timer *timer)
{
    struct router *r = CONTAINER_OF(timer, router, timer);
    while (!list_is_empty(&r->tries)) {
        struct upstream_try *t = CONTAINER_OF(list_last(&r->tries), upstream_try, node);
        count_timeout(t);
        if (!t->outlier_told)
            stats_report(r, t, HOST_TIMED_OUT, r->timeout_status, NULL);
        router_charge_abort(t, r->timeout_status);
        t->flags |= FLAG_UT;
        try_abandon(t);
    }
    if (r->final) {
        count_timeout(r->final);
        r->final->flags |= FLAG_UT;
    }
    router_on_timeout(r, OUTCOME(UPSTREAM_TIMEOUT), r->timeout_status, timeout_body(r));
}

/* ---- each try ---- */

static void try_failed_by_time(struct upstream_try *t, const struct outcome *o, uint32_t row)
{
    struct router *r = t->router;
    stat_inc(cluster_stats(r->cluster), row);
    if (t->host)
        host_stat_add(t->host, HOST_RQ_TIMEOUT, 1);
    stats_report(r, t, HOST_TIMED_OUT, r->timeout_status, NULL);
    struct host *host = t->host ? host_ref(t->host) : NULL;
    t->flags |= o->flag;
    try_abandon(t);
    t->host = host;
    retry_note_timeout(r);
    bool again = router_retry_reset(t, STREAM_LOCAL);
    if (!again)
        router_charge_abort(t, r->timeout_status);
    t->host = NULL;
    if (host)
        host_unref(&host);
    if (!again && !tries_await_headers(r) && !retry_is_pending(r))
        router_on_timeout(r, o, r->timeout_status, timeout_body(r));
}

/* The slow one goes on; whoever answers well first is taken. */
static void try_is_slow(struct upstream_try *t)
{
    struct router *r = t->router;
    stats_report(r, t, HOST_TIMED_OUT, r->timeout_status, NULL);
    t->outlier_told = true;
    if (!r->retry)
        return;
    retry_note_timeout(r);
    switch (retry_for_slow_try(r)) {
    case RETRY_YES:
        if (t->host)
            retry_note_host(t);
        t->retried = true;
        break;
    case RETRY_OVERFLOW:
        exchange_info(r->x)->flags |= FLAG_UO;
        break;
    case RETRY_LIMIT:
        exchange_info(r->x)->flags |= FLAG_URX;
        break;
    case RETRY_NO:
        break;
    }
}

static void on_try_timeout(struct timer *timer)
{
    struct upstream_try *t = CONTAINER_OF(timer, try_timers, timeout)->of;
    if (t->router->final) /* the client sees an answer already: it may take the whole request's time */
        return;
    if (t->router->hedge_on_per_try_timeout)
        try_is_slow(t);
    else
        try_failed_by_time(t, OUTCOME(UPSTREAM_PER_TRY_TIMEOUT), STAT_CLUSTER_UPSTREAM_RQ_PER_TRY_TIMEOUT);
}

static void on_try_idle(struct timer *timer)
{
    struct upstream_try *t = CONTAINER_OF(timer, try_timers, idle)->of;
    if (t->router->hedge_on_per_try_timeout && !t->router->final)
        try_is_slow(t);
    else
        try_failed_by_time(t, OUTCOME(UPSTREAM_PER_TRY_IDLE), STAT_CLUSTER_UPSTREAM_RQ_PER_TRY_IDLE_TIMEOUT);
}

static void on_duration(struct timer *timer)
{
    struct upstream_try *t = CONTAINER_OF(timer, try_timers, duration)->of;
    struct router *r = t->router;
    const struct outcome *o = OUTCOME(UPSTREAM_MAX_DURATION);
    stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_MAX_DURATION_REACHED);
    t->flags |= o->flag;
    try_abandon(t);
    if (!router_retry_reset(t, STREAM_LOCAL))
        router_on_timeout(r, o, r->request_end ? 504 : 408, STR("upstream max stream duration reached"));
}

static void on_log_interval(struct timer *timer)
{
    struct upstream_try *t = CONTAINER_OF(timer, try_timers, log)->of;
    log_attempt(t, "UpstreamPeriodic");
    timer_set_ms(timer, t->router->config->log_interval_ms);
}

static void arm_per_try(struct upstream_try *t)
{
    struct router *r = t->router;
    if (r->per_try_ms)
        timer_set_ms(&t->timers->timeout, r->per_try_ms);
    if (r->per_try_idle_ms)
        timer_set_ms(&t->timers->idle, r->per_try_idle_ms);
}

void timeouts_on_stream(struct upstream_try *t)
{
    struct router *r = t->router;
    struct loop *loop = exchange_loop(r->x);
    if (!r->per_try_ms && !r->per_try_idle_ms && !r->duration_ms && !r->config->log_interval_ms)
        return;
    t->timers = arena_zalloc(exchange_arena(r->x), sizeof(*t->timers));
    if (!t->timers)
        return;
    t->timers->of = t;
    timer_init(&t->timers->timeout, loop, on_try_timeout);
    timer_init(&t->timers->idle, loop, on_try_idle);
    timer_init(&t->timers->duration, loop, on_duration);
    timer_init(&t->timers->log, loop, on_log_interval);
    if (r->duration_ms)
        timer_set_ms(&t->timers->duration, r->duration_ms);
    if (r->config->log_interval_ms)
        timer_set_ms(&t->timers->log, r->config->log_interval_ms);
    if (r->request_end)
        arm_per_try(t);
}

void timeouts_on_request_complete(struct router *r)
{
    if (list_is_empty(&r->tries) && !r->final && !retry_is_pending(r))
        return;
    if (r->timeout_ms) {
        timer_init(&r->timer, exchange_loop(r->x), on_timeout);
        timer_set_ms(&r->timer, r->timeout_ms);
    }
    for (struct list *n = r->tries.next; n != &r->tries; n = n->next) {
        struct upstream_try *t = CONTAINER_OF(n, upstream_try, node);
        if (t->timers && !timer_is_set(&t->timers->timeout) && !timer_is_set(&t->timers->idle))
            arm_per_try(t);
    }
}

void timeouts_touch(struct upstream_try *t)
{
    if (t->timers && timer_is_set(&t->timers->idle))
        timer_set_ms(&t->timers->idle, t->router->per_try_idle_ms);
}

void timeouts_clear(struct upstream_try *t)
{
    if (!t->timers)
        return;
    timer_clear(&t->timers->timeout);
    timer_clear(&t->timers->idle);
    timer_clear(&t->timers->duration);
    timer_clear(&t->timers->log);
}
