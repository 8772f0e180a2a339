/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits the rate of requests by token buckets of this process (envoy.filters.http.local_ratelimit).
 */
#ifndef PROXY_FILTER_LOCAL_RATELIMIT_H
#define PROXY_FILTER_LOCAL_RATELIMIT_H

#include "base/list.h"
#include "proxy/filter/http_filter.h"
#include "proxy/filter/rate_limit_actions.h"
#include "proxy/filter/token_bucket.h"
#include "proxy/route/header_rules.h"
#include "proxy/runtime.h"
#include "proxy/stats/stats.h"

struct local_descriptor {
    struct rate_limit_entry *entries; uint32_t count; /* a null value stands for any */
    struct token_bucket_spec spec;
    bool is_dynamic;                  /* a bucket for every set of values */
    uint32_t first_bucket;            /* in local_buckets.items; dynamic: of `max_dynamic` */
};
struct local_buckets {                /* of all workers, or of one connection */
    struct token_bucket *items;
    struct dynamic_slot { _Atomic uint64_t hash, used_us; } *slots; /* of items, from `dynamic_at` on */
};
struct local_ratelimit_config {
    struct runtime_fraction enabled, enforced; /* default: never */
    uint16_t status;                  /* 429 */
    bool has_default; struct token_bucket_spec spec;
    struct header_rules request_rules; /* when not enforced */
    struct header_rules response_rules;
    struct local_descriptor *descriptors; uint32_t descriptor_count; /* the slowest first */
    uint32_t bucket_count, dynamic_at, max_dynamic; /* [0] is the default one */
    uint32_t stage;
    bool per_connection, rate_limit_headers, always_default, resource_exhausted;
    enum { VHOST_LIMITS_OVERRIDE, VHOST_LIMITS_INCLUDE, VHOST_LIMITS_IGNORE } vhost_limits;
    const struct rate_limit_rules *rules; /* the filter's own; NULL: the route's */
    struct local_buckets shared;
    struct str stat_prefix;
    struct stat_scope *stats;         /* made by link, those of routes too */
    struct list node;                 /* of all configurations; main thread */
};
extern const struct http_filter_def local_ratelimit_filter; /* per route: the same struct */
void local_ratelimit_config_made(struct local_ratelimit_config *c); /* main thread, by the reader */
void local_ratelimit_config_free(void *config);

#define LOCAL_RATELIMIT_STATS(X)                                                                   \
    X(LOCAL_RL_ENABLED, COUNTER, NONE, "enabled", "Requests looked at")                            \
    X(LOCAL_RL_ENFORCED, COUNTER, NONE, "enforced", "Requests answered with the status")           \
    X(LOCAL_RL_RATE_LIMITED, COUNTER, NONE, "rate_limited", "Requests for which there was no token") \
    X(LOCAL_RL_OK, COUNTER, NONE, "ok", "Requests under the limit")                                \
    X(LOCAL_RL_SHADOW_MODE, COUNTER, NONE, "shadow_mode", "0: no bucket is in shadow mode")
enum local_ratelimit_stat { LOCAL_RATELIMIT_STATS(STAT_ENUM_ROW) STAT_LOCAL_RL_COUNT };

#endif
