/* SPDX-License-Identifier: Apache-2.0
 *
 * Circuit breakers: how much of each resource a cluster uses at each routing priority, relaxed atomics
 * shared by all workers, and what the limits are. Any thread.
 *
 * Gauges say whether a limit is reached and, where asked for, what is left of it. Steps of a count
 * across its limit alternate up and down in the count's own order, so that counting the steps on
 * whichever thread makes them keeps the sum over all threads right.
 */
#include "proxy/cluster/cluster_priv.h"
#include "proxy/runtime.h"

#include <stdio.h>
#include <stdlib.h>

#define REMAINING_STATS(X)                                                                         \
    X(REMAINING_CX, GAUGE, NONE, "remaining_cx", "Connections left")                               \
    X(REMAINING_CX_POOLS, GAUGE, NONE, "remaining_cx_pools", "Pools left")                         \
    X(REMAINING_PENDING, GAUGE, NONE, "remaining_pending", "Waiting requests left")                \
    X(REMAINING_RETRIES, GAUGE, NONE, "remaining_retries", "Retries left; 0 with a budget")        \
    X(REMAINING_RQ, GAUGE, NONE, "remaining_rq", "Requests left")
enum { REMAINING_STATS(STAT_ENUM_ROW) };
static const struct stat_desc remaining_rows[] = {REMAINING_STATS(STAT_DESC_ROW)};
static const struct stat_table remaining_table = {remaining_rows, ARRAY_LEN(remaining_rows)};

static const uint16_t remaining_row[BREAKER_COUNT] = {
    [BREAKER_CONNECTIONS] = STAT_REMAINING_CX, [BREAKER_PENDING] = STAT_REMAINING_PENDING,
    [BREAKER_REQUESTS] = STAT_REMAINING_RQ,    [BREAKER_RETRIES] = STAT_REMAINING_RETRIES,
    [BREAKER_POOLS] = STAT_REMAINING_CX_POOLS,
};
static const uint16_t open_row[ROUTING_PRIORITIES][BREAKER_COUNT] = {
    [PRIORITY_DEFAULT] = {[BREAKER_CONNECTIONS] = STAT_CLUSTER_CB_DEFAULT_CX_OPEN,
                          [BREAKER_PENDING] = STAT_CLUSTER_CB_DEFAULT_RQ_PENDING_OPEN,
                          [BREAKER_REQUESTS] = STAT_CLUSTER_CB_DEFAULT_RQ_OPEN,
                          [BREAKER_RETRIES] = STAT_CLUSTER_CB_DEFAULT_RQ_RETRY_OPEN,
                          [BREAKER_POOLS] = STAT_CLUSTER_CB_DEFAULT_CX_POOL_OPEN},
    [PRIORITY_HIGH] = {[BREAKER_CONNECTIONS] = STAT_CLUSTER_CB_HIGH_CX_OPEN,
                       [BREAKER_PENDING] = STAT_CLUSTER_CB_HIGH_RQ_PENDING_OPEN,
                       [BREAKER_REQUESTS] = STAT_CLUSTER_CB_HIGH_RQ_OPEN,
                       [BREAKER_RETRIES] = STAT_CLUSTER_CB_HIGH_RQ_RETRY_OPEN,
                       [BREAKER_POOLS] = STAT_CLUSTER_CB_HIGH_CX_POOL_OPEN},
};

static const struct circuit_thresholds *thresholds(const struct cluster *c, unsigned priority)
{
    return &c->limits[priority];
}

static uint32_t limit_of(const struct cluster *c, unsigned priority, enum breaker b)
{
    const struct circuit_thresholds *t = thresholds(c, priority);
    switch (b) {
    case BREAKER_CONNECTIONS:
        return t->max_connections;
    case BREAKER_PENDING:
        return t->max_pending;
    case BREAKER_REQUESTS:
        return t->max_requests;
    case BREAKER_RETRIES:
        return t->max_retries;
    case BREAKER_POOLS:
        return t->max_pools;
    case BREAKER_COUNT:
        break;
    }
    return 0;
}

uint32_t cluster_breaker_used(const struct cluster *c, unsigned priority, enum breaker b)
{
    return atomic_load_explicit(&c->used[priority][b], memory_order_relaxed);
}

/* Retries may be a share of what is going on now, but never fewer than a few (Envoy: "retry_budget"). */
static uint32_t retry_budget(const struct cluster *c, unsigned priority)
{
    const struct circuit_thresholds *t = thresholds(c, priority);
    uint32_t going_on = cluster_breaker_used(c, priority, BREAKER_REQUESTS) + cluster_breaker_used(c, priority, BREAKER_PENDING);
    uint32_t share = (uint32_t)(t->budget_pct / 100.0 * going_on);
    return share > t->min_retries ? share : t->min_retries;
}

static uint32_t allowed(const struct cluster *c, unsigned priority, enum breaker b, uint32_t limit)
{
    return b == BREAKER_RETRIES && thresholds(c, priority)->has_budget ? retry_budget(c, priority) : limit;
}

static bool tracks(const struct cluster *c, unsigned priority, enum breaker b)
{
    return c->remaining[priority] && !(b == BREAKER_RETRIES && thresholds(c, priority)->has_budget);
}

static uint32_t count_up(struct cluster *c, unsigned priority, enum breaker b, uint32_t limit)
{
    uint32_t before = atomic_fetch_add_explicit(&c->used[priority][b], 1, memory_order_relaxed);
    if (before + 1 == limit)
        stat_inc(c->stats, open_row[priority][b]);
    if (before < limit && tracks(c, priority, b))
        stat_dec(c->remaining[priority], remaining_row[b]);
    return before;
}

static void count_down(struct cluster *c, unsigned priority, enum breaker b, uint32_t limit)
{
    uint32_t before = atomic_fetch_sub_explicit(&c->used[priority][b], 1, memory_order_relaxed);
    DCHECK(before > 0);
    if (before == limit)
        stat_dec(c->stats, open_row[priority][b]);
    if (before <= limit && tracks(c, priority, b))
        stat_inc(c->remaining[priority], remaining_row[b]);
}

bool cluster_breaker_acquire(struct cluster *c, unsigned priority, enum breaker b)
{
    uint32_t limit = limit_of(c, priority, b);
    if (count_up(c, priority, b, limit) < allowed(c, priority, b, limit))
        return true;
    count_down(c, priority, b, limit);
    return false;
}

void cluster_breaker_force(struct cluster *c, unsigned priority, enum breaker b)
{
    count_up(c, priority, b, limit_of(c, priority, b));
}

void cluster_breaker_release(struct cluster *c, unsigned priority, enum breaker b)
{
    count_down(c, priority, b, limit_of(c, priority, b));
}

/* circuit_breakers.<cluster>.<priority>.<setting>, looked at when the cluster is made: a limit that moved under its count
 * would leave the gauges of open breakers wrong. */
static struct str runtime_of(const struct cluster *c, unsigned priority, const char *setting, struct strbuf *key)
{
    key->n = 0;
    strbuf_addf(key, "circuit_breakers.%.*s.%s.%s", STR_ARG(c->spec->name), priority == PRIORITY_HIGH ? "high" : "default", setting);
    return runtime_get(strbuf_str(key));
}

static void override_u32(const struct cluster *c, unsigned priority, const char *setting, struct strbuf *key, uint32_t *limit)
{
    uint64_t n;
    if (str_to_u64(runtime_of(c, priority, setting, key), &n))
        *limit = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void override_limits(struct cluster *c, unsigned priority)
{
    struct circuit_thresholds *t = &c->limits[priority];
    struct strbuf key = {0};
    *t = c->spec->breakers->thresholds[priority];
    override_u32(c, priority, "max_connections", &key, &t->max_connections);
    override_u32(c, priority, "max_pending_requests", &key, &t->max_pending);
    override_u32(c, priority, "max_requests", &key, &t->max_requests);
    override_u32(c, priority, "max_retries", &key, &t->max_retries);
    override_u32(c, priority, "max_connection_pools", &key, &t->max_pools);
    override_u32(c, priority, "retry_budget.min_retry_concurrency", &key, &t->min_retries);
    struct str pct = runtime_of(c, priority, "retry_budget.budget_percent", &key);
    char text[32], *end;
    snprintf(text, sizeof text, "%.*s", STR_ARG(pct));
    double value = strtod(text, &end);
    if (pct.n && !*end && value >= 0 && value <= 100)
        t->budget_pct = value;
    strbuf_fini(&key);
}

/* A limit of nothing is reached from the start, and for as long as there is the cluster: one that takes its place under the
 * same name has the same gauges. */
void cluster_breakers_init(struct cluster *c)
{
    for (unsigned p = 0; p < ROUTING_PRIORITIES; p++)
        override_limits(c, p);
    static const char *const scopes[ROUTING_PRIORITIES] = {".circuit_breakers.default.", ".circuit_breakers.high."};
    for (unsigned p = 0; p < ROUTING_PRIORITIES; p++) {
        for (enum breaker b = 0; b < BREAKER_COUNT; b++)
            if (!limit_of(c, p, b))
                stat_inc(c->stats, open_row[p][b]);
        if (!thresholds(c, p)->track_remaining)
            continue;
        c->remaining[p] = cluster_scope(c->spec, scopes[p], &remaining_table);
        for (enum breaker b = 0; b < BREAKER_COUNT; b++)
            stat_set(c->remaining[p], remaining_row[b], tracks(c, p, b) ? limit_of(c, p, b) : 0);
    }
}

void cluster_breakers_fini(struct cluster *c)
{
    for (unsigned p = 0; p < ROUTING_PRIORITIES; p++) {
        for (enum breaker b = 0; b < BREAKER_COUNT; b++)
            if (!limit_of(c, p, b))
                stat_dec(c->stats, open_row[p][b]);
        stat_scope_unref(&c->remaining[p]);
    }
}
