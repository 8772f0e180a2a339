/* SPDX-License-Identifier: Apache-2.0
 *
 * RANDOM, in proportion to weights.
 */
#include "base/mem.h"
#include "proxy/lb/lb.h"

struct lb_schedule {
    uint64_t *sums;
};

static struct lb_schedule *build(const struct lb_policy_spec *spec, struct host *const *hosts, uint32_t n)
{
    (void)spec;
    if (lb_weights_are_equal(hosts, n))
        return NULL;
    struct lb_schedule *s = NEW(lb_schedule);
    s->sums = lb_weights_sum(hosts, n);
    return s;
}

static void release(struct lb_schedule *s)
{
    mem_free(s->sums);
    mem_free(s);
}

static uint32_t pick(const struct lb_policy_spec *spec, const struct lb_schedule *s, struct host *const *hosts,
                     uint32_t n, _Atomic uint64_t *cursor, struct lb_context *ctx)
{
    (void)spec, (void)hosts, (void)cursor;
    if (!s)
        return (uint32_t)rng_below(ctx->rng, n);
    return lb_weights_find(s->sums, n, rng_below(ctx->rng, s->sums[n - 1]));
}

const struct lb_policy lb_random = {"RANDOM", build, release, pick};

static uint32_t pick_none(const struct lb_policy_spec *spec, const struct lb_schedule *s, struct host *const *hosts,
                          uint32_t n, _Atomic uint64_t *cursor, struct lb_context *ctx)
{
    (void)spec, (void)s, (void)hosts, (void)n, (void)cursor, (void)ctx;
    return 0;
}

const struct lb_policy lb_cluster_provided = {"CLUSTER_PROVIDED", NULL, NULL, pick_none};
