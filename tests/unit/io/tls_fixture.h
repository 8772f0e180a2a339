/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates for tests, made at run time: authorities, leaves of both key kinds with any SANs and
 * validity, CRLs and OCSP responses. Everything is leaked into one list that fixture_free() empties.
 */
#ifndef TESTS_TLS_FIXTURE_H
#define TESTS_TLS_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/check.h"
#include "base/str.h"
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#define FIXTURE __attribute__((unused)) static

struct fixture_cert {
    X509 *x;
    EVP_PKEY *key;
    struct str pem, key_pem;
};

struct fixture_opts {
    const char *cn, *sans; /* sans: "DNS:a.example,URI:spiffe://td/x" or NULL */
    bool rsa, ca, expired, must_staple;
    const struct fixture_cert *issuer; /* NULL: self-signed */
    const char *key_usage;
};

FIXTURE struct {
    BIO *bios[256];
    size_t bio_count;
    X509 *certs[64];
    EVP_PKEY *keys[64];
    size_t cert_count;
} fixture_heap;

FIXTURE BIO *fixture_bio(void)
{
    CHECK(fixture_heap.bio_count < 256);
    BIO *bio = BIO_new(BIO_s_mem());
    fixture_heap.bios[fixture_heap.bio_count++] = bio;
    return bio;
}

FIXTURE struct str fixture_text(BIO *bio)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    return str_make(p, (size_t)n);
}

FIXTURE void fixture_free(void)
{
    for (size_t i = 0; i < fixture_heap.bio_count; i++)
        BIO_free(fixture_heap.bios[i]);
    for (size_t i = 0; i < fixture_heap.cert_count; i++) {
        X509_free(fixture_heap.certs[i]);
        EVP_PKEY_free(fixture_heap.keys[i]);
    }
    fixture_heap.bio_count = fixture_heap.cert_count = 0;
}

FIXTURE void fixture_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    CHECK(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

FIXTURE struct fixture_cert fixture_cert(const struct fixture_opts *o)
{
    static long serial = 0x1000;
    struct fixture_cert c = {0};
    c.key = o->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    c.x = X509_new();
    CHECK(c.key && c.x && fixture_heap.cert_count < 64);
    X509 *issuer = o->issuer ? o->issuer->x : c.x;
    X509_set_version(c.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c.x), o->expired ? -7200 : -3600);
    X509_gmtime_adj(X509_getm_notAfter(c.x), o->expired ? -3600 : 86400);
    X509_set_pubkey(c.x, c.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x), "O", MBSTRING_ASC,
                               (const unsigned char *)"weft", -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x), "CN", MBSTRING_ASC,
                               (const unsigned char *)o->cn, -1, -1, 0);
    X509_set_issuer_name(c.x, X509_get_subject_name(issuer));
    fixture_ext(c.x, issuer, NID_basic_constraints, o->ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (o->ca || o->key_usage)
        fixture_ext(c.x, issuer, NID_key_usage, o->ca ? "keyCertSign,cRLSign" : o->key_usage);
    if (o->sans)
        fixture_ext(c.x, issuer, NID_subject_alt_name, o->sans);
    if (o->must_staple)
        fixture_ext(c.x, issuer, NID_tlsfeature, "status_request");
    CHECK(X509_sign(c.x, o->issuer ? o->issuer->key : c.key, EVP_sha256()) > 0);
    BIO *pem = fixture_bio(), *key_pem = fixture_bio();
    PEM_write_bio_X509(pem, c.x);
    PEM_write_bio_PrivateKey(key_pem, c.key, NULL, NULL, 0, NULL, NULL);
    c.pem = fixture_text(pem);
    c.key_pem = fixture_text(key_pem);
    fixture_heap.certs[fixture_heap.cert_count] = c.x;
    fixture_heap.keys[fixture_heap.cert_count++] = c.key;
    return c;
}

/* A CRL of `ca` that revokes `revoked` (or nothing). */
FIXTURE struct str fixture_crl(const struct fixture_cert *ca, const struct fixture_cert *revoked)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *t = X509_gmtime_adj(NULL, -60);
    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->x));
    X509_CRL_set1_lastUpdate(crl, t);
    X509_gmtime_adj(t, 86400);
    X509_CRL_set1_nextUpdate(crl, t);
    if (revoked) {
        X509_REVOKED *r = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked->x));
        X509_gmtime_adj(t, -30);
        X509_REVOKED_set_revocationDate(r, t);
        X509_CRL_add0_revoked(crl, r);
    }
    X509_CRL_sign(crl, ca->key, EVP_sha256());
    BIO *bio = fixture_bio();
    PEM_write_bio_X509_CRL(bio, crl);
    X509_CRL_free(crl);
    ASN1_TIME_free(t);
    return fixture_text(bio);
}

FIXTURE struct str fixture_ocsp(const struct fixture_cert *c, const struct fixture_cert *issuer,
                                long valid_s)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, c->x, issuer->x);
    ASN1_TIME *from = X509_gmtime_adj(NULL, -7200), *to = X509_gmtime_adj(NULL, valid_s);
    OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL, from, to);
    OCSP_basic_sign(basic, issuer->x, issuer->key, EVP_sha256(), NULL, 0);
    OCSP_RESPONSE *r = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    BIO *bio = fixture_bio();
    i2d_OCSP_RESPONSE_bio(bio, r);
    OCSP_RESPONSE_free(r);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    return fixture_text(bio);
}

#endif
