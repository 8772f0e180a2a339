/* SPDX-License-Identifier: Apache-2.0
 *
 * One certificate chain with its key and OCSP staple, from PEM or PKCS#12. Main thread. The bytes
 * are a configuration's: every fault is told with the name of the file. As Envoy it refuses RSA
 * keys below 2048 bits and curves other than P-256, P-384 and P-521.
 */
#include "io/tls_priv.h"

#include "base/check.h"
#include "base/mem.h"

static int password_cb(char *out, int size, int rwflag, void *arg)
{
    (void)rwflag;
    const struct str *password = arg;
    if (size < 0 || password->n > (size_t)size)
        return -1;
    if (password->n)
        memcpy(out, password->p, password->n);
    return (int)password->n;
}

static BIO *memory_bio(struct str s)
{
    return s.n <= INT32_MAX ? BIO_new_mem_buf(s.n ? s.p : "", (int)s.n) : NULL;
}

/* The end of a PEM file shows as "no start line"; anything else is a fault. */
static bool pem_at_end(void)
{
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static int load_chain(struct tls_cert *c, struct str pem, struct err *err)
{
    char reason[128];
    BIO *bio = memory_bio(pem);
    int rc = 0;
    tls_errors_clear();
    X509 *x = NULL;
    while (bio && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (!c->leaf) {
            c->leaf = x;
            continue;
        }
        if (!c->chain)
            c->chain = sk_X509_new_null();
        if (!c->chain || !sk_X509_push(c->chain, x))
            X509_free(x);
    }
    if (!pem_at_end())
        rc = err_set(err, ERR_INVALID, "certificate_chain %s: bad certificate: %s", c->source,
                     tls_error_reason(reason, sizeof reason));
    else if (!c->leaf)
        rc = err_set(err, ERR_INVALID, "certificate_chain %s: no PEM certificate found", c->source);
    BIO_free(bio);
    tls_errors_clear();
    return rc;
}

static int load_key(struct tls_cert *c, struct str pem, struct str password, struct err *err)
{
    char reason[128];
    BIO *bio = memory_bio(pem);
    tls_errors_clear();
    c->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, password_cb, &password) : NULL;
    BIO_free(bio);
    if (!c->key)
        return err_set(err, ERR_INVALID, "private_key of %s: %s%s", c->source,
                       tls_error_reason(reason, sizeof reason),
                       password.n ? "" : " (no password given)");
    return 0;
}

static int load_pkcs12(struct tls_cert *c, struct str der, struct str password, struct err *err)
{
    char reason[128], *pass = mem_strndup(password.n ? password.p : "", password.n);
    BIO *bio = memory_bio(der);
    tls_errors_clear();
    PKCS12 *p12 = bio ? d2i_PKCS12_bio(bio, NULL) : NULL;
    int ok = p12 && PKCS12_parse(p12, pass, &c->key, &c->leaf, &c->chain);
    PKCS12_free(p12);
    BIO_free(bio);
    OPENSSL_cleanse(pass, password.n);
    mem_free(pass);
    if (!ok)
        return err_set(err, ERR_INVALID, "pkcs12 %s: %s", c->source,
                       tls_error_reason(reason, sizeof reason));
    if (!c->leaf || !c->key)
        return err_set(err, ERR_INVALID, "pkcs12 %s: holds no %s", c->source,
                       c->leaf ? "private key" : "certificate");
    return 0;
}

static const struct {
    const char *group;
    int curve_nid, hash_nid;
} ecdsa_curves[] = {
    {"prime256v1", NID_X9_62_prime256v1, NID_sha256},
    {"secp384r1", NID_secp384r1, NID_sha384},
    {"secp521r1", NID_secp521r1, NID_sha512},
};

static int check_curve(struct tls_cert *c, EVP_PKEY *pub, struct err *err)
{
    char group[64] = "";
    EVP_PKEY_get_group_name(pub, group, sizeof group, NULL);
    for (size_t i = 0; i < ARRAY_LEN(ecdsa_curves); i++) {
        if (strcmp(group, ecdsa_curves[i].group) == 0) {
            c->curve_nid = ecdsa_curves[i].curve_nid;
            c->hash_nid = ecdsa_curves[i].hash_nid;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID,
                   "certificate_chain %s: curve %s; only P-256, P-384 and P-521 are supported",
                   c->source, group);
}

static int check_key_kind(struct tls_cert *c, struct err *err)
{
    EVP_PKEY *pub = X509_get0_pubkey(c->leaf);
    if (!pub)
        return err_set(err, ERR_INVALID, "certificate_chain %s: unreadable public key", c->source);
    int bits = EVP_PKEY_get_bits(pub);
    if (EVP_PKEY_is_a(pub, "RSA") && bits < 2048)
        return err_set(err, ERR_INVALID,
                       "certificate_chain %s: RSA key of %d bits, at least 2048 are needed",
                       c->source, bits);
    c->is_ecdsa = EVP_PKEY_is_a(pub, "EC");
    return c->is_ecdsa ? check_curve(c, pub, err) : 0;
}

/* RFC 7633: the TLS feature extension naming status_request (5). */
static bool asks_must_staple(X509 *leaf)
{
    TLS_FEATURE *f = X509_get_ext_d2i(leaf, NID_tlsfeature, NULL, NULL);
    bool found = false;
    for (int i = 0; f && i < sk_ASN1_INTEGER_num(f); i++)
        found |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(f, i)) == TLSEXT_TYPE_status_request;
    TLS_FEATURE_free(f);
    return found;
}

static int load_parts(struct tls_cert *c, const struct tls_cert_opts *opts, struct err *err)
{
    int rc;
    if (opts->pkcs12.n > 0) {
        rc = load_pkcs12(c, opts->pkcs12, opts->key_password, err);
    } else {
        rc = load_chain(c, opts->chain_pem, err);
        if (rc == 0)
            rc = load_key(c, opts->key_pem, opts->key_password, err);
    }
    if (rc == 0)
        rc = check_key_kind(c, err);
    if (rc)
        return rc;
    if (X509_check_private_key(c->leaf, c->key) != 1) {
        tls_errors_clear();
        return err_set(err, ERR_INVALID, "private_key of %s: does not belong to the certificate",
                       c->source);
    }
    c->must_staple = asks_must_staple(c->leaf);
    return opts->ocsp_staple_der.n ? tls_ocsp_load(c, opts->ocsp_staple_der, err) : 0;
}

int tls_cert_load(struct tls_cert *c, const struct tls_cert_opts *opts, struct err *err)
{
    *c = (struct tls_cert){0};
    c->source = mem_strndup(opts->source.n ? opts->source.p : "<inline>",
                            opts->source.n ? opts->source.n : strlen("<inline>"));
    int rc = load_parts(c, opts, err);
    tls_errors_clear();
    return rc;
}

void tls_cert_fini(struct tls_cert *c)
{
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
    mem_free(c->source);
    mem_free(c->staple);
    *c = (struct tls_cert){0};
}

static int read_staple(struct tls_cert *c, OCSP_RESPONSE *response, struct err *err)
{
    if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        return err_set(err, ERR_INVALID, "ocsp_staple of %s: status is not successful", c->source);
    OCSP_BASICRESP *basic = OCSP_response_get1_basic(response);
    int rc = 0;
    if (!basic || OCSP_resp_count(basic) != 1) {
        rc = err_set(err, ERR_INVALID, "ocsp_staple of %s: needs exactly one response", c->source);
    } else {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, 0);
        ASN1_INTEGER *serial = NULL;
        ASN1_GENERALIZEDTIME *next = NULL;
        OCSP_id_get0_info(NULL, NULL, NULL, &serial, (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(single));
        OCSP_single_get0_status(single, NULL, NULL, NULL, &next);
        if (ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(c->leaf)) != 0)
            rc = err_set(err, ERR_INVALID, "ocsp_staple of %s: is for another certificate", c->source);
        c->staple_until_s = tls_time_s(next);
    }
    OCSP_BASICRESP_free(basic);
    return rc;
}

int tls_ocsp_load(struct tls_cert *c, struct str der, struct err *err)
{
    if (der.n > 65535) /* must fit the handshake message */
        return err_set(err, ERR_LIMIT, "ocsp_staple of %s: larger than 65535 bytes", c->source);
    const unsigned char *p = (const unsigned char *)der.p;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &p, (long)der.n);
    if (!response || p != (const unsigned char *)der.p + der.n) {
        OCSP_RESPONSE_free(response);
        return err_set(err, ERR_INVALID, "ocsp_staple of %s: no DER OCSP response", c->source);
    }
    int rc = read_staple(c, response, err);
    OCSP_RESPONSE_free(response);
    if (rc == 0) {
        c->staple = mem_alloc(der.n);
        memcpy(c->staple, der.p, der.n);
        c->staple_len = der.n;
    }
    return rc;
}
