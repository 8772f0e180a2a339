/* SPDX-License-Identifier: Apache-2.0 */
#include "pki/cert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pki/key.h"
#include "pki/openssl_priv.h"

#define NOW 1800000000
#define DAY 86400

struct ca {
    EVP_PKEY *key;
    X509 *cert;
    struct strbuf pem;
};

static void add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

static void write_pem(X509 *cert, struct strbuf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    PEM_write_bio_X509(bio, cert);
    long n = BIO_get_mem_data(bio, &p);
    strbuf_add(out, p, (size_t)n);
    BIO_free(bio);
}

/* `by` NULL: self-signed. */
static struct ca issue(const struct ca *by, const char *name, const char *san, bool is_ca, int64_t from, int64_t to)
{
    struct ca c = {.key = EVP_EC_gen("P-256"), .cert = X509_new()};
    X509 *issuer = by ? by->cert : c.cert;
    X509_set_version(c.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.cert), 0x1a2b);
    ASN1_TIME_set(X509_getm_notBefore(c.cert), (time_t)from);
    ASN1_TIME_set(X509_getm_notAfter(c.cert), (time_t)to);
    X509_set_pubkey(c.cert, c.key);
    if (*name)
        X509_NAME_add_entry_by_txt(X509_get_subject_name(c.cert), "O", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(c.cert, X509_get_subject_name(issuer));
    if (is_ca)
        add_ext(c.cert, issuer, NID_basic_constraints, "critical,CA:TRUE");
    if (san)
        add_ext(c.cert, issuer, NID_subject_alt_name, san);
    X509_sign(c.cert, by ? by->key : c.key, EVP_sha256());
    write_pem(c.cert, &c.pem);
    return c;
}

static void drop(struct ca *c)
{
    EVP_PKEY_free(c->key);
    X509_free(c->cert);
    strbuf_fini(&c->pem);
}

static void test_cert_inspect__leaf_and_ca__facts_of_the_first(void **state)
{
    (void)state;
    struct ca root = issue(NULL, "root", NULL, true, NOW - DAY, NOW + 10 * DAY);
    struct ca leaf = issue(&root, "", "critical,URI:spiffe://td/ns/a/sa/b", false, NOW - 120, NOW + DAY);
    struct arena a;
    struct cert_facts f;
    arena_init(&a, 0);
    strbuf_adds(&leaf.pem, strbuf_str(&root.pem));
    assert_int_equal(cert_inspect(strbuf_str(&leaf.pem), &a, &f, NULL), 0);
    assert_int_equal(f.not_before_s, NOW - 120);
    assert_int_equal(f.not_after_s, NOW + DAY);
    assert_true(str_eq(f.spiffe_id, STR("spiffe://td/ns/a/sa/b")));
    assert_true(str_eq(f.serial_hex, STR("1a2b")));
    assert_int_equal(f.count, 2);
    assert_false(f.is_ca);
    assert_int_equal(cert_inspect(strbuf_str(&root.pem), &a, &f, NULL), 0);
    assert_true(f.is_ca);
    assert_int_equal(f.spiffe_id.n, 0);
    arena_fini(&a);
    drop(&leaf);
    drop(&root);
}

static void test_cert_inspect__two_uris__no_identity(void **state)
{
    (void)state;
    struct ca c = issue(NULL, "x", "URI:spiffe://td/a,URI:spiffe://td/b", false, NOW, NOW + DAY);
    struct arena a;
    struct cert_facts f;
    arena_init(&a, 0);
    assert_int_equal(cert_inspect(strbuf_str(&c.pem), &a, &f, NULL), 0);
    assert_int_equal(f.spiffe_id.n, 0);
    arena_fini(&a);
    drop(&c);
}

static void test_cert_inspect__junk__refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "", "hello", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nMIIB",
    };
    struct arena a;
    struct cert_facts f;
    arena_init(&a, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        assert_int_equal(cert_inspect(str_from(rows[i]), &a, &f, &err), ERR_INVALID);
        assert_true(err.message[0] != '\0');
        assert_int_equal(ERR_peek_error(), 0);
    }
    arena_fini(&a);
}

static void test_cert_inspect__cut_at_each_byte__never_more_than_whole(void **state)
{
    (void)state;
    struct ca c = issue(NULL, "root", NULL, true, NOW, NOW + DAY);
    struct arena a;
    struct cert_facts f;
    arena_init(&a, 0);
    for (size_t n = 0; n + 2 < c.pem.n; n++)
        assert_int_equal(cert_inspect(str_make(c.pem.p, n), &a, &f, NULL), ERR_INVALID);
    arena_fini(&a);
    drop(&c);
}

static void test_cert_verify__chains_and_times__as_they_should(void **state)
{
    (void)state;
    struct ca root = issue(NULL, "root", NULL, true, NOW - DAY, NOW + 10 * DAY);
    struct ca other = issue(NULL, "other", NULL, true, NOW - DAY, NOW + 10 * DAY);
    struct ca middle = issue(&root, "middle", NULL, true, NOW - DAY, NOW + 5 * DAY);
    struct ca leaf = issue(&middle, "leaf", NULL, false, NOW, NOW + DAY);
    struct strbuf chain = {0}, roots = {0};
    strbuf_adds(&chain, strbuf_str(&leaf.pem));
    struct err err = {0};
    assert_int_equal(cert_verify(strbuf_str(&chain), strbuf_str(&root.pem), NOW + 5, &err), ERR_TLS); /* middle missing */
    assert_int_equal(cert_verify(strbuf_str(&chain), strbuf_str(&middle.pem), NOW + 5, NULL), 0);     /* partial */
    strbuf_adds(&chain, strbuf_str(&middle.pem));
    assert_int_equal(cert_verify(strbuf_str(&chain), strbuf_str(&root.pem), NOW + 5, NULL), 0);
    assert_int_equal(cert_verify(strbuf_str(&chain), strbuf_str(&other.pem), NOW + 5, NULL), ERR_TLS);
    strbuf_adds(&roots, strbuf_str(&other.pem));
    strbuf_adds(&roots, strbuf_str(&root.pem));
    assert_int_equal(cert_verify(strbuf_str(&chain), strbuf_str(&roots), NOW + 5, NULL), 0);
    assert_int_equal(cert_verify(strbuf_str(&chain), strbuf_str(&roots), NOW - 5, NULL), ERR_TLS);
    assert_int_equal(cert_verify(strbuf_str(&chain), strbuf_str(&roots), NOW + 2 * DAY, NULL), ERR_TLS);
    assert_int_equal(cert_verify(strbuf_str(&chain), STR("none"), NOW, NULL), ERR_INVALID);
    strbuf_fini(&chain);
    strbuf_fini(&roots);
    drop(&leaf);
    drop(&middle);
    drop(&other);
    drop(&root);
}

static void test_cert_bundle_add__twice_the_same__kept_once(void **state)
{
    (void)state;
    struct ca one = issue(NULL, "one", NULL, true, NOW, NOW + DAY), two = issue(NULL, "two", NULL, true, NOW, NOW + DAY);
    struct strbuf both = {0}, out = {0};
    size_t count = 0;
    strbuf_addz(&both, "a comment\n");
    strbuf_adds(&both, strbuf_str(&one.pem));
    strbuf_adds(&both, strbuf_str(&two.pem));
    strbuf_adds(&both, strbuf_str(&one.pem));
    assert_int_equal(cert_bundle_add(&out, strbuf_str(&both), &count, NULL), 0);
    assert_int_equal(count, 3);
    size_t once = out.n;
    assert_int_equal(once, one.pem.n + two.pem.n);
    assert_int_equal(cert_bundle_add(&out, strbuf_str(&two.pem), &count, NULL), 0);
    assert_int_equal(out.n, once);
    assert_int_equal(cert_bundle_add(&out, STR("junk"), &count, NULL), ERR_INVALID);
    assert_int_equal(out.n, once);
    strbuf_fini(&both);
    strbuf_fini(&out);
    drop(&one);
    drop(&two);
}

static void test_cert_parts__leaf_and_root__each_by_itself(void **state)
{
    (void)state;
    struct ca root = issue(NULL, "root", NULL, true, NOW - DAY, NOW + 10 * DAY);
    struct ca leaf = issue(&root, "", "critical,URI:spiffe://td/ns/a/sa/b", false, NOW - 120, NOW + DAY);
    struct strbuf both = {0};
    struct cert_part *parts;
    struct arena a;
    size_t n;
    arena_init(&a, 0);
    strbuf_adds(&both, strbuf_str(&leaf.pem));
    strbuf_addz(&both, "words between\n");
    strbuf_adds(&both, strbuf_str(&root.pem));
    assert_int_equal(cert_parts(strbuf_str(&both), &a, &parts, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_true(str_eq(parts[0].pem, strbuf_str(&leaf.pem)));
    assert_true(str_eq(parts[1].pem, strbuf_str(&root.pem)));
    assert_false(parts[0].is_self_issued);
    assert_true(parts[1].is_self_issued);
    assert_int_equal(parts[0].not_after_s, NOW + DAY);
    assert_int_equal(cert_parts(STR("none"), &a, &parts, &n, NULL), ERR_INVALID);
    strbuf_fini(&both);
    arena_fini(&a);
    drop(&leaf);
    drop(&root);
}

static void test_key_fits__own_and_other__told_apart(void **state)
{
    (void)state;
    struct ca c = issue(NULL, "one", NULL, true, NOW, NOW + DAY);
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    PEM_write_bio_PrivateKey(bio, c.key, NULL, NULL, 0, NULL, NULL);
    long n = BIO_get_mem_data(bio, &p);
    struct key *own = key_load(str_make(p, (size_t)n), STR_NULL, NULL), *other = key_generate(KEY_EC_P256, NULL);
    assert_true(key_fits(own, strbuf_str(&c.pem)));
    assert_false(key_fits(other, strbuf_str(&c.pem)));
    assert_false(key_fits(own, STR("junk")));
    assert_int_equal(ERR_peek_error(), 0);
    key_free(&own);
    key_free(&other);
    BIO_free(bio);
    drop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cert_inspect__leaf_and_ca__facts_of_the_first),
        cmocka_unit_test(test_cert_inspect__two_uris__no_identity),
        cmocka_unit_test(test_cert_inspect__junk__refused),
        cmocka_unit_test(test_cert_inspect__cut_at_each_byte__never_more_than_whole),
        cmocka_unit_test(test_cert_verify__chains_and_times__as_they_should),
        cmocka_unit_test(test_cert_bundle_add__twice_the_same__kept_once),
        cmocka_unit_test(test_cert_parts__leaf_and_root__each_by_itself),
        cmocka_unit_test(test_key_fits__own_and_other__told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
