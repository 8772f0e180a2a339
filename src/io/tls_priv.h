/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of TLS share: the context's and the session's bodies, and the seams between
 * loading, verifying, resuming and moving bytes. Nobody else includes this.
 */
#ifndef IO_TLS_PRIV_H
#define IO_TLS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "io/tls_openssl.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "io/tls.h"

/* ---- OpenSSL's context of sessions (tls_library.c) ---- */
/* What SSL_CTXs are made in; NULL is the process's own. Any thread. */
OSSL_LIB_CTX *tls_library(void);

/* ---- certificates and keys (tls_cert.c) ---- */
struct tls_cert {
    X509 *leaf;
    STACK_OF(X509) *chain; /* without the leaf; may be NULL */
    EVP_PKEY *key;
    char *source;
    uint8_t *staple; /* OCSP response, DER */
    size_t staple_len;
    int64_t staple_until_s; /* its nextUpdate; 0 without one: such a response is never fresh */
    bool is_ecdsa, must_staple;
    int curve_nid, hash_nid; /* of an ECDSA key: its curve, and the hash TLS 1.3 ties to it */
};
int tls_cert_load(struct tls_cert *c, const struct tls_cert_opts *opts, struct err *err);
void tls_cert_fini(struct tls_cert *c);
int tls_ocsp_load(struct tls_cert *c, struct str der, struct err *err);

/* ---- trust stores (tls_store.c): shared by every context with the same CA and CRL text ---- */
struct tls_store {
    X509_STORE *x509;
    STACK_OF(X509) *cas;
    STACK_OF(X509_NAME) *names; /* what a server tells clients to choose by */
    bool has_crl;
    int64_t *crl_times_s; /* each CRL's lastUpdate and nextUpdate (0: none) */
    size_t crl_time_count;
    uint8_t key[32];
    unsigned refs; /* under the table's lock */
    struct tls_store *next;
};
struct tls_store *tls_store_get(struct str ca_pem, struct str source, struct str crl_pem,
                                struct err *err);
void tls_store_unref(struct tls_store **s);
/* The first second after now_s in which other CRLs are in force than now; INT64_MAX without one. */
int64_t tls_store_steady_until(const struct tls_store *s, int64_t now_s);

/* ---- upstream sessions to resume (tls_cache.c) ---- */
struct tls_cache {
    pthread_mutex_t lock; /* held for a few pointer moves, once a handshake */
    struct tls_cache_entry {
        char *sni;
        SSL_SESSION *session;
    } *entries; /* newest last */
    size_t count, max;
};
void tls_cache_init(struct tls_cache *c, size_t max);
void tls_cache_fini(struct tls_cache *c);
void tls_cache_put(struct tls_cache *c, const char *sni, SSL_SESSION *take_session);
SSL_SESSION *tls_cache_get(struct tls_cache *c, const char *sni); /* owned by the caller, or NULL */

/* ---- chains that were verified (tls_proof.c) ---- */
struct tls_digest {
    uint8_t bytes[32];
};
struct tls_proofs {
    pthread_mutex_t lock;
    struct tls_proof *slots; /* NULL until the first */
    size_t count;
};
void tls_proofs_init(struct tls_proofs *p, bool server);
void tls_proofs_fini(struct tls_proofs *p);
/* False: a chain that proofs aren't kept of. */
bool tls_proof_digest(STACK_OF(X509) *chain, struct tls_digest *out);
bool tls_proofs_have(struct tls_proofs *p, const struct tls_digest *chain, int64_t now_s);
void tls_proofs_keep(struct tls_proofs *p, const struct tls_digest *chain, int64_t from_s,
                     int64_t until_s);

/* ---- session tickets with configured keys (tls_ticket.c) ---- */
struct tls_ticket_key {
    uint8_t name[16], hmac[32], aes[32];
};
int tls_ticket_setup(struct tls_context *ctx, const struct tls_context_opts *opts, struct err *err);

/* ---- the context (tls_context.c) ---- */
struct tls_context {
    uint32_t magic;
    atomic_uint refs;
    bool server;
    SSL_CTX *ssl;
    struct tls_cert *certs;
    size_t cert_count;
    struct map *names; /* tls_select.c: lower-case name -> tls_name_certs; NULL when not needed */
    struct tls_store *store; /* NULL: no trusted CA */
    char *ca_source;
    struct tls_domain *domains; /* tls_spiffe.c */
    size_t domain_count;
    const struct tls_san_matcher *sans;
    size_t san_count;
    struct tls_digest *spki_pins, *cert_hashes;
    size_t spki_pin_count, cert_hash_count;
    struct tls_ticket_key *ticket_keys;
    size_t ticket_key_count;
    struct tls_cache cache;
    struct tls_proofs proofs;
    enum tls_ocsp_policy ocsp_policy;
    bool accept_untrusted, allow_expired, full_scan, enforce_rsa_key_usage;
    uint8_t *alpn; /* wire form */
    size_t alpn_len;
    void (*keylog)(void *arg, const char *line);
    void *keylog_arg;
    void (*release)(void *held);
    void *held;
};
enum { TLS_CONTEXT_MAGIC = 0x746c7363, TLS_SESSION_MAGIC = 0x746c7373 };
struct tls_context *tls_context_of(const SSL *ssl);
/* Wire form (RFC 7301) of a list of protocols; *out is heap memory. */
int tls_alpn_wire(const struct str *names, size_t count, uint8_t **out, size_t *len,
                  struct err *err);

/* ---- choosing the server's certificate (tls_select.c) ---- */
struct tls_name_certs {
    struct tls_cert *rsa, *ecdsa;
};
void tls_select_init(struct tls_context *ctx);
void tls_select_fini(struct tls_context *ctx);

/* ---- verifying the peer (tls_verify.c) ---- */
int tls_verify_init(struct tls_context *ctx, const struct tls_context_opts *opts, struct err *err);
void tls_verify_fini(struct tls_context *ctx);
/* SAN matchers and pins against a leaf; for resumed sessions too, whose matchers may differ from
 * those of the connection that made the session. Records the failure in s. */
bool tls_verify_identity(struct tls_session *s, X509 *leaf);
bool tls_verify_wants_identity(const struct tls_session *s);
/* RFC 6125 section 6.4.3: "*.example.com" covers exactly one left label. */
bool tls_dns_matches(struct str pattern, struct str name);
/* Calls fn for every SAN; addresses come as text. Stops when fn returns true, and returns that. */
bool tls_each_san(X509 *cert, bool (*fn)(void *arg, enum tls_san_type type, struct str name),
                  void *arg);

/* ---- trust domains (tls_spiffe.c) ---- */
int tls_spiffe_init(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err);
void tls_spiffe_fini(struct tls_context *ctx);
/* Makes `x` trust the roots of the peer's domain. False: it has none here, or is no leaf; recorded in s. */
bool tls_spiffe_choose(struct tls_session *s, X509_STORE_CTX *x);

/* ---- facts (tls_facts.c) ---- */
int64_t tls_time_s(const ASN1_TIME *t); /* Unix time; 0 for NULL and for what is no time */
struct tls_facts {
    struct arena arena;
    struct tls_cert_facts facts;
};
/* `chain` (NULL or with the leaf first) becomes chain_pem_url_encoded. */
struct tls_facts *tls_facts_new(X509 *leaf, STACK_OF(X509) *chain);
void tls_facts_free(struct tls_facts **f);

/* ---- the session (tls_session.c) ---- */
struct tls_session {
    uint32_t magic;
    SSL *ssl;
    struct conn *conn;
    struct tls_context *ctx;
    struct buf early; /* bytes read from the socket before TLS began */
    struct buf tx;    /* ciphertext that the socket has not taken yet */
    const struct tls_san_matcher *sans; /* this connection's; the context's by default */
    size_t san_count;
    struct tls_san_matcher *own_sans;
    char *sni;
    int read_errno, write_errno; /* the socket's */
    bool done, broken;
    bool corked;       /* ciphertext is kept back for one writev */
    bool peer_closed;  /* the socket gave end of file */
    bool read_stopped; /* by the caller's bound, or before an end that is still to be told */
    bool presented, validated, verify_failed;
    enum tls_failure failure;
    enum tls_staple staple;
    char *verify_text; /* "verify cert failed: ..." */
    struct tls_facts *peer, *local;
    char *id_hex;
};
struct tls_session *tls_session_new(struct tls_context *ctx, const struct tls_client_opts *opts,
                                    struct err *err);
void tls_session_free(struct tls_session **s);
/* After the handshake; false refuses a resumed session whose identity isn't accepted. */
bool tls_session_finish(struct tls_session *s);
struct tls_session *tls_session_of(const SSL *ssl);
void tls_session_fail(struct tls_session *s, enum tls_failure why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- texts (tls_error.c) ---- */
static inline void tls_errors_clear(void)
{
    if (ERR_peek_error()) /* clearing walks the whole queue */
        ERR_clear_error();
}
/* Empties this thread's queue into "TLS_error:|code:lib:func:reason:TLS_error_end" form. */
char *tls_errors_take(const char *verify_text);
/* The newest reason of the queue as one phrase, for configuration faults; empties the queue. */
const char *tls_error_reason(char *out, size_t n);

#endif
