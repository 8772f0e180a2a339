/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens made here by OpenSSL, with one key of each kind, and what must not be taken for one.
 */
#include "pki/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#undef ERR_STATE

#include "base/base64.h"
#include "base/mem.h"

static struct arena arena;

/* ---- making tokens ---- */

static struct str b64url(struct str s)
{
    struct str text = b64_encode_in(&arena, s);
    char *p = (char *)(uintptr_t)text.p;
    while (text.n && p[text.n - 1] == '=')
        text.n--;
    for (size_t i = 0; i < text.n; i++)
        p[i] = p[i] == '+' ? '-' : p[i] == '/' ? '_' : p[i];
    return text;
}

static struct str number_of(EVP_PKEY *key, const char *name, size_t bytes)
{
    BIGNUM *n = NULL;
    uint8_t raw[1024];
    assert_int_equal(EVP_PKEY_get_bn_param(key, name, &n), 1);
    size_t len = bytes ? bytes : (size_t)BN_num_bytes(n);
    BN_bn2binpad(n, raw, (int)len);
    BN_free(n);
    return b64url(str_make((char *)raw, len));
}

struct made { const char *alg, *type, *curve; size_t bytes; EVP_PKEY *key; };
static struct made all[] = {
    {"RS256", "RSA", NULL, 0, NULL}, {"RS384", "RSA", NULL, 0, NULL}, {"RS512", "RSA", NULL, 0, NULL},
    {"PS256", "RSA", NULL, 0, NULL}, {"PS384", "RSA", NULL, 0, NULL}, {"PS512", "RSA", NULL, 0, NULL},
    {"ES256", "EC", "P-256", 32, NULL}, {"ES384", "EC", "P-384", 48, NULL}, {"ES512", "EC", "P-521", 66, NULL},
    {"EdDSA", "OKP", "Ed25519", 32, NULL},
};

static int make_keys(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i].type, "RSA") == 0) {
            EVP_PKEY_up_ref(rsa);
            all[i].key = rsa;
        } else {
            all[i].key = all[i].type[0] == 'E' ? EVP_EC_gen(all[i].curve) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        }
        assert_non_null(all[i].key);
    }
    EVP_PKEY_free(rsa);
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        EVP_PKEY_free(all[i].key);
    arena_fini(&arena);
    return 0;
}

static struct str jwk_of(const struct made *m, const char *more)
{
    if (strcmp(m->type, "RSA") == 0)
        return arena_printf(&arena, "{\"kty\":\"RSA\",\"n\":\"%.*s\",\"e\":\"AQAB\"%s}", STR_ARG(number_of(m->key, "n", 0)), more);
    if (m->type[0] == 'E')
        return arena_printf(&arena, "{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%.*s\",\"y\":\"%.*s\"%s}", m->curve,
                            STR_ARG(number_of(m->key, OSSL_PKEY_PARAM_EC_PUB_X, m->bytes)),
                            STR_ARG(number_of(m->key, OSSL_PKEY_PARAM_EC_PUB_Y, m->bytes)), more);
    uint8_t raw[32];
    size_t n = sizeof raw;
    assert_int_equal(EVP_PKEY_get_raw_public_key(m->key, raw, &n), 1);
    return arena_printf(&arena, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%.*s\"%s}", STR_ARG(b64url(str_make((char *)raw, n))), more);
}

static struct jwks *set_of(struct str keys)
{
    struct err err = {0};
    struct jwks *s = jwks_new(arena_printf(&arena, "{\"keys\":[%.*s]}", STR_ARG(keys)), &err);
    if (!s)
        print_message("%s\n", err.message);
    return s;
}

static struct str raw_ecdsa(const uint8_t *der, size_t n, size_t half)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
    uint8_t *raw = arena_alloc(&arena, 2 * half);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, (int)half);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + half, (int)half);
    ECDSA_SIG_free(sig);
    return str_make((char *)raw, 2 * half);
}

static struct str sign(const struct made *m, struct str text)
{
    EVP_MD_CTX *cx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *px = NULL;
    char *out = arena_alloc(&arena, 1024);
    size_t n = 1024;
    const EVP_MD *md = m->alg[2] == '2' ? EVP_sha256() : m->alg[2] == '3' ? EVP_sha384() : EVP_sha512();
    assert_int_equal(EVP_DigestSignInit(cx, &px, m->type[0] == 'O' ? NULL : md, NULL, m->key), 1);
    if (m->alg[0] == 'P') {
        EVP_PKEY_CTX_set_rsa_padding(px, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(px, RSA_PSS_SALTLEN_DIGEST);
    }
    assert_int_equal(EVP_DigestSign(cx, (uint8_t *)out, &n, (const uint8_t *)text.p, text.n), 1);
    EVP_MD_CTX_free(cx);
    return m->type[0] == 'E' ? raw_ecdsa((uint8_t *)out, n, m->bytes) : str_make(out, n);
}

static struct str token_of(const struct made *m, const char *header_more, const char *payload)
{
    struct str header = b64url(arena_printf(&arena, "{\"alg\":\"%s\"%s}", m->alg, header_more));
    struct str text = arena_printf(&arena, "%.*s.%.*s", STR_ARG(header), STR_ARG(b64url(str_from(payload))));
    return arena_printf(&arena, "%.*s.%.*s", STR_ARG(text), STR_ARG(b64url(sign(m, text))));
}

static enum jwt_status verify(struct str token, const struct jwks *s)
{
    struct jwt t;
    enum jwt_status rc = jwt_parse(token, &arena, &t);
    if (rc != JWT_OK)
        return rc;
    rc = jwt_verify(&t, s);
    jwt_fini(&t);
    return rc;
}

/* ---- signatures ---- */

static void test_jwt_verify__every_algorithm__only_its_own_signature(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct jwks *s = set_of(jwk_of(&all[i], ""));
        struct str token = token_of(&all[i], "", "{\"iss\":\"me\"}");
        assert_non_null(s);
        assert_int_equal(verify(token, s), JWT_OK);
        char *p = (char *)(uintptr_t)token.p; /* one bit of the signature */
        p[token.n - 10] = p[token.n - 10] == 'A' ? 'B' : 'A';
        assert_int_equal(verify(token, s), JWT_BAD_SIGNATURE);
        jwks_unref(&s);
    }
}

static void test_jwt_verify__another_payload__bad_signature(void **state)
{
    (void)state;
    struct jwks *s = set_of(jwk_of(&all[6], ""));
    struct str token = token_of(&all[6], "", "{\"iss\":\"me\"}"), rest;
    struct str header = str_split(token, '.', &rest);
    str_split(rest, '.', &rest);
    token = arena_printf(&arena, "%.*s.%.*s.%.*s", STR_ARG(header), STR_ARG(b64url(STR("{\"iss\":\"you\"}"))), STR_ARG(rest));
    assert_int_equal(verify(token, s), JWT_BAD_SIGNATURE);
    jwks_unref(&s);
}

static void test_jwt_verify__kid__names_the_key(void **state)
{
    (void)state;
    struct str two = arena_printf(&arena, "%.*s,%.*s", STR_ARG(jwk_of(&all[0], ",\"kid\":\"a\"")), STR_ARG(jwk_of(&all[6], ",\"kid\":\"b\"")));
    struct jwks *s = set_of(two);
    assert_int_equal(jwks_count(s), 2);
    assert_int_equal(verify(token_of(&all[0], ",\"kid\":\"a\"", "{}"), s), JWT_OK);
    assert_int_equal(verify(token_of(&all[6], ",\"kid\":\"b\"", "{}"), s), JWT_OK);
    assert_int_equal(verify(token_of(&all[6], "", "{}"), s), JWT_OK);
    assert_int_equal(verify(token_of(&all[0], ",\"kid\":\"c\"", "{}"), s), JWT_NO_MATCHING_KEY);
    assert_int_equal(verify(token_of(&all[0], ",\"kid\":\"b\"", "{}"), s), JWT_NO_MATCHING_KEY);
    jwks_unref(&s);
}

/* A key that says its algorithm isn't used for another. */
static void test_jwt_verify__key_for_another_algorithm__no_matching_key(void **state)
{
    (void)state;
    struct jwks *s = set_of(jwk_of(&all[0], ",\"alg\":\"RS256\""));
    assert_int_equal(verify(token_of(&all[0], "", "{}"), s), JWT_OK);
    assert_int_equal(verify(token_of(&all[1], "", "{}"), s), JWT_NO_MATCHING_KEY);
    assert_int_equal(verify(token_of(&all[6], "", "{}"), s), JWT_NO_MATCHING_KEY);
    jwks_unref(&s);
}

/* ---- forms ---- */

static void test_jwt_parse__malformed__named(void **state)
{
    static const struct { const char *header, *payload, *signature; enum jwt_status status; } rows[] = {
        {"{}", "{}", "AA", JWT_HEADER_BAD_ALG},
        {"{\"alg\":1}", "{}", "AA", JWT_HEADER_BAD_ALG},
        {"{\"alg\":\"none\"}", "{}", "", JWT_BAD_FORMAT},
        {"{\"alg\":\"none\"}", "{}", "AA", JWT_ALG_UNKNOWN},
        {"{\"alg\":\"HS256\"}", "{}", "AA", JWT_ALG_UNKNOWN},
        {"{\"alg\":\"RS256\",\"crit\":[\"b64\"]}", "{}", "AA", JWT_ALG_UNKNOWN},
        {"{\"alg\":\"RS256\",\"alg\":\"none\"}", "{}", "AA", JWT_HEADER_NOT_JSON},
        {"[]", "{}", "AA", JWT_HEADER_NOT_JSON},
        {"{\"alg\":\"RS256\",\"kid\":7}", "{}", "AA", JWT_HEADER_BAD_KID},
        {"{\"alg\":\"RS256\"}", "x", "AA", JWT_PAYLOAD_NOT_JSON},
        {"{\"alg\":\"RS256\"}", "[1]", "AA", JWT_PAYLOAD_NOT_JSON},
        {"{\"alg\":\"RS256\"}", "{\"iss\":1}", "AA", JWT_BAD_ISS},
        {"{\"alg\":\"RS256\"}", "{\"sub\":{}}", "AA", JWT_BAD_SUB},
        {"{\"alg\":\"RS256\"}", "{\"iat\":\"x\"}", "AA", JWT_BAD_IAT},
        {"{\"alg\":\"RS256\"}", "{\"nbf\":-1}", "AA", JWT_RANGE_NBF},
        {"{\"alg\":\"RS256\"}", "{\"exp\":1e300}", "AA", JWT_RANGE_EXP},
        {"{\"alg\":\"RS256\"}", "{\"jti\":false}", "AA", JWT_BAD_JTI},
        {"{\"alg\":\"RS256\"}", "{\"aud\":5}", "AA", JWT_BAD_AUD},
        {"{\"alg\":\"RS256\"}", "{\"aud\":[\"a\",5]}", "AA", JWT_BAD_AUD},
        {"{\"alg\":\"RS256\"}", "{}", "A+/=", JWT_SIGNATURE_NOT_BASE64},
        {"{\"alg\":\"RS256\"}", "{\"aud\":\"a\",\"exp\":1.9}", "AA", JWT_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct jwt t;
        struct str token = arena_printf(&arena, "%.*s.%.*s.%s", STR_ARG(b64url(str_from(rows[i].header))),
                                        STR_ARG(b64url(str_from(rows[i].payload))), rows[i].signature);
        enum jwt_status rc = jwt_parse(token, &arena, &t);
        if (rc != rows[i].status)
            print_message("row %zu: %s\n", i, jwt_status_text(rc));
        assert_int_equal(rc, rows[i].status);
        if (rc == JWT_OK)
            jwt_fini(&t);
    }
}

static void test_jwt_parse__not_three_parts__bad_format(void **state)
{
    static const char *const tokens[] = {"", "a", "a.b", "a.b.c.d", "..", "a..b..c"};
    (void)state;
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        struct jwt t;
        enum jwt_status rc = jwt_parse(str_from(tokens[i]), &arena, &t);
        assert_int_equal(rc, JWT_BAD_FORMAT);
    }
}

static void test_jwt_check_time__skew__widens_both_ends(void **state)
{
    struct jwt t = {.has_exp = true, .exp = 1000, .has_nbf = true, .nbf = 500};
    (void)state;
    assert_int_equal(jwt_check_time(&t, 499, 0), JWT_NOT_YET_VALID);
    assert_int_equal(jwt_check_time(&t, 440, 60), JWT_OK);
    assert_int_equal(jwt_check_time(&t, 1000, 0), JWT_OK);
    assert_int_equal(jwt_check_time(&t, 1001, 0), JWT_EXPIRED);
    assert_int_equal(jwt_check_time(&t, 1060, 60), JWT_OK);
    assert_int_equal(jwt_check_time(&t, 1061, 60), JWT_EXPIRED);
    t.has_exp = t.has_nbf = false;
    assert_int_equal(jwt_check_time(&t, 1, 0), JWT_OK);
}

/* ---- key sets ---- */

static void test_jwks_new__nothing_usable__error_says_why(void **state)
{
    static const char *const texts[] = {
        "", "<html>not found</html>", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        "{\"keys\":[1, null, \"x\"]}", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct err err = {0};
        assert_null(jwks_new(str_from(texts[i]), &err));
        assert_true(err.message[0] != '\0');
    }
}

static void test_jwks_new__pem__verifies(void **state)
{
    (void)state;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    struct err err = {0};
    PEM_write_bio_PUBKEY(bio, all[6].key);
    long n = BIO_get_mem_data(bio, &text);
    struct jwks *s = jwks_new(str_make(text, (size_t)n), &err);
    assert_non_null(s);
    assert_int_equal(verify(token_of(&all[6], "", "{}"), s), JWT_OK);
    jwks_unref(&s);
    BIO_free(bio);
}

static void test_jwks_new__key_for_encryption__left_out(void **state)
{
    (void)state;
    struct jwks *s = set_of(arena_printf(&arena, "%.*s,%.*s", STR_ARG(jwk_of(&all[0], ",\"use\":\"enc\"")), STR_ARG(jwk_of(&all[6], ",\"use\":\"sig\""))));
    assert_int_equal(jwks_count(s), 1);
    assert_int_equal(verify(token_of(&all[0], "", "{}"), s), JWT_NO_MATCHING_KEY);
    jwks_unref(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jwt_verify__every_algorithm__only_its_own_signature),
        cmocka_unit_test(test_jwt_verify__another_payload__bad_signature),
        cmocka_unit_test(test_jwt_verify__kid__names_the_key),
        cmocka_unit_test(test_jwt_verify__key_for_another_algorithm__no_matching_key),
        cmocka_unit_test(test_jwt_parse__malformed__named),
        cmocka_unit_test(test_jwt_parse__not_three_parts__bad_format),
        cmocka_unit_test(test_jwt_check_time__skew__widens_both_ends),
        cmocka_unit_test(test_jwks_new__nothing_usable__error_says_why),
        cmocka_unit_test(test_jwks_new__pem__verifies),
        cmocka_unit_test(test_jwks_new__key_for_encryption__left_out),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
