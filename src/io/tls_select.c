/* SPDX-License-Identifier: Apache-2.0
 *
 * Which certificate a server shows, as Envoy's default selector does it: by SNI among the DNS SANs
 * (the common name where a certificate has none), the exact name first, then "*." one label up;
 * among the certificates of a name, ECDSA for clients that can verify it, else RSA. Without SNI all
 * are looked through; with an SNI nobody has, the first one is shown, unless
 * full_scan_certs_on_sni_mismatch asks for the best fit. OCSP policies may rule a certificate out.
 * Runs in OpenSSL's certificate callback on a worker; reads only what the context made before.
 */
#include "io/tls_priv.h"

#include <time.h>

#include "base/check.h"
#include "base/mem.h"

enum { NAME_MAX_BYTES = 255 };

static bool staple_is_fresh(const struct tls_cert *c)
{
    return c->staple && c->staple_until_s > (int64_t)time(NULL);
}

static enum tls_staple staple_action(const struct tls_context *ctx, const struct tls_cert *c,
                                     bool client_asks)
{
    if (!client_asks)
        return TLS_STAPLE_NOT_ASKED;
    if (staple_is_fresh(c))
        return TLS_STAPLE_SENT;
    if (c->must_staple || ctx->ocsp_policy == TLS_OCSP_MUST_STAPLE)
        return TLS_STAPLE_REFUSED;
    return ctx->ocsp_policy == TLS_OCSP_STRICT && c->staple ? TLS_STAPLE_REFUSED : TLS_STAPLE_OMITTED;
}

static bool offers_signature(SSL *ssl, const struct tls_cert *c, bool tls13)
{
    int n = SSL_get_sigalgs(ssl, 0, NULL, NULL, NULL, NULL, NULL);
    for (int i = 0; i < n; i++) {
        int sign = 0, hash = 0;
        SSL_get_sigalgs(ssl, i, &sign, &hash, NULL, NULL, NULL);
        if (sign == EVP_PKEY_EC && (!tls13 || hash == c->hash_nid))
            return true;
    }
    return n <= 0 && !tls13; /* RFC 5246 section 7.4.1.4.1: silence means SHA-1 with any key */
}

static bool offers_ecdsa_cipher(SSL *ssl)
{
    STACK_OF(SSL_CIPHER) *ciphers = SSL_get_client_ciphers(ssl);
    for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
        if (SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(ciphers, i)) == NID_auth_ecdsa)
            return true;
    }
    return false;
}

static bool offers_group(SSL *ssl, int nid)
{
    int groups[64];
    int n = SSL_get1_groups(ssl, NULL);
    if (n <= 0)
        return true; /* RFC 8422 section 4: no extension, any curve */
    if (n > (int)ARRAY_LEN(groups))
        return false;
    SSL_get1_groups(ssl, groups);
    for (int i = 0; i < n; i++) {
        if (groups[i] == nid)
            return true;
    }
    return false;
}

static bool client_takes_ecdsa(SSL *ssl, const struct tls_cert *c)
{
    bool tls13 = SSL_version(ssl) >= TLS1_3_VERSION;
    if (!offers_signature(ssl, c, tls13))
        return false;
    return tls13 || (offers_ecdsa_cipher(ssl) && offers_group(ssl, c->curve_nid));
}

struct selection {
    SSL *ssl;
    const struct tls_context *ctx;
    bool client_asks_staple, refused;
    const struct tls_cert *best, *second; /* second: RSA for a client that could do ECDSA */
};

/* True when c is the best fit possible. */
static bool consider(struct selection *sel, const struct tls_cert *c)
{
    if (!c)
        return false;
    if (staple_action(sel->ctx, c, sel->client_asks_staple) == TLS_STAPLE_REFUSED) {
        sel->refused = true;
        return false;
    }
    if (c->is_ecdsa && client_takes_ecdsa(sel->ssl, c)) {
        sel->best = c;
        return true;
    }
    if (!c->is_ecdsa && !sel->second)
        sel->second = c;
    return false;
}

static bool consider_name(struct selection *sel, const char *name, size_t n)
{
    const struct tls_name_certs *at = map_get(sel->ctx->names, str_make(name, n));
    if (!at)
        return false;
    if (!consider(sel, at->ecdsa))
        consider(sel, at->rsa);
    return sel->best || sel->second;
}

static bool select_by_sni(struct selection *sel, const char *sni)
{
    char name[NAME_MAX_BYTES + 1];
    size_t n = strlen(sni);
    if (n == 0 || n > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < n; i++)
        name[i] = ascii_lower(sni[i]);
    if (consider_name(sel, name, n))
        return true;
    const char *dot = memchr(name, '.', n);
    return dot && dot > name && consider_name(sel, dot, n - (size_t)(dot - name));
}

static const struct tls_cert *select_cert(SSL *ssl, const struct tls_context *ctx,
                                          enum tls_staple *staple)
{
    struct selection sel = {.ssl = ssl, .ctx = ctx};
    sel.client_asks_staple = SSL_get_tlsext_status_type(ssl) == TLSEXT_STATUSTYPE_ocsp;
    const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    bool found = sni && select_by_sni(&sel, sni);
    if (!found && (!sni || !*sni || ctx->full_scan)) {
        for (size_t i = 0; i < ctx->cert_count; i++) {
            if (consider(&sel, &ctx->certs[i]))
                break;
        }
    }
    const struct tls_cert *c = sel.best ? sel.best : sel.second ? sel.second : &ctx->certs[0];
    *staple = staple_action(ctx, c, sel.client_asks_staple);
    return c;
}

static int on_certificate(SSL *ssl, void *arg)
{
    (void)arg;
    struct tls_session *s = tls_session_of(ssl);
    const struct tls_cert *c = select_cert(ssl, s->ctx, &s->staple);
    if (s->staple == TLS_STAPLE_REFUSED) {
        tls_session_fail(s, TLS_FAILURE_OCSP, "no fresh OCSP response for %s", c->source);
        return 0;
    }
    if (s->ctx->cert_count == 1)
        return 1; /* it is in the SSL_CTX */
    return SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1);
}

static const struct tls_cert *shown_cert(const struct tls_context *ctx, const X509 *leaf)
{
    for (size_t i = 0; i < ctx->cert_count; i++) {
        if (ctx->certs[i].leaf == leaf)
            return &ctx->certs[i];
    }
    return NULL;
}

static int on_status_request(SSL *ssl, void *arg)
{
    (void)arg;
    const struct tls_context *ctx = tls_context_of(ssl);
    const struct tls_cert *c = shown_cert(ctx, SSL_get_certificate(ssl));
    if (!c || !staple_is_fresh(c))
        return SSL_TLSEXT_ERR_NOACK;
    unsigned char *copy = OPENSSL_memdup(c->staple, c->staple_len);
    if (!copy)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)c->staple_len);
    return SSL_TLSEXT_ERR_OK;
}

/* ---- the map of names ---- */
struct name_adder {
    struct tls_context *ctx;
    struct tls_cert *cert;
    bool any_dns;
};

static void add_name(struct name_adder *a, struct str name)
{
    char lower[NAME_MAX_BYTES];
    if (name.n > 2 && name.p[0] == '*' && name.p[1] == '.')
        name = str_make(name.p + 1, name.n - 1);
    if (name.n == 0 || name.n > NAME_MAX_BYTES)
        return;
    for (size_t i = 0; i < name.n; i++)
        lower[i] = ascii_lower(name.p[i]);
    struct str key = str_make(lower, name.n);
    struct tls_name_certs *at = map_get(a->ctx->names, key);
    if (!at) {
        at = NEW(tls_name_certs);
        map_set(a->ctx->names, key, at);
    }
    struct tls_cert **slot = a->cert->is_ecdsa ? &at->ecdsa : &at->rsa;
    if (!*slot) /* the first of its kind stays, as in Envoy */
        *slot = a->cert;
}

static bool on_san(void *arg, enum tls_san_type type, struct str name)
{
    struct name_adder *a = arg;
    if (type == TLS_SAN_DNS) {
        a->any_dns = true;
        add_name(a, name);
    }
    return false;
}

static void add_common_name(struct name_adder *a)
{
    X509_NAME *subject = X509_get_subject_name(a->cert->leaf);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;
    int n = at < 0 ? -1
                   : ASN1_STRING_to_UTF8(
                         &text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (n > 0)
        add_name(a, str_make((char *)text, (size_t)n));
    OPENSSL_free(text);
}

void tls_select_init(struct tls_context *ctx)
{
    bool any_staple = ctx->ocsp_policy != TLS_OCSP_LENIENT;
    for (size_t i = 0; i < ctx->cert_count; i++)
        any_staple |= ctx->certs[i].staple || ctx->certs[i].must_staple;
    if (any_staple)
        SSL_CTX_set_tlsext_status_cb(ctx->ssl, on_status_request);
    if (ctx->cert_count < 2 && !any_staple)
        return;
    ctx->names = map_new();
    for (size_t i = 0; i < ctx->cert_count; i++) {
        struct name_adder a = {.ctx = ctx, .cert = &ctx->certs[i]};
        tls_each_san(ctx->certs[i].leaf, on_san, &a);
        if (!a.any_dns)
            add_common_name(&a);
    }
    SSL_CTX_set_cert_cb(ctx->ssl, on_certificate, NULL);
}

void tls_select_fini(struct tls_context *ctx)
{
    if (!ctx->names)
        return;
    struct str key;
    void *value;
    for (size_t pos = 0; map_next(ctx->names, &pos, &key, &value);)
        mem_free(value);
    map_free(&ctx->names);
}
