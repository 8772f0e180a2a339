/* SPDX-License-Identifier: Apache-2.0
 *
 * LEAST_REQUEST: of a few hosts drawn at random (choice_count, 2) the one with the fewest requests
 * running. Unequal weights draw in proportion and compare requests per weight, the more so the higher
 * active_request_bias is (Envoy: LeastRequestLbConfig). Ties go to the first drawn, which is random.
 */
#include <math.h>

#include "proxy/lb/lb.h"

static uint32_t active(const struct host *h)
{
    return atomic_load_explicit(&h->stats[HOST_RQ_ACTIVE], memory_order_relaxed);
}

static uint32_t pick_equal(uint32_t choices, struct host *const *hosts, uint32_t n, struct rng *rng)
{
    uint32_t best = (uint32_t)rng_below(rng, n);
    for (uint32_t i = 1; i < choices; i++) {
        uint32_t other = (uint32_t)rng_below(rng, n);
        if (active(hosts[other]) < active(hosts[best]))
            best = other;
    }
    return best;
}

static double burden(const struct lb_policy_spec *spec, const struct host *h)
{
    double running = (double)active(h) + 1;
    if (spec->active_request_bias != 1.0)
        running = pow(running, spec->active_request_bias);
    return running / h->weight;
}

static uint32_t pick(const struct lb_policy_spec *spec, const struct lb_schedule *s, struct host *const *hosts,
                     uint32_t n, _Atomic uint64_t *cursor, struct lb_context *ctx)
{
    (void)cursor;
    uint32_t choices = spec->choice_count ? spec->choice_count : 2;
    if (!s)
        return pick_equal(choices, hosts, n, ctx->rng);
    uint32_t best = lb_weights_find(lb_draw_sums(s), n, rng_below(ctx->rng, lb_draw_sums(s)[n - 1]));
    for (uint32_t i = 1; i < choices; i++) {
        uint32_t other = lb_weights_find(lb_draw_sums(s), n, rng_below(ctx->rng, lb_draw_sums(s)[n - 1]));
        /* Both were drawn by weight already: compare what they carry against what was to be expected of them. */
        if (burden(spec, hosts[other]) < burden(spec, hosts[best]))
            best = other;
    }
    return best;
}

const struct lb_policy lb_least_request = {"LEAST_REQUEST", lb_draw_build, lb_draw_free, pick};
