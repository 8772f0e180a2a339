/* SPDX-License-Identifier: Apache-2.0
 *
 * Bandwidth limits (extensions.filters.http.bandwidth_limit.v3): one bucket for all streams of a configuration, and each way.
 */
#ifndef PROXY_FILTER_BANDWIDTH_LIMIT_H
#define PROXY_FILTER_BANDWIDTH_LIMIT_H

#include "proxy/filter/stream_rate.h"

struct bandwidth_config {
    bool limit_request, limit_response;
    struct str enabled_key; bool enabled;
    uint64_t interval_us;     /* 50 ms */
    bool trailers;            /* tell the delays in response trailers */
    struct str trailer_prefix; /* with its '-'; "" none */
    struct rate_bucket *bucket; /* shared by workers */
    struct str stat_prefix;
    struct stat_scope *stats; /* <stat_prefix>.http_bandwidth_limit. */
};
extern const struct http_filter_def bandwidth_limit_filter;
void bandwidth_limit_link(void *config); /* of routes; the filter's own through its link */

#endif
