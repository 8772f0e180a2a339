/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.ratelimit and envoy.filters.network.ratelimit: what they are configured to do
 * (proxy/config/ratelimit.c).
 */
#ifndef PROXY_FILTER_RATELIMIT_H
#define PROXY_FILTER_RATELIMIT_H

#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"
#include "proxy/filter/rate_limit_actions.h"
#include "proxy/route/header_rules.h"
#include "proxy/runtime.h"
#include "proxy/service/grpc_call.h"

enum rate_limit_requests { RL_REQUESTS_BOTH, RL_REQUESTS_INTERNAL, RL_REQUESTS_EXTERNAL };
struct ratelimit_config {
    struct str domain;
    uint32_t stage;
    enum rate_limit_requests requests;
    struct grpc_service service;     /* its timeout is the filter's: 20 ms by default */
    bool failure_mode_deny;
    bool has_deny_fraction; struct runtime_fraction deny_fraction; /* failure_mode_deny_percent */
    bool as_resource_exhausted;
    bool x_ratelimit_headers;        /* DRAFT_VERSION_03 */
    bool no_envoy_header;            /* disable_x_envoy_ratelimited_header */
    uint16_t limited_status, error_status;
    struct header_rules response_headers;
    const char *stat_family;         /* "ratelimit" or "ratelimit.<stat_prefix>"; lives as long as the process */
    struct runtime_fraction enabled, enforced;
    const struct rate_limit_rules *rules; /* the filter's own, which stand for the routes'; NULL */
};
enum rate_limit_vhost { RL_VHOST_OVERRIDE, RL_VHOST_INCLUDE, RL_VHOST_IGNORE };
struct ratelimit_route_config {
    enum rate_limit_vhost vhost;
    const struct rate_limit_rules *rules;
    struct str domain;
};
extern const struct http_filter_def ratelimit_filter;

/* "ratelimit.<name>." */
#define NETWORK_RATELIMIT_STATS(X)                                                                 \
    X(NETWORK_RATELIMIT_TOTAL, COUNTER, NONE, "total", "Connections asked about")                  \
    X(NETWORK_RATELIMIT_ERROR, COUNTER, NONE, "error", "The service failed")                       \
    X(NETWORK_RATELIMIT_OVER_LIMIT, COUNTER, NONE, "over_limit", "Answers over the limit")         \
    X(NETWORK_RATELIMIT_OK, COUNTER, NONE, "ok", "Answers under the limit")                        \
    X(NETWORK_RATELIMIT_FAILURE_MODE_ALLOWED, COUNTER, NONE, "failure_mode_allowed", "Let pass because the service failed") \
    X(NETWORK_RATELIMIT_CX_CLOSED, COUNTER, NONE, "cx_closed", "Connections closed")               \
    X(NETWORK_RATELIMIT_ACTIVE, GAUGE, NONE, "active", "Calls running")
enum network_ratelimit_stat {
    NETWORK_RATELIMIT_STATS(STAT_ENUM_ROW)
    STAT_NETWORK_RATELIMIT_COUNT
};
struct network_rate_limit_entry { struct str key; struct format *value; };
struct network_rate_limit_descriptor {
    struct network_rate_limit_entry *entries; uint32_t count;
    struct rate_limit_descriptor fixed; /* limit and hits; no entries */
};
struct network_ratelimit_config {
    struct str stat_prefix, domain;
    struct grpc_service service;
    bool failure_mode_deny;
    struct network_rate_limit_descriptor *descriptors;
    uint32_t descriptor_count;
    struct stat_scope *stats;
};
extern const struct network_filter_def network_ratelimit_filter;

#endif
