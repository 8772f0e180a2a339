/* SPDX-License-Identifier: Apache-2.0
 *
 * TCP proxy: the terminal network filter that joins a downstream connection with one of a cluster's.
 */
#ifndef PROXY_FILTER_TCP_PROXY_H
#define PROXY_FILTER_TCP_PROXY_H

#include "base/arena.h"
#include "proxy/filter/network_filter.h"
#include "proxy/route/header_rules.h"
#include "proxy/stats/stats.h"

struct access_log;
struct hash_policy;
struct metadata;
struct cluster;

struct tcp_proxy_target {
    struct str name;
    struct cluster_slot *cluster;    /* none there: counted as no_route, closed with NC */
    uint32_t weight;                 /* of weighted_clusters; 1 for `cluster` */
    const struct metadata *metadata_match; /* subset criteria; a weighted cluster's own come over tcp_proxy's. NULL */
};

struct tcp_tunnel_config {           /* tunneling_config */
    struct format *hostname;         /* of :authority */
    bool use_post;
    struct str post_path;            /* "/" */
    struct header_rules headers;
};

struct tcp_proxy_config {
    struct str stat_prefix;
    struct tcp_proxy_target *targets; /* one for `cluster` */
    uint32_t target_count;
    uint64_t idle_timeout_ms;        /* 1 h; 0 none */
    uint64_t max_duration_ms;        /* max_downstream_connection_duration; 0 none */
    uint32_t max_duration_jitter_pct; /* up to so much longer, by chance; of 100, in hundredths */
    uint32_t max_connect_attempts;   /* 1 */
    uint64_t backoff_base_ms, backoff_max_ms; /* between attempts; 0 none */
    struct tcp_tunnel_config *tunnel; /* NULL: none */
    struct hash_policy *hashes; uint32_t hash_count;
    bool waits_for_data;             /* upstream_connect_mode ON_DOWNSTREAM_DATA */
    struct access_log **access_logs; uint32_t access_log_count;
    uint64_t access_log_flush_interval_ms; /* 0 none */
    bool flush_log_on_connected, flush_log_on_start;
    struct stat_scope *stats;        /* tcp.<stat_prefix>. ; made by tcp_proxy_config_link */
    struct arena arena;
};

#define TCP_PROXY_STATS(X)                                                                         \
    X(TCP_CX_TOTAL, COUNTER, NONE, "downstream_cx_total", "Connections handled")                   \
    X(TCP_CX_NO_ROUTE, COUNTER, NONE, "downstream_cx_no_route", "Connections without a cluster")   \
    X(TCP_CX_TX_BYTES_TOTAL, COUNTER, BYTES, "downstream_cx_tx_bytes_total", "Bytes to the downstream") \
    X(TCP_CX_TX_BYTES_BUFFERED, GAUGE, BYTES, "downstream_cx_tx_bytes_buffered", "Bytes waiting for the downstream") \
    X(TCP_CX_RX_BYTES_TOTAL, COUNTER, BYTES, "downstream_cx_rx_bytes_total", "Bytes from the downstream") \
    X(TCP_CX_RX_BYTES_BUFFERED, GAUGE, BYTES, "downstream_cx_rx_bytes_buffered", "Bytes read and not yet passed on") \
    X(TCP_FLOW_PAUSED, COUNTER, NONE, "downstream_flow_control_paused_reading_total", "Times reading was paused") \
    X(TCP_FLOW_RESUMED, COUNTER, NONE, "downstream_flow_control_resumed_reading_total", "Times it was resumed") \
    X(TCP_EARLY_DATA, COUNTER, NONE, "early_data_received_count_total", "Connections whose data came before the upstream was ready") \
    X(TCP_IDLE_TIMEOUT, COUNTER, NONE, "idle_timeout", "Connections closed idle")                  \
    X(TCP_MAX_DURATION, COUNTER, NONE, "max_downstream_connection_duration", "Connections closed by age") \
    X(TCP_UPSTREAM_FLUSH_TOTAL, COUNTER, NONE, "upstream_flush_total", "Connections that outlived the downstream to flush") \
    X(TCP_UPSTREAM_FLUSH_ACTIVE, GAUGE, NONE, "upstream_flush_active", "Such connections now")
enum tcp_proxy_stat {
    TCP_PROXY_STATS(STAT_ENUM_ROW)
    STAT_TCP_COUNT
};

extern const struct network_filter_def tcp_proxy_filter; /* config: struct tcp_proxy_config */
/* Main thread, idempotent: statistics scopes. The listener manager calls it (network_filter_def.link). */
void tcp_proxy_config_link(void *config, struct link_context *cx);
/* Frees the access logs, the scope, the arena and the config itself (mem_alloc'd). */
void tcp_proxy_config_free(void *config);

#endif
