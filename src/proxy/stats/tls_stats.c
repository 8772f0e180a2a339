/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts the ends of TLS handshakes. Called on the connection's worker.
 */
#include "proxy/stats/tls_stats.h"

#include "base/check.h"

static const struct stat_desc rows[] = {TLS_STATS(STAT_DESC_ROW)};
const struct stat_table tls_stat_table = {rows, ARRAY_LEN(rows)};
static const struct stat_desc socket_rows[] = {TLS_SOCKET_STATS(STAT_DESC_ROW)};
const struct stat_table tls_socket_stat_table = {socket_rows, ARRAY_LEN(socket_rows)};

/* Refused ones are counted as the failure that they are. */
static void count_staple(struct stat_scope *s, const struct tls_session *session)
{
    enum tls_staple staple = tls_session_staple(session);
    if (staple != TLS_STAPLE_NOT_ASKED)
        stat_inc(s, STAT_TLS_OCSP_STAPLE_REQUESTS);
    if (staple == TLS_STAPLE_SENT)
        stat_inc(s, STAT_TLS_OCSP_STAPLE_RESPONSES);
    if (staple == TLS_STAPLE_OMITTED)
        stat_inc(s, STAT_TLS_OCSP_STAPLE_OMITTED);
}

void tls_stats_done(struct stat_scope *s, const struct tls_session *session)
{
    stat_inc(s, STAT_TLS_HANDSHAKE);
    count_staple(s, session);
    if (tls_session_is_resumed(session))
        stat_inc(s, STAT_TLS_SESSION_REUSED);
    if (!tls_session_peer_presented(session))
        stat_inc(s, STAT_TLS_NO_CERTIFICATE);
    stat_named(s, "ciphers", tls_session_cipher(session));
    stat_named(s, "versions", tls_session_version(session));
    stat_named(s, "curves", tls_session_curve(session));
}

void tls_stats_failed(struct stat_scope *s, const struct tls_session *session)
{
    if (session)
        count_staple(s, session);
    switch (session ? tls_session_failure(session) : TLS_FAILURE_PROTOCOL) {
    case TLS_FAILURE_NO_CERT:
        stat_inc(s, STAT_TLS_FAIL_VERIFY_NO_CERT);
        break;
    case TLS_FAILURE_VERIFY:
        stat_inc(s, STAT_TLS_FAIL_VERIFY_ERROR);
        break;
    case TLS_FAILURE_SAN:
        stat_inc(s, STAT_TLS_FAIL_VERIFY_SAN);
        break;
    case TLS_FAILURE_HASH:
        stat_inc(s, STAT_TLS_FAIL_VERIFY_CERT_HASH);
        break;
    case TLS_FAILURE_OCSP:
        stat_inc(s, STAT_TLS_OCSP_STAPLE_FAILED);
        break;
    case TLS_FAILURE_NONE:
    case TLS_FAILURE_PROTOCOL:
        stat_inc(s, STAT_TLS_CONNECTION_ERROR);
        break;
    }
}
