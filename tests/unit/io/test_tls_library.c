/* SPDX-License-Identifier: Apache-2.0
 *
 * The library context of sessions is small, and still holds what sessions need.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/check.h"
#include "io/tls_priv.h"

static EVP_PKEY *key_of(const char *type)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    assert_int_equal(EVP_PKEY_keygen_init(c), 1);
    assert_int_equal(EVP_PKEY_generate(c, &key), 1);
    EVP_PKEY_CTX_free(c);
    return key;
}

/* The DER of a certificate with that key. */
static int certificate_of(EVP_PKEY *key, unsigned char **der)
{
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 60);
    X509_set_pubkey(x, key);
    bool own_digest = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");
    assert_true(X509_sign(x, key, own_digest ? NULL : EVP_sha256()) > 0);
    int n = i2d_X509(x, der);
    X509_free(x);
    return n;
}

static void test_library__certificates_of_each_kind__read_and_verified(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {key_of("RSA"),       key_of("RSA-PSS"),   EVP_EC_gen("P-256"),
                        EVP_EC_gen("P-384"), EVP_EC_gen("P-521"), key_of("ED25519"),
                        key_of("ED448")};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        unsigned char *der = NULL;
        assert_non_null(keys[i]);
        int n = certificate_of(keys[i], &der);
        const unsigned char *at = der;
        OSSL_LIB_CTX *before = OSSL_LIB_CTX_set0_default(tls_library());
        X509 *x = X509_new_ex(tls_library(), NULL);
        assert_non_null(d2i_X509(&x, &at, n));
        assert_non_null(X509_get0_pubkey(x));
        assert_int_equal(X509_verify(x, X509_get0_pubkey(x)), 1);
        OSSL_LIB_CTX_set0_default(before);
        X509_free(x);
        OPENSSL_free(der);
        EVP_PKEY_free(keys[i]);
    }
}

/* What BoringSSL has for servers, and so what an Envoy's configuration may name. */
static void test_library__suites_and_groups__all_known(void **state)
{
    (void)state;
    static const char *const suites[] = {"ECDHE-ECDSA-AES128-GCM-SHA256",
                                         "ECDHE-RSA-AES128-GCM-SHA256",
                                         "ECDHE-ECDSA-AES256-GCM-SHA384",
                                         "ECDHE-RSA-AES256-GCM-SHA384",
                                         "ECDHE-ECDSA-CHACHA20-POLY1305",
                                         "ECDHE-RSA-CHACHA20-POLY1305",
                                         "ECDHE-ECDSA-AES128-SHA",
                                         "ECDHE-RSA-AES128-SHA",
                                         "ECDHE-ECDSA-AES256-SHA",
                                         "ECDHE-RSA-AES256-SHA",
                                         "AES128-GCM-SHA256",
                                         "AES256-GCM-SHA384",
                                         "AES128-SHA",
                                         "AES256-SHA"};
    SSL_CTX *ssl = SSL_CTX_new_ex(tls_library(), NULL, TLS_server_method());
    assert_non_null(ssl);
    for (size_t i = 0; i < ARRAY_LEN(suites); i++) {
        if (!SSL_CTX_set_cipher_list(ssl, suites[i]))
            fail_msg("%s", suites[i]);
    }
    assert_int_equal(SSL_CTX_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                                   "TLS_CHACHA20_POLY1305_SHA256"),
                     1);
    assert_int_equal(SSL_CTX_set1_groups_list(ssl, "X25519:P-256:P-384:P-521"), 1);
    SSL_CTX_free(ssl);
}

static void count_method(EVP_KEYMGMT *method, void *arg)
{
    (void)method;
    (*(int *)arg)++;
}

/* The point of it: with OpenSSL 3.0 a public key costs a walk through all of these. */
static void test_library__openssl_before_3_2__few_algorithms(void **state)
{
    (void)state;
    int in_process = 0, in_sessions = 0;
    if (!tls_library()) {
        assert_true(OPENSSL_version_minor() >= 2 || OPENSSL_version_major() > 3);
        return;
    }
    EVP_KEYMGMT_do_all_provided(NULL, count_method, &in_process);
    EVP_KEYMGMT_do_all_provided(tls_library(), count_method, &in_sessions);
    assert_int_equal(in_sessions, 9);
    assert_true(in_process > in_sessions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_library__certificates_of_each_kind__read_and_verified),
        cmocka_unit_test(test_library__suites_and_groups__all_known),
        cmocka_unit_test(test_library__openssl_before_3_2__few_algorithms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
