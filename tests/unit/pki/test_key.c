/* SPDX-License-Identifier: Apache-2.0 */
#include "pki/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pki/openssl_priv.h"

static X509_REQ *read_csr(const struct strbuf *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->p, (int)pem->n);
    X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(req);
    return req;
}

static void expect_csr(struct key *k, struct str org, bool critical)
{
    static const struct str uri = STR("spiffe://td/ns/a/sa/b,DNS:evil");
    struct strbuf pem = {0};
    assert_int_equal(key_csr(k, uri, org, &pem, NULL), 0);
    X509_REQ *req = read_csr(&pem);
    assert_int_equal(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)), 1);
    assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), org.n ? 1 : 0);
    STACK_OF(X509_EXTENSION) *exts = X509_REQ_get_extensions(req);
    int crit = -1;
    GENERAL_NAMES *names = X509V3_get_d2i(exts, NID_subject_alt_name, &crit, NULL);
    assert_int_equal(crit, critical);
    assert_int_equal(sk_GENERAL_NAME_num(names), 1);
    const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, 0);
    assert_int_equal(g->type, GEN_URI);
    assert_true(str_eq(uri, str_make((char *)g->d.ia5->data, (size_t)g->d.ia5->length)));
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    X509_REQ_free(req);
    strbuf_fini(&pem);
}

static void test_key_csr__both_kinds__one_uri_and_a_good_signature(void **state)
{
    (void)state;
    for (int kind = KEY_EC_P256; kind <= KEY_RSA_2048; kind++) {
        struct key *k = key_generate((enum key_kind)kind, NULL);
        assert_non_null(k);
        expect_csr(k, STR_NULL, true);
        expect_csr(k, STR("weft"), false);
        key_free(&k);
    }
}

static void test_key_pem__written_and_read__same_key(void **state)
{
    (void)state;
    struct strbuf first = {0}, second = {0};
    struct key *k = key_generate(KEY_EC_P256, NULL);
    assert_int_equal(key_pem(k, &first, NULL), 0);
    struct key *again = key_load(strbuf_str(&first), STR_NULL, NULL);
    assert_non_null(again);
    assert_int_equal(key_pem(again, &second, NULL), 0);
    assert_true(str_eq(strbuf_str(&first), strbuf_str(&second)));
    key_pem_free(&first);
    key_pem_free(&second);
    key_free(&k);
    key_free(&again);
}

static void test_key_load__junk__error(void **state)
{
    (void)state;
    struct err err = {0};
    assert_null(key_load(STR("no key"), STR_NULL, &err));
    assert_int_equal(err.code, ERR_TLS);
    assert_null(key_load(STR_NULL, STR_NULL, &err));
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_key_csr__no_uri__refused(void **state)
{
    (void)state;
    struct strbuf pem = {0};
    struct key *k = key_generate(KEY_EC_P256, NULL);
    assert_int_equal(key_csr(k, STR_NULL, STR_NULL, &pem, NULL), ERR_INVALID);
    key_free(&k);
}

static bool starts_with(const struct strbuf *b, const char *head)
{
    return str_has_prefix(strbuf_str(b), str_from(head));
}

static void test_key_pem_traditional__each_kind__own_form_and_same_key(void **state)
{
    (void)state;
    static const struct { enum key_kind kind; const char *head; } rows[] = {
        {KEY_EC_P256, "-----BEGIN EC PRIVATE KEY-----"},
        {KEY_EC_P384, "-----BEGIN EC PRIVATE KEY-----"},
        {KEY_RSA_2048, "-----BEGIN RSA PRIVATE KEY-----"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct strbuf own = {0}, pkcs8 = {0}, again = {0};
        struct key *k = key_generate(rows[i].kind, NULL);
        assert_int_equal(key_pem_traditional(k, &own, NULL), 0);
        assert_int_equal(key_pem(k, &pkcs8, NULL), 0);
        assert_true(starts_with(&own, rows[i].head));
        assert_true(starts_with(&pkcs8, "-----BEGIN PRIVATE KEY-----"));
        struct key *read = key_load(strbuf_str(&own), STR_NULL, NULL);
        assert_non_null(read);
        assert_int_equal(key_pem(read, &again, NULL), 0);
        assert_true(str_eq(strbuf_str(&pkcs8), strbuf_str(&again)));
        key_pem_free(&own);
        key_pem_free(&pkcs8);
        key_pem_free(&again);
        key_free(&k);
        key_free(&read);
    }
}

static void test_key_generate_rsa__sizes__bounded(void **state)
{
    (void)state;
    struct err err = {0};
    assert_null(key_generate_rsa(1024, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(key_generate_rsa(1u << 20, NULL));
    struct key *k = key_generate_rsa(3072, NULL);
    assert_non_null(k);
    expect_csr(k, STR_NULL, true);
    key_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_csr__both_kinds__one_uri_and_a_good_signature),
        cmocka_unit_test(test_key_pem__written_and_read__same_key),
        cmocka_unit_test(test_key_pem_traditional__each_kind__own_form_and_same_key),
        cmocka_unit_test(test_key_generate_rsa__sizes__bounded),
        cmocka_unit_test(test_key_load__junk__error),
        cmocka_unit_test(test_key_csr__no_uri__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
