/* SPDX-License-Identifier: Apache-2.0
 *
 * Retries by the route's policy: whether an ending calls for one (Envoy: x-envoy-retry-on and
 * x-envoy-retry-grpc-on), whether it may happen (attempts left, circuit breaker, the request still held
 * whole, nothing sent downstream yet), and when: after a random wait below 25 ms * (2^n - 1), at most
 * 250 ms, Envoy's default back-off.
 */
#include "base/check.h"
#include "proxy/filter/router_priv.h"

#define BACKOFF_BASE_US 25000u
#define BACKOFF_MAX_US 250000u

static bool on(const struct router *r, uint32_t bits)
{
    return (r->route->retry->on & bits) != 0;
}

static bool wants_for_grpc(const struct router *r, const struct headers *h)
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
    if (!str_to_u64(headers_get_id(h, HDR_GRPC_STATUS), &status))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return on(r, rows[i].bit);
    return false;
}

bool retry_wanted_for_response(const struct router *r, const struct headers *h, unsigned status)
{
    if (!r->route->retry)
        return false;
    if (status >= 500 && on(r, RETRY_ON_5XX))
        return true;
    if (status >= 502 && status <= 504 && on(r, RETRY_ON_GATEWAY_ERROR))
        return true;
    if (status == 409 && on(r, RETRY_ON_RETRIABLE_4XX))
        return true;
    return wants_for_grpc(r, h);
}

bool retry_wanted_for_reset(const struct router *r, enum stream_reset why)
{
    if (!r->route->retry || why == STREAM_OVERFLOW)
        return false;
    if (on(r, RETRY_ON_5XX | RETRY_ON_GATEWAY_ERROR | RETRY_ON_RESET))
        return true;
    if (why == STREAM_REMOTE_REFUSED)
        return on(r, RETRY_ON_REFUSED_STREAM);
    if (why == STREAM_CONNECT_FAILED || why == STREAM_CONNECT_TIMEOUT)
        return on(r, RETRY_ON_CONNECT_FAILURE);
    return !r->attempt.headers_sent && on(r, RETRY_ON_RESET_BEFORE_REQUEST);
}

static void release_slot(struct router *r)
{
    if (r->holds_retry_slot) {
        r->holds_retry_slot = false;
        cluster_breaker_release(r->cluster, r->route->priority, BREAKER_RETRIES);
    }
}

static void on_backoff(struct timer *t)
{
    struct router *r = CONTAINER_OF(t, router, retry_timer);
    struct buf again = BUF_INIT;
    buf_move(&again, &r->replay);
    buf_move(&again, &r->pending);
    buf_move(&r->pending, &again);
    try_start(r, false);
}

static uint64_t backoff_us(struct router *r)
{
    uint32_t n = r->retries < 8 ? r->retries : 8;
    uint64_t ceiling = BACKOFF_BASE_US * ((1ull << n) - 1);
    if (ceiling > BACKOFF_MAX_US)
        ceiling = BACKOFF_MAX_US;
    return rng_below(loop_rng(exchange_loop(r->x)), ceiling) + 1;
}

bool retry_schedule(struct router *r)
{
    struct stat_scope *s = cluster_stats(r->cluster);
    release_slot(r);
    if (r->retries >= r->route->retry->num_retries) {
        stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_RETRY_LIMIT_EXCEEDED);
        exchange_info(r->x)->flags |= FLAG_URX;
        return false;
    }
    if (r->replay_lost || r->timed_out) {
        stat_inc(s, STAT_CLUSTER_RETRY_OR_SHADOW_ABANDONED);
        return false;
    }
    if (!cluster_breaker_acquire(r->cluster, r->route->priority, BREAKER_RETRIES)) {
        stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_RETRY_OVERFLOW);
        return false;
    }
    r->holds_retry_slot = true;
    r->retries++;
    stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_RETRY);
    stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_EXPONENTIAL);
    timer_set_us(&r->retry_timer, backoff_us(r));
    return true;
}

void retry_init(struct router *r)
{
    timer_init(&r->retry_timer, exchange_loop(r->x), on_backoff);
}

void retry_over(struct router *r, bool ended_well)
{
    timer_clear(&r->retry_timer);
    if (r->holds_retry_slot && ended_well)
        stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_RETRY_SUCCESS);
    release_slot(r);
}
