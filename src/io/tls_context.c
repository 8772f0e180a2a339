/* SPDX-License-Identifier: Apache-2.0
 *
 * A TLS configuration made once and read by many. Built on the main thread; after tls_context_new
 * nothing in it changes but the reference count, the session cache (its own lock) and what OpenSSL
 * locks itself. The last reference may go on any thread. Defaults are Envoy's: TLS 1.2 to 1.3, its
 * cipher list, X25519 and P-256. What OpenSSL would skip in silence (a cipher it doesn't know) is a
 * fault here.
 */
#include "io/tls_priv.h"

#include "base/check.h"
#include "base/mem.h"

#define DEFAULT_CIPHERS                                                                            \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"                                 \
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:"                                     \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define DEFAULT_SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define DEFAULT_CURVES "X25519:P-256"

enum {
    READ_BUFFER_BYTES = 2 * (SSL3_RT_MAX_PLAIN_LENGTH + 512), /* two full records a read(2) */
    ALPN_WIRE_MAX = 1024,
    SESSION_KEYS_MAX = 10000,
    PEER_CHAIN_MAX_BYTES = 100 * 1024, /* a flood of certificates before authentication */
};

static const int version_numbers[] = {[TLS_AUTO] = 0,
                                      [TLS_1_0] = TLS1_VERSION,
                                      [TLS_1_1] = TLS1_1_VERSION,
                                      [TLS_1_2] = TLS1_2_VERSION,
                                      [TLS_1_3] = TLS1_3_VERSION};

struct tls_context *tls_context_of(const SSL *ssl)
{
    return tls_session_of(ssl)->ctx;
}

static void on_keylog(const SSL *ssl, const char *line)
{
    const struct tls_context *ctx = tls_context_of(ssl);
    ctx->keylog(ctx->keylog_arg, line);
}

/* ---- versions, ciphers, curves ---- */
static int set_versions(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    int min = version_numbers[o->min_version ? o->min_version : TLS_1_2];
    int max = version_numbers[o->max_version ? o->max_version : TLS_1_3];
    if (o->max_version && !o->min_version && max < min)
        min = max;
    if (min > max)
        return err_set(err, ERR_INVALID,
                       "tls_params: tls_minimum_protocol_version is above the maximum");
    SSL_CTX_set_min_proto_version(ctx->ssl, min);
    SSL_CTX_set_max_proto_version(ctx->ssl, max);
    /* TLS 1.0 and 1.1 sign with SHA-1, which OpenSSL 3 allows at level 0 only. Otherwise level 1
     * whatever the system's openssl.cnf says: behaviour must not depend on the host. */
    SSL_CTX_set_security_level(ctx->ssl, min < TLS1_2_VERSION ? 0 : 1);
    return 0;
}

/* BoringSSL's groups of equal preference, "[A|B]:C", become an ordered list. */
static char *plain_cipher_list(struct str list)
{
    char *out = mem_alloc(list.n + 1), *at = out;
    for (size_t i = 0; i < list.n; i++) {
        char c = list.p[i];
        if (c != '[' && c != ']')
            *at++ = c == '|' || c == ',' ? ':' : c;
    }
    *at = 0;
    return out;
}

/* OpenSSL skips what it doesn't know, as long as something is left. */
static int check_ciphers(struct tls_context *ctx, const char *list, struct err *err)
{
    struct str rest = str_from(list);
    while (rest.n) {
        char *name;
        struct str one = str_split(rest, ':', &rest);
        if (one.n == 0 || one.p[0] == '@' || one.p[0] == '!' || one.p[0] == '-' || one.p[0] == '+')
            continue;
        name = mem_strndup(one.p, one.n);
        int ok = SSL_CTX_set_cipher_list(ctx->ssl, name);
        mem_free(name);
        if (!ok) {
            tls_errors_clear();
            return err_set(err, ERR_INVALID, "cipher_suites: \"%.*s\" is not known", STR_ARG(one));
        }
    }
    return 0;
}

static int set_ciphers(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    char *list = o->cipher_list.n ? plain_cipher_list(o->cipher_list) : mem_strdup(DEFAULT_CIPHERS);
    int rc = o->cipher_list.n ? check_ciphers(ctx, list, err) : 0;
    if (rc == 0 && !SSL_CTX_set_cipher_list(ctx->ssl, list))
        rc = err_set(err, ERR_INVALID, "cipher_suites: \"%s\" leaves no cipher", list);
    mem_free(list);
    return rc;
}

typedef int (*set_list_fn)(SSL_CTX *ssl, const char *list);

static int set_suites_13(SSL_CTX *ssl, const char *list)
{
    return SSL_CTX_set_ciphersuites(ssl, list);
}
static int set_curves(SSL_CTX *ssl, const char *list)
{
    return (int)SSL_CTX_set1_groups_list(ssl, (char *)list);
}
static int set_sigalgs(SSL_CTX *ssl, const char *list)
{
    return (int)SSL_CTX_set1_sigalgs_list(ssl, (char *)list);
}

static int set_list(struct tls_context *ctx, set_list_fn set, const char *field, struct str list,
                    const char *fallback, struct err *err)
{
    if (list.n == 0 && !fallback)
        return 0;
    char *text = list.n ? mem_strndup(list.p, list.n) : mem_strdup(fallback);
    int rc = 0;
    if (set(ctx->ssl, text) != 1)
        rc = err_set(err, ERR_INVALID, "%s: \"%s\" holds a name that is not known", field, text);
    tls_errors_clear();
    mem_free(text);
    return rc;
}

/* Envoy writes BoringSSL's names (rsa_pss_rsae_sha256); OpenSSL 3.0 takes those too. */
static int set_algorithms(struct tls_context *ctx, const struct tls_context_opts *o,
                          struct err *err)
{
    int rc = set_versions(ctx, o, err);
    if (rc == 0)
        rc = set_ciphers(ctx, o, err);
    if (rc == 0)
        rc = set_list(ctx, set_suites_13, "cipher_suites", o->cipher_suites_13, DEFAULT_SUITES_13,
                      err);
    if (rc == 0)
        rc = set_list(ctx, set_curves, "ecdh_curves", o->curves, DEFAULT_CURVES, err);
    if (rc == 0)
        rc = set_list(ctx, set_sigalgs, "signature_algorithms", o->signature_algorithms, NULL, err);
    return rc;
}

/* ---- ALPN ---- */
int tls_alpn_wire(const struct str *names, size_t count, uint8_t **out, size_t *len,
                  struct err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (names[i].n == 0 || names[i].n > 255 || n + names[i].n + 1 > ALPN_WIRE_MAX)
            return err_set(err, ERR_INVALID, "alpn_protocols[%zu]: 1 to 255 bytes, 1024 together", i);
        n += names[i].n + 1;
    }
    uint8_t *wire = mem_alloc(n + 1), *at = wire;
    for (size_t i = 0; i < count; i++) {
        *at++ = (uint8_t)names[i].n;
        memcpy(at, names[i].p, names[i].n);
        at += names[i].n;
    }
    *out = wire;
    *len = n;
    return 0;
}

/* The server's order decides. Without overlap the handshake goes on without ALPN, as Envoy does. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    (void)arg;
    const struct tls_context *ctx = tls_context_of(ssl);
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, ctx->alpn, (unsigned)ctx->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int set_alpn(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    int rc = tls_alpn_wire(o->alpn, o->alpn_count, &ctx->alpn, &ctx->alpn_len, err);
    if (rc || o->alpn_count == 0)
        return rc;
    if (ctx->server)
        SSL_CTX_set_alpn_select_cb(ctx->ssl, on_alpn, NULL);
    else
        SSL_CTX_set_alpn_protos(ctx->ssl, ctx->alpn, (unsigned)ctx->alpn_len);
    return 0;
}

/* ---- certificates ---- */
static int install_cert(struct tls_context *ctx, struct tls_cert *c, struct err *err)
{
    char reason[128];
    tls_errors_clear();
    if (SSL_CTX_use_cert_and_key(ctx->ssl, c->leaf, c->key, c->chain, 1) == 1)
        return 0;
    return err_set(err, ERR_TLS, "certificate_chain %s: %s", c->source,
                   tls_error_reason(reason, sizeof reason));
}

static int check_staples(const struct tls_context *ctx, struct err *err)
{
    for (size_t i = 0; i < ctx->cert_count && ctx->server; i++) {
        const struct tls_cert *c = &ctx->certs[i];
        if (c->staple)
            continue;
        if (c->must_staple)
            return err_set(err, ERR_INVALID,
                           "ocsp_staple of %s: missing, and the certificate is must-staple",
                           c->source);
        if (ctx->ocsp_policy == TLS_OCSP_MUST_STAPLE)
            return err_set(err, ERR_INVALID,
                           "ocsp_staple of %s: missing, and ocsp_staple_policy is MUST_STAPLE",
                           c->source);
    }
    return 0;
}

static int load_certs(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    if (ctx->server && o->cert_count == 0)
        return err_set(err, ERR_INVALID, "no TLS certificate for a server");
    if (!ctx->server && o->cert_count > 1)
        return err_set(err, ERR_INVALID, "tls_certificates: a client takes one certificate only");
    ctx->certs = mem_zalloc((o->cert_count + 1) * sizeof *ctx->certs);
    for (size_t i = 0; i < o->cert_count; i++) {
        int rc = tls_cert_load(&ctx->certs[ctx->cert_count++], &o->certs[i], err);
        if (rc)
            return rc;
    }
    int rc = check_staples(ctx, err);
    /* The first is the default; with several, tls_select.c replaces it per connection. */
    if (rc == 0 && ctx->cert_count)
        rc = install_cert(ctx, &ctx->certs[0], err);
    return rc;
}

/* ---- resumption on the client ---- */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_session *s = tls_session_of(ssl);
    if (s->verify_failed || !SSL_SESSION_is_resumable(session))
        return 0;
    tls_cache_put(&s->ctx->cache, s->sni, session);
    return 1; /* the cache owns it */
}

static int set_client_cache(struct tls_context *ctx, const struct tls_context_opts *o,
                            struct err *err)
{
    if (o->max_session_keys > SESSION_KEYS_MAX)
        return err_set(err, ERR_LIMIT, "max_session_keys: %u, at most %d", o->max_session_keys,
                       SESSION_KEYS_MAX);
    SSL_CTX_set_session_cache_mode(ctx->ssl, SSL_SESS_CACHE_OFF);
    if (o->max_session_keys == 0)
        return 0;
    SSL_CTX_set_session_cache_mode(ctx->ssl,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx->ssl, on_new_session);
    return 0;
}

/* ---- the whole ---- */
static void set_modes(struct tls_context *ctx, const struct tls_context_opts *o)
{
    uint64_t options = SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                       SSL_OP_SINGLE_ECDH_USE;
    if (!o->prefer_client_ciphers)
        options |= SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;
    if (ctx->server || !o->allow_renegotiation)
        options |= SSL_OP_NO_RENEGOTIATION;
    SSL_CTX_set_options(ctx->ssl, options);
    SSL_CTX_set_mode(ctx->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx->ssl, 1);
    SSL_CTX_set_default_read_buffer_len(ctx->ssl, READ_BUFFER_BYTES);
    SSL_CTX_set_max_cert_list(ctx->ssl, PEER_CHAIN_MAX_BYTES);
    if (o->session_timeout_s)
        SSL_CTX_set_timeout(ctx->ssl, (long)o->session_timeout_s);
    if (o->keylog) {
        ctx->keylog = o->keylog;
        ctx->keylog_arg = o->keylog_arg;
        SSL_CTX_set_keylog_callback(ctx->ssl, on_keylog);
    }
}

static int context_build(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    set_modes(ctx, o);
    int rc = set_algorithms(ctx, o, err);
    if (rc == 0)
        rc = load_certs(ctx, o, err);
    if (rc == 0)
        rc = tls_verify_init(ctx, o, err);
    if (rc == 0)
        rc = set_alpn(ctx, o, err);
    if (rc == 0)
        rc = ctx->server ? tls_ticket_setup(ctx, o, err) : set_client_cache(ctx, o, err);
    if (rc == 0 && ctx->server)
        tls_select_init(ctx);
    return rc;
}

static void context_free(struct tls_context *ctx)
{
    tls_select_fini(ctx);
    tls_verify_fini(ctx);
    for (size_t i = 0; i < ctx->cert_count; i++)
        tls_cert_fini(&ctx->certs[i]);
    mem_free(ctx->certs);
    tls_cache_fini(&ctx->cache);
    tls_proofs_fini(&ctx->proofs);
    if (ctx->ticket_keys)
        OPENSSL_cleanse(ctx->ticket_keys, ctx->ticket_key_count * sizeof *ctx->ticket_keys);
    mem_free(ctx->ticket_keys);
    mem_free(ctx->alpn);
    SSL_CTX_free(ctx->ssl);
    if (ctx->release)
        ctx->release(ctx->held);
    ctx->magic = 0;
    mem_free(ctx);
}

struct tls_context *tls_context_new(const struct tls_context_opts *opts, struct err *err)
{
    struct tls_context *ctx = NEW(tls_context);
    ctx->magic = TLS_CONTEXT_MAGIC;
    atomic_init(&ctx->refs, 1);
    ctx->server = opts->server;
    ctx->ocsp_policy = opts->ocsp_policy;
    ctx->full_scan = opts->full_scan_certs_on_sni_mismatch;
    tls_cache_init(&ctx->cache, opts->server || opts->max_session_keys > SESSION_KEYS_MAX
                                    ? 0
                                    : opts->max_session_keys);
    tls_proofs_init(&ctx->proofs, opts->server);
    tls_errors_clear();
    ctx->ssl = SSL_CTX_new_ex(tls_library(), NULL,
                              opts->server ? TLS_server_method() : TLS_client_method());
    if (!ctx->ssl)
        err_set(err, ERR_TLS, "OpenSSL cannot make a context");
    else if (context_build(ctx, opts, err) == 0) {
        ctx->release = opts->release;
        ctx->held = opts->take_held;
        return ctx;
    }
    tls_errors_clear();
    context_free(ctx);
    return NULL;
}

struct tls_context *tls_context_ref(struct tls_context *ctx)
{
    atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
    return ctx;
}

void tls_context_unref(struct tls_context **ctxp)
{
    struct tls_context *ctx = *ctxp;
    *ctxp = NULL;
    if (ctx && atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) == 1)
        context_free(ctx);
}

/* ---- the admin page ---- */
static void tell_cert(X509 *x, const char *source, void (*fn)(const struct tls_cert_info *, void *),
                      void *arg)
{
    struct tls_facts *f = tls_facts_new(x, NULL);
    struct tls_cert_info info = {
        .path = str_from(source),
        .serial_hex = f->facts.serial_hex,
        .uri_sans = f->facts.uri_sans,
        .dns_sans = f->facts.dns_sans,
        .ip_sans = f->facts.ip_sans,
        .not_before_s = f->facts.not_before_s,
        .not_after_s = f->facts.not_after_s,
    };
    fn(&info, arg);
    tls_facts_free(&f);
}

void tls_context_each_cert(const struct tls_context *ctx, bool ca,
                           void (*fn)(const struct tls_cert_info *info, void *arg), void *arg)
{
    if (ca) {
        for (int i = 0; ctx->store && i < sk_X509_num(ctx->store->cas); i++)
            tell_cert(sk_X509_value(ctx->store->cas, i), ctx->ca_source, fn, arg);
        return;
    }
    for (size_t i = 0; i < ctx->cert_count; i++)
        tell_cert(ctx->certs[i].leaf, ctx->certs[i].source, fn, arg);
}

static void keep_earliest(X509 *x, int64_t *earliest_s)
{
    int64_t until_s = tls_time_s(X509_get0_notAfter(x));
    if (until_s && until_s < *earliest_s)
        *earliest_s = until_s;
}

int64_t tls_context_days_until_expiry(const struct tls_context *ctx, int64_t now_s)
{
    int64_t earliest_s = INT64_MAX;
    for (size_t i = 0; i < ctx->cert_count; i++)
        keep_earliest(ctx->certs[i].leaf, &earliest_s);
    for (int i = 0; ctx->store && i < sk_X509_num(ctx->store->cas); i++)
        keep_earliest(sk_X509_value(ctx->store->cas, i), &earliest_s);
    if (earliest_s == INT64_MAX)
        return INT32_MAX; /* no certificate: Envoy reports the largest number */
    return earliest_s <= now_s ? 0 : (earliest_s - now_s) / 86400;
}
