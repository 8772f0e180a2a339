/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS over OpenSSL >= 3.0. A tls_context is one immutable, reference-counted configuration for many
 * connections, made on the main thread and used by all workers (OpenSSL locks its own session
 * cache; nothing else is shared on the path). When a certificate changes a new context is made and
 * swapped by its owner; connections keep the one they began with.
 * A tls_session is one connection's state; read it for logs, identity and XFCC.
 */
#ifndef IO_TLS_H
#define IO_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct tls_context;
struct tls_session;

enum tls_version { TLS_AUTO, TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3 };
enum tls_san_type { TLS_SAN_EMAIL, TLS_SAN_DNS, TLS_SAN_URI, TLS_SAN_IP, TLS_SAN_OTHER };

/* Called for each name of that type in the leaf; true accepts the certificate. */
struct tls_san_matcher {
    enum tls_san_type type;
    bool (*match)(const void *arg, struct str name);
    const void *arg;
    bool exact_dns; /* `arg` is a struct str: DNS wildcard rules (RFC 6125) apply instead of match */
};

struct tls_cert_opts {         /* PEM (several certificates = chain) or PKCS#12 */
    struct str chain_pem, key_pem, key_password, pkcs12, ocsp_staple_der;
    struct str source;         /* file name or "<inline>", for messages and /certs */
};

/* Roots of one SPIFFE trust domain. */
struct tls_trust_domain {
    struct str name, ca_pem, source;
};
enum tls_trust_mode { TLS_TRUST_VERIFY, TLS_TRUST_ACCEPT_UNTRUSTED };
enum tls_ocsp_policy { TLS_OCSP_LENIENT, TLS_OCSP_STRICT, TLS_OCSP_MUST_STAPLE };
enum tls_crl_depth { TLS_CRL_ALL, TLS_CRL_LEAF };

struct tls_context_opts {
    bool server;
    const struct tls_cert_opts *certs; /* several: chosen by SNI, then by the client's algorithms */
    size_t cert_count;
    struct str trusted_ca_pem, trusted_ca_source;
    struct str crl_pem;
    bool crl_leaf_only;
    /* Peers are verified by the domain that their URI names; then trusted_ca_pem must hold the roots of all. */
    const struct tls_trust_domain *domains;
    size_t domain_count;
    const struct tls_san_matcher *sans; /* any one match is enough; needs trusted_ca. Kept: borrowed until release */
    size_t san_count;
    const struct str *spki_pins;  /* base64 SHA-256 */
    size_t spki_pin_count;
    const struct str *cert_hashes; /* hex SHA-256, with or without colons */
    size_t cert_hash_count;
    enum tls_trust_mode trust_mode;
    bool allow_expired;
    uint32_t max_verify_depth;    /* 0 = default (100) */
    bool require_client_cert;     /* server */
    enum tls_version min_version, max_version;
    struct str cipher_list;       /* OpenSSL colon list for <= 1.2; "" = a modern default (Envoy's) */
    struct str cipher_suites_13;  /* "" = default */
    struct str curves, signature_algorithms; /* colon lists, "" = default */
    const struct str *alpn;       /* in order of preference */
    size_t alpn_count;
    bool no_session_tickets, no_session_ids; /* server: stateless / stateful resumption off */
    const struct str *ticket_keys; /* 80 bytes each: the first encrypts, all decrypt */
    size_t ticket_key_count;
    uint32_t session_timeout_s;   /* 0 = default */
    uint32_t max_session_keys;    /* client cache per context: default 1; 0 = off */
    bool allow_renegotiation;     /* client */
    enum tls_ocsp_policy ocsp_policy;
    bool full_scan_certs_on_sni_mismatch;
    bool prefer_client_ciphers;
    bool enforce_rsa_key_usage;
    void (*keylog)(void *arg, const char *line);
    void *keylog_arg;
    /* Called with take_held when the context's last reference goes, on any thread: it owns what is borrowed above. Not
     * when tls_context_new fails. May be NULL. */
    void (*release)(void *held);
    void *take_held;
};
/* Faults name the thing: "certificate_chain /etc/x.pem: no PEM certificate found". */
struct tls_context *tls_context_new(const struct tls_context_opts *opts, struct err *err);
struct tls_context *tls_context_ref(struct tls_context *ctx);
void tls_context_unref(struct tls_context **ctx);

struct tls_client_opts {
    struct str sni;               /* "" = none */
    const struct str *alpn;       /* overrides the context's when count > 0 */
    size_t alpn_count;
    bool alpn_is_fallback;        /* … only where the context has none */
    /* auto_san_validation and overrides: replace the context's SAN matchers when count > 0. The array
     * is copied; what `arg` points to is borrowed until the handshake is done or the connection dead. */
    const struct tls_san_matcher *sans;
    size_t san_count;
};

/* What a handshake's failure is counted as (Envoy's listener/cluster `ssl.*` statistics). */
enum tls_failure {
    TLS_FAILURE_NONE,
    TLS_FAILURE_NO_CERT,         /* fail_verify_no_cert */
    TLS_FAILURE_VERIFY,          /* fail_verify_error */
    TLS_FAILURE_SAN,             /* fail_verify_san */
    TLS_FAILURE_HASH,            /* fail_verify_cert_hash */
    TLS_FAILURE_OCSP,            /* ocsp_staple_failed */
    TLS_FAILURE_PROTOCOL,        /* connection_error */
};
/* Recorded under TLS_TRUST_ACCEPT_UNTRUSTED too, where the connection lives on. */
enum tls_failure tls_session_failure(const struct tls_session *s);

/* A server's OCSP staple. Known once a certificate was chosen, also where the handshake failed later. */
enum tls_staple { TLS_STAPLE_NOT_ASKED, TLS_STAPLE_SENT, TLS_STAPLE_OMITTED, TLS_STAPLE_REFUSED };
enum tls_staple tls_session_staple(const struct tls_session *s);

bool tls_session_is_done(const struct tls_session *s); /* handshake finished */
bool tls_session_is_resumed(const struct tls_session *s);
struct str tls_session_alpn(const struct tls_session *s);
struct str tls_session_sni(const struct tls_session *s);
const char *tls_session_version(const struct tls_session *s); /* "TLSv1.3"; "" before */
const char *tls_session_cipher(const struct tls_session *s);  /* OpenSSL name */
uint16_t tls_session_cipher_id(const struct tls_session *s);
const char *tls_session_curve(const struct tls_session *s);
struct str tls_session_id_hex(struct tls_session *s);
bool tls_session_peer_presented(const struct tls_session *s);
bool tls_session_peer_validated(const struct tls_session *s);
/* Facts of the peer's and our own certificate, extracted on first use and cached in the session.
 * Lists are NUL-terminated arrays of str ended by {NULL,0}. */
struct tls_cert_facts {
    struct str subject, issuer;   /* RFC 2253 */
    struct str serial_hex;        /* lower case */
    struct str sha256_hex, sha1_hex;
    const struct str *uri_sans, *dns_sans, *ip_sans, *email_sans;
    struct str pem_url_encoded, chain_pem_url_encoded;
    int64_t not_before_s, not_after_s; /* Unix time */
};
const struct tls_cert_facts *tls_session_peer(struct tls_session *s);  /* NULL when none */
const struct tls_cert_facts *tls_session_local(struct tls_session *s);

/* For the admin page /certs: every certificate of a context. */
struct tls_cert_info {
    struct str path, serial_hex;
    const struct str *uri_sans, *dns_sans, *ip_sans;
    int64_t not_before_s, not_after_s;
};
void tls_context_each_cert(const struct tls_context *ctx, bool ca,
                           void (*fn)(const struct tls_cert_info *info, void *arg), void *arg);
int64_t tls_context_days_until_expiry(const struct tls_context *ctx, int64_t now_s);

/* The system's bundle of root certificates: where distributions have it. Where there is none, a name whose reading says so. */
const char *tls_system_roots(void);

/* ---- ClientHello inspection without TLS (tls_inspector), sans I/O ---- */
enum tls_hello_result { TLS_HELLO_MORE, TLS_HELLO_YES, TLS_HELLO_NOT_TLS, TLS_HELLO_BAD };
struct tls_hello {
    struct str sni;              /* point into the bytes given, or into `joined` */
    struct str alpn[16];         /* those past the 16th are dropped */
    size_t alpn_count;
    uint16_t version;            /* highest offered */
    /* Names that straddle two records are put together here, so a tls_hello isn't copied by value. */
    char joined[1024];
    size_t joined_len;
};
/* MORE: call again with the same bytes and more of them. NOT_TLS: the first bytes are no TLS
 * record. BAD: a TLS record that holds no well-formed ClientHello, or one past the limit. */
#define TLS_HELLO_MAX_BYTES 65536
enum tls_hello_result tls_hello_parse(const void *p, size_t n, struct tls_hello *out);

#endif
