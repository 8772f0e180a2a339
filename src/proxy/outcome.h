/* SPDX-License-Identifier: Apache-2.0
 *
 * Every ending of a request is one row of one table: Envoy's response flag, its details string, the
 * HTTP status and gRPC status a local answer has, and whether a retry may follow. Access logs,
 * retries and statistics read the row; nobody writes these strings elsewhere.
 */
#ifndef PROXY_OUTCOME_H
#define PROXY_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* bit, short, long (access log %RESPONSE_FLAGS% / %RESPONSE_FLAGS_LONG%) */
#define RESPONSE_FLAG_TABLE(X)                                                                     \
    X(0, LH, "FailedLocalHealthCheck") X(1, UH, "NoHealthyUpstream")                               \
    X(2, UT, "UpstreamRequestTimeout") X(3, LR, "LocalReset")                                      \
    X(4, UR, "UpstreamRemoteReset") X(5, UF, "UpstreamConnectionFailure")                          \
    X(6, UC, "UpstreamConnectionTermination") X(7, UO, "UpstreamOverflow")                         \
    X(8, NR, "NoRouteFound") X(9, DI, "DelayInjected") X(10, FI, "FaultInjected")                  \
    X(11, RL, "RateLimited") X(12, UAEX, "UnauthorizedExternalService")                            \
    X(13, RLSE, "RateLimitServiceError") X(14, DC, "DownstreamConnectionTermination")              \
    X(15, URX, "UpstreamRetryLimitExceeded") X(16, SI, "StreamIdleTimeout")                        \
    X(17, IH, "InvalidEnvoyRequestHeaders") X(18, DPE, "DownstreamProtocolError")                  \
    X(19, UMSDR, "UpstreamMaxStreamDurationReached") X(20, RFCF, "ResponseFromCacheFilter")        \
    X(21, NFCF, "NoFilterConfigFound") X(22, DT, "DurationTimeout")                                \
    X(23, UPE, "UpstreamProtocolError") X(24, NC, "NoClusterFound") X(25, OM, "OverloadManagerTerminated") \
    X(26, DF, "DnsResolutionFailed") X(27, DO, "DropOverload") X(28, DR, "DownstreamRemoteReset")  \
    X(29, UDO, "UnconditionalDropOverload")
enum response_flag {
#define X(bit, name, text) FLAG_##name = 1u << (bit),
    RESPONSE_FLAG_TABLE(X)
#undef X
};

/* name, flag (0 none), HTTP status, gRPC status (-1: by the HTTP status), retriable, details */
#define OUTCOME_TABLE(X)                                                                           \
    X(VIA_UPSTREAM, 0, 0, -1, false, "via_upstream")                                               \
    X(DIRECT_RESPONSE, 0, 0, -1, false, "direct_response")                                         \
    X(ROUTE_NOT_FOUND, FLAG_NR, 404, -1, false, "route_not_found")                                 \
    X(CLUSTER_NOT_FOUND, FLAG_NC, 503, -1, false, "cluster_not_found")                             \
    X(LOCAL_HEALTH_CHECK, 0, 200, -1, false, "health_check_ok")                                    \
    X(LOCAL_HEALTH_CHECK_FAILED, FLAG_LH, 503, -1, false, "health_check_failed")                   \
    X(MAINTENANCE, FLAG_UO, 503, -1, false, "maintenance_mode")                                    \
    X(DROP_ALL, FLAG_UDO, 503, -1, false, "unconditional_drop_overload")                           \
    X(DROP_OVERLOAD, FLAG_DO, 503, -1, false, "drop_overload")                                     \
    X(NO_HEALTHY, FLAG_UH, 503, 14, false, "no_healthy_upstream")                                  \
    X(OVERFLOW, FLAG_UO, 503, 14, true, "upstream_reset_before_response_started{overflow}")        \
    X(CONNECT_FAILED, FLAG_UF, 503, 14, true, "upstream_reset_before_response_started{remote_connection_failure}") \
    X(CONNECT_TIMEOUT, FLAG_UF, 503, 14, true, "upstream_reset_before_response_started{connection_timeout}") \
    X(TERMINATED, FLAG_UC, 503, 14, true, "upstream_reset_before_response_started{connection_termination}") \
    X(REMOTE_RESET, FLAG_UR, 503, 14, true, "upstream_reset_before_response_started{remote_reset}") \
    X(REMOTE_REFUSED, FLAG_UR, 503, 14, true, "upstream_reset_before_response_started{remote_refused_stream_reset}") \
    X(LOCAL_RESET, FLAG_LR, 503, 14, true, "upstream_reset_before_response_started{local_reset}")  \
    X(UPSTREAM_PROTOCOL_ERROR, FLAG_UPE, 502, 14, true, "upstream_reset_before_response_started{protocol_error}") \
    X(LATE_TERMINATED, FLAG_UC, 0, -1, false, "upstream_reset_after_response_started{connection_termination}") \
    X(LATE_REMOTE_RESET, FLAG_UR, 0, -1, false, "upstream_reset_after_response_started{remote_reset}") \
    X(LATE_PROTOCOL_ERROR, FLAG_UPE, 0, -1, false, "upstream_reset_after_response_started{protocol_error}") \
    X(UPSTREAM_TIMEOUT, FLAG_UT, 504, -1, false, "response_timeout")                                \
    X(UPSTREAM_PER_TRY_TIMEOUT, FLAG_UT, 504, -1, true, "upstream_per_try_timeout")                 \
    X(UPSTREAM_PER_TRY_IDLE, FLAG_UT, 504, -1, true, "upstream_per_try_idle_timeout")               \
    X(UPSTREAM_MAX_DURATION, FLAG_UMSDR, 504, -1, false, "upstream_max_stream_duration_reached")    \
    X(RETRY_LIMIT, FLAG_URX, 0, -1, false, "via_upstream")                                         \
    X(STREAM_IDLE, FLAG_SI, 408, -1, false, "stream_idle_timeout")                                 \
    X(STREAM_IDLE_LATE, FLAG_SI, 0, -1, false, "stream_idle_timeout")                              \
    X(REQUEST_TIMEOUT, FLAG_DT, 408, -1, false, "request_overall_timeout")                         \
    X(REQUEST_HEADER_TIMEOUT, FLAG_DT, 408, -1, false, "request_header_timeout")                   \
    X(MAX_DURATION, 0, 408, 4, false, "max_duration_timeout")                               \
    X(DOWNSTREAM_GONE, FLAG_DC, 0, -1, false, "downstream_remote_disconnect")                      \
    X(DOWNSTREAM_LOCAL_CLOSE, FLAG_DC, 0, -1, false, "downstream_local_disconnect")                \
    X(DOWNSTREAM_RESET, FLAG_DR, 0, -1, false, "downstream_remote_reset")                          \
    X(DOWNSTREAM_PROTOCOL_ERROR, FLAG_DPE, 400, -1, false, "http1.codec_error")                    \
    X(MISSING_HOST, 0, 400, -1, false, "missing_host_header")                                      \
    X(MISSING_PATH, 0, 404, -1, false, "missing_path_rejected")                                    \
    X(ABSOLUTE_PATH, 0, 404, -1, false, "absolute_path_rejected")                                  \
    X(PATH_INVALID, 0, 400, -1, false, "path_normalization_failed")                                \
    X(PATH_REDIRECT, 0, 307, -1, false, "path_normalization_failed")                               \
    X(UPGRADE_REFUSED, 0, 403, -1, false, "upgrade_failed")                                        \
    X(IP_DETECTION, 0, 403, -1, false, "original_ip_detection_failed")                             \
    X(REQUEST_TOO_LARGE, 0, 413, -1, false, "request_payload_too_large")                           \
    X(RESPONSE_TOO_LARGE, 0, 500, -1, false, "response_payload_too_large")                         \
    X(RETRY_BODY_TOO_LARGE, 0, 507, -1, false, "request_payload_exceeded_retry_buffer_limit")      \
    X(STRICT_CHECK, FLAG_IH, 400, -1, false, "request_headers_failed_strict_check")                \
    X(INTERNAL_REDIRECT, 0, 302, -1, false, "internal_redirect")                                   \
    X(MISDIRECTED, 0, 421, -1, false, "misdirected_request")                                       \
    X(RATE_LIMITED, FLAG_RL, 429, -1, false, "request_rate_limited")                               \
    X(RATE_LIMITED_EXHAUSTED, FLAG_RL, 429, 8, false, "request_rate_limited")                      \
    X(RATE_LIMIT_ERROR, FLAG_RLSE, 500, -1, false, "rate_limiter_error")                           \
    X(OVERLOAD, FLAG_OM, 503, -1, false, "overload")                                               \
    X(FAULT_ABORT, FLAG_FI, 0, -1, false, "fault_filter_abort")                                      \
    X(CSRF_REFUSED, 0, 403, -1, false, "csrf_origin_mismatch")                                     \
    X(RBAC_DENIED, 0, 403, -1, false, "rbac_access_denied")                                        \
    X(EXT_AUTHZ_DENIED, FLAG_UAEX, 403, -1, false, "ext_authz_denied")                              \
    X(EXT_AUTHZ_ERROR, FLAG_UAEX, 403, -1, false, "ext_authz_error")                                \
    X(EXT_AUTHZ_INVALID, FLAG_UAEX, 500, -1, false, "ext_authz_invalid")                            \
    X(JWT_DENIED, 0, 401, -1, false, "jwt_authn_access_denied")                                    \
    X(DNS_RESOLUTION_FAILED, FLAG_DF, 503, -1, false, "dns_resolution_failure")                    \
    X(DNS_CACHE_OVERFLOW, 0, 503, -1, false, "dns_cache_overflow")                                 \
    X(DNS_PENDING_OVERFLOW, 0, 503, -1, false, "dynamic_forward_proxy_pending_request_overflow")   \
    X(NO_FILTER_CONFIG, FLAG_NFCF, 500, -1, false, "")                                             \
    X(ADMISSION_DENIED, 0, 503, -1, false, "denied_by_admission_control")                          \
    X(INTERNAL, 0, 500, 13, false, "internal")
struct outcome {
    const char *name, *details;
    uint32_t flag;
    int16_t http_status, grpc_status;
    bool retriable;
};
enum outcome_id {
#define X(name, flag, http, grpc, retry, details) OUTCOME_ID_##name,
    OUTCOME_TABLE(X)
#undef X
};
extern const struct outcome outcomes[];
#define OUTCOME(name) (&outcomes[OUTCOME_ID_##name])

/* "UF,URX" / long names; "-" when none. Returns bytes written (no NUL), n >= 512 is always enough. */
size_t response_flags_format(uint32_t flags, bool long_form, char *out, size_t n);
bool response_flag_parse(struct str short_name, uint32_t *flag);
int grpc_status_of_http(unsigned http_status); /* the mapping that gRPC and Envoy document */
unsigned http_status_of_grpc(int grpc_status);

#endif
