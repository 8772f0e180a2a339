/* SPDX-License-Identifier: Apache-2.0
 *
 * LEAST_REQUEST. Equal weights: of choice_count hosts the one with the fewest requests running; the
 * first of them goes round by a cursor that all workers share, so that idle hosts, which all tie, share
 * evenly. FULL_SCAN looks at all. Unequal weights: in proportion to weight / (running + 1) ^
 * active_request_bias (Envoy: LeastRequestLbConfig), over all hosts where they are few, else over a
 * sample drawn by weight. Which of the two holds follows from the configured weights alone.
 */
#include <math.h>

#include "proxy/lb/lb.h"

#define SAMPLE_MAX 32  /* hosts weighed in one pick */
#define REDRAWS_MAX 32 /* of hosts that let their turn go */

static uint32_t active(const struct host *h)
{
    return atomic_load_explicit(&h->stats[HOST_RQ_ACTIVE], memory_order_relaxed);
}

static uint32_t go_round(const struct host_group *g)
{
    return (uint32_t)(atomic_fetch_add_explicit(g->cursor, 1, memory_order_relaxed) % g->count);
}

static uint32_t pick_of_few(uint32_t choices, const struct host_group *g, struct rng *rng)
{
    uint32_t best = go_round(g);
    for (uint32_t i = 1; i < choices && active(g->hosts[best]); i++) {
        uint32_t other = (uint32_t)rng_below(rng, g->count);
        if (active(g->hosts[other]) < active(g->hosts[best]))
            best = other;
    }
    return best;
}

/* From a place that moves on, so that ties are even. */
static uint32_t pick_of_all(const struct host_group *g)
{
    uint32_t from = go_round(g), best = from;
    for (uint32_t i = 1; i < g->count && active(g->hosts[best]); i++) {
        uint32_t other = from + i < g->count ? from + i : from + i - g->count;
        if (active(g->hosts[other]) < active(g->hosts[best]))
            best = other;
    }
    return best;
}

static double lightness(const struct lb_policy_spec *spec, const struct host *h)
{
    double running = (double)active(h) + 1;
    if (spec->active_request_bias == 0)
        return 1;
    return 1 / (spec->active_request_bias == 1.0 ? running : pow(running, spec->active_request_bias));
}

static double draw(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

static uint32_t draw_among(const double *part, uint32_t n, double total, struct rng *rng)
{
    double point = draw(rng) * total;
    uint32_t i = 0;
    for (; i + 1 < n && point >= part[i]; i++)
        point -= part[i];
    return i;
}

static uint32_t pick_weighed(const struct lb_policy_spec *spec, const struct host_group *g, struct rng *rng)
{
    const uint64_t *sums = lb_draw_sums(g->schedule);
    double part[SAMPLE_MAX], total = 0;
    uint32_t who[SAMPLE_MAX], n = g->count <= SAMPLE_MAX ? g->count : SAMPLE_MAX;
    for (uint32_t i = 0; i < n; i++) {
        bool all = g->count <= SAMPLE_MAX;
        who[i] = all ? i : lb_weights_find(sums, g->count, rng_below(rng, sums[g->count - 1]));
        part[i] = lightness(spec, g->hosts[who[i]]) * (all ? g->hosts[i]->weight : 1);
        total += part[i];
    }
    return who[draw_among(part, n, total, rng)];
}

static uint32_t pick_once(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    if (g->schedule)
        return pick_weighed(spec, g, ctx->rng);
    if (spec->full_scan)
        return pick_of_all(g);
    return pick_of_few(spec->choice_count ? spec->choice_count : 2, g, ctx->rng);
}

static uint32_t pick(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    uint32_t at = pick_once(spec, g, ctx);
    for (uint32_t tries = 0; tries < REDRAWS_MAX && !lb_takes_turn(spec, g, g->hosts[at], ctx); tries++)
        at = pick_once(spec, g, ctx);
    return at;
}

const struct lb_policy lb_least_request = {.name = "LEAST_REQUEST", .build = lb_draw_build, .free = lb_draw_free, .pick = pick};
