/* SPDX-License-Identifier: Apache-2.0
 *
 * client_side_weighted_round_robin (gRFC A58): hosts go round by weights that follow from the load they
 * report with their answers (orca.c). The main thread weighs anew every weight_update_period and
 * publishes a set; a host whose reports are too young (blackout) or too old (expiration) counts as the
 * median of the others.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/lb/lb.h"

#define TURNS_LOST_MAX 32

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t settled(const struct host *h)
{
    return atomic_load_explicit(&h->settled_weight, memory_order_relaxed);
}

static struct lb_schedule *build(const struct lb_policy_spec *spec, const struct host_group *g)
{
    (void)spec;
    uint32_t n = 0, *known = mem_alloc(g->count * sizeof(*known));
    for (uint32_t i = 0; i < g->count; i++)
        if (settled(g->hosts[i]))
            known[n++] = settled(g->hosts[i]);
    qsort(known, n, sizeof(*known), ascending);
    uint64_t *sums = NULL, sum = 0;
    if (n) {
        uint32_t median = n % 2 ? known[n / 2] : (uint32_t)(((uint64_t)known[n / 2 - 1] + known[n / 2]) / 2);
        sums = mem_alloc(g->count * sizeof(*sums));
        for (uint32_t i = 0; i < g->count; i++)
            sums[i] = sum += settled(g->hosts[i]) ? settled(g->hosts[i]) : median;
    }
    mem_free(known);
    return (struct lb_schedule *)sums;
}

static uint32_t turn(const struct host_group *g)
{
    uint64_t at = atomic_fetch_add_explicit(g->cursor, 1, memory_order_relaxed);
    return g->schedule ? lb_weights_turn(lb_draw_sums(g->schedule), g->count, at) : (uint32_t)(at % g->count);
}

static uint32_t pick(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    uint32_t at = turn(g);
    for (uint32_t tries = 0; tries < TURNS_LOST_MAX && !lb_takes_turn(spec, g, g->hosts[at], ctx); tries++)
        at = turn(g);
    return at;
}

const struct lb_policy lb_client_side_weighted = {
    .name = "CLIENT_SIDE_WEIGHTED_ROUND_ROBIN", .build = build, .free = lb_draw_free, .pick = pick};

bool lb_settle_weights(const struct lb_policy_spec *spec, const struct host_set *s, uint64_t now_ms)
{
    bool changed = false;
    for (uint32_t i = 0; i < s->count; i++) {
        struct host *h = s->hosts[i];
        uint64_t since = atomic_load_explicit(&h->reported_since_ms, memory_order_relaxed);
        uint64_t at = atomic_load_explicit(&h->reported_at_ms, memory_order_relaxed);
        uint32_t weight = atomic_load_explicit(&h->reported_weight, memory_order_relaxed);
        if (since && now_ms > at + spec->orca->expiration_ms) { /* the next report begins a new blackout */
            atomic_store_explicit(&h->reported_since_ms, 0, memory_order_relaxed);
            weight = 0;
        }
        if (!since || now_ms < since + spec->orca->blackout_ms)
            weight = 0;
        changed = changed || weight != settled(h);
        atomic_store_explicit(&h->settled_weight, weight, memory_order_relaxed);
    }
    return changed;
}
