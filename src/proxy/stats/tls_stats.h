/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics of TLS, the same for listeners ("listener.<address>.ssl.") and clusters
 * ("cluster.<name>.ssl.").
 */
#ifndef PROXY_STATS_TLS_STATS_H
#define PROXY_STATS_TLS_STATS_H

#include "io/tls.h"
#include "proxy/stats/stats.h"

#define TLS_STATS(X)                                                                               \
    X(TLS_CONNECTION_ERROR, COUNTER, NONE, "connection_error", "Handshakes that failed but for verification") \
    X(TLS_HANDSHAKE, COUNTER, NONE, "handshake", "Handshakes completed")                           \
    X(TLS_SESSION_REUSED, COUNTER, NONE, "session_reused", "Sessions resumed")                     \
    X(TLS_NO_CERTIFICATE, COUNTER, NONE, "no_certificate", "Handshakes without a peer certificate") \
    X(TLS_FAIL_VERIFY_NO_CERT, COUNTER, NONE, "fail_verify_no_cert", "Peer certificate missing")   \
    X(TLS_FAIL_VERIFY_ERROR, COUNTER, NONE, "fail_verify_error", "Peer certificate not trusted")   \
    X(TLS_FAIL_VERIFY_SAN, COUNTER, NONE, "fail_verify_san", "Peer name not accepted")             \
    X(TLS_FAIL_VERIFY_CERT_HASH, COUNTER, NONE, "fail_verify_cert_hash", "Peer certificate not pinned") \
    X(TLS_OCSP_STAPLE_FAILED, COUNTER, NONE, "ocsp_staple_failed", "")                             \
    X(TLS_OCSP_STAPLE_OMITTED, COUNTER, NONE, "ocsp_staple_omitted", "")                           \
    X(TLS_OCSP_STAPLE_RESPONSES, COUNTER, NONE, "ocsp_staple_responses", "")                       \
    X(TLS_OCSP_STAPLE_REQUESTS, COUNTER, NONE, "ocsp_staple_requests", "")
enum tls_stat {
    TLS_STATS(STAT_ENUM_ROW)
    STAT_TLS_COUNT
};
extern const struct stat_table tls_stat_table;

/* What comes before a handshake: "listener.<address>.server_ssl_socket_factory.", "cluster.<name>.client_ssl_socket_factory." */
#define TLS_SOCKET_STATS(X)                                                                        \
    X(TLS_UPSTREAM_NOT_READY, COUNTER, NONE, "upstream_context_secrets_not_ready", "Connections that failed for want of a secret") \
    X(TLS_DOWNSTREAM_NOT_READY, COUNTER, NONE, "downstream_context_secrets_not_ready", "Connections closed for want of a secret")
enum tls_socket_stat {
    TLS_SOCKET_STATS(STAT_ENUM_ROW)
    STAT_TLS_SOCKET_COUNT
};
extern const struct stat_table tls_socket_stat_table;

/* A handshake has ended well / has failed (session may be NULL). */
void tls_stats_done(struct stat_scope *s, const struct tls_session *session);
void tls_stats_failed(struct stat_scope *s, const struct tls_session *session);

#endif
