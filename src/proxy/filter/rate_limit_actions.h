/* SPDX-License-Identifier: Apache-2.0
 *
 * route.v3.RateLimit: rules that make descriptors (lists of key and value) of a request, for the global rate-limit
 * service and for the local buckets. Read by proxy/config/rate_limits.c; pure at run time.
 */
#ifndef PROXY_FILTER_RATE_LIMIT_ACTIONS_H
#define PROXY_FILTER_RATE_LIMIT_ACTIONS_H

#include "base/arena.h"
#include "proxy/log/access_log.h"
#include "proxy/match/header_match.h"
#include "proxy/metadata.h"
#include "proxy/route/match.h"
#include "proxy/stream_info.h"

enum rate_limit_action_kind {
    RL_SOURCE_CLUSTER, RL_DESTINATION_CLUSTER, RL_REQUEST_HEADER, RL_QUERY_PARAMETER, RL_REMOTE_ADDRESS,
    RL_MASKED_REMOTE_ADDRESS, RL_GENERIC_KEY, RL_HEADER_MATCH, RL_QUERY_MATCH, RL_METADATA,
};
struct metadata_path { struct str space; struct str *path; uint32_t count; };
struct rate_limit_action {
    enum rate_limit_action_kind kind;
    struct str key;              /* of the descriptor's entry */
    struct str value;            /* where it is fixed; '%' means nothing in it, as in Envoy by default */
    struct str name;             /* header (lower case), query parameter */
    bool skip_if_absent, expect_match;
    struct header_matcher *headers; uint32_t header_count;
    struct query_matcher *queries; uint32_t query_count;
    struct metadata_path metadata; bool of_route; /* METADATA: the route's own instead of the request's dynamic one */
    struct str fallback;         /* METADATA: default_value */
    uint8_t v4_bits, v6_bits;
};
struct rate_limit_rule {
    uint32_t stage;
    struct str disable_key;      /* whole runtime key; "" none */
    struct rate_limit_action *actions; uint32_t action_count;
    struct metadata_path override; bool has_override; /* limit.dynamic_metadata */
    bool has_hits; uint64_t hits; struct format *hits_format;
    bool on_stream_done;         /* apply_on_stream_done */
};
#define RATE_LIMIT_STAGES 11     /* 0..10 */
struct rate_limit_rules {        /* in an arena but for formats and matchers */
    struct rate_limit_rule *items; uint32_t count;
    struct str local_cluster;    /* the node's */
};
void rate_limit_rules_fini(struct rate_limit_rules *r);

struct rate_limit_entry { struct str key, value; };
struct rate_limit_descriptor {
    struct rate_limit_entry *entries; uint32_t count;
    bool has_limit; uint32_t limit_requests; uint32_t limit_unit; /* type.v3.RateLimitUnit */
    bool has_hits; uint64_t hits;
};
struct rate_limit_descriptors { struct rate_limit_descriptor *items; uint32_t count, cap; };

struct rate_limit_request {      /* what rules look at */
    const struct headers *headers;
    const struct stream_info *info;
    struct str cluster;          /* destination, as decided */
    const struct metadata *route_metadata;
    uint64_t random;             /* for disable keys that hold a fraction */
    const struct format_context *format;
};
/* Appends a descriptor (all in `a`) for each rule of this stage whose actions all apply. `stage` < 0: every stage. */
void rate_limit_describe(const struct rate_limit_rules *r, int stage, bool on_stream_done, const struct rate_limit_request *rq,
                         struct arena *a, struct rate_limit_descriptors *out);

#endif
