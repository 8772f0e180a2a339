/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys and CSRs over OpenSSL. Main thread. OpenSSL's error queue is empty again on return.
 */
#include "pki/key.h"

#include "pki/pki_priv.h"

#include "base/mem.h"

#define KEY_PEM_BYTES 8192 /* more than RSA of KEY_RSA_MAX_BITS takes */

static struct key *key_of(EVP_PKEY *take_pkey, const char *what, struct err *err)
{
    if (!take_pkey) {
        openssl_fault(err, ERR_TLS, what);
        return NULL;
    }
    struct key *k = NEW(key);
    k->pkey = take_pkey;
    return k;
}

struct key *key_generate(enum key_kind kind, struct err *err)
{
    EVP_PKEY *pkey = NULL;
    ERR_clear_error();
    switch (kind) {
    case KEY_EC_P256:
        pkey = EVP_EC_gen("P-256");
        break;
    case KEY_EC_P384:
        pkey = EVP_EC_gen("P-384");
        break;
    case KEY_RSA_2048:
        pkey = EVP_RSA_gen(2048);
        break;
    case KEY_RSA_4096:
        pkey = EVP_RSA_gen(4096);
        break;
    }
    return key_of(pkey, "cannot generate a private key", err);
}

struct key *key_generate_rsa(unsigned bits, struct err *err)
{
    if (bits < KEY_RSA_MIN_BITS || bits > KEY_RSA_MAX_BITS) {
        err_set(err, ERR_INVALID, "an RSA key has from %d to %d bits, not %u", KEY_RSA_MIN_BITS, KEY_RSA_MAX_BITS, bits);
        return NULL;
    }
    ERR_clear_error();
    return key_of(EVP_RSA_gen(bits), "cannot generate a private key", err);
}

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

struct key *key_load(struct str pem, struct str password, struct err *err)
{
    ERR_clear_error();
    BIO *bio = pem.n && pem.n <= INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, password_cb, &password) : NULL;
    BIO_free(bio);
    return key_of(pkey, "no usable PEM private key", err);
}

void key_free(struct key **kp)
{
    if (!*kp)
        return;
    EVP_PKEY_free((*kp)->pkey);
    mem_free(*kp);
    *kp = NULL;
}

static int write_key(const struct key *key, bool traditional, struct strbuf *out, struct err *err)
{
    ERR_clear_error();
    BIO *bio = BIO_new(BIO_s_secmem());
    int ok = bio && (traditional ? PEM_write_bio_PrivateKey_traditional(bio, key->pkey, NULL, NULL, 0, NULL, NULL)
                                 : PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL));
    if (ok) {
        strbuf_reserve(out, KEY_PEM_BYTES); /* no growth, which would leave a copy behind */
        bio_take_text(bio, out);
    }
    BIO_free(bio);
    return ok ? 0 : openssl_fault(err, ERR_TLS, "cannot write the private key");
}

int key_pem(const struct key *key, struct strbuf *out, struct err *err)
{
    return write_key(key, false, out, err);
}

int key_pem_traditional(const struct key *key, struct strbuf *out, struct err *err)
{
    return write_key(key, true, out, err);
}

void key_pem_free(struct strbuf *pem)
{
    if (pem->p)
        OPENSSL_cleanse(pem->p, pem->n);
    strbuf_fini(pem);
}

/* ---- CSR ---- */
static bool add_uri(X509_REQ *req, struct str uri, bool critical)
{
    STACK_OF(X509_EXTENSION) *exts = NULL;
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool ok = names && names_add(names, GEN_URI, uri) && X509V3_add1_i2d(&exts, NID_subject_alt_name, names, critical, 0) == 1 &&
              X509_REQ_add_extensions(req, exts);
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    return ok;
}

static bool fill_request(X509_REQ *req, const struct key *key, struct str uri, struct str org)
{
    X509_NAME *subject = X509_REQ_get_subject_name(req);
    if (org.n && !X509_NAME_add_entry_by_NID(subject, NID_organizationName, MBSTRING_UTF8,
                                             (const unsigned char *)org.p, (int)org.n, -1, 0))
        return false;
    return X509_REQ_set_version(req, 0) && X509_REQ_set_pubkey(req, key->pkey) &&
           add_uri(req, uri, org.n == 0) && X509_REQ_sign(req, key->pkey, EVP_sha256()) > 0;
}

int key_csr(const struct key *key, struct str uri_san, struct str organization, struct strbuf *out,
            struct err *err)
{
    if (uri_san.n == 0 || uri_san.n > 2048 || organization.n > 64)
        return err_set(err, ERR_INVALID,
                       "a CSR takes a URI of 1 to 2048 bytes and an organization of at most 64");
    ERR_clear_error();
    X509_REQ *req = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = req && bio && fill_request(req, key, uri_san, organization) &&
              PEM_write_bio_X509_REQ(bio, req);
    if (ok)
        bio_take_text(bio, out);
    BIO_free(bio);
    X509_REQ_free(req);
    return ok ? 0 : openssl_fault(err, ERR_TLS, "cannot make a certificate signing request");
}

bool key_fits(const struct key *key, struct str chain_pem)
{
    BIO *bio = chain_pem.n && chain_pem.n <= INT32_MAX ? BIO_new_mem_buf(chain_pem.p, (int)chain_pem.n) : NULL;
    X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    bool fits = leaf && X509_check_private_key(leaf, key->pkey) == 1;
    X509_free(leaf);
    BIO_free(bio);
    ERR_clear_error();
    return fits;
}
