/* SPDX-License-Identifier: Apache-2.0
 *
 * Routing: pure; a request in, a decision out. Tables are built on the main thread, read by all.
 * match.h says when a route is taken, this header what it says then, rewrite.h and redirect.h how a
 * request or an answer is made from it.
 */
#ifndef PROXY_ROUTE_ROUTE_H
#define PROXY_ROUTE_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "http/codec/headers.h"
#include "proxy/cluster/slot.h"
#include "proxy/match/header_match.h"
#include "proxy/match/string_match.h"
#include "proxy/metadata.h"
#include "proxy/route/header_rules.h"
#include "proxy/route/match.h"
#include "proxy/runtime.h"

struct cluster;
struct stream_info;

enum route_action { ROUTE_CLUSTER, ROUTE_DIRECT_RESPONSE, ROUTE_REDIRECT, ROUTE_NON_FORWARDING };
struct upgrade_spec { struct str type; bool enabled; bool connect_terminate; bool connect_allow_post; };

/* ---- per-route settings of filters (typed_per_filter_config) ---- */
struct filter_override {
    struct str name;                 /* the filter's configured name in its chain */
    const void *config;              /* what the filter's per-route reader made; NULL when only `disabled` is said */
    void (*free_config)(void *config);
    void (*link)(void *config);      /* main thread, once statistics stand (its scopes); NULL none */
    bool disabled;                   /* FilterConfig.disabled */
    bool says_enabled;               /* FilterConfig with disabled: false, for a filter that is off by default */
};
struct filter_overrides { struct filter_override *items; uint32_t count; };

/* ---- retries (route.v3.RetryPolicy): the route's policy, else its virtual host's, and what a request's headers add ---- */
#define RETRY_ON_TABLE(X)                                                                          \
    X(0, 5XX, "5xx") X(1, GATEWAY_ERROR, "gateway-error") X(2, RESET, "reset")                     \
    X(3, RESET_BEFORE_REQUEST, "reset-before-request") X(4, CONNECT_FAILURE, "connect-failure")    \
    X(5, REFUSED_STREAM, "refused-stream") X(6, RETRIABLE_4XX, "retriable-4xx")                    \
    X(7, GRPC_CANCELLED, "cancelled") X(8, GRPC_DEADLINE_EXCEEDED, "deadline-exceeded")            \
    X(9, GRPC_INTERNAL, "internal") X(10, GRPC_RESOURCE_EXHAUSTED, "resource-exhausted")           \
    X(11, GRPC_UNAVAILABLE, "unavailable") X(12, RETRIABLE_STATUS_CODES, "retriable-status-codes") \
    X(13, RETRIABLE_HEADERS, "retriable-headers") X(14, ENVOY_RATELIMITED, "envoy-ratelimited")    \
    X(15, HTTP3_POST_CONNECT_FAILURE, "http3-post-connect-failure")
enum retry_on {
#define X(bit, name, text) RETRY_ON_##name = 1u << (bit),
    RETRY_ON_TABLE(X)
#undef X
};
enum retry_reset_format { RETRY_RESET_SECONDS, RETRY_RESET_UNIX_TIMESTAMP };
struct retry_policy {
    uint32_t on;                     /* enum retry_on bits */
    uint32_t num_retries;            /* 1 */
    uint64_t per_try_timeout_ms, per_try_idle_timeout_ms; /* 0 none */
    uint64_t base_interval_ms;       /* 0 = 25 (runtime upstream.base_retry_backoff_ms) */
    uint64_t max_interval_ms;        /* 0 = 10 times the base */
    struct { struct str name; enum retry_reset_format format; } *reset_headers; uint32_t reset_header_count;
    uint64_t reset_max_interval_ms;  /* rate-limited back-off; 300 s */
    uint32_t *status_codes; uint32_t status_code_count;
    struct header_matcher *response_headers; uint32_t response_header_count; /* retriable_headers */
    struct header_matcher *request_headers; uint32_t request_header_count;   /* retriable_request_headers: empty = all */
    bool skip_previous_hosts, skip_canary_hosts;     /* retry_host_predicate */
    struct metadata *omit_host_metadata;             /* retry_host_predicate omit_host_metadata; NULL */
    uint32_t previous_priorities_frequency;          /* retry_priority previous_priorities: update_frequency; 0 none */
    uint32_t host_selection_attempts;                /* host_selection_retry_max_attempts; 1 */
};
struct hedge_policy {
    uint32_t initial_requests;       /* 1 */
    uint64_t additional_numerator, additional_denominator; /* additional_request_chance; 0/100 */
    bool on_per_try_timeout;
};

/* ---- shadowing ---- */
struct mirror_policy {
    struct str cluster_name;         /* or … */
    struct str cluster_header;       /* … lower case: the cluster is named by this request header */
    struct cluster_slot *cluster;
    struct runtime_fraction fraction;
    bool has_fraction;
    bool trace_sampled; bool has_trace_sampled;
    bool disable_host_suffix;        /* disable_shadow_host_suffix_append */
    struct str host_rewrite;         /* host_rewrite_literal; "" none */
    struct header_rules request_rules;
};

/* ---- hash policies ---- */
enum hash_kind { HASH_HEADER, HASH_COOKIE, HASH_SOURCE_IP, HASH_QUERY_PARAMETER, HASH_FILTER_STATE };
struct hash_policy {
    enum hash_kind kind;
    bool terminal;
    struct str name;                 /* header (lower case), cookie, query parameter, filter state key */
    struct regex *regex; struct str substitution;        /* HEADER: regex_rewrite; NULL none */
    bool has_ttl; uint64_t ttl_s; struct str path;       /* COOKIE: made when it is missing (ttl set) */
    struct { struct str name, value; } *attributes; uint32_t attribute_count;
};

struct max_stream_duration {
    bool has_max; uint64_t max_ms;                 /* 0 = none */
    bool has_grpc_max; uint64_t grpc_max_ms;       /* grpc_timeout_header_max; 0 = as the client says */
    uint64_t grpc_offset_ms;
    bool is_older_form;                            /* RouteAction.max_grpc_timeout: grpc-timeout stands for the route's timeout instead */
};

struct internal_redirect_policy {    /* NULL in a route: off */
    uint32_t max_redirects;          /* 1 */
    uint32_t *codes; uint32_t code_count;          /* {302} */
    bool allow_cross_scheme;
    bool previous_routes, safe_cross_scheme;       /* predicates */
    struct str *allow_listed_routes; uint32_t allow_listed_count; bool has_allow_list;
    struct str *copied_headers; uint32_t copied_header_count; /* response_headers_to_copy; lower case */
};

struct weighted_cluster {
    struct str name;                 /* "" when cluster_header */
    struct str cluster_header;
    struct cluster_slot *cluster;
    uint32_t weight;
    struct str runtime_key;          /* <prefix>.<name>; "" none */
    struct str host_rewrite;         /* host_rewrite_literal */
    struct header_rules request_rules, response_rules;
    struct filter_overrides overrides;
    const struct metadata *metadata_match; /* merged over the route's */
};

struct rate_limit_rules;             /* filter/rate_limit_actions.h: rate_limits of a route or virtual host */
struct redirect_rule;                /* route/redirect.h */
struct rewrite_rule;                 /* route/rewrite.h: prefix, regex, path-template and host rewrites; NULL: none */
struct cors_policy;
struct virtual_host;
/* route.v3.Tracing: what isn't set is as the connection manager says. */
struct tracing_override {
    struct runtime_fraction client, random, overall; bool has_client, has_random, has_overall;
    struct custom_tag *custom_tags; uint32_t custom_tag_count; /* proxy/custom_tag.h */
    struct format *operation, *upstream_operation; /* owned; NULL */
};

struct route_entry {
    struct str name;
    struct str stat_prefix;          /* vhost.<vhost>.route.<stat_prefix>.; "" none */
    struct route_match match;
    enum route_action action;
    const struct virtual_host *vhost;
    struct header_rules request_rules, response_rules;
    struct filter_overrides overrides;
    const struct metadata *metadata; /* the route's own, for matchers, logs and filters; NULL */
    struct str decorator_operation; bool decorator_propagate;
    struct tracing_override *tracing;/* proxy/trace: client/random/overall sampling, custom tags; NULL */
    uint64_t filter_body_limit_bytes; /* request_body_buffer_limit: what filters may hold back, where it is more; 0 */
    uint64_t request_body_limit_bytes; bool has_body_limit; /* per_request_buffer_limit_bytes, request_body_buffer_limit */
    struct stat_scope *stats;        /* made by route_config_link when stat_prefix is set */

    /* ROUTE_CLUSTER */
    struct str cluster_name;
    struct cluster_slot *cluster;    /* where none stands: answered with cluster_not_found */
    struct str cluster_header;       /* lower case: the cluster is named by this request header; "" */
    struct weighted_cluster *weighted; uint32_t weighted_count;
    uint64_t weight_total;
    struct str weight_header;        /* weighted_clusters.header_name: the random value comes from it; "" */
    bool weight_by_hash;             /* use_hash_policy */
    const struct metadata *metadata_match; /* subset criteria; NULL */
    const struct rewrite_rule *rewrite;
    unsigned priority;
    int64_t timeout_ms;              /* 15000; 0 = none */
    bool timeout_is_default;
    int64_t idle_timeout_ms;         /* -1 = the HCM's stream idle timeout */
    int64_t flush_timeout_ms;        /* -1 */
    const struct max_stream_duration *max_stream_duration;
    uint16_t cluster_not_found_status; /* 503 */
    struct upgrade_spec *upgrades; uint32_t upgrade_count;
    const struct retry_policy *retry; /* NULL: none */
    const struct hedge_policy *hedge; /* NULL: none */
    const struct internal_redirect_policy *internal_redirect;
    struct mirror_policy *mirrors; uint32_t mirror_count; /* the route's, else its virtual host's, else the configuration's */
    struct hash_policy *hashes; uint32_t hash_count;
    const struct rate_limit_rules *rate_limits; bool include_vhost_rate_limits;
    bool include_attempt_count_in_request, include_attempt_count_in_response; /* the virtual host's, here for speed */
    bool include_is_timeout_retry;   /* likewise: x-envoy-is-timeout-retry on retries after a per-try timeout */

    /* ROUTE_DIRECT_RESPONSE */
    uint16_t direct_status;
    struct str direct_body, direct_content_type;
    struct format *direct_format;    /* body_format; NULL */
    /* ROUTE_REDIRECT */
    const struct redirect_rule *redirect;
};

struct route_list { struct route_entry **items; uint32_t count; }; /* the action of a virtual host's matcher */
struct virtual_cluster {
    struct str name;
    struct header_matcher *headers; uint32_t header_count; /* :method and :path among them */
    struct stat_scope *stats;        /* vhost.<vhost>.vcluster.<name>. */
};
/* What several routes share and an arena can't free (policies with matchers, header rules): freed once. */
struct route_owned { void (*free)(void *object); void *object; };
struct route_owned_list { struct route_owned *items; size_t count, cap; };
void route_own(struct route_owned_list *list, void *object, void (*free)(void *object));

enum vhost_tls { VHOST_TLS_NONE, VHOST_TLS_EXTERNAL_ONLY, VHOST_TLS_ALL };
struct virtual_host {
    struct str name;
    struct str *domains; uint32_t domain_count; /* in lower case */
    struct route_entry **routes; uint32_t route_count;
    struct matcher *matcher;         /* chooses a struct route_list (match/matcher.h); `routes` are all of the tree's then */
    struct path_index *index;        /* route/path_index.c: which routes can match a path at all; NULL for short lists */
    enum vhost_tls require_tls;
    struct header_rules request_rules, response_rules;
    struct filter_overrides overrides;
    const struct metadata *metadata;
    struct virtual_cluster *virtual_clusters; uint32_t virtual_cluster_count;
    struct stat_scope *other_stats;  /* vhost.<vhost>.vcluster.other. */
    const struct rate_limit_rules *rate_limits;
    const struct route_config_spec *config;
};
struct route_table; /* compiled */
struct config_source; /* proxy/discovery/discovery.h */
struct route_config_spec {
    struct str name;
    uint32_t refs;                   /* of one that discovery brought: snapshots that show it */
    const struct config_source *vhds; /* virtual hosts come by themselves too, from here: a reference; NULL */
    /* for virtual hosts that come by themselves */
    bool validate_clusters; size_t max_direct_body;
    struct mirror_policy *mirrors; uint32_t mirror_count;
    struct virtual_host **vhosts; uint32_t vhost_count;
    bool ignore_port_in_host;
    bool ignore_path_parameters;     /* ignore_path_parameters_in_path_matching */
    struct str *internal_only_headers; uint32_t internal_only_header_count; /* lower case: taken off requests from outside */
    struct str vhost_header;         /* the virtual host is found by this header instead of :authority; "" */
    bool most_specific_header_mutations_wins;
    struct header_rules request_rules, response_rules;
    struct filter_overrides overrides;
    const struct metadata *metadata;
    struct arena *arena;             /* the spec's memory */
    struct cluster_slots slots;      /* of one that discovery brought: the clusters that it names */
    struct route_owned_list owned;
};
/* A virtual host that came by itself (VHDS) and all that it owns. Main thread. */
struct vhost_resource {
    uint32_t refs;
    struct virtual_host *vhost;      /* its config is to outlive it */
    struct arena arena;
    struct cluster_slots slots;
    struct route_owned_list owned;
};
struct vhost_resource *vhost_resource_ref(struct vhost_resource *r);
void vhost_resource_unref(struct vhost_resource **r); /* NULL is fine */
void vhost_resource_link(struct vhost_resource *r);   /* as route_config_link */

/* Compiles domains (exact by hash; suffix and prefix wildcards by length, longest first; "*"). Duplicate domains are errors. */
struct route_table *route_table_new(const struct route_config_spec *spec, struct err *err);
void route_table_free(struct route_table **t);
/* The next version of a table that workers may be looking at; it shares what isn't changed. Both live as long as the spec. */
struct route_table *route_table_copy(const struct route_table *t);
/* In the place of the one that has come by this name. ERR_EXISTS: one of its domains is another virtual host's; then there is
 * none by this name. */
int route_table_put(struct route_table *t, struct str name, struct vhost_resource *r, struct err *err);
void route_table_remove(struct route_table *t, struct str name);
/* Has a host (in lower case) a virtual host? */
bool route_table_knows(const struct route_table *t, struct str host);
void route_table_each(const struct route_table *t, void (*fn)(const struct virtual_host *v, void *arg), void *arg);
/* What the tables of a spec own beyond its arena: formats, regexes, filter configurations, scopes. */
void route_config_fini(struct route_config_spec *spec);
/* One that discovery brought, whole: its arena (heap) too. NULL is fine. */
void route_config_free(struct route_config_spec **spec);
/* Main thread, once clusters are known: statistics scopes of routes and virtual clusters. Idempotent. */
void route_config_link(struct route_config_spec *spec);

/* ---- deciding ---- */
struct route_request {               /* what a decision may look at */
    const struct headers *headers;   /* :authority, :path, :method */
    const struct stream_info *info;  /* TLS, addresses, dynamic metadata, filter state; NULL in tests */
    uint64_t random;                 /* this request's number: fractions and weights are drawn from it, the same each time */
};
struct route_decision {
    const struct route_entry *route;     /* NULL: none matched */
    const struct virtual_host *vhost;    /* set when one matched */
    const struct weighted_cluster *weighted; /* drawn; NULL for others */
    struct str cluster_name;             /* as chosen; null str where the action has none */
    struct cluster *cluster;             /* NULL: unknown */
    bool needs_tls;                      /* require_tls isn't met: answer with a redirect to https (301); vhost is set, route is NULL */
};
/* False (and nothing in `out`): no virtual host or no route. `named` finds clusters that requests name. */
bool route_decide(const struct route_table *t, const struct route_request *rq, struct cluster *(*named)(struct str name),
                  struct route_decision *out);
/* First match, for explain and tests: why routes before it weren't taken is route/explain.h's. */
bool route_matches(const struct route_entry *r, const struct virtual_host *v, const struct route_request *rq);

/* ---- carrying out ---- */
/* Request headers of the decision's levels, most specific first unless most_specific_header_mutations_wins (Envoy: route
 * configuration's documentation of header precedence), then the rewrites. x-envoy-original-path/host are set. */
void route_edit_request(const struct route_decision *d, struct headers *h, const struct format_context *cx, bool suppress_envoy_headers,
                        struct arena *a);
void route_edit_response(const struct route_decision *d, struct headers *h, const struct format_context *cx, struct arena *a);
/* The Location of a redirect (route/redirect.c), and its status; of a direct response too, which has one when its status is
 * 201 or 3xx (the request's own URL). A null str: none. */
struct str route_redirect_location(const struct route_decision *d, const struct headers *request, const struct format_context *cx,
                                   struct arena *a, unsigned *status);
/* Before it: prefix and regex rewrites of a redirect change the request itself (:path, x-envoy-original-path), as Envoy's do. */
void route_redirect_rewrite(const struct route_decision *d, struct headers *request, const struct format_context *cx,
                            bool suppress_envoy_headers, struct arena *a);
struct str route_https_location(const struct headers *request, struct arena *a);
/* Hash of a request by its route's policies; false: none applies. A cookie to be set is given back (Set-Cookie's value). */
struct hash_source { const struct headers *request; const struct stream_info *info; };
bool route_hash(const struct hash_policy *p, uint32_t n, const struct hash_source *src, struct arena *a, uint64_t *hash,
                struct str *set_cookie);
/* The same where several cookie policies may each want one set. */
#define HASH_COOKIES_MAX 4
struct hash_cookies { struct str items[HASH_COOKIES_MAX]; uint32_t count; };
bool route_hash_cookies(const struct hash_policy *p, uint32_t n, const struct hash_source *src, struct arena *a, uint64_t *hash,
                        struct hash_cookies *cookies);
#endif
