/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates made over OpenSSL, as structures: no text of a caller is ever read as OpenSSL's configuration language. A leaf
 * takes nothing from its request but the public key. Any thread. OpenSSL's error queue is empty again on return.
 */
#include "pki/issue.h"

#include "pki/csr_priv.h"

#include "base/mem.h"
#include "base/rng.h"
#include "pki/cert.h"

#include <arpa/inet.h>
#include <stdio.h>

#define ORGANIZATION_MAX_BYTES 64 /* ub-organization-name, RFC 5280 appendix A.1 */

/* ---- parts ---- */

/* Positive and not zero (RFC 5280 section 4.1.2.2): the first bit is clear, the second set. */
static bool set_serial(X509 *cert, char hex[2 * ISSUE_SERIAL_BYTES + 1])
{
    unsigned char bytes[ISSUE_SERIAL_BYTES];
    rng_secret_bytes(bytes, sizeof bytes);
    bytes[0] = (unsigned char)((bytes[0] & 0x3f) | 0x40);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
    BN_free(n);
    return ok;
}

static bool set_times(X509 *cert, int64_t from_s, int64_t to_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)from_s) && ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)to_s);
}

static bool add_basic_constraints(X509 *cert, bool is_ca)
{
    BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
    if (bc)
        bc->ca = is_ca ? 0xff : 0;
    bool ok = bc && X509_add1_ext_i2d(cert, NID_basic_constraints, bc, 1, X509V3_ADD_DEFAULT) == 1;
    BASIC_CONSTRAINTS_free(bc);
    return ok;
}

/* `bits`: KeyUsage as RFC 5280 section 4.2.1.3 numbers them. */
static bool add_key_usage(X509 *cert, const int *bits, size_t n)
{
    ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    bool ok = usage != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = ASN1_BIT_STRING_set_bit(usage, bits[i], 1) == 1;
    ok = ok && X509_add1_ext_i2d(cert, NID_key_usage, usage, 1, X509V3_ADD_DEFAULT) == 1;
    ASN1_BIT_STRING_free(usage);
    return ok;
}

static bool add_purposes(X509 *cert)
{
    EXTENDED_KEY_USAGE *purposes = EXTENDED_KEY_USAGE_new();
    bool ok = purposes && sk_ASN1_OBJECT_push(purposes, OBJ_nid2obj(NID_server_auth)) &&
              sk_ASN1_OBJECT_push(purposes, OBJ_nid2obj(NID_client_auth)) &&
              X509_add1_ext_i2d(cert, NID_ext_key_usage, purposes, 0, X509V3_ADD_DEFAULT) == 1;
    EXTENDED_KEY_USAGE_free(purposes);
    return ok;
}

/* SHA-1 of the key's bits, method 1 of RFC 5280 section 4.2.1.2: a name, not a proof. */
static bool add_own_key_id(X509 *cert)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    ASN1_OCTET_STRING *text = ASN1_OCTET_STRING_new();
    bool ok = text && X509_pubkey_digest(cert, EVP_sha1(), id, &n) == 1 && ASN1_OCTET_STRING_set(text, id, (int)n) &&
              X509_add1_ext_i2d(cert, NID_subject_key_identifier, text, 0, X509V3_ADD_DEFAULT) == 1;
    ASN1_OCTET_STRING_free(text);
    return ok;
}

/* Roots of others may have no key id; a leaf then has none of its issuer. */
static bool add_issuer_key_id(X509 *cert, X509 *ca)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(ca);
    if (!id)
        return true;
    AUTHORITY_KEYID *of = AUTHORITY_KEYID_new();
    bool ok = of && (of->keyid = ASN1_OCTET_STRING_dup(id)) != NULL &&
              X509_add1_ext_i2d(cert, NID_authority_key_identifier, of, 0, X509V3_ADD_DEFAULT) == 1;
    AUTHORITY_KEYID_free(of);
    return ok;
}

static bool is_address(struct str s)
{
    char text[INET6_ADDRSTRLEN], packed[16];
    if (!s.n || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(AF_INET, text, packed) == 1 || inet_pton(AF_INET6, text, packed) == 1;
}

static bool add_names(X509 *cert, const struct issue *what)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool ok = names && (!what->uri.n || names_add(names, GEN_URI, what->uri));
    for (uint32_t i = 0; ok && i < what->host_count; i++)
        ok = names_add(names, is_address(what->hosts[i]) ? GEN_IPADD : GEN_DNS, what->hosts[i]);
    ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 1, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

/* ---- whole certificates ---- */

static bool sign_into(X509 *cert, EVP_PKEY *key, struct strbuf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio && X509_sign(cert, key, key_digest(key)) > 0 && PEM_write_bio_X509(bio, cert);
    if (ok)
        bio_take_text(bio, out);
    BIO_free(bio);
    return ok;
}

/* Its bytes as they came: OpenSSL 3 would encode the key and decode it again, for as much as the whole rest costs. */
static bool copy_public_key(X509 *cert, X509_REQ *req)
{
    ASN1_OBJECT *kind;
    X509_ALGOR *algorithm;
    const unsigned char *bits;
    const void *value;
    int n, type;
    if (!X509_PUBKEY_get0_param(&kind, &bits, &n, &algorithm, X509_REQ_get_X509_PUBKEY(req)))
        return false;
    X509_ALGOR_get0(NULL, &type, &value, algorithm);
    if (type != V_ASN1_OBJECT && type != V_ASN1_NULL) /* no kind that is taken has others */
        return false;
    unsigned char *copy = OPENSSL_memdup(bits, (size_t)n);
    ASN1_OBJECT *curve = type == V_ASN1_OBJECT ? OBJ_dup(value) : NULL;
    if (copy && X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(cert), OBJ_dup(kind), type, curve, copy, n))
        return true;
    OPENSSL_free(copy);
    ASN1_OBJECT_free(curve);
    return false;
}

static bool fill_leaf(X509 *cert, const struct issue *what, const struct csr *csr, X509 *ca, char *serial_hex)
{
    static const int usage[] = {0 /* digitalSignature */, 2 /* keyEncipherment */};
    return X509_set_version(cert, X509_VERSION_3) && set_serial(cert, serial_hex) && set_times(cert, what->not_before_s, what->not_after_s) &&
           X509_set_issuer_name(cert, X509_get_subject_name(ca)) && copy_public_key(cert, csr->req) &&
           add_key_usage(cert, usage, 2) && add_purposes(cert) && add_basic_constraints(cert, false) &&
           add_issuer_key_id(cert, ca) && add_names(cert, what);
}

static int check_names(const struct issue *what, struct err *err)
{
    if (!what->uri.n && !what->host_count)
        return err_set(err, ERR_INVALID, "a certificate without a name");
    if (what->host_count > ISSUE_NAMES_MAX)
        return err_set(err, ERR_LIMIT, "%u names for one certificate, at most %u are taken", what->host_count, ISSUE_NAMES_MAX);
    for (uint32_t i = 0; i < what->host_count; i++)
        if (!what->hosts[i].n || what->hosts[i].n > 253)
            return err_set(err, ERR_INVALID, "a host name of %zu bytes: it has 1 to 253", what->hosts[i].n);
    return 0;
}

static int check_life(const struct issue *what, X509 *ca, struct err *err)
{
    time_t from = (time_t)what->not_before_s, to = (time_t)what->not_after_s;
    if (to <= from)
        return err_set(err, ERR_INVALID, "a certificate that ends before it begins");
    if (ASN1_TIME_cmp_time_t(X509_get0_notBefore(ca), from) > 0)
        return err_set(err, ERR_INVALID, "a certificate that begins before its issuer's does");
    if (ASN1_TIME_cmp_time_t(X509_get0_notAfter(ca), to) < 0)
        return err_set(err, ERR_INVALID, "a certificate that outlives its issuer's");
    return 0;
}

struct issue_ca {
    X509 *cert;
    const struct key *key;
};

struct issue_ca *issue_ca_new(struct str ca_pem, const struct key *keep_key, struct err *err)
{
    STACK_OF(X509) *certs = read_certs(ca_pem, CERT_CHAIN_MAX, err);
    if (!certs)
        return NULL;
    struct issue_ca *ca = NEW(issue_ca);
    ca->cert = sk_X509_shift(certs);
    ca->key = keep_key;
    certs_free(&certs);
    return ca;
}

void issue_ca_free(struct issue_ca **p)
{
    if (!*p)
        return;
    X509_free((*p)->cert);
    mem_free(*p);
    *p = NULL;
}

int issue_leaf(const struct issue *what, const struct csr *csr, const struct issue_ca *ca, struct strbuf *out,
               char serial_hex[2 * ISSUE_SERIAL_BYTES + 1], struct err *err)
{
    ERR_clear_error();
    X509 *cert = X509_new();
    int rc = check_names(what, err);
    if (rc == 0)
        rc = check_life(what, ca->cert, err);
    if (rc == 0 && !(cert && fill_leaf(cert, what, csr, ca->cert, serial_hex) && sign_into(cert, ca->key->pkey, out)))
        rc = openssl_fault(err, ERR_TLS, "cannot make a certificate");
    X509_free(cert);
    ERR_clear_error();
    return rc;
}

static bool fill_root(X509 *cert, const struct key *key, struct str org, int64_t from_s, int64_t to_s)
{
    static const int usage[] = {5 /* keyCertSign */, 6 /* cRLSign */};
    X509_NAME *subject = X509_get_subject_name(cert);
    char serial_hex[2 * ISSUE_SERIAL_BYTES + 1];
    return X509_set_version(cert, X509_VERSION_3) && set_serial(cert, serial_hex) && set_times(cert, from_s, to_s) &&
           X509_NAME_add_entry_by_NID(subject, NID_organizationName, MBSTRING_UTF8, (const unsigned char *)org.p, (int)org.n, -1, 0) &&
           X509_set_issuer_name(cert, subject) && X509_set_pubkey(cert, key->pkey) && add_key_usage(cert, usage, 2) &&
           add_basic_constraints(cert, true) && add_own_key_id(cert);
}

int issue_root(const struct key *key, struct str organization, int64_t not_before_s, int64_t not_after_s, struct strbuf *out,
               struct err *err)
{
    if (!organization.n || organization.n > ORGANIZATION_MAX_BYTES)
        return err_set(err, ERR_INVALID, "a root's organization has 1 to %d bytes, not %zu", ORGANIZATION_MAX_BYTES, organization.n);
    if (not_after_s <= not_before_s)
        return err_set(err, ERR_INVALID, "a root that ends before it begins");
    ERR_clear_error();
    X509 *cert = X509_new();
    bool ok = cert && fill_root(cert, key, organization, not_before_s, not_after_s) && sign_into(cert, key->pkey, out);
    int rc = ok ? 0 : openssl_fault(err, ERR_TLS, "cannot make a root certificate");
    X509_free(cert);
    return rc;
}

/* ---- what is plugged in ---- */

/* Says also X509_check_ca == 1: basicConstraints, not one of the older ways to be a CA. */
static int check_may_sign(struct str ca_pem, struct err *err)
{
    STACK_OF(X509) *cas = read_certs(ca_pem, CERT_CHAIN_MAX, err);
    if (!cas)
        return ERR_INVALID;
    X509 *ca = sk_X509_value(cas, 0);
    int rc = 0;
    if (X509_check_ca(ca) != 1)
        rc = err_set(err, ERR_INVALID, "the certificate is no CA's (basicConstraints, keyUsage)");
    else if ((X509_get_extension_flags(ca) & EXFLAG_KUSAGE) && !(X509_get_key_usage(ca) & KU_KEY_CERT_SIGN))
        rc = err_set(err, ERR_INVALID, "the certificate may not sign others (keyUsage)");
    certs_free(&cas);
    ERR_clear_error();
    return rc;
}

int issue_check_ca(struct str ca_pem, const struct key *key, struct str chain_pem, struct str roots_pem, int64_t now_s,
                   struct err *err)
{
    struct strbuf whole = {0};
    int rc = check_may_sign(ca_pem, err);
    if (rc == 0 && !key_fits(key, ca_pem))
        rc = err_set(err, ERR_INVALID, "the key is not the certificate's");
    strbuf_adds(&whole, ca_pem);
    strbuf_addc(&whole, '\n');
    strbuf_adds(&whole, chain_pem);
    if (rc == 0)
        rc = cert_verify(strbuf_str(&whole), roots_pem, now_s, err);
    strbuf_fini(&whole);
    return rc;
}

int issue_check_crl(struct str pem, size_t *count, struct err *err)
{
    ERR_clear_error();
    BIO *bio = pem.n && pem.n <= INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    X509_CRL *crl;
    *count = 0;
    while (bio && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
        X509_CRL_free(crl);
        ++*count;
    }
    BIO_free(bio);
    unsigned long code = ERR_peek_last_error();
    bool is_end = !code || (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE);
    int rc = 0;
    if (!is_end)
        rc = openssl_fault(err, ERR_INVALID, "a broken revocation list");
    else if (*count == 0)
        rc = err_set(err, ERR_INVALID, "no PEM revocation list found");
    ERR_clear_error();
    return rc;
}
