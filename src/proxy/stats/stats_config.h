/* SPDX-License-Identifier: Apache-2.0
 *
 * What the bootstrap says of statistics (metrics.v3.StatsConfig); made and freed by proxy/config,
 * read on the main thread.
 */
#ifndef PROXY_STATS_STATS_CONFIG_H
#define PROXY_STATS_STATS_CONFIG_H

#include "base/arena.h"
#include "proxy/match/string_match.h"

/* A tag taken out of names: the regex's first group is cut from the name, the second (or else the
 * first) is the value; or a fixed value for all. */
struct stats_tag_spec {
    struct str name;
    struct regex *regex;      /* NULL: fixed, or the default tag of this name when fixed_value is null too */
    struct str fixed_value;
};
struct stats_bucket_spec {
    struct string_match match;
    double *bounds; uint32_t bound_count;
};
enum stats_filter { STATS_KEEP_ALL, STATS_REJECT_ALL, STATS_EXCLUDE, STATS_INCLUDE };
struct stats_config {
    struct stats_tag_spec *tags; uint32_t tag_count;
    bool use_all_default_tags; /* true */
    enum stats_filter filter;
    struct string_match *patterns; uint32_t pattern_count; /* of EXCLUDE and INCLUDE: any one matches */
    struct stats_bucket_spec *buckets; uint32_t bucket_count; /* the first match wins */
    struct arena arena;
};
void stats_config_free(struct stats_config **c);
/* Should a statistic of this name exist? c NULL: yes. */
bool stats_config_keeps(const struct stats_config *c, struct str name);

#define STATS_BOUNDS_MAX 512 /* buckets of a histogram; more are not told */
/* Ascending upper bounds of a histogram's buckets: the present configuration's, or Envoy's own. */
const double *stats_bucket_bounds(struct str name, uint32_t *count);
#define STATS_QUANTILES 10
extern const double stats_quantiles[STATS_QUANTILES]; /* those that pages and sinks tell */

#endif
