/* SPDX-License-Identifier: Apache-2.0
 *
 * ROUND_ROBIN. One cursor for all workers, so that equal hosts share evenly whatever worker a request
 * lands on. Unequal weights: a smooth order is laid out once (each host's turns spread over the round)
 * where the round is short; where it would be long, the cursor walks a Weyl sequence over the summed
 * weights, which visits every host in proportion and evenly spread without any state.
 */
#include "base/mem.h"
#include "proxy/lb/lb.h"

#define ROUND_MAX 1024 /* longest round that is laid out */
#define WEYL_STEP 0x9e3779b97f4a7c15ull /* 2^64 / golden ratio: the sequence of least discrepancy */

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
static void lay_out(struct lb_schedule *s, struct host *const *hosts, uint32_t n, uint64_t divisor)
{
    int64_t *credit = mem_zalloc(n * sizeof(*credit));
    for (uint32_t i = 0; i < s->round_len; i++) {
        uint32_t best = 0;
        for (uint32_t k = 0; k < n; k++) {
            credit[k] += (int64_t)(hosts[k]->weight / divisor);
            if (credit[k] > credit[best])
                best = k;
        }
        credit[best] -= s->round_len;
        s->round[i] = (uint16_t)best;
    }
    mem_free(credit);
}

static struct lb_schedule *build(const struct lb_policy_spec *spec, struct host *const *hosts, uint32_t n)
{
    (void)spec;
    if (lb_weights_are_equal(hosts, n))
        return NULL;
    uint64_t divisor = 0, total = 0;
    for (uint32_t i = 0; i < n; i++) {
        divisor = gcd(hosts[i]->weight, divisor);
        total += hosts[i]->weight;
    }
    uint64_t round = total / divisor;
    bool short_round = round <= ROUND_MAX;
    struct lb_schedule *s = mem_zalloc(sizeof(*s) + (short_round ? round * sizeof(s->round[0]) : 0));
    if (short_round) {
        s->round_len = (uint32_t)round;
        lay_out(s, hosts, n, divisor);
    } else {
        s->sums = lb_weights_sum(hosts, n);
    }
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
    (void)spec, (void)hosts, (void)ctx;
    uint64_t at = atomic_fetch_add_explicit(cursor, 1, memory_order_relaxed);
    if (!s)
        return (uint32_t)(at % n);
    if (!s->sums)
        return s->round[at % s->round_len];
    unsigned __int128 spread = (unsigned __int128)(at * WEYL_STEP) * s->sums[n - 1];
    return lb_weights_find(s->sums, n, (uint64_t)(spread >> 64));
}

const struct lb_policy lb_round_robin = {"ROUND_ROBIN", build, release, pick};
