/* SPDX-License-Identifier: Apache-2.0
 *
 * Verifying the peer's certificate, in Envoy's order: the chain against the trusted CA (and CRL),
 * then SAN matchers (any one is enough), then pins (SPKI or whole certificate; either list is
 * enough). With ACCEPT_UNTRUSTED the outcome is only recorded, so that RBAC and XFCC can tell.
 * Runs in OpenSSL's verification callback on a worker; certificates are the peer's bytes.
 */
#include "io/tls_priv.h"

#include <arpa/inet.h>
#include <time.h>

#include "base/check.h"
#include "base/mem.h"

/* ---- names ---- */
static struct str ip_text(const ASN1_OCTET_STRING *ip, char out[INET6_ADDRSTRLEN])
{
    int family = ip->length == 4 ? AF_INET : ip->length == 16 ? AF_INET6 : AF_UNSPEC;
    if (family == AF_UNSPEC || !inet_ntop(family, ip->data, out, INET6_ADDRSTRLEN))
        return STR_NULL;
    return str_from(out);
}

static struct str other_name_text(const OTHERNAME *o)
{
    const ASN1_TYPE *v = o->value;
    if (v->type != V_ASN1_UTF8STRING && v->type != V_ASN1_IA5STRING &&
        v->type != V_ASN1_PRINTABLESTRING)
        return STR_NULL;
    return str_make((const char *)v->value.asn1_string->data, (size_t)v->value.asn1_string->length);
}

bool tls_each_san(X509 *cert, bool (*fn)(void *arg, enum tls_san_type type, struct str name),
                  void *arg)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool stop = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !stop; i++) {
        GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        char ip[INET6_ADDRSTRLEN];
        struct str text = STR_NULL;
        enum tls_san_type type = TLS_SAN_OTHER;
        if (g->type == GEN_EMAIL || g->type == GEN_DNS || g->type == GEN_URI) {
            type = g->type == GEN_EMAIL ? TLS_SAN_EMAIL
                   : g->type == GEN_DNS ? TLS_SAN_DNS
                                        : TLS_SAN_URI;
            text = str_make((const char *)g->d.ia5->data, (size_t)g->d.ia5->length);
        } else if (g->type == GEN_IPADD) {
            type = TLS_SAN_IP;
            text = ip_text(g->d.iPAddress, ip);
        } else if (g->type == GEN_OTHERNAME) {
            text = other_name_text(g->d.otherName);
        }
        /* A NUL inside is the old trick of "good.example\0.evil": no matcher sees such a name. */
        if (text.n && !memchr(text.p, 0, text.n))
            stop = fn(arg, type, text);
    }
    GENERAL_NAMES_free(names);
    return stop;
}

bool tls_dns_matches(struct str pattern, struct str name)
{
    if (str_eq_nocase(pattern, name))
        return true;
    if (pattern.n < 3 || pattern.p[0] != '*' || pattern.p[1] != '.')
        return false;
    ptrdiff_t dot = str_find_char(name, '.');
    if (dot <= 0)
        return false;
    return str_eq_nocase(str_make(pattern.p + 1, pattern.n - 1),
                         str_make(name.p + dot, name.n - (size_t)dot));
}

static bool san_matches(void *arg, enum tls_san_type type, struct str name)
{
    const struct tls_session *s = arg;
    for (size_t i = 0; i < s->san_count; i++) {
        const struct tls_san_matcher *m = &s->sans[i];
        if (m->type != type)
            continue;
        if (m->exact_dns ? tls_dns_matches(name, *(const struct str *)m->arg)
                         : m->match(m->arg, name))
            return true;
    }
    return false;
}

/* ---- pins ---- */
static bool digest_in(const uint8_t *digest, const struct tls_digest *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(digest, list[i].bytes, sizeof list[i].bytes) == 0)
            return true;
    }
    return false;
}

static bool spki_digest(X509 *leaf, uint8_t out[32])
{
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);
    bool ok = n > 0 && EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL);
    OPENSSL_free(der);
    return ok;
}

static bool pins_match(const struct tls_context *ctx, X509 *leaf)
{
    uint8_t digest[32];
    if (ctx->cert_hash_count && X509_digest(leaf, EVP_sha256(), digest, NULL) &&
        digest_in(digest, ctx->cert_hashes, ctx->cert_hash_count))
        return true;
    return ctx->spki_pin_count && spki_digest(leaf, digest) &&
           digest_in(digest, ctx->spki_pins, ctx->spki_pin_count);
}

bool tls_verify_wants_identity(const struct tls_session *s)
{
    return s->san_count || s->ctx->spki_pin_count || s->ctx->cert_hash_count;
}

bool tls_verify_identity(struct tls_session *s, X509 *leaf)
{
    if (s->san_count && !tls_each_san(leaf, san_matches, s)) {
        tls_session_fail(s, TLS_FAILURE_SAN, "verify cert failed: SAN matcher");
        return false;
    }
    if ((s->ctx->spki_pin_count || s->ctx->cert_hash_count) && !pins_match(s->ctx, leaf)) {
        tls_session_fail(s, TLS_FAILURE_HASH, "verify cert failed: cert hash and spki");
        return false;
    }
    return true;
}

/* ---- the callback ---- */
static int ignore_expiry(int ok, X509_STORE_CTX *x)
{
    int e = X509_STORE_CTX_get_error(x);
    if (!ok && (e == X509_V_ERR_CERT_HAS_EXPIRED || e == X509_V_ERR_CERT_NOT_YET_VALID)) {
        X509_STORE_CTX_set_error(x, X509_V_OK);
        return 1;
    }
    return ok;
}

/* An RSA key may be used for what its keyUsage says only: signing, except in TLS 1.2 key transport. */
static bool rsa_usage_fits(const SSL *ssl, X509 *leaf)
{
    EVP_PKEY *key = X509_get0_pubkey(leaf);
    if (!key || !EVP_PKEY_is_a(key, "RSA") || !(X509_get_extension_flags(leaf) & EXFLAG_KUSAGE))
        return true;
    const SSL_CIPHER *cipher = SSL_get_pending_cipher(ssl);
    bool transport = cipher && SSL_CIPHER_get_kx_nid(cipher) == NID_kx_rsa;
    return X509_get_key_usage(leaf) & (transport ? KU_KEY_ENCIPHERMENT : KU_DIGITAL_SIGNATURE);
}

static int64_t proven_until(const struct tls_context *ctx, X509_STORE_CTX *x, int64_t now_s)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(x);
    int64_t until_s = tls_store_steady_until(ctx->store, now_s);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t end_s = tls_time_s(X509_get0_notAfter(sk_X509_value(chain, i)));
        until_s = end_s < until_s ? end_s : until_s;
    }
    return until_s;
}

/* The chain's proof by an earlier handshake, or a new one. */
static bool prove(struct tls_context *ctx, X509_STORE_CTX *x)
{
    struct tls_digest digest;
    int64_t now_s = time(NULL);
    bool keep = tls_proof_digest(X509_STORE_CTX_get0_untrusted(x), &digest);
    if (keep && tls_proofs_have(&ctx->proofs, &digest, now_s))
        return true;
    if (X509_verify_cert(x) != 1)
        return false;
    if (keep) /* from a time that OpenSSL's own look at the clock wasn't after */
        tls_proofs_keep(&ctx->proofs, &digest, time(NULL), proven_until(ctx, x, now_s));
    return true;
}

static bool verify_chain(struct tls_session *s, X509_STORE_CTX *x)
{
    struct tls_context *ctx = s->ctx;
    if (!ctx->store)
        return true;
    if (ctx->domain_count && !tls_spiffe_choose(s, x))
        return false;
    if (ctx->allow_expired)
        X509_STORE_CTX_set_verify_cb(x, ignore_expiry);
    if (prove(ctx, x))
        return true;
    int e = X509_STORE_CTX_get_error(x);
    tls_session_fail(s, TLS_FAILURE_VERIFY,
                     "verify cert failed: X509_verify_cert: certificate verification error at depth "
                     "%d: %s",
                     X509_STORE_CTX_get_error_depth(x), X509_verify_cert_error_string(e));
    return false;
}

static bool verify_peer(struct tls_session *s, X509_STORE_CTX *x)
{
    X509 *leaf = X509_STORE_CTX_get0_cert(x);
    if (!verify_chain(s, x))
        return false;
    bool ok = true;
    if (s->ctx->enforce_rsa_key_usage && !rsa_usage_fits(s->ssl, leaf)) {
        tls_session_fail(s, TLS_FAILURE_VERIFY, "verify cert failed: RSA key usage");
        ok = false;
    }
    ok = ok && tls_verify_identity(s, leaf);
    if (!ok) /* stays with the session, so that a resumed one isn't taken for validated */
        X509_STORE_CTX_set_error(x, X509_V_ERR_APPLICATION_VERIFICATION);
    return ok;
}

static int on_verify(X509_STORE_CTX *x, void *arg)
{
    (void)arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *s = tls_session_of(ssl);
    if (verify_peer(s, x)) {
        X509_STORE_CTX_set_error(x, X509_V_OK);
        return 1;
    }
    tls_errors_clear(); /* the chain's trouble is in verify_text; with untrusted peers there is none */
    if (!s->ctx->accept_untrusted)
        return 0;
    return 1;
}

/* ---- configuration ---- */
static int parse_spki_pin(struct str text, struct tls_digest *out)
{
    uint8_t raw[48];
    if (text.n != 44 || EVP_DecodeBlock(raw, (const uint8_t *)text.p, 44) != 33 || raw[32] != 0 ||
        text.p[43] != '=')
        return ERR_INVALID;
    memcpy(out->bytes, raw, sizeof out->bytes);
    return 0;
}

static int parse_cert_hash(struct str text, struct tls_digest *out)
{
    bool colons = text.n == 95;
    if (!colons && text.n != 64)
        return ERR_INVALID;
    size_t step = colons ? 3 : 2;
    for (size_t i = 0; i < sizeof out->bytes; i++) {
        uint64_t v;
        if (!str_to_u64_hex(str_make(text.p + i * step, 2), &v) ||
            (colons && i > 0 && text.p[i * step - 1] != ':'))
            return ERR_INVALID;
        out->bytes[i] = (uint8_t)v;
    }
    return 0;
}

static int read_pins(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    ctx->spki_pins = mem_zalloc((o->spki_pin_count + 1) * sizeof *ctx->spki_pins);
    ctx->cert_hashes = mem_zalloc((o->cert_hash_count + 1) * sizeof *ctx->cert_hashes);
    for (size_t i = 0; i < o->spki_pin_count; i++) {
        if (parse_spki_pin(o->spki_pins[i], &ctx->spki_pins[ctx->spki_pin_count++]))
            return err_set(err, ERR_INVALID,
                           "verify_certificate_spki[%zu]: \"%.*s\" is no base64 SHA-256", i,
                           STR_ARG(o->spki_pins[i]));
    }
    for (size_t i = 0; i < o->cert_hash_count; i++) {
        if (parse_cert_hash(o->cert_hashes[i], &ctx->cert_hashes[ctx->cert_hash_count++]))
            return err_set(err, ERR_INVALID,
                           "verify_certificate_hash[%zu]: \"%.*s\" is no hex SHA-256", i,
                           STR_ARG(o->cert_hashes[i]));
    }
    return 0;
}

static int use_store(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    ctx->store = tls_store_get(o->trusted_ca_pem, o->trusted_ca_source, o->crl_pem, err);
    if (!ctx->store)
        return err ? err->code : ERR_INVALID;
    ctx->ca_source = o->trusted_ca_source.n
                         ? mem_strndup(o->trusted_ca_source.p, o->trusted_ca_source.n)
                         : mem_strdup("<inline>");
    SSL_CTX_set1_cert_store(ctx->ssl, ctx->store->x509);
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN; /* a trusted intermediate ends the chain */
    if (ctx->store->has_crl)
        flags |= X509_V_FLAG_CRL_CHECK | (o->crl_leaf_only ? 0 : X509_V_FLAG_CRL_CHECK_ALL);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx->ssl), flags);
    if (o->max_verify_depth)
        SSL_CTX_set_verify_depth(ctx->ssl, (int)(o->max_verify_depth < 100 ? o->max_verify_depth : 100));
    if (ctx->server)
        SSL_CTX_set_client_CA_list(ctx->ssl, SSL_dup_CA_list(ctx->store->names));
    return 0;
}

int tls_verify_init(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    if (o->san_count && o->trusted_ca_pem.n == 0)
        return err_set(err, ERR_INVALID,
                       "match_typed_subject_alt_names: without a trusted_ca names prove nothing");
    if (o->crl_pem.n && o->trusted_ca_pem.n == 0)
        return err_set(err, ERR_INVALID, "crl: needs a trusted_ca");
    int rc = read_pins(ctx, o, err);
    if (rc == 0 && o->trusted_ca_pem.n)
        rc = use_store(ctx, o, err);
    if (rc == 0)
        rc = tls_spiffe_init(ctx, o, err);
    if (rc)
        return rc;
    ctx->sans = o->sans;
    ctx->san_count = o->san_count;
    ctx->accept_untrusted = o->trust_mode == TLS_TRUST_ACCEPT_UNTRUSTED;
    ctx->allow_expired = o->allow_expired;
    ctx->enforce_rsa_key_usage = o->enforce_rsa_key_usage;
    int mode = SSL_VERIFY_NONE;
    if (ctx->store || ctx->spki_pin_count || ctx->cert_hash_count || ctx->accept_untrusted ||
        o->require_client_cert || o->enforce_rsa_key_usage)
        mode = SSL_VERIFY_PEER;
    if (ctx->server && o->require_client_cert)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx->ssl, mode, NULL);
    SSL_CTX_set_cert_verify_callback(ctx->ssl, on_verify, NULL);
    return 0;
}

void tls_verify_fini(struct tls_context *ctx)
{
    mem_free(ctx->spki_pins);
    mem_free(ctx->cert_hashes);
    mem_free(ctx->ca_source);
    tls_spiffe_fini(ctx);
    tls_store_unref(&ctx->store);
}
