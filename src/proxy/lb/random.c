/* SPDX-License-Identifier: Apache-2.0
 *
 * RANDOM: every host as likely as any other. Weights don't count (Envoy: "the random load balancer
 * selects a random available host").
 */
#include "proxy/lb/lb.h"

static uint32_t pick(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    (void)spec;
    return (uint32_t)rng_below(ctx->rng, g->count);
}

const struct lb_policy lb_random = {.name = "RANDOM", .pick = pick};

static uint32_t pick_none(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    (void)spec, (void)g, (void)ctx;
    return 0;
}

const struct lb_policy lb_cluster_provided = {.name = "CLUSTER_PROVIDED", .pick = pick_none};
