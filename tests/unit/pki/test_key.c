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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_csr__both_kinds__one_uri_and_a_good_signature),
        cmocka_unit_test(test_key_pem__written_and_read__same_key),
        cmocka_unit_test(test_key_load__junk__error),
        cmocka_unit_test(test_key_csr__no_uri__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
