/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to a host: priority, then health, then locality, then the policy's pick, and again where a
 * retry doesn't want that host (Envoy: "Load balancing", in this order). Any worker; pure but for
 * cursors and counters.
 */
#include <math.h>

#include "proxy/cluster/cluster.h"

#define FAILING_FROM (HOST_FAILING_ONE / 4)       /* below, failures may be anybody's bad luck */
#define FAILING_AT_MOST (HOST_FAILING_ONE * 9 / 10) /* somebody has to find out when it is well again */
#define PRIORITIES_MAX 129

static void count(struct lb_context *ctx, enum cluster_stat stat)
{
    if (ctx->stats)
        stat_inc(ctx->stats, stat);
}

/* ---- turns ---- */

double lb_slow_start_factor(const struct lb_policy_spec *spec, const struct host *h, uint64_t now_ms)
{
    uint64_t since = atomic_load_explicit(&h->healthy_since_ms, memory_order_relaxed);
    if (!since || now_ms >= since + spec->slow_start_ms)
        return 1;
    double age = now_ms > since ? (double)(now_ms - since) : 0;
    double factor = age / (double)spec->slow_start_ms;
    if (spec->slow_start_aggression != 1.0)
        factor = pow(factor, 1 / spec->slow_start_aggression);
    double least = spec->slow_start_min_pct / 100;
    return factor < least ? least : factor;
}

/* A host that answers failures at once looks idle, and a cursor finds it as often as others: so what it takes shrinks
 * with the share of failures. */
bool lb_takes_turn(const struct lb_policy_spec *spec, const struct host_group *g, const struct host *h, struct lb_context *ctx)
{
    uint32_t failing = atomic_load_explicit(&h->failing, memory_order_relaxed);
    if (__builtin_expect(failing < FAILING_FROM && ctx->now_ms >= g->slow_until_ms, 1))
        return true;
    if (failing >= FAILING_FROM) {
        failing = failing > FAILING_AT_MOST ? FAILING_AT_MOST : failing;
        if (rng_below(ctx->rng, HOST_FAILING_ONE) < failing)
            return false;
    }
    if (ctx->now_ms >= g->slow_until_ms)
        return true;
    return (double)(rng_next(ctx->rng) >> 11) * 0x1p-53 < lb_slow_start_factor(spec, h, ctx->now_ms);
}

/* ---- priorities ---- */

static uint32_t draw_priority(const uint32_t *healthy, const uint32_t *degraded, size_t stride, uint32_t n, uint32_t at,
                              bool *is_degraded)
{
    uint32_t sum = 0;
    *is_degraded = false;
    for (uint32_t i = 0; i < n; i++) /* all healthy shares first, then the degraded ones */
        if (at < (sum += *(const uint32_t *)((const char *)healthy + i * stride)))
            return i;
    *is_degraded = true;
    for (uint32_t i = 0; i < n; i++)
        if (at < (sum += *(const uint32_t *)((const char *)degraded + i * stride)))
            return i;
    *is_degraded = false;
    return 0;
}

uint32_t host_set_priority_at(const struct host_set *s, const struct lb_context *ctx, uint32_t at, bool *degraded)
{
    const struct host_priority *p = s->priorities;
    if (ctx->skip_priorities && s->priority_count <= PRIORITIES_MAX) {
        uint32_t healthy[PRIORITIES_MAX], ill[PRIORITIES_MAX];
        if (priorities_share(s, ctx->skip_priorities, healthy, ill))
            return draw_priority(healthy, ill, sizeof *ill, s->priority_count, at, degraded);
    }
    return draw_priority(&p->healthy_load, &p->degraded_load, sizeof *p, s->priority_count, at, degraded);
}

static const struct host_priority *choose_priority(const struct host_set *s, struct lb_context *ctx, bool *degraded)
{
    static const struct host_priority nobody;
    const struct host_priority *p = s->priorities;
    *degraded = ctx->one_degraded;
    if (ctx->one_priority)
        return ctx->only_priority < s->priority_count ? p + ctx->only_priority : &nobody;
    *degraded = false;
    if (s->priority_count == 1 && !p->degraded_load)
        return p;
    uint32_t at = (uint32_t)(s->lb->policy->by_hash ? ctx->hash % 100 : rng_below(ctx->rng, 100));
    return p + host_set_priority_at(s, ctx, at, degraded);
}

/* ---- localities ---- */

static const struct host_group *by_weight(const struct host_priority *p, bool degraded)
{
    const uint64_t *turns = degraded ? p->degraded_turns : p->healthy_turns;
    if (!turns)
        return NULL;
    uint64_t at = atomic_fetch_add_explicit(p->locality_cursor, 1, memory_order_relaxed);
    const struct host_locality *l = &p->localities[lb_weights_turn(turns, p->locality_count, at)];
    return degraded ? &l->degraded : &l->healthy;
}

static uint32_t zone_for(const struct host_priority *p, struct lb_context *ctx)
{
    uint32_t n = p->locality_count;
    if (p->zone == ZONE_ROUTING_DIRECT) {
        count(ctx, STAT_CLUSTER_LB_ZONE_ROUTING_ALL_DIRECTLY);
        return 0;
    }
    if (rng_below(ctx->rng, 10000) < p->zone_local_permyriad) {
        count(ctx, STAT_CLUSTER_LB_ZONE_ROUTING_SAMPLED);
        return 0;
    }
    count(ctx, STAT_CLUSTER_LB_ZONE_ROUTING_CROSS_ZONE);
    if (!p->zone_residual[n - 1]) {
        count(ctx, STAT_CLUSTER_LB_ZONE_NO_CAPACITY_LEFT);
        return (uint32_t)rng_below(ctx->rng, n);
    }
    return lb_weights_find(p->zone_residual, n, rng_below(ctx->rng, p->zone_residual[n - 1]));
}

/* NULL: nobody may be chosen. */
static const struct host_group *by_zone(const struct host_set *s, const struct host_priority *p, bool degraded, struct lb_context *ctx)
{
    const struct host_group *whole = degraded ? &p->degraded : &p->healthy;
    if (p->zone == ZONE_ROUTING_NONE)
        return whole;
    if (s->lb->zone_routing_pct < 100 && rng_below(ctx->rng, 100) >= s->lb->zone_routing_pct)
        return whole;
    if (p->local_panic) {
        count(ctx, STAT_CLUSTER_LB_LOCAL_CLUSTER_NOT_OK);
        return s->lb->fail_on_panic ? NULL : whole;
    }
    const struct host_locality *l = &p->localities[zone_for(p, ctx)];
    return degraded ? &l->degraded : &l->healthy;
}

static const struct host_group *choose_group(const struct host_set *s, struct lb_context *ctx)
{
    bool degraded;
    const struct host_priority *p = choose_priority(s, ctx, &degraded);
    if (p->panic) {
        count(ctx, STAT_CLUSTER_LB_HEALTHY_PANIC);
        return s->lb->fail_on_panic ? NULL : &p->all;
    }
    if (s->lb->policy->by_hash) /* tables of healthy hosts only; localities are in their shares */
        return &p->healthy;
    if (s->lb->locality == LB_LOCALITY_WEIGHTED) {
        const struct host_group *g = by_weight(p, degraded);
        return g ? g : degraded ? &p->degraded : &p->healthy;
    }
    return by_zone(s, p, degraded, ctx);
}

/* ---- hosts ---- */

static struct host *pick(const struct host_set *s, struct lb_context *ctx)
{
    const struct host_group *g = choose_group(s, ctx);
    if (!g || !g->count)
        return NULL;
    uint32_t at = s->lb->policy->pick(s->lb, g, ctx);
    return at < g->count ? g->hosts[at] : NULL;
}

struct host *host_set_choose(const struct host_set *s, struct lb_context *ctx)
{
    if (s->lb->policy->choose)
        return s->lb->policy->choose(s, ctx);
    if (s->lb->policy->by_hash && !ctx->has_hash) {
        ctx->hash = rng_next(ctx->rng);
        ctx->has_hash = true;
    }
    struct host *h = pick(s, ctx);
    for (ctx->attempt = 1; h && ctx->skip && ctx->attempt <= ctx->skip_max_attempts && ctx->skip(ctx->skip_arg, h); ctx->attempt++)
        h = pick(s, ctx);
    ctx->attempt = 0;
    return h;
}
