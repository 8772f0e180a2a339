/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts gRPC calls and their messages by method (envoy.filters.http.grpc_stats).
 */
#ifndef PROXY_FILTER_GRPC_STATS_H
#define PROXY_FILTER_GRPC_STATS_H

#include "base/map.h"
#include "proxy/filter/grpc_counts.h"
#include "proxy/filter/http_filter.h"

struct grpc_stats_config {
    struct grpc_counts_table *counts; /* made by link */
    bool all_methods;
    struct map *allowed;              /* "<service>/<method>" -> anything; NULL: no list. Others are counted without names */
    bool emit_filter_state, upstream_stats, replace_dots;
};
extern const struct http_filter_def grpc_stats_filter;

#endif
