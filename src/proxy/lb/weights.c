/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights as running sums, for policies that choose in proportion. Pure.
 */
#include "base/mem.h"
#include "proxy/lb/lb.h"

#define WEYL_STEP 0x9e3779b97f4a7c15ull /* 2^64 / golden ratio: the sequence of least discrepancy */

bool lb_weights_are_equal(const struct host_group *g)
{
    for (uint32_t i = 1; i < g->count; i++)
        if (g->hosts[i]->weight != g->hosts[0]->weight)
            return false;
    return true;
}

uint64_t *lb_weights_sum(const struct host_group *g)
{
    uint64_t *sums = mem_alloc(g->count * sizeof(*sums)), sum = 0;
    for (uint32_t i = 0; i < g->count; i++)
        sums[i] = sum += g->hosts[i]->weight;
    return sums;
}

/* The schedule is the sums themselves: nothing else is prepared. */
struct lb_schedule *lb_draw_build(const struct lb_policy_spec *spec, const struct host_group *g)
{
    (void)spec;
    return lb_weights_are_equal(g) ? NULL : (struct lb_schedule *)lb_weights_sum(g);
}

void lb_draw_free(struct lb_schedule *s)
{
    mem_free(s);
}

const uint64_t *lb_draw_sums(const struct lb_schedule *s)
{
    return (const uint64_t *)s;
}

uint32_t lb_weights_find(const uint64_t *sums, uint32_t n, uint64_t point)
{
    uint32_t low = 0, high = n - 1;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (point < sums[mid])
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

uint32_t lb_weights_turn(const uint64_t *sums, uint32_t n, uint64_t at)
{
    unsigned __int128 spread = (unsigned __int128)(at * WEYL_STEP) * sums[n - 1];
    return lb_weights_find(sums, n, (uint64_t)(spread >> 64));
}

struct lb_spread lb_spread_of(const uint64_t *counts, uint32_t n)
{
    struct lb_spread spread = {0};
    for (uint32_t i = 0; i < n; i++) {
        if (!counts[i])
            continue;
        spread.least = !spread.least || counts[i] < spread.least ? counts[i] : spread.least;
        spread.most = counts[i] > spread.most ? counts[i] : spread.most;
    }
    return spread;
}
