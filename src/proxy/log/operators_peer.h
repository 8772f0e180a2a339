/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private tables of the operators about addresses and TLS: name, which end, which fact.
 */
#ifndef PROXY_LOG_OPERATORS_PEER_H
#define PROXY_LOG_OPERATORS_PEER_H

#include "base/str.h"

struct format_piece;
struct err;

enum peer_end { END_DOWN_REMOTE, END_DOWN_DIRECT, END_DOWN_LOCAL, END_UP_REMOTE, END_UP_LOCAL, END_UP_HOST };
enum address_fact { ADDRESS_WHOLE, ADDRESS_IP, ADDRESS_PORT, ADDRESS_NAME, ADDRESS_NAME_ONLY };
#define ADDRESS_OPERATORS(X)                                                                                           \
    X("DOWNSTREAM_REMOTE_ADDRESS", END_DOWN_REMOTE, ADDRESS_WHOLE)                                                     \
    X("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", END_DOWN_REMOTE, ADDRESS_IP)                                           \
    X("DOWNSTREAM_REMOTE_PORT", END_DOWN_REMOTE, ADDRESS_PORT)                                                         \
    X("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", END_DOWN_DIRECT, ADDRESS_WHOLE)                                              \
    X("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", END_DOWN_DIRECT, ADDRESS_IP)                                    \
    X("DOWNSTREAM_DIRECT_REMOTE_PORT", END_DOWN_DIRECT, ADDRESS_PORT)                                                  \
    X("DOWNSTREAM_LOCAL_ADDRESS", END_DOWN_LOCAL, ADDRESS_WHOLE)                                                       \
    X("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", END_DOWN_LOCAL, ADDRESS_IP)                                             \
    X("DOWNSTREAM_LOCAL_PORT", END_DOWN_LOCAL, ADDRESS_PORT)                                                           \
    X("UPSTREAM_REMOTE_ADDRESS", END_UP_REMOTE, ADDRESS_WHOLE)                                                         \
    X("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", END_UP_REMOTE, ADDRESS_IP)                                               \
    X("UPSTREAM_REMOTE_PORT", END_UP_REMOTE, ADDRESS_PORT)                                                             \
    X("UPSTREAM_LOCAL_ADDRESS", END_UP_LOCAL, ADDRESS_WHOLE)                                                           \
    X("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", END_UP_LOCAL, ADDRESS_IP)                                                 \
    X("UPSTREAM_LOCAL_PORT", END_UP_LOCAL, ADDRESS_PORT)                                                               \
    X("UPSTREAM_HOST", END_UP_HOST, ADDRESS_WHOLE)                                                                     \
    X("UPSTREAM_HOST_NAME", END_UP_HOST, ADDRESS_NAME)                                                                 \
    X("UPSTREAM_HOST_NAME_WITHOUT_PORT", END_UP_HOST, ADDRESS_NAME_ONLY)

enum tls_end { TLS_DOWN_PEER, TLS_DOWN_LOCAL, TLS_DOWN_SESSION, TLS_UP_PEER, TLS_UP_LOCAL, TLS_UP_SESSION };
enum tls_fact {
    FACT_SUBJECT, FACT_ISSUER, FACT_SERIAL, FACT_SHA256, FACT_SHA1, FACT_CERT, FACT_URI_SAN, FACT_DNS_SAN, FACT_IP_SAN,
    FACT_EMAIL_SAN, FACT_NOT_BEFORE, FACT_NOT_AFTER, FACT_VERSION, FACT_CIPHER, FACT_SESSION_ID,
};
#define TLS_OPERATORS(X)                                                                                               \
    X("DOWNSTREAM_PEER_SUBJECT", TLS_DOWN_PEER, FACT_SUBJECT)                                                          \
    X("DOWNSTREAM_PEER_ISSUER", TLS_DOWN_PEER, FACT_ISSUER)                                                            \
    X("DOWNSTREAM_PEER_SERIAL", TLS_DOWN_PEER, FACT_SERIAL)                                                            \
    X("DOWNSTREAM_PEER_FINGERPRINT_256", TLS_DOWN_PEER, FACT_SHA256)                                                   \
    X("DOWNSTREAM_PEER_FINGERPRINT_1", TLS_DOWN_PEER, FACT_SHA1)                                                       \
    X("DOWNSTREAM_PEER_CERT", TLS_DOWN_PEER, FACT_CERT)                                                                \
    X("DOWNSTREAM_PEER_CERT_V_START", TLS_DOWN_PEER, FACT_NOT_BEFORE)                                                  \
    X("DOWNSTREAM_PEER_CERT_V_END", TLS_DOWN_PEER, FACT_NOT_AFTER)                                                     \
    X("DOWNSTREAM_PEER_URI_SAN", TLS_DOWN_PEER, FACT_URI_SAN)                                                          \
    X("DOWNSTREAM_PEER_DNS_SAN", TLS_DOWN_PEER, FACT_DNS_SAN)                                                          \
    X("DOWNSTREAM_PEER_IP_SAN", TLS_DOWN_PEER, FACT_IP_SAN)                                                            \
    X("DOWNSTREAM_PEER_EMAIL_SAN", TLS_DOWN_PEER, FACT_EMAIL_SAN)                                                      \
    X("DOWNSTREAM_LOCAL_SUBJECT", TLS_DOWN_LOCAL, FACT_SUBJECT)                                                        \
    X("DOWNSTREAM_LOCAL_URI_SAN", TLS_DOWN_LOCAL, FACT_URI_SAN)                                                        \
    X("DOWNSTREAM_LOCAL_DNS_SAN", TLS_DOWN_LOCAL, FACT_DNS_SAN)                                                        \
    X("DOWNSTREAM_LOCAL_IP_SAN", TLS_DOWN_LOCAL, FACT_IP_SAN)                                                          \
    X("DOWNSTREAM_LOCAL_EMAIL_SAN", TLS_DOWN_LOCAL, FACT_EMAIL_SAN)                                                    \
    X("DOWNSTREAM_TLS_VERSION", TLS_DOWN_SESSION, FACT_VERSION)                                                        \
    X("DOWNSTREAM_TLS_CIPHER", TLS_DOWN_SESSION, FACT_CIPHER)                                                          \
    X("DOWNSTREAM_TLS_SESSION_ID", TLS_DOWN_SESSION, FACT_SESSION_ID)                                                  \
    X("UPSTREAM_PEER_SUBJECT", TLS_UP_PEER, FACT_SUBJECT)                                                              \
    X("UPSTREAM_PEER_ISSUER", TLS_UP_PEER, FACT_ISSUER)                                                                \
    X("UPSTREAM_PEER_CERT", TLS_UP_PEER, FACT_CERT)                                                                    \
    X("UPSTREAM_PEER_CERT_V_START", TLS_UP_PEER, FACT_NOT_BEFORE)                                                      \
    X("UPSTREAM_PEER_CERT_V_END", TLS_UP_PEER, FACT_NOT_AFTER)                                                         \
    X("UPSTREAM_PEER_URI_SAN", TLS_UP_PEER, FACT_URI_SAN)                                                              \
    X("UPSTREAM_PEER_DNS_SAN", TLS_UP_PEER, FACT_DNS_SAN)                                                              \
    X("UPSTREAM_PEER_IP_SAN", TLS_UP_PEER, FACT_IP_SAN)                                                                \
    X("UPSTREAM_LOCAL_SUBJECT", TLS_UP_LOCAL, FACT_SUBJECT)                                                            \
    X("UPSTREAM_LOCAL_URI_SAN", TLS_UP_LOCAL, FACT_URI_SAN)                                                            \
    X("UPSTREAM_LOCAL_DNS_SAN", TLS_UP_LOCAL, FACT_DNS_SAN)                                                            \
    X("UPSTREAM_TLS_VERSION", TLS_UP_SESSION, FACT_VERSION)                                                            \
    X("UPSTREAM_TLS_CIPHER", TLS_UP_SESSION, FACT_CIPHER)                                                              \
    X("UPSTREAM_TLS_SESSION_ID", TLS_UP_SESSION, FACT_SESSION_ID)

/* end << 8 | fact of a row by its name. */
int peer_operator_index(struct str name);
int check_peer_argument(struct format_piece *p, struct err *err);

#endif
