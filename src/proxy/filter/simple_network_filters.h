/* SPDX-License-Identifier: Apache-2.0
 *
 * The small network filters: each in a file of its own, declared together.
 */
#ifndef PROXY_FILTER_SIMPLE_NETWORK_FILTERS_H
#define PROXY_FILTER_SIMPLE_NETWORK_FILTERS_H

#include "base/arena.h"
#include "proxy/filter/network_filter.h"
#include "proxy/filter/token_bucket.h"
#include "proxy/log/access_log.h"
#include "proxy/runtime.h"

extern const struct network_filter_def echo_filter;                    /* no configuration */
extern const struct network_filter_def direct_response_filter;
extern const struct network_filter_def connection_limit_filter;
extern const struct network_filter_def network_local_ratelimit_filter;
extern const struct network_filter_def sni_cluster_filter;             /* no configuration */
extern const struct network_filter_def network_set_filter_state_filter; /* struct set_filter_state_config */

struct direct_response_config { struct str text; };

struct connection_limit_config {
    struct str stat_prefix;
    uint64_t max_connections;
    uint64_t delay_ms;                /* 0: refused at once */
    struct str runtime_key; bool enabled;
    _Atomic uint64_t connections;     /* of all workers */
    struct stat_scope *stats;         /* made by link */
};
#define CONNECTION_LIMIT_STATS(X)                                                                  \
    X(CONNECTION_LIMIT_ACTIVE, GAUGE, NONE, "active_connections", "Connections counted now")       \
    X(CONNECTION_LIMIT_LIMITED, COUNTER, NONE, "limited_connections", "Connections refused")
enum connection_limit_stat { CONNECTION_LIMIT_STATS(STAT_ENUM_ROW) STAT_CONNECTION_LIMIT_COUNT };

/* Buckets with the same share_key and numbers are one. */
struct shared_bucket { uint32_t refs; struct token_bucket_spec spec; struct token_bucket bucket; };
struct network_local_ratelimit_config {
    struct str stat_prefix, share_key;
    struct token_bucket_spec spec;
    struct shared_bucket *bucket;
    struct str runtime_key; bool enabled;
    struct stat_scope *stats;         /* made by link */
};
struct shared_bucket *shared_bucket_get(struct str key, const struct token_bucket_spec *spec); /* main thread; "": one's own */
void shared_bucket_unref(struct shared_bucket **b);

/* What formats may look at of a connection. */
void downstream_describe(const struct downstream *d, struct stream_info *info);

#endif
