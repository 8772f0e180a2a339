/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration of the fault filter (extensions.filters.http.fault.v3.HTTPFault); a route's replaces the filter's whole.
 */
#ifndef PROXY_FILTER_FAULT_H
#define PROXY_FILTER_FAULT_H

#include "proxy/filter/http_filter.h"
#include "proxy/match/header_match.h"
#include "proxy/runtime.h"

struct fault_config {
    bool has_delay, delay_by_header;
    uint64_t delay_ms;
    struct runtime_fraction delay_fraction;
    struct str delay_key;            /* runtime: the duration in ms */
    bool has_abort, abort_by_header;
    uint32_t http_status;            /* 0 none */
    int32_t grpc_status;             /* -1 none; used when there is no HTTP status */
    struct runtime_fraction abort_fraction;
    struct str http_status_key, grpc_status_key;
    bool has_rate, rate_by_header;
    uint64_t rate_kbps;
    struct runtime_fraction rate_fraction;

    struct str cluster;              /* only requests to it; "" all */
    struct header_matcher *headers; uint32_t header_count;
    struct str *nodes; uint32_t node_count;
    bool has_max_active; uint64_t max_active;
    struct str max_active_key;
    bool disable_cluster_stats;
    struct meta_value metadata;      /* META_STRUCT with fields: becomes dynamic metadata of what is hit */
    struct stat_scope *stats;        /* http.<prefix>.fault.; the filter's own, routes have none */
};
extern const struct http_filter_def fault_filter;

#endif
