/* SPDX-License-Identifier: Apache-2.0
 *
 * What is counted of a route (vhost.<vhost>.route.<stat_prefix>.) and of a virtual cluster
 * (vhost.<vhost>.vcluster.<name>.): one table for both; the router counts, route_config_link makes the
 * scopes (Envoy: route and virtual cluster statistics). Codes come besides, as upstream_rq_<code>.
 */
#ifndef PROXY_ROUTE_ROUTE_STATS_H
#define PROXY_ROUTE_ROUTE_STATS_H

#include "proxy/stats/stats.h"

#define ROUTE_STATS(X)                                                                             \
    X(ROUTE_RQ_TOTAL, COUNTER, NONE, "upstream_rq_total", "Requests sent upstream")                \
    X(ROUTE_RQ_RETRY, COUNTER, NONE, "upstream_rq_retry", "Retries")                               \
    X(ROUTE_RQ_RETRY_LIMIT_EXCEEDED, COUNTER, NONE, "upstream_rq_retry_limit_exceeded", "Not retried: no retry was left") \
    X(ROUTE_RQ_RETRY_OVERFLOW, COUNTER, NONE, "upstream_rq_retry_overflow", "Not retried: the breaker of retries was open") \
    X(ROUTE_RQ_RETRY_SUCCESS, COUNTER, NONE, "upstream_rq_retry_success", "Retries that ended well") \
    X(ROUTE_RQ_TIMEOUT, COUNTER, NONE, "upstream_rq_timeout", "Timed out waiting for a response")  \
    X(ROUTE_RQ_COMPLETED, COUNTER, LAZY, "upstream_rq_completed", "Responses complete")            \
    X(ROUTE_RQ_1XX, COUNTER, LAZY, "upstream_rq_1xx", "")                                          \
    X(ROUTE_RQ_2XX, COUNTER, LAZY, "upstream_rq_2xx", "")                                          \
    X(ROUTE_RQ_3XX, COUNTER, LAZY, "upstream_rq_3xx", "")                                          \
    X(ROUTE_RQ_4XX, COUNTER, LAZY, "upstream_rq_4xx", "")                                          \
    X(ROUTE_RQ_5XX, COUNTER, LAZY, "upstream_rq_5xx", "")                                          \
    X(ROUTE_RQ_TIME, HISTOGRAM, MS, "upstream_rq_time", "Request time")
enum route_stat {
    ROUTE_STATS(STAT_ENUM_ROW)
    STAT_ROUTE_COUNT
};

#endif
