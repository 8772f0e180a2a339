/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights as running sums, for policies that choose in proportion. Pure.
 */
#include "base/mem.h"
#include "proxy/lb/lb.h"

bool lb_weights_are_equal(struct host *const *hosts, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (hosts[i]->weight != hosts[0]->weight)
            return false;
    return true;
}

uint64_t *lb_weights_sum(struct host *const *hosts, uint32_t n)
{
    uint64_t *sums = mem_alloc(n * sizeof(*sums)), sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sums[i] = sum += hosts[i]->weight;
    return sums;
}

/* The schedule is the sums themselves: nothing else is prepared. */
struct lb_schedule *lb_draw_build(const struct lb_policy_spec *spec, struct host *const *hosts, uint32_t n)
{
    (void)spec;
    return lb_weights_are_equal(hosts, n) ? NULL : (struct lb_schedule *)lb_weights_sum(hosts, n);
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
