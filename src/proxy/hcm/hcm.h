/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP connection manager: the terminal network filter that turns a downstream connection into
 * exchanges, and its configuration.
 */
#ifndef PROXY_HCM_HCM_H
#define PROXY_HCM_HCM_H

#include "http/codec/uri.h"
#include "http/server.h"
#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"
#include "proxy/log/access_log.h"
#include "proxy/route/route_source.h"
#include "proxy/stats/stats.h"

enum xfcc_mode { XFCC_SANITIZE, XFCC_FORWARD_ONLY, XFCC_APPEND_FORWARD, XFCC_SANITIZE_SET, XFCC_ALWAYS_FORWARD_ONLY };
enum server_header { SERVER_OVERWRITE, SERVER_APPEND_IF_ABSENT, SERVER_PASS_THROUGH };
struct local_reply_mapper {
    struct log_filter *filter;
    bool has_status; uint16_t status;
    bool has_body; struct str body;
    struct format *body_format; struct str content_type;
    struct header_rules headers_to_add;
};
struct local_reply_config {
    struct local_reply_mapper *mappers; uint32_t mapper_count;
    struct format *body_format; struct str content_type; /* NULL: body as it is, text/plain */
};

struct hcm_config {
    struct str stat_prefix;
    struct http_server_opts server;
    struct route_source *routes;      /* route/route_source.h; of rds made by hcm_config_link */
    struct { const struct config_source *source; struct str name; } rds; /* source: a reference; NULL */
    struct route_scopes *scopes;      /* instead: route/scopes.h; NULL */
    struct http_filter_spec *filters; uint32_t filter_count;
    struct access_log **access_logs; uint32_t access_log_count;
    bool log_at_start; bool flush_log_on_tunnel_established; uint64_t access_log_flush_interval_ms;

    uint64_t stream_idle_timeout_ms;  /* 5 min; 0 none */
    uint64_t request_timeout_ms;      /* 0 none */
    uint64_t max_stream_duration_ms;
    bool generate_request_id, preserve_external_request_id, always_set_request_id_in_response; /* default true,false,false */
    bool pack_trace_reason, use_request_id_for_trace_sampling;
    bool use_remote_address, skip_xff_append, represent_ipv4_as_mapped;
    uint32_t xff_num_trusted_hops;
    struct cidr *internal_cidrs; uint32_t internal_cidr_count; bool has_internal_cidrs; bool internal_unix_sockets;
    /* original IP detection extensions, in order */
    struct ip_detection *detections; uint32_t detection_count;
    struct str server_name;           /* "envoy" as Envoy's default */
    enum server_header server_header;
    struct str via;
    struct str scheme_to_overwrite;   /* "" none */
    bool scheme_match_upstream;
    bool proxy_100_continue, add_user_agent;
    enum xfcc_mode xfcc;
    bool xfcc_subject, xfcc_cert, xfcc_chain, xfcc_dns, xfcc_uri;
    struct path_opts path;
    bool strip_matching_port, strip_any_port, strip_trailing_dot;
    bool append_x_forwarded_port, append_local_overload;
    bool explain_header;              /* runtime weft.explain.allow_header when linked: x-weft-explain asks for a record */
    struct header_rules *early_mutations; uint32_t early_mutation_count; /* before anything looks at the request */
    struct upgrade_spec *upgrades; uint32_t upgrade_count;
    struct local_reply_config local_reply;
    struct tracing_config *tracing;     /* trace/tracer.h; NULL: none */
    struct stat_scope *stats;           /* http.<stat_prefix>. ; made by hcm_config_link */
    struct stat_scope *h2_stats;        /* http2. ; likewise */
    struct stat_scope *listener_stats;  /* listener.<address>.http.<stat_prefix>. ; likewise */
    struct arena arena;
};
struct ip_detection {
    enum { IP_DETECT_XFF, IP_DETECT_CUSTOM_HEADER } kind;
    uint32_t xff_hops; bool xff_skip_append; struct cidr *xff_trusted; uint32_t xff_trusted_count;
    struct str header; bool allow_trusted; bool has_reject; uint16_t reject_status;
};

#define HCM_STATS(X)                                                                               \
    X(HCM_CX_TOTAL, COUNTER, NONE, "downstream_cx_total", "Connections")                           \
    X(HCM_CX_ACTIVE, GAUGE, NONE, "downstream_cx_active", "Connections open")                      \
    X(HCM_CX_DESTROY, COUNTER, NONE, "downstream_cx_destroy", "Connections closed")                \
    X(HCM_CX_DESTROY_REMOTE, COUNTER, NONE, "downstream_cx_destroy_remote", "… by the peer")       \
    X(HCM_CX_DESTROY_LOCAL, COUNTER, NONE, "downstream_cx_destroy_local", "… by us")               \
    X(HCM_CX_DESTROY_ACTIVE_RQ, COUNTER, NONE, "downstream_cx_destroy_active_rq", "… with requests running") \
    X(HCM_CX_DESTROY_LOCAL_ACTIVE_RQ, COUNTER, NONE, "downstream_cx_destroy_local_active_rq", "")  \
    X(HCM_CX_DESTROY_REMOTE_ACTIVE_RQ, COUNTER, NONE, "downstream_cx_destroy_remote_active_rq", "") \
    X(HCM_CX_HTTP1_TOTAL, COUNTER, NONE, "downstream_cx_http1_total", "") X(HCM_CX_HTTP1_ACTIVE, GAUGE, NONE, "downstream_cx_http1_active", "") \
    X(HCM_CX_HTTP2_TOTAL, COUNTER, NONE, "downstream_cx_http2_total", "") X(HCM_CX_HTTP2_ACTIVE, GAUGE, NONE, "downstream_cx_http2_active", "") \
    X(HCM_CX_HTTP3_TOTAL, COUNTER, NONE, "downstream_cx_http3_total", "") X(HCM_CX_HTTP3_ACTIVE, GAUGE, NONE, "downstream_cx_http3_active", "") \
    X(HCM_CX_SSL_TOTAL, COUNTER, NONE, "downstream_cx_ssl_total", "") X(HCM_CX_SSL_ACTIVE, GAUGE, NONE, "downstream_cx_ssl_active", "") \
    X(HCM_CX_UPGRADES_TOTAL, COUNTER, NONE, "downstream_cx_upgrades_total", "") X(HCM_CX_UPGRADES_ACTIVE, GAUGE, NONE, "downstream_cx_upgrades_active", "") \
    X(HCM_CX_PROTOCOL_ERROR, COUNTER, NONE, "downstream_cx_protocol_error", "Protocol errors")     \
    X(HCM_CX_LENGTH_MS, HISTOGRAM, MS, "downstream_cx_length_ms", "Connection length")             \
    X(HCM_CX_RX_BYTES_TOTAL, COUNTER, BYTES, "downstream_cx_rx_bytes_total", "") X(HCM_CX_RX_BYTES_BUFFERED, GAUGE, BYTES, "downstream_cx_rx_bytes_buffered", "") \
    X(HCM_CX_TX_BYTES_TOTAL, COUNTER, BYTES, "downstream_cx_tx_bytes_total", "") X(HCM_CX_TX_BYTES_BUFFERED, GAUGE, BYTES, "downstream_cx_tx_bytes_buffered", "") \
    X(HCM_CX_DRAIN_CLOSE, COUNTER, NONE, "downstream_cx_drain_close", "Closed by draining")        \
    X(HCM_CX_IDLE_TIMEOUT, COUNTER, NONE, "downstream_cx_idle_timeout", "Closed idle")             \
    X(HCM_CX_MAX_DURATION_REACHED, COUNTER, NONE, "downstream_cx_max_duration_reached", "Closed by age") \
    X(HCM_CX_MAX_REQUESTS_REACHED, COUNTER, NONE, "downstream_cx_max_requests_reached", "Closed after max requests") \
    X(HCM_CX_OVERLOAD_DISABLE_KEEPALIVE, COUNTER, NONE, "downstream_cx_overload_disable_keepalive", "") \
    X(HCM_CX_DELAYED_CLOSE_TIMEOUT, COUNTER, NONE, "downstream_cx_delayed_close_timeout", "")      \
    X(HCM_FLOW_PAUSED, COUNTER, NONE, "downstream_flow_control_paused_reading_total", "") X(HCM_FLOW_RESUMED, COUNTER, NONE, "downstream_flow_control_resumed_reading_total", "") \
    X(HCM_RQ_TOTAL, COUNTER, NONE, "downstream_rq_total", "Requests") X(HCM_RQ_ACTIVE, GAUGE, NONE, "downstream_rq_active", "Requests running") \
    X(HCM_RQ_HTTP1_TOTAL, COUNTER, NONE, "downstream_rq_http1_total", "") X(HCM_RQ_HTTP2_TOTAL, COUNTER, NONE, "downstream_rq_http2_total", "") \
    X(HCM_RQ_HTTP3_TOTAL, COUNTER, NONE, "downstream_rq_http3_total", "")                          \
    X(HCM_RQ_RX_RESET, COUNTER, NONE, "downstream_rq_rx_reset", "Reset by the client") X(HCM_RQ_TX_RESET, COUNTER, NONE, "downstream_rq_tx_reset", "Reset by us") \
    X(HCM_RQ_NON_RELATIVE_PATH, COUNTER, NONE, "downstream_rq_non_relative_path", "") X(HCM_RQ_TOO_LARGE, COUNTER, NONE, "downstream_rq_too_large", "") \
    X(HCM_RQ_COMPLETED, COUNTER, NONE, "downstream_rq_completed", "") X(HCM_RQ_1XX, COUNTER, NONE, "downstream_rq_1xx", "") X(HCM_RQ_2XX, COUNTER, NONE, "downstream_rq_2xx", "") \
    X(HCM_RQ_3XX, COUNTER, NONE, "downstream_rq_3xx", "") X(HCM_RQ_4XX, COUNTER, NONE, "downstream_rq_4xx", "") X(HCM_RQ_5XX, COUNTER, NONE, "downstream_rq_5xx", "") \
    X(HCM_RQ_WS_ON_NON_WS_ROUTE, COUNTER, NONE, "downstream_rq_ws_on_non_ws_route", "") X(HCM_RQ_TIME, HISTOGRAM, MS, "downstream_rq_time", "Request time") \
    X(HCM_RQ_IDLE_TIMEOUT, COUNTER, NONE, "downstream_rq_idle_timeout", "") X(HCM_RQ_MAX_DURATION_REACHED, COUNTER, NONE, "downstream_rq_max_duration_reached", "") \
    X(HCM_RQ_TIMEOUT, COUNTER, NONE, "downstream_rq_timeout", "") X(HCM_RQ_HEADER_TIMEOUT, COUNTER, NONE, "downstream_rq_header_timeout", "") \
    X(HCM_RQ_OVERLOAD_CLOSE, COUNTER, NONE, "downstream_rq_overload_close", "") X(HCM_RQ_REDIRECTED_NORMALIZED_PATH, COUNTER, NONE, "downstream_rq_redirected_with_normalized_path", "") \
    X(HCM_RQ_REJECTED_VIA_IP_DETECTION, COUNTER, NONE, "downstream_rq_rejected_via_ip_detection", "") X(HCM_RQ_RESPONSE_BEFORE_RQ_COMPLETE, COUNTER, NONE, "downstream_rq_response_before_rq_complete", "") \
    X(HCM_RQ_TOO_MANY_PREMATURE_RESETS, COUNTER, NONE, "downstream_rq_too_many_premature_resets", "") X(HCM_RS_TOO_LARGE, COUNTER, NONE, "rs_too_large", "") \
    X(HCM_NO_CLUSTER, COUNTER, NONE, "no_cluster", "") X(HCM_NO_ROUTE, COUNTER, NONE, "no_route", "") X(HCM_RQ_DIRECT_RESPONSE, COUNTER, NONE, "rq_direct_response", "") \
    X(HCM_RQ_REDIRECT, COUNTER, NONE, "rq_redirect", "") X(HCM_RQ_RESET_AFTER_DOWNSTREAM, COUNTER, NONE, "rq_reset_after_downstream_response_started", "") \
    X(HCM_ROUTER_RQ_TOTAL, COUNTER, NONE, "rq_total", "") \
    X(HCM_PASSTHROUGH_INTERNAL_REDIRECT_A, COUNTER, NONE, "passthrough_internal_redirect_bad_location", "") X(HCM_PASSTHROUGH_INTERNAL_REDIRECT_B, COUNTER, NONE, "passthrough_internal_redirect_no_route", "") \
    X(HCM_PASSTHROUGH_INTERNAL_REDIRECT_C, COUNTER, NONE, "passthrough_internal_redirect_predicate", "") X(HCM_PASSTHROUGH_INTERNAL_REDIRECT_D, COUNTER, NONE, "passthrough_internal_redirect_too_many_redirects", "") \
    X(HCM_PASSTHROUGH_INTERNAL_REDIRECT_E, COUNTER, NONE, "passthrough_internal_redirect_unsafe_scheme", "") \
    X(HCM_TRACE_RANDOM_SAMPLING, COUNTER, NONE, "tracing.random_sampling", "Traced by chance") X(HCM_TRACE_SERVICE_FORCED, COUNTER, NONE, "tracing.service_forced", "") \
    X(HCM_TRACE_CLIENT_ENABLED, COUNTER, NONE, "tracing.client_enabled", "") X(HCM_TRACE_NOT_TRACEABLE, COUNTER, NONE, "tracing.not_traceable", "") \
    X(HCM_TRACE_HEALTH_CHECK, COUNTER, NONE, "tracing.health_check", "")
enum hcm_stat {
    HCM_STATS(STAT_ENUM_ROW)
    STAT_HCM_COUNT
};

extern const struct network_filter_def hcm_filter;   /* config: struct hcm_config */
extern const struct http_filter_def router_filter;   /* config: struct router_config */
/* What strict_check_headers may name; a bit each, in this order. */
#define ROUTER_STRICT_HEADERS                                                                                          \
    "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-max-retries", "x-envoy-retry-on", \
    "x-envoy-retry-grpc-on"
struct router_config {
    bool suppress_envoy_headers, start_child_span, respect_expected_rq_timeout, suppress_grpc_stats, dynamic_stats;
    bool log_new_streams;             /* upstream_log_options */
    uint64_t log_interval_ms;         /* 0 none */
    uint32_t strict_headers;
    struct access_log **upstream_logs; uint32_t upstream_log_count; /* a line each attempt */
};
/* Overload, on the connection's worker; nothing happens to connections of other filters. Timers are set anew, never to later
 * than they were; streams that hold much memory are reset (overload.h says how much). */
void hcm_retime(struct downstream *d);
void hcm_reset_heavy(struct downstream *d);
/* Main thread, once everything it refers to exists: statistics scopes, subscriptions. */
void hcm_config_link(struct hcm_config *c, struct link_context *cx);
void hcm_config_free(void *config);

#endif
