/* SPDX-License-Identifier: Apache-2.0
 *
 * How histograms are told: bounds of buckets, quantiles. Envoy's documentation, "Statistics overview". Main thread.
 */
#include "base/check.h"
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

const double stats_quantiles[STATS_QUANTILES] = {0, .25, .5, .75, .9, .95, .99, .995, .999, 1};
static const double default_bounds[] = {
    0.5,  1,    5,     10,    25,    50,     100,    250,     500,    1000,
    2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
};
_Static_assert(ARRAY_LEN(default_bounds) <= STATS_BOUNDS_MAX, "bounds");

const double *stats_bucket_bounds(struct str name, uint32_t *count)
{
    const struct stats_config *c = stats_config_current();
    for (uint32_t i = 0; c && i < c->bucket_count; i++)
        if (c->buckets[i].bound_count && string_matches(&c->buckets[i].match, name)) {
            uint32_t n = c->buckets[i].bound_count;
            *count = n < STATS_BOUNDS_MAX ? n : STATS_BOUNDS_MAX;
            return c->buckets[i].bounds;
        }
    *count = ARRAY_LEN(default_bounds);
    return default_bounds;
}
