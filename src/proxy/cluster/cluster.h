/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters. `cluster_spec` is what the configuration says (made by proxy/config, immutable).
 * `cluster` is the living thing shared by all threads: spec, membership (swapped whole), circuit
 * breaker counts (relaxed atomics, exact over workers), statistics. Each worker keeps pools of its
 * own per host, made at first use: a cluster that a worker never uses costs it nothing.
 *
 * Membership changes on the main thread (DNS, later EDS, health) and reaches workers by mailbox.
 */
#ifndef PROXY_CLUSTER_CLUSTER_H
#define PROXY_CLUSTER_CLUSTER_H

#include "http/pool.h"
#include "io/conn.h"
#include "io/dns.h"
#include "io/tls.h"
#include "proxy/cluster/host.h"
#include "proxy/cluster/slot.h"
#include "proxy/lb/lb.h"
#include "proxy/stats/stats.h"

enum cluster_type { CLUSTER_STATIC, CLUSTER_STRICT_DNS, CLUSTER_LOGICAL_DNS, CLUSTER_EDS, CLUSTER_ORIGINAL_DST,
                    CLUSTER_AGGREGATE, CLUSTER_FORWARD_PROXY };

enum { PRIORITY_DEFAULT, PRIORITY_HIGH, ROUTING_PRIORITIES };
struct circuit_thresholds {
    uint32_t max_connections, max_pending, max_requests, max_retries, max_pools; /* 1024, 1024, 1024, 3, unlimited */
    bool track_remaining;
    bool has_budget; uint32_t min_retries; double budget_pct; /* retry_budget, in place of max_retries */
};

struct config_source;
struct spec_memory;
struct tls_source;
struct endpoint_spec {
    struct addr addr;            /* port set; for DNS clusters only the port matters and `dns_name` is resolved */
    struct str dns_name;
    struct str hostname;
    uint32_t weight;             /* load_balancing_weight, 1 when unset */
    uint32_t priority;
    uint32_t health;             /* enum host_health bits from health_status */
    const struct locality *locality;
    struct addr *extra_addrs;
    uint32_t extra_addr_count;
    const struct metadata *metadata; /* NULL none */
    bool has_pooled_metadata;    /* metadata_pool.h */
    const struct metadata *locality_metadata; /* as long as the endpoint itself; NULL none */
    uint32_t locality_weight;    /* of its locality; 0 none */
    /* Endpoint.health_check_config */
    bool no_check, has_check_addr;
    uint16_t check_port;         /* 0: the address's own */
    struct addr check_addr;
    struct str check_hostname;
};

/* How a connection to a host is made secure. */
struct transport_socket_spec {
    struct tls_source *tls;      /* proxy/config/tls_source.h: current tls_context, swapped on reload; NULL: raw */
    struct str sni;              /* "" none */
    bool auto_host_sni;
    bool proxy_protocol;         /* upstream PROXY protocol transport */
    uint8_t proxy_protocol_version; /* 1, 2 */
    /* TLVs of a v2 header: those received downstream that may pass (all, or the types listed), and fixed ones. */
    bool pass_all_tlvs; uint8_t *pass_tlvs; uint32_t pass_tlv_count;
    struct fixed_tlv { uint8_t type; struct str value; } *added_tlvs; uint32_t added_tlv_count;
    bool allow_unspecified_address, tlv_as_pool_key;
};
/* One of a cluster's transport_socket_matches: for hosts whose metadata (envoy.transport_socket_match) holds all of this. */
struct transport_match {
    struct str name;
    struct meta_value criteria;  /* META_STRUCT; else everything matches */
    const struct transport_socket_spec *transport;
};

/* Parts that most clusters have alike stand behind pointers to one shared copy each (config/shared.h), so that
 * 2,000 clusters of the same kind cost 2,000 pointers. They live as long as any spec that names them. */
struct cluster_dns_spec {
    enum dns_family family;
    uint64_t refresh_ms;         /* 5000 */
    bool respect_ttl;
    uint64_t failure_base_ms, failure_max_ms; /* 0 = refresh rate */
    uint64_t jitter_ms;
    struct dns_opts opts;
};
struct cluster_original_dst_spec {
    bool use_http_header;        /* x-envoy-original-dst-host or http_header_name */
    struct str http_header_name; /* lower case; "" = x-envoy-original-dst-host */
    int upstream_port_override;  /* -1 none */
    struct str space, *path; uint32_t path_count; /* metadata_key: where filters may have put it; none when path_count is 0 */
    uint64_t cleanup_interval_ms; /* 5000 */
};
struct dns_cache_spec;
struct cluster_connection_spec {
    uint64_t connect_timeout_us; /* 5 s; TCP and TLS together */
    uint32_t buffer_limit_bytes; /* per_connection_buffer_limit_bytes, 1 MiB */
    sa_family_t first_family;    /* happy_eyeballs_config; 0: that of the first address */
    uint32_t first_family_count; /* 1 */
    bool has_bind; struct addr bind;
    bool has_other_bind; struct addr other_bind; /* extra_source_addresses: of the other family, for hosts of that */
    struct sock_opt *sock_opts; uint32_t sock_opt_count;
    bool keepalive; int keepalive_probes, keepalive_time_s, keepalive_interval_s; /* -1: system's default */
};
struct cluster_http_spec {
    bool use_downstream_protocol;
    bool alpn;                   /* auto_config */
    enum http_protocol protocol; /* explicit: HTTP_11 (default) or HTTP_2 */
    struct http_client_opts client;
    uint64_t idle_timeout_ms;    /* 1 h; 0 none */
    uint64_t max_stream_duration_ms;
    uint32_t max_requests_per_connection; /* 0 none */
    uint32_t max_concurrent_streams;      /* h2: our own cap; 1024 */
    bool auto_sni, auto_san_validation; struct str override_auto_sni_header; /* lower case; "" = :authority */
};
struct cluster_breakers_spec {
    struct circuit_thresholds thresholds[ROUTING_PRIORITIES];
    bool has_per_host; uint32_t per_host_max_connections;
};

/* What speaks first on a cluster's connections (Cluster.filters), ahead of any byte of theirs, and leaves what it learns of
 * the peer in a filter state. */
struct filter_state;
struct upstream_prologue {
    struct conn_prologue base;
    struct filter_state *tell; /* NULL: nobody asked */
};
struct upstream_prologue_spec {
    struct upstream_prologue *(*make)(const struct upstream_prologue_spec *spec); /* for each connection; on its worker */
};

/* ClusterLoadAssignment.policy */
struct load_policy {
    uint32_t overprovisioning_pct; /* 140 */
    bool weighted_priority_health;
    uint32_t drop_per_million;   /* drop_overloads */
};

struct cluster_spec {
    struct str name;             /* all text in the spec's memory */
    struct str alt_stat_name;    /* "" = name */
    enum cluster_type type;
    struct endpoint_spec *endpoints;
    uint32_t endpoint_count;
    struct cluster_slot **children; uint32_t child_count; /* AGGREGATE: clusters, the most wanted first */
    struct load_policy load;
    const struct config_source *eds; struct str eds_name; /* EDS: proxy/discovery/discovery.h; whom to ask for what */
    const struct lb_policy_spec *lb;              /* never NULL, as all below */
    const struct cluster_breakers_spec *breakers;
    const struct cluster_connection_spec *connection;
    const struct cluster_http_spec *http;
    const struct transport_socket_spec *transport; /* of hosts that fit none of transport_matches; a host's own: host.h */
    const struct transport_match *transport_matches; uint32_t transport_match_count;
    const struct upstream_prologue_spec *prologue; /* NULL none */
    const struct cluster_dns_spec *dns;           /* NULL unless the type is a DNS one */
    const struct cluster_original_dst_spec *original_dst; /* NULL unless ORIGINAL_DST */
    const struct dns_cache_spec *dns_cache;       /* cluster/dns_cache.h; NULL unless FORWARD_PROXY */
    const struct outlier_spec *outlier;           /* proxy/health/outlier.h; NULL: no detection */
    const struct health_spec *check;              /* proxy/health/health_check.h; NULL: no active checks */
    float preconnect_ratio;      /* per_upstream_preconnect_ratio; 1.0 */
    float predictive_ratio;      /* predictive_preconnect_ratio; 1.0 */
    bool ignore_health_on_removal, close_on_health_failure;
    bool wait_for_warm_on_init;  /* true */
    bool track_timeout_budgets, track_request_response_sizes, track_endpoints; /* track_cluster_stats */
    const struct metadata *metadata; /* NULL none */
    struct spec_memory *memory;  /* config/spec_memory.h: referenced */
    struct cluster_slots slots;  /* of clusters that it names */
};
void cluster_spec_free(struct cluster_spec **spec);

#define CLUSTER_STATS(X)                                                                           \
    X(CLUSTER_BIND_ERRORS, COUNTER, NONE, "bind_errors", "Errors binding the source address")      \
    X(CLUSTER_UPSTREAM_CX_TOTAL, COUNTER, NONE, "upstream_cx_total", "Connections made")           \
    X(CLUSTER_UPSTREAM_CX_ACTIVE, GAUGE, NONE, "upstream_cx_active", "Connections open")           \
    X(CLUSTER_UPSTREAM_CX_HTTP1_TOTAL, COUNTER, NONE, "upstream_cx_http1_total", "HTTP/1 connections made") \
    X(CLUSTER_UPSTREAM_CX_HTTP2_TOTAL, COUNTER, NONE, "upstream_cx_http2_total", "HTTP/2 connections made") \
    X(CLUSTER_UPSTREAM_CX_HTTP3_TOTAL, COUNTER, NONE, "upstream_cx_http3_total", "HTTP/3 connections made") \
    X(CLUSTER_UPSTREAM_CX_CONNECT_FAIL, COUNTER, NONE, "upstream_cx_connect_fail", "Connection failures") \
    X(CLUSTER_UPSTREAM_CX_CONNECT_TIMEOUT, COUNTER, NONE, "upstream_cx_connect_timeout", "Connect timeouts") \
    X(CLUSTER_UPSTREAM_CX_ATTEMPTS_EXCEEDED, COUNTER, NONE, "upstream_cx_connect_attempts_exceeded", "TCP sessions that used up their attempts") \
    X(CLUSTER_UPSTREAM_CX_CONNECT_MS, HISTOGRAM, MS, "upstream_cx_connect_ms", "Connection establishment time") \
    X(CLUSTER_UPSTREAM_CX_LENGTH_MS, HISTOGRAM, MS, "upstream_cx_length_ms", "Connection length")  \
    X(CLUSTER_UPSTREAM_CX_IDLE_TIMEOUT, COUNTER, NONE, "upstream_cx_idle_timeout", "Connections closed idle") \
    X(CLUSTER_UPSTREAM_CX_MAX_DURATION_REACHED, COUNTER, NONE, "upstream_cx_max_duration_reached", "Connections closed by age") \
    X(CLUSTER_UPSTREAM_CX_MAX_REQUESTS, COUNTER, NONE, "upstream_cx_max_requests", "Connections closed after max requests") \
    X(CLUSTER_UPSTREAM_CX_NONE_HEALTHY, COUNTER, NONE, "upstream_cx_none_healthy", "No healthy host for a connection") \
    X(CLUSTER_UPSTREAM_CX_OVERFLOW, COUNTER, NONE, "upstream_cx_overflow", "Connection circuit breaker overflowed") \
    X(CLUSTER_UPSTREAM_CX_POOL_OVERFLOW, COUNTER, NONE, "upstream_cx_pool_overflow", "Pool circuit breaker overflowed") \
    X(CLUSTER_UPSTREAM_CX_PROTOCOL_ERROR, COUNTER, NONE, "upstream_cx_protocol_error", "Upstream protocol errors") \
    X(CLUSTER_UPSTREAM_CX_DESTROY, COUNTER, NONE, "upstream_cx_destroy", "Connections destroyed") \
    X(CLUSTER_UPSTREAM_CX_DESTROY_LOCAL, COUNTER, NONE, "upstream_cx_destroy_local", "… by us") \
    X(CLUSTER_UPSTREAM_CX_DESTROY_REMOTE, COUNTER, NONE, "upstream_cx_destroy_remote", "… by the peer") \
    X(CLUSTER_UPSTREAM_CX_DESTROY_WITH_ACTIVE_RQ, COUNTER, NONE, "upstream_cx_destroy_with_active_rq", "… with requests running") \
    X(CLUSTER_UPSTREAM_CX_DESTROY_LOCAL_WITH_ACTIVE_RQ, COUNTER, NONE, "upstream_cx_destroy_local_with_active_rq", "") \
    X(CLUSTER_UPSTREAM_CX_DESTROY_REMOTE_WITH_ACTIVE_RQ, COUNTER, NONE, "upstream_cx_destroy_remote_with_active_rq", "") \
    X(CLUSTER_UPSTREAM_CX_CLOSE_NOTIFY, COUNTER, NONE, "upstream_cx_close_notify", "Closed by Connection: close or GOAWAY") \
    X(CLUSTER_UPSTREAM_CX_RX_BYTES_TOTAL, COUNTER, BYTES, "upstream_cx_rx_bytes_total", "Bytes received") \
    X(CLUSTER_UPSTREAM_CX_RX_BYTES_BUFFERED, GAUGE, BYTES, "upstream_cx_rx_bytes_buffered", "")    \
    X(CLUSTER_UPSTREAM_CX_TX_BYTES_TOTAL, COUNTER, BYTES, "upstream_cx_tx_bytes_total", "Bytes sent") \
    X(CLUSTER_UPSTREAM_CX_TX_BYTES_BUFFERED, GAUGE, BYTES, "upstream_cx_tx_bytes_buffered", "")    \
    X(CLUSTER_UPSTREAM_RQ_TOTAL, COUNTER, NONE, "upstream_rq_total", "Requests")                   \
    X(CLUSTER_UPSTREAM_RQ_ACTIVE, GAUGE, NONE, "upstream_rq_active", "Requests running")           \
    X(CLUSTER_UPSTREAM_RQ_PENDING_TOTAL, COUNTER, NONE, "upstream_rq_pending_total", "Requests that waited for a connection") \
    X(CLUSTER_UPSTREAM_RQ_PENDING_ACTIVE, GAUGE, NONE, "upstream_rq_pending_active", "Requests waiting") \
    X(CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW, COUNTER, NONE, "upstream_rq_pending_overflow", "Refused by circuit breaker") \
    X(CLUSTER_UPSTREAM_RQ_ACTIVE_OVERFLOW, COUNTER, NONE, "upstream_rq_active_overflow", "Refused by the circuit breaker of requests") \
    X(CLUSTER_UPSTREAM_RQ_PENDING_FAILURE_EJECT, COUNTER, NONE, "upstream_rq_pending_failure_eject", "Failed with their connection") \
    X(CLUSTER_UPSTREAM_RQ_CANCELLED, COUNTER, NONE, "upstream_rq_cancelled", "Cancelled while waiting") \
    X(CLUSTER_UPSTREAM_RQ_DROP_OVERLOAD, COUNTER, LAZY, "upstream_rq_drop_overload", "Dropped as configured") \
    X(CLUSTER_UPSTREAM_RQ_MAINTENANCE_MODE, COUNTER, NONE, "upstream_rq_maintenance_mode", "")     \
    X(CLUSTER_UPSTREAM_RQ_MAX_DURATION_REACHED, COUNTER, NONE, "upstream_rq_max_duration_reached", "") \
    X(CLUSTER_UPSTREAM_RQ_TIMEOUT, COUNTER, NONE, "upstream_rq_timeout", "Timed out waiting for a response") \
    X(CLUSTER_UPSTREAM_RQ_PER_TRY_TIMEOUT, COUNTER, NONE, "upstream_rq_per_try_timeout", "")       \
    X(CLUSTER_UPSTREAM_RQ_PER_TRY_IDLE_TIMEOUT, COUNTER, NONE, "upstream_rq_per_try_idle_timeout", "") \
    X(CLUSTER_UPSTREAM_RQ_RX_RESET, COUNTER, NONE, "upstream_rq_rx_reset", "Reset by the upstream") \
    X(CLUSTER_UPSTREAM_RQ_TX_RESET, COUNTER, NONE, "upstream_rq_tx_reset", "Reset by us")          \
    X(CLUSTER_UPSTREAM_RQ_RETRY, COUNTER, NONE, "upstream_rq_retry", "Retries")                    \
    X(CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_EXPONENTIAL, COUNTER, NONE, "upstream_rq_retry_backoff_exponential", "") \
    X(CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_RATELIMITED, COUNTER, NONE, "upstream_rq_retry_backoff_ratelimited", "") \
    X(CLUSTER_UPSTREAM_RQ_RETRY_LIMIT_EXCEEDED, COUNTER, NONE, "upstream_rq_retry_limit_exceeded", "") \
    X(CLUSTER_UPSTREAM_RQ_RETRY_OVERFLOW, COUNTER, NONE, "upstream_rq_retry_overflow", "")         \
    X(CLUSTER_UPSTREAM_RQ_RETRY_SUCCESS, COUNTER, NONE, "upstream_rq_retry_success", "")           \
    X(CLUSTER_UPSTREAM_RQ_STALE_REPLAY, COUNTER, NONE, "upstream_rq_stale_replay", "Replayed after a pooled connection turned out dead (ours)") \
    X(CLUSTER_UPSTREAM_RQ_0RTT, COUNTER, NONE, "upstream_rq_0rtt", "")                             \
    X(CLUSTER_UPSTREAM_RQ_COMPLETED, COUNTER, NONE, "upstream_rq_completed", "Responses complete") \
    X(CLUSTER_UPSTREAM_RQ_1XX, COUNTER, LAZY, "upstream_rq_1xx", "")                               \
    X(CLUSTER_UPSTREAM_RQ_2XX, COUNTER, LAZY, "upstream_rq_2xx", "")                               \
    X(CLUSTER_UPSTREAM_RQ_3XX, COUNTER, LAZY, "upstream_rq_3xx", "")                               \
    X(CLUSTER_UPSTREAM_RQ_4XX, COUNTER, LAZY, "upstream_rq_4xx", "")                               \
    X(CLUSTER_UPSTREAM_RQ_5XX, COUNTER, LAZY, "upstream_rq_5xx", "")                               \
    X(CLUSTER_UPSTREAM_RQ_TIME, HISTOGRAM, LAZY, "upstream_rq_time", "Request time")                 \
    X(CLUSTER_INTERNAL_RQ_COMPLETED, COUNTER, LAZY, "internal.upstream_rq_completed", "")          \
    X(CLUSTER_INTERNAL_RQ_1XX, COUNTER, LAZY, "internal.upstream_rq_1xx", "")                      \
    X(CLUSTER_INTERNAL_RQ_2XX, COUNTER, LAZY, "internal.upstream_rq_2xx", "")                      \
    X(CLUSTER_INTERNAL_RQ_3XX, COUNTER, LAZY, "internal.upstream_rq_3xx", "")                      \
    X(CLUSTER_INTERNAL_RQ_4XX, COUNTER, LAZY, "internal.upstream_rq_4xx", "")                      \
    X(CLUSTER_INTERNAL_RQ_5XX, COUNTER, LAZY, "internal.upstream_rq_5xx", "")                      \
    X(CLUSTER_INTERNAL_RQ_TIME, HISTOGRAM, LAZY, "internal.upstream_rq_time", "")                    \
    X(CLUSTER_EXTERNAL_RQ_COMPLETED, COUNTER, LAZY, "external.upstream_rq_completed", "")          \
    X(CLUSTER_EXTERNAL_RQ_1XX, COUNTER, LAZY, "external.upstream_rq_1xx", "")                      \
    X(CLUSTER_EXTERNAL_RQ_2XX, COUNTER, LAZY, "external.upstream_rq_2xx", "")                      \
    X(CLUSTER_EXTERNAL_RQ_3XX, COUNTER, LAZY, "external.upstream_rq_3xx", "")                      \
    X(CLUSTER_EXTERNAL_RQ_4XX, COUNTER, LAZY, "external.upstream_rq_4xx", "")                      \
    X(CLUSTER_EXTERNAL_RQ_5XX, COUNTER, LAZY, "external.upstream_rq_5xx", "")                      \
    X(CLUSTER_EXTERNAL_RQ_TIME, HISTOGRAM, LAZY, "external.upstream_rq_time", "")                    \
    X(CLUSTER_CANARY_RQ_COMPLETED, COUNTER, LAZY, "canary.upstream_rq_completed", "")              \
    X(CLUSTER_CANARY_RQ_1XX, COUNTER, LAZY, "canary.upstream_rq_1xx", "")                          \
    X(CLUSTER_CANARY_RQ_2XX, COUNTER, LAZY, "canary.upstream_rq_2xx", "")                          \
    X(CLUSTER_CANARY_RQ_3XX, COUNTER, LAZY, "canary.upstream_rq_3xx", "")                          \
    X(CLUSTER_CANARY_RQ_4XX, COUNTER, LAZY, "canary.upstream_rq_4xx", "")                          \
    X(CLUSTER_CANARY_RQ_5XX, COUNTER, LAZY, "canary.upstream_rq_5xx", "")                          \
    X(CLUSTER_CANARY_RQ_TIME, HISTOGRAM, LAZY, "canary.upstream_rq_time", "")                        \
    X(CLUSTER_RETRY_RQ_COMPLETED, COUNTER, LAZY, "retry.upstream_rq_completed", "")                \
    X(CLUSTER_RETRY_RQ_1XX, COUNTER, LAZY, "retry.upstream_rq_1xx", "")                            \
    X(CLUSTER_RETRY_RQ_2XX, COUNTER, LAZY, "retry.upstream_rq_2xx", "")                            \
    X(CLUSTER_RETRY_RQ_3XX, COUNTER, LAZY, "retry.upstream_rq_3xx", "")                            \
    X(CLUSTER_RETRY_RQ_4XX, COUNTER, LAZY, "retry.upstream_rq_4xx", "")                            \
    X(CLUSTER_RETRY_RQ_5XX, COUNTER, LAZY, "retry.upstream_rq_5xx", "")                            \
    X(CLUSTER_UPSTREAM_FLOW_PAUSED, COUNTER, NONE, "upstream_flow_control_paused_reading_total", "") \
    X(CLUSTER_UPSTREAM_FLOW_RESUMED, COUNTER, NONE, "upstream_flow_control_resumed_reading_total", "") \
    X(CLUSTER_UPSTREAM_FLOW_BACKED_UP, COUNTER, NONE, "upstream_flow_control_backed_up_total", "") \
    X(CLUSTER_UPSTREAM_FLOW_DRAINED, COUNTER, NONE, "upstream_flow_control_drained_total", "")     \
    X(CLUSTER_INTERNAL_RETRY_1, COUNTER, NONE, "upstream_internal_redirect_failed_total", "")      \
    X(CLUSTER_INTERNAL_RETRY_2, COUNTER, NONE, "upstream_internal_redirect_succeeded_total", "")   \
    X(CLUSTER_MEMBERSHIP_CHANGE, COUNTER, NONE, "membership_change", "Membership changes")         \
    X(CLUSTER_MEMBERSHIP_TOTAL, GAUGE, NONE, "membership_total", "Endpoints")                      \
    X(CLUSTER_MEMBERSHIP_HEALTHY, GAUGE, NONE, "membership_healthy", "Healthy endpoints")          \
    X(CLUSTER_MEMBERSHIP_DEGRADED, GAUGE, NONE, "membership_degraded", "Degraded endpoints")       \
    X(CLUSTER_MEMBERSHIP_EXCLUDED, GAUGE, NONE, "membership_excluded", "Excluded endpoints")       \
    X(CLUSTER_MEMBERSHIP_UNSUPPORTED, GAUGE, LAZY, "membership_unsupported", "Endpoints that were left out: behind internal listeners") \
    X(CLUSTER_RETRY_OR_SHADOW_ABANDONED, COUNTER, NONE, "retry_or_shadow_abandoned", "")           \
    X(CLUSTER_VERSION, GAUGE, NONE, "version", "")                                                 \
    X(CLUSTER_MAX_HOST_WEIGHT, GAUGE, NONE, "max_host_weight", "")                                 \
    X(CLUSTER_UPDATE_ATTEMPT, COUNTER, NONE, "update_attempt", "Resolutions tried")                \
    X(CLUSTER_UPDATE_SUCCESS, COUNTER, NONE, "update_success", "Resolutions that worked")          \
    X(CLUSTER_UPDATE_FAILURE, COUNTER, NONE, "update_failure", "Resolutions that failed")          \
    X(CLUSTER_UPDATE_EMPTY, COUNTER, NONE, "update_empty", "Empty answers")                        \
    X(CLUSTER_UPDATE_REJECTED, COUNTER, LAZY, "update_rejected", "Assignments that could not be taken") \
    X(CLUSTER_INIT_FETCH_TIMEOUT, COUNTER, LAZY, "init_fetch_timeout", "First assignments that did not come in time") \
    X(CLUSTER_UPDATE_NO_REBUILD, COUNTER, NONE, "update_no_rebuild", "")                           \
    X(CLUSTER_ASSIGNMENT_STALE, COUNTER, NONE, "assignment_stale", "")                             \
    X(CLUSTER_ASSIGNMENT_TIMEOUT, COUNTER, NONE, "assignment_timeout_received", "")                \
    X(CLUSTER_ORIGINAL_DST_INVALID, COUNTER, NONE, "original_dst_host_invalid", "")                \
    X(CLUSTER_LB_HEALTHY_PANIC, COUNTER, NONE, "lb_healthy_panic", "Picks in panic mode")          \
    X(CLUSTER_LB_SUBSETS_ACTIVE, GAUGE, NONE, "lb_subsets_active", "")                             \
    X(CLUSTER_LB_SUBSETS_DUPLICATES, GAUGE, LAZY, "lb_subsets_single_host_per_subset_duplicate", "") \
    X(CLUSTER_LB_SUBSETS_CREATED, COUNTER, NONE, "lb_subsets_created", "")                         \
    X(CLUSTER_LB_SUBSETS_FALLBACK, COUNTER, NONE, "lb_subsets_fallback", "")                       \
    X(CLUSTER_LB_SUBSETS_FALLBACK_PANIC, COUNTER, NONE, "lb_subsets_fallback_panic", "")           \
    X(CLUSTER_LB_SUBSETS_REMOVED, COUNTER, NONE, "lb_subsets_removed", "")                         \
    X(CLUSTER_LB_SUBSETS_SELECTED, COUNTER, NONE, "lb_subsets_selected", "")                       \
    X(CLUSTER_RING_SIZE, GAUGE, LAZY, "ring_hash_lb.size", "Entries of the ring")                  \
    X(CLUSTER_RING_LEAST, GAUGE, LAZY, "ring_hash_lb.min_hashes_per_host", "")                     \
    X(CLUSTER_RING_MOST, GAUGE, LAZY, "ring_hash_lb.max_hashes_per_host", "")                      \
    X(CLUSTER_MAGLEV_LEAST, GAUGE, LAZY, "maglev_lb.min_entries_per_host", "")                     \
    X(CLUSTER_MAGLEV_MOST, GAUGE, LAZY, "maglev_lb.max_entries_per_host", "")                      \
    X(CLUSTER_LB_LOCAL_CLUSTER_NOT_OK, COUNTER, NONE, "lb_local_cluster_not_ok", "")               \
    X(CLUSTER_LB_RECALCULATE_ZONE, COUNTER, NONE, "lb_recalculate_zone_structures", "")            \
    X(CLUSTER_LB_ZONE_CLUSTER_TOO_SMALL, COUNTER, NONE, "lb_zone_cluster_too_small", "")           \
    X(CLUSTER_LB_ZONE_NO_CAPACITY_LEFT, COUNTER, NONE, "lb_zone_no_capacity_left", "")             \
    X(CLUSTER_LB_ZONE_ROUTING_ALL_DIRECTLY, COUNTER, NONE, "lb_zone_routing_all_directly", "")     \
    X(CLUSTER_LB_ZONE_ROUTING_CROSS_ZONE, COUNTER, NONE, "lb_zone_routing_cross_zone", "")         \
    X(CLUSTER_LB_ZONE_ROUTING_SAMPLED, COUNTER, NONE, "lb_zone_routing_sampled", "")               \
    X(CLUSTER_CB_DEFAULT_CX_OPEN, GAUGE, NONE, "circuit_breakers.default.cx_open", "")             \
    X(CLUSTER_CB_DEFAULT_CX_POOL_OPEN, GAUGE, NONE, "circuit_breakers.default.cx_pool_open", "")   \
    X(CLUSTER_CB_DEFAULT_RQ_PENDING_OPEN, GAUGE, NONE, "circuit_breakers.default.rq_pending_open", "") \
    X(CLUSTER_CB_DEFAULT_RQ_OPEN, GAUGE, NONE, "circuit_breakers.default.rq_open", "")             \
    X(CLUSTER_CB_DEFAULT_RQ_RETRY_OPEN, GAUGE, NONE, "circuit_breakers.default.rq_retry_open", "") \
    X(CLUSTER_CB_HIGH_CX_OPEN, GAUGE, NONE, "circuit_breakers.high.cx_open", "")                   \
    X(CLUSTER_CB_HIGH_CX_POOL_OPEN, GAUGE, NONE, "circuit_breakers.high.cx_pool_open", "")         \
    X(CLUSTER_CB_HIGH_RQ_PENDING_OPEN, GAUGE, NONE, "circuit_breakers.high.rq_pending_open", "")   \
    X(CLUSTER_CB_HIGH_RQ_OPEN, GAUGE, NONE, "circuit_breakers.high.rq_open", "")                   \
    X(CLUSTER_CB_HIGH_RQ_RETRY_OPEN, GAUGE, NONE, "circuit_breakers.high.rq_retry_open", "")
enum cluster_stat {
    CLUSTER_STATS(STAT_ENUM_ROW)
    STAT_CLUSTER_COUNT
};
/* Of clusters with track_cluster_stats. */
#define CLUSTER_BUDGET_STATS(X)                                                                    \
    X(BUDGET_USED, HISTOGRAM, PCT, "upstream_rq_timeout_budget_percent_used", "Of the timeout, by requests that were answered") \
    X(BUDGET_PER_TRY_USED, HISTOGRAM, PCT, "upstream_rq_timeout_budget_per_try_percent_used", "Of the timeout per try, by attempts")
enum cluster_budget_stat { CLUSTER_BUDGET_STATS(STAT_ENUM_ROW) };
#define CLUSTER_SIZE_STATS(X)                                                                      \
    X(SIZE_RQ_HEADERS, HISTOGRAM, BYTES, "upstream_rq_headers_size", "Request headers")             \
    X(SIZE_RQ_HEADERS_COUNT, HISTOGRAM, NONE, "upstream_rq_headers_count", "Request headers")       \
    X(SIZE_RQ_BODY, HISTOGRAM, BYTES, "upstream_rq_body_size", "Request bodies")                    \
    X(SIZE_RS_HEADERS, HISTOGRAM, BYTES, "upstream_rs_headers_size", "Response headers")            \
    X(SIZE_RS_HEADERS_COUNT, HISTOGRAM, NONE, "upstream_rs_headers_count", "Response headers")      \
    X(SIZE_RS_BODY, HISTOGRAM, BYTES, "upstream_rs_body_size", "Response bodies")
enum cluster_size_stat { CLUSTER_SIZE_STATS(STAT_ENUM_ROW) };
/* cluster.<name>.zone.<ours>.<the endpoint's>.* */
#define ZONE_STATS(X)                                                                              \
    X(ZONE_RQ_COMPLETED, COUNTER, LAZY, "upstream_rq_completed", "Responses complete")             \
    X(ZONE_RQ_1XX, COUNTER, LAZY, "upstream_rq_1xx", "")                                           \
    X(ZONE_RQ_2XX, COUNTER, LAZY, "upstream_rq_2xx", "")                                           \
    X(ZONE_RQ_3XX, COUNTER, LAZY, "upstream_rq_3xx", "")                                           \
    X(ZONE_RQ_4XX, COUNTER, LAZY, "upstream_rq_4xx", "")                                           \
    X(ZONE_RQ_5XX, COUNTER, LAZY, "upstream_rq_5xx", "")                                           \
    X(ZONE_RQ_TIME, HISTOGRAM, LAZY, "upstream_rq_time", "Request time")
enum zone_stat { ZONE_STATS(STAT_ENUM_ROW) };
/* cluster.<name>.ssl.* and listener ssl.* share one table, see stats/tls_stats.h. */

struct cluster; /* shared */
struct cluster_worker; /* one worker's view */

/* ---- main thread ---- */
/* Once, before any cluster: the loops of workers 0.. (stat_thread 1..); and after the workers have stopped. */
void clusters_init(struct loop *main_loop, struct loop *const *worker_loops, uint32_t worker_count);
void clusters_fini(void);
struct cluster *cluster_new(struct cluster_spec *take_spec, struct err *err);
struct cluster *cluster_ref(struct cluster *c);
void cluster_unref(struct cluster **c);
/* Starts DNS and such on the main loop; `on_ready` once the first membership is known (or failed). */
void cluster_start(struct cluster *c, void (*on_ready)(void *arg), void *arg);
void cluster_stop(struct cluster *c);
const struct cluster_spec *cluster_spec(const struct cluster *c);
struct stat_scope *cluster_stats(const struct cluster *c);
/* NULL unless the cluster tracks them. Any thread. */
struct stat_scope *cluster_budget_stats(const struct cluster *c);
struct stat_scope *cluster_size_stats(const struct cluster *c);
/* Any thread. NULL where one of the two zones isn't known. */
struct stat_scope *cluster_zone_stats(const struct cluster *c, const struct host *h);
struct outlier_detector *cluster_outlier(const struct cluster *c); /* NULL without outlier detection */
/* Current membership; referenced for the caller. */
struct host_set *cluster_hosts(const struct cluster *c);
/* Publishes a membership: builds schedules, keeps hosts that stayed (same address), posts to workers. */
void cluster_set_endpoints(struct cluster *c, const struct endpoint_spec *eps, uint32_t count);
/* The same with a policy that came along (EDS). */
/* Endpoints of the assignment that can't be had; false: as many as before. */
bool cluster_note_left_out(struct cluster *c, uint32_t count);
void cluster_set_assignment(struct cluster *c, const struct endpoint_spec *eps, uint32_t count, const struct load_policy *load);
/* Where this proxy runs (borrowed for good; NULL: not known) and the cluster that it is part of itself ("" none); before any
 * cluster starts. */
void clusters_locate(const struct locality *here, struct str local_cluster);

/* Nobody finds it by name any more: connections finish what they have, and it goes with its last user. Takes the reference. */
void cluster_retire(struct cluster **take_cluster);
/* Runs fn(arg) on the main thread once every worker has finished the turn it is in now: what workers may have found in a
 * shared place and not held is theirs no longer. At once while no workers run (clusters_workers_run tells). */
void clusters_after_turns(void (*fn)(void *arg), void *arg);
/* The same with something for each thread to do between its turns: here(arg), on the main thread first. */
void clusters_tell_threads(void (*here)(void *arg), void (*fn)(void *arg), void *arg);
struct loop *clusters_main_loop(void);
uint32_t clusters_worker_count(void);
void clusters_workers_run(bool run);
/* Every cluster that is, retired ones among them. Main thread, or workers while the main thread waits for them to end. */
void clusters_each(void (*fn)(struct cluster *c, void *arg), void *arg);

/* ---- workers ---- */
/* The calling worker's view; made on first use. */
struct cluster_worker *cluster_here(struct cluster *c);
/* Frees the calling thread's view: its pools close. */
void cluster_leave(struct cluster *c);
/* All of the calling thread's views, those of retired clusters too: each worker before its loop ends, the main thread at last. */
void clusters_leave(void);

/* A cluster that was found by name is there until the turn ends; held, until it is released by the same thread. The same for
 * a view. Both may come from inside callbacks: nothing is freed before the turn's end. */
void cluster_hold(struct cluster *c);
void cluster_release(struct cluster *c);
struct cluster_worker *view_hold(struct cluster_worker *v);
void view_release(struct cluster_worker **v); /* NULL is fine */

/* The cluster that a view is of. */
struct cluster *cluster_of_view(const struct cluster_worker *cw);

/* Picks a host (panic mode, priorities, health; counts none_healthy) and returns it referenced; NULL when there is none.
 * What follows of it (breakers but for retries, pools, connections, reports) is ctx->owner's. */
struct host *cluster_pick(struct cluster_worker *cw, struct lb_context *ctx);

struct filter_state;
/* For a dynamic forward proxy cluster: whom filters say to go to, else (where there is no request) the name in TLS. */
void cluster_note_destination(const struct cluster *c, struct lb_context *ctx, const struct filter_state *state, struct str server_name);

/* Whether this request is to be dropped (ClusterLoadAssignment.policy.drop_overloads; counted): 503, flag DO. */
bool cluster_drops(struct cluster_worker *cw, struct rng *rng);
uint32_t view_drop_per_million(const struct cluster_worker *cw);
uint32_t cluster_drop_per_million(const struct cluster *c); /* any thread, not on a request's path */

/* What came of an attempt at a host: for outlier detection, for policies that look at how hosts do, for statistics. Cheap;
 * cluster/outcome_report.c. A local-origin result is ours (connect, timeout, reset), a response is the host's. */
enum host_result { HOST_CONNECTED, HOST_CONNECTED_FINAL /* TCP: nothing more will be told */, HOST_CONNECT_FAILED, HOST_CONNECT_TIMEOUT, HOST_RESPONDED, HOST_RESET, HOST_TIMED_OUT };
struct host_report {
    enum host_result result;
    unsigned status;             /* RESPONDED: HTTP status; of gRPC answers what the gRPC status maps to */
    uint64_t duration_us;        /* RESPONDED: from the first byte sent */
    const struct headers *response, *trailers; /* where load reports (ORCA) may stand; may be NULL */
};
void cluster_report(struct cluster_worker *cw, struct host *h, const struct host_report *report);

/* Circuit breakers. acquire: false = open (overflow counted by the caller's stat). Exact over workers. */
enum breaker { BREAKER_CONNECTIONS, BREAKER_PENDING, BREAKER_REQUESTS, BREAKER_RETRIES, BREAKER_POOLS, BREAKER_COUNT };
bool cluster_breaker_acquire(struct cluster *c, unsigned priority, enum breaker b);
void cluster_breaker_force(struct cluster *c, unsigned priority, enum breaker b); /* takes one past the limit */
void cluster_breaker_release(struct cluster *c, unsigned priority, enum breaker b);
uint32_t cluster_breaker_used(const struct cluster *c, unsigned priority, enum breaker b);

/* The HTTP pool to a host for a protocol on this worker. For use_downstream_protocol pass the downstream's. `per_request`:
 * SNI/SAN taken from the request (auto_sni, auto_san_validation) part the pools. */
/* Whose address upstream connections come from (listener filter original_src): a foreign one, so the socket is transparent. */
struct original_source { struct addr addr; int mark; /* SO_MARK; 0 none */ };
struct pool_key {
    enum http_protocol downstream_protocol;
    unsigned priority;
    struct str authority;        /* for auto_sni / auto_san_validation; "" otherwise */
    const struct original_source *source; /* NULL: as the cluster says */
    const struct str *alpn; uint32_t alpn_count; /* offered in TLS instead of the cluster's list; 0 none */
    const struct conn *downstream; /* for the PROXY protocol header; NULL: pool is shared */
};
/* NULL: the cluster has as many pools as it may. */
struct http_pool *cluster_http_pool(struct cluster_worker *cw, struct host *h, const struct pool_key *key);

/* A raw TCP connection for tcp_proxy: counts, breakers, TLS as the cluster says. Result by the conn's handler. */
struct conn *cluster_connect_tcp(struct cluster_worker *cw, struct host *h, const struct conn *downstream, const struct original_source *source,
                                 const struct conn_handler *handler, void *user);
/* Right after it: what its prologue learns goes to `keep`, which outlives the connection's use. */
void cluster_tell_peer(struct conn *c, struct filter_state *keep);
/* Must be called when such a connection ends. */
void cluster_tcp_closed(struct cluster_worker *cw, struct host *h, struct conn *c, bool was_connected, enum conn_close why);

#endif
