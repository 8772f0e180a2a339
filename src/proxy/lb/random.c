/* SPDX-License-Identifier: Apache-2.0
 *
 * RANDOM, in proportion to weights.
 */
#include "proxy/lb/lb.h"

static uint32_t pick(const struct lb_policy_spec *spec, const struct lb_schedule *s, struct host *const *hosts,
                     uint32_t n, _Atomic uint64_t *cursor, struct lb_context *ctx)
{
    (void)spec, (void)hosts, (void)cursor;
    if (!s)
        return (uint32_t)rng_below(ctx->rng, n);
    return lb_weights_find(lb_draw_sums(s), n, rng_below(ctx->rng, lb_draw_sums(s)[n - 1]));
}

const struct lb_policy lb_random = {"RANDOM", lb_draw_build, lb_draw_free, pick};

static uint32_t pick_none(const struct lb_policy_spec *spec, const struct lb_schedule *s, struct host *const *hosts,
                          uint32_t n, _Atomic uint64_t *cursor, struct lb_context *ctx)
{
    (void)spec, (void)s, (void)hosts, (void)n, (void)cursor, (void)ctx;
    return 0;
}

const struct lb_policy lb_cluster_provided = {"CLUSTER_PROVIDED", NULL, NULL, pick_none};
