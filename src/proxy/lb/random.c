/* SPDX-License-Identifier: Apache-2.0
 *
 * RANDOM, in proportion to weights.
 */
#include "proxy/lb/lb.h"

static uint32_t pick_once(const struct host_group *g, struct rng *rng)
{
    if (!g->schedule)
        return (uint32_t)rng_below(rng, g->count);
    const uint64_t *sums = lb_draw_sums(g->schedule);
    return lb_weights_find(sums, g->count, rng_below(rng, sums[g->count - 1]));
}

static uint32_t pick(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    (void)spec;
    return pick_once(g, ctx->rng);
}

const struct lb_policy lb_random = {.name = "RANDOM", .build = lb_draw_build, .free = lb_draw_free, .pick = pick};

static uint32_t pick_none(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    (void)spec, (void)g, (void)ctx;
    return 0;
}

const struct lb_policy lb_cluster_provided = {.name = "CLUSTER_PROVIDED", .pick = pick_none};
