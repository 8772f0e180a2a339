/* SPDX-License-Identifier: Apache-2.0
 *
 * The health_check filter: answers health checks of this proxy itself, or marks the service's own
 * answers to them.
 */
#ifndef PROXY_FILTER_HEALTH_CHECK_H
#define PROXY_FILTER_HEALTH_CHECK_H

#include <stdatomic.h>

#include "proxy/filter/http_filter.h"
#include "proxy/match/header_match.h"

/* The last answer that passed through, for a while: status, degraded, and the period it came in. All workers' own. */
struct health_cache {
    _Atomic uint64_t answer; /* period << 17 | degraded << 16 | status; 0: none */
};
struct health_filter_config {
    bool pass_through;
    uint64_t cache_us;           /* 0: no cache */
    struct health_cache *cache;
    struct header_matcher *headers; uint32_t header_count; /* all must match for a request to be a check */
    struct cluster_minimum { struct str cluster; double percent; } *minimums;
    uint32_t minimum_count;
};
extern const struct http_filter_def health_check_filter;

#endif
