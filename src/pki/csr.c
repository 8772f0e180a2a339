/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests over OpenSSL. The text is a peer's: its size, then its key's kind and size are looked at before anything is computed
 * with it (a modulus of megabits, a curve of one's own making). Any thread. OpenSSL's error queue is empty again on return.
 */
#include "pki/csr.h"

#include "pki/csr_priv.h"

#include "base/mem.h"

#include <openssl/core_names.h>

static int check_rsa(const EVP_PKEY *pkey, struct err *err)
{
    int bits = EVP_PKEY_get_bits(pkey);
    if (bits < KEY_RSA_MIN_BITS || bits > KEY_RSA_MAX_BITS)
        return err_set(err, ERR_UNSUPPORTED, "the request's RSA key has %d bits, %d to %d are taken", bits, KEY_RSA_MIN_BITS,
                       KEY_RSA_MAX_BITS);
    return 0;
}

static int check_ec(const EVP_PKEY *pkey, struct err *err)
{
    static const char *const curves[] = {SN_X9_62_prime256v1, SN_secp384r1, SN_secp521r1};
    char curve[64] = "", encoding[32] = "";
    EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof curve, NULL);
    EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING, encoding, sizeof encoding, NULL);
    for (size_t i = 0; i < 3; i++)
        if (strcmp(curve, curves[i]) == 0 && strcmp(encoding, OSSL_PKEY_EC_ENCODING_GROUP) == 0)
            return 0;
    return err_set(err, ERR_UNSUPPORTED, "the request's key is of the curve '%s'%s; P-256, P-384 and P-521 are taken, by name",
                   curve, strcmp(encoding, OSSL_PKEY_EC_ENCODING_GROUP) == 0 ? "" : " in its own words");
}

static int check_key(const EVP_PKEY *pkey, struct err *err)
{
    if (!pkey)
        return openssl_fault(err, ERR_SYNTAX, "the request has no usable public key");
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        return check_rsa(pkey, err);
    case EVP_PKEY_EC:
        return check_ec(pkey, err);
    default:
        return err_set(err, ERR_UNSUPPORTED, "the request's key is %s; RSA and the curves P-256, P-384 and P-521 are taken",
                       OBJ_nid2sn(EVP_PKEY_get_base_id(pkey)));
    }
}

static int check(X509_REQ *req, struct err *err)
{
    EVP_PKEY *pkey = X509_REQ_get0_pubkey(req);
    int rc = check_key(pkey, err);
    if (rc == 0 && X509_REQ_verify(req, pkey) != 1)
        rc = openssl_fault(err, ERR_INVALID, "the request is not signed by the key that it holds");
    return rc;
}

static X509_REQ *read_request(struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509_REQ *req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return req;
}

struct csr *csr_load(struct str pem, struct err *err)
{
    struct csr *csr = NULL;
    if (pem.n > CSR_MAX_BYTES) {
        err_set(err, ERR_LIMIT, "a certificate signing request of %zu bytes, at most %u are taken", pem.n, CSR_MAX_BYTES);
        return NULL;
    }
    ERR_clear_error();
    X509_REQ *req = pem.n ? read_request(pem) : NULL;
    if (!req) {
        openssl_fault(err, ERR_SYNTAX, "no certificate signing request in PEM");
    } else if (check(req, err) == 0) {
        csr = NEW(csr);
        csr->req = req;
        req = NULL;
    }
    X509_REQ_free(req);
    ERR_clear_error();
    return csr;
}

void csr_free(struct csr **p)
{
    if (!*p)
        return;
    X509_REQ_free((*p)->req);
    mem_free(*p);
    *p = NULL;
}
