/* SPDX-License-Identifier: Apache-2.0
 *
 * Authorities as an operator's own tools make them: a root and an intermediate of it, made with OpenSSL and none of our code.
 */
#ifndef PLUGGED_H
#define PLUGGED_H

#include "ca_files.h"
#include "pki/openssl_priv.h"

struct plugged {
    struct strbuf root, ca, key, chain; /* chain: with the root behind, as Istio's own script makes it */
};

static inline void plugged_pem(X509 *cert, EVP_PKEY *key, struct strbuf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    if (cert)
        PEM_write_bio_X509(bio, cert);
    else
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    long n = BIO_get_mem_data(bio, &p);
    strbuf_add(out, p, (size_t)n);
    BIO_free(bio);
}

static inline X509 *plugged_cert(const char *name, EVP_PKEY *key, X509 *by, EVP_PKEY *by_key, int64_t from, int64_t to)
{
    X509 *cert = X509_new();
    X509V3_CTX ctx;
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
    ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)from);
    ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)to);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(by ? by : cert));
    X509V3_set_ctx(&ctx, by ? by : cert, cert, NULL, NULL, 0);
    static const struct {
        int nid;
        const char *value;
    } exts[] = {{NID_basic_constraints, "critical,CA:TRUE"}, {NID_key_usage, "critical,keyCertSign"}, {NID_subject_key_identifier, "hash"}};
    for (size_t i = 0; i < 3; i++) {
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, exts[i].nid, exts[i].value);
        X509_add_ext(cert, ext, -1);
        X509_EXTENSION_free(ext);
    }
    X509_sign(cert, by ? by_key : key, EVP_sha256());
    return cert;
}

static inline void plugged_make(struct plugged *p, int64_t from, int64_t to)
{
    EVP_PKEY *root_key = EVP_EC_gen("P-256"), *key = EVP_RSA_gen(2048);
    X509 *root = plugged_cert("root", root_key, NULL, NULL, from, to + 864000);
    X509 *ca = plugged_cert("intermediate", key, root, root_key, from, to);
    *p = (struct plugged){0};
    plugged_pem(root, NULL, &p->root);
    plugged_pem(ca, NULL, &p->ca);
    plugged_pem(NULL, key, &p->key);
    strbuf_adds(&p->chain, strbuf_str(&p->ca));
    strbuf_adds(&p->chain, strbuf_str(&p->root));
    X509_free(root);
    X509_free(ca);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(key);
}

static inline void plugged_put(const struct plugged *p)
{
    ca_put("ca-cert.pem", strbuf_str(&p->ca));
    ca_put("ca-key.pem", strbuf_str(&p->key));
    ca_put("root-cert.pem", strbuf_str(&p->root));
    ca_put("cert-chain.pem", strbuf_str(&p->chain));
}

static inline void plugged_drop(struct plugged *p)
{
    strbuf_fini(&p->root);
    strbuf_fini(&p->ca);
    strbuf_fini(&p->key);
    strbuf_fini(&p->chain);
}

#endif
