/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates over OpenSSL, read only. Any thread. OpenSSL's error queue is empty again on return.
 * Nothing here trusts what it reads: counts are bounded, and a broken certificate refuses the whole text.
 */
#include "pki/cert.h"

#include "pki/pki_priv.h"

#include <time.h>

void certs_free(STACK_OF(X509) **certs)
{
    sk_X509_pop_free(*certs, X509_free);
    *certs = NULL;
}

/* The end of a text is PEM_R_NO_START_LINE; any other fault is a broken certificate. */
static bool is_end(void)
{
    unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

STACK_OF(X509) *read_certs(struct str pem, int max, struct err *err)
{
    ERR_clear_error();
    STACK_OF(X509) *certs = sk_X509_new_null();
    BIO *bio = pem.n && pem.n <= INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    X509 *cert = NULL;
    bool ok = certs && bio;
    while (ok && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        ok = sk_X509_num(certs) < max && sk_X509_push(certs, cert);
        if (!ok)
            X509_free(cert);
    }
    BIO_free(bio);
    if (ok && is_end() && sk_X509_num(certs) > 0) {
        ERR_clear_error();
        return certs;
    }
    if (!certs || sk_X509_num(certs) >= max)
        err_set(err, ERR_INVALID, "more than %d certificates", max);
    else if (sk_X509_num(certs) == 0 && (!bio || is_end()))
        err_set(err, ERR_INVALID, "no PEM certificate found");
    else
        openssl_fault(err, ERR_INVALID, "a broken certificate");
    ERR_clear_error();
    certs_free(&certs);
    return NULL;
}

/* ---- facts ---- */

static int64_t unix_time(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

static struct str spiffe_of(X509 *cert, struct arena *a)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    struct str found = STR_NULL;
    int uris = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        struct str uri = str_make((const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
                                  (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier));
        if (uris++ == 0 && str_has_prefix(uri, STR("spiffe://")) && !memchr(uri.p, '\0', uri.n))
            found = arena_str(a, uri);
    }
    GENERAL_NAMES_free(names);
    return uris == 1 ? found : STR_NULL;
}

static struct str serial_of(const X509 *cert, struct arena *a)
{
    static const char digits[] = "0123456789abcdef";
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    size_t n = (size_t)ASN1_STRING_length(serial);
    const unsigned char *p = ASN1_STRING_get0_data(serial);
    char *out = arena_bytes(a, 2 * n + 1);
    for (size_t i = 0; out && i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    return out ? str_make(out, 2 * n) : STR_NULL;
}

int cert_inspect(struct str chain_pem, struct arena *a, struct cert_facts *out, struct err *err)
{
    *out = (struct cert_facts){0};
    STACK_OF(X509) *certs = read_certs(chain_pem, CERT_CHAIN_MAX, err);
    if (!certs)
        return ERR_INVALID;
    X509 *leaf = sk_X509_value(certs, 0);
    out->count = (size_t)sk_X509_num(certs);
    out->not_before_s = unix_time(X509_get0_notBefore(leaf));
    out->not_after_s = unix_time(X509_get0_notAfter(leaf));
    out->spiffe_id = spiffe_of(leaf, a);
    out->serial_hex = serial_of(leaf, a);
    out->is_ca = X509_check_ca(leaf) != 0;
    certs_free(&certs);
    ERR_clear_error();
    return 0;
}

/* ---- verification ---- */

static X509_STORE *store_of(STACK_OF(X509) *roots)
{
    X509_STORE *store = X509_STORE_new();
    for (int i = 0; store && i < sk_X509_num(roots); i++)
        X509_STORE_add_cert(store, sk_X509_value(roots, i)); /* duplicates are fine */
    return store;
}

static int verify(STACK_OF(X509) *chain, X509_STORE *store, int64_t now_s, struct err *err)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (!ctx || !X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain)) {
        X509_STORE_CTX_free(ctx);
        return openssl_fault(err, ERR_INVALID, "cannot verify");
    }
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
    int rc = X509_verify_cert(ctx) == 1 ? 0 : ERR_TLS;
    if (rc)
        err_set(err, rc, "%s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    return rc;
}

int cert_verify(struct str chain_pem, struct str roots_pem, int64_t now_s, struct err *err)
{
    STACK_OF(X509) *chain = read_certs(chain_pem, CERT_CHAIN_MAX, err);
    STACK_OF(X509) *roots = chain ? read_certs(roots_pem, CERT_BUNDLE_MAX, err) : NULL;
    X509_STORE *store = roots ? store_of(roots) : NULL;
    int rc = store ? verify(chain, store, now_s, err) : ERR_INVALID;
    X509_STORE_free(store);
    certs_free(&roots);
    certs_free(&chain);
    ERR_clear_error();
    return rc;
}

/* ---- bundles ---- */

static bool holds(STACK_OF(X509) *certs, const X509 *wanted)
{
    for (int i = 0; i < sk_X509_num(certs); i++)
        if (X509_cmp(sk_X509_value(certs, i), wanted) == 0)
            return true;
    return false;
}

static bool append(STACK_OF(X509) *held, X509 *cert, struct strbuf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio && PEM_write_bio_X509(bio, cert) && sk_X509_push(held, cert) && X509_up_ref(cert);
    if (ok)
        bio_take_text(bio, out);
    BIO_free(bio);
    return ok;
}

int cert_bundle_add(struct strbuf *out, struct str pem, size_t *count, struct err *err)
{
    STACK_OF(X509) *more = read_certs(pem, CERT_BUNDLE_MAX, err);
    if (!more)
        return ERR_INVALID;
    STACK_OF(X509) *held = out->n ? read_certs(strbuf_str(out), CERT_BUNDLE_MAX, err) : sk_X509_new_null();
    bool ok = held != NULL;
    for (int i = 0; ok && i < sk_X509_num(more); i++)
        if (!holds(held, sk_X509_value(more, i)))
            ok = append(held, sk_X509_value(more, i), out);
    if (count)
        *count = (size_t)sk_X509_num(more);
    certs_free(&held);
    certs_free(&more);
    return ok ? 0 : ERR_INVALID;
}

/* ---- one by one ---- */

static struct cert_part part_of(X509 *cert, struct arena *a)
{
    struct strbuf pem = {0};
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && PEM_write_bio_X509(bio, cert))
        bio_take_text(bio, &pem);
    struct cert_part part = {.pem = arena_str(a, strbuf_str(&pem)), .not_after_s = unix_time(X509_get0_notAfter(cert)),
                             .is_self_issued = X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0};
    BIO_free(bio);
    strbuf_fini(&pem);
    return part;
}

int cert_parts(struct str pem, struct arena *a, struct cert_part **parts, size_t *count, struct err *err)
{
    STACK_OF(X509) *certs = read_certs(pem, CERT_BUNDLE_MAX, err);
    if (!certs)
        return ERR_INVALID;
    *count = (size_t)sk_X509_num(certs);
    *parts = arena_alloc(a, *count * sizeof **parts);
    for (size_t i = 0; *parts && i < *count; i++)
        (*parts)[i] = part_of(sk_X509_value(certs, (int)i), a);
    certs_free(&certs);
    ERR_clear_error();
    return *parts ? 0 : err_set(err, ERR_LIMIT, "too many certificates");
}
