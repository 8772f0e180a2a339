/* SPDX-License-Identifier: Apache-2.0
 *
 * ROUND_ROBIN. One cursor for all workers, so that equal hosts share evenly whatever worker a request
 * lands on. Unequal weights: a smooth order is laid out once (each host's turns spread over the round)
 * where the round is short; where it would be long, the cursor walks a Weyl sequence over the summed
 * weights, which visits every host in proportion and evenly spread without any state.
 */
#include "base/mem.h"
#include "proxy/lb/lb.h"

#define ROUND_MAX 1024    /* longest round that is laid out */
#define TURNS_LOST_MAX 32 /* in a row; then the host is taken as it is: all are alike */

struct lb_schedule {
    uint64_t *sums;     /* NULL when the round is laid out */
    uint32_t round_len;
    uint16_t round[];
};

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* At each place the host that is furthest behind its share goes next. */
static void lay_out(struct lb_schedule *s, const struct host_group *g, uint64_t divisor)
{
    int64_t *credit = mem_zalloc(g->count * sizeof(*credit));
    for (uint32_t i = 0; i < s->round_len; i++) {
        uint32_t best = 0;
        for (uint32_t k = 0; k < g->count; k++) {
            credit[k] += (int64_t)(g->hosts[k]->weight / divisor);
            if (credit[k] > credit[best])
                best = k;
        }
        credit[best] -= s->round_len;
        s->round[i] = (uint16_t)best;
    }
    mem_free(credit);
}

static struct lb_schedule *build(const struct lb_policy_spec *spec, const struct host_group *g)
{
    (void)spec;
    if (lb_weights_are_equal(g))
        return NULL;
    uint64_t divisor = 0, total = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        divisor = gcd(g->hosts[i]->weight, divisor);
        total += g->hosts[i]->weight;
    }
    uint64_t round = total / divisor;
    bool short_round = round <= ROUND_MAX;
    struct lb_schedule *s = mem_zalloc(sizeof(*s) + (short_round ? round * sizeof(s->round[0]) : 0));
    if (short_round) {
        s->round_len = (uint32_t)round;
        lay_out(s, g, divisor);
    } else {
        s->sums = lb_weights_sum(g);
    }
    return s;
}

static void release(struct lb_schedule *s)
{
    mem_free(s->sums);
    mem_free(s);
}

static uint32_t turn(const struct lb_schedule *s, const struct host_group *g)
{
    uint64_t at = atomic_fetch_add_explicit(g->cursor, 1, memory_order_relaxed);
    if (!s)
        return (uint32_t)(at % g->count);
    if (!s->sums)
        return s->round[at % s->round_len];
    return lb_weights_turn(s->sums, g->count, at);
}

/* A host in slow start or one that fails lets part of its turns go to those behind it. */
static uint32_t pick(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    uint32_t at = turn(g->schedule, g);
    for (uint32_t tries = 0; tries < TURNS_LOST_MAX && !lb_takes_turn(spec, g, g->hosts[at], ctx); tries++)
        at = turn(g->schedule, g);
    return at;
}

const struct lb_policy lb_round_robin = {.name = "ROUND_ROBIN", .build = build, .free = release, .pick = pick};
