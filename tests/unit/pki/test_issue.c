/* SPDX-License-Identifier: Apache-2.0 */
#include "pki/issue.h"

#include "../unit.h"

#include "pki/cert.h"
#include "pki/openssl_priv.h"

#include <openssl/core_names.h>

#define NOW 1800000000
#define DAY 86400

static struct key *root_key, *leaf_key;
static struct strbuf root_pem;
static struct issue_ca *root_ca;
static char serial[2 * ISSUE_SERIAL_BYTES + 1];

static int make_root(void **state)
{
    (void)state;
    root_key = key_generate(KEY_EC_P256, NULL);
    leaf_key = key_generate(KEY_EC_P256, NULL);
    int rc = issue_root(root_key, STR("cluster.local"), NOW - DAY, NOW + 10 * DAY, &root_pem, NULL);
    root_ca = issue_ca_new(strbuf_str(&root_pem), root_key, NULL);
    return rc;
}

static int drop_root(void **state)
{
    (void)state;
    issue_ca_free(&root_ca);
    key_free(&root_key);
    key_free(&leaf_key);
    strbuf_fini(&root_pem);
    return 0;
}

static struct csr *csr_of(const struct key *k, struct str claimed)
{
    struct strbuf pem = {0};
    struct err err = {0};
    assert_int_equal(key_csr(k, claimed, STR("Mallory"), &pem, NULL), 0);
    struct csr *csr = csr_load(strbuf_str(&pem), &err);
    if (!csr)
        print_error("%s\n", err.message);
    strbuf_fini(&pem);
    assert_non_null(csr);
    return csr;
}

static X509 *read_one(struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(cert);
    return cert;
}

static bool verifies_strictly(struct str leaf_pem, struct str root, int purpose)
{
    X509 *leaf = read_one(leaf_pem), *ca = read_one(root);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(ctx, store, leaf, NULL);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), NOW);
    X509_STORE_CTX_set_purpose(ctx, purpose);
    bool ok = X509_verify_cert(ctx) == 1;
    if (!ok)
        print_message("%s\n", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(leaf);
    X509_free(ca);
    return ok;
}

static void test_issue_leaf__request_claims_another__only_the_key_is_taken(void **state)
{
    (void)state;
    struct csr *csr = csr_of(leaf_key, STR("spiffe://cluster.local/ns/kube-system/sa/admin"));
    struct issue what = {.uri = STR("spiffe://cluster.local/ns/a/sa/b"), .not_before_s = NOW - 120, .not_after_s = NOW + DAY};
    struct strbuf leaf = {0};
    struct arena a;
    struct cert_facts f;
    arena_init(&a, 0);
    assert_int_equal(issue_leaf(&what, csr, root_ca, &leaf, serial, NULL), 0);
    assert_int_equal(cert_inspect(strbuf_str(&leaf), &a, &f, NULL), 0);
    assert_str_equal(f.spiffe_id, "spiffe://cluster.local/ns/a/sa/b");
    assert_int_equal(f.not_before_s, NOW - 120);
    assert_int_equal(f.not_after_s, NOW + DAY);
    assert_str_equal(f.serial_hex, serial);
    assert_false(f.is_ca);
    assert_true(key_fits(leaf_key, strbuf_str(&leaf)));
    assert_true(verifies_strictly(strbuf_str(&leaf), strbuf_str(&root_pem), X509_PURPOSE_SSL_CLIENT));
    assert_true(verifies_strictly(strbuf_str(&leaf), strbuf_str(&root_pem), X509_PURPOSE_SSL_SERVER));
    X509 *cert = read_one(strbuf_str(&leaf));
    int critical = -1;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);
    assert_int_equal(critical, 1);
    assert_int_equal(sk_GENERAL_NAME_num(names), 1);
    assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(cert)), 0);
    assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
    assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    GENERAL_NAMES_free(names);
    X509_free(cert);
    csr_free(&csr);
    strbuf_fini(&leaf);
    arena_fini(&a);
}

static void test_issue_leaf__twice__other_serial_numbers(void **state)
{
    (void)state;
    struct csr *csr = csr_of(leaf_key, STR("spiffe://x"));
    struct issue what = {.uri = STR("spiffe://td/a"), .not_before_s = NOW, .not_after_s = NOW + DAY};
    struct strbuf one = {0}, two = {0};
    struct arena a;
    struct cert_facts f, g;
    arena_init(&a, 0);
    issue_leaf(&what, csr, root_ca, &one, serial, NULL);
    issue_leaf(&what, csr, root_ca, &two, serial, NULL);
    assert_int_equal(cert_inspect(strbuf_str(&one), &a, &f, NULL), 0);
    assert_int_equal(cert_inspect(strbuf_str(&two), &a, &g, NULL), 0);
    assert_false(str_eq(f.serial_hex, g.serial_hex));
    csr_free(&csr);
    strbuf_fini(&one);
    strbuf_fini(&two);
    arena_fini(&a);
}

static void test_issue_leaf__hosts__names_and_addresses(void **state)
{
    (void)state;
    static const struct str hosts[] = {{"istiod.istio-system.svc", 23}, {"127.0.0.1", 9}, {"::1", 3}};
    struct csr *csr = csr_of(leaf_key, STR("spiffe://x"));
    struct issue what = {.hosts = hosts, .host_count = 3, .not_before_s = NOW, .not_after_s = NOW + DAY};
    struct strbuf leaf = {0};
    assert_int_equal(issue_leaf(&what, csr, root_ca, &leaf, serial, NULL), 0);
    X509 *cert = read_one(strbuf_str(&leaf));
    assert_int_equal(X509_check_host(cert, "istiod.istio-system.svc", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "other.istio-system.svc", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
    X509_free(cert);
    csr_free(&csr);
    strbuf_fini(&leaf);
}

static void test_issue_leaf__outside_its_issuers_life_or_nameless__refused(void **state)
{
    (void)state;
    static const struct {
        struct issue what;
        const char *why;
    } cases[] = {
        {{.uri = {"spiffe://td/a", 13}, .not_before_s = NOW, .not_after_s = NOW + 11 * DAY}, "outlives"},
        {{.uri = {"spiffe://td/a", 13}, .not_before_s = NOW - 2 * DAY, .not_after_s = NOW}, "begins before"},
        {{.uri = {"spiffe://td/a", 13}, .not_before_s = NOW, .not_after_s = NOW}, "ends before"},
        {{.not_before_s = NOW, .not_after_s = NOW + DAY}, "without a name"},
    };
    struct csr *csr = csr_of(leaf_key, STR("spiffe://x"));
    for (size_t i = 0; i < 4; i++) {
        struct strbuf leaf = {0};
        struct err err = {0};
        assert_int_equal(issue_leaf(&cases[i].what, csr, root_ca, &leaf, serial, &err), ERR_INVALID);
        assert_non_null(strstr(err.message, cases[i].why));
        assert_int_equal(leaf.n, 0);
    }
    csr_free(&csr);
}

/* ---- requests ---- */

static void write_csr(EVP_PKEY *pkey, EVP_PKEY *signer, struct strbuf *out)
{
    X509_REQ *req = X509_REQ_new();
    X509_REQ_set_pubkey(req, pkey);
    X509_REQ_sign(req, signer, EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519 ? NULL : EVP_sha256());
    BIO *bio = BIO_new(BIO_s_mem());
    char *p;
    PEM_write_bio_X509_REQ(bio, req);
    long n = BIO_get_mem_data(bio, &p);
    strbuf_add(out, p, (size_t)n);
    BIO_free(bio);
    X509_REQ_free(req);
}

static void expect_refused(EVP_PKEY *pkey, EVP_PKEY *signer, int code, const char *why)
{
    struct strbuf pem = {0};
    struct err err = {0};
    write_csr(pkey, signer, &pem);
    assert_null(csr_load(strbuf_str(&pem), &err));
    if (err.code != code || !strstr(err.message, why))
        print_error("%s\n", err.message);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.message, why));
    assert_int_equal(ERR_peek_error(), 0);
    strbuf_fini(&pem);
    EVP_PKEY_free(pkey);
    if (signer != pkey)
        EVP_PKEY_free(signer);
}

static EVP_PKEY *explicit_curve(void)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_keygen_init(ctx);
    EVP_PKEY_CTX_set_group_name(ctx, "P-256");
    EVP_PKEY_CTX_set_ec_param_enc(ctx, OPENSSL_EC_EXPLICIT_CURVE);
    EVP_PKEY_generate(ctx, &pkey);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static void test_csr_load__keys_that_are_not_taken__named(void **state)
{
    (void)state;
    EVP_PKEY *k = EVP_RSA_gen(1024);
    expect_refused(k, k, ERR_UNSUPPORTED, "1024 bits");
    k = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    expect_refused(k, k, ERR_UNSUPPORTED, "ED25519");
    k = EVP_EC_gen("secp256k1");
    expect_refused(k, k, ERR_UNSUPPORTED, "secp256k1");
    k = explicit_curve();
    expect_refused(k, k, ERR_UNSUPPORTED, "in its own words");
    expect_refused(EVP_EC_gen("P-256"), EVP_EC_gen("P-256"), ERR_INVALID, "not signed");
}

static void test_csr_load__not_a_request__refused(void **state)
{
    (void)state;
    static char big[CSR_MAX_BYTES + 1];
    struct err err = {0};
    assert_null(csr_load(STR(""), &err));
    assert_int_equal(err.code, ERR_SYNTAX);
    assert_null(csr_load(strbuf_str(&root_pem), &err));
    assert_int_equal(err.code, ERR_SYNTAX);
    assert_null(csr_load(str_make(big, sizeof big), &err));
    assert_int_equal(err.code, ERR_LIMIT);
}

static void test_csr_load__good_kinds__taken(void **state)
{
    (void)state;
    for (int kind = KEY_EC_P256; kind <= KEY_RSA_2048; kind++) {
        struct key *k = key_generate((enum key_kind)kind, NULL);
        struct csr *csr = csr_of(k, STR("spiffe://x"));
        csr_free(&csr);
        key_free(&k);
    }
}

/* ---- authorities ---- */

static void test_issue_check_ca__what_does_not_fit__named(void **state)
{
    (void)state;
    struct csr *csr = csr_of(leaf_key, STR("spiffe://x"));
    struct issue what = {.uri = STR("spiffe://td/a"), .not_before_s = NOW, .not_after_s = NOW + DAY};
    struct strbuf leaf = {0}, other = {0};
    struct err err = {0};
    struct str root = strbuf_str(&root_pem);
    issue_leaf(&what, csr, root_ca, &leaf, serial, NULL);
    issue_root(leaf_key, STR("other"), NOW - DAY, NOW + DAY, &other, NULL);
    assert_int_equal(issue_check_ca(root, root_key, STR(""), root, NOW, &err), 0);
    assert_int_equal(issue_check_ca(root, leaf_key, STR(""), root, NOW, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "key is not"));
    assert_int_equal(issue_check_ca(strbuf_str(&leaf), leaf_key, STR(""), root, NOW, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "no CA's"));
    assert_int_equal(issue_check_ca(root, root_key, STR(""), strbuf_str(&other), NOW, &err), ERR_TLS);
    assert_int_equal(issue_check_ca(root, root_key, STR(""), root, NOW + 11 * DAY, &err), ERR_TLS);
    assert_non_null(strstr(err.message, "expired"));
    assert_int_equal(issue_check_ca(root, root_key, STR(""), root, NOW - 2 * DAY, &err), ERR_TLS);
    assert_non_null(strstr(err.message, "not yet valid"));
    strbuf_fini(&leaf);
    strbuf_fini(&other);
    csr_free(&csr);
}

static void test_issue_check_crl__none_broken_good__told_apart(void **state)
{
    (void)state;
    struct key *k = key_generate(KEY_EC_P256, NULL);
    struct strbuf key_text = {0}, pem = {0};
    size_t n;
    key_pem(k, &key_text, NULL);
    BIO *in = BIO_new_mem_buf(key_text.p, (int)key_text.n), *bio = BIO_new(BIO_s_mem());
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *t = ASN1_TIME_set(NULL, NOW);
    X509_CRL_set_version(crl, 1);
    X509_CRL_set1_lastUpdate(crl, t);
    X509_CRL_sign(crl, pkey, EVP_sha256());
    PEM_write_bio_X509_CRL(bio, crl);
    char *p;
    long bytes = BIO_get_mem_data(bio, &p);
    strbuf_add(&pem, p, (size_t)bytes);
    assert_int_equal(issue_check_crl(strbuf_str(&pem), &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_int_equal(issue_check_crl(strbuf_str(&root_pem), &n, NULL), ERR_INVALID);
    pem.p[40] = '!';
    assert_int_equal(issue_check_crl(strbuf_str(&pem), &n, NULL), ERR_INVALID);
    ASN1_TIME_free(t);
    X509_CRL_free(crl);
    EVP_PKEY_free(pkey);
    BIO_free(in);
    BIO_free(bio);
    strbuf_fini(&pem);
    key_pem_free(&key_text);
    key_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_issue_leaf__request_claims_another__only_the_key_is_taken),
        cmocka_unit_test(test_issue_leaf__twice__other_serial_numbers),
        cmocka_unit_test(test_issue_leaf__hosts__names_and_addresses),
        cmocka_unit_test(test_issue_leaf__outside_its_issuers_life_or_nameless__refused),
        cmocka_unit_test(test_csr_load__keys_that_are_not_taken__named),
        cmocka_unit_test(test_csr_load__not_a_request__refused),
        cmocka_unit_test(test_csr_load__good_kinds__taken),
        cmocka_unit_test(test_issue_check_ca__what_does_not_fit__named),
        cmocka_unit_test(test_issue_check_crl__none_broken_good__told_apart),
    };
    return cmocka_run_group_tests(tests, make_root, drop_root);
}
